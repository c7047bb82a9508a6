"""Calls of a trunk that outlive the program: what each leaves behind, and the call made of it at the next start.

To the far end it is a data link that failed for a while (Q.931 5.8.9): an active call waits for the link until
T309 and then makes sure by STATUS ENQUIRY that both ends still have it; one that was given up is released.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.cause import Cause
from gateway.pri.leg_voice import VoicedLeg
from gateway.pri.q931.call import Q931Call
from gateway.pri.q931.message import CallReference
from gateway.pri.q931.states import State
from gateway.pri.q931.timers import Q931Timer

if TYPE_CHECKING:
    from gateway.leg import Leg
    from gateway.pri.leg import PriLeg
    from gateway.pri.trunk import PriTrunk


class PriLegState(msgspec.Struct, frozen=True, omit_defaults=True):
    """``reference``: the call reference's value, ``originated`` whether it is ours; ``serial`` is in the leg's name."""

    reference: int
    originated: bool
    timeslot: int
    serial: int
    state: int
    inband: bool = False


_ANSWERED = frozenset({State.ACTIVE, State.CONNECT_REQUEST})
"""Where a call can be gone on with. Whether our CONNECT was acknowledged meanwhile the far end's STATUS tells."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(PriLegState).decode


class PriSurvival:
    """``gateway.survival.Technology`` for one trunk."""

    def __init__(self, trunk: PriTrunk) -> None:
        self._trunk = trunk

    def keep(self, leg: Leg) -> bytes | None:
        """What ``revive`` and ``give_up`` need of ``leg``; None if there is no call of Q.931 to speak of."""
        if not isinstance(leg, VoicedLeg) or leg.over or leg.voiceless:
            return None
        call = leg.call
        if call.released or call.channel is None or call.state is State.NULL:
            return None
        return _encode(
            PriLegState(
                call.reference.value,
                call.originated,
                call.channel.timeslot,
                int(leg.name.rpartition("-")[2]),
                int(call.state),
                leg.inband,
            )
        )

    def revive(self, state: bytes, stream: int, now: int) -> PriLeg:
        """The leg of an active call, its voice ``stream``; raises ValueError."""
        kept = _read(state)
        if kept.state not in _ANSWERED:
            raise ValueError(f"its call is in state {kept.state}")
        call = self._call(kept, State(kept.state), now)
        leg = self._trunk.revive_leg(call, kept.serial, incoming=not kept.originated)
        leg.stand(stream, inband=kept.inband)
        return leg

    def give_up(self, state: bytes, cause: Cause, now: int) -> None:
        """Release the call as soon as there is a link; raises ValueError."""
        call = self._call(_read(state), State.RELEASE_REQUEST, now)
        call.clearing_cause = self._trunk.q931.cause_element(cause)

    def _call(self, kept: PriLegState, at: State, now: int) -> Q931Call:
        trunk = self._trunk
        link = trunk.q931
        trunk.enter(now)
        reference = CallReference(kept.reference, not kept.originated, link.call_reference_octets)
        call = Q931Call(link, reference, originated=kept.originated)
        if call.key in link.calls:
            raise ValueError(f"call reference {kept.reference} is in use")
        channel = trunk.channels.get(kept.timeslot)
        if channel is None or channel.owner is not None:
            raise ValueError(f"channel {kept.timeslot} is not to be had")
        channel.owner = call
        call.channel = channel
        call.answered = True
        # Not a transition: nobody was here to see those that led to it.
        call.state = at
        link.calls[call.key] = call
        call.start(Q931Timer.T309)
        return call


def _read(data: bytes) -> PriLegState:
    try:
        return _decode(data)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
