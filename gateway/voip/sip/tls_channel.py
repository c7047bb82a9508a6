"""One TLS connection without its socket (RFC 8446, RFC 5246): cipher text in, plain text out and the other way round.

The bytes go through memory, so that the reason of a refused handshake is known and a limit can be set on everything.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import suppress

from gateway.core import ProtocolError
from gateway.voip.sip.tls_reasons import CLOSED, PLAIN_TEXT, is_of_remote, reason_of

READ_SIZE = 65_536
_HANDSHAKE_RECORD = 22
"""RFC 8446 5.1: what a TLS connection begins with."""


class TlsError(ProtocolError):
    """The connection is of no use; the text says why and what to do. ``theirs``: the far end refused."""

    def __init__(self, text: str, *, theirs: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.theirs = theirs


class TlsChannel:
    """Client or server side of one connection. ``server_name`` is what the client asks for (SNI, RFC 6066 3)."""

    def __init__(self, context: ssl.SSLContext, *, server: bool, server_name: str | None = None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server, server_hostname=server_name)
        self._server = server
        self._begun = False
        self._broken = False
        self.established = False
        self.ended = False

    def start(self) -> None:
        """Let the client speak first."""
        if not self._server:
            self._shake()

    def receive(self, data: bytes) -> bytes:
        """The plain text that ``data`` completes; ``outgoing`` may have something to send afterwards. TlsError ends it.

        ``ended`` is set when the far end said that nothing more comes.
        """
        if self._server and not self._begun and data:
            self._begun = True
            if data[0] != _HANDSHAKE_RECORD:
                self._broken = True
                raise TlsError(PLAIN_TEXT)
        self._incoming.write(data)
        if not self.established and not self._shake():
            return b""
        return self._read()

    def _shake(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise self._fault(error) from None
        self.established = True
        return True

    def _read(self) -> bytes:
        chunks = []
        try:
            while True:
                chunk = self._tls.read(READ_SIZE)
                if not chunk:
                    self.ended = True
                    break
                chunks.append(chunk)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as error:
            raise self._fault(error) from None
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _fault(self, error: ssl.SSLError) -> TlsError:
        self._broken = True
        if isinstance(error, ssl.SSLEOFError):
            return TlsError(CLOSED)
        return TlsError(reason_of(error), theirs=is_of_remote(error))

    def send(self, data: bytes) -> bytes:
        """What to put on the wire for ``data``; only once the connection is established. Raises TlsError."""
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise self._fault(error) from None
        return self._outgoing.read()

    def outgoing(self) -> bytes:
        """What the handshake, or an alert, wants on the wire now."""
        return self._outgoing.read()

    def close(self) -> bytes:
        """The close_notify to send (RFC 8446 6.1), if the connection got that far."""
        if self.established and not self._broken:
            self._broken = True
            # It wants to hear the other's too, for which nobody waits.
            with suppress(ssl.SSLError, ValueError):
                self._tls.unwrap()
        return self._outgoing.read()

    @property
    def certificate(self) -> Mapping[str, object]:
        """The verified certificate of the far end as ``ssl.SSLSocket.getpeercert`` has it; {} without one."""
        return self._tls.getpeercert() or {}

    @property
    def version(self) -> str:
        """The protocol that was agreed on, such as TLSv1.3."""
        return self._tls.version() or ""

    @property
    def cipher(self) -> str:
        """The cipher that was agreed on."""
        cipher = self._tls.cipher()
        return cipher[0] if cipher else ""
