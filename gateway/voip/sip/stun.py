"""STUN Binding (RFC 8489) as a client: what address and port a server sees our SIP socket at. Sans-I/O.

Over UDP only, without authentication and without FINGERPRINT of ours, as nothing else on that socket looks like STUN
(its first two bits are zero). ALTERNATE-SERVER is not followed.
"""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address

from gateway.core import MILLISECOND, SECOND, ProtocolError

MAGIC_COOKIE = 0x2112A442
MAX_MESSAGE = 548
"""RFC 8489 6.1: what passes every IPv4 path; a response without authentication has far less."""
MAX_ATTRIBUTES = 16
RTO = 500 * MILLISECOND
"""RFC 8489 6.2.1."""
MAX_REQUESTS = 7
LAST_WAIT = 16 * RTO
"""Rc and Rm (6.2.1): the last request is waited for so long."""
AGAIN = 25 * SECOND
"""RFC 5626 4.4.2 has 24 to 29 s: often enough to keep a NAT's binding."""
_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
_BINDING_REQUEST = 0x0001
_BINDING_SUCCESS = 0x0101
_BINDING_ERROR = 0x0111
_MAPPED_ADDRESS = 0x0001
_ERROR_CODE = 0x0009
_XOR_MAPPED_ADDRESS = 0x0020
_FINGERPRINT = 0x8028
_FINGERPRINT_XOR = 0x5354554E
_OPTIONAL = 0x8000
_KNOWN = frozenset({_MAPPED_ADDRESS, _ERROR_CODE, _XOR_MAPPED_ADDRESS})
_FAMILIES = {1: 4, 2: 16}


class StunError(ProtocolError):
    """Bytes are no STUN response that we can use."""


@dataclass(frozen=True, slots=True)
class BindingResponse:
    """What a server said: our address and port as it sees them, or an error ``code`` with its ``reason``."""

    transaction: bytes
    address: str = ""
    port: int = 0
    code: int = 0
    reason: str = ""


def binding_request(transaction: bytes) -> bytes:
    """A Binding request (RFC 8489 2) with this 12-octet transaction id."""
    return _HEADER.pack(_BINDING_REQUEST, 0, MAGIC_COOKIE, transaction)


def parse_response(data: bytes) -> BindingResponse:
    """A Binding response; StunError for all else, one that we would have to understand more of included (6.3.3)."""
    if not _HEADER.size <= len(data) <= MAX_MESSAGE:
        raise StunError(f"STUN: {len(data)} octets, expected {_HEADER.size} to {MAX_MESSAGE}")
    kind, length, cookie, transaction = _HEADER.unpack_from(data)
    if cookie != MAGIC_COOKIE or length % 4 or length != len(data) - _HEADER.size:
        raise StunError("STUN: no magic cookie, or another length than it says")
    if kind not in (_BINDING_SUCCESS, _BINDING_ERROR):
        raise StunError(f"STUN: message type {kind:#06x}, expected a Binding response")
    attributes = _attributes(data)
    if kind == _BINDING_ERROR:
        value = attributes.get(_ERROR_CODE, b"")
        if len(value) < 4 or not 3 <= value[2] & 7 <= 6 or value[3] > 99:
            raise StunError("STUN: error response without a sensible ERROR-CODE")
        reason = value[4:].decode("utf-8", "replace")[:127]
        return BindingResponse(transaction, code=(value[2] & 7) * 100 + value[3], reason=reason)
    unknown = [kind for kind in attributes if kind < _OPTIONAL and kind not in _KNOWN]
    if unknown:
        raise StunError(f"STUN: attribute {unknown[0]:#06x} must be understood and is not")
    value = attributes.get(_XOR_MAPPED_ADDRESS, b"")
    if value:
        return BindingResponse(transaction, *_address(value, data[4:20]))
    # RFC 3489: servers of old.
    return BindingResponse(transaction, *_address(attributes.get(_MAPPED_ADDRESS, b""), bytes(16)))


def _attributes(data: bytes) -> dict[int, bytes]:
    """All attributes, the first of each type (RFC 8489 14)."""
    found: dict[int, bytes] = {}
    at = _HEADER.size
    count = 0
    while at < len(data):
        count += 1
        if count > MAX_ATTRIBUTES or at + _ATTRIBUTE.size > len(data):
            raise StunError("STUN: attributes are too many or cut short")
        kind, length = _ATTRIBUTE.unpack_from(data, at)
        end = at + _ATTRIBUTE.size + length
        if end > len(data):
            raise StunError(f"STUN: attribute {kind:#06x} is longer than the message")
        value = data[at + _ATTRIBUTE.size : end]
        if kind == _FINGERPRINT:
            # 14.7: over all that stands before, the length as if nothing came after.
            expected = zlib.crc32(data[:at]) ^ _FINGERPRINT_XOR
            if length != 4 or int.from_bytes(value) != expected:
                raise StunError("STUN: wrong FINGERPRINT")
        found.setdefault(kind, value)
        at = end + -length % 4
    return found


def _address(value: bytes, mask: bytes) -> tuple[str, int]:
    """Address and port of (XOR-)MAPPED-ADDRESS; ``mask`` is cookie and transaction id, or zeros."""
    size = _FAMILIES.get(value[1]) if len(value) >= 4 else None
    if size is None or len(value) != 4 + size:
        raise StunError("STUN: success response without a mapped address")
    port = int.from_bytes(value[2:4]) ^ int.from_bytes(mask[:2])
    raw = bytes(a ^ b for a, b in zip(value[4:], mask[:size], strict=True))
    address = str(IPv4Address(raw) if size == 4 else IPv6Address(raw))
    if port == 0:
        raise StunError("STUN: mapped to port 0")
    return address, port


class Outcome(Enum):
    """What came of asking a server."""

    MAPPED = "mapped"
    REFUSED = "refused"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of one Binding transaction; ``response`` is None after ``SILENT``."""

    outcome: Outcome
    response: BindingResponse | None = None


class StunClient:
    """One Binding transaction at a time with one server. ``poll`` gives requests to send, and answers."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        # Empty: nothing is under way.
        self._transaction = b""
        self._sent = 0
        self._deadline: int | None = None
        self._out: list[bytes | Answer] = []

    @property
    def busy(self) -> bool:
        """True while an answer is waited for."""
        return bool(self._transaction)

    def start(self, now: int) -> None:
        """Ask; what was asked before is given up."""
        self._transaction = self._rng.randbytes(12)
        self._sent = 0
        self._send(now)

    def stop(self) -> None:
        """Want no answer any more."""
        self._transaction, self._deadline = b"", None
        self._out.clear()

    def receive(self, data: bytes, now: int) -> None:  # noqa: ARG002
        """A datagram came from the server; StunError if it is no response, and nothing if it answers something else."""
        response = parse_response(data)
        if response.transaction != self._transaction:
            return
        self._transaction, self._deadline = b"", None
        self._out.append(Answer(Outcome.REFUSED if response.code else Outcome.MAPPED, response))

    def handle_timer(self, now: int) -> None:
        """Ask again, or give up."""
        if self._deadline is None or now < self._deadline:
            return
        if self._sent < MAX_REQUESTS:
            self._send(now)
            return
        self._transaction, self._deadline = b"", None
        self._out.append(Answer(Outcome.SILENT))

    def next_timer(self) -> int | None:
        """When to ask again, or to give up."""
        return self._deadline

    def poll(self) -> bytes | Answer | None:
        """A request to send, or what came of it."""
        return self._out.pop(0) if self._out else None

    def _send(self, now: int) -> None:
        self._sent += 1
        self._out.append(binding_request(self._transaction))
        self._deadline = now + (LAST_WAIT if self._sent == MAX_REQUESTS else RTO << (self._sent - 1))
