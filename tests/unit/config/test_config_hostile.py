"""Files as a customer in a hurry writes them: ``gateway --check`` refuses each in clear lines, never a traceback."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.main import main
from tests.unit.config.test_config_file import EXAMPLE, PHONE, ROUTE, SPAN, TRUNK

HEAD = "schema = 1\n"
IN = SPAN + 'context = "in"\n'


def route(match: str = "_X.", to: str = "echo") -> str:
    return f'[[route]]\ncontext = "in"\nmatch = "{match}"\nto = ["{to}"]\n'


def checked(path: Path) -> Result:
    return CliRunner().invoke(main, ["--check", str(path)])


def refused(path: Path, text: str | bytes) -> list[str]:
    """The lines about ``text``, without the file's name."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    result = checked(path)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    lines = result.output.splitlines()
    assert lines
    for line in lines:
        assert re.match(rf"{re.escape(str(path))}:[1-9][0-9]*: .", line), line
        assert line.isprintable()
        assert len(line) < 1000
    return [line.removeprefix(f"{path}:") for line in lines]


# What a file says, and how the only line about it begins.
ONE_MISTAKE: list[tuple[str | bytes, str]] = [
    # the schema
    ("", "1: schema: missing; expected schema = 1"),
    (ROUTE, "1: schema: missing; expected schema = 1"),
    ("schema = 0\n", "1: schema = 0: expected 1"),
    ("schema = 2\n", "1: schema = 2: expected 1"),
    ("schema = 1.0\n", "1: schema = 1.0: expected 1"),
    ("schema = true\n", "1: schema = true: expected 1"),
    ('schema = "1"\n', '1: schema = "1": expected 1'),
    ("schema = [1]\n", "1: schema = [1]: expected 1"),
    # bytes
    (b"\xef\xbb\xbfschema = 1\n", "1: begins with a byte order mark; expected UTF-8 without one"),
    ((HEAD + ROUTE).encode("utf-16"), "1: expected UTF-8 text"),
    ((HEAD + '[gateway]\nname = "café"\n').encode("latin-1"), "3: expected UTF-8 text"),
    (HEAD.replace("\n", "\r"), "1: not TOML: "),
    (HEAD + '[gateway]\nname = "a\0b"\n', "3: not TOML: Illegal character '\\x00'"),
    (HEAD + '[gateway]\nname = "a\\u0000b"\n', '3: gateway.name = "a\\u0000b": expected a name'),
    (HEAD + "# " + "x" * 10_000_000, "1: longer than 8388608 bytes"),
    (bytes(range(128, 256)), "1: expected UTF-8 text"),
    # TOML
    (HEAD + '[gateway\nname = "x"\n', "2: not TOML: Expected ']'"),
    (HEAD + "[gateway]\nname = branch\n", "3: not TOML: Invalid value"),
    (HEAD + '[gateway]\nname = "abc\n', "3: not TOML: "),
    (HEAD + "[media]\nrtp_ports = [1 2]\n", "3: not TOML: "),
    (HEAD + "[gateway]\n[gateway]\n", "3: not TOML: Cannot declare gateway twice (at line 3"),
    (HEAD + "[a.b]\n[a.b]\n", "3: not TOML: Cannot declare a.b twice (at line 3"),
    (HEAD + '[gateway]\nname = "a"\nname = "b"\n', "4: not TOML: Cannot overwrite a value"),
    (HEAD + "x = " + "[" * 5000 + "]" * 5000 + "\n", "1: nested too deeply"),
    (HEAD + "\n[gateway]\nname = " + "[" * 20 + "]" * 20 + "\n", "3: gateway: nested deeper than 8 levels"),
    (HEAD + "a" + ".a" * 3000 + " = 1\n", "2: a: nested deeper than 8 levels"),
    # numbers
    (HEAD + "[gateway]\nrecords_files = " + "9" * 5000 + "\n", "3: a number of 5000 digits"),
    (HEAD + "[gateway]\nrecords_files = " + "9" * 400 + "\n", "3: gateway.records_files = a very large number: expect"),
    (HEAD + "[gateway]\nrecords_files = nan\n", "3: gateway.records_files = nan: expected a whole number from 1 to"),
    (HEAD + "[gateway]\nrecords_files = -1\n", "3: gateway.records_files = -1: expected a whole number from 1 to"),
    (HEAD + "[gateway]\nname = 1979-05-27\n", "3: gateway.name = 1979-05-27: expected a name"),
    # keys and tables
    (HEAD + "[[gateway]]\n", "2: gateway = [{}]: expected a table"),
    (HEAD + "media = 5\n", "2: media = 5: expected a table"),
    (HEAD + '[span]\nname = "x"\n', '2: span = { name = "x" }: expected [[span]], with two brackets'),
    (HEAD + "route = [1]\n", "2: route[1] = 1: expected a table"),
    (HEAD + "[foo]\n", "2: foo: unknown key; expected one of schema, gateway,"),
    (HEAD + "[sip]\nlisen = []\n", '3: sip.lisen: unknown key; did you mean "listen"?'),
    (HEAD + ROUTE + IN + "channel = 1\n", '11: span[pstn].channel: unknown key; did you mean "channels"?'),
    (HEAD + "[[phone]]\n", "2: phone[1].name: missing; expected a name"),
    (HEAD + PHONE.replace("desk", ""), '3: phone[1].name = "": expected a name'),
    # names
    (HEAD + TRUNK + PHONE.replace("desk", "hq"), '7: phone[hq].name = "hq": expected a name of its own; line 3 has'),
    (HEAD + TRUNK + PHONE.replace(".20", ".10"), '8: phone[desk].host = "192.0.2.10": expected an address of its own'),
    (HEAD + IN, '6: span[pstn].context = "in": expected a context that has a [[route]]; there is no'),
    (HEAD + IN + route(to="pri:g7/{number}"), '10: route[1].to[1] = "pri:g7/{number}": expected the group of a [[span'),
    (HEAD + route(to="sip:nobody/{number}"), '5: route[1].to[1] = "sip:nobody/{number}": expected a [[trunk]] or'),
    (HEAD + route(to="sip:nobody"), '5: route[1].to[1] = "sip:nobody": expected a [[trunk]] or [[phone]]; there is no'),
    (
        HEAD + route(to="goto:nowhere/1"),
        '5: route[1].to[1] = "goto:nowhere/1": expected a context that has a [[route]]',
    ),
    (HEAD + '[[route]]\ncontext = "a"\ninclude = ["b"]\n', '4: route[1].include[1] = "b": expected a context'),
    (HEAD + '[[route]]\ncontext = "a"\ninclude = ["a"]\n', '4: route[1].include[1] = "a": expected no circle of incl'),
    # routes: one complaint about one mistake
    (
        HEAD + route("_"),
        '4: route[1].match = "_": expected a number or an Asterisk pattern with a leading _, found nothing',
    ),
    (
        HEAD + route("_["),
        '4: route[1].match = "_[": expected a number or an Asterisk pattern with a leading _, found a [',
    ),
    (HEAD + route("_[9-1]"), '4: route[1].match = "_[9-1]": expected a number or an Asterisk pattern'),
    (HEAD + route("_X.."), '4: route[1].match = "_X..": expected a number or an Asterisk pattern'),
    (HEAD + route("_" + "X" * 300), '4: route[1].match = "_XXXX'),
    (HEAD + route().replace('"_X."', "911"), "4: route[1].match = 911: expected a number or an Asterisk pattern"),
    (HEAD + route().replace('["echo"]', '"echo"'), '5: route[1].to = "echo": expected a list, each item one of pri:'),
    (HEAD + route().replace('["echo"]', "[]"), "5: route[1].to: missing; expected a list of at least one destination"),
    (HEAD + route().replace('to = ["echo"]\n', ""), "2: route[1].to: missing; expected a list of at least one dest"),
    (HEAD + '[[route]]\ncontext = "a"\n', "2: route[1]: expected match and to, or include"),
    (HEAD + '[[route]]\ncontext = "a"\nto = ["echo"]\n', "2: route[1]: expected match and to, or include"),
    (HEAD + '[[route]]\ncontext = "a"\ninclude = "b"\n', '4: route[1].include = "b": expected a list, each item a n'),
    (HEAD + IN + route(to="pri:g0"), '10: route[1].to[1] = "pri:g0": expected pri:GROUP/NUMBER'),
    (HEAD + IN + route(to="pri:g0/{nummer}"), '10: route[1].to[1] = "pri:g0/{nummer}": {nummer} is no placeholder'),
    (HEAD + route(to="play:../../etc/passwd"), '5: route[1].to[1] = "play:../../etc/passwd": expected play:PROMPT w'),
    (HEAD + route(to="play:hello"), '5: route[1].to[1] = "play:hello": expected a prompt; there is no file'),
    (HEAD + route(to="reject:999"), '5: route[1].to[1] = "reject:999": expected a Q.850 cause'),
    (HEAD + route(to="iax2:a/1"), '5: route[1].to[1] = "iax2:a/1": expected a [[trunk]] of technology iax2; there'),
    # addresses and ports
    (
        HEAD + '[sip]\nlisten = []\n[[phone]]\nname = "desk"\nhost = "192.0.2.20"\n',
        "3: sip.listen = []: expected at least one TRANSPORT:ADDRESS:PORT",
    ),
    (HEAD + '[sip]\nlisten = "udp:[::]:5060"\n', '3: sip.listen = "udp:[::]:5060": expected a list, each item TRANSP'),
    (HEAD + '[sip]\nlisten = ["udp:[::]:0"]\n', '3: sip.listen[1] = "udp:[::]:0": expected a port from 1 to 65535'),
    (HEAD + '[sip]\nlisten = ["udp:[::]:-5"]\n', '3: sip.listen[1] = "udp:[::]:-5": expected a port from 1 to 65535'),
    (HEAD + '[sip]\nlisten = ["udp:[::]:65536"]\n', '3: sip.listen[1] = "udp:[::]:65536": expected a port from 1 t'),
    (HEAD + '[sip]\nlisten = ["udp:::1:5060"]\n', '3: sip.listen[1] = "udp:::1:5060": expected TRANSPORT:ADDRESS'),
    (HEAD + '[sip]\nlisten = ["udp:localhost:5060"]\n', '3: sip.listen[1] = "udp:localhost:5060": expected TRANSPOR'),
    (
        HEAD + '[sip]\nlisten = ["udp:[::]:5060", "udp:0.0.0.0:5060"]\n',
        '3: sip.listen[2] = "udp:0.0.0.0:5060": expected a port of its own; udp:[::]:5060 is on line 3',
    ),
    (HEAD + '[sip]\nlisten = ["udp:[::]:10010"]\n', '3: sip.listen[1] = "udp:[::]:10010": expected a port outside rt'),
    (HEAD + "[media]\nrtp_ports = [-1, 20]\n", "3: media.rtp_ports = [-1, 20]: expected [FIRST, LAST] with ports from"),
    (HEAD + "[media]\nrtp_ports = [20000, 10000]\n", "3: media.rtp_ports = [20000, 10000]: expected [FIRST, LAST]"),
    (HEAD + "[media]\nrtp_ports = []\n", "3: media.rtp_ports = []: expected [FIRST, LAST]"),
    (
        HEAD + '[network]\nlocalnet = ["192.168.1.5/24"]\n',
        '3: network.localnet[1] = "192.168.1.5/24": expected the net',
    ),
    (HEAD + '[network]\nlocalnet = ["10.0.0.0/255.0.255.0"]\n', '3: network.localnet[1] = "10.0.0.0/255.0.255.0": exp'),
    (HEAD + '[network]\nexternip = "300.1.2.3"\n', '3: network.externip = "300.1.2.3": expected "auto", "none" or an'),
    (HEAD + '[network]\nexternhost = "dynamic"\n', '3: network.externhost = "dynamic": expected a name, with ":PORT"'),
    (HEAD + TRUNK.replace("192.0.2.10", "1.2.3.400"), '5: trunk[hq].host = "1.2.3.400": expected an address or a na'),
    (HEAD + TRUNK.replace("192.0.2.10", "h:0"), '5: trunk[hq].host = "h:0": expected a port from 1 to 65535'),
    # spans
    (HEAD + ROUTE + IN.replace("/run/bg/pstn", "/" + "x" * 102), '8: span[pstn].channels = "virtual:/xx'),
    (HEAD + ROUTE + IN.replace("virtual:", "dahdi:"), '8: span[pstn].channels = "dahdi:/run/bg/pstn": expected virtu'),
    (
        HEAD + ROUTE + IN.replace("virtual:/run/bg/pstn", "dahdi:1"),
        '8: span[pstn].channels = "dahdi:1": not yet: cards',
    ),
    (HEAD + ROUTE + IN.replace('"e1"', '"e2"'), '9: span[pstn].line = "e2": expected one of e1, t1'),
    (
        HEAD + ROUTE + IN.replace('"e1"', '"t1"'),
        "6: span[pstn].switch_type: expected one of ni2, dms100, 5ess, 4ess, qsig on a t1 line; left out it is euro",
    ),
    (
        HEAD + ROUTE + IN.replace('"e1"', '"t1"') + 'switch_type = "euroisdn"\n',
        '11: span[pstn].switch_type = "euroisdn": expected one of ni2, dms100, 5ess, 4ess, qsig on a t1 line',
    ),
    (
        HEAD + ROUTE + IN + 'switch_type = "qsig"\n',
        '11: span[pstn].switch_type = "qsig": not yet: this switch type; ex',
    ),
    (
        HEAD + ROUTE + IN + IN.replace('"pstn"', '"b"').replace("/run/bg/pstn", "/run/bg/x/../pstn"),
        '13: span[b].channels = "virtual:/run/bg/pstn": expected channels of its own; line 8 has the same',
    ),
    (
        HEAD + ROUTE + IN + 'timeslots = "16"\n',
        '11: span[pstn].timeslots = "16": expected B channels of e1; the D chan',
    ),
    # peers
    (HEAD + TRUNK + "allow = []\n", "6: trunk[hq].allow = []: expected at least one codec"),
    (HEAD + TRUNK + 'allow = "alaw"\n', '6: trunk[hq].allow = "alaw": expected a list, each item one of alaw, ulaw'),
    (HEAD + TRUNK + "secret = 1234\n", "6: trunk[hq].secret = …: expected a string, or a file as"),
    (HEAD + TRUNK + 'secret = { path = "x" }\n', "6: trunk[hq].secret = …: expected a string, or a file as"),
    (
        HEAD + TRUNK + 'secret = { file = "/none" }\n',
        "6: trunk[hq].secret: expected a file that can be read; /none: No such",
    ),
    (HEAD + PHONE + 'callerid = "Ann <abc>"\n', '5: phone[desk].callerid = "Ann <abc>": expected "NAME <NUMBER>"'),
    (
        HEAD + PHONE.replace('host = "192.0.2.20"\n', ""),
        "2: phone[desk].secret: expected a secret, as anybody could",
    ),
    # files and directories
    (
        HEAD + '[sip]\ntls_certificate = "none.pem"\n',
        '3: sip.tls_certificate = "none.pem": expected a file; there is n',
    ),
    (HEAD + '[sip]\ntls_key = "' + "x" * 5000 + '"\n', '3: sip.tls_key = "xxxxxxxx'),
    (HEAD + '[sip]\ntls_key = "' + "x" * 500 + '"\n', '3: sip.tls_key = "xxxxxxxx'),
    (HEAD + '[sip]\ntls_ca = ""\n', '3: sip.tls_ca = "": expected a path'),
    (
        HEAD + '[gateway]\nrun_dir = "file.toml"\n',
        '3: gateway.run_dir = "file.toml": expected a directory, or a path w',
    ),
    (HEAD + '[gateway]\nrecords = "/"\n', '3: gateway.records = "/": expected a path for a file; / is a directory'),
    (HEAD + '[gateway]\nrun_dir = "/' + "x" * 120 + '"\n', '3: gateway.run_dir = "/xxxxx'),
    # the rest
    (HEAD + '[gateway]\ncountry = "xx"\n', '3: gateway.country = "xx": expected one of at, au,'),
    (HEAD + '[gateway]\ncountry = "US"\n', '3: gateway.country = "US": expected a country as two small letters'),
    (HEAD + "[timers.q931]\nT303_seconds = 4000\n", "3: timers.q931.T303_seconds = 4000: expected 100 ms to 3600 s ("),
    (HEAD + "[timers.q931]\nT303_ms = nan\n", "3: timers.q931.T303_ms = nan: expected 100 ms to 3600 s ("),
    (HEAD + "[[cause]]\ncause = 200\n", "3: cause[1].cause = 200: expected a Q.850 cause number that is defined"),
    (HEAD + "[timers.iax]\nping_ms = 5\n", "3: timers.iax.ping_ms = 5: expected 1 s to 300 s (RFC 5456 6.7.2)"),
]


@pytest.mark.parametrize(("text", "says"), ONE_MISTAKE, ids=[says.partition(": ")[2][:50] for _, says in ONE_MISTAKE])
def test_one_mistake_is_one_line(tmp_path: Path, text: str | bytes, says: str) -> None:
    (line,) = refused(tmp_path / "file.toml", text)
    assert line.startswith(says)


@pytest.mark.parametrize("section", ["gateway", "network", "media", "sip", "iax", "timers"])
@pytest.mark.parametrize("form", ["{} = 5\n", "[[{}]]\n", "[{}]\nfoo = 1\n", '{} = "x"\n', "{} = 1979-05-27\n"])
def test_section_of_another_form_is_named(tmp_path: Path, section: str, form: str) -> None:
    for line in refused(tmp_path / "file.toml", HEAD + form.format(section)):
        assert section in line


@pytest.mark.parametrize("section", ["span", "trunk", "phone", "route", "cause"])
@pytest.mark.parametrize("form", ["{} = 5\n", "[[{}]]\n", "[[{}]]\nfoo = 1\n", '{} = ["x"]\n', "[{}]\n", "{} = [[]]\n"])
def test_list_of_tables_of_another_form_is_named(tmp_path: Path, section: str, form: str) -> None:
    for line in refused(tmp_path / "file.toml", HEAD + form.format(section)):
        assert section in line


def test_several_mistakes_are_told_at_once_in_the_order_of_the_lines(tmp_path: Path) -> None:
    text = (
        HEAD + '[gateway]\ncountry = "xx"\n' + TRUNK + "qualify = -1\n" + PHONE + 'transport = "sctp"\n' + route("_[")
    )
    found = [line.partition(":")[0] for line in refused(tmp_path / "file.toml", text)]
    assert found == ["3", "8", "12", "15"]


def test_address_that_may_be_meant_with_a_port_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "file.toml"
    file.write_text(HEAD + TRUNK.replace("192.0.2.10", "2001:db8::1:5060"))
    result = checked(file)
    assert result.exit_code == 0
    assert result.output == (
        f'{file}:5: warning: trunk[hq].host = "2001:db8::1:5060": read as an address without a port; with a port it '
        "would be [ADDRESS]:PORT\n"
    )


@pytest.mark.parametrize("host", ["[2001:db8::1:5060]", "[2001:db8::5060]:5070", "2001:db8::1", "192.0.2.1:5060"])
def test_address_whose_port_is_plain_is_no_warning(tmp_path: Path, host: str) -> None:
    file = tmp_path / "file.toml"
    file.write_text(HEAD + TRUNK.replace("192.0.2.10", host))
    assert checked(file).output == ""


def test_carriage_returns_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "file.toml"
    file.write_bytes(EXAMPLE.read_bytes().replace(b"\n", b"\r\n"))
    assert (checked(file).exit_code, checked(file).output) == (0, "")


# -- the command itself --


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "expected --config FILE, --store DIR or --check FILE"),
        (["--check"], 2, "Option '--check' requires an argument"),
        (["--check", "a", "--config", "b"], 2, "expected --config FILE, --store DIR or --check FILE"),
        (["--chek", "a"], 2, "No such option '--chek'"),
        (["a"], 2, "unexpected extra argument (a)"),
        (["--check", "/nowhere/x"], 1, "/nowhere/x:1: cannot be read: No such file or directory"),
        (["--config", "/nowhere/x"], 1, "/nowhere/x:1: cannot be read: No such file or directory"),
        (["--check", "/"], 1, "/:1: cannot be read: Is a directory"),
        (["--config", "/"], 1, "/:1: cannot be read: Is a directory"),
        (["--check", str(EXAMPLE)], 0, ""),
        (["--help"], 0, "Exit status:"),
    ],
)
def test_arguments(arguments: list[str], code: int, says: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, says in result.output) == (code, True), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_what_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file.toml"
    file.write_text(HEAD + f'[gateway]\nrun_dir = "{tmp_path}/run"\n')
    result = CliRunner().invoke(main, ["--config", str(file), "--trace", "/nowhere/x"])
    assert (result.exit_code, result.output) == (1, "gateway: /nowhere/x: No such file or directory\n")
