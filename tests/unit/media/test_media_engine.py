"""The real engine, end to end on loopback: voice, digits, silence, lines that are cut, bridges.

The machine may be busy, so bounds in time are wide here; engine/tests/test_voice.c has the exact ones in virtual time.
"""

from __future__ import annotations

import socket
from itertools import pairwise
from pathlib import Path
from struct import pack, unpack_from

import msgspec
import pytest

from gateway.media.api import (
    Codec,
    DigitHeard,
    Direction,
    FirstPacket,
    HeardAgain,
    Law,
    Opened,
    RtpSettings,
    StreamLost,
    WentSilent,
)
from tests.interop.program import PATIENCE
from tests.unit.media.engine_harness import (
    FRAME,
    SILENCE_ULAW,
    Harness,
    RtpPeer,
    Sine,
    TdmFarEnd,
    comes_through,
    strength,
)

pytestmark = pytest.mark.realtime


def test_voice_goes_both_ways_and_is_measured(harness: Harness) -> None:
    peer, line, rtp, tdm = harness.call()
    from_sip, from_pri = Sine(1004), Sine(700)
    harness.each_frame += [lambda: peer.send_frame(from_sip.frame()), lambda: line.send(from_pri.frame())]
    harness.run(1.5)
    assert comes_through(harness, line, 1004, frames=20, purity=0.98)
    assert comes_through(harness, peer, 700, frames=20, purity=0.98)
    heard, sent = harness.statistics(rtp), harness.statistics(tdm)
    assert heard.frequency == pytest.approx(1004, abs=3)
    assert sent.frequency == pytest.approx(700, abs=3)
    assert heard.receive_level == pytest.approx(-9.05, abs=0.5)
    assert heard.send_level == pytest.approx(sent.receive_level, abs=0.5)
    assert heard.packets_received >= 60
    assert heard.octets_received == heard.packets_received * FRAME
    assert heard.mos > 4.0
    assert heard.rejected == 0
    assert FirstPacket(rtp) in harness.events
    assert FirstPacket(tdm) in harness.events


def test_tdm_gets_fifty_blocks_a_second_of_idle_code_when_nobody_speaks(harness: Harness) -> None:
    _, line, _, _ = harness.call()
    harness.run(0.5)
    line.received.clear()
    harness.run(1.0)
    assert 40 <= len(line.received) <= 60
    assert all(block == SILENCE_ULAW for _, block in line.received)


def test_rtp_continues_in_sequence_over_a_change_of_the_far_end(harness: Harness) -> None:
    peer, _, rtp, _ = harness.call()
    harness.run(0.3)
    other = RtpPeer()
    harness.peers.append(other)
    harness.client.set_rtp(rtp, other.settings())
    harness.run(0.3)
    last, first = peer.received[-1][1], other.received[0][1]
    assert unpack_from("!H", first, 2)[0] == (unpack_from("!H", last, 2)[0] + 1) & 0xFFFF
    assert unpack_from("!I", first, 4)[0] == (unpack_from("!I", last, 4)[0] + FRAME) & 0xFFFFFFFF
    assert first[8:12] == last[8:12]


def test_alaw_line_and_ulaw_sip_are_transcoded(harness: Harness) -> None:
    peer, line, _, tdm = harness.call(law=Law.ALAW)
    tone = Sine(1004)
    harness.each_frame.append(lambda: peer.send_frame(tone.frame()))
    harness.run(0.6)
    assert harness.statistics(tdm).send_level == pytest.approx(-9.05, abs=0.6)
    assert line.audio()[-FRAME:] != peer.audio()[-FRAME:]


def test_rfc4733_from_sip_becomes_one_tone_on_the_line_and_one_event(harness: Harness) -> None:
    peer, line, rtp, _ = harness.call()
    sent = 0

    def digit() -> None:
        nonlocal sent
        if sent < 12:  # no marker bit, the first packet lost, the end three times
            duration = min(sent + 2, 8) * FRAME
            event = pack("!BBH", 5, 0x8A if sent >= 9 else 0x0A, duration)
            peer.send(event, 101, stamp=peer.stamp)
        else:
            peer.send(SILENCE_ULAW, stamp=peer.stamp + sent * FRAME)
        sent += 1

    harness.run(0.2)
    line.received.clear()
    harness.each_frame.append(digit)
    harness.run(0.8)
    digits = [event for event in harness.events if isinstance(event, DigitHeard)]
    assert [(event.stream, event.digit) for event in digits] == [(rtp, "5")]
    loud = b"".join(block for _, block in line.received if block != SILENCE_ULAW)
    assert 7 * FRAME <= len(loud) <= 16 * FRAME
    middle = loud[2 * FRAME : 6 * FRAME]
    assert strength(middle, 770) + strength(middle, 1336) > 0.9


def test_inband_digit_on_the_line_leaves_as_rfc4733_and_not_as_audio(harness: Harness) -> None:
    peer, line, _, tdm = harness.call()
    key, frames = Sine(852, 1477, amplitude=12000), 0

    def press() -> None:
        nonlocal frames
        frames += 1
        line.send(key.frame() if 10 <= frames < 20 else SILENCE_ULAW)

    harness.each_frame.append(press)
    harness.run(0.9)
    digits = [event for event in harness.events if isinstance(event, DigitHeard)]
    assert [(event.stream, event.digit) for event in digits] == [(tdm, "9")]
    assert digits[0].milliseconds == pytest.approx(200, abs=30)  # the line's own time
    events = peer.events()
    assert events[0][0], "marker on the first packet"
    assert not any(marker for marker, *_ in events[1:])
    assert {event for _, _, _, event, _, _ in events} == {9}
    assert len({stamp for _, _, stamp, *_ in events}) == 1
    durations = [duration for *_, end, duration in events if not end]
    assert durations == [FRAME * (i + 1) for i in range(len(durations))]
    assert sum(end for *_, end, _ in events) == 3
    leaked = sum(data[12:] != SILENCE_ULAW for _, data in peer.received if data[1] & 0x7F == 0)
    assert leaked <= 2, "no more than the beginning, too short to be heard as a digit"


def test_inband_digits_stay_audio_where_rfc4733_is_not_negotiated(harness: Harness) -> None:
    peer, line, rtp, tdm = harness.call(dtmf=None)
    key = Sine(697, 1209, amplitude=12000)
    frames = 0

    def press() -> None:
        nonlocal frames
        frames += 1
        line.send(key.frame() if frames < 10 else SILENCE_ULAW)
        peer.send_frame(key.frame() if 15 <= frames < 24 else SILENCE_ULAW)

    harness.each_frame.append(press)
    harness.run(0.9)
    digits = [(event.stream, event.digit) for event in harness.events if isinstance(event, DigitHeard)]
    assert set(digits) == {(tdm, "1"), (rtp, "1")}
    assert peer.events() == []
    audio = peer.audio()
    assert max(strength(audio[at : at + 3 * FRAME], 697) for at in range(0, len(audio) - 3 * FRAME, FRAME)) > 0.4


def test_digits_that_are_told_in_signalling_are_silence_in_the_voice(harness: Harness) -> None:
    peer, line, rtp, _tdm = harness.call(dtmf=None)
    harness.client.set_rtp(rtp, msgspec.structs.replace(peer.settings(None), digits_told=True))
    key = Sine(697, 1209, amplitude=12000)
    frames = 0

    def press() -> None:
        nonlocal frames
        frames += 1
        line.send(key.frame() if frames < 10 else SILENCE_ULAW)
        peer.send_frame(SILENCE_ULAW)

    harness.each_frame.append(press)
    harness.run(0.9)
    assert [event.digit for event in harness.events if isinstance(event, DigitHeard)] == ["1"]
    assert peer.events() == []
    audio = peer.audio()
    loud = sum(audio[at : at + FRAME] != SILENCE_ULAW for at in range(0, len(audio) - FRAME, FRAME))
    assert loud <= 2, "no more than the beginning, too short to be heard as a digit"


def test_send_digits_goes_as_events_to_sip_and_as_tones_to_the_line(harness: Harness) -> None:
    peer, line, rtp, tdm = harness.call()
    harness.run(0.1)
    harness.client.send_digits(rtp, "1#", 100)
    harness.client.send_digits(tdm, "8", 100)
    harness.run(0.8)
    assert [event for _, _, _, event, end, _ in peer.events() if end] == [1, 1, 1, 11, 11, 11]
    assert sum(marker for marker, *_ in peer.events()) == 2
    loud = b"".join(block for _, block in line.received if block != SILENCE_ULAW)
    assert strength(loud[FRAME : FRAME * 4], 852) + strength(loud[FRAME : FRAME * 4], 1336) > 0.9


def test_one_way_audio_is_reported_within_two_seconds_and_its_end(harness: Harness) -> None:
    peer, line, rtp, tdm = harness.call()
    speaking = True

    def speak() -> None:
        line.send(SILENCE_ULAW)
        if speaking:
            peer.send_frame(SILENCE_ULAW)

    harness.each_frame.append(speak)
    harness.run(0.4)
    speaking = False
    assert harness.run(PATIENCE, lambda: any(isinstance(event, WentSilent) for event in harness.events))
    silent = [event for event in harness.events if isinstance(event, WentSilent)]
    assert [event.stream for event in silent] == [rtp]
    assert 500 <= silent[0].milliseconds <= 1500
    speaking = True
    assert harness.run(PATIENCE, lambda: HeardAgain(rtp) in harness.events)
    assert not any(isinstance(event, WentSilent) and event.stream == tdm for event in harness.events)


def test_a_stream_on_hold_is_not_called_silent(harness: Harness) -> None:
    peer, line, rtp, _ = harness.call()
    settings = peer.settings()
    held = RtpSettings(
        settings.address, settings.port, settings.rtcp_port, Codec.ULAW, 0, 101, direction=Direction.SENDONLY
    )
    harness.client.set_rtp(rtp, held)
    harness.each_frame.append(lambda: line.send(SILENCE_ULAW))
    harness.run(0.8)
    assert not any(isinstance(event, WentSilent) for event in harness.events)


def test_a_cut_line_is_told_once_and_heals(harness: Harness) -> None:
    _, line, _, tdm = harness.call()
    harness.run(0.2)
    line.hang_up()
    assert line.listener is not None
    line.listener.close()
    line.listener = None
    Path(line.path).unlink()
    assert harness.run(1.5, lambda: False) is False
    assert sum(isinstance(event, StreamLost) and event.stream == tdm for event in harness.events) == 1
    healed = TdmFarEnd(Path(line.path))
    harness.lines[0] = healed
    assert harness.run(PATIENCE, lambda: len(healed.received) > 10)


def test_a_line_nobody_listens_at_yet_is_retried(harness: Harness, tmp_path: Path) -> None:
    tdm = harness.client.open_tdm(str(tmp_path / "later"), Law.ULAW, "pri", harness.on_opened)
    assert harness.run(PATIENCE, lambda: any(isinstance(event, StreamLost) for event in harness.events))
    assert isinstance(harness.opened[tdm], Opened)
    line = TdmFarEnd(tmp_path / "later")
    harness.lines.append(line)
    assert harness.run(PATIENCE, lambda: len(line.received) > 5)


def test_a_line_that_is_there_a_moment_late_costs_a_few_frames_and_is_not_called_lost(
    harness: Harness, tmp_path: Path
) -> None:
    tdm = harness.client.open_tdm(str(tmp_path / "late"), Law.ULAW, "pri", harness.on_opened)
    assert harness.run(PATIENCE, lambda: tdm in harness.opened)
    line = TdmFarEnd(tmp_path / "late")
    harness.lines.append(line)
    assert harness.run(0.3, lambda: len(line.received) > 0)
    assert not any(isinstance(event, StreamLost) for event in harness.events)


def test_listening_end_serves_one_far_end_after_the_other(harness: Harness, tmp_path: Path) -> None:
    path = tmp_path / "channel"
    tdm = harness.client.open_tdm(str(path), Law.ULAW, "exchange", harness.on_opened, listen=True)
    echo = harness.client.open_echo("echo", harness.on_opened)
    harness.client.connect(tdm, echo)
    assert harness.run(PATIENCE, lambda: tdm in harness.opened)
    for hertz in (500, 900):
        line, tone = TdmFarEnd(path, connect=True), Sine(hertz)
        harness.lines.append(line)
        harness.each_frame[:] = [lambda line=line, tone=tone: line.send(tone.frame())]  # type: ignore[misc]
        assert harness.run(PATIENCE, lambda line=line: len(line.received) > 30)  # type: ignore[misc]
        assert comes_through(harness, line, hertz, frames=10, purity=0.95)
        second = TdmFarEnd(path, connect=True)
        harness.lines.append(second)
        assert harness.run(PATIENCE, lambda second=second: second.connection is None)  # type: ignore[misc]
        harness.each_frame.clear()
        line.hang_up()
        harness.run(0.2)
    harness.client.close(tdm)
    assert harness.run(PATIENCE, lambda: not path.exists())


def test_rtp_echo_returns_what_it_gets(harness: Harness) -> None:
    peer = RtpPeer()
    harness.peers.append(peer)
    rtp = harness.client.open_rtp("127.0.0.1", "sip", harness.on_opened)
    harness.client.connect(rtp, harness.client.open_echo("echo", harness.on_opened))
    harness.client.set_rtp(rtp, peer.settings())
    assert harness.run(PATIENCE, lambda: rtp in harness.opened)
    peer.to = harness.port_of(rtp)
    tone = Sine(1004)
    harness.each_frame.append(lambda: peer.send_frame(tone.frame()))
    harness.run(0.8)
    assert comes_through(harness, peer, 1004, frames=20, purity=0.98)


def test_two_lines_are_bridged_without_a_buffer(harness: Harness, tmp_path: Path) -> None:
    lines = [TdmFarEnd(tmp_path / name) for name in ("a", "b")]
    harness.lines += lines
    streams = [
        harness.client.open_tdm(line.path, law, "pri", harness.on_opened)
        for line, law in zip(lines, (Law.ULAW, Law.ALAW), strict=True)
    ]
    harness.client.connect(*streams)
    tone = Sine(1004)
    harness.each_frame.append(lambda: lines[0].send(tone.frame()))
    assert harness.run(PATIENCE, lambda: len(lines[1].received) > 40)
    assert harness.statistics(streams[1]).send_level == pytest.approx(-9.05, abs=0.6)
    assert all(block == SILENCE_ULAW for _, block in lines[0].received)


def test_two_sip_sides_are_bridged_and_digits_are_relayed(harness: Harness) -> None:
    peers = [RtpPeer(), RtpPeer()]
    harness.peers += peers
    streams = [harness.client.open_rtp("127.0.0.1", "sip", harness.on_opened) for _ in peers]
    harness.client.connect(*streams)
    for stream, peer in zip(streams, peers, strict=True):
        harness.client.set_rtp(stream, peer.settings())
    assert harness.run(PATIENCE, lambda: len(harness.opened) == 2)
    for stream, peer in zip(streams, peers, strict=True):
        peer.to = harness.port_of(stream)
    tone = Sine(1004)
    harness.each_frame.append(lambda: peers[0].send_frame(tone.frame()))
    harness.run(0.6)
    assert comes_through(harness, peers[1], 1004, frames=10, purity=0.98)
    harness.each_frame.clear()
    for end, duration in ((0, 160), (0, 320), (1, 480), (1, 480), (1, 480)):
        peers[0].send(pack("!BBH", 3, 0x80 * end | 10, duration), 101)
    assert harness.run(PATIENCE, lambda: sum(end for *_, end, _ in peers[1].events()) == 3)
    assert sum(marker for marker, *_ in peers[1].events()) == 1
    assert [e for e in harness.events if isinstance(e, DigitHeard)] == [DigitHeard(streams[0], "3", 60)]


def test_ipv6_carries_voice(harness: Harness) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer:
        peer.bind(("::1", 0))
        peer.settimeout(2.0)
        rtp = harness.client.open_rtp("::1", "sip", harness.on_opened)
        harness.client.set_rtp(rtp, RtpSettings("::1", peer.getsockname()[1], 9, Codec.ALAW, 8))
        assert harness.run(PATIENCE, lambda: rtp in harness.opened)
        packet = peer.recv(2048)
        assert (packet[0], packet[1] & 0x7F, len(packet)) == (0x80, 8, 12 + FRAME)
        assert packet[12:] == b"\xd5" * FRAME
        peer.sendto(packet, ("::1", harness.port_of(rtp)))
        assert harness.run(PATIENCE, lambda: FirstPacket(rtp) in harness.events)


def test_packets_of_ten_and_thirty_milliseconds_are_made(harness: Harness) -> None:
    peer, line, rtp, _ = harness.call()
    for milliseconds in (10, 30):
        settings = RtpSettings("127.0.0.1", peer.port, 9, Codec.ULAW, 0, packet_milliseconds=milliseconds)
        harness.client.set_rtp(rtp, settings)
        harness.run(0.1)
        peer.received.clear()
        harness.run(0.6)
        sizes = {len(data) - 12 for _, data in peer.received}
        stamps = [unpack_from("!I", data, 4)[0] for _, data in peer.received]
        assert sizes == {milliseconds * 8}
        assert {(b - a) & 0xFFFFFFFF for a, b in pairwise(stamps)} == {milliseconds * 8}
    assert line.received
