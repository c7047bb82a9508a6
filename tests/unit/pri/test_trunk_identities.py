"""Calls between two trunks: who calls, who is called, who answered, and who diverted."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from gateway.cause import Cause
from gateway.core import MILLISECOND
from gateway.identity import (
    Number,
    NumberingPlan,
    Party,
    Presentation,
    Redirection,
    RedirectionReason,
    Screening,
    TypeOfNumber,
)
from gateway.leg import (
    Answered,
    Bearer,
    Conveyed,
    Identified,
    Setup,
)
from gateway.pri.channels import Hunt
from gateway.pri.q931.diversion import read_diversion
from gateway.pri.q931.euroisdn import EuroIsdn
from gateway.pri.q931.ie import Facility
from gateway.pri.q931.message import CallReference, Message, MessageType
from gateway.pri.settings import Numbering
from gateway.pri.trunk import PriSettings
from tests.unit.pri.pri_pair import CALL, E1_EURO, T1_NI2, TYPES, Heard, Pair, ends, placed

# -- identities --

RICH = Setup(
    called=Number("4165551234", TypeOfNumber.NATIONAL, NumberingPlan.ISDN),
    caller=Party(
        Number("2125550100", TypeOfNumber.NATIONAL, NumberingPlan.ISDN, Presentation.ALLOWED, Screening.NETWORK),
        "Ada Lovelace",
    ),
    redirection=Redirection(
        Number("2125550199", TypeOfNumber.NATIONAL, NumberingPlan.ISDN),
        RedirectionReason.NO_REPLY,
    ),
    bearer=Bearer.SPEECH,
    conveyed=Conveyed(user_user=b"\x04hello"),
)


@pytest.mark.parametrize("settings", TYPES, ids=lambda settings: settings.switch_type)
@pytest.mark.parametrize("from_user", [True, False])
def test_identities_of_a_call_go_through(settings: PriSettings, from_user: bool) -> None:
    pair = Pair(settings)
    caller, called = ends(pair, from_user)
    placed(pair, caller, RICH)
    offer = called.heard[0].offer
    assert offer is not None
    # EuroISDN has no name from the user to the network.
    expected = RICH
    if settings.switch_type == "euroisdn" and from_user:
        expected = msgspec.structs.replace(RICH, caller=msgspec.structs.replace(RICH.caller, name=None))
    assert offer.setup == expected


@pytest.mark.parametrize("presentation", list(Presentation)[:3])
@pytest.mark.parametrize("screening", list(Screening))
def test_presentation_and_screening_go_through(presentation: Presentation, screening: Screening) -> None:
    pair = Pair()
    digits = "" if presentation is Presentation.NOT_AVAILABLE else "2125550100"
    number = Number(digits, TypeOfNumber.NATIONAL, NumberingPlan.ISDN, presentation, screening)
    placed(pair, pair.network, msgspec.structs.replace(CALL, caller=Party(number)))
    offer = pair.user.heard[0].offer
    assert offer is not None
    assert offer.setup.caller.number == number


def test_restricted_name_is_not_sent_in_display_and_goes_marked_in_facility() -> None:
    hidden = msgspec.structs.replace(CALL, caller=Party(Number("1"), "Ada", Presentation.RESTRICTED))
    pair = Pair()
    placed(pair, pair.network, hidden)
    offer = pair.user.heard[0].offer
    assert offer is not None
    assert offer.setup.caller.name is None
    pair = Pair(T1_NI2)
    placed(pair, pair.network, hidden)
    offer = pair.user.heard[0].offer
    assert offer is not None
    assert (offer.setup.caller.name, offer.setup.caller.name_presentation) == ("Ada", Presentation.RESTRICTED)


DIVERTED = Number("5550000", TypeOfNumber.NATIONAL)


def ber(tag: int, *parts: bytes) -> bytes:
    contents = b"".join(parts)
    return bytes((tag, len(contents))) + contents


def diverted(count: int, reason: int, *numbers: bytes) -> bytes:
    return ber(0x30, ber(0x02, bytes((count,))), ber(0x0A, bytes((reason,))), *numbers)


def typed(kind: int, digits: bytes, tag: int = 0xA1) -> bytes:
    return ber(tag, ber(0x0A, bytes((kind,))), ber(0x12, digits))


@pytest.mark.parametrize(
    ("argument", "redirection"),
    [
        # As libpri writes it: counter 1, unconditional, digits of unknown plan.
        (
            bytes.fromhex("30130201010a0101a10ba009800735353530303030"),
            Redirection(
                Number("5550000", TypeOfNumber.UNKNOWN, NumberingPlan.UNKNOWN), RedirectionReason.UNCONDITIONAL
            ),
        ),
        (
            diverted(
                3,
                2,
                ber(0xA1, ber(0xA0, typed(2, b"5550000"))),
                ber(0xA2, ber(0xA3, typed(2, b"4165551"))),
            ),
            Redirection(
                DIVERTED,
                RedirectionReason.BUSY,
                3,
                Number("4165551", TypeOfNumber.NATIONAL, presentation=Presentation.RESTRICTED),
            ),
        ),
        # The counter is out of range, the number must not be shown.
        (
            diverted(9, 3, ber(0xA1, b"\x81\x00")),
            Redirection(Number(presentation=Presentation.RESTRICTED), RedirectionReason.NO_REPLY, 5),
        ),
        # A private number and a reason nobody knows.
        (
            diverted(1, 9, ber(0xA1, ber(0xA0, typed(1, b"12345", 0xA5)))),
            Redirection(Number("12345", plan=NumberingPlan.PRIVATE)),
        ),
        (
            diverted(1, 5, ber(0xA1, b"\x82\x00")),
            Redirection(Number(presentation=Presentation.NOT_AVAILABLE), RedirectionReason.BY_CALLED_DTE),
        ),
        (b"\x05\x00", None),
        (b"\x30\xff", None),
    ],
)
def test_diversion_of_euroisdn_is_read_from_facility(argument: bytes, redirection: Redirection | None) -> None:
    facility = Facility(ber(0xA1, b"\x02\x01\x01\x02\x01\x0f", argument))
    assert read_diversion(facility) == redirection
    setup = Message(MessageType.SETUP, CallReference(1), (facility,))
    assert EuroIsdn().read_setup(setup, complete=True).redirection == redirection


def test_original_called_number_goes_through_where_the_switch_type_has_it() -> None:
    redirection = Redirection(
        Number("2"),
        RedirectionReason.BUSY,
        2,
        Number("3"),
        RedirectionReason.UNCONDITIONAL,
    )
    pair = Pair(T1_NI2)
    placed(pair, pair.network, msgspec.structs.replace(CALL, redirection=redirection))
    offer = pair.user.heard[0].offer
    assert offer is not None
    assert offer.setup.redirection == redirection


@pytest.mark.parametrize("settings", TYPES, ids=lambda settings: settings.switch_type)
def test_connected_party_goes_through(settings: PriSettings) -> None:
    pair = Pair(settings)
    heard = placed(pair, pair.user)
    number = Number("4165559999", TypeOfNumber.NATIONAL, NumberingPlan.ISDN, Presentation.ALLOWED, Screening.NETWORK)
    pair.network.legs[0].answer(Party(number, "Bob"), 0)
    pair.settle()
    assert heard.spoken[-1] == Answered(Party(number, "Bob"))


def test_connected_party_that_was_known_before_answer_is_kept_for_it() -> None:
    pair = Pair()
    heard = placed(pair, pair.user)
    leg = pair.network.legs[0]
    leg.alert(False, 0)
    leg.identify(Party(Number("999")), 0)
    leg.answer(None, 0)
    pair.settle()
    (answered,) = [event for event in heard.events if isinstance(event, Answered)]
    assert answered.connected is not None
    assert answered.connected.number is not None
    assert answered.connected.number.digits == "999"


def test_party_that_changes_during_the_call_is_notified() -> None:
    pair = Pair()
    leg, other = pair.establish(pair.network)
    leg.identify(Party(Number("777")), pair.now)
    pair.settle()
    assert isinstance(other.listener, Heard)
    assert other.listener.spoken[-1] == Identified(Party(Number("777")))


def test_digital_call_is_told_from_speech() -> None:
    pair = Pair()
    placed(pair, pair.network, msgspec.structs.replace(CALL, bearer=Bearer.UNRESTRICTED))
    offer = pair.user.heard[0].offer
    assert offer is not None
    assert offer.setup.speech is False


def test_number_longer_than_the_switch_takes_is_refused_with_28() -> None:
    pair = Pair()
    heard = placed(pair, pair.user, Setup(Number("1" * 21)))
    assert heard.released is not None
    assert heard.released.cause is Cause.INVALID_NUMBER_FORMAT
    pair.check_nothing_left()


def test_numbering_of_the_trunk() -> None:
    numbering = Numbering(
        calling_type=TypeOfNumber.NATIONAL, international_prefix="00", national_prefix="0", plan=NumberingPlan.ISDN
    )
    pair = Pair(replace(E1_EURO, numbering=numbering), E1_EURO)
    placed(pair, pair.user, Setup(Number("0041315550000"), Party(Number("315550001"))))
    offer = pair.network.heard[0].offer
    assert offer is not None
    assert (offer.setup.called.digits, offer.setup.called.type) == ("41315550000", TypeOfNumber.INTERNATIONAL)
    assert offer.setup.caller.number is not None
    assert offer.setup.caller.number.type is TypeOfNumber.NATIONAL
    national = Number("315550000", TypeOfNumber.NATIONAL)
    placed(pair, pair.network, Setup(Number("5", TypeOfNumber.SUBSCRIBER), Party(national)))
    offer = pair.user.heard[0].offer
    assert offer is not None
    assert offer.setup.called == Number("5", TypeOfNumber.SUBSCRIBER)
    assert offer.setup.caller.number == Number("0315550000")


def test_name_that_follows_is_waited_for() -> None:
    from gateway.pri.q931.ie.rose import NameOperation, PartyName, information_following, name_facility

    for comes in (True, False):
        pair = Pair(T1_NI2)
        call = pair.network.trunk.q931.new_call(Hunt.ASCENDING)
        assert not isinstance(call, Cause)
        assert call.channel is not None
        variant = pair.network.trunk.variant
        channel = variant.channel_identification((call.channel.timeslot,), exclusive=True)
        elements = list(variant.setup_elements(CALL, pair.network.trunk.line3, channel))
        facility: Facility = information_following(1)
        call.setup((*elements[:2], facility, *elements[2:]))
        pair.settle()
        assert pair.user.heard == []
        if comes:
            name = PartyName(NameOperation.CALLING, "ADA", Presentation.ALLOWED)
            call.facility((name_facility(name, 2, network_extension=False),))
            pair.settle()
        else:
            pair.run(301 * MILLISECOND)
        offer = pair.user.heard[0].offer
        assert offer is not None
        assert offer.setup.caller.name == ("ADA" if comes else None)
