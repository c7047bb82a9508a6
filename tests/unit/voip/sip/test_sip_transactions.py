"""The four transaction machines, state by state and event by event (RFC 3261 17, RFC 6026, RFC 4320)."""

from __future__ import annotations

import pytest

from gateway.voip.sip.flow import TCP, Flow
from gateway.voip.sip.message import Request
from gateway.voip.sip.parser import parse
from gateway.voip.sip.timers import SipTimer
from gateway.voip.sip.transaction import (
    ClientInvite,
    ClientNonInvite,
    ClientTransaction,
    Event,
    ServerInvite,
    ServerNonInvite,
    ServerTransaction,
    State,
    Trouble,
)
from tests.unit.voip.sip.sip_transaction_bench import TCP_FLOW, UDP_FLOW, Bench, respond, state

# -- INVITE client --


def test_invite_client_retransmits_at_doubling_intervals_until_timer_b() -> None:
    bench = Bench()
    transaction = bench.client()
    bench.run(31.9)
    assert bench.sent_at() == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert state(transaction) is State.CALLING
    bench.run(0.2)
    assert bench.troubles == [Trouble.TIMEOUT]
    assert state(transaction) is State.TERMINATED
    assert len(bench.table) == 0
    assert len(bench.timers) == 0


def test_invite_client_does_not_retransmit_on_a_reliable_transport() -> None:
    bench = Bench(TCP_FLOW)
    bench.client()
    bench.run(33)
    assert len(bench.wire) == 1
    assert bench.troubles == [Trouble.TIMEOUT]


def test_invite_client_stops_retransmitting_in_proceeding() -> None:
    bench = Bench()
    transaction = bench.client()
    bench.run(0.1)
    bench.respond(transaction, 100)
    bench.run(60)
    assert len(bench.wire) == 1
    assert state(transaction) is State.PROCEEDING
    assert bench.responses == [100]


def test_invite_client_passes_every_provisional_response() -> None:
    bench = Bench()
    transaction = bench.client()
    for status in (100, 180, 183, 180):
        bench.respond(transaction, status)
    assert bench.responses == [100, 180, 183, 180]


def test_timer_c_tells_the_user_once_and_then_bounds_the_wait() -> None:
    bench = Bench()
    transaction = bench.client()
    bench.respond(transaction, 180)
    bench.run(184)
    assert bench.troubles == []
    bench.run(2)
    assert bench.troubles == [Trouble.NO_ANSWER]
    assert state(transaction) is State.PROCEEDING
    bench.run(32)
    assert bench.troubles == [Trouble.NO_ANSWER, Trouble.TIMEOUT]
    assert state(transaction) is State.TERMINATED


def test_timer_c_starts_again_with_each_provisional_response() -> None:
    bench = Bench()
    transaction = bench.client()
    bench.respond(transaction, 180)
    bench.run(150)
    bench.respond(transaction, 180)
    bench.run(150)
    assert bench.troubles == []


def test_invite_client_waits_64_t1_for_a_final_response_after_cancel() -> None:
    bench = Bench()
    transaction = bench.client()
    bench.respond(transaction, 180)
    assert isinstance(transaction, ClientInvite)
    transaction.expect_end(bench.now)
    bench.respond(transaction, 180)
    bench.run(33)
    assert bench.troubles == [Trouble.TIMEOUT]


@pytest.mark.parametrize("provisional", [False, True])
def test_invite_client_acknowledges_a_failure_and_each_of_its_repetitions(provisional: bool) -> None:
    bench = Bench()
    transaction = bench.client()
    if provisional:
        bench.respond(transaction, 180)
    for _ in range(3):
        bench.respond(transaction, 486)
    acks = [parse(data) for _, data in bench.wire[1:]]
    assert len(acks) == 3
    assert all(isinstance(ack, Request) and ack.method == "ACK" for ack in acks)
    assert acks[0].via.branch == transaction.request.via.branch
    assert acks[0].to.tag == "t"
    assert bench.responses.count(486) == 1
    assert state(transaction) is State.COMPLETED
    bench.run(31)
    assert state(transaction) is State.COMPLETED
    bench.run(2)
    assert state(transaction) is State.TERMINATED


def test_invite_client_leaves_completed_at_once_on_a_reliable_transport() -> None:
    bench = Bench(TCP_FLOW)
    transaction = bench.client()
    bench.respond(transaction, 486)
    assert state(transaction) is State.TERMINATED
    assert len(bench.wire) == 2
    assert bench.responses == [486]


@pytest.mark.parametrize("flow", [UDP_FLOW, TCP_FLOW])
def test_invite_client_stays_accepted_for_timer_m_and_passes_every_2xx(flow: Flow) -> None:
    bench = Bench(flow)
    transaction = bench.client()
    bench.respond(transaction, 200)
    assert state(transaction) is State.ACCEPTED
    bench.run(10)
    bench.respond(transaction, 200)
    assert bench.responses == [200, 200]
    bench.run(21)
    assert state(transaction) is State.ACCEPTED
    bench.run(2)
    assert state(transaction) is State.TERMINATED
    assert not bench.respond(transaction, 200)


@pytest.mark.parametrize("status", [180, 486])
def test_invite_client_ignores_other_responses_when_accepted(status: int) -> None:
    bench = Bench()
    transaction = bench.client()
    bench.respond(transaction, 200)
    bench.respond(transaction, status)
    assert bench.responses == [200]
    assert len(bench.wire) == 1


def test_invite_client_ignores_a_2xx_after_a_failure() -> None:
    bench = Bench()
    transaction = bench.client()
    bench.respond(transaction, 486)
    bench.respond(transaction, 200)
    assert bench.responses == [486]


def test_invite_client_reports_a_transport_error_while_calling() -> None:
    bench = Bench(TCP_FLOW)
    transaction = bench.client()
    bench.table.transport_failed(TCP_FLOW, bench.now)
    assert bench.troubles == [Trouble.TRANSPORT]
    assert state(transaction) is State.TERMINATED


def test_invite_client_outlives_its_connection_once_the_far_end_works_on_it() -> None:
    bench = Bench(TCP_FLOW)
    transaction = bench.client()
    bench.respond(transaction, 180)
    bench.table.transport_failed(TCP_FLOW, bench.now)
    assert bench.troubles == []
    assert state(transaction) is State.PROCEEDING


# -- non-INVITE client --


def test_non_invite_client_retransmits_up_to_t2_until_timer_f() -> None:
    bench = Bench()
    transaction = bench.client("BYE")
    bench.run(33)
    assert bench.sent_at() == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert bench.troubles == [Trouble.TIMEOUT]
    assert state(transaction) is State.TERMINATED


def test_non_invite_client_retransmits_every_t2_in_proceeding() -> None:
    bench = Bench()
    transaction = bench.client("BYE")
    bench.run(0.6)
    bench.respond(transaction, 100)
    assert state(transaction) is State.PROCEEDING
    bench.run(10)
    assert bench.sent_at() == [0, 0.5, 1.5, 5.5, 9.5]
    bench.run(22)
    assert bench.troubles == [Trouble.TIMEOUT]


@pytest.mark.parametrize("status", [200, 302, 404, 500, 600])
@pytest.mark.parametrize("provisional", [False, True])
def test_non_invite_client_absorbs_repeated_final_responses_for_timer_k(status: int, provisional: bool) -> None:
    bench = Bench()
    transaction = bench.client("BYE")
    if provisional:
        bench.respond(transaction, 100)
    bench.respond(transaction, status)
    bench.respond(transaction, status)
    assert bench.responses == [*([100] if provisional else []), status]
    assert state(transaction) is State.COMPLETED
    bench.run(4.9)
    assert state(transaction) is State.COMPLETED
    bench.run(0.2)
    assert state(transaction) is State.TERMINATED


def test_non_invite_client_ends_at_once_on_a_reliable_transport() -> None:
    bench = Bench(TCP_FLOW)
    transaction = bench.client("BYE")
    bench.respond(transaction, 200)
    assert state(transaction) is State.TERMINATED


@pytest.mark.parametrize("provisional", [False, True])
def test_non_invite_client_reports_a_transport_error(provisional: bool) -> None:
    bench = Bench(TCP_FLOW)
    transaction = bench.client("BYE")
    if provisional:
        bench.respond(transaction, 100)
    bench.table.transport_failed(TCP_FLOW, bench.now)
    assert bench.troubles == [Trouble.TRANSPORT]


# -- INVITE server --


def again(bench: Bench, transaction: ServerTransaction) -> bool:
    return bench.table.absorb(transaction.request, bench.now)


def acknowledge(bench: Bench, transaction: ServerTransaction, branch: str | None = None) -> bool:
    ack = bench.message("ACK", branch or transaction.request.via.branch, "t")
    return bench.table.absorb(ack, bench.now)


def test_invite_server_repeats_its_last_provisional_response() -> None:
    bench = Bench()
    transaction = bench.server()
    assert again(bench, transaction)
    assert bench.wire == []
    respond(transaction, 100, bench.now)
    respond(transaction, 180, bench.now)
    assert again(bench, transaction)
    assert [parse(data).start_line for _, data in bench.wire] == [
        "SIP/2.0 100 Trying",
        "SIP/2.0 180 Ringing",
        "SIP/2.0 180 Ringing",
    ]


def test_invite_server_retransmits_a_failure_until_timer_h() -> None:
    bench = Bench()
    transaction = bench.server()
    respond(transaction, 486, bench.now)
    bench.run(33)
    assert bench.sent_at() == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert bench.troubles == [Trouble.TIMEOUT]
    assert state(transaction) is State.TERMINATED


def test_invite_server_on_a_reliable_transport_sends_a_failure_once_and_still_waits_for_its_ack() -> None:
    bench = Bench(TCP_FLOW)
    transaction = bench.server()
    respond(transaction, 486, bench.now)
    bench.run(31)
    assert len(bench.wire) == 1
    assert state(transaction) is State.COMPLETED
    bench.run(2)
    assert bench.troubles == [Trouble.TIMEOUT]


def test_invite_server_is_confirmed_by_ack_and_absorbs_more_for_timer_i() -> None:
    bench = Bench()
    transaction = bench.server()
    respond(transaction, 486, bench.now)
    assert acknowledge(bench, transaction)
    assert state(transaction) is State.CONFIRMED
    assert again(bench, transaction)
    assert acknowledge(bench, transaction)
    assert len(bench.wire) == 1
    bench.run(5.1)
    assert state(transaction) is State.TERMINATED
    assert bench.troubles == []


def test_invite_server_ends_with_the_ack_on_a_reliable_transport() -> None:
    bench = Bench(TCP_FLOW)
    transaction = bench.server()
    respond(transaction, 486, bench.now)
    acknowledge(bench, transaction)
    assert state(transaction) is State.TERMINATED


def test_invite_server_answers_a_repeated_invite_in_completed_with_the_failure() -> None:
    bench = Bench()
    transaction = bench.server()
    respond(transaction, 486, bench.now)
    again(bench, transaction)
    assert len(bench.wire) == 2


@pytest.mark.parametrize("flow", [UDP_FLOW, TCP_FLOW])
def test_invite_server_in_accepted_absorbs_invites_and_lets_the_user_repeat_its_2xx(flow: Flow) -> None:
    bench = Bench(flow)
    transaction = bench.server()
    respond(transaction, 200, bench.now)
    assert state(transaction) is State.ACCEPTED
    assert again(bench, transaction)
    assert len(bench.wire) == 1
    respond(transaction, 200, bench.now)
    assert len(bench.wire) == 2
    bench.run(33)
    assert state(transaction) is State.TERMINATED


def test_ack_of_a_2xx_with_the_branch_of_its_invite_is_not_absorbed() -> None:
    bench = Bench()
    transaction = bench.server()
    respond(transaction, 200, bench.now)
    assert not acknowledge(bench, transaction)


@pytest.mark.parametrize("first", [200, 486])
@pytest.mark.parametrize("second", [180, 500])
def test_invite_server_ignores_responses_after_the_final_one(first: int, second: int) -> None:
    bench = Bench()
    transaction = bench.server()
    respond(transaction, first, bench.now)
    respond(transaction, second, bench.now)
    assert len(bench.wire) == 1
    assert transaction.status == first


@pytest.mark.parametrize("status", [0, 486])
def test_invite_server_reports_a_transport_error(status: int) -> None:
    bench = Bench()
    transaction = bench.server()
    if status:
        respond(transaction, status, bench.now)
    bench.table.transport_failed(UDP_FLOW, bench.now)
    assert bench.troubles == [Trouble.TRANSPORT]
    assert state(transaction) is State.TERMINATED


def test_response_to_a_lost_connection_goes_to_the_sent_by_port() -> None:
    bench = Bench(TCP_FLOW)
    transaction = bench.server()
    bench.table.transport_failed(TCP_FLOW, bench.now)
    assert bench.troubles == []
    assert transaction.reply_flow == Flow(TCP, "192.0.2.2", 5060)


# -- non-INVITE server --


def test_non_invite_server_repeats_only_what_it_sent() -> None:
    bench = Bench()
    transaction = bench.server("OPTIONS")
    assert again(bench, transaction)
    assert bench.wire == []
    respond(transaction, 200, bench.now)
    again(bench, transaction)
    assert len(bench.wire) == 2
    bench.run(31.9)
    assert state(transaction) is State.COMPLETED
    bench.run(0.2)
    assert state(transaction) is State.TERMINATED


def test_non_invite_server_may_send_a_late_100_and_repeats_it() -> None:
    bench = Bench()
    transaction = bench.server("OPTIONS")
    respond(transaction, 100, bench.now)
    assert state(transaction) is State.PROCEEDING
    again(bench, transaction)
    assert len(bench.wire) == 2
    respond(transaction, 200, bench.now)
    assert state(transaction) is State.COMPLETED


@pytest.mark.parametrize("status", [101, 180, 183, 199, 408])
def test_rfc_4320_forbids_provisional_responses_and_408_to_a_non_invite_request(status: int) -> None:
    bench = Bench()
    transaction = bench.server("OPTIONS")
    with pytest.raises(ValueError, match="RFC 4320"):
        respond(transaction, status, bench.now)


@pytest.mark.parametrize("status", [0, 100])
def test_non_invite_server_without_an_answer_ends_after_64_t1(status: int) -> None:
    bench = Bench()
    transaction = bench.server("OPTIONS")
    if status:
        respond(transaction, status, bench.now)
    bench.run(32.1)
    assert state(transaction) is State.TERMINATED


def test_non_invite_server_ends_at_once_on_a_reliable_transport() -> None:
    bench = Bench(TCP_FLOW)
    transaction = bench.server("OPTIONS")
    respond(transaction, 200, bench.now)
    assert state(transaction) is State.TERMINATED


def test_non_invite_server_sends_one_final_response() -> None:
    bench = Bench()
    transaction = bench.server("OPTIONS")
    respond(transaction, 200, bench.now)
    respond(transaction, 500, bench.now)
    assert len(bench.wire) == 1


# -- every event in every state --


@pytest.mark.parametrize("kind", [ClientInvite, ClientNonInvite, ServerInvite, ServerNonInvite])
@pytest.mark.parametrize("start", list(State))
def test_no_event_in_any_state_raises(kind: type[ClientTransaction | ServerTransaction], start: State) -> None:
    for event in (*Event, *SipTimer):
        bench = Bench()
        method = "INVITE" if kind in (ClientInvite, ServerInvite) else "BYE"
        transaction: ClientTransaction | ServerTransaction
        transaction = bench.client(method) if issubclass(kind, ClientTransaction) else bench.server(method)
        assert type(transaction) is kind
        transaction.state = start
        transaction._happen(event, bench.now)
        ended = state(transaction) is State.TERMINATED and start is not State.TERMINATED
        assert len(bench.table) == 1 - ended, event
