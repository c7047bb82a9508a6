"""What a change of configuration would do: for every part its fate, what differs, and the calls that would drop.

Pure: two configurations and the calls of the moment go in. What a key means for its part stands in ``plan_rules.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import msgspec
from msgspec.structs import replace

from gateway.config.model import CauseRule, Configuration, IaxTrunk, Phone, Route, Span, Timers, Trunk
from gateway.config.plan_rules import Effect, Kind, effect_of
from gateway.config.shown_values import as_toml
from gateway.config.timers import named_timers
from gateway.config.values import Secret

Use = tuple[Kind, str]
"""One part: its kind, and its name, which is empty for sections that are there once."""
Keys = Mapping[str, object]
"""The values of a part by their dotted keys."""

_SECTIONS = {
    Kind.GATEWAY: "gateway",
    Kind.NETWORK: "network",
    Kind.MEDIA: "media",
    Kind.SIP: "sip",
    Kind.IAX: "iax",
    Kind.TIMERS: "timers",
}
# Calls hold spans and peers; a context that goes, or a section, is no ground that they stand on.
_HELD = frozenset({Kind.SPAN, Kind.TRUNK, Kind.PHONE})
_SAME: Keys = {}


class Action(Enum):
    """What happens to a part."""

    UNCHANGED = "unchanged"
    ADDED = "added"
    UPDATED = "updated"
    """In place: calls go on, those that begin afterwards find it as it is then."""
    RESTARTED = "restarted"
    """Taken down and up again: what uses it drops."""
    REMOVED = "removed"
    DEFERRED = "deferred"
    """Some of it is taken up only when the gateway is started anew; until then the old values hold, and calls go on."""


@dataclass(frozen=True, slots=True)
class CallUse:
    """A call of this moment. ``uses`` are the parts that it holds, without which it cannot go on."""

    identity: str
    source: str
    destination: str
    uses: frozenset[Use]


@dataclass(frozen=True, slots=True)
class Difference:
    """One key of a part, dotted (``timers.q931.T303``), as it is and as it would be, both written as in TOML.

    ``old`` is empty where there was nothing, ``new`` where there would be nothing. A secret is never told: both are
    empty then, and ``secret`` is true.
    """

    key: str
    old: str
    new: str
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """The fate of one part. ``calls`` are the identities of those that drop, ``why`` says for what reason."""

    kind: Kind
    name: str
    action: Action
    differences: tuple[Difference, ...] = ()
    calls: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Every part of the old and the new configuration once. ``service``: what needs a start of the gateway."""

    entries: tuple[Entry, ...]
    service: str = ""

    @property
    def changes(self) -> tuple[Entry, ...]:
        """The entries of parts that do not stay as they are."""
        return tuple(entry for entry in self.entries if entry.action is not Action.UNCHANGED)

    @property
    def affected(self) -> frozenset[Use]:
        """The parts that calls which use them do not outlive."""
        ends = (Action.RESTARTED, Action.REMOVED)
        return frozenset((entry.kind, entry.name) for entry in self.entries if entry.action in ends)

    @property
    def dropped(self) -> tuple[str, ...]:
        """The identities of all calls that drop, each once."""
        return tuple(dict.fromkeys(call for entry in self.entries for call in entry.calls))


def plan_of(old: Configuration, new: Configuration, calls: Iterable[CallUse] = ()) -> Plan:
    """What it means to go from ``old`` to ``new`` while ``calls`` are up."""
    users: dict[Use, list[str]] = {}
    for call in calls:
        for use in call.uses:
            users.setdefault(use, []).append(call.identity)
    entries = tuple(_entry(part, before, after, users) for part, before, after in _parts(old, new))
    return Plan(entries, "; ".join(entry.why for entry in entries if entry.action is Action.DEFERRED))


def _title(part: Use) -> str:
    kind, name = part
    return f"{kind.value} {name}" if name else kind.value


def _entry(part: Use, before: Keys | None, after: Keys | None, users: Mapping[Use, Sequence[str]]) -> Entry:
    """The fate of one part; ``before`` None: it is new, ``after`` None: it goes."""
    kind, name = part
    if before is after:
        return Entry(kind, name, Action.UNCHANGED)
    differences = tuple(_differences(before or {}, after or {}))
    drops = tuple(users.get(part, ()))
    if before is None:
        return Entry(kind, name, Action.ADDED, differences)
    if after is None:
        drops = drops if kind in _HELD else ()
        return Entry(kind, name, Action.REMOVED, differences, drops, f"{_title(part)} is removed" if drops else "")
    by_effect: dict[Effect, list[str]] = {}
    for each in differences:
        by_effect.setdefault(effect_of(kind, each.key), []).append(each.key)
    if keys := by_effect.get(Effect.PART):
        why = f"{_title(part)} is restarted for its {', '.join(keys)}"
        return Entry(kind, name, Action.RESTARTED, differences, drops, why)
    if keys := by_effect.get(Effect.SERVICE):
        why = f"{_title(part)}: {', '.join(keys)} are taken up when the gateway is started anew"
        return Entry(kind, name, Action.DEFERRED, differences, why=why)
    return Entry(kind, name, Action.UPDATED if differences else Action.UNCHANGED, differences)


def _differences(before: Keys, after: Keys) -> Iterator[Difference]:
    for key in dict.fromkeys((*before, *after)):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if isinstance(old, Secret) or isinstance(new, Secret):
            yield Difference(key, "", "", secret=True)
        else:
            yield Difference(key, as_toml(old), as_toml(new))


# -- the parts of a configuration --


def _parts(old: Configuration, new: Configuration) -> Iterator[tuple[Use, Keys | None, Keys | None]]:
    """Every part with its keys before and after; both are the same object if nothing of it differs."""
    for kind, section in _SECTIONS.items():
        before, after = getattr(old, section), getattr(new, section)
        if before is not None or after is not None:
            yield (kind, ""), *_both(before, after)
    yield from _tables(Kind.SPAN, old.spans, new.spans)
    yield from _tables(Kind.TRUNK, (*old.trunks, *old.iax_trunks), (*new.trunks, *new.iax_trunks))
    yield from _tables(Kind.PHONE, old.phones, new.phones)
    yield from _contexts(old.routes, new.routes)
    if old.causes or new.causes:
        same = old.causes == new.causes
        yield (Kind.CAUSE, ""), *((_SAME, _SAME) if same else (_cause_keys(old.causes), _cause_keys(new.causes)))


def _both(before: msgspec.Struct | None, after: msgspec.Struct | None) -> tuple[Keys | None, Keys | None]:
    if before == after:
        return _SAME, _SAME
    return None if before is None else _keys(before), None if after is None else _keys(after)


def _tables(
    kind: Kind, old: Sequence[Span | Trunk | IaxTrunk | Phone], new: Sequence[Span | Trunk | IaxTrunk | Phone]
) -> Iterator[tuple[Use, Keys | None, Keys | None]]:
    before, after = {each.name: each for each in old}, {each.name: each for each in new}
    for name in dict.fromkeys((*before, *after)):
        yield (kind, name), *_both(before.get(name), after.get(name))


def _keys(struct: msgspec.Struct) -> Keys:
    """The values of a section by their keys, those of timers by dotted ones."""
    if isinstance(struct, Timers):
        return named_timers(struct)
    keys: dict[str, object] = {}
    for key in struct.__struct_fields__:
        value = getattr(struct, key)
        if isinstance(value, Timers):
            keys |= {f"timers.{name}": each for name, each in named_timers(value).items()}
        else:
            keys[key] = value
    return keys


def _contexts(old: Sequence[Route], new: Sequence[Route]) -> Iterator[tuple[Use, Keys | None, Keys | None]]:
    before, after = _by_context(old), _by_context(new)
    for name in dict.fromkeys((*before, *after)):
        mine, theirs = before.get(name), after.get(name)
        if mine == theirs:
            yield (Kind.CONTEXT, name), _SAME, _SAME
        else:
            yield (
                (Kind.CONTEXT, name),
                None if mine is None else _route_keys(mine),
                None if theirs is None else _route_keys(theirs),
            )


def _by_context(routes: Sequence[Route]) -> dict[str, list[Route]]:
    contexts: dict[str, list[Route]] = {}
    for route in routes:
        # Where in the file a route stands makes it no other.
        contexts.setdefault(route.context, []).append(replace(route, line=0) if route.line else route)
    return contexts


def _route_keys(routes: Sequence[Route]) -> Keys:
    """The routes of a context by what they match; of several that match the same, numbered, the first is used."""
    keys: dict[str, object] = {}
    for route in routes:
        name = ("include" if route.match is None else route.match.text) + (
            "" if route.caller is None else f"/{route.caller.text}"
        )
        key, number = name, 1
        while key in keys:
            number += 1
            key = f"{name} ({number})"
        keys[key] = {
            field: value
            for field in ("to", "include", "require", "secure_bridge", "ring_seconds")
            if (value := getattr(route, field))
        }
    return keys


def _cause_keys(rules: Sequence[CauseRule]) -> Keys:
    fields = ("to_sip", "from_sip", "failover", "tone")
    return {
        rule.cause.name.lower(): {
            field: value for field in fields if (value := getattr(rule, field)) is not None and value != ()
        }
        for rule in rules
    }
