"""Who may do what: a sender on the bus is a user, the user is in groups, the groups have roles.

The policy of the bus says the same where there is one; a private bus has none, and two locks are better than one.
"""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from gateway.provision.bus.interface import Role

GROUPS = {"gateway-admin": Role.ADMIN, "gateway-viewer": Role.VIEWER}
MAX_CALLERS = 256

GroupsOf = Callable[[int], Collection[str]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: its name on the bus, its user and what that may do. ``author`` is the user's name, or its number."""

    sender: str
    uid: int
    author: str
    role: Role


def groups_of(uid: int) -> Collection[str]:
    """The groups of a user; may take its time where they are kept on the network."""
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return ()
    found = []
    for gid in os.getgrouplist(user.pw_name, user.pw_gid):
        try:
            found.append(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue
    return found


class Callers:
    """Callers known, until they leave the bus. ``uid_of`` asks the bus whose connection a sender is."""

    def __init__(
        self,
        uid_of: Callable[[str], Awaitable[int]],
        look_up: GroupsOf = groups_of,
        trusted: Collection[int] | None = None,
    ) -> None:
        """``trusted``: users that need no group; by default root and who runs this, who could do all of it anyway."""
        self._uid_of = uid_of
        self._look_up = look_up
        self._trusted = (0, os.getuid()) if trusted is None else trusted
        self._known: dict[str, Caller] = {}
        self._round = 0

    def __len__(self) -> int:
        return len(self._known)

    def known(self, sender: str) -> Caller | None:
        """The caller, if it is known."""
        return self._known.get(sender)

    async def of(self, sender: str) -> Caller:
        """The caller; BusError if it is gone."""
        caller = self._known.get(sender)
        if caller is not None:
            return caller
        turn = self._round
        uid = await self._uid_of(sender)
        # Group files may be on the network: a name service that hangs must not hold up calls.
        author, role = await asyncio.get_running_loop().run_in_executor(None, self._known_as, uid)
        caller = Caller(sender, uid, author, role)
        if turn != self._round:
            # The bus was started anew meanwhile: the name may be another's.
            return caller
        if len(self._known) >= MAX_CALLERS:
            del self._known[next(iter(self._known))]
        self._known[sender] = caller
        return caller

    def _known_as(self, uid: int) -> tuple[str, Role]:
        try:
            author = pwd.getpwuid(uid).pw_name
        except KeyError:
            author = str(uid)
        if uid in self._trusted:
            return author, Role.ADMIN
        return author, max((GROUPS[name] for name in self._look_up(uid) if name in GROUPS), default=Role.NONE)

    def forget(self, sender: str) -> None:
        """It has left the bus."""
        self._round += 1
        self._known.pop(sender, None)

    def clear(self) -> None:
        """The bus is gone, and all names with it."""
        self._round += 1
        self._known.clear()
