"""A far end that seems to be elsewhere: NAT has bound its port anew, or a stranger says so.

Nothing moves because of a frame alone, as its source may be spoofed and its octets copied. A frame that fits into the
session and comes from another place makes us ask that place by PING; the session moves if the PONG to it comes from
there. The old place is asked as well, so that a far end that is still there answers first and misses nothing. A call
in clear follows to another port of the same address only: whoever else is able to answer there is behind
the far end's own NAT. An encrypted call follows anywhere, as nobody without the key understands the PING. If the far
end is heard from its old place meanwhile, it has not moved.
"""

from __future__ import annotations

from gateway.core import SECOND
from gateway.voip.iax.host import Path

PROBE_PAUSE = 2 * SECOND
"""One place is asked at a time, and none sooner after another (own)."""
MOVE_PAUSE = 10 * SECOND
"""A session moves no more often (own)."""


class Roaming:
    """Where a session may move to. ``stamp`` is that of the PING that asks."""

    __slots__ = ("candidate", "moved_at", "moves", "probed_at", "stamp")

    def __init__(self) -> None:
        self.candidate: Path | None = None
        self.stamp = 0
        self.probed_at: int | None = None
        self.moved_at: int | None = None
        self.moves = 0

    def may_ask(self, path: Path, here: Path, now: int, *, encrypted: bool) -> bool:
        """Whether ``path`` is worth a PING."""
        if path.socket != here.socket or (path.address != here.address and not encrypted):
            return False
        if self.probed_at is not None and now - self.probed_at < PROBE_PAUSE:
            return False
        return self.moved_at is None or now - self.moved_at >= MOVE_PAUSE

    def ask(self, path: Path, stamp: int, now: int) -> None:
        """A PING with ``stamp`` went to ``path``."""
        self.candidate = path
        self.stamp = stamp
        self.probed_at = now

    def confirm(self, now: int) -> None:
        """It is there."""
        self.candidate = None
        self.moved_at = now
        self.moves += 1
