"""Limits of TLS handshakes, and refusals that are told once and counted after that."""

from __future__ import annotations

import logging

import pytest

from gateway.core import SECOND
from gateway.voip.sip import handshakes as module
from gateway.voip.sip.handshakes import Handshakes


def test_source_may_have_so_many_under_way_and_then_others_still_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PER_SOURCE", 3)
    handshakes = Handshakes()
    assert [handshakes.begin("192.0.2.1", 0) for _ in range(5)] == [True, True, True, False, False]
    assert handshakes.begin("192.0.2.2", 0)
    handshakes.end("192.0.2.1", done=True)
    assert handshakes.begin("192.0.2.1", 0)
    assert handshakes.statistics() == {"done": 1, "refused": 0, "turned_away": 2, "under_way": 4}


def test_many_strangers_leave_room_for_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HANDSHAKES", 10)
    handshakes = Handshakes({"192.0.2.200"}.__contains__)
    assert sum(handshakes.begin(f"192.0.2.{n}", 0) for n in range(20)) == 10
    assert all(handshakes.begin("192.0.2.200", 0) for _ in range(100))
    for n in range(10):
        handshakes.end(f"192.0.2.{n}", done=False)
    for _ in range(100):
        handshakes.end("192.0.2.200", done=True)
    assert handshakes.under_way == 0
    assert handshakes.begin("192.0.2.1", 0)


def test_peer_whose_address_changes_meanwhile_is_counted_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HANDSHAKES", 1)
    known: set[str] = set()
    handshakes = Handshakes(known.__contains__)
    assert handshakes.begin("192.0.2.1", 0)
    known.add("192.0.2.1")
    handshakes.end("192.0.2.1", done=True)
    assert handshakes.begin("192.0.2.2", 0)


def test_source_that_begins_again_and_again_is_turned_away_and_later_let_in_again() -> None:
    handshakes = Handshakes()

    def begun(address: str, second: float) -> bool:
        allowed = handshakes.begin(address, int(second * SECOND))
        if allowed:
            handshakes.end(address, done=False)
        return allowed

    assert sum(begun("192.0.2.1", 1) for _ in range(100)) == 30
    assert begun("192.0.2.2", 1)
    assert sum(begun("192.0.2.1", 2) for _ in range(100)) == 10
    # And all strangers together, of whom none begins many.
    assert sum(begun(f"198.51.{n // 250}.{n % 250}", 10) for n in range(5000)) == 600
    assert sum(begun(f"198.51.{n // 250}.{n % 250}", 11) for n in range(5000)) == 200


def test_rates_of_so_many_sources_are_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SOURCES", 5)
    handshakes = Handshakes()
    for n in range(20):
        assert handshakes.begin(f"192.0.2.{n}", SECOND)
    assert len(handshakes._free_at) == 5
    assert handshakes.begin("192.0.2.99", 5 * SECOND)
    assert list(handshakes._free_at) == ["192.0.2.99"]


def test_same_refusal_is_told_once_a_minute_with_how_often(caplog: pytest.LogCaptureFixture) -> None:
    handshakes = Handshakes()
    for second in (0, 1, 2, 61):
        handshakes.refuse("192.0.2.1", "it is old", second * SECOND)
    handshakes.refuse("192.0.2.1", "it is new", 62 * SECOND, outgoing=True)
    assert [record.getMessage() for record in caplog.records] == [
        "TLS from 192.0.2.1 refused: it is old",
        "TLS from 192.0.2.1 refused: it is old (2 times more since it was last said)",
        "TLS to 192.0.2.1 refused: it is new",
    ]
    assert handshakes.refused == 5


def test_flood_from_many_places_fills_neither_log_nor_memory(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED", 10)
    handshakes = Handshakes()
    with caplog.at_level(logging.WARNING):
        for n in range(1000):
            handshakes.refuse(f"192.0.2.{n}", "no", 100 * SECOND + n)
    assert len(caplog.records) == 11
    assert caplog.records[-1].getMessage() == "TLS: 1 more handshakes refused, from many places"
    for n in range(20):
        handshakes.refuse(f"198.51.100.{n}", "no", 200 * SECOND)
    assert len(handshakes._told) == 10
