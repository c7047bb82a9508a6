"""The bench's scene: an exchange of several spans, the gateway with its engine, and sipp on the SIP side."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.bench.processes import Used, children, used
from tests.demo.processes import Control, Service
from tests.interop.program import PeerError, free_port
from tests.interop.sipp import Sipp

DID = "4165550101"
UP_SECONDS = 30.0


def configuration(directory: Path, spans: list[Path], sip_port: int, far_port: int) -> str:
    """A gateway of ``spans``, one trunk, and routes both ways."""
    parts = [
        f'schema = 1\n[gateway]\nname = "bench"\nrun_dir = "{directory}"\n',
        f'[sip]\nlisten = ["udp:127.0.0.1:{sip_port}"]\n',
        "[media]\nrtp_ports = [20000, 29999]\n",
        f'[[trunk]]\nname = "hq"\ntechnology = "sip"\nhost = "127.0.0.1:{far_port}"\ncontext = "from-hq"\n',
        '[[route]]\ncontext = "from-pstn"\nmatch = "_X."\nto = ["sip:hq/{number}"]\n',
        '[[route]]\ncontext = "from-hq"\nmatch = "_9."\nto = ["pri:r0/{number:1}"]\n',
    ]
    for span in spans:
        parts.append(
            f'[[span]]\nname = "{span.name}"\nchannels = "virtual:{span}"\nline = "e1"\nside = "user"\n'
            'switch_type = "euroisdn"\ngroup = "g0"\ncontext = "from-pstn"\n'
        )
    return "".join(parts)


class BenchScene:
    """Exchange and gateway up, all lines established. ``far_port`` is where the SIP side must be.

    ``extra`` are more lines of the gateway's configuration.
    """

    def __init__(self, directory: Path, spans: int, *, probe: bool = False, extra: str = "") -> None:
        self.directory = directory
        self.spans = [directory / f"s{number}" for number in range(spans)]
        self.sip_port, self.far_port = free_port(), free_port()
        self.delays = directory / "delays.jsonl"
        self._probe = probe
        self._extra = extra
        self._services: list[Service] = []
        self.exchange: Control

    async def __aenter__(self) -> BenchScene:
        self.directory.mkdir(parents=True, exist_ok=True)
        file = self.directory / "gateway.toml"
        text = configuration(self.directory, self.spans, self.sip_port, self.far_port) + self._extra
        await asyncio.to_thread(file.write_text, text)
        words = ["-m", "gateway.pri.exchange", "--no-input", "--quiet", "--control"]
        words += [str(self.directory / "exchange.sock")]
        for span in self.spans:
            words += ["--span", str(span)]
        self._services.append(await Service.start("exchange", words, self.directory / "exchange.log"))
        if self._probe:
            words = ["-m", "tests.bench.probe", str(file), str(self.delays)]
        else:
            words = ["-m", "gateway", "--start-engine", "--config", str(file)]
        self._services.append(await Service.start("gateway", words, self.directory / "gateway.log"))
        try:
            self.exchange = await Control.connect(self.directory / "exchange.sock", self._services[0])
            await self._until(self._lines_up, "the lines to come up", UP_SECONDS)
        except BaseException:
            await self._stop_services()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.exchange.close()
        await self._stop_services()

    async def _stop_services(self) -> None:
        for service in reversed(self._services):
            await service.stop()

    async def _until(self, done: Any, what: str, within: float) -> None:
        deadline = asyncio.get_running_loop().time() + within
        while not await done():
            if asyncio.get_running_loop().time() > deadline:
                status = await self.exchange.command("status")
                busy = {name: span for name, span in status["spans"].items() if span["calls"]}
                raise PeerError(f"waited {within:.0f} s for {what}; exchange: {busy}\n{self._services[-1].tail()}")
            await asyncio.sleep(0.1)

    async def _status(self) -> Mapping[str, Any]:
        """What the gateway says of itself, over a connection of its own: one that stays is told of every call's end."""
        control = await Control.connect(self.directory / "status.sock", self._services[1])
        try:
            return await control.command("status")
        finally:
            await control.close()

    async def _lines_up(self) -> bool:
        status = await self._status()
        far = await self.exchange.command("status")
        # While their restart is under way, channels take no calls.
        return all(span["data_link"] for span in status["spans"].values()) and all(
            set(span["channels"].values()) == {"idle"} for span in far["spans"].values()
        )

    async def calls(self) -> int:
        """Calls that the gateway has now."""
        return len((await self._status())["calls"])

    async def until_calls(self, count: int, within: float = 60.0) -> None:
        """Wait until the gateway has ``count`` calls, all answered."""

        async def there() -> bool:
            calls = (await self._status())["calls"]
            return len(calls) == count and all(call["state"] == "answered" for call in calls)

        await self._until(there, f"{count} standing calls", within)

    async def load(self, rate: float, calls: int, hold: int, called: str = DID) -> dict[str, Any]:
        """Let the exchange make ``calls`` calls and wait until all are over; its counts."""
        await self.exchange.command("load", called=called, rate=rate, calls=calls, hold=hold)

        async def over() -> bool:
            return not (await self.exchange.command("load-result"))["running"]

        await self._until(over, "the load to end", calls / rate + hold / 1000 + 30)
        return dict(await self.exchange.command("load-result"))

    @property
    def gateway_pid(self) -> int:
        """The Python side."""
        return self._services[1].pid

    @property
    def engine_pid(self) -> int:
        """The gateway's media engine."""
        return children(self.gateway_pid)[0]

    def gateway(self) -> Used:
        """What the Python side has used."""
        return used(self.gateway_pid)

    def engine(self) -> Used:
        """What the gateway's media engine has used."""
        return used(self.engine_pid)

    async def answering(self, calls: int, *, echo: bool = False, seconds: int = 300) -> Sipp:
        """The SIP side as called party."""
        return await Sipp.start(
            "uas_basic",
            self.directory / "sipp",
            port=self.far_port,
            calls=calls,
            echo=echo,
            seconds=seconds,
            limit=2000,
            trace=False,
            codecs="8 101",
        )

    async def calling(
        self, calls: int, rate: float, pause: int, *, number: str = "95550112", echo: bool = False, seconds: int = 300
    ) -> Sipp:
        """The SIP side as caller; each call talks for ``pause`` milliseconds."""
        return await Sipp.start(
            "uac_basic",
            self.directory / "sipp",
            remote=("127.0.0.1", self.sip_port),
            port=self.far_port,
            service=number,
            calls=calls,
            rate=rate,
            pause=pause,
            limit=2000,
            echo=echo,
            seconds=seconds,
            trace=False,
            codecs="8 101",
        )
