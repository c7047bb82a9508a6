"""The plan of a change: what happens to each part, what differs, and whose calls drop."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from gateway.config import Configuration, model, parse
from gateway.config.plan import Action, CallUse, Difference, Entry, Plan, plan_of
from gateway.config.plan_rules import EFFECTS, Effect, Kind, effect_of
from gateway.config.shown_values import as_toml
from gateway.config.values import Qualify, Secret
from tests.unit.config.big_document import big

TEXT = """schema = 1
[gateway]
run_dir = "run"
[sip]
listen = ["udp:127.0.0.1:5060"]
[timers.q931]
T303_seconds = 4
[[span]]
name = "pstn"
channels = "virtual:pstn"
line = "e1"
[[span]]
name = "pbx"
channels = "virtual:pbx"
line = "e1"
group = "g1"
[[trunk]]
name = "hq"
technology = "sip"
host = "192.0.2.10"
secret = "correct horse"
[[trunk]]
name = "far"
technology = "iax2"
host = "192.0.2.12"
[[phone]]
name = "desk"
secret = "battery staple"
[[route]]
context = "default"
match = "100"
to = ["sip:desk"]
[[route]]
context = "default"
match = "_9X."
to = ["pri:g0/{number:1}", "sip:hq/{number:1}"]
[[cause]]
cause = "user_busy"
to_sip = 600
"""
CALLS = (
    CallUse("one", "pstn", "sip:desk", frozenset({(Kind.SPAN, "pstn"), (Kind.PHONE, "desk")})),
    CallUse("two", "hq", "pri:g0/5", frozenset({(Kind.TRUNK, "hq"), (Kind.SPAN, "pstn")})),
    CallUse("three", "hq", "sip:hq/1", frozenset({(Kind.TRUNK, "hq")})),
)


def configuration(text: str = TEXT) -> Configuration:
    return parse(text, Path("/nowhere/gateway.toml"))


def planned(*changes: tuple[str, str], calls: Iterable[CallUse] = CALLS) -> Plan:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return plan_of(configuration(), configuration(text), calls)


def only(plan: Plan) -> Entry:
    (entry,) = plan.changes
    return entry


def test_nothing_changed_is_every_part_unchanged() -> None:
    plan = planned(("schema = 1\n", "# a remark, that moves all lines\nschema = 1\n\n"))
    assert plan.changes == () and plan.dropped == () and plan.service == ""
    assert [(entry.kind.value, entry.name) for entry in plan.entries] == [
        ("gateway", ""),
        ("network", ""),
        ("media", ""),
        ("sip", ""),
        ("iax", ""),
        ("timers", ""),
        ("span", "pstn"),
        ("span", "pbx"),
        ("trunk", "hq"),
        ("trunk", "far"),
        ("phone", "desk"),
        ("context", "default"),
        ("cause", ""),
    ]


def test_a_new_route_drops_no_call() -> None:
    entry = only(planned(("[[cause]]", '[[route]]\ncontext = "default"\nmatch = "101"\nto = ["echo"]\n[[cause]]')))
    assert (entry.kind, entry.name, entry.action, entry.calls) == (Kind.CONTEXT, "default", Action.UPDATED, ())
    assert entry.differences == (Difference("101", "", '{ to = ["echo"] }'),)


def test_a_changed_and_a_removed_route_are_told_by_what_they_match() -> None:
    entry = only(planned(('["sip:desk"]', '["echo"]')))
    assert entry.differences == (Difference("100", '{ to = ["sip:desk"] }', '{ to = ["echo"] }'),)
    moved = planned(("[[cause]]", '[[route]]\ncontext = "other"\nmatch = "1"\nto = ["echo"]\n[[cause]]'))
    assert [(each.name, each.action) for each in moved.changes] == [("other", Action.ADDED)]


@pytest.mark.parametrize(
    "change",
    [
        ('"192.0.2.10"\n', '"192.0.2.10"\nallow = ["ulaw", "alaw"]\n'),
        ('"192.0.2.10"\n', '"192.0.2.99"\n'),
        ('secret = "battery staple"\n', 'secret = "battery staple"\ncall_limit = 2\n'),
        ("to_sip = 600", "to_sip = 486"),
        ("[sip]\n", '[sip]\nrealm = "other"\n'),
    ],
)
def test_what_is_taken_up_in_place_drops_no_call(change: tuple[str, str]) -> None:
    entry = only(planned(change))
    assert (entry.action, entry.calls, entry.why) == (Action.UPDATED, (), "")
    assert len(entry.differences) == 1


def test_a_span_change_drops_the_calls_of_that_span_alone() -> None:
    plan = planned(('group = "g1"\n', 'group = "g1"\nside = "network"\n'))
    assert (only(plan).name, only(plan).action, plan.dropped) == ("pbx", Action.RESTARTED, ())
    plan = planned(('name = "pstn"\n', 'name = "pstn"\nside = "network"\n'))
    assert only(plan).differences == (Difference("side", '"user"', '"network"'),)
    assert plan.dropped == ("one", "two")
    assert plan.affected == {(Kind.SPAN, "pstn")}
    assert only(plan).why == "span pstn is restarted for its side"


def test_what_is_removed_drops_its_calls() -> None:
    plan = planned(
        ('[[trunk]]\nname = "hq"\ntechnology = "sip"\nhost = "192.0.2.10"\nsecret = "correct horse"\n', ""),
        (', "sip:hq/{number:1}"', ""),
    )
    trunk, context = plan.changes
    assert (trunk.action, trunk.calls, trunk.why) == (Action.REMOVED, ("two", "three"), "trunk hq is removed")
    assert context.action is Action.UPDATED


def test_a_password_is_never_told() -> None:
    entry = only(planned(("correct horse", "another one")))
    assert entry.differences == (Difference("secret", "", "", secret=True),)
    entry = next(each for each in planned(('secret = "correct horse"\n', "")).changes)
    assert entry.differences[0].secret
    assert as_toml(Secret(text="correct horse")) == '"…"'


def test_what_waits_for_a_start_says_so_and_drops_nothing() -> None:
    plan = planned(('run_dir = "run"', 'run_dir = "run2"'))
    assert only(plan).action is Action.DEFERRED
    assert plan.service == only(plan).why == "gateway: run_dir are taken up when the gateway is started anew"
    assert plan.dropped == ()


def test_timers_are_told_by_their_names() -> None:
    entry = only(planned(("T303_seconds = 4", "T303_seconds = 5")))
    assert entry.differences == (Difference("q931.T303", '"4 s"', '"5 s"'),)
    plan = planned(('group = "g1"\n', 'group = "g1"\n[span.timers.q921]\nN200 = 4\n'))
    assert (only(plan).action, only(plan).differences[0].key) == (Action.RESTARTED, "timers.q921.N200")


def test_a_trunk_that_changes_its_technology_is_restarted() -> None:
    plan = planned(('technology = "iax2"', 'technology = "sip"'))
    assert [(each.kind, each.action) for each in plan.changes if each.kind is Kind.TRUNK] == [
        (Kind.TRUNK, Action.RESTARTED)
    ]


def test_every_row_of_the_rules_is_a_key_of_the_model() -> None:
    structs: dict[Kind, tuple[type[msgspec.Struct], ...]] = {
        Kind.GATEWAY: (model.GatewaySection,),
        Kind.NETWORK: (model.NetworkSection,),
        Kind.MEDIA: (model.MediaSection,),
        Kind.SIP: (model.SipSection,),
        Kind.IAX: (model.IaxSection,),
        Kind.TIMERS: (model.Timers,),
        Kind.SPAN: (model.Span,),
        Kind.TRUNK: (model.Trunk, model.IaxTrunk),
        Kind.PHONE: (model.Phone,),
    }
    for kind, rows in EFFECTS.items():
        known = {field for struct in structs[kind] for field in struct.__struct_fields__}
        assert {key.partition(".")[0] for key in rows} <= known
    assert effect_of(Kind.SPAN, "timers.q921.T200") is Effect.PART
    assert effect_of(Kind.SPAN, "timers.q931.T303") is Effect.IN_PLACE


def test_of_every_key_it_is_decided_how_it_is_taken_up() -> None:
    # Whoever adds a key to these sections decides whether it can be in force while the gateway runs: here, if
    # ``Switch.take_up`` sees to it, or else in the rules.
    in_place = {
        Kind.GATEWAY: {"name", "country", "state_dir", "records", "records_megabytes", "records_files", "metrics"},
        Kind.NETWORK: set(model.NetworkSection.__struct_fields__),
        Kind.MEDIA: {
            "prompts",
            "musiconhold",
            "media_address",
            "rtp_ports",
            "silence_ms",
            "grace_seconds",
        },
        Kind.SIP: {
            "listen",
            "auth_algorithms",
            "context",
            "defaultexpiry",
            "directrtpsetup",
            "maxexpiry",
            "minexpiry",
            "natexpiry",
            "realm",
            "session_expires",
            "session_minse",
            "tls_ca",
            "tls_certificate",
            "tls_crl",
            "tls_key",
            "tls_verify_client",
            "useragent",
        },
        Kind.IAX: {
            "listen",
            "context",
            "encryption",
            "forceencryption",
            "keyrotate",
            "maxexpiry",
            "minexpiry",
            "trunktimestamps",
        },
    }
    sections = {
        Kind.GATEWAY: model.GatewaySection,
        Kind.NETWORK: model.NetworkSection,
        Kind.MEDIA: model.MediaSection,
        Kind.SIP: model.SipSection,
        Kind.IAX: model.IaxSection,
    }
    for kind, section in sections.items():
        assert set(section.__struct_fields__) == in_place[kind] | set(EFFECTS.get(kind, {}))


def test_values_are_written_as_in_the_file() -> None:
    hq = configuration().trunks[0]
    assert as_toml(hq.host) == '"192.0.2.10"'
    assert as_toml(Qualify(None)) == "false"
    assert as_toml(hq.nat) == '["auto_force_rport"]'
    assert as_toml(None) == ""
    assert as_toml(configuration().causes[0].cause) == '"user_busy"'


def test_a_thousand_routes_and_five_hundred_phones_are_planned_in_a_moment() -> None:
    old = configuration(big())
    new = configuration(big().replace("192.0.2.10", "192.0.2.11"))
    least = min(_seconds(old, new) for _ in range(5))
    # A hundredth of it is what it takes; the machine may have other things to do.
    assert least < 0.5
    assert len(plan_of(old, new).changes) == 1


def _seconds(old: Configuration, new: Configuration) -> float:
    begun = time.perf_counter()
    plan_of(old, new)
    return time.perf_counter() - begun
