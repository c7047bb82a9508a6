"""Bindings and their flows against a model; what is stored of them comes back, and what is no such file does not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.core import SECOND
from gateway.voip.sip.binding_store import restored, stored
from gateway.voip.sip.flow import TCP, TLS, UDP, Flow
from gateway.voip.sip.hop import Listener
from gateway.voip.sip.location import Binding, Location, LocationFull, flow_for
from gateway.voip.sip.uri import Uri

NAMES = ("desk", "lobby", "trunk")
FLOWS = (
    Flow(UDP, "192.0.2.20", 5060),
    Flow(UDP, "198.51.100.7", 40_000),
    Flow(TCP, "192.0.2.20", 40_000, 1),
    Flow(TCP, "198.51.100.7", 40_000, 2),
    Flow(TLS, "192.0.2.21", 40_000, 3),
)
LIMIT = 8


def binding(name: str = "desk", flow: Flow = FLOWS[0], expires: int = 100, **changes: object) -> Binding:
    contact = str(changes.pop("contact", f"sip:{name}@192.0.2.20:5070"))
    made = Binding(name, contact, Uri.parse(contact), flow, "c1", 1, expires * SECOND, 60)
    return replace(made, **changes)  # type: ignore[arg-type]


class LocationMachine(RuleBasedStateMachine):
    """The model is a list of bindings a name, filtered each time by what has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.location = Location(LIMIT)
        self.model: dict[str, list[Binding]] = {}
        self.now = 0
        self.swept = 0

    def standing(self, name: str) -> list[Binding]:
        return [each for each in self.model.get(name, []) if each.expires > self.now]

    @rule(
        name=st.sampled_from(NAMES),
        new=st.lists(
            st.tuples(st.sampled_from(FLOWS), st.integers(-5, 60), st.booleans(), st.sampled_from((1000, 500, 0))),
            max_size=4,
        ),
    )
    def put(self, name: str, new: list[tuple[Flow, int, bool, int]]) -> None:
        wanted = [
            binding(
                name,
                flow,
                expires=0,
                contact=f"sip:{name}{number}@192.0.2.20:5070",
                behind_nat=natted,
                q=q,
                serial=self.location.next_serial(),
            )
            for number, (flow, _, natted, q) in enumerate(new)
        ]
        wanted = [replace(each, expires=self.now + row[1] * SECOND) for each, row in zip(wanted, new, strict=True)]
        lasting = [each for each in wanted if each.expires > self.now]
        kept = len(self.location) - sum(1 for each in self.location if each.name == name)
        growing = len(lasting) > sum(1 for each in self.location if each.name == name)
        if growing and kept + len(lasting) > LIMIT:
            with pytest.raises(LocationFull):
                self.location.put(name, wanted, self.now)
            return
        self.location.put(name, wanted, self.now)
        self.model[name] = lasting

    @rule(seconds=st.integers(1, 40))
    def wait(self, seconds: int) -> None:
        self.now += seconds * SECOND

    @rule()
    def sweep(self) -> None:
        ended = self.location.expire(self.now)
        assert all(each.expires <= self.now for each in ended)
        at = self.location.next_timer()
        assert at is None or at > self.now
        assert len(self.location) == sum(len(self.standing(name)) for name in NAMES)

    @rule(flow=st.sampled_from(FLOWS[2:]))
    def lose(self, flow: Flow) -> None:
        self.location.lost(flow, self.now)
        for name, bindings in self.model.items():
            self.model[name] = [
                each.without_connection() if each.flow == flow and not each.gone else each for each in bindings
            ]

    @invariant()
    def shows_what_the_model_has(self) -> None:
        for name in NAMES:
            found = self.location.bindings(name, self.now)
            standing = self.standing(name)
            assert sorted(found, key=lambda each: each.serial) == sorted(standing, key=lambda each: each.serial)
            assert [each.q for each in found] == sorted((each.q for each in found), reverse=True)
            reachable = self.location.reachable(name, self.now)
            assert all(each.expires > self.now and not each.gone for each in reachable)

    @invariant()
    def owners_and_addresses_are_those_of_the_bindings(self) -> None:
        kept = list(self.location)
        assert len(kept) <= LIMIT
        for flow in FLOWS:
            owners = {each.name for each in kept if each.flow == flow and not each.gone}
            assert self.location.owners(flow) == owners
            assert self.location.owner(flow) == (next(iter(owners)) if len(owners) == 1 else None)
            assert self.location.knows(flow.address) == any(each.flow.address == flow.address for each in kept)

    @invariant()
    def timer_is_never_later_than_the_first_end(self) -> None:
        ends = [each.expires for each in self.location]
        at = self.location.next_timer()
        assert (at is None) == (not ends)
        assert at is None or at == min(ends)


TestLocation = LocationMachine.TestCase
TestLocation.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_without_a_swept_timer_what_ended_is_not_handed_out() -> None:
    location = Location()
    location.put("desk", [binding(expires=10)], 0)
    assert location.bindings("desk", 10 * SECOND - 1)
    assert not location.bindings("desk", 10 * SECOND)


@given(host=st.sampled_from(("192.0.2.20", "203.0.113.5", "10.0.0.1", "phone.example", "[2001:db8::1]")))
def test_a_flow_never_leads_to_another_address_than_the_source(host: str) -> None:
    for source in FLOWS:
        for tail in ("", ":5070", ";transport=tcp", ";maddr=203.0.113.9", ":5070;transport=udp"):
            for via_proxy in (False, True):
                flow, _ = flow_for(Uri.parse(f"sip:x@{host}{tail}"), source, via_proxy=via_proxy)
                assert flow.address == source.address
                assert not source.connection or flow == source


# -- what outlives a restart --


LISTENERS = (
    Listener(UDP, "192.168.1.1", 5060),
    Listener(TCP, "0.0.0.0", 5060),
    Listener(UDP, "192.0.2.1", 5060),
)


def kept_as(bindings: list[Binding], wall: float, now: int) -> bytes:
    return stored(bindings, LISTENERS, wall, now)


def taken_up(data: bytes, wall: float, now: int, listeners: tuple[Listener, ...] = LISTENERS) -> list[Binding]:
    return restored(data, listeners, wall, now)


def test_a_phone_is_called_from_the_socket_that_it_registered_at() -> None:
    data = kept_as([binding(flow=Flow(UDP, "198.51.100.7", 40_000, 0, 2))], 0.0, 0)
    assert [each.flow.listener for each in taken_up(data, 0.0, 0)] == [2]
    assert [each.flow.listener for each in taken_up(data, 0.0, 0, LISTENERS[::-1])] == [0]
    assert [each.flow.listener for each in taken_up(data, 0.0, 0, LISTENERS[:1])] == [0], "another one is left"


def test_what_is_stored_comes_back_with_what_is_left_of_it() -> None:
    kept = binding(expires=100, q=700, instance="<urn:x>", path=("<sip:p;lr>",), user_agent="Phöne \udc80", serial=4)
    data = kept_as([kept], 1_800_000_000.0, 40 * SECOND)
    (back,) = taken_up(data, 1_800_000_010.0, 5 * SECOND)
    assert back.expires == 55 * SECOND
    assert back.flow == Flow(UDP, "192.0.2.20", 5060)
    assert back.user_agent.startswith("Phöne ")
    same = ("name", "contact", "uri", "call_id", "cseq", "granted", "q", "instance", "path", "behind_nat", "gone")
    assert all(getattr(back, name) == getattr(kept, name) for name in same)


def test_what_ended_meanwhile_does_not_come_back() -> None:
    data = kept_as([binding(expires=100)], 1_800_000_000.0, 0)
    assert taken_up(data, 1_800_000_099.0, 0)
    assert not taken_up(data, 1_800_000_100.0, 0)
    assert not taken_up(data, 1_900_000_000.0, 0)


def test_a_clock_that_was_set_back_leaves_what_was_left() -> None:
    data = kept_as([binding(expires=100)], 1_800_000_000.0, 0)
    (back,) = taken_up(data, 3_600.0, 0)
    assert back.expires == 100 * SECOND


def test_connections_do_not_outlive_a_restart_but_where_they_led_to_does() -> None:
    near, far = binding(flow=FLOWS[2]), binding("lobby", FLOWS[3], behind_nat=True)
    back = {each.name: each for each in taken_up(kept_as([near, far], 0.0, 0), 0.0, 0)}
    assert back["desk"].flow == Flow(TCP, "192.0.2.20", 5070) and not back["desk"].gone
    assert back["lobby"].gone


def test_a_socket_that_is_no_more_takes_its_bindings_along() -> None:
    data = kept_as([binding(flow=Flow(UDP, "2001:db8::7", 5060))], 0.0, 0)
    assert taken_up(data, 0.0, 0) == []


ROW = json.loads(kept_as([binding()], 0.0, 0))


@pytest.mark.parametrize(
    "strange",
    [
        {"contact": "no uri"},
        {"contact": "tel:911"},
        {"contact": "sip:desk@192.0.2.20\r\nRoute: <sip:192.0.2.66>"},
        {"path": ["<sip:p;lr>\r\nRoute: <sip:192.0.2.66>"]},
        {"path": ["nobody"]},
        {"path": ["<sip:p;lr>"] * 9},
        {"instance": '"\r\nX: 1'},
        {"instance": "x" * 129},
    ],
)
def test_a_strange_binding_is_left_out_and_costs_the_others_nothing(strange: dict[str, object]) -> None:
    (row,) = ROW["bindings"]
    data = json.dumps({**ROW, "bindings": [{**row, **strange}, row]}).encode()
    assert [each.contact for each in taken_up(data, 0.0, 0)] == [row["contact"]]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"version": 2, "written": 0, "bindings": []}',
        *(
            json.dumps({**ROW, "bindings": [{**ROW["bindings"][0], key: value}]}).encode()
            for key, value in (
                ("left", 10**9),
                ("left", -1),
                ("left", "x"),
                ("q", 5000),
                ("port", 0),
                ("port", 10**6),
                ("address", "phone.example"),
                ("transport", "SCTP"),
                ("name", None),
            )
        ),
    ],
)
def test_what_is_no_such_file_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        taken_up(data, 0.0, 0)


@given(st.binary(max_size=200))
def test_random_octets_are_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        taken_up(data, 0.0, 0)
