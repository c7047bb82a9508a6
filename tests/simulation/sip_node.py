"""A SIP far end: a SipEndpoint of its own, with parties that answer, refuse, ring, hold and hang up by script."""

from __future__ import annotations

import random

from gateway.cause import Cause, Location
from gateway.core import SECOND
from gateway.identity import Number, Party
from gateway.leg import Leg, Listener, Offered, Setup
from gateway.voip.sip.endpoint import SipEndpoint
from gateway.voip.sip.flow import RELIABLE, UDP, Close, Flow, Send
from gateway.voip.sip.hop import Listener as Socket
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.peers import DtmfMode, PeerSettings, SipSettings
from gateway.voip.sip.timers import SipTimer
from tests.simulation.scripted_party import ScriptedParty
from tests.simulation.story import Script, Side, Story
from tests.simulation.tcp import Streams, StreamUser
from tests.simulation.transfers import Consultation, refer, target
from tests.simulation.voice import DirectMedia
from tests.simulation.world import Address, Network, Node, World

PORT = 5060
SESSION = 90 * SECOND
"""The shortest session interval there is (RFC 4028 5): long calls see it refreshed."""


class SipNode(Node, StreamUser):
    """One SIP user agent. ``strips_reason``: it (or a proxy before it) sends no Reason header."""

    def __init__(
        self,
        world: World,
        name: str,
        address: str,
        network: Network,
        story: Story,
        peer: PeerSettings,
        *,
        strips_reason: bool = False,
    ) -> None:
        super().__init__(world, name)
        self.address = address
        self.network = network
        self.story = story
        self.peer = peer
        self.strips_reason = strips_reason
        self.restarts = 0
        self.sides: list[Side] = []
        self._parties: dict[Side, _SipParty] = {}
        self.streams: Streams | None = None
        # Numbers that calls are forwarded to, by Call-ID.
        self.forwards: dict[bytes, bytes] = {}
        self._begin()
        network.join(address, name, self._receive)

    def _begin(self) -> None:
        self.media = DirectMedia()
        self.forwards.clear()
        self.endpoint = SipEndpoint(
            self.settings(),
            self.media,
            random.Random(self.world.rng.getrandbits(64)),
            self._offered,
            local_for=lambda _remote: self.address,
        )

        if self.streams is not None:
            self.streams.vanish()
        self.streams = Streams(self.network, self.address, PORT, self) if self.peer.transport in RELIABLE else None

    def settings(self) -> SipSettings:
        """What its endpoint is told."""
        return SipSettings(
            listeners=(Socket(self.peer.transport, self.address, PORT),),
            peers=(self.peer,),
            context=None,
            user_agent=self.name,
            timers={SipTimer.REFRESH: SESSION},
        )

    def restart(self) -> None:
        """Forget everything."""
        self.world.note(self.name, "restart")
        self.restarts += 1
        for side in self.sides:
            if not side.over:
                side.lost = True
        self.sides.clear()
        self._begin()
        self.settle()

    # -- node --

    def _receive(self, data: bytes, source: Address) -> None:
        self.endpoint.receive(data, Flow(UDP, source[0], source[1], 0, 0), self.world.now)
        self.settle()

    def stream_received(self, data: bytes, flow: Flow) -> None:
        self.endpoint.receive(data, flow, self.world.now)
        self.settle()

    def stream_lost(self, flow: Flow) -> None:
        self.endpoint.connection_lost(flow, self.world.now)
        self.settle()

    def drain(self) -> None:
        endpoint, network = self.endpoint, self.network
        while True:
            while (output := endpoint.poll()) is not None:
                if isinstance(output, Send):
                    data = output.data
                    if self.strips_reason:
                        data = without_reason(data)
                    if self.forwards and data.startswith(b"SIP/2.0 302"):
                        data = self._forwarded(data)
                    flow = output.flow
                    if flow.transport == UDP:
                        network.send((self.address, PORT), (flow.address, flow.port), data)
                    elif self.streams is not None:
                        self.streams.send(flow, data)
                elif isinstance(output, Close) and self.streams is not None:
                    self.streams.close(output.flow)
            if not self.media.flush():
                break

    def _forwarded(self, data: bytes) -> bytes:
        target = self.forwards.get(data.partition(b"\r\nCall-ID: ")[2].partition(b"\r\n")[0])
        head, end, rest = data.partition(b"\r\nCSeq: ")
        if target is None:
            return data
        return head + b"\r\nContact: <sip:" + target + b"@" + self.peer.host.encode() + b">" + end + rest

    def next_deadline(self) -> int | None:
        return self.endpoint.next_timer()

    def expire(self, now: int) -> None:
        self.endpoint.handle_timer(now)

    # -- calls --

    def place(self, script: Script) -> None:
        """Make a call to the gateway."""
        now = self.world.now
        leg = self.endpoint.new_leg("gateway", now)
        if isinstance(leg, Cause):
            script.refused = leg
            return
        side = Side(self.name, "sip", None, now, leg, strips_reason=self.strips_reason)
        script.caller = side
        self.sides.append(side)
        party = _SipParty(self, script, side, leg)
        leg.listener = party
        leg.place(Setup(Number(script.called), Party(Number(script.calling), f"Caller {script.number}")), now)
        party.later(script.patience, "give up")
        self.settle()

    def _offered(self, leg: Leg, offered: Offered, now: int) -> Listener | None:
        assert isinstance(leg, SipLeg)
        caller = offered.setup.caller.number
        script = self.story.by_caller(caller.digits) if caller is not None else None
        if script is None:
            # Of who was transferred only the number is known that was called.
            numbers = (offered.setup.called, *([caller] if caller is not None else ()))
            script = next((found for each in numbers if (found := self.story.by_called(each.digits))), None)
        if script is None:
            return None
        answering = script.next_answer()
        side = Side(self.name, "sip", answering, now, leg, strips_reason=self.strips_reason)
        script.callees.append(side)
        self.sides.append(side)
        party = _SipParty(self, script, side, leg)
        party.called(offered.setup)
        return party


class _SipParty(ScriptedParty):
    """One end of one call, by its script."""

    def __init__(self, node: SipNode, script: Script, side: Side, leg: SipLeg) -> None:
        super().__init__(node, script, side, leg)
        self.node = node
        self.sip = leg
        self.acts |= {
            "incomplete": self._incomplete,
            "name": self._name,
            "transfer": self._transfer,
            "consult": self._consult,
        }

    def called(self, setup: Setup) -> None:
        """The call came, perhaps before all of its number."""
        answering = self.side.answering
        if answering is not None and len(setup.called.digits) < answering.more_digits:
            self.later(20, "incomplete")
        else:
            self.offered()

    def _incomplete(self, now: int) -> None:
        self._refuse_with(484, now)

    def _refuse(self, now: int) -> None:
        answering = self.side.answering
        assert answering is not None
        if answering.forward and self.sip.session is not None:
            self.script.moved = True
            call_id = self.sip.session.dialog.call_id.encode()
            self.node.forwards[call_id] = target(self.node.world.rng, self.script).encode()
        if answering.status:
            self._refuse_with(answering.status, now)
        else:
            self.release(answering.cause, now)

    def _refuse_with(self, status: int, now: int) -> None:
        if self.sip.incoming is not None:
            self.sip.incoming.refuse_with(status, now)
            self.sip.finish(Cause.INTERWORKING, Location.USER, now, ours=True, status=status)

    def _press(self, now: int) -> None:
        if self.node.peer.dtmfmode is DtmfMode.INFO:
            super()._press(now)

    def _transfer(self, now: int) -> None:
        self.script.moved = True
        refer(self.node, self.sip, f"sip:{target(self.node.world.rng, self.script)}@gateway")

    def _consult(self, now: int) -> None:
        self.script.moved = True
        Consultation(self.node, self.script, self.sip, self.node.world.rng)

    def _name(self, now: int) -> None:
        self.leg.identify(Party(Number("8" + "5" * 6), "Another"), now)


def without_reason(data: bytes) -> bytes:
    """``data`` without its Reason header line, as from a far end that sends none."""
    at = data.find(b"\r\nReason:")
    if at < 0:
        return data
    return data[:at] + data[data.index(b"\r\n", at + 2) :]
