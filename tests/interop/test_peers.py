"""The peers prove themselves against each other, so that a failure of another test here is the product's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.interop.baresip import Baresip
from tests.interop.held_up import Moment, Watch
from tests.interop.kamailio import Kamailio
from tests.interop.libpri import LibpriPeer
from tests.interop.program import PATIENCE, PeerError, Program, find_program
from tests.interop.scenario import scenario
from tests.interop.sipp import Sipp
from tests.interop.tone import measure_tone, write_tone
from tests.interop.wire_check import lapd_problems, sip_problems

LINES = [("euroisdn", "e1"), ("ni2", "t1")]

SIPP_PAIRS = [
    ("uac_basic", "uas_basic", {}),
    ("uac_basic", "uas_basic", {"transport": "tcp"}),
    ("uac_wait_bye", "uas_bye", {}),
    ("uac_early", "uas_early", {}),
    ("uac_cancel", "uas_no_answer", {}),
    ("uac_refused", "uas_reject", {"code": 603, "reason": "Decline", "headers": ["Reason: Q.850;cause=21"]}),
    ("uac_refused", "uas_redirect", {"code": 302}),
    ("uac_hold", "uas_held", {"pause": 20}),
    ("uac_offerless", "uas_basic", {}),
    ("uac_100rel", "uas_100rel", {"provisional": 183}),
    ("uac_compact", "uas_slow", {}),
]


def test_a_missing_peer_is_an_error_that_names_its_package() -> None:
    with pytest.raises(PeerError, match="apt-get install no-package"):
        find_program("no-such-program", "no-package")


def runs(process: str) -> bool:
    """Whether ``process`` is there, and not only as what is left until its parent asks for it."""
    status = Path("/proc", process, "status")
    return status.exists() and "State:\tZ" not in status.read_text()


@scenario
async def test_children_of_a_program_end_with_it() -> None:
    program = Program("shell", await Program.spawn(["sh", "-c", "sleep 600 & echo $!; wait"]))
    await program.until(lambda: bool(program.lines), "its child's number")
    await program.stop()
    # Its pipes close, which is what is waited for, a moment before it is gone.
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while runs(program.lines[0]):
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(("frequency", "level"), [(800.0, -10.0), (1004.0, -16.0), (440.0, 3.0)])
def test_a_tone_is_measured_as_it_was_made(tmp_path: Path, frequency: float, level: float) -> None:
    heard = measure_tone(write_tone(tmp_path / "tone.wav", frequency, seconds=2.0, level=level))
    assert heard.frequency == pytest.approx(frequency, abs=1.0)
    assert heard.level == pytest.approx(level, abs=0.1)
    assert heard.purity > 0.99
    assert heard.audible == 2.0


def test_silence_has_no_tone(tmp_path: Path) -> None:
    heard = measure_tone(write_tone(tmp_path / "tone.wav", 800, seconds=1.0, level=-90))
    assert (heard.frequency, heard.audible) == (0.0, 0.0)


def test_what_was_heard_while_the_machine_was_busy_is_told_from_the_rest() -> None:
    watch = Watch((), lambda: 0)
    # Quarters of a second, of which the fourth was held up.
    watch.moments += [Moment(n / 4, (n + 1) / 4, (n + 1) * 100, held_up=n == 3) for n in range(8)]
    assert not watch.held_up(0, 100, 0.5)
    told = [watch.held_up(first, first + 100, 0.5) for first in range(200, 800, 100)]
    assert told == [False, True, True, True, True, False]
    assert watch.held_up(900, 1000, 0.5)  # nobody saw that


@pytest.mark.parametrize(("switch", "line"), LINES)
@scenario
async def test_libpri_calls_libpri_both_ways(tmp_path: Path, switch: str, line: str) -> None:
    plan = ["1=answer", "2=busy", "3=refuse:1", "4=ring"]
    async with (
        await LibpriPeer.start(tmp_path, switch=switch, line=line, plan=plan) as network,
        await LibpriPeer.start(tmp_path, side="user", listen=False, switch=switch, line=line, plan=plan) as user,
    ):
        await network.event("up")
        await user.event("up")
        for caller, called in ((user, network), (network, user)):
            call = await caller.call("1000", caller="4165551234")
            assert (await called.event("ring"))["caller"] == "4165551234"
            await caller.event("answer", call=call)
            caller.command("hangup", call=call, cause=16)
            assert (await called.event("hangup_request"))["cause"] == 16
            await caller.event("hangup", call=call)
            call = await caller.call("2000")
            assert (await caller.event("hangup_request", call=call))["cause"] == 17
            call = await caller.call("3000")
            assert (await caller.event("hangup", call=call))["cause"] == 1
            call = await caller.call("4000")
            await caller.event("ringing", call=call)
            caller.command("hangup", call=call, cause=16)
            await called.event("hangup_request", cause=16)
        sent = [frame.octets for frame in user.frames() if not frame.received]
        assert lapd_problems(tmp_path / "user.pcap", sent, network=False) == []


@scenario
async def test_libpri_survives_lost_frames_and_a_cut_cable(tmp_path: Path) -> None:
    timers = ["T200=100", "N200=20"]
    async with (
        await LibpriPeer.start(tmp_path, plan=["1=answer"], timers=timers) as network,
        await LibpriPeer.start(tmp_path, side="user", listen=False, timers=timers, loss=0.1, seed=7) as user,
    ):
        await user.event("up")
        for _ in range(10):
            call = await user.call("1000")
            await user.event("answer", call=call)
            user.command("hangup", call=call)
            await user.event("hangup", call=call)
        assert any(frame.lost for frame in user.frames())
        network.command("cut")
        await user.event("line", connected=False)
        network.command("join")
        await user.event("line", connected=True, alarm="none")
        call = await user.call("1000")
        await user.event("answer", call=call)


def test_the_decoder_sees_a_spoilt_frame(tmp_path: Path) -> None:
    setup = bytes.fromhex("00010000080200010504038090a31803a983817005a131323334a1")
    assert lapd_problems(tmp_path / "good.pcap", [setup], network=False) == []
    assert lapd_problems(tmp_path / "bad.pcap", [setup[:-3]], network=False)
    request = b"OPTIONS sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\nCSeq: 1 OPTIONS\r\n"
    request += b"From: <sip:b@127.0.0.1>;tag=1\r\nTo: <sip:a@127.0.0.1>\r\nCall-ID: 1\r\nMax-Forwards: 70\r\n\r\n"
    assert sip_problems(tmp_path / "good-sip.pcap", [request]) == []
    assert sip_problems(tmp_path / "bad-sip.pcap", [b"nonsense\r\n\r\n"])


@pytest.mark.parametrize(("caller", "called", "arguments"), SIPP_PAIRS)
@scenario
async def test_sipp_calls_sipp(tmp_path: Path, caller: str, called: str, arguments: dict[str, object]) -> None:
    async with await Sipp.start(called, tmp_path, **arguments) as uas:  # type: ignore[arg-type]
        address = ("127.0.0.1", uas.port)
        async with await Sipp.start(caller, tmp_path, remote=address, **arguments) as uac:  # type: ignore[arg-type]
            await uac.succeed()
            await uas.succeed()
            # Each may come twice: who waits for long, on a busy machine, sends again.
            ours, theirs = ({(m.sent, m.data) for m in peer.messages()} for peer in (uac, uas))
            assert len(ours) == len(theirs) > 2


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@scenario
async def test_kamailio_stands_between_sipp_and_sipp(tmp_path: Path, transport: str) -> None:
    async with await Sipp.start("uas_held", tmp_path, transport=transport) as uas:
        routes = {"41": [f"127.0.0.1:{uas.port};transport={transport}"]}
        async with (
            await Kamailio.start(tmp_path, routes) as proxy,
            await Sipp.start(
                "uac_hold", tmp_path, remote=("127.0.0.1", proxy.port), transport=transport, pause=20
            ) as uac,
        ):
            await uac.succeed()
            await uas.succeed()
        assert all(b"Record-Route" in m.data for m in uas.messages() if not m.sent and b" INVITE" in m.data[:9])


@scenario
async def test_baresip_hears_what_sipp_echoes(tmp_path: Path) -> None:
    async with (
        await Baresip.start(tmp_path / "phone", tone=600) as phone,
        await Sipp.start("uas_basic", tmp_path, echo=True) as uas,
    ):
        await phone.dial(f"sip:1@127.0.0.1:{uas.port}")
        await phone.event("CALL_ESTABLISHED")
        await phone.hears(600.0)
        await phone.hang_up()
        await uas.succeed()
        await phone.event("CALL_CLOSED")
        assert phone.heard().purity > 0.9


@scenario
async def test_sipp_calls_baresip(tmp_path: Path) -> None:
    async with await Baresip.start(tmp_path / "phone") as phone:
        async with await Sipp.start(
            "uac_basic", tmp_path, remote=("127.0.0.1", phone.sip_port), service="phone"
        ) as uac:
            await uac.succeed()
        closed = await phone.event("CALL_CLOSED")
        assert closed["direction"] == "incoming"
