"""Our PRI trunk against libpri: restarts, either end killed, lost frames, all channels taken, glare, no answer."""

from __future__ import annotations

from pathlib import Path

from gateway.cause import Cause
from gateway.core import MILLISECOND
from gateway.leg import Answered, Released
from gateway.pri.channels import Hunt
from gateway.pri.lapd import LapdTimer
from gateway.pri.q931.timers import Q931Timer
from tests.interop.libpri_lines import Variety, Wire, all_varieties, line_between, start_peer
from tests.interop.our_trunk import OurTrunk, answer
from tests.interop.scenario import scenario

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
            await again.event("up")
            await call.event(Released)
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
            await again.up()
            await peer.until(
                lambda: any(peer.seen("hangup") + peer.seen("restart") + peer.seen("hangup_request")),
                "end of the call of before",
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
        await ours.up()
        assert call.released is None
        ours.release(call)
        assert (await peer.event("hangup_request"))["cause"] == 16
        await call.event(Released)
        await ours.cleared()


# -- loss --


@all_varieties
@scenario
async def test_ten_percent_of_lost_frames(tmp_path: Path, wire: Wire, variety: Variety) -> None:
    peer_options = {"loss": 0.1, "seed": 5, "timers": ["T200=100", "N200=20"]}
    timers = {LapdTimer.T200: 100 * MILLISECOND, LapdTimer.N200: 20}
    async with line_between(variety, tmp_path, wire, peer=peer_options, plan={"1": answer}, lapd_timers=timers) as (
        ours,
        peer,
    ):
        for turn in range(12):
            if turn % 2:
                script = ours.place("1000")
                await script.event(Answered)
                ours.release(script)
                await script.event(Released)
            else:
                number = await peer.call("1000")
                await peer.event("answer", call=number)
                peer.command("hangup", call=number)
                await peer.event("hangup", call=number)
        await ours.cleared()
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
            settled = await peer.first_event(ends, call=theirs)
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
