"""What a key that is not written in a document stands for: its default in the typed model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.config import model
from gateway.config.edit import NoSuchKeyError, find, parts_of, written
from gateway.config.shown_values import plain

_SECTIONS: Mapping[str, type[msgspec.Struct]] = {
    "gateway": model.GatewaySection,
    "network": model.NetworkSection,
    "media": model.MediaSection,
    "sip": model.SipSection,
    "iax": model.IaxSection,
    "span": model.Span,
    "trunk": model.Trunk,
    "phone": model.Phone,
}


def default_of(root: dict[str, Any], path: str) -> str:
    """The default of the key at ``path`` as TOML; NoSuchKeyError if it has none, or its table is not there."""
    parts = parts_of(path)
    section = _SECTIONS.get(parts[0])
    at = 2 if parts[0] in ("span", "trunk", "phone") else 1
    if section is None or len(parts) != at + 1:
        raise NoSuchKeyError(f"{path}: nothing is written there")
    if at == 2:
        table = find(root, f'{parts[0]}."{parts[1]}"')
        if isinstance(table, dict) and table.get("technology") == model.Technology.IAX2.value:
            section = model.IaxTrunk
    field = next((field for field in msgspec.structs.fields(section) if field.name == parts[-1]), None)
    value = None if field is None or field.default is msgspec.NODEFAULT else field.default
    if value is None or isinstance(value, model.Timers):
        raise NoSuchKeyError(f"{path}: nothing is written there, and it has no default")
    return written(plain(value))
