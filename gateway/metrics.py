"""Metrics for Prometheus: what docs/metrics.md lists, read from the running gateway when somebody asks.

Calls that end are counted as they do, by their records. Nothing here serves HTTP: that is ``metrics_server.py``.
"""

from __future__ import annotations

import resource
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from gateway.call_states import State
from gateway.pri.channels import ChannelState
from gateway.pri.span.layer1 import Alarm
from gateway.record import CallRecord
from gateway.voip.reach import Reach

if TYPE_CHECKING:
    from gateway.capture.ring import Ring
    from gateway.pri.span.endpoint import SpanEnd
    from gateway.service import Service
    from gateway.switch import Switch

DELAY_BUCKETS = (0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 11.0, 20.0, 60.0)
"""Seconds. E.721 wants 3 s (local), 5 s (toll) and 8 s (international) in the mean, 6, 8 and 11 s for 95 of 100."""
TALK_BUCKETS = (5.0, 30.0, 60.0, 180.0, 600.0, 1800.0, 3600.0)
MOS_BUCKETS = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.3, 4.5)
JITTER_BUCKETS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
NO_TECHNOLOGY = "none"
_PAGE = resource.getpagesize()
_PACKETS = {
    "received": "packets_received",
    "sent": "packets_sent",
    "lost": "lost",
    "late": "late",
    "duplicated": "duplicated",
    "rejected": "rejected",
    "concealed": "concealed",
}


class Histogram:
    """Values counted by the least of ``bounds`` that they do not exceed."""

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count ``value``."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """How many values were at most each bound, the last one of which is infinite."""
        sums, found = 0, []
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            sums += count
            found.append((bound, float(sums)))
        return found


@dataclass(frozen=True, slots=True)
class Sources:
    """Where metrics are read from."""

    switch: Switch
    spans: Mapping[str, SpanEnd]
    service: Service
    clock: Callable[[], int]
    ring: Ring | None = None
    engine_streams: Callable[[], int] = lambda: 0
    tls_connections: Callable[[], int] = lambda: 0


class Metrics:
    """One collector for a prometheus_client registry."""

    def __init__(self, sources: Sources) -> None:
        self._from = sources
        self._started = time.time()
        self._ended: Counter[int] = Counter()
        self._ways: Counter[tuple[str, str, str]] = Counter()
        self._delays: dict[str, Histogram] = {}
        self._talk = Histogram(TALK_BUCKETS)
        self._mos = Histogram(MOS_BUCKETS)
        self._jitter = Histogram(JITTER_BUCKETS)
        self._packets: Counter[str] = Counter()
        self._one_way = 0
        self._emergency = 0

    # -- calls that ended --

    def ended(self, record: CallRecord) -> None:
        """A call is over, or was refused."""
        self._ended[record.cause] += 1
        to = str(record.outgoing.get("technology", NO_TECHNOLOGY))
        answered = "no" if record.answer is None else "yes"
        self._ways[str(record.incoming.get("technology", NO_TECHNOLOGY)), to, answered] += 1
        heard = record.ringing if record.ringing is not None else record.answer
        if record.routed is not None and heard is not None:
            delay = self._delays.get(to)
            if delay is None:
                delay = self._delays[to] = Histogram(DELAY_BUCKETS)
            delay.observe(max(heard - record.routed, 0) / 1e6)
        if record.answer is not None:
            self._talk.observe(record.talk_seconds)
        self._one_way += record.one_way
        self._emergency += record.emergency
        for leg in (record.incoming, *(attempt.leg for attempt in record.attempts)):
            media = leg.get("media")
            if isinstance(media, Mapping):
                self._media(media)

    def _media(self, media: Mapping[str, Any]) -> None:
        packets = self._packets
        for name, key in _PACKETS.items():
            packets[name] += media[key]
        packets["slips"] += media["slips"]
        # Of what has come in packets: a line has neither.
        if media["mos"]:
            self._mos.observe(media["mos"])
            self._jitter.observe(media["jitter"] / 1000)

    # -- prometheus_client --

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from self._gateway()
        yield from self._calls()
        yield from self._quality()
        yield from self._lines()
        yield from self._peers()
        yield from self._signalling()
        yield from self._process()

    def _gateway(self) -> Iterator[Metric]:
        service, ring = self._from.service, self._from.ring
        yield InfoMetricFamily("gateway", "The program.", {"version": _version()})
        yield _gauge("gateway_engine_up", "1 while the media engine answers.", self._from.switch.engine_up)
        yield _gauge(
            "gateway_engine_streams", "Streams that are open in the media engine.", self._from.engine_streams()
        )
        yield _labelled(
            "gateway_fault",
            "1 for each check of the service's health that fails, 0 for others.",
            ["check"],
            [((check.name,), check.name in service.faults) for check in service.checks],
        )
        yield _gauge(
            "gateway_event_loop_late_seconds", "By how much the event loop was late at its last beat.", service.lateness
        )
        yield _gauge("gateway_capture_bytes", "What the ring of captures holds.", 0 if ring is None else ring.octets)

    def _calls(self) -> Iterator[Metric]:
        states = Counter(call.state for call in self._from.switch.calls.values())
        yield _labelled(
            "gateway_calls",
            "Calls that there are, by state.",
            ["state"],
            [((state.value,), states[state]) for state in State if state is not State.ENDED],
        )
        yield _counter(
            "gateway_calls_ended",
            "Calls that ended or were refused, by Q.850 cause.",
            ["cause"],
            (((str(cause),), count) for cause, count in sorted(self._ended.items())),
        )
        yield _counter(
            "gateway_calls_by_way",
            "Calls that ended, by the technology they came and went by and whether they were answered.",
            ["incoming", "outgoing", "answered"],
            sorted(self._ways.items()),
        )
        family = HistogramMetricFamily(
            "gateway_post_dial_delay_seconds",
            "From the whole number to ringing or answer, by the technology the call went by.",
            labels=["outgoing"],
        )
        for technology, delay in sorted(self._delays.items()):
            family.add_metric([technology], delay.buckets, delay.total)
        yield family
        yield _histogram("gateway_talk_seconds", "From answer to end.", self._talk)
        yield _counter("gateway_emergency_calls", "Emergency calls that ended.", [], [((), self._emergency)])

    def _quality(self) -> Iterator[Metric]:
        packets = self._packets
        yield _counter(
            "gateway_media_packets",
            "Voice packets of calls that ended, by what became of them.",
            ["kind"],
            (((name,), packets[name]) for name in _PACKETS),
        )
        yield _counter(
            "gateway_media_slips",
            "Blocks of voice repeated or dropped for want of a common clock.",
            [],
            [((), packets["slips"])],
        )
        yield _histogram("gateway_media_mos", "MOS by G.107 of each leg that ended with voice in packets.", self._mos)
        yield _histogram("gateway_media_jitter_seconds", "Jitter of the same legs.", self._jitter)
        yield _counter(
            "gateway_one_way_calls", "Calls in which one side was not heard for a while.", [], [((), self._one_way)]
        )

    def _lines(self) -> Iterator[Metric]:
        switch, spans = self._from.switch, self._from.spans
        yield _labelled(
            "gateway_span_alarm",
            "1 for the alarm that a span has.",
            ["span", "alarm"],
            [((name, alarm.value), span.alarm is alarm) for name, span in spans.items() for alarm in Alarm],
        )
        yield _labelled(
            "gateway_span_data_link_up",
            "1 while the data link of a span's D channel is established.",
            ["span"],
            [((name,), trunk.up) for name, trunk in switch.trunks.items()],
        )
        yield _labelled(
            "gateway_channels",
            "B channels by state.",
            ["span", "state"],
            [
                ((name, state.value), count[state])
                for name, trunk in switch.trunks.items()
                for count in (Counter(channel.state for channel in trunk.channels),)
                for state in ChannelState
            ],
        )
        yield _counter(
            "gateway_span_errors",
            "Errors of a span, slips among them, since the far end counts.",
            ["span", "kind"],
            [
                ((name, kind), count)
                for name, span in spans.items()
                for kind, count in span.layer1.counters.as_json().items()
            ],
        )

    def _peers(self) -> Iterator[Metric]:
        switch, now = self._from.switch, self._from.clock()
        shown: dict[str, Mapping[str, Any]] = {
            trunk.name: switch.sip.far_ends.shown(trunk.name, now) for trunk in switch.configuration.trunks
        }
        if switch.iax is not None:
            shown |= {name: peer.as_json(now) for name, peer in switch.iax.peers.items()}
        watched = {name: each["qualify"] for name, each in shown.items() if "qualify" in each}
        yield _labelled(
            "gateway_trunk_reach",
            "1 for what qualify says of a trunk.",
            ["trunk", "reach"],
            [((name, reach.value), each["reach"] == reach.value) for name, each in watched.items() for reach in Reach],
        )
        yield _labelled(
            "gateway_trunk_round_trip_seconds",
            "How long the trunk's far end took to answer OPTIONS or POKE.",
            ["trunk"],
            [
                ((name,), each["round_trip_ms"] / 1000)
                for name, each in watched.items()
                if each["round_trip_ms"] is not None
            ],
        )
        yield _labelled(
            "gateway_trunk_registered",
            "1 while our registration with a trunk is in force.",
            ["trunk"],
            [
                ((name,), each["registration"]["expires_seconds"] is not None)
                for name, each in shown.items()
                if "registration" in each
            ],
        )
        yield _gauge(
            "gateway_phones_registered",
            "Phones of which at least one place is registered.",
            len({binding.name for binding in switch.sip.phones.location if binding.expires > now}),
        )

    def _signalling(self) -> Iterator[Metric]:
        switch = self._from.switch
        yield from _statistics("gateway_sip", "SIP", switch.sip.statistics())
        if switch.iax is not None:
            yield from _statistics("gateway_iax2", "IAX2", switch.iax.statistics())
        shut_out = len(switch.sip.defence.shut_out(self._from.clock()))
        yield _gauge("gateway_shut_out", "Addresses that SIP does not hear for what they did.", shut_out)
        yield _gauge("gateway_tls_connections", "TLS connections of SIP.", self._from.tls_connections())

    def _process(self) -> Iterator[Metric]:
        yield _counter("process_cpu_seconds", "CPU time of the process.", [], [((), time.process_time())])
        yield _gauge("process_start_time_seconds", "When the process began, seconds since 1970.", self._started)
        yield _gauge("process_resident_memory_bytes", "Memory of the process.", _resident())
        yield _gauge("process_open_fds", "Open file descriptors.", _descriptors())


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)


def _labelled(name: str, text: str, labels: list[str], values: Iterable[tuple[Sequence[str], float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for each, value in values:
        family.add_metric(each, value)
    return family


def _counter(name: str, text: str, labels: list[str], values: Iterable[tuple[Sequence[str], float]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for each, value in values:
        family.add_metric(each, value)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    return HistogramMetricFamily(name, text, buckets=histogram.buckets, sum_value=histogram.total)


_LEVELS = frozenset({"legs", "dialogs", "bindings", "transactions", "sessions", "call_numbers", "unproven", "shut_out"})
"""Statistics that go down as well as up."""


def _statistics(name: str, what: str, values: Mapping[str, int]) -> Iterator[Metric]:
    """What an endpoint counts, and what it has at the moment."""
    for suffix, text, family, levels in (
        ("events", f"What {what} has seen since the start.", _counter, False),
        ("entries", f"What {what} keeps at the moment.", _labelled, True),
    ):
        chosen = [((key,), value) for key, value in values.items() if (key in _LEVELS) is levels]
        yield family(f"{name}_{suffix}", text, ["kind"], chosen)


def _version() -> str:
    try:
        return version("branch-gateway")
    except PackageNotFoundError:
        return "unknown"


def _resident() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


def _descriptors() -> int:
    try:
        # But for the one that they are listed by.
        return sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1
    except OSError:
        return 0
