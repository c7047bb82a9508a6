"""What the check says where help cannot be called from."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.file import check
from gateway.config.problems import Severity

HEAD = """\
schema = 1
[gateway]
country = "{country}"
[sip]
listen = ["udp:127.0.0.1:5060"]
[[phone]]
name = "desk"
context = "internal"
secret = "walnut-4711-harbour"
[[route]]
context = "in"
match = "100"
to = ["sip:desk"]
"""
SPAN = '[[span]]\nname = "s0"\nchannels = "virtual:s0"\nline = "e1"\nswitch_type = "euroisdn"\ncontext = "in"\n'
IAX = """\
[[trunk]]
name = "{name}"
technology = "iax2"
host = "192.0.2.10"
context = "in"
secret = "walnut-4711-harbour-{name}"
forceencryption = {force}
"""


def route(match: str, *to: str, context: str = "internal") -> str:
    written = ", ".join(f'"{each}"' for each in to)
    return f'[[route]]\ncontext = "{context}"\nmatch = "{match}"\nto = [{written}]\n'


def told(*parts: str, country: str = "us") -> list[str]:
    text = HEAD.format(country=country) + "".join(parts)
    problems = check(text, Path("gateway.toml"))
    assert not [str(problem) for problem in problems if problem.severity is Severity.ERROR]
    return [problem.text for problem in problems if "emergency" in problem.text]


def test_no_route_for_help_is_told_at_the_telephone() -> None:
    assert told(SPAN, route("_9NXXNXXXXXX", "pri:g0/{number:1}")) == [
        "the emergency number 911 cannot be called from here: no [[route]] leads out"
    ]
    assert told(SPAN, route("_9NXXNXXXXXX", "pri:g0/{number:1}"), route("911", "pri:g0/911")) == []


def test_every_number_of_a_country_counts() -> None:
    assert told(SPAN, route("112", "pri:g0/112"), country="fr") == [
        "the emergency numbers 15, 17, 18 cannot be called from here: no [[route]] leads out"
    ]


def test_a_prefix_that_is_taken_off_is_told() -> None:
    outside = route("_9.", "pri:g0/{number:1}")
    assert told(SPAN, outside) == [
        'the emergency number 911 leaves as 11, to pri:g0/11; expected a [[route]] with match = "911" of its own'
    ]
    assert told(SPAN, outside, route("911", "pri:g0/911")) == []


def test_what_is_refused_on_purpose_is_told() -> None:
    cannot = ["the emergency number 911 cannot be called from here: no [[route]] leads out"]
    assert told(SPAN, route("911", "reject:21")) == cannot


@pytest.mark.parametrize("to", ["goto:away/{number}", "goto:away/911"])
def test_what_other_contexts_make_of_it_counts(to: str) -> None:
    onwards = route("911", to)
    assert told(SPAN, onwards, route("911", "pri:g0/911", context="away")) == []
    assert told(SPAN, onwards, route("911", "pri:g0/0911", context="away")) != []
    assert told(SPAN, onwards, route("100", "echo", context="away")) == [
        "the emergency number 911 cannot be called from here: no [[route]] leads out"
    ]


def test_one_way_that_needs_no_encryption_is_enough() -> None:
    safe, other = IAX.format(name="safe", force="true"), IAX.format(name="other", force="false")
    said = [
        "the emergency number 911 has no way but over trunks with forceencryption: "
        "where the far end does not encrypt, nobody answers"
    ]
    assert told(safe, other, route("911", "iax2:safe/911")) == said
    assert told(safe, other, route("911", "iax2:safe/911", "iax2:other/911")) == []
    assert told(safe, SPAN, route("911", "iax2:safe/911", "pri:g0/911")) == []


def test_where_nobody_can_call_out_nothing_is_said() -> None:
    assert told(route("100", "echo")) == []


def test_a_pbx_behind_a_span_counts_as_telephones_do() -> None:
    span = SPAN.replace('context = "in"\n', 'side = "network"\ncontext = "pbx"\n')
    assert told(span, route("911", "pri:g0/911"), route("_9.", "pri:g0/{number:1}", context="pbx")) == [
        'the emergency number 911 leaves as 11, to pri:g0/11; expected a [[route]] with match = "911" of its own'
    ]
