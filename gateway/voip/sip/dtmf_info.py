"""DTMF in INFO bodies: application/dtmf-relay (Signal=, Duration=) and application/dtmf (the digit alone)."""

from __future__ import annotations

from gateway.voip.sip.errors import SipError

DTMF_RELAY = "application/dtmf-relay"
DTMF = "application/dtmf"
DEFAULT_MILLISECONDS = 100
MAX_MILLISECONDS = 10_000
MAX_BODY = 256

_DIGITS = frozenset("0123456789*#ABCD")
# Event numbers of RFC 4733 3.2, which some senders write instead of the character.
_BY_NUMBER = {"10": "*", "11": "#", "12": "A", "13": "B", "14": "C", "15": "D"}


def encode_relay(digit: str, milliseconds: int) -> bytes:
    """The application/dtmf-relay body of one digit."""
    return f"Signal={digit}\r\nDuration={milliseconds}\r\n".encode("ascii")


def decode(kind: str, body: bytes) -> tuple[str, int]:
    """Digit and duration (milliseconds) of an INFO body of media type ``kind``.

    Raises SipError(415) for another type and SipError(400) for a body without a digit.
    """
    if kind not in (DTMF_RELAY, DTMF):
        raise SipError(415, f"INFO with a body {kind[:60]!r}, expected DTMF")
    if len(body) > MAX_BODY:
        raise SipError(400, f"DTMF body of {len(body)} octets, at most {MAX_BODY} expected")
    signal, duration = "", ""
    for line in body.decode("ascii", "replace").splitlines():
        name, equals, value = line.partition("=")
        if not equals:
            signal = signal or name.strip()
        elif name.strip().lower() == "signal":
            signal = value.strip()
        elif name.strip().lower() == "duration":
            duration = value.strip()
    signal = _BY_NUMBER.get(signal, signal).upper()
    if signal not in _DIGITS:
        raise SipError(400, f"DTMF signal is {signal[:20]!r}, expected one of 0-9 * # A-D")
    return signal, _milliseconds(duration)


def _milliseconds(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        return DEFAULT_MILLISECONDS
    return max(1, min(int(text), MAX_MILLISECONDS))
