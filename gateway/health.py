"""What is looked at before systemd is told that the gateway is well, and the line that people are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from gateway.media.api import Failure
from gateway.media.client import MediaClient
from gateway.pri.span.endpoint import SpanEnd
from gateway.pri.span.layer1 import Alarm
from gateway.service import Check
from gateway.switch import Switch


def summary(switch: Switch, spans: Mapping[str, SpanEnd]) -> str:
    """How many calls there are, and what the lines are like."""
    calls = len(switch.calls)
    lines = [f"{name} {'up' if span.alarm is Alarm.NONE else span.alarm.value}" for name, span in spans.items()]
    return "; ".join([f"{calls} call{'' if calls == 1 else 's'}", *([", ".join(lines)] if lines else [])])


def engine_checks(client: MediaClient, drain: Callable[[], None]) -> tuple[Check, ...]:
    """Whether there is an engine, and whether it answers.

    One that is gone is started again by others: that is told, and calls wait. One that is there and does not answer
    is vital: a fresh start connects anew, and the calls' voice goes on meanwhile.
    """

    async def there() -> str | None:
        return None if client.up else "it is gone"

    async def answers() -> str | None:
        if not client.up:
            return None
        replied: asyncio.Future[Failure | None] = asyncio.get_running_loop().create_future()

        def on_reply(failure: Failure | None) -> None:
            if not replied.done():
                replied.set_result(failure)

        client.ask(on_reply)
        drain()
        failure = await replied
        return None if failure is None or not client.up else failure.text

    return Check("media engine", there), Check("answers of the media engine", answers, vital=True)
