"""The real engine's IAX2 on loopback: full frames both ways, mini frames, trunks, encryption, both families, floods.

The machine may be busy, so bounds in time are wide here; engine/tests/test_iax_*.c has the exact ones in virtual time.
"""

from __future__ import annotations

import os
import random
import signal
import socket
from collections.abc import Iterator
from itertools import pairwise
from struct import pack, unpack_from

import pytest

from gateway.media.api import (
    ClearVoice,
    Codec,
    DigitHeard,
    Direction,
    EngineReady,
    Failure,
    FirstPacket,
    IaxFrame,
    IaxVoiceDue,
    Opened,
    WentSilent,
)
from gateway.voip.iax.crypt import Cipher
from tests.interop.program import PATIENCE
from tests.unit.media.engine_harness import FRAME, SILENCE_ULAW, Harness, Sine, comes_through, strength
from tests.unit.media.iax_far_end import OUR_CALL, THEIR_CALL, IaxScene

pytestmark = pytest.mark.realtime

NEW = bytes.fromhex("8063000000000000000006010b020002")
KEY, OTHER_KEY = bytes(range(16)), bytes(range(16, 32))


@pytest.fixture
def scene(harness: Harness) -> Iterator[IaxScene]:
    scene = IaxScene(harness)
    yield scene
    scene.close()


def due(harness: Harness) -> list[IaxVoiceDue]:
    return [event for event in harness.events if isinstance(event, IaxVoiceDue)]


def test_full_frames_come_and_go_as_they_are(scene: IaxScene) -> None:
    harness, peer = scene.harness, scene.peer
    peer.send(NEW)
    expected = IaxFrame(scene.socket, "127.0.0.1", peer.port, NEW)
    assert harness.run(PATIENCE, lambda: expected in harness.events)
    harness.client.send_iax(scene.socket, "127.0.0.1", peer.port, NEW[::-1])
    assert harness.run(PATIENCE, lambda: bool(peer.take()))
    assert peer.received[0][1] == NEW[::-1]
    assert harness.statistics(scene.socket).packets_received == 1


def test_voice_goes_both_ways_in_mini_frames_and_is_measured(scene: IaxScene) -> None:
    harness, peer = scene.harness, scene.peer
    iax, _, line = scene.call()
    from_iax, from_pri = Sine(1004), Sine(700)
    harness.each_frame += [lambda: peer.send_mini(from_iax.frame()), lambda: line.send(from_pri.frame())]
    assert comes_through(harness, line, 1004, frames=20)
    assert scene.clean_at_peer(700)
    assert [(event.stream, event.codec, len(event.data)) for event in due(harness)] == [(iax, Codec.ULAW, FRAME)]
    assert peer.minis()[0][0] == due(harness)[0].stamp + 20
    assert FirstPacket(iax) in harness.events
    statistics = harness.statistics(iax)
    assert statistics.frequency == pytest.approx(1004, abs=3)
    assert statistics.source == f"127.0.0.1:{peer.port}"
    assert statistics.rejected == statistics.strangers == 0
    assert statistics.mos > 4.0
    assert statistics.round_trip == -1.0


def test_the_voice_of_a_full_frame_is_heard_where_its_stamp_says(scene: IaxScene) -> None:
    harness = scene.harness
    iax, _, line = scene.call()
    sine = Sine(1004)
    stamp = 60

    def speak() -> None:
        nonlocal stamp
        harness.client.iax_voice(iax, stamp, Codec.ULAW, sine.frame())
        stamp += 20

    harness.each_frame.append(speak)
    assert comes_through(harness, line, 1004, frames=10)
    assert harness.statistics(iax).rejected == 0


def test_voice_of_many_calls_goes_in_one_trunk_frame(scene: IaxScene) -> None:
    harness, peer = scene.harness, scene.peer
    calls = [scene.call(scene.settings(OUR_CALL + i, THEIR_CALL + i, trunk=True)) for i in range(3)]
    sines = [Sine(hertz) for hertz in (700, 1004, 1633)]
    for (_, _, line), sine in zip(calls, sines, strict=True):
        harness.each_frame.append(lambda line=line, sine=sine: line.send(sine.frame()))  # type: ignore[misc]

    def clean() -> bool:
        of_each = [peer.entries_of(OUR_CALL + i)[-20:] for i in range(3)]
        return all(
            len(entries) == 20 and strength(b"".join(payload for _, _, payload in entries), hertz) > 0.98
            for entries, hertz in zip(of_each, (700, 1004, 1633), strict=True)
        )

    assert harness.run(PATIENCE, clean)
    assert not peer.minis()
    full = [data for _, data in peer.received if len(data) == 8 + 3 * (4 + FRAME)]
    assert len(full) > 5
    assert all(own == -1 for _, _, own, _ in peer.entries())


def test_trunk_entries_have_stamps_of_their_own_if_so_agreed(scene: IaxScene) -> None:
    harness, peer = scene.harness, scene.peer
    _, _, line = scene.call(scene.settings(trunk=True, trunk_stamps=True))
    sine = Sine(700)
    harness.each_frame.append(lambda: line.send(sine.frame()))
    assert harness.run(PATIENCE, lambda: len(peer.entries()) > 20)
    stamps = [own for _, _, own, _ in peer.entries()]
    assert [after - before for before, after in pairwise(stamps)].count(20) >= 15
    assert stamps[0] == due(harness)[0].stamp + 20


def test_a_trunk_frame_is_no_longer_than_was_said(scene: IaxScene) -> None:
    harness, peer = scene.harness, scene.peer
    room = 8 + 3 * (4 + FRAME)
    lines = [
        scene.call(scene.settings(OUR_CALL + i, THEIR_CALL + i, trunk=True, trunk_octets=room))[2] for i in range(4)
    ]
    sine = Sine(700)

    def speak() -> None:
        voice = sine.frame()
        for line in lines:
            line.send(voice)

    harness.each_frame.append(speak)
    assert harness.run(PATIENCE, lambda: len(peer.entries()) > 120)
    sizes = {len(data) for _, data in peer.received if data[:2] == b"\0\0"}
    assert max(sizes) == room
    assert len(sizes) > 1


@pytest.mark.parametrize("stamped", [False, True])
def test_trunk_frames_are_heard(scene: IaxScene, stamped: bool) -> None:
    harness, peer = scene.harness, scene.peer
    _, _, line = scene.call()
    sine = Sine(1004)

    def speak() -> None:
        stamp = peer.stamp
        peer.stamp += 20
        head = pack("!HHH", FRAME, THEIR_CALL, stamp) if stamped else pack("!HH", THEIR_CALL, FRAME)
        peer.send(pack("!HBBI", 0, 1, stamped, stamp) + head + sine.frame())

    harness.each_frame.append(speak)
    assert comes_through(harness, line, 1004, frames=20)


def test_encrypted_mini_frames_are_those_of_signallings_cipher(scene: IaxScene) -> None:
    harness, peer = scene.harness, scene.peer
    settings = scene.settings(trunk=True, send_key=KEY, receive_key=OTHER_KEY, encrypted=True)
    iax, _, line = scene.call(settings)
    ours, theirs = Cipher(KEY, random.Random(1)), Cipher(OTHER_KEY, random.Random(2))
    from_iax, from_pri = Sine(1004), Sine(700)

    def speak() -> None:
        line.send(from_pri.frame())
        peer.send(theirs.encrypt(pack("!HH", THEIR_CALL, peer.stamp) + from_iax.frame()))
        peer.stamp += 20

    harness.each_frame.append(speak)
    assert comes_through(harness, line, 1004, frames=20)

    def clean() -> bool:
        last = peer.take()[-20:]
        return strength(b"".join(ours.decrypt(data)[4:] for _, data in last), 700) > 0.98

    assert harness.run(PATIENCE, clean)
    assert {len(data) for _, data in peer.received} == {194}
    assert harness.statistics(iax).rejected == 0
    assert ClearVoice(iax) not in harness.events


@pytest.mark.parametrize("trunk", [False, True])
def test_clear_voice_is_told_once_and_never_heard(scene: IaxScene, trunk: bool) -> None:
    harness, peer = scene.harness, scene.peer
    iax, _, line = scene.call(scene.settings(send_key=KEY, receive_key=KEY, encrypted=True))
    sine = Sine(1004)

    def speak() -> None:
        if trunk:
            peer.send(pack("!HBBIHH", 0, 1, 0, peer.stamp, THEIR_CALL, FRAME) + sine.frame())
            peer.stamp += 20
        else:
            peer.send_mini(sine.frame())

    harness.each_frame.append(speak)
    assert harness.run(PATIENCE, lambda: ClearVoice(iax) in harness.events)
    harness.run(0.5)
    assert harness.events.count(ClearVoice(iax)) == 1
    assert set(line.audio()) == {0xFF}


def test_digits_of_the_line_are_told_and_taken_out_of_the_voice(scene: IaxScene) -> None:
    harness, peer = scene.harness, scene.peer
    _, tdm, line = scene.call()
    five = Sine(770, 1336)
    harness.each_frame.append(lambda: line.send(five.frame()))
    harness.run(0.3)
    harness.each_frame[:] = [lambda: line.send(SILENCE_ULAW)]
    assert harness.run(PATIENCE, lambda: any(isinstance(event, DigitHeard) for event in harness.events))
    told = [event for event in harness.events if isinstance(event, DigitHeard)]
    assert [(event.stream, event.digit) for event in told] == [(tdm, "5")]
    loud = [payload for _, payload in peer.minis() if strength(payload, 770) > 0.3]
    assert len(loud) <= 2


def test_a_far_end_that_is_silent_is_told(scene: IaxScene) -> None:
    harness, peer = scene.harness, scene.peer
    iax, _, _ = scene.call()
    peer.send_mini(Sine(700).frame())
    assert harness.run(PATIENCE, lambda: any(isinstance(e, WentSilent) and e.stream == iax for e in harness.events))


def test_a_direction_that_only_sends_hears_nothing(scene: IaxScene) -> None:
    harness, peer = scene.harness, scene.peer
    _, _, line = scene.call(scene.settings(direction=Direction.SENDONLY))
    sine = Sine(700)
    harness.each_frame.append(lambda: peer.send_mini(sine.frame()))
    assert harness.run(PATIENCE, lambda: len(peer.minis()) > 20)
    assert set(line.audio()) == {0xFF}


@pytest.mark.parametrize("codec", [Codec.ALAW, Codec.G722, Codec.L16, Codec.OPUS])
def test_a_call_between_two_sockets_in_any_codec(harness: Harness, codec: Codec) -> None:
    """The engine is its own far end: two calls, each with a line, over two sockets."""
    near, far = IaxScene(harness), IaxScene(harness)
    try:
        near_settings = near.settings(1, 2, port=far.port, codec=codec)
        far_settings = far.settings(2, 1, port=near.port, codec=codec)
        near_call, _, near_line = near.call(near_settings)
        far_call, _, far_line = far.call(far_settings)
        sine = Sine(1004)

        def hand_on() -> None:
            for event in due(harness):
                other = far_call if event.stream == near_call else near_call
                harness.client.iax_voice(other, event.stamp, event.codec, event.data)
                harness.events.remove(event)

        harness.each_frame += [hand_on, lambda: near_line.send(sine.frame())]
        assert comes_through(harness, far_line, 1004, frames=10, purity=0.9)
        assert harness.statistics(far_call).rejected == 0
    finally:
        near.close()
        far.close()


def test_both_families_at_one_socket(harness: Harness) -> None:
    six = IaxScene(harness, "::", "::1")
    four = IaxScene(harness, far="127.0.0.1", beside=six)
    try:
        for scene, text in ((six, f"[::1]:{six.peer.port}"), (four, f"127.0.0.1:{four.peer.port}")):
            scene.peer.send(NEW)
            expected = IaxFrame(six.socket, scene.peer.address, scene.peer.port, NEW)
            assert harness.run(PATIENCE, lambda expected=expected: expected in harness.events)  # type: ignore[misc]
            harness.client.send_iax(six.socket, scene.peer.address, scene.peer.port, NEW)
            assert harness.run(PATIENCE, lambda scene=scene: bool(scene.peer.take()))  # type: ignore[misc]
            number = 10 if scene is six else 20
            iax, _, line = scene.call(scene.settings(number, number + 1, trunk=scene is six))
            sine = Sine(1004)
            harness.each_frame[:] = [
                lambda scene=scene, sine=sine, call=number + 1: scene.peer.send_mini(sine.frame(), call)  # type: ignore[misc]
            ]
            assert comes_through(harness, line, 1004, frames=10)
            assert harness.statistics(iax).source == text
            assert harness.run(PATIENCE, lambda scene=scene: len(scene.peer.take()) > 5)  # type: ignore[misc]
    finally:
        four.close()
        six.close()


def test_an_address_of_the_other_family_is_refused(scene: IaxScene) -> None:
    iax, _, _ = scene.call(scene.settings(address="::1"))
    scene.harness.run(0.3)
    assert scene.harness.statistics(iax).packets_sent == 0


def test_a_flood_of_strangers_neither_starves_nor_stops_anybody(scene: IaxScene) -> None:
    harness, peer = scene.harness, scene.peer
    _, _, line = scene.call()
    sine = Sine(1004)
    mangled = random.Random(3)
    sent = 0

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.9", 0))

        def flood() -> None:
            nonlocal sent
            for _ in range(200):
                size = mangled.randrange(1, 60)
                stranger.sendto(mangled.randbytes(size) if mangled.random() < 0.5 else NEW, ("127.0.0.1", scene.port))
            peer.send(pack("!HH", 0x8000 | THEIR_CALL, OUR_CALL) + bytes(8))
            sent += 1
            peer.send_mini(sine.frame())

        harness.each_frame.append(flood)
        assert comes_through(harness, line, 1004, frames=20, purity=0.95)
        harness.each_frame.clear()
        harness.run(0.3)
    frames = [event for event in harness.events if isinstance(event, IaxFrame)]
    ours = sum(event.port == peer.port for event in frames)
    assert ours >= sent * 0.95
    assert len(frames) - ours < 100 * sent
    assert harness.statistics(scene.socket).strangers > 0


def test_full_frames_take_none_of_the_voices_room(scene: IaxScene) -> None:
    """While the engine does not read at all, more of them come than the kernel keeps."""
    harness, peer = scene.harness, scene.peer
    iax, _, _ = scene.call()
    harness.run(0.2)
    os.kill(harness.process.pid, signal.SIGSTOP)
    try:
        for _ in range(20_000):
            peer.send(NEW)
        for _ in range(10):
            peer.send_mini(SILENCE_ULAW)
    finally:
        os.kill(harness.process.pid, signal.SIGCONT)
    assert harness.run(PATIENCE, lambda: harness.statistics(iax).packets_received == 10)


def test_a_client_that_starts_anew_takes_the_socket_over(scene: IaxScene) -> None:
    harness = scene.harness
    scene.call()
    harness.socket.close()
    again = harness.second_client()
    assert harness.run(PATIENCE, lambda: any(isinstance(event, EngineReady) for event in harness.events[-3:]))
    socket_again = again.open_iax_socket("127.0.0.1", scene.port, "iax", harness.on_opened)
    assert harness.run(PATIENCE, lambda: socket_again in harness.opened)
    assert harness.opened[socket_again] == Opened(socket_again, "127.0.0.1", scene.port)
    scene.peer.send(NEW)
    expected = IaxFrame(socket_again, "127.0.0.1", scene.peer.port, NEW)
    assert harness.run(PATIENCE, lambda: expected in harness.events)


def test_an_address_that_is_taken_is_refused(scene: IaxScene) -> None:
    harness = scene.harness
    harness.client.open_iax_socket("127.0.0.1", scene.port, "iax", harness.on_opened)
    assert harness.run(PATIENCE, lambda: any(isinstance(reply, Failure) for reply in harness.opened.values()))


def test_a_call_on_no_socket_is_refused(scene: IaxScene) -> None:
    harness = scene.harness
    harness.client.open_iax(scene.socket + 999, "iax", harness.on_opened)
    assert harness.run(PATIENCE, lambda: any(isinstance(reply, Failure) for reply in harness.opened.values()))


def test_stamps_of_mini_frames_are_the_lower_half(scene: IaxScene) -> None:
    harness, peer = scene.harness, scene.peer
    scene.epoch -= 65_000_000
    _, _, line = scene.call()
    sine = Sine(700)
    harness.each_frame.append(lambda: line.send(sine.frame()))
    assert harness.run(PATIENCE, lambda: len(due(harness)) == 2)
    assert due(harness)[1].stamp >> 16 == 1
    harness.run(0.2)
    after = [unpack_from("!H", data, 2)[0] for _, data in peer.take()][-1]
    assert after < 1000
