"""One call of a PRI trunk as a leg: what the far end does becomes leg events, with the primitives of Q.931.

What its call asks of it is in ``leg_commands``, its voice and its end in ``leg_voice``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway import leg as words
from gateway.cause import Cause
from gateway.identity import MAX_DIGITS, Party
from gateway.pri.leg_commands import CommandedLeg
from gateway.pri.q931.conveyed import read_conveyed
from gateway.pri.q931.ie import (
    CauseElement,
    KeypadFacility,
    Notification,
    NotificationIndicator,
    RedirectionNumber,
    SendingComplete,
)
from gateway.pri.q931.message import Message
from gateway.pri.q931.primitives import CallIndication, Primitive
from gateway.pri.q931.states import State
from gateway.pri.q931.timers import Q931Timer

if TYPE_CHECKING:
    from gateway.pri.trunk import LegTimer

_HELD = frozenset({Notification.REMOTE_HOLD, Notification.USER_SUSPENDED})
_RESUMED = frozenset({Notification.REMOTE_RETRIEVAL, Notification.USER_RESUMED})
# Said by the number or the structure that comes with them.
_NOT_ALONE = frozenset(
    {Notification.CALL_TRANSFER_ALERTING, Notification.CALL_TRANSFER_ACTIVE, Notification.ENCODED_STRUCTURE}
)


class PriLeg(CommandedLeg):
    """Implements ``gateway.leg.Leg``. Made by ``PriTrunk`` only."""

    __slots__ = ()

    def on_indication(self, indication: CallIndication) -> None:
        """Take what happened to the call."""
        _PRIMITIVES[indication.primitive](self, indication)

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

    def expire(self, timer: LegTimer) -> None:
        """One of this leg's timers expired."""
        if timer is self._trunk.timer_kinds.NAME:
            self._make_offer()
        else:
            super().expire(timer)


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
