"""The simulation notices what is broken: each test breaks one thing in the product and expects to be told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

import pytest
from click.testing import CliRunner

from gateway.call import Call
from gateway.cause import Cause
from gateway.core import SECOND
from gateway.media.api import SrtpKey
from gateway.media.client import MediaClient
from gateway.pri.channels import BChannelTable
from gateway.pri.trunk import PriTrunk
from gateway.voip.sip import registration, session
from gateway.voip.sip.authenticator import Authenticator
from gateway.voip.sip.changes import Changes
from gateway.voip.sip.defence import Defence
from gateway.voip.sip.digest import Credentials
from gateway.voip.sip.encryption import Encryption
from gateway.voip.sip.endpoint import SipEndpoint
from gateway.voip.sip.far_ends import FarEnds
from gateway.voip.sip.flow import Flow
from gateway.voip.sip.fork import Fork
from gateway.voip.sip.identification import Identification, Passed, Stopped
from gateway.voip.sip.location import Location
from gateway.voip.sip.message import Request
from gateway.voip.sip.peers import PeerSettings
from gateway.voip.sip.phones import Phones
from gateway.voip.sip.sdes import KEY_LENGTHS
from gateway.voip.sip.toll_fraud import TollFraud
from gateway.voip.sip.transactions import Transactions
from gateway.voip.sip.uac import OutgoingInvite
from gateway.voip.sip.way import Way
from tests.simulation import guard, verdict
from tests.simulation.branch import Branch
from tests.simulation.gateway_node import GatewayNode
from tests.simulation.misfortune import Misfortunes
from tests.simulation.run import main
from tests.simulation.shape import Shape, choose_shape
from tests.simulation.verdict import KINDS, run_seed
from tests.simulation.world import World

CALLS = 40


def breaches(*, faults: bool = False, seeds: Iterable[int] = (3,)) -> str:
    return "\n".join(breach for seed in seeds for breach in run_seed(seed, CALLS, faults=faults).breaches)


def told(word: str, fits: Callable[[Shape], bool]) -> bool:
    """Whether a branch that ``fits`` and has misfortunes says ``word``; looks until one does."""
    fitting = (seed for seed in range(400) if fits(choose_shape(World(seed).rng, CALLS, True)))
    return any(word in breaches(faults=True, seeds=(seed,)) for seed in islice(fitting, 40))


def only(monkeypatch: pytest.MonkeyPatch, incident: str) -> None:
    """Let this one misfortune happen, in the middle of the run."""

    def plan(self: Misfortunes, end: int) -> None:
        self.world.after((end - self.world.now) // 2, getattr(self, incident))

    monkeypatch.setattr(Misfortunes, "plan", plan)


def test_an_unbroken_branch_has_no_breach() -> None:
    assert not breaches()


def test_a_b_channel_that_is_not_given_back_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BChannelTable, "release", lambda *_: False)
    assert "an audit had to mend" in breaches()


def test_a_dialog_that_is_kept_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SipEndpoint, "remove_dialog", lambda *_: None)
    assert "dialog" in breaches()


def test_a_stream_that_is_not_closed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def close(self: MediaClient, stream: int, on_reply: object = None) -> None:
        self.streams.discard(stream)

    monkeypatch.setattr(MediaClient, "close", close)
    assert "engine: stream" in breaches()


def test_voice_that_is_not_wired_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MediaClient, "connect", lambda *_: None)
    told = breaches()
    assert "is wired to None" in told
    assert "rings in silence" in told


def test_voice_in_the_clear_where_encryption_is_required_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encryption, "settle", lambda *_: None)
    assert "is not encrypted" in breaches(seeds=range(100, 106))


def test_keys_that_calls_share_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encryption, "key", lambda _, suite: SrtpKey(suite, bytes(KEY_LENGTHS[suite])))
    assert "sends with a key that is not its own" in breaches(seeds=range(100, 106))


def test_a_record_that_is_missing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GatewayNode, "_ended", lambda *_: None)
    assert "0 records" in breaches()


def test_a_wrong_cause_in_a_bye_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "reason_fields", lambda *_: [("Reason", "Q.850;cause=31")])
    assert "heard NORMAL_UNSPECIFIED" in breaches(seeds=range(3, 7))


def test_an_answer_that_nobody_gave_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Call, "_alert", lambda self, inband, now, conveyed=None: self._answer(None, now))
    assert "the caller was told of an answer that nobody gave" in breaches()


def test_a_ring_that_is_told_too_late_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = GatewayNode.settle
    calls = 0

    def settle(self: GatewayNode) -> None:
        # Every third time what there is to say is left for later.
        nonlocal calls
        calls += 1
        if calls % 3:
            original(self)

    monkeypatch.setattr(GatewayNode, "settle", settle)
    assert "the caller heard of the" in breaches(seeds=range(3, 8))


def test_a_call_without_a_proof_of_the_password_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Identification._prove

    def prove(
        self: Identification,
        request: Request,
        credentials: Credentials | None,
        peer: PeerSettings | None,
        flow: Flow,
        now: int,
    ) -> Passed | Stopped:
        if request.method == "INVITE":
            return Passed(peer)
        return original(self, request, credentials, peer, flow, now)

    monkeypatch.setattr(Identification, "_prove", prove)
    assert "was called without a proof of it" in breaches(seeds=range(1, 4))


def test_a_proof_that_counts_twice_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Authenticator, "_take", lambda *_: True)
    assert "was taken twice" in breaches(seeds=(3, 4))


def test_a_call_to_a_place_whose_registration_ran_out_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Location, "bindings", lambda self, name, _now: self._by_name.get(name, ()))
    monkeypatch.setattr(Location, "expire", lambda *_: [])
    monkeypatch.setattr(Location, "next_timer", lambda _: None)

    def plan(self: Misfortunes, _end: int) -> None:
        self.happened.append((self.world.now, "all telephones are pulled out"))
        for phone in self.branch.devices:
            phone.vanish()

    monkeypatch.setattr(Misfortunes, "plan", plan)
    assert told("where it is no longer registered", lambda shape: all(shape.nats) and shape.natexpiry == 20)


def test_registrations_that_a_restart_loses_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Phones, "restore", lambda *_: 0)

    def plan(self: Misfortunes, _end: int) -> None:
        self.world.after(10 * SECOND, self._gateway_restarts)

    monkeypatch.setattr(Misfortunes, "plan", plan)
    assert told("the restart lost where 7001 is registered", lambda shape: shape.devices > 0)


def test_a_registration_that_is_not_refreshed_in_time_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "refresh_after", lambda granted, _timeout, _rng: 2 * granted * SECOND)
    assert "not registered with itsp" in breaches(seeds=(1, 5))


def test_telephones_that_all_have_the_call_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fork, "cancel", lambda *_: None)
    assert "telephones had the call" in breaches(seeds=(1, 2, 3))


def test_a_telephone_that_does_not_ring_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Phones.ways
    monkeypatch.setattr(Phones, "ways", lambda self, peer, now: original(self, peer, now)[:1])
    assert "did not ring" in breaches(seeds=(1, 2, 3))


def test_voice_that_is_sent_behind_a_nat_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = session.Session.note_nat

    def note_nat(self: session.Session, detected: bool) -> None:
        original(self, detected)
        self.latches = False

    monkeypatch.setattr(session.Session, "note_nat", note_nat)
    assert "None is wired to None" in breaches(seeds=(1, 2, 3))


def test_calls_that_do_not_hear_of_another_address_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Changes, "relocate", lambda *_: None)
    assert told("is still to reach the gateway at", lambda shape: shape.behind_nat)


def test_calls_that_do_not_follow_a_phone_to_its_new_address_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "_nat_rebinds")
    monkeypatch.setattr(Phones, "_follow", lambda *_: None)
    assert told("is still to go to", lambda shape: any(shape.nats) and shape.transports["7001"] == "udp")


def test_a_telephone_that_is_not_called_where_it_registered_anew_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Phones.ways
    known: dict[Phones, tuple[Way, ...]] = {}
    monkeypatch.setattr(Phones, "ways", lambda self, peer, now: known.setdefault(self, original(self, peer, now)))
    only(monkeypatch, "_nat_rebinds")
    assert told("is not called at", lambda shape: any(shape.nats) and shape.transports["7001"] == "udp")


def test_a_registration_that_is_not_renewed_after_our_address_changed_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FarEnds, "moved", lambda *_: None)
    only(monkeypatch, "_seen_elsewhere")
    assert told("the provider is still to call the gateway at", lambda shape: shape.behind_nat and shape.servers > 0)


def test_a_call_that_does_not_go_on_at_another_server_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OutgoingInvite, "_has_other_servers", False)
    only(monkeypatch, "_provider_down")
    assert told("the other server was not called", lambda shape: shape.servers > 1)


def test_a_doubled_datagram_that_makes_two_calls_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Transactions, "absorb", lambda *_: False)
    monkeypatch.setattr(Transactions, "is_merged", lambda *_: False)

    def plan(self: Misfortunes, _end: int) -> None:
        self.packets_suffer = True
        self.branch.weather.duplicate = 0.2

    monkeypatch.setattr(Misfortunes, "plan", plan)
    assert told(": 2 records; ", lambda shape: not shape.proves and not shape.encryption)


def test_a_stranger_that_is_shut_out_for_ever_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Defence, "_is_shut_out", lambda self, name, _now: name in self._shut_out)
    seeds = islice((seed for seed in range(400) if choose_shape(World(seed).rng, CALLS, False).strangers), 20)
    assert any("is shut out for ever" in breaches(seeds=(seed,)) for seed in seeds)


def test_a_trunk_that_is_shut_out_for_what_others_say_in_its_name_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Defence, "known", lambda *_: False)
    seeds = islice((seed for seed in range(400) if choose_shape(World(seed).rng, CALLS, False).strangers), 40)
    assert any("is one of us and is shut out" in breaches(seeds=(seed,)) for seed in seeds)


def test_a_table_that_grows_without_end_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_SOURCES", 10)
    monkeypatch.setattr(guard, "MAX_SHUT_OUT", 10)
    seeds = islice((seed for seed in range(400) if choose_shape(World(seed).rng, CALLS, False).strangers), 20)
    assert any("sources are remembered" in breaches(seeds=(seed,)) for seed in seeds)


def test_an_emergency_call_that_is_given_up_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Call, "_continues", lambda *_: False)
    assert "an emergency call was not answered" in breaches(seeds=(2,))


def test_an_emergency_call_that_is_braked_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = TollFraud.__init__
    monkeypatch.setattr(TollFraud, "__init__", lambda self, standing, _: original(self, standing, frozenset()))
    assert "an emergency call was not answered" in breaches(seeds=(52,))


def test_an_exception_out_of_the_product_is_told_with_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: PriTrunk, frame: bytes, now: int) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(PriTrunk, "receive_frame", fail)
    told = str(run_seed(3, CALLS))
    assert "RuntimeError: broken on purpose" in told
    assert "--seed 3 --calls 40" in told


def test_the_command_ends_with_0_when_all_is_well_and_1_when_not(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = CliRunner()
    good = runner.invoke(main, ["--seeds", "2", "--calls", "10", "--jobs", "1"])
    assert good.exit_code == 0, good.output
    assert "all is well" in good.output
    assert all(f" {kind}" in good.output for kind in KINDS)

    def judge(branch: Branch) -> list[str]:
        return [f"something at {branch.world.now} {Cause.USER_BUSY.name}"]

    monkeypatch.setattr(verdict, "judge", judge)
    bad = runner.invoke(main, ["--seeds", "2", "--calls", "10", "--jobs", "1"])
    assert bad.exit_code == 1
    assert "--seed 1 --calls 10 --story" in bad.output
    assert "2 failed" in bad.output
