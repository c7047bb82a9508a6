"""Work in a thread leaves the interpreter as it found it, however many go on at a time and however they end."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading

import pytest

from gateway.background import TURN_SECONDS, Background


def test_turns_are_short_while_any_work_goes_on_and_as_before_after_it() -> None:
    before = sys.getswitchinterval()
    seen: list[tuple[bool, bool]] = []
    first_may_end, second_may_end = threading.Event(), threading.Event()

    def look(may_end: threading.Event) -> None:
        may_end.wait(10)
        seen.append((abs(sys.getswitchinterval() - TURN_SECONDS) < 1e-5, gc.isenabled()))

    async def work() -> None:
        background = Background()
        first = asyncio.create_task(background.run(lambda: look(first_may_end)))
        second = asyncio.create_task(background.run(lambda: look(second_may_end)))
        await asyncio.sleep(0)
        first_may_end.set()
        await first
        second_may_end.set()
        await second

    asyncio.run(work())
    assert seen == [(True, False), (True, False)]
    assert sys.getswitchinterval() == before and gc.isenabled()


def test_what_work_raises_comes_out_and_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with pytest.raises(ZeroDivisionError):
            asyncio.run(Background().run(lambda: 1 // 0))
        assert not gc.isenabled()
    finally:
        gc.enable()
