"""What a registration costs: of phones that refresh with the nonce they have, and of phones that are challenged first.

The gateway beside Kamailio (usrloc in memory) and Asterisk 16 (chan_sip), in turns. Each phone waits for its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from tests.bench.middle import ByAsterisk, Middle, Ours, Proxy
from tests.bench.processes import used
from tests.interop.kamailio import module_path
from tests.interop.program import PeerError
from tests.interop.registering import RegisteringPhone

PHONES = 400
ROUNDS = 4
SECRET = "apples"  # noqa: S105 - of the phones of this measurement

_OURS = """schema = 1
[gateway]
run_dir = "{directory}"
[sip]
listen = ["udp:127.0.0.1:{port}"]
auth_algorithms = ["{algorithm}"]
"""
_PHONE = """[[phone]]
name = "p{number}"
secret = "{secret}"
"""
_KAMAILIO = """#!KAMAILIO
debug=1
log_stderror=yes
fork=yes
children=1
auto_aliases=no
dns=no
rev_dns=no
disable_tcp=yes
listen=udp:127.0.0.1:{port}
mpath="{modules}/"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
modparam("usrloc", "db_mode", 0)
modparam("auth", "nonce_expire", 600)
"""
_ROUTE = f"""request_route {{
    if (method != "REGISTER") {{
        exit;
    }}
    if (!pv_www_authenticate("bench", "{SECRET}", "0")) {{
        www_challenge("bench", "1");
        exit;
    }}
    save("location");
}}
"""


class OurRegistrar(Ours):
    """The gateway without trunks, and PHONES phones."""

    algorithm = "md5"

    def configuration(self) -> str:
        """The configuration file."""
        text = _OURS.format(directory=self.directory, port=self.port, algorithm=self.algorithm)
        return text + "".join(_PHONE.format(number=number, secret=SECRET) for number in range(PHONES))

    @property
    def resident(self) -> int:
        """Octets of the Python process in memory."""
        return used(self.pid).resident


class OurStrongRegistrar(OurRegistrar):
    """The same with the digest that it prefers."""

    name = "gateway, SHA-256"
    algorithm = "sha-256"


class ProxyRegistrar(Proxy):
    """Kamailio as registrar."""

    name = "Kamailio"
    voice = False

    def write(self, directory: Path, port: int) -> Path:
        """Its configuration file."""
        path = directory / "kamailio.cfg"
        path.write_text(_KAMAILIO.format(port=port, modules=module_path()) + _ROUTE)
        return path


class AsteriskRegistrar(ByAsterisk):
    """Asterisk with PHONES friends."""

    def files(self) -> Mapping[str, str]:
        """Its configuration files."""
        text = "[general]\nbindaddr = 127.0.0.1\nbindport = {port}\nallowguest = no\nalwaysauthreject = yes\n"
        for number in range(PHONES):
            text += f"[p{number}]\ntype = friend\nhost = dynamic\nsecret = {SECRET}\n"
        return {**super().files(), "sip.conf": text}


REGISTRARS: tuple[type[Middle], ...] = (OurRegistrar, OurStrongRegistrar, ProxyRegistrar, AsteriskRegistrar)


def _register_all(phones: list[RegisteringPhone], *, anew: bool) -> None:
    for phone in phones:
        if anew:
            phone.forget()
        status = phone.refresh()
        if status != 200:
            raise SystemExit(f"bench: a registration got {status}")


async def registrations(directory: Path, rounds: int = ROUNDS) -> list[tuple[str, str]]:
    """What was measured, and its value."""
    spent: dict[tuple[str, bool], float] = {}
    rows: list[tuple[str, str]] = []
    async with AsyncExitStack() as stack:
        running: list[tuple[Middle, list[RegisteringPhone]]] = []
        for kind in REGISTRARS:
            registrar = kind(directory / kind.__name__, 0)
            try:
                await stack.enter_async_context(registrar)
            except PeerError as error:
                rows.append((f"registrations at {kind.name}", f"not measured: {str(error).splitlines()[0]}"))
                continue
            phones = [RegisteringPhone(f"p{number}", SECRET, registrar.port) for number in range(PHONES)]
            for phone in phones:
                stack.callback(phone.close)
            before = registrar.resident if isinstance(registrar, OurRegistrar) else 0
            await asyncio.to_thread(_register_all, phones, anew=True)
            if isinstance(registrar, OurRegistrar) and kind is OurRegistrar:
                grown = (registrar.resident - before) / PHONES / 1024
                rows.append((f"memory per registered phone, {PHONES} registered: Python", f"{grown:.1f} KiB"))
            running.append((registrar, phones))
        for _ in range(rounds):
            for registrar, phones in running:
                for anew in (False, True):
                    earlier = sum(registrar.cpu().values())
                    await asyncio.to_thread(_register_all, phones, anew=anew)
                    key = (registrar.name, anew)
                    spent[key] = spent.get(key, 0.0) + sum(registrar.cpu().values()) - earlier
    for anew, what in ((False, "refreshed with a nonce of before"), (True, "challenged first")):
        for registrar, _ in running:
            cost = spent[(registrar.name, anew)] / rounds / PHONES
            rows.append(
                (f"registration, {what}: {registrar.name}", f"{cost * 1000:.2f} ms, {1 / cost:.0f} a second of a core")
            )
    return rows
