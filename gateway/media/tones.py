"""Call-progress tones by country (ITU-T E.180 with its supplement 2), as data, and which of them a cause sounds like.

A tone is written as steps ``frequencies:milliseconds``, which repeat: ``480+620:500`` is both at once, ``0:500`` a
pause, ``425`` alone sounds for ever, ``400*25`` is 400 Hz modulated with 25 Hz, given as its two side frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from gateway.cause import Cause
from gateway.cause_map import CauseRules
from gateway.media.api import Tone, ToneStep

TONE_NAMES = ("dial", "ringback", "busy", "congestion", "special_information", "call_waiting", "unobtainable")

# ITU-T O.133 keeps 1000 Hz off the frame rate of 8000/s; the level is that of a digital milliwatt (G.711).
MILLIWATT = Tone((ToneStep((1004,), 0, level=0.0),))

# Two soft pips now and then: whoever is on hold knows that the call stands. No country has a tone of its own for it.
HOLD_TONE = Tone(
    (
        ToneStep((440,), 150, level=-24.0),
        ToneStep((), 200),
        ToneStep((440,), 150, level=-24.0),
        ToneStep((), 6000),
    )
)

_DOUBLE_RING = "400+450:400 0:200 400+450:400 0:2000"
_THREE_TONES = "950:330 1400:330 1800:330 0:1000"

# dial, ringback, busy, congestion, call waiting; special information and unobtainable where not the usual ones.
_COUNTRIES: dict[str, dict[str, str]] = {
    country: dict(zip(("dial", "ringback", "busy", "congestion", "call_waiting"), row, strict=True))
    for country, row in {
        "at": ("420", "420:1000 0:5000", "420:400 0:400", "420:200 0:200", "420:40 0:1960"),
        "au": (
            "413+438",
            "413+438:400 0:200 413+438:400 0:2000",
            "425:375 0:375",
            "425:375 0:375",
            "425:200 0:200 425:200 0:4400",
        ),
        "be": ("425", "425:1000 0:3000", "425:500 0:500", "425:167 0:167", "1400:175 0:175 1400:175 0:3500"),
        "br": ("425", "425:1000 0:4000", "425:250 0:250", "425:250 0:250 425:750 0:250", "425:50 0:1000"),
        "ca": ("350+440", "440+480:2000 0:4000", "480+620:500 0:500", "480+620:250 0:250", "440:300 0:10000"),
        "ch": ("425", "425:1000 0:4000", "425:500 0:500", "425:200 0:200", "425:200 0:200 425:200 0:4000"),
        "cn": ("450", "450:1000 0:4000", "450:350 0:350", "450:700 0:700", "450:400 0:4000"),
        "cz": (
            "425:330 0:330 425:660 0:660",
            "425:1000 0:4000",
            "425:330 0:330",
            "425:165 0:165",
            "425:330 0:9000",
        ),
        "de": ("425", "425:1000 0:4000", "425:480 0:480", "425:240 0:240", "425:200 0:200 425:200 0:5000"),
        "dk": ("425", "425:1000 0:4000", "425:500 0:500", "425:200 0:200", "425:200 0:600 425:200 0:3000"),
        "es": (
            "425",
            "425:1500 0:3000",
            "425:200 0:200",
            "425:200 0:200 425:200 0:200 425:200 0:600",
            "425:175 0:175 425:175 0:3500",
        ),
        "fi": ("425", "425:1000 0:4000", "425:300 0:300", "425:200 0:200", "425:150 0:150 425:150 0:8000"),
        "fr": ("440", "440:1500 0:3500", "440:500 0:500", "440:250 0:250", "440:300 0:10000"),
        "gb": ("350+440", _DOUBLE_RING, "400:375 0:375", "400:400 0:350 400:225 0:525", "400:100 0:4000"),
        "gr": (
            "425:200 0:300 425:700 0:800",
            "425:1000 0:4000",
            "425:300 0:300",
            "425:200 0:200",
            "425:150 0:150 425:150 0:8000",
        ),
        "hk": (
            "350+440",
            "440+480:400 0:200 440+480:400 0:3000",
            "480+620:500 0:500",
            "480+620:250 0:250",
            "440:300 0:10000",
        ),
        "hu": ("425", "425:1250 0:3750", "425:300 0:300", "425:300 0:300", "425:40 0:1960"),
        "il": (
            "414",
            "414:1000 0:3000",
            "414:500 0:500",
            "414:250 0:250",
            "414:100 0:100 414:100 0:100 414:600 0:3000",
        ),
        "in": (
            "400*25",
            "400*25:400 0:200 400*25:400 0:2000",
            "400:750 0:750",
            "400:250 0:250",
            "400:200 0:100 400:200 0:7500",
        ),
        "it": (
            "425:200 0:200 425:600 0:1000",
            "425:1000 0:4000",
            "425:500 0:500",
            "425:200 0:200",
            "425:400 0:100 425:250 0:100 425:150 0:14000",
        ),
        "jp": ("400", "400*16:1000 0:2000", "400:500 0:500", "400:500 0:500", "400*16:500 0:8000"),
        "mx": ("425", "425:1000 0:4000", "425:250 0:250", "425:250 0:250", "425:200 0:600 425:200 0:10000"),
        "nl": ("425", "425:1000 0:4000", "425:500 0:500", "425:250 0:250", "425:500 0:9500"),
        "no": ("425", "425:1000 0:4000", "425:500 0:500", "425:200 0:200", "425:200 0:600 425:200 0:10000"),
        "nz": ("400", _DOUBLE_RING, "400:500 0:500", "400:250 0:250", "400:200 0:3000 400:200 0:3000"),
        "pl": ("425", "425:1000 0:4000", "425:500 0:500", "425:500 0:500", "425:150 0:150 425:150 0:4000"),
        "pt": ("425", "425:1000 0:5000", "425:500 0:500", "425:200 0:200", "440:300 0:10000"),
        "ru": ("425", "425:800 0:3200", "425:350 0:350", "425:175 0:175", "425:200 0:5000"),
        "se": ("425", "425:1000 0:5000", "425:250 0:250", "425:250 0:750", "425:200 0:500 425:200 0:9100"),
        "sg": (
            "425",
            "425*24:400 0:200 425*24:400 0:2000",
            "425:750 0:750",
            "425:250 0:250",
            "425*24:300 0:200 425*24:300 0:3200",
        ),
        "us": ("350+440", "440+480:2000 0:4000", "480+620:500 0:500", "480+620:250 0:250", "440:300 0:10000"),
        "za": (
            "400*33",
            "400*33:400 0:200 400*33:400 0:2000",
            "400:500 0:500",
            "400:250 0:250",
            "400*33:250 0:250 400*33:250 0:3250",
        ),
    }.items()
}
_SPECIAL_INFORMATION = {
    "be": "900:330 1400:330 1800:330 0:1000",
    "gb": "950:330 0:15 1400:330 0:15 1800:330 0:1000",
}
# A tone of its own for a number that cannot be reached; elsewhere that is the special information tone.
_UNOBTAINABLE = {
    "au": "425:2500 0:500",
    "gb": "400",
    "nz": "400:75 0:100 400:75 0:100 400:75 0:100 400:75 0:400",
    "za": "400:2500 0:500",
}

COUNTRIES = frozenset(_COUNTRIES)

# Q.850 to what the caller hears; every other cause is congestion (E.180 clause 5). Busy is for a busy user only, and
# for the end of a call that was there: a caller must never take a network in trouble for a busy subscriber.
TONE_FOR_CAUSE: dict[Cause, str] = {
    Cause.USER_BUSY: "busy",
    Cause.NORMAL_CALL_CLEARING: "busy",
    Cause.UNALLOCATED_NUMBER: "unobtainable",
    Cause.NO_ROUTE_TO_TRANSIT_NETWORK: "unobtainable",
    Cause.NO_ROUTE_TO_DESTINATION: "unobtainable",
    Cause.SEND_SPECIAL_INFORMATION_TONE: "special_information",
    Cause.MISDIALLED_TRUNK_PREFIX: "special_information",
    Cause.NUMBER_CHANGED: "special_information",
    Cause.INVALID_NUMBER_FORMAT: "special_information",
    Cause.INVALID_TRANSIT_NETWORK: "special_information",
}


@dataclass(frozen=True, slots=True)
class CountryTones:
    """The tones of one country by their E.180 names."""

    dial: Tone
    ringback: Tone
    busy: Tone
    congestion: Tone
    special_information: Tone
    call_waiting: Tone
    unobtainable: Tone

    def named(self, name: str) -> Tone:
        """The tone called ``name`` (one of TONE_NAMES), else KeyError."""
        if name not in TONE_NAMES:
            raise KeyError(name)
        tone = getattr(self, name)
        assert isinstance(tone, Tone)  # noqa: S101
        return tone

    def for_cause(self, cause: Cause, rules: CauseRules | None = None) -> Tone:
        """What a caller hears when a call ends with ``cause``."""
        return self.named(tone_for_cause(cause, rules))


def tone_for_cause(cause: Cause, rules: CauseRules | None = None) -> str:
    """The name of the tone for ``cause``; an operator's rule comes first."""
    if rules is not None and cause in rules.tone:
        return rules.tone[cause]
    return TONE_FOR_CAUSE.get(cause, "congestion")


def tones_for(country: str) -> CountryTones:
    """The tones of ``country`` (ISO 3166 two letters, lower case); KeyError if it is not in COUNTRIES."""
    row = dict(_COUNTRIES[country])
    row["special_information"] = special = _SPECIAL_INFORMATION.get(country, _THREE_TONES)
    row["unobtainable"] = _UNOBTAINABLE.get(country, special)
    return CountryTones(**{field.name: parse_tone(row[field.name]) for field in fields(CountryTones)})


def parse_tone(text: str) -> Tone:
    """Read the notation of this module; ValueError if it is another."""
    return Tone(tuple(_parse_step(step) for step in text.split()))


def _parse_step(text: str) -> ToneStep:
    sound, _, milliseconds = text.partition(":")
    carrier, star, modulation = sound.partition("*")
    if star:
        frequencies: tuple[int, ...] = (int(carrier) - int(modulation), int(carrier) + int(modulation))
    else:
        frequencies = tuple(int(part) for part in sound.split("+") if part != "0")
    return ToneStep(frequencies, int(milliseconds or 0))
