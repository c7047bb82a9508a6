"""Voice of two SIP sides around the gateway: when, how the far ends are told, and how it comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network

import pytest

from gateway.cause import Cause
from gateway.media.api import Direction
from gateway.voip.sip.direct_policy import DirectMedia, DirectPolicy, policy_of
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.nat import DEFAULT_NAT, NatMode
from gateway.voip.sip.peers import DtmfMode, PeerSettings
from gateway.voip.sip.sdp import SessionDescription, find_connection
from tests.unit.voip.sip.sip_far_end import ALLOW_UPDATE, FarEnd, sdp

YES = policy_of(frozenset({DirectMedia.YES}))
GATEWAY = "192.0.2.1"
ONE, OTHER = ("192.0.2.2", 20000), ("192.0.2.2", 30000)


def described(message: Request | Response) -> tuple[str, int]:
    """Address and port of the voice that a message describes."""
    description = SessionDescription.parse(message.body)
    media = description.media[0]
    return media.connection or find_connection(description.lines) or "", media.port


class Both:
    """Two calls of one far end with us, joined: the first came in, the second went out."""

    def __init__(
        self,
        policy: DirectPolicy = YES,
        *fields: tuple[str, str],
        peer: Callable[[PeerSettings], PeerSettings] = lambda peer: peer,
        second: bytes | None = None,
        join: bool = True,
    ) -> None:
        self.far = far = FarEnd(peer=lambda settings: peer(replace(settings, direct=policy)))
        self.one, self.notes, self.tag = far.answered_in(*fields)
        self.other, self.other_notes, self.invite = far.call_out()
        body = second if second is not None else self.sdp()
        far.answer(self.invite, 200, *fields, body=body)
        far.take_request("ACK")
        if join:
            self.one.join(self.other, far.now)

    @staticmethod
    def sdp(direction: str = "sendrecv", port: int = 30000, version: int = 1) -> bytes:
        return sdp(direction, version).replace(b"m=audio 20000", f"m=audio {port}".encode())

    def requests(self) -> list[Request]:
        """Our requests with SDP since the last time, for the first call and for the second."""
        found = [message for message in self.far.take() if isinstance(message, Request) and message.body]
        return sorted(found, key=lambda request: request.call_id != "call-1")

    def agree(self, request: Request, body: bytes | None = None) -> None:
        mine = sdp(version=9) if request.call_id == "call-1" else self.sdp(version=9)
        self.far.answer(request, 200, body=mine if body is None else body, tag=request.to.tag)

    def go_direct(self) -> None:
        for request in self.requests():
            self.agree(request)
        self.far.take()
        assert self.direct

    @property
    def direct(self) -> bool:
        return self.one.path is not None and self.one.path.direct

    def directions(self) -> list[Direction]:
        return [self.far.media.rtp[leg.stream or 0].direction for leg in (self.one, self.other)]


def test_each_side_is_told_the_others_address_and_our_streams_stay_ready() -> None:
    both = Both()
    first, second = both.requests()
    assert (first.method, second.method) == ("INVITE", "INVITE")
    assert described(first) == OTHER
    assert described(second) == ONE
    # The session stays ours (RFC 3264 8).
    assert SessionDescription.parse(first.body).origin.address == GATEWAY
    both.agree(first)
    assert not both.direct
    assert both.directions() == [Direction.SENDRECV] * 2
    both.agree(second)
    assert both.direct
    assert both.directions() == [Direction.INACTIVE] * 2
    assert both.one.record()["direct_media"] is True
    assert both.far.names() == ["ACK", "ACK"]


def test_it_comes_back_when_the_call_needs_it_and_goes_again() -> None:
    both = Both()
    both.go_direct()
    both.one.join(None, both.far.now)
    assert both.directions() == [Direction.SENDRECV] * 2
    first, second = both.requests()
    assert described(first)[0] == described(second)[0] == GATEWAY
    both.agree(first)
    both.agree(second)
    both.far.take()
    both.one.join(both.other, both.far.now)
    both.go_direct()


def test_a_far_end_that_refuses_sends_both_back() -> None:
    both = Both()
    first, second = both.requests()
    both.agree(first)
    both.far.answer(second, 488, tag=second.to.tag)
    back = both.requests()
    assert [described(request)[0] for request in back] == [GATEWAY]
    both.agree(back[0])
    both.far.take()
    assert both.directions() == [Direction.SENDRECV] * 2
    assert both.notes.released is None and both.other_notes.released is None
    assert both.requests() == []


def test_a_change_by_one_side_takes_the_voice_back_at_once() -> None:
    both = Both()
    both.go_direct()
    request = both.far.request("INVITE", body=sdp("sendonly", 5), to_tag=both.tag)
    answer, other = both.far.take()
    assert isinstance(answer, Response)
    assert described(answer)[0] == GATEWAY
    assert isinstance(other, Request)
    assert described(other)[0] == GATEWAY
    assert both.directions()[1] is Direction.SENDRECV
    both.far.request("ACK", to_tag=both.tag, cseq=request.cseq.number)
    both.agree(other)
    both.far.take()
    # Taken back from hold it goes directly again.
    request = both.far.request("INVITE", body=sdp("sendrecv", 6), to_tag=both.tag)
    both.far.request("ACK", to_tag=both.tag, cseq=request.cseq.number)
    both.go_direct()


def test_a_side_that_moves_has_its_new_address_told_to_the_other() -> None:
    both = Both()
    both.go_direct()
    moved = sdp(version=5).replace(b"m=audio 20000", b"m=audio 22000")
    request = both.far.request("INVITE", body=moved, to_tag=both.tag)
    both.far.request("ACK", to_tag=both.tag, cseq=request.cseq.number)
    first, second = both.requests()
    assert described(second) == ("192.0.2.2", 22000)
    both.agree(first, moved)
    both.agree(second)
    both.far.take()
    assert both.direct


def test_a_refresh_of_either_end_repeats_what_was_agreed() -> None:
    both = Both()
    both.go_direct()
    request = both.far.request("INVITE", body=sdp(version=9), to_tag=both.tag)
    answer = both.far.take_response(200)
    assert described(answer) == OTHER
    both.far.request("ACK", to_tag=both.tag, cseq=request.cseq.number)
    session = both.other.session
    assert session is not None
    session.changes.refresh(both.far.now)
    refresh = both.far.take_request("INVITE")
    assert described(refresh) == ONE
    both.agree(refresh)
    both.far.take()
    assert both.direct


def test_glare_is_tried_again_after_its_time() -> None:
    both = Both()
    first, second = both.requests()
    both.agree(first)
    both.far.answer(second, 491, tag=second.to.tag)
    both.far.take()
    both.far.run(1.9)
    assert both.requests() == []
    both.far.run(2.2)
    # It may have been repeated meanwhile.
    again = both.requests()[0]
    assert described(again) == ONE
    both.agree(again)
    assert both.direct


def test_a_change_of_theirs_that_meets_ours_gets_491_and_ours_goes_on() -> None:
    both = Both()
    first, second = both.requests()
    both.far.request("INVITE", body=sdp("sendrecv", 5), to_tag=both.tag)
    assert both.far.take_response(491)
    both.agree(first)
    both.agree(second)
    assert both.direct


@pytest.mark.parametrize("which", [0, 1])
def test_an_end_in_the_middle_of_it_leaves_nothing(which: int) -> None:
    both = Both()
    first, second = both.requests()
    both.agree((first, second)[which])
    for leg in (both.one, both.other):
        leg.release(Cause.NORMAL_CALL_CLEARING, both.far.now)
    both.agree((second, first)[which])
    for message in both.far.take():
        if isinstance(message, Request) and message.method == "BYE":
            both.far.answer(message, 200)
    both.far.assert_clean()


def test_update_is_used_where_it_is_wanted_and_known() -> None:
    policy = policy_of(frozenset({DirectMedia.UPDATE}))
    both = Both(policy, ALLOW_UPDATE)
    first, second = both.requests()
    assert (first.method, second.method) == ("UPDATE", "UPDATE")
    both.agree(first)
    both.agree(second)
    assert both.direct
    assert [request.method for request in Both(policy).requests()] == ["INVITE", "INVITE"]


def test_with_outgoing_a_call_that_the_peer_began_waits_for_its_own_change() -> None:
    both = Both(policy_of(frozenset({DirectMedia.OUTGOING})))
    assert both.requests() == []
    request = both.far.request("INVITE", body=sdp("sendrecv", 5), to_tag=both.tag)
    both.far.request("ACK", to_tag=both.tag, cseq=request.cseq.number)
    both.go_direct()


@pytest.mark.parametrize(
    ("policy", "nat", "second"),
    [
        (DirectPolicy(), None, None),
        (YES, frozenset({NatMode.COMEDIA}), None),
        (policy_of(frozenset({DirectMedia.YES}), deny=(ip_network("192.0.2.0/24"),)), None, None),
        (policy_of(frozenset({DirectMedia.NONAT})), None, b"10.0.0.9"),
        (YES, None, b"codec"),
        (YES, None, b"event"),
        (YES, None, b"held"),
    ],
)
def test_voice_stays_here_where_it_cannot_go(
    policy: DirectPolicy, nat: frozenset[NatMode] | None, second: bytes | None
) -> None:
    body = Both.sdp()
    match second:
        case b"codec":
            body = body.replace(b"8 101", b"0 101")
        case b"event":
            body = body.replace(b"101", b"96")
        case b"held":
            body = Both.sdp("inactive")
        case bytes():
            body = body.replace(b"c=IN IP4 192.0.2.2", b"c=IN IP4 " + second)
    both = Both(policy, peer=lambda settings: replace(settings, nat=nat or DEFAULT_NAT), second=body)
    assert both.requests() == []


def test_digits_that_are_translated_keep_the_voice_here() -> None:
    both = Both(join=False)
    both.other.peer = replace(both.other.peer, dtmfmode=DtmfMode.INFO)
    both.one.join(both.other, both.far.now)
    assert both.requests() == []


def test_ends_that_change_for_ever_come_to_rest() -> None:
    both = Both()
    for turn in range(40):
        for request in both.requests():
            both.agree(request)
        both.far.take()
        port = 22000 + 2 * turn
        moved = sdp("sendrecv" if turn % 2 else "sendonly", 5 + turn).replace(b"20000", str(port).encode())
        request = both.far.request("INVITE", body=moved, to_tag=both.tag)
        both.far.request("ACK", to_tag=both.tag, cseq=request.cseq.number)
        both.far.run(0.1)
    assert len(both.requests()) <= 2
    assert both.one.path is not None
    assert not both.one.path.direct


def test_a_far_end_that_does_not_take_its_voice_back_is_asked_again() -> None:
    both = Both()
    both.go_direct()
    both.one.join(None, both.far.now)
    first, second = both.requests()
    both.agree(second)
    both.far.answer(first, 500, tag=first.to.tag)
    both.far.take()
    both.far.run(1.2)
    again = both.requests()[0]
    assert described(again)[0] == GATEWAY


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("no", (False, False, False, False)),
        ("yes", (True, True, False, False)),
        ("nonat", (True, False, False, False)),
        ("update", (True, False, True, False)),
        ("outgoing", (True, True, False, True)),
        ("nonat update", (True, False, True, False)),
        ("yes update", (True, True, True, False)),
        ("outgoing nonat", (True, False, False, True)),
    ],
)
def test_the_words_of_directmedia(words: str, expected: tuple[bool, ...]) -> None:
    policy = policy_of(frozenset(map(DirectMedia, words.split())))
    assert (policy.allowed, policy.behind_nat, policy.update, policy.outgoing) == expected


@pytest.mark.parametrize(
    ("permit", "deny", "address", "may"),
    [
        ((), (), "10.0.0.1", True),
        (("10.0.0.0/8",), ("0.0.0.0/0",), "10.0.0.1", True),
        (("10.0.0.0/8",), ("0.0.0.0/0",), "11.0.0.1", False),
        (("10.0.0.0/8",), ("10.1.0.0/16",), "10.1.2.3", False),
        (("10.0.0.0/8",), (), "11.0.0.1", False),
        ((), ("10.0.0.0/8",), "11.0.0.1", True),
        (("10.0.0.0/8",), ("10.0.0.0/8",), "10.0.0.1", True),
        ((), ("::/0",), "2001:db8::1", False),
        ((), ("0.0.0.0/0",), "2001:db8::1", True),
        ((), ("0.0.0.0/0",), "nonsense", False),
    ],
)
def test_the_narrowest_network_decides(permit: tuple[str, ...], deny: tuple[str, ...], address: str, may: bool) -> None:
    policy = policy_of(frozenset({DirectMedia.YES}), tuple(map(ip_network, permit)), tuple(map(ip_network, deny)))
    assert policy.may_reach(address) is may


def test_legs_of_other_peers_are_left_alone() -> None:
    both = Both(join=False)
    stranger = both.other
    assert isinstance(stranger, SipLeg)
    stranger.peer = replace(stranger.peer, direct=DirectPolicy())
    both.one.join(stranger, both.far.now)
    assert both.one.path is None
