"""Properties of every element: what is built reads back the same, and any octets read or raise ContentError only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cause import Location
from gateway.identity import NumberingPlan, Presentation, RedirectionReason, Screening, TypeOfNumber
from gateway.pri.q931 import ie
from gateway.pri.q931.errors import ContentError
from gateway.pri.q931.ie.network import _OctetElement
from gateway.pri.q931.message import CallReference, Message, MessageType, decode, encode

Element = TypeVar("Element", bound=ie.InformationElement)

IA5 = st.characters(min_codepoint=0x20, max_codepoint=0x7E)
DIGITS = st.text(st.sampled_from("0123456789*#ABCD"), max_size=32)
TYPES = st.sampled_from(TypeOfNumber)
PLANS = st.sampled_from(NumberingPlan)
CODINGS = st.sampled_from(ie.CodingStandard)
LOCATIONS = st.sampled_from(Location)
SEVEN = st.integers(0, 127)
PARAMETERS = st.lists(SEVEN, max_size=2).map(bytes)


@st.composite
def presented(draw: st.DrawFn, kind: Callable[..., Element]) -> Element:
    presentation = draw(st.none() | st.sampled_from(Presentation))
    screening = draw(st.sampled_from(Screening)) if presentation is not None else Screening.USER_NOT_SCREENED
    return kind(draw(DIGITS), draw(TYPES), draw(PLANS), presentation, screening)


@st.composite
def redirecting(draw: st.DrawFn, kind: Callable[..., Element]) -> Element:
    presentation = draw(st.none() | st.sampled_from(Presentation))
    if presentation is None:
        return kind(draw(DIGITS), draw(TYPES), draw(PLANS))
    reason = draw(st.none() | st.sampled_from(RedirectionReason))
    return kind(draw(DIGITS), draw(TYPES), draw(PLANS), presentation, draw(st.sampled_from(Screening)), reason)


@st.composite
def bearers(draw: st.DrawFn, kind: Callable[..., Element]) -> Element:
    fields: dict[str, object] = {
        "capability": draw(st.integers(0, 31)),
        "mode": draw(st.integers(0, 3)),
        "rate": draw(st.integers(0, 31)),
        "octet4a": draw(st.lists(SEVEN, max_size=1).map(bytes)),
    }
    if fields["rate"] == ie.TransferRate.MULTIRATE:
        fields["multiplier"] = draw(SEVEN)
    for layer in ("layer1", "layer2", "layer3"):
        if draw(st.booleans()):
            fields[layer] = draw(st.integers(0, 31))
            fields[layer + "_parameters"] = draw(st.lists(SEVEN, max_size=1).map(bytes))
    if kind is ie.LowLayerCompatibility:
        fields["octet3a"] = draw(PARAMETERS)
    return kind(**fields)


@st.composite
def channels(draw: st.DrawFn) -> ie.ChannelIdentification:
    map_octets = draw(st.sampled_from((0, 0, 3, 4)))
    if map_octets:
        slots = st.integers(1, 24) if map_octets == 3 else st.integers(0, 31)
        listed = sorted(draw(st.sets(slots, min_size=1)))
    else:
        listed = draw(st.lists(SEVEN, min_size=1, max_size=31))
    return ie.ChannelIdentification(
        tuple(listed),
        draw(st.booleans()),
        draw(st.none() | st.integers(0, (1 << 28) - 1)),
        d_channel=draw(st.booleans()),
        map_octets=map_octets,
        channel_type=draw(st.integers(0, 15)),
        coding=draw(CODINGS),
    )


def octets_of(kind: type[_OctetElement]) -> st.SearchStrategy[ie.InformationElement]:
    longest = min(ie.CATALOGUE[kind.identifier].longest, 20)
    return st.builds(kind, st.binary(min_size=kind.minimum, max_size=longest))


def subaddress(kind: Callable[..., Element]) -> st.SearchStrategy[Element]:
    return st.builds(kind, st.binary(max_size=20), st.integers(0, 7), st.booleans())


def date_times() -> st.SearchStrategy[ie.DateTime]:
    date = (st.integers(0, 99), st.integers(1, 12), st.integers(1, 31))
    hour, sixty = st.integers(0, 23), st.integers(0, 59)
    return (
        st.builds(ie.DateTime, *date)
        | st.builds(ie.DateTime, *date, hour)
        | st.builds(ie.DateTime, *date, hour, sixty)
        | st.builds(ie.DateTime, *date, hour, sixty, sixty)
    )


ELEMENTS: dict[type[ie.InformationElement], st.SearchStrategy[ie.InformationElement]] = {
    ie.SegmentedMessage: st.builds(ie.SegmentedMessage, st.booleans(), SEVEN, st.integers(0, 255)),
    ie.ChangeStatus: st.builds(ie.ChangeStatus, st.integers(0, 7), st.integers(0, 1)),
    ie.BearerCapability: bearers(ie.BearerCapability),
    ie.CauseElement: st.builds(ie.CauseElement, SEVEN, LOCATIONS, CODINGS, st.none() | SEVEN, st.binary(max_size=27)),
    ie.CallIdentity: st.builds(ie.CallIdentity, st.binary(min_size=1, max_size=8)),
    ie.CallState: st.builds(ie.CallState, st.integers(0, 63), CODINGS),
    ie.ChannelIdentification: channels(),
    ie.Facility: st.builds(
        ie.Facility,
        st.binary(max_size=60),
        st.builds(lambda head, tail: head + bytes((tail,)), PARAMETERS, st.integers(128, 255)),
    ),
    ie.ProgressIndicator: st.builds(ie.ProgressIndicator, SEVEN, LOCATIONS, CODINGS),
    ie.NetworkSpecificFacilities: st.builds(ie.NetworkSpecificFacilities, st.binary(max_size=32))
    | st.builds(
        ie.NetworkSpecificFacilities,
        st.binary(max_size=32),
        st.text(IA5, max_size=32),
        st.integers(0, 7),
        st.integers(0, 15),
    ),
    ie.NotificationIndicator: st.builds(ie.NotificationIndicator, SEVEN, st.binary(max_size=40)),
    ie.Display: st.builds(ie.Display, st.text(IA5, max_size=79), st.none() | st.integers(0, 63)),
    ie.DateTime: date_times(),
    ie.KeypadFacility: st.builds(ie.KeypadFacility, st.text(IA5, min_size=1, max_size=32)),
    ie.Signal: st.builds(ie.Signal, st.integers(0, 255)),
    ie.Switchhook: st.builds(ie.Switchhook, st.booleans()),
    ie.FeatureActivation: st.builds(ie.FeatureActivation, st.integers(0, 16383)),
    ie.FeatureIndication: st.builds(ie.FeatureIndication, st.integers(0, 16383), st.integers(0, 15)),
    ie.ConnectedNumber: presented(ie.ConnectedNumber),
    ie.ConnectedSubaddress: subaddress(ie.ConnectedSubaddress),
    ie.CallingPartyNumber: presented(ie.CallingPartyNumber),
    ie.CallingPartySubaddress: subaddress(ie.CallingPartySubaddress),
    ie.CalledPartyNumber: st.builds(ie.CalledPartyNumber, DIGITS, TYPES, PLANS),
    ie.CalledPartySubaddress: subaddress(ie.CalledPartySubaddress),
    ie.OriginalCalledNumber: redirecting(ie.OriginalCalledNumber),
    ie.RedirectingNumber: redirecting(ie.RedirectingNumber),
    ie.RedirectionNumber: presented(ie.RedirectionNumber),
    ie.TransitNetworkSelection: st.builds(
        ie.TransitNetworkSelection, st.text(IA5, min_size=1, max_size=32), st.integers(0, 7), st.integers(0, 15)
    ),
    ie.RestartIndicator: st.builds(ie.RestartIndicator, st.sampled_from(ie.RestartClass)),
    ie.LowLayerCompatibility: bearers(ie.LowLayerCompatibility),
    ie.HighLayerCompatibility: st.builds(
        ie.HighLayerCompatibility, SEVEN, st.none() | SEVEN, CODINGS, st.integers(0, 7), st.integers(0, 3)
    ),
    ie.UserUser: st.builds(ie.UserUser, st.binary(max_size=128), st.integers(0, 255)),
    **{kind: octets_of(kind) for kind in ie.VARIABLE_LENGTH if issubclass(kind, _OctetElement)},
}

ANY_ELEMENT = st.one_of(*ELEMENTS.values())


def test_every_element_of_the_catalogue_has_a_property() -> None:
    assert set(ELEMENTS) == set(ie.VARIABLE_LENGTH)


@pytest.mark.parametrize("kind", ie.VARIABLE_LENGTH, ids=lambda kind: str(kind.__name__))
def test_an_element_reads_back_as_it_was_built(kind: type[ie.InformationElement]) -> None:
    @settings(max_examples=40, deadline=None)
    @given(element=ELEMENTS[kind])
    def property_(element: ie.InformationElement) -> None:
        contents = element.build()
        read = kind.parse(contents)
        assert read == element
        assert read.build() == contents

    property_()


@pytest.mark.parametrize("kind", ie.VARIABLE_LENGTH, ids=lambda kind: str(kind.__name__))
def test_any_octets_are_an_element_or_a_content_error(kind: type[ie.InformationElement]) -> None:
    @settings(max_examples=100, deadline=None)
    @given(contents=st.binary(max_size=48))
    def property_(contents: bytes) -> None:
        with contextlib.suppress(ContentError):
            repr(kind.parse(contents))

    property_()


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([kind for kind in MessageType if kind < 0x100]),
    st.integers(0, 0x7FFF),
    st.booleans(),
    st.lists(ANY_ELEMENT, max_size=5, unique_by=lambda element: int(element.identifier)),
)
def test_a_message_of_any_elements_reads_back_in_sequence(
    kind: MessageType, reference: int, flag: bool, elements: list[ie.InformationElement]
) -> None:
    message = Message(kind, CallReference(reference, flag), elements)
    try:
        octets = encode(message)
    except ValueError as error:
        assert "260" in str(error)
        return
    read = decode(octets)
    too_long = any(len(element.build()) > ie.CATALOGUE[element.identifier].longest for element in elements)
    if not too_long:
        full = [element for element in elements if element.build()]
        assert not read.problems
        assert [e for e in read.elements if type(e) is not ie.UnknownElement] == sorted(
            full, key=lambda element: element.identifier
        )
    assert encode(Message(read.message_type, read.call_reference, read.elements)) == octets
