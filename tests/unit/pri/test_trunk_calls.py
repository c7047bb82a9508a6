"""Calls between two trunks, user and network: what legs say and hear, identities, overlap, announcements, voice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.cause import Cause, Location
from gateway.core import MILLISECOND, SECOND
from gateway.identity import (
    Number,
    NumberingPlan,
    Party,
    Presentation,
    Redirection,
    RedirectionReason,
    Screening,
    TypeOfNumber,
)
from gateway.leg import (
    Alerting,
    Answered,
    Digits,
    Held,
    Identified,
    Keypad,
    MediaChanged,
    Proceeding,
    Progress,
    Released,
    Resumed,
    Setup,
)
from gateway.media.api import Law
from gateway.pri.channels import Hunt
from gateway.pri.lapd import Side
from gateway.pri.q931.diversion import read_diversion
from gateway.pri.q931.euroisdn import EuroIsdn
from gateway.pri.q931.ie import CauseElement, Facility, ProgressDescription, ProgressIndicator
from gateway.pri.q931.message import CallReference, Message, MessageType, encode
from gateway.pri.q931.primitives import Primitive
from gateway.pri.settings import Numbering
from gateway.pri.trunk import Maintenance, PriSettings
from tests.unit.pri.pri_pair import CLEARED, T1_NI2, End, Heard, Pair

CALL = Setup(Number("4165551234"))
E1_EURO = PriSettings("user", lambda timeslot: f"u/{timeslot}", context="from-pstn")
OVERLAP = replace(E1_EURO, overlap_receive=True, overlap_send=True)
TYPES = [E1_EURO, T1_NI2]


def ends(pair: Pair, from_user: bool) -> tuple[End, End]:
    return (pair.user, pair.network) if from_user else (pair.network, pair.user)


def placed(pair: Pair, caller: End, setup: Setup = CALL) -> Heard:
    leg, heard = caller.new_leg()
    leg.place(setup, pair.now)
    pair.settle()
    return heard


@pytest.mark.parametrize("settings", TYPES, ids=lambda settings: settings.switch_type)
@pytest.mark.parametrize("from_user", [True, False])
@pytest.mark.parametrize("caller_hangs_up", [True, False])
def test_call_from_setup_to_release_complete(settings: PriSettings, from_user: bool, caller_hangs_up: bool) -> None:
    pair = Pair(settings)
    caller, called = ends(pair, from_user)
    caller.names(), called.names()
    leg, heard = caller.new_leg()
    leg.place(CALL, pair.now)
    pair.settle()
    other, other_heard = called.legs[0], called.heard[0]
    assert other_heard.offer is not None
    assert other_heard.offer.setup.called.digits == "4165551234"
    assert other_heard.offer.source == called.trunk.name
    other.proceed(pair.now)
    pair.settle()
    other.alert(False, pair.now)
    pair.settle()
    other.answer(None, pair.now)
    pair.settle()
    assert heard.spoken == [Proceeding(), Alerting(inband=False), Answered(None)]
    (leg if caller_hangs_up else other).release(CLEARED, pair.now)
    pair.settle()
    hung_up, hears = (heard, other_heard) if caller_hangs_up else (other_heard, heard)
    assert hung_up.released == Released(CLEARED, hung_up.released.location if hung_up.released else Location.USER, True)
    assert hears.released is not None
    assert (hears.released.cause, hears.released.ours) == (CLEARED, False)
    first, last = ["DISCONNECT", "RELEASE COMPLETE"], ["RELEASE"]
    assert caller.names() == ["SETUP", "CONNECT ACKNOWLEDGE", *(first if caller_hangs_up else last)]
    assert called.names() == ["CALL PROCEEDING", "ALERTING", "CONNECT", *(last if caller_hangs_up else first)]
    pair.check_nothing_left()


@pytest.mark.parametrize("cause", [Cause.USER_BUSY, Cause.UNALLOCATED_NUMBER, Cause.CALL_REJECTED])
@pytest.mark.parametrize("from_user", [True, False])
def test_refusal_of_a_call(cause: Cause, from_user: bool) -> None:
    pair = Pair()
    caller, called = ends(pair, from_user)
    called.on_offer = lambda leg, offered, now: leg.release(cause, now)
    called.names()
    heard = placed(pair, caller)
    assert heard.released is not None
    assert heard.released.cause is cause
    assert called.names() == ["RELEASE COMPLETE"]
    assert called.heard[0].released is not None
    assert called.heard[0].released.ours
    assert called.media.laws == []  # no channel was opened for it
    pair.check_nothing_left()


def test_call_that_nobody_listens_to_is_refused_with_42() -> None:
    pair = Pair()
    pair.user.refuses = True
    heard = placed(pair, pair.network)
    assert heard.released is not None
    assert heard.released.cause is Cause.SWITCHING_EQUIPMENT_CONGESTION
    pair.check_nothing_left()


@pytest.mark.parametrize("settings", TYPES, ids=lambda settings: settings.switch_type)
def test_caller_hangs_up_while_it_rings(settings: PriSettings) -> None:
    pair = Pair(settings)
    leg, heard = pair.user.new_leg()
    leg.place(CALL, 0)
    pair.settle()
    pair.network.legs[0].alert(False, 0)
    pair.settle()
    leg.release(CLEARED, 0)
    assert pair.user.media.streams == {}
    pair.settle()
    assert pair.network.heard[0].released is not None
    assert heard.released is not None
    pair.check_nothing_left()


def test_caller_hangs_up_before_anything_was_answered() -> None:
    pair = Pair()
    leg, heard = pair.user.new_leg()
    leg.place(CALL, 0)
    leg.release(CLEARED, 0)
    pair.settle()
    assert heard.spoken == [Released(CLEARED, Location.PUBLIC_LOCAL, True)]
    pair.check_nothing_left()


def test_leg_that_was_never_placed_gives_its_channel_back() -> None:
    pair = Pair()
    leg, heard = pair.user.new_leg()
    leg.release(CLEARED, 0)
    leg.release(CLEARED, 0)
    pair.settle()
    assert [type(event) for event in heard.events] == [Released]
    pair.check_nothing_left()


def test_commands_in_a_wrong_state_are_ignored() -> None:
    pair = Pair()
    leg, heard = pair.user.new_leg()
    for command in (leg.proceed, leg.hold, leg.resume):
        command(0)
    leg.alert(True, 0)
    leg.answer(None, 0)
    leg.progress(True, 0)
    leg.place(CALL, 0)
    leg.place(CALL, 0)
    pair.settle()
    incoming = pair.network.legs[0]
    incoming.place(CALL, 0)
    incoming.digits("1", False, 0)
    incoming.hold(0)
    pair.settle()
    assert heard.events == []
    leg.release(CLEARED, 0)
    pair.settle()
    for late in (leg, incoming):
        late.proceed(0)
        late.answer(None, 0)
        late.alert(False, 0)
        late.progress(True, 0)
        late.digits("1", True, 0)
        late.release(CLEARED, 0)
        late.place(CALL, 0)
        assert late.keypad("1", 100, 0) is False
    pair.settle()
    pair.check_nothing_left()


def test_all_channels_busy_is_cause_34_and_no_link_is_38() -> None:
    pair = Pair(replace(E1_EURO, timeslots=(1, 2)))
    pair.user.new_leg()
    pair.user.new_leg()
    assert pair.user.trunk.new_leg(Hunt.ASCENDING, 0) is Cause.NO_CIRCUIT_AVAILABLE
    down = Pair(up=False)
    assert down.user.trunk.new_leg(Hunt.ASCENDING, 0) is Cause.NETWORK_OUT_OF_ORDER


def test_leg_takes_a_channel_that_a_group_has_seized() -> None:
    pair = Pair()
    channel = pair.user.trunk.channels.seize(7, "group")
    leg = pair.user.trunk.new_leg(None, 0, channel)
    assert not isinstance(leg, Cause)
    leg.place(CALL, 0)
    pair.settle()
    assert pair.network.legs[0].record()["channel"] == 7


# -- voice --


@pytest.mark.parametrize(
    ("settings", "law"), [(E1_EURO, Law.ALAW), (T1_NI2, Law.ULAW), (replace(E1_EURO, law=Law.ULAW), Law.ULAW)]
)
def test_stream_is_opened_when_the_channel_is_agreed_and_closed_with_the_call(settings: PriSettings, law: Law) -> None:
    pair = Pair(settings, replace(settings, listen=True))
    leg, heard = pair.user.new_leg()
    leg.place(CALL, 0)
    pair.settle()
    assert pair.user.media.streams == pair.network.media.streams == {}
    pair.network.legs[0].proceed(0)
    pair.settle()
    assert pair.user.media.streams == {1: "u/1"}
    assert pair.network.media.streams == {1: "n/1"}
    assert pair.user.media.laws == [law]
    assert (pair.user.media.listens, pair.network.media.listens) == ([False], [True])
    assert heard.events[0] == MediaChanged(1)
    assert leg.stream == 1
    pair.network.legs[0].answer(None, 0)
    pair.settle()
    leg.release(CLEARED, 0)
    assert pair.user.media.streams == {}  # at once, not when the far end agrees
    pair.settle()
    assert pair.network.media.streams == {}
    pair.check_nothing_left()


@pytest.mark.parametrize("from_user", [True, False])
def test_call_whose_channel_cannot_be_opened_ends_with_41(from_user: bool) -> None:
    pair = Pair()
    pair.user.media.fails = True
    caller, called = ends(pair, from_user)
    called.on_offer = lambda leg, offered, now: leg.proceed(now)
    heard = placed(pair, caller)
    pair.seconds(0)
    for released in (heard.released, called.heard[0].released):
        assert released is not None
        assert released.cause is Cause.TEMPORARY_FAILURE
    assert any(isinstance(note, Maintenance) and "no such channel" in note.text for note in pair.user.notes)
    pair.check_nothing_left()


# -- identities --

RICH = Setup(
    called=Number("4165551234", TypeOfNumber.NATIONAL, NumberingPlan.ISDN),
    caller=Party(
        Number("2125550100", TypeOfNumber.NATIONAL, NumberingPlan.ISDN, Presentation.ALLOWED, Screening.NETWORK),
        "Ada Lovelace",
    ),
    redirection=Redirection(
        Number("2125550199", TypeOfNumber.NATIONAL, NumberingPlan.ISDN),
        RedirectionReason.NO_REPLY,
    ),
    user_user=b"hello",
)


@pytest.mark.parametrize("settings", TYPES, ids=lambda settings: settings.switch_type)
@pytest.mark.parametrize("from_user", [True, False])
def test_identities_of_a_call_go_through(settings: PriSettings, from_user: bool) -> None:
    pair = Pair(settings)
    caller, called = ends(pair, from_user)
    placed(pair, caller, RICH)
    offer = called.heard[0].offer
    assert offer is not None
    # EuroISDN has no name from the user to the network.
    expected = RICH
    if settings.switch_type == "euroisdn" and from_user:
        expected = replace(RICH, caller=replace(RICH.caller, name=None))
    assert offer.setup == expected


@pytest.mark.parametrize("presentation", list(Presentation)[:3])
@pytest.mark.parametrize("screening", list(Screening))
def test_presentation_and_screening_go_through(presentation: Presentation, screening: Screening) -> None:
    pair = Pair()
    digits = "" if presentation is Presentation.NOT_AVAILABLE else "2125550100"
    number = Number(digits, TypeOfNumber.NATIONAL, NumberingPlan.ISDN, presentation, screening)
    placed(pair, pair.network, replace(CALL, caller=Party(number)))
    offer = pair.user.heard[0].offer
    assert offer is not None
    assert offer.setup.caller.number == number


def test_restricted_name_is_not_sent_in_display_and_goes_marked_in_facility() -> None:
    hidden = replace(CALL, caller=Party(Number("1"), "Ada", Presentation.RESTRICTED))
    pair = Pair()
    placed(pair, pair.network, hidden)
    offer = pair.user.heard[0].offer
    assert offer is not None
    assert offer.setup.caller.name is None
    pair = Pair(T1_NI2)
    placed(pair, pair.network, hidden)
    offer = pair.user.heard[0].offer
    assert offer is not None
    assert (offer.setup.caller.name, offer.setup.caller.name_presentation) == ("Ada", Presentation.RESTRICTED)


DIVERTED = Number("5550000", TypeOfNumber.NATIONAL)


def ber(tag: int, *parts: bytes) -> bytes:
    contents = b"".join(parts)
    return bytes((tag, len(contents))) + contents


def diverted(count: int, reason: int, *numbers: bytes) -> bytes:
    return ber(0x30, ber(0x02, bytes((count,))), ber(0x0A, bytes((reason,))), *numbers)


def typed(kind: int, digits: bytes, tag: int = 0xA1) -> bytes:
    return ber(tag, ber(0x0A, bytes((kind,))), ber(0x12, digits))


@pytest.mark.parametrize(
    ("argument", "redirection"),
    [
        # As libpri writes it: counter 1, unconditional, digits of unknown plan.
        (
            bytes.fromhex("30130201010a0101a10ba009800735353530303030"),
            Redirection(
                Number("5550000", TypeOfNumber.UNKNOWN, NumberingPlan.UNKNOWN), RedirectionReason.UNCONDITIONAL
            ),
        ),
        (
            diverted(
                3,
                2,
                ber(0xA1, ber(0xA0, typed(2, b"5550000"))),
                ber(0xA2, ber(0xA3, typed(2, b"4165551"))),
            ),
            Redirection(
                DIVERTED,
                RedirectionReason.BUSY,
                3,
                Number("4165551", TypeOfNumber.NATIONAL, presentation=Presentation.RESTRICTED),
            ),
        ),
        # The counter is out of range, the number must not be shown.
        (
            diverted(9, 3, ber(0xA1, b"\x81\x00")),
            Redirection(Number(presentation=Presentation.RESTRICTED), RedirectionReason.NO_REPLY, 5),
        ),
        # A private number and a reason nobody knows.
        (
            diverted(1, 9, ber(0xA1, ber(0xA0, typed(1, b"12345", 0xA5)))),
            Redirection(Number("12345", plan=NumberingPlan.PRIVATE)),
        ),
        (
            diverted(1, 5, ber(0xA1, b"\x82\x00")),
            Redirection(Number(presentation=Presentation.NOT_AVAILABLE), RedirectionReason.BY_CALLED_DTE),
        ),
        (b"\x05\x00", None),
        (b"\x30\xff", None),
    ],
)
def test_diversion_of_euroisdn_is_read_from_facility(argument: bytes, redirection: Redirection | None) -> None:
    facility = Facility(ber(0xA1, b"\x02\x01\x01\x02\x01\x0f", argument))
    assert read_diversion(facility) == redirection
    setup = Message(MessageType.SETUP, CallReference(1), (facility,))
    assert EuroIsdn().read_setup(setup, complete=True).redirection == redirection


def test_original_called_number_goes_through_where_the_switch_type_has_it() -> None:
    redirection = Redirection(
        Number("2"),
        RedirectionReason.BUSY,
        2,
        Number("3"),
        RedirectionReason.UNCONDITIONAL,
    )
    pair = Pair(T1_NI2)
    placed(pair, pair.network, replace(CALL, redirection=redirection))
    offer = pair.user.heard[0].offer
    assert offer is not None
    assert offer.setup.redirection == redirection


@pytest.mark.parametrize("settings", TYPES, ids=lambda settings: settings.switch_type)
def test_connected_party_goes_through(settings: PriSettings) -> None:
    pair = Pair(settings)
    heard = placed(pair, pair.user)
    number = Number("4165559999", TypeOfNumber.NATIONAL, NumberingPlan.ISDN, Presentation.ALLOWED, Screening.NETWORK)
    pair.network.legs[0].answer(Party(number, "Bob"), 0)
    pair.settle()
    assert heard.spoken[-1] == Answered(Party(number, "Bob"))


def test_connected_party_that_was_known_before_answer_is_kept_for_it() -> None:
    pair = Pair()
    heard = placed(pair, pair.user)
    leg = pair.network.legs[0]
    leg.alert(False, 0)
    leg.identify(Party(Number("999")), 0)
    leg.answer(None, 0)
    pair.settle()
    (answered,) = [event for event in heard.events if isinstance(event, Answered)]
    assert answered.connected is not None
    assert answered.connected.number is not None
    assert answered.connected.number.digits == "999"


def test_party_that_changes_during_the_call_is_notified() -> None:
    pair = Pair()
    leg, other = pair.establish(pair.network)
    leg.identify(Party(Number("777")), pair.now)
    pair.settle()
    assert isinstance(other.listener, Heard)
    assert other.listener.spoken[-1] == Identified(Party(Number("777")))


def test_digital_call_is_told_from_speech() -> None:
    pair = Pair()
    placed(pair, pair.network, replace(CALL, speech=False))
    offer = pair.user.heard[0].offer
    assert offer is not None
    assert offer.setup.speech is False


def test_number_longer_than_the_switch_takes_is_refused_with_28() -> None:
    pair = Pair()
    heard = placed(pair, pair.user, Setup(Number("1" * 21)))
    assert heard.released is not None
    assert heard.released.cause is Cause.INVALID_NUMBER_FORMAT
    pair.check_nothing_left()


def test_numbering_of_the_trunk() -> None:
    numbering = Numbering(
        calling_type=TypeOfNumber.NATIONAL, international_prefix="00", national_prefix="0", plan=NumberingPlan.ISDN
    )
    pair = Pair(replace(E1_EURO, numbering=numbering), E1_EURO)
    placed(pair, pair.user, Setup(Number("0041315550000"), Party(Number("315550001"))))
    offer = pair.network.heard[0].offer
    assert offer is not None
    assert (offer.setup.called.digits, offer.setup.called.type) == ("41315550000", TypeOfNumber.INTERNATIONAL)
    assert offer.setup.caller.number is not None
    assert offer.setup.caller.number.type is TypeOfNumber.NATIONAL
    national = Number("315550000", TypeOfNumber.NATIONAL)
    placed(pair, pair.network, Setup(Number("5", TypeOfNumber.SUBSCRIBER), Party(national)))
    offer = pair.user.heard[0].offer
    assert offer is not None
    assert offer.setup.called == Number("5", TypeOfNumber.SUBSCRIBER)
    assert offer.setup.caller.number == Number("0315550000")


# -- progress --


@pytest.mark.parametrize("from_user", [True, False])
@pytest.mark.parametrize("inband", [True, False])
def test_alerting_says_whether_there_is_something_to_hear(from_user: bool, inband: bool) -> None:
    pair = Pair()
    caller, called = ends(pair, from_user)
    heard = placed(pair, caller)
    called.legs[0].alert(inband, 0)
    pair.settle()
    assert heard.spoken == [Alerting(inband)]


@pytest.mark.parametrize(("inband", "description"), [(True, 8), (False, 1)])
def test_progress_before_answer(inband: bool, description: int) -> None:
    pair = Pair()
    heard = placed(pair, pair.network)
    pair.user.legs[0].progress(inband, 0)
    pair.settle()
    indicator = pair.user.sent[-1].first(ProgressIndicator)
    assert indicator is not None
    assert (indicator.description, indicator.location) == (description, Location.PRIVATE_LOCAL)
    # #1, interworking, means that the B channel is to be listened to as well.
    assert heard.spoken == [Proceeding(), Progress(inband=True)]


def test_progress_with_a_cause_from_the_user_is_progress() -> None:
    pair = Pair()
    heard = placed(pair, pair.network)
    pair.user.legs[0].progress(True, 0, Cause.USER_BUSY)
    pair.settle()
    assert heard.spoken == [Proceeding(), Progress(True, Cause.USER_BUSY)]


def test_ringing_after_an_announcement_stays_audible() -> None:
    pair = Pair()
    heard = placed(pair, pair.user)
    pair.network.legs[0].progress(True, 0)
    pair.network.legs[0].alert(False, 0)
    pair.settle()
    assert heard.spoken[-1] == Alerting(inband=True)


def test_announcement_with_the_clearing_is_heard_out_and_then_released() -> None:
    pair = Pair()
    heard = placed(pair, pair.user)
    pair.network.legs[0].proceed(0)
    pair.network.legs[0].progress(True, 0, Cause.UNALLOCATED_NUMBER)
    pair.settle()
    assert heard.spoken == [Proceeding(), Progress(True, Cause.UNALLOCATED_NUMBER)]
    assert len(pair.user.media.streams) == len(pair.network.media.streams) == 1
    pair.seconds(24)
    assert heard.released is None
    pair.seconds(2)
    assert heard.released is not None
    assert (heard.released.cause, heard.released.ours) == (Cause.UNALLOCATED_NUMBER, False)
    other = pair.network.heard[0].released
    assert other is not None
    assert other.cause is Cause.UNALLOCATED_NUMBER
    pair.check_nothing_left()


def test_announcement_with_the_clearing_ends_with_t306_of_the_network() -> None:
    pair = Pair(replace(E1_EURO, inband_hold=100 * SECOND))
    heard = placed(pair, pair.user)
    pair.network.legs[0].progress(True, 0, Cause.UNALLOCATED_NUMBER)
    pair.seconds(31)
    assert heard.released is not None
    assert heard.released.cause is Cause.UNALLOCATED_NUMBER
    pair.check_nothing_left()


def test_announcement_with_the_clearing_ends_when_the_caller_hangs_up_or_the_network_has_said_all() -> None:
    for by_caller in (True, False):
        pair = Pair()
        leg, heard = pair.user.new_leg()
        leg.place(CALL, 0)
        pair.settle()
        pair.network.legs[0].progress(True, 0, Cause.UNALLOCATED_NUMBER)
        pair.seconds(1)
        (leg if by_caller else pair.network.legs[0]).release(Cause.UNALLOCATED_NUMBER, pair.now)
        pair.settle()
        assert heard.released is not None
        pair.check_nothing_left()


def test_trunk_that_wants_no_announcements_releases_at_once() -> None:
    pair = Pair(replace(E1_EURO, inband_on_disconnect=False), E1_EURO)
    heard = placed(pair, pair.user)
    pair.network.legs[0].progress(True, 0, Cause.UNALLOCATED_NUMBER)
    pair.settle()
    assert heard.released is not None
    assert heard.released.cause is Cause.UNALLOCATED_NUMBER
    pair.check_nothing_left()


# -- overlap --


@pytest.mark.parametrize("from_user", [True, False])
def test_digits_one_by_one(from_user: bool) -> None:
    pair = Pair(OVERLAP)
    caller, called = ends(pair, from_user)
    caller.names()
    leg, heard = caller.new_leg()
    leg.place(Setup(Number("41"), complete=False), 0)
    pair.settle()
    other = called.heard[0]
    assert other.offer is not None
    assert (other.offer.setup.called.digits, other.offer.setup.complete) == ("41", False)
    for digit in "655":
        leg.digits(digit, False, 0)
        pair.settle()
    assert other.spoken == [Digits("6"), Digits("5"), Digits("5")]
    called.legs[0].proceed(0)
    called.legs[0].answer(None, 0)
    pair.settle()
    assert heard.spoken[-2:] == [Proceeding(), Answered(None)]
    assert caller.names() == ["SETUP", *["INFORMATION"] * 3, "CONNECT ACKNOWLEDGE"]
    leg.release(CLEARED, 0)
    pair.settle()
    pair.check_nothing_left()


def test_dial_tone_of_the_far_end_is_to_be_heard() -> None:
    pair = Pair(OVERLAP)
    leg, heard = pair.user.new_leg()
    leg.place(Setup(Number(""), complete=False), 0)
    # Taken from the line, so that the answer may be ours.
    pair.network.trunk.receive_frame = lambda frame, now: None  # type: ignore[method-assign]
    pair.settle()
    tone = pair.network.trunk.variant.progress_element(ProgressDescription.INBAND_INFORMATION, Side.NETWORK)
    answer = Message(MessageType.SETUP_ACKNOWLEDGE, leg.call.reference.answer(), (tone,))
    pair.user.trunk.q931.receive(encode(answer), 0)
    pair.settle()
    assert heard.spoken == [Progress(inband=True)]


def test_digits_with_the_last_one_marked() -> None:
    pair = Pair(OVERLAP)
    leg, _ = pair.user.new_leg()
    leg.place(Setup(Number(""), complete=False), 0)
    leg.digits("4", False, 0)
    leg.digits("1", True, 0)
    pair.settle()
    assert pair.network.heard[0].spoken == [Digits("41", complete=True)]


def test_caller_that_dials_no_more_is_told_complete_after_t302() -> None:
    pair = Pair(OVERLAP)
    leg, _ = pair.user.new_leg()
    leg.place(Setup(Number("41"), complete=False), 0)
    pair.seconds(14)
    assert pair.network.heard[0].spoken == []
    pair.seconds(2)
    assert pair.network.heard[0].spoken == [Digits("", complete=True)]
    pair.network.legs[0].release(Cause.INVALID_NUMBER_FORMAT, pair.now)
    pair.settle()
    pair.check_nothing_left()


def test_complete_number_is_offered_as_such_even_where_overlap_is_allowed() -> None:
    pair = Pair(OVERLAP)
    pair.network.names()
    placed(pair, pair.user)
    offer = pair.network.heard[0].offer
    assert offer is not None
    assert offer.setup.complete
    assert pair.network.names() == []  # no SETUP ACKNOWLEDGE


def test_call_is_not_offered_before_it_has_the_digits_it_must_have() -> None:
    pair = Pair(OVERLAP, replace(OVERLAP, overlap_receive_minimum=3))
    leg, _ = pair.user.new_leg()
    leg.place(Setup(Number("4"), complete=False), 0)
    pair.settle()
    leg.digits("1", False, 0)
    pair.settle()
    assert pair.network.heard == []
    leg.digits("6", False, 0)
    pair.settle()
    offer = pair.network.heard[0].offer
    assert offer is not None
    assert (offer.setup.called.digits, offer.setup.complete) == ("416", False)


@pytest.mark.parametrize(
    ("settings", "digits"), [(E1_EURO, "416"), (T1_NI2, "416"), (replace(OVERLAP, overlap_send_minimum=4), "416")]
)
def test_number_that_may_not_go_out_in_pieces_is_collected_first(settings: PriSettings, digits: str) -> None:
    pair = Pair(settings)
    leg, _ = pair.user.new_leg()
    leg.place(Setup(Number(""), complete=False), 0)
    for digit in digits:
        leg.digits(digit, False, pair.now)
        pair.seconds(9)
    assert pair.network.heard == []
    pair.seconds(2)
    offer = pair.network.heard[0].offer
    assert offer is not None
    assert offer.setup.called.digits == digits
    assert offer.setup.complete


def test_collected_number_goes_out_at_once_when_it_is_complete() -> None:
    pair = Pair()
    leg, _ = pair.user.new_leg()
    leg.place(Setup(Number("4"), complete=False), 0)
    leg.digits("16", True, 0)
    pair.settle()
    offer = pair.network.heard[0].offer
    assert offer is not None
    assert offer.setup.called.digits == "416"
    leg.release(CLEARED, 0)
    pair.settle()
    pair.check_nothing_left()


def test_caller_may_hang_up_while_its_number_is_collected() -> None:
    pair = Pair()
    leg, heard = pair.user.new_leg()
    leg.place(Setup(Number("4"), complete=False), 0)
    leg.release(CLEARED, 0)
    pair.seconds(60)
    assert pair.network.heard == []
    assert heard.released is not None
    pair.check_nothing_left()


# -- during the call --


def test_hold_and_retrieval_are_notified() -> None:
    pair = Pair()
    leg, other = pair.establish(pair.user)
    leg.hold(pair.now)
    leg.resume(pair.now)
    pair.settle()
    assert isinstance(other.listener, Heard)
    assert other.listener.spoken == [Held(), Resumed()]


@pytest.mark.parametrize("command", ["alert", "answer"])
def test_ni2_always_begins_with_call_proceeding(command: str) -> None:
    pair = Pair(T1_NI2)
    placed(pair, pair.network)
    pair.user.names()
    leg = pair.user.legs[0]
    if command == "alert":
        leg.alert(False, 0)
    else:
        leg.answer(None, 0)
    assert pair.user.names() == ["CALL PROCEEDING", {"alert": "ALERTING", "answer": "CONNECT"}[command]]


def test_euroisdn_does_not() -> None:
    pair = Pair()
    placed(pair, pair.network)
    pair.user.names()
    pair.user.legs[0].alert(False, 0)
    assert pair.user.names() == ["ALERTING"]


def test_ni2_has_no_notification_of_hold() -> None:
    pair = Pair(T1_NI2)
    leg, _ = pair.establish(pair.user)
    pair.user.names()
    leg.hold(pair.now)
    pair.settle()
    assert pair.user.names() == []


def test_keypad_goes_by_signalling_where_the_trunk_is_set_so() -> None:
    pair = Pair(replace(E1_EURO, keypad_in_call=True))
    leg, other = pair.establish(pair.user)
    assert leg.keypad("5", 100, pair.now) is True
    pair.settle()
    assert isinstance(other.listener, Heard)
    assert other.listener.spoken == [Keypad("5")]
    pair = Pair()
    leg, _ = pair.establish(pair.user)
    assert leg.keypad("5", 100, pair.now) is False


def test_record_of_a_leg() -> None:
    pair = Pair()
    leg, other = pair.establish(pair.user)
    assert leg.record() == {
        "technology": "pri",
        "trunk": "user",
        "channel": 1,
        "direction": "out",
        "call_reference": leg.call.reference.value,
        "codec": "alaw",
    }
    assert other.record()["direction"] == "in"
    leg.release(CLEARED, pair.now)
    pair.settle()
    assert leg.record()["channel"] == 1


# -- glare --


def test_both_ends_call_at_once_and_both_calls_are_made() -> None:
    pair = Pair(delay=5 * MILLISECOND)
    pair.seconds(1)
    for end in pair.ends:
        end.on_offer = lambda leg, offered, now: leg.answer(None, now)
    results = [placed(pair, end) for end in pair.ends]
    pair.seconds(1)
    assert all(any(isinstance(event, Answered) for event in heard.events) for heard in results)
    channels = {end.legs[0].record()["channel"] for end in pair.ends}
    assert channels == {1, 2}
    for end in pair.ends:
        end.legs[0].release(CLEARED, pair.now)
    pair.seconds(1)
    pair.check_nothing_left()


def test_user_that_insisted_and_lost_hears_44_so_that_it_may_try_again() -> None:
    pair = Pair(replace(E1_EURO, exclusive=True), E1_EURO, delay=5 * MILLISECOND)
    pair.seconds(1)
    heard = placed(pair, pair.user)
    other = placed(pair, pair.network)
    pair.seconds(1)
    assert heard.released is not None
    assert heard.released.cause is Cause.REQUESTED_CIRCUIT_NOT_AVAILABLE
    assert other.released is None


def test_leg_that_waits_for_digits_makes_way_for_a_call_of_the_far_end() -> None:
    pair = Pair(replace(E1_EURO, timeslots=(1, 2)))
    leg, heard = pair.user.new_leg()
    leg.place(Setup(Number("4"), complete=False), 0)
    for _ in range(2):
        placed(pair, pair.network)
    assert [other.record()["channel"] for other in pair.user.legs] == [1, 2]
    leg.digits("16", True, 0)
    pair.settle()
    assert heard.released is not None
    assert heard.released.cause is Cause.NO_CIRCUIT_AVAILABLE


def test_name_that_follows_is_waited_for() -> None:
    from gateway.pri.q931.ie.rose import NameOperation, PartyName, information_following, name_facility

    for comes in (True, False):
        pair = Pair(T1_NI2)
        call = pair.network.trunk.q931.new_call(Hunt.ASCENDING)
        assert not isinstance(call, Cause)
        assert call.channel is not None
        variant = pair.network.trunk.variant
        channel = variant.channel_identification((call.channel.timeslot,), exclusive=True)
        elements = list(variant.setup_elements(CALL, pair.network.trunk.line3, channel))
        facility: Facility = information_following(1)
        call.setup((*elements[:2], facility, *elements[2:]))
        pair.settle()
        assert pair.user.heard == []
        if comes:
            name = PartyName(NameOperation.CALLING, "ADA", Presentation.ALLOWED)
            call.facility((name_facility(name, 2, network_extension=False),))
            pair.settle()
        else:
            pair.run(301 * MILLISECOND)
        offer = pair.user.heard[0].offer
        assert offer is not None
        assert offer.setup.caller.name == ("ADA" if comes else None)


def test_every_primitive_of_a_call_reaches_the_leg() -> None:
    from gateway.pri import leg as leg_module

    table: dict[Primitive, Callable[..., None]] = dict(leg_module._PRIMITIVES)
    assert set(table) == set(Primitive)


def test_cause_of_progress_is_told() -> None:
    pair = Pair()
    heard = placed(pair, pair.network)
    pair.user.legs[0].progress(True, 0, Cause.NUMBER_CHANGED)
    pair.settle()
    message = pair.user.sent[-1]
    assert message.first(CauseElement) is not None
    assert Progress(True, Cause.NUMBER_CHANGED) in heard.events
