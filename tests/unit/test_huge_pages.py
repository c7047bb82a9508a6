"""Which memory is put into huge pages."""

from __future__ import annotations

from gateway.huge_pages import HUGE, MAX_OCTETS, gather, ranges

MAPS = """\
00400000-00a00000 r-xp 00000000 fe:00 1 /usr/bin/python3.11
00a00000-00e00000 r--p 00600000 fe:00 1 /usr/bin/python3.11
01100000-01700000 rw-p 00000000 00:00 0 [heap]
7f0000100000-7f00001ff000 rw-p 00000000 00:00 0
7f0000300000-7f0000900000 rw-p 00000000 00:00 0
7f0001000000-7f0001400000 rw-s 00000000 00:01 5 /dev/shm/shared
7ffc00000000-7ffc00800000 rw-p 00000000 00:00 0 [stack]
nonsense
"""


def test_whole_huge_pages_of_private_memory_and_text_are_taken() -> None:
    assert list(ranges(MAPS)) == [
        (0x400000, 0xA00000),
        (0x1200000, 0x1600000),
        (0x7F0000400000, 0x7F0000800000),
    ]


def test_what_cannot_be_had_is_no_error_and_there_is_a_limit() -> None:
    gathered = gather()
    assert 0 <= gathered <= MAX_OCTETS
    assert gathered % HUGE == 0
