"""All calls of one D channel: Q.931 over DL primitives, sans-I/O. Call references, timers and errors of 5.8.1 to 5.8.3.

Each call is a ``Q931Call``; RESTART and SERVICE are procedures of their own. The owner hands in DL-DATA, the coming and
going of the link, and time; it drains ``poll()`` for what to send and what happened.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Mapping

from gateway.cause import Cause
from gateway.core import TimerQueue
from gateway.pri.channels import BChannel, BChannelTable, Glare, Hunt, resolve_glare
from gateway.pri.lapd import Side
from gateway.pri.q931.acceptance import check
from gateway.pri.q931.call import EXPIRIES, HANDLERS, Q931Call
from gateway.pri.q931.errors import Q931Error
from gateway.pri.q931.ie import (
    BearerCapability,
    CallState,
    CauseElement,
    ChannelIdentification,
    InformationElement,
)
from gateway.pri.q931.ie.element import coded
from gateway.pri.q931.maintenance import ServiceProcedure
from gateway.pri.q931.message import (
    CALL_CONTROL,
    MAX_MESSAGE,
    CallReference,
    Message,
    MessageType,
    decode,
    encode,
    encode_after,
)
from gateway.pri.q931.primitives import EstablishLink, LinkOutput, Primitive, RefusedIndication, SendData
from gateway.pri.q931.restart import RestartProcedure
from gateway.pri.q931.segments import MAX_SEGMENTED, Segments, is_segment
from gateway.pri.q931.states import CHAINS, CLEARING, RECEIVABLE, TRANSITIONS, State
from gateway.pri.q931.timers import Q931Timer, timer_values
from gateway.pri.q931.variant import Variant

log = logging.getLogger(__name__)

MAX_CALLS = 128
"""Calls of one D channel, those being cleared included; more SETUPs are refused with cause 42."""

Trace = Callable[[bool, Message], None]
"""Hears every message: True for sent, False for received."""


class Q931Link:
    """The network layer of one D channel, user or network side."""

    def __init__(
        self,
        side: Side,
        variant: Variant,
        channels: BChannelTable,
        rng: random.Random,
        *,
        name: str = "q931",
        timers: Mapping[Q931Timer, int] | None = None,
        answer_hunt: Hunt = Hunt.ASCENDING,
        hold_inband: bool = False,
    ) -> None:
        """``answer_hunt``: how a channel is found for a call of the far end that leaves the choice to us.

        ``hold_inband``: DISCONNECT with in-band information before answer waits for the owner (5.3.4.1). ValueError
        for a timer out of range.
        """
        self.side = side
        self.variant = variant
        self.channels = channels
        self.name = name
        self.durations = timer_values(side, variant.timers[side], timers)
        self.answer_hunt = answer_hunt
        self.hold_inband = hold_inband
        self.location = variant.locations[side]
        self.call_reference_octets = variant.call_reference_octets
        self.trace: Trace | None = None
        # Asked once, as asking costs more than all else that a message not logged needs.
        self.verbose = log.isEnabledFor(logging.DEBUG)
        self.up = False
        self.now = 0
        self.handlers: Mapping[int, Callable[..., None]] = HANDLERS
        self.outputs: deque[LinkOutput] = deque()
        self.timers: TimerQueue[tuple[object, Q931Timer]] = TimerQueue()
        self.calls: dict[int, Q931Call] = {}
        self.restarts = RestartProcedure(self)
        self.services = ServiceProcedure(self)
        self.ignored = 0
        self._segments = Segments()
        self._highest_reference = (1 << (8 * self.call_reference_octets - 1)) - 1
        self._last_reference = rng.randrange(self._highest_reference)
        self._started = False
        self._causes: dict[Cause, CauseElement] = {}
        self.roles = {
            originated: (CHAINS[side, originated], RECEIVABLE[side, originated], TRANSITIONS[side, originated])
            for originated in (True, False)
        }
        """What a call goes by, whether we originated it or not."""

    # -- what the owner calls --

    def new_call(self, hunt: Hunt, channel: BChannel | None = None) -> Q931Call | Cause:
        """A call of ours with a B channel: ``channel``, seized by the caller, or one found by ``hunt``.

        A Cause says why there can be none: 38 (no data link), 42 (too many calls), 34 (no channel).
        """
        if not self.up:
            return Cause.NETWORK_OUT_OF_ORDER
        if len(self.calls) >= MAX_CALLS:
            return Cause.SWITCHING_EQUIPMENT_CONGESTION
        reference = CallReference(self._new_reference(), False, self.call_reference_octets)
        call = Q931Call(self, reference, originated=True)
        if channel is None:
            channel = self.channels.hunt(hunt, call)
            if channel is None:
                return Cause.NO_CIRCUIT_AVAILABLE
        else:
            channel.owner = call
        call.channel = channel
        self.calls[call.key] = call
        return call

    def receive(self, data: bytes, now: int) -> None:
        """DL-DATA indication. Never raises: octets that are no message are ignored (5.8.1 to 5.8.3.1)."""
        self.now = now
        longest = MAX_MESSAGE
        if is_segment(data):
            whole = self._segments.receive(data, now)
            if whole is None:
                return
            data, longest = whole, MAX_SEGMENTED
        try:
            message = decode(data, longest)
        except Q931Error as error:
            self.ignored += 1
            log.info("%s: ignored: %s", self.name, error)
            return
        if self.trace is not None:
            self.trace(False, message)
        if self.verbose:
            log.debug("%s: < %r", self.name, message)
        reference = message.call_reference
        if message.protocol_discriminator != CALL_CONTROL:
            self.services.receive(message)
            return
        value = reference.value
        if value == 0:
            if reference.length:
                self.restarts.receive(message)
            else:
                # The dummy call reference belongs to supplementary services without a call (Q.932 6.2): not offered.
                self.ignored += 1
            return
        call = self.calls.get(value if reference.flag else ~value)
        if call is not None:
            call.receive(message)
        else:
            self._unknown_reference(message)

    def link_established(self, now: int) -> None:
        """DL-ESTABLISH confirm or indication: the link is up, for the first time, again, or reset (5.8.8, 5.8.9)."""
        self.now = now
        reset, self.up = self.up, True
        calls = tuple(self.calls.values())
        for call in calls:
            if reset:
                call.link_reset()
            else:
                call.link_restored()
        self.restarts.link_established(first=not self._started)
        self.services.link_established()
        self._started = True

    def link_released(self, now: int) -> None:
        """DL-RELEASE indication (5.8.9). EstablishLink asks for the link again."""
        self.now = now
        self.up = False
        for call in tuple(self.calls.values()):
            call.link_failed()
        self.restarts.link_released()
        self.outputs.append(EstablishLink())

    def handle_timer(self, now: int) -> None:
        """Let expire what is due."""
        self.now = now
        for owner, timer in self.timers.expired(now):
            if isinstance(owner, Q931Call):
                if log.isEnabledFor(logging.INFO):
                    log.info("%r: %s expired", owner, timer.name)
                owner.expired(timer)
                lived = owner.state not in CLEARING
                EXPIRIES[timer](owner)
                if lived and (owner.released or owner.state in CLEARING):
                    owner.ended_by = timer
            else:
                self.restarts.expire(timer)

    def next_timer(self) -> int | None:
        """The earliest deadline, or None."""
        return self.timers.next_timer()

    def poll(self) -> LinkOutput | None:
        """The next output, or None."""
        return self.outputs.popleft() if self.outputs else None

    # -- for calls and procedures --

    def transmit(self, message: Message) -> None:
        """Send a message; without a link there is nobody to send it to."""
        if not self.up:
            log.debug("%s: no link for %r", self.name, message)
            return
        if self.trace is not None:
            self.trace(True, message)
        if self.verbose:
            log.debug("%s: > %r", self.name, message)
        self.outputs.append(SendData(encode(message)))

    def send(
        self, head: bytes, kind: MessageType, reference: CallReference, elements: tuple[InformationElement, ...]
    ) -> None:
        """``transmit`` for a message that nobody looks at; ``head`` is what its reference encodes to."""
        if self.trace is not None or self.verbose or not self.up:
            self.transmit(Message(kind, reference, elements))
        else:
            self.outputs.append(SendData(encode_after(head, kind, elements)))

    def forget(self, key: int) -> None:
        """A call has ended: its reference is free."""
        self.calls.pop(key, None)

    def yields(self, *, ours_exclusive: bool, theirs_exclusive: bool) -> bool:
        """Whether the far end's call gets the channel that both want (5.7)."""
        return (
            resolve_glare(
                self.side,
                ours_exclusive=ours_exclusive,
                theirs_exclusive=theirs_exclusive,
                symmetric=self.variant.symmetric_glare,
            )
            is Glare.THEIRS
        )

    def holds_inband(self, message: Message) -> bool:
        """Whether a DISCONNECT leaves the voice path open for an announcement."""
        return self.hold_inband and bool(message.elements) and self.variant.inband(message)

    def channel_identification(self, timeslot: int) -> ChannelIdentification:
        """The channel of an answer to SETUP, which is always exclusive (5.1.2, 5.2.3.1)."""
        return self.variant.channel_identification((timeslot,), exclusive=True)

    def cause_element(self, cause: Cause) -> CauseElement:
        """A Cause with our location, made once for all calls."""
        element = self._causes.get(cause)
        if element is None:
            element = self._causes[cause] = coded(CauseElement(cause, self.location))
        return element

    def calls_on(self, timeslots: tuple[int, ...]) -> list[Q931Call]:
        """The calls that have one of these channels."""
        return [call for call in self.calls.values() if call.channel is not None and call.channel.timeslot in timeslots]

    # -- inside --

    def _new_reference(self) -> int:
        value = self._last_reference
        while True:
            value = value % self._highest_reference + 1
            # MAX_CALLS is far below the number of references, even of one octet.
            if value not in self.calls:
                self._last_reference = value
                return value

    def _unknown_reference(self, message: Message) -> None:
        """5.8.3.2 a) to h)."""
        kind = message.message_type
        reference = message.call_reference
        if kind is MessageType.SETUP:
            if not reference.flag:
                self._setup(message)
        elif kind is MessageType.RELEASE_COMPLETE:
            pass
        elif kind is MessageType.STATUS_ENQUIRY:
            self._answer(
                reference, MessageType.STATUS, Cause.RESPONSE_TO_STATUS_ENQUIRY, extra=(CallState(State.NULL),)
            )
        elif kind is MessageType.STATUS:
            # 5.8.11: a call that only the far end has.
            state = message.first(CallState)
            if state is not None and state.state != State.NULL:
                self._answer(reference, MessageType.RELEASE_COMPLETE, Cause.MESSAGE_NOT_COMPATIBLE)
        else:
            self._answer(reference, MessageType.RELEASE_COMPLETE, Cause.INVALID_CALL_REFERENCE)

    def _setup(self, message: Message) -> None:
        fault = check(message)
        if fault is not None:
            log.info("%s: SETUP with fault: %s", self.name, fault)
            if fault.fatal:
                self._refuse(message, fault.cause, fault.diagnostics)
                return
        if len(self.calls) >= MAX_CALLS:
            self._refuse(message, Cause.SWITCHING_EQUIPMENT_CONGESTION)
            return
        bearer = message.first(BearerCapability)
        if bearer is None or not self.variant.accepts(bearer):
            # 5.1.5.2, and annex B for the user.
            user = self.side is Side.USER
            cause = Cause.INCOMPATIBLE_DESTINATION if user else Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED
            self._refuse(message, cause)
            return
        call = Q931Call(self, message.call_reference.answer(), originated=False)
        refusal = call.accept_setup(message)
        if refusal is not None:
            self._refuse(message, refusal)
            return
        self.calls[call.key] = call
        call.set_state(call.chain.setup)
        if fault is not None and self.variant.reports_elements:
            call.report(fault.cause, fault.diagnostics)
        call.indicate(Primitive.SETUP, message)

    def _refuse(self, message: Message, cause: Cause, diagnostics: bytes = b"") -> None:
        self._answer(message.call_reference, MessageType.RELEASE_COMPLETE, cause, diagnostics)
        self.outputs.append(RefusedIndication(message, cause))

    def _answer(
        self,
        reference: CallReference,
        kind: MessageType,
        cause: Cause,
        diagnostics: bytes = b"",
        extra: tuple[CallState, ...] = (),
    ) -> None:
        element = CauseElement(cause, self.location, diagnostics=diagnostics)
        self.transmit(Message(kind, reference.answer(), (element, *extra)))
