from __future__ import annotations

import msgspec
import pytest

from gateway.identity import Number, NumberingPlan, Party, Presentation, Screening, TypeOfNumber
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.identity import (
    IdentityRules,
    asserted_fields,
    called_of,
    caller_fields,
    caller_of,
    connected_of,
    preferred_of,
    privacy_of,
)
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.telephone import NumberStyle, digits_of, number_of, uri_of, user_of
from gateway.voip.sip.uri import Uri
from gateway.voip.sip.values import NameAddr

TRUNK = IdentityRules("gw.example.com", trusted=True)
PHONE = IdentityRules("gw.example.com")
INTERNATIONAL = Number("12125550100", TypeOfNumber.INTERNATIONAL)
RESTRICTED = Presentation.RESTRICTED


def invite(sender: str, *fields: tuple[str, str], uri: str = "sip:200@gw") -> Request:
    return Request("INVITE", uri, [("From", f"{sender};tag=1"), ("To", "<sip:200@gw>"), *fields])


def number(digits: str, kind: TypeOfNumber = TypeOfNumber.UNKNOWN, *rest: int) -> Number:
    presentation, screening = rest or (0, 0)
    return Number(digits, kind, NumberingPlan.ISDN, Presentation(presentation), Screening(screening))


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sip:+12125550100@h", INTERNATIONAL),
        ("sip:+1-(212)555.0100;phone-context=x@h", INTERNATIONAL),
        ("sip:2125550100@h;user=phone", Number("2125550100")),
        ("tel:+1-212-555-0100", INTERNATIONAL),
        ("tel:5550100;phone-context=+1-212", Number("5550100", TypeOfNumber.SUBSCRIBER)),
        ("sip:5550100;phone-context=+1212@h", Number("5550100", TypeOfNumber.SUBSCRIBER)),
        ("tel:02079460000;phone-context=+44", Number("02079460000", TypeOfNumber.NATIONAL)),
        ("tel:+1-212-555-0100;isub=1234", INTERNATIONAL),
        ("sip:+1%20212%20555%200100@h;user=phone", INTERNATIONAL),
        ("tel:7042;phone-context=example.com", Number("7042")),
        ("sip:%2a%23a9@h", Number("*#A9")),
        ("sip:alice@h", None),
        ("sip:+@h", None),
        ("sip:h", None),
        ("urn:service:sos", None),
        (f"sip:{'1' * 33}@h", None),
    ],
)
def test_uri_is_read_as_a_number(uri: str, expected: Number | None) -> None:
    assert number_of(Uri.parse(uri)) == expected


@pytest.mark.parametrize(
    ("given", "style", "user"),
    [
        (INTERNATIONAL, NumberStyle(), "+12125550100"),
        (INTERNATIONAL, NumberStyle(plus=False), "12125550100"),
        (Number("2125550100", TypeOfNumber.NATIONAL), NumberStyle(), "2125550100"),
        (Number("2125550100", TypeOfNumber.NATIONAL), NumberStyle(country_code="1"), "+12125550100"),
        (Number("2125550100", TypeOfNumber.NATIONAL), NumberStyle(country_code="1", plus=False), "12125550100"),
        (Number("5550100", TypeOfNumber.SUBSCRIBER), NumberStyle(country_code="1"), "5550100"),
        (Number("*21#"), NumberStyle(), "*21%23"),
    ],
)
def test_number_is_written_as_a_user(given: Number, style: NumberStyle, user: str) -> None:
    assert user_of(given, style) == user
    assert number_of(uri_of(given, "h", style)) is not None


def test_user_phone_is_written_where_told() -> None:
    assert str(uri_of(INTERNATIONAL, "h", NumberStyle(user_phone=True), 5070)) == "sip:+12125550100@h:5070;user=phone"
    assert digits_of("") is None and digits_of("12x") is None and digits_of("٣") is None


def test_caller_by_from_alone() -> None:
    message = invite('"Alice" <sip:+12125550100@h>')
    assert caller_of(message, TRUNK) == Party(INTERNATIONAL, "Alice")


def test_display_name_that_is_the_number_is_no_name() -> None:
    assert caller_of(invite('"+12125550100" <sip:+12125550100@h>'), TRUNK) == Party(INTERNATIONAL)


def test_caller_without_number_has_a_name() -> None:
    assert caller_of(invite('"Alice" <sip:alice@h>'), TRUNK) == Party(None, "Alice")


@pytest.mark.parametrize(
    "sender", ['"Anonymous" <sip:anonymous@anonymous.invalid>', "<sip:Anonymous@h>", "<sip:x@anonymous.invalid>"]
)
def test_anonymous_caller(sender: str) -> None:
    assert caller_of(invite(sender), TRUNK) == Party(Number(presentation=RESTRICTED), None, RESTRICTED)


def test_unavailable_caller() -> None:
    party = caller_of(invite("<sip:unavailable@unknown.invalid>"), PHONE)
    assert party.number == Number(presentation=Presentation.NOT_AVAILABLE)


ASSERTED = ("P-Asserted-Identity", '"Bob" <sip:+14165550100@h>')


def test_asserted_identity_of_a_trunk_goes_before_from() -> None:
    message = invite('"Alice" <sip:100@h>', ASSERTED)
    assert caller_of(message, TRUNK) == Party(number("14165550100", TypeOfNumber.INTERNATIONAL, 0, 3), "Bob")


@pytest.mark.parametrize(
    "sender", ['"Anonymous" <sip:anonymous@anonymous.invalid>', "<sip:Anonymous@trunk.example.com>"]
)
def test_anonymous_from_hides_an_asserted_identity_that_came_without_privacy(sender: str) -> None:
    party = caller_of(invite(sender, ASSERTED), TRUNK)
    assert party.number == number("14165550100", TypeOfNumber.INTERNATIONAL, 1, 3)
    assert party.name_presentation is RESTRICTED


def test_asserted_identity_of_a_stranger_is_not_believed() -> None:
    assert caller_of(invite('"Alice" <sip:100@h>', ASSERTED), PHONE) == Party(Number("100"), "Alice")


@pytest.mark.parametrize(
    ("privacy", "restricted"),
    [("id", True), ("User;critical", True), ("header", True), ("none", False), ("session;critical", False)],
)
def test_privacy_hides_name_and_number(privacy: str, restricted: bool) -> None:
    message = invite("<sip:anonymous@anonymous.invalid>", ASSERTED, ("Privacy", privacy))
    presentation = RESTRICTED if restricted else Presentation.ALLOWED
    assert caller_of(message, TRUNK) == Party(
        number("14165550100", TypeOfNumber.INTERNATIONAL, presentation, 3), "Bob", presentation
    )


def test_sip_and_tel_identity_together_make_one_party() -> None:
    fields = ("P-Asserted-Identity", '"Bob" <sip:bob@h>, <tel:+14165550100>')
    assert caller_of(invite("<sip:1@h>", fields), TRUNK) == Party(
        number("14165550100", TypeOfNumber.INTERNATIONAL, 0, 3), "Bob"
    )


@pytest.mark.parametrize("value", ['"open <sip:1@h>', "<sip:1@h>;;", "<>"])
def test_broken_asserted_identity_is_as_if_absent(value: str) -> None:
    assert caller_of(invite("<sip:100@h>", ("P-Asserted-Identity", value)), TRUNK).number == Number("100")


def test_broken_from_is_an_error() -> None:
    with pytest.raises(SipError):
        caller_of(invite('"open <sip:1@h>'), TRUNK)


@pytest.mark.parametrize(
    ("params", "presentation", "name_presentation", "screening"),
    [
        (";party=calling;privacy=off;screen=yes", 0, 0, 3),
        (";party=calling;privacy=full", 1, 1, 0),
        (";privacy=name;screen=no", 0, 1, 0),
        (";privacy=uri", 1, 0, 0),
        (';privacy="ipaddr"', 1, 1, 0),
    ],
)
def test_remote_party_id_is_read(params: str, presentation: int, name_presentation: int, screening: int) -> None:
    message = invite("<sip:1@h>", ("Remote-Party-ID", f'"Bob" <sip:100@h>{params}'))
    assert caller_of(message, TRUNK) == Party(
        number("100", TypeOfNumber.UNKNOWN, presentation, screening), "Bob", Presentation(name_presentation)
    )


def test_remote_party_id_of_another_role_or_broken_is_not_the_caller() -> None:
    for value in ("<sip:9@h>;party=called", "<sip:9@h", "<nothing>"):
        assert caller_of(invite("<sip:1@h>", ("Remote-Party-ID", value)), TRUNK).number == Number("1")


def test_preferred_identity_is_the_phones_wish() -> None:
    message = invite("<sip:1@h>", ("P-Preferred-Identity", '"Desk" <sip:200@h>'))
    assert preferred_of(message) == Party(Number("200"), "Desk")
    assert preferred_of(invite("<sip:1@h>")) is None


def test_called_number() -> None:
    assert called_of(invite("<sip:1@h>", uri="sip:+12125550100@gw")) == INTERNATIONAL
    assert called_of(invite("<sip:1@h>", uri="sip:alice@gw")) is None


def test_connected_party_by_asserted_identity_by_to_and_by_from() -> None:
    answer = Response(200, None, [("To", '"Bob" <sip:300@h>;tag=2'), ASSERTED])
    assert connected_of(answer, TRUNK) == Party(number("14165550100", TypeOfNumber.INTERNATIONAL, 0, 3), "Bob")
    assert connected_of(answer, PHONE) == Party(Number("300"), "Bob")
    assert connected_of(Response(200, None, [("To", "<sip:300@h>;tag=2")]), TRUNK) is None
    assert connected_of(invite('"Carol" <sip:400@h>'), TRUNK) == Party(Number("400"), "Carol")
    assert connected_of(Response(200, None, [("To", '"')]), TRUNK) is None
    called = Response(200, None, [("Remote-Party-ID", "<sip:500@h>;party=called")])
    assert connected_of(called, TRUNK) == Party(Number("500"))


def test_privacy_values() -> None:
    assert privacy_of(invite("<sip:1@h>", ("Privacy", "ID; user ;critical"))) == {"id", "user", "critical"}


NETWORK = number("12125550100", TypeOfNumber.INTERNATIONAL, 0, 3)
HIDDEN = number("12125550100", TypeOfNumber.INTERNATIONAL, 1, 3)
PAI = ("P-Asserted-Identity", '"Alice" <sip:+12125550100@gw.example.com>')


def written(party: Party, rules: IdentityRules) -> tuple[str, tuple[tuple[str, str], ...]]:
    sender, fields = caller_fields(party, rules)
    return str(sender), fields


def test_caller_is_written_for_a_trunk() -> None:
    assert written(Party(NETWORK, "Alice"), TRUNK) == ('"Alice" <sip:+12125550100@gw.example.com>', (PAI,))


def test_caller_is_written_for_a_phone() -> None:
    assert written(Party(NETWORK, "Alice"), PHONE) == ('"Alice" <sip:+12125550100@gw.example.com>', ())


def test_hidden_caller_is_asserted_to_a_trunk_with_privacy() -> None:
    assert written(Party(HIDDEN, "Alice", RESTRICTED), TRUNK) == (
        '"Anonymous" <sip:anonymous@anonymous.invalid>',
        (PAI, ("Privacy", "id")),
    )


def test_hidden_caller_never_reaches_a_stranger() -> None:
    assert written(Party(HIDDEN, "Alice", RESTRICTED), PHONE) == ('"Anonymous" <sip:anonymous@anonymous.invalid>', ())


def test_hidden_name_of_an_open_number() -> None:
    sender, fields = written(Party(NETWORK, "Alice", RESTRICTED), TRUNK)
    assert "Alice" not in sender and "Alice" not in fields[0][1]


def test_caller_without_number() -> None:
    hidden = Party(Number(presentation=RESTRICTED))
    assert written(hidden, TRUNK) == ('"Anonymous" <sip:anonymous@anonymous.invalid>', (("Privacy", "id"),))
    assert written(hidden, PHONE) == ('"Anonymous" <sip:anonymous@anonymous.invalid>', ())
    for party in (Party(), Party(Number(presentation=Presentation.NOT_AVAILABLE))):
        assert written(party, TRUNK) == ("<sip:unavailable@gw.example.com>", ())
    assert written(Party(None, "Alice"), TRUNK) == ('"Alice" <sip:unavailable@gw.example.com>', ())


def test_number_the_network_did_not_screen_is_asserted_only_where_told() -> None:
    strict = msgspec.structs.replace(TRUNK, assert_unscreened=False)
    assert written(Party(INTERNATIONAL), strict) == ("<sip:+12125550100@gw.example.com>", ())
    assert written(Party(unscreened_hidden()), strict)[1] == (("Privacy", "id"),)
    assert len(written(Party(INTERNATIONAL), TRUNK)[1]) == 1
    assert len(written(Party(NETWORK), strict)[1]) == 1


def unscreened_hidden() -> Number:
    return number("12125550100", TypeOfNumber.INTERNATIONAL, 1, 0)


def test_connected_party_is_written() -> None:
    assert asserted_fields(Party(NETWORK, "Alice"), TRUNK) == (PAI,)
    assert asserted_fields(Party(HIDDEN, "Alice", RESTRICTED), TRUNK) == (PAI, ("Privacy", "id"))
    assert asserted_fields(Party(NETWORK, "Alice"), PHONE) == ()
    assert asserted_fields(Party(None, "Alice"), TRUNK) == ()


def test_caller_written_is_the_caller_read() -> None:
    for party in (Party(NETWORK, "Alice"), Party(HIDDEN, "Alice", RESTRICTED), Party(NETWORK)):
        sender, fields = caller_fields(party, TRUNK)
        message = Request("INVITE", "sip:1@h", [("From", str(sender)), *fields])
        assert caller_of(message, TRUNK) == party


def test_name_from_the_wire_is_printable_and_short() -> None:
    party = caller_of(invite('"a\tb' + "c" * 100 + '" <sip:1@h>'), PHONE)
    assert party.name is not None and party.name.startswith("a bccc") and len(party.name) == 80
    assert NameAddr.parse(str(caller_fields(party, PHONE)[0])).display_name == party.name
