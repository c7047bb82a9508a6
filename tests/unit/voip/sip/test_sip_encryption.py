from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.media.api import Direction, RtpSettings, Srtp, SrtpKey, SrtpSuite
from gateway.voip.sip.codecs import codec_rows
from gateway.voip.sip.encryption import KEY_OCTETS, OFFERED_SUITES, Encryption, MediaEncryption
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.negotiation import Negotiation
from gateway.voip.sip.offer_answer import LocalMedia
from gateway.voip.sip.sdes import KEY_LENGTHS, Crypto, parse_crypto
from gateway.voip.sip.sdp import SessionDescription

NO, OPTIONAL, REQUIRED = MediaEncryption
KEY_80 = Crypto(1, "AES_CM_128_HMAC_SHA1_80", SrtpKey(SrtpSuite.AES_CM_128_HMAC_SHA1_80, bytes(range(30))))
KEY_32 = Crypto(2, "AES_CM_128_HMAC_SHA1_32", SrtpKey(SrtpSuite.AES_CM_128_HMAC_SHA1_32, bytes(range(50, 80))))


def side(mode: MediaEncryption, *, confidential: bool = True, seed: int = 1) -> Negotiation:
    rng = random.Random(seed)
    encryption = Encryption.begin(mode, confidential=confidential, rng=rng)
    address = f"192.0.2.{seed}"
    local = LocalMedia(address, 10_000 + 100 * seed, codec_rows(["alaw", "ulaw"]), 1000, encryption=encryption)
    return Negotiation(local, rng)


def both(a: Negotiation, b: Negotiation) -> tuple[Srtp | None, Srtp | None]:
    """A offers and B answers; what each side has then, matched with the other's."""
    a.take_answer(b.take_offer(a.make_offer()))
    ours, theirs = protected(a), protected(b)
    if ours is not None or theirs is not None:
        assert ours is not None and theirs is not None
        assert (ours.send, ours.receive) == (theirs.receive, theirs.send)
        assert ours.send.key != ours.receive.key
    return ours, theirs


def protected(negotiation: Negotiation) -> Srtp | None:
    assert negotiation.settings is not None
    return negotiation.settings.srtp


def secure(negotiation: Negotiation) -> Srtp:
    srtp = protected(negotiation)
    assert srtp is not None
    return srtp


def audio(body: bytes) -> tuple[str, list[str]]:
    """Protocol and suites of the first stream."""
    media = SessionDescription.parse(body).media[0]
    return media.protocol, [value.split()[1] for value in media.crypto]


def description(*media: str) -> bytes:
    return "\r\n".join(["v=0", "o=- 1 1 IN IP4 192.0.2.2", "s=-", "c=IN IP4 192.0.2.2", "t=0 0", *media, ""]).encode()


def stream(protocol: str, *crypto: Crypto | str, port: int = 4000) -> tuple[str, ...]:
    return (f"m=audio {port} {protocol} 8", *(f"a=crypto:{each}" for each in crypto))


def refused(action: Callable[[], object]) -> SipError:
    with pytest.raises(SipError) as caught:
        action()
    assert caught.value.status == 488
    return caught.value


# -- what is offered --


def test_required_offers_savp_with_a_key_for_every_suite() -> None:
    protocol, suites = audio(side(REQUIRED).make_offer())
    assert protocol == "RTP/SAVP"
    assert suites == [suite.name for suite in OFFERED_SUITES]


def test_optional_offers_avp_with_keys() -> None:
    protocol, suites = audio(side(OPTIONAL).make_offer())
    assert (protocol, len(suites)) == ("RTP/AVP", len(OFFERED_SUITES))


def test_no_key_is_offered_over_clear_signalling_nor_where_it_is_not_wanted() -> None:
    assert audio(side(OPTIONAL, confidential=False).make_offer()) == ("RTP/AVP", [])
    assert audio(side(NO).make_offer()) == ("RTP/AVP", [])
    error = refused(side(REQUIRED, confidential=False).make_offer)
    assert "not TLS" in error.text


def test_keys_of_suites_do_not_overlap_and_come_from_the_source() -> None:
    keys = bytes(range(256))[:KEY_OCTETS]
    encryption = Encryption(REQUIRED, True, keys)
    assert b"".join(encryption.key(suite).key for suite in KEY_LENGTHS) == keys
    assert sum(KEY_LENGTHS.values()) == KEY_OCTETS


def test_two_legs_never_share_a_key() -> None:
    rng = random.Random(1)
    first = Encryption.begin(REQUIRED, confidential=True, rng=rng)
    second = Encryption.begin(REQUIRED, confidential=True, rng=rng)
    assert not {first.key(suite).key for suite in KEY_LENGTHS} & {second.key(suite).key for suite in KEY_LENGTHS}


def test_nothing_that_is_logged_has_a_key_in_it() -> None:
    negotiation = side(REQUIRED)
    offer = SessionDescription.parse(negotiation.make_offer())
    both(negotiation, side(REQUIRED, seed=2))
    for shown in (repr(negotiation.local), repr(offer), repr(negotiation.settings), repr(offer.media[0])):
        assert "inline" not in shown
        assert "\\x" not in shown


# -- both sides of ours --


@pytest.mark.parametrize(
    ("ours", "theirs", "encrypted"),
    [
        (REQUIRED, REQUIRED, True),
        (REQUIRED, OPTIONAL, True),
        (OPTIONAL, REQUIRED, True),
        (OPTIONAL, OPTIONAL, True),
        (OPTIONAL, NO, False),
        (NO, OPTIONAL, False),
        (NO, NO, False),
    ],
)
def test_sides_that_fit(ours: MediaEncryption, theirs: MediaEncryption, encrypted: bool) -> None:
    a, b = side(ours), side(theirs, seed=2)
    srtp, _ = both(a, b)
    assert (srtp is not None) is encrypted
    if srtp is not None:
        assert srtp.send.suite is OFFERED_SUITES[0]
    # And again from the other side, with the keys they have.
    assert both(b, a)[1] == srtp


@pytest.mark.parametrize(("ours", "theirs"), [(REQUIRED, NO), (NO, REQUIRED)])
def test_sides_that_do_not_fit_have_no_call(ours: MediaEncryption, theirs: MediaEncryption) -> None:
    a, b = side(ours), side(theirs, seed=2)
    offer = a.make_offer()
    error = refused(lambda: b.take_offer(offer))
    assert error.warning in (302, 399)
    assert b.settings is None


# -- offers of the far end --


def test_first_usable_suite_of_the_offer_is_taken_with_its_tag_and_name() -> None:
    b = side(REQUIRED)
    strange = Crypto(7, "AES_CM_256_HMAC_SHA1_80", SrtpKey(SrtpSuite.AES_256_CM_HMAC_SHA1_80, bytes(46)))
    answer = b.take_offer(description(*stream("RTP/SAVP", "5 NEW_SUITE inline:AAAA", strange, KEY_80)))
    media = SessionDescription.parse(answer).media[0]
    assert (media.protocol, len(media.crypto)) == ("RTP/SAVP", 1)
    crypto = parse_crypto(media.crypto[0])
    assert isinstance(crypto, Crypto)
    assert (crypto.tag, crypto.name) == (7, "AES_CM_256_HMAC_SHA1_80")
    assert secure(b) == Srtp(crypto.key, strange.key)


def test_feedback_profile_is_answered_as_it_is() -> None:
    b = side(REQUIRED)
    assert audio(b.take_offer(description(*stream("RTP/SAVPF", KEY_80)))) == ("RTP/SAVPF", [KEY_80.name])
    assert audio(b.make_offer()) == ("RTP/SAVPF", [KEY_80.name])


@pytest.mark.parametrize(
    ("mode", "protocol", "crypto", "why"),
    [
        (REQUIRED, "RTP/AVP", (), "media_encryption = required, and no SRTP is offered"),
        (REQUIRED, "RTP/SAVP", (), "no a=crypto that can be used"),
        (REQUIRED, "RTP/AVP", ("1 NEW inline:AAAA",), "no a=crypto that can be used: unknown suite NEW"),
        (REQUIRED, "RTP/SAVP", ("1 NEW inline:AAAA",), "no a=crypto that can be used: unknown suite NEW"),
        (OPTIONAL, "RTP/SAVP", ("1 AES_CM_128_HMAC_SHA1_80 inline:AAAA",), "octets, expected 30"),
        (OPTIONAL, "RTP/SAVP", (f"{KEY_80} UNENCRYPTED_SRTP",), "session parameter UNENCRYPTED_SRTP"),
        (NO, "RTP/SAVP", (KEY_80,), "transport protocol RTP/SAVP where media_encryption = no"),
        (REQUIRED, "UDP/TLS/RTP/SAVP", (KEY_80,), "transport protocol UDP/TLS/RTP/SAV"),
    ],
)
def test_offers_that_are_refused_say_why(
    mode: MediaEncryption, protocol: str, crypto: tuple[Crypto | str, ...], why: str
) -> None:
    error = refused(lambda: side(mode).take_offer(description(*stream(protocol, *crypto))))
    assert why in error.text
    assert error.warning


def test_over_clear_signalling_required_takes_no_keys_at_all() -> None:
    b = side(REQUIRED, confidential=False)
    assert "not TLS" in refused(lambda: b.take_offer(description(*stream("RTP/SAVP", KEY_80)))).text


def test_over_clear_signalling_optional_takes_keys_only_where_there_is_no_call_without() -> None:
    b = side(OPTIONAL, confidential=False)
    b.take_offer(description(*stream("RTP/SAVP", KEY_80)))
    assert secure(b).receive == KEY_80.key
    b = side(OPTIONAL, confidential=False)
    assert audio(b.take_offer(description(*stream("RTP/AVP", KEY_80)))) == ("RTP/AVP", [])
    assert protected(b) is None


def test_optional_goes_on_without_keys_that_are_no_use() -> None:
    b = side(OPTIONAL)
    assert audio(b.take_offer(description(*stream("RTP/AVP", "1 NEW inline:AAAA")))) == ("RTP/AVP", [])


@pytest.mark.parametrize(
    ("mode", "confidential", "taken"), [(REQUIRED, True, 1), (OPTIONAL, True, 1), (OPTIONAL, False, 1), (NO, True, 0)]
)
def test_of_two_streams_the_best_allowed_is_taken(mode: MediaEncryption, confidential: bool, taken: int) -> None:
    b = side(mode, confidential=confidential)
    offer = description(*stream("RTP/AVP"), *stream("RTP/SAVP", KEY_80, port=4002))
    answer = SessionDescription.parse(b.take_offer(offer))
    assert [bool(media.port) for media in answer.media] == [taken == 0, taken == 1]
    assert [media.protocol for media in answer.media] == ["RTP/AVP", "RTP/SAVP"]
    assert not answer.media[1 - taken].crypto
    assert b.settings is not None and b.settings.port == (4002 if taken else 4000)
    # In the next offer of the same two the same stream is ours.
    again = SessionDescription.parse(b.take_offer(offer + b"a=sendonly\r\n"))
    assert [bool(media.port) for media in again.media] == [taken == 0, taken == 1]


def test_crypto_of_the_session_level_counts_for_nothing() -> None:
    text = description(*stream("RTP/SAVP")).replace(b"t=0 0\r\n", f"t=0 0\r\na=crypto:{KEY_80}\r\n".encode())
    refused(lambda: side(REQUIRED).take_offer(text))


# -- answers of the far end --


@pytest.mark.parametrize(
    ("mode", "protocol", "crypto", "why"),
    [
        (REQUIRED, "RTP/AVP", (), "RTP/SAVP was answered with RTP/AVP: not encrypted"),
        (REQUIRED, "RTP/AVP", ("4 AES_CM_128_HMAC_SHA1_80",), "RTP/SAVP was answered with RTP/AVP"),
        (REQUIRED, "RTP/SAVP", (), "answer has 0 a=crypto"),
        (REQUIRED, "RTP/SAVP", ("1 AES_CM_128_HMAC_SHA1_80",), "which was not offered"),
        (REQUIRED, "RTP/SAVP", ("9 AES_CM_128_HMAC_SHA1_80",), "which was not offered"),
        (REQUIRED, "RTP/SAVP", ("4 AES_CM_128_HMAC_SHA1_80", "5 AES_CM_128_HMAC_SHA1_32"), "answer has 2 a=crypto"),
        (OPTIONAL, "RTP/SAVP", (), "answered with RTP/SAVP"),
        (OPTIONAL, "RTP/AVP", ("5 AES_CM_128_HMAC_SHA1_80",), "which was not offered"),
        (NO, "RTP/SAVP", ("4 AES_CM_128_HMAC_SHA1_80",), "RTP/AVP was answered with RTP/SAVP"),
        (NO, "UDP/TLS/RTP/SAVP", (), "transport protocol"),
    ],
)
def test_answers_that_do_not_fit_the_offer_are_not_taken(
    mode: MediaEncryption, protocol: str, crypto: tuple[str, ...], why: str
) -> None:
    a = side(mode)
    a.make_offer()
    lines = [f"{each} inline:{str(KEY_80).partition('inline:')[2]}" for each in crypto]
    error = refused(lambda: a.take_answer(description(*stream(protocol, *lines))))
    assert why in error.text
    assert a.settings is None


def test_optional_is_content_with_an_answer_without_keys() -> None:
    a = side(OPTIONAL)
    a.make_offer()
    a.take_answer(description(*stream("RTP/AVP")))
    assert protected(a) is None


def test_answer_with_the_secure_profile_to_best_effort_is_as_good() -> None:
    a = side(OPTIONAL)
    a.make_offer()
    key = str(KEY_80).partition("inline:")[2]
    a.take_answer(description(*stream("RTP/SAVP", f"4 AES_CM_128_HMAC_SHA1_80 inline:{key}")))
    assert secure(a).receive == KEY_80.key


def test_far_end_that_sends_our_key_back_is_no_partner() -> None:
    a = side(REQUIRED)
    offered = SessionDescription.parse(a.make_offer()).media[0].crypto[0]
    for repeated in (offered, f"{offered}|2^31|1:4"):
        text = refused(lambda repeated=repeated: a.take_answer(description(*stream("RTP/SAVP", repeated)))).text  # type: ignore[misc]
        assert "repeats our own key" in text


def test_key_with_an_mki_is_taken_from_offer_and_answer_and_ours_has_none() -> None:
    b = side(REQUIRED)
    answer = b.take_offer(description(*stream("RTP/SAVP", f"{KEY_80}|2^31|1:4")))
    assert secure(b).receive == SrtpKey(KEY_80.suite, KEY_80.key.key, b"\0\0\0\1")
    (ours,) = SessionDescription.parse(answer).media[0].crypto
    assert "|" not in ours
    assert secure(b).send.mki == b""
    a = side(REQUIRED)
    a.make_offer()
    key = str(KEY_80).partition("inline:")[2]
    a.take_answer(description(*stream("RTP/SAVP", f"4 AES_CM_128_HMAC_SHA1_80 inline:{key}|7:1")))
    assert secure(a).receive == SrtpKey(KEY_80.suite, KEY_80.key.key, b"\7")


def test_required_never_takes_plain_media_in_any_later_exchange() -> None:
    a, b = side(REQUIRED), side(REQUIRED, seed=2)
    both(a, b)
    before = a.settings
    refused(lambda: a.take_offer(description(*stream("RTP/AVP"))))
    assert a.settings is before
    a.make_offer()
    refused(lambda: a.take_answer(description(*stream("RTP/AVP"))))
    a.forget_offer()
    assert a.settings is before


# -- later exchanges --


def test_refresh_hold_and_resume_keep_the_keys() -> None:
    for first, second in ((1, 2), (2, 1)):
        a, b = side(REQUIRED, seed=first), side(REQUIRED, seed=second)
        srtp, _ = both(a, b)
        sent = a.sent
        assert a.make_offer() == sent
        a.take_answer(b.take_offer(sent))
        assert both(b, a)[1] == srtp
        for direction in (Direction.SENDONLY, Direction.SENDRECV):
            a.take_answer(b.take_offer(a.make_offer(direction)))
            assert protected(a) == srtp
            b.take_answer(a.take_offer(b.make_offer(direction)))
            assert protected(a) == srtp


def test_far_end_with_another_key_gets_another_of_ours() -> None:
    b = side(REQUIRED)
    b.take_offer(description(*stream("RTP/SAVP", KEY_80)))
    first = secure(b)
    other = Crypto(1, KEY_80.name, SrtpKey(KEY_80.suite, bytes(30)))
    answer = b.take_offer(description(*stream("RTP/SAVP", other)))
    second = secure(b)
    assert second.receive == other.key
    assert second.send != first.send
    assert str(Crypto(1, KEY_80.name, second.send)).encode() in answer


def test_key_that_was_in_use_once_is_never_used_again() -> None:
    b = side(OPTIONAL)
    used: list[SrtpKey] = []
    for lines in (
        stream("RTP/SAVP", KEY_80),
        stream("RTP/SAVP", KEY_32),
        stream("RTP/SAVP", KEY_80),
        stream("RTP/AVP"),
        stream("RTP/SAVP", KEY_80),
    ):
        b.take_offer(description(*lines))
        srtp = protected(b)
        if srtp is not None:
            assert srtp.send not in used
            used.append(srtp.send)
    assert len(used) == 4


def test_stream_switched_off_and_on_again_goes_on_with_its_key() -> None:
    b = side(REQUIRED)
    b.take_offer(description(*stream("RTP/SAVP", KEY_80)))
    srtp = secure(b)
    b.take_offer(description(*stream("RTP/SAVP", KEY_80, port=0)))
    assert b.settings is None
    b.take_offer(description(*stream("RTP/SAVP", KEY_80)))
    assert protected(b) == srtp


def test_call_that_was_agreed_on_as_plain_is_offered_as_plain_again() -> None:
    b = side(OPTIONAL)
    b.take_offer(description(*stream("RTP/AVP")))
    assert audio(b.make_offer()) == ("RTP/AVP", [])


def test_branches_of_a_fork_have_the_keys_of_their_own_far_ends() -> None:
    a = side(REQUIRED)
    offer = a.make_offer()
    branches = [a.fork(), a.fork()]
    for number, branch in enumerate(branches, 2):
        branch.take_answer(side(REQUIRED, seed=number).take_offer(offer))
    first, second = (secure(branch) for branch in branches)
    assert first.send == second.send
    assert first.receive != second.receive


def test_answer_that_waits_for_our_port_has_its_keys() -> None:
    rng = random.Random(3)
    b = side(REQUIRED)
    b = Negotiation(replace(b.local, port=9), rng)
    b.hold_offer(description(*stream("RTP/SAVP", KEY_80)))
    b.place(12_000)
    answer = SessionDescription.parse(b.late_answer())
    assert answer.media[0].port == 12_000
    assert len(answer.media[0].crypto) == 1


# -- anything at all --

_LINES = st.lists(
    st.sampled_from(
        [
            *stream("RTP/SAVP", KEY_80, KEY_32),
            "m=audio 4000 RTP/AVP 8 0",
            "m=audio 0 RTP/SAVP 8",
            "m=audio 4000 RTP/SAVPF 0",
            "m=video 4002 RTP/SAVP 96",
            f"a=crypto:{KEY_80}|2^31",
            f"a=crypto:{KEY_80}|1:1",
            "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:",
            "a=crypto:",
            "a=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40,
            "a=sendonly",
            "a=rtcp-mux",
        ]
    ),
    max_size=8,
)


@given(
    st.lists(st.tuples(st.sampled_from(["offer", "answer", "hold"]), _LINES), max_size=5),
    st.sampled_from(MediaEncryption),
    st.booleans(),
)
def test_whatever_comes_required_has_srtp_and_no_has_none(
    script: list[tuple[str, list[str]]], mode: MediaEncryption, confidential: bool
) -> None:
    negotiation = side(mode, confidential=confidential)
    for what, lines in script:
        try:
            if what == "offer":
                negotiation.take_offer(description(*lines))
            elif what == "hold":
                negotiation.hold_offer(description(*lines))
                negotiation.late_answer()
            else:
                negotiation.make_offer()
                negotiation.take_answer(description(*lines))
        except SipError:
            negotiation.forget_offer()
        settings = negotiation.settings
        if settings is not None:
            assert_allowed(settings, mode, confidential=confidential)


def assert_allowed(settings: RtpSettings, mode: MediaEncryption, *, confidential: bool) -> None:
    if mode is REQUIRED:
        assert confidential
        assert settings.srtp is not None
    if mode is NO:
        assert settings.srtp is None
    if settings.srtp is not None:
        assert settings.srtp.send != settings.srtp.receive
        assert settings.srtp.send.suite is settings.srtp.receive.suite


@given(st.binary(max_size=300))
def test_random_octets_in_crypto_raise_nothing_else(octets: bytes) -> None:
    body = description(*stream("RTP/SAVP")) + b"a=crypto:" + octets
    for mode in MediaEncryption:
        try:
            side(mode).take_offer(body)
        except SipError:
            continue


def test_no_keys_are_drawn_where_none_are_wanted() -> None:
    assert Encryption.begin(NO, confidential=True, rng=random.Random(1)).keys == b""
