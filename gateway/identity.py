"""Who calls, is called, answered or redirected: the identities every technology carries, in Q.931's terms.

Numbers follow Q.931 4.5.8, 4.5.10, 4.6.7 (calling, connected, redirecting number); SIP maps them at its edge.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

MAX_DIGITS = 32
MAX_NAME = 80


class TypeOfNumber(IntEnum):
    """Q.931 table 4-8, octet 3 bits 7-5."""

    UNKNOWN = 0
    INTERNATIONAL = 1
    NATIONAL = 2
    NETWORK_SPECIFIC = 3
    SUBSCRIBER = 4
    ABBREVIATED = 6
    RESERVED = 7


class NumberingPlan(IntEnum):
    """Q.931 table 4-8, octet 3 bits 4-1."""

    UNKNOWN = 0
    ISDN = 1
    DATA = 3
    TELEX = 4
    NATIONAL_STANDARD = 8
    PRIVATE = 9
    RESERVED = 15


class Presentation(IntEnum):
    """Q.931 table 4-11, octet 3a bits 7-6."""

    ALLOWED = 0
    RESTRICTED = 1
    NOT_AVAILABLE = 2
    RESERVED = 3


class Screening(IntEnum):
    """Q.931 table 4-11, octet 3a bits 2-1."""

    USER_NOT_SCREENED = 0
    USER_PASSED = 1
    USER_FAILED = 2
    NETWORK = 3


class RedirectionReason(IntEnum):
    """Q.931 4.6.7 (Q.952), octet 3b bits 4-1."""

    UNKNOWN = 0
    BUSY = 1
    NO_REPLY = 2
    OUT_OF_ORDER = 9
    BY_CALLED_DTE = 10
    UNCONDITIONAL = 15


class Number(msgspec.Struct, frozen=True, omit_defaults=True):
    """A telephone number with everything the networks say about it. ``digits`` holds 0-9 * # A-D, never a plus."""

    digits: str = ""
    type: TypeOfNumber = TypeOfNumber.UNKNOWN
    plan: NumberingPlan = NumberingPlan.ISDN
    presentation: Presentation = Presentation.ALLOWED
    screening: Screening = Screening.USER_NOT_SCREENED


class Party(msgspec.Struct, frozen=True, omit_defaults=True):
    """One end of a call: number and name, each of which may be missing; the name has a presentation of its own.

    ``network`` is the number that the network itself gives for a caller who also gave one of its own, ``number``
    (EN 300 092-1: delivery of two calling party numbers).
    """

    number: Number | None = None
    name: str | None = None
    name_presentation: Presentation = Presentation.ALLOWED
    network: Number | None = None


class Redirection(msgspec.Struct, frozen=True, omit_defaults=True):
    """The last diversion of a call, and the first one's number if known (redirecting and original called number)."""

    number: Number = msgspec.field(default_factory=Number)
    reason: RedirectionReason = RedirectionReason.UNKNOWN
    count: int = 1
    original: Number | None = None
    original_reason: RedirectionReason = RedirectionReason.UNKNOWN
    name: str | None = None
