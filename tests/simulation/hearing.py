"""Who hears whom: looks along the wiring of the engines, from one party's stream through the gateway to the other's."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gateway.core import MILLISECOND
from gateway.media.wire import Kind
from gateway.voip.sip.peers import DtmfMode
from tests.simulation.exchange_node import ExchangeNode
from tests.simulation.iax_far_ends import HEARD_AFTER
from tests.simulation.registering import RegisteringPhone
from tests.simulation.sip_node import SipNode
from tests.simulation.story import KEY, Script, Side
from tests.simulation.voice import Stream

if TYPE_CHECKING:
    from tests.simulation.branch import Branch

TALKING_AFTER = 1_200 * MILLISECOND
RINGING_AFTER = 300 * MILLISECOND
"""Time for the media to be wired: signalling round trips of the slowest network and the engine's."""
LISTEN_AGAIN = 700 * MILLISECOND
"""While it rings, and while another destination is tried after one that rang."""
HANG_UP_ON_ITS_WAY = 100 * MILLISECOND
"""Before silence is believed: a party that is just hanging up has lost its voice before both ends know."""
SERVICES = {"90": (Kind.ECHO, Kind.TONE)}


class Hearing:
    """Looks at calls in a world where nothing goes wrong. ``deaf`` says who should have heard whom and did not."""

    def __init__(self, branch: Branch) -> None:
        self.branch = branch
        self.deaf: list[str] = []
        self.talked = 0
        self.rang = 0
        self.keys = 0
        far_ends: list[ExchangeNode | SipNode] = [*branch.exchanges, *branch.phones]
        self._nodes = {node.name: node for node in far_ends}
        self.words = 0
        branch.story.on_answered = self._on_answered
        branch.story.on_ringing = self._on_ringing
        branch.story.on_key = self._on_key

    def _on_answered(self, script: Script) -> None:
        if not self.branch.shape.faults:
            self.branch.world.after(TALKING_AFTER, self._talking, script)
            if script.caller is not None and self.branch.iax.nodes:
                self.branch.world.after(HEARD_AFTER, self._words, script)

    def _on_ringing(self, script: Script) -> None:
        if not self.branch.shape.faults:
            self.branch.world.after(RINGING_AFTER, self._ringing, script)

    def _ringing(self, script: Script, *, sure: bool = False) -> None:
        caller = script.caller
        if caller is None or caller.over or caller.hung_up is not None or caller.answered is not None:
            return
        near = self._in_gateway(caller)
        peer = self.branch.gateway.engine.peer_of(near) if near is not None else None
        self.rang += 1
        if peer is None or (peer.kind is Kind.RTP and peer.remote is None):
            if not sure:
                self.branch.world.after(HANG_UP_ON_ITS_WAY, partial(self._ringing, sure=True), script)
                return
            self.deaf.append(f"{script} rings in silence: {near} is wired to {peer}")
        else:
            self.branch.world.after(LISTEN_AGAIN, self._ringing, script)

    def _talking(self, script: Script, *, sure: bool = False) -> None:
        caller = script.caller
        if caller is None or caller.over or caller.hung_up is not None:
            return
        near = self._in_gateway(caller)
        engine = self.branch.gateway.engine
        heard = engine.peer_of(near) if near is not None else None
        expected = SERVICES.get(script.kind)
        if expected is not None:
            self.talked += 1
            if heard is None or heard.kind not in expected:
                self.deaf.append(f"{script}: the service is not heard: {near} is wired to {heard}")
            return
        callee = script.callee
        if callee is None or callee.over or callee.hung_up is not None or self._elsewhere(script, callee):
            return
        far = self._in_gateway(callee)
        self.talked += 1
        if self._directly(caller, callee) or self.branch.iax.left(script):
            return
        if near is None or far is None or heard is not far:
            if self.branch.iax.is_wild(script):
                return
            if not sure:
                self.branch.world.after(HANG_UP_ON_ITS_WAY, partial(self._talking, sure=True), script)
                return
            self.deaf.append(f"{script}: {near} is wired to {heard}, expected {far}")

    def _words(self, script: Script, *, sure: bool = False) -> None:
        """Who talks over IAX2 hears the very words of the other."""
        caller, callee = script.caller, script.callee
        if caller is None or callee is None or script.kind in SERVICES or self.branch.iax.is_wild(script):
            return
        if any(each.over or each.hung_up is not None for each in (caller, callee)) or self._elsewhere(script, callee):
            return
        for side, other in ((caller, callee), (callee, caller)):
            if side.technology != "iax2":
                continue
            far = self._in_gateway(other)
            said = self.branch.iax.words(script, other) if other.technology == "iax2" else far.label if far else ""
            heard = self.branch.iax.heard(side)
            self.words += 1
            if heard != said:
                if not sure:
                    self.branch.world.after(HEARD_AFTER, partial(self._words, sure=True), script)
                    return
                self.deaf.append(f"{script}: {side.node} heard {heard!r}, {other.node} said {said!r}")

    def _elsewhere(self, script: Script, callee: Side) -> bool:
        """Whether somebody may be on hold, and hear music, or be transferred."""
        acts = (*script.acts, *(callee.answering.acts if callee.answering is not None else ()))
        return script.moved or any(what in ("hold", "transfer", "consult") for _, what in acts)

    def _directly(self, caller: Side, callee: Side) -> bool:
        """Whether the two send their voice to each other, around the gateway."""
        if "iax2" in (caller.technology, callee.technology):
            return False
        one, other = self._own(caller), self._own(callee)
        if one is None or other is None or one.remote is None or other.remote is None:
            return False
        return one.remote == (other.address, other.port) and other.remote == (one.address, one.port)

    def _own(self, side: Side) -> Stream | None:
        leg = side.leg
        streams = self._nodes[side.node].media.wiring.streams
        return streams.get(leg.stream) if leg is not None and leg.stream is not None else None

    def _on_key(self, script: Script, side: Side) -> None:
        """A key was pressed: by INFO, which went out already, or on a telephone, which the engine hears."""
        callee = script.callee
        other = callee if side is script.caller else script.caller
        if other is None or script.caller is None or script.caller.answered is None:
            return
        near, far = self._in_gateway(side), self._in_gateway(other)
        if side.technology == "pri" and near is not None:
            self.branch.gateway.hear_digit(near, KEY)
        if self.branch.shape.faults:
            return
        if side.technology == other.technology == "iax2":
            # Perhaps without the gateway.
            self.branch.world.after(TALKING_AFTER, self._key_heard, script, side, other, "")
        elif near is not None and far is not None:
            self.branch.world.after(TALKING_AFTER, self._key_heard, script, side, other, far.label)

    def _key_heard(self, script: Script, side: Side, other: Side, label: str) -> None:
        if script.moved or any(each.over or each.hung_up is not None for each in (side, other)):
            return
        if other.technology == "iax2":
            self.keys += 1
            if other.digits.count(KEY) != sum(what == "press" for _, what in _acts(script, side)):
                self.deaf.append(f"{script}: {side.node} pressed {KEY}, {other.node} got {other.digits!r}")
            return
        node = self._nodes[other.node]
        by_info = isinstance(node, SipNode) and node.peer.dtmfmode is DtmfMode.INFO
        if side.technology == "pri" and not by_info:
            # The tone itself goes through the voice path.
            return
        heard = other.digits if by_info else self.branch.gateway.engine.digits.get(label, "")
        self.keys += 1
        if heard.count(KEY) != sum(what == "press" for _, what in _acts(script, side)):
            self.deaf.append(f"{script}: {side.node} pressed {KEY}, {other.node} got {heard!r}")

    def _in_gateway(self, side: Side) -> Stream | None:
        """The gateway's stream that a party's own stream reaches, if that also leads back to it."""
        if side.technology == "iax2":
            return self.branch.iax.in_gateway(side)
        node = self._nodes[side.node]
        leg = side.leg
        own = node.media.wiring.streams.get(leg.stream) if leg is not None and leg.stream is not None else None
        if own is None:
            return None
        engine = self.branch.gateway.engine
        if isinstance(node, ExchangeNode):
            return engine.by_path.get(own.path)
        if own.remote is None:
            return None
        found = engine.by_port.get(own.remote[1])
        if found is None or found.remote != (node.address, own.port):
            return None
        if isinstance(node, RegisteringPhone) and node.nat is not None and not found.latches:
            # Nothing of what is sent to its own address gets there.
            return None
        # Who has no key, or another, hears nothing.
        theirs = None if found.keys is None else (found.keys[1], found.keys[0])
        return found if own.keys == theirs else None


def _acts(script: Script, side: Side) -> tuple[tuple[int, str], ...]:
    return script.acts if side is script.caller else side.answering.acts if side.answering is not None else ()
