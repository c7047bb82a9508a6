"""Log lines on a stream: time, level, logger, text. As logging's own, at half its price, which every call pays.

The price is in what no line shows: thread, process, task, source line, and a time formatted anew for every record.
"""

from __future__ import annotations

import logging
import time
from typing import TextIO

from gateway.journal import handler_for

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def plain(text: str) -> str:
    """``text`` on one line, for any terminal: what does not print is escaped. Far ends have their words in it."""
    return "".join(
        [each if each.isprintable() else each.encode("unicode_escape", "replace").decode("ascii") for each in text]
    )


class LineFormatter(logging.Formatter):
    """``FORMAT``, with the local time to milliseconds; its seconds are formatted once a second."""

    def __init__(self) -> None:
        super().__init__(FORMAT)
        self._second = -1
        self._text = ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """The time of ``record`` as ``2026-11-23 08:05:01,250``; with ``datefmt`` as logging does it."""
        if datefmt is not None:
            return super().formatTime(record, datefmt)
        second = int(record.created)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        return f"{self._text},{int(record.msecs):03d}"

    def format(self, record: logging.LogRecord) -> str:
        """The line of ``record``, and the traceback after it if there is one."""
        if record.exc_info or record.exc_text or record.stack_info:
            return super().format(record)
        message = record.getMessage()
        if not message.isprintable():
            message = plain(message)
        return f"{self.formatTime(record)} {record.levelname} {record.name}: {message}"


def log_to(stream: TextIO, level: int) -> None:
    """Let the whole program log to ``stream`` from ``level`` on, unless it logs somewhere already.

    Where ``stream`` is systemd's journal, records go there with their fields.
    """
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # What the logging HOWTO names for leaving out the search for the caller's source line.
    logging._srcfile = None
    handler = handler_for(stream)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level, handlers=[handler])
