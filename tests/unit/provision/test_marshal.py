"""D-Bus's format as we write it, read again by the library that reads what comes in."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from dbus_next._private.unmarshaller import Unmarshaller
from dbus_next.signature import SignatureTree
from hypothesis import given
from hypothesis import strategies as st

from gateway.provision.bus.adapter import plain
from gateway.provision.bus.marshal import (
    MAX_DEPTH,
    MarshalError,
    Variant,
    body_of,
    dictionary,
    message,
    single,
    split,
)

_TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)
_BASIC: dict[str, st.SearchStrategy[Any]] = {
    "y": st.integers(0, 255),
    "b": st.booleans(),
    "n": st.integers(-(2**15), 2**15 - 1),
    "q": st.integers(0, 2**16 - 1),
    "i": st.integers(-(2**31), 2**31 - 1),
    "u": st.integers(0, 2**32 - 1),
    "x": st.integers(-(2**63), 2**63 - 1),
    "t": st.integers(0, 2**64 - 1),
    "d": st.floats(allow_nan=False),
    "s": _TEXT,
}
_SIGNATURES = st.recursive(
    st.sampled_from(sorted(_BASIC)),
    lambda inner: st.one_of(
        inner.filter(lambda each: each != "y").map(lambda each: f"a{each}"),
        st.lists(inner, min_size=1, max_size=3).map(lambda every: f"({''.join(every)})"),
        st.tuples(st.sampled_from("sutq"), inner).map(lambda pair: f"a{{{pair[0]}{pair[1]}}}"),
        st.just("v"),
    ),
    max_leaves=5,
)


def values_of(signature: str) -> st.SearchStrategy[Any]:
    if signature in _BASIC:
        return _BASIC[signature]
    if signature == "v":
        return st.sampled_from(sorted(_BASIC)).flatmap(
            lambda code: _BASIC[code].map(lambda value: Variant(code, value))
        )
    if signature.startswith("a{"):
        return st.dictionaries(_BASIC[signature[2]], values_of(signature[3:-1]), max_size=3)
    if signature.startswith("a"):
        return st.lists(values_of(signature[1:]), max_size=3)
    return st.tuples(*[values_of(each) for each in split(signature[1:-1])])


def bare(value: Any) -> Any:
    if isinstance(value, Variant):
        return bare(value.value)
    if isinstance(value, list | tuple):
        return [bare(each) for each in value]
    if isinstance(value, dict):
        return {key: bare(each) for key, each in value.items()}
    return value


def read(signature: str, octets: bytes) -> list[Any]:
    reader = Unmarshaller(None)
    reader.buf = bytearray(octets)
    reader.endian = ord("l")
    return [plain(reader.read_argument(each)) for each in SignatureTree._get(signature).types]


@given(st.data())
def test_what_is_written_is_read_again(data: st.DataObject) -> None:
    types = data.draw(st.lists(_SIGNATURES, min_size=1, max_size=4))
    values = [data.draw(values_of(each)) for each in types]
    signature = "".join(types)
    assert split(signature) == tuple(types)
    assert read(signature, body_of(signature, values)) == [bare(each) for each in values]


def test_octets_and_paths() -> None:
    assert read("ayog", body_of("ayog", [b"\1\2", "/a/b", "a{sv}"])) == [b"\1\2", "/a/b", "a{sv}"]


def test_a_dictionary_of_known_keys_is_written_as_any_other() -> None:
    write = dictionary([("Name", "s"), ("Calls", "u"), ("Since", "t"), ("Counters", "a{st}")])
    values: dict[str, object] = {"Name": "pstn", "Since": 7, "Counters": {"slips": 3}}
    for before in (b"", b"12345"):
        out = bytearray(before)
        write(out, values)
        assert read("y" * len(before) + "a{sv}", bytes(out))[-1] == values


def test_what_begins_at_a_multiple_of_eight_may_be_put_at_any_other() -> None:
    fragment = bytearray()
    single("(ysdav)")(fragment, (1, "abc", 2.5, [Variant("t", 9)]))
    moved = bytearray(16)
    single("(ysdav)")(moved, (1, "abc", 2.5, [Variant("t", 9)]))
    assert moved[16:] == fragment


def test_a_text_with_a_zero_octet_does_not_cost_the_connection() -> None:
    assert read("s", body_of("s", ["a\0b"])) == ["a\ufffdb"]


@pytest.mark.parametrize("signature", ["z", "a", "(", "()", "a{vs}", "a{s}", "a{sss}", "(s", "s)", "a" * 40 + "s"])
def test_what_is_no_signature_is_refused(signature: str) -> None:
    with pytest.raises(MarshalError):
        split(signature)


def test_signatures_have_limits() -> None:
    assert len(split("s" * 255)) == 255
    with pytest.raises(MarshalError):
        split("s" * 256)
    assert split("a" * MAX_DEPTH + "s") == ("a" * MAX_DEPTH + "s",)
    with pytest.raises(MarshalError):
        split("a" * (MAX_DEPTH + 1) + "s")


@pytest.mark.parametrize(
    ("signature", "values"),
    [
        ("u", [-1]),
        ("u", [2**32]),
        ("u", ["1"]),
        ("s", [1]),
        ("s", [None]),
        ("b", [1]),
        ("y", [256]),
        ("ss", ["a"]),
        ("(su)", [("a",)]),
        ("as", [5]),
        ("a{ss}", [["a"]]),
        ("v", ["a"]),
        ("s", ["\ud800"]),
    ],
)
def test_values_of_other_types_are_refused(signature: str, values: list[object]) -> None:
    with pytest.raises(MarshalError):
        body_of(signature, values)


def test_a_message_has_its_length_serial_and_fields() -> None:
    data = message(4, 1, 77, [(1, Variant("o", "/a")), (8, Variant("g", "s"))], body_of("s", ["x"]))
    assert bytes(data[:4]) == b"l\4\1\1"
    length, serial, fields = struct.unpack_from("<III", data, 4)
    assert (length, serial) == (6, 77)
    assert len(data) == 16 + fields + -fields % 8 + length
