"""Offer and answer (RFC 3264, RFC 6337) for one audio stream: what we say in SDP, and what the engine is to do.

Pure functions over session descriptions. All other streams are refused with port 0. What payload types mean is in
``audio_formats``, what becomes SRTP in ``encryption``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import msgspec

from gateway.media.api import Codec, Direction, RtpSettings, Srtp
from gateway.voip.sip.audio_formats import (
    DIRECTION_NAMES,
    audio_lines,
    choose,
    event_payload,
    numbered,
    packet_length,
    takes_comfort_noise,
)
from gateway.voip.sip.codecs import COMFORT_NOISE_CLOCK, CodecRow
from gateway.voip.sip.encryption import CLEAR, PLAIN_PROTOCOLS, SECURE_PROTOCOLS, Encryption
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.sdes import Crypto
from gateway.voip.sip.sdp import (
    MAX_KEPT,
    Line,
    MediaDescription,
    Origin,
    SessionDescription,
    address_family,
    find_connection,
    find_direction,
)

PROTOCOLS = PLAIN_PROTOCOLS | SECURE_PROTOCOLS
"""Transport protocols of m= that we take, where the peer's settings have them."""

_DIRECTIONS = {name: direction for direction, name in DIRECTION_NAMES.items()}
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
_WARNINGS = {
    "connection address": 301,
    "transport protocol": 302,
    "no codec": 305,
    # There is no code for what is wrong with keys.
    "media_encryption": 399,
    "no a=crypto": 399,
}
_UNSPECIFIED = frozenset({"0.0.0.0", "::"})  # noqa: S104
_NOWHERE = ".invalid"
"""RFC 3725: a name that says what 0.0.0.0 says where that may not be said."""


class Elsewhere(msgspec.Struct, frozen=True):
    """Where the far end is to send its voice instead of to us, and in what codec."""

    address: str
    port: int
    codec: Codec


class LocalMedia(msgspec.Struct, frozen=True):
    """Our end of the stream and what we are ready to do. ``codecs`` are in order of preference.

    ``direction`` is what we want; the far end may allow less. ``prefer_local``: answers follow our order of codecs, not
    the offer's. ``rtcp_mux``: offer it (RFC 5761); an offer of it is always taken. ``comfort_noise``: RFC 3389 may be
    sent to us. ``elsewhere``: what is described instead of our end; the session stays ours.
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
    comfort_noise: bool = False
    encryption: Encryption = CLEAR
    elsewhere: Elsewhere | None = None
    username: str = "-"
    session_name: str = "-"

    @property
    def described(self) -> tuple[str, int]:
        """The address and port that descriptions name for the voice."""
        there = self.elsewhere
        return (self.address, self.port) if there is None else (there.address, there.port)


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
    Our payload types in use keep their meaning (RFC 3264 8.3.2), and streams that were refused stay so. Raises
    SipError(488) if what ``local`` requires may not be offered.
    """
    codecs, there = local.codecs, local.elsewhere
    if there is not None:
        # Whoever is there has agreed to no other.
        codecs = tuple([row for row in codecs if row.codec == there.codec])
    formats, events = numbered(codecs, events=local.telephone_event, current=current)
    payloads, attributes = audio_lines(
        formats,
        events,
        local.packet_milliseconds,
        local.direction,
        local.rtcp_mux,
        local.comfort_noise and there is None and any(row.clock == COMFORT_NOISE_CLOCK for _, row in formats),
    )
    protocol = "RTP/AVP"
    crypto: tuple[str, ...] = ()
    if local.encryption is not CLEAR:
        before = previous.media[_audio_index(previous)] if previous is not None and previous.media else None
        srtp = current.srtp if current is not None else None
        protocol, crypto = local.encryption.offer(before, srtp, in_use=current is not None)
    audio = MediaDescription("audio", local.described[1], protocol, payloads, attributes, 1, crypto)
    if previous is None or not previous.media:
        return _describe(local, (audio,), previous)
    at = _audio_index(previous)
    media = tuple([audio if number == at else _refused(old) for number, old in enumerate(previous.media)])
    return _describe(local, media, previous)


def make_answer(
    offer: SessionDescription,
    local: LocalMedia,
    previous: SessionDescription | None = None,
    srtp: Srtp | None = None,
) -> Negotiated:
    """Our answer to ``offer``; ``previous`` is what we sent last in this session, ``srtp`` what is in use.

    Raises SipError(488) if no audio stream of the offer can be taken, with 400 if the offer makes no sense. Of streams
    that can, the one in use goes first, then those with SRTP.
    """
    first = _audio_index(previous) if previous is not None and previous.media else None
    order = list(range(len(offer.media)))
    if len(order) > 1 and local.encryption is not CLEAR:
        order.sort(key=lambda at: not offer.media[at].crypto)
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
        protection = _answer_protocol(media, local, srtp)
        taken = protection if isinstance(protection, str) else _take(offer, media, local, local.direction)
        if isinstance(taken, str):
            why = taken
            continue
        row, settings, held, noise = taken
        crypto: tuple[str, ...] = ()
        if protection is not None and not isinstance(protection, str):
            settings = msgspec.structs.replace(settings, srtp=protection[0])
            crypto = (str(protection[1]),)
        event = settings.dtmf_payload_type
        payloads, attributes = audio_lines(
            ((settings.payload_type, row),),
            () if event is None else ((event, row.clock),),
            settings.packet_milliseconds,
            settings.direction,
            settings.rtcp_mux,
            noise and local.comfort_noise,
        )
        audio = MediaDescription("audio", local.described[1], media.protocol, payloads, attributes, 1, crypto)
        streams = tuple([audio if number == at else _refused(old) for number, old in enumerate(offer.media)])
        return Negotiated(_describe(local, streams, previous), settings, row, held)
    raise SipError(488, f"offer cannot be taken: {why}", warning=_warning(why))


def _answer_protocol(media: MediaDescription, local: LocalMedia, srtp: Srtp | None) -> tuple[Srtp, Crypto] | str | None:
    """SRTP for a stream that is offered, None for plain RTP, or why it can have neither."""
    protocol = media.protocol
    if local.encryption is CLEAR and protocol in PLAIN_PROTOCOLS:
        return None
    if protocol.upper() not in PROTOCOLS:
        return f"transport protocol {protocol[:20]}"
    return local.encryption.answer(media, srtp)


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
    srtp = None
    if local.encryption is not CLEAR or media.protocol not in PLAIN_PROTOCOLS:
        if media.protocol.upper() not in PROTOCOLS:
            raise SipError(488, f"answer cannot be taken: transport protocol {media.protocol[:20]}")
        srtp = local.encryption.settle(ours, media)
    taken = _take(answer, media, local, _DIRECTIONS[offer.direction_of(ours)])
    if isinstance(taken, str):
        raise SipError(488, f"answer cannot be taken: {taken}")
    row, settings, held, _ = taken
    if srtp is not None:
        settings = msgspec.structs.replace(settings, srtp=srtp)
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
    chosen = choose(media, maps, (row,), prefer_local=False)
    return chosen[0] if chosen else None, event_payload(media, maps, row.clock)


def _take(
    theirs: SessionDescription, media: MediaDescription, local: LocalMedia, direction: Direction
) -> tuple[CodecRow, RtpSettings, bool, bool] | str:
    """Codec, settings but for SRTP, held, comfort noise taken; or why this stream of the far end cannot be had."""
    port = media.port
    # Of what the same far end says in one call and the next, only ports and keys differ.
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
    return row, settings, terms.held, terms.comfort_noise


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
    comfort_noise: bool


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
    address = media.connection or find_connection(session)
    if address is None:
        raise SipError(400, f"no c= for m={media.media}")
    family = address_family(address)
    if family is None:
        if not address.lower().rstrip(".").endswith(_NOWHERE):
            # RFC 4566 5.7 has names, next to nobody sends one, and who does would have us ask the DNS what it likes.
            return f"connection address {address[:60]!r} is a name, expected an IP address: names are not looked up"
        family, address = "IP4", "0.0.0.0"  # noqa: S104
    if not _one_host(address):
        return f"connection address {address} is multicast"
    unspecified = address in _UNSPECIFIED
    if family != address_family(local_address) and not unspecified:
        return f"connection address {address} is not of the family of {local_address}"
    maps = media.rtpmaps()
    chosen = choose(media, maps, codecs, prefer_local)
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
        event_payload(media, maps, row.clock),
        packet_length(session, media, packet_milliseconds, row),
        _BITS[wanted & direction],
        not wanted & Direction.SENDONLY,
        media.attribute("rtcp-mux") is not None,
        _rtcp_port(media),
        unspecified,
        row.clock == COMFORT_NOISE_CLOCK and takes_comfort_noise(media, maps),
    )


def _one_host(address: str) -> bool:
    """False for multicast, broadcast and reserved addresses (RFC 5771, RFC 4291 2.7): nobody's telephone."""
    if ":" in address:
        return address[:2].lower() != "ff"
    return int(address.partition(".")[0]) < 224


def _rtcp_port(media: MediaDescription) -> int | None:
    """RFC 3605; None without the attribute, or with a senseless one."""
    value = media.attribute("rtcp")
    if value:
        port = value.split()[0]
        if port.isdecimal() and port.isascii() and 0 < int(port[:6]) < 65536:
            return int(port)
    return None


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


def readdressed(description: SessionDescription, address: str) -> SessionDescription:
    """A description of ours that nobody was sent yet, with another address of ours."""
    family, lines = _session_lines(address)
    origin = msgspec.structs.replace(description.origin, family=family, address=address)
    return msgspec.structs.replace(description, origin=origin, lines=lines)


def redirected(description: SessionDescription, ours: int, there: Elsewhere) -> SessionDescription:
    """A description of ours that nobody was sent yet, with voice that would come to our port ``ours`` sent there."""
    _, lines = _session_lines(there.address)
    media = tuple(
        [msgspec.structs.replace(each, port=there.port) if each.port == ours else each for each in description.media]
    )
    return msgspec.structs.replace(description, lines=lines, media=media)


def _describe(
    local: LocalMedia, media: tuple[MediaDescription, ...], previous: SessionDescription | None
) -> SessionDescription:
    family, lines = _session_lines(local.described[0])
    version = local.session_id if previous is None else previous.origin.version
    origin = Origin(local.username, str(local.session_id), version, family, local.address)
    description = SessionDescription(origin, local.session_name, lines, media)
    if previous is None or description == previous:
        return description
    # RFC 3264 8: by one, and only if anything changed.
    return msgspec.structs.replace(description, origin=msgspec.structs.replace(origin, version=version + 1))
