"""Hands metrics out by HTTP/1.1 on a loopback port or a Unix socket: GET /metrics and nothing else."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from gateway.config.values import MetricsListen
from gateway.metrics import Metrics, Sources
from gateway.stale_socket import make_way

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

    from gateway.daemon import Daemon
    from gateway.record import CallRecord

log = logging.getLogger(__name__)

MAX_HEAD = 8_192
"""Octets of a request."""
MAX_CLIENTS = 8
PATIENCE = 5.0
"""Seconds in which a request must have come and its answer gone."""
_TEXT = "text/plain; charset=utf-8"

Render = Callable[[str], tuple[bytes, str]]
"""From what a client accepts (its header field) to the metrics and their content type."""


class MetricsServer:
    """``start`` listens (OSError if that cannot be), ``close`` ends it."""

    def __init__(self, listen: MetricsListen, render: Render) -> None:
        self._listen = listen
        self._render = render
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()

    @property
    def port(self) -> int:
        """The port of a TCP socket."""
        return 0 if self._server is None else int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen."""
        path = self._listen.path
        if path is None:
            self._server = await asyncio.start_server(
                self._client, str(self._listen.address), self._listen.port, limit=MAX_HEAD
            )
            return
        make_way(path, socket.SOCK_STREAM)
        self._server = await asyncio.start_unix_server(self._client, str(path), limit=MAX_HEAD)
        path.chmod(0o660)

    async def close(self) -> None:
        """Close the socket and all connections."""
        if self._server is None:
            return
        for writer in list(self._clients):
            writer.transport.abort()
        self._server.close()
        self._server = None
        if self._listen.path is not None:
            self._listen.path.unlink(missing_ok=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= MAX_CLIENTS:
            writer.transport.abort()
            return
        self._clients.add(writer)
        try:
            async with asyncio.timeout(PATIENCE):
                writer.write(self._answer(await reader.readuntil(b"\r\n\r\n")))
                await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            log.debug("a client of the metrics said nothing of use")
        finally:
            self._clients.discard(writer)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _answer(self, head: bytes) -> bytes:
        request, *fields = head.decode("latin-1").split("\r\n")
        method, _, rest = request.partition(" ")
        target = rest.partition(" ")[0].partition("?")[0]
        if method not in ("GET", "HEAD"):
            return _response("405 Method Not Allowed", b"GET only\n", _TEXT, allow="GET, HEAD")
        if target != "/metrics":
            return _response("404 Not Found", b"/metrics only\n", _TEXT)
        accepted = next((field.partition(":")[2] for field in fields if field.lower().startswith("accept:")), "")
        body, kind = self._render(accepted.strip())
        return _response("200 OK", body, kind, head_only=method == "HEAD")


def _response(status: str, body: bytes, kind: str, *, allow: str = "", head_only: bool = False) -> bytes:
    allowed = f"Allow: {allow}\r\n" if allow else ""
    length = f"Content-Length: {len(body)}\r\n{allowed}"
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{length}Connection: close\r\n\r\n"
    return head.encode() + (b"" if head_only else body)


def renderer(collector: Collector) -> Render:
    """What prometheus_client makes of ``collector``, in the format that a client accepts."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)

    def render(accepted: str) -> tuple[bytes, str]:
        encode, kind = choose_encoder(accepted)
        return encode(registry), kind

    return render


class ServedMetrics:
    """The metrics of a daemon and the server that hands them out."""

    def __init__(self, listen: MetricsListen, daemon: Daemon, metrics: Metrics | None = None) -> None:
        """``metrics`` are those that were handed out elsewhere before."""
        self.metrics = metrics or Metrics(
            Sources(
                daemon.switch,
                daemon.spans,
                daemon.service,
                daemon.clock,
                ring=None if daemon.captures is None else daemon.captures.ring,
                engine_streams=lambda: len(daemon.media.streams),
                tls_connections=lambda: daemon.sip.secure_connections,
            )
        )
        self.server = MetricsServer(listen, renderer(self.metrics))

    def ended(self, record: CallRecord) -> None:
        """A call is over."""
        self.metrics.ended(record)

    async def start(self) -> None:
        """Listen; OSError if that cannot be."""
        await self.server.start()

    async def close(self) -> None:
        """Hand nothing out any more."""
        await self.server.close()
