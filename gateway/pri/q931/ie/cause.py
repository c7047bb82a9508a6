"""Cause (Q.850 2.1, Q.931 4.5.12) and Call state (Q.931 4.5.7)."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.cause import Cause, Location
from gateway.pri.q931.errors import ContentError
from gateway.pri.q931.ie.element import CodingStandard, ElementId, InformationElement, bits

MAX_DIAGNOSTICS = 27
"""Q.931 table 4-3: 32 octets of Cause in all, of which octets 1 to 4 and 3a are five."""

_LOCATIONS: dict[int, Location] = {location.value: location for location in Location}
_CODINGS = tuple(CodingStandard)


@dataclass(frozen=True, slots=True)
class CauseElement(InformationElement):
    """Why: ``value`` 0 to 127 (a Cause, or a number that no Cause has), who says so, and diagnostics as octets.

    ``recommendation`` is octet 3a bits 7-1 and None without that octet. A received location that Q.850 reserves reads
    as BEYOND_INTERWORKING.
    """

    value: Cause | int
    location: Location = Location.USER
    coding: CodingStandard = CodingStandard.ITU
    recommendation: int | None = None
    diagnostics: bytes = b""
    identifier = ElementId.CAUSE

    @property
    def cause(self) -> Cause:
        """The cause; of one that Q.850 does not have the catch-all of its class.

        A value of another coding standard is taken as if it were Q.850's: switches that set one by habit mean that.
        """
        return Cause.of(self.value)

    @classmethod
    def parse(cls, contents: bytes) -> CauseElement:
        """Octets 3, 3a, 4, 5*; ContentError if octet 4 is missing."""
        size = len(contents)
        if size < 2:
            raise ContentError(f"Cause of {size} octets, expected at least 2")
        first = contents[0]
        recommendation = None
        at = 1
        if not first & 0x80:
            recommendation = contents[1] & 0x7F
            at = 2
            if size < 3:
                raise ContentError("Cause without cause value")
        value: int = contents[at] & 0x7F
        return cls(
            _CAUSES.get(value, value),
            _LOCATIONS.get(first & 15, Location.BEYOND_INTERWORKING),
            _CODINGS[(first >> 5) & 3],
            recommendation,
            contents[at + 1 :],
        )

    def build(self) -> bytes:
        """Octets 3 to 5*."""
        if len(self.diagnostics) > MAX_DIAGNOSTICS:
            raise ValueError(f"{len(self.diagnostics)} octets of diagnostics, expected at most {MAX_DIAGNOSTICS}")
        octet3 = bits("coding standard", self.coding, 2) << 5 | bits("location", self.location, 4)
        value = 0x80 | bits("cause", self.value, 7)
        if self.recommendation is None:
            return bytes((0x80 | octet3, value)) + self.diagnostics
        return bytes((octet3, 0x80 | bits("recommendation", self.recommendation, 7), value)) + self.diagnostics


_CAUSES: dict[int, Cause] = {cause.value: cause for cause in Cause}


@dataclass(frozen=True, slots=True)
class CallState(InformationElement):
    """The state a call is in: Q.931 table 4-8, 0 to 25 (or REST 0 to 62 for the global call reference)."""

    state: int
    coding: CodingStandard = CodingStandard.ITU
    identifier = ElementId.CALL_STATE

    @classmethod
    def parse(cls, contents: bytes) -> CallState:
        """Octet 3."""
        if not contents:
            raise ContentError("Call state without contents")
        return cls(contents[0] & 0x3F, _CODINGS[contents[0] >> 6])

    def build(self) -> bytes:
        """Octet 3."""
        return bytes((bits("coding standard", self.coding, 2) << 6 | bits("call state", self.state, 6),))
