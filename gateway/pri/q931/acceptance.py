"""What is wrong with the elements of a received message and with which cause to say so (Q.931 5.8.5 to 5.8.7).

Elements that are valid but unexpected in their message (5.8.7.3) are taken as they are: switches do send them. So is
SETUP from a network without Channel identification: without it any channel will do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.cause import Cause
from gateway.pri.q931.contents import invalid_mandatory, missing_mandatory
from gateway.pri.q931.ie import CauseElement, ElementId
from gateway.pri.q931.message import Message, ProblemKind

MAX_DIAGNOSTICS = 8
"""Element identifiers that one Cause names; a message with more faults is not worth a longer answer."""

ACCESS_ELEMENTS = frozenset(
    {
        ElementId.CONNECTED_SUBADDRESS,
        ElementId.CALLING_PARTY_SUBADDRESS,
        ElementId.CALLED_PARTY_SUBADDRESS,
        ElementId.LOW_LAYER_COMPATIBILITY,
        ElementId.HIGH_LAYER_COMPATIBILITY,
        ElementId.USER_USER,
    }
)
"""Q.931 5.8.7.2: what is wrong in these is discarded access information (cause 43), not a content error."""

_BROKEN = (ProblemKind.CONTENT_ERROR, ProblemKind.TOO_LONG)


@dataclass(frozen=True, slots=True)
class Fault:
    """What to complain of. ``fatal``: the message is not to be acted on (5.8.6), else it is, without those elements."""

    cause: Cause
    diagnostics: bytes
    fatal: bool

    def __str__(self) -> str:
        return f"{self.cause.name} ({', '.join(f'0x{identifier:02x}' for identifier in self.diagnostics)})"


def check(message: Message, *, cause_needed: bool = False) -> Fault | None:
    """The gravest fault of the message's elements, or None. ``cause_needed``: Cause is mandatory here besides."""
    problems = message.problems
    absent: tuple[int, ...] = missing_mandatory(message)
    if cause_needed and message.first(CauseElement) is None:
        absent = (*absent, ElementId.CAUSE)
    if not problems:
        return Fault(Cause.MANDATORY_ELEMENT_MISSING, _diagnostics(absent), True) if absent else None
    broken = [problem.identifier for problem in problems if problem.codeset == 0 and problem.kind in _BROKEN]
    unrecognised = [problem for problem in problems if problem.kind is ProblemKind.UNRECOGNISED]
    missing = [identifier for identifier in absent if identifier not in broken]
    missing += [problem.identifier for problem in unrecognised if problem.comprehension_required]
    if missing:
        return Fault(Cause.MANDATORY_ELEMENT_MISSING, _diagnostics(missing), True)
    invalid = [identifier for identifier in absent if identifier in broken]
    invalid += invalid_mandatory(message)
    if invalid:
        return Fault(Cause.INVALID_ELEMENT_CONTENTS, _diagnostics(invalid), True)
    discarded = [identifier for identifier in broken if identifier in ACCESS_ELEMENTS]
    contents = [identifier for identifier in broken if identifier not in ACCESS_ELEMENTS]
    if contents:
        return Fault(Cause.INVALID_ELEMENT_CONTENTS, _diagnostics(contents), False)
    if discarded:
        return Fault(Cause.ACCESS_INFORMATION_DISCARDED, _diagnostics(discarded), False)
    unknown = [problem.identifier for problem in unrecognised if problem.codeset == 0]
    if unknown:
        return Fault(Cause.ELEMENT_NONEXISTENT, _diagnostics(unknown), False)
    return None


def _diagnostics(identifiers: Iterable[int]) -> bytes:
    return bytes(dict.fromkeys(identifiers))[:MAX_DIAGNOSTICS]
