"""Digest as a server (RFC 7616, RFC 8760, RFC 3261 22): nonces that take no memory, and whether credentials are right.

A nonce tells when it was made and is signed, for one source address. Only those that were answered rightly are kept,
so that nothing is taken twice. Who a user is, and what a wrong one gets, is not decided here.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Sequence
from enum import Enum

from gateway.core import SECOND
from gateway.voip.sip.digest import STRENGTH, Algorithm, Challenge, Credentials, credentials_of
from gateway.voip.sip.message import Request

NONCE_LIFE = 600 * SECOND
"""How long a nonce is taken (own): a phone that registers every minute has one round trip in ten more."""
MAX_NONCES = 16_384
"""Nonces in use that are remembered; older ones than the oldest forgotten are stale."""
WINDOW = 64
"""Requests with one nonce may overtake one another by so many (datagrams do); RFC 7616 3.4 wants each nc once."""
MAX_HABITS = 8192
"""Addresses whose way of answering challenges is remembered; the longest unheard is forgotten for another."""
IN_VAIN = 4 * SECOND
"""Who asks again after so long without credentials is taken for one that cannot read several challenges (own)."""
HABIT_LIFE = 86_400 * SECOND
PLAIN_AGENTS = ("baresip v0.", "baresip v1.")
"""User-Agents known to give up at an algorithm that they do not know, wherever it stands."""
_KEY = 32
_TIME, _SERIAL, _SIGNATURE = 8, 4, 12
_NONCE = _TIME + _SERIAL + _SIGNATURE
_NONCE_TEXT = 4 * _NONCE // 3


class Verdict(Enum):
    """What a request has shown. Each but RIGHT is answered with a challenge, or with what says nothing."""

    ABSENT = "no credentials of use"
    STALE = "right credentials with a nonce that is too old, or used before"
    WRONG = "wrong user or password, with a nonce of ours"
    BLIND = "wrong user or password, with a nonce that is not ours"
    RIGHT = "right credentials"


class _Use:
    """Which counts of a nonce were used: the highest, and of the ``WINDOW`` below it a bit for each."""

    __slots__ = ("highest", "issued", "seen")

    def __init__(self, issued: int) -> None:
        self.issued = issued
        self.highest = 0
        self.seen = 0

    def take(self, count: int) -> bool:
        ahead = count - self.highest
        if ahead > 0:
            self.seen = (self.seen << ahead | 1) & (1 << WINDOW) - 1 if ahead < WINDOW else 1
            self.highest = count
            return True
        if -ahead >= WINDOW or self.seen >> -ahead & 1:
            return False
        self.seen |= 1 << -ahead
        return True


class _Habit:
    """Of an address: since when it was asked without effect, and whether the plainest algorithm is all it has."""

    __slots__ = ("at", "plain", "waiting")

    def __init__(self, at: int) -> None:
        self.at = at
        self.plain = False
        self.waiting = True


class Authenticator:
    """Challenges and judges for ``realm``. ``key`` are at least 32 random octets; a new one makes all nonces stale.

    ``algorithms`` are offered in that order (RFC 8760 2.3: the one that is liked best first). Many an older phone gives
    up at an algorithm that it does not know, wherever it stands: who was asked in vain is asked for the plainest alone.
    """

    def __init__(
        self,
        realm: str,
        key: bytes,
        algorithms: Sequence[Algorithm] = tuple(Algorithm),
        *,
        life: int = NONCE_LIFE,
        kept: int = MAX_NONCES,
    ) -> None:
        if len(key) < _KEY:
            raise ValueError(f"key has {len(key)} octets, expected at least {_KEY}")
        self.take_up(realm, algorithms)
        self._key = key
        self._life = life
        self._kept = kept
        self._habits: OrderedDict[str, _Habit] = OrderedDict()
        self._serial = 0
        self._uses: dict[str, _Use] = {}
        # Nonces made up to then are stale unless they are among those.
        self._floor = -1
        # Who guesses at a user who does not exist is answered as slowly as one who guesses at a password.
        self._nobody = hmac.digest(key, b"nobody", "sha256").hex()

    def take_up(self, realm: str, algorithms: Sequence[Algorithm]) -> None:
        """Challenge for ``realm`` with ``algorithms`` from now on."""
        if not algorithms:
            raise ValueError("expected at least one algorithm")
        self.realm = realm
        self.algorithms = tuple(algorithms)
        self._plainest = max(self.algorithms, key=STRENGTH.__getitem__)

    def challenge(
        self, address: str, now: int, *, stale: bool = False, credentials: Credentials | None = None, agent: str = ""
    ) -> list[tuple[str, str]]:
        """The header fields of a 401 to ``address``, whose request had ``credentials`` that were of no use.

        ``agent`` is the request's User-Agent, as some cannot read more than one challenge.
        """
        nonce = self._nonce(address, now)
        if credentials is None and agent.startswith(PLAIN_AGENTS):
            offered: Sequence[Algorithm] = (self._plainest,)
        else:
            offered = self._offered(address, credentials, now)
        return [
            ("WWW-Authenticate", str(Challenge(self.realm, nonce, algorithm, stale=stale))) for algorithm in offered
        ]

    def _offered(self, address: str, credentials: Credentials | None, now: int) -> Sequence[Algorithm]:
        if credentials is not None and credentials.algorithm in self.algorithms:
            return (credentials.algorithm,)
        if len(self.algorithms) == 1:
            return self.algorithms
        habits = self._habits
        habit = habits.get(address)
        if habit is None or now - habit.at > HABIT_LIFE:
            if len(habits) >= MAX_HABITS:
                habits.popitem(last=False)
            habits[address] = _Habit(now)
            return self.algorithms
        habits.move_to_end(address)
        if not habit.waiting:
            habit.waiting, habit.at = True, now
        return (self._plainest,) if habit.plain or now - habit.at > IN_VAIN else self.algorithms

    def credentials(self, request: Request) -> Credentials | None:
        """The credentials of ``request`` for us; raises SipError(400) for such that cannot be read."""
        if "authorization" not in request.headers.first:
            return None
        return credentials_of(request, self.realm)

    def verify(
        self, request: Request, credentials: Credentials | None, secret: str | None, address: str, now: int
    ) -> Verdict:
        """Judge ``credentials`` of ``request``, which came from ``address``; ``secret`` None: there is no such user.

        The answer takes the same time for a wrong password, a wrong user, and a user without password.
        """
        if credentials is None or credentials.algorithm not in self.algorithms:
            return Verdict.ABSENT
        right = credentials.matches(request.method, secret or self._nobody, request.body)
        if not secret:
            right = False
        issued = self._issued(credentials.nonce, address)
        if not right:
            return Verdict.BLIND if issued is None else Verdict.WRONG
        if issued is None or now - issued > self._life:
            return Verdict.STALE
        # RFC 2069 has no count: such a nonce is good for one request.
        if not self._take(credentials.nonce, issued, credentials.count, now):
            return Verdict.STALE
        habit = self._habits.get(address)
        if habit is not None:
            habit.waiting, habit.at = False, now
            habit.plain = credentials.algorithm is self._plainest
        return Verdict.RIGHT

    def spend(self, credentials: Credentials, address: str, now: int) -> None:
        """Nobody is to come with ``credentials`` later, which were not taken though they may be right."""
        issued = self._issued(credentials.nonce, address)
        if issued is not None:
            self._take(credentials.nonce, issued, credentials.count, now)

    def is_ours(self, nonce: str, address: str) -> bool:
        """Whether ``nonce`` was made here for ``address``, however long ago: who answers it has received it."""
        return self._issued(nonce, address) is not None

    def __len__(self) -> int:
        return len(self._uses)

    def _nonce(self, address: str, now: int) -> str:
        self._serial = (self._serial + 1) & 0xFFFF_FFFF
        made = now.to_bytes(_TIME) + self._serial.to_bytes(_SERIAL)
        return urlsafe_b64encode(made + self._sign(made, address)).decode()

    def _sign(self, made: bytes, address: str) -> bytes:
        return hmac.digest(self._key, made + address.encode(), "sha256")[:_SIGNATURE]

    def _issued(self, nonce: str, address: str) -> int | None:
        """When ``nonce`` was made, if we made it for ``address``."""
        if len(nonce) != _NONCE_TEXT or not nonce.isascii():
            return None
        try:
            data = urlsafe_b64decode(nonce)
        except ValueError:
            return None
        made, signature = data[:-_SIGNATURE], data[-_SIGNATURE:]
        if len(data) != _NONCE or not hmac.compare_digest(signature, self._sign(made, address)):
            return None
        return int.from_bytes(made[:_TIME])

    def _take(self, nonce: str, issued: int, count: int, now: int) -> bool:
        use = self._uses.get(nonce)
        if use is None:
            if issued <= self._floor:
                return False
            self._make_room(now)
            use = self._uses[nonce] = _Use(issued)
        return use.take(count)

    def _make_room(self, now: int) -> None:
        uses = self._uses
        while uses:
            nonce, oldest = next(iter(uses.items()))
            if now - oldest.issued <= self._life and len(uses) < self._kept:
                return
            del uses[nonce]
            self._floor = max(self._floor, oldest.issued)
