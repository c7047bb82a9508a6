"""TCP and TLS of SIP as a capture shows them: whole messages out of what was read, in segments that were never sent.

Where the ring begins within a message, the rest of it is told apart as such: it can be redacted by length only.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from gateway.capture.headers import MAX_SEGMENT, Endpoint, tcp
from gateway.voip.sip.parser import MAX_MESSAGE

MAX_UNFRAMED = MAX_MESSAGE + 4
"""Octets that are kept in the hope of a whole message."""
FIRST_SEQUENCE = 1
_START = re.compile(rb"(?:SIP/2\.0 [1-6]\d\d[ \r]|[A-Z]{3,20} [^\s]{1,4096} SIP/2\.0\r\n)")
_NEXT = re.compile(rb"\r\n(?=SIP/2\.0 [1-6]\d\d[ \r]|[A-Z]{3,20} [^\s]{1,4096} SIP/2\.0\r\n)")
_LENGTH = re.compile(rb"[\r\n](?:content-length|l)[ \t]*:[ \t]*(\d{1,6})[ \t]*(?=\r|\Z)", re.IGNORECASE)


class Piece(NamedTuple):
    """Part of a stream: a whole message, or octets that are none."""

    data: bytes
    whole: bool


class Framing:
    """One direction of a stream that was entered anywhere."""

    __slots__ = ("_buffer", "_searched")

    def __init__(self) -> None:
        self._buffer = b""
        self._searched = 0

    def feed(self, data: bytes) -> list[Piece]:
        """The pieces that ``data`` completes."""
        self._buffer += data
        pieces = []
        while self._buffer and (piece := self._next()) is not None:
            self._buffer = self._buffer[len(piece.data) :]
            self._searched = 0
            pieces.append(piece)
        return pieces

    def rest(self) -> list[Piece]:
        """What never became a whole message."""
        data, self._buffer, self._searched = self._buffer, b"", 0
        return [Piece(data, False)] if data else []

    def _next(self) -> Piece | None:
        buffer = self._buffer
        blank = len(buffer) - len(buffer.lstrip(b"\r\n"))
        if blank:
            # Keep-alives (RFC 5626 3.5.1) have nothing to hide.
            return Piece(buffer[:blank], True)
        end = buffer.find(b"\r\n\r\n", self._searched)
        if end < 0:
            self._searched = max(len(buffer) - 3, 0)
            return Piece(buffer, False) if len(buffer) > MAX_UNFRAMED else None
        if not _START.match(buffer):
            found = _NEXT.search(buffer)
            return Piece(buffer[: found.end()] if found else buffer[: end + 4], False)
        length = _LENGTH.search(buffer, 0, end)
        size = end + 4 + (int(length.group(1)) if length else 0)
        if size > MAX_UNFRAMED:
            return Piece(buffer[: end + 4], False)
        return Piece(buffer[:size], True) if len(buffer) >= size else None


class Stream:
    """One connection between ``ours`` and ``theirs``; sequence numbers go on over what a filter leaves out."""

    __slots__ = ("_received", "_sent", "inward", "name", "ours", "theirs")

    def __init__(self, ours: Endpoint, theirs: Endpoint) -> None:
        self.ours, self.theirs = ours, theirs
        self.inward = Framing()
        self.name = ""
        self._sent = self._received = FIRST_SEQUENCE

    def segments(self, data: bytes, *, inward: bool) -> list[bytes]:
        """``data`` in IP packets."""
        packets = []
        for at in range(0, len(data), MAX_SEGMENT):
            part = data[at : at + MAX_SEGMENT]
            if inward:
                packets.append(tcp(self.theirs, self.ours, part, sequence=self._received, acknowledged=self._sent))
                self._received += len(part)
            else:
                packets.append(tcp(self.ours, self.theirs, part, sequence=self._sent, acknowledged=self._received))
                self._sent += len(part)
        return packets
