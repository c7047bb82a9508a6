"""Digest as a client: which challenge is answered, how often, and what every kind of request carries."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from gateway.cause import Cause
from gateway.identity import Number, Party
from gateway.leg import Setup
from gateway.voip.sip.authenticator import Authenticator, Verdict
from gateway.voip.sip.credentials import MAX_REALMS, MAX_ROUNDS, DigestClient
from gateway.voip.sip.digest import Algorithm, parse_credentials
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.peers import PeerSettings
from tests.unit.voip.sip.sip_far_end import FarEnd, sdp
from tests.unit.voip.sip.sip_pair import A_ADDRESS

SECRET, OTHER = "apples", "pears"
KEY = bytes(range(32))


def client(secret: str = SECRET) -> DigestClient:
    return DigestClient("branch", secret, random.Random(3))


def challenge(*values: str, status: int = 401) -> Response:
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    return Response(status, headers=[(name, value) for value in values])


MD5 = 'Digest realm="hq", nonce="n1", qop="auth"'
SHA = 'Digest realm="hq", nonce="n1", algorithm=SHA-256, qop="auth,auth-int"'
UNKNOWN = 'Digest realm="hq", nonce="n1", algorithm=SHA3-256, qop="auth"'


def said(made: DigestClient, method: str = "INVITE") -> list[str]:
    return [f"{name} {text}" for name, text in made.fields(method, "sip:x@hq")]


def test_nothing_is_said_before_it_is_asked() -> None:
    made = client()
    assert made.fields("INVITE", "sip:x@hq") == []
    assert not made.active


@pytest.mark.parametrize("order", [(MD5, SHA, UNKNOWN), (UNKNOWN, SHA, MD5)])
def test_strongest_challenge_is_answered(order: tuple[str, ...]) -> None:
    made = client()
    assert made.take(challenge(*order), 0)
    (field,) = made.fields("INVITE", "sip:x@hq", b"body")
    assert field[0] == "Authorization"
    credentials = parse_credentials(field[1])
    assert credentials is not None
    assert (credentials.algorithm, credentials.qop, credentials.uri) == (Algorithm.SHA_256, "auth", "sip:x@hq")
    assert credentials.matches("INVITE", SECRET)


def test_only_integrity_is_answered_with_it() -> None:
    made = client()
    assert made.take(challenge('Digest realm="hq", nonce="n1", qop="auth-int"'), 0)
    credentials = parse_credentials(made.fields("INVITE", "sip:x@hq", b"body")[0][1])
    assert credentials is not None
    assert credentials.matches("INVITE", SECRET, b"body")


def test_challenge_of_old_times_and_session_are_answered() -> None:
    for text in ('Digest realm="hq", nonce="n1"', 'Digest realm="hq", nonce="n1", algorithm=MD5-sess'):
        made = client()
        assert made.take(challenge(text), 0)
        credentials = parse_credentials(made.fields("BYE", "sip:x@hq")[0][1])
        assert credentials is not None
        assert credentials.qop is None
        assert credentials.matches("BYE", SECRET)


def test_count_goes_up_and_opaque_comes_back() -> None:
    made = client()
    made.take(challenge(f'{MD5}, opaque="o"'), 0)
    texts = [said(made, method)[0] for method in ("INVITE", "PRACK", "BYE")]
    assert [f"nc=0000000{number}" in text for number, text in enumerate(texts, 1)] == [True, True, True]
    assert all('opaque="o"' in text for text in texts)


def test_ack_has_the_credentials_of_its_invite() -> None:
    made = client()
    made.take(challenge(MD5), 0)
    invite = made.fields("INVITE", "sip:x@hq")
    made.fields("PRACK", "sip:x@hq")
    assert made.fields("ACK", "sip:other@hq") == invite


def test_proxies_and_the_far_end_are_answered_each_in_its_field() -> None:
    made = client()
    assert made.take(challenge('Digest realm="proxy", nonce="p", qop="auth"', status=407), 0)
    assert made.take(challenge(MD5), 1)
    assert [text.split(" ")[0] for text in said(made)] == ["Proxy-Authorization", "Authorization"]


def test_what_was_refused_is_not_said_again() -> None:
    made = client()
    assert made.take(challenge(MD5), 0)
    assert not made.take(challenge('Digest realm="hq", nonce="n2", qop="auth"'), 1)


def test_stale_nonce_is_no_refusal_but_not_for_ever() -> None:
    made = client()
    rounds = 0
    while made.take(challenge(f'Digest realm="hq", nonce="n{rounds}", stale=TRUE, qop="auth"'), rounds):
        rounds += 1
    assert rounds == MAX_ROUNDS


def test_what_was_said_unasked_may_have_been_too_old() -> None:
    made = client()
    assert made.take(challenge(MD5), 0)
    assert made.take(challenge('Digest realm="hq", nonce="n2", qop="auth"'), 0)
    assert 'nonce="n2"' in said(made)[0]


def test_number_of_realms_is_bounded() -> None:
    made = client()
    for number in range(3 * MAX_REALMS):
        assert made.take(challenge(f'Digest realm="{number}", nonce="n", qop="auth"'), 0)
    assert len(said(made)) == MAX_REALMS


def test_without_password_or_known_challenge_it_is_a_refusal() -> None:
    assert not client("").take(challenge(MD5), 0)
    assert not client().take(challenge(UNKNOWN), 0)
    assert not client().take(challenge(), 0)
    assert not client().take(Response(403), 0)
    assert SECRET not in repr(client())


# -- in calls --


def caller(**settings: object) -> FarEnd:
    def peer(plain: PeerSettings) -> PeerSettings:
        return replace(plain, **{"secret": SECRET, "auth_user": "branch", "insecure_invite": True} | settings)  # type: ignore[arg-type]

    return FarEnd(peer=peer)


class Server:
    """The far end's side of digest."""

    def __init__(self, far: FarEnd) -> None:
        self.far = far
        self.authenticator = Authenticator("hq", KEY)

    def challenge(self, request: Request, *, stale: bool = False, proxy: bool = False) -> None:
        fields = self.authenticator.challenge(A_ADDRESS, self.far.now, stale=stale)
        if proxy:
            fields = [("Proxy-Authenticate", text) for _, text in fields]
        self.far.answer(request, 407 if proxy else 401, *fields)

    def judge(self, request: Request, method: str | None = None) -> Verdict:
        credentials = self.authenticator.credentials(request)
        if credentials is not None and credentials.uri != request.uri_text:
            return Verdict.WRONG
        judged = Request(method or request.method, request.uri_text, body=request.body)
        return self.authenticator.verify(judged, credentials, SECRET, A_ADDRESS, self.far.now)


def requests(far: FarEnd) -> list[Request]:
    return [message for message in far.take() if isinstance(message, Request)]


def test_challenged_invite_goes_out_again_with_the_same_addresses_and_offer() -> None:
    far = caller()
    server = Server(far)
    _, notes, invite = far.call_out()
    assert server.judge(invite) is Verdict.ABSENT
    server.challenge(invite)
    ack, second = requests(far)
    assert ack.method == "ACK"
    assert server.judge(second) is Verdict.RIGHT
    assert second.cseq.number == invite.cseq.number + 1
    assert second.call_id == invite.call_id
    assert second.from_ == invite.from_
    assert second.to.tag is None
    assert second.via.branch != invite.via.branch
    # What the far end is told of our address is the same as before: in the field it is often forgotten here.
    assert second.body == invite.body
    assert second.contacts[0].uri_text == invite.contacts[0].uri_text
    assert second.via.sent_by == invite.via.sent_by
    far.answer(second, 200, body=sdp())
    ack = far.take_request("ACK")
    assert ack.headers.get("Authorization") == second.headers.get("Authorization")
    assert "Answered" in notes.names()


def test_all_that_follows_in_the_dialog_carries_credentials_of_its_own() -> None:
    far = caller()
    server = Server(far)
    leg, _, invite = far.call_out()
    server.challenge(invite)
    second = requests(far)[-1]
    assert server.judge(second) is Verdict.RIGHT
    far.answer(second, 183, ("Require", "100rel"), ("RSeq", "1"), body=sdp())
    prack = far.take_request("PRACK")
    assert server.judge(prack) is Verdict.RIGHT
    far.answer(prack, 200)
    far.answer(second, 200)
    far.take_request("ACK")
    leg.hold(far.now)
    again = far.take_request("INVITE")
    assert server.judge(again) is Verdict.RIGHT
    far.answer(again, 200, body=sdp("recvonly", 2))
    ack = far.take_request("ACK")
    assert ack.headers.get("Authorization") == again.headers.get("Authorization")
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    bye = far.take_request("BYE")
    assert server.judge(bye) is Verdict.RIGHT
    far.answer(bye, 200)
    far.assert_clean()


def test_wrong_password_ends_the_call_and_is_said_once() -> None:
    far = caller(secret=OTHER)
    server = Server(far)
    _, notes, invite = far.call_out()
    server.challenge(invite)
    second = requests(far)[-1]
    assert server.judge(second) is Verdict.WRONG
    server.challenge(second)
    assert far.names() == ["ACK"]
    assert notes.released is not None
    assert notes.released.cause is Cause.CALL_REJECTED
    far.assert_clean()


def test_stale_nonce_is_answered_once_more() -> None:
    far = caller()
    server = Server(far)
    _, _, invite = far.call_out()
    server.challenge(invite)
    second = requests(far)[-1]
    server.challenge(second, stale=True)
    third = requests(far)[-1]
    assert server.judge(third) is Verdict.RIGHT


def test_proxy_and_far_end_may_both_ask() -> None:
    far = caller()
    server = Server(far)
    _, _, invite = far.call_out()
    server.challenge(invite, proxy=True)
    second = requests(far)[-1]
    assert "proxy-authorization" in second.headers
    assert "authorization" not in second.headers
    server.challenge(second)
    third = requests(far)[-1]
    assert "proxy-authorization" in third.headers
    assert server.judge(third) is Verdict.RIGHT


def test_challenge_without_password_is_a_refusal() -> None:
    far = caller(secret="")
    _, notes, invite = far.call_out()
    Server(far).challenge(invite)
    assert far.names() == ["ACK"]
    assert notes.released is not None


def test_call_that_was_given_up_is_not_repeated() -> None:
    far = caller()
    leg, _, invite = far.call_out()
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    Server(far).challenge(invite)
    assert "INVITE" not in far.names()
    far.assert_clean()


@pytest.mark.parametrize("rounds", [1, 2])
def test_bye_that_is_challenged_goes_out_again(rounds: int) -> None:
    far = caller()
    server = Server(far)
    leg, _, _ = far.answered_out()
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    bye = far.take_request("BYE")
    for number in range(rounds):
        server.challenge(bye, stale=number > 0)
        before, bye = bye, far.take_request("BYE")
        assert bye.cseq.number == before.cseq.number + 1
    assert server.judge(bye) is Verdict.RIGHT
    far.answer(bye, 200)
    assert far.take() == []
    far.assert_clean()


def test_bye_that_is_refused_ends_the_dialog_all_the_same() -> None:
    far = caller(secret=OTHER)
    server = Server(far)
    leg, _, _ = far.answered_out()
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    bye = far.take_request("BYE")
    server.challenge(bye)
    server.challenge(far.take_request("BYE"))
    assert far.take() == []
    far.assert_clean()


def test_reinvite_that_is_challenged_goes_out_again_with_its_offer() -> None:
    far = caller()
    server = Server(far)
    leg, _, _ = far.answered_out()
    leg.hold(far.now)
    first = far.take_request("INVITE")
    server.challenge(first)
    ack, second = requests(far)
    assert ack.method == "ACK"
    assert server.judge(second) is Verdict.RIGHT
    assert second.body == first.body
    far.answer(second, 200, body=sdp("recvonly", 2))
    ack = far.take_request("ACK")
    assert ack.cseq.number == second.cseq.number
    leg.resume(far.now)
    third = far.take_request("INVITE")
    assert server.judge(third) is Verdict.RIGHT


def test_called_side_answers_challenges_in_its_dialog_too() -> None:
    far = caller()
    server = Server(far)
    leg, _, _ = far.answered_in()
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    bye = far.take_request("BYE")
    server.challenge(bye)
    bye = far.take_request("BYE")
    assert server.judge(bye) is Verdict.RIGHT
    far.answer(bye, 200)
    far.assert_clean()


def test_whom_a_redirection_names_learns_nothing_of_our_password() -> None:
    far = caller(follow_redirects=True)
    server = Server(far)
    _, notes, invite = far.call_out()
    far.answer(invite, 302, ("Contact", "<sip:x@203.0.113.66>"))
    moved = requests(far)[-1]
    server.challenge(moved)
    assert far.names() == ["ACK"]
    assert notes.released is not None


def test_fromuser_and_fromdomain_stand_in_from() -> None:
    far = caller(fromuser="4165550000", fromdomain="hq.example")
    setup = Setup(Number("4165551234"), Party(Number("2125550000"), "Ann"))
    _, _, invite = far.call_out(setup)
    assert (invite.from_.uri.user, invite.from_.uri.host) == ("4165550000", "hq.example")
    assert invite.from_.display_name == "Ann"
