"""Two endpoints of ours: one registers with the other, over networks that lose, and NATs that forget and change."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from gateway.cause import Cause
from gateway.core import MILLISECOND, SECOND
from gateway.identity import Number
from gateway.leg import Setup
from gateway.media.api import IaxFrame
from gateway.voip.iax.peers import AuthMethod, PeerSettings
from gateway.voip.reach import Reach
from gateway.voip.sip.address import NetworkFacts
from tests.unit.voip.iax.iax_wire import WORD, Caller, Wire

HQ, BRANCH = "192.0.2.1", "203.0.113.80"
DELAY = 20 * MILLISECOND
AT_HQ = PeerSettings(name="branch", dynamic=True, user="hq", secret=WORD, qualify=2 * SECOND)
AT_BRANCH = PeerSettings(name="hq", host=HQ, user="branch", secret=WORD, register=True, qualify=2 * SECOND)


class Sites:
    """Headquarters, a branch behind a NAT, and the network between them."""

    def __init__(self, *, seed: int = 1, loss: float = 0.0, hq: PeerSettings = AT_HQ) -> None:
        self.hq = Wire(hq, seed=seed, minexpiry=60, maxexpiry=120)
        self.branch = Wire(AT_BRANCH, seed=seed + 1)
        self.rng = random.Random(seed)
        self.loss = loss
        # The port that the NAT has the branch at, and when it forgets that.
        self.nat_port = 40_000
        self.forgets_at: int | None = None
        self.nat_life = 0
        self.cut = False
        self._under_way: list[tuple[int, Wire, IaxFrame]] = []

    def run(self, seconds: float) -> None:
        """Let time pass in steps of the network's delay."""
        end = self.hq.now + int(seconds * SECOND)
        while self.hq.now < end:
            self._carry(self.hq, self.branch, HQ, 4569)
            if self.branch.media.sent and self.nat_life:
                if self.forgets_at is not None and self.branch.now >= self.forgets_at:
                    self.nat_port += 1
                self.forgets_at = self.branch.now + self.nat_life
            self._carry(self.branch, self.hq, BRANCH, self.nat_port)
            arrived = [each for each in self._under_way if each[0] <= self.hq.now]
            self._under_way = [each for each in self._under_way if each[0] > self.hq.now]
            for _, to, frame in arrived:
                to.endpoint.media_event(frame, to.now)
                to.drain()
            self.hq.advance(DELAY)
            self.branch.advance(DELAY)

    def _carry(self, sender: Wire, to: Wire, address: str, port: int) -> None:
        sent, sender.media.sent = sender.media.sent, []
        for _, _, at, data in sent:
            open_there = sender is self.branch or (
                at == self.nat_port and (self.forgets_at is None or sender.now < self.forgets_at)
            )
            if not self.cut and open_there and self.rng.random() >= self.loss:
                self._under_way.append((sender.now + DELAY, to, IaxFrame(1, address, port, data)))

    @property
    def registered(self) -> bool:
        registration = self.branch.endpoint.peers["hq"].registration
        assert registration is not None
        return registration.in_force and self.hq.endpoint.peers["branch"].binding is not None

    @property
    def reach(self) -> tuple[Reach, Reach]:
        return self.hq.endpoint.peers["branch"].reach, self.branch.endpoint.peers["hq"].reach


def test_one_registers_with_the_other_and_both_know_that_the_other_is_there() -> None:
    sites = Sites()
    sites.run(10)
    assert sites.registered
    assert sites.reach == (Reach.REACHABLE, Reach.REACHABLE)
    sites.run(1800)
    assert sites.registered
    assert not sites.hq.endpoint.counters.failed


@pytest.mark.parametrize("seed", range(12))
def test_loss_of_a_quarter_of_all_keeps_nobody_out_for_long(seed: int) -> None:
    sites = Sites(seed=seed, loss=0.25)
    sites.run(120)
    assert sites.registered
    assert not sites.hq.endpoint.counters.failed
    sites.loss = 0.0
    sites.run(60)
    assert sites.hq.endpoint.statistics()["sessions"] == 0
    assert sites.branch.endpoint.statistics()["sessions"] == 0


def test_nat_that_forgets_after_30_seconds_stays_open() -> None:
    sites = Sites(hq=replace(AT_HQ, qualify=0))
    sites.nat_life = 30 * SECOND
    for _ in range(20):
        sites.run(37)
        assert sites.nat_port == 40_000
        assert sites.forgets_at is not None
        assert sites.branch.now < sites.forgets_at


def test_branch_that_gets_another_address_is_called_there() -> None:
    sites = Sites()
    sites.run(10)
    sites.nat_port = 50_000
    sites.branch.endpoint.network(NetworkFacts(), sites.branch.now)
    sites.run(3)
    path = sites.hq.endpoint.peers["branch"].path(sites.hq.now)
    assert path is not None
    assert path.port == 50_000


def test_cut_cable_is_noticed_by_both_and_mended_without_anybody() -> None:
    sites = Sites()
    sites.run(10)
    sites.cut = True
    sites.run(400)
    assert sites.reach == (Reach.UNKNOWN, Reach.UNREACHABLE)
    assert not sites.registered
    sites.cut = False
    sites.run(400)
    assert sites.registered
    assert sites.reach == (Reach.REACHABLE, Reach.REACHABLE)


def test_restart_of_the_registrar_loses_no_registration() -> None:
    sites = Sites()
    sites.run(70)
    stored = sites.hq.stored[-1]
    fresh = Wire(AT_HQ, seed=9, minexpiry=60, maxexpiry=120)
    fresh.now = sites.hq.now
    assert fresh.endpoint.restore(stored, fresh.now) == 1
    sites.hq = fresh
    assert sites.registered
    sites.run(200)
    assert sites.registered
    assert sites.reach[0] is Reach.REACHABLE


def test_call_reaches_who_registered_and_the_end_takes_all_back() -> None:
    sites = Sites()
    sites.run(10)
    leg = sites.hq.endpoint.new_leg("branch", sites.hq.now)
    assert not isinstance(leg, Cause)
    leg.listener = Caller()
    leg.place(Setup(Number("77")), sites.hq.now)
    sites.run(1)
    assert [offered.setup.called.digits for _, offered in sites.branch.offered] == ["77"]
    leg.release(Cause.NORMAL_CALL_CLEARING, sites.hq.now)
    sites.branch.endpoint.leave(sites.branch.now)
    sites.run(20)
    assert sites.hq.endpoint.peers["branch"].binding is None
    assert sites.hq.endpoint.idle
    assert sites.branch.endpoint.idle
    assert sites.branch.endpoint.next_timer() is None


def test_wrong_password_registers_never_and_is_no_storm() -> None:
    sites = Sites(hq=replace(AT_HQ, secret="another", methods=AuthMethod.MD5))  # noqa: S106 - a wrong one
    sites.run(3600)
    assert not sites.registered
    assert sites.hq.endpoint.counters.failed < 30
    assert sites.hq.endpoint.counters.failed > 3
