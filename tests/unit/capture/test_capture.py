"""A capture of calls: everything, one call or one span, in the order of time, with the right ends and no secret."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway.capture.capture import REDACTED, REVEALED, SETTLE, Capture, Selection, UnknownCallError
from gateway.capture.captures import MAX_AT_ONCE, BusyError, Captures, UnknownSpanError, call_keys
from gateway.capture.headers import Endpoint
from gateway.capture.ring import CallKeys, Ring, VoicePath, Wire
from gateway.core import SECOND
from gateway.media.api import VoiceCopied
from gateway.switch import CallEnded, Switch
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.frame import Command, FrameType, FullFrame, parse_full
from gateway.voip.iax.host import Path
from gateway.voip.sip.flow import TCP, TLS, UDP, Flow
from gateway.voip.sip.hop import Listener
from tests.unit.branch_scene import FAR, GATEWAY, Scene
from tests.unit.capture.pcapng_reader import File, Packet, read
from tests.unit.test_switch_iax import Tandem, required

WALL = 1_700_000_000.0


class NoSockets:
    """No connection is open."""

    def ends_of(self, flow: Flow) -> tuple[Endpoint, bool] | None:
        return None


def captures(
    ring: Ring, switch: Switch, now: int, tap: Callable[[int, bool], None] = lambda stream, on: None
) -> Captures:
    made = Captures(
        ring,
        switch,
        NoSockets(),
        local_for=lambda remote: "10.0.0.9" if "." in remote else "fd00::9",
        clock=lambda: now,
        wall_clock=lambda: WALL,
        tap=tap,
    )
    made.listeners = (Listener(UDP, GATEWAY, 5060),)
    return made


def pcapng(parts: Iterator[bytes]) -> File:
    return read(b"".join(parts))


def call_id(packet: Packet) -> bytes:
    return next(line for line in packet.payload.split(b"\r\n") if line.lower().startswith(b"call-id"))


def branch() -> tuple[Scene, Ring]:
    scene = Scene()
    ring = scene.switch.ring = Ring()
    return scene, ring


def ended(scene: Scene, ring: Ring) -> None:
    """As the daemon does with a call that ended."""
    found = scene.switch.poll
    made = captures(ring, scene.switch, 0)

    def poll() -> Any:
        output = found()
        if isinstance(output, CallEnded):
            made.ended(output.call)
        return output

    scene.switch.poll = poll  # type: ignore[method-assign]


def test_a_call_between_line_and_sip_is_there_in_order() -> None:
    scene, ring = branch()
    scene.from_pstn(hold=2_000)
    scene.run(10)
    file = pcapng(captures(ring, scene.switch, scene.now).capture_of())
    assert file.comment == REDACTED
    assert [each.name for each in file.interfaces] == ["pstn", "sip-udp"]
    times = [packet.at for packet in file.packets]
    assert times == sorted(times)
    assert WALL * SECOND - 20 * SECOND < times[0] < times[-1] <= WALL * SECOND
    lines = [packet.payload.split(b" ")[0] for packet in file.of("sip-udp")]
    assert lines[0] == b"INVITE" and b"BYE" in lines
    first = file.of("sip-udp")[0]
    assert not first.inward and first.ports == (5060, 5060)
    assert first.data[12:20] == bytes((10, 0, 0, 1, 10, 0, 0, 2))
    answer = file.of("sip-udp")[1]
    assert answer.inward and answer.data[12:20] == bytes((10, 0, 0, 2, 10, 0, 0, 1))
    q931 = [packet for packet in file.of("pstn") if not packet.payload[2] & 1 and len(packet.payload) > 4]
    assert [(packet.inward, packet.payload[8]) for packet in q931][:2] == [(True, 0x05), (False, 0x02)]
    # The direction as LAPD's header has it: 4 is sent, 0 is received; we are the user side.
    assert all(packet.data[:2] == (b"\0\0" if packet.inward else b"\0\4") for packet in q931)
    assert all(packet.data[6] == 0 for packet in q931)


def test_one_of_two_calls_while_it_goes_on_and_after_its_end() -> None:
    scene, ring = branch()
    ended(scene, ring)
    scene.from_pstn(hold=30_000)
    scene.run(5)
    scene.from_sip("95550101")
    scene.run(5)
    first, second = scene.switch.calls
    made = captures(ring, scene.switch, scene.now)
    everything = pcapng(made.capture_of())
    live = {each: pcapng(made.capture_of(each)) for each in (first, second)}
    for file in live.values():
        assert len({call_id(packet) for packet in file.of("sip-udp")}) == 1
        assert len({packet.payload[6:8] for packet in file.of("pstn")} - {b""}) == 2
    assert {call_id(p) for p in live[first].of("sip-udp")} != {call_id(p) for p in live[second].of("sip-udp")}
    in_q931 = [packet for packet in everything.of("pstn") if not packet.payload[2] & 1]
    assert sum(len(file.of("pstn")) for file in live.values()) == len(in_q931)
    scene.run(600)
    assert not scene.switch.calls
    after = pcapng(captures(ring, scene.switch, scene.now).capture_of(first))
    assert len(after.packets) > len(live[first].packets)
    assert any(packet.payload[8] == 0x5A for packet in after.of("pstn"))  # RELEASE COMPLETE
    assert call_id(after.of("sip-udp")[0]) == call_id(live[first].of("sip-udp")[0])
    assert len({call_id(packet) for packet in after.of("sip-udp")}) == 1


def test_only_one_span() -> None:
    scene = Scene({"one": {"group": "g0"}, "two": {"group": "g1"}})
    ring = scene.switch.ring = Ring()
    scene.from_pstn(span="one")
    scene.from_pstn(span="two")
    scene.run(5)
    file = pcapng(captures(ring, scene.switch, scene.now).capture_of(span="two"))
    assert [each.name for each in file.interfaces] == ["two"]
    assert file.packets


def test_what_there_is_not_is_told() -> None:
    scene, ring = branch()
    made = captures(ring, scene.switch, scene.now)
    with pytest.raises(UnknownCallError, match="no call 'nobody'"):
        made.capture_of("nobody")
    with pytest.raises(UnknownSpanError, match="no span 'nowhere'"):
        made.capture_of(span="nowhere")


def test_an_empty_ring_is_a_whole_file() -> None:
    scene, _ = branch()
    assert pcapng(captures(Ring(), scene.switch, 0).capture_of(reveal=True)) == File(REVEALED)


def test_iax2_of_an_encrypted_call_is_in_clear_and_of_that_call_alone() -> None:
    scene = Tandem(terms="forceencryption = true", peer=required)
    assert scene.switch.iax is not None
    ring = scene.switch.iax.ring = Ring()
    scene.through()
    scene.through("c")
    made = captures(ring, scene.switch, scene.now)
    file = pcapng(made.capture_of())
    assert [each.name for each in file.interfaces] == ["iax2"]
    frames = [parse_full(packet.payload) for packet in file.packets]
    commands = [frame.subclass for frame in frames if frame.type == FrameType.IAX]
    assert {Command.NEW, Command.AUTHREQ, Command.AUTHREP, Command.ACCEPT} <= set(commands)
    assert any(frame.type == FrameType.CONTROL for frame in frames)
    assert {packet.comment for packet in file.packets} == {"", "was encrypted"}
    # AUTHREP is not shown with what it proves, but to who asks for it.
    proof = next(frame for frame in frames if frame.subclass == Command.AUTHREP and frame.type == FrameType.IAX)
    assert proof.elements.raw(Ie.MD5_RESULT) == b"x" * 32
    revealed = pcapng(made.capture_of(reveal=True))
    proof = next(
        frame
        for frame in (parse_full(packet.payload) for packet in revealed.packets)
        if frame.subclass == Command.AUTHREP and frame.type == FrameType.IAX
    )
    assert proof.elements.raw(Ie.MD5_RESULT) != b"x" * 32
    first, second = scene.switch.calls
    parts = [pcapng(made.capture_of(each)) for each in (first, second)]
    assert all(part.packets for part in parts)
    assert sum(len(part.packets) for part in parts) == len(file.packets)
    # Both hops of a call are in it, from the first frame on.
    assert len({packet.data[12:16] for packet in parts[0].packets}) == 3
    assert parse_full(parts[0].packets[0].payload).subclass == Command.NEW


class Anywhere:
    """Surroundings of captures that have no gateway around them."""

    def __init__(self, *, outgoing: bool = False) -> None:
        self._outgoing = outgoing

    def local_of(self, flow: Flow) -> Endpoint:
        if flow.transport == UDP:
            return "192.0.2.1", 5070
        return ("192.0.2.1", 50_000) if self._outgoing else ("192.0.2.1", 5061 if flow.transport == TLS else 5060)

    def outgoing(self, flow: Flow) -> bool:
        return self._outgoing

    def iax_local(self, path: Path) -> Endpoint:
        return "192.0.2.1", 4569

    def iax_end(self, local: Endpoint, remote: str) -> Endpoint:
        return "192.0.2.1", local[1]

    def network_side(self, span: str) -> bool:
        return span == "net"

    def live_call(self, identity: str) -> CallKeys | None:
        return CallKeys("c", 0, None, (("sip", "mine"), ("stream", 7))) if identity == "c" else None


def made(ring: Ring, *, outgoing: bool = False, **selection: Any) -> File:
    return pcapng(Capture(ring, Anywhere(outgoing=outgoing), Selection(**selection), wall=0).octets())


def sip(call: str, *lines: str, body: str = "") -> bytes:
    head = [f"INVITE sip:1@b SIP/2.0\r\nCall-ID: {call}", *lines, f"Content-Length: {len(body)}"]
    return ("\r\n".join(head) + f"\r\n\r\n{body}").encode()


@pytest.mark.parametrize(
    ("transport", "outgoing", "ports"),
    [
        (TCP, False, (40_000, 5060)),
        (TLS, False, (40_000, 5060)),
        (TCP, True, (40_000, 50_000)),
        (TLS, True, (5060, 50_000)),
    ],
)
def test_tls_is_at_the_port_of_sip_and_nothing_else_is_moved(
    transport: str, outgoing: bool, ports: tuple[int, int]
) -> None:
    ring = Ring()
    flow = Flow(transport, "192.0.2.2", 40_000, 3)
    ring.note(1, Wire.SIP, True, flow, sip("a")[:30])
    ring.note(2, Wire.SIP, True, flow, sip("a")[30:] + sip("mine"))
    ring.note(3, Wire.SIP, False, flow, sip("b"))
    file = made(ring, outgoing=outgoing)
    assert [(packet.at, packet.inward, packet.payload) for packet in file.packets] == [
        (2, True, sip("a")),
        (2, True, sip("mine")),
        (3, False, sip("b")),
    ]
    assert [packet.ports for packet in file.packets] == [ports, ports, ports[::-1]]
    assert [each.name for each in file.interfaces] == [f"sip-{transport.lower()}"]
    alone = made(ring, outgoing=outgoing, call="c")
    assert [(packet.payload, packet.sequence) for packet in alone.packets] == [(sip("mine"), 1)]


def test_voice_that_is_decrypted_is_not_said_to_be_protected() -> None:
    ring = Ring()
    body = "m=audio 4000 RTP/SAVP 0\r\na=x:RTP/SAVP 0\r\nm=video 4002 RTP/SAVPF 99\r\n"
    for flow in (Flow(UDP, "192.0.2.2", 5060), Flow(TLS, "192.0.2.2", 40_000, 3)):
        ring.note(1, Wire.SIP, True, flow, sip("a", body=body))
    for packet in made(ring).packets:
        assert packet.payload == sip("a", body=body) and packet.comment == ""
    for packet in made(ring, voice=True).packets:
        assert packet.payload == sip("a", body=body.replace("4000 RTP/SAVP ", "4000 RTP/AVPF "))
        assert "stands for RTP/SAVP" in packet.comment


def test_what_is_left_of_a_cut_message_shows_nothing_but_its_length() -> None:
    ring = Ring()
    flow = Flow(TLS, "2001:db8::2", 40_000, 3)
    secret = sip("a", 'Authorization: Digest username="u", response="SECRETSECRET"')
    ring.note(1, Wire.SIP, True, flow, secret[secret.index(b"SECRET") :] + sip("a"))
    ring.note(2, Wire.SIP, True, flow, secret[:-20])
    shown = [packet.payload for packet in made(ring).packets]
    assert [len(each) for each in shown] == [len(secret) - secret.index(b"SECRET"), len(sip("a")), len(secret) - 20]
    assert [each.strip() for each in shown] == [b"", sip("a").strip(), b""]
    assert "not in the capture" in made(ring).packets[0].comment
    revealed = [packet.payload for packet in made(ring, reveal=True).packets]
    assert b"".join(revealed) == secret[secret.index(b"SECRET") :] + sip("a") + secret[:-20]


def test_secrets_are_shown_to_who_asks_only() -> None:
    ring = Ring()
    flow = Flow(UDP, "192.0.2.2", 5060)
    data = sip("a", 'Authorization: Digest response="SECRET"', body="a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:KEY\r\n")
    ring.note(1, Wire.SIP, True, flow, data)
    frame = FullFrame(1, 2, 0, 0, 0, FrameType.IAX, Command.REGREQ, bytes(Elements().add(Ie.PASSWORD, b"SECRET")))
    ring.note(2, Wire.IAX2, False, (Path(1, "192.0.2.2", 4569), b""), bytes(frame))
    hidden, shown = made(ring), made(ring, reveal=True)
    assert [packet.payload for packet in shown.packets] == [data, bytes(frame)]
    assert (hidden.comment, shown.comment) == (REDACTED, REVEALED)
    for packet in hidden.packets:
        assert b"SECRET" not in packet.data and b"KEY" not in packet.data
    assert hidden.packets[0].ports == (5060, 5070) and hidden.packets[1].ports == (4569, 4569)


UNREADABLE = b"\x80\x01\x00\x02" + bytes(range(64, 128))


def test_frames_that_no_key_opens_are_there_as_they_were() -> None:
    ring = Ring()
    ring.note(1, Wire.IAX2, True, (Path(1, "192.0.2.2", 4569), bytes(16)), UNREADABLE)
    (packet,) = made(ring).packets
    assert packet.payload == UNREADABLE
    assert "not known" in packet.comment


def test_voice_that_is_told_late_is_in_its_place() -> None:
    ring = Ring()
    for at in (1_000, 40_000, 60_000):
        ring.note(at, Wire.LAPD, True, "net", b"\x02\x01\x01\x01")
    voice = VoicePath(7, ("192.0.2.1", 10_000), ("192.0.2.2", 20_000))
    ring.note(20_000, Wire.RTP, True, voice, b"\x80\0")
    ring.note(30_000, Wire.RTP, False, voice._replace(stream=8), b"\x80\1")
    file = made(ring)
    assert [packet.at for packet in file.packets] == [1_000, 20_000, 30_000, 40_000, 60_000]
    assert file.of("net")[0].data[6] == 1
    assert [packet.payload for packet in made(ring, call="c").packets] == [b"\x80\0"]
    assert file.of("rtp")[0].ports == (20_000, 10_000) and file.of("rtp")[1].ports == (10_000, 20_000)


def test_voice_is_taken_from_a_ring_of_its_own_from_now_on_and_only_if_asked_for() -> None:
    ring, voice = Ring(), Ring()
    path = VoicePath(7, ("192.0.2.1", 10_000), ("192.0.2.2", 20_000))
    voice.note(1, Wire.RTP, True, path, b"\x80\0")
    wanted = Capture(ring, Anywhere(), Selection(voice=True), wall=0, voice=voice)
    not_wanted = Capture(ring, Anywhere(), Selection(), wall=0, voice=voice)
    voice.note(3, Wire.RTP, True, path, b"\x80\1")
    ring.note(2, Wire.LAPD, True, "net", b"\x02\x01\x01\x01")
    assert wanted.behind and not_wanted.behind
    file = read(wanted.more() + wanted.finish())
    assert [(packet.at, packet.interface.name) for packet in file.packets] == [(2, "net"), (3, "rtp")]
    assert [packet.at for packet in read(not_wanted.more() + not_wanted.finish()).packets] == [2]
    assert not wanted.behind


def test_streams_of_a_call_are_tapped_while_somebody_listens_and_no_longer() -> None:
    scene, ring = branch()
    taps: list[tuple[int, bool]] = []
    scene.from_pstn(hold=600_000)
    scene.from_pstn(hold=600_000)
    scene.run(3)
    first, second = scene.switch.calls.values()
    assert first.outgoing is not None and second.outgoing is not None

    async def run() -> None:
        made = captures(ring, scene.switch, scene.now, tap=lambda stream, on: taps.append((stream, on)))
        pipes = [os.pipe() for _ in range(4)]
        selections = [
            Selection(call=first.identity, voice=True),
            Selection(call=first.identity),
            Selection(voice=True),
            Selection(span="pstn", voice=True),
        ]
        tasks = [
            asyncio.create_task(made.pour(selection, pipe[1], follow=True))
            for selection, pipe in zip(selections, pipes, strict=True)
        ]
        await asyncio.sleep(0)
        one, other = first.outgoing.stream, second.outgoing.stream  # type: ignore[union-attr]
        assert taps == [(one, True), (other, True)]
        assert one is not None
        made.engine_ready()
        assert taps[2:] == taps[:2]
        del taps[2:]
        made.heard(VoiceCopied(one, scene.now, True, ("10.0.0.1", 10_000), ("10.0.0.2", 20_000), b"\x80\0"))
        for reading, _ in (pipes[1], pipes[3], pipes[0]):
            os.close(reading)
        await asyncio.gather(tasks[1], tasks[3], tasks[0])
        assert taps == [(one, True), (other, True)]
        tasks[2].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[2]
        assert set(taps[2:]) == {(one, False), (other, False)} and len(taps) == 4
        os.close(pipes[2][0])

    asyncio.run(run())


def test_a_capture_goes_on_with_what_comes() -> None:
    ring = Ring()
    capture = Capture(ring, Anywhere(), Selection(), wall=0)
    ring.note(1, Wire.LAPD, True, "net", b"\x02\x01\x01\x01")
    data = capture.more(now=SETTLE)
    assert not read(data).packets
    data += capture.more(now=SETTLE + 1)
    ring.note(5, Wire.LAPD, True, "net", b"\x02\x01\x01\x03")
    data += capture.more() + capture.finish()
    assert [packet.at for packet in read(data).packets] == [1, 5]


def test_keys_of_a_call_are_small() -> None:
    scene, _ = branch()
    scene.from_pstn(hold=30_000)
    scene.run(5)
    (call,) = scene.switch.calls.values()
    keys = call_keys(call)
    assert keys.ended is None and keys.identity == call.identity
    assert [key[0] for key in keys.keys] == ["pri", "sip", "stream", "stream"]
    assert keys.keys[0][1:2] == ("pstn",) and keys.keys[0][3] is False


def poured(ring: Ring, scene: Scene, *, follow: bool = False, cut: bool = False) -> bytes:
    async def run() -> bytes:
        reading, writing = os.pipe()
        made = captures(ring, scene.switch, scene.now)
        task = asyncio.create_task(made.pour(Selection(), writing, follow=follow))
        data = b""
        if not follow:
            while part := await asyncio.to_thread(os.read, reading, 5000):
                data += part
            assert await task == len(data)
        os.close(reading)
        await asyncio.wait_for(task, 5)
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(writing)
        return data

    return asyncio.run(run())


def test_it_is_poured_into_a_pipe_as_fast_as_it_is_read() -> None:
    scene, ring = branch()
    for number in range(2_000):
        ring.note(number, Wire.SIP, True, Flow(UDP, FAR, 5060), sip(f"c{number}"))
    assert len(read(poured(ring, scene)).packets) == 2_000


def test_one_that_follows_ends_when_nobody_reads_any_more() -> None:
    scene, ring = branch()
    poured(ring, scene, follow=True)


def test_there_are_not_more_at_a_time_than_may_be() -> None:
    async def run() -> None:
        scene, ring = branch()
        made = captures(ring, scene.switch, scene.now)
        pipes = [os.pipe() for _ in range(MAX_AT_ONCE + 1)]
        tasks = [asyncio.create_task(made.pour(Selection(), pipe[1], follow=True)) for pipe in pipes]
        with pytest.raises(BusyError, match=f"{MAX_AT_ONCE} captures are under way"):
            await tasks[-1]
        for reading, _ in pipes:
            os.close(reading)
        await asyncio.gather(*tasks[:-1])
        reading, writing = os.pipe()
        assert await made.pour(Selection(), writing) > 0
        os.close(reading)

    asyncio.run(run())
