"""A SIP phone that nobody here wrote: baresip without a sound card, on loopback, driven over its ctrl_tcp module.

It plays a tone of our choice and records what it hears. Works with baresip 1.0 (Debian 12) and newer; needs the
modules account, menu, ctrl_tcp, g711, aufile, aubridge and sndfile, which Debian and Ubuntu ship in baresip-core.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.interop.program import PATIENCE, PeerError, Program, find_program, free_port, worker
from tests.interop.tone import HeardTone, measure_tone, write_tone

PACKAGE = "baresip-core"
MODULE_PATHS = (
    "/usr/lib/baresip/modules",
    "/usr/lib/x86_64-linux-gnu/baresip/modules",
    "/usr/local/lib/baresip/modules",
)
MODULES = ("g711", "aufile", "aubridge", "sndfile")
APPLICATIONS = ("account", "menu", "ctrl_tcp")
TONE_SECONDS = 300.0
NETSTRING_MAXIMUM = 1 << 20
PORT_TRIES = 4
RTP_PORTS = 40
"""Of one telephone."""
_SERIAL = itertools.count()
POLL_SECONDS = 0.2
BEGUN = frozenset({"CALL_INCOMING", "CALL_OUTGOING", "CALL_RINGING", "CALL_PROGRESS", "CALL_ESTABLISHED"})
OF_A_CALL = frozenset({"hangup", "hold", "resume"})

Event = dict[str, Any]


def module_path() -> Path:
    """Where baresip's modules are; PeerError names the Debian package."""
    for path in MODULE_PATHS:
        if Path(path, "ctrl_tcp.so").exists():
            return Path(path)
    raise PeerError(f"baresip's modules (ctrl_tcp.so) are not installed: apt-get install {PACKAGE}")


def write_configuration(
    directory: Path,
    *,
    user: str,
    sip_port: int,
    control_port: int,
    rtp_ports: tuple[int, int],
    tone: float = 800.0,
    level: float = -10.0,
    answer: str = "auto",
    codecs: str = "PCMA,PCMU",
    transport: str = "udp",
    account: str = "",
    extra: str = "",
    registrar: str = "",
    secret: str = "",
    regint: int = 60,
    address: str = "127.0.0.1",
) -> None:
    """Write baresip's ``config`` and ``accounts`` into ``directory``, which afterwards holds all its files.

    ``answer`` is auto, manual or early; ``account`` and ``extra`` are appended to the account and the configuration.
    ``registrar`` (host and port) is where it registers with ``secret``, every ``regint`` seconds (0: does not).
    ``address`` is its own.
    """
    directory.mkdir(parents=True, exist_ok=True)
    write_tone(directory / "tone.wav", tone, seconds=TONE_SECONDS, level=level)
    (directory / "config").write_text(
        "\n".join(
            [
                f"net_interface {address}",
                f"sip_listen {address}:{sip_port}",
                f"sip_trans_def {transport}",
                "call_local_timeout 60",
                "call_max_calls 8",
                # It runs in its directory: a value of its configuration ends at the first space.
                "audio_path .",
                "audio_source aufile,tone.wav",
                "audio_player aubridge,player",
                "audio_alert aubridge,alert",
                "audio_level no",
                "audio_telev_pt 101",
                "rtp_tos 184",
                f"rtp_ports {rtp_ports[0]}-{rtp_ports[1]}",
                "rtcp_mux no",
                # None: that of baresip 1.0 stays deaf if its first packets are followed by another stream's.
                "jitter_buffer_type off",
                "jitter_buffer_delay 0-0",
                "audio_jitter_buffer_type off",
                "snd_path .",
                f"ctrl_tcp_listen 127.0.0.1:{control_port}",
                f"module_path {module_path()}",
                *(f"module {name}.so" for name in MODULES),
                *(f"module_app {name}.so" for name in APPLICATIONS),
                extra,
                "",
            ]
        )
    )
    if registrar:
        at, terms = registrar, f"regint={regint};auth_pass={secret}"
    else:
        at, terms = f"{address}:{sip_port}", "regint=0"
    (directory / "accounts").write_text(
        f"<sip:{user}@{at};transport={transport}>;{terms};answermode={answer};audio_codecs={codecs};ptime=20{account}\n"
    )
    (directory / "contacts").write_text("")


def _own_rtp_ports() -> tuple[int, int]:
    """A range that no other telephone of these tests has now: baresip shares a port with whoever else wants it
    (SO_REUSEADDR), and then one hears what is meant for the other.
    """
    first = 10_000 + worker() * 1000 + next(_SERIAL) % (1000 // RTP_PORTS) * RTP_PORTS
    return first, first + RTP_PORTS - 2


class Baresip(Program):
    """A running phone. Events are handed out once each, by type; ``sip_port`` and ``uri`` say where it is."""

    def __init__(self, name: str, process: Any, directory: Path, sip_port: int, user: str) -> None:
        self.directory = directory
        self.sip_port = sip_port
        self.uri = f"sip:{user}@127.0.0.1:{sip_port}"
        self.pending: list[Event] = []
        self._replies: dict[str, asyncio.Future[Event]] = {}
        self._tokens = 0
        self._call = ""
        self._writer: asyncio.StreamWriter | None = None
        self._control: asyncio.Task[None] | None = None
        super().__init__(name, process)

    @classmethod
    async def start(cls, directory: Path, *, sip_port: int | None = None, **arguments: Any) -> Baresip:
        """Start the phone in ``directory`` and connect to its control port; see ``_begin``.

        It takes the port after ``sip_port`` for TLS too. Where the port is ours to choose, one that somebody else took
        in the meantime is left for another.
        """
        for _ in range(PORT_TRIES - 1):
            try:
                return await cls._begin(directory, sip_port=sip_port, **arguments)
            except PeerError as error:
                if sip_port is not None or "Address already in use" not in str(error):
                    raise
        return await cls._begin(directory, sip_port=sip_port, **arguments)

    @classmethod
    async def _begin(
        cls,
        directory: Path,
        *,
        user: str = "phone",
        sip_port: int | None = None,
        control_port: int | None = None,
        rtp_ports: tuple[int, int] | None = None,
        seconds: int = 200,
        trace: bool = True,
        **configuration: Any,
    ) -> Baresip:
        """The phone ends by itself after ``seconds``."""
        program = find_program("baresip", PACKAGE)
        sip_port = sip_port or free_port()
        control_port = control_port or free_port()
        if rtp_ports is None:
            rtp_ports = _own_rtp_ports()
        write_configuration(
            directory, user=user, sip_port=sip_port, control_port=control_port, rtp_ports=rtp_ports, **configuration
        )
        arguments: list[str | Path] = [program, "-4", "-f", ".", "-t", str(seconds)]
        process = await cls.spawn([*arguments, "-s"] if trace else arguments, cwd=directory)
        phone = cls(f"baresip {user}", process, directory, sip_port, user)
        try:
            await phone._connect(control_port)
        except BaseException:
            await phone.stop()
            raise
        return phone

    async def __aenter__(self) -> Baresip:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _connect(self, port: int) -> None:
        ready = (f"127.0.0.1:{port}", "baresip is ready")
        await self.until(
            lambda: any(word in line for line in self.lines for word in ready), "its control port", PATIENCE
        )
        reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        self._control = asyncio.create_task(self._read_control(reader))

    async def _read_control(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length = int((await reader.readuntil(b":"))[:-1])
                if length > NETSTRING_MAXIMUM:
                    raise PeerError(f"{self.name}: a netstring of {length} bytes")
                message = json.loads((await reader.readexactly(length + 1))[:-1])
                if message.get("event"):
                    self.pending.append(message)
                    if message.get("type") in BEGUN:
                        self._call = message.get("id") or self._call
                elif (waiting := self._replies.pop(message.get("token", ""), None)) is not None:
                    waiting.set_result(message)
                self._changed.set()

    async def command(self, command: str, parameters: str = "", *, within: float = PATIENCE) -> str:
        """Run one of baresip's long commands; its output. PeerError if baresip says it failed."""
        assert self._writer is not None
        self._tokens += 1
        token = str(self._tokens)
        reply = self._replies[token] = asyncio.get_running_loop().create_future()
        asked = {"command": command, "token": token} | ({"params": parameters} if parameters else {})
        # From 1.1 on "" is a parameter too: a call of no name, say.
        text = json.dumps(asked).encode()
        self._writer.write(b"%d:%b," % (len(text), text))
        try:
            answer = await asyncio.wait_for(reply, within)
        except TimeoutError:
            raise PeerError(f"{self.name}: no reply to {command} within {within} s\n{self.tail()}") from None
        if not answer.get("ok") and command in OF_A_CALL and not parameters and self._call:
            # 1.1 loses its current call now and then, and takes it by its name only; 1.0 knows no names.
            return await self.command(command, self._call, within=within)
        if not answer.get("ok"):
            raise PeerError(f"{self.name}: {command} {parameters} failed: {answer.get('data')}\n{self.tail()}")
        return str(answer.get("data") or "")

    async def event(self, kind: str, *, within: float = PATIENCE, **fields: object) -> Event:
        """The oldest event of that ``kind`` (CALL_INCOMING, CALL_ESTABLISHED, …) that nobody took yet."""
        found: list[Event] = []

        def taken() -> bool:
            for index, event in enumerate(self.pending):
                if event.get("type") == kind and all(event.get(key) == value for key, value in fields.items()):
                    found.append(self.pending.pop(index))
                    return True
            return False

        await self.until(taken, f"event {kind} {fields or ''} among {[e.get('type') for e in self.pending]}", within)
        return found[0]

    async def dial(self, uri: str) -> str:
        """Call ``uri``; baresip's words. What was recorded before is no longer looked at."""
        for path in self.recordings():
            # They are named by the second: another call in the same one would write over it.
            path.rename(path.with_name(f"earlier-{next(_SERIAL)}-{path.name}"))
        return await self.command("dial", uri)

    async def accept(self) -> str:
        """Answer the call that rings."""
        return await self.command("accept")

    async def hang_up(self) -> str:
        """End or reject the current call."""
        return await self.command("hangup")

    async def digit(self, digit: str) -> str:
        """Press one DTMF key in the current call."""
        return await self.command("sndcode", digit)

    def recordings(self) -> list[Path]:
        """What it heard since it dialled last, one file a call, oldest first."""
        return sorted(self.directory.glob("dump-*-dec.wav"), key=lambda path: path.stat().st_mtime_ns)

    def heard(self) -> HeardTone:
        """The tone in the latest recording; PeerError if there is none."""
        recordings = self.recordings()
        if not recordings:
            raise PeerError(f"{self.name} recorded nothing\n{self.tail()}")
        return measure_tone(recordings[-1])

    async def hears(
        self, frequency: float, *, within: float = PATIENCE, tolerance: float = 15.0, last: float = 0.0
    ) -> HeardTone:
        """Wait until at least half a second of a clean tone of ``frequency`` is in the latest recording.

        ``last``: it has to be in that many of its last seconds.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        while True:
            heard = measure_tone(self.recordings()[-1], last) if self.recordings() else None
            if heard and heard.purity > 0.9 and abs(heard.frequency - frequency) <= tolerance:
                return heard
            if loop.time() > deadline:
                raise PeerError(f"{self.name} does not hear {frequency} Hz but {heard}\n{self.tail()}")
            await asyncio.sleep(POLL_SECONDS)

    async def stop(self) -> None:
        """Close the control connection and end the phone."""
        if self._control is not None and self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
            self._control.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._control
        await super().stop()
