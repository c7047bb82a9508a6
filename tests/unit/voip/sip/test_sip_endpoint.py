"""The endpoint outside dialogs: OPTIONS, refusals, overload, garbage, where responses go, peers, counters."""

from __future__ import annotations

import random
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cause import Cause
from gateway.core import SECOND
from gateway.voip.sip import streams
from gateway.voip.sip.address import AdvertisedAddress
from gateway.voip.sip.endpoint import SipEndpoint
from gateway.voip.sip.flow import TCP, UDP, Flow, Resolve, Send, literal_address
from gateway.voip.sip.hop import Listener, reply_flow
from gateway.voip.sip.message import Response
from gateway.voip.sip.nat import NatMode
from gateway.voip.sip.peers import PeerSettings, PeerTable, SipSettings
from gateway.voip.sip.strangers import NAMES_AGAIN
from gateway.voip.sip.values import Via
from tests.unit.voip.sip.sip_far_end import FarEnd, sdp
from tests.unit.voip.sip.sip_pair import A_ADDRESS, B_ADDRESS, FakeMedia, simple_setup


def test_options_says_what_we_can_do() -> None:
    far = FarEnd()
    far.request("OPTIONS")
    response = far.take_response(200)
    assert {"INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "PRACK", "UPDATE"} <= response.allow
    assert response.accept is not None
    assert "application/sdp" in {media.full for media in response.accept}
    assert {"100rel", "timer"} <= response.supported
    assert response.headers.get("accept-encoding") == "identity"
    assert response.to.tag


def test_options_gets_what_an_invite_would_get_when_all_channels_are_taken() -> None:
    far = FarEnd(settings=lambda settings: replace(settings, max_calls=1))
    far.call_in()
    far.request("OPTIONS")
    response = far.take_response(503)
    assert response.retry_after
    assert "INVITE" in response.allow


@pytest.mark.parametrize("method", ["MESSAGE", "SUBSCRIBE", "PUBLISH"])
def test_method_that_is_not_ours_is_405_with_allow(method: str) -> None:
    far = FarEnd()
    far.request(method)
    assert "INVITE" in far.take_response(405).allow


def test_method_nobody_knows_is_501() -> None:
    far = FarEnd()
    far.request("FROBNICATE")
    far.take_response(501)


def test_required_extension_that_is_not_ours_is_420() -> None:
    far = FarEnd()
    far.request("INVITE", ("Require", "precondition, 100rel"), body=sdp())
    assert far.take_response(420).unsupported == {"precondition"}


def test_invite_with_a_body_nobody_understands_is_415() -> None:
    far = FarEnd()
    far.request("INVITE", body=b"<x/>", content_type="application/xml")
    assert "application/sdp" in (far.take_response(415).headers.get("accept") or "")


def test_refused_invite_is_absorbed_and_its_ack_too() -> None:
    far = FarEnd()
    request = far.request("INVITE", ("Require", "precondition"), body=sdp())
    refusal = far.take_response(420)
    far.give(request.to_bytes())
    far.take_response(420)
    far.request("ACK", to_tag=refusal.to.tag, cseq=request.cseq.number, branch=request.via.branch)
    assert far.take() == []
    far.assert_clean(6)


def test_merged_request_is_482() -> None:
    far = FarEnd()
    request, _ = far.request("INVITE", body=sdp()), far.take()
    far.request("INVITE", body=sdp(), cseq=request.cseq.number)
    far.take_response(482)
    assert len(far.offers) == 1


def test_bye_outside_a_dialog_is_481() -> None:
    far = FarEnd()
    far.request("BYE")
    far.take_response(481)


def test_broken_request_that_can_be_answered_is_400() -> None:
    far = FarEnd()
    request = far.request("OPTIONS", send=False)
    request.headers.set("CSeq", "0009292394834772304023312 OPTIONS")
    far.give(request.to_bytes())
    far.take_response(400)


@pytest.mark.parametrize(
    "data", [b"", b"\r\n\r\n", b"\r\n", b"\0\0\0\0", b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)]
)
def test_keepalives_and_stun_are_counted_and_not_answered(data: bytes) -> None:
    far = FarEnd()
    far.give(data)
    assert far.raw == []
    assert far.endpoint.counters.keepalives == 1


@pytest.mark.parametrize("data", [b"hello world, how are you", b"\x80\x08" + bytes(170), b"SIP/2.0 200 OK\r\n\r\n"])
def test_garbage_is_counted_and_not_answered(data: bytes) -> None:
    far = FarEnd()
    far.give(data)
    assert far.raw == []
    assert far.endpoint.counters.garbage == 1


def test_response_that_belongs_to_nothing_is_dropped() -> None:
    far = FarEnd()
    far.give(
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKnone\r\nFrom: <sip:a@b>;tag=1\r\n"
        b"To: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    )
    assert far.raw == []
    assert far.endpoint.statistics()["stray_responses"] == 1


def test_full_transaction_table_is_503_with_retry_after_and_keeps_nothing() -> None:
    far = FarEnd()
    far.endpoint.transactions.limit = 0
    far.request("INVITE", body=sdp())
    assert far.take_response(503).retry_after is not None
    assert len(far.endpoint.transactions) == 0
    leg = far.endpoint.new_leg("b", far.now)
    assert not isinstance(leg, Cause)
    leg.place(simple_setup(), far.now)
    assert far.take() == []
    assert far.endpoint.legs == {}


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_random_datagrams_never_raise(data: bytes) -> None:
    far = FarEnd()
    far.give(data)


@settings(deadline=None)
@given(st.data())
def test_damaged_requests_never_raise(data: st.DataObject) -> None:
    far = FarEnd()
    method = data.draw(st.sampled_from(["INVITE", "BYE", "CANCEL", "ACK", "OPTIONS", "PRACK", "UPDATE", "INFO"]))
    wire = bytearray(far.request(method, body=sdp(), send=False).to_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(wire) - 1))
        wire[at] = data.draw(st.integers(0, 255))
    far.give(bytes(wire))
    for leg, _, _ in far.offers:
        leg.answer(None, far.now)
        leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.assert_clean()


@settings(deadline=None)
@given(st.data())
def test_damaged_responses_never_raise(data: st.DataObject) -> None:
    far = FarEnd()
    leg, notes, invite = far.call_out()
    status = data.draw(st.sampled_from([100, 180, 183, 200, 302, 422, 484, 486, 491]))
    response = invite.response(status, None, "far")
    response.headers.add("Contact", f"<sip:far@{B_ADDRESS}>")
    response.headers.add("Require", "100rel")
    response.headers.add("RSeq", "1")
    response.headers.add("Content-Type", "application/sdp")
    response.body = sdp()
    wire = bytearray(response.to_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(wire) - 1))
        wire[at] = data.draw(st.integers(0, 255))
    far.give(bytes(wire))
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.assert_clean(400)
    assert notes.names().count("Released") == 1


@settings(deadline=None)
@given(st.data())
def test_damaged_requests_in_a_dialog_never_raise_and_leave_nothing(data: st.DataObject) -> None:
    far = FarEnd()
    _, notes, tag = far.answered_in()
    method = data.draw(st.sampled_from(["INVITE", "BYE", "ACK", "PRACK", "UPDATE", "INFO", "OPTIONS", "NOTIFY"]))
    fields = [
        ("Session-Expires", "600;refresher=uac"),
        ("Min-SE", "90"),
        ("RAck", "1 1 INVITE"),
        ("Supported", "timer"),
    ]
    wire = bytearray(far.request(method, *fields, to_tag=tag, body=sdp("sendonly", 2), send=False).to_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(wire) - 1))
        wire[at] = data.draw(st.integers(0, 255))
    far.give(bytes(wire))
    for each, _, _ in far.offers:
        # Without its To tag it is a new call.
        each.release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.assert_clean(400)
    assert notes.names().count("Released") == 1


@pytest.mark.parametrize(
    "field", [("Session-Expires", "soon"), ("Min-SE", "x"), ("Content-Type", "multipart/mixed;boundary=x")]
)
def test_invite_with_a_senseless_value_is_refused_and_leaves_nothing(field: tuple[str, str]) -> None:
    far = FarEnd()
    request = far.request("INVITE", body=sdp(), send=False)
    request.headers.set(*field)
    far.give(request.to_bytes())
    assert far.names()[-1].startswith("4")
    far.assert_clean()


# -- streams --


def test_stream_carries_several_messages_in_pieces() -> None:
    far = FarEnd(transport=TCP)
    first = far.request("OPTIONS", send=False).to_bytes()
    second = far.request("OPTIONS", send=False, call_id="other").to_bytes()
    data = first + b"\r\n\r\n" + second
    for at in range(0, len(data), 7):
        far.give(data[at : at + 7])
    assert far.names() == ["200 OPTIONS", "200 OPTIONS"]
    assert b"\r\n" in far.raw


def test_stream_without_content_length_is_answered_and_closed() -> None:
    far = FarEnd(transport=TCP)
    data = far.request("OPTIONS", send=False).to_bytes().replace(b"Content-Length: 0\r\n", b"")
    far.give(data)
    far.take_response(400)
    assert len(far.closed) == 1


def test_message_that_never_ends_to_arrive_is_closed() -> None:
    far = FarEnd(transport=TCP)
    began = far.now
    for octet in far.request("OPTIONS", send=False).to_bytes():
        far.give(bytes([octet]))
        if far.closed:
            break
        far.run(1)
    assert streams.MAX_UNFINISHED < far.now - began < streams.MAX_UNFINISHED + 5 * SECOND


def test_messages_and_pings_one_after_another_are_taken_however_slowly() -> None:
    far = FarEnd(transport=TCP)
    for number in range(4):
        data = far.request("OPTIONS", send=False, call_id=str(number)).to_bytes()
        far.give(data[:9])
        far.run(20)
        far.give(data[9:] + b"\r\n")
        far.run(20)
        far.give(b"\r\n")
    assert far.names().count("200 OPTIONS") == 4
    assert not far.closed


def test_streams_beyond_the_limit_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_STREAMS", 1)
    far = FarEnd(transport=TCP)
    far.give(b"O")
    far.give(b"O", msgspec.structs.replace(far.flow, connection=2))
    assert len(far.closed) == 1


def test_response_after_the_connection_was_lost_goes_to_the_via() -> None:
    far = FarEnd(transport=TCP)
    leg, _, _ = far.call_in()
    far.endpoint.connection_lost(far.flow, far.now)
    leg.alert(False, far.now)
    far.take_response(180)
    assert far.flows[-1] == Flow(TCP, B_ADDRESS, 5060)


# -- where responses go: RFC 3261 18.2.2, RFC 3581 --


@pytest.mark.parametrize(
    ("via", "address", "port"),
    [
        ("SIP/2.0/UDP 192.0.2.2:5070;branch=z9hG4bK1", "192.0.2.2", 5070),
        ("SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK1", "192.0.2.2", 5060),
        ("SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK1", "192.0.2.2", 5070),
        ("SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK1;rport", "192.0.2.2", 40_000),
        ("SIP/2.0/UDP pbx.example.org:5070;branch=z9hG4bK1", "192.0.2.2", 5070),
        ("SIP/2.0/UDP 192.0.2.2:5070;branch=z9hG4bK1;maddr=192.0.2.99", "192.0.2.99", 5070),
        ("SIP/2.0/UDP 192.0.2.2:5070;branch=z9hG4bK1;maddr=evil.example.org", "192.0.2.2", 5070),
    ],
)
def test_response_goes_where_the_via_and_the_source_say(via: str, address: str, port: int) -> None:
    flow = reply_flow(Via.parse(via), Flow(UDP, "192.0.2.2", 40_000), frozenset({NatMode.NO}))
    assert (flow.address, flow.port) == (address, port)


def test_received_and_rport_are_written_into_the_response() -> None:
    far = FarEnd()
    far.request("OPTIONS", flow=Flow(UDP, "198.51.100.9", 1024))
    response = far.take_response(200)
    assert response.via.received == "198.51.100.9"
    assert response.via.rport == 1024
    assert far.flows[-1] == Flow(UDP, "198.51.100.9", 1024)


def test_response_on_a_stream_goes_back_on_it() -> None:
    far = FarEnd(transport=TCP)
    far.request("OPTIONS")
    assert far.flows[-1] == far.flow


# -- addresses --


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8::0:1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("pbx.example.org", None),
        ("999.1.1.1", None),
    ],
)
def test_literal_addresses(host: str, address: str | None) -> None:
    assert literal_address(host) == address


def test_advertised_address_of_a_wildcard_is_chosen_by_destination() -> None:
    asked: list[str] = []

    def local_for(remote: str) -> str:
        asked.append(remote)
        return "10.0.0.1"

    advertised = AdvertisedAddress((Listener(UDP, "::", 5060), Listener(UDP, "192.0.2.1", 5070)), local_for)
    assert advertised.of("198.51.100.1", 0) == "10.0.0.1"
    assert advertised.of("198.51.100.1", 0) == "10.0.0.1"
    assert advertised.of("198.51.100.1", 1) == "192.0.2.1"
    assert asked == ["198.51.100.1"]
    advertised.forget()
    advertised.of("198.51.100.1", 0)
    assert len(asked) == 2


def test_ipv6_peer_gets_ipv6_in_via_contact_and_sdp() -> None:
    settings = SipSettings(listeners=(Listener(UDP, "::", 5060),), peers=(PeerSettings("six", "2001:db8::2"),))
    endpoint = SipEndpoint(
        settings, FakeMedia(), random.Random(1), lambda leg, offered, now: None, local_for=lambda remote: "2001:db8::1"
    )
    leg = endpoint.new_leg("six", SECOND)
    assert not isinstance(leg, Cause)
    leg.place(simple_setup(), SECOND)
    sent = endpoint.poll()
    assert isinstance(sent, Send)
    text = sent.data.decode()
    assert "INVITE sip:4165551234@[2001:db8::2] SIP/2.0" in text
    assert "Via: SIP/2.0/UDP [2001:db8::1]:5060;" in text
    assert "@[2001:db8::1]:5060>" in text
    assert "c=IN IP6 2001:db8::1" in text


# -- peers --


def test_two_peers_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two SIP peers are named 'x'"):
        PeerTable([PeerSettings("x", "192.0.2.1"), PeerSettings("x", "192.0.2.2")])


def test_peers_on_one_address_are_told_apart_by_port() -> None:
    table = PeerTable([PeerSettings("x", "192.0.2.1", 5060), PeerSettings("y", "192.0.2.1", 5070)])
    found = table.match(Flow(UDP, "192.0.2.1", 5070))
    assert found is not None
    assert found.name == "y"
    found = table.match(Flow(UDP, "192.0.2.1", 9999))
    assert found is not None
    assert found.name == "x"


def test_call_of_a_stranger_makes_us_ask_for_names_again_but_not_often() -> None:
    far = FarEnd(
        settings=lambda settings: replace(
            settings, context=None, peers=(*settings.peers, PeerSettings("n", "pbx.example.org"))
        )
    )
    asked: list[Resolve] = []

    def drain() -> None:
        while (output := far.endpoint.poll()) is not None:
            if isinstance(output, Resolve):
                asked.append(output)

    drain()
    assert len(asked) == 1
    new_address = Flow(UDP, "198.51.100.7", 5060)
    call = far.request("INVITE", body=sdp(), send=False).to_bytes()
    for _ in range(3):
        far.endpoint.receive(call, new_address, far.now)
        drain()
    assert len(asked) == 2
    far.endpoint.resolved("pbx.example.org", ("198.51.100.7",), far.now)
    far.endpoint.receive(call, new_address, far.now)
    drain()
    assert far.offers[0][1].source == "n"
    another = far.request("INVITE", body=sdp(), send=False).to_bytes()
    far.endpoint.receive(another, Flow(UDP, "198.51.100.8", 5060), far.now + NAMES_AGAIN)
    drain()
    assert len(asked) == 3


def test_the_flow_to_a_peer_follows_its_name_to_a_new_address() -> None:
    peer = PeerSettings("x", "pbx.example.org", 5070)
    table = PeerTable([peer])

    def listener_for(transport: str, address: str) -> int | None:
        return 0

    assert table.flow(peer, listener_for) is None
    for address in ("192.0.2.8", "192.0.2.9"):
        table.resolved("pbx.example.org", (address,))
        for _ in range(2):
            assert table.flow(peer, listener_for) == Flow("UDP", address, 5070)
    table.resolved("pbx.example.org", ())
    assert table.flow(peer, listener_for) == Flow("UDP", "192.0.2.9", 5070)


def test_names_are_asked_for_and_match_once_resolved() -> None:
    settings = SipSettings(peers=(PeerSettings("n", "pbx.example.org"),))
    endpoint = SipEndpoint(settings, FakeMedia(), random.Random(1), lambda leg, offered, now: None)
    assert endpoint.poll() == Resolve("pbx.example.org")
    endpoint.resolved("pbx.example.org", ("192.0.2.8",), SECOND)
    found = endpoint.peers.match(Flow(UDP, "192.0.2.8", 5060))
    assert found is not None
    assert found.name == "n"
    endpoint.resolved("pbx.example.org", (), SECOND)
    assert endpoint.peers.match(Flow(UDP, "192.0.2.8", 5060)) is not None


def test_statistics_count_calls() -> None:
    far = FarEnd()
    far.call_in()
    far.call_out()
    counted = far.endpoint.statistics()
    assert counted["calls_in"] == counted["calls_out"] == 1
    assert counted["legs"] == 2


def test_record_tells_codec_addresses_and_counters() -> None:
    far = FarEnd()
    leg, _notes, _ = far.answered_out()
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.drain()
    record = leg.record()
    assert record["technology"] == "sip"
    assert record["peer"] == "b"
    assert record["codec"] == "alaw"
    assert record["far_address"] == f"udp:{B_ADDRESS}:5060"
    assert record["media_address"] == f"{B_ADDRESS}:20000"
    media = record["media"]
    assert isinstance(media, dict)
    assert media["packets_sent"] == 1
    assert str(record["call_id"]).endswith(f"@{A_ADDRESS}")


def test_commands_on_a_leg_in_the_wrong_state_are_ignored() -> None:
    far = FarEnd()
    leg = far.endpoint.new_leg("b", far.now)
    assert not isinstance(leg, Cause)
    leg.alert(True, far.now)
    leg.progress(True, far.now)
    leg.answer(None, far.now)
    leg.hold(far.now)
    leg.resume(far.now)
    leg.digits("1", True, far.now)
    leg.proceed(far.now)
    assert far.take() == []
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    leg.release(Cause.USER_BUSY, far.now)
    leg.place(simple_setup(), far.now)
    assert far.take() == []
    far.assert_clean()


def test_responses_repeat_nothing_but_what_they_must() -> None:
    far = FarEnd()
    request = far.request("OPTIONS", ("X-Custom", "1"))
    response = far.take_response(200)
    assert isinstance(response, Response)
    assert "x-custom" not in response.headers
    assert response.call_id == request.call_id
