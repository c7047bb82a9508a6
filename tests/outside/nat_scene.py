"""A gateway and telephones in a laboratory of namespaces: baresip registers, calls, plays a tone and records one."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.demo.processes import Control, Service
from tests.interop.baresip import Baresip, write_configuration
from tests.interop.program import PeerError, find_program
from tests.interop.tone import measure_tone
from tests.outside.namespaces import Host

SIP_PORT = 5060
RTP_FIRST, RTP_LAST = 10_000, 10_039
PHONE_RTP = (20_000, 20_039)
CONTROL_PORT = 4444
SECRET = "correct-horse-battery"  # noqa: S105 - of a laboratory
POLL_SECONDS = 0.1

_HEAD = """\
schema = 1
[gateway]
name = "lab"
run_dir = "{directory}"
[network]
{network}
[media]
rtp_ports = [{first}, {last}]
{media}
[sip]
{sip}
[[route]]
context = "phones"
match = "100"
to = ["echo"]
"""
_PHONE = """\
[[phone]]
name = "{name}"
secret = "{secret}"
context = "phones"
{settings}
[[route]]
context = "phones"
match = "{number}"
to = ["sip:{name}"]
"""


class LabService(Service):
    """A program of ours in a namespace."""

    @classmethod
    async def start_in(cls, host: Host, name: str, arguments: list[str], log: Path) -> LabService:
        """Run ``python -m`` something there."""
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *host.namespace.python(*arguments), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        return cls(name, process, log)


class Branch:
    """A gateway on ``host``. ``phones`` are names and what their sections say besides; 200, 201 … call them."""

    def __init__(
        self,
        directory: Path,
        host: Host,
        *,
        phones: Mapping[str, str],
        network: str = "",
        media: str = "",
        sip: str = "",
        extra: str = "",
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.host = host
        self.trace = directory / "trace.jsonl"
        self.control: Control
        self._service: LabService
        text = _HEAD.format(directory=directory, network=network, media=media, sip=sip, first=RTP_FIRST, last=RTP_LAST)
        for number, (name, settings) in enumerate(phones.items()):
            text += _PHONE.format(name=name, secret=SECRET, settings=settings, number=200 + number)
        (directory / "gateway.toml").write_text(text + extra)

    async def __aenter__(self) -> Branch:
        words = ["-m", "gateway", "--config", str(self.directory / "gateway.toml"), "--start-engine"]
        words += ["--trace", str(self.trace)]
        self._service = await LabService.start_in(self.host, "gateway", words, self.directory / "gateway.log")
        try:
            self.control = await Control.connect(self.directory / "status.sock", self._service)
            await self.until(lambda status: status["engine"]["up"], "the engine")
        except BaseException:
            await self._service.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(AttributeError):
            await self.control.close()
        await self._service.stop()
        if error is None:
            assert "Traceback" not in self.log, self.log

    @property
    def log(self) -> str:
        """All that the gateway logged."""
        return (self.directory / "gateway.log").read_text("utf-8", "replace")

    async def until(self, done: Callable[[Mapping[str, Any]], bool], what: str, within: float = 10.0) -> dict[str, Any]:
        """Wait until the gateway's status is as wanted."""
        deadline = time.monotonic() + within
        while True:
            status = dict(await self.control.command("status"))
            if done(status):
                return status
            if time.monotonic() > deadline:
                raise PeerError(f"no {what} within {within:.0f} s: {status}\n{self.log[-3000:]}")
            await asyncio.sleep(POLL_SECONDS)

    async def until_calls(self, count: int, within: float = 10.0) -> dict[str, Any]:
        """Wait until there are so many calls, all answered."""
        return await self.until(
            lambda status: (
                len(status["calls"]) == count and all(call["state"] == "answered" for call in status["calls"])
            ),
            f"{count} answered calls",
            within,
        )


class LabPhone(Baresip):
    """Baresip on a host of the laboratory, registered with the gateway as ``user``."""

    host: Host

    async def __aenter__(self) -> LabPhone:
        return self

    @classmethod
    async def on(
        cls,
        host: Host,
        directory: Path,
        server: str,
        *,
        user: str,
        tone: float,
        register: bool = True,
        transport: str = "udp",
        account: str = "",
        seconds: int = 120,
    ) -> LabPhone:
        """Start it; ``tone`` is what it plays, ``server`` where the gateway is for it."""
        write_configuration(
            directory,
            user=user,
            sip_port=SIP_PORT,
            control_port=CONTROL_PORT,
            rtp_ports=PHONE_RTP,
            tone=tone,
            transport=transport,
            account=f";auth_user={user}{account}",
            registrar=server,
            secret=SECRET,
            regint=60 if register else 0,
            address=host.address,
        )
        program = find_program("baresip", "baresip-core")
        process = await cls.spawn(
            [*host.namespace.words, program, "-4", "-s", "-f", ".", "-t", str(seconds)], cwd=directory
        )
        phone = cls(f"baresip {user}", process, directory, SIP_PORT, user)
        phone.host = host
        try:
            await phone._attach()
            if register:
                # It may be done before anybody could be told.
                await phone.until(lambda: any("200 OK () [1 binding]" in line for line in phone.lines), "binding", 10.0)
        except BaseException:
            await phone.stop()
            raise
        return phone

    async def _attach(self) -> None:
        ready = (f"127.0.0.1:{CONTROL_PORT}", "baresip is ready")
        await self.until(lambda: any(word in line for line in self.lines for word in ready), "its control port", 10)
        made = await asyncio.get_running_loop().run_in_executor(None, self.host.namespace.connect, CONTROL_PORT)
        reader, self._writer = await asyncio.open_connection(sock=made)
        self._control = asyncio.create_task(self._read_control(reader))

    def forget(self) -> int:
        """How much it has recorded by now: ``hears_on`` looks at what comes after."""
        return self.recordings()[-1].stat().st_size if self.recordings() else 0

    async def hears_on(self, frequency: float, since: int, *, within: float = 6.0) -> None:
        """Wait until, after ``since`` octets, it hears a second of ``frequency``."""
        deadline = time.monotonic() + within
        cut = self.directory / "cut.wav"
        heard = None
        while time.monotonic() < deadline:
            whole = self.recordings()[-1].read_bytes()
            start = max(since, len(whole) - 16_000)
            if len(whole) - start >= 16_000:
                start -= (start - 44) % 2
                cut.write_bytes(whole[:44] + whole[start:])
                heard = measure_tone(cut)
                if heard and heard.purity > 0.9 and abs(heard.frequency - frequency) <= 15.0:
                    return
            await asyncio.sleep(POLL_SECONDS)
        raise PeerError(f"{self.name} does not hear {frequency} Hz again but {heard}\n{self.tail()}")


_STUN = """
import socket, struct
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 3478))
print("ready", flush=True)
while True:
    data, (address, port) = server.recvfrom(600)
    if len(data) < 20 or data[:2] != b"\\0\\1":
        continue
    mapped = bytes(a ^ b for a, b in zip(socket.inet_aton(address), b"\\x21\\x12\\xa4\\x42"))
    value = b"\\0\\1" + struct.pack("!H", port ^ 0x2112) + mapped
    server.sendto(struct.pack("!HH", 0x0101, 12) + data[4:20] + struct.pack("!HH", 0x20, 8) + value, (address, port))
"""


@contextlib.contextmanager
def stun_server(host: Host) -> Iterator[str]:
    """A STUN server on ``host``; its address. It says what everybody may read in RFC 8489, and nothing else."""
    with subprocess.Popen(host.namespace.python("-c", _STUN), stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            yield host.address
        finally:
            process.terminate()
