"""Our SIP endpoint and baresip, a telephone of others: calls both ways, voice that comes back, hold, busy."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from gateway.cause import Cause
from gateway.identity import Number, Party
from gateway.leg import Alerting, Answered, Held, Released, Resumed
from gateway.media.api import Codec
from gateway.voip.sip.codecs import CODECS
from gateway.voip.sip.peers import PeerKind, PeerSettings
from tests.interop.baresip import Baresip
from tests.interop.our_sip import OurSip, answer, refuse, ring, trunk
from tests.interop.program import PeerError
from tests.interop.scenario import scenario

PLAN = {"1": answer, "3": ring, "4": refuse(Cause.USER_BUSY)}
transports = pytest.mark.parametrize("transport", ["udp", "tcp"])


def phone_at(phone: Baresip, **settings: Any) -> PeerSettings:
    """Baresip as a phone of ours: called by its own name, as it knows no other."""
    return trunk(phone.sip_port, name="phone", kind=PeerKind.PHONE, **settings)


@transports
@scenario
async def test_we_call_the_phone_and_it_hears_itself(tmp_path: Path, transport: str) -> None:
    async with await Baresip.start(tmp_path / "phone", tone=600, transport=transport) as phone:
        peer = phone_at(phone, transport=transport.upper())
        async with OurSip(peers=(peer,)) as sip:
            call = sip.place("phone", "100", caller=Party(Number("4165551234"), "Zoe"))
            await call.event(Answered)
            incoming = await phone.event("CALL_ESTABLISHED")
            assert incoming["direction"] == "incoming"
            assert "4165551234" in incoming["peeruri"]
            await phone.hears(600.0)
            sip.release(call)
            assert (await call.event(Released)).ours
            await phone.event("CALL_CLOSED")
            await sip.cleared()
            assert sip.media.streams[1].received > 20


@transports
@scenario
async def test_the_phone_calls_us_and_hears_itself(tmp_path: Path, transport: str) -> None:
    async with (
        await Baresip.start(tmp_path / "phone", tone=700, transport=transport) as phone,
        OurSip(plan=PLAN, peers=(phone_at(phone),)) as sip,
    ):
        await phone.dial(f"sip:1000@127.0.0.1:{sip.port};transport={transport}")
        await phone.event("CALL_ESTABLISHED")
        script = await sip.offered()
        assert script.offered is not None
        assert (script.offered.setup.called.digits, script.offered.source) == ("1000", "phone")
        await phone.hears(700.0)
        await phone.hang_up()
        released = await script.event(Released)
        assert (released.cause, released.ours) == (Cause.NORMAL_CALL_CLEARING, False)
        await sip.cleared()


@scenario
async def test_the_codec_is_the_one_that_both_have(tmp_path: Path) -> None:
    async with await Baresip.start(tmp_path / "phone", codecs="PCMU") as phone:
        peer = phone_at(phone, codecs=(CODECS["alaw"], CODECS["ulaw"]))
        async with OurSip(peers=(peer,)) as sip:
            call = sip.place("phone", "100")
            await call.event(Answered)
            settings = sip.media.streams[1].settings
            assert settings is not None
            assert settings.codec is Codec.ULAW
            await phone.hears(800.0)
            sip.release(call)
            await sip.cleared()


@scenario
async def test_the_phone_holds_and_resumes(tmp_path: Path) -> None:
    async with (
        await Baresip.start(tmp_path / "phone") as phone,
        OurSip(plan=PLAN, peers=(phone_at(phone),)) as sip,
    ):
        await phone.dial(f"sip:1000@127.0.0.1:{sip.port}")
        await phone.event("CALL_ESTABLISHED")
        script = await sip.offered()
        await phone.command("hold")
        await script.event(Held)
        # baresip 1.1 resumes and says "Invalid argument", as there is no other call to put on hold.
        with contextlib.suppress(PeerError):
            await phone.command("resume")
        await script.event(Resumed)
        await phone.hang_up()
        await script.event(Released)
        await sip.cleared()


@scenario
async def test_we_hold_the_phone_and_resume(tmp_path: Path) -> None:
    async with await Baresip.start(tmp_path / "phone") as phone, OurSip(peers=(phone_at(phone),)) as sip:
        call = sip.place("phone", "100")
        await call.event(Answered)
        await phone.hears(800.0)
        assert call.leg is not None
        sip.call(call.leg.hold)
        await phone.until(lambda: any("a=sendonly" in line for line in phone.lines), "our hold")
        sip.call(call.leg.resume)
        await phone.hears(800.0)
        sip.release(call)
        await call.event(Released)
        await phone.event("CALL_CLOSED")
        await sip.cleared()


@scenario
async def test_the_phone_rejects_our_call(tmp_path: Path) -> None:
    async with (
        await Baresip.start(tmp_path / "phone", answer="manual") as phone,
        OurSip(peers=(phone_at(phone),)) as sip,
    ):
        call = sip.place("phone", "100")
        await call.event(Alerting)
        await phone.event("CALL_INCOMING")
        await phone.hang_up()
        released = await call.event(Released)
        assert (released.cause, released.ours) == (Cause.USER_BUSY, False)
        await sip.cleared()


@scenario
async def test_we_give_up_while_the_phone_rings(tmp_path: Path) -> None:
    async with (
        await Baresip.start(tmp_path / "phone", answer="manual") as phone,
        OurSip(peers=(phone_at(phone),)) as sip,
    ):
        call = sip.place("phone", "100")
        await call.event(Alerting)
        sip.release(call)
        assert (await call.event(Released)).ours
        await phone.event("CALL_CLOSED")
        await sip.cleared()


@scenario
async def test_the_phone_gives_up_while_we_ring(tmp_path: Path) -> None:
    async with (
        await Baresip.start(tmp_path / "phone") as phone,
        OurSip(plan=PLAN, peers=(phone_at(phone),)) as sip,
    ):
        await phone.dial(f"sip:3000@127.0.0.1:{sip.port}")
        await phone.event("CALL_RINGING")
        script = await sip.offered()
        await phone.hang_up()
        assert (await script.event(Released)).ours is False
        await sip.cleared()


@scenario
async def test_the_phone_is_told_busy(tmp_path: Path) -> None:
    async with (
        await Baresip.start(tmp_path / "phone") as phone,
        OurSip(plan=PLAN, peers=(phone_at(phone),)) as sip,
    ):
        await phone.dial(f"sip:4000@127.0.0.1:{sip.port}")
        assert "486" in (await phone.event("CALL_CLOSED"))["param"]
        await sip.cleared()
