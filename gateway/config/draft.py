"""What could be read of a file, with the place of each table: what the checks across sections look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.config.model import (
    CauseRule,
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
from gateway.config.problems import KeyPath


@dataclass(frozen=True, slots=True)
class Draft:
    """Sections that could not be read are their defaults; entries that could not be read are left out.

    ``root`` is the document as it is, so that the name of an entry that could not be read is still known.
    """

    root: dict[str, object]
    directory: Path
    gateway: GatewaySection
    network: NetworkSection
    media: MediaSection
    sip: SipSection
    iax: IaxSection | None
    timers: Timers
    spans: Sequence[tuple[KeyPath, Span]]
    trunks: Sequence[tuple[KeyPath, Trunk]]
    iax_trunks: Sequence[tuple[KeyPath, IaxTrunk]]
    phones: Sequence[tuple[KeyPath, Phone]]
    routes: Sequence[tuple[KeyPath, Route]]
    causes: Sequence[tuple[KeyPath, CauseRule]]

    def peers(self) -> Iterator[tuple[KeyPath, Trunk | Phone]]:
        """Those of SIP: trunks, then phones."""
        yield from self.trunks
        yield from self.phones

    def all_peers(self) -> Iterator[tuple[KeyPath, Trunk | Phone | IaxTrunk]]:
        """Those of SIP, then those of IAX2."""
        yield from self.peers()
        yield from self.iax_trunks

    def trunk_names(self, technology: Technology) -> list[str]:
        """The names written of trunks of ``technology``, and of those whose technology makes no sense."""
        others = [each.value for each in Technology if each is not technology]
        return [name for path, name in self.names("trunk") if self.written(*path, "technology") not in others]

    def written(self, *path: str | int) -> object:
        """What the file says at ``path``, or None."""
        node: object = self.root
        for part in path:
            if isinstance(part, int):
                node = node[part] if isinstance(node, list) and 0 <= part < len(node) else None
            else:
                node = node.get(part) if isinstance(node, dict) else None
        return node

    def names(self, section: str) -> Iterator[tuple[KeyPath, str]]:
        """The names written in ``[[section]]``, whether or not the rest could be read."""
        tables = self.root.get(section)
        for index, table in enumerate(tables if isinstance(tables, list) else []):
            name = table.get("name") if isinstance(table, dict) else None
            if isinstance(name, str):
                yield (section, index), name
