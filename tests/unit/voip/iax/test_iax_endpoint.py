"""The endpoint as a whole: sockets, sessions, names, networks, legs, restarts of the engine, and the end."""

from __future__ import annotations

import json
import logging

import pytest
from msgspec.structs import replace

from gateway.cause import Cause
from gateway.core import SECOND
from gateway.identity import Number
from gateway.leg import SECURE_MEDIA, Leg, Released, Setup
from gateway.media.api import ClearVoice, Codec, Failure, IaxFrame, IaxVoiceDue
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.frame import Command, FrameType, FullFrame
from gateway.voip.iax.peers import Encryption, IaxListener, PeerSettings
from gateway.voip.iax.shares import EMERGENCY_LEGS, MAX_LEGS
from gateway.voip.sip.address import NetworkFacts
from gateway.voip.sip.flow import Resolve
from gateway.voip.sip.names import Answer
from tests.unit.voip.iax.iax_wire import PEER, STRANGER, WORD, Caller, Wire, new_elements

BRANCH = PeerSettings(name="branch", host=PEER, secret=WORD)


def placed(wire: Wire, name: str = "branch", setup: Setup | None = None) -> tuple[Leg, Caller]:
    """A call that goes out."""
    leg = wire.endpoint.new_leg(name, wire.now)
    assert not isinstance(leg, Cause)
    caller = Caller()
    leg.listener = caller
    leg.place(setup or Setup(Number("100")), wire.now)
    wire.drain()
    return leg, caller


# -- sockets --


def test_each_listener_is_a_socket_and_far_ends_are_reached_by_their_family() -> None:
    wire = Wire(
        BRANCH,
        replace(BRANCH, name="six", host="2001:db8::9"),
        listeners=(IaxListener("192.0.2.1"), IaxListener("2001:db8::1", 4570)),
    )
    assert wire.media.sockets == [("192.0.2.1", 4569), ("2001:db8::1", 4570)]
    peers = wire.endpoint.peers
    four, six = peers["branch"].path(wire.now), peers["six"].path(wire.now)
    assert four is not None
    assert six is not None
    assert (four.socket, six.socket) == (1, 2)
    assert (str(four), str(six)) == (f"{PEER}:4569", "[2001:db8::9]:4569")


def test_far_end_without_a_socket_of_its_family_is_out_of_order() -> None:
    wire = Wire(replace(BRANCH, host="2001:db8::9"))
    assert wire.endpoint.new_leg("branch", wire.now) is Cause.DESTINATION_OUT_OF_ORDER


def test_socket_that_cannot_be_opened_is_tried_again_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire(BRANCH)
    wire.media.refuse = Failure(99, "address not available")
    wire.endpoint.engine_ready(True, wire.now)
    assert wire.endpoint.peers["branch"].path(wire.now) is None
    wire.advance(60 * SECOND)
    assert len([each for each in caplog.records if each.levelno == logging.ERROR]) == 1
    wire.media.refuse = None
    wire.advance(6 * SECOND)
    assert wire.endpoint.peers["branch"].path(wire.now) is not None


def test_socket_is_used_at_once_and_given_up_when_the_engine_says_that_it_has_none() -> None:
    wire = Wire(BRANCH)
    wire.media.replies = []
    wire.media.refuse = Failure(98, "address in use")
    wire.endpoint.engine_ready(True, wire.now)
    assert wire.endpoint.peers["branch"].path(wire.now) is not None
    for reply in wire.media.replies:
        reply()
    assert wire.endpoint.peers["branch"].path(wire.now) is None
    wire.media.refuse = None
    wire.advance(6 * SECOND)
    assert wire.endpoint.peers["branch"].path(wire.now) is not None


def test_engine_that_was_started_again_gets_its_sockets_and_sessions_go_on() -> None:
    wire = Wire(BRANCH)
    far_end = wire.far_end()
    far_end.call("branch", WORD)
    (leg, _), number = wire.offered[0], far_end.destination
    wire.endpoint.engine_ready(True, wire.now)
    assert len(wire.media.sockets) == 2
    socket = wire.endpoint.socket_to(PEER)
    session = wire.endpoint.reception.sessions[number]
    assert session.path.socket == socket != 1
    leg.release(Cause.NORMAL_CALL_CLEARING, wire.now)
    assert wire.media.sent[-1][0] == socket


def test_far_end_that_repeats_itself_over_the_new_socket_is_known_there() -> None:
    wire = Wire(
        BRANCH, replace(BRANCH, name="six", host="2001:db8::9"), listeners=(IaxListener("::", 1), IaxListener("::", 2))
    )
    far_end = wire.far_end()
    (challenge,) = far_end.open(Command.NEW, new_elements("branch"))
    opening = next(iter(wire.endpoint.reception._opening.values()))[1]
    wire.endpoint.engine_ready(True, wire.now)
    assert len(wire.media.sockets) == 4
    again = bytes(FullFrame(far_end.number, 0, 5, 0, 0, FrameType.IAX, Command.NEW, opening, retransmitted=True))
    assert [each.source for each in wire.datagram(again, socket=3)] == [challenge.source]
    assert [each.source for each in wire.datagram(again, socket=4)] != [challenge.source]


def test_engine_that_kept_its_sockets_is_asked_for_none() -> None:
    wire = Wire(BRANCH)
    wire.endpoint.engine_ready(False, wire.now)
    assert len(wire.media.sockets) == 1


def test_address_of_ipv4_within_ipv6_is_that_of_ipv4() -> None:
    wire = Wire(PeerSettings(name="branch", host=PEER), listeners=(IaxListener("::"),))
    far_end = wire.far_end(f"::ffff:{PEER}")
    data = bytes(Elements([*new_elements("branch"), (Ie.CALLTOKEN, b"")]))
    frame = FullFrame(far_end.number, 0, 0, 0, 0, FrameType.IAX, Command.NEW, data)
    wire.endpoint.media_event(IaxFrame(1, f"::ffff:{PEER}", 4569, bytes(frame)), wire.now)
    assert [each.subclass for each in wire.sent_to(PEER)] == [Command.CALLTOKEN]


# -- legs --


def test_call_that_goes_out_bears_a_number_of_ours_and_frees_it() -> None:
    wire = Wire(BRANCH)
    leg, caller = placed(wire)
    (new,) = wire.sent_to(PEER)
    assert (new.subclass, new.destination) == (Command.NEW, 0)
    assert new.elements.text(Ie.CALLED_NUMBER) == "100"
    assert wire.endpoint.shares.of("branch") == 1
    leg.release(Cause.NORMAL_CALL_CLEARING, wire.now)
    wire.advance(60 * SECOND)
    assert [type(each) for each in caller.events][-1] is Released
    assert wire.endpoint.idle
    assert wire.endpoint.shares.of("branch") == 0
    assert len(wire.endpoint.numbers) == 0


@pytest.mark.parametrize(
    ("peer", "cause"),
    [
        (PeerSettings(name="other", host=PEER), Cause.NO_ROUTE_TO_DESTINATION),
        (PeerSettings(name="branch", dynamic=True, secret=WORD), Cause.SUBSCRIBER_ABSENT),
        (PeerSettings(name="branch", host="unknown.example"), Cause.DESTINATION_OUT_OF_ORDER),
    ],
)
def test_why_there_is_no_leg(peer: PeerSettings, cause: Cause) -> None:
    wire = Wire(peer)
    assert wire.endpoint.new_leg("branch", wire.now) is cause


def test_legs_are_limited_and_some_are_for_calls_for_help() -> None:
    wire = Wire(BRANCH)
    for _ in range(MAX_LEGS):
        assert not isinstance(wire.endpoint.new_leg("branch", wire.now), Cause)
    assert wire.endpoint.new_leg("branch", wire.now) is Cause.SWITCHING_EQUIPMENT_CONGESTION
    for _ in range(EMERGENCY_LEGS):
        assert not isinstance(wire.endpoint.new_leg("branch", wire.now, emergency=True), Cause)
    assert wire.endpoint.new_leg("branch", wire.now, emergency=True) is Cause.SWITCHING_EQUIPMENT_CONGESTION


OTHER = PeerSettings(name="other", host="192.0.2.77", secret=WORD)


def test_one_trunk_of_several_takes_no_more_than_its_share(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire(BRANCH, OTHER, emergency=frozenset({"112"}))
    share = MAX_LEGS * 3 // 4
    for _ in range(share):
        assert not isinstance(wire.endpoint.new_leg("branch", wire.now), Cause)
    assert wire.endpoint.new_leg("branch", wire.now) is Cause.SWITCHING_EQUIPMENT_CONGESTION
    assert "trunk branch has 750 calls, which is its share" in caplog.text
    # Nor by calls that come in, but for help; the others have theirs.
    assert Command.REJECT in wire.far_end().call("branch", WORD)
    assert Command.REJECT not in wire.far_end().call("branch", WORD, "112")
    assert not isinstance(wire.endpoint.new_leg("branch", wire.now, emergency=True), Cause)
    assert not isinstance(wire.endpoint.new_leg("other", wire.now), Cause)


def test_call_limit_sets_another_share() -> None:
    wire = Wire(replace(BRANCH, call_limit=900), OTHER)
    for _ in range(900):
        assert not isinstance(wire.endpoint.new_leg("branch", wire.now), Cause)


def test_maxcallnumbers_holds_for_calls_that_go_out_too() -> None:
    wire = Wire(replace(BRANCH, max_call_numbers=2))
    for _ in range(2):
        placed(wire)
    assert wire.endpoint.new_leg("branch", wire.now) is Cause.SWITCHING_EQUIPMENT_CONGESTION


def test_brakes_hold_for_calls_that_go_out_but_not_for_help() -> None:
    wire = Wire(replace(BRANCH, call_limit=1))
    placed(wire)
    _, second = placed(wire)
    assert [each.cause for each in second.events if isinstance(each, Released)] == [Cause.CALL_REJECTED]
    _, help_call = placed(wire, setup=Setup(Number("112"), emergency=True))
    assert not any(isinstance(each, Released) for each in help_call.events)
    assert len([each for each in wire.sent_to(PEER) if each.subclass == Command.NEW]) == 2


def test_voice_that_is_due_goes_out_in_the_call_of_its_stream() -> None:
    wire = Wire(BRANCH)
    numbers = []
    for _ in range(3):
        far_end = wire.far_end()
        far_end.call("branch", WORD)
        numbers.append(far_end.destination)
    for (leg, _), number in zip(wire.offered, numbers, strict=True):
        leg.alert(False, wire.now)
        assert leg.stream is not None
        wire.endpoint.media_event(IaxVoiceDue(leg.stream, 20, Codec.ALAW, bytes(160)), wire.now)
        voice = wire.sent_to(PEER)[-1]
        assert (voice.type, voice.source, voice.stamp, len(voice.data)) == (FrameType.VOICE, number, 20, 160)
    wire.endpoint.media_event(ClearVoice(9999), wire.now)


def test_far_end_that_says_nothing_is_called_after_all_others_until_it_speaks() -> None:
    wire = Wire(BRANCH)
    placed(wire)
    assert not wire.endpoint.suspects.names
    wire.advance(60 * SECOND)
    assert wire.endpoint.suspects.doubts("branch", wire.now - 20 * SECOND)
    wire.far_end().call("branch", WORD)
    assert not wire.endpoint.suspects.names


@pytest.mark.parametrize(
    ("encryption", "secret", "facts"),
    [
        (Encryption.NO, WORD, set()),
        (Encryption.OPTIONAL, WORD, {SECURE_MEDIA}),
        (Encryption.REQUIRED, WORD, {SECURE_MEDIA}),
        (Encryption.REQUIRED, "", set()),
    ],
)
def test_what_a_hop_can_vouch_for(encryption: Encryption, secret: str, facts: set[str]) -> None:
    wire = Wire(replace(BRANCH, encryption=encryption, secret=secret))
    assert wire.endpoint.facts_of("branch") == facts
    assert wire.endpoint.facts_of("nobody") == set()


# -- names and networks --

NAMED = replace(BRANCH, host="pbx.example")


def test_name_is_asked_for_once_and_kept_for_as_long_as_it_is_good() -> None:
    wire = Wire(NAMED)
    (question,) = wire.asked
    wire.endpoint.looked_up(question, Answer((PEER,), 600 * SECOND), wire.now)
    wire.advance(590 * SECOND)
    assert len(wire.asked) == 1
    wire.advance(50 * SECOND)
    assert len(wire.asked) == 2


def test_peer_with_a_name_is_known_by_the_addresses_that_the_name_has() -> None:
    wire = Wire(replace(NAMED, insecure_invite=True))
    (question,) = wire.asked
    wire.far_end().open(Command.NEW, new_elements())
    assert not wire.offered
    wire.endpoint.looked_up(question, Answer((STRANGER, PEER)), wire.now)
    wire.far_end().open(Command.NEW, new_elements())
    assert len(wire.offered) == 1
    wire.endpoint.looked_up(question, Answer((STRANGER,)), wire.now)
    wire.far_end().open(Command.NEW, new_elements())
    assert len(wire.offered) == 1


def test_answer_that_others_asked_for_is_not_kept() -> None:
    wire = Wire(BRANCH)
    wire.endpoint.looked_up(Resolve("sip.example"), Answer((PEER,)), wire.now)
    assert len(wire.endpoint.names) == 0


def test_other_network_asks_for_names_anew_and_looks_at_peers() -> None:
    wire = Wire(replace(NAMED, qualify=2 * SECOND))
    (question,) = wire.asked
    wire.endpoint.looked_up(question, Answer((PEER,)), wire.now)
    wire.advance(5 * SECOND)
    before = len(wire.sent_to(PEER))
    wire.endpoint.network(NetworkFacts(), wire.now)
    wire.drain()
    wire.advance(1000)
    assert len(wire.asked) == 2
    assert len(wire.sent_to(PEER)) > before


# -- the end, and what is shown --


def test_nothing_new_begins_after_the_end() -> None:
    wire = Wire(BRANCH)
    wire.endpoint.leave(wire.now)
    assert wire.endpoint.quiet
    (answer,) = wire.far_end().open(Command.NEW, new_elements("branch"))
    assert (answer.source, answer.subclass) == (1, Command.REJECT)
    # A cause with which its far end tries another way.
    assert answer.elements.number(Ie.CAUSECODE) == Cause.SWITCHING_EQUIPMENT_CONGESTION


def test_no_timer_runs_after_the_end() -> None:
    wire = Wire(NAMED, replace(BRANCH, name="provider", register=True, qualify=2 * SECOND))
    assert wire.endpoint.next_timer() is not None
    wire.endpoint.leave(wire.now)
    wire.drain()
    wire.advance(60 * SECOND)
    assert wire.endpoint.next_timer() is None
    assert wire.endpoint.idle


def test_registering_keeps_nobody_from_being_idle_but_a_call_does() -> None:
    wire = Wire(replace(BRANCH, register=True))
    wire.advance(1000)
    assert wire.endpoint.statistics()["sessions"] == 1
    assert wire.endpoint.idle
    wire.far_end().open(Command.NEW, new_elements("branch"))
    assert not wire.endpoint.idle


def test_session_that_moves_counts_where_it_is() -> None:
    wire = Wire(BRANCH)
    far_end = wire.far_end()
    far_end.call("branch", WORD)
    session = wire.endpoint.reception.sessions[far_end.destination]
    session.move(session.path._replace(address=STRANGER), wire.now)
    assert (wire.endpoint.numbers.used_by(PEER), wire.endpoint.numbers.used_by(STRANGER)) == (0, 1)


def test_what_an_operator_is_shown_is_json_and_has_no_secrets() -> None:
    wire = Wire(
        replace(BRANCH, qualify=2 * SECOND, register=True),
        PeerSettings(name="phone", dynamic=True, secret=WORD),
        context="lobby",
    )
    wire.far_end(STRANGER).register("phone", WORD)
    wire.far_end(STRANGER).call("phone", WORD)
    shown = wire.endpoint.as_json(wire.now)
    text = json.dumps(shown)
    assert WORD not in text
    assert json.loads(text)["peers"]["phone"]["address"] == f"{STRANGER}:4569"
    assert json.loads(text)["peers"]["phone"]["calls"] == 1
    assert json.loads(text)["peers"]["branch"]["registration"]["state"] == "unregistered"
    assert json.loads(text)["statistics"]["calls_in"] == 1
    assert json.loads(text)["listeners"] == [{"address": "0.0.0.0", "port": 4569, "open": True}]
