"""Peers behind NAT (RFC 3581, ``nat``), and calls whose address of ours changes while they stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network

import pytest

from gateway.cause import Cause
from gateway.core import SECOND
from gateway.media.api import Latch
from gateway.voip.sip.address import NetworkFacts
from gateway.voip.sip.externip import Addressing
from gateway.voip.sip.flow import TCP, UDP, Flow, Resolve
from gateway.voip.sip.hop import Listener as Socket
from gateway.voip.sip.hop import reply_flow
from gateway.voip.sip.message import Request
from gateway.voip.sip.nat import DEFAULT_NAT, NatMode
from gateway.voip.sip.peers import PeerSettings, Reliability, SipSettings
from gateway.voip.sip.sdp import SessionDescription
from gateway.voip.sip.stun import MAGIC_COOKIE
from gateway.voip.sip.values import Via
from tests.unit.voip.sip.sip_far_end import ALLOW_UPDATE, FarEnd, sdp
from tests.unit.voip.sip.sip_pair import A_ADDRESS, B_ADDRESS, simple_setup

NO, FORCE, COMEDIA = NatMode.NO, NatMode.FORCE_RPORT, NatMode.COMEDIA
AUTO, AUTO_COMEDIA = NatMode.AUTO_FORCE_RPORT, NatMode.AUTO_COMEDIA
PRIVATE = "10.2.3.4"
SOURCE = Flow(UDP, B_ADDRESS, 40_000)
MAPPED = "203.0.113.9"


def nat(*modes: NatMode) -> Callable[[PeerSettings], PeerSettings]:
    return lambda peer: replace(peer, nat=frozenset(modes))


@pytest.mark.parametrize(
    ("modes", "via", "port"),
    [
        # Its Via says where it thinks it is; rport is always honoured.
        ((NO,), f"{PRIVATE}:5060;branch=z9hG4bK1;rport", 40_000),
        ((NO,), f"{PRIVATE}:5060;branch=z9hG4bK1", 5060),
        ((COMEDIA,), f"{PRIVATE}:5060;branch=z9hG4bK1", 5060),
        ((AUTO,), f"{PRIVATE}:5060;branch=z9hG4bK1", 40_000),
        ((AUTO,), f"{B_ADDRESS}:5060;branch=z9hG4bK1", 5060),
        ((AUTO,), "phone.example.org:5062;branch=z9hG4bK1", 5062),
        ((FORCE,), f"{B_ADDRESS}:5060;branch=z9hG4bK1", 40_000),
        ((FORCE, COMEDIA), f"{PRIVATE}:5060;maddr=192.0.2.77;branch=z9hG4bK1", 40_000),
    ],
)
def test_where_responses_go(modes: tuple[NatMode, ...], via: str, port: int) -> None:
    flow = reply_flow(Via.parse(f"SIP/2.0/UDP {via}"), SOURCE, frozenset(modes))
    assert (flow.address, flow.port) == (B_ADDRESS, port)


def inside(body: bytes | None = None) -> bytes:
    return (sdp() if body is None else body).replace(b"192.0.2.2", PRIVATE.encode())


def invite_from_inside(far: FarEnd, *, flow: Flow = SOURCE) -> Request:
    """The far end calls from behind a NAT that it knows nothing of."""
    request = far.request("INVITE", body=inside(), send=False)
    text = request.to_bytes().replace(f"{B_ADDRESS}:5060".encode(), f"{PRIVATE}:5060".encode())
    far.give(text.replace(b";rport", b""), flow)
    return request


@pytest.mark.parametrize(
    ("modes", "to_source", "latched"),
    [
        ((NO,), False, False),
        ((AUTO,), True, False),
        ((AUTO, AUTO_COMEDIA), True, True),
        ((FORCE, COMEDIA), True, True),
        ((COMEDIA,), False, True),
    ],
)
def test_a_caller_behind_nat_is_answered_and_called_back_where_it_is(
    modes: tuple[NatMode, ...], to_source: bool, latched: bool
) -> None:
    far = FarEnd(peer=nat(*modes))
    request = invite_from_inside(far)
    leg, _, _ = far.offers[-1]
    leg.answer(None, far.now)
    assert far.take()[-1].to_bytes().startswith(b"SIP/2.0 200")
    expected = SOURCE if to_source else Flow(UDP, B_ADDRESS, 5060)
    assert far.flows[-1] == expected
    assert leg.session is not None
    far.request("ACK", to_tag=leg.session.dialog.local_tag, cseq=request.cseq.number)
    settings = far.media.rtp[leg.stream or 0]
    assert settings.latch is (Latch.ONCE if latched else Latch.NO)
    assert (settings.address, settings.signalling_address) == (PRIVATE, B_ADDRESS)
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.drain()
    bye_to = far.flows[-1]
    assert (bye_to == SOURCE) if to_source else (bye_to.address == PRIVATE)


def test_a_caller_without_nat_has_its_contact_and_sdp_believed() -> None:
    far = FarEnd(peer=nat(AUTO, AUTO_COMEDIA))
    leg, _, _ = far.answered_in()
    assert far.media.rtp[leg.stream or 0].latch is Latch.NO
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.take_request("BYE")
    assert far.flows[-1] == Flow(UDP, B_ADDRESS, 5060)


def test_a_port_that_the_nat_took_anew_is_followed_but_no_other_address() -> None:
    far = FarEnd(peer=nat(FORCE))
    leg, _, tag = far.answered_in()
    moved = Flow(UDP, B_ADDRESS, 41_111)
    far.request("INFO", to_tag=tag, flow=moved)
    far.take_response(200)
    leg.hold(far.now)
    far.take_request("INVITE")
    assert far.flows[-1] == moved
    session = leg.session
    assert session is not None
    far.request("OPTIONS", to_tag=tag, flow=Flow(UDP, "198.51.100.66", 5060))
    assert session.flow == moved


def test_answer_with_a_private_contact_from_a_public_address_is_nat() -> None:
    far = FarEnd(peer=nat(AUTO, AUTO_COMEDIA))
    leg, _, invite = far.call_out()
    far.answer(invite, 200, body=inside(), contact=f"<sip:far@{PRIVATE}:5060>")
    ack = far.take_request("ACK")
    assert far.flows[-1] == Flow(UDP, B_ADDRESS, 5060)
    assert ack.uri_text == f"sip:far@{PRIVATE}:5060"
    assert far.media.rtp[leg.stream or 0].latch is Latch.ONCE


def test_a_proxy_in_between_is_no_nat() -> None:
    far = FarEnd(peer=nat(AUTO, AUTO_COMEDIA))
    leg, _, invite = far.call_out()
    route = ("Record-Route", f"<sip:{B_ADDRESS};lr>")
    far.answer(invite, 200, route, body=sdp(), contact=f"<sip:far@{PRIVATE}:5060>")
    far.take_request("ACK")
    assert far.media.rtp[leg.stream or 0].latch is Latch.NO


# -- our own address --


def far_with_wildcard(addressing: Addressing | None = None, **peer: object) -> tuple[FarEnd, dict[str, str]]:
    """A far end whose endpoint listens on all addresses; what leads to it is in the mapping, and may be changed."""
    own = {"address": A_ADDRESS}

    def settings(before: SipSettings) -> SipSettings:
        sockets = (Socket(UDP, "::", 5060), Socket(TCP, "::", 5060))
        return replace(before, listeners=sockets, addressing=addressing or Addressing(automatic=True))

    far = FarEnd(settings=settings, peer=lambda before: replace(before, **peer))  # type: ignore[arg-type]
    far.endpoint.outbound.advertised._local_for = lambda _: own["address"]
    return far, own


def move(far: FarEnd, own: dict[str, str], address: str) -> None:
    own["address"] = address
    far.endpoint.relocation.network(NetworkFacts("eth0", (address,)), far.now)


def addresses(message: object) -> set[str]:
    """What o= and c= name."""
    description = SessionDescription.parse(message.body)  # type: ignore[attr-defined]
    connection = [value for kind, value in description.lines if kind == "c"]
    return {description.origin.address, *[value.split()[-1] for value in connection]}


def test_a_call_that_stands_is_told_the_new_address_at_once() -> None:
    far, own = far_with_wildcard()
    leg, _, _ = far.answered_out()
    move(far, own, "192.0.2.50")
    invite = far.take_request("INVITE")
    assert addresses(invite) == {"192.0.2.50"}
    assert "@192.0.2.50:5060" in str(invite.contacts[0].uri_text) or "192.0.2.50:5060" in invite.contacts[0].uri_text
    assert invite.via.host == "192.0.2.50"
    before = SessionDescription.parse(invite.body).origin.version
    far.answer(invite, 200, body=sdp(version=2))
    far.take_request("ACK")
    # And only once.
    move(far, own, "192.0.2.50")
    far.endpoint.relocation.network(NetworkFacts("eth1", ("192.0.2.50",)), far.now)
    assert far.take() == []
    leg.hold(far.now)
    assert SessionDescription.parse(far.take_request("INVITE").body).origin.version == before + 1


def test_the_answer_to_the_same_offer_again_names_the_new_address() -> None:
    far, own = far_with_wildcard()
    _, _, tag = far.answered_in()
    move(far, own, "192.0.2.50")
    reinvite = far.take_request("INVITE")
    far.answer(reinvite, 491)
    far.take()
    far.request("INVITE", body=sdp(), to_tag=tag)
    answer = far.take_response(200)
    assert addresses(answer) == {"192.0.2.50"}
    assert "192.0.2.50" in answer.contacts[0].uri_text


def test_a_call_that_is_not_answered_yet_is_told_after_the_answer() -> None:
    far, own = far_with_wildcard()
    _, _, invite = far.call_out()
    far.answer(invite, 180)
    move(far, own, "192.0.2.50")
    assert far.take() == []
    far.answer(invite, 200, body=sdp())
    ack, reinvite = far.take()
    assert isinstance(ack, Request) and ack.method == "ACK"
    assert isinstance(reinvite, Request) and reinvite.method == "INVITE"
    assert addresses(reinvite) == {"192.0.2.50"}


def test_an_answer_that_waits_to_be_sent_names_the_new_address() -> None:
    far, own = far_with_wildcard()
    leg, _, _ = far.call_in()
    move(far, own, "192.0.2.50")
    leg.answer(None, far.now)
    answer = far.take()[-1]
    assert addresses(answer) == {"192.0.2.50"}


def test_the_second_invite_names_the_new_address() -> None:
    far, own = far_with_wildcard()
    _, _, invite = far.call_out()
    move(far, own, "192.0.2.50")
    far.answer(invite, 422, ("Min-SE", "1900"))
    _, again = far.take()
    assert isinstance(again, Request) and again.method == "INVITE"
    assert addresses(again) == {"192.0.2.50"}
    assert "192.0.2.50" in again.contacts[0].uri_text


def test_a_change_that_could_not_be_told_is_told_again_a_second_later() -> None:
    far, own = far_with_wildcard()
    far.answered_out()
    move(far, own, "192.0.2.50")
    invite = far.take_request("INVITE")
    far.answer(invite, 500)
    far.take()
    far.run(0.9)
    assert far.take() == []
    far.run(0.2)
    again = far.take_request("INVITE")
    assert addresses(again) == {"192.0.2.50"}


def test_no_network_is_no_address_to_tell() -> None:
    far, own = far_with_wildcard()
    far.answered_out()
    own["address"] = "127.0.0.1"
    far.endpoint.relocation.network(NetworkFacts(), far.now)
    assert far.take() == []
    move(far, own, A_ADDRESS)
    assert far.take() == []


EXTERNAL = Addressing(externip=MAPPED, externport=5999, localnet_auto=False, localnet=(ip_network("10.0.0.0/8"),))


@pytest.mark.parametrize("extra", [(), (ALLOW_UPDATE,)])
def test_the_external_address_is_never_forgotten(extra: tuple[tuple[str, str], ...]) -> None:
    """Field.md 3: every message on the way is looked at by the far end of these tests (address_check)."""
    far, _ = far_with_wildcard(EXTERNAL, reliable=Reliability.SUPPORTED)
    leg, _, invite = far.call_out(simple_setup())
    assert (invite.via.host, invite.via.port) == (MAPPED, 5999)
    assert addresses(invite) == {MAPPED}
    far.answer(invite, 422, ("Min-SE", "1900"))
    second = far.take()[-1]
    assert addresses(second) == {MAPPED}
    assert isinstance(second, Request)
    far.answer(second, 183, ("Require", "100rel"), ("RSeq", "1"), body=sdp())
    prack = far.take_request("PRACK")
    far.answer(prack, 200)
    far.answer(second, 200, *extra)
    far.take_request("ACK")
    tag = second.from_.tag
    for method, body in (("INVITE", sdp(version=2)), ("UPDATE", sdp(version=3)), ("UPDATE", b"")):
        far.request(method, body=body, to_tag=tag, call_id=second.call_id, from_tag="far")
        response = far.take()[-1]
        assert MAPPED in response.contacts[0].uri_text
        if response.body:
            assert addresses(response) == {MAPPED}
        if method == "INVITE":
            far.request("ACK", to_tag=tag, call_id=second.call_id, from_tag="far", cseq=far._cseq)
    leg.hold(far.now)
    hold = far.take()[-1]
    assert addresses(hold) == {MAPPED}


def test_externhost_is_looked_up_again_and_again_and_followed() -> None:
    far, _ = far_with_wildcard(Addressing(externhost="pbx.example.org", externrefresh=60 * SECOND))
    endpoint = far.endpoint
    endpoint.resolved("pbx.example.org", ("203.0.113.1",), far.now)
    far.answered_out()
    for found in ((), ("203.0.113.1",), ("203.0.113.2",)):
        assert far.take() == []
        far.now += 60 * SECOND
        endpoint.handle_timer(far.now)
        asked = []
        while (output := endpoint.poll()) is not None:
            asked.append(output)
        assert asked == [Resolve("pbx.example.org")]
        endpoint.resolved("pbx.example.org", found, far.now)
    assert addresses(far.take_request("INVITE")) == {"203.0.113.2"}


def test_stun_is_asked_over_the_sip_socket_and_believed_behind_nat() -> None:
    far, own = far_with_wildcard(Addressing(automatic=True, stun=("192.0.2.200", 3478)))
    own["address"] = "192.168.1.10"
    far.endpoint.relocation.network(NetworkFacts("eth0", ("192.168.1.10",)), far.now)
    far.run(0.1)
    server = Flow(UDP, "192.0.2.200", 3478)
    assert server in far.flows
    request = far.raw[far.flows.index(server)]
    far.answered_out()
    port = (61_000 ^ (MAGIC_COOKIE >> 16)).to_bytes(2)
    mask = MAGIC_COOKIE.to_bytes(4)
    mapped = bytes(a ^ b for a, b in zip(bytes([203, 0, 113, 9]), mask, strict=True))
    answer = b"\x01\x01\x00\x0c" + request[4:20] + b"\x00\x20\x00\x08\x00\x01" + port + mapped
    # From somebody else it is nothing.
    far.give(answer, Flow(UDP, "192.0.2.201", 3478))
    assert far.take() == []
    far.give(answer, server)
    invite = far.take_request("INVITE")
    assert addresses(invite) == {MAPPED}
    assert (invite.via.host, invite.via.port) == (MAPPED, 61_000)
    assert far.endpoint.relocation.status()["external"] == {
        "ipv4": {"address": f"{MAPPED}:61000", "from": "stun 192.0.2.200"}
    }


def test_what_a_registrar_sees_becomes_our_address_and_is_told_others_too() -> None:
    far, own = far_with_wildcard()
    own["address"] = "192.168.1.10"
    heard: list[int] = []
    far.endpoint.relocation.listeners.append(heard.append)
    far.answered_out()
    relocation = far.endpoint.relocation
    relocation.seen("provider", MAPPED, 40_000, Flow(TCP, "192.0.2.9", 5060), far.now)
    invite = far.take_request("INVITE")
    # The port of a connection is nobody else's.
    assert (invite.via.host, invite.via.port) == (MAPPED, 5060)
    assert heard == [far.now]
    relocation.seen("provider", MAPPED, 40_001, Flow(TCP, "192.0.2.9", 5060), far.now)
    assert heard == [far.now]


def test_default_is_asterisks() -> None:
    assert PeerSettings("a", "192.0.2.1").nat == DEFAULT_NAT == frozenset({AUTO})


def test_a_leg_that_is_over_is_told_nothing() -> None:
    far, own = far_with_wildcard()
    leg, _, _ = far.answered_out()
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.take_request("BYE")
    move(far, own, "192.0.2.50")
    assert far.take() == []
