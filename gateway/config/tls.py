"""Checks of what the file says about TLS: listeners, certificate, key and CA, and what routes expect of hops.

What ends a box's calls when it happens by itself (a certificate that ends) is a warning: the lines go on without TLS.
"""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config.draft import Draft
from gateway.config.fields import Reader
from gateway.config.iax import asked_of
from gateway.config.model import Fact, Phone, Trunk
from gateway.config.private_keys import fault_of_mode
from gateway.config.values import Transport, is_file
from gateway.routing.destinations import Kind, Template
from gateway.voip.iax.peers import Encryption
from gateway.voip.sip.encryption import MediaEncryption
from gateway.voip.sip.tls import VerifyClient

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

MAX_PEM = 4 * 1024 * 1024
EXPIRES_SOON = 30
"""Days."""
MAX_NAMED_CAS = 5
"""CAs that are looked at for whether they have a list; more are a collection of public ones."""


def check_tls(reader: Reader, draft: Draft) -> None:
    """Note everything that is wrong with TLS."""
    sip = draft.sip
    listens = [index for index, listen in enumerate(sip.listen) if listen.transport is Transport.TLS]
    if listens and sip.tls_certificate is None and draft.written("sip", "tls_certificate") is None:
        text = "missing; expected the certificate for tls: in listen, such as gateway-certs makes"
        reader.error(("sip", "tls_certificate"), text)
    if sip.tls_key is not None and sip.tls_certificate is None and is_file(sip.tls_key):
        reader.error(("sip", "tls_key"), "expected tls_certificate beside it", str(sip.tls_key))
    _peers(reader, draft, bool(listens))
    _public_cas(reader, draft)
    _routes(reader, draft)
    if listens or any(peer.transport is Transport.TLS for _, peer in draft.peers()):
        _files(reader, draft)


def _peers(reader: Reader, draft: Draft, listens: bool) -> None:
    for path, peer in draft.peers():
        if peer.transport is Transport.AUTO:
            continue
        if peer.transport is not Transport.TLS:
            for key in ("tls_verify", "allow_wildcard_certs", "allow_common_name"):
                if draft.written(*path, key) is not None:
                    text = 'it has a use with transport = "tls" only'
                    reader.warning((*path, key), text, draft.written(*path, key))
            continue
        if not listens:
            text = 'expected "tls:[::]:5061", say, among listen of [sip]: the far end must be able to call back'
            reader.error((*path, "transport"), text, "tls")
        if not peer.tls_verify:
            text = "anybody between here and there can pretend to be it, and the hop does not count as secure"
            reader.warning((*path, "tls_verify"), text, False)


def _public_cas(reader: Reader, draft: Draft) -> None:
    """Without tls_ca it is the host's list of public CAs that says whom to trust."""
    sip = draft.sip
    if draft.written("sip", "tls_ca") is not None:
        return
    if sip.tls_verify_client is not VerifyClient.NO:
        text = "missing; any certificate of a public CA lets its owner connect. Expected your own CA's, as tls_ca"
        reader.warning(("sip", "tls_ca"), text)
    verified = any(peer.transport is Transport.TLS and peer.tls_verify for _, peer in draft.peers())
    if verified and not _has_public_cas():
        text = "missing; this host has no list of public CAs (ca-certificates), so no certificate would be believed"
        reader.warning(("sip", "tls_ca"), text)


def _has_public_cas() -> bool:
    where = ssl.get_default_verify_paths()
    if where.cafile is not None:
        return True
    try:
        # The directory is there without them, too.
        return where.capath is not None and next(Path(where.capath).iterdir(), None) is not None
    except OSError:
        return False


def _routes(reader: Reader, draft: Draft) -> None:
    peers = {peer.name: peer for _, peer in draft.peers()}
    # Their signalling is always in clear to the end of the authentication, and so counts as not secure.
    iax = {trunk.name: asked_of(draft, trunk) for _, trunk in draft.iax_trunks}
    for path, route in draft.routes:
        if not route.secure_bridge:
            continue
        for index, template in enumerate(route.to):
            why = _why_not(template, route.secure_bridge, peers, iax)
            if why:
                text = f"never tried, as secure_bridge asks for more: {why}"
                reader.warning((*path, "to", index), text, template.text)


def _why_not(
    template: Template, facts: tuple[Fact, ...], peers: dict[str, Trunk | Phone], iax: dict[str, Encryption]
) -> str:
    if template.kind is Kind.PRI:
        return "nothing on it is encrypted"
    if template.kind is Kind.IAX2:
        if Fact.SECURE_SIGNALLING in facts:
            return "signalling of IAX2 is never secure, its first frames go in the clear"
        return f"{template.target} has no encryption" if iax.get(template.target) is Encryption.NO else ""
    peer = peers.get(template.target) if template.kind is Kind.SIP else None
    if peer is None:
        return ""
    if Fact.SECURE_SIGNALLING in facts:
        # A phone that registers may do so over TLS whatever stands here.
        if peer.transport is not Transport.TLS and not peer.host.dynamic:
            return f'{peer.name} has transport = "{peer.transport.value}"'
        if peer.transport is Transport.TLS and not peer.tls_verify:
            return f"{peer.name} has tls_verify = false"
    if Fact.SECURE_MEDIA in facts and peer.media_encryption is MediaEncryption.NO:
        return f'{peer.name} has media_encryption = "no"'
    return ""


def _files(reader: Reader, draft: Draft) -> None:
    # Late, as most files have no TLS and cryptography takes long to load.
    from gateway.provision import certificates as x509

    sip = draft.sip
    now = datetime.datetime.now(datetime.UTC)
    certificate = _read(reader, draft, "tls_certificate", sip.tls_certificate)
    ca = _read(reader, draft, "tls_ca", sip.tls_ca)
    key = _read(reader, draft, "tls_key", sip.tls_key)
    chain, cas = [], []
    at = "tls_ca"
    try:
        if ca is not None:
            cas = x509.read_certificates(ca)
        at = "tls_certificate"
        if certificate is not None:
            chain = x509.read_certificates(certificate)
        at = "tls_key" if sip.tls_key is not None else "tls_certificate"
        if sip.tls_key is None:
            key = certificate
        private = x509.read_key(key) if key is not None else None
    except x509.CertificateError as error:
        reader.error(("sip", at), f"{error}; found none in it", draft.written("sip", at))
        return
    if chain and private is not None:
        _private(reader, draft, at, sip.tls_key or sip.tls_certificate)
        if not x509.fits(chain[0], private):
            text = "expected the private key that belongs to tls_certificate; this one does not fit it"
            reader.error(("sip", at), text, draft.written("sip", at))
    for name, one in (("tls_certificate", chain[:1]), ("tls_ca", cas)):
        for each in one:
            # Among the host's or a provider's many CAs some have always ended.
            fault = x509.validity_fault(each, now) if name == "tls_certificate" or len(cas) == 1 else ""
            left = x509.days_left(each, now)
            if not fault and name == "tls_certificate" and left < EXPIRES_SOON:
                fault = f"the certificate ends in {max(left, 0):.0f} days; make a new one in time"
            if fault:
                reader.warning(("sip", name), fault, draft.written("sip", name))
    _lists(reader, draft, cas, now)
    if len(cas) == 1 and not x509.is_ca(cas[0]):
        text = "expected the certificate of a CA; this one signs no others, so nobody but itself is trusted"
        reader.warning(("sip", "tls_ca"), text, draft.written("sip", "tls_ca"))
    if chain and cas and not x509.known_to(chain, cas):
        text = "the CA in tls_ca did not sign it: who trusts that CA will refuse us; have it signed by that CA"
        reader.warning(("sip", "tls_certificate"), text, draft.written("sip", "tls_certificate"))


def _lists(reader: Reader, draft: Draft, cas: list[Certificate], now: datetime.datetime) -> None:
    """Who is revoked: a CA without a good list has its certificates refused, all of them."""
    from gateway.provision import revocation
    from gateway.provision.certificates import CertificateError, describe_name

    data = _read(reader, draft, "tls_crl", draft.sip.tls_crl)
    if data is None:
        return
    written = draft.written("sip", "tls_crl")
    if b"-----BEGIN CERTIFICATE" in data or b"-----BEGIN TRUSTED" in data:
        reader.error(
            ("sip", "tls_crl"), "expected lists of revoked certificates and nothing else: CAs go to tls_ca", written
        )
        return
    try:
        lists = revocation.read_crls(data)
    except CertificateError as error:
        reader.error(("sip", "tls_crl"), str(error), written)
        return
    for one in lists:
        fault = revocation.list_fault(one, now)
        if fault:
            reader.warning(("sip", "tls_crl"), f"{fault}; until then all certificates of that CA are refused", written)
    for ca in cas[:MAX_NAMED_CAS]:
        if not any(revocation.is_of(one, ca) for one in lists):
            text = (
                f"it has no list of {describe_name(ca.subject)}, so certificates of that CA are refused; add its list"
            )
            reader.warning(("sip", "tls_crl"), text, written)


def _read(reader: Reader, draft: Draft, key: str, path: Path | None) -> bytes | None:
    # That there is no file at all is told elsewhere.
    if path is None or not is_file(path):
        return None
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PEM + 1)
    except OSError as error:
        text = f"cannot be read: {error.strerror}; expected a file that the gateway's user may read"
        reader.error(("sip", key), text, draft.written("sip", key))
        return None
    if len(data) > MAX_PEM:
        reader.error(("sip", key), f"expected at most {MAX_PEM} bytes", draft.written("sip", key))
        return None
    return data


def _private(reader: Reader, draft: Draft, key: str, path: Path | None) -> None:
    fault = "" if path is None else fault_of_mode(path)
    if fault:
        reader.error(("sip", key), fault, draft.written("sip", key))
