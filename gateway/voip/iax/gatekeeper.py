"""Requests out of the blue (NEW, REGREQ, REGREL): from a datagram to a call or registration of who proved to be one.

What is not proven takes next to nothing: first a call token (no memory), then a challenge (a bounded number at a time,
the oldest go for new ones), then the proof. Unknown users and wrong passwords get the same frames.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.cause import Cause
from gateway.core import MILLISECOND, SECOND
from gateway.identity import MAX_DIGITS, Number
from gateway.leg import NotOffered, Setup
from gateway.voip.iax.auth import Proof, methods_of, new_challenge, verify
from gateway.voip.iax.calltokens import TokenMint, reply
from gateway.voip.iax.candidates import Candidate, Candidates
from gateway.voip.iax.crypt import AES_128, KEY_ROTATION, key_of
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.errors import IaxError
from gateway.voip.iax.frame import FULL_HEADER, Command, FrameType, FullFrame
from gateway.voip.iax.host import Ended, Path
from gateway.voip.iax.identities import MAX_NAME, Claim
from gateway.voip.iax.new_contents import number_of
from gateway.voip.iax.peer import Peer
from gateway.voip.iax.peers import Encryption
from gateway.voip.iax.session import Session
from gateway.voip.iax.shares import MOST_GUESTS
from gateway.voip.iax.timers import IaxTimer
from gateway.voip.sip.defence import Offence, source_of
from gateway.voip.sip.guesses import Guesses

if TYPE_CHECKING:
    from gateway.voip.iax.endpoint import IaxEndpoint

log = logging.getLogger(__name__)

OPENERS = frozenset({Command.NEW, Command.REGREQ, Command.REGREL})
"""What a far end may begin a session with; POKE needs none."""
UNREADABLE = 3
"""Frames that the key of the password makes no sense of until it is the wrong one: others may come in clear before."""
GUEST_SHARE = 8
"""One in so many of the calls that guests may have may be of one source."""
RESCUE_EACH = 100 * MILLISECOND
RESCUE_BURST = SECOND
"""Calls for help that may try where passwords were guessed: 10 a second, 10 at once."""
_GUESTS = frozenset({"", "guest"})
"""What those call themselves who are nobody in particular; the second one is a habit of Asterisk's."""
_AUTH_FAILED = "authentication failed"
_NO_TOKEN = "call token required"  # noqa: S105 - a text


class _Admitted:
    """Somebody who needs no proof, for the moment in which the call becomes a leg."""

    __slots__ = ("_elements", "_gatekeeper", "_peer")

    def __init__(self, gatekeeper: Gatekeeper, peer: Peer, elements: Elements) -> None:
        self._gatekeeper = gatekeeper
        self._peer = peer
        self._elements = elements

    def on_frame(self, session: Session, frame: FullFrame, now: int) -> None:
        """The NEW."""
        if frame.type == FrameType.IAX and frame.subclass == Command.NEW:
            self._gatekeeper.enter(self._peer, None, session, frame, self._elements, now)

    def on_session_end(self, _session: Session, _ended: Ended, _now: int) -> None:
        """It is gone."""


class Gatekeeper:
    """Of one endpoint."""

    def __init__(self, endpoint: IaxEndpoint) -> None:
        self._endpoint = endpoint
        self._mint = TokenMint(endpoint.rng.randbytes(32), endpoint.durations[IaxTimer.TOKEN])
        self._guesses = Guesses()
        self._candidates = Candidates(endpoint, endpoint.settings.max_unproven, self.gone)
        # When all calls for help so far that were let try will have been paid for.
        self._rescue_free_at = 0

    def __len__(self) -> int:
        """How many have been challenged and not answered yet."""
        return len(self._candidates)

    def has_asked(self, challenge: bytes) -> bool:
        """Whether ``challenge`` is one of ours that waits for its answer."""
        return bool(challenge) and self._candidates.were_asked(challenge)

    def has_token(self, data: bytes, path: Path, now: int) -> bool:
        """Whether the full frame ``data`` bears a token that was made for who sends it."""
        try:
            token = Elements.parse(data[FULL_HEADER:]).raw(Ie.CALLTOKEN)
        except IaxError:
            return False
        return bool(token) and token is not None and self._mint.holds(token, path, now)

    # -- what comes --

    def receive(self, frame: FullFrame, octets: int, path: Path, now: int) -> None:
        """A NEW, REGREQ or REGREL of no session came in a datagram of so many ``octets``."""
        endpoint = self._endpoint
        if endpoint.sockets.is_retired(path.socket):
            return
        try:
            elements = frame.elements
        except IaxError as error:
            endpoint.reception.broken(error, path, now)
            return
        token = elements.raw(Ie.CALLTOKEN)
        if token == b"":
            data = self._mint.answer(frame, octets, path, now)
            if data is not None:
                endpoint.counters.tokens += 1
                endpoint.transmit(path, data)
            return
        if token is None and not endpoint.identities.tokenless(path.address):
            text = '%s knows no call tokens: refused; requirecalltoken = "no" for its peer would let it call'
            # Strangers are all alike: who spoofs his address has many.
            known = endpoint.identities.knows(path.address)
            kind, level = (f"token {path.address}", logging.WARNING) if known else ("token", logging.INFO)
            endpoint.bursts.tell(kind, now, level, text, path)
            self._refuse(frame, octets, path, _NO_TOKEN)
            return
        if token is not None and not self._mint.holds(token, path, now):
            self._refuse(frame, octets, path, _NO_TOKEN)
            return
        if endpoint.closing:
            self._refuse(frame, octets, path, "", Cause.SWITCHING_EQUIPMENT_CONGESTION)
            return
        if token is not None:
            endpoint.reception.begins_anew(path, frame.source, now)
        name = (elements.text(Ie.USERNAME) or "")[:MAX_NAME]
        if frame.oseqno:
            # No first frame of anything.
            endpoint.counters.unknown += 1
            return
        if not self._may_try(name, path.address, now) and not self._may_call_for_help(elements, path, now):
            self._refuse(frame, octets, path, _AUTH_FAILED)
            return
        if frame.subclass == Command.NEW:
            self._new(frame, elements, name, octets, path, now)
        else:
            claim = endpoint.identities.registrant(name)
            self._challenge(claim, frame, elements, octets, path, now)

    def _new(self, frame: FullFrame, elements: Elements, name: str, octets: int, path: Path, now: int) -> None:
        endpoint = self._endpoint
        had_token = elements.raw(Ie.CALLTOKEN) is not None
        peer = endpoint.peers.get(name)
        if peer is None or not peer.is_at(path, now):
            named, peer = peer, endpoint.identities.at(path, now) if not name or peer is None else None
            if named is not None:
                peer = None
        if peer is not None and (peer.settings.insecure_invite or not methods_of(peer.settings)):
            if had_token or not peer.needs_token():
                self._admit(peer, frame, elements, octets, path, now, had_token=had_token)
            else:
                self._refuse(frame, octets, path, _NO_TOKEN)
            return
        if peer is None and endpoint.guest is not None and name in _GUESTS and name not in endpoint.peers:
            if had_token:
                self._admit(endpoint.guest, frame, elements, octets, path, now, had_token=True)
            else:
                self._refuse(frame, octets, path, _NO_TOKEN)
            return
        # Who gives no name is meant to be who lives there.
        claim = endpoint.identities.caller(name or (peer.name if peer is not None else ""))
        self._challenge(claim, frame, elements, octets, path, now)

    def _may_try(self, name: str, address: str, now: int) -> bool:
        guesses = self._guesses
        if guesses.guarded(name, address, now) and guesses.waits(address, now):
            return False
        return self._endpoint.defence.may_try(address, now)

    def _may_call_for_help(self, elements: Elements, path: Path, now: int) -> bool:
        """Whether somebody where a peer is may try all the same, whatever was guessed there before."""
        if not self._is_emergency(elements) or not self._endpoint.identities.knows(path.address):
            return False
        free_at = max(self._rescue_free_at, now) + RESCUE_EACH
        if free_at - now > RESCUE_BURST:
            return False
        self._rescue_free_at = free_at
        return True

    def _refuse(self, frame: FullFrame, octets: int, path: Path, text: str, cause: Cause = Cause.CALL_REJECTED) -> None:
        """Without a session, and never longer than what came."""
        self._endpoint.counters.rejected += 1
        command = Command.REJECT if frame.subclass == Command.NEW else Command.REGREJ
        elements = _reason(text, cause)
        while elements.items and FULL_HEADER + len(bytes(elements)) > octets:
            elements.items.pop(0)
        self._endpoint.transmit(path, bytes(reply(frame, command, bytes(elements))))

    # -- the challenge --

    def _challenge(self, claim: Claim, frame: FullFrame, elements: Elements, octets: int, path: Path, now: int) -> None:
        endpoint = self._endpoint
        source = source_of(path.address)
        known = endpoint.identities.knows(path.address)
        if not known and self._candidates.has_share(source):
            endpoint.counters.overload += 1
            return
        endpoint.counters.overload += self._candidates.make_room(now)
        number = endpoint.numbers.take(path.address, now, emergency=known and self._is_emergency(elements))
        if number is None:
            endpoint.out_of_numbers(path, now)
            return
        candidate = Candidate(self, claim, frame, elements, source)
        metered = None if candidate.had_token else octets
        session = endpoint.adopt(path, number, candidate, frame, now, metered=metered)
        self._candidates.add(session, candidate, now)
        if candidate.had_token:
            # Without one anybody may have sent it.
            endpoint.defence.offended(path.address, Offence.CHALLENGED, now)
        session.begin(frame, now)

    def ask(self, session: Session, candidate: Candidate, now: int) -> None:
        """Challenge ``candidate``; what it began with is acknowledged by that."""
        endpoint, settings = self._endpoint, candidate.claim.settings
        elements = candidate.elements
        if candidate.calls and settings.encryption is not Encryption.NO and settings.secret:
            candidate.encrypts = _wanted_encryption(elements)
        challenge = candidate.challenge = new_challenge(endpoint.rng)
        methods = methods_of(settings, bool(candidate.encrypts))
        asked = Elements().add_number(Ie.AUTHMETHODS, methods, 2).add(Ie.CHALLENGE, challenge)
        if candidate.encrypts:
            asked.add_number(Ie.ENCRYPTION, candidate.encrypts, 2)
        # 6.2.7 and 6.1.3 want it in any case; whom we take it for is not told.
        asked.add(Ie.USERNAME, elements.raw(Ie.USERNAME) or b"")
        session.command(Command.AUTHREQ if candidate.calls else Command.REGAUTH, now, asked)
        if candidate.encrypts:
            # chan_iax2 encrypts from its AUTHREP on.
            key = key_of(challenge, settings.secret)
            session.encrypt(key, key, now)

    def answered(self, session: Session, candidate: Candidate, frame: FullFrame, now: int) -> None:
        """A challenged far end says something."""
        if frame.subclass in (Command.HANGUP, Command.REJECT, Command.REGREJ):
            self._candidates.drop(session)
            session.close(now)
            return
        calls = candidate.calls
        expected = frame.subclass == Command.AUTHREP if calls else frame.subclass in (Command.REGREQ, Command.REGREL)
        if not expected or session not in self._candidates:
            return
        self._candidates.drop(session)
        try:
            elements = frame.elements
            proof = verify(candidate.claim.settings, candidate.challenge, elements)
        except IaxError:
            proof = None
        peer = candidate.claim.peer
        if proof is None or peer is None:
            self._wrong(session, candidate, now)
            return
        self._right(candidate.claim.name, peer, session.path.address, now)
        if peer.needs_token() and not candidate.had_token:
            text = '%s at %s knows no call tokens: refused; requirecalltoken = "no" would let it in'
            self._endpoint.bursts.tell(f"token {peer.name}", now, logging.WARNING, text, peer.name, session.path)
            self._end(session, _reject(candidate.opening), _NO_TOKEN, Cause.CALL_REJECTED, now)
            return
        if candidate.had_token:
            peer.showed_token()
        if calls:
            agreed = proof if candidate.encrypts else proof._replace(key=b"")
            self.enter(peer, agreed, session, candidate.opening, candidate.elements, now)
            return
        registrar = self._endpoint.registrar
        if frame.subclass == Command.REGREL:
            told = registrar.release(peer, now)
        else:
            told = registrar.register(peer, session.path, _number(elements, Ie.REFRESH), now)
        session.command(Command.REGACK, now, told)
        session.close(now)

    def _wrong(self, session: Session, candidate: Candidate, now: int) -> None:
        self._end(session, _reject(candidate.opening), _AUTH_FAILED, Cause.CALL_REJECTED, now)
        self._guess(session.path, candidate.claim, now)

    def _guess(self, path: Path, claim: Claim, now: int) -> None:
        endpoint, address = self._endpoint, path.address
        endpoint.counters.failed += 1
        endpoint.defence.offended(address, Offence.GUESSED, now)
        if self._guesses.guessed(claim.name, address, now) and claim.peer is not None:
            text = "passwords of %s are guessed at, from %s and other addresses: none is forgiven a wrong one by now"
            log.warning(text, claim.name, address)
        elif claim.peer is not None:
            text = "somebody at %s says to be %s and has another password or key"
            endpoint.bursts.tell(f"wrong {claim.name}", now, logging.WARNING, text, path, claim.name)
        elif claim.name in endpoint.peers:
            text = '%s wants to be registered as %s, or has nothing to prove it with: that takes host = "dynamic"'
            endpoint.bursts.tell(f"fixed {claim.name}", now, logging.WARNING, text, path, claim.name)
        else:
            text = "somebody at %s says to be %s, whom nobody knows here"
            endpoint.bursts.tell("nobody", now, logging.INFO, text, path, claim.name)

    def given_up(self, session: Session, frame: FullFrame, now: int) -> bool:
        """Its far end says by ``frame`` that it hangs up, and has not heard our call number; True if it is forgotten.

        Anybody could say so who knows from where it comes; so nothing ends by it that has proven anything.
        """
        if session not in self._candidates:
            return False
        self._candidates.abandon(session, now)
        expected = (frame.oseqno + 1) & 0xFF
        heard = FullFrame(session.source, frame.source, frame.stamp, 1, expected, FrameType.IAX, Command.ACK)
        self._endpoint.transmit(session.path, bytes(heard))
        return True

    def unreadable(self, session: Session, candidate: Candidate, now: int) -> None:
        """What was to prove something makes no sense: the password is another, or the far end does not encrypt."""
        candidate.unreadable += 1
        if session in self._candidates and candidate.unreadable >= UNREADABLE:
            # A REJECT could not be read there either.
            self._candidates.abandon(session, now)
            self._guess(session.path, candidate.claim, now)

    def _right(self, name: str, peer: Peer, address: str, now: int) -> None:
        self._endpoint.defence.redeemed(address, now)
        self._guesses.proved(name, address, now)
        self._endpoint.heard(peer, now)

    # -- a call that may come in --

    def _admit(
        self,
        peer: Peer,
        frame: FullFrame,
        elements: Elements,
        octets: int,
        path: Path,
        now: int,
        *,
        had_token: bool,
    ) -> None:
        """A call that needs no proof."""
        endpoint = self._endpoint
        number = endpoint.numbers.take(path.address, now, emergency=bool(peer.name) and self._is_emergency(elements))
        if number is None:
            endpoint.out_of_numbers(path, now)
            return
        if peer.name:
            endpoint.heard(peer, now)
        owner = _Admitted(self, peer, elements)
        endpoint.adopt(path, number, owner, frame, now, metered=None if had_token else octets).begin(frame, now)

    def enter(
        self, peer: Peer, proof: Proof | None, session: Session, frame: FullFrame, elements: Elements, now: int
    ) -> None:
        """The call that began with ``frame`` is ``peer``'s: it becomes a leg, or is refused."""
        endpoint = self._endpoint
        number = _called(elements)
        emergency = bool(peer.name) and number in endpoint.settings.emergency
        setup = Setup(Number(number), emergency=emergency)
        refusal: tuple[Cause, str] | None = None
        shares = endpoint.shares
        calls = shares.of(peer.name)
        if shares.full(emergency=emergency):
            refusal = Cause.SWITCHING_EQUIPMENT_CONGESTION, "too many calls"
        elif not emergency and self._has_enough(peer, session.path, calls, now):
            refusal = Cause.SWITCHING_EQUIPMENT_CONGESTION, f"{calls} calls stand, as many as may"
        else:
            cause = peer.takes_call(setup, emergency, now, own=0)
            if cause is not None:
                refusal = cause, "its limits are reached"
        if refusal is not None:
            cause, text = refusal
            self._end(session, Command.REJECT, text, cause, now)
            if peer.name:
                refused = NotOffered(setup, peer.settings.context, peer.name, "iax2", cause, f"NEW refused: {text}")
                endpoint.not_offered(refused, now)
            return
        endpoint.counters.calls_in += 1
        endpoint.counters.strangers += not peer.name
        leg = endpoint.make_leg(peer, now, incoming=True)
        leg.take(session, frame, proof, now)

    def _has_enough(self, peer: Peer, path: Path, calls: int, now: int) -> bool:
        endpoint = self._endpoint
        if peer.name:
            return endpoint.shares.spent(peer, now)
        enough = calls >= MOST_GUESTS or endpoint.numbers.used_by(path.address) > MOST_GUESTS // GUEST_SHARE
        endpoint.counters.overload += enough
        return enough

    def gone(self, session: Session, candidate: Candidate, now: int) -> None:
        """A challenge has had no answer, or none that could be read."""
        self._candidates.drop(session)
        claim = candidate.claim
        if candidate.unreadable:
            self._guess(session.path, claim, now)
            return
        asked = "AUTHREQ" if candidate.calls else "REGAUTH"
        seconds = (now - session.epoch) // SECOND
        text = "somebody at %s who says to be %s was asked to prove it (%s) and does not answer: given up after %d s"
        # What strangers call themselves may be another name each time.
        kind, level = (
            (f"unproven {claim.name}", logging.WARNING) if claim.peer is not None else ("unproven", logging.INFO)
        )
        self._endpoint.bursts.tell(kind, now, level, text, session.path, claim.name, asked, seconds)

    def _end(self, session: Session, command: Command, text: str, cause: Cause, now: int) -> None:
        self._endpoint.counters.rejected += 1
        session.command(command, now, _reason(text, cause))
        session.close(now)

    def _is_emergency(self, elements: Elements) -> bool:
        return _called(elements) in self._endpoint.settings.emergency


def _called(elements: Elements) -> str:
    """The digits called, as the leg will read them; what is no number, as it came."""
    text = elements.text(Ie.CALLED_NUMBER) or ""
    number = number_of(text)
    return text[:MAX_DIGITS] if number is None else number.digits


def _reject(frame: FullFrame) -> Command:
    return Command.REJECT if frame.subclass == Command.NEW else Command.REGREJ


def _reason(text: str, cause: Cause) -> Elements:
    elements = Elements()
    if text:
        elements.add_text(Ie.CAUSE, text)
    return elements.add_number(Ie.CAUSECODE, cause, 1)


def _number(elements: Elements, which: Ie) -> int | None:
    try:
        return elements.number(which)
    except IaxError:
        return None


def _wanted_encryption(elements: Elements) -> int:
    """What of the caller's ENCRYPTION is agreed to; 0 is nothing."""
    offered = _number(elements, Ie.ENCRYPTION) or 0
    return offered & (AES_128 | KEY_ROTATION) if offered & AES_128 else 0
