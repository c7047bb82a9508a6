"""An IAX2 far end of its own making: tokens, challenges, proofs, and registrations both ways."""

from __future__ import annotations

import hashlib
import hmac
from abc import abstractmethod

from gateway.cause import Cause
from gateway.core import MILLISECOND, SECOND
from tests.simulation import iax_rfc as rfc
from tests.simulation.iax_rfc import Full
from tests.simulation.iax_talk import AGAIN_LEAST, Mood, Talk, TalkingEnd
from tests.simulation.world import Address

REGISTERED_BY = 30 * SECOND


class ProvingEnd(TalkingEnd):
    """One far end, as far as it asks who the gateway is and says who it is itself."""

    @abstractmethod
    def _talk(self, talk: Talk) -> None:
        """Say the first voice."""

    @abstractmethod
    def _invited(self, talk: Talk, frame: Full) -> None:
        """NEW came."""

    def _refuse(self, talk: Talk, sub: int, cause: Cause) -> None:
        body = rfc.element(rfc.IE_CAUSE, "No") + rfc.element(rfc.IE_CAUSECODE, int(cause), 1)
        self._say(talk, rfc.IAX, sub, body)
        talk.hung_up = cause

    @property
    def _encryption(self) -> int:
        return rfc.AES128 | (rfc.KEYS_CHANGE if self.terms.rotates else 0)

    # -- the first frame of something --

    def _token(self, source: Address) -> bytes:
        return hmac.new(self._salt, f"{source}".encode(), hashlib.sha256).hexdigest()[:40].encode()

    def _first(self, frame: Full, source: Address) -> None:
        if frame.kind != rfc.IAX:
            self._unknown(frame.octets(), source, frame.source, 0)
            return
        if frame.sub == rfc.POKE:
            self._bare(source, Full(1, frame.source, frame.stamp, 0, (frame.out + 1) & 0xFF, rfc.IAX, rfc.PONG))
            return
        if frame.sub not in (rfc.NEW, rfc.REGREQ, rfc.REGREL):
            self._unknown(frame.octets(), source, frame.source, 0)
            return
        if frame.sub == rfc.REGREQ and self.mood == Mood.SILENT:
            return
        said = frame.elements
        if self.terms.tokens and (token := said.get(rfc.IE_TOKEN)) != self._token(source):
            if token is None and self.fair:
                self.breaches.append(f"{self.name}: {frame} without an element for a token")
            body = rfc.element(rfc.IE_TOKEN, self._token(source))
            self._bare(source, Full(1, frame.source, frame.stamp, 0, 1, rfc.IAX, rfc.CALLTOKEN, body))
            return
        if frame.out or frame.expected:
            # Of something that is long over.
            return
        talk = self._open(source)
        talk.other = frame.source
        talk.numbers.expected = 1
        if frame.sub == rfc.NEW:
            self._invited(talk, frame)
        else:
            talk.registering = int.from_bytes(said.get(rfc.IE_REFRESH, b"\0\0"), "big")
            if frame.sub == rfc.REGREL:
                talk.registering = 0
            self._challenge(talk, frame, rfc.REGAUTH)

    def _challenge(self, talk: Talk, frame: Full, sub: int) -> None:
        if frame.elements.get(rfc.IE_USERNAME) != self.terms.user.encode():
            if self.fair:
                self.breaches.append(f"{self.name}: {frame} with another user than {self.terms.user}")
            self._refuse(talk, rfc.REJECT if sub == rfc.AUTHREQ else rfc.REGREJ, Cause.CALL_REJECTED)
            return
        talk.challenge = str(self._rng.randrange(10**8, 10**9)).encode()
        body = rfc.element(rfc.IE_METHODS, self.terms.methods, 2) + rfc.element(rfc.IE_CHALLENGE, talk.challenge)
        body += rfc.element(rfc.IE_USERNAME, self.terms.user)
        wants = frame.elements.get(rfc.IE_ENCRYPTION)
        if sub == rfc.AUTHREQ and wants is not None and self.terms.encryption != "no":
            body += rfc.element(rfc.IE_ENCRYPTION, self._encryption, 2)
            talk.send_key = talk.receive_key = b""
        talk.in_words = frame.body
        self._say(talk, rfc.IAX, sub, body)
        if rfc.IE_ENCRYPTION in Full(0, 0, 0, 0, 0, 0, 0, body).elements:
            # All that follows is encrypted, the proof too.
            talk.send_key = talk.receive_key = rfc.call_key(talk.challenge, self.terms.secret)
        self._later(30 * SECOND, self._unproven, talk)

    def _unproven(self, talk: Talk) -> None:
        if not talk.proven:
            self._gone(talk, Cause.DESTINATION_OUT_OF_ORDER)

    def _proves(self, talk: Talk, frame: Full) -> bool:
        said, terms = frame.elements, self.terms
        if terms.methods & rfc.RSA and terms.their_key is not None and rfc.IE_RSA in said:
            return rfc.rsa_proves(talk.challenge, said[rfc.IE_RSA], terms.their_key)
        if terms.methods & rfc.MD5 and rfc.IE_MD5 in said:
            return said[rfc.IE_MD5] == rfc.md5_proof(talk.challenge, terms.secret)
        if terms.methods & rfc.PLAINTEXT and rfc.IE_PASSWORD in said:
            return said[rfc.IE_PASSWORD] == terms.secret.encode()
        return False

    def _proof(self, said: dict[int, bytes]) -> bytes:
        terms, offered = self.terms, int.from_bytes(said.get(rfc.IE_METHODS, b""), "big")
        challenge = said.get(rfc.IE_CHALLENGE, b"")
        if terms.proves & offered & rfc.RSA and terms.own_key is not None:
            return rfc.element(rfc.IE_RSA, rfc.rsa_proof(challenge, terms.own_key))
        if terms.proves & offered & rfc.MD5 or not terms.proves & offered & rfc.PLAINTEXT:
            return rfc.element(rfc.IE_MD5, rfc.md5_proof(challenge, terms.secret))
        return rfc.element(rfc.IE_PASSWORD, terms.secret)

    # -- registrations --

    def begin_registering(self) -> None:
        """Register from now on, until ``stop``."""
        self.world.after(self._rng.randrange(200) * MILLISECOND, self._register, self._epoch)

    def stop(self) -> None:
        """Take the registration back."""
        self.stopped = True
        if self.terms.registers:
            self._register(self._epoch, 0)

    def _register(self, epoch: int, seconds: int | None = None) -> None:
        if epoch != self._epoch or (self.stopped and seconds is None):
            return
        if any(talk.registering >= 0 and talk.calling for talk in self.talks.values()):
            # The one before is still under way.
            self.world.after(SECOND if self.stopped else AGAIN_LEAST, self._register, epoch, seconds)
            return
        talk = self._open(self.gateway)
        talk.calling = True
        talk.registering = self.terms.refresh if seconds is None else seconds
        talk.first = rfc.element(rfc.IE_USERNAME, self.terms.name) + rfc.element(rfc.IE_REFRESH, talk.registering, 2)
        sub = rfc.REGREQ if talk.registering else rfc.REGREL
        self._say(talk, rfc.IAX, sub, talk.first + rfc.element(rfc.IE_TOKEN, b""))
        self._later(REGISTERED_BY, self._unanswered, talk)

    def _unanswered(self, talk: Talk) -> None:
        self._gone(talk, Cause.DESTINATION_OUT_OF_ORDER)

    def _regauth(self, talk: Talk, frame: Full) -> None:
        sub = rfc.REGREQ if talk.registering else rfc.REGREL
        self._say(talk, rfc.IAX, sub, talk.first + self._proof(frame.elements))

    def _regack(self, talk: Talk, frame: Full) -> None:
        self._ack(talk, frame)
        granted = int.from_bytes(frame.elements.get(rfc.IE_REFRESH, b""), "big")
        if talk.registering:
            address = rfc.read_place(frame.elements.get(rfc.IE_APPARENT, b""))
            shown = self.network.outside(self.address)
            if address[0] != shown and self.fair:
                self.breaches.append(f"{self.name}: seen at {address}, is at {shown}")
        self._over(talk, Cause.NORMAL_CALL_CLEARING, ours=True)
        self.registrations += 1
        if talk.registering and not self.stopped:
            self.registered_until = self.world.now + granted * SECOND
            again = max(AGAIN_LEAST, granted * SECOND * self._rng.randint(50, 85) // 100)
            self.world.after(again, self._register, self._epoch)
        else:
            self.registered_until = 0

    def _regrej(self, talk: Talk, frame: Full) -> None:
        self._ack(talk, frame)
        self._over(talk, Cause.CALL_REJECTED, ours=False)
        if self.fair and not self.stopped:
            self.breaches.append(f"{self.name}: the registration was refused")
        if not self.stopped:
            self.world.after(3 * AGAIN_LEAST, self._register, self._epoch)

    def _regreq(self, talk: Talk, frame: Full) -> None:
        """The gateway's second one, with its proof."""
        if talk.hung_up is not None or talk.calling or talk.registering < 0:
            self._ack(talk, frame)
            return
        talk.proven = True
        if not self._proves(talk, frame) or self.mood == Mood.REFUSES:
            if self.fair and self.mood == Mood.WELL:
                self.breaches.append(f"{self.name}: {frame} is no proof")
            self._refuse(talk, rfc.REGREJ, Cause.CALL_REJECTED)
            return
        seen = rfc.place(*talk.address)
        granted = min(talk.registering, self.terms.refresh)
        body = rfc.element(rfc.IE_USERNAME, self.terms.user) + rfc.element(rfc.IE_REFRESH, granted, 2)
        self._say(talk, rfc.IAX, rfc.REGACK, body + rfc.element(rfc.IE_APPARENT, seen))
        self.bound = talk.address if talk.registering and frame.sub == rfc.REGREQ else None
        self.bound_until = self.world.now + granted * SECOND
        talk.hung_up = Cause.NORMAL_CALL_CLEARING
        self.granted += 1
