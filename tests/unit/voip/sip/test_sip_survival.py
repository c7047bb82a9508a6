"""An endpoint made anew from what its predecessor left: answered calls go on, each side can change and end them."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cause import Cause
from gateway.leg import Held, Keypad, Resumed
from gateway.media.api import Direction
from gateway.voip.sip.encryption import MediaEncryption
from gateway.voip.sip.endpoint import SipEndpoint
from gateway.voip.sip.flow import TCP, TLS, UDP
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.peers import DtmfMode, PeerSettings, Reliability, SessionTimers, SipSettings
from gateway.voip.sip.session import MAX_BYES
from gateway.voip.sip.survival import CSEQ_GAP, SipCallState, SipSurvival
from gateway.voip.sip.unproven import unproven
from tests.unit.voip.sip.sip_pair import Agent, Notes, Pair, hang_up

WORD = "rosebud"


def _reborn(pair: Pair, agent: Agent, state: bytes, stream: int, seconds: float = 1.0) -> tuple[SipLeg, Notes]:
    """The program of ``agent`` is killed and another begins: the engine stays, all else is gone."""
    old = agent.endpoint
    pair.run(seconds)
    address = old.settings.listeners[0].address
    agent.endpoint = SipEndpoint(
        old.settings, agent.media, random.Random(7), agent._on_offer, local_for=lambda remote: address
    )
    told = list(agent.media.history)
    leg = SipSurvival(agent.endpoint).revive(state, stream, pair.now)
    notes = Notes()
    leg.listener = notes
    pair.drain()
    assert agent.media.history == told, "the engine needs to be told nothing"
    return leg, notes


def _killed(
    pair: Pair, who: str, *, answered: Callable[[SipLeg, SipLeg], None] = lambda a, b: None
) -> tuple[SipLeg, Notes, SipLeg, Notes]:
    """A standing call whose side ``who`` began anew: that side's leg and notes, then the other's."""
    ours, our_notes, theirs, their_notes = pair.answered_call()
    answered(ours, theirs)
    pair.run(1)
    mine, other, notes = (ours, theirs, their_notes) if who == "a" else (theirs, ours, our_notes)
    agent = pair.agent(who)
    state, stream = SipSurvival(agent.endpoint).keep(mine), mine.stream
    assert state is not None and stream is not None
    record = mine.record()
    leg, heard = _reborn(pair, agent, state, stream)
    assert leg.record() == record
    return leg, heard, other, notes


@pytest.mark.parametrize("transport", [UDP, TCP, TLS])
@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("ends", ["itself", "other"])
def test_a_call_goes_on_and_either_side_ends_it(transport: str, who: str, ends: str) -> None:
    pair = Pair(
        transport=transport,
        a_peer=lambda peer: replace(peer, tls_verify=False),
        b_peer=lambda peer: replace(peer, tls_verify=False),
    )
    leg, heard, other, notes = _killed(pair, who)
    assert heard.events == []
    hang_up(leg if ends == "itself" else other, pair)
    assert heard.released is not None and notes.released is not None
    assert notes.released.cause is heard.released.cause is Cause.NORMAL_CALL_CLEARING
    pair.assert_clean()


@pytest.mark.parametrize("who", ["a", "b"])
def test_hold_and_its_end_are_told_and_heard(who: str) -> None:
    pair = Pair()
    leg, heard, other, notes = _killed(pair, who)
    leg.hold(pair.now)
    pair.run(1)
    assert [type(event) for event in notes.events if isinstance(event, Held | Resumed)] == [Held]
    leg.resume(pair.now)
    pair.run(1)
    other.hold(pair.now)
    pair.run(1)
    other.resume(pair.now)
    pair.run(1)
    assert [type(event) for event in notes.events if isinstance(event, Held | Resumed)] == [Held, Resumed]
    assert [type(event) for event in heard.events] == [Held, Resumed]
    hang_up(leg, pair)
    pair.assert_clean()


def test_who_was_on_hold_is_still(who: str = "b") -> None:
    pair = Pair()
    leg, heard, other, _ = _killed(pair, who, answered=lambda a, b: a.hold(pair.now))
    assert leg.settings is not None and leg.settings.direction in (Direction.RECVONLY, Direction.INACTIVE)
    other.resume(pair.now)
    pair.run(1)
    assert [type(event) for event in heard.events] == [Resumed]
    hang_up(leg, pair)
    pair.assert_clean()


@pytest.mark.parametrize("who", ["a", "b"])
def test_the_keys_of_srtp_stay_in_both_directions(who: str) -> None:
    def secured(peer: PeerSettings) -> PeerSettings:
        return replace(peer, media_encryption=MediaEncryption.REQUIRED, tls_verify=False)

    pair = Pair(transport=TLS, a_peer=secured, b_peer=secured)
    leg, _, other, _ = _killed(pair, who)
    assert leg.settings is not None and leg.settings.srtp is not None
    before = leg.settings.srtp
    assert leg.secure_media
    # Both sides offer again: what is agreed stays, so that no voice is lost.
    for each in (leg, other):
        each.hold(pair.now)
        pair.run(1)
        each.resume(pair.now)
        pair.run(1)
        assert leg.settings.srtp == before
        assert other.settings is not None and other.settings.srtp is not None
        assert other.settings.srtp.send == before.receive
    hang_up(leg, pair)
    pair.assert_clean()


def test_our_requests_are_numbered_well_above_those_of_before() -> None:
    pair = Pair()
    leg, _, _, _ = _killed(pair, "a", answered=lambda a, b: a.hold(pair.now))
    before = max(message.cseq.number for message in pair.sent("a", "INVITE"))
    leg.resume(pair.now)
    pair.run(1)
    after = pair.sent("a", "INVITE")[-1].cseq.number
    assert before < after <= before + 2 * CSEQ_GAP
    hang_up(leg, pair)
    pair.assert_clean()


@pytest.mark.parametrize("who", ["a", "b"])
def test_a_session_timer_is_kept_running_from_either_side(who: str) -> None:
    def timed(peer: PeerSettings) -> PeerSettings:
        return replace(peer, session_timers=SessionTimers.ORIGINATE)

    pair = Pair(a_peer=timed, b_peer=timed)
    leg, heard, _, notes = _killed(pair, who)
    pair.run(4000)
    assert heard.released is None and notes.released is None
    hang_up(leg, pair)
    pair.assert_clean()


def test_a_refresh_soon_tells_whether_the_far_end_still_has_the_call() -> None:
    pair = Pair(a_peer=lambda peer: replace(peer, session_timers=SessionTimers.ORIGINATE))
    _, heard, other, _ = _killed(pair, "a")
    # The far end was restarted as well, and knows nothing.
    other._host.remove_dialog(next(iter(pair.b.endpoint.dialogs)))
    pair.run(20)
    assert heard.released is not None


def test_digits_by_info_go_both_ways() -> None:
    pair = Pair(
        a_peer=lambda peer: replace(peer, dtmfmode=DtmfMode.INFO),
        b_peer=lambda peer: replace(peer, dtmfmode=DtmfMode.INFO),
    )
    leg, heard, other, notes = _killed(pair, "a")
    leg.keypad("5", 100, pair.now)
    other.keypad("7", 100, pair.now)
    pair.run(1)
    assert notes.of(Keypad) == [Keypad("5", 100)]
    assert heard.of(Keypad) == [Keypad("7", 100)]
    hang_up(leg, pair)
    pair.assert_clean()


def test_what_cannot_be_gone_on_with_is_hung_up() -> None:
    pair = Pair()
    ours, _, _, notes = pair.answered_call()
    state = SipSurvival(pair.a.endpoint).keep(ours)
    assert state is not None and ours.stream is not None
    pair.a.media.open.clear()
    old = pair.a.endpoint
    pair.a.endpoint = SipEndpoint(
        old.settings, pair.a.media, random.Random(7), pair.a._on_offer, local_for=lambda remote: "192.0.2.1"
    )
    SipSurvival(pair.a.endpoint).give_up(state, Cause.TEMPORARY_FAILURE, pair.now)
    pair.run(1)
    assert notes.released is not None and notes.released.cause is Cause.TEMPORARY_FAILURE
    assert isinstance(pair.sent("a", "BYE")[0], Request)
    pair.assert_clean()


def test_before_the_answer_and_after_the_end_there_is_nothing_to_go_on_with() -> None:
    pair = Pair()
    leg, _ = pair.call()
    survival = SipSurvival(pair.a.endpoint)
    keep = survival.keep
    state = keep(leg)
    assert state is not None
    with pytest.raises(ValueError, match="not answered"):
        survival.revive(state, 1, pair.now)
    pair.b.offers[-1][0].answer(None, pair.now)
    pair.run(1)
    assert keep(leg) is not None
    hang_up(leg, pair)
    assert keep(leg) is None
    pair.assert_clean()


def _anew(pair: Pair, agent: Agent) -> SipEndpoint:
    """Another program takes the place of ``agent``'s, whose streams are closed by whoever has them."""
    old = agent.endpoint
    address = old.settings.listeners[0].address
    agent.media.open.clear()
    agent.endpoint = SipEndpoint(
        old.settings, agent.media, random.Random(7), agent._on_offer, local_for=lambda remote: address
    )
    return agent.endpoint


@pytest.mark.parametrize("transport", [UDP, TCP])
@pytest.mark.parametrize("moment", ["offered", "ringing", "early media", "reliable"])
def test_an_invite_that_came_in_gets_its_final_response(transport: str, moment: str) -> None:
    def peer(one: PeerSettings) -> PeerSettings:
        return replace(one, reliable=Reliability.REQUIRED if moment == "reliable" else Reliability.OFF)

    pair = Pair(transport=transport, a_peer=peer, b_peer=peer)
    leg, notes = pair.call()
    mine = pair.b.offers[-1][0]
    if moment != "offered":
        mine.alert(moment != "ringing", pair.now)
        pair.run(0.1)
    state = SipSurvival(pair.b.endpoint).keep(mine)
    assert state is not None
    assert b"\r\n\r\n" not in state, "what has keys in it is not kept"
    SipSurvival(_anew(pair, pair.b)).give_up(state, Cause.TEMPORARY_FAILURE, pair.now)
    pair.run(1)
    assert notes.released is not None and notes.released.cause is Cause.TEMPORARY_FAILURE
    assert [message.status for _, by, message in pair.wire if by == "b" and isinstance(message, Response)][-1] == 503
    early = [message for message in pair.sent("b", 180) + pair.sent("b", 183) if message.to.tag]
    assert {message.to.tag for message in early} <= {pair.sent("b", 503)[-1].to.tag}
    assert leg.over
    pair.assert_clean()


def test_the_final_response_is_repeated_until_it_is_acknowledged() -> None:
    pair = Pair()
    _, notes = pair.call()
    state = SipSurvival(pair.b.endpoint).keep(pair.b.offers[-1][0])
    assert state is not None
    lost: list[object] = []

    def drop(sender: str, message: Request | Response) -> bool:
        if sender == "b" and isinstance(message, Response) and message.status == 503 and len(lost) < 2:
            lost.append(message)
            return True
        return False

    pair.drop = drop
    SipSurvival(_anew(pair, pair.b)).give_up(state, Cause.TEMPORARY_FAILURE, pair.now)
    pair.run(5)
    assert len(lost) == 2 and notes.released is not None
    assert len(pair.sent("b", 503)) == 3
    pair.assert_clean()


@pytest.mark.parametrize("transport", [UDP, TCP])
@pytest.mark.parametrize("rings", [False, True])
def test_an_invite_that_went_out_is_cancelled(transport: str, rings: bool) -> None:
    pair = Pair(transport=transport)
    leg, _ = pair.call()
    theirs, _, heard = pair.b.offers[-1]
    if rings:
        theirs.alert(False, pair.now)
        pair.run(0.1)
    state = SipSurvival(pair.a.endpoint).keep(leg)
    assert state is not None
    SipSurvival(_anew(pair, pair.a)).give_up(state, Cause.TEMPORARY_FAILURE, pair.now)
    pair.run(1)
    assert heard.released is not None and heard.released.cause is Cause.TEMPORARY_FAILURE
    assert [each.split()[1] for each in pair.ladder()[-4:]] == ["CANCEL", "200", "487", "ACK"]
    assert pair.sent("a", "CANCEL")[0].via.branch == pair.sent("a", "INVITE")[-1].via.branch
    pair.assert_clean()


def test_an_answer_that_crosses_the_cancel_is_acknowledged_and_ended() -> None:
    pair = Pair()
    leg, _ = pair.call()
    theirs, _, heard = pair.b.offers[-1]
    theirs.alert(False, pair.now)
    pair.run(0.1)
    state = SipSurvival(pair.a.endpoint).keep(leg)
    assert state is not None
    survival = SipSurvival(_anew(pair, pair.a))
    theirs.answer(None, pair.now)
    survival.give_up(state, Cause.TEMPORARY_FAILURE, pair.now)
    pair.run(1)
    assert heard.released is not None and heard.released.cause is Cause.TEMPORARY_FAILURE
    assert len(pair.sent("a", "ACK")) == len(pair.sent("a", "BYE")) == 1
    pair.assert_clean()


def test_what_is_kept_follows_what_goes_out() -> None:
    pair = Pair()
    kept: list[bytes | None] = []
    survival = SipSurvival(pair.a.endpoint)
    pair.a.endpoint.on_changed = lambda leg: kept.append(survival.keep(leg))
    pair.call()
    assert kept and kept[0] is not None and pair.sent("a", "INVITE")
    pair.run(100)


def test_a_phone_that_is_called_in_two_places_stops_ringing_in_both() -> None:
    pair = Pair()
    states = []
    for _ in range(2):
        leg, _ = pair.call()
        state = SipSurvival(pair.a.endpoint).keep(leg)
        assert state is not None
        states.append(msgspec.msgpack.decode(state, type=SipCallState).sent[0])
    both = msgspec.msgpack.encode(SipCallState("b", tuple(states)))
    SipSurvival(_anew(pair, pair.a)).give_up(both, Cause.TEMPORARY_FAILURE, pair.now)
    pair.run(1)
    assert all(notes.released is not None for _, _, notes in pair.b.offers)
    pair.assert_clean()


def test_a_stranger_goes_on_talking_as_long_as_strangers_may_call() -> None:
    def open_to_all(settings: SipSettings) -> SipSettings:
        return replace(settings, peers=(), context="public")

    pair = Pair(b=open_to_all)
    leg, heard, other, notes = _killed(pair, "b")
    endpoint = pair.b.endpoint
    assert leg.source == "" and endpoint.strangers.calls == 1
    hang_up(other, pair)
    assert heard.released is not None and notes.released is not None
    assert endpoint.strangers.calls == 0
    pair.assert_clean()
    ours, _, theirs, _ = pair.answered_call()
    state = SipSurvival(endpoint).keep(theirs)
    assert state is not None
    endpoint.take_up(replace(endpoint.settings, context=None), pair.now)
    endpoint.settings = replace(endpoint.settings, context=None)
    with pytest.raises(ValueError, match="strangers"):
        SipSurvival(endpoint).revive(state, 1, pair.now)
    hang_up(ours, pair)


def test_who_called_for_help_without_proof_has_no_more_than_that_afterwards() -> None:
    pair = Pair(b_peer=lambda peer: replace(peer, secret=WORD, insecure_invite=True))
    ours, _, theirs, _ = pair.answered_call()
    theirs.peer = unproven(theirs.peer)
    state, stream = SipSurvival(pair.b.endpoint).keep(theirs), theirs.stream
    assert state is not None and stream is not None
    leg, _ = _reborn(pair, pair.b, state, stream)
    assert leg.peer.unproven and not leg.peer.secret and not leg.peer.allowtransfer
    assert pair.b.endpoint.unproven.standing == 1
    hang_up(ours, pair)
    pair.assert_clean()


def test_a_challenge_after_the_restart_is_answered() -> None:
    pair = Pair(a_peer=lambda peer: replace(peer, secret=WORD))
    leg, heard, _, _ = _killed(pair, "a")
    asked: list[Request] = []

    def drop(sender: str, message: Request | Response) -> bool:
        if sender != "a" or not isinstance(message, Request) or message.method != "BYE" or asked:
            return False
        asked.append(message)
        response = message.response(401, None, "x")
        response.headers.add("WWW-Authenticate", 'Digest realm="b", nonce="n1", algorithm=MD5, qop="auth"')
        heapq.heappush(pair._queue, (pair.now + 1000, -1, "a", response.to_bytes()))
        return True

    pair.drop = drop
    leg.release(Cause.NORMAL_CALL_CLEARING, pair.now)
    pair.run(1)
    byes = pair.sent("a", "BYE")
    assert len(byes) == 2 and "authorization" in byes[1].headers.first
    assert heard.released is not None
    pair.assert_clean()


def test_a_bye_waits_for_a_phone_that_comes_back_over_another_connection() -> None:
    pair = Pair(transport=TCP)
    leg, heard, _, notes = _killed(pair, "a")
    session = leg.session
    assert session is not None
    session.peer = leg.peer = replace(leg.peer, dynamic=True)
    lost: list[Request | Response] = []
    pair.drop = lambda sender, message: sender == "a" and not notes.released and not lost.append(message)  # type: ignore[func-returns-value]
    leg.release(Cause.NORMAL_CALL_CLEARING, pair.now)
    pair.run(0.1)
    assert heard.released is not None and len(lost) == 1
    for _ in range(2):
        pair.a.endpoint.connection_lost(session.flow, pair.now)
        pair.run(11)
    assert len(lost) == 3
    pair.drop = lambda sender, message: False
    pair.a.endpoint.connection_lost(session.flow, pair.now)
    pair.run(11)
    assert notes.released is not None and notes.released.cause is Cause.NORMAL_CALL_CLEARING
    pair.assert_clean()


def test_a_bye_does_not_wait_for_ever() -> None:
    pair = Pair(transport=TCP)
    leg, _, _, _ = _killed(pair, "a")
    session = leg.session
    assert session is not None
    session.peer = leg.peer = replace(leg.peer, dynamic=True)
    pair.drop = lambda sender, message: sender == "a"
    leg.release(Cause.NORMAL_CALL_CLEARING, pair.now)
    for _ in range(20):
        pair.a.endpoint.connection_lost(session.flow, pair.now)
        pair.run(11)
    assert not pair.a.endpoint.dialogs
    assert len(pair.sent("a", "BYE")) == MAX_BYES


@pytest.mark.parametrize("who", ["a", "b"])
def test_a_bye_that_found_nobody_is_made_up_for(who: str) -> None:
    pair = Pair()
    _, heard, other, _ = _killed(pair, who)
    # It ended there while nobody was here.
    other._host.remove_dialog(next(iter(other._host.dialogs)))  # type: ignore[attr-defined]
    pair.run(80)
    assert heard.released is not None


def test_who_takes_no_refresh_is_not_asked() -> None:
    pair = Pair(a_peer=lambda peer: replace(peer, session_timers=SessionTimers.REFUSE))
    leg, heard, _, _ = _killed(pair, "a")
    pair.run(100)
    assert heard.released is None and len(pair.sent("a", "INVITE")) == 1 and not pair.sent("a", "UPDATE")
    hang_up(leg, pair)
    pair.assert_clean()


def test_none_is_taken_up_twice_nor_for_somebody_who_is_gone() -> None:
    pair = Pair()
    ours, _, _, _ = pair.answered_call()
    survival = SipSurvival(pair.a.endpoint)
    state = survival.keep(ours)
    assert state is not None
    with pytest.raises(ValueError, match="before"):
        survival.revive(state, 1, pair.now)
    other = msgspec.msgpack.decode(state)
    other["peer"] = "gone"
    with pytest.raises(ValueError, match="gone is not configured"):
        survival.revive(msgspec.msgpack.encode(other), 1, pair.now)


@given(data=st.binary(max_size=80))
def test_what_makes_no_sense_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        SipSurvival(Pair().a.endpoint).revive(data, 1, 0)
