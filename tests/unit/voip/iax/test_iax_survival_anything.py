"""What is kept of a leg of IAX2 may be anything: it is refused, or stands and ends as others."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.cause import Cause
from gateway.voip.iax.frame import FrameType
from gateway.voip.iax.leg_states import LegState
from gateway.voip.iax.reports import LinkReport
from gateway.voip.iax.survival import IaxLegState, IaxSurvival, KeysKept, SentKept
from tests.unit.voip.iax.iax_heirs import again, standing
from tests.unit.voip.iax.iax_scene import Notes, Scene


def _state() -> bytes:
    scene = Scene()
    state, _, _ = standing(scene)
    return state


STATE = _state()


def _taken(state: bytes) -> None:
    """Take up what may be anything: it is refused, or stands and ends as others."""
    scene = Scene()
    agent = scene["b"]
    agent.media.voices[900] = next(iter(agent.media.sockets))
    agent.media.heard[900] = []
    again(scene, agent)
    survival = IaxSurvival(agent.endpoint)
    try:
        leg = survival.revive(state, 900, scene.now)
    except ValueError:
        assert agent.endpoint.idle and not len(agent.endpoint.numbers) and not len(agent.endpoint.rounds)
        try:
            survival.give_up(state, Cause.TEMPORARY_FAILURE, scene.now)
        except ValueError:
            assert not len(agent.endpoint.numbers)
        agent.media.voices.clear()
    else:
        leg.listener = Notes()
        assert survival.keep(leg) is not None
    agent.endpoint.inherited(scene.now)
    scene.run(2)
    for each in tuple(agent.endpoint.legs.values()):
        each.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(1)
    scene.assert_clean()


@given(st.binary(max_size=300))
def test_no_octets_are_too_strange(state: bytes) -> None:
    _taken(state)


@given(st.data())
def test_no_change_of_a_state_is_too_strange(data: st.DataObject) -> None:
    octets = bytearray(STATE)
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    _taken(bytes(octets))


_FRAMES = st.builds(
    SentKept,
    st.integers(0, 255),
    st.integers(0, 127),
    st.integers(0, 0xFFFF_FFFF),
    st.binary(max_size=30),
    st.integers(0, 255),
    st.sampled_from((b"", bytes(16), bytes(15))),
)


@given(st.data())
def test_values_that_no_program_wrote_are_refused_or_harmless(data: st.DataObject) -> None:
    one = msgspec.msgpack.decode(STATE, type=IaxLegState)
    path = one.session.path
    session = replace(
        one.session,
        path=path._replace(
            address=data.draw(st.sampled_from((path.address, "", "here", "::", "::1", "0.0.0.0"))),
            port=data.draw(st.sampled_from((path.port, 0, -1, 65536))),
        ),
        source=data.draw(st.integers(0, 32768)),
        destination=data.draw(st.integers(0, 32768)),
        epoch=data.draw(st.sampled_from((one.session.epoch, 0, -(1 << 40), 1 << 40))),
        oseqno=data.draw(st.integers(0, 256)),
        iseqno=data.draw(st.integers(0, 256)),
        stamp=data.draw(st.integers(-2, 1 << 32)),
        outstanding=tuple(data.draw(st.lists(_FRAMES, max_size=3))),
        waiting=tuple(data.draw(st.lists(_FRAMES, max_size=3))),
    )
    state = data.draw(st.sampled_from(list(LegState)))
    _taken(msgspec.msgpack.encode(replace(one, session=session, state=state)))


_KEYS = st.binary(min_size=16, max_size=16)


@given(st.data())
def test_what_is_kept_of_a_leg_that_was_made_of_it_is_the_same(data: st.DataObject) -> None:
    one = msgspec.msgpack.decode(STATE, type=IaxLegState)
    oseqno = data.draw(st.integers(0, 255))
    count = data.draw(st.integers(0, 5))
    frames = tuple(
        SentKept(FrameType.DTMF, ord("1"), turn, b"", (oseqno - count + turn) & 0xFF) for turn in range(count)
    )
    session = replace(
        one.session,
        source=data.draw(st.integers(2, 32767)),
        destination=data.draw(st.integers(1, 32767)),
        oseqno=oseqno,
        iseqno=data.draw(st.integers(0, 255)),
        stamp=data.draw(st.integers(-1, 0xFFFF_FFFF)),
        epoch=data.draw(st.integers(0, 1 << 50)),
        outstanding=frames,
        keys=data.draw(
            st.none()
            | st.builds(
                KeysKept, _KEYS, _KEYS, _KEYS | st.just(b""), st.booleans(), st.integers(0, 99), st.integers(0, 99)
            )
        ),
        heard=data.draw(st.none() | st.integers(0, 1 << 50)),
        round_trip=data.draw(st.none() | st.integers(0, 1 << 30)),
        lag=data.draw(st.none() | st.integers(0, 1 << 30)),
        far_report=data.draw(st.none() | st.builds(LinkReport, st.integers(0, 9), st.integers(0, 9))),
    )
    state = msgspec.msgpack.encode(
        replace(one, session=session, quiet=data.draw(st.booleans()), held=data.draw(st.booleans()))
    )
    scene = Scene()
    again(scene, scene["b"])
    survival = IaxSurvival(scene["b"].endpoint)
    leg = survival.revive(state, 900, scene.now)
    kept = survival.keep(leg)
    assert kept is not None and leg.settings is not None
    assert bool(session.keys) is leg.settings.encrypted
    assert msgspec.msgpack.decode(kept, type=IaxLegState) == msgspec.msgpack.decode(state, type=IaxLegState)
