"""Which information elements each message must and may have, by direction: Q.931 tables 3-2 to 3-28, Q.932 clause 7.

Supplementary service elements (Q.932, Q.951, Q.952, Q.957) and the North American ones stand where those
Recommendations and NI-2 add them. Conditional elements ("mandatory if first response") count as optional.
"""

from __future__ import annotations

from enum import Enum

from gateway.pri.q931.ie.element import ElementId as E
from gateway.pri.q931.ie.element import UnknownElement, UnknownSingleOctet
from gateway.pri.q931.ie.single import Shift
from gateway.pri.q931.message import Message, MessageType, ProblemKind


class Direction(Enum):
    """Which way a message goes, as seen by the roles and not by who we are."""

    USER_TO_NETWORK = "u → n"
    NETWORK_TO_USER = "n → u"


_M = MessageType

_BOTH = frozenset(Direction)
_TO_NETWORK = frozenset({Direction.USER_TO_NETWORK})
_TO_USER = frozenset({Direction.NETWORK_TO_USER})

MANDATORY: dict[MessageType, dict[E, frozenset[Direction]]] = {
    _M.CONGESTION_CONTROL: {E.CONGESTION_LEVEL: _BOTH, E.CAUSE: _BOTH},
    _M.DISCONNECT: {E.CAUSE: _BOTH},
    _M.FACILITY: {E.FACILITY: _BOTH},
    _M.HOLD_REJECT: {E.CAUSE: _BOTH},
    _M.NOTIFY: {E.NOTIFICATION_INDICATOR: _BOTH},
    _M.PROGRESS: {E.PROGRESS_INDICATOR: _BOTH},
    _M.RESTART: {E.RESTART_INDICATOR: _BOTH},
    _M.RESTART_ACKNOWLEDGE: {E.RESTART_INDICATOR: _BOTH},
    _M.RESUME_ACKNOWLEDGE: {E.CHANNEL_IDENTIFICATION: _BOTH},
    _M.RESUME_REJECT: {E.CAUSE: _BOTH},
    _M.RETRIEVE_REJECT: {E.CAUSE: _BOTH},
    _M.SEGMENT: {E.SEGMENTED_MESSAGE: _BOTH},
    _M.SERVICE: {E.CHANGE_STATUS: _BOTH, E.CHANNEL_IDENTIFICATION: _BOTH},
    _M.SERVICE_ACKNOWLEDGE: {E.CHANGE_STATUS: _BOTH, E.CHANNEL_IDENTIFICATION: _BOTH},
    # Q.931 table 3-15 note 3: the network always says which channel; a user may leave it to the network.
    _M.SETUP: {E.BEARER_CAPABILITY: _BOTH, E.CHANNEL_IDENTIFICATION: _TO_USER},
    _M.STATUS: {E.CAUSE: _BOTH, E.CALL_STATE: _BOTH},
    _M.SUSPEND_REJECT: {E.CAUSE: _BOTH},
    _M.USER_INFORMATION: {E.USER_USER: _BOTH},
}
"""Message to its mandatory elements and the directions in which they are; a message that is not here has none."""

_SERVICES = {
    E.EXTENDED_FACILITY: _BOTH,
    E.FACILITY: _BOTH,
    E.NOTIFICATION_INDICATOR: _BOTH,
    E.DISPLAY: _BOTH,
    E.FEATURE_ACTIVATION: _TO_NETWORK,
    E.FEATURE_INDICATION: _TO_USER,
}
"""What Q.932 lets ride on every message of a call; Display is let pass both ways, as symmetric (private) lines do."""

_SHOWN = {E.DISPLAY: _BOTH}
_TONES = {E.SIGNAL: _TO_USER}
_USER = {E.USER_USER: _BOTH}
_CLEARING = {E.CAUSE: _BOTH, **_SERVICES, **_TONES, **_USER}
_ON_THE_WAY = {
    E.BEARER_CAPABILITY: _BOTH,
    E.CHANNEL_IDENTIFICATION: _BOTH,
    E.PROGRESS_INDICATOR: _BOTH,
    E.HIGH_LAYER_COMPATIBILITY: _BOTH,
    E.REDIRECTION_NUMBER: _BOTH,
    **_SERVICES,
    **_TONES,
    **_USER,
}

OPTIONAL: dict[MessageType, dict[E, frozenset[Direction]]] = {
    _M.ALERTING: {**_ON_THE_WAY, E.CONNECTED_NUMBER: _BOTH},
    _M.CALL_PROCEEDING: _ON_THE_WAY,
    _M.CONGESTION_CONTROL: _SHOWN,
    _M.CONNECT: {
        **_ON_THE_WAY,
        E.DATE_TIME: _TO_USER,
        E.CONNECTED_ADDRESS: _BOTH,
        E.CONNECTED_NUMBER: _BOTH,
        E.CONNECTED_SUBADDRESS: _BOTH,
        E.LOW_LAYER_COMPATIBILITY: _BOTH,
        E.REPEAT_INDICATOR: _BOTH,
        E.INFORMATION_RATE: _BOTH,
        E.END_TO_END_TRANSIT_DELAY: _BOTH,
        E.PACKET_LAYER_BINARY_PARAMETERS: _BOTH,
        E.PACKET_LAYER_WINDOW_SIZE: _BOTH,
        E.PACKET_SIZE: _BOTH,
    },
    _M.CONNECT_ACKNOWLEDGE: {**_SERVICES, **_TONES, E.CHANNEL_IDENTIFICATION: _BOTH},
    _M.DISCONNECT: {**_CLEARING, E.PROGRESS_INDICATOR: _BOTH},
    _M.FACILITY: {
        **_SERVICES,
        E.CONNECTED_NUMBER: _BOTH,
        E.CALLING_PARTY_NUMBER: _BOTH,
        E.CALLED_PARTY_NUMBER: _BOTH,
        E.REDIRECTION_NUMBER: _BOTH,
        E.USER_USER: _BOTH,
    },
    _M.HOLD: _SERVICES,
    _M.HOLD_ACKNOWLEDGE: _SERVICES,
    _M.HOLD_REJECT: _SERVICES,
    _M.INFORMATION: {
        **_SERVICES,
        **_TONES,
        E.SENDING_COMPLETE: _BOTH,
        E.CAUSE: _BOTH,
        E.KEYPAD_FACILITY: _TO_NETWORK,
        E.INFORMATION_REQUEST: _TO_USER,
        E.SWITCHHOOK: _TO_NETWORK,
        E.SERVICE_PROFILE_IDENTIFICATION: _TO_NETWORK,
        E.ENDPOINT_IDENTIFIER: _TO_USER,
        E.CALLED_PARTY_NUMBER: _BOTH,
    },
    _M.NOTIFY: {
        **_SERVICES,
        E.BEARER_CAPABILITY: _BOTH,
        E.CONNECTED_NUMBER: _BOTH,
        E.REDIRECTION_NUMBER: _BOTH,
        E.HIGH_LAYER_COMPATIBILITY: _BOTH,
    },
    _M.PROGRESS: {**_ON_THE_WAY, E.CAUSE: _BOTH},
    _M.REGISTER: _SERVICES,
    _M.RELEASE: _CLEARING,
    _M.RELEASE_COMPLETE: _CLEARING,
    _M.RESTART: {**_SHOWN, E.CHANNEL_IDENTIFICATION: _BOTH},
    _M.RESTART_ACKNOWLEDGE: {**_SHOWN, E.CHANNEL_IDENTIFICATION: _BOTH},
    _M.RESUME: {E.CALL_IDENTITY: _BOTH, **_SERVICES},
    _M.RESUME_ACKNOWLEDGE: _SERVICES,
    _M.RESUME_REJECT: _SERVICES,
    _M.RETRIEVE: {**_SERVICES, E.CHANNEL_IDENTIFICATION: _BOTH},
    _M.RETRIEVE_ACKNOWLEDGE: {**_SERVICES, E.CHANNEL_IDENTIFICATION: _BOTH},
    _M.RETRIEVE_REJECT: _SERVICES,
    _M.SEGMENT: {},
    _M.SERVICE: {},
    _M.SERVICE_ACKNOWLEDGE: {},
    _M.SETUP: {
        **_SERVICES,
        **_TONES,
        **_USER,
        E.SENDING_COMPLETE: _BOTH,
        E.REPEAT_INDICATOR: _BOTH,
        E.CHANNEL_IDENTIFICATION: _BOTH,
        E.PROGRESS_INDICATOR: _BOTH,
        E.NETWORK_SPECIFIC_FACILITIES: _BOTH,
        E.DATE_TIME: _TO_USER,
        E.KEYPAD_FACILITY: _BOTH,
        E.INFORMATION_RATE: _BOTH,
        E.END_TO_END_TRANSIT_DELAY: _BOTH,
        E.TRANSIT_DELAY_SELECTION: _BOTH,
        E.PACKET_LAYER_BINARY_PARAMETERS: _BOTH,
        E.PACKET_LAYER_WINDOW_SIZE: _BOTH,
        E.PACKET_SIZE: _BOTH,
        E.CLOSED_USER_GROUP: _BOTH,
        E.REVERSE_CHARGE_INDICATION: _BOTH,
        E.CALLING_PARTY_NUMBER: _BOTH,
        E.CALLING_PARTY_SUBADDRESS: _BOTH,
        E.CALLED_PARTY_NUMBER: _BOTH,
        E.CALLED_PARTY_SUBADDRESS: _BOTH,
        E.ORIGINAL_CALLED_NUMBER: _BOTH,
        E.REDIRECTING_NUMBER: _BOTH,
        E.TRANSIT_NETWORK_SELECTION: _BOTH,
        E.LOW_LAYER_COMPATIBILITY: _BOTH,
        E.HIGH_LAYER_COMPATIBILITY: _BOTH,
    },
    _M.SETUP_ACKNOWLEDGE: _ON_THE_WAY,
    _M.STATUS: {**_SHOWN, E.CHANNEL_IDENTIFICATION: _BOTH},
    _M.STATUS_ENQUIRY: _SHOWN,
    _M.SUSPEND: {E.CALL_IDENTITY: _BOTH, **_SERVICES},
    _M.SUSPEND_ACKNOWLEDGE: _SERVICES,
    _M.SUSPEND_REJECT: _SERVICES,
    _M.USER_INFORMATION: {E.MORE_DATA: _BOTH},
}
"""Message to its optional elements and the directions in which they may come."""


def _by_direction(direction: Direction | None) -> dict[int, tuple[E, ...]]:
    """Message to what is mandatory this way; None: what is mandatory both ways."""
    wanted = _BOTH if direction is None else frozenset({direction})
    return {
        message: tuple(element for element, ways in elements.items() if wanted <= ways)
        for message, elements in MANDATORY.items()
    }


_MANDATORY_BY_DIRECTION = {direction: _by_direction(direction) for direction in (None, *Direction)}


def mandatory(message_type: MessageType | int, direction: Direction | None = None) -> tuple[E, ...]:
    """What a message must have in ``direction``; None: what it must have in both."""
    return _MANDATORY_BY_DIRECTION[direction].get(message_type, ())


def missing_mandatory(message: Message, direction: Direction | None = None) -> tuple[E, ...]:
    """The mandatory elements that did not come, or came empty (4.5.1), to be treated as 5.8.6.1 says.

    One that came with a content error is not missing: see ``invalid_mandatory``.
    """
    wanted = _MANDATORY_BY_DIRECTION[direction].get(message.message_type)
    if not wanted:
        return ()
    missing: tuple[E, ...] = ()
    for identifier in wanted:
        for element in message.elements:
            # An empty element is an UnknownElement.
            if element.identifier == identifier and element.__class__ is not UnknownElement:
                break
        else:
            if not any(problem.identifier == identifier and problem.codeset == 0 for problem in message.problems):
                missing = (*missing, identifier)
    return missing


def invalid_mandatory(message: Message, direction: Direction | None = None) -> tuple[E, ...]:
    """The mandatory elements that came with a content error only, to be treated as 5.8.6.2 says."""
    if not message.problems:
        return ()
    wanted = mandatory(message.message_type, direction)
    faulty = {
        problem.identifier
        for problem in message.problems
        if problem.codeset == 0 and problem.kind in (ProblemKind.CONTENT_ERROR, ProblemKind.TOO_LONG)
    }
    usable = {
        element.identifier
        for element in message.elements
        if not element.codeset and not isinstance(element, UnknownElement)
    }
    return tuple(element for element in wanted if element in faulty and element not in usable)


def unexpected(message: Message, direction: Direction | None = None) -> tuple[int, ...]:
    """Identifiers of recognised elements that no table has in this message and direction (5.8.7.3); None: in neither.

    Empty for a message type that no table has.
    """
    kind = message.message_type
    if not isinstance(kind, MessageType) or kind not in OPTIONAL:
        return ()
    required, optional = MANDATORY.get(kind, {}), OPTIONAL[kind]
    ways = _BOTH if direction is None else frozenset({direction})
    found = []
    for element in message.elements:
        if element.codeset or isinstance(element, UnknownElement | UnknownSingleOctet | Shift):
            continue
        identifier = E(element.identifier)
        allowed = required.get(identifier, frozenset()) | optional.get(identifier, frozenset())
        if not allowed & ways:
            found.append(int(identifier))
    return tuple(found)
