"""The calls of the program before this one, and of this one for the next: their journal, kept up while calls change.

Read before anything is opened that a far end could speak to: who knows nothing of a call would end it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.boot import boot_identity
from gateway.call_journal import CallJournal
from gateway.media.client import MediaClient
from gateway.record import CallRecord, WallClock
from gateway.survival import may_wait, note, take_up

if TYPE_CHECKING:
    from gateway.switch import Switch

log = logging.getLogger(__name__)

JOURNAL_FILE = "calls.journal"
YOUNG_SECONDS = 0.25
"""How long what changes in a call that nobody has answered waits to be kept: most of it comes at the call's start."""
ENGINE_PATIENCE = 3.0
"""Seconds in which the media engine must answer a start that has calls to go on with."""


class Inheritance:
    """Keeps the calls of ``switch`` in ``directory``, which must not outlive the machine's run (a tmpfs)."""

    def __init__(self, directory: Path, switch: Switch, media: MediaClient) -> None:
        self._journal = CallJournal(directory / JOURNAL_FILE, boot_identity())
        self._switch = switch
        self._media = media
        self._answers = asyncio.Event()
        self._begun = False
        # Calls on their way, to be kept as they are in a moment, by the timer that says when.
        self._young: dict[str, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.waiting = False
        """True while nothing but the media engine is listened to."""

    def engine_answers(self) -> bool:
        """The media engine says which streams it has; True if whoever calls this is to leave them alone."""
        if self.waiting and not self._answers.is_set():
            # Before anybody opens a socket that is there.
            self._switch.inherit(self._media)
        self._answers.set()
        return self.waiting

    async def take_up(
        self,
        start_engine: Callable[[], None],
        clock: Callable[[], int],
        wall: Callable[[], WallClock],
        record: Callable[[CallRecord], None],
        written: Callable[[], Container[str]],
    ) -> None:
        """Go on with the calls of before as far as possible, and ``record`` all others.

        ``start_engine`` connects to the media engine; ``written`` are the identities of calls that have their record.
        """
        contents = self._journal.read()
        if contents:
            self.waiting = True
            start_engine()
            try:
                await asyncio.wait_for(self._answers.wait(), ENGINE_PATIENCE)
            except TimeoutError:
                log.error("the media engine does not answer: no call of before can be gone on with")
            left = take_up(contents, self._switch, self._media, clock(), wall(), written())
            self._switch.inherited(clock())
            # Before the journal forgets them.
            for each in left.records:
                record(each)
            self.waiting = False
            log.warning("%d calls of before go on, %d are over", len(left.calls), len(left.records))
            self._media.close_kept()
            self.note()
        self._journal.begin()
        self._begun = True

    def note(self) -> None:
        """Keep what has changed since the last time; of calls kept that nobody answered, a little later."""
        touched = self._switch.touched
        if not touched:
            return
        calls, young = self._switch.calls, self._young
        for identity in touched:
            call = calls.get(identity)
            if call is not None and identity in self._journal and may_wait(call):
                young[identity] = None
            else:
                young.pop(identity, None)
                note(self._journal, (identity,), self._switch)
        touched.clear()
        if young and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(YOUNG_SECONDS, self._note_young)

    def _note_young(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        note(self._journal, self._young, self._switch)
        self._young.clear()

    def close(self, *, keep: bool) -> None:
        """Keep no more; without ``keep`` there is nothing for the next start to go on with."""
        if self._begun:
            self.note()
            self._note_young()
            self._journal.close(keep=keep)


__all__ = ["Inheritance"]
