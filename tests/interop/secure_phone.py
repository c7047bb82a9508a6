"""A telephone that calls over TLS, and the product as it knows that telephone: "tlsphone"."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.interop.baresip import Baresip
from tests.interop.openssl import Certificates
from tests.interop.product import Product
from tests.interop.program import free_port

CALLED = "4165550401"
"""What the telephone company's subscribers dial for it."""
ANSWERING = "5550107"
"""A subscriber who answers with a tone."""
_CONFIGURATION = """
[[phone]]
name = "tlsphone"
host = "{host}"
transport = "tls"
context = "from-hq"
{terms}
[[route]]
context = "from-pstn"
match = "_41655504XX"
to = ["sip:tlsphone"]
secure_bridge = [{bridge}]
[[route]]
context = "from-hq"
match = "_8."
to = ["pri:r0/{{number:1}}"]
require = [{require}]
"""


def address(phone: Baresip, name: str = "127.0.0.1") -> str:
    """Where ``phone`` takes TLS: at the port after that of UDP and TCP."""
    return f"{name}:{phone.sip_port + 1}"


async def telephone(directory: Path, files: Certificates | None = None, extra: str = "", **settings: Any) -> Baresip:
    """A baresip that calls over TLS, with the certificates of ``files``."""
    extra += files.telephone if files else ""
    return await Baresip.start(directory, user="tlsphone", transport="tls", extra=extra, **settings)


class TlsProduct(Product):
    """The product with TLS at ``tls_port``, and a telephone at ``host``.

    ``terms`` are more of the telephone's settings, ``bridge`` what a hop to it and ``require`` what one from it has to
    be; ``routes`` are more routes.
    """

    def __init__(
        self,
        directory: Path,
        host: str,
        *,
        terms: str = "",
        bridge: Sequence[str] = (),
        require: Sequence[str] = ("secure_signalling",),
        routes: str = "",
        **settings: Any,
    ) -> None:
        self.tls_port = free_port()
        words = [", ".join(f'"{fact}"' for fact in facts) for facts in (bridge, require)]
        extra = _CONFIGURATION.format(host=host, terms=terms, bridge=words[0], require=words[1])
        super().__init__(directory, listen=[f"tls:127.0.0.1:{self.tls_port}"], extra=extra + routes, **settings)

    async def called_by(self, phone: Baresip) -> None:
        """Let ``phone`` call a subscriber who answers with a tone."""
        await phone.dial(f"sip:8{ANSWERING}@127.0.0.1:{self.tls_port};transport=tls")
