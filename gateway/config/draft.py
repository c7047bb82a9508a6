"""What could be read of a file, with the place of each table: what the checks across sections look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path as FileSystemPath

from gateway.config.model import (
    CauseRule,
    GatewaySection,
    IaxSection,
    MediaSection,
    NetworkSection,
    Phone,
    Route,
    SipSection,
    Span,
    Timers,
    Trunk,
)
from gateway.config.problems import Path


@dataclass(frozen=True, slots=True)
class Draft:
    """Sections that could not be read are their defaults; entries that could not be read are left out.

    ``root`` is the document as it is, so that the name of an entry that could not be read is still known.
    """

    root: dict[str, object]
    directory: FileSystemPath
    gateway: GatewaySection
    network: NetworkSection
    media: MediaSection
    sip: SipSection
    iax: IaxSection | None
    timers: Timers
    spans: Sequence[tuple[Path, Span]]
    trunks: Sequence[tuple[Path, Trunk]]
    phones: Sequence[tuple[Path, Phone]]
    routes: Sequence[tuple[Path, Route]]
    causes: Sequence[tuple[Path, CauseRule]]

    def peers(self) -> Iterator[tuple[Path, Trunk | Phone]]:
        """Trunks, then phones."""
        yield from self.trunks
        yield from self.phones

    def written(self, *path: str | int) -> object:
        """What the file says at ``path``, or None."""
        node: object = self.root
        for part in path:
            if isinstance(part, int):
                node = node[part] if isinstance(node, list) and 0 <= part < len(node) else None
            else:
                node = node.get(part) if isinstance(node, dict) else None
        return node

    def names(self, section: str) -> Iterator[tuple[Path, str]]:
        """The names written in ``[[section]]``, whether or not the rest could be read."""
        tables = self.root.get(section)
        for index, table in enumerate(tables if isinstance(tables, list) else []):
            name = table.get("name") if isinstance(table, dict) else None
            if isinstance(name, str):
                yield (section, index), name
