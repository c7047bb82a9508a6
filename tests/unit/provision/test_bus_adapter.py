"""What is wrong with the library for D-Bus, each with the test that it is mended: see docs/dbus.md for the list."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from dbus_next.signature import SignatureTree

from gateway.provision.bus import adapter, outbox
from gateway.provision.bus.adapter import (
    ERROR,
    MAX_NESTED,
    MAX_PLAIN,
    METHOD_CALL,
    METHOD_RETURN,
    Bus,
    BusError,
    Incoming,
)
from gateway.provision.bus.interface import BUS_NAME, ROOT
from gateway.provision.bus.marshal import Variant, body_of, message
from tests.unit.provision.bus_scene import BOUND, bus_daemon, client, served, until

_BUS = "org.freedesktop.DBus"


def on_bus(path: Path, test: Callable[[str], Awaitable[None]]) -> None:
    async def bounded(address: str) -> None:
        await asyncio.wait_for(test(address), BOUND)

    with bus_daemon(path) as address:
        asyncio.run(bounded(address))


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class FakeBus:
    """A bus that says what a test wants, on one connection."""

    def __init__(self, path: Path, hello: bytes | None = None) -> None:
        self.path = path / "fake"
        self.address = f"unix:path={self.path}"
        self.socket: socket.socket | None = None
        self.hello = hello
        self._server: asyncio.Server | None = None
        self.writer: asyncio.StreamWriter | None = None
        self.reader: asyncio.StreamReader | None = None

    @contextlib.asynccontextmanager
    async def listening(self, answer: Callable[[FakeBus], Awaitable[None]]) -> AsyncIterator[None]:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.reader, self.writer = reader, writer
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await answer(self)

        self._server = await asyncio.start_unix_server(accept, str(self.path))
        try:
            yield
        finally:
            if self.writer is not None:
                self.writer.transport.abort()
            self._server.close()
            await asyncio.sleep(0)

    async def line(self) -> bytes:
        assert self.reader is not None
        return await self.reader.readuntil(b"\r\n")

    def say(self, data: bytes | bytearray) -> None:
        assert self.writer is not None
        self.writer.write(data)

    async def welcome(self, *, fds: bool = True) -> None:
        """Authenticate, and answer Hello."""
        await self.line()
        self.say(b"OK 1234\r\n")
        await self.line()
        self.say(b"AGREE_UNIX_FD\r\n" if fds else b"ERROR none\r\n")
        assert await self.line() == b"BEGIN\r\n"
        await asyncio.sleep(0.02)
        assert self.reader is not None
        await self.reader.read(4096)
        self.say(self.hello or returned(1, "s", [":1.7"]))


def returned(
    serial: int, signature: str, values: list[object], kind: int = METHOD_RETURN, **fields: object
) -> bytearray:
    every = [(5, Variant("u", serial)), (7, Variant("s", _BUS)), (8, Variant("g", signature))]
    if kind == ERROR:
        every.append((4, Variant("s", "org.freedesktop.DBus.Error.LimitsExceeded")))
    return message(kind, 1, 1, every, body_of(signature, values))


def called(
    path: str = "/", member: str = "M", signature: str = "", values: list[object] | None = None, **more: Any
) -> bytearray:
    every = [(1, Variant("o", path)), (3, Variant("s", member)), (7, Variant("s", ":1.9"))]
    if signature:
        every.append((8, Variant("g", more.get("told", signature))))
    every += more.get("extra", [])
    return message(more.get("kind", METHOD_CALL), 0, 5, every, body_of(signature, values or []))


async def on_fake(
    path: Path, messages: list[bytes | bytearray], *, hello: bytes | None = None, wanted: int = 1
) -> list[Incoming]:
    """What a connection hears of ``messages``."""
    heard: list[Incoming] = []

    async def answer(fake: FakeBus) -> None:
        await fake.welcome()
        for each in messages:
            fake.say(each)

    fake = FakeBus(path, hello)
    async with fake.listening(answer):
        bus = await Bus.open(fake.address, heard.append, heard.append)
        try:
            await until(lambda: len(heard) >= wanted, 5)
        finally:
            bus.close()
    return heard


# -- connecting --


def test_a_bus_that_is_not_there_is_said_plainly_and_nothing_stays_open(tmp_path: Path) -> None:
    async def test() -> None:
        before = open_files()
        with pytest.raises(BusError, match="No such file"):
            await Bus.open(f"unix:path={tmp_path}/none")
        with pytest.raises(BusError, match="expected unix:path="):
            await Bus.open("tcp:host=localhost,port=1")
        with pytest.raises(BusError):
            await Bus.open("nonsense")
        assert open_files() == before

    asyncio.run(test())


def test_the_second_address_is_used_if_the_first_is_nobody(tmp_path: Path) -> None:
    async def test(address: str) -> None:
        async with client(f"unix:path={tmp_path}/none;{address}") as bus:
            assert str(bus.unique_name).startswith(":")

    on_bus(tmp_path, test)


def test_a_bus_that_closes_while_we_authenticate_does_not_hang_the_loop(tmp_path: Path) -> None:
    async def answer(fake: FakeBus) -> None:
        await fake.line()
        assert fake.writer is not None
        fake.writer.close()

    async def test() -> None:
        fake = FakeBus(tmp_path)
        async with fake.listening(answer):
            with pytest.raises(BusError, match="closed the connection"):
                await asyncio.wait_for(Bus.open(fake.address), 3)

    asyncio.run(test())


@pytest.mark.parametrize("line", [b"REJECTED DBUS_COOKIE_SHA1\r\n", b"WHAT\r\n", b"x" * 5000, b"\xff\xff\r\n"])
def test_a_bus_that_does_not_take_us_is_an_error(tmp_path: Path, line: bytes) -> None:
    async def answer(fake: FakeBus) -> None:
        await fake.line()
        fake.say(line)

    async def test() -> None:
        fake = FakeBus(tmp_path)
        async with fake.listening(answer):
            with pytest.raises(BusError):
                await Bus.open(fake.address)

    asyncio.run(test())


def test_a_bus_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(fake: FakeBus) -> None:
        await fake.line()

    async def test() -> None:
        fake = FakeBus(tmp_path)
        async with fake.listening(answer):
            with pytest.raises(BusError, match="no answer"):
                await Bus.open(fake.address)

    monkeypatch.setattr(adapter, "CONNECT_SECONDS", 0.1)
    asyncio.run(test())


def test_an_error_in_answer_to_hello_is_no_name(tmp_path: Path) -> None:
    hello = bytes(returned(1, "s", ["too many connections"], ERROR))
    with pytest.raises(BusError, match="too many connections"):
        asyncio.run(on_fake(tmp_path, [], hello=hello, wanted=0))


def test_a_bus_that_passes_no_descriptors_is_used_all_the_same(tmp_path: Path) -> None:
    async def test() -> None:
        fake = FakeBus(tmp_path)
        async with fake.listening(lambda own: own.welcome(fds=False)):
            bus = await Bus.open(fake.address)
            assert bus.unique_name == ":1.7"
            bus.close()

    asyncio.run(test())


def test_a_connection_that_ends_as_soon_as_it_stands_is_an_error(tmp_path: Path) -> None:
    async def answer(fake: FakeBus) -> None:
        fake.hello = bytes(returned(1, "s", [":1.7"])) + b"x" * 16
        await fake.welcome()

    async def test() -> None:
        fake = FakeBus(tmp_path)
        async with fake.listening(answer):
            with pytest.raises(BusError, match="ended at once"):
                await Bus.open(fake.address)

    asyncio.run(test())


# -- reading --


def test_handlers_learn_who_called(tmp_path: Path) -> None:
    async def test(address: str) -> None:
        heard: list[Incoming] = []
        service = await Bus.open(address, heard.append)
        async with client(address) as bus:
            with pytest.raises(BusError, match="no answer"):
                await bus.ask(str(service.unique_name), "/x", "a.b", "M", "su", ["a", 7], seconds=0.3)
            assert [each.sender for each in heard] == [bus.unique_name]
            assert (heard[0].path, heard[0].interface, heard[0].member, heard[0].body) == ("/x", "a.b", "M", ["a", 7])
        service.close()

    on_bus(tmp_path, test)


def test_a_field_of_a_header_that_nobody_knows_is_ignored(tmp_path: Path) -> None:
    strange = called(extra=[(77, Variant("s", "new"))])
    heard = asyncio.run(on_fake(tmp_path, [strange, called(member="Next")], wanted=2))
    assert [each.member for each in heard] == ["M", "Next"]


def test_a_kind_of_message_that_nobody_knows_is_ignored(tmp_path: Path) -> None:
    heard = asyncio.run(on_fake(tmp_path, [called(kind=9), called(member="Next")]))
    assert [each.member for each in heard] == ["Next"]


@pytest.mark.parametrize(
    ("signature", "values", "taken"),
    [
        ("s", ["x" * (MAX_PLAIN - 10)], True),
        ("s", ["x" * MAX_PLAIN], False),
        ("as", [[""] * (MAX_NESTED // 8 - 10)], True),
        ("as", [[""] * (MAX_NESTED // 8 + 10)], False),
    ],
)
def test_a_body_is_read_up_to_its_limit_and_else_read_over(
    tmp_path: Path, signature: str, values: list[object], taken: bool
) -> None:
    messages: list[bytes | bytearray] = [called(signature=signature, values=values), called(member="Next")]
    first, second = asyncio.run(on_fake(tmp_path, messages, wanted=2))
    assert (first.too_long, first.body == values) == (not taken, taken)
    assert (second.member, second.too_long) == ("Next", False)


def test_a_header_beyond_measure_is_read_over(tmp_path: Path) -> None:
    long = called(path="/" + "a" * 20_000)
    heard = asyncio.run(on_fake(tmp_path, [long, called(member="Next")]))
    assert [each.member for each in heard] == ["Next"]


def test_a_message_that_comes_in_pieces_is_read_once(tmp_path: Path) -> None:
    async def answer(fake: FakeBus) -> None:
        await fake.welcome()
        for octet in bytes(called(signature="s", values=["whole"])):
            fake.say(bytes([octet]))
            await asyncio.sleep(0)

    async def test() -> list[Incoming]:
        heard: list[Incoming] = []
        fake = FakeBus(tmp_path)
        async with fake.listening(answer):
            bus = await Bus.open(fake.address, heard.append)
            await until(lambda: bool(heard), 5)
            bus.close()
        return heard

    assert [each.body for each in asyncio.run(test())] == [["whole"]]


@pytest.mark.parametrize("data", [b"x" * 16, b"l\1\0\7" + bytes(12)])
def test_octets_that_are_no_message_end_the_connection_and_are_told(tmp_path: Path, data: bytes) -> None:
    ready = asyncio.Event()

    async def answer(fake: FakeBus) -> None:
        await fake.welcome()
        await ready.wait()
        fake.say(data)

    async def test() -> list[str]:
        lost: list[str] = []
        fake = FakeBus(tmp_path)
        async with fake.listening(answer):
            bus = await Bus.open(fake.address, on_lost=lost.append)
            ready.set()
            await until(lambda: bool(lost), 5)
            assert not bus.connected
        return lost

    assert asyncio.run(test()) == ["not a message of D-Bus"]


def test_descriptors_that_nobody_wants_are_closed_and_none_is_inherited(tmp_path: Path) -> None:
    async def test(address: str) -> None:
        inherited: list[bool] = []

        def on_call(call: Incoming) -> None:
            inherited.extend(os.get_inheritable(each) for each in call.fds)
            service.reply(call, "", b"")

        service = await Bus.open(address, on_call)
        async with client(address) as bus:
            read, write = os.pipe()
            before = open_files()
            for _ in range(20):
                fields = [(1, Variant("o", "/")), (3, Variant("s", "M")), (6, Variant("s", str(service.unique_name)))]
                bus._send(METHOD_CALL, fields, "h", body_of("h", [0]), fds=[read])
            await until(lambda: len(inherited) == 20)
            await asyncio.sleep(0.05)
            assert not any(inherited)
            assert open_files() == before
            os.close(read)
            os.close(write)
        service.close()

    on_bus(tmp_path, test)


def test_signatures_of_strangers_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "MAX_SIGNATURES", 50)
    messages: list[bytes | bytearray] = [
        called(signature="s" * (1 + number), values=["x"] * (1 + number)) for number in range(200)
    ]
    asyncio.run(on_fake(tmp_path, messages, wanted=200))
    assert len(SignatureTree._cache) <= 50 + adapter.MAX_AT_ONCE


def test_a_flood_of_messages_lets_other_work_have_its_turn(tmp_path: Path) -> None:
    async def answer(fake: FakeBus) -> None:
        await fake.welcome()
        flood = bytes(called()) * 400
        fake.say(flood)

    async def test() -> None:
        heard: list[Incoming] = []
        at_turn: list[int] = []

        async def other() -> None:
            while len(heard) < 400:
                at_turn.append(len(heard))
                await asyncio.sleep(0)

        fake = FakeBus(tmp_path)
        async with fake.listening(answer):
            bus = await Bus.open(fake.address, heard.append)
            await other()
            bus.close()
        steps = [after - before for before, after in pairwise(at_turn)]
        assert max(steps) <= adapter.MAX_AT_ONCE

    asyncio.run(test())


def test_a_fault_of_a_handler_costs_neither_connection_nor_other_callers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    def on_call(call: Incoming) -> None:
        heard.append(call.member)
        if call.member == "Bad":
            raise RuntimeError("ours")

    async def answer(fake: FakeBus) -> None:
        await fake.welcome()
        fake.say(called(member="Bad") + called(member="Good"))

    async def test() -> None:
        fake = FakeBus(tmp_path)
        async with fake.listening(answer):
            bus = await Bus.open(fake.address, on_call)
            await until(lambda: len(heard) == 2, 5)
            bus.close()

    with caplog.at_level(logging.ERROR):
        asyncio.run(test())
    assert heard == ["Bad", "Good"]
    assert "a fault of ours" in caplog.text


# -- writing --


def slow_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets with hardly any room."""
    whole = Bus._setup_socket

    def small(self: Bus) -> None:
        whole(self)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    monkeypatch.setattr(Bus, "_setup_socket", small)


def test_a_bus_that_is_busy_for_a_moment_gets_all_later_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_pair(monkeypatch)
    got = bytearray()
    go_on = asyncio.Event()

    async def answer(fake: FakeBus) -> None:
        await fake.welcome()
        assert fake.reader is not None
        await go_on.wait()
        while block := await fake.reader.read(65_536):
            got.extend(block)

    async def test() -> None:
        lost: list[str] = []
        fake = FakeBus(tmp_path)
        async with fake.listening(answer):
            bus = await Bus.open(fake.address, on_lost=lost.append)
            for number in range(3000):
                assert bus.emit("/a", "a.b", "S", "s", body_of("s", [f"{number:08d}" + "x" * 92]))
            assert bus.unsent > 100_000
            assert bus.connected
            go_on.set()
            await until(lambda: bus.unsent == 0)
            await until(lambda: got.count(b"x" * 92) == 3000)
            assert not lost
            bus.close()
        places = [got.find(b"%08d" % number) for number in range(3000)]
        assert -1 not in places
        assert places == sorted(places)

    asyncio.run(test())


def test_what_waits_to_be_sent_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_pair(monkeypatch)
    monkeypatch.setattr(outbox, "MAX_UNSENT", 200_000)

    async def answer(fake: FakeBus) -> None:
        await fake.welcome()
        await asyncio.sleep(BOUND)

    async def test() -> None:
        fake = FakeBus(tmp_path)
        async with fake.listening(answer):
            bus = await Bus.open(fake.address)
            sent = [bus.emit("/a", "a.b", "S", "s", body_of("s", ["x" * 1000])) for _ in range(1000)]
            assert sent[0]
            assert not sent[-1]
            assert bus.unsent <= 200_000
            bus.close()
            assert bus.unsent == 0
            assert not bus.emit("/a", "a.b", "S", "", b"")

    asyncio.run(test())


def test_a_descriptor_may_be_closed_as_soon_as_it_was_given(tmp_path: Path) -> None:
    async def test(address: str) -> None:
        def on_call(call: Incoming) -> None:
            read, write = os.pipe()
            os.write(write, b"hello")
            os.close(write)
            service.reply(call, "h", body_of("h", [0]), [read])
            os.close(read)

        service = await Bus.open(address, on_call)
        async with client(address) as bus:
            before = open_files()
            reply = await bus.ask(str(service.unique_name), "/", "a.b", "M")
            assert os.read(reply.fds[reply.body[0]], 10) == b"hello"
            os.close(reply.fds[0])
            await asyncio.sleep(0)
            assert open_files() == before
        service.close()

    on_bus(tmp_path, test)


def test_serial_numbers_go_round_and_are_never_zero(tmp_path: Path) -> None:
    async def test(address: str) -> None:
        async with client(address) as bus:
            bus._serial = 0xFFFF_FFFE
            for _ in range(4):
                assert await bus.ask_bus("GetId")
            assert bus._serial == 3

    on_bus(tmp_path, test)


def test_who_does_not_wait_for_an_answer_leaves_nothing_behind(tmp_path: Path) -> None:
    async def test(address: str) -> None:
        silent = await Bus.open(address, lambda _: None)
        async with client(address) as bus:
            for _ in range(5):
                with pytest.raises(BusError, match="no answer within"):
                    await bus.ask(str(silent.unique_name), "/", "a.b", "M", seconds=0.01)
            assert not bus._asked
            assert not bus._method_return_handlers
            waiting = asyncio.create_task(bus.ask(str(silent.unique_name), "/", "a.b", "M"))
            await asyncio.sleep(0.02)
            bus.close()
            with pytest.raises(BusError, match="closed"):
                await waiting
            with pytest.raises(BusError, match="closed"):
                await bus.ask_bus("GetId")
        silent.close()

    on_bus(tmp_path, test)


def test_the_end_of_the_bus_is_told_once_and_everything_is_closed(tmp_path: Path) -> None:
    lost: list[str] = []

    async def test() -> None:
        before = open_files()
        with bus_daemon(tmp_path) as address:
            bus = await Bus.open(address, on_lost=lost.append)
        await until(lambda: bool(lost), 5)
        bus.close()
        assert lost == ["the bus closed the connection"]
        assert open_files() == before

    asyncio.run(test())


def test_errors_of_the_far_end_have_their_names(tmp_path: Path) -> None:
    async def test(address: str) -> None:
        async with client(address) as bus:
            with pytest.raises(BusError) as error:
                await bus.ask("no.body", "/", "a.b", "M")
            assert error.value.name == "org.freedesktop.DBus.Error.ServiceUnknown"
            with pytest.raises(BusError, match="expected"):
                await bus.ask("no.body", "/", "a.b", "M", "u", ["x", "y"])

    on_bus(tmp_path, test)


def test_a_name_that_somebody_has_cannot_be_had(tmp_path: Path) -> None:
    async def test(address: str) -> None:
        async with served(address), client(address) as bus:
            with pytest.raises(BusError, match="another program has the name"):
                await bus.own(BUS_NAME)

    on_bus(tmp_path, test)


# -- what the library's own service does wrong, seen from outside --


def test_a_caller_gets_no_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test(address: str) -> None:
        async with served(address) as (_, model), client(address) as bus:
            model.calls["breaks"] = model.calls["0a0b-1"]
            with pytest.raises(BusError) as error:
                await bus.ask(BUS_NAME, f"{ROOT}/calls/breaks", f"{BUS_NAME}.Call", "Quality")
            assert error.value.name == f"{BUS_NAME}.Error.Internal"
            assert "Traceback" not in error.value.text
            assert "secret of the inside" not in error.value.text

    with caplog.at_level(logging.ERROR):
        on_bus(tmp_path, test)
    assert "secret of the inside" in caplog.text
