"""Within an IAX2 call: digits, hold, quelch, TRANSFER, what is not supported (RFC 5456 6.4, 6.10.1)."""

from __future__ import annotations

import logging

import pytest

from gateway.leg import (
    Held,
    Keypad,
    Resumed,
    Text,
    Transferred,
)
from gateway.media.api import Direction
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.frame import Command, Control, FrameType
from gateway.voip.iax.leg_commands import MAX_TEXT
from tests.unit.voip.iax.iax_calls import say, settled
from tests.unit.voip.iax.iax_scene import Scene

# -- digits --


def test_digits_are_frames_both_ways() -> None:
    scene = Scene()
    leg, notes, far, far_notes = scene.answered()
    assert leg.keypad("12#a", 100, scene.now)
    assert far.keypad("*0", 100, scene.now)
    settled(scene)
    assert far_notes.keys == "12#A"
    assert notes.keys == "*0"


def test_a_digit_whose_beginning_is_told_has_its_length() -> None:
    scene = Scene()
    _, notes, far, _ = scene.answered()
    say(far, scene, FrameType.DTMF_BEGIN, ord("7"))
    scene.run(0.25)
    say(far, scene, FrameType.DTMF, ord("7"))
    (key,) = notes.of(Keypad)
    assert isinstance(key, Keypad)
    assert key.digits == "7"
    assert 300 <= key.milliseconds <= 400


def test_a_digit_that_is_none_is_not_told() -> None:
    scene = Scene()
    _, notes, far, _ = scene.answered()
    say(far, scene, FrameType.DTMF, ord("x"))
    assert notes.keys == ""


# -- texts --


@pytest.mark.parametrize("data", [b"gr\xc3\xbc\xc3\x9fe\0", b"gr\xc3\xbc\xc3\x9fe"])
def test_a_text_is_told_with_or_without_the_zero_that_asterisk_ends_it_with(data: bytes) -> None:
    scene = Scene()
    _, notes, far, _ = scene.answered()
    say(far, scene, FrameType.TEXT, 0, data)
    assert notes.of(Text) == [Text("gr\u00fc\u00dfe")]


def test_a_text_goes_to_the_far_end_in_a_full_frame() -> None:
    scene = Scene()
    leg, _, _, far_notes = scene.answered()
    leg.text("gr\u00fc\u00dfe", scene.now)
    settled(scene)
    assert far_notes.of(Text) == [Text("gr\u00fc\u00dfe")]


@pytest.mark.parametrize("data", [b"", b"\0", b"x" * (MAX_TEXT + 1)])
def test_a_text_that_is_none_or_too_long_is_acknowledged_and_ends_here(data: bytes) -> None:
    scene = Scene()
    _, notes, far, _ = scene.answered()
    say(far, scene, FrameType.TEXT, 0, data)
    assert notes.of(Text) == []
    scene.run(20)
    assert notes.released is None


def test_texts_to_a_far_end_that_does_not_keep_up_end_here_and_not_the_call() -> None:
    scene = Scene()
    leg, notes, _, far_notes = scene.answered()
    for number in range(2000):
        leg.text(f"text {number}", scene.now)
    leg.text("x" * (MAX_TEXT + 1), scene.now)
    scene.run(5)
    assert notes.released is None
    assert 0 < len(far_notes.of(Text)) < 2000


# -- hold, quelch, transfer --


def test_hold_and_resume_are_told() -> None:
    scene = Scene()
    leg, _, _, far_notes = scene.answered()
    leg.hold(scene.now)
    leg.hold(scene.now)
    settled(scene)
    assert far_notes.names() == ["Held"]
    leg.resume(scene.now)
    settled(scene)
    assert far_notes.names() == ["Held", "Resumed"]


def test_quelch_stops_our_voice_and_unquelch_lets_it_go_on() -> None:
    scene = Scene()
    leg, notes, far, _ = scene.answered()
    assert leg.stream is not None
    settings = scene["a"].media.settings
    say(far, scene, FrameType.IAX, Command.QUELCH)
    assert settings[leg.stream].direction is Direction.RECVONLY
    assert notes.of(Held) == []
    say(far, scene, FrameType.IAX, Command.UNQUELCH)
    assert settings[leg.stream].direction is Direction.SENDRECV
    told = len(scene["a"].media.history)
    say(far, scene, FrameType.IAX, Command.UNQUELCH)
    assert len(scene["a"].media.history) == told
    assert notes.of(Resumed) == []


def test_quelch_with_music_is_hold() -> None:
    scene = Scene()
    _, notes, far, _ = scene.answered()
    say(far, scene, FrameType.IAX, Command.QUELCH, Elements().add(Ie.MUSICONHOLD))
    say(far, scene, FrameType.IAX, Command.UNQUELCH)
    assert notes.names()[-2:] == ["Held", "Resumed"]


def test_a_transfer_to_a_number_is_told() -> None:
    scene = Scene()
    _, notes, far, _ = scene.answered()
    say(far, scene, FrameType.IAX, Command.TRANSFER, Elements().add_text(Ie.CALLED_NUMBER, "5551000"))
    (event,) = notes.of(Transferred)
    assert isinstance(event, Transferred)
    assert event.target.digits == "5551000"
    assert event.context == "from-b"


@pytest.mark.parametrize("number", ["", "sales", "1" * 60])
def test_a_transfer_to_nowhere_is_not_supported(number: str) -> None:
    scene = Scene()
    _, notes, far, _ = scene.answered()
    say(far, scene, FrameType.IAX, Command.TRANSFER, Elements().add_text(Ie.CALLED_NUMBER, number))
    assert notes.of(Transferred) == []
    assert len(scene.sent("a", Command.UNSUPPORT)) == 1


def test_what_an_end_of_a_call_does_not_do_is_not_supported() -> None:
    scene = Scene()
    _, notes, far, _ = scene.answered()
    for command in (Command.DPREQ, Command.PROVISION, Command.FWDOWNL, Command.REGREQ):
        say(far, scene, FrameType.IAX, command)
    assert [frame.elements.number(Ie.IAX_UNKNOWN) for frame in scene.sent("a", Command.UNSUPPORT)] == [
        Command.DPREQ,
        Command.PROVISION,
        Command.FWDOWNL,
        Command.REGREQ,
    ]
    assert notes.released is None


def test_images_and_noise_do_no_harm() -> None:
    scene = Scene()
    _, notes, far, _ = scene.answered()
    events = len(notes.events)
    for kind in (FrameType.IMAGE, FrameType.HTML, FrameType.VIDEO, FrameType.NULL):
        say(far, scene, kind, 1, b"hello")
    say(far, scene, FrameType.COMFORT_NOISE, 60)
    say(far, scene, FrameType.CONTROL, Control.FLASH)
    say(far, scene, FrameType.CONTROL, Control.STOP_SOUNDS)
    assert len(notes.events) == events


def test_voice_of_a_format_that_nobody_agreed_on_is_not_heard_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    leg, _, far, _ = scene.answered()
    with caplog.at_level(logging.WARNING):
        say(far, scene, FrameType.VOICE, 1 << 1, b"gsm")
        say(far, scene, FrameType.VOICE, 1 << 1, b"gsm")
    assert leg.stream is not None
    assert scene["a"].media.heard[leg.stream] == []
    assert len([record for record in caplog.records if "0x2" in record.getMessage()]) == 1
