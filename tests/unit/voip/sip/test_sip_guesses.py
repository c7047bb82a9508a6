"""One password guessed at from many addresses: few guesses count, and who knows it is never kept out."""

from __future__ import annotations

import logging

import pytest

from gateway.core import SECOND
from gateway.voip.sip import guesses as module
from gateway.voip.sip.digest import Credentials
from gateway.voip.sip.flow import UDP, Flow
from gateway.voip.sip.guesses import (
    BEARABLE,
    EACH,
    FIRST_WAIT,
    FORGOTTEN,
    LONGEST_WAIT,
    MAX_PROVEN,
    MAX_WAITS,
    MOST_OWED,
    PROVEN_FOR,
    Guesses,
)
from gateway.voip.sip.message import Response
from tests.unit.voip.sip.sip_far_end import FarEnd
from tests.unit.voip.sip.test_sip_identification import DESK, SECRET, WRONG, branch, field

MOMENT = 1000 * SECOND
FREE = BEARABLE // EACH
"""Guesses at once that are forgiven."""


def guarded(user: str = "desk", now: int = MOMENT) -> Guesses:
    guesses = Guesses()
    told = [guesses.guessed(user, f"10.0.0.{number}", now) for number in range(FREE + 3)]
    assert told == [False] * FREE + [True, False, False]
    return guesses


def test_guesses_are_forgiven_while_they_are_few_and_again_after_peace() -> None:
    guesses = Guesses()
    for number in range(FREE):
        assert not guesses.guessed("desk", "10.0.0.1", MOMENT + number)
    assert not guesses.guarded("desk", "10.0.0.1", MOMENT)
    assert not guesses.waits("10.0.0.1", MOMENT)
    guesses = guarded()
    assert guesses.guarded("desk", "10.9.9.9", MOMENT)
    assert not guesses.guarded("other", "10.9.9.9", MOMENT)
    assert not guesses.guarded("desk", "10.9.9.9", MOMENT + 3 * EACH)


def test_account_has_peace_an_hour_after_the_last_of_a_million_guesses() -> None:
    guesses = Guesses()
    for number in range(1000):
        guesses.guessed("desk", f"10.0.{number // 250}.{number % 250}", MOMENT)
    assert guesses.guarded("desk", DESK.address, MOMENT + MOST_OWED - BEARABLE - 1)
    assert not guesses.guarded("desk", DESK.address, MOMENT + MOST_OWED - BEARABLE)


def test_wait_of_an_address_grows_to_a_day_and_is_forgotten_after_one() -> None:
    guesses, now, waits = guarded(), MOMENT, []
    for _ in range(16):
        for number in range(FREE + 1):
            guesses.guessed("desk", f"10.1.0.{number}", now, blind=True)
        guesses.guessed("desk", "10.0.0.99", now)
        wait = next(seconds for seconds in range(86_401) if not guesses.waits("10.0.0.99", now + seconds * SECOND))
        waits.append(wait * SECOND)
        now += wait * SECOND
    assert waits[:3] == [FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT]
    assert waits[-1] == LONGEST_WAIT
    now += FORGOTTEN
    for number in range(FREE + 1):
        guesses.guessed("desk", f"10.1.0.{number}", now, blind=True)
    guesses.guessed("desk", "10.0.0.99", now)
    assert guesses.waits("10.0.0.99", now)
    assert not guesses.waits("10.0.0.99", now + FIRST_WAIT)


def test_addresses_of_one_ipv6_network_wait_together() -> None:
    guesses = guarded()
    guesses.guessed("desk", "2001:db8::1", MOMENT)
    assert guesses.waits("2001:db8::ffff", MOMENT)
    assert not guesses.waits("2001:db8:0:1::1", MOMENT)


def test_who_proved_the_name_at_an_address_may_mistype_there_but_has_no_other() -> None:
    guesses = guarded()
    guesses.proved("desk", DESK.address, MOMENT)
    assert not guesses.guarded("desk", DESK.address, MOMENT)
    for number in range(FREE + 3):
        guesses.guessed("other", f"10.0.0.{number}", MOMENT)
    assert guesses.guarded("other", DESK.address, MOMENT)
    later = MOMENT + PROVEN_FOR
    for number in range(FREE + 3):
        guesses.guessed("desk", f"10.0.0.{number}", later)
    assert guesses.guarded("desk", DESK.address, later)


def test_blind_guesses_make_nobody_wait() -> None:
    guesses = Guesses()
    for _ in range(FREE + 3):
        guesses.guessed("desk", DESK.address, MOMENT, blind=True)
    assert guesses.guarded("desk", DESK.address, MOMENT)
    assert not guesses.waits(DESK.address, MOMENT)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_WAITS + MAX_PROVEN < 50_000
    monkeypatch.setattr(module, "MAX_WAITS", 10)
    monkeypatch.setattr(module, "MAX_PROVEN", 20)
    guesses = guarded()
    for number in range(100):
        guesses.guessed("desk", f"10.2.0.{number}", MOMENT)
        guesses.proved(f"user{number}", "10.3.0.1", MOMENT)
        guesses.proved("user0", "10.3.0.1", MOMENT)
    assert len(guesses) == 30
    assert guesses.waits("10.2.0.99", MOMENT)
    assert not guesses.guarded("user0", "10.3.0.1", MOMENT)


# -- in the endpoint --


def sources(count: int, network: int = 1) -> list[Flow]:
    return [Flow(UDP, f"198.{18 + network}.{number // 250}.{number % 250 + 1}", 5060) for number in range(count)]


def challenged(far: FarEnd, flow: Flow) -> Response:
    # Strangers are heard so often a second.
    far.run(0.02)
    far.request("REGISTER", flow=flow, call_id=f"c{far.branch()}")
    return far.take_response(401)


def answer(far: FarEnd, flow: Flow, challenge: Response, user: str, secret: str) -> str:
    request = far.request("REGISTER", send=False, user=user)
    contact = ("Contact", f"<sip:{user}@{flow.address}:{flow.port}>")
    proof = field(far, request, challenge, user, secret)
    far.request("REGISTER", proof, contact, flow=flow, call_id=f"r{far.branch()}", user=user)
    (name,) = far.names()
    return name


def attempt(far: FarEnd, flow: Flow, user: str = "desk", secret: str = WRONG) -> str:
    return answer(far, flow, challenged(far, flow), user, secret)


def test_of_a_thousand_addresses_each_has_one_guess_and_the_phone_is_let_in_from_anywhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    far = branch()
    assert attempt(far, DESK, secret=SECRET) == "200 REGISTER"
    looked_at = 0
    for _ in range(3):
        for flow in sources(100):
            looked_at += attempt(far, flow) == "403 REGISTER"
    # All the first time, and of those the ones forgiven once more.
    assert 100 <= looked_at <= 100 + FREE
    assert caplog.text.count("passwords of desk are guessed at") == 1
    # The phone, where it is known, mistypes first; then it moves.
    assert [attempt(far, DESK), attempt(far, DESK)] == ["403 REGISTER"] * 2
    assert attempt(far, DESK, secret=SECRET) == "200 REGISTER"
    assert attempt(far, Flow(UDP, "192.0.2.77", 5060), secret=SECRET) == "200 REGISTER"
    # Somewhere new, and wrong: it waits as the guessers do, and is then heard again.
    new = Flow(UDP, "192.0.2.78", 5060)
    assert [attempt(far, new), attempt(far, new, secret=SECRET)] == ["403 REGISTER", "503 REGISTER"]
    far.run(FIRST_WAIT / SECOND)
    far.take()
    assert attempt(far, new, secret=SECRET) == "200 REGISTER"


@pytest.mark.parametrize("user", ["desk", "nobody"])
def test_what_is_answered_is_the_same_for_users_that_exist_and_others(user: str) -> None:
    far = branch()
    answers = [attempt(far, flow, user) for flow in sources(FREE + 5)]
    assert answers == ["403 REGISTER"] * len(answers)
    again = [attempt(far, flow, user) for flow in sources(FREE + 5)]
    assert again == ["403 REGISTER"] * FREE + ["503 REGISTER"] * 5


def forged(secret: str) -> tuple[str, str]:
    credentials = Credentials(
        "desk", "branch-gateway", "A" * 32, "sip:gateway", "", qop="auth", cnonce="c", nc="00000001"
    )
    return "Authorization", str(credentials.answered("REGISTER", secret))


def test_answer_to_no_challenge_of_ours_does_not_tell_whether_it_is_right_and_hurts_nobody() -> None:
    far = branch()
    for flow in sources(FREE + 5):
        far.request("REGISTER", forged(WRONG), flow=flow, call_id=f"f{far.branch()}")
        far.take_response(401)
    told = []
    for secret in (SECRET, WRONG):
        # Somebody else may have written the phone's address on it.
        far.request("REGISTER", forged(secret), flow=DESK, call_id=f"f{far.branch()}")
        told.append("stale=true" in str(far.take_response(401).headers.get("WWW-Authenticate")))
    assert told == [True, True]
    assert attempt(far, DESK, secret=SECRET) == "200 REGISTER"
