"""National ISDN 2 (SR-NWT-002343, GR-1367) on a T1: en-bloc, names in Facility, SERVICE, restart by channel."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.cause import Location
from gateway.core import SECOND
from gateway.identity import Party, Presentation
from gateway.pri.lapd import Side
from gateway.pri.q931.conveyed import SENT_NATIONAL
from gateway.pri.q931.ie import Facility, InformationElement
from gateway.pri.q931.ie.rose import NameOperation, PartyName, information_follows, name_facility, read_name
from gateway.pri.q931.ie.text import CHARSET_NATIONAL
from gateway.pri.q931.message import Message
from gateway.pri.q931.timers import Q931Timer
from gateway.pri.q931.variant import Line3, StartRestart, Variant


class NationalIsdn2(Variant):
    """NI-2: CALL PROCEEDING before anything else, no overlap, no Sending complete."""

    name = "ni2"
    overlap = False
    sending_complete = False
    maximum_digits = 24
    maximum_name = 15  # GR-1367: the name of a North American number
    proceeding_first = True
    service_messages = True
    # The national maintenance messages have AT&T's types the other way round.
    maintenance_discriminator = 0x43
    service_octets = (0x07, 0x0F)
    notifies = False
    notifies_hold = False
    original_called_number = True
    conveyed = SENT_NATIONAL
    display_charset = CHARSET_NATIONAL
    start_restart: Mapping[Side, StartRestart] = {
        Side.USER: StartRestart.CHANNELS,
        Side.NETWORK: StartRestart.CHANNELS,
    }
    locations: Mapping[Side, Location] = {Side.USER: Location.USER, Side.NETWORK: Location.PUBLIC_LOCAL}
    timers: Mapping[Side, Mapping[Q931Timer, int]] = {
        Side.USER: {Q931Timer.T310: 60 * SECOND},
        Side.NETWORK: {Q931Timer.T310: 10 * SECOND},
    }

    def name_elements(self, party: Party, line: Line3, *, calling: bool) -> tuple[InformationElement, ...]:  # noqa: ARG002
        """The name as a callingName or connectedName operation; a restricted one goes with its presentation."""
        if not party.name:
            return ()
        operation = NameOperation.CALLING if calling else NameOperation.CONNECTED
        text = party.name[: self.maximum_name]
        # The invoke identifier only has to differ from others that are open; nothing answers a name.
        return (name_facility(PartyName(operation, text, party.name_presentation), 1, network_extension=False),)

    def read_name(self, message: Message) -> tuple[str | None, Presentation]:
        """The name in a Facility, or else in Display, which some exchanges use all the same."""
        for facility in message.all(Facility):
            found = read_name(facility)
            if found is not None:
                return found.text, found.presentation
        return super().read_name(message)

    def name_follows(self, message: Message) -> bool:
        """Whether the calling name comes in a FACILITY after this SETUP."""
        return any(information_follows(facility) for facility in message.all(Facility))
