"""IAX2 calls as legs, two gateways back to back: setting up, codecs, what cannot be placed (RFC 5456 6.2)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gateway.cause import Cause
from gateway.identity import Number, Party, Presentation, Screening, TypeOfNumber
from gateway.leg import (
    SECURE_MEDIA,
    SECURE_SIGNALLING,
    Alerting,
    Answered,
    Bearer,
    LegEvent,
    Proceeding,
    Progress,
    Setup,
)
from gateway.media.api import Codec
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.frame import Command, Control, FrameType
from gateway.voip.iax.leg_states import LegState
from gateway.voip.iax.peers import Encryption, IaxSettings, PeerSettings
from tests.unit.voip.iax.iax_calls import offered, say, settled
from tests.unit.voip.iax.iax_scene import Scene, hang_up, simple_setup

# -- setting up --


def test_a_call_is_offered_with_all_that_new_says() -> None:
    scene = Scene()
    caller = Party(Number("2125550000", TypeOfNumber.NATIONAL, screening=Screening.NETWORK), "Zoë")
    scene.place(Setup(Number("4165551234"), caller))
    leg, offer, _ = offered(scene)
    setup = offer.setup
    assert (setup.called.digits, setup.complete) == ("4165551234", True)
    assert setup.caller == caller
    assert setup.codec is Codec.ALAW
    assert (offer.context, offer.source) == ("from-a", "a")
    assert setup.facts == frozenset()
    assert leg.incoming
    assert leg.technology == "iax2"


def test_events_come_in_their_order() -> None:
    scene = Scene()
    _, notes, _, far = scene.answered()
    assert notes.names() == ["MediaChanged", "Proceeding", "Alerting", "Answered"]
    assert far.names() == []


def test_nothing_is_accepted_before_the_call_has_a_way() -> None:
    scene = Scene()
    _, notes = scene.place()
    leg, _, _ = offered(scene)
    settled(scene)
    assert scene.sent("b", Command.ACCEPT) == []
    assert notes.of(Proceeding) == []
    leg.proceed(scene.now)
    settled(scene)
    assert len(scene.sent("b", Command.ACCEPT)) == 1
    assert len(notes.of(Proceeding)) == 1


@pytest.mark.parametrize("command", ["progress", "alert", "answer"])
def test_whatever_is_said_first_accepts_first(command: str) -> None:
    scene = Scene()
    _, notes = scene.place()
    leg, _, _ = offered(scene)
    match command:
        case "progress":
            leg.progress(True, scene.now)
        case "alert":
            leg.alert(False, scene.now)
        case _:
            leg.answer(None, scene.now)
    settled(scene)
    expected: dict[str, type[LegEvent]] = {"progress": Progress, "alert": Alerting, "answer": Answered}
    assert [type(event) for event in notes.events[1:]] == [Proceeding, expected[command]]


def test_ringing_with_a_tone_of_the_far_side_says_so() -> None:
    scene = Scene()
    _, notes = scene.place()
    leg, _, _ = offered(scene)
    leg.alert(True, scene.now)
    settled(scene)
    assert notes.of(Progress) == [Progress(inband=True)]
    leg.alert(True, scene.now)
    settled(scene)
    assert len(scene.sent("b", Control.RINGING, FrameType.CONTROL)) == 1
    assert len(scene.sent("b", Control.PROGRESS, FrameType.CONTROL)) == 1


def test_ringing_after_audio_says_that_audio_goes_on() -> None:
    scene = Scene()
    _, notes = scene.place()
    leg, _, _ = offered(scene)
    leg.progress(True, scene.now)
    leg.alert(False, scene.now)
    settled(scene)
    assert notes.of(Alerting) == [Alerting(inband=True)]


def test_voice_flows_both_ways_from_accept_on() -> None:
    scene = Scene()
    leg, _ = scene.place()
    far, _, _ = offered(scene)
    far.proceed(scene.now)
    settled(scene)
    scene.talk(("a", leg), ("b", far))
    assert scene.heard("a", leg) == "b"
    assert scene.heard("b", far) == "a"


def test_the_first_voice_goes_in_a_full_frame_that_is_acknowledged() -> None:
    scene = Scene()
    leg, _, far, _ = scene.answered()
    scene.talk(("a", leg), ("b", far), packets=5)
    (voice,) = scene.sent("a", 8, FrameType.VOICE)
    assert voice.data == b"a" * 160
    assert len([by for _, by, _, _ in scene.minis if by == "a"]) == 4
    assert far.stream is not None
    assert scene["b"].media.heard[far.stream][0] == (voice.stamp, b"a" * 160)


def test_the_caller_s_preference_chooses_the_codec() -> None:
    def codecs(owner: str, settings: PeerSettings) -> PeerSettings:
        mine = (Codec.G722, Codec.ULAW) if owner == "a" else (Codec.ULAW, Codec.ALAW, Codec.G722)
        return replace(settings, codecs=mine)

    scene = Scene(peer=codecs)
    leg, _, far, _ = scene.answered()
    assert leg.codec is far.codec is Codec.G722
    assert leg.record()["codec"] == "g722"


def test_the_codec_of_the_other_side_of_the_call_comes_first() -> None:
    scene = Scene()
    scene.place(replace(simple_setup(), codec=Codec.ULAW))
    _, offer, _ = offered(scene)
    assert offer.setup.codec is Codec.ULAW


def test_nothing_in_common_is_a_refusal_with_a_cause() -> None:
    def codecs(owner: str, settings: PeerSettings) -> PeerSettings:
        return replace(settings, codecs=(Codec.ALAW,) if owner == "a" else (Codec.G722,))

    scene = Scene(peer=codecs)
    _, notes = scene.place()
    scene.run(2)
    assert notes.released is not None
    assert notes.released.cause is Cause.BEARER_CAPABILITY_NOT_AVAILABLE
    assert [refused.cause for refused in scene["b"].not_offered] == [Cause.BEARER_CAPABILITY_NOT_AVAILABLE]
    scene.assert_clean()


def test_an_accept_with_a_format_that_was_not_offered_fails_the_call() -> None:
    scene = Scene()
    leg, notes = scene.place()
    far, _, _ = offered(scene)
    say(far, scene, FrameType.IAX, Command.ACCEPT, Elements().add_number(Ie.FORMAT, 1 << 1, 4))
    assert notes.released is not None
    assert notes.released.cause is Cause.BEARER_CAPABILITY_NOT_AVAILABLE
    assert "0x2" in notes.released.text
    assert leg.state is LegState.OVER


def test_a_number_that_is_none_is_refused() -> None:
    scene = Scene()
    scene.place(Setup(Number("12")))
    leg, notes = scene.place()
    assert leg.session is not None
    scene.run(1)
    far = scene["b"].offers[-1][0]
    assert far.session is not None
    # The same endpoint, asked for a number that nobody can dial.
    hang_up(leg, scene)
    leg, notes = scene.place(Setup(Number("sales")))
    scene.run(1)
    assert notes.released is not None
    assert notes.released.cause is Cause.INVALID_NUMBER_FORMAT


# -- what cannot be placed --


def failed(scene: Scene, setup: Setup) -> Cause:
    _, notes = scene.place(setup)
    scene.drain()
    assert notes.released is not None
    assert not notes.released.ours
    scene.assert_clean()
    return notes.released.cause


def test_what_is_no_speech_is_not_placed() -> None:
    setup = replace(simple_setup(), bearer=Bearer.UNRESTRICTED)
    assert failed(Scene(), setup) is Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED


def test_a_call_that_went_in_circles_is_not_placed() -> None:
    assert failed(Scene(), replace(simple_setup(), hops=0)) is Cause.EXCHANGE_ROUTING_ERROR


def test_secure_signalling_cannot_be_had() -> None:
    setup = replace(simple_setup(), secure_bridge=frozenset({SECURE_SIGNALLING}))
    assert failed(Scene(), setup) is Cause.BEARER_CAPABILITY_NOT_AVAILABLE


def test_encryption_without_a_secret_is_not_tried() -> None:
    scene = Scene(peer=lambda owner, settings: replace(settings, secret=""))
    setup = replace(simple_setup(), secure_bridge=frozenset({SECURE_MEDIA}))
    assert failed(scene, setup) is Cause.BEARER_CAPABILITY_NOT_AVAILABLE
    assert scene.wire == []


def test_a_peer_at_its_limits_is_not_called_but_for_help() -> None:
    scene = Scene(peer=lambda owner, settings: replace(settings, calls_per_hour=1))
    leg, notes = scene.place()
    scene.run(0.5)
    hang_up(leg, scene)
    leg, notes = scene.place()
    assert notes.released is not None
    assert notes.released.cause is Cause.CALL_REJECTED
    _, notes = scene.place(replace(simple_setup("911"), emergency=True))
    assert notes.released is None


# -- states --


def test_an_answer_counts_only_in_a_call_of_ours_that_was_accepted() -> None:
    scene = Scene()
    leg, notes = scene.place()
    far, _, far_notes = offered(scene)
    say(far, scene, FrameType.CONTROL, Control.ANSWER)
    say(far, scene, FrameType.CONTROL, Control.BUSY)
    assert notes.names() == ["MediaChanged"]
    far.proceed(scene.now)
    settled(scene)
    say(leg, scene, FrameType.CONTROL, Control.ANSWER)
    say(leg, scene, FrameType.CONTROL, Control.RINGING)
    say(leg, scene, FrameType.CONTROL, Control.PROGRESS)
    assert far_notes.events == []
    assert far.state is LegState.LINKED
    far.answer(None, scene.now)
    settled(scene)
    assert len(notes.of(Answered)) == 1


def test_a_second_answer_is_not_told() -> None:
    scene = Scene()
    _, notes, far, _ = scene.answered()
    for control in (Control.ANSWER, Control.RINGING, Control.PROGRESS, Control.PROCEEDING):
        say(far, scene, FrameType.CONTROL, control)
    assert notes.names() == ["MediaChanged", "Proceeding", "Alerting", "Answered"]


def test_an_emergency_call_is_known_by_its_number_though_nobody_marked_it() -> None:
    def whole(owner: str, settings: IaxSettings) -> IaxSettings:
        return replace(settings, emergency=frozenset({"911"}))

    scene = Scene(whole=whole)
    scene.place(simple_setup("911"))
    leg, offer, _ = offered(scene)
    assert offer.setup.emergency
    assert leg.emergency


def test_a_hidden_number_goes_with_its_mark() -> None:
    scene = Scene()
    number = Number("2125550000", presentation=Presentation.RESTRICTED)
    scene.place(Setup(Number("1"), Party(number, "Bob", Presentation.RESTRICTED)))
    _, offer, _ = offered(scene)
    assert offer.setup.caller.number == number
    assert (offer.setup.caller.name, offer.setup.caller.name_presentation) == ("Bob", Presentation.RESTRICTED)


def test_encryption_is_not_offered_where_it_is_not_wanted() -> None:
    scene = Scene(peer=lambda owner, settings: replace(settings, encryption=Encryption.NO))
    scene.place()
    assert scene.sent("a", Command.NEW)[0].elements.raw(Ie.ENCRYPTION) is None


def test_each_side_learns_how_well_it_is_heard() -> None:
    scene = Scene()
    leg, _, far, _ = scene.answered()
    scene.run(45)
    for each in (leg, far):
        session = each.record()["session"]
        assert isinstance(session, dict)
        assert isinstance(session["far_report"], dict)
        assert session["round_trip"] == pytest.approx(2.0, abs=0.5)
        assert session["lag"] == pytest.approx(2.0, abs=0.5)
