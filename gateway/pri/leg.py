"""One call of a PRI trunk as a leg: leg commands become Q.931 requests, Q.931 primitives become leg events.

The B channel's stream is opened when the channel is agreed and closed when the call is cleared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway import leg as words
from gateway.cause import Cause, Location
from gateway.identity import MAX_DIGITS, Party
from gateway.leg import Conveyed, LegEvent, Listener, Setup
from gateway.media.api import Failure, Opened, Statistics
from gateway.pri.lapd import Side
from gateway.pri.q931.call import Q931Call
from gateway.pri.q931.conveyed import read_conveyed, with_access
from gateway.pri.q931.ie import (
    CauseElement,
    InformationElement,
    KeypadFacility,
    Notification,
    NotificationIndicator,
    ProgressDescription,
    ProgressIndicator,
    RedirectionNumber,
    SendingComplete,
)
from gateway.pri.q931.message import Message, MessageType
from gateway.pri.q931.primitives import CallIndication, Primitive
from gateway.pri.q931.states import State
from gateway.pri.q931.timers import Q931Timer
from gateway.pri.q931.variant import MAX_PROGRESS

if TYPE_CHECKING:
    from gateway.pri.trunk import LegTimer, PriTrunk

_HELD = frozenset({Notification.REMOTE_HOLD, Notification.USER_SUSPENDED})
_RESUMED = frozenset({Notification.REMOTE_RETRIEVAL, Notification.USER_RESUMED})
# Said by the number or the structure that comes with them.
_NOT_ALONE = frozenset(
    {Notification.CALL_TRANSFER_ALERTING, Notification.CALL_TRANSFER_ACTIVE, Notification.ENCODED_STRUCTURE}
)
# What a far end answers to the loser of a glare; the channel was taken, nothing is wrong with the call.
_GLARE_CAUSES = frozenset(
    {Cause.NO_CIRCUIT_AVAILABLE, Cause.REQUESTED_CIRCUIT_NOT_AVAILABLE, Cause.CHANNEL_UNACCEPTABLE}
)


class PriLeg:
    """Implements ``gateway.leg.Leg``. Made by ``PriTrunk`` only."""

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

    # -- commands --

    def place(self, setup: Setup, now: int) -> None:
        """Start an outgoing call: SETUP, or wait for the digits it needs."""
        if self.incoming or self._placed or self._ours or self._over:
            return
        self._placed = True
        self._trunk.enter(now)
        if setup.complete or self._sendable(setup):
            self._send_setup(setup)
        else:
            self._collecting = setup
            self._trunk.start_leg_timer(self, self._trunk.timer_kinds.INTERDIGIT, now)

    def _sendable(self, setup: Setup) -> bool:
        trunk = self._trunk
        return (
            trunk.variant.overlap
            and trunk.settings.overlap_send
            and len(setup.called.digits) >= trunk.settings.overlap_send_minimum
        )

    def _send_setup(self, setup: Setup) -> None:
        trunk, call = self._trunk, self.call
        settings = trunk.settings
        if not trunk.neutral_numbering:
            setup = settings.numbering.sent(setup)
        channel = call.channel
        if channel is None:
            # The far end took it for a call of its own before this one went out, and there was no other.
            channel = call.channel = trunk.channels.hunt(settings.hunt, call)
        if channel is None:
            call.abandon(Cause.NO_CIRCUIT_AVAILABLE)
            return
        self._timeslot = channel.timeslot
        element = trunk.variant.channel_identification((channel.timeslot,), exclusive=settings.insists)
        try:
            elements = trunk.variant.setup_elements(setup, trunk.line3, element)
        except ValueError as error:
            trunk.note(f"{self.name}: {error}")
            call.abandon(Cause.INVALID_NUMBER_FORMAT)
            return
        if not call.setup(elements):
            call.abandon(Cause.TEMPORARY_FAILURE)

    def proceed(self, now: int) -> None:
        """CALL PROCEEDING."""
        if self._answerable(now):
            self._open()
            call = self.call
            call.proceeding(())
            # It may have gone out before, while the name was waited for.
            if call.state is call.chain.proceeding and self._trunk.patience:
                self._delaying = True
                self._trunk.start_leg_timer(self, self._trunk.timer_kinds.DELAY, now)

    def _end_delay(self) -> None:
        if self._delaying:
            self._delaying = False
            self._trunk.stop_leg_timer(self, self._trunk.timer_kinds.DELAY)

    def progress(self, inband: bool, now: int, cause: Cause | None = None, conveyed: Conveyed | None = None) -> None:
        """PROGRESS; as a network with a cause and something to hear, DISCONNECT with in-band information (5.3.4.1)."""
        if not self._answerable(now):
            return
        self._open()
        self._end_delay()
        trunk, call = self._trunk, self.call
        if inband and cause is not None and trunk.settings.inband_on_disconnect and call.link.side is Side.NETWORK:
            self._release_cause = cause
            # DISCONNECT cannot say on which channel there is something to hear.
            call.proceeding(())
            call.clear(cause, elements=self._indicator(ProgressDescription.INBAND_INFORMATION))
            return
        elements = self._backward(MessageType.PROGRESS, (), inband=inband, conveyed=conveyed)
        if not any(element.__class__ is ProgressIndicator for element in elements):
            # It must have one; what else may be said of a way through other networks is this (5.1.6).
            elements = (*self._not_end_to_end(), *elements)
        if cause is not None:
            elements = (call.cause_element(cause), *elements)
        call.progress(elements)

    def alert(self, inband: bool, now: int, conveyed: Conveyed | None = None) -> None:
        """ALERTING, with progress indicator 8 if there is something to hear."""
        if self._answerable(now):
            self._open()
            self._end_delay()
            self.call.alerting(self._backward(MessageType.ALERTING, (), inband=inband, conveyed=conveyed))

    def answer(self, connected: Party | None, now: int, conveyed: Conveyed | None = None) -> None:
        """CONNECT, with who answered."""
        if self._answerable(now):
            self._open()
            self._end_delay()
            trunk = self._trunk
            elements = trunk.variant.connected_elements(connected or self._connected, trunk.line3)
            self.call.connect(self._backward(MessageType.CONNECT, elements, inband=False, conveyed=conveyed))

    def _backward(
        self,
        kind: MessageType,
        elements: tuple[InformationElement, ...],
        *,
        inband: bool,
        conveyed: Conveyed | None,
    ) -> tuple[InformationElement, ...]:
        """What goes back to the caller besides ``elements``; where the call has left ISDN is told once (Q.699)."""
        if inband:
            elements = (*self._indicator(ProgressDescription.INBAND_INFORMATION), *elements)
        if conveyed is None:
            return elements
        met = [one for one in conveyed.progress if one.interworking not in self._told]
        if met:
            self._told = (*self._told, *(one.interworking for one in met))
            trunk = self._trunk
            indicators = trunk.variant.progress_elements(met, trunk.settings.side)
            elements = (*indicators[: MAX_PROGRESS - inband], *elements)
        return with_access(kind, elements, conveyed)

    def digits(self, digits: str, complete: bool, now: int) -> None:
        """More digits: into the SETUP that waits for them, or INFORMATION."""
        if self.incoming or self._ours or self._over:
            return
        self._trunk.enter(now)
        setup = self._collecting
        if setup is None:
            self.call.digits(digits, complete)
            return
        called = replace(setup.called, digits=(setup.called.digits + digits)[:MAX_DIGITS])
        setup = replace(setup, called=called, complete=complete or setup.complete)
        if setup.complete or self._sendable(setup):
            self._dial(setup)
        else:
            self._collecting = setup
            self._trunk.start_leg_timer(self, self._trunk.timer_kinds.INTERDIGIT, now)

    def _dial(self, setup: Setup) -> None:
        self._collecting = None
        self._trunk.stop_leg_timer(self, self._trunk.timer_kinds.INTERDIGIT)
        self._send_setup(setup)

    def keypad(self, digits: str, milliseconds: int, now: int) -> bool:  # noqa: ARG002 - signalled digits have no length
        """INFORMATION with Keypad facility, if the trunk is set to send digits so; False if not."""
        if not self._trunk.settings.keypad_in_call or self.call.state is not State.ACTIVE or self._ours:
            return False
        self._trunk.enter(now)
        return self.call.information((KeypadFacility(digits[:MAX_DIGITS]),))

    def hold(self, now: int) -> None:
        """NOTIFY: remote hold."""
        self._notify(Notification.REMOTE_HOLD, now)

    def resume(self, now: int) -> None:
        """NOTIFY: remote retrieval."""
        self._notify(Notification.REMOTE_RETRIEVAL, now)

    def _notify(self, description: Notification, now: int, elements: tuple[InformationElement, ...] = ()) -> None:
        if self._trunk.variant.notifies_hold and self.call.state is State.ACTIVE and not self._ours:
            self._trunk.enter(now)
            self.call.notify((NotificationIndicator(description), *elements))

    def identify(self, connected: Party, now: int) -> None:
        """Before answer kept for CONNECT; later NOTIFY: call transferred, with the new number (ETS 300 369-1)."""
        if self.incoming and self.call.state is not State.ACTIVE:
            self._connected = connected
        elif connected.number is not None:
            self._notify(Notification.CALL_TRANSFER_ACTIVE, now, (RedirectionNumber.from_number(connected.number),))

    def notify(self, description: int, now: int) -> None:
        """NOTIFY (5.9), before answer too: a transit network passes it on."""
        if self._trunk.variant.notifies and not self._ours and not self._over:
            self._trunk.enter(now)
            self.call.notify((NotificationIndicator(description),))

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

    def _answerable(self, now: int) -> bool:
        self._trunk.enter(now)
        return self.incoming and not self._ours and not self._over

    def _indicator(self, description: ProgressDescription) -> tuple[InformationElement, ...]:
        trunk = self._trunk
        return (trunk.variant.progress_element(description, trunk.settings.side),)

    def _not_end_to_end(self) -> tuple[InformationElement, ...]:
        self._told = (*self._told, ProgressDescription.NOT_END_TO_END_ISDN)
        return self._indicator(ProgressDescription.NOT_END_TO_END_ISDN)

    # -- primitives --

    def on_indication(self, indication: CallIndication) -> None:
        """Take what happened to the call."""
        _PRIMITIVES[indication.primitive](self, indication)

    def tell(self, event: LegEvent) -> None:
        """Queue an event for the listener."""
        if not self._over:
            self._trunk.queue(self, event)

    def _on_setup(self, indication: CallIndication) -> None:
        message = indication.message
        assert message is not None  # noqa: S101 - SETUP comes with its message
        trunk = self._trunk
        settings, variant = trunk.settings, trunk.variant
        complete = not settings.overlap_receive or not variant.overlap or message.first(SendingComplete) is not None
        setup = variant.read_setup(message, complete=complete)
        if not trunk.neutral_numbering:
            setup = settings.numbering.received(setup)
        if not complete:
            digits, complete = self._without_end(setup.called.digits)
            if complete:
                setup = replace(setup, called=replace(setup.called, digits=digits), complete=True)
        self._offer = setup
        if not complete and len(setup.called.digits) < settings.overlap_receive_minimum:
            self._open()
            self.call.more_information(())
        elif setup.caller.name is None and settings.name_wait and variant.name_follows(message):
            self._open()
            self.call.proceeding(())
            trunk.start_leg_timer(self, trunk.timer_kinds.NAME, trunk.q931.now)
        else:
            self._make_offer()

    def _make_offer(self) -> None:
        offer, self._offer = self._offer, None
        if offer is not None:
            settings = self._trunk.settings
            self._trunk.queue(self, words.Offered(offer, settings.context, settings.name))

    def offered(self) -> None:
        """The owner has seen the call: if it needs more digits and nothing was answered, ask for them."""
        call = self.call
        if call.state is call.chain.setup and not self._ours and self._waits_for_digits():
            self._open()
            call.more_information(())

    def _waits_for_digits(self) -> bool:
        message = self.call.setup_message
        trunk = self._trunk
        return (
            trunk.settings.overlap_receive
            and trunk.variant.overlap
            and message is not None
            and message.first(SendingComplete) is None
            and not self._number_ended
        )

    def _without_end(self, digits: str) -> tuple[str, bool]:
        """Digits of an overlap call without the "#" that ends the number (5.1.1), and whether there was one.

        In what begins with "*" or "#", a feature code, it is a digit like any other.
        """
        self._first_digit = self._first_digit or digits[:1]
        if not digits.endswith("#") or self._first_digit in "*#":
            return digits, False
        self._number_ended = True
        self.call.stop(Q931Timer.T302)
        return digits[:-1], True

    def _on_information(self, indication: CallIndication) -> None:
        message = indication.message
        assert message is not None  # noqa: S101 - INFORMATION comes with its message
        call = self.call
        if call.originated or call.state not in (call.chain.setup, call.chain.overlap):
            keypad = message.first(KeypadFacility)
            if keypad is not None and call.state is State.ACTIVE:
                digits = keypad.dialled
                if digits:
                    self.tell(words.Keypad(digits))
            return
        digits, ended = self._without_end(self._trunk.variant.read_digits(message))
        self._more_digits(digits, ended or message.first(SendingComplete) is not None)

    def _more_digits(self, digits: str, complete: bool) -> None:
        offer = self._offer
        if offer is None:
            if digits or complete:
                self.tell(words.Digits(digits, complete))
            return
        called = replace(offer.called, digits=(offer.called.digits + digits)[:MAX_DIGITS])
        self._offer = replace(offer, called=called, complete=complete)
        if complete or len(called.digits) >= self._trunk.settings.overlap_receive_minimum:
            self._make_offer()

    def _on_digits_complete(self, _indication: CallIndication) -> None:
        self._more_digits("", True)

    def _on_more_information(self, indication: CallIndication) -> None:
        if self._hears(indication.message):
            self.tell(words.Progress(inband=True))

    def _on_proceeding(self, indication: CallIndication) -> None:
        self.tell(words.Proceeding())
        message = indication.message
        conveyed = read_conveyed(message) if message is not None else None
        inband = self._hears(message)
        if inband or (conveyed is not None and conveyed.progress):
            self.tell(words.Progress(inband, None, conveyed))

    def _on_progress(self, indication: CallIndication) -> None:
        if self.incoming:
            return
        message = indication.message
        cause = message.first(CauseElement) if message is not None else None
        inband = self._hears(message)
        conveyed = read_conveyed(message) if message is not None else None
        self.tell(words.Progress(inband, cause.cause if cause is not None else None, conveyed))

    def _on_alerting(self, indication: CallIndication) -> None:
        message = indication.message
        self._hears(message)
        self.tell(words.Alerting(self._inband, read_conveyed(message) if message is not None else None))

    def _hears(self, message: Message | None) -> bool:
        inband = message is not None and self._trunk.variant.inband(message)
        self._inband = self._inband or inband
        return inband

    def _on_connect(self, indication: CallIndication) -> None:
        message = indication.message
        connected = self._trunk.variant.read_connected(message) if message is not None else None
        if connected is not None:
            connected = self._trunk.settings.numbering.received_party(connected)
        self.tell(words.Answered(connected, read_conveyed(message) if message is not None else None))

    def _on_channel(self, _indication: CallIndication) -> None:
        self._open()

    def _on_notify(self, indication: CallIndication) -> None:
        message = indication.message
        if message is None:
            return
        for indicator in message.all(NotificationIndicator):
            if indicator.description in _HELD:
                self.tell(words.Held())
            elif indicator.description in _RESUMED:
                self.tell(words.Resumed())
            elif indicator.description not in _NOT_ALONE:
                self.tell(words.Notified(indicator.description))
        number = message.first(RedirectionNumber)
        if number is not None:
            party = Party(number.to_number())
            self.tell(words.Identified(self._trunk.settings.numbering.received_party(party)))

    def _on_facility(self, indication: CallIndication) -> None:
        message = indication.message
        if message is None:
            return
        name, presentation = self._trunk.variant.read_name(message)
        if name is None:
            return
        if self._offer is not None:
            caller = replace(self._offer.caller, name=name, name_presentation=presentation)
            self._offer = replace(self._offer, caller=caller)
            self._trunk.stop_leg_timer(self, self._trunk.timer_kinds.NAME)
            self._make_offer()
        elif not self.incoming:
            self.tell(words.Identified(Party(None, name, presentation)))

    def _on_disconnect(self, indication: CallIndication) -> None:
        """The far end clears but has something to say: heard out for a while, then released."""
        cause = indication.cause
        assert cause is not None  # noqa: S101 - DISCONNECT always has a cause here
        self._release_cause = cause.cause
        if self.incoming:
            # A caller that has hung up; networks add the indicator all the same, and nobody listens any more.
            self._finish(cause)
            self.call.clear(Cause.NORMAL_CALL_CLEARING)
            return
        self._inband = True
        self._open()  # DISCONNECT may be the first answer
        self.tell(words.Progress(True, cause.cause))
        self._trunk.start_leg_timer(self, self._trunk.timer_kinds.HOLD, self._trunk.q931.now)

    def _on_cleared(self, indication: CallIndication) -> None:
        self._finish(indication.cause)

    def _on_release(self, indication: CallIndication) -> None:
        self._finish(indication.cause)
        self._trunk.forget(self)

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
            self._trunk.queue(self, released)

    # -- timers --

    def expire(self, timer: LegTimer) -> None:
        """One of this leg's timers expired."""
        kinds = self._trunk.timer_kinds
        if timer is kinds.INTERDIGIT:
            if self._collecting is not None:
                self._dial(replace(self._collecting, complete=True))
        elif timer is kinds.NAME:
            self._make_offer()
        elif timer is kinds.HOLD:
            self.call.clear(Cause.NORMAL_CALL_CLEARING)
        elif timer is kinds.COUNTERS:
            self._report()
        elif timer is kinds.DELAY and self._delaying:
            self._delaying = False
            if not self._ours and not self._over:
                # Nothing to hear and nobody rings yet: only that the way goes on elsewhere, which stops T310 at the
                # far end (5.1.6, 5.2.5.2; QSIG's 1 or 8 alike).
                self.call.progress(self._not_end_to_end())

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


_PRIMITIVES: dict[Primitive, Callable[[PriLeg, CallIndication], None]] = {
    Primitive.SETUP: PriLeg._on_setup,
    Primitive.MORE_INFORMATION: PriLeg._on_more_information,
    Primitive.INFORMATION: PriLeg._on_information,
    Primitive.DIGITS_COMPLETE: PriLeg._on_digits_complete,
    Primitive.PROCEEDING: PriLeg._on_proceeding,
    Primitive.PROGRESS: PriLeg._on_progress,
    Primitive.ALERTING: PriLeg._on_alerting,
    Primitive.CONNECT: PriLeg._on_connect,
    Primitive.CONNECTED: lambda leg, indication: None,  # noqa: ARG005 - nothing to tell: our side answered
    Primitive.NOTIFY: PriLeg._on_notify,
    Primitive.FACILITY: PriLeg._on_facility,
    Primitive.CHANNEL: PriLeg._on_channel,
    Primitive.DISCONNECT: PriLeg._on_disconnect,
    Primitive.CLEARED: PriLeg._on_cleared,
    Primitive.RELEASE: PriLeg._on_release,
}
