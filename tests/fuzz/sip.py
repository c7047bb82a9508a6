"""Targets of the SIP side: the codecs, messages in a stream, and a whole endpoint in the middle of calls."""

from __future__ import annotations

import contextlib

from gateway.cause import Cause
from gateway.leg import Leg
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.flow import TCP, UDP
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.message import Request
from gateway.voip.sip.stun import StunError, parse_response
from tests.fuzz.legs import SETUPS, command
from tests.fuzz.script import Script
from tests.unit.voip.sip.sip_far_end import FarEnd, sdp
from tests.unit.voip.sip.sip_pair import B_ADDRESS, Notes
from tests.unit.voip.sip.test_sip_random import OFFER, SECURE_OFFER, VALID, attempt, messages_in, use, use_sdp
from tests.unit.voip.sip.test_sip_stun import MAPPED_V4, MAPPED_V6, SOFTWARE, fingerprinted
from tests.unit.voip.sip.test_sip_stun import message as stun_message

MAX_STEPS = 40
LONGEST_TIMER = 400.0

SIP_SEEDS = tuple(VALID)
SECURE_SDP = sdp().replace(b"/AVP", b"/SAVP") + f"a=crypto:{SECURE_OFFER.media[0].crypto[-1]}\r\n".encode()
SDP_SEEDS = (
    OFFER.to_bytes(),
    SECURE_OFFER.to_bytes(),
    SECURE_SDP,
    VALID[-1].partition(b"\r\n\r\n")[2],
    sdp("inactive", 3, "0 8 101"),
)


def sip(data: bytes) -> None:
    """One message and everything the gateway may do with it."""
    use(data)


def session(data: bytes) -> None:
    """One session description: read, written, answered, taken as an answer."""
    attempt(lambda: use_sdp(data))


def stun(data: bytes) -> None:
    """A STUN response, or what pretends to be one."""
    with contextlib.suppress(StunError):
        found = parse_response(data)
        assert found.code or (found.port and found.address)


STUN_SEEDS = (
    stun_message(MAPPED_V4),
    stun_message(SOFTWARE, MAPPED_V6),
    fingerprinted(stun_message(MAPPED_V4)),
)


# -- TCP --


def stream(data: bytes) -> None:
    """However a stream is cut, the same messages are found in it."""
    script = Script(data)
    sizes = [1 + script.octet() for _ in range(script.octet() % 16)]
    whole = script.rest() + VALID[0]
    chunks = []
    for size in sizes:
        chunks.append(whole[:size])
        whole = whole[size:]
    assert messages_in([*chunks, whole]) == messages_in([b"".join(chunks) + whole])


STREAM_SEEDS = tuple(bytes((3, 10, 50, 90)) + message for message in VALID)


# -- a whole endpoint --

_METHODS = ("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "PRACK", "UPDATE", "INFO", "NOTIFY", "REFER", "MESSAGE", "X")
_STATUSES = (
    100,
    180,
    183,
    200,
    202,
    299,
    300,
    302,
    401,
    404,
    408,
    422,
    481,
    484,
    486,
    487,
    488,
    491,
    500,
    503,
    603,
    699,
)
_FIELDS = (
    ("Supported", "100rel, timer, replaces"),
    ("Require", "100rel"),
    ("RSeq", "1"),
    ("RAck", "1 1 INVITE"),
    ("Session-Expires", "90;refresher=uac"),
    ("Min-SE", "7200"),
    ("Contact", f"<sip:far@{B_ADDRESS}>"),
    ("Record-Route", f"<sip:{B_ADDRESS};lr>"),
    ("Reason", "Q.850;cause=17"),
    ("Diversion", "<sip:3@h>;reason=user-busy"),
    ("P-Asserted-Identity", '"Ann" <sip:1@h>'),
    ("Retry-After", "5"),
    ("Allow", "INVITE, ACK, BYE, UPDATE, PRACK"),
)
_BODIES = (
    b"",
    sdp(),
    sdp("sendonly", 2),
    sdp("inactive", 3, "0"),
    sdp("sendrecv", 4, "9"),
    SECURE_SDP,
    b"Signal=5\r\nDuration=160\r\n",
)


class _Fire:
    """An endpoint and what it has said so far, so that what comes next can belong to it."""

    def __init__(self, transport: str, delayed: bool) -> None:
        self.far = FarEnd(transport=transport, delayed_media=delayed)
        self.requests: list[Request] = []
        self.tags: list[str] = []
        self.legs: list[SipLeg] = []
        self.notes: list[Notes] = []

    def look(self) -> None:
        """Remember what was said and who came in."""
        for message in self.far.take():
            if isinstance(message, Request):
                self.requests.append(message)
                continue
            # A refusal of what had no To has none either.
            with contextlib.suppress(SipError):
                if message.to.tag and message.to.tag not in self.tags:
                    self.tags.append(message.to.tag)
        for leg, offered, notes in self.far.offers[len(self.legs) - self.placed :]:
            repr(offered)
            self.legs.append(leg)
            self.notes.append(notes)

    placed = 0

    def place(self, leg: Leg | Cause, script: Script) -> None:
        if isinstance(leg, SipLeg):
            leg.listener = notes = Notes()
            self.legs.append(leg)
            self.notes.append(notes)
            self.placed += 1
            leg.place(script.choose(SETUPS), self.far.now)


def endpoint(data: bytes) -> None:
    """A whole endpoint: calls are made, answered, changed and ended while the far end sends messages that are wrong."""
    script = Script(data)
    fire = _Fire(script.choose((UDP, UDP, UDP, TCP)), script.octet() & 7 == 7)
    for _ in range(MAX_STEPS):
        if not script.more:
            break
        _endpoint_step(fire, script)
        fire.look()
    far = fire.far
    far.media.delayed = False
    far.media.flush()
    far.drain()
    fire.look()
    for leg in fire.legs:
        leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.drain()
    far.assert_clean(LONGEST_TIMER)
    for notes in fire.notes:
        assert notes.released is not None


def _endpoint_step(fire: _Fire, script: Script) -> None:
    far = fire.far
    match script.octet() % 12:
        case 0:
            far.give(script.piece())
        case 1 | 2 | 3:
            far.give(script.changed(_request(fire, script)))
        case 4 | 5 | 6:
            if fire.requests:
                far.give(script.changed(_response(fire, script)))
        case 7:
            fire.place(far.endpoint.new_leg("b", far.now), script)
        case 8 | 9:
            if fire.legs:
                command(script.choose(fire.legs), script, far.now)
        case 10:
            far.run(script.choose((0.1, 0.5, 2, 10, 33, 100)))
        case _:
            far.media.flush()
    far.drain()


def _fields(script: Script) -> list[tuple[str, str]]:
    return [script.choose(_FIELDS) for _ in range(script.octet() % 4)]


def _request(fire: _Fire, script: Script) -> bytes:
    method = script.choose(_METHODS)
    tag = script.choose((None, *fire.tags[-8:]))
    number = script.choose((None, None, 1, 2, 0))
    fields, body, call = (
        _fields(script),
        script.choose(_BODIES),
        script.choose(("call-1", "call-1", "call-2", "call-3")),
    )
    if fire.requests and script.octet() & 3 == 3:
        # In a dialog that the endpoint began: the same Call-ID, tags the other way round.
        ours = script.choose(fire.requests[-8:])
        request = fire.far.request(
            method,
            *fields,
            body=body,
            to_tag=ours.from_.tag,
            call_id=ours.call_id,
            from_tag="far",
            cseq=number,
            send=False,
        )
    else:
        request = fire.far.request(method, *fields, body=body, to_tag=tag, call_id=call, cseq=number, send=False)
    if not body:
        request.headers.set("Content-Length", "0")
    return request.to_bytes()


def _response(fire: _Fire, script: Script) -> bytes:
    request = script.choose(fire.requests[-8:])
    response = request.response(script.choose(_STATUSES), None, script.choose(("far", "far", "fork", None)))
    response.headers.add("Contact", f"<sip:far@{B_ADDRESS}:5060>")
    for name, value in _fields(script):
        response.headers.add(name, value)
    body = script.choose(_BODIES)
    if body:
        response.headers.add("Content-Type", "application/sdp")
        response.body = body
    return response.to_bytes()


def _request_step(method: str, tag: int, number: int, body: int) -> bytes:
    return bytes((1, _METHODS.index(method), tag, number, 0, body, 0, 0))


ENDPOINT_SEEDS = (
    # A call in: INVITE, alert, answer, ACK, re-INVITE, BYE.
    bytes(2)
    + _request_step("INVITE", 0, 0, 1)
    + bytes((8, 0, 2, 0, 0, 8, 0, 3, 0, 0))
    + _request_step("ACK", 1, 2, 0)
    + _request_step("INVITE", 1, 0, 2)
    + _request_step("BYE", 1, 0, 0),
    # A call out: 183 with 100rel, 200 to the PRACK, 200, our BYE.
    bytes((0, 0, 7, 0, 4, 0, 2, 0, 2, 1, 2, 1, 0, 4, 1, 3, 0, 0, 0, 0, 4, 0, 3, 0, 0, 1, 0, 8, 0, 10, 16)),
    # Over TCP, with media that answers late.
    bytes((3, 7, 7, 2, 11, 4, 0, 1, 0, 0, 0, 0, 10, 2, 4, 0, 3, 0, 0, 1, 0, 11, 10, 4)),
    bytes((0, 0, 0, 200)) + VALID[0],
)
