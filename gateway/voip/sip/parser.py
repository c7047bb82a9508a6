"""Bytes to SIP messages: datagrams and streams framed by Content-Length (RFC 3261 18.3). Reads no header values."""

from __future__ import annotations

from gateway.voip.sip.errors import SipError
from gateway.voip.sip.headers import KNOWN_KEYS, Entry, Headers, header_key
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.status import KNOWN_METHODS
from gateway.voip.sip.syntax import is_token

MAX_MESSAGE = 65_535
"""Longest message taken, start line to end of body, in octets, on any transport."""
MAX_HEADERS = 256
"""Most header fields of a message."""
MAX_LINE = 8_192
"""Longest start line or (unfolded) header field, in characters."""

_find_key = KNOWN_KEYS.get


def parse(datagram: bytes) -> Request | Response:
    """Parse one datagram. Octets beyond Content-Length are ignored; without Content-Length the body is the rest.

    Raises SipError: with a status and ``request`` set where a request should be answered, else with neither.
    """
    if len(datagram) > MAX_MESSAGE:
        raise SipError(None, f"datagram of {len(datagram)} octets, at most {MAX_MESSAGE} expected")
    start = _skip_line_ends(datagram)
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
    at = 0
    while data[at : at + 1] in (b"\r", b"\n"):
        at += 1
    return at


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
    if count > MAX_HEADERS + 1:
        raise _broken(message, 400, f"{count - 1} header fields, at most {MAX_HEADERS} expected")
    if len(text) > MAX_LINE and max(map(len, lines)) > MAX_LINE:
        raise _broken(message, 400, f"line of more than {MAX_LINE} characters")
    entries: list[Entry] = []
    index: dict[str, list[str]] = {}
    add = entries.append
    find_key = _find_key
    message.headers = Headers.of_entries(entries, index)
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        key = find_key(name)
        if key is None:
            name = name.rstrip(" \t")
            key = header_key(name)
            if not colon or not is_token(name):
                raise _broken(message, 400, f"{line[:60]!r} is no header field")
        elif not colon:
            raise _broken(message, 400, f"{line[:60]!r} is no header field")
        value = value.strip(" \t")
        add((key, name, value))
        if key in index:
            index[key].append(value)
        else:
            index[key] = [value]
    lengths = index.get("content-length")
    return message, None if lengths is None else _parse_length(message, lengths)


def _parse_length(message: Request | Response, values: list[str]) -> int:
    lengths = set()
    for value in values:
        if not value.isdigit() or not value.isascii() or len(value) > 10:
            raise _broken(message, 400, f"Content-Length is {value[:40]!r}")
        lengths.add(int(value))
    if len(lengths) > 1:
        raise _broken(message, 400, "two different Content-Lengths")
    return lengths.pop()


def _parse_start_line(line: str) -> Request | Response:
    first, _, rest = line.partition(" ")
    if first[:4].upper() == "SIP/":
        code, _, reason = rest.partition(" ")
        if first.upper() != "SIP/2.0" or len(code) != 3 or not code.isdigit() or not code.isascii():
            raise SipError(None, f"{line[:60]!r} is no status line")
        status = int(code)
        if not 100 <= status <= 699:
            raise SipError(None, f"status is {status}, expected 100 to 699")
        return Response(status, reason)
    # RFC 4475 3.1.2.9, 3.1.2.10: more blanks than one between the parts, or at the end, are let pass.
    uri, blank, version = rest.strip(" ").rpartition(" ")
    if not blank or (first not in KNOWN_METHODS and not is_token(first)) or version[:4].upper() != "SIP/":
        raise SipError(None, f"{line[:60]!r} is no request line")
    return Request(first, uri.rstrip(" "), (), b"", version)


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
