"""Who a request is from, and what those get who cannot prove it: all the same."""

from __future__ import annotations

import logging
import re
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cause import Cause
from gateway.voip.sip.defence import Offence
from gateway.voip.sip.digest import Algorithm, Credentials, challenges_of
from gateway.voip.sip.flow import TCP, TLS, UDP, Flow
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.peers import PeerKind, PeerSettings, SipSettings
from tests.unit.voip.sip.sip_far_end import FarEnd, sdp
from tests.unit.voip.sip.sip_pair import A_ADDRESS, B_ADDRESS

SECRET, WRONG = "apples", "pears"
DESK = Flow(UDP, "203.0.113.20", 40_000)
ELSEWHERE = Flow(UDP, "203.0.113.21", 5060)
PHONE = PeerSettings("desk", "", kind=PeerKind.PHONE, context="internal", dynamic=True, secret=SECRET)
TRUNK = PeerSettings("hq", "", context="from-hq", dynamic=True, secret=SECRET, auth_user="headquarters")


def branch(*, guests: bool = False, **trunk: object) -> FarEnd:
    """An endpoint with a phone and a trunk that register, and the far end "b" at its address."""

    def settings(plain: SipSettings) -> SipSettings:
        context = "default" if guests else None
        return replace(plain, peers=(*plain.peers, PHONE, TRUNK), context=context)

    return FarEnd(settings=settings, peer=lambda plain: replace(plain, **trunk))  # type: ignore[arg-type]


def field(
    far: FarEnd, request: Request, challenge: Response, user: str, secret: str = SECRET, count: int = 1
) -> tuple[str, str]:
    """An Authorization that answers ``challenge`` for ``request``."""
    chosen = challenges_of(challenge, 401)[0]
    credentials = Credentials(
        user,
        chosen.realm,
        chosen.nonce,
        request.uri_text,
        "",
        chosen.algorithm,
        qop="auth",
        cnonce="c",
        nc=f"{count:08x}",
    )
    return "Authorization", str(credentials.answered(request.method, secret, request.body))


def ask(
    far: FarEnd, method: str = "INVITE", user: str = "desk", secret: str = SECRET, flow: Flow = DESK
) -> Request | None:
    """Send a request, and again with credentials if it is challenged; the second one."""
    call_id = f"{method}-{user}-{far.branch()}"
    body = sdp() if method == "INVITE" else b""
    request = far.request(method, body=body, flow=flow, call_id=call_id)
    (response,) = far.take()
    if not isinstance(response, Response) or response.status != 401:
        far.sent.append(response)
        return None
    return far.request(method, field(far, request, response, user, secret), body=body, flow=flow, call_id=call_id)


# -- phones and trunks that register --


@pytest.mark.parametrize(("user", "source"), [("desk", "desk"), ("hq", "hq"), ("headquarters", "hq")])
def test_who_proves_its_name_calls_as_that(user: str, source: str) -> None:
    far = branch()
    ask(far, user=user)
    assert far.names() == ["100 INVITE"]
    assert far.offers[0][1].source == source


def test_phone_with_transport_tls_is_nobody_in_the_clear() -> None:
    secure = Flow(TLS, DESK.address, DESK.port, 5, 0)
    for flow, names in ((DESK, ["403 INVITE"]), (secure, ["100 INVITE"])):
        far = FarEnd(settings=lambda plain: replace(plain, peers=(replace(PHONE, transport=TLS),), context=None))
        ask(far, flow=flow)
        assert far.names() == names


def test_challenge_offers_all_algorithms_the_strongest_first_and_keeps_no_state() -> None:
    far = branch()
    far.request("INVITE", body=sdp(), flow=DESK)
    response = far.take_response(401)
    assert [each.algorithm for each in challenges_of(response, 401)] == list(Algorithm)
    assert response.to.tag
    assert far.endpoint.idle
    far.request("ACK", flow=DESK, to_tag=response.to.tag)
    assert far.take() == []


def test_who_may_be_a_trunk_whose_name_is_not_resolved_yet_is_told_to_come_again_and_nobody_comes_instead() -> None:
    named = PeerSettings("itsp", "itsp.example.org", context="from-itsp", secret=SECRET)
    far = FarEnd(settings=lambda plain: replace(plain, peers=(*plain.peers, PHONE, named), context=None))
    late = ask(far, user="itsp", flow=ELSEWHERE)
    assert late is not None
    response = far.take_response(503)
    assert response.headers.get("Retry-After") == "5"
    far.endpoint.resolved("itsp.example.org", (ELSEWHERE.address,), far.now)
    # What was refused is not to be had by saying it again, which anybody may who overheard it.
    far.give(re.sub(rb"branch=[^;\r]*|Call-ID: [^\r]*", rb"\g<0>x", late.to_bytes()), ELSEWHERE)
    assert far.names() == ["401 INVITE"]
    ask(far, user="itsp", flow=ELSEWHERE)
    assert far.offers[-1][1].source == "itsp"


def test_unknown_user_and_wrong_password_get_the_same() -> None:
    seen = []
    for user, secret in (("desk", WRONG), ("nobody", SECRET), ("b", SECRET), ("", "")):
        far = branch()
        for method in ("INVITE", "REGISTER"):
            ask(far, method, user=user, secret=secret)
            response = far.take_response(403)
            assert far.endpoint.idle
            text = response.to_bytes().decode()
            seen.append(
                [line for line in text.split("\r\n") if not line.startswith(("Via", "Call-ID", "CSeq", "To", "From"))]
            )
    assert all(each == seen[0] for each in seen)


def test_without_proof_everybody_is_asked_whoever_it_says_to_be() -> None:
    far = branch()
    for method in ("INVITE", "REGISTER"):
        for number, user in enumerate(("desk", "hq", "nobody", "100", "b")):
            request = far.request(method, send=False, flow=DESK, call_id=f"{method}{number}", user=user)
            request.headers.replace_first("From", f"<sip:{user}@{A_ADDRESS}>;tag=x")
            far.give(request.to_bytes(), DESK)
            far.take_response(401)
    assert far.offers == []


def test_captured_invite_is_of_no_use_again() -> None:
    far = branch()
    second = ask(far)
    assert second is not None
    assert far.names() == ["100 INVITE"]
    # As somebody would who saw it: another call, to another number.
    stolen = far.request(
        "INVITE",
        ("Authorization", second.headers.get("Authorization") or ""),
        body=sdp(),
        flow=DESK,
        call_id="stolen",
        user="9005551234",
    )
    response = far.take_response(401)
    assert challenges_of(response, 401)[0].stale
    assert stolen.call_id == "stolen"
    assert len(far.offers) == 1


def test_retransmission_of_a_proven_request_is_no_replay() -> None:
    far = branch()
    second = ask(far)
    assert second is not None
    far.take()
    far.give(second.to_bytes(), DESK)
    assert far.names() == ["100 INVITE"]
    assert len(far.offers) == 1


def test_second_copy_of_a_forked_request_is_merged_and_no_replay() -> None:
    far = branch()
    second = ask(far)
    assert second is not None
    far.take()
    second.headers.replace_first("Via", f"SIP/2.0/UDP 198.51.100.1:5060;branch={far.branch()};rport")
    far.give(second.to_bytes(), DESK)
    far.take_response(482)


@given(st.text(max_size=120), st.sampled_from(["INVITE", "REGISTER", "BYE", "OPTIONS"]))
def test_whatever_stands_for_credentials_is_answered(text: str, method: str) -> None:
    far = branch()
    blank = "".join(character for character in text if character not in "\r\n")
    for value in (
        blank,
        f"Digest {blank}",
        f'Digest username="desk", realm="branch-gateway", nonce="{blank}", {blank}',
    ):
        request = far.request(method, send=False, body=sdp() if method == "INVITE" else b"")
        head, _, rest = request.to_bytes().partition(b"\r\n")
        far.give(head + b"\r\nAuthorization: " + value.encode("utf-8", "replace") + b"\r\n" + rest, DESK)
        answered = far.take()
        assert len(answered) <= 1
        assert far.endpoint.idle


def test_nonce_serves_one_address_only() -> None:
    far = branch()
    request = far.request("INVITE", body=sdp(), flow=DESK)
    challenge = far.take_response(401)
    far.request("INVITE", field(far, request, challenge, "desk"), body=sdp(), flow=ELSEWHERE)
    assert challenges_of(far.take_response(401), 401)[0].stale


def test_phone_with_a_fixed_address_proves_itself_too() -> None:
    far = branch(secret=SECRET)
    far.request("INVITE", body=sdp())
    far.take_response(401)
    ask(far, user="b", flow=far.flow)
    assert far.names() == ["100 INVITE"]
    assert far.offers[0][1].source == "b"


def test_password_of_a_trunk_is_of_no_use_under_another_name() -> None:
    far = branch(secret=SECRET, auth_user="branch")
    for user, status in (("nobody", "403 INVITE"), ("branch", "100 INVITE"), ("b", "100 INVITE")):
        ask(far, user=user, flow=far.flow)
        assert far.names() == [status]


def test_who_always_answers_its_challenges_is_always_heard() -> None:
    far = branch()
    for _ in range(400):
        assert ask(far, "REGISTER") is not None
        assert "401 REGISTER" not in far.names()
        far.now += 40_000
    assert far.endpoint.defence.shut_out(far.now) == {}
    far.request("OPTIONS", flow=DESK)
    assert far.names() == ["200 OPTIONS"]


def test_trunk_without_password_is_known_by_its_address() -> None:
    far = branch()
    far.request("INVITE", body=sdp())
    assert far.names() == ["100 INVITE"]
    assert far.offers[0][1].source == "b"


def test_trunk_that_never_proves_itself_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    far = branch(secret=SECRET)
    with caplog.at_level(logging.WARNING):
        for number in range(10):
            far.request("INVITE", body=sdp(), call_id=f"v{number}")
    assert len(caplog.records) == 1
    assert 'insecure = ["invite"]' in caplog.text


def test_wrong_password_of_a_phone_is_reported_until_it_is_right(caplog: pytest.LogCaptureFixture) -> None:
    far = branch()
    with caplog.at_level(logging.WARNING):
        for secret in (WRONG, WRONG, SECRET, WRONG):
            ask(far, secret=secret)
            far.take()
        ask(far, user="nobody")
    assert [record.getMessage() for record in caplog.records] == [
        "somebody at udp:203.0.113.20:40000 says to be desk and has another password"
    ] * 2


def test_insecure_invite_asks_for_nothing() -> None:
    far = branch(secret=SECRET, insecure_invite=True)
    far.request("INVITE", body=sdp())
    assert far.names() == ["100 INVITE"]


@pytest.mark.parametrize("match_port", [True, False])
def test_insecure_port_takes_calls_from_any_port(match_port: bool) -> None:
    far = branch(match_port=match_port)
    far.request("INVITE", body=sdp(), flow=Flow(UDP, B_ADDRESS, 6000))
    assert far.names() == (["401 INVITE"] if match_port else ["100 INVITE"])


def test_user_of_another_peer_opens_no_trunk() -> None:
    far = branch(secret="other")  # noqa: S106
    ask(far, user="desk", flow=far.flow)
    assert far.names() == ["100 INVITE"]
    # It is the phone that calls, from beside the trunk.
    assert far.offers[0][1].source == "desk"
    ask(far, user="nobody", flow=far.flow)
    far.take_response(403)


def test_where_nobody_registers_strangers_are_forbidden_at_once() -> None:
    far = FarEnd(settings=lambda plain: replace(plain, context=None))
    for method in ("INVITE", "REGISTER"):
        far.request(method, flow=DESK)
        far.take_response(403)


def test_credentials_beyond_reading_are_a_bad_request() -> None:
    far = branch()
    far.request("INVITE", ("Authorization", 'Digest username="desk'), body=sdp(), flow=DESK)
    far.take_response(400)
    assert far.endpoint.idle


# -- where strangers may call --


def test_guests_call_where_they_may_but_nobody_as_one_of_us() -> None:
    far = branch(guests=True)
    far.request("INVITE", body=sdp(), flow=ELSEWHERE)
    assert far.names() == ["100 INVITE"]
    assert far.offers[0][1].source == ""
    # From a user of ours, as a phone's From is: that takes a proof, whether there is such a user or not.
    for number, user in enumerate(("desk", "nobody")):
        request = far.request("INVITE", send=False, body=sdp(), call_id=f"g{number}")
        request.headers.replace_first("From", f"<sip:{user}@{A_ADDRESS}>;tag=x")
        far.give(request.to_bytes(), ELSEWHERE)
        far.take_response(401)


# -- in dialogs --


def proven_call(far: FarEnd) -> tuple[Request, str]:
    """A call of the phone that was answered; its INVITE and our tag."""
    second = ask(far)
    assert second is not None
    far.take_response(100)
    leg = far.offers[-1][0]
    leg.answer(None, far.now)
    tag = far.take_response(200).to.tag or ""
    far.request("ACK", flow=DESK, call_id=second.call_id, to_tag=tag, cseq=second.cseq.number)
    assert far.take() == []
    return second, tag


@pytest.mark.parametrize("method", ["BYE", "INFO", "INVITE", "UPDATE"])
def test_far_end_of_a_dialog_is_not_asked_again(method: str) -> None:
    far = branch()
    invite, tag = proven_call(far)
    body = sdp(version=2) if method in ("INVITE", "UPDATE") else b""
    far.request(method, flow=DESK, call_id=invite.call_id, to_tag=tag, body=body)
    far.take_response(200)


@pytest.mark.parametrize("method", ["BYE", "INFO", "INVITE", "UPDATE"])
def test_who_knows_the_tags_but_comes_from_elsewhere_is_asked(method: str) -> None:
    far = branch()
    invite, tag = proven_call(far)
    body = sdp(version=2) if method in ("INVITE", "UPDATE") else b""
    request = far.request(method, flow=ELSEWHERE, call_id=invite.call_id, to_tag=tag, body=body)
    challenge = far.take_response(401)
    proof = field(far, request, challenge, "desk", WRONG)
    far.request(method, proof, flow=ELSEWHERE, call_id=invite.call_id, to_tag=tag, body=body)
    far.take_response(403)
    leg, _, notes = far.offers[-1]
    assert notes.released is None
    assert not leg.over
    # The phone itself, whose NAT has got another address, goes on.
    request = far.request(method, flow=ELSEWHERE, call_id=invite.call_id, to_tag=tag, body=body)
    challenge = far.take_response(401)
    proof = field(far, request, challenge, "desk")
    far.request(method, proof, flow=ELSEWHERE, call_id=invite.call_id, to_tag=tag, body=body)
    far.take_response(200)


def test_bye_in_other_letters_from_elsewhere_is_asked_too() -> None:
    far = branch()
    invite, tag = proven_call(far)
    request = far.request("BYE", send=False, call_id=invite.call_id, to_tag=tag)
    request.headers.replace_first("To", f'"x" <sip:4165551234@{A_ADDRESS}>;tag={tag}')
    far.give(request.to_bytes(), ELSEWHERE)
    far.take_response(401)


def test_call_of_a_trunk_without_password_is_ended_from_where_it_likes() -> None:
    far = branch()
    _, notes, tag = far.answered_in()
    far.request("BYE", to_tag=tag, flow=ELSEWHERE)
    far.take_response(200)
    assert notes.released is not None


# -- guessing --


def test_guessing_is_heard_no_more_while_others_are() -> None:
    far = branch()
    heard = 0
    for _ in range(100):
        before = len(far.raw)
        far.request("REGISTER", flow=DESK)
        if len(far.raw) == before:
            break
        challenge = far.take_response(401)
        request = far.request("REGISTER", send=False)
        far.give(far.request("REGISTER", field(far, request, challenge, "desk", WRONG), send=False).to_bytes(), DESK)
        heard += len(far.take())
    assert heard == 19
    assert DESK.address in far.endpoint.defence.shut_out(far.now)
    ask(far, flow=ELSEWHERE)
    assert far.names() == ["100 INVITE"]
    far.run(61)
    ask(far)
    assert "100 INVITE" in far.names()


def test_guessing_from_beside_a_peer_is_slowed_and_the_peer_goes_on() -> None:
    far = branch()
    beside = Flow(UDP, B_ADDRESS, 7000)
    for _ in range(30):
        far.endpoint.defence.offended(B_ADDRESS, Offence.GUESSED, far.now)
    answers = []
    for number in range(10):
        request = far.request("REGISTER", flow=beside, call_id=f"r{number}")
        challenge = far.take_response(401)
        far.give(far.request("REGISTER", field(far, request, challenge, "desk", WRONG), send=False).to_bytes(), beside)
        answers += far.names()
    assert answers == ["403 REGISTER"] + ["503 REGISTER"] * 9
    far.request("INVITE", body=sdp())
    assert far.names() == ["100 INVITE"]


def test_shut_out_source_on_a_connection_is_closed() -> None:
    far = FarEnd(transport=TCP, settings=lambda plain: replace(plain, peers=(*plain.peers, PHONE), context=None))
    flow = Flow(TCP, DESK.address, 50_000, 9, 1)
    for _ in range(30):
        far.endpoint.defence.offended(DESK.address, Offence.GUESSED, far.now)
    far.request("OPTIONS", flow=flow)
    assert far.take() == []
    assert [each.flow for each in far.closed] == [flow]


def test_flood_of_a_stranger_leaves_nothing_and_costs_a_peer_nothing() -> None:
    far = branch()
    for number in range(5000):
        far.request("REGISTER", flow=DESK, call_id=f"f{number}")
        far.now += 100
    assert far.endpoint.idle
    assert len(far.take()) <= 325
    assert len(far.endpoint.defence) < 5
    far.request("INVITE", body=sdp())
    assert far.names() == ["100 INVITE"]
    far.offers[0][0].release(Cause.USER_BUSY, far.now)
    assert msgspec.structs.asdict(far.flow)["address"] == B_ADDRESS
