"""How the fields of the model are read: msgspec for plain types, and markers for values with a form of their own.

``Reader`` turns one TOML table into one struct and notes every mistake with its place, rather than only the first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from gateway.config.problems import MAX_PROBLEMS, KeyPath, Problem, Severity, did_you_mean, shown_at

MAX_PATH = 1023
"""As in the media engine's protocol."""

_INDEX = re.compile(r"\$\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Reads:
    """The field is read by ``read``, which raises ValueError with what was expected."""

    read: Callable[[object], object]


@dataclass(frozen=True, slots=True)
class Each:
    """The field is a list each item of which is read by ``read``."""

    read: Callable[[object], object]


@dataclass(frozen=True, slots=True)
class FilePath:
    """The field is a path; a relative one is taken from the directory of the configuration file."""


@dataclass(frozen=True, slots=True)
class FilePaths:
    """The field is a list of such paths."""


@dataclass(frozen=True, slots=True)
class Unread:
    """The field is filled by whoever reads the section; ``key`` False: it is no key of the file."""

    key: bool = True


Marker = Reads | Each | FilePath | FilePaths | Unread | None


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    type: Any
    marker: Marker
    required: bool


Section = TypeVar("Section", bound=msgspec.Struct)


@cache
def _fields(section: type[msgspec.Struct]) -> tuple[_Field, ...]:
    hints = get_type_hints(section, include_extras=True)
    fields = []
    for info in msgspec.structs.fields(section):
        hint = hints[info.name]
        marker: Marker = None
        if get_origin(hint) is Annotated:
            markers = Reads | Each | FilePath | FilePaths | Unread
            marker = next((m for m in get_args(hint)[1:] if isinstance(m, markers)), None)
        fields.append(_Field(info.name, hint, marker, info.required))
    return tuple(fields)


class Reader:
    """Collects the problems of one file while its sections are read. ``line_of`` tells the line of a path."""

    def __init__(
        self,
        file: str,
        directory: Path,
        line_of: Callable[[KeyPath], int],
        root: object,
        elsewhere: Callable[[str, Sequence[str]], str] = lambda _key, _known: "",
    ) -> None:
        """``directory`` is what relative paths are taken from; ``root`` is the whole document.

        ``elsewhere`` says what to do about a key that is none of those known, or nothing.
        """
        self.file = file
        self.directory = directory
        self.problems: list[Problem] = []
        self._counts = dict.fromkeys(Severity, 0)
        self._line_of = line_of
        self._root = root
        self._elsewhere = elsewhere

    @property
    def failed(self) -> bool:
        """Whether any error was found (warnings do not count)."""
        return self._counts[Severity.ERROR] > 0

    def told(self) -> list[Problem]:
        """All that was noted, in the order of the lines; of too many errors the rest is counted."""
        problems = sorted(self.problems, key=lambda problem: problem.line)
        unsaid = self._counts[Severity.ERROR] - MAX_PROBLEMS
        if unsaid > 0:
            problems.append(Problem(self.file, problems[-1].line, "", "", f"and {unsaid} errors more"))
        return problems

    def line(self, path: KeyPath) -> int:
        """The line of the file where ``path`` is."""
        return self._line_of(path)

    def error(self, path: KeyPath, text: str, value: object = None) -> None:
        """Note an error at ``path``; ``value`` None shows none."""
        self._note(path, text, value, Severity.ERROR)

    def warning(self, path: KeyPath, text: str, value: object = None) -> None:
        """Note a warning at ``path``."""
        self._note(path, text, value, Severity.WARNING)

    def _note(self, path: KeyPath, text: str, value: object, severity: Severity) -> None:
        self._counts[severity] += 1
        if self._counts[severity] <= MAX_PROBLEMS:
            shown = "" if value is None else shown_at(path, value)
            self.problems.append(Problem(self.file, self._line_of(path), self.key(path), shown, text, severity))

    def key(self, path: KeyPath) -> str:
        """How ``path`` is called in a message: lists of tables by the name of their item if it has one."""
        text = ""
        node: object = self._root
        for part in path:
            if isinstance(part, int):
                node = node[part] if isinstance(node, list) and part < len(node) else None
                name = node.get("name") if isinstance(node, dict) else None
                text += f"[{name[:40] if isinstance(name, str) and name else part + 1}]"
            else:
                node = node.get(part) if isinstance(node, dict) else None
                word = part if re.fullmatch("[A-Za-z0-9_-]{1,60}", part) else shown_at((), part)
                text += f".{word}" if text else word
        return text

    def table(self, raw: object, path: KeyPath) -> dict[str, object] | None:
        """``raw`` if it is a table, else an error and None."""
        if isinstance(raw, dict):
            return raw
        self.error(path, "expected a table", raw)
        return None

    def struct(
        self, section: type[Section], raw: Mapping[str, object], path: KeyPath, **given: object
    ) -> Section | None:
        """Read one table into ``section``; None if a required key is missing or wrong. ``given``: the Unread ones."""
        values: dict[str, Any] = dict(given)
        complete = True
        fields = _fields(section)
        known = [f.name for f in fields if not (isinstance(f.marker, Unread) and not f.marker.key)]
        for key in raw:
            if key not in known:
                self.unknown_key((*path, key), known)
        for field in fields:
            if isinstance(field.marker, Unread):
                continue
            if field.name not in raw:
                if field.required:
                    self.error((*path, field.name), f"missing; expected {describe(field.type, field.marker)}")
                    complete = False
                continue
            done, value = self._value(field, raw[field.name], (*path, field.name))
            if done:
                values[field.name] = value
            elif field.required:
                complete = False
        return section(**values) if complete else None

    def unknown_key(self, path: KeyPath, known: list[str]) -> None:
        """Note that no such key exists, with the nearest that does; its value may be a secret whose key is mistyped."""
        # To look for the nearest takes long, and this one would not be told.
        told = self._counts[Severity.ERROR] < MAX_PROBLEMS
        key = str(path[-1])
        # A table is none of a section's keys.
        node = self._root.get(key) if len(path) == 1 and isinstance(self._root, dict) else None
        moved = self._elsewhere(key, known) if told and not isinstance(node, dict | list) else ""
        suggestion = moved or (did_you_mean(key, known) if told else "")
        self.error(path, f"unknown key{suggestion or '; expected one of ' + ', '.join(known)}")

    def _value(self, field: _Field, raw: object, path: KeyPath) -> tuple[bool, object]:
        match field.marker:
            case Reads(read):
                return self.read(read, raw, path)
            case Each(read):
                return self._each(read, raw, path)
            case FilePath():
                return self._file_path(raw, path)
            case FilePaths():
                return self._file_paths(raw, path)
            case _:
                return self._plain(field, raw, path)

    def read(self, read: Callable[[object], object], raw: object, path: KeyPath) -> tuple[bool, object]:
        """Read one value with ``read``, noting what it raises; True and the value, or False."""
        try:
            return True, read(raw)
        except ValueError as error:
            self.error(path, str(error), raw)
            return False, None

    def _each(self, read: Callable[[object], object], raw: object, path: KeyPath) -> tuple[bool, object]:
        if not isinstance(raw, list):
            self.error(path, f"expected a list, each item {_described_by(read)}{_as_list(read, raw)}", raw)
            return False, None
        results = [self.read(read, item, (*path, index)) for index, item in enumerate(raw)]
        return all(done for done, _ in results), tuple(value for _, value in results)

    def _file_path(self, raw: object, path: KeyPath) -> tuple[bool, object]:
        if not isinstance(raw, str) or not raw or "\0" in raw:
            self.error(path, "expected a path", raw)
            return False, None
        if len(raw) > MAX_PATH:
            self.error(path, f"expected a path of at most {MAX_PATH} characters", raw)
            return False, None
        return True, self.directory / raw

    def _file_paths(self, raw: object, path: KeyPath) -> tuple[bool, object]:
        if not isinstance(raw, list):
            self.error(path, "expected a list, each item a path", raw)
            return False, None
        results = [self._file_path(item, (*path, index)) for index, item in enumerate(raw)]
        return all(done for done, _ in results), tuple(value for _, value in results)

    def _plain(self, field: _Field, raw: object, path: KeyPath) -> tuple[bool, object]:
        try:
            return True, msgspec.convert(raw, field.type)
        except msgspec.ValidationError as error:
            inside = _INDEX.search(str(error))
            expected = describe(field.type, None)
            if inside and isinstance(raw, list):
                index = int(inside[1])
                path, raw = (*path, index), raw[index]
                expected = describe(_item_type(field.type), None)
            self.error(path, f"expected {expected}{_suggestion(field.type, raw)}", raw)
            return False, None


def _unwrapped(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _item_type(hint: Any) -> Any:
    inner = _unwrapped(hint)
    return get_args(inner)[0] if get_origin(inner) is tuple else inner


def _alternatives(hint: Any) -> list[Any]:
    """The types of a union without None; a type that is no union is its own only one."""
    inner = _unwrapped(hint)
    if get_origin(inner) in (Union, UnionType):
        return [part for part in get_args(inner) if part is not type(None)]
    return [hint]


def _enum_values(hint: Any) -> list[str]:
    inner = _unwrapped(_item_type(_alternatives(hint)[0]))
    return [str(member.value) for member in inner] if isinstance(inner, type) and issubclass(inner, Enum) else []


def _suggestion(hint: Any, raw: object) -> str:
    if not isinstance(raw, str):
        return ""
    known = _enum_values(hint)
    if get_origin(_unwrapped(hint)) is not tuple:
        return did_you_mean(raw, known)
    words = [word.strip() for word in raw.split(",")]
    return f"; did you mean {shown_at((), words)}?" if known and set(words) <= set(known) else did_you_mean(raw, known)


def _as_list(read: Callable[[object], object], raw: object) -> str:
    """What the list would be that was written as one item, or as several between commas."""
    words = [word.strip() for word in raw[:MAX_PATH].split(",")] if isinstance(raw, str) else []
    try:
        for word in words:
            read(word)
    except ValueError:
        return ""
    return f"; did you mean {shown_at((), words)}?" if words else ""


def describe(hint: Any, marker: Marker) -> str:
    """What a field expects, in words."""
    if isinstance(marker, Reads | Each):
        return _described_by(marker.read)
    meta = next((m for m in get_args(hint)[1:] if isinstance(m, msgspec.Meta)), None) if _is_annotated(hint) else None
    if meta is not None and meta.description:
        return meta.description
    inner = _unwrapped(hint)
    alternatives = _alternatives(hint)
    if alternatives != [hint]:
        return " or ".join(describe(part, None) for part in alternatives)
    if isinstance(inner, type) and issubclass(inner, Enum):
        return "one of " + ", ".join(_enum_values(inner))
    if inner is bool:
        return "true or false"
    if inner is int:
        return f"a whole number from {meta.ge} to {meta.le}" if meta else "a whole number"
    if inner is str:
        return "text"
    if get_origin(inner) is tuple:
        return f"a list, each item {describe(_item_type(inner), None)}"
    return "a path" if inner is Path else "another value"


def _is_annotated(hint: Any) -> bool:
    return get_origin(hint) is Annotated


def _described_by(read: Callable[[object], object]) -> str:
    """What ``read`` says when it gets nothing of use."""
    try:
        read(None)
    except ValueError as error:
        return str(error).removeprefix("expected ")
    return "another value"
