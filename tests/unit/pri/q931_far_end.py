"""A far end for the tests of Q.931 call control: crafts messages by hand, reads what one Q931Link sends and tells."""

from __future__ import annotations

import random
from collections.abc import Mapping

from gateway.cause import Cause, Location
from gateway.core import SECOND
from gateway.pri.channels import BChannelTable, Hunt, Line
from gateway.pri.lapd import Side
from gateway.pri.q931.call import Q931Call
from gateway.pri.q931.euroisdn import EuroIsdn
from gateway.pri.q931.ie import (
    SPEECH_A_LAW,
    CalledPartyNumber,
    CallState,
    CauseElement,
    ChannelIdentification,
    InformationElement,
    SendingComplete,
)
from gateway.pri.q931.link import Q931Link
from gateway.pri.q931.message import CallReference, Message, MessageType, decode, encode
from gateway.pri.q931.primitives import CallIndication, LinkOutput, Primitive, RestartIndication, SendData
from gateway.pri.q931.states import State
from gateway.pri.q931.timers import Q931Timer
from gateway.pri.q931.variant import StartRestart, Variant

T = MessageType
ROLES = [(side, originated) for side in Side for originated in (True, False)]
THEIRS = 7
"""The call reference of calls that the far end makes."""


class QuietEuroIsdn(EuroIsdn):
    """EuroISDN that restarts nothing when the link comes up."""

    start_restart: Mapping[Side, StartRestart] = {Side.USER: StartRestart.NOTHING, Side.NETWORK: StartRestart.NOTHING}


class FarEnd:
    """Drives one Q931Link whose data link is up."""

    def __init__(
        self,
        side: Side = Side.USER,
        variant: Variant | None = None,
        *,
        timers: Mapping[Q931Timer, int] | None = None,
        line: Line = Line.E1,
        up: bool = True,
        hold_inband: bool = True,
    ) -> None:
        self.channels = BChannelTable(line)
        self.link = Q931Link(
            side,
            variant or QuietEuroIsdn(),
            self.channels,
            random.Random(1),
            timers=timers,
            hold_inband=hold_inband,
        )
        self.now = 0
        self.outputs: list[LinkOutput] = []
        self.messages: list[Message] = []
        self.primitives: list[CallIndication] = []
        self.restarts: list[RestartIndication] = []
        if up:
            self.link.link_established(0)
            self.drain()

    # -- reading --

    def drain(self) -> None:
        while (output := self.link.poll()) is not None:
            self.outputs.append(output)
            if isinstance(output, SendData):
                self.messages.append(decode(output.data))
            elif isinstance(output, CallIndication):
                self.primitives.append(output)
            elif isinstance(output, RestartIndication):
                self.restarts.append(output)

    def sent(self) -> list[MessageType | int]:
        """The types of the messages sent since the last look."""
        return [message.message_type for message in self.taken()]

    def taken(self) -> list[Message]:
        """The messages sent since the last look."""
        self.drain()
        messages, self.messages = self.messages, []
        return messages

    def one(self, kind: MessageType) -> Message:
        """The only message sent since the last look, which is of this type."""
        messages = self.taken()
        assert [message.message_type for message in messages] == [kind], messages
        return messages[0]

    def told(self) -> list[Primitive]:
        """The primitives since the last look."""
        return [indication.primitive for indication in self.indications()]

    def indications(self) -> list[CallIndication]:
        self.drain()
        primitives, self.primitives = self.primitives, []
        return primitives

    # -- sending --

    def hears(self, message: Message) -> None:
        self.link.receive(encode(message), self.now)

    def send(self, call: Q931Call, kind: MessageType | int, *elements: InformationElement) -> None:
        """A message of the far end for ``call``."""
        self.hears(Message(kind, CallReference(call.reference.value, not call.reference.flag), elements))

    def send_cause(self, call: Q931Call, kind: MessageType, cause: Cause) -> None:
        self.send(call, kind, CauseElement(cause, Location.PUBLIC_LOCAL))

    def send_status(self, call: Q931Call, cause: Cause, state: int) -> None:
        self.send(call, MessageType.STATUS, CauseElement(cause), CallState(state))

    def wait(self, seconds: float) -> None:
        """Let time pass, timer by timer."""
        until = self.now + int(seconds * SECOND)
        while (at := self.link.next_timer()) is not None and at <= until:
            self.now = at
            self.link.handle_timer(at)
        self.now = self.link.now = until

    # -- calls --

    def place(self, *elements: InformationElement, exclusive: bool = False) -> Q931Call:
        """A call of ours whose SETUP is out."""
        call = self.link.new_call(Hunt.ASCENDING)
        assert isinstance(call, Q931Call)
        assert call.channel is not None
        self.link.now = self.now
        channel = self.link.variant.channel_identification((call.channel.timeslot,), exclusive=exclusive)
        assert call.setup((SPEECH_A_LAW, channel, CalledPartyNumber("123"), *elements))
        return call

    def offer(self, channel: ChannelIdentification | None = None, *elements: InformationElement) -> Q931Call | None:
        """A call of the far end; None if it was refused."""
        base: tuple[InformationElement, ...] = (SPEECH_A_LAW,)
        if channel is not None:
            base = (*base, channel)
        self.hears(Message(T.SETUP, CallReference(THEIRS), (*base, CalledPartyNumber("123"), *elements)))
        return self.link.calls.get(~THEIRS)

    def offered(self, *, complete: bool = True) -> Q931Call:
        call = self.offer(ChannelIdentification((5,), exclusive=True), *((SendingComplete(),) if complete else ()))
        assert call is not None
        return call

    def call_in(self, originated: bool, state: State) -> Q931Call:
        """A call brought into ``state``, which is one of its role; nothing of that is left to read."""
        call = self.place() if originated else self.offered(complete=False)
        chain = call.chain
        if state in (chain.disconnect_sent, chain.disconnect_received, State.RELEASE_REQUEST):
            self._clearing(call, state)
        elif originated:
            self._outgoing(call, state)
        else:
            self._incoming(call, state)
        assert call.state is state, call
        self.taken()
        self.indications()
        return call

    def _clearing(self, call: Q931Call, state: State) -> None:
        chain = call.chain
        if call.originated:
            self.send(call, T.CALL_PROCEEDING)
        else:
            call.proceeding(())
        if state is chain.disconnect_received:
            inband = self.link.variant.progress_element(8, self.link.side)
            self.send(call, T.DISCONNECT, CauseElement(Cause.USER_BUSY), inband)
        else:
            call.clear(Cause.NORMAL_CALL_CLEARING)
            if state is State.RELEASE_REQUEST:
                self.send_cause(call, T.DISCONNECT, Cause.NORMAL_CALL_CLEARING)

    def _outgoing(self, call: Q931Call, state: State) -> None:
        chain = call.chain
        if state is chain.setup:
            return
        kind = {
            chain.overlap: T.SETUP_ACKNOWLEDGE,
            chain.proceeding: T.CALL_PROCEEDING,
            chain.alerting: T.ALERTING,
            State.ACTIVE: T.CONNECT,
        }[state]
        self.send(call, kind)

    def _incoming(self, call: Q931Call, state: State) -> None:
        chain = call.chain
        if state is chain.overlap:
            call.more_information(())
        elif state is chain.proceeding:
            call.proceeding(())
        elif state is chain.alerting:
            call.alerting(())
        elif state is State.CONNECT_REQUEST:
            call.connect(())
        elif state is State.ACTIVE:
            call.connect(())
            if self.link.side is Side.USER:
                self.send(call, T.CONNECT_ACKNOWLEDGE)


def states_of(side: Side, originated: bool) -> list[State]:
    """The states of a role but Null."""
    from gateway.pri.q931.states import CHAINS

    chain = CHAINS[side, originated]
    return list(
        dict.fromkeys(
            (
                chain.setup,
                chain.overlap,
                chain.proceeding,
                chain.alerting,
                chain.connect,
                State.ACTIVE,
                chain.disconnect_sent,
                chain.disconnect_received,
                State.RELEASE_REQUEST,
            )
        )
    )
