"""The codec of LAPD frames: round trips, every control octet, hostile octets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pri.lapd.frames import Frame, FrameType, LapdError, decode, encode, encode_address

ADDRESS = encode_address(0, 0, True)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    kind = draw(st.sampled_from(FrameType))
    numbers = st.integers(0, 127)
    return Frame(
        kind,
        draw(st.booleans()),
        draw(numbers) if kind is FrameType.I else 0,
        draw(numbers) if kind is FrameType.I or kind & 3 == 1 else 0,
        draw(st.binary(min_size=5, max_size=5))
        if kind is FrameType.FRMR
        else draw(st.binary(max_size=260))
        if kind in (FrameType.I, FrameType.UI, FrameType.XID)
        else b"",
    )


@given(frames())
def test_what_is_encoded_decodes_to_the_same(frame: Frame) -> None:
    assert decode(encode(ADDRESS, frame)) == frame


@given(st.binary(max_size=400))
def test_random_octets_give_a_frame_that_encodes_alike_or_the_one_error(data: bytes) -> None:
    try:
        frame = decode(data)
    except LapdError as error:
        assert error.code in (None, "L", "M", "N", "O")
        return
    octets = encode(data[:2], frame)
    # Only the reserved bits of a supervisory frame are not kept.
    assert octets == data or (data[2] & 3 == 1 and octets[2] == data[2] & 0x0F and octets[3:] == data[3:])


@pytest.mark.parametrize("control", range(256))
def test_every_first_control_octet(control: int) -> None:
    known = {int(t) for t in FrameType}
    tail = bytes(6) if control & ~0x10 == FrameType.FRMR else b"\x00"
    data = ADDRESS + bytes((control,)) + (tail[1:] if control & 3 == 3 else tail)
    if not control & 1:
        assert decode(data).type is FrameType.I
    elif control & 3 == 1:
        if control & 0x0C == 0x0C:
            with pytest.raises(LapdError) as raised:
                decode(data)
            assert raised.value.code == "L"
        else:
            assert decode(data).type == control & 0x0F
    elif control & ~0x10 in known:
        assert decode(data).type == control & ~0x10
        assert decode(data).pf is bool(control & 0x10)
    else:
        with pytest.raises(LapdError) as raised:
            decode(data)
        assert raised.value.code == "L"


@pytest.mark.parametrize(
    ("frame", "octets"),
    [
        (Frame(FrameType.SABME, True), "02017f"),
        (Frame(FrameType.UA, True), "020173"),
        (Frame(FrameType.DISC, True), "020153"),
        (Frame(FrameType.DM, False), "02010f"),
        (Frame(FrameType.RR, False, 0, 3), "02010106"),
        (Frame(FrameType.RNR, True, 0, 127), "020105ff"),
        (Frame(FrameType.REJ, True, 0, 1), "02010903"),
        (Frame(FrameType.I, True, 5, 6, b"\x08"), "02010a0d08"),
    ],
)
def test_octets_as_drawn_in_q921(frame: Frame, octets: str) -> None:
    assert encode(ADDRESS, frame).hex() == octets


def test_information_field_up_to_n201_and_not_beyond() -> None:
    assert len(decode(ADDRESS + bytes(2) + bytes(260)).information) == 260
    with pytest.raises(LapdError) as raised:
        decode(ADDRESS + bytes(2) + bytes(261))
    assert raised.value.code == "O"
    assert len(decode(ADDRESS + bytes(2) + bytes(512), n201=512).information) == 512


@pytest.mark.parametrize(
    ("sapi", "tei", "cr", "octets"), [(0, 0, True, "0201"), (0, 0, False, "0001"), (63, 127, True, "feff")]
)
def test_address(sapi: int, tei: int, cr: bool, octets: str) -> None:
    assert encode_address(sapi, tei, cr).hex() == octets


@pytest.mark.parametrize(("sapi", "tei"), [(64, 0), (-1, 0), (0, 128), (0, -1)])
def test_address_out_of_range(sapi: int, tei: int) -> None:
    with pytest.raises(ValueError, match="expected 0 to"):
        encode_address(sapi, tei, True)
