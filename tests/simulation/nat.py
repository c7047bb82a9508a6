"""A NAT in front of one host, as RFC 4787 describes them: where datagrams seem to come from, and which get back in."""

from __future__ import annotations

from enum import Enum

from gateway.core import SECOND

LIFETIME = 32 * SECOND
"""How long a mapping lives that nothing leaves by: a little more than the shortest that are met (RFC 4787 4.3)."""
FIRST_PORT = 30_000

Address = tuple[str, int]


class NatKind(Enum):
    """Who may answer through a mapping (RFC 4787 5); the last one has another mapping for each far end (4.1)."""

    ANYBODY = "endpoint-independent"
    SAME_ADDRESS = "address-dependent"
    SAME_PORT = "address and port-dependent"
    SYMMETRIC = "symmetric"


class _Mapping:
    __slots__ = ("inside", "port", "spoken_to", "until")

    def __init__(self, inside: int, port: int) -> None:
        self.inside = inside
        self.port = port
        self.until = 0
        self.spoken_to: set[Address] = set()


class Nat:
    """``inside`` is the host's own address, ``outside`` the one that others see."""

    def __init__(self, kind: NatKind, inside: str, outside: str) -> None:
        self.kind = kind
        self.inside = inside
        self.outside = outside
        self._by_inside: dict[tuple[int, Address | None], _Mapping] = {}
        self._by_port: dict[int, _Mapping] = {}
        self._next_port = FIRST_PORT

    def leaves(self, port: int, target: Address, now: int) -> Address:
        """What a datagram from the host's ``port`` to ``target`` has as its source outside."""
        key = (port, target if self.kind is NatKind.SYMMETRIC else None)
        mapping = self._by_inside.get(key)
        if mapping is None or mapping.until < now:
            self._next_port += 1
            mapping = self._by_inside[key] = _Mapping(port, self._next_port)
            self._by_port[mapping.port] = mapping
        mapping.until = now + LIFETIME
        mapping.spoken_to.add(target)
        return self.outside, mapping.port

    def enters(self, port: int, source: Address, now: int) -> int | None:
        """The host's port for a datagram to ``port`` outside; None if it is kept out."""
        mapping = self._by_port.get(port)
        if mapping is None or mapping.until < now:
            return None
        if self.kind is NatKind.ANYBODY:
            return mapping.inside
        if self.kind is NatKind.SAME_ADDRESS:
            return mapping.inside if any(source[0] == each[0] for each in mapping.spoken_to) else None
        return mapping.inside if source in mapping.spoken_to else None

    def answering(self, port: int) -> set[Address]:
        """Whom the host spoke to through ``port`` outside."""
        mapping = self._by_port.get(port)
        return set() if mapping is None else mapping.spoken_to

    def forget(self) -> None:
        """All mappings are gone: the box was switched off and on, or has another line."""
        self._by_inside.clear()
        self._by_port.clear()
