"""The table of fuzz targets: name, what takes the octets, octets to begin with, and how many are worth trying."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.fuzz import bus, files, iax, pri, sip, sockets, strangers


@dataclass(frozen=True, slots=True)
class Target:
    """``take`` raises nothing, whatever it is given; ``longest`` is in octets."""

    take: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    longest: int


TARGETS: dict[str, Target] = {
    "q931": Target(pri.q931, pri.Q931_SEEDS, 270),
    "lapd": Target(pri.lapd, pri.LAPD_SEEDS, 400),
    "trunk": Target(pri.trunk, pri.TRUNK_SEEDS, 600),
    "line": Target(pri.line, pri.LINE_SEEDS, 1000),
    "sip": Target(sip.sip, sip.SIP_SEEDS, 4000),
    "sdp": Target(sip.session, sip.SDP_SEEDS, 2000),
    "stun": Target(sip.stun, sip.STUN_SEEDS, 600),
    "stream": Target(sip.stream, sip.STREAM_SEEDS, 4000),
    "endpoint": Target(sip.endpoint, sip.ENDPOINT_SEEDS, 1000),
    "digest": Target(strangers.digest, strangers.DIGEST_SEEDS, 400),
    "registrar": Target(strangers.registrar, strangers.REGISTRAR_SEEDS, 600),
    "transfer": Target(strangers.transfer, strangers.TRANSFER_SEEDS, 500),
    "crypto": Target(strangers.crypto, strangers.CRYPTO_SEEDS, 600),
    "networks": Target(strangers.networks, strangers.NETWORKS_SEEDS, 400),
    "servers": Target(strangers.servers, strangers.SERVERS_SEEDS, 600),
    "iax": Target(iax.frames, iax.FRAMES_SEEDS, 700),
    "iax_endpoint": Target(iax.endpoint, iax.ENDPOINT_SEEDS, 1000),
    "configuration": Target(files.configuration, files.CONFIGURATION_SEEDS, 4000),
    "patterns": Target(files.patterns, files.PATTERN_SEEDS, 400),
    "media": Target(sockets.media, sockets.MEDIA_SEEDS, 1000),
    "bus": Target(bus.messages, bus.MESSAGES_SEEDS, 1000),
    "control": Target(sockets.control, sockets.CONTROL_SEEDS, 1000),
}
