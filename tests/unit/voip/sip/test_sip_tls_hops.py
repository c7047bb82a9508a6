"""Calls over TLS message by message: Via, Contact and Request-URI, hops that stay secure, sips:, facts of a hop."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.cause import Cause
from gateway.leg import SECURE_MEDIA, SECURE_SIGNALLING
from gateway.voip.sip.encryption import MediaEncryption
from gateway.voip.sip.flow import TCP, TLS, UDP, Flow, default_port
from gateway.voip.sip.hop import reconnected
from gateway.voip.sip.hop_facts import facts_of
from gateway.voip.sip.peers import PeerSettings
from gateway.voip.sip.values import Via
from tests.unit.voip.sip.sip_far_end import FarEnd, sdp
from tests.unit.voip.sip.sip_pair import A_ADDRESS, B_ADDRESS

TRUNK = Flow(TLS, B_ADDRESS, 5060, 0, 0, B_ADDRESS)


def test_request_says_tls_wherever_a_transport_stands() -> None:
    far = FarEnd(transport=TLS)
    _, _, invite = far.call_out()
    assert invite.uri_text.endswith(f"@{B_ADDRESS}:5060;transport=tls")
    assert (invite.via.transport, invite.via.host, invite.via.port) == (TLS, A_ADDRESS, 5060)
    assert "rport" not in str(invite.via)
    (contact,) = invite.contacts
    assert (contact.uri.scheme, contact.uri.transport) == ("sip", "tls")
    assert far.flows[-1] == TRUNK


@pytest.mark.parametrize(
    ("contact", "flow"),
    [
        (f"<sip:far@{B_ADDRESS}:5060;transport=udp>", TRUNK),
        (f"<sip:far@{B_ADDRESS}:5060;transport=tcp>", TRUNK),
        (f"<sip:far@{B_ADDRESS}:5060>", TRUNK),
        ("<sip:far@hq.example.org;transport=tls>", TRUNK),
        ("<sip:far@198.51.100.9;transport=udp>", TRUNK),
        # Another server must show the certificate of the same far end.
        ("<sip:far@198.51.100.9;transport=tls>", Flow(TLS, "198.51.100.9", 5061, 0, 0, B_ADDRESS)),
        ("<sips:far@198.51.100.9:5071>", Flow(TLS, "198.51.100.9", 5071, 0, 0, B_ADDRESS)),
    ],
)
def test_dialog_that_began_over_tls_stays_there(contact: str, flow: Flow) -> None:
    far = FarEnd(transport=TLS)
    leg, _, invite = far.call_out()
    far.answer(invite, 200, body=sdp(), contact=contact)
    assert far.take_request("ACK").via.transport == TLS
    assert far.flows[-1] == flow
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.take_request("BYE")
    assert far.flows[-1] == flow


def test_phone_without_certificate_is_reached_over_its_connection_whatever_its_contact() -> None:
    far = FarEnd(transport=TLS)
    request = far.request("INVITE", body=sdp(), send=False)
    request.headers.set("Contact", "<sip:bob@192.168.1.5:40000;transport=tls>")
    far.give(request.to_bytes())
    far.take_response(100)
    leg, _, _ = far.offers[-1]
    leg.answer(None, far.now)
    tag = far.take_response(200).to.tag
    far.request("ACK", to_tag=tag, cseq=request.cseq.number)
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.take_request("BYE")
    assert far.flows[-1] == far.flow


def test_call_whose_connection_is_lost_goes_on_over_a_new_one_to_the_same_far_end() -> None:
    far = FarEnd(transport=TLS)
    leg, _, _ = far.answered_in()
    far.endpoint.connection_lost(far.flow, far.now)
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    assert far.take_request("BYE").via.transport == TLS
    assert (far.flows[-1].transport, far.flows[-1].connection, far.flows[-1].name) == (TLS, 0, B_ADDRESS)


@pytest.mark.parametrize(("scheme", "promised"), [("sip", False), ("sips", True)])
def test_call_over_tls_has_the_fact_and_sips_is_answered_with_sips(scheme: str, promised: bool) -> None:
    far = FarEnd(transport=TLS)
    request = far.request("INVITE", body=sdp(), send=False)
    data = request.to_bytes().replace(b"INVITE sip:", f"INVITE {scheme}:".encode())
    far.give(data)
    far.take_response(100)
    leg, offered, _ = far.offers[-1]
    assert offered.setup.facts == {SECURE_SIGNALLING}
    assert offered.setup.secure_bridge == ({SECURE_SIGNALLING} if promised else frozenset())
    leg.answer(None, far.now)
    (contact,) = far.take_response(200).contacts
    assert contact.uri.scheme == scheme
    assert contact.uri.transport == (None if promised else "tls")


def test_call_of_a_peer_whose_certificate_nobody_looks_at_has_no_fact() -> None:
    far = FarEnd(transport=TLS, peer=lambda peer: replace(peer, tls_verify=False))
    far.request("INVITE", body=sdp())
    leg, offered, _ = far.offers[-1]
    assert offered.setup.facts == frozenset()
    assert leg.record()["facts"] == []


@pytest.mark.parametrize("field", ["Record-Route", "Contact"])
def test_sips_on_the_way_back_is_answered_with_sips(field: str) -> None:
    far = FarEnd(transport=TLS)
    request = far.request("INVITE", body=sdp(), send=False)
    value = f"<sips:{B_ADDRESS}:5060;lr>" if field == "Record-Route" else f"<sips:bob@{B_ADDRESS}:5060>"
    if field == "Contact":
        request.headers.set("Contact", value)
    else:
        request.headers.add(field, value)
    far.give(request.to_bytes())
    far.take_response(100)
    far.offers[-1][0].answer(None, far.now)
    assert far.take_response(200).contacts[0].uri.scheme == "sips"


@pytest.mark.parametrize("transport", [UDP, TCP])
def test_sips_over_a_hop_in_the_clear_is_refused(transport: str) -> None:
    far = FarEnd(transport=transport)
    request = far.request("INVITE", body=sdp(), send=False)
    far.give(request.to_bytes().replace(b"INVITE sip:", b"INVITE sips:"))
    far.take_response(416)
    assert not far.offers


def test_call_in_the_clear_has_no_fact() -> None:
    far = FarEnd()
    far.request("INVITE", body=sdp())
    assert far.offers[-1][1].setup.facts == frozenset()


@pytest.mark.parametrize(("transport", "port"), [(TLS, 5061), (TCP, 5060)])
def test_response_whose_connection_is_gone_goes_to_the_port_of_its_transport(transport: str, port: int) -> None:
    via = Via.parse(f"SIP/2.0/{transport} {B_ADDRESS};branch=z9hG4bKx")
    flow = Flow(transport, B_ADDRESS, 40_000, 3, 1, "hq" if transport == TLS else "")
    assert reconnected(via, flow) == Flow(transport, B_ADDRESS, port, 0, 0, flow.name)
    assert default_port(transport) == port


@pytest.mark.parametrize(
    ("peer", "flows", "facts"),
    [
        (PeerSettings("b", B_ADDRESS, transport=TLS), (), {SECURE_SIGNALLING}),
        (PeerSettings("b", B_ADDRESS, transport=TLS, tls_verify=False), (), set()),
        (PeerSettings("b", B_ADDRESS), (), set()),
        (
            PeerSettings("b", B_ADDRESS, transport=TLS, media_encryption=MediaEncryption.OPTIONAL),
            (),
            {SECURE_SIGNALLING, SECURE_MEDIA},
        ),
        (PeerSettings("b", B_ADDRESS, media_encryption=MediaEncryption.OPTIONAL), (), set()),
        (PeerSettings("b", "", dynamic=True), (), set()),
        (PeerSettings("b", "", dynamic=True), (far_flow := Flow(TLS, "192.0.2.9", 4000, 1),), {SECURE_SIGNALLING}),
        (PeerSettings("b", "", dynamic=True), (far_flow, Flow(UDP, "192.0.2.9", 4000)), set()),
    ],
)
def test_what_a_hop_can_have(peer: PeerSettings, flows: tuple[Flow, ...], facts: set[str]) -> None:
    assert facts_of(peer, flows) == facts


def test_leg_tells_what_its_hop_has() -> None:
    for verify, facts in ((True, [SECURE_SIGNALLING]), (False, [])):
        far = FarEnd(transport=TLS, peer=lambda peer, verify=verify: replace(peer, tls_verify=verify))  # type: ignore[misc]
        leg, _, _ = far.call_out()
        assert leg.record()["facts"] == facts
