"""Other settings taken up by a running endpoint: calls go on, registrations too where they can."""

from __future__ import annotations

from msgspec.structs import replace

from gateway.cause import Cause
from gateway.core import SECOND
from gateway.media.api import Codec
from gateway.voip.iax.leg import IaxLeg
from gateway.voip.iax.peers import PeerSettings
from gateway.voip.iax.timers import IaxTimer
from gateway.voip.reach import Reach
from tests.unit.voip.iax.iax_scene import Scene
from tests.unit.voip.iax.test_iax_registering import AT_BRANCH, AT_HQ, Sites


def changed(scene: Scene, name: str, **keys: object) -> None:
    """The only peer of agent ``name`` gets other settings."""
    endpoint = scene[name].endpoint
    peers = tuple(replace(each, **keys) for each in endpoint.settings.peers)
    endpoint.take_up(replace(endpoint.settings, peers=peers), scene.now)
    scene.drain()


def test_a_call_goes_on_and_the_next_one_has_other_codecs() -> None:
    scene = Scene()
    leg, notes, far, _ = scene.answered()
    changed(scene, "a", codecs=(Codec.ULAW,))
    scene.talk(("a", leg), ("b", far))
    assert scene.heard("a", leg) == "b" and scene.heard("b", far) == "a"
    second, _, _, _ = scene.answered()
    assert second.settings is not None and second.settings.codec is Codec.ULAW
    assert notes.released is None
    for each in (leg, second):
        each.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.assert_clean()


def test_a_peer_that_is_gone_is_called_no_more() -> None:
    scene = Scene()
    leg, _, _, _ = scene.answered()
    endpoint = scene["a"].endpoint
    endpoint.take_up(replace(endpoint.settings, peers=()), scene.now)
    assert endpoint.new_leg("b", scene.now) is Cause.NO_ROUTE_TO_DESTINATION
    assert leg.name in endpoint.legs
    leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(5)
    assert not endpoint.legs


def test_a_new_peer_is_known_by_its_address() -> None:
    scene = Scene()
    endpoint = scene["b"].endpoint
    before = endpoint.settings
    endpoint.take_up(replace(before, peers=()), scene.now)
    _, notes = scene.place()
    scene.run(40)
    assert notes.released is not None
    endpoint.take_up(before, scene.now)
    leg, _, _, _ = scene.answered()
    assert isinstance(leg, IaxLeg)


def test_timers_hold_from_now_on() -> None:
    endpoint = Scene()["a"].endpoint
    endpoint.take_up(replace(endpoint.settings, timers={IaxTimer.REGISTER_RETRY: 9 * SECOND}), SECOND)
    assert endpoint.durations[IaxTimer.REGISTER_RETRY] == 9 * SECOND


def take_up(sites: Sites, *, hq: PeerSettings | None = None, branch: PeerSettings | None = None) -> None:
    for wire, settings in ((sites.hq, hq), (sites.branch, branch)):
        if settings is not None:
            endpoint = wire.endpoint
            endpoint.take_up(replace(endpoint.settings, peers=(settings,)), sites.hq.now)


def test_a_registration_outlives_a_change_that_is_not_about_it() -> None:
    sites = Sites()
    sites.run(20)
    peer = sites.hq.endpoint.peers["branch"]
    binding = peer.binding
    assert binding is not None and peer.reach is Reach.REACHABLE
    take_up(sites, hq=replace(AT_HQ, context="elsewhere"))
    fresh = sites.hq.endpoint.peers["branch"]
    assert fresh is not peer and fresh.binding == binding
    sites.run(20)
    assert fresh.reach is Reach.REACHABLE


def test_who_has_another_password_has_to_register_again() -> None:
    sites = Sites()
    sites.run(20)
    other = "another word of ours"
    take_up(sites, hq=replace(AT_HQ, secret=other))
    assert sites.hq.endpoint.peers["branch"].binding is None
    take_up(sites, branch=replace(AT_BRANCH, secret=other))
    sites.run(20)
    assert sites.hq.endpoint.peers["branch"].binding is not None


def test_our_own_registration_is_made_anew_without_a_gap() -> None:
    sites = Sites()
    sites.run(20)
    (former,) = sites.branch.endpoint.registrations
    take_up(sites, branch=replace(AT_BRANCH, context="elsewhere"))
    # It is not taken back, which might be heard after the next one was made.
    assert former.over
    for _ in range(40):
        sites.run(1)
        assert sites.hq.endpoint.peers["branch"].binding is not None
    assert [each.in_force for each in sites.branch.endpoint.registrations] == [True]


def test_a_registration_that_is_configured_no_more_is_taken_back() -> None:
    sites = Sites()
    sites.run(20)
    take_up(sites, branch=replace(AT_BRANCH, register=False))
    sites.run(20)
    assert sites.hq.endpoint.peers["branch"].binding is None
    assert sites.branch.endpoint.registrations == []
