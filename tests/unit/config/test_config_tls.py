"""What a configuration file may say about TLS, and what is wrong with the files it names: one clear line each."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.assembly import tls_settings
from gateway.config import check, parse
from gateway.config.problems import Severity
from gateway.voip.sip.tls import VerifyClient
from tests.unit.voip.sip.tls_files import NOW, Authority

DAY = datetime.timedelta(days=1)
SIP = """schema = 1
[sip]
listen = ["udp:[::]:5060", "tls:[::]:5061"]
tls_certificate = "box.crt"
tls_key = "box.key"
tls_ca = "ca.crt"
"""
TRUNK = '[[trunk]]\nname = "hq"\ntechnology = "sip"\nhost = "hq.example.org"\ntransport = "tls"\n'
ROUTE = '[[route]]\ncontext = "default"\nmatch = "_X."\n'


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path)
    made.issue("box", days=29)
    return made


def told(authority: Authority, text: str, severity: Severity = Severity.ERROR) -> list[str]:
    path = authority.directory / "gateway.toml"
    found = [problem for problem in check(text, path) if problem.severity is severity]
    return [str(problem).removeprefix(f"{path}:") for problem in found]


def test_certificate_key_and_ca_that_belong_together_are_fine_but_for_their_end(authority: Authority) -> None:
    assert told(authority, SIP + TRUNK) == []
    (warning,) = told(authority, SIP + TRUNK, Severity.WARNING)
    assert warning.startswith('4: warning: sip.tls_certificate = "box.crt": the certificate ends in 29 days')


def test_lists_of_revoked_certificates_are_looked_at(authority: Authority) -> None:
    text = SIP.replace('tls_ca = "ca.crt"', 'tls_ca = "ca.crt"\ntls_crl = "ca.crl"') + TRUNK
    assert told(authority, text)[0].startswith('7: sip.tls_crl = "ca.crl": expected a file; there is none')
    list_file = authority.revoke("box")
    assert told(authority, text) == []
    assert not any("tls_crl" in line for line in told(authority, text, Severity.WARNING))
    other = Authority(authority.directory, "other").revoke()
    list_file.write_bytes(other.read_bytes())
    warnings = [line for line in told(authority, text, Severity.WARNING) if "tls_crl" in line]
    assert "it has no list of Test ca, so certificates of that CA are refused; add its list" in warnings[0]
    authority.file.with_suffix(".crl").unlink()
    authority.revoke(now=NOW + datetime.timedelta(days=2))
    warnings = [line for line in told(authority, text, Severity.WARNING) if "tls_crl" in line]
    assert "expected a clock that is right; until then all certificates of that CA are refused" in warnings[0]
    for wrong in (b"", b"x", list_file.read_bytes() + authority.file.read_bytes()):
        list_file.write_bytes(wrong)
        (error,) = told(authority, text)
        assert "of revoked certificates" in error
    settings = tls_settings(parse(text.replace('tls_crl = "ca.crl"', ""), authority.directory / "gateway.toml"))
    assert settings is not None
    assert settings.crl is None


def test_settings_are_assembled(authority: Authority) -> None:
    text = SIP + 'tls_verify_client = "required"\n' + TRUNK.replace("hq.example", "HQ.Example")
    text += 'allow_wildcard_certs = true\n[[trunk]]\nname = "b"\ntechnology = "sip"\nhost = "192.0.2.7"\n'
    text += 'transport = "tls"\ntls_verify = false\n'
    settings = tls_settings(parse(text, authority.directory / "gateway.toml"))
    assert settings is not None
    assert settings.files == tuple(authority.directory / name for name in ("box.crt", "box.key", "ca.crt"))
    assert settings.verify_client is VerifyClient.REQUIRED
    assert settings.unverified == {"192.0.2.7"}
    assert settings.wildcards == {"hq.example.org"}
    assert settings.names == {"hq.example.org", "192.0.2.7"}


def test_file_without_tls_has_no_settings() -> None:
    assert tls_settings(parse("schema = 1\n", Path("x.toml"))) is None


def _other_key(authority: Authority) -> None:
    kept = (authority.directory / "box.crt").read_bytes()
    authority.issue("box")
    (authority.directory / "box.crt").write_bytes(kept)


def _open_key(authority: Authority) -> None:
    (authority.directory / "box.key").chmod(0o644)


def _no_certificate(authority: Authority) -> None:
    (authority.directory / "box.crt").write_text("hello\n")


def _no_key(authority: Authority) -> None:
    (authority.directory / "box.key").write_bytes((authority.directory / "box.crt").read_bytes())


def _no_ca(authority: Authority) -> None:
    authority.file.write_bytes(b"")


def _too_long(authority: Authority) -> None:
    authority.file.write_bytes(b"#" * (4 * 1024 * 1024 + 1))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_other_key, '5: sip.tls_key = "box.key": expected the private key that belongs to tls_certificate'),
        (_open_key, '5: sip.tls_key = "box.key": others than its owner may use this private key (mode 0644)'),
        (_no_certificate, '4: sip.tls_certificate = "box.crt": expected a certificate in PEM form'),
        (_no_key, '5: sip.tls_key = "box.key": expected a private key in PEM form'),
        (_no_ca, '6: sip.tls_ca = "ca.crt": expected a certificate in PEM form'),
        (_too_long, '6: sip.tls_ca = "ca.crt": expected at most 4194304 bytes'),
    ],
)
def test_files_that_are_of_no_use_are_one_error(
    authority: Authority, spoil: Callable[[Authority], None], says: str
) -> None:
    spoil(authority)
    found = told(authority, SIP)
    assert len(found) == 1
    assert found[0].startswith(says)


def test_key_may_be_in_the_file_of_the_certificate(authority: Authority) -> None:
    pem = authority.directory / "box.pem"
    pem.touch(mode=0o600)
    pem.write_bytes(b"".join((authority.directory / f"box.{end}").read_bytes() for end in ("key", "crt")))
    text = SIP.replace('tls_key = "box.key"\n', "").replace("box.crt", "box.pem")
    assert told(authority, text) == []
    pem.chmod(0o604)
    (found,) = told(authority, text)
    assert found.startswith('4: sip.tls_certificate = "box.pem": others than its owner')


def _ended(authority: Authority) -> None:
    authority.issue("box", now=NOW - 20 * DAY, days=10)


def _to_come(authority: Authority) -> None:
    authority.issue("box", now=NOW + 2 * DAY, days=20)


def _of_another_ca(authority: Authority) -> None:
    Authority(authority.directory, "other").issue("box", days=30)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_ended, "the certificate ended on"),
        (_to_come, "the certificate begins on"),
        (_of_another_ca, "the CA in tls_ca did not sign it"),
    ],
)
def test_certificates_that_far_ends_refuse_are_warned_of_and_the_lines_go_on(
    authority: Authority, spoil: Callable[[Authority], None], says: str
) -> None:
    spoil(authority)
    assert told(authority, SIP) == []
    warnings = [line for line in told(authority, SIP, Severity.WARNING) if "ends in" not in line]
    assert len(warnings) == 1
    assert says in warnings[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            'schema = 1\n[sip]\nlisten = ["tls:[::]:5061"]\n',
            "2: sip.tls_certificate: missing; expected the certificate",
        ),
        (
            "schema = 1\n" + TRUNK,
            '6: trunk[hq].transport = "tls": expected "tls:[::]:5061", say, among listen of [sip]',
        ),
        (
            SIP + 'tls_verify_client = "maybe"\n',
            '7: sip.tls_verify_client = "maybe": expected one of no, optional, requi',
        ),
        (
            SIP + ROUTE + 'to = ["echo"]\nsecure_bridge = ["secure"]\n',
            '11: route[1].secure_bridge[1] = "secure": expect',
        ),
        (
            SIP + '[[route]]\ncontext = "default"\ninclude = ["default"]\nsecure_bridge = ["secure_media"]\n',
            "10: route[1].secure_bridge: expected in the routes that lead somewhere",
        ),
    ],
)
def test_mistakes_are_one_line(authority: Authority, text: str, says: str) -> None:
    found = [line for line in told(authority, text) if "circle" not in line]
    assert len(found) == 1
    assert found[0].startswith(says)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TRUNK + "tls_verify = false\n", "anybody between here and there can pretend to be it"),
        (TRUNK.replace('"tls"', '"tcp"') + "tls_verify = true\n", 'it has a use with transport = "tls" only'),
        (
            TRUNK.replace('"tls"', '"tcp"') + ROUTE + 'to = ["sip:hq/1"]\nsecure_bridge = ["secure_signalling"]\n',
            'never tried, as secure_bridge asks for more: hq has transport = "tcp"',
        ),
        (
            TRUNK + ROUTE + 'to = ["sip:hq/1"]\nsecure_bridge = ["secure_media"]\n',
            'never tried, as secure_bridge asks for more: hq has media_encryption = "no"',
        ),
    ],
)
def test_what_will_not_work_as_written_is_a_warning(authority: Authority, text: str, says: str) -> None:
    assert told(authority, SIP + text) == []
    assert any(says in line for line in told(authority, SIP + text, Severity.WARNING))


def test_route_over_a_trunk_that_can_be_secure_is_no_problem(authority: Authority) -> None:
    text = SIP + TRUNK + 'media_encryption = "optional"\n' + ROUTE + 'to = ["sip:hq/1"]\n'
    text += 'secure_bridge = ["secure_signalling", "secure_media"]\n'
    assert told(authority, text) == []
    assert not any("never tried" in line for line in told(authority, text, Severity.WARNING))
