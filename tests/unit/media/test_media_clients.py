"""The real engine and its clients and neighbours: counters, adoption, hostile packets, ports that run out."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from struct import pack, unpack_from

import pytest

from gateway.media.api import (
    EngineLost,
    EngineReady,
    Failure,
    Statistics,
)
from gateway.media.client import EngineSettings, MediaClient
from tests.interop.program import PATIENCE
from tests.unit.media.engine_harness import (
    FRAME,
    SILENCE_ULAW,
    Harness,
    Sine,
    comes_through,
)

pytestmark = pytest.mark.realtime


def test_strangers_and_noise_are_counted_and_change_nothing(harness: Harness) -> None:
    peer, line, rtp, _ = harness.call()
    tone = Sine(1004)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:

        def speak() -> None:
            peer.send_frame(tone.frame())
            stranger.sendto(b"\x80\x00" + os.urandom(170), ("127.0.0.1", peer.to))
            peer.socket.sendto(os.urandom(60), ("127.0.0.1", peer.to))
            stranger.sendto(b"\x80\xc8\x00\x06" + os.urandom(24), ("127.0.0.1", peer.to + 1))

        harness.each_frame.append(speak)
        harness.run(1.0)
        statistics = harness.statistics(rtp)
    assert statistics.rejected >= 80
    assert comes_through(harness, line, 1004, frames=10, purity=0.98)


def test_loss_duplicates_and_reordering_are_counted(harness: Harness) -> None:
    peer, _, rtp, _ = harness.call()
    count = 0

    def speak() -> None:
        nonlocal count
        count += 1
        if count % 20 == 10:  # lost
            peer.sequence = (peer.sequence + 1) & 0xFFFF
            peer.stamp += FRAME
            return
        before = peer.sequence
        peer.send_frame(SILENCE_ULAW)
        if count % 20 == 5:  # twice
            peer.sequence, peer.stamp = before, peer.stamp - FRAME
            peer.send_frame(SILENCE_ULAW)

    harness.each_frame.append(speak)
    harness.run(1.0)
    statistics = harness.statistics(rtp)
    assert statistics.lost in (2, 3)
    assert statistics.duplicated in (2, 3)
    assert statistics.concealed >= statistics.lost - 1
    assert statistics.mos < 4.3


def test_rtcp_says_what_was_received_and_bye_at_the_end(harness: Harness) -> None:
    peer, _, rtp, _ = harness.call()
    harness.each_frame.append(lambda: peer.send_frame(SILENCE_ULAW))
    assert harness.run(PATIENCE, lambda: bool(peer.reports))
    report = peer.reports[0]
    assert report[:2] == b"\x81\xc8", "a sender report with one block"
    assert unpack_from("!I", report, 28)[0] == peer.ssrc
    assert report[53] == 202, "SDES follows"
    ssrc, ntp = unpack_from("!I", report, 4)[0], unpack_from("!Q", report, 8)[0]
    # The far end's receiver report: 5 lost, jitter 80, LSR from above, held for 0.1 s.
    block = pack("!IIIIII", ssrc, 0x00000005, 0, 80, (ntp >> 16) & 0xFFFFFFFF, 6553)
    harness.run(0.13)
    peer.rtcp.sendto(pack("!BBHI", 0x81, 201, 7, peer.ssrc) + block, ("127.0.0.1", peer.to + 1))
    harness.run(0.1)
    statistics = harness.statistics(rtp)
    assert statistics.remote_lost == 5
    assert statistics.remote_jitter == pytest.approx(10.0)
    assert 0 <= statistics.round_trip < 5000
    harness.client.close(rtp)
    assert harness.run(PATIENCE, lambda: peer.reports[-1][-8:-6] == b"\x81\xcb")


def test_close_answers_with_the_last_counters(harness: Harness) -> None:
    peer, _, rtp, _ = harness.call()
    harness.each_frame.append(lambda: peer.send_frame(SILENCE_ULAW))
    harness.run(0.3)
    harness.client.close(rtp, harness.replies.append)
    assert harness.run(PATIENCE, lambda: bool(harness.replies))
    last = harness.replies[0]
    assert isinstance(last, Statistics)
    assert last.packets_received > 10


def test_streams_outlive_their_client_and_are_adopted_again(harness: Harness) -> None:
    peer, line, rtp, tdm = harness.call()
    tone = Sine(1004)
    harness.each_frame.append(lambda: peer.send_frame(tone.frame()))
    harness.run(0.3)
    harness.socket.close()
    harness.client.lost(harness.now())
    harness.connect()
    assert harness.run(PATIENCE, lambda: EngineReady(False) in harness.events)
    assert EngineLost() in harness.events
    line.received.clear()
    harness.run(0.5)
    assert comes_through(harness, line, 1004, frames=10, purity=0.98)
    assert harness.statistics(tdm).packets_sent >= 35
    assert harness.client.streams == {rtp, tdm}


def test_another_client_finds_streams_by_their_labels_and_the_rest_end(tmp_path: Path) -> None:
    import random

    harness = Harness(tmp_path, settings=EngineSettings((24000, 24999), 500, 1), seed=3)
    try:
        _, line, rtp, tdm = harness.call()
        harness.socket.close()
        harness.client = MediaClient(random.Random(99), harness.settings)
        harness.events.clear()
        harness.connect()
        assert harness.run(PATIENCE, lambda: EngineReady(False) in harness.events)
        kept = {entry.label: entry for entry in harness.client.kept}
        assert kept["sip"].stream == rtp
        assert kept["sip"].peer == tdm
        assert kept["sip"].port == harness.port_of(rtp)
        harness.client.adopt(tdm)
        line.received.clear()
        harness.run(0.5)
        harness.each_frame.append(harness.drain)
        # 5 s of grace at least for a client that is there: then the RTP stream ends, the line goes on.
        assert harness.run(PATIENCE, lambda: rtp_is_gone(harness.port_of(rtp)))
        line.received.clear()
        harness.run(0.3)
        assert len(line.received) >= 10
    finally:
        harness.close()


def rtp_is_gone(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_hostile_control_packets_do_not_end_the_engine(harness: Harness) -> None:
    _, line, _, _ = harness.call()
    for size in (1, 15, 16, 17, 1000, 30000):
        harness.socket.send(os.urandom(size))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        stranger.connect(harness.process.control)
        stranger.send(b"GET / HTTP/1.1\r\n\r\n")
        stranger.settimeout(2.0)
        assert stranger.recv(100) == b""
    line.received.clear()
    harness.run(0.3)
    assert len(line.received) > 10


def test_ports_run_out_as_a_clear_failure_and_come_back(tmp_path: Path) -> None:
    harness = Harness(tmp_path, settings=EngineSettings((28000, 28007), 500, 5), seed=7)
    try:
        streams = [harness.client.open_rtp("127.0.0.1", "sip", harness.on_opened) for _ in range(5)]
        assert harness.run(PATIENCE, lambda: len(harness.opened) == 5)
        failures = [reply for reply in harness.opened.values() if isinstance(reply, Failure)]
        assert [failure.code for failure in failures] == [errno.EADDRINUSE]
        harness.client.close(streams[0])
        again = harness.client.open_rtp("127.0.0.1", "sip", harness.on_opened)
        assert harness.run(PATIENCE, lambda: again in harness.opened)
    finally:
        harness.close()
