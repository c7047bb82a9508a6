"""Who is heard at all: a rate for each source that has shown nothing yet, and a shut-out for those that guess.

A source is an IPv4 address or an IPv6 network of 64 bits. Addresses of peers and of registered phones are always heard.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from ipaddress import IPv6Address

from gateway.core import MILLISECOND, SECOND

log = logging.getLogger(__name__)

MAX_SOURCES = 8192
"""Sources remembered; the longest unheard is forgotten for another."""
MAX_SHUT_OUT = 8192
SOURCE_RATE = 50
"""Messages a second that are read of one source that has shown nothing."""
PHONES_RATE = 250
"""Messages a second that are read of an address where phones are registered: one of them may be mad."""
SOURCE_BURST = 300
"""Messages at once: a house full of phones behind one address, after a power cut."""
MAX_DEBT = 300 * SECOND
"""What a source may owe (see Offence) before it is shut out."""
FIRST_SHUT_OUT = 60 * SECOND
LONGEST_SHUT_OUT = 86_400 * SECOND
FORGIVEN = 86_400 * SECOND
"""A source that gave no offence for so long after a shut-out begins anew."""
TRY_AGAIN = SECOND
"""How often credentials from an address are looked at that guesses but is never shut out."""
_EACH = SECOND // SOURCE_RATE
_EACH_PHONE = SECOND // PHONES_RATE
_BURST_SECONDS = SOURCE_BURST // SOURCE_RATE


class Offence(Enum):
    """What costs a source so many microseconds of peace (own): time alone pays for it."""

    CHALLENGED = SECOND
    """It was asked for credentials. Those that come are paid back; 300 that never do are a scan."""
    FORBIDDEN = 2 * SECOND
    """It asked for what it may not have."""
    GARBAGE = 500 * MILLISECOND
    """It sent what is no message."""
    GUESSED = 15 * SECOND
    """A wrong user or password: 20 at once, or four a minute."""


@dataclass(slots=True)
class _Source:
    """``heard``: when all its messages will have been paid for; ``owes``: when its offences will."""

    heard: int = 0
    owes: int = 0
    tried: int = -TRY_AGAIN


@dataclass(slots=True)
class _ShutOut:
    until: int
    times: int


@lru_cache(maxsize=4096)
def _network(address: str) -> str:
    try:
        return str(IPv6Address(int(IPv6Address(address.partition("%")[0])) >> 64 << 64))
    except ValueError:
        return address


def source_of(address: str) -> str:
    """What limits count for ``address``: who has one IPv6 address has the 2**64 beside it."""
    return _network(address) if ":" in address else address


def _nobody(_address: str) -> bool:
    return False


class Defence:
    """What is known of an address: ``fixed``, a trunk or phone lives there; ``registered``, one is registered there.

    ``near``: it is in a network of ours.
    """

    def __init__(
        self,
        fixed: Callable[[str], bool] = _nobody,
        registered: Callable[[str], bool] = _nobody,
        near: Callable[[str], bool] = _nobody,
    ) -> None:
        self.fixed = fixed
        self.registered = registered
        self.near = near
        self.shut_out_since_start = 0
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._shut_out: OrderedDict[str, _ShutOut] = OrderedDict()

    def __len__(self) -> int:
        """Sources remembered."""
        return len(self._sources) + len(self._shut_out)

    def allowed(self, address: str, now: int) -> bool:
        """Whether a message, or a connection, from ``address`` is taken now; each that is asked for counts."""
        if self.fixed(address):
            return True
        each = _EACH
        name = source_of(address)
        if self.registered(address):
            each = _EACH_PHONE
        elif self._shut_out and self._is_shut_out(name, now):
            return False
        source = self._source(name)
        heard = max(source.heard, now) + each
        if heard - now > _BURST_SECONDS * SECOND:
            return False
        source.heard = heard
        return True

    def known(self, address: str) -> bool:
        """True if a peer lives at ``address`` or is registered there: it is never shut out."""
        return self.fixed(address) or self.registered(address)

    def may_try(self, address: str, now: int) -> bool:
        """Whether credentials from ``address`` are looked at now: slowly where guesses come from beside our phones."""
        source = self._sources.get(source_of(address))
        if source is None or source.owes - now <= MAX_DEBT:
            return True
        if now - source.tried < TRY_AGAIN:
            return False
        source.tried = now
        return True

    def offended(self, address: str, offence: Offence, now: int) -> None:
        """``address`` gave offence; it is shut out if it was one too many."""
        name = source_of(address)
        source = self._source(name)
        source.owes = max(source.owes, now) + offence.value
        if source.owes - now <= MAX_DEBT:
            return
        if self.known(address):
            if source.owes - offence.value - now <= MAX_DEBT:
                log.warning("%s guesses passwords: a peer or phone of ours is there, so it is only slowed down", name)
            # What it owes stays where it is, so that peace pays for it in the same time.
            source.owes = now + MAX_DEBT + offence.value
            return
        self._shut(name, self.near(address), now)

    def redeemed(self, address: str, now: int) -> None:
        """``address`` has answered a challenge rightly."""
        source = self._sources.get(source_of(address))
        if source is not None:
            source.owes = max(now, source.owes - Offence.CHALLENGED.value)

    def shut_out(self, now: int) -> dict[str, int]:
        """Who is shut out, and for how many more seconds."""
        return {name: -(-(each.until - now) // SECOND) for name, each in self._shut_out.items() if each.until > now}

    def pardon(self, address: str) -> bool:
        """Hear ``address`` again at once; False if it was not shut out."""
        name = source_of(address)
        self._sources.pop(name, None)
        return self._shut_out.pop(name, None) is not None

    def closed_to(self, address: str, now: int) -> bool:
        """Whether nothing from ``address`` is to be heard at all, whatever it has shown since."""
        return bool(self._shut_out) and not self.known(address) and self._is_shut_out(source_of(address), now)

    def _is_shut_out(self, name: str, now: int) -> bool:
        found = self._shut_out.get(name)
        return found is not None and now < found.until

    def _source(self, name: str) -> _Source:
        source = self._sources.get(name)
        if source is None:
            if len(self._sources) >= MAX_SOURCES:
                self._sources.popitem(last=False)
            source = self._sources[name] = _Source()
        else:
            self._sources.move_to_end(name)
        return source

    def _shut(self, name: str, near: bool, now: int) -> None:
        before = self._shut_out.pop(name, None)
        times = before.times if before is not None and now - before.until < FORGIVEN else 0
        # A phone at the branch that has a wrong password is to work soon after it got the right one.
        length = FIRST_SHUT_OUT if near else min(FIRST_SHUT_OUT << min(times, 16), LONGEST_SHUT_OUT)
        while len(self._shut_out) >= MAX_SHUT_OUT:
            self._shut_out.popitem(last=False)
        self._shut_out[name] = _ShutOut(now + length, times + 1)
        self._sources.pop(name, None)
        self.shut_out_since_start += 1
        log.warning("%s guesses users or passwords: it is not heard for %d s", name, length // SECOND)
