"""The one TEI management procedure that a fixed TEI takes part in: the identity check (Q.921 5.3.3 and table 8).

Some exchanges ask for the TEIs in use even on a point-to-point line, and distrust a user side that stays silent.
"""

from __future__ import annotations

from gateway.pri.lapd.frames import encode_address

_FROM_NETWORK = encode_address(63, 127, True)
_FROM_USER = encode_address(63, 127, False)
_UI = 0x03
_MANAGEMENT_ENTITY = 0x0F
_IDENTITY_CHECK_REQUEST = 4
_IDENTITY_CHECK_RESPONSE = 5
_ANY_TEI = 127


def answer_check(frame: bytes, tei: int) -> bytes | None:
    """The user side's answer to ``frame`` if it is an identity check request for ``tei`` or for all, else None."""
    if len(frame) < 8 or frame[:2] != _FROM_NETWORK or frame[2] & 0xEF != _UI or frame[3] != _MANAGEMENT_ENTITY:
        return None
    if frame[6] != _IDENTITY_CHECK_REQUEST or frame[7] >> 1 not in (tei, _ANY_TEI):
        return None
    # Ri tells apart terminals with the same TEI (5.3.3); a point-to-point line has one terminal, so any value will do.
    return _FROM_USER + bytes((_UI, _MANAGEMENT_ENTITY, 0, 1, _IDENTITY_CHECK_RESPONSE, tei << 1 | 1))
