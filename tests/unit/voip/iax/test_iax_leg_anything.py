"""IAX2 legs whose far end says anything, and whose Call wants anything: never an exception, and always one end."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cause import Cause
from gateway.identity import Party
from gateway.media.api import Codec, IaxVoiceDue
from gateway.voip.iax.elements import Elements
from gateway.voip.iax.frame import Command, Control, FrameType
from gateway.voip.iax.leg import IaxLeg
from tests.unit.voip.iax.iax_scene import Notes, Scene, simple_setup

_KINDS = st.sampled_from([*FrameType, FrameType.IAX, FrameType.CONTROL, 0, 0x0B, 0x40])
_SUBCLASSES = st.one_of(st.sampled_from([*Command, *Control]), st.integers(0, 127), st.sampled_from([1 << 8, 1 << 34]))
_ELEMENTS = st.lists(st.tuples(st.integers(0, 60), st.binary(max_size=20)), max_size=4).map(
    lambda items: bytes(Elements(items))
)
_SAID = st.tuples(_KINDS, _SUBCLASSES.map(int), st.one_of(_ELEMENTS, st.binary(max_size=30)))
_WANTED = st.sampled_from(
    ["proceed", "progress", "alert", "answer", "digits", "keypad", "hold", "resume", "join", "voice", "identify"]
)


def want(leg: IaxLeg, what: str, scene: Scene) -> None:
    now = scene.now
    match what:
        case "proceed":
            leg.proceed(now)
        case "progress":
            leg.progress(True, now, Cause.INTERWORKING)
        case "alert":
            leg.alert(True, now)
        case "answer":
            leg.answer(Party(), now)
        case "digits":
            leg.digits("1", True, now)
        case "keypad":
            leg.keypad("1x", 100, now)
        case "hold":
            leg.hold(now)
        case "resume":
            leg.resume(now)
        case "join":
            leg.join(None, now)
        case "identify":
            leg.identify(Party(), now)
        case _:
            if leg.stream is not None:
                leg.on_media(IaxVoiceDue(leg.stream, 40, Codec.ALAW, b"v" * 160), now)


@settings(deadline=None, max_examples=60)
@given(
    said=st.lists(_SAID, max_size=12),
    wanted=st.lists(_WANTED, max_size=8),
    answered=st.booleans(),
    called=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_whatever_is_said_and_wanted_each_leg_ends_once(
    said: list[tuple[int, int, bytes]], wanted: list[str], answered: bool, called: bool, seed: int
) -> None:
    scene = Scene(seed=seed)
    far: IaxLeg | None = None
    if answered:
        leg, notes, far, far_notes = scene.answered()
    else:
        leg, notes = scene.place(simple_setup())
        scene.run(1)
        far, _, far_notes = scene["b"].offers[0]
    for number, (kind, subclass, data) in enumerate(said):
        speaker = far if (number % 2 == 0) is called else leg
        if speaker.session is not None:
            speaker.session.send(kind, subclass, scene.now, data)
        scene.run(0.05)
    for number, what in enumerate(wanted):
        want(leg if number % 2 else far, what, scene)
        scene.run(0.05)
    for each in (leg, far):
        each.release(Cause.NORMAL_CALL_CLEARING, scene.now)
        each.release(Cause.USER_BUSY, scene.now)
    scene.run(1)
    for heard in (notes, far_notes):
        assert isinstance(heard, Notes)
        assert heard.names().count("Released") == 1
        assert heard.names()[-1] == "Released"
        assert heard.released is not None
        assert heard.released.cause
    scene.assert_clean()
