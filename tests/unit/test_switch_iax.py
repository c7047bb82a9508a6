"""IAX2 in the whole: a Switch in virtual time between two far ends that speak it, with its trace and its status."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from gateway.call_record import record_of
from gateway.cause import Cause
from gateway.config import parse
from gateway.core import SECOND
from gateway.leg import SECURE_MEDIA, SECURE_SIGNALLING, Answered, Leg, LegEvent, Offered, Released, Text
from gateway.media.api import EngineLost, EngineReady, OnOpened, Opened, Tone
from gateway.record import CallRecord, WallClock
from gateway.routing.dialplan import IaxDestination, PriDestination, RejectDestination, TrunkDestination
from gateway.status import status_of
from gateway.switch import CallEnded, Switch, SwitchOutput
from gateway.trace import TraceLine
from gateway.voip.iax.binding_store import StoreIaxBindings
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.frame import Command
from gateway.voip.iax.peers import DEFAULT_PORT, AuthMethod, Encryption, IaxListener, PeerSettings
from gateway.voip.sip.defence import Offence
from gateway.voip.sip.flow import SRV, Resolve
from gateway.voip.sip.names import Answer
from tests.unit.voip.iax.iax_scene import ADDRESSES, SECRET, Agent, IaxMedia, Notes, Scene

HEAD = """
schema = 1
[sip]
listen = ["udp:192.0.2.9:5060"]
[iax]
listen = ["udp:192.0.2.9:4569"]
"""
TRUNK = """
[[trunk]]
name = "{name}"
technology = "iax2"
host = "{host}"
defaultuser = "m"
secret = "{secret}"
context = "from-{name}"
{terms}
[[route]]
context = "from-{name}"
match = "_X."
to = ["iax2:{other}/{{number}}"]
{route}
"""


class TonedMedia(IaxMedia):
    """With tones, which nobody hears."""

    def open_tone(self, tone: Tone, label: str, on_reply: OnOpened) -> int:
        self._serial += 1
        self.voices[self._serial] = 0
        on_reply(Opened(self._serial))
        return self._serial


class Tandem(Scene):
    """Far ends a and c, and a Switch that has calls of either go to the other."""

    def __init__(
        self,
        *,
        terms: str = "",
        route: str = "",
        dynamic: bool = False,
        trace: bool = False,
        seed: int = 1,
        **words: Any,
    ) -> None:
        super().__init__(("a", "m", "c"), seed=seed, **words)
        text = HEAD
        for name, other in (("a", "c"), ("c", "a")):
            host = "dynamic" if dynamic and name == "c" else ADDRESSES[name]
            text += TRUNK.format(name=name, host=host, secret=SECRET, other=other, terms=terms, route=route)
        self.lines: list[TraceLine] = []
        self.outputs: list[SwitchOutput] = []
        self.media = TonedMedia(self.carry)
        self.switch = Switch(
            parse(text, Path("tandem.toml")),
            cast(Any, self.media),
            random.Random(seed),
            tracer=self.lines.append if trace else None,
        )
        middle = cast(Agent, self)
        self._agents["m"] = self._places[ADDRESSES["m"], DEFAULT_PORT] = middle
        # As an agent it is the Switch itself.
        self.endpoint = self.switch
        self.name = "m"
        self.switch.media_event(EngineReady(fresh=True), self.now)
        self.settle(self.now)

    def settle(self, now: int) -> None:
        """Let the Switch say what it has to say."""
        self.switch.enter(now)
        while True:
            output = self.switch.poll()
            if output is not None:
                self.outputs.append(output)
            elif self.media.events:
                self.switch.media_event(self.media.events.pop(0), now)
            else:
                return

    def drain(self, now: int | None = None) -> None:
        """As a scene all of them, as an agent the Switch alone."""
        if now is not None:
            self.settle(now)
        else:
            super().drain()
            for agent in self.agents:
                agent.drain(self.now)

    def records(self) -> list[CallRecord]:
        """Of the calls that ended."""
        clock = WallClock(self.now, self.now)
        return [record_of(each.call, clock) for each in self.outputs if isinstance(each, CallEnded)]

    def through(self, caller: str = "a") -> tuple[Any, Notes, Any, Notes]:
        """A call of ``caller`` through the Switch, answered by the other far end."""
        other = "c" if caller == "a" else "a"
        before = len(self[other].offers)
        leg, notes = self.place(caller=caller, called="m")
        self.run(10, until=lambda: len(self[other].offers) > before or notes.released is not None)
        assert len(self[other].offers) > before, (notes.events, self.ladder())
        far, _, far_notes = self[other].offers[-1]
        far.proceed(self.now)
        far.answer(None, self.now)
        self.run(10, until=lambda: bool(notes.of(Answered)))
        assert notes.of(Answered), notes.events
        self.run(0.5)
        return leg, notes, far, far_notes

    def end(self, leg: Any) -> None:
        """It hangs up, and nothing is left over."""
        leg.release(Cause.NORMAL_CALL_CLEARING, self.now)
        self.run(60)
        assert self.switch.quiet
        assert self.switch.idle
        assert not self.media.voices


def changed(settings: PeerSettings, **words: Any) -> PeerSettings:
    return msgspec.structs.replace(settings, **words)


def required(_owner: str, settings: PeerSettings) -> PeerSettings:
    return changed(settings, encryption=Encryption.REQUIRED)


@pytest.mark.parametrize("caller", ["a", "c"])
def test_a_call_goes_through_and_has_a_record(caller: str) -> None:
    scene = Tandem()
    leg, notes, far, _ = scene.through(caller)
    status = status_of(scene.switch, {}, scene.now, engine_streams=len(scene.media.voices) + len(scene.media.sockets))
    (shown,) = cast(list[dict[str, Any]], status["calls"])
    assert (shown["source"], shown["state"]) == (caller, "answered")
    assert cast(dict[str, Any], status["engine"])["streams"] == 2
    peers = cast(dict[str, Any], status["iax"])["peers"]
    assert (peers["a"]["calls"], peers["c"]["calls"]) == (1, 1)
    far.release(Cause.USER_BUSY, scene.now)
    scene.run(60)
    assert notes.released is not None
    assert notes.released.cause is Cause.USER_BUSY
    (record,) = scene.records()
    other = "c" if caller == "a" else "a"
    assert (record.cause, record.released_by, record.source) == (17, "called", caller)
    assert record.attempts[0].destination == f"iax2:{other}/4165551234"
    assert record.attempts[0].leg["technology"] == record.incoming["technology"] == "iax2"
    assert scene.switch.idle
    assert leg.name not in scene["a"].endpoint.legs


def test_causes_come_back_as_they_were() -> None:
    scene = Tandem()
    _, notes = scene.place(caller="a", called="m")
    scene.run(10, until=lambda: bool(scene["c"].offers))
    scene["c"].offers[-1][0].release(Cause.UNALLOCATED_NUMBER, scene.now)
    scene.run(60)
    assert notes.released is not None
    assert notes.released.cause is Cause.UNALLOCATED_NUMBER
    assert scene.switch.idle


def test_the_trace_has_full_frames_and_no_secrets() -> None:
    scene = Tandem(trace=True)
    leg, *_ = scene.through()
    scene.end(leg)
    told = [(line.inward, line.message) for line in scene.lines]
    assert {line.protocol for line in scene.lines} == {"iax2"}
    assert (True, "NEW") in told
    assert (False, "AUTHREQ") in told
    assert (False, "CONTROL ANSWER") in told
    proof = next(line for line in scene.lines if line.message == "AUTHREP" and line.inward)
    assert proof.detail == "MD5_RESULT=(32 octets)"
    assert proof.wire == f"{ADDRESSES['a']}:4569"
    new = next(line for line in scene.lines if line.message == "NEW" and line.inward)
    assert "CALLED_NUMBER='4165551234'" in new.detail
    assert (new.dialogue, proof.dialogue.isdecimal()) == ("", True)


def test_the_trace_has_no_password_even_where_it_goes_over_the_wire() -> None:
    def plain(_owner: str, settings: PeerSettings) -> PeerSettings:
        return msgspec.structs.replace(settings, methods=AuthMethod.PLAINTEXT)

    scene = Tandem(trace=True, terms='auth = ["plaintext"]', peer=plain)
    leg, *_ = scene.through()
    scene.end(leg)
    assert any(SECRET.encode() in data for _, _, data in scene.wire)
    lines = [line.to_json() for line in scene.lines]
    assert any("PASSWORD=(6 octets)" in line for line in lines)
    assert SECRET not in "".join(lines)
    assert SECRET.encode().hex() not in "".join(lines)


def test_the_trace_tells_frames_of_encrypted_calls_in_clear() -> None:
    scene = Tandem(trace=True, terms="forceencryption = true", peer=required)
    leg, *_ = scene.through()
    scene.end(leg)
    assert SECRET not in "".join([line.to_json() for line in scene.lines])
    for inward in (True, False):
        (told,) = [each for each in scene.lines if each.inward is inward and each.message == "AUTHREP"]
        assert told.detail == "MD5_RESULT=(32 octets), encrypted"
        assert any(each.message == "CONTROL ANSWER" for each in scene.lines if each.inward is inward)
    assert not [line for line in scene.lines if "unreadable" in line.message]


def test_an_encrypted_hop_has_the_fact_that_routes_ask_for() -> None:
    scene = Tandem(terms="encryption = true", route='secure_bridge = ["secure_media"]', peer=required)
    leg, *_ = scene.through()
    (call,) = scene.switch.calls.values()
    assert call.setup.facts == {SECURE_MEDIA}
    scene.end(leg)
    wanted = frozenset({SECURE_MEDIA, SECURE_SIGNALLING})
    assert scene.switch.lacking(IaxDestination("c", "1"), wanted) == {SECURE_SIGNALLING}
    assert scene.switch.lacking(IaxDestination("nobody", "1"), wanted) == wanted
    assert Tandem().switch.lacking(IaxDestination("c", "1"), wanted) == wanted


def test_a_hop_that_cannot_have_what_a_route_asks_for_is_passed_over() -> None:
    scene = Tandem(route='secure_bridge = ["secure_media"]')
    _, notes = scene.place(caller="a", called="m")
    scene.run(10)
    assert notes.released is not None
    assert notes.released.cause is Cause.BEARER_CAPABILITY_NOT_AUTHORIZED
    (record,) = scene.records()
    assert "passed over: it has no secure_media" in record.attempts[0].text
    assert not scene["c"].offers


def test_the_silent_go_after_the_others_whatever_they_speak() -> None:
    switch = Tandem().switch
    assert switch.iax is not None
    line = PriDestination("g0", cast(Any, None), "1")
    a, c, sip = IaxDestination("a", "1"), IaxDestination("c", "1"), TrunkDestination("hq", "1")
    refusal = RejectDestination(Cause.USER_BUSY)
    every = (a, sip, c, line, refusal)
    assert switch.ordered(every) == every
    switch.iax.suspects.unreachable("a", 0)
    switch.sip.suspects.add("hq", 0)
    assert switch.ordered(every) == (c, line, sip, a, refusal)


def test_a_new_engine_has_the_sockets_again_and_old_calls_end() -> None:
    scene = Tandem()
    _, notes, *_ = scene.through()
    assert len(scene.media.sockets) == 1
    scene.switch.media_event(EngineLost(), scene.now)
    scene.media.sockets.clear()
    scene.switch.media_event(EngineReady(fresh=True), scene.now)
    scene.settle(scene.now)
    assert list(scene.media.sockets.values()) == [(ADDRESSES["m"], 4569)]
    scene.run(5)
    assert notes.released is not None
    assert not scene.switch.calls
    leg, *_ = scene.through("c")
    scene.end(leg)


def test_a_socket_that_goes_has_its_calls_to_their_end_and_takes_no_new_ones() -> None:
    scene = Tandem()
    leg, *_ = scene.through()
    iax = scene.switch.iax
    assert iax is not None
    before = iax.settings
    iax.take_up(msgspec.structs.replace(before, listeners=(IaxListener(ADDRESSES["m"], 4570),)), scene.now)
    assert [each.port for each in iax.settings.listeners] == [4569, 4570]
    assert sorted(port for _, port in scene.media.sockets.values()) == [4569, 4570]
    first, second = (number for number, place in sorted(scene.media.sockets.items(), key=lambda each: each[1]))
    assert iax.sockets.is_retired(first) and not iax.sockets.is_retired(second)
    assert iax.socket_to(ADDRESSES["c"]) == second == iax.socket_to(ADDRESSES["c"], 0)
    scene.end(leg)
    scene.run(20)
    assert list(scene.media.sockets) == [second] and not scene.switch.calls
    iax.take_up(before, scene.now)
    assert [each["port"] for each in iax.sockets.as_json() if each["open"]] == [4569]


def test_where_a_trunk_registered_is_to_be_stored_and_known_to_the_next_start() -> None:
    def registering(owner: str, settings: PeerSettings) -> PeerSettings:
        return changed(settings, register=owner == "c" and settings.name == "m")

    scene = Tandem(dynamic=True, peer=registering)
    scene.run(5)
    stored = [each for each in scene.outputs if isinstance(each, StoreIaxBindings)]
    assert stored
    leg, *_ = scene.through()
    scene.end(leg)
    again = Tandem(dynamic=True).switch
    assert again.iax is not None
    assert again.iax.restore(stored[-1].data, scene.now) == 1


def test_a_name_is_asked_for_and_its_answer_is_taken() -> None:
    text = HEAD + TRUNK.format(name="n", host="hq.example.org", secret=SECRET, other="n", terms="", route="")
    media = IaxMedia(lambda *_: None)
    switch = Switch(parse(text, Path("x.toml")), cast(Any, media), random.Random(1))
    switch.media_event(EngineReady(fresh=True), SECOND)
    switch.enter(SECOND)
    asked = [each for each in iter(switch.poll, None) if isinstance(each, Resolve)]
    assert asked == [Resolve("_iax._udp.hq.example.org", SRV)]
    assert switch.open_leg(IaxDestination("n", "1"), SECOND) is Cause.DESTINATION_OUT_OF_ORDER
    switch.looked_up(asked[0], Answer(), SECOND)
    asked = [each for each in iter(switch.poll, None) if isinstance(each, Resolve)]
    assert asked == [Resolve("hq.example.org")]
    switch.looked_up(asked[0], Answer(("192.0.2.1",)), SECOND)
    assert not isinstance(switch.open_leg(IaxDestination("n", "1"), SECOND), Cause)


def test_without_iax2_its_destinations_lead_nowhere() -> None:
    switch = Switch(parse("schema = 1\n", Path("x.toml")), cast(Any, IaxMedia(lambda *_: None)), random.Random(1))
    assert switch.iax is None
    assert switch.open_leg(IaxDestination("c", "1"), 0) is Cause.NO_ROUTE_TO_DESTINATION
    assert status_of(switch, {}, 0)["iax"] is None


def test_who_guessed_is_pardoned_in_both_technologies() -> None:
    scene = Tandem()
    iax = scene.switch.iax
    assert iax is not None
    assert not scene.switch.pardon("203.0.113.9")
    for _ in range(40):
        iax.defence.offended("203.0.113.9", Offence.GUESSED, scene.now)
    assert iax.defence.shut_out(scene.now)
    assert scene.switch.pardon("203.0.113.9")
    assert not iax.defence.shut_out(scene.now)


def test_the_end_of_the_program_takes_calls_and_registrations_back() -> None:
    scene = Tandem(
        terms="register = true",
        peer=lambda _owner, settings: changed(settings, dynamic=settings.name == "m"),
    )
    scene.run(10)
    _, notes, *_ = scene.through()
    scene.switch.shut_down(scene.now)
    scene.drain()
    scene.run(2)
    assert notes.released is not None
    assert notes.released.cause is Cause.TEMPORARY_FAILURE
    assert len(scene.sent("m", Command.REGREL)) >= 2
    assert scene.switch.quiet


@pytest.mark.parametrize("allowed", [False, True])
def test_a_far_end_sends_a_call_elsewhere_only_if_it_may(allowed: bool) -> None:
    scene = Tandem(terms="allowtransfer = true" if allowed else "")
    leg, _, far, _ = scene.through()
    assert far.session is not None
    far.session.command(Command.TRANSFER, scene.now, Elements().add_text(Ie.CALLED_NUMBER, "777"))
    scene.run(2)
    # The dial plan of c's context leads to a.
    called = [offered.setup.called.digits for _, offered, _ in scene["a"].offers]
    assert called == (["777"] if allowed else [])
    assert len(scene.sent("m", Command.UNSUPPORT)) == (0 if allowed else 1)
    for agent in (scene["a"], scene["c"]):
        for each, _, _ in agent.offers:
            each.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.end(leg)


def test_a_transfer_counts_as_a_call_of_who_asks_for_it() -> None:
    scene = Tandem(terms="allowtransfer = true\ncalls_per_hour = 1")
    leg, _, far, _ = scene.through()
    assert far.session is not None
    far.session.command(Command.TRANSFER, scene.now, Elements().add_text(Ie.CALLED_NUMBER, "777"))
    scene.run(2)
    assert not scene["a"].offers
    scene.end(leg)


def send_back(scene: Tandem, name: str) -> None:
    """Let the far end ``name`` route all that comes back to where it came from."""
    agent = scene[name]

    def on_offer(leg: Leg, offered: Offered, notes: Notes, now: int) -> None:
        out = agent.endpoint.new_leg("m", now)
        assert not isinstance(out, Cause)

        def ends_with(other: Leg) -> Callable[[Leg, LegEvent, int], None]:
            return lambda _leg, event, at: other.release(event.cause, at) if isinstance(event, Released) else None

        out.listener = Notes(react=ends_with(leg))
        notes.react = ends_with(out)
        out.place(offered.setup, now)

    agent.on_offer = on_offer


def test_call_that_goes_round_through_a_switch_ends_with_cause_25(caplog: pytest.LogCaptureFixture) -> None:
    scene = Tandem()
    send_back(scene, "a")
    send_back(scene, "c")
    _, notes = scene.place(caller="a", called="m")
    scene.run(20, until=lambda: notes.released is not None)
    assert notes.released is not None
    assert notes.released.cause is Cause.EXCHANGE_ROUTING_ERROR
    assert len(scene["a"].offers) + len(scene["c"].offers) <= 6
    assert len([line for line in caplog.messages if "goes round between trunk" in line]) == 1
    scene.run(60)
    assert scene.switch.idle


def test_text_goes_from_one_iax2_leg_to_the_other() -> None:
    scene = Tandem()
    leg, notes, far, far_notes = scene.through()
    leg.text("where are you?", scene.now)
    scene.run(1)
    far.text("here", scene.now)
    scene.run(1)
    assert [event.text for event in far_notes.events if isinstance(event, Text)] == ["where are you?"]
    assert [event.text for event in notes.events if isinstance(event, Text)] == ["here"]
    scene.end(leg)
