"""Our SIP endpoint behind Kamailio, a record-routing proxy: dialogs with route sets, forks, both transports."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cause import Cause
from gateway.leg import Alerting, Answered, Held, Progress, Released
from tests.interop.baresip import Baresip
from tests.interop.kamailio import Kamailio
from tests.interop.our_sip import OurSip, answer, answer_early, answer_later, refuse, ring, trunk
from tests.interop.scenario import scenario
from tests.interop.sipp import Sipp

PLAN = {"1": answer, "2": answer_early, "3": ring, "4": refuse(Cause.USER_BUSY), "6": answer_later}
transports = pytest.mark.parametrize("transport", ["udp", "tcp"])


@transports
@pytest.mark.parametrize(
    ("name", "service", "arguments"),
    [
        ("uac_basic", "1000", {}),
        ("uac_early", "2000", {}),
        ("uac_cancel", "3000", {}),
        ("uac_refused", "4000", {"code": 486}),
        ("uac_hold", "1000", {"pause": 30}),
        ("uac_offerless", "1000", {}),
        ("uac_100rel", "6000", {"provisional": 180}),
    ],
)
@scenario
async def test_sipp_calls_us_through_the_proxy(
    tmp_path: Path, transport: str, name: str, service: str, arguments: dict[str, object]
) -> None:
    async with OurSip(plan=PLAN) as sip:
        target = f"127.0.0.1:{sip.port};transport={transport}"
        routes = {digit: [target] for digit in "12346"}
        async with (
            await Kamailio.start(tmp_path, routes) as proxy,
            await Sipp.start(
                name,
                tmp_path,
                remote=("127.0.0.1", proxy.port),
                transport=transport,
                service=service,
                **arguments,  # type: ignore[arg-type]
            ) as uac,
        ):
            await uac.succeed()
            script = await sip.offered()
            await script.event(Released)
            await sip.cleared()


@transports
@pytest.mark.parametrize("name", ["uas_basic", "uas_early", "uas_100rel", "uas_hold", "uas_bye"])
@scenario
async def test_we_call_sipp_through_the_proxy(tmp_path: Path, transport: str, name: str) -> None:
    async with (
        await Sipp.start(name, tmp_path, transport=transport, pause=30) as uas,
        await Kamailio.start(tmp_path, {"4": [f"127.0.0.1:{uas.port};transport={transport}"]}) as proxy,
        OurSip(peers=(trunk(proxy.port, transport=transport.upper()),)) as sip,
    ):
        call = sip.place("peer", "4165550100")
        await call.event(Answered)
        if name == "uas_early":
            assert any(isinstance(event, Progress) and event.inband for event in call.events)
        if name == "uas_hold":
            await call.event(Held)
        if name in ("uas_hold", "uas_bye"):
            assert (await call.event(Released)).ours is False
        else:
            sip.release(call)
            assert (await call.event(Released)).ours
        await uas.succeed()
        await sip.cleared()


@scenario
async def test_the_proxy_forks_our_call_and_one_branch_answers(tmp_path: Path) -> None:
    async with (
        await Sipp.start("uas_basic", tmp_path, ring=300) as answering,
        await Sipp.start("uas_no_answer", tmp_path) as ringing,
        await Kamailio.start(tmp_path, {"4": [f"127.0.0.1:{ringing.port}", f"127.0.0.1:{answering.port}"]}) as proxy,
        OurSip(peers=(trunk(proxy.port),)) as sip,
    ):
        call = sip.place("peer", "4165550100")
        await call.event(Alerting)
        await call.event(Answered)
        await ringing.succeed()
        settings = [stream.settings for stream in sip.media.open_streams]
        assert [s.port for s in settings if s is not None] == [answering.rtp_port]
        sip.release(call)
        await answering.succeed()
        await sip.cleared()


@scenario
async def test_we_give_up_a_forked_call(tmp_path: Path) -> None:
    async with (
        await Sipp.start("uas_no_answer", tmp_path) as first,
        await Sipp.start("uas_no_answer", tmp_path) as second,
        await Kamailio.start(tmp_path, {"4": [f"127.0.0.1:{first.port}", f"127.0.0.1:{second.port}"]}) as proxy,
        OurSip(peers=(trunk(proxy.port),)) as sip,
    ):
        call = sip.place("peer", "4165550100")
        await first.exchanged(b"SIP/2.0 180", sent=True)
        await second.exchanged(b"SIP/2.0 180", sent=True)
        await call.event(Alerting)
        sip.release(call)
        assert (await call.event(Released)).ours
        await first.succeed()
        await second.succeed()
        await sip.cleared()


@scenario
async def test_a_number_that_the_proxy_does_not_know(tmp_path: Path) -> None:
    async with (
        await Kamailio.start(tmp_path, {"4": ["127.0.0.1:9"]}) as proxy,
        OurSip(peers=(trunk(proxy.port),)) as sip,
    ):
        call = sip.place("peer", "9165550100")
        assert (await call.event(Released)).cause is Cause.UNALLOCATED_NUMBER
        await sip.cleared()


@scenario
async def test_we_talk_with_the_phone_through_the_proxy(tmp_path: Path) -> None:
    async with (
        await Baresip.start(tmp_path / "phone", user="4165550100", tone=600) as phone,
        await Kamailio.start(tmp_path, {"4": [f"127.0.0.1:{phone.sip_port}"]}) as proxy,
        OurSip(peers=(trunk(proxy.port),)) as sip,
    ):
        call = sip.place("peer", "4165550100")
        await call.event(Answered)
        await phone.hears(600.0)
        await phone.hang_up()
        assert (await call.event(Released)).ours is False
        await sip.cleared()
