"""Takes passwords out of a document before anybody else sees it: a reference to a file stands in their place.

What looks like a password and stands where none belongs, or in a comment, is struck out. Nothing here touches a disk.
"""

from __future__ import annotations

import copy
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

from gateway.config.edit import FIELDS, LISTS
from gateway.config.locator import Locator
from gateway.config.problems import KeyPath
from gateway.config.secrets import MAX_SECRET
from gateway.config.values import STRUCK

DIRECTORY = "secrets"
Place = Callable[[str, str], str]
"""Told the name of a peer and its password: the reference to the file that holds it."""

_REFERENCE = re.compile(r"secrets/(_?[0-9A-Za-z][0-9A-Za-z._-]{0,90})\.([1-9][0-9]{0,8})\Z")
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}\Z")
_TELLING = re.compile(r"secret|passw|passphrase|pwd", re.IGNORECASE)
_COMMENTED = re.compile(r"((?:secret|passw|passphrase|pwd)\w*[\"']?\s*[=:]\s*)(\S.*)", re.IGNORECASE)
_OWNERS = ("trunk", "phone")
_QUOTED = re.compile(r"([\"'`]).+?\1")
# A shorter one would be found in too many words.
_LEAST_IN_COMMENT = 6


class SecretsError(ValueError):
    """A password stands where it cannot be taken out."""


def reference_to(name: str, revision: int) -> str:
    """The file, from the store's directory, of the password of ``name``."""
    return f"{DIRECTORY}/{name}.{revision}"


def revision_of(reference: str) -> tuple[str, int] | None:
    """Name and revision of a file of ours; None for any other."""
    found = _REFERENCE.match(reference)
    return (found[1], int(found[2])) if found is not None else None


def references(root: dict[str, Any]) -> tuple[str, ...]:
    """The files of ours that a document names, each once."""
    named = (
        table["secret"]["file"]
        for section in _OWNERS
        for _, table in _tables(root, section)
        if _is_reference(table.get("secret"))
    )
    return tuple(dict.fromkeys(each for each in named if revision_of(each) is not None))


def take_secrets(text: str, place: Place) -> str:
    """``text``, which must be TOML (ValueError), with references in place of all passwords; lines stay where they are.

    Each password is handed to ``place``. Raises SecretsError for one whose place in the text cannot be found.
    """
    root = tomllib.loads(text)
    locator = Locator(text)
    edits: list[tuple[int, int, str]] = []
    expected = copy.deepcopy(root)
    told: list[str] = []
    owner = _Owners(root).name
    for path, value in _passwords(root):
        name = owner(path)
        instead: object = STRUCK
        if name is not None and value != STRUCK:
            # What cannot be a password is told to be none, in words that fit.
            instead = {"file": place(name, value)} if _is_password(value) else "" if isinstance(value, str) else 0
        _put(expected, path, instead)
        span = locator.value(path)
        if span is None:
            raise SecretsError(f"{_dotted(path)}: cannot be told from what is around it; write it on a line of its own")
        edits.append((*span, _written(instead)))
        if isinstance(value, str) and len(value) >= _LEAST_IN_COMMENT:
            told.append(value)
    edits += _comments(locator, told)
    fresh = locator.edited(edits)
    # As text: a nan that somebody wrote is not the same as itself.
    if repr(tomllib.loads(fresh)) != repr(expected):
        raise SecretsError("the passwords in it cannot be told from the rest; write each on a line of its own")
    return fresh


def _tables(root: dict[str, Any], section: str) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    tables = root.get(section)
    for index, table in enumerate(tables if isinstance(tables, list) else []):
        if isinstance(table, dict):
            yield (section, index), table


def _is_reference(raw: object) -> bool:
    return isinstance(raw, dict) and list(raw) == ["file"] and isinstance(raw["file"], str)


def _passwords(root: dict[str, Any]) -> Iterator[tuple[KeyPath, object]]:
    """Every value that is a password, or may be one that stands at a wrong place or under a mistyped key."""
    for path, value, telling in _leaves((), root, False):
        if telling or (isinstance(value, str) and _is_strange(path)):
            yield path, value


def _is_strange(path: KeyPath) -> bool:
    """Whether no such key is known."""
    section = str(path[0])
    if section not in FIELDS:
        return True
    key = path[2:3] if section in LISTS and len(path) > 1 and isinstance(path[1], int) else path[1:2]
    return not key or key[0] not in FIELDS[section]


def _leaves(path: KeyPath, node: object, telling: bool) -> Iterator[tuple[KeyPath, object, bool]]:
    """Every value that is no table and no list, and whether a key above it speaks of passwords."""
    if telling and _is_reference(node):
        return
    match node:
        case dict():
            for key, value in node.items():
                yield from _leaves((*path, key), value, telling or _TELLING.search(key) is not None)
        case list():
            for index, value in enumerate(node):
                yield from _leaves((*path, index), value, telling)
        case _:
            yield path, node, telling


class _Owners:
    """What the files of passwords are named after."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._names = {path: table.get("name") for each in _OWNERS for path, table in _tables(root, each)}
        self._counts = Counter(name for name in self._names.values() if isinstance(name, str))

    def name(self, path: KeyPath) -> str | None:
        """Whose password stands at ``path``; None if that is no place for one."""
        table, key = path[:2], path[2:]
        if key != ("secret",) or table not in self._names:
            return None
        name = self._names[table]
        if isinstance(name, str) and _NAME.match(name) and self._counts[name] == 1:
            return name
        # No name of a peer begins so.
        return f"_{table[0]}-{int(table[1]) + 1}"


def _is_password(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= MAX_SECRET and value.isprintable()


def _written(value: object) -> str:
    return f'{{ file = "{value["file"]}" }}' if isinstance(value, dict) else "0" if value == 0 else f'"{value}"'


def _put(root: Any, path: KeyPath, value: object) -> None:
    for part in path[:-1]:
        root = root[part]
    root[path[-1]] = value


def _comments(locator: Locator, told: list[str]) -> Iterator[tuple[int, int, str]]:
    for start, end in locator.comments():
        comment = locator.text[start:end]
        struck = _COMMENTED.sub(rf"\1{STRUCK}", comment)
        if _TELLING.search(comment):
            struck = _QUOTED.sub(rf"\1{STRUCK}\1", struck)
        for secret in told:
            struck = struck.replace(secret, STRUCK)
        if struck != comment:
            yield start, end, struck


def _dotted(path: KeyPath) -> str:
    return ".".join(str(part if isinstance(part, str) else part + 1) for part in path)
