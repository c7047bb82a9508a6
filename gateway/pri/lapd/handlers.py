"""What a state of Q.921 has to answer: one function per event. The tables are at the end of each state's module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.pri.lapd.frames import Frame, FrameType
from gateway.pri.lapd.link import DataLink

FrameHandler = Callable[[DataLink, Frame, bool], None]
"""Takes a received frame; the last argument is True for a command."""

Handler = Callable[[DataLink], None]


@dataclass(frozen=True, slots=True)
class StateTable:
    """One column of Q.921 annex D: a frame type that is not in ``frames`` is ignored in this state."""

    frames: Mapping[FrameType, FrameHandler]
    establish_request: Handler
    release_request: Handler
    persistent_deactivation: Handler
    t200_expiry: Handler
    t203_expiry: Handler
    frame_rejected: Callable[[DataLink, str, str], None]


def nothing(_link: DataLink) -> None:
    """An event that has no effect in this state."""


def report_rejected(link: DataLink, code: str, detail: str) -> None:
    """States 4 to 6: a frame rejection condition is reported and nothing else (5.8.5)."""
    link.mdl_error(code, detail)
