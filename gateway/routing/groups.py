"""Trunk groups: which spans a group is made of, in the order of the file, in which they are hunted."""

from __future__ import annotations

from gateway.config.model import Configuration


def trunk_groups(configuration: Configuration) -> dict[str, tuple[str, ...]]:
    """The names of the spans of each trunk group, by the group's name (``g0``)."""
    groups: dict[str, list[str]] = {}
    for span in configuration.spans:
        for group in span.group:
            groups.setdefault(group, []).append(span.name)
    return {name: tuple(spans) for name, spans in groups.items()}
