"""Messages in segments (Q.931 Annex H), and messages of a call that only pass by (5.8.4, 5.8.6.1, 7.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cause import Cause
from gateway.core import SECOND
from gateway.pri.lapd import Side
from gateway.pri.q931.ie import (
    SPEECH_A_LAW,
    CalledPartyNumber,
    CallState,
    CauseElement,
    ChannelIdentification,
    Congestion,
    CongestionLevel,
    Display,
    Facility,
    InformationElement,
    KeypadFacility,
    NotificationIndicator,
    SegmentedMessage,
    UserUser,
)
from gateway.pri.q931.message import CallReference, Message, encode
from gateway.pri.q931.primitives import Primitive
from gateway.pri.q931.segments import MAX_SEGMENTS, T314, Segments
from gateway.pri.q931.states import State
from tests.unit.pri.q931_far_end import THEIRS, FarEnd, T

LONG = (
    SPEECH_A_LAW,
    ChannelIdentification((5,), exclusive=True),
    *(Facility(bytes((0x91, 0xA1, 0x64)) + bytes([number]) * 100) for number in range(4)),
    CalledPartyNumber("123"),
)


def octets(elements: tuple[InformationElement, ...]) -> bytes:
    """Elements one after the other, of whatever length the whole is."""
    return b"".join(encode(Message(T.SETUP, CallReference(THEIRS), (element,)))[5:] for element in elements)


def segments(contents: bytes, size: int, reference: int = THEIRS) -> list[bytes]:
    pieces = [contents[at : at + size] for at in range(0, len(contents), size)]
    last = len(pieces) - 1
    found = []
    for number, piece in enumerate(pieces):
        element = SegmentedMessage(number == 0, last - number, int(T.SETUP))
        found.append(encode(Message(T.SEGMENT, CallReference(reference), (element,))) + piece)
    return found


def hear(end: FarEnd, pieces: list[bytes]) -> None:
    for piece in pieces:
        end.link.receive(piece, end.now)


@pytest.mark.parametrize("size", [80, 100, 251])
def test_annex_h_a_setup_in_segments_is_a_call(size: int) -> None:
    end = FarEnd()
    whole = octets(LONG)
    assert len(whole) > 400
    hear(end, segments(whole, size))
    call = end.link.calls[~THEIRS]
    assert call.setup_message is not None
    assert call.setup_message.elements == LONG
    assert end.told() == [Primitive.SETUP]
    assert end.sent() == []


def test_annex_h_a_missing_segment_drops_the_message_without_an_answer() -> None:
    for lost in range(3):
        end = FarEnd()
        pieces = segments(octets(LONG), 200)
        assert len(pieces) == 3
        hear(end, pieces[:lost] + pieces[lost + 1 :])
        assert not end.link.calls
        assert end.sent() == []
        # Nothing sticks: the same message whole is taken.
        hear(end, pieces)
        assert ~THEIRS in end.link.calls


def test_annex_h_t314_ends_the_wait_for_the_next_segment() -> None:
    for late in (False, True):
        end = FarEnd()
        first, *others = segments(octets(LONG), 300)
        hear(end, [first])
        end.now += T314 + late
        hear(end, others)
        assert (~THEIRS in end.link.calls) is not late


def test_annex_h_segments_of_another_call_or_too_many_are_dropped() -> None:
    end = FarEnd()
    ours, theirs = segments(octets(LONG), 300), segments(octets(LONG), 300, THEIRS + 1)
    hear(end, [ours[0], theirs[1], ours[1]])
    hear(end, segments(octets(LONG), 50))
    assert len(segments(octets(LONG), 50)) > MAX_SEGMENTS
    assert not end.link.calls
    assert end.sent() == []


def test_other_messages_between_segments_are_taken() -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    first, *others = segments(octets(LONG), 300)
    hear(end, [first])
    end.send(call, T.NOTIFY, NotificationIndicator(0x79))
    hear(end, others)
    assert end.told() == [Primitive.NOTIFY, Primitive.SETUP]


@given(st.lists(st.tuples(st.binary(max_size=12), st.integers(0, 5 * SECOND)), max_size=8))
def test_random_segments_never_raise(pieces: list[tuple[bytes, int]]) -> None:
    end = FarEnd()
    assembled = Segments()
    for piece, wait in pieces:
        end.now += wait
        end.link.receive(b"\x08\x02\x00\x07\x60" + piece, end.now)
        assembled.receive(b"\x08\x02\x00\x07\x60\x00\x02" + piece, end.now)
        end.drain()


# -- messages that pass by --

PASSING = [
    (T.USER_INFORMATION, (UserUser(b"hello"),)),
    (T.CONGESTION_CONTROL, (CongestionLevel(Congestion.RECEIVER_READY), CauseElement(Cause.TEMPORARY_FAILURE))),
    (T.INFORMATION, (Display("12:00"),)),
    (T.INFORMATION, (KeypadFacility("5"),)),
    (T.NOTIFY, (NotificationIndicator(0x42),)),
    (T.FACILITY, (Facility(bytes.fromhex("91a10a020101020100800141")),)),
    (T.STATUS, (CauseElement(Cause.RESPONSE_TO_STATUS_ENQUIRY), CallState(State.ACTIVE))),
]


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("originated", [True, False])
@pytest.mark.parametrize(("kind", "elements"), PASSING)
def test_a_message_that_passes_by_changes_nothing_and_gets_no_answer(
    side: Side, originated: bool, kind: T, elements: tuple[InformationElement, ...]
) -> None:
    end = FarEnd(side)
    call = end.call_in(originated, State.ACTIVE)
    end.send(call, kind, *elements)
    assert end.sent() == []
    assert call.state is State.ACTIVE


MISSING = [
    (T.PROGRESS, State.OUTGOING_CALL_PROCEEDING),
    (T.NOTIFY, State.ACTIVE),
    (T.FACILITY, State.ACTIVE),
    (T.USER_INFORMATION, State.ACTIVE),
    (T.CONGESTION_CONTROL, State.ACTIVE),
]


@pytest.mark.parametrize(("kind", "state"), MISSING)
def test_5_8_6_1_without_its_mandatory_element_a_message_gets_status_96(kind: T, state: State) -> None:
    end = FarEnd()
    call = end.call_in(True, state)
    end.send(call, kind)
    status = end.one(T.STATUS)
    cause = status.first(CauseElement)
    assert cause is not None
    assert cause.value is Cause.MANDATORY_ELEMENT_MISSING
    reported = status.first(CallState)
    assert reported is not None
    assert reported.state == state
    assert end.told() == []
    assert call.state is state


@pytest.mark.parametrize("state", [State.DISCONNECT_REQUEST, State.RELEASE_REQUEST])
def test_5_3_2_what_crosses_our_clearing_is_no_error(state: State) -> None:
    end = FarEnd()
    call = end.call_in(True, state)
    for kind, elements in (*PASSING[:6], (T.ALERTING, ()), (T.CONNECT, ())):
        end.send(call, kind, *elements)
    assert end.sent() == []
    assert end.told() == []
    assert call.state is state
