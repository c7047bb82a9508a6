"""Voice over IAX2 in captures: mini frames of the call where voice is asked for, and not an octet where it is not."""

from __future__ import annotations

import asyncio
import os

import pytest

from gateway.capture.capture import Selection
from gateway.capture.captures import Captures
from gateway.capture.ring import Ring
from gateway.media.api import Codec, Copied, IaxVoiceDue, VoiceCopied
from gateway.voip.iax.frame import FULL_HEADER, FrameType, parse_full
from tests.unit.capture.pcapng_reader import Packet, read
from tests.unit.capture.test_capture import captures, pcapng
from tests.unit.test_switch_iax import Tandem, required

VOICE = bytes(range(160))


def tandem(encrypted: bool = False) -> tuple[Tandem, Ring]:
    """A call between two far ends, with a full VOICE frame to either."""
    scene = Tandem(terms="forceencryption = true", peer=required) if encrypted else Tandem()
    assert scene.switch.iax is not None
    ring = scene.switch.iax.ring = Ring()
    scene.through()
    (call,) = scene.switch.calls.values()
    for leg in (call.incoming, call.outgoing):
        assert leg is not None and leg.stream is not None
        scene.switch.media_event(IaxVoiceDue(leg.stream, 20, Codec.ULAW, VOICE), scene.now)
    scene.run(0.1)
    return scene, ring


def voice_frames(packets: list[Packet]) -> list[tuple[bytes, str]]:
    found = [(parse_full(packet.payload), packet.comment) for packet in packets if packet.payload[0] & 0x80]
    return [(frame.data, comment) for frame, comment in found if frame.type == FrameType.VOICE]


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("reveal", [False, True])
def test_full_frames_show_their_voice_to_who_asks_for_voice_alone(encrypted: bool, reveal: bool) -> None:
    scene, ring = tandem(encrypted)
    made = captures(ring, scene.switch, scene.now)
    shown = read(b"".join(made.capture(Selection(reveal=reveal, voice=True)).octets()))
    hidden = read(b"".join(made.capture(Selection(reveal=reveal)).octets()))
    before = "was encrypted" if encrypted else ""
    left = "its voice is replaced by x"
    assert set(voice_frames(shown.packets)) == {(VOICE, before)}
    assert set(voice_frames(hidden.packets)) == {(b"x" * len(VOICE), f"{before}; {left}" if before else left)}
    assert [len(each.data) for each in shown.packets] == [len(each.data) for each in hidden.packets]
    assert all(packet.payload[:FULL_HEADER] for packet in hidden.packets)


def heard(made: Captures, stream: int, at: int, inward: bool, copied: Copied, local: str = "192.0.2.9") -> None:
    mini = (5 if inward else 6).to_bytes(2, "big") + b"\0\x28" + VOICE
    made.heard(VoiceCopied(stream, at, inward, (local, 4569), ("192.0.2.7", 4571), mini, copied))


def test_what_the_engine_copies_is_there_between_the_ends_it_had() -> None:
    scene, ring = tandem()
    (call,) = scene.switch.calls.values()
    assert call.outgoing is not None
    ours, other = call.incoming.stream, call.outgoing.stream
    assert ours is not None and other is not None
    made = captures(ring, scene.switch, scene.now)
    wanted = made.capture(Selection(call=call.identity, voice=True))
    unwanted = made.capture(Selection(call=call.identity))
    heard(made, ours, scene.now + 3, True, Copied.TRUNKED)
    heard(made, other, scene.now + 1, False, Copied.ENCRYPTED)
    heard(made, ours, scene.now + 2, True, Copied.MINI, "0.0.0.0")
    heard(made, max(ours, other) + 1, scene.now, True, Copied.MINI)
    file = read(wanted.more() + wanted.finish())
    minis = [packet for packet in file.packets if not packet.payload[0] & 0x80]
    assert [each.name for each in file.interfaces] == ["iax2"]
    assert [(packet.comment, packet.inward, packet.ports, packet.data[12:16]) for packet in minis] == [
        ("was encrypted", False, (4569, 4571), bytes((192, 0, 2, 9))),
        ("", True, (4571, 4569), bytes((192, 0, 2, 7))),
        ("was in a trunk frame", True, (4571, 4569), bytes((192, 0, 2, 7))),
    ]
    assert minis[1].data[16:20] == bytes((10, 0, 0, 9))
    assert minis[2].data[16:20] == bytes((192, 0, 2, 9))
    assert {packet.payload[4:] for packet in minis} == {VOICE}
    assert all(packet.payload[0] & 0x80 for packet in pcapng(unwanted.octets()).packets)


def test_streams_of_iax2_are_tapped_while_somebody_listens() -> None:
    scene, ring = tandem()
    (call,) = scene.switch.calls.values()
    assert call.outgoing is not None
    taps: list[tuple[int, bool]] = []

    async def run() -> None:
        made = captures(ring, scene.switch, scene.now, tap=lambda stream, on: taps.append((stream, on)))
        reading, writing = os.pipe()
        task = asyncio.create_task(made.pour(Selection(call=call.identity, voice=True), writing, follow=True))
        await asyncio.sleep(0)
        assert call.outgoing is not None
        assert set(taps) == {(call.incoming.stream, True), (call.outgoing.stream, True)}
        os.close(reading)
        await task

    asyncio.run(run())
    assert len(taps) == 4
