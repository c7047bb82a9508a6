"""What tests of IAX2 calls do in a ``Scene``: wait for the offer, have the far end say something."""

from __future__ import annotations

from gateway.leg import (
    Offered,
)
from gateway.voip.iax.elements import Elements
from gateway.voip.iax.leg import IaxLeg
from tests.unit.voip.iax.iax_scene import Notes, Scene


def offered(scene: Scene, called: str = "b") -> tuple[IaxLeg, Offered, Notes]:
    """A call from a to b up to where b is offered it."""
    before = len(scene[called].offers)
    scene.run(5, until=lambda: len(scene[called].offers) > before)
    return scene[called].offers[-1]


def say(leg: IaxLeg, scene: Scene, kind: int, subclass: int, data: bytes | Elements = b"") -> None:
    """The far end says it by ``leg``, whatever that would say itself."""
    assert leg.session is not None
    leg.session.send(kind, subclass, scene.now, data)
    scene.run(0.1)


def settled(scene: Scene) -> None:
    scene.run(0.1)
