"""``[iax]`` and trunks of technology iax2: what is refused, warned of, and what the endpoint is told."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.assembly_iax import iax_settings
from gateway.config import Severity, check, parse
from gateway.core import MILLISECOND, SECOND
from gateway.media.api import Codec
from gateway.voip.iax.peers import AuthMethod, CallTokens, Encryption, IaxListener, IaxSettings, PeerSettings
from gateway.voip.iax.timers import IaxTimer

PATH = Path("/etc/bg/branch.toml")
TRUNK = '[[trunk]]\nname = "hq"\ntechnology = "iax2"\nhost = "192.0.2.10"\n'
SECRET = 'secret = "correct horse"\n'  # noqa: S105 - a test's
DYNAMIC = TRUNK.replace("192.0.2.10", "dynamic")
SIP = '[[trunk]]\nname = "sip"\ntechnology = "sip"\nhost = "192.0.2.11"\n'


def told(body: str, path: Path = PATH) -> list[tuple[Severity, str]]:
    found = check("schema = 1\n" + body, path)
    return [(problem.severity, str(problem).removeprefix(f"{path}:")) for problem in found]


def error(body: str, path: Path = PATH) -> str:
    (only,) = told(body, path)
    assert only[0] is Severity.ERROR, only
    return only[1]


def warning(body: str, path: Path = PATH) -> str:
    (only,) = told(body, path)
    assert only[0] is Severity.WARNING, only
    return only[1].replace("warning: ", "")


def settings(body: str, path: Path = PATH) -> IaxSettings:
    found = iax_settings(parse("schema = 1\n" + body, path))
    assert found is not None
    return found


def peer(keys: str = "", trunk: str = TRUNK, path: Path = PATH) -> PeerSettings:
    (only,) = settings(trunk + keys, path).peers
    return only


def route(to: str, extra: str = "", context: str = "in") -> str:
    return f'[[route]]\ncontext = "{context}"\nmatch = "_X."\nto = ["{to}"]\n{extra}'


# -- what the endpoint is told --


def test_without_iax2_in_the_file_there_is_none() -> None:
    assert iax_settings(parse("schema = 1\n" + SIP, PATH)) is None


def test_a_trunk_alone_makes_it_listen_at_the_port_of_the_rfc() -> None:
    assert told(TRUNK) == []
    assert settings(TRUNK).listeners == (IaxListener("::", 4569),)
    assert settings(TRUNK).context is None
    assert settings(TRUNK).max_unproven == 256


def test_what_a_trunk_says_arrives() -> None:
    text = SECRET + (
        'defaultuser = "branch"\ntrunk = true\ntrunktimestamps = true\nrequirecalltoken = "auto"\nqualify = 1500\n'
        'qualifyfreq = 30\ntransfer = true\ndirectmediadeny = ["10.0.0.0/8"]\nmaxcallnumbers = 20\nrtptimeout = 60\n'
        "failover_ms = 2000\ncall_limit = 3\ncalls_per_hour = 4\ndestinations_per_hour = 5\n"
        'allow = ["slin16", "ulaw"]\ninsecure = ["port"]\n'
    )
    assert told(TRUNK + text) == []
    assert peer(text) == PeerSettings(
        name="hq",
        host="192.0.2.10",
        user="branch",
        secret="correct horse",  # noqa: S106 - a test's
        match_port=False,
        codecs=(Codec.L16, Codec.ULAW),
        trunk=True,
        trunk_stamps=True,
        calltokens=CallTokens.AUTO,
        transfer=True,
        transfer_deny=(ip_network("10.0.0.0/8"),),
        qualify=1500 * MILLISECOND,
        qualifyfreq=30 * SECOND,
        failover=2 * SECOND,
        rtptimeout=60 * SECOND,
        allow_transfer=False,
        max_call_numbers=20,
        call_limit=3,
        calls_per_hour=4,
        destinations_per_hour=5,
    )


def test_section_and_timers_arrive() -> None:
    found = settings(
        '[iax]\nlisten = ["udp:127.0.0.1:4570", "udp:[::1]:4571"]\ncontext = "guests"\nminexpiry = 30\nmaxexpiry = 90\n'
        "maxcallnumbers_nonvalidated = 7\nkeyrotate = false\n[timers.iax]\nping_seconds = 5\nretries = 2\n"
        + route("echo", context="guests")
    )
    assert found.listeners == (IaxListener("127.0.0.1", 4570), IaxListener("::1", 4571))
    assert (found.context, found.minexpiry, found.maxexpiry) == ("guests", 30, 90)
    assert (found.max_unproven, found.key_rotation) == (7, False)
    assert found.timers == {IaxTimer.PING: 5 * SECOND, IaxTimer.RETRIES: 2}
    assert "911" in found.emergency


@pytest.mark.parametrize(
    ("section", "keys", "expected"),
    [
        ("", "", Encryption.NO),
        ("", "encryption = true\n", Encryption.OPTIONAL),
        ("", "forceencryption = true\n", Encryption.REQUIRED),
        ("", "encryption = true\nforceencryption = true\n", Encryption.REQUIRED),
        ("encryption = true\n", "", Encryption.OPTIONAL),
        ("encryption = true\n", "encryption = false\n", Encryption.NO),
        ("forceencryption = true\n", "", Encryption.REQUIRED),
        ("forceencryption = true\n", "forceencryption = false\n", Encryption.NO),
        ("forceencryption = true\n", "forceencryption = false\nencryption = true\n", Encryption.OPTIONAL),
    ],
)
def test_a_trunk_s_own_word_about_encryption_goes_before_the_section_s(
    section: str, keys: str, expected: Encryption
) -> None:
    body = f"[iax]\n{section}" + TRUNK + SECRET + keys
    assert told(body) == []
    assert settings(body).peers[0].encryption is expected


def test_a_packet_of_a_trunk_is_as_long_as_asterisk_reads_unless_the_trunk_says_it() -> None:
    body = TRUNK + "trunk = true\n"
    assert settings(body).peers[0].trunk_octets == 4096
    assert settings(body + "trunkmtu = 8000\n").peers[0].trunk_octets == 8000


def test_trunk_time_stamps_are_those_of_the_section_unless_the_trunk_has_its_own() -> None:
    body = "[iax]\ntrunktimestamps = true\n" + TRUNK + "trunk = true\n"
    assert settings(body).peers[0].trunk_stamps
    assert not settings(body + "trunktimestamps = false\n").peers[0].trunk_stamps


@pytest.mark.parametrize(
    ("keys", "user", "unproven"),
    [
        ("", "", True),
        (SECRET, "hq", False),
        (SECRET + 'defaultuser = "branch"\n', "branch", False),
        (SECRET + 'insecure = ["invite"]\n', "hq", True),
    ],
)
def test_who_has_nothing_to_prove_says_no_name_and_needs_no_proof(keys: str, user: str, unproven: bool) -> None:
    assert (peer(keys).user, peer(keys).insecure_invite) == (user, unproven)


def test_a_password_is_not_shown() -> None:
    assert "correct horse" not in repr(settings(TRUNK + SECRET))


# -- keys of the other technology --


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ('transport = "udp"', "it goes over UDP"),
        ('nat = ["comedia"]', "a far end is answered where it calls from by itself"),
        ('media_encryption = "required"', 'it is "encryption", or "forceencryption"'),
        ('directmedia = "yes"', 'it is "transfer"'),
        ("ptime = 20", "voice goes every 20 ms"),
        ('dtmfmode = "auto"', "digits have frames of their own"),
    ],
)
def test_keys_of_sip_are_refused_with_what_to_write_instead(line: str, hint: str) -> None:
    key, _, value = line.partition(" = ")
    assert error(TRUNK + line + "\n") == f'6: trunk[hq].{key} = {value}: of no use with technology = "iax2"; {hint}'


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("trunk = true", ""),
        ("encryption = true", '; it is "media_encryption"'),
        ("forceencryption = true", '; it is media_encryption = "required"'),
        ('requirecalltoken = "yes"', ""),
        ('auth = ["md5"]', "; [sip] auth_algorithms says how passwords are proven"),
        ('inkeys = ["x"]', "; it is a certificate that proves who it is, with tls_ca of [sip]"),
    ],
)
def test_keys_of_iax2_are_refused_on_sip_trunks(line: str, hint: str) -> None:
    key, _, value = line.partition(" = ")
    assert error(SIP + line + "\n") == f'6: trunk[sip].{key} = {value}: of use with technology = "iax2" only{hint}'


def test_every_key_of_sip_alone_has_a_word_about_iax2() -> None:
    from gateway.config.model import IaxTrunk, Trunk
    from gateway.config.words import of_other_technology

    for key in set(Trunk.__struct_fields__) - set(IaxTrunk.__struct_fields__):
        assert of_other_technology(key, "iax2").startswith("of no use")


def test_a_trunk_without_a_technology_is_told_that_alone() -> None:
    assert error(TRUNK.replace('technology = "iax2"\n', "")).endswith(
        "trunk[hq].technology: missing; expected one of sip, iax2"
    )


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("notransfer = true", "it is transfer = false"),
        ('inkey = "x"', 'it is "inkeys", a list of files'),
        ('calltokenoptional = "0.0.0.0/0"', 'it is requirecalltoken = "no" of a [[trunk]]'),
        ("jitterbuffer = true", "voice has a jitter buffer by itself"),
        ('username = "x"', 'it is "defaultuser" of a [[trunk]]'),
    ],
)
def test_asterisk_s_words_are_known(line: str, hint: str) -> None:
    assert f"unknown key; {hint}" in error(TRUNK + line + "\n")


# -- who proves what --


def write_keys(directory: Path) -> None:
    def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, how: KeySerializationEncryption) -> bytes:
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)

    key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - the size of chan_iax2
    (directory / "ours.key").write_bytes(pem(key, NoEncryption()))
    (directory / "locked.key").write_bytes(pem(key, BestAvailableEncryption(b"x")))
    (directory / "ec.key").write_bytes(pem(ec.generate_private_key(ec.SECP256R1()), NoEncryption()))
    for name in ("ours.key", "locked.key", "ec.key"):
        (directory / name).chmod(0o600)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (directory / "theirs.pub").write_bytes(public)
    (directory / "cert.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")
    (directory / "text.pub").write_bytes(b"hello")


def test_rsa_keys_are_read(tmp_path: Path) -> None:
    write_keys(tmp_path)
    path = tmp_path / "x.toml"
    keys = 'inkeys = ["theirs.pub"]\noutkey = "ours.key"\n'
    assert told(TRUNK + keys, path) == []
    found = peer(keys, path=path)
    assert found.methods is AuthMethod.RSA
    assert (found.outkey_name, found.inkey_names) == ("ours", ("theirs",))
    assert found.inkeys[0].startswith(b"-----BEGIN PUBLIC KEY")
    assert b"PRIVATE KEY" in found.outkey
    assert not found.insecure_invite
    both = peer(keys + SECRET + 'auth = ["md5", "rsa"]\n', path=path)
    assert both.methods == AuthMethod.RSA | AuthMethod.MD5


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ('inkeys = ["none.pub"]', 'inkeys[1] = "none.pub": expected a file; there is none at '),
        ('inkeys = ["theirs.pub", "none.pub"]', 'inkeys[2] = "none.pub": expected a file'),
        ('inkeys = "theirs.pub"', 'inkeys = "theirs.pub": expected a list, each item a path'),
        ('inkeys = ["ours.key"]', "expected the far end's public key; this is a private one"),
        ('inkeys = ["text.pub"]', 'inkeys[1] = "text.pub": no public key in PEM'),
        ('inkeys = ["cert.pem"]', "expected a key, not a certificate; openssl x509 -pubkey -noout -in "),
        ('outkey = "none.key"', 'outkey = "none.key": expected a file; there is none at '),
        ('outkey = "theirs.pub"', "expected our private key; this is a public one"),
        ('outkey = "locked.key"', "private key has a passphrase, expected one without"),
        ('outkey = "ec.key"', "private key is not RSA"),
        ('outkey = "text.pub"', "no private key in PEM"),
    ],
)
def test_files_that_are_no_such_keys_are_one_line(tmp_path: Path, keys: str, says: str) -> None:
    write_keys(tmp_path)
    line = error(TRUNK + keys + "\n", tmp_path / "x.toml")
    assert line.startswith("6: trunk[hq].")
    assert says in line


def test_private_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    write_keys(tmp_path)
    (tmp_path / "ours.key").chmod(0o644)
    line = error(TRUNK + 'outkey = "ours.key"\n', tmp_path / "x.toml")
    assert line.endswith(f"(mode 0644); expected 0600: chmod 600 {tmp_path}/ours.key")


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ('auth = ["md5"]\n', '6: trunk[hq].auth = ["md5"]: expected a secret beside md5'),
        ('auth = ["rsa"]\n', '6: trunk[hq].auth = ["rsa"]: expected inkeys, outkey or both beside "rsa"'),
        (SECRET + "auth = []\n", "7: trunk[hq].auth = []: expected one of md5, rsa, plaintext, or none of it"),
        ('auth = ["sha"]\n', '6: trunk[hq].auth[1] = "sha": expected one of md5, rsa, plaintext'),
    ],
)
def test_methods_without_what_they_take_are_refused(keys: str, says: str) -> None:
    assert error(TRUNK + keys).startswith(says)


def test_keys_that_are_never_used_are_refused(tmp_path: Path) -> None:
    write_keys(tmp_path)
    text = TRUNK + SECRET + 'auth = ["md5"]\ninkeys = ["theirs.pub"]\n'
    assert error(text, tmp_path / "x.toml") == (
        '8: trunk[hq].inkeys = ["theirs.pub"]: expected "rsa" in auth, or it is never used'
    )


def test_plaintext_is_warned_of() -> None:
    assert warning(TRUNK + SECRET + 'auth = ["plaintext"]\n') == (
        '7: trunk[hq].auth = ["plaintext"]: the password goes over the wire for anybody to read; expected md5 alone, '
        "if the far end has it"
    )


def test_who_registers_must_prove_it() -> None:
    assert error(DYNAMIC).startswith("2: trunk[hq].secret: expected a secret or inkeys, as anybody could register")
    assert told(DYNAMIC + SECRET) == []


def test_who_needs_no_proof_needs_a_call_token() -> None:
    line = warning(TRUNK + 'requirecalltoken = "no"\n')
    assert line.startswith('6: trunk[hq].requirecalltoken = "no": anybody can write its address on a datagram')
    assert told(TRUNK + SECRET + "requirecalltoken = false\n") == []


def test_a_password_is_looked_at_as_any_other() -> None:
    assert "easily guessed" in warning(TRUNK + 'secret = "hq"\n')
    assert "cannot be read" not in error(TRUNK + 'secret = { file = "/none" }\n')


# -- encryption --


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("forceencryption = true\n", "6: trunk[hq].forceencryption = true: expected a secret: the key is made of it"),
        (
            SECRET + 'auth = ["plaintext"]\nforceencryption = true\n',
            "8: trunk[hq].forceencryption = true: expected md5 in auth: the key is made of its challenge",
        ),
        (
            SECRET + 'auth = ["md5", "plaintext"]\nforceencryption = true\n',
            "8: trunk[hq].forceencryption = true: expected auth without plaintext: the key is made of the password",
        ),
        (
            SECRET + 'insecure = ["invite"]\nforceencryption = true\n',
            '8: trunk[hq].forceencryption = true: expected insecure without "invite": who is not asked for a proof',
        ),
        (
            SECRET + "encryption = false\nforceencryption = true\n",
            "7: trunk[hq].encryption = false: expected true, or none of it, as forceencryption asks for it",
        ),
        (
            SECRET + "encryption = false\n[iax]\nforceencryption = true\n",
            "7: trunk[hq].encryption = false: expected true, or none of it, as forceencryption of [iax] asks for it; "
            "or forceencryption = false beside it",
        ),
        ("[iax]\nforceencryption = true\n", "2: trunk[hq].secret: expected a secret: the key is made of it"),
        (
            SECRET + '[iax]\nforceencryption = true\ncontext = "in"\n' + route("echo"),
            '9: iax.context = "in": expected none beside forceencryption: who is no trunk has no secret',
        ),
        ("[iax]\nforceencryption = true\nencryption = false\n" + "", "encryption"),
    ],
)
def test_encryption_that_could_not_be_is_refused(keys: str, says: str) -> None:
    found = [text for severity, text in told(TRUNK + keys) if severity is Severity.ERROR]
    assert any(text.startswith(says) or says in text for text in found), found


def test_encryption_without_a_key_is_warned_of() -> None:
    assert warning(TRUNK + "encryption = true\n") == (
        "6: trunk[hq].encryption = true: nothing of it is encrypted: expected a secret: the key is made of it"
    )


@pytest.mark.parametrize(
    ("keys", "which"), [("encryption", "calls that are encrypted"), ("forceencryption", "all its calls")]
)
def test_trunking_of_encrypted_calls_is_warned_of_with_the_reason(keys: str, which: str) -> None:
    assert warning(TRUNK + SECRET + f"trunk = true\n{keys} = true\n") == (
        f"7: trunk[hq].trunk = true: of no effect for {which}: trunk frames cannot be encrypted, so voice goes in "
        "encrypted mini frames, at 89 kbit/s a call one way instead of 66 to 80 (G.711)"
    )


# -- what goes together --


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("trunktimestamps = true\n", "6: trunk[hq].trunktimestamps = true: of use with trunk = true only"),
        ("trunkmtu = 8000\n", "6: trunk[hq].trunkmtu = 8000: of use with trunk = true only"),
        ('directmediapermit = ["10.0.0.0/8"]\n', "6: trunk[hq].directmediapermit = "),
        ("qualifyfreq = 30\n", "6: trunk[hq].qualifyfreq = 30: of use with qualify only"),
        ("registerexpiry = 90\n", "6: trunk[hq].registerexpiry = 90: of use with register = true only"),
        (SECRET + "forceencryption = true\ntransfer = true\n", "8: trunk[hq].transfer = true: of no effect"),
        ('register = true\ndefaultuser = "me"\n', "2: trunk[hq].secret: expected the password of the account"),
        ('allow = ["ulaw", "g729"]\n', '6: trunk[hq].allow[2] = "g729": not yet: this codec; it is not offered'),
    ],
)
def test_what_has_no_effect_is_a_warning(keys: str, says: str) -> None:
    assert warning(TRUNK + keys).startswith(says)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (DYNAMIC + SECRET + 'register = true\ndefaultuser = "me"\n', "7: trunk[hq].register = true: expected the addr"),
        (TRUNK + SECRET + "register = true\n", "2: trunk[hq].defaultuser: expected the user name of the account"),
        (TRUNK + "maxcallnumbers = 40000\n", "6: trunk[hq].maxcallnumbers = 40000: expected a whole number from 1"),
        (
            TRUNK + 'requirecalltoken = "maybe"\n',
            '6: trunk[hq].requirecalltoken = "maybe": expected one of yes, no, au',
        ),
        (TRUNK + 'transfer = "mediaonly"\n', '6: trunk[hq].transfer = "mediaonly": expected true or false'),
        (TRUNK + 'encryption = "aes128"\n', '6: trunk[hq].encryption = "aes128": expected true or false'),
        (TRUNK + "allow = []\n", "6: trunk[hq].allow = []: expected at least one codec"),
        (TRUNK + 'context = "in"\n', '6: trunk[hq].context = "in": expected a context that has a [[route]]'),
        (TRUNK.replace("192.0.2.10", "0.0.0.0"), "5: trunk[hq].host = "),
        (TRUNK + '[iax]\nlisten = ["tcp:[::]:1"]\n', '7: iax.listen[1] = "tcp:[::]:1": expected udp:ADDRESS:PORT'),
        (TRUNK + '[iax]\nlisten = ["0.0.0.0:4569"]\n', '7: iax.listen[1] = "0.0.0.0:4569": expected udp:ADDRESS:PORT'),
        (TRUNK + "[iax]\nlisten = []\n", "7: iax.listen = []: expected at least one udp:ADDRESS:PORT"),
        (
            TRUNK.replace("192.0.2.10", "[2001:db8::1]") + '[iax]\nlisten = ["udp:0.0.0.0:4569"]\n',
            '5: trunk[hq].host = "[2001:db8::1]": expected "udp:[::]:4569", say, among listen of [iax]: '
            "udp:0.0.0.0:4569 does not reach IPv6",
        ),
        (TRUNK + "[iax]\nminexpiry = 90\nmaxexpiry = 60\n", "8: iax.maxexpiry = 60: expected at least minexpiry"),
        (
            TRUNK.replace("192.0.2.10", "fe80::1"),
            '5: trunk[hq].host = "fe80::1": expected a global or unique local address: a link-local one is on',
        ),
        (TRUNK.replace("192.0.2.10", "[fe80::1%eth0]:4569"), "a link-local address with its interface is no place"),
        (
            TRUNK + '[iax]\nlisten = ["udp:[::]:5060"]\n',
            '7: iax.listen[1] = "udp:[::]:5060": expected a port of its ow',
        ),
        (TRUNK + '[sip]\nlisten = ["udp:[::]:4569"]\n', "expected a port of its own"),
        (TRUNK + SECRET + TRUNK, '8: trunk[hq].name = "hq": expected a name of its own'),
        (TRUNK + TRUNK.replace('"hq"', '"two"'), '9: trunk[two].host = "192.0.2.10": expected an address of its own'),
        (TRUNK + "[timers.iax]\nkey_least_seconds = 900\n", "key_most is 300000000, expected at least key_least"),
    ],
)
def test_what_cannot_be_is_one_error(body: str, says: str) -> None:
    line = error(body)
    assert line.startswith(says) or says in line


def test_two_trunks_with_passwords_may_share_an_address_but_no_account() -> None:
    second = TRUNK.replace('"hq"', '"two"')
    assert told(TRUNK + SECRET + second + SECRET) == []
    account = SECRET + 'register = true\ndefaultuser = "me"\n'
    assert error(TRUNK + account + second + account) == (
        '15: trunk[two].defaultuser = "me": expected an account of its own; that of line 2 is the same'
    )


def test_a_trunk_that_calls_itself_is_warned_of() -> None:
    body = TRUNK + '[iax]\nlisten = ["udp:192.0.2.10:4569"]\n'
    assert "is our own address, udp:192.0.2.10:4569 in listen" in warning(body)


def test_a_section_that_nobody_uses_is_warned_of() -> None:
    assert warning("[iax]\n").startswith("2: iax: nobody can call by it, nor be called")
    assert told('[iax]\ncontext = "in"\n' + route("echo")) == []


# -- routes --


def test_routes_lead_to_trunks_by_their_technology() -> None:
    assert told(TRUNK + route("iax2:hq/{number:1}")) == []
    assert error(TRUNK + route("sip:hq/{number}")).endswith("expected iax2:hq/NUMBER, as its technology is iax2")
    assert "there is no 'hp'; did you mean \"hq\"?" in error(TRUNK + route("iax2:hp/1"))


def test_strangers_that_may_call_out_are_warned_of() -> None:
    body = '[iax]\ncontext = "in"\n' + TRUNK + SECRET + route("iax2:hq/{number}")
    assert "calls of strangers begin in context in ([iax] context)" in warning(body)


def test_facts_that_no_hop_has_are_warned_of() -> None:
    asked = 'secure_bridge = ["secure_media"]\n'
    assert warning(TRUNK + route("iax2:hq/1", asked)).endswith("asks for more: hq has no encryption")
    encrypted = TRUNK + SECRET + "forceencryption = true\n"
    assert told(encrypted + route("iax2:hq/1", asked)) == []
    signalling = 'secure_bridge = ["secure_signalling"]\n'
    assert "signalling of IAX2 is never secure" in warning(encrypted + route("iax2:hq/1", signalling))
    assert told(encrypted + route("echo", 'require = ["secure_media"]\n')) == []
    assert "no call can have it" in warning(TRUNK + route("echo", 'require = ["secure_media"]\n'))


def test_more_listeners_than_the_engine_has_room_for_are_refused() -> None:
    listen = [f"udp:127.0.0.1:{port}" for port in range(4569, 4586)]
    body = TRUNK + SECRET + "[iax]\nlisten = {}\n"
    said = error(body.format(str(listen).replace("'", '"')))
    assert said == '8: iax.listen[17] = "udp:127.0.0.1:4585": expected at most 16'
    assert told(body.format(str(listen[:-1]).replace("'", '"'))) == []


def test_a_key_of_a_trunk_that_stands_in_the_section_is_sent_there() -> None:
    assert "it belongs into [[trunk]] of technology iax2" in error(TRUNK + SECRET + "[iax]\ntrunkmtu = 1240\n")
