from __future__ import annotations

import msgspec
import pytest

from gateway.identity import Number, Presentation, Redirection, RedirectionReason, Screening, TypeOfNumber
from gateway.voip.sip.diversion import (
    CAUSE_OF_REASON,
    DIVERSION_OF_REASON,
    MAX_DIVERSIONS,
    REASON_OF_CAUSE,
    REASON_OF_DIVERSION,
    diversion_fields,
    history_fields,
    redirection_of,
)
from gateway.voip.sip.identity import IdentityRules
from gateway.voip.sip.message import Request
from gateway.voip.sip.uri import Uri

TRUNK = IdentityRules("gw.example.com", trusted=True)
STRANGER = IdentityRules("gw.example.com")
TARGET = Uri.parse("sip:300@pbx.example.com;transport=tcp")


def invite(*fields: tuple[str, str]) -> Request:
    return Request("INVITE", "sip:1@h", fields)


def diverted(*values: str) -> Redirection | None:
    return redirection_of(invite(*[("Diversion", value) for value in values]))


def history(*values: str) -> Redirection | None:
    return redirection_of(invite(("History-Info", ", ".join(values))))


@pytest.mark.parametrize("reason", RedirectionReason)
def test_every_reason_goes_there_and_comes_back(reason: RedirectionReason) -> None:
    assert REASON_OF_DIVERSION[DIVERSION_OF_REASON[reason]] == reason
    assert REASON_OF_CAUSE[CAUSE_OF_REASON[reason]] == reason


@pytest.mark.parametrize(("word", "reason"), REASON_OF_DIVERSION.items())
def test_diversion_reasons(word: str, reason: RedirectionReason) -> None:
    found = diverted(f"<sip:100@h>;reason={word}")
    assert found is not None and found.reason == reason


def test_one_diversion() -> None:
    assert diverted('"Desk" <sip:+12125550100@h>;reason="User-Busy";screen=yes;privacy=off') == Redirection(
        Number("12125550100", TypeOfNumber.INTERNATIONAL, screening=Screening.NETWORK),
        RedirectionReason.BUSY,
        1,
        None,
        RedirectionReason.UNKNOWN,
        "Desk",
    )


def test_several_diversions_the_last_one_first() -> None:
    found = diverted("<sip:3@h>;reason=no-answer, <sip:2@h>;reason=away;counter=2", "<sip:1@h>;reason=user-busy")
    assert found == Redirection(Number("3"), RedirectionReason.NO_REPLY, 4, Number("1"), RedirectionReason.BUSY)


def test_counter_tells_of_diversions_nobody_named() -> None:
    found = diverted("<sip:3@h>;reason=no-answer;counter=3")
    assert found is not None and found.count == 3
    assert found.original is None
    assert diverted("<sip:3@h>;counter=x") == Redirection(Number("3"))


def test_counter_has_a_limit() -> None:
    found = diverted("<sip:3@h>;counter=200", "<sip:2@h>;counter=200")
    assert found is not None and found.count == MAX_DIVERSIONS


def test_hidden_diverter() -> None:
    found = diverted('"Desk" <sip:100@h>;privacy=full')
    assert found is not None
    assert found.number == Number("100", presentation=Presentation.RESTRICTED)
    assert found.name is None
    anonymous = diverted("<sip:anonymous@anonymous.invalid>")
    assert anonymous is not None and anonymous.number == Number(presentation=Presentation.RESTRICTED)


def test_diverter_without_a_number_still_counts() -> None:
    found = diverted("<sip:alice@h>;reason=user-busy")
    assert found is not None and found.reason == RedirectionReason.BUSY
    assert found.number.presentation == Presentation.NOT_AVAILABLE


@pytest.mark.parametrize("value", ['"open <sip:1@h>', "<sip:1@h>;;", ""])
def test_broken_diversion_is_as_if_absent(value: str) -> None:
    assert diverted(value) is None
    assert redirection_of(invite()) is None


def test_history_with_cause_parameters() -> None:
    found = history(
        "<sip:1@h>;index=1",
        "<sip:2@h;cause=486>;index=1.1;mp=1",
        "<sip:2@192.0.2.1>;index=1.1.1;rc=1.1",
        "<sip:3@h;cause=408>;index=1.2;mp=1.1",
    )
    assert found == Redirection(Number("2"), RedirectionReason.NO_REPLY, 2, Number("1"), RedirectionReason.BUSY)


def test_history_the_old_way() -> None:
    found = history(
        "<sip:+12125550100@h?Reason=SIP%3Bcause%3D302%3Btext%3D%22Moved%22>;index=1",
        "<sip:2@h>;index=1.1",
    )
    assert found == Redirection(Number("12125550100", TypeOfNumber.INTERNATIONAL), RedirectionReason.UNCONDITIONAL, 1)


def test_history_of_mere_routing_is_no_diversion() -> None:
    assert history("<sip:1@h>;index=1", "<sip:1@192.0.2.1>;index=1.1;rc=1") is None
    assert history("<sip:1@h>;index=1") is None


def test_history_mapped_without_cause_is_a_diversion_for_reasons_unknown() -> None:
    found = history("<sip:1@h>;index=1", "<sip:2@h>;index=1.1;mp=1")
    assert found == Redirection(Number("1"), RedirectionReason.UNKNOWN, 1)


def test_history_privacy() -> None:
    values = ("<sip:1@h?Privacy=history>;index=1", "<sip:2@h;cause=302>;index=1.1;mp=1")
    found = history(*values)
    assert found is not None and found.number.presentation == Presentation.RESTRICTED
    found = redirection_of(
        invite(
            ("History-Info", values[0].replace("?Privacy=history", "")),
            ("History-Info", values[1]),
            ("Privacy", "history"),
        )
    )
    assert found is not None and found.number.presentation == Presentation.RESTRICTED


@pytest.mark.parametrize(
    "value",
    [
        "<sip:1@h>;index=1, <bad>;index=1.1;mp=9",
        "<sip:1@h",
        "<bad>;index=1, <worse;cause=x>;index=1.1;mp=1",
        "<sip:1@h?Reason=SIP%3Bcause%3Dx>, <sip:2@h>",
    ],
)
def test_broken_history_raises_nothing(value: str) -> None:
    redirection_of(invite(("History-Info", value)))


def test_diversion_goes_before_history() -> None:
    found = redirection_of(
        invite(
            ("History-Info", "<sip:1@h>;index=1, <sip:2@h;cause=302>;index=1.1;mp=1"),
            ("Diversion", "<sip:9@h>;reason=user-busy"),
        )
    )
    assert found is not None and found.number == Number("9")


LAST = Number("2", screening=Screening.NETWORK)
TWICE = Redirection(LAST, RedirectionReason.NO_REPLY, 3, Number("1"), RedirectionReason.BUSY, "Desk")


def test_diversion_is_written() -> None:
    assert diversion_fields(TWICE, TRUNK) == (
        ("Diversion", '"Desk" <sip:2@gw.example.com>;reason=no-answer;privacy=off;screen=yes;counter=2'),
        ("Diversion", "<sip:1@gw.example.com>;reason=user-busy;privacy=off;screen=no;counter=1"),
    )
    assert diversion_fields(Redirection(LAST), TRUNK) == (
        ("Diversion", "<sip:2@gw.example.com>;reason=unknown;privacy=off;screen=yes;counter=1"),
    )


def test_history_is_written() -> None:
    assert history_fields(TWICE, TARGET, TRUNK) == (
        (
            "History-Info",
            "<sip:1@gw.example.com>;index=1, "
            # The third of three, of whom only the number is known.
            "<sip:unknown@unknown.invalid;cause=486>;index=1.1;mp=1, "
            '"Desk" <sip:2@gw.example.com;cause=404>;index=1.1.1;mp=1.1, '
            "<sip:300@pbx.example.com;transport=tcp;cause=408>;index=1.1.1.1;mp=1.1.1",
        ),
    )


def test_first_diverter_is_written_only_if_it_is_another() -> None:
    for redirection in (
        Redirection(LAST, count=1, original=Number("1")),
        Redirection(LAST, count=2, original=Number("2")),
        Redirection(LAST, count=2),
    ):
        (diversion,) = diversion_fields(redirection, TRUNK)
        assert diversion[1].endswith(f"counter={redirection.count}")
        history = history_fields(redirection, TARGET, TRUNK)[0][1]
        assert history.count("index=") == redirection.count + 1
        assert history.count("unknown.invalid") == redirection.count - 1


def test_hidden_diverter_is_told_to_a_trunk_only() -> None:
    hidden = Redirection(Number("100", presentation=Presentation.RESTRICTED), name="Desk")
    assert diversion_fields(hidden, TRUNK)[0][1].startswith("<sip:100@gw.example.com>;reason=unknown;privacy=full")
    assert history_fields(hidden, TARGET, TRUNK)[0][1].startswith("<sip:100@gw.example.com?Privacy=history>;index=1,")
    for fields in (diversion_fields(hidden, STRANGER), history_fields(hidden, TARGET, STRANGER)):
        assert "100" not in fields[0][1] and "Desk" not in fields[0][1]
        assert "anonymous@anonymous.invalid" in fields[0][1]


def test_what_is_written_is_read_back() -> None:
    for redirection in (TWICE, Redirection(LAST, RedirectionReason.BUSY, 1, name="Desk")):
        assert redirection_of(invite(*diversion_fields(redirection, TRUNK))) == redirection
        # History-Info says nothing of screening.
        read = msgspec.structs.replace(redirection, number=Number("2"))
        assert redirection_of(invite(*history_fields(redirection, TARGET, TRUNK))) == read


def test_of_both_headers_the_one_that_tells_of_more_diversions_counts() -> None:
    once, thrice = Redirection(Number("9"), RedirectionReason.BUSY), TWICE
    diversion, history = diversion_fields(once, TRUNK), history_fields(thrice, TARGET, TRUNK)
    assert redirection_of(invite(*diversion, *history)) == msgspec.structs.replace(thrice, number=Number("2"))
    diversion, history = diversion_fields(thrice, TRUNK), history_fields(once, TARGET, TRUNK)
    assert redirection_of(invite(*diversion, *history)) == thrice
    # As many: Diversion, which says more of each.
    diversion = diversion_fields(once, TRUNK)
    history = history_fields(Redirection(Number("8")), TARGET, TRUNK)
    assert redirection_of(invite(*diversion, *history)) == once
