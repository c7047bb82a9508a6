"""What goes together with something else only, and words of other systems: one line each that says what to do."""

from __future__ import annotations

import ssl
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.config import Severity, check
from tests.unit.voip.sip.tls_files import Authority

PATH = Path("/etc/bg/branch.toml")
TRUNK = '[[trunk]]\nname = "hq"\ntechnology = "sip"\nhost = "192.0.2.10"\n'
NAMED = TRUNK.replace("192.0.2.10", "sip.example.org")
ACCOUNT = NAMED + 'register = true\ndefaultuser = "branch"\nsecret = "correct horse"\ninsecure = ["invite"]\n'
PHONE = '[[phone]]\nname = "desk"\nsecret = "correct horse"\n'
ROUTE = '[[route]]\ncontext = "default"\nmatch = "1"\nto = ["echo"]\n'


def told(body: str) -> list[tuple[Severity, str]]:
    found = check("schema = 1\n" + body, PATH)
    return [(problem.severity, str(problem).removeprefix(f"{PATH}:")) for problem in found]


def error(body: str) -> str:
    (only,) = told(body)
    assert only[0] is Severity.ERROR
    return only[1]


def warning(body: str) -> str:
    (only,) = told(body)
    assert only[0] is Severity.WARNING
    return only[1].replace("warning: ", "")


# -- who is who --


def test_an_account_with_a_provider_belongs_to_one_trunk() -> None:
    assert error(ACCOUNT + ACCOUNT.replace('"hq"', '"two"')) == (
        '15: trunk[two].defaultuser = "branch": expected an account of its own; that of line 2 is the same'
    )
    assert told(ACCOUNT + ACCOUNT.replace('"hq"', '"two"').replace("branch", "other")) == []
    assert told(ACCOUNT + ACCOUNT.replace('"hq"', '"two"').replace("sip.example", "sip2.example")) == []


def test_who_registers_with_us_has_a_user_name_of_its_own() -> None:
    trunk = TRUNK.replace("192.0.2.10", "dynamic") + 'secret = "correct horse"\ndefaultuser = "desk"\n'
    assert error(PHONE + trunk) == (
        '10: trunk[hq].defaultuser = "desk": expected an account of its own; that of line 3 is the same'
    )
    assert told(PHONE + trunk.replace('"desk"', '"hq"')) == []


# -- what can be reached --


@pytest.mark.parametrize(
    ("listen", "body", "says"),
    [
        (
            "tcp:[::]:5060",
            TRUNK,
            '4: trunk[hq].transport = "udp": expected "udp:[::]:5060", say, among listen of [sip]: '
            'there is nothing to reach it from; or transport = "tcp"',
        ),
        (
            "udp:0.0.0.0:5060",
            TRUNK.replace("192.0.2.10", "[2001:db8::10]:5070"),
            '7: trunk[hq].host = "[2001:db8::10]:5070": expected "udp:[::]:5060", say, among listen of [sip]: '
            "udp:0.0.0.0:5060 does not reach IPv6",
        ),
        ("udp:[::1]:5060", TRUNK, "udp:[::1]:5060 does not reach IPv4"),
        ("udp:[::]:5060", TRUNK.replace("192.0.2.10", "0.0.0.0"), "expected an address that calls can go to"),
        ("udp:[::]:5060", TRUNK.replace("192.0.2.10", "224.0.0.1"), "expected an address that calls can go to"),
    ],
)
def test_peer_that_nothing_can_reach_is_refused(listen: str, body: str, says: str) -> None:
    assert says in error(f'[sip]\nlisten = ["{listen}"]\n' + body)


def test_peers_that_can_be_reached_are_no_problem() -> None:
    for listen, host in (("udp:[::]:5060", "192.0.2.1"), ("udp:[::]:5060", "2001:db8::1"), ("udp:[::1]:5070", "::1")):
        assert told(f'[sip]\nlisten = ["{listen}"]\n' + TRUNK.replace("192.0.2.10", host)) == []
    # Who registers comes to us; of a name nobody knows yet what it leads to.
    assert told('[sip]\nlisten = ["tcp:0.0.0.0:5060"]\n' + PHONE) == []
    assert told('[sip]\nlisten = ["udp:0.0.0.0:5060"]\n' + NAMED) == []


def test_far_end_that_cannot_call_back_is_warned_of() -> None:
    assert "the far end must be able to call back" in warning(
        '[sip]\nlisten = ["udp:[::]:5060"]\n' + TRUNK + 'transport = "tcp"\n'
    )


def test_trunk_at_our_own_address_is_warned_of() -> None:
    listen = '[sip]\nlisten = ["udp:192.0.2.10:5060"]\n'
    assert "is our own address, udp:192.0.2.10:5060 in listen: calls to it would come back" in warning(listen + TRUNK)
    assert told(listen + TRUNK.replace("2.10", "2.10:5061")) == []


# -- addresses outside --


@pytest.mark.parametrize("address", ["10.1.2.3", "172.31.0.1:5062", "192.168.1.5", "100.64.0.1", "169.254.1.1"])
def test_private_external_address_is_warned_of(address: str) -> None:
    assert warning(f'[network]\nexternip = "{address}"\n') == (
        f'3: network.externip = "{address}": a private address, which the Internet cannot reach; '
        "expected that of the router in front of us"
    )


@pytest.mark.parametrize("address", ["203.0.113.7", "172.32.0.1", "2001:db8::1", "127.0.0.1"])
def test_other_external_addresses_are_no_problem(address: str) -> None:
    assert told(f'[network]\nexternip = "{address}"\n') == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('externip = "0.0.0.0"', "that others can send to"),
        ('externip = "224.0.0.5"', "that others can send to"),
        ('externip = "203.0.113.7:99999"', 'externip = "203.0.113.7:99999": expected a port from 1 to 65535'),
        ('localnet = ["0.0.0.0"]', 'localnet[1] = "0.0.0.0": expected 0.0.0.0/0 if everybody is meant'),
        ('localnet = ["192.168.0.0/255.255.0.255"]', "expected a network as ADDRESS/LENGTH or ADDRESS/MASK"),
        ('localnet = ["192.168.1.7/24"]', "expected the network's first address; it is 192.168.1.0/24"),
        ('localnet = "192.168.1.0/24"', 'such as 192.168.0.0/16; did you mean ["192.168.1.0/24"]?'),
    ],
)
def test_addresses_and_networks_of_no_use_are_refused(line: str, says: str) -> None:
    assert says in error(f"[network]\n{line}\n")


def test_everybody_local_is_warned_of() -> None:
    assert "nobody is told our address outside" in warning('[network]\nlocalnet = ["auto", "0.0.0.0/0"]\n')


# -- keys without effect --


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (TRUNK + "qualifyfreq = 30\n", "6: trunk[hq].qualifyfreq = 30: of use with qualify only"),
        (
            TRUNK + "qualify = 120000\n",
            "6: trunk[hq].qualify = 120000: these are milliseconds, and SIP waits 32 s for an answer (timer F): it is"
            " never lagged",
        ),
        (TRUNK + 'directmedia = "yes"\nnat = ["comedia"]\n', 'goes through the gateway all the same, as nat has "com'),
        (TRUNK + 'directmediapermit = ["10.0.0.0/8"]\n', "directmediapermit = "),
        (
            TRUNK + 'directmedia = "yes"\ndirectmediadeny = ["10.0.0.0/8"]\ndirectmediapermit = ["10.0.0.0/8"]\n',
            '7: trunk[hq].directmediadeny[1] = "10.0.0.0/8": permitted all the same',
        ),
        ("[sip]\ndirectrtpsetup = true\n" + TRUNK, "3: sip.directrtpsetup = true: of use with directmedia"),
        ("[media]\nrtp_ports = [20000, 20007]\n" + TRUNK, "room for calls at once: 2, of four ports each"),
        (ROUTE + 'require = ["secure_signalling"]\n', 'no call can have it: "tls:[::]:5061", say, is not among listen'),
    ],
)
def test_what_has_no_effect_is_warned_of(body: str, says: str) -> None:
    assert says in warning(body)


@pytest.mark.parametrize(
    "body",
    [
        TRUNK + "qualify = true\nqualifyfreq = 30\n",
        TRUNK + "qualify = 32000\n",
        TRUNK + 'directmedia = "nonat"\nnat = ["auto_comedia"]\ndirectmediadeny = ["10.0.0.0/8"]\n',
        "[sip]\ndirectrtpsetup = true\n" + TRUNK + 'directmedia = "yes"\n',
        "[media]\nrtp_ports = [20000, 20039]\n" + TRUNK,
        "[media]\nrtp_ports = [20000, 20001]\n",
    ],
)
def test_what_has_its_effect_is_no_problem(body: str) -> None:
    assert told(body) == []


# -- TLS --


def tls(authority: Authority, keys: str, body: str = "", ca: str = "ca.crt") -> list[str]:
    text = 'schema = 1\n[sip]\nlisten = ["udp:[::]:5060", "tls:[::]:5061"]\ntls_certificate = "box.crt"\n'
    text += f'tls_key = "box.key"\n{keys}' + (f'tls_ca = "{ca}"\n' if ca else "") + body
    found = check(text, authority.directory / "b.toml")
    # Those of the tests last a month only.
    return [str(problem).partition(".toml:")[2] for problem in found if "ends in" not in problem.text]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path)
    made.issue("box", days=200)
    return made


def test_box_certificate_in_the_place_of_its_ca_is_warned_of(authority: Authority) -> None:
    (found,) = [line for line in tls(authority, "", ca="box.crt") if "did not sign" not in line]
    assert (
        found
        == '6: warning: sip.tls_ca = "box.crt": expected the certificate of a CA; this one signs no others, '
        + ("so nobody but itself is trusted")
    )
    assert tls(authority, "") == []


def test_public_cas_are_no_bouncers(authority: Authority) -> None:
    (found,) = tls(authority, 'tls_verify_client = "required"\n', ca="")
    assert found.startswith("2: warning: sip.tls_ca: missing; any certificate of a public CA lets its owner connect")
    assert tls(authority, 'tls_verify_client = "required"\n') == []


def test_trunk_without_any_list_of_cas_is_warned_of(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = NAMED + 'transport = "tls"\n'
    (authority.directory / "empty").mkdir()
    for place in (None, str(authority.directory / "empty"), "/nowhere"):
        nowhere = SimpleNamespace(cafile=None, capath=place)
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda nowhere=nowhere: nowhere)
        (found,) = tls(authority, "", trunk, ca="")
        assert found.startswith("2: warning: sip.tls_ca: missing; this host has no list of public CAs")
    somewhere = SimpleNamespace(cafile=None, capath=str(authority.directory))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: somewhere)
    assert tls(authority, "", trunk, ca="") == []
    assert tls(authority, "", trunk) == []
    assert tls(authority, "", trunk + "tls_verify = false\n")[0].startswith("12: warning: trunk[hq].tls_verify")


def test_secure_media_that_nobody_has_is_warned_of(authority: Authority) -> None:
    body = NAMED + 'transport = "tls"\n' + ROUTE + 'require = ["secure_signalling", "secure_media"]\n'
    (found,) = tls(authority, "", body)
    assert 'require[2] = "secure_media": no call can have it: media_encryption of all trunks' in found
    assert tls(authority, "", body.replace('"tls"\n', '"tls"\nmedia_encryption = "optional"\n')) == []


def test_encrypted_voice_goes_through_the_gateway(authority: Authority) -> None:
    trunk = NAMED + 'transport = "tls"\nmedia_encryption = "required"\ndirectmedia = "yes"\n'
    (found,) = tls(authority, "", trunk)
    assert "goes through the gateway all the same, as its voice is encrypted" in found


# -- words of other systems --


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('[sip]\nexternip = "203.0.113.7"\n', "3: sip.externip: unknown key; it belongs into [network]"),
        ('[sip]\nnat = ["comedia"]\n', "3: sip.nat: unknown key; it belongs into [[trunk]] and [[phone]]"),
        ("tls_ca = 'x'\n", "2: tls_ca: unknown key; it belongs into [sip]"),
        (PHONE + "register = true\n", "5: phone[desk].register: unknown key; it belongs into [[trunk]]"),
        (TRUNK + 'location = "site"\n', "6: trunk[hq].location: unknown key; it belongs into [[phone]]"),
        (TRUNK + 'username = "bob"\n', 'unknown key; it is "defaultuser" of a [[trunk]], "name" of a [[phone]]'),
        (TRUNK + "canreinvite = false\n", 'unknown key; it is "directmedia"'),
        (TRUNK + "Qualify = true\n", 'unknown key; did you mean "qualify"?'),
        ("[sip]\ntlsenable = true\n", 'such addresses stand in listen of [sip], as "tls:[::]:5061"'),
        ("[sip]\n\"tls-certificate\" = 'x'\n", 'did you mean "tls_certificate"?'),
        ("[sip]\ntlscertfile = 'x'\n", 'it is "tls_certificate" of [sip]'),
        (TRUNK + "encryption = true\n", 'it is "media_encryption"'),
        (TRUNK + 'nat = "yes"\n', 'did you mean ["force_rport", "comedia"]?'),
        (TRUNK + 'nat = ["comedai"]\n', 'auto_force_rport, auto_comedia; did you mean "comedia"?'),
        (TRUNK + 'allow = ["pcmu"]\n', 'did you mean "ulaw"?'),
        (TRUNK + 'allow = "ulaw, alaw"\n', 'did you mean ["ulaw", "alaw"]?'),
        (TRUNK + 'insecure = "port,invite"\n', 'did you mean ["port", "invite"]?'),
        (TRUNK + 'media_encryption = "sdes"\n', 'did you mean "required"?'),
        (TRUNK.replace("192", "sip:192"), "without the sip: before it"),
        (TRUNK.replace("192.0.2.10", "SIPS:h.example.org"), "without the SIPS: before it"),
        ('[sip]\nlisten = "udp:[::]:5060"\n', 'did you mean ["udp:[::]:5060"]?'),
    ],
)
def test_word_of_another_system_or_place_says_ours(body: str, says: str) -> None:
    assert says in error(body)


def test_no_word_of_another_system_is_one_of_ours_in_its_place() -> None:
    for body, key in ((TRUNK, "username"), ("[sip]\n", "tlsenable"), (PHONE, "canreinvite"), ("[network]\n", "domain")):
        assert "unknown key; " in error(f"{body}{key} = 1\n")
