"""What an operator gets wrong with passwords, certificates and addresses: one line that says where and what to do."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.provision.certificates import Identity, KeyKind, make_box, read_certificates, read_key
from tests.interop.openssl import certs
from tests.interop.product import Product
from tests.interop.scenario import scenario
from tests.interop.test_daemon_input import gateway

HEAD = """\
schema = 1
[gateway]
run_dir = "run"
[sip]
listen = ["udp:127.0.0.1:9062", "tls:127.0.0.1:9063"]
tls_certificate = "certs/box.crt"
tls_key = "certs/box.key"
tls_ca = "certs/ca.crt"
[[trunk]]
name = "hq"
technology = "sip"
host = "hq.example.org"
transport = "tls"
secret = { file = "hq.secret" }
"""


@dataclass(frozen=True)
class Mistake:
    """How a good setting is spoilt, and the one line that is told, less the path of its directory."""

    spoil: Callable[[Path], None]
    told: str
    text: str = HEAD
    code: int = 1


def _nothing(_directory: Path) -> None:
    pass


def _instead(old: str, new: str) -> str:
    assert old in HEAD
    return HEAD.replace(old, new)


def _write(name: str, text: str) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        (directory / name).write_text(text)

    return spoil


def _key_of_another(directory: Path) -> None:
    (directory / "certs/box.key").write_bytes((directory / "certs/other.key").read_bytes())


MISTAKES = {
    "a key that is another's": Mistake(
        _key_of_another,
        '7: sip.tls_key = "certs/box.key": expected the private key that belongs to tls_certificate; '
        "this one does not fit it",
    ),
    "a key that everybody may read": Mistake(
        lambda directory: (directory / "certs/box.key").chmod(0o644),
        '7: sip.tls_key = "certs/box.key": others than its owner may use this private key (mode 0644); '
        "expected 0600: chmod 600 ./certs/box.key",
    ),
    "a CA that does not know it": Mistake(
        _nothing,
        '6: warning: sip.tls_certificate = "certs/box.crt": the CA in tls_ca did not sign it: who trusts that CA will '
        "refuse us; have it signed by that CA",
        _instead("certs/ca.crt", "certs2/ca.crt"),
        0,
    ),
    "an expired certificate": Mistake(
        _nothing,
        '6: warning: sip.tls_certificate = "certs/ended.crt": the certificate ended on ',
        _instead("certs/box.", "certs/ended."),
        0,
    ),
    "a certificate that is none": Mistake(
        _write("certs/box.crt", "hello\n"),
        '6: sip.tls_certificate = "certs/box.crt": expected a certificate in PEM form',
    ),
    "no password": Mistake(
        lambda directory: (directory / "hq.secret").unlink(),
        "14: trunk[hq].secret: expected a file that can be read; ./hq.secret: No such file or directory",
    ),
    "an empty password": Mistake(
        _write("hq.secret", "\n"),
        "14: trunk[hq].secret: expected a password in the first line of ./hq.secret, 1 to 256 printable characters",
    ),
    "a password that everybody may read": Mistake(
        lambda directory: (directory / "hq.secret").chmod(0o644),
        "14: trunk[hq].secret: expected a file that only its owner may read (chmod 600 ./hq.secret)",
    ),
    "an unknown word of nat": Mistake(
        _nothing,
        '15: trunk[hq].nat = ["comedai"]: expected one of no, force_rport, comedia, auto_force_rport, auto_comedia; '
        'did you mean "comedia"?',
        HEAD + 'nat = ["comedai"]\n',
    ),
    "too few ports": Mistake(
        _nothing,
        "16: warning: media.rtp_ports = [20000, 20003]: room for calls at once: 1, of four ports each",
        HEAD + "[media]\nrtp_ports = [20000, 20003]\n",
        0,
    ),
    "no ports": Mistake(
        _nothing,
        "16: media.rtp_ports = [20001, 20002]: expected [FIRST, LAST] with ports from 1024 to 65535 and room for at "
        "least one pair",
        HEAD + "[media]\nrtp_ports = [20001, 20002]\n",
    ),
}


async def _files(directory: Path) -> None:
    """Certificates and a password that are good, beside some that are not."""
    await certs("ca", directory / "certs", "--name", "Ours")
    await certs("ca", directory / "certs2", "--name", "Another")
    for name in ("box", "other"):
        await certs("box", directory / "certs", name, "--host", f"{name}.example.org")
    _ended(directory / "certs")
    (directory / "hq.secret").touch(0o600)
    (directory / "hq.secret").write_text("correct horse\n")


def _ended(directory: Path) -> None:
    now = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=30)
    (certificate,) = read_certificates((directory / "ca.crt").read_bytes())
    ca = Identity(certificate, read_key((directory / "ca.key").read_bytes()))
    made = make_box(ca, "ended", ["box.example.org"], [], KeyKind.EC, now, 10)
    (directory / "ended.crt").write_bytes(made.certificate_pem)
    (directory / "ended.key").touch(0o600)
    (directory / "ended.key").write_bytes(made.key_pem)


@scenario
async def test_good_files_are_passed_in_silence(tmp_path: Path) -> None:
    await _files(tmp_path)
    done = gateway(tmp_path, HEAD)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("what", MISTAKES)
@scenario
async def test_mistake_is_one_line(tmp_path: Path, what: str) -> None:
    await _files(tmp_path)
    mistake = MISTAKES[what]
    mistake.spoil(tmp_path)
    done = gateway(tmp_path, mistake.text)
    assert done.returncode == mistake.code
    (line,) = done.stderr.replace(f"{tmp_path}/", "./").splitlines()
    assert line.startswith(f"./gateway.toml:{mistake.told}")
    assert "correct horse" not in done.stderr
    if mistake.code:
        assert gateway(tmp_path, mistake.text, "--config").stderr == done.stderr


@scenario
async def test_names_that_do_not_resolve_are_told_once_and_the_gateway_works_on(tmp_path: Path) -> None:
    extra = """
[network]
externhost = "nowhere.invalid"
[[trunk]]
name = "far"
technology = "sip"
host = "nobody.invalid"
"""
    async with Product(tmp_path, extra=extra) as product:
        said = (
            "network.externhost nowhere.invalid does not resolve; peers are told our own address. "
            "Check the name, and the DNS server",
            "far: host nobody.invalid does not resolve, and cannot be called; check the name, and the DNS server",
        )
        await product.until(lambda _status: all(text in product.log for text in said), "both warnings")
        async with await product.calling("95550112") as caller:
            await caller.succeed()
        await product.until_idle()
        assert [product.log.count(text) for text in said] == [1, 1]
