"""Variable-length elements of codeset 0: how each is read, its greatest length (Q.931 table 4-3), how often it comes.

Elements of Q.932 and of national use that Q.931 has no length for may be as long as their own fields allow.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from gateway.pri.q931.ie import bearer, cause, channel, facility, indication, network, numbers, text
from gateway.pri.q931.ie.element import MAX_CONTENTS, InformationElement


class Entry(NamedTuple):
    """One kind of element: its class's ``parse``, the most octets of contents, the most occurrences in a message."""

    parse: Callable[[bytes], InformationElement]
    longest: int
    times: int


_ANY = MAX_CONTENTS

_ROWS: tuple[tuple[type[InformationElement], int, int], ...] = (
    # class, octets of contents (table 4-3 counts two more), occurrences (clause 3; Q.932 and Q.952 for theirs)
    (text.SegmentedMessage, 2, 1),
    (channel.ChangeStatus, _ANY, 1),
    (bearer.BearerCapability, 10, 2),
    (cause.CauseElement, 30, 2),
    (network.ConnectedAddress, _ANY, 1),
    (network.ExtendedFacility, _ANY, 16),
    (text.CallIdentity, 8, 1),
    (cause.CallState, 1, 1),
    (channel.ChannelIdentification, _ANY, 31),
    (facility.Facility, _ANY, 16),
    (indication.ProgressIndicator, 2, 2),
    (network.NetworkSpecificFacilities, _ANY, 4),
    (network.EndpointIdentifier, _ANY, 1),
    (indication.NotificationIndicator, _ANY, 3),
    (text.Display, 80, 2),
    (text.DateTime, 6, 1),
    (text.KeypadFacility, 32, 1),
    (network.InformationRequest, _ANY, 1),
    (indication.Signal, 1, 4),
    (indication.Switchhook, _ANY, 1),
    (indication.FeatureActivation, _ANY, 1),
    (indication.FeatureIndication, _ANY, 16),
    (network.ServiceProfileIdentification, _ANY, 1),
    (network.InformationRate, 4, 1),
    (network.EndToEndTransitDelay, 9, 1),
    (network.TransitDelaySelection, 3, 1),
    (network.PacketLayerBinaryParameters, 1, 1),
    (network.PacketLayerWindowSize, 2, 1),
    (network.PacketSize, 2, 1),
    (network.ClosedUserGroup, 5, 1),
    (network.ReverseChargeIndication, 1, 1),
    (numbers.ConnectedNumber, _ANY, 1),
    (numbers.ConnectedSubaddress, 21, 1),
    (numbers.CallingPartyNumber, _ANY, 2),
    (numbers.CallingPartySubaddress, 21, 2),
    (numbers.CalledPartyNumber, _ANY, 1),
    (numbers.CalledPartySubaddress, 21, 1),
    (numbers.OriginalCalledNumber, _ANY, 1),
    (numbers.RedirectingNumber, _ANY, 2),
    (numbers.RedirectionNumber, _ANY, 1),
    (network.TransitNetworkSelection, _ANY, 4),
    (channel.RestartIndicator, 1, 1),
    (bearer.LowLayerCompatibility, 16, 4),
    (bearer.HighLayerCompatibility, 3, 2),
    (text.UserUser, 129, 1),
)

VARIABLE_LENGTH: tuple[type[InformationElement], ...] = tuple(row[0] for row in _ROWS)
"""Every variable-length element of codeset 0 that has a class, by identifier."""

# What has few values, each of which comes again and again: it is read once, as elements never change.
_RECURRING = (
    bearer.BearerCapability,
    cause.CauseElement,
    channel.ChannelIdentification,
    bearer.HighLayerCompatibility,
    indication.ProgressIndicator,
)
_MAX_RECURRING = 128
"""Values of one of these that are kept."""


def _parse(kind: type[InformationElement]) -> Callable[[bytes], InformationElement]:
    return lru_cache(_MAX_RECURRING)(kind.parse) if kind in _RECURRING else kind.parse


CATALOGUE: dict[int, Entry] = {
    int(kind.identifier): Entry(_parse(kind), longest, times) for kind, longest, times in _ROWS
}
"""What is known of the elements of codeset 0, by identifier."""
