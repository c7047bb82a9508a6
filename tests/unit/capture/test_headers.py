"""Headers that were never sent have right lengths and check sums, whatever they carry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.capture import pcapng
from gateway.capture.headers import MAX_SEGMENT, MAX_UDP, tcp, udp
from gateway.capture.pcapng import MAX_TEXT
from tests.unit.capture.pcapng_reader import read

V4 = st.sampled_from(["192.0.2.1", "0.0.0.0", "255.255.255.255", "10.1.2.3"])
V6 = st.sampled_from(["2001:db8::1", "::", "fe80::1%eth0"])
PORTS = st.integers(0, 65_535)


def ones_sum(data: bytes) -> int:
    """RFC 1071, written anew: right is what sums up to all ones."""
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def checked(packet: bytes, protocol: int) -> bytes:
    """The payload of an IP packet, after a look at its lengths and sums."""
    if packet[0] >> 4 == 4:
        assert int.from_bytes(packet[2:4], "big") == len(packet) and packet[9] == protocol
        assert ones_sum(packet[:20]) == 0xFFFF
        addresses, rest = packet[12:20], packet[20:]
    else:
        assert int.from_bytes(packet[4:6], "big") == len(packet) - 40 and packet[6] == protocol
        addresses, rest = packet[8:40], packet[40:]
    assert ones_sum(addresses + bytes((0, protocol)) + len(rest).to_bytes(2, "big") + rest) == 0xFFFF
    return rest


@given(st.one_of(st.tuples(V4, V4), st.tuples(V6, V6)), PORTS, PORTS, st.binary(max_size=40))
def test_datagrams(addresses: tuple[str, str], source: int, destination: int, payload: bytes) -> None:
    rest = checked(udp((addresses[0], source), (addresses[1], destination), payload), 17)
    assert rest[:6] == b"".join(n.to_bytes(2, "big") for n in (source, destination, 8 + len(payload)))
    assert rest[6:8] != b"\0\0" and rest[8:] == payload


def test_a_sum_of_zero_is_written_as_all_ones() -> None:
    ends = ("192.0.2.1", 1), ("192.0.2.2", 2)
    filler = udp(*ends, b"\0\0")[26:28]
    assert udp(*ends, filler)[26:28] == b"\xff\xff"


@given(st.one_of(st.tuples(V4, V4), st.tuples(V6, V6)), st.integers(0, 1 << 40), st.binary(max_size=40))
def test_segments(addresses: tuple[str, str], sequence: int, payload: bytes) -> None:
    packet = tcp((addresses[0], 1), (addresses[1], 2), payload, sequence=sequence, acknowledged=7)
    rest = checked(packet, 6)
    assert int.from_bytes(rest[4:8], "big") == sequence % (1 << 32)
    assert rest[8:12] == b"\0\0\0\7" and rest[12] >> 4 == 5 and rest[20:] == payload


def test_addresses_of_two_families_are_those_of_the_longer_one() -> None:
    packet = udp(("192.0.2.1", 1), ("2001:db8::1", 2), b"")
    assert packet[0] >> 4 == 6 and packet[8:24] == bytes(16)
    assert udp(("::ffff:192.0.2.1", 1), ("192.0.2.2", 2), b"")[12:16] == bytes((192, 0, 2, 1))


def test_what_does_not_fit_is_refused() -> None:
    ends = ("192.0.2.1", 1), ("192.0.2.2", 2)
    assert len(udp(*ends, bytes(MAX_UDP))) == 65_535
    with pytest.raises(ValueError, match="at most 65507"):
        udp(*ends, bytes(MAX_UDP + 1))
    assert len(tcp(*ends, bytes(MAX_SEGMENT), sequence=1, acknowledged=1)) == 65_535
    with pytest.raises(ValueError, match="at most 65495"):
        tcp(*ends, bytes(MAX_SEGMENT + 1), sequence=1, acknowledged=1)


@given(st.text(max_size=2_000), st.text(max_size=20), st.integers(-(1 << 70), 1 << 70), st.binary(max_size=20))
def test_any_text_and_time_is_a_whole_file(comment: str, name: str, at: int, data: bytes) -> None:
    file = read(
        pcapng.section("x", "y", comment)
        + pcapng.interface(101, "i" + name)
        + pcapng.packet(0, at, data, inward=True, comment=comment)
    )
    (packet,) = file.packets
    assert packet.data == data and packet.at == min(max(at, 0), (1 << 64) - 1)
    assert len(packet.comment.encode()) <= MAX_TEXT and packet.interface.name.startswith("i")
    whole = comment.encode("utf-8", "replace").decode()
    assert whole.startswith(packet.comment) and (packet.comment == whole or len(packet.comment.encode()) > MAX_TEXT - 4)
