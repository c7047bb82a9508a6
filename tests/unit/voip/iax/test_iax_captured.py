"""What chan_iax2 (Asterisk 16) sent to another, read by us: as an independent decoder read it, decrypted where need be.

Each line of the file has a datagram (``wire``) of one side (``from``), and what it says. The secret of user NAME is
s3cret-NAME; keys come of AUTHREQ and, in each direction, of RTKEY.
"""

from __future__ import annotations

import json
import random
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from gateway.voip.iax.crypt import Cipher, key_of
from gateway.voip.iax.elements import Ie
from gateway.voip.iax.frame import Command, Frame, FrameType, FullFrame, MiniFrame, compressed, parse

CAPTURED = Path(__file__).with_name("iax2-captured.jsonl")
Line = dict[str, Any]
CAPTURES: dict[str, list[Line]] = {
    name: list(lines)
    for name, lines in groupby(map(json.loads, CAPTURED.read_text().splitlines()), lambda line: str(line["capture"]))
}


class Reader:
    """Follows the calls of a capture, and their keys."""

    def __init__(self) -> None:
        self.rng = random.Random(0)
        self.users: dict[int, str] = {}
        # By side and call number.
        self.keys: dict[tuple[str, int], bytes] = {}
        self.changes = 0

    def read(self, side: str, data: bytes) -> Frame:
        number = (data[0] << 8 | data[1]) & 0x7FFF
        key = self.keys.get((side, number))
        frame = parse(data if key is None else Cipher(key, self.rng).decrypt(data))
        if isinstance(frame, FullFrame) and frame.type == FrameType.IAX:
            self._follow(side, frame)
        return frame

    def _follow(self, side: str, frame: FullFrame) -> None:
        elements = frame.elements
        if frame.subclass == Command.NEW:
            self.users[frame.source] = elements.text(Ie.USERNAME) or ""
        elif frame.subclass == Command.AUTHREQ and elements.raw(Ie.ENCRYPTION):
            key = key_of(elements.raw(Ie.CHALLENGE) or b"", f"s3cret-{self.users[frame.destination]}")
            other = "1" if side == "2" else "2"
            self.keys[side, frame.source] = self.keys[other, frame.destination] = key
        elif frame.subclass == Command.RTKEY:
            self.keys[side, frame.source] = elements.raw(Ie.CHALLENGE) or b""
            self.changes += 1


@pytest.mark.parametrize("name", CAPTURES)
def test_captured_frames_say_what_another_decoder_found(name: str) -> None:
    reader = Reader()
    for line in CAPTURES[name]:
        frame = reader.read(line["from"], bytes.fromhex(line["wire"]))
        if "payload" in line:
            assert isinstance(frame, MiniFrame)
            assert (frame.stamp, frame.data.hex()) == (line["ts16"], line["payload"])
            continue
        assert isinstance(frame, FullFrame)
        assert (frame.type, line["sub"]) in ((line["type"], frame.subclass), (line["type"], compressed(frame.subclass)))
        if "data" in line:
            assert (frame.stamp, frame.oseqno, frame.iseqno) == (line["ts"], line["oseq"], line["iseq"])
            assert frame.data.hex() == line["data"]
    encrypted = name == "iax2-aes128"
    assert (bool(reader.keys), reader.changes > 0) == (encrypted, encrypted)


@pytest.mark.parametrize("name", CAPTURES)
def test_captured_frames_are_written_as_they_were(name: str) -> None:
    for line in CAPTURES[name]:
        if "data" not in line and "payload" not in line:
            data = bytes.fromhex(line["wire"])
            assert bytes(parse(data)) == data
