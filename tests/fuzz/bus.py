"""Targets of what comes over D-Bus: octets that a bus hands on, and calls of members with whatever they may have."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from gateway.provision.bus.adapter import ERROR, METHOD_CALL, BusError, Incoming, _Reader
from gateway.provision.bus.errors import ServiceError
from gateway.provision.bus.interface import OBJECT_MANAGER, PROPERTIES, ROOT, STANDARD, Role
from gateway.provision.bus.marshal import Variant, body_of, message
from gateway.provision.bus.objects import INTERFACES
from gateway.provision.bus.roles import Caller
from gateway.provision.bus.service import Service
from tests.fuzz.script import Script
from tests.unit.provision.bus_scene import Model

MAX_AT_ONCE = 300
"""Octets that the socket has at a time at most."""
CALLER = Caller(":1.9", 0, "root", Role.ADMIN)


class _Socket:
    """Has all that is to come, in pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces
        self.asked = 0

    def recvmsg(self, size: int, _ancillary: int, _flags: int) -> tuple[bytes, list[object], int, object]:
        self.asked = max(self.asked, size)
        if not self._pieces:
            return b"", [], 0, None
        piece = self._pieces.pop(0)
        if not piece:
            raise BlockingIOError
        if piece[size:]:
            self._pieces.insert(0, piece[size:])
        return piece[:size], [], 0, None


def _heard(pieces: list[bytes]) -> list[Incoming]:
    """The messages in ``pieces`` up to their end, or to where they are none any more."""
    own = _Socket(pieces)
    heard: list[Incoming] = []
    reader: Any = _Reader(own, True)  # type: ignore[arg-type]
    while True:
        try:
            incoming = reader.next()
        except (EOFError, ValueError):
            break
        if incoming is not None:
            heard.append(incoming)
            reader = _Reader(own, True)  # type: ignore[arg-type]
    # Whoever announces more than it may have is not given the memory for it.
    assert own.asked <= 6 * 1024 * 1024
    return heard


def _run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())


def messages(data: bytes) -> None:
    """Octets in pieces are messages or none, the same whatever the pieces, and no call breaks the service."""
    script = Script(data)
    sizes = [1 + script.below(MAX_AT_ONCE) for _ in range(script.octet() % 8)]
    octets = script.rest()
    pieces, at = [], 0
    for size in sizes:
        pieces += [octets[at : at + size], b""]
        at += size
    pieces.append(octets[at:])
    heard = _heard([octets, b""])
    assert [repr(each) for each in _heard(pieces)] == [repr(each) for each in heard]
    if heard:
        _run(lambda: _answered(heard))


async def _answered(heard: list[Incoming]) -> None:
    service = Service(Model(), trusted=())
    try:
        for each in heard:
            if each.kind == METHOD_CALL and not each.too_long:
                # What else it raises is a fault of ours.
                with contextlib.suppress(ServiceError, BusError):
                    signature, body = await service._carry_out(each, CALLER, [])
                    assert body or not signature
            elif each.kind != ERROR:
                service.on_signal(each)
    finally:
        await service.close()


_PATHS = {
    "Manager": ROOT,
    "Span": f"{ROOT}/spans/pstn",
    "Trunk": f"{ROOT}/trunks/hq",
    "Phone": f"{ROOT}/phones/101",
    "Call": f"{ROOT}/calls/0a0b_2d1",
    "Job": f"{ROOT}/jobs/1",
}
_VALUES = {"s": "x", "u": 1, "b": True, "v": Variant("s", "x")}


def _seeds() -> tuple[bytes, ...]:
    """A call of each member, as whole messages."""
    found = []
    for interface in (*STANDARD, OBJECT_MANAGER, *INTERFACES):
        own = interface.name.rpartition(".")[2]
        path = _PATHS.get(own, f"{ROOT}/{own.lower()}" if interface in INTERFACES else ROOT)
        for member in interface.methods:
            values: list[object] = [_VALUES[each.signature] for each in member.takes]
            if interface is PROPERTIES:
                values[0] = INTERFACES[0].name
            fields = [
                (1, Variant("o", path)),
                (2, Variant("s", interface.name)),
                (3, Variant("s", member.name)),
                (7, Variant("s", ":1.9")),
            ]
            if member.signature:
                fields.append((8, Variant("g", member.signature)))
            found.append(b"\0" + message(METHOD_CALL, 0, 5, fields, body_of(member.signature, values)))
    many = bytes((2, 0, 20, 0, 90)) + found[0][1:] + found[1][1:]
    return (*found, many)


MESSAGES_SEEDS = _seeds()
