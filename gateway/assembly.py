"""From the configuration's words to the settings of each part: spans, SIP and its peers, cause rules. Pure functions.

Those of IAX2 are in ``assembly_iax.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gateway.cause_map import CauseRules
from gateway.config import model
from gateway.config.model import Configuration, OverlapDial
from gateway.config.secrets import secret_text
from gateway.config.values import PeerHost, Transport, VirtualChannels
from gateway.core import MILLISECOND, SECOND
from gateway.media.api import Tone
from gateway.media.tones import HOLD_TONE
from gateway.pri.settings import Numbering, PriSettings
from gateway.routing.emergency import emergency_numbers
from gateway.routing.prompts import prompt_path
from gateway.voip.sip.codecs import CODECS, CodecRow
from gateway.voip.sip.digest import Algorithm
from gateway.voip.sip.direct_policy import policy_of
from gateway.voip.sip.externip import Addressing
from gateway.voip.sip.far_end_settings import FarEndSettings, RegistrationSettings
from gateway.voip.sip.flow import default_port, literal_address
from gateway.voip.sip.hop import Listener
from gateway.voip.sip.peers import (
    Brakes,
    PeerKind,
    PeerSettings,
    RegistrarSettings,
    SipSettings,
)
from gateway.voip.sip.targets import Domain
from gateway.voip.sip.telephone import NumberStyle
from gateway.voip.sip.tls import TlsSettings

STUN_PORT = 3478
"""RFC 8489 17.6."""
REGISTERED_KEEPALIVE = 25
"""Seconds: NATs forget a UDP binding after 30 (RFC 4787 4.3 asks for 2 minutes, and is not heard by all)."""


def cause_rules(configuration: Configuration) -> CauseRules:
    """The operator's ``[[cause]]`` rules as one table."""
    rules = configuration.causes
    return CauseRules(
        to_sip={rule.cause: rule.to_sip for rule in rules if rule.to_sip is not None},
        from_sip={status: rule.cause for rule in rules for status in rule.from_sip},
        failover={rule.cause: rule.failover for rule in rules if rule.failover is not None},
        tone={rule.cause: rule.tone for rule in rules if rule.tone is not None},
    )


def span_directory(span: model.Span) -> Path:
    """The directory of a virtual span's sockets; ValueError for a card."""
    if not isinstance(span.channels, VirtualChannels):
        raise ValueError(f"span {span.name}: {span.channels}: cards are not yet supported")
    return Path(span.channels.directory)


def pri_settings(span: model.Span, configuration: Configuration) -> PriSettings:
    """What a span's trunk is told."""
    directory = span_directory(span)
    paths = {timeslot: str(directory / str(timeslot)) for timeslot in range(1, span.line.timeslots + 1)}
    overlap = span.overlapdial
    return PriSettings(
        name=span.name,
        channel_path=paths.__getitem__,
        line=span.line,
        side=span.side,
        switch_type=span.switch_type.value,
        context=span.context,
        law=span.companding,
        timeslots=span.timeslots,
        overlap_receive=overlap in (OverlapDial.INCOMING, OverlapDial.BOTH),
        overlap_send=overlap in (OverlapDial.OUTGOING, OverlapDial.BOTH),
        numbering=Numbering(
            called_type=span.pridialplan,
            calling_type=span.prilocaldialplan,
            international_prefix=span.internationalprefix,
            national_prefix=span.nationalprefix,
        ),
        lapd_timers={**configuration.timers.q921, **span.timers.q921},
        q931_timers={**configuration.timers.q931, **span.timers.q931},
    )


def sip_settings(configuration: Configuration, rules: CauseRules | None = None) -> SipSettings:
    """What the SIP endpoint is told: listeners, trunks, phones, and terms of registration."""
    trunks = [_peer(trunk, trunk.host, PeerKind.TRUNK, configuration.path.parent) for trunk in configuration.trunks]
    phones = [_peer(phone, phone.host, PeerKind.PHONE, configuration.path.parent) for phone in configuration.phones]
    return SipSettings(
        listeners=tuple(
            Listener(listen.transport.token, str(listen.address), listen.port) for listen in configuration.sip.listen
        ),
        peers=(*trunks, *phones),
        # A context without routes rejects whatever begins there: then nothing of it need begin.
        context=configuration.sip.context if has_routes(configuration, configuration.sip.context) else None,
        user_agent=configuration.sip.useragent,
        timers=configuration.timers.sip,
        addressing=addressing(configuration),
        cause_rules=rules,
        registrar=registrar_settings(configuration.sip),
        directrtpsetup=configuration.sip.directrtpsetup,
        realm=configuration.sip.realm,
        algorithms=tuple(Algorithm[each.name] for each in dict.fromkeys(configuration.sip.auth_algorithms)),
        emergency=emergency_numbers(configuration.gateway.country),
    )


def registrar_settings(sip: model.SipSection) -> RegistrarSettings:
    """The terms of registrations; what was left out keeps within what was set."""
    return RegistrarSettings(
        minexpiry=sip.minexpiry,
        maxexpiry=sip.maxexpiry,
        defaultexpiry=min(max(sip.defaultexpiry, sip.minexpiry), sip.maxexpiry),
        natexpiry=min(sip.natexpiry, sip.maxexpiry),
    )


def tls_settings(configuration: Configuration) -> TlsSettings | None:
    """What TLS is set up with; None where nothing uses it."""
    sip = configuration.sip
    every: tuple[model.Trunk | model.Phone, ...] = (*configuration.trunks, *configuration.phones)
    peers = [peer for peer in every if peer.transport in (Transport.TLS, Transport.AUTO)]
    listens = any(listen.transport is Transport.TLS for listen in sip.listen)
    if not listens and all(peer.transport is not Transport.TLS for peer in peers):
        return None
    return TlsSettings(
        certificate=sip.tls_certificate,
        key=sip.tls_key,
        ca=sip.tls_ca,
        crl=sip.tls_crl,
        verify_client=sip.tls_verify_client,
        unverified=_hosts([peer for peer in peers if not peer.tls_verify]),
        wildcards=_hosts([peer for peer in peers if peer.allow_wildcard_certs]),
        common_names=_hosts([peer for peer in peers if peer.allow_common_name]),
        names=_hosts(peers),
    )


def _hosts(peers: Sequence[model.Trunk | model.Phone]) -> frozenset[str]:
    """What certificates of ``peers`` are to be for: their hosts, or the proxies before them."""
    hosts = {peer.host.host for peer in peers if not peer.host.dynamic}
    hosts |= {peer.outboundproxy.host for peer in peers if isinstance(peer, model.Trunk) and peer.outboundproxy}
    return frozenset(host.rstrip(".").lower() for host in hosts)


def addressing(configuration: Configuration) -> Addressing:
    """What is settled about our addresses."""
    network = configuration.network
    fixed = network.externip if isinstance(network.externip, PeerHost) else None
    name = network.externhost
    stun = network.stunaddr
    written = fixed or name
    return Addressing(
        externip=fixed.host if fixed is not None else "",
        externport=(written.port if written is not None else None) or 0,
        externtcpport=network.externtcpport or 0,
        externtlsport=network.externtlsport or 0,
        externhost="" if fixed is not None or name is None else name.host,
        externrefresh=network.externrefresh * SECOND,
        automatic=network.externip == "auto" and name is None,
        localnet=tuple(one for one in network.localnet if not isinstance(one, str)),
        localnet_auto="auto" in network.localnet,
        media_address=literal_address(configuration.media.media_address or "") or "",
        stun=None if stun is None else (stun.host, stun.port or STUN_PORT),
    )


def music_on_hold(configuration: Configuration) -> Tone | str | None:
    """What a side hears that is on hold: a tone, the path of a WAV file, or nothing of ours."""
    word = configuration.media.musiconhold
    if word == "none":
        return None
    return HOLD_TONE if word == "tone" else str(prompt_path(configuration.media.prompts, word))


def has_routes(configuration: Configuration, context: str) -> bool:
    """Whether a call that begins in ``context`` can go anywhere."""
    return any(route.context == context for route in configuration.routes)


def _peer(peer: model.SipPeer, host: PeerHost, kind: PeerKind, directory: Path) -> PeerSettings:
    trunk = peer if isinstance(peer, model.Trunk) else None
    return PeerSettings(
        name=peer.name,
        host=host.host,
        port=host.port or default_port(peer.transport.token),
        transport=peer.transport.token,
        kind=kind,
        context=peer.context,
        user=peer.name if trunk is None else "",
        codecs=_codecs(peer),
        dtmfmode=peer.dtmfmode,
        match_port=model.Insecure.PORT not in peer.insecure,
        insecure_invite=model.Insecure.INVITE in peer.insecure,
        secret=secret_text(peer.secret, directory) if peer.secret is not None else "",
        auth_user=trunk.defaultuser or "" if trunk is not None else "",
        fromuser=trunk.fromuser or "" if trunk is not None else "",
        fromdomain=trunk.fromdomain or "" if trunk is not None else "",
        brakes=Brakes(peer.call_limit, peer.calls_per_hour, peer.destinations_per_hour),
        trust_identity=peer.trustrpid,
        reliable=peer.prack,
        session_timers=peer.session_timers,
        packet_milliseconds=peer.ptime,
        media_encryption=peer.media_encryption,
        style=NumberStyle(plus=peer.plus),
        nat=peer.nat,
        redirection=peer.diversion,
        failover=peer.failover_ms * MILLISECOND,
        # A provider has no business with where our calls go unless it was given some.
        allowtransfer=kind is PeerKind.PHONE if peer.allowtransfer is None else peer.allowtransfer,
        rtptimeout=peer.rtptimeout * SECOND,
        comfort_noise=peer.comfort_noise,
        direct=policy_of(peer.directmedia, peer.directmediapermit, peer.directmediadeny),
        dynamic=host.dynamic,
        max_contacts=peer.max_contacts,
        tls_verify=peer.tls_verify,
        far_end=far_end(peer, host),
    )


def far_end(peer: model.SipPeer, host: PeerHost) -> FarEndSettings:
    """Where the peer's servers are, whether we register with it, and how it is watched."""
    domain: Domain | None = None
    registration: RegistrationSettings | None = None
    keepalive = peer.keepalive or 0
    if isinstance(peer, model.Trunk):
        if peer.outboundproxy is not None:
            domain = _domain(peer.outboundproxy, peer.transport)
        if peer.register:
            registration = RegistrationSettings(
                peer.defaultuser or peer.name, peer.registerexpiry, peer.fromdomain or ""
            )
            keepalive = REGISTERED_KEEPALIVE if peer.keepalive is None else peer.keepalive
    if domain is None and not host.dynamic and host.address is None:
        domain = _domain(host, peer.transport)
    return FarEndSettings(
        domain=domain,
        registration=registration,
        qualify=(peer.qualify.milliseconds or 0) * MILLISECOND,
        qualifyfreq=peer.qualifyfreq * SECOND,
        keepalive=keepalive * SECOND,
    )


def _domain(host: PeerHost, transport: Transport) -> Domain:
    word = "" if transport is Transport.AUTO else transport.token
    return Domain(host.host.rstrip(".").lower(), host.port or 0, word)


def _codecs(peer: model.SipPeer) -> tuple[CodecRow, ...]:
    by_codec = {row.codec: row for row in CODECS.values()}
    return tuple(by_codec[codec] for codec in peer.codecs if codec in by_codec)
