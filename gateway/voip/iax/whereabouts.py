"""Where a peer that has a host can be had: addresses and ports, by its SRV records (RFC 2782) where it names no port.

IANA has ``_iax._udp``. Who has no such record is at its name's addresses and the usual port (RFC 5456 9.1).
"""

from __future__ import annotations

import random
from typing import NamedTuple, Protocol

from gateway.voip.iax.peers import PeerSettings
from gateway.voip.sip.flow import SRV, Resolve, literal_address
from gateway.voip.sip.names import MAX_RECORDS, Names, Srv

SERVICE = "_iax._udp"
_LEAST_WEIGHT = 0.01
"""Of records of no weight, which are to have a very small chance (RFC 2782)."""


class Place(NamedTuple):
    """A literal address, and a port."""

    address: str
    port: int


class Directory(Protocol):
    """What is needed of where it lives."""

    names: Names
    rng: random.Random


class Whereabouts:
    """Of one peer. ``named``: it has to be looked up."""

    def __init__(self, settings: PeerSettings, directory: Directory) -> None:
        self._directory = directory
        self._port = settings.port
        self._literal = None if settings.dynamic else literal_address(settings.host)
        self.named = not settings.dynamic and self._literal is None
        self._host = settings.host.rstrip(".").lower()
        self._asks_service = settings.srv
        # What has been asked for this peer since the last answer that was another.
        self._questions: set[Resolve] = set()
        # Each record's lot, drawn once so that nobody moves without need.
        self._lots: dict[Srv, float] = {}

    def asks(self, question: Resolve) -> bool:
        """Whether where it is depends on the answer to ``question``."""
        return question in self._questions

    def places(self, now: int) -> tuple[Place, ...]:
        """Those to be tried, best first, as far as they are known; none where it registers."""
        if self._literal is not None:
            return (Place(self._literal, self._port),)
        if not self.named:
            return ()
        self._questions.clear()
        if self._asks_service:
            question = Resolve(f"{SERVICE}.{self._host}", SRV)
            self._questions.add(question)
            answer = self._directory.names.ask(question, now)
            if answer is None:
                # Nobody is called at the wrong place meanwhile.
                return ()
            records = [record for record in answer.records[:MAX_RECORDS] if isinstance(record, Srv)]
            if records:
                return self._served(records, now)
        return self._at(self._host, self._port, now)

    def _served(self, records: list[Srv], now: int) -> tuple[Place, ...]:
        """By priority, and among equals by chance as their weights have it; a target of "" is decidedly none."""
        lots = {record: self._lots.get(record) or self._draw(record) for record in records}
        self._lots = lots
        found = [
            place
            for record in sorted(records, key=lambda record: (record.priority, -lots[record]))
            if record.target
            for place in self._at(record.target.rstrip(".").lower(), record.port, now)
        ]
        return tuple(dict.fromkeys(found))

    def _draw(self, record: Srv) -> float:
        exponent: float = 1 / max(record.weight, _LEAST_WEIGHT)
        return float(self._directory.rng.random() ** exponent)

    def _at(self, host: str, port: int, now: int) -> tuple[Place, ...]:
        literal = literal_address(host)
        if literal is not None:
            return (Place(literal, port),)
        question = Resolve(host)
        self._questions.add(question)
        answer = self._directory.names.ask(question, now)
        if answer is None:
            return ()
        return tuple([Place(record, port) for record in answer.records if isinstance(record, str)])
