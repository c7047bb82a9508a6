"""The file of bindings that outlives the program: what is the same for whatever is kept of each. Opens no file.

The wall clock may be wrong or set back in between: then what was left is what is left.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec

from gateway.core import SECOND

VERSION = 1
MAX_LEFT = 86_400
"""Seconds that a binding can have left; more is no file of ours."""


class BindingsFile(Protocol):
    """``written``: seconds since 1970."""

    @property
    def version(self) -> int:
        """VERSION."""

    @property
    def written(self) -> float:
        """When it was, by the wall clock of then."""


File = TypeVar("File", bound=BindingsFile)


def opened(data: bytes, decoder: msgspec.json.Decoder[File], most: int) -> File:
    """The file that ``data``, of at most so many octets, is; raises ValueError if it is no such file."""
    if len(data) > most:
        raise ValueError(f"{len(data)} octets, at most {most} expected")
    try:
        file = decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if file.version != VERSION:
        raise ValueError(f"version is {file.version}, expected {VERSION}")
    return file


def passed(file: BindingsFile, wall: float) -> int:
    """Microseconds since ``file`` was written, as far as ``wall`` (seconds since 1970) can be believed."""
    gone_by = wall - file.written
    # A clock that was set meanwhile tells nothing; what ends a little late does less harm than who cannot be called.
    return int(gone_by * SECOND) if 0 <= gone_by <= MAX_LEFT else 0 if gone_by < 0 else MAX_LEFT * SECOND
