"""What a leg of a PRI trunk has, its voice, and how it ends: with one Released, which waits for the last counters.

The B channel's stream is opened when the channel is agreed and closed when the call is cleared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import leg as words
from gateway.cause import Cause, Location
from gateway.identity import Party
from gateway.leg import LegEvent, Listener, Setup
from gateway.media.api import Failure, Opened, Statistics
from gateway.pri.q931.call import Q931Call
from gateway.pri.q931.ie import CauseElement

if TYPE_CHECKING:
    from gateway.pri.trunk import LegTimer, PriTrunk

# What a far end answers to the loser of a glare; the channel was taken, nothing is wrong with the call.
_GLARE_CAUSES = frozenset(
    {Cause.NO_CIRCUIT_AVAILABLE, Cause.REQUESTED_CIRCUIT_NOT_AVAILABLE, Cause.CHANNEL_UNACCEPTABLE}
)


class VoicedLeg:
    """A leg as far as it can be heard and ended; see ``PriLeg``."""

    rtptimeout = 0

    __slots__ = (
        "_closed",
        "_collecting",
        "_connected",
        "_counters",
        "_counting",
        "_delaying",
        "_first_digit",
        "_inband",
        "_number_ended",
        "_offer",
        "_ours",
        "_over",
        "_placed",
        "_release_cause",
        "_released",
        "_timeslot",
        "_told",
        "_trunk",
        "call",
        "incoming",
        "listener",
        "name",
        "source",
        "stream",
        "technology",
        "timing",
    )

    def __init__(self, trunk: PriTrunk, call: Q931Call, serial: int, *, incoming: bool) -> None:
        self.listener: Listener | None = None
        self.technology = "pri"
        self.source = trunk.settings.name
        self.name = f"{self.source}-{serial}"
        self.stream: int | None = None
        self.call = call
        self.incoming = incoming
        self.timing = False
        """Whether the trunk ran a timer of this leg that not every call has since it last stopped them all."""
        self._trunk = trunk
        self._timeslot = call.channel.timeslot if call.channel is not None else None
        self._closed = False
        # The call that waits for more digits before its SETUP may go out.
        self._collecting: Setup | None = None
        # The received call that waits for digits or its name before it is offered.
        self._offer: Setup | None = None
        # What the called number begins with, and whether "#" has ended it.
        self._first_digit = ""
        self._number_ended = False
        self._placed = False
        self._inband = False
        # Whether the caller's side waits for more than CALL PROCEEDING, and what it was told of the call's way.
        self._delaying = False
        self._told: tuple[int, ...] = ()
        self._connected: Party | None = None
        self._ours = False
        self._release_cause: Cause | None = None
        self._over = False
        # The engine's last counters; the end of the leg waits for them, but not for long.
        self._counting = False
        self._counters: Statistics | None = None
        self._released: words.Released | None = None

    def __repr__(self) -> str:
        return f"<PriLeg {self.name} {self.call!r}>"

    @property
    def over(self) -> bool:
        """True once Released was told, or is about to be."""
        return self._over

    @property
    def voiceless(self) -> bool:
        """True once its stream is closed: the call is being cleared."""
        return self._closed

    def tell(self, event: LegEvent) -> None:
        """Queue an event for the listener."""
        if not self._over:
            self._trunk.queue(self, event)  # type: ignore[arg-type]

    def record(self) -> dict[str, object]:
        """Technology, trunk, channel, call reference and law; once the stream is closed its counters as ``media``."""
        record: dict[str, object] = {
            "technology": "pri",
            "trunk": self.source,
            "channel": self._timeslot,
            "direction": "in" if self.incoming else "out",
            "call_reference": self.call.reference.value,
            "codec": "alaw" if self._trunk.line3.law else "ulaw",
        }
        if self._counters is not None:
            record["media"] = self._counters.by_name()
        return record

    # -- for the program after this one --

    @property
    def inband(self) -> bool:
        """Whether the far end said that there is something to hear."""
        return self._inband

    def stand(self, stream: int, *, inband: bool) -> None:
        """It was answered before this program began; ``stream`` is its voice."""
        self.stream = stream
        self._placed = True
        self._inband = inband

    # -- the end --

    def release(self, cause: Cause, now: int, text: str = "") -> None:  # noqa: ARG002 - Q.931 carries no text
        """Clear the call; Released follows when the far end has agreed, or its timers have run out."""
        if self._ours or self._over:
            return
        self._ours = True
        self._release_cause = cause
        self._trunk.enter(now)
        self._trunk.stop_leg_timers(self)
        self._end_delay()
        self._close()
        self.call.clear(cause)

    def _end_delay(self) -> None:
        if self._delaying:
            self._delaying = False
            self._trunk.stop_leg_timer(self, self._trunk.timer_kinds.DELAY)

    def _finish(self, element: CauseElement | None) -> None:
        if self._over:
            return
        self._trunk.stop_leg_timers(self)
        self._end_delay()
        self._close()
        cause = element.cause if element is not None else Cause.NORMAL_UNSPECIFIED
        location = element.location if element is not None else Location.PRIVATE_LOCAL
        if self._release_cause is not None:
            cause = self._release_cause
        elif self.call.yielded and cause in _GLARE_CAUSES:
            cause = Cause.REQUESTED_CIRCUIT_NOT_AVAILABLE
        self._over = True
        timer = self.call.ended_by
        self._released = words.Released(cause, location, self._ours, "", timer.name if timer is not None else "")
        if self._counting:
            self._trunk.start_leg_timer(self, self._trunk.timer_kinds.COUNTERS, self._trunk.q931.now)
        else:
            self._report()

    def _report(self) -> None:
        released, self._released = self._released, None
        if released is not None:
            self._trunk.queue(self, released)  # type: ignore[arg-type]

    def expire(self, timer: LegTimer) -> None:
        """One of this leg's timers expired."""
        kinds = self._trunk.timer_kinds
        if timer is kinds.HOLD:
            self.call.clear(Cause.NORMAL_CALL_CLEARING)
        elif timer is kinds.COUNTERS:
            self._report()

    # -- voice --

    def _open(self) -> None:
        channel = self.call.channel
        if self.stream is not None or self._closed or channel is None:
            return
        trunk = self._trunk
        self._timeslot = channel.timeslot
        self.stream = trunk.media.open_tdm(
            trunk.settings.channel_path(channel.timeslot),
            trunk.line3.law,
            self.name,
            self._opened,
            listen=trunk.settings.listen,
        )
        self.tell(words.MediaChanged(self.stream))

    def _opened(self, reply: Opened | Failure) -> None:
        if isinstance(reply, Failure) and not self._closed:
            self._trunk.media_failed(self, reply)

    def _close(self) -> None:
        """End the stream. ``stream`` keeps its number for whoever still has to let go of it."""
        if not self._closed:
            self._closed = True
            if self.stream is not None:
                self._counting = True
                self._trunk.media.close(self.stream, self._counted)

    def _counted(self, reply: Statistics | Failure) -> None:
        self._counting = False
        if isinstance(reply, Statistics):
            self._counters = reply
        if self._released is not None:
            self._trunk.stop_leg_timer(self, self._trunk.timer_kinds.COUNTERS)
            self._report()

    def fail_media(self) -> None:
        """The B channel cannot be had: without voice there is no call."""
        if not self._over and not self._ours:
            self.call.clear(Cause.TEMPORARY_FAILURE, tell=Cause.TEMPORARY_FAILURE)
