"""What a running gateway shows of itself: spans, channels and calls as JSON types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from gateway.call import Call
from gateway.pri.span.endpoint import SpanEnd
from gateway.switch import Switch


def status_of(switch: Switch, spans: Mapping[str, SpanEnd], now: int) -> dict[str, object]:
    """A snapshot at ``now`` (microseconds)."""
    return {
        "spans": {name: _span(switch, name, span) for name, span in spans.items()},
        "calls": [_call(call, now) for call in switch.calls.values()],
        "sip": switch.sip.statistics(),
    }


def _span(switch: Switch, name: str, span: SpanEnd) -> dict[str, object]:
    trunk = switch.trunks[name]
    return {
        "alarm": span.alarm.value,
        "data_link": trunk.up,
        "switch_type": trunk.settings.switch_type,
        "side": trunk.settings.side.value,
        "channels": dict(Counter(channel.state.value for channel in trunk.channels)),
    }


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
        "outgoing": None if call.outgoing is None else call.outgoing.record(),
        "notes": list(history.notes),
    }
