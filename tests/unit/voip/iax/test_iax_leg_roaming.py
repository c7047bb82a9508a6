"""IAX2 calls through a NAT that gives the far end another port, or another address, in the middle of a call."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gateway.voip.iax.peers import Encryption
from gateway.voip.sip.address import NetworkFacts
from tests.unit.voip.iax.iax_scene import ADDRESSES, Place, Scene, hang_up

A: Place = (ADDRESSES["a"], 4569)
B: Place = (ADDRESSES["b"], 4569)


class Nat:
    """What b sends comes from ``outside``, where it is reached; nothing for its old place gets there any more."""

    def __init__(self, scene: Scene, outside: Place) -> None:
        self._scene = scene
        self._outside = outside
        self._passing = False
        scene.drop = self.drops

    def drops(self, sender: str, to: Place, data: bytes) -> bool:
        if self._passing or sender == "":
            return False
        if sender == "b":
            self._scene.carry(self._outside, to, data)
            return True
        if to == self._outside:
            self._passing = True
            self._scene.carry(A, B, data)
            self._passing = False
            return True
        return to == B


def call(mode: Encryption) -> Scene:
    return Scene(peer=lambda owner, settings: replace(settings, encryption=mode))


@pytest.mark.parametrize("mode", [Encryption.NO, Encryption.REQUIRED])
def test_a_call_goes_on_through_another_port(mode: Encryption) -> None:
    scene = call(mode)
    leg, notes, far, far_notes = scene.answered()
    Nat(scene, (B[0], 40_000))
    # b says something of its own every ten seconds.
    scene.run(12)
    assert leg.session is not None
    assert leg.session.path.port == 40_000
    for agent, each in (("a", leg), ("b", far)):
        scene[agent].media.heard[each.stream or 0].clear()
    scene.talk(("a", leg), ("b", far))
    assert scene.heard("a", leg) == "b"
    assert scene.heard("b", far) == "a"
    leg.keypad("12", 100, scene.now)
    far.keypad("34", 100, scene.now)
    scene.run(60)
    assert (notes.keys, far_notes.keys) == ("34", "12")
    hang_up(leg, scene)
    scene.run(1)
    assert far_notes.released is not None
    scene.assert_clean()


def test_an_encrypted_call_goes_on_from_another_address() -> None:
    scene = call(Encryption.REQUIRED)
    leg, notes, far, far_notes = scene.answered()
    Nat(scene, ("203.0.113.9", 2000))
    scene.run(60)
    assert notes.released is None
    assert far_notes.released is None
    assert leg.record()["far_address"] == "203.0.113.9:2000"
    scene.talk(("a", leg), ("b", far))
    assert scene.heard("a", leg) == "b"


def test_a_call_follows_at_once_where_we_know_that_our_address_is_another() -> None:
    scene = call(Encryption.REQUIRED)
    leg, _, _, _ = scene.answered()
    Nat(scene, ("203.0.113.9", 2000))
    scene["b"].endpoint.network(NetworkFacts(), scene.now)
    scene.run(1)
    assert leg.record()["far_address"] == "203.0.113.9:2000"


def test_a_clear_call_does_not_go_to_another_address() -> None:
    scene = call(Encryption.NO)
    leg, notes, _, far_notes = scene.answered()
    Nat(scene, ("203.0.113.9", 2000))
    scene.run(60)
    assert notes.released is not None
    assert notes.released.timer == "retries"
    assert far_notes.released is not None
    assert leg.record()["far_address"] == "192.0.2.2:4569"
    scene.assert_clean()


@pytest.mark.parametrize("mode", [Encryption.NO, Encryption.REQUIRED])
def test_a_new_port_every_minute_is_followed(mode: Encryption) -> None:
    scene = call(mode)
    leg, notes, _, _ = scene.answered()
    for port in (5000, 5001, 5002, 5003):
        Nat(scene, (B[0], port))
        scene.run(60)
        assert leg.session is not None
        assert leg.session.path.port == port
    assert notes.released is None
