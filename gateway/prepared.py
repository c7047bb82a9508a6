"""A configuration made ready to be taken up by a running switch: everything that takes time is done here, in a thread.

Files of passwords and keys are read. What stands here is not yet in force.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

from gateway.assembly import cause_rules, music_on_hold, pri_settings, sip_settings, tls_settings
from gateway.assembly_iax import iax_settings
from gateway.cause_map import CauseRules
from gateway.config.model import Configuration
from gateway.media.api import Tone
from gateway.media.tones import CountryTones, tones_for
from gateway.pri.settings import PriSettings
from gateway.routing.callers import CallerIds
from gateway.routing.dialplan import DialPlan
from gateway.voip.iax.peers import IaxSettings
from gateway.voip.sip.peers import SipSettings
from gateway.voip.sip.tls import Tls, TlsSettings


@dataclass(frozen=True, slots=True)
class Prepared:
    """``configuration`` in the words of each part."""

    configuration: Configuration
    dial_plan: DialPlan
    rules: CauseRules
    caller_ids: CallerIds
    tones: CountryTones
    music: Tone | str | None
    phones: frozenset[str]
    spans: Mapping[str, PriSettings]
    sip: SipSettings
    iax: IaxSettings | None
    tls: TlsSettings | None


def prepared(configuration: Configuration, before: Configuration | None = None) -> Prepared:
    """Make ``configuration`` ready. Raises ValueError, OSError or TlsFileError if a file of it is of no use (any more).

    Files of TLS are looked at if they are others than ``before`` has.
    """
    rules = cause_rules(configuration)
    tls, tls_before = tls_settings(configuration), None if before is None else tls_settings(before)
    if tls is not None and before is not None and (tls_before is None or not tls.loads_as(tls_before)):
        Tls(tls)
    iax = iax_settings(configuration)
    if iax is not None:
        # In the thread that this may be: the first time takes longer than anybody may wait for the event loop.
        import_module("gateway.voip.iax.endpoint")
    return Prepared(
        configuration=configuration,
        dial_plan=DialPlan(configuration),
        rules=rules,
        caller_ids=CallerIds(configuration),
        tones=tones_for(configuration.gateway.country),
        music=music_on_hold(configuration),
        phones=frozenset(phone.name for phone in configuration.phones),
        spans={span.name: pri_settings(span, configuration) for span in configuration.spans},
        sip=sip_settings(configuration, rules),
        iax=iax,
        tls=tls,
    )
