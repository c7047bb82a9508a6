"""The packet filter's open ports, from the configuration: SIP, IAX2, voice and metrics where they listen, nothing else.

Prints commands for nftables that fill the sets of firewall.nft; that file is the closed rule set they stand in.
``python -m gateway.provision.firewall FILE``. Without a readable configuration it prints the sets empty: closed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gateway.config import ConfigError, Configuration, load
from gateway.config.values import Transport

TABLE = "inet branch_gateway"
SETS = ("udp_open", "tcp_open")


def open_ports(configuration: Configuration) -> dict[str, list[str]]:
    """Ports and ranges a set, in order. What listens on the loopback interface only needs none."""
    udp: set[tuple[int, int]] = set()
    tcp: set[tuple[int, int]] = set()
    iax = configuration.iax
    for listen in (*configuration.sip.listen, *(iax.listen if iax is not None else ())):
        if not listen.address.is_loopback:
            (udp if listen.transport is Transport.UDP else tcp).add((listen.port, listen.port))
    voice = configuration.media.rtp_ports
    if udp or tcp:
        udp.add((voice.first, voice.last))
    return {
        name: [str(low) if low == high else f"{low}-{high}" for low, high in sorted(ports)]
        for name, ports in zip(SETS, (udp, tcp), strict=True)
    }


def commands(ports: dict[str, list[str]]) -> str:
    """One transaction for ``nft -f``: either all sets are as in ``ports``, or all are as they were."""
    lines = [f"flush set {TABLE} {name}" for name in SETS]
    lines += [f"add element {TABLE} {name} {{ {', '.join(ports[name])} }}" for name in SETS if ports[name]]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """0 with the commands on standard output; 1 and closed sets if the configuration has an error, 2 for wrong use."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m gateway.provision.firewall FILE\n")
        return 2
    try:
        sys.stdout.write(commands(open_ports(load(Path(arguments[0])))))
    except (ConfigError, OSError) as error:
        sys.stdout.write(commands({name: [] for name in SETS}))
        sys.stderr.write(f"firewall: closed, as there is no configuration: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
