"""How every call of Q.931 ends: 5.3 clearing, 5.8.9 data link failure, 5.8.10 and 5.8.11 STATUS, and what a call has.

``Q931Call`` in ``call`` adds establishment. The rule for a user and for a network differ only in the numbers of states.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.cause import Cause, Location
from gateway.pri.channels import BChannel
from gateway.pri.q931.acceptance import Fault, check
from gateway.pri.q931.contents import MANDATORY
from gateway.pri.q931.ie import (
    CallState,
    CauseElement,
    InformationElement,
    ProgressDescription,
    ProgressIndicator,
)
from gateway.pri.q931.message import CALL_CONTROL, CallReference, Message, MessageType, encode_head
from gateway.pri.q931.primitives import CallIndication, MaintenanceIndication, Primitive
from gateway.pri.q931.states import (
    AGREES_WHEN_ACTIVE,
    CLEARING,
    COMPATIBLE,
    State,
)
from gateway.pri.q931.timers import (
    RELEASE_TRANSMISSIONS,
    STATUS_ENQUIRY_TRANSMISSIONS,
    Q931Timer,
)

if TYPE_CHECKING:
    from gateway.pri.q931.link import Q931Link

log = logging.getLogger(__name__)

# 5.8.10 names 97 and 98; a far end that tells the two of 98 apart says 101.
_ENQUIRY_REFUSALS = frozenset(
    {Cause.MESSAGE_TYPE_NONEXISTENT, Cause.MESSAGE_NOT_COMPATIBLE_WITH_STATE, Cause.MESSAGE_NOT_COMPATIBLE}
)


# What must have an element, or must have one if it is the first to clear the call (5.8.6.1).
_MAY_LACK = frozenset({*MANDATORY, MessageType.RELEASE, MessageType.RELEASE_COMPLETE})


class ClearingCall:
    """A call as far as it can be cleared; see ``Q931Call``."""

    __slots__ = (
        "_cleared",
        "_enquiries",
        "_head",
        "_receivable",
        "_refused_enquiry",
        "_running",
        "_transitions",
        "answered",
        "chain",
        "channel",
        "clearing_cause",
        "ended_by",
        "exclusive",
        "key",
        "link",
        "originated",
        "reference",
        "released",
        "setup_message",
        "state",
        "transmissions",
        "user",
        "yielded",
    )

    def __init__(self, link: Q931Link, reference: CallReference, *, originated: bool) -> None:
        self.link = link
        self.originated = originated
        # As we write it.
        self.reference = reference
        self.key = reference.value if originated else ~reference.value
        self._head = encode_head(CALL_CONTROL, self.reference)
        self.chain, self._receivable, self._transitions = link.roles[originated]
        self.state = State.NULL
        self.channel: BChannel | None = None
        self.exclusive = False
        # True once the first answer to the SETUP went out or came in: the channel is settled (5.1.2, 5.2.3.1).
        self.answered = False
        # True if another call got our channel in glare.
        self.yielded = False
        # True when reference and channel are free: nothing more happens.
        self.released = False
        self.setup_message: Message | None = None
        self.transmissions = 0
        # The timer of ours that ended the call, if one did.
        self.ended_by: Q931Timer | None = None
        self.user: object | None = None
        self._running: set[Q931Timer] = set()
        self.clearing_cause: CauseElement | None = None
        self._cleared = False
        self._enquiries = 0
        self._refused_enquiry = False

    def __repr__(self) -> str:
        channel = self.channel.timeslot if self.channel is not None else None
        origin = "out" if self.originated else "in"
        return f"<Q931Call {self.link.name} {origin} {self.reference.value} {self.state.name} channel {channel}>"

    # -- for the procedures --

    def set_state(self, state: State) -> None:
        """Enter ``state``; an illegal transition is a fault of ours."""
        old = self.state
        if state is old:
            return
        if state not in self._transitions[old]:
            raise AssertionError(f"{self!r}: {old.name} -> {state.name} is not in Q.931")
        if self.link.verbose:
            log.debug("%r: %s -> %s", self, old.name, state.name)
        self.state = state

    def start(self, timer: Q931Timer) -> None:
        """Start or restart a timer of this call."""
        self._running.add(timer)
        link = self.link
        link.timers.start((self, timer), link.now + link.durations[timer])

    def stop(self, timer: Q931Timer) -> None:
        """Stop a timer if it runs."""
        if timer in self._running:
            self._running.discard(timer)
            self.link.timers.stop((self, timer))

    def stop_all(self) -> None:
        """Stop every timer of this call."""
        for timer in self._running:
            self.link.timers.stop((self, timer))
        self._running.clear()

    def expired(self, timer: Q931Timer) -> None:
        """Note that the link took an expired timer off its queue."""
        self._running.discard(timer)

    def send(self, kind: MessageType, elements: tuple[InformationElement, ...]) -> None:
        """Send one message of this call."""
        self.link.send(self._head, kind, self.reference, elements)

    def indicate(self, primitive: Primitive, message: Message | None = None, cause: CauseElement | None = None) -> None:
        """Tell the owner."""
        self.link.outputs.append(CallIndication(self, primitive, message, cause))  # type: ignore[arg-type]

    def cause_element(self, cause: Cause, diagnostics: bytes = b"", location: Location | None = None) -> CauseElement:
        """A Cause of ours."""
        if location is None:
            location = self.link.location
            if not diagnostics:
                return self.link.cause_element(cause)
        return CauseElement(cause, location, diagnostics=diagnostics)

    def report(self, cause: Cause, diagnostics: bytes = b"") -> None:
        """Send STATUS with our state (5.8)."""
        self.send(MessageType.STATUS, (self.cause_element(cause, diagnostics), CallState(self.state)))

    # -- requests --

    def clear(
        self,
        cause: Cause,
        *,
        tell: Cause | None = None,
        elements: tuple[InformationElement, ...] = (),
        location: Location | None = None,
    ) -> bool:
        """Clear the call (5.3.3, 5.3.4), with whatever message its state calls for.

        ``tell``: not the owner's wish but ours, and the owner is to hear this cause. ``elements`` go into DISCONNECT.
        False if it is being cleared already.
        """
        element = self.cause_element(cause, b"", location)
        if self.state is State.NULL:
            if self.released:
                return False
            self.end(element)
            return True
        if self.state in CLEARING:
            if self.state is not self.chain.disconnect_received and Q931Timer.T306 not in self._running:
                return False
            # The tone or announcement is over, theirs or ours (5.3.4.1).
            self._release(element)
            return True
        self.stop_all()
        if not self.originated and self.state is self.chain.setup and not elements:
            # 5.3.2 a): RELEASE COMPLETE as the first answer to SETUP; to leave it unanswered is no answer.
            self.send(MessageType.RELEASE_COMPLETE, (element,))
            self.end(element)
            return True
        self.clearing_cause = element
        self.set_state(self.chain.disconnect_sent)
        if not self.link.up:
            # Cleared here and now; the far end hears of it by RELEASE when the link is back (5.8.9, option).
            self.set_state(State.RELEASE_REQUEST)
            self.start(Q931Timer.T309)
        else:
            self.send(MessageType.DISCONNECT, (element, *elements))
            inband = any(
                indicator.__class__ is ProgressIndicator
                and indicator.description == ProgressDescription.INBAND_INFORMATION
                for indicator in elements
            )
            self.start(Q931Timer.T306 if inband else Q931Timer.T305)
        if tell is not None or not self.link.up:
            self._tell_cleared(self.cause_element(tell if tell is not None else cause))
        return True

    def clear_with_release(self, cause: Cause) -> None:
        """Clear with RELEASE instead of DISCONNECT: 5.3.2 d), the channel of the first answer is unacceptable."""
        self.stop_all()
        element = self.cause_element(cause)
        self._release(element)
        self._tell_cleared(element)

    def abandon(self, cause: Cause) -> None:
        """Clear internally, without a message (5.5.2, 5.8.9 a)."""
        if not self.released:
            self.end(self.cause_element(cause))

    # -- receiving --

    def receive(self, message: Message) -> None:
        """Take a message with this call's reference: 5.8.4 to 5.8.7, then its handler."""
        kind = message.message_type
        state = self.state
        states = self._receivable.get(kind)
        if states is None or state not in states:
            self._unexpected(message)
            return
        if state is State.NULL:
            return
        handler = self.link.handlers[kind]
        if message.problems or kind in _MAY_LACK:
            first_clearing = state not in CLEARING and kind in (MessageType.RELEASE, MessageType.RELEASE_COMPLETE)
            fault = check(message, cause_needed=first_clearing)
            if fault is not None:
                if not self._tolerates(message, fault):
                    return
                if kind in (MessageType.DISCONNECT, MessageType.RELEASE):
                    handler(self, message, fault)
                    return
        handler(self, message)

    def _unexpected(self, message: Message) -> None:
        """5.8.4: STATUS says that we do not know the message, or not here; nothing else changes."""
        known = isinstance(message.message_type, MessageType)
        if log.isEnabledFor(logging.INFO):
            log.info("%r: %s %s", self, "unexpected" if known else "unrecognised", message.name)
        if known and message.message_type is MessageType.SETUP:
            self.on_setup_again()  # 5.8.3.2 e): it is no new call
            return
        self.report(
            Cause.MESSAGE_NOT_COMPATIBLE
            if known and message.message_type in self.link.handlers
            else Cause.MESSAGE_TYPE_NONEXISTENT,
            bytes((message.message_type & 0xFF,)),
        )

    def _tolerates(self, message: Message, fault: Fault) -> bool:
        """Answer a fault as 5.8.6 and 5.8.7 say; False if the message is not to be acted on."""
        kind = message.message_type
        log.info("%r: %s with fault: %s", self, message.name, fault)
        if kind in (MessageType.DISCONNECT, MessageType.RELEASE, MessageType.RELEASE_COMPLETE):
            return True
        if kind == MessageType.STATUS:
            # STATUS is never answered by STATUS: two ends that dislike each other's would never stop.
            return not fault.fatal
        if fault.fatal or self.link.variant.reports_elements:
            self.report(fault.cause, fault.diagnostics)
        return not fault.fatal

    def on_disconnect(self, message: Message, fault: Fault | None = None) -> None:
        """5.3.3, 5.3.4; in a collision of two (5.3.5) both release."""
        state = self.state
        if state is State.RELEASE_REQUEST or state is self.chain.disconnect_received:
            return
        cause = message.first(CauseElement) or self.cause_element(Cause.NORMAL_UNSPECIFIED)
        self.stop_all()
        answer = self.cause_element(fault.cause, fault.diagnostics) if fault is not None else None
        if state is self.chain.disconnect_sent:
            self._release(answer)
            self._tell_cleared(cause)
            return
        if self.link.holds_inband(message) and state is not State.ACTIVE and answer is None:
            self.clearing_cause = cause
            self.set_state(self.chain.disconnect_received)
            self.indicate(Primitive.DISCONNECT, message, cause)
            return
        self.set_state(self.chain.disconnect_received)
        self._release(answer or self.cause_element(Cause.NORMAL_CALL_CLEARING))
        self._tell_cleared(cause, message)

    def _release(self, cause: CauseElement | None) -> None:
        """Send RELEASE and wait for RELEASE COMPLETE."""
        self.stop_all()
        if cause is not None:
            self.clearing_cause = cause
        elements = (self.clearing_cause,) if self.clearing_cause is not None else ()
        self.send(MessageType.RELEASE, elements)
        self.set_state(State.RELEASE_REQUEST)
        self.transmissions = 1
        self.start(Q931Timer.T308)

    def on_release(self, message: Message, fault: Fault | None = None) -> None:
        """5.3.3, 5.3.4, 5.8.4: at any time; two that crossed need no RELEASE COMPLETE (5.3.5)."""
        if self.state is not State.RELEASE_REQUEST:
            self.send(
                MessageType.RELEASE_COMPLETE,
                (self.cause_element(fault.cause, fault.diagnostics),) if fault is not None else (),
            )
        self.end(message.first(CauseElement), message)

    def on_release_complete(self, message: Message) -> None:
        """5.3.3, 5.3.2, 5.8.4."""
        self.end(message.first(CauseElement), message)

    # -- the end --

    def _tell_cleared(self, cause: CauseElement, message: Message | None = None) -> None:
        if not self._cleared:
            self._cleared = True
            self.indicate(Primitive.CLEARED, message, cause)

    def end(self, cause: CauseElement | None, message: Message | None = None) -> None:
        """Free channel and call reference, enter Null; the owner hears RELEASE."""
        self.stop_all()
        if cause is None:
            cause = self.clearing_cause or self.cause_element(Cause.NORMAL_UNSPECIFIED)
        if self.channel is not None:
            self.link.channels.release(self.channel.timeslot, self)
        self.released = True
        self.set_state(State.NULL)
        self.link.forget(self.key)
        self.indicate(Primitive.RELEASE, message, cause)

    # -- STATUS --

    def enquire(self) -> None:
        """Send STATUS ENQUIRY (5.8.10), unless one waits for its answer."""
        if Q931Timer.T322 in self._running:
            return
        self._enquiries = 1
        self._refused_enquiry = False
        self.send(MessageType.STATUS_ENQUIRY, ())
        self.start(Q931Timer.T322)

    def on_status_enquiry(self, _message: Message) -> None:
        """5.8.10."""
        self.report(Cause.RESPONSE_TO_STATUS_ENQUIRY)

    def on_status(self, message: Message) -> None:
        """5.8.11, and the answer to our STATUS ENQUIRY (5.8.10)."""
        cause = message.first(CauseElement)
        call_state = message.first(CallState)
        if cause is None or call_state is None:
            return
        reported = call_state.state
        state = self.state
        if reported == State.NULL:
            log.warning("%r: the far end has no such call (cause %d)", self, cause.value)
            self.end(self.cause_element(Cause.TEMPORARY_FAILURE))
            return
        if state is State.RELEASE_REQUEST:
            return
        answered = False
        if Q931Timer.T322 in self._running:
            if cause.value in _ENQUIRY_REFUSALS:
                # It does not know STATUS ENQUIRY, but said its state: as good at the end of T322 as an answer.
                self._refused_enquiry = reported in COMPATIBLE[state]
            elif cause.value == Cause.RESPONSE_TO_STATUS_ENQUIRY:
                answered = True
                self.stop(Q931Timer.T322)
        if answered and self.catch_up(reported, message):
            return
        agrees = reported in COMPATIBLE[state]
        if answered and state is State.ACTIVE:
            agrees = reported in AGREES_WHEN_ACTIVE
        if not agrees:
            log.warning("%r: the far end is in state %d: cleared", self, reported)
            if state not in CLEARING:
                self.clear(Cause.MESSAGE_NOT_COMPATIBLE, tell=Cause.MESSAGE_NOT_COMPATIBLE)

    # -- data link --

    def link_failed(self) -> None:
        """5.8.9: an active call waits for the link until T309; any other is cleared internally, or is being cleared."""
        if self.state is State.ACTIVE:
            self.stop_all_but_t309()
            if Q931Timer.T309 not in self._running:
                self.start(Q931Timer.T309)
        elif self.state in CLEARING:
            self.stop_all_but_t309()
            self._tell_cleared(self.clearing_cause or self.cause_element(Cause.DESTINATION_OUT_OF_ORDER))
            self.set_state(State.RELEASE_REQUEST)
            if Q931Timer.T309 not in self._running:
                self.start(Q931Timer.T309)
        else:
            self.abandon(Cause.DESTINATION_OUT_OF_ORDER)

    def stop_all_but_t309(self) -> None:
        """Nothing but T309 makes sense while there is no link."""
        for timer in tuple(self._running):
            if timer is not Q931Timer.T309:
                self.stop(timer)

    def link_restored(self) -> None:
        """5.8.9, after a failure: make sure that the far end still has the call, or tell it that we have not."""
        self.stop(Q931Timer.T309)
        if self.state is State.RELEASE_REQUEST:
            self._release(None)
        elif self.state is not State.NULL:
            self.enquire()

    def link_reset(self) -> None:
        """5.8.8: messages may be lost. Overlap is cleared, SETUP and clearing have timers, the rest is asked about."""
        if self.state is self.chain.overlap:
            self.clear(Cause.TEMPORARY_FAILURE, tell=Cause.TEMPORARY_FAILURE)
        elif self.state not in CLEARING and self.state not in (State.NULL, self.chain.setup):
            self.enquire()

    def on_setup_again(self) -> None:
        """SETUP came once more for this very call."""

    def catch_up(self, reported: int, message: Message) -> bool:  # noqa: ARG002
        """The far end is in state ``reported`` by its answer to our enquiry; True if that was dealt with."""
        return False

    # -- timers --

    def expire_t305(self) -> None:
        """5.3.3, 5.3.4: DISCONNECT was not answered (T305), or the announcement is over (T306)."""
        self._release(None)
        if self.clearing_cause is not None:
            self._tell_cleared(self.clearing_cause)

    def expire_t308(self) -> None:
        """5.3.3, 5.3.4: RELEASE once more; then the call ends here and its channel is restarted."""
        if self.transmissions < RELEASE_TRANSMISSIONS:
            self.transmissions += 1
            self.send(MessageType.RELEASE, (self.clearing_cause,) if self.clearing_cause is not None else ())
            self.start(Q931Timer.T308)
            return
        channel = self.channel
        self.end(None)
        if channel is not None:
            self.link.outputs.append(
                MaintenanceIndication(f"release of channel {channel.timeslot} was not confirmed", (channel.timeslot,))
            )
            # 5.5: the way to agree with a far end that does not answer.
            self.link.restarts.request(channel.timeslot)

    def expire_t309(self) -> None:
        """5.8.9: the data link stayed away."""
        self.end(self.cause_element(Cause.DESTINATION_OUT_OF_ORDER))

    def expire_t322(self) -> None:
        """5.8.10: STATUS ENQUIRY again, or by what a STATUS with cause 97 said; then the call is cleared."""
        if self._refused_enquiry:
            return
        if self._enquiries < STATUS_ENQUIRY_TRANSMISSIONS:
            self._enquiries += 1
            self.send(MessageType.STATUS_ENQUIRY, ())
            self.start(Q931Timer.T322)
            return
        # A call that is being set up has timers of its own.
        if self.state is State.ACTIVE:
            self.clear(Cause.TEMPORARY_FAILURE, tell=Cause.TEMPORARY_FAILURE)
