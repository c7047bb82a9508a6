"""Q.850 causes in IAX2: CAUSECODE and CAUSE of HANGUP, REJECT, REGREJ (RFC 5456 8.6), and control frames.

CAUSECODE is Q.850 as it is, so no table translates it.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.cause import Cause
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.frame import Control

MAX_TEXT = 80
"""Characters of a far end's CAUSE that are kept."""
_HIGHEST = 127
"""Q.850 has seven bits."""

CONTROL_CAUSES: dict[int, Cause] = {
    Control.HANGUP: Cause.NORMAL_CALL_CLEARING,
    Control.BUSY: Cause.USER_BUSY,
    # What Asterisk means by it is that no way on is free.
    Control.CONGESTION: Cause.NO_CIRCUIT_AVAILABLE,
}
"""Control frames (8.3) that say how a call went, without an end of the session."""

# CAUSE is for people; but who sends no code (libiax2) says it here only.
_TEXTS: dict[str, Cause] = {
    "busy": Cause.USER_BUSY,
    "congestion": Cause.NO_CIRCUIT_AVAILABLE,
    "no such context/extension": Cause.UNALLOCATED_NUMBER,
    "no authority found": Cause.CALL_REJECTED,
    "unable to negotiate codec": Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED,
}


UNAUTHORIZED = frozenset({"no authority found", "authentication failed"})
"""What CAUSE says to a wrong user name or secret: chan_iax2, with cause 50, and we, with 21."""
TOO_MANY_UNPROVEN = "Unauthenticated call limit reached"
"""What chan_iax2 says, with cause 21, to a NEW beyond ``maxauthreq``."""


class Reason(NamedTuple):
    """Why a frame ends something: cause, and the far end's own words ("" if it has none)."""

    cause: Cause
    text: str


def reason_of(elements: Elements, default: Cause) -> Reason:
    """What HANGUP, REJECT or REGREJ says; ``default`` where it says nothing that can be understood.

    ``default`` is NORMAL_CALL_CLEARING for HANGUP and CALL_REJECTED for the others.
    """
    text = (elements.text(Ie.CAUSE) or "")[:MAX_TEXT]
    data = elements.raw(Ie.CAUSECODE)
    value = int.from_bytes(data, "big") if data else 0
    # 0 is Asterisk's "not defined".
    if value:
        return Reason(Cause.of(value) if value <= _HIGHEST else Cause.NORMAL_UNSPECIFIED, text)
    return Reason(_TEXTS.get(text.lower(), default), text)


def add_cause(elements: Elements, cause: Cause, text: str = "") -> Elements:
    """Append CAUSE and CAUSECODE; without ``text`` the cause's own name."""
    elements.add_text(Ie.CAUSE, text or cause.name.replace("_", " ").capitalize())
    return elements.add_number(Ie.CAUSECODE, cause, 1)


def control_cause(subclass: int) -> Cause | None:
    """The cause that a control frame of ``subclass`` stands for; None if it ends nothing."""
    return CONTROL_CAUSES.get(subclass)
