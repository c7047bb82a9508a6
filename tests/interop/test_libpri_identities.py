"""Our PRI trunk against libpri: numbers, names, redirections, digits one by one, notifications."""

from __future__ import annotations

from pathlib import Path

import pytest

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
from gateway.leg import Answered, Digits, Held, Proceeding, Released, Resumed
from gateway.pri.channels import ChannelState
from tests.interop.libpri import ALLOWED_PASSED, NATIONAL, RESTRICTED_PASSED
from tests.interop.libpri_lines import VARIETIES, Variety, Wire, all_varieties, euroisdn_only, line_between
from tests.interop.scenario import scenario

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
