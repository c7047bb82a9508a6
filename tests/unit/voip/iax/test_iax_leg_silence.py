"""How long a far end may be silent before it accepts, where there is another way: least for who calls for help."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gateway.cause import Cause
from gateway.core import MILLISECOND, SECOND
from gateway.routing.failover import goes_on
from gateway.voip.iax.frame import Command, parse_full
from gateway.voip.iax.peers import Encryption
from tests.unit.voip.iax.iax_calls import offered
from tests.unit.voip.iax.iax_scene import Notes, Scene, simple_setup

PATIENCE = 4 * SECOND
ROUND_TRIPS = 500 * MILLISECOND


def is_command(data: bytes, *commands: Command) -> bool:
    return parse_full(data).subclass in commands if data[0] & 0x80 else False


def waited(scene: Scene, notes: Notes, begun: int) -> int:
    """How long until the next destination can be tried."""
    scene.run(60, until=lambda: notes.released is not None)
    assert notes.released is not None
    assert goes_on(notes.released.cause)
    return notes.times[-1] - begun


@pytest.mark.parametrize("emergency", [False, True])
@pytest.mark.parametrize("last", [Command.CALLTOKEN, Command.AUTHREQ])
@pytest.mark.parametrize("encryption", [Encryption.NO, Encryption.OPTIONAL])
def test_far_end_that_falls_silent_before_it_accepts_is_left_for_another_way(
    encryption: Encryption, last: Command, emergency: bool
) -> None:
    # With another secret there an encrypted proof is noise, and nothing is said to it.
    scene = Scene(peer=lambda owner, settings: replace(settings, encryption=encryption))
    begun = scene.now
    scene.drop = lambda sender, to, data: sender == "b" and not is_command(data, *before(last))
    _, notes = scene.place(replace(simple_setup(), alternatives=True, emergency=emergency))
    assert PATIENCE <= waited(scene, notes, begun) < PATIENCE + ROUND_TRIPS
    assert notes.released is not None
    assert notes.released.timer == "failover"
    scene.drop = lambda sender, to, data: False
    scene.assert_clean()


def before(last: Command) -> tuple[Command, ...]:
    """What still comes through."""
    return (Command.CALLTOKEN,) if last is Command.CALLTOKEN else (Command.CALLTOKEN, Command.AUTHREQ)


def test_call_for_help_is_not_kept_waiting_by_who_acknowledges_and_does_nothing() -> None:
    scene = Scene()
    begun = scene.now
    _, notes = scene.place(replace(simple_setup("911"), alternatives=True, emergency=True))
    _, _, far = offered(scene)
    assert PATIENCE <= waited(scene, notes, begun) < PATIENCE + ROUND_TRIPS
    scene.run(1)
    assert far.released is not None


def test_call_for_help_without_another_way_waits_as_others_do() -> None:
    scene = Scene()
    begun = scene.now
    _, notes = scene.place(replace(simple_setup("911"), emergency=True))
    offered(scene)
    assert waited(scene, notes, begun) == 30 * SECOND
    assert notes.released is not None
    assert notes.released.cause is Cause.RECOVERY_ON_TIMER_EXPIRY


def test_far_end_that_acknowledged_and_thinks_is_waited_for() -> None:
    scene = Scene()
    begun = scene.now
    _, notes = scene.place(replace(simple_setup(), alternatives=True))
    offered(scene)
    assert waited(scene, notes, begun) == 30 * SECOND
