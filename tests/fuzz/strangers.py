"""Targets of what strangers and the network itself say: proofs, registrations, transfers, keys of SRTP, the DNS."""

from __future__ import annotations

import contextlib
import json
import random
from dataclasses import replace

from gateway.provision.wan import DefaultRoute, Held, Link, Tables, WanCore
from gateway.voip.sip.addresses import is_public
from gateway.voip.sip.binding_store import StoreBindings
from gateway.voip.sip.digest import Algorithm, Credentials, challenges_of, parse_challenge, parse_credentials
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.flow import UDP, Flow
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.message import Request
from gateway.voip.sip.names import Answer, Naptr, Record, Srv
from gateway.voip.sip.peers import PeerKind, PeerSettings, SipSettings
from gateway.voip.sip.sdes import Crypto, first_usable, parse_crypto
from gateway.voip.sip.targets import Domain, Locator
from tests.fuzz.legs import SETUPS
from tests.fuzz.script import Script
from tests.unit.voip.sip.sip_far_end import FarEnd, sdp
from tests.unit.voip.sip.sip_pair import Notes
from tests.unit.voip.sip.test_sip_random import SECURE_OFFER

SECRET = "apples"  # noqa: S105
DESK = Flow(UDP, "192.168.1.20", 5060)
HELP = "911"
MAX_STEPS = 12


def _phone(name: str) -> PeerSettings:
    return PeerSettings(name, "", kind=PeerKind.PHONE, context="internal", dynamic=True, secret=SECRET)


def _branch() -> FarEnd:
    def settings(plain: SipSettings) -> SipSettings:
        peers = (*plain.peers, _phone("desk"), _phone("lobby"))
        return replace(plain, peers=peers, context=None, emergency=frozenset({HELP}))

    far = FarEnd(settings=settings)
    far.endpoint.unproven.leads_to_help = lambda _context, number: number == HELP
    return far


def _text(octets: bytes) -> str:
    """``octets`` as a value of a header field, which has no line ends."""
    return octets.decode("utf-8", "surrogateescape").translate({10: None, 13: None})


def _give(far: FarEnd, request: Request) -> None:
    # What a header field of ours cannot hold nobody sends.
    with contextlib.suppress(ValueError):
        far.give(request.to_bytes(), DESK)


def _proof(far: FarEnd, request: Request, user: str, nonce: str, count: int) -> str:
    credentials = Credentials(
        user, "branch-gateway", nonce, request.uri_text, "", Algorithm.MD5, qop="auth", cnonce="c", nc=f"{count:08x}"
    )
    return str(credentials.answered(request.method, SECRET))


def _nonce(far: FarEnd) -> str:
    far.request("REGISTER", flow=DESK)
    return challenges_of(far.take_response(401), 401)[0].nonce


# -- digest --

CHALLENGE = (
    b'Digest realm="branch-gateway", nonce="YWJj", opaque="x", algorithm=SHA-512-256-sess, '
    b'qop="auth,auth-int", stale=true'
)
CREDENTIALS = (
    b'Digest username*=UTF-8\'\'desk, realm="branch-gateway", nonce="YWJj", uri="sip:911@a", '
    b'response="00", algorithm=MD5-sess, qop=auth-int, nc=00000001, cnonce="c", opaque="x"'
)


def digest(data: bytes) -> None:
    """A proof that is wrong in some way: nobody is let in by one that is not right, but to help."""
    script = Script(data)
    far = _branch()
    nonce = _nonce(far)
    for step in range(MAX_STEPS):
        if not script.more:
            break
        method = script.choose(("INVITE", "REGISTER", "INVITE", "OPTIONS", "BYE"))
        number = script.choose(("4165551234", HELP, "desk"))
        request = far.request(
            method, call_id=f"d{step}", user=number, send=False, body=sdp() if method == "INVITE" else b""
        )
        user = script.choose(("desk", "lobby", "nobody", "b"))
        right = _proof(far, request, user, nonce, step + 1).encode()
        octets = script.changed(script.choose((right, right, CREDENTIALS, CHALLENGE)))
        for read in (parse_challenge, parse_credentials):
            with contextlib.suppress(SipError):
                repr(read(_text(octets)))
        request.headers.add("Authorization", _text(octets))
        before = len(far.offers)
        _give(far, request)
        for _, offered, _ in far.offers[before:]:
            assert offered.source in ("desk", "lobby")
            given = None if number == HELP else parse_credentials(_text(octets))
            assert number == HELP or (given is not None and given.matches(method, SECRET)), octets
        far.take()


DIGEST_SEEDS = (
    bytes((0, 0, 0, 0, 0)),
    bytes((0, 0, 1, 0, 0, 0, 1, 2, 2, 0)),
    bytes((1, 2, 0, 0, 3, 4, 5, 1, 2, 3, 1, 9, 0, 1, 3, 0, 0)),
    bytes(range(60)),
)

# -- registrar --

_CONTACTS = (
    b"<sip:desk@192.168.1.20:5060>;expires=120;q=0.7",
    b'<sip:desk@10.0.0.9;transport=tcp>;+sip.instance="<urn:uuid:f81d4fae>";reg-id=1',
    b"*",
    b"<sip:a@192.168.1.20>, <sip:b@[2001:db8::1]:5070;ob>;expires=0",
    b"<sips:desk@192.168.1.20;maddr=203.0.113.9?Replaces=x>",
)
_MORE = (
    (b"Path", b"<sip:203.0.113.5;lr;ob>, <sip:p.example;lr>"),
    (b"Expires", b"3600"),
    (b"Supported", b"path, outbound"),
    (b"User-Agent", b"Ph\xc3\xb6ne 1.0"),
    (b"Contact", b"<sip:desk@192.168.1.20:5062>"),
)


def registrar(data: bytes) -> None:
    """Registrations of a phone that means no good; what is kept of them is called, stored and read again."""
    script = Script(data)
    far = _branch()
    nonce = _nonce(far)
    stored: list[bytes] = []
    for step in range(MAX_STEPS):
        if not script.more:
            break
        request = far.request(
            "REGISTER", user=script.choose(("desk", "desk", "lobby")), send=False, call_id=f"r{step % 3}"
        )
        request.headers.add("Contact", _text(script.changed(script.choose(_CONTACTS))))
        for name, value in _MORE:
            if script.flag():
                request.headers.add(name.decode(), _text(script.changed(value)))
        request.headers.add("Authorization", _proof(far, request, "desk", nonce, step + 1))
        _give(far, request)
        leg = far.endpoint.new_leg("desk", far.now)
        if isinstance(leg, SipLeg):
            leg.listener = Notes()
            leg.place(script.choose(SETUPS), far.now)
            _drain(far, stored)
        json.dumps(far.endpoint.phones.status(far.now))
        far.now += script.choose((0, 1_000_000, 70_000_000))
        far.endpoint.handle_timer(far.now)
        _drain(far, stored)
    for octets in stored[-2:]:
        again = _branch()
        again.endpoint.phones.restore(octets, again.now)
        json.dumps(again.endpoint.phones.status(again.now))
        again.drain()


def _drain(far: FarEnd, stored: list[bytes]) -> None:
    while (output := far.endpoint.poll()) is not None:
        if isinstance(output, StoreBindings):
            stored.append(output.data)


REGISTRAR_SEEDS = (
    bytes((0, 0, 0, 0, 0, 0, 0, 0, 0)),
    bytes((0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 1)),
    bytes((0, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0)),
    bytes(range(80)),
)

# -- transfer --

_REFER_TO = (
    b"<sip:2125550000@gw>",
    b"<tel:+12125550000;phone-context=+1>",
    b"<sip:2125550000@gw;method=INVITE?Replaces=call-1%3Bto-tag%3Da%3Bfrom-tag%3Dfartag&Require=replaces>",
    b"<sip:911@gw>",
)
_ABOUT = (
    ("Referred-By", b'"Boss" <sip:boss@example.com>;cid="x@y"'),
    ("Replaces", b"call-1;to-tag=a;from-tag=fartag;early-only"),
    ("Refer-Sub", b"false"),
    ("Require", b"replaces"),
    ("Join", b"call-1;to-tag=a;from-tag=b"),
)


def transfer(data: bytes) -> None:
    """A far end in an answered call that asks for transfers, and others that ask for its place."""
    script = Script(data)
    far = FarEnd()
    _, _, tag = far.answered_in()
    for step in range(MAX_STEPS):
        if not script.more:
            break
        method = script.choose(("REFER", "REFER", "INVITE"))
        inside = method == "REFER" or script.flag()
        request = far.request(
            method,
            call_id="call-1" if inside else f"t{step}",
            to_tag=tag if inside else None,
            body=sdp(version=step + 2) if method == "INVITE" else b"",
            send=False,
        )
        if method == "REFER":
            request.headers.add(
                "Refer-To", _text(script.changed(script.choose(_REFER_TO)).replace(b"=a", b"=" + tag.encode()))
            )
        for name, value in _ABOUT:
            if script.octet() % 3 == 0:
                request.headers.add(name, _text(script.changed(value).replace(b"=a", b"=" + tag.encode())))
        with contextlib.suppress(ValueError):
            far.give(request.to_bytes())
        far.run(script.choose((0.0, 0.6, 5.0)))
        for message in far.take():
            if isinstance(message, Request) and message.method != "ACK":
                far.answer(message, script.choose((200, 481, 500)))


TRANSFER_SEEDS = (bytes((0, 0, 0, 1, 1, 1, 1, 1, 0)), bytes((2, 0, 1, 0, 0, 1, 1, 1)), bytes(range(70)))

# -- keys of SRTP --


def crypto(data: bytes) -> None:
    """Values of a=crypto, one a line: read, and the usable ones written as they are read."""
    values = tuple(data.decode("utf-8", "surrogateescape").split("\n"))
    for value in values:
        with contextlib.suppress(SipError):
            found = parse_crypto(value)
            assert not isinstance(found, Crypto) or "inline" not in repr(found), found
    with contextlib.suppress(SipError):
        chosen, _ = first_usable(values)
        if chosen is not None:
            assert parse_crypto(str(chosen)) == chosen


CRYPTO_SEEDS = tuple(value.encode() for value in SECURE_OFFER.media[0].crypto)

# -- the host's networks and the DNS --

_ADDRESSES = ("192.168.1.1", "203.0.113.9", "fe80::1", "2001:db8::9", "100.64.0.1", "127.0.0.1", "0.0.0.0", "::")
_NAMES = ("eth0", "wan0", "ppp0", "lo")


def networks(data: bytes) -> None:
    """Whatever interfaces, addresses and routes there are: some address is decided for everybody."""
    script = Script(data)
    core = WanCore(script.choose(("auto", "wan0")))
    far = _branch()
    for _ in range(MAX_STEPS):
        if not script.more:
            break
        links = tuple(
            [
                Link(script.octet() % 4, script.choose(_NAMES), script.flag(), script.flag())
                for _ in range(script.octet() % 4)
            ]
        )
        held = []
        for _ in range(script.octet() % 6):
            address = script.choose(_ADDRESSES)
            longest = 129 if ":" in address else 33
            held.append(Held(script.octet() % 4, address, script.octet() % longest, flags=script.octet()))
        routes = tuple(
            [DefaultRoute(script.choose((4, 6)), script.octet() % 4, script.octet()) for _ in range(script.octet() % 3)]
        )
        core.event(far.now)
        facts = core.read(Tables(links, tuple(held), routes))
        if facts is None:
            continue
        far.endpoint.relocation.network(facts, far.now)
        far.run(1.0)
        advertised = far.endpoint.outbound.advertised
        for remote in (*_ADDRESSES, "198.51.100.7"):
            assert advertised.of(remote)
            assert not (advertised.is_inside(remote) and is_public(remote)) or facts.connected


NETWORKS_SEEDS = (bytes((0, 2, 1, 1, 1, 0, 2, 0, 1, 0, 2, 1, 0, 24, 0, 2, 1, 24, 0, 1, 0, 2, 5)), bytes(range(90)))

_TEXTS = (
    "sip.example",
    "_sip._udp.sip.example",
    "",
    ".",
    "192.0.2.1",
    "2001:db8::1",
    "\udc80",
    "a" * 300,
    "not an address",
)
_SERVICES = ("SIP+D2U", "SIP+D2T", "SIPS+D2T", "SIP+D2S", "", "E2U+SIP")


def _record(script: Script) -> Record:
    match script.octet() % 4:
        case 0:
            return Srv(script.below(65536), script.below(65536), script.below(65536), script.choose(_TEXTS))
        case 1:
            return Naptr(
                script.octet(), script.octet(), script.choose("SUA"), script.choose(_SERVICES), script.choose(_TEXTS)
            )
        case _:
            return script.choose(_TEXTS)


def servers(data: bytes) -> None:
    """Answers of a DNS that is wrong, late, or somebody else's: never more servers, or questions, than there may be."""
    script = Script(data)
    locator = Locator(random.Random(1))
    domain = Domain("sip.example", 0, script.choose(("", "UDP", "TLS")))
    locator.watch(domain, 0)
    now = 0
    for _ in range(MAX_STEPS):
        questions = 0
        while (question := locator.poll()) is not None:
            questions += 1
            assert questions < 500
            records = tuple([_record(script) for _ in range(script.octet() % 8)])
            ttl = script.choose((0, 1, 60_000_000, 2**31 * 1_000_000))
            locator.answered(question, Answer(records, ttl, failed=script.octet() % 8 == 7), now)
        assert len(locator.targets(domain, now)) < 500
        now += script.choose((1, 1_000_000, 600_000_000))
        locator.handle_timer(now)


SERVERS_SEEDS = (bytes(20), bytes((1, 2, 0, 0, 1, 0, 9, 19, 196, 0, 2, 1, 4, 2)), bytes(range(120)))
