"""What a SIP party does to transfer its call: REFER to a number, or to the other side of a second call of its own."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from gateway import leg as words
from gateway.cause import Cause
from gateway.core import MILLISECOND
from gateway.identity import Number, Party
from gateway.leg import Leg, LegEvent, Setup
from gateway.voip.sip.leg import SipLeg
from tests.simulation.story import BOREDOM, ID_DIGITS, Script, Side

if TYPE_CHECKING:
    from tests.simulation.sip_node import SipNode

PREFIXES = ("1", "1", "2", "3", "3", "4", "5", "6", "7", "90", "91", "92", "99")
"""Where a call may be sent: lines, SIP, fail-over, a phone, nowhere, and services of the gateway."""


def target(rng: random.Random, script: Script) -> str:
    """A number that the party may send its call to."""
    return f"{rng.choice(PREFIXES)}{script.number:0{ID_DIGITS}d}"


def refer(node: SipNode, leg: SipLeg, uri: str) -> None:
    """Ask for a transfer to ``uri``, if the call still stands."""
    session = leg.session
    if session is not None and session.confirmed and not leg.over:
        session.send("REFER", node.world.now, [("Refer-To", f"<{uri}>"), ("Contact", session.contact)])


class Consultation:
    """A second call of a party that will be joined with its first one; either may end at any time."""

    def __init__(self, node: SipNode, script: Script, first: SipLeg, rng: random.Random) -> None:
        self.node = node
        self.script = script
        self.first = first
        self.side: Side | None = None
        # While it rings, or when it was answered and some words were spoken.
        self._early = rng.random() < 0.3
        self._after = rng.randint(5, 3_000)
        now = node.world.now
        leg = node.endpoint.new_leg("gateway", now)
        if not isinstance(leg, SipLeg):
            return
        self.leg = leg
        self.side = Side(node.name, "sip", None, now, leg, strips_reason=node.strips_reason)
        script.callees.append(self.side)
        node.sides.append(self.side)
        leg.listener = self
        leg.place(Setup(Number(target(rng, script)), Party(Number(script.calling))), now)
        node.world.after(BOREDOM * MILLISECOND, self._bored)

    def _bored(self) -> None:
        if self.side is not None and not self.side.over:
            self.leg.release(Cause.NORMAL_CALL_CLEARING, self.node.world.now)
            self.node.settle()

    def _join(self) -> None:
        if self.side is None or self.side.over:
            return
        dialogs = [each.dialog for each in self.node.endpoint.dialogs.values() if each.owner is self.leg]
        if not dialogs:
            return
        dialog = dialogs[0]
        replaces = f"{dialog.call_id}%3Bto-tag%3D{dialog.remote_tag}%3Bfrom-tag%3D{dialog.local_tag}"
        refer(self.node, self.first, f"sip:x@gateway?Replaces={replaces}")
        self.node.settle()

    def on_leg(self, leg: Leg, event: LegEvent, now: int) -> None:
        """What becomes of the second call."""
        assert self.side is not None
        match event:
            case words.Alerting() if self._early:
                self._early = False
                self.node.world.after(self._after * MILLISECOND, self._join)
            case words.Answered():
                self.side.answered = now
                self.node.world.after(self._after * MILLISECOND, self._join)
            case words.Released(cause, ours=ours):
                self.side.ended, self.side.cause, self.side.ours = now, cause, ours
                self.node.world.note(self.node.name, "second call ended", f"{self.script.number} {cause.name}")
            case _:
                pass
