"""The Python side of the wire against engine/protocol.h, and against random bytes."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media import wire
from gateway.media.api import (
    Codec,
    Copied,
    Direction,
    Latch,
    Law,
    RtpSettings,
    Srtp,
    SrtpKey,
    SrtpSuite,
    Statistics,
    Tone,
    ToneStep,
)
from gateway.media.wire import Kind, Opcode, WireError

PROTOCOL = Path(__file__).resolve().parents[3] / "gateway/media/engine/protocol.h"


def constants() -> dict[str, int]:
    """Every enumerator of protocol.h."""
    text = re.sub(r"/\*.*?\*/", "", PROTOCOL.read_text(), flags=re.DOTALL)
    found: dict[str, int] = {}
    for name, value in re.findall(r"\b(GM_\w+)\s*=\s*([^,}]+)", text):
        found[name] = eval(value, {"__builtins__": {}}, {})  # noqa: S307 - our own header
    return found


def test_constants_are_those_of_the_engine() -> None:
    header = constants()
    assert header.pop("GM_HEADER_BYTES") == wire.HEADER.size
    for opcode in Opcode:
        assert header.pop("GM_" + opcode.name) == opcode, opcode
    for kind in Kind:
        assert header.pop("GM_KIND_" + kind.name) == kind
    for law in Law:
        assert header.pop("GM_LAW_" + law.name) == law
    for codec in Codec:
        assert header.pop("GM_CODEC_" + codec.name) == codec
    for direction in Direction:
        assert header.pop("GM_" + direction.name) == direction
    for latch in Latch:
        assert header.pop("GM_LATCH_" + latch.name) == latch
    for suite in SrtpSuite:
        assert header.pop("GM_" + suite.name) == suite
    for copied in Copied:
        assert header.pop("GM_COPIED_" + copied.name) == copied
    for name, value in header.items():
        assert getattr(wire, name.removeprefix("GM_")) == value, name


def test_structs_have_the_sizes_the_engine_reads() -> None:
    assert wire.STATISTICS.size == wire.STATISTICS_BYTES
    assert wire.STATISTICS_LEAST.size == wire.STATISTICS_LEAST_BYTES
    assert len(msgspec.structs.fields(Statistics)) == len(wire.STATISTICS.unpack(bytes(wire.STATISTICS.size))) - 2
    assert wire.SET_RTP.size == 32
    assert wire.SET_RTP_SOURCE.size == 20 + 2 * wire.SRTP_KEY_BYTES
    assert wire.SET_RTP_MKI.size == 1 + wire.SRTP_MKI_BYTES
    assert wire.OPEN_RTP.size == 20 + wire.LABEL_BYTES
    assert wire.LIST_ENTRY.size == 12 + wire.LABEL_BYTES
    assert wire.TONE_STEP.size == 16


def test_messages_come_out_as_they_went_in() -> None:
    packet = wire.message(3, 7, 9, b"abc") + wire.message(4, 0, 0xFFFFFFFF)
    assert list(wire.messages(packet)) == [(3, 7, 9, b"abc"), (4, 0, 0xFFFFFFFF, b"")]


@pytest.mark.parametrize(
    "packet",
    [
        b"x",
        wire.message(1, 1, 1)[:-1],
        b"\0\0" + wire.message(1, 1, 1)[2:],
        wire.message(1, 1, 1)[:2] + b"\x09" + wire.message(1, 1, 1)[3:],
        wire.HEADER.pack(wire.MAGIC, wire.VERSION, 1, 1, 1, 5) + b"abcd",
        wire.HEADER.pack(wire.MAGIC, wire.VERSION, 1, 1, 1, wire.BODY_MAX + 1) + bytes(wire.BODY_MAX + 1),
    ],
)
def test_a_malformed_packet_is_refused(packet: bytes) -> None:
    with pytest.raises(WireError):
        list(wire.messages(packet))


@given(st.binary(max_size=300))
def test_random_bytes_raise_only_the_wires_error(data: bytes) -> None:
    for decode in (lambda: list(wire.messages(data)), lambda: wire.list_entries(data)):
        with contextlib.suppress(WireError):
            decode()


@pytest.mark.parametrize("source", ["", "192.0.2.1:4000", "[2001:db8::1]:65535"])
def test_statistics_survive_the_wire(source: str) -> None:
    counters = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1.5, 2.5, -1.0, 3.5, 11, 4.5, 12, -10.5, -99.0, 1004.0, 4.25)
    value = Statistics(*counters, 13, 14, 15, source, bool(source))
    assert wire.statistics_of(b"code" + wire.statistics_body(value), 4) == value
    of_before = wire.statistics_body(value)[: wire.STATISTICS_LEAST_BYTES]
    assert wire.statistics_of(of_before) == Statistics(*counters)
    with pytest.raises(WireError):
        wire.statistics_of(of_before[:-1])


@pytest.mark.parametrize(
    ("address", "family", "octets"), [("192.0.2.1", 4, b"\xc0\0\x02\x01"), ("::1", 6, bytes(15) + b"\x01")]
)
def test_addresses_of_both_families(address: str, family: int, octets: bytes) -> None:
    assert wire.address_bytes(address) == (family, octets.ljust(16, b"\0"))


@pytest.mark.parametrize("address", ["", "example.com", "1.2.3", "::g", "1.2.3.4:5"])
def test_a_name_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="not an IP address"):
        wire.address_bytes(address)


def test_settings_without_rfc4733_say_so() -> None:
    settings = RtpSettings("192.0.2.1", 4000, 4001, Codec.ALAW, 8, None)
    body = wire.rtp_settings_body(4, bytes(16), settings)
    assert wire.SET_RTP.unpack(body)[:4] == (4, 8, 8, wire.NO_PAYLOAD_TYPE)


def test_settings_say_that_digits_are_told_in_signalling() -> None:
    settings = RtpSettings("192.0.2.1", 4000, 4001, Codec.ALAW, 8, None)
    assert wire.rtp_settings_body(4, bytes(16), settings)[26:28] == bytes((0, 0))
    settings = msgspec.structs.replace(settings, digits_told=True)
    assert wire.rtp_settings_body(4, bytes(16), settings)[26:28] == bytes((0, 1))


def test_settings_name_the_numbers_of_each_direction() -> None:
    same = RtpSettings("192.0.2.1", 4000, 4001, Codec.ALAW, 8, 101)
    assert wire.rtp_settings_body(4, bytes(16), same)[28:] == bytes((wire.NO_PAYLOAD_TYPE, wire.NO_PAYLOAD_TYPE, 0, 0))
    other = RtpSettings(
        "192.0.2.1", 4000, 4001, Codec.ALAW, 97, 96, receive_payload_type=8, receive_dtmf_payload_type=101
    )
    body = wire.rtp_settings_body(4, bytes(16), other)
    assert wire.SET_RTP.unpack(body)[2:4] + wire.SET_RTP.unpack(body)[-2:] == (97, 96, 8, 101)


def protected(suite: SrtpSuite, size: int) -> RtpSettings:
    srtp = Srtp(SrtpKey(suite, b"s" * size), SrtpKey(suite, b"r" * size))
    return RtpSettings(
        "192.0.2.1", 4000, 4001, Codec.ALAW, 8, srtp=srtp, latch=Latch.ONCE, signalling_address="192.0.2.9"
    )


def test_what_old_engines_do_not_know_comes_last_and_only_if_it_is_needed() -> None:
    plain = RtpSettings("192.0.2.1", 4000, 4001, Codec.ALAW, 8)
    assert len(wire.rtp_settings_body(4, bytes(16), plain)) == wire.SET_RTP.size
    body = wire.rtp_settings_body(4, bytes(16), protected(SrtpSuite.AEAD_AES_128_GCM, 28))
    assert body[: wire.SET_RTP.size] == wire.rtp_settings_body(4, bytes(16), plain)
    latch, send, receive, family, address, send_key, receive_key = wire.SET_RTP_SOURCE.unpack_from(
        body, wire.SET_RTP.size
    )
    assert (latch, send, receive, family, address[:5]) == (1, 5, 5, 4, b"\xc0\0\x02\x09\0")
    assert (send_key, receive_key) == (b"s" * 28 + bytes(20), b"r" * 28 + bytes(20))
    settings = protected(SrtpSuite.AEAD_AES_128_GCM, 28)
    assert settings.srtp is not None
    for size in (1, wire.SRTP_MKI_BYTES):
        received = msgspec.structs.replace(settings.srtp.receive, mki=b"m" * size)
        named = msgspec.structs.replace(settings, srtp=Srtp(settings.srtp.send, received))
        assert wire.rtp_settings_body(4, bytes(16), named) == body + bytes((size,)) + (b"m" * size).ljust(8, b"\0")
    received = msgspec.structs.replace(settings.srtp.receive, mki=b"m" * (wire.SRTP_MKI_BYTES + 1))
    with pytest.raises(ValueError, match="MKI of 9 octets"):
        wire.rtp_settings_body(4, bytes(16), msgspec.structs.replace(settings, srtp=Srtp(received, received)))


@pytest.mark.parametrize("suite", SrtpSuite)
def test_a_key_has_the_length_of_its_suite(suite: SrtpSuite) -> None:
    size = wire.SRTP_KEY_LENGTHS[suite]
    wire.rtp_settings_body(4, bytes(16), protected(suite, size))
    for wrong in (0, size - 1, size + 1):
        with pytest.raises(ValueError, match=f"{suite.name} has {size}") as caught:
            wire.rtp_settings_body(4, bytes(16), protected(suite, wrong))
        assert "ss" not in str(caught.value)


@pytest.mark.parametrize(
    "tone",
    [
        Tone(()),
        Tone((ToneStep((440,), 100),) * 17),
        Tone((ToneStep((440,), 100),), 1),
        Tone((ToneStep((1, 2, 3, 4, 5), 100),)),
        Tone((ToneStep((4000,), 100),)),
        Tone((ToneStep((440,), -1),)),
        Tone((ToneStep((440,), 100, 4.0),)),
    ],
)
def test_a_tone_over_the_limits_is_refused(tone: Tone) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire.tone_body(tone, b"")


def test_a_long_label_is_cut_and_ends_with_nul() -> None:
    assert len(wire.label_bytes("x" * 100)) == wire.LABEL_BYTES - 1
