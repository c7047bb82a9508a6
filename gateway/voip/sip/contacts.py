"""Contacts of phones (RFC 3261 10) that are asked by OPTIONS, where ``qualify`` is set, as long as they are registered.

A phone can be had as long as one of its contacts can. Who is registered where is in ``location.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from gateway.voip.reach import Reach
from gateway.voip.sip.flow import Flow
from gateway.voip.sip.peers import PeerSettings
from gateway.voip.sip.qualify import Watch
from gateway.voip.sip.registration import Surroundings
from gateway.voip.sip.suspects import Suspects

if TYPE_CHECKING:
    from gateway.voip.sip.location import Binding

log = logging.getLogger(__name__)

MAX_WATCHED = 16_384
"""Contacts of phones that are asked by OPTIONS."""

# Two phones of one name behind two NATs may well have the same Contact.
_Place = tuple[str, Flow]


class WatchedContacts:
    """All of one endpoint; ``suspects`` is told which phones can be had."""

    def __init__(self, where: Surroundings, suspects: Suspects) -> None:
        self._where = where
        self._suspects = suspects
        self._of: dict[str, dict[_Place, Watch]] = {}
        self._count = 0
        self._left = False

    def follow(self, peer: PeerSettings, bindings: Sequence[Binding], now: int) -> None:
        """These are the places where ``peer`` is registered: ask there from now on, where ``qualify`` is set."""
        if not peer.far_end.qualify or self._left:
            return
        there = {_place_of(binding): binding for binding in bindings if not binding.gone}
        watched = self._of.get(peer.name, {})
        for place in [place for place in watched if place not in there]:
            self._cease(watched.pop(place))
        for place, binding in there.items():
            if place in watched:
                # It has just registered, if it was this one.
                continue
            if self._count >= MAX_WATCHED:
                log.warning("more than %d places are watched: %s is not", MAX_WATCHED, binding.contact)
                continue
            self._count += 1
            watched[place] = watch = self._watch(peer, binding)
            watch.begin(now)
        if watched:
            self._of[peer.name] = watched
        else:
            self._of.pop(peer.name, None)
        if not there:
            self._suspects.reachable(peer.name)

    def _watch(self, peer: PeerSettings, binding: Binding) -> Watch:
        settings, flow, routes = peer.far_end, binding.flow, binding.path
        return Watch(
            self._where,
            peer.name,
            str(binding.uri.without_headers()),
            lambda _now: (flow,),
            settings.qualify,
            settings.qualifyfreq,
            self._reach_changed,
            lambda _flow: routes,
        )

    def _reach_changed(self, watch: Watch, now: int) -> None:
        states = {each.state for each in self._of.get(watch.name, {}).values()} or {watch.state}
        if states == {Reach.UNREACHABLE}:
            self._suspects.unreachable(watch.name, now)
        else:
            self._suspects.reachable(watch.name)

    def _cease(self, watch: Watch) -> None:
        self._count -= 1
        watch.cease()

    def forget(self, names: Iterable[str]) -> None:
        """The phones of these names are gone, or other than before."""
        for name in names:
            for watch in self._of.pop(name, {}).values():
                self._cease(watch)

    def leave(self) -> None:
        """The gateway ends: nobody is asked any more."""
        self._left = True
        self.forget(tuple(self._of))

    def ask_soon(self, now: int) -> None:
        """Our way to all of them may be another."""
        for watched in self._of.values():
            for watch in watched.values():
                watch.ask_soon(now)

    def heard(self, name: str, flow: Flow, now: int) -> None:
        """The phone called ``name`` said something from where it is registered."""
        for place, watch in self._of.get(name, {}).items():
            if place[1] == flow:
                watch.heard(now)

    # -- what others ask --

    def _watch_of(self, binding: Binding) -> Watch | None:
        watched = self._of.get(binding.name)
        return None if watched is None else watched.get(_place_of(binding))

    def reach(self, binding: Binding) -> Reach:
        """How a place of a phone answers."""
        watch = self._watch_of(binding)
        return Reach.UNKNOWN if watch is None else watch.state

    def round_trip(self, binding: Binding) -> int | None:
        """Microseconds that OPTIONS to one of a phone's places took the last time."""
        watch = self._watch_of(binding)
        return None if watch is None else watch.round_trip

    def as_json(self, now: int) -> dict[str, dict[str, object]]:
        """What an operator is shown, by the phone's name, Contact and flow."""
        return {
            name: {f"{contact} at {flow}": watch.as_json(now) for (contact, flow), watch in watched.items()}
            for name, watched in self._of.items()
        }


def _place_of(binding: Binding) -> _Place:
    return binding.contact, binding.flow
