"""Another gateway of ours at the far end of an IAX2 trunk: the product's endpoint, and parties that act by script."""

from __future__ import annotations

import random

from gateway.cause import Cause
from gateway.identity import Number, Party
from gateway.leg import Leg, Listener, NotOffered, Offered, Setup
from gateway.voip.iax.binding_store import StoreIaxBindings
from gateway.voip.iax.endpoint import IaxEndpoint
from gateway.voip.iax.peers import IaxListener, IaxSettings, PeerSettings
from tests.simulation import iax_rfc as rfc
from tests.simulation.iax_rfc import PORT
from tests.simulation.iax_round import Round, goes_round
from tests.simulation.iax_voice import TALK_EVERY, IaxMedia, IaxStream
from tests.simulation.scripted_party import ScriptedParty
from tests.simulation.story import Script, Side, Story
from tests.simulation.world import Address, Network, Node, World

_NEW = bytes((rfc.IAX, rfc.NEW))


class IaxSite(Node):
    """One far end. The gateway is its only ``peer``."""

    def __init__(
        self, world: World, name: str, address: str, network: Network, story: Story, peer: PeerSettings
    ) -> None:
        super().__init__(world, name)
        self.address = address
        self.network = network
        self.story = story
        self.peer = peer
        self.restarts = 0
        self.stopped = False
        self.lost_calls = 0
        self.sides: list[Side] = []
        self.breaches: list[str] = []
        self.stored: StoreIaxBindings | None = None
        # Whether it says of calls that go round which they are.
        self.names_calls = world.rng.random() < 0.6
        self.rounds = 0
        self._begin()
        network.join(address, name, self._receive)
        self.settle()
        world.after(TALK_EVERY, self._speak)

    def _begin(self) -> None:
        rng = random.Random(self.world.rng.getrandbits(64))
        self.media = IaxMedia(self._send, rng)
        self.endpoint = IaxEndpoint(
            IaxSettings(listeners=(IaxListener(self.address, PORT),), peers=(self.peer,)),
            self.media,
            rng,
            self._offered,
            on_not_offered=self._not_offered,
        )
        self.endpoint.open(self.world.now)

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

    def stop(self) -> None:
        """Take the registration back."""
        self.stopped = True
        self.endpoint.leave(self.world.now)
        self.settle()

    @property
    def quiet(self) -> bool:
        """True if nothing is under way."""
        return self.endpoint.quiet

    # -- node --

    def _receive(self, data: bytes, source: Address) -> None:
        self.media.part.receive(data, source, PORT)
        self.settle()

    def _send(self, source: Address, target: Address, data: bytes) -> None:
        if not self.names_calls and data[10:12] == _NEW and data[0] & 0x80:
            # As of one that knows no variables.
            data = rfc.without(data, rfc.IE_VARIABLE)
        self.network.send(source, target, data)

    def _speak(self) -> None:
        self.media.part.speak(self.world.now)
        self.settle()
        if self.endpoint.legs or not self.stopped:
            self.world.after(TALK_EVERY, self._speak)

    def drain(self) -> None:
        endpoint, media, now = self.endpoint, self.media, self.world.now
        endpoint.enter(now)
        while True:
            while media.events:
                endpoint.media_event(media.events.popleft(), now)
            while (output := endpoint.poll()) is not None:
                if isinstance(output, StoreIaxBindings):
                    self.stored = output
            if not media.flush() and not media.events:
                break

    def next_deadline(self) -> int | None:
        return self.endpoint.next_timer()

    def expire(self, now: int) -> None:
        self.endpoint.handle_timer(now)

    # -- calls --

    def place(self, script: Script) -> None:
        """Make a call to the gateway."""
        now = self.world.now
        leg = self.endpoint.new_leg(self.peer.name, now)
        if isinstance(leg, Cause):
            script.refused = leg
            return
        side = Side(self.name, "iax2", None, now, leg)
        script.caller = side
        self.sides.append(side)
        party = ScriptedParty(self, script, side, leg)
        leg.listener = party
        leg.place(Setup(Number(script.called), Party(Number(script.calling), f"Caller {script.number}")), now)
        party.later(script.patience, "give up")
        self.settle()

    def _offered(self, leg: Leg, offered: Offered, now: int) -> Listener | None:
        if goes_round(offered.setup.called.digits):
            passed = Round(self, leg)
            self.world.after(0, self._send_back, passed, offered)
            self.rounds += 1
            return passed
        caller = offered.setup.caller.number
        script = self.story.by_caller(caller.digits) if caller is not None else None
        script = script or self.story.by_called(offered.setup.called.digits)
        if script is None:
            return None
        side = Side(self.name, "iax2", script.next_answer(), now, leg)
        script.callees.append(side)
        self.sides.append(side)
        party = ScriptedParty(self, script, side, leg)
        party.offered()
        return party

    def _send_back(self, passed: Round, offered: Offered) -> None:
        passed.begin(offered, self.world.now)
        self.settle()

    def _not_offered(self, refused: NotOffered, now: int) -> None:
        self.world.note(self.name, "not offered", f"{refused.cause.name} {refused.text}")

    def stream_of(self, side: Side) -> IaxStream | None:
        """The stream that a party's call has here."""
        stream = side.leg.stream if side.leg is not None else None
        found = self.media.wiring.streams.get(stream) if stream is not None else None
        return found if isinstance(found, IaxStream) else None
