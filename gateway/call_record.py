"""From a Call that is over to its record: the facts of the call model in the words of the record file."""

from __future__ import annotations

from gateway.call import Call
from gateway.call_history import History
from gateway.cause import Cause
from gateway.leg import NotOffered, Setup
from gateway.record import (
    AttemptRecord,
    CallRecord,
    TransferRecord,
    WallClock,
    party_record,
    redirection_record,
)


def refusal_record(identity: str, refused: NotOffered, now: int, clock: WallClock) -> CallRecord:
    """The record of a call that ended at ``now`` before it could be offered."""
    at = clock.at(now) or 0
    setup = refused.setup
    return CallRecord(
        id=identity,
        start=at,
        source=refused.source,
        context=refused.context,
        dialled=setup.called.digits,
        cause=int(refused.cause),
        released_by="gateway",
        end=at,
        caller=party_record(setup.caller),
        redirection=redirection_record(setup.redirection),
        incoming={"technology": refused.technology, "trunk": refused.source, "direction": "in"},
        notes=(refused.text,),
    )


def record_of(call: Call, clock: WallClock) -> CallRecord:
    """The record of ``call``, which must have ended."""
    return record_from(call.identity, call.source, call.context, call.setup, call.history, clock)


def record_from(
    identity: str, source: str, context: str, setup: Setup, history: History, clock: WallClock
) -> CallRecord:
    """The record of a call with that ``history``, which must have ended."""
    started = clock.at(history.started)
    ended = clock.at(history.ended)
    if started is None or ended is None:
        raise ValueError(f"call {identity} has not ended")
    attempts = history.attempts
    return CallRecord(
        id=identity,
        start=started,
        source=source,
        context=context,
        dialled=setup.called.digits,
        cause=int(history.cause if history.cause is not None else Cause.NORMAL_UNSPECIFIED),
        released_by=history.released_by,
        end=ended,
        routed=clock.at(history.routed),
        ringing=clock.at(history.alerting),
        answer=clock.at(history.answered),
        sent=attempts[-1].number if attempts else "",
        caller=party_record(setup.caller),
        connected=party_record(history.connected) if history.connected is not None else None,
        redirection=redirection_record(setup.redirection),
        incoming=history.incoming,
        attempts=tuple(
            AttemptRecord(a.destination, a.number, None if a.cause is None else int(a.cause), a.leg, a.text)
            for a in attempts
        ),
        facts=tuple(sorted(setup.facts)),
        transfers=tuple(
            TransferRecord(
                t.destination,
                t.number,
                None if t.cause is None else int(t.cause),
                t.leg,
                t.text,
                clock.at(t.at),
                t.kind,
                t.by,
            )
            for t in history.transfers
        ),
        emergency=history.emergency,
        one_way=history.one_way,
        notes=tuple(history.notes),
    )
