"""Names and components inside Facility: octets by hand from X.229, ECMA-164 and NI-2, and hostile BER."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.identity import Presentation
from gateway.pri.q931.errors import ContentError, Q931Error
from gateway.pri.q931.ie.facility import Facility
from gateway.pri.q931.ie.rose import (
    INFORMATION_FOLLOWING,
    MAX_COMPONENTS,
    Component,
    ComponentKind,
    NameOperation,
    PartyName,
    components,
    information_following,
    information_follows,
    name_facility,
    read_name,
    values,
)

CALLING = NameOperation.CALLING


def ext(octets: str) -> Facility:
    """A Facility of the networking extensions profile."""
    return Facility(bytes.fromhex(octets), b"\x9f")


# Interpretation "discard", invoke 1, operation 0, name [0] "Ann".
NI2_NAME = "8b0100 a10b 020101 020100 8003416e6e"


@pytest.mark.parametrize(
    ("octets", "name"),
    [
        (NI2_NAME, PartyName(CALLING, "Ann")),
        ("aa06800100820100" + NI2_NAME, PartyName(CALLING, "Ann")),
        ("a10b 020101 020102 8003416e6e", PartyName(NameOperation.CONNECTED, "Ann")),
        ("a10b 020101 020100 8203416e6e", PartyName(CALLING, "Ann", Presentation.RESTRICTED)),
        # Extended: a sequence of name and character set.
        ("a110 020101 020100 a108 0403416e6e 020101", PartyName(CALLING, "Ann")),
        ("a110 020101 020101 a308 0403416e6e 020101", PartyName(NameOperation.CALLED, "Ann", Presentation.RESTRICTED)),
        ("a108 020101 020100 8400", PartyName(CALLING, None, Presentation.NOT_AVAILABLE)),
        ("a108 020101 020100 8700", PartyName(CALLING, None, Presentation.RESTRICTED)),
        # The name as first of a sequence; the operation as object identifier 1.3.12.9.0.
        ("a10d 020101 020100 3005 8003416e6e", PartyName(CALLING, "Ann")),
        ("a10e 020101 06042b0c0900 8003416e6e", PartyName(CALLING, "Ann")),
        # Linked identifier before the operation; indefinite lengths.
        ("a10e 020101 800105 020100 8003416e6e", PartyName(CALLING, "Ann")),
        ("a180 020101 020100 8003416e6e 0000", PartyName(CALLING, "Ann")),
        ("a1810b 020101 020100 8003416e6e", PartyName(CALLING, "Ann")),
        # Spaces around; an empty name.
        ("a10d 020101 020100 800520416e6e20", PartyName(CALLING, "Ann")),
        ("a108 020101 020100 8000", PartyName(CALLING, None)),
        # Latin 1.
        ("a109 020101 020100 8001f6", PartyName(CALLING, "\u00f6")),
    ],
)
def test_names_are_read(octets: str, name: PartyName) -> None:
    assert read_name(ext(octets)) == name


@pytest.mark.parametrize(
    "octets",
    [
        "",
        "a1",
        "a10b 020101 020100 8003416e",  # cut short
        "a10b 020101 020107 8003416e6e",  # another operation
        "a10e 020101 06042b0c0a00 8003416e6e",  # another object identifier
        "a10e 020101 020100 8606416e6e416e6e",  # not a name
        "a106 020101 020100",  # no argument
        "a20b 020101 020100 8003416e6e",  # a result, not an invoke
        "a13b 020101 020100 8033" + "41" * 51,  # longer than a name may be
        "a103 020101",  # no operation
        "a10b 020101 1f0100 8003416e6e",  # tag of several octets
        "a10b 0280 020100 8003416e6e00",  # primitive of indefinite length
        "a185 0000000006 020101 020100",  # length of five octets
        "a10f 020101 02050000000000 8003416e6e",  # integer of five octets
        "a10f 020101 020100 3007 3005 8003416e6e",  # sequence in a sequence
    ],
)
def test_what_is_no_name_is_none(octets: str) -> None:
    assert read_name(ext(octets)) is None


def test_names_are_built_as_ni2_and_as_qsig_write_them() -> None:
    name = PartyName(CALLING, "Ann")
    assert name_facility(name, 1, network_extension=False).octets() == b"\x9f" + bytes.fromhex(NI2_NAME)
    qsig = name_facility(name, 1, network_extension=True).octets()
    assert qsig == b"\x9f" + bytes.fromhex("aa06800100820100" + NI2_NAME)


@pytest.mark.parametrize(
    ("identifier", "octets"), [(0, "020100"), (127, "02017f"), (128, "02020080"), (0x7FFF, "02027fff")]
)
def test_invoke_identifiers_are_signed_integers(identifier: int, octets: str) -> None:
    facility = name_facility(PartyName(CALLING, "A"), identifier, network_extension=False)
    assert bytes.fromhex(octets) in facility.components
    assert components(facility)[0].invoke_id == identifier


def test_an_invoke_identifier_beyond_two_octets_is_never_sent() -> None:
    with pytest.raises(ValueError, match="invoke identifier"):
        information_following(0x8000)


@settings(deadline=None)
@given(
    st.sampled_from(NameOperation),
    # Letters of Latin 1 whose octets are never UTF-8 by chance.
    st.none() | st.text([chr(code) for code in (*range(0x21, 0x7F), *range(0xC0, 0x100))], min_size=1, max_size=50),
    st.sampled_from((Presentation.ALLOWED, Presentation.RESTRICTED)),
    st.booleans(),
)
def test_a_name_reads_back_as_it_was_built(
    operation: NameOperation, text: str | None, presentation: Presentation, extension: bool
) -> None:
    if text is None and presentation is Presentation.ALLOWED:
        presentation = Presentation.NOT_AVAILABLE
    name = PartyName(operation, text, presentation)
    assert read_name(name_facility(name, 5, network_extension=extension)) == name


def test_a_long_name_is_cut() -> None:
    name = read_name(name_facility(PartyName(CALLING, "x" * 60), 1, network_extension=False))
    assert name == PartyName(CALLING, "x" * 50)


def test_ni2_announces_a_name_for_later() -> None:
    facility = information_following(1)
    assert facility.octets().hex() == "9f8b0100a10f02010106072a8648ce1500040a0100"
    assert information_follows(facility)
    assert not information_follows(ext(NI2_NAME))
    # The object identifier alone, in octets that are no BER.
    assert not information_follows(Facility(INFORMATION_FOLLOWING, b"\x9f"))


@pytest.mark.parametrize(
    ("octets", "component"),
    [
        ("a106 020101 020122", Component(ComponentKind.INVOKE, 1, 0x22)),
        ("a203 020101", Component(ComponentKind.RETURN_RESULT, 1, None)),
        ("a20a 020101 3005 020122 0500", Component(ComponentKind.RETURN_RESULT, 1, 0x22, b"\x05\x00")),
        ("a306 020101 020103", Component(ComponentKind.RETURN_ERROR, 1, 3)),
        ("a406 020101 810101", Component(ComponentKind.REJECT, 1, None, b"\x81\x01\x01")),
        ("a405 0500 810101", Component(ComponentKind.REJECT, None, None, b"\x81\x01\x01")),
    ],
)
def test_components_of_each_kind(octets: str, component: Component) -> None:
    assert components(Facility(bytes.fromhex(octets))) == (component,)


def test_other_profiles_have_no_components() -> None:
    assert components(Facility(bytes.fromhex("a106020101020122"), b"\x92")) == ()


def test_a_facility_has_at_most_16_components() -> None:
    component = bytes.fromhex("a106020101020122")
    assert len(components(Facility(component * MAX_COMPONENTS))) == MAX_COMPONENTS
    with pytest.raises(ContentError, match="16"):
        components(Facility(component * (MAX_COMPONENTS + 1)))


def test_indefinite_lengths_nest_to_a_limit() -> None:
    assert list(values(bytes.fromhex("3080" * 9 + "0000" * 9)))
    with pytest.raises(ContentError, match="deeper"):
        list(values(bytes.fromhex("3080" * 10 + "0000" * 10)))


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=250))
def test_any_octets_are_components_or_the_protocols_error(octets: bytes) -> None:
    for facility in (Facility(octets), Facility(octets, b"\x9f"), Facility(b"\xa1" + octets)):
        with contextlib.suppress(Q931Error):
            components(facility)
        read_name(facility)
        information_follows(facility)
