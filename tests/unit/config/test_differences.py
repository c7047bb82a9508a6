"""Documents compared: what ``diff -u`` says, and what ``patch`` makes of it."""

from __future__ import annotations

import difflib
import re

from hypothesis import given
from hypothesis import strategies as st

from gateway.config.differences import MAX_LINES, unified


def patched(old: str, diff: str) -> list[str]:
    """``old`` with ``diff`` applied, line by line."""
    lines = old.splitlines()
    made: list[str] = []
    at = 0
    for line in diff.splitlines()[2:]:
        hunk = re.match(r"@@ -(\d+)(?:,(\d+))? \+", line)
        if hunk is not None and line.endswith(" @@"):
            length = int(hunk[2]) if hunk[2] is not None else 1
            start = int(hunk[1]) - (1 if length else 0)
            made += lines[at:start]
            at = start
        elif line.startswith("+"):
            made.append(line[1:])
        else:
            assert lines[at] == line[1:]
            if line.startswith(" "):
                made.append(line[1:])
            at += 1
    return made + lines[at:]


def test_the_same_is_nothing() -> None:
    assert unified("a\n", "a\n", "1", "2") == ""


def test_what_differs_stands_between_what_does_not() -> None:
    old = "".join(f"{n}\n" for n in range(20))
    new = old.replace("10\n", "ten\n")
    expected = "".join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), "version 1", "staged"))
    assert unified(old, new, "version 1", "staged") == expected


@given(st.lists(st.sampled_from("abc"), max_size=40), st.lists(st.sampled_from("abc"), max_size=40))
def test_a_diff_leads_from_one_to_the_other(old: list[str], new: list[str]) -> None:
    assert patched("\n".join(old), unified("\n".join(old), "\n".join(new), "1", "2")) == new


def test_very_long_documents_are_told_as_a_whole() -> None:
    old = "\n".join(map(str, range(MAX_LINES)))
    new = "\n".join(map(str, range(1, MAX_LINES, 2)))
    assert patched(old, unified(old, new, "1", "2")) == new.splitlines()
