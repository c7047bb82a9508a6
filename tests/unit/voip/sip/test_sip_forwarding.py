"""A phone's 3xx as call forwarding: numbers of its Contacts, best first; trunks are not followed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.identity import RedirectionReason
from gateway.leg import Forward
from gateway.voip.sip.peers import Brakes, PeerKind, PeerSettings
from tests.unit.voip.sip.sip_far_end import FarEnd


def phone(peer: PeerSettings) -> PeerSettings:
    return replace(peer, kind=PeerKind.PHONE, context="internal")


def forwarded(status: int, *contacts: str, rings: bool = False, far: FarEnd | None = None) -> Forward | None:
    far = far or FarEnd(peer=phone)
    _, notes, invite = far.call_out()
    if rings:
        far.answer(invite, 180)
    far.answer(invite, status, *(("Contact", contact) for contact in contacts))
    far.take_request("ACK")
    assert notes.released is not None
    far.assert_clean()
    return notes.released.forward


def test_contacts_are_numbers_in_the_phones_context_best_first() -> None:
    forward = forwarded(302, "<sip:2001@192.0.2.1>;q=0.2, <sip:2002@10.9.9.9>;q=0.7, <tel:+14165550000>", rings=True)
    assert forward is not None
    assert [number.digits for number in forward.targets] == ["14165550000", "2002", "2001"]
    assert forward.context == "internal"
    assert forward.reason is RedirectionReason.NO_REPLY


@pytest.mark.parametrize(
    ("status", "contact"),
    [
        (302, "<sip:alice@example.com>"),
        (302, "<mailto:2001@example.com>"),
        (302, "<sip:@@>"),
        (305, "<sip:2001@192.0.2.1>"),
        (380, "<sip:2001@192.0.2.1>"),
    ],
)
def test_what_is_no_number_or_no_forwarding_is_not_followed(status: int, contact: str) -> None:
    assert forwarded(status, contact) is None


def test_no_more_than_a_few_contacts_are_taken() -> None:
    forward = forwarded(302, *(f"<sip:20{number:02}@a>" for number in range(30)))
    assert forward is not None
    assert len(forward.targets) == 5


def test_a_trunk_forwards_nothing() -> None:
    assert forwarded(302, "<sip:2001@192.0.2.1>", far=FarEnd()) is None


def test_every_number_that_a_phone_forwards_to_counts_as_called_by_it() -> None:
    far = FarEnd(peer=lambda peer: replace(phone(peer), brakes=Brakes(destinations_per_hour=2)))
    forward = forwarded(302, *(f"<sip:20{number:02}@a>" for number in range(4)), far=far)
    assert forward is not None
    assert [number.digits for number in forward.targets] == ["2000", "2001"]
    assert forwarded(302, "<sip:2009@a>", far=far) is None
