"""Keys of hold, transfer and direct media: what they may be, and what the parts are told."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from gateway.assembly import music_on_hold, sip_settings
from gateway.config import check, parse
from gateway.core import SECOND
from gateway.media.tones import HOLD_TONE
from gateway.voip.sip.peers import PeerSettings

TRUNK = '[[trunk]]\nname = "hq"\ntechnology = "sip"\nhost = "192.0.2.10"\n'
PHONE = '[[phone]]\nname = "p1"\nhost = "192.0.2.20"\n'


def peer(text: str) -> PeerSettings:
    return sip_settings(parse("schema = 1\n" + text, Path("x.toml"))).peers[0]


def errors(text: str) -> list[str]:
    return [str(problem).partition(": ")[2] for problem in check("schema = 1\n" + text, Path("x.toml"))]


@pytest.mark.parametrize(
    ("value", "allowed", "update", "outgoing"),
    [
        ('"no"', False, False, False),
        ('"yes"', True, False, False),
        ('["nonat", "update"]', True, True, False),
        ('"nonat,update"', True, True, False),
        ('["yes", "outgoing"]', True, False, True),
    ],
)
def test_directmedia_is_a_word_or_several(value: str, allowed: bool, update: bool, outgoing: bool) -> None:
    direct = peer(TRUNK + f"directmedia = {value}\n").direct
    assert (direct.allowed, direct.update, direct.outgoing) == (allowed, update, outgoing)


def test_directmedia_permit_and_deny_are_networks() -> None:
    direct = peer(
        TRUNK
        + 'directmedia = "yes"\ndirectmediapermit = ["172.16.1.0/255.255.255.0"]\ndirectmediadeny = ["0.0.0.0/0"]\n'
    ).direct
    assert direct.permit == (ip_network("172.16.1.0/24"),)
    assert direct.deny == (ip_network("0.0.0.0/0"),)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('directmedia = "sometimes"', "expected one of yes, no, nonat, update, outgoing"),
        ('directmedia = ["no", "yes"]', 'expected "no" alone'),
        ("directmedia = []", "expected a list of yes, no"),
        ('directmediadeny = ["nowhere"]', "trunk[hq].directmediadeny"),
        ("rtptimeout = -1", "trunk[hq].rtptimeout"),
        ('allowtransfer = "phones"', "trunk[hq].allowtransfer"),
    ],
)
def test_what_makes_no_sense_is_refused(line: str, says: str) -> None:
    (error,) = errors(TRUNK + line + "\n")
    assert says in error


def test_phones_may_transfer_and_trunks_only_if_allowed() -> None:
    assert peer(PHONE).allowtransfer
    assert not peer(TRUNK).allowtransfer
    assert peer(TRUNK + "allowtransfer = true\n").allowtransfer
    assert not peer(PHONE + "allowtransfer = false\n").allowtransfer


def test_rtptimeout_is_in_seconds() -> None:
    assert peer(TRUNK).rtptimeout == 0
    assert peer(TRUNK + "rtptimeout = 60\n").rtptimeout == 60 * SECOND


def test_comfort_noise_is_for_who_says_so() -> None:
    assert not peer(TRUNK).comfort_noise
    assert peer(PHONE + "comfort_noise = true\n").comfort_noise


def test_music_on_hold_is_a_tone_a_prompt_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "tune.wav").write_bytes(b"RIFF\0\0\0\0WAVEfmt ")
    text = "schema = 1\n[media]\nmusiconhold = {}\n"
    for value, expected in (('"tone"', HOLD_TONE), ('"none"', None), ('"tune"', str(tmp_path / "prompts/tune.wav"))):
        assert music_on_hold(parse(text.format(value), tmp_path / "x.toml")) == expected
    (problem,) = check(text.format('"gone"'), tmp_path / "x.toml")
    assert 'expected "tone", "none" or a prompt; there is no file' in str(problem)
