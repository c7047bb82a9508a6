"""Locating servers (RFC 3263) from answers that the test gives, in virtual time."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import SECOND
from gateway.voip.sip.flow import ADDRESS, NAPTR, SRV, TCP, TLS, UDP, Resolve
from gateway.voip.sip.names import (
    ANSWER_WITHIN,
    FAILED,
    FIRST_RETRY,
    LAST_RETRY,
    LEAST_TTL,
    MAX_NAMES,
    MOST_TTL,
    Answer,
    Names,
    Naptr,
    Srv,
)
from gateway.voip.sip.targets import AVOID, MAX_TARGETS, Domain, Locator, Target, addresses_answer

HOST = "example.org"
_UDP, _TCP, _TLS = "_sip._udp.example.org", "_sip._tcp.example.org", "_sips._tcp.example.org"
NOTHING = Answer()


def srv(*records: tuple[int, int, int, str], ttl: int = 300 * SECOND) -> Answer:
    return Answer(tuple(Srv(*record) for record in records), ttl)


def naptr(*records: tuple[int, int, str, str]) -> Answer:
    return Answer(tuple(Naptr(order, preference, "S", service, to) for order, preference, service, to in records))


class Zone:
    """A locator whose questions are answered out of ``records`` by name and kind; what is not there is not."""

    def __init__(self, records: dict[tuple[str, str], Answer], seed: int = 1) -> None:
        self.records = records
        self.locator = Locator(random.Random(seed))
        self.asked: list[tuple[str, str]] = []
        self.now = 0

    def answer(self) -> None:
        while (question := self.locator.poll()) is not None:
            self.asked.append((question.host, question.kind))
            answer = self.records.get((question.host, question.kind), NOTHING)
            self.locator.answered(question, answer, self.now)

    def find(self, domain: Domain) -> list[str]:
        self.locator.watch(domain, self.now)
        self.answer()
        return self.targets(domain)

    def targets(self, domain: Domain) -> list[str]:
        return [
            f"{target.transport} {target.address}:{target.port}" for target in self.locator.targets(domain, self.now)
        ]

    def run(self, until: int) -> None:
        while (due := self.locator.next_timer()) is not None and due <= until:
            self.now = max(self.now, due)
            self.locator.handle_timer(self.now)
            self.answer()
        self.now = until


BOTH = Answer(("192.0.2.1", "2001:db8::1"))
ONE = Answer(("192.0.2.1",))
TWO = Answer(("192.0.2.2",))


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        (Domain("192.0.2.9"), ["UDP 192.0.2.9:5060"]),
        (Domain("192.0.2.9", 0, ""), ["UDP 192.0.2.9:5060"]),
        (Domain("192.0.2.9", 0, TLS), ["TLS 192.0.2.9:5061"]),
        (Domain("192.0.2.9", 5080, TCP), ["TCP 192.0.2.9:5080"]),
        (Domain("2001:db8::9"), ["UDP 2001:db8::9:5060"]),
    ],
)
def test_literal_address_asks_nobody(domain: Domain, expected: list[str]) -> None:
    zone = Zone({})
    assert zone.find(domain) == expected
    assert zone.asked == []


def test_port_asks_for_addresses_only() -> None:
    zone = Zone({(HOST, ADDRESS): BOTH})
    assert zone.find(Domain(HOST, 5080, "")) == ["UDP 192.0.2.1:5080", "UDP 2001:db8::1:5080"]
    assert zone.asked == [(HOST, ADDRESS)]


def test_transport_asks_for_its_srv_and_not_for_naptr() -> None:
    zone = Zone({(_TLS, SRV): srv((1, 1, 5071, "a.example.org")), ("a.example.org", ADDRESS): ONE})
    assert zone.find(Domain(HOST, 0, TLS)) == ["TLS 192.0.2.1:5071"]
    assert zone.asked == [(_TLS, SRV), ("a.example.org", ADDRESS)]
    # RFC 5922 4: the certificate is for the domain that was asked for, not for what SRV made of it.
    assert zone.locator.known(Domain(HOST, 0, TLS))[0].host == HOST


def test_without_srv_the_addresses_of_the_host_and_the_usual_port() -> None:
    zone = Zone({(HOST, ADDRESS): ONE})
    assert zone.find(Domain(HOST, 0, TLS)) == ["TLS 192.0.2.1:5061"]
    assert zone.find(Domain(HOST)) == ["UDP 192.0.2.1:5060"]


def test_dns_that_knows_no_srv_does_not_hide_the_addresses() -> None:
    zone = Zone({(_UDP, SRV): FAILED, (HOST, ADDRESS): ONE})
    assert zone.find(Domain(HOST)) == ["UDP 192.0.2.1:5060"]


def test_service_that_is_decidedly_not_there_has_no_servers() -> None:
    zone = Zone({(_UDP, SRV): srv((0, 0, 0, "")), (HOST, ADDRESS): ONE})
    assert zone.find(Domain(HOST)) == []


def test_naptr_chooses_transports_by_order_and_preference() -> None:
    zone = Zone(
        {
            (HOST, NAPTR): naptr(
                (20, 1, "SIP+D2U", _UDP), (10, 9, "SIP+D2T", _TCP), (10, 1, "SIPS+D2T", _TLS), (1, 1, "E2U+SIP", "x")
            ),
            (_UDP, SRV): srv((1, 0, 5060, "u.example.org")),
            (_TCP, SRV): srv((1, 0, 5060, "t.example.org")),
            (_TLS, SRV): srv((1, 0, 5061, "s.example.org")),
            ("u.example.org", ADDRESS): Answer(("192.0.2.1",)),
            ("t.example.org", ADDRESS): Answer(("192.0.2.2",)),
            ("s.example.org", ADDRESS): Answer(("192.0.2.3",)),
        }
    )
    assert zone.find(Domain(HOST, 0, "")) == ["TLS 192.0.2.3:5061", "TCP 192.0.2.2:5060", "UDP 192.0.2.1:5060"]


def test_without_naptr_the_srv_of_udp_and_tcp_and_then_the_addresses() -> None:
    zone = Zone({(_TCP, SRV): srv((1, 0, 5064, "t.example.org")), ("t.example.org", ADDRESS): TWO})
    assert zone.find(Domain(HOST, 0, "")) == ["TCP 192.0.2.2:5064"]
    zone = Zone({(HOST, ADDRESS): ONE})
    assert zone.find(Domain(HOST, 0, "")) == ["UDP 192.0.2.1:5060"]


def test_priority_goes_before_weight_and_weight_decides_how_often() -> None:
    zone = Zone(
        {
            (_UDP, SRV): srv((1, 3, 1, "a"), (1, 1, 2, "b"), (1, 0, 3, "c"), (2, 99, 4, "d")),
            **{(name, ADDRESS): Answer((f"192.0.2.{number}",)) for number, name in enumerate("abcd", 1)},
        }
    )
    domain = Domain(HOST)
    zone.find(domain)
    rounds = [zone.targets(domain) for _ in range(2000)]
    assert all(len(found) == 4 and found[-1] == "UDP 192.0.2.4:4" for found in rounds)
    first = Counter(found[0] for found in rounds)
    assert 2.2 < first["UDP 192.0.2.1:1"] / first["UDP 192.0.2.2:2"] < 4
    # A weight of 0 is drawn seldom, but is.
    assert 0 < first["UDP 192.0.2.3:3"] < 600


def test_server_that_failed_comes_last_for_a_while() -> None:
    zone = Zone({(_UDP, SRV): srv((1, 0, 1, "a"), (2, 0, 2, "b")), ("a", ADDRESS): ONE, ("b", ADDRESS): TWO})
    domain = Domain(HOST)
    first, second = zone.find(domain)
    zone.locator.avoid((UDP, "192.0.2.1", 1), zone.now)
    assert zone.targets(domain) == [second, first]
    zone.locator.works((UDP, "192.0.2.1", 1))
    assert zone.targets(domain) == [first, second]
    zone.locator.avoid((UDP, "192.0.2.1", 1), zone.now)
    zone.now += AVOID
    assert zone.targets(domain) == [first, second]


def test_names_are_asked_again_when_their_time_is_over_and_changes_are_told() -> None:
    domain = Domain(HOST, 5060)
    zone = Zone({(HOST, ADDRESS): Answer(("192.0.2.1",), 60 * SECOND)})
    assert zone.find(domain) == ["UDP 192.0.2.1:5060"]
    zone.run(59 * SECOND)
    assert zone.asked == [(HOST, ADDRESS)]
    zone.records[(HOST, ADDRESS)] = TWO
    zone.run(61 * SECOND)
    assert zone.asked == [(HOST, ADDRESS)] * 2
    assert zone.targets(domain) == ["UDP 192.0.2.2:5060"]


def test_changes_of_servers_are_told_and_repetitions_are_not() -> None:
    locator = Locator(random.Random(1))
    domain = Domain(HOST, 5060)
    locator.watch(domain, 0)
    question = Resolve(HOST)
    assert locator.answered(question, ONE, 0) == [domain]
    assert locator.answered(question, ONE, 1) == []
    assert locator.answered(question, TWO, 2) == [domain]
    assert locator.answered(Resolve("other.example.org"), ONE, 3) == []


def test_what_was_known_is_used_on_while_the_dns_fails() -> None:
    domain = Domain(HOST, 5060)
    zone = Zone({(HOST, ADDRESS): Answer(("192.0.2.1",), 60 * SECOND)})
    zone.find(domain)
    zone.records[(HOST, ADDRESS)] = FAILED
    zone.run(3600 * SECOND)
    assert zone.targets(domain) == ["UDP 192.0.2.1:5060"]
    # And asked for neither all the time nor never.
    assert 3600 * SECOND // LAST_RETRY - 5 <= len(zone.asked) <= 3600 * SECOND // LAST_RETRY + 10
    zone.records[(HOST, ADDRESS)] = TWO
    zone.run(3600 * SECOND + LAST_RETRY)
    assert zone.targets(domain) == ["UDP 192.0.2.2:5060"]


def test_name_that_is_gone_has_no_servers_any_more() -> None:
    domain = Domain(HOST, 5060)
    zone = Zone({(HOST, ADDRESS): Answer(("192.0.2.1",), 60 * SECOND)})
    zone.find(domain)
    del zone.records[(HOST, ADDRESS)]
    zone.run(61 * SECOND)
    assert zone.targets(domain) == []


def test_moved_asks_again_and_forgives() -> None:
    domain = Domain(HOST, 5060)
    zone = Zone({(HOST, ADDRESS): Answer(("192.0.2.1", "192.0.2.2"), 3600 * SECOND)})
    first, second = zone.find(domain)
    zone.locator.avoid((UDP, "192.0.2.1", 5060), zone.now)
    zone.locator.moved(zone.now)
    assert zone.targets(domain) == [first, second]
    zone.answer()
    assert len(zone.asked) == 2


def test_only_addresses_that_a_socket_reaches_are_servers() -> None:
    locator = Locator(random.Random(1), lambda _transport, address: ":" not in address)
    locator.watch(Domain(HOST, 5060), 0)
    locator.answered(Resolve(HOST), BOTH, 0)
    assert locator.targets(Domain(HOST, 5060), 0) == [Target(UDP, "192.0.2.1", 5060, HOST)]


def test_no_more_servers_than_the_limit() -> None:
    records = {(_UDP, SRV): srv(*((n, 0, 5060, f"s{n}") for n in range(60)))}
    records |= {(f"s{n}", ADDRESS): Answer((f"192.0.2.{n}", f"198.51.100.{n}")) for n in range(60)}
    assert len(Zone(records).find(Domain(HOST))) == MAX_TARGETS


def test_question_is_asked_once_until_it_is_answered_or_too_old() -> None:
    names = Names()
    question = Resolve(HOST)
    for now in (0, 1, ANSWER_WITHIN - 1):
        assert names.ask(question, now) is None
    assert names.poll() == question
    assert names.poll() is None
    names.ask(question, ANSWER_WITHIN)
    assert names.poll() == question


@pytest.mark.parametrize(
    ("answer", "good_for"),
    [
        (Answer(("192.0.2.1",), 0), LEAST_TTL),
        (Answer(("192.0.2.1",), 10**15), MOST_TTL),
        (Answer((), 10**15), 300 * SECOND),
        (FAILED, FIRST_RETRY),
    ],
)
def test_answers_are_good_for_neither_too_short_nor_too_long(answer: Answer, good_for: int) -> None:
    names = Names()
    names.ask(Resolve(HOST), 0)
    names.answered(Resolve(HOST), answer, 0)
    assert names.good_until(Resolve(HOST), 0) == good_for


def test_names_kept_have_a_limit() -> None:
    names = Names()
    for number in range(MAX_NAMES + 10):
        names.ask(Resolve(f"n{number}"), 0)
    assert len(names) == MAX_NAMES


def test_addresses_without_a_time_are_an_answer_and_none_a_failure() -> None:
    assert addresses_answer(("192.0.2.1",)).records == ("192.0.2.1",)
    assert addresses_answer(()).failed


RECORD = st.one_of(
    st.sampled_from(["192.0.2.1", "2001:db8::1", "nonsense"]),
    st.builds(Srv, st.integers(0, 3), st.integers(0, 65535), st.integers(0, 65535), st.sampled_from(["", "a", "b"])),
    st.builds(
        Naptr,
        st.integers(0, 3),
        st.integers(0, 3),
        st.sampled_from(["S", "A", ""]),
        st.sampled_from(["SIP+D2U", "SIPS+D2T", "X"]),
        st.sampled_from(["", "a", _UDP]),
    ),
)
ANSWER = st.builds(Answer, st.lists(RECORD, max_size=40).map(tuple), st.integers(0, 10**13), st.booleans())


@given(st.lists(ANSWER, max_size=30), st.sampled_from(["", UDP, TCP, TLS]), st.sampled_from([0, 5080]))
def test_no_answers_make_a_server_out_of_nothing(answers: list[Answer], transport: str, port: int) -> None:
    locator = Locator(random.Random(1))
    domain = Domain(HOST, port, transport)
    locator.watch(domain, 0)
    for answer in answers:
        question = locator.poll()
        if question is None:
            break
        locator.answered(question, answer, 0)
    found = locator.targets(domain, 0)
    assert len(found) <= MAX_TARGETS
    assert len(set(found)) == len(found)
    assert all(target.address != "nonsense" for target in found)
