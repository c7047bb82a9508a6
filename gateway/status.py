"""What a running gateway shows of itself: spans, channels, calls, SIP and IAX2 as JSON types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from gateway.call import Call
from gateway.pri.span.endpoint import SpanEnd
from gateway.pri.span.evidence import Finding, explain_alarm, explain_link
from gateway.pri.span.layer1 import Alarm
from gateway.pri.trunk import PriTrunk
from gateway.switch import Switch


def status_of(switch: Switch, spans: Mapping[str, SpanEnd], now: int, *, engine_streams: int = 0) -> dict[str, object]:
    """A snapshot at ``now`` (microseconds). Streams are those of calls: sockets of IAX2 are always there."""
    iax = None if switch.iax is None else switch.iax.as_json(now)
    sockets = 0 if switch.iax is None else sum(bool(each["open"]) for each in switch.iax.sockets.as_json())
    return {
        "engine": {"up": switch.engine_up, "streams": max(engine_streams - sockets, 0)},
        "spans": {name: _span(switch, name, span, now) for name, span in spans.items()},
        "calls": [_call(call, now) for call in switch.calls.values()],
        "sip": switch.sip.statistics(),
        "network": switch.sip.relocation.status(),
        "registered": switch.sip.phones.status(now),
        "peers": switch.sip.far_ends.as_json(now),
        "shut_out": switch.sip.defence.shut_out(now),
        "iax": iax,
    }


def _span(switch: Switch, name: str, span: SpanEnd, now: int) -> dict[str, object]:
    trunk = switch.trunks[name]
    layer1 = span.layer1
    return {
        "alarm": span.alarm.value,
        "reason": layer1.reason,
        "alarm_seconds": (now - layer1.since) / 1e6,
        "bounces": layer1.recent_bounces(now),
        "counters": layer1.counters.as_json(),
        "findings": [finding.text for finding in findings_of(trunk, span, now)],
        "data_link": trunk.up,
        "switch_type": trunk.settings.switch_type,
        "side": trunk.settings.side.value,
        "channels": dict(Counter(channel.state.value for channel in trunk.channels)),
    }


def findings_of(trunk: PriTrunk, span: SpanEnd, now: int) -> tuple[Finding, ...]:
    """What an operator should look for, if anything is wrong."""
    layer1 = span.layer1
    if span.alarm is not Alarm.NONE:
        return explain_alarm(span.alarm, layer1.connected, layer1.recent_bounces(now))
    return explain_link(trunk.lapd.statistics, trunk.up)


def _call(call: Call, now: int) -> dict[str, object]:
    number = call.setup.caller.number
    history = call.history
    return {
        "id": call.identity,
        "state": call.state.value,
        "source": call.source,
        "caller": number.digits if number is not None else "",
        "name": call.setup.caller.name or "",
        "called": call.setup.called.digits,
        "destination": history.attempts[-1].destination if history.attempts else "",
        "seconds": (now - history.started) / 1e6,
        "answered_seconds": None if history.answered is None else (now - history.answered) / 1e6,
        "incoming": call.incoming.record(),
        "facts": sorted(call.setup.facts),
        "outgoing": None if call.outgoing is None else call.outgoing.record(),
        "notes": list(history.notes),
    }
