"""Whatever a far end sends and an owner asks, in any order: no exception, no channel held twice, nothing left over."""

from __future__ import annotations

import random
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.cause import Cause
from gateway.pri.channels import Hunt, Line
from gateway.pri.lapd import Side
from gateway.pri.q931.call import Q931Call
from gateway.pri.q931.ie import (
    SPEECH_A_LAW,
    CalledPartyNumber,
    CallState,
    CauseElement,
    ChannelIdentification,
    ChannelSelection,
    InformationElement,
    Notification,
    NotificationIndicator,
    ProgressDescription,
    ProgressIndicator,
    RestartClass,
    RestartIndicator,
    SendingComplete,
    UnknownElement,
)
from gateway.pri.q931.message import CallReference, Message, MessageType, encode
from gateway.pri.q931.ni2 import NationalIsdn2
from gateway.pri.q931.states import State
from gateway.pri.q931.variant import Variant
from tests.unit.pri.q931_far_end import FarEnd, QuietEuroIsdn

channels = st.one_of(
    st.builds(
        ChannelIdentification, st.tuples(st.integers(0, 33)), st.booleans(), st.sampled_from([None, None, None, 0, 1])
    ),
    st.just(ChannelIdentification((), False, selection=ChannelSelection.ANY)),
    st.just(ChannelIdentification((), True, selection=ChannelSelection.NONE)),
)
elements = st.lists(
    st.one_of(
        channels,
        st.just(SPEECH_A_LAW),
        st.just(SendingComplete()),
        st.builds(CalledPartyNumber, st.text("0123456789*#", max_size=20)),
        st.builds(CauseElement, st.sampled_from(list(Cause))),
        st.builds(CallState, st.sampled_from([*map(int, State), 5, 61, 62])),
        st.builds(ProgressIndicator, st.sampled_from(list(ProgressDescription))),
        st.builds(NotificationIndicator, st.sampled_from(list(Notification))),
        st.builds(RestartIndicator, st.sampled_from(list(RestartClass))),
        st.builds(
            UnknownElement,
            st.integers(0, 0x7F),
            st.binary(max_size=4),
            st.sampled_from([0, 0, 0, 6]),
        ),
    ),
    max_size=5,
    unique_by=lambda element: element.identifier,
)
requests = st.sampled_from(["proceeding", "progress", "alerting", "connect", "more_information"])


class Chaos(RuleBasedStateMachine):
    """One link under fire."""

    side = Side.USER
    variant: type[Variant] = QuietEuroIsdn

    def __init__(self) -> None:
        super().__init__()
        line = Line.T1 if self.variant is NationalIsdn2 else Line.E1
        self.end = FarEnd(self.side, self.variant(), line=line)
        self.rng = random.Random(0)

    def _calls(self) -> list[Q931Call]:
        return list(self.end.link.calls.values())

    @rule(kind=st.sampled_from(list(MessageType)), value=st.integers(0, 4), flag=st.booleans(), contents=elements)
    def message(self, kind: MessageType, value: int, flag: bool, contents: list[InformationElement]) -> None:
        self.end.hears(Message(kind, CallReference(value, flag), contents))

    @rule(data=st.data(), kind=st.sampled_from(list(MessageType)), contents=elements)
    def message_for_a_call(self, data: Any, kind: MessageType, contents: list[InformationElement]) -> None:
        calls = self._calls()
        if calls:
            self.end.send(data.draw(st.sampled_from(calls)), kind, *contents)

    @rule(value=st.integers(1, 6), channel=channels, complete=st.booleans())
    def setup(self, value: int, channel: ChannelIdentification, complete: bool) -> None:
        contents: tuple[InformationElement, ...] = (SPEECH_A_LAW, channel, CalledPartyNumber("1"))
        if complete:
            contents = (*contents, SendingComplete())
        self.end.hears(Message(MessageType.SETUP, CallReference(value), contents))

    @rule(exclusive=st.booleans())
    def place(self, exclusive: bool) -> None:
        if isinstance(call := self.end.link.new_call(Hunt.DESCENDING), Q931Call):
            assert call.channel is not None
            timeslot = (call.channel.timeslot,)
            channel = self.end.link.variant.channel_identification(timeslot, exclusive=exclusive)
            call.setup((SPEECH_A_LAW, channel, CalledPartyNumber("1")))

    @rule(data=st.data(), request=requests)
    def answer(self, data: Any, request: str) -> None:
        calls = self._calls()
        if calls:
            getattr(data.draw(st.sampled_from(calls)), request)(())

    @rule(data=st.data(), digits=st.text("0123456789", max_size=3), complete=st.booleans())
    def digits(self, data: Any, digits: str, complete: bool) -> None:
        calls = self._calls()
        if calls:
            data.draw(st.sampled_from(calls)).digits(digits, complete)

    @rule(data=st.data(), cause=st.sampled_from(list(Cause)), inband=st.booleans())
    def clear(self, data: Any, cause: Cause, inband: bool) -> None:
        calls = self._calls()
        if calls:
            indicator = (ProgressIndicator(ProgressDescription.INBAND_INFORMATION),) if inband else ()
            data.draw(st.sampled_from(calls)).clear(cause, elements=indicator)

    @rule(seconds=st.sampled_from([0.1, 1, 4, 15, 31, 125]))
    def wait(self, seconds: float) -> None:
        self.end.wait(seconds)

    @rule()
    def link_lost(self) -> None:
        if self.end.link.up:
            self.end.link.link_released(self.end.now)

    @rule()
    def link_established(self) -> None:
        self.end.link.link_established(self.end.now)

    @rule(timeslot=st.sampled_from([None, 1, 2]))
    def restart(self, timeslot: int | None) -> None:
        self.end.link.restarts.request(timeslot)

    @rule()
    def restart_completed(self) -> None:
        self.end.link.restarts.completed()

    @invariant()
    def channels_and_calls_agree(self) -> None:
        self.end.drain()
        link = self.end.link
        for call in link.calls.values():
            assert not call.released
            if call.channel is not None:
                assert call.channel.owner is call
        for channel in self.end.channels:
            if channel.owner is not None:
                assert isinstance(channel.owner, Q931Call)
                assert channel.owner.channel is channel
                assert link.calls[channel.owner.key] is channel.owner

    def teardown(self) -> None:
        self.end.link.link_established(self.end.now)
        for call in self._calls():
            call.clear(Cause.NORMAL_CALL_CLEARING)
        self.end.wait(500)
        # Channels whose release nobody confirmed are restarted, one after the other.
        while self.end.link.restarts.outstanding:
            self.end.hears(
                Message(
                    MessageType.RESTART_ACKNOWLEDGE,
                    CallReference(0, True),
                    (RestartIndicator(RestartClass.INDICATED_CHANNELS),),
                )
            )
        self.end.wait(500)
        assert self.end.link.calls == {}
        assert all(channel.owner is None for channel in self.end.channels)
        assert self.end.link.next_timer() is None


class NetworkChaos(Chaos):
    """The same against the network side."""

    side = Side.NETWORK


class Ni2Chaos(Chaos):
    """The same against another switch type."""

    variant = NationalIsdn2


_SETTINGS = settings(max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))
TestUser = Chaos.TestCase
TestUser.settings = _SETTINGS
TestNetwork = NetworkChaos.TestCase
TestNetwork.settings = _SETTINGS
TestNi2 = Ni2Chaos.TestCase
TestNi2.settings = _SETTINGS


@given(data=st.binary(max_size=300), side=st.sampled_from(list(Side)))
@settings(max_examples=200, deadline=None)
def test_random_octets_never_raise(data: bytes, side: Side) -> None:
    end = FarEnd(side)
    end.call_in(True, State.ACTIVE)
    end.link.receive(data, 0)
    end.drain()


@given(data=st.data(), side=st.sampled_from(list(Side)))
@settings(max_examples=200, deadline=None)
def test_damaged_messages_never_raise(data: Any, side: Side) -> None:
    end = FarEnd(side)
    call = end.call_in(data.draw(st.booleans()), State.ACTIVE)
    message = Message(data.draw(st.sampled_from(list(MessageType))), call.reference.answer(), data.draw(elements))
    octets = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    end.link.receive(bytes(octets), 0)
    end.drain()
