"""The event loop of the daemon: readers are served within the wait, and asyncio gets its turn whenever it has one."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from gateway import event_loop
from gateway.event_loop import ReaderLoop

PATIENCE = 20.0


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.setblocking(False)
    with near, far:
        yield near, far


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run ``main``, but not for ever."""
    event_loop.run(asyncio.wait_for(main, PATIENCE))


def test_reader_is_called_with_its_arguments_for_each_packet(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    got: list[tuple[str, bytes]] = []

    async def main() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        assert isinstance(loop, ReaderLoop)

        def readable(name: str) -> None:
            got.append((name, near.recv(100)))
            if len(got) == 3:
                done.set()
            else:
                far.send(b"more")

        loop.add_reader(near, readable, "near")
        far.send(b"first")
        await done.wait()
        loop.remove_reader(near)

    run(main())
    assert got == [("near", b"first"), ("near", b"more"), ("near", b"more")]


def test_timer_begun_by_a_reader_ends_a_wait_without_end(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair

    async def main() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def readable() -> None:
            near.recv(100)
            loop.call_later(0.001, done.set)

        loop.add_reader(near, readable)
        far.send(b"now")
        await done.wait()

    with asyncio.Runner(loop_factory=ReaderLoop) as runner:
        # Nothing else that could wake it: no timer of wait_for.
        guard = threading.Timer(PATIENCE, signal.raise_signal, (signal.SIGINT,))
        guard.start()
        runner.run(main())
        guard.cancel()
        guard.join()


def test_timer_of_before_comes_in_time_between_readers_that_are_always_ready(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(near, lambda: None)
        far.send(b"never read")
        await asyncio.sleep(0.01)

    run(main())


def test_another_thread_and_a_socket_of_asyncio_get_their_turn() -> None:
    async def main() -> None:
        assert await asyncio.to_thread(lambda: 7) == 7
        served = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((await reader.readline()).upper())
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            served.set()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello\n")
            assert await reader.readline() == b"HELLO\n"
            writer.close()
            await writer.wait_closed()
            await served.wait()

    run(main())


def test_reader_that_raises_is_told_and_the_loop_goes_on(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    told: list[dict[str, Any]] = []

    async def main() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        loop.set_exception_handler(lambda _, context: told.append(context))

        def readable() -> None:
            if near.recv(100) == b"bad":
                raise ValueError("of the reader")
            done.set()

        loop.add_reader(near, readable)
        far.send(b"bad")
        far.send(b"good")
        await done.wait()

    run(main())
    assert [str(context["exception"]) for context in told] == ["of the reader"]


def test_removed_reader_is_called_no_more_and_said_to_have_been_there(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    called: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(near, called.append, 1)
        loop.add_reader(near, called.append, 2)
        assert loop.remove_reader(near)
        assert not loop.remove_reader(near)
        far.send(b"nobody reads")
        spent = time.thread_time()
        await asyncio.sleep(0.2)
        # Nor does it keep the loop awake.
        assert time.thread_time() - spent < 0.1
        assert not called
        near.close()
        again, other = socket.socketpair()
        with again, other:
            # The number of a closed descriptor is soon that of another.
            done = asyncio.Event()
            loop.add_reader(again, done.set)
            other.send(b"x")
            await done.wait()
            loop.remove_reader(again)
        assert not called

    run(main())


def test_closed_without_removal_leaves_its_number_to_the_next() -> None:
    called: list[bytes] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        first, far = socket.socketpair()
        number = first.fileno()
        loop.add_reader(number, called.append, b"old")
        first.close()
        second, other = socket.socketpair()
        with far, second, other:
            assert number in (second.fileno(), other.fileno())
            speaking = other if second.fileno() == number else second
            done = asyncio.Event()
            loop.add_reader(number, done.set)
            speaking.send(b"x")
            await done.wait()
            loop.remove_reader(number)
        assert not called

    run(main())


def test_signal_ends_a_wait(pair: tuple[socket.socket, socket.socket]) -> None:
    async def main() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, done.set)
        loop.add_reader(pair[0], lambda: None)
        sender = threading.Timer(0.01, signal.raise_signal, (signal.SIGUSR1,))
        sender.start()
        await done.wait()
        sender.join()
        loop.remove_signal_handler(signal.SIGUSR1)

    run(main())
