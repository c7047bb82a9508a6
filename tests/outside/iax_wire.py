"""The wire between two ends of IAX2: a relay on loopback that keeps every datagram with its time, for tshark to judge.

It needs no privilege, as a capture of the interface would. Each side takes it for the other one.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from tests.interop.program import free_port
from tests.interop.wire_check import EXPERT_WARNING, tshark
from tests.simulation import iax_rfc as rfc

OVER_IP = 28
"""Octets of IPv4 and UDP headers around each datagram."""
PORT = 4569
LINKTYPE_IPV4 = 228
FULL_BIT = 0x80
FULL_HEADER = 12
META_TRUNK = 1
BLOCK_MILLISECONDS = 20
G711_BLOCK = 160


@dataclass(frozen=True, slots=True)
class Datagram:
    """``near``: sent by the side that the relay's near port faces. ``at``: seconds of the monotonic clock."""

    at: float
    near: bool
    data: bytes

    @property
    def full(self) -> bool:
        """Whether it is a full frame."""
        return bool(self.data[0] & FULL_BIT)

    @property
    def trunk(self) -> bool:
        """Whether it is a meta frame with a trunk in it."""
        return len(self.data) >= 8 and self.data[:3] == bytes((0, 0, META_TRUNK))

    @property
    def mini(self) -> bool:
        """Whether it is a mini frame."""
        return not self.full and self.data[:2] != b"\0\0"


def trunk_blocks(data: bytes) -> list[bytes]:
    """The voice of each call in a trunk frame."""
    stamped, at, blocks = data[3] & 1, 8, []
    while at < len(data):
        # With time stamps an entry is length, call number, stamp; without call number, length.
        length = int.from_bytes(data[at : at + 2] if stamped else data[at + 2 : at + 4], "big")
        at += 6 if stamped else 4
        blocks.append(data[at : at + length])
        at += length
    return blocks


class _Side(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._take(data)


class Relay:
    """Between the ports ``near`` and ``far`` of loopback: near talks to ``near_port``, far to ``far_port``.

    ``change`` may give another datagram instead of one, or None for none at all.
    """

    def __init__(self, near: int, far: int) -> None:
        self.near, self.far = near, far
        self.near_port, self.far_port = free_port(), free_port()
        self.datagrams: list[Datagram] = []
        self.change: Callable[[Datagram], bytes | None] = lambda datagram: datagram.data
        self._sides: list[_Side] = []

    async def __aenter__(self) -> Relay:
        loop = asyncio.get_running_loop()
        for port, take in ((self.near_port, self._from_near), (self.far_port, self._from_far)):
            _, side = await loop.create_datagram_endpoint(lambda take=take: _Side(take), local_addr=("127.0.0.1", port))  # type: ignore[misc]
            self._sides.append(side)
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        for side in self._sides:
            side.transport.close()

    def _from_near(self, data: bytes) -> None:
        self._pass(Datagram(time.monotonic(), True, data), self._sides[1], self.far)

    def _from_far(self, data: bytes) -> None:
        self._pass(Datagram(time.monotonic(), False, data), self._sides[0], self.near)

    def _pass(self, datagram: Datagram, out: _Side, port: int) -> None:
        self.datagrams.append(datagram)
        changed = self.change(datagram)
        if changed is not None:
            with contextlib.suppress(OSError):
                out.transport.sendto(changed, ("127.0.0.1", port))

    def inject(self, data: bytes, *, near: bool) -> None:
        """Send ``data`` as if the near (or far) side had."""
        out, port = (self._sides[1], self.far) if near else (self._sides[0], self.near)
        out.transport.sendto(data, ("127.0.0.1", port))

    def sent(self, *, near: bool, since: float = 0.0, until: float = float("inf")) -> list[Datagram]:
        """What one side sent between two times."""
        return [each for each in self.datagrams if each.near is near and since <= each.at < until]


def write_capture(path: Path, datagrams: Iterable[Datagram]) -> Path:
    """A capture file: the near side is 127.0.0.1, the far 127.0.0.2, both at the port of IAX2."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, LINKTYPE_IPV4))
        for each in datagrams:
            ends = [bytes((127, 0, 0, 1)), bytes((127, 0, 0, 2))]
            source, to = ends if each.near else reversed(ends)
            udp = struct.pack(">HHHH", PORT, PORT, 8 + len(each.data), 0) + each.data
            packet = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + source + to + udp
            seconds, rest = divmod(each.at, 1)
            file.write(struct.pack("<IIII", int(seconds), int(rest * 1e6), len(packet), len(packet)) + packet)
    return path


_GOOD_TRUNK = Datagram(0.0, True, bytes.fromhex("00000100000000002b0f00a0") + bytes((0xD5,)) * G711_BLOCK)


_STRAY = "Trailing stray characters"
_LAST_KIND = 0x0C
"""Of full frames that anybody sends."""


class _Keys:
    """The keys of one direction: the one in force last, for what was sent before it is repeated with its own."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []

    def clear(self, each: Datagram) -> Datagram | None:
        """What it is in the clear; None if none of the keys makes sense of it."""
        if not self.keys or each.trunk:
            return each
        for key in reversed(self.keys):
            try:
                data = rfc.unsealed(each.data, key)
            except rfc.MalformedError:
                continue
            if not each.full or (len(data) >= FULL_HEADER and 0 < data[10] <= _LAST_KIND):
                return replace(each, data=data)
        # A NEW has no key yet, and INVAL is for a call of which nobody knows one any more.
        clear = each.full and each.data[10:12] in (bytes((rfc.IAX, rfc.NEW)), bytes((rfc.IAX, rfc.INVAL)))
        return each if clear else None


def in_clear(datagrams: Iterable[Datagram], secret: str) -> list[Datagram]:
    """One call at a time with ``secret``, decrypted by the rules of RFC 5456 7.2 and chan_iax2's RTKEY.

    AssertionError if a frame is neither in the clear nor encrypted with the keys that were told.
    """
    keys = {True: _Keys(), False: _Keys()}
    found = []
    for each in datagrams:
        if each.full and each.data[10:12] in (bytes((rfc.IAX, rfc.NEW)), bytes((rfc.IAX, rfc.CALLTOKEN))):
            keys = {True: _Keys(), False: _Keys()}
        clear = keys[each.near].clear(each)
        assert clear is not None, f"{'near' if each.near else 'far'} sent what no key opens: {each.data.hex()}"
        found.append(clear)
        if clear.full and clear.data[10:12] == bytes((rfc.IAX, rfc.AUTHREQ)):
            elements = rfc.read_full(clear.data).elements
            if rfc.IE_ENCRYPTION in elements:
                for both in keys.values():
                    both.keys = [rfc.call_key(elements[rfc.IE_CHALLENGE], secret)]
        elif clear.full and clear.data[10:12] == bytes((rfc.IAX, rfc.RTKEY)):
            key = rfc.read_full(clear.data).elements[rfc.IE_CHALLENGE]
            if key not in keys[each.near].keys:
                keys[each.near].keys.append(key)
    return found


def malformed(path: Path, datagrams: list[Datagram]) -> list[str]:
    """What tshark does not like of ``datagrams``; ``path`` is the capture to write.

    tshark 4.0 does not like trunk frames of anybody: where it spoils one that is good, they are read here instead.
    """
    judged = [_GOOD_TRUNK, *datagrams]
    write_capture(path, judged)
    fields = ("frame.number", "frame.protocols", "_ws.expert.severity", "_ws.expert.message", "_ws.malformed")
    found: list[str] = []
    blind = False
    for row in tshark(path, *(word for field in fields for word in ("-e", field))):
        number, protocols, severities, text, bad = (row + [""] * 5)[:5]
        each = judged[int(number) - 1]
        worst = max((int(value, 0) for value in severities.split(",") if value), default=0)
        if bad or worst >= EXPERT_WARNING or "iax2" not in protocols.split(":"):
            blind = blind or each is _GOOD_TRUNK
            # A key of RTKEY may have a zero octet in it, at which tshark thinks that its text ends.
            key = each.full and each.data[10:12] == bytes((rfc.IAX, rfc.RTKEY)) and _STRAY in text
            if key or (each.trunk and blind):
                continue
            found.append(f"{number} ({protocols}) {bad} {text}: {each.data[:48].hex()}")
    return found + [f"trunk frame cut short: {each.data[:48].hex()}" for each in datagrams if not whole(each)]


def whole(datagram: Datagram) -> bool:
    """Whether a trunk frame has entries and ends where the last one does; other datagrams are."""
    if not datagram.trunk:
        return True
    entry = 6 if datagram.data[3] & 1 else 4
    blocks = trunk_blocks(datagram.data)
    return bool(blocks) and len(datagram.data) == 8 + sum(entry + len(block) for block in blocks)


def kilobits_a_call(datagrams: Iterable[Datagram]) -> float:
    """What the voice of a G.711 call in trunk frames takes of the wire at IP level, in kbit/s one way.

    By octets for each 20 ms of a call's voice, so that the clock of who looks does not matter.
    """
    octets = blocks = 0
    for each in datagrams:
        if each.trunk:
            octets += OVER_IP + len(each.data)
            blocks += sum(len(block) for block in trunk_blocks(each.data)) // G711_BLOCK
    return octets * 8 / (blocks * BLOCK_MILLISECONDS) if blocks else 0.0
