"""What NEW says of a call (RFC 5456 6.2.2), there and back."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cause import Cause
from gateway.identity import (
    Number,
    NumberingPlan,
    Party,
    Presentation,
    Redirection,
    Screening,
    TypeOfNumber,
)
from gateway.leg import Setup
from gateway.media.api import Codec
from gateway.voip.iax.crypt import AES_128, KEY_ROTATION
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.errors import IaxError
from gateway.voip.iax.new_contents import contents, dialled, fault, read
from gateway.voip.iax.peers import PeerSettings

PEER = PeerSettings(name="branch", user="hq")
CODECS = (Codec.ALAW, Codec.ULAW)
NOTHING: frozenset[str] = frozenset()


def said(setup: Setup, *, encrypt: bool = False) -> Elements:
    return Elements.parse(bytes(contents(PEER, setup, CODECS, encrypt=encrypt)))


def heard(setup: Setup) -> Setup:
    return read(said(setup), CODECS, NOTHING).setup


def test_the_version_comes_first_and_all_that_must_be_there_is() -> None:
    elements = said(Setup(Number("123")))
    assert elements.items[0] == (Ie.VERSION, b"\0\2")
    assert elements.text(Ie.CALLED_NUMBER) == elements.text(Ie.DNID) == "123"
    assert elements.text(Ie.USERNAME) == "hq"
    assert elements.number(Ie.FORMAT) == 8
    assert elements.number(Ie.CAPABILITY) == 12
    assert elements.formats(Ie.CAPABILITY, Ie.CAPABILITY2) == 12
    assert elements.raw(Ie.CODEC_PREFS) == b"ED"


def test_encryption_is_offered_with_rotation_if_at_all() -> None:
    setup = Setup(Number("123"))
    assert said(setup).raw(Ie.ENCRYPTION) is None
    elements = said(setup, encrypt=True)
    assert elements.raw(Ie.ENCRYPTION) == (AES_128 | KEY_ROTATION).to_bytes(2, "big")
    assert read(elements, CODECS, NOTHING).encryption == AES_128 | KEY_ROTATION


@given(
    digits=st.text("0123456789*#ABCD", min_size=1, max_size=32),
    kind=st.sampled_from([kind for kind in TypeOfNumber if kind is not TypeOfNumber.RESERVED]),
    plan=st.sampled_from([NumberingPlan.UNKNOWN, NumberingPlan.ISDN, NumberingPlan.PRIVATE]),
    presentation=st.sampled_from([Presentation.ALLOWED, Presentation.RESTRICTED, Presentation.NOT_AVAILABLE]),
    screening=st.sampled_from(Screening),
)
def test_the_caller_arrives_as_it_was(
    digits: str, kind: TypeOfNumber, plan: NumberingPlan, presentation: Presentation, screening: Screening
) -> None:
    number = Number(digits, kind, plan, presentation, screening)
    found = heard(Setup(Number("1"), Party(number))).caller.number
    # An octet of zeros is what far ends send that know of neither.
    if (kind, plan) == (TypeOfNumber.UNKNOWN, NumberingPlan.UNKNOWN):
        number = Number(digits, kind, NumberingPlan.ISDN, presentation, screening)
    assert found == number


def test_a_caller_without_a_number_is_not_available() -> None:
    elements = said(Setup(Number("1"), Party(None, "Alice")))
    assert elements.number(Ie.CALLINGPRES) == 0x43
    assert elements.raw(Ie.CALLING_NUMBER) is None
    caller = read(elements, CODECS, NOTHING).setup.caller
    assert (caller.number, caller.name, caller.name_presentation) == (None, "Alice", Presentation.ALLOWED)


def test_a_reserved_presentation_is_taken_for_hidden() -> None:
    elements = Elements().add_text(Ie.CALLING_NUMBER, "200").add_number(Ie.CALLINGPRES, 0x60, 1)
    number = read(elements, CODECS, NOTHING).setup.caller.number
    assert number is not None
    assert number.presentation is Presentation.RESTRICTED


def test_a_name_that_alone_is_hidden_is_not_told() -> None:
    setup = Setup(Number("1"), Party(Number("2"), "Alice", Presentation.RESTRICTED))
    assert said(setup).raw(Ie.CALLING_NAME) is None


def test_a_hidden_number_hides_its_name() -> None:
    number = Number("2", presentation=Presentation.RESTRICTED)
    caller = heard(Setup(Number("1"), Party(number, "Alice", Presentation.RESTRICTED))).caller
    assert (caller.name, caller.name_presentation) == ("Alice", Presentation.RESTRICTED)


def test_the_network_s_own_number_of_the_caller_is_the_ani() -> None:
    setup = Setup(Number("1"), Party(Number("200"), None, network=Number("4165550000")))
    caller = heard(setup).caller
    assert caller.network is not None
    assert caller.network.digits == "4165550000"
    # The same number twice, as chan_iax2 sends it, is one.
    elements = Elements().add_text(Ie.CALLING_NUMBER, "200").add_text(Ie.CALLING_ANI, "200")
    assert read(elements, CODECS, NOTHING).setup.caller.network is None


def test_a_diverted_call_says_by_whom() -> None:
    redirection = heard(Setup(Number("1"), redirection=Redirection(Number("300")))).redirection
    assert redirection is not None
    assert redirection.number.digits == "300"


def test_an_international_number_has_a_plus() -> None:
    number = Number("14165551234", TypeOfNumber.INTERNATIONAL)
    assert dialled(number) == "+14165551234"
    called = heard(Setup(number)).called
    assert (called.digits, called.type) == (number.digits, TypeOfNumber.INTERNATIONAL)


@pytest.mark.parametrize(
    ("text", "digits"), [("(416) 555-1234", "4165551234"), ("12a", "12A"), ("*67#", "*67#"), ("+1.416", "1416")]
)
def test_numbers_are_read_as_people_write_them(text: str, digits: str) -> None:
    elements = Elements().add_text(Ie.CALLED_NUMBER, text)
    assert fault(elements) is None
    assert read(elements, CODECS, NOTHING).setup.called.digits == digits


@pytest.mark.parametrize("text", ["sales", "+", "12;rm", "1" * 33, "٣٤"])
def test_what_nobody_can_dial_is_no_call(text: str) -> None:
    assert fault(Elements().add_text(Ie.CALLED_NUMBER, text)) is Cause.INVALID_NUMBER_FORMAT


def test_another_version_is_no_call() -> None:
    assert fault(Elements().add_number(Ie.VERSION, 1, 2)) is Cause.PROTOCOL_ERROR
    assert fault(Elements().add_number(Ie.VERSION, 2, 2)) is None
    assert fault(Elements()) is None


def test_a_call_without_a_number_is_one_all_the_same() -> None:
    assert fault(Elements()) is None
    assert read(Elements(), CODECS, NOTHING).setup.called == Number()


def test_a_caller_of_whom_only_the_format_is_known_has_that() -> None:
    elements = Elements().add_number(Ie.FORMAT, 4, 4)
    assert read(elements, CODECS, NOTHING).codec is Codec.ULAW
    assert read(Elements().add_number(Ie.FORMAT, 2, 4), CODECS, NOTHING).codec is None


@given(st.lists(st.tuples(st.integers(0, 60), st.binary(max_size=40)), max_size=12))
def test_any_elements_are_a_call_or_an_iax_error(items: list[tuple[int, bytes]]) -> None:
    elements = Elements(items)
    with contextlib.suppress(IaxError):
        fault(elements)
        setup = read(elements, CODECS, NOTHING).setup
        assert len(setup.called.digits) <= 32
