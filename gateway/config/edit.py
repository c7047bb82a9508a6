"""Edits of a document by path (``trunk.hq.qualify``) that leave all else as it is written, comments and order too.

A path is a dotted key of TOML in which tables of a list go by their name, or by their number from 1. What an edit makes
is read again and compared with what it should be before anybody gets it. Passwords are no concern of this module.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import tomlkit

from gateway.config import model
from gateway.config.locator import Locator
from gateway.config.problems import KeyPath, did_you_mean

MAX_PATH = 300
MAX_VALUE = 64 * 1024

FIELDS: Mapping[str, frozenset[str]] = {
    "gateway": frozenset(model.GatewaySection.__struct_fields__),
    "network": frozenset(model.NetworkSection.__struct_fields__),
    "media": frozenset(model.MediaSection.__struct_fields__),
    "sip": frozenset(model.SipSection.__struct_fields__),
    "iax": frozenset(model.IaxSection.__struct_fields__),
    "timers": frozenset(model.Timers.__struct_fields__),
    "span": frozenset(model.Span.__struct_fields__),
    "trunk": frozenset(model.Trunk.__struct_fields__) | frozenset(model.IaxTrunk.__struct_fields__),
    "phone": frozenset(model.Phone.__struct_fields__),
    "route": frozenset(model.Route.__struct_fields__) - {"line"},
    "cause": frozenset(model.CauseRule.__struct_fields__),
}
"""The keys that each section, or table of a list, may have."""
LISTS = frozenset({"span", "trunk", "phone", "route", "cause"})
_NAMED = frozenset({"span", "trunk", "phone"})
# What is text though it often looks like a number.
_TEXTS = frozenset({"match", "caller", "name", "secret", "defaultuser", "fromuser", "callerid", "context", "group"})

Root: TypeAlias = dict[str, Any]


class EditError(ValueError):
    """An edit that cannot be made; the text says why."""


class NoSuchKeyError(EditError):
    """Nothing can be at that path, or nothing is."""


def parts_of(path: str) -> tuple[str, ...]:
    """The keys of a path as written, ``phone."a.b".nat`` too; NoSuchKeyError for what is none."""
    try:
        node = tomllib.loads(f"{path} = 0") if len(path) <= MAX_PATH and "\n" not in path and "=" not in path else {}
    except (ValueError, RecursionError):
        node = {}
    parts: list[str] = []
    while isinstance(node, dict) and len(node) == 1:
        ((key, node),) = node.items()
        parts.append(key)
    if not parts:
        raise NoSuchKeyError(f"{path[:60]!r}: expected a path such as trunk.hq.qualify")
    _known(parts)
    return tuple(parts)


def value_of(text: str, key: str, old: object = None) -> object:
    """What a person means who writes ``text`` as the value of ``key``: a value of TOML, or a word that is a string."""
    if len(text) > MAX_VALUE:
        raise EditError(f"expected a value of at most {MAX_VALUE} characters")
    word = text.strip()
    try:
        root = tomllib.loads(f"value = {word}")
        value = root["value"] if list(root) == ["value"] else None
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, str | bool | list | dict):
        return value
    if isinstance(value, int | float) and not (key in _TEXTS or isinstance(old, str)):
        return value
    if not word or not word.isprintable() or word[0] in "[{\"'":
        raise EditError(f"{text[:60]!r}: expected a value of TOML, or a word")
    return word


def find(root: Root, path: str) -> object:
    """What stands at ``path``; NoSuchKeyError if nothing does."""
    node: Any = root
    for part in _located(root, parts_of(path), path):
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            raise NoSuchKeyError(f"{path}: nothing is written there") from None
    return node


def written(value: object) -> str:
    """``value`` as TOML."""
    if isinstance(value, dict):
        pairs = (f"{tomlkit.key(key).as_string()} = {written(each)}" for key, each in value.items())
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return str(tomlkit.item(value).as_string())


def as_document(value: object) -> str:
    """A table or list of tables as a document of its own; any other value as ``written``."""
    if isinstance(value, dict):
        return "".join(f"{tomlkit.key(key).as_string()} = {written(each)}\n" for key, each in value.items())
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        return "\n".join(map(as_document, value))
    return written(value)


def with_value(text: str, path: str, value: str) -> str:
    """``text`` with ``value`` at ``path``. A table of a list that is not there is added, the others before it."""
    root = tomllib.loads(text)
    parts = parts_of(path)
    located = _located(root, parts, path, new=True)
    if len(located) < (3 if parts[0] in LISTS else 2) and parts[0] != "schema":
        raise NoSuchKeyError(f"{path}: expected the path of a key, such as trunk.hq.qualify")
    old = _there(root, located)
    given = value_of(value, parts[-1], old)
    expected = copy.deepcopy(root)
    _put(expected, located, given, parts)
    return _checked(_Editor(text, root).set(located, given, parts), expected, path)


def without(text: str, path: str) -> str:
    """``text`` without the key, or the table, at ``path``. NoSuchKeyError if there is none."""
    root = tomllib.loads(text)
    located = _located(root, parts_of(path), path)
    find(root, path)
    expected = copy.deepcopy(root)
    _remove(expected, located)
    return _checked(_Editor(text, root).remove(located, expected), expected, path)


def _checked(text: str, expected: Root, path: str) -> str:
    try:
        made = tomllib.loads(text)
    except ValueError:
        made = {}
    if made != expected:
        raise EditError(f"{path}: it is written in a way that cannot be edited by path; edit the document")
    return text


def _known(parts: list[str]) -> None:
    if parts == ["schema"]:
        return
    fields = FIELDS.get(parts[0])
    if fields is None:
        known = [*FIELDS, "schema"]
        raise NoSuchKeyError(f"there is no {parts[0][:60]!r}{did_you_mean(parts[0], known)}")
    at = 2 if parts[0] in LISTS else 1
    if len(parts) > at and parts[at] not in fields:
        hint = did_you_mean(parts[at], sorted(fields)) or f"; expected one of {', '.join(sorted(fields))}"
        raise NoSuchKeyError(f"{parts[0]}: there is no key {parts[at][:60]!r}{hint}")


def _located(root: Root, parts: tuple[str, ...], path: str, *, new: bool = False) -> KeyPath:
    """Where ``parts`` is in the document: a number in place of the name of a table of a list."""
    if parts[0] not in LISTS or len(parts) == 1:
        return parts
    tables = root.get(parts[0], [])
    if not isinstance(tables, list):
        raise NoSuchKeyError(f"{path}: {parts[0]} is no list of tables")
    name = parts[1]
    for index, table in enumerate(tables):
        if parts[0] in _NAMED and isinstance(table, dict) and table.get("name") == name:
            return (parts[0], index, *parts[2:])
    number = int(name) if name.isascii() and name.isdecimal() and len(name) < 7 else 0
    if 0 < number <= len(tables) and (parts[0] not in _NAMED or not new):
        return (parts[0], number - 1, *parts[2:])
    if new and (parts[0] in _NAMED or number == len(tables) + 1):
        return (parts[0], len(tables), *parts[2:])
    known = [str(table.get("name")) for table in tables if isinstance(table, dict) and "name" in table]
    raise NoSuchKeyError(f"there is no {parts[0]} {name[:64]!r}{did_you_mean(name, known)}")


def _there(root: Any, path: KeyPath) -> Any:
    for part in path:
        try:
            root = root[part]
        except (KeyError, IndexError, TypeError):
            return None
    return root


def _put(root: Any, path: KeyPath, value: object, parts: tuple[str, ...]) -> None:
    for index, part in enumerate(path[:-1]):
        if isinstance(part, int):
            if part == len(root):
                root.append({"name": parts[1]} if parts[0] in _NAMED else {})
            root = root[part]
        else:
            root = root.setdefault(part, [] if isinstance(path[index + 1], int) else {})
        if not isinstance(root, dict | list):
            raise EditError(f"{'.'.join(parts)}: {parts[index]} is no table")
    root[path[-1]] = value


def _remove(root: Any, path: KeyPath) -> None:
    """Remove what is at ``path``, and an emptied list of tables with it."""
    above = _there(root, path[:-1])
    del above[path[-1]]
    if isinstance(above, list) and not above:
        _remove(root, path[:-1])


class _Editor:
    """One text and where everything is in it."""

    def __init__(self, text: str, root: Root) -> None:
        self._locator = Locator(text)
        self._text = self._locator.text
        self._root = root
        self._values = self._locator.values()
        self._headers = self._locator.headers()

    def set(self, path: KeyPath, value: object, parts: tuple[str, ...]) -> str:
        span = self._values.get(path)
        if span is not None:
            return self._text[: span[0]] + written(value) + self._text[span[1] :]
        if _there(self._root, path) is not None:
            raise EditError(f"{'.'.join(parts)} is a table; set its keys")
        for depth in range(len(path) - 1, -1, -1):
            table, rest = path[:depth], path[depth:]
            inline = self._values.get(table)
            if inline is not None:
                return self._into_inline(inline, rest, value)
            header = next((each for each in reversed(self._headers) if each[2] == table), None)
            if header is not None or (not table and len(rest) == 1):
                return self._into_table(header, rest, value)
        return self._new_table(path, value, parts)

    def _into_inline(self, span: tuple[int, int], rest: KeyPath, value: object) -> str:
        start, end = span
        if self._text[end - 1] != "}" or any(isinstance(part, int) for part in rest):
            raise EditError("a list of tables in one line cannot be edited by path; edit the document")
        inner = self._text[start + 1 : end - 1].rstrip()
        comma = "," if inner.strip() else ""
        pair = f"{_dotted(rest)} = {written(value)}"
        return f"{self._text[: start + 1]}{inner}{comma} {pair} {self._text[end - 1 :]}"

    def _into_table(self, header: tuple[int, int, KeyPath] | None, rest: KeyPath, value: object) -> str:
        begin = 0 if header is None else header[1]
        at = self._last_value(begin, self._next_header(begin))
        line = f"{_dotted(rest)} = {written(value)}"
        if at is None and header is None:
            return f"{line}\n{self._text}"
        return self._insert_line(begin if at is None else at, line)

    def _new_table(self, path: KeyPath, value: object, parts: tuple[str, ...]) -> str:
        section = str(path[0])
        if section in LISTS:
            keys = [f"name = {written(parts[1])}"] if section in _NAMED else []
            keys.append(f"{_dotted(path[2:])} = {written(value)}")
            block = "\n".join((f"[[{section}]]", *keys))
            same = [each for each in self._headers if each[2][:1] == (section,)]
            if same:
                begin = same[-1][1]
                at = self._last_value(begin, self._next_header(begin))
                return self._insert_line(begin if at is None else at, f"\n{block}")
        else:
            block = f"[{_dotted(path[:-1])}]\n{_dotted(path[-1:])} = {written(value)}"
        body = self._text.rstrip("\n")
        return f"{body}\n\n{block}\n" if body else f"{block}\n"

    def remove(self, path: KeyPath, expected: Root) -> str:
        """The text without what is at ``path``; ``expected`` is what is to be left."""
        inline = next((path[:n] for n in range(len(path) - 1, 0, -1) if path[:n] in self._values), None)
        if inline is not None:
            left = _there(expected, inline)
            start, end = self._values[inline]
            if left is not None:
                return self._text[:start] + written(left) + self._text[end:]
            path = inline
        ranges = [
            (self._locator.pair(each) or 0, span[1])
            for each, span in self._values.items()
            if each[: len(path)] == path and self._locator.pair(each) is not None and not self._inside(each)
        ]
        ranges += [(start, end) for start, end, table in self._headers if table[: len(path)] == path]
        return self._without_lines(ranges)

    def _inside(self, path: KeyPath) -> bool:
        """Whether a value is a part of another one."""
        return any(path[:n] in self._values for n in range(1, len(path)))

    def _without_lines(self, ranges: Iterable[tuple[int, int]]) -> str:
        text = self._text
        pieces: list[str] = []
        at = 0
        for start, end in sorted(ranges):
            begin = text.rfind("\n", 0, start) + 1
            stop = text.find("\n", end)
            pieces.append(text[at : max(begin, at)])
            at = len(text) if stop < 0 else stop + 1
        return "".join((*pieces, text[at:]))

    def _next_header(self, after: int) -> int:
        return min((start for start, _, _ in self._headers if start >= after), default=len(self._text))

    def _last_value(self, begin: int, end: int) -> int | None:
        """Where the last value between two headers ends."""
        return max((stop for start, stop in self._values.values() if begin <= start < end), default=None)

    def _insert_line(self, after: int, line: str) -> str:
        """``line`` behind the line that ``after`` is on."""
        at = self._text.find("\n", after)
        if at < 0:
            return f"{self._text}\n{line}\n"
        return f"{self._text[:at]}\n{line}{self._text[at:]}"


def _dotted(path: KeyPath) -> str:
    return ".".join(tomlkit.key(str(part)).as_string() for part in path)
