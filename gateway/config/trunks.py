"""Checks of trunks that we register with, and of where the servers of peers are looked for."""

from __future__ import annotations

from gateway.config.draft import Draft
from gateway.config.fields import Reader
from gateway.config.model import Insecure, Phone, Trunk
from gateway.config.problems import KeyPath
from gateway.config.values import Transport


def check_far_ends(reader: Reader, draft: Draft) -> None:
    """Note what is wrong with registrations and with transports that the DNS is to choose."""
    for path, peer in draft.peers():
        if peer.transport is Transport.AUTO:
            _automatic(reader, path, peer)
        if isinstance(peer, Trunk):
            if peer.register:
                _registration(reader, draft, path, peer)
            elif draft.written(*path, "registerexpiry") is not None:
                reader.warning((*path, "registerexpiry"), "of use with register = true only", peer.registerexpiry)
            if peer.outboundproxy is not None and peer.host.dynamic:
                text = "of no use with a trunk that registers with us: calls go where it registered from"
                reader.error((*path, "outboundproxy"), text, draft.written(*path, "outboundproxy"))


def _automatic(reader: Reader, path: KeyPath, peer: Trunk | Phone) -> None:
    if peer.host.dynamic or peer.host.address is not None or peer.host.port is not None:
        text = "expected udp, tcp or tls: only a name without a port has records that could tell (RFC 3263 4.1)"
        reader.error((*path, "transport"), text, peer.transport.value)


def _registration(reader: Reader, draft: Draft, path: KeyPath, trunk: Trunk) -> None:
    if trunk.host.dynamic:
        text = "expected the address or name of the registrar as host; with dynamic the far end registers with us"
        reader.error((*path, "register"), text, draft.written(*path, "register"))
    if trunk.defaultuser is None:
        reader.error((*path, "defaultuser"), "expected the user name of the account, as register is true")
    if trunk.secret is not None and Insecure.INVITE not in trunk.insecure:
        text = 'expected "invite" in it: hardly any provider proves with the password who it is when it calls'
        reader.warning((*path, "insecure"), text, draft.written(*path, "insecure"))
    if trunk.secret is None:
        reader.warning((*path, "secret"), "expected the password of the account, as nearly all registrars ask for it")
