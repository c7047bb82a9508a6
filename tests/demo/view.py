"""The live view: spans and calls as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

LAST_RECORDS = 5


def render(status: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> Group:
    """Spans, calls in progress and the last records."""
    spans = Table("span", "alarm", "D channel", "switch type", "side", "B channels", title="Spans")
    for name, span in status["spans"].items():
        channels = ", ".join(f"{count} {state}" for state, count in span["channels"].items())
        link = "up" if span["data_link"] else "down"
        spans.add_row(name, span["alarm"], link, span["switch_type"], span["side"], channels)
    findings = [f"{name}: {text}" for name, span in status["spans"].items() for text in span["findings"]]
    if not status["engine"]["up"]:
        findings.append("the media engine does not answer: calls have no voice")
    calls = Table("from", "number", "dialled", "to", "state", "s", title="Calls")
    for call in status["calls"]:
        calls.add_row(
            call["source"], call["caller"], call["called"], call["destination"], call["state"], f"{call['seconds']:.0f}"
        )
    last = Table("start", "from", "dialled", "to", "talk s", "cause", "released by", title="Last calls")
    for record in records[-LAST_RECORDS:]:
        destination = record["attempts"][-1]["destination"] if record["attempts"] else "—"
        last.add_row(
            record["start"][11:23],
            record["caller"].get("number", ""),
            record["dialled"],
            destination,
            f"{record['talk_seconds']:.1f}",
            f"{record['cause']} {record['cause_name']}",
            record["released_by"],
        )
    return Group(spans, *(Text(finding, style="red") for finding in findings), calls, last)
