"""The simulation notices what is broken: each test breaks one thing in the product and expects to be told."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from click.testing import CliRunner

from gateway.call import Call
from gateway.cause import Cause
from gateway.media.client import MediaClient
from gateway.pri.channels import BChannelTable
from gateway.pri.trunk import PriTrunk
from gateway.voip.sip import session
from gateway.voip.sip.endpoint import SipEndpoint
from tests.simulation import verdict
from tests.simulation.branch import Branch
from tests.simulation.gateway_node import GatewayNode
from tests.simulation.run import main
from tests.simulation.verdict import run_seed

CALLS = 40


def breaches(*, faults: bool = False, seeds: Iterable[int] = (3,)) -> str:
    return "\n".join(breach for seed in seeds for breach in run_seed(seed, CALLS, faults=faults).breaches)


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


def test_a_record_that_is_missing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GatewayNode, "_ended", lambda *_: None)
    assert "0 records" in breaches()


def test_a_wrong_cause_in_a_bye_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "reason_fields", lambda *_: [("Reason", "Q.850;cause=31")])
    assert "heard NORMAL_UNSPECIFIED" in breaches()


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

    def judge(branch: Branch) -> list[str]:
        return [f"something at {branch.world.now} {Cause.USER_BUSY.name}"]

    monkeypatch.setattr(verdict, "judge", judge)
    bad = runner.invoke(main, ["--seeds", "2", "--calls", "10", "--jobs", "1"])
    assert bad.exit_code == 1
    assert "--seed 1 --calls 10 --story" in bad.output
    assert "2 failed" in bad.output
