"""Who is heard: a rate for each source, and a shut-out that grows for those that guess."""

from __future__ import annotations

import logging
import random

import pytest

from gateway.core import MILLISECOND, SECOND
from gateway.voip.sip import defence as module
from gateway.voip.sip.defence import (
    FIRST_SHUT_OUT,
    FORGIVEN,
    LONGEST_SHUT_OUT,
    MAX_DEBT,
    PHONES_RATE,
    SOURCE_BURST,
    SOURCE_RATE,
    Defence,
    Offence,
    source_of,
)

SCANNER = "198.51.100.7"
OTHER = "203.0.113.9"
PHONE = "192.0.2.50"
GUESSES = MAX_DEBT // Offence.GUESSED.value


def guess(defence: Defence, address: str, now: int, times: int = GUESSES + 1) -> None:
    for _ in range(times):
        defence.offended(address, Offence.GUESSED, now)


def test_a_burst_is_heard_and_then_so_many_a_second() -> None:
    defence = Defence()
    assert sum(defence.allowed(SCANNER, 0) for _ in range(10 * SOURCE_BURST)) == SOURCE_BURST
    assert sum(defence.allowed(SCANNER, SECOND) for _ in range(10 * SOURCE_BURST)) == SOURCE_RATE
    assert defence.allowed(OTHER, SECOND)


def test_known_addresses_are_always_heard() -> None:
    defence = Defence({PHONE}.__contains__)
    assert all(defence.allowed(PHONE, 0) for _ in range(10 * SOURCE_BURST))
    guess(defence, PHONE, 0, 10 * GUESSES)
    assert defence.allowed(PHONE, 0)
    assert defence.shut_out(0) == {}


def test_phones_that_are_registered_are_heard_more_but_not_without_end() -> None:
    defence = Defence(registered={PHONE}.__contains__)
    burst = SOURCE_BURST // SOURCE_RATE * PHONES_RATE
    assert sum(defence.allowed(PHONE, 0) for _ in range(10 * burst)) == burst
    assert sum(defence.allowed(PHONE, SECOND) for _ in range(10 * burst)) == PHONES_RATE
    guess(defence, PHONE, 2 * SECOND, 10 * GUESSES)
    assert defence.allowed(PHONE, 2 * SECOND)
    assert defence.shut_out(2 * SECOND) == {}


def test_guesses_beside_a_phone_are_looked_at_slowly_and_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    defence = Defence({PHONE}.__contains__)
    with caplog.at_level(logging.WARNING):
        guess(defence, PHONE, 0, 5 * GUESSES)
    assert len(caplog.records) == 1
    assert "slowed down" in caplog.text
    tried = sum(defence.may_try(PHONE, number * 10 * MILLISECOND) for number in range(500))
    assert tried == 5
    # Peace pays for it.
    assert all(defence.may_try(PHONE, 20 * SECOND + number) for number in range(500))


def test_who_guesses_is_shut_out_for_longer_each_time(caplog: pytest.LogCaptureFixture) -> None:
    defence = Defence()
    now, length = 0, FIRST_SHUT_OUT
    with caplog.at_level(logging.WARNING):
        for _ in range(14):
            assert defence.allowed(SCANNER, now)
            guess(defence, SCANNER, now)
            assert not defence.allowed(SCANNER, now)
            assert not defence.allowed(SCANNER, now + length - 1)
            assert defence.shut_out(now) == {SCANNER: length // SECOND}
            now += length
            length = min(2 * length, LONGEST_SHUT_OUT)
    assert length == LONGEST_SHUT_OUT
    assert len(caplog.records) == 14
    assert defence.allowed(OTHER, now)


def test_a_few_mistakes_are_forgiven() -> None:
    defence = Defence()
    for number in range(1000):
        defence.offended(SCANNER, Offence.GUESSED, number * 20 * SECOND)
        assert defence.allowed(SCANNER, number * 20 * SECOND)


def test_after_a_long_peace_a_source_begins_anew() -> None:
    defence = Defence()
    guess(defence, SCANNER, 0)
    guess(defence, SCANNER, FIRST_SHUT_OUT)
    later = FIRST_SHUT_OUT * 3 + FORGIVEN
    guess(defence, SCANNER, later)
    assert defence.shut_out(later) == {SCANNER: FIRST_SHUT_OUT // SECOND}


def test_phone_of_the_branch_is_never_shut_out_for_long() -> None:
    defence = Defence(near={PHONE}.__contains__)
    for number in range(5):
        guess(defence, PHONE, number * FIRST_SHUT_OUT)
        assert not defence.allowed(PHONE, number * FIRST_SHUT_OUT)
        assert defence.allowed(PHONE, (number + 1) * FIRST_SHUT_OUT)


def test_challenges_that_are_answered_cost_nothing() -> None:
    defence = Defence()
    for _ in range(10_000):
        defence.offended(SCANNER, Offence.CHALLENGED, 0)
        defence.redeemed(SCANNER, 0)
    assert defence.allowed(SCANNER, SECOND)
    assert defence.shut_out(0) == {}


def test_questions_without_an_answer_are_a_scan() -> None:
    defence = Defence()
    for _ in range(MAX_DEBT // Offence.CHALLENGED.value):
        defence.offended(SCANNER, Offence.CHALLENGED, 0)
    assert defence.shut_out(0) == {}
    defence.offended(SCANNER, Offence.CHALLENGED, 0)
    assert SCANNER in defence.shut_out(0)


def test_pardon_is_at_once() -> None:
    defence = Defence()
    guess(defence, SCANNER, 0)
    assert defence.pardon(SCANNER)
    assert defence.allowed(SCANNER, 0)
    assert not defence.pardon(SCANNER)


def test_neighbours_in_an_ipv6_network_are_one_source() -> None:
    assert source_of("2001:db8:1:2::7") == source_of("2001:db8:1:2:ffff::1") == "2001:db8:1:2::"
    assert source_of("2001:db8:1:3::7") != source_of("2001:db8:1:2::7")
    assert source_of("fe80::1%eth0") == "fe80::"
    assert source_of("192.0.2.1") == "192.0.2.1"
    defence = Defence()
    guess(defence, "2001:db8:1:2::7", 0)
    assert not defence.allowed("2001:db8:1:2:a:b:c:d", 0)


def test_tables_are_bounded_whoever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SOURCES", 100)
    monkeypatch.setattr(module, "MAX_SHUT_OUT", 50)
    defence = Defence()
    rng = random.Random(5)
    for number in range(20_000):
        address = f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(4)}"
        if defence.allowed(address, number * MILLISECOND) and number % 3 == 0:
            guess(defence, address, number * MILLISECOND)
        assert len(defence) <= 150
    # The latest to guess is the last to be forgotten.
    guess(defence, SCANNER, 20_000 * MILLISECOND)
    assert not defence.allowed(SCANNER, 20_000 * MILLISECOND)
