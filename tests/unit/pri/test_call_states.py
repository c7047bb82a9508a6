"""Every message in every state of every role: a legal one moves the call, another gets STATUS and changes nothing."""

from __future__ import annotations

import pytest

from gateway.cause import Cause, Location
from gateway.pri.channels import Hunt
from gateway.pri.lapd import Side
from gateway.pri.q931.call import Q931Call
from gateway.pri.q931.ie import (
    CallState,
    CauseElement,
    Facility,
    InformationElement,
    Notification,
    NotificationIndicator,
    ProgressDescription,
    ProgressIndicator,
)
from gateway.pri.q931.message import MessageType
from gateway.pri.q931.primitives import Primitive
from gateway.pri.q931.states import CHAINS, CLEARING, RECEIVABLE, TRANSITIONS, State
from tests.unit.pri.q931_far_end import ROLES, FarEnd, T, states_of

CALL_MESSAGES: dict[MessageType, tuple[InformationElement, ...]] = {
    T.SETUP_ACKNOWLEDGE: (),
    T.CALL_PROCEEDING: (),
    T.PROGRESS: (ProgressIndicator(ProgressDescription.INBAND_INFORMATION),),
    T.ALERTING: (),
    T.CONNECT: (),
    T.CONNECT_ACKNOWLEDGE: (),
    T.INFORMATION: (),
    T.NOTIFY: (NotificationIndicator(Notification.REMOTE_HOLD),),
    T.FACILITY: (Facility(b""),),
    T.DISCONNECT: (CauseElement(Cause.USER_BUSY),),
    T.RELEASE: (CauseElement(Cause.USER_BUSY),),
    T.RELEASE_COMPLETE: (CauseElement(Cause.USER_BUSY),),
    T.STATUS_ENQUIRY: (),
}
# What a message does to a call in which nothing has gone wrong; other states it leaves as they are.
OUTGOING = {
    T.SETUP_ACKNOWLEDGE: "overlap",
    T.CALL_PROCEEDING: "proceeding",
    T.ALERTING: "alerting",
    T.CONNECT: "active",
}
TABLE = [(role, state, kind) for role in ROLES for state in states_of(*role) for kind in CALL_MESSAGES]


def expected(role: tuple[Side, bool], state: State, kind: MessageType) -> State:
    """The state after a legal message, from clause 5 by hand."""
    chain = CHAINS[role]
    if kind in (T.RELEASE, T.RELEASE_COMPLETE):
        return State.NULL
    if kind is T.DISCONNECT:
        return state if state is chain.disconnect_received else State.RELEASE_REQUEST
    if state in CLEARING:
        return state
    if role[1]:
        where = OUTGOING.get(kind)
        if where is not None:
            return State.ACTIVE if where == "active" else getattr(chain, where)
    elif kind is T.CONNECT_ACKNOWLEDGE:
        return State.ACTIVE
    return state


@pytest.mark.parametrize(
    ("role", "state", "kind"), TABLE, ids=lambda value: getattr(value, "name", None) or f"{value[0].name}-{value[1]}"
)
def test_message_in_state(role: tuple[Side, bool], state: State, kind: MessageType) -> None:
    side, originated = role
    end = FarEnd(side)
    call = end.call_in(originated, state)
    end.send(call, kind, *CALL_MESSAGES[kind])
    answers = end.taken()
    if state in RECEIVABLE[role].get(kind, frozenset()):
        assert call.state is expected(role, state, kind)
        statuses = [message for message in answers if message.message_type is T.STATUS]
        assert bool(statuses) is (kind is T.STATUS_ENQUIRY)
    else:
        assert call.state is state
        (status,) = answers
        assert status.message_type is T.STATUS
        assert status.first(CauseElement) == CauseElement(
            Cause.MESSAGE_NOT_COMPATIBLE, end.link.location, diagnostics=bytes((kind,))
        )
        assert status.first(CallState) == CallState(state)
        assert end.told() == []
    # Whatever it was, the call can be cleared and nothing of it stays.
    end.link.now = end.now
    call.clear(Cause.NORMAL_CALL_CLEARING)
    end.wait(3600)
    assert call.released
    assert end.link.calls == {}
    assert end.link.next_timer() is None
    assert all(channel.owner is None for channel in end.channels)


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_the_states_the_standard_gives_each_role(role: tuple[Side, bool]) -> None:
    side, originated = role
    from_user = {1, 2, 3, 4}
    from_network = {6, 25, 9, 7}
    own = from_user if (side is Side.USER) is originated else from_network
    states = {int(state) for state in states_of(*role)}
    assert own | {10, 11, 12, 19} <= states
    # Only a called user waits for CONNECT ACKNOWLEDGE.
    assert (8 in states) is (role == (Side.USER, False))
    assert set(TRANSITIONS[role]) - {State.NULL} == set(states_of(*role))


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_an_illegal_transition_is_a_fault_of_ours(role: tuple[Side, bool]) -> None:
    end = FarEnd(role[0])
    call = end.call_in(role[1], State.RELEASE_REQUEST)
    with pytest.raises(AssertionError, match="RELEASE_REQUEST -> ACTIVE"):
        call.set_state(State.ACTIVE)


@pytest.mark.parametrize("role", ROLES, ids=str)
@pytest.mark.parametrize("request_name", ["proceeding", "alerting", "connect", "more_information", "progress"])
def test_requests_of_the_called_side_do_nothing_where_they_do_not_belong(
    role: tuple[Side, bool], request_name: str
) -> None:
    for state in states_of(*role):
        end = FarEnd(role[0])
        call = end.call_in(role[1], state)
        chain = call.chain
        legal = (
            not role[1]
            and state
            in {
                "proceeding": (chain.setup, chain.overlap),
                "alerting": (chain.setup, chain.overlap, chain.proceeding),
                "connect": (chain.setup, chain.overlap, chain.proceeding, chain.alerting),
                "more_information": (chain.setup,),
                "progress": (chain.setup, chain.overlap, chain.proceeding, chain.alerting),
            }[request_name]
        )
        done = getattr(call, request_name)(())
        assert done is legal
        assert bool(end.sent()) is legal


def state_of(call: Q931Call) -> State:
    return call.state


def test_call_of_ours_from_setup_to_the_end_as_user() -> None:
    end = FarEnd(Side.USER)
    call = end.place()
    assert end.one(T.SETUP).call_reference.flag is False
    assert state_of(call) is State.CALL_INITIATED
    end.send(call, T.CALL_PROCEEDING)
    assert state_of(call) is State.OUTGOING_CALL_PROCEEDING
    end.send(call, T.ALERTING)
    assert state_of(call) is State.CALL_DELIVERED
    end.send(call, T.CONNECT)
    assert state_of(call) is State.ACTIVE
    assert end.told() == [Primitive.CHANNEL, Primitive.PROCEEDING, Primitive.ALERTING, Primitive.CONNECT]
    assert end.sent() == [T.CONNECT_ACKNOWLEDGE]
    call.clear(Cause.NORMAL_CALL_CLEARING)
    assert state_of(call) is State.DISCONNECT_REQUEST
    end.send_cause(call, T.RELEASE, Cause.NORMAL_CALL_CLEARING)
    assert end.sent() == [T.DISCONNECT, T.RELEASE_COMPLETE]
    assert end.told() == [Primitive.RELEASE]


def test_call_of_theirs_from_setup_to_the_end_as_user() -> None:
    end = FarEnd(Side.USER)
    call = end.offered()
    assert state_of(call) is State.CALL_PRESENT
    call.proceeding(())
    assert state_of(call) is State.INCOMING_CALL_PROCEEDING
    call.alerting(())
    assert state_of(call) is State.CALL_RECEIVED
    call.connect(())
    assert state_of(call) is State.CONNECT_REQUEST
    end.send(call, T.CONNECT_ACKNOWLEDGE)
    assert state_of(call) is State.ACTIVE
    messages = end.taken()
    assert [message.message_type for message in messages] == [T.CALL_PROCEEDING, T.ALERTING, T.CONNECT]
    assert all(message.call_reference.flag for message in messages)
    end.send_cause(call, T.DISCONNECT, Cause.NORMAL_CALL_CLEARING)
    assert end.sent() == [T.RELEASE]
    assert state_of(call) is State.RELEASE_REQUEST
    end.send(call, T.RELEASE_COMPLETE)
    assert call.released


def test_network_is_active_when_it_has_sent_connect() -> None:
    end = FarEnd(Side.NETWORK)
    call = end.offered()
    assert state_of(call) is State.CALL_INITIATED
    call.connect(())
    assert state_of(call) is State.ACTIVE
    end.send(call, T.CONNECT_ACKNOWLEDGE)
    assert state_of(call) is State.ACTIVE
    assert T.STATUS not in end.sent()


def test_refusal_of_an_unanswered_setup_is_release_complete_whatever_the_cause() -> None:
    for cause in Cause:
        end = FarEnd(Side.USER)
        call = end.offered()
        call.clear(cause)
        message = end.one(T.RELEASE_COMPLETE)
        assert message.first(CauseElement) == CauseElement(cause, Location.USER)
        assert call.released


def test_clause_5_3_5_disconnects_that_cross_are_released_by_both() -> None:
    end = FarEnd(Side.USER)
    call = end.call_in(True, State.ACTIVE)
    call.clear(Cause.NORMAL_CALL_CLEARING)
    end.send_cause(call, T.DISCONNECT, Cause.NORMAL_CALL_CLEARING)
    assert end.sent() == [T.DISCONNECT, T.RELEASE]
    end.send_cause(call, T.RELEASE, Cause.NORMAL_CALL_CLEARING)
    assert end.sent() == []  # RELEASEs that cross are not completed
    assert call.released


def test_disconnect_with_inband_information_waits_for_the_owner() -> None:
    end = FarEnd(Side.USER)
    call = end.call_in(True, State.DISCONNECT_INDICATION)
    end.wait(100)
    assert end.sent() == []
    call.clear(Cause.NORMAL_CALL_CLEARING)
    assert end.sent() == [T.RELEASE]


def test_disconnect_with_inband_information_is_released_at_once_by_who_does_not_want_to_hear() -> None:
    end = FarEnd(Side.USER, hold_inband=False)
    call = end.call_in(True, State.OUTGOING_CALL_PROCEEDING)
    end.send(
        call, T.DISCONNECT, CauseElement(Cause.USER_BUSY), ProgressIndicator(ProgressDescription.INBAND_INFORMATION)
    )
    assert end.sent() == [T.RELEASE]
    assert end.told() == [Primitive.CLEARED]


def test_number_of_calls_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.pri.q931.link.MAX_CALLS", 2)
    end = FarEnd(Side.USER)
    end.place()
    end.place()
    assert end.link.new_call(Hunt.ASCENDING) is Cause.SWITCHING_EQUIPMENT_CONGESTION
    end.taken()
    assert end.offer() is None
    refusal = end.one(T.RELEASE_COMPLETE).first(CauseElement)
    assert refusal is not None
    assert refusal.value is Cause.SWITCHING_EQUIPMENT_CONGESTION


def test_call_references_are_unique_and_go_round() -> None:
    end = FarEnd(Side.USER)
    end.link._last_reference = 32765
    values = [end.place().reference.value for _ in range(4)]
    assert values == [32766, 32767, 1, 2]
