"""The media engine under systemd: ready when its socket is there, signs of life out of its loop, none if it hangs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.interop.program import PATIENCE
from tests.unit.media.engine_harness import build_engine

pytestmark = pytest.mark.realtime
WATCHDOG = 0.3


def test_it_says_that_it_serves_lives_and_ends(tmp_path: Path) -> None:
    control = tmp_path / "control"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE)
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": str(round(WATCHDOG * 1e6)),
        }
        environment.pop("WATCHDOG_PID", None)
        words = [str(build_engine()), "--control", str(control), "--no-realtime"]
        with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as engine:
            try:
                assert systemd.recv(100) == b"READY=1"
                assert control.is_socket()
                begun = time.monotonic()
                for _ in range(6):
                    assert systemd.recv(100) == b"WATCHDOG=1"
                # The first one at once, then three within the time that is given, though there is nothing else to do.
                assert time.monotonic() - begun > 5 * WATCHDOG / 3 - 0.05
                engine.send_signal(signal.SIGSTOP)
                systemd.settimeout(0.05)
                while True:
                    try:
                        systemd.recv(100)
                    except TimeoutError:
                        break
                systemd.settimeout(2 * WATCHDOG)
                with pytest.raises(TimeoutError):
                    systemd.recv(100)
                engine.send_signal(signal.SIGCONT)
                systemd.settimeout(PATIENCE)
                assert systemd.recv(100) == b"WATCHDOG=1"
                engine.terminate()
                while (told := systemd.recv(100)) == b"WATCHDOG=1":
                    pass
                assert told == b"STOPPING=1"
                assert engine.wait(PATIENCE) == 0
            finally:
                if engine.poll() is None:
                    engine.kill()
