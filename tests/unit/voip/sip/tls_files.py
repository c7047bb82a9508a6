"""Certificates for tests of TLS, made afresh: a CA, boxes of its own, and one of another CA."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

from gateway.provision.certificates import Identity, KeyKind, make_box, make_ca, read_certificates
from gateway.provision.revocation import read_crls, revoke
from gateway.voip.sip.tls import Tls, TlsSettings, VerifyClient

NOW = datetime.datetime.now(datetime.UTC)


class Authority:
    """A CA whose files are in ``directory``."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self.directory = directory
        self.identity = make_ca(f"Test {name}", KeyKind.EC, NOW, 30)
        self.file = directory / f"{name}.crt"
        self.file.write_bytes(self.identity.certificate_pem)

    def issue(
        self,
        name: str,
        hosts: Sequence[str] = (),
        addresses: Sequence[str] = ("127.0.0.1",),
        *,
        now: datetime.datetime = NOW,
        days: int = 20,
    ) -> Identity:
        """A box's certificate as ``NAME.crt`` and ``NAME.key``."""
        made = make_box(self.identity, name, hosts, addresses, KeyKind.EC, now, days)
        (self.directory / f"{name}.crt").write_bytes(made.certificate_pem)
        key = self.directory / f"{name}.key"
        key.touch(mode=0o600)
        key.write_bytes(made.key_pem)
        return made

    def revoke(self, *names: str, now: datetime.datetime = NOW) -> Path:
        """The list of revoked certificates, with those of ``names`` on it."""
        path = self.file.with_suffix(".crl")
        before = read_crls(path.read_bytes())[0] if path.exists() else None
        found = [read_certificates((self.directory / f"{name}.crt").read_bytes())[0] for name in names]
        path.write_bytes(revoke(self.identity, before, found, now))
        return path

    def settings(
        self,
        name: str,
        *,
        ca: Path | None = None,
        verify_client: VerifyClient = VerifyClient.NO,
        unverified: Sequence[str] = (),
        wildcards: Sequence[str] = (),
        common_names: Sequence[str] = (),
        names: Sequence[str] = (),
        crl: Path | None = None,
    ) -> TlsSettings:
        """Settings with the certificate of box ``name``, which is issued first unless it is there."""
        if not (self.directory / f"{name}.crt").exists():
            self.issue(name)
        return TlsSettings(
            self.directory / f"{name}.crt",
            self.directory / f"{name}.key",
            ca or self.file,
            verify_client,
            frozenset(unverified),
            frozenset(wildcards),
            frozenset(common_names),
            frozenset(names),
            crl,
        )

    def tls(self, name: str, **settings: object) -> Tls:
        """The contexts of box ``name``."""
        return Tls(self.settings(name, **settings))  # type: ignore[arg-type]
