"""The dial plan's decisions: order, overlap, includes, goto, facts, callers, and what it says about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cause import Cause
from gateway.config import parse
from gateway.media.tones import tones_for
from gateway.pri.channels import Hunt
from gateway.routing.dialplan import (
    MAX_GOTO,
    DialPlan,
    EchoDestination,
    Incomplete,
    MilliwattDestination,
    PhoneDestination,
    PlayDestination,
    PriDestination,
    Refused,
    RejectDestination,
    Route,
    TonedDestination,
    TrunkDestination,
)
from gateway.routing.groups import trunk_groups

HEAD = """
schema = 1
[gateway]
country = "us"
[[span]]
name = "pstn"
channels = "virtual:/run/bg/pstn"
line = "e1"
group = "g0"
[[span]]
name = "spare"
channels = "virtual:/run/bg/spare"
line = "t1"
switch_type = "ni2"
group = ["g0", "g1"]
[[trunk]]
name = "hq"
technology = "sip"
host = "192.0.2.10"
[[phone]]
name = "desk"
host = "192.0.2.20"
"""


def route(context: str, match: str, *to: str, **more: object) -> str:
    text = f'[[route]]\ncontext = "{context}"\nmatch = "{match}"\nto = [{", ".join(map(repr, to))}]\n'
    return text + "".join(f"{key} = {value!r}\n" for key, value in more.items())


def include(context: str, *names: str) -> str:
    return f'[[route]]\ncontext = "{context}"\ninclude = [{", ".join(map(repr, names))}]\n'


def plan(*routes: str, directory: Path = Path("/etc/bg")) -> DialPlan:
    return DialPlan(parse(HEAD + "".join(routes), directory / "branch.toml"))


def destinations(routing: object) -> list[str]:
    assert isinstance(routing, Route), routing
    return [str(destination) for destination in routing.destinations]


def test_destinations_come_typed_and_in_order(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "closed.wav").write_bytes(b"RIFF" + bytes(4) + b"WAVE")
    to = ("pri:R0/{number:1}", "sip:hq/1{number:1}", "sip:desk", "play:closed", "tone:busy", "echo", "milliwatt")
    dial = plan(route("a", "_9X.", *to, "reject:21", ring_seconds=25), directory=tmp_path)
    routing = dial.route("a", "9416")
    assert isinstance(routing, Route)
    assert routing.destinations == (
        PriDestination("g0", Hunt.ROUND_ROBIN_DESCENDING, "416"),
        TrunkDestination("hq", "1416"),
        PhoneDestination("desk", "9416"),
        PlayDestination(str(tmp_path / "prompts" / "closed.wav"), "closed"),
        TonedDestination(tones_for("us").busy, Cause.USER_BUSY, "busy"),
        EchoDestination(),
        MilliwattDestination(),
        RejectDestination(Cause.CALL_REJECTED),
    )
    assert (routing.match, routing.context, routing.ring_seconds) == ("_9X.", "a", 25)
    assert [str(destination) for destination in routing.destinations] == [
        "pri:R0/416",
        "sip:hq/1416",
        "sip:desk",
        "play:closed",
        "tone:busy",
        "echo",
        "milliwatt",
        "reject:call_rejected",
    ]


def test_line_is_that_of_the_route_in_the_file() -> None:
    routing = plan(route("a", "1", "echo"), route("a", "2", "echo")).route("a", "2")
    assert isinstance(routing, Route)
    assert routing.line == HEAD.count("\n") + 5


def test_number_before_pattern_and_specific_before_general() -> None:
    dial = plan(route("a", "_X.", "sip:hq/1"), route("a", "_555X", "sip:hq/2"), route("a", "5551", "sip:hq/3"))
    assert destinations(dial.route("a", "5551")) == ["sip:hq/3"]
    assert destinations(dial.route("a", "5552")) == ["sip:hq/2"]
    assert destinations(dial.route("a", "555")) == ["sip:hq/1"]


def test_first_of_two_equal_patterns_stands() -> None:
    dial = plan(route("a", "_5X", "sip:hq/1"), route("a", "_5[0-9]", "sip:hq/2"))
    assert destinations(dial.route("a", "51")) == ["sip:hq/1"]


def test_separators_in_the_called_number_do_not_count() -> None:
    assert destinations(plan(route("a", "555-1234", "sip:hq/{number}")).route("a", "5-551234")) == ["sip:hq/5551234"]


def test_unknown_number_is_unallocated_at_once() -> None:
    for complete in (True, False):
        refused = plan(route("a", "_555XXXX", "echo")).route("a", "6", complete=complete)
        assert isinstance(refused, Refused)
        assert refused.cause is Cause.UNALLOCATED_NUMBER


def test_incomplete_number_is_unallocated_when_no_digit_will_follow() -> None:
    refused = plan(route("a", "_555XXXX", "echo")).route("a", "555")
    assert isinstance(refused, Refused)
    assert refused.cause is Cause.UNALLOCATED_NUMBER


def test_strangers_are_rejected_by_the_default_context() -> None:
    refused = plan().route("default", "4165551234")
    assert isinstance(refused, Refused)
    assert refused.cause is Cause.CALL_REJECTED


def test_default_context_takes_what_is_put_there() -> None:
    dial = plan(route("default", "100", "sip:desk"))
    assert destinations(dial.route("default", "100")) == ["sip:desk"]
    assert isinstance(dial.route("default", "101"), Refused)


# -- includes --


def test_own_context_goes_before_a_more_specific_include() -> None:
    dial = plan(include("a", "b"), route("a", "_X.", "sip:hq/1"), route("b", "5551", "sip:hq/2"))
    assert destinations(dial.route("a", "5551")) == ["sip:hq/1"]


def test_includes_are_searched_in_order_and_in_depth() -> None:
    dial = plan(
        include("a", "b", "c"),
        include("b", "d"),
        route("c", "_1X", "sip:hq/3"),
        route("d", "_1X", "sip:hq/4"),
        route("c", "2", "sip:hq/5"),
    )
    assert destinations(dial.route("a", "10")) == ["sip:hq/4"]
    assert destinations(dial.route("a", "2")) == ["sip:hq/5"]
    assert isinstance(dial.route("b", "2"), Refused)


# -- overlap --


def test_overlap_waits_while_digits_can_still_lead_somewhere() -> None:
    dial = plan(route("a", "_9NXXNXXXXXX", "pri:g0/{number:1}"))
    for count in range(11):
        assert dial.route("a", "94165551234"[:count], complete=False) == Incomplete(matches=False)
    assert destinations(dial.route("a", "94165551234", complete=False)) == ["pri:g0/4165551234"]


def test_overlap_waits_for_a_longer_number_and_takes_the_shorter_when_none_comes() -> None:
    dial = plan(route("a", "10", "echo"), route("a", "1001", "milliwatt"))
    assert dial.route("a", "10", complete=False) == Incomplete(matches=True)
    assert destinations(dial.route("a", "10", complete=True)) == ["echo"]
    assert destinations(dial.route("a", "1001", complete=False)) == ["milliwatt"]


def test_overlap_waits_for_a_longer_number_of_an_include() -> None:
    dial = plan(route("a", "10", "echo"), include("a", "b"), route("b", "_10XX", "milliwatt"))
    assert dial.route("a", "10", complete=False) == Incomplete(matches=True)


def test_overlap_ends_at_once_when_nothing_can_match_any_more() -> None:
    refused = plan(route("a", "_9NXX", "echo")).route("a", "91", complete=False)
    assert isinstance(refused, Refused)
    assert refused.cause is Cause.UNALLOCATED_NUMBER


def test_dot_waits_for_the_end_and_bang_does_not() -> None:
    dial = plan(route("a", "_0.", "pri:g0/{number}"), route("a", "_1!", "pri:g0/{number:1}"))
    assert dial.route("a", "05", complete=False) == Incomplete(matches=True)
    routing = dial.route("a", "1", complete=False)
    assert isinstance(routing, Route)
    assert routing.open_ended
    assert destinations(routing) == ["pri:g0/"]


def test_bang_is_not_open_ended_where_the_number_cannot_grow_at_its_end() -> None:
    routing = plan(route("a", "_1!", "pri:g0/{number:1:3}")).route("a", "14", complete=False)
    assert isinstance(routing, Route)
    assert not routing.open_ended


def test_emergency_number_never_waits() -> None:
    dial = plan(route("a", "911", "pri:g0/911"), route("a", "_9NXXNXXXXXX", "echo"), route("a", "_91X.", "echo"))
    routing = dial.route("a", "911", complete=False)
    assert isinstance(routing, Route)
    assert routing.emergency
    assert isinstance(dial.route("a", "912", complete=False), Incomplete)


def test_other_numbers_are_no_emergency() -> None:
    routing = plan(route("a", "_X.", "echo")).route("a", "4165551234")
    assert isinstance(routing, Route)
    assert not routing.emergency


def test_call_without_number_is_looked_up_as_s() -> None:
    dial = plan(route("a", "s", "sip:desk"), route("a", "_1XX", "echo"))
    assert destinations(dial.route("a", "")) == ["sip:desk"]
    assert dial.route("a", "", complete=False) == Incomplete(matches=False)
    assert isinstance(plan(route("a", "_1XX", "echo")).route("a", ""), Refused)


# -- facts and callers --


def test_required_fact_that_is_missing_refuses_the_call() -> None:
    dial = plan(route("a", "1", "echo", require=["secure_signalling", "secure_media"]))
    refused = dial.route("a", "1", facts=frozenset({"secure_media"}))
    assert isinstance(refused, Refused)
    assert refused.cause is Cause.BEARER_CAPABILITY_NOT_AUTHORIZED
    assert "secure_signalling" in refused.reason
    assert "secure_media" not in refused.reason
    assert isinstance(dial.route("a", "1", facts=frozenset({"secure_media", "secure_signalling"})), Route)


def test_emergency_call_is_let_pass_whatever_fact_is_missing() -> None:
    dial = plan(
        route("a", "911", "echo", require=["secure_signalling"]),
        route("a", "_9X11", "goto:b/{number:1}"),
        route("b", "_X.", "echo", require=["secure_media"]),
    )
    for number, lacks in (("911", "secure_signalling"), ("9911", "secure_media")):
        found = dial.route("a", number)
        assert isinstance(found, Route)
        assert found.emergency
        assert f"requires {lacks}, which the caller's hop lacks" in found.waived
    assert not getattr(dial.route("a", "911", facts=frozenset({"secure_signalling"})), "waived", "?")


def test_secure_bridge_of_a_route_and_of_those_it_goes_to_hold_together() -> None:
    dial = plan(
        route("a", "1", "sip:hq/1", secure_bridge=["secure_signalling"]),
        route("a", "2", "sip:hq/2", "goto:b/3"),
        route("a", "4", "sip:hq/4"),
        route("b", "3", "sip:hq/3", secure_bridge=["secure_media", "secure_signalling"]),
    )
    found = [dial.route("a", number) for number in ("1", "2", "4")]
    assert [route.secure_bridge for route in found if isinstance(route, Route)] == [
        {"secure_signalling"},
        {"secure_media", "secure_signalling"},
        frozenset(),
    ]


def test_route_for_certain_callers_goes_first() -> None:
    dial = plan(
        route("a", "1", "sip:hq/all"),
        route("a", "1", "sip:hq/toronto", caller="_416NXXXXXX"),
        route("a", "1", "sip:hq/one", caller="4165551234"),
        route("a", "_X", "sip:hq/x", caller="_X."),
    )
    assert destinations(dial.route("a", "1", "4165551234")) == ["sip:hq/toronto"]
    assert destinations(dial.route("a", "1", "9")) == ["sip:hq/all"]
    assert destinations(dial.route("a", "1")) == ["sip:hq/all"]
    assert destinations(dial.route("a", "2", "55")) == ["sip:hq/x"]
    assert isinstance(dial.route("a", "2", "5"), Refused)


def test_caller_that_fits_no_number_falls_to_the_next_pattern() -> None:
    dial = plan(route("a", "1", "echo", caller="_416."), route("a", "_X", "milliwatt"))
    assert destinations(dial.route("a", "1", "905")) == ["milliwatt"]


# -- goto --


def test_goto_leads_on_and_splices_in_its_place() -> None:
    dial = plan(
        route("a", "_12XX", "goto:b/416555{number}", "tone:congestion"),
        route("b", "_4165551XXX", "sip:desk", "sip:hq/{number}"),
    )
    assert destinations(dial.route("a", "1234")) == ["sip:desk", "sip:hq/4165551234", "tone:congestion"]


def test_goto_that_leads_nowhere_refuses() -> None:
    refused = plan(route("a", "1", "goto:b/5"), route("b", "6", "echo")).route("a", "1")
    assert isinstance(refused, Refused)
    assert refused.cause is Cause.UNALLOCATED_NUMBER


def test_goto_that_needs_more_digits_waits() -> None:
    dial = plan(route("a", "_1!", "goto:b/{number}"), route("b", "_1XX", "echo"))
    assert isinstance(dial.route("a", "1", complete=False), Incomplete)
    assert destinations(dial.route("a", "123", complete=False)) == ["echo"]


def test_gotos_in_a_circle_end() -> None:
    refused = plan(route("a", "_X", "goto:b/{number}"), route("b", "_X", "goto:a/{number}")).route("a", "1")
    assert isinstance(refused, Refused)
    assert refused.cause is Cause.EXCHANGE_ROUTING_ERROR


def test_gotos_up_to_the_limit_are_followed() -> None:
    chain = [route(f"c{n}", "1", f"goto:c{n + 1}/1") for n in range(MAX_GOTO)]
    assert destinations(plan(*chain, route(f"c{MAX_GOTO}", "1", "echo")).route("c0", "1")) == ["echo"]


def test_two_circles_do_not_multiply() -> None:
    """A circle of two gotos each would be 2 to the 16th ways without an end to it."""
    dial = plan(route("a", "_X", "goto:a/{number}", "goto:a/{number}"))
    assert isinstance(dial.route("a", "1"), Refused | Route)


def test_reject_alone_refuses_with_its_cause() -> None:
    refused = plan(route("a", "_0.", "reject:outgoing_calls_barred_in_cug")).route("a", "011")
    assert isinstance(refused, Refused)
    assert refused.cause is Cause.OUTGOING_CALLS_BARRED_IN_CUG


# -- explain, groups --


def test_explain_tells_each_step_and_the_decision() -> None:
    dial = plan(
        include("a", "b"),
        route("a", "_12XX", "goto:b/416555{number}"),
        route("a", "_X.", "echo"),
        route("b", "_4165551XXX", "sip:desk"),
        route("b", "_1XXX", "echo", caller="7"),
    )
    base = HEAD.count("\n")
    assert dial.explain("a", "1234") == [
        "context a: looking for 1234",
        f"  _12XX matches, branch.toml:{base + 4}",
        f"  _X. would match too, but comes later, branch.toml:{base + 8}",
        f"  _1XXX is for caller 7 only, branch.toml:{base + 16} (included: b)",
        "goes on in context b with 4165551234",
        "context b: looking for 4165551234",
        f"  _4165551XXX matches, branch.toml:{base + 12}",
        "goes to sip:desk",
    ]


@pytest.mark.parametrize(
    ("context", "number", "complete", "last"),
    [
        ("a", "77", True, "refused with cause 1 (unallocated_number): no route for 77 in context a"),
        ("a", "12", False, "waits for more digits"),
        ("a", "91", False, "waits for more digits, would do as it is"),
        ("nowhere", "1", True, "refused with cause 1 (unallocated_number): no route for 1 in context nowhere"),
    ],
)
def test_explain_ends_with_what_happens(context: str, number: str, complete: bool, last: str) -> None:
    dial = plan(route("a", "_12XX", "echo"), route("a", "_9.", "echo"))
    assert dial.explain(context, number, complete=complete)[-1] == last


def test_explain_names_an_emergency() -> None:
    assert "911 is an emergency number" in plan(route("a", "911", "pri:g0/911")).explain("a", "911")


def test_trunk_groups_list_their_spans_in_file_order() -> None:
    assert trunk_groups(parse(HEAD, Path("x.toml"))) == {"g0": ("pstn", "spare"), "g1": ("spare",)}


def test_goto_that_needs_more_digits_behind_a_destination_does_not_hold_that_up() -> None:
    dial = plan(route("a", "_1!", "echo", "goto:b/{number}"), route("b", "_1XX", "milliwatt"))
    assert destinations(dial.route("a", "1", complete=False)) == ["echo"]
