"""Our PRI trunk (Q.921, Q.931) against libpri, as user and as network, EuroISDN on E1 and NI-2 on T1.

All frames that we send in these tests are checked by tshark at the end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.cause import Cause
from gateway.core import MILLISECOND
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
from gateway.leg import Alerting, Answered, Digits, Held, MediaChanged, Proceeding, Progress, Released, Resumed
from gateway.media.api import Law
from gateway.pri.channels import ChannelState, Hunt
from gateway.pri.lapd import LapdTimer, Side
from gateway.pri.q931.timers import Q931Timer
from tests.interop.libpri import ALLOWED_PASSED, NATIONAL, RESTRICTED_PASSED, LibpriPeer
from tests.interop.our_trunk import OurTrunk, answer
from tests.interop.scenario import scenario
from tests.interop.wire_check import lapd_problems

PLAN = ["1=answer", "2=busy", "3=refuse:1", "4=ring", "5=inband", "6=dial:7", "7=reject:41", "8=slow:60", "9=ignore"]


@dataclass(frozen=True, slots=True)
class Variety:
    """One kind of line, and which side of it is ours."""

    switch: str
    line: str
    side: Side

    def __str__(self) -> str:
        return f"{self.switch}-{self.line}-{self.side.value}"

    @property
    def network(self) -> bool:
        return self.side is Side.NETWORK

    @property
    def euroisdn(self) -> bool:
        return self.switch == "euroisdn"


VARIETIES = [
    Variety(switch, line, side)
    for switch, line in (("euroisdn", "e1"), ("ni2", "t1"))
    for side in (Side.USER, Side.NETWORK)
]
EUROISDN = [variety for variety in VARIETIES if variety.euroisdn]
all_varieties = pytest.mark.parametrize("variety", VARIETIES, ids=str)
euroisdn_only = pytest.mark.parametrize("variety", EUROISDN, ids=str)


class Wire:
    """The frames we sent in all tests, by the side that was ours."""

    def __init__(self) -> None:
        self.frames: dict[Side, list[bytes]] = {Side.USER: [], Side.NETWORK: []}


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    gathered = Wire()
    yield gathered
    directory = tmp_path_factory.mktemp("wire")
    for side, frames in gathered.frames.items():
        if frames:
            path = directory / f"{side.value}.pcap"
            assert lapd_problems(path, frames, network=side is Side.NETWORK) == []


@asynccontextmanager
async def line_between(
    variety: Variety,
    directory: Path,
    wire: Wire,
    *,
    peer: dict[str, Any] | None = None,
    **ours: Any,
) -> AsyncIterator[tuple[OurTrunk, LibpriPeer]]:
    """Our trunk and libpri on one span, up; the exchange's end listens. Everything must be idle at the end."""
    trunk = OurTrunk(
        directory, side=variety.side, listen=variety.network, switch=variety.switch, line=variety.line, **ours
    )
    async with trunk, await start_peer(variety, directory, **(peer or {})) as far:
        await far.event("up", within=10)
        await trunk.up()
        try:
            yield trunk, far
        finally:
            wire.frames[variety.side] += trunk.sent


async def start_peer(variety: Variety, directory: Path, **options: Any) -> LibpriPeer:
    options = {"plan": PLAN, **options}
    return await LibpriPeer.start(
        directory,
        listen=not variety.network,
        side="user" if variety.network else "network",
        switch=variety.switch,
        line=variety.line,
        **options,
    )


# -- basic calls --


@all_varieties
@scenario
async def test_we_call_and_hang_up(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    async with line_between(variety, tmp_path, wire) as (ours, peer):
        call = ours.place("1000", caller=Party(Number("4165551234")))
        ring = await peer.event("ring", called="1000", caller="4165551234")
        await call.event(Proceeding)
        await call.event(Alerting)
        await call.event(Answered)
        assert ring["layer1"] == (35 if variety.line == "e1" else 34)
        stream = ours.media.streams[1]
        assert stream.path.endswith(f"/{ring['channel']}")
        assert stream.law is (Law.ALAW if variety.line == "e1" else Law.ULAW)
        ours.release(call)
        assert (await peer.event("hangup_request"))["cause"] == 16
        released = await call.event(Released)
        assert (released.cause, released.ours) == (Cause.NORMAL_CALL_CLEARING, True)
        await peer.event("hangup_ack")
        await ours.cleared()


@all_varieties
@scenario
async def test_we_call_and_they_hang_up(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    async with line_between(variety, tmp_path, wire) as (ours, peer):
        call = ours.place("1000")
        ring = await peer.event("ring")
        await call.event(Answered)
        peer.command("hangup", call=ring["call"], cause=31)
        released = await call.event(Released)
        assert (released.cause, released.ours) == (Cause.NORMAL_UNSPECIFIED, False)
        await peer.event("hangup", call=ring["call"])
        await ours.cleared()


@all_varieties
@scenario
async def test_they_call_and_hang_up(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    async with line_between(variety, tmp_path, wire, plan={"1": answer}) as (ours, peer):
        call = await peer.call("1000", caller="4165551234")
        script = await ours.offered()
        assert script.offered is not None
        assert script.offered.setup.called.digits == "1000"
        assert script.offered.setup.caller.number is not None
        assert script.offered.setup.caller.number.digits == "4165551234"
        await peer.event("proceeding", call=call)
        await peer.event("ringing", call=call)
        await peer.event("answer", call=call)
        peer.command("hangup", call=call, cause=16)
        released = await script.event(Released)
        assert (released.cause, released.ours) == (Cause.NORMAL_CALL_CLEARING, False)
        assert script.has(MediaChanged)
        await peer.event("hangup", call=call)
        await ours.cleared()


@all_varieties
@scenario
async def test_they_call_and_we_hang_up(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    async with line_between(variety, tmp_path, wire, plan={"1": answer}) as (ours, peer):
        call = await peer.call("1000")
        script = await ours.offered()
        await peer.event("answer", call=call)
        ours.release(script, Cause.NORMAL_UNSPECIFIED)
        assert (await peer.event("hangup_request", call=call))["cause"] == 31
        await script.event(Released)
        await ours.cleared()


# -- calls that fail --


@all_varieties
@pytest.mark.parametrize(
    ("called", "cause"),
    [("2000", Cause.USER_BUSY), ("3000", Cause.UNALLOCATED_NUMBER), ("7000", Cause.TEMPORARY_FAILURE)],
)
@scenario
async def test_their_refusal_comes_with_its_cause(
    tmp_path: Path, wire: Wire, variety: Variety, called: str, cause: Cause
) -> None:
    async with line_between(variety, tmp_path, wire) as (ours, _):
        call = ours.place(called)
        released = await call.event(Released)
        assert (released.cause, released.ours) == (cause, False)
        await ours.cleared()
        again = ours.place("1000")
        await again.event(Answered)
        ours.release(again)
        await ours.cleared()


@all_varieties
@pytest.mark.parametrize("cause", [Cause.USER_BUSY, Cause.UNALLOCATED_NUMBER, Cause.CALL_REJECTED])
@pytest.mark.parametrize("proceeding", [False, True])
@scenario
async def test_our_refusal_comes_with_its_cause(
    tmp_path: Path, wire: Wire, variety: Variety, cause: Cause, proceeding: bool
) -> None:
    async with line_between(variety, tmp_path, wire) as (ours, peer):
        call = await peer.call("1000")
        script = await ours.offered()
        assert script.leg is not None
        if proceeding:
            ours.call(script.leg.proceed)
        ours.release(script, cause)
        await script.event(Released)
        await peer.until(
            lambda: any(peer.seen("hangup") + peer.seen("hangup_request")), f"end of call {call}", within=5
        )
        assert (peer.seen("hangup_request") + peer.seen("hangup"))[0]["cause"] == cause
        await ours.cleared()


@all_varieties
@scenario
async def test_we_give_up_while_it_rings(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    async with line_between(variety, tmp_path, wire) as (ours, peer):
        call = ours.place("4000")
        await call.event(Alerting)
        ours.release(call)
        assert (await peer.event("hangup_request"))["cause"] == 16
        await call.event(Released)
        await ours.cleared()


@all_varieties
@scenario
async def test_they_give_up_while_it_rings(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    async with line_between(variety, tmp_path, wire) as (ours, peer):
        call = await peer.call("1000")
        script = await ours.offered()
        assert script.leg is not None
        ours.call(script.leg.proceed)
        ours.call(script.leg.alert, False)
        await peer.event("ringing", call=call)
        peer.command("hangup", call=call, cause=16)
        assert (await script.event(Released)).cause is Cause.NORMAL_CALL_CLEARING
        await ours.cleared()


@all_varieties
@scenario
async def test_inband_progress_is_told_both_ways(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    async with line_between(variety, tmp_path, wire) as (ours, peer):
        call = ours.place("5000")
        assert (await call.event(Progress)).inband
        ours.release(call)
        await call.event(Released)
        number = await peer.call("1000")
        script = await ours.offered()
        assert script.leg is not None
        ours.call(script.leg.proceed)
        ours.call(script.leg.progress, True)
        progress = await peer.event("progress", call=number)
        assert progress["progress"] & 8
        ours.call(script.leg.alert, True)
        assert (await peer.event("ringing", call=number))["progress"] & 8
        ours.release(script)
        await script.event(Released)
        await ours.cleared()


# -- identities --


@all_varieties
@scenario
async def test_our_identities_arrive(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    async with line_between(variety, tmp_path, wire) as (ours, peer):
        number = Number(
            "4165551234",
            TypeOfNumber.NATIONAL,
            NumberingPlan.ISDN,
            Presentation.RESTRICTED,
            Screening.USER_PASSED,
        )
        redirecting = Number("4165550001", TypeOfNumber.NATIONAL)
        call = ours.place(
            Number("1000", TypeOfNumber.SUBSCRIBER),
            caller=Party(number, "Zoe Angstrom"),
            redirection=Redirection(redirecting, RedirectionReason.NO_REPLY),
        )
        ring = await peer.event("ring")
        assert (ring["called"], ring["called_plan"]) == ("1000", 0x41)
        assert (ring["caller"], ring["caller_plan"]) == ("4165551234", NATIONAL)
        assert ring["caller_presentation"] == RESTRICTED_PASSED
        assert ring["redirectingnum"] == "4165550001"
        assert ring["redirecting_reason_ie"] == 2
        if variety.network or not variety.euroisdn:
            assert ring["name"] == "Zoe Angstrom"
        await call.event(Answered)
        ours.release(call)
        await call.event(Released)
        await ours.cleared()


@all_varieties
@scenario
async def test_their_identities_arrive(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    async with line_between(variety, tmp_path, wire) as (ours, peer):
        await peer.call(
            "1000",
            called_plan=0x41,
            caller="4165551234",
            caller_pres=RESTRICTED_PASSED,
            name="Zoe Angstrom",
        )
        script = await ours.offered()
        assert script.offered is not None and script.leg is not None
        setup = script.offered.setup
        assert setup.called == Number("1000", TypeOfNumber.SUBSCRIBER)
        assert setup.caller.number == Number(
            "4165551234",
            TypeOfNumber.NATIONAL,
            NumberingPlan.ISDN,
            Presentation.RESTRICTED,
            Screening.USER_PASSED,
        )
        if not variety.network or not variety.euroisdn:
            assert setup.caller.name == "Zoe Angstrom"
        ours.release(script)
        await ours.cleared()


@all_varieties
@scenario
async def test_their_redirection_arrives(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    # In EuroISDN libpri tells it as divertingLegInformation2 in Facility alone (ETS 300 207-1), else as an element.
    async with line_between(variety, tmp_path, wire) as (ours, peer):
        await peer.call("1000", redirecting="4165550001", redirecting_pres=ALLOWED_PASSED, reason=1)
        script = await ours.offered()
        assert script.offered is not None
        redirection = script.offered.setup.redirection
        assert redirection is not None
        assert redirection.number.digits == "4165550001"
        assert redirection.reason is RedirectionReason.BUSY
        ours.release(script)
        await ours.cleared()


@all_varieties
@scenario
async def test_the_connected_number_arrives_both_ways(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    async with line_between(variety, tmp_path, wire) as (ours, peer):
        call = ours.place("0")
        ring = await peer.event("ring")
        peer.command("proceed", call=ring["call"])
        peer.command("answer", call=ring["call"], connected="4165550003")
        answered = await call.event(Answered)
        assert answered.connected is not None and answered.connected.number is not None
        assert answered.connected.number.digits == "4165550003"
        ours.release(call)
        number = await peer.call("1000")
        script = await ours.offered()
        assert script.leg is not None
        ours.call(script.leg.answer, Party(Number("4165550004", TypeOfNumber.NATIONAL)))
        event = await peer.event("answer", call=number)
        assert event["connected"] == "4165550004"
        ours.release(script)
        await script.event(Released)
        await ours.cleared()


# -- overlap --


@euroisdn_only
@scenario
async def test_they_dial_digit_by_digit(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    peer_options = {"options": ["--overlap"]}
    async with line_between(variety, tmp_path, wire, peer=peer_options, overlap_receive=True) as (ours, peer):
        call = await peer.call("41", complete=0)
        script = await ours.offered()
        assert script.offered is not None and script.leg is not None
        assert (script.offered.setup.called.digits, script.offered.setup.complete) == ("41", False)
        await peer.event("setup_ack", call=call)
        peer.command("info", call=call, digits="65550")
        heard = ""
        while len(heard) < 5:
            heard += (await script.event(Digits)).digits
        assert heard == "65550"
        ours.call(script.leg.proceed)
        ours.call(script.leg.answer, None)
        await peer.event("answer", call=call)
        ours.release(script)
        await script.event(Released)
        await ours.cleared()


@euroisdn_only
@scenario
async def test_we_dial_digit_by_digit(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    peer_options = {"options": ["--overlap"]}
    async with line_between(variety, tmp_path, wire, peer=peer_options, overlap_send=True) as (ours, peer):
        call = ours.place("60", complete=False)
        assert (await peer.event("ring"))["called"] == "60"
        assert call.leg is not None
        for digit in "12345":
            ours.call(call.leg.digits, digit, False)
        await call.event(Proceeding)
        await call.event(Answered)
        heard = ""
        while len(heard) < 5:
            heard += (await peer.event("info"))["digits"]
        assert heard == "12345"
        ours.release(call)
        await call.event(Released)
        await ours.cleared()


# -- restarts --


@all_varieties
@scenario
async def test_restart_of_a_channel_by_us(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    async with line_between(variety, tmp_path, wire) as (ours, peer):
        call = ours.place("1000")
        await call.event(Answered)
        ours.call(ours.trunk.restart, 1)
        await peer.event("restart", channel=1)
        await call.event(Released)
        await ours.cleared()
        again = ours.place("1000")
        await again.event(Answered)
        ours.release(again)
        await ours.cleared()


@all_varieties
@scenario
async def test_restart_of_a_channel_by_them(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    async with line_between(variety, tmp_path, wire) as (ours, peer):
        call = ours.place("1000")
        ring = await peer.event("ring")
        await call.event(Answered)
        peer.command("reset", channel=ring["channel"])
        await peer.event("restart_ack", channel=ring["channel"])
        await call.event(Released)
        await ours.cleared()


@all_varieties
@scenario
async def test_libpri_is_killed_in_mid_call(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    async with line_between(variety, tmp_path, wire, plan={"1": answer}) as (ours, peer):
        call = ours.place("1000")
        await call.event(Answered)
        await peer.stop()
        async with await start_peer(variety, tmp_path) as again:
            await again.event("up", within=10)
            await call.event(Released, within=10)
            await ours.up()
            await ours.cleared()
            call = ours.place("1000")
            await call.event(Answered)
            ours.release(call)
            await ours.cleared()


@all_varieties
@scenario
async def test_we_are_killed_in_mid_call(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    async with line_between(variety, tmp_path, wire, plan={"1": answer}) as (ours, peer):
        number = await peer.call("1000")
        await peer.event("answer", call=number)
        ours.stop()
        again = OurTrunk(
            tmp_path,
            side=variety.side,
            listen=variety.network,
            switch=variety.switch,
            line=variety.line,
            plan={"1": answer},
            seed=2,
        )
        async with again:
            await again.up(within=10)
            await peer.until(
                lambda: any(peer.seen("hangup") + peer.seen("restart") + peer.seen("hangup_request")),
                "end of the call of before",
                within=10,
            )
            await again.cleared()
            call = again.place("1000")
            await call.event(Answered)
            again.release(call)
            await again.cleared()
            wire.frames[variety.side] += again.sent


@all_varieties
@scenario
async def test_an_active_call_outlives_a_short_cut_of_the_line(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    async with line_between(variety, tmp_path, wire) as (ours, peer):
        call = ours.place("1000")
        await call.event(Answered)
        peer.command("cut")
        await ours.until(lambda: not ours.trunk.up, "down")
        peer.command("join")
        await ours.up(within=10)
        assert call.released is None
        ours.release(call)
        assert (await peer.event("hangup_request"))["cause"] == 16
        await call.event(Released)
        await ours.cleared()


# -- loss --


@all_varieties
@scenario
async def test_ten_percent_of_lost_frames(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    peer_options = {"loss": 0.1, "seed": 5, "timers": ["T200=100", "N200=8"]}
    timers = {LapdTimer.T200: 100 * MILLISECOND, LapdTimer.N200: 8}
    async with line_between(variety, tmp_path, wire, peer=peer_options, plan={"1": answer}, lapd_timers=timers) as (
        ours,
        peer,
    ):
        for turn in range(12):
            if turn % 2:
                script = ours.place("1000")
                await script.event(Answered, within=15)
                ours.release(script)
                await script.event(Released, within=15)
            else:
                number = await peer.call("1000")
                await peer.event("answer", call=number, within=15)
                peer.command("hangup", call=number)
                await peer.event("hangup", call=number, within=15)
        await ours.cleared(within=15)
        assert sum(frame.lost for frame in peer.frames()) > 3


# -- many calls, one channel, no answer --


@all_varieties
@scenario
async def test_all_channels_are_taken_and_given_back(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    async with line_between(variety, tmp_path, wire, plan={"1": answer}) as (ours, peer):
        channels = 30 if variety.line == "e1" else 23
        calls = [ours.place("1000") for _ in range(channels)]
        assert ours.call(ours.trunk.new_leg, Hunt.ASCENDING) is Cause.NO_CIRCUIT_AVAILABLE
        for call in calls:
            await call.event(Answered)
        assert len({stream.path for stream in ours.media.open_streams}) == channels
        for call in calls:
            ours.release(call)
        await ours.cleared()
        numbers = [await peer.call("1000") for _ in range(channels)]
        for number in numbers:
            await peer.event("answer", call=number)
        for number in numbers:
            peer.command("hangup", call=number)
        await ours.cleared()


@all_varieties
@scenario
async def test_glare_leaves_nothing_behind(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    async with line_between(variety, tmp_path, wire, plan={"1": answer}) as (ours, peer):
        for _ in range(5):
            peer.command("call", called="1000", channel=1)
            ours_first = ours.place("1000")
            theirs = (await peer.event("placed"))["call"]
            ends = ("answer", "hangup", "hangup_request")
            settled = await peer.first_event(ends, call=theirs, within=6)
            if settled["event"] == "answer":
                peer.command("hangup", call=theirs)
            ours.release(ours_first)
            await ours_first.event(Released)
            await ours.cleared()
            peer.pending.clear()


@all_varieties
@scenario
async def test_a_setup_that_nobody_answers_is_given_up(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    timers = {Q931Timer.T303: 500 * MILLISECOND}
    async with line_between(variety, tmp_path, wire, q931_timers=timers) as (ours, _):
        call = ours.place("9000")
        released = await call.event(Released)
        # Q.931 5.1.1 for the user side, 5.2.5.3 for the network side.
        assert released.cause is (Cause.NO_USER_RESPONDING if variety.network else Cause.RECOVERY_ON_TIMER_EXPIRY)
        await ours.cleared()


# -- in the call --


@euroisdn_only
@scenario
async def test_hold_is_told_by_notify_both_ways(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    async with line_between(variety, tmp_path, wire) as (ours, peer):
        call = ours.place("1000")
        ring = await peer.event("ring")
        await call.event(Answered)
        assert call.leg is not None
        ours.call(call.leg.hold)
        assert (await peer.event("notify"))["info"] == 0x79
        ours.call(call.leg.resume)
        assert (await peer.event("notify"))["info"] == 0x7A
        peer.command("notify", call=ring["call"], info=0x79)
        await call.event(Held)
        peer.command("notify", call=ring["call"], info=0x7A)
        await call.event(Resumed)
        ours.release(call)
        await ours.cleared()


@pytest.mark.parametrize("variety", [variety for variety in VARIETIES if not variety.euroisdn], ids=str)
@scenario
async def test_service_takes_a_channel_out_and_back(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    async with line_between(variety, tmp_path, wire, peer={"options": ["--service"]}) as (ours, peer):
        ours.call(ours.trunk.block, 5)
        assert (await peer.event("service", channel=5))["status"] == 2
        ours.call(ours.trunk.unblock, 5)
        assert (await peer.event("service", channel=5))["status"] == 0
        peer.command("service", channel=1, status=2)
        await peer.event("service_ack", channel=1)
        channel = ours.trunk.channels.get(1)
        assert channel is not None
        assert channel.state is ChannelState.BLOCKED
        call = ours.place("1000")
        assert (await peer.event("ring"))["channel"] == 2
        await call.event(Answered)
        ours.release(call)
        peer.command("service", channel=1, status=0)
        await ours.cleared()
