"""Where registered peers are, as the bytes of a file that outlives the program: JSON, each end as what was left of it.

The wall clock may be wrong or set back in between: then what was left is what is left. Opens no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from gateway.core import SECOND
from gateway.voip.iax.peers import IaxListener
from gateway.voip.sip.flow import literal_address
from gateway.voip.stored_bindings import MAX_LEFT, VERSION, opened, passed

MAX_STORE = 8 << 20
"""Octets of a file that are read at all."""


class StoreIaxBindings(msgspec.Struct, frozen=True):
    """``data`` is to be kept, in place of what was kept before: ``IaxEndpoint.restore`` takes it after a restart."""

    data: bytes


class Binding(NamedTuple):
    """Where a peer with ``host = "dynamic"`` is: at ``address`` and ``port``, seen by our socket ``listener``."""

    name: str
    listener: int
    address: str
    port: int
    expires: int
    granted: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class _Stored(msgspec.Struct, frozen=True):
    name: str
    address: str
    port: int
    left: int
    granted: int
    listener: str


class _File(msgspec.Struct, frozen=True):
    version: int
    written: float
    bindings: tuple[_Stored, ...]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_File)


def stored(bindings: Iterable[Binding], listeners: Sequence[IaxListener], wall: float, now: int) -> bytes:
    """The file's content; ``wall`` is seconds since 1970."""
    rows = [
        _Stored(each.name, each.address, each.port, left, each.granted, _name(listeners[each.listener]))
        for each in bindings
        if (left := -((now - each.expires) // SECOND)) > 0
    ]
    return _encoder.encode(_File(VERSION, wall, tuple(rows)))


def restored(data: bytes, listeners: Sequence[IaxListener], wall: float, now: int) -> list[Binding]:
    """The bindings of ``data`` that still stand; raises ValueError if it is no such file."""
    file = opened(data, _decoder, MAX_STORE)
    since = passed(file, wall)
    found = []
    for number, row in enumerate(file.bindings):
        address = literal_address(row.address)
        if address is None or not 0 < row.port < 65_536 or not 0 < row.left <= MAX_LEFT or row.granted <= 0:
            raise ValueError(f"binding {number} of {row.name!r} is at {row.address}:{row.port} for {row.left} s")
        expires = now + row.left * SECOND - since
        fit = [index for index, each in enumerate(listeners) if reaches(each, address)]
        same = [index for index in fit if _name(listeners[index]) == row.listener]
        listener = next(iter(same or fit), None)
        if expires > now and listener is not None:
            found.append(Binding(row.name, listener, address, row.port, expires, row.granted))
    return found


def reaches(listener: IaxListener, address: str) -> bool:
    """Whether a socket at ``listener`` can send to ``address``; ``::`` is both families."""
    if listener.address in ("", "::"):
        return True
    return (":" in listener.address) == (":" in address)


def _name(listener: IaxListener) -> str:
    return f"{listener.address} {listener.port}"
