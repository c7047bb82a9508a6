"""Guesses at one password from many addresses: each alone stays below what ``defence`` shuts out.

An account that was guessed at too often is not closed, or anybody could close it: from then on a wrong password is
forgiven nobody. An address that gave one is not looked at again for a growing time, and who knows the password, from
wherever, needs one try. Names that are nobody's are counted as well: whether a user exists is not to be seen. Only who
answers a challenge that it was sent can make an address wait: anybody can write one that is not his own on a datagram.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from zlib import crc32

from gateway.core import SECOND
from gateway.voip.sip.defence import source_of

ACCOUNTS = 4096
"""Names are told apart by so many values of a checksum: no flood of names displaces one."""
MAX_WAITS = 16_384
"""Addresses that wait; the longest unheard is forgotten for another."""
MAX_PROVEN = 8192
"""Addresses with the names that they proved; the longest unheard is forgotten for another."""
EACH = 15 * SECOND
"""What a guess costs an account in peace: time alone pays for it, as with ``defence.Offence.GUESSED``."""
BEARABLE = 300 * SECOND
"""What an account may owe (20 guesses at once, or four a minute for ever) before nothing is forgiven."""
MOST_OWED = 3600 * SECOND
"""Peace after which an account is as before, however often it was guessed at."""
FIRST_WAIT = 30 * SECOND
LONGEST_WAIT = 86_400 * SECOND
PROVEN_FOR = 7 * 86_400 * SECOND
"""How long an address that proved a name is trusted to be its owner's, who may mistype (own)."""
FORGOTTEN = 86_400 * SECOND
"""An address that waited and then guessed no more for so long begins anew."""


@dataclass(slots=True)
class _Wait:
    until: int
    times: int


class Guesses:
    """What is known of names that were guessed at and of addresses that guessed or proved one. Bounded in memory."""

    def __init__(self) -> None:
        self._owes = [0] * ACCOUNTS
        self._most = 0
        self._waits: OrderedDict[str, _Wait] = OrderedDict()
        self._proven: OrderedDict[tuple[str, str], int] = OrderedDict()

    def __len__(self) -> int:
        """Addresses remembered."""
        return len(self._waits) + len(self._proven)

    def guarded(self, user: str, address: str, now: int) -> bool:
        """Whether nothing is forgiven to who says at ``address`` to be ``user``."""
        if self._most - now <= BEARABLE or self._owes[_account(user)] - now <= BEARABLE:
            return False
        proven = self._proven.get((source_of(address), user))
        return proven is None or now - proven >= PROVEN_FOR

    def waits(self, address: str, now: int) -> bool:
        """Whether ``address`` gave a wrong password where none is forgiven, and its time is not over."""
        wait = self._waits.get(source_of(address))
        return wait is not None and now < wait.until

    def guessed(self, user: str, address: str, now: int, *, blind: bool = False) -> bool:
        """``address`` had a wrong password for ``user``; True if it is since this guess that none is forgiven.

        ``blind``: it was in answer to no challenge of ours, so that it may have come from anywhere.
        """
        account = _account(user)
        before = max(self._owes[account], now)
        after = self._owes[account] = min(before + EACH, now + MOST_OWED)
        self._most = max(self._most, after)
        if after - now <= BEARABLE:
            return False
        if not blind:
            self._let_wait(address, now)
        return before - now <= BEARABLE

    def _let_wait(self, address: str, now: int) -> None:
        waits, source = self._waits, source_of(address)
        wait = waits.pop(source, None)
        times = wait.times if wait is not None and now - wait.until < FORGOTTEN else 0
        if len(waits) >= MAX_WAITS:
            waits.popitem(last=False)
        waits[source] = _Wait(now + min(FIRST_WAIT << min(times, 16), LONGEST_WAIT), times + 1)

    def proved(self, user: str, address: str, now: int) -> None:
        """``address`` had the right password for ``user``."""
        proven, key = self._proven, (source_of(address), user)
        if key in proven:
            proven.move_to_end(key)
        elif len(proven) >= MAX_PROVEN:
            proven.popitem(last=False)
        proven[key] = now


def _account(user: str) -> int:
    return crc32(user.encode("utf-8", "surrogatepass")) % ACCOUNTS
