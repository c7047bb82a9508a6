"""Each word of the configuration arrives at the part that it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.assembly import cause_rules, pri_settings, sip_settings, span_directory
from gateway.cause import Cause
from gateway.config import Configuration, parse
from gateway.core import MILLISECOND, SECOND
from gateway.identity import TypeOfNumber
from gateway.media.api import Law
from gateway.pri.channels import Line
from gateway.pri.lapd import LapdTimer, Side
from gateway.pri.q931.timers import Q931Timer
from gateway.pri.settings import PriSettings
from gateway.voip.sip.hop import Listener
from gateway.voip.sip.peers import (
    DtmfMode,
    PeerKind,
    PeerSettings,
    RedirectionHeader,
    Reliability,
    SessionTimers,
    SipSettings,
)
from gateway.voip.sip.timers import SipTimer

ROUTES = '[[route]]\ncontext = "c"\nmatch = "1"\nto = ["echo"]\n'


def configured(text: str) -> Configuration:
    return parse(f"schema = 1\n{text}\n{ROUTES}", Path("branch.toml"))


def span(**keys: str) -> PriSettings:
    values = {"name": '"s"', "channels": '"virtual:/spans/s"', "line": '"e1"', "context": '"c"', **keys}
    configuration = configured("[[span]]\n" + "\n".join(f"{key} = {value}" for key, value in values.items()))
    return pri_settings(configuration.spans[0], configuration)


def peer(section: str = "trunk", **keys: str) -> PeerSettings:
    values = {"name": '"p"', "host": '"192.0.2.1"', "context": '"c"', **keys}
    if section == "trunk":
        values["technology"] = '"sip"'
    text = f"[[{section}]]\n" + "\n".join(f"{key} = {value}" for key, value in values.items())
    return sip_settings(configured(text)).peers[0]


@pytest.mark.parametrize(
    ("keys", "field", "value"),
    [
        ({}, "name", "s"),
        ({}, "context", "c"),
        ({"line": '"t1"', "switch_type": '"ni2"'}, "line", Line.T1),
        ({"line": '"t1"', "switch_type": '"ni2"'}, "companding", Law.ULAW),
        ({"law": '"ulaw"'}, "companding", Law.ULAW),
        ({"side": '"network"'}, "side", Side.NETWORK),
        ({"switch_type": '"ni2"', "line": '"t1"'}, "switch_type", "ni2"),
        ({"timeslots": '"1-3"'}, "timeslots", (1, 2, 3)),
        ({"overlapdial": '"incoming"'}, "overlap_receive", True),
        ({"overlapdial": '"incoming"'}, "overlap_send", False),
        ({"overlapdial": '"outgoing"'}, "overlap_send", True),
        ({"overlapdial": '"both"'}, "overlap_receive", True),
        ({"pridialplan": '"national"'}, "numbering.called_type", TypeOfNumber.NATIONAL),
        ({"prilocaldialplan": '"local"'}, "numbering.calling_type", TypeOfNumber.SUBSCRIBER),
        ({"pridialplan": '"dynamic"'}, "numbering.called_type", None),
        ({"internationalprefix": '"011"'}, "numbering.international_prefix", "011"),
        ({"nationalprefix": '"1"'}, "numbering.national_prefix", "1"),
        ({"timers.q931.T303_seconds": "6"}, "q931_timers", {Q931Timer.T303: 6 * SECOND}),
        ({"timers.q921.T200_ms": "700"}, "lapd_timers", {LapdTimer.T200: 700 * MILLISECOND}),
    ],
)
def test_words_of_a_span(keys: dict[str, str], field: str, value: object) -> None:
    found: Any = span(**keys)
    for name in field.split("."):
        found = getattr(found, name)
    assert found == value


def test_channels_of_a_span_are_files_of_its_directory() -> None:
    assert span().channel_path(17) == "/spans/s/17"
    configuration = configured('[[span]]\nname = "s"\nchannels = "virtual:rel"\nline = "e1"\ncontext = "c"')
    assert span_directory(configuration.spans[0]).name == "rel"


def test_a_spans_timers_stand_over_the_general_ones() -> None:
    text = (
        "[timers.q921]\nT200_ms = 500\nT203_seconds = 20\n"
        '[[span]]\nname = "s"\nchannels = "virtual:/s"\nline = "e1"\ncontext = "c"\ntimers.q921.T200_ms = 800\n'
    )
    configuration = configured(text)
    timers = pri_settings(configuration.spans[0], configuration).lapd_timers
    assert timers == {LapdTimer.T200: 800 * MILLISECOND, LapdTimer.T203: 20 * SECOND}


@pytest.mark.parametrize(
    ("keys", "field", "value"),
    [
        ({}, "name", "p"),
        ({}, "host", "192.0.2.1"),
        ({}, "port", 5060),
        ({"host": '"192.0.2.1:5080"'}, "port", 5080),
        ({"host": '"pbx.example.org"'}, "host", "pbx.example.org"),
        ({"transport": '"tcp"'}, "transport", "TCP"),
        ({}, "kind", PeerKind.TRUNK),
        ({}, "context", "c"),
        ({}, "dtmfmode", DtmfMode.RFC4733),
        ({"dtmfmode": '"rfc2833"'}, "dtmfmode", DtmfMode.RFC4733),
        ({"dtmfmode": '"info"'}, "dtmfmode", DtmfMode.INFO),
        ({"dtmfmode": '"inband"'}, "dtmfmode", DtmfMode.INBAND),
        ({}, "match_port", True),
        ({"insecure": '["port"]'}, "match_port", False),
        ({}, "trust_identity", False),
        ({"trustrpid": "true"}, "trust_identity", True),
        ({"prack": '"no"'}, "reliable", Reliability.OFF),
        ({"prack": '"required"'}, "reliable", Reliability.REQUIRED),
        ({}, "session_timers", SessionTimers.ORIGINATE),
        ({"session_timers": '"accept"'}, "session_timers", SessionTimers.ACCEPT),
        ({"session_timers": '"refuse"'}, "session_timers", SessionTimers.REFUSE),
        ({"diversion": '"history-info"'}, "redirection", RedirectionHeader.HISTORY_INFO),
        ({"diversion": '"none"'}, "redirection", RedirectionHeader.NONE),
        ({"diversion": '"both"'}, "redirection", RedirectionHeader.BOTH),
        ({"plus": "false"}, "style.plus", False),
    ],
)
def test_words_of_a_trunk(keys: dict[str, str], field: str, value: object) -> None:
    found: Any = peer(**keys)
    for name in field.split("."):
        found = getattr(found, name)
    assert found == value


def test_codecs_are_offered_in_the_order_of_allow_without_those_of_disallow() -> None:
    def names(**keys: str) -> list[str]:
        return [row.codec.name for row in peer(**keys).codecs]

    assert names() == ["ALAW", "ULAW"]
    assert names(allow='["ulaw", "alaw"]') == ["ULAW", "ALAW"]
    assert names(allow='["ulaw", "alaw"]', disallow='["alaw"]') == ["ULAW"]


def test_a_phone_is_called_by_its_name() -> None:
    phone = peer("phone")
    assert (phone.kind, phone.user) == (PeerKind.PHONE, "p")


def test_words_of_the_sip_section() -> None:
    text = (
        '[sip]\nlisten = ["udp:[::]:5070", "tcp:127.0.0.1:5071"]\ncontext = "c"\nuseragent = "Box 1"\n'
        "session_expires = 600\nsession_minse = 120\n[timers.sip]\nT1_ms = 250\n"
    )
    settings: SipSettings = sip_settings(configured(text))
    assert settings.listeners == (Listener("UDP", "::", 5070), Listener("TCP", "127.0.0.1", 5071))
    assert (settings.context, settings.user_agent) == ("c", "Box 1")
    assert settings.timers == {
        SipTimer.T1: 250 * MILLISECOND,
        SipTimer.REFRESH: 600 * SECOND,
        SipTimer.EXPIRY: 120 * SECOND,
    }


def test_strangers_have_no_context_where_it_has_no_routes() -> None:
    assert sip_settings(configured('[sip]\ncontext = "default"\n')).context is None


def test_cause_rules() -> None:
    text = '[[cause]]\ncause = 17\nto_sip = 600\nfrom_sip = [480]\nfailover = true\ntone = "congestion"\n'
    rules = cause_rules(configured(text))
    busy = Cause.USER_BUSY
    assert (rules.to_sip, rules.from_sip) == ({busy: 600}, {480: busy})
    assert (rules.failover, rules.tone) == ({busy: True}, {busy: "congestion"})
