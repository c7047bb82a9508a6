"""The registrar (RFC 5456 6.1): where peers with ``host = "dynamic"`` are, for how long, and what of it is stored.

Who may register was settled before (``gatekeeper``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.core import MILLISECOND, SECOND
from gateway.voip.iax.binding_store import Binding, StoreIaxBindings, restored, stored
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.host import Path
from gateway.voip.iax.peer import Peer
from gateway.voip.iax.timers import IaxTimer

if TYPE_CHECKING:
    from gateway.voip.iax.endpoint import IaxEndpoint

log = logging.getLogger(__name__)

GRACE = 10 * SECOND
"""How long a registration stands beyond its end: the one that refreshes it may be under way (own)."""
STORE_CHANGES_AFTER = 500 * MILLISECOND
STORE_REFRESHES_AFTER = 5 * SECOND
_STORE = IaxTimer.LINGER
_LOOK = IaxTimer.AUTH
_PLAUSIBLE_YEAR = 2025
"""Before it the clock was never set; far ends would set theirs by it."""


class Registrar:
    """Registered peers of one endpoint. ``wall_clock`` gives seconds since 1970; ``output`` takes what is stored."""

    def __init__(
        self,
        endpoint: IaxEndpoint,
        output: Callable[[StoreIaxBindings], None],
        wall_clock: Callable[[], float] | None,
    ) -> None:
        self._endpoint = endpoint
        self._output = output
        self._wall_clock = wall_clock
        self._store_at: int | None = None
        self._look_at: int | None = None

    @property
    def running(self) -> int:
        """How many timers run."""
        return (self._store_at is not None) + (self._look_at is not None)

    @property
    def bindings(self) -> list[Binding]:
        """All that stand."""
        return [peer.binding for peer in self._endpoint.peers.values() if peer.binding is not None]

    def register(self, peer: Peer, path: Path, asked: int | None, now: int) -> Elements:
        """``peer`` proved to be itself at ``path`` and asks for so many seconds; what REGACK tells it."""
        settings = self._endpoint.settings
        granted = max(settings.minexpiry, min(asked or settings.minexpiry, settings.maxexpiry))
        listener = self._endpoint.listener_of(path.socket)
        before = peer.binding
        binding = Binding(peer.name, listener, path.address, path.port, now + granted * SECOND + GRACE, granted)
        moved = before is None or (before.address, before.port, before.listener) != (
            binding.address,
            binding.port,
            binding.listener,
        )
        self._endpoint.identities.bound(peer, binding)
        self._look_by(binding.expires)
        self._store_in(STORE_CHANGES_AFTER if moved else STORE_REFRESHES_AFTER, now)
        if moved:
            log.info("%s is registered at %s for %d s", peer.name, path, granted)
            self._endpoint.placed(peer, now)
        return self._told(peer.name).add_number(Ie.REFRESH, granted, 2).add_address(path.address, path.port)

    def release(self, peer: Peer, now: int) -> Elements:
        """``peer`` proved to be itself and wants to be registered no more."""
        if peer.binding is not None:
            log.info("%s is no longer registered: it took its registration back", peer.name)
            self._gone(peer, now)
        return self._told(peer.name)

    def changed(self, now: int) -> None:
        """Who is registered is another, as the configuration is: to be stored soon."""
        self._store_in(STORE_CHANGES_AFTER, now)
        self._look()

    def _told(self, name: str) -> Elements:
        elements = Elements().add_text(Ie.USERNAME, name)
        if self._wall_clock is not None:
            date = datetime.fromtimestamp(self._wall_clock(), UTC)
            if date.year >= _PLAUSIBLE_YEAR:
                elements.add_number(Ie.DATETIME, packed(date), 4)
        return elements

    def _gone(self, peer: Peer, now: int) -> None:
        self._endpoint.identities.bound(peer, None)
        self._store_in(STORE_CHANGES_AFTER, now)
        self._endpoint.placed(peer, now)

    def expire(self, timer: IaxTimer, now: int) -> None:
        """Registrations may have ended, or are to be stored."""
        if timer is _STORE:
            self._store_at = None
            self._store(now)
            return
        self._look_at = None
        ended = []
        for peer in self._endpoint.peers.values():
            binding = peer.binding
            if binding is not None and binding.expires <= now:
                ended.append((peer, binding))
        for peer, binding in ended:
            log.warning("%s is no longer registered: it was not refreshed at %s", peer.name, binding)
            self._gone(peer, now)
        self._look()

    def _look(self) -> None:
        ends = [binding.expires for binding in self.bindings]
        if ends:
            self._look_by(min(ends))

    def _look_by(self, end: int) -> None:
        # What is refreshed meanwhile moves the next look only when that comes.
        if self._look_at is None or end < self._look_at:
            self._look_at = end
            self._endpoint.start(self, _LOOK, end)

    # -- over a restart --

    def _store_in(self, after: int, now: int) -> None:
        if self._store_at is None or now + after < self._store_at:
            self._store_at = now + after
            self._endpoint.start(self, _STORE, self._store_at)

    def _store(self, now: int) -> None:
        self._output(StoreIaxBindings(stored(self.bindings, self._endpoint.settings.listeners, self._wall(), now)))

    def store_now(self, now: int) -> None:
        """The program ends: store what there is, if anything is not stored yet."""
        if self._store_at is not None:
            self._store_at = None
            self._endpoint.stop(self, _STORE)
            self._store(now)

    def restore(self, data: bytes, now: int) -> int:
        """Take what was stored before a restart; how many stand. Raises ValueError if it makes no sense."""
        count = 0
        for binding in restored(data, self._endpoint.settings.listeners, self._wall(), now):
            peer = self._endpoint.peers.get(binding.name)
            # The configuration may be another by now, and who registered meanwhile knows better.
            if peer is None or not peer.settings.dynamic or peer.binding is not None:
                continue
            self._endpoint.identities.bound(peer, binding)
            self._endpoint.placed(peer, now)
            count += 1
        self._look()
        return count

    def _wall(self) -> float:
        return 0.0 if self._wall_clock is None else self._wall_clock()


def packed(date: datetime) -> int:
    """DATETIME (8.6.28): year since 2000, month, day, hour, minute and two seconds, from the high bits on."""
    return (
        (date.year - 2000 & 0x7F) << 25
        | date.month << 21
        | date.day << 16
        | date.hour << 11
        | date.minute << 5
        | date.second >> 1
    )
