"""Cards and sockets that come and go are told once each; what was missed is made up for."""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.pri.channels import Line
from gateway.pri.span import hotplug
from gateway.pri.span.hotplug import EVENTS_PER_WAKE, MAX_SPANS, CardWatcher, HotPlug, Presences, SpanPresence, span_of
from gateway.pri.span.virtual import VirtualSpan, VirtualSpanServer


@dataclass
class FakeDevice:
    action: str | None
    properties: Mapping[str, str]


def device(action: str | None, number: object, name: str = "TE2/0/1") -> FakeDevice:
    return FakeDevice(action, {"SPAN_NUM": str(number), "SPAN_NAME": name, "SUBSYSTEM": "dahdi_spans"})


@dataclass
class FakeMonitor:
    """Events that a pipe makes readable."""

    events: deque[FakeDevice | OSError] = field(default_factory=deque)
    polls: int = 0

    def __post_init__(self) -> None:
        self.reading, self.writing = os.pipe()

    def fileno(self) -> int:
        return self.reading

    def say(self, *events: FakeDevice | OSError) -> None:
        self.events.extend(events)
        os.write(self.writing, b"x")

    def poll(self, timeout: float) -> FakeDevice | None:
        assert timeout == 0
        self.polls += 1
        if not self.events:
            os.read(self.reading, 4096)
            return None
        event = self.events.popleft()
        if isinstance(event, OSError):
            raise event
        return event

    def close(self) -> None:
        os.close(self.reading)
        os.close(self.writing)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not done():  # noqa: ASYNC110 - a watcher tells its changes to its owner only
            await asyncio.sleep(0)


def watched(listed: list[FakeDevice], *waves: list[FakeDevice | OSError]) -> tuple[list[SpanPresence], FakeMonitor]:
    """What is told of cards that are there at the start and of events that come in waves after it."""
    told: list[SpanPresence] = []
    monitor = FakeMonitor()

    async def run() -> None:
        watcher = CardWatcher(Presences(told.append), monitor, lambda: listed)
        watcher.start()
        for wave in waves:
            monitor.say(*wave)
            await until(lambda: not monitor.events)
            await asyncio.sleep(0)
        watcher.close()
        monitor.say(device("add", 99))
        await asyncio.sleep(0)

    asyncio.run(run())
    monitor.close()
    return told, monitor


def test_cards_that_are_there_and_those_that_come_and_go() -> None:
    told, _ = watched(
        [device(None, 1)],
        [device("add", 1), device("add", 2), device("change", 2), device("remove", 1)],
        [device("remove", 7), device("remove", 1), device("add", 1)],
    )
    assert told == [
        SpanPresence("dahdi:1", True, "TE2/0/1"),
        SpanPresence("dahdi:2", True, "TE2/0/1"),
        SpanPresence("dahdi:1", False, "TE2/0/1"),
        SpanPresence("dahdi:1", True, "TE2/0/1"),
    ]


def test_events_that_were_lost_are_made_up_for_by_a_look() -> None:
    listed = [device(None, 1), device(None, 2)]
    told: list[SpanPresence] = []
    monitor = FakeMonitor()

    async def run() -> None:
        watcher = CardWatcher(Presences(told.append), monitor, lambda: listed)
        watcher.start()
        listed[:] = [device(None, 2), device(None, 3)]
        monitor.say(OSError(errno.ENOBUFS, "No buffer space available"))
        await until(lambda: len(told) == 4)
        watcher.close()

    asyncio.run(run())
    monitor.close()
    assert [(each.channels, each.present) for each in told[2:]] == [("dahdi:1", False), ("dahdi:3", True)]


def test_many_events_leave_time_for_others() -> None:
    told: list[SpanPresence] = []
    monitor = FakeMonitor()

    async def run() -> None:
        watcher = CardWatcher(Presences(told.append), monitor, list)
        watcher.start()
        monitor.say(*(device("add", number + 1) for number in range(EVENTS_PER_WAKE + 5)))
        await until(lambda: bool(told))
        assert len(told) == EVENTS_PER_WAKE
        await until(lambda: len(told) == EVENTS_PER_WAKE + 5)
        watcher.close()

    asyncio.run(run())
    monitor.close()


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"SPAN_NUM": ""},
        {"SPAN_NUM": "0"},
        {"SPAN_NUM": "-1"},
        {"SPAN_NUM": "1000"},
        {"SPAN_NUM": "x"},
        {"SPAN_NUM": "٣"},
    ],
)
def test_an_event_that_names_no_span_is_none(properties: dict[str, str]) -> None:
    assert span_of(properties) is None


def test_a_name_is_printable_and_short() -> None:
    assert span_of({"SPAN_NUM": "3", "SPAN_NAME": "a\nb" + "c" * 200}) == ("dahdi:3", "ab" + "c" * 78)


def test_there_are_no_more_spans_than_may_be() -> None:
    told: list[SpanPresence] = []
    presences = Presences(told.append)
    for number in range(MAX_SPANS + 3):
        presences.appeared(f"dahdi:{number}")
    assert len(presences.there) == len(told) == MAX_SPANS
    presences.vanished("dahdi:0")
    presences.appeared(f"dahdi:{MAX_SPANS}")
    assert len(presences.there) == MAX_SPANS


def test_what_is_forgotten_is_new_when_it_is_there_again(tmp_path: Path) -> None:
    told: list[SpanPresence] = []
    watch = HotPlug(told.append)
    near = VirtualSpan(tmp_path, Line.E1, lambda frame, now: None, lambda event, now: None)
    watch.watch("pstn", "virtual:/x", near)
    near.on_presence(True)
    watch.forget("pstn")
    watch.forget("nobody")
    watch.watch("pstn", "virtual:/x", near)
    near.on_presence(True)
    assert [(each.channels, each.present) for each in told] == [("virtual:/x", True)] * 2


def test_a_look_at_cards_leaves_virtual_spans_alone() -> None:
    told: list[SpanPresence] = []
    presences = Presences(told.append)
    presences.appeared("virtual:/x")
    presences.appeared("dahdi:1")
    presences.are({}, "dahdi:")
    assert set(presences.there) == {"virtual:/x"}


def test_sockets_of_a_virtual_span_are_its_card(tmp_path: Path) -> None:
    told: list[SpanPresence] = []

    async def run() -> None:
        far = VirtualSpanServer(tmp_path, Line.E1, lambda frame, now: None, lambda event, now: None)
        near = VirtualSpan(
            tmp_path, Line.E1, lambda frame, now: None, lambda event, now: None, name="pstn", retry_first=10_000
        )
        watch = HotPlug(told.append)
        watch.watch("pstn", f"virtual:{tmp_path}", near)
        watch.start()
        near.start()
        assert told == []
        far.start()
        for wanted, what in ((1, far.cut), (2, far.mend), (3, far.close)):
            await until(lambda: len(told) == wanted)  # noqa: B023 - called at once
            what()
        await until(lambda: len(told) == 4)
        near.close()
        watch.close()

    asyncio.run(run())
    assert [each.present for each in told] == [True, False, True, False]
    assert {(each.channels, each.name) for each in told} == {(f"virtual:{tmp_path}", "pstn")}


def test_without_a_driver_nothing_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hotplug, "DRIVER", tmp_path / "none")
    assert hotplug.card_watcher(Presences(lambda event: None)) is None


def test_udev_itself_is_asked_where_there_is_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real libudev: this host has no card, and that is what it says."""
    monkeypatch.setattr(hotplug, "DRIVER", tmp_path)
    told: list[SpanPresence] = []
    watcher = hotplug.card_watcher(Presences(told.append))
    assert watcher is not None

    async def run() -> None:
        watcher.start()
        await asyncio.sleep(0)
        watcher.close()

    asyncio.run(run())
    assert all(each.channels.startswith("dahdi:") for each in told)
