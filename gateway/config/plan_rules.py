"""What a changed key means for its part of the gateway: taken up in place, or only by starting the part, or all, anew.

A table, so that the plan of a change and whoever applies it cannot differ. A key without a row is taken up in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Kind(Enum):
    """The kinds of parts. Those up to TIMERS, and CAUSE, are there once and have no name."""

    GATEWAY = "gateway"
    NETWORK = "network"
    MEDIA = "media"
    SIP = "sip"
    IAX = "iax"
    TIMERS = "timers"
    SPAN = "span"
    TRUNK = "trunk"
    PHONE = "phone"
    CONTEXT = "context"
    """The routes of one context."""
    CAUSE = "cause"


class Effect(Enum):
    """How far a change reaches; the later of two is the stronger."""

    IN_PLACE = 0
    """Calls go on as they are; those that begin afterwards find it as it is then."""
    PART = 1
    """The part is taken down and up again; calls that use it drop."""
    SERVICE = 2
    """It holds from the next start of the gateway on; until then the old value does, and no call drops."""


EFFECTS: Mapping[Kind, Mapping[str, Effect]] = {
    Kind.GATEWAY: {
        "run_dir": Effect.SERVICE,
        "capture_megabytes": Effect.SERVICE,
        "bus": Effect.SERVICE,
    },
    Kind.MEDIA: {"control": Effect.SERVICE},
    Kind.IAX: {"maxcallnumbers_nonvalidated": Effect.SERVICE},
    Kind.TIMERS: {"q921": Effect.SERVICE},
    Kind.SPAN: {
        "channels": Effect.PART,
        "line": Effect.PART,
        "side": Effect.PART,
        "switch_type": Effect.PART,
        "law": Effect.PART,
        "timeslots": Effect.PART,
        "timers.q921": Effect.PART,
    },
    Kind.TRUNK: {"technology": Effect.PART},
}
"""By the kind of part and the key, or the table that the key is in (``timers.q921``)."""


def effect_of(kind: Kind, key: str) -> Effect:
    """What it means that ``key`` of a part of ``kind`` is another."""
    rows = EFFECTS.get(kind, {})
    while key:
        if key in rows:
            return rows[key]
        key = key.rpartition(".")[0]
    return Effect.IN_PLACE
