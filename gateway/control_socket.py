"""Commands to a running program and what it tells: one JSON object a line, over a Unix stream socket.

A request is ``{"command": …}`` with what that command needs; the reply is ``{"ok": true, …}`` or ``{"ok": false,
"error": …}``. Every connection also gets the program's events, ``{"event": …}``. The exchange is commanded so, and the
gateway shows its state so until its D-Bus interface is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from gateway.stale_socket import make_way

log = logging.getLogger(__name__)

MAX_LINE = 16_384
MAX_CLIENTS = 8
MAX_UNSENT = 1_000_000

Handler = Callable[[Mapping[str, object]], Awaitable[Mapping[str, object]]]


class CommandError(Exception):
    """A command that cannot be carried out; the text says why."""


class ControlServer:
    """Serves one path. A client that does not read its events is closed."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self.path = path
        self._handler = handler
        self._server: asyncio.Server | None = None
        self.clients: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen; OSError if the path cannot be used, or somebody listens there."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        make_way(self.path, socket.SOCK_STREAM)
        self._server = await asyncio.start_unix_server(self._client, str(self.path), limit=MAX_LINE)
        self.path.chmod(0o600)

    async def close(self) -> None:
        """Close the socket and all clients."""
        for writer in list(self.clients):
            # Not close(): that would wait for a client that does not read.
            writer.transport.abort()
        if self._server is not None:
            # Only a socket of our own is removed.
            self._server.close()
            self._server = None
            self.path.unlink(missing_ok=True)

    def tell(self, event: Mapping[str, object]) -> None:
        """Send ``event`` to every client."""
        if not self.clients:
            return
        line = json.dumps(event).encode() + b"\n"
        for writer in list(self.clients):
            if writer.transport.get_write_buffer_size() > MAX_UNSENT:
                log.warning("a control client does not read what it is told and is closed")
                self.clients.discard(writer)
                writer.transport.abort()
            else:
                writer.write(line)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self.clients) >= MAX_CLIENTS:
            writer.close()
            return
        self.clients.add(writer)
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError) as error:
            log.info("control client: %s", error)
        finally:
            self.clients.discard(writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, line: bytes) -> Mapping[str, object]:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise CommandError("expected a JSON object")
            return {"ok": True, **await self._handler(request)}
        except (CommandError, ValueError, RecursionError) as error:
            return {"ok": False, "error": str(error)}


def plainly(error: Exception) -> str:
    """What went wrong, for a person: a file's name and its trouble without Python's way of writing them."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return str(error)


def text_of(request: Mapping[str, object], name: str) -> str:
    """The text ``name`` of a request; CommandError if there is none."""
    value = request.get(name)
    if not isinstance(value, str) or not value:
        raise CommandError(f"{name}: expected a text")
    return value
