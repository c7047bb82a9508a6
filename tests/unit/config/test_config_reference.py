"""docs/configuration.md names every key of the file, every country, tone and timer, and no key that is not there."""

from __future__ import annotations

import re
import tomllib
from enum import Enum
from pathlib import Path

import msgspec

from gateway.config import parse
from gateway.config.model import (
    CauseRule,
    Configuration,
    GatewaySection,
    IaxSection,
    IaxTrunk,
    MediaSection,
    NetworkSection,
    Phone,
    Route,
    SipSection,
    Span,
    Trunk,
)
from gateway.config.timers import SIP_ROWS, timer_name
from gateway.config.values import Listen, PortRange, Qualify
from gateway.media.tones import COUNTRIES, TONE_NAMES
from gateway.pri.lapd import LAPD_TIMERS
from gateway.pri.q931.timers import USER_TIMERS
from gateway.routing.failover import NEXT_WAY
from gateway.voip.iax.timers import TIMERS as IAX_TIMERS

TEXT = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
SECTIONS: dict[str, tuple[type, ...]] = {
    "[gateway]": (GatewaySection,),
    "[network]": (NetworkSection,),
    "[media]": (MediaSection,),
    "[sip]": (SipSection,),
    "[iax]": (IaxSection,),
    "[[span]]": (Span,),
    "[[trunk]]` and `[[phone]]": (Trunk, Phone),
    "[[trunk]]` over `IAX2": (IaxTrunk,),
    "[[route]]": (Route,),
    "[[cause]]": (CauseRule,),
}


def section(title: str) -> str:
    return TEXT.split(f"## `{title}`\n", 1)[1].split("\n## ", 1)[0]


def test_tables_name_exactly_the_keys_of_the_model() -> None:
    for title, structs in SECTIONS.items():
        table = section(title).split("\n### ", 1)[0]
        rows = re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE)
        told = {key for row in rows for key in re.findall(r"`(\w+)`", row)}
        fields = {name for struct in structs for name in getattr(struct, "__struct_fields__", ())} - {"line"}
        if title == "[[span]]":
            fields.add("line")
        assert told == fields, title


def plain(value: object) -> object:
    """A default of the model as TOML would write it."""
    match value:
        case Enum():
            return value.value
        case PortRange(first, last):
            return [first, last]
        case Qualify(milliseconds):
            return milliseconds or False
        case Path() | Listen():
            return str(value)
        case tuple() | frozenset():
            return [plain(item) for item in value]
    return value


def test_defaults_told_are_those_of_the_model() -> None:
    compared = 0
    for title, structs in SECTIONS.items():
        defaults = {field.name: plain(field.default) for struct in structs for field in msgspec.structs.fields(struct)}
        table = section(title).split("\n### ", 1)[0]
        for keys, cell in re.findall(r"^\| (`[^|]*`) \| (`[^|]*`) \|", table, re.MULTILINE):
            names, values = re.findall(r"`(\w+)`", keys), re.findall(r"`([^`]*)`", cell)
            if len(values) not in (1, len(names)) or re.sub(r"`[^`]*`", "", cell).strip(", "):
                continue
            for index, name in enumerate(names):
                told = tomllib.loads(f"x = {values[index % len(values)]}")["x"]
                # What is None follows something else, which the page says in its place.
                if defaults[name] is not None:
                    assert defaults[name] in (told, [told]), f"{title} {name}"
                    compared += 1
    assert compared > 60


def test_every_country_tone_and_timer_is_named() -> None:
    assert (
        set(re.findall(r"\b[a-z]{2}\b", section("[gateway]").split("emergency numbers. ")[1].split(" |")[0]))
        == COUNTRIES
    )
    assert all(f"`{name}`" in section("[[route]]") for name in TONE_NAMES)
    timers = section("[timers]")
    names = [timer_name(key, row) for key, row in LAPD_TIMERS.items()]
    names += [timer_name(key, row) for key, row in USER_TIMERS.items()]
    names += [timer_name(key, row) for key, row in SIP_ROWS.items()]
    names += [timer_name(key, row) for key, row in IAX_TIMERS.items()]
    assert [name for name in names if f"`{name}`" not in timers and not re.fullmatch("[A-M]", name)] == []


def test_causes_that_let_the_next_destination_be_tried_are_those_told() -> None:
    told = {2, 3, 6, 20, 27, 49, 50, 57, 58, 63, 65, 66, 69, 70, 79, 81, 82, 91}
    told |= {int(cause) for cause in NEXT_WAY if 34 <= cause < 49 and cause != 40}
    told |= {int(cause) for cause in NEXT_WAY if cause >= 95}
    assert {int(cause) for cause in NEXT_WAY} == told
    assert "2, 3, 6, 20, 27, the 30s and 40s from 34" in TEXT


def test_file_of_the_page_s_last_example_is_good() -> None:
    example = TEXT.rsplit("```toml\n", 1)[1].split("```", 1)[0]
    assert isinstance(parse("schema = 1\n" + example, Path("x.toml")), Configuration)
