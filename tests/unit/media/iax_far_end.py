"""The far end of IAX2 voice on loopback: mini frames and trunk frames by hand, for tests of the real engine."""

from __future__ import annotations

import contextlib
import socket
import time
from struct import pack, unpack_from

from gateway.media.api import Codec, IaxVoiceSettings, Law, Opened
from tests.interop.program import PATIENCE
from tests.unit.media.engine_harness import FRAME, Harness, TdmFarEnd, strength

OUR_CALL = 7
THEIR_CALL = 99


class IaxPeer:
    """A socket that sends what it is told and keeps what it gets, with its time of arrival."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.socket.setblocking(False)
        self.address = address
        self.port: int = self.socket.getsockname()[1]
        self.to: tuple[str, int] = (address, 0)
        self.received: list[tuple[float, bytes]] = []
        self.stamp = 20

    def send(self, data: bytes) -> None:
        self.socket.sendto(data, self.to)

    def send_mini(self, payload: bytes, call: int = THEIR_CALL) -> None:
        self.send(pack("!HH", call, self.stamp & 0xFFFF) + payload)
        self.stamp += 20

    def take(self) -> list[tuple[float, bytes]]:
        """Everything that has come."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.received.append((time.monotonic(), self.socket.recv(65536)))
        return self.received

    def minis(self, call: int = OUR_CALL) -> list[tuple[int, bytes]]:
        """(stamp, payload) of the mini frames of ``call``."""
        self.take()
        found = []
        for _, data in self.received:
            number, stamp = unpack_from("!HH", data)
            if number == call:
                found.append((stamp, data[4:]))
        return found

    def entries(self) -> list[tuple[int, int, int, bytes]]:
        """(trunk stamp, call, own stamp or -1, payload) of all entries of trunk frames."""
        self.take()
        found = []
        for _, data in self.received:
            zeros, command, stamps, at = unpack_from("!HBBI", data)
            if zeros or command != 1:
                continue
            left = data[8:]
            while left:
                if stamps:
                    size, call, stamp = unpack_from("!HHH", left)
                    left = left[6:]
                else:
                    call, size = unpack_from("!HH", left)
                    stamp, left = -1, left[4:]
                found.append((at, call, stamp, left[:size]))
                left = left[size:]
        return found

    def entries_of(self, number: int) -> list[tuple[int, int, bytes]]:
        """(trunk stamp, own stamp or -1, payload) of the entries of one call."""
        return [(at, stamp, payload) for at, call, stamp, payload in self.entries() if call == number]

    def audio(self) -> bytes:
        """The voice of all mini frames."""
        return b"".join(payload for _, payload in self.minis())

    def close(self) -> None:
        self.socket.close()


class IaxScene:
    """One socket of the engine, one far end, and calls between them and TDM lines."""

    def __init__(
        self, harness: Harness, local: str = "127.0.0.1", far: str = "127.0.0.1", beside: IaxScene | None = None
    ) -> None:
        self.harness = harness
        self.peer = IaxPeer(far)
        self.epoch = harness.now()
        self.socket: int
        self.port: int
        if beside is not None:
            self.socket, self.port = beside.socket, beside.port
            self.peer.to = (far, self.port)
            return
        self.socket = harness.client.open_iax_socket(local, 0, "iax", harness.on_opened)
        assert harness.run(PATIENCE, lambda: self.socket in harness.opened)
        opened = harness.opened[self.socket]
        assert isinstance(opened, Opened)
        self.port = opened.port
        self.peer.to = (far, opened.port)

    def close(self) -> None:
        """The far end is gone."""
        self.peer.close()

    def settings(self, source_call: int = OUR_CALL, far_call: int = THEIR_CALL, **changes: object) -> IaxVoiceSettings:
        values: dict[str, object] = {
            "address": self.peer.address,
            "port": self.peer.port,
            "source_call": source_call,
            "far_call": far_call,
            "codec": Codec.ULAW,
            "epoch": self.epoch,
        }
        return IaxVoiceSettings(**{**values, **changes})  # type: ignore[arg-type]

    def call(self, settings: IaxVoiceSettings | None = None) -> tuple[int, int, TdmFarEnd]:
        """(IAX stream, TDM stream, line), wired and set."""
        harness = self.harness
        line = TdmFarEnd(harness.directory / f"line{len(harness.lines)}")
        harness.lines.append(line)
        iax = harness.client.open_iax(self.socket, "iax", harness.on_opened)
        tdm = harness.client.open_tdm(line.path, Law.ULAW, "pri", harness.on_opened)
        harness.client.connect(iax, tdm)
        harness.client.set_iax(iax, settings or self.settings())
        assert harness.run(PATIENCE, lambda: {iax, tdm} <= set(harness.opened) and line.connection is not None)
        return iax, tdm, line

    def clean_at_peer(self, hertz: float, frames: int = 20) -> bool:
        """Whether ``frames`` in a row of a clean tone come to the far end as mini frames within three seconds."""

        def clean() -> bool:
            audio = self.peer.audio()[-FRAME * frames :]
            return len(audio) == FRAME * frames and strength(audio, hertz) > 0.98

        return self.harness.run(PATIENCE, clean)
