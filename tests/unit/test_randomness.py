"""Random numbers from a pool: none twice, all ranges whole, few reads of the source."""

from __future__ import annotations

import os

import pytest

from gateway.randomness import POOL_BYTES, PooledRandom


class _Source:
    """Counts up, so that every octet handed out can be told."""

    def __init__(self) -> None:
        self.reads: list[int] = []
        self._next = 0

    def __call__(self, count: int) -> bytes:
        self.reads.append(count)
        result = b"".join((self._next + at).to_bytes(4, "big") for at in range(count // 4 + 1))[:count]
        self._next += count
        return result


def test_no_octet_is_handed_out_twice() -> None:
    source = _Source()
    rng = PooledRandom(source)
    taken = b"".join(rng.randbytes(4) for _ in range(POOL_BYTES // 2))
    words = [taken[at : at + 4] for at in range(0, len(taken), 4)]
    assert len(set(words)) == len(words)
    assert source.reads == [POOL_BYTES] * 2


def test_one_read_of_the_source_serves_many_numbers() -> None:
    source = _Source()
    rng = PooledRandom(source)
    for _ in range(POOL_BYTES // 8):
        rng.getrandbits(64)
    assert source.reads == [POOL_BYTES]
    rng.getrandbits(1)
    assert source.reads == [POOL_BYTES] * 2


def test_what_is_left_of_the_pool_is_not_stretched() -> None:
    source = _Source()
    rng = PooledRandom(source)
    rng.randbytes(POOL_BYTES - 1)
    assert len(rng.randbytes(2)) == 2
    assert source.reads == [POOL_BYTES] * 2


def test_more_than_a_pool_is_read_at_once() -> None:
    source = _Source()
    rng = PooledRandom(source)
    assert len(rng.randbytes(3 * POOL_BYTES)) == 3 * POOL_BYTES
    assert source.reads == [3 * POOL_BYTES]


@pytest.mark.parametrize("bits", [1, 7, 8, 31, 48, 64, 96])
def test_bits_fill_their_range_and_no_more(bits: int) -> None:
    rng = PooledRandom()
    seen = 0
    for _ in range(400):
        value = rng.getrandbits(bits)
        assert value < 1 << bits
        seen |= value
    assert seen == (1 << bits) - 1


def test_no_bits_are_zero_and_negative_ones_an_error() -> None:
    rng = PooledRandom()
    assert rng.getrandbits(0) == 0
    with pytest.raises(ValueError, match="negative"):
        rng.getrandbits(-1)
    with pytest.raises(ValueError, match="negative"):
        rng.randbytes(-1)


def test_ranges_are_drawn_from_the_pool_too() -> None:
    source = _Source()
    rng = PooledRandom(lambda count: (source(count), os.urandom(count))[1])
    assert {rng.randint(1, 6) for _ in range(300)} == {1, 2, 3, 4, 5, 6}
    assert source.reads == [POOL_BYTES]


def test_fractions_are_below_one() -> None:
    assert PooledRandom(lambda count: b"\xff" * count).random() == 1 - 2.0**-53
    assert PooledRandom(bytes).random() == 0.0
