"""``qualify``: POKE tells whether a far end can be had, and how long its answer takes (RFC 5456 6.7.1).

A POKE needs no session: one frame with a call number of ours, that is repeated until a PONG bears its time stamp.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Protocol

from gateway.core import MILLISECOND, SECOND
from gateway.voip.iax.frame import Command, FrameType, FullFrame, parse_full
from gateway.voip.iax.host import Path, Timed
from gateway.voip.iax.timers import IaxTimer
from gateway.voip.reach import Reach, Reachability

log = logging.getLogger(__name__)

_ASK = IaxTimer.QUALIFY_FIRST
_REPEAT = IaxTimer.RETRANSMIT
_ANSWER = IaxTimer.QUALIFY_UNREACHABLE
LEAST_WAIT = 4
"""An answer is waited for as long as so many first retransmissions take, and twice as long as it may take."""


class Surroundings(Protocol):
    """What a watch needs of where it lives."""

    rng: random.Random
    durations: dict[IaxTimer, int]

    def transmit(self, path: Path, data: bytes) -> None:
        """Send one datagram."""

    def start(self, owner: Timed, timer: IaxTimer, at: int) -> None:
        """Let ``owner.expire(timer)`` be called at ``at``."""

    def stop(self, owner: Timed, timer: IaxTimer) -> None:
        """Do not."""

    def listen(self, path: Path, hears: Callable[[bytes, Path, int], None], now: int) -> int | None:
        """A call number of ours; what comes for it is told to ``hears``. None if there is none left."""

    def unlisten(self, number: int, now: int) -> None:
        """The call number is not needed any more."""


class Watch(Reachability):
    """One far end. ``way`` says where it is; ``changed`` is told each change of ``state``.

    ``late`` and ``frequency`` are in microseconds. ``failed`` is called where it said nothing at an address.
    """

    def __init__(
        self,
        where: Surroundings,
        name: str,
        way: Callable[[int], Path | None],
        late: int,
        frequency: int,
        changed: Callable[[Watch, int], None],
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name, late, log)
        self._where = where
        self._way = way
        self._frequency = frequency
        self._changed = changed
        self._failed_at = failed
        self._number: int | None = None
        self._path: Path | None = None
        self._asked = 0
        self._sent = 0
        self._last_stamp = 0

    def begin(self, now: int) -> None:
        """Ask for the first time, soon: not all far ends at once."""
        most = self._where.durations[IaxTimer.QUALIFY_FIRST]
        self._ask_at(now + self._where.rng.randrange(most + 1))

    def cease(self, now: int) -> None:
        """Ask no more; nothing is known any longer."""
        self._let_go(now)
        self.next_ask = None
        self._where.stop(self, _ASK)
        if self.state is not Reach.UNKNOWN:
            self.state = Reach.UNKNOWN
            self._changed(self, now)

    def ask_soon(self, now: int) -> None:
        """Something changed: look now how it is."""
        self._let_go(now)
        self._ask_at(now)

    def heard(self, now: int) -> None:
        """The far end said something of its own accord."""
        if self.state is Reach.UNREACHABLE:
            self._set_state(Reach.REACHABLE, None, "", now)
            self._let_go(now)
            self._ask_at(now + min(SECOND, self._frequency))

    def expire(self, timer: IaxTimer, now: int) -> None:
        """It is time to ask, to ask again, or too late for an answer."""
        if timer is _ASK:
            self.next_ask = None
            self._ask(now)
        elif timer is _REPEAT:
            self._send(now)
        else:
            self._failed("no answer", now)

    def _ask_at(self, at: int) -> None:
        self.next_ask = at
        self._where.start(self, _ASK, at)

    def _ask(self, now: int) -> None:
        path = self._way(now)
        if path is None:
            self._failed("nobody knows where it is", now)
            return
        number = self._where.listen(path, self._hear, now)
        if number is None:
            # No fault of the far end's.
            self._ask_at(now + self._frequency)
            return
        self._number, self._path = number, path
        self._asked = now
        self._sent = 0
        self._send(now)
        wait = max(2 * self._late, LEAST_WAIT * self._where.durations[IaxTimer.RETRANSMIT])
        self._where.start(self, _ANSWER, now + wait)

    def _send(self, now: int) -> None:
        if self._number is None or self._path is None:
            return
        again = self._sent > 0
        # Each has a stamp of its own: the answer tells which one it is for.
        stamp = max((now - self._asked) // MILLISECOND, self._last_stamp + 1 if again else 0)
        self._last_stamp = stamp
        frame = FullFrame(self._number, 0, stamp, 0, 0, FrameType.IAX, Command.POKE, b"", retransmitted=again)
        self._where.transmit(self._path, bytes(frame))
        wait = self._where.durations[IaxTimer.RETRANSMIT] << self._sent
        self._sent += 1
        self._where.start(self, _REPEAT, now + wait)

    def _hear(self, data: bytes, path: Path, now: int) -> None:
        # Whoever knows the number is where the POKE went, but for an address that it is translated to.
        frame = parse_full(data)
        if self._number is None or frame.type != FrameType.IAX or path != self._path:
            return
        if frame.subclass == Command.INVAL:
            # It knows no POKE, or not us; it is there.
            self._answered(now - self._asked, now)
            return
        if frame.subclass != Command.PONG:
            return
        if frame.source > 1:
            # Who answers in a session of its own waits for this.
            ack = FullFrame(self._number, frame.source, frame.stamp, 1, 1, FrameType.IAX, Command.ACK)
            self._where.transmit(path, bytes(ack))
        elapsed = now - self._asked
        stamp = frame.stamp * MILLISECOND
        self._answered(elapsed - stamp if 0 < stamp <= elapsed else elapsed, now)

    def _answered(self, taken: int, now: int) -> None:
        self._let_go(now)
        self._answered_after(taken, now)
        self._ask_at(now + int(self._frequency * self._where.rng.uniform(0.9, 1.0)))

    def _failed(self, error: str, now: int) -> None:
        self._let_go(now)
        self._failed_at()
        self._set_state(Reach.UNREACHABLE, None, error, now)
        self._ask_at(now + min(self._where.durations[IaxTimer.QUALIFY_UNREACHABLE], self._frequency))

    def _let_go(self, now: int) -> None:
        if self._number is not None:
            self._where.unlisten(self._number, now)
            self._number = None
        self._path = None
        self._where.stop(self, _REPEAT)
        self._where.stop(self, _ANSWER)

    def _tell(self, now: int) -> None:
        self._changed(self, now)
