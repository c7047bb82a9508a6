"""Keys of trunks that we register with, and of where peers are looked for: refused, warned of and understood."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.assembly import sip_settings
from gateway.config import check, parse
from gateway.config.problems import Severity
from gateway.core import MILLISECOND, SECOND
from gateway.voip.sip.far_end_settings import FarEndSettings, RegistrationSettings
from gateway.voip.sip.targets import Domain

PATH = Path("/etc/branch.toml")
TRUNK = 'schema = 1\n[[trunk]]\nname = "p"\ntechnology = "sip"\nhost = "{host}"\n'
ACCOUNT = 'register = true\ndefaultuser = "branch"\nsecret = "correct horse"\ninsecure = ["invite"]\n'


def told(keys: str, host: str = "sip.example.org", severity: Severity = Severity.ERROR) -> list[str]:
    found = check(TRUNK.format(host=host) + keys, PATH)
    return [str(problem).partition(": ")[2] for problem in found if problem.severity is severity]


def far_end(keys: str, host: str = "sip.example.org") -> FarEndSettings:
    configuration = parse(TRUNK.format(host=host) + keys, PATH)
    (peer,) = sip_settings(configuration).peers
    return peer.far_end


def test_an_account_has_its_defaults() -> None:
    assert told(ACCOUNT) == []
    assert told(ACCOUNT, severity=Severity.WARNING) == []
    assert far_end(ACCOUNT) == FarEndSettings(
        domain=Domain("sip.example.org"), registration=RegistrationSettings("branch", 3600), keepalive=25 * SECOND
    )


@pytest.mark.parametrize(
    ("keys", "host", "domain"),
    [
        ("", "192.0.2.1", None),
        ("", "sip.example.org:5070", Domain("sip.example.org", 5070)),
        ("", "SIP.Example.org", Domain("sip.example.org")),
        ('transport = "tcp"\n', "sip.example.org", Domain("sip.example.org", 0, "TCP")),
        ('transport = "auto"\n', "sip.example.org", Domain("sip.example.org", 0, "")),
        ('outboundproxy = "192.0.2.7:5080"\n', "sip.example.org", Domain("192.0.2.7", 5080)),
        ('outboundproxy = "sbc.example.org"\n', "192.0.2.1", Domain("sbc.example.org")),
    ],
)
def test_where_servers_are_looked_for(keys: str, host: str, domain: Domain | None) -> None:
    assert told(keys, host) == []
    assert far_end(keys, host).domain == domain


def test_watching_and_keeping_alive() -> None:
    settings = far_end("qualify = 1500\nqualifyfreq = 30\nkeepalive = 60\n")
    assert (settings.qualify, settings.qualifyfreq) == (1500 * MILLISECOND, 30 * SECOND)
    assert settings.keepalive == 60 * SECOND
    assert far_end(ACCOUNT + "keepalive = false\n").keepalive == 0
    assert far_end("").keepalive == 0


@pytest.mark.parametrize(
    ("keys", "host", "says"),
    [
        ('register = true\nsecret = "x"\n', "sip.example.org", "trunk[p].defaultuser: expected the user name"),
        (ACCOUNT, "dynamic", "trunk[p].register = true: expected the address or name of the registrar"),
        ('transport = "auto"\n', "192.0.2.1", 'trunk[p].transport = "auto": expected udp, tcp or tls'),
        ('transport = "auto"\n', "sip.example.org:5060", 'trunk[p].transport = "auto": expected udp, tcp or tls'),
        ("keepalive = 1\n", "192.0.2.1", "trunk[p].keepalive = 1: expected seconds from 5 to 3600, or false"),
        ("keepalive = true\n", "192.0.2.1", "trunk[p].keepalive = true: expected seconds"),
        ("registerexpiry = 10\n", "192.0.2.1", "trunk[p].registerexpiry = 10: expected"),
        ('outboundproxy = "dynamic"\n', "192.0.2.1", 'trunk[p].outboundproxy = "dynamic": expected a name'),
        ('secret = "x"\noutboundproxy = "192.0.2.7"\n', "dynamic", "trunk[p].outboundproxy"),
        ('[sip]\nlisten = ["auto:[::]:5060"]\n', "192.0.2.1", "sip.listen[1]"),
    ],
)
def test_mistakes_are_one_line_each(keys: str, host: str, says: str) -> None:
    (problem,) = told(keys, host)
    assert problem.startswith(says)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ('register = true\ndefaultuser = "branch"\n', "warning: trunk[p].secret: expected the password"),
        (ACCOUNT.replace('"invite"', '"port"'), 'warning: trunk[p].insecure = ["port"]: expected "invite" in it'),
        ("registerexpiry = 60\n", "warning: trunk[p].registerexpiry = 60: of use with register = true only"),
    ],
)
def test_what_is_likely_a_mistake_is_a_warning(keys: str, says: str) -> None:
    assert told(keys) == []
    (problem,) = told(keys, severity=Severity.WARNING)
    assert problem.startswith(says)


def test_several_accounts_may_have_one_host() -> None:
    second = TRUNK.replace("schema = 1\n", "").replace('"p"', '"q"').format(host="sip.example.org")
    assert told(ACCOUNT + second + ACCOUNT.replace("branch", "other")) == []
