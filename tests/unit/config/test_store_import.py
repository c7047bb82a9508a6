"""A configuration file becomes the first version of a store, and means there what it meant where it was."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import msgspec
import pytest

from gateway.config import model
from gateway.config.fields import FilePath, FilePaths
from gateway.config.file import load
from gateway.config.problems import ConfigError
from gateway.config.store import StoreError
from gateway.config.store_import import PATHS, not_to_be_trusted, open_store
from gateway.config.store_records import Origin

DOCUMENT = """schema = 1
# a remark
[gateway]
name = "branch"
run_dir = "run"
[[span]]
name = "pstn"
channels = "virtual:pstn"
line = "e1"
[[trunk]]
name = "hq"
technology = "sip"
host = "192.0.2.10"
secret = { file = "secrets/hq" }  # its own
[[trunk]]
name = "other"
technology = "sip"
host = "192.0.2.11"
secret.file = "secrets/hq"
[[phone]]
name = "desk"
secret = "a long passphrase"
"""


def _file(directory: Path) -> Path:
    (directory / "secrets").mkdir(parents=True)
    (directory / "prompts").mkdir()
    (directory / "secrets/hq").write_text("open sesame now\n")
    (directory / "secrets/hq").chmod(0o600)
    path = directory / "gateway.toml"
    path.write_text(DOCUMENT)
    return path


def test_file_means_the_same_in_the_store(tmp_path: Path) -> None:
    path = _file(tmp_path / "etc")
    before = load(path)
    store = open_store(tmp_path / "store", 0, 0.0, first=path)
    after = store.configuration
    assert after is not None
    assert after.gateway == before.gateway
    assert after.media == before.media
    assert after.spans == before.spans
    assert [trunk.host for trunk in after.trunks] == [trunk.host for trunk in before.trunks]
    text = store.text(1)
    assert "# a remark\n" in text
    assert 'secret = { file = "secrets/hq.1" }  # its own\n' in text
    assert "passphrase" not in text
    assert (tmp_path / "store/secrets/hq.1").read_text().startswith("open sesame now\n")
    assert (tmp_path / "store/secrets/desk.1").read_text().startswith("a long passphrase\n")
    store.close()


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store", 0, 0.0, first=_file(tmp_path / "etc"))
    store.close()
    for path in (tmp_path / "store").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o600), path
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) & 0o027 == 0


def test_a_store_that_has_a_version_looks_at_no_file(tmp_path: Path) -> None:
    path = _file(tmp_path / "etc")
    open_store(tmp_path / "store", 0, 0.0, first=path).close()
    path.write_text(DOCUMENT.replace("branch", "another"))
    store = open_store(tmp_path / "store", 0, 0.0, first=path)
    assert store.configuration is not None
    assert store.configuration.gateway.name == "branch"
    assert [version.number for version in store.versions] == [1]
    store.close()


def test_an_empty_store_begins_with_nothing_or_with_a_file_without_errors(tmp_path: Path) -> None:
    for _ in range(2):
        store = open_store(tmp_path / "store", 0, 0.0)
        assert store.configuration is not None and not store.configuration.sip.listen
        assert store.unconfigured and not store.versions
        store.close()
    path = _file(tmp_path / "etc")
    path.write_text(DOCUMENT.replace('line = "e1"', 'line = "e2"'))
    with pytest.raises(ConfigError, match="line"):
        open_store(tmp_path / "store", 0, 0.0, first=path)
    # And nothing of it is left behind that would be in the way.
    path.write_text(DOCUMENT)
    store = open_store(tmp_path / "store", 0, 0.0, first=path)
    assert not store.unconfigured and [version.origin for version in store.versions] == [Origin.IMPORT]
    store.close()


def test_a_first_file_is_of_its_owner_alone(tmp_path: Path) -> None:
    path, us = _file(tmp_path), os.geteuid()
    assert not not_to_be_trusted(path, {us})
    assert "belongs to user" in not_to_be_trusted(path, {us + 1})
    path.chmod(0o664)
    assert "chmod go-w" in not_to_be_trusted(path, {us})
    assert "expected a file" in not_to_be_trusted(tmp_path, {us})
    assert "No such file" in not_to_be_trusted(tmp_path / "nowhere", {us})


def test_two_gateways_cannot_have_one_store(tmp_path: Path) -> None:
    path = _file(tmp_path / "etc")
    store = open_store(tmp_path / "store", 0, 0.0, first=path)
    with pytest.raises(StoreError, match="another gateway uses"):
        open_store(tmp_path / "store", 0, 0.0, first=path)
    store.close()
    open_store(tmp_path / "store", 0, 0.0).close()


def test_every_path_of_the_model_is_made_absolute() -> None:
    structs: dict[str, tuple[type[msgspec.Struct], ...]] = {
        "gateway": (model.GatewaySection,),
        "network": (model.NetworkSection,),
        "media": (model.MediaSection,),
        "sip": (model.SipSection,),
        "iax": (model.IaxSection,),
        "span": (model.Span,),
        "trunk": (model.Trunk, model.IaxTrunk),
        "phone": (model.Phone,),
        "route": (model.Route,),
    }
    found = {
        (section, name)
        for section, each in structs.items()
        for struct in each
        for name, hint in get_type_hints(struct, include_extras=True).items()
        if get_origin(hint) is Annotated and any(isinstance(mark, FilePath | FilePaths) for mark in get_args(hint))
    }
    assert found == {(section, key) for section, keys in PATHS.items() for key in keys}
