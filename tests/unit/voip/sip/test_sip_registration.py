"""Registration with a provider's one server, against a registrar that the test plays by hand."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import SECOND
from gateway.voip.registering import RegistrationState
from gateway.voip.sip.flow import TCP
from gateway.voip.sip.message import Request
from tests.unit.voip.sip.sip_far_end import sdp
from tests.unit.voip.sip.sip_pair import A_ADDRESS, B_ADDRESS
from tests.unit.voip.sip.sip_provider import WORD, Provider, challenge


def test_register_names_account_contact_and_how_long() -> None:
    provider = Provider()
    request = provider.take_request("REGISTER")
    assert request.uri_text == f"sip:{B_ADDRESS}"
    assert request.to.uri_text == request.from_.uri_text == f"sip:4165550100@{B_ADDRESS}"
    assert request.contacts[0].uri_text == f"sip:4165550100@{A_ADDRESS}:5060"
    assert request.expires == 3600
    assert request.supported == {"path"}
    assert "keep" in request.via.params


def test_challenge_is_answered_and_the_refresh_needs_none() -> None:
    provider = Provider()
    first = provider.take_request("REGISTER")
    provider.answer(first, 401, challenge())
    second = provider.take_request("REGISTER")
    assert second.call_id == first.call_id
    assert second.cseq.number == first.cseq.number + 1
    assert 'username="4165550100"' in (second.headers.get("Authorization") or "")
    provider.accept(second)
    assert provider.registration.in_force
    provider.silence()
    third = provider.take_request("REGISTER")
    assert "nc=00000002" in (third.headers.get("Authorization") or "")


@pytest.mark.parametrize("granted", [10, 60, 120, 3600, 86_400])
def test_refresh_comes_before_the_end_with_time_for_another_try(granted: int) -> None:
    for _ in range(20):
        provider = Provider()
        provider.registered(granted)
        waited = provider.silence()
        assert waited <= granted - min(granted / 2, 40)
        assert waited >= granted * 0.4


def test_interval_of_expires_counts_where_contact_has_none_and_a_rewritten_contact_is_known() -> None:
    provider = Provider()
    request = provider.take_request("REGISTER")
    provider.answer(request, 200, ("Contact", "<sip:4165550100@203.0.113.9:61234>"), ("Expires", "100"))
    assert provider.registration.expires_at == provider.now + 100 * SECOND


def test_too_brief_is_asked_again_for_longer() -> None:
    provider = Provider(expiry=60)
    provider.answer(provider.take_request("REGISTER"), 423, ("Min-Expires", "1800"))
    again = provider.take_request("REGISTER")
    assert again.expires == 1800
    provider.answer(again, 423)
    assert provider.take_request("REGISTER").expires == 3600


def test_too_brief_for_ever_ends_as_a_refusal() -> None:
    provider = Provider()
    for _ in range(4):
        provider.answer(provider.take_request("REGISTER"), 423)
    assert provider.take() == []
    assert provider.registration.state is RegistrationState.REFUSED


def test_wrong_password_is_told_once_and_tried_ever_more_seldom(caplog: pytest.LogCaptureFixture) -> None:
    provider = Provider()
    waits = []
    for _ in range(8):
        provider.answer(provider.take_request("REGISTER"), 401, challenge("n1"))
        provider.answer(provider.take_request("REGISTER"), 401, challenge("n2"))
        assert provider.registration.state is RegistrationState.REFUSED
        waits.append(provider.silence())
    assert 150 <= waits[0] <= 300
    assert waits[-1] >= 1800
    assert max(waits) <= 3600
    assert "user name or secret is wrong (401 Unauthorized)" in caplog.text
    assert WORD not in caplog.text


def test_a_stale_nonce_is_no_wrong_password() -> None:
    provider = Provider()
    provider.answer(provider.take_request("REGISTER"), 401, challenge("n1"))
    provider.answer(provider.take_request("REGISTER"), 401, challenge("n2", stale=True))
    request = provider.take_request("REGISTER")
    assert 'nonce="n2"' in (request.headers.get("Authorization") or "")


def test_forbidden_is_a_refusal() -> None:
    provider = Provider()
    provider.answer(provider.take_request("REGISTER"), 403)
    assert provider.registration.state is RegistrationState.REFUSED
    assert provider.silence() >= 150


def test_silence_backs_off_and_is_bounded() -> None:
    provider = Provider()
    waits: list[float] = []
    at = provider.now
    for _ in range(10):
        branch = provider.take_request("REGISTER").via.branch
        # Its own retransmissions until timer F, then the wait.
        while True:
            provider.silence()
            (message,) = provider.take()
            if message.via.branch != branch:
                provider.sent.append(message)
                break
        waits.append((provider.now - at) / SECOND - 32)
        at = provider.now
    assert 5 <= waits[0] <= 10.1
    assert all(wait <= 300.1 for wait in waits)
    assert waits[-1] >= 150
    assert provider.registration.error.endswith("no answer")


def test_retry_after_is_kept() -> None:
    provider = Provider()
    provider.answer(provider.take_request("REGISTER"), 503, ("Retry-After", "120"))
    assert 120 <= provider.silence() <= 121
    provider.answer(provider.take_request("REGISTER"), 503, ("Retry-After", "86400"))
    assert 3600 <= provider.silence() <= 3601


def test_binding_that_cannot_be_refreshed_stands_until_it_runs_out(caplog: pytest.LogCaptureFixture) -> None:
    provider = Provider()
    provider.registered(120)
    provider.silence()
    provider.answer(provider.take_request("REGISTER"), 503)
    assert provider.registration.in_force
    provider.run(120)
    assert not provider.registration.in_force
    assert "has run out" in caplog.text


def test_service_route_is_taken_by_calls() -> None:
    provider = Provider()
    provider.registered(3600, ("Service-Route", f"<sip:{B_ADDRESS};lr>, <sip:core.example.org;lr>"))
    _, _, invite = provider.call_out()
    assert [route.uri_text for route in invite.routes] == [f"sip:{B_ADDRESS};lr", "sip:core.example.org;lr"]


def test_call_to_our_contact_is_for_the_number_in_to() -> None:
    provider = Provider()
    provider.registered()
    invite = provider.request("INVITE", user="4165550100", body=sdp(), send=False)
    invite.headers.replace_first("To", "<sip:4165559999@provider.example.org>")
    provider.give(invite.to_bytes())
    ((_, offered, _),) = provider.offers
    assert offered.setup.called.digits == "4165559999"
    assert offered.source == "b"


def test_moved_registers_the_new_contact_and_takes_back_the_old() -> None:
    provider = Provider(listen="0.0.0.0")
    provider.registered()
    provider.move("192.0.2.99")
    request = provider.take_request("REGISTER")
    new, old = request.contacts
    assert new.uri_text == "sip:4165550100@192.0.2.99:5060"
    assert (old.uri_text, old.params["expires"]) == (f"sip:4165550100@{A_ADDRESS}:5060", "0")


def test_leaving_just_after_a_move_takes_back_the_new_contact_too() -> None:
    provider = Provider(listen="0.0.0.0")
    provider.registered()
    provider.move("192.0.2.99")
    provider.take_request("REGISTER")
    provider.endpoint.far_ends.leave(provider.now)
    provider.drain()
    request = provider.take_request("REGISTER")
    assert request.expires == 0
    new, old = request.contacts
    assert new.uri_text == "sip:4165550100@192.0.2.99:5060"
    assert (old.uri_text, old.params["expires"]) == (f"sip:4165550100@{A_ADDRESS}:5060", "0")


def test_what_the_registrar_saw_is_told() -> None:
    provider = Provider()
    seen: list[tuple[str, str, int]] = []
    provider.endpoint.far_ends.on_seen = lambda name, address, port, flow, now: seen.append((name, address, port))
    request = provider.take_request("REGISTER")
    request.stamp_source("203.0.113.7", 40_000)
    provider.accept(request)
    assert seen == [("b", "203.0.113.7", 40_000)]


def test_leaving_takes_the_binding_back_and_is_then_quiet() -> None:
    provider = Provider()
    provider.registered()
    provider.endpoint.far_ends.leave(provider.now)
    assert not provider.endpoint.far_ends.quiet
    request = provider.take_request("REGISTER")
    assert request.expires == 0
    provider.answer(request, 401, challenge())
    request = provider.take_request("REGISTER")
    assert request.expires == 0
    provider.answer(request, 200)
    assert provider.endpoint.far_ends.quiet
    provider.run(7200)
    assert provider.take() == []


def test_keep_alives_hold_the_flow_open_as_often_as_the_far_end_asks() -> None:
    provider = Provider(keepalive=25 * SECOND)
    request = provider.take_request("REGISTER")
    request.headers.replace_top_via(request.headers.first["via"].replace(";keep", ";keep=10"))
    provider.accept(request)
    provider.raw.clear()
    provider.run(100)
    assert 10 <= provider.raw.count(b"\r\n\r\n") <= 13


def test_connection_that_answers_no_more_is_closed_and_made_anew() -> None:
    provider = Provider(transport=TCP, keepalive=20 * SECOND)
    provider.registered()
    provider.raw.clear()
    provider.run(21)
    assert provider.raw == [b"\r\n\r\n"]
    provider.give(b"\r\n")
    provider.run(19)
    provider.run(2)
    assert provider.raw == [b"\r\n\r\n"] * 2
    provider.run(12)
    assert [close.flow for close in provider.closed] == [provider.flow]
    assert provider.take_request("REGISTER").cseq.method == "REGISTER"


def test_far_end_that_never_answered_a_keep_alive_is_not_blamed() -> None:
    provider = Provider(transport=TCP, keepalive=20 * SECOND)
    provider.registered()
    provider.run(200)
    assert provider.closed == []


def test_lost_connection_registers_at_once() -> None:
    provider = Provider(transport=TCP)
    provider.registered()
    provider.run(30)
    provider.endpoint.connection_lost(provider.flow, provider.now)
    provider.run(0)
    assert provider.take_request("REGISTER").cseq.method == "REGISTER"


def test_state_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    provider = Provider()
    provider.registered()
    shown = provider.endpoint.far_ends.as_json(provider.now)["b"]
    assert isinstance(shown, dict)
    assert shown["registration"]["state"] == "registered"
    assert shown["registration"]["server"] == f"udp:{B_ADDRESS}:5060"
    assert shown["registration"]["expires_seconds"] == 3600
    assert "trunk b: registered with udp:192.0.2.2:5060 as 4165550100 for 3600 s" in caplog.text


# -- several accounts, proxies --


@pytest.mark.parametrize("expires", ["", "x", "-1", "99999999999999", "0"])
def test_senseless_intervals_do_no_harm(expires: str) -> None:
    provider = Provider()
    request = provider.take_request("REGISTER")
    contact = request.contacts[0].uri_text
    provider.answer(request, 200, ("Contact", f"<{contact}>;expires={expires}"))
    assert provider.registration.in_force is (expires != "0")
    assert provider.endpoint.next_timer() is not None


def test_responses_that_make_no_sense_do_no_harm() -> None:
    provider = Provider()
    request = provider.take_request("REGISTER")
    provider.answer(
        request, 200, ("Contact", "<<<"), ("Service-Route", "nonsense"), ("Expires", "x"), ("Retry-After", "y")
    )
    assert provider.registration.in_force
    assert provider.registration.routes == ()


FIELD = st.tuples(
    st.sampled_from(
        ["Contact", "Expires", "Min-Expires", "Retry-After", "Service-Route", "WWW-Authenticate", "Proxy-Authenticate"]
    ),
    st.one_of(
        st.sampled_from(
            [
                "<sip:4165550100@192.0.2.1:5060>;expires=60",
                "<sip:x@[::1]>;expires=0",
                "*",
                "0",
                "3600",
                "18446744073709551616",
                'Digest realm="r", nonce="n", algorithm=SHA-256, qop="auth", stale=true',
                "Digest nonce=",
                "<sip:192.0.2.3;lr>",
                "<sips:[;lr>",
            ]
        ),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
    ),
)
REPLY = st.tuples(st.integers(200, 699), st.lists(FIELD, max_size=4), st.integers(0, 400))


@settings(max_examples=150, deadline=None)
@given(st.lists(REPLY, min_size=1, max_size=12))
def test_no_answers_of_a_registrar_break_it_or_make_it_a_flood(
    replies: list[tuple[int, list[tuple[str, str]], int]],
) -> None:
    provider = Provider()
    sent = 0
    began = provider.now
    for status, fields, seconds in replies:
        for message in provider.take():
            if isinstance(message, Request):
                sent += 1
                provider.answer(message, status, *fields)
        provider.run(seconds)
    # Something is always to come, and what came is bounded.
    assert provider.endpoint.next_timer() is not None
    assert sent <= 12 * len(replies) + (provider.now - began) // SECOND
