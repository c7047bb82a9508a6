"""Which transaction a message belongs to (RFC 3261 17.1.3, 17.2.3, 9.2, 8.2.2.2), and how many there may be."""

from __future__ import annotations

import pytest

from gateway.voip.sip.transactions import TableFull
from tests.unit.voip.sip.sip_transaction_bench import UDP_FLOW, Bench, respond

# -- matching --


def test_response_with_another_cseq_method_does_not_match() -> None:
    bench = Bench()
    transaction = bench.client()
    response = transaction.request.response(200, None, "t")
    response.headers.set("CSeq", "1 CANCEL")
    assert not bench.table.receive_response(response, bench.now)
    assert bench.table.counters.stray_responses == 1


def test_response_whose_via_is_not_ours_is_dropped() -> None:
    bench = Bench()
    transaction = bench.client()
    response = transaction.request.response(200, None, "t")
    response.headers.set("Via", f"SIP/2.0/UDP other:5060;branch={transaction.request.via.branch}")
    assert not bench.table.receive_response(response, bench.now)
    assert bench.responses == []


def test_request_from_another_sender_with_the_same_branch_is_new() -> None:
    bench = Bench()
    bench.table.accept(bench.message("OPTIONS", "z9hG4bKx"), UDP_FLOW, UDP_FLOW, bench.now)
    other = bench.message("OPTIONS", via="SIP/2.0/UDP other:5060;branch=z9hG4bKx")
    assert bench.table.find(other) is None


def test_branch_and_sent_by_are_compared_without_case() -> None:
    bench = Bench()
    first = bench.table.accept(bench.message("OPTIONS", "z9hG4bKx"), UDP_FLOW, UDP_FLOW, bench.now)
    assert bench.table.find(bench.message("OPTIONS", via="SIP/2.0/UDP HOST:5060;branch=Z9HG4BKX")) is first


def test_old_element_without_cookie_is_matched_by_its_fields() -> None:
    bench = Bench()
    via = "SIP/2.0/UDP host:5060"
    first = bench.table.accept(bench.message("INVITE", via=via), UDP_FLOW, UDP_FLOW, bench.now)
    first.tag = "t"
    respond(first, 486, bench.now)
    assert bench.table.find(bench.message("INVITE", via=via)) is first
    assert bench.table.find(bench.message("INVITE", via=via, number="2")) is None
    assert bench.table.find(bench.message("INVITE", via=via, uri="sip:other@y")) is None
    assert bench.table.find(bench.message("ACK", to_tag="t", via=via)) is first
    assert bench.table.find(bench.message("ACK", to_tag="wrong", via=via)) is None
    assert bench.table.find_cancelled(bench.message("CANCEL", via=via)) is first


def test_branch_that_is_only_the_cookie_is_an_old_element() -> None:
    bench = Bench()
    bench.table.accept(bench.message("INVITE", "z9hG4bK"), UDP_FLOW, UDP_FLOW, bench.now)
    assert bench.table.find(bench.message("INVITE", "z9hG4bK", call_id="other")) is None


def test_cancel_finds_its_invite_and_nothing_else() -> None:
    bench = Bench()
    invite = bench.table.accept(bench.message("INVITE", "z9hG4bK1"), UDP_FLOW, UDP_FLOW, bench.now)
    assert bench.table.find_cancelled(bench.message("CANCEL", "z9hG4bK1")) is invite
    assert bench.table.find_cancelled(bench.message("CANCEL", "z9hG4bK2")) is None


def test_same_request_by_another_way_is_merged() -> None:
    bench = Bench()
    first = bench.table.accept(bench.message("INVITE", "z9hG4bK1"), UDP_FLOW, UDP_FLOW, bench.now)
    assert bench.table.is_merged(bench.message("INVITE", "z9hG4bK2"))
    assert not bench.table.is_merged(bench.message("INVITE", "z9hG4bK2", number="2"))
    first.end()
    assert not bench.table.is_merged(bench.message("INVITE", "z9hG4bK2"))


def test_table_refuses_new_invites_at_its_limit_and_other_requests_at_twice_that() -> None:
    bench = Bench(limit=2)
    bench.client()
    bench.server()
    with pytest.raises(TableFull):
        bench.client()
    with pytest.raises(TableFull):
        bench.server()
    bench.client("BYE")
    bench.server("BYE")
    with pytest.raises(TableFull):
        bench.client("BYE")
    assert bench.table.counters.refused == 3


def test_branches_are_unique_and_have_the_cookie() -> None:
    bench = Bench()
    branches = {bench.table.branch() for _ in range(1000)}
    assert len(branches) == 1000
    assert all(branch.startswith("z9hG4bK") for branch in branches)
