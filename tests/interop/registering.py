"""A REGISTER with a password, without a phone around it: whoever listens at its port afterwards is called there."""

from __future__ import annotations

import random
import socket

from gateway.voip.sip.credentials import DigestClient
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.parser import parse
from tests.interop.program import PATIENCE


class RegisteringPhone:
    """A phone that can do nothing but register with ``port`` on loopback: its own socket, one nonce for all."""

    def __init__(self, name: str, secret: str, port: int, own_port: int = 0) -> None:
        self._name = name
        self._port = port
        self._secret = secret
        self._rng = random.Random(name)
        self._client = DigestClient(name, secret, self._rng)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", own_port))
        self._socket.connect(("127.0.0.1", port))
        self._socket.settimeout(PATIENCE)
        self._cseq = 0

    def refresh(self) -> int:
        """Register once; the status of the response."""
        self._cseq += 1
        own = f"127.0.0.1:{self._socket.getsockname()[1]}"
        at, uri = f"sip:{self._name}@127.0.0.1:{self._port}", f"sip:127.0.0.1:{self._port}"
        fields = [
            ("Via", f"SIP/2.0/UDP {own};branch=z9hG4bK{self._name}{self._cseq};rport"),
            ("Max-Forwards", "70"),
            ("From", f"<{at}>;tag={self._name}"),
            ("To", f"<{at}>"),
            ("Call-ID", f"{self._name}@{own}"),
            ("CSeq", f"{self._cseq} REGISTER"),
            ("Contact", f"<sip:{self._name}@{own}>;expires=600"),
            *self._client.fields("REGISTER", uri),
        ]
        self._socket.send(Request("REGISTER", uri, fields).to_bytes())
        while True:
            response = parse(self._socket.recv(65_535))
            if isinstance(response, Response) and response.cseq.number == self._cseq:
                break
        if response.status == 401 and self._client.take(response, 0):
            return self.refresh()
        return response.status

    def forget(self) -> None:
        """Have nothing to prove itself with until it is challenged again."""
        self._client = DigestClient(self._name, self._secret, self._rng)

    def close(self) -> None:
        """Let go of the port; the registration stays."""
        self._socket.close()
