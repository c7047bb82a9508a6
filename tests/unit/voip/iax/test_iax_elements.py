"""Information elements: kept as they came, read when asked for, and never a surprise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.voip.iax.elements import MAX_ELEMENTS, ApparentAddress, Elements, Ie
from gateway.voip.iax.errors import IaxError

items = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=255)), max_size=MAX_ELEMENTS)


@given(items)
def test_elements_survive_the_wire_in_order_and_octet_by_octet(items: list[tuple[int, bytes]]) -> None:
    data = bytes(Elements(items))
    parsed = Elements.parse(data)
    assert parsed == Elements(items)
    assert bytes(parsed) == data
    assert list(parsed) == items


@given(st.binary(max_size=300))
def test_whatever_comes_reads_or_is_an_iax_error(data: bytes) -> None:
    try:
        elements = Elements.parse(data)
    except IaxError:
        return
    assert bytes(elements) == data
    assert isinstance(elements.described(), str)
    for number, _ in elements:
        elements.text(number)
        elements.raw(number)
        elements.all(number)
        for read in (elements.number, lambda number: elements.formats(number, Ie.FORMAT2)):
            try:
                read(number)
            except IaxError as error:
                assert "octets" in str(error)
    elements.apparent_address()


@given(st.text(max_size=200))
def test_a_text_comes_back_without_control_characters(text: str) -> None:
    data = bytes(Elements().add_text(Ie.CALLING_NAME, text))
    read = Elements.parse(data).text(Ie.CALLING_NAME)
    assert read is not None
    assert read.isprintable()
    if text.isprintable() and len(text.encode()) <= 255:
        assert read == text


@given(st.sampled_from([1, 2, 4, 8]), st.data())
def test_a_number_comes_back(octets: int, data: st.DataObject) -> None:
    value = data.draw(st.integers(0, 256**octets - 1))
    assert Elements.parse(bytes(Elements().add_number(Ie.REFRESH, value, octets))).number(Ie.REFRESH) == value


@given(st.integers(0, 2**64 - 1))
def test_formats_come_back_in_64_bits_and_in_32_for_who_knows_no_more(mask: int) -> None:
    elements = Elements.parse(bytes(Elements().add_formats(Ie.CAPABILITY, Ie.CAPABILITY2, mask)))
    assert elements.formats(Ie.CAPABILITY, Ie.CAPABILITY2) == mask
    old = Elements([(number, data) for number, data in elements if number == Ie.CAPABILITY])
    assert old.formats(Ie.CAPABILITY, Ie.CAPABILITY2) == mask & 0xFFFF_FFFF


def test_a_later_version_of_the_long_formats_is_left_out() -> None:
    elements = Elements([(Ie.FORMAT2, b"\1" + bytes(8)), (Ie.FORMAT, b"\0\0\0\4")])
    assert elements.formats(Ie.FORMAT, Ie.FORMAT2) == 4


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str), st.integers(0, 65535))
def test_an_apparent_address_comes_back(address: str, port: int) -> None:
    elements = Elements.parse(bytes(Elements().add_address(address, port)))
    assert elements.apparent_address() == ApparentAddress(address, port)


def test_an_apparent_address_of_a_big_endian_host_reads_too() -> None:
    data = b"\x00\x02\x11\xd9\xc0\x00\x02\x01" + bytes(8)
    assert Elements([(Ie.APPARENT_ADDR, data)]).apparent_address() == ApparentAddress("192.0.2.1", 4569)


@pytest.mark.parametrize("data", [b"", b"\x02\x00\x11", b"\x0a\0" + bytes(10), b"\x07\0" + bytes(26)])
def test_an_apparent_address_that_is_none_is_as_if_it_was_not_there(data: bytes) -> None:
    assert Elements([(Ie.APPARENT_ADDR, data)]).apparent_address() is None


def test_a_text_of_an_old_far_end_is_latin_1() -> None:
    assert Elements([(Ie.CALLING_NAME, b"M\xfcller")]).text(Ie.CALLING_NAME) == "Müller"


def test_a_text_too_long_is_cut_at_a_character() -> None:
    data = Elements().add_text(Ie.CALLING_NAME, "ä" * 200).raw(Ie.CALLING_NAME)
    assert data is not None
    assert data.decode() == "ä" * 127


def test_more_octets_than_an_element_can_have_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 255"):
        Elements().add(Ie.CAUSE, bytes(256))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x01", "1 octet left"),
        (b"\x01\x02a", "information element 0x01 of 2 octets, 1 left"),
        (b"\x2e\0" * (MAX_ELEMENTS + 1), f"more than {MAX_ELEMENTS}"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, text: str) -> None:
    with pytest.raises(IaxError, match=text):
        Elements.parse(data)


def test_a_number_of_another_length_is_an_iax_error() -> None:
    with pytest.raises(IaxError, match="REFRESH of 3 octets"):
        Elements([(Ie.REFRESH, b"abc")]).number(Ie.REFRESH)


def test_what_is_missing_is_none() -> None:
    elements = Elements()
    assert elements.raw(Ie.CAUSE) is None
    assert elements.text(Ie.CAUSE) is None
    assert elements.number(Ie.CAUSECODE) is None
    assert elements.formats(Ie.FORMAT, Ie.FORMAT2) is None
    assert elements.all(Ie.VARIABLE) == []


def test_an_element_that_repeats_keeps_all_its_values() -> None:
    elements = Elements.parse(b"\x34\x01a\x34\x01b")
    assert elements.all(Ie.VARIABLE) == [b"a", b"b"]
    assert elements.raw(Ie.VARIABLE) == b"a"


def test_logs_show_no_secrets() -> None:
    secret = b"s3cret"
    numbers = (Ie.PASSWORD, Ie.MD5_RESULT, Ie.RSA_RESULT, Ie.ENCKEY, Ie.CHALLENGE, Ie.CALLTOKEN)
    elements = Elements([(number, secret) for number in numbers])
    elements.add_text(Ie.USERNAME, "site").add_number(Ie.CAUSECODE, 16, 1)
    assert "s3cret" not in repr(elements)
    assert secret.hex() not in repr(elements)
    assert "USERNAME='site', CAUSECODE=16" in repr(elements)
