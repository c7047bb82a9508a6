"""The dial plan: (context, called number, caller, facts about the hop) to an ordered list of destinations, or a cause.

A pure function of the configuration: no state, no clock. A context's own routes are searched before its includes;
within one, the most specific pattern wins (``patterns``). ``explain`` tells how a decision came about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from gateway.cause import Cause
from gateway.config import model
from gateway.config.model import DEFAULT_CONTEXT, Configuration
from gateway.media.tones import CountryTones, tones_for
from gateway.pri.channels import Hunt
from gateway.routing.destinations import (
    MAX_DESTINATIONS,
    Destination,
    EchoDestination,
    IaxDestination,
    Kind,
    LegDestination,
    MilliwattDestination,
    NumberTemplate,
    PhoneDestination,
    PlayDestination,
    PriDestination,
    RejectDestination,
    Template,
    TonedDestination,
    TrunkDestination,
)
from gateway.routing.emergency import emergency_numbers
from gateway.routing.patterns import Pattern, PatternTable, without_separators
from gateway.routing.prompts import prompt_path

__all__ = [
    "Destination",
    "DialPlan",
    "EchoDestination",
    "IaxDestination",
    "Incomplete",
    "LegDestination",
    "MilliwattDestination",
    "PhoneDestination",
    "PlayDestination",
    "PriDestination",
    "Refused",
    "RejectDestination",
    "Route",
    "Routing",
    "TonedDestination",
    "TrunkDestination",
]

MAX_GOTO = 16
START = "s"
"""Asterisk's name for a call that brings no number."""

# What a caller who hears a tone of the dial plan's is cleared with.
_CAUSE_FOR_TONE = {
    "busy": Cause.USER_BUSY,
    "congestion": Cause.SWITCHING_EQUIPMENT_CONGESTION,
    "special_information": Cause.SEND_SPECIAL_INFORMATION_TONE,
    "unobtainable": Cause.UNALLOCATED_NUMBER,
}


class Route(msgspec.Struct, frozen=True):
    """Where the call goes: ``destinations`` in the order they are to be tried.

    ``open_ended``: digits that still come can be sent on behind those of the destination (overlap). ``emergency``: the
    number is an emergency number of the gateway's country. ``match`` and ``line`` say which route of the file it was.
    ``require`` are the facts that the caller's hop must have, ``secure_bridge`` those of the outgoing one. ``waived``
    says what the caller's hop lacked and was let pass, as nothing may stand between a caller and help.
    """

    destinations: tuple[Destination, ...]
    context: str
    match: str
    line: int
    emergency: bool = False
    open_ended: bool = False
    ring_seconds: int | None = None
    secure_bridge: frozenset[str] = frozenset()
    waived: str = ""
    require: frozenset[str] = frozenset()


class Incomplete(msgspec.Struct, frozen=True):
    """More digits may lead somewhere, or elsewhere; ``matches``: the number as it is leads somewhere already."""

    matches: bool = False


class Refused(msgspec.Struct, frozen=True):
    """The number leads nowhere, and no further digit would change that."""

    cause: Cause
    reason: str


Routing = Route | Incomplete | Refused


@dataclass(frozen=True, slots=True)
class _Goto:
    context: str
    number: NumberTemplate


_Step = Callable[[str], Destination] | _Goto


@dataclass(frozen=True, slots=True)
class _Entry:
    route: model.Route
    match: str
    caller: Pattern | None
    require: frozenset[str]
    secure_bridge: frozenset[str]
    steps: tuple[_Step, ...]
    open_ended: bool


class _Query:
    """What stays the same while one call is routed, and how often it was sent elsewhere."""

    __slots__ = ("caller", "complete", "emergency", "facts", "gotos", "trace")

    def __init__(self, caller: str, facts: frozenset[str], complete: bool, trace: list[str] | None = None) -> None:
        self.caller = caller
        self.facts = facts
        self.complete = complete
        self.trace = trace
        self.gotos = 0
        self.emergency = False


class _Context:
    __slots__ = ("includes", "name", "table")

    def __init__(self, name: str) -> None:
        self.name = name
        self.table: PatternTable[tuple[_Entry, ...]] = PatternTable()
        self.includes: list[str] = []


class DialPlan:
    """All contexts and routes of one configuration, ready to be searched."""

    def __init__(self, configuration: Configuration) -> None:
        self._contexts: dict[str, _Context] = {}
        self._emergency = emergency_numbers(configuration.gateway.country)
        self._file = configuration.path.name
        compiler = _Compiler(configuration)
        for route in configuration.routes:
            context = self._contexts.setdefault(route.context, _Context(route.context))
            context.includes.extend(route.include)
            if route.match is not None:
                _add(context.table, route.match, compiler.entry(route, route.match))
        for context in self._contexts.values():
            context.table.freeze()
        # Each context with all it includes, in the order of the search.
        self._search: Mapping[str, tuple[_Context, ...]] = {name: self._flatten(name) for name in self._contexts}

    def _flatten(self, name: str) -> tuple[_Context, ...]:
        """Depth first, each context once, as Asterisk searches."""
        order: dict[str, _Context] = {}
        waiting = [name]
        while waiting:
            name = waiting.pop()
            context = self._contexts.get(name)
            if context is not None and name not in order:
                order[name] = context
                waiting.extend(reversed(context.includes))
        return tuple(order.values())

    @property
    def contexts(self) -> tuple[str, ...]:
        """The contexts that have a route or an include."""
        return tuple(self._contexts)

    def route(
        self,
        context: str,
        called: str,
        caller: str = "",
        facts: frozenset[str] = frozenset(),
        complete: bool = True,
    ) -> Routing:
        """Where a call to ``called`` goes from ``context``; ``complete`` False while digits may follow.

        ``caller`` is the calling number, ``facts`` what the incoming hop can vouch for. Incomplete comes only while
        ``complete`` is False: the caller waits for digits and asks again, at the latest with ``complete``.
        """
        return self._route(context, without_separators(called), _Query(caller, facts, complete))

    def explain(
        self,
        context: str,
        called: str,
        caller: str = "",
        facts: frozenset[str] = frozenset(),
        complete: bool = True,
    ) -> list[str]:
        """How ``route`` comes to its decision for the same arguments, one step a line, the decision last."""
        trace: list[str] = []
        number = without_separators(called)
        routing = self._route(context, number, _Query(caller, facts, complete, trace))
        match routing:
            case Route(destinations=destinations):
                if routing.emergency:
                    trace.append(f"{number} is an emergency number")
                trace.append("goes to " + ", then ".join(map(str, destinations)))
            case Incomplete(matches):
                trace.append("waits for more digits" + (", would do as it is" if matches else ""))
            case Refused(cause, reason):
                trace.append(f"refused with cause {cause.value} ({cause.name.lower()}): {reason}")
        return trace

    def _route(self, context: str, number: str, query: _Query) -> Routing:
        search = self._search.get(context, ())
        entry, through_any = _find(search, number, query.caller)
        if entry is None and query.complete and not number:
            entry, through_any = _find(search, START, query.caller)
        if query.trace is not None:
            self._explain_search(query.trace, context, search, number, query.caller, entry)
        # What became of an emergency number on its way through contexts is one too.
        emergency = query.emergency = query.emergency or number in self._emergency
        # An emergency number is never kept waiting for digits that would make it another.
        if not query.complete and not (emergency and entry) and any(place.table.may_grow(number) for place in search):
            return Incomplete(entry is not None)
        if entry is None:
            if context == DEFAULT_CONTEXT:
                return Refused(Cause.CALL_REJECTED, f"context {context} has no route for {number or 'no number'}")
            return Refused(Cause.UNALLOCATED_NUMBER, f"no route for {number or 'no number'} in context {context}")
        waived = ""
        if not entry.require <= query.facts:
            missing = ", ".join(sorted(entry.require - query.facts))
            waived = f"{entry.match} requires {missing}, which the caller's hop lacks"
            if not emergency:
                return Refused(Cause.BEARER_CAPABILITY_NOT_AUTHORIZED, waived)
        secure_bridge, require = entry.secure_bridge, entry.require
        destinations: list[Destination] = []
        for step in entry.steps:
            if not isinstance(step, _Goto):
                destinations.append(step(number))
                continue
            found = self._goto(step, number, query)
            if isinstance(found, Route):
                destinations.extend(found.destinations)
                # For all of them: a hop too safe does no harm.
                secure_bridge |= found.secure_bridge
                require |= found.require
                waived = waived or found.waived
            elif isinstance(found, Refused):
                destinations.append(RejectDestination(found.cause))
            elif not destinations:
                return found
        if len(entry.steps) == 1 and isinstance(destinations[0], RejectDestination):
            return Refused(destinations[0].cause, f"{entry.match} leads to {destinations[0]}")
        route = entry.route
        return Route(
            tuple(destinations[:MAX_DESTINATIONS]),
            route.context,
            entry.match,
            route.line,
            emergency,
            through_any and entry.open_ended,
            route.ring_seconds,
            secure_bridge,
            waived,
            require,
        )

    def _goto(self, step: _Goto, number: str, query: _Query) -> Routing:
        number = without_separators(step.number.expand(number))
        if query.trace is not None:
            query.trace.append(f"goes on in context {step.context} with {number or 'no number'}")
        query.gotos += 1
        if query.gotos > MAX_GOTO:
            return Refused(Cause.EXCHANGE_ROUTING_ERROR, f"more than {MAX_GOTO} gotos")
        return self._route(step.context, number, query)

    def _explain_search(
        self,
        trace: list[str],
        context: str,
        search: tuple[_Context, ...],
        number: str,
        caller: str,
        chosen: _Entry | None,
    ) -> None:
        trace.append(f"context {context}: looking for {number or 'no number'}")
        if not search:
            trace.append(f"  context {context} has no routes")
        for place in search:
            via = "" if place.name == context else f" (included: {place.name})"
            for entries, _ in place.table.find(number):
                for entry in entries:
                    where = f"{self._file}:{entry.route.line}{via}"
                    if entry is chosen:
                        trace.append(f"  {entry.match} matches, {where}")
                    elif entry.caller is not None and not entry.caller.matches(caller):
                        trace.append(f"  {entry.match} is for caller {entry.caller.text} only, {where}")
                    else:
                        trace.append(f"  {entry.match} would match too, but comes later, {where}")


def _find(search: tuple[_Context, ...], number: str, caller: str) -> tuple[_Entry | None, bool]:
    for context in search:
        found = context.table.first(number)
        if found is None:
            continue
        if found[0][-1].caller is None and len(found[0]) == 1:
            return found[0][0], found[1]
        for entries, through_any in context.table.find(number):
            for entry in entries:
                if entry.caller is None or entry.caller.matches(caller):
                    return entry, through_any
    return None, False


def _add(table: PatternTable[tuple[_Entry, ...]], pattern: Pattern, entry: _Entry) -> None:
    """Routes with the same pattern: those for certain callers first, as Asterisk; otherwise the first of the file."""
    there = table.get(pattern) or ()
    at = len(there) if entry.caller is None else sum(other.caller is not None for other in there)
    table.add(pattern, (*there[:at], entry, *there[at:]))


class _Compiler:
    """Turns the destinations of the file into functions of the called number."""

    def __init__(self, configuration: Configuration) -> None:
        self._phones = frozenset(phone.name for phone in configuration.phones)
        self._prompts = configuration.media.prompts
        self._tones: CountryTones = tones_for(configuration.gateway.country)

    def entry(self, route: model.Route, match: Pattern) -> _Entry:
        """The compiled ``route``."""
        last = route.to[0].number if route.to else None
        return _Entry(
            route,
            match.text,
            route.caller,
            frozenset(fact.value for fact in route.require),
            frozenset(fact.value for fact in route.secure_bridge),
            tuple(self._step(template) for template in route.to),
            last is not None and last.open_ended,
        )

    def _step(self, template: Template) -> _Step:
        target, number = template.target, template.number
        match template.kind:
            case Kind.PRI if number is not None:
                hunt = template.hunt or Hunt.ASCENDING
                return lambda called: PriDestination(target, hunt, number.expand(called))
            case Kind.SIP if number is not None:
                return lambda called: TrunkDestination(target, number.expand(called))
            case Kind.IAX2 if number is not None:
                return lambda called: IaxDestination(target, number.expand(called))
            case Kind.GOTO if number is not None:
                return _Goto(target, number)
            case Kind.SIP:
                return lambda called: PhoneDestination(target, called)
            case _:
                destination = self._constant(template)
                return lambda _called: destination

    def _constant(self, template: Template) -> Destination:
        match template.kind:
            case Kind.PLAY:
                return PlayDestination(str(prompt_path(self._prompts, template.target)), template.target)
            case Kind.TONE:
                tone = self._tones.named(template.target)
                cause = _CAUSE_FOR_TONE.get(template.target, Cause.NORMAL_CALL_CLEARING)
                return TonedDestination(tone, cause, template.target)
            case Kind.ECHO:
                return EchoDestination()
            case Kind.MILLIWATT:
                return MilliwattDestination()
            case _:
                return RejectDestination(template.cause or Cause.CALL_REJECTED)
