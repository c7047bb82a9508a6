"""Targets of IAX2: the codec and all that reads elements, and a whole endpoint in the middle of calls."""

from __future__ import annotations

import contextlib
import random

from gateway.cause import Cause
from gateway.core import SECOND
from gateway.leg import Leg, Listener, NotOffered, Offered
from gateway.media.api import Codec, IaxFrame, IaxVoiceDue
from gateway.voip.iax import auth, causes, formats
from gateway.voip.iax.crypt import AES_128, Cipher, key_of
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.endpoint import IaxEndpoint
from gateway.voip.iax.errors import IaxError
from gateway.voip.iax.frame import (
    Command,
    Control,
    FrameType,
    FullFrame,
    MiniFrame,
    TrunkEntry,
    TrunkFrame,
    parse,
    parse_full,
)
from gateway.voip.iax.leg import IaxLeg
from gateway.voip.iax.peers import (
    DEFAULT_PORT,
    AuthMethod,
    Encryption,
    IaxListener,
    IaxSettings,
    PeerSettings,
)
from gateway.voip.iax.session import Session
from tests.fuzz.legs import SETUPS, command
from tests.fuzz.script import Script
from tests.unit.voip.iax.iax_scene import ADDRESSES, SECRET, IaxMedia, Notes, Place

MAX_STEPS = 40
LONGEST_TIMER = 400
HERE = (ADDRESSES["a"], DEFAULT_PORT)
THERE = (ADDRESSES["b"], DEFAULT_PORT)
ELSEWHERE = ((ADDRESSES["b"], 4570), (ADDRESSES["c"], DEFAULT_PORT), ("2001:db8::1", DEFAULT_PORT))
HELP = "911"


# -- frames and elements --


def _described(key: str) -> PeerSettings:
    methods = AuthMethod.PLAINTEXT | AuthMethod.MD5 | AuthMethod.RSA
    pem = key.encode()
    return PeerSettings(
        name="b", secret=SECRET, methods=methods, outkey=pem, inkeys=(pem,), encryption=Encryption.OPTIONAL
    )


_SETTINGS = _described("no key at all")


def frames(data: bytes) -> None:
    """One datagram, encrypted or not, and everything that reads its elements."""
    cipher = Cipher(key_of(b"1", SECRET), random.Random(1))
    with contextlib.suppress(IaxError):
        parse(cipher.decrypt(data))
    try:
        frame = parse(data)
    except IaxError:
        return
    assert parse(bytes(frame)) == frame
    assert str(frame)
    if not isinstance(frame, FullFrame):
        return
    if data[0] & 0x80:
        assert parse(cipher.decrypt(cipher.encrypt(data))) == frame
    try:
        elements = frame.elements
    except IaxError:
        return
    assert bytes(elements) == frame.data
    assert repr(elements)
    elements.apparent_address()
    causes.reason_of(elements, Cause.CALL_REJECTED)
    for number, _ in elements:
        elements.text(number)
        with contextlib.suppress(IaxError):
            elements.number(number)
    with contextlib.suppress(IaxError):
        capability = elements.formats(Ie.CAPABILITY, Ie.CAPABILITY2)
        wanted = elements.formats(Ie.FORMAT, Ie.FORMAT2)
        chosen = formats.choose(tuple(Codec), capability, elements.raw(Ie.CODEC_PREFS), wanted)
        assert chosen is None or formats.BITS[chosen] & ((capability or 0) | (wanted or 0))
    with contextlib.suppress(IaxError):
        auth.answer(_SETTINGS, elements)
    # Whatever it is, nobody gets in without the secret.
    assert auth.verify(_SETTINGS, b"1", elements) is None or SECRET.encode() in data or _digest(data)


def _digest(data: bytes) -> bool:
    return auth.md5_result(b"1", SECRET) in data.lower()


def _new(name: str = "b", *, token: bytes | None = b"", encryption: int = 0, called: str = "4165551234") -> bytes:
    elements = Elements().add_number(Ie.VERSION, 2, 2).add_text(Ie.CALLED_NUMBER, called)
    elements.add(Ie.CODEC_PREFS, formats.preferences((Codec.ULAW, Codec.ALAW))).add_text(Ie.CALLING_NUMBER, "100")
    elements.add_number(Ie.CALLINGPRES, 1, 1).add_number(Ie.CALLINGTON, 0, 1).add_text(Ie.CALLING_NAME, "Ann")
    elements.add_text(Ie.USERNAME, name).add_formats(Ie.FORMAT, Ie.FORMAT2, 4)
    elements.add_formats(Ie.CAPABILITY, Ie.CAPABILITY2, 12)
    if encryption:
        elements.add_number(Ie.ENCRYPTION, encryption, 2)
    if token is not None:
        elements.add(Ie.CALLTOKEN, token)
    return bytes(elements)


_ACCEPT = bytes(Elements().add_formats(Ie.FORMAT, Ie.FORMAT2, 4))
_CHALLENGE = bytes(Elements().add_number(Ie.AUTHMETHODS, 3, 2).add_text(Ie.CHALLENGE, "1").add_text(Ie.USERNAME, "a"))
_SECURE_CHALLENGE = _CHALLENGE + bytes(Elements().add_number(Ie.ENCRYPTION, 0x8001, 2))
_RTKEY = bytes(Elements().add(Ie.CHALLENGE, bytes(range(16))))
_REPLY = bytes(Elements().add(Ie.MD5_RESULT, auth.md5_result(b"1", SECRET)))
_CAUSE = bytes(causes.add_cause(Elements(), Cause.USER_BUSY))
_REPORT = bytes(Elements([(Ie.RR_JITTER + each, bytes(2 if each == 3 else 4)) for each in range(6)]))
_TXREQ = bytes(
    Elements().add_address(ELSEWHERE[1][0], DEFAULT_PORT).add_number(Ie.CALLNO, 77, 2).add_number(Ie.TRANSFERID, 5, 4)
)
_REGISTER = bytes(Elements().add_text(Ie.USERNAME, "desk").add_number(Ie.REFRESH, 60, 2).add(Ie.CALLTOKEN))

FRAMES_SEEDS = (
    bytes(FullFrame(5, 0, 1, 0, 0, FrameType.IAX, Command.NEW, _new(encryption=AES_128))),
    bytes(FullFrame(5, 7, 20, 1, 1, FrameType.IAX, Command.AUTHREQ, _CHALLENGE)),
    bytes(FullFrame(5, 7, 20, 1, 1, FrameType.IAX, Command.AUTHREP, _REPLY)),
    bytes(FullFrame(5, 7, 20, 1, 1, FrameType.IAX, Command.HANGUP, _CAUSE)),
    bytes(FullFrame(5, 7, 20, 1, 1, FrameType.IAX, Command.PONG, _REPORT)),
    bytes(FullFrame(5, 7, 20, 1, 1, FrameType.IAX, Command.TXREQ, _TXREQ)),
    bytes(FullFrame(5, 7, 20, 1, 1, FrameType.VOICE, 1 << 34, b"voice")),
    bytes(MiniFrame(5, 20, b"voice")),
    bytes(TrunkFrame(20, (TrunkEntry(5, b"voice", 1), TrunkEntry(6, b"", 2)), True)),
    bytes(TrunkFrame(20, (TrunkEntry(5, b"voice"), TrunkEntry(6, b"")))),
)


# -- a whole endpoint --

_COMMANDS = tuple(Command)
_BODIES = (
    *(b"", _ACCEPT, _CHALLENGE, _SECURE_CHALLENGE, _REPLY, _CAUSE, _REPORT, _TXREQ, _REGISTER, _RTKEY),
    *(_new(), b"hello"),
)
_OTHERS: tuple[tuple[int, int], ...] = (
    *((FrameType.CONTROL, each) for each in Control),
    *((FrameType.DTMF, ord(each)) for each in "15#*A~"),
    (FrameType.DTMF_BEGIN, ord("5")),
    (FrameType.VOICE, 4),
    (FrameType.VOICE, 1 << 34),
    (FrameType.TEXT, 0),
    (FrameType.COMFORT_NOISE, 60),
    (FrameType.VIDEO, 1),
    (0x77, 3),
)


def _settings() -> IaxSettings:
    def peer(name: str, **more: object) -> PeerSettings:
        settings: dict[str, object] = {"host": THERE[0], "user": "a", "secret": SECRET, "context": "from-b", **more}
        return PeerSettings(name=name, **settings)  # type: ignore[arg-type]

    return IaxSettings(
        listeners=(IaxListener(HERE[0]),),
        peers=(
            peer("b", transfer=True, qualify=SECOND),
            peer("safe", encryption=Encryption.REQUIRED),
            peer("may", encryption=Encryption.OPTIONAL, methods=AuthMethod.PLAINTEXT | AuthMethod.MD5),
            peer("desk", host="", dynamic=True),
            peer("open", insecure_invite=True, secret="", transfer=True),
            peer("up", register=True),
        ),
        context="guests",
        emergency=frozenset({HELP}),
    )


class _Fire:
    """An endpoint, and what a far end needs to know of it to say things that fit."""

    def __init__(self) -> None:
        self.now = SECOND
        self.media = IaxMedia(self._carry)
        self.said: list[tuple[Place, bytes]] = []
        self.legs: list[IaxLeg] = []
        self.notes: list[Notes] = []
        self.token = b""
        self.endpoint = IaxEndpoint(
            _settings(), self.media, random.Random(1), self._on_offer, on_not_offered=self._on_not_offered
        )
        self.endpoint.open(self.now)
        self.drain()
        self.socket = next(iter(self.media.sockets))

    def _carry(self, source: Place, target: Place, data: bytes) -> None:
        assert len(data) < 1400
        self.said.append((target, data))
        if data[0] & 0x80:
            with contextlib.suppress(IaxError):
                frame = parse(data)
                if isinstance(frame, FullFrame) and frame.subclass == Command.CALLTOKEN:
                    self.token = frame.elements.raw(Ie.CALLTOKEN) or self.token

    def _on_offer(self, leg: Leg, offered: Offered, now: int) -> Listener | None:
        repr(offered)
        assert isinstance(leg, IaxLeg)
        notes = Notes()
        self.legs.append(leg)
        self.notes.append(notes)
        return notes

    def _on_not_offered(self, refused: NotOffered, now: int) -> None:
        repr(refused)

    def place(self, leg: Leg | Cause, script: Script) -> None:
        if isinstance(leg, IaxLeg):
            leg.listener = notes = Notes()
            self.legs.append(leg)
            self.notes.append(notes)
            leg.place(script.choose(SETUPS), self.now)

    def give(self, data: bytes, place: Place = THERE) -> None:
        """A datagram of ours arrives; the engine takes what is no full frame for itself."""
        if len(data) > 1 and data[0] & 0x80:
            self.endpoint.media_event(IaxFrame(self.socket, *place, data), self.now)

    def run(self, seconds: float) -> None:
        end = self.now + int(seconds * SECOND)
        self.drain()
        while (at := self.endpoint.next_timer()) is not None and at <= end:
            self.now = max(self.now, at)
            self.endpoint.handle_timer(self.now)
            self.drain()
        self.now = end

    def drain(self) -> None:
        while True:
            if self.endpoint.poll() is not None:
                continue
            if not self.media.events:
                return
            self.endpoint.media_event(self.media.events.pop(0), self.now)

    def sessions(self) -> list[Session]:
        return list(self.endpoint.reception.sessions.values())


def endpoint(data: bytes) -> None:
    """A whole endpoint: calls are made, answered, changed and ended while the far end says things that are wrong."""
    script = Script(data)
    fire = _Fire()
    for _ in range(MAX_STEPS):
        if not script.more:
            break
        _step(fire, script)
        fire.drain()
    for leg in fire.legs:
        leg.release(Cause.NORMAL_CALL_CLEARING, fire.now)
    fire.endpoint.leave(fire.now)
    fire.run(LONGEST_TIMER)
    assert not fire.endpoint.legs
    assert not fire.media.voices
    assert fire.endpoint.idle, fire.endpoint.as_json(fire.now)
    for notes in fire.notes:
        assert notes.released is not None
    repr(fire.endpoint.as_json(fire.now))


def _step(fire: _Fire, script: Script) -> None:
    match script.octet() % 14:
        case 0:
            fire.give(b"\x80" + script.piece())
        case 1 | 2 | 3 | 4:
            fire.give(*_in_session(fire, script))
        case 5 | 6:
            fire.give(script.changed(_out_of_the_blue(fire, script)), script.choose((THERE, THERE, *ELSEWHERE)))
        case 7:
            fire.place(fire.endpoint.new_leg(script.choose(tuple(fire.endpoint.peers)), fire.now), script)
        case 8 | 9:
            if fire.legs:
                command(script.choose(fire.legs), script, fire.now)
        case 10:
            fire.run(script.choose((0.02, 0.1, 0.5, 2, 10, 33, 100)))
        case 11:
            _engine(fire, script)
        case 12:
            if len(fire.legs) > 1:
                one, other = script.choose(fire.legs), script.choose(fire.legs)
                one.join(script.choose((None, other if other is not one else None)), fire.now)
        case _:
            _answer(fire, script)


def _engine(fire: _Fire, script: Script) -> None:
    """Voice that must go as a full frame; or the engine was started again."""
    if script.octet() % 8 == 7:
        fire.endpoint.engine_ready(script.flag(), fire.now)
        fire.drain()
        fire.socket = max(fire.media.sockets)
    elif fire.media.voices:
        stream = script.choose(tuple(fire.media.voices))
        fire.endpoint.media_event(IaxVoiceDue(stream, script.below(65536), Codec.ULAW, script.piece()), fire.now)
        fire.media.speak(stream, b"voice", fire.now)


def _in_session(fire: _Fire, script: Script) -> tuple[bytes, Place]:
    """A frame for a session that there is, in its turn or nearly so; encrypted if that is."""
    sessions = fire.sessions()
    place = script.choose((THERE,) * 13 + ELSEWHERE)
    if not sessions:
        return _out_of_the_blue(fire, script), place
    session = script.choose(sessions)
    if script.octet() % 3:
        kind, subclass = int(FrameType.IAX), int(script.choose(_COMMANDS))
    else:
        kind, subclass = script.choose(_OTHERS)
    turn = script.choose((0, 0, 0, 0, 0, 1, 2, 255, 200))
    acknowledges = script.choose((0, 0, 0, 0, 0, 255, 1, 128))
    stamp = script.choose((0, 1, 3, 20, 65_535, 70_000, 0xFFFF_FFFF))
    stamp = (fire.now - session.epoch) // 1000 + stamp & 0xFFFF_FFFF
    frame = FullFrame(
        session.destination or 77,
        session.source if script.octet() % 16 else 0,
        script.choose((stamp, _last_stamp(fire, session))),
        (session._iseqno + turn) & 0xFF,
        (session._oseqno + acknowledges) & 0xFF,
        kind,
        subclass,
        script.choose(_BODIES),
        script.flag(),
    )
    data = script.changed(bytes(frame))
    if script.octet() % 8 and session.receive_key:
        data = Cipher(session.receive_key, random.Random(1)).encrypt(data) if len(data) > 12 else data
    return data, place


def _last_stamp(fire: _Fire, session: Session) -> int:
    """The stamp of what the session said last: what PONG and LAGRP answer."""
    for _, data in reversed(fire.said):
        if data[0] & 0x80 and (data[0] << 8 | data[1]) & 0x7FFF == session.source:
            return int.from_bytes(data[4:8], "big")
    return 0


def _out_of_the_blue(fire: _Fire, script: Script) -> bytes:
    token = script.choose((fire.token, fire.token, fire.token, b"", b"x", None))
    source = 1 + script.octet()
    kind = script.choose((Command.NEW, Command.NEW, Command.NEW, Command.REGREQ, Command.REGREL, Command.POKE))
    name = script.choose(("b", "safe", "may", "desk", "open", "nobody", ""))
    if kind == Command.NEW:
        body = _new(
            name, token=token, encryption=script.choose((0, AES_128, 0x8001)), called=script.choose(("41", HELP))
        )
    else:
        elements = Elements().add_text(Ie.USERNAME, name).add_number(Ie.REFRESH, script.below(65536), 2)
        body = bytes(elements if token is None else elements.add(Ie.CALLTOKEN, token))
    return bytes(FullFrame(source, 0, 1, 0, 0, FrameType.IAX, kind, body))


def _answer(fire: _Fire, script: Script) -> None:
    """Say what an honest far end says to the last challenge, so that calls and registrations come about."""
    for place, data in reversed(fire.said):
        if not data[0] & 0x80 or data[10] != FrameType.IAX or data[11] not in (Command.AUTHREQ, Command.REGAUTH):
            continue
        # What is encrypted may look like it.
        with contextlib.suppress(IaxError):
            frame = parse_full(data)
            challenge = frame.elements.raw(Ie.CHALLENGE) or b""
            body = bytes(Elements().add(Ie.MD5_RESULT, auth.md5_result(challenge, SECRET)))
            says = Command.AUTHREP if frame.subclass == Command.AUTHREQ else Command.REGREQ
            answer = bytes(FullFrame(frame.destination, frame.source, 20, 1, 1, FrameType.IAX, says, body))
            if frame.elements.raw(Ie.ENCRYPTION) is not None:
                answer = Cipher(key_of(challenge, SECRET), random.Random(1)).encrypt(answer)
            fire.give(script.changed(answer), place)
            return


def _call_in(name: int, encryption: int) -> bytes:
    """Steps: NEW without a token, NEW with it, the answer to the challenge."""
    return bytes((5, 3, 9, 0, name, encryption, 0, 0, 0, 5, 0, 9, 0, name, encryption, 0, 0, 0, 13, 0))


def _said(what: Command | Control | FrameType, body: bytes = b"") -> bytes:
    """A step: the far end of the second session, which is a call, says something in its turn."""
    if isinstance(what, Command):
        said = bytes((1, _COMMANDS.index(what)))
    elif isinstance(what, Control):
        said = bytes((0, _OTHERS.index((FrameType.CONTROL, what))))
    else:
        said = bytes((0, [kind for kind, _ in _OTHERS].index(what)))
    return bytes((1, 0, 1)) + said + bytes((0, 0, 0, 1, 0, _BODIES.index(body), 0, 0, 1))


_ENGINE_SPEAKS = bytes((11, 0, 0, 0, 20, 3, 1, 2, 3))
_WAIT = bytes((10, 1))

ENDPOINT_SEEDS = (
    # In: rings, answered, voice both ways, hung up.
    _call_in(0, 0) + bytes((8, 0, 2, 0, 0, 8, 0, 3, 0, 0)) + _ENGINE_SPEAKS + _said(FrameType.VOICE) + _WAIT,
    # The same encrypted, with another key and a digit.
    _call_in(1, 2)
    + bytes((8, 0, 2, 0, 0, 8, 0, 3, 0, 0))
    + _ENGINE_SPEAKS
    + _said(Command.RTKEY, _RTKEY)
    + _said(FrameType.DTMF)
    + _WAIT,
    # Out: accepted, rings, answered, held, hung up; with a time of silence.
    bytes((7, 0, 0))
    + _WAIT
    + b"".join([_said(Command.ACCEPT, _ACCEPT), _said(Control.RINGING), _said(Control.ANSWER), _said(Control.HOLD)])
    + _ENGINE_SPEAKS
    + bytes((10, 4))
    + _said(Command.HANGUP, _CAUSE),
    # Out to one that wants a proof, and to one that encrypts.
    bytes((7, 0, 0)) + _said(Command.AUTHREQ, _CHALLENGE) + _said(Command.ACCEPT, _ACCEPT) + _said(Control.BUSY),
    bytes((7, 1, 0))
    + _said(Command.AUTHREQ, _SECURE_CHALLENGE)
    + _said(Command.ACCEPT, _ACCEPT)
    + _said(Control.ANSWER)
    + _said(Command.RTKEY, _RTKEY)
    + bytes((10, 6)),
    # Asked to go elsewhere.
    bytes((7, 0, 0))
    + _said(Command.ACCEPT, _ACCEPT)
    + _said(Control.ANSWER)
    + _said(Command.TXREQ, _TXREQ)
    + bytes((10, 3))
    + _said(Command.TXREL, _TXREQ),
    # A registration.
    bytes((5, 3, 9, 3, 3, 0, 60, 0, 0, 5, 0, 9, 3, 3, 0, 60, 0, 0, 13, 0, 10, 5)),
    # Two calls that are joined.
    _call_in(0, 0) + _call_in(4, 0) + bytes((8, 0, 3, 0, 0, 8, 1, 3, 0, 0, 12, 0, 1, 1, 10, 3)),
)
