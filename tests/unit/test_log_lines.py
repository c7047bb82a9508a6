"""Log lines: the same text as logging's own formatter, seconds and milliseconds right, tracebacks whole."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from io import StringIO

import pytest

from gateway.log_lines import FORMAT, LineFormatter, log_to


def record(created: float, text: str = "call %s: %d", *args: object) -> logging.LogRecord:
    made = logging.LogRecord("gateway", logging.INFO, "", 0, text, args or ("a", 16), None)
    made.created = created
    made.msecs = (created - int(created)) * 1000 + 0.0
    return made


@pytest.mark.parametrize("created", [1_795_412_100.0, 1_795_412_100.25, 1_795_412_100.75, 1_795_412_101.5, 1.0])
def test_line_is_that_of_loggings_own_formatter(created: float) -> None:
    ours, theirs = LineFormatter(), logging.Formatter(FORMAT)
    for step in (0, 0.125, 1, 61, 86_400):
        made = record(created + step)
        assert ours.format(made) == theirs.format(made)


def test_time_goes_on_and_back_with_the_clock() -> None:
    formatter = LineFormatter()
    lines = [formatter.format(record(at)) for at in (1_795_412_100.0, 1_795_412_102.0, 1_795_412_100.0)]
    assert lines[0] == lines[2] != lines[1]


def test_traceback_follows_the_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        made = logging.LogRecord("gateway", logging.ERROR, "", 0, "failed", (), sys.exc_info())
    lines = LineFormatter().format(made).splitlines()
    assert lines[0].endswith("ERROR gateway: failed")
    assert lines[-1] == "ValueError: broken"


@pytest.mark.parametrize("text", ["x\n2026-11-23 ERROR gateway: y", "x\x1b[2J", "x\x00", "x\r", "\udc80", "\u202e\x9b"])
def test_what_a_far_end_calls_itself_makes_no_line_of_its_own(text: str) -> None:
    line = LineFormatter().format(record(1_795_412_100.0, "call %s: over", text))
    assert line.isprintable()
    assert line.encode()
    assert line.endswith(": over")


def test_letters_of_all_languages_are_left_as_they_are() -> None:
    assert LineFormatter().format(record(1_795_412_100.0, "call %s", "Zoë \u6771\u4eac")).endswith("Zoë \u6771\u4eac")


@pytest.fixture
def quiet_root() -> Iterator[logging.Logger]:
    """The root logger without handlers, and logging's switches as they were afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    switches = {
        name: getattr(logging, name) for name in ("logThreads", "logProcesses", "logMultiprocessing", "_srcfile")
    }
    root.handlers[:] = []
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, value in switches.items():
        setattr(logging, name, value)


def test_program_logs_from_its_level_on(quiet_root: logging.Logger) -> None:
    quiet_root.handlers[:] = []  # pytest has put its own there
    stream = StringIO()
    log_to(stream, logging.INFO)
    logging.getLogger("gateway.switch").info("call %d", 7)
    logging.getLogger("gateway.switch").debug("not this")
    assert stream.getvalue().endswith(" INFO gateway.switch: call 7\n")
    assert stream.getvalue().count("\n") == 1
    assert len(quiet_root.handlers) == 1
