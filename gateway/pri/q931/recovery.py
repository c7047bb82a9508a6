"""What was lost when the data link was reset, found out by the far end's call state (Q.931 5.8.8, 5.8.10, 5.8.11).

A reset loses the messages that were on their way. 5.8.8 leaves calls alone whose answer may be among them: T313 would
clear one end, T301 the other, after a minute of ringing for a call that was taken. Here STATUS tells who is behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.pri.q931.message import Message, MessageType
from gateway.pri.q931.states import State
from gateway.pri.q931.timers import Q931Timer

if TYPE_CHECKING:
    from gateway.pri.q931.call import Q931Call
    from gateway.pri.q931.ie import CauseElement

MAX_REPEATS = 3
"""How often a call repeats what its far end has not got (own): then its timers decide."""
_ANSWERED = frozenset({State.ACTIVE, State.CONNECT_REQUEST})


def repeat_answer(call: Q931Call) -> bool:
    """Send again what the called side said last of how far the call is; False if it said nothing or too often."""
    message = call.last_answer
    if call.originated or message is None or call.repeats >= MAX_REPEATS:
        return False
    call.repeats += 1
    call.link.transmit(message)
    if call.state is State.CONNECT_REQUEST:
        call.start(Q931Timer.T313)
    return True


def repeat_setup(call: Q931Call) -> None:
    """Send SETUP again at once: it, or its answer, may be lost. A far end that has it takes it for the same call."""
    if call.setup_message is not None and call.repeats < MAX_REPEATS:
        call.repeats += 1
        call.link.transmit(call.setup_message)
        call.start(Q931Timer.T303)


def repeat_clearing(call: Q931Call, cause: CauseElement) -> None:
    """Send DISCONNECT or RELEASE again at once: T305 would leave the other end of a call connected for 30 s."""
    if call.repeats >= MAX_REPEATS:
        return
    call.repeats += 1
    call.send(MessageType.RELEASE if call.state is State.RELEASE_REQUEST else MessageType.DISCONNECT, (cause,))


def catch_up(call: Q931Call, reported: int, message: Message) -> bool:
    """The far end answered that it is in ``reported``: mend what got lost between us. True if that was done."""
    if call.originated:
        return _caller(call, reported, message)
    chain, state = call.chain, call.state
    before = (chain.setup, chain.overlap, chain.proceeding, chain.alerting)
    if state is State.CONNECT_REQUEST and reported == State.ACTIVE:
        call.on_connect_acknowledge(message)
        return True
    if reported not in before or state not in (*before, chain.connect):
        return False
    order = (*before, chain.connect)
    return order.index(state) > before.index(State(reported)) and repeat_answer(call)


def _caller(call: Q931Call, reported: int, message: Message) -> bool:
    chain, state = call.chain, call.state
    if state is State.ACTIVE:
        if reported == State.CONNECT_REQUEST:
            call.send(MessageType.CONNECT_ACKNOWLEDGE, ())
            return True
        return False
    if state not in (chain.setup, chain.proceeding, chain.alerting):
        return False
    if reported in _ANSWERED:
        call.on_connect(message)
        return True
    if reported == chain.alerting and state is not chain.alerting:
        call.on_alerting(message)
        return True
    return False
