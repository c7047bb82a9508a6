"""Variable-length elements of codeset 0: how each is read, its greatest length (Q.931 table 4-3), how often it comes.

Elements of Q.932 and of national use that Q.931 has no length for may be as long as their own fields allow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gateway.pri.q931.ie.bearer import BearerCapability, HighLayerCompatibility, LowLayerCompatibility
from gateway.pri.q931.ie.cause import CallState, CauseElement
from gateway.pri.q931.ie.channel import ChangeStatus, ChannelIdentification, RestartIndicator
from gateway.pri.q931.ie.element import MAX_CONTENTS, InformationElement
from gateway.pri.q931.ie.facility import Facility
from gateway.pri.q931.ie.indication import (
    FeatureActivation,
    FeatureIndication,
    NotificationIndicator,
    ProgressIndicator,
    Signal,
    Switchhook,
)
from gateway.pri.q931.ie.network import (
    ClosedUserGroup,
    ConnectedAddress,
    EndpointIdentifier,
    EndToEndTransitDelay,
    ExtendedFacility,
    InformationRate,
    InformationRequest,
    NetworkSpecificFacilities,
    PacketLayerBinaryParameters,
    PacketLayerWindowSize,
    PacketSize,
    ReverseChargeIndication,
    ServiceProfileIdentification,
    TransitDelaySelection,
    TransitNetworkSelection,
)
from gateway.pri.q931.ie.numbers import (
    CalledPartyNumber,
    CalledPartySubaddress,
    CallingPartyNumber,
    CallingPartySubaddress,
    ConnectedNumber,
    ConnectedSubaddress,
    OriginalCalledNumber,
    RedirectingNumber,
    RedirectionNumber,
)
from gateway.pri.q931.ie.text import CallIdentity, DateTime, Display, KeypadFacility, SegmentedMessage, UserUser


class Entry(NamedTuple):
    """One kind of element: its class's ``parse``, the most octets of contents, the most occurrences in a message."""

    parse: Callable[[bytes], InformationElement]
    longest: int
    times: int


_ANY = MAX_CONTENTS

_ROWS: tuple[tuple[type[InformationElement], int, int], ...] = (
    # class, octets of contents (table 4-3 counts two more), occurrences (clause 3; Q.932 and Q.952 for theirs)
    (SegmentedMessage, 2, 1),
    (ChangeStatus, _ANY, 1),
    (BearerCapability, 10, 2),
    (CauseElement, 30, 2),
    (ConnectedAddress, _ANY, 1),
    (ExtendedFacility, _ANY, 16),
    (CallIdentity, 8, 1),
    (CallState, 1, 1),
    (ChannelIdentification, _ANY, 31),
    (Facility, _ANY, 16),
    (ProgressIndicator, 2, 2),
    (NetworkSpecificFacilities, _ANY, 4),
    (EndpointIdentifier, _ANY, 1),
    (NotificationIndicator, _ANY, 3),
    (Display, 80, 2),
    (DateTime, 6, 1),
    (KeypadFacility, 32, 1),
    (InformationRequest, _ANY, 1),
    (Signal, 1, 4),
    (Switchhook, _ANY, 1),
    (FeatureActivation, _ANY, 1),
    (FeatureIndication, _ANY, 16),
    (ServiceProfileIdentification, _ANY, 1),
    (InformationRate, 4, 1),
    (EndToEndTransitDelay, 9, 1),
    (TransitDelaySelection, 3, 1),
    (PacketLayerBinaryParameters, 1, 1),
    (PacketLayerWindowSize, 2, 1),
    (PacketSize, 2, 1),
    (ClosedUserGroup, 5, 1),
    (ReverseChargeIndication, 1, 1),
    (ConnectedNumber, _ANY, 1),
    (ConnectedSubaddress, 21, 1),
    (CallingPartyNumber, _ANY, 2),
    (CallingPartySubaddress, 21, 2),
    (CalledPartyNumber, _ANY, 1),
    (CalledPartySubaddress, 21, 1),
    (OriginalCalledNumber, _ANY, 1),
    (RedirectingNumber, _ANY, 2),
    (RedirectionNumber, _ANY, 1),
    (TransitNetworkSelection, _ANY, 4),
    (RestartIndicator, 1, 1),
    (LowLayerCompatibility, 16, 4),
    (HighLayerCompatibility, 3, 2),
    (UserUser, 129, 1),
)

VARIABLE_LENGTH: tuple[type[InformationElement], ...] = tuple(row[0] for row in _ROWS)
"""Every variable-length element of codeset 0 that has a class, by identifier."""

CATALOGUE: dict[int, Entry] = {
    int(kind.identifier): Entry(kind.parse, longest, times) for kind, longest, times in _ROWS
}
"""What is known of the elements of codeset 0, by identifier."""
