"""The exchange's commands: each of them, what is wrong with one, and the words of standard input."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO, cast

import pytest
from click.testing import CliRunner

from gateway.control_socket import CommandError
from gateway.identity import Presentation, RedirectionReason, Screening, TypeOfNumber
from gateway.media.api import Statistics
from gateway.pri.exchange.core import CallRequest
from gateway.pri.exchange.line import Line as CallLine
from gateway.pri.exchange.line import Report
from gateway.pri.exchange.main import _standard_input, main, read_words, span_settings
from gateway.pri.exchange.plan import Voice
from gateway.pri.exchange.program import CALLS_A_SPAN, ExchangeProgram
from gateway.pri.exchange.requests import call_request
from gateway.pri.span.layer1 import Alarm
from gateway.pri.span.virtual import VirtualSpan

BOUND = 10.0


class Line:
    """A gateway that has nothing but a line."""

    def __init__(self, program: ExchangeProgram, number: int) -> None:
        unit = program.units[number]
        self.alarms: list[Alarm] = []
        self.span = VirtualSpan(
            unit.span.directory,
            unit.exchange.trunk.settings.line,
            lambda frame, now: None,
            lambda event, now: self.alarms.append(getattr(event, "alarm", self.span.alarm)),
            retry_first=10_000,
        )


def running(path: Path, test: Callable[[ExchangeProgram], Awaitable[None]], *, quiet: bool = True) -> None:
    async def run() -> None:
        directories = [path / "a", path / "b"]
        spans = [(span_settings(directory, "e1", "network", "euroisdn"), directory) for directory in directories]
        program = ExchangeProgram(spans, str(path / "no-engine"), quiet=quiet)
        await program.start(path / "control.sock")
        try:
            await asyncio.wait_for(test(program), BOUND)
        finally:
            await program.close()
            await asyncio.sleep(0)

    asyncio.run(run())


async def until(done: Callable[[], bool]) -> None:
    """Bounded by the test as a whole."""
    while not done():  # noqa: ASYNC110 - a span tells its changes to the program only
        await asyncio.sleep(0.01)


async def refused(program: ExchangeProgram, **request: object) -> str:
    with pytest.raises(CommandError) as raised:
        await program.command(request)
    return str(raised.value)


def test_what_is_wrong_with_a_command_is_said(tmp_path: Path) -> None:
    async def test(program: ExchangeProgram) -> None:
        for request, words in {
            (("command", "dance"),): "command 'dance', expected call, calls, hangup",
            (): "command None, expected",
            (("command", "call"),): "called: expected a number of 1 to 32 digits",
            (("command", "call"), ("called", "12x")): "called: expected a number",
            (("command", "call"), ("called", "1" * 33)): "called: expected a number",
            (("command", "call"), ("called", 5)): "called: expected a number",
            (("command", "call"), ("called", "1"), ("hold", "long")): "hold: expected a whole number",
            (("command", "call"), ("called", "1"), ("voice", "song")): "voice: expected one of nothing",
            (("command", "call"), ("called", "1"), ("overlap", 1)): "overlap: expected true or false",
            (("command", "call"), ("called", "1"), ("type", "x")): "type: expected one of unknown",
            (("command", "call"), ("called", "1"), ("name", "n" * 81)): "name: expected a text of at most 80",
            (("command", "call"), ("called", "1"), ("span", "c")): "span 'c', expected one of a, b",
            (("command", "call"), ("called", "1")): "no call: network out of order",
            (("command", "hangup"), ("call", 1)): "no such call",
            (("command", "hangup"), ("call", 5 * CALLS_A_SPAN)): "no such call",
            (("command", "hangup"), ("call", -1)): "no such call",
            (("command", "hangup"),): "call: expected a whole number",
            (("command", "cut"), ("span", "x")): "span 'x', expected",
            (("command", "alarm"), ("alarm", "green")): "alarm: expected none, red",
            (("command", "faults"), ("lose", 2)): "lose: expected a fraction",
            (("command", "faults"), ("lose", float("nan"))): "lose: expected a fraction",
            (("command", "load"), ("called", "1"), ("rate", 0)): "expected rate up to",
            (("command", "load"), ("called", "1"), ("rate", "x")): "rate: expected calls a second",
            (("command", "load"), ("called", "1"), ("calls", 10**7)): "expected rate up to",
        }.items():
            assert (await refused(program, **dict(request))).startswith(words)

    running(tmp_path, test)


def test_status_tells_every_span(tmp_path: Path) -> None:
    async def test(program: ExchangeProgram) -> None:
        spans: Any = (await program.command({"command": "status"}))["spans"]
        assert list(spans) == ["a", "b"]
        assert spans["a"]["alarm"] == "red"
        assert spans["a"]["data_link"] is False
        assert spans["a"]["channels"]["31"] == "blocked"

    running(tmp_path, test)


def test_cut_mend_and_alarm_are_seen_at_the_other_end_of_that_span_only(tmp_path: Path) -> None:
    async def test(program: ExchangeProgram) -> None:
        lines = [Line(program, 0), Line(program, 1)]
        for line in lines:
            line.span.start()

        async def sees(number: int, alarm: Alarm) -> None:
            await until(lambda: lines[number].span.alarm is alarm)

        await sees(0, Alarm.NONE)
        await sees(1, Alarm.NONE)
        await program.command({"command": "alarm", "alarm": "yellow", "span": "a"})
        await sees(0, Alarm.YELLOW)
        await program.command({"command": "cut", "span": "b"})
        await sees(1, Alarm.RED)
        assert lines[0].span.alarm is Alarm.YELLOW
        await program.command({"command": "mend"})
        await program.command({"command": "alarm", "alarm": "none"})
        await sees(0, Alarm.NONE)
        await sees(1, Alarm.NONE)
        for line in lines:
            line.span.close()

    running(tmp_path, test)


def test_calls_under_way_are_told_with_what_they_hear(tmp_path: Path) -> None:
    async def test(program: ExchangeProgram) -> None:
        assert await program.command({"command": "calls"}) == {"calls": []}
        report = Report(3, "to gateway", "4165550101", "2125551234", "caller", 0, heard=Statistics(frequency=600.0))
        lines = program.units[1].exchange.lines
        lines[3] = cast(CallLine, SimpleNamespace(report=report))
        (told,) = cast(Any, await program.command({"command": "calls"}))["calls"]
        del lines[3]
        assert (told["call"], told["called"], told["ended"]) == (CALLS_A_SPAN + 3, "4165550101", None)
        assert told["heard"]["frequency"] == 600.0

    running(tmp_path, test)


def test_faults_are_set_on_both_directions_of_the_chosen_span(tmp_path: Path) -> None:
    async def test(program: ExchangeProgram) -> None:
        await program.command({"command": "faults", "span": "b", "lose": 0.1, "corrupt": 0.2})
        for unit, lose in zip(program.units, (0.0, 0.1), strict=True):
            for injector in (unit.span.faults_in, unit.span.faults_out):
                assert injector is not None
                assert injector.rates.lose == lose

    running(tmp_path, test)


def test_a_load_counts_what_became_of_its_calls_and_is_only_one_at_a_time(tmp_path: Path) -> None:
    async def test(program: ExchangeProgram) -> None:
        await program.command({"command": "load", "called": "1", "rate": 100, "calls": 5})
        assert await refused(program, command="load", called="1") == "a load runs already"
        load = program.load
        assert load is not None
        await load
        assert await program.command({"command": "load-result"}) == {
            "running": False,
            "placed": 5,
            "answered": 0,
            "failed": 5,
            "no_channel": 5,
        }

    running(tmp_path, test)


def test_events_are_printed_as_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def test(program: ExchangeProgram) -> None:
        line = Line(program, 0)
        line.span.start()
        await until(lambda: program.units[0].span.alarm is Alarm.NONE)
        line.span.close()

    running(tmp_path, test, quiet=False)
    assert "a: line none" in capsys.readouterr().out


def test_a_call_command_can_say_everything_of_the_caller() -> None:
    request = call_request(
        {
            "called": "4165550101",
            "caller": "2125551234",
            "name": "Jane",
            "presentation": "restricted",
            "type": "national",
            "redirecting": "2125559999",
            "reason": "busy",
            "voice": "echo",
            "hold": -1,
            "overlap": True,
        }
    )
    number, redirection = request.caller.number, request.redirection
    assert number is not None and redirection is not None
    assert (number.digits, number.type, number.screening) == ("2125551234", TypeOfNumber.NATIONAL, Screening.NETWORK)
    assert number.presentation is request.caller.name_presentation is Presentation.RESTRICTED
    assert (redirection.number.digits, redirection.reason) == ("2125559999", RedirectionReason.BUSY)
    assert (request.voice, request.hold, request.overlap) == (Voice.ECHO, None, True)
    assert isinstance(call_request({"called": "1"}), CallRequest)


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        ("call 4165550101", {"command": "call", "called": "4165550101"}),
        ("call 4165550101 2125551234", {"command": "call", "called": "4165550101", "caller": "2125551234"}),
        ("hangup 7", {"command": "hangup", "call": 7}),
        ("hangup x", {"command": "hangup", "call": "x"}),
        ("alarm yellow", {"command": "alarm", "alarm": "yellow"}),
        ("alarm red a", {"command": "alarm", "alarm": "red", "span": "a"}),
        ("cut", {"command": "cut"}),
        ("  mend   a ", {"command": "mend", "span": "a"}),
        ("status", {"command": "status"}),
    ],
)
def test_words_of_standard_input(line: str, request_: dict[str, object]) -> None:
    assert read_words(line) == request_


def test_line_that_is_too_long_does_not_end_the_reading_of_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Program:
        async def command(self, request: dict[str, object]) -> dict[str, object]:
            return {"done": request["command"]}

    async def run() -> None:
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as stdin, os.fdopen(writing, "wb") as typed:
            monkeypatch.setattr(sys, "stdin", stdin)
            task = asyncio.create_task(_standard_input(Program()))  # type: ignore[arg-type]
            await asyncio.to_thread(typed.write, b"x" * 300_000 + b"\nstatus\n")
            await asyncio.to_thread(typed.close)
            await asyncio.wait_for(task, BOUND)

    asyncio.run(run())
    said = capsys.readouterr()
    assert "exchange: " in said.err
    assert said.out.splitlines()[-1] == '{"done": "status"}'


@pytest.mark.parametrize(("text", "said"), [("status\ncut a\n", ["status", "cut"]), ("", [])])
def test_standard_input_may_be_a_file(
    text: str, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Program:
        async def command(self, request: dict[str, object]) -> object:
            return request["command"]

    (tmp_path / "commands").write_text(text)

    async def run(stdin: TextIO | None) -> None:
        monkeypatch.setattr(sys, "stdin", stdin)
        await asyncio.wait_for(_standard_input(Program()), BOUND)  # type: ignore[arg-type]

    with (tmp_path / "commands").open() as file:
        asyncio.run(run(file))
    with Path(os.devnull).open() as nothing:
        asyncio.run(run(nothing))
    asyncio.run(run(None))
    assert capsys.readouterr().out.splitlines() == [f'"{word}"' for word in said]


@pytest.mark.parametrize("digits", [18, 19, 5000])
def test_number_that_is_none_of_a_call_stays_a_word(digits: int) -> None:
    call = read_words("hangup " + "9" * digits)["call"]
    assert isinstance(call, int) is (digits <= 18)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "Missing option '--span'"),
        (["--span"], 2, "Option '--span' requires an argument"),
        (["--span", "a", "--span", "a"], 2, "--span a is there twice"),
        (["--span", "a", "--line", "e2"], 2, "'e2' is not one of 'e1', 't1'"),
        (["--span", "a", "--country", "zz"], 2, "Invalid value for '--country': 'zz' is not one of 'at'"),
        (["--span", "a", "--t200-ms", "5"], 2, "5 is not in the range"),
        (["--span", "a", "--n200", "21"], 2, "21 is not in the range"),
        (["--span", "/dev/null/a"], 1, "/dev/null/a: Not a directory"),
        (["--span", "/dev/null"], 1, "Error: /dev/null: File exists"),
        (["--span", "a", "word"], 2, "unexpected extra argument (word)"),
        (["--help"], 0, "5550102  busy"),
    ],
)
def test_arguments_of_the_program(arguments: list[str], code: int, says: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, says in result.output) == (code, True), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_a_second_exchange_on_a_span_is_refused_before_it_touches_the_media_engine_of_the_first(
    tmp_path: Path,
) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as engine,
    ):
        (tmp_path / "pstn").mkdir()
        for listener, path in ((line, tmp_path / "pstn" / "line"), (engine, tmp_path / "pstn.media")):
            listener.bind(str(path))
            listener.listen()
        engine.setblocking(False)
        result = CliRunner().invoke(main, ["--span", str(tmp_path / "pstn"), "--no-input"])
        assert result.exit_code == 1
        assert "pstn/line: somebody listens there already" in result.output
        with pytest.raises(BlockingIOError):
            engine.accept()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("dance", "'dance', expected call, hangup"),
        ("cut a b", "cut: 2 words, expected [span]"),
        ("status x", "nothing"),
        ("\x0b", "'', expected call, hangup"),
    ],
)
def test_other_words_are_refused(line: str, words: str) -> None:
    with pytest.raises(CommandError) as raised:
        read_words(line)
    assert words in str(raised.value)
