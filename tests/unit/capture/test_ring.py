"""The ring keeps what came last and no more octets than it may."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.capture.ring import CHUNK, ENTRY_OCTETS, MAX_ENDED, MIN_OCTETS, CallKeys, Ring, Wire


def test_what_came_last_is_there_in_order() -> None:
    ring = Ring()
    for number in range(500):
        ring.note(number, Wire.LAPD, True, "pstn", bytes([number % 256]))
    entries, after = ring.since(490, 100)
    assert [entry[0] for entry in entries] == list(range(490, 500)) and after == 500
    assert ring.since(after, 100) == ([], 500)
    assert ring.since(0, 3) == ([(n, 0, True, "pstn", bytes([n])) for n in range(3)], 3)


@given(st.lists(st.integers(0, 3000), max_size=700))
def test_it_never_holds_more_than_it_may(sizes: list[int]) -> None:
    ring = Ring(MIN_OCTETS)
    for number, size in enumerate(sizes):
        ring.note(number, Wire.SIP, False, None, bytes(size))
        assert ring.octets <= MIN_OCTETS
    entries, after = ring.since(0, 1000)
    assert after == ring.last == len(sizes)
    # Those that are there are the last ones, and one chunk more would not have found room.
    assert [entry[0] for entry in entries] == list(range(ring.first, len(sizes)))
    if ring.first:
        last_chunk = sizes[ring.first - CHUNK : ring.first]
        assert ring.octets + sum(last_chunk) + CHUNK * ENTRY_OCTETS > MIN_OCTETS


@given(st.lists(st.integers(1, 200), max_size=20))
def test_it_is_read_in_parts_of_any_size(parts: list[int]) -> None:
    ring = Ring()
    for number in range(10 * CHUNK + 7):
        ring.note(number, Wire.SIP, False, None, b"")
    at, found = 0, []
    for most in parts:
        entries, at = ring.since(at, most)
        assert len(entries) <= most
        found += [entry[0] for entry in entries]
    assert found == list(range(min(sum(parts), 10 * CHUNK + 7)))


def test_what_was_dropped_is_not_asked_for_in_vain() -> None:
    ring = Ring(MIN_OCTETS)
    for number in range(1000):
        ring.note(number, Wire.SIP, True, None, bytes(1000))
    assert ring.first > 0
    entries, after = ring.since(0, 2)
    assert [entry[0] for entry in entries] == [ring.first, ring.first + 1]
    assert after == ring.first + 2


def test_ended_calls_are_known_as_long_as_there_is_room() -> None:
    ring = Ring()
    for number in range(MAX_ENDED + 5):
        ring.end_of(CallKeys(f"c{number}", 0, number, ()))
    assert ring.call("c4") is None
    assert ring.call("c5") == CallKeys("c5", 0, 5, ())
    assert ring.call("nobody") is None


def test_a_ring_that_is_too_small_to_be_of_use_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 65536 or more"):
        Ring(MIN_OCTETS - 1)
