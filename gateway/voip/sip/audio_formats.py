"""The formats of an audio stream in SDP: payload types and their meaning (RFC 3551, 4733, 7587), packet lengths.

Pure functions; the results for what a far end says in one call and the next are kept. Offer and answer are in
``offer_answer``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from gateway.media.api import Codec, Direction, RtpSettings
from gateway.voip.sip.codecs import (
    COMFORT_NOISE_CLOCK,
    COMFORT_NOISE_PAYLOAD,
    STATIC_PAYLOADS,
    TELEPHONE_EVENT,
    TELEPHONE_EVENT_PAYLOADS,
    TELEPHONE_EVENTS,
    CodecRow,
)
from gateway.voip.sip.sdp import MAX_KEPT, Line, MediaDescription, RtpMap, find_attribute

MAX_PAYLOAD_TYPE = 127
FIRST_DYNAMIC = 96
"""RFC 3551 3."""

Formats = tuple[tuple[int, CodecRow], ...]
"""Payload type and codec, best first."""
Events = tuple[tuple[int, int], ...]
"""Payload type and clock of RFC 4733 events."""

DIRECTION_NAMES = {
    Direction.SENDRECV: "sendrecv",
    Direction.SENDONLY: "sendonly",
    Direction.RECVONLY: "recvonly",
    Direction.INACTIVE: "inactive",
}


def numbered(rows: tuple[CodecRow, ...], *, events: bool, current: RtpSettings | None) -> tuple[Formats, Events]:
    """Which payload types ``rows`` and the events of their clocks have in an offer of ours.

    What is in use (``current``) keeps its number and comes first (RFC 3264 8.3.2); what has it by default makes way.
    """
    if current is None:
        return _numbered(rows, events, None, None, None)
    ours, our_event = current.receive_payload_type, current.receive_dtmf_payload_type
    kept_events = current.dtmf_payload_type
    if kept_events is not None and our_event is not None:
        kept_events = our_event
    return _numbered(rows, events, current.codec, current.payload_type if ours is None else ours, kept_events)


@lru_cache(maxsize=MAX_KEPT)
def _numbered(
    rows: Iterable[CodecRow], events: bool, codec: Codec | None, kept_codec: int | None, kept_events: int | None
) -> tuple[Formats, Events]:
    if codec is not None:
        rows = sorted(rows, key=lambda row: row.codec != codec)
    used = {number for number in (kept_codec, kept_events) if number is not None}
    formats: list[tuple[int, CodecRow]] = []
    clocks: dict[int, int] = {}
    for row in rows:
        in_use = row.codec == codec
        formats.append((kept_codec if in_use and kept_codec is not None else _free(row.payload_type, used), row))
        if events and row.clock not in clocks:
            if in_use and kept_events is not None:
                clocks[row.clock] = kept_events
            else:
                clocks[row.clock] = _free(TELEPHONE_EVENT_PAYLOADS[row.clock], used)
    return tuple(formats), tuple([(number, clock) for clock, number in clocks.items()])


def _free(number: int, used: set[int]) -> int:
    """``number``, or the next that is not ``used``; it is used from now on."""
    while number in used:
        number = number + 1 if FIRST_DYNAMIC <= number < MAX_PAYLOAD_TYPE else FIRST_DYNAMIC
    used.add(number)
    return number


@lru_cache(maxsize=MAX_KEPT)
def audio_lines(
    formats: Formats,
    events: Events,
    packet_milliseconds: int,
    direction: Direction,
    rtcp_mux: bool,
    comfort_noise: bool,
) -> tuple[tuple[str, ...], tuple[Line, ...]]:
    """Formats and lines of an m= of ours."""
    lines: list[Line] = []
    for payload, row in formats:
        lines.append(("a", f"rtpmap:{payload} {row.rtpmap}"))
        if row.fmtp is not None:
            lines.append(("a", f"fmtp:{payload} {row.fmtp}"))
    payloads = [str(payload) for payload, _ in formats]
    if comfort_noise:
        payloads.append(str(COMFORT_NOISE_PAYLOAD))
        lines.append(("a", f"rtpmap:{COMFORT_NOISE_PAYLOAD} CN/{COMFORT_NOISE_CLOCK}"))
    for payload, clock in events:
        payloads.append(str(payload))
        lines.append(("a", f"rtpmap:{payload} {TELEPHONE_EVENT}/{clock}"))
        lines.append(("a", f"fmtp:{payload} {TELEPHONE_EVENTS}"))
    lines.append(("a", f"ptime:{packet_milliseconds}"))
    lines.append(("a", DIRECTION_NAMES[direction]))
    if rtcp_mux:
        lines.append(("a", "rtcp-mux"))
    return tuple(payloads), tuple(lines)


def choose(
    media: MediaDescription, maps: dict[str, RtpMap], codecs: tuple[CodecRow, ...], prefer_local: bool
) -> tuple[int, CodecRow] | None:
    """Payload type and codec: the first of ``media`` that we have, or of ours that it has; None if there is none."""
    found: dict[str, int] = {}
    chosen: list[CodecRow] = []
    for payload in media.formats:
        described = maps.get(payload) or STATIC_PAYLOADS.get(payload)
        number = payload_type(payload)
        if described is None or number is None:
            continue
        for row in codecs:
            if row.described == described and row.name not in found:
                found[row.name] = number
                chosen.append(row)
    if not chosen:
        return None
    if prefer_local:
        chosen.sort(key=codecs.index)
    return found[chosen[0].name], chosen[0]


def event_payload(media: MediaDescription, maps: dict[str, RtpMap], clock: int) -> int | None:
    """The payload type of RFC 4733 events at ``clock``: events of another clock than the codec's cannot be had."""
    for payload, described in maps.items():
        if described.encoding == TELEPHONE_EVENT and described.clock == clock and payload in media.formats:
            return payload_type(payload)
    return None


def takes_comfort_noise(media: MediaDescription, maps: dict[str, RtpMap]) -> bool:
    """True if the far end has comfort noise (RFC 3389) under its static payload type."""
    payload = str(COMFORT_NOISE_PAYLOAD)
    described = maps.get(payload)
    usual = described is None or (described.encoding, described.clock) == ("cn", COMFORT_NOISE_CLOCK)
    return usual and payload in media.formats


def payload_type(text: str) -> int | None:
    """The number, or None if ``text`` is none."""
    # The length goes first: int() raises for thousands of digits.
    return int(text) if len(text) <= 3 and text.isdecimal() and int(text) <= MAX_PAYLOAD_TYPE else None


def packet_length(session: tuple[Line, ...], media: MediaDescription, ours: int, row: CodecRow) -> int:
    """Milliseconds: what the far end likes to receive, within its maxptime and what ``row`` can be sent in."""
    wanted = _whole(media.attribute("ptime") or find_attribute(session, "ptime")) or ours
    most = _whole(media.attribute("maxptime") or find_attribute(session, "maxptime")) or row.packets[-1]
    fitting = [length for length in row.packets if length <= min(wanted, most)]
    return fitting[-1] if fitting else row.packets[0]


def _whole(text: str | None) -> int | None:
    if not text:
        return None
    whole = text.partition(".")[0]
    return int(whole) if whole.isdecimal() and whole.isascii() and len(whole) <= 5 else None
