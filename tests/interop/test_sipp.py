"""Our SIP endpoint against sipp with scenarios of ours, in both roles, over UDP and TCP.

All messages that we send in these tests are checked by tshark at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.cause import Cause
from gateway.identity import Number, Party, Presentation, Redirection, RedirectionReason
from gateway.leg import Alerting, Answered, Held, Progress, Released, Resumed
from gateway.media.api import Codec
from gateway.voip.sip.peers import Reliability, SessionTimers
from tests.interop.our_sip import OurSip, answer, answer_early, answer_later, refuse, ring, trunk
from tests.interop.program import free_port
from tests.interop.scenario import scenario
from tests.interop.sipp import Sipp
from tests.interop.wire_check import sip_problems

PLAN = {
    "1": answer,
    "2": answer_early,
    "3": ring,
    "4": refuse(Cause.USER_BUSY),
    "5": refuse(Cause.UNALLOCATED_NUMBER),
    "6": answer_later,
}
transports = pytest.mark.parametrize("transport", ["udp", "tcp"])


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[bytes]]:
    gathered: list[bytes] = []
    yield gathered
    if gathered:
        assert sip_problems(tmp_path_factory.mktemp("wire") / "sip.pcap", gathered) == []


@asynccontextmanager
async def called_by_sipp(
    wire: list[bytes],
    directory: Path,
    name: str,
    service: str,
    *,
    transport: str = "udp",
    ours: dict[str, Any] | None = None,
    **arguments: Any,
) -> AsyncIterator[tuple[OurSip, Sipp]]:
    """Scenario ``name`` of sipp calls ``service`` at our endpoint."""
    port = free_port()
    settings: dict[str, Any] = {"plan": PLAN, **(ours or {})}
    peer = trunk(port, transport=transport.upper(), **settings.pop("peer", {}))
    async with OurSip(peers=(peer,), **settings) as sip:
        remote = ("127.0.0.1", sip.port)
        async with await Sipp.start(
            name, directory, remote=remote, port=port, transport=transport, service=service, **arguments
        ) as uac:
            yield sip, uac
            await sip.cleared()
        wire += sip.sent


@asynccontextmanager
async def calling_sipp(
    wire: list[bytes],
    directory: Path,
    name: str,
    *,
    transport: str = "udp",
    peer: dict[str, Any] | None = None,
    **arguments: Any,
) -> AsyncIterator[tuple[OurSip, Sipp]]:
    """Scenario ``name`` of sipp waits for a call of ours to the trunk ``peer``."""
    async with await Sipp.start(name, directory, transport=transport, **arguments) as uas:
        settings = trunk(uas.port, transport=transport.upper(), **(peer or {}))
        async with OurSip(peers=(settings,)) as sip:
            yield sip, uas
            await sip.cleared()
            wire += sip.sent


# -- sipp calls --


@transports
@pytest.mark.parametrize("name", ["uac_basic", "uac_ringing", "uac_compact", "uac_offerless", "uac_update", "uac_hold"])
@scenario
async def test_sipp_calls_us(tmp_path: Path, wire: list[bytes], name: str, transport: str) -> None:
    async with called_by_sipp(wire, tmp_path, name, "1000", transport=transport, pause=30) as (sip, uac):
        script = await sip.offered()
        assert script.offered is not None
        assert script.offered.setup.called.digits == "1000"
        await uac.succeed()
        released = await script.event(Released)
        assert (released.cause, released.ours) == (Cause.NORMAL_CALL_CLEARING, False)


@scenario
async def test_sipp_gets_early_media(tmp_path: Path, wire: list[bytes]) -> None:
    async with called_by_sipp(wire, tmp_path, "uac_early", "2000", pause=30) as (_, uac):
        await uac.succeed()


@scenario
async def test_sipp_gives_up_while_it_rings(tmp_path: Path, wire: list[bytes]) -> None:
    async with called_by_sipp(wire, tmp_path, "uac_cancel", "3000", pause=30) as (sip, uac):
        script = await sip.offered()
        await uac.succeed()
        assert (await script.event(Released)).ours is False


@pytest.mark.parametrize(("service", "code", "cause"), [("4000", 486, 17), ("5000", 404, 1)])
@scenario
async def test_our_refusal_has_status_and_reason(
    tmp_path: Path, wire: list[bytes], service: str, code: int, cause: int
) -> None:
    async with called_by_sipp(wire, tmp_path, "uac_refused", service, code=code) as (_, uac):
        await uac.succeed()
        refusal = next(m.data for m in uac.messages() if not m.sent and b" %d " % code in m.data[:20])
        assert b"Reason: Q.850;cause=%d" % cause in refusal


@scenario
async def test_sipp_waits_for_our_bye(tmp_path: Path, wire: list[bytes]) -> None:
    async with called_by_sipp(wire, tmp_path, "uac_wait_bye", "1000") as (sip, uac):
        script = await sip.offered()
        await uac.exchanged(b"ACK sip", sent=True)
        sip.release(script, Cause.NORMAL_UNSPECIFIED)
        await uac.succeed()
        bye = next(m.data for m in uac.messages() if m.data.startswith(b"BYE"))
        assert b"Reason: Q.850;cause=31" in bye


@scenario
async def test_hold_and_resume_by_sipp_are_told(tmp_path: Path, wire: list[bytes]) -> None:
    async with called_by_sipp(wire, tmp_path, "uac_hold", "1000", pause=30) as (sip, uac):
        script = await sip.offered()
        await script.event(Held)
        await script.event(Resumed)
        await script.event(Held)
        await script.event(Resumed)
        await uac.succeed()


@scenario
async def test_sipp_requires_reliable_provisional_responses(tmp_path: Path, wire: list[bytes]) -> None:
    async with called_by_sipp(wire, tmp_path, "uac_100rel", "6000", provisional=180, pause=30) as (_, uac):
        await uac.succeed()


@scenario
async def test_a_prack_that_crosses_our_answer_is_accepted(tmp_path: Path, wire: list[bytes]) -> None:
    # RFC 3262 3: after a final response the UAS must still be prepared for the PRACK of an earlier one.
    async with called_by_sipp(wire, tmp_path, "uac_100rel_crossing", "1000", provisional=180) as (_, uac):
        await uac.succeed()


@scenario
async def test_sipp_wants_session_timers(tmp_path: Path, wire: list[bytes]) -> None:
    async with called_by_sipp(wire, tmp_path, "uac_session_timer", "1000") as (_, uac):
        await uac.succeed()


@transports
@scenario
async def test_sipp_asks_for_our_options(tmp_path: Path, wire: list[bytes], transport: str) -> None:
    async with called_by_sipp(wire, tmp_path, "uac_options", "", transport=transport, calls=5) as (_, uac):
        assert (await uac.succeed()).successful == 5


@scenario
async def test_the_caller_of_sipp_is_known(tmp_path: Path, wire: list[bytes]) -> None:
    headers = [
        'P-Asserted-Identity: "Zoe" <sip:+14165559999@127.0.0.1>',
        "Diversion: <sip:4165550001@127.0.0.1>;reason=user-busy;counter=1",
        "Privacy: id",
    ]
    async with called_by_sipp(wire, tmp_path, "uac_basic", "1000", headers=headers, display="Zoe ") as (sip, uac):
        script = await sip.offered()
        assert script.offered is not None
        setup = script.offered.setup
        assert setup.caller.number is not None and setup.redirection is not None
        assert setup.caller.number.digits == "14165559999"
        assert setup.caller.number.presentation is Presentation.RESTRICTED
        assert setup.redirection.number.digits == "4165550001"
        assert setup.redirection.reason is RedirectionReason.BUSY
        await uac.succeed()


@scenario
async def test_fifty_calls_a_second_from_sipp(tmp_path: Path) -> None:
    wire: list[bytes] = []
    arguments: dict[str, Any] = {"calls": 150, "rate": 50, "trace": False, "pause": 100}
    async with called_by_sipp(wire, tmp_path, "uac_basic", "1000", **arguments) as (sip, uac):
        result = await uac.succeed()
        assert result.successful == 150
        assert all(script.released for script in sip.scripts)


# -- we call --


@transports
@pytest.mark.parametrize("name", ["uas_basic", "uas_early", "uas_slow", "uas_100rel"])
@scenario
async def test_we_call_sipp(tmp_path: Path, wire: list[bytes], name: str, transport: str) -> None:
    async with calling_sipp(wire, tmp_path, name, transport=transport) as (sip, uas):
        call = sip.place("peer", "4165550100", caller=Party(Number("4165551234"), "Zoe"))
        await call.event(Answered)
        stream = sip.media.streams[1]
        assert stream.settings is not None
        assert (stream.settings.address, stream.settings.port) == ("127.0.0.1", uas.rtp_port)
        assert stream.settings.codec is Codec.ALAW
        if name in ("uas_early", "uas_100rel"):
            assert any(isinstance(event, Progress | Alerting) and event.inband for event in call.events)
        sip.release(call)
        assert (await call.event(Released)).ours
        await uas.succeed()


@scenario
async def test_sipp_hangs_up_with_a_reason(tmp_path: Path, wire: list[bytes]) -> None:
    async with calling_sipp(wire, tmp_path, "uas_bye", pause=30) as (sip, uas):
        call = sip.place("peer", "4165550100")
        released = await call.event(Released)
        assert (released.cause, released.ours) == (Cause.NORMAL_UNSPECIFIED, False)
        await uas.succeed()


@pytest.mark.parametrize(
    ("code", "headers", "cause"),
    [
        (404, [], Cause.UNALLOCATED_NUMBER),
        (480, [], Cause.NO_USER_RESPONDING),
        (486, [], Cause.USER_BUSY),
        (503, [], Cause.TEMPORARY_FAILURE),
        (600, [], Cause.USER_BUSY),
        (603, [], Cause.CALL_REJECTED),
        (500, ["Reason: Q.850;cause=27"], Cause.DESTINATION_OUT_OF_ORDER),
    ],
)
@scenario
async def test_sipp_refuses(tmp_path: Path, wire: list[bytes], code: int, headers: list[str], cause: Cause) -> None:
    async with calling_sipp(wire, tmp_path, "uas_reject", code=code, reason="No", headers=headers) as (sip, uas):
        call = sip.place("peer", "4165550100")
        released = await call.event(Released)
        assert (released.cause, released.ours) == (cause, False)
        await uas.succeed()


@pytest.mark.parametrize("name", ["uas_no_answer", "uas_cancel_race"])
@scenario
async def test_we_give_up_while_sipp_rings(tmp_path: Path, wire: list[bytes], name: str) -> None:
    async with calling_sipp(wire, tmp_path, name) as (sip, uas):
        call = sip.place("peer", "4165550100")
        await call.event(Alerting)
        sip.release(call)
        assert (await call.event(Released)).ours
        await uas.succeed()


@scenario
async def test_sipp_holds_us_and_hangs_up(tmp_path: Path, wire: list[bytes]) -> None:
    async with calling_sipp(wire, tmp_path, "uas_hold", pause=30) as (sip, uas):
        call = sip.place("peer", "4165550100")
        await call.event(Held)
        await call.event(Resumed)
        await call.event(Released)
        await uas.succeed()


@scenario
async def test_sipp_updates_the_session(tmp_path: Path, wire: list[bytes]) -> None:
    async with calling_sipp(wire, tmp_path, "uas_update") as (sip, uas):
        call = sip.place("peer", "4165550100")
        await call.event(Released)
        await uas.succeed()


@scenario
async def test_we_hold_sipp_and_resume(tmp_path: Path, wire: list[bytes]) -> None:
    async with calling_sipp(wire, tmp_path, "uas_held_once") as (sip, uas):
        call = sip.place("peer", "4165550100")
        await call.event(Answered)
        assert call.leg is not None
        sip.call(call.leg.hold)
        await uas.exchanged(b"ACK", sent=False, count=2)
        sip.call(call.leg.resume)
        await uas.exchanged(b"ACK", sent=False, count=3)
        sip.release(call)
        await uas.succeed()


@scenario
async def test_sipp_wants_a_longer_session_interval(tmp_path: Path, wire: list[bytes]) -> None:
    peer = {"session_timers": SessionTimers.ORIGINATE}
    async with calling_sipp(wire, tmp_path, "uas_session_timer", peer=peer) as (sip, uas):
        call = sip.place("peer", "4165550100")
        await call.event(Answered)
        sip.release(call)
        await uas.succeed()


@scenario
async def test_both_branches_of_a_fork_answer(tmp_path: Path, wire: list[bytes]) -> None:
    async with calling_sipp(wire, tmp_path, "uas_fork") as (sip, uas):
        call = sip.place("peer", "4165550100")
        await call.event(Answered)
        await uas.exchanged(b"BYE", sent=False)
        assert call.released is None
        sip.release(call)
        await uas.succeed()


@scenario
async def test_a_late_offer_is_answered_in_the_ack(tmp_path: Path, wire: list[bytes]) -> None:
    async with calling_sipp(wire, tmp_path, "uas_offerless", peer={"late_offer": True}) as (sip, uas):
        call = sip.place("peer", "4165550100")
        await call.event(Answered)
        sip.release(call)
        await uas.succeed()


@scenario
async def test_a_redirection_is_followed(tmp_path: Path, wire: list[bytes]) -> None:
    async with await Sipp.start("uas_basic", tmp_path) as second:
        contact = f"sip:4165550199@127.0.0.1:{second.port}"
        async with calling_sipp(wire, tmp_path, "uas_redirect", contact=contact, peer={"follow_redirects": True}) as (
            sip,
            uas,
        ):
            call = sip.place("peer", "4165550100")
            await call.event(Answered)
            sip.release(call)
            await uas.succeed()
            await second.succeed()


@scenario
async def test_a_redirection_is_a_cause_where_it_is_not_followed(tmp_path: Path, wire: list[bytes]) -> None:
    async with calling_sipp(wire, tmp_path, "uas_redirect") as (sip, uas):
        call = sip.place("peer", "4165550100")
        assert (await call.event(Released)).ours is False
        await uas.succeed()


@scenario
async def test_our_identities_are_in_the_invite(tmp_path: Path, wire: list[bytes]) -> None:
    async with calling_sipp(wire, tmp_path, "uas_basic") as (sip, uas):
        caller = Party(Number("4165551234", presentation=Presentation.RESTRICTED), "Zoe")
        redirection = Redirection(Number("4165550001"), RedirectionReason.NO_REPLY)
        call = sip.place("peer", "4165550100", caller=caller, redirection=redirection)
        await call.event(Answered)
        sip.release(call)
        await uas.succeed()
        invite = next(m.data.decode() for m in uas.messages() if m.data.startswith(b"INVITE"))
        lines = invite.split("\r\n")
        assert any(line.startswith("P-Asserted-Identity:") and "4165551234" in line for line in lines)
        assert any(line.startswith("Privacy:") and "id" in line for line in lines)
        assert any(line.startswith("Diversion:") and "no-answer" in line for line in lines)
        assert "4165551234" not in next(line for line in lines if line.startswith("From:"))


@scenario
async def test_fifty_calls_a_second_to_sipp(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"calls": 100, "trace": False, "ring": 20}
    async with calling_sipp([], tmp_path, "uas_basic", **arguments) as (sip, uas):
        calls = []
        for _ in range(100):
            calls.append(sip.place("peer", "4165550100"))
            await asyncio.sleep(0.02)
        for call in calls:
            await call.event(Answered)
            sip.release(call)
        result = await uas.succeed()
        assert result.successful == 100


@scenario
async def test_a_peer_without_100rel_refuses_it_when_required(tmp_path: Path, wire: list[bytes]) -> None:
    peer = {"reliable": Reliability.OFF}
    async with called_by_sipp(
        wire, tmp_path, "uac_refused", "1000", code=420, headers=["Require: 100rel"], ours={"peer": peer}
    ) as (_, uac):
        await uac.succeed()
