from __future__ import annotations

import pytest

from gateway.cause import Cause
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.message import Response
from gateway.voip.sip.reason import MAX_TEXT, Reason, q850_reason, reason_header, reasons, sip_reason


def response(*values: str) -> Response:
    return Response(480, None, [("Reason", value) for value in values])


def test_several_values_in_one_field_and_in_several() -> None:
    message = response('SIP ;cause=600 ;text="Busy, everywhere", q.850;cause=17', "Preemption;cause=1")
    assert reasons(message) == (
        Reason("SIP", 600, "Busy, everywhere"),
        Reason("Q.850", 17),
        Reason("Preemption", 1),
    )
    assert q850_reason(message) == Reason("Q.850", 17)
    assert sip_reason(message) == Reason("SIP", 600, "Busy, everywhere")


def test_message_without_reason() -> None:
    assert reasons(response()) == ()
    assert q850_reason(response()) is None and sip_reason(response()) is None


@pytest.mark.parametrize(
    "value", ["Q.850;cause=128", "Q.850;cause=x", "Q.850", "Q.850;cause=-1", 'Q.850;cause="', ";cause=1", "Q.850;;"]
)
def test_senseless_cause_is_none_and_spoils_nothing(value: str) -> None:
    assert q850_reason(response(value)) is None
    assert q850_reason(response(value, "Q.850;cause=16")) == Reason("Q.850", 16)


def test_quoted_cause_is_read() -> None:
    assert q850_reason(response('Q.850;cause="31"')) == Reason("Q.850", 31)


def test_first_value_of_the_protocol_asked_for_counts() -> None:
    message = response("Q.850;cause=127, SIP, SIP;cause=699, Q.850;cause=16, SIP;cause=200")
    assert q850_reason(message) == Reason("Q.850", 127)
    assert sip_reason(message) == Reason("SIP", 699)


def test_header_is_built_and_read_back() -> None:
    name, value = reason_header(Cause.USER_BUSY, 'he said "no"')
    assert (name, value) == ("Reason", 'Q.850;cause=17;text="he said \\"no\\""')
    assert q850_reason(response(value)) == Reason("Q.850", 17, 'he said "no"')
    assert reason_header(16) == ("Reason", "Q.850;cause=16")


def test_text_has_a_limit() -> None:
    assert len(Reason.parse(f'SIP;cause=200;text="{"x" * (MAX_TEXT + 1)}"').text) == MAX_TEXT
    with pytest.raises(SipError):
        Reason.parse(";cause=1")
