"""Other settings taken up by a running IAX2 endpoint: peers that differ are made anew, and calls keep theirs.

Sockets keep their places; one that is to be closed is when its last call has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.core import timer_durations
from gateway.voip.iax.crypt import prepare
from gateway.voip.iax.peer import Peer
from gateway.voip.iax.peers import IaxSettings, PeerSettings
from gateway.voip.iax.timers import TIMERS

if TYPE_CHECKING:
    from gateway.voip.iax.endpoint import IaxEndpoint


def take_up(endpoint: IaxEndpoint, settings: IaxSettings, now: int) -> None:
    """Let ``settings`` hold for calls and registrations of ``endpoint`` from now on."""
    endpoint.settings = replace(settings, listeners=endpoint.sockets.take_up(settings.listeners, now))
    endpoint.durations.update(timer_durations(TIMERS, settings.timers))
    endpoint.toll_fraud.exempt(settings.emergency)
    peers = endpoint.peers
    wanted = {each.name: each for each in settings.peers}
    former = {name: peer for name, peer in peers.items() if peer.settings != wanted.get(name)}
    for name, peer in former.items():
        _dismiss(endpoint, peer, wanted.get(name), now)
        del peers[name]
    fresh = {name: Peer(each, endpoint) for name, each in wanted.items() if name not in peers}
    peers.update(fresh)
    guest = settings.guest
    if (None if endpoint.guest is None else endpoint.guest.settings) != guest:
        endpoint.guest = None if guest is None else Peer(guest, endpoint)
    if settings.encrypts:
        prepare()
    endpoint.identities.take_up()
    endpoint.begin_with(fresh.values(), now)
    for name, peer in former.items():
        binding, heir = peer.binding, fresh.get(name)
        if binding is None:
            continue
        endpoint.identities.bound(peer, None)
        if heir is not None and _proves_alike(heir.settings, peer.settings):
            endpoint.identities.bound(heir, binding)
        endpoint.registrar.changed(now)
        if heir is not None:
            endpoint.placed(heir, now)


def _dismiss(endpoint: IaxEndpoint, peer: Peer, heir: PeerSettings | None, now: int) -> None:
    if peer.watch is not None:
        peer.watch.cease(now)
        peer.watch = None
    if peer.keepalive is not None:
        peer.keepalive.off()
    endpoint.suspects.reachable(peer.name)
    if heir is None:
        endpoint.toll_fraud.forget(peer.name)
    registration = peer.registration
    if registration is not None:
        endpoint.registrations.remove(registration)
        if heir is not None and heir.register and (heir.host, heir.port, heir.user) == _place(peer.settings):
            # Taken back it might be after the next one was made, by the same user.
            registration.abandon(now)
        else:
            registration.leave(now)


def _place(settings: PeerSettings) -> tuple[str, int, str]:
    return settings.host, settings.port, settings.user


def _proves_alike(one: PeerSettings, other: PeerSettings) -> bool:
    """Whether what was proven to be one of them is the other as well."""
    return (one.dynamic, one.secret, one.inkeys, one.methods) == (
        other.dynamic,
        other.secret,
        other.inkeys,
        other.methods,
    )
