"""Emergency calls without a password: from networks of ours, few at a time, and for nothing but help."""

from __future__ import annotations

import logging
from dataclasses import replace
from ipaddress import ip_network

import pytest

from gateway.cause import Cause
from gateway.voip.sip.address import NetworkFacts
from gateway.voip.sip.defence import Offence
from gateway.voip.sip.direct_policy import DirectPolicy
from gateway.voip.sip.encryption import MediaEncryption
from gateway.voip.sip.externip import Addressing
from gateway.voip.sip.flow import TCP, UDP, Flow
from gateway.voip.sip.message import Request
from gateway.voip.sip.peers import PeerKind, PeerSettings, SipSettings
from gateway.voip.sip.unproven import MAX_UNPROVEN
from tests.unit.voip.sip.sip_far_end import FarEnd, sdp
from tests.unit.voip.sip.sip_pair import A_ADDRESS
from tests.unit.voip.sip.test_sip_identification import SECRET, WRONG, field

HELP = "911"
INSIDE = Flow(UDP, "192.168.1.20", 5060)
OUTSIDE = Flow(UDP, "203.0.113.20", 5060)
PHONE = PeerSettings("desk", "", kind=PeerKind.PHONE, context="internal", dynamic=True, secret=SECRET)


def branch(phone: PeerSettings = PHONE, *, guests: bool = False, transport: str = UDP) -> FarEnd:
    """An endpoint with a phone, in whose context alone 911 leads to help."""

    def settings(plain: SipSettings) -> SipSettings:
        peers = (*plain.peers, phone, PeerSettings("lobby", "", context="elsewhere", dynamic=True, secret=SECRET))
        context = "default" if guests else None
        return replace(plain, peers=peers, emergency=frozenset({HELP, "112"}), context=context)

    far = FarEnd(settings=settings, transport=transport)
    far.endpoint.unproven.leads_to_help = lambda context, number: (context, number) == ("internal", HELP)
    return far


def call(
    far: FarEnd,
    *fields: tuple[str, str],
    number: str = HELP,
    user: str = "desk",
    flow: Flow = INSIDE,
    call_id: str = "help",
) -> Request:
    """An INVITE of who says to be ``user``."""
    request = far.request("INVITE", *fields, body=sdp(), user=number, call_id=call_id, send=False)
    request.headers.replace_first("From", f"<sip:{user}@{A_ADDRESS}>;tag=x")
    far.give(request.to_bytes(), flow)
    return request


def test_phone_that_proves_nothing_gets_help_and_the_record_says_so(caplog: pytest.LogCaptureFixture) -> None:
    far = branch()
    with caplog.at_level(logging.WARNING):
        call(far)
    assert far.names() == ["100 INVITE"]
    _, offered, _ = far.offers[0]
    assert (offered.source, offered.context) == ("desk", "internal")
    assert offered.note == "without proof: udp:192.168.1.20:5060 says to be desk"
    assert "emergency call to 911 without proof" in caplog.text


@pytest.mark.parametrize("guests", [True, False])
@pytest.mark.parametrize(
    ("number", "user", "flow"),
    [
        ("4165551234", "desk", INSIDE),
        # A number of the country's that its context does not route as such.
        ("112", "desk", INSIDE),
        # No phone, and nobody at all.
        (HELP, "lobby", INSIDE),
        (HELP, "nobody", INSIDE),
        (HELP, "desk", OUTSIDE),
        (HELP, "desk", Flow(TCP, OUTSIDE.address, 5060, 3)),
    ],
)
def test_everything_else_takes_a_proof(number: str, user: str, flow: Flow, guests: bool) -> None:
    far = branch(guests=guests)
    call(far, number=number, user=user, flow=flow)
    assert far.names() == ["401 INVITE"]
    assert far.offers == []


def test_wrong_password_and_credentials_beyond_reading_are_no_hindrance() -> None:
    far = branch()
    request = far.request("INVITE", body=sdp(), flow=INSIDE)
    challenge = far.take_response(401)
    request.uri_text = f"sip:{HELP}@{A_ADDRESS}"
    call(far, field(far, request, challenge, "desk", WRONG), user="anonymous")
    assert far.names() == ["100 INVITE"]
    assert far.offers[-1][1].source == "desk"
    call(far, ("Authorization", 'Digest username="desk'), call_id="broken")
    assert far.names() == ["100 INVITE"]


def test_right_password_is_an_ordinary_call() -> None:
    far = branch()
    request = far.request("INVITE", body=sdp(), flow=INSIDE)
    challenge = far.take_response(401)
    request.uri_text = f"sip:{HELP}@{A_ADDRESS}"
    call(far, field(far, request, challenge, "desk"))
    far.take_response(100)
    assert far.offers[-1][1].note == ""
    assert not far.offers[-1][0].peer.unproven


def test_phone_where_it_is_registered_is_not_asked_and_not_counted() -> None:
    far = branch()
    request = far.request("REGISTER", flow=INSIDE, user="desk")
    proof = field(far, request, far.take_response(401), "desk")
    far.request("REGISTER", proof, ("Contact", f"<sip:desk@{INSIDE.address}>"), flow=INSIDE, user="desk")
    far.take_response(200)
    for number in range(MAX_UNPROVEN + 2):
        call(far, call_id=f"r{number}")
        assert far.names() == ["100 INVITE"]
        assert far.offers[-1][1].note == ""
    assert far.endpoint.unproven.standing == 0
    # Anything else it proves like everybody.
    call(far, number="4165551234", call_id="other")
    assert far.names() == ["401 INVITE"]


def test_a_few_at_a_time_and_then_a_password_still_opens(caplog: pytest.LogCaptureFixture) -> None:
    far = branch()
    for number in range(MAX_UNPROVEN):
        call(far, call_id=f"c{number}")
        assert far.names() == ["100 INVITE"]
    caplog.clear()
    for number in range(3):
        request = call(far, call_id=f"more{number}")
        challenge = far.take_response(401)
    assert len(caplog.records) == 1
    call(far, field(far, request, challenge, "desk"), call_id="proven")
    assert far.names() == ["100 INVITE"]
    leg = far.offers[0][0]
    far.request("CANCEL", flow=INSIDE, call_id="c0", branch="z9hG4bKtest1", cseq=1, user=HELP)
    far.take()
    assert leg.over
    call(far, call_id="again")
    assert far.names() == ["100 INVITE"]


def test_it_is_good_for_nothing_but_help() -> None:
    phone = replace(PHONE, media_encryption=MediaEncryption.REQUIRED, direct=DirectPolicy(allowed=True))
    far = branch(phone)
    request = call(far)
    far.take_response(100)
    leg, _, notes = far.offers[0]
    assert not leg.peer.direct.allowed
    leg.answer(None, far.now)
    tag = far.take_response(200).to.tag or ""
    far.request("ACK", flow=INSIDE, call_id="help", to_tag=tag, from_tag="x", cseq=request.cseq.number)
    far.request(
        "REFER", ("Refer-To", "<sip:9005551234@h>"), flow=INSIDE, call_id="help", to_tag=tag, from_tag="x", cseq=50
    )
    far.take_response(603)
    # Nor is it anybody else's to end.
    far.request("BYE", flow=OUTSIDE, call_id="help", to_tag=tag, from_tag="x", cseq=51)
    far.take_response(401)
    assert notes.released is None
    call(far, ("Replaces", f"help;to-tag={tag};from-tag=x"), call_id="takes-over")
    assert far.names() == ["100 INVITE", "481 INVITE"]
    # Our BYE is challenged: what the phone's password makes of it is nobody's business.
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    bye = far.take_request("BYE")
    far.answer(bye, 401, ("WWW-Authenticate", 'Digest realm="x", nonce="y"'))
    assert far.take() == []


@pytest.mark.parametrize("transport", [UDP, TCP])
def test_who_is_shut_out_inside_is_still_heard_when_it_calls_for_help(transport: str) -> None:
    far = branch(transport=transport)
    flow = Flow(transport, INSIDE.address, 5060, 9 * (transport == TCP), int(transport == TCP))
    for _ in range(30):
        far.endpoint.defence.offended(flow.address, Offence.GUESSED, far.now)
    assert not far.endpoint.defence.allowed(flow.address, far.now)
    assert far.endpoint.admits(flow.address, far.now)
    for _ in range(30):
        far.endpoint.defence.offended(OUTSIDE.address, Offence.GUESSED, far.now)
    assert not far.endpoint.admits(OUTSIDE.address, far.now)
    call(far, flow=flow)
    assert "100 INVITE" in far.names()
    far.request("CANCEL", flow=flow, call_id="help", branch="z9hG4bKtest1", cseq=1, user=HELP)
    assert "200 CANCEL" in far.names()


def test_who_is_shut_out_is_heard_for_nothing_else() -> None:
    far = branch()
    for _ in range(30):
        far.endpoint.defence.offended(INSIDE.address, Offence.GUESSED, far.now)
    far.request("OPTIONS", flow=INSIDE, call_id="o")
    call(far, number="4165551234")
    assert far.names() == []


def test_flood_for_help_is_heard_ten_times_a_second() -> None:
    far = branch()
    for _ in range(30):
        far.endpoint.defence.offended(INSIDE.address, Offence.GUESSED, far.now)
    heard = sum(
        far.endpoint.unproven.heard(b"INVITE sip:911@x SIP/2.0\r\n", INSIDE.address, far.now) for _ in range(99)
    )
    assert heard == 10
    assert not far.endpoint.admits(INSIDE.address, far.now)
    for line in (b"OPTIONS sip:911@x", b"INVITE sip:9112@x", b"INVITE ", b"INVITE \xff\xfe", b"INVITE sip:", b""):
        assert not far.endpoint.unproven.heard(line, INSIDE.address, far.now + 10_000_000)
    for line in (b"INVITE tel:911 SIP/2.0", b"INVITE SIPS:911@[::1]:5061;x", b"INVITE sip:911;phone-context=x@y"):
        far.now += 10_000_000
        assert far.endpoint.unproven.heard(line, INSIDE.address, far.now)
        assert not far.endpoint.unproven.heard(line, OUTSIDE.address, far.now)


PUBLIC_WAN = NetworkFacts("eth0", ("198.51.100.2",), (ip_network("198.51.100.0/24"), ip_network("192.168.1.0/24")))
PRIVATE_WAN = NetworkFacts("eth0", ("192.168.1.2",), (ip_network("192.168.1.0/24"),))


@pytest.mark.parametrize(
    ("facts", "own", "remote", "inside"),
    [
        (PUBLIC_WAN, "192.168.1.1", "192.168.1.20", True),
        (PUBLIC_WAN, "198.51.100.2", "198.51.100.77", False),
        (PUBLIC_WAN, "198.51.100.2", "203.0.113.5", False),
        # Private, and yet by way of the WAN: forged, or the provider's.
        (PUBLIC_WAN, "198.51.100.2", "10.1.2.3", False),
        (PUBLIC_WAN, "198.51.100.2", "127.0.0.1", True),
        (PUBLIC_WAN, "198.51.100.2", "somewhere", False),
        # One interface behind somebody's NAT, with the phones beside it.
        (PRIVATE_WAN, "192.168.1.2", "192.168.1.20", True),
        (PRIVATE_WAN, "192.168.1.2", "203.0.113.5", False),
        (PRIVATE_WAN, "192.168.1.2", "100.64.1.1", False),
        (NetworkFacts(), "192.168.1.2", "192.168.1.20", True),
        (NetworkFacts(), "192.168.1.2", "203.0.113.5", False),
    ],
)
def test_inside_is_what_does_not_come_by_the_wan(facts: NetworkFacts, own: str, remote: str, inside: bool) -> None:
    far = branch()
    advertised = far.endpoint.outbound.advertised
    advertised._listeners = ()
    advertised._local_for = lambda _remote: own
    advertised.update(facts)
    assert advertised.is_inside(remote) is inside


def test_what_localnet_says_is_inside_and_without_auto_nothing_else() -> None:
    def settings(plain: SipSettings) -> SipSettings:
        addressing = Addressing(localnet=(ip_network("203.0.113.0/24"),), localnet_auto=False)
        return replace(plain, addressing=addressing)

    advertised = FarEnd(settings=settings).endpoint.outbound.advertised
    assert advertised.is_inside(OUTSIDE.address)
    assert not advertised.is_inside(INSIDE.address)
