"""The calls of the gateway: how they begin and end, and what each asks of the rest (``gateway.call_states.Switch``).

Sans I/O. The wires that calls come and go over are ``switch.py``'s.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from gateway.call import Call, Purpose
from gateway.call_survival import CallState, revived
from gateway.call_voice import VoicedCall
from gateway.cause import Cause
from gateway.core import SECOND, TimerQueue
from gateway.leg import Leg, Listener, NotOffered, Offered, Setup
from gateway.media.api import Media, Tone
from gateway.media.tones import HOLD_TONE
from gateway.prepared import Prepared
from gateway.routing.dialplan import Destination, LegDestination, Route, Routing
from gateway.routing.failover import goes_on
from gateway.ways import Ways

log = logging.getLogger(__name__)

MAX_CALLS = 1000
ENGINE_WAIT = 10 * SECOND
"""How long calls wait for a media engine that went away; without one they have no voice and are ended."""


class CallEnded(msgspec.Struct, frozen=True):
    """``call`` is over; it is to be written to the call records."""

    call: Call
    now: int


@dataclass(frozen=True, slots=True)
class CallRefused:
    """A call came in that could not even be offered to the dial plan; it is to be written to the call records too."""

    identity: str
    refused: NotOffered
    now: int


class Switchboard:
    """All calls that stand. Whoever makes one sets ``_ways``, and has the timers run and the calls that ended told."""

    _ways: Ways

    def __init__(self, fresh: Prepared, media: Media, rng: random.Random, *, max_calls: int) -> None:
        self.calls: dict[str, Call] = {}
        self.touched: dict[str, None] = {}
        """Calls that are other than they were kept (``gateway.survival``); whoever keeps them empties it."""
        self._media = media
        self._put_in_force(fresh)
        self._closed: frozenset[str] = frozenset()
        # The timers of the calls, and by its name the next moment at which to look after a trunk.
        self._timers: TimerQueue[tuple[str, Purpose] | str] = TimerQueue()
        # Before this nothing of them is due; where a timer was stopped, later neither: looking again once is cheaper.
        self._due: int | None = None
        self._watched: dict[int, Call] = {}
        self._max_calls = max_calls
        self._closing = False
        self._engine_up = False
        self._engine_deadline: int | None = None
        # Calls that had voice when the engine went away.
        self._voiceless: list[Call] = []
        self._ended: deque[CallEnded | CallRefused] = deque()
        self._serial = 0
        # Calls of one start of the daemon are told from those of another without a clock.
        self._epoch = f"{rng.getrandbits(32):08x}"
        self._now = 0

    def _put_in_force(self, fresh: Prepared) -> None:
        self.configuration = fresh.configuration
        self.dial_plan = fresh.dial_plan
        self._rules = fresh.rules
        self._caller_ids = fresh.caller_ids
        self._tones = fresh.tones
        self._music = fresh.music
        self._phones = fresh.phones

    # -- their beginning and end --

    def _left_by(self, name: str) -> int:
        """How many calls the trunk or phone ``name`` has sent on that go on without anybody at the branch."""
        return sum(call.left_by(name, self._phones) for call in self.calls.values())

    def _new_identity(self) -> str:
        self._serial += 1
        return f"{self._epoch}-{self._serial}"

    def _not_offered(self, refused: NotOffered, now: int) -> None:
        self._ended.append(CallRefused(self._new_identity(), refused, now))

    def _offered(self, leg: Leg, offered: Offered, now: int) -> Listener | None:
        if offered.replaces is not None:
            return self._replacing(leg, offered, offered.replaces, now)
        offered = self._caller_ids.applied(offered)
        identity = self._new_identity()
        call = Call(identity, self, leg, offered, now)
        full = len(self.calls) >= self._max_calls
        self.calls[identity] = call
        barred = full or offered.source in self._closed
        if self._closing or (barred and not self._leads_to_help(offered.context, offered.setup.called.digits)):
            if full:
                log.error("more than %d calls: one from %s is refused", self._max_calls, offered.source)
            call.hang_up(now, Cause.SWITCHING_EQUIPMENT_CONGESTION, "gateway")
        else:
            call.begin(now)
        return call

    def _leads_to_help(self, context: str, number: str) -> bool:
        """Whether ``number`` is an emergency call in ``context``."""
        routing = self.dial_plan.route(context, number)
        return isinstance(routing, Route) and routing.emergency

    def _replacing(self, leg: Leg, offered: Offered, replaced: Leg, now: int) -> Listener | None:
        """``leg`` is no call of its own but asks for a place in a standing one; None if it cannot have it any more."""
        call = replaced.listener
        if not isinstance(call, Call) or self._closing or not call.take_place(replaced, leg, offered, now):
            return None
        return call

    def offer(self, leg: Leg, offered: Offered, now: int) -> str:
        """Take a call that the owner itself begins on ``leg``; its identity."""
        self._now = now
        call = self._offered(leg, offered, now)
        return call.identity if isinstance(call, Call) else ""

    def hang_up(self, identity: str, now: int) -> bool:
        """End a call; False if there is none of that identity."""
        self._now = now
        call = self.calls.get(identity)
        if call is None:
            return False
        call.hang_up(now)
        return True

    def _end_all(self, now: int) -> None:
        """End all calls, and refuse new ones from now on."""
        self._closing = True
        for call in tuple(self.calls.values()):
            call.hang_up(now, Cause.TEMPORARY_FAILURE, "gateway")

    def abandon(self, identity: str, now: int) -> None:
        """Give up waiting for the legs of a call that is being released, if it is still there."""
        self._now = now
        call = self.calls.get(identity)
        if call is not None:
            call.abandon(now)

    def abandon_calls(self, now: int) -> None:
        """Give up waiting for the legs of calls that are being released, so that each call has its record."""
        self._now = now
        for call in tuple(self.calls.values()):
            call.abandon(now)

    # -- a media engine that goes away --

    @property
    def engine_up(self) -> bool:
        """True while the media engine answers."""
        return self._engine_up

    def _engine_lost(self, now: int) -> None:
        self._engine_up = False
        known = {call.identity for call in self._voiceless}
        self._voiceless += [call for call in self.calls.values() if call.has_voice and call.identity not in known]
        self._engine_deadline = now + ENGINE_WAIT
        self._note_due(self._engine_deadline)
        log.error("the media engine is gone: %d calls have no voice until it is back", len(self._voiceless))

    def _engine_ready(self, fresh: bool, now: int) -> None:
        log.info("the media engine answers%s", "" if fresh else ", with streams of before")
        self._engine_up = True
        self._engine_deadline = None
        if fresh:
            self._end_voiceless(now)
        self._voiceless.clear()

    def _end_voiceless(self, now: int) -> None:
        """Nobody is left in a call that cannot be heard."""
        for call in self._voiceless:
            if call.identity in self.calls:
                call.lose_voice(now)
        self._voiceless.clear()

    def _note_due(self, at: int) -> None:
        if self._due is None or at < self._due:
            self._due = at

    # -- for the program after this one, and from the one before (gateway.survival.Heir) --

    def touch(self, call: VoicedCall) -> None:
        """``call`` is other than it was."""
        self.touched[call.identity] = None

    def _leg_changed(self, leg: Leg) -> None:
        call = leg.listener
        if isinstance(call, Call):
            self.touched[call.identity] = None

    def adopt(self, state: CallState, incoming: Leg, outgoing: Leg, now: int) -> Call:
        """A call of the program before this one goes on."""
        self._now = now
        call = self.calls[state.identity] = revived(state, self, incoming, outgoing, now)
        self.touch(call)
        return call

    # -- what holds for them --

    def explain(self, context: str, called: str) -> list[str]:
        """How the dial plan would route ``called``, a step a line."""
        return self.dial_plan.explain(context, called)

    def is_phone(self, name: str) -> bool:
        """Whether the peer of that name is a phone."""
        return name in self._phones

    def close_parts(self, names: frozenset[str]) -> None:
        """Let no call begin over the spans, trunks and phones of ``names``, and over all others again."""
        self._closed = self._ways.closed = names

    # -- what a Call asks (gateway.call.Switch) --

    @property
    def media(self) -> Media:
        """The media engine."""
        return self._media

    def route(self, context: str, setup: Setup) -> Routing:
        """Ask the dial plan."""
        caller = setup.caller.number
        return self.dial_plan.route(
            context, setup.called.digits, caller.digits if caller else "", setup.facts, setup.complete
        )

    def continues(self, cause: Cause) -> bool:
        """Whether the next destination is tried after ``cause``."""
        return goes_on(cause, self._rules)

    def ordered(self, destinations: Sequence[Destination]) -> Sequence[Destination]:
        """``destinations`` with peers that went silent after the others."""
        return self._ways.ordered(destinations, self._now)

    def open_leg(self, destination: LegDestination, now: int, *, emergency: bool = False) -> Leg | Cause:
        """A fresh outgoing leg, or why there can be none."""
        return self._ways.open_leg(destination, now, emergency=emergency)

    def lacking(self, destination: LegDestination, wanted: frozenset[str]) -> frozenset[str]:
        """Which of the facts ``wanted`` the hop to ``destination`` cannot have."""
        return self._ways.lacking(destination, wanted)

    def ringback(self) -> Tone:
        """Ringing tone of the gateway's country."""
        return self._tones.ringback

    @property
    def directrtpsetup(self) -> bool:
        """What ``[sip] directrtpsetup`` says."""
        return self.configuration.sip.directrtpsetup

    def music_on_hold(self) -> Tone | str | None:
        """What ``[media] musiconhold`` says."""
        return self._music

    def hold_tone(self) -> Tone:
        """The tone of those on hold."""
        return HOLD_TONE

    def failure_tone(self, cause: Cause) -> Tone | None:
        """The tone that the configuration's ``[[cause]]`` sets for ``cause``, if any."""
        name = self._rules.tone.get(cause)
        return None if name is None else self._tones.named(name)

    def start_timer(self, call: VoicedCall, purpose: Purpose, deadline: int) -> None:
        """(Re)start one of the call's timers."""
        self._timers.start((call.identity, purpose), deadline)
        self._note_due(deadline)

    def stop_timer(self, call: VoicedCall, purpose: Purpose) -> None:
        """Stop one of the call's timers."""
        self._timers.stop((call.identity, purpose))

    def watch(self, stream: int, call: Call) -> None:
        """Send the media events of ``stream`` to ``call``."""
        self._watched[stream] = call

    def unwatch(self, stream: int) -> None:
        """No more media events of ``stream``."""
        self._watched.pop(stream, None)

    def ended(self, call: Call, now: int) -> None:
        """The call is over."""
        self.calls.pop(call.identity, None)
        self.touched[call.identity] = None
        self._ended.append(CallEnded(call, now))


__all__ = ["CallEnded", "CallRefused", "Switchboard"]
