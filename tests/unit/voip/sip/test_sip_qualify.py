"""OPTIONS to a trunk and to the places of a phone: who is reachable, lagged or unreachable, and what follows."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from gateway.core import SECOND
from gateway.leg import Released
from gateway.voip.reach import Reach
from gateway.voip.sip.far_end_settings import FarEndSettings
from gateway.voip.sip.flow import UDP, Flow, Resolve
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.message import Request
from gateway.voip.sip.names import Answer
from gateway.voip.sip.peers import PeerKind, PeerSettings
from gateway.voip.sip.targets import Domain
from tests.unit.voip.sip.sip_far_end import FarEnd
from tests.unit.voip.sip.sip_pair import A_ADDRESS, B_ADDRESS, Notes, simple_setup

LATE = 2 * SECOND
SECOND_ADDRESS = "192.0.2.3"


class Asking(FarEnd):
    """What both have in common."""

    def asked(self) -> Request:
        """The next request of the endpoint, as soon as it is sent."""
        while not self.sent:
            due = self.endpoint.next_timer()
            assert due is not None
            self.now = max(self.now, due)
            self.endpoint.handle_timer(self.now)
            self.drain()
        return self.take_request("OPTIONS")


class Watched(Asking):
    """Peer "b" is asked every 60 s and is to answer within 2 s."""

    def __init__(self, *, domain: Domain | None = None, late: int = LATE, transport: str = UDP) -> None:
        settings = FarEndSettings(domain=domain, qualify=late, qualifyfreq=60 * SECOND)
        host = domain.host if domain is not None else B_ADDRESS

        def watched(peer: PeerSettings) -> PeerSettings:
            return replace(peer, host=host, far_end=settings)

        super().__init__(
            peer=watched, transport=transport, settings=lambda sip: replace(sip, emergency=frozenset({"911"}))
        )

    @property
    def shown(self) -> dict[str, object]:
        entry = self.endpoint.far_ends.as_json(self.now)["b"]
        assert isinstance(entry, dict)
        found = entry["qualify"]
        assert isinstance(found, dict)
        return found

    @property
    def reach(self) -> str:
        return str(self.shown["reach"])

    def reachable(self) -> None:
        self.answer(self.asked(), 200)
        assert self.reach == "reachable"

    def unreachable(self) -> None:
        self.run(6)
        self.take()
        assert self.reach == "unreachable"


def test_answer_in_time_is_reachable_with_its_round_trip(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    far = Watched()
    assert far.reach == "unknown"
    options = far.asked()
    assert options.uri_text == f"sip:{B_ADDRESS}"
    far.answer(options, 200)
    assert far.reach == "reachable"
    assert far.shown["round_trip_ms"] is not None
    assert "b is reachable: it took" in caplog.text
    far.run(53)
    assert far.take() == []
    far.answer(far.asked(), 200)
    assert caplog.text.count("reachable") == 1


@pytest.mark.parametrize("status", [200, 401, 404, 405, 481, 486, 500])
def test_any_answer_of_its_own_says_that_it_is_there(status: int) -> None:
    far = Watched()
    far.answer(far.asked(), status)
    assert far.reach == "reachable"


@pytest.mark.parametrize("status", [408, 502, 503, 504])
def test_proxys_word_that_nobody_is_there_is_taken(status: int) -> None:
    far = Watched()
    far.answer(far.asked(), status)
    assert far.reach == "unreachable"


def test_answer_that_may_take_minutes_is_waited_for_as_long_as_sip_does() -> None:
    far = Watched(late=120 * SECOND)
    options = far.asked()
    far.run(31)
    far.take()
    assert far.reach == "unknown"
    far.run(2)
    assert far.reach == "unreachable"
    far.take()
    options = far.asked()
    far.run(20)
    far.answer(options, 200)
    assert far.reach == "reachable"


def test_late_answer_is_lagged_and_a_later_one_in_time_is_not(caplog: pytest.LogCaptureFixture) -> None:
    far = Watched()
    options = far.asked()
    far.run(2.5)
    far.take()
    far.answer(options, 200)
    assert far.reach == "lagged"
    assert "b is lagged: it took" in caplog.text
    far.answer(far.asked(), 200)
    assert far.reach == "reachable"


def test_no_answer_is_unreachable_and_asked_every_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    far = Watched()
    far.unreachable()
    assert caplog.text.count("b is unreachable: no answer") == 1
    far.run(60)
    branches = {message.via.branch for message in far.take()}
    assert 4 <= len(branches) <= 7
    assert caplog.text.count("unreachable") == 1


def test_answer_after_it_was_given_up_makes_it_lagged() -> None:
    far = Watched()
    options = far.asked()
    far.run(5)
    assert far.reach == "unreachable"
    far.answer(options, 200)
    assert far.reach == "lagged"
    assert not far.endpoint.suspects.names


def test_request_from_the_unreachable_makes_it_reachable_at_once(caplog: pytest.LogCaptureFixture) -> None:
    far = Watched()
    far.unreachable()
    far.request("OPTIONS")
    assert far.reach == "reachable"
    assert not far.endpoint.suspects.is_unreachable("b")
    assert caplog.text.count("again") == 1


def test_call_to_the_unreachable_is_tried_for_a_second_only() -> None:
    far = Watched()
    far.unreachable()
    _, notes, _ = far.call_out()
    far.run(1.1)
    assert isinstance(notes.events[-1], Released)
    assert "no response within 1 s" in notes.events[-1].text


def test_emergency_call_to_the_unreachable_is_given_all_the_time_there_is() -> None:
    far = Watched()
    far.unreachable()
    leg = far.endpoint.new_leg("b", far.now)
    assert isinstance(leg, SipLeg)
    leg.listener = notes = Notes()
    leg.place(simple_setup("911"), far.now)
    far.run(30)
    assert notes.released is None
    assert any(message.cseq.method == "INVITE" for message in far.take())


def test_call_to_the_unreachable_that_answers_all_the_same_goes_on() -> None:
    far = Watched()
    far.unreachable()
    _, notes, invite = far.call_out()
    far.answer(invite, 180)
    assert far.reach == "reachable"
    far.run(30)
    assert not isinstance(notes.events[-1], Released)


def test_lost_connection_is_unreachable_without_waiting() -> None:
    far = Watched(transport="TCP")
    far.asked()
    far.endpoint.connection_lost(far.flows[-1], far.now)
    far.drain()
    assert far.reach == "unreachable"
    assert far.shown["error"] == "no connection"


def test_second_server_is_asked_when_the_first_is_silent() -> None:
    domain = Domain("pbx.example.org", 5060)
    far = Watched(domain=domain)
    far.endpoint.looked_up(Resolve("pbx.example.org"), Answer((B_ADDRESS, SECOND_ADDRESS)), far.now)
    far.run(1)
    far.take()
    assert far.flows[-1].address == B_ADDRESS
    far.run(4)
    last = far.take()[-1]
    assert far.flows[-1].address == SECOND_ADDRESS
    assert last.cseq.method == "OPTIONS"
    far.answer(last, 200)  # type: ignore[arg-type]
    assert far.reach == "reachable"
    # And calls go there at once.
    far.call_out()
    assert far.flows[-1].address == SECOND_ADDRESS


def test_name_without_an_address_is_unreachable() -> None:
    far = Watched(domain=Domain("pbx.example.org", 5060))
    far.endpoint.resolved("pbx.example.org", (), far.now)
    far.run(2)
    assert far.reach == "unreachable"
    far.endpoint.resolved("pbx.example.org", (B_ADDRESS,), far.now)
    far.run(0)
    far.answer(far.take_request("OPTIONS"), 200)
    assert far.reach == "reachable"


# -- phones --


class Registered(Asking):
    """Peer "b" is a phone that registers."""

    def __init__(self) -> None:
        settings = FarEndSettings(qualify=LATE, qualifyfreq=60 * SECOND)

        def phone(peer: PeerSettings) -> PeerSettings:
            return replace(peer, host="", dynamic=True, secret="", kind=PeerKind.PHONE, far_end=settings)

        super().__init__(peer=phone)

    def register(
        self,
        port: int,
        expires: int = 3600,
        *,
        call_id: str = "r1",
        address: str = B_ADDRESS,
        place: str = "",
    ) -> Flow:
        flow = Flow(UDP, address, port)
        contact = f"<sip:b@{place or f'{address}:{port}'}>;expires={expires}"
        request = self.request("REGISTER", ("Contact", contact), user="b", call_id=call_id, send=False)
        peer = self.endpoint.peers.get("b")
        assert peer is not None
        transaction = self.endpoint.transactions.accept(request, flow, flow, self.now)
        self.endpoint.phones.on_register(request, transaction, flow, peer, self.now)
        self.drain()
        self.sent.clear()
        return flow

    def places(self) -> set[Reach]:
        """How the places answer where it is registered."""
        endpoint = self.endpoint
        return {endpoint.far_ends.contacts.reach(each) for each in endpoint.phones.location.bindings("b", self.now)}


def test_phone_is_asked_where_it_registered_as_long_as_it_is() -> None:
    far = Registered()
    flow = far.register(5070)
    options = far.asked()
    assert options.uri_text == f"sip:b@{B_ADDRESS}:5070"
    assert far.flows[-1] == flow
    far.answer(options, 200)
    assert far.places() == {Reach.REACHABLE}
    far.register(5070, 0)
    far.run(120)
    assert far.take() == []


def test_phone_with_two_places_can_be_had_while_one_answers() -> None:
    far = Registered()
    far.register(5070)
    far.register(5080, call_id="r2")
    far.answer(far.asked(), 200)
    far.run(6)
    assert not far.endpoint.suspects.is_unreachable("b")
    assert far.places() == {Reach.REACHABLE, Reach.UNREACHABLE}


def test_places_behind_two_nats_with_the_same_inner_address_are_two() -> None:
    far = Registered()
    far.register(5070, place="192.168.1.10:5060")
    first = far.asked()
    assert far.flows[-1].address == B_ADDRESS
    far.register(5080, place="192.168.1.10:5060", call_id="r2", address="203.0.113.8")
    far.answer(first, 200)
    assert far.asked().call_id != first.call_id
    assert far.flows[-1].address == "203.0.113.8"
    far.run(6)
    assert far.places() == {Reach.REACHABLE, Reach.UNREACHABLE}


def test_phone_that_registers_again_is_reachable_again() -> None:
    far = Registered()
    far.register(5070)
    far.run(7)
    assert far.endpoint.suspects.is_unreachable("b")
    far.sent.clear()
    far.register(5070)
    assert not far.endpoint.suspects.is_unreachable("b")


def test_addresses_of_ours_are_right() -> None:
    far = Watched()
    options = far.asked()
    assert options.via.sent_by == f"{A_ADDRESS}:5060"
    assert options.contacts[0].uri_text == f"sip:{A_ADDRESS}:5060"


def test_who_leaves_asks_nobody_again_when_its_last_question_gets_no_answer() -> None:
    far = Watched()
    far.asked()
    far.endpoint.far_ends.leave(far.now)
    far.run(40)
    far.take()
    far.run(200)
    assert far.take() == []
    assert far.endpoint.idle
