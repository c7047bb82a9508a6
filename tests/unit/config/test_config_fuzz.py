"""Random configuration files: whatever they hold, they are read or refused with a ConfigError."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config import ConfigError, Severity, check, parse
from gateway.config.model import (
    CauseRule,
    GatewaySection,
    IaxSection,
    IaxTrunk,
    MediaSection,
    NetworkSection,
    Phone,
    Route,
    SipSection,
    Span,
    Trunk,
)
from gateway.routing.dialplan import DialPlan

PATH = Path("/nowhere/fuzz.toml")

SECTIONS = {
    "gateway": GatewaySection,
    "network": NetworkSection,
    "media": MediaSection,
    "sip": SipSection,
    "iax": IaxSection,
    "span": Span,
    "trunk": Trunk,
    "phone": Phone,
    "route": Route,
    "cause": CauseRule,
}
LISTS = ("span", "trunk", "phone", "route", "cause")

WORDS = """auto none udp:[::]:5060 tls:0.0.0.0:5061 virtual:/run/a dahdi:1 e1 t1 user network euroisdn qsig g0 G0 a b
default sip iax2 192.0.2.1 192.0.2.1:5060 pbx.example.org dynamic tcp tls alaw ulaw g722 all required optional no yes
rfc4733 info invite port force_rport comedia site remote _X. _NXX! 911 _[1-3]5 sip:a sip:a/{number:1} pri:g0/{number}
goto:a/1 goto:b/{number} play:x tone:busy echo milliwatt reject:17 reject:busy secure_media us de 10.0.0.0/8 1-15,17-31
::1 [::1]:5060 user_busy 17 pai rpid both originate"""

words = st.sampled_from(WORDS.split())
scalars = st.one_of(
    words.map(lambda word: f'"{word}"'),
    words.map(lambda word: f'"{word}"'),
    st.integers(-(2**70), 2**70).map(str),
    st.integers(0, 9999).map(str),
    st.sampled_from(
        ["true", "false", "1.5", "nan", "-inf", "1979-05-27", "07:32:00", '""', "'''\n\\'''", '"\\u0000é"']
    ),
    st.text(alphabet="aZ09 .:/[]_*#é\t", max_size=8).map(lambda text: f"'{text}'"),
)
lists = st.lists(scalars, max_size=3).map(lambda items: "[" + ", ".join(items) + "]")
tables = st.tuples(st.sampled_from(["file", "q931", "x"]), scalars).map(lambda pair: f"{{ {pair[0]} = {pair[1]} }}")
values = st.one_of(scalars, scalars, lists, tables, st.lists(tables, max_size=2).map(lambda ts: f"[{', '.join(ts)}]"))


@st.composite
def documents(draw: st.DrawFn) -> str:
    lines = ["schema = 1"]
    for section in draw(st.lists(st.sampled_from(sorted(SECTIONS)), max_size=8)):
        if section not in LISTS and f"[{section}]" in lines:
            continue
        lines.append(f"[[{section}]]" if section in LISTS else f"[{section}]")
        keys = [*SECTIONS[section].__struct_fields__, "typo"]
        if section == "trunk":
            keys += IaxTrunk.__struct_fields__
        for key in draw(st.lists(st.sampled_from(sorted({*keys})), max_size=8, unique=True)):
            lines.append(f"{key} = {draw(values)}")
    return "\n".join(lines)


def read(text: str) -> None:
    found = check(text, PATH)
    for problem in found:
        assert "\n" not in str(problem)
        assert problem.line >= 1
        assert problem.text
    try:
        configuration = parse(text, PATH)
    except ConfigError as error:
        assert error.problems
        assert all(problem.severity is Severity.ERROR for problem in error.problems)
        return
    assert list(configuration.warnings) == found
    plan = DialPlan(configuration)
    for context in (*plan.contexts, "default"):
        for number in ("", "911", "4165551234"):
            plan.explain(context, number, complete=False)
            plan.route(context, number)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents())
def test_random_sections_are_read_or_refused(text: str) -> None:
    read(text)


@settings(deadline=None)
@given(st.text(alphabet="[]{}=.,#\"'\\\n abschema1_-", max_size=60))
def test_random_toml_is_read_or_refused(text: str) -> None:
    read("schema = 1\n" + text)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_random_text_is_read_or_refused(text: str) -> None:
    read(text)


GOOD = """schema = 1
[sip]
listen = ["udp:[::]:5060"]
[[span]]
name = "pstn"
channels = "virtual:/run/bg/pstn"
line = "e1"
context = "in"
[span.timers.q931]
T303_seconds = 4
[[trunk]]
name = "hq"
technology = "sip"
host = "192.0.2.10"
[[route]]
context = "in"
match = "_9NXX."
to = ["pri:g0/{number:1}", "sip:hq/{number}"]
[[route]]
context = "in"
include = ["more"]
[[route]]
context = "more"
match = "1"
to = ["goto:in/9416{number}"]
"""


@settings(max_examples=120, deadline=None)
@given(st.integers(0, len(GOOD)), st.integers(0, 6), st.text(alphabet='[]{}="\n _X.!:/-,a1é\x00', max_size=4))
def test_damaged_good_file_is_read_or_refused(at: int, cut: int, put: str) -> None:
    read(GOOD[:at] + put + GOOD[at + cut :])


def test_good_file_is_good() -> None:
    assert check(GOOD, PATH) == []
