"""A yardstick for delays: what an empty round trip between two processes takes on this machine at this moment.

``python -m tests.bench.round_trip RATE FILE``: sends RATE packets a second to a process that sends them back, until it
is terminated; then writes the round trips, a JSON list of milliseconds. What is late here is late for everybody.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

MAX_TRIPS = 100_000


def _echo(end: socket.socket) -> None:
    while packet := end.recv(64):
        end.send(packet)


def main(rate: float, file: Path) -> None:
    """Measure until SIGTERM."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        near.close()
        _echo(far)
        os._exit(0)
    far.close()
    stop = False

    def stopped(*_: object) -> None:
        nonlocal stop
        stop = True

    signal.signal(signal.SIGTERM, stopped)
    taken: list[float] = []
    while not stop and len(taken) < MAX_TRIPS:
        time.sleep(1 / rate)
        begun = time.monotonic_ns()
        near.send(b"?")
        near.recv(64)
        taken.append((time.monotonic_ns() - begun) / 1e6)
    near.close()
    os.wait()
    file.write_text(json.dumps(taken))


if __name__ == "__main__":
    main(float(sys.argv[1]), Path(sys.argv[2]))
