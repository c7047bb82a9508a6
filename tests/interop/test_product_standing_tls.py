"""A gateway gets another certificate and key by its configuration while calls over TLS and SRTP stand."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.demo import private_bus
from tests.interop.ctl import Ctl
from tests.interop.openssl import Certificates, s_client
from tests.interop.scenario import scenario
from tests.interop.tone_ends import Listening
from tests.interop.tone_sites import ToneSites, Way

pytestmark = pytest.mark.alone
WAYS = (Way.SRTP_LINE, Way.LINE_SRTP, Way.SIP_SRTP)
AFTER_SECONDS = 2.0


@scenario
async def test_calls_over_tls_hear_nothing_of_another_certificate_and_key(tmp_path: Path) -> None:
    files = await Certificates(tmp_path).make("gateway", "fresh")
    place = tmp_path / "near"
    place.mkdir()
    sites = ToneSites(
        tmp_path,
        files,
        section=f'bus = "{private_bus.address_of(place)}"\n',
        options=("--store", str(tmp_path / "store")),
    )
    near, port = sites.near, sites.tls_ports[0]
    async with contextlib.AsyncExitStack() as stack:
        bus = await private_bus.start(place)
        stack.push_async_callback(bus.stop)
        await stack.enter_async_context(sites)
        ctl = Ctl(place)
        for way in WAYS * 2:
            await sites.call(way)
        await sites.telephones.all_hear(sites.voices)
        before = (await near.gateway.command("status"))["tls"]
        assert "CN = gateway" in await s_client(port, "-CAfile", files.ca)
        async with Listening(sites.telephones, sites.voice_pids):
            # Without its key it would be refused, and so it is told meanwhile.
            await ctl("config", "set", "sip.tls_certificate", str(files.directory / "fresh.crt"), code=5)
            await ctl("config", "set", "sip.tls_key", str(files.directory / "fresh.key"))
            plan = await ctl("config", "plan")
            assert [(part["kind"], part["action"]) for part in plan["parts"]] == [("sip", "updated")]
            assert plan["dropped"] == []
            await ctl("config", "commit")
            said = await s_client(port, "-CAfile", files.ca)
            assert "CN = fresh" in said and "Verify return code: 0 (ok)" in said
            await sites.telephones.pass_time(AFTER_SECONDS)
        await near.until(
            lambda status: status["tls"]["connections"] == before["connections"], "the connections of before"
        )
        await near.until_answered(len(sites.calls))
        # Calls of before end as any other, and others begin, over the connections that there are.
        for number, call in enumerate(sites.calls):
            await sites.hang_up(call, ("caller", "called")[number % 2])
        await sites.until_idle()
        later = [await sites.call(way) for way in WAYS]
        for call in later:
            await sites.hang_up(call, "caller")
        await sites.until_idle()
        records = near.records()
        assert len(records) == 3 * len(WAYS)
        assert {record["cause"] for record in records} == {16}
        assert all("secure_media" in str(record) for record in records)
