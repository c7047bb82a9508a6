"""What a standing call leaves to the program after this one, and the call made of it again.

Times are of the monotonic clock, which goes on. The legs' own states stand beside it (``gateway.survival``). This is
the inside of ``Call`` seen from outside, kept apart as nothing of it is needed while the program runs.
"""

from __future__ import annotations

import msgspec

from gateway.call import Call
from gateway.call_history import Attempt, History, TransferAttempt
from gateway.call_states import State, Switch
from gateway.cause import Cause
from gateway.identity import Party
from gateway.leg import Leg, Offered, Setup

INCOMING, OUTGOING = "incoming", "outgoing"


class AttemptState(msgspec.Struct, frozen=True, omit_defaults=True):
    """An attempt or transfer; ``place``: that of the standing leg it made. ``leg`` as JSON, as records have it."""

    destination: str
    number: str
    cause: int | None = None
    text: str = ""
    leg: dict[str, object] = {}
    place: str = ""
    party: Party | None = None
    at: int = 0
    kind: str = ""
    by: str = ""


class CallState(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call, answered or on its way. ``holding``: the places of those who put us on hold."""

    identity: str
    context: str
    source: str
    setup: Setup
    started: int
    routed: int | None = None
    alerting: int | None = None
    answered: int | None = None
    ended: int | None = None
    cause: int | None = None
    released_by: str = ""
    connected: Party | None = None
    attempts: tuple[AttemptState, ...] = ()
    transfers: tuple[AttemptState, ...] = ()
    notes: tuple[str, ...] = ()
    one_way: bool = False
    emergency: bool = False
    sent_by: tuple[str, ...] = ()
    left: dict[str, object] = {}
    secure_bridge: frozenset[str] = frozenset()
    require: frozenset[str] = frozenset()
    forwards: int = 0
    holding: tuple[str, ...] = ()
    whole: bool = False
    """See ``goes_on``."""


def state_of(call: Call) -> CallState:
    """What ``call`` leaves behind if the program ends now."""
    history, outgoing = call.history, call.outgoing
    places = {id(call.incoming): INCOMING}
    if outgoing is not None:
        places[id(outgoing)] = OUTGOING
    return CallState(
        identity=call.identity,
        context=call.context,
        source=call.source,
        setup=call.setup,
        started=history.started,
        routed=history.routed,
        alerting=history.alerting,
        answered=history.answered,
        ended=history.ended,
        cause=None if history.cause is None else int(history.cause),
        released_by=history.released_by,
        connected=history.connected,
        attempts=tuple([_attempt(each, places) for each in history.attempts]),
        transfers=tuple([_attempt(each, places) for each in history.transfers]),
        notes=tuple(history.notes),
        one_way=history.one_way,
        emergency=history.emergency,
        sent_by=history.sent_by,
        left=history.incoming,
        secure_bridge=call._secure_bridge,
        require=call._require,
        forwards=call._forwards,
        holding=tuple([places[id(leg)] for leg in call._holding if id(leg) in places]),
        whole=goes_on(call),
    )


def revived(state: CallState, switch: Switch, incoming: Leg, outgoing: Leg, now: int) -> Call:
    """The call again, answered, its voice wired as it was; ``incoming`` and ``outgoing`` are revived legs of it.

    The owner has adopted the streams of both already. Nothing is sent by this.
    """
    legs: dict[str, Leg] = {INCOMING: incoming, OUTGOING: outgoing}
    call = Call(state.identity, switch, incoming, Offered(state.setup, state.context, state.source), state.started)
    call.history = history_of(state, legs)
    call.state = State.ANSWERED
    call.outgoing = outgoing
    outgoing.listener = call
    call._proceeded = call._early_audio = True
    call._secure_bridge, call._require = state.secure_bridge, state.require
    call._forwards = state.forwards
    call._holding = tuple(legs[place] for place in state.holding if place in legs)
    for leg in (incoming, outgoing):
        call._watch(leg.stream)
    if incoming.stream is not None and outgoing.stream is not None:
        call._wired = (incoming.stream, outgoing.stream)
    if state.holding:
        # Music is begun anew: the stream it came from is of the program before.
        call._settle_voice(now)
    else:
        call._settle_join(now)
    return call


def goes_on(call: Call) -> bool:
    """Whether ``call`` can be gone on with: answered, with two legs, and nobody on the way elsewhere."""
    return (
        call.state is State.ANSWERED
        and call.outgoing is not None
        and not call._incoming_gone
        and call._transfer is None
        and not call._others
    )


def history_of(state: CallState, legs: dict[str, Leg]) -> History:
    """What the record needs, with ``legs`` in the places where those of before stood."""
    return History(
        started=state.started,
        routed=state.routed,
        alerting=state.alerting,
        answered=state.answered,
        ended=state.ended,
        cause=None if state.cause is None else Cause.of(state.cause),
        released_by=state.released_by,
        connected=state.connected,
        attempts=[Attempt(*_tried(each, legs)) for each in state.attempts],
        transfers=[TransferAttempt(*_tried(each, legs), each.at, each.kind, each.by) for each in state.transfers],
        notes=list(state.notes),
        one_way=state.one_way,
        emergency=state.emergency,
        sent_by=state.sent_by,
        incoming=state.left,
    )


def _tried(
    each: AttemptState, legs: dict[str, Leg]
) -> tuple[str, str, Cause | None, str, dict[str, object], Leg | None, Party | None]:
    """What an attempt and a transfer have in common."""
    cause = None if each.cause is None else Cause.of(each.cause)
    return each.destination, each.number, cause, each.text, each.leg, legs.get(each.place), each.party


def _attempt(attempt: Attempt, places: dict[int, str]) -> AttemptState:
    at, kind, by = (attempt.at, attempt.kind, attempt.by) if isinstance(attempt, TransferAttempt) else (0, "", "")
    return AttemptState(
        attempt.destination,
        attempt.number,
        None if attempt.cause is None else int(attempt.cause),
        attempt.text,
        attempt.leg,
        places.get(id(attempt.owner), "") if attempt.owner is not None else "",
        attempt.party,
        at,
        kind,
        by,
    )


__all__ = ["AttemptState", "CallState", "goes_on", "history_of", "revived", "state_of"]
