"""Interoperability tests are coroutines with a bound on their run; this makes plain functions of them for pytest."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import ParamSpec

Parameters = ParamSpec("Parameters")
SCENARIO_SECONDS = 200.0


def scenario(test: Callable[Parameters, Coroutine[object, object, None]]) -> Callable[Parameters, None]:
    """Run the coroutine ``test`` in a loop of its own; it fails if it takes longer than SCENARIO_SECONDS."""
    return lasting(SCENARIO_SECONDS)(test)


def lasting(
    seconds: float,
) -> Callable[[Callable[Parameters, Coroutine[object, object, None]]], Callable[Parameters, None]]:
    """As ``scenario``, for one that takes up to ``seconds``."""

    def decorate(test: Callable[Parameters, Coroutine[object, object, None]]) -> Callable[Parameters, None]:
        @functools.wraps(test)
        def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
            asyncio.run(asyncio.wait_for(test(*args, **kwargs), seconds))

        return run

    return decorate
