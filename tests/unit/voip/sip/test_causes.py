"""RFC 3398's two tables in full, the Reason header, and an operator's changes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cause import Cause, Location
from gateway.cause_map import CauseRules
from gateway.voip.sip.cause_tables import (
    CAUSE_FOR_OTHER_STATUS,
    CAUSE_FOR_STATUS,
    STATUS_FOR_CAUSE,
    STATUS_FOR_OTHER_CAUSE,
)
from gateway.voip.sip.causes import cause_for_bye, cause_for_sip, sane_reason, sip_status_for
from gateway.voip.sip.status import REASON_PHRASES, reason_phrase

# RFC 3398 7.2.4.1, by cause number.
TO_SIP = {
    1: 404,
    2: 404,
    3: 404,
    17: 486,
    18: 408,
    19: 480,
    20: 480,
    21: 403,
    22: 410,
    23: 410,
    26: 404,
    27: 502,
    28: 484,
    29: 501,
    31: 480,
    34: 503,
    38: 503,
    41: 503,
    42: 503,
    47: 503,
    55: 403,
    57: 403,
    58: 503,
    65: 488,
    70: 488,
    87: 403,
    88: 503,
    102: 504,
    111: 500,
    127: 500,
}

# RFC 3398 8.2.6.1, by status.
FROM_SIP = {
    400: 41,
    401: 21,
    402: 21,
    403: 21,
    404: 1,
    405: 63,
    406: 79,
    407: 21,
    408: 102,
    410: 22,
    413: 127,
    414: 127,
    415: 79,
    416: 127,
    420: 127,
    421: 127,
    423: 127,
    480: 18,
    481: 41,
    482: 25,
    483: 25,
    484: 28,
    485: 1,
    486: 17,
    500: 41,
    501: 79,
    502: 38,
    503: 41,
    504: 102,
    505: 127,
    513: 127,
    600: 17,
    603: 21,
    604: 1,
}


@pytest.mark.parametrize(("cause", "status"), TO_SIP.items())
def test_cause_becomes_the_status_of_rfc_3398(cause: int, status: int) -> None:
    assert sip_status_for(Cause(cause))[0] == status


@pytest.mark.parametrize(("status", "cause"), FROM_SIP.items())
def test_status_becomes_the_cause_of_rfc_3398(status: int, cause: int) -> None:
    assert cause_for_sip(status) == cause


def test_tables_are_those_of_rfc_3398_and_nothing_else() -> None:
    assert {int(cause): status for cause, status in STATUS_FOR_CAUSE.items()} == TO_SIP
    assert {status: int(cause) for status, cause in CAUSE_FOR_STATUS.items()} == FROM_SIP
    assert not STATUS_FOR_CAUSE.keys() & STATUS_FOR_OTHER_CAUSE.keys()
    assert not CAUSE_FOR_STATUS.keys() & CAUSE_FOR_OTHER_STATUS.keys()


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_a_failure_status_with_its_phrase(cause: Cause) -> None:
    status, phrase = sip_status_for(cause)
    assert 400 <= status <= 699
    assert phrase == REASON_PHRASES[status]


def test_every_failure_status_has_a_cause() -> None:
    assert all(cause_for_sip(status) in Cause for status in range(300, 700))


def test_busy_stays_busy_both_ways_and_nothing_else_becomes_busy() -> None:
    assert sip_status_for(Cause.USER_BUSY)[0] == 486
    assert [int(cause) for cause in Cause if sip_status_for(cause)[0] in (486, 600)] == [17]
    assert [status for status in range(300, 700) if cause_for_sip(status) is Cause.USER_BUSY] == [486, 600]


def test_no_failure_status_but_487_becomes_normal_clearing() -> None:
    assert [status for status in range(300, 700) if cause_for_sip(status) is Cause.NORMAL_CALL_CLEARING] == [487]


def test_unknown_status_counts_as_its_class() -> None:
    assert cause_for_sip(499) is cause_for_sip(400)
    assert cause_for_sip(599) is cause_for_sip(500)
    assert cause_for_sip(699) is Cause.CALL_REJECTED
    assert cause_for_sip(399) is Cause.REDIRECTION_TO_NEW_DESTINATION
    assert cause_for_sip(42) is Cause.INTERWORKING


def test_rejection_by_the_user_is_a_decline() -> None:
    assert sip_status_for(Cause.CALL_REJECTED, location=Location.USER) == (603, "Decline")
    assert sip_status_for(Cause.CALL_REJECTED, location=Location.PUBLIC_LOCAL) == (403, "Forbidden")
    assert sip_status_for(Cause.USER_BUSY, location=Location.USER)[0] == 486


@pytest.mark.parametrize(
    ("status", "reason", "cause"),
    [
        (503, 34, 34),
        (480, 19, 19),
        (404, 2, 2),
        (500, 102, 102),
        (503, 17, 17),
        # A default of "normal clearing" makes a failure look like a good end.
        (486, 16, 17),
        (503, 16, 41),
        (404, 16, 1),
        (500, 30, 41),
        # Busy must not be shown as congestion.
        (486, 34, 17),
        (600, 42, 17),
        (486, 63, 17),
        (486, 21, 21),
        # No causes at all.
        (404, 0, 1),
        (404, 128, 1),
        (404, -5, 1),
        (404, 99999, 1),
        # Unknown ones count as their class.
        (503, 45, 47),
        (503, 33, 47),
    ],
)
def test_reason_header_wins_where_it_is_sane(status: int, reason: int, cause: int) -> None:
    assert cause_for_sip(status, reason) == cause


@pytest.mark.parametrize(
    ("warning", "cause"), [(None, 65), (304, 65), (305, 65), (330, 58), (370, 47), (399, 65), (388, 65)]
)
def test_warning_decides_for_488_and_606(warning: int | None, cause: int) -> None:
    assert cause_for_sip(488, warning=warning) == cause
    assert cause_for_sip(606, warning=warning) == cause
    assert cause_for_sip(404, warning=warning) == 1


def test_operator_rules_come_before_the_tables() -> None:
    rules = CauseRules(to_sip={Cause.CALL_REJECTED: 603, Cause.USER_BUSY: 600}, from_sip={480: Cause.USER_BUSY})
    assert sip_status_for(Cause.CALL_REJECTED, rules) == (603, "Decline")
    assert sip_status_for(Cause.USER_BUSY, rules, Location.USER) == (600, "Busy Everywhere")
    assert sip_status_for(Cause.NO_ANSWER_FROM_USER, rules) == (480, "Temporarily Unavailable")
    assert cause_for_sip(480, rules=rules) is Cause.USER_BUSY
    assert cause_for_sip(480, 19, rules) is Cause.NO_ANSWER_FROM_USER
    assert cause_for_sip(404, rules=rules) is Cause.UNALLOCATED_NUMBER


def test_phrase_of_a_status_without_one_is_that_of_its_class() -> None:
    assert reason_phrase(486) == "Busy Here"
    assert reason_phrase(499) == "Request Failure"
    assert reason_phrase(612) == "Global Failure"
    assert reason_phrase(999) == "Unknown"


@pytest.mark.parametrize(("reason", "cause"), [(None, 16), (16, 16), (31, 31), (38, 38), (0, 16), (200, 16), (45, 47)])
def test_bye_is_normal_clearing_unless_it_says_otherwise(reason: int | None, cause: int) -> None:
    assert cause_for_bye(reason) == cause


@settings(deadline=None)
@given(st.integers(-1000, 10_000), st.none() | st.integers(-(2**70), 2**70), st.none() | st.integers())
def test_any_numbers_give_a_cause(status: int, reason: int | None, warning: int | None) -> None:
    assert cause_for_sip(status, reason, warning=warning) in Cause
    if reason is not None:
        assert isinstance(sane_reason(status, reason), bool)
    assert cause_for_bye(reason) in Cause
