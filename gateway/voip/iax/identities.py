"""Who may be meant by a USERNAME or an address, in a way that does not tell who exists.

A name that is nobody's is asked for a proof as if it were some peer's, always the same way for the same name, and the
answer is looked at as thoroughly: frames, sizes and times are those of a peer with a wrong password.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import blake2s
from typing import NamedTuple

from msgspec.structs import replace

from gateway.voip.iax.auth import methods_of
from gateway.voip.iax.binding_store import Binding
from gateway.voip.iax.host import Path
from gateway.voip.iax.peer import Peer
from gateway.voip.iax.peers import CallTokens, PeerSettings

MAX_NAME = 80
"""Characters of a USERNAME that are looked at."""
_KEY = 32


class Claim(NamedTuple):
    """Who somebody says to be. ``peer`` None: nobody, whatever is proven; ``settings`` are for the challenge."""

    name: str
    peer: Peer | None
    settings: PeerSettings


class Identities:
    """All peers by name and by address. ``key`` has 32 octets and is a secret."""

    def __init__(self, peers: Mapping[str, Peer], key: bytes) -> None:
        self._peers = peers
        self._key = key[:_KEY]
        self._fixed: dict[str, list[Peer]] = {}
        self._placed: dict[tuple[str, int], Peer] = {}
        self._registered_at: Counter[str] = Counter()
        self.take_up()

    def take_up(self) -> None:
        """The peers are others, or have other settings."""
        peers = self._peers
        every = [peer.settings for peer in peers.values() if methods_of(peer.settings)]
        nobody = PeerSettings(name="", secret=self._key.hex())
        self._callers = every or [nobody]
        self._registrants = [settings for settings in every if settings.dynamic] or [nobody]
        # Whoever registers may come from anywhere.
        self._tokenless_anywhere = any(
            peer.settings.dynamic and peer.settings.calltokens is not CallTokens.YES for peer in peers.values()
        )

    @property
    def names(self) -> Iterable[Peer]:
        """Peers whose addresses a name has."""
        return [peer for peer in self._peers.values() if peer.named]

    def locate(self, now: int) -> None:
        """Addresses of names have changed, or were never looked at."""
        fixed: dict[str, list[Peer]] = {}
        for peer in self._peers.values():
            for address in peer.addresses(now):
                fixed.setdefault(address, []).append(peer)
        self._fixed = fixed

    def bound(self, peer: Peer, binding: Binding | None) -> None:
        """``peer`` is registered there now, or nowhere."""
        before = peer.binding
        if before is not None:
            if self._placed.get((before.address, before.port)) is peer:
                del self._placed[before.address, before.port]
            self._registered_at[before.address] -= 1
            if not self._registered_at[before.address]:
                del self._registered_at[before.address]
        peer.binding = binding
        if binding is not None:
            self._placed[binding.address, binding.port] = peer
            self._registered_at[binding.address] += 1

    def is_fixed(self, address: str) -> bool:
        """Whether a peer that has a host lives at ``address``."""
        return address in self._fixed

    def is_registered(self, address: str) -> bool:
        """Whether a peer is registered at ``address``."""
        return address in self._registered_at

    def knows(self, address: str) -> bool:
        """Whether a peer lives or is registered at ``address``."""
        return address in self._fixed or address in self._registered_at

    def at(self, path: Path, now: int) -> Peer | None:
        """The one peer that can be meant by nothing but where ``path`` leads; None if there are several, or none."""
        placed = self._placed.get((path.address, path.port))
        if placed is not None:
            return placed
        found = [peer for peer in self._fixed.get(path.address, ()) if peer.is_at(path, now)]
        return found[0] if len(found) == 1 else None

    def tokenless(self, address: str) -> bool:
        """Whether a request without a call token is looked at: never by its user name, which would tell who exists."""
        if self._tokenless_anywhere:
            return True
        return any(not peer.needs_token() for peer in self._fixed.get(address, ()))

    def caller(self, name: str) -> Claim:
        """Who a call with that USERNAME is to be proven to be of."""
        shadow = self._shadow(name, self._callers)
        peer = self._peers.get(name)
        if peer is None or not methods_of(peer.settings):
            return Claim(name, None, shadow)
        return Claim(name, peer, peer.settings)

    def registrant(self, name: str) -> Claim:
        """Who a registration with that USERNAME is to be proven to be of; who has a host of its own is nobody."""
        shadow = self._shadow(name, self._registrants)
        peer = self._peers.get(name)
        if peer is None or not peer.settings.dynamic or not methods_of(peer.settings):
            return Claim(name, None, shadow)
        return Claim(name, peer, peer.settings)

    def _shadow(self, name: str, models: list[PeerSettings]) -> PeerSettings:
        digest = blake2s(name.encode("utf-8", "surrogatepass"), key=self._key).digest()
        model = models[int.from_bytes(digest[:4], "big") % len(models)]
        return replace(model, name=name, secret=digest[4:20].hex())
