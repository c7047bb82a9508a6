"""Whatever grows with what others send has an end: tables, queues, answers of the DNS, and how often we try."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from gateway.cause import Cause
from gateway.core import SECOND
from gateway.voip.sip import changes, contacts, peers, reliable, targets
from gateway.voip.sip.body import MAX_BOUNDARY, find_sdp
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.externip import MAX_REPORTERS, Addressing, ExternIp, Source
from gateway.voip.sip.far_end_settings import FarEndSettings
from gateway.voip.sip.flow import SRV, Resolve
from gateway.voip.sip.fork import MAX_BRANCHES
from gateway.voip.sip.handshakes import MAX_PER_PEER, Handshakes
from gateway.voip.sip.message import Request
from gateway.voip.sip.names import MAX_RECORDS, Answer, Srv
from gateway.voip.sip.peers import PeerSettings, PeerTable
from gateway.voip.sip.refer import MAX_REFERRED_BY, read_refer
from gateway.voip.sip.registrar import MAX_USER_AGENT
from gateway.voip.sip.targets import MAX_AVOIDED, Domain, Locator, Target
from tests.unit.voip.sip.sip_far_end import FarEnd, sdp
from tests.unit.voip.sip.test_sip_fork import DESK, Places
from tests.unit.voip.sip.test_sip_nat import far_with_wildcard, move


def test_of_servers_that_failed_the_oldest_is_forgotten_for_another() -> None:
    locator = Locator(random.Random(1))
    for number in range(MAX_AVOIDED + 10):
        locator.avoid(("UDP", "192.0.2.1", number), SECOND)
    avoided = [number for number in range(MAX_AVOIDED + 10) if locator.avoided(Target("UDP", "192.0.2.1", number), 2)]
    assert avoided == list(range(10, MAX_AVOIDED + 10))


def test_so_many_hosts_and_no_more_are_called_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "MAX_DOMAINS", 2)
    locator = Locator(random.Random(1))
    for name in ("a", "b", "a"):
        locator.watch(Domain(name), 0)
    with pytest.raises(ValueError, match="more than 2 hosts"):
        locator.watch(Domain("c"), 0)


def test_an_answer_of_the_dns_without_end_is_read_so_far() -> None:
    locator = Locator(random.Random(1))
    locator.watch(Domain("a.example", 5060), 0)
    addresses = tuple(f"192.0.{number // 200}.{number % 200 + 1}" for number in range(1000))
    locator.answered(Resolve("a.example"), Answer(addresses), 0)
    assert len(locator.known(Domain("a.example", 5060))) == MAX_RECORDS
    locator.watch(Domain("b.example"), 0)
    servers = tuple(Srv(1, 0, 5060, f"{number}.example") for number in range(1000))
    while locator.poll() is not None:
        pass
    locator.answered(Resolve("_sip._udp.b.example", SRV), Answer(servers), 0)
    asked = []
    while (question := locator.poll()) is not None:
        asked.append(question)
    assert len(asked) == MAX_RECORDS


def test_so_many_peers_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "MAX_PEERS", 2)
    two = [PeerSettings(name, "192.0.2.1") for name in ("a", "b")]
    PeerTable(two)
    with pytest.raises(ValueError, match="more than 2 SIP peers"):
        PeerTable([*two, PeerSettings("c", "192.0.2.1")])


def test_a_phone_with_places_without_number_rings_in_so_many() -> None:
    places = Places(MAX_BRANCHES + 5)
    places.bound = places.bound[:MAX_BRANCHES]
    places.call()
    assert len(places.invites) == MAX_BRANCHES


def test_an_address_that_the_far_end_never_takes_is_told_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MAX_MOVES", 3)
    far, own = far_with_wildcard()
    far.answered_out()
    move(far, own, "192.0.2.50")
    told = 0
    for _ in range(10):
        for request in [each for each in far.take() if isinstance(each, Request) and each.method == "INVITE"]:
            told += 1
            far.answer(request, 500)
        far.run(1.1)
    assert told == 3


def test_of_all_who_say_where_we_are_so_many_are_remembered() -> None:
    external = ExternIp(Addressing(automatic=True))
    for number in range(MAX_REPORTERS + 10):
        external.seen(Source.REGISTRAR, f"trunk{number}", "203.0.113.9", 5060)
    said = [each.by for each in external._all(Source.REGISTRAR)]
    assert said == [f"trunk{number}" for number in range(10, MAX_REPORTERS + 10)]


def test_so_many_places_of_phones_and_no_more_are_asked_how_they_are(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(contacts, "MAX_WATCHED", 2)
    places = Places(3)
    watched = replace(DESK, far_end=FarEndSettings(qualify=SECOND, qualifyfreq=60 * SECOND))
    places.endpoint.far_ends.contacts.follow(watched, places.bound, places.now)
    places.run(1)
    asked = {each.uri_text for each in places.take() if isinstance(each, Request) and each.method == "OPTIONS"}
    assert len(asked) == 2
    assert "more than 2 places are watched" in caplog.text


def test_places_that_are_asked_no_more_make_room_for_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(contacts, "MAX_WATCHED", 1)
    places = Places(3)
    watched = replace(DESK, far_end=FarEndSettings(qualify=SECOND, qualifyfreq=60 * SECOND))
    own = places.endpoint.far_ends.contacts
    own.follow(watched, places.bound[:1], places.now)
    own.follow(watched, places.bound[1:2], places.now)
    own.forget({watched.name})
    own.follow(watched, places.bound[2:], places.now)
    places.run(1)
    asked = {each.uri_text for each in places.take() if isinstance(each, Request) and each.method == "OPTIONS"}
    assert asked == {str(places.bound[2].uri)}
    assert "are watched" not in caplog.text
    own.leave()
    own.follow(watched, places.bound, places.now)
    assert own.as_json(places.now) == {}


def test_a_peer_too_has_so_many_handshakes_under_way() -> None:
    handshakes = Handshakes(lambda _address: True)
    taken = [handshakes.begin("192.0.2.9", SECOND) for _ in range(MAX_PER_PEER + 1)]
    assert taken == [*[True] * MAX_PER_PEER, False]


def test_what_is_to_be_told_reliably_does_not_pile_up_behind_a_prack_that_never_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reliable, "MAX_QUEUED_PROVISIONAL", 2)
    far = FarEnd()
    leg, _, _ = far.call_in(("Require", "100rel"))
    for cause in (None, Cause.USER_BUSY) * 3:
        leg.progress(False, far.now, cause)
        leg.alert(False, far.now)
    session = leg.session
    assert session is not None and session.reliable is not None
    assert len(session.reliable._waiting) == 2


def test_a_user_agent_without_end_is_kept_so_far() -> None:
    places = Places(0)
    request = places.request(
        "REGISTER",
        ("User-Agent", "x" * 500),
        ("Contact", "<sip:desk@192.0.2.10>"),
        user="desk",
        send=False,
    )
    places.endpoint.phones.registrar.register(request, DESK, places.flow, places.now)
    (binding,) = places.endpoint.phones.location
    assert binding.user_agent == "x" * MAX_USER_AGENT


@pytest.mark.parametrize(("length", "taken"), [(MAX_BOUNDARY, True), (MAX_BOUNDARY + 1, False)])
def test_a_boundary_is_so_long_and_no_longer(length: int, taken: bool) -> None:
    boundary = "b" * length
    body = f"--{boundary}\r\nContent-Type: application/sdp\r\n\r\n".encode() + sdp() + f"\r\n--{boundary}--".encode()
    request = Request("INVITE", "sip:a@b", [("Content-Type", f"multipart/mixed;boundary={boundary}")], body)
    if taken:
        assert find_sdp(request) is not None
        return
    with pytest.raises(SipError, match="boundary"):
        find_sdp(request)


@pytest.mark.parametrize(("length", "told"), [(MAX_REFERRED_BY, True), (MAX_REFERRED_BY + 1, False)])
def test_who_referred_is_passed_on_if_it_is_no_novel(length: int, told: bool) -> None:
    uri = "sip:" + "a" * (length - len("sip:@h")) + "@h"
    request = Request("REFER", "sip:a@b", [("Refer-To", "<sip:100@b>"), ("Referred-By", f"<{uri}>")], b"")
    assert read_refer(request).referred_by == (uri if told else "")
