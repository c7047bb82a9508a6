"""From the schemas of earlier releases to ours: each step turns a document of one schema into one of the next.

Steps work on a copy; the document of the older schema stays in the store, for a release that knows no other.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.config.file import examine
from gateway.config.model import SCHEMA, Configuration
from gateway.config.problems import Problem

Step = Callable[[str], str]

STEPS: Mapping[int, Step] = {}
"""By the schema that the step starts from. Schema 1 is the first there was."""


class SchemaError(ValueError):
    """A document of a schema that this release does not know."""


@dataclass(frozen=True, slots=True)
class Release:
    """What a release of the gateway knows of documents: its schema, the way to it, and how to examine one."""

    schema: int = SCHEMA
    steps: Mapping[int, Step] = field(default_factory=lambda: STEPS)
    examine: Callable[[str, Path], tuple[Configuration | None, list[Problem]]] = examine


def schema_of(text: str) -> int:
    """The schema that a document says it has, 0 if it says none that makes sense."""
    try:
        schema = tomllib.loads(text).get("schema")
    except (ValueError, RecursionError):
        return 0
    return schema if isinstance(schema, int) and not isinstance(schema, bool) and schema > 0 else 0


def migrated(text: str, release: Release) -> str:
    """``text`` in the schema of ``release``, itself if it has that already. SchemaError if there is no way to it."""
    schema = schema_of(text)
    if schema > release.schema:
        raise SchemaError(f"its schema is {schema}, and this release knows {release.schema} and earlier ones")
    while schema and schema < release.schema:
        step = release.steps.get(schema)
        if step is None:
            raise SchemaError(f"its schema is {schema}, from which no way leads to {release.schema}")
        text = step(text)
        if schema_of(text) <= schema:
            raise SchemaError(f"the step from schema {schema} led nowhere")
        schema = schema_of(text)
    return text
