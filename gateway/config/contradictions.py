"""Checks of what goes together with something else only: keys of no effect, peers nobody can reach, facts nobody has.

Errors are what can never work; what works otherwise than its writer may think is a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, ip_network

from gateway.config.draft import Draft
from gateway.config.fields import Reader
from gateway.config.iax import asked_of
from gateway.config.model import Fact, Peer, Phone, Trunk
from gateway.config.problems import KeyPath
from gateway.config.values import Address, Listen, PeerHost, Transport
from gateway.voip.iax.peers import Encryption
from gateway.voip.sip.direct_policy import DirectMedia
from gateway.voip.sip.encryption import MediaEncryption
from gateway.voip.sip.flow import default_port
from gateway.voip.sip.nat import NatMode

LEAST_PORTS = 40
"""Without spans: room for ten calls between SIP sides, each of which takes two pairs."""
PORTS_PER_SIP_CALL = 4
_PRIVATE: tuple[IPv4Network, ...] = tuple(
    # RFC 1918, RFC 6598, RFC 3927.
    IPv4Network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16")
)
# RFC 3261 17.1.2.2: timer F, 64 T1.
_LONGEST_ANSWER = 32_000
_EVERYBODY = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def check_contradictions(reader: Reader, draft: Draft) -> None:
    """Note what cannot be so together."""
    _accounts(reader, draft)
    _reach(reader, draft)
    _network(reader, draft)
    _direct(reader, draft)
    _facts(reader, draft)
    _ports(reader, draft)
    for path, each in draft.all_peers():
        if draft.written(*path, "qualifyfreq") is not None and each.qualify.milliseconds is None:
            reader.warning((*path, "qualifyfreq"), "of use with qualify only", each.qualifyfreq)
        _permits(reader, path, each)
    for path, peer in draft.peers():
        if (peer.qualify.milliseconds or 0) > _LONGEST_ANSWER:
            seconds = _LONGEST_ANSWER // 1000
            text = f"these are milliseconds, and SIP waits {seconds} s for an answer (timer F): it is never lagged"
            reader.warning((*path, "qualify"), text, peer.qualify.milliseconds)


def _accounts(reader: Reader, draft: Draft) -> None:
    """A registration, ours with a provider or one with us, belongs to one trunk or phone."""
    ours: dict[tuple[str, str], KeyPath] = {}
    theirs: dict[str, KeyPath] = {peer.name: (*path, "name") for path, peer in draft.peers() if peer.host.dynamic}
    for path, trunk in draft.trunks:
        user = trunk.defaultuser
        if user is None:
            continue
        if trunk.register:
            host = f"{trunk.host.host.lower()} {trunk.host.port or default_port(trunk.transport.token)}"
            first = ours.setdefault((host, user), path)
        elif trunk.host.dynamic and user != trunk.name:
            first = theirs.setdefault(user, path)
        else:
            continue
        if first != path:
            text = f"expected an account of its own; that of line {reader.line(first)} is the same"
            reader.error((*path, "defaultuser"), text, user)


def _reach(reader: Reader, draft: Draft) -> None:
    """There must be a socket of ours from which a peer's address can be reached."""
    listens = draft.sip.listen
    if not listens:
        return
    for path, peer in draft.peers():
        host = peer.host
        if host.dynamic:
            continue
        address = host.address
        if address is not None and (address.is_unspecified or address.is_multicast):
            reader.error((*path, "host"), "expected an address that calls can go to", draft.written(*path, "host"))
            continue
        _socket(reader, path, peer, address, listens)
        for listen in listens:
            own = not listen.address.is_unspecified and listen.transport is peer.transport
            if own and listen.address == address and listen.port == (host.port or default_port(peer.transport.token)):
                text = f"is our own address, {listen} in listen: calls to it would come back"
                reader.warning((*path, "host"), text, draft.written(*path, "host"))


def _socket(
    reader: Reader, path: KeyPath, peer: Trunk | Phone, address: Address | None, listens: Sequence[Listen]
) -> None:
    transport = peer.transport
    if transport in (Transport.AUTO, Transport.TLS):
        # Of TLS the certificate's checks say it.
        return
    word = transport.value
    usable = [listen for listen in listens if listen.transport is transport]
    if not usable:
        text = f'expected "{word}:[::]:5060", say, among listen of [sip]: there is nothing to reach it from'
        if transport is Transport.UDP:
            others = " or ".join(f'"{each}"' for each in dict.fromkeys(one.transport.value for one in listens))
            reader.error((*path, "transport"), f"{text}; or transport = {others}", word)
        else:
            text = f'expected "{word}:[::]:5060", say, among listen of [sip]: the far end must be able to call back'
            reader.warning((*path, "transport"), text, word)
    elif address is not None and not any(listen.reaches(address) for listen in usable):
        text = (
            f'expected "{word}:[::]:5060", say, among listen of [sip]: {usable[0]} does not reach IPv{address.version}'
        )
        reader.error((*path, "host"), text, str(peer.host))


def _network(reader: Reader, draft: Draft) -> None:
    network = draft.network
    if isinstance(network.externip, PeerHost):
        address = network.externip.address
        if address is not None and address.version == 4 and any(address in one for one in _PRIVATE):
            text = "a private address, which the Internet cannot reach; expected that of the router in front of us"
            reader.warning(("network", "externip"), text, str(network.externip))
    for index, one in enumerate(network.localnet):
        if one in _EVERYBODY:
            text = "everybody is local then, and nobody is told our address outside"
            reader.warning(("network", "localnet", index), text, str(one))


def _direct(reader: Reader, draft: Draft) -> None:
    allowed = False
    for path, peer in draft.peers():
        directly = bool(peer.directmedia) and DirectMedia.NO not in peer.directmedia
        why = ""
        if NatMode.COMEDIA in peer.nat:
            why = 'nat has "comedia"'
        elif peer.media_encryption is MediaEncryption.REQUIRED:
            why = "its voice is encrypted"
        if directly and why:
            text = f"its voice goes through the gateway all the same, as {why}"
            reader.warning((*path, "directmedia"), text, draft.written(*path, "directmedia"))
        allowed = allowed or (directly and not why)
        for key in ("directmediapermit", "directmediadeny"):
            if getattr(peer, key) and not directly:
                reader.warning((*path, key), "of use with directmedia only", draft.written(*path, key))
    if draft.sip.directrtpsetup and not allowed:
        reader.warning(("sip", "directrtpsetup"), "of use with directmedia of a trunk or phone only", True)


def _permits(reader: Reader, path: KeyPath, peer: Peer) -> None:
    for index, one in enumerate(peer.directmediadeny):
        if one in peer.directmediapermit:
            text = "permitted all the same, as it is in directmediapermit too"
            reader.warning((*path, "directmediadeny", index), text, str(one))


def _facts(reader: Reader, draft: Draft) -> None:
    """What a route requires somebody must be able to have."""
    tls = any(listen.transport is Transport.TLS for listen in draft.sip.listen)
    keys = any(peer.media_encryption is not MediaEncryption.NO for _, peer in draft.peers())
    iax = any(asked_of(draft, trunk) is not Encryption.NO for _, trunk in draft.iax_trunks)
    for path, route in draft.routes:
        for index, fact in enumerate(route.require):
            if fact is Fact.SECURE_MEDIA and iax:
                continue
            if not tls:
                text = 'no call can have it: "tls:[::]:5061", say, is not among listen of [sip]'
            elif fact is Fact.SECURE_MEDIA and not keys:
                text = 'no call can have it: media_encryption of all trunks and phones is "no"'
            else:
                continue
            reader.warning((*path, "require", index), text, fact.value)


def _ports(reader: Reader, draft: Draft) -> None:
    """Of spans the check of ports says what they need."""
    ports = draft.media.rtp_ports
    if draft.spans or not _any(draft.peers()) or len(ports) >= LEAST_PORTS:
        return
    text = f"room for calls at once: {len(ports) // PORTS_PER_SIP_CALL}, of four ports each; further ones get cause 47"
    reader.warning(("media", "rtp_ports"), text, draft.written("media", "rtp_ports"))


def _any(peers: Iterable[object]) -> bool:
    return next(iter(peers), None) is not None
