"""Causes between Q.850 and SIP: RFC 3398 7.2.4.1 and 8.2.6.1, with RFC 3326 Reason ahead of the status where sane.

The tables are in ``cause_tables``; ``CauseRules`` holds what an operator changed. Parsing a Reason header is not here.
"""

from __future__ import annotations

from gateway.cause import Cause, Location
from gateway.cause_map import CauseRules
from gateway.voip.sip.cause_tables import (
    CAUSE_FOR_OTHER_STATUS,
    CAUSE_FOR_STATUS,
    CAUSE_FOR_STATUS_CLASS,
    CAUSE_FOR_WARNING,
    STATUS_FOR_CAUSE,
    STATUS_FOR_OTHER_CAUSE,
)
from gateway.voip.sip.status import reason_phrase

LOWEST_FINAL_FAILURE = 300
HIGHEST_STATUS = 699

_STATUS: dict[Cause, tuple[int, str]] = {
    cause: (status, reason_phrase(status)) for cause, status in (STATUS_FOR_CAUSE | STATUS_FOR_OTHER_CAUSE).items()
}
_CAUSE: dict[int, Cause] = CAUSE_FOR_STATUS | CAUSE_FOR_OTHER_STATUS
_DECLINE = (603, reason_phrase(603))
_BUSY_STATUSES = frozenset({486, 600})
_RESOURCE_CAUSES = range(32, 64)
# A Reason with one of these on a failure says nothing, or worse: that the call ended as it should.
_EMPTY_REASONS = frozenset({Cause.NORMAL_CALL_CLEARING, Cause.RESPONSE_TO_STATUS_ENQUIRY})


def sip_status_for(cause: Cause, rules: CauseRules | None = None, location: Location | None = None) -> tuple[int, str]:
    """Final status and phrase that refuse an INVITE for ``cause`` before answer (RFC 3398 7.2.4.1).

    ``location`` USER makes of "call rejected" a 603, by the note there: the user declined and wants no other branch.
    """
    if rules is not None:
        changed = rules.to_sip.get(cause)
        if changed is not None:
            return changed, reason_phrase(changed)
    if location is Location.USER and cause is Cause.CALL_REJECTED:
        return _DECLINE
    return _STATUS[cause]


def cause_for_sip(
    status: int, reason_cause: int | None = None, rules: CauseRules | None = None, warning: int | None = None
) -> Cause:
    """The cause of a final failure ``status`` (300 to 699; RFC 3398 8.2.6.1).

    ``reason_cause`` is the cause of a Reason header with protocol Q.850 and wins where it is sane (see
    ``sane_reason``). An operator's rule for the status wins over the table, not over a Reason. ``warning`` is the
    Warning header's code, which decides for 488 and 606.
    """
    if reason_cause is not None and sane_reason(status, reason_cause):
        return Cause.of(reason_cause)
    if rules is not None:
        changed = rules.from_sip.get(status)
        if changed is not None:
            return changed
    if warning is not None and status in (488, 606):
        return CAUSE_FOR_WARNING.get(warning, Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED)
    cause = _CAUSE.get(status)
    return cause if cause is not None else CAUSE_FOR_STATUS_CLASS.get(status // 100, Cause.INTERWORKING)


def sane_reason(status: int, reason_cause: int) -> bool:
    """Whether a Reason's Q.850 cause may stand for a failure ``status``.

    Not so: what is no cause (1 to 127); "normal clearing" on a failure, which some put there by default; a resource or
    service cause on a busy status, which would turn busy into congestion.
    """
    if not 1 <= reason_cause <= 127 or reason_cause in _EMPTY_REASONS:
        return False
    if status in _BUSY_STATUSES:
        return reason_cause not in _RESOURCE_CAUSES
    return True


def cause_for_bye(reason_cause: int | None = None) -> Cause:
    """The cause of a BYE or CANCEL: that of its Reason header with protocol Q.850 (RFC 3326), else normal clearing."""
    if reason_cause is None or not 1 <= reason_cause <= 127:
        return Cause.NORMAL_CALL_CLEARING
    return Cause.of(reason_cause)
