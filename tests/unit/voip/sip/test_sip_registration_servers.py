"""Where registrations go: servers of one name, an outbound proxy, redirection, several accounts."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from gateway.core import SECOND
from gateway.leg import Released
from gateway.voip.registering import RegistrationState
from gateway.voip.sip.far_end_settings import FarEndSettings, RegistrationSettings
from gateway.voip.sip.flow import SRV, TCP, UDP, Flow, Resolve
from gateway.voip.sip.message import Request
from gateway.voip.sip.names import Answer, Srv
from gateway.voip.sip.peers import PeerSettings
from gateway.voip.sip.targets import Domain
from tests.unit.voip.sip.sip_far_end import FarEnd, sdp
from tests.unit.voip.sip.sip_pair import B_ADDRESS, simple_setup
from tests.unit.voip.sip.sip_provider import SECOND_ADDRESS, Named, Provider


def test_next_server_is_asked_when_one_is_busy_and_calls_go_where_we_are_registered() -> None:
    provider = Named()
    request = provider.take_request("REGISTER")
    assert provider.last_flow.address == B_ADDRESS
    provider.answer(request, 503)
    request = provider.take_request("REGISTER")
    assert provider.last_flow == provider.second
    provider.accept(request)
    assert provider.registration.flow == provider.second
    provider.call_out()
    assert provider.last_flow == provider.second


def test_silent_server_is_left_for_the_next_in_seconds() -> None:
    provider = Named()
    provider.take_request("REGISTER")
    provider.run(8.1)
    request = provider.take()[-1]
    assert isinstance(request, Request)
    assert provider.last_flow == provider.second
    provider.accept(request)
    assert provider.registration.flow == provider.second
    provider.run(60)
    assert [message for message in provider.take() if message.via.branch == request.via.branch] == []


def test_call_goes_on_at_the_next_server_after_503_and_at_the_first_no_more() -> None:
    provider = Named()
    provider.registered()
    _, notes, invite = provider.call_out()
    assert provider.last_flow.address == B_ADDRESS
    provider.answer(invite, 503)
    _, again = provider.take()
    assert isinstance(again, Request)
    assert again.method == "INVITE"
    assert again.call_id != invite.call_id
    assert provider.last_flow == provider.second
    provider.answer(again, 486)
    assert isinstance(notes.events[-1], Released)
    provider.take_request("ACK")
    provider.call_out(simple_setup("4165550123"))
    assert provider.last_flow == provider.second


def test_call_goes_on_at_the_next_server_when_one_is_silent_and_a_late_answer_is_ended() -> None:
    provider = Named()
    provider.registered()
    _, notes, invite = provider.call_out()
    provider.run(4.1)
    sent = [each for each in provider.take() if isinstance(each, Request) and each.call_id != invite.call_id]
    # And so does the registration.
    assert sorted(request.method for request in sent) == ["INVITE", "REGISTER"]
    assert provider.last_flow == provider.second
    provider.answer(invite, 200, ("Content-Type", "application/sdp"))
    assert provider.names() == ["ACK", "BYE"]
    assert not any(isinstance(event, Released) for event in notes.events)


def test_requests_of_every_server_are_the_trunks() -> None:
    provider = Named()
    for flow in (provider.flow, provider.second):
        peer = provider.endpoint.peers.match(flow)
        assert peer is not None
        assert peer.name == "b"


def test_registration_follows_the_domain_to_another_server() -> None:
    provider = Named()
    provider.registered()
    provider.run(301)
    provider.endpoint.looked_up(
        Resolve("_sip._udp.provider.example.org", SRV), Answer((Srv(1, 0, 5070, "two.example.org"),)), provider.now
    )
    provider.run(0)
    provider.take_request("REGISTER")
    assert provider.last_flow == provider.second


def test_without_an_address_it_waits_for_the_dns() -> None:
    provider = Provider(host="provider.example.org", domain=Domain("provider.example.org", 5060))
    assert provider.take() == []
    provider.run(3)
    provider.endpoint.resolved("provider.example.org", (), provider.now)
    provider.run(60)
    assert provider.take() == []
    provider.endpoint.resolved("provider.example.org", (B_ADDRESS,), provider.now)
    provider.take_request("REGISTER")


def test_name_that_leads_nowhere_is_told_once_and_so_is_its_return(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    provider = Provider(host="provider.example.org", domain=Domain("provider.example.org", 5070))
    told = "b: host provider.example.org does not resolve, and cannot be called; check the name, and the DNS server"
    assert told not in caplog.text
    for _ in range(2):
        provider.endpoint.resolved("provider.example.org", (), provider.now)
        provider.run(400)
    assert caplog.text.count(told) == 1
    assert provider.registration.error == "its host does not resolve"
    for _ in range(2):
        provider.endpoint.resolved("provider.example.org", (B_ADDRESS,), provider.now)
        provider.run(1)
    assert caplog.text.count("b: the DNS has provider.example.org now") == 1


def endpoint_with(*peers: PeerSettings) -> FarEnd:
    far = FarEnd(settings=lambda sip: replace(sip, peers=peers))
    far.run(0)
    return far


def account(name: str, user: str, *, proxy: Domain | None = None, transport: str = UDP) -> PeerSettings:
    settings = FarEndSettings(domain=proxy, registration=RegistrationSettings(user), keepalive=20 * SECOND)
    return PeerSettings(
        name, B_ADDRESS, transport=transport, context=f"from-{name}", insecure_invite=True, far_end=settings
    )


def test_accounts_with_one_provider_are_told_apart_by_the_contact_that_it_calls() -> None:
    far = endpoint_with(account("one", "alice"), account("two", "bob"))
    for request in far.take():
        assert isinstance(request, Request)
        far.answer(request, 200, ("Contact", f"<{request.contacts[0].uri_text}>;expires=3600"))
    for user, name in (("bob", "two"), ("alice", "one"), ("4165551234", "one")):
        invite = far.request("INVITE", user=user, body=sdp(), call_id=user, send=False)
        invite.headers.replace_first("To", "<sip:4165559999@provider.example.org>")
        far.give(invite.to_bytes())
        _, offered, _ = far.offers[-1]
        assert offered.source == name


def test_accounts_on_one_connection_all_register_again_when_it_is_lost() -> None:
    far = FarEnd(
        transport=TCP,
        settings=lambda sip: replace(
            sip, peers=(account("one", "alice", transport=TCP), account("two", "bob", transport=TCP))
        ),
    )
    far.run(0)
    for request in far.take():
        assert isinstance(request, Request)
        far.answer(request, 200, ("Contact", f"<{request.contacts[0].uri_text}>;expires=3600"))
    far.run(10)
    far.endpoint.connection_lost(far.flow, far.now)
    far.run(0)
    assert far.names() == ["REGISTER", "REGISTER"]


def test_outbound_proxy_gets_all_requests_and_the_registrar_is_named_in_them() -> None:
    far = endpoint_with(account("b", "alice", proxy=Domain(SECOND_ADDRESS, 5080)))
    request = far.take_request("REGISTER")
    assert far.flows[-1] == Flow(UDP, SECOND_ADDRESS, 5080)
    assert request.uri_text == f"sip:{B_ADDRESS}"
    far.answer(request, 200, ("Contact", f"<{request.contacts[0].uri_text}>;expires=3600"))
    _, _, invite = far.call_out()
    assert far.flows[-1] == Flow(UDP, SECOND_ADDRESS, 5080)
    assert invite.uri_text == f"sip:4165551234@{B_ADDRESS}"


def test_service_route_is_no_way_from_another_server() -> None:
    provider = Named()
    provider.registered(3600, ("Service-Route", f"<sip:{B_ADDRESS};lr>"))
    _, _, invite = provider.call_out()
    assert len(invite.routes) == 1
    provider.answer(invite, 503)
    (again,) = [each for each in provider.take() if isinstance(each, Request) and each.method == "INVITE"]
    assert again.routes == ()


def test_redirection_is_followed_to_a_literal_address_and_not_for_ever() -> None:
    provider = Provider()
    for port in range(5080, 5084):
        provider.answer(provider.take_request("REGISTER"), 302, ("Contact", f"<sip:{SECOND_ADDRESS}:{port}>"))
        assert provider.flows[-1] == Flow(UDP, SECOND_ADDRESS, port)
    provider.answer(provider.take_request("REGISTER"), 302, ("Contact", f"<sip:{SECOND_ADDRESS}:9>"))
    assert provider.registration.state is RegistrationState.REFUSED
