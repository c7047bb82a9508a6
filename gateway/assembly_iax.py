"""From the configuration's words to the settings of IAX2 and its peers. Pure functions, but that key files are read."""

from __future__ import annotations

from functools import reduce
from operator import or_
from pathlib import Path

from gateway.assembly import has_routes
from gateway.config import model
from gateway.config.iax import encryption_of, methods_of, taken_unproven
from gateway.config.model import Configuration
from gateway.config.secrets import secret_text
from gateway.core import MILLISECOND, SECOND
from gateway.routing.emergency import emergency_numbers
from gateway.voip.iax.peers import DEFAULT_PORT, AuthMethod, IaxListener, IaxSettings, PeerSettings


def iax_settings(configuration: Configuration) -> IaxSettings | None:
    """What the IAX2 endpoint is told; None where the file has nothing of IAX2."""
    section = configuration.iax
    if section is None:
        return None
    context = section.context
    return IaxSettings(
        listeners=tuple(IaxListener(str(listen.address), listen.port) for listen in section.listen),
        peers=tuple(_peer(trunk, section, configuration.path.parent) for trunk in configuration.iax_trunks),
        # A context without routes rejects whatever begins there: then nothing of it need begin.
        context=context if context is not None and has_routes(configuration, context) else None,
        minexpiry=section.minexpiry,
        maxexpiry=section.maxexpiry,
        timers=configuration.timers.iax,
        max_unproven=section.maxcallnumbers_nonvalidated,
        key_rotation=section.keyrotate,
        emergency=emergency_numbers(configuration.gateway.country),
    )


def _peer(trunk: model.IaxTrunk, section: model.IaxSection, directory: Path) -> PeerSettings:
    stamps = section.trunktimestamps if trunk.trunktimestamps is None else trunk.trunktimestamps
    proves = trunk.secret is not None or trunk.outkey is not None
    return PeerSettings(
        name=trunk.name,
        host=trunk.host.host,
        port=trunk.host.port or DEFAULT_PORT,
        # Who writes a port means that one (RFC 3263 4.1 in spirit).
        srv=trunk.host.port is None and trunk.host.address is None and not trunk.host.dynamic,
        dynamic=trunk.host.dynamic,
        context=trunk.context,
        # Who has nothing to prove says no name: one that the far end does not know is refused.
        user=trunk.defaultuser or (trunk.name if proves else ""),
        secret=secret_text(trunk.secret, directory) if trunk.secret is not None else "",
        methods=reduce(or_, (AuthMethod[each.name] for each in methods_of(trunk)), AuthMethod(0)),
        outkey=trunk.outkey.read_bytes() if trunk.outkey is not None else b"",
        outkey_name=trunk.outkey.stem if trunk.outkey is not None else "",
        inkeys=tuple(file.read_bytes() for file in trunk.inkeys),
        inkey_names=tuple(file.stem for file in trunk.inkeys),
        insecure_invite=taken_unproven(trunk) and (not trunk.host.dynamic or model.Insecure.INVITE in trunk.insecure),
        match_port=model.Insecure.PORT not in trunk.insecure,
        codecs=trunk.codecs,
        trunk=trunk.trunk,
        trunk_stamps=stamps,
        trunk_octets=trunk.trunkmtu,
        encryption=encryption_of(trunk, section),
        calltokens=trunk.requirecalltoken,
        transfer=trunk.transfer,
        transfer_permit=trunk.directmediapermit,
        transfer_deny=trunk.directmediadeny,
        allow_transfer=trunk.allowtransfer,
        qualify=(trunk.qualify.milliseconds or 0) * MILLISECOND,
        qualifyfreq=trunk.qualifyfreq * SECOND,
        register=trunk.register,
        registerexpiry=trunk.registerexpiry,
        failover=trunk.failover_ms * MILLISECOND,
        rtptimeout=trunk.rtptimeout * SECOND,
        max_call_numbers=trunk.maxcallnumbers,
        call_limit=trunk.call_limit,
        calls_per_hour=trunk.calls_per_hour,
        destinations_per_hour=trunk.destinations_per_hour,
    )
