"""The scene of the demonstration: exchange, gateway with its media engine, and a SIP phone, all on loopback.

The phone registers with a password, over TLS, and has its voice encrypted; certificates and password are of one run.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.provision.certificates import KeyKind, make_box, make_ca
from tests.demo import private_bus
from tests.demo.processes import Control, DemoError, Service
from tests.interop.baresip import Baresip
from tests.interop.program import free_port

DID = "4165550101"
PHONE = "101"
SOFTPHONE = "102"
SOFTPHONE_DID = "4165550102"
UP_SECONDS = 20.0

_CONFIGURATION = """\
# Written by `make run`; see docs/configuration.md for what can stand here.
schema = 1

[gateway]
name = "demo"
country = "us"
run_dir = "{run_dir}"
bus = "{bus}"

[sip]
listen = ["udp:127.0.0.1:{sip_port}", "tcp:127.0.0.1:{sip_port}", "tls:127.0.0.1:{tls_port}"]
tls_certificate = "gateway.crt"     # as `gateway-certs` makes them
tls_key = "gateway.key"
tls_ca = "ca.crt"
context = "internal"                # any softphone on this machine may dial; never do this on a real network

[[span]]
name = "pstn"
channels = "virtual:{span}"
line = "e1"
side = "user"
switch_type = "euroisdn"
group = "g0"
context = "from-pstn"

[[phone]]
name = "{phone}"                        # it registers, and nothing of it can be read on its way
secret = {{ file = "phone.secret" }}
transport = "tls"
media_encryption = "required"
context = "internal"

[[phone]]
name = "{softphone}"                # your own softphone, if it listens on this port
host = "127.0.0.1:{softphone_port}"
context = "internal"

[[route]]                           # the telephone company's numbers
context = "from-pstn"
match = "{did}"
to = ["sip:{phone}"]

[[route]]
context = "from-pstn"
match = "{softphone_did}"
to = ["sip:{softphone}"]

[[route]]                           # what phones may dial
context = "internal"
match = "_9."
to = ["pri:g0/{{number:1}}"]

[[route]]                           # help is called as people call it, without the 9
context = "internal"
match = "911"
to = ["pri:g0/911"]

[[route]]
context = "internal"
match = "_10X"
to = ["sip:{phone}"]

[[route]]
context = "internal"
match = "{softphone}"
to = ["sip:{softphone}"]

[[route]]
context = "internal"
match = "600"
to = ["echo"]

[[route]]
context = "internal"
match = "601"
to = ["milliwatt"]
"""


def _port(preferred: int) -> int:
    """``preferred`` if it is free on loopback, UDP and TCP, else any."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", preferred))
            except OSError:
                return free_port()
    return preferred


def _credentials(directory: Path) -> str:
    """Write certificates for gateway and phone, good for a day, and the phone's password, which it returns."""
    now = datetime.datetime.now(datetime.UTC)
    ca = make_ca("Demonstration", KeyKind.EC, now, 1)
    own, phone = (make_box(ca, name, ["localhost"], ["127.0.0.1"], KeyKind.EC, now, 1) for name in ("gateway", "phone"))
    secret = secrets.token_urlsafe(12)
    for name, data in (
        ("ca.crt", ca.certificate_pem),
        ("gateway.crt", own.certificate_pem),
        ("gateway.key", own.key_pem),
        ("phone.pem", phone.key_pem + phone.certificate_pem),
        ("phone.secret", secret.encode() + b"\n"),
    ):
        path = directory / name
        path.touch(mode=0o600)
        path.write_bytes(data)
    return secret


def _arguments(words: str, *rest: str | Path) -> list[str]:
    return [*words.split(), *map(str, rest)]


async def _listens(gateway: Service) -> None:
    """Wait until the gateway takes registrations: baresip would be long in trying again."""
    deadline = asyncio.get_running_loop().time() + UP_SECONDS
    while " is up: " not in gateway.tail():
        if not gateway.alive or asyncio.get_running_loop().time() > deadline:
            raise DemoError(f"the gateway did not start\n{gateway.tail()}")
        await asyncio.sleep(0.05)


@dataclass(slots=True)
class Scene:
    """Everything that runs, with its control connections."""

    directory: Path
    sip_port: int
    tls_port: int
    softphone_port: int
    services: list[Service]
    exchange: Control
    gateway: Control
    phone: Baresip

    @classmethod
    async def start(cls, directory: Path, *, seconds: int) -> Scene:
        """Start it all and wait until the line is up; nothing is left running if that fails."""
        sip_port, tls_port, softphone_port = _port(5060), _port(5061), _port(5066)
        secret = _credentials(directory)
        span = directory / "pstn"
        (directory / "gateway.toml").write_text(
            _CONFIGURATION.format(
                run_dir=directory,
                bus=private_bus.address_of(directory),
                span=span,
                sip_port=sip_port,
                tls_port=tls_port,
                phone=PHONE,
                softphone=SOFTPHONE,
                softphone_port=softphone_port,
                did=DID,
                softphone_did=SOFTPHONE_DID,
            )
        )
        services: list[Service] = []
        opened: list[Control | Baresip] = []
        try:
            services.append(await private_bus.start(directory))
            exchange_service = await Service.start(
                "exchange",
                _arguments(
                    "-m gateway.pri.exchange --no-input --country us --span",
                    span,
                    "--control",
                    directory / "exchange.sock",
                ),
                directory / "exchange.log",
            )
            services.append(exchange_service)
            gateway_service = await Service.start(
                "gateway",
                _arguments(
                    "-m gateway --start-engine --config",
                    directory / "gateway.toml",
                    "--store",
                    directory / "config",
                    "--trace",
                    directory / "trace.jsonl",
                ),
                directory / "gateway.log",
            )
            services.append(gateway_service)
            exchange = await Control.connect(directory / "exchange.sock", exchange_service)
            opened.append(exchange)
            gateway = await Control.connect(directory / "status.sock", gateway_service)
            opened.append(gateway)
            await _listens(gateway_service)
            phone = await Baresip.start(
                directory / "phone",
                user=PHONE,
                seconds=seconds,
                trace=False,
                transport="tls",
                registrar=f"127.0.0.1:{tls_port}",
                secret=secret,
                account=";mediaenc=srtp-mand",
                extra=f"module srtp.so\nsip_certificate {directory}/phone.pem\nsip_cafile {directory}/ca.crt",
            )
            opened.append(phone)
            scene = cls(directory, sip_port, tls_port, softphone_port, services, exchange, gateway, phone)
            await scene._line_up()
        except BaseException:
            for one in opened:
                await (one.stop() if isinstance(one, Baresip) else one.close())
            for service in services:
                await service.stop()
            raise
        return scene

    async def _line_up(self) -> None:
        deadline = asyncio.get_running_loop().time() + UP_SECONDS
        while True:
            status = await self.gateway.command("status")
            far = await self.exchange.command("status")
            # Both ends restart the channels when the link comes up: until that is over there is none for a call.
            ends = status["spans"]["pstn"], far["spans"]["pstn"]
            restarted = set(ends[0]["channels"]) == {"idle"} and set(ends[1]["channels"].values()) == {"idle"}
            registered = PHONE in status["registered"]
            if status["engine"]["up"] and all(end["data_link"] for end in ends) and restarted and registered:
                return
            if asyncio.get_running_loop().time() > deadline:
                what = f"the line did not come up: {status['spans']}" if registered else "the phone did not register"
                raise DemoError(f"{what}\n{self.services[-1].tail()}")
            await asyncio.sleep(0.05)

    async def registration(self) -> str:
        """Where the phone is registered from, and for how long."""
        found = (await self.gateway.command("status"))["registered"][PHONE][0]
        return f"{found['address']}, for {found['seconds_left']} s"

    def check_alive(self) -> None:
        """DemoError if one of the programs has ended."""
        for service in self.services:
            if not service.alive:
                raise DemoError(f"{service.name} has ended\n{service.tail()}")
        if self.phone.process.returncode is not None:
            raise DemoError(f"{self.phone.name} has ended\n{self.phone.tail()}")

    def trace(self) -> list[dict[str, Any]]:
        """What the gateway has traced so far."""
        text = (self.directory / "trace.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def records(self) -> list[dict[str, Any]]:
        """The call records so far."""
        path = self.directory / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    async def record_after(self, count: int) -> dict[str, Any]:
        """The record that follows the first ``count``, as soon as it is written."""
        deadline = asyncio.get_running_loop().time() + 10
        while len(self.records()) <= count:
            if asyncio.get_running_loop().time() > deadline:
                raise DemoError("the gateway wrote no record of the call")
            await asyncio.sleep(0.05)
        return self.records()[count]

    async def stop(self) -> None:
        """End everything that was started."""
        await self.phone.stop()
        await self.exchange.close()
        await self.gateway.close()
        for service in reversed(self.services):
            await service.stop()
