"""Starts and stops a media engine as a child process, for ``make run``, tests and measurements."""

from __future__ import annotations

import selectors
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

BINARY = Path(__file__).resolve().parents[2] / "build" / "engine" / "gateway-media"
READY_SECONDS = 10.0
STOP_SECONDS = 10.0


class EngineProcess:
    """One engine, listening at ``control``. Raises RuntimeError from start() if it does not get ready."""

    def __init__(
        self, control: str | Path, options: Sequence[str] = (), *, binary: Path = BINARY, log: Path | None = None
    ) -> None:
        self.control = str(control)
        self._command = [str(binary), "--control", self.control, *options]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id; raises RuntimeError if it does not run."""
        if self._process is None:
            raise RuntimeError("the media engine has not been started")
        return self._process.pid

    def start(self) -> None:
        """Start the engine and wait until it says READY."""
        stderr = self._log.open("ab") if self._log else None
        try:
            # A group of its own: Ctrl-C is for the gateway, which ends calls before it ends the engine.
            self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=stderr, process_group=0)
        except OSError as error:
            raise RuntimeError(f"media engine {self._command[0]}: {error.strerror}") from error
        finally:
            if stderr:
                stderr.close()
        output = self._process.stdout
        assert output is not None  # noqa: S101 - it is a pipe
        said = b""
        deadline = time.monotonic() + READY_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while b"\n" not in said and selector.select(max(0.0, deadline - time.monotonic())):
                part = output.read1(4096) if hasattr(output, "read1") else output.read(1)
                if not part:
                    break
                said += part
        if not said.startswith(b"READY"):
            status = self.stop()
            raise RuntimeError(f"media engine {self._command[0]} did not get ready, exit status {status}")

    def stop(self, patience: float = STOP_SECONDS) -> int:
        """End the engine, by force after ``patience`` seconds, and return its exit status (negative: signal)."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.terminate()
        try:
            status = process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        if process.stdout:
            process.stdout.close()
        return status

    def kill(self) -> None:
        """End it the hard way, as a crash would."""
        if self._process is not None:
            self._process.kill()
        self.stop()

    def __enter__(self) -> EngineProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
