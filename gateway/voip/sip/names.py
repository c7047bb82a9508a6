"""Answers of the DNS, kept for as long as they are good: NAPTR (RFC 3403), SRV (RFC 2782), A and AAAA. Sans-I/O.

Negative answers are kept too (RFC 2308). While the DNS itself fails, what was known last goes on being used (RFC 8767).
"""

from __future__ import annotations

from collections import deque

import msgspec

from gateway.core import SECOND
from gateway.voip.sip.flow import Resolve

MAX_NAMES = 4096
"""Questions whose answers are kept; beyond it those that are no longer good go, then the oldest."""
MAX_RECORDS = 32
"""Records of one answer that are looked at."""
LEAST_TTL = 5 * SECOND
"""Shorter ones, and 0, are as this: a call after the other must not mean a question after the other."""
MOST_TTL = 86_400 * SECOND
MOST_NEGATIVE_TTL = 300 * SECOND
"""RFC 2308 5 allows hours; a trunk that was just set up should not wait for them."""
USUAL_TTL = 300 * SECOND
"""Where the answer came without one."""
ANSWER_WITHIN = 15 * SECOND
"""A question nobody has answered by then may be asked again."""
FIRST_RETRY = 2 * SECOND
LAST_RETRY = 60 * SECOND
"""How long to wait after a failure of the DNS, doubling from the first to the last."""


class Srv(msgspec.Struct, frozen=True, order=True):
    """One SRV record; a ``target`` of "" says that there is decidedly no such service (RFC 2782: a lone dot)."""

    priority: int
    weight: int
    port: int
    target: str


class Naptr(msgspec.Struct, frozen=True, order=True):
    """One NAPTR record as RFC 3263 4.1 uses it; ``flags`` and ``service`` in upper case, ``replacement`` a name."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


Record = str | Srv | Naptr


class Answer(msgspec.Struct, frozen=True):
    """What a name has: ``records`` (none: it has none), good for ``ttl`` microseconds. ``failed``: nobody knows."""

    records: tuple[Record, ...] = ()
    ttl: int = USUAL_TTL
    failed: bool = False


FAILED = Answer(failed=True)


class _Entry:
    __slots__ = ("answer", "asked", "failures", "good_until")

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.good_until = 0
        self.asked: int | None = None
        self.failures = 0


class Names:
    """The answers by question. Questions come out of ``poll``; ``answered`` takes what came of them."""

    def __init__(self) -> None:
        self._entries: dict[Resolve, _Entry] = {}
        self._out: deque[Resolve] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def ask(self, question: Resolve, now: int) -> Answer | None:
        """The answer as far as it is known, None if it is not; asks where that is missing or no longer good."""
        entry = self._entries.get(question)
        if entry is None:
            self._make_room(now)
            entry = self._entries[question] = _Entry()
        if entry.good_until <= now and (entry.asked is None or now - entry.asked >= ANSWER_WITHIN):
            entry.asked = now
            self._out.append(question)
        if entry.answer is None and entry.failures:
            # There are DNS proxies that know no SRV: what is asked next need not wait for one that does.
            return FAILED
        return entry.answer

    def good_until(self, question: Resolve, now: int) -> int:
        """When ``question`` is to be asked again (microseconds)."""
        entry = self._entries.get(question)
        if entry is None:
            return now
        if entry.asked is not None:
            return entry.asked + ANSWER_WITHIN
        return entry.good_until

    def answered(self, question: Resolve, answer: Answer, now: int) -> None:
        """The DNS answered, or failed to."""
        entry = self._entries.get(question)
        if entry is None:
            entry = self._entries[question] = _Entry()
        entry.asked = None
        if answer.failed:
            entry.failures += 1
            entry.good_until = now + min(FIRST_RETRY << min(entry.failures - 1, 8), LAST_RETRY)
            return
        entry.failures = 0
        most = MOST_TTL if answer.records else MOST_NEGATIVE_TTL
        entry.answer = answer
        entry.good_until = now + min(max(answer.ttl, LEAST_TTL), most)

    def forget(self, now: int) -> None:
        """We are in another network: whatever is known is asked for again when it is next wanted."""
        for entry in self._entries.values():
            entry.good_until = min(entry.good_until, now)
            entry.asked = None

    def poll(self) -> Resolve | None:
        """The next question for the DNS, or None."""
        return self._out.popleft() if self._out else None

    def _make_room(self, now: int) -> None:
        entries = self._entries
        if len(entries) < MAX_NAMES:
            return
        for question in [each for each, entry in entries.items() if entry.good_until <= now and entry.asked is None]:
            del entries[question]
        while len(entries) >= MAX_NAMES:
            del entries[next(iter(entries))]
