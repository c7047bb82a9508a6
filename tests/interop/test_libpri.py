"""Our PRI trunk (Q.921, Q.931) against libpri, as user and as network, EuroISDN on E1 and NI-2 on T1: plain calls.

All frames that we send in these tests are checked by tshark at the end.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cause import Cause
from gateway.identity import (
    Number,
    Party,
)
from gateway.leg import Alerting, Answered, MediaChanged, Proceeding, Progress, Released
from gateway.media.api import Law
from tests.interop.libpri_lines import Variety, Wire, all_varieties, line_between
from tests.interop.our_trunk import answer
from tests.interop.scenario import scenario

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
        await peer.until(lambda: any(peer.seen("hangup") + peer.seen("hangup_request")), f"end of call {call}")
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
