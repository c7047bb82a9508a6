"""TLS for SIP: contexts from certificate, key and CA files; whom a certificate vouches for (RFC 3261 26.3, RFC 5922).

At least TLS 1.2, ciphers with forward secrecy and authentication only. Does not open sockets; reads the files.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from gateway.voip.sip.flow import literal_address
from gateway.voip.sip.tls_channel import TlsChannel

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2 (RFC 7525 4.2); those of TLS 1.3 are all good."""
SESSION_TICKETS = 0
"""Of TLS 1.3 (RFC 8446 4.6.1): Asterisk's chan_sip takes one that comes before its first request for the start of an
answer, and does not send the request until that is complete. Connections last long: there is little to resume."""


class TlsFileError(Exception):
    """Certificate, key or CA cannot be used; one line for the operator. ``key`` is that of ``[sip]``."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(f"sip.{key}: {text}")
        self.key = key
        self.text = text


class VerifyClient(Enum):
    """Whether those who connect to us show a certificate: never asked, checked if there, or let in with one only."""

    NO = "no"
    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """``key`` None: it is in the certificate's file; ``ca`` None: the host's own list of public CAs.

    ``crl``: lists of the certificates that their CAs revoked; with it nothing is taken of a CA that has no list there.

    ``unverified`` are hosts of peers whose certificate is not looked at, ``wildcards`` those that may show a wildcard,
    ``common_names`` those that may show one that has no name but its CN, ``names`` those that are known by their
    certificate when they connect to us. All in lower case.
    """

    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    verify_client: VerifyClient = VerifyClient.NO
    unverified: frozenset[str] = frozenset()
    wildcards: frozenset[str] = frozenset()
    common_names: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    crl: Path | None = None

    def loads_as(self, other: TlsSettings) -> bool:
        """Whether the same is read of files; only names may differ."""
        return self.files == other.files and self.verify_client is other.verify_client

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that there are."""
        return tuple(
            dict.fromkeys(path for path in (self.certificate, self.key, self.ca, self.crl) if path is not None)
        )


class Tls:
    """The contexts made of the files as they are now; raises TlsFileError. ``reload`` takes up new files."""

    def __init__(self, settings: TlsSettings) -> None:
        self.settings = settings
        self._server, self._client, self._blind = self._contexts()

    def reload(self) -> None:
        """Use the files as they are now for connections from now on; TlsFileError, and nothing changes, if they fail.

        Connections that are open keep what they were opened with.
        """
        self._server, self._client, self._blind = self._contexts()

    def _contexts(self) -> tuple[ssl.SSLContext | None, ssl.SSLContext, ssl.SSLContext]:
        settings = self.settings
        server = None
        if settings.certificate is not None:
            server = _context(ssl.PROTOCOL_TLS_SERVER)
            server.num_tickets = SESSION_TICKETS
            self._identify(server)
            if settings.verify_client is not VerifyClient.NO:
                required = settings.verify_client is VerifyClient.REQUIRED
                server.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
                self._trust(server)
        client, blind = _context(ssl.PROTOCOL_TLS_CLIENT), _context(ssl.PROTOCOL_TLS_CLIENT)
        for context in (client, blind):
            # Names are compared as RFC 5922 7 has it, not as HTTP.
            context.check_hostname = False
            if settings.certificate is not None:
                self._identify(context)
        client.verify_mode = ssl.CERT_REQUIRED
        blind.verify_mode = ssl.CERT_NONE
        self._trust(client)
        return server, client, blind

    def _identify(self, context: ssl.SSLContext) -> None:
        settings = self.settings
        if settings.certificate is None:
            return
        try:
            context.load_cert_chain(settings.certificate, settings.key, password=_no_password)
        except ssl.SSLError as error:
            raise self._explained(error) from None
        except OSError as error:
            raise self._unreadable(error) from None

    def _explained(self, error: ssl.SSLError) -> TlsFileError:
        settings = self.settings
        key = "tls_certificate" if settings.key is None else "tls_key"
        if error.reason == "KEY_VALUES_MISMATCH":
            return TlsFileError(key, "expected the private key of tls_certificate; this is another's")
        if error.reason in ("BAD_PASSWORD_READ", "BAD_DECRYPT", "PROBLEMS_GETTING_PASSWORD"):
            return TlsFileError(key, "expected a private key without pass phrase")
        if error.reason in ("EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "CA_KEY_TOO_SMALL"):
            return TlsFileError("tls_certificate", "expected keys of at least 2048 bits (RSA) and SHA-256 signatures")
        return TlsFileError("tls_certificate", "expected a certificate, and its private key, in PEM form")

    def _unreadable(self, error: OSError) -> TlsFileError:
        # load_cert_chain does not say which of the two it could not open.
        for key, path in (("tls_certificate", self.settings.certificate), ("tls_key", self.settings.key)):
            if path is not None and not os.access(path, os.R_OK):
                return TlsFileError(key, f"{path} cannot be read: {error.strerror}")
        return TlsFileError("tls_certificate", f"cannot be read: {error.strerror}")

    def _trust(self, context: ssl.SSLContext) -> None:
        self._distrust(context)
        if self.settings.ca is None:
            context.load_default_certs(
                ssl.Purpose.CLIENT_AUTH if context.protocol is ssl.PROTOCOL_TLS_SERVER else ssl.Purpose.SERVER_AUTH
            )
            return
        try:
            context.load_verify_locations(self.settings.ca)
        except ssl.SSLError:
            raise TlsFileError("tls_ca", "expected certificates in PEM form") from None
        except OSError as error:
            raise TlsFileError("tls_ca", f"{self.settings.ca} cannot be read: {error.strerror}") from None

    def _distrust(self, context: ssl.SSLContext) -> None:
        crl = self.settings.crl
        if crl is None:
            return
        try:
            context.load_verify_locations(crl)
        except ssl.SSLError:
            raise TlsFileError("tls_crl", "expected lists of revoked certificates in PEM form") from None
        except OSError as error:
            raise TlsFileError("tls_crl", f"{crl} cannot be read: {error.strerror}") from None
        stored = context.cert_store_stats()
        # Whoever puts a CA there would have it trusted.
        if stored["x509"] or not stored["crl"]:
            raise TlsFileError("tls_crl", "expected lists of revoked certificates (X509 CRL) and nothing else")
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF

    @property
    def listens(self) -> bool:
        """True if there is a certificate to show to those who connect."""
        return self._server is not None

    def accept(self) -> TlsChannel:
        """The channel of a connection that came in."""
        if self._server is None:
            raise TlsFileError("tls_certificate", "missing")
        return TlsChannel(self._server, server=True)

    def connect(self, name: str) -> TlsChannel:
        """The channel of a connection to the peer at host ``name``, "" for a bare address."""
        context = self._blind if name in self.settings.unverified else self._client
        asked = name if name and literal_address(name) is None else None
        return TlsChannel(context, server=False, server_name=asked)

    def vouches(self, certificate: Mapping[str, object], name: str, address: str) -> bool:
        """True if a verified ``certificate`` is that of host ``name``, or without a name of ``address``."""
        if name in self.settings.unverified:
            return True
        settings = self.settings
        if name in settings.common_names and _common_name(certificate) == name:
            return True
        return is_for(certificate, name or address, wildcards=name in settings.wildcards)

    def peer_of(self, certificate: Mapping[str, object]) -> str:
        """Which peer's host a client that showed ``certificate`` is; "" for none, or more than one."""
        if not certificate:
            return ""
        found = {name for name in _hosts(certificate) if name in self.settings.names}
        common = _common_name(certificate)
        if common in self.settings.names & self.settings.common_names:
            found.add(common)
        return found.pop() if len(found) == 1 else ""


def _no_password() -> str:
    raise ssl.SSLError("a pass phrase is asked for")


def _context(protocol: ssl._SSLMethod) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    return context


def _hosts(certificate: Mapping[str, object]) -> Iterator[str]:
    """The names and addresses of a certificate's subject alternative names (RFC 5922 7.1); its CN counts for nothing.

    RFC 5922 looks at DNS names only where there is no SIP URI: the CA vouched for both, so both are taken.
    """
    names = certificate.get("subjectAltName", ())
    for kind, value in names if isinstance(names, tuple) else ():
        if kind == "DNS":
            yield value.lower().rstrip(".")
        elif kind == "IP Address":
            try:
                yield str(ipaddress.ip_address(value.strip()))
            except ValueError:
                continue
        elif kind == "URI":
            scheme, _, rest = value.partition(":")
            # A URI with a user part is a person's (RFC 5922 7.1).
            if scheme.lower() in ("sip", "sips") and rest and not set("@;?") & set(rest):
                yield rest.lower().rstrip(".")


def _common_name(certificate: Mapping[str, object]) -> str:
    """The common name of a certificate without any other name (RFC 5922 7.1, as ``ast_tls_cert`` makes them), or ""."""
    if certificate.get("subjectAltName"):
        return ""
    subject = certificate.get("subject", ())
    pairs = [pair for parts in (subject if isinstance(subject, tuple) else ()) for pair in parts]
    found = [value for kind, value in pairs if kind == "commonName"]
    return (literal_address(found[0]) or found[0].lower().rstrip(".")) if len(found) == 1 else ""


def is_for(certificate: Mapping[str, object], host: str, *, wildcards: bool = False) -> bool:
    """True if ``certificate`` names ``host``, whole (RFC 5922 7.2); ``wildcards``: ``*.`` stands for one label too."""
    host = (literal_address(host) or host).lower().rstrip(".")
    names = set(_hosts(certificate))
    if host in names:
        return True
    _, dot, domain = host.partition(".")
    return wildcards and literal_address(host) is None and bool(dot) and f"*.{domain}" in names


def hosts_shown(certificate: Mapping[str, object]) -> str:
    """What a certificate is for, in a line of the log."""
    names = list(dict.fromkeys(_hosts(certificate)))
    if not names:
        return f"no name but the common name {_common_name(certificate)[:80]!r} (see allow_common_name)"
    return ", ".join(names[:4])[:200] + ("…" if len(names) > 4 else "")
