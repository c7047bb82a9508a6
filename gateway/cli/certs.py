"""``gateway-certs``: a certification authority of one's own, a certificate for each box, and a look at both.

What Asterisk's ``ast_tls_cert`` does, with today's keys. Nothing that is there is overwritten but the list of revoked
certificates, which grows.
"""

from __future__ import annotations

import datetime
import os
import stat
import sys
from pathlib import Path

import click
from cryptography import x509

from gateway.provision.certificates import (
    CertificateError,
    Identity,
    KeyKind,
    PrivateKey,
    days_left,
    describe_key,
    describe_name,
    fits,
    known_to,
    make_box,
    make_ca,
    names_of,
    read_certificates,
    read_key,
    validity_fault,
)
from gateway.provision.revocation import is_of, read_crls
from gateway.provision.revocation import revoke as revoke_with

CA_DAYS = 3650
BOX_DAYS = 825
"""What many telephones and libraries take at most."""
WARN_DAYS = 30
_NAME = "letters, digits, '.', '_' and '-'"

_kind = click.option(
    "--key",
    "kind",
    type=click.Choice([kind.value for kind in KeyKind]),
    default=KeyKind.EC.value,
    show_default=True,
    help="ec is P-256; rsa2048 is for old telephones.",
)
_directory = click.argument("directory", type=click.Path(path_type=Path, file_okay=False))


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{path}: cannot be read: {error.strerror}") from None


def _certificates(path: Path) -> list[x509.Certificate]:
    data = _read(path)
    try:
        return read_certificates(data)
    except CertificateError as error:
        raise CertificateError(f"{path}: {error}") from None


def _key(path: Path) -> PrivateKey:
    data = _read(path)
    try:
        return read_key(data)
    except CertificateError as error:
        raise CertificateError(f"{path}: {error}") from None


def _refuse_to_overwrite(*paths: Path) -> None:
    for path in paths:
        if path.exists() or path.is_symlink():
            raise CertificateError(f"{path} is there already; expected another name, or remove it first")


def _write(path: Path, data: bytes, mode: int) -> None:
    """A new file with just this ``mode`` from its first moment on."""
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(opened, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@click.group(
    help="Make a CA (ca), a certificate for each box (box); take one back (revoke); look at them (show, check)."
)
@click.version_option(package_name="branch-gateway")
def main() -> None:
    """Certificates for SIP over TLS."""


@main.command()
@_directory
@click.option("--name", required=True, metavar="NAME", help="What the CA is called, such as your company's name.")
@click.option("--days", type=click.IntRange(1, 36_500), default=CA_DAYS, show_default=True)
@_kind
def ca(directory: Path, name: str, days: int, kind: str) -> None:
    """Make a certification authority: DIRECTORY/ca.crt for all boxes, DIRECTORY/ca.key for nobody else."""
    certificate, key = directory / "ca.crt", directory / "ca.key"
    with _errors():
        _refuse_to_overwrite(certificate, key)
        made = make_ca(name, KeyKind(kind), _now(), days)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, data, mode in ((key, made.key_pem, 0o600), (certificate, made.certificate_pem, 0o644)):
            _write(path, data, mode)
            click.echo(f"{path}  ({mode:04o})")


@main.command()
@_directory
@click.argument("name")
@click.option("--host", "hosts", multiple=True, metavar="HOST", help="A DNS name of the box; several may be given.")
@click.option(
    "--ip", "addresses", multiple=True, metavar="ADDRESS", help="An address of the box; several may be given."
)
@click.option("--days", type=click.IntRange(1, 36_500), default=BOX_DAYS, show_default=True)
@_kind
def box(directory: Path, name: str, hosts: tuple[str, ...], addresses: tuple[str, ...], days: int, kind: str) -> None:
    """Make a certificate for the box NAME, signed by the CA in DIRECTORY.

    \b
    NAME.crt and NAME.key: tls_certificate and tls_key of the box, with ca.crt as tls_ca.
    NAME.pem: both in one, as Asterisk's tlscertfile has it.
    """  # noqa: D301 - click's mark for a paragraph that is to keep its lines
    with _errors():
        if not name or name == "ca" or not all(c.isalnum() or c in "._-" for c in name) or name.startswith("."):
            raise CertificateError(f"name is {name[:80]!r}, expected {_NAME}, and not ca")
        paths = [directory / f"{name}.{end}" for end in ("key", "crt", "pem")]
        _refuse_to_overwrite(*paths)
        authority = _authority(directory)
        made = make_box(authority, name, hosts, addresses, KeyKind(kind), _now(), days)
        for path, data, mode in zip(
            paths,
            (made.key_pem, made.certificate_pem, made.key_pem + made.certificate_pem),
            (0o600, 0o644, 0o600),
            strict=True,
        ):
            _write(path, data, mode)
            click.echo(f"{path}  ({mode:04o})")
        left = days_left(made.certificate, _now())
        if left < days - 1:
            click.echo(f"it ends with its CA, in {left:.0f} days", err=True)


@main.command()
@_directory
@click.argument("certificates", nargs=-1, required=True, type=click.Path(path_type=Path))
def revoke(directory: Path, certificates: tuple[Path, ...]) -> None:
    """Take back CERTIFICATES of the CA in DIRECTORY: they go on the list DIRECTORY/ca.crl, tls_crl of all boxes."""
    path = directory / "ca.crl"
    with _errors():
        authority = _authority(directory)
        before = None
        if path.exists():
            before = read_crls(_read(path))[0]
            if not is_of(before, authority.certificate):
                raise CertificateError(f"{path} is not of the CA in {directory}")
        taken = [_certificates(one)[0] for one in certificates]
        new = path.with_name(f".ca.crl.{os.getpid()}")
        _write(new, revoke_with(authority, before, taken, _now()), 0o644)
        new.replace(path)
        click.echo(f"{path}: {len(read_crls(_read(path))[0])} certificates are revoked")


def _authority(directory: Path) -> Identity:
    certificate, key = directory / "ca.crt", directory / "ca.key"
    if not certificate.exists() or not key.exists():
        raise CertificateError(f"{directory} has no ca.crt and ca.key; make them first: gateway-certs ca {directory}")
    found = Identity(_certificates(certificate)[0], _key(key))
    if not fits(found.certificate, found.key):
        raise CertificateError(f"{key} is not the key of {certificate}")
    return found


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def show(files: tuple[Path, ...]) -> None:
    """Say what is in certificate FILES."""
    with _errors():
        for path in files:
            for one in _certificates(path):
                click.echo(_shown(path, one))


def _shown(path: Path, one: x509.Certificate) -> str:
    left = days_left(one, _now())
    lines = [
        f"{path}: {describe_name(one.subject)}",
        f"  signed by  {'itself' if one.issuer == one.subject else describe_name(one.issuer)}",
        f"  for        {', '.join(names_of(one)) or 'no name'}",
        f"  key        {describe_key(one)}",
        f"  from       {one.not_valid_before_utc:%Y-%m-%d %H:%M} UTC",
        f"  until      {one.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, "
        + (f"{left:.0f} days left" if left >= 0 else f"ended {-left:.0f} days ago"),
    ]
    return "\n".join(lines)


@main.command()
@click.argument("certificate", type=click.Path(path_type=Path))
@click.option("--key", "key", type=click.Path(path_type=Path), help="Its private key, if not in the same file.")
@click.option("--ca", "authority", type=click.Path(path_type=Path), help="The CA that should have signed it.")
@click.option("--days", type=click.IntRange(0, 36_500), default=WARN_DAYS, show_default=True, help="Must be left.")
def check(certificate: Path, key: Path | None, authority: Path | None, days: int) -> None:
    """Say what is wrong with CERTIFICATE, a line each, or nothing.

    \b
    Exit status: 0 nothing is wrong, 1 something is.
    """  # noqa: D301
    found: list[str] = []
    with _errors():
        data = _read(certificate)
        chain = _certificates(certificate)
        fault = validity_fault(chain[0], _now())
        left = days_left(chain[0], _now())
        if fault:
            found.append(f"{certificate}: {fault}")
        elif left < days:
            found.append(f"{certificate}: ends in {left:.0f} days; make a new one in time")
        if not names_of(chain[0]):
            found.append(f"{certificate}: it is for no name; far ends cannot verify it (RFC 5922 7.1)")
        if key is not None or b"PRIVATE KEY" in data:
            path = key or certificate
            if not fits(chain[0], _key(path)):
                found.append(f"{path}: this private key does not fit the certificate")
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & 0o137:
                found.append(f"{path}: others may use this private key (mode {mode:04o}); chmod 600 {path}")
        if authority is not None:
            cas = _certificates(authority)
            if not known_to(chain, cas):
                found.append(f"{certificate}: {authority} did not sign it")
            found += [
                f"{authority}: {fault}" for one in cas if len(cas) == 1 and (fault := validity_fault(one, _now()))
            ]
    for line in found:
        click.echo(line, err=True)
    sys.exit(1 if found else 0)


class _errors:  # noqa: N801 - reads as a word of the command
    """Ends the command with one line for what cannot be."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, CertificateError | OSError):
            text = str(error) if isinstance(error, CertificateError) else f"{error.filename}: {error.strerror}"
            click.echo(f"gateway-certs: {text}", err=True)
            sys.exit(1)


if __name__ == "__main__":
    main()
