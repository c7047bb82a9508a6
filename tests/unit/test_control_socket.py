"""The control socket: one JSON object a line, and clients that send nonsense, too much, or read nothing."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway import control_socket
from gateway.control_socket import MAX_CLIENTS, MAX_LINE, CommandError, ControlServer, text_of

BOUND = 10.0


async def echo(request: Mapping[str, object]) -> Mapping[str, object]:
    if request.get("command") == "fail":
        raise CommandError("it cannot be")
    return {"said": request.get("say")}


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, path: Path) -> Client:
        return cls(*await asyncio.open_unix_connection(str(path), limit=4_000_000))

    async def ask(self, line: bytes) -> dict[str, Any]:
        self.writer.write(line + b"\n")
        reply = json.loads(await self.reader.readline())
        assert isinstance(reply, dict)
        return reply

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


def serving(path: Path, test: Callable[[ControlServer], Awaitable[None]]) -> None:
    async def run() -> None:
        server = ControlServer(path / "control.sock", echo)
        await server.start()
        try:
            await asyncio.wait_for(test(server), BOUND)
        finally:
            await server.close()
            await asyncio.sleep(0)
        assert not server.path.exists()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b'{"command": "x", "say": 5}', {"ok": True, "said": 5}),
        (b'{"command": "fail"}', {"ok": False, "error": "it cannot be"}),
        (b"[1, 2]", {"ok": False, "error": "expected a JSON object"}),
        (b"5", {"ok": False, "error": "expected a JSON object"}),
    ],
)
def test_each_line_gets_one_reply(tmp_path: Path, line: bytes, reply: dict[str, object]) -> None:
    async def test(server: ControlServer) -> None:
        client = await Client.connect(server.path)
        assert await client.ask(line) == reply
        await client.close()

    serving(tmp_path, test)


@pytest.mark.parametrize("line", [b"{", b"", b"\xff\xfe", b'{"command": ' + b"[" * 5000])
def test_a_line_that_is_no_json_gets_an_error_and_the_connection_goes_on(tmp_path: Path, line: bytes) -> None:
    async def test(server: ControlServer) -> None:
        client = await Client.connect(server.path)
        assert (await client.ask(line))["ok"] is False
        assert await client.ask(b'{"say": 1}') == {"ok": True, "said": 1}
        await client.close()

    serving(tmp_path, test)


def test_a_line_that_is_too_long_ends_its_connection_only(tmp_path: Path) -> None:
    async def test(server: ControlServer) -> None:
        good, bad = await Client.connect(server.path), await Client.connect(server.path)
        bad.writer.write(b"x" * (2 * MAX_LINE) + b"\n")
        with pytest.raises((ConnectionError, json.JSONDecodeError)):
            await bad.ask(b"{}")
        assert (await good.ask(b"{}"))["ok"]
        await good.close()
        bad.writer.close()

    serving(tmp_path, test)


def test_one_client_too_many_is_turned_away_and_a_place_given_back_is_taken(tmp_path: Path) -> None:
    async def test(server: ControlServer) -> None:
        clients = [await Client.connect(server.path) for _ in range(MAX_CLIENTS)]
        for client in clients:
            assert (await client.ask(b"{}"))["ok"]
        extra = await Client.connect(server.path)
        assert await extra.reader.read() == b""
        await extra.close()
        await clients.pop().close()
        for _ in range(100):
            await asyncio.sleep(0)
        last = await Client.connect(server.path)
        assert (await last.ask(b"{}"))["ok"]
        for client in (*clients, last):
            await client.close()

    serving(tmp_path, test)


def test_events_reach_every_client_and_one_that_reads_none_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_socket, "MAX_UNSENT", 10_000)

    async def test(server: ControlServer) -> None:
        reads, sleeps = await Client.connect(server.path), await Client.connect(server.path)
        for client in (reads, sleeps):
            assert (await client.ask(b"{}"))["ok"]
        sleeps.reader._transport.pause_reading()  # type: ignore[attr-defined]
        for number in range(3000):
            server.tell({"event": "x" * 500, "number": number})
            assert json.loads(await reads.reader.readline())["number"] == number
            if len(server.clients) == 1:
                break
        assert len(server.clients) == 1
        await reads.close()
        sleeps.writer.close()

    serving(tmp_path, test)


def test_a_path_that_cannot_be_had_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    server = ControlServer(tmp_path / "file" / "control.sock", echo)
    with pytest.raises(OSError, match="file"):
        asyncio.run(server.start())


def test_a_socket_at_which_somebody_listens_is_left_to_them(tmp_path: Path) -> None:
    async def test(server: ControlServer) -> None:
        second = ControlServer(server.path, echo)
        with pytest.raises(OSError, match="somebody listens there already"):
            await second.start()
        await second.close()
        client = await Client.connect(server.path)
        assert await client.ask(b'{"say": 1}') == {"ok": True, "said": 1}
        await client.close()

    serving(tmp_path, test)


def test_a_socket_that_a_killed_program_left_is_replaced_but_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(path))
        left.listen()

    async def test(server: ControlServer) -> None:
        client = await Client.connect(server.path)
        await client.close()

    serving(tmp_path, test)
    path.write_text("precious")
    with pytest.raises(OSError, match="is no socket"):
        asyncio.run(ControlServer(path, echo).start())
    assert path.read_text() == "precious"


def test_only_the_owner_may_command(tmp_path: Path) -> None:
    async def test(server: ControlServer) -> None:
        assert server.path.stat().st_mode & 0o777 == 0o600

    serving(tmp_path, test)


@pytest.mark.parametrize("value", [None, 5, "", ["a"]])
def test_a_text_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(CommandError, match="call: expected a text"):
        text_of({"call": value}, "call")
