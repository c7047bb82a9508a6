"""gatewayctl beside a product whose bus is in its directory."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.demo import private_bus


class Ctl:
    """gatewayctl on the bus in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._bus = private_bus.address_of(directory)

    async def __call__(self, *words: str, code: int = 0) -> Any:
        """What it prints as JSON."""
        process = await asyncio.create_subprocess_exec(
            # An operator's program is no reason for voice to wait, and takes what the machine has to spare.
            *("nice", "-n", "19", sys.executable),
            *("-m", "gateway.cli.gatewayctl.main", "--bus", self._bus, "--json"),
            *words,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == code, (words, out, err)
        return json.loads(out) if out else err.decode()
