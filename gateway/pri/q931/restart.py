"""RESTART (Q.931 5.5) on the global call reference: ours, one at a time, and the far end's, each for itself.

A channel under restart is blocked for calls of ours; whatever happens, it is not blocked for ever. The far end may call
us on it: either it ignores our RESTART, or its acknowledgement, by which it has cleared that call again, is on its way.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

from gateway.cause import Cause
from gateway.core import SECOND
from gateway.pri.channels import Block
from gateway.pri.q931.acceptance import check
from gateway.pri.q931.ie import (
    CallState,
    CauseElement,
    ChannelIdentification,
    InformationElement,
    RestartClass,
    RestartIndicator,
)
from gateway.pri.q931.message import CallReference, Message, MessageType
from gateway.pri.q931.primitives import MaintenanceIndication, RestartIndication
from gateway.pri.q931.states import GlobalState
from gateway.pri.q931.timers import RESTART_TRANSMISSIONS, Q931Timer
from gateway.pri.q931.variant import StartRestart

if TYPE_CHECKING:
    from gateway.pri.q931.link import Q931Link

log = logging.getLogger(__name__)

START_WAIT = 5 * SECOND
"""How long the restart on the first coming up of the link keeps its channels from our calls, T316 being longer (own).

Some switches never answer RESTART; those that do take well under a second. At the start there is no call about which
both ends could disagree, so it is sent once, and what is not acknowledged then is used all the same.
"""

MAX_PENDING_RESTARTS = 64
"""Restarts of the far end that wait for the owner, and restarts of ours that wait for their turn."""


class RestartProcedure:
    """The restart procedures of one D channel."""

    def __init__(self, link: Q931Link) -> None:
        self._link = link
        # None is the whole interface.
        self._queue: deque[int | None] = deque()
        # The timeslots of our RESTART that waits for its acknowledgement.
        self.outstanding: tuple[int, ...] = ()
        self._whole = False
        self._starting = False
        self._transmissions = 0
        self._pending: deque[tuple[tuple[int, ...], CallReference, tuple[InformationElement, ...]]] = deque()
        self._reference = CallReference(0, False, link.call_reference_octets)

    @property
    def state(self) -> GlobalState:
        """The state of the global call reference."""
        if self._pending:
            return GlobalState.REST_2
        return GlobalState.REST_1 if self.outstanding else GlobalState.REST_0

    # -- ours --

    def request(self, timeslot: int | None) -> bool:
        """Restart one channel, or None for all of the interface; calls on it are lost. False if too many wait."""
        if timeslot in self._queue:
            return True
        if len(self._queue) >= MAX_PENDING_RESTARTS:
            return False
        self._queue.append(timeslot)
        self._next()
        return True

    def link_established(self, *, first: bool) -> None:
        """Restart what the switch type wants restarted on the first coming up; go on with what was waiting."""
        if first:
            scope = self._link.variant.start_restart[self._link.side]
            if scope is StartRestart.INTERFACE and any(channel.owner is not None for channel in self._link.channels):
                # Calls of the program before this one: theirs are not restarted.
                scope = StartRestart.CHANNELS
            if scope is StartRestart.INTERFACE:
                self._queue.append(None)
            elif scope is StartRestart.CHANNELS:
                self._queue.extend(channel.timeslot for channel in self._link.channels if channel.owner is None)
            self._starting = bool(self._queue)
        if self.outstanding:
            self._transmit()
        else:
            self._next()

    def link_released(self) -> None:
        """What was sent may be lost; it is sent again with the link."""
        self._link.timers.stop((self, Q931Timer.T316))
        self._link.timers.stop((self, Q931Timer.T317))
        self._pending.clear()

    def _next(self) -> None:
        link = self._link
        while self._queue and not self.outstanding and link.up:
            timeslot = self._queue.popleft()
            if self._starting and timeslot is not None and link.calls_on((timeslot,)):
                # A call that was made since the link came up: both ends agree about this channel already.
                continue
            self._whole = timeslot is None
            timeslots = tuple(channel.timeslot for channel in link.channels) if timeslot is None else (timeslot,)
            for call in link.calls_on(timeslots):
                call.abandon(Cause.TEMPORARY_FAILURE)
            for one in timeslots:
                link.channels.block(Block.RESTART, one)
            self.outstanding = timeslots
            self._transmissions = 0
            self._transmit()
        self._starting = self._starting and bool(self._queue or self.outstanding)

    def _transmit(self) -> None:
        self._transmissions += 1
        elements: tuple[InformationElement, ...]
        if self._whole:
            elements = (RestartIndicator(RestartClass.SINGLE_INTERFACE),)
        else:
            elements = (
                self._link.variant.channel_identification(self.outstanding, exclusive=True),
                RestartIndicator(RestartClass.INDICATED_CHANNELS),
            )
        self._link.transmit(Message(MessageType.RESTART, self._reference, elements))
        wait = self._link.durations[Q931Timer.T316]
        if self._starting:
            wait = min(wait, START_WAIT)
        self._link.timers.start((self, Q931Timer.T316), self._link.now + wait)

    def _finish(self) -> None:
        self._link.timers.stop((self, Q931Timer.T316))
        for timeslot in self.outstanding:
            self._link.channels.unblock(Block.RESTART, timeslot)
        self.outstanding = ()
        self._starting = self._starting and bool(self._queue)
        self._next()

    # -- the far end's --

    def receive(self, message: Message) -> None:
        """Take a message with the global call reference."""
        kind = message.message_type
        flag = message.call_reference.flag
        if kind is MessageType.RESTART:
            if not flag:  # 5.8.3.2 i)
                self._on_restart(message)
        elif kind is MessageType.RESTART_ACKNOWLEDGE:
            if flag:
                self._on_acknowledge(message)
        elif kind is MessageType.STATUS:
            self._on_status(message)
        else:
            self._report(message, Cause.INVALID_CALL_REFERENCE)  # 5.8.3.2 f)

    def _on_restart(self, message: Message) -> None:
        """5.5.2."""
        fault = check(message)
        if fault is not None and fault.fatal:
            self._report(message, fault.cause, fault.diagnostics)
            return
        link = self._link
        indicator = message.first(RestartIndicator)
        channel = message.first(ChannelIdentification)
        if indicator is None:
            return
        if indicator.restart_class != RestartClass.INDICATED_CHANNELS:
            timeslots = tuple(channel.timeslot for channel in link.channels)
        elif channel is None:
            self._report(message, Cause.MANDATORY_ELEMENT_MISSING, bytes((int(ChannelIdentification.identifier),)))
            return
        else:
            timeslots = tuple(timeslot for timeslot in channel.channels if link.channels.get(timeslot) is not None)
            if not timeslots:
                self._report(message, Cause.CHANNEL_DOES_NOT_EXIST)
                return
        if len(self._pending) >= MAX_PENDING_RESTARTS:
            return  # Its T316 will repeat it.
        for call in link.calls_on(timeslots):
            call.abandon(Cause.TEMPORARY_FAILURE)
        for timeslot in timeslots:
            # A far end that restarts a channel has it in service again.
            link.channels.unblock(Block.REMOTE, timeslot)
        elements = tuple(
            element for element in message.elements if isinstance(element, ChannelIdentification | RestartIndicator)
        )
        self._pending.append((timeslots, message.call_reference.answer(), elements))
        link.timers.start((self, Q931Timer.T317), link.now + link.durations[Q931Timer.T317])
        restart_class = indicator.restart_class
        link.outputs.append(
            RestartIndication(
                timeslots, restart_class if isinstance(restart_class, RestartClass) else RestartClass.SINGLE_INTERFACE
            )
        )

    def completed(self) -> None:
        """The owner has cleared what the oldest pending restart named: RESTART ACKNOWLEDGE."""
        if not self._pending:
            return
        _, reference, elements = self._pending.popleft()
        self._acknowledge(reference, elements)
        if not self._pending:
            self._link.timers.stop((self, Q931Timer.T317))

    def _acknowledge(self, reference: CallReference, elements: tuple[InformationElement, ...]) -> None:
        self._link.transmit(Message(MessageType.RESTART_ACKNOWLEDGE, reference, elements))

    def _on_acknowledge(self, message: Message) -> None:
        """5.5.1. A late one for channels that we have given up waiting for is not for those we wait for now."""
        named = message.first(ChannelIdentification)
        if named is not None and named.channels and not set(named.channels).intersection(self.outstanding):
            return
        if self.outstanding:
            for call in self._link.calls_on(self.outstanding):
                # Its SETUP went out before our RESTART was read there: the far end has cleared it without a word.
                call.abandon(Cause.TEMPORARY_FAILURE)
            self._finish()

    def _on_status(self, message: Message) -> None:
        """A far end that knows no RESTART, or not these channels, says so: it will not acknowledge either."""
        cause = message.first(CauseElement)
        if self.outstanding and cause is not None:
            log.warning("%s: RESTART refused with cause %d", self._link.name, cause.value)
            self._link.outputs.append(
                MaintenanceIndication(f"RESTART refused with cause {int(cause.value)}", self.outstanding)
            )
            self._finish()

    def _report(self, message: Message, cause: Cause, diagnostics: bytes = b"") -> None:
        elements = (CauseElement(cause, self._link.location, diagnostics=diagnostics), CallState(self.state))
        self._link.transmit(Message(MessageType.STATUS, message.call_reference.answer(), elements))

    # -- timers --

    def expire(self, timer: Q931Timer) -> None:
        """T316 or T317 expired."""
        if timer is Q931Timer.T316:
            self._expire_t316()
        else:
            self._expire_t317()

    def _expire_t316(self) -> None:
        """5.5.1: again, up to the limit. Then management hears of it, and the channels are tried all the same."""
        if self._starting:
            # Who does not answer the first has nothing to say to the next.
            self._queue.clear()
        elif self._transmissions < RESTART_TRANSMISSIONS:
            self._transmit()
            return
        log.warning("%s: RESTART was not acknowledged", self._link.name)
        self._link.outputs.append(MaintenanceIndication("RESTART was not acknowledged", self.outstanding))
        self._finish()

    def _expire_t317(self) -> None:
        """5.5.2: the owner did not clear in time; what is idle all the same is acknowledged (note 1)."""
        link = self._link
        while self._pending:
            timeslots, reference, elements = self._pending.popleft()
            idle = tuple(one for one in timeslots if self._idle(one))
            link.outputs.append(
                MaintenanceIndication(
                    "channels were not cleared for RESTART", tuple(one for one in timeslots if one not in idle)
                )
            )
            if idle:
                kept = tuple(element for element in elements if not isinstance(element, ChannelIdentification))
                self._acknowledge(reference, (link.variant.channel_identification(idle, exclusive=True), *kept))

    def _idle(self, timeslot: int) -> bool:
        channel = self._link.channels.get(timeslot)
        return channel is not None and channel.owner is None
