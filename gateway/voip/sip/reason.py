"""The Reason header field (RFC 3326): Q.850 causes and SIP statuses with text, in messages of either kind."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from gateway.cause import Cause
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.message import Message
from gateway.voip.sip.syntax import parse_params, quote, split_list, unquote

Q850 = "Q.850"
SIP = "SIP"
MAX_CAUSE = {"q.850": 127, "sip": 699}
MAX_TEXT = 128
"""Longest text taken or sent, in characters."""


MAX_KEPT = 256
"""Values read or written last that are kept: most calls end for one of a few reasons."""


class Reason(msgspec.Struct, frozen=True):
    """One value: ``protocol`` as the standard writes it where known, ``cause`` None if absent or no number in range."""

    protocol: str
    cause: int | None = None
    text: str = ""

    @classmethod
    def parse(cls, text: str) -> Reason:
        """Parse one value; raises SipError(400)."""
        protocol, semicolon, tail = text.partition(";")
        protocol = protocol.strip(" \t")
        if not protocol:
            raise SipError(400, f"Reason {text[:60]!r} without protocol")
        params = parse_params(f";{tail}") if semicolon else {}
        key = protocol.lower()
        digits = unquote(params.get("cause") or "").strip()
        cause = int(digits) if digits.isdecimal() and digits.isascii() and len(digits) <= 5 else None
        if cause is not None and not 0 <= cause <= MAX_CAUSE.get(key, 99999):
            cause = None
        return cls(_NAMES.get(key, protocol), cause, unquote(params.get("text") or "")[:MAX_TEXT])

    def __str__(self) -> str:
        cause = "" if self.cause is None else f";cause={self.cause}"
        return f"{self.protocol}{cause};text={quote(self.text)}" if self.text else f"{self.protocol}{cause}"


_NAMES = {"q.850": Q850, "sip": SIP}


def reasons(message: Message) -> tuple[Reason, ...]:
    """All Reason values of ``message`` in order. What does not parse is left out: a Reason never spoils a message."""
    texts = message.headers.get_all("reason")
    if not texts:
        return ()
    return _parse(texts[0]) if len(texts) == 1 else tuple([reason for text in texts for reason in _parse(text)])


@lru_cache(maxsize=MAX_KEPT)
def _parse(text: str) -> tuple[Reason, ...]:
    try:
        return tuple([Reason.parse(value) for value in split_list(text)])
    except SipError:
        return ()


def q850_reason(message: Message) -> Reason | None:
    """The first Reason with a Q.850 cause, or None."""
    for reason in reasons(message):
        if reason.protocol == Q850 and reason.cause is not None:
            return reason
    return None


def sip_reason(message: Message) -> Reason | None:
    """The first Reason with a SIP status (in CANCEL: 200 means that another branch answered), or None."""
    for reason in reasons(message):
        if reason.protocol == SIP and reason.cause is not None:
            return reason
    return None


@lru_cache(maxsize=MAX_KEPT)
def reason_header(cause: Cause | int, text: str = "") -> tuple[str, str]:
    """A header field Reason with this Q.850 cause."""
    return ("Reason", str(Reason(Q850, int(cause), text[:MAX_TEXT])))
