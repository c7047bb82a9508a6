"""Which line of a TOML text holds which key or list item, so that an error can name it; ``tomllib`` does not tell.

It reads text that ``tomllib`` has accepted (TOML 1.0), so it looks for structure only and never judges.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Iterable

from gateway.config.problems import KeyPath

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}'
    r"|'''(?:[^']|'(?!''))*'{3,5}"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


class Locator:
    """The line (from 1) of every table, key and list item of one TOML text."""

    def __init__(self, text: str) -> None:
        """Read all of ``text``; what cannot be read ends the reading, and what was found until then counts."""
        self._text = text = text.replace("\r\n", "\n")
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self._lines: dict[KeyPath, int] = {(): 1}
        self._values: dict[KeyPath, tuple[int, int]] = {}
        self._pairs: dict[KeyPath, int] = {}
        self._headers: list[tuple[int, int, KeyPath]] = []
        self._comments: list[tuple[int, int]] = []
        self._array_sizes: dict[KeyPath, int] = {}
        self._at = 0
        self._read()

    def line(self, path: KeyPath) -> int:
        """The line where ``path`` is, or the nearest thing that holds it."""
        while path not in self._lines:
            path = path[:-1]
        return self._lines[path]

    def paths(self) -> dict[KeyPath, int]:
        """All that was found."""
        return dict(self._lines)

    @property
    def text(self) -> str:
        """What was read, with line ends of one character."""
        return self._text

    def value(self, path: KeyPath) -> tuple[int, int] | None:
        """Where the value at ``path`` begins in ``text`` and where it ends; None if no one value is written there."""
        return self._values.get(path)

    def pair(self, path: KeyPath) -> int | None:
        """Where the key begins that a value at ``path`` is written with; None if there is none."""
        return self._pairs.get(path)

    def headers(self) -> list[tuple[int, int, KeyPath]]:
        """Where each ``[table]`` and ``[[table]]`` begins and where its brackets end, with the path of the table."""
        return list(self._headers)

    def values(self) -> dict[KeyPath, tuple[int, int]]:
        """Where every value begins and ends."""
        return dict(self._values)

    def comments(self) -> list[tuple[int, int]]:
        """Where comments begin and end, each from its ``#`` to the end of its line."""
        return list(self._comments)

    def edited(self, edits: Iterable[tuple[int, int, str]]) -> str:
        """``text`` with other words from where each edit begins to where it ends; no two of them may overlap."""
        pieces: list[str] = []
        at = 0
        for start, end, written in sorted(edits):
            pieces += (self._text[at:start], written)
            at = end
        return "".join((*pieces, self._text[at:]))

    def _mark(self, path: KeyPath, at: int) -> None:
        self._lines.setdefault(path, bisect_right(self._starts, at))

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self._text, self._at)
        if found:
            if pattern is _BLANK:
                self._note_comments(found.end())
            self._at = found.end()

    def _note_comments(self, end: int) -> None:
        at = self._text.find("#", self._at, end)
        while at >= 0:
            line_end = self._text.find("\n", at, end)
            line_end = end if line_end < 0 else line_end
            self._comments.append((at, line_end))
            at = self._text.find("#", line_end, end)

    def _next(self, text: str) -> bool:
        if self._text.startswith(text, self._at):
            self._at += len(text)
            return True
        return False

    def _read(self) -> None:
        table: KeyPath = ()
        while True:
            self._skip(_BLANK)
            before = self._at
            if before >= len(self._text):
                return
            if self._next("[["):
                table = self._header(before, array=True)
            elif self._next("["):
                table = self._header(before, array=False)
            else:
                self._pair(table)
            if self._at == before:
                return

    def _header(self, start: int, *, array: bool) -> KeyPath:
        keys = self._key()
        self._skip(_SPACE)
        self._next("]]" if array else "]")
        path: KeyPath = self._named(keys, start, array=array)
        self._headers.append((start, self._at, path))
        return path

    def _named(self, keys: list[str], start: int, *, array: bool) -> KeyPath:
        path: KeyPath = ()
        for key in keys[:-1]:
            path = self._inside((*path, key))
            self._mark(path, start)
        path = (*path, *keys[-1:])
        self._mark(path, start)
        if not array:
            return self._inside(path)
        size = self._array_sizes.get(path, 0)
        self._array_sizes[path] = size + 1
        path = (*path, size)
        self._mark(path, start)
        return path

    def _inside(self, path: KeyPath) -> KeyPath:
        """A name that is an array of tables stands for the last of them."""
        size = self._array_sizes.get(path)
        return path if size is None else (*path, size - 1)

    def _key(self) -> list[str]:
        keys: list[str] = []
        while True:
            self._skip(_SPACE)
            quoted = _STRING.match(self._text, self._at)
            found = quoted or _BARE_KEY.match(self._text, self._at)
            if not found:
                return keys
            keys.append(_unquoted(found[0]) if quoted else found[0])
            self._at = found.end()
            self._skip(_SPACE)
            if not self._next("."):
                return keys

    def _pair(self, table: KeyPath) -> None:
        start = self._at
        path = table
        for key in self._key():
            path = (*path, key)
            self._mark(path, start)
        self._pairs[path] = start
        self._skip(_SPACE)
        self._next("=")
        self._skip(_SPACE)
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        start = self._at
        if self._next("["):
            self._array(path)
        elif self._next("{"):
            self._inline_table(path)
        else:
            found = _STRING.match(self._text, self._at) or _SCALAR.match(self._text, self._at)
            if found:
                self._at = found.start() + len(found[0].rstrip())
        self._values[path] = (start, self._at)

    def _array(self, path: KeyPath) -> None:
        index = 0
        while True:
            self._skip(_BLANK)
            before = self._at
            if before >= len(self._text) or self._next("]"):
                return
            item = (*path, index)
            self._mark(item, before)
            self._value(item)
            self._skip(_BLANK)
            self._next(",")
            if self._at == before:
                return
            index += 1

    def _inline_table(self, path: KeyPath) -> None:
        while True:
            self._skip(_BLANK)
            before = self._at
            if before >= len(self._text) or self._next("}"):
                return
            self._pair(path)
            self._skip(_BLANK)
            self._next(",")
            if self._at == before:
                return


def _unquoted(key: str) -> str:
    try:
        return str(tomllib.loads("key=" + key)["key"])
    except ValueError:
        return key
