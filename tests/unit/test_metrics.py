"""Metrics say what the status says, in a form that Prometheus reads; the list of them in the documents is whole."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_text

from gateway.capture.ring import Ring
from gateway.config import parse
from gateway.config.values import MetricsListen, read_metrics
from gateway.daemon import Daemon
from gateway.metrics import DELAY_BUCKETS, Histogram, Metrics, Sources
from gateway.metrics_server import MAX_CLIENTS, MAX_HEAD, MetricsServer, renderer
from gateway.record import AttemptRecord, CallRecord
from gateway.service import Service, notifier_of
from gateway.status import status_of
from tests.unit.branch_scene import Scene
from tests.unit.test_daemon import free_port
from tests.unit.test_switch_iax import Tandem

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str, parser: Callable[[str], Any] = parse_text) -> Samples:
    found: Samples = {}
    for family in parser(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def by_label(found: Samples, name: str) -> dict[str, float]:
    return {key[1][-1][1]: value for key, value in found.items() if key[0] == name}


def metrics_of(scene: Any, **words: Any) -> Metrics:
    return Metrics(Sources(scene.switch, {}, Service(notifier_of({}), str), lambda: scene.now, **words))


def rendered(metrics: Metrics) -> Samples:
    return samples(renderer(metrics)("")[0].decode())


def test_calls_channels_and_counters_are_those_of_the_status() -> None:
    scene = Scene()
    metrics = metrics_of(scene, ring=Ring(), engine_streams=lambda: 7)
    scene.from_pstn(hold=600_000)
    scene.from_pstn("4165550102", hold=600_000)
    scene.run(2)
    found, status = rendered(metrics), cast(dict[str, Any], status_of(scene.switch, {}, scene.now))
    states = by_label(found, "gateway_calls")
    assert states["answered"] == 2 == sum(states.values())
    assert sorted(call["state"] for call in status["calls"]) == ["answered", "answered"]
    counters = {
        key: value
        for name in ("gateway_sip_events_total", "gateway_sip_entries")
        for key, value in by_label(found, name).items()
    }
    assert counters == status["sip"]
    trunk = scene.switch.trunks["pstn"]
    channels = by_label(found, "gateway_channels")
    assert channels == {"idle": 28, "busy": 2, "blocked": 0, "restarting": 0}
    assert sum(channels.values()) == len(trunk.channels)
    assert by_label(found, "gateway_span_data_link_up") == {"pstn": 1}
    assert found["gateway_engine_streams", ()] == 7
    assert found["process_resident_memory_bytes", ()] > 1 << 20
    assert found["process_open_fds", ()] > 2
    assert found["process_cpu_seconds_total", ()] > 0


def test_calls_that_end_are_counted_by_cause_and_way() -> None:
    scene = Scene()
    metrics = metrics_of(scene)
    scene.from_pstn(hold=2_000)
    scene.run(10)
    scene.from_pstn("0000", hold=2_000)
    scene.run(10)
    for record in scene.records:
        metrics.ended(record)
    found = rendered(metrics)
    assert by_label(found, "gateway_calls_ended_total") == {str(record.cause): 1 for record in scene.records}
    ways = {key[1]: value for key, value in found.items() if key[0] == "gateway_calls_by_way_total"}
    assert ways == {
        (("answered", "yes"), ("incoming", "pri"), ("outgoing", "sip")): 1,
        (("answered", "no"), ("incoming", "pri"), ("outgoing", "none")): 1,
    }
    assert found["gateway_talk_seconds_count", ()] == 1
    assert 1.9 < found["gateway_talk_seconds_sum", ()] < 2.1
    assert found["gateway_post_dial_delay_seconds_count", (("outgoing", "sip"),)] == 1


def record(**words: Any) -> CallRecord:
    return CallRecord(
        **{
            "id": "1", "start": 0, "source": "pstn", "context": "c", "dialled": "1", "cause": 16,
            "released_by": "caller", "end": 9_000_000, **words,
        }
    )  # fmt: skip


def test_post_dial_delay_is_from_the_whole_number_to_what_is_heard() -> None:
    metrics = metrics_of(Scene(up=False))
    to_sip = (AttemptRecord("sip:hq", leg={"technology": "sip"}),)
    for ringing, answer in ((1_300_000, 5_000_000), (None, 3_500_000), (None, None)):
        metrics.ended(record(routed=1_000_000, ringing=ringing, answer=answer, attempts=to_sip))
    # One that was never routed was not dialled anywhere.
    metrics.ended(record(ringing=1))
    found = rendered(metrics)
    buckets = {
        dict(key[1])["le"]: value for key, value in found.items() if key[0] == "gateway_post_dial_delay_seconds_bucket"
    }
    assert [buckets[str(bound)] for bound in (0.2, 0.5, 2.0, 3.0)] == [0, 1, 1, 2]
    assert len(buckets) == len(DELAY_BUCKETS) + 1
    assert buckets["+Inf"] == found["gateway_post_dial_delay_seconds_count", (("outgoing", "sip"),)] == 2
    assert found["gateway_post_dial_delay_seconds_sum", (("outgoing", "sip"),)] == pytest.approx(2.8)


MEDIA = {
    "packets_received": 100, "packets_sent": 90, "lost": 5, "late": 4, "duplicated": 3, "rejected": 2, "concealed": 1,
    "slips": 0, "mos": 4.2, "jitter": 7.0,
}  # fmt: skip


def test_quality_of_voice_is_of_both_legs_and_of_lines_only_slips() -> None:
    metrics = metrics_of(Scene(up=False))
    line: Mapping[str, object] = {"technology": "pri", "media": dict.fromkeys(MEDIA, 0) | {"slips": 6}}
    leg: Mapping[str, object] = {"technology": "sip", "media": MEDIA}
    metrics.ended(record(incoming=line, attempts=(AttemptRecord("sip:hq", leg=leg),), one_way=True, emergency=True))
    found = rendered(metrics)
    packets = by_label(found, "gateway_media_packets_total")
    assert packets == {
        "received": 100, "sent": 90, "lost": 5, "late": 4, "duplicated": 3, "rejected": 2, "concealed": 1,
    }  # fmt: skip
    assert found["gateway_media_slips_total", ()] == 6
    assert found["gateway_media_mos_count", ()] == 1 and found["gateway_media_mos_bucket", (("le", "4.3"),)] == 1
    assert found["gateway_media_jitter_seconds_sum", ()] == pytest.approx(0.007)
    assert found["gateway_one_way_calls_total", ()] == found["gateway_emergency_calls_total", ()] == 1


def test_trunks_are_there_with_what_qualify_and_registration_say() -> None:
    scene = Scene(trunk={"qualify": True, "register": True, "defaultuser": "u", "secret": "s"})
    scene.run(5)
    found = rendered(metrics_of(scene))
    peer = cast(dict[str, Any], status_of(scene.switch, {}, scene.now)["peers"])["hq"]
    reach = {key[1][0][1]: value for key, value in found.items() if key[0] == "gateway_trunk_reach"}
    assert reach == {"unknown": 0, "reachable": 0, "lagged": 0, "unreachable": 0} | {peer["qualify"]["reach"]: 1}
    assert peer["qualify"]["reach"] == "reachable"
    assert found["gateway_trunk_round_trip_seconds", (("trunk", "hq"),)] == peer["qualify"]["round_trip_ms"] / 1000
    in_force = peer["registration"]["expires_seconds"] is not None
    assert found["gateway_trunk_registered", (("trunk", "hq"),)] == in_force


def test_iax2_is_there_where_it_is_used() -> None:
    scene = Tandem()
    found, status = rendered(metrics_of(scene)), cast(dict[str, Any], status_of(scene.switch, {}, scene.now))
    counters = {
        key: value
        for name in ("gateway_iax2_events_total", "gateway_iax2_entries")
        for key, value in by_label(found, name).items()
    }
    assert counters == status["iax"]["statistics"]


@given(st.lists(st.floats(0, 100, allow_nan=False), max_size=50))
def test_a_histogram_counts_each_value_once(values: list[float]) -> None:
    histogram = Histogram(DELAY_BUCKETS)
    for value in values:
        histogram.observe(value)
    for bound, count in histogram.buckets:
        assert count == sum(value <= float(bound.replace("+Inf", "inf")) for value in values)
    assert histogram.total == pytest.approx(sum(values))


def families() -> list[Metric]:
    scene = Tandem()
    return list(metrics_of(scene).collect())


def test_the_documents_name_each_family_and_no_other() -> None:
    suffixes = {"counter": "_total", "info": "_info"}
    ours = {family.name + suffixes.get(family.type, "") for family in families()}
    text = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
    table = "".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", table)) == ours
    for family in families():
        assert family.documentation.endswith(".")


# -- handed out --


def served(test: Callable[[MetricsServer], Any], listen: MetricsListen) -> None:
    async def run() -> None:
        server = MetricsServer(listen, renderer(metrics_of(Scene(up=False))))
        await server.start()
        try:
            await test(server)
        finally:
            await server.close()

    asyncio.run(run())


LOOPBACK = cast(MetricsListen, read_metrics("127.0.0.1:9470"))


def any_port() -> MetricsListen:
    return MetricsListen(None, LOOPBACK.address, 0)


async def asked(server: MetricsServer, head: str) -> tuple[str, dict[str, str], str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head.encode())
    data = (await asyncio.wait_for(reader.read(), 10)).decode()
    writer.close()
    await writer.wait_closed()
    first, _, body = data.partition("\r\n\r\n")
    status, *fields = first.split("\r\n")
    return status, dict(cast(Any, (field.split(": ", 1) for field in fields))), body


def test_what_is_handed_out_is_read_in_both_formats() -> None:
    async def test(server: MetricsServer) -> None:
        status, fields, body = await asked(server, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status == "HTTP/1.1 200 OK" and fields["Content-Type"].startswith("text/plain; version=")
        assert int(fields["Content-Length"]) == len(body.encode())
        assert ("gateway_shut_out", ()) in samples(body)
        accept = "Accept: application/openmetrics-text; version=1.0.0\r\n"
        status, fields, body = await asked(server, f"GET /metrics?x=y HTTP/1.1\r\n{accept}\r\n")
        assert fields["Content-Type"].startswith("application/openmetrics-text")
        assert ("gateway_shut_out", ()) in samples(body, parse_open)
        status, fields, body = await asked(server, "HEAD /metrics HTTP/1.1\r\n\r\n")
        assert body == "" and int(fields["Content-Length"]) > 100

    served(test, any_port())


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"),
        ("\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"),
        ("GET /metrics " + "x" * (MAX_HEAD + 10) + "\r\n\r\n", ""),
    ],
)
def test_nothing_else_is_handed_out(head: str, status: str) -> None:
    async def test(server: MetricsServer) -> None:
        try:
            assert (await asked(server, head))[0] == status
        except ConnectionResetError:
            assert not status

    served(test, any_port())


def test_those_who_say_nothing_keep_no_others_out_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.metrics_server.PATIENCE", 0.2)

    async def test(server: MetricsServer) -> None:
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(MAX_CLIENTS)]
        for reader, writer in idle:
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
            await writer.wait_closed()
        assert (await asked(server, "GET /metrics HTTP/1.1\r\n\r\n"))[0] == "HTTP/1.1 200 OK"

    served(test, any_port())


def test_one_too_many_is_turned_away() -> None:
    async def test(server: MetricsServer) -> None:
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(MAX_CLIENTS)]
        with pytest.raises((ConnectionResetError, BrokenPipeError, ValueError)):
            status, _, _ = await asked(server, "GET /metrics HTTP/1.1\r\n\r\n")
            raise ValueError(status)
        for _, writer in idle:
            writer.close()
            await writer.wait_closed()

    served(test, any_port())


def test_a_unix_socket_is_taken_over_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"

    async def test(server: MetricsServer) -> None:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
        writer.close()
        await writer.wait_closed()
        assert path.stat().st_mode & 0o777 == 0o660

    served(test, MetricsListen(path))
    assert not path.exists()


@pytest.mark.parametrize(
    "text",
    ["0.0.0.0:9470", "192.0.2.1:9470", "127.0.0.1", "::1:9470", "unix:metrics.sock", "unix:/" + "a" * 107, "x", 5],
)
def test_metrics_are_for_this_host_only(text: object) -> None:
    with pytest.raises(ValueError, match='expected "none", a loopback address'):
        read_metrics(text)


def test_where_metrics_are_is_read_as_it_is_written() -> None:
    assert read_metrics("none") is None
    for text in ("127.0.0.1:9470", "[::1]:9470", "unix:/run/x/metrics.sock"):
        assert str(read_metrics(text)) == text


TEXT = """
schema = 1
[gateway]
run_dir = "{run}"
bus = "none"
metrics = "127.0.0.1:{metrics}"
[sip]
listen = ["udp:127.0.0.1:{port}"]
[[span]]
name = "pstn"
channels = "virtual:{run}/span"
line = "e1"
group = "g0"
context = "default"
"""


def test_a_running_gateway_hands_them_out(tmp_path: Path) -> None:
    async def run() -> None:
        text = TEXT.format(run=tmp_path, port=free_port(), metrics=free_port())
        daemon = Daemon(parse(text, tmp_path / "gateway.toml"))
        await daemon.start()
        try:
            assert daemon.metrics is not None
            daemon._record(record(cause=34))
            _, _, body = await asked(daemon.metrics.server, "GET /metrics HTTP/1.1\r\n\r\n")
        finally:
            await daemon.close()
        found = samples(body)
        alarms = {key[1][0][1]: value for key, value in found.items() if key[0] == "gateway_span_alarm"}
        assert alarms == {"none": 0, "red": 1, "yellow": 0, "blue": 0}
        assert found["gateway_calls_ended_total", (("cause", "34"),)] == 1
        assert set(by_label(found, "gateway_fault")) == {each.name for each in daemon.service.checks}
        assert found["gateway_engine_up", ()] == 0

    asyncio.run(run())
