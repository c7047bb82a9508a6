"""Bodies of SIP messages: multipart (RFC 2046 5.1, RFC 5621), Content-Disposition, and which part is for whom."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from gateway.voip.sip.errors import SipError
from gateway.voip.sip.headers import Headers
from gateway.voip.sip.message import Message
from gateway.voip.sip.syntax import unquote
from gateway.voip.sip.values import MediaType, Tagged

MAX_PARTS = 32
"""Most parts of one multipart body, nested ones counted."""
MAX_DEPTH = 4
"""How deep multiparts may nest."""
MAX_PART_HEADERS = 32
MAX_BOUNDARY = 70
"""RFC 2046 5.1.1."""

SDP = "application/sdp"
SDP_TYPE = ("Content-Type", SDP)
UNDERSTOOD_ENCODINGS = frozenset({"identity", ""})


class BodyPart(msgspec.Struct, frozen=True):
    """One part of a body, or the body itself. ``content_type`` None: no Content-Type was given."""

    content_type: MediaType | None
    disposition: Tagged | None
    encoding: str
    content_id: str | None
    content: bytes

    @property
    def kind(self) -> str:
        """``type/subtype``; without Content-Type it is text/plain (RFC 2046 5.2)."""
        return self.content_type.full if self.content_type else "text/plain"

    @property
    def required(self) -> bool:
        """False with handling=optional: whoever does not understand the part may ignore it (RFC 3261 20.11)."""
        if self.disposition is None:
            return True
        return (self.disposition.params.get("handling") or "required").lower() != "optional"


def body_parts(message: Message) -> tuple[BodyPart, ...]:
    """The leaves of the body in order, multiparts opened; () without a body. Raises SipError(400).

    Of a multipart/alternative all alternatives are listed, the best one last (RFC 2046 5.1.4).
    """
    if not message.body:
        return ()
    encoding = (message.headers.get("content-encoding") or "").strip().lower()
    part = BodyPart(message.content_type, message.content_disposition, encoding, None, message.body)
    if part.content_type is None or part.content_type.type != "multipart":
        return (part,)
    leaves: list[BodyPart] = []
    _open(part, leaves, 0)
    return tuple(leaves)


def find_part(message: Message, kind: str) -> bytes | None:
    """The content of the part that is ``kind`` (lower case), else None. Raises SipError(400) for a broken body.

    Parts with a disposition meant for something else (RFC 3261 20.11: render, icon, alert, early-session) do not count.
    """
    body = message.body
    if not body:
        return None
    first = message.headers.first
    if first.get("content-type") == kind and "content-disposition" not in first:
        return body
    found: bytes | None = None
    for part in body_parts(message):
        if part.kind != kind or part.encoding not in UNDERSTOOD_ENCODINGS:
            continue
        if part.disposition is not None and part.disposition.value not in ("session", "by-reference", "attachment"):
            continue
        found = part.content
        if part.disposition is not None and part.disposition.value == "session":
            break
    return found


def find_sdp(message: Message) -> bytes | None:
    """The session description of the message, whether it is the body or a part of it, else None."""
    return find_part(message, SDP)


def not_understood(message: Message, kinds: Collection[str]) -> BodyPart | None:
    """The first part that must be understood but is not of ``kinds`` or is encoded; None if there is none.

    Raises SipError(400) for a broken body.
    """
    parts = body_parts(message)
    alternatives = message.content_type is not None and message.content_type.full == "multipart/alternative"
    bad = [
        part
        for part in parts
        if part.required and (part.kind not in kinds or part.encoding not in UNDERSTOOD_ENCODINGS)
    ]
    if alternatives and len(bad) < len(parts):
        return None
    return bad[0] if bad else None


def _open(part: BodyPart, leaves: list[BodyPart], depth: int) -> None:
    if part.content_type is None or part.content_type.type != "multipart":
        leaves.append(part)
        if len(leaves) > MAX_PARTS:
            raise SipError(400, f"more than {MAX_PARTS} body parts")
        return
    if depth >= MAX_DEPTH:
        raise SipError(400, f"multiparts nested deeper than {MAX_DEPTH}")
    boundary = unquote(part.content_type.params.get("boundary") or "")
    if not 1 <= len(boundary) <= MAX_BOUNDARY:
        raise SipError(400, f"multipart boundary of {len(boundary)} characters, expected 1 to {MAX_BOUNDARY}")
    for chunk in _cut(part.content, b"--" + boundary.encode("utf-8", "surrogateescape")):
        _open(_parse_part(chunk), leaves, depth + 1)


def _cut(content: bytes, delimiter: bytes) -> list[bytes]:
    """What stands between the delimiter lines; preamble and epilogue are dropped."""
    # The line end before a delimiter belongs to the delimiter, so the text starts with one for the first.
    pieces = (b"\r\n" + content).split(b"\r\n" + delimiter)
    if len(pieces) > MAX_PARTS + 2:
        raise SipError(400, f"more than {MAX_PARTS} body parts")
    chunks: list[bytes] = []
    for piece in pieces[1:]:
        if piece.startswith(b"--"):
            return chunks
        line, end, chunk = piece.partition(b"\r\n")
        if not end or line.strip(b" \t"):
            raise SipError(400, "multipart delimiter with text after it")
        chunks.append(chunk)
    raise SipError(400, "multipart without its closing delimiter")


def _parse_part(chunk: bytes) -> BodyPart:
    if chunk.startswith(b"\r\n"):
        head, content = b"", chunk[2:]
    else:
        head, end, content = chunk.partition(b"\r\n\r\n")
        if not end and not head.endswith(b"\r\n") and b":" not in head:
            raise SipError(400, "body part without an empty line after its header fields")
    headers = Headers()
    if head:
        text = head.decode("utf-8", "surrogateescape").replace("\r\n ", " ").replace("\r\n\t", " ")
        lines = text.split("\r\n")
        if len(lines) > MAX_PART_HEADERS:
            raise SipError(400, f"{len(lines)} header fields in a body part, at most {MAX_PART_HEADERS} expected")
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon and line:
                raise SipError(400, f"{line[:60]!r} is no header field of a body part")
            if colon:
                headers.add(name.strip(), value.strip())
    kind, disposition = headers.get("content-type"), headers.get("content-disposition")
    encoding = headers.get("content-transfer-encoding") or ""
    return BodyPart(
        MediaType.parse(kind) if kind else None,
        Tagged.parse(disposition) if disposition else None,
        # SIP is 8-bit clean, so these say nothing (RFC 3261 7.4.1).
        "" if encoding.lower() in ("binary", "8bit", "7bit") else encoding.lower(),
        headers.get("content-id"),
        content,
    )
