"""A client of Asterisk's manager interface (AMI): actions answered by their ActionID, events kept and waited for."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping

from tests.interop.program import PeerError

USER = "test"
SECRET = "not-of-this-world"  # noqa: S105 - of a test's own Asterisk on loopback
EVENTS_KEPT = 20_000
LOGIN_SECONDS = 3.0
LINE_MAXIMUM = 1 << 20

Message = dict[str, str]


class Manager:
    """One logged-in connection. What an action prints is its ``Output``, a line each."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.events: list[Message] = []
        self._writer = writer
        self._replies: dict[str, asyncio.Future[Message]] = {}
        self._serial = itertools.count(1)
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._read(reader))

    @classmethod
    async def connect(cls, port: int) -> Manager:
        """Connect and log in; OSError or PeerError while Asterisk is not ready for it."""
        manager = cls(*await asyncio.open_connection("127.0.0.1", port, limit=LINE_MAXIMUM))
        try:
            await manager.action("Login", LOGIN_SECONDS, Username=USER, Secret=SECRET)
        except BaseException:
            await manager.close()
            raise
        return manager

    async def _read(self, reader: asyncio.StreamReader) -> None:
        message: Message = {}
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                text = line.decode("utf-8", "replace").rstrip("\r\n")
                if text:
                    key, _, value = text.partition(": ")
                    message[key] = f"{message[key]}\n{value}" if key in message else value
                    continue
                self._take(message)
                message = {}
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(PeerError("asterisk closed its manager connection"))
        self._changed.set()

    def _take(self, message: Message) -> None:
        reply = self._replies.pop(message.get("ActionID", ""), None) if "Response" in message else None
        if reply is not None and not reply.done():
            reply.set_result(message)
        elif "Event" in message:
            self.events.append(message)
            del self.events[:-EVENTS_KEPT]
            self._changed.set()

    async def action(self, name: str, within: float = 10.0, /, **members: str) -> Message:
        """Do one action; its response. PeerError if it is refused or not answered."""
        number = str(next(self._serial))
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        lines = [f"Action: {name}", f"ActionID: {number}", *(f"{key}: {value}" for key, value in members.items())]
        self._writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        try:
            response = await asyncio.wait_for(reply, within)
        except TimeoutError:
            raise PeerError(f"asterisk does not answer to {name} {members}") from None
        if response["Response"] not in ("Success", "Goodbye"):
            raise PeerError(f"asterisk: {name} {members}: {response}")
        return response

    async def originate(self, channel: str, application: str, data: str = "", **members: str) -> None:
        """Call ``channel`` and run ``application`` on it once it is answered; returns at once."""
        given = {"Channel": channel, "Application": application, "Data": data, "Async": "true", **members}
        await self.action("Originate", **given)

    async def event(
        self, name: str, within: float = 10.0, matches: Callable[[Mapping[str, str]], bool] = lambda _: True
    ) -> Message:
        """The first event ``name`` that ``matches``, of all so far and to come; PeerError if it does not come."""
        deadline = asyncio.get_running_loop().time() + within
        seen = 0
        while True:
            for event in self.events[seen:]:
                if event["Event"] == name and matches(event):
                    return event
            # Few tests keep so many that the oldest are dropped: looking again at some costs nothing.
            seen = len(self.events) if len(self.events) < EVENTS_KEPT else 0
            self._changed.clear()
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0 or self._task.done():
                told = [each for each in self.events if each["Event"] in (name, "Hangup", "UserEvent", "DialEnd")]
                raise PeerError(f"asterisk: no event {name} within {within:.0f} s; {told[-6:]}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)

    async def told(self, name: str, within: float = 10.0, **members: str) -> Message:
        """The first UserEvent ``name`` of the dial plan with these ``members``."""
        wanted = {"UserEvent": name, **members}
        return await self.event("UserEvent", within, lambda event: wanted.items() <= event.items())

    async def close(self) -> None:
        """Let go of the connection."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
