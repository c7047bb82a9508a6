"""What an operator decides about one PRI trunk, and what its numbers look like on the line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from gateway.core import MILLISECOND, SECOND
from gateway.identity import Number, NumberingPlan, Party, Redirection, TypeOfNumber
from gateway.leg import Bearer, Setup
from gateway.media.api import Law
from gateway.pri.channels import Hunt, Line
from gateway.pri.lapd import LapdTimer, Side
from gateway.pri.q931.euroisdn import EuroIsdn
from gateway.pri.q931.ni2 import NationalIsdn2
from gateway.pri.q931.timers import Q931Timer
from gateway.pri.q931.variant import Variant

VARIANTS: dict[str, type[Variant]] = {variant.name: variant for variant in (EuroIsdn, NationalIsdn2)}
"""Switch types by the name they have in the configuration."""


@dataclass(frozen=True, slots=True)
class Numbering:
    """How numbers are sent and taken. A type of None is sent as the number has it.

    ``international_prefix`` and ``national_prefix`` stand for a type of number where a number has none: digits that
    begin with one are sent without it and with that type; a received number of that type gets it, and type unknown.
    """

    called_type: TypeOfNumber | None = None
    calling_type: TypeOfNumber | None = None
    plan: NumberingPlan | None = None
    international_prefix: str = ""
    national_prefix: str = ""

    @property
    def neutral(self) -> bool:
        """True if numbers go through as they are."""
        return self == _NEUTRAL

    def sent(self, setup: Setup) -> Setup:
        """A call as it goes to the line."""
        caller = setup.caller
        if caller.number is not None:
            caller = replace(caller, number=self._sent(caller.number, self.calling_type))
            if caller.network is not None:
                caller = replace(caller, network=self._sent(caller.network, self.calling_type))
        return replace(setup, called=self._sent(setup.called, self.called_type), caller=caller)

    def received(self, setup: Setup) -> Setup:
        """A call as it comes from the line."""
        return replace(
            setup,
            called=self._received(setup.called),
            caller=self.received_party(setup.caller),
            redirection=self._received_redirection(setup.redirection),
        )

    def received_party(self, party: Party) -> Party:
        """A party as it comes from the line."""
        if party.number is None:
            return party
        network = party.network
        return replace(
            party,
            number=self._received(party.number),
            network=self._received(network) if network is not None else None,
        )

    def _received_redirection(self, redirection: Redirection | None) -> Redirection | None:
        if redirection is None:
            return None
        original = redirection.original
        return replace(
            redirection,
            number=self._received(redirection.number),
            original=self._received(original) if original is not None else None,
        )

    def _sent(self, number: Number, type_of_number: TypeOfNumber | None) -> Number:
        if self.plan is not None:
            number = replace(number, plan=self.plan)
        if type_of_number is not None:
            return replace(number, type=type_of_number)
        if number.type is TypeOfNumber.UNKNOWN:
            for prefix, implied in (
                (self.international_prefix, TypeOfNumber.INTERNATIONAL),
                (self.national_prefix, TypeOfNumber.NATIONAL),
            ):
                if prefix and number.digits.startswith(prefix):
                    return replace(number, digits=number.digits[len(prefix) :], type=implied)
        return number

    def _received(self, number: Number) -> Number:
        if number.type is TypeOfNumber.INTERNATIONAL:
            prefix = self.international_prefix
        elif number.type is TypeOfNumber.NATIONAL:
            prefix = self.national_prefix
        else:
            return number
        if not prefix:
            return number
        if (prefix[0] == "0" or prefix == "1") and number.digits.startswith(prefix):
            # A switch that sets the type and leaves the prefix; twice it would be another country. No country or area
            # code begins with 0 (E.164), nor an area code with 1 where that is the prefix.
            return replace(number, type=TypeOfNumber.UNKNOWN)
        return replace(number, digits=prefix + number.digits, type=TypeOfNumber.UNKNOWN)


_NEUTRAL = Numbering()


@dataclass(frozen=True, slots=True)
class PriSettings:
    """One trunk: ``name`` is how it is called everywhere, ``channel_path`` gives the media path of a timeslot.

    ``timeslots`` None: all B channels of the line. ``law`` None: A-law on an E1, µ-law on a T1. ``listen``: our end of
    the B channels is the one that listens at their paths (the simulated exchange). ``exclusive``: our calls insist on
    their channel; None: as a network they do, as a user they don't. ``overlap_receive`` and ``overlap_send`` let digits
    come one by one, where the switch type knows it: a call is offered, or its SETUP sent, once it has the minimum.
    ``inband_on_disconnect``: a DISCONNECT with in-band information is listened to for ``inband_hold`` at most, and as a
    network we send one. ``progress_after``: how long a caller's exchange is left with CALL PROCEEDING alone before
    PROGRESS keeps its T310 from ending the call; None: 7 s as a user, whose network has 10 s (Q.931 table 9-1), 25 s as
    a network, whose user has at least 30 s (table 9-2); 0 for never. ``name_wait``: how long a call waits for a
    name that was announced. ``interdigit``: how long a number of ours that may not go out in pieces waits for its next
    digit. ``audit`` is the time between two audits.
    Times are microseconds.
    """

    name: str
    channel_path: Callable[[int], str]
    line: Line = Line.E1
    side: Side = Side.USER
    switch_type: str = "euroisdn"
    context: str = "default"
    law: Law | None = None
    timeslots: tuple[int, ...] | None = None
    hunt: Hunt = Hunt.ASCENDING
    answer_hunt: Hunt = Hunt.ASCENDING
    exclusive: bool | None = None
    listen: bool = False
    bearer: Bearer = Bearer.SPEECH
    send_name: bool = True
    overlap_receive: bool = False
    overlap_receive_minimum: int = 0
    overlap_send: bool = False
    overlap_send_minimum: int = 0
    inband_on_disconnect: bool = True
    inband_hold: int = 25 * SECOND
    progress_after: int | None = None
    keypad_in_call: bool = False
    name_wait: int = 300 * MILLISECOND
    interdigit: int = 10 * SECOND
    audit: int = 60 * SECOND
    numbering: Numbering = _NEUTRAL
    lapd_timers: Mapping[LapdTimer, int] = field(default_factory=dict)
    q931_timers: Mapping[Q931Timer, int] = field(default_factory=dict)

    @property
    def companding(self) -> Law:
        """The law of the B channels."""
        if self.law is not None:
            return self.law
        return Law.ALAW if self.line is Line.E1 else Law.ULAW

    @property
    def patience(self) -> int:
        """``progress_after``, on either side."""
        if self.progress_after is not None:
            return self.progress_after
        return (7 if self.side is Side.USER else 25) * SECOND

    @property
    def insists(self) -> bool:
        """Whether our calls name their channel exclusively."""
        return self.side is Side.NETWORK if self.exclusive is None else self.exclusive

    def variant(self) -> Variant:
        """The dialect of ``switch_type``; ValueError for one that is not known."""
        variant = VARIANTS.get(self.switch_type)
        if variant is None:
            raise ValueError(f"{self.name}: switch type {self.switch_type}, expected one of {', '.join(VARIANTS)}")
        return variant()
