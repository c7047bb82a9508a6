"""One PRI trunk, sans-I/O: data link, Q.931, B channels and their voice, layer-1 alarms; its calls are legs.

The owner hands in D-channel frames, alarms and time and drains ``poll()``, in which listeners hear their legs' events.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from gateway.cause import Cause
from gateway.core import SECOND, TimerQueue
from gateway.leg import Leg, LegEvent, Listener, NotOffered, Offered, OnNotOffered
from gateway.media.api import Failure, Media
from gateway.pri.channels import BChannel, BChannelTable, Block, Hunt
from gateway.pri.lapd import Data, Established, Lapd, MdlError, Released, Transmit
from gateway.pri.leg import PriLeg
from gateway.pri.leg_voice import VoicedLeg
from gateway.pri.q931.call import Q931Call
from gateway.pri.q931.link import Q931Link, Trace
from gateway.pri.q931.primitives import (
    CallIndication,
    MaintenanceIndication,
    Primitive,
    RefusedIndication,
    RestartIndication,
    SendData,
)
from gateway.pri.q931.states import CLEARING
from gateway.pri.q931.timers import timer_values
from gateway.pri.q931.variant import Line3
from gateway.pri.settings import Numbering, PriSettings
from gateway.pri.span.layer1 import Alarm

__all__ = [
    "ChannelFreed",
    "LegTimer",
    "LinkDown",
    "LinkUp",
    "Maintenance",
    "Numbering",
    "PriSettings",
    "PriTrunk",
    "TrunkOutput",
]

log = logging.getLogger(__name__)

SAME_SIDE_FRAMES = 3
"""Frames of the wrong side without a data link, after which the operator hears of it (own): one may be noise."""

COUNTERS_WAIT = SECOND
"""How long the end of a leg waits for the last counters of its stream (own; SIP's ``statistics`` is the same)."""

ERROR_PAUSE = SECOND
"""Time between two errors of the data link that are told (own): a looped line has one with every frame."""

OnOffer = Callable[[Leg, Offered, int], Listener | None]


class LegTimer(IntEnum):
    """What a trunk's own timer is for; none of them is Q.931's."""

    INTERDIGIT = 1
    NAME = 2
    HOLD = 3
    AUDIT = 4
    COUNTERS = 5
    DELAY = 6


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The D channel works: for the first time, again, or ``reset`` without having been down."""

    trunk: str
    reset: bool


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The D channel does not work; ``alarm`` says whether layer 1 is why."""

    trunk: str
    alarm: Alarm


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Something a person should know about these timeslots."""

    trunk: str
    text: str
    timeslots: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ChannelFreed:
    """An audit found a channel held or blocked for no reason and mended it."""

    trunk: str
    timeslot: int
    text: str


TrunkOutput = Transmit | LinkUp | LinkDown | Maintenance | ChannelFreed | MdlError


class PriTrunk:
    """A trunk. It comes to life with the first ``line_state`` without an alarm."""

    def __init__(
        self,
        settings: PriSettings,
        media: Media,
        rng: random.Random,
        on_offer: OnOffer,
        wake: Callable[[], object] = lambda: None,
        on_not_offered: OnNotOffered | None = None,
    ) -> None:
        """``on_offer`` gets every call that comes in and returns its listener; None refuses it with cause 42.

        ``wake`` is called whenever ``poll`` or ``next_timer`` may have something new to say, also from inside ``poll``:
        an owner of many trunks need not ask them all. ``on_not_offered`` hears of calls refused before they could be
        offered (no channel, a fault in SETUP). ValueError for a switch type or a timer that is not possible.
        """
        self.settings = settings
        self.media = media
        self.variant = settings.variant()
        self.line3 = Line3(settings.side, settings.companding, settings.bearer, settings.send_name)
        self.timer_kinds = LegTimer
        self.neutral_numbering = settings.numbering.neutral
        self.alarm = Alarm.RED
        self.channels = BChannelTable(settings.line, settings.name, timeslots=settings.timeslots)
        self.channels.block(Block.LAYER1)
        self.lapd = Lapd(settings.side, timers=settings.lapd_timers, name=settings.name)
        self.q931 = Q931Link(
            settings.side,
            self.variant,
            self.channels,
            rng,
            name=settings.name,
            timers=settings.q931_timers,
            answer_hunt=settings.answer_hunt,
            hold_inband=settings.inband_on_disconnect,
        )
        self.patience = settings.patience
        """Microseconds after which the PROGRESS that ``PriSettings.progress_after`` speaks of goes out."""
        self.legs: dict[Q931Call, PriLeg] = {}
        self.failed_legs: deque[VoicedLeg] = deque()
        """Legs without voice, which ``handle_timer`` ends: it is due as long as there are any."""
        self.shortest_timer = self._shortest()
        """Microseconds that every timer begun from now on runs at least: ``next_timer`` changes for nothing sooner."""
        self._on_offer = on_offer
        self._wake = wake
        self._on_not_offered = on_not_offered
        self._timers: TimerQueue[tuple[VoicedLeg | None, LegTimer]] = TimerQueue()
        self._events: deque[tuple[PriLeg, LegEvent]] = deque()
        self._outputs: deque[TrunkOutput] = deque()
        self._suspects: set[tuple[int, int]] = set()
        self._serial = 0
        self._now = 0
        self._wanted = False
        # Frames of the wrong side when the link was last up, or None once the operator was told.
        self._wrong_side: int | None = 0
        # When the next error of the data link may be told, and how many were not.
        self._next_error = 0
        self._untold_errors = 0

    def _shortest(self) -> int:
        settings = self.settings
        lengths = (settings.interdigit, settings.name_wait, settings.inband_hold, self.patience)
        return min(
            *self.lapd.durations,
            *self.q931.durations.values(),
            *(length for length in lengths if length),
            settings.audit,
            COUNTERS_WAIT,
        )

    def take_up(self, settings: PriSettings) -> None:
        """Let ``settings`` hold for calls from now on.

        Name, line, side, switch type, law, timeslots and timers of the data link must be as they were.
        """
        self.settings = settings
        self.neutral_numbering = settings.numbering.neutral
        self.patience = settings.patience
        side = settings.side
        self.q931.durations.update(timer_values(side, self.variant.timers[side], settings.q931_timers))
        self.shortest_timer = self._shortest()

    # -- state --

    @property
    def name(self) -> str:
        """The trunk's name."""
        return self.settings.name

    @property
    def up(self) -> bool:
        """True while calls can be made and taken."""
        return self.q931.up

    def take_calls(self, on_offer: OnOffer) -> None:
        """Let ``on_offer`` have the calls that come in from now on."""
        self._on_offer = on_offer

    def trace(self, trace: Trace | None) -> None:
        """Let ``trace`` hear every Q.931 message (True: sent)."""
        self.q931.trace = trace

    # -- what the owner calls --

    def receive_frame(self, frame: bytes, now: int) -> None:
        """A frame came in on the D channel, address to information field."""
        self._now = now
        self.lapd.receive(frame, now)
        self._wake()

    def line_state(self, alarm: Alarm, now: int) -> None:
        """Layer 1 changed. Calls outlive an alarm by T309 (Q.931 5.8.9); after it everything comes back by itself."""
        self.enter(now)
        if alarm is self.alarm and self._wanted:
            return
        self.alarm = alarm
        if not alarm.usable:
            self.channels.block(Block.LAYER1)
            self.lapd.deactivate(now)
            return
        self.lapd.activate(now)
        if not self._wanted:
            self._wanted = True
            self.lapd.establish(now)
            self._timers.start((None, LegTimer.AUDIT), now + self.settings.audit)

    def handle_timer(self, now: int) -> None:
        """Let expire what is due, in the link, the calls and the trunk."""
        self.enter(now)
        at = self.lapd.next_timer()
        if at is not None and at <= now:
            self.lapd.handle_timer(now)
        at = self.q931.timers.next_timer()
        if at is not None and at <= now:
            self.q931.handle_timer(now)
        for leg, timer in self._timers.expired(now):
            if leg is not None:
                leg.expire(timer)
            else:
                self._audit(now)
        while self.failed_legs:
            self.failed_legs.popleft().fail_media()

    def next_timer(self) -> int | None:
        """The earliest deadline, or None."""
        if self.failed_legs:
            return self._now
        earliest = self.lapd.next_timer()
        for at in (self.q931.timers.next_timer(), self._timers.next_timer()):
            if at is not None and (earliest is None or at < earliest):
                earliest = at
        return earliest

    def poll(self) -> TrunkOutput | None:
        """The next frame to send or thing to tell; None when drained. Listeners are called from here, and only here."""
        q931, lapd, events = self.q931, self.lapd, self._events
        while True:
            # The listeners first: what they answer takes the acknowledgement along (Lapd.poll).
            if q931.outputs:
                self._drain_q931()
            if events:
                leg, event = events.popleft()
                self._deliver(leg, event)
                continue
            output = lapd.poll()
            if output is None:
                return self._outputs.popleft() if self._outputs else None
            if isinstance(output, Transmit):
                return output
            if isinstance(output, Data):
                q931.receive(output.data, self._now)
            elif isinstance(output, Established):
                self._link_established()
            elif isinstance(output, Released):
                self._link_released()
            else:
                self._judge_side()
                if self._now >= self._next_error:
                    return self._told(output)
                self._untold_errors += 1

    # -- calls --

    def new_leg(self, hunt: Hunt | None, now: int, channel: BChannel | None = None) -> PriLeg | Cause:
        """A leg for an outgoing call, on a channel found by ``hunt`` (None: the trunk's own) or seized by the caller.

        A Cause says why there can be none: 38 (no D channel), 34 (no channel), 42 (too many calls).
        """
        self.enter(now)
        call = self.q931.new_call(hunt or self.settings.hunt, channel)
        if isinstance(call, Cause):
            return call
        return self._new_leg(call, incoming=False)

    def _new_leg(self, call: Q931Call, *, incoming: bool) -> PriLeg:
        return self.revive_leg(call, self._serial + 1, incoming=incoming)

    def revive_leg(self, call: Q931Call, serial: int, *, incoming: bool) -> PriLeg:
        """A leg for ``call``, which may be one that the program before this one had; ``serial`` is in its name."""
        self._serial = max(self._serial, serial)
        leg = PriLeg(self, call, serial, incoming=incoming)
        self.legs[call] = leg
        call.user = leg
        return leg

    # -- operator --

    def block(self, timeslot: int, now: int) -> None:
        """Take a channel out of service, with SERVICE where the switch type has it; a call on it goes on."""
        self.enter(now)
        self.channels.block(Block.LOCAL, timeslot)
        self.q931.services.announce(timeslot)

    def unblock(self, timeslot: int, now: int) -> None:
        """Put a channel into service again; this also forgets a block by the far end."""
        self.enter(now)
        self.channels.unblock(Block.LOCAL | Block.REMOTE, timeslot)
        self.q931.services.announce(timeslot)

    def restart(self, timeslot: int | None, now: int) -> None:
        """RESTART one channel or, with None, the interface (Q.931 5.5); its calls are lost."""
        self.enter(now)
        self.q931.restarts.request(timeslot)

    # -- for legs --

    def enter(self, now: int) -> None:
        """A command of a leg, or of the owner, begins."""
        # What waited in another core comes with the time at which it began to wait, and no timer may run from then.
        if now > self._now:
            self._now = now
        self.q931.now = self._now
        self._wake()

    def queue(self, leg: PriLeg, event: LegEvent) -> None:
        """Let the leg's listener have an event in the next ``poll``."""
        self._events.append((leg, event))
        self._wake()

    def forget(self, leg: PriLeg) -> None:
        """The leg's call has ended."""
        self.legs.pop(leg.call, None)
        leg.call.user = None

    def start_leg_timer(self, leg: VoicedLeg, timer: LegTimer, now: int) -> None:
        """(Re)start a timer of a leg, with the time the settings give it."""
        settings = self.settings
        # These two most calls have, and stop themselves.
        if timer is LegTimer.DELAY:
            length = self.patience
        elif timer is LegTimer.COUNTERS:
            length = COUNTERS_WAIT
        else:
            leg.timing = True
            if timer is LegTimer.HOLD:
                length = settings.inband_hold
            else:
                length = settings.name_wait if timer is LegTimer.NAME else settings.interdigit
        self._timers.start((leg, timer), now + length)

    def stop_leg_timer(self, leg: VoicedLeg, timer: LegTimer) -> None:
        """Stop a timer of a leg."""
        self._timers.stop((leg, timer))

    def stop_leg_timers(self, leg: VoicedLeg) -> None:
        """Stop all timers of a leg but those that it knows to run."""
        if leg.timing:
            leg.timing = False
            for timer in (LegTimer.INTERDIGIT, LegTimer.NAME, LegTimer.HOLD):
                self._timers.stop((leg, timer))

    def media_failed(self, leg: VoicedLeg, failure: Failure) -> None:
        """The engine could not open the leg's channel; the leg ends with the next ``handle_timer``, which is due."""
        self.note(f"{leg.name}: no voice on its channel: {failure.text}")
        self.failed_legs.append(leg)

    def note(self, text: str) -> None:
        """Tell the operator something."""
        log.warning("%s: %s", self.name, text)
        self._outputs.append(Maintenance(self.name, text))
        self._wake()

    # -- inside --

    def _drain_q931(self) -> None:
        outputs = self.q931.outputs
        while outputs:
            output = outputs.popleft()
            if isinstance(output, SendData):
                if not self.lapd.send(output.data, self._now):
                    # It went down a moment ago, which Released is about to say.
                    log.info("%s: the data link refused a message", self.name)
            elif isinstance(output, CallIndication):
                leg = self.legs.get(output.call)
                if leg is not None:
                    leg.on_indication(output)
                elif output.primitive is Primitive.SETUP and not output.call.released:
                    self._new_leg(output.call, incoming=True).on_indication(output)
            elif isinstance(output, RestartIndication):
                log.info("%s: the far end restarted channels %s", self.name, output.timeslots)
                self.q931.restarts.completed()
            elif isinstance(output, MaintenanceIndication):
                self._outputs.append(Maintenance(self.name, output.text, output.timeslots))
            elif isinstance(output, RefusedIndication):
                self._refused(output)
            # EstablishLink: Lapd tries again by itself as long as the link is wanted.

    def _refused(self, refused: RefusedIndication) -> None:
        log.info("%s: a call is refused with cause %d", self.name, refused.cause)
        if self._on_not_offered is None:
            return
        settings = self.settings
        setup = self.variant.read_setup(refused.message, complete=True)
        if not self.neutral_numbering:
            setup = settings.numbering.received(setup)
        text = f"SETUP refused: {refused.cause.name.lower().replace('_', ' ')}"
        self._on_not_offered(NotOffered(setup, settings.context, settings.name, "pri", refused.cause, text), self._now)

    def _deliver(self, leg: PriLeg, event: LegEvent) -> None:
        if isinstance(event, Offered):
            if leg.over:
                return
            leg.listener = self._on_offer(leg, event, self._now) or leg.listener
            if leg.listener is None:
                leg.release(Cause.SWITCHING_EQUIPMENT_CONGESTION, self._now)
            leg.offered()
        elif leg.listener is not None:
            leg.listener.on_leg(leg, event, self._now)

    def _link_established(self) -> None:
        reset = self.q931.up
        self._wrong_side = self.lapd.statistics.wrong_side
        if self.alarm.usable:
            self.channels.unblock(Block.LAYER1)
        if not reset:
            # What the far end had blocked it tells again, or it refuses; we must not remember it for ever.
            self.channels.unblock(Block.REMOTE)
        self.q931.link_established(self._now)
        self._outputs.append(LinkUp(self.name, reset))

    def _judge_side(self) -> None:
        """Tell once why no link comes up, if all that comes in is what only our own side sends."""
        before = self._wrong_side
        if before is None or self.up or self.lapd.statistics.wrong_side - before < SAME_SIDE_FRAMES:
            return
        self._wrong_side = None
        side = self.settings.side.value
        self.note(f"no data link: both ends play the {side} side, or the line is looped")

    def _told(self, error: MdlError) -> MdlError:
        """``error`` with how many were not told before it; the link's statistics have them all."""
        self._next_error = self._now + ERROR_PAUSE
        untold, self._untold_errors = self._untold_errors, 0
        return MdlError(error.code, f"{error.text} ({untold} others before it)") if untold else error

    def _link_released(self) -> None:
        if self.q931.up:
            self.q931.link_released(self._now)
            self.channels.block(Block.LAYER1)
            self._outputs.append(LinkDown(self.name, self.alarm))

    # -- audit --

    def _audit(self, now: int) -> None:
        """Mend what should never be: channels held or blocked for no reason, calls that nobody hears."""
        # A call that a timer ended a moment ago is no fault: its leg has yet to hear of it.
        self._drain_q931()
        suspects = set()
        for channel in self.channels:
            owner = channel.owner
            if isinstance(owner, Q931Call):
                if owner.released or owner.channel is not channel:
                    channel.owner = None
                    self._freed(channel, f"held by {owner!r}, which is over")
            elif owner is not None:
                # Somebody seized it for a call that was never made; two audits are time enough.
                suspects.add((channel.timeslot, id(owner)))
                if (channel.timeslot, id(owner)) in self._suspects:
                    channel.owner = None
                    self._freed(channel, "seized without a call")
            if Block.RESTART in channel.block and channel.timeslot not in self.q931.restarts.outstanding:
                self.channels.unblock(Block.RESTART, channel.timeslot)
                self._freed(channel, "blocked by a restart that is over")
            if Block.LAYER1 in channel.block and self.up and self.alarm.usable:
                self.channels.unblock(Block.LAYER1, channel.timeslot)
                self._freed(channel, "blocked by an alarm that is over")
        self._suspects = suspects
        for call in tuple(self.q931.calls.values()):
            if call not in self.legs and call.state not in CLEARING:
                log.error("%s: audit: %r has no leg", self.name, call)
                call.clear(Cause.TEMPORARY_FAILURE)
        for call, leg in tuple(self.legs.items()):
            if call.released:
                log.error("%s: audit: a leg has %r, which is over", self.name, call)
                leg.on_indication(CallIndication(call, Primitive.RELEASE))
        self._timers.start((None, LegTimer.AUDIT), now + self.settings.audit)

    def _freed(self, channel: BChannel, text: str) -> None:
        log.error("%s: audit: channel %d was %s", self.name, channel.timeslot, text)
        self._outputs.append(ChannelFreed(self.name, channel.timeslot, text))
