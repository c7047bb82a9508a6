"""The whole product as programs on loopback: exchange (or a test's own far end), gateway, engine; SIP is the test's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.demo.processes import Control, Service
from tests.interop.program import PATIENCE, PeerError, free_port, worker
from tests.interop.sipp import Sipp

DID = "4165550101"
POLL_SECONDS = 0.05
NEAR_HERTZ = 10

_HEAD = """\
schema = 1
[gateway]
name = "product"
run_dir = "{directory}"
records = "{records}"
{section}
[sip]
listen = ["udp:127.0.0.1:{sip_port}", "tcp:127.0.0.1:{sip_port}"{listen}]
{sip}
[media]
rtp_ports = [{first_port}, {last_port}]
grace_seconds = {grace}
{media}
[[trunk]]
name = "hq"
technology = "sip"
host = "{far_host}:{far_port}"
context = "from-hq"
trustrpid = true
{trunk}
[[route]]
context = "from-pstn"
match = "_41655501XX"
to = ["sip:hq/{{number}}"]
[[route]]
context = "from-hq"
match = "_9."
to = ["pri:r0/{{number:1}}"]
"""
_SPAN = """\
[[span]]
name = "{name}"
channels = "virtual:{directory}"
line = "{line}"
side = "{side}"
switch_type = "{switch}"
context = "from-pstn"
"""


def _rtp_ports(number: int) -> tuple[int, int]:
    """A range of this test process's own, below the ports that the system hands out and above those of telephones.

    Products of one test that run at once have a ``number`` each, up to 4, and a part of it.
    """
    first = 21_000 + worker() * 1000
    return (first + 200 * number, first + 200 * number + 199) if number else (first, first + 999)


def _children(pid: int) -> list[int]:
    """Children of all threads of ``pid``."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(word) for task in tasks for word in (task / "children").read_text().split()]


def _without_iax(status: Mapping[str, Any]) -> bool:
    """Whether there is no call over IAX2, nor what is left of one."""
    iax = status.get("iax")
    return iax is None or not iax["statistics"]["legs"]


class Product:
    """A running product. ``exchange`` False leaves the spans' far ends to the test; ``section``: lines of [gateway].

    ``options`` are more words of the gateway's command line.
    """

    def __init__(
        self,
        directory: Path,
        *,
        spans: int = 1,
        line: str = "e1",
        switch: str = "euroisdn",
        side: str = "user",
        exchange: bool = True,
        extra: str = "",
        section: str = "",
        sip: str = "",
        media: str = "",
        trunk: str = "",
        far_host: str = "127.0.0.1",
        far_port: int | None = None,
        listen: Sequence[str] = (),
        trace: bool = False,
        exchange_options: Sequence[str] = (),
        options: Sequence[str] = (),
        records: str = "calls.jsonl",
        engine: bool = True,
        grace: int = 3,
        number: int = 0,
    ) -> None:
        self.directory = directory
        self.spans = [directory / f"s{number}" for number in range(spans)]
        self.sip_port, self.far_port = free_port(), far_port or free_port()
        self.services: dict[str, Service] = {}
        self.exchange: Control
        self.gateway: Control
        self._own_exchange = exchange
        self._line, self._switch, self._side = line, switch, side
        self.rtp_ports = first, last = _rtp_ports(number)
        self._configuration = (
            _HEAD.format(
                directory=directory,
                records=records,
                sip_port=self.sip_port,
                section=section,
                far_host=far_host,
                far_port=self.far_port,
                sip=sip,
                media=media,
                grace=grace,
                trunk=trunk,
                listen="".join(f', "{each}"' for each in listen),
                first_port=first,
                last_port=last,
            )
            + "".join(
                _SPAN.format(name=span.name, directory=span, line=line, side=side, switch=switch) for span in self.spans
            )
            + extra
        )
        self._trace = trace
        self._exchange_options = exchange_options
        self._options = options
        self._engine = engine
        self._orphans: list[int] = []

    def add(self, text: str) -> None:
        """Lines to the end of the configuration file that the gateway starts with."""
        self._configuration += text

    async def __aenter__(self) -> Self:
        (self.directory / "gateway.toml").write_text(self._configuration)
        try:
            if self._own_exchange:
                await self.start_exchange()
            await self.start_gateway()
            if self._own_exchange:
                await self.until_up()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()
        if error is None:
            assert "Traceback" not in self.log, self.log

    async def _stop(self) -> None:
        for control in (getattr(self, "exchange", None), getattr(self, "gateway", None)):
            if control is not None:
                await control.close()
        for name in ("gateway", "exchange"):
            if name in self.services:
                await self.services[name].stop()
        for pid in self._orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def start_exchange(self) -> None:
        """Start the simulated exchange and connect to it."""
        words = ["-m", "gateway.pri.exchange", "--no-input", "--quiet", "--country", "us", "--line", self._line]
        words += ["--switch-type", self._switch, "--side", "network" if self._side == "user" else "user"]
        words += ["--control", str(self.directory / "exchange.sock"), *self._exchange_options]
        for span in self.spans:
            words += ["--span", str(span)]
        service = self.services["exchange"] = await Service.start("exchange", words, self.directory / "exchange.log")
        self.exchange = await Control.connect(self.directory / "exchange.sock", service)

    async def start_gateway(self) -> None:
        """Start the gateway with its engine and connect to it."""
        words = ["-m", "gateway", "--config", str(self.directory / "gateway.toml"), *self._options]
        if self._engine:
            words.append("--start-engine")
        if self._trace:
            words += ["--trace", str(self.directory / "trace.jsonl")]
        number = sum(path.name.startswith("gateway.log") for path in self.directory.iterdir())
        log = self.directory / f"gateway.log.{number}"
        service = self.services["gateway"] = await Service.start("gateway", words, log)
        self.gateway = await Control.connect(self.directory / "status.sock", service)
        # Its status answers before it listens for SIP.
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while " is up: " not in log.read_text("utf-8", "replace"):
            if not service.alive or asyncio.get_running_loop().time() > deadline:
                raise PeerError(f"the gateway is not up\n{service.tail()}")
            await asyncio.sleep(POLL_SECONDS)

    @property
    def log(self) -> str:
        """All that the gateway logged, over all its starts."""
        paths = sorted(path for path in self.directory.iterdir() if path.name.startswith("gateway.log"))
        return "".join(path.read_text("utf-8", "replace") for path in paths)

    @property
    def gateway_pid(self) -> int:
        """The Python side."""
        return self.services["gateway"].pid

    @property
    def engine_pid(self) -> int | None:
        """The gateway's media engine, if it runs."""
        found = _children(self.gateway_pid)
        return found[0] if found else None

    @property
    def voice_pids(self) -> list[int]:
        """All that a call's voice goes through: the media engines of gateway and exchange."""
        return [pid for service in self.services.values() for pid in _children(service.pid)]

    async def kill_gateway(self) -> None:
        """SIGKILL to the Python side; the engine lives on."""
        self._orphans += _children(self.gateway_pid)
        await self.gateway.close()
        os.kill(self.gateway_pid, signal.SIGKILL)
        await self.services["gateway"].stop()

    async def hand_over_gateway(self) -> None:
        """SIGUSR2 to the Python side, which leaves its calls to the next start, and the engine too."""
        self._orphans += _children(self.gateway_pid)
        await self.gateway.close()
        os.kill(self.gateway_pid, signal.SIGUSR2)
        status = await self.services["gateway"].ended()
        assert status == 0, self.log

    async def stop_gateway(self) -> None:
        """SIGTERM to the Python side, which ends with its engine."""
        await self.gateway.close()
        await self.services["gateway"].stop()

    async def kill_exchange(self) -> None:
        """SIGKILL to the exchange; its engine too, as its line would go with it."""
        engines = _children(self.services["exchange"].pid)
        await self.exchange.close()
        for pid in (self.services["exchange"].pid, *engines):
            os.kill(pid, signal.SIGKILL)
        await self.services["exchange"].stop()

    # -- waiting --

    async def until(
        self, done: Callable[[Mapping[str, Any]], bool], what: str, within: float = PATIENCE
    ) -> dict[str, Any]:
        """Wait until the gateway's status is as wanted."""
        deadline = asyncio.get_running_loop().time() + within
        while True:
            status = dict(await self.gateway.command("status"))
            if done(status):
                return status
            if asyncio.get_running_loop().time() > deadline:
                raise PeerError(f"waited {within:.0f} s for {what}: {json.dumps(status)}\n{self.log[-3000:]}")
            await asyncio.sleep(POLL_SECONDS)

    async def until_up(self, within: float = PATIENCE) -> None:
        """Wait until all lines work and the engine answers."""
        await self.until(
            lambda status: (
                status["engine"]["up"] is self._engine and all(span["data_link"] for span in status["spans"].values())
            ),
            "the lines and the engine",
            within,
        )
        if not self._own_exchange:
            return
        deadline = asyncio.get_running_loop().time() + within
        while not await self._exchange_ready():
            if asyncio.get_running_loop().time() > deadline:
                raise PeerError(f"the exchange's line is down: {await self.exchange.command('status')}")
            await asyncio.sleep(POLL_SECONDS)

    async def _exchange_ready(self) -> bool:
        """Whether its lines are up and the restart of their channels is over: until then it has none for a call."""
        spans = (await self.exchange.command("status"))["spans"].values()
        return all(span["data_link"] and set(span["channels"].values()) <= {"idle", "busy"} for span in spans)

    async def until_answered(self, count: int = 1, within: float = PATIENCE) -> None:
        """Wait until there are so many calls, all answered."""
        await self.until(
            lambda status: (
                len(status["calls"]) == count and all(call["state"] == "answered" for call in status["calls"])
            ),
            f"{count} answered calls",
            within,
        )

    async def until_idle(self, within: float = PATIENCE) -> dict[str, Any]:
        """Wait until there is no call, no stream and no channel but idle ones, at the exchange too."""
        status = await self.until(
            lambda status: (
                not status["calls"]
                and not status["engine"]["streams"]
                and _without_iax(status)
                and not status["sip"]["legs"]
                and all(set(span["channels"]) == {"idle"} for span in status["spans"].values())
            ),
            "an idle gateway",
            within,
        )
        if self._own_exchange:
            deadline = asyncio.get_running_loop().time() + within
            while any(span["calls"] for span in (await self.exchange.command("status"))["spans"].values()):
                if asyncio.get_running_loop().time() > deadline:
                    raise PeerError(f"the exchange keeps calls: {await self.exchange.command('status')}")
                await asyncio.sleep(POLL_SECONDS)
        return status

    def records(self) -> list[dict[str, Any]]:
        """The call records so far."""
        path = self.directory / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    # -- calls --

    async def pstn_call(self, called: str = DID, **request: object) -> dict[str, Any]:
        """Let the exchange call and hang up by itself; its report at the end."""
        call = (await self.exchange.command("call", **{"called": called, "hold": 300, **request}))["call"]
        return dict(await self.exchange.event("ended", PATIENCE, lambda event: event["call"] == call))

    async def heard_call(self, hertz: float, called: str = DID, **request: object) -> dict[str, Any]:
        """Let the exchange call until it hears a tone of ``hertz``, and hang up then; its report at the end."""
        call = (await self.exchange.command("call", **{"called": called, "hold": -1, **request}))["call"]
        deadline = asyncio.get_running_loop().time() + PATIENCE
        heard: Mapping[str, Any] = {}
        while abs(heard.get("frequency", 0.0) - hertz) > NEAR_HERTZ:
            found = [each for each in (await self.exchange.command("calls"))["calls"] if each["call"] == call]
            if not found or asyncio.get_running_loop().time() > deadline:
                raise PeerError(f"the exchange does not hear {hertz} Hz but {heard}: {found}\n{self.log[-3000:]}")
            heard = found[0].get("heard", heard)
            await asyncio.sleep(POLL_SECONDS)
        await self.exchange.command("hangup", call=call)
        return dict(await self.exchange.event("ended", PATIENCE, lambda event: event["call"] == call))

    async def answering(self, scenario: str = "uas_basic", *, calls: int = 1, **arguments: Any) -> Sipp:
        """Sipp as the trunk that is called."""
        directory = self.directory / "sipp"
        return await Sipp.start(scenario, directory, port=self.far_port, calls=calls, codecs="8 101", **arguments)

    async def calling(self, number: str, scenario: str = "uac_basic", *, calls: int = 1, **arguments: Any) -> Sipp:
        """Sipp as the trunk that calls."""
        return await Sipp.start(
            scenario,
            self.directory / "sipp",
            remote=("127.0.0.1", self.sip_port),
            port=self.far_port,
            service=number,
            calls=calls,
            codecs="8 101",
            **arguments,
        )
