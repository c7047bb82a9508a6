"""What the store writes beside the documents: one record a version, and the one that says which of them is to run.

Both are JSON with a checksum over themselves, so that garbage is noticed. Nothing here touches a disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

MAX_DOCUMENT = 4 * 1024 * 1024
MAX_RECORD = 1024 * 1024
MAX_COMMENT = 500
MAX_AUTHOR = 100


class RecordError(ValueError):
    """A record that makes no sense."""


class Origin(Enum):
    """How a version came to be."""

    COMMIT = "commit"
    ROLLBACK = "rollback"
    IMPORT = "import"
    MIGRATION = "migration"
    DEFAULT = "default"
    """Nothing is configured; written before the first commit, so that there is something to roll back to."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version. ``wall`` is when it was written, in seconds since 1970, as the clock was set then.

    ``parent`` is the version it replaced, 0 for the first. ``secrets`` are the files of passwords that it names. A
    version rolled back to has ``restores``, the number of the one that it is a copy of. ``undone`` says why it is not
    in force any more though nothing replaced it, ``fault`` why it cannot be used; both are empty as a rule.
    """

    number: int
    wall: float
    author: str
    comment: str
    schema: int
    sha256: str
    parent: int
    origin: Origin
    secrets: tuple[str, ...] = ()
    restores: int = 0
    undone: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """Until when the active version must be confirmed: ``until`` in microseconds since the start of the host.

    ``boot`` names that start, as a host that started anew within the trial has likely lost its way. ``wall`` is the
    same moment in seconds since 1970, for people only: the clock may be wrong.
    """

    boot: str
    until: int
    wall: float


@dataclass(frozen=True, slots=True)
class State:
    """Which version is to run. ``last`` is the highest number given to a version. ``undone``: reasons by number."""

    active: int = 0
    previous: int = 0
    last: int = 0
    trial: Trial | None = None
    undone: Mapping[int, str] = field(default_factory=dict)


def version_record(version: Version) -> bytes:
    """The record of a version, without what is known of it from elsewhere."""
    return _encoded(
        {
            "number": version.number,
            "wall": version.wall,
            "author": version.author,
            "comment": version.comment,
            "schema": version.schema,
            "sha256": version.sha256,
            "parent": version.parent,
            "origin": version.origin.value,
            "secrets": list(version.secrets),
            "restores": version.restores,
        }
    )


def read_version(data: bytes) -> Version:
    """The version of a record; raises RecordError."""
    record = _Record(_decoded(data))
    try:
        origin = Origin(record.text("origin", MAX_AUTHOR))
    except ValueError:
        raise RecordError("origin: unknown") from None
    return Version(
        number=record.count("number"),
        wall=record.seconds("wall"),
        author=record.text("author", MAX_AUTHOR),
        comment=record.text("comment", MAX_COMMENT),
        schema=record.count("schema"),
        sha256=record.text("sha256", 64),
        parent=record.count("parent"),
        origin=origin,
        secrets=record.texts("secrets"),
        restores=record.count("restores"),
    )


def state_record(state: State) -> bytes:
    """The record that says which version is to run."""
    trial = state.trial
    return _encoded(
        {
            "active": state.active,
            "previous": state.previous,
            "last": state.last,
            "trial": None if trial is None else {"boot": trial.boot, "until": trial.until, "wall": trial.wall},
            "undone": {str(number): why for number, why in state.undone.items()},
        }
    )


def read_state(data: bytes) -> State:
    """The state of a record; raises RecordError."""
    record = _Record(_decoded(data))
    trial = None
    if record.values.get("trial") is not None:
        inner = _Record(record.table("trial"))
        trial = Trial(inner.text("boot", MAX_AUTHOR), inner.count("until"), inner.seconds("wall"))
    undone: dict[int, str] = {}
    for number, why in record.table("undone").items():
        if not (number.isascii() and number.isdecimal() and len(number) < 10 and isinstance(why, str)):
            raise RecordError("undone: makes no sense")
        undone[int(number)] = why
    state = State(record.count("active"), record.count("previous"), record.count("last"), trial, undone)
    if not 0 < state.active <= state.last:
        raise RecordError(f"active: version {state.active} of {state.last}")
    return state


def staged_record(author: str, wall: float, base: int, document: bytes) -> bytes:
    """The record of what is staged, in one line."""
    record = {"author": author, "wall": wall, "base": base, "document": sha256(document)}
    return json.dumps({"record": record, "sha256": _checksum(record)}).encode()


def read_staged(data: bytes, document: bytes) -> tuple[str, float, int]:
    """Author, time and base of what is staged, which is ``document``; raises RecordError."""
    record = _Record(_decoded(data))
    if record.text("document", 64) != sha256(document):
        raise RecordError("the checksum of its document is wrong")
    return record.text("author", MAX_AUTHOR), record.seconds("wall"), record.count("base")


def sha256(data: bytes) -> str:
    """The checksum by which a document is known."""
    return hashlib.sha256(data).hexdigest()


def _encoded(record: Mapping[str, Any]) -> bytes:
    return json.dumps({"record": record, "sha256": _checksum(record)}, sort_keys=True, indent=1).encode() + b"\n"


def _checksum(record: Mapping[str, Any]) -> str:
    return sha256(json.dumps(record, sort_keys=True, ensure_ascii=True).encode())


def _decoded(data: bytes) -> Mapping[str, Any]:
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError):
        raise RecordError("no JSON") from None
    record = whole.get("record") if isinstance(whole, dict) else None
    if not isinstance(record, dict):
        raise RecordError("no record in it")
    if whole.get("sha256") != _checksum(record):
        raise RecordError("its checksum is wrong")
    return record


class _Record:
    """The values of a record, each of the type it should have or RecordError."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def count(self, key: str) -> int:
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 62:
            raise RecordError(f"{key}: expected a whole number")
        return value

    def seconds(self, key: str) -> float:
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not -1e12 < value < 1e12:
            raise RecordError(f"{key}: expected seconds")
        return float(value)

    def text(self, key: str, longest: int) -> str:
        value = self.values.get(key)
        if not isinstance(value, str) or len(value) > longest:
            raise RecordError(f"{key}: expected text")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.values.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise RecordError(f"{key}: expected a list of texts")
        return tuple(value)

    def table(self, key: str) -> Mapping[str, Any]:
        value = self.values.get(key)
        if not isinstance(value, dict):
            raise RecordError(f"{key}: expected a table")
        return value
