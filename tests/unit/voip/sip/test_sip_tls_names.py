"""Whom a certificate vouches for (RFC 5922 7), and TLS without sockets: every byte that may come in."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.voip.sip.flow import TLS, UDP, Flow
from gateway.voip.sip.tls import Tls, TlsFileError, TlsSettings, hosts_shown, is_for
from gateway.voip.sip.tls_channel import TlsChannel, TlsError
from gateway.voip.sip.tls_reasons import CLOSED, PLAIN_TEXT, reason_of
from tests.unit.voip.sip.tls_files import Authority


def certificate(*names: tuple[str, str], common: str = "hq.example.org") -> dict[str, object]:
    return {"subject": ((("commonName", common),),), "subjectAltName": names}


@pytest.mark.parametrize(
    ("names", "host", "expected"),
    [
        ([("DNS", "hq.example.org")], "hq.example.org", True),
        ([("DNS", "HQ.example.org.")], "hq.Example.ORG", True),
        ([("DNS", "hq.example.org")], "hq.example.org.", True),
        ([("DNS", "example.org")], "hq.example.org", False),
        ([("DNS", "a.hq.example.org")], "hq.example.org", False),
        ([("DNS", "*.example.org")], "hq.example.org", False),
        ([("URI", "sip:hq.example.org")], "hq.example.org", True),
        ([("URI", "SIPS:hq.example.org")], "hq.example.org", True),
        ([("URI", "sip:alice@hq.example.org")], "hq.example.org", False),
        ([("URI", "https://hq.example.org")], "hq.example.org", False),
        ([("URI", "http:hq.example.org")], "hq.example.org", False),
        ([], "hq.example.org", False),
        ([("IP Address", "192.0.2.1")], "192.0.2.1", True),
        ([("DNS", "192.0.2.1")], "192.0.2.2", False),
        ([("IP Address", "2001:DB8:0:0:0:0:0:1\n")], "2001:db8::1", True),
        ([("IP Address", "nonsense")], "192.0.2.1", False),
        ([("email", "hq.example.org")], "hq.example.org", False),
    ],
)
def test_certificate_is_for_whole_names_and_never_for_its_common_name(
    names: list[tuple[str, str]], host: str, expected: bool
) -> None:
    assert is_for(certificate(*names), host) is expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [("sip.example.org", True), ("a.sip.example.org", False), ("example.org", False), ("192.0.2.1", False)],
)
def test_wildcard_where_it_is_allowed_stands_for_one_label(host: str, expected: bool) -> None:
    assert is_for(certificate(("DNS", "*.example.org"), ("DNS", "*.0.2.1")), host, wildcards=True) is expected


def test_names_that_are_shown_are_few() -> None:
    many = certificate(*(("DNS", f"h{number}.example.org") for number in range(9)))
    assert hosts_shown(many) == "h0.example.org, h1.example.org, h2.example.org, h3.example.org…"
    assert hosts_shown(certificate()) == "no name but the common name 'hq.example.org' (see allow_common_name)"


def handshake(client: TlsChannel, server: TlsChannel) -> None:
    client.start()
    for _ in range(6):
        server.receive(client.outgoing())
        client.receive(server.outgoing())


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return Authority(tmp_path_factory.mktemp("tls")).tls("box")


def test_channels_carry_what_is_sent_and_say_when_it_ends(tls: Tls) -> None:
    client, server = tls.connect(""), tls.accept()
    handshake(client, server)
    assert client.established and server.established
    assert server.version == "TLSv1.3"
    assert tls.vouches(client.certificate, "", "127.0.0.1")
    assert not tls.vouches(client.certificate, "hq.example.org", "127.0.0.1")
    text = bytes(range(256)) * 1000
    assert server.receive(client.send(text)) == text
    assert client.receive(server.send(b"pong")) == b"pong"
    assert server.receive(client.close()) == b""
    assert server.ended


def test_server_says_nothing_after_the_handshake_before_it_is_asked(tls: Tls) -> None:
    """Asterisk's chan_sip would wait for the rest, and never send its first request."""
    client, server = tls.connect(""), tls.accept()
    client.start()
    while not server.established:
        server.receive(client.outgoing())
        said = server.outgoing()
        assert not (server.established and said)
        client.receive(said)


def test_bytes_in_any_pieces_are_the_same_text(tls: Tls) -> None:
    client, server = tls.connect(""), tls.accept()
    handshake(client, server)
    wire = client.send(b"INVITE") + client.send(b" sip:")
    assert b"".join(server.receive(wire[at : at + 1]) for at in range(len(wire))) == b"INVITE sip:"


def test_changed_bytes_end_the_connection(tls: Tls) -> None:
    client, server = tls.connect(""), tls.accept()
    handshake(client, server)
    wire = bytearray(client.send(b"INVITE"))
    wire[-1] ^= 1
    with pytest.raises(TlsError):
        server.receive(bytes(wire))


def test_plain_text_is_known_by_its_first_byte(tls: Tls) -> None:
    with pytest.raises(TlsError) as caught:
        tls.accept().receive(b"REGISTER sip:x SIP/2.0\r\n")
    assert caught.value.text == PLAIN_TEXT


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=5))
@settings(max_examples=200, deadline=None)
def test_random_bytes_raise_nothing_but_tls_errors(tls: Tls, pieces: list[bytes]) -> None:
    for server in (True, False):
        channel = tls.accept() if server else tls.connect("")
        try:
            channel.start()
            for piece in pieces:
                assert channel.receive((b"\x16" if server else b"") + piece) == b""
                channel.outgoing()
        except TlsError as error:
            assert error.text
        channel.close()


@given(st.binary(min_size=1, max_size=100), st.integers(0, 300))
@settings(max_examples=100, deadline=None)
def test_random_bytes_within_a_handshake_raise_nothing_but_tls_errors(tls: Tls, noise: bytes, at: int) -> None:
    client, server = tls.connect(""), tls.accept()
    client.start()
    hello = client.outgoing()
    spoilt = hello[:at] + noise + hello[at + len(noise) :]
    try:
        server.receive(b"\x16" + spoilt[1:])
        client.receive(server.outgoing())
    except TlsError as error:
        assert error.text


def test_end_within_the_handshake_is_told() -> None:
    assert "before the handshake was over" in CLOSED


def test_reason_that_nobody_knows_is_said_in_its_own_words() -> None:
    error = ssl.SSLError(1, "[SSL: STRANGE_THING] strange thing")
    error.reason = "STRANGE_THING"
    assert reason_of(error) == "strange thing"
    error.reason = "TLSV1_ALERT_UNKNOWN_CA"
    assert "it does not know the CA" in reason_of(error)


def test_client_that_is_two_peers_is_none(tmp_path: Path) -> None:
    tls = Authority(tmp_path).tls("box", names=["a.example.org", "b.example.org"])
    assert tls.peer_of(certificate(("DNS", "a.example.org"), ("DNS", "c.example.org"))) == "a.example.org"
    assert tls.peer_of(certificate(("DNS", "a.example.org"), ("DNS", "b.example.org"))) == ""
    assert tls.peer_of({}) == ""


@pytest.mark.parametrize(
    ("shown", "allowed", "expected"),
    [
        (certificate(), ["hq.example.org"], True),
        (certificate(common="HQ.example.org."), ["hq.example.org"], True),
        (certificate(), [], False),
        (certificate(), ["other.example.org"], False),
        (certificate(common="other.example.org"), ["hq.example.org"], False),
        # Where there are other names the common name counts for nothing.
        (certificate(("DNS", "other.example.org")), ["hq.example.org"], False),
        ({}, ["hq.example.org"], False),
    ],
)
def test_common_name_counts_where_it_is_allowed_and_alone(
    tmp_path: Path, shown: dict[str, object], allowed: list[str], expected: bool
) -> None:
    tls = Authority(tmp_path).tls("box", common_names=allowed, names=["hq.example.org"])
    assert tls.vouches(shown, "hq.example.org", "192.0.2.1") is expected
    assert tls.peer_of(shown) == ("hq.example.org" if expected else "")


@pytest.mark.parametrize(
    ("spoil", "key", "says"),
    [
        ("none.crt", "tls_certificate", "cannot be read: No such file"),
        ("ca.crt", "tls_key", "expected the private key of tls_certificate; this is another's"),
        ("box.key", "tls_certificate", "expected a certificate, and its private key, in PEM form"),
    ],
)
def test_files_that_do_not_do_are_told(tmp_path: Path, spoil: str, key: str, says: str) -> None:
    authority = Authority(tmp_path)
    authority.issue("box")
    with pytest.raises(TlsFileError, match=says) as caught:
        Tls(TlsSettings(tmp_path / spoil, tmp_path / "box.key", authority.file))
    assert caught.value.key == key


def test_ca_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    for name in ("empty", "none"):
        with pytest.raises(TlsFileError, match=r"^sip\.tls_ca: "):
            Tls(TlsSettings(ca=tmp_path / name))


def test_reload_of_files_that_do_not_fit_keeps_what_there_was(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.tls("box")
    kept = (tmp_path / "box.key").read_bytes()
    authority.issue("box")
    (tmp_path / "box.key").write_bytes(kept)
    with pytest.raises(TlsFileError):
        tls.reload()
    client, server = tls.connect(""), tls.accept()
    handshake(client, server)
    assert server.established


def test_flow_says_whether_it_is_secure() -> None:
    assert Flow(TLS, "192.0.2.1", 5061).secure
    assert not Flow(UDP, "192.0.2.1", 5060).secure
    assert str(Flow(TLS, "2001:db8::1", 5061)) == "tls:[2001:db8::1]:5061"
