"""pcapng as the tests read it: interfaces and packets, with every length checked. Knows what gateway.capture writes."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field


@dataclass
class Interface:
    link_type: int
    name: str
    description: str


@dataclass
class Packet:
    interface: Interface
    at: int
    data: bytes
    inward: bool
    comment: str

    @property
    def payload(self) -> bytes:
        """What is behind the headers of IP and UDP or TCP, or of LAPD."""
        if self.interface.link_type == 177:
            return self.data[16:]
        rest = self.data[20:] if self.data[0] >> 4 == 4 else self.data[40:]
        return rest[20:] if self.protocol == 6 else rest[8:]

    @property
    def protocol(self) -> int:
        return self.data[9] if self.data[0] >> 4 == 4 else self.data[6]

    @property
    def ports(self) -> tuple[int, int]:
        at = 20 if self.data[0] >> 4 == 4 else 40
        source, destination = struct.unpack_from(">HH", self.data, at)
        return source, destination

    @property
    def sequence(self) -> int:
        at = 20 if self.data[0] >> 4 == 4 else 40
        return int.from_bytes(self.data[at + 4 : at + 8], "big")


@dataclass
class File:
    comment: str
    interfaces: list[Interface] = field(default_factory=list)
    packets: list[Packet] = field(default_factory=list)

    def of(self, name: str) -> list[Packet]:
        return [each for each in self.packets if each.interface.name == name]


def _options(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        code, length = struct.unpack_from("<HH", data, at)
        if code == 0:
            assert length == 0 and at + 4 == len(data)
            return found
        found[code] = data[at + 4 : at + 4 + length]
        at += 4 + -(-length // 4) * 4
    assert not data, "no end of the options"
    return found


def read(data: bytes) -> File:
    at = 0
    file: File | None = None
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        assert size % 4 == 0 and struct.unpack_from("<I", data, at + size - 4)[0] == size
        body = data[at + 8 : at + size - 4]
        at += size
        if file is None:
            assert kind == 0x0A0D0D0A
            assert struct.unpack_from("<IHHq", body) == (0x1A2B3C4D, 1, 0, -1)
            file = File(_options(body[16:]).get(1, b"").decode())
        elif kind == 1:
            options = _options(body[8:])
            link_type = struct.unpack_from("<H", body)[0]
            file.interfaces.append(Interface(link_type, options[2].decode(), options.get(3, b"").decode()))
        else:
            assert kind == 6
            number, high, low, length, original = struct.unpack_from("<IIIII", body)
            assert length == original
            end = 20 + length
            options = _options(body[20 + -(-length // 4) * 4 :])
            flags = struct.unpack("<I", options[2])[0]
            assert flags in (1, 2)
            file.packets.append(
                Packet(
                    file.interfaces[number],
                    high << 32 | low,
                    body[20:end],
                    flags == 1,
                    options.get(1, b"").decode(),
                )
            )
    assert file is not None
    return file
