"""Requests of ours, composed as text in one go (RFC 3261 7.1): their header fields are read back only if wanted.

Digest, CANCEL and a change of transport want them; most requests are sent, answered and forgotten without.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.voip.sip.headers import Headers
from gateway.voip.sip.message import SIP_VERSION, Request
from gateway.voip.sip.values import CSeq


class ComposedRequest(Request):
    """A request whose ``fields`` (lines with their ends, without Content-Length) are text already.

    ``number`` is that of CSeq, ``sender`` the value of From. Raises ValueError if there are not ``count`` lines: one
    value has a line end inside.
    """

    __slots__ = ("_call_id", "_fields", "_headers", "number", "sender")

    def __init__(
        self,
        method: str,
        uri: str,
        number: int,
        call_id: str,
        sender: str,
        fields: str,
        count: int,
        body: bytes = b"",
    ) -> None:
        if fields.count("\n") != count or fields.count("\r") != count:
            raise ValueError("a header field of an outgoing message has a line end in it")
        self.method = method
        self.uri_text = uri
        self._uri = None
        self.version = SIP_VERSION
        self.body = body
        self.number = number
        self.sender = sender
        self._call_id = call_id
        self._fields = fields
        self._headers: Headers | None = None

    @property
    def headers(self) -> Headers:  # type: ignore[override]
        """The header fields, from now on what is sent."""
        headers = self._headers
        if headers is None:
            cut = [line.partition(": ") for line in self._fields.split("\r\n")[:-1]]
            headers = self._headers = Headers([(name, value) for name, _, value in cut])
        return headers

    @property
    def call_id(self) -> str:
        """Call-ID."""
        return self._call_id

    @property
    def cseq(self) -> CSeq:
        """CSeq."""
        return CSeq(self.number, self.method)

    def to_bytes(self) -> bytes:
        """The message as sent."""
        if self._headers is not None:
            return super().to_bytes()
        body = self.body
        head = f"{self.method} {self.uri_text} SIP/2.0\r\n{self._fields}Content-Length: {len(body)}\r\n\r\n"
        return head.encode("utf-8", "surrogateescape") + body


def field_lines(fields: Iterable[tuple[str, str]]) -> str:
    """``fields`` as lines with their ends."""
    return "".join([f"{name}: {value}\r\n" for name, value in fields])
