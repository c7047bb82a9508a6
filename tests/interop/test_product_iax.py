"""Two whole gateways with an IAX2 trunk between them: PRI to PRI over it, both ways, with what is seen on the wire."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.voip.iax.frame import TrunkFrame
from tests.interop.iax_sites import ANSWERS, MILLIWATT, Sites
from tests.interop.product import POLL_SECONDS, Product
from tests.interop.program import PATIENCE, PeerError, find_program
from tests.interop.scenario import scenario
from tests.interop.standing_call import HERTZ, configuration, telephone

ENCRYPTED = "forceencryption = true"


async def call_each_way(sites: Sites) -> None:
    """A call from either side, heard by both exchanges."""
    for caller in (sites.near, sites.far):
        call = await sites.begin(caller)
        await sites.heard(sites.near)
        await sites.heard(sites.far)
        report = await sites.end(caller, call)
        assert report["cause"] == 16, sites.log
    await sites.until_idle()


def iax_legs(product: Product) -> list[dict[str, Any]]:
    """The IAX2 legs in the call records, those of refused attempts too."""
    legs = []
    for record in product.records():
        every = [record["incoming"], *(attempt["leg"] for attempt in record["attempts"])]
        legs += [leg for leg in every if leg.get("technology") == "iax2"]
    return legs


async def refused(sites: Sites, caller: Product) -> dict[str, Any]:
    """The record of a call of ``caller``'s exchange that does not go through."""
    report = await caller.pstn_call(f"8{ANSWERS}")
    assert report["answered"] is None, sites.log
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not caller.records():
        if asyncio.get_running_loop().time() > deadline:
            raise PeerError(f"no record\n{sites.log}")
        await asyncio.sleep(POLL_SECONDS)
    return caller.records()[-1]


def make_keys(directory: Path, name: str) -> None:
    """NAME.key and NAME.pub, as ``astgenkey`` makes them."""
    openssl = find_program("openssl", "openssl")
    key = directory / f"{name}.key"
    subprocess.run([openssl, "genrsa", "-out", key, "1024"], check=True, capture_output=True)
    key.chmod(0o600)
    public = directory / f"{name}.pub"
    subprocess.run([openssl, "rsa", "-in", key, "-pubout", "-out", public], check=True, capture_output=True)


async def peer_is(product: Product, name: str, key: str, value: object) -> dict[str, Any]:
    """Wait until what the status says of the peer ``name`` is so; the peer's status."""
    status = await product.until(
        lambda status: status["iax"]["peers"][name].get(key) == value, f"{name} with {key} = {value}"
    )
    return dict(status["iax"]["peers"][name])


@scenario
async def test_a_call_each_way_is_heard_both_ways(tmp_path: Path) -> None:
    async with Sites(tmp_path, trace=True) as sites:
        await call_each_way(sites)
        for product in (sites.near, sites.far):
            assert [record["cause"] for record in product.records()] == [16, 16]
            legs = iax_legs(product)
            assert sorted(leg["direction"] for leg in legs) == ["in", "out"]
            assert all(leg["media"]["packets_received"] > 5 and leg["facts"] == [] for leg in legs)
            trace = (product.directory / "trace.jsonl").read_text()
            assert "AUTHREP" in trace and "MD5_RESULT=(32 octets)" in trace
        seen = sites.wire.kinds(0)
        assert seen["trunk"] == 0
        assert seen["mini"] > seen["full"]


@pytest.mark.parametrize("stamps", [False, True])
@scenario
async def test_calls_of_a_trunk_share_packets(tmp_path: Path, stamps: bool) -> None:
    terms = "trunk = true\n" + ("trunktimestamps = true" if stamps else "")
    async with Sites(tmp_path, near=terms, far=terms) as sites:
        calls = [await sites.begin(sites.near) for _ in range(3)]
        await sites.heard(sites.near, 3)
        await sites.heard(sites.far, 3)
        for number in (0, 1):
            frames = [frame for frame in sites.wire.frames(number) if isinstance(frame, TrunkFrame)]
            assert max(len({entry.source for entry in frame.entries}) for frame in frames) == 3
            assert {frame.stamped for frame in frames} == {stamps}
            assert sites.wire.kinds(number)["mini"] == 0
        # Two leave; the third goes on.
        for call in calls[:2]:
            await sites.end(sites.near, call)
        await sites.near.until_answered(1)
        await sites.heard(sites.near)
        await sites.heard(sites.far)
        await sites.end(sites.near, calls[2])
        await sites.until_idle()
        assert all(leg["trunked"] for leg in iax_legs(sites.near))


@pytest.mark.parametrize("terms", [ENCRYPTED, f"{ENCRYPTED}\ntrunk = true", "encryption = true"])
@scenario
async def test_nothing_of_an_encrypted_call_goes_in_clear(tmp_path: Path, terms: str) -> None:
    async with Sites(tmp_path, near=terms, far=terms) as sites:
        call = await sites.begin(sites.near)
        await sites.heard(sites.near)
        await sites.heard(sites.far)
        status = await sites.far.until(lambda status: len(status["calls"]) == 1, "the call")
        assert status["calls"][0]["facts"] == ["secure_media"]
        await sites.end(sites.near, call)
        await sites.until_idle()
        for number in (0, 1):
            seen = sites.wire.kinds(number)
            assert seen["trunk"] == 0
            assert seen["mini"] > 5
        # Mini frames: two octets in clear, then blocks of 16 with what the voice of 160 octets and its stamp need.
        sizes = {len(data) for _, data in sites.wire.seen if not data[0] & 0x80}
        assert sizes <= {2 + 16 * 11, 2 + 16 * 12}, sizes
        # The tone's octets in A-law are nowhere to be found.
        assert not any(data.count(data[-1:]) > 80 for _, data in sites.wire.seen if len(data) > 100)
        assert all(leg["facts"] == ["secure_media"] and not leg["trunked"] for leg in iax_legs(sites.near))


@scenario
async def test_keys_change_in_the_middle_of_a_call(tmp_path: Path) -> None:
    timers = "[timers.iax]\nkey_least_seconds = 1\nkey_most_seconds = 1"
    async with Sites(tmp_path, near=ENCRYPTED, far=ENCRYPTED, near_section=timers, far_section=timers) as sites:
        call = await sites.begin(sites.near)
        await sites.heard(sites.near)

        def rotated(status: dict[str, Any]) -> bool:
            return all(
                leg["session"]["keys_sent"] > 1 and leg["session"]["keys_received"] > 1
                for one in status["calls"]
                for leg in (one["incoming"], one["outgoing"])
                if leg["technology"] == "iax2"
            )

        await sites.near.until(rotated, "new keys")  # type: ignore[arg-type]
        await sites.heard(sites.near)
        await sites.heard(sites.far)
        await sites.end(sites.near, call)
        await sites.until_idle()
        for product in (sites.near, sites.far):
            (leg,) = iax_legs(product)
            assert leg["media"]["lost"] < 5


@pytest.mark.parametrize(("near", "far"), [(ENCRYPTED, ""), ("", ENCRYPTED)])
@scenario
async def test_a_call_that_must_be_encrypted_fails_where_the_other_side_does_not(
    tmp_path: Path, near: str, far: str
) -> None:
    async with Sites(tmp_path, near=near, far=far) as sites:
        record = await refused(sites, sites.near)
        assert record["attempts"][0]["cause"] in (21, 58, 65), record
        assert "encrypt" in (sites.near if near else sites.far).log
        assert all(not seen["mini"] and not seen["trunk"] for seen in (sites.wire.kinds(0), sites.wire.kinds(1)))
        await sites.until_idle()


@scenario
async def test_a_wrong_password_calls_nobody(tmp_path: Path) -> None:
    async with Sites(tmp_path, near_secret="another password") as sites:  # noqa: S106 - a test's
        record = await refused(sites, sites.near)
        assert record["attempts"][0]["cause"] == 57, record
        assert "refuses our user name" in sites.near.log
        assert sites.far.records() == []
        assert "has another password or key" in sites.far.log


@scenario
async def test_who_registers_can_be_called_and_is_known_after_a_restart(tmp_path: Path) -> None:
    async with Sites(
        tmp_path, near="register = true\nqualify = true", far="qualify = true\nqualifyfreq = 1", far_dynamic=True
    ) as sites:
        near = await peer_is(sites.far, "near", "reach", "reachable")
        assert near["expires_seconds"] > 30
        await call_each_way(sites)
        await sites.far.stop_gateway()
        await sites.far.start_gateway()
        await sites.far.until_up()
        assert "1 registrations of before are restored" in sites.far.log
        await peer_is(sites.far, "near", "reach", "reachable")
        call = await sites.begin(sites.far)
        await sites.heard(sites.far)
        await sites.end(sites.far, call)
        await sites.until_idle()


@scenario
async def test_a_trunk_that_is_not_there_is_passed_over_at_once(tmp_path: Path) -> None:
    terms = "qualify = 500\nqualifyfreq = 1"
    section = "[timers.iax]\nqualify_unreachable_seconds = 1"
    route = """
[[route]]
context = "from-pstn"
match = "_7."
to = ["iax2:near/{number:1}", "pri:g0/5550107"]
"""
    async with Sites(tmp_path, far=terms, far_section=section, far_route=route) as sites:
        await peer_is(sites.far, "near", "reach", "reachable")
        sites.wire.cut = True
        await peer_is(sites.far, "near", "reach", "unreachable")
        call = (await sites.far.exchange.command("call", called=f"7{ANSWERS}", hold=-1))["call"]
        await sites.far.until_answered()
        (shown,) = (await sites.far.gateway.command("status"))["calls"]
        assert shown["destination"] == "pri:g0/5550107"
        await sites.end(sites.far, call)
        sites.wire.cut = False
        await peer_is(sites.far, "near", "reach", "reachable")
        await sites.far.until_idle()


@scenario
async def test_rsa_keys_prove_who_calls(tmp_path: Path) -> None:
    for name in ("near", "far"):
        make_keys(tmp_path, name)
    terms = 'inkeys = ["{0}/{2}.pub"]\noutkey = "{0}/{1}.key"'
    async with Sites(
        tmp_path,
        near=terms.format(tmp_path, "near", "far"),
        far=terms.format(tmp_path, "far", "near"),
        near_secret="",
        far_secret="",
        trace=True,
    ) as sites:
        await call_each_way(sites)
        trace = (sites.near.directory / "trace.jsonl").read_text()
        assert "RSA_RESULT=(" in trace
        assert "MD5_RESULT" not in trace


@pytest.mark.parametrize("codec", ["ulaw", "g722", "slin16", "opus"])
@scenario
async def test_other_codecs_are_heard_as_well(tmp_path: Path, codec: str) -> None:
    terms = f'allow = ["{codec}"]'
    async with Sites(tmp_path, near=terms, far=terms) as sites:
        await call_each_way(sites)
        assert {leg["codec"] for leg in iax_legs(sites.near)} == {"l16" if codec == "slin16" else codec}


@scenario
async def test_a_sip_telephone_talks_to_the_far_line(tmp_path: Path) -> None:
    async with await telephone(tmp_path) as phone:
        extra = (
            configuration(phone)
            + """
[[route]]
context = "talkers"
match = "_7."
to = ["iax2:far/{number:1}"]
[[route]]
context = "from-iax"
match = "4000"
to = ["sip:talker"]
"""
        )
        route = """
[[route]]
context = "from-pstn"
match = "4000"
to = ["iax2:near/4000"]
"""
        async with Sites(tmp_path, near=ENCRYPTED, far=ENCRYPTED, near_extra=extra, far_route=route) as sites:
            await phone.dial(f"sip:7{ANSWERS}@127.0.0.1:{sites.near.sip_port}")
            await phone.hears(MILLIWATT)
            await sites.heard(sites.far, hertz=HERTZ)
            await phone.hang_up()
            await sites.until_idle()
            (record,) = sites.near.records()
            assert record["attempts"][0]["leg"]["facts"] == ["secure_media"]
            call = (await sites.far.exchange.command("call", called="4000", hold=-1))["call"]
            await sites.heard(sites.far, hertz=HERTZ)
            await phone.hears(MILLIWATT)
            await sites.end(sites.far, call)
            await sites.until_idle()


@pytest.mark.parametrize("terms", ["", ENCRYPTED])
@scenario
async def test_a_call_follows_a_far_end_whose_nat_takes_another_port(tmp_path: Path, terms: str) -> None:
    section = "[timers.iax]\nping_seconds = 1"
    async with Sites(tmp_path, near=terms, far=terms, near_section=section) as sites:
        call = await sites.begin(sites.near)
        await sites.heard(sites.near)
        await sites.heard(sites.far)
        await sites.wire.rebind(1)
        await sites.far.until(
            lambda status: [each["incoming"]["session"]["moves"] for each in status["calls"]] == [1], "another port"
        )
        before = len(sites.wire.seen)
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while len(sites.wire.of(1, before)) < 50:
            if asyncio.get_running_loop().time() > deadline:
                raise PeerError(f"the far end's voice does not come to the new port\n{sites.log}")
            await asyncio.sleep(POLL_SECONDS)
        await sites.end(sites.near, call)
        await sites.until_idle()
        (leg,) = iax_legs(sites.far)
        assert leg["media"]["packets_received"] > 50


@scenario
async def test_many_calls_at_once_over_one_trunk_leave_nothing(tmp_path: Path) -> None:
    async with Sites(tmp_path, near="trunk = true", far="trunk = true") as sites:
        for caller in (sites.near, sites.far):
            await caller.exchange.command("load", called=f"8{ANSWERS}", calls=60, rate=20, hold=700)
            deadline = asyncio.get_running_loop().time() + PATIENCE
            while (result := await caller.exchange.command("load-result"))["running"]:
                if asyncio.get_running_loop().time() > deadline:
                    raise PeerError(f"{result}\n{sites.log}")
                await asyncio.sleep(POLL_SECONDS)
            assert result["answered"] == 60, (result, sites.log)
        await sites.until_idle()
        for product in (sites.near, sites.far):
            records = product.records()
            assert [record["cause"] for record in records] == [16] * 120
            status = await product.gateway.command("status")
            assert status["iax"]["statistics"]["legs"] == 0


@scenario
async def test_an_engine_that_dies_ends_its_calls_and_the_next_ones_are_heard(tmp_path: Path) -> None:
    async with Sites(tmp_path) as sites:
        await sites.begin(sites.near)
        await sites.heard(sites.near)
        await sites.heard(sites.far)
        engine = sites.near.engine_pid
        assert engine is not None
        os.kill(engine, signal.SIGKILL)
        await sites.far.until(lambda status: not status["calls"], "the end of the call")
        await sites.near.until_up()
        await sites.until_idle()
        await call_each_way(sites)


@scenario
async def test_a_gateway_that_dies_comes_back_to_the_socket_that_its_engine_has_kept(tmp_path: Path) -> None:
    async with Sites(tmp_path) as sites:
        await sites.near.kill_gateway()
        await sites.near.start_gateway()
        await sites.near.until_up()
        await call_each_way(sites)


@scenario
async def test_causes_of_the_far_line_arrive(tmp_path: Path) -> None:
    async with Sites(tmp_path) as sites:
        for number, cause in (("5550102", 17), ("5550103", 1), ("5550110", 21)):
            report = await sites.near.pstn_call(f"8{number}")
            assert report["cause"] == cause, sites.log
        await sites.until_idle()
