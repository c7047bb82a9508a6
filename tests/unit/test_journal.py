"""Records as the journal gets them: every field as it was, in its native protocol, and calls never held up."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from struct import unpack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.journal import MAX_MESSAGE, JournalHandler, field, handler_for, is_journal, priority


def parsed(datagram: bytes) -> dict[str, bytes]:
    """The fields of a datagram, as the journal takes it apart."""
    found = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if equals:
            datagram = rest
        else:
            (size,) = unpack("<Q", rest[:8])
            value, datagram = rest[8 : 8 + size], rest[9 + size :]
            assert rest[8 + size : 9 + size] == b"\n"
        assert name.decode() not in found
        found[name.decode()] = value
    return found


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "journal"))
        listening.settimeout(5)
        yield listening


@pytest.fixture
def log(tmp_path: Path, journal: socket.socket) -> Iterator[logging.Logger]:
    logger = logging.Logger("gateway.test")
    handler = JournalHandler(tmp_path / "journal")
    logger.addHandler(handler)
    yield logger
    handler.close()


def last(journal: socket.socket) -> dict[str, bytes]:
    return parsed(journal.recv(1 << 18))


def test_a_record_has_its_fields(log: logging.Logger, journal: socket.socket) -> None:
    log.warning("call %s from %s: %d", "a-1", "Ann", 3, extra={"cause": 16, "caller": "äöü", "unknown": "x"})
    assert last(journal) == {
        "MESSAGE": b"call a-1 from Ann: 3",
        "PRIORITY": b"4",
        "SYSLOG_IDENTIFIER": b"branch-gateway",
        "LOGGER": b"gateway.test",
        "GATEWAY_CALL": b"a-1",
        "GATEWAY_CAUSE": b"16",
        "GATEWAY_CALLER": "äöü".encode(),
    }


@pytest.mark.parametrize(
    ("logger", "text", "argument", "expected"),
    [
        ("gateway.call", "call %s: hold", "a-1", {"GATEWAY_CALL": b"a-1"}),
        ("gateway", "span %s: alarm", "pstn", {"GATEWAY_SPAN": b"pstn"}),
        ("gateway.voip.sip.uac", "call %s: no", "x@y", {"GATEWAY_SIP_CALL_ID": b"x@y"}),
        ("gateway", "calls %s", "a-1", {}),
        ("gateway", "a call %s", "a-1", {}),
    ],
)
def test_what_a_line_begins_with_is_what_it_is_about(
    journal: socket.socket, tmp_path: Path, logger: str, text: str, argument: str, expected: dict[str, bytes]
) -> None:
    handler = JournalHandler(tmp_path / "journal")
    handler.emit(logging.LogRecord(logger, logging.INFO, "", 0, text, (argument,), None))
    handler.close()
    assert {name: value for name, value in last(journal).items() if name.startswith("GATEWAY")} == expected


@given(st.dictionaries(st.sampled_from(["A", "B", "MESSAGE"]), st.binary(max_size=50), max_size=3))
def test_any_value_comes_through(values: dict[str, bytes]) -> None:
    assert parsed(b"".join(field(name, value) for name, value in values.items())) == values


def test_a_traceback_is_part_of_the_message(log: logging.Logger, journal: socket.socket) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("failed")
    message = last(journal)["MESSAGE"].decode()
    assert message.startswith("failed\nTraceback") and message.endswith("ValueError: broken")


def test_a_long_message_is_cut_between_characters(log: logging.Logger, journal: socket.socket) -> None:
    log.info("ä" * MAX_MESSAGE)
    assert last(journal)["MESSAGE"].decode() == "ä" * (MAX_MESSAGE // 2)


def test_a_journal_that_takes_nothing_holds_nobody_up(log: logging.Logger, journal: socket.socket) -> None:
    handler = log.handlers[0]
    assert isinstance(handler, JournalHandler)
    for _ in range(10_000):
        log.info("more")
        if handler.lost:
            break
    assert handler.lost == 1


def test_a_line_that_cannot_be_made_is_told_and_nothing_else(
    log: logging.Logger, journal: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    log.info("%d calls", "no")
    assert "Logging error" in capsys.readouterr().err
    log.info("on")
    assert last(journal)["MESSAGE"] == b"on"


@pytest.mark.parametrize(("level", "number"), [(50, 2), (40, 3), (30, 4), (20, 6), (10, 7), (5, 7), (45, 3)])
def test_levels_are_those_of_syslog(level: int, number: int) -> None:
    assert priority(level) == number


def test_the_journal_is_taken_only_where_standard_error_goes_there(tmp_path: Path, journal: socket.socket) -> None:
    with (tmp_path / "err").open("w") as stream:
        there = os.fstat(stream.fileno())
        environment: dict[str, Any] = {"JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino}"}
        assert is_journal(stream, environment)
        assert not is_journal(stream, {})
        assert not is_journal(stream, {"JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino + 1}"})
        handler = handler_for(stream, environment, tmp_path / "journal")
        assert isinstance(handler, JournalHandler)
        handler.close()
        # A journal that is not there is no reason to say nothing.
        assert type(handler_for(stream, environment, tmp_path / "nowhere")) is logging.StreamHandler
        assert type(handler_for(stream, {}, tmp_path / "journal")) is logging.StreamHandler
    assert not is_journal(sys.__stdin__ or sys.stderr, {})
