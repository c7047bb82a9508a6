"""Kamailio as a provider on loopback: registrar with digest, and calls both ways for who is registered.

An account's calls go by its location; numbers are mapped onto accounts and onto gateways as the test says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from tests.interop.kamailio import OF_A_CALL, Kamailio, core_settings
from tests.interop.program import PATIENCE

MODULES = (
    "tm",
    "tmx",
    "sl",
    "rr",
    "pv",
    "maxfwd",
    "siputils",
    "textops",
    "corex",
    "usrloc",
    "registrar",
    "auth",
    "path",
    "nathelper",
    "ctl",
)
REALM = "provider"

_ROUTING = """
request_route {{
    force_rport();
    route(OF_A_CALL);
    if (is_method("OPTIONS")) {{
        sl_send_reply("200", "OK");
        exit;
    }}
    if (is_method("REGISTER")) {{
        if (!pv_www_authenticate("{realm}", "{word}", "0")) {{
            www_challenge("{realm}", "1");
            exit;
        }}
        append_to_reply("Service-Route: <sip:127.0.0.1:{port}{transport};lr>\r\n");
        save("location");
        exit;
    }}
    if (!is_method("INVITE")) {{
        sl_send_reply("405", "Method Not Allowed");
        exit;
    }}
    remove_hf("Route");
    record_route();
{accounts}
    if (!pv_proxy_authenticate("{realm}", "{word}", "0")) {{
        proxy_challenge("{realm}", "1");
        exit;
    }}
    consume_credentials();
{targets}
    sl_send_reply("404", "Unknown Number");
}}
"""

_ACCOUNT = """
    if ($rU =~ "^{prefix}") {{
        $ru = "sip:{account}@127.0.0.1:{port}";
        if (!lookup("location")) {{
            sl_send_reply("480", "Not Registered");
            exit;
        }}
        t_relay();
        exit;
    }}"""
_TARGET = """
    if ($rU =~ "^{prefix}") {{
        $ru = "sip:" + $rU + "@{address}";
        t_relay();
        exit;
    }}"""


def write_provider(
    directory: Path,
    port: int,
    *,
    accounts: Mapping[str, str],
    targets: Mapping[str, str],
    word: str,
    expires: int,
    transports: Sequence[str],
    tls: tuple[Path, int] | None = None,
) -> Path:
    """Write ``kamailio.cfg`` into ``directory``, which is made."""
    directory.mkdir(exist_ok=True)
    settings = [
        *core_settings(port, transports, MODULES),
        f'modparam("registrar", "max_expires", {expires})',
        'modparam("registrar", "min_expires", 0)',
        'modparam("usrloc", "timer_interval", 1)',
        f'modparam("ctl", "binrpc", "unix:{directory}/ctl")',
    ]
    text = _ROUTING.format(
        realm=REALM,
        word=word,
        port=port,
        transport=";transport=tcp" if transports[0] == "tcp" else "",
        accounts="".join(
            _ACCOUNT.format(prefix=prefix, account=account, port=port) for prefix, account in accounts.items()
        ),
        targets="".join(_TARGET.format(prefix=prefix, address=address) for prefix, address in targets.items()),
    )
    if tls is not None:
        files, tls_port = tls
        settings[1:1] = ["enable_tls=yes", f"listen=tls:127.0.0.1:{tls_port}"]
        settings += [
            'loadmodule "tls.so"',
            f'modparam("tls", "certificate", "{files / "proxy.crt"}")',
            f'modparam("tls", "private_key", "{files / "proxy.key"}")',
            'modparam("tls", "tls_method", "TLSv1.2+")',
        ]
        text = text.replace(f"{port};lr", f"{tls_port};transport=tls;lr")
    path = directory / "kamailio.cfg"
    path.write_text("\n".join(settings) + OF_A_CALL + text)
    return path


async def start_provider(
    directory: Path,
    *,
    accounts: Mapping[str, str],
    targets: Mapping[str, str] | None = None,
    word: str = "apples",
    expires: int = 3600,
    transports: Sequence[str] = ("udp", "tcp"),
    port: int | None = None,
    tls: tuple[Path, int] | None = None,
) -> Kamailio:
    """Start it. ``accounts``: first digits of a number and whose it is; ``targets``: and where else it leads.

    ``tls``: the directory of its certificate, and the port for TLS.
    """
    write = partial(
        write_provider,
        accounts=accounts,
        targets=targets or {},
        word=word,
        expires=expires,
        transports=transports,
        tls=tls,
    )
    return await Kamailio.start(directory, {}, port=port, transports=transports, write=write)


async def until_registered(sip: object, name: str, within: float = PATIENCE) -> None:
    """Wait until our endpoint ``sip`` (``OurSip``) is registered with its trunk ``name``."""
    deadline = asyncio.get_running_loop().time() + within
    while True:
        registration = sip.endpoint.far_ends.registration(name)  # type: ignore[attr-defined]
        if registration is not None and registration.in_force:
            return
        assert asyncio.get_running_loop().time() < deadline, registration.error
        await asyncio.sleep(0.02)
