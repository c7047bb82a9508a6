"""Kamailio as a stateful, record-routing SIP proxy on loopback: what stands between us and most SIP networks.

It routes requests outside dialogs by the first digits of the called number; several targets for one prefix are
called at once (a parallel fork). No database, no registrar, no media.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.interop.program import PATIENCE, PeerError, Program, find_program, free_port
from tests.interop.sipp import POLL_SECONDS, bound

PACKAGE = "kamailio"
MODULE_PATHS = (
    "/usr/lib/x86_64-linux-gnu/kamailio/modules",
    "/usr/lib/aarch64-linux-gnu/kamailio/modules",
    "/usr/lib/kamailio/modules",
    "/usr/lib64/kamailio/modules",
)
MODULES = ("tm", "sl", "rr", "pv", "maxfwd", "siputils", "textops", "corex")
SWIFT_MEMORY = ("-x", "tlsf", "-X", "tlsf")
"""For measurements: with its usual allocator it spends two thirds of a TLS handshake in that."""

OF_A_CALL = """
route[OF_A_CALL] {
    if (!mf_process_maxfwd_header("10")) {
        sl_send_reply("483", "Too Many Hops");
        exit;
    }
    if (is_method("CANCEL")) {
        if (t_check_trans()) {
            t_relay();
        }
        exit;
    }
    if (has_totag()) {
        if (loose_route()) {
            t_relay();
            exit;
        }
        if (is_method("ACK")) {
            if (t_check_trans()) {
                t_relay();
            }
            exit;
        }
        sl_send_reply("404", "Not Here");
        exit;
    }
    if (!is_method("ACK")) {
        t_check_trans();
    }
}
"""
"""What it does with all that belongs to a call or a transaction which it knows; the rest comes back."""

_ROUTING = """
request_route {{
    route(OF_A_CALL);
    remove_hf("Route");
    if (is_method("INVITE|SUBSCRIBE")) {{
        record_route();
    }}
    if (is_method("OPTIONS") && $rU == $null) {{
        sl_send_reply("200", "OK");
        exit;
    }}
{targets}
    sl_send_reply("404", "Unknown Prefix");
}}
"""


def module_path() -> Path:
    """Where Kamailio's modules are; PeerError if it is not installed."""
    for path in MODULE_PATHS:
        if Path(path, "tm.so").exists():
            return Path(path)
    raise PeerError(f"Kamailio's modules (tm.so) are not installed: apt-get install {PACKAGE}")


def core_settings(port: int, transports: Sequence[str], modules: Sequence[str]) -> list[str]:
    """The lines with which its configuration begins: where it listens, and what it loads."""
    return [
        "#!KAMAILIO",
        "debug=2",
        "log_stderror=yes",
        "fork=yes",
        "children=1",  # several would let a BYE overtake the ACK before it
        "tcp_children=1",
        "auto_aliases=no",
        "dns=no",
        "rev_dns=no",
        "use_dns_failover=no",
        f"disable_tcp={'no' if 'tcp' in transports else 'yes'}",
        *(f"listen={transport}:127.0.0.1:{port}" for transport in transports),
        f'mpath="{module_path()}/"',
        *(f'loadmodule "{name}.so"' for name in modules),
        'modparam("rr", "append_fromtag", 1)',
        'modparam("rr", "enable_full_lr", 0)',
        # Whoever is to answer may share a busy machine.
        f'modparam("tm", "fr_timer", {round(1000 * PATIENCE)})',
    ]


def write_configuration(
    directory: Path, port: int, routes: Mapping[str, Sequence[str]], transports: Sequence[str] = ("udp", "tcp")
) -> Path:
    """Write ``kamailio.cfg``; ``routes`` maps the first digits of a number to where calls to it go.

    A target is ``HOST:PORT`` or ``HOST:PORT;transport=tcp``.
    """
    targets = []
    for prefix, addresses in sorted(routes.items(), key=lambda route: -len(route[0])):
        first, *others = ['"sip:" + $rU + "@' + address + '"' for address in addresses]
        branches = [f'        $var(branch) = {uri};\n        append_branch("$var(branch)");' for uri in others]
        lines = [f'    if ($rU =~ "^{prefix}") {{', f"        $ru = {first};", *branches]
        targets.append("\n".join([*lines, "        t_relay();", "        exit;", "    }"]))
    settings = core_settings(port, transports, MODULES)
    settings.append('modparam("tm", "fr_inv_timer", 60000)')
    path = directory / "kamailio.cfg"
    path.write_text("\n".join(settings) + OF_A_CALL + _ROUTING.format(targets="\n".join(targets)))
    return path


class Kamailio(Program):
    """A running proxy at 127.0.0.1:``port``."""

    def __init__(self, name: str, process: Any, port: int) -> None:
        self.port = port
        super().__init__(name, process)

    @classmethod
    async def start(
        cls,
        directory: Path,
        routes: Mapping[str, Sequence[str]],
        *,
        port: int | None = None,
        transports: Sequence[str] = ("udp", "tcp"),
        write: Callable[[Path, int], Path] | None = None,
        options: Sequence[str] = (),
    ) -> Kamailio:
        """Start the proxy with its files in ``directory``; it takes calls when this returns.

        ``write`` makes another configuration than that of the proxy; ``options`` are more words for its command line.
        """
        program = find_program("kamailio", PACKAGE)
        port = port or free_port()
        file = write_configuration(directory, port, routes, transports) if write is None else write(directory, port)
        arguments: list[str | Path] = [
            program,
            "-f",
            file,
            "-DD",
            "-E",
            "-m",
            "32",
            "-M",
            "4",
            "-w",
            directory,
            "-Y",
            directory,
            *options,
        ]
        proxy = cls("kamailio", await cls.spawn(arguments, cwd=directory), port)
        deadline = time.monotonic() + PATIENCE
        try:
            while not all(bound(port, transport) for transport in transports):
                if proxy.process.returncode is not None or time.monotonic() > deadline:
                    code = proxy.process.returncode
                    raise PeerError(f"kamailio does not listen at port {port} (exit {code})\n{proxy.tail()}")
                await asyncio.sleep(POLL_SECONDS)
        except BaseException:
            await proxy.stop()
            raise
        return proxy

    async def __aenter__(self) -> Kamailio:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
