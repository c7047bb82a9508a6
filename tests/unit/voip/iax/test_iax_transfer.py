"""Two IAX2 far ends of one call go on without the gateway (RFC 5456 6.5), where all three may; else all stays."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.cause import Cause
from gateway.core import SECOND
from gateway.leg import Setup
from gateway.media.api import Codec
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.frame import Command, FrameType, FullFrame, parse
from gateway.voip.iax.leg import IaxLeg
from gateway.voip.iax.peers import Encryption, PeerSettings
from gateway.voip.iax.transfer import MAX_ATTEMPTS
from tests.unit.voip.iax.iax_scene import (
    ADDRESSES,
    BAD_NETWORK,
    TRANSFER_COMMANDS,
    Bridge,
    Faults,
    Notes,
    Scene,
    simple_setup,
)

Change = Callable[[str, PeerSettings], PeerSettings]


def willing(owner: str, peer: PeerSettings) -> PeerSettings:
    return replace(peer, transfer=True)


def but(owner: str, name: str, **changes: object) -> Change:
    """All are willing, but for what ``owner`` has of ``name``; "" is of all."""

    def change(who: str, peer: PeerSettings) -> PeerSettings:
        peer = replace(peer, transfer=True)
        return replace(peer, **changes) if who == owner and name in ("", peer.name) else peer

    return change


class Middle:
    """A calls B through M."""

    def __init__(
        self,
        peer: Change = willing,
        *,
        seed: int = 1,
        faults: Faults | None = None,
        setup: Setup | None = None,
        join: bool = True,
    ) -> None:
        self.scene = scene = Scene(("a", "m", "b"), seed=seed, faults=faults, peer=peer)
        self.bridge = Bridge(scene, "m", "b", join=join)
        self.leg, self.notes = scene.place(setup or simple_setup(), called="m")
        scene.run(60, until=lambda: bool(scene["b"].offers))
        self.far, _, self.far_notes = scene["b"].offers[0]
        self.far.answer(None, scene.now)
        scene.run(60, until=lambda: "Answered" in self.notes.names())

    def settle(self, seconds: float = 2.0) -> None:
        self.scene.run(seconds)

    @property
    def released(self) -> bool:
        """M is out of it, and what A and B hear of each other says so."""
        return all(notes.released is not None for notes in self.bridge.notes)

    def talk_directly(self) -> bool:
        """Whether voice goes between A and B, and none to M."""
        scene = self.scene
        scene.minis.clear()
        scene.talk(("a", self.leg), ("b", self.far), packets=5)
        scene.run(1)
        targets = {(sender, target[0]) for _, sender, target, _ in scene.minis}
        return targets == {("a", ADDRESSES["b"]), ("b", ADDRESSES["a"])}

    def commands(self, sender: str) -> list[str]:
        frames = [parse(data) for _, by, data in self.scene.wire if by == sender]
        return [
            Command(frame.subclass).name
            for frame in frames
            if isinstance(frame, FullFrame) and frame.type == FrameType.IAX and frame.subclass in TRANSFER_COMMANDS
        ]

    def hang_up(self) -> None:
        self.leg.release(Cause.SUBSCRIBER_ABSENT, self.scene.now)
        self.scene.assert_clean()


def test_both_far_ends_go_on_without_us() -> None:
    middle = Middle()
    middle.settle()
    assert middle.commands("m") == ["TXREQ", "TXREQ", "TXREL", "TXREL"]
    assert sorted(set(middle.commands("a"))) == ["TXACC", "TXCNT", "TXREADY"]
    assert middle.released
    assert not middle.scene["m"].endpoint.legs
    assert not middle.scene["m"].media.voices
    assert middle.talk_directly()
    # The call is theirs: digits and the end go between them, and M says nothing any more.
    before = len(middle.commands("m"))
    middle.leg.keypad("5", 100, middle.scene.now)
    middle.settle(1)
    assert middle.far_notes.keys == "5"
    middle.hang_up()
    assert middle.far_notes.released is not None
    assert middle.far_notes.released.cause is Cause.SUBSCRIBER_ABSENT
    assert len(middle.commands("m")) == before


def test_the_record_of_a_call_that_left_says_so() -> None:
    middle = Middle()
    middle.settle()
    for leg in (middle.bridge.incoming, middle.bridge.outgoing):
        assert leg is not None
        assert leg.record()["released_from_path"] is True
    for notes in middle.bridge.notes:
        assert notes.released is not None
        assert notes.released.cause is Cause.NORMAL_CALL_CLEARING
    # Nobody was hung up.
    assert not middle.scene.sent("m", Command.HANGUP)


def test_voice_is_heard_from_the_new_far_end() -> None:
    middle = Middle()
    middle.settle()
    middle.scene.talk(("a", middle.leg), ("b", middle.far))
    middle.settle(1)
    assert middle.scene.heard("a", middle.leg) == "b"
    assert middle.scene.heard("b", middle.far) == "a"


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_on_a_bad_network_it_works_or_all_stays(seed: int) -> None:
    middle = Middle(seed=seed, faults=BAD_NETWORK)
    middle.leg.keypad("123", 100, middle.scene.now)
    middle.far.keypad("789", 100, middle.scene.now)
    middle.settle(40)
    if middle.released:
        assert middle.talk_directly()
    middle.leg.keypad("456", 100, middle.scene.now)
    middle.settle(20)
    # What was under way while the far ends changed is not lost either.
    assert middle.far_notes.keys == "123456"
    assert middle.notes.keys == "789"
    middle.hang_up()
    assert middle.far_notes.released is not None
    assert middle.far_notes.released.cause is Cause.SUBSCRIBER_ABSENT


def test_what_is_said_to_us_after_we_left_is_for_the_other_end() -> None:
    middle = Middle(join=False)

    def first_release(sender: str, to: tuple[str, int], data: bytes) -> bool:
        return (sender, to[0], data[11]) == ("m", ADDRESSES["a"], Command.TXREL) and not data[2] & 0x80

    middle.scene.drop = first_release
    join(middle)
    middle.settle(0.1)
    assert middle.released
    # A does not know yet.
    middle.leg.keypad("5", 100, middle.scene.now)
    middle.settle(5)
    assert middle.far_notes.keys == "5"
    assert middle.talk_directly()
    middle.hang_up()


@pytest.mark.parametrize(
    ("peer", "setup"),
    [
        (but("m", "a", transfer=False), None),
        (but("m", "b", transfer=False), None),
        # Each may be told the other's address only where it is permitted.
        (but("m", "a", transfer_deny=(ip_network("192.0.2.0/24"),)), None),
        (but("m", "b", transfer_deny=(ip_network("192.0.2.1/32"),)), None),
        (but("m", "", transfer_permit=(ip_network("198.51.100.0/24"),)), None),
        (lambda owner, peer: replace(willing(owner, peer), encryption=Encryption.REQUIRED), None),
        (but("m", "b", codecs=(Codec.ULAW,)), None),
    ],
)
def test_where_it_may_not_be_nobody_is_asked(peer: Change, setup: Setup | None) -> None:
    middle = Middle(peer, setup=setup)
    middle.settle(20)
    release = middle.bridge.incoming.path_release if middle.bridge.incoming is not None else None
    # What is encrypted cannot be seen on the wire.
    assert release is None or not release._attempts
    assert not middle.commands("m")
    assert not middle.released
    middle.hang_up()


def test_a_call_for_help_never_leaves() -> None:
    middle = Middle(setup=replace(simple_setup(), emergency=True), join=False)
    incoming, outgoing = middle.bridge.incoming, middle.bridge.outgoing
    assert incoming is not None
    assert outgoing is not None
    outgoing.setup = replace(simple_setup(), emergency=True)
    incoming.join(outgoing, middle.scene.now)
    middle.settle()
    assert not middle.commands("m")
    middle.hang_up()


def test_a_narrow_permit_within_a_wide_deny_permits() -> None:
    networks = {
        "transfer_deny": (ip_network("192.0.2.0/24"),),
        "transfer_permit": (ip_network("192.0.2.0/30"),),
    }
    middle = Middle(but("m", "", **networks))
    middle.settle()
    assert middle.released
    middle.hang_up()


@pytest.mark.parametrize(
    "peer",
    [
        but("b", "m", transfer=False),
        but("b", "m", transfer_deny=(ip_network("192.0.2.1/32"),)),
    ],
)
def test_an_end_that_may_not_refuses_and_all_stays(peer: Change) -> None:
    middle = Middle(peer)
    middle.settle(20)
    assert middle.commands("b") == ["TXREJ"]
    assert middle.commands("m").count("TXREJ") == 1
    assert "TXREL" not in middle.commands("m")
    assert_stays(middle)


def test_far_ends_that_do_not_reach_each_other_stay() -> None:
    def between(sender: str, to: tuple[str, int], data: bytes) -> bool:
        return {sender, to[0]} in ({"a", ADDRESSES["b"]}, {"b", ADDRESSES["a"]})

    middle = Middle(join=False)
    middle.scene.drop = between
    join(middle)
    middle.settle(30)
    assert "TXREL" not in middle.commands("m")
    assert "TXREJ" in middle.commands("m")
    # They tried several times, and not for ever.
    assert 3 <= middle.commands("a").count("TXCNT") <= 25
    assert_stays(middle)


def test_one_that_reaches_and_one_that_does_not_stay() -> None:
    middle = Middle(join=False)
    middle.scene.drop = lambda sender, to, data: sender == "a" and to[0] == ADDRESSES["b"]
    join(middle)
    middle.settle(30)
    assert "TXREL" not in middle.commands("m")
    assert_stays(middle)


def test_a_call_that_needs_the_gateway_again_before_both_are_ready_stays() -> None:
    middle = Middle(join=False)
    join(middle)
    incoming = middle.bridge.incoming
    assert incoming is not None
    incoming.join(None, middle.scene.now)
    middle.settle()
    assert middle.commands("m") == ["TXREQ", "TXREQ", "TXREJ", "TXREJ"]
    assert_stays(middle)


def test_after_a_hold_it_is_tried_again_but_not_for_ever() -> None:
    middle = Middle(join=False)
    middle.scene.drop = lambda sender, to, data: {sender, to[0]} == {"a", ADDRESSES["b"]}
    incoming, outgoing = middle.bridge.incoming, middle.bridge.outgoing
    assert incoming is not None
    for _ in range(MAX_ATTEMPTS + 2):
        incoming.join(outgoing, middle.scene.now)
        middle.settle(0.2)
        incoming.join(None, middle.scene.now)
        middle.settle(0.2)
    assert 2 <= middle.commands("m").count("TXREQ") <= 2 * MAX_ATTEMPTS
    assert_stays(middle)


@pytest.mark.parametrize("by_caller", [True, False])
@pytest.mark.parametrize("after", [0.0, 0.001, 0.002, 0.003, 0.004, 0.005, 0.01])
def test_who_hangs_up_meanwhile_ends_the_call(by_caller: bool, after: float) -> None:
    middle = Middle(join=False)
    join(middle)
    middle.settle(after)
    leg = middle.leg if by_caller else middle.far
    leg.release(Cause.SUBSCRIBER_ABSENT, middle.scene.now)
    middle.settle(30)
    middle.scene.assert_clean()
    assert middle.notes.released is not None
    assert middle.far_notes.released is not None


def test_two_gateways_in_a_row_that_both_want_to_leave_get_out_by_and_by() -> None:
    """A - M - C - B: both refuse each other's wish, and one of them is first the next time."""
    scene = Scene(("a", "m", "c", "b"), peer=willing)
    first, second = Bridge(scene, "m", "c"), Bridge(scene, "c", "b")
    leg, notes = scene.place(called="m")
    scene.run(10, until=lambda: bool(scene["b"].offers))
    far, _, far_notes = scene["b"].offers[0]
    far.answer(None, scene.now)
    scene.run(60)
    left = [all(each.released is not None for each in bridge.notes) for bridge in (first, second)]
    assert any(left), scene.ladder()
    leg.keypad("7", 100, scene.now)
    scene.run(2)
    assert far_notes.keys == "7"
    leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.assert_clean()
    assert far_notes.released is not None
    assert notes.released is not None


def test_both_ends_may_be_one_gateway() -> None:
    """A calls M, which calls A: A's two legs go on with each other."""
    scene = Scene(("a", "m"), peer=willing)
    Bridge(scene, "m", "a")
    leg, notes = scene.place(called="m")
    scene.run(10, until=lambda: bool(scene["a"].offers))
    far, _, far_notes = scene["a"].offers[0]
    far.answer(None, scene.now)
    scene.run(5)
    assert not scene["m"].endpoint.legs
    scene.talk(("a", leg), ("a", far))
    assert {target[0] for _, _, target, _ in scene.minis} == {ADDRESSES["a"]}
    leg.keypad("1", 100, scene.now)
    far.keypad("2", 100, scene.now)
    scene.run(1)
    assert (notes.keys, far_notes.keys) == ("2", "1")
    assert leg.stream is not None
    assert far.stream is not None
    assert scene["a"].media.heard[leg.stream]
    assert scene["a"].media.heard[far.stream]
    leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.assert_clean()
    assert_ended(notes, far_notes)


# -- what an end believes --


class End:
    """A call between A and B, where B is asked by A to go elsewhere."""

    def __init__(self, peer: Change = willing) -> None:
        self.scene = Scene(("a", "b", "c"), peer=peer)
        self.leg, _, self.far, self.far_notes = self.scene.answered()
        session = self.leg.session
        assert session is not None
        self.session = session
        self.scene.wire.clear()

    def ask(self, elements: Elements) -> None:
        self.session.command(Command.TXREQ, self.scene.now, elements)
        self.scene.run(0.1)

    def says(self) -> set[str]:
        names = set()
        for _, by, data in self.scene.wire:
            frame = parse(data)
            if by == "b" and isinstance(frame, FullFrame) and frame.type == FrameType.IAX:
                names.add(Command(frame.subclass).name)
        return names & {command.name for command in TRANSFER_COMMANDS}


def place(address: str = ADDRESSES["c"], port: int = 4569, number: int = 77) -> Elements:
    elements = Elements().add_address(address, port).add_number(Ie.CALLNO, number, 2)
    return elements.add_number(Ie.TRANSFERID, 5, 4)


@pytest.mark.parametrize(
    "elements",
    [
        Elements(),
        Elements().add_number(Ie.CALLNO, 77, 2),
        place(number=0),
        place(number=0x8000),
        place(port=0),
        place("0.0.0.0"),
        place("224.0.0.1"),
        place("255.255.255.255"),
        place("2001:db8::1"),
    ],
)
def test_a_wish_that_leads_nowhere_is_refused(elements: Elements) -> None:
    end = End()
    end.ask(elements)
    assert end.says() == {"TXREJ"}
    finish(end)


@pytest.mark.parametrize("elements", [Elements().add(Ie.CALLNO, b"abc"), Elements().add(Ie.TRANSFERID, b"abc")])
def test_a_wish_that_cannot_be_read_changes_nothing(elements: Elements) -> None:
    end = End()
    end.ask(elements)
    assert end.says() <= {"TXREJ"}
    finish(end)


def test_a_peer_without_transfer_sends_us_nowhere() -> None:
    end = End(lambda owner, peer: replace(peer, transfer=owner != "b"))
    end.ask(place())
    assert end.says() == {"TXREJ"}
    finish(end)


def test_an_encrypted_call_goes_nowhere() -> None:
    end = End(lambda owner, peer: replace(willing(owner, peer), encryption=Encryption.REQUIRED))
    before = len(end.scene.wire)
    end.ask(place())
    assert all(data[:2] != b"\0\0" for _, _, data in end.scene.wire[before:])
    assert end.far.path_change is None or not end.far.path_change._target
    finish(end)


def test_a_release_that_was_not_prepared_is_not_believed() -> None:
    end = End()
    end.session.command(Command.TXREL, end.scene.now, Elements().add_number(Ie.CALLNO, 77, 2))
    end.scene.run(0.1)
    end.ask(place())
    end.session.command(Command.TXREL, end.scene.now, Elements().add_number(Ie.CALLNO, 77, 2))
    end.scene.run(0.1)
    session = end.far.session
    assert session is not None
    assert session.path.address == ADDRESSES["a"]
    finish(end)


def test_voice_alone_does_not_go_elsewhere() -> None:
    end = End()
    end.ask(place())
    end.session.command(Command.TXMEDIA, end.scene.now, Elements().add_number(Ie.CALLNO, 77, 2))
    end.scene.run(20)
    assert end.says() == {"TXCNT", "TXREJ"}
    assert len(end.scene.sent("b", Command.TXREJ)) == 1
    finish(end)


def test_a_stranger_can_neither_accept_nor_connect() -> None:
    end = End()
    end.ask(place())
    session = end.far.session
    assert session is not None
    end.scene.wire.clear()
    for address, port, number in [
        (ADDRESSES["c"], 4570, 77),
        ("192.0.2.200", 4569, 77),
        (ADDRESSES["c"], 4569, 78),
    ]:
        for command in (Command.TXCNT, Command.TXACC):
            frame = FullFrame(number, session.source, 9, 0, 0, FrameType.IAX, command, bytes(place()))
            end.scene.deliver((address, port), (ADDRESSES["b"], 4569), bytes(frame))
    # Another identifier is not the one that was told.
    other = Elements().add_number(Ie.TRANSFERID, 6, 4)
    frame = FullFrame(77, session.source, 9, 0, 0, FrameType.IAX, Command.TXCNT, bytes(other))
    end.scene.deliver((ADDRESSES["c"], 4569), (ADDRESSES["b"], 4569), bytes(frame))
    assert not end.says() & {"TXACC", "TXREADY"}
    frame = FullFrame(77, session.source, 9, 0, 0, FrameType.IAX, Command.TXCNT, b"\x1b\x05")
    end.scene.deliver((ADDRESSES["c"], 4569), (ADDRESSES["b"], 4569), bytes(frame))
    finish(end)


def test_a_wish_that_nobody_answers_is_given_up() -> None:
    end = End()
    end.ask(place("192.0.2.200"))
    end.scene.run(30)
    assert end.says() == {"TXCNT", "TXREJ"}
    tries = [data for _, by, data in end.scene.wire if by == "b" and data[11] == Command.TXCNT]
    assert 5 < len(tries) < 30
    finish(end)


def join(middle: Middle) -> None:
    incoming, outgoing = middle.bridge.incoming, middle.bridge.outgoing
    assert incoming is not None
    incoming.join(outgoing, middle.scene.now)
    middle.scene.drain()


def assert_stays(middle: Middle) -> None:
    """All talk through the gateway as before."""
    assert not middle.released
    for leg in (middle.leg, middle.far):
        assert isinstance(leg, IaxLeg)
        assert leg.session is not None
        assert leg.session.path.address == ADDRESSES["m"]
    middle.leg.keypad("9", 100, middle.scene.now)
    middle.settle(1)
    assert middle.far_notes.keys == "9"
    middle.hang_up()
    assert_ended(middle.notes, middle.far_notes, *middle.bridge.notes)


def finish(end: End) -> None:
    end.leg.keypad("4", 100, end.scene.now)
    end.scene.run(2 * SECOND / 1_000_000)
    assert end.far_notes.keys == "4"
    end.leg.release(Cause.NORMAL_CALL_CLEARING, end.scene.now)
    end.scene.assert_clean()
    assert_ended(end.far_notes)


def assert_ended(*several: Notes) -> None:
    for notes in several:
        assert notes.released is not None
