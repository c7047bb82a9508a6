"""Nonces without memory: what is right, wrong, too old or used before."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import SECOND
from gateway.voip.sip import authenticator as module
from gateway.voip.sip.authenticator import HABIT_LIFE, IN_VAIN, MAX_NONCES, NONCE_LIFE, WINDOW, Authenticator, Verdict
from gateway.voip.sip.digest import Algorithm, Credentials, parse_challenge
from gateway.voip.sip.message import Request

KEY = bytes(range(32))
HERE = "192.0.2.2"
RIGHT, WRONG = "apples", "pears"


class Client:
    """Knows how to answer, rightly or not."""

    def __init__(self, server: Authenticator, user: str = "desk", secret: str = RIGHT) -> None:
        self.server = server
        self.user = user
        self.secret = secret
        self.nonce = ""

    def challenged(self, now: int, address: str = HERE, *, algorithm: Algorithm = Algorithm.SHA_256) -> None:
        texts = [text for _, text in self.server.challenge(address, now)]
        challenges = [found for text in texts if (found := parse_challenge(text))]
        self.nonce = next(each.nonce for each in challenges if each.algorithm is algorithm)

    def request(
        self, count: int = 1, *, method: str = "REGISTER", algorithm: Algorithm = Algorithm.SHA_256, qop: bool = True
    ) -> Request:
        credentials = Credentials(
            self.user,
            self.server.realm,
            self.nonce,
            "sip:gateway",
            "",
            algorithm,
            qop="auth" if qop else None,
            cnonce="c" if qop else "",
            nc=f"{count:08x}" if qop else "",
        ).answered(method, self.secret)
        return Request(method, "sip:gateway", [("Authorization", str(credentials))])

    def verdict(self, request: Request, now: int, address: str = HERE, secret: str | None = RIGHT) -> Verdict:
        return self.server.verify(request, self.server.credentials(request), secret, address, now)


def client(kept: int = MAX_NONCES) -> Client:
    made = Client(Authenticator("branch", KEY, kept=kept))
    made.challenged(SECOND)
    return made


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("qop", [True, False])
def test_who_knows_the_password_is_right(algorithm: Algorithm, qop: bool) -> None:
    made = client()
    assert made.verdict(made.request(algorithm=algorithm, qop=qop), 2 * SECOND) is Verdict.RIGHT


def test_several_challenges_are_offered_in_the_order_wanted_with_one_nonce() -> None:
    server = Authenticator("branch", KEY, [Algorithm.MD5, Algorithm.SHA_256])
    challenges = [parse_challenge(text) for name, text in server.challenge(HERE, 0) if name == "WWW-Authenticate"]
    assert [each.algorithm for each in challenges if each] == [Algorithm.MD5, Algorithm.SHA_256]
    assert len({each.nonce for each in challenges if each}) == 1
    assert all(each.qop == ("auth",) and not each.stale for each in challenges if each)
    assert "stale=true" in server.challenge(HERE, 0, stale=True)[0][1]


def test_algorithm_that_was_not_offered_counts_for_nothing() -> None:
    made = Client(Authenticator("branch", KEY, [Algorithm.SHA_256]))
    made.challenged(SECOND)
    assert made.verdict(made.request(algorithm=Algorithm.MD5), SECOND) is Verdict.ABSENT


def test_wrong_password_and_unknown_user_are_the_same() -> None:
    made = client()
    assert made.verdict(made.request(), SECOND, secret=None) is Verdict.WRONG
    made.secret = WRONG
    assert made.verdict(made.request(), SECOND) is Verdict.WRONG
    assert len(made.server) == 0


def test_without_credentials_or_with_those_of_another_realm_there_is_nothing_to_judge() -> None:
    made = client()
    assert made.verdict(Request("INVITE", "sip:x"), SECOND) is Verdict.ABSENT
    foreign = Client(Authenticator("elsewhere", KEY))
    foreign.challenged(SECOND)
    assert made.verdict(foreign.request(), SECOND) is Verdict.ABSENT


def test_empty_password_opens_nothing() -> None:
    made = client()
    made.secret = ""
    assert made.verdict(made.request(), SECOND, secret="") is Verdict.WRONG


def test_not_even_the_stand_in_for_nobody_s_password_opens_anything() -> None:
    made = client()
    made.secret = made.server._nobody
    assert made.verdict(made.request(), SECOND, secret=None) is Verdict.WRONG


def test_nonce_grows_old() -> None:
    made = client()
    request = made.request()
    assert made.verdict(request, SECOND + NONCE_LIFE + 1) is Verdict.STALE
    made.secret = WRONG
    assert made.verdict(made.request(), SECOND + NONCE_LIFE + 1) is Verdict.WRONG


def test_nonce_of_another_address_or_key_is_stale_for_who_knows_the_password_only() -> None:
    made = client()
    assert made.verdict(made.request(), SECOND, "192.0.2.3") is Verdict.STALE
    other = Client(Authenticator("branch", KEY[::-1]))
    other.nonce = made.nonce
    assert other.verdict(other.request(), SECOND) is Verdict.STALE
    other.secret = WRONG
    assert other.verdict(other.request(), SECOND) is Verdict.BLIND


def test_nothing_is_taken_twice() -> None:
    made = client()
    for qop in (True, False):
        made.challenged(SECOND)
        request = made.request(qop=qop)
        assert made.verdict(request, SECOND) is Verdict.RIGHT
        assert made.verdict(request, SECOND) is Verdict.STALE


def test_requests_may_overtake_one_another_within_the_window() -> None:
    made = client()
    assert made.verdict(made.request(WINDOW), SECOND) is Verdict.RIGHT
    assert made.verdict(made.request(1), SECOND) is Verdict.RIGHT
    assert made.verdict(made.request(1), SECOND) is Verdict.STALE
    assert made.verdict(made.request(WINDOW + 1), SECOND) is Verdict.RIGHT
    assert made.verdict(made.request(0xFFFF_FFFF), SECOND) is Verdict.RIGHT
    assert made.verdict(made.request(2), SECOND) is Verdict.STALE


@given(st.lists(st.integers(1, 300), max_size=60))
def test_each_count_is_right_at_most_once(counts: list[int]) -> None:
    made = client()
    taken: set[int] = set()
    for count in counts:
        verdict = made.verdict(made.request(count), SECOND)
        if count in taken:
            assert verdict is Verdict.STALE
        elif count > max(taken, default=0) - WINDOW:
            assert verdict is Verdict.RIGHT
        if verdict is Verdict.RIGHT:
            taken.add(count)


def test_table_of_nonces_is_bounded_and_forgetting_opens_no_door() -> None:
    made = client(kept=4)
    used: list[Request] = []
    for number in range(20):
        now = SECOND + number
        made.challenged(now)
        used.append(made.request())
        assert made.verdict(used[-1], now) is Verdict.RIGHT
    assert len(made.server) <= 4
    assert [made.verdict(request, 2 * SECOND) for request in used] == [Verdict.STALE] * 20


def test_old_nonces_are_forgotten_in_time() -> None:
    made = client()
    assert made.verdict(made.request(), SECOND) is Verdict.RIGHT
    late = 2 * SECOND + NONCE_LIFE
    made.challenged(late)
    assert made.verdict(made.request(), late) is Verdict.RIGHT
    assert len(made.server) == 1


def test_challenges_alone_take_no_memory() -> None:
    made = client()
    nonces = set()
    for number in range(1000):
        made.challenged(SECOND, f"198.51.100.{number % 250}")
        nonces.add(made.nonce)
    assert len(nonces) == 1000
    assert len(made.server) == 0


@given(st.text(max_size=50))
def test_made_up_nonces_are_never_taken(nonce: str) -> None:
    made = client()
    made.nonce = nonce
    assert made.verdict(made.request(), SECOND) is not Verdict.RIGHT
    assert len(made.server) == 0


def test_changed_nonce_is_not_ours() -> None:
    made = client()
    rng = random.Random(1)
    good = made.nonce
    for _ in range(200):
        at = rng.randrange(len(good))
        made.nonce = good[:at] + rng.choice("abcXYZ019-_") + good[at + 1 :]
        if made.nonce != good:
            assert made.verdict(made.request(), SECOND) is Verdict.STALE


def test_short_key_and_no_algorithm_are_refused() -> None:
    with pytest.raises(ValueError, match="octets"):
        Authenticator("branch", b"short")
    with pytest.raises(ValueError, match="algorithm"):
        Authenticator("branch", KEY, [])


def offered(server: Authenticator, now: int, address: str = HERE) -> list[Algorithm]:
    return [found.algorithm for _, text in server.challenge(address, now) if (found := parse_challenge(text))]


def test_agent_known_to_give_up_at_several_challenges_is_asked_for_the_plainest_at_once() -> None:
    made = client()
    for agent in ("baresip v1.0.0 (x86_64/linux)", "baresip v0.6.5"):
        assert len(made.server.challenge("192.0.2.1", 0, agent=agent)) == 1
        assert "algorithm=MD5" in made.server.challenge("192.0.2.1", 0, agent=agent)[0][1]
    assert len(made.server.challenge("192.0.2.1", 0, agent="baresip v3.9.0")) == len(Algorithm)


def test_phone_that_gives_up_at_several_challenges_is_asked_for_the_plainest() -> None:
    made = client()
    # It comes back later, not only because our answer was lost.
    assert offered(made.server, 2 * SECOND) == list(Algorithm)
    assert offered(made.server, SECOND + IN_VAIN + 1) == [Algorithm.MD5]
    assert offered(made.server, SECOND + IN_VAIN + 1, "192.0.2.99") == list(Algorithm)
    late = 60 * SECOND
    made.challenged(late, algorithm=Algorithm.MD5)
    assert made.verdict(made.request(algorithm=Algorithm.MD5), late) is Verdict.RIGHT
    # Now it is known for that, at once and tomorrow.
    assert offered(made.server, late + 1) == [Algorithm.MD5]
    assert offered(made.server, late + HABIT_LIFE) == [Algorithm.MD5]


def test_phone_that_has_better_is_asked_for_it_again() -> None:
    made = client()
    assert made.verdict(made.request(), 2 * SECOND) is Verdict.RIGHT
    late = 60 * SECOND
    assert offered(made.server, late) == list(Algorithm)
    assert offered(made.server, late + IN_VAIN) == list(Algorithm)
    assert offered(made.server, late + IN_VAIN + 1) == [Algorithm.MD5]


def test_who_answered_is_asked_again_in_the_same_words() -> None:
    made = client()
    request = made.request(algorithm=Algorithm.SHA_256)
    credentials = made.server.credentials(request)
    found = [parse_challenge(text) for _, text in made.server.challenge(HERE, SECOND, credentials=credentials)]
    assert [each.algorithm for each in found if each] == [Algorithm.SHA_256]


def test_habits_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HABITS", 10)
    made = client()
    for number in range(100):
        made.server.challenge(f"198.51.100.{number}", SECOND)
    assert len(made.server._habits) == 10
