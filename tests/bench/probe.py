"""The gateway with a stop watch: when SETUP and 200 came in, when INVITE and CONNECT went out, and the reverse.

Times are taken after the read and after the write of the message, on the monotonic clock; one JSON line a pair.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from collections import defaultdict, deque
from pathlib import Path

from gateway import event_loop
from gateway.collector import keep_what_is_there
from gateway.config import load
from gateway.daemon import Daemon
from gateway.media.engine_process import EngineProcess
from gateway.voip.sip.flow import Close, Flow, Resolve, Send

SETUP, CONNECT = 0x05, 0x07
PAIRS = {"invite out": ("setup in", "SETUP → INVITE"), "connect out": ("200 in", "200 → CONNECT")} | {
    "setup out": ("invite in", "INVITE → SETUP"),
    "200 out": ("connect in", "CONNECT → 200"),
}


def q931_type(frame: bytes) -> int | None:
    """The message type in an I frame, or None."""
    if len(frame) < 9 or frame[2] & 1 or frame[4] != 8:
        return None
    return frame[6 + (frame[5] & 15)]


def sip_word(data: bytes) -> str | None:
    """``invite`` or ``200`` for a request or final answer of INVITE, else None."""
    if data.startswith(b"INVITE "):
        return "invite"
    if data.startswith(b"SIP/2.0 200") and b" INVITE\r\n" in data:
        return "200"
    return None


class StopWatch(Daemon):
    """A daemon that notes times. Pairs are matched in the order of their beginnings, a span at a time."""

    marks: dict[str, deque[int]]
    taken: list[tuple[str, float]]

    def note(self, what: str, at: int) -> None:
        """Something came in or went out."""
        pair = PAIRS.get(what)
        if pair is None:
            self.marks[what].append(at)
        elif self.marks[pair[0]]:
            self.taken.append((pair[1], (at - self.marks[pair[0]].popleft()) / 1e6))

    def watch(self) -> None:
        """Put the watch between the sockets and the switch."""
        self.marks = defaultdict(deque)
        self.taken = []
        names = {SETUP: "setup", CONNECT: "connect"}
        for span in self.spans.values():
            send, receive = span.send_frame, span._on_frame

            def sent(frame: bytes, send=send) -> bool:  # type: ignore[no-untyped-def]
                result: bool = send(frame)
                if (name := names.get(q931_type(frame) or 0)) is not None:
                    self.note(f"{name} out", time.monotonic_ns())
                return result

            def received(frame: bytes, now: int, receive=receive) -> None:  # type: ignore[no-untyped-def]
                if (name := names.get(q931_type(frame) or 0)) is not None:
                    self.note(f"{name} in", time.monotonic_ns())
                receive(frame, now)

            span.send_frame = sent  # type: ignore[method-assign]
            span._on_frame = received
        perform, receive_sip = self.sip.perform, self.switch.receive_sip

        def performed(output: Send | Close | Resolve) -> None:
            perform(output)
            if isinstance(output, Send) and (word := sip_word(output.data)) is not None:
                self.note(f"{word} out", time.monotonic_ns())

        def arrived(data: bytes, flow: Flow, now: int) -> None:
            if (word := sip_word(data)) is not None:
                self.note(f"{word} in", time.monotonic_ns())
            receive_sip(data, flow, now)

        self.sip.perform = performed  # type: ignore[method-assign]
        self.switch.receive_sip = arrived  # type: ignore[method-assign]


async def _run(configuration_file: Path, output: Path) -> None:
    configuration = load(configuration_file)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with EngineProcess(configuration.media_control):
        daemon = StopWatch(configuration, rng=random.Random(1))
        daemon.watch()
        await daemon.start()
        keep_what_is_there()
        await stop.wait()
        await daemon.close()
    text = "".join(json.dumps(pair) + "\n" for pair in daemon.taken)
    await asyncio.to_thread(output.write_text, text)


if __name__ == "__main__":
    event_loop.run(_run(Path(sys.argv[1]), Path(sys.argv[2])))
