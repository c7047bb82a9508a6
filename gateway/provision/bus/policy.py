"""``python -m gateway.provision.bus.policy`` prints the policy for dbus-daemon: who has which role may send what.

By default nobody may have the name, call it or hear its signals. The service looks at roles itself as well.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from gateway.provision.bus.interface import BUS_NAME, OBJECT_MANAGER, STANDARD, Role
from gateway.provision.bus.objects import INTERFACES

OWNER = "gateway"
"""The user that the gateway runs as."""

_HEAD = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<!-- Written by `python -m gateway.provision.bus.policy`. -->
<busconfig>"""


def _rules(*lines: str) -> Iterator[str]:
    for each in lines:
        yield f"    <{each}/>"


def _viewers() -> Iterator[str]:
    for interface in (*STANDARD, OBJECT_MANAGER, *INTERFACES):
        for method in interface.methods:
            if method.role <= Role.VIEWER:
                yield (
                    f'allow send_destination="{BUS_NAME}" send_interface="{interface.name}" send_member="{method.name}"'
                )


def policy() -> str:
    """The whole file."""
    everything = f'allow send_destination="{BUS_NAME}"'
    signals = f'allow receive_sender="{BUS_NAME}" receive_type="signal"'
    own = f'allow own="{BUS_NAME}"'
    lines = [_HEAD, '  <policy context="default">']
    lines += _rules(
        f'deny own="{BUS_NAME}"',
        f'deny send_destination="{BUS_NAME}"',
        f'deny receive_sender="{BUS_NAME}" receive_type="signal"',
    )
    lines += ["  </policy>", '  <policy group="gateway-viewer">', *_rules(*_viewers(), signals), "  </policy>"]
    lines += ['  <policy group="gateway-admin">', *_rules(everything, signals), "  </policy>"]
    for user in ("root", OWNER):
        lines += [f'  <policy user="{user}">', *_rules(own, everything, signals), "  </policy>"]
    return "\n".join([*lines, "</busconfig>", ""])


if __name__ == "__main__":
    sys.stdout.write(policy())
