"""Small documents for tests of the configuration store, examined without looking at any other file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from gateway.config.migrations import Release
from gateway.config.model import Configuration
from gateway.config.problems import Problem
from gateway.config.store import Store
from tests.unit.config.forgetful_disk import ForgetfulDisk

DIRECTORY = Path("/store")


def document(name: str, passwords: Mapping[str, str] | None = None) -> str:
    """A document of schema 1 for the gateway ``name`` with a trunk for each of ``passwords``, by the trunk's name."""
    trunks = "".join(
        f'\n[[trunk]]\nname = "{each}"\nsecret = "{password}"\n' for each, password in (passwords or {}).items()
    )
    return f'schema = 1\n\n[gateway]\nname = "{name}"\n{trunks}'


def examined(text: str, path: Path) -> tuple[Configuration | None, list[Problem]]:
    """What a document says, as far as these tests go: its gateway's name, which must not be "wrong"."""
    root = tomllib.loads(text)
    name = root["gateway"]["name"]
    if not re.fullmatch("[0-9a-z]+", name) or name == "wrong":
        return None, [Problem(str(path), 4, "gateway.name", f'"{name}"', "expected another name")]
    plain = Configuration(path=path)
    return replace(plain, gateway=replace(plain.gateway, name=name)), []


RELEASE = Release(examine=examined)


def opened(
    disk: ForgetfulDisk,
    *,
    boot: str = "first",
    now: int = 0,
    wall: float = 1e9,
    kept: int = 100,
    release: Release = RELEASE,
) -> Store:
    """The store on ``disk``."""
    store = Store(disk, DIRECTORY, boot=boot, release=release, kept=kept)
    store.open(now, wall)
    return store
