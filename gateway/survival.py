"""Calls that outlive the program: what is kept of each in the journal, and the calls made of that at the next start.

An answered call with two legs is gone on with. Of any other only its record is left, and its far ends are told by their
own technology as far as they can be. Contents are of types with defaults, so that a later program reads them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
from msgspec.structs import replace

from gateway.call import Call
from gateway.call_record import record_from
from gateway.call_survival import CallState, history_of, state_of
from gateway.cause import Cause
from gateway.leg import Leg
from gateway.media.wire import ListEntry
from gateway.record import CallRecord, WallClock

log = logging.getLogger(__name__)

RESTARTED = "the gateway was restarted"
ENDING = "!"


class LegKept(msgspec.Struct, frozen=True):
    """A leg as its own technology keeps it (``state``); ``source`` names its trunk or phone."""

    technology: str
    source: str
    stream: int | None
    state: bytes


class LegsKept(msgspec.Struct, frozen=True, omit_defaults=True):
    """The sides of a call. ``others``: legs in neither place, as one that a transfer tries."""

    incoming: LegKept | None = None
    outgoing: LegKept | None = None
    others: tuple[LegKept, ...] = ()

    @property
    def all(self) -> tuple[LegKept | None, ...]:
        """Every leg that was to be kept."""
        return (self.incoming, self.outgoing, *self.others)


class CallKept(LegsKept, frozen=True, omit_defaults=True, kw_only=True):
    """One content of the journal."""

    call: CallState


class Ending(msgspec.Struct, frozen=True, array_like=True):
    """What became of an answered call of which all else stands under its name; its own is longer by ``ENDING``."""

    ended: int
    cause: int | None
    released_by: str


class Technology(Protocol):
    """Who keeps legs and makes them again, for a PRI trunk or the endpoint of SIP or IAX2."""

    def keep(self, leg: Leg) -> bytes | None:
        """What ``revive`` and ``give_up`` need; None: nothing could be done about this leg."""

    def revive(self, state: bytes, stream: int, now: int) -> Leg:
        """The leg that left ``state`` behind, its voice ``stream``; ValueError says why it cannot be gone on with."""

    def give_up(self, state: bytes, cause: Cause, now: int) -> None:
        """Tell the far end of a leg that left ``state`` behind that its call is over; nothing more is heard of it."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(CallKept).decode
_decode_ending = msgspec.msgpack.Decoder(Ending).decode
_decode_legs = msgspec.msgpack.Decoder(LegsKept).decode


def kept(call: Call, heir: Heir) -> bytes:
    """The journal's content of ``call``."""
    outgoing, others = call.outgoing, call._others
    return _encode(
        CallKept(
            call=state_of(call),
            incoming=_leg(call.incoming, heir),
            outgoing=None if outgoing is None else _leg(outgoing, heir),
            others=tuple(one for leg in others if (one := _leg(leg, heir)) is not None) if others else (),
        )
    )


def _leg(leg: Leg, heir: Heir) -> LegKept | None:
    technology = heir.technology_of(leg.technology, leg.source)
    state = None if technology is None else technology.keep(leg)
    return None if state is None else LegKept(leg.technology, leg.source, leg.stream, state)


class Journal(Protocol):
    """Where contents outlive the program."""

    def put(self, name: str, content: bytes) -> None:
        """Let ``content`` be what is kept as ``name``; ValueError if it cannot be."""

    def drop(self, name: str, *, at_leisure: bool = False) -> None:
        """Keep nothing as ``name`` any more, or as from the next ``put`` on."""

    def __contains__(self, name: object) -> bool:
        """Whether anything is kept as ``name``."""


def note(journal: Journal, touched: Iterable[str], heir: Heir) -> None:
    """Keep what has changed of the calls ``touched``; those that are over make way."""
    for identity in touched:
        call = heir.calls.get(identity)
        if call is None:
            # It has its record, by which the next start knows that it is over.
            journal.drop(identity, at_leisure=True)
            journal.drop(identity + ENDING, at_leisure=True)
            continue
        try:
            history = call.history
            if history.ended is not None and history.answered is not None and identity in journal:
                # All else is as it was, and is needed no more in a moment.
                journal.put(identity + ENDING, _encode(Ending(history.ended, history.cause, history.released_by)))
            else:
                journal.put(identity, kept(call, heir))
        except ValueError as error:
            log.error("call %s: cannot be kept: %s; it would end if the gateway did", identity, error)


def may_wait(call: Call) -> bool:
    """Whether ``call`` may change again before it is kept: nobody talks yet, and no far end counts our frames."""
    if call.history.answered is not None:
        return False
    outgoing = call.outgoing
    return call.incoming.technology != "iax2" and (outgoing is None or outgoing.technology != "iax2")


@dataclass(slots=True)
class Left:
    """What became of the calls of before: gone on with, or over, each with its record."""

    calls: list[Call] = field(default_factory=list)
    records: list[CallRecord] = field(default_factory=list)


class Engine(Protocol):
    """The client of the media engine."""

    kept: tuple[ListEntry, ...]

    def adopt(self, stream: int) -> None:
        """Take over a stream of ``kept``."""


class Heir(Protocol):
    """What has the calls, and takes those of before up: the switch."""

    calls: dict[str, Call]

    def technology_of(self, technology: str, source: str) -> Technology | None:
        """Who makes the legs of ``source``; None if it is not configured any more."""

    def adopt(self, state: CallState, incoming: Leg, outgoing: Leg, now: int) -> Call:
        """The call of ``state`` is one of the switch from now on, with these legs; their streams are taken over."""


def take_up(
    contents: Mapping[str, bytes],
    heir: Heir,
    engine: Engine,
    now: int,
    clock: WallClock,
    written: Container[str] = (),
) -> Left:
    """Go on with the calls in ``contents``; ``engine`` says which voice is still there.

    Those that have their record, by identity in ``written``, are over. Whatever is wrong with one call costs that call
    alone: its far ends are told as far as they can be.
    """
    left = Left()
    streams = frozenset(entry.stream for entry in engine.kept)
    for identity, content in contents.items():
        if identity.endswith(ENDING):
            continue
        one = _read(identity, content, contents.get(identity + ENDING))
        if identity in written or not isinstance(one, CallKept):
            for leg in one.all:
                _give_up(leg, identity, heir, now)
            continue
        why = _take_up(one, heir, engine, streams, left, now)
        if why:
            log.warning("call %s is not gone on with: %s", identity, why)
            left.records.append(_record(one.call, why, now, clock))
    return left


def _read(identity: str, content: bytes, end: bytes | None) -> CallKept | LegsKept:
    """What was kept of a call, or of its sides at least."""
    try:
        one = _decode(content)
        if end is not None:
            last = _decode_ending(end)
            call = replace(one.call, whole=False, ended=last.ended, cause=last.cause, released_by=last.released_by)
            one = replace(one, call=call)
        if one.call.identity != identity:
            raise ValueError(f"it is that of {one.call.identity}")
    except ValueError as error:
        log.error("call %s: what was kept of it makes no sense: %s", identity, error)
        try:
            return _decode_legs(content)
        except ValueError:
            return LegsKept()
    return one


def _take_up(one: CallKept, heir: Heir, engine: Engine, streams: Collection[int], left: Left, now: int) -> str:
    """Go on with the call, or tell its far ends that it is over: then why; "" if it goes on."""
    why = _hindrance(one.call)
    legs: list[Leg] = []
    for each in (one.incoming, one.outgoing):
        if not why:
            leg = _revived(each, heir, streams, now)
            if not isinstance(leg, str):
                legs.append(leg)
                continue
            why = leg
        _give_up(each, one.call.identity, heir, now)
    for each in one.others:
        _give_up(each, one.call.identity, heir, now)
    for leg in legs:
        if leg.stream is not None:
            engine.adopt(leg.stream)
        if why:
            leg.release(Cause.TEMPORARY_FAILURE, now, RESTARTED)
    if not why:
        incoming, outgoing = legs
        left.calls.append(heir.adopt(one.call, incoming, outgoing, now))
    return why


def _hindrance(state: CallState) -> str:
    """Why the call could not be gone on with whatever its legs are; "" if it could."""
    if state.whole:
        return ""
    if state.ended is not None:
        return "it was being released"
    return "it was on its way elsewhere" if state.answered is not None else "it was not answered"


def _revived(one: LegKept | None, heir: Heir, streams: Collection[int], now: int) -> Leg | str:
    """The leg again, or why there is none."""
    if one is None or one.stream is None:
        return "one of its sides cannot be kept"
    if one.stream not in streams:
        return "its voice has ended meanwhile"
    technology = heir.technology_of(one.technology, one.source)
    if technology is None:
        return f"{one.source} is not configured any more"
    try:
        return technology.revive(one.state, one.stream, now)
    except ValueError as error:
        return f"{one.source}: {error}"


def _record(state: CallState, why: str, now: int, clock: WallClock) -> CallRecord:
    history = history_of(state, {})
    if history.ended is None:
        history.ended, history.cause, history.released_by = now, Cause.TEMPORARY_FAILURE, "gateway"
    history.notes.append(f"{RESTARTED}: {why}")
    return record_from(state.identity, state.source, state.context, state.setup, history, clock)


def _give_up(one: LegKept | None, identity: str, heir: Heir, now: int) -> None:
    technology = None if one is None else heir.technology_of(one.technology, one.source)
    if one is None or technology is None:
        return
    try:
        technology.give_up(one.state, Cause.TEMPORARY_FAILURE, now)
    except ValueError as error:
        log.warning("call %s: %s cannot be told that it is over: %s", identity, one.source, error)


__all__ = ["CallKept", "Heir", "Left", "LegKept", "LegsKept", "Technology", "kept", "may_wait", "note", "take_up"]
