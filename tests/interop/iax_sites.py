"""Two sites with a line, an exchange and a gateway each, and an IAX2 trunk between them over a wire that listens."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from gateway.voip.iax.errors import IaxError
from gateway.voip.iax.frame import Frame, FullFrame, MiniFrame, TrunkFrame, parse
from tests.interop.product import NEAR_HERTZ, POLL_SECONDS, Product
from tests.interop.program import PATIENCE, PeerError, free_port

SECRET = "correct horse battery"  # noqa: S105 - a test's
MILLIWATT = 1004.0
ANSWERS = "5550107"
"""The subscriber of either exchange that plays a tone."""
_CONFIGURATION = """\
[iax]
listen = ["udp:127.0.0.1:{port}"]
{section}
[[trunk]]
name = "{far}"
technology = "iax2"
host = "{host}"
defaultuser = "{own}"
context = "from-iax"
{terms}
[[route]]
context = "from-pstn"
match = "_8."
to = ["iax2:{far}/{{number:1}}"]
{route}
[[route]]
context = "from-iax"
match = "_X."
to = ["pri:g0/{{number}}"]
"""


class _Side(asyncio.DatagramProtocol):
    """One end of the wire: what comes here leaves by the ``other`` one, to ``target``."""

    def __init__(self, wire: Wire, number: int) -> None:
        self.number = number
        self.transport: asyncio.DatagramTransport
        self._wire = wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, _source: tuple[str, int]) -> None:
        self._wire.pass_on(self.number, data)


class Wire:
    """UDP between two sites on loopback. ``seen``: from which of them, and what; ``cut``: nothing passes."""

    def __init__(self) -> None:
        self.ports = (free_port(), free_port())
        self.targets = (free_port(), free_port())
        self.seen: list[tuple[int, bytes]] = []
        self.cut = False
        self._sides: list[_Side] = []

    async def open(self) -> None:
        """Both ends."""
        for number, port in enumerate(self.ports):
            self._sides.append(await self._side(number, port))

    async def rebind(self, number: int) -> None:
        """The end at site ``number`` has another port from now on, as behind a NAT that lost its binding."""
        before = self._sides[number]
        self._sides[number] = await self._side(number, free_port())
        before.transport.close()

    async def _side(self, number: int, port: int) -> _Side:
        loop = asyncio.get_running_loop()
        _, side = await loop.create_datagram_endpoint(lambda: _Side(self, number), local_addr=("127.0.0.1", port))
        return side

    def pass_on(self, number: int, data: bytes) -> None:
        """What site ``number`` sent to its end leaves by the other end, towards the other site."""
        self.seen.append((number, data))
        other = 1 - number
        if not self.cut:
            self._sides[other].transport.sendto(data, ("127.0.0.1", self.targets[other]))

    def close(self) -> None:
        for side in self._sides:
            side.transport.close()

    def of(self, number: int, since: int = 0) -> list[bytes]:
        """What site ``number`` sent."""
        return [data for side, data in self.seen[since:] if side == number]

    def frames(self, number: int, since: int = 0) -> list[Frame]:
        """What site ``number`` sent, as far as it can be read in clear."""
        found: list[Frame] = []
        for data in self.of(number, since):
            with contextlib.suppress(IaxError):
                found.append(parse(data))
        return found

    def kinds(self, number: int, since: int = 0) -> dict[str, int]:
        """How many full, mini and trunk frames site ``number`` sent."""
        frames = self.frames(number, since)
        names = {FullFrame: "full", MiniFrame: "mini", TrunkFrame: "trunk"}
        counted = dict.fromkeys(names.values(), 0)
        for frame in frames:
            counted[names[type(frame)]] += 1
        return counted


class Sites:
    """``near`` and ``far``; terms are of their trunks, ``far_dynamic``: near registers with far.

    ``near_lines`` are of [gateway] of near.
    """

    def __init__(
        self,
        directory: Path,
        *,
        near: str = "",
        far: str = "",
        near_section: str = "",
        far_section: str = "",
        far_dynamic: bool = False,
        far_route: str = "",
        near_secret: str = SECRET,
        far_secret: str = SECRET,
        near_extra: str = "",
        near_lines: str = "",
        trace: bool = False,
        grace: int = 3,
    ) -> None:
        self.wire = wire = Wire()
        products = []
        for number, (own, other) in enumerate((("near", "far"), ("far", "near"))):
            place = directory / own
            place.mkdir(parents=True)
            secret = (near_secret, far_secret)[number]
            extra = _CONFIGURATION.format(
                port=wire.targets[number],
                section=(near_section, far_section)[number],
                far=other,
                own=own,
                host="dynamic" if number and far_dynamic else f"127.0.0.1:{wire.ports[number]}",
                terms=(near, far)[number] + (f'\nsecret = "{secret}"' if secret else ""),
                route=far_route if number else "",
            )
            extra += "" if number else near_extra
            section = "" if number else near_lines
            products.append(Product(place, extra=extra, section=section, number=number + 1, trace=trace, grace=grace))
        self.near, self.far = products
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            await self.wire.open()
            stack.callback(self.wire.close)
            await stack.enter_async_context(self.near)
            await stack.enter_async_context(self.far)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    @property
    def log(self) -> str:
        """What both gateways logged, the end of it."""
        return f"near: {self.near.log[-3000:]}\nfar: {self.far.log[-3000:]}"

    async def begin(self, caller: Product, called: str = ANSWERS) -> int:
        """Let the exchange of ``caller`` call over the trunk, with a tone, until it is told to hang up."""
        request = {"called": f"8{called}", "hold": -1}
        return int((await caller.exchange.command("call", **request))["call"])

    async def heard(self, product: Product, calls: int = 1, within: float = PATIENCE, hertz: float = MILLIWATT) -> None:
        """Wait until the exchange of ``product`` hears a tone in so many calls."""
        deadline = asyncio.get_running_loop().time() + within
        while True:
            found = (await product.exchange.command("calls"))["calls"]
            hears = [each for each in found if _near(each.get("heard"), hertz)]
            if len(hears) >= calls:
                return
            if asyncio.get_running_loop().time() > deadline:
                raise PeerError(f"{len(hears)} of {calls} calls hear the tone: {found}\n{self.log}")
            await asyncio.sleep(POLL_SECONDS)

    async def end(self, caller: Product, call: int) -> dict[str, Any]:
        """Let the caller hang up; its exchange's report."""
        await caller.exchange.command("hangup", call=call)
        return dict(await caller.exchange.event("ended", PATIENCE, lambda event: event["call"] == call))

    async def until_idle(self) -> None:
        """Wait until neither has anything of a call."""
        await self.near.until_idle()
        await self.far.until_idle()


def _near(heard: Any, hertz: float) -> bool:
    return bool(heard) and abs(heard.get("frequency", 0.0) - hertz) <= NEAR_HERTZ
