"""Call states of Q.931 2.1 and 2.4 and what is legal in them, as data: a chain of states per role, receivable messages.

A role is (side, did we send the SETUP). Suspend, resume and call abort (states 15, 17, 22) do not exist on a PRI.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from gateway.pri.lapd import Side
from gateway.pri.q931.message import MessageType


class State(IntEnum):
    """Q.931 table 4-8; U for the user side and N for the network side share the number and the meaning."""

    NULL = 0
    CALL_INITIATED = 1
    OVERLAP_SENDING = 2
    OUTGOING_CALL_PROCEEDING = 3
    CALL_DELIVERED = 4
    CALL_PRESENT = 6
    CALL_RECEIVED = 7
    CONNECT_REQUEST = 8
    INCOMING_CALL_PROCEEDING = 9
    ACTIVE = 10
    DISCONNECT_REQUEST = 11
    DISCONNECT_INDICATION = 12
    RELEASE_REQUEST = 19
    OVERLAP_RECEIVING = 25


class GlobalState(IntEnum):
    """States of the global call reference, as coded in Call state (Q.931 table 4-8)."""

    REST_0 = 0
    REST_1 = 61
    REST_2 = 62


@dataclass(frozen=True, slots=True)
class Chain:
    """The states one role passes through, by what has happened. ``connect`` is ACTIVE where none lies between."""

    setup: State
    overlap: State
    proceeding: State
    alerting: State
    connect: State
    disconnect_sent: State
    disconnect_received: State


Role = tuple[Side, bool]

_FROM_USER = (
    State.CALL_INITIATED,
    State.OVERLAP_SENDING,
    State.OUTGOING_CALL_PROCEEDING,
    State.CALL_DELIVERED,
)
_FROM_NETWORK = (
    State.CALL_PRESENT,
    State.OVERLAP_RECEIVING,
    State.INCOMING_CALL_PROCEEDING,
    State.CALL_RECEIVED,
)
# 5.3.3 and 5.3.4: both ends call the user's clearing Disconnect Request and the network's Disconnect Indication.
_USER_CLEARING = (State.DISCONNECT_REQUEST, State.DISCONNECT_INDICATION)
_NETWORK_CLEARING = (State.DISCONNECT_INDICATION, State.DISCONNECT_REQUEST)

CHAINS: dict[Role, Chain] = {
    (Side.USER, True): Chain(*_FROM_USER, State.ACTIVE, *_USER_CLEARING),
    (Side.USER, False): Chain(*_FROM_NETWORK, State.CONNECT_REQUEST, *_USER_CLEARING),
    # N8 lasts only as long as the network takes to award the call, which here is no time at all.
    (Side.NETWORK, True): Chain(*_FROM_NETWORK, State.ACTIVE, *_NETWORK_CLEARING),
    (Side.NETWORK, False): Chain(*_FROM_USER, State.ACTIVE, *_NETWORK_CLEARING),
}

CLEARING = frozenset({State.DISCONNECT_REQUEST, State.DISCONNECT_INDICATION, State.RELEASE_REQUEST})


def _next_states(chain: Chain) -> dict[State, frozenset[State]]:
    """What may follow what: forwards along the chain, with steps left out, and clearing from anywhere."""
    order = (State.NULL, chain.setup, chain.overlap, chain.proceeding, chain.alerting, chain.connect)
    clearing = {chain.disconnect_sent, chain.disconnect_received, State.RELEASE_REQUEST, State.NULL}
    following = {state: frozenset({*order[at + 1 :], State.ACTIVE, *clearing}) for at, state in enumerate(order)}
    following[State.NULL] = frozenset({chain.setup})
    following[State.ACTIVE] = frozenset(clearing)
    following[chain.disconnect_sent] = frozenset({State.RELEASE_REQUEST, State.NULL})
    following[chain.disconnect_received] = frozenset({State.RELEASE_REQUEST, State.NULL})
    following[State.RELEASE_REQUEST] = frozenset({State.NULL})
    return following


TRANSITIONS: dict[Role, dict[State, frozenset[State]]] = {role: _next_states(chain) for role, chain in CHAINS.items()}


def _receivable(role: Role, chain: Chain) -> dict[int, frozenset[State]]:
    side, originated = role
    before_answer = (chain.setup, chain.overlap, chain.proceeding, chain.alerting)
    established = {*before_answer, chain.connect, State.ACTIVE}
    calls = established | CLEARING
    table: dict[int, frozenset[State]] = {
        MessageType.DISCONNECT: frozenset(established | CLEARING),
        MessageType.RELEASE: frozenset(calls),
        MessageType.RELEASE_COMPLETE: frozenset(calls),
        MessageType.STATUS: frozenset(calls),
        MessageType.STATUS_ENQUIRY: frozenset(calls),
        MessageType.INFORMATION: frozenset(calls),
        MessageType.NOTIFY: frozenset(calls),
        MessageType.FACILITY: frozenset(calls),
        MessageType.USER_INFORMATION: frozenset({State.ACTIVE, *CLEARING}),
        MessageType.CONGESTION_CONTROL: frozenset({State.ACTIVE, *CLEARING}),
    }
    # Messages of the establishment phase that crossed our clearing are no errors and mean nothing (5.3.2).
    if originated:
        table[MessageType.SETUP_ACKNOWLEDGE] = frozenset({chain.setup, *CLEARING})
        table[MessageType.CALL_PROCEEDING] = frozenset({chain.setup, chain.overlap, *CLEARING})
        # Table 5-1 knows no PROGRESS before another answer to SETUP; switches send it all the same.
        table[MessageType.PROGRESS] = frozenset({*before_answer, *CLEARING})
        table[MessageType.ALERTING] = frozenset({chain.setup, chain.overlap, chain.proceeding, *CLEARING})
        table[MessageType.CONNECT] = frozenset({*before_answer, *CLEARING})
    else:
        # The user acknowledges CONNECT only if it likes to (5.1.8): the network may get it while active.
        table[MessageType.CONNECT_ACKNOWLEDGE] = frozenset({chain.connect, State.ACTIVE, *CLEARING})
        # 5.1.6: a calling side may report interworking while its call is being established.
        table[MessageType.PROGRESS] = frozenset({*before_answer, *CLEARING})
    if side is Side.NETWORK and originated:
        table[MessageType.CONNECT_ACKNOWLEDGE] = frozenset(CLEARING)
    return table


RECEIVABLE: dict[Role, dict[int, frozenset[State]]] = {role: _receivable(role, chain) for role, chain in CHAINS.items()}


def _compatible() -> dict[State, frozenset[int]]:
    """Which states a peer may report while we are in one (5.8.11: left to the implementation).

    Messages cross, so a peer may be anywhere on the same chain, or clearing; but it cannot be on the other chain.
    """
    clearing = {State.DISCONNECT_REQUEST, State.DISCONNECT_INDICATION, State.RELEASE_REQUEST}
    from_user = frozenset({*_FROM_USER, State.ACTIVE, *clearing})
    from_network = frozenset({*_FROM_NETWORK, State.CONNECT_REQUEST, State.ACTIVE, *clearing})
    table: dict[State, frozenset[int]] = dict.fromkeys(_FROM_USER, from_user)
    table.update(dict.fromkeys(_FROM_NETWORK, from_network))
    table[State.CONNECT_REQUEST] = from_network
    table[State.ACTIVE] = from_user | from_network
    table.update(dict.fromkeys(clearing, from_user | from_network))
    return table


COMPATIBLE: dict[State, frozenset[int]] = _compatible()

AGREES_WHEN_ACTIVE = frozenset(
    {
        State.ACTIVE,
        State.CONNECT_REQUEST,
        State.DISCONNECT_REQUEST,
        State.DISCONNECT_INDICATION,
        State.RELEASE_REQUEST,
    }
)
"""What a peer may answer our STATUS ENQUIRY about an active call: nothing of ours is on the way to it any more."""
