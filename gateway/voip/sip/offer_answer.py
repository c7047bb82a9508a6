"""Offer and answer (RFC 3264, RFC 6337) for one audio stream: what we say in SDP, and what the engine is to do.

Pure functions over session descriptions. All other streams are refused with port 0. Plain RTP only, SRTP is refused.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import msgspec

from gateway.media.api import Direction, RtpSettings
from gateway.voip.sip.codecs import (
    STATIC_PAYLOADS,
    TELEPHONE_EVENT,
    TELEPHONE_EVENT_PAYLOAD,
    TELEPHONE_EVENTS,
    CodecRow,
)
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.sdp import (
    MAX_KEPT,
    Line,
    MediaDescription,
    Origin,
    RtpMap,
    SessionDescription,
    address_family,
    find_attribute,
    find_connection,
    find_direction,
)

PROTOCOLS = frozenset({"RTP/AVP", "RTP/AVPF"})
"""Transport protocols of m= that we take. SRTP adds RTP/SAVP and RTP/SAVPF here, with its keys in LocalMedia."""

PACKET_MILLISECONDS = (10, 20, 30, 40, 50, 60)
"""Packet lengths we send."""

MAX_PAYLOAD_TYPE = 127

_NAMES = {
    Direction.SENDRECV: "sendrecv",
    Direction.SENDONLY: "sendonly",
    Direction.RECVONLY: "recvonly",
    Direction.INACTIVE: "inactive",
}
_DIRECTIONS = {name: direction for direction, name in _NAMES.items()}
# A Direction is two bits, 1 receive and 2 send: what both ends allow is the conjunction.
_BITS = (Direction.INACTIVE, Direction.RECVONLY, Direction.SENDONLY, Direction.SENDRECV)
# What the far end's word means seen from here: it sends only, so we receive only (RFC 3264 6.1).
_MIRRORED = {
    "sendrecv": Direction.SENDRECV,
    "sendonly": Direction.RECVONLY,
    "recvonly": Direction.SENDONLY,
    "inactive": Direction.INACTIVE,
}
_ANY_PORT = 9
_NO_SUCH_MEDIA = 304
_WARNINGS = {"connection address": 301, "transport protocol": 302, "no codec": 305}
_UNSPECIFIED = frozenset({"0.0.0.0", "::"})  # noqa: S104


class LocalMedia(msgspec.Struct, frozen=True):
    """Our end of the stream and what we are ready to do. ``codecs`` are in order of preference.

    ``direction`` is what we want; the far end may allow less. ``prefer_local``: answers follow our order of codecs, not
    the offer's. ``rtcp_mux``: offer it (RFC 5761); an offer of it is always taken.
    """

    address: str
    port: int
    codecs: tuple[CodecRow, ...]
    session_id: int
    telephone_event: bool = True
    packet_milliseconds: int = 20
    direction: Direction = Direction.SENDRECV
    prefer_local: bool = False
    rtcp_mux: bool = False
    username: str = "-"
    session_name: str = "-"


class Negotiated(msgspec.Struct, frozen=True):
    """What came of an offer and its answer.

    ``description`` is ours, sent or to be sent. ``settings`` None: the stream is off (port 0). ``held``: the far end
    does not want to hear us.
    """

    description: SessionDescription
    settings: RtpSettings | None
    codec: CodecRow | None = None
    held: bool = False


def make_offer(
    local: LocalMedia, previous: SessionDescription | None = None, current: RtpSettings | None = None
) -> SessionDescription:
    """Our offer. ``previous`` is what we sent last in this session, ``current`` what is in use, both for later offers.

    The same session as before gives the very same description; any change raises the version of o= by one (RFC 3264 8).
    Our payload types in use keep their meaning (RFC 3264 8.3.2), and streams that were refused stay so.
    """
    rows = list(local.codecs)
    event_payload = TELEPHONE_EVENT_PAYLOAD
    if current is None:
        formats = [(row.payload_type, row) for row in rows]
    else:
        rows.sort(key=lambda row: row.codec != current.codec)
        ours, our_event = current.receive_payload_type, current.receive_dtmf_payload_type
        number = current.payload_type if ours is None else ours
        formats = [(number if row.codec == current.codec else row.payload_type, row) for row in rows]
        if current.dtmf_payload_type is not None:
            event_payload = current.dtmf_payload_type if our_event is None else our_event
        elif event_payload == number:
            # The far end put the codec there: one number, one meaning.
            event_payload += 1
    payloads, attributes = _audio(
        tuple(formats),
        event_payload if local.telephone_event else None,
        local.packet_milliseconds,
        local.direction,
        local.rtcp_mux,
    )
    audio = MediaDescription("audio", local.port, "RTP/AVP", payloads, attributes)
    if previous is None or not previous.media:
        return _describe(local, (audio,), previous)
    at = _audio_index(previous)
    media = tuple([audio if number == at else _refused(old) for number, old in enumerate(previous.media)])
    return _describe(local, media, previous)


def make_answer(offer: SessionDescription, local: LocalMedia, previous: SessionDescription | None = None) -> Negotiated:
    """Our answer to ``offer``; ``previous`` is what we sent last in this session.

    Raises SipError(488) if no audio stream of the offer can be taken, with 400 if the offer makes no sense.
    """
    first = _audio_index(previous) if previous is not None and previous.media else None
    order = list(range(len(offer.media)))
    if first is not None and first < len(order):
        order.remove(first)
        order.insert(0, first)
    why = "no audio stream"
    for at in order:
        media = offer.media[at]
        if media.media != "audio":
            continue
        if media.port == 0:
            # A stream in use that is offered with port 0 is switched off, not refused (RFC 3264 8.2).
            if at == first:
                lines = tuple([_refused(old) for old in offer.media])
                return Negotiated(_describe(local, lines, previous), None, None, held=True)
            why = "audio stream with port 0"
            continue
        taken = _take(offer, media, local, local.direction)
        if isinstance(taken, str):
            why = taken
            continue
        row, settings, held = taken
        payloads, attributes = _audio(
            ((settings.payload_type, row),),
            settings.dtmf_payload_type,
            settings.packet_milliseconds,
            settings.direction,
            settings.rtcp_mux,
        )
        audio = MediaDescription("audio", local.port, media.protocol, payloads, attributes)
        streams = tuple([audio if number == at else _refused(old) for number, old in enumerate(offer.media)])
        return Negotiated(_describe(local, streams, previous), settings, row, held)
    raise SipError(488, f"offer cannot be taken: {why}", warning=_warning(why))


def _warning(why: str) -> int:
    """The Warning code (RFC 3261 20.43) for a reason of ``_take``."""
    return next((code for start, code in _WARNINGS.items() if why.startswith(start)), _NO_SUCH_MEDIA)


def apply_answer(offer: SessionDescription, answer: SessionDescription, local: LocalMedia) -> Negotiated:
    """What ``answer`` makes of ``offer``, which we made of ``local``.

    Raises SipError: 400 if the answer makes no sense, 488 if it picks what was not offered.
    """
    at = _audio_index(offer)
    # RFC 3264 6: one m= line for each offered, in order; a stream that the answer forgot was refused.
    if at >= len(answer.media):
        return Negotiated(offer, None, None, held=True)
    media = answer.media[at]
    if media.media != "audio":
        raise SipError(488, f"answer has m={media.media[:20]} where audio was offered")
    if media.port == 0:
        return Negotiated(offer, None, None, held=True)
    ours = offer.media[at]
    taken = _take(answer, media, local, _DIRECTIONS[offer.direction_of(ours)])
    if isinstance(taken, str):
        raise SipError(488, f"answer cannot be taken: {taken}")
    row, settings, held = taken
    if settings.rtcp_mux and ours.attribute("rtcp-mux") is None:
        settings = msgspec.structs.replace(settings, rtcp_mux=False, rtcp_port=settings.port + 1)
    number, event = _numbers(ours.formats, ours.lines, row)
    if number != settings.payload_type or event != settings.dtmf_payload_type is not None:
        settings = msgspec.structs.replace(settings, receive_payload_type=number, receive_dtmf_payload_type=event)
    return Negotiated(offer, settings, row, held)


@lru_cache(maxsize=MAX_KEPT)
def _numbers(formats: tuple[str, ...], lines: tuple[Line, ...], row: CodecRow) -> tuple[int | None, int | None]:
    """The payload types that ``row`` and RFC 4733 have in a stream that we described; None where it has none."""
    media = MediaDescription("audio", _ANY_PORT, "RTP/AVP", formats, lines)
    maps = media.rtpmaps()
    chosen = _choose(media, maps, (row,), prefer_local=False)
    return chosen[0] if chosen else None, _event_payload(media, maps, row.clock)


def _take(
    theirs: SessionDescription, media: MediaDescription, local: LocalMedia, direction: Direction
) -> tuple[CodecRow, RtpSettings, bool] | str:
    """Codec, settings, held; or why this stream of the far end cannot be had."""
    port = media.port
    if media.port_count == 1:
        # Of what the same far end says in one call and the next, only the ports differ.
        media = MediaDescription(media.media, _ANY_PORT, media.protocol, media.formats, media.lines)
    terms = _terms(
        theirs.lines, media, local.address, local.codecs, local.prefer_local, local.packet_milliseconds, direction
    )
    if isinstance(terms, str):
        return terms
    if terms.no_rtcp:
        rtcp_port = 0
    elif terms.rtcp_mux:
        rtcp_port = port
    else:
        rtcp_port = terms.rtcp_port or min(port + 1, 65535)
    row = terms.row
    settings = RtpSettings(
        terms.address,
        port,
        rtcp_port,
        row.codec,
        terms.payload_type,
        terms.event_payload if local.telephone_event else None,
        terms.packet_milliseconds,
        terms.direction,
        terms.rtcp_mux,
    )
    return row, settings, terms.held


class _Terms(NamedTuple):
    """What a stream of the far end comes to, but for its port. ``rtcp_port`` None: the port after the media's."""

    address: str
    row: CodecRow
    payload_type: int
    event_payload: int | None
    packet_milliseconds: int
    direction: Direction
    held: bool
    rtcp_mux: bool
    rtcp_port: int | None
    no_rtcp: bool


@lru_cache(maxsize=MAX_KEPT)
def _terms(
    session: tuple[Line, ...],
    media: MediaDescription,
    local_address: str,
    codecs: tuple[CodecRow, ...],
    prefer_local: bool,
    packet_milliseconds: int,
    direction: Direction,
) -> _Terms | str:
    """The terms, or why this stream cannot be had. ``session`` are the lines above the first m=."""
    if media.protocol.upper() not in PROTOCOLS:
        return f"transport protocol {media.protocol[:20]}"
    address = media.connection or find_connection(session)
    if address is None:
        raise SipError(400, f"no c= for m={media.media}")
    family = address_family(address)
    if family is None:
        return f"connection address {address[:60]!r} is not numeric"
    if not _one_host(address):
        return f"connection address {address} is multicast"
    unspecified = address in _UNSPECIFIED
    if family != address_family(local_address) and not unspecified:
        return f"connection address {address} is not of the family of {local_address}"
    maps = media.rtpmaps()
    chosen = _choose(media, maps, codecs, prefer_local)
    if chosen is None:
        return "no codec in common"
    payload, row = chosen
    wanted = _MIRRORED[media.direction or find_direction(session) or "sendrecv"]
    if unspecified:
        # RFC 2543's hold (RFC 3264 8.4): nothing may be sent there, RTCP neither.
        wanted = _BITS[wanted & Direction.RECVONLY]
        address = "::" if ":" in local_address else "0.0.0.0"  # noqa: S104
    return _Terms(
        address,
        row,
        payload,
        _event_payload(media, maps, row.clock),
        _packet_milliseconds(session, media, packet_milliseconds),
        _BITS[wanted & direction],
        not wanted & Direction.SENDONLY,
        media.attribute("rtcp-mux") is not None,
        _rtcp_port(media),
        unspecified,
    )


def _one_host(address: str) -> bool:
    """False for multicast, broadcast and reserved addresses (RFC 5771, RFC 4291 2.7): nobody's telephone."""
    if ":" in address:
        return address[:2].lower() != "ff"
    return int(address.partition(".")[0]) < 224


def _choose(
    media: MediaDescription, maps: dict[str, RtpMap], codecs: tuple[CodecRow, ...], prefer_local: bool
) -> tuple[int, CodecRow] | None:
    found: dict[str, int] = {}
    chosen: list[CodecRow] = []
    for payload in media.formats:
        described = maps.get(payload) or STATIC_PAYLOADS.get(payload)
        number = _payload_type(payload)
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


def _event_payload(media: MediaDescription, maps: dict[str, RtpMap], clock: int) -> int | None:
    for payload, described in maps.items():
        if described.encoding == TELEPHONE_EVENT and described.clock == clock and payload in media.formats:
            return _payload_type(payload)
    return None


def _payload_type(text: str) -> int | None:
    # The length goes first: int() raises for thousands of digits.
    return int(text) if len(text) <= 3 and text.isdecimal() and int(text) <= MAX_PAYLOAD_TYPE else None


def _rtcp_port(media: MediaDescription) -> int | None:
    """RFC 3605; None without the attribute, or with a senseless one."""
    value = media.attribute("rtcp")
    if value:
        port = value.split()[0]
        if port.isdecimal() and port.isascii() and 0 < int(port[:6]) < 65536:
            return int(port)
    return None


def _packet_milliseconds(session: tuple[Line, ...], media: MediaDescription, ours: int) -> int:
    """What the far end likes to receive, within its maxptime and what we can send."""
    wanted = _whole(media.attribute("ptime") or find_attribute(session, "ptime")) or ours
    most = _whole(media.attribute("maxptime") or find_attribute(session, "maxptime")) or PACKET_MILLISECONDS[-1]
    fitting = [length for length in PACKET_MILLISECONDS if length <= min(wanted, most)]
    return fitting[-1] if fitting else PACKET_MILLISECONDS[0]


def _whole(text: str | None) -> int | None:
    if not text:
        return None
    whole = text.partition(".")[0]
    return int(whole) if whole.isdecimal() and whole.isascii() and len(whole) <= 5 else None


@lru_cache(maxsize=MAX_KEPT)
def _audio(
    formats: tuple[tuple[int, CodecRow], ...],
    event_payload: int | None,
    packet_milliseconds: int,
    direction: Direction,
    rtcp_mux: bool,
) -> tuple[tuple[str, ...], tuple[Line, ...]]:
    """Formats and lines of an m= of ours."""
    lines: list[Line] = []
    for payload, row in formats:
        lines.append(("a", f"rtpmap:{payload} {row.rtpmap}"))
        if row.fmtp is not None:
            lines.append(("a", f"fmtp:{payload} {row.fmtp}"))
    payloads = [str(payload) for payload, _ in formats]
    if event_payload is not None and formats:
        payloads.append(str(event_payload))
        lines.append(("a", f"rtpmap:{event_payload} {TELEPHONE_EVENT}/{formats[0][1].clock}"))
        lines.append(("a", f"fmtp:{event_payload} {TELEPHONE_EVENTS}"))
    lines.append(("a", f"ptime:{packet_milliseconds}"))
    lines.append(("a", _NAMES[direction]))
    if rtcp_mux:
        lines.append(("a", "rtcp-mux"))
    return tuple(payloads), tuple(lines)


def _refused(media: MediaDescription) -> MediaDescription:
    """The same m= line with port 0 and nothing else (RFC 3264 6)."""
    return MediaDescription(media.media, 0, media.protocol, media.formats)


def _audio_index(description: SessionDescription) -> int:
    """Which m= line is ours: the first audio with a port, else the first audio, else 0."""
    audio = [number for number, media in enumerate(description.media) if media.media == "audio"]
    for number in audio:
        if description.media[number].port:
            return number
    return audio[0] if audio else 0


@lru_cache(maxsize=MAX_KEPT)
def _session_lines(address: str) -> tuple[str, tuple[Line, ...]]:
    """The family of our address, and the lines of ours between s= and m=."""
    family = address_family(address) or "IP4"
    return family, (("c", f"IN {family} {address}"), ("t", "0 0"))


def _describe(
    local: LocalMedia, media: tuple[MediaDescription, ...], previous: SessionDescription | None
) -> SessionDescription:
    family, lines = _session_lines(local.address)
    version = local.session_id if previous is None else previous.origin.version
    origin = Origin(local.username, str(local.session_id), version, family, local.address)
    description = SessionDescription(origin, local.session_name, lines, media)
    if previous is None or description == previous:
        return description
    # RFC 3264 8: by one, and only if anything changed.
    return msgspec.structs.replace(description, origin=msgspec.structs.replace(origin, version=version + 1))
