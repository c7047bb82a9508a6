"""A D-Bus of the demonstration's own, where `gatewayctl` and `busctl` find the gateway; only this user may connect."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import quote

from tests.demo.processes import START_SECONDS, DemoError, Service

_CONFIGURATION = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>custom</type>
  <listen>{address}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"""


def address_of(directory: Path) -> str:
    """The address of the bus in ``directory``."""
    return f"unix:path={quote(str((directory / 'bus').absolute()))}"


async def start(directory: Path) -> Service:
    """Start it; DemoError if it does not come up."""
    file = directory / "bus.conf"
    file.write_text(_CONFIGURATION.format(address=address_of(directory)))
    arguments = ["--nofork", "--nopidfile", "--nosyslog", f"--config-file={file}"]
    service = await Service.start("bus", arguments, directory / "bus.log", program="dbus-daemon")
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while not (directory / "bus").is_socket():
        if not service.alive or asyncio.get_running_loop().time() > deadline:
            await service.stop()
            raise DemoError(f"the bus did not start\n{service.tail()}")
        await asyncio.sleep(0.02)
    return service
