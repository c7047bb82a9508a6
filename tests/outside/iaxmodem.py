"""iaxmodem, which is libiax2 of 2007 with a fax modem on it: a peer that registers, calls and is called over IAX2.

Its pseudo terminal takes AT commands (ITU-T V.250, Class 1 of T.31). What it hears and sends is modulation: a frame of
HDLC by V.21 that arrives intact is voice that arrived intact.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import grp
import os
import shutil
import tempfile
import tty
from pathlib import Path

from tests.interop.program import PATIENCE, PeerError, Program, find_program, free_port

PACKAGE = "iaxmodem"
CONFIGURATIONS = Path("/etc/iaxmodem")
"""Where it looks for the file that its argument names."""
_CONFIGURATION = """\
device {device}
owner {owner}:{group}
mode 600
port {port}
refresh {refresh}
server 127.0.0.1:{server}
peername {name}
secret {secret}
cidname {cidname}
cidnumber {cidnumber}
codec {codec}
nodaemon
"""
DLE, ETX = 0x10, 0x03
FRAME = b"\xff\x13\x80" + bytes(range(0x20, 0x30))
"""Of T.30: address, control, a facsimile control field, and what nobody minds."""
TRIES = 6
CARRIER_SECONDS = 8.0
RESULTS = ("OK", "CONNECT", "ERROR", "NO CARRIER", "NO ANSWER", "BUSY", "NO DIALTONE", "+FCERROR")


class IaxModem(Program):
    """One running modem, with its own UDP ``port``. What it wrote to the terminal is ``said``."""

    port: int
    said: bytes = b""
    _at = 0
    _terminal = -1
    _directory: Path
    _more: asyncio.Event

    @classmethod
    async def start(
        cls,
        name: str,
        server: int,
        *,
        secret: str = "apples",  # noqa: S107 - of a test
        codec: str = "alaw",
        refresh: int = 60,
        cidname: str = "Fax Modem",
        cidnumber: str = "4165552222",
    ) -> IaxModem:
        """A modem that registers as ``name`` at port ``server`` of loopback (``refresh`` 0: does not register)."""
        program = find_program("iaxmodem", PACKAGE)
        # Longer names of a terminal it cuts short.
        directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="modem-"))
        port, device, file = free_port(), directory / "tty", directory / "modem"
        owner = getpass.getuser()
        text = _CONFIGURATION.format(
            device=device,
            owner=owner,
            group=grp.getgrgid(os.getegid()).gr_name,
            port=port,
            refresh=refresh,
            server=server,
            name=name,
            secret=secret,
            cidname=cidname,
            cidnumber=cidnumber,
            codec=codec,
        )
        await asyncio.to_thread(file.write_text, text)
        named = os.path.relpath(file.resolve(), CONFIGURATIONS)  # noqa: ASYNC240 - touches no disk
        modem = cls(f"iaxmodem {name}", await cls.spawn([program, named]))
        modem.port, modem._directory, modem._more = port, directory, asyncio.Event()
        try:
            deadline = asyncio.get_running_loop().time() + PATIENCE
            while not device.exists():
                if modem.process.returncode is not None or asyncio.get_running_loop().time() > deadline:
                    raise PeerError(f"iaxmodem made no terminal\n{modem.tail()}")
                await asyncio.sleep(0.02)
            modem._open(device)
            await modem.command("ATE0")
            await modem.command("AT+FCLASS=1")
        except BaseException:
            await modem.stop()
            raise
        return modem

    def _open(self, device: Path) -> None:
        self._terminal = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self._terminal)
        asyncio.get_running_loop().add_reader(self._terminal, self._read_terminal)

    def _read_terminal(self) -> None:
        try:
            data = os.read(self._terminal, 4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._terminal)
        self.said += data
        self._more.set()

    async def __aenter__(self) -> IaxModem:
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End it; it waits for who has its terminal open."""
        if self._terminal >= 0:
            asyncio.get_running_loop().remove_reader(self._terminal)
            os.close(self._terminal)
            self._terminal = -1
        await super().stop()
        await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)

    # -- its terminal --

    async def until_said(self, *words: str, within: float = PATIENCE) -> str:
        """Wait for one of ``words`` after all that was waited for; it."""
        deadline = asyncio.get_running_loop().time() + within
        while True:
            found = [(self.said.find(word.encode(), self._at), word) for word in words]
            there = [(at, word) for at, word in found if at >= 0]
            if there:
                at, word = min(there)
                self._at = at + len(word)
                return word
            self._more.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._more.wait(), max(deadline - asyncio.get_running_loop().time(), 0.001))
            if asyncio.get_running_loop().time() > deadline:
                raise PeerError(f"{self.name}: none of {words} within {within:.0f} s: {self.said!r}\n{self.tail()}")

    def skip(self) -> None:
        """Do not wait for what was said so far."""
        self._at = len(self.said)

    def type(self, text: str) -> None:
        """Write a command line."""
        os.write(self._terminal, text.encode() + b"\r")

    async def command(self, text: str, result: str = "OK", within: float = PATIENCE) -> None:
        """Write a command line and wait for its result; PeerError if it is another."""
        self.skip()
        self.type(text)
        got = await self.until_said(*(f"{each}\r\n" for each in RESULTS), within=within)
        if got.strip() != result:
            raise PeerError(f"{self.name}: {text}: {got.strip()}, expected {result}: {self.said!r}\n{self.tail()}")

    async def send_frame(self, frame: bytes) -> None:
        """Send one frame of HDLC (its check sequence is added); the modem must have said CONNECT."""
        os.write(self._terminal, frame.replace(bytes((DLE,)), bytes((DLE, DLE))) + bytes((DLE, ETX)))
        await self.until_said("OK\r\n")

    async def frame(self) -> bytes | None:
        """The frame that comes after CONNECT, without its check sequence; None if that was not right."""
        begin = self._at
        await self.until_said("\x10\x03")
        end = self._at - 2
        if await self.until_said("OK\r\n", "ERROR\r\n", "NO CARRIER\r\n") != "OK\r\n":
            return None
        data = self.said[begin:end].lstrip(b"\r\n").replace(bytes((DLE, DLE)), bytes((DLE,)))
        return data[:-2]

    async def until_logged(self, text: str, within: float = PATIENCE) -> None:
        """Wait for a line of its log."""
        await self.until(lambda: any(text in line for line in (*self.lines, *self.errors)), text, within)


async def carried(sender: IaxModem, receiver: IaxModem, *, connected: bool = False) -> None:
    """Let a frame get from one modem to the other, PeerError if it does not in TRIES.

    ``connected``: they are about to send and to hear, as they are at the beginning of a call. On a busy machine a modem
    that has to wait for a processor spoils what it sends or hears.
    """
    for _ in range(TRIES):
        if not connected:
            await sender.command("AT+FTH=3", "CONNECT")
            receiver.skip()
            receiver.type("AT+FRH=3")
        connected = False
        if await _heard(sender, receiver):
            return
    raise PeerError(f"no frame arrived whole: {receiver.said!r}\n{receiver.tail()}")


async def _heard(sender: IaxModem, receiver: IaxModem) -> bool:
    hearing = asyncio.create_task(receiver.until_said("CONNECT\r\n", within=CARRIER_SECONDS))
    await sender.send_frame(FRAME)
    try:
        await hearing
    except PeerError:
        # Any character ends its listening.
        await receiver.command("")
        return False
    return await receiver.frame() == FRAME


async def frames_both_ways(caller: IaxModem, called: IaxModem, number: str) -> None:
    """A call from one modem to the other, a frame of HDLC each way, and its end."""
    caller.skip()
    caller.type(f"ATDT{number}")
    await called.until_said("RING")
    called.type("ATA")
    await called.until_said("CONNECT\r\n")
    await carried(called, caller, connected=True)
    await carried(caller, called)
    await caller.command("ATH")
