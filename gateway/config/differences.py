"""Two documents compared line by line, as ``diff -u`` does. Documents of the store have no passwords in them."""

from __future__ import annotations

import difflib

CONTEXT = 3
MAX_LINES = 20_000
"""Of documents that have more lines than this the whole is told as changed: to find the least takes too long."""


def unified(old: str, new: str, old_name: str, new_name: str) -> str:
    """What turns ``old`` into ``new``; empty if they are the same."""
    if old == new:
        return ""
    before, after = old.splitlines(), new.splitlines()
    head, tail = _same(before, after)
    # What is the same at both ends is most of it, and difflib takes long with it.
    start, end = max(head - CONTEXT, 0), max(tail - CONTEXT, 0)
    inner_before, inner_after = before[start : len(before) - end], after[start : len(after) - end]
    if len(inner_before) + len(inner_after) > MAX_LINES:
        lines = [f"-{line}" for line in inner_before] + [f"+{line}" for line in inner_after]
        ranges = f"@@ -{start + 1},{len(inner_before)} +{start + 1},{len(inner_after)} @@"
        return "\n".join((f"--- {old_name}", f"+++ {new_name}", ranges, *lines)) + "\n"
    matcher = difflib.SequenceMatcher(None, inner_before, inner_after, autojunk=len(inner_before) > 2000)
    lines = [f"--- {old_name}", f"+++ {new_name}"]
    for group in matcher.get_grouped_opcodes(CONTEXT):
        (first, last) = group[0], group[-1]
        old_range = _range(start + first[1], start + last[2])
        lines.append(f"@@ -{old_range} +{_range(start + first[3], start + last[4])} @@")
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                lines += [f" {line}" for line in inner_before[i1:i2]]
                continue
            lines += [f"-{line}" for line in inner_before[i1:i2]]
            lines += [f"+{line}" for line in inner_after[j1:j2]]
    return "\n".join(lines) + "\n"


def _same(before: list[str], after: list[str]) -> tuple[int, int]:
    """How many lines are the same at the beginning and at the end."""
    least = min(len(before), len(after))
    head = next((n for n in range(least) if before[n] != after[n]), least)
    tail = next((n for n in range(least - head) if before[-1 - n] != after[-1 - n]), least - head)
    return head, tail


def _range(start: int, end: int) -> str:
    length = end - start
    if length == 1:
        return str(start + 1)
    return f"{start + 1 if length else start},{length}"
