"""What an independent decoder says of the traffic we send: writes it to a capture file and asks tshark.

LAPD frames go in as LINKTYPE_LINUX_LAPD, SIP messages as UDP datagrams between loopback addresses.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.interop.program import PeerError, find_program

PACKAGE = "tshark"
LINKTYPE_LINUX_LAPD = 177
LINKTYPE_IPV4 = 228
TSHARK_SECONDS = 60
EXPERT_WARNING = 0x600000
"""Wireshark's severities: note is 0x400000, warning 0x600000, error 0x800000."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What tshark finds wrong with one packet, and the packet."""

    number: int
    protocols: str
    text: str
    data: bytes

    def __str__(self) -> str:
        return f"packet {self.number} ({self.protocols}): {self.text}: {self.data.hex()}"


def _pcap(path: Path, link_type: int, packets: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link_type))
        for index, packet in enumerate(packets):
            file.write(struct.pack("<IIII", index, 0, len(packet), len(packet)) + packet)


def write_lapd(path: Path, frames: Iterable[bytes], *, network: bool, sent: bool = True) -> Path:
    """Write frames of one direction; ``network``: they were seen by the network side, ``sent``: and sent by it."""
    packet_type = 4 if sent else 0
    header = struct.pack(">HHHB7xH", packet_type, 8445, 0, int(network), 0x30)
    _pcap(path, LINKTYPE_LINUX_LAPD, (header + frame for frame in frames))
    return path


def _ipv4(payload: bytes, source: int, destination: int) -> bytes:
    udp = struct.pack(">HHHH", source, destination, 8 + len(payload), 0) + payload
    header = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes([127, 0, 0, 1]), bytes([127, 0, 0, 1])
    )
    return header + udp


def write_sip(path: Path, messages: Iterable[bytes]) -> Path:
    """Write SIP messages as datagrams from port 5060 to port 5060."""
    _pcap(path, LINKTYPE_IPV4, (_ipv4(message, 5060, 5060) for message in messages))
    return path


_TRUTH = {"True": "1", "False": "0"}


def tshark(path: Path, *arguments: str) -> list[list[str]]:
    """The rows of ``tshark -T fields`` over ``path``. Truth is 1 and 0, which from 4.2 on it writes as words."""
    command = [find_program("tshark", PACKAGE), "-n", "-r", str(path), "-T", "fields", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TSHARK_SECONDS, check=False)
    if done.returncode:
        raise PeerError(f"tshark failed ({done.returncode}): {done.stderr}")
    return [[_TRUTH.get(value, value) for value in line.split("\t")] for line in done.stdout.splitlines()]


def _problems(path: Path, packets: Sequence[bytes], wanted: Callable[[bytes], str], severity: int) -> list[Problem]:
    fields = ("frame.number", "frame.protocols", "_ws.expert.severity", "_ws.expert.message", "_ws.malformed")
    found = []
    for row in tshark(path, *(word for field in fields for word in ("-e", field))):
        number, protocols, severities, text, malformed = (row + [""] * 5)[:5]
        data = packets[int(number) - 1]
        worst = max((int(value, 0) for value in severities.split(",") if value), default=0)
        if malformed or worst >= severity:
            found.append(Problem(int(number), protocols, f"malformed {malformed} {text}", data))
        elif wanted(data) not in protocols.split(":"):
            found.append(Problem(int(number), protocols, f"not taken for {wanted(data)}", data))
    return found


def lapd_problems(
    path: Path, frames: Sequence[bytes], *, network: bool, severity: int = EXPERT_WARNING
) -> list[Problem]:
    """What tshark finds wrong with LAPD frames that the side ``network`` sent; ``path`` is the capture to write."""
    write_lapd(path, frames, network=network)
    return _problems(path, frames, lambda frame: "lapd" if frame[2] & 1 else "q931", severity)


def sip_problems(path: Path, messages: Sequence[bytes], *, severity: int = EXPERT_WARNING) -> list[Problem]:
    """What tshark finds wrong with SIP messages; ``path`` is the capture to write."""
    write_sip(path, messages)
    return _problems(path, messages, lambda _: "sip", severity)
