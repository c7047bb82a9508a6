"""Codecs in IAX2's words, and which of them a call gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.api import Codec
from gateway.voip.iax import formats
from gateway.voip.iax.formats import choose, codec_of, codecs_of, mask, preferences, preferred

ULAW, ALAW, G722, OPUS, L16 = Codec.ULAW, Codec.ALAW, Codec.G722, Codec.OPUS, Codec.L16
GSM = 2


def test_every_codec_has_a_bit_and_a_letter() -> None:
    assert mask(Codec) == 4 | 8 | 0x1000 | 0x8000 | 1 << 34
    assert preferences(Codec) == b"DEOfP"


@given(st.lists(st.sampled_from(Codec), unique=True))
def test_codecs_come_back(codecs: list[Codec]) -> None:
    assert set(codecs_of(mask(codecs))) == set(codecs)
    assert preferred(preferences(codecs)) == tuple(codecs)


@given(st.binary(max_size=300), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_whatever_is_said_chooses_what_both_have_or_nothing(octets: bytes, capability: int, format: int) -> None:
    chosen = choose((ALAW, ULAW), capability, octets, format)
    assert chosen in (ALAW, ULAW, None)
    assert (chosen is None) == (not (capability or format) & 12 and codec_of(format) not in (ALAW, ULAW))


def test_letters_of_no_codec_and_those_that_repeat_are_left_out() -> None:
    # GSM, µ-law, something, A-law, µ-law again.
    assert preferred(b"CD\xffED") == (ULAW, ALAW)
    assert preferred(b"") == preferred(None) == ()


@pytest.mark.parametrize(("bit", "codec"), [(4, ULAW), (8, ALAW), (12, None), (GSM, None), (0, None), (None, None)])
def test_a_format_is_one_bit(bit: int | None, codec: Codec | None) -> None:
    assert codec_of(bit) is codec


@pytest.mark.parametrize(
    ("ours", "capability", "prefs", "format", "chosen"),
    [
        # The caller's order, whatever ours.
        ((ALAW, ULAW), 12, b"DE", 8, ULAW),
        # What it prefers but we have not is passed over, as is what it prefers but has not.
        ((ALAW, ULAW), 12 | GSM, b"CED", 4, ALAW),
        ((ALAW, ULAW), 4, b"ED", 4, ULAW),
        # No preferences: its FORMAT.
        ((ALAW, ULAW), 12, None, 4, ULAW),
        ((ALAW, ULAW), None, None, 12, ALAW),
        # A FORMAT that we have not: ours.
        ((ALAW, ULAW), 12 | GSM, None, GSM, ALAW),
        # Who names its FORMAT only has no more.
        ((ALAW, ULAW), None, None, 4, ULAW),
        ((ALAW,), None, None, 4, None),
        # Wideband in the long elements.
        ((OPUS, G722, ALAW), 1 << 34 | 8, b"fE", 8, OPUS),
        # Nothing in common.
        ((ALAW, ULAW), GSM, b"C", GSM, None),
        ((), 12, b"DE", 4, None),
        ((ALAW, ULAW), None, None, None, None),
    ],
)
def test_the_callers_preference_then_its_format_then_ours(
    ours: tuple[Codec, ...], capability: int | None, prefs: bytes | None, format: int | None, chosen: Codec | None
) -> None:
    assert choose(ours, capability, prefs, format) is chosen


def test_a_list_of_preferences_is_read_to_its_limit() -> None:
    octets = b"C" * formats.MAX_PREFERENCES + b"D"
    assert preferred(octets) == ()
    assert preferred(octets[1:]) == (ULAW,)
