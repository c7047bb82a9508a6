"""Messages: frame, call reference, codesets, order and the faults of elements (Q.931 4.1 to 4.5, 5.8.1 to 5.8.7)."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.cause import Cause, Location
from gateway.identity import NumberingPlan, Presentation, TypeOfNumber
from gateway.pri.q931 import ie
from gateway.pri.q931.contents import OPTIONAL, Direction, invalid_mandatory, missing_mandatory, unexpected
from gateway.pri.q931.errors import Q931Error
from gateway.pri.q931.ie.rose import components, information_follows, read_name
from gateway.pri.q931.message import (
    MAX_ELEMENTS,
    MAX_MESSAGE,
    CallReference,
    Message,
    MessageType,
    ProblemKind,
    decode,
    encode,
    sequenced,
)

# SETUP, reference 1: sending complete, speech A-law, channel 1 exclusive, progress 3, display, 2125550100 to 5550001.
SETUP = bytes.fromhex(
    "0802000105 a1 04038090a3 1803a98381 1e028183 28044a6f686e 6c0c218032313235353530313030 7008a135353530303031"
)
# RELEASE COMPLETE of the far side's reference 1, cause 16 from the user.
RELEASE_COMPLETE = bytes.fromhex("080280015a 08028090")


def test_a_setup_has_its_elements() -> None:
    message = decode(SETUP)
    assert message.message_type is MessageType.SETUP
    assert message.call_reference == CallReference(1, False, 2)
    assert message.problems == ()
    assert [type(element) for element in message.elements] == [
        ie.SendingComplete,
        ie.BearerCapability,
        ie.ChannelIdentification,
        ie.ProgressIndicator,
        ie.Display,
        ie.CallingPartyNumber,
        ie.CalledPartyNumber,
    ]
    called = message.first(ie.CalledPartyNumber)
    assert called == ie.CalledPartyNumber("5550001", TypeOfNumber.NATIONAL)
    assert message.first(ie.CauseElement) is None


def test_a_message_built_from_fields_has_the_octets_of_the_standard() -> None:
    built = Message(
        MessageType.SETUP,
        CallReference(1),
        [
            ie.SendingComplete(),
            ie.SPEECH_A_LAW,
            ie.ChannelIdentification((1,)),
            ie.ProgressIndicator(ie.ProgressDescription.ORIGINATION_NOT_ISDN, Location.PRIVATE_LOCAL),
            ie.Display("John"),
            ie.CallingPartyNumber("2125550100", TypeOfNumber.NATIONAL, presentation=Presentation.ALLOWED),
            ie.CalledPartyNumber("5550001", TypeOfNumber.NATIONAL),
        ],
    )
    assert encode(built) == SETUP
    assert built == decode(SETUP)
    assert hash(built) == hash(decode(SETUP))


def test_elements_of_a_decoded_message_build_the_same_octets_in_a_new_one() -> None:
    message = decode(SETUP)
    assert encode(Message(message.message_type, message.call_reference, message.elements)) == SETUP


@pytest.mark.parametrize(
    ("octets", "reference"),
    [
        ("08000162", CallReference(0, False, 0)),
        ("08010562", CallReference(5, False, 1)),
        ("08018562", CallReference(5, True, 1)),
        ("0802800562", CallReference(5, True, 2)),
        ("0802ffff62", CallReference(0x7FFF, True, 2)),
        ("0802000046", CallReference(0, False, 2)),
    ],
)
def test_call_references_of_each_length(octets: str, reference: CallReference) -> None:
    octets = octets.replace("080001", "0800")
    message = decode(bytes.fromhex(octets))
    assert message.call_reference == reference
    assert encode(Message(message.message_type, reference)).hex() == octets


def test_the_answer_to_a_reference_has_the_other_flag() -> None:
    assert CallReference(5, True, 2).answer() == CallReference(5, False, 2)
    assert CallReference(0).is_global
    assert not CallReference(0, length=0).is_global
    assert not CallReference(1).is_global


@pytest.mark.parametrize(
    "reference", [CallReference(0x8000), CallReference(-1), CallReference(128, length=1), CallReference(1, length=3)]
)
def test_a_reference_that_does_not_fit_is_never_sent(reference: CallReference) -> None:
    with pytest.raises(ValueError, match="call reference"):
        encode(Message(MessageType.STATUS, reference))


@pytest.mark.parametrize(
    "octets",
    [
        "",
        "08",
        "0802",
        "08028001",  # 5.8.2: shorter than its message type
        "0901010f",  # 5.8.1: another protocol discriminator
        "0803000001 5a",  # 5.8.3.1: length beyond the interface's
        "0812000105",  # 5.8.3.1: bits 8-5 of octet 2
    ],
)
def test_what_is_no_message_is_the_protocols_error(octets: str) -> None:
    with pytest.raises(Q931Error):
        decode(bytes.fromhex(octets))


def test_a_message_has_at_most_260_octets() -> None:
    head = bytes.fromhex("0802000162")
    facility = bytes.fromhex("1cf991") + b"\x00" * 248
    assert len(decode(head + facility + b"\xa0" * 4).elements) == 5
    with pytest.raises(Q931Error, match="260"):
        decode(head + facility + b"\xa0" * 5)
    elements = [ie.Facility(b"\x00" * 248)] + [ie.MoreData()] * 4
    message = Message(MessageType.FACILITY, CallReference(1), elements)
    assert len(encode(message)) == MAX_MESSAGE
    with pytest.raises(ValueError, match="260"):
        encode(Message(MessageType.FACILITY, CallReference(1), [*elements, ie.MoreData()]))


def test_a_message_has_at_most_64_elements() -> None:
    head = bytes.fromhex("0802000120")
    assert len(decode(head + b"\xa0" * MAX_ELEMENTS).elements) == MAX_ELEMENTS
    with pytest.raises(Q931Error, match="64"):
        decode(head + b"\xa0" * (MAX_ELEMENTS + 1))
    with pytest.raises(ValueError, match="64"):
        encode(Message(MessageType.USER_INFORMATION, CallReference(1), [ie.MoreData()] * (MAX_ELEMENTS + 1)))


def test_an_element_longer_than_its_length_octet_can_say_is_never_sent() -> None:
    with pytest.raises(ValueError, match="255"):
        encode(Message(MessageType.SETUP, CallReference(1), [ie.UnknownElement(0x50, b"\x00" * 256)]))


def test_an_unknown_message_type_stays_a_number() -> None:
    message = decode(bytes.fromhex("0802000151"))
    assert message.message_type == 0x51
    assert message.name == "message type 0x51"
    assert not isinstance(message.message_type, MessageType)


def test_a_type_that_maintenance_messages_do_not_have_is_not_taken_for_a_call_message() -> None:
    message = decode(bytes.fromhex("0302000005"))
    assert message.message_type != MessageType.SETUP
    assert encode(Message(message.message_type, message.call_reference)).hex() == "0302000005"


def test_a_national_message_type_is_unknown_and_its_octets_are_no_elements() -> None:
    octets = bytes.fromhex("0802000100 05 aa")
    message = decode(octets)
    assert (message.message_type, message.elements, message.problems) == (0, (), ())
    assert encode(message) == octets


@pytest.mark.parametrize("discriminator", ["03", "43"])
def test_service_messages_have_a_discriminator_of_their_own(discriminator: str) -> None:
    # SERVICE: channel 4 goes out of service.
    octets = bytes.fromhex(f"{discriminator}0200000f 0101c2 1803a98384")
    message = decode(octets)
    assert message.message_type is MessageType.SERVICE
    assert message.protocol_discriminator == int(discriminator, 16)
    assert message.first(ie.ChangeStatus) == ie.ChangeStatus(ie.ServiceStatus.OUT_OF_SERVICE)
    rebuilt = Message(MessageType.SERVICE, message.call_reference, message.elements, int(discriminator, 16))
    assert encode(rebuilt) == octets


def test_a_service_message_takes_the_maintenance_discriminator_by_itself() -> None:
    message = Message(MessageType.SERVICE_ACKNOWLEDGE, CallReference(0, True))
    assert encode(message).hex() == "0302800007"
    assert encode(Message(MessageType.CONNECT, CallReference(0, True))).hex() == "0802800007"


# -- codesets --


def test_a_locking_shift_lasts_to_the_end_and_its_elements_are_kept() -> None:
    # 0x96: locking shift to codeset 6 (network specific); an element 0x01 of NI-2 and one 0x28 that is no Display.
    octets = bytes.fromhex("0802000105 04038090a3 96 01020504 280141")
    message = decode(octets)
    assert message.problems == ()
    assert message.elements[1:] == (
        ie.Shift(6),
        ie.UnknownElement(0x01, b"\x05\x04", 6),
        ie.UnknownElement(0x28, b"A", 6),
    )
    assert message.first(ie.Display) is None
    assert encode(Message(message.message_type, message.call_reference, message.elements)) == octets


def test_a_non_locking_shift_lasts_for_one_element() -> None:
    octets = bytes.fromhex("0802000105 9d 280141 280142")
    message = decode(octets)
    assert message.elements == (ie.Shift(5, locking=False), ie.UnknownElement(0x28, b"A", 5), ie.Display("B"))
    assert encode(Message(message.message_type, message.call_reference, message.elements)) == octets


def test_a_non_locking_shift_leads_back_for_one_element() -> None:
    message = decode(bytes.fromhex("0802000105 96 010101 98 280142 280143"))
    assert [element for element in message.elements if not isinstance(element, ie.Shift)] == [
        ie.UnknownElement(0x01, b"\x01", 6),
        ie.Display("B"),
        ie.UnknownElement(0x28, b"C", 6),
    ]


def test_a_locking_shift_downwards_is_not_followed() -> None:
    message = decode(bytes.fromhex("0802000105 96 010101 90 280142"))
    assert [problem.kind for problem in message.problems] == [ProblemKind.CONTENT_ERROR]
    assert message.first(ie.Display) is None


def test_encoding_again_takes_a_locking_shift_downwards_as_decoding_does() -> None:
    octets = bytes.fromhex("0802000105 96 010101 90 280142")
    message = decode(octets)
    assert encode(Message(message.message_type, message.call_reference, message.elements)) == octets


def test_encoding_puts_in_the_shifts_that_elements_need() -> None:
    elements = [ie.UnknownElement(0x01, b"\x02", 6), ie.Display("A"), ie.UnknownElement(0x02, b"\x03", 5)]
    octets = encode(Message(MessageType.SETUP, CallReference(1), elements))
    assert octets.hex() == "0802000105" + "280141" + "95" + "020103" + "96" + "010102"


def test_what_stands_in_another_codeset_is_no_fault_whatever_its_identifier() -> None:
    message = decode(bytes.fromhex("0802000105 96 0201ff 0301ff"))
    assert message.problems == ()


# -- order --


def test_encoding_puts_elements_in_sequence_and_single_octets_first() -> None:
    elements = [
        ie.CalledPartyNumber("1"),
        ie.Display("A"),
        ie.SPEECH_A_LAW,
        ie.SendingComplete(),
        ie.ProgressIndicator(8),
        ie.ProgressIndicator(1),
    ]
    read = decode(encode(Message(MessageType.SETUP, CallReference(1), elements)))
    assert read.problems == ()
    assert read.elements == (elements[3], elements[2], elements[4], elements[5], elements[1], elements[0])


def test_a_repeat_indicator_stays_before_the_elements_it_repeats() -> None:
    low, high = ie.LowLayerCompatibility(0), ie.LowLayerCompatibility(8)
    ordered = sequenced([ie.RepeatIndicator(), low, high, ie.SPEECH_A_LAW])
    assert ordered == (ie.SPEECH_A_LAW, ie.RepeatIndicator(), low, high)
    octets = encode(Message(MessageType.SETUP, CallReference(1), ordered))
    assert decode(octets).elements == ordered


def test_single_octets_may_stand_anywhere() -> None:
    octets = bytes.fromhex("0802000105 04038090a3 700280 31 a1").replace(b" ", b"")
    message = decode(octets)
    assert message.problems == ()
    assert encode(Message(message.message_type, message.call_reference, message.elements)) == octets


# -- faults of elements --


def kinds(message: Message) -> list[tuple[int, int, ProblemKind]]:
    return [(problem.identifier, problem.codeset, problem.kind) for problem in message.problems]


def test_an_unrecognised_element_is_told_and_kept() -> None:
    octets = bytes.fromhex("0802000105 04038090a3 5502abcd")
    message = decode(octets)
    assert kinds(message) == [(0x55, 0, ProblemKind.UNRECOGNISED)]
    assert not message.problems[0].comprehension_required
    assert message.elements[-1] == ie.UnknownElement(0x55, b"\xab\xcd")
    assert encode(message) == octets


def test_an_unrecognised_element_with_bits_8_to_5_zero_requires_comprehension() -> None:
    message = decode(bytes.fromhex("0802000105 04038090a3 0f0100"))
    assert kinds(message) == [(0x0F, 0, ProblemKind.UNRECOGNISED)]
    assert message.problems[0].comprehension_required


def test_a_reserved_single_octet_is_unrecognised() -> None:
    message = decode(bytes.fromhex("0802000105 c1"))
    assert kinds(message) == [(0xC1, 0, ProblemKind.UNRECOGNISED)]
    assert not message.problems[0].comprehension_required
    assert message.elements == (ie.UnknownSingleOctet(0xC1),)


def test_a_content_error_spoils_its_element_only() -> None:
    message = decode(bytes.fromhex("0802000105 040180 1803a98381"))
    assert kinds(message) == [(0x04, 0, ProblemKind.CONTENT_ERROR)]
    assert message.first(ie.BearerCapability) is None
    assert message.first(ie.ChannelIdentification) == ie.ChannelIdentification((1,))


def test_an_element_longer_than_its_maximum_is_told() -> None:
    # Q.931 table 4-3: Call state has three octets in all.
    message = decode(bytes.fromhex("080200017d 08028090 14020a0a"))
    assert kinds(message) == [(0x14, 0, ProblemKind.TOO_LONG)]


@pytest.mark.parametrize("tail", ["08", "0803", "08028f"])
def test_an_element_that_ends_after_the_message_is_a_content_error(tail: str) -> None:
    message = decode(bytes.fromhex("0802000145" + tail))
    assert kinds(message) == [(0x08, 0, ProblemKind.CONTENT_ERROR)]
    assert message.elements == ()


def test_an_element_out_of_sequence_is_told_and_used() -> None:
    message = decode(bytes.fromhex("0802000105 1803a98381 04038090a3 700280 31".replace(" ", "")))
    assert kinds(message) == [(0x04, 0, ProblemKind.OUT_OF_SEQUENCE)]
    assert message.first(ie.BearerCapability) == ie.SPEECH_A_LAW


def test_only_the_first_of_an_element_that_may_not_repeat_counts() -> None:
    octets = bytes.fromhex("0802000105 70028031 70028032")
    message = decode(octets)
    assert kinds(message) == [(0x70, 0, ProblemKind.DUPLICATE)]
    assert message.all(ie.CalledPartyNumber) == (ie.CalledPartyNumber("1", plan=NumberingPlan.UNKNOWN),)
    assert encode(message) == octets


def test_elements_that_may_repeat_count_up_to_their_limit() -> None:
    message = decode(bytes.fromhex("0802000103 1e028188 1e028181 1e028182"))
    assert len(message.all(ie.ProgressIndicator)) == 2
    assert kinds(message) == [(0x1E, 0, ProblemKind.DUPLICATE)]


def test_which_elements_may_repeat_and_how_often() -> None:
    times = {ie.ElementId(identifier).name: entry.times for identifier, entry in ie.CATALOGUE.items()}
    assert {name: limit for name, limit in times.items() if limit > 1} == {
        "BEARER_CAPABILITY": 2,
        "CAUSE": 2,
        "EXTENDED_FACILITY": 16,
        "CHANNEL_IDENTIFICATION": 31,
        "FACILITY": 16,
        "PROGRESS_INDICATOR": 2,
        "NETWORK_SPECIFIC_FACILITIES": 4,
        "NOTIFICATION_INDICATOR": 3,
        "DISPLAY": 2,
        "SIGNAL": 4,
        "FEATURE_INDICATION": 16,
        "CALLING_PARTY_NUMBER": 2,
        "CALLING_PARTY_SUBADDRESS": 2,
        "REDIRECTING_NUMBER": 2,
        "TRANSIT_NETWORK_SELECTION": 4,
        "LOW_LAYER_COMPATIBILITY": 4,
        "HIGH_LAYER_COMPATIBILITY": 2,
    }


def test_an_empty_element_is_as_good_as_none() -> None:
    octets = bytes.fromhex("0802000105 04038090a3 2800 7000 70028031")
    message = decode(octets)
    assert message.problems == ()
    assert message.first(ie.Display) is None
    assert len(message.all(ie.CalledPartyNumber)) == 1
    assert encode(Message(message.message_type, message.call_reference, message.elements)) == octets


def test_a_message_says_what_it_is() -> None:
    assert repr(decode(RELEASE_COMPLETE)).startswith("<RELEASE COMPLETE 1! CauseElement(")
    assert decode(RELEASE_COMPLETE) != decode(SETUP)
    assert decode(RELEASE_COMPLETE) != "RELEASE COMPLETE"


def test_messages_differ_by_type_reference_discriminator_and_elements() -> None:
    message = Message(MessageType.SERVICE, CallReference(0), [ie.ChangeStatus(0)])
    assert message == Message(MessageType.SERVICE, CallReference(0), [ie.ChangeStatus(0)])
    assert message != Message(MessageType.SERVICE, CallReference(0), [ie.ChangeStatus(0)], 0x43)
    assert message != Message(MessageType.SERVICE_ACKNOWLEDGE, CallReference(0), [ie.ChangeStatus(0)])
    assert message != Message(MessageType.SERVICE, CallReference(0, True), [ie.ChangeStatus(0)])
    assert message != Message(MessageType.SERVICE, CallReference(0), [ie.ChangeStatus(1)])


# -- what messages must and may have --


def test_a_setup_without_bearer_capability_lacks_it_in_both_directions() -> None:
    message = Message(MessageType.SETUP, CallReference(1), [ie.CalledPartyNumber("1")])
    assert missing_mandatory(message) == (ie.ElementId.BEARER_CAPABILITY,)
    assert missing_mandatory(message, Direction.USER_TO_NETWORK) == (ie.ElementId.BEARER_CAPABILITY,)
    assert missing_mandatory(message, Direction.NETWORK_TO_USER) == (
        ie.ElementId.BEARER_CAPABILITY,
        ie.ElementId.CHANNEL_IDENTIFICATION,
    )


def test_an_empty_mandatory_element_is_missing() -> None:
    assert missing_mandatory(decode(bytes.fromhex("0802000145 0800"))) == (ie.ElementId.CAUSE,)


def test_a_mandatory_element_with_a_content_error_is_invalid_and_not_missing() -> None:
    message = decode(bytes.fromhex("0802000145 080180"))
    assert missing_mandatory(message) == ()
    assert invalid_mandatory(message) == (ie.ElementId.CAUSE,)
    assert invalid_mandatory(decode(RELEASE_COMPLETE)) == ()


def test_a_second_valid_cause_makes_up_for_an_invalid_one() -> None:
    assert invalid_mandatory(decode(bytes.fromhex("0802000145 080180 08028090"))) == ()


def test_complete_messages_miss_nothing() -> None:
    for message in (decode(SETUP), decode(RELEASE_COMPLETE), Message(MessageType.CONNECT, CallReference(1))):
        assert missing_mandatory(message, Direction.NETWORK_TO_USER) == ()
        assert unexpected(message, Direction.NETWORK_TO_USER) == ()
    assert missing_mandatory(Message(0x51, CallReference(1))) == ()
    congestion = [ie.CongestionLevel(15), ie.CauseElement(Cause.SWITCHING_EQUIPMENT_CONGESTION)]
    assert missing_mandatory(Message(MessageType.CONGESTION_CONTROL, CallReference(1), congestion)) == ()


def test_recognised_elements_that_no_table_has_there_are_unexpected() -> None:
    restart = Message(
        MessageType.RESTART, CallReference(0), [ie.RestartIndicator(), ie.CalledPartyNumber("1"), ie.Display("x")]
    )
    assert unexpected(restart) == (0x70,)
    keypad = Message(MessageType.INFORMATION, CallReference(1), [ie.KeypadFacility("1")])
    assert unexpected(keypad, Direction.USER_TO_NETWORK) == ()
    assert unexpected(keypad, Direction.NETWORK_TO_USER) == (0x2C,)
    assert unexpected(Message(0x51, CallReference(1), [ie.Display("x")])) == ()


def test_every_message_has_its_table() -> None:
    assert set(OPTIONAL) == set(MessageType)


# -- anything at all --


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=270))
@example(SETUP)
def test_any_octets_are_a_message_or_the_protocols_error(octets: bytes) -> None:
    with contextlib.suppress(Q931Error):
        examine(octets)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=120), st.sampled_from([kind.value & 0xFF for kind in MessageType]))
def test_any_elements_behind_a_good_head_are_a_message(octets: bytes, kind: int) -> None:
    with contextlib.suppress(Q931Error):
        examine(bytes((8, 2, 0, 1, kind)) + octets)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SETUP) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_setup_with_changed_octets_is_a_message_or_the_protocols_error(changes: list[tuple[int, int]]) -> None:
    octets = bytearray(SETUP)
    for at, value in changes:
        octets[at] = value
    with contextlib.suppress(Q931Error):
        examine(bytes(octets))


def examine(octets: bytes) -> None:
    message = decode(octets)
    assert encode(message) == octets
    repr(message)
    for direction in (None, *Direction):
        missing_mandatory(message, direction)
        invalid_mandatory(message, direction)
        unexpected(message, direction)
    for facility in message.all(ie.Facility):
        read_name(facility)
        information_follows(facility)
        components(facility)
    rebuilt = encode(Message(message.message_type, message.call_reference, message.elements))
    # A shift may become another one, so that it need not be as short.
    assert len(rebuilt) <= len(octets) + len(message.elements)
