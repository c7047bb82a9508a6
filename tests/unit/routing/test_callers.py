"""``callerid`` stands for what a peer says of itself, but not for its wish to stay unknown."""

from __future__ import annotations

from pathlib import Path

from gateway.config import parse
from gateway.identity import Number, Party, Presentation
from gateway.leg import Offered, Setup
from gateway.routing.callers import CallerIds

CALLERS = CallerIds(
    parse(
        """schema = 1
[[phone]]
name = "desk"
host = "192.0.2.20"
callerid = "Front desk <4165551200>"
[[phone]]
name = "bare"
host = "192.0.2.21"
callerid = "4165551201"
[[phone]]
name = "plain"
host = "192.0.2.22"
""",
        Path("x.toml"),
    )
)


def offered(source: str, caller: Party) -> Offered:
    return Offered(Setup(Number("911"), caller), "internal", source)


def test_callerid_replaces_number_and_name() -> None:
    caller = CALLERS.applied(offered("desk", Party(Number("666"), "Mallory"))).setup.caller
    assert caller == Party(Number("4165551200"), "Front desk")


def test_callerid_without_name_shows_none() -> None:
    assert CALLERS.applied(offered("bare", Party(name="Mallory"))).setup.caller == Party(Number("4165551201"))


def test_restriction_by_the_caller_stays() -> None:
    said = Party(Number("1", presentation=Presentation.RESTRICTED), "X", Presentation.RESTRICTED)
    caller = CALLERS.applied(offered("desk", said)).setup.caller
    assert caller.number == Number("4165551200", presentation=Presentation.RESTRICTED)
    assert caller.name_presentation is Presentation.RESTRICTED


def test_peer_without_callerid_speaks_for_itself() -> None:
    call = offered("plain", Party(Number("1")))
    assert CALLERS.applied(call) is call
