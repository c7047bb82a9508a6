"""Spans that come and go: cards by udev (DAHDI's subsystem ``dahdi_spans``), virtual spans by their sockets.

Both become the same event, once for each change. Nothing is set up here yet: opening DAHDI's channels is to follow.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from gateway.pri.span.endpoint import SpanEnd

log = logging.getLogger(__name__)

SUBSYSTEM = "dahdi_spans"
DRIVER = Path("/sys/module/dahdi")
MAX_SPANS = 128
"""DAHDI's own limit is 128 spans (DAHDI_MAX_SPANS)."""
MAX_TEXT = 80
EVENTS_PER_WAKE = 64
"""So that a driver that is loaded with many cards leaves time for calls."""
_PRESENT = frozenset({"add", "bind", "change", "online"})
_GONE = frozenset({"remove", "offline"})


@dataclass(frozen=True, slots=True)
class SpanPresence:
    """A span is there, or no more: ``channels`` as the configuration has it, ``virtual:DIRECTORY`` or ``dahdi:SPAN``.

    ``name`` is what the driver calls it.
    """

    channels: str
    present: bool
    name: str = ""


class Device(Protocol):
    """What is asked of pyudev.Device."""

    @property
    def action(self) -> str | None:
        """What happened; None of a device that was listed."""

    @property
    def properties(self) -> Mapping[str, str]:
        """The variables of the event."""


class Monitor(Protocol):
    """What is asked of pyudev.Monitor."""

    def fileno(self) -> int:
        """Readable when there is an event."""

    def poll(self, timeout: float) -> Device | None:
        """The next event, None if there is none within ``timeout`` seconds."""


class Presences:
    """What is there. Tells each change once to ``on_event``, whoever noticed it."""

    def __init__(self, on_event: Callable[[SpanPresence], None]) -> None:
        self._on_event = on_event
        self._there: dict[str, str] = {}

    @property
    def there(self) -> Mapping[str, str]:
        """The names of spans that are there, by their channels."""
        return self._there

    def appeared(self, channels: str, name: str = "") -> None:
        """``channels`` can be opened; beyond MAX_SPANS it is left out, and told in the log."""
        if channels in self._there:
            return
        if len(self._there) >= MAX_SPANS:
            log.error("%s is left out: there are %d spans already", channels, MAX_SPANS)
            return
        self._there[channels] = name
        self._on_event(SpanPresence(channels, True, name))

    def vanished(self, channels: str) -> None:
        """``channels`` cannot be opened any more."""
        name = self._there.pop(channels, None)
        if name is not None:
            self._on_event(SpanPresence(channels, False, name))

    def forget(self, channels: str) -> None:
        """Nobody is to hear of ``channels`` any more."""
        self._there.pop(channels, None)

    def are(self, found: Mapping[str, str], kind: str) -> None:
        """Of the ``kind`` ("dahdi:") these are there, and no others."""
        for channels in [each for each in self._there if each.startswith(kind) and each not in found]:
            self.vanished(channels)
        for channels, name in found.items():
            self.appeared(channels, name)


def span_of(properties: Mapping[str, str]) -> tuple[str, str] | None:
    """Channels and name of the span that an event of DAHDI is about; None if it says none."""
    number = properties.get("SPAN_NUM", "")
    if not (number.isascii() and number.isdecimal()) or not 1 <= int(number) <= 999:
        return None
    name = properties.get("SPAN_NAME", "")
    return f"dahdi:{int(number)}", "".join(each for each in name if each.isprintable())[:MAX_TEXT]


class CardWatcher:
    """Feeds ``presences`` with the spans of cards. ``listed`` gives the devices that there are now.

    Needs a running loop from ``start`` on; no thread.
    """

    def __init__(self, presences: Presences, monitor: Monitor, listed: Callable[[], Iterable[Device]]) -> None:
        self._presences = presences
        self._monitor = monitor
        self._listed = listed
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Listen, then look what is there: in this order nothing is missed."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._monitor.fileno(), self._readable)
        self._look()

    def close(self) -> None:
        """Hear nothing more."""
        if self._loop is not None:
            self._loop.remove_reader(self._monitor.fileno())
            self._loop = None

    def _look(self) -> None:
        found = (span_of(device.properties) for device in self._listed())
        self._presences.are(dict(each for each in found if each is not None), "dahdi:")

    def _readable(self) -> None:
        try:
            for _ in range(EVENTS_PER_WAKE):
                device = self._monitor.poll(timeout=0)
                if device is None:
                    return
                self._event(device)
        except OSError as error:
            # More came than the kernel kept for us (ENOBUFS).
            log.warning("events of cards were lost: %s; looking what is there", error.strerror)
            self._look()

    def _event(self, device: Device) -> None:
        span = span_of(device.properties)
        if span is None:
            return
        if device.action in _PRESENT:
            self._presences.appeared(*span)
        elif device.action in _GONE:
            self._presences.vanished(span[0])


class HotPlug:
    """Everything that watches spans: the sockets of virtual ones, and cards.

    Spans are told as long as they are watched; ``start`` needs a running loop.
    """

    def __init__(self, on_event: Callable[[SpanPresence], None]) -> None:
        self.presences = Presences(on_event)
        self._virtual: dict[str, str] = {}
        self._cards: CardWatcher | None = None

    def watch(self, name: str, channels: str, span: SpanEnd) -> None:
        """Hear of a virtual span by its end of ours; ``channels`` is as the configuration has it."""
        self._virtual[name] = channels
        span.on_presence = partial(self._sockets, channels, name)

    def forget(self, name: str) -> None:
        """A virtual span is ours no more, which does not make it gone."""
        self.presences.forget(self._virtual.pop(name, ""))

    def _sockets(self, channels: str, name: str, present: bool) -> None:
        if present:
            self.presences.appeared(channels, name)
        else:
            self.presences.vanished(channels)

    def start(self) -> None:
        """Look for cards, where there can be any."""
        self._cards = card_watcher(self.presences)
        if self._cards is not None:
            self._cards.start()

    def close(self) -> None:
        """Hear nothing more of cards."""
        if self._cards is not None:
            self._cards.close()
            self._cards = None


def card_watcher(presences: Presences) -> CardWatcher | None:
    """What watches this host's cards by udev; None where there is no driver of cards, or no udev."""
    if not DRIVER.exists():
        return None
    try:
        # Late: a box without cards need not have it in memory. ImportError: libudev is missing.
        import pyudev  # type: ignore[import-untyped]

        context = pyudev.Context()
        monitor = pyudev.Monitor.from_netlink(context)
        monitor.filter_by(SUBSYSTEM)
        monitor.start()
    except (ImportError, OSError) as error:
        log.error("cards are not watched: %s", error)
        return None

    def listed() -> Iterable[Device]:
        devices: Iterable[Device] = context.list_devices(subsystem=SUBSYSTEM)
        return devices

    return CardWatcher(presences, monitor, listed)
