"""After which causes the next way is tried."""

from __future__ import annotations

import pytest

from gateway.cause import Cause
from gateway.cause_map import CauseRules
from gateway.routing.failover import goes_on


@pytest.mark.parametrize(
    "cause",
    [
        Cause.NO_ROUTE_TO_DESTINATION,
        Cause.SUBSCRIBER_ABSENT,
        Cause.DESTINATION_OUT_OF_ORDER,
        Cause.NO_CIRCUIT_AVAILABLE,
        Cause.NETWORK_OUT_OF_ORDER,
        Cause.TEMPORARY_FAILURE,
        Cause.SWITCHING_EQUIPMENT_CONGESTION,
        Cause.REQUESTED_CIRCUIT_NOT_AVAILABLE,
        Cause.RESOURCE_UNAVAILABLE,
        Cause.SERVICE_NOT_AVAILABLE,
        Cause.RECOVERY_ON_TIMER_EXPIRY,
        Cause.PROTOCOL_ERROR,
        Cause.INTERWORKING,
    ],
)
def test_what_a_network_could_not_do_another_may(cause: Cause) -> None:
    assert goes_on(cause)


@pytest.mark.parametrize(
    "cause",
    [
        Cause.UNALLOCATED_NUMBER,
        Cause.NORMAL_CALL_CLEARING,
        Cause.USER_BUSY,
        Cause.NO_USER_RESPONDING,
        Cause.NO_ANSWER_FROM_USER,
        Cause.CALL_REJECTED,
        Cause.NUMBER_CHANGED,
        Cause.INVALID_NUMBER_FORMAT,
        Cause.INCOMPATIBLE_DESTINATION,
    ],
)
def test_what_the_called_side_says_is_final(cause: Cause) -> None:
    assert not goes_on(cause)


def test_every_cause_of_the_resource_class_goes_on() -> None:
    frame_mode = {Cause.FRAME_MODE_OPERATIONAL}
    assert all(goes_on(cause) for cause in Cause if 32 <= cause <= 47 and cause not in frame_mode)


def test_operator_can_change_either_way() -> None:
    rules = CauseRules(failover={Cause.USER_BUSY: True, Cause.TEMPORARY_FAILURE: False})
    assert goes_on(Cause.USER_BUSY, rules)
    assert not goes_on(Cause.TEMPORARY_FAILURE, rules)
    assert goes_on(Cause.NO_CIRCUIT_AVAILABLE, rules)


def test_a_call_that_went_in_circles_is_not_sent_another_way() -> None:
    assert not goes_on(Cause.EXCHANGE_ROUTING_ERROR)
