"""Q.850 causes through IAX2 and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cause import Cause
from gateway.voip.iax.causes import MAX_TEXT, Reason, add_cause, control_cause, reason_of
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.frame import Control

DEFAULT = Cause.NORMAL_CALL_CLEARING


@given(st.sampled_from(Cause), st.text(max_size=300))
def test_a_cause_comes_back(cause: Cause, text: str) -> None:
    elements = Elements.parse(bytes(add_cause(Elements(), cause, text)))
    assert reason_of(elements, DEFAULT).cause is cause


def test_a_cause_has_words_for_people() -> None:
    elements = add_cause(Elements(), Cause.USER_BUSY)
    assert reason_of(elements, DEFAULT) == Reason(Cause.USER_BUSY, "User busy")
    elements = add_cause(Elements(), Cause.NO_ROUTE_TO_DESTINATION, "No such context/extension")
    assert reason_of(elements, DEFAULT) == Reason(Cause.NO_ROUTE_TO_DESTINATION, "No such context/extension")


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (b"\x22", Cause.NO_CIRCUIT_AVAILABLE),
        (b"\x00", DEFAULT),
        (b"", DEFAULT),
        # Unknown ones: the catch-all of their class.
        (b"\x2d", Cause.RESOURCE_UNAVAILABLE),
        (b"\xff", Cause.NORMAL_UNSPECIFIED),
        (b"\x00\x11", Cause.USER_BUSY),
        (bytes(300 % 256) + b"\x01", Cause.UNALLOCATED_NUMBER),
    ],
)
def test_codes_of_far_ends(code: bytes, cause: Cause) -> None:
    assert reason_of(Elements([(Ie.CAUSECODE, code)]), DEFAULT).cause is cause


@given(st.binary(max_size=255), st.binary(max_size=255))
def test_whatever_a_far_end_says_is_a_cause(code: bytes, text: bytes) -> None:
    reason = reason_of(Elements([(Ie.CAUSECODE, code), (Ie.CAUSE, text)]), DEFAULT)
    assert isinstance(reason.cause, Cause)
    assert len(reason.text) <= MAX_TEXT
    assert reason.text.isprintable()


def test_words_alone_are_understood_where_they_are_well_known() -> None:
    assert reason_of(Elements().add_text(Ie.CAUSE, "Busy"), Cause.CALL_REJECTED).cause is Cause.USER_BUSY
    assert reason_of(Elements().add_text(Ie.CAUSE, "Bye"), DEFAULT) == Reason(DEFAULT, "Bye")
    # The code has the last word.
    elements = Elements().add_text(Ie.CAUSE, "Busy").add_number(Ie.CAUSECODE, Cause.CALL_REJECTED, 1)
    assert reason_of(elements, DEFAULT).cause is Cause.CALL_REJECTED


def test_control_frames_that_say_how_it_went() -> None:
    assert control_cause(Control.BUSY) is Cause.USER_BUSY
    assert control_cause(Control.CONGESTION) is Cause.NO_CIRCUIT_AVAILABLE
    assert control_cause(Control.RINGING) is None
