"""Who is who in IAX2: methods are chosen, proven and checked; nothing weaker than what is set is ever given."""

from __future__ import annotations

import random

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from gateway.voip.iax import auth
from gateway.voip.iax.crypt import AES_128, KEY_ROTATION, key_of
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.errors import IaxError
from gateway.voip.iax.peers import AuthMethod, Encryption, PeerSettings

PLAINTEXT, MD5, RSA = AuthMethod.PLAINTEXT, AuthMethod.MD5, AuthMethod.RSA
CHALLENGE = b"759163124"


class KeyPair:
    def __init__(self, bits: int = 1024) -> None:
        key = rsa.generate_private_key(65537, bits)
        self.private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        self.locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
        self.public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="module")
def keys() -> KeyPair:
    return KeyPair()


def challenge(methods: AuthMethod, encryption: int = 0) -> Elements:
    elements = Elements().add_number(Ie.AUTHMETHODS, methods, 2).add(Ie.CHALLENGE, CHALLENGE)
    return elements.add_number(Ie.ENCRYPTION, encryption, 2) if encryption else elements


def peer(
    methods: AuthMethod = MD5,
    secret: str = "s3cret-plain",  # noqa: S107
    outkey: bytes = b"",
    inkeys: tuple[bytes, ...] = (),
    encryption: Encryption = Encryption.NO,
) -> PeerSettings:
    return PeerSettings(
        name="plain", secret=secret, methods=methods, outkey=outkey, inkeys=inkeys, encryption=encryption
    )


def test_md5_result_is_that_of_chan_iax2() -> None:
    assert auth.md5_result(CHALLENGE, "s3cret-plain") == b"590e93c3982eac4367fd50af88a251ce"


def test_challenges_are_texts_that_differ() -> None:
    rng = random.Random(1)
    several = {auth.new_challenge(rng) for _ in range(100)}
    assert len(several) == 100
    assert all(each.isalnum() and len(each) == 32 for each in several)


@given(st.binary(min_size=1, max_size=64), st.text(min_size=1, max_size=32))
def test_an_md5_result_matches_in_either_case_and_no_other_does(challenge: bytes, secret: str) -> None:
    result = auth.md5_result(challenge, secret)
    assert auth.md5_matches(challenge, secret, result)
    assert auth.md5_matches(challenge, secret, result.upper())
    assert not auth.md5_matches(challenge, secret + "x", result)
    assert not auth.md5_matches(challenge, secret, result[:-1])


def test_no_secret_is_never_right() -> None:
    assert not auth.md5_matches(CHALLENGE, "", auth.md5_result(CHALLENGE, ""))
    settings = peer(PLAINTEXT | MD5, secret="")
    assert auth.verify(settings, CHALLENGE, Elements().add(Ie.PASSWORD, b"")) is None
    assert auth.verify(settings, CHALLENGE, Elements().add(Ie.MD5_RESULT, auth.md5_result(CHALLENGE, ""))) is None
    assert auth.answer(settings, challenge(PLAINTEXT | MD5)) is None
    assert auth.methods_of(settings) == AuthMethod(0)


def test_rsa_result_matches_its_key_and_its_challenge_only(keys: KeyPair) -> None:
    result = auth.rsa_result(keys.private, CHALLENGE)
    assert len(result) == 172
    assert auth.rsa_matches(keys.public, CHALLENGE, result)
    assert not auth.rsa_matches(keys.public, b"759163125", result)
    assert not auth.rsa_matches(KeyPair().public, CHALLENGE, result)
    assert not auth.rsa_matches(keys.public, CHALLENGE, result[:-4])


@given(st.binary(max_size=255))
def test_rsa_result_of_whatever_octets_does_not_match(result: bytes) -> None:
    assert not auth.rsa_matches(_PUBLIC, CHALLENGE, result)


_PUBLIC = KeyPair().public


def test_the_strongest_method_that_both_have_is_used(keys: KeyPair) -> None:
    settings = peer(PLAINTEXT | MD5 | RSA, outkey=keys.private)
    for offered, expected, number in [
        (PLAINTEXT | MD5 | RSA, RSA, Ie.RSA_RESULT),
        (PLAINTEXT | MD5, MD5, Ie.MD5_RESULT),
        (PLAINTEXT, PLAINTEXT, Ie.PASSWORD),
    ]:
        proof = auth.answer(settings, challenge(offered))
        assert proof is not None
        assert proof.method is expected
        assert [found for found, _ in proof.elements] == [number]


def test_a_password_is_never_given_in_clear_unless_it_may() -> None:
    assert auth.answer(peer(MD5), challenge(PLAINTEXT)) is None
    assert auth.answer(peer(RSA), challenge(PLAINTEXT | MD5)) is None


def test_no_method_or_no_challenge_is_no_answer() -> None:
    assert auth.answer(peer(MD5), Elements()) is None
    assert auth.answer(peer(MD5), Elements().add_number(Ie.AUTHMETHODS, MD5, 2)) is None


def test_methods_that_cannot_be_read_are_an_iax_error() -> None:
    with pytest.raises(IaxError, match="AUTHMETHODS of 3 octets"):
        auth.answer(peer(), Elements().add(Ie.AUTHMETHODS, b"abc"))


def test_an_outkey_that_is_none_falls_back_to_md5_where_that_is_set(caplog: pytest.LogCaptureFixture) -> None:
    proof = auth.answer(peer(MD5 | RSA, outkey=b"no key"), challenge(MD5 | RSA))
    assert proof is not None
    assert proof.method is MD5
    assert "outkey: no private key in PEM" in caplog.text
    assert auth.answer(peer(RSA, outkey=b"no key"), challenge(MD5 | RSA)) is None


@pytest.mark.parametrize("method", [PLAINTEXT, MD5, RSA])
def test_what_one_side_answers_proves_it_to_the_other(method: AuthMethod, keys: KeyPair) -> None:
    answered = auth.answer(peer(method, outkey=keys.private), challenge(method))
    assert answered is not None
    settings = peer(method, inkeys=(KeyPair().public, keys.public))
    proof = auth.verify(settings, CHALLENGE, answered.elements)
    assert proof is not None
    assert proof.method is method
    # Not to who has another secret and other keys, nor to who allows only other methods.
    other = peer(method, "another", inkeys=(KeyPair().public,))
    assert auth.verify(other, CHALLENGE, answered.elements) is None
    assert auth.verify(peer(PLAINTEXT | MD5 | RSA & ~method, secret=""), CHALLENGE, answered.elements) is None


def test_a_wrong_strong_proof_is_not_made_good_by_a_weaker_one(keys: KeyPair) -> None:
    elements = Elements().add(Ie.RSA_RESULT, b"AAAA").add(Ie.MD5_RESULT, auth.md5_result(CHALLENGE, "s3cret-plain"))
    assert auth.verify(peer(MD5 | RSA, inkeys=(keys.public,)), CHALLENGE, elements) is None
    # Where no key is set its element is as if it was not there.
    assert auth.verify(peer(MD5 | RSA), CHALLENGE, elements) is not None


def test_an_answer_without_our_challenge_proves_nothing() -> None:
    elements = Elements().add(Ie.MD5_RESULT, auth.md5_result(b"", "s3cret-plain"))
    assert auth.verify(peer(MD5), b"", elements) is None


def test_an_inkey_that_is_none_is_told_and_the_next_is_tried(keys: KeyPair, caplog: pytest.LogCaptureFixture) -> None:
    elements = Elements().add(Ie.RSA_RESULT, auth.rsa_result(keys.private, CHALLENGE))
    assert auth.verify(peer(RSA, inkeys=(b"no key", keys.public)), CHALLENGE, elements) is not None
    assert "inkeys: no public key in PEM" in caplog.text


@pytest.mark.parametrize("method", [MD5, RSA])
def test_both_sides_get_the_same_key_for_encryption(method: AuthMethod, keys: KeyPair) -> None:
    asked = challenge(MD5 | method, AES_128 | KEY_ROTATION)
    ours = auth.answer(peer(method, outkey=keys.private, encryption=Encryption.OPTIONAL), asked)
    assert ours is not None
    settings = peer(method, inkeys=(keys.public,), encryption=Encryption.REQUIRED)
    theirs = auth.verify(settings, CHALLENGE, ours.elements)
    assert theirs is not None
    assert ours.key == theirs.key == key_of(CHALLENGE, "s3cret-plain")
    assert "encrypts" in repr(ours)
    assert ours.key.hex() not in repr(ours)


def test_there_is_no_key_where_one_side_does_not_want_it() -> None:
    wants, does_not = peer(encryption=Encryption.REQUIRED), peer()
    for settings, asked in [(wants, challenge(MD5)), (does_not, challenge(MD5, AES_128)), (wants, challenge(MD5, 2))]:
        proof = auth.answer(settings, asked)
        assert proof is not None
        assert proof.key == b""


def test_rsa_without_a_secret_has_no_key(keys: KeyPair) -> None:
    settings = peer(RSA, secret="", outkey=keys.private, encryption=Encryption.OPTIONAL)
    proof = auth.answer(settings, challenge(RSA | MD5, AES_128))
    assert proof is not None
    assert (proof.method, proof.key) == (RSA, b"")


def test_methods_of_our_challenge_are_those_that_can_be_checked(keys: KeyPair) -> None:
    assert auth.methods_of(peer(PLAINTEXT | MD5 | RSA)) == PLAINTEXT | MD5
    assert auth.methods_of(peer(MD5 | RSA, inkeys=(keys.public,))) == MD5 | RSA
    only_rsa = peer(RSA, inkeys=(keys.public,))
    assert auth.methods_of(only_rsa) == RSA
    # chan_iax2 agrees to encryption only where it sees MD5.
    assert auth.methods_of(only_rsa, encrypts=True) == MD5 | RSA
    assert auth.verify(only_rsa, CHALLENGE, Elements().add(Ie.MD5_RESULT, b"x")) is None


def test_keys_that_are_of_no_use_are_refused_with_the_reason(keys: KeyPair) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    private = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    large = KeyPair(2048)
    for pem, text in [
        (keys.locked, "passphrase"),
        (private, "not RSA"),
        (large.private, "RSA key of 2048 bits, expected 1024"),
        (keys.public, "no private key"),
    ]:
        with pytest.raises(ValueError, match=text):
            auth.private_key(pem)
    for pem, text in [(public, "not RSA"), (large.public, "2048 bits"), (b"", "no public key")]:
        with pytest.raises(ValueError, match=text):
            auth.public_key(pem)
