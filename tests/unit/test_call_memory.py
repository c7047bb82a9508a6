"""A call that is over leaves nothing for the garbage collector: its rounds hold all other calls up."""

from __future__ import annotations

import gc

import pytest

from gateway.core import SECOND
from tests.bench.cores import World


@pytest.mark.parametrize("direction", ["from_pstn", "from_sip"])
def test_calls_are_gone_from_memory_with_their_last_timer(direction: str) -> None:
    world = World(1, None)
    call = getattr(world, direction)
    call()
    world.advance(world.now + 40 * SECOND)
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            call()
        world.advance(world.now + 40 * SECOND)
        assert world.ended == 6
        assert gc.collect() == 0
    finally:
        gc.enable()
