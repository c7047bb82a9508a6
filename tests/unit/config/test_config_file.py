"""Reading configuration files: what a good one becomes, and that every mistake is named with its place."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from gateway.cause import Cause
from gateway.config import ConfigError, Configuration, Problem, Severity, check, load, parse
from gateway.config.file import MAX_FILE
from gateway.config.model import (
    MEDIA_CODECS,
    CodecName,
    OverlapDial,
    SwitchType,
    Technology,
)
from gateway.config.problems import MAX_PROBLEMS
from gateway.config.values import CallerId, Listen, PeerHost, PortRange, Transport, VirtualChannels
from gateway.core import SECOND
from gateway.media.api import Codec, Law
from gateway.pri.channels import Line
from gateway.pri.lapd import Side
from gateway.voip.sip.encryption import MediaEncryption
from gateway.voip.sip.peers import DtmfMode, Reliability, SessionTimers
from gateway.voip.sip.timers import SipTimer

PATH = Path("/etc/bg/branch.toml")
EXAMPLE = Path(__file__).parents[3] / "examples" / "branch.toml"

SPAN = '[[span]]\nname = "pstn"\nchannels = "virtual:/run/bg/pstn"\nline = "e1"\n'
TRUNK = '[[trunk]]\nname = "hq"\ntechnology = "sip"\nhost = "192.0.2.10"\n'
PHONE = '[[phone]]\nname = "desk"\nhost = "192.0.2.20"\n'
ROUTE = '[[route]]\ncontext = "in"\nmatch = "_X."\nto = ["echo"]\n'


def problems(text: str, path: Path = PATH) -> list[str]:
    return [str(problem) for problem in check(text, path)]


def errors(body: str) -> list[str]:
    """The errors of a body on line 2 and on, without the file's name."""
    found = check("schema = 1\n" + body, PATH)
    return [str(p).removeprefix(f"{PATH}:") for p in found if p.severity is Severity.ERROR]


def warnings(body: str) -> list[str]:
    found = check("schema = 1\n" + body, PATH)
    return [str(p).removeprefix(f"{PATH}:") for p in found if p.severity is Severity.WARNING]


def good(body: str) -> Configuration:
    return parse("schema = 1\n" + body, PATH)


def test_smallest_file_is_the_schema_alone() -> None:
    configuration = parse("schema = 1", PATH)
    assert configuration.gateway.country == "us"
    assert configuration.gateway.run_dir == Path("/run/branch-gateway")
    assert configuration.gateway.records_path == Path("/run/branch-gateway/calls.jsonl")
    assert configuration.media_control == Path("/run/branch-gateway/media.sock")
    assert configuration.media.prompts == Path("/etc/bg/prompts")
    assert [str(listen) for listen in configuration.sip.listen] == ["udp:[::]:5060", "tcp:[::]:5060"]
    assert configuration.sip.context == "default"
    assert configuration.warnings == ()


def test_example_in_the_repository_passes_without_a_word() -> None:
    configuration = load(EXAMPLE)
    assert configuration.warnings == ()
    assert [span.name for span in configuration.spans] == ["pstn"]
    assert [trunk.name for trunk in configuration.trunks] == ["hq"]
    assert [phone.name for phone in configuration.phones] == ["reception", "workshop"]


def test_every_section_is_read_into_types() -> None:
    configuration = good(
        """
[gateway]
name = "branch-042"
country = "de"
run_dir = "run"
records = "log/calls.jsonl"
records_megabytes = 2
records_files = 3
[media]
rtp_ports = [20000, 20999]
control = "run/m.sock"
prompts = "wav"
silence_ms = 1500
grace_seconds = 5
[sip]
listen = ["udp:[::]:5070", "tcp:[::1]:5071"]
context = "strangers"
useragent = "Box/1.0 (test)"
session_expires = 600
session_minse = 120
[[span]]
name = "pstn"
channels = "virtual:run/pstn"
line = "t1"
side = "network"
switch_type = "ni2"
group = ["g0", "gx"]
context = "in"
law = "alaw"
timeslots = "1-4,10"
overlapdial = "incoming"
nationalprefix = "1"
[[trunk]]
name = "hq"
technology = "sip"
host = "pbx.example.org:5080"
transport = "tcp"
defaultuser = "branch-042"
context = "in"
allow = ["ulaw", "alaw"]
disallow = ["alaw"]
dtmfmode = "info"
prack = "required"
session_timers = "originate"
[[phone]]
name = "desk"
host = "[2001:db8::20]:5062"
callerid = "Front desk <4165551200>"
[[route]]
context = "in"
match = "_9X."
to = ["pri:G0/{number:1}"]
ring_seconds = 30
[[route]]
context = "strangers"
match = "100"
to = ["sip:desk"]
[[cause]]
cause = "call_rejected"
to_sip = 603
from_sip = [608]
failover = true
tone = "busy"
"""
    )
    assert configuration.gateway.run_dir == Path("/etc/bg/run")
    assert configuration.gateway.records_path == Path("/etc/bg/log/calls.jsonl")
    assert configuration.media_control == Path("/etc/bg/run/m.sock")
    assert configuration.media.prompts == Path("/etc/bg/wav")
    assert configuration.media.rtp_ports == PortRange(20000, 20999)
    assert configuration.sip.listen[1] == Listen(Transport.TCP, ip_address("::1"), 5071)
    assert configuration.timers.sip == {SipTimer.REFRESH: 600 * SECOND, SipTimer.EXPIRY: 120 * SECOND}
    span = configuration.spans[0]
    assert (span.line, span.side, span.switch_type) == (Line.T1, Side.NETWORK, SwitchType.NI2)
    assert span.channels == VirtualChannels("/etc/bg/run/pstn")
    assert (span.group, span.b_channels, span.d_channel) == (("g0", "gx"), (1, 2, 3, 4, 10), 24)
    assert (span.companding, span.overlapdial, span.nationalprefix) == (Law.ALAW, OverlapDial.INCOMING, "1")
    trunk = configuration.trunks[0]
    assert trunk.technology is Technology.SIP
    assert trunk.host == PeerHost("pbx.example.org", 5080)
    assert (trunk.codecs, trunk.dtmfmode, trunk.prack) == ((Codec.ULAW,), DtmfMode.INFO, Reliability.REQUIRED)
    assert trunk.session_timers is SessionTimers.ORIGINATE
    phone = configuration.phones[0]
    assert str(phone.host) == "[2001:db8::20]:5062"
    assert phone.host.address == ip_address("2001:db8::20")
    assert phone.callerid == CallerId("Front desk", "4165551200")
    assert phone.media_encryption is MediaEncryption.NO
    assert configuration.routes[0].ring_seconds == 30
    rule = configuration.causes[0]
    assert (rule.cause, rule.to_sip, rule.from_sip) == (Cause.CALL_REJECTED, 603, (608,))
    assert (rule.failover, rule.tone) == (True, "busy")


def test_law_and_channels_follow_the_line() -> None:
    spans = good(SPAN + SPAN.replace("pstn", "t").replace("e1", "t1") + 'switch_type = "ni2"\n').spans
    assert (spans[0].companding, spans[0].b_channels) == (Law.ALAW, (*range(1, 16), *range(17, 32)))
    assert (spans[1].companding, spans[1].b_channels) == (Law.ULAW, tuple(range(1, 24)))


def test_codecs_keep_their_order_and_all_means_all() -> None:
    assert good(TRUNK).trunks[0].codecs == (Codec.ALAW, Codec.ULAW)
    assert set(good(TRUNK + 'allow = ["all"]\n').trunks[0].codecs) == set(MEDIA_CODECS.values())
    assert good(TRUNK + 'disallow = ["all"]\nallow = ["ulaw"]\n').trunks[0].codecs == (Codec.ULAW,)
    assert good(TRUNK + 'allow = ["g722", "ulaw"]\n').trunks[0].allow == (CodecName.G722, CodecName.ULAW)


# -- files --


def test_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path / "none.toml")
    assert str(raised.value) == f"{tmp_path}/none.toml:1: cannot be read: No such file or directory"


def test_directory_binary_and_endless_file_are_config_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'schema = 1\n[gateway]\nname = "caf\xe9"\n')
    with pytest.raises(ConfigError, match=r"latin\.toml:3: expected UTF-8"):
        load(tmp_path / "latin.toml")
    with pytest.raises(ConfigError, match="longer than"):
        load("/dev/zero")


def test_text_past_the_limit_is_refused() -> None:
    assert "longer than" in problems("#" * (MAX_FILE + 1))[0]


def test_syntax_error_names_its_line() -> None:
    assert problems("schema = 1\n\n[gateway\n") == [
        f"{PATH}:3: not TOML: Expected ']' at the end of a table declaration (at line 3, column 9)"
    ]


@pytest.mark.parametrize("text", ["a = " + "[" * 5000 + "]" * 5000, "a = " + "9" * 5000, "a = " + "{b=" * 3000])
def test_hostile_toml_is_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text, PATH)


def test_deep_nesting_is_refused_by_name() -> None:
    assert problems("schema = 1\nx = [[[[[[[[[[1]]]]]]]]]]\n") == [f"{PATH}:2: x: nested deeper than 8 levels"]


# -- mistakes --


def test_mistake_names_file_line_key_value_and_expectation() -> None:
    problem = check('schema = 1\n\n[media]\nsilence_ms = "long"\n', PATH)
    assert problem == [Problem(str(PATH), 4, "media.silence_ms", '"long"', "expected a whole number from 200 to 60000")]
    assert (
        str(problem[0]) == '/etc/bg/branch.toml:4: media.silence_ms = "long": expected a whole number from 200 to 60000'
    )


def test_all_mistakes_are_told_in_the_order_of_the_lines() -> None:
    text = TRUNK + 'transprot = "tcp"\n' + SPAN.replace("e1", "e2") + '[gateway]\nname = ""\ncountry = "usa"\n[wan]\n'
    assert errors(text) == [
        '6: trunk[hq].transprot: unknown key; did you mean "transport"?',
        '10: span[pstn].line = "e2": expected one of e1, t1; did you mean "e1"?',
        "12: gateway.name = \"\": expected a name of up to 64 letters, digits, '.', '_' and '-', "
        "not beginning with a mark",
        '13: gateway.country = "usa": expected a country as two small letters, such as us',
        "14: wan: unknown key; expected one of schema, gateway, network, media, sip, iax, timers, span, trunk, "
        "phone, route, cause",
    ]


def test_load_raises_all_errors_and_no_warning(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("schema = 1\n" + TRUNK + "allow = ['alaw', 'g729']\ncontext = 5\n" + PHONE + "secret = 5\n")
    with pytest.raises(ConfigError) as raised:
        load(file)
    assert [problem.line for problem in raised.value.problems] == [7, 11]
    assert len(str(raised.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ":1: schema: missing; expected schema = 1"),
        ("schema = 2", ":1: schema = 2: expected 1, the only one there is"),
        ("schema = true", ":1: schema = true: expected 1"),
        ('schema = "1"', ':1: schema = "1": expected 1'),
    ],
)
def test_schema_must_be_one(text: str, says: str) -> None:
    assert says in problems(text)[0]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        # shapes
        ("gateway = 5\n", "2: gateway = 5: expected a table"),
        ("span = 5\n", "2: span = 5: expected [[span]], with two brackets"),
        ("[span]\n", "2: span = {}: expected [[span]], with two brackets"),
        ("route = [1]\n", "2: route[1] = 1: expected a table"),
        ("[gateway]\nname = 5\n", "3: gateway.name = 5: expected a name"),
        ('[gateway]\nname = "a\\n"\n', '3: gateway.name = "a\\u000a": expected a name'),
        ("[gateway]\nrun_dir = 5\n", "3: gateway.run_dir = 5: expected a path"),
        ('[gateway]\ncountry = "zz"\n', '3: gateway.country = "zz": expected one of at, au,'),
        ("[gateway]\nrecords_files = 0\n", "3: gateway.records_files = 0: expected a whole number from 1 to 1000"),
        ("[gateway]\nrecords_files = true\n", "3: gateway.records_files = true: expected a whole number"),
        ("[gateway]\nrecords_files = 1.5\n", "3: gateway.records_files = 1.5: expected a whole number"),
        ("[gateway]\nname = 1979-05-27\n", "3: gateway.name = 1979-05-27: expected a name"),
        # network
        ('[network]\nlocalnet = ["10.0.0.1/8"]\n', "expected the network's first address; it is 10.0.0.0/8"),
        ('[network]\nlocalnet = ["auto", 5]\n', "3: network.localnet[2] = 5: expected a network as ADDRESS/LENGTH"),
        ('[network]\nlocalnet = "auto"\n', '3: network.localnet = "auto": expected a list'),
        ('[network]\nexternip = "pbx.example.org"\n', "a name goes into externhost"),
        # media
        ("[media]\nrtp_ports = [10000]\n", "3: media.rtp_ports = [10000]: expected [FIRST, LAST]"),
        ("[media]\nrtp_ports = [20000, 10000]\n", "expected [FIRST, LAST]"),
        ("[media]\nrtp_ports = [80, 10000]\n", "expected [FIRST, LAST] with ports from 1024"),
        ("[media]\nrtp_ports = [10001, 10002]\n", "room for at least one pair"),
        ("[media]\nrtp_ports = [true, 10002]\n", "expected [FIRST, LAST]"),
        ('[media]\nmedia_address = "host"\n', '3: media.media_address = "host": expected an IP address'),
        ('[media]\nmedia_address = "0.0.0.0"\n', "expected an address that peers can send voice to"),
        # sip
        ('[sip]\nlisten = ["5060"]\n', '3: sip.listen[1] = "5060": expected TRANSPORT:ADDRESS:PORT'),
        ('[sip]\nlisten = [\n"udp:[::]:5060",\n"udp::::5061",\n]\n', '5: sip.listen[2] = "udp::::5061": expected TRAN'),
        ('[sip]\nlisten = ["udp:0.0.0.0:99999"]\n', "expected a port from 1 to 65535"),
        ('[sip]\nlisten = ["udp:localhost:5060"]\n', "expected TRANSPORT:ADDRESS:PORT"),
        ("[sip]\nlisten = []\n" + PHONE, "3: sip.listen = []: expected at least one"),
        ('[sip]\nuseragent = "a\\u0007"\n', "expected 1 to 100 printable characters"),
        ("[sip]\nsession_expires = 100\nsession_minse = 200\n", "3: sip.session_expires = 100: expected at least"),
        ("[sip]\nsession_minse = 3000\n", "2: sip.session_expires: expected at least session_minse, which is 3000"),
        # span
        (SPAN.replace('line = "e1"\n', ""), "2: span[pstn].line: missing; expected one of e1, t1"),
        (SPAN.replace('"virtual:/run/bg/pstn"', '"/run/bg/pstn"'), "expected virtual:DIRECTORY or dahdi:SPAN"),
        (SPAN.replace("/run/bg/pstn", "/" + "x" * 104), "expected socket paths of at most 107 bytes"),
        (SPAN + 'group = "0"\n', 'expected a group that begins with g, such as "g0"'),
        (SPAN + 'group = ["g0", "g0"]\n', "expected each group once"),
        (SPAN + 'timeslots = "1-16"\n', "expected B channels of e1; the D channel is on 16"),
        (SPAN + 'timeslots = "5,1"\n', "expected timeslots from 1 to 31, ascending"),
        (SPAN + 'nationalprefix = "a"\n', "expected up to 8 digits, * or #"),
        (SPAN + 'side = "users"\n', 'expected one of user, network; did you mean "user"?'),
        # trunks and phones
        (TRUNK.replace("192.0.2.10", "192.0.2.300"), "expected an address or a name"),
        (TRUNK.replace("192.0.2.10", "a b"), "expected an address or a name"),
        (TRUNK.replace("192.0.2.10", "host:0"), "expected a port from 1 to 65535"),
        (TRUNK + 'allow = ["alaw", "g711"]\n', '6: trunk[hq].allow[2] = "g711": expected one of alaw, ulaw'),
        (TRUNK + 'disallow = ["alaw", "ulaw"]\n', "expected to leave a codec of allow"),
        (TRUNK + 'disallow = ["all"]\n', "expected allow beside it"),
        (TRUNK + 'allow = ["g729"]\n', "expected one of ulaw, alaw, g722, opus, slin16 among them"),
        (
            TRUNK + 'dtmfmode = "rfc2838"\n',
            '6: trunk[hq].dtmfmode = "rfc2838": expected one of rfc4733, info, inband, auto',
        ),
        (TRUNK + 'dtmfmode = "rfc2838"\n', '; did you mean "rfc2833"?'),
        (TRUNK + "dtmfmode = 4733\n", "6: trunk[hq].dtmfmode = 4733: expected one of rfc4733, info"),
        (TRUNK + 'diversion = "yes"\n', "expected one of none, diversion, history-info, both"),
        (
            SPAN + 'pridialplan = "natonal"\n',
            "expected one of unknown, international, national, local, dynamic; did you",
        ),
        (SPAN + "prilocaldialplan = []\n", "6: span[pstn].prilocaldialplan = []: expected one of unknown"),
        (TRUNK + "qualify = 0\n", "expected milliseconds from 1 to 600000, true (2000) or false"),
        (PHONE + 'callerid = "Front <x>"\n', 'expected "NAME <NUMBER>"'),
        (PHONE + 'defaultuser = "x"\n', "unknown key"),
        # routes
        (ROUTE.replace("_X.", "_X.X"), 'match = "_X.X": expected a number or an Asterisk pattern'),
        (ROUTE.replace("_X.", "_[12"), "found a [ without its ]"),
        (ROUTE.replace('to = ["echo"]\n', ""), "2: route[1].to: missing; expected a list of at least one destination"),
        (ROUTE.replace('match = "_X."\n', ""), "2: route[1]: expected match and to, or include"),
        (ROUTE + 'include = ["in"]\n', "expected either include, or match and to"),
        (ROUTE + 'require = ["secure"]\n', "expected one of secure_signalling, secure_media"),
        (ROUTE + "ring_seconds = 0\n", "expected a whole number from 1 to 3600"),
        (ROUTE.replace('"echo"', '"eco"'), '5: route[1].to[1] = "eco": expected one of pri:GROUP/NUMBER'),
        (ROUTE.replace('"echo"', "5"), "5: route[1].to[1] = 5: expected one of pri:GROUP/NUMBER"),
        # causes
        ("[[cause]]\ncause = 0\n", "3: cause[1].cause = 0: expected a Q.850 cause number that is defined"),
        ('[[cause]]\ncause = "bussy"\n', "expected a Q.850 cause by number or name"),
        ("[[cause]]\ncause = 17\n", "2: cause[1]: expected to_sip, from_sip, failover or tone beside the cause"),
        ("[[cause]]\ncause = 17\nto_sip = 200\n", "expected a whole number from 400 to 699"),
        (
            "[[cause]]\ncause = 17\nfrom_sip = [480, 200]\n",
            "4: cause[1].from_sip[2] = 200: expected a whole number from 300",
        ),
        ('[[cause]]\ncause = 17\ntone = "bsy"\n', 'did you mean "busy"?'),
    ],
)
def test_wrong_value_says_what_was_expected(body: str, says: str) -> None:
    found = errors(body)
    assert any(says in error for error in found), found


def test_secret_is_never_shown() -> None:
    for secret in ('"swordfish\\t"', "{ file = 5, swordfish = 1 }", '["swordfish"]'):
        found = errors(TRUNK + f"secret = {secret}\n")
        assert found
        assert "swordfish" not in "".join(found)
    for key in ("secret", "secrte", "password"):
        assert "swordfish" not in repr(check(f'schema = 1\n{key} = "swordfish"', PATH))


def test_long_and_odd_values_are_shown_short() -> None:
    found = errors('[gateway]\nname = "' + "x" * 500 + '"\n')
    assert len(found[0]) < 250
    assert "…" in found[0]
    assert "a very large number" in errors("[gateway]\nrecords_files = 0x" + "f" * 4000 + "\n")[0]
    assert 'gateway."a b": unknown key' in errors('[gateway]\n"a b" = 1\n')[0]


def test_number_of_problems_has_a_limit_and_warnings_do_not_hide_errors() -> None:
    many = "".join(
        TRUNK.replace("hq", f"t{n}").replace(".10", f".{n}") + "allow = ['alaw', 'g729']\n" for n in range(120)
    )
    text = "schema = 1\n" + many + "x = 1\n"
    found = check(text, PATH)
    assert sum(problem.severity is Severity.WARNING for problem in found) == MAX_PROBLEMS
    assert sum(problem.severity is Severity.ERROR for problem in found) == 1
    with pytest.raises(ConfigError):
        parse(text, PATH)
    *told, last = check("schema = 1\n" + "".join(f"x{n} = 1\n" for n in range(300)), PATH)
    assert len(told) == MAX_PROBLEMS
    assert str(last) == f"{PATH}:{MAX_PROBLEMS + 1}: and 200 errors more"
