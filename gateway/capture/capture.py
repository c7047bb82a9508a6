"""From the ring to pcapng: LAPD, SIP, IAX2 and RTP of one call, one span or everything, in the order of time.

One wall clock: that of the moment when the capture begins, less what the monotonic clock has counted since.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import NamedTuple, Protocol

from gateway.capture import headers, pcapng
from gateway.capture.dialogues import Wanted, iax_numbers, wanted_of
from gateway.capture.headers import Endpoint
from gateway.capture.pcapng import LinkType
from gateway.capture.redact import as_decrypted, nothing_of, redact_iax, redact_sip, without_voice
from gateway.capture.ring import CallKeys, Entry, Ring, Wire
from gateway.capture.streams import Piece, Stream
from gateway.core import MILLISECOND
from gateway.media.api import Copied
from gateway.voip.iax.crypt import Cipher
from gateway.voip.iax.errors import IaxError
from gateway.voip.iax.frame import FULL_HEADER, FrameType, name_of, parse_full
from gateway.voip.iax.host import Path
from gateway.voip.sip.flow import DEFAULT_PORT, TLS, UDP, Flow

BATCH = 100
"""Entries that are encoded at a stretch: some milliseconds."""
SETTLE = 500 * MILLISECOND
"""How much later than others an entry may come that belongs before them: voice comes by way of the engine."""
MAX_STREAMS = 4_096
MAX_KEYS = 4_096
REDACTED = "Passwords, their digests and keys are replaced by x."
REVEALED = "SECRET: passwords' digests and keys are in this file as they were sent."
_UNFRAMED = "part of a message whose beginning or end is not in the capture"
_IN_CLEAR = "RTP/AVPF stands for RTP/SAVP in it, as voice is decrypted here"
_UNHEARD = "its voice is replaced by x"
_WAYS = {Copied.MINI: "", Copied.ENCRYPTED: "was encrypted", Copied.TRUNKED: "was in a trunk frame"}
_UNREADABLE = "encrypted with a key that is not known any more"


class Surroundings(Protocol):
    """What the ring does not know of the gateway it is in."""

    def local_of(self, flow: Flow) -> Endpoint:
        """Our address and port of a SIP flow."""

    def outgoing(self, flow: Flow) -> bool:
        """Whether we opened the connection of ``flow``."""

    def iax_local(self, path: Path) -> Endpoint:
        """Our address and port of an IAX2 path."""

    def iax_end(self, local: Endpoint, remote: str) -> Endpoint:
        """Our address and port of voice over IAX2, where ``local`` may be any address."""

    def network_side(self, span: str) -> bool:
        """Whether we are the network side of a span."""

    def live_call(self, identity: str) -> CallKeys | None:
        """A call that goes on."""


class Selection(NamedTuple):
    """What is wanted: one call, the D channel of one span, or (neither) everything.

    ``reveal``: secrets too. ``voice``: what is said from now on as well, which is nobody's business by itself.
    """

    call: str | None = None
    span: str | None = None
    reveal: bool = False
    voice: bool = False


class UnknownCallError(Exception):
    """There is no call of that identity, and none that ended of late."""


class Capture:
    """One pcapng of what is in ``ring`` and, for whoever goes on asking, of what comes.

    ``wall`` is what to add to the monotonic clock for microseconds since 1970. ``voice`` is a ring beside, of which
    only what comes from now on is taken. UnknownCallError for a call that nobody knows.
    """

    def __init__(
        self,
        ring: Ring,
        surroundings: Surroundings,
        selection: Selection,
        *,
        wall: int,
        voice: Ring | None = None,
    ) -> None:
        self._ring = ring
        self._surroundings = surroundings
        self._selection = selection
        self._wall = wall
        self._wanted: Wanted | None = None
        if selection.call is not None and self._refreshed(selection.call) is None:
            raise UnknownCallError(f"there is no call {selection.call!r}, and none of late")
        self._number = ring.first
        self._voice = voice if selection.voice else None
        self._voice_number = 0 if voice is None else voice.last
        self._head = True
        self._interfaces: dict[tuple[str, str], int] = {}
        self._streams: OrderedDict[tuple[str, str, int], Stream] = OrderedDict()
        # The keys that were last seen for a call number of ours: an RTKEY is still sent with the one before.
        self._keys: OrderedDict[tuple[int, bool], bytes] = OrderedDict()
        self._waiting: list[tuple[int, int, Entry]] = []
        self._serial = 0
        self._newest = 0
        # Nothing is encrypted here.
        self._rng = random.Random(0)

    # -- what the owner calls --

    def more(self, now: int = 0) -> bytes:
        """What is there now of at most BATCH further entries; the file's head comes first.

        What came less than SETTLE before ``now``, or before the newest entry, is told later.
        """
        if self._selection.call is not None:
            self._refreshed(self._selection.call)
        entries, self._number = self._ring.since(self._number, BATCH)
        if self._voice is not None:
            heard, self._voice_number = self._voice.since(self._voice_number, BATCH)
            entries += heard
        for entry in entries:
            self._serial += 1
            heappush(self._waiting, (entry[0], self._serial, entry))
            self._newest = max(self._newest, entry[0])
        return self._encoded(max(self._newest, now) - SETTLE)

    @property
    def behind(self) -> bool:
        """Whether ``more`` has more at once."""
        return self._number < self._ring.last or (self._voice is not None and self._voice_number < self._voice.last)

    def finish(self) -> bytes:
        """The rest of what ``more`` has taken."""
        parts = [self._encoded(self._newest)]
        for stream in self._streams.values():
            parts += self._pieces(self._newest, stream, stream.inward.rest(), inward=True, transport="")
        return b"".join(parts)

    def octets(self) -> Iterator[bytes]:
        """What is in the ring now, in parts each of which is a few milliseconds' work."""
        last = self._ring.last
        while self._number < last:
            yield self.more()
        yield self.finish()

    def _refreshed(self, identity: str) -> Wanted | None:
        call = self._surroundings.live_call(identity) or self._ring.call(identity)
        if call is not None:
            known = set() if self._wanted is None else self._wanted.streams
            self._wanted = wanted_of(call)
            # Only a call that goes on knows its streams.
            self._wanted.streams |= known
        return self._wanted

    # -- encoding --

    def _encoded(self, until: int) -> bytes:
        parts = []
        if self._head:
            self._head = False
            comment = REVEALED if self._selection.reveal else REDACTED
            parts.append(pcapng.section("branch-gateway", comment=comment))
        waiting = self._waiting
        while waiting and waiting[0][0] <= until:
            entry = heappop(waiting)[2]
            match entry[1]:
                case Wire.LAPD:
                    parts += self._lapd(entry)
                case Wire.SIP:
                    parts += self._sip(entry)
                case Wire.IAX2:
                    parts += self._iax(entry)
                case Wire.MINI:
                    parts += self._mini(entry)
                case _:
                    parts += self._rtp(entry)
        return b"".join(parts)

    def _packet(self, kind: str, name: str, at: int, data: bytes, inward: bool, comment: str = "") -> list[bytes]:
        parts = []
        number = self._interfaces.get((kind, name))
        if number is None:
            number = self._interfaces[(kind, name)] = len(self._interfaces)
            link_type, description = _INTERFACES[kind]
            parts.append(pcapng.interface(link_type, name, description))
        parts.append(pcapng.packet(number, at + self._wall, data, inward=inward, comment=comment))
        return parts

    def _takes(self, entry: Entry) -> bool:
        selection = self._selection
        if selection.span is not None:
            return entry[1] == Wire.LAPD and entry[3] == selection.span
        return self._wanted is None or self._wanted.takes(entry)

    def _lapd(self, entry: Entry) -> list[bytes]:
        if not self._takes(entry):
            return []
        at, _, inward, span, frame = entry
        data = headers.lapd(frame, inward=inward, network=self._surroundings.network_side(span))
        return self._packet("lapd", span, at, data, inward)

    def _sip(self, entry: Entry) -> list[bytes]:
        at, _, inward, flow, data = entry
        if flow.transport != UDP:
            stream = self._stream_of(flow)
            pieces = stream.inward.feed(data) if inward else [Piece(data, True)]
            return self._pieces(at, stream, pieces, inward=inward, transport=flow.transport)
        if not self._takes(entry):
            return []
        shown, comment = self._shown(data)
        ours, theirs = self._surroundings.local_of(flow), (flow.address, flow.port)
        return self._datagram("sip-udp", at, inward, ours, theirs, shown, comment)

    def _shown(self, message: bytes) -> tuple[bytes, str]:
        """A SIP message as it is to be seen, and what is to be said of that."""
        shown = message if self._selection.reveal else redact_sip(message)
        if not self._selection.voice:
            return shown, ""
        clear = as_decrypted(shown)
        return clear, "" if clear is shown else _IN_CLEAR

    def _datagram(
        self, kind: str, at: int, inward: bool, ours: Endpoint, theirs: Endpoint, data: bytes, comment: str
    ) -> list[bytes]:
        source, destination = (theirs, ours) if inward else (ours, theirs)
        if len(data) > headers.MAX_UDP:
            data, comment = data[: headers.MAX_UDP], f"cut: it had {len(data)} octets"
        return self._packet(kind, kind, at, headers.udp(source, destination, data), inward, comment)

    def _pieces(self, at: int, stream: Stream, pieces: list[Piece], *, inward: bool, transport: str) -> list[bytes]:
        parts: list[bytes] = []
        name = f"sip-{transport.lower()}" if transport else stream.name
        stream.name = name
        for piece in pieces:
            if not (piece.whole or self._selection.call is None) or not self._takes(
                (at, Wire.SIP, inward, None, piece.data)
            ):
                continue
            if piece.whole:
                shown, comment = self._shown(piece.data)
            else:
                shown, comment = piece.data if self._selection.reveal else nothing_of(piece.data), _UNFRAMED
            for segment in stream.segments(shown, inward=inward):
                parts += self._packet(name, name, at, segment, inward, comment)
        return parts

    def _stream_of(self, flow: Flow) -> Stream:
        key = (flow.transport, flow.address, flow.port)
        stream = self._streams.get(key)
        if stream is None:
            ours, theirs = self._surroundings.local_of(flow), (flow.address, flow.port)
            if flow.transport == TLS:
                # Wireshark takes port 5061 for TLS, which this is no more, and 5060 for SIP.
                if self._surroundings.outgoing(flow):
                    theirs = (theirs[0], DEFAULT_PORT)
                else:
                    ours = (ours[0], DEFAULT_PORT)
            stream = self._streams[key] = Stream(ours, theirs)
            if len(self._streams) > MAX_STREAMS:
                self._streams.popitem(last=False)
        else:
            self._streams.move_to_end(key)
        return stream

    def _iax(self, entry: Entry) -> list[bytes]:
        if not self._takes(entry):
            return []
        at, _, inward, (path, key), data = entry
        comment = ""
        clear = self._opened(data, key, inward) if key else data
        if clear is None:
            clear, comment = data, _UNREADABLE
        elif key:
            comment = _WAYS[Copied.ENCRYPTED]
        if not self._selection.reveal:
            clear = redact_iax(clear)
        if not self._selection.voice and len(clear) > FULL_HEADER and clear[10] == FrameType.VOICE:
            clear, comment = without_voice(clear), "; ".join(filter(None, (comment, _UNHEARD)))
        ours, theirs = self._surroundings.iax_local(path), (path.address, path.port)
        return self._datagram("iax2", at, inward, ours, theirs, clear, comment)

    def _opened(self, data: bytes, key: bytes, inward: bool) -> bytes | None:
        """A frame of an encrypted call in clear; None if no key that is known opens it."""
        source, destination = iax_numbers(data)
        number = (destination if inward else source, inward)
        before = self._keys.get(number, b"")
        if key != before:
            self._keys[number] = key
            if len(self._keys) > MAX_KEYS:
                self._keys.popitem(last=False)
        for each in (key, before):
            if each:
                try:
                    clear = Cipher(each, self._rng).decrypt(data)
                except IaxError:
                    continue
                if _is_known(clear):
                    return clear
        # Before the first encrypted one frames are clear.
        return data if _is_known(data) else None

    def _mini(self, entry: Entry) -> list[bytes]:
        if not self._takes(entry):
            return []
        at, _, inward, where, data = entry
        ours = self._surroundings.iax_end(where.local, where.remote[0])
        return self._datagram("iax2", at, inward, ours, where.remote, data, _WAYS[where.copied])

    def _rtp(self, entry: Entry) -> list[bytes]:
        if not self._takes(entry):
            return []
        at, _, inward, where, data = entry
        return self._datagram("rtp", at, inward, where.local, where.remote, data, "")


_INTERFACES = {
    "lapd": (LinkType.LINUX_LAPD, "D channel"),
    "sip-udp": (LinkType.RAW_IP, "SIP over UDP"),
    "sip-tcp": (LinkType.RAW_IP, "SIP over TCP"),
    "sip-tls": (LinkType.RAW_IP, "SIP over TLS, decrypted; port 5060 stands for that of TLS"),
    "iax2": (LinkType.RAW_IP, "IAX2, decrypted"),
    "rtp": (LinkType.RAW_IP, "voice, decrypted"),
}


def _is_known(data: bytes) -> bool:
    if len(data) < FULL_HEADER:
        return False
    frame = parse_full(data)
    if frame.type == FrameType.IAX:
        try:
            _ = frame.elements
        except IaxError:
            return False
    return not name_of(frame.type, frame.subclass).startswith("frame ")
