"""Networks of our own making: namespaces, veth pairs, and NATs of four kinds made with nftables.

Each namespace lives as long as a process that waits for the end of its standard input, so whatever happens to the test,
nothing is left behind; nothing outside is touched. As root, or with user namespaces as anybody.

    203.0.113.0/24 is the Internet: a bridge, router at .1. Hosts stand on it, or behind a Nat.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from tests.interop.program import PeerError, find_program

INTERNET = "203.0.113"
ROUTER = f"{INTERNET}.1"
INTERFACE = "eth0"
WAIT_SECONDS = 10


class Kind(Enum):
    """What a NAT does with packets from outside (RFC 3489 5; RFC 4787 for today's words)."""

    FULL_CONE = "full cone"
    ADDRESS_RESTRICTED = "address-restricted cone"
    PORT_RESTRICTED = "port-restricted cone"
    SYMMETRIC = "symmetric"


_NAT = """\
flush ruleset
table ip nat {{
  set known {{ type ipv4_addr; flags dynamic, timeout; timeout 60s; }}
  chain note {{ type filter hook forward priority 1; oifname {interface} update @known {{ ip daddr }}; }}
  chain in {{ type nat hook prerouting priority -100; {inward} }}
  chain out {{ type nat hook postrouting priority 100; oifname {interface} {action}; }}
}}
table inet guard {{
  # Nothing answers for the NAT itself, and only what belongs to a binding comes in.
  chain input {{ type filter hook input priority 0; iifname {interface} ip protocol udp drop; }}
  chain forward {{
    type filter hook forward priority 0; iifname {interface} ct state new ct status and dnat == 0 drop;
  }}
}}
"""
_FORWARD = """\
table ip nat {{
  chain forwarded {{
    type nat hook prerouting priority -110;
    iifname {interface} meta l4proto {{ tcp, udp }} th dport {ports} dnat to {to};
  }}
}}
"""
_KINDS = {
    Kind.FULL_CONE: ("iifname {interface} dnat to {inside};", "snat to {outside}"),
    # Who was sent something within a minute may send, from any port.
    Kind.ADDRESS_RESTRICTED: ("iifname {interface} ip saddr @known dnat to {inside};", "snat to {outside}"),
    # Linux keeps the port where it is free, whoever the packet is for; only who was sent something may answer.
    Kind.PORT_RESTRICTED: ("", "masquerade"),
    Kind.SYMMETRIC: ("", "masquerade random,fully-random"),
}
_FLUSH = "from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket\nwith NFCTSocket() as ct: ct.flush()\n"
_CONNECT = (
    "import socket, sys\n"
    "made = socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)\n"
    "socket.send_fds(socket.socket(fileno=0), [b'.'], [made.fileno()])\n"
)


class Namespace:
    """A network namespace; ``words`` goes before a command that is to run in it."""

    def __init__(self, name: str, user_of: Namespace | None) -> None:
        self.name = name
        self.words: list[str] = []
        unshare = find_program("unshare", "util-linux")
        if os.geteuid() == 0:
            words = [unshare, "-n"]
            enter: list[str] = []
        elif user_of is None:
            words, enter = [unshare, "-n", "-U", "--map-root-user"], ["-U", "--preserve-credentials"]
        else:
            # All in one user namespace: else no cable could be laid between them.
            words, enter = [*user_of.words, unshare, "-n"], ["-U", "--preserve-credentials"]
        self._holder = subprocess.Popen(
            [*words, "sh", "-c", "echo && exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        if not self._holder.stdout.readline():
            self.close()
            raise PeerError("no network namespace: be root, or allow user namespaces to others")
        self.pid = self._holder.pid
        self.words = [find_program("nsenter", "util-linux"), "-t", str(self.pid), "-n", *enter, "--"]
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *command: str, text: str = "") -> str:
        """Run ``command`` in it, ``text`` on its standard input; its output. PeerError if it fails."""
        done = subprocess.run(
            [*self.words, find_program(command[0], command[0]), *command[1:]],
            input=text,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        if done.returncode:
            raise PeerError(f"{self.name}: {' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def python(self, *arguments: str) -> list[str]:
        """The words that run Python in it."""
        return [*self.words, sys.executable, *arguments]

    def connect(self, port: int) -> socket.socket:
        """A TCP connection to its own loopback."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            subprocess.run(
                self.python("-c", _CONNECT, str(port)), stdin=theirs.fileno(), timeout=WAIT_SECONDS, check=True
            )
            _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
        return socket.socket(fileno=descriptors[0])

    def close(self) -> None:
        """Let it go; the kernel takes its interfaces down with it."""
        assert self._holder.stdin is not None and self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.stdout.close()
        self._holder.wait(WAIT_SECONDS)


class Host:
    """A host with one address on ``INTERFACE``."""

    def __init__(self, namespace: Namespace, address: str, gateway: str) -> None:
        self.namespace = namespace
        self.address = address
        self.gateway = gateway
        namespace.run("ip", "link", "set", INTERFACE, "up")
        self.readdress(address)

    def readdress(self, address: str) -> None:
        """Have another address, as after a new lease."""
        run = self.namespace.run
        run("ip", "addr", "flush", "dev", INTERFACE, "scope", "global")
        run("ip", "addr", "add", f"{address}/24", "dev", INTERFACE)
        run("ip", "route", "replace", "default", "via", self.gateway)
        self.address = address


class Nat:
    """A router with one address outside and a network ``prefix``.0/24 inside, itself at .1."""

    def __init__(self, lab: Lab, name: str, kind: Kind, outside: str, prefix: str) -> None:
        self.lab = lab
        self.kind = kind
        self.prefix = prefix
        self.namespace = lab.namespace(name)
        self.outside = outside
        self._forwarded: list[tuple[str, str]] = []
        run = self.namespace.run
        self.host = lab.plug(self.namespace, outside)
        run("ip", "link", "add", "lan", "type", "bridge")
        run("ip", "addr", "add", f"{prefix}.1/24", "dev", "lan")
        run("ip", "link", "set", "lan", "up")
        run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        self._rules()

    def _rules(self) -> None:
        inward, action = _KINDS[self.kind]
        values = {"interface": INTERFACE, "outside": self.outside, "inside": f"{self.prefix}.2"}
        rules = _NAT.format(inward=inward.format(**values), action=action.format(**values), **values)
        for ports, to in self._forwarded:
            rules += _FORWARD.format(ports=ports, to=to, **values)
        self.namespace.run("nft", "-f", "-", text=rules)

    def host_inside(self, name: str, number: int = 2) -> Host:
        """A host behind it; a cone lets the world in to number 2."""
        namespace = self.lab.namespace(name)
        self.lab.cable(self.namespace, namespace, "lan")
        return Host(namespace, f"{self.prefix}.{number}", f"{self.prefix}.1")

    def forward(self, ports: str, to: str = "", number: int = 2) -> None:
        """Let UDP and TCP in at ``ports`` ("5060", "10000-10099"), to host ``number``, there to port ``to`` if set."""
        self._forwarded.append((ports, f"{self.prefix}.{number}" + (f":{to}" if to else "")))
        self._rules()

    def drop_bindings(self) -> None:
        """Forget all bindings, as a router does that starts anew."""
        subprocess.run(self.namespace.python("-c", _FLUSH), timeout=WAIT_SECONDS, check=True, capture_output=True)
        self._rules()

    def readdress(self, outside: str) -> None:
        """Have another address outside; bindings of before are gone with the old one."""
        self.host.readdress(outside)
        self.outside = outside
        self.drop_bindings()


class Lab:
    """The Internet and what is plugged into it."""

    def __init__(self) -> None:
        self._namespaces: list[Namespace] = []
        self._cables = 0
        self.internet = self.namespace("internet")
        run = self.internet.run
        run("ip", "link", "add", "net", "type", "bridge")
        run("ip", "addr", "add", f"{ROUTER}/24", "dev", "net")
        run("ip", "link", "set", "net", "up")

    def namespace(self, name: str) -> Namespace:
        """A namespace with nothing in it."""
        made = Namespace(name, self._namespaces[0] if self._namespaces else None)
        self._namespaces.append(made)
        return made

    def cable(self, switch: Namespace, host: Namespace, bridge: str) -> None:
        """Plug ``INTERFACE`` of ``host`` into ``bridge`` of ``switch``."""
        self._cables += 1
        port = f"port{self._cables}"
        peer = ["peer", "name", INTERFACE, "netns", str(host.pid)]
        switch.run("ip", "link", "add", port, "type", "veth", *peer)
        switch.run("ip", "link", "set", port, "master", bridge, "up")

    def plug(self, namespace: Namespace, address: str) -> Host:
        """Let ``namespace`` be a host on the Internet."""
        self.cable(self.internet, namespace, "net")
        return Host(namespace, address, ROUTER)

    def public(self, name: str, number: int) -> Host:
        """A host on the Internet."""
        return self.plug(self.namespace(name), f"{INTERNET}.{number}")

    def nat(self, name: str, kind: Kind, number: int, prefix: str) -> Nat:
        """A NAT whose address outside ends in ``number``, with the network ``prefix``.0/24 inside."""
        return Nat(self, name, kind, f"{INTERNET}.{number}", prefix)

    def close(self) -> None:
        """Tear all of it down."""
        for namespace in reversed(self._namespaces):
            namespace.close()
        self._namespaces.clear()


@contextlib.contextmanager
def laboratory() -> Iterator[Lab]:
    """A lab that is gone afterwards."""
    lab = Lab()
    try:
        yield lab
    finally:
        lab.close()


def capture(namespace: Namespace, path: Path, expression: str = "udp") -> subprocess.Popen[bytes]:
    """Write what passes ``INTERFACE`` into ``path``; end it by ``terminate``."""
    tshark = find_program("tshark", "tshark")
    return subprocess.Popen(
        [*namespace.words, tshark, "-q", "-i", INTERFACE, "-w", str(path), "-f", expression],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
