"""A call to all Contacts of a phone: who rings, who wins, who is told to stop, and what the caller hears of it."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.cause import Cause
from gateway.core import SECOND
from gateway.leg import Alerting, Answered, Progress
from gateway.voip.sip.flow import UDP, Flow
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.location import Binding
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.peers import PeerKind, PeerSettings
from gateway.voip.sip.uri import Uri
from tests.unit.voip.sip.sip_far_end import FarEnd, sdp
from tests.unit.voip.sip.sip_pair import Notes, simple_setup

SECRET = "apples"  # noqa: S105 - of a phone in a test
DESK = PeerSettings("desk", "", kind=PeerKind.PHONE, dynamic=True, secret=SECRET, max_contacts=10)
TRUNK = PeerSettings("site", "", kind=PeerKind.TRUNK, dynamic=True, secret=SECRET)


class Places(FarEnd):
    """The phone "desk" (and the trunk "site") registered at several places; one call to it."""

    def __init__(self, count: int, name: str = "desk") -> None:
        super().__init__(settings=lambda settings: replace(settings, peers=(DESK, TRUNK)))
        self.name = name
        self.bound = [self.binding(number) for number in range(count)]
        self.endpoint.phones.location.put(name, self.bound, self.now)
        self.invites: list[Request] = []
        self.notes = Notes()

    def binding(self, number: int) -> Binding:
        uri = Uri.parse(f"sip:line{number}@192.0.2.{10 + number};ob")
        flow = Flow(UDP, f"192.0.2.{10 + number}", 5060)
        end = self.now + 3600 * SECOND
        return Binding(self.name, str(uri), uri, flow, f"c{number}", 1, end, 3600, serial=-number)

    def call(self) -> SipLeg:
        leg = self.endpoint.new_leg(self.name, self.now)
        assert isinstance(leg, SipLeg), leg
        leg.listener = self.notes
        leg.place(simple_setup(), self.now)
        self.invites = [message for message in self.take() if isinstance(message, Request)]
        assert [invite.method for invite in self.invites] == ["INVITE"] * len(self.bound)
        return leg

    def say(self, number: int, status: int, body: bytes = b"") -> None:
        """Place ``number`` responds to its INVITE."""
        invite, flow = self.invites[number], self.bound[number].flow
        response = invite.response(status, None, f"tag{number}")
        if 100 < status < 300:
            response.headers.add("Contact", f"<sip:line{number}@{flow.address}>")
        if body:
            response.headers.add("Content-Type", "application/sdp")
            response.body = body
        self.give(response.to_bytes(), flow)

    def sent_to(self) -> dict[int, list[str]]:
        """What was sent since the last time, by place."""
        start = len(self.flows) - len(self.sent)
        found: dict[int, list[str]] = {}
        for flow, message in zip(self.flows[start:], self.sent, strict=True):
            word = message.method if isinstance(message, Request) else str(message.status)
            found.setdefault(int(flow.address.rpartition(".")[2]) - 10, []).append(word)
        self.sent.clear()
        return found


def test_a_phone_that_is_not_registered_is_absent_at_once() -> None:
    places = Places(0)
    assert places.endpoint.new_leg("desk", places.now) is Cause.SUBSCRIBER_ABSENT


def test_one_place_is_called_at_its_contact() -> None:
    places = Places(1)
    places.call()
    (invite,) = places.invites
    assert invite.uri_text == "sip:line0@192.0.2.10;ob"
    assert invite.to.uri.user == "desk"
    assert places.flows[-1] == places.bound[0].flow


def test_a_trunk_that_registered_is_sent_the_number() -> None:
    places = Places(1, "site")
    places.call()
    assert places.invites[0].uri_text == "sip:4165551234@192.0.2.10;ob"


def test_a_binding_that_ended_is_not_called() -> None:
    places = Places(2)
    places.run(3600)
    assert places.endpoint.new_leg("desk", places.now) is Cause.SUBSCRIBER_ABSENT
    assert places.endpoint.idle


def test_path_becomes_route_and_the_proxy_is_called() -> None:
    places = Places(1)
    edge = replace(places.bound[0], path=("<sip:edge.example;lr>", "<sip:in.example;lr>"))
    places.endpoint.phones.location.put("desk", [edge], places.now)
    places.call()
    assert [str(route) for route in places.invites[0].routes] == ["<sip:edge.example;lr>", "<sip:in.example;lr>"]
    assert places.invites[0].uri_text == "sip:line0@192.0.2.10;ob"


def test_all_places_ring_and_the_caller_hears_it_once() -> None:
    places = Places(3)
    places.call()
    assert len({invite.call_id for invite in places.invites}) == 3
    assert len({invite.body.split(b"m=audio ")[1].split()[0] for invite in places.invites}) == 1, "one RTP port"
    for number in range(3):
        places.say(number, 100)
        places.say(number, 180)
    assert places.notes.names().count("Alerting") == 1


def test_first_answer_wins_and_the_others_are_told_it_was_answered_elsewhere() -> None:
    places = Places(3)
    leg = places.call()
    for number in (0, 1):
        places.say(number, 180)
    places.sent.clear()
    places.say(1, 200, sdp())
    messages = list(places.sent)
    assert places.sent_to() == {0: ["CANCEL"], 1: ["ACK"]}, "the third has said nothing: no CANCEL yet (9.1)"
    cancel = next(each for each in messages if isinstance(each, Request) and each.method == "CANCEL")
    assert cancel.headers.get_all("reason") == ['SIP;cause=200;text="Call completed elsewhere"', "Q.850;cause=26"]
    assert places.notes.names()[-1] == "Answered"
    assert leg.call_id == places.invites[1].call_id and leg.flow == places.bound[1].flow
    places.say(2, 180)
    assert places.sent_to() == {2: ["CANCEL"]}
    places.say(0, 487)
    places.say(2, 487)
    assert places.sent_to() == {0: ["ACK"], 2: ["ACK"]}
    leg.release(Cause.NORMAL_CALL_CLEARING, places.now)
    places.run(1)
    assert places.sent_to()[1] == ["BYE", "BYE"]


def test_a_second_answer_that_crossed_the_cancel_is_acknowledged_and_ended() -> None:
    places = Places(2)
    places.call()
    places.say(0, 180)
    places.say(1, 180)
    places.say(0, 200, sdp())
    places.sent.clear()
    places.say(1, 200, sdp())
    assert places.sent_to() == {1: ["ACK", "BYE"]}
    assert places.notes.names().count("Answered") == 1
    assert places.notes.released is None


def test_one_is_busy_and_the_call_goes_on_where_it_rings() -> None:
    places = Places(2)
    places.call()
    places.say(0, 180)
    places.say(1, 486)
    assert places.notes.released is None
    places.say(0, 200, sdp())
    assert places.notes.names()[-1] == "Answered"


def test_a_6xx_ends_all() -> None:
    places = Places(3)
    places.call()
    for number in range(3):
        places.say(number, 180)
    places.sent.clear()
    places.say(1, 603)
    assert places.sent_to() == {0: ["CANCEL"], 1: ["ACK"], 2: ["CANCEL"]}
    released = places.notes.released
    assert released is not None and released.cause is Cause.CALL_REJECTED


@pytest.mark.parametrize(
    ("statuses", "cause"),
    [
        ((503, 486), Cause.USER_BUSY),
        ((480, 486, 404), Cause.USER_BUSY),
        ((486, 503, 480), Cause.USER_BUSY),
        ((500, 480), Cause.NO_USER_RESPONDING),
        ((404, 500), Cause.UNALLOCATED_NUMBER),
    ],
)
def test_of_all_failures_the_best_counts(statuses: tuple[int, ...], cause: Cause) -> None:
    places = Places(len(statuses))
    places.call()
    for number, status in enumerate(statuses):
        assert places.notes.released is None
        places.say(number, status)
    released = places.notes.released
    assert released is not None and released.cause is cause


def test_one_that_says_nothing_does_not_hold_up_the_rest() -> None:
    places = Places(2)
    places.call()
    places.say(0, 486)
    assert places.notes.released is None
    places.run(4.1)
    released = places.notes.released
    assert released is not None and released.cause is Cause.USER_BUSY
    assert not places.endpoint.suspects.names, "a phone at another place answered"


def test_one_that_says_nothing_may_still_answer_while_others_ring() -> None:
    places = Places(3)
    places.call()
    places.say(0, 100)
    places.say(1, 180)
    places.run(20)
    assert places.notes.released is None
    places.say(2, 200, sdp())
    assert places.notes.names()[-1] == "Answered"
    assert places.sent_to()[0] == ["CANCEL"]


def test_silence_counts_from_the_call_once_the_last_that_rang_has_failed() -> None:
    places = Places(2)
    places.call()
    places.say(0, 180)
    places.run(20)
    places.sent.clear()
    places.say(0, 480)
    released = places.notes.released
    assert released is not None and released.cause is Cause.NO_USER_RESPONDING
    places.sent.clear()
    places.run(10)
    assert places.sent_to() == {}, "the silent one is sent nothing more"
    places.say(1, 180)
    assert places.sent_to() == {1: ["CANCEL"]}
    places.say(1, 487)
    places.assert_clean()


def test_nobody_answers_anything() -> None:
    places = Places(2)
    places.call()
    places.run(4.1)
    released = places.notes.released
    assert released is not None and released.cause is Cause.RECOVERY_ON_TIMER_EXPIRY
    places.assert_clean()


def test_early_media_is_heard_of_one_place_and_then_of_the_next() -> None:
    places = Places(3)
    leg = places.call()
    places.say(0, 180)
    places.say(1, 183, sdp().replace(b"20000", b"21000"))
    places.say(2, 183, sdp().replace(b"20000", b"22000"))
    assert leg.settings is not None and leg.settings.port == 21_000
    heard = [event for event in places.notes.events if isinstance(event, (Alerting, Progress))]
    assert isinstance(heard[-1], Progress) and heard[-1].inband
    places.say(1, 486)
    assert leg.settings is not None and leg.settings.port == 22_000
    places.say(0, 200, sdp())
    assert leg.settings is not None and leg.settings.port == 20_000


def test_what_rings_elsewhere_does_not_silence_the_place_that_speaks() -> None:
    places = Places(3)
    places.call()
    places.say(0, 180, sdp())
    assert places.endpoint.legs
    places.say(1, 183, sdp())
    places.say(2, 180)
    heard = [event.inband for event in places.notes.events if isinstance(event, (Alerting, Progress))]
    assert heard == [True] * len(heard)
    assert places.notes.names().count("Alerting") == 1
    other = Places(2)
    other.call()
    other.say(0, 183, sdp())
    other.say(1, 180)
    last = other.notes.events[-1]
    assert isinstance(last, Alerting) and last.inband, "it rings at one place while the other speaks"


def test_the_caller_gives_up_and_all_are_cancelled() -> None:
    places = Places(2)
    leg = places.call()
    places.say(0, 180)
    places.say(1, 180)
    places.sent.clear()
    leg.release(Cause.NORMAL_CALL_CLEARING, places.now)
    places.drain()
    assert places.sent_to() == {0: ["CANCEL"], 1: ["CANCEL"]}
    places.say(0, 487)
    places.say(1, 487)
    places.assert_clean(100)


def test_an_answer_without_usable_sdp_leaves_the_others_ringing() -> None:
    places = Places(2)
    places.call()
    places.say(0, 180)
    places.say(1, 180)
    places.sent.clear()
    places.say(0, 200)
    assert places.sent_to() == {0: ["ACK", "BYE"]}
    assert places.notes.released is None
    places.say(1, 200, sdp())
    assert isinstance(places.notes.events[-1], Answered)


def test_what_the_phone_sends_in_the_call_moves_with_its_registration() -> None:
    places = Places(1)
    leg = places.call()
    places.say(0, 200, sdp())
    new = Flow(UDP, "198.51.100.9", 40_000)
    location, phones = places.endpoint.phones.location, places.endpoint.phones
    moved = location.put("desk", [replace(places.bound[0], flow=new)], places.now)
    phones._follow(tuple(moved), places.now)
    leg.release(Cause.NORMAL_CALL_CLEARING, places.now)
    places.drain()
    assert places.flows[-1] == new
    last = places.sent[-1]
    assert isinstance(last, Request) and last.method == "BYE"


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("rings", [True, False])
def test_a_phone_that_moves_while_it_is_called_is_called_where_it_is_now(count: int, rings: bool) -> None:
    places = Places(count)
    leg = places.call()
    if rings:
        places.say(0, 180)
    new = Flow(UDP, "192.0.2.19", 40_000)
    location, phones = places.endpoint.phones.location, places.endpoint.phones
    moved = location.put("desk", [replace(places.bound[0], flow=new), *places.bound[1:]], places.now)
    phones._follow(tuple(moved), places.now)
    places.sent.clear()
    if not rings:
        places.run(1)
        assert places.sent_to()[9][0] == "INVITE", "what is sent again goes there"
    places.bound[0] = replace(places.bound[0], flow=new)
    places.say(0, 200, sdp())
    assert places.sent_to() == {9: ["ACK"]}
    assert leg.flow == new
    leg.release(Cause.NORMAL_CALL_CLEARING, places.now)
    places.drain()
    assert places.sent_to() == {9: ["BYE"]}


def test_who_gives_up_on_a_phone_that_moved_while_it_rang_tells_it_where_it_is_now() -> None:
    places = Places(2)
    leg = places.call()
    places.say(0, 180)
    places.say(1, 180)
    new = Flow(UDP, "192.0.2.19", 40_000)
    location, phones = places.endpoint.phones.location, places.endpoint.phones
    moved = location.put("desk", [replace(places.bound[0], flow=new), places.bound[1]], places.now)
    phones._follow(tuple(moved), places.now)
    places.sent.clear()
    leg.release(Cause.NORMAL_CALL_CLEARING, places.now)
    places.drain()
    assert places.sent_to() == {9: ["CANCEL"], 1: ["CANCEL"]}


@pytest.mark.parametrize(
    ("address", "other", "contact", "follows"),
    [
        # Another port of the NAT that it is registered through.
        ("192.0.2.80", "", "", True),
        # The NAT had this address in between, and nobody else can be meant.
        ("192.0.2.81", "", "", True),
        ("192.0.2.81", "192.0.2.82", "sip:line1@10.1.1.2", True),
        # Another phone is registered from there, or another somewhere else has the very same Contact.
        ("192.0.2.81", "192.0.2.81", "sip:line1@10.1.1.2", False),
        ("192.0.2.81", "192.0.2.82", "", False),
    ],
)
def test_a_call_through_another_mapping_of_the_nat_moves_too(
    address: str, other: str, contact: str, follows: bool
) -> None:
    places = Places(1)
    leg = places.call()
    places.say(0, 200, sdp())
    session = leg.session
    assert session is not None
    through = Flow(UDP, address, 30_001)
    session.flow, session.to_source = through, True
    uri = Uri.parse(session.dialog.target)
    mapped = Flow(UDP, "192.0.2.80", 30_000)
    location, phones = places.endpoint.phones.location, places.endpoint.phones
    bound = replace(places.bound[0], flow=mapped, uri=uri)
    others = []
    if other:
        theirs = Uri.parse(contact) if contact else uri
        others = [replace(bound, flow=Flow(UDP, other, 9), uri=theirs, contact=str(theirs), call_id="o", instance="o")]
    location.put("desk", [bound, *others], places.now)
    new = Flow(UDP, "198.51.100.9", 40_000)
    phones._follow(tuple(location.put("desk", [replace(bound, flow=new), *others], places.now)), places.now)
    assert session.flow == (new if follows else through)


def test_finals_after_the_end_change_nothing() -> None:
    places = Places(2)
    leg = places.call()
    leg.release(Cause.NORMAL_CALL_CLEARING, places.now)
    for status in (180, 486):
        places.say(0, status)
    places.say(1, 200, sdp())
    assert [event for event in places.notes.events if isinstance(event, (Alerting, Answered))] == []
    assert [type(message) for message in places.take()].count(Response) == 0
    places.assert_clean()


def test_a_forked_call_that_is_over_leaves_nothing_for_the_collector() -> None:
    """Rounds of the collector hold all other calls up."""

    def one_call(places: Places) -> None:
        leg = places.call()
        for number in range(3):
            places.say(number, 180)
        places.say(1, 200, sdp())
        for number in (0, 2):
            places.say(number, 487)
        leg.release(Cause.NORMAL_CALL_CLEARING, places.now)
        places.notes = Notes()
        places.invites.clear()
        places.sent.clear()
        del leg
        places.run(100)
        places.sent.clear()

    places = Places(3)
    one_call(places)
    gc.collect()
    gc.disable()
    try:
        one_call(places)
        assert gc.collect() == 0
    finally:
        gc.enable()


_STATUSES = st.sampled_from((100, 180, 183, 199, 200, 302, 404, 408, 480, 484, 486, 488, 500, 503, 600, 603))


@settings(max_examples=150, deadline=None)
@given(
    count=st.integers(2, 4),
    steps=st.lists(
        st.tuples(st.integers(0, 3), _STATUSES, st.booleans(), st.sampled_from((0.0, 0.0, 0.2, 3.0, 5.0))), max_size=14
    ),
    hang_up=st.one_of(st.none(), st.integers(0, 14)),
)
@example(count=2, steps=[*[(0, 100, False, 3.0)] * 6, *[(0, 100, False, 5.0)] * 3, (1, 200, False, 0.0)], hang_up=None)
def test_whatever_the_places_say_there_is_one_answer_at_most_one_end_and_nothing_left(
    count: int, steps: list[tuple[int, int, bool, float]], hang_up: int | None
) -> None:
    places = Places(count)
    leg = places.call()
    begun = places.now
    final: dict[int, int] = {}
    cancelled: set[int] = set()
    acknowledged: dict[int, int] = {}

    def look() -> None:
        for number, words in places.sent_to().items():
            if "CANCEL" in words:
                cancelled.add(number)
            acknowledged[number] = acknowledged.get(number, 0) + words.count("ACK")

    said: set[int] = set()
    for at, (place, status, early, wait) in enumerate(steps):
        number = place % count
        if hang_up == at:
            leg.release(Cause.NORMAL_CALL_CLEARING, places.now)
        # Who says not a word for so long is given up (RFC 3261 17.1.1.2, timer B).
        if number not in final and (number in said or places.now - begun < 31 * SECOND):
            said.add(number)
            wins = status == 200 and not {"Answered", "Released"} & set(places.notes.names())
            wins = wins and (hang_up is None or at < hang_up)
            places.say(number, status, sdp() if status == 200 or (status == 183 and early) else b"")
            if status >= 200:
                final[number] = status
            assert not wins or places.notes.names()[-1] == "Answered"
        look()
        places.run(wait)
        look()
    events = places.notes.names()
    assert events.count("Answered") <= 1
    for number, status in final.items():
        assert acknowledged.get(number, 0) >= 1, (number, status)
    if places.notes.released is None:
        leg.release(Cause.NORMAL_CALL_CLEARING, places.now)
    for number in range(count):
        if number not in final:
            places.say(number, 487)
    places.assert_clean(200)
    assert places.notes.names().count("Released") == 1
