"""One peer at run time: where it is, whether it can be had, and whether it may have another call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from gateway.cause import Cause
from gateway.core import SECOND
from gateway.leg import SECURE_MEDIA, Setup
from gateway.voip.iax.binding_store import Binding
from gateway.voip.iax.host import Path
from gateway.voip.iax.peers import CallTokens, Encryption, PeerSettings
from gateway.voip.iax.turns import Clock, Turns
from gateway.voip.iax.whereabouts import Directory, Whereabouts
from gateway.voip.reach import Reach
from gateway.voip.sip.flow import Resolve
from gateway.voip.sip.peers import NO_BRAKES, Brakes
from gateway.voip.sip.toll_fraud import TollFraud

if TYPE_CHECKING:
    from gateway.voip.iax.keepalive import Keepalive
    from gateway.voip.iax.qualify import Watch
    from gateway.voip.iax.registration import Registration

_SECURE_MEDIA = frozenset({SECURE_MEDIA})
_NOTHING: frozenset[str] = frozenset()


class Places(Clock, Directory, Protocol):
    """What a peer needs of where it lives."""

    toll_fraud: TollFraud

    def socket_to(self, address: str, listener: int | None = None) -> int | None:
        """The socket that reaches ``address``, ``listener`` if it can be had; None while there is none."""


class Peer:
    """``binding`` is where it is registered (``host = "dynamic"``), None where it is not."""

    def __init__(self, settings: PeerSettings, where: Places) -> None:
        self.settings = settings
        self.name = settings.name
        self.brakes = Brakes(settings.call_limit, settings.calls_per_hour, settings.destinations_per_hour)
        self.binding: Binding | None = None
        self.registration: Registration | None = None
        self.watch: Watch | None = None
        self.keepalive: Keepalive | None = None
        self.calltokens = settings.calltokens
        self.calls: Callable[[], int] = int
        self.turns = Turns(where)
        # Why it does not take us for who we say to be; "" if it does, or was never asked.
        self.refuses_us = ""
        self._where = where
        self._whereabouts = Whereabouts(settings, where)
        # Which of its name's addresses is used; the next one when that is silent.
        self._choice = 0

    # -- where it is --

    @property
    def named(self) -> bool:
        """Whether its host is a name."""
        return self._whereabouts.named

    def asks(self, question: Resolve) -> bool:
        """Whether where it is depends on the answer to ``question``."""
        return self._whereabouts.asks(question)

    def addresses(self, now: int) -> tuple[str, ...]:
        """The literal addresses of a peer that has a host, as far as they are known; none where it registers."""
        return tuple([place.address for place in self._whereabouts.places(now)])

    def path(self, now: int) -> Path | None:
        """The way to it; None while it is not registered, its name is unknown or no socket of ours leads there."""
        binding = self.binding
        if binding is not None:
            if binding.expires <= now:
                return None
            socket = self._where.socket_to(binding.address, binding.listener)
            return None if socket is None else Path(socket, binding.address, binding.port)
        found = self._whereabouts.places(now)
        for turn in range(len(found)):
            address, port = found[(self._choice + turn) % len(found)]
            socket = self._where.socket_to(address)
            if socket is not None:
                return Path(socket, address, port)
        return None

    def try_next(self) -> None:
        """Where it was asked it says nothing: next time at another of its addresses."""
        self._choice += 1

    def is_at(self, path: Path, now: int) -> bool:
        """Whether ``path`` leads to where it lives or is registered; its port counts unless ``insecure`` has it."""
        binding = self.binding
        if binding is not None and binding.expires > now:
            return path.address == binding.address and path.port == binding.port
        match_port = self.settings.match_port
        places = self._whereabouts.places(now)
        return any(path.address == address and (path.port == port or not match_port) for address, port in places)

    # -- what it may have --

    @property
    def reach(self) -> Reach:
        """What qualify says; UNKNOWN where it is not asked."""
        return Reach.UNKNOWN if self.watch is None else self.watch.state

    @property
    def facts(self) -> frozenset[str]:
        """What a call to it can have: keys come of the secret, so without one there are none."""
        settings = self.settings
        return _SECURE_MEDIA if settings.encryption is not Encryption.NO and settings.secret else _NOTHING

    def takes_call(self, setup: Setup, emergency: bool, now: int, own: int = 1) -> Cause | None:
        """None if it may have this call, which counts then, else why not. ``own``: 1 if the call is among its legs."""
        if self.brakes == NO_BRAKES or emergency or setup.emergency:
            return None
        hindered = self._where.toll_fraud.hindrance(self, setup.called.digits, now, own=own)
        return Cause.CALL_REJECTED if hindered else None

    def needs_token(self) -> bool:
        """Whether it must have shown a call token to be taken for itself."""
        return self.calltokens is CallTokens.YES

    def showed_token(self) -> None:
        """It proved to be itself and had a token: from now on it must have one, so that nobody says it knows none."""
        if self.calltokens is CallTokens.AUTO:
            self.calltokens = CallTokens.YES

    # -- for the operator --

    def as_json(self, now: int) -> dict[str, object]:
        """What an operator is shown."""
        path = self.path(now)
        shown: dict[str, object] = {
            "address": "" if path is None else str(path),
            "dynamic": self.settings.dynamic,
            "reach": self.reach.value,
            "calls": self.calls(),
            "encryption": self.settings.encryption.value,
            "trunk": self.settings.trunk,
            "refuses_us": self.refuses_us,
        }
        if self.binding is not None:
            shown["expires_seconds"] = max(self.binding.expires - now, 0) / SECOND
        if self.watch is not None:
            shown["qualify"] = self.watch.as_json(now)
        if self.registration is not None:
            shown["registration"] = self.registration.as_json(now)
        return shown
