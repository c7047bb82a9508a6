"""SRTP, latching and strangers on the real engine: two of its streams are each other's far ends, or a socket is.

Exact counts, every wrap and every attack are in virtual time in engine/tests/test_secure_call.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack

import msgspec
import pytest

from gateway.media import wire
from gateway.media.api import (
    Codec,
    DigitHeard,
    Latch,
    Law,
    RtpSettings,
    Srtp,
    SrtpKey,
    SrtpSuite,
)
from tests.interop.program import PATIENCE
from tests.unit.media.engine_harness import (
    FRAME,
    Harness,
    RtpPeer,
    Sine,
    TdmFarEnd,
    comes_through,
)

pytestmark = pytest.mark.realtime


def key(suite: SrtpSuite, seed: int) -> SrtpKey:
    return SrtpKey(suite, bytes((seed * 37 + i * 11) & 0xFF for i in range(wire.SRTP_KEY_LENGTHS[suite])))


@dataclass
class Side:
    """A line, an RTP stream that it is wired to, and the keys it sends and receives with."""

    line: TdmFarEnd
    rtp: int
    tdm: int


def side(harness: Harness) -> Side:
    line = TdmFarEnd(harness.directory / f"line{len(harness.lines)}")
    harness.lines.append(line)
    rtp = harness.client.open_rtp("127.0.0.1", "sip", harness.on_opened)
    tdm = harness.client.open_tdm(line.path, Law.ULAW, "pri", harness.on_opened)
    harness.client.connect(rtp, tdm)
    assert harness.run(
        PATIENCE, lambda: rtp in harness.opened and tdm in harness.opened and line.connection is not None
    )
    return Side(line, rtp, tdm)


def settings_of(harness: Harness, other: Side, srtp: Srtp | None, *, mux: bool = False) -> RtpSettings:
    port = harness.port_of(other.rtp)
    return RtpSettings("127.0.0.1", port, port if mux else port + 1, Codec.ULAW, 0, srtp=srtp, rtcp_mux=mux)


def secure(harness: Harness, near: Side, far: Side, suite: SrtpSuite, seed: int, *, mux: bool = False) -> None:
    ours, theirs = key(suite, seed), key(suite, seed + 1)
    harness.client.set_rtp(near.rtp, settings_of(harness, far, Srtp(ours, theirs), mux=mux))
    harness.client.set_rtp(far.rtp, settings_of(harness, near, Srtp(theirs, ours), mux=mux))


@pytest.mark.parametrize("suite", SrtpSuite)
def test_two_streams_with_the_same_keys_hear_each_other(harness: Harness, suite: SrtpSuite) -> None:
    near, far = side(harness), side(harness)
    secure(harness, near, far, suite, 1)
    tones = Sine(1004), Sine(700)
    harness.each_frame += [lambda: near.line.send(tones[0].frame()), lambda: far.line.send(tones[1].frame())]
    assert comes_through(harness, far.line, 1004)
    assert comes_through(harness, near.line, 700)
    heard = harness.statistics(near.rtp)
    assert (heard.unauthenticated, heard.replayed, heard.strangers, heard.rejected) == (0, 0, 0, 0)
    assert heard.source == f"127.0.0.1:{harness.port_of(far.rtp)}"
    assert not heard.latched


def test_keys_that_do_not_fit_are_silence_and_a_new_pair_is_heard(harness: Harness) -> None:
    near, far = side(harness), side(harness)
    suite = SrtpSuite.AES_CM_128_HMAC_SHA1_80
    secure(harness, near, far, suite, 1)
    tone = Sine(1004)
    harness.each_frame.append(lambda: near.line.send(tone.frame()))
    assert comes_through(harness, far.line, 1004)
    alien = Srtp(key(suite, 9), key(suite, 8))
    for _ in range(2):  # once for the overlap with the key of before
        harness.client.set_rtp(far.rtp, settings_of(harness, near, alien))
        alien = Srtp(key(suite, 7), key(suite, 6))
    assert harness.run(PATIENCE, lambda: not any(far.line.audio()[-10 * FRAME :].replace(b"\xff", b"")))
    assert harness.statistics(far.rtp).unauthenticated > 0
    secure(harness, near, far, SrtpSuite.AEAD_AES_256_GCM, 20)
    assert comes_through(harness, far.line, 1004)


@pytest.mark.parametrize(("suite", "tag"), [(SrtpSuite.AES_CM_128_HMAC_SHA1_32, 4), (SrtpSuite.AEAD_AES_128_GCM, 0)])
def test_far_end_with_a_master_key_identifier_in_its_packets_is_heard(
    harness: Harness, suite: SrtpSuite, tag: int
) -> None:
    """Between the two streams somebody puts in what our own side never sends."""
    near, far = side(harness), side(harness)
    between, beside = RtpPeer(), RtpPeer()
    harness.peers += [between, beside]
    mki = b"\0\0\0\1"
    ours, theirs = key(suite, 1), key(suite, 2)
    with_mki = msgspec.structs.replace(theirs, mki=mki)
    harness.client.set_rtp(near.rtp, msgspec.structs.replace(beside.settings(), srtp=Srtp(ours, with_mki)))
    harness.client.set_rtp(far.rtp, msgspec.structs.replace(between.settings(), srtp=Srtp(theirs, ours)))
    tone = Sine(1004)

    def pass_on() -> None:
        far.line.send(tone.frame())
        while between.received:
            _, packet = between.received.pop(0)
            end = len(packet) - tag
            beside.socket.sendto(packet[:end] + mki + packet[end:], ("127.0.0.1", harness.port_of(near.rtp)))

    harness.each_frame.append(pass_on)
    assert comes_through(harness, near.line, 1004)


@pytest.mark.parametrize("mux", [False, True])
def test_reports_are_protected_too(harness: Harness, mux: bool) -> None:
    near, far = side(harness), side(harness)
    secure(harness, near, far, SrtpSuite.AES_CM_128_HMAC_SHA1_32, 1, mux=mux)
    tones = Sine(1004), Sine(700)
    harness.each_frame += [lambda: near.line.send(tones[0].frame()), lambda: far.line.send(tones[1].frame())]
    assert any(harness.run(1.0) or harness.statistics(near.rtp).round_trip >= 0 for _ in range(20))
    assert harness.statistics(near.rtp).rejected == 0


def test_nothing_goes_out_in_the_clear(harness: Harness) -> None:
    peer, line, rtp, _ = harness.call()
    suite = SrtpSuite.AES_CM_128_HMAC_SHA1_80
    peer.received.clear()
    harness.client.set_rtp(rtp, msgspec.structs.replace(peer.settings(), srtp=Srtp(key(suite, 1), key(suite, 2))))
    harness.run(0.1)
    peer.received.clear()
    harness.client.send_digits(rtp, "5")
    harness.each_frame += [lambda: line.send(b"\xd5" * FRAME), lambda: peer.send_frame(b"\x55" * FRAME)]
    assert harness.run(PATIENCE, lambda: len(peer.received) >= 30)
    audio = [data for _, data in peer.received if data[1] & 0x7F == 0]
    assert audio
    assert all(len(data) == 12 + FRAME + 10 and b"\xd5" * 4 not in data for data in audio)
    assert all(len(data) == 12 + 4 + 10 for _, data in peer.received if data[1] & 0x7F == 101)
    assert harness.statistics(rtp).unauthenticated >= 20  # what the far end says in the clear
    assert b"\x55" * FRAME not in line.audio()
    assert not any(isinstance(event, DigitHeard) for event in harness.events)


def test_voice_is_sent_to_where_it_comes_from_and_a_stranger_changes_nothing(harness: Harness) -> None:
    sdp, line, rtp, _ = harness.call()
    nat, stranger = RtpPeer(), RtpPeer()
    harness.peers += [nat, stranger]
    nat.to = stranger.to = sdp.to
    stranger.ssrc, stranger.sequence = nat.ssrc, nat.sequence - 200
    settings = msgspec.structs.replace(sdp.settings(), latch=Latch.ONCE, signalling_address="127.0.0.1")
    harness.client.set_rtp(rtp, settings)
    tones = Sine(1004), Sine(700)
    harness.each_frame += [lambda: nat.send_frame(tones[0].frame()), lambda: line.send(tones[1].frame())]
    assert comes_through(harness, nat, 700)
    assert comes_through(harness, line, 1004)

    def attack() -> None:
        for _ in range(5):
            stranger.send_frame(b"\x80" * FRAME)

    harness.each_frame.append(attack)
    harness.run(0.5)
    assert comes_through(harness, line, 1004)
    found = harness.statistics(rtp)
    assert found.source == f"127.0.0.1:{nat.port}"
    assert found.latched
    assert found.strangers >= 50
    assert not stranger.received
    assert comes_through(harness, nat, 700)


def test_garbage_at_a_protected_stream_ends_nothing(harness: Harness) -> None:
    near, far = side(harness), side(harness)
    secure(harness, near, far, SrtpSuite.AES_CM_128_HMAC_SHA1_80, 1)
    tone = Sine(1004)
    attacker = RtpPeer()
    harness.peers.append(attacker)
    harness.each_frame.append(lambda: near.line.send(tone.frame()))
    assert comes_through(harness, far.line, 1004)
    for port in (harness.port_of(far.rtp), harness.port_of(far.rtp) + 1):
        for i in range(200):
            attacker.socket.sendto(pack("!BBHII", 0x80, 0, i, i, 1) + bytes(i % 200), ("127.0.0.1", port))
    harness.run(0.3)
    assert comes_through(harness, far.line, 1004)
    assert harness.statistics(far.rtp).strangers >= 150
