"""The IAX2 far ends of a branch: who they are, who of them hears whom, what they suffer, and who is none of them."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from gateway.cause import Cause
from gateway.core import MILLISECOND, SECOND
from gateway.voip.sip.defence import MAX_SHUT_OUT, MAX_SOURCES, source_of
from tests.simulation import iax_rfc as rfc
from tests.simulation.gateway_node import ADDRESS as GATEWAY_AT
from tests.simulation.iax_mangler import Mangler
from tests.simulation.iax_pbx import IaxPbx
from tests.simulation.iax_shape import GUEST, SITE, WILD, IaxShape, peer, terms
from tests.simulation.iax_site import IaxSite
from tests.simulation.iax_stranger import IMPOSTOR_AT, IaxStrangers
from tests.simulation.iax_talk import Mood, Talk
from tests.simulation.iax_voice import TALK_EVERY, IaxStream
from tests.simulation.nat import Nat
from tests.simulation.story import Script, Side
from tests.simulation.world import Address

if TYPE_CHECKING:
    from tests.simulation.branch import Branch

FarEnd = IaxPbx | IaxSite
HEARD_AFTER = 3 * TALK_EVERY
"""From the answer until each has said something and it went through the gateway, which repeats it in its turn."""
IMPOSTOR = "impostor"
MANGLED = 400
"""Mangled frames of the wild far end's in a run, and as many of strangers."""
LEAK_FRAMES = 12
LEAKS = "sends voice of an encrypted call in the clear"
REPLAYED = 0.05
"""How many of their frames are sent again by somebody else."""
COPIES = 6
"""At most, beside each frame of its own; more where more are asked for."""


class IaxFarEnds:
    """All of them, none if there are no ``shapes``. ``by_digits``: what the numbers begin with that they have."""

    def __init__(self, branch: Branch, shapes: list[IaxShape]) -> None:
        self.branch = branch
        self.world = branch.world
        self.shapes = {shape.name: shape for shape in shapes}
        self._rng = random.Random(self.world.seed + 5456)
        self.nodes: dict[str, FarEnd] = {}
        self.by_digits: dict[str, FarEnd] = {}
        self.mangled = self.rebound = self.replayed = self.leaked = 0
        self.leaks: list[str] = []
        self._mangles = False
        self.nats: dict[str, Nat] = {}
        for shape in shapes:
            node = self._far_end(shape)
            self.nodes[shape.name] = self.by_digits[shape.digits] = node
        self.pbxes = [node for node in self.nodes.values() if isinstance(node, IaxPbx)]
        required = {shape.name for shape in shapes if shape.encrypted and shape.name != WILD}
        branch.gateway.engine.required |= required
        self.mangler = Mangler(self._rng)
        self.strangers = IaxStrangers(self, self._rng)
        self.impostor = self._impostor(shapes) if shapes else None
        wild = self.nodes.get(WILD)
        for pbx in self.pbxes:
            if pbx.name != GUEST:
                # Of who proves nothing a call that is said twice is two.
                pbx.tap = self._beside if pbx is wild else partial(self._overheard, pbx)

    def _far_end(self, shape: IaxShape) -> FarEnd:
        branch = self.branch
        if shape.nat is not None:
            self.nats[shape.name] = Nat(shape.nat, shape.address, f"198.52.{len(self.nats)}.1")
            branch.network.put_behind(self.nats[shape.name])
        if shape.name == SITE:
            return IaxSite(self.world, shape.name, shape.address, branch.network, branch.story, peer(shape))
        pbx = IaxPbx(self.world, shape.name, shape.address, shape.gateway, branch.network, branch.story, terms(shape))
        # What the wild one finds odd may be what became of its own frames.
        pbx.fair = not branch.shape.faults and shape.name != WILD
        if shape.dynamic:
            pbx.begin_registering()
        return pbx

    def _impostor(self, shapes: list[IaxShape]) -> IaxPbx:
        """Somebody who says to be one of them, and has another password: it calls and registers again and again."""
        shape = self._rng.choice([each for each in shapes if not each.guest])
        wrong = replace(
            terms(shape),
            secret="pears",  # noqa: S106 - not the one that is agreed
            proves=rfc.PLAINTEXT if shape.plaintext else rfc.MD5,
            transfer=False,
            must_be_encrypted=False,
            registers=True,
            registrar=False,
            rotates=0,
        )
        where = (GATEWAY_AT, shape.port)
        pbx = IaxPbx(self.world, IMPOSTOR, IMPOSTOR_AT, where, self.branch.network, self.branch.story, wrong)
        pbx.fair = False
        return pbx

    def _call_as_another(self) -> None:
        if self.impostor is not None and self._mangles:
            number = 900_000 + self._rng.randrange(1000)
            script = Script(number, "1", IMPOSTOR, f"1{number}", 5_000, 1_000, Cause.NORMAL_CALL_CLEARING, ())
            self.impostor.place(script)
            self.world.after(self._rng.randrange(1, 8) * SECOND, self._call_as_another)

    @property
    def all(self) -> list[FarEnd]:
        """Every far end."""
        return list(self.nodes.values())

    @property
    def seen_outside(self) -> set[str]:
        """Who sees the address of the NAT in front of the gateway: those it registers with, by their own addresses."""
        if not self.branch.shape.behind_nat:
            return set()
        return {shape.address for shape in self.shapes.values() if shape.registers}

    def not_followed(self, outside: str) -> list[str]:
        """Who does not know where the gateway is now, although it registers there."""
        found = []
        for name, shape in self.shapes.items():
            node = self.nodes[name]
            if not shape.registers or name == WILD or shape.of_six:
                # No NAT is before our address of IPv6.
                continue
            if isinstance(node, IaxPbx):
                bound = None if node.bound is None else node.bound[0]
            else:
                path = node.endpoint.peers[shape.user].path(self.world.now)
                bound = None if path is None else path.address
            if bound != outside:
                found.append(f"{name} is to call the gateway at {bound}, not at {outside}")
        return found

    @property
    def breaches(self) -> list[str]:
        """What they found wrong."""
        found = [each for node in self.all for each in node.breaches] + self.strangers.breaches + self.leaks
        if self.impostor is not None:
            if self.impostor.registrations or self.impostor.bound is not None:
                found.append("somebody registered with a wrong password")
            if any(side.proceeding is not None for side in self.impostor.sides):
                found.append("somebody's call was taken with a wrong password")
        return found

    @property
    def names_calls(self) -> bool:
        """Whether the site says of calls that go round which they are."""
        return any(isinstance(node, IaxSite) and node.names_calls for node in self.all)

    def is_wild(self, script: Script) -> bool:
        """Whether the wild far end has a part in a call: then only that it ends is to be had."""
        digits = self.shapes[WILD].digits if WILD in self.shapes else "-"
        return script.origin == WILD or script.kind == digits or any(side.node == WILD for side in script.sides)

    def counted(self) -> dict[str, int]:
        """What a run got over."""
        sides = [side for script in self.branch.story.scripts.values() for side in script.sides]
        ours = [side for side in sides if side.technology == "iax2"]
        answered = [side for side in ours if side.answered is not None]
        happened = [what for _, what in self.branch.misfortunes.happened]
        part = self.branch.gateway.engine.iax
        assert part is not None
        return {
            "calls over IAX2": len(answered),
            "encrypted calls over IAX2": sum(self.shapes[side.node].encrypted for side in answered),
            "digits over IAX2": sum(len(side.digits) for side in ours),
            "registrations over IAX2": sum(pbx.registrations + pbx.granted for pbx in self.pbxes),
            "IAX2 keys changed by the gateway": sum(pbx.told_keys for pbx in self.pbxes),
            "IAX2 keys changed by far ends": sum(pbx.rotated for pbx in self.pbxes),
            "calls of guests over IAX2": sum(side.node == GUEST for side in answered),
            "IAX2 calls over IPv6": sum(self.shapes[side.node].of_six for side in answered),
            "IAX2 calls at a second port": sum(self.shapes[side.node].port != rfc.PORT for side in answered),
            "IAX2 calls by a password in the clear": sum(self.shapes[side.node].plaintext for side in answered),
            "IAX2 holds": sum(side.held for side in ours),
            "IAX2 calls that went round": sum(node.rounds for node in self.all if isinstance(node, IaxSite)),
            "IAX2 texts": sum(pbx.texts for pbx in self.pbxes),
            "IAX2 calls that went on without the gateway": sum(pbx.joined for pbx in self.pbxes),
            "IAX2 trunk frames": part.trunks,
            "IAX2 mini frames": part.minis,
            "NATs before IAX2 far ends that forgot all": self.rebound,
            "IAX2 far ends that restarted": sum(node.restarts for node in self.all),
            "IAX2 clocks that jumped": sum(what.startswith("the clock of") for what in happened),
            "IAX2 sessions of far ends that were gone": sum(pbx.invals for pbx in self.pbxes),
            "mangled IAX2 frames": self.mangled,
            "IAX2 frames sent again by others": self.replayed,
            "IAX2 calls that leaked": self.leaked,
            "IAX2 frames of strangers": self.strangers.sent,
        }

    # -- the run --

    def plan(self, end: int) -> None:
        """What goes on besides calls between now and ``end``."""
        if self.nodes:
            self._mangles = True
            self.strangers.plan(end)
            self.world.at(end, self._calm)
            self.world.after(SECOND, self._call_as_another)
            if self.impostor is not None:
                self.impostor.begin_registering()

    def _calm(self) -> None:
        self._mangles = False

    def stop(self) -> None:
        """Registrations are taken back."""
        self._mangles = False
        for node in self.all:
            node.stop()
        if self.impostor is not None:
            self.impostor.stopped = True

    def look(self) -> list[str]:
        """What must hold at any time: no table grows without end, and none of them is shut out."""
        endpoint = self.branch.gateway.switch.iax
        if endpoint is None:
            return []
        found = []
        if len(endpoint.gatekeeper) > endpoint.settings.max_unproven:
            found.append(f"{len(endpoint.gatekeeper)} are to prove who they are")
        if len(endpoint.defence) > MAX_SOURCES + MAX_SHUT_OUT:
            found.append(f"{len(endpoint.defence)} sources of IAX2 are remembered")
        ours = {
            source_of(self.branch.network.outside(each.address))
            for each in self.shapes.values()
            if each.name not in (WILD, GUEST)
        }
        found += [
            f"{each} is one of us and is shut out" for each in endpoint.defence.shut_out(self.world.now) if each in ours
        ]
        return found

    def unregistered(self) -> list[str]:
        """Who is not registered, here or there, that should be."""
        endpoint, now = self.branch.gateway.switch.iax, self.world.now
        if endpoint is None:
            return []
        found: list[str] = []
        for name, shape in self.shapes.items():
            if name in (WILD, GUEST):
                continue
            ours = endpoint.peers[name]
            if shape.dynamic and ours.path(now) is None:
                found.append(f"{name} is not registered")
            if shape.registers and (ours.registration is None or not ours.registration.in_force):
                found.append(f"not registered with {name}")
        return found

    # -- what is beside the frames of the wild one --

    def _beside(self, target: Address, data: bytes) -> None:
        self.mangler.remember(data)
        if not self._mangles:
            return
        for _ in range(self._rng.randrange(max(COPIES, self.branch.mangled // 50))):
            if self.mangled >= self.branch.mangled:
                return
            self.mangled += 1
            mangled = self.mangler.mangled(data)
            after = self._rng.randrange(200) * MILLISECOND
            self.world.after(after, self._send, (self.shapes[WILD].address, rfc.PORT), target, mangled)

    def _overheard(self, pbx: IaxPbx, target: Address, data: bytes) -> None:
        """What the others send somebody sends once more, much later, and says to be them."""
        if self._mangles and self._rng.random() < REPLAYED:
            self.replayed += 1
            after = self._rng.randrange(20_000) * MILLISECOND
            self.world.after(after, self._send, (pbx.address, rfc.PORT), target, data)

    def _send(self, source: Address, target: Address, data: bytes) -> None:
        if data:
            self.branch.network.send(source, target, data)

    # -- what happens to them --

    def restart(self) -> str:
        """One of them forgets everything, in the middle of its calls."""
        node = self._rng.choice(self.all)
        node.restart()
        return node.name

    def rebind(self) -> str:
        """The NAT in front of one has forgotten all, or has another address."""
        if not self.nats:
            return ""
        name = self._rng.choice(sorted(self.nats))
        self.rebound += 1
        nat = self.nats[name]
        if self._rng.random() < 0.5:
            nat.forget()
        else:
            self.nats[name] = Nat(nat.kind, nat.inside, f"198.52.{len(self.nats)}.{self.rebound % 200 + 2}")
            self.branch.network.put_behind(self.nats[name])
        return name

    def turn_clock(self) -> str:
        """The clock of one jumps."""
        if not self.pbxes:
            return ""
        pbx = self._rng.choice(self.pbxes)
        pbx.clock = self._rng.choice((-5_000, -200, 0, 300, 70_000, 3_600_000))
        return pbx.name

    def leak(self) -> str:
        """One sends trunk voice in the clear into a call that is encrypted: the gateway ends it."""
        standing = [
            (pbx, talk)
            for pbx in self.pbxes
            for talk in pbx.talks.values()
            if talk.send_key and talk.side is not None and talk.side.answered is not None and talk.hung_up is None
        ]
        if not standing:
            return ""
        pbx, talk = self._rng.choice(standing)
        self.leaked += 1
        talk.leaks = True
        self._leak(pbx, talk, LEAK_FRAMES)
        return pbx.name

    def _leak(self, pbx: IaxPbx, talk: Talk, times: int) -> None:
        if talk.over:
            return
        if not times:
            misfortunes = self.branch.misfortunes
            well = all(what.endswith(LEAKS) for _, what in misfortunes.happened) and not misfortunes.packets_suffer
            if well and talk.hung_up is None:
                self.leaks.append(f"{pbx.name} leaked voice of an encrypted call, which goes on")
            return
        data = rfc.trunk(self.world.now // 1000, [(talk.number, 0, b"in the clear")], stamps=False)
        self._send((pbx.address, rfc.PORT), talk.address, data)
        self.world.after(200 * MILLISECOND, self._leak, pbx, talk, times - 1)

    def sulk(self, milliseconds: int) -> str:
        """One takes no registrations for a while."""
        if not self.pbxes:
            return ""
        pbx = self._rng.choice(self.pbxes)
        pbx.mood = self._rng.choice((Mood.SILENT, Mood.REFUSES))
        self.world.after(milliseconds * MILLISECOND, setattr, pbx, "mood", Mood.WELL)
        return pbx.name

    def mend(self) -> None:
        """Nothing is wrong with any of them any more."""
        for node in self.all:
            self.branch.network.cut(node.address, False)
        for pbx in self.pbxes:
            pbx.mood, pbx.clock = Mood.WELL, 0

    # -- who hears whom --

    def in_gateway(self, side: Side) -> IaxStream | None:
        """The gateway's stream that reaches a party, if that also leads back to it, with the keys of both."""
        node = self.nodes[side.node]
        seen = self.branch.network.outside(node.address)
        for stream in self.branch.gateway.engine.streams.values():
            if not isinstance(stream, IaxStream) or stream.voice is None or stream.voice.address != seen:
                continue
            voice = stream.voice
            if isinstance(node, IaxPbx):
                talk = node.talk_of(side)
                if talk is None:
                    return None
                numbers, keys = (talk.other, talk.number), (talk.receive_key, talk.send_key)
            else:
                own = node.stream_of(side)
                if own is None or own.voice is None:
                    return None
                numbers = own.voice.far_call, own.voice.source_call
                keys = own.voice.receive_key, own.voice.send_key
            if (voice.source_call, voice.far_call) == numbers:
                return stream if (voice.send_key, voice.receive_key) == keys else None
        return None

    def left(self, script: Script) -> bool:
        """Whether its far ends went on without the gateway."""
        records = reversed(self.branch.gateway.records)
        found = next((each for each in records if each.caller.get("number") == script.calling), None)
        return found is not None and bool(found.incoming.get("released_from_path"))

    def heard(self, side: Side) -> str:
        """What a party heard last."""
        node = self.nodes[side.node]
        if isinstance(node, IaxPbx):
            talk = node.talk_of(side)
            return "" if talk is None else talk.heard
        stream = node.stream_of(side)
        return "" if stream is None else stream.heard

    def words(self, script: Script, side: Side) -> str:
        """What a party says."""
        node = self.nodes[side.node]
        if isinstance(node, IaxPbx):
            return f"{node.name} {script.number} {'calling' if side is script.caller else 'called'}"
        stream = node.stream_of(side)
        return "" if stream is None else stream.label
