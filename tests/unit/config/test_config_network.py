"""``[network]``, ``media_address`` and ``nat``: what is read, what it comes to, and what is refused."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from gateway.assembly import addressing, sip_settings
from gateway.config import ConfigError, Configuration, load
from gateway.core import SECOND
from gateway.voip.sip.externip import Addressing
from gateway.voip.sip.nat import DEFAULT_NAT, NatMode

HEAD = "schema = 1\n"
PEERS = (
    '[[trunk]]\nname = "hq"\ntechnology = "sip"\nhost = "192.0.2.9"\n{trunk}'
    '[[phone]]\nname = "desk"\nhost = "192.0.2.20"\n{phone}'
)


def read(path: Path, text: str) -> Configuration:
    file = path / "gateway.toml"
    file.write_text(HEAD + text)
    return load(file)


def refused(path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(path, text)
    return str(caught.value)


def test_addresses_are_found_out_unless_they_are_written(tmp_path: Path) -> None:
    assert addressing(read(tmp_path, "")) == Addressing(automatic=True)
    assert addressing(read(tmp_path, '[network]\nexternip = "none"\n')) == Addressing()


def test_all_keys_of_a_gateway_behind_nat(tmp_path: Path) -> None:
    text = (
        '[network]\nexternip = "203.0.113.7:9999"\nexterntcpport = 5070\nexterntlsport = 5071\n'
        'localnet = ["172.16.0.0/24", "192.168.100.0/255.255.255.0"]\n[media]\nmedia_address = "203.0.113.8"\n'
    )
    assert sip_settings(read(tmp_path, text)).addressing == Addressing(
        externip="203.0.113.7",
        externport=9999,
        externtcpport=5070,
        externtlsport=5071,
        localnet=(ip_network("172.16.0.0/24"), ip_network("192.168.100.0/24")),
        localnet_auto=False,
        media_address="203.0.113.8",
    )


def test_a_name_is_looked_up_as_often_as_externrefresh_says(tmp_path: Path) -> None:
    text = '[network]\nexternhost = "pbx.example.org:5062"\nexternrefresh = 60\nstunaddr = "stun.example.org"\n'
    found = addressing(read(tmp_path, text))
    assert (found.externhost, found.externport, found.externrefresh) == ("pbx.example.org", 5062, 60 * SECOND)
    assert not found.automatic


def test_a_stun_server_has_its_own_port(tmp_path: Path) -> None:
    assert addressing(read(tmp_path, '[network]\nstunaddr = "stun.example.org"\n')).stun == ("stun.example.org", 3478)
    assert addressing(read(tmp_path, '[network]\nstunaddr = "192.0.2.3:19302"\n')).stun == ("192.0.2.3", 19302)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("", DEFAULT_NAT),
        ('nat = ["no"]\n', frozenset({NatMode.NO})),
        ('nat = "force_rport,comedia"\n', frozenset({NatMode.FORCE_RPORT, NatMode.COMEDIA})),
        (
            'nat = ["auto_force_rport", "auto_comedia"]\n',
            frozenset({NatMode.AUTO_FORCE_RPORT, NatMode.AUTO_COMEDIA}),
        ),
    ],
)
def test_nat_of_trunks_and_phones(tmp_path: Path, written: str, expected: frozenset[NatMode]) -> None:
    for which in ("trunk", "phone"):
        text = PEERS.format(**{"trunk": "", "phone": ""} | {which: written})
        peers = {peer.name: peer for peer in sip_settings(read(tmp_path, text)).peers}
        assert peers["hq" if which == "trunk" else "desk"].nat == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            '[network]\nexternip = "203.0.113.7"\nexternhost = "pbx.example.org"\n',
            '4: network.externhost = "pbx.example.org": expected either externip or externhost; externip is 203.',
        ),
        (
            '[network]\nexternip = "none"\nexternhost = "pbx.example.org"\n',
            '3: network.externip = "none": expected externip = "auto"',
        ),
        ('[network]\nstunaddr = "dynamic"\n', "expected the name or address of a STUN server"),
        ("[network]\nexterntcpport = 70000\n", "3: network.externtcpport = 70000: expected"),
        (
            PEERS.format(trunk='nat = ["comedai"]\n', phone=""),
            'trunk[hq].nat = ["comedai"]: expected one of no, force_rport, comedia, auto_force_rport, auto_comedia; '
            'did you mean "comedia"?',
        ),
        (
            PEERS.format(trunk="", phone='nat = ["no", "comedia"]\n'),
            'phone[desk].nat = ["no", "comedia"]: expected "no" alone, or other words without it',
        ),
        (PEERS.format(trunk="", phone="nat = []\n"), "phone[desk].nat = []: expected a list of no, force_rport"),
    ],
)
def test_what_makes_no_sense_is_told_with_what_to_do(tmp_path: Path, text: str, told: str) -> None:
    message = refused(tmp_path, text)
    assert told in message
    assert message.count("\n") == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[network]\nexterntlsport = 5071\n", "network.externtlsport = 5071: it has a use with externip or externhost"),
        (
            '[network]\nexternip = "203.0.113.7"\nstunaddr = "stun.example.org"\n',
            "nothing is asked there, as the external address is set",
        ),
    ],
)
def test_what_has_no_use_is_a_warning(tmp_path: Path, text: str, told: str) -> None:
    assert any(told in str(warning) for warning in read(tmp_path, text).warnings)
