"""Copies of voice for captures, from the real engine: in clear though the wire is not, both ways, of the right ends."""

from __future__ import annotations

import errno
import os
import random
from itertools import pairwise
from struct import pack, unpack_from

import pytest

from gateway.media import wire
from gateway.media.api import Copied, Failure, SrtpSuite, VoiceCopied
from gateway.voip.iax.crypt import Cipher
from tests.interop.program import PATIENCE
from tests.unit.media.engine_harness import FRAME, Harness, Sine, comes_through, strength
from tests.unit.media.iax_far_end import OUR_CALL, THEIR_CALL, IaxScene
from tests.unit.media.test_media_srtp import secure, side

pytestmark = pytest.mark.realtime


def test_protected_voice_is_copied_in_clear_both_ways_while_it_is_wanted(harness: Harness) -> None:
    near, far = side(harness), side(harness)
    secure(harness, near, far, SrtpSuite.AES_CM_128_HMAC_SHA1_80, 1)
    tones = Sine(1004), Sine(700)
    harness.each_frame += [lambda: near.line.send(tones[0].frame()), lambda: far.line.send(tones[1].frame())]
    assert comes_through(harness, far.line, 1004)
    assert not [event for event in harness.events if isinstance(event, VoiceCopied)]
    harness.client.tap(near.rtp, True)

    def copies(inward: bool) -> list[VoiceCopied]:
        found = [event for event in harness.events if isinstance(event, VoiceCopied)]
        return [event for event in found if event.inward is inward]

    assert harness.run(PATIENCE, lambda: len(copies(True)) > 40 and len(copies(False)) > 40)
    ports = harness.port_of(near.rtp), harness.port_of(far.rtp)
    for inward, hertz in ((True, 700), (False, 1004)):
        found = copies(inward)
        assert {(event.stream, event.local, event.remote) for event in found} == {
            (near.rtp, ("127.0.0.1", ports[0]), ("127.0.0.1", ports[1]))
        }
        assert strength(b"".join(event.data[12:] for event in found[5:]), hertz) > 0.9
        numbers = [unpack_from("!H", event.data, 2)[0] for event in found]
        assert all((after - before) & 0xFFFF == 1 for before, after in pairwise(numbers))
        times = [event.at for event in found]
        assert times == sorted(times) and 15_000 < (times[-1] - times[0]) / (len(times) - 1) < 25_000
    harness.client.tap(near.rtp, False)
    harness.run(0.1)
    harness.events.clear()
    assert comes_through(harness, far.line, 1004)
    assert not [event for event in harness.events if isinstance(event, VoiceCopied)]


def test_no_more_streams_are_copied_than_may_be(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    opened: list[object] = []
    streams = [harness.client.open_rtp("127.0.0.1", "sip", opened.append) for _ in range(wire.TAPS_MAX + 1)]
    assert harness.run(PATIENCE, lambda: len(opened) == len(streams))
    assert not any(isinstance(reply, Failure) for reply in opened)
    refused = os.strerror(errno.ENOBUFS)
    with caplog.at_level("WARNING"):
        for stream in streams:
            harness.client.tap(stream, True)
        assert harness.run(PATIENCE, lambda: refused in caplog.text)
        assert caplog.text.count(refused) == 1
        harness.client.close(streams[0])
        harness.client.tap(streams[-1], True)
        # Replies come in order: one that is answered later has had the tap before it.
        harness.statistics(streams[-1])
        assert caplog.text.count(refused) == 1


@pytest.mark.parametrize("way", ["mini", "any", "trunk", "stamped", "encrypted"])
def test_voice_of_iax2_is_copied_as_mini_frames_in_clear_whatever_it_goes_in(harness: Harness, way: str) -> None:
    scene = IaxScene(harness, "::" if way == "any" else "127.0.0.1")
    local = "0.0.0.0" if way == "any" else "127.0.0.1"
    trunk, stamped, encrypted = way in ("trunk", "stamped"), way == "stamped", way == "encrypted"
    key = bytes(range(16)) if encrypted else b""
    iax, _, line = scene.call(
        scene.settings(trunk=trunk, trunk_stamps=stamped, send_key=key, receive_key=key, encrypted=encrypted)
    )
    cipher = Cipher(key, random.Random(1)) if encrypted else None
    from_iax, from_pri, peer = Sine(1004), Sine(700), scene.peer

    def speak() -> None:
        line.send(from_pri.frame())
        payload, stamp = from_iax.frame(), peer.stamp
        peer.stamp += 20
        head = pack("!HHH", FRAME, THEIR_CALL, stamp) if stamped else pack("!HH", THEIR_CALL, FRAME)
        mini = pack("!HH", THEIR_CALL, stamp) + payload
        peer.send(pack("!HBBI", 0, 1, stamped, stamp) + head + payload if trunk else mini)

    def speak_secretly() -> None:
        line.send(from_pri.frame())
        assert cipher is not None
        peer.send(cipher.encrypt(pack("!HH", THEIR_CALL, peer.stamp) + from_iax.frame()))
        peer.stamp += 20

    harness.each_frame.append(speak_secretly if encrypted else speak)
    assert comes_through(harness, line, 1004)
    assert not [event for event in harness.events if isinstance(event, VoiceCopied)]
    harness.client.tap(iax, True)

    def copies(inward: bool) -> list[VoiceCopied]:
        found = [event for event in harness.events if isinstance(event, VoiceCopied)]
        return [event for event in found if event.inward is inward]

    assert harness.run(PATIENCE, lambda: len(copies(True)) > 40 and len(copies(False)) > 40)
    copied = Copied.TRUNKED if trunk else Copied.ENCRYPTED if encrypted else Copied.MINI
    for inward, hertz, call in ((True, 1004, THEIR_CALL), (False, 700, OUR_CALL)):
        found = copies(inward)
        assert {(event.stream, event.local, event.remote, event.copied) for event in found} == {
            (iax, (local, scene.port), ("127.0.0.1", peer.port), copied)
        }
        assert strength(b"".join(event.data[4:] for event in found[5:]), hertz) > 0.9
        heads = [unpack_from("!HH", event.data) for event in found]
        assert {number for number, _ in heads} == {call}
        assert all((after - before) & 0xFFFF == 20 for (_, before), (_, after) in pairwise(heads))
        times = [event.at for event in found]
        assert times == sorted(times) and 15_000 < (times[-1] - times[0]) / (len(times) - 1) < 25_000
    scene.close()
