"""Copies of voice for captures, from the real engine: in clear though the wire is not, both ways, of the right ends."""

from __future__ import annotations

import errno
import os
from itertools import pairwise
from struct import unpack_from

import pytest

from gateway.media import wire
from gateway.media.api import Failure, SrtpSuite, VoiceCopied
from tests.interop.program import PATIENCE
from tests.unit.media.engine_harness import Harness, Sine, comes_through, strength
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
