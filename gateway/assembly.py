"""From the configuration's words to the settings of each part: trunks, SIP peers, cause rules. Pure functions."""

from __future__ import annotations

from pathlib import Path

from gateway.cause_map import CauseRules
from gateway.config import model
from gateway.config.model import Configuration, OverlapDial
from gateway.config.values import PeerHost, VirtualChannels
from gateway.core import MILLISECOND
from gateway.pri.settings import Numbering, PriSettings
from gateway.voip.sip.codecs import CODECS, CodecRow
from gateway.voip.sip.flow import DEFAULT_PORT
from gateway.voip.sip.hop import Listener
from gateway.voip.sip.peers import (
    PeerKind,
    PeerSettings,
    SipSettings,
)
from gateway.voip.sip.telephone import NumberStyle


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
    """What the SIP endpoint is told: listeners, trunks and phones with a fixed address."""
    trunks = [
        _peer(trunk, trunk.host, PeerKind.TRUNK, user=trunk.defaultuser or "")
        for trunk in configuration.trunks
        if trunk.technology is model.Technology.SIP and not trunk.host.dynamic
    ]
    phones = [
        _peer(phone, phone.host, PeerKind.PHONE, user=phone.name)
        for phone in configuration.phones
        if not phone.host.dynamic
    ]
    return SipSettings(
        listeners=tuple(
            Listener(listen.transport.token, str(listen.address), listen.port) for listen in configuration.sip.listen
        ),
        peers=(*trunks, *phones),
        # A context without routes rejects whatever begins there: then nothing of it need begin.
        context=configuration.sip.context if _has_routes(configuration, configuration.sip.context) else None,
        user_agent=configuration.sip.useragent,
        timers=configuration.timers.sip,
        cause_rules=rules,
    )


def _has_routes(configuration: Configuration, context: str) -> bool:
    return any(route.context == context for route in configuration.routes)


def _peer(peer: model.SipPeer, host: PeerHost, kind: PeerKind, user: str) -> PeerSettings:
    return PeerSettings(
        name=peer.name,
        host=host.host,
        port=host.port or DEFAULT_PORT,
        transport=peer.transport.token,
        kind=kind,
        context=peer.context,
        user=user if kind is PeerKind.PHONE else "",
        codecs=_codecs(peer),
        dtmfmode=peer.dtmfmode,
        match_port=model.Insecure.PORT not in peer.insecure,
        trust_identity=peer.trustrpid,
        reliable=peer.prack,
        session_timers=peer.session_timers,
        style=NumberStyle(plus=peer.plus),
        redirection=peer.diversion,
        failover=peer.failover_ms * MILLISECOND,
    )


def _codecs(peer: model.SipPeer) -> tuple[CodecRow, ...]:
    by_codec = {row.codec: row for row in CODECS.values()}
    return tuple(by_codec[codec] for codec in peer.codecs if codec in by_codec)
