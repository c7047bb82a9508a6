"""Transfer of an answered call: one side asks that the other be sent elsewhere (blind) or to its other call (attended).

Where the call may be sent is what the dial plan says in the context of the side that asks. The side that is sent goes
on in the call; the one that asked leaves it when the transfer is done and has it back if it fails.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from gateway import leg as words
from gateway.call_history import TransferAttempt
from gateway.call_hold import HoldingCall
from gateway.call_security import facts_of, hindrance, wanted_of
from gateway.call_states import Purpose, State, Switch
from gateway.cause import Cause
from gateway.core import SECOND
from gateway.identity import Number, Party
from gateway.leg import Leg, LegEvent, TransferStep
from gateway.routing.dialplan import (
    Destination,
    EchoDestination,
    IaxDestination,
    LegDestination,
    PhoneDestination,
    PlayDestination,
    PriDestination,
    RejectDestination,
    Route,
    TonedDestination,
    TrunkDestination,
)

log = logging.getLogger(__name__)

MAX_TRANSFERS = 16
"""Legs that may come into one call by transfer; a further one is refused."""
TRANSFER_RING = 180 * SECOND
"""How long a target may ring where its route sets no time: T301 of Q.931 and timer C of SIP are as long."""


@dataclass(slots=True)
class Transfer:
    """A blind transfer under way. ``gone``: the side that asked has hung up; ``heard``: the target's voice is."""

    transferor: Leg
    transferee: Leg
    by_caller: bool
    setup: words.Setup
    destinations: Sequence[Destination]
    ring_seconds: int | None
    secure_bridge: frozenset[str]
    next: int = 0
    leg: Leg | None = None
    attempt: TransferAttempt | None = None
    gone: bool = False
    heard: bool = False
    timed_out: bool = False
    cause: Cause = Cause.NO_ROUTE_TO_DESTINATION


class TransferringCall(HoldingCall):
    """A call as far as its sides may change; see ``gateway.call.Call``."""

    __slots__ = ("_transfer",)

    def __init__(self, identity: str, switch: Switch, leg: Leg, setup: words.Setup, now: int) -> None:
        super().__init__(identity, switch, leg, setup, now)
        self._transfer: Transfer | None = None

    def on_leg(self, leg: Leg, event: LegEvent, now: int) -> None:
        """Take one event of one of the legs."""
        raise NotImplementedError

    # -- asked for --

    def _on_transferred(self, leg: Leg, event: words.Transferred, now: int) -> None:
        other = self._partner(leg)
        if (
            self.state is not State.ANSWERED
            or other is None
            or self._transfer is not None
            or not self.setup.speech
            or len(self.history.transfers) >= MAX_TRANSFERS
        ):
            leg.transfer(TransferStep.FAILED, now, Cause.FACILITY_REJECTED)
        elif event.replaces is not None:
            self._hand_over(leg, other, event.replaces, now)
        else:
            self._send_elsewhere(leg, other, event, now)

    def _send_elsewhere(self, leg: Leg, other: Leg, event: words.Transferred, now: int) -> None:
        # The hop that will be bridged is the other side's: what the one who asks can vouch for says nothing of it.
        facts = self.setup.facts if self.history.attempt_of(other) is None else frozenset[str]()
        setup = words.Setup(
            event.target,
            self._party_of(other) or Party(),
            facts=facts,
            hops=self.setup.hops,
            referred_by=event.referred_by,
        )
        routing = self._switch.route(event.context, setup)
        self._note(f"{leg.source} transfers to {event.target.digits}")
        if not isinstance(routing, Route):
            cause = getattr(routing, "cause", Cause.INVALID_NUMBER_FORMAT)
            self._note(f"not transferred: {getattr(routing, 'reason', 'the number is not complete')}")
            leg.transfer(TransferStep.FAILED, now, cause)
            return
        self.history.emergency = self.history.emergency or routing.emergency
        self.history.sent_by += (leg.source,)
        self._transfer = Transfer(
            leg,
            other,
            leg is self.incoming,
            setup,
            self._switch.ordered(routing.destinations),
            routing.ring_seconds,
            # What this call's route asks of the place is asked of whoever comes into it.
            routing.secure_bridge | self.asked_of(leg, "pri"),
        )
        self._transferring = True
        leg.transfer(TransferStep.TRYING, now)
        self._settle_join(now)
        if self._own_stream is None or self._hearer is not other:
            self._play_music(other)
        self._wire()
        self._try_target(now)

    def _party_of(self, leg: Leg) -> Party | None:
        """Who is at ``leg``, as far as this call knows."""
        history = self.history
        attempt = history.attempt_of(leg)
        if attempt is None:
            return self.setup.caller
        if attempt.party is not None:
            return attempt.party
        if history.connected is not None and history.attempts and attempt is history.attempts[-1]:
            return history.connected
        return Party(Number(attempt.number)) if attempt.number else None

    # -- the target is tried --

    def _try_target(self, now: int) -> None:
        transfer = self._transfer
        while transfer is not None and transfer.next < len(transfer.destinations):
            destination = transfer.destinations[transfer.next]
            transfer.next += 1
            match destination:
                case PriDestination() | TrunkDestination() | PhoneDestination() | IaxDestination():
                    if self._place_target(transfer, destination, now):
                        return
                    if not self._switch.continues(transfer.cause):
                        break
                case PlayDestination() | EchoDestination():
                    self._serve_transferee(transfer, destination, now)
                    return
                case TonedDestination(cause=cause) | RejectDestination(cause=cause):
                    transfer.cause = cause
                    break
                case _:
                    transfer.cause = Cause.SERVICE_NOT_IMPLEMENTED
        self._transfer_failed(now)

    def _place_target(self, transfer: Transfer, destination: LegDestination, now: int) -> bool:
        called = transfer.setup.called
        number = called.digits if isinstance(destination, PhoneDestination) else destination.number
        attempt = TransferAttempt(str(destination), number, at=now, by=transfer.transferor.source)
        self.history.transfers.append(attempt)
        wanted = wanted_of(destination, transfer.setup, transfer.secure_bridge)
        if wanted and (missing := self._switch.lacking(destination, wanted)):
            if not self.history.emergency:
                attempt.cause = transfer.cause = Cause.BEARER_CAPABILITY_NOT_AUTHORIZED
                attempt.text = hindrance(missing)
                return False
            self._note(f"emergency: {destination} has no {', '.join(sorted(missing))}")
            wanted -= missing
        leg = self._switch.open_leg(destination, now, emergency=self.history.emergency)
        if isinstance(leg, Cause):
            attempt.cause = transfer.cause = leg
            return False
        transfer.leg, transfer.attempt = leg, attempt
        transfer.heard = transfer.timed_out = False
        attempt.owner = leg
        leg.listener = self
        self._others = (*self._others, leg)
        seconds = transfer.ring_seconds
        self._limit(Purpose.TRANSFER_LIMIT, now + (TRANSFER_RING if seconds is None else seconds * SECOND))
        emergency = self.history.emergency
        setup = replace(
            transfer.setup, called=replace(called, digits=number), secure_bridge=wanted, emergency=emergency
        )
        if transfer.next < len(transfer.destinations):
            setup = replace(setup, alternatives=True)
        leg.place(setup, now)
        return True

    def _transfer_limit(self, now: int) -> None:
        transfer = self._transfer
        if transfer is not None and transfer.leg is not None:
            transfer.timed_out = True
            transfer.leg.release(Cause.NO_ANSWER_FROM_USER, now, "ring_seconds")

    def _on_target(self, transfer: Transfer, event: LegEvent, now: int) -> None:
        """Something happened at the target."""
        match event:
            case words.Progress(inband):
                if inband:
                    self._hear_target(transfer)
            case words.Alerting(inband):
                if inband or transfer.heard:
                    self._hear_target(transfer)
                else:
                    self._stop_own_voice()
                    self._own_voice(self._switch.ringback(), "ringback")
                    self._hearer = transfer.transferee
                    self._wire()
                if not transfer.gone:
                    transfer.transferor.transfer(TransferStep.ALERTING, now)
            case words.Answered(connected):
                if transfer.attempt is not None:
                    transfer.attempt.party = connected
                self._transfer_done(transfer, now)
            case words.Identified(party):
                if transfer.attempt is not None:
                    transfer.attempt.party = party
            case _:
                pass

    def _hear_target(self, transfer: Transfer) -> None:
        transfer.heard = True
        self._stop_own_voice()
        self._wire()

    def _pair(self) -> tuple[Leg, Leg | None]:
        transfer = self._transfer
        if transfer is not None:
            return transfer.transferee, transfer.leg if transfer.heard else None
        return super()._pair() if self._hearer is not None else (self.incoming, self.outgoing)

    # -- how it ends --

    def _transfer_done(self, transfer: Transfer, now: int) -> None:
        new = transfer.leg
        assert new is not None  # noqa: S101 - somebody answered
        self._end_transfer()
        self._others = tuple(each for each in self._others if each is not new)
        self._stop_own_voice()
        self._put_in_place(transfer.by_caller, new)
        self._leave(transfer, now)
        self._introduce(new, transfer.transferee, now)
        self._settle_voice(now)

    def _leave(self, transfer: Transfer, now: int) -> None:
        """The side that asked has what it wanted and goes."""
        if not transfer.gone:
            transfer.transferor.transfer(TransferStep.DONE, now)
            self._depart(transfer.transferor, now)

    def _serve_transferee(self, transfer: Transfer, service: PlayDestination | EchoDestination, now: int) -> None:
        self._end_transfer()
        self._stop_own_voice()
        attempt = TransferAttempt(str(service), "", at=now, by=transfer.transferor.source)
        self.history.transfers.append(attempt)
        if not transfer.gone:
            transfer.transferor.transfer(TransferStep.DONE, now)
            self._others = (*self._others, transfer.transferor)
        self.incoming, self.outgoing, self._incoming_gone = transfer.transferee, None, False
        self._holding = ()
        if isinstance(service, PlayDestination):
            self._adopt_voice(self._media.open_prompt(service.path, self.identity, self._on_own_voice))
        else:
            self._adopt_voice(self._media.open_echo(self.identity, self._on_own_voice))
        self._serve_until_limit(now)
        self._settle_join(now)
        self._wire()
        if not transfer.gone:
            transfer.transferor.release(Cause.NORMAL_CALL_CLEARING, now)

    def _serve_until_limit(self, now: int) -> None:
        """Nobody is served for ever."""
        raise NotImplementedError

    def _transfer_failed(self, now: int) -> None:
        transfer = self._transfer
        if transfer is None:
            return
        self._end_transfer()
        self._stop_own_voice()
        self._note(f"not transferred: cause {int(transfer.cause)}")
        if transfer.gone:
            # Nobody is left whom the transferred side could go back to.
            self._release(transfer.cause, "gateway", now)
            return
        transfer.transferor.transfer(TransferStep.FAILED, now, transfer.cause)
        self._settle_voice(now)

    def _end_transfer(self) -> None:
        self._transfer, self._transferring = None, False
        self._lift(Purpose.TRANSFER_LIMIT)
        self._wired = None

    def _release(self, cause: Cause, by: str, now: int, text: str = "") -> None:
        transfer = self._transfer
        if transfer is not None:
            self._end_transfer()
            if not transfer.gone:
                transfer.transferor.transfer(TransferStep.FAILED, now)
        super()._release(cause, by, now, text)

    def _on_other_released(self, leg: Leg, event: words.Released, now: int) -> bool:
        """A leg is over; True if that was for a transfer's sake, or for this to see to."""
        if leg in self._others:
            self._others = tuple(each for each in self._others if each is not leg)
            transfer = self._transfer
            if transfer is not None and transfer.leg is leg:
                transfer.leg = transfer.attempt = None
                transfer.cause = event.cause
                self._lift(Purpose.TRANSFER_LIMIT)
                if transfer.timed_out or self._switch.continues(event.cause):
                    self._keep_waiting(transfer)
                    self._try_target(now)
                else:
                    self._transfer_failed(now)
            return True
        transfer = self._transfer
        if transfer is None or leg is not transfer.transferor:
            return False
        # Whoever asked may hang up at once: the transfer goes on without him.
        transfer.gone = True
        self._holding = tuple(each for each in self._holding if each is not leg)
        if transfer.by_caller:
            self._incoming_gone = True
        else:
            self.outgoing = None
        return True

    def _keep_waiting(self, transfer: Transfer) -> None:
        """The next target is tried: the side that waits hears music again, not the ringing of the one before."""
        if transfer.next < len(transfer.destinations):
            self._play_music(transfer.transferee)
            self._wire()

    # -- one leg in place of another --

    def _put_in_place(self, by_caller: bool, new: Leg) -> None:
        old = self.incoming if by_caller else self.outgoing
        if by_caller:
            self.incoming, self._incoming_gone = new, False
        else:
            self.outgoing = new
        self._holding = tuple(each for each in self._holding if each is not old)
        self._wired = None
        self._watch(new.stream)

    def _depart(self, leg: Leg, now: int) -> None:
        """``leg`` is in no place of the call any more; the call is over only when it is."""
        self._others = (*self._others, leg)
        self._settle_join(now)
        leg.release(Cause.NORMAL_CALL_CLEARING, now)

    def _introduce(self, one: Leg, other: Leg, now: int) -> None:
        """Tell each side whom it is connected to now."""
        for leg, party in ((other, self._party_of(one)), (one, self._party_of(other))):
            if party is not None:
                leg.identify(party, now)

    def may_replace(self, old: Leg) -> bool:
        """True if another leg may take the place of ``old`` now."""
        return (
            self.state in (State.TRYING, State.ALERTING, State.ANSWERED)
            and self._transfer is None
            and self._failure is None
            and self.setup.speech
            and len(self.history.transfers) < MAX_TRANSFERS
            and (old is self.outgoing or (old is self.incoming and not self._incoming_gone))
        )

    def take_in(self, old: Leg, new: Leg, attempt: TransferAttempt, now: int, *, holding: bool = False) -> None:
        """``new`` takes the place of ``old``, which ``may_replace`` allowed."""
        by_caller = old is self.incoming
        attempt.owner = new
        self.history.transfers.append(attempt)
        new.listener = self
        if self.state is State.ANSWERED:
            self._stop_own_voice()
        self._put_in_place(by_caller, new)
        if holding:
            self._holding = (*self._holding, new)
        self._depart(old, now)
        other = self._partner(new)
        if other is not None:
            self._introduce(new, other, now)
        if self.state is State.ANSWERED:
            self._settle_voice(now)
            return
        if not by_caller:
            # It was to be answered by somebody else: now it is by this one.
            self._answer(attempt.party, now)
            return
        # Whoever waits now is an answered side that depends on us for tones.
        self._early_audio = True
        if self.state is State.ALERTING and not (self._outgoing_inband and self._outgoing_heard):
            self._own_voice(self._switch.ringback(), "ringback")
        self._wire()

    def left_by(self, name: str, phones: frozenset[str]) -> bool:
        """True if ``name`` sent the call on and left it, and none of ``phones`` is in it: it costs and nobody hears it.

        Calls for help are nobody's.
        """
        history = self.history
        if name not in history.sent_by or history.emergency:
            return False
        legs = [leg for leg in (self.outgoing, *self._others) if leg is not None]
        if not self._incoming_gone:
            legs.append(self.incoming)
        return not any(leg.technology != "pri" and (leg.source == name or leg.source in phones) for leg in legs)

    def asked_of(self, old: Leg, technology: str) -> frozenset[str]:
        """The facts that a leg of ``technology`` must have to take the place of ``old``."""
        raise NotImplementedError

    def _answer(self, connected: Party | None, now: int, conveyed: words.Conveyed | None = None) -> None:
        """The called side answered."""
        raise NotImplementedError

    def _hand_over(self, leg: Leg, other: Leg, replaced: Leg, now: int) -> None:
        """Attended transfer: ``other`` leaves this call for the place of ``replaced`` in its call; this one ends."""
        call = replaced.listener
        if not isinstance(call, TransferringCall) or call is self or not call.may_replace(replaced):
            leg.transfer(TransferStep.FAILED, now, Cause.INVALID_CALL_REFERENCE)
            return
        there = call._partner(replaced)
        if not call.asked_of(replaced, other.technology) <= facts_of(other) or (
            there is not None and not self.asked_of(leg, there.technology) <= facts_of(there)
        ):
            self._note("not transferred: the hop of one side is not as safe as the route of the other asks for")
            leg.transfer(TransferStep.FAILED, now, Cause.BEARER_CAPABILITY_NOT_AUTHORIZED)
            return
        party = self._party_of(other)
        number = party.number.digits if party is not None and party.number is not None else ""
        attempt = TransferAttempt("", number, None, f"from call {self.identity}", party=party, at=now)
        attempt.kind, attempt.by = "attended", leg.source
        call.history.sent_by += (leg.source,)
        holding = other in self._holding
        self._note(f"{leg.source} joined the other side with call {call.identity}")
        leg.transfer(TransferStep.DONE, now)
        self._settle_hand_over(leg, other, now)
        call.take_in(replaced, other, attempt, now, holding=holding)

    def _settle_hand_over(self, leg: Leg, other: Leg, now: int) -> None:
        self._unwatch(other.stream)
        self._stop_own_voice()
        self.history.keep(other, Cause.NORMAL_CALL_CLEARING, "")
        self._holding = ()
        self.incoming, self.outgoing, self._incoming_gone = leg, None, False
        if self._joined is not None:
            joined, self._joined = self._joined, None
            joined[0].join(None, now)
        self._release(Cause.NORMAL_CALL_CLEARING, "transfer", now)
