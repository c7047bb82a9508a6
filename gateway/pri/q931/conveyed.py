"""What a message brings from end to end: progress, subaddresses, compatibilities, user-user, to and from ``Conveyed``.

Q.931 4.5.9, 4.5.11, 4.5.17, 4.5.19, 4.5.23, 4.5.30. Of elements that may be repeated the first goes on.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.leg import Conveyed, Interworking, Met
from gateway.pri.q931.errors import ContentError
from gateway.pri.q931.ie import (
    CATALOGUE,
    CalledPartySubaddress,
    CallingPartySubaddress,
    ConnectedSubaddress,
    HighLayerCompatibility,
    InformationElement,
    LowLayerCompatibility,
    ProgressIndicator,
    UserUser,
)
from gateway.pri.q931.ie.element import CodingStandard
from gateway.pri.q931.message import MAX_MESSAGE, CallReference, Message, MessageType, encode

_ACCESS: dict[type[InformationElement], str] = {
    CallingPartySubaddress: "calling_subaddress",
    CalledPartySubaddress: "called_subaddress",
    ConnectedSubaddress: "subaddress",
    LowLayerCompatibility: "low_layer",
    HighLayerCompatibility: "high_layer",
    UserUser: "user_user",
}
CARRIED = frozenset({ProgressIndicator, *_ACCESS})
"""The classes of elements that may have something to convey."""

_CLASSES = {name: kind for kind, name in _ACCESS.items()}
_SETUP = ("calling_subaddress", "called_subaddress", "low_layer", "high_layer", "user_user")
Allowed = Mapping[MessageType, tuple[str, ...]]
SENT: Allowed = {
    MessageType.SETUP: _SETUP,
    MessageType.ALERTING: ("high_layer", "user_user"),
    MessageType.PROGRESS: ("high_layer", "user_user"),
    MessageType.CONNECT: ("subaddress", "low_layer", "high_layer", "user_user"),
}
"""What may be in which message: Q.931 clause 3, and Q.951 for the connected subaddress."""
SENT_NATIONAL: Allowed = {
    MessageType.SETUP: _SETUP,
    MessageType.ALERTING: ("user_user",),
    MessageType.PROGRESS: ("user_user",),
    MessageType.CONNECT: ("low_layer", "user_user"),
}
"""The same in North America, where no connected subaddress and no selection of high layers come back."""
# What goes first where not everything has room: the call itself needs none of it, terminals need some.
_BY_WORTH = ("called_subaddress", "low_layer", "high_layer", "subaddress", "calling_subaddress", "user_user")
_LONGEST = {name: CATALOGUE[int(kind.identifier)].longest for kind, name in _ACCESS.items()}
_INTERWORKING: Mapping[int, Interworking] = {int(value): value for value in Interworking}
_REFERENCE = CallReference(1)
_CHANNEL = 5
"""Octets of the Channel identification that the first answer to a SETUP gets as well, whichever it is."""


def read_conveyed(message: Message) -> Conveyed | None:
    """What ``message`` brings that only passes through; None if that is nothing."""
    progress: tuple[Met, ...] = ()
    octets: dict[str, bytes] = {}
    for element in message.elements:
        kind = element.__class__
        if kind is ProgressIndicator:
            assert isinstance(element, ProgressIndicator)  # noqa: S101 - tells mypy what it is
            what = _INTERWORKING.get(element.description)
            if what is not None and element.coding is CodingStandard.ITU:
                progress = (*progress, Met(what, element.location))
        else:
            name = _ACCESS.get(kind)
            if name is not None:
                octets.setdefault(name, element.octets())
    if not octets and not progress:
        return None
    return Conveyed(progress, **octets)


def with_access(
    kind: MessageType, elements: tuple[InformationElement, ...], conveyed: Conveyed, sent: Allowed = SENT
) -> tuple[InformationElement, ...]:
    """``elements`` of a message and what ``sent`` lets it take along, as long as there is room (Q.921 N201)."""
    if (
        conveyed.user_user is None
        and conveyed.high_layer is None
        and conveyed.low_layer is None
        and conveyed.called_subaddress is None
        and conveyed.calling_subaddress is None
        and conveyed.subaddress is None
    ):
        # Nearly always.
        return elements
    allowed = sent[kind]
    wanted = [
        (name, contents)
        for name in _BY_WORTH
        if name in allowed and (contents := getattr(conveyed, name)) and len(contents) <= _LONGEST[name]
    ]
    if not wanted:
        return elements
    room = MAX_MESSAGE - len(encode(Message(kind, _REFERENCE, elements)))
    if kind is not MessageType.SETUP:
        room -= _CHANNEL
    found: list[InformationElement] = []
    for name, contents in wanted:
        if len(contents) + 2 <= room:
            element = _element(name, contents)
            if element is not None:
                room -= len(contents) + 2
                found.append(element)
    return (*elements, *found)


def _element(name: str, contents: bytes) -> InformationElement | None:
    """The element with these contents to the octet; None if its coding forbids them."""
    try:
        element = _CLASSES[name].parse(contents)
    except ContentError:
        return None
    object.__setattr__(element, "raw", contents)
    return element
