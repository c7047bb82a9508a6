"""Gateway and telephones behind NATs of four kinds: both hear the other, also after every NAT has lost its memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.program import PeerError
from tests.interop.scenario import lasting
from tests.outside.namespaces import INTERFACE, Host, Kind, Lab, Nat, laboratory
from tests.outside.nat_scene import RTP_FIRST, RTP_LAST, SECRET, SIP_PORT, Branch, LabPhone, stun_server

GATEWAY = "203.0.113.10"
GATEWAY_NUMBER = 10
LAB_SECONDS = 150.0
"""Several phones and gateways start, call and wait for tones; alone it takes a tenth of it."""
FORCED = 'nat = ["force_rport", "comedia"]'
FOUND_OUT = 'nat = ["auto_force_rport", "auto_comedia"]'
SIDES: tuple[Kind | None, ...] = (None, *Kind)
side_names = [kind.value if kind else "no NAT" for kind in SIDES]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with laboratory() as made:
        yield made


class Side:
    """A host, and the NAT in front of it if there is one."""

    def __init__(self, lab: Lab, kind: Kind | None, number: int, name: str) -> None:
        self.nat: Nat | None = None
        if kind is None:
            self.host = lab.public(name, number)
            return
        self.nat = lab.nat(f"{name}'s NAT", kind, number, f"10.{number}.0")
        self.host = self.nat.host_inside(name)

    def forget(self) -> None:
        """The NAT starts anew."""
        if self.nat is not None:
            self.nat.drop_bindings()


def gateway_side(lab: Lab, kind: Kind | None) -> Side:
    """The gateway's: a NAT lets in what is for SIP and RTP, as its operator is told to set it up."""
    side = Side(lab, kind, GATEWAY_NUMBER, "gateway")
    if side.nat is not None:
        side.nat.forward(str(SIP_PORT))
        side.nat.forward(f"{RTP_FIRST}-{RTP_LAST}")
    return side


async def talk(caller: LabPhone, called: LabPhone, number: int, server: str, tones: tuple[float, float]) -> None:
    """Call and hear each other; the call stays."""
    await caller.dial(f"sip:{number}@{server}")
    await caller.event("CALL_ESTABLISHED", within=8.0)
    if called is not caller:
        await called.event("CALL_ESTABLISHED", within=8.0)
    await asyncio.gather(caller.hears(tones[1]), called.hears(tones[0]))


async def still_talk(caller: LabPhone, called: LabPhone, tones: tuple[float, float], within: float = 4.0) -> None:
    """Whatever just happened, each hears the other afterwards: a second and more of it within so many seconds."""
    marks = caller.forget(), called.forget()
    await asyncio.gather(
        caller.hears_on(tones[1], marks[0], within=within), called.hears_on(tones[0], marks[1], within=within)
    )


@pytest.mark.parametrize("words", [FORCED, FOUND_OUT], ids=["forced", "found out"])
@pytest.mark.parametrize("kind", SIDES, ids=side_names)
@lasting(LAB_SECONDS)
async def test_phones_behind_every_nat_hear_each_other(tmp_path: Path, lab: Lab, kind: Kind | None, words: str) -> None:
    ours = gateway_side(lab, kind)
    network = f'externip = "{GATEWAY}"' if kind else ""
    sides = [Side(lab, each, 20 + number, f"phone{number}") for number, each in enumerate(SIDES)]
    servers = [GATEWAY] * len(sides)
    if ours.nat is not None:
        # One stands beside the gateway and is told its own address.
        lan = Side.__new__(Side)
        lan.nat, lan.host = None, ours.nat.host_inside("lan phone", 3)
        sides.append(lan)
        servers.append(ours.host.address)
    names = [f"p{number}" for number in range(len(sides))]
    tones = [500.0 + 100 * number for number in range(len(sides))]
    async with (
        Branch(tmp_path / "gateway", ours.host, phones=dict.fromkeys(names, words), network=network) as branch,
        contextlib.AsyncExitStack() as stack,
    ):
        phones = [
            await stack.enter_async_context(await LabPhone.on(side.host, tmp_path / name, server, user=name, tone=tone))
            for side, name, tone, server in zip(sides, names, tones, servers, strict=True)
        ]
        count = len(phones)
        # Each calls once and is called once; no phone is in two calls at a time.
        for first in range(count):
            second = (first + 1) % count
            caller, called = phones[first], phones[second]
            await talk(caller, called, 200 + second, servers[first], (tones[first], tones[second]))
            await caller.hang_up()
            await called.event("CALL_CLOSED", within=8.0)
            await caller.event("CALL_CLOSED", within=8.0)
            await branch.until_calls(0)
            for phone in (caller, called):
                for recording in phone.recordings():
                    recording.unlink()
        # A phone whose NAT forgot it cannot be called until it registers again, but the calls that stand go on.
        pairs = [(0, 1), (2, 3), (4, count - 1 if count > 5 else 0)]
        for first, second in pairs:
            caller, called = phones[first], phones[second]
            both = tones[first], tones[second]
            await talk(caller, called, 200 + second, servers[first], both)
            for side in (sides[first], sides[second]):
                side.forget()
            # A symmetric one would call phones from another port afterwards, which their own NATs do not let in.
            if kind is not Kind.SYMMETRIC or (first, second) == pairs[-1]:
                ours.forget()
            await still_talk(caller, called, both)
            await caller.hang_up()
            with contextlib.suppress(PeerError):
                await called.hang_up()
            await branch.until_calls(0)
            for phone in (caller, called):
                for recording in phone.recordings():
                    recording.unlink()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@lasting(LAB_SECONDS)
async def test_calls_go_on_after_the_wan_address_changes(tmp_path: Path, lab: Lab, transport: str) -> None:
    gateway = lab.public("gateway", GATEWAY_NUMBER)
    near, far = Side(lab, None, 30, "near"), Side(lab, Kind.FULL_CONE, 31, "far")
    async with (
        Branch(tmp_path / "gateway", gateway, phones={"near": "", "far": FORCED}) as branch,
        await LabPhone.on(near.host, tmp_path / "near", GATEWAY, user="near", tone=500, transport=transport) as caller,
        await LabPhone.on(far.host, tmp_path / "far", GATEWAY, user="far", tone=700) as called,
    ):
        await talk(caller, called, 201, GATEWAY, (500.0, 700.0))
        for address in ("203.0.113.11", "203.0.113.12"):
            gateway.readdress(address)
            # A second of it is listened to, so that 3 s are 2 s after the event.
            await still_talk(caller, called, (500.0, 700.0), within=3.0)
            status = await branch.until_calls(1)
            assert status["network"]["addresses"] == [address]
        await called.hang_up()
        await caller.event("CALL_CLOSED", within=8.0)


@pytest.mark.parametrize("key", ["externip", "externhost"])
@lasting(LAB_SECONDS)
async def test_another_port_outside_is_told_and_found(tmp_path: Path, lab: Lab, key: str) -> None:
    ours = Side(lab, Kind.PORT_RESTRICTED, GATEWAY_NUMBER, "gateway")
    assert ours.nat is not None
    ours.nat.forward("9999", to=str(SIP_PORT))
    ours.nat.forward(f"{RTP_FIRST}-{RTP_LAST}")
    server = f"{GATEWAY}:9999"
    far = lab.public("far", 41)
    async with (
        Branch(tmp_path / "gateway", ours.host, phones={"far": ""}, network=f'{key} = "{server}"') as branch,
        await LabPhone.on(far, tmp_path / "far", server, user="far", tone=500) as phone,
    ):
        # Its ACK, and what it says afterwards, go to our Contact.
        await talk(phone, phone, 100, server, (500.0, 500.0))
        assert f"sip:100@{server}" in "\n".join(phone.lines)
        await phone.hang_up()
        await branch.until_calls(0)


@lasting(LAB_SECONDS)
async def test_a_phone_whose_nat_gets_another_address_is_heard_on(tmp_path: Path, lab: Lab) -> None:
    gateway, side = lab.public("gateway", GATEWAY_NUMBER), Side(lab, Kind.SYMMETRIC, 30, "phone")
    assert side.nat is not None
    async with (
        Branch(tmp_path / "gateway", gateway, phones={"phone": FOUND_OUT}),
        await LabPhone.on(side.host, tmp_path / "phone", GATEWAY, user="phone", tone=500) as phone,
    ):
        await talk(phone, phone, 100, GATEWAY, (500.0, 500.0))
        side.nat.readdress("203.0.113.31")
        await still_talk(phone, phone, (500.0, 500.0))


_OUT_OF_REACH = f"""\
[[trunk]]
name = "provider"
technology = "sip"
host = "sip.example.net"
defaultuser = "branch"
secret = "{SECRET}"
register = true
qualify = true
context = "phones"
"""


@lasting(LAB_SECONDS)
async def test_phones_at_the_branch_work_on_without_the_wan(tmp_path: Path, lab: Lab) -> None:
    """The cable to the Internet is pulled, also in the middle of a call: calls and registrations need none."""
    gateway = lab.public("gateway", GATEWAY_NUMBER)
    cabling = gateway.namespace.run
    cabling("ip", "link", "add", "lan", "type", "bridge")
    cabling("ip", "addr", "add", "192.168.7.1/24", "dev", "lan")
    cabling("ip", "link", "set", "lan", "up")
    hosts = []
    for number in (2, 3):
        namespace = lab.namespace(f"desk{number}")
        lab.cable(gateway.namespace, namespace, "lan")
        hosts.append(Host(namespace, f"192.168.7.{number}", "192.168.7.1"))
    server, tones = "192.168.7.1", (500.0, 700.0)
    async with (
        Branch(tmp_path / "gateway", gateway, phones={"one": "", "two": ""}, extra=_OUT_OF_REACH) as branch,
        await LabPhone.on(hosts[0], tmp_path / "one", server, user="one", tone=tones[0]) as one,
    ):
        cabling("ip", "link", "set", INTERFACE, "down")
        await branch.until(lambda status: not status["network"]["addresses"], "end of the WAN")
        async with await LabPhone.on(hosts[1], tmp_path / "two", server, user="two", tone=tones[1]) as two:
            await talk(one, two, 201, server, tones)
            cabling("ip", "link", "set", INTERFACE, "up")
            cabling("ip", "route", "replace", "default", "via", gateway.gateway)
            await branch.until(lambda status: status["network"]["addresses"] == [gateway.address], "WAN")
            cabling("ip", "link", "set", INTERFACE, "down")
            await branch.until(lambda status: not status["network"]["addresses"], "end of the WAN")
            await still_talk(one, two, tones)
            await one.hang_up()
            await two.event("CALL_CLOSED", within=8.0)
            await branch.until_calls(0)


PROVIDER = "203.0.113.40"
_AT_PROVIDER = f"""\
[[trunk]]
name = "branch"
technology = "sip"
host = "dynamic"
secret = "{SECRET}"
context = "phones"
nat = ["force_rport", "comedia"]
[[route]]
context = "phones"
match = "_9."
to = ["sip:branch/{{number:1}}"]
"""
_AT_BRANCH = f"""\
[[trunk]]
name = "provider"
technology = "sip"
host = "{PROVIDER}"
defaultuser = "branch"
secret = "{SECRET}"
register = true
context = "phones"
insecure = ["invite"]
[[route]]
context = "phones"
match = "_8."
to = ["sip:provider/{{number:1}}"]
"""


@pytest.mark.parametrize("kind", SIDES, ids=side_names)
@lasting(LAB_SECONDS)
async def test_a_gateway_that_registers_finds_its_address_out(tmp_path: Path, lab: Lab, kind: Kind | None) -> None:
    """No externip, no port forwarded: what the registrar sees is told, and calls come and go through the NAT."""
    ours = Side(lab, kind, GATEWAY_NUMBER, "gateway")
    provider, far, near = lab.public("provider", 40), lab.public("far", 41), Side(lab, None, 42, "near")
    if ours.nat is not None:
        near.host = ours.nat.host_inside("lan phone", 3)
    async with (
        Branch(tmp_path / "provider", provider, phones={"far": ""}, extra=_AT_PROVIDER) as theirs,
        Branch(tmp_path / "gateway", ours.host, phones={"near": ""}, extra=_AT_BRANCH) as branch,
        await LabPhone.on(far, tmp_path / "far", PROVIDER, user="far", tone=500) as outside,
        await LabPhone.on(near.host, tmp_path / "near", ours.host.address, user="near", tone=700) as inside,
    ):
        await branch.until(lambda status: GATEWAY in str(status["network"]["external"]), "the address outside")
        await theirs.until(lambda status: "branch" in str(status), "the registration")
        for caller, called, number, server, both in (
            (outside, inside, 9200, PROVIDER, (500.0, 700.0)),
            (inside, outside, 8200, ours.host.address, (700.0, 500.0)),
        ):
            await talk(caller, called, number, server, both)
            if caller is inside:
                # The last, as the provider cannot get in again before we have spoken to it.
                ours.forget()
                await still_talk(caller, called, both)
            await caller.hang_up()
            await branch.until_calls(0)
            for phone in (caller, called):
                for recording in phone.recordings():
                    recording.unlink()


@lasting(LAB_SECONDS)
async def test_a_trunk_registers_anew_and_its_calls_go_on_after_the_wan_address_changes(
    tmp_path: Path, lab: Lab
) -> None:
    gateway, provider, far = lab.public("gateway", GATEWAY_NUMBER), lab.public("provider", 40), lab.public("far", 41)
    async with (
        Branch(tmp_path / "provider", provider, phones={"far": ""}, extra=_AT_PROVIDER) as theirs,
        Branch(tmp_path / "gateway", gateway, phones={}, extra=_AT_BRANCH) as branch,
        await LabPhone.on(far, tmp_path / "far", PROVIDER, user="far", tone=500) as phone,
    ):
        await theirs.until(lambda status: GATEWAY in str(status["registered"]), "the registration")
        await talk(phone, phone, 9100, PROVIDER, (500.0, 500.0))
        mark = phone.forget()
        gateway.readdress("203.0.113.11")
        await phone.hears_on(500.0, mark, within=3.0)
        await theirs.until(lambda status: "203.0.113.11" in str(status["registered"]), "the new registration", 3.0)
        mark = phone.forget()
        await phone.hears_on(500.0, mark)
        await phone.hang_up()
        await branch.until_calls(0)
        await talk(phone, phone, 9100, PROVIDER, (500.0, 500.0))


@lasting(LAB_SECONDS)
async def test_stun_finds_the_address_outside_and_follows_it(tmp_path: Path, lab: Lab) -> None:
    ours = Side(lab, Kind.FULL_CONE, GATEWAY_NUMBER, "gateway")
    assert ours.nat is not None
    far = lab.public("far", 41)
    with stun_server(lab.public("stun", 50)) as server:
        async with (
            Branch(tmp_path / "gateway", ours.host, phones={"far": ""}, network=f'stunaddr = "{server}"') as branch,
            await LabPhone.on(far, tmp_path / "far", GATEWAY, user="far", tone=500) as phone,
        ):
            await branch.until(lambda status: GATEWAY in str(status["network"]["external"]), "the address outside")
            await talk(phone, phone, 100, GATEWAY, (500.0, 500.0))
            mark = phone.forget()
            ours.nat.readdress("203.0.113.11")
            # Nothing here tells of it: it is seen when STUN is asked again, within 25 s.
            await branch.until(lambda status: "203.0.113.11" in str(status["network"]["external"]), "the new one", 28)
            await phone.hears_on(500.0, mark)
            mark = phone.forget()
            await phone.hears_on(500.0, mark)
