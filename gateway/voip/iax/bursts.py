"""One line in the log for a burst of what anybody can cause as often as they like, and how often it was."""

from __future__ import annotations

import logging
from collections import OrderedDict

from gateway.core import SECOND

QUIET = 60 * SECOND
"""How long the same is not told again (own)."""
MAX_KINDS = 1024
"""Kinds of events kept apart; the longest untold is forgotten for another."""


class Bursts:
    """Tells the first of each kind, and then once in QUIET how many there were besides."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._told: OrderedDict[str, list[int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._told)

    def tell(self, kind: str, now: int, level: int, text: str, *values: object) -> None:
        """``text`` with ``values`` happened, which is of ``kind`` (a word, and what it is about)."""
        told = self._told.get(kind)
        if told is None:
            if len(self._told) >= MAX_KINDS:
                self._told.popitem(last=False)
            self._told[kind] = [now, 0]
            self._log.log(level, text, *values)
            return
        if now - told[0] < QUIET:
            told[1] += 1
            return
        more = told[1]
        told[0], told[1] = now, 0
        self._told.move_to_end(kind)
        if more:
            self._log.log(level, text + " (and %d times in the last minutes)", *values, more)
        else:
            self._log.log(level, text, *values)
