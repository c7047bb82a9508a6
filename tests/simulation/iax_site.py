"""Another gateway of ours at the far end of an IAX2 trunk: the product's endpoint, and parties that act by script."""

from __future__ import annotations

import random
from collections.abc import Callable

from gateway import leg as words
from gateway.cause import Cause
from gateway.core import MILLISECOND
from gateway.identity import Number, Party
from gateway.leg import Leg, LegEvent, Listener, NotOffered, Offered, Setup
from gateway.voip.iax.binding_store import StoreIaxBindings
from gateway.voip.iax.endpoint import IaxEndpoint
from gateway.voip.iax.peers import IaxListener, IaxSettings, PeerSettings
from tests.simulation.iax_rfc import PORT
from tests.simulation.iax_voice import TALK_EVERY, IaxMedia, IaxStream
from tests.simulation.story import BOREDOM, KEY, Script, Side, Story
from tests.simulation.world import Address, Network, Node, World

GATEWAY = "gateway"
"""What the gateway under test is called here."""


class IaxSite(Node):
    """One far end. Its peer's name is GATEWAY."""

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
        self._begin()
        network.join(address, name, self._receive)
        self.settle()
        world.after(TALK_EVERY, self._speak)

    def _begin(self) -> None:
        rng = random.Random(self.world.rng.getrandbits(64))
        self.media = IaxMedia(self.network.send, self.address, rng)
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
        leg = self.endpoint.new_leg(GATEWAY, now)
        if isinstance(leg, Cause):
            script.refused = leg
            return
        side = Side(self.name, "iax2", None, now, leg)
        script.caller = side
        self.sides.append(side)
        party = _IaxParty(self, script, side, leg)
        leg.listener = party
        leg.place(Setup(Number(script.called), Party(Number(script.calling), f"Caller {script.number}")), now)
        party.later(script.patience, "give up")
        self.settle()

    def _offered(self, leg: Leg, offered: Offered, now: int) -> Listener | None:
        caller = offered.setup.caller.number
        script = self.story.by_caller(caller.digits) if caller is not None else None
        script = script or self.story.by_called(offered.setup.called.digits)
        if script is None:
            return None
        side = Side(self.name, "iax2", script.next_answer(), now, leg)
        script.callees.append(side)
        self.sides.append(side)
        party = _IaxParty(self, script, side, leg)
        party.offered()
        return party

    def _not_offered(self, refused: NotOffered, now: int) -> None:
        self.world.note(self.name, "not offered", f"{refused.cause.name} {refused.text}")

    def stream_of(self, side: Side) -> IaxStream | None:
        """The stream that a party's call has here."""
        stream = side.leg.stream if side.leg is not None else None
        found = self.media.wiring.streams.get(stream) if stream is not None else None
        return found if isinstance(found, IaxStream) else None


class _IaxParty:
    """One end of one call, by its script."""

    def __init__(self, node: IaxSite, script: Script, side: Side, leg: Leg) -> None:
        self.node = node
        self.script = script
        self.side = side
        self.leg = leg

    def later(self, milliseconds: int, what: str) -> None:
        self.node.world.after(milliseconds * MILLISECOND, self._do, what)

    def offered(self) -> None:
        answering = self.side.answering
        assert answering is not None
        for milliseconds, what in (
            (answering.early, "early"),
            (answering.ring_after, "ring"),
            (answering.answer_after, "answer"),
            (answering.refuse_after, "refuse"),
        ):
            if milliseconds is not None:
                self.later(milliseconds, what)
        self.later(BOREDOM, "get bored")

    def _do(self, what: str) -> None:
        if not self.side.over:
            _ACTS[what](self, self.node.world.now)
            self.node.settle()

    def _ring(self, now: int) -> None:
        answering = self.side.answering
        if self.side.answered is None:
            self.side.ringing = now
            self.leg.alert(answering is not None and answering.ring_inband, now)

    def _early(self, now: int) -> None:
        self.leg.progress(True, now)

    def _answer(self, now: int) -> None:
        answering, side = self.side.answering, self.side
        if side.hung_up is not None:
            return
        side.answered = now
        self.leg.answer(None, now)
        assert answering is not None
        self.later(BOREDOM if answering.hold is None else answering.hold, "hang up")
        for milliseconds, what in answering.acts:
            self.later(milliseconds, what)

    def _refuse(self, now: int) -> None:
        answering = self.side.answering
        assert answering is not None
        self._release(answering.cause, now)

    def _get_bored(self, now: int) -> None:
        if self.side.answered is None:
            self._release(Cause.NO_ANSWER_FROM_USER, now)

    def _give_up(self, now: int) -> None:
        if self.side.answered is None:
            self._release(self.script.caller_cause, now)

    def _hang_up(self, now: int) -> None:
        answering = self.side.answering
        self._release(answering.cause if answering is not None else self.script.caller_cause, now)

    def _release(self, cause: Cause, now: int) -> None:
        if self.side.hung_up is None:
            self.side.hung_up, self.side.hung_up_with = now, cause
        self.leg.release(cause, now)

    def _hold(self, now: int) -> None:
        self.leg.hold(now)

    def _resume(self, now: int) -> None:
        self.leg.resume(now)

    def _press(self, now: int) -> None:
        self.leg.keypad(KEY, 100, now)
        self.node.story.on_key(self.script, self.side)

    def _nothing(self, now: int) -> None:
        """What IAX2 has no words for."""

    def on_leg(self, leg: Leg, event: LegEvent, now: int) -> None:
        side = self.side
        match event:
            case words.Proceeding():
                side.proceeding = side.proceeding or now
            case words.Alerting(inband):
                side.ringing = side.ringing or now
                if inband and side.heard is None:
                    side.heard = now
                    self.node.story.on_ringing(self.script)
            case words.Answered():
                side.answered = now
                self.node.story.on_answered(self.script)
                self.later(self.script.hold, "hang up")
                for milliseconds, what in self.script.acts:
                    self.later(milliseconds, what)
            case words.Held():
                side.held += 1
            case words.Resumed():
                side.resumed += 1
            case words.Keypad(digits):
                side.digits += digits
            case words.Released(cause, ours=ours):
                side.ended, side.cause, side.ours = now, cause, ours
                self.node.world.note(self.node.name, "ended", f"{self.script.number} {cause.name}")
            case _:
                pass


_ACTS: dict[str, Callable[[_IaxParty, int], None]] = {
    "ring": _IaxParty._ring,
    "early": _IaxParty._early,
    "answer": _IaxParty._answer,
    "refuse": _IaxParty._refuse,
    "get bored": _IaxParty._get_bored,
    "give up": _IaxParty._give_up,
    "hang up": _IaxParty._hang_up,
    "hold": _IaxParty._hold,
    "resume": _IaxParty._resume,
    "press": _IaxParty._press,
    "name": _IaxParty._nothing,
    "transfer": _IaxParty._nothing,
    "consult": _IaxParty._nothing,
}
