"""What NEW says of a call (RFC 5456 6.2.2): from a Setup to information elements, and back."""

from __future__ import annotations

from typing import NamedTuple

from gateway.cause import Cause
from gateway.identity import (
    MAX_DIGITS,
    MAX_NAME,
    Number,
    NumberingPlan,
    Party,
    Presentation,
    Redirection,
    Screening,
    TypeOfNumber,
)
from gateway.leg import Setup
from gateway.media.api import Codec
from gateway.voip.iax.crypt import AES_128, KEY_ROTATION
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.formats import BITS, choose, mask, preferences
from gateway.voip.iax.peers import PeerSettings
from gateway.voip.iax.rounds import add_variables, read_variables

PROTOCOL_VERSION = 2
"""VERSION (8.6.10), which has to come first."""
_DIGITS = frozenset("0123456789*#ABCD")
_SEPARATORS = str.maketrans("", "", " -.()/")
"""What people write between digits; nobody dials it."""
_NOT_AVAILABLE = 0x43
"""CALLINGPRES (8.6.29) as chan_iax2 has it where there is no number: not available, by the network."""
_TYPES = {kind.value: kind for kind in TypeOfNumber}
_PLANS = {plan.value: plan for plan in NumberingPlan}


class Asked(NamedTuple):
    """What the NEW of a call that came in asks for; ``codec`` None: nothing that both sides have.

    ``encryption``: the bits of its ENCRYPTION. ``context`` is the far end's idea of one, which is only told.
    """

    setup: Setup
    codec: Codec | None
    encryption: int = 0


def contents(settings: PeerSettings, setup: Setup, codecs: tuple[Codec, ...], *, encrypt: bool) -> Elements:
    """The elements of a NEW to the peer of ``settings``. ``codecs``: those that we take, the best first."""
    elements = Elements().add_number(Ie.VERSION, PROTOCOL_VERSION, 2)
    elements.add_text(Ie.CALLED_NUMBER, dialled(setup.called))
    elements.add(Ie.CODEC_PREFS, preferences(codecs))
    _add_caller(elements, setup.caller)
    elements.add_text(Ie.DNID, dialled(setup.called))
    if setup.redirection is not None and setup.redirection.number.digits:
        elements.add_text(Ie.RDNIS, dialled(setup.redirection.number))
    if settings.user:
        elements.add_text(Ie.USERNAME, settings.user)
    if encrypt:
        elements.add_number(Ie.ENCRYPTION, AES_128 | KEY_ROTATION, 2)
    add_variables(elements, setup)
    elements.add_formats(Ie.FORMAT, Ie.FORMAT2, BITS[codecs[0]])
    return elements.add_formats(Ie.CAPABILITY, Ie.CAPABILITY2, mask(codecs))


def dialled(number: Number) -> str:
    """``number`` as IAX2 writes it: digits, with a plus if it is international (no element tells the type)."""
    return f"+{number.digits}" if number.type is TypeOfNumber.INTERNATIONAL else number.digits


def _add_caller(elements: Elements, caller: Party) -> None:
    """Who calls. What is not to be shown goes with that mark, as on a line: it is for the far end's network to hide."""
    number = caller.number
    if number is None or not number.digits:
        elements.add_number(Ie.CALLINGPRES, _NOT_AVAILABLE, 1)
        elements.add_number(Ie.CALLINGTON, 0, 1)
    else:
        elements.add_text(Ie.CALLING_NUMBER, number.digits)
        elements.add_number(Ie.CALLINGPRES, (number.presentation & 3) << 5 | number.screening & 3, 1)
        elements.add_number(Ie.CALLINGTON, (number.type & 7) << 4 | number.plan & 15, 1)
    elements.add_number(Ie.CALLINGTNS, 0, 2)
    # CALLINGPRES is of number and name alike, so a name that alone is not to be shown stays here.
    if caller.name and (caller.name_presentation is Presentation.ALLOWED or _restricted(number)):
        elements.add_text(Ie.CALLING_NAME, caller.name)
    if caller.network is not None and caller.network.digits:
        elements.add_text(Ie.CALLING_ANI, caller.network.digits)


def _restricted(number: Number | None) -> bool:
    return number is not None and number.presentation is Presentation.RESTRICTED


def read(elements: Elements, codecs: tuple[Codec, ...], facts: frozenset[str], *, emergency: bool = False) -> Asked:
    """What a NEW asks for; IaxError if an element cannot be read. A number that nobody can dial is InvalidNumber."""
    kind, plan = _kind_of(elements.number(Ie.CALLINGTON) or 0)
    presentation, screening = _presentation_of(elements.number(Ie.CALLINGPRES))
    caller = number_of(elements.text(Ie.CALLING_NUMBER), kind, plan, presentation, screening)
    name = elements.text(Ie.CALLING_NAME)
    # Without a number there may well be a name.
    shown = Presentation.RESTRICTED if presentation is Presentation.RESTRICTED else Presentation.ALLOWED
    ani = number_of(elements.text(Ie.CALLING_ANI), kind, plan, presentation, Screening.NETWORK)
    if ani is not None and caller is not None and ani.digits == caller.digits:
        ani = None
    redirecting = number_of(elements.text(Ie.RDNIS))
    codec = choose(
        codecs,
        elements.formats(Ie.CAPABILITY, Ie.CAPABILITY2),
        elements.raw(Ie.CODEC_PREFS),
        elements.formats(Ie.FORMAT, Ie.FORMAT2),
    )
    hops, identity = read_variables(elements)
    setup = Setup(
        called=number_of(elements.text(Ie.CALLED_NUMBER)) or Number(),
        caller=Party(caller, name[:MAX_NAME] if name else None, shown, ani),
        redirection=None if redirecting is None else Redirection(redirecting),
        facts=facts,
        hops=hops,
        codec=codec,
        emergency=emergency,
        identity=identity,
    )
    return Asked(setup, codec, elements.number(Ie.ENCRYPTION) or 0)


def fault(elements: Elements) -> Cause | None:
    """Why a NEW cannot be a call at all: another version, or a number that is none. None: it can be."""
    version = elements.number(Ie.VERSION)
    if version is not None and version != PROTOCOL_VERSION:
        return Cause.PROTOCOL_ERROR
    text = elements.text(Ie.CALLED_NUMBER)
    if text and number_of(text) is None:
        return Cause.INVALID_NUMBER_FORMAT
    return None


def number_of(
    text: str | None,
    kind: TypeOfNumber = TypeOfNumber.UNKNOWN,
    plan: NumberingPlan = NumberingPlan.ISDN,
    presentation: Presentation = Presentation.ALLOWED,
    screening: Screening = Screening.USER_NOT_SCREENED,
) -> Number | None:
    """The number that ``text`` is; None if it is none, or too long."""
    if not text:
        return None
    if not (text.isdecimal() and text.isascii()):
        text = text.translate(_SEPARATORS).upper()
        if text[:1] == "+":
            text, kind = text[1:], TypeOfNumber.INTERNATIONAL
        if not text or not _DIGITS.issuperset(text):
            return None
    if len(text) > MAX_DIGITS:
        return None
    return Number(text, kind, plan, presentation, screening)


def _kind_of(octet: int) -> tuple[TypeOfNumber, NumberingPlan]:
    """CALLINGTON (8.6.30): type and plan as octet 3 of Q.931 has them, or, of older far ends, the type alone."""
    kind = _TYPES.get(octet >> 4 & 7, TypeOfNumber.UNKNOWN)
    plan = _PLANS.get(octet & 15, NumberingPlan.UNKNOWN)
    return kind, plan if octet else NumberingPlan.ISDN


def _presentation_of(octet: int | None) -> tuple[Presentation, Screening]:
    """CALLINGPRES (8.6.29): octet 3a of Q.931 4.5.10."""
    if octet is None:
        return Presentation.ALLOWED, Screening.USER_NOT_SCREENED
    presentation = Presentation(octet >> 5 & 3)
    if presentation is Presentation.RESERVED:
        presentation = Presentation.RESTRICTED
    return presentation, Screening(octet & 3)
