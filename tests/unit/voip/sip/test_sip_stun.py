"""STUN Binding (RFC 8489): the octets of RFC 5769 in and out, retransmission, and what nobody should send."""

from __future__ import annotations

import contextlib
import random
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import MILLISECOND, SECOND
from gateway.voip.sip.stun import (
    MAX_ATTRIBUTES,
    Answer,
    Outcome,
    StunClient,
    StunError,
    binding_request,
    parse_response,
)

TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
# RFC 5769 2.2 and 2.3, without what needs a password: the mapped address as it stands there.
MAPPED_V4 = bytes.fromhex("00200008 0001a147 e112a643".replace(" ", ""))
MAPPED_V6 = bytes.fromhex("00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9".replace(" ", ""))
SOFTWARE = bytes.fromhex("8022000b 74657374 20766563 746f7220".replace(" ", ""))


def message(*attributes: bytes, kind: int = 0x0101, transaction: bytes = TRANSACTION) -> bytes:
    body = b"".join(attributes)
    return struct.pack("!HHI12s", kind, len(body), 0x2112A442, transaction) + body


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def fingerprinted(data: bytes) -> bytes:
    data = data[:2] + struct.pack("!H", len(data) - 20 + 8) + data[4:]
    return data + attribute(0x8028, struct.pack("!I", zlib.crc32(data) ^ 0x5354554E))


def test_mapped_addresses_of_the_test_vectors() -> None:
    found = parse_response(message(SOFTWARE, MAPPED_V4))
    assert (found.address, found.port, found.transaction) == ("192.0.2.1", 32853, TRANSACTION)
    found = parse_response(message(MAPPED_V6))
    assert (found.address, found.port) == ("2001:db8:1234:5678:11:2233:4455:6677", 32853)


def test_fingerprint_is_checked_if_there_is_one() -> None:
    whole = fingerprinted(message(MAPPED_V4))
    assert parse_response(whole).port == 32853
    broken = bytearray(whole)
    broken[-1] ^= 1
    with pytest.raises(StunError, match="FINGERPRINT"):
        parse_response(bytes(broken))


def test_servers_of_old_say_mapped_address() -> None:
    found = parse_response(message(attribute(0x0001, bytes([0, 1]) + struct.pack("!H4B", 4000, 203, 0, 113, 7))))
    assert (found.address, found.port) == ("203.0.113.7", 4000)


def test_error_response_has_code_and_reason() -> None:
    found = parse_response(message(attribute(0x0009, b"\0\0\4\24Unknown"), kind=0x0111))
    assert (found.code, found.reason) == (420, "Unknown")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        message(),
        message(MAPPED_V4)[:-1],
        message(MAPPED_V4) + b"\0\0\0\0",
        message(MAPPED_V4, kind=0x0001),
        message(MAPPED_V4, kind=0x0101).replace(b"\x21\x12\xa4\x42", b"\x21\x12\xa4\x43"),
        message(attribute(0x0021, b"must"), MAPPED_V4),
        message(attribute(0x0020, MAPPED_V4[4:] + b"\0\0\0\0")),
        message(attribute(0x0020, b"\0\3" + MAPPED_V4[6:])),
        message(*[attribute(0x8022, b"x")] * (MAX_ATTRIBUTES + 1), MAPPED_V4),
        message(attribute(0x8022, bytes(600)), MAPPED_V4),
        message(b"\x80\x22\0\x20abcd"),
        message(attribute(0x0009, b"\0\0\7\0"), kind=0x0111),
        message(attribute(0x0020, b"\0\1" + b"\x21\x12" + MAPPED_V4[8:])),
    ],
)
def test_what_is_no_response_for_us(data: bytes) -> None:
    with pytest.raises(StunError):
        parse_response(data)


@given(st.binary(max_size=80), st.booleans())
def test_random_octets_are_refused_or_read(data: bytes, framed: bool) -> None:
    if framed:
        data = message(data[: len(data) // 4 * 4])
    with contextlib.suppress(StunError):
        parse_response(data)


def outputs(client: StunClient) -> list[bytes | Answer]:
    found = []
    while (output := client.poll()) is not None:
        found.append(output)
    return found


def test_request_is_repeated_as_the_standard_says_and_given_up() -> None:
    client = StunClient(random.Random(1))
    client.start(0)
    (request,) = outputs(client)
    assert isinstance(request, bytes)
    assert request == binding_request(request[8:20])
    times = [0]
    last: list[bytes | Answer] = []
    while (at := client.next_timer()) is not None:
        client.handle_timer(at)
        last = outputs(client)
        times.append(at)
        assert last[0] == request or last == [Answer(Outcome.SILENT)]
    # RFC 8489 6.2.1: 0, 500, 1500, 3500, 7500, 15500, 31500 and the end at 39500 ms.
    assert [at // MILLISECOND for at in times] == [0, 500, 1500, 3500, 7500, 15500, 31500, 39500]
    assert last == [Answer(Outcome.SILENT)]
    assert not client.busy


def test_only_the_answer_to_what_was_asked_counts() -> None:
    client = StunClient(random.Random(1))
    client.start(0)
    (request,) = outputs(client)
    assert isinstance(request, bytes)
    client.receive(message(MAPPED_V4, transaction=TRANSACTION), SECOND)
    assert outputs(client) == [] and client.busy
    answer = bytearray(message(MAPPED_V4, transaction=request[8:20]))
    client.receive(bytes(answer), SECOND)
    (found,) = outputs(client)
    assert isinstance(found, Answer) and found.outcome is Outcome.MAPPED
    assert found.response is not None and found.response.address == "192.0.2.1"
    client.receive(bytes(answer), SECOND)
    assert outputs(client) == [] and client.next_timer() is None
