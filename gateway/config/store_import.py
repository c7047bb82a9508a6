"""Opens a gateway's store, and fills an empty one from a configuration file, whose place no longer matters then.

What the file names by relative paths is named by absolute ones in the store; passwords are taken in.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.config.disk import DirectoryDisk
from gateway.config.edit import with_value, written
from gateway.config.file import examine, read_text
from gateway.config.locator import Locator
from gateway.config.problems import ConfigError, KeyPath, Severity
from gateway.config.secrets import secret_text
from gateway.config.store import Store, StoreError
from gateway.config.store_records import Origin
from gateway.config.values import Secret

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_VIRTUAL = "virtual:"

PATHS = {
    "gateway": ("run_dir", "state_dir", "records"),
    "media": ("control", "prompts"),
    "sip": ("tls_certificate", "tls_key", "tls_ca", "tls_crl"),
    "trunk": ("inkeys", "outkey"),
}
"""The keys that are paths, or lists of them."""


def boot_identity() -> str:
    """What this start of the host is known by; nothing where the kernel does not tell."""
    try:
        return _BOOT.read_text().strip()[:64]
    except (OSError, UnicodeDecodeError):
        return ""


def open_store(directory: Path, now: int, wall: float, *, first: Path | None = None) -> Store:
    """The store in ``directory``, with the file ``first`` as its first version if it is empty.

    ``now``: microseconds since the host started; ``wall``: seconds since 1970. Raises StoreError, or ConfigError for
    ``first``. ``configuration`` of what is returned is never None.
    """
    store = Store(DirectoryDisk(directory), directory, boot=boot_identity())
    store.open(now, wall)
    if not store.running:
        try:
            if first is None:
                raise StoreError(f"{directory}: the store is empty; expected --config FILE beside it, to begin with")
            _import(store, first, wall)
        except BaseException:
            store.close()
            raise
    return store


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
