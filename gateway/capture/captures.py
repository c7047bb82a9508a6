"""Captures of a running gateway: what the ring does not know, asked of the switch and of the sockets of SIP.

``pour`` writes one to a file descriptor, as fast as whoever reads takes it, and follows what comes if asked.
"""

from __future__ import annotations

import asyncio
import os
import select
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from gateway.capture.capture import Capture, Selection
from gateway.capture.dialogues import keys_of
from gateway.capture.headers import Endpoint
from gateway.capture.ring import CallKeys, Ring, VoicePath, Wire
from gateway.media.api import Copied, VoiceCopied
from gateway.media.wire import TAPS_MAX
from gateway.voip.iax.host import Path
from gateway.voip.sip.flow import DEFAULT_PORT, DEFAULT_TLS_PORT, UDP, Flow
from gateway.voip.sip.hop import Listener

if TYPE_CHECKING:
    from gateway.call import Call
    from gateway.switch import Switch

FOLLOW_SECONDS = 0.25
"""How often a capture that goes on looks for what came."""
MAX_AT_ONCE = 4
"""Captures that are poured at a time."""
VOICE_OCTETS = 4 << 20
"""Of voice that is waiting to be poured: 32 streams for six seconds. Beside the ring, which it would drive out."""
_TAPPED = frozenset({"sip", "iax2"})
_WELL_KNOWN = frozenset({DEFAULT_PORT, DEFAULT_TLS_PORT})
_EPHEMERAL = 49_152
_ANY = "0.0.0.0"  # noqa: S104 - shown, not bound
_ANYWHERE = frozenset({"::", _ANY})


class Ends(Protocol):
    """What is asked of the sockets of SIP: SipTransport."""

    def ends_of(self, flow: Flow) -> tuple[Endpoint, bool] | None:
        """Our end of the connection of ``flow`` and whether we opened it; None if it is none, or not open."""


class _Place:
    """The surroundings of one capture; what it found out stays as it is."""

    def __init__(
        self, switch: Switch, sockets: Ends, listeners: Sequence[Listener], local_for: Callable[[str], str]
    ) -> None:
        self._switch = switch
        self._sockets = sockets
        self._listeners = listeners
        self._local_for = local_for
        self._locals: dict[str, str] = {}

    def local_of(self, flow: Flow) -> Endpoint:
        known = None if flow.transport == UDP else self._sockets.ends_of(flow)
        if known is not None:
            return known[0]
        listener = self._listeners[flow.listener] if flow.listener < len(self._listeners) else None
        address = _ANY if listener is None else listener.address
        if listener is None or listener.wildcard:
            address = self._local(flow.address)
        if flow.transport == UDP or not self.outgoing(flow):
            return address, DEFAULT_PORT if listener is None else listener.port
        # Nobody remembers it: one that cannot be mistaken for a server's.
        return address, _EPHEMERAL + flow.connection % (65_536 - _EPHEMERAL)

    def _local(self, remote: str) -> str:
        local = self._locals.get(remote)
        if local is None:
            local = self._locals[remote] = self._local_for(remote)
        return local

    def outgoing(self, flow: Flow) -> bool:
        known = self._sockets.ends_of(flow)
        return flow.connection == 0 or flow.port in _WELL_KNOWN if known is None else known[1]

    def iax_local(self, path: Path) -> Endpoint:
        iax = self._switch.iax
        if iax is None:
            return _ANY, 0
        listener = iax.settings.listeners[iax.sockets.listener_of(path.socket)]
        return self.iax_end((listener.address, listener.port), path.address)

    def iax_end(self, local: Endpoint, remote: str) -> Endpoint:
        return self._local(remote) if local[0] in _ANYWHERE else local[0], local[1]

    def network_side(self, span: str) -> bool:
        trunk = self._switch.trunks.get(span)
        return trunk is not None and trunk.settings.side.value == "network"

    def live_call(self, identity: str) -> CallKeys | None:
        call = self._switch.calls.get(identity)
        return None if call is None else call_keys(call)


class Captures:
    """``capture_of`` gives what there is; ``local_for`` says which address of ours reaches a remote one."""

    def __init__(
        self,
        ring: Ring,
        switch: Switch,
        sockets: Ends,
        *,
        local_for: Callable[[str], str],
        clock: Callable[[], int],
        wall_clock: Callable[[], float] = time.time,
        tap: Callable[[int, bool], None] = lambda _stream, _on: None,
    ) -> None:
        """``tap`` has the media engine copy the voice of a stream, or no more: ``heard`` is told of it."""
        self.ring = ring
        self._voice = Ring(VOICE_OCTETS)
        self._tap = tap
        # How many captures want a stream.
        self._tapped: Counter[int] = Counter()
        self.listeners: Sequence[Listener] = ()
        """The sockets of SIP as they are bound."""
        self._switch = switch
        self._sockets = sockets
        self._local_for = local_for
        self._clock = clock
        self._wall_clock = wall_clock
        self._pouring = 0

    def capture(self, selection: Selection) -> Capture:
        """A capture from the oldest on; UnknownCallError, and UnknownSpanError for a span that there is not."""
        if selection.span is not None and selection.span not in self._switch.trunks:
            raise UnknownSpanError(f"there is no span {selection.span!r}")
        place = _Place(self._switch, self._sockets, self.listeners, self._local_for)
        wall = int(self._wall_clock() * 1_000_000) - self._clock()
        return Capture(self.ring, place, selection, wall=wall, voice=self._voice)

    def heard(self, event: VoiceCopied) -> None:
        """The media engine copied a packet of a stream that is tapped."""
        path = VoicePath(event.stream, event.local, event.remote, event.copied)
        wire = Wire.RTP if event.copied is Copied.RTP else Wire.MINI
        self._voice.note(event.at, wire, event.inward, path, event.data)

    def engine_ready(self) -> None:
        """The media engine answers (again), and has forgotten what it was to copy."""
        for stream in self._tapped:
            self._tap(stream, True)

    def _wanted(self, selection: Selection) -> set[int]:
        """The streams that a capture with voice is to hear."""
        calls = self._switch.calls
        chosen = calls.values() if selection.call is None else filter(None, [calls.get(selection.call)])
        legs = (leg for call in chosen for leg in (call.incoming, call.outgoing))
        streams = (leg.stream for leg in legs if leg is not None and leg.technology in _TAPPED)
        return set(islice((stream for stream in streams if stream is not None), TAPS_MAX))

    def _retap(self, before: set[int], after: set[int]) -> None:
        for stream in after - before:
            self._tapped[stream] += 1
            if self._tapped[stream] == 1:
                self._tap(stream, True)
        for stream in before - after:
            self._tapped[stream] -= 1
            if not self._tapped[stream]:
                del self._tapped[stream]
                self._tap(stream, False)

    def capture_of(self, call: str | None = None, *, span: str | None = None, reveal: bool = False) -> Iterator[bytes]:
        """A pcapng of a call, of the D channel of a span, or of everything, in parts of some milliseconds' work."""
        return self.capture(Selection(call, span, reveal)).octets()

    async def pour(self, selection: Selection, descriptor: int, *, follow: bool = False) -> int:
        """Write a capture to ``descriptor``, which is closed afterwards; how many octets were written.

        With ``follow`` it goes on with what comes, until whoever reads closes its end or the task is cancelled.
        BusyError if MAX_AT_ONCE are under way; else as ``capture``.
        """
        try:
            if self._pouring >= MAX_AT_ONCE:
                raise BusyError(f"{MAX_AT_ONCE} captures are under way")
            capture = self.capture(selection)
            self._pouring += 1
            try:
                with suppress(BrokenPipeError):
                    return await self._pour(capture, selection, descriptor, follow)
                return 0
            finally:
                self._pouring -= 1
        finally:
            os.close(descriptor)

    async def _pour(self, capture: Capture, selection: Selection, descriptor: int, follow: bool) -> int:
        os.set_blocking(descriptor, False)
        written = 0
        tapped: set[int] = set()
        try:
            while True:
                if follow and selection.voice and selection.span is None:
                    wanted = self._wanted(selection)
                    self._retap(tapped, wanted)
                    tapped = wanted
                while capture.behind:
                    written += await _write(descriptor, capture.more())
                    # What waits in the loop goes between two batches.
                    await asyncio.sleep(0)
                if not follow:
                    return written + await _write(descriptor, capture.finish())
                written += await _write(descriptor, capture.more(self._clock()))
                if _unread(descriptor):
                    return written
                await asyncio.sleep(FOLLOW_SECONDS)
        finally:
            self._retap(tapped, set())

    def ended(self, call: Call) -> None:
        """``call`` is over; from now on only the ring knows of it."""
        self.ring.end_of(call_keys(call))


class UnknownSpanError(Exception):
    """There is no span of that name."""


class BusyError(Exception):
    """As many captures are written as may be at a time."""


def call_keys(call: Call) -> CallKeys:
    """Where the messages of ``call`` are to be found, be it over or not."""
    history = call.history
    streams = [("stream", leg.stream) for leg in (call.incoming, call.outgoing) if leg is not None and leg.stream]
    return CallKeys(call.identity, history.started, history.ended, (*keys_of(_records(call)), *streams))


def _records(call: Call) -> Iterable[Mapping[str, object]]:
    history = call.history
    yield history.incoming or call.incoming.record()
    for attempt in (*history.attempts, *history.transfers):
        if attempt.owner is not None:
            yield attempt.owner.record()
        else:
            yield attempt.leg


def _unread(descriptor: int) -> bool:
    """Whether nobody is left who could read what is written."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return bool(poll.poll(0))


async def _write(descriptor: int, data: bytes) -> int:
    loop = asyncio.get_running_loop()
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            writable = asyncio.Event()
            loop.add_writer(descriptor, writable.set)
            try:
                await writable.wait()
            finally:
                loop.remove_writer(descriptor)
    return len(data)
