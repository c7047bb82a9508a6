"""Random walks: any message in any order, any command, alarms and late timers; every leg ends and nothing is left."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.cause import Cause
from gateway.core import SECOND
from gateway.identity import Number, Party
from gateway.leg import Setup
from gateway.pri.channels import Block
from gateway.pri.lapd import Side
from gateway.pri.leg import PriLeg
from gateway.pri.q931.ie import (
    SPEECH_A_LAW,
    CalledPartyNumber,
    CallState,
    CauseElement,
    ChannelIdentification,
    InformationElement,
    NotificationIndicator,
    ProgressIndicator,
    RestartClass,
    RestartIndicator,
    SendingComplete,
)
from gateway.pri.q931.message import CallReference, Message, MessageType, encode
from gateway.pri.span.layer1 import Alarm
from tests.unit.pri.pri_pair import T1_NI2, Heard
from tests.unit.pri.test_trunk_habits import E1, OVERLAP, Switch

SETTINGS = [
    replace(settings, side=side)
    for settings in (E1, replace(OVERLAP, overlap_send=True, overlap_receive_minimum=2), T1_NI2)
    for side in Side
]
KINDS = [kind for kind in MessageType if kind < 0x100]


class Walk:
    """One walk of one trunk."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.switch = Switch(self.rng.choice(SETTINGS))
        self.legs: list[PriLeg] = []
        self.alarm = False

    def elements(self) -> tuple[InformationElement, ...]:
        rng = self.rng
        every: list[InformationElement] = [
            SPEECH_A_LAW,
            ChannelIdentification((rng.choice((1, 2, 3, 16, 24, 31)),), exclusive=rng.random() < 0.5),
            CauseElement(rng.randrange(128)),
            CallState(rng.choice((0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 19, 25, 61, 62))),
            ProgressIndicator(rng.choice((1, 2, 8))),
            CalledPartyNumber("".join(rng.choices("0123*#", k=rng.randrange(4)))),
            SendingComplete(),
            NotificationIndicator(rng.choice((0, 1, 0x79, 0x7A))),
            RestartIndicator(rng.choice(list(RestartClass))),
        ]
        return tuple(element for element in every if rng.random() < 0.5)

    def message(self) -> None:
        rng, switch = self.rng, self.switch
        ours = [leg.call.reference.value for leg in self.legs[-3:]]
        value = rng.choice([0, 7, 7, 8, *ours])
        reference = CallReference(value, (value in ours) is (rng.random() < 0.95))
        switch.lapd.send(encode(Message(rng.choice(KINDS), reference, self.elements())), switch.now)

    def place(self) -> None:
        leg = self.switch.trunk.new_leg(None, self.switch.now)
        if isinstance(leg, PriLeg):
            leg.listener = Heard()
            self.legs.append(leg)
            leg.place(Setup(Number("12"), complete=self.rng.random() < 0.5), self.switch.now)

    def command(self) -> None:
        legs = (self.legs + self.switch.legs)[-4:]
        if not legs:
            return
        rng, now = self.rng, self.switch.now
        leg = rng.choice(legs)
        commands: list[Callable[[], object]] = [
            lambda: leg.proceed(now),
            lambda: leg.progress(rng.random() < 0.5, now),
            lambda: leg.progress(True, now, Cause.USER_BUSY),
            lambda: leg.alert(rng.random() < 0.5, now),
            lambda: leg.answer(None, now),
            lambda: leg.digits("3", rng.random() < 0.3, now),
            lambda: leg.hold(now),
            lambda: leg.identify(Party(Number("9")), now),
            lambda: leg.release(rng.choice(list(Cause)), now),
        ]
        rng.choice(commands)()

    def trouble(self) -> None:
        switch, now = self.switch, self.switch.now
        match self.rng.randrange(5):
            case 0:
                self.alarm = not self.alarm
                switch.trunk.line_state(Alarm.RED if self.alarm else Alarm.NONE, now)
                (switch.lapd.deactivate if self.alarm else switch.lapd.activate)(now)
            case 1:
                switch.lapd.establish(now)
            case 2:
                switch.trunk.restart(self.rng.choice((None, 1, 3)), now)
            case _:
                # The process did not run for a while: much is due at once.
                switch.now += self.rng.choice((1, 100, 4000)) * SECOND
                for core in (switch.trunk, switch.lapd):
                    core.handle_timer(switch.now)

    def step(self) -> None:
        choice = self.rng.random()
        if choice < 0.55:
            self.message()
        elif choice < 0.65:
            self.place()
        elif choice < 0.87:
            self.command()
        elif choice < 0.92:
            self.trouble()
        else:
            self.switch.wait(self.rng.choice((0.1, 1, 4, 15, 31, 90, 125)))
        self.switch.settle()

    def end(self) -> None:
        switch = self.switch
        if self.alarm:
            switch.trunk.line_state(Alarm.NONE, switch.now)
            switch.lapd.activate(switch.now)
        # Calls may still be on their way to us, and wait for their digits.
        for _ in range(4):
            for leg in self.legs + switch.legs:
                leg.release(Cause.NORMAL_CALL_CLEARING, switch.now)
            switch.settle()
            switch.wait(20)
        switch.wait(4000)
        for leg in self.legs + switch.legs:
            assert isinstance(leg.listener, Heard)
            assert leg.listener.released is not None, leg
        switch.gone()
        for channel in switch.trunk.channels:
            assert channel.owner is None
            assert Block.RESTART not in channel.block


@pytest.mark.parametrize("seed", range(120))
def test_any_walk_ends_with_every_leg_released_and_every_channel_free(seed: int) -> None:
    walk = Walk(seed)
    for _ in range(walk.rng.randrange(5, 80)):
        walk.step()
    walk.end()
