"""MediaClient against a hand-made engine: replies, failures, lost connections, limits; in virtual time."""

from __future__ import annotations

import errno
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import SECOND
from gateway.media import wire
from gateway.media.api import (
    Codec,
    DigitHeard,
    EngineLost,
    EngineReady,
    Failure,
    Law,
    MediaEvent,
    Opened,
    RtpSettings,
    Statistics,
    StreamLost,
    Tone,
    ToneStep,
    WentSilent,
)
from gateway.media.client import PENDING_MAX, EngineSettings, MediaClient, Transmit
from gateway.media.wire import Kind, Opcode, WireError

OK = wire.CODE.pack(0)
SETTINGS = RtpSettings("192.0.2.7", 4000, 4001, Codec.ULAW, 0)
DIAL_TONE = Tone((ToneStep((350, 440), 0),))


class Bench:
    """A connected client, what it sent, and the words to answer with."""

    def __init__(self, *, seed: int = 1) -> None:
        self.client = MediaClient(random.Random(seed), EngineSettings((20000, 20999), 1500, 60))
        self.now = 1000 * SECOND
        self.sent: list[tuple[int, int, int, bytes]] = []
        self.events: list[MediaEvent] = []
        self.packets = 0
        self.replies: list[Opened | Failure] = []
        self.statistics: list[Statistics | Failure] = []

    def drain(self) -> None:
        while (output := self.client.poll()) is not None:
            if isinstance(output, Transmit):
                assert len(output.data) <= wire.PACKET_MAX
                self.packets += 1
                self.sent += wire.messages(output.data)
            else:
                self.events.append(output)

    def connect(self, *, fresh: bool = True) -> None:
        self.client.connected(self.now)
        self.drain()
        assert self.sent[-1][0] == Opcode.HELLO
        self.answer(wire.HELLO_REPLY.pack(0, fresh, 0 if fresh else 2, 1024, 4711))

    def answer(self, body: bytes, index: int = -1) -> None:
        """Answer the request sent as ``index``."""
        opcode, request, stream, _ = self.sent[index]
        self.receive(opcode | Opcode.REPLY, request, stream, body)

    def receive(self, opcode: int, request: int, stream: int, body: bytes) -> None:
        self.client.receive(wire.message(opcode, request, stream, body), self.now)
        self.drain()

    def refuse(self, code: int, text: str, index: int = -1) -> None:
        self.answer(wire.CODE.pack(code) + text.encode(), index)

    def opcodes(self) -> list[int]:
        return [opcode for opcode, *_ in self.sent]


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.connect()
    bench.sent.clear()
    return bench


def test_hello_tells_the_settings_and_ready_follows() -> None:
    bench = Bench()
    bench.connect()
    assert wire.HELLO.unpack(bench.sent[0][3]) == (20000, 20999, 1500, 60)
    assert bench.events == [EngineReady(True)]


def test_requests_made_together_share_a_packet_in_order(bench: Bench) -> None:
    bench.packets = 0
    rtp = bench.client.open_rtp("192.0.2.1", "sip", bench.replies.append)
    tdm = bench.client.open_tdm("/run/span1/1", Law.ALAW, "pri", bench.replies.append)
    bench.client.connect(rtp, tdm)
    bench.client.set_rtp(rtp, SETTINGS)
    bench.drain()
    assert bench.packets == 1
    assert bench.opcodes() == [Opcode.OPEN_RTP, Opcode.OPEN_TDM, Opcode.CONNECT, Opcode.SET_RTP]
    assert [request != 0 for _, request, _, _ in bench.sent] == [True, True, False, False]
    assert bench.sent[1][3] == b"\x01\0\0\0" + b"pri".ljust(64, b"\0") + b"/run/span1/1"
    bench.answer(wire.OPEN_RTP_REPLY.pack(0, 20002, 20003), 0)
    bench.answer(OK, 1)
    assert bench.replies == [Opened(rtp, "192.0.2.1", 20002), Opened(tdm)]


def test_a_refused_stream_fails_and_its_use_is_ignored(bench: Bench) -> None:
    rtp = bench.client.open_rtp("192.0.2.1", "sip", bench.replies.append)
    bench.drain()
    bench.refuse(errno.EADDRINUSE, "Address already in use")
    assert bench.replies == [Failure(errno.EADDRINUSE, "Address already in use")]
    bench.sent.clear()
    bench.client.set_rtp(rtp, SETTINGS)
    bench.client.connect(rtp, rtp)
    bench.client.close(rtp)
    bench.client.statistics(rtp, bench.statistics.append)
    bench.drain()
    assert bench.sent == []
    assert isinstance(bench.statistics[0], Failure)
    assert bench.statistics[0].code == errno.ENOENT


def test_a_callback_never_comes_out_of_the_request_itself(bench: Bench) -> None:
    bench.client.open_rtp("not an address", "sip", bench.replies.append)
    bench.client.open_tone(Tone(()), "tone", bench.replies.append)
    bench.client.open_tdm("x" * 108, Law.ULAW, "pri", bench.replies.append)
    bench.client.open_prompt("x" * 1024, "prompt", bench.replies.append)
    assert bench.replies == []
    bench.drain()
    assert [reply.code for reply in bench.replies if isinstance(reply, Failure)] == [
        errno.EINVAL,
        errno.EINVAL,
        errno.ENAMETOOLONG,
        errno.ENAMETOOLONG,
    ]
    assert bench.sent == []


def test_statistics_and_close_answer_with_counters(bench: Bench) -> None:
    echo = bench.client.open_echo("echo", bench.replies.append)
    bench.drain()
    bench.answer(OK)
    value = Statistics(packets_sent=5, mos=4.0)
    bench.client.statistics(echo, bench.statistics.append)
    bench.drain()
    bench.answer(OK + wire.statistics_body(value))
    bench.client.close(echo, bench.statistics.append)
    bench.drain()
    bench.answer(OK + wire.statistics_body(value))
    assert bench.statistics == [value, value]
    assert bench.client.streams == set()


def test_a_missing_reply_fails_after_two_to_three_seconds(bench: Bench) -> None:
    bench.client.open_echo("echo", bench.replies.append)
    bench.drain()
    asked = bench.now
    while not bench.replies:
        at = bench.client.next_timer()
        assert at is not None
        bench.now = max(bench.now, at)
        bench.client.handle_timer(bench.now)
        bench.drain()
    assert bench.replies == [Failure(errno.ETIMEDOUT, "no reply to OPEN_ECHO")]
    assert 2 * SECOND <= bench.now - asked <= 3 * SECOND
    assert bench.client.next_timer() is None
    bench.answer(OK)  # far too late: nobody waits for it
    assert len(bench.replies) == 1


def test_a_quiet_hour_does_not_make_a_fresh_request_time_out(bench: Bench) -> None:
    """The client only knows the time of its last call; a request made long after must still have its 2 s."""
    bench.now += 3600 * SECOND
    bench.client.open_echo("echo", bench.replies.append)
    bench.drain()
    asked = bench.now
    while bench.now < asked + 2 * SECOND - 1:
        bench.client.handle_timer(bench.now)
        bench.drain()
        at = bench.client.next_timer()
        assert at is not None
        bench.now = max(bench.now + 1, min(at, asked + 2 * SECOND - 1))
    assert bench.replies == []


def test_a_tone_asks_for_no_reply_and_tells_only_that_it_failed(bench: Bench) -> None:
    good = bench.client.open_tone(DIAL_TONE, "good", bench.replies.append)
    bad = bench.client.open_tone(DIAL_TONE, "bad", bench.replies.append)
    closed = bench.client.open_tone(DIAL_TONE, "closed", bench.replies.append)
    bench.client.close(closed)
    bench.drain()
    assert [(opcode, request) for opcode, request, _, _ in bench.sent] == [
        (Opcode.OPEN_TONE, 0),
        (Opcode.OPEN_TONE, 0),
        (Opcode.OPEN_TONE, 0),
        (Opcode.CLOSE, 0),
    ]
    full = wire.CODE.pack(errno.ENFILE) + b"too many streams"
    for stream in (bad, bad, closed):
        bench.client.receive(wire.message(Opcode.OPEN_TONE | Opcode.REPLY, 0, stream, full), bench.now)
    assert bench.replies == [Failure(errno.ENFILE, "too many streams")]
    assert bench.client.streams == {good}


def test_a_lost_connection_fails_what_waits_and_keeps_the_streams(bench: Bench) -> None:
    tone = bench.client.open_tone(DIAL_TONE, "tone", bench.replies.append)
    bench.drain()
    bench.client.statistics(tone, bench.statistics.append)
    bench.client.open_echo("echo", bench.replies.append)
    bench.drain()
    bench.client.lost(bench.now)
    bench.drain()
    assert bench.events[-1] == EngineLost()
    assert isinstance(bench.statistics[0], Failure)
    assert isinstance(bench.replies[0], Failure)
    assert bench.client.streams == {tone}
    bench.client.open_echo("echo", bench.replies.append)
    bench.drain()
    assert isinstance(bench.replies[1], Failure)
    assert bench.replies[1].code == errno.ENOTCONN


def list_reply(*entries: tuple[int, str], total: int | None = None) -> bytes:
    body = wire.LIST_REPLY.pack(0, len(entries) if total is None else total)
    return body + b"".join(
        wire.LIST_ENTRY.pack(stream, 0, 0, Kind.ECHO, False, label.encode()) for stream, label in entries
    )


def test_own_streams_are_adopted_and_the_missing_ones_forgotten(bench: Bench) -> None:
    mine = bench.client.open_echo("mine", bench.replies.append)
    gone = bench.client.open_echo("gone", bench.replies.append)
    bench.drain()
    bench.answer(OK, 0)
    bench.answer(OK, 1)
    bench.client.lost(bench.now)
    bench.drain()
    bench.sent.clear()
    bench.connect(fresh=False)
    assert bench.opcodes() == [Opcode.HELLO, Opcode.LIST]
    early = bench.client.open_echo("early", bench.replies.append)  # before the list is here
    bench.drain()
    bench.answer(list_reply((mine, "mine"), (77, "another's")), 1)
    assert bench.events[-1] == EngineReady(False)
    assert bench.client.streams == {mine, early}
    assert gone not in bench.client.streams
    assert [(opcode, stream) for opcode, _, stream, _ in bench.sent[3:]] == [(Opcode.ADOPT, mine)]
    assert [entry.stream for entry in bench.client.kept] == [77]
    bench.client.adopt(77)
    bench.client.adopt(78)
    bench.drain()
    assert bench.sent[-1][:3] == (Opcode.ADOPT, 0, 77)
    assert bench.client.kept == ()


def test_a_long_list_comes_in_parts() -> None:
    bench = Bench()
    bench.connect(fresh=False)
    bench.answer(list_reply((1, "a"), (2, "b"), total=3))
    assert bench.sent[-1][3] == wire.LIST.pack(2)
    bench.answer(list_reply((3, "c"), total=3))
    assert [entry.label for entry in bench.client.kept] == ["a", "b", "c"]
    assert bench.events == [EngineReady(False)]


def test_an_engine_that_started_anew_has_none_of_our_streams(bench: Bench) -> None:
    bench.client.open_echo("mine", bench.replies.append)
    bench.drain()
    bench.answer(OK)
    bench.client.lost(bench.now)
    bench.connect(fresh=True)
    assert bench.events[-2:] == [EngineLost(), EngineReady(True)]
    assert bench.client.streams == set()


def test_events_come_out_with_their_stream(bench: Bench) -> None:
    echo = bench.client.open_echo("echo", bench.replies.append)
    bench.drain()
    bench.events.clear()
    bench.receive(Opcode.EVENT_DIGIT, 0, echo, wire.EVENT_DIGIT.pack(120, ord("#")))
    bench.receive(Opcode.EVENT_LOST, 0, echo, b"disk full")
    bench.receive(Opcode.EVENT_FIRST, 0, echo + 1, b"")  # not ours (any more)
    assert bench.events == [DigitHeard(echo, "#", 120), StreamLost(echo, "disk full")]


def test_what_is_asked_on_hearing_an_event_goes_along_with_what_waits(bench: Bench) -> None:
    client = bench.client
    echo, other = (client.open_echo("echo", bench.replies.append) for _ in range(2))
    bench.drain()
    bench.events.clear()
    packets = bench.packets
    client.connect(echo, other)
    client.receive(wire.message(Opcode.EVENT_SILENT, 0, echo, wire.EVENT_SILENT.pack(1500)), bench.now)
    assert client.tells
    assert client.hear() == WentSilent(echo, 1500)
    assert client.hear() is None
    assert not client.tells
    client.disconnect(echo)
    bench.drain()
    assert bench.opcodes()[-2:] == [Opcode.CONNECT, Opcode.DISCONNECT]
    assert bench.packets == packets + 1


def test_whom_nothing_comes_of_is_told_before_the_next_event(bench: Bench) -> None:
    bench.client.lost(bench.now)
    bench.client.open_echo("echo", bench.replies.append)
    assert bench.client.hear() == EngineLost()
    assert [type(reply) for reply in bench.replies] == [Failure]


def test_too_many_requests_without_a_reply_are_refused(bench: Bench) -> None:
    for _ in range(PENDING_MAX):
        bench.client.open_echo("echo", bench.replies.append)
    assert bench.replies == []
    bench.client.open_echo("one too many", bench.replies.append)
    bench.drain()
    assert [reply.code for reply in bench.replies if isinstance(reply, Failure)] == [errno.EAGAIN]
    assert len(bench.sent) == PENDING_MAX


def test_many_digits_go_in_parts_the_engine_takes(bench: Bench) -> None:
    echo = bench.client.open_echo("echo", bench.replies.append)
    bench.client.send_digits(echo, "1" * 100, 80)
    bench.drain()
    assert [len(body) for *_, body in bench.sent[1:]] == [4 + 64, 4 + 36]


def test_two_clients_number_their_streams_apart() -> None:
    one, two = Bench(seed=1), Bench(seed=2)
    assert one.client.open_echo("a", one.replies.append) != two.client.open_echo("b", two.replies.append)


@pytest.mark.parametrize(
    "packet",
    [
        wire.message(Opcode.OPEN_ECHO | Opcode.REPLY, 1, 1, b"abc"),
        wire.message(0x7E, 0, 0, b""),
        wire.message(Opcode.EVENT_DIGIT, 0, 0, b"abc"),
    ],
)
def test_a_wrong_message_is_the_wires_error(bench: Bench, packet: bytes) -> None:
    stream = bench.client.open_echo("echo", bench.replies.append)
    with pytest.raises(WireError):
        bench.client.receive(packet[:8] + stream.to_bytes(4, "little") + packet[12:], bench.now)


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 5), st.integers(0, 3), st.binary(max_size=120))))
def test_random_replies_raise_only_the_wires_error(messages: list[tuple[int, int, int, bytes]]) -> None:
    bench = Bench()
    bench.client.connected(0)
    first = bench.client.open_rtp("192.0.2.1", "a", bench.replies.append)
    bench.client.open_echo("b", bench.replies.append)
    bench.client.statistics(first, bench.statistics.append)
    bench.drain()
    for opcode, request, offset, body in messages:
        try:
            bench.client.receive(wire.message(opcode, request, first + offset, body), 0)
        except WireError:
            continue
        while bench.client.poll() is not None:
            pass
