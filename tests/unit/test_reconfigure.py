"""Another configuration taken up by a running switch: what is new holds for the next call, and no call hears of it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.cause import Cause
from gateway.config import Configuration, parse
from gateway.config.keeper import ApplyError
from gateway.config.model import Span
from gateway.config.plan import Plan, plan_of
from gateway.config.plan_rules import Kind
from gateway.prepared import Prepared, prepared
from gateway.pri.exchange.line import Report
from gateway.pri.q931.timers import Q931Timer
from gateway.pri.span.layer1 import Alarm
from gateway.reconfigure import Reconfiguration
from gateway.voip.sip.message import Request
from gateway.voip.sip.timers import SipTimer
from tests.unit.branch_scene import ROUTES, Scene, span_text, trunk_text
from tests.unit.config.big_document import big

TWO: dict[str, dict[str, object]] = {"pstn": {}, "pbx": {"group": "g1"}}


class Branch:
    """A scene whose configuration is changed while it runs."""

    def __init__(
        self, spans: dict[str, dict[str, object]] | None = None, trunk: dict[str, object] | None = None
    ) -> None:
        spans = {"pstn": {}} if spans is None else spans
        self.scene = Scene(spans, trunk=trunk)
        self.text = "\n".join(
            [
                "schema = 1",
                '[sip]\nlisten = ["udp:10.0.0.1:5060"]\n',
                *(span_text(name, **keys) for name, keys in spans.items()),
                trunk_text(**(trunk or {})),
                ROUTES,
            ]
        )
        self.runs = self.scene.configuration
        self.applier = Reconfiguration(self.scene.switch, lambda: self.scene.now, self)
        self.lines: list[str] = []

    # -- Surroundings --

    def drain(self) -> None:
        self.scene.run(1)

    def close_span(self, name: str) -> None:
        self.lines.append(f"-{name}")

    def open_span(self, span: Span) -> None:
        self.lines.append(f"+{span.name}")
        if span.name in self.scene.exchanges:
            self.scene.switch.line_state(span.name, Alarm.NONE, self.scene.now)

    async def prepare(self, fresh: Prepared) -> None:
        pass

    async def give_up(self) -> None:
        self.lines.append("given up")

    def reconfigured(self, fresh: Prepared) -> None:
        self.runs = fresh.configuration

    async def settle(self) -> None:
        pass

    # -- what tests do --

    def plan(self, *changes: tuple[str, str]) -> tuple[str, Configuration, Plan]:
        text = self.text
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        new_one = parse(text, Path("branch.toml"))
        return text, new_one, plan_of(self.runs, new_one, self.applier.calls())

    def apply(self, *changes: tuple[str, str]) -> str:
        self.text, new, plan = self.plan(*changes)
        restart = asyncio.run(self.applier.apply(self.runs, new, plan))
        self.scene.settle()
        return restart

    def called(self, number: str, span: str = "pstn") -> Report:
        """A call from the line, two seconds after it began."""
        report = self.scene.from_pstn(number, span)
        self.scene.run(2)
        return report

    def up(self) -> list[str]:
        """Who the calls are from that are up."""
        return [call.source for call in self.scene.switch.calls.values() if call.state.value == "answered"]

    def invites(self) -> list[Request]:
        return [one for one in self.scene.sent("INVITE") if one.to.tag is None]


ROUTE = '[[route]]\ncontext = "from-pstn"\nmatch = "4165559999"\nto = ["sip:hq/1"]\n'


def test_a_route_comes_and_goes_while_a_call_stands() -> None:
    branch = Branch()
    branch.called("4165550101")
    assert branch.called("4165559999").cause is Cause.UNALLOCATED_NUMBER
    branch.apply((ROUTES, ROUTES + ROUTE))
    assert branch.called("4165559999").answered is not None
    branch.apply((ROUTE, ""))
    assert branch.called("4165559999").cause is Cause.UNALLOCATED_NUMBER
    assert branch.up() == ["pstn", "pstn"]


def test_rules_of_causes_hold_from_the_next_call_on() -> None:
    branch = Branch()
    branch.scene.from_sip("5551234")
    branch.scene.run(1)
    assert branch.scene.sent(404) and not branch.scene.sent(410)
    branch.apply((ROUTES, ROUTES + '[[cause]]\ncause = "unallocated_number"\nto_sip = 410\n'))
    branch.scene.from_sip("5551234")
    branch.scene.run(1)
    assert branch.scene.sent(410)


def test_the_codecs_of_a_trunk_hold_from_the_next_call_on() -> None:
    branch = Branch()
    branch.called("4165550101")
    branch.apply(('host = "10.0.0.2"', 'host = "10.0.0.2"\nallow = ["ulaw"]'))
    branch.called("4165550102")
    first, second = branch.invites()
    assert b"RTP/AVP 8 0" in first.body and b"RTP/AVP 0 101" in second.body
    assert len(branch.up()) == 2


def test_a_trunk_that_moves_keeps_its_calls_where_they_are() -> None:
    branch = Branch()
    report = branch.called("4165550101")
    branch.apply(('host = "10.0.0.2"', 'host = "10.0.0.9"'))
    assert branch.up() == ["pstn"]
    branch.scene.exchanges["pstn"].hang_up(report.call, branch.scene.now)
    branch.scene.run(1)
    (bye,) = branch.scene.sent("BYE")
    assert bye.uri.host == "10.0.0.2"
    branch.scene.deaf.add("10.0.0.9")
    branch.called("4165550102")
    assert branch.invites()[-1].uri.host == "10.0.0.9"
    # Whoever is at the old place is a stranger now.
    assert branch.scene.from_sip("95551234").released is None
    branch.scene.run(2)
    assert branch.scene.sent(403)


def test_a_new_trunk_is_called_and_calls() -> None:
    branch = Branch()
    other = '[[trunk]]\nname = "other"\ntechnology = "sip"\nhost = "10.0.0.3"\ncontext = "from-hq"\n'
    branch.apply((ROUTES, other + ROUTES.replace("sip:hq", "sip:other")))
    branch.scene.deaf.add("10.0.0.3")
    branch.called("4165550101")
    assert branch.invites()[-1].uri.host == "10.0.0.3"


def test_a_trunk_that_is_removed_takes_its_calls_along_and_no_others() -> None:
    branch = Branch(TWO)
    branch.called("4165550101")
    branch.apply((ROUTES, ROUTES + '[[route]]\ncontext = "from-pstn"\nmatch = "77"\nto = ["milliwatt"]\n'))
    branch.called("77", "pbx")
    _, _, plan = branch.plan(
        (trunk_text(), ""), ('["sip:hq/{number}"]', '["echo"]'), ('context = "from-hq"', 'context = "from-pstn"')
    )
    assert plan.dropped == tuple(each.identity for each in branch.scene.switch.calls.values() if each.source == "pstn")
    branch.apply(
        (trunk_text(), ""), ('["sip:hq/{number}"]', '["echo"]'), ('context = "from-hq"', 'context = "from-pstn"')
    )
    assert branch.up() == ["pbx"]
    assert len(branch.scene.records) == 1
    assert "hq" not in [peer.name for peer in branch.scene.switch.sip.peers]


def test_brakes_hold_from_the_next_call_on_and_count_what_was_had() -> None:
    branch = Branch()
    branch.apply(('host = "10.0.0.2"', 'host = "10.0.0.2"\ncalls_per_hour = 5'))
    branch.called("4165550101")
    branch.called("4165550102")
    branch.apply(("calls_per_hour = 5", "calls_per_hour = 2"))
    assert branch.called("4165550103").answered is None
    assert branch.up() == ["pstn", "pstn"]


def test_timers_hold_from_now_on() -> None:
    branch = Branch()
    branch.apply((ROUTES, ROUTES + "[timers.sip]\nT1_ms = 800\n[timers.q931]\nT303_seconds = 9\n"))
    assert branch.scene.switch.sip.transactions.durations[SipTimer.T1] == 800_000
    assert branch.scene.switch.trunks["pstn"].q931.durations[Q931Timer.T303] == 9_000_000


def test_a_span_in_another_context_keeps_its_calls() -> None:
    branch = Branch()
    branch.called("4165550101")
    branch.apply(
        ('context = "from-pstn"', 'context = "elsewhere"'),
        (ROUTES, ROUTES + '[[route]]\ncontext = "elsewhere"\nmatch = "88"\nto = ["sip:hq/1"]\n'),
    )
    assert branch.called("88").answered is not None
    assert branch.up() == ["pstn", "pstn"]
    assert branch.lines == []


def test_a_span_that_is_restarted_drops_its_own_calls_alone() -> None:
    branch = Branch(TWO)
    branch.called("4165550101", "pstn")
    branch.called("4165550102", "pbx")
    branch.apply(('group = "g1"', 'group = "g1"\nlaw = "alaw"'))
    assert branch.lines == ["-pbx", "+pbx"]
    assert branch.up() == ["pstn"]
    assert len(branch.scene.records) == 1
    branch.scene.run(5)
    # And it works as it is now.
    assert branch.called("4165550103", "pbx").answered is not None


def test_spans_come_and_go() -> None:
    branch = Branch(TWO)
    branch.called("4165550101", "pstn")
    branch.apply((span_text("pbx", group="g1"), ""))
    assert branch.lines == ["-pbx"] and list(branch.scene.switch.trunks) == ["pstn"]
    branch.apply((ROUTES, span_text("pbx", group="g1") + ROUTES))
    assert branch.lines == ["-pbx", "+pbx"]
    branch.scene.run(5)
    assert branch.called("4165550102", "pbx").answered is not None
    assert branch.up() == ["pstn", "pbx"]


def test_what_waits_for_a_start_is_told_and_the_rest_is_done() -> None:
    branch = Branch()
    restart = branch.apply(
        ("[sip]\n", '[gateway]\nbus = "none"\nname = "other"\n[sip]\nrealm = "elsewhere"\n'),
        (ROUTES, ROUTES + ROUTE),
    )
    assert restart == "gateway: bus are taken up when the gateway is started anew"
    assert branch.scene.switch.sip.settings.realm == "elsewhere"
    assert branch.called("4165559999").answered is not None


def test_calls_stay_on_a_socket_that_is_to_be_closed_and_nothing_new_comes_by_it() -> None:
    branch = Branch()
    sip = branch.scene.switch.sip
    report = branch.called("4165550101")
    branch.apply(('listen = ["udp:10.0.0.1:5060"]', 'listen = ["udp:10.0.0.1:5070"]'))
    assert [(each.port, each.retired) for each in sip.settings.listeners] == [(5060, True), (5070, False)]
    assert branch.up() == ["pstn"] and sip.uses(0) and not sip.uses(1)
    branch.scene.from_sip("4165550101")
    branch.scene.run(1)
    assert branch.up() == ["pstn"] and len(branch.scene.switch.calls) == 1
    branch.called("4165550102")
    first, second = branch.invites()
    assert ":5060" in first.via.sent_by and ":5070" in second.via.sent_by
    branch.scene.exchanges["pstn"].hang_up(report.call, branch.scene.now)
    branch.scene.run(2)
    assert not sip.uses(0)
    branch.apply(('listen = ["udp:10.0.0.1:5070"]', 'listen = ["udp:10.0.0.1:5060"]'))
    assert [(each.port, each.retired) for each in sip.settings.listeners] == [(5060, False), (5070, True)]


def test_another_address_is_told_to_those_who_are_called_then_and_calls_hear_nothing_of_it() -> None:
    branch = Branch()
    branch.called("4165550101")
    sent = len(branch.scene.sent("INVITE"))
    branch.apply(("[sip]\n", '[network]\nexternip = "203.0.113.7"\nlocalnet = ["192.168.0.0/16"]\n[sip]\n'))
    branch.scene.run(2)
    assert len(branch.scene.sent("INVITE")) == sent
    branch.called("4165550102")
    first, second = branch.invites()
    assert b"203.0.113.7" not in first.body and b"c=IN IP4 203.0.113.7" in second.body
    assert len(branch.up()) == 2


def test_parts_that_are_closed_take_no_new_call_but_for_help() -> None:
    branch = Branch(TWO)
    branch.called("4165550101", "pstn")
    branch.applier.drain(frozenset({(Kind.SPAN, "pstn"), (Kind.TRUNK, "hq")}))
    assert branch.called("4165550102", "pstn").answered is None
    assert branch.called("4165550103", "pbx").answered is None
    assert branch.up() == ["pstn"]
    branch.applier.drain(frozenset())
    assert branch.called("4165550104", "pstn").answered is not None


def test_a_file_that_is_gone_is_an_error_before_anything_is_touched(tmp_path: Path) -> None:
    branch = Branch()
    secret = tmp_path / "hq"
    secret.write_text("correct horse battery")
    secret.chmod(0o600)
    _, new, plan = branch.plan(('host = "10.0.0.2"', f'host = "10.0.0.2"\nsecret = {{ file = "{secret}" }}'))
    secret.unlink()
    with pytest.raises(ApplyError, match="hq"):
        asyncio.run(branch.applier.apply(branch.runs, new, plan))
    assert branch.called("4165550101").answered is not None


def test_the_parts_of_a_call_are_those_of_both_its_legs() -> None:
    branch = Branch()
    branch.called("4165550101")
    (use,) = branch.applier.calls()
    assert use.uses == {(Kind.SPAN, "pstn"), (Kind.TRUNK, "hq")}
    assert use.destination


def test_a_registered_phone_whose_password_changes_has_to_register_again() -> None:
    branch = Branch()
    phone = '[[phone]]\nname = "desk"\nsecret = "correct horse"\ncontext = "from-hq"\n'
    branch.apply((ROUTES, phone + ROUTES))
    sip = branch.scene.switch.sip
    forgotten: list[Any] = []
    sip.phones.forget = lambda name, now: forgotten.append(name)  # type: ignore[method-assign]
    branch.apply(("correct horse", "battery staple"))
    assert forgotten == ["desk"]


def test_a_large_change_is_taken_up_in_a_moment() -> None:
    def made(text: str) -> Configuration:
        return parse(text, Path("/nowhere/gateway.toml"))

    scene = Scene()
    fresh = prepared(made(big()))
    other = prepared(made(big().replace('"g722", "alaw"', '"alaw"')))
    scene.switch.take_up(fresh, frozenset(), scene.now)
    least = 1.0
    for each in (other, fresh, other, fresh):
        begun = time.perf_counter()
        scene.switch.take_up(each, frozenset(), scene.now)
        least = min(least, time.perf_counter() - begun)
    assert len(scene.switch.sip.peers) == 501
    # A tenth of it is what it takes; the machine may have other things to do.
    assert least < 0.1


def test_240_calls_hear_nothing_of_twenty_changes() -> None:
    spans: dict[str, dict[str, object]] = {f"line{number}": {"group": f"g{number}"} for number in range(8)}
    branch = Branch(spans)
    scene = branch.scene
    for name in spans:
        for _ in range(30):
            scene.from_pstn("4165550101", name)
    scene.run(3)
    assert len(branch.up()) == 240
    streams = dict(scene.media.wiring.streams)
    peers = {number: scene.media.wiring.peer_of(stream) for number, stream in streams.items()}
    spoken = len(scene.sip_wire)
    phones = "".join(f'[[phone]]\nname = "phone{number}"\nhost = "10.0.1.{number + 1}"\n' for number in range(10))
    routes = "".join(
        f'[[route]]\ncontext = "internal"\nmatch = "{number}"\nto = ["sip:phone{number}"]\n' for number in range(7)
    )
    restart = branch.apply(
        (ROUTES, phones + routes + ROUTES),
        ('host = "10.0.0.2"', 'host = "10.0.0.2"\nallow = ["ulaw"]\ncall_limit = 500'),
        ("[sip]", '[gateway]\ncountry = "gb"\n[sip]'),
    )
    assert restart == ""
    assert len(branch.up()) == 240
    assert len(scene.sip_wire) == spoken
    assert scene.media.wiring.streams == streams
    assert {number: scene.media.wiring.peer_of(stream) for number, stream in streams.items()} == peers
    assert [len(exchange.lines) for exchange in scene.exchanges.values()] == [30] * 8
