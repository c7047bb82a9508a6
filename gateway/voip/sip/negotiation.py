"""Where one session stands between offer and answer (RFC 3264, RFC 6337): one audio stream, one exchange at a time."""

from __future__ import annotations

import random

import msgspec

from gateway.media.api import Direction, RtpSettings
from gateway.voip.sip.encryption import MediaEncryption, disused, rekeyed
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.offer_answer import (
    Elsewhere,
    LocalMedia,
    apply_answer,
    make_answer,
    make_offer,
    readdressed,
    redirected,
)
from gateway.voip.sip.sdp import SessionDescription

UNKNOWN_PORT = 9
"""Stands for our port (discard, RFC 863) while the engine has not named it; never sent."""


class Negotiation:
    """Offer/answer state of one dialog. ``settings`` is what the last exchange settled, None before or if switched off.

    ``held``: the far end does not want to hear us. ``answered``: the last exchange was the far end's offer. ``rng`` is
    where new SRTP keys come from.
    """

    __slots__ = (
        "_before",
        "_offered",
        "_offered_bytes",
        "_remote",
        "_rng",
        "_sent",
        "_sent_bytes",
        "answered",
        "awaiting_answer",
        "held",
        "local",
        "owes_answer",
        "settings",
        "was_held",
    )

    def __init__(self, local: LocalMedia, rng: random.Random | None = None) -> None:
        self.local = local
        self._rng = rng
        self._before = local
        self.settings: RtpSettings | None = None
        self.held = False
        self.was_held = False
        # We sent an offer that has no answer; or took one and did not answer it yet.
        self.awaiting_answer = False
        self.owes_answer = False
        self.answered = False
        self._sent: SessionDescription | None = None
        self._sent_bytes = b""
        self._offered: SessionDescription | None = None
        self._offered_bytes = b""
        self._remote = b""

    @classmethod
    def again(
        cls,
        local: LocalMedia,
        rng: random.Random,
        settings: RtpSettings | None,
        *,
        sent: bytes,
        remote: bytes,
        held: bool,
        answered: bool,
    ) -> Negotiation:
        """One that was settled before this program began: ``sent`` and ``remote`` are the last descriptions.

        Raises SipError.
        """
        one = cls(local, rng)
        one.settings = settings
        one._sent = one._offered = SessionDescription.parse(sent)
        one._sent_bytes = one._offered_bytes = sent
        one._remote = remote
        one.held = one.was_held = held
        one.answered = answered
        return one

    def fork(self) -> Negotiation:
        """A copy for another early dialog of the same offer."""
        other = Negotiation(self.local, self._rng)
        other._sent, other._sent_bytes = self._sent, self._sent_bytes
        other._offered, other._offered_bytes = self._offered, self._offered_bytes
        other.awaiting_answer = self._offered is not None
        return other

    @property
    def settled(self) -> bool:
        """True once an exchange came to its end."""
        return bool(self._remote) and not self.awaiting_answer and not self.owes_answer

    @property
    def sent(self) -> bytes:
        """The last description of ours on the wire."""
        return self._sent_bytes

    @property
    def remote(self) -> bytes:
        """The far end's last description."""
        return self._remote

    def make_offer(self, direction: Direction | None = None, redirect: tuple[Elsewhere | None] | None = None) -> bytes:
        """Our offer; ``direction`` changes what we want of the stream, ``redirect`` where the far end is to send it."""
        self._before = self.local
        if redirect is not None:
            self.local = msgspec.structs.replace(self.local, elsewhere=redirect[0])
        if direction is not None and direction is not self.local.direction:
            self.local = msgspec.structs.replace(self.local, direction=direction)
        self._offered = make_offer(self.local, self._sent, self.settings)
        self._offered_bytes = self._offered.to_bytes()
        self.awaiting_answer = True
        return self._offered_bytes

    def take_answer(self, body: bytes) -> None:
        """Apply the answer to our offer; raises SipError and leaves things as they were."""
        offered = self._offered
        if offered is None:
            raise SipError(None, "answer without an offer")
        result = apply_answer(offered, SessionDescription.parse(body), self.local)
        self._remote = body
        self._sent, self._sent_bytes = offered, self._offered_bytes
        self._settle(result.settings)
        self.held = result.held
        self.awaiting_answer = self.answered = False

    def take_response(self, body: bytes, *, late_offer: bool) -> tuple[bytes, bool]:
        """Take what a response to our INVITE has: our answer if it was an offer, and whether anything changed.

        ``late_offer``: the INVITE had none. Raises SipError.
        """
        if late_offer and not self.awaiting_answer and not self.settled:
            return self.take_offer(body), True
        # An answer that changes is not by the book (RFC 6337 2.1), but announcement servers do it.
        if self.awaiting_answer or (self.differs(body) and not self.answered):
            self.take_answer(body)
            return b"", True
        return b"", False

    @property
    def settled_elsewhere(self) -> Elsewhere | None:
        """Where the far end was told to send its voice and agreed to; None is to us."""
        return None if self.awaiting_answer else self.local.elsewhere

    def differs(self, body: bytes) -> bool:
        """True if ``body`` is another description than the far end's last."""
        return body != self._remote

    def move(self, address: str) -> None:
        """What we send from now on names ``address``, an answer that waits to be sent included."""
        self.local = msgspec.structs.replace(self.local, address=address)
        self._before = msgspec.structs.replace(self._before, address=address)
        if self.owes_answer and self._sent is not None:
            self._sent = self._offered = readdressed(self._sent, address)
            if self._sent_bytes:
                self._sent_bytes = self._offered_bytes = self._sent.to_bytes()

    def hear_everything(self) -> None:
        """Offer and take no comfort noise: a pause may be what is to be heard (RFC 6881 14: no silence suppression)."""
        self.local = self._before = msgspec.structs.replace(self.local, comfort_noise=False)

    def insist(self) -> bool:
        """Offer RTP/SAVP from now on where RTP/AVP with keys was refused; False if there is nothing else to offer."""
        encryption = self.local.encryption
        if not encryption.may_insist or self._offered is None or self._sent is not None:
            return False
        self.local = msgspec.structs.replace(self.local, encryption=msgspec.structs.replace(encryption, insisting=True))
        return True

    def begin_elsewhere(self, there: Elsewhere) -> None:
        """Our first offer sends the far end's voice ``there`` at once (``directrtpsetup``)."""
        self.local = self._before = msgspec.structs.replace(self.local, elsewhere=there)

    def answer_elsewhere(self, there: Elsewhere) -> None:
        """The answer that waits to be sent sends the far end's voice ``there``, if there is such an answer."""
        if self.owes_answer and self._sent is not None and self._sent_bytes:
            self._sent = self._offered = redirected(self._sent, self.local.port, there)
            self._sent_bytes = self._offered_bytes = self._sent.to_bytes()
            self.local = self._before = msgspec.structs.replace(self.local, elsewhere=there)

    def keep_encrypted(self) -> None:
        """Take no plain RTP from now on: somebody was told that there is none."""
        encryption = msgspec.structs.replace(self.local.encryption, mode=MediaEncryption.REQUIRED)
        self.local = msgspec.structs.replace(self.local, encryption=encryption)
        self._before = self.local

    def forget_offer(self) -> None:
        """Our offer was refused: what was agreed before stands (RFC 6337 3.4)."""
        self.awaiting_answer = False
        self.local = self._before
        self._offered, self._offered_bytes = self._sent, self._sent_bytes

    def place(self, port: int) -> None:
        """Our RTP port is known now; until then it is ``UNKNOWN_PORT``."""
        before, self.local = self.local, msgspec.structs.replace(self.local, port=port)
        self._before = self.local
        if self._sent is not None:
            media = tuple(
                [
                    msgspec.structs.replace(each, port=port) if each.port == before.port else each
                    for each in self._sent.media
                ]
            )
            self._sent = self._offered = msgspec.structs.replace(self._sent, media=media)
            self._sent_bytes = self._offered_bytes = self._sent.to_bytes()

    def hold_offer(self, body: bytes) -> None:
        """Take an offer that will be answered later; raises SipError(400 or 488) if it cannot be."""
        self._remote = body
        self._answer(body)
        self.owes_answer = True

    def take_offer(self, body: bytes) -> bytes:
        """Our answer to the far end's offer; raises SipError(400 or 488) and leaves things as they were."""
        sent = self._sent
        known = not self.owes_answer and body == self._remote and self.settled
        if known and sent is not None and sent.origin.address == self.local.address:
            # A refresh: the same offer as before gets the same answer, unless we have moved.
            return self._sent_bytes
        return self._answer(body)

    def late_answer(self) -> bytes:
        """The answer to the offer that ``hold_offer`` took."""
        self.owes_answer = False
        return self._sent_bytes

    def _answer(self, body: bytes) -> bytes:
        if self.local.elsewhere is not None:
            self._answer_here(body)
            return self._sent_bytes
        offer = SessionDescription.parse(body)
        settings = self.settings
        srtp = settings.srtp if settings is not None else None
        result = make_answer(offer, self.local, self._sent, srtp)
        if result.settings is not None and rekeyed(srtp, result.settings.srtp):
            self._renew_keys()
            result = make_answer(offer, self.local, self._sent)
        self._remote = body
        self._settle(result.settings)
        self.held = result.held
        self.answered = True
        self._sent = self._offered = result.description
        # Without a port it cannot be sent; ``place`` writes it out then.
        placed = self.local.port != UNKNOWN_PORT
        self._sent_bytes = self._offered_bytes = result.description.to_bytes() if placed else b""
        return self._sent_bytes

    def _answer_here(self, body: bytes) -> None:
        """The far end changes what was agreed: whoever was to have its voice knows nothing of that, so we take it."""
        before = self.local
        self.local = msgspec.structs.replace(before, elsewhere=None)
        try:
            self._answer(body)
        except SipError:
            self.local = before
            raise

    def _settle(self, settings: RtpSettings | None) -> None:
        before, self.settings = self.settings, settings
        if before is not None and settings is not None and disused(before.srtp, settings.srtp):
            self._renew_keys()

    def _renew_keys(self) -> None:
        if self._rng is None:
            return
        encryption = self.local.encryption.renewed(self._rng)
        self.local = msgspec.structs.replace(self.local, encryption=encryption)
        self._before = msgspec.structs.replace(self._before, encryption=encryption)
