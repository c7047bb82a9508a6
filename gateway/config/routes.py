"""Checks of contexts and routes: that every name in them leads somewhere, and that no search runs in a circle."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.config.draft import Draft
from gateway.config.fields import Reader
from gateway.config.model import DEFAULT_CONTEXT, Route, Technology
from gateway.config.problems import KeyPath, did_you_mean
from gateway.config.values import is_file
from gateway.media.tones import TONE_NAMES
from gateway.routing.destinations import MAX_DESTINATIONS, Kind, Template
from gateway.routing.patterns import sort_key
from gateway.routing.prompts import prompt_fault, prompt_path

MAX_ROUTES = 100_000


def check_routes(reader: Reader, draft: Draft) -> None:
    """Note everything that is wrong with contexts and routes."""
    checks = _RouteChecks(reader, draft)
    checks.contexts()
    checks.shapes()
    checks.include_loops()
    checks.duplicates()
    checks.destinations()
    checks.strangers()
    checks.music()


class _RouteChecks:
    def __init__(self, reader: Reader, draft: Draft) -> None:
        self._reader = reader
        self._draft = draft
        # A route that could not be read still makes its context exist; only one complaint about it.
        self._contexts = sorted({DEFAULT_CONTEXT, *self._written_contexts()})
        self._groups = sorted({group for _, span in draft.spans for group in span.group})
        self._trunks = draft.trunk_names(Technology.SIP)
        self._iax_trunks = draft.trunk_names(Technology.IAX2)
        self._phones = [name for _, name in draft.names("phone")]
        spans = draft.written("span")
        self._all_spans_read = isinstance(spans, list) and len(spans) == len(draft.spans)

    def _written_contexts(self) -> Iterable[str]:
        routes = self._draft.written("route")
        for route in routes if isinstance(routes, list) else []:
            context = route.get("context") if isinstance(route, dict) else None
            if isinstance(context, str):
                yield context

    def _known(self, path: KeyPath, name: str, known: list[str], what: str, value: object = None) -> None:
        if name not in known:
            text = f"expected {what}; there is no {name!r}{did_you_mean(name, known)}"
            self._reader.error(path, text, name if value is None else value)

    def contexts(self) -> None:
        """Whoever starts in a context must find it."""
        draft = self._draft
        entries: list[tuple[KeyPath, str]] = [((*path, "context"), span.context) for path, span in draft.spans]
        entries += [((*path, "context"), peer.context) for path, peer in draft.all_peers()]
        entries.append((("sip", "context"), draft.sip.context))
        if draft.iax is not None and draft.iax.context is not None:
            entries.append((("iax", "context"), draft.iax.context))
        for path, context in entries:
            self._known(path, context, self._contexts, "a context that has a [[route]]")

    def shapes(self) -> None:
        """A route either leads somewhere or includes."""
        for path, route in self._draft.routes:
            # What could not be read is there all the same, and has its complaint already.
            match, to, include = (self._draft.written(*path, key) is not None for key in ("match", "to", "include"))
            if route.include and (match or to):
                self._reader.error((*path, "include"), "expected either include, or match and to", list(route.include))
            elif not include and not match:
                self._reader.error(path, "expected match and to, or include")
            elif not include and (not to or self._draft.written(*path, "to") == []):
                self._reader.error((*path, "to"), "missing; expected a list of at least one destination")
            if route.include and (route.require or route.caller is not None or route.ring_seconds is not None):
                self._reader.error(path, "expected include without require, caller and ring_seconds")
            if len(route.to) > MAX_DESTINATIONS:
                self._reader.error((*path, "to"), f"expected at most {MAX_DESTINATIONS} destinations")
            if route.include and route.secure_bridge:
                self._reader.error((*path, "secure_bridge"), "expected in the routes that lead somewhere, not here")
        if len(self._draft.routes) > MAX_ROUTES:
            self._reader.error(("route", MAX_ROUTES), f"expected at most {MAX_ROUTES} routes")

    def include_loops(self) -> None:
        """Includes must exist and must not lead back."""
        includes: dict[str, list[tuple[KeyPath, str]]] = {}
        for path, route in self._draft.routes:
            for index, name in enumerate(route.include):
                place = (*path, "include", index)
                self._known(place, name, self._contexts, "a context that has a [[route]]")
                includes.setdefault(route.context, []).append((place, name))
        done: set[str] = set()
        for context in includes:
            self._walk(context, includes, done)

    def _walk(self, start: str, includes: dict[str, list[tuple[KeyPath, str]]], done: set[str]) -> None:
        """Depth first from ``start``, without recursion, noting each include that closes a circle."""
        if start in done:
            return
        way = [start]
        rests = [iter(includes.get(start, []))]
        while rests:
            step = next(rests[-1], None)
            if step is None:
                rests.pop()
                done.add(way.pop())
                continue
            place, name = step
            if name in way:
                circle = " -> ".join([*way[way.index(name) :], name])
                self._reader.error(place, f"expected no circle of includes; found {circle}", name)
            elif name not in done:
                way.append(name)
                rests.append(iter(includes.get(name, [])))

    def duplicates(self) -> None:
        """Of two routes with the same pattern only the first is ever used."""
        seen: dict[tuple[object, ...], KeyPath] = {}
        for path, route in self._draft.routes:
            if route.match is None:
                continue
            caller = sort_key(route.caller) if route.caller is not None else None
            place = (*path, "match")
            first = seen.setdefault((route.context, sort_key(route.match), caller), place)
            if first is not place:
                text = f"never used: line {self._reader.line(first)} has the same pattern in context {route.context}"
                self._reader.warning(place, text, route.match.text)

    def destinations(self) -> None:
        """Every destination's group, trunk, phone, prompt, tone and context must be there."""
        for path, route in self._draft.routes:
            for index, template in enumerate(route.to):
                self._destination((*path, "to", index), template, route)

    def strangers(self) -> None:
        """Whoever finds our port may call where calls of strangers begin: told once if that leads out."""
        leads: dict[str, list[tuple[KeyPath, Route]]] = {}
        for path, route in self._draft.routes:
            leads.setdefault(route.context, []).append((path, route))
        self._strangers("sip", self._draft.sip.context, leads)
        iax = self._draft.iax
        if iax is not None and iax.context not in (None, self._draft.sip.context):
            self._strangers("iax", iax.context or "", leads)

    def _strangers(self, section: str, begin: str, leads: dict[str, list[tuple[KeyPath, Route]]]) -> None:
        waiting, seen = [begin], {begin}
        while waiting:
            for path, route in leads.get(waiting.pop(), ()):
                further = [*route.include, *(each.target for each in route.to if each.kind is Kind.GOTO)]
                waiting += [each for each in further if each not in seen]
                seen.update(further)
                for index, template in enumerate(route.to):
                    out = template.kind in (Kind.PRI, Kind.IAX2)
                    if out or (template.kind is Kind.SIP and template.target in self._trunks):
                        text = (
                            f"anybody on the Internet may call out by it, without a password: calls of strangers begin "
                            f"in context {begin} ([{section}] context); expected it in a context of trunks and phones "
                            "only"
                        )
                        self._reader.warning((*path, "to", index), text, template.text)
                        return

    def music(self) -> None:
        """The file of ``[media] musiconhold``, if it is one."""
        media = self._draft.media
        if media.musiconhold in ("tone", "none"):
            return
        file = prompt_path(media.prompts, media.musiconhold)
        fault = f"there is no file {file}" if not is_file(file) else prompt_fault(file)
        if fault:
            text = f'expected "tone", "none" or a prompt; {fault}'
            self._reader.error(("media", "musiconhold"), text, media.musiconhold)

    def _destination(self, path: KeyPath, template: Template, route: Route) -> None:
        target, text = template.target, template.text
        match template.kind:
            case Kind.PRI:
                if self._all_spans_read or target in self._groups or not self._draft.written("span"):
                    self._known(path, target, self._groups, "the group of a [[span]]", text)
            case Kind.SIP:
                self._sip(path, template)
            case Kind.IAX2:
                self._iax(path, template)
            case Kind.PLAY:
                file = prompt_path(self._draft.media.prompts, target)
                if not is_file(file):
                    self._reader.error(path, f"expected a prompt; there is no file {file}", text)
                elif fault := prompt_fault(file):
                    self._reader.error(path, f"expected a prompt; {fault}", text)
            case Kind.TONE:
                self._known(path, target, list(TONE_NAMES), f"one of {', '.join(TONE_NAMES)}", text)
            case Kind.GOTO:
                self._known(path, target, self._contexts, "a context that has a [[route]]", text)
            case _:
                pass
        if template.kind is Kind.REJECT and template is not route.to[-1]:
            self._reader.warning(path, "the destinations after it are never tried", text)

    def _iax(self, path: KeyPath, template: Template) -> None:
        target, text = template.target, template.text
        if target in self._trunks and target not in self._iax_trunks:
            self._reader.error(path, f"expected sip:{target}/NUMBER, as its technology is sip", text)
        else:
            self._known(path, target, self._iax_trunks, "a [[trunk]] of technology iax2", text)

    def _sip(self, path: KeyPath, template: Template) -> None:
        target, text = template.target, template.text
        if target in self._iax_trunks and target not in self._trunks:
            self._reader.error(path, f"expected iax2:{target}/NUMBER, as its technology is iax2", text)
            return
        if target in self._phones and template.number is not None:
            self._reader.error(path, f"expected sip:{target} without a number, as it is a phone", text)
        elif target in self._trunks and template.number is None:
            self._reader.error(path, f"expected sip:{target}/NUMBER, as it is a trunk", text)
        else:
            self._known(path, target, [*self._trunks, *self._phones], "a [[trunk]] or [[phone]]", text)
