"""Whole messages come out of a stream wherever it was entered and however it was cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.capture.streams import MAX_UNFRAMED, Framing, Stream
from tests.unit.capture.pcapng_reader import Interface, Packet


def message(number: int, body: bytes = b"") -> bytes:
    head = f"INVITE sip:{number}@b SIP/2.0\r\nCall-ID: c{number}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


MESSAGES = [
    message(1),
    message(2, b"v=0\r\n\r\nnot the end\r\n"),
    b"\r\n\r\n",
    b"SIP/2.0 200 OK\r\nl:3\r\n\r\nabc",
    message(5, b"INVITE sip:a SIP/2.0\r\n\r\n"),
]


@given(st.lists(st.integers(0, sum(map(len, MESSAGES))), max_size=12))
def test_messages_are_whole_however_they_come(cuts: list[int]) -> None:
    data = b"".join(MESSAGES)
    framing = Framing()
    places = sorted({0, len(data), *cuts})
    pieces = [piece for begin, end in pairwise(places) for piece in framing.feed(data[begin:end])]
    assert all(piece.whole for piece in pieces)
    assert b"".join(piece.data for piece in pieces) == data
    assert [piece.data for piece in pieces if piece.data.strip()] == [each for each in MESSAGES if each.strip()]
    assert framing.rest() == []


@given(st.integers(len("INVITE"), len(MESSAGES[1]) - 1))
def test_a_stream_that_is_entered_within_a_message_is_whole_from_the_next_on(at: int) -> None:
    framing = Framing()
    pieces = framing.feed(MESSAGES[1][at:] + MESSAGES[0] + MESSAGES[3])
    assert b"".join(piece.data for piece in pieces) == MESSAGES[1][at:] + MESSAGES[0] + MESSAGES[3]
    whole = [piece.data for piece in pieces if piece.whole and piece.data.strip()]
    assert whole[-2:] == [MESSAGES[0], MESSAGES[3]]
    for piece in pieces:
        assert not piece.whole or piece.data in (*MESSAGES, b"\r\n") or not piece.data.strip()


def test_what_never_becomes_a_message_is_told_as_such() -> None:
    framing = Framing()
    assert framing.feed(b"INVITE sip:a SIP/2.0\r\nX: y") == []
    assert framing.rest() == [(b"INVITE sip:a SIP/2.0\r\nX: y", False)]
    assert framing.rest() == []
    long = b"y" * (MAX_UNFRAMED + 1)
    assert framing.feed(long) == [(long, False)]
    assert framing.feed(message(1)) == [(message(1), True)]


@given(st.lists(st.binary(min_size=1, max_size=80), max_size=30))
def test_any_octets_come_out_again(parts: list[bytes]) -> None:
    framing = Framing()
    pieces = [piece for part in parts for piece in framing.feed(part)] + framing.rest()
    assert b"".join(piece.data for piece in pieces) == b"".join(parts)


def test_segments_continue_each_other_and_acknowledge_the_other_way() -> None:
    stream = Stream(("192.0.2.1", 5060), ("192.0.2.2", 40000))
    wire = Interface(101, "", "")
    sent = [Packet(wire, 0, data, False, "") for data in stream.segments(b"y" * 70_000, inward=False)]
    came = [Packet(wire, 0, data, True, "") for data in stream.segments(b"abc", inward=True)]
    again = [Packet(wire, 0, data, False, "") for data in stream.segments(b"z", inward=False)]
    assert [(each.ports, each.sequence) for each in sent] == [((5060, 40000), 1), ((5060, 40000), 65_496)]
    assert (came[0].ports, came[0].sequence, came[0].data[28:32]) == ((40000, 5060), 1, (70_001).to_bytes(4, "big"))
    assert (again[0].sequence, again[0].data[28:32]) == (70_001, (4).to_bytes(4, "big"))
    assert b"".join(each.payload for each in sent) == b"y" * 70_000
