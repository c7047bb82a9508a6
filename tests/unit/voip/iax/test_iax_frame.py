"""Frames of IAX2: what chan_iax2 sent, every frame there can be, and octets that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.api import IaxFrame
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.errors import IaxError
from gateway.voip.iax.frame import (
    Command,
    Control,
    Frame,
    FrameType,
    FullFrame,
    MiniFrame,
    TrunkEntry,
    TrunkFrame,
    VideoFrame,
    compressed,
    expanded,
    name_of,
    parse,
    parse_full,
)

# What chan_iax2 of Asterisk 16 sent in a call that asks for a call token and is refused.
NEW = bytes.fromhex(
    "81e9000000000010000006010b02000201033130322d03444543260143270100280200003904000000000a02656e0605706c61696e0904"
    "00000004380900000000000000000408040000000e370900000000000000000e0c0200021f04357709e63600"
)
CALLTOKEN = bytes.fromhex(
    "800101e90000001000010628"
    "3633313739353339363531323f39376264343134313465366263613162366638626632663835643931363139313133633562626264"
)
AUTHREQ = bytes.fromhex("aa1d01e900000011000106080e0200020f093735393136333132340605706c61696e")
STOP_SOUNDS = bytes.fromhex("aa1d01e90000001a030204ff")
DTMF = bytes.fromhex("81e92a1d0000082109040134")
HANGUP = bytes.fromhex("b34a1f3d0000000e020306052a0122")

call_numbers = st.integers(1, 0x7FFF)
octets = st.integers(0, 255)
payloads = st.binary(max_size=64)
subclasses = st.one_of(st.integers(0, 127), st.integers(7, 63).map(lambda bit: 1 << bit), st.just(0xFF))
full_frames = st.builds(
    FullFrame,
    source=st.integers(0, 0x7FFF),
    destination=st.integers(0, 0x7FFF),
    stamp=st.integers(0, 0xFFFF_FFFF),
    oseqno=octets,
    iseqno=octets,
    type=octets,
    subclass=subclasses,
    data=payloads,
    retransmitted=st.booleans(),
)
mini_frames = st.builds(MiniFrame, source=call_numbers, stamp=st.integers(0, 0xFFFF), data=payloads)
video_frames = st.builds(VideoFrame, source=call_numbers, stamp=st.integers(0, 0xFFFF), data=payloads)
plain_entries = st.builds(TrunkEntry, source=call_numbers, data=payloads, stamp=st.none())
stamped_entries = st.builds(TrunkEntry, source=call_numbers, data=payloads, stamp=st.integers(0, 0xFFFF))
trunk_frames = st.one_of(
    st.builds(TrunkFrame, stamp=st.integers(0, 0xFFFF_FFFF), entries=st.lists(plain_entries, max_size=5).map(tuple)),
    st.builds(
        TrunkFrame,
        stamp=st.integers(0, 0xFFFF_FFFF),
        entries=st.lists(stamped_entries, max_size=5).map(tuple),
        stamped=st.just(True),
    ),
)
frames = st.one_of(full_frames, mini_frames, video_frames, trunk_frames)


def test_new_of_chan_iax2_is_read_and_written_as_it_was() -> None:
    frame = parse(NEW)
    assert isinstance(frame, FullFrame)
    assert (frame.source, frame.destination, frame.stamp, frame.oseqno, frame.iseqno) == (489, 0, 16, 0, 0)
    assert (frame.type, frame.subclass, frame.retransmitted) == (FrameType.IAX, Command.NEW, False)
    assert frame.elements.text(Ie.USERNAME) == "plain"
    assert bytes(frame) == NEW


def test_call_token_comes_from_call_number_1_and_takes_no_sequence_number() -> None:
    frame = parse_full(CALLTOKEN)
    assert (frame.source, frame.destination, frame.iseqno) == (1, 489, 1)
    assert not frame.in_sequence
    assert (frame.elements.raw(Ie.CALLTOKEN) or b"").startswith(b"1795396512?")


def test_challenge_of_chan_iax2() -> None:
    elements = parse_full(AUTHREQ).elements
    assert elements.number(Ie.AUTHMETHODS) == 2
    assert elements.raw(Ie.CHALLENGE) == b"759163124"


def test_subclass_of_all_ones_stays_itself() -> None:
    frame = parse_full(STOP_SOUNDS)
    assert frame.subclass == Control.STOP_SOUNDS
    assert bytes(frame) == STOP_SOUNDS


def test_a_digit_is_the_subclass() -> None:
    frame = parse_full(DTMF)
    assert (frame.type, chr(frame.subclass), frame.data) == (FrameType.DTMF, "4", b"")
    assert frame.in_sequence


def test_cause_of_a_hangup() -> None:
    assert parse_full(HANGUP).elements.number(Ie.CAUSECODE) == 34


def test_a_subclass_above_127_goes_as_its_power_of_two() -> None:
    frame = FullFrame(1, 2, 3, 4, 5, FrameType.VOICE, 1 << 34, b"x")
    assert bytes(frame)[11] == 0x80 | 34
    assert parse(bytes(frame)) == frame


@pytest.mark.parametrize("subclass", [129, 0x104, 1 << 64])
def test_a_subclass_that_fits_neither_way_is_refused(subclass: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        compressed(subclass)


@given(st.integers(0, 255))
def test_what_an_octet_stands_for_can_be_written_again(octet: int) -> None:
    assert expanded(compressed(expanded(octet))) == expanded(octet)


@given(frames)
def test_every_frame_survives_the_wire(frame: Frame) -> None:
    assert parse(bytes(frame)) == frame


@given(st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(lambda data: b"\0\0\1\1" + data)))
def test_whatever_comes_is_a_frame_or_an_iax_error(data: bytes) -> None:
    try:
        frame = parse(data)
    except IaxError:
        return
    # The text for traces, and octets that mean the same.
    assert str(frame)
    assert parse(bytes(frame)) == frame


@given(frames, st.data())
def test_a_frame_that_was_cut_is_a_frame_or_an_iax_error(frame: Frame, data: st.DataObject) -> None:
    octets = bytes(frame)
    cut = data.draw(st.integers(0, len(octets) - 1))
    try:
        parse(octets[:cut])
    except IaxError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        ("8001", "shortest frame"),
        ("8001000200000000000006", "full frame of 11 octets"),
        ("00008001ff", "video of 5 octets"),
        ("0000010000000a", "meta frame of 7 octets"),
        ("000002000000000a", "meta command 2"),
        ("000001020000000a", "trunk of kind 2"),
        ("000001000000000a1234", "2 octets left where an entry"),
        ("000001000000000a123400050102", "entry of 5 octets in a trunk, 2 left"),
        ("000001010000000a0001123400", "5 octets left where an entry"),
    ],
)
def test_what_is_wrong_is_said(octets: str, text: str) -> None:
    with pytest.raises(IaxError, match=text):
        parse(bytes.fromhex(octets))


def test_a_mini_frame_is_no_full_frame() -> None:
    with pytest.raises(IaxError, match="no full frame"):
        parse_full(bytes(12))


@pytest.mark.parametrize(
    "command", [Command.ACK, Command.INVAL, Command.VNAK, Command.TXCNT, Command.TXACC, Command.CALLTOKEN]
)
def test_these_take_no_sequence_number(command: Command) -> None:
    assert not FullFrame(1, 2, 3, 4, 5, FrameType.IAX, command).in_sequence
    # The same number of another type does.
    assert FullFrame(1, 2, 3, 4, 5, FrameType.CONTROL, command).in_sequence


def test_frames_have_names_for_logs() -> None:
    assert str(parse(HANGUP)) == "HANGUP 13130->7997 14 ms o2 i3"
    assert name_of(FrameType.CONTROL, Control.RINGING) == "CONTROL RINGING"
    assert name_of(FrameType.DTMF, ord("#")) == "DTMF '#'"
    assert name_of(FrameType.VOICE, 4) == "VOICE 0x4"
    assert name_of(FrameType.IAX, 0x7F) == "frame 0x06/0x7f"
    assert name_of(0x77, 1) == "frame 0x77/0x1"
    # Longer than any character.
    assert name_of(FrameType.DTMF, 1 << 63) == "frame 0x01/0x8000000000000000"


def test_no_frame_shows_its_octets_where_a_password_may_be() -> None:
    elements = Elements().add_text(Ie.USERNAME, "hq").add(Ie.PASSWORD, b"pa55")
    frame = FullFrame(3, 4, 5, 1, 2, FrameType.IAX, Command.AUTHREP, bytes(elements))
    received = IaxFrame(1, "192.0.2.1", 4569, bytes(frame))
    for shown in (repr(frame), str(frame), f"{frame!r:.200}", repr([frame]), repr(elements), repr(received)):
        assert "pa55" not in shown
        assert "70613535" not in shown
    assert repr(frame) == "<FullFrame AUTHREP 3->4 5 ms o1 i2, 10 octets>"
    assert repr(elements) == "Elements(USERNAME='hq', PASSWORD=(4 octets))"
    assert repr(received) == "IaxFrame(1, 192.0.2.1:4569, 22 octets)"
