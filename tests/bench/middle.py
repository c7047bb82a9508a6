"""Who may stand in the middle of a SIP↔SIP call: the gateway, Kamailio with rtpengine, Asterisk 16.

Each takes calls to ``9…`` on loopback and passes them, without the 9, to one far end, with the voice through itself.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType

from tests.bench.processes import tree, used
from tests.demo.processes import Control, Service
from tests.interop.kamailio import Kamailio, write_configuration
from tests.interop.openssl import certs
from tests.interop.program import PeerError, Program, find_program, free_port
from tests.interop.sipp import bound
from tests.outside.asterisk import Asterisk

SECRET = "apples"  # noqa: S105 - of the caller in these measurements
CALLER = "near"
RTPENGINE_PACKAGE = "rtpengine-daemon"
START_SECONDS = 10.0

_OURS = """schema = 1
[gateway]
run_dir = "{directory}"
[sip]
listen = [{listen}]
auth_algorithms = ["md5"]
{tls}
[media]
rtp_ports = [{ports}]
[[trunk]]
name = "far"
technology = "sip"
host = "127.0.0.1:{far}"
[[phone]]
name = "near"
{near}
context = "from-near"
call_limit = 0
calls_per_hour = 0
destinations_per_hour = 0
[[route]]
context = "from-near"
match = "_9."
to = ["sip:far/{{number:1}}"]
"""
_SIP_CONF = """\
[general]
bindaddr = 127.0.0.1
bindport = {port}
allowguest = no
alwaysauthreject = yes
[near]
type = NEAR
context = calls
disallow = all
allow = alaw
directmedia = no
[far]
type = peer
host = 127.0.0.1
port = FAR
disallow = all
allow = alaw
directmedia = no
"""


class Middle(ABC):
    """One of them, running. ``port`` is where it takes calls by UDP, ``tls_port`` by TLS where it does (0: nowhere)."""

    name: str

    def __init__(self, directory: Path, far_port: int, *, secret: bool = False, secure: bool = False) -> None:
        self.directory = directory
        self.far_port = far_port
        self.port = free_port()
        self.tls_port = 0
        self.secret = secret
        self.secure = secure
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Middle:
        await asyncio.to_thread(self.directory.mkdir, parents=True, exist_ok=True)
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @abstractmethod
    async def _start(self) -> None:
        """Start all that belongs to it, each into the stack."""

    @abstractmethod
    def cpu(self) -> Mapping[str, float]:
        """CPU seconds so far, by what spent them."""


class Ours(Middle):
    """The whole product without a span. With ``secure`` the caller comes by TLS and must have SRTP."""

    name = "gateway"

    def configuration(self) -> str:
        """The configuration file."""
        listen, tls, near = [f"udp:127.0.0.1:{self.port}"], "", ['host = "127.0.0.1"', 'insecure = ["port"]']
        if self.secret:
            near = [f'secret = "{SECRET}"']
        if self.secure:
            files = self.directory / "certs"
            listen.append(f"tls:127.0.0.1:{self.tls_port}")
            tls = f'tls_certificate = "{files}/gateway.crt"\ntls_key = "{files}/gateway.key"\ntls_verify_client = "no"'
            near += ['transport = "tls"', 'media_encryption = "required"']
        return _OURS.format(
            directory=self.directory,
            listen=", ".join(f'"{each}"' for each in listen),
            tls=tls,
            ports="20000, 24999",
            far=self.far_port,
            near="\n".join(near),
        )

    async def _start(self) -> None:
        if self.secure:
            self.tls_port = free_port()
            await certs("ca", self.directory / "certs", "--name", "Bench")
            await certs("box", self.directory / "certs", "gateway", "--ip", "127.0.0.1")
        file = self.directory / "gateway.toml"
        await asyncio.to_thread(file.write_text, self.configuration())
        words = ["-m", "gateway", "--start-engine", "--config", str(file)]
        self._service = await Service.start("gateway", words, self.directory / "gateway.log")
        self._stack.push_async_callback(self._service.stop)
        control = await Control.connect(self.directory / "status.sock", self._service)
        await control.close()

    @property
    def pid(self) -> int:
        """The Python process."""
        return self._service.pid

    def cpu(self) -> Mapping[str, float]:
        """Python and the engine apart."""
        python = used(self.pid).cpu
        return {"Python": python, "engine": tree(self.pid) - python}


class Rtpengine(Program):
    """A running rtpengine in user space, told what to do at UDP port ``port`` of loopback."""

    port: int

    @classmethod
    async def start(cls, directory: Path) -> Rtpengine:
        """It takes commands when this returns."""
        port = free_port()
        words: list[str | Path] = [find_program("rtpengine", RTPENGINE_PACKAGE), "--foreground", "--log-stderr"]
        words += ["--config-file=none", "--table=-1", "--interface=127.0.0.1", f"--listen-ng=127.0.0.1:{port}"]
        words += ["--port-min=25000", "--port-max=29998", "--log-level=3", f"--pidfile={directory / 'rtpengine.pid'}"]
        relay = cls("rtpengine", await cls.spawn(words, cwd=directory))
        relay.port = port
        deadline = time.monotonic() + START_SECONDS
        while not bound(port, "udp"):
            if relay.process.returncode is not None or time.monotonic() > deadline:
                await relay.stop()
                raise PeerError(f"rtpengine does not listen (exit {relay.process.returncode})\n{relay.tail()}")
            await asyncio.sleep(0.02)
        return relay


class Proxy(Middle):
    """Kamailio, which passes the signalling, and rtpengine, which passes the voice."""

    name = "Kamailio + rtpengine"
    voice = True

    async def _start(self) -> None:
        if self.voice:
            self._relay = await Rtpengine.start(self.directory)
            self._stack.push_async_callback(self._relay.stop)
        self._proxy = await Kamailio.start(self.directory, {}, port=self.port, transports=("udp",), write=self.write)
        self._stack.push_async_callback(self._proxy.stop)

    def write(self, directory: Path, port: int) -> Path:
        """Make its configuration file."""
        path = write_configuration(directory, port, {}, ("udp",))
        offered, answered = ("RTP/AVP", "RTP/SAVP") if self.secure else ("", "")
        load = (
            f'loadmodule "rtpengine.so"\nmodparam("rtpengine", "rtpengine_sock", "udp:127.0.0.1:{self._relay.port}")\n'
        )
        asks = ""
        if self.secret:
            load += 'loadmodule "auth.so"\n'
            asks = f"""
    if (is_method("INVITE") && !has_totag()) {{
        if (!pv_www_authenticate("bench", "{SECRET}", "0")) {{
            www_challenge("bench", "1");
            exit;
        }}
        consume_credentials();
    }}
"""
        there = f"""{asks}
    if (is_method("INVITE") && $rU =~ "^9") {{
        strip(1);
        $du = "sip:127.0.0.1:{self.far_port}";
        rtpengine_manage("replace-origin trust-address {offered}");
        t_on_reply("ANSWER");
        t_relay();
        exit;
    }}
    sl_send_reply("404", "Unknown Prefix");
}}
onreply_route[ANSWER] {{
    if (has_body("application/sdp")) {{
        rtpengine_manage("replace-origin trust-address {answered}");
    }}
}}
"""
        text = path.read_text()
        mark = 'modparam("rr", "append_fromtag", 1)'
        text = text.replace(mark, load + mark)
        text = text.replace("        if (loose_route()) {\n", "        if (loose_route()) {\n            END_OF_CALL\n")
        text = text.replace("END_OF_CALL", 'if (is_method("BYE")) { rtpengine_delete(); }')
        path.write_text(text.replace('    sl_send_reply("404", "Unknown Prefix");\n}\n', there))
        return path

    def cpu(self) -> Mapping[str, float]:
        """Kamailio with all its processes, and rtpengine."""
        spent = {"Kamailio": tree(self._proxy.process.pid)}
        if self.voice:
            spent["rtpengine"] = tree(self._relay.process.pid)
        return spent


class ByAsterisk(Middle):
    """Asterisk 16 with chan_sip, its media settings as they come."""

    name = "Asterisk 16"

    def files(self) -> Mapping[str, str]:
        """Its configuration files."""
        near = "peer\nhost = 127.0.0.1\ninsecure = port,invite"
        if self.secret:
            near = f"friend\nhost = dynamic\nsecret = {SECRET}"
        if self.secure:
            near += "\nencryption = yes"
        return {
            "sip.conf": _SIP_CONF.replace("NEAR", near, 1).replace("FAR", str(self.far_port)),
            "extensions.conf": "[calls]\nexten => _9.,1,Dial(SIP/${EXTEN:1}@far)\n",
            "logger.conf": "[general]\n[logfiles]\nfull => warning,error\n",
        }

    async def _start(self) -> None:
        self._asterisk = Asterisk(self.files(), port=self.port)
        await self._stack.enter_async_context(self._asterisk)

    def cpu(self) -> Mapping[str, float]:
        """All of it."""
        return {"Asterisk 16": tree(self._asterisk.pid)}


MIDDLES: tuple[type[Middle], ...] = (Ours, Proxy, ByAsterisk)
