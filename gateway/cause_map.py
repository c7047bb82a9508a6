"""The operator's changes to what causes mean: translation to and from SIP, tone, and whether the next way is tried.

Built from ``[[cause]]`` of the configuration. The defaults stand with what they belong to: ``gateway.voip.sip.causes``,
``gateway.media.tones``, ``gateway.routing.failover``. IAX2 carries Q.850 as it is (RFC 5456 8.6.33) and needs no table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.cause import Cause


@dataclass(frozen=True, slots=True)
class CauseRules:
    """What an operator changed; whatever is not in a mapping keeps its default.

    ``to_sip``: final SIP status sent for a cause. ``from_sip``: cause taken for a final SIP status. ``failover``: True
    if the next destination is tried after the cause. ``tone``: name of the tone a caller hears for the cause.
    """

    to_sip: Mapping[Cause, int] = field(default_factory=dict)
    from_sip: Mapping[int, Cause] = field(default_factory=dict)
    failover: Mapping[Cause, bool] = field(default_factory=dict)
    tone: Mapping[Cause, str] = field(default_factory=dict)


DEFAULT_RULES = CauseRules()
