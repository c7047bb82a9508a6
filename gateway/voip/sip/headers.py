"""The ordered store of a SIP message's header fields (RFC 3261 7.3): names folded, compact forms known, values raw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

COMPACT_FORMS = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}
"""The IANA registry of SIP header fields, column "compact form"."""

_COMMON_NAMES = [
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Alert-Info",
    "Allow",
    "Allow-Events",
    "Authorization",
    "Call-ID",
    "Call-Info",
    "Contact",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Content-Length",
    "Content-Type",
    "CSeq",
    "Date",
    "Diversion",
    "Event",
    "Expires",
    "From",
    "History-Info",
    "Max-Forwards",
    "Min-Expires",
    "Min-SE",
    "P-Asserted-Identity",
    "P-Preferred-Identity",
    "Privacy",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Require",
    "RAck",
    "Reason",
    "Record-Route",
    "Refer-To",
    "Referred-By",
    "Remote-Party-ID",
    "Replaces",
    "Require",
    "Retry-After",
    "Route",
    "RSeq",
    "Server",
    "Session-Expires",
    "Subject",
    "Supported",
    "Timestamp",
    "To",
    "Unsupported",
    "User-Agent",
    "User-to-User",
    "Via",
    "Warning",
    "WWW-Authenticate",
]
KNOWN_KEYS = {
    **{spelling: name.lower() for name in _COMMON_NAMES for spelling in (name, name.lower(), name.upper())},
    **COMPACT_FORMS,
    **{short.upper(): name for short, name in COMPACT_FORMS.items()},
}
"""Keys of the usual spellings, so that most lookups are one; ``header_key`` finds those of all others."""

_find_key = KNOWN_KEYS.get

Entry = tuple[str, str, str]
"""Key (full name in lower case), name as written, value (unfolded, stripped)."""


def header_key(name: str) -> str:
    """The key of a header field name: the full name in lower case, a compact form resolved."""
    return _find_key(name) or COMPACT_FORMS.get(lower := name.lower(), lower)


class Headers:
    """Header fields in order. Names are matched case-insensitively and in either form.

    ``first`` has the first value of each key, ``repeated`` all values of the keys that stand more than once; both are
    to be read only. ``parsed`` is a cache of typed values for Message, by key (all Vias under "vias"), which a change
    empties.
    """

    __slots__ = ("_entries", "_names", "first", "parsed", "repeated")

    # As long as nobody asked for them, what was received without a repeated field has them in ``_names`` and ``first``.
    _entries: list[Entry] | None
    _names: Sequence[str]
    parsed: dict[str, Any]
    first: dict[str, str]
    repeated: dict[str, list[str]]

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._entries = [(_find_key(name) or header_key(name), name, value) for name, value in fields]
        self._changed()

    @classmethod
    def of_entries(cls, entries: list[Entry]) -> Headers:
        """Take over a list of finished entries."""
        headers = cls.__new__(cls)
        headers._entries = entries
        headers._changed()
        return headers

    @classmethod
    def of_columns(cls, keys: Sequence[str], names: Sequence[str], values: Sequence[str]) -> Headers:
        """Take keys, names and values of finished entries (the parser's way in)."""
        headers = cls.__new__(cls)
        headers.first = first = dict(zip(keys, values))  # noqa: B905 - all of one line each
        if len(first) != len(keys):
            headers._entries = list(zip(keys, names, values))  # noqa: B905
            headers._changed()
            return headers
        headers._entries = None
        headers._names = names
        headers.repeated = {}
        headers.parsed = {}
        return headers

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((name, value) for _, name, value in self.entries)

    def __contains__(self, name: str) -> bool:
        return (_find_key(name) or header_key(name)) in self.first

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return [(key, value) for key, _, value in self.entries] == [(key, value) for key, _, value in other.entries]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Headers({list(self)!r})"

    @property
    def entries(self) -> list[Entry]:
        """The entries themselves, to be read only."""
        entries = self._entries
        if entries is None:
            first = self.first
            entries = self._entries = list(zip(first, self._names, first.values(), strict=True))
        return entries

    def get(self, name: str) -> str | None:
        """The raw value of the first field ``name``, or None."""
        return self.first.get(_find_key(name) or header_key(name))

    def get_all(self, name: str) -> list[str]:
        """The raw values of all fields ``name`` in order, to be read only."""
        key = _find_key(name) or header_key(name)
        value = self.first.get(key)
        if value is None:
            return []
        return self.repeated.get(key) or [value]

    def add(self, name: str, value: str) -> None:
        """Append a field."""
        key = _find_key(name) or header_key(name)
        self.entries.append((key, name, value))
        self._note(key, value)
        if self.parsed:
            self.parsed = {}

    def add_first(self, name: str, value: str) -> None:
        """Put a field before all others."""
        self.entries.insert(0, (header_key(name), name, value))
        self._changed()

    def set(self, name: str, value: str) -> None:
        """Replace the first field ``name`` where it stands and drop its others; append if there is none."""
        key = header_key(name)
        kept: list[Entry] = []
        placed = False
        for entry in self.entries:
            if entry[0] != key:
                kept.append(entry)
            elif not placed:
                kept.append((key, name, value))
                placed = True
        if not placed:
            kept.append((key, name, value))
        self._entries = kept
        self._changed()

    def replace_first(self, name: str, value: str) -> None:
        """Replace the value of the first field ``name`` and leave its others; append if there is none."""
        key = _find_key(name) or header_key(name)
        entries = self.entries
        for number, entry in enumerate(entries):
            if entry[0] == key:
                entries[number] = (key, entry[1], value)
                break
        else:
            self.add(name, value)
            return
        self.first[key] = value
        if key in self.repeated:
            self.repeated[key][0] = value
        parsed = self.parsed
        if key in parsed:
            del parsed[key]
        if "vias" in parsed:
            del parsed["vias"]

    def replace_top_via(self, value: str) -> None:
        """Replace the value of the first Via, which there is; what was read of other fields stays."""
        entries = self._entries
        if entries is not None:
            number = 0
            while entries[number][0] != "via":
                number += 1
            entries[number] = ("via", entries[number][1], value)
        self.first["via"] = value
        if "via" in self.repeated:
            self.repeated["via"][0] = value
        parsed = self.parsed
        if "vias" in parsed:
            del parsed["vias"]

    def remove(self, name: str) -> None:
        """Drop all fields ``name``."""
        key = header_key(name)
        self._entries = [entry for entry in self.entries if entry[0] != key]
        self._changed()

    def copy(self) -> Headers:
        """An independent copy."""
        return Headers.of_entries(list(self.entries))

    def forget(self) -> None:
        """Let go of what was read out of the fields; it can be read again."""
        self.parsed = {}

    def _changed(self) -> None:
        entries = self.entries
        self.parsed = {}
        self.first = {}
        self.repeated = {}
        for key, _, value in entries:
            self._note(key, value)

    def _note(self, key: str, value: str) -> None:
        first = self.first
        if key not in first:
            first[key] = value
        elif key in self.repeated:
            self.repeated[key].append(value)
        else:
            self.repeated[key] = [first[key], value]
