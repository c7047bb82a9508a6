"""Reads and checks a configuration file: text to ``Configuration``, or every mistake in it.

``load`` reads a file, ``parse`` a text; both raise ConfigError. ``check`` only tells. Nothing is started or written.
"""

from __future__ import annotations

import codecs
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from gateway.config.checks import check_together
from gateway.config.draft import Draft
from gateway.config.emergency import check_emergency
from gateway.config.fields import Reader
from gateway.config.locator import Locator
from gateway.config.model import (
    SCHEMA,
    CauseRule,
    Configuration,
    GatewaySection,
    IaxSection,
    IaxTrunk,
    MediaSection,
    NetworkSection,
    Phone,
    Route,
    SipSection,
    Span,
    Technology,
    Timers,
    Trunk,
)
from gateway.config.problems import ConfigError, KeyPath, Problem, Severity
from gateway.config.timers import read_timers, with_session_timers
from gateway.config.unfinished import check_unfinished
from gateway.config.values import VirtualChannels
from gateway.config.words import elsewhere, of_other_technology

MAX_FILE = 8 * 1024 * 1024
MAX_DEPTH = 8
"""Our own tables are four levels deep."""

_ROOT_KEYS = [
    "schema",
    "gateway",
    "network",
    "media",
    "sip",
    "iax",
    "timers",
    "span",
    "trunk",
    "phone",
    "route",
    "cause",
]
# How tomllib writes a key: ('span', 'timers').
_KEY_TUPLE = re.compile(r"\('([^()]*?)',?\)")
_LINE_OF_ERROR = re.compile(r"line (\d+)")
# Python refuses to read longer ones (sys.get_int_max_str_digits).
_LONG_NUMBER = re.compile(r"[0-9_]{4301,}")

_KEYS_OF_TRUNKS = (Trunk.__struct_fields__, IaxTrunk.__struct_fields__)

Section = TypeVar("Section", bound=msgspec.Struct)


def load(path: Path | str) -> Configuration:
    """The configuration in the file ``path``; ConfigError if it cannot be read or has an error."""
    path = Path(path)
    return parse(read_text(path), path)


def read_text(path: Path) -> str:
    """The text of the file; ConfigError if it cannot be had, is too long or is not UTF-8."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise ConfigError([Problem(str(path), 1, "", "", f"cannot be read: {error.strerror}")]) from None
    if len(data) > MAX_FILE:
        raise ConfigError([Problem(str(path), 1, "", "", f"longer than {MAX_FILE} bytes")])
    if data.startswith(codecs.BOM_UTF8):
        raise ConfigError([Problem(str(path), 1, "", "", "begins with a byte order mark; expected UTF-8 without one")])
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(str(path), line, "", "", "expected UTF-8 text")]) from None


def parse(text: str, path: Path) -> Configuration:
    """The configuration that ``text`` is; ``path`` is for messages, and relative paths start at its directory."""
    configuration, problems = examine(text, path)
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    if errors or configuration is None:
        raise ConfigError(errors)
    return configuration


def check(text: str, path: Path) -> list[Problem]:
    """Everything to be said about ``text``, errors and warnings, in the order of the lines."""
    return examine(text, path)[1]


def examine(text: str, path: Path) -> tuple[Configuration | None, list[Problem]]:
    """The configuration, or None if there is an error, and everything to be said, in the order of the lines."""
    file = str(path)
    if len(text) > MAX_FILE:
        return None, [Problem(file, 1, "", "", f"longer than {MAX_FILE} bytes")]
    try:
        root = tomllib.loads(text)
    except RecursionError:
        return None, [Problem(file, 1, "", "", "nested too deeply")]
    except ValueError as error:
        return None, [_syntax_error(file, text, error)]
    locator = Locator(text)
    deep = _too_deep(root)
    if deep is not None:
        return None, [Problem(file, locator.line((deep,)), deep[:60], "", f"nested deeper than {MAX_DEPTH} levels")]
    reader = Reader(file, path.parent, locator.line, root, elsewhere)
    configuration = _read_root(reader, root, path)
    if configuration is not None and not reader.failed:
        check_emergency(reader, configuration)
    problems = reader.told()
    if reader.failed or configuration is None:
        return None, problems
    return replace(configuration, warnings=tuple(problems)), problems


def _syntax_error(file: str, text: str, error: ValueError) -> Problem:
    long = None if isinstance(error, tomllib.TOMLDecodeError) else _LONG_NUMBER.search(text)
    if long is not None:
        return Problem(file, text.count("\n", 0, long.start()) + 1, "", "", f"a number of {len(long[0])} digits")
    found = _LINE_OF_ERROR.search(str(error))
    words = str(error).splitlines()[0][:200]
    text = _KEY_TUPLE.sub(lambda key: key[1].replace("', '", "."), words)
    return Problem(file, int(found[1]) if found else 1, "", "", f"not TOML: {text}")


def _too_deep(root: dict[str, object]) -> str | None:
    """The first key below which tables and lists are nested deeper than MAX_DEPTH."""
    for key, value in root.items():
        level: list[object] = [value]
        for _ in range(MAX_DEPTH):
            level = [
                item
                for node in level
                if isinstance(node, dict | list)
                for item in (node.values() if isinstance(node, dict) else node)
            ]
        if any(isinstance(node, dict | list) for node in level):
            return key
    return None


def _read_root(reader: Reader, root: dict[str, object], path: Path) -> Configuration | None:
    for key in root:
        if key not in _ROOT_KEYS:
            reader.unknown_key((key,), _ROOT_KEYS)
    _check_schema(reader, root)
    draft = _draft(reader, root, path.parent)
    check_unfinished(reader, draft)
    check_together(reader, draft)
    return Configuration(
        path=path,
        gateway=draft.gateway,
        network=draft.network,
        media=draft.media,
        sip=draft.sip,
        iax=draft.iax,
        timers=draft.timers,
        spans=tuple(span for _, span in draft.spans),
        trunks=tuple(trunk for _, trunk in draft.trunks),
        iax_trunks=tuple(trunk for _, trunk in draft.iax_trunks),
        phones=tuple(phone for _, phone in draft.phones),
        routes=tuple(route for _, route in draft.routes),
        causes=tuple(rule for _, rule in draft.causes),
    )


def _draft(reader: Reader, root: dict[str, object], directory: Path) -> Draft:
    gateway = _section(reader, root, "gateway", GatewaySection)
    media = _section(reader, root, "media", MediaSection)
    sip = _section(reader, root, "sip", SipSection)
    timers = read_timers(reader, root["timers"], ("timers",)) if "timers" in root else Timers()
    trunks = _trunks(reader, root)
    iax_trunks = [(at, trunk) for at, trunk in trunks if isinstance(trunk, IaxTrunk)]
    return Draft(
        root=root,
        directory=directory,
        gateway=replace(gateway, run_dir=directory / gateway.run_dir),
        network=_section(reader, root, "network", NetworkSection),
        media=replace(media, prompts=directory / media.prompts),
        sip=sip,
        iax=_section(reader, root, "iax", IaxSection) if "iax" in root or iax_trunks else None,
        timers=with_session_timers(timers, sip),
        spans=_spans(reader, root, directory),
        trunks=[(at, trunk) for at, trunk in trunks if isinstance(trunk, Trunk)],
        iax_trunks=iax_trunks,
        phones=_tables(reader, root, "phone", Phone),
        routes=[(at, replace(route, line=reader.line(at))) for at, route in _tables(reader, root, "route", Route)],
        causes=_tables(reader, root, "cause", CauseRule),
    )


def _check_schema(reader: Reader, root: dict[str, object]) -> None:
    schema = root.get("schema")
    if schema is None:
        reader.error(("schema",), f"missing; expected schema = {SCHEMA}")
    elif isinstance(schema, bool | float) or schema != SCHEMA:
        reader.error(("schema",), f"expected {SCHEMA}, the only one there is", schema)


def _section(reader: Reader, root: dict[str, object], key: str, section: type[Section]) -> Section:
    """A section every key of which has a default."""
    table = reader.table(root[key], (key,)) if key in root else None
    return (reader.struct(section, table, (key,)) if table is not None else None) or section()


def _tables(reader: Reader, root: dict[str, object], key: str, section: type[Section]) -> list[tuple[KeyPath, Section]]:
    """The structs of ``[[key]]`` that could be read, each with its place."""
    read: list[tuple[KeyPath, Section]] = []
    for path, table in _raw_tables(reader, root, key):
        struct = reader.struct(section, table, path)
        if struct is not None:
            read.append((path, struct))
    return read


def _raw_tables(reader: Reader, root: dict[str, object], key: str) -> Iterator[tuple[KeyPath, dict[str, object]]]:
    raw = root.get(key, [])
    if not isinstance(raw, list):
        reader.error((key,), f"expected [[{key}]], with two brackets", raw)
        return
    for index, item in enumerate(raw):
        table = reader.table(item, (key, index))
        if table is not None:
            yield (key, index), table


def _trunks(reader: Reader, root: dict[str, object]) -> list[tuple[KeyPath, Trunk | IaxTrunk]]:
    """The trunks of both technologies; of one that has none to tell the keys of SIP are expected."""
    read: list[tuple[KeyPath, Trunk | IaxTrunk]] = []
    for path, table in _raw_tables(reader, root, "trunk"):
        iax = table.get("technology") == Technology.IAX2.value
        ours, theirs = _KEYS_OF_TRUNKS if not iax else _KEYS_OF_TRUNKS[::-1]
        wrong = [key for key in table if key in theirs and key not in ours]
        if "technology" in table:
            for key in wrong:
                reader.error((*path, key), of_other_technology(key, str(table["technology"])), table[key])
            table = {key: value for key, value in table.items() if key not in wrong}
        struct = reader.struct(IaxTrunk, table, path) if iax else reader.struct(Trunk, table, path)
        if struct is not None:
            read.append((path, struct))
    return read


def _spans(reader: Reader, root: dict[str, object], directory: Path) -> list[tuple[KeyPath, Span]]:
    raw = root.get("span")
    spans: list[tuple[KeyPath, Span]] = []
    for path, span in _tables(reader, root, "span", Span):
        table = raw[path[1]] if isinstance(raw, list) and isinstance(path[1], int) else {}
        if "timers" in table:
            timers = read_timers(reader, table["timers"], (*path, "timers"), voip=False)
            span = replace(span, timers=timers)
        if isinstance(span.channels, VirtualChannels):
            span = replace(span, channels=VirtualChannels(str(directory / span.channels.directory)))
        spans.append((path, span))
    return spans
