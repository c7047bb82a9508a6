"""Routes by which anybody on the Internet could call out: told, as the ways in are that nobody thought of."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import check
from gateway.config.problems import Severity

SPAN = '[[span]]\nname = "pstn"\nchannels = "virtual:pstn"\nline = "e1"\n'
TRUNK = '[[trunk]]\nname = "hq"\ntechnology = "sip"\nhost = "192.0.2.10"\n'
PHONE = '[[phone]]\nname = "desk"\nsecret = "correct horse"\n'


def route(context: str, match: str, to: str) -> str:
    return f'[[route]]\ncontext = "{context}"\nmatch = "{match}"\nto = ["{to}"]\n'


def told(*parts: str) -> list[str]:
    text = "\n".join(["schema = 1", *parts])
    problems = check(text, Path("/nowhere/gateway.toml"))
    assert all(problem.severity is Severity.WARNING for problem in problems), problems
    return [str(problem) for problem in problems if "anybody" in str(problem)]


OUT = ("pri:g0/{number}", "sip:hq/{number}")


@pytest.mark.parametrize("to", OUT)
def test_way_out_of_the_context_where_strangers_begin_is_told(to: str) -> None:
    (line,) = told(SPAN, TRUNK, route("default", "_X.", to))
    assert to in line
    assert "calls of strangers begin in context default" in line


@pytest.mark.parametrize("to", OUT)
def test_it_is_found_behind_includes_and_gotos_and_told_once(to: str) -> None:
    own = '[[route]]\ncontext = "guests"\ninclude = ["more", "guests2"]\n'
    more = route("more", "_1.", "goto:out/{number}") + route("guests2", "_2.", "goto:more/{number}")
    lines = told(
        f'[sip]\ncontext = "guests"\n{SPAN}', TRUNK, own, more, route("out", "_X.", to), route("out", "_9.", to)
    )
    assert len(lines) == 1
    assert "in context guests" in lines[0]


def test_where_strangers_reach_phones_and_prompts_only_nothing_is_told() -> None:
    assert told(SPAN, TRUNK, PHONE, route("default", "_X.", "sip:desk"), route("inside", "_X.", OUT[0])) == []
