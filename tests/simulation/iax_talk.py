"""An IAX2 far end of its own making (``iax_rfc``): frames with numbers, sent until acknowledged, and encrypted.

What it says in them is in ``iax_proving`` and ``iax_pbx``.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from gateway.cause import Cause
from gateway.core import SECOND
from tests.simulation import iax_rfc as rfc
from tests.simulation.iax_rfc import Full, MalformedError, Numbers, Waiting
from tests.simulation.story import Script, Side, Story
from tests.simulation.world import Address, Network, World

if TYPE_CHECKING:
    from tests.simulation.iax_leaving import Elsewhere

LINGER = 10 * SECOND
AGAIN_LEAST = 5 * SECOND
_LAST = frozenset({rfc.HANGUP, rfc.REJECT, rfc.REGREJ, rfc.REGACK})


@dataclass(frozen=True, slots=True)
class Terms:
    """What is agreed on a trunk, as seen from the far end.

    ``name`` is what the far end is called in the gateway, and calls and registers as; ``user`` what the gateway calls
    and registers as. ``methods``: with what proofs the far end is content; ``proves`` those it gives itself.
    """

    name: str
    user: str
    secret: str
    methods: int = rfc.MD5
    proves: int = rfc.MD5
    own_key: RSAPrivateKey | None = None
    their_key: RSAPublicKey | None = None
    encryption: str = "no"
    must_be_encrypted: bool = False
    trunk: bool = False
    stamps: bool = False
    tokens: bool = True
    registers: bool = False
    registrar: bool = False
    guest: bool = False
    """It says no name and has no password, and is asked for none."""
    transfer: bool = False
    rotates: int = 0
    """Microseconds after which a call's key is changed; 0 is never."""
    refresh: int = 60


class Mood:
    """What the far end's registrar does."""

    WELL, SILENT, REFUSES = range(3)


@dataclass(slots=True, eq=False)
class Talk:
    """One call number of ours, and what it is for: a call, or a registration."""

    number: int
    address: Address
    began: int
    other: int = 0
    numbers: Numbers = field(default_factory=Numbers)
    early: dict[int, Full] = field(default_factory=dict)
    script: Script | None = None
    side: Side | None = None
    calling: bool = False
    challenge: bytes = b""
    first: bytes = b""
    """The elements of a NEW or REGREQ, to be sent again with a token or a proof."""
    proven: bool = False
    accepted: bool = False
    send_key: bytes = b""
    receive_key: bytes = b""
    key_before: bytes = b""
    spoken: int = -1
    """The upper bits of the stamp of the last full VOICE frame."""
    heard: str = ""
    leaks: bool = False
    """Its voice is not encrypted although it has to be."""
    begun: bool = False
    """Voice came in a full frame: what comes in others has its format and the upper bits of its stamp."""
    hung_up: Cause | None = None
    over: bool = False
    last_stamp: int = -1
    registering: int = -1
    """For so many seconds; -1: it is a call."""
    in_words: bytes = b""
    elsewhere: Elsewhere | None = None
    joined: bool = False
    """It went on with another far end, without the gateway."""
    music: bool = False
    """It is on hold by QUELCH."""


class TalkingEnd(ABC):
    """One far end, as far as it sends and hears frames. ``breaches``: what the gateway did that it must not."""

    def __init__(
        self, world: World, name: str, address: str, gateway: Address, network: Network, story: Story, terms: Terms
    ) -> None:
        self.world = world
        self.name = name
        self.address = address
        self.gateway = gateway
        self.network = network
        self.story = story
        self.terms = terms
        self.breaches: list[str] = []
        self.sides: list[Side] = []
        self.restarts = 0
        self.mood = Mood.WELL
        self.clock = 0
        """What its clock is wrong by, in milliseconds."""
        self.bound: Address | None = None
        """Where the gateway registered from."""
        self.bound_until = 0
        self.registered_until = 0
        self.registrations = 0
        self.rotated = 0
        self.told_keys = 0
        self.granted = 0
        self.invals = 0
        self.fair = True
        """Nothing is lost, late or damaged on the way: what is odd is the gateway's doing."""
        self.stopped = False
        self.lost_calls = 0
        self.tap: Callable[[Address, bytes], None] | None = None
        """Who sees what is sent."""
        self._rng = random.Random(world.rng.getrandbits(64))
        self._salt = self._rng.randbytes(16)
        self._epoch = 0
        self.talks: dict[int, Talk] = {}
        self._lingering: dict[tuple[Address, int], tuple[int, Talk]] = {}
        # Whom calls are with no more that go on, and until when what they say is acknowledged.
        self._left: dict[tuple[Address, int], int] = {}
        network.join(address, name, self._receive)
        self._tick()

    # -- life --

    def restart(self) -> None:
        """Forget everything."""
        self.world.note(self.name, "restart")
        self.restarts += 1
        for side in self.sides:
            if not side.over:
                side.lost = True
        self.sides.clear()
        self.talks.clear()
        self._lingering.clear()
        self._left.clear()
        self._epoch += 1
        self._salt = self._rng.randbytes(16)
        self.bound = None
        if self.terms.registers and not self.stopped:
            self.begin_registering()

    @property
    def quiet(self) -> bool:
        """True if no call number is in use."""
        return not self.talks

    def _later(self, microseconds: int, action: Callable[[Talk], None], talk: Talk) -> None:
        self.world.after(microseconds, self._if_there, action, talk)

    def _if_there(self, action: Callable[[Talk], None], talk: Talk) -> None:
        if not talk.over and self.talks.get(talk.number) is talk:
            action(talk)

    # -- frames out --

    def _open(self, address: Address) -> Talk:
        while (number := self._rng.randrange(2, 0x7FFF)) in self.talks:
            pass
        talk = self.talks[number] = Talk(number, address, self.world.now)
        return talk

    def _stamp(self, talk: Talk) -> int:
        return max(0, (self.world.now - talk.began) // 1000 + self.clock)

    def _say(self, talk: Talk, kind: int, sub: int, body: bytes = b"", stamp: int | None = None) -> None:
        if stamp is None:
            stamp = self._stamp(talk)
            if not self.clock:
                stamp = max(stamp, talk.last_stamp + 1 if kind != rfc.VOICE else stamp)
            talk.last_stamp = stamp
        frame = talk.numbers.send(Full(talk.number, talk.other, stamp, 0, 0, kind, sub, body))
        data = frame.octets()
        if talk.send_key:
            data = rfc.sealed(data, talk.send_key, self._rng)
        if frame.numbered:
            talk.numbers.waiting.append(Waiting(frame, data, self.world.now))
            self._later(rfc.RETRY_AFTER, self._again, talk)
        self._transmit(talk.address, data)

    def _transmit(self, address: Address, data: bytes) -> None:
        self.network.send((self.address, rfc.PORT), address, data)
        if self.tap is not None:
            self.tap(address, data)

    def _again(self, talk: Talk) -> None:
        """Send again what was not acknowledged in time."""
        now = self.world.now
        for each in talk.numbers.waiting:
            due = each.at + rfc.RETRY_AFTER
            if due > now:
                continue
            if each.tries >= rfc.MOST_TRIES:
                self._gone(talk, Cause.DESTINATION_OUT_OF_ORDER)
                return
            each.tries += 1
            each.at = now + min(10 * SECOND, rfc.RETRY_AFTER << each.tries) - rfc.RETRY_AFTER
            self._later(each.at + rfc.RETRY_AFTER - now, self._again, talk)
            self._transmit(talk.address, _marked(each.octets))

    def _ack(self, talk: Talk, frame: Full) -> None:
        self._say(talk, rfc.IAX, rfc.ACK, stamp=frame.stamp)

    def _bare(self, address: Address, frame: Full) -> None:
        self._transmit(address, frame.octets())

    # -- frames in --

    def _receive(self, data: bytes, source: Address) -> None:
        try:
            if rfc.is_full(data):
                self._full(data, source)
            else:
                self._voice(data, source)
        except MalformedError as error:
            if self.fair:
                self.breaches.append(f"{self.name}: {error}: {data.hex()}")

    def _full(self, data: bytes, source: Address) -> None:
        target = int.from_bytes(data[2:4], "big") & 0x7FFF
        sender = int.from_bytes(data[:2], "big") & 0x7FFF
        talk = self.talks.get(target)
        if target == 0:
            lingering = self._lingering.get((source, sender))
            known = next((each for each in self.talks.values() if (each.address, each.other) == (source, sender)), None)
            talk = known or (lingering[1] if lingering is not None and lingering[0] > self.world.now else None)
            if talk is None:
                self._first(rfc.read_full(data), source)
                return
        elif talk is not None and self._aside(talk, data, source, sender):
            return
        elif talk is None or talk.other not in (0, sender):
            if self._left.get((source, sender), 0) > self.world.now:
                frame = rfc.read_full(data)
                if frame.numbered:
                    number, out = frame.target, (frame.out + 1) & 0xFF
                    self._bare(source, Full(number, sender, frame.stamp, frame.expected, out, rfc.IAX, rfc.ACK))
                return
            lingering = self._lingering.get((source, sender))
            if lingering is not None and lingering[0] > self.world.now:
                talk = lingering[1]
            else:
                self._unknown(data, source, sender, target)
                return
        if talk.receive_key and (target or rfc.looks_sealed(data)):
            opened = self._unsealed(talk, data)
            if opened is None:
                frame = rfc.read_full(data)
                # Who has not heard the challenge yet has no key, and may hang up; what makes no sense has another key.
                unaware = not talk.calling and not talk.proven
                clear = _plausible(frame) and frame.sub not in (rfc.INVAL, rfc.AUTHREP, rfc.NEW)
                if clear and self.fair and not frame.again and not unaware:
                    self.breaches.append(f"{self.name}: a frame in the clear of an encrypted call: {frame}")
                if not unaware and (frame.sub != rfc.INVAL or frame.kind != rfc.IAX):
                    return
            else:
                frame = opened
        else:
            frame = rfc.read_full(data)
        self._take(talk, frame, source)

    def _unsealed(self, talk: Talk, data: bytes) -> Full | None:
        """The frame under the key of now, or of before it was changed; None if it makes no sense under either."""
        for key in (talk.receive_key, talk.key_before):
            try:
                frame = rfc.read_full(rfc.unsealed(data, key)) if key else None
            except MalformedError:
                continue
            if frame is not None and _plausible(frame):
                return frame
        return None

    def _unknown(self, data: bytes, source: Address, sender: int, target: int) -> None:
        frame = rfc.read_full(data)
        if frame.kind == rfc.IAX and frame.sub in (rfc.INVAL, rfc.ACK, rfc.CALLTOKEN):
            return
        inval = Full(target, sender, frame.stamp, frame.expected, (frame.out + 1) & 0xFF, rfc.IAX, rfc.INVAL)
        self._bare(source, inval)
        self.invals += 1

    def _take(self, talk: Talk, frame: Full, source: Address) -> None:
        if frame.kind == rfc.IAX and frame.sub == rfc.INVAL:
            if (frame.source, frame.target) == (talk.other, talk.number) or not talk.other:
                self._gone(talk, Cause.DESTINATION_OUT_OF_ORDER)
            return
        if frame.kind == rfc.IAX and frame.sub == rfc.CALLTOKEN:
            self._tokened(talk, frame)
            return
        if talk.address != source:
            # The gateway's NAT has another address, and who has both numbers right is the gateway.
            talk.address = source
        talk.numbers.acknowledged(frame.expected)
        turn = talk.numbers.takes(frame)
        if frame.kind == rfc.IAX and frame.sub == rfc.ACK:
            self._acknowledged(talk)
            return
        if turn == "old":
            self._ack(talk, frame)
            return
        if turn == "early":
            talk.early[frame.out] = frame
            self._say(talk, rfc.IAX, rfc.VNAK, stamp=frame.stamp)
            return
        if frame.kind == rfc.IAX and frame.sub == rfc.VNAK:
            for each in talk.numbers.waiting:
                self._transmit(talk.address, _marked(each.octets))
            return
        if not talk.other:
            talk.other = frame.source
        self._handle(talk, frame)
        if talk.over:
            return
        following = talk.early.pop(talk.numbers.expected, None)
        if following is not None:
            self._take(talk, following, source)
        elif not talk.over:
            self._acknowledged(talk)

    def _acknowledged(self, talk: Talk) -> None:
        """A call that hung up, or a registration that is done, is over when that has arrived."""
        if talk.hung_up is None:
            return
        if not any(each.frame.kind == rfc.IAX and each.frame.sub in _LAST for each in talk.numbers.waiting):
            self._over(talk, talk.hung_up, ours=True)

    def _unheard(self, talk: Talk, frame: Full) -> None:
        self._ack(talk, frame)

    def _gone(self, talk: Talk, cause: Cause) -> None:
        self._over(talk, talk.hung_up or cause, ours=talk.hung_up is not None)
        if talk.registering >= 0 and self.terms.registers and talk.calling and not self.stopped:
            self.world.after(AGAIN_LEAST, self._register, self._epoch)

    def _over(self, talk: Talk, cause: Cause, *, ours: bool) -> None:
        if talk.over:
            return
        talk.over = True
        self.talks.pop(talk.number, None)
        self._lingering[(talk.address, talk.other)] = (self.world.now + LINGER, talk)
        if len(self._lingering) > 200:
            self._lingering = {key: each for key, each in self._lingering.items() if each[0] > self.world.now}
        side = talk.side
        if side is not None and side.ended is None:
            side.ended, side.cause, side.ours = self.world.now, cause, ours
            number = talk.script.number if talk.script is not None else 0
            self.world.note(self.name, "ended", f"{number} {cause.name}")

    # -- what others see to --

    def _aside(self, talk: Talk, data: bytes, source: Address, sender: int) -> bool:
        """Whether a frame for its number is not of the call that it is with now."""
        return False

    @abstractmethod
    def begin_registering(self) -> None:
        """Register from now on, until ``stop``."""

    @abstractmethod
    def _register(self, epoch: int, seconds: int | None = None) -> None:
        """Register, for so many seconds."""

    @abstractmethod
    def _first(self, frame: Full, source: Address) -> None:
        """The first frame of something came."""

    @abstractmethod
    def _tokened(self, talk: Talk, frame: Full) -> None:
        """A token came."""

    @abstractmethod
    def _handle(self, talk: Talk, frame: Full) -> None:
        """A frame came in its turn."""

    @abstractmethod
    def _voice(self, data: bytes, source: Address) -> None:
        """A mini frame or a trunk frame came."""

    @abstractmethod
    def _tick(self) -> None:
        """All speak."""


def _plausible(frame: Full) -> bool:
    """Whether it can have been said in a call, rather than be what a wrong key makes of it."""
    return 0 < frame.kind <= rfc.DTMF_BEGIN and frame.stamp < 1 << 26


def _marked(octets: bytes) -> bytes:
    """With the R bit, which is in the clear part of an encrypted frame too."""
    return octets[:2] + bytes([octets[2] | 0x80]) + octets[3:]
