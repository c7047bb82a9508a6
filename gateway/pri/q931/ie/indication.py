"""Progress indicator (Q.931 4.5.23), Notification indicator (4.5.22), Signal (4.5.28).

Also the stimulus elements of Q.932 8.2: Switchhook, Feature activation, Feature indication.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from gateway.cause import Location
from gateway.pri.q931.errors import ContentError
from gateway.pri.q931.ie.element import CodingStandard, ElementId, InformationElement, bits, group, known

MAX_NOTIFICATION = 250
"""Octets of a notification's Q.932 data structure."""


class ProgressDescription(IntEnum):
    """Q.931 table 4-18."""

    NOT_END_TO_END_ISDN = 1
    DESTINATION_NOT_ISDN = 2
    ORIGINATION_NOT_ISDN = 3
    RETURNED_TO_ISDN = 4
    INTERWORKING_WITH_SERVICE_CHANGE = 5
    INBAND_INFORMATION = 8
    DELAY_IN_RESPONSE = 10


class Notification(IntEnum):
    """Q.931 table 4-21, Q.932, Q.952 and Q.953 (NOTIFY)."""

    USER_SUSPENDED = 0x00
    USER_RESUMED = 0x01
    BEARER_SERVICE_CHANGE = 0x02
    ENCODED_STRUCTURE = 0x03
    CALL_COMPLETION_DELAY = 0x04
    CONFERENCE_ESTABLISHED = 0x42
    CONFERENCE_DISCONNECTED = 0x43
    OTHER_PARTY_ADDED = 0x44
    ISOLATED = 0x45
    REATTACHED = 0x46
    OTHER_PARTY_ISOLATED = 0x47
    OTHER_PARTY_REATTACHED = 0x48
    OTHER_PARTY_SPLIT = 0x49
    OTHER_PARTY_DISCONNECTED = 0x4A
    CONFERENCE_FLOATING = 0x4B
    CALL_IS_WAITING = 0x60
    DIVERSION_ACTIVATED = 0x68
    CALL_TRANSFER_ALERTING = 0x69
    CALL_TRANSFER_ACTIVE = 0x6A
    REVERSE_CHARGING = 0x6E
    REMOTE_HOLD = 0x79
    REMOTE_RETRIEVAL = 0x7A
    CALL_IS_DIVERTING = 0x7B


class SignalValue(IntEnum):
    """Q.931 table 4-24."""

    DIAL_TONE = 0x00
    RING_BACK_TONE = 0x01
    INTERCEPT_TONE = 0x02
    NETWORK_CONGESTION_TONE = 0x03
    BUSY_TONE = 0x04
    CONFIRM_TONE = 0x05
    ANSWER_TONE = 0x06
    CALL_WAITING_TONE = 0x07
    OFF_HOOK_WARNING_TONE = 0x08
    PREEMPTION_TONE = 0x09
    TONES_OFF = 0x3F
    ALERTING_PATTERN_0 = 0x40
    ALERTING_PATTERN_1 = 0x41
    ALERTING_PATTERN_2 = 0x42
    ALERTING_PATTERN_3 = 0x43
    ALERTING_PATTERN_4 = 0x44
    ALERTING_PATTERN_5 = 0x45
    ALERTING_PATTERN_6 = 0x46
    ALERTING_PATTERN_7 = 0x47
    ALERTING_OFF = 0x4F


_LOCATIONS: dict[int, Location] = {location.value: location for location in Location}
_CODINGS = tuple(CodingStandard)
_DESCRIPTIONS: dict[int, ProgressDescription] = {description.value: description for description in ProgressDescription}


@dataclass(frozen=True, slots=True)
class ProgressIndicator(InformationElement):
    """What the call met on its way. A location that Q.931 reserves reads as BEYOND_INTERWORKING."""

    description: ProgressDescription | int
    location: Location = Location.USER
    coding: CodingStandard = CodingStandard.ITU
    identifier = ElementId.PROGRESS_INDICATOR

    @classmethod
    def parse(cls, contents: bytes) -> ProgressIndicator:
        """Octets 3 and 4."""
        if len(contents) < 2:
            raise ContentError(f"Progress indicator of {len(contents)} octets, expected 2")
        first = contents[0]
        description: int = contents[1] & 0x7F
        return cls(
            _DESCRIPTIONS.get(description, description),
            _LOCATIONS.get(first & 15, Location.BEYOND_INTERWORKING),
            _CODINGS[(first >> 5) & 3],
        )

    def build(self) -> bytes:
        """Octets 3 and 4."""
        octet3 = 0x80 | bits("coding standard", self.coding, 2) << 5 | bits("location", self.location, 4)
        return bytes((octet3, 0x80 | bits("progress description", self.description, 7)))


@dataclass(frozen=True, slots=True)
class NotificationIndicator(InformationElement):
    """Something happened to the call. ``structure`` is the Q.932 data structure after octet 3, as octets."""

    description: Notification | int
    structure: bytes = b""
    identifier = ElementId.NOTIFICATION_INDICATOR

    @classmethod
    def parse(cls, contents: bytes) -> NotificationIndicator:
        """Octet 3 and what follows it."""
        octets, at = group(contents, 0)
        return cls(known(Notification, octets[0] & 0x7F), contents[at:])

    def build(self) -> bytes:
        """Octet 3 and the structure."""
        if len(self.structure) > MAX_NOTIFICATION:
            raise ValueError(f"notification structure of {len(self.structure)} octets, expected {MAX_NOTIFICATION}")
        return bytes((0x80 | bits("notification", self.description, 7),)) + self.structure


@dataclass(frozen=True, slots=True)
class Signal(InformationElement):
    """A tone or alerting pattern for a terminal to make."""

    value: SignalValue | int
    identifier = ElementId.SIGNAL

    @classmethod
    def parse(cls, contents: bytes) -> Signal:
        """Octet 3."""
        if not contents:
            raise ContentError("Signal without contents")
        return cls(known(SignalValue, contents[0]))

    def build(self) -> bytes:
        """Octet 3."""
        return bytes((bits("signal", self.value, 8),))


@dataclass(frozen=True, slots=True)
class Switchhook(InformationElement):
    """Q.932: whether the handset is lifted."""

    off_hook: bool
    identifier = ElementId.SWITCHHOOK

    @classmethod
    def parse(cls, contents: bytes) -> Switchhook:
        """Octet 3: 0 on hook, 1 off hook."""
        if not contents:
            raise ContentError("Switchhook without contents")
        return cls(bool(contents[0] & 1))

    def build(self) -> bytes:
        """Octet 3."""
        return b"\x81" if self.off_hook else b"\x80"


@dataclass(frozen=True, slots=True)
class FeatureActivation(InformationElement):
    """Q.932: a feature key, numbered 0 to 16383."""

    feature: int
    identifier = ElementId.FEATURE_ACTIVATION

    @classmethod
    def parse(cls, contents: bytes) -> FeatureActivation:
        """Octets 3 and 3a."""
        octets, _ = group(contents, 0)
        if len(octets) > 2:
            raise ContentError(f"feature identifier of {len(octets)} octets, expected at most 2")
        return cls(_feature(octets))

    def build(self) -> bytes:
        """Octets 3 and 3a."""
        return _feature_octets(self.feature)


@dataclass(frozen=True, slots=True)
class FeatureIndication(InformationElement):
    """Q.932: the state of a feature's lamp: 0 deactivated, 1 activated, 2 prompt, 3 pending."""

    feature: int
    status: int
    identifier = ElementId.FEATURE_INDICATION

    @classmethod
    def parse(cls, contents: bytes) -> FeatureIndication:
        """Octets 3, 3a and 4."""
        octets, at = group(contents, 0)
        if len(octets) > 2:
            raise ContentError(f"feature identifier of {len(octets)} octets, expected at most 2")
        if at >= len(contents):
            raise ContentError("Feature indication without status")
        return cls(_feature(octets), contents[at] & 15)

    def build(self) -> bytes:
        """Octets 3, 3a and 4."""
        return _feature_octets(self.feature) + bytes((0x80 | bits("feature status", self.status, 4),))


def _feature(octets: bytes) -> int:
    """Most significant bits first."""
    number = 0
    for octet in octets:
        number = number << 7 | octet & 0x7F
    return number


def _feature_octets(feature: int) -> bytes:
    bits("feature identifier", feature, 14)
    return bytes((feature >> 7, feature & 0x7F | 0x80)) if feature > 0x7F else bytes((feature | 0x80,))
