"""After which causes the next destination of a route is tried: by Q.850 cause, changeable by the operator.

The rule: what the network, a resource or our own way to it could not do, another way may; what the called user or the
number itself says is the same over every way. Who is absent (20), as an unregistered phone, said nothing. A call that
went in circles (25) would do so over the next way too.
"""

from __future__ import annotations

from gateway.cause import Cause
from gateway.cause_map import CauseRules

NEXT_WAY: frozenset[Cause] = frozenset(
    {
        Cause.NO_ROUTE_TO_TRANSIT_NETWORK,
        Cause.NO_ROUTE_TO_DESTINATION,
        Cause.CHANNEL_UNACCEPTABLE,
        Cause.SUBSCRIBER_ABSENT,
        Cause.DESTINATION_OUT_OF_ORDER,
        Cause.NO_CIRCUIT_AVAILABLE,
        Cause.NETWORK_OUT_OF_ORDER,
        Cause.FRAME_MODE_OUT_OF_SERVICE,
        Cause.TEMPORARY_FAILURE,
        Cause.SWITCHING_EQUIPMENT_CONGESTION,
        Cause.ACCESS_INFORMATION_DISCARDED,
        Cause.REQUESTED_CIRCUIT_NOT_AVAILABLE,
        Cause.PRECEDENCE_CALL_BLOCKED,
        Cause.RESOURCE_UNAVAILABLE,
        Cause.QUALITY_OF_SERVICE_UNAVAILABLE,
        Cause.FACILITY_NOT_SUBSCRIBED,
        Cause.BEARER_CAPABILITY_NOT_AUTHORIZED,
        Cause.BEARER_CAPABILITY_NOT_AVAILABLE,
        Cause.SERVICE_NOT_AVAILABLE,
        Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED,
        Cause.CHANNEL_TYPE_NOT_IMPLEMENTED,
        Cause.FACILITY_NOT_IMPLEMENTED,
        Cause.ONLY_RESTRICTED_DIGITAL,
        Cause.SERVICE_NOT_IMPLEMENTED,
        Cause.INVALID_CALL_REFERENCE,
        Cause.CHANNEL_DOES_NOT_EXIST,
        Cause.INVALID_TRANSIT_NETWORK,
        Cause.INVALID_MESSAGE,
        Cause.MANDATORY_ELEMENT_MISSING,
        Cause.MESSAGE_TYPE_NONEXISTENT,
        Cause.MESSAGE_NOT_COMPATIBLE_WITH_STATE,
        Cause.ELEMENT_NONEXISTENT,
        Cause.INVALID_ELEMENT_CONTENTS,
        Cause.MESSAGE_NOT_COMPATIBLE,
        Cause.RECOVERY_ON_TIMER_EXPIRY,
        Cause.PARAMETER_NONEXISTENT,
        Cause.UNRECOGNIZED_PARAMETER_DISCARDED,
        Cause.PROTOCOL_ERROR,
        Cause.INTERWORKING,
    }
)


def goes_on(cause: Cause, rules: CauseRules | None = None) -> bool:
    """Whether the next destination is tried when one failed with ``cause`` before answer."""
    if rules is not None:
        changed = rules.failover.get(cause)
        if changed is not None:
            return changed
    return cause in NEXT_WAY
