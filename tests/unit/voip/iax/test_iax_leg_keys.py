"""Encrypted IAX2 calls: agreed on or failed, never in clear instead; the engine has the keys of the moment."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from gateway.cause import Cause
from gateway.leg import SECURE_MEDIA, Leaving
from gateway.media.api import ClearVoice
from gateway.voip.iax.crypt import AES_128, KEY_ROTATION, Cipher
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.errors import IaxError
from gateway.voip.iax.frame import Command, Control, FrameType, FullFrame, parse
from gateway.voip.iax.leg import IaxLeg
from gateway.voip.iax.peers import Encryption, IaxSettings, PeerSettings
from gateway.voip.iax.timers import IaxTimer
from tests.unit.voip.iax.iax_scene import ADDRESSES, BAD_NETWORK, Faults, Scene, hang_up, simple_setup

SECOND_MICROS = 1_000_000


def both(mode: Encryption, other: Encryption | None = None) -> Callable[[str, PeerSettings], PeerSettings]:
    """Settings of a, and of b."""
    modes = {"a": mode, "b": mode if other is None else other}
    return lambda owner, settings: replace(settings, encryption=modes[owner])


def clear_frames(scene: Scene) -> list[str]:
    """What can be read without a key of what went after the challenge."""
    names = [str(parse(data)) for _, _, data in scene.wire]
    challenge = next(number for number, name in enumerate(names) if name.startswith("AUTHREQ"))
    readable = []
    for _, _, data in scene.wire[challenge + 1 :]:
        frame = parse(data)
        # A frame that is encrypted has a stamp and sequence numbers that make no sense.
        if isinstance(frame, FullFrame) and frame.stamp < 10_000_000 and frame.oseqno < 40 and frame.iseqno < 40:
            readable.append(str(frame))
    return readable


@pytest.mark.parametrize(
    ("mode", "other"),
    [
        (Encryption.REQUIRED, None),
        (Encryption.OPTIONAL, None),
        (Encryption.REQUIRED, Encryption.OPTIONAL),
        (Encryption.OPTIONAL, Encryption.REQUIRED),
    ],
)
def test_both_sides_agree_and_nothing_goes_in_clear_after_the_challenge(
    mode: Encryption, other: Encryption | None
) -> None:
    scene = Scene(peer=both(mode, other))
    leg, notes, far, _ = scene.answered()
    leg.keypad("123", 100, scene.now)
    scene.talk(("a", leg), ("b", far), packets=8)
    assert clear_frames(scene) == []
    assert scene.heard("a", leg) == "b"
    assert scene.heard("b", far) == "a"
    for _, _, _, data in scene.minis:
        assert b"aaaa" not in data
        assert b"bbbb" not in data
    assert leg.record()["facts"] == far.record()["facts"] == [SECURE_MEDIA]
    assert scene["b"].offers[0][1].setup.facts == {SECURE_MEDIA}
    hang_up(leg, scene)
    assert notes.released is not None
    scene.assert_clean()


@pytest.mark.parametrize(
    ("mode", "other"), [(Encryption.OPTIONAL, Encryption.NO), (Encryption.NO, Encryption.OPTIONAL)]
)
def test_what_is_optional_goes_without_where_the_far_end_has_none(mode: Encryption, other: Encryption) -> None:
    scene = Scene(peer=both(mode, other))
    leg, _, far, _ = scene.answered()
    scene.talk(("a", leg), ("b", far))
    assert scene.heard("a", leg) == "b"
    assert leg.record()["facts"] == []
    assert not far.setup or far.setup.facts == frozenset()


def test_a_called_side_that_does_not_encrypt_fails_a_call_that_must_be(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(peer=both(Encryption.REQUIRED, Encryption.NO))
    with caplog.at_level(logging.WARNING):
        _, notes = scene.place()
        scene.run(2)
    assert notes.released is not None
    assert notes.released.cause is Cause.BEARER_CAPABILITY_NOT_AVAILABLE
    assert not notes.released.ours
    assert "encrypt" in notes.released.text
    assert any("does not encrypt" in record.getMessage() for record in caplog.records)
    assert scene.sent("a", Command.AUTHREP) == []
    assert scene["b"].offers == []
    scene.assert_clean()


def test_a_caller_that_does_not_encrypt_is_refused_where_it_must(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(peer=both(Encryption.NO, Encryption.REQUIRED))
    with caplog.at_level(logging.WARNING):
        _, notes = scene.place()
        scene.run(2)
    assert notes.released is not None
    assert notes.released.cause is Cause.BEARER_CAPABILITY_NOT_AVAILABLE
    assert any("does not encrypt" in record.getMessage() for record in caplog.records)
    assert [refused.cause for refused in scene["b"].not_offered] == [Cause.BEARER_CAPABILITY_NOT_AVAILABLE]
    assert scene["b"].offers == []
    scene.assert_clean()


def test_a_route_can_demand_what_the_settings_do_not() -> None:
    scene = Scene(peer=both(Encryption.NO, Encryption.OPTIONAL))
    setup = replace(simple_setup(), secure_bridge=frozenset({SECURE_MEDIA}))
    leg, _, _, _ = scene.answered(setup)
    assert leg.record()["facts"] == [SECURE_MEDIA]
    assert clear_frames(scene) == []


def test_a_call_for_help_goes_in_clear_where_only_its_route_demands_more(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(peer=both(Encryption.OPTIONAL, Encryption.NO))
    setup = replace(simple_setup("911"), secure_bridge=frozenset({SECURE_MEDIA}), emergency=True)
    leg, _, _, _ = scene.answered(setup)
    assert leg.record()["facts"] == []
    assert "emergency call goes on in clear" in caplog.text


def test_a_call_for_help_is_encrypted_where_its_route_demands_it_and_the_far_end_can() -> None:
    scene = Scene(peer=both(Encryption.OPTIONAL, Encryption.OPTIONAL))
    setup = replace(simple_setup("911"), secure_bridge=frozenset({SECURE_MEDIA}), emergency=True)
    leg, _, _, _ = scene.answered(setup)
    assert leg.record()["facts"] == [SECURE_MEDIA]


def test_a_far_end_that_accepts_without_a_challenge_fails_a_call_that_must_be_encrypted() -> None:
    def insecure(owner: str, settings: PeerSettings) -> PeerSettings:
        if owner == "a":
            return replace(settings, encryption=Encryption.REQUIRED)
        return replace(settings, insecure_invite=True)

    scene = Scene(peer=insecure)
    _, notes = scene.place()
    scene.run(1)
    leg, _, _ = scene["b"].offers[0]
    leg.proceed(scene.now)
    scene.run(1)
    assert notes.released is not None
    assert notes.released.cause is Cause.BEARER_CAPABILITY_NOT_AVAILABLE
    assert scene["a"].media.history == []
    scene.assert_clean()


def encrypted_call() -> tuple[Scene, IaxLeg, IaxLeg]:
    scene = Scene(peer=both(Encryption.REQUIRED))
    leg, _, far, _ = scene.answered()
    return scene, leg, far


def test_voice_in_clear_releases_an_encrypted_call_with_a_cause(caplog: pytest.LogCaptureFixture) -> None:
    scene, leg, far = encrypted_call()
    notes = leg.listener
    assert leg.stream is not None
    with caplog.at_level(logging.WARNING):
        scene["a"].endpoint.media_event(ClearVoice(leg.stream), scene.now)
        scene.run(1)
    record = leg.record()
    assert record["facts"] == [SECURE_MEDIA]
    assert notes is None or leg.listener is None
    assert leg._released is not None
    assert leg._released.cause is Cause.BEARER_CAPABILITY_NOT_AVAILABLE
    assert not leg._released.ours
    assert "in clear" in leg._released.text
    assert any("in clear" in record.getMessage() and "b" in record.getMessage() for record in caplog.records)
    far_notes = scene["b"].offers[0][2]
    assert far_notes.released is not None
    assert far_notes.released.cause is Cause.BEARER_CAPABILITY_NOT_AVAILABLE
    assert "in clear" in far_notes.released.text
    assert far.over
    scene.assert_clean()


def test_voice_in_clear_is_no_matter_in_a_call_in_clear() -> None:
    scene = Scene()
    leg, notes, _, _ = scene.answered()
    assert leg.stream is not None
    scene["a"].endpoint.media_event(ClearVoice(leg.stream), scene.now)
    scene.run(1)
    assert notes.released is None


def test_a_full_frame_in_clear_releases_an_encrypted_call() -> None:
    scene, leg, far = encrypted_call()
    session, theirs = leg.session, far.session
    assert session is not None
    assert theirs is not None
    frame = FullFrame(
        theirs.source, session.source, 5000, theirs._oseqno, theirs._iseqno, FrameType.CONTROL, Control.HOLD
    )
    source = ("192.0.2.2", 4569)
    scene.deliver(source, ("192.0.2.1", 4569), bytes(frame))
    scene.run(1)
    assert leg._released is not None
    assert leg._released.cause is Cause.BEARER_CAPABILITY_NOT_AVAILABLE
    scene.assert_clean()


def test_a_stranger_s_full_frame_in_clear_releases_nothing() -> None:
    scene, leg, far = encrypted_call()
    session, theirs = leg.session, far.session
    assert session is not None
    assert theirs is not None
    frame = FullFrame(
        theirs.source, session.source, 5000, theirs._oseqno, theirs._iseqno, FrameType.IAX, Command.HANGUP
    )
    for source in (("198.51.100.1", 4569), ("192.0.2.2", 1234)):
        scene.deliver(source, ("192.0.2.1", 4569), bytes(frame))
    scene.run(60)
    assert not leg.over
    assert not far.over


def test_keys_change_both_ways_and_voice_and_frames_go_on() -> None:
    def whole(owner: str, settings: IaxSettings) -> IaxSettings:
        timers = {IaxTimer.KEY_LEAST: 2 * SECOND_MICROS, IaxTimer.KEY_MOST: 5 * SECOND_MICROS}
        return replace(settings, timers=timers)

    scene = Scene(peer=both(Encryption.REQUIRED), whole=whole)
    leg, notes, far, far_notes = scene.answered()
    for _ in range(15):
        scene["a"].media.heard[leg.stream or 0].clear()
        scene["b"].media.heard[far.stream or 0].clear()
        scene.talk(("a", leg), ("b", far), packets=5)
        assert scene.heard("a", leg) == "b"
        assert scene.heard("b", far) == "a"
        leg.keypad("1", 100, scene.now)
        far.keypad("2", 100, scene.now)
        scene.run(1)
    assert far_notes.keys == "1" * 15
    assert notes.keys == "2" * 15
    for agent in scene.agents:
        assert len({settings.send_key for _, settings in agent.media.history}) > 3
        assert len({settings.receive_key for _, settings in agent.media.history}) > 3
    session = leg.record()["session"]
    assert isinstance(session, dict)
    assert session["keys_sent"] > 2
    assert session["keys_received"] > 2


def test_keys_do_not_change_where_either_side_does_not_know_how() -> None:
    scene = Scene(
        peer=both(Encryption.REQUIRED),
        whole=lambda owner, settings: replace(settings, key_rotation=False),
    )
    leg, _, far, _ = scene.answered()
    scene.run(700)
    for each in (leg, far):
        session = each.record()["session"]
        assert isinstance(session, dict)
        assert session["keys_sent"] == 0


def test_keys_do_not_change_for_a_far_end_that_does_not_say_that_it_knows_how() -> None:
    scene = Scene(peer=both(Encryption.REQUIRED))
    known, unknown = b"\x2b\x02\x80\x01", b"\x2b\x02\x00\x01"

    def without(sender: str, to: tuple[str, int], data: bytes) -> bool:
        if known not in data:
            return False
        scene.carry((ADDRESSES[sender], 4569), to, data.replace(known, unknown))
        return True

    scene.drop = without
    leg, _, far, _ = scene.answered()
    scene.run(700)
    for each in (leg, far):
        session = each.record()["session"]
        assert isinstance(session, dict)
        assert (session["encrypted"], session["keys_sent"]) == (True, 0)


def test_new_offers_encryption_and_rotation() -> None:
    scene = Scene(peer=both(Encryption.REQUIRED))
    scene.answered()
    assert {frame.elements.number(Ie.ENCRYPTION) for frame in scene.sent("a", Command.NEW)} == {AES_128 | KEY_ROTATION}
    assert scene.sent("b", Command.AUTHREQ)[0].elements.number(Ie.ENCRYPTION) == AES_128 | KEY_ROTATION


def test_the_first_key_comes_of_challenge_and_secret() -> None:
    scene = Scene(peer=both(Encryption.REQUIRED))
    scene.answered()
    _, settings = scene["a"].media.history[0]
    assert settings.send_key == settings.receive_key
    assert settings.encrypted
    readable = []
    for _, _, data in scene.wire:
        try:
            readable.append(parse(Cipher(settings.send_key, random.Random(0)).decrypt(data)))
        except IaxError:
            continue
    kinds = [frame.subclass for frame in readable if isinstance(frame, FullFrame)]
    assert Command.AUTHREP in kinds
    assert Command.ACCEPT in kinds


def test_a_wrong_secret_is_refused_and_no_call_in_clear_comes_of_it() -> None:
    def wrong(owner: str, settings: PeerSettings) -> PeerSettings:
        return replace(settings, encryption=Encryption.REQUIRED, secret="one" if owner == "a" else "other")

    scene = Scene(peer=wrong)
    _, notes = scene.place()
    scene.run(60)
    assert notes.released is not None
    assert notes.released.cause in (Cause.CALL_REJECTED, Cause.TEMPORARY_FAILURE, Cause.RECOVERY_ON_TIMER_EXPIRY)
    assert scene["b"].offers == []
    assert not notes.of(Leaving)
    scene.assert_clean()


def test_a_far_end_that_cannot_read_our_proof_is_said_to_have_another_secret(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(peer=both(Encryption.REQUIRED))
    scene.drop = lambda sender, to, data: sender == "a" and len(scene.sent("b", Command.AUTHREQ)) > 0
    with caplog.at_level(logging.WARNING):
        _, notes = scene.place()
        scene.run(60)
    assert notes.released is not None
    assert notes.released.cause is Cause.RECOVERY_ON_TIMER_EXPIRY
    assert any("another secret" in record.getMessage() for record in caplog.records)
    scene.assert_clean()


@pytest.mark.parametrize("seed", range(6))
def test_a_bad_network_changes_nothing_of_it(seed: int) -> None:
    def whole(owner: str, settings: IaxSettings) -> IaxSettings:
        timers = {IaxTimer.KEY_LEAST: 5 * SECOND_MICROS, IaxTimer.KEY_MOST: 20 * SECOND_MICROS}
        return replace(settings, timers=timers)

    scene = Scene(peer=both(Encryption.REQUIRED), whole=whole, faults=BAD_NETWORK, seed=seed)
    leg, notes, far, far_notes = scene.answered()
    digits = "0123456789*#ABCD"
    for digit in digits:
        leg.keypad(digit, 100, scene.now)
        far.keypad(digit, 100, scene.now)
        scene.run(2)
    scene.run(20)
    assert notes.keys == far_notes.keys == digits
    scene.faults = Faults()
    scene.run(20)
    hang_up(leg, scene)
    scene.run(5)
    assert notes.released is not None
    assert far_notes.released is not None
    assert far_notes.released.cause is Cause.NORMAL_CALL_CLEARING
    scene.assert_clean()


def test_elements_of_rtkey_are_a_key() -> None:
    scene, leg, far = encrypted_call()
    session = far.session
    assert session is not None
    before = leg.record()["session"]
    session.command(Command.RTKEY, scene.now, Elements().add(Ie.CHALLENGE, b"too short"))
    scene.run(1)
    after = leg.record()["session"]
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert after["keys_received"] == before["keys_received"]
    assert after["malformed"] == before["malformed"] + 1
    assert not leg.over
