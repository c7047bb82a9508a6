"""Our data link (Q.921) alone against libpri's, over a real virtual span: bring-up, keeping alive, loss, restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import pytest

from gateway.core import MILLISECOND, SECOND
from gateway.pri.channels import Line
from gateway.pri.lapd import Data, Established, Lapd, LapdTimer, MdlError, Output, Released, Side, Transmit
from gateway.pri.span.layer1 import CountersRead, Layer1Timer, LineChanged
from gateway.pri.span.virtual import VirtualSpan, VirtualSpanServer
from tests.interop.core_driver import CoreDriver
from tests.interop.libpri import LibpriPeer
from tests.interop.program import PATIENCE, PeerError
from tests.interop.scenario import scenario
from tests.interop.wire_check import lapd_problems

Kind = TypeVar("Kind", bound=Output)

STATUS_ENQUIRY = bytes.fromhex("0802000175")
"""For a call that does not exist: libpri answers with STATUS (or RELEASE COMPLETE), Q.931 5.8.3.2."""


class OurLink:
    """A Lapd at one end of a virtual span; ``listen`` as the exchange does, else connecting as the gateway does."""

    def __init__(self, directory: Path, side: Side, *, listen: bool, timers: dict[LapdTimer, int]) -> None:
        self.lapd = Lapd(side, timers=timers)
        self.outputs: list[Output] = []
        self.sent: list[bytes] = []
        self._taken = 0
        self._changed = asyncio.Event()
        self._driver = CoreDriver(self.lapd, self._take)
        layer1 = {Layer1Timer.CLEAR: 0}
        self.span = (VirtualSpanServer if listen else VirtualSpan)(
            directory, Line.E1, self._frame, self._line, timers=layer1
        )

    async def __aenter__(self) -> OurLink:
        self.span.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._driver.close()
        self.span.close()

    def _frame(self, frame: bytes, now: int) -> None:
        self.lapd.receive(frame, now)
        self._driver.drain()

    def _line(self, event: LineChanged | CountersRead, now: int) -> None:
        if isinstance(event, LineChanged):
            if event.alarm.usable:
                self.lapd.activate(now)
                self.lapd.establish(now)
            else:
                self.lapd.deactivate(now)
            self._driver.drain()

    def _take(self, output: Output) -> None:
        if isinstance(output, Transmit):
            self.sent.append(output.frame)
            self.span.send_frame(output.frame)
        else:
            self.outputs.append(output)
            self._changed.set()

    def send(self, data: bytes) -> None:
        self._driver.call(self.lapd.send, data)

    async def established(self) -> None:
        """Wait until the link is up; it may have been down again meanwhile."""
        while not self.lapd.established:
            await self.output(Established)

    async def output(self, kind: type[Kind], within: float = PATIENCE) -> Kind:
        deadline = asyncio.get_running_loop().time() + within
        while True:
            for index in range(self._taken, len(self.outputs)):
                output = self.outputs[index]
                if isinstance(output, kind):
                    self._taken = index + 1
                    return output
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), max(deadline - asyncio.get_running_loop().time(), 0.001))
            except TimeoutError:
                raise PeerError(f"no {kind.__name__} within {within} s: {self.outputs}") from None


ENDS = [(Side.USER, False), (Side.USER, True), (Side.NETWORK, True), (Side.NETWORK, False)]


def _other(side: Side) -> str:
    return "network" if side is Side.USER else "user"


@pytest.mark.parametrize(("side", "listen"), ENDS)
@scenario
async def test_the_link_comes_up_and_carries_messages_both_ways(tmp_path: Path, side: Side, listen: bool) -> None:
    async with (
        OurLink(tmp_path, side, listen=listen, timers={LapdTimer.T200: 5 * SECOND}) as ours,
        await LibpriPeer.start(tmp_path, side=_other(side), listen=not listen) as peer,
    ):
        await peer.event("up")
        await ours.established()
        errors, repeated = dict(ours.lapd.statistics.mdl_errors), ours.lapd.statistics.retransmissions
        for _ in range(20):
            ours.send(STATUS_ENQUIRY)
            await ours.output(Data)
        assert ours.lapd.statistics.mdl_errors == errors
        assert ours.lapd.statistics.retransmissions == repeated
        assert lapd_problems(tmp_path / "ours.pcap", ours.sent, network=side is Side.NETWORK) == []


@scenario
async def test_an_idle_link_is_kept_alive_by_either_side(tmp_path: Path) -> None:
    # Enquiries may wait for their answers for 2 s, on a busy machine.
    timers = {LapdTimer.T200: 100 * MILLISECOND, LapdTimer.N200: 20, LapdTimer.T203: 150 * MILLISECOND}
    async with (
        OurLink(tmp_path, Side.USER, listen=False, timers=timers) as ours,
        await LibpriPeer.start(tmp_path, timers=["T203=200", "T200=100", "N200=20"]) as peer,
    ):
        # libpri answers no enquiries until we have answered its own SABME, the first of which may come before the line.
        await peer.event("up")
        errors, before = dict(ours.lapd.statistics.mdl_errors), len(peer.frames())
        await peer.seen_frames(before + 12)
        assert ours.lapd.established
        assert ours.lapd.statistics.t203_expiries > 0
        assert ours.lapd.statistics.mdl_errors == errors
        assert peer.seen("down") == []


@pytest.mark.parametrize("side", [Side.USER, Side.NETWORK])
@scenario
async def test_ten_percent_of_lost_frames_lose_no_message(tmp_path: Path, side: Side) -> None:
    timers = {LapdTimer.T200: 100 * MILLISECOND, LapdTimer.N200: 20}
    async with (
        OurLink(tmp_path, side, listen=side is Side.NETWORK, timers=timers) as ours,
        await LibpriPeer.start(
            tmp_path, side=_other(side), listen=side is Side.USER, loss=0.1, seed=11, timers=["T200=100", "N200=20"]
        ) as peer,
    ):
        await ours.output(Established)
        await peer.event("up")
        for _ in range(60):
            ours.send(STATUS_ENQUIRY)
        for _ in range(60):
            await ours.output(Data)
        assert sum(frame.lost for frame in peer.frames()) > 3
        assert ours.lapd.statistics.retransmissions > 0
        assert not any(isinstance(output, Released) for output in ours.outputs)


@scenario
async def test_libpri_that_starts_anew_is_taken_up_again(tmp_path: Path) -> None:
    async with OurLink(tmp_path, Side.USER, listen=False, timers={}) as ours:
        for _ in range(2):
            async with await LibpriPeer.start(tmp_path) as peer:
                await peer.event("up")
                await ours.established()
                ours.send(STATUS_ENQUIRY)
                await ours.output(Data)


@scenario
async def test_we_starting_anew_are_taken_up_by_libpri(tmp_path: Path) -> None:
    async with await LibpriPeer.start(tmp_path) as peer:
        for attempt in range(2):
            async with OurLink(tmp_path, Side.USER, listen=False, timers={}) as ours:
                if attempt == 0:
                    await peer.event("up")  # before, what we send is lost when libpri's repeated SABME comes
                await ours.established()
                ours.send(STATUS_ENQUIRY)
                await ours.output(Data)
        assert not any(isinstance(output, MdlError) for output in ours.outputs)
        assert peer.process.returncode is None
