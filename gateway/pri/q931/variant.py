"""What differs between switch types: one Variant each, data and a few methods; the neutral one here is plain Q.931.

Call control asks its Variant for every element of a call's identity and for every habit; it never asks for the name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from gateway.cause import Location
from gateway.identity import (
    MAX_DIGITS,
    MAX_NAME,
    Number,
    Party,
    Presentation,
    Redirection,
    RedirectionReason,
    Screening,
)
from gateway.leg import Bearer, Met, Setup
from gateway.media.api import Law
from gateway.pri.lapd import Side
from gateway.pri.q931.conveyed import CARRIED, SENT, read_conveyed, with_access
from gateway.pri.q931.ie import (
    AUDIO_A_LAW,
    AUDIO_MU_LAW,
    SPEECH_A_LAW,
    SPEECH_MU_LAW,
    UNRESTRICTED_64,
    BearerCapability,
    CalledPartyNumber,
    CallingPartyNumber,
    ChannelIdentification,
    ConnectedNumber,
    Display,
    InformationElement,
    KeypadFacility,
    OriginalCalledNumber,
    ProgressDescription,
    ProgressIndicator,
    RedirectingNumber,
    SendingComplete,
    TransferCapability,
    TransferMode,
    TransferRate,
)
from gateway.pri.q931.ie.channel import MAX_CHANNELS
from gateway.pri.q931.ie.element import coded
from gateway.pri.q931.message import MAINTENANCE, Message, MessageType
from gateway.pri.q931.timers import Q931Timer


class StartRestart(Enum):
    """What is restarted when the data link comes up for the first time."""

    NOTHING = "nothing"
    CHANNELS = "channels"
    INTERFACE = "interface"


@dataclass(frozen=True, slots=True)
class Line3:
    """What the elements of our messages depend on besides the call: the side we are, the law, the operator's wishes."""

    side: Side
    law: Law = Law.ALAW
    bearer: Bearer = Bearer.SPEECH
    send_name: bool = True


_BEARERS: dict[tuple[Bearer, Law], BearerCapability] = {
    (Bearer.SPEECH, Law.ALAW): SPEECH_A_LAW,
    (Bearer.SPEECH, Law.ULAW): SPEECH_MU_LAW,
    (Bearer.AUDIO, Law.ALAW): AUDIO_A_LAW,
    (Bearer.AUDIO, Law.ULAW): AUDIO_MU_LAW,
    (Bearer.UNRESTRICTED, Law.ALAW): UNRESTRICTED_64,
    (Bearer.UNRESTRICTED, Law.ULAW): UNRESTRICTED_64,
}
_BEARER_OF: Mapping[int, Bearer] = {
    TransferCapability.SPEECH: Bearer.SPEECH,
    TransferCapability.AUDIO_3_1_KHZ: Bearer.AUDIO,
    TransferCapability.UNRESTRICTED_DIGITAL: Bearer.UNRESTRICTED,
}
_INBAND = frozenset({ProgressDescription.NOT_END_TO_END_ISDN, ProgressDescription.INBAND_INFORMATION})
_COMPLETE = coded(SendingComplete())
_NO_NUMBER = Number()


MAX_PROGRESS = 2
"""Progress indicators of one message (Q.931 clause 3)."""


def _progress(description: int, location: Location) -> ProgressIndicator:
    """The element as if it had been received, as it is in most calls."""
    return coded(ProgressIndicator.parse(ProgressIndicator(description, location).build()))


_PROGRESS = {
    (int(description), location): _progress(description, location)
    for description in ProgressDescription
    for location in (Location.PRIVATE_LOCAL, Location.PUBLIC_LOCAL)
}


def _own_and_network(first: Number, second: Number) -> tuple[Number, Number | None]:
    """Which of two calling numbers the caller gave and which the network, whatever their order (EN 300 092-1 9.3)."""
    if second.screening in _VOUCHED and first.screening not in _VOUCHED:
        return first, second
    if first.screening in _VOUCHED and second.screening not in _VOUCHED:
        return second, first
    return first, None


_VOUCHED = frozenset({Screening.USER_PASSED, Screening.NETWORK})

# Every call has one of these in several messages.
_CHANNELS = {
    (timeslot, exclusive): coded(ChannelIdentification((timeslot,), exclusive))
    for timeslot in range(1, MAX_CHANNELS + 1)
    for exclusive in (False, True)
}


class Variant:
    """Plain Q.931 (EN 300 403 on most points). A switch type overrides what it does differently."""

    name = "q931"
    call_reference_octets = 2
    timers: Mapping[Side, Mapping[Q931Timer, int]] = {Side.USER: {}, Side.NETWORK: {}}
    overlap = True
    """Whether SETUP ACKNOWLEDGE and INFORMATION with digits exist."""
    sending_complete = True
    """Whether a SETUP whose number is complete says so."""
    maximum_digits = MAX_DIGITS
    maximum_name = MAX_NAME
    start_restart: Mapping[Side, StartRestart] = {
        Side.USER: StartRestart.INTERFACE,
        Side.NETWORK: StartRestart.INTERFACE,
    }
    service_messages = False
    """Whether channels are taken out of and into service by SERVICE; else our own block is only ours."""
    maintenance_discriminator = MAINTENANCE
    """The protocol discriminator of our SERVICE messages."""
    service_octets = (0x0F, 0x07)
    """The message type octets of SERVICE and SERVICE ACKNOWLEDGE."""
    proceeding_first = False
    """Whether CALL PROCEEDING goes before any other answer to a SETUP that needs no more digits."""
    symmetric_glare = False
    """Whether an exclusive call goes before a preferred one in glare (Q.931 D.3) or always the network's (5.7)."""
    reports_elements = True
    """Whether STATUS reports elements that were left out (5.8.7: "may")."""
    notifies = True
    """Whether NOTIFY exists."""
    notifies_hold = True
    """Whether hold and retrieval are told to the far end by NOTIFY."""
    name_in_display: Mapping[Side, bool] = {Side.USER: False, Side.NETWORK: True}
    """Whether names are sent as Display: Q.931 3.1 has it from the network to the user only."""
    display_charset: int | None = None
    original_called_number = False
    two_calling_numbers = False
    """Whether a network tells of a caller's own number besides its own (EN 300 092-1)."""
    connected_number = True
    conveyed = SENT
    """What messages may bring from end to end."""
    locations: Mapping[Side, Location] = {Side.USER: Location.USER, Side.NETWORK: Location.PUBLIC_LOCAL}

    # -- channels --

    def channel_identification(
        self, timeslots: tuple[int, ...], *, exclusive: bool, interface: int | None = None
    ) -> ChannelIdentification:
        """How channels are named: by number (Q.931 4.5.13)."""
        if interface is None and len(timeslots) == 1:
            return _CHANNELS[timeslots[0], exclusive]
        return ChannelIdentification(timeslots, exclusive, interface)

    # -- what we send --

    def setup_elements(
        self, setup: Setup, line: Line3, channel: ChannelIdentification | None
    ) -> tuple[InformationElement, ...]:
        """The elements of SETUP in their order; ValueError if the called number is longer than the switch takes."""
        if len(setup.called.digits) > self.maximum_digits:
            raise ValueError(f"number of {len(setup.called.digits)} digits, expected at most {self.maximum_digits}")
        elements: list[InformationElement] = []
        if setup.complete and self.sending_complete:
            elements.append(_COMPLETE)
        elements.append(_BEARERS[setup.bearer or line.bearer, line.law])
        if channel is not None:
            elements.append(channel)
        if setup.conveyed is not None:
            elements += self.progress_elements(setup.conveyed.progress, line.side)
        caller = setup.caller
        if caller.name and line.send_name:
            elements += self.name_elements(caller, line, calling=True)
        if caller.number is not None:
            elements.append(CallingPartyNumber.from_number(caller.number))
            if caller.network is not None and self.two_calling_numbers and line.side is Side.NETWORK:
                elements.append(CallingPartyNumber.from_number(caller.network))
        # An overlap call may begin without a digit; the element says of which type and plan they will be.
        elements.append(CalledPartyNumber.from_number(setup.called))
        if setup.redirection is not None:
            elements += self.redirection_elements(setup.redirection)
        if setup.conveyed is not None:
            return with_access(MessageType.SETUP, tuple(elements), setup.conveyed, self.conveyed)
        return tuple(elements)

    def progress_elements(self, met: Iterable[Met], side: Side) -> tuple[ProgressIndicator, ...]:
        """What the call met, as progress indicators; what was met here is told from where we speak."""
        return tuple(
            self.progress_element(one.interworking, side)
            if one.location is None
            else ProgressIndicator(one.interworking, one.location)
            for one in met
        )[:MAX_PROGRESS]

    def name_elements(self, party: Party, line: Line3, *, calling: bool) -> tuple[InformationElement, ...]:  # noqa: ARG002
        """The party's name as this switch type carries it; nothing if it must not be shown or cannot be carried."""
        if party.name and party.name_presentation is Presentation.ALLOWED and self.name_in_display[line.side]:
            return (Display.of(party.name, self.display_charset, self.maximum_name),)
        return ()

    def redirection_elements(self, redirection: Redirection) -> tuple[InformationElement, ...]:
        """Who diverted the call."""
        if redirection.original is None or not self.original_called_number:
            return (RedirectingNumber.from_number(redirection.number, redirection.reason),)
        return (
            OriginalCalledNumber.from_number(redirection.original, redirection.original_reason),
            RedirectingNumber.from_number(redirection.number, redirection.reason),
        )

    def connected_elements(self, party: Party | None, line: Line3) -> tuple[InformationElement, ...]:
        """Who answered, in CONNECT."""
        if party is None:
            return ()
        elements: tuple[InformationElement, ...] = ()
        if party.name and line.send_name:
            elements = self.name_elements(party, line, calling=False)
        if party.number is not None and self.connected_number:
            elements = (*elements, ConnectedNumber.from_number(party.number))
        return elements

    def digit_elements(self, digits: str, called: Number, *, complete: bool) -> tuple[InformationElement, ...]:
        """More digits of the called number in INFORMATION."""
        elements: tuple[InformationElement, ...] = ()
        if complete and self.sending_complete:
            elements = (_COMPLETE,)
        if digits:
            elements = (*elements, CalledPartyNumber(digits, called.type, called.plan))
        return elements

    def progress_element(self, description: int, side: Side) -> ProgressIndicator:
        """A progress indicator of ours, with the location we speak from."""
        key = description, self.progress_location(side)
        element = _PROGRESS.get(key)
        return element if element is not None else ProgressIndicator(*key)

    def progress_location(self, side: Side) -> Location:
        """Where progress indicators of ours come from: behind a user is a private network."""
        return Location.PRIVATE_LOCAL if side is Side.USER else Location.PUBLIC_LOCAL

    # -- what we receive --

    def read_setup(self, message: Message, *, complete: bool) -> Setup:
        """What a received SETUP asks for; ``complete`` False while overlap digits may follow."""
        called = caller = second = keypad = None
        bearer: BearerCapability | None = None
        carried = False
        # One pass: SETUP is the message with the most elements, and the first of a kind counts.
        for element in message.elements:
            kind = element.__class__
            if kind is CalledPartyNumber:
                called = called or element
            elif kind is CallingPartyNumber:
                if caller is None:
                    caller = element
                else:
                    second = element
            elif kind is BearerCapability:
                bearer = bearer or element  # type: ignore[assignment]
            elif kind is KeypadFacility:
                keypad = keypad or element
            elif kind in CARRIED:
                carried = True
        number = called.to_number() if isinstance(called, CalledPartyNumber) else _NO_NUMBER
        if not number.digits and isinstance(keypad, KeypadFacility):
            number = Number(keypad.dialled)
        name, name_presentation = self.read_name(message)
        calling = caller.to_number() if isinstance(caller, CallingPartyNumber) else None
        network = None
        if calling is not None and isinstance(second, CallingPartyNumber):
            calling, network = _own_and_network(calling, second.to_number())
        return Setup(
            called=number,
            caller=Party(calling, name, name_presentation, network),
            redirection=self.read_redirection(message),
            complete=complete,
            bearer=_BEARER_OF.get(bearer.capability) if bearer is not None else None,
            conveyed=read_conveyed(message) if carried else None,
        )

    def read_redirection(self, message: Message) -> Redirection | None:
        """Who diverted the call; an original called number alone is who did."""
        original = message.first(OriginalCalledNumber)
        redirecting = message.first(RedirectingNumber) or original
        if redirecting is None:
            return None
        unknown = RedirectionReason.UNKNOWN
        number, reason = redirecting.to_number(), redirecting.reason or unknown
        if original is None:
            return Redirection(number, reason)
        count = 1 if redirecting is original else 2
        return Redirection(number, reason, count, original.to_number(), original.reason or unknown)

    def read_name(self, message: Message) -> tuple[str | None, Presentation]:
        """The name of the party that sent the message, and whether it may be shown."""
        display = message.first(Display)
        if display is None:
            return None, Presentation.ALLOWED
        return display.text.strip()[:MAX_NAME] or None, Presentation.ALLOWED

    def name_follows(self, message: Message) -> bool:  # noqa: ARG002
        """Whether the calling name of a SETUP comes later, in a message of its own."""
        return False

    def read_connected(self, message: Message) -> Party | None:
        """Who answered, if the message says anything about it."""
        number = message.first(ConnectedNumber)
        name, presentation = self.read_name(message)
        if number is None and name is None:
            return None
        return Party(number.to_number() if number is not None else None, name, presentation)

    def read_digits(self, message: Message) -> str:
        """The digits of an INFORMATION during overlap."""
        called = message.first(CalledPartyNumber)
        if called is not None:
            return called.to_number().digits
        keypad = message.first(KeypadFacility)
        return keypad.dialled if keypad is not None else ""

    def inband(self, message: Message) -> bool:
        """Whether a progress indicator says that there is something to hear: #1 and #8 (Q.931 5.1.6, 5.4)."""
        for element in message.elements:
            if isinstance(element, ProgressIndicator) and element.description in _INBAND:
                return True
        return False

    def accepts(self, bearer: BearerCapability) -> bool:
        """Whether a call with this bearer can be carried: 64 kbit/s, circuit mode, speech, audio or plain digital."""
        return (
            bearer.mode == TransferMode.CIRCUIT
            and bearer.rate == TransferRate.RATE_64
            and (bearer.voice or bearer.capability == TransferCapability.UNRESTRICTED_DIGITAL)
        )
