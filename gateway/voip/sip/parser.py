"""Bytes to SIP messages: datagrams and streams framed by Content-Length (RFC 3261 18.3). Reads no header values."""

from __future__ import annotations

from itertools import repeat
from typing import cast

from gateway.voip.sip.errors import SipError
from gateway.voip.sip.headers import KNOWN_KEYS, Headers, header_key
from gateway.voip.sip.message import SIP_VERSION, Request, Response
from gateway.voip.sip.status import KNOWN_METHODS
from gateway.voip.sip.syntax import is_token
from gateway.voip.sip.uri import MAX_URI

MAX_MESSAGE = 65_535
"""Longest message taken, start line to end of body, in octets, on any transport."""
MAX_HEADERS = 256
"""Most header fields of a message."""
MAX_LINE = 8_192
"""Longest start line or (unfolded) header field, in characters."""

_LONGEST_LENGTH = 10
"""Digits of a Content-Length."""

_find_key = KNOWN_KEYS.get
_STATUS = {f"{status} ": status for status in range(100, 700)}
_cut = str.partition
_SEPARATOR = repeat(": ")


def parse(datagram: bytes) -> Request | Response:
    """Parse one datagram. Octets beyond Content-Length are ignored; without Content-Length the body is the rest.

    Raises SipError: with a status and ``request`` set where a request should be answered, else with neither.
    """
    if len(datagram) > MAX_MESSAGE:
        raise SipError(None, f"datagram of {len(datagram)} octets, at most {MAX_MESSAGE} expected")
    start = 0 if datagram[:1] > b"\r" else _skip_line_ends(datagram)
    end = datagram.find(b"\r\n\r\n", start)
    if end < 0:
        # A message that lost its last empty line is still readable; it can have no body.
        if datagram[-2:] != b"\r\n":
            raise SipError(None, "no end of the header fields")
        end, after = len(datagram) - 2, len(datagram)
    else:
        after = end + 4
    message, length = _parse_head(datagram[start:end])
    if length is None:
        message.body = datagram[after:]
    elif length > len(datagram) - after:
        raise _broken(message, 400, f"Content-Length is {length} but {len(datagram) - after} octets follow")
    elif length:
        message.body = datagram[after : after + length]
    return message


class StreamParser:
    """Cuts one direction of a TCP or TLS connection into messages.

    ``feed`` bytes, then call ``next_message`` until None. After it raised SipError the stream has lost its framing:
    send the answer, if any, and close (RFC 4475 3.1.2.3). ``pings`` counts double line ends between messages (RFC 5626
    3.5.1).
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._pending: tuple[Request | Response, int] | None = None
        self._searched = 0
        self.pings = 0

    @property
    def unfinished(self) -> bool:
        """True if some of a message is there, and the rest is not."""
        return self._pending is not None or len(self._buffer) > 3

    def feed(self, data: bytes) -> None:
        """Append what was received."""
        self._buffer += data

    def next_message(self) -> Request | Response | None:
        """The next whole message, or None while it is incomplete; raises SipError."""
        buffer = self._buffer
        if self._pending is None:
            if buffer.startswith((b"\r", b"\n")):
                self._skip_keep_alive()
            end = buffer.find(b"\r\n\r\n", self._searched)
            if end < 0:
                if len(buffer) > MAX_MESSAGE:
                    raise SipError(None, f"no end of the header fields within {MAX_MESSAGE} octets")
                self._searched = max(0, len(buffer) - 3)
                return None
            if end > MAX_MESSAGE:
                raise SipError(None, f"header fields of {end} octets, at most {MAX_MESSAGE} expected")
            self._searched = 0
            message, length = _parse_head(bytes(buffer[:end]))
            if length is None:
                raise _broken(message, 400, "no Content-Length on a stream")
            if end + 4 + length > MAX_MESSAGE:
                raise _broken(
                    message, 413, f"Content-Length is {length}, at most {MAX_MESSAGE} octets a message expected"
                )
            del buffer[: end + 4]
            self._pending = (message, length)
        message, length = self._pending
        if len(buffer) < length:
            return None
        if length:
            message.body = bytes(buffer[:length])
            del buffer[:length]
        self._pending = None
        return message

    def _skip_keep_alive(self) -> None:
        skipped = _skip_line_ends(self._buffer)
        self.pings += skipped // 4
        # Half a ping stays until its other half or a message is here.
        if skipped == len(self._buffer):
            skipped -= skipped % 4
        del self._buffer[:skipped]


def _skip_line_ends(data: bytes | bytearray) -> int:
    return len(data) - len(data.lstrip(b"\r\n"))


def _broken(message: Request | Response, status: int, text: str) -> SipError:
    if isinstance(message, Request) and message.method != "ACK":
        return SipError(status, text, message)
    return SipError(None, text)


def _parse_head(head: bytes) -> tuple[Request | Response, int | None]:
    """Start line and header fields, and the Content-Length if there is one."""
    text = head.decode("utf-8", "surrogateescape")
    lines = text.split("\r\n")
    count = len(lines)
    if text.count("\n") != count - 1 or text.count("\r") != count - 1:
        raise SipError(None, "line end that is not CR LF")
    if "\r\n " in text or "\r\n\t" in text:
        lines = _unfold(lines)
        count = len(lines)
    message = _parse_start_line(lines[0])
    del lines[0]
    if len(text) > MAX_LINE or count > MAX_HEADERS + 1:
        _check_size(message, text, lines)
    headers = _split_fields(text, lines)
    if headers is None:
        headers = _read_fields(message, lines)
    message.headers = headers
    length = headers.first.get("content-length")
    if length is None:
        return message, None
    if len(length) <= _LONGEST_LENGTH and length.isdigit() and length.isascii() and not headers.repeated:
        return message, int(length)
    return message, _parse_length(message, headers.get_all("content-length"))


def _check_size(message: Request | Response, text: str, lines: list[str]) -> None:
    """Refuse too many fields, or one or a start line that is too long, with what there is to answer to."""
    count = len(lines)
    longest = max(map(len, [text.partition("\r\n")[0], *lines]))
    if count <= MAX_HEADERS and longest <= MAX_LINE:
        return
    del lines[MAX_HEADERS:]
    message.headers = _split_fields(text, lines) or _read_fields(message, lines)
    if count > MAX_HEADERS:
        raise _broken(message, 513, f"{count} header fields, at most {MAX_HEADERS} expected")
    status = 414 if isinstance(message, Request) and len(message.uri_text) > MAX_URI else 513
    raise _broken(message, status, f"line of more than {MAX_LINE} characters")


def _split_fields(text: str, lines: list[str]) -> Headers | None:
    """The fields of lines that all read ``Name: value`` without a further blank, else None.

    Nearly all are written so, and then nothing here is done line by line.
    """
    if not lines or "\t" in text or ":  " in text or " \r\n" in text or text[-1] == " ":
        return None
    names, separators, values = zip(*map(_cut, lines, _SEPARATOR), strict=True)
    if "" in separators:
        return None
    keys = list(map(_find_key, names))
    if None not in keys:
        return Headers.of_columns(cast("list[str]", keys), names, values)
    known: list[str] = []
    for name, key in zip(names, keys, strict=True):
        if key is None and not is_token(name):
            return None
        known.append(key or header_key(name))
    return Headers.of_columns(known, names, values)


def _read_fields(message: Request | Response, lines: list[str]) -> Headers:
    """Fields in whatever way they are written, one by one."""
    message.headers = headers = Headers()
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.rstrip(" \t")
        if not colon or (name not in KNOWN_KEYS and not is_token(name)):
            raise _broken(message, 400, f"{line[:60]!r} is no header field")
        headers.add(name, value.strip(" \t"))
    return headers


def _parse_length(message: Request | Response, values: list[str]) -> int:
    lengths = set()
    for value in values:
        if not value.isdigit() or not value.isascii() or len(value) > _LONGEST_LENGTH:
            raise _broken(message, 400, f"Content-Length is {value[:40]!r}")
        lengths.add(int(value))
    if len(lengths) > 1:
        raise _broken(message, 400, "two different Content-Lengths")
    return lengths.pop()


def _parse_start_line(line: str) -> Request | Response:
    first, _, rest = line.partition(" ")
    if first == "SIP/2.0" and rest[:4] in _STATUS:
        return Response.received(_STATUS[rest[:4]], rest[4:])
    if first in KNOWN_METHODS and rest[-8:] == " SIP/2.0" and rest.count(" ") == 1:
        return Request.received(first, rest[:-8], SIP_VERSION)
    if first[:4].upper() == "SIP/":
        code, _, reason = rest.partition(" ")
        if first.upper() != "SIP/2.0" or len(code) != 3 or not code.isdigit() or not code.isascii():
            raise SipError(None, f"{line[:60]!r} is no status line")
        status = int(code)
        if not 100 <= status <= 699:
            raise SipError(None, f"status is {status}, expected 100 to 699")
        return Response.received(status, reason)
    # RFC 4475 3.1.2.9, 3.1.2.10: more blanks than one between the parts, or at the end, are let pass.
    uri, blank, version = rest.strip(" ").rpartition(" ")
    if not blank or (first not in KNOWN_METHODS and not is_token(first)) or version[:4].upper() != "SIP/":
        raise SipError(None, f"{line[:60]!r} is no request line")
    return Request.received(first, uri.rstrip(" "), version)


def _unfold(lines: list[str]) -> list[str]:
    """Continuation lines joined to the line they belong to, each fold one blank (RFC 3261 7.3.1)."""
    unfolded: list[str] = []
    parts: list[str] = []
    for line in lines:
        if line[:1] in (" ", "\t") and parts:
            parts.append(line.strip(" \t"))
            continue
        if parts:
            unfolded.append(" ".join(parts))
        parts = [line]
    unfolded.append(" ".join(parts))
    return unfolded
