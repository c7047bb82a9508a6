"""Takes a new configuration up in the running gateway: only what differs is touched, and calls go on.

What the plan of a change calls ``deferred`` waits for the next start of the gateway; all else is done here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Protocol

from gateway.background import Background
from gateway.call import Call
from gateway.config.keeper import ApplyError
from gateway.config.model import Configuration, Span
from gateway.config.plan import Action, CallUse, Plan, Use
from gateway.config.plan_rules import Kind
from gateway.prepared import Prepared, prepared
from gateway.switch import Switch
from gateway.voip.sip.tls import TlsFileError
from gateway.voip.sip.transport import ListenError

log = logging.getLogger(__name__)

CLEARING_SECONDS = 2.0
"""How long calls that a change ends have to tell their far ends."""
LOOK_SECONDS = 0.02

_PEERS = frozenset({"sip", "iax2"})
_NAMED = frozenset({Kind.SPAN, Kind.TRUNK, Kind.PHONE})


class Surroundings(Protocol):
    """What else there is in the gateway beside the switch."""

    def drain(self) -> None:
        """Carry out what the switch has to say."""

    def close_span(self, name: str) -> None:
        """Let go of the line of a span."""

    def open_span(self, span: Span) -> None:
        """Begin with the line of a span that the switch has already."""

    async def prepare(self, fresh: Prepared) -> None:
        """Open what ``fresh`` needs beside what there is. Raises ListenError, TlsFileError or OSError."""

    async def give_up(self) -> None:
        """What was prepared is not needed."""

    def reconfigured(self, fresh: Prepared) -> None:
        """The switch has taken ``fresh`` up."""

    async def settle(self) -> None:
        """All have taken it up: close what nobody needs any more."""


class Reconfiguration:
    """Applies plans to ``switch`` (``gateway.config.keeper.Applier``)."""

    def __init__(
        self,
        switch: Switch,
        clock: Callable[[], int],
        around: Surroundings,
        background: Background | None = None,
    ) -> None:
        self._switch = switch
        self._clock = clock
        self._around = around
        self._background = background or Background()

    def calls(self) -> Iterator[CallUse]:
        """The calls of this moment, each with the spans, trunks and phones that it goes over."""
        switch = self._switch
        return (use_of(call, switch.is_phone) for call in switch.calls.values())

    def drain(self, parts: frozenset[Use]) -> None:
        """Let no new call use ``parts``, which are all that is closed from now on."""
        self._switch.close_parts(frozenset(name for kind, name in parts if kind in _NAMED))

    async def apply(self, old: Configuration, new: Configuration, plan: Plan) -> str:
        """Go from ``old`` to ``new``; what still needs a start of the gateway, or nothing. Raises ApplyError."""
        try:
            fresh = await self._background.run(lambda: prepared(new, old))
            await self._around.prepare(fresh)
        except (ValueError, OSError, TlsFileError, ListenError) as error:
            raise ApplyError(str(error)) from None
        self.drain(plan.affected)
        try:
            await self._end_calls(plan)
            self._take_up(fresh, plan)
        except BaseException:
            await self._around.give_up()
            raise
        finally:
            self.drain(frozenset())
        await self._around.settle()
        return plan.service

    async def _end_calls(self, plan: Plan) -> None:
        """End all calls over what is taken down, also those that began since the plan was made."""
        switch = self._switch
        ended = [use.identity for use in self.calls() if use.uses & plan.affected]
        if not ended:
            return
        log.warning("%d calls are ended by a change of the configuration", len(ended))
        for identity in ended:
            switch.hang_up(identity, self._clock())
        self._around.drain()
        for _ in range(round(CLEARING_SECONDS / LOOK_SECONDS)):
            if not any(identity in switch.calls for identity in ended):
                return
            await asyncio.sleep(LOOK_SECONDS)
        for identity in ended:
            switch.abandon(identity, self._clock())
        self._around.drain()

    def _take_up(self, fresh: Prepared, plan: Plan) -> None:
        gone = [
            entry for entry in plan.entries if entry.kind is Kind.SPAN and (entry.kind, entry.name) in plan.affected
        ]
        for entry in gone:
            self._around.close_span(entry.name)
        renewed = frozenset(entry.name for entry in gone if entry.action is Action.RESTARTED)
        opened = renewed | {
            entry.name for entry in plan.entries if entry.kind is Kind.SPAN and entry.action is Action.ADDED
        }
        self._switch.take_up(fresh, renewed, self._clock())
        for span in fresh.configuration.spans:
            if span.name in opened:
                self._around.open_span(span)
        self._around.reconfigured(fresh)


def use_of(call: Call, is_phone: Callable[[str], bool]) -> CallUse:
    """What ``call`` cannot go on without: the parts that its legs are on."""
    uses: set[Use] = set()
    for leg in (call.incoming, call.outgoing):
        if leg is None or not leg.source:
            continue
        if leg.technology not in _PEERS:
            uses.add((Kind.SPAN, leg.source))
        else:
            uses.add((Kind.PHONE if is_phone(leg.source) else Kind.TRUNK, leg.source))
    attempts = call.history.attempts
    return CallUse(call.identity, call.source, attempts[-1].destination if attempts else "", frozenset(uses))
