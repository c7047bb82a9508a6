"""What a call asks of a leg of a PRI trunk, as Q.931 requests: outgoing calls, answers to incoming ones, and both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.cause import Cause
from gateway.identity import MAX_DIGITS, Party
from gateway.leg import Conveyed, Leg, Setup, TransferStep
from gateway.pri.lapd import Side
from gateway.pri.leg_voice import VoicedLeg
from gateway.pri.q931.conveyed import with_access
from gateway.pri.q931.ie import (
    InformationElement,
    KeypadFacility,
    Notification,
    NotificationIndicator,
    ProgressDescription,
    ProgressIndicator,
    RedirectionNumber,
)
from gateway.pri.q931.message import MessageType
from gateway.pri.q931.states import State
from gateway.pri.q931.variant import MAX_PROGRESS

if TYPE_CHECKING:
    from gateway.pri.trunk import LegTimer


class CommandedLeg(VoicedLeg):
    """A leg as far as its call commands it; see ``PriLeg``."""

    __slots__ = ()

    # -- outgoing --

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

    # -- incoming --

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
        return with_access(kind, elements, conveyed, self._trunk.variant.conveyed)

    def _answerable(self, now: int) -> bool:
        self._trunk.enter(now)
        return self.incoming and not self._ours and not self._over

    def _indicator(self, description: ProgressDescription) -> tuple[InformationElement, ...]:
        trunk = self._trunk
        return (trunk.variant.progress_element(description, trunk.settings.side),)

    def _not_end_to_end(self) -> tuple[InformationElement, ...]:
        self._told = (*self._told, ProgressDescription.NOT_END_TO_END_ISDN)
        return self._indicator(ProgressDescription.NOT_END_TO_END_ISDN)

    # -- both --

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

    def transfer(self, step: TransferStep, now: int, cause: Cause | None = None) -> None:  # noqa: ARG002
        """Nothing: a PRI does not ask for transfers."""
        return

    def begin_with(self, caller: Leg) -> None:  # noqa: ARG002
        """Nothing: as ``join``."""
        return

    def join(self, other: Leg | None, now: int) -> None:  # noqa: ARG002
        """Nothing: a B channel's voice is always in the media engine."""
        return

    def expire(self, timer: LegTimer) -> None:
        """One of this leg's timers expired."""
        kinds = self._trunk.timer_kinds
        if timer is kinds.INTERDIGIT:
            if self._collecting is not None:
                self._dial(replace(self._collecting, complete=True))
        elif timer is kinds.DELAY:
            if self._delaying:
                self._delaying = False
                if not self._ours and not self._over:
                    # Nothing to hear and nobody rings yet: only that the way goes on elsewhere, which stops T310 at
                    # the far end (5.1.6, 5.2.5.2; QSIG's 1 or 8 alike).
                    self.call.progress(self._not_end_to_end())
        else:
            super().expire(timer)
