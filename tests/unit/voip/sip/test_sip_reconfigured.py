"""Other settings taken up by a running endpoint: registrations, watches and proofs go over to them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core import SECOND
from gateway.voip.sip.far_end_settings import FarEndSettings
from gateway.voip.sip.peers import Brakes, PeerSettings, PeerTable
from gateway.voip.sip.registration import Registration
from gateway.voip.sip.toll_fraud import TollFraud
from tests.unit.voip.sip.sip_far_end import FarEnd
from tests.unit.voip.sip.sip_provider import Provider


def take_up(far: FarEnd, *peers: PeerSettings, **keys: object) -> None:
    far.endpoint.take_up(replace(far.endpoint.settings, peers=peers, **keys), far.now)  # type: ignore[arg-type]
    far.drain()


def only(far: FarEnd) -> PeerSettings:
    (peer,) = far.endpoint.peers
    return peer


def test_a_registration_goes_on_if_its_trunk_is_as_it_was() -> None:
    provider = Provider()
    provider.registered(60)
    before = provider.registration
    provider.take()
    take_up(provider, replace(only(provider)), realm="elsewhere")
    assert provider.registration is before and before.in_force
    assert provider.take() == []


def test_a_changed_trunk_registers_anew_and_is_never_taken_back() -> None:
    provider = Provider()
    provider.registered(60)
    provider.take()
    take_up(provider, replace(only(provider), context="elsewhere"))
    provider.run(0)
    request = provider.take_request("REGISTER")
    assert request.contacts[0].params.get("expires") != "0" and request.expires != 0
    provider.accept(request)
    assert provider.registration.in_force
    # Of the one before nothing more is heard.
    provider.run(10)
    assert provider.take() == []


def test_a_trunk_that_is_gone_takes_its_registration_back() -> None:
    provider = Provider()
    provider.registered(60)
    provider.take()
    take_up(provider)
    request = provider.take_request("REGISTER")
    assert request.expires == 0 or request.contacts[0].params.get("expires") == "0"
    provider.answer(request, 200)
    provider.run(7200)
    assert provider.take() == []
    assert provider.endpoint.idle


def test_a_new_trunk_registers() -> None:
    provider = Provider()
    peer = only(provider)
    provider.registered(60)
    take_up(provider)
    provider.take()
    provider.run(40)
    provider.take()
    take_up(provider, peer)
    provider.run(0)
    provider.accept(provider.take_request("REGISTER"))
    assert isinstance(provider.registration, Registration) and provider.registration.in_force


def watched(seconds: int) -> FarEndSettings:
    return FarEndSettings(qualify=2 * SECOND, qualifyfreq=seconds * SECOND)


def test_a_watch_begins_and_ends_with_qualify() -> None:
    far = FarEnd()
    far.run(100)
    assert far.take() == []
    plain = only(far)
    take_up(far, replace(plain, far_end=watched(10)))
    for _ in range(2):
        while not far.sent:
            far.run(0.1)
        far.answer(far.take_request("OPTIONS"), 200)
    take_up(far, plain)
    far.run(100)
    assert far.take() == []
    assert far.endpoint.idle


def test_whoever_is_the_same_stays_the_same_object() -> None:
    one, two = PeerSettings("one", "192.0.2.1"), PeerSettings("two", "192.0.2.2")
    table = PeerTable([one, two])
    assert table.replace([replace(two), replace(one, context="x"), PeerSettings("three", "192.0.2.3")]) == {"one"}
    assert table.get("two") is two
    assert [peer.name for peer in table] == ["two", "one", "three"]
    assert table.knows("192.0.2.3") and table.replace([]) == {"one", "two", "three"}
    assert not table.knows("192.0.2.1")


@pytest.mark.parametrize("least", [1, 3])
def test_brakes_count_what_was_had_before_they_changed(least: int) -> None:
    fraud = TollFraud(lambda name: 0, frozenset())
    peer = PeerSettings("one", "192.0.2.1", brakes=Brakes(0, 10, 0))
    for call in range(3):
        assert fraud.hindrance(peer, "1", call) == ""
    assert fraud.hindrance(replace(peer, brakes=Brakes(0, least, 0)), "1", 3) == f"calls_per_hour = {least}"
    assert fraud.hindrance(replace(peer, brakes=Brakes(0, 5, 0)), "1", 4) == ""
    fraud.exempt(frozenset({"911"}))
    assert fraud.hindrance(replace(peer, brakes=Brakes(0, 1, 0)), "911", 5) == ""
