"""Checks across sections, what is not there yet, and timers."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import Severity, check, parse
from gateway.config.file import MAX_DEPTH
from gateway.config.timers import SIP_ROWS
from gateway.core import MILLISECOND, SECOND
from gateway.pri.lapd import LAPD_TIMERS, LapdTimer
from gateway.pri.q931.timers import USER_TIMERS, Q931Timer
from gateway.voip.sip.timers import SipTimer

PATH = Path("/etc/bg/branch.toml")
SPAN = '[[span]]\nname = "pstn"\nchannels = "virtual:/run/bg/pstn"\nline = "e1"\n'
TRUNK = '[[trunk]]\nname = "hq"\ntechnology = "sip"\nhost = "192.0.2.10"\n'
PHONE = '[[phone]]\nname = "desk"\nhost = "192.0.2.20"\n'


def route(to: str, context: str = "in", match: str = "_X.") -> str:
    return f'[[route]]\ncontext = "{context}"\nmatch = "{match}"\nto = ["{to}"]\n'


def include(context: str, *names: str) -> str:
    return f'[[route]]\ncontext = "{context}"\ninclude = [{", ".join(map(repr, names))}]\n'


def told(body: str, severity: Severity = Severity.ERROR, path: Path = PATH) -> list[str]:
    found = check("schema = 1\n" + body, path)
    return [str(problem).removeprefix(f"{path}:") for problem in found if problem.severity is severity]


# -- names --


def test_same_name_twice_names_both_lines() -> None:
    assert told(SPAN + SPAN.replace("bg/pstn", "bg/other")) == [
        '7: span[pstn].name = "pstn": expected a name of its own; line 3 has the same'
    ]


def test_trunks_and_phones_share_their_names() -> None:
    assert told(TRUNK + PHONE.replace("desk", "hq")) == [
        '7: phone[hq].name = "hq": expected a name of its own; line 3 has the same'
    ]


def test_two_spans_on_one_directory_are_refused() -> None:
    assert told(SPAN + SPAN.replace('"pstn"', '"two"')) == [
        '8: span[two].channels = "virtual:/run/bg/pstn": expected channels of its own; line 4 has the same'
    ]


def test_two_peers_at_one_address_are_refused_and_another_port_is_not() -> None:
    found = told(TRUNK + PHONE.replace("192.0.2.20", "192.0.2.10:5060"))
    assert found == [
        '8: phone[desk].host = "192.0.2.10:5060": expected an address of its own, as calls from it belong to one peer; '
        "line 5 has it"
    ]
    assert told(TRUNK + PHONE.replace("192.0.2.20", "192.0.2.10:5062")) == []


@pytest.mark.parametrize(
    ("listen", "collides"),
    [
        (["udp:[::]:5060", "tcp:[::]:5060"], False),
        (["udp:[::]:5060", "udp:[::]:5060"], True),
        (["udp:[::]:5060", "udp:192.0.2.1:5060"], True),
        (["udp:0.0.0.0:5060", "udp:192.0.2.1:5060"], True),
        (["udp:0.0.0.0:5060", "udp:[::1]:5060"], False),
        (["udp:192.0.2.1:5060", "udp:192.0.2.2:5060"], False),
        (["udp:192.0.2.1:5060", "udp:192.0.2.1:5061"], False),
    ],
)
def test_listening_points_must_not_collide(listen: list[str], collides: bool) -> None:
    found = told(f"[sip]\nlisten = {listen}\n")
    assert any("expected a port of its own" in error for error in found) is collides
    assert bool(found) is collides


def test_sip_port_inside_the_rtp_range_is_refused() -> None:
    assert told('[sip]\nlisten = ["udp:[::]:10500", "tcp:[::]:10500"]\n') == [
        '3: sip.listen[1] = "udp:[::]:10500": expected a port outside rtp_ports, 10000 to 19999'
    ]


def test_too_few_rtp_ports_are_a_warning() -> None:
    body = "[media]\nrtp_ports = [10000, 10019]\n" + SPAN
    assert told(body) == []
    assert "room for 60 ports" in told(body, Severity.WARNING)[0]


def test_missing_certificate_is_refused_and_a_present_one_taken(tmp_path: Path) -> None:
    body = '[sip]\ntls_certificate = "certs/gateway.pem"\n'
    file = tmp_path / "b.toml"
    assert told(body, path=file) == [
        f'3: sip.tls_certificate = "certs/gateway.pem": expected a file; there is none at {tmp_path}/certs/gateway.pem'
    ]
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "gateway.pem").touch()
    assert told(body, path=file) == []


def test_long_runtime_directory_is_refused() -> None:
    assert "at most 107 bytes" in told(f'[gateway]\nrun_dir = "/{"x" * 100}"\n')[0]
    assert "3: media.control" in told(f'[media]\ncontrol = "/{"x" * 107}"\n')[0]


def test_longest_channel_directory_is_taken() -> None:
    longest = "/" + "x" * (107 - 1 - len("/line"))
    assert told(SPAN.replace("/run/bg/pstn", longest)) == []
    assert told(SPAN.replace("/run/bg/pstn", longest + "x")) != []


def test_relative_channel_directory_counts_from_the_file() -> None:
    deep = Path("/" + "d" * 90) / "b.toml"
    assert "at most 107 bytes" in told(SPAN.replace("/run/bg/pstn", "pstn/channels"), path=deep)[0]


# -- contexts and routes --


def test_context_without_routes_is_refused_wherever_it_stands() -> None:
    for body, where in (
        (SPAN + 'context = "inn"\n', "6: span[pstn]"),
        (TRUNK + 'context = "inn"\n', "6: trunk[hq]"),
        (PHONE + 'context = "inn"\n', "5: phone[desk]"),
        ('[sip]\ncontext = "inn"\n', "3: sip"),
    ):
        assert told(body + route("echo")) == [
            f'{where}.context = "inn": expected a context that has a [[route]]; there is no \'inn\'; did you mean "in"?'
        ]


def test_default_context_needs_no_routes() -> None:
    assert told(SPAN + TRUNK + PHONE) == []


@pytest.mark.parametrize(
    ("to", "says"),
    [
        ("pri:g1/{number}", "expected the group of a [[span]]; there is no 'g1'; did you mean \"g0\"?"),
        ("sip:hp/{number}", "expected a [[trunk]] or [[phone]]; there is no 'hp'; did you mean \"hq\"?"),
        ("sip:hq", "expected sip:hq/NUMBER, as it is a trunk"),
        ("sip:desk/{number}", "expected sip:desk without a number, as it is a phone"),
        ("sip:nobody", "expected a [[trunk]] or [[phone]]; there is no 'nobody'"),
        ("iax2:hq/{number}", "expected sip:hq/NUMBER, as its technology is sip"),
        ("iax2:hp/{number}", "expected a [[trunk]] of technology iax2; there is no 'hp'"),
        ("play:closed", "expected a prompt; there is no file /etc/bg/prompts/closed.wav"),
        ("tone:bussy", 'did you mean "busy"?'),
        ("goto:im/{number}", "expected a context that has a [[route]]; there is no 'im'"),
    ],
)
def test_route_to_what_is_not_there_is_refused(to: str, says: str) -> None:
    found = told(SPAN + TRUNK + PHONE + route(to))
    assert len(found) == 1
    assert f'16: route[1].to[1] = "{to}": ' in found[0]
    assert says in found[0]


def test_route_to_an_entry_with_a_mistake_is_not_told_twice() -> None:
    found = told(TRUNK + "qualify = -1\n" + SPAN.replace("e1", "e9") + route("sip:hq/1") + route("pri:g0/1", match="1"))
    assert [error.partition(":")[0] for error in found] == ["6", "10"]


def test_prompt_that_is_there_is_found(tmp_path: Path) -> None:
    (tmp_path / "prompts" / "en").mkdir(parents=True)
    (tmp_path / "prompts" / "en" / "closed.wav").write_bytes(b"RIFF\0\0\0\0WAVEfmt ")
    assert told(route("play:en/closed") + route("play:en/closed.wav", match="1"), path=tmp_path / "b.toml") == []


def test_prompt_that_is_no_wav_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "closed.wav").write_bytes(b"ID3 an MP3 by another name")
    found = told(route("play:closed"), path=tmp_path / "b.toml")
    assert [error.partition("; ")[2] for error in found] == [f"{tmp_path}/prompts/closed.wav is no WAV file"]


def test_unknown_include_is_refused() -> None:
    assert told(include("in", "emergncy") + route("echo", "emergency")) == [
        "4: route[1].include[1] = \"emergncy\": expected a context that has a [[route]]; there is no 'emergncy'; "
        'did you mean "emergency"?'
    ]


def test_circle_of_includes_is_shown() -> None:
    assert told(include("a", "b") + include("b", "c") + include("c", "a")) == [
        '10: route[3].include[1] = "a": expected no circle of includes; found a -> b -> c -> a'
    ]
    assert told(include("a", "a"))[0].endswith("found a -> a")


def test_context_included_twice_by_different_ways_is_no_circle() -> None:
    assert told(include("a", "b", "c") + include("b", "d") + include("c", "d") + route("echo", "d")) == []


def test_long_chain_of_includes_is_no_recursion() -> None:
    body = "".join(include(f"c{n}", f"c{n + 1}") for n in range(3000)) + route("echo", "c3000")
    assert told(body) == []


def test_second_route_with_the_same_pattern_is_warned_of() -> None:
    body = route("echo", match="_5X") + route("milliwatt", match="_5[0-9]") + route("echo", "other", "_5X")
    assert told(body) == []
    assert told(body, Severity.WARNING) == [
        '8: warning: route[2].match = "_5[0-9]": never used: line 4 has the same pattern in context in'
    ]


def test_destination_after_a_reject_is_warned_of() -> None:
    body = '[[route]]\ncontext = "in"\nmatch = "1"\nto = ["reject:17", "echo"]\n'
    assert told(body, Severity.WARNING) == [
        '5: warning: route[1].to[1] = "reject:17": the destinations after it are never tried'
    ]


def test_too_many_destinations_are_refused() -> None:
    assert told(route("echo").replace('["echo"]', str(["echo"] * 65)))[0].endswith("expected at most 64 destinations")


def test_same_cause_or_status_in_two_rules_is_refused() -> None:
    rule = "[[cause]]\ncause = {}\nfrom_sip = [{}]\n"
    assert len(told(rule.format(17, 480) + rule.format('"user_busy"', 481))) == 1
    assert len(told(rule.format(17, 480) + rule.format(18, 480))) == 1
    assert told(rule.format(17, 480) + rule.format(18, 481)) == []


# -- registration --


def test_who_registers_needs_a_secret() -> None:
    phone = PHONE.replace('host = "192.0.2.20"\n', "")
    trunk = TRUNK.replace("192.0.2.10", "dynamic")
    assert told(phone) == [
        "2: phone[desk].secret: expected a secret, as anybody could register as this phone; "
        "or its fixed address as host"
    ]
    assert told(trunk)[0].startswith("2: trunk[hq].secret: expected a secret, as anybody could register as this trunk")
    assert not [line for line in told(phone + 'secret = "x"\n') if "anybody" in line or ".host" in line]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("minexpiry = 600\nmaxexpiry = 300\n", "4: sip.maxexpiry = 300: expected at least minexpiry, which is 600"),
        ("defaultexpiry = 30\n", "3: sip.defaultexpiry = 30: expected a time from minexpiry to maxexpiry, 60 to 3600"),
        ("natexpiry = 90\nmaxexpiry = 80\n", "3: sip.natexpiry = 90: expected at most maxexpiry, which is 80"),
        ("minexpiry = 5\n", "3: sip.minexpiry = 5: expected a whole number from 10 to 86400"),
    ],
)
def test_expiries_that_do_not_go_together_are_refused(body: str, says: str) -> None:
    assert told("[sip]\n" + body) == [says]


def test_expiries_that_are_left_out_follow_those_that_are_set() -> None:
    assert told("[sip]\nminexpiry = 300\nmaxexpiry = 400\n") == []


def test_state_directory_is_no_file() -> None:
    assert told('[gateway]\nstate_dir = "/etc/passwd"\n') == [
        '3: gateway.state_dir = "/etc/passwd": expected a directory, or a path where one can be made; there is a file'
    ]


# -- encrypted voice --


def test_keys_do_not_go_over_clear_signalling() -> None:
    assert told(TRUNK + 'media_encryption = "required"\n') == [
        '6: trunk[hq].media_encryption = "required": expected transport = "tls" beside it; '
        "the keys would be sent in the clear"
    ]
    assert told(TRUNK + 'media_encryption = "optional"\n', Severity.WARNING) == [
        '6: warning: trunk[hq].media_encryption = "optional": no keys are offered without transport = "tls"; '
        "the voice is in the clear"
    ]
    for mode in ("no", "optional"):
        assert told(TRUNK + f'media_encryption = "{mode}"\n') == []
    found = told(TRUNK + 'media_encryption = "required"\ntransport = "tls"\n')
    assert not [line for line in found if "media_encryption" in line]


@pytest.mark.parametrize("ptime", [0, 5, 25, 70])
def test_packets_have_a_length_that_is_sent(ptime: int) -> None:
    assert told(TRUNK + f"ptime = {ptime}\n") == [
        f"6: trunk[hq].ptime = {ptime}: expected milliseconds of a packet: 10, 20, 30, 40, 50 or 60"
    ]
    assert told(TRUNK + "ptime = 30\n") == []


# -- not yet --


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (SPAN.replace("virtual:/run/bg/pstn", "dahdi:1"), "4: span[pstn].channels"),
        (SPAN + 'switch_type = "qsig"\n', "6: span[pstn].switch_type"),
        (PHONE + 'location = "remote"\n', "5: phone[desk].location"),
    ],
)
def test_what_would_be_dangerous_to_ignore_is_an_error(body: str, says: str) -> None:
    found = told(body)
    assert len(found) == 1
    assert found[0].startswith(says)
    assert "not yet: " in found[0]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (TRUNK + 'allow = ["alaw", "g729"]\n', "6: warning: trunk[hq].allow[2]"),
    ],
)
def test_what_is_harmless_to_ignore_is_a_warning(body: str, says: str) -> None:
    assert told(body) == []
    found = told(body, Severity.WARNING)
    assert len(found) == 1
    assert found[0].startswith(says)
    assert [str(problem).removeprefix(f"{PATH}:") for problem in parse("schema = 1\n" + body, PATH).warnings] == found


@pytest.mark.parametrize(
    "body",
    [
        TRUNK + "qualify = false\nregister = false\nmedia_encryption = 'no'\ndirectmedia = 'no'\n",
        PHONE + 'nat = ["no"]\nlocation = "site"\n',
        '[network]\nwan = "auto"\nexternip = "none"\nlocalnet = ["auto"]\nexternrefresh = 300\n',
        TRUNK + 'insecure = ["invite", "port"]\n',
    ],
)
def test_saying_what_holds_anyway_is_no_problem(body: str) -> None:
    assert check("schema = 1\n" + body, PATH) == []


# -- timers --


def test_timers_are_read_with_their_units() -> None:
    timers = parse(
        """schema = 1
[timers.q921]
T200_ms = 1500
N200 = 5
k = 3
[timers.q931]
T303_seconds = 6
T308_seconds = 2.5
[timers.sip]
T1_ms = 250
idle_seconds = 60
""",
        PATH,
    ).timers
    assert timers.q921 == {LapdTimer.T200: 1500 * MILLISECOND, LapdTimer.N200: 5, LapdTimer.K: 3}
    assert timers.q931 == {Q931Timer.T303: 6 * SECOND, Q931Timer.T308: 2500 * MILLISECOND}
    assert timers.sip == {SipTimer.T1: 250 * MILLISECOND, SipTimer.IDLE: 60 * SECOND}


def test_span_has_timers_of_its_own() -> None:
    span = parse("schema = 1\n" + SPAN + "[span.timers.q931]\nT309_seconds = 30\n", PATH).spans[0]
    assert span.timers.q931 == {Q931Timer.T309: 30 * SECOND}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("[timers]\nq932 = {}\n", '3: timers.q932: unknown key; did you mean "q931"?'),
        ("[timers]\nq931 = 5\n", "3: timers.q931 = 5: expected a table"),
        ("timers = 5\n", "2: timers = 5: expected a table"),
        ("[timers.q931]\nT303 = 4\n", "3: timers.q931.T303: unknown key; did you mean"),
        ("[timers.q931]\nT303_seconds = 0.01\n", "expected 100 ms to 3600 s (Q.931 table 9-2, 5.1.1)"),
        ('[timers.q931]\nT303_seconds = "4"\n', '3: timers.q931.T303_seconds = "4": expected 100 ms to 3600 s'),
        ("[timers.q931]\nT303_seconds = nan\n", "T303_seconds = nan: expected 100 ms"),
        ("[timers.q931]\nT303_seconds = true\n", "T303_seconds = true: expected 100 ms"),
        ("[timers.q931]\nT303_seconds = 0x" + "f" * 400 + "\n", "a very large number: expected"),
        ("[timers.q931]\nT303_seconds = 4\nT303_ms = 4000\n", "4: timers.q931.T303_ms = 4000: expected one unit only"),
        ("[timers.q921]\nN200 = 2.0\n", "expected a whole number from 1 to 20 (Q.921 5.9.2)"),
        ("[timers.q921]\nT203_ms = 500\n", "2: timers.q921: T203 is 500000, expected more than T200"),
        ("[timers.q931]\nT317_seconds = 200\n", "expected less than T316"),
        ("[timers.sip]\nT2_ms = 100\n", "expected at least T1"),
        (SPAN + "[span.timers.sip]\nT1_ms = 100\n", "6: span[pstn].timers.sip: unknown key"),
        (SPAN + "[span.timers.q931]\nT317_seconds = 200\n", "6: span[pstn].timers.q931: T317"),
        (SPAN + "timers = [1]\n", "6: span[pstn].timers = [1]: expected a table"),
    ],
)
def test_wrong_timer_says_what_was_expected(body: str, says: str) -> None:
    found = told(body)
    assert any(says in error for error in found), found


def test_span_timers_are_checked_together_with_the_general_ones() -> None:
    body = "[timers.q931]\nT316_seconds = 20\nT317_seconds = 10\n" + SPAN + "[span.timers.q931]\nT317_seconds = 15\n"
    assert told(body) == []
    assert told(body.replace("= 15", "= 25")) != []


def test_every_row_of_every_protocol_can_be_set_at_its_default() -> None:
    lines = ["schema = 1"]
    for section, rows in (("q921", LAPD_TIMERS), ("q931", USER_TIMERS), ("sip", SIP_ROWS)):
        lines.append(f"[timers.{section}]")
        for key, row in rows.items():
            name = row.name if " " not in row.name and "(" not in row.name else key.name.lower()
            if row.maximum < 10 * MILLISECOND:
                lines.append(f"{name} = {row.default}")
            else:
                lines.append(f"{name}_ms = {row.default / MILLISECOND:g}")
    timers = parse("\n".join(lines), PATH).timers
    assert timers.q921 == {key: row.default for key, row in LAPD_TIMERS.items()}
    assert timers.q931 == {key: row.default for key, row in USER_TIMERS.items()}
    assert timers.sip == {key: row.default for key, row in SIP_ROWS.items()}


def test_our_own_tables_fit_in_the_depth_limit() -> None:
    assert check("schema = 1\n" + SPAN + "timers = { q931 = { T303_seconds = 4 } }\n", PATH) == []
    assert MAX_DEPTH >= 4
