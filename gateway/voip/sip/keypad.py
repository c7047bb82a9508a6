"""Digits that go out by INFO inside a session, one request at a time and in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from gateway.voip.sip.dtmf_info import DTMF_RELAY, encode_relay

MAX_QUEUED_DIGITS = 64
"""Digits that wait for the response to the one before; further ones are dropped."""

SendInfo = Callable[[list[tuple[str, str]], bytes, int], bool]
"""Sends an INFO with these fields and this body; False if it could not."""


class KeypadSender:
    """The queue of one session."""

    __slots__ = ("_busy", "_digits", "_send", "_under_way")

    def __init__(self, send: SendInfo) -> None:
        self._send = send
        self._digits: deque[tuple[str, int]] = deque()
        self._busy = False
        self._under_way: tuple[str, int] | None = None

    def add(self, digits: str, milliseconds: int, now: int) -> None:
        """Queue ``digits`` and send what can be sent."""
        for digit in digits:
            if len(self._digits) < MAX_QUEUED_DIGITS:
                self._digits.append((digit, milliseconds))
        self._next(now)

    def done(self, now: int) -> None:
        """The INFO under way has its final response."""
        self._busy = False
        self._next(now)

    def take_back(self) -> list[tuple[str, int]]:
        """The far end wants no INFO: the digit that it refused and those that wait, with their milliseconds."""
        waiting = list(self._digits)
        self._digits.clear()
        return waiting if self._under_way is None else [self._under_way, *waiting]

    def clear(self) -> None:
        """Forget what waits."""
        self._digits.clear()

    def _next(self, now: int) -> None:
        if not self._busy and self._digits:
            self._under_way = digit, milliseconds = self._digits.popleft()
            self._busy = self._send([("Content-Type", DTMF_RELAY)], encode_relay(digit, milliseconds), now)
