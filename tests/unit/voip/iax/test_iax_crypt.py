"""AES of IAX2: what chan_iax2 encrypted is read, what we encrypt differs each time, and garbage is an IaxError."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.voip.iax.crypt import Cipher, key_of
from gateway.voip.iax.elements import Ie
from gateway.voip.iax.errors import IaxError
from gateway.voip.iax.frame import Command, FullFrame, MiniFrame, parse, parse_full

# An encrypted call between two Asterisks: the challenge of its AUTHREQ, its secret, its AUTHREP, ACCEPT, a mini frame.
CHALLENGE = b"100680909"
SECRET = "s3cret-aes"  # noqa: S105
AUTHREP = bytes.fromhex(
    "9f120b0bb469703d9188d9db0b4fe1b192c2a8cb576438c44d7aa341b79686a825e77a10ca2d894061062f0453bb5efb6fbeb68b9299203b"
    "34c4d020a1ef4dbb32a41edb"
)
ACCEPT = bytes.fromhex(
    "8b0b1f12723b8175d43b405ed39fbcbbff991a299df4af8eeec3f9532820e8fa7d9b6ce7921968d83a2ee6a4d64a74c7203025a4"
)
MINI = bytes.fromhex(
    "1f12dc20a1824f0255d63a04090a4d1ee86b808aeb479c0839633d039a29a6c2cf118ff44625edfc621b5ded04043ebf031b1469753a934d"
    "527fa63546806c14ba8d65dafc566c2645c14f2ee233c4d000dbc4d46e3b7bca4c3aca6058a86ae3e3c1087fdcb1405f0d194628441ad4ae"
    "0aa196bfe2460d6c2cbdd2567085ef684002d37bc4f45ded1479642c989dca269e64cf2364b9dd0c6e868594c68271f2dec50f104a7da842"
    "5f3ce080882a283fbfff6328cf7fcbef1d5fc85f6afc38b87f77"
)
KEY = key_of(CHALLENGE, SECRET)


def cipher(seed: int = 1, key: bytes = KEY) -> Cipher:
    return Cipher(key, random.Random(seed))


def test_a_full_frame_of_chan_iax2_is_decrypted() -> None:
    frame = parse_full(cipher().decrypt(AUTHREP))
    assert (frame.source, frame.destination, frame.stamp, frame.oseqno, frame.iseqno) == (7954, 2827, 23, 1, 1)
    assert frame.subclass == Command.AUTHREP
    assert frame.elements.raw(Ie.MD5_RESULT) == b"39c2adf8adfb7cbd82f2ba9e4fb6626a"
    frame = parse_full(cipher().decrypt(ACCEPT))
    assert (frame.subclass, frame.elements.formats(Ie.FORMAT, Ie.FORMAT2)) == (Command.ACCEPT, 4)


def test_a_mini_frame_of_chan_iax2_is_decrypted() -> None:
    frame = parse(cipher().decrypt(MINI))
    assert isinstance(frame, MiniFrame)
    assert (frame.source, frame.stamp, len(frame.data)) == (7954, 580, 160)
    assert frame.data[:8].hex() == "998a8ca719090c28"


@given(st.binary(max_size=200), st.integers(0, 2**32))
def test_a_full_frame_comes_back_and_its_call_numbers_stay_clear(data: bytes, seed: int) -> None:
    datagram = bytes(FullFrame(1, 2, 3, 4, 5, 6, 7, data))
    sent = cipher(seed).encrypt(datagram)
    assert sent[:4] == datagram[:4]
    # 16 octets of padding at least, and whole blocks.
    assert 16 <= len(sent) - len(datagram) <= 31
    assert (len(sent) - 4) % 16 == 0
    assert cipher(seed + 1).decrypt(sent) == datagram


@given(st.binary(max_size=200), st.integers(0, 2**32))
def test_a_mini_frame_comes_back_and_its_call_number_stays_clear(data: bytes, seed: int) -> None:
    datagram = bytes(MiniFrame(1, 2, data))
    sent = cipher(seed).encrypt(datagram)
    assert sent[:2] == datagram[:2]
    assert 16 <= len(sent) - len(datagram) <= 31
    assert (len(sent) - 2) % 16 == 0
    assert cipher(seed + 1).decrypt(sent) == datagram


def test_the_same_frame_is_encrypted_otherwise_each_time() -> None:
    datagram = bytes(FullFrame(1, 2, 3, 4, 5, 6, 7))
    one = cipher()
    assert one.encrypt(datagram)[4:20] != one.encrypt(datagram)[4:20]


@given(st.one_of(st.binary(max_size=120), st.binary(max_size=60).map(lambda data: b"\x80\1\0\2" + data)))
def test_whatever_comes_is_decrypted_to_something_or_an_iax_error(data: bytes) -> None:
    try:
        clear = cipher().decrypt(data)
    except IaxError:
        return
    # A header is there, so that the frame parses.
    assert parse(clear) if data[0] & 0x80 or data[0] << 8 | data[1] else True


@pytest.mark.parametrize("octets", [0, 1, 4, 19, 21, 35])
def test_what_is_not_whole_blocks_is_an_iax_error(octets: int) -> None:
    with pytest.raises(IaxError, match="encrypted octets"):
        cipher().decrypt((b"\x80\1\0\2" + bytes(40))[:octets])


def test_padding_that_leaves_no_header_is_an_iax_error() -> None:
    # 16 octets of padding and 4 of a frame whose header would need 8: nobody encrypts that.
    short = cipher().encrypt(bytes.fromhex("8001000200000003"))
    with pytest.raises(IaxError, match="hold no frame"):
        cipher().decrypt(short)


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_a_key_of_another_length_is_an_iax_error(size: int) -> None:
    with pytest.raises(IaxError, match=f"key of {size} octets"):
        cipher(key=bytes(size))


def test_the_key_is_not_shown() -> None:
    assert KEY.hex() not in repr(cipher())


BEGIN = """
import random, sys
from gateway.voip.iax.endpoint import IaxEndpoint
from gateway.voip.iax.peers import Encryption, IaxSettings, PeerSettings
from tests.unit.no_media import NoMedia
before = "cryptography" in sys.modules
peers = (PeerSettings(name="hq", host="192.0.2.1", secret="x", encryption=Encryption[sys.argv[1]]),)
IaxEndpoint(IaxSettings(peers=peers), NoMedia(), random.Random(1), lambda *_: None)
print(before, "cryptography.hazmat.primitives.ciphers.algorithms" in sys.modules)
"""


@pytest.mark.parametrize(("mode", "loaded"), [("NO", False), ("OPTIONAL", True), ("REQUIRED", True)])
def test_what_encryption_takes_is_loaded_at_the_start_and_only_where_it_may_be_wanted(mode: str, loaded: bool) -> None:
    told = subprocess.run([sys.executable, "-c", BEGIN, mode], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False", str(loaded)]
