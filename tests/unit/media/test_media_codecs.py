"""Codecs on the real engine: calls between two far ends that speak different ones, which streams of the engine play.

Packet times, loss, digits and bad payloads are in virtual time in engine/tests/test_codec_call.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from gateway.media.api import (
    Codec,
    DigitHeard,
    Law,
    RtpSettings,
    Srtp,
    SrtpKey,
    SrtpSuite,
    Tone,
    ToneStep,
)
from tests.interop.program import PATIENCE
from tests.interop.tone import measure_tone
from tests.unit.media.engine_harness import (
    Harness,
    Sine,
    TdmFarEnd,
    comes_through,
)

pytestmark = pytest.mark.realtime

LOOKS = 200
"""At whether a tone is clean: about PATIENCE in all."""
PAYLOAD_TYPES = {Codec.ULAW: 0, Codec.ALAW: 8, Codec.G722: 9, Codec.OPUS: 107, Codec.L16: 118}


@dataclass
class Bridge:
    """near line — far end's RTP ⇄ our RTP — our RTP ⇄ other far end's RTP — its line."""

    lines: list[TdmFarEnd]
    ours: list[int]
    theirs: list[int]


@dataclass
class Side:
    """The line of a far end, and our RTP stream that it is spoken to with."""

    line: TdmFarEnd
    ours: int


def far_end(harness: Harness) -> tuple[TdmFarEnd, int]:
    line = TdmFarEnd(harness.directory / f"line{len(harness.lines)}")
    harness.lines.append(line)
    rtp = harness.client.open_rtp("127.0.0.1", "far", harness.on_opened)
    tdm = harness.client.open_tdm(line.path, Law.ULAW, "line", harness.on_opened)
    harness.client.connect(rtp, tdm)
    assert harness.run(
        PATIENCE, lambda: rtp in harness.opened and tdm in harness.opened and line.connection is not None
    )
    return line, rtp


def bridge(harness: Harness, first: Codec, second: Codec, milliseconds: int = 20) -> Bridge:
    ends = far_end(harness), far_end(harness)
    ours = [harness.client.open_rtp("127.0.0.1", "sip", harness.on_opened) for _ in range(2)]
    assert harness.run(PATIENCE, lambda: all(stream in harness.opened for stream in ours))
    harness.client.connect(*ours)
    for (_, theirs), our, codec in zip(ends, ours, (first, second), strict=True):
        for stream, other in ((theirs, our), (our, theirs)):
            port = harness.port_of(other)
            payload_type = PAYLOAD_TYPES[codec]
            harness.client.set_rtp(
                stream,
                RtpSettings("127.0.0.1", port, port + 1, codec, payload_type, packet_milliseconds=milliseconds),
            )
    return Bridge([line for line, _ in ends], ours, [rtp for _, rtp in ends])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Codec.G722, Codec.ULAW),
        (Codec.G722, Codec.ALAW),
        (Codec.OPUS, Codec.ULAW),
        (Codec.OPUS, Codec.ALAW),
        (Codec.OPUS, Codec.G722),
        (Codec.L16, Codec.ULAW),
        (Codec.L16, Codec.OPUS),
        (Codec.G722, Codec.G722),
        (Codec.OPUS, Codec.OPUS),
    ],
)
def test_a_tone_goes_both_ways_between_two_codecs(harness: Harness, first: Codec, second: Codec) -> None:
    call = bridge(harness, first, second)
    tones = Sine(1004), Sine(700)
    harness.each_frame += [lambda: call.lines[0].send(tones[0].frame()), lambda: call.lines[1].send(tones[1].frame())]
    assert comes_through(harness, call.lines[1], 1004)
    assert comes_through(harness, call.lines[0], 700)
    for stream, hertz in zip(call.ours, (1004, 700), strict=True):
        assert any(measured(harness, stream, hertz) for _ in range(LOOKS)), harness.statistics(stream)
        assert (harness.statistics(stream).rejected, harness.statistics(stream).lost) == (0, 0)


def measured(harness: Harness, stream: int, hertz: float) -> bool:
    """Whether the tone is clean just now: this machine may stall now and then."""
    harness.run(0.15)
    heard = harness.statistics(stream)
    return (
        heard.frequency == pytest.approx(hertz, abs=1.0)
        and heard.receive_level == pytest.approx(-9.0, abs=1.0)
        and heard.send_level == pytest.approx(-9.0, abs=1.5)
    )


@pytest.mark.parametrize("milliseconds", [10, 30, 60])
def test_packet_times_other_than_20_ms(harness: Harness, milliseconds: int) -> None:
    call = bridge(harness, Codec.OPUS, Codec.G722, milliseconds)
    tone = Sine(1004)
    harness.each_frame.append(lambda: call.lines[0].send(tone.frame()))
    assert comes_through(harness, call.lines[1], 1004)


def spoken_to(harness: Harness, codec: Codec, milliseconds: int = 20, srtp: tuple[Srtp, Srtp] | None = None) -> Side:
    """A far end of one of our RTP streams, which is wired to nothing yet."""
    line, theirs = far_end(harness)
    ours = harness.client.open_rtp("127.0.0.1", "sip", harness.on_opened)
    assert harness.run(PATIENCE, lambda: ours in harness.opened)
    for stream, other, keys in ((ours, theirs, 0), (theirs, ours, 1)):
        port = harness.port_of(other)
        settings = RtpSettings("127.0.0.1", port, port + 1, codec, PAYLOAD_TYPES[codec])
        harness.client.set_rtp(
            stream,
            msgspec.structs.replace(settings, packet_milliseconds=milliseconds, srtp=srtp[keys] if srtp else None),
        )
    return Side(line, ours)


WIDE = (Codec.G722, Codec.OPUS, Codec.L16)


@pytest.mark.parametrize("codec", WIDE)
def test_a_tone_is_played_in_it_and_it_is_recorded(harness: Harness, codec: Codec, tmp_path: Path) -> None:
    side = spoken_to(harness, codec)
    stream = harness.client.open_tone(Tone((ToneStep((425,), 0, -13.0),)), "dial tone", harness.on_opened)
    harness.client.connect(side.ours, stream)
    assert comes_through(harness, side.line, 425)
    recorder = harness.client.open_recorder(str(tmp_path / "call.wav"), "recorder", harness.on_opened)
    assert harness.run(PATIENCE, lambda: recorder in harness.opened)
    harness.client.connect(side.ours, recorder)
    tone = Sine(1004)
    harness.each_frame.append(lambda: side.line.send(tone.frame()))
    harness.run(1.5)
    harness.client.close(recorder, lambda _reply: None)
    harness.run(0.5)
    heard = measure_tone(tmp_path / "call.wav")
    assert heard.frequency == pytest.approx(1004, abs=2.0)
    assert heard.purity > 0.9


@pytest.mark.parametrize("codec", WIDE)
def test_an_echo_comes_back_in_it(harness: Harness, codec: Codec) -> None:
    side = spoken_to(harness, codec)
    echo = harness.client.open_echo("echo", harness.on_opened)
    harness.client.connect(side.ours, echo)
    tone = Sine(1004)
    harness.each_frame.append(lambda: side.line.send(tone.frame()))
    assert comes_through(harness, side.line, 1004)


@pytest.mark.parametrize("codec", WIDE)
def test_the_longest_packets_are_encrypted_too(harness: Harness, codec: Codec) -> None:
    keys = [SrtpKey(SrtpSuite.AEAD_AES_256_GCM, bytes([octet]) * 44) for octet in (1, 2)]
    side = spoken_to(harness, codec, 60, (Srtp(keys[0], keys[1]), Srtp(keys[1], keys[0])))
    stream = harness.client.open_tone(Tone((ToneStep((425,), 0, -13.0),)), "dial tone", harness.on_opened)
    harness.client.connect(side.ours, stream)
    assert comes_through(harness, side.line, 425)


def test_digits_cross_codecs_as_events_once(harness: Harness) -> None:
    call = bridge(harness, Codec.OPUS, Codec.ULAW)
    harness.client.send_digits(call.theirs[0], "159#")
    expected = "159#"
    assert harness.run(PATIENCE, lambda: digits(harness, call.theirs[1]) == expected)
    assert digits(harness, call.ours[0]) == expected


def digits(harness: Harness, stream: int) -> str:
    heard = (event for event in harness.events if isinstance(event, DigitHeard))
    return "".join(event.digit for event in heard if event.stream == stream)
