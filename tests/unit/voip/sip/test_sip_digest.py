"""Digest on paper: the RFCs' own examples, what is read and written, and what makes no sense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.voip.sip.digest import (
    MAX_FIELDS,
    MAX_VALUE,
    Algorithm,
    Challenge,
    Credentials,
    challenges_of,
    credentials_of,
    parse_challenge,
    parse_credentials,
)
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.message import Request, Response

MUFASA = Credentials(
    username="Mufasa",
    realm="http-auth@example.org",
    nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    uri="/dir/index.html",
    response="",
    qop="auth",
    nc="00000001",
    cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
)


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        # RFC 7616 3.9.1
        (Algorithm.SHA_256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        (Algorithm.MD5, "8ca523f5e9506fed4657c9700eebdbec"),
    ],
)
def test_example_of_rfc_7616(algorithm: Algorithm, response: str) -> None:
    credentials = Credentials(
        username=MUFASA.username,
        realm=MUFASA.realm,
        nonce=MUFASA.nonce,
        uri=MUFASA.uri,
        response=response,
        algorithm=algorithm,
        qop="auth",
        nc=MUFASA.nc,
        cnonce=MUFASA.cnonce,
    )
    assert credentials.expected("GET", "Circle of Life") == response
    assert credentials.matches("GET", "Circle of Life")
    assert not credentials.matches("POST", "Circle of Life")
    assert not credentials.matches("GET", "Circle Of Life")


def test_sha_512_256_is_the_one_of_fips_180_4_and_not_a_cut_sha_512() -> None:
    abc = "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"
    assert Algorithm.SHA_512_256.digest("abc") == abc
    # RFC 7616 3.9.2 as its erratum 4495 has it.
    user = "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"
    assert Algorithm.SHA_512_256.digest("Jäsøn Doe", "api@example.org") == user


def test_example_of_rfc_2617_and_the_same_without_qop() -> None:
    text = (
        'Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",'
        ' uri="/dir/index.html", qop=auth, nc=00000001, cnonce="0a4f113b",'
        ' response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    credentials = parse_credentials(text)
    assert credentials is not None
    assert credentials.matches("GET", "Circle Of Life")
    old = parse_credentials(
        'Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",'
        ' uri="/dir/index.html", response="670FD8C2DF070C60B045671B8B24FF02"'
    )
    assert old is not None
    # RFC 2069 2.1.2 without count, in capitals.
    assert old.matches("GET", "Circle Of Life")


def test_session_algorithms_hash_nonce_and_cnonce_into_the_secret() -> None:
    plain = Credentials("u", "r", "n", "sip:x", "", Algorithm.SHA_256, False, "auth", "c", "00000001")
    session = Credentials("u", "r", "n", "sip:x", "", Algorithm.SHA_256, True, "auth", "c", "00000001")
    ha1 = Algorithm.SHA_256.digest(Algorithm.SHA_256.digest("u", "r", "s"), "n", "c")
    ha2 = Algorithm.SHA_256.digest("REGISTER", "sip:x")
    assert session.expected("REGISTER", "s") == Algorithm.SHA_256.digest(ha1, "n", "00000001", "c", "auth", ha2)
    assert session.expected("REGISTER", "s") != plain.expected("REGISTER", "s")
    assert "algorithm=SHA-256-sess" in str(session)


def test_auth_int_covers_the_body() -> None:
    credentials = Credentials("u", "r", "n", "sip:x", "", qop="auth-int", nc="00000001", cnonce="c").answered(
        "INVITE", "s", b"v=0"
    )
    assert credentials.matches("INVITE", "s", b"v=0")
    assert not credentials.matches("INVITE", "s", b"v=1")


# -- reading and writing --

VALUES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60)


@given(
    VALUES,
    VALUES,
    VALUES,
    st.sampled_from(Algorithm),
    st.booleans(),
    st.sampled_from([(), ("auth",), ("auth", "auth-int")]),
    st.none() | VALUES,
    st.booleans(),
)
def test_challenge_comes_back_as_written(
    realm: str,
    nonce: str,
    other: str,
    algorithm: Algorithm,
    session: bool,
    qop: tuple[str, ...],
    opaque: str | None,
    stale: bool,
) -> None:
    challenge = Challenge(realm, nonce, algorithm, session, qop, opaque, stale)
    assert parse_challenge(str(challenge)) == challenge
    credentials = Credentials(
        other, realm, nonce, other, "ab" * 16, algorithm, session, "auth" if qop else None, "c", "0000000a"
    )
    if not qop:
        credentials = Credentials(other, realm, nonce, other, "ab" * 16, algorithm, session, cnonce="c")
    assert parse_credentials(str(credentials)) == credentials


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    for candidate in (text, f"Digest {text}", f'Digest realm="x", nonce="{text}", {text}'):
        for parse in (parse_challenge, parse_credentials):
            try:
                parse(candidate)
            except SipError as error:
                assert error.status == 400


GOOD = 'Digest username="u", realm="r", nonce="n", uri="sip:x", response="00"'


@pytest.mark.parametrize(
    "text",
    [
        'Digest username="u", realm="r", nonce="n", uri="sip:x"',
        'Digest username="u", realm="r", nonce="n", response="00"',
        'Digest username="u", realm="r", uri="sip:x", response="00"',
        'Digest realm="r", nonce="n", uri="sip:x", response="00"',
        f"{GOOD}, qop=auth, nc=00000001",
        f'{GOOD}, qop=auth, cnonce="c"',
        f'{GOOD}, qop=auth, nc=1, cnonce="c"',
        f'{GOOD}, qop=auth, nc=+0000001, cnonce="c"',
        f'{GOOD}, qop=other, nc=00000001, cnonce="c"',
        f"{GOOD}, algorithm=MD5-sess",
        f'{GOOD}, realm="again"',
        f"{GOOD}, one",
        f"{GOOD}, a=b, , c=d",
        f'{GOOD}, opaque="{"x" * MAX_VALUE}"',
        f"{GOOD}{''.join(f', p{n}=x' for n in range(70))}",
        GOOD.replace('"00"', '"ä"'),
        GOOD.replace('username="u"', "username*=latin1''u"),
        GOOD.replace('username="u"', "username*=UTF-8''%ff"),
    ],
)
def test_credentials_without_sense_are_an_error(text: str) -> None:
    with pytest.raises(SipError) as caught:
        parse_credentials(text)
    assert caught.value.status == 400


def test_user_beyond_ascii_may_be_written_in_per_cent() -> None:
    found = parse_credentials(GOOD.replace('username="u"', "username*=UTF-8''J%C3%A4s%C3%B8n"))
    assert found is not None
    assert found.username == "Jäsøn"


def test_white_space_and_order_of_parameters_mean_nothing() -> None:
    usual = f'Digest username="a", realm="r,s", nonce="n", uri="sip:b", response="{"0" * 32}", algorithm=MD5'
    rare = f'Digest\talgorithm = MD5 ,uri="sip:b",\tresponse="{"0" * 32}",nonce = "n", realm="r\\,s",USERNAME="a"'
    assert parse_credentials(usual) == parse_credentials(rare.replace("Digest\t", "Digest "))


@pytest.mark.parametrize("text", ['Digest realm="a", realm="a"', 'Digest realm="a", Realm=b, nonce="n"'])
def test_parameter_twice_is_an_error_however_it_is_written(text: str) -> None:
    with pytest.raises(SipError, match="two of realm"):
        parse_challenge(text)


def test_what_we_do_not_know_is_skipped() -> None:
    assert parse_challenge('Basic realm="x"') is None
    assert parse_challenge('Digest realm="x", nonce="n", algorithm=SHA3') is None
    assert parse_challenge('Digest realm="x", nonce="n", qop="auth-conf"') is None
    assert parse_credentials("Bearer abc") is None
    assert parse_credentials(f"{GOOD}, algorithm=AKAv1-MD5") is None


def test_challenges_of_a_response_are_those_that_make_sense() -> None:
    response = Response(401)
    response.headers.add("WWW-Authenticate", "Digest realm")
    response.headers.add("WWW-Authenticate", 'Digest realm="a", nonce="1", algorithm=SHA-256, qop="auth"')
    response.headers.add("WWW-Authenticate", 'Digest realm="a", nonce="1"')
    response.headers.add("Proxy-Authenticate", 'Digest realm="b", nonce="2"')
    assert [(each.realm, each.algorithm) for each in challenges_of(response, 401)] == [
        ("a", Algorithm.SHA_256),
        ("a", Algorithm.MD5),
    ]
    assert [each.realm for each in challenges_of(response, 407)] == ["b"]
    crowded = Response(401)
    for number in range(2 * MAX_FIELDS):
        crowded.headers.add("WWW-Authenticate", f'Digest realm="{number}", nonce="1"')
    assert len(challenges_of(crowded, 401)) == MAX_FIELDS


def test_credentials_are_those_of_the_realm() -> None:
    request = Request("INVITE", "sip:x@y")
    request.headers.add("Authorization", GOOD.replace('"r"', '"other"'))
    request.headers.add("Authorization", GOOD)
    found = credentials_of(request, "r")
    assert found is not None
    assert found.realm == "r"
    assert credentials_of(request, "nobody's") is None
