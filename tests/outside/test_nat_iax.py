"""Two gateways with an IAX2 trunk, each behind a NAT: voice both ways, and on after the NATs have lost their memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.scenario import lasting
from tests.outside.namespaces import Kind, Lab, Nat, laboratory
from tests.outside.nat_scene import Branch, LabPhone

PORT = 4569
HEAD = "203.0.113.10"
SECRET = "correct-horse-battery"  # noqa: S105 - of a laboratory
LAB_SECONDS = 120.0
AGAIN_SECONDS = 12.0
"""Until what was lost with a NAT's memory is found again: a POKE or PING later, and a round trip."""
NEAR_HZ, HEAD_HZ = 500.0, 700.0
ENCRYPTED = "forceencryption = true"
IAX = """
[iax]
listen = ["udp:0.0.0.0:{port}"]
minexpiry = 30
[timers.iax]
ping_seconds = 2
qualify_first_ms = 500
[[trunk]]
name = "{far}"
technology = "iax2"
host = "{host}"
defaultuser = "{own}"
secret = "{secret}"
context = "phones"
qualify = true
qualifyfreq = 2
{terms}
[[route]]
context = "phones"
match = "_7."
to = ["iax2:{far}/{{number:1}}"]
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with laboratory() as made:
        yield made


class Sites:
    """``near``, behind a NAT of that ``kind``, registers with ``head``, whose NAT lets in the one port. 7 and 100 is
    the echo at the other site; each site has a phone of its own that plays a tone.
    """

    def __init__(self, lab: Lab, directory: Path, kind: Kind, terms: str = "") -> None:
        self.near_nat = lab.nat("near NAT", kind, 20, "10.20.0")
        self.head_nat = lab.nat("head NAT", Kind.PORT_RESTRICTED, 10, "10.10.0")
        self.head_nat.forward(str(PORT))
        self._directory = directory
        self._stack = contextlib.AsyncExitStack()
        self.near = self._branch(self.near_nat, "near", "head", HEAD, f"register = true\nregisterexpiry = 30\n{terms}")
        self.head = self._branch(self.head_nat, "head", "near", "dynamic", terms)
        self.phones: dict[str, LabPhone] = {}

    def _branch(self, nat: Nat, own: str, far: str, host: str, terms: str) -> Branch:
        extra = IAX.format(port=PORT, far=far, own=own, host=host, secret=SECRET, terms=terms)
        return Branch(self._directory / own, nat.host_inside(own), phones={f"{own}phone": ""}, extra=extra)

    async def __aenter__(self) -> Sites:
        async with contextlib.AsyncExitStack() as stack:
            for branch in (self.head, self.near):
                await stack.enter_async_context(branch)
            for nat, branch, own, tone in (
                (self.near_nat, self.near, "near", NEAR_HZ),
                (self.head_nat, self.head, "head", HEAD_HZ),
            ):
                host = nat.host_inside(f"{own} phone", 3)
                user, server = f"{own}phone", branch.host.address
                phone = await LabPhone.on(host, self._directory / user, server, user=user, tone=tone)
                self.phones[own] = await stack.enter_async_context(phone)
            await self.reachable()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await self._stack.aclose()

    async def reachable(self) -> None:
        """Wait until each site has the other by its POKE."""
        for branch, far in ((self.near, "head"), (self.head, "near")):
            await branch.until(lambda status, far=far: status["iax"]["peers"][far]["reach"] == "reachable", far, 20.0)  # type: ignore[misc]

    async def registered(self, no_more: str = "") -> str:
        """Wait until ``near`` is registered, and not where it was before; where that is."""
        status = await self.head.until(
            lambda status: status["iax"]["peers"]["near"]["address"] not in ("", no_more), "the registration", 40.0
        )
        return str(status["iax"]["peers"]["near"]["address"])

    async def call(self, own: str) -> None:
        """The phone of that site calls the other site's echo, and hears itself: voice went both ways."""
        branch = self.near if own == "near" else self.head
        phone, hertz = self.phones[own], NEAR_HZ if own == "near" else HEAD_HZ
        await phone.dial(f"sip:7100@{branch.host.address}")
        await phone.event("CALL_ESTABLISHED", within=8.0)
        await phone.hears(hertz)

    async def still_hears(self, own: str) -> None:
        """Whatever just happened, it hears itself again."""
        phone, hertz = self.phones[own], NEAR_HZ if own == "near" else HEAD_HZ
        await phone.hears_on(hertz, phone.forget(), within=AGAIN_SECONDS)

    async def end(self, own: str) -> None:
        """Hang up; both sites are rid of it."""
        await self.phones[own].hang_up()
        for branch in (self.near, self.head):
            await branch.until_calls(0)
        for recording in self.phones[own].recordings():
            recording.unlink()


@pytest.mark.parametrize("kind", list(Kind), ids=[kind.value for kind in Kind])
@lasting(LAB_SECONDS)
async def test_sites_behind_nats_call_each_other_and_calls_outlive_their_memory(
    tmp_path: Path, lab: Lab, kind: Kind
) -> None:
    async with Sites(lab, tmp_path, kind) as sites:
        for own in ("head", "near"):
            place = await sites.registered()
            await sites.call(own)
            for nat in (sites.near_nat, sites.head_nat):
                nat.drop_bindings()
                await sites.still_hears(own)
            await sites.end(own)
            if kind is Kind.SYMMETRIC:
                # It has another port now, and can be called there as soon as it has registered again.
                await sites.registered(place)
        await sites.call("head")
        await sites.end("head")


@lasting(LAB_SECONDS)
async def test_an_encrypted_call_goes_on_when_a_nat_has_another_address(tmp_path: Path, lab: Lab) -> None:
    async with Sites(lab, tmp_path, Kind.PORT_RESTRICTED, ENCRYPTED) as sites:
        for own, address in (("near", "203.0.113.21"), ("head", "203.0.113.22")):
            place = await sites.registered()
            await sites.call(own)
            sites.near_nat.readdress(address)
            await sites.still_hears(own)
            status = await sites.head.until_calls(1)
            (call,) = status["calls"]
            assert call["facts"] == (["secure_media"] if own == "near" else []), call
            await sites.end(own)
            await sites.registered(place)
