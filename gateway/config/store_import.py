"""Opens a gateway's store, and fills an empty one from a configuration file, whose place no longer matters then.

What the file names by relative paths is named by absolute ones in the store; passwords are taken in.
"""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from gateway.boot import boot_identity
from gateway.config.disk import DirectoryDisk
from gateway.config.edit import with_value, written
from gateway.config.file import examine, read_text
from gateway.config.locator import Locator
from gateway.config.problems import ConfigError, KeyPath, Severity
from gateway.config.secrets import secret_text
from gateway.config.store import Store
from gateway.config.store_records import Origin
from gateway.config.values import Secret

_VIRTUAL = "virtual:"

PATHS = {
    "gateway": ("run_dir", "state_dir", "records"),
    "media": ("control", "prompts"),
    "sip": ("tls_certificate", "tls_key", "tls_ca", "tls_crl"),
    "trunk": ("inkeys", "outkey"),
}
"""The keys that are paths, or lists of them."""


def open_store(directory: Path, now: int, wall: float, *, first: Path | None = None) -> Store:
    """The store in ``directory``; one in which nothing was ever configured begins with the file ``first``.

    ``now``: microseconds since the host started; ``wall``: seconds since 1970. Raises StoreError, or ConfigError for
    ``first``. ``configuration`` of what is returned is never None: without a version to run nothing is configured.
    """
    store = Store(DirectoryDisk(directory), directory, boot=boot_identity())
    store.open(now, wall)
    try:
        if first is not None and store.virgin:
            _import(store, first, wall)
        if not store.running:
            store.stand_by()
    except BaseException:
        store.close()
        raise
    return store


def not_to_be_trusted(path: Path, owners: Collection[int]) -> str:
    """Why what stands in the file ``path`` may be of somebody who is none of ``owners``; empty if all is well."""
    try:
        found = path.stat()
    except OSError as error:
        return f"{path}: {error.strerror}"
    if not stat.S_ISREG(found.st_mode):
        return f"{path}: expected a file"
    if found.st_uid not in owners:
        return f"{path}: it belongs to user {found.st_uid}; expected one of {', '.join(map(str, sorted(owners)))}"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{path}: others than its owner may write it; chmod go-w {path}"
    return ""


def _import(store: Store, path: Path, wall: float) -> None:
    text = read_text(path)
    configuration, problems = examine(text, path)
    if configuration is None:
        raise ConfigError([problem for problem in problems if problem.severity is Severity.ERROR])
    text = store.take_passwords(absolute(text, path.parent.absolute()))
    store.add(text, Origin.IMPORT, author="gateway", comment=f"from {path.name[:100]}", wall=wall)


def absolute(text: str, directory: Path) -> str:
    """``text``, which has no errors, with absolute paths in it, and passwords in place of the files that held them."""
    root = tomllib.loads(text)
    locator = Locator(text)
    edits = []
    for path, value in _elsewhere(root, directory):
        span = locator.value(path)
        if span is None and path[-1] == "secret":
            # As secret.file = "…", which no one value stands for.
            span, value = locator.value((*path, "file")), str(directory / str(_at(root, (*path, "file"))))
        if span is not None:
            edits.append((*span, written(value)))
    text = locator.edited(edits)
    if "prompts" not in root.get("media", {}) and (directory / "prompts").is_dir():
        text = with_value(text, "media.prompts", written(str(directory / "prompts")))
    return text


def _elsewhere(root: dict[str, Any], directory: Path) -> Iterator[tuple[KeyPath, object]]:
    """Every value that means something else in another directory, and what it is there."""
    for section, keys in PATHS.items():
        tables = root.get(section, {})
        for at, table in enumerate(tables) if isinstance(tables, list) else [(None, tables)]:
            place: KeyPath = (section,) if at is None else (section, at)
            for key in keys:
                value = table.get(key)
                if isinstance(value, str):
                    yield (*place, key), str(directory / value)
                elif isinstance(value, list):
                    yield from (((*place, key, n), str(directory / each)) for n, each in enumerate(value))
    for at, span in enumerate(root.get("span", [])):
        channels = span["channels"]
        if channels.startswith(_VIRTUAL):
            yield ("span", at, "channels"), _VIRTUAL + str(directory / channels.removeprefix(_VIRTUAL))
    for section in ("trunk", "phone"):
        for at, table in enumerate(root.get(section, [])):
            secret = table.get("secret")
            if isinstance(secret, dict):
                yield (section, at, "secret"), secret_text(Secret(file=secret["file"]), directory)


def _at(root: Any, path: KeyPath) -> object:
    for part in path:
        root = root[part]
    return root
