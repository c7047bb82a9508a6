"""Targets of what comes over local sockets: the media engine's packets, lines of the control sockets."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Coroutine, Mapping
from functools import cache
from pathlib import Path

from gateway.config import parse
from gateway.control_socket import CommandError, ControlServer
from gateway.daemon import Daemon
from gateway.media import wire
from gateway.media.wire import Opcode, WireError
from gateway.pri.exchange.main import read_words
from gateway.pri.exchange.requests import call_request
from tests.fuzz.script import Script
from tests.unit.config.test_config_fuzz import GOOD
from tests.unit.media.test_media_client import DIAL_TONE, OK, SETTINGS, Bench

# -- the media engine --


def media(data: bytes) -> None:
    """Packets of the engine, as they come and with a right frame around wrong bodies, into a client that has work."""
    for decode in (lambda: list(wire.messages(data)), lambda: wire.list_entries(data)):
        with contextlib.suppress(WireError):
            decode()
    script = Script(data)
    bench = Bench()
    client = bench.client
    bench.connect(fresh=script.flag())
    first = client.open_rtp("192.0.2.1", "a", bench.replies.append)
    client.set_rtp(first, SETTINGS)
    client.open_tone(DIAL_TONE, "b", bench.replies.append)
    client.statistics(first, bench.statistics.append)
    bench.drain()
    while script.more:
        try:
            _media_step(bench, first, script)
        except WireError:
            # As the owner does.
            client.lost(bench.now)
            bench.drain()
            bench.connect(fresh=script.flag())
    bench.drain()


def _media_step(bench: Bench, first: int, script: Script) -> None:
    client = bench.client
    match script.octet() % 8:
        case 0:
            client.receive(script.piece(), bench.now)
        case 1 | 2:
            request, opcode = script.octet() % 12, script.octet()
            bench.receive(opcode, request, first + script.octet() % 4, script.piece())
        case 3:
            if bench.sent:
                bench.answer(
                    script.choose((OK, b"\xff\xff\xff\xffno")) + script.piece(), -1 - script.below(len(bench.sent))
                )
        case 4:
            bench.receive(script.choose(tuple(Opcode)), 0, first + script.octet() % 2, script.piece())
        case 5:
            stream = client.open_echo("c", bench.replies.append)
            client.connect(first, stream)
        case 6:
            if client.streams:
                client.close(min(client.streams), bench.statistics.append)
        case _:
            bench.now += script.choose((1000, 1_000_000, 4_000_000))
            client.handle_timer(bench.now)
    bench.drain()


MEDIA_SEEDS = (
    wire.message(Opcode.OPEN_ECHO | Opcode.REPLY, 1, 1, OK) + wire.message(Opcode.EVENT_DIGIT, 0, 1, bytes(8)),
    bytes((1, 3, 8)) + wire.OPEN_RTP_REPLY.pack(0, 20000, 20001) + bytes((4, 15, 0, 8)) + bytes(8),
    bytes((0, 3, 100)) + wire.LIST_ENTRY.pack(1, 2, 3, 1, 0, b"a") + bytes((4, 18, 0, 4, 0, 0, 0, 0, 5, 6, 7, 2)),
)

# -- control sockets --


@cache
def _daemon() -> Daemon:
    return Daemon(parse(GOOD, Path("/nowhere/fuzz.toml")), rng=random.Random(1))


def _at_once(work: Coroutine[None, None, Mapping[str, object]]) -> Mapping[str, object]:
    """The result of ``work``, which waits for nothing, without the cost of an event loop."""
    try:
        work.send(None)
    except StopIteration as done:
        answer: Mapping[str, object] = done.value
        return answer
    raise AssertionError("the answer to a command waits")


async def _placed(request: Mapping[str, object]) -> Mapping[str, object]:
    repr(call_request(request))
    return {}


def control(data: bytes) -> None:
    """Lines to the gateway's and the exchange's control sockets, and words on the exchange's standard input."""
    for line in data.split(b"\n")[:10]:
        for handler in (_daemon()._command, _placed):
            answer = _at_once(ControlServer(Path("/nowhere/socket"), handler)._answer(line))
            assert isinstance(answer["ok"], bool)
            json.dumps(answer).encode()
        with contextlib.suppress(CommandError):
            read_words(line.decode("utf-8", "replace"))


CONTROL_SEEDS = (
    b'{"command": "status"}\n{"command": "explain", "context": "in", "number": "9416"}\ncall 4165550101\nhangup 3',
    b'{"command": "hangup", "call": "x"}\n{"command": 5}\n[1]\nalarm yellow\n{"called": "1", "name": "\\ud800"}',
    b'{"called": "4165550101", "presentation": 1, "type": 2, "redirecting": "5", "reason": 3, "seconds": 1.5}',
)
