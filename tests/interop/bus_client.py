"""A client of `org.branchgateway.Gateway1` in 50 lines, made of nothing but the library for D-Bus as it comes.

It prints what it finds as JSON: the gateway's name, its objects, the error of a call to nobody, and the first change
after it said "ready". ``python bus_client.py ADDRESS``
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from dbus_next.aio import MessageBus
from dbus_next.errors import DBusError

NAME = "org.branchgateway.Gateway1"
ROOT = "/org/branchgateway/Gateway1"


async def main() -> None:
    """Look, ask for what is not there, hang up all calls, and wait for a change."""
    bus: Any = await MessageBus(bus_address=sys.argv[1]).connect()
    node = await bus.introspect(NAME, ROOT)
    gateway = bus.get_proxy_object(NAME, ROOT, node)
    manager = gateway.get_interface(f"{NAME}.Manager")
    objects = gateway.get_interface("org.freedesktop.DBus.ObjectManager")
    found: dict[str, Any] = {
        "name": await manager.get_name(),
        "objects": sorted(await objects.call_get_managed_objects()),
    }
    try:
        await manager.call_pardon("192.0.2.99")
    except DBusError as error:
        found["error"] = error.type
    removed: asyncio.Queue[list[Any]] = asyncio.Queue()
    objects.on_interfaces_removed(lambda path, names: removed.put_nowait([path, names]))
    for path in found["objects"]:
        if path.startswith(f"{ROOT}/calls/"):
            call = bus.get_proxy_object(NAME, path, await bus.introspect(NAME, path)).get_interface(f"{NAME}.Call")
            found["caller"] = await call.get_caller()
            await call.call_hangup()
    found["removed"] = await asyncio.wait_for(removed.get(), 20)
    print(json.dumps(found))
    bus.disconnect()


if __name__ == "__main__":
    asyncio.run(main())
