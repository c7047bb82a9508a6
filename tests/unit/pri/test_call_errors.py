"""Q.931 5.8, clause by clause: what is sent back for what is wrong, and that the call goes on or ends as it says."""

from __future__ import annotations

import pytest

from gateway.cause import Cause
from gateway.pri.lapd import Side
from gateway.pri.q931.ie import (
    SPEECH_A_LAW,
    CalledPartyNumber,
    CallState,
    CauseElement,
    ChannelIdentification,
    Display,
    ElementId,
    ProgressDescription,
    ProgressIndicator,
    UnknownElement,
)
from gateway.pri.q931.message import CallReference, Message, MessageType, encode
from gateway.pri.q931.primitives import Primitive
from gateway.pri.q931.states import State
from tests.unit.pri.q931_far_end import THEIRS, FarEnd, T

SETUP_5 = (SPEECH_A_LAW, ChannelIdentification((5,)), CalledPartyNumber("123"))


def cause_of(message: Message) -> CauseElement:
    cause = message.first(CauseElement)
    assert cause is not None
    return cause


def setup(*elements: UnknownElement, value: int = THEIRS, flag: bool = False) -> Message:
    return Message(T.SETUP, CallReference(value, flag), (*SETUP_5, *elements))


def test_5_8_1_wrong_protocol_discriminator_is_ignored() -> None:
    end = FarEnd()
    data = encode(setup())
    end.link.receive(b"\x09" + data[1:], 0)
    assert end.sent() == []
    assert end.link.calls == {}
    assert end.link.ignored == 1


@pytest.mark.parametrize("length", range(5))
def test_5_8_2_message_too_short_is_ignored(length: int) -> None:
    end = FarEnd()
    end.link.receive(encode(setup())[:length], 0)
    assert end.sent() == []
    assert end.link.calls == {}


@pytest.mark.parametrize("octet", [0x12, 0xF2, 0x03, 0x0F])
def test_5_8_3_1_invalid_call_reference_format_is_ignored(octet: int) -> None:
    end = FarEnd()
    data = encode(setup())
    end.link.receive(data[:1] + bytes((octet,)) + data[2:], 0)
    assert end.sent() == []
    assert end.link.calls == {}


def test_5_8_3_1_dummy_call_reference_is_ignored() -> None:
    end = FarEnd()
    end.hears(Message(T.FACILITY, CallReference(0, False, 0)))
    assert end.sent() == []


@pytest.mark.parametrize(
    "kind", [T.CALL_PROCEEDING, T.ALERTING, T.CONNECT, T.DISCONNECT, T.INFORMATION, T.NOTIFY, T.PROGRESS, 0x55]
)
def test_5_8_3_2_a_message_for_an_unknown_call_gets_release_complete_81(kind: MessageType | int) -> None:
    end = FarEnd()
    end.hears(Message(kind, CallReference(99, True)))
    message = end.one(T.RELEASE_COMPLETE)
    assert message.call_reference == CallReference(99, False)
    assert cause_of(message).value is Cause.INVALID_CALL_REFERENCE
    assert end.link.calls == {}


def test_5_8_3_2_b_release_for_an_unknown_call_gets_release_complete_81() -> None:
    end = FarEnd()
    end.hears(Message(T.RELEASE, CallReference(99, False)))
    message = end.one(T.RELEASE_COMPLETE)
    assert message.call_reference == CallReference(99, True)
    assert cause_of(message).value is Cause.INVALID_CALL_REFERENCE


def test_5_8_3_2_c_release_complete_for_an_unknown_call_gets_nothing() -> None:
    end = FarEnd()
    end.hears(Message(T.RELEASE_COMPLETE, CallReference(99, False)))
    assert end.sent() == []


def test_5_8_3_2_d_setup_with_the_flag_set_is_ignored() -> None:
    end = FarEnd()
    end.hears(setup(flag=True))
    assert end.sent() == []
    assert end.link.calls == {}


def test_5_8_3_2_e_setup_for_a_call_in_progress_is_ignored() -> None:
    end = FarEnd()
    end.hears(setup())
    end.told()
    end.hears(setup())
    assert end.sent() == []
    assert end.told() == []
    assert len(end.link.calls) == 1


def test_5_8_3_2_f_other_message_with_the_global_reference_gets_status_81() -> None:
    end = FarEnd()
    end.hears(Message(T.ALERTING, CallReference(0, False)))
    message = end.one(T.STATUS)
    assert message.call_reference == CallReference(0, True)
    assert cause_of(message).value is Cause.INVALID_CALL_REFERENCE
    assert message.first(CallState) == CallState(0)


def test_5_8_3_2_g_status_for_an_unknown_call_gets_release_complete_101_unless_it_says_null() -> None:
    end = FarEnd()
    end.hears(Message(T.STATUS, CallReference(99, False), (CauseElement(Cause.NORMAL_UNSPECIFIED), CallState(10))))
    assert cause_of(end.one(T.RELEASE_COMPLETE)).value is Cause.MESSAGE_NOT_COMPATIBLE
    end.hears(Message(T.STATUS, CallReference(99, False), (CauseElement(Cause.NORMAL_UNSPECIFIED), CallState(0))))
    assert end.sent() == []


def test_5_8_3_2_h_status_enquiry_for_an_unknown_call_gets_status_null() -> None:
    end = FarEnd()
    end.hears(Message(T.STATUS_ENQUIRY, CallReference(99, False)))
    message = end.one(T.STATUS)
    assert message.first(CallState) == CallState(0)
    assert cause_of(message).value is Cause.RESPONSE_TO_STATUS_ENQUIRY


def test_5_8_3_2_i_restart_with_the_flag_set_and_acknowledgement_without_are_ignored() -> None:
    end = FarEnd()
    end.hears(Message(T.RESTART, CallReference(0, True)))
    end.hears(Message(T.RESTART_ACKNOWLEDGE, CallReference(0, False)))
    assert end.sent() == []


def test_5_8_4_unrecognised_message_gets_status_97_and_the_call_goes_on() -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    end.send(call, 0x55)
    status = end.one(T.STATUS)
    assert cause_of(status).value is Cause.MESSAGE_TYPE_NONEXISTENT
    assert cause_of(status).diagnostics == b"\x55"
    assert call.state is State.ACTIVE


def test_5_8_4_message_that_is_known_but_not_implemented_gets_status_97() -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    end.send(call, T.SUSPEND)
    assert cause_of(end.one(T.STATUS)).value is Cause.MESSAGE_TYPE_NONEXISTENT


def test_5_8_4_unexpected_message_gets_status_101_and_the_call_goes_on() -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    end.send(call, T.ALERTING)
    assert cause_of(end.one(T.STATUS)).value is Cause.MESSAGE_NOT_COMPATIBLE
    assert call.state is State.ACTIVE


@pytest.mark.parametrize("side", list(Side))
def test_5_8_4_unexpected_release_ends_the_call_with_release_complete(side: Side) -> None:
    end = FarEnd(side)
    call = end.call_in(False, State.ACTIVE)
    end.send_cause(call, T.RELEASE, Cause.NUMBER_CHANGED)
    assert end.sent() == [T.RELEASE_COMPLETE]
    (indication,) = end.indications()
    assert indication.primitive is Primitive.RELEASE
    assert indication.cause is not None
    assert indication.cause.value is Cause.NUMBER_CHANGED
    assert all(channel.owner is None for channel in end.channels)


def test_5_8_4_unexpected_release_complete_ends_the_call() -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    end.send_cause(call, T.RELEASE_COMPLETE, Cause.TEMPORARY_FAILURE)
    assert end.sent() == []
    assert end.told() == [Primitive.RELEASE]
    assert call.released


def test_5_8_5_1_element_out_of_sequence_is_used_all_the_same() -> None:
    end = FarEnd()
    data = encode(Message(T.SETUP, CallReference(THEIRS)))
    called, bearer, channel = b"\x70\x04\x81123", b"\x04\x03\x80\x90\xa3", b"\x18\x03\xa9\x83\x85"
    end.link.receive(data + called + bearer + channel, 0)
    assert end.told() == [Primitive.SETUP]
    assert end.sent() == []


def test_5_8_5_2_of_a_duplicate_element_the_first_counts() -> None:
    end = FarEnd()
    data = encode(setup()) + b"\x70\x04\x81456"
    end.link.receive(data, 0)
    (indication,) = end.indications()
    assert indication.message is not None
    assert end.link.variant.read_setup(indication.message, complete=True).called.digits == "123"


def test_5_8_6_1_setup_without_mandatory_element_gets_release_complete_96() -> None:
    end = FarEnd()
    end.hears(Message(T.SETUP, CallReference(THEIRS), (ChannelIdentification((5,)),)))
    message = end.one(T.RELEASE_COMPLETE)
    assert cause_of(message).value is Cause.MANDATORY_ELEMENT_MISSING
    assert cause_of(message).diagnostics == bytes((ElementId.BEARER_CAPABILITY,))
    assert end.link.calls == {}


def test_5_8_6_1_other_message_without_mandatory_element_gets_status_96_and_is_not_acted_on() -> None:
    end = FarEnd()
    call = end.call_in(True, State.OUTGOING_CALL_PROCEEDING)
    end.send(call, T.PROGRESS)
    status = end.one(T.STATUS)
    assert cause_of(status).value is Cause.MANDATORY_ELEMENT_MISSING
    assert cause_of(status).diagnostics == bytes((ElementId.PROGRESS_INDICATOR,))
    assert status.first(CallState) == CallState(3)
    assert end.told() == []


def test_5_8_6_1_disconnect_without_cause_counts_as_31_and_release_says_96() -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    end.send(call, T.DISCONNECT)
    assert cause_of(end.one(T.RELEASE)).value is Cause.MANDATORY_ELEMENT_MISSING
    (indication,) = end.indications()
    assert indication.cause is not None
    assert indication.cause.value is Cause.NORMAL_UNSPECIFIED


def test_5_8_6_1_release_without_cause_counts_as_31_and_release_complete_says_96() -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    end.send(call, T.RELEASE)
    assert cause_of(end.one(T.RELEASE_COMPLETE)).value is Cause.MANDATORY_ELEMENT_MISSING
    (indication,) = end.indications()
    assert indication.cause is not None
    assert indication.cause.value is Cause.NORMAL_UNSPECIFIED


def test_5_8_6_1_release_that_answers_disconnect_needs_no_cause() -> None:
    end = FarEnd()
    call = end.call_in(True, State.DISCONNECT_REQUEST)
    end.send(call, T.RELEASE)
    assert end.one(T.RELEASE_COMPLETE).first(CauseElement) is None


def test_5_8_6_1_release_complete_without_cause_counts_as_31() -> None:
    end = FarEnd()
    call = end.place()
    end.send(call, T.RELEASE_COMPLETE)
    (indication,) = end.indications()
    assert indication.cause is not None
    assert indication.cause.value is Cause.NORMAL_UNSPECIFIED


def test_5_8_6_2_setup_with_broken_mandatory_element_gets_release_complete_100() -> None:
    end = FarEnd()
    end.hears(Message(T.SETUP, CallReference(THEIRS), (UnknownElement(ElementId.BEARER_CAPABILITY, b"\x80"),)))
    message = end.one(T.RELEASE_COMPLETE)
    assert cause_of(message).value is Cause.INVALID_ELEMENT_CONTENTS
    assert cause_of(message).diagnostics == bytes((ElementId.BEARER_CAPABILITY,))


def test_5_8_6_2_other_message_with_broken_mandatory_element_gets_status_100_and_is_not_acted_on() -> None:
    end = FarEnd()
    call = end.call_in(True, State.OUTGOING_CALL_PROCEEDING)
    end.send(call, T.PROGRESS, UnknownElement(ElementId.PROGRESS_INDICATOR, b"\x80"))
    assert cause_of(end.one(T.STATUS)).value is Cause.INVALID_ELEMENT_CONTENTS
    assert end.told() == []


def test_5_8_6_2_disconnect_with_broken_cause_is_answered_by_release_100() -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    end.send(call, T.DISCONNECT, UnknownElement(ElementId.CAUSE, b"\x80"))
    assert cause_of(end.one(T.RELEASE)).value is Cause.INVALID_ELEMENT_CONTENTS
    assert call.state is State.RELEASE_REQUEST


def test_5_8_7_1_unrecognised_element_is_left_out_and_reported_with_99() -> None:
    end = FarEnd()
    call = end.place()
    end.taken()
    end.send(call, T.ALERTING, UnknownElement(0x55, b"x"))
    status = end.one(T.STATUS)
    assert cause_of(status).value is Cause.ELEMENT_NONEXISTENT
    assert cause_of(status).diagnostics == b"\x55"
    assert call.state is State.CALL_DELIVERED


def test_5_8_7_1_unrecognised_element_of_another_codeset_is_not_reported() -> None:
    end = FarEnd()
    call = end.place()
    end.taken()
    end.send(call, T.ALERTING, UnknownElement(0x05, b"x", 6))
    assert end.sent() == []
    assert call.state is State.CALL_DELIVERED


def test_5_8_7_1_comprehension_required_is_answered_as_a_missing_element() -> None:
    end = FarEnd()
    call = end.place()
    end.taken()
    end.send(call, T.ALERTING, UnknownElement(0x02, b"x"))
    status = end.one(T.STATUS)
    assert cause_of(status).value is Cause.MANDATORY_ELEMENT_MISSING
    assert cause_of(status).diagnostics == b"\x02"
    assert call.state is State.CALL_INITIATED
    end.hears(setup(UnknownElement(0x02, b"x")))
    assert cause_of(end.one(T.RELEASE_COMPLETE)).value is Cause.MANDATORY_ELEMENT_MISSING


@pytest.mark.parametrize(("kind", "answer"), [(T.DISCONNECT, T.RELEASE), (T.RELEASE, T.RELEASE_COMPLETE)])
@pytest.mark.parametrize(
    ("identifier", "cause"), [(0x55, Cause.ELEMENT_NONEXISTENT), (0x02, Cause.MANDATORY_ELEMENT_MISSING)]
)
def test_5_8_7_1_clearing_with_unrecognised_element_clears_and_says_so(
    kind: MessageType, answer: MessageType, identifier: int, cause: Cause
) -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    end.send(call, kind, CauseElement(Cause.USER_BUSY), UnknownElement(identifier, b"x"))
    message = end.one(answer)
    assert cause_of(message).value is cause
    assert cause_of(message).diagnostics == bytes((identifier,))
    indication = end.indications()[0]
    assert indication.cause is not None
    assert indication.cause.value is Cause.USER_BUSY


def test_5_8_7_1_release_complete_with_unrecognised_element_clears_without_an_answer() -> None:
    end = FarEnd()
    call = end.place()
    end.taken()
    end.send(call, T.RELEASE_COMPLETE, CauseElement(Cause.USER_BUSY), UnknownElement(0x02, b"x"))
    assert end.sent() == []
    assert call.released


def test_5_8_7_2_broken_optional_element_is_left_out_and_reported_with_100() -> None:
    end = FarEnd()
    call = end.place()
    end.taken()
    end.send(call, T.ALERTING, UnknownElement(ElementId.PROGRESS_INDICATOR, b"\x80"))
    assert cause_of(end.one(T.STATUS)).value is Cause.INVALID_ELEMENT_CONTENTS
    assert call.state is State.CALL_DELIVERED


def test_5_8_7_2_broken_access_element_is_reported_as_discarded_with_43() -> None:
    end = FarEnd()
    end.hears(
        Message(
            T.SETUP,
            CallReference(THEIRS),
            (*SETUP_5, UnknownElement(ElementId.HIGH_LAYER_COMPATIBILITY, b"\x91")),
        )
    )
    status = end.one(T.STATUS)
    assert cause_of(status).value is Cause.ACCESS_INFORMATION_DISCARDED
    assert cause_of(status).diagnostics == bytes((ElementId.HIGH_LAYER_COMPATIBILITY,))
    assert end.told() == [Primitive.SETUP]


def test_5_8_7_3_recognised_element_that_does_not_belong_there_is_let_pass() -> None:
    end = FarEnd()
    call = end.place()
    end.taken()
    end.send(call, T.CALL_PROCEEDING, CalledPartyNumber("1"))
    assert end.sent() == []
    assert call.state is State.OUTGOING_CALL_PROCEEDING


def test_5_8_8_link_reset_clears_overlap_and_checks_the_rest() -> None:
    end = FarEnd()
    overlap = end.call_in(True, State.OVERLAP_SENDING)
    active = end.call_in(True, State.ACTIVE)
    alerting = end.call_in(True, State.CALL_DELIVERED)
    clearing = end.call_in(True, State.DISCONNECT_REQUEST)
    end.link.link_established(end.now)
    messages = {message.call_reference.value: message for message in end.taken()}
    assert messages[overlap.reference.value].message_type is T.DISCONNECT
    assert cause_of(messages[overlap.reference.value]).value is Cause.TEMPORARY_FAILURE
    assert messages[active.reference.value].message_type is T.STATUS_ENQUIRY
    assert messages[alerting.reference.value].message_type is T.STATUS_ENQUIRY
    assert messages[clearing.reference.value].message_type is T.DISCONNECT
    assert len(messages) == 4
    assert alerting.state is State.CALL_DELIVERED
    assert clearing.state is State.DISCONNECT_REQUEST


def test_5_8_9_link_failure_clears_all_calls_but_active_ones() -> None:
    end = FarEnd()
    active = end.call_in(True, State.ACTIVE)
    alerting = end.call_in(True, State.CALL_DELIVERED)
    end.link.link_released(end.now)
    assert alerting.released
    assert active.state is State.ACTIVE
    assert end.sent() == []
    (indication,) = end.indications()
    assert indication.call is alerting
    assert indication.cause is not None
    assert indication.cause.value is Cause.DESTINATION_OUT_OF_ORDER


def test_5_8_9_active_call_survives_a_failure_shorter_than_t309_and_is_checked() -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    end.link.link_released(end.now)
    end.wait(89)
    end.link.link_established(end.now)
    assert end.sent() == [T.STATUS_ENQUIRY]
    end.send_status(call, Cause.RESPONSE_TO_STATUS_ENQUIRY, State.ACTIVE)
    end.wait(1000)
    assert call.state is State.ACTIVE
    assert end.sent() == []


def test_5_8_9_call_that_only_we_still_have_is_cleared_after_the_failure() -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    end.link.link_released(end.now)
    end.wait(5)
    end.link.link_established(end.now)
    end.send_status(call, Cause.RESPONSE_TO_STATUS_ENQUIRY, State.NULL)
    assert call.released
    assert end.told() == [Primitive.RELEASE]


def test_5_8_9_call_hung_up_without_a_link_is_released_when_the_link_is_back() -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    end.link.link_released(end.now)
    call.clear(Cause.NORMAL_CALL_CLEARING)
    assert end.told() == [Primitive.CLEARED]
    assert call.channel is not None
    assert call.channel.owner is call
    end.wait(30)
    assert end.sent() == []
    end.link.link_established(end.now)
    assert cause_of(end.one(T.RELEASE)).value is Cause.NORMAL_CALL_CLEARING
    end.send(call, T.RELEASE_COMPLETE)
    assert call.released


@pytest.mark.parametrize("clearing", [T.DISCONNECT, T.RELEASE, T.RELEASE_COMPLETE])
def test_5_8_10_clearing_message_ends_the_status_enquiry(clearing: MessageType) -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    call.enquire()
    end.send_cause(call, clearing, Cause.NORMAL_CALL_CLEARING)
    end.taken()
    end.wait(3)
    assert T.STATUS_ENQUIRY not in end.sent()


def test_5_8_10_only_one_enquiry_at_a_time() -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    call.enquire()
    call.enquire()
    assert end.sent() == [T.STATUS_ENQUIRY]


@pytest.mark.parametrize(
    "cause",
    [Cause.MESSAGE_TYPE_NONEXISTENT, Cause.MESSAGE_NOT_COMPATIBLE_WITH_STATE, Cause.MESSAGE_NOT_COMPATIBLE],
)
def test_5_8_10_far_end_that_refuses_the_enquiry_but_says_its_state_is_believed(cause: Cause) -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    call.enquire()
    end.send_status(call, cause, State.ACTIVE)
    end.wait(100)
    assert call.state is State.ACTIVE
    assert end.sent() == [T.STATUS_ENQUIRY]


@pytest.mark.parametrize("side", list(Side))
def test_5_8_11_status_null_ends_the_call_at_once(side: Side) -> None:
    end = FarEnd(side)
    call = end.call_in(True, State.ACTIVE)
    end.send_status(call, Cause.NORMAL_UNSPECIFIED, State.NULL)
    assert end.sent() == []
    (indication,) = end.indications()
    assert indication.primitive is Primitive.RELEASE
    assert indication.cause is not None
    assert indication.cause.value is Cause.TEMPORARY_FAILURE
    assert call.released


def test_5_8_11_status_in_release_request_changes_nothing_unless_it_says_null() -> None:
    end = FarEnd()
    call = end.call_in(True, State.RELEASE_REQUEST)
    end.send_status(call, Cause.NORMAL_UNSPECIFIED, State.ACTIVE)
    assert call.state is State.RELEASE_REQUEST
    assert end.sent() == []
    end.send_status(call, Cause.NORMAL_UNSPECIFIED, State.NULL)
    assert call.released


def test_5_8_11_incompatible_state_clears_with_101() -> None:
    end = FarEnd()
    call = end.call_in(True, State.OUTGOING_CALL_PROCEEDING)
    end.send_status(call, Cause.NORMAL_UNSPECIFIED, State.INCOMING_CALL_PROCEEDING)
    assert cause_of(end.one(T.DISCONNECT)).value is Cause.MESSAGE_NOT_COMPATIBLE
    assert end.told() == [Primitive.CLEARED]


def test_5_8_11_answer_to_the_enquiry_must_know_an_active_call_as_active() -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    call.enquire()
    end.taken()
    end.send_status(call, Cause.RESPONSE_TO_STATUS_ENQUIRY, State.CALL_DELIVERED)
    assert cause_of(end.one(T.DISCONNECT)).value is Cause.MESSAGE_NOT_COMPATIBLE


@pytest.mark.parametrize("cause", [96, 97, 98, 99, 100])
def test_5_8_11_complaint_in_a_compatible_state_leaves_the_call_alone(cause: int) -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    end.send_status(call, Cause(cause) if cause != 98 else Cause.MESSAGE_NOT_COMPATIBLE_WITH_STATE, State.ACTIVE)
    assert call.state is State.ACTIVE
    assert end.sent() == []


@pytest.mark.parametrize("elements", [(), (CauseElement(Cause.NORMAL_UNSPECIFIED),), (Display("x"),)])
def test_faulty_status_is_never_answered_by_status(elements: tuple[CauseElement, ...]) -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    end.send(call, T.STATUS, *elements)
    end.send(call, T.STATUS, CauseElement(Cause.NORMAL_UNSPECIFIED), CallState(10), UnknownElement(0x55, b"x"))
    assert end.sent() == []
    assert call.state is State.ACTIVE


def test_optional_faults_are_not_reported_where_the_switch_type_wants_none() -> None:
    end = FarEnd()
    end.link.variant.reports_elements = False
    call = end.place()
    end.taken()
    end.send(call, T.ALERTING, ProgressIndicator(ProgressDescription.INBAND_INFORMATION), UnknownElement(0x55, b"x"))
    assert end.sent() == []
    assert call.state is State.CALL_DELIVERED
