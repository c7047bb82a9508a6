"""Targets of the PRI side: the Q.931 codec, a data link in each of its states, a whole trunk, the line's JSON."""

from __future__ import annotations

import contextlib
import random
from dataclasses import replace

from gateway.cause import Cause, Location
from gateway.core import SECOND
from gateway.leg import Leg, Listener, Offered, Setup
from gateway.pri.lapd import Data, Lapd, Side, State, Transmit
from gateway.pri.lapd.frames import Frame, FrameType
from gateway.pri.leg import PriLeg
from gateway.pri.q931 import ie
from gateway.pri.q931.errors import Q931Error
from gateway.pri.q931.message import CallReference, Message, MessageType, decode, encode
from gateway.pri.span.layer1 import Alarm, Layer1Error
from gateway.pri.trunk import PriSettings, PriTrunk
from tests.fuzz.legs import SETUPS, command
from tests.fuzz.script import Script
from tests.unit.pri.lapd_far_end import WAY
from tests.unit.pri.pri_pair import T1_NI2, FakeMedia, Heard
from tests.unit.pri.q931.test_q931_message import RELEASE_COMPLETE, SETUP, examine
from tests.unit.pri.test_lapd_machine import LapdMachine
from tests.unit.pri.test_layer1 import at, drain, up

T = MessageType
MAX_OUTPUTS = 2000
"""Of one input; more means that two ends answer each other for ever."""
LONGEST_TIMER = 500 * SECOND


# -- the codec --


def q931(data: bytes) -> None:
    """Octets as a message, and behind the head of a message that is right."""
    for octets in (data, SETUP[:5] + data):
        with contextlib.suppress(Q931Error):
            examine(octets)


Q931_SEEDS = (SETUP, RELEASE_COMPLETE, SETUP[5:], bytes.fromhex("0802000162961c0a91a10702010102010 0".replace(" ", "")))


# -- Q.921 --


def lapd(data: bytes) -> None:
    """One data link, brought into one of its states, under frames, requests and timers."""
    script = Script(data)
    machine = LapdMachine()
    machine.make(script.choose(tuple(Side)), script.choose((1, 2, 7)), script.flag())
    way = WAY[script.choose(tuple(State))]
    if "r:UA F" in way:
        machine.bring_up()
    if "timer" in way:
        machine.next_timer()
    if "release" in way:
        machine.release()
    while script.more:
        _lapd_step(machine, script)
        machine.window()
        machine.timers()
        machine.layer_3_knows()
        machine.all_is_sent_that_can_be()
        machine.nothing_is_sent_on_a_dead_line()


def _lapd_step(machine: LapdMachine, script: Script) -> None:
    match script.octet() % 11:
        case 0:
            machine.establish()
        case 1:
            machine.release()
        case 2:
            machine.send(1 + script.octet() % 10)
        case 3:
            machine.receiver_busy(script.flag())
        case 4:
            machine.layer1(script.octet() & 3 != 0)
        case 5:
            kind = script.choose(tuple(FrameType))
            machine.frame_with_likely_numbers(kind, script.flag(), script.flag(), script.octet() % 3 - 1)
        case 6:
            kind = script.choose((FrameType.I, FrameType.RR, FrameType.REJ, FrameType.RNR))
            machine.hear(
                Frame(kind, script.flag(), script.below(128) if kind is FrameType.I else 0, script.below(128)),
                script.flag(),
            )
        case 7:
            machine.acknowledgement(
                script.choose((FrameType.RR, FrameType.REJ, FrameType.RNR)), script.flag(), script.octet() % 8
            )
        case 8:
            machine.rubbish(
                script.choose((b"\x02\x01", b"\x00\x01", b"\xfe\xff", b"")) + script.take(1 + script.octet() % 12)
            )
        case 9:
            machine.next_timer()
        case _:
            machine.wait(script.below(1000) * 1000)


LAPD_SEEDS = (
    bytes((0, 2, 0, 3, 5, 0, 1, 1, 1, 2, 9, 7, 0, 0, 1, 9, 9, 9, 9)),
    bytes((1, 2, 1, 4, 5, 0, 1, 0, 0, 6, 0, 1, 3, 5, 1, 8, 0, 4, 0x7F, 0x01, 0x02, 0x03, 4, 0, 4, 1)),
    bytes((0, 0, 0, 2, 1, 5, 7, 0, 1, 1, 9, 9, 3, 1, 2, 9, 3, 0)),
)


# -- a whole trunk --

_SPEECH = (ie.SPEECH_A_LAW, ie.ChannelIdentification((3,)), ie.CallingPartyNumber("2125550100"))
_PROGRESS = ie.ProgressIndicator(ie.ProgressDescription.INBAND_INFORMATION, Location.PUBLIC_LOCAL)
_CAUSE = ie.CauseElement(Cause.NORMAL_CALL_CLEARING, Location.PUBLIC_LOCAL)
_RESTART = ie.RestartIndicator(ie.RestartClass.INDICATED_CHANNELS)
_CONTENTS: dict[MessageType, tuple[ie.InformationElement, ...]] = {
    T.SETUP: (
        *(*_SPEECH, ie.Display("Ann"), ie.CalledPartyNumber("4165551234"), ie.CalledPartySubaddress(b"12")),
        *(ie.HighLayerCompatibility(1), ie.UserUser(b"hello"), ie.SendingComplete()),
    ),
    T.SETUP_ACKNOWLEDGE: (ie.ChannelIdentification((3,)),),
    T.INFORMATION: (ie.CalledPartyNumber("12"), ie.KeypadFacility("5")),
    T.CALL_PROCEEDING: (ie.ChannelIdentification((1,), exclusive=True),),
    T.PROGRESS: (_PROGRESS,),
    T.ALERTING: (_PROGRESS,),
    T.CONNECT: (ie.ChannelIdentification((1,)), ie.ConnectedNumber("4165550000"), ie.ConnectedSubaddress(b"7")),
    T.CONNECT_ACKNOWLEDGE: (),
    T.DISCONNECT: (_CAUSE, _PROGRESS),
    T.RELEASE: (_CAUSE,),
    T.RELEASE_COMPLETE: (_CAUSE,),
    T.RESTART: (ie.ChannelIdentification((3,)), _RESTART),
    T.RESTART_ACKNOWLEDGE: (ie.ChannelIdentification((3,)), _RESTART),
    T.STATUS: (_CAUSE, ie.CallState(10)),
    T.STATUS_ENQUIRY: (),
    T.NOTIFY: (ie.NotificationIndicator(0x79),),
    T.FACILITY: (ie.Facility(bytes.fromhex("a10a020101020100800141")),),
    T.HOLD: (),
    T.SEGMENT: (),
    T.SERVICE: (ie.ChangeStatus(1, 0), ie.ChannelIdentification((3,))),
    T.SERVICE_ACKNOWLEDGE: (ie.ChangeStatus(1, 0), ie.ChannelIdentification((3,))),
}
# Rarer audits: eight at the end of each input would take most of its time.
_USER = PriSettings("fuzz", lambda timeslot: f"f/{timeslot}", context="from-pstn", audit=LONGEST_TIMER)
_SETTINGS = (
    _USER,
    replace(_USER, side=Side.NETWORK),
    T1_NI2,
    replace(T1_NI2, side=Side.NETWORK),
    replace(_USER, overlap_receive=True, overlap_send=True, keypad_in_call=True),
    replace(_USER, side=Side.NETWORK, overlap_receive=True, overlap_send=True, overlap_receive_minimum=3),
)


class _Fire:
    """A trunk whose far end speaks Q.921 rightly and anything at all as layer 3."""

    def __init__(self, settings: PriSettings) -> None:
        self.now = 0
        self.media = FakeMedia()
        self.trunk = PriTrunk(settings, self.media, random.Random(1), self._offered)
        self.far = Lapd(Side.USER if settings.side is Side.NETWORK else Side.NETWORK)
        self.legs: list[PriLeg] = []
        self.heard: list[Heard] = []
        self.references = [CallReference(1), CallReference(2), CallReference(0), CallReference(1, True)]
        self.far.activate(0)
        self.trunk.line_state(Alarm.NONE, 0)
        self.settle()

    def _offered(self, leg: Leg, offered: Offered, now: int) -> Listener:
        assert isinstance(leg, PriLeg)
        repr(offered)
        leg.listener = heard = Heard()
        self.legs.append(leg)
        self.heard.append(heard)
        return heard

    def settle(self) -> None:
        for _ in range(MAX_OUTPUTS):
            busy = False
            while (output := self.trunk.poll()) is not None:
                busy = True
                repr(output)
                if isinstance(output, Transmit):
                    self.far.receive(output.frame, self.now)
            while (said := self.far.poll()) is not None:
                busy = True
                if isinstance(said, Transmit):
                    self.trunk.receive_frame(said.frame, self.now)
                elif isinstance(said, Data):
                    reference = decode(said.data).call_reference.answer()
                    if reference not in self.references and len(self.references) < 64:
                        self.references.append(reference)
            if not busy:
                return
        raise AssertionError("the two ends answer each other for ever")

    def hear(self, octets: bytes) -> None:
        self.far.send(octets, self.now)
        self.settle()

    def place(self, setup: Setup) -> None:
        leg = self.trunk.new_leg(None, self.now)
        if isinstance(leg, PriLeg):
            leg.listener = heard = Heard()
            self.legs.append(leg)
            self.heard.append(heard)
            leg.place(setup, self.now)
        self.settle()

    def wait(self, microseconds: int) -> None:
        until = self.now + microseconds
        for _ in range(MAX_OUTPUTS):
            due = [at for at in (self.trunk.next_timer(), self.far.next_timer()) if at is not None]
            if not due or min(due) > until:
                self.now = until
                return
            self.now = max(self.now, min(due))
            for end in (self.trunk, self.far):
                moment = end.next_timer()
                if moment is not None and moment <= self.now:
                    end.handle_timer(self.now)
            self.settle()
        raise AssertionError("timers without end")

    def end(self) -> None:
        """The line is cut for longer than any timer: nothing may be left."""
        self.far.deactivate(self.now)
        self.trunk.line_state(Alarm.RED, self.now)
        self.settle()
        for leg in self.legs:
            leg.release(Cause.NORMAL_CALL_CLEARING, self.now)
        self.settle()
        self.wait(LONGEST_TIMER)
        trunk = self.trunk
        assert trunk.q931.calls == {}, trunk.q931.calls
        assert trunk.legs == {}, trunk.legs
        assert self.media.streams == {}, self.media.streams
        assert all(channel.owner is None for channel in trunk.channels)
        for heard in self.heard:
            assert heard.released is not None


def trunk(data: bytes) -> None:
    """A whole trunk: hostile layer 3 in I frames that are right, while calls are made, answered, cleared and cut."""
    script = Script(data)
    fire = _Fire(script.choose(_SETTINGS))
    while script.more:
        _trunk_step(fire, script)
    fire.end()


def _trunk_step(fire: _Fire, script: Script) -> None:
    match script.octet() % 12:
        case 0:
            fire.hear(script.take(script.octet() % 80))
        case 1 | 2 | 3 | 4:
            kind = script.choose(tuple(_CONTENTS))
            message = encode(Message(kind, script.choose(fire.references), _CONTENTS[kind]))
            fire.hear(script.changed(message)[:260])
        case 5:
            fire.place(script.choose(SETUPS))
        case 6 | 7:
            if fire.legs:
                command(script.choose(fire.legs), script, fire.now)
                fire.settle()
        case 8:
            fire.wait(script.choose((100_000, SECOND, 4 * SECOND, 15 * SECOND, 35 * SECOND, 130 * SECOND)))
        case 9:
            fire.trunk.line_state(script.choose((Alarm.NONE, Alarm.RED, Alarm.NONE, Alarm.YELLOW)), fire.now)
            fire.settle()
        case 10:
            fire.media.fails = script.flag()
        case _:
            fire.trunk.receive_frame(script.take(script.octet() % 12), fire.now)
            fire.settle()


def _message_step(kind: MessageType, reference: int, *changes: int) -> bytes:
    return bytes((1, list(_CONTENTS).index(kind), reference, *(changes or (0,))))


TRUNK_SEEDS = (
    # A call in, answered, cleared by the far end.
    bytes((0,))
    + _message_step(T.SETUP, 0)
    + bytes((6, 0, 2, 0, 0, 6, 0, 3, 0, 0))
    + _message_step(T.CONNECT_ACKNOWLEDGE, 0)
    + _message_step(T.STATUS_ENQUIRY, 0)
    + _message_step(T.DISCONNECT, 0)
    + _message_step(T.RELEASE_COMPLETE, 0),
    # A call out that is answered, as the network.
    # The exchange does not answer RESTART, so that it takes a while.
    bytes((1, 8, 4, 5, 0))
    + _message_step(T.CALL_PROCEEDING, 5)
    + _message_step(T.ALERTING, 5)
    + _message_step(T.CONNECT, 5)
    + _message_step(T.STATUS, 5)
    + bytes((6, 0, 10, 16))
    + _message_step(T.RELEASE, 5),
    # Overlap, restarts, cuts, timers.
    bytes((4, 8, 4, 5, 1))
    + _message_step(T.SETUP_ACKNOWLEDGE, 5)
    + bytes((6, 0, 5, 1, 0, 8, 3, 9, 1, 8, 5, 9, 0))
    + _message_step(T.RESTART, 2)
    + _message_step(T.SERVICE, 2),
    bytes((2, 8, 4, 5, 2))
    + _message_step(T.SETUP, 0, 2, 5, 0, 0x42, 9, 1, 3)
    + _message_step(T.FACILITY, 0)
    + bytes((10, 1, 5, 3)),
)


# -- layer 1 --


def line(data: bytes) -> None:
    """Packets of a virtual span's line, one to a text line, with time between them."""
    layer = up()
    for number, packet in enumerate(data.split(b"\n")[:50], 1):
        now = number * SECOND
        with contextlib.suppress(Layer1Error):
            layer.receive(packet, now)
        drain(layer)
        at(layer, now)
        layer.history()
        layer.quarters()
        layer.recent_bounces(now)


LINE_SEEDS = (
    b'{"alarm": "red"}\n{"alarm": "none", "counters": {"slips": 3, "crc_errors": 1}}\n{"request": "counters"}',
    b'{"counters": {"slips": 1e3}}\n{"alarm": null}\n[]\n{"counters": {"slips": 99999999999999999999}}',
    b'{"alarm": "yellow"}\n{"alarm": "blue"}\n{"alarm": "none"}\n{"counters": {"slips": 0}}',
)
