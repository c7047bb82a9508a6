"""What real switches and PBXs do that no well-behaved peer does: one trunk against Q.931 messages written by hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec
import pytest

from gateway.cause import Cause, Location
from gateway.core import SECOND
from gateway.identity import Number, Party, Redirection, TypeOfNumber
from gateway.leg import Conveyed, Digits, Keypad, Leg, LegEvent, Listener, Offered, Progress, Released, Setup
from gateway.pri.lapd import Data, Lapd, MdlError, Side, Transmit
from gateway.pri.leg import PriLeg
from gateway.pri.q931.ie import (
    SPEECH_A_LAW,
    CalledPartyNumber,
    CallingPartyNumber,
    CallState,
    CauseElement,
    ChannelIdentification,
    InformationElement,
    KeypadFacility,
    ProgressDescription,
    ProgressIndicator,
    RestartClass,
    RestartIndicator,
    SendingComplete,
    UserUser,
)
from gateway.pri.q931.message import MAX_MESSAGE, CallReference, Message, decode, encode
from gateway.pri.q931.message import MessageType as T
from gateway.pri.q931.states import State
from gateway.pri.settings import Numbering
from gateway.pri.span.layer1 import Alarm
from gateway.pri.trunk import LinkUp, Maintenance, PriSettings, PriTrunk, TrunkOutput
from tests.unit.pri.pri_pair import FakeMedia, Heard

E1 = PriSettings("pstn", lambda timeslot: f"b/{timeslot}", context="from-pstn")
OVERLAP = replace(E1, overlap_receive=True)
INBAND = ProgressIndicator(ProgressDescription.INBAND_INFORMATION)
THEIRS = 7


@dataclass
class Switch:
    """The far end of a trunk: a data link, and messages by hand."""

    settings: PriSettings = E1
    now: int = 0
    legs: list[PriLeg] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    notes: list[TrunkOutput] = field(default_factory=list)
    react: Callable[[Leg, LegEvent, int], None] | None = None

    def __post_init__(self) -> None:
        self.media = FakeMedia()
        self.trunk = PriTrunk(self.settings, self.media, random.Random(1), self._offered)
        self.lapd = Lapd(Side.USER if self.settings.side is Side.NETWORK else Side.NETWORK)
        self.lapd.activate(0)
        self.lapd.establish(0)
        self.trunk.line_state(Alarm.NONE, 0)
        self.settle()
        self.global_reference(T.RESTART_ACKNOWLEDGE, RestartIndicator(RestartClass.SINGLE_INTERFACE))
        self.taken()

    def _offered(self, leg: Leg, offered: Offered, now: int) -> Listener | None:
        assert isinstance(leg, PriLeg)
        heard = Heard(self.react, offer=offered)
        leg.listener = heard
        self.legs.append(leg)
        self.heard.append(heard)
        return heard

    def settle(self) -> None:
        busy = True
        while busy:
            busy = False
            while (output := self.trunk.poll()) is not None:
                busy = True
                if isinstance(output, Transmit):
                    self.lapd.receive(output.frame, self.now)
                else:
                    self.notes.append(output)
            while (said := self.lapd.poll()) is not None:
                busy = True
                if isinstance(said, Transmit):
                    self.trunk.receive_frame(said.frame, self.now)
                elif isinstance(said, Data):
                    self.messages.append(decode(said.data))

    def wait(self, seconds: float) -> None:
        until = self.now + int(seconds * SECOND)
        while True:
            moments = [at for core in (self.trunk, self.lapd) if (at := core.next_timer()) is not None and at <= until]
            if not moments:
                break
            self.now = max(self.now, min(moments))
            for core in (self.trunk, self.lapd):
                due = core.next_timer()
                if due is not None and due <= self.now:
                    core.handle_timer(self.now)
            self.settle()
        self.now = until

    def send(self, message: Message) -> None:
        assert self.lapd.send(encode(message), self.now)
        self.settle()

    def global_reference(self, kind: T, *elements: InformationElement) -> None:
        self.send(Message(kind, CallReference(0, kind is T.RESTART_ACKNOWLEDGE), elements))

    def call(self, kind: T, *elements: InformationElement) -> None:
        """A message of a call that the switch makes."""
        self.send(Message(kind, CallReference(THEIRS), elements))

    def answer(self, leg: PriLeg, kind: T, *elements: InformationElement) -> None:
        """A message for a call of ours."""
        self.send(Message(kind, CallReference(leg.call.reference.value, True), elements))

    def setup(self, *elements: InformationElement, channel: int = 3) -> None:
        self.call(T.SETUP, SPEECH_A_LAW, ChannelIdentification((channel,)), *elements)

    def place(self, setup: Setup | None = None) -> tuple[PriLeg, Heard]:
        leg = self.trunk.new_leg(None, self.now)
        assert isinstance(leg, PriLeg)
        heard = Heard()
        leg.listener = heard
        leg.place(setup or Setup(Number("123")), self.now)
        self.settle()
        return leg, heard

    def taken(self) -> list[Message]:
        messages, self.messages = self.messages, []
        return messages

    def sent(self) -> list[T | int]:
        return [message.message_type for message in self.taken()]

    @property
    def offer(self) -> Setup:
        offer = self.heard[-1].offer
        assert offer is not None
        return offer.setup

    def gone(self) -> None:
        """No call and no voice is left."""
        assert self.trunk.q931.calls == {}
        assert self.trunk.legs == {}
        assert self.media.streams == {}


def test_caller_that_hangs_up_with_an_indicator_of_inband_information_is_gone_at_once() -> None:
    switch = Switch()
    switch.setup(CalledPartyNumber("123"))
    switch.legs[0].alert(False, 0)
    switch.settle()
    switch.taken()
    switch.call(T.DISCONNECT, CauseElement(Cause.NORMAL_CALL_CLEARING, Location.PUBLIC_LOCAL), INBAND)
    assert switch.sent() == [T.RELEASE]
    assert switch.heard[0].released == Released(Cause.NORMAL_CALL_CLEARING, Location.PUBLIC_LOCAL)
    switch.call(T.RELEASE_COMPLETE)
    switch.gone()


def test_announcement_in_a_disconnect_that_is_the_first_answer_is_heard() -> None:
    switch = Switch()
    leg, heard = switch.place()
    switch.answer(leg, T.DISCONNECT, CauseElement(Cause.UNALLOCATED_NUMBER), INBAND)
    assert leg.stream in switch.media.streams
    assert heard.spoken == [Progress(True, Cause.UNALLOCATED_NUMBER)]
    switch.wait(26)
    switch.answer(leg, T.RELEASE_COMPLETE)
    switch.gone()


def test_announcement_of_ours_as_the_first_answer_says_on_which_channel_it_is() -> None:
    switch = Switch(replace(E1, side=Side.NETWORK))
    switch.call(T.SETUP, SPEECH_A_LAW, CalledPartyNumber("123"))
    switch.legs[0].progress(True, 0, Cause.UNALLOCATED_NUMBER)
    switch.settle()
    first, second = switch.taken()
    assert (first.message_type, second.message_type) == (T.CALL_PROCEEDING, T.DISCONNECT)
    assert first.first(ChannelIdentification) == ChannelIdentification((1,))


def test_setup_sent_again_is_the_same_call() -> None:
    switch = Switch()
    for _ in range(2):
        switch.setup(CalledPartyNumber("123"))
    switch.legs[0].proceed(0)
    switch.setup(CalledPartyNumber("123"))
    assert len(switch.legs) == 1
    # The answer was lost, or the caller would not have asked again.
    assert switch.sent() == [T.CALL_PROCEEDING, T.CALL_PROCEEDING]


@pytest.mark.parametrize(
    "contents",
    [b"\x80\x91", b"\xe2\x91", b"\xcf\x91", b"\x00\x80\x91", b"\x86\xfe", b"\x8f\x80", b"\x80\x91\x01\x02\x03"],
)
def test_refusal_with_any_cause_location_and_coding_ends_the_call(contents: bytes) -> None:
    switch = Switch()
    leg, heard = switch.place()
    reference = leg.call.reference.value
    head = bytes((8, 2, 0x80 | reference >> 8, reference & 0xFF, T.RELEASE_COMPLETE, 8, len(contents)))
    assert switch.lapd.send(head + contents, 0)
    switch.settle()
    assert heard.released is not None
    assert (heard.released.cause is Cause.USER_BUSY) is (b"\x91" in contents)
    switch.gone()


@pytest.mark.parametrize("kind", [T.DISCONNECT, T.RELEASE, T.RELEASE_COMPLETE])
def test_clearing_without_cause_clears(kind: T) -> None:
    switch = Switch()
    leg, heard = switch.place()
    switch.taken()
    switch.answer(leg, kind)
    assert heard.released is not None
    assert heard.released.cause is Cause.NORMAL_UNSPECIFIED
    messages = switch.taken()
    assert [message.message_type for message in messages] == {
        T.DISCONNECT: [T.RELEASE],
        T.RELEASE: [T.RELEASE_COMPLETE],
        T.RELEASE_COMPLETE: [],
    }[kind]
    for message in messages:
        cause = message.first(CauseElement)
        assert cause is not None
        assert cause.cause is Cause.MANDATORY_ELEMENT_MISSING


def test_call_with_a_reference_of_one_octet_is_answered_with_one() -> None:
    switch = Switch()
    switch.send(
        Message(
            T.SETUP,
            CallReference(5, length=1),
            (SPEECH_A_LAW, ChannelIdentification((3,)), CalledPartyNumber("123")),
        )
    )
    switch.legs[0].answer(None, 0)
    switch.settle()
    assert [message.call_reference for message in switch.taken()] == [CallReference(5, True, 1)]
    switch.send(Message(T.CONNECT_ACKNOWLEDGE, CallReference(5, length=1)))
    assert switch.legs[0].call.state is State.ACTIVE


# -- digits --


@pytest.mark.parametrize(
    ("called", "keypad", "digits"),
    [(None, "123", "123"), ("", "123", "123"), ("9", "123", "9"), (None, "1 2-3x#", "123#"), (None, None, "")],
)
def test_number_in_keypad_facility(called: str | None, keypad: str | None, digits: str) -> None:
    switch = Switch()
    elements: list[InformationElement] = []
    if keypad is not None:
        elements.append(KeypadFacility(keypad))
    if called is not None:
        elements.append(CalledPartyNumber(called))
    switch.setup(*elements)
    assert switch.offer.called.digits == digits


def test_keypad_during_a_call_passes_only_digits_on() -> None:
    switch = Switch()
    switch.setup(CalledPartyNumber("123"))
    switch.legs[0].answer(None, 0)
    switch.settle()
    switch.call(T.CONNECT_ACKNOWLEDGE)
    switch.call(T.INFORMATION, KeypadFacility("5x"))
    switch.call(T.INFORMATION, KeypadFacility("x"))
    assert [event for event in switch.heard[0].spoken if isinstance(event, Keypad)] == [Keypad("5")]


def test_sending_complete_without_digits_is_offered_complete() -> None:
    switch = Switch(OVERLAP)
    switch.setup(SendingComplete())
    assert (switch.offer.called.digits, switch.offer.complete) == ("", True)
    assert switch.sent() == []


def test_hash_ends_the_number_of_a_setup() -> None:
    switch = Switch(OVERLAP)
    switch.setup(CalledPartyNumber("123#"))
    assert (switch.offer.called.digits, switch.offer.complete) == ("123", True)
    assert T.SETUP_ACKNOWLEDGE not in switch.sent()


def test_hash_ends_a_number_that_comes_digit_by_digit() -> None:
    switch = Switch(OVERLAP)
    switch.setup()
    for digit in "12#":
        switch.call(T.INFORMATION, CalledPartyNumber(digit))
    assert switch.heard[0].spoken == [Digits("1"), Digits("2"), Digits("", complete=True)]
    switch.wait(16)
    assert len(switch.heard[0].spoken) == 3  # T302 is stopped


def test_hash_is_a_digit_of_a_feature_code_and_of_a_number_that_came_in_one_piece() -> None:
    switch = Switch(OVERLAP)
    switch.setup()
    for digits in ("*21", "#"):
        switch.call(T.INFORMATION, CalledPartyNumber(digits))
    assert switch.heard[0].spoken == [Digits("*21"), Digits("#")]
    whole = Switch()
    whole.setup(CalledPartyNumber("123#"))
    assert whole.offer.called.digits == "123#"


@pytest.mark.parametrize(
    ("kind", "digits", "expected"),
    [
        (TypeOfNumber.NATIONAL, "301234", "0301234"),
        (TypeOfNumber.NATIONAL, "0301234", "0301234"),
        (TypeOfNumber.INTERNATIONAL, "49301234", "0049301234"),
        (TypeOfNumber.INTERNATIONAL, "0049301234", "0049301234"),
    ],
)
def test_prefix_that_came_with_its_type_is_not_put_twice(kind: TypeOfNumber, digits: str, expected: str) -> None:
    switch = Switch(replace(E1, numbering=Numbering(international_prefix="00", national_prefix="0")))
    switch.setup(CallingPartyNumber(digits, kind), CalledPartyNumber(digits, kind))
    assert switch.offer.called == Number(expected)
    assert switch.offer.caller.number == Number(expected)


def test_national_prefix_that_an_area_code_may_begin_with_is_always_put() -> None:
    switch = Switch(replace(E1, numbering=Numbering(national_prefix="8")))
    switch.setup(CalledPartyNumber("8005553535", TypeOfNumber.NATIONAL))
    assert switch.offer.called.digits == "88005553535"


# -- time --


def test_timer_that_ends_a_call_together_with_the_audit_ends_its_leg() -> None:
    switch = Switch()
    leg, heard = switch.place()
    switch.answer(leg, T.CONNECT)
    switch.trunk.line_state(Alarm.RED, switch.now)
    switch.settle()
    # A process that did not run for a while finds T309 and the audit due at once.
    switch.now += 3600 * SECOND
    switch.trunk.handle_timer(switch.now)
    switch.settle()
    assert heard.released is not None
    assert heard.released.cause is Cause.DESTINATION_OUT_OF_ORDER
    switch.gone()


def test_line_that_flaps_ten_times_in_ten_seconds_keeps_its_calls() -> None:
    switch = Switch()
    leg, heard = switch.place()
    switch.answer(leg, T.CONNECT)
    for _ in range(10):
        switch.trunk.line_state(Alarm.RED, switch.now)
        switch.wait(0.5)
        switch.trunk.line_state(Alarm.NONE, switch.now)
        switch.settle()
        switch.wait(0.5)
    assert switch.trunk.up
    assert leg.call.state is State.ACTIVE
    switch.taken()
    switch.wait(3.6)
    assert switch.sent() == [T.STATUS_ENQUIRY]  # the last one again: nobody answered
    switch.answer(leg, T.STATUS, CauseElement(Cause.RESPONSE_TO_STATUS_ENQUIRY), CallState(State.ACTIVE))
    switch.wait(60)
    assert heard.released is None
    assert switch.trunk.q931.next_timer() is None


def test_far_end_that_is_busy_for_long_gets_everything_when_it_is_ready() -> None:
    switch = Switch()
    switch.lapd.receiver_busy(True, switch.now)
    _, heard = switch.place()
    switch.wait(3)
    assert switch.sent() == []
    switch.lapd.receiver_busy(False, switch.now)
    switch.settle()
    assert switch.sent() == [T.SETUP]
    assert heard.released is None
    assert switch.trunk.up


# -- limits --


def test_user_information_that_makes_the_setup_too_long_is_left_out() -> None:
    switch = Switch(replace(E1, side=Side.NETWORK))
    long = Setup(
        Number("1" * 20), Party(Number("2" * 32), "N" * 80), conveyed=Conveyed(user_user=bytes(129)), redirection=None
    )
    for setup, fits in (
        (msgspec.structs.replace(long, redirection=Redirection(Number("3" * 32))), False),
        (long, True),
    ):
        switch.place(setup)
        (message,) = switch.taken()
        assert message.message_type is T.SETUP
        assert (message.first(UserUser) is not None) is fits
        assert message.octets is not None
        assert len(message.octets) <= MAX_MESSAGE


def test_errors_of_the_link_are_told_once_a_second_with_how_many_were_not() -> None:
    switch = Switch()
    unsolicited = b"\x00\x01\x73"  # UA of the network with F=1
    before = len(switch.notes)

    def hear(times: int) -> list[str]:
        for _ in range(times):
            switch.trunk.receive_frame(unsolicited, switch.now)
            switch.settle()
        return [note.text for note in switch.notes[before:] if isinstance(note, MdlError)]

    text = "unsolicited UA with F=1"
    assert hear(1) == [text]
    assert hear(40) == [text]
    switch.wait(1)
    assert hear(2) == [text, f"{text} (40 others before it)"]
    switch.wait(5)
    assert hear(1)[2:] == [f"{text} (1 others before it)"]
    switch.wait(5)
    assert hear(1)[3:] == [text]
    assert switch.trunk.lapd.statistics.mdl_errors == {"C": 45}


# -- who is who --


@pytest.mark.parametrize("side", list(Side))
def test_both_ends_on_the_same_side_are_told_to_the_operator_once(side: Side) -> None:
    media = FakeMedia()
    trunks = [
        PriTrunk(replace(E1, name=name, side=side), media, random.Random(1), lambda *_: None) for name in ("a", "b")
    ]
    told: list[TrunkOutput] = []
    now = 0
    for trunk in trunks:
        trunk.line_state(Alarm.NONE, now)
    for _ in range(30):
        for trunk, other in (trunks, trunks[::-1]):
            while (output := trunk.poll()) is not None:
                if isinstance(output, Transmit):
                    other.receive_frame(output.frame, now)
                elif isinstance(output, Maintenance):
                    told.append(output)
        now += SECOND
        for trunk in trunks:
            trunk.handle_timer(now)
    text = f"no data link: both ends play the {side.value} side, or the line is looped"
    assert sorted(told, key=str) == [Maintenance("a", text), Maintenance("b", text)]


def test_single_frames_of_the_wrong_side_are_no_matter_for_the_operator() -> None:
    switch = Switch()
    for _ in range(10):
        switch.trunk.receive_frame(b"\x00\x01\x7f", 0)  # SABME with the user's address bit
        switch.settle()
        switch.wait(2)
    assert switch.trunk.up
    assert not [note for note in switch.notes if isinstance(note, Maintenance)]
    assert [note for note in switch.notes if isinstance(note, LinkUp)]
