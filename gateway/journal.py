"""Log records for systemd's journal with fields of their own, by its native protocol (JOURNAL_NATIVE_PROTOCOL).

What a line is about is a field, by which ``journalctl GATEWAY_CALL=…`` finds all of a call: a line that begins with
"call %s" or "span %s" is about that one, and ``extra={"cause": 16}`` at a log call says more. Without a journal lines
go to standard error as ever.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from struct import Struct
from typing import TextIO

JOURNAL = Path("/run/systemd/journal/socket")
IDENTIFIER = "branch-gateway"
FIELDS = {
    "peer": "GATEWAY_PEER",
    "source": "GATEWAY_SOURCE",
    "caller": "GATEWAY_CALLER",
    "dialled": "GATEWAY_DIALLED",
    "cause": "GATEWAY_CAUSE",
    "released_by": "GATEWAY_RELEASED_BY",
    "talk_seconds": "GATEWAY_TALK_SECONDS",
}
"""The attributes of a record that are fields of the journal."""
SIP_CALL_ID = "GATEWAY_SIP_CALL_ID"
"""What a call is called in SIP, where a call of the gateway is not known."""
_SUBJECTS = {"call": "GATEWAY_CALL", "span": "GATEWAY_SPAN"}
_SIP = "gateway.voip.sip"
MAX_MESSAGE = 32_768
MAX_FIELD = 1_024
"""Octets; what is longer is cut. A datagram of the default 208 KiB takes all fields at their longest."""
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_length = Struct("<Q").pack


def priority(level: int) -> int:
    """The level of syslog(3) for one of logging."""
    return next((number for least, number in _PRIORITIES if level >= least), 7)


def field(name: str, value: bytes) -> bytes:
    """One field: in a line where its value is one, else with its length."""
    if b"\n" in value:
        return name.encode() + b"\n" + _length(len(value)) + value + b"\n"
    return name.encode() + b"=" + value + b"\n"


class JournalHandler(logging.Handler):
    """Sends records to the journal at ``path``; raises OSError if there is none. What it does not take is lost."""

    def __init__(self, path: Path = JOURNAL, identifier: str = IDENTIFIER) -> None:
        super().__init__()
        self.lost = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        # A journal that is stopped must not stop calls.
        self._socket.setblocking(False)
        self._constant = field("SYSLOG_IDENTIFIER", identifier.encode())

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        try:
            self._socket.send(self.fields(record))
        except OSError:
            self.lost += 1
        except Exception:  # as logging has it: a line that cannot be made is told, and nothing else happens
            self.handleError(record)

    def fields(self, record: logging.LogRecord) -> bytes:
        """The datagram that ``record`` is."""
        message = record.getMessage()
        if record.exc_info:
            if not record.exc_text:
                record.exc_text = logging.Formatter().formatException(record.exc_info)
            message = f"{message}\n{record.exc_text}"
        parts = [
            field("MESSAGE", _octets(message, MAX_MESSAGE)),
            field("PRIORITY", b"%d" % priority(record.levelno)),
            self._constant,
            field("LOGGER", record.name.encode()),
        ]
        subject = _subject(record)
        attributes = record.__dict__
        if subject is not None:
            parts.append(field(subject[0], _octets(subject[1], MAX_FIELD)))
        for attribute, name in FIELDS.items():
            value = attributes.get(attribute)
            if value is not None:
                parts.append(field(name, _octets(str(value), MAX_FIELD)))
        return b"".join(parts)

    def close(self) -> None:
        """See logging.Handler."""
        self._socket.close()
        super().close()


def _subject(record: logging.LogRecord) -> tuple[str, str] | None:
    """The field that the first words of a line are, and its value."""
    text, arguments = record.msg, record.args
    if not isinstance(text, str) or text[4:7] != " %s" or not isinstance(arguments, tuple) or not arguments:
        return None
    name = _SUBJECTS.get(text[:4])
    if name is None:
        return None
    if text[:4] == "call" and record.name.startswith(_SIP):
        name = SIP_CALL_ID
    return name, str(arguments[0])


def _octets(text: str, most: int) -> bytes:
    return text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore").encode()


def is_journal(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether ``stream`` goes to the journal: systemd says in JOURNAL_STREAM which device and inode that is."""
    try:
        there = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{there.st_dev}:{there.st_ino}"


def handler_for(stream: TextIO, environment: Mapping[str, str] = os.environ, path: Path = JOURNAL) -> logging.Handler:
    """Where a service's records go: the journal itself if ``stream`` does and it can be had, else ``stream``."""
    if is_journal(stream, environment):
        try:
            return JournalHandler(path)
        except OSError:
            pass
    return logging.StreamHandler(stream)
