"""One call of Q.931 clause 5 on the user or network side of a point-to-point link: states U0 to U25 and N0 to N25.

Establishment is here; clearing, STATUS and the timers of both are in ``clearing``, which the call is built on. It sends
through its link, seizes its B channel and tells its owner in primitives; it knows nothing of legs or media.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.cause import Cause
from gateway.identity import Number
from gateway.pri.channels import BChannel
from gateway.pri.lapd import Side
from gateway.pri.q931.clearing import ClearingCall
from gateway.pri.q931.ie import (
    CalledPartyNumber,
    ChannelIdentification,
    ChannelSelection,
    ChannelType,
    InformationElement,
    SendingComplete,
)
from gateway.pri.q931.message import CALL_CONTROL, CallReference, Message, MessageType
from gateway.pri.q931.primitives import Primitive
from gateway.pri.q931.recovery import catch_up, repeat_answer, repeat_clearing, repeat_setup
from gateway.pri.q931.states import CLEARING, State
from gateway.pri.q931.timers import SETUP_TRANSMISSIONS, Q931Timer

if TYPE_CHECKING:
    from gateway.pri.q931.link import Q931Link

Elements = tuple[InformationElement, ...]

_NO_NUMBER = Number()


class Q931Call(ClearingCall):
    """A call. Requests are methods, legal in any state: in a wrong one they do nothing and return False.

    The time is that of the link (``Q931Link.now``), which its owner sets with every call into the link.
    """

    __slots__ = ("_complete", "_waiting_digits", "last_answer", "repeats")

    def __init__(self, link: Q931Link, reference: CallReference, *, originated: bool) -> None:
        super().__init__(link, reference, originated=originated)
        self._complete = False
        # Digits that came before the far end was ready for them (SETUP not yet acknowledged).
        self._waiting_digits: list[tuple[str, bool]] = []
        # On the called side: CALL PROCEEDING, ALERTING or CONNECT, whichever went out last.
        self.last_answer: Message | None = None
        self.repeats = 0

    # -- requests of the calling side --

    def setup(self, elements: Elements) -> bool:
        """Send SETUP (5.1.1, 5.2.1). The elements include Channel identification if ``channel`` is set."""
        if self.state is not State.NULL or self.released:
            return False
        self.setup_message = message = Message(MessageType.SETUP, self.reference, elements, CALL_CONTROL)
        self._complete = message.first(SendingComplete) is not None
        channel = message.first(ChannelIdentification)
        if channel is not None:
            self.exclusive = channel.exclusive
        self.transmissions = 1
        self.send(MessageType.SETUP, elements)
        self.set_state(self.chain.setup)
        self.start(Q931Timer.T303)
        return True

    def digits(self, digits: str, complete: bool) -> bool:
        """Send more digits of the called number (5.1.3, 5.2.4), or keep them until the far end asks for them."""
        if not self.originated or self._complete:
            return False
        if self.state is self.chain.setup:
            if len(self._waiting_digits) >= MAX_WAITING_DIGITS:
                return False
            self._waiting_digits.append((digits, complete))
            return True
        if self.state is not self.chain.overlap:
            return False
        self._complete = complete
        begun = self.setup_message.first(CalledPartyNumber) if self.setup_message is not None else None
        called = begun.to_number() if begun is not None else _NO_NUMBER
        elements = self.link.variant.digit_elements(digits, called, complete=complete)
        if elements:
            self.send(MessageType.INFORMATION, elements)
            self.start(Q931Timer.T304)
        return True

    # -- requests of the called side --

    def more_information(self, elements: Elements) -> bool:
        """Send SETUP ACKNOWLEDGE: the number is not complete (5.1.3, 5.2.4)."""
        if self.originated or self.state is not self.chain.setup:
            return False
        self.send(MessageType.SETUP_ACKNOWLEDGE, self._with_channel(elements))
        self.set_state(self.chain.overlap)
        self.start(Q931Timer.T302)
        return True

    def proceeding(self, elements: Elements) -> bool:
        """Send CALL PROCEEDING (5.1.5.1, 5.2.5.1)."""
        if self.originated or self.state not in (self.chain.setup, self.chain.overlap):
            return False
        self.stop(Q931Timer.T302)
        self._tell(MessageType.CALL_PROCEEDING, elements)
        self.set_state(self.chain.proceeding)
        return True

    def progress(self, elements: Elements) -> bool:
        """Send PROGRESS (5.1.6, 5.2.6); CALL PROCEEDING goes before it where nothing was answered yet."""
        chain = self.chain
        if self.originated or self.state not in (chain.setup, chain.overlap, chain.proceeding, chain.alerting):
            return False
        if self.state is chain.setup:
            self.proceeding(())
        if self.state is chain.overlap:
            # Whoever hears an announcement is not going to dial (5.1.3).
            self.stop(Q931Timer.T302)
        self.send(MessageType.PROGRESS, elements)
        return True

    def alerting(self, elements: Elements) -> bool:
        """Send ALERTING (5.1.7, 5.2.5.1)."""
        chain = self.chain
        if self.originated or self.state not in (chain.setup, chain.overlap, chain.proceeding):
            return False
        self._proceed_first()
        self.stop(Q931Timer.T302)
        self._tell(MessageType.ALERTING, elements)
        self.set_state(chain.alerting)
        return True

    def connect(self, elements: Elements) -> bool:
        """Send CONNECT (5.1.8, 5.2.7). The network is active at once, the user when it is acknowledged."""
        chain = self.chain
        if self.originated or self.state not in (chain.setup, chain.overlap, chain.proceeding, chain.alerting):
            return False
        self._proceed_first()
        self.stop(Q931Timer.T302)
        self._tell(MessageType.CONNECT, elements)
        self.set_state(chain.connect)
        if chain.connect is State.ACTIVE:
            self.indicate(Primitive.CONNECTED)
        else:
            self.start(Q931Timer.T313)
        return True

    # -- requests of both sides --

    def information(self, elements: Elements) -> bool:
        """Send INFORMATION that is not digits of the called number (5.2.4, display or keypad during a call)."""
        if self.state in CLEARING or self.state in (State.NULL, self.chain.setup):
            return False
        self.send(MessageType.INFORMATION, elements)
        return True

    def notify(self, elements: Elements) -> bool:
        """Send NOTIFY (5.9)."""
        if self.state in CLEARING or self.state in (State.NULL, self.chain.setup):
            return False
        self.send(MessageType.NOTIFY, elements)
        return True

    def facility(self, elements: Elements) -> bool:
        """Send FACILITY (Q.932)."""
        if self.state in CLEARING or self.state in (State.NULL, self.chain.setup):
            return False
        self.send(MessageType.FACILITY, elements)
        return True

    # -- the B channel --

    def _with_channel(self, elements: Elements) -> Elements:
        """Put Channel identification into the first answer to a SETUP (5.1.2, 5.2.3.1)."""
        if self.answered:
            return elements
        self.answered = True
        if self.channel is None:
            return elements
        return (self.link.channel_identification(self.channel.timeslot), *elements)

    def _tell(self, kind: MessageType, elements: Elements) -> None:
        """Send how far the call is, and keep it in case that it gets lost."""
        elements = self._with_channel(elements)
        self.send(kind, elements)
        self.last_answer = Message(kind, self.reference, elements, CALL_CONTROL)

    def _proceed_first(self) -> None:
        if self.link.variant.proceeding_first and self.state is self.chain.setup:
            self.proceeding(())

    def accept_setup(self, message: Message) -> Cause | None:
        """Take a received SETUP: choose the B channel (5.1.2, 5.2.3.1, 5.7). A Cause says why it cannot be had."""
        self.setup_message = message
        channels = self.link.channels
        wanted = message.first(ChannelIdentification)
        if wanted is None or wanted.selection is ChannelSelection.ANY:
            self.channel = channels.hunt(self.link.answer_hunt, self)
            return None if self.channel is not None else Cause.NO_CIRCUIT_AVAILABLE
        timeslot = wanted.channel
        if not wanted.primary or wanted.selection is not ChannelSelection.AS_INDICATED or not _is_b(wanted):
            return Cause.CHANNEL_TYPE_NOT_IMPLEMENTED
        channel = channels.get(timeslot) if timeslot is not None else None
        if channel is None:
            if wanted.exclusive:
                return Cause.CHANNEL_DOES_NOT_EXIST
        else:
            other = channel.owner
            if isinstance(other, Q931Call) and other.state is State.RELEASE_REQUEST:
                # It gives the channel away anew: our RELEASE was taken, and its RELEASE COMPLETE is lost.
                other.end(None)
            self.channel = channels.seize(channel.timeslot, self, incoming=True)
            if self.channel is None and self._wins_glare(channel, wanted.exclusive):
                self.channel = channel
        if self.channel is None and not wanted.exclusive:
            self.channel = channels.hunt(self.link.answer_hunt, self)
        if self.channel is not None:
            return None
        return Cause.REQUESTED_CIRCUIT_NOT_AVAILABLE if wanted.exclusive else Cause.NO_CIRCUIT_AVAILABLE

    def _wins_glare(self, channel: BChannel, exclusive: bool) -> bool:
        """Q.931 5.7, D.3: both ends have sent SETUP for one channel; True if it goes to this received one."""
        other = channel.owner
        if not isinstance(other, Q931Call) or not other.waits_for_channel:
            return False
        # A call whose SETUP is not out yet has told nobody of its channel.
        if other.state is not State.NULL and not self.link.yields(
            ours_exclusive=other.exclusive, theirs_exclusive=exclusive
        ):
            return False
        self.link.channels.take_over(channel.timeslot, self)
        other.lose_channel()
        return True

    def _first_answer(self, message: Message) -> bool:
        """The first answer to our SETUP says which channel it is to be; False if that cannot be and the call ends."""
        self.stop(Q931Timer.T303)
        if self.answered:
            return True
        self.answered = True
        given = message.first(ChannelIdentification)
        timeslot = given.channel if given is not None else None
        if timeslot is not None and (self.channel is None or self.channel.timeslot != timeslot):
            self._change_channel(timeslot)
        if self.channel is None:
            # Lost in glare and no other offered, none ever named, or one that we cannot use (5.2.3.1, cause 6).
            self.clear_with_release(Cause.CHANNEL_UNACCEPTABLE)
            return False
        # The glare is over; a cause for want of a channel that comes from now on is the call's own.
        self.yielded = False
        self.indicate(Primitive.CHANNEL, message)
        return True

    def _change_channel(self, timeslot: int) -> None:
        channels = self.link.channels
        new = None
        if self.channel is None or not self.exclusive:
            new = channels.seize(timeslot, self, incoming=True)
            if new is None:
                new = self._take_from_waiting(timeslot)
        if self.channel is not None:
            channels.release(self.channel.timeslot, self)
        self.channel = new

    def _take_from_waiting(self, timeslot: int) -> BChannel | None:
        """A channel that another call of ours has asked for in vain: the far end gave it away before it knew."""
        channel = self.link.channels.get(timeslot)
        other = channel.owner if channel is not None else None
        if channel is None or not isinstance(other, Q931Call) or not other.waits_for_channel:
            return None
        self.link.channels.take_over(timeslot, self)
        other.lose_channel()
        return channel

    @property
    def waits_for_channel(self) -> bool:
        """True until our SETUP was answered: the channel is wished for, not agreed."""
        return self.originated and not self.released and not self.answered

    def lose_channel(self) -> None:
        """Another call has the channel now. Before SETUP we take another; after it the first answer has to name one."""
        self.channel = None
        if self.state is State.NULL:
            self.channel = self.link.channels.hunt(self.link.answer_hunt, self)
        else:
            self.yielded = True

    # -- messages the calling side receives --

    def on_setup_acknowledge(self, message: Message) -> None:
        """5.1.3, 5.2.4: more digits are wanted."""
        if self.state in CLEARING or not self._first_answer(message):
            return
        self.set_state(self.chain.overlap)
        self.start(Q931Timer.T304)
        self.indicate(Primitive.MORE_INFORMATION, message)
        waiting, self._waiting_digits = self._waiting_digits, []
        if waiting:
            self.digits("".join(digits for digits, _ in waiting), any(complete for _, complete in waiting))

    def on_call_proceeding(self, message: Message) -> None:
        """5.1.5.1, 5.2.5.1: no more digits are wanted."""
        if self.state in CLEARING or not self._first_answer(message):
            return
        self._enter_proceeding(message)
        self.indicate(Primitive.PROCEEDING, message)

    def _enter_proceeding(self, message: Message) -> None:
        self.stop(Q931Timer.T304)
        self.set_state(self.chain.proceeding)
        if not self.link.variant.inband(message):
            # What can be heard is as good as PROGRESS, which stops T310 (table 9-1).
            self.start(Q931Timer.T310)

    def on_progress(self, message: Message) -> None:
        """5.1.6, 5.2.6; sent by a calling side it only informs."""
        if self.state in CLEARING:
            return
        if self.originated:
            if self.state is self.chain.setup:
                # No answer in Q.931: CALL PROCEEDING may still come, and with it another channel than the preferred
                # one, unless this one names a channel or lets us hear something on it.
                self.stop(Q931Timer.T303)
                settles = message.first(ChannelIdentification) is not None or self.link.variant.inband(message)
                if settles and not self._first_answer(message):
                    return
            self.stop(Q931Timer.T310)
            self.stop(Q931Timer.T304)
        self.indicate(Primitive.PROGRESS, message)

    def on_alerting(self, message: Message) -> None:
        """5.1.7, 5.2.5.2."""
        if self.state in CLEARING or not self._first_answer(message):
            return
        self.stop(Q931Timer.T304)
        self.stop(Q931Timer.T310)
        self.set_state(self.chain.alerting)
        self.start(Q931Timer.T301)
        self.indicate(Primitive.ALERTING, message)

    def on_connect(self, message: Message) -> None:
        """5.1.8, 5.2.7, 5.2.8: acknowledged by the network because it must, by the user because it may."""
        if self.state in CLEARING or not self._first_answer(message):
            return
        self.stop(Q931Timer.T304)
        self.stop(Q931Timer.T310)
        self.stop(Q931Timer.T301)
        self.send(MessageType.CONNECT_ACKNOWLEDGE, ())
        self.set_state(State.ACTIVE)
        self.indicate(Primitive.CONNECT, message)

    # -- messages the called side receives --

    def on_connect_acknowledge(self, message: Message) -> None:
        """5.2.8."""
        if self.state is State.CONNECT_REQUEST:
            self.stop(Q931Timer.T313)
            self.set_state(State.ACTIVE)
            self.indicate(Primitive.CONNECTED, message)

    # -- after a reset of the link --

    def link_reset(self) -> None:
        """5.8.8; what waits for an answer is sent again, before its timer runs out."""
        if self.originated and self.state is self.chain.setup:
            repeat_setup(self)
        elif self.state in (self.chain.disconnect_sent, State.RELEASE_REQUEST) and self.clearing_cause is not None:
            repeat_clearing(self, self.clearing_cause)
        else:
            super().link_reset()

    def on_setup_again(self) -> None:
        """The caller's T303 ran out: what we answered was lost (5.2.1)."""
        repeat_answer(self)

    def catch_up(self, reported: int, message: Message) -> bool:
        """Mend what got lost, as the far end's state tells; True if that was done."""
        return catch_up(self, reported, message)

    # -- messages of both sides --

    def on_information(self, message: Message) -> None:
        """5.1.3, 5.2.4: digits during overlap; otherwise display or keypad."""
        if self.state in CLEARING:
            return
        if not self.originated and self.state is self.chain.overlap:
            if message.first(SendingComplete) is not None:
                self.stop(Q931Timer.T302)
            else:
                self.start(Q931Timer.T302)
        self.indicate(Primitive.INFORMATION, message)

    def on_notify(self, message: Message) -> None:
        """5.9."""
        if self.state not in CLEARING:
            self.indicate(Primitive.NOTIFY, message)

    def on_facility(self, message: Message) -> None:
        """Q.932; what is not understood is ignored there."""
        if self.state not in CLEARING:
            self.indicate(Primitive.FACILITY, message)

    def on_user_information(self, _message: Message) -> None:
        """7.1: user-to-user data during a call is a supplementary service that is not offered; nothing is answered."""

    # -- timers of establishment --

    def expire_t301(self) -> None:
        """Rang for too long."""
        self.clear(Cause.RECOVERY_ON_TIMER_EXPIRY, tell=Cause.NO_ANSWER_FROM_USER)

    def expire_t302(self) -> None:
        """5.1.3, 5.2.4: no more digits came; whether the number is complete is the owner's to say."""
        self.indicate(Primitive.DIGITS_COMPLETE)

    def expire_t303(self) -> None:
        """5.1.1, 5.2.1: SETUP once more, then give up with RELEASE COMPLETE."""
        if self.transmissions < SETUP_TRANSMISSIONS and self.setup_message is not None:
            self.transmissions += 1
            self.link.transmit(self.setup_message)
            self.start(Q931Timer.T303)
            return
        self.send(MessageType.RELEASE_COMPLETE, (self.cause_element(Cause.RECOVERY_ON_TIMER_EXPIRY),))
        network = self.link.side is Side.NETWORK
        self.end(self.cause_element(Cause.NO_USER_RESPONDING if network else Cause.RECOVERY_ON_TIMER_EXPIRY))

    def expire_t304(self) -> None:
        """5.1.3, 5.2.4: the far end neither takes the number for complete nor gets more of it."""
        self.clear(Cause.RECOVERY_ON_TIMER_EXPIRY, tell=Cause.INVALID_NUMBER_FORMAT)

    def expire_t310(self) -> None:
        """5.2.5.3, D.1: nothing after CALL PROCEEDING."""
        network = self.link.side is Side.NETWORK
        self.clear(
            Cause.RECOVERY_ON_TIMER_EXPIRY,
            tell=Cause.NO_USER_RESPONDING if network else Cause.RECOVERY_ON_TIMER_EXPIRY,
        )

    def expire_t313(self) -> None:
        """5.2.8: CONNECT was not acknowledged."""
        self.clear(Cause.RECOVERY_ON_TIMER_EXPIRY, tell=Cause.RECOVERY_ON_TIMER_EXPIRY)


MAX_WAITING_DIGITS = 32
"""Digit strings kept while SETUP is unanswered."""

Handler = Callable[..., None]

HANDLERS: dict[int, Handler] = {
    MessageType.SETUP_ACKNOWLEDGE: Q931Call.on_setup_acknowledge,
    MessageType.CALL_PROCEEDING: Q931Call.on_call_proceeding,
    MessageType.PROGRESS: Q931Call.on_progress,
    MessageType.ALERTING: Q931Call.on_alerting,
    MessageType.CONNECT: Q931Call.on_connect,
    MessageType.CONNECT_ACKNOWLEDGE: Q931Call.on_connect_acknowledge,
    MessageType.INFORMATION: Q931Call.on_information,
    MessageType.NOTIFY: Q931Call.on_notify,
    MessageType.FACILITY: Q931Call.on_facility,
    MessageType.USER_INFORMATION: Q931Call.on_user_information,
    MessageType.CONGESTION_CONTROL: Q931Call.on_user_information,
    MessageType.DISCONNECT: Q931Call.on_disconnect,
    MessageType.RELEASE: Q931Call.on_release,
    MessageType.RELEASE_COMPLETE: Q931Call.on_release_complete,
    MessageType.STATUS: Q931Call.on_status,
    MessageType.STATUS_ENQUIRY: Q931Call.on_status_enquiry,
}
"""What a call does with a message that its state allows (``states.RECEIVABLE``)."""

EXPIRIES: dict[Q931Timer, Callable[[Q931Call], None]] = {
    Q931Timer.T301: Q931Call.expire_t301,
    Q931Timer.T302: Q931Call.expire_t302,
    Q931Timer.T303: Q931Call.expire_t303,
    Q931Timer.T304: Q931Call.expire_t304,
    Q931Timer.T305: Q931Call.expire_t305,
    Q931Timer.T306: Q931Call.expire_t305,
    Q931Timer.T308: Q931Call.expire_t308,
    Q931Timer.T309: Q931Call.expire_t309,
    Q931Timer.T310: Q931Call.expire_t310,
    Q931Timer.T313: Q931Call.expire_t313,
    Q931Timer.T322: Q931Call.expire_t322,
}


def _is_b(wanted: ChannelIdentification) -> bool:
    return not wanted.d_channel and wanted.channel_type == ChannelType.B
