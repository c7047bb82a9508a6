"""Lines between our PRI trunk and libpri: the four varieties, both ends up, and the frames we sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.pri.lapd import Side
from tests.interop.libpri import LibpriPeer
from tests.interop.our_trunk import OurTrunk

PLAN = ["1=answer", "2=busy", "3=refuse:1", "4=ring", "5=inband", "6=dial:7", "7=reject:41", "8=slow:60", "9=ignore"]


@dataclass(frozen=True, slots=True)
class Variety:
    """One kind of line, and which side of it is ours."""

    switch: str
    line: str
    side: Side

    def __str__(self) -> str:
        return f"{self.switch}-{self.line}-{self.side.value}"

    @property
    def network(self) -> bool:
        return self.side is Side.NETWORK

    @property
    def euroisdn(self) -> bool:
        return self.switch == "euroisdn"


VARIETIES = [
    Variety(switch, line, side)
    for switch, line in (("euroisdn", "e1"), ("ni2", "t1"))
    for side in (Side.USER, Side.NETWORK)
]
EUROISDN = [variety for variety in VARIETIES if variety.euroisdn]
all_varieties = pytest.mark.parametrize("variety", VARIETIES, ids=str)
euroisdn_only = pytest.mark.parametrize("variety", EUROISDN, ids=str)


class Wire:
    """The frames we sent in all tests, by the side that was ours."""

    def __init__(self) -> None:
        self.frames: dict[Side, list[bytes]] = {Side.USER: [], Side.NETWORK: []}


@asynccontextmanager
async def line_between(
    variety: Variety,
    directory: Path,
    wire: Wire,
    *,
    peer: dict[str, Any] | None = None,
    **ours: Any,
) -> AsyncIterator[tuple[OurTrunk, LibpriPeer]]:
    """Our trunk and libpri on one span, up; the exchange's end listens. Everything must be idle at the end."""
    trunk = OurTrunk(
        directory, side=variety.side, listen=variety.network, switch=variety.switch, line=variety.line, **ours
    )
    async with trunk, await start_peer(variety, directory, **(peer or {})) as far:
        await far.event("up", within=10)
        await trunk.up()
        try:
            yield trunk, far
        finally:
            wire.frames[variety.side] += trunk.sent


async def start_peer(variety: Variety, directory: Path, **options: Any) -> LibpriPeer:
    options = {"plan": PLAN, **options}
    return await LibpriPeer.start(
        directory,
        listen=not variety.network,
        side="user" if variety.network else "network",
        switch=variety.switch,
        line=variety.line,
        **options,
    )
