"""Checks across sections: names that lead somewhere, once each; ports that do not collide; files there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from os.path import normpath

from gateway.config.contradictions import check_contradictions
from gateway.config.draft import Draft
from gateway.config.fields import Reader
from gateway.config.iax import check_iax
from gateway.config.model import MEDIA_CODECS, CodecName, Peer, SipPeer, Span, SwitchType, Trunk
from gateway.config.problems import KeyPath, did_you_mean
from gateway.config.routes import check_routes
from gateway.config.secrets import is_guessable, secret_text
from gateway.config.timers import check_together as check_timers_together
from gateway.config.timers import merged
from gateway.config.tls import check_tls
from gateway.config.trunks import check_far_ends
from gateway.config.values import (
    MAX_SOCKET_PATH,
    Listen,
    PeerHost,
    Transport,
    VirtualChannels,
    is_directory,
    is_file,
    read_address,
    socket_path_too_long,
)
from gateway.core import SECOND
from gateway.media.tones import COUNTRIES, TONE_NAMES
from gateway.pri.channels import MAX_TABLES_IN_GROUP, Line
from gateway.voip.sip.encryption import MediaEncryption
from gateway.voip.sip.flow import default_port
from gateway.voip.sip.timers import SIP_TIMERS, SipTimer

MAX_SPANS = 64
MAX_PEERS = 4096
PORTS_PER_CALL = 2
# An IPv6 address without brackets that ends like SIP's port.
_PORT_IN_ADDRESS = re.compile(r"[^\[]+:.*:50[67][0-9]")


def check_together(reader: Reader, draft: Draft) -> None:
    """Note everything that is wrong between sections."""
    _gateway(reader, draft)
    _network(reader, draft)
    _names(reader, draft)
    _spans(reader, draft)
    _peers(reader, draft)
    _files(reader, draft)
    _session_timers(reader, draft)
    _registrar(reader, draft)
    _ports(reader, draft)
    _causes(reader, draft)
    check_routes(reader, draft)
    check_far_ends(reader, draft)
    check_tls(reader, draft)
    check_iax(reader, draft)
    check_contradictions(reader, draft)


def _once(reader: Reader, entries: Iterable[tuple[KeyPath, str]], what: str) -> None:
    """Note each of ``entries`` that was there before."""
    seen: dict[str, KeyPath] = {}
    for path, name in entries:
        first = seen.setdefault(name, path)
        if first is not path:
            reader.error(path, f"expected {what} of its own; line {reader.line(first)} has the same", name)


def _gateway(reader: Reader, draft: Draft) -> None:
    country = draft.gateway.country
    if country not in COUNTRIES:
        known = sorted(COUNTRIES)
        text = f"expected one of {', '.join(known)}{did_you_mean(country, known)}"
        reader.error(("gateway", "country"), text, country)
    control = draft.media.control or draft.gateway.run_dir / "media.sock"
    where = ("media", "control") if draft.media.control else ("gateway", "run_dir")
    if socket_path_too_long([str(control)]):
        text = f"expected a path of at most {MAX_SOCKET_PATH} bytes for the socket {control}"
        reader.error(where, text, draft.written(*where))
    if draft.media.media_address is not None:
        try:
            address = read_address(draft.media.media_address)
        except ValueError as error:
            reader.error(("media", "media_address"), str(error), draft.media.media_address)
        else:
            if address.is_unspecified or address.is_multicast:
                text = "expected an address that peers can send voice to"
                reader.error(("media", "media_address"), text, draft.media.media_address)


def _network(reader: Reader, draft: Draft) -> None:
    network = draft.network
    written = network.externip if isinstance(network.externip, PeerHost) else None
    if written is not None and network.externhost is not None:
        text = f"expected either externip or externhost; externip is {written}"
        reader.error(("network", "externhost"), text, draft.written("network", "externhost"))
    if network.externip == "none" and network.externhost is not None:
        text = 'expected externip = "auto", or none of it, beside externhost'
        reader.error(("network", "externip"), text, "none")
    if written is None and network.externhost is None:
        for key in ("externtcpport", "externtlsport"):
            if getattr(network, key) is not None:
                reader.warning(("network", key), "it has a use with externip or externhost only", getattr(network, key))
    elif network.stunaddr is not None:
        text = "nothing is asked there, as the external address is set"
        reader.warning(("network", "stunaddr"), text, draft.written("network", "stunaddr"))


def _names(reader: Reader, draft: Draft) -> None:
    _once(reader, (((*path, "name"), name) for path, name in draft.names("span")), "a name")
    # sip:NAME may mean either, so they share one space; of all trunks one would not know which is meant in a record.
    peers = [*draft.names("trunk"), *draft.names("phone")]
    _once(reader, (((*path, "name"), name) for path, name in peers), "a name")
    for section, limit in (("span", MAX_SPANS), ("trunk", MAX_PEERS), ("phone", MAX_PEERS)):
        tables = draft.written(section)
        if isinstance(tables, list) and len(tables) > limit:
            reader.error((section, limit), f"expected at most {limit} of [[{section}]], found {len(tables)}")


def _spans(reader: Reader, draft: Draft) -> None:
    directories = []
    groups: dict[str, int] = {}
    for path, span in draft.spans:
        if isinstance(span.channels, VirtualChannels):
            directories.append(((*path, "channels"), f"virtual:{normpath(span.channels.directory)}"))
            _channel_directory(reader, (*path, "channels"), span, span.channels.directory)
        _switch_type(reader, draft, path, span)
        if span.timeslots is not None and set(span.timeslots) - set(span.b_channels):
            text = f"expected B channels of {span.line.value}; the D channel is on {span.d_channel}"
            reader.error((*path, "timeslots"), text, draft.written(*path, "timeslots"))
        for group in span.group:
            groups[group] = groups.get(group, 0) + 1
            if groups[group] == MAX_TABLES_IN_GROUP + 1:
                reader.error((*path, "group"), f"expected at most {MAX_TABLES_IN_GROUP} spans in a group", group)
        check_timers_together(reader, (*path, "timers"), merged(draft.timers, span.timers), span.side)
    _once(reader, directories, "channels")


def _switch_type(reader: Reader, draft: Draft, path: KeyPath, span: Span) -> None:
    """EuroISDN is a language of E1 (ETS 300 011); on a T1 it would be a forgotten key."""
    if span.line is Line.T1 and span.switch_type is SwitchType.EUROISDN:
        others = ", ".join(kind.value for kind in SwitchType if kind is not SwitchType.EUROISDN)
        written = draft.written(*path, "switch_type")
        text = f"expected one of {others} on a t1 line" + ("" if written else "; left out it is euroisdn")
        reader.error((*path, "switch_type"), text, written)


def _channel_directory(reader: Reader, path: KeyPath, span: Span, directory: str) -> None:
    longest = (f"{directory}/{name}" for name in ("line", span.line.timeslots))
    too_long = socket_path_too_long(longest)
    if too_long:
        text = f"expected socket paths of at most {MAX_SOCKET_PATH} bytes; {too_long[-12:]!r} ends one that is longer"
        reader.error(path, text, str(span.channels))


def _media_encryption(reader: Reader, path: KeyPath, peer: SipPeer) -> None:
    """The keys of SRTP go by signalling (RFC 4568 8.2): who can read that can read them."""
    if peer.transport is Transport.TLS or peer.media_encryption is MediaEncryption.NO:
        return
    path = (*path, "media_encryption")
    value = peer.media_encryption.value
    if peer.media_encryption is MediaEncryption.REQUIRED:
        reader.error(path, 'expected transport = "tls" beside it; the keys would be sent in the clear', value)
    else:
        reader.warning(path, 'no keys are offered without transport = "tls"; the voice is in the clear', value)


def _peers(reader: Reader, draft: Draft) -> None:
    addresses = []
    for path, peer in draft.all_peers():
        _codecs(reader, draft, path, peer)
        written = draft.written(*path, "host")
        if isinstance(written, str) and _PORT_IN_ADDRESS.fullmatch(written):
            text = "read as an address without a port; with a port it would be [ADDRESS]:PORT"
            reader.warning((*path, "host"), text, written)
        if peer.secret is not None:
            try:
                guessable = is_guessable(secret_text(peer.secret, draft.directory), peer.name)
            except ValueError as error:
                reader.error((*path, "secret"), str(error))
            else:
                if guessable:
                    text = "easily guessed; expected 8 characters or more (of digits alone 12) that are not its name"
                    reader.warning((*path, "secret"), text)
    for path, peer in draft.peers():
        _media_encryption(reader, path, peer)
        if peer.host.dynamic and peer.secret is None:
            what = "trunk" if isinstance(peer, Trunk) else "phone"
            text = f"expected a secret, as anybody could register as this {what}; or its fixed address as host"
            reader.error((*path, "secret"), text)
        if not peer.host.dynamic and not (isinstance(peer, Trunk) and peer.register):
            # Several accounts with one provider are told apart by the user that it calls.
            port = peer.host.port or default_port(peer.transport.token)
            addresses.append(((*path, "host"), f"{peer.transport.value} {peer.host.host.lower()} {port}"))
    _once_host(reader, draft, addresses)


def _codecs(reader: Reader, draft: Draft, path: KeyPath, peer: Peer) -> None:
    if not peer.allow:
        reader.error((*path, "allow"), "expected at least one codec", [])
    elif CodecName.ALL in peer.disallow and draft.written(*path, "allow") is None:
        text = "expected allow beside it, with the codecs that remain"
        reader.error((*path, "disallow"), text, draft.written(*path, "disallow"))
    elif not peer.codecs and all(name in MEDIA_CODECS for name in peer.allow):
        reader.error((*path, "disallow"), "expected to leave a codec of allow", draft.written(*path, "disallow"))
    elif not peer.codecs:
        names = ", ".join(name.value for name in MEDIA_CODECS)
        reader.error((*path, "allow"), f"expected one of {names} among them", draft.written(*path, "allow"))


def _once_host(reader: Reader, draft: Draft, addresses: Iterable[tuple[KeyPath, str]]) -> None:
    seen: dict[str, KeyPath] = {}
    for path, address in addresses:
        first = seen.setdefault(address, path)
        if first is not path:
            text = (
                f"expected an address of its own, as calls from it belong to one peer; line {reader.line(first)} has it"
            )
            reader.error(path, text, draft.written(*path))


def _files(reader: Reader, draft: Draft) -> None:
    if is_file(draft.gateway.run_dir):
        text = "expected a directory, or a path where one can be made; there is a file"
        reader.error(("gateway", "run_dir"), text, draft.written("gateway", "run_dir"))
    if draft.gateway.state_dir is not None and is_file(draft.gateway.state_dir):
        text = "expected a directory, or a path where one can be made; there is a file"
        reader.error(("gateway", "state_dir"), text, draft.written("gateway", "state_dir"))
    if is_directory(draft.gateway.records_path):
        text = f"expected a path for a file; {draft.gateway.records_path} is a directory"
        reader.error(("gateway", "records"), text, draft.written("gateway", "records"))
    for key in ("tls_certificate", "tls_key", "tls_ca", "tls_crl"):
        path = getattr(draft.sip, key)
        if path is not None and not is_file(path):
            reader.error(("sip", key), f"expected a file; there is none at {path}", draft.written("sip", key))


def _session_timers(reader: Reader, draft: Draft) -> None:
    expires = draft.timers.sip.get(SipTimer.REFRESH, SIP_TIMERS[SipTimer.REFRESH].default) // SECOND
    least = draft.timers.sip.get(SipTimer.EXPIRY, SIP_TIMERS[SipTimer.EXPIRY].default) // SECOND
    if expires < least:
        text = f"expected at least session_minse, which is {least} (RFC 4028 5)"
        reader.error(("sip", "session_expires"), text, draft.written("sip", "session_expires"))


def _registrar(reader: Reader, draft: Draft) -> None:
    sip = draft.sip
    if sip.minexpiry > sip.maxexpiry:
        text = f"expected at least minexpiry, which is {sip.minexpiry}"
        reader.error(("sip", "maxexpiry"), text, draft.written("sip", "maxexpiry"))
        return
    # Those that are left out keep within the limits by themselves.
    written = draft.written("sip", "defaultexpiry")
    if written is not None and not sip.minexpiry <= sip.defaultexpiry <= sip.maxexpiry:
        text = f"expected a time from minexpiry to maxexpiry, {sip.minexpiry} to {sip.maxexpiry}"
        reader.error(("sip", "defaultexpiry"), text, written)
    written = draft.written("sip", "natexpiry")
    if written is not None and sip.natexpiry > sip.maxexpiry:
        reader.error(("sip", "natexpiry"), f"expected at most maxexpiry, which is {sip.maxexpiry}", written)


def _ports(reader: Reader, draft: Draft) -> None:
    if not draft.sip.listen and any(True for _ in draft.peers()):
        reader.error(("sip", "listen"), "expected at least one TRANSPORT:ADDRESS:PORT", [])
    seen: list[tuple[KeyPath, Listen]] = []
    points = [(("sip", "listen", index), listen) for index, listen in enumerate(draft.sip.listen)]
    if draft.iax is not None:
        points += [(("iax", "listen", index), listen) for index, listen in enumerate(draft.iax.listen)]
    for path, listen in points:
        for other_path, other in seen:
            if _collide(listen, other):
                text = f"expected a port of its own; {other} is on line {reader.line(other_path)}"
                reader.error(path, text, str(listen))
                break
        seen.append((path, listen))
        if listen.transport is Transport.UDP and listen.port in draft.media.rtp_ports:
            ports = draft.media.rtp_ports
            reader.error(path, f"expected a port outside rtp_ports, {ports.first} to {ports.last}", str(listen))
    needed = PORTS_PER_CALL * sum(len(span.b_channels) for _, span in draft.spans)
    if draft.spans and len(draft.media.rtp_ports) < needed:
        text = f"expected room for {needed} ports, two for each B channel; further calls get cause 47"
        reader.warning(("media", "rtp_ports"), text, draft.written("media", "rtp_ports"))


def _collide(one: Listen, other: Listen) -> bool:
    """Whether both cannot be bound: ``::`` takes IPv4 too; TLS runs over TCP."""
    if one.port != other.port or (one.transport is Transport.UDP) != (other.transport is Transport.UDP):
        return False
    if one.address == other.address:
        return True
    everything = ip_address("::")
    if everything in (one.address, other.address):
        return True
    same_family = one.address.version == other.address.version
    return same_family and (one.address.is_unspecified or other.address.is_unspecified)


def _causes(reader: Reader, draft: Draft) -> None:
    _once(reader, (((*path, "cause"), rule.cause.name.lower()) for path, rule in draft.causes), "a cause")
    statuses = []
    for path, rule in draft.causes:
        statuses += [((*path, "from_sip", index), str(status)) for index, status in enumerate(rule.from_sip)]
        if rule.tone is not None and rule.tone not in TONE_NAMES:
            text = f"expected one of {', '.join(TONE_NAMES)}{did_you_mean(rule.tone, TONE_NAMES)}"
            reader.error((*path, "tone"), text, rule.tone)
        if rule.to_sip is None and not rule.from_sip and rule.failover is None and rule.tone is None:
            reader.error(path, "expected to_sip, from_sip, failover or tone beside the cause")
    _once(reader, statuses, "a status")
