"""What PONG says of how well the far end is heard (RFC 5456 8.6.33 to 8.6.38)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.media.api import Statistics
from gateway.voip.iax.elements import Elements
from gateway.voip.iax.reports import LinkReport


def test_a_report_counts_what_was_lost_since_the_last_one() -> None:
    before = Statistics(packets_received=900, lost=100)
    report = LinkReport.of(Statistics(packets_received=990, lost=110, jitter=4.6, late=3, reordered=2), before)
    assert (report.lost, report.lost_percent, report.packets, report.jitter) == (110, 10, 990, 5)
    assert (report.dropped, report.out_of_order) == (3, 2)
    assert LinkReport.read(report.add_to(Elements())) == report


def test_a_report_is_cut_to_what_its_elements_hold() -> None:
    report = LinkReport(jitter=1 << 40, lost=1 << 40, lost_percent=100, packets=1 << 40, delay=1 << 40)
    read = LinkReport.read(report.add_to(Elements()))
    assert read is not None
    assert (read.jitter, read.lost, read.lost_percent, read.delay) == (0xFFFF_FFFF, 0xFF_FFFF, 100, 0xFFFF)


@given(st.lists(st.tuples(st.integers(0x2E, 0x33), st.binary(max_size=9)), max_size=8))
def test_any_report_is_read_or_none(items: list[tuple[int, bytes]]) -> None:
    report = LinkReport.read(Elements(items))
    assert report is None or report.lost >= 0
