"""The UDP sockets of IAX2, as the media engine has them: opened, opened again, and which of them leads where."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from gateway.core import SECOND
from gateway.media.api import Failure, Opened
from gateway.media.wire import Kind, ListEntry
from gateway.voip.iax.binding_store import reaches
from gateway.voip.iax.peers import IaxListener
from gateway.voip.iax.timers import IaxTimer

if TYPE_CHECKING:
    from gateway.voip.iax.endpoint import IaxEndpoint

log = logging.getLogger(__name__)

AGAIN = 5 * SECOND
"""How long after a socket could not be opened it is tried again (own): an address may not be there yet."""
_AGAIN = IaxTimer.RETRANSMIT


class Heritage(Protocol):
    """What the media engine has of the program before this one."""

    kept: tuple[ListEntry, ...]

    def adopt(self, stream: int) -> None:
        """Take over a stream of ``kept``, which is without it then."""


class Sockets:
    """One for each of ``listeners``, by its place there."""

    def __init__(self, endpoint: IaxEndpoint, listeners: Sequence[IaxListener]) -> None:
        self._endpoint = endpoint
        self._listeners = tuple(listeners)
        # Those that only calls use that began over them.
        self._retired: set[int] = set()
        self._sockets: list[int | None] = [None] * len(listeners)
        # Those that were opened before and are others now.
        self._before: list[int | None] = [None] * len(listeners)
        self._told = [False] * len(listeners)

    def open(self) -> None:
        """Open what is not open."""
        for index, listener in enumerate(self._listeners):
            if self._sockets[index] is None and index not in self._retired:
                self._open(index, listener)

    def take_up(self, wanted: Sequence[IaxListener], now: int) -> tuple[IaxListener, ...]:
        """Let ``wanted`` be open; what is not is closed after its last call. All by their places, which stay."""
        added = [each for each in wanted if each not in self._listeners]
        self._listeners = (*self._listeners, *added)
        for places in (self._sockets, self._before):
            places.extend([None] * len(added))
        self._told.extend([False] * len(added))
        self._retired = {index for index, each in enumerate(self._listeners) if each not in wanted}
        self._close_idle(now)
        return self._listeners

    def is_retired(self, socket: int) -> bool:
        """Whether nothing new may begin over ``socket``."""
        return bool(self._retired) and socket in self._sockets and self._sockets.index(socket) in self._retired

    def _close_idle(self, now: int) -> None:
        used = {leg.session.path.socket for leg in self._endpoint.legs.values() if leg.session is not None}
        for index in self._retired:
            socket = self._sockets[index]
            if socket is None:
                continue
            if socket in used:
                self._endpoint.start(self, _AGAIN, now + AGAIN)
                continue
            self._endpoint.media.close(socket)
            self._sockets[index] = self._before[index] = None

    def _open(self, index: int, listener: IaxListener) -> None:
        socket = 0
        replied: list[Opened | Failure] = []

        def on_reply(reply: Opened | Failure) -> None:
            if socket:
                self._opened(index, socket, reply)
            else:
                replied.append(reply)

        socket = self._endpoint.media.open_iax_socket(listener.address, listener.port, _label(listener), on_reply)
        self._sockets[index] = socket
        before, self._before[index] = self._before[index], None
        if before is not None and before != socket:
            self._endpoint.reception.renumber(before, socket)
        for reply in replied:
            self._opened(index, socket, reply)

    def _opened(self, index: int, socket: int, reply: Opened | Failure) -> None:
        if self._sockets[index] != socket:
            return
        listener = self._listeners[index]
        if isinstance(reply, Opened):
            if self._told[index]:
                log.warning("IAX2 listens at %s port %d after all", listener.address, listener.port)
            self._told[index] = False
            return
        self._sockets[index] = None
        self._before[index] = socket
        if not self._told[index]:
            self._told[index] = True
            log.error("IAX2 cannot listen at %s port %d: %s", listener.address, listener.port, reply.text)
        self._endpoint.start(self, _AGAIN, self._endpoint.now + AGAIN)

    def expire(self, _timer: IaxTimer, now: int) -> None:
        """Try again."""
        self._close_idle(now)
        self.open()

    def inherit(self, engine: Heritage) -> None:
        """Take over the sockets that ``engine`` has for our listeners; those for others are closed."""
        ours = {_label(listener): index for index, listener in enumerate(self._listeners)}
        for entry in engine.kept:
            if entry.kind is not Kind.IAX_SOCKET:
                continue
            engine.adopt(entry.stream)
            index = ours.get(entry.label)
            if index is None or self._sockets[index] is not None:
                # Now, as one that is to be opened may be at the same port.
                self._endpoint.media.close(entry.stream)
            else:
                self._sockets[index] = entry.stream

    def __contains__(self, socket: int) -> bool:
        return socket in self._sockets

    def lost(self) -> None:
        """The media engine has none of them any more."""
        for index, socket in enumerate(self._sockets):
            if socket is not None:
                self._before[index] = socket
                self._sockets[index] = None

    def to(self, address: str, listener: int | None = None) -> int | None:
        """The socket that reaches ``address``, ``listener`` if it can be had; None while there is none."""
        if listener is not None and listener < len(self._sockets) and listener not in self._retired:
            socket = self._sockets[listener]
            if socket is not None:
                return socket
        for index, each in enumerate(self._listeners):
            socket = self._sockets[index]
            if socket is not None and reaches(each, address) and index not in self._retired:
                return socket
        return None

    def listener_of(self, socket: int) -> int:
        """Which of the listeners ``socket`` is; the first, if it is none any more."""
        try:
            return self._sockets.index(socket)
        except ValueError:
            return 0

    def as_json(self) -> list[dict[str, object]]:
        """What an operator is shown."""
        return [
            {"address": each.address, "port": each.port, "open": self._sockets[index] is not None}
            for index, each in enumerate(self._listeners)
            if index not in self._retired or self._sockets[index] is not None
        ]


def _label(listener: IaxListener) -> str:
    """What the socket of ``listener`` is known by in the media engine, to the next program too."""
    return f"iax2 {listener.address} {listener.port}"
