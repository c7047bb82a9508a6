"""What ``gatewayctl`` prints: tables for people, JSON for programs. Nothing here talks to anybody."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

Properties = Mapping[str, Any]
_STYLES = {
    "ok": "green",
    "OK": "green",
    "running": "green",
    "none": "green",
    "registered": "green",
    "answered": "green",
    "up": "green",
    "LAGGED": "yellow",
    "degraded": "yellow",
    "warning": "yellow",
    "restarted": "yellow",
    "UNREACHABLE": "red",
    "red": "red",
    "down": "red",
    "error": "red",
    "removed": "red",
    "failed": "red",
}


def snake(name: str) -> str:
    """``RoundTrip`` as ``round_trip``: the names of properties in JSON."""
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name).lstrip("_")


def plain(properties: Properties) -> dict[str, Any]:
    """Properties as JSON has them."""
    return {snake(name): value for name, value in properties.items()}


def as_json(value: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def console() -> Console:
    """Where tables go; as wide as they need where nobody looks at it."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=200)


def cell(value: object) -> Text:
    """A cell; words that mean something have a colour. What far ends said is never taken for markup."""
    text = str(value)
    shown = "".join(each if each.isprintable() or each == "\n" else "�" for each in text)
    return Text(shown, style=_STYLES.get(text.split(" ")[0], ""))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str = "") -> None:
    """Print a table, or ``empty`` if it has no rows."""
    every = [[cell(value) for value in row] for row in rows]
    if not every and empty:
        click.echo(empty)
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for each in columns:
        shown.add_column(each, justify="right" if each.startswith(">") else "left", no_wrap=each in ("Name", "Id"))
        shown.columns[-1].header = each.lstrip(">")
    for row in every:
        shown.add_row(*row)
    console().print(shown)


def yes(value: object) -> str:
    """Yes or No, in the words of the tables that operators know."""
    return "Yes" if value else "No"


def moment(microseconds: int) -> str:
    """A wall-clock time in local time; a dash for never."""
    if not microseconds:
        return "-"
    return datetime.fromtimestamp(microseconds / 1e6, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def since(microseconds: int) -> str:
    """How long ago that was."""
    return "-" if not microseconds else length(time.time() - microseconds / 1e6)


def length(seconds: float) -> str:
    """``4d 3:02:01``."""
    whole = max(int(seconds), 0)
    days, rest = divmod(whole, 86_400)
    text = f"{rest // 3600}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}d {text}" if days else text


def milliseconds(value: float) -> str:
    """``12.5 ms``, or a dash for unknown."""
    return "-" if value < 0 else f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


# -- tables --


def status(manager: Properties, spans: Sequence[Properties], trunks: Sequence[Properties]) -> None:
    """The whole on one screen."""
    rows = [
        ("gateway", f"{manager['Name']}, version {manager['Version']}, serial number {manager['SerialNumber'] or '-'}"),
        ("state", manager["State"]),
        ("up for", length(manager["Uptime"])),
        *((part, text) for part, text in manager["Health"].items()),
        ("calls", f"{manager['Calls']} ({manager['ChannelsIdle']} of {manager['Channels']} B channels idle)"),
        ("phones", f"{manager['Registered']} registered"),
        ("spans", _words(spans, "Alarm", {"none": "in order"}) or "none"),
        ("trunks", _words(trunks, "Status", {}) or "none"),
    ]
    if manager["ShutOut"]:
        rows.append(("shut out", ", ".join(f"{address} ({left} s)" for address, left in manager["ShutOut"].items())))
    shown = Table(box=None, pad_edge=False, show_header=False)
    for name, value in rows:
        shown.add_row(Text(str(name), style="bold"), cell(value))
    console().print(shown)


def _words(things: Sequence[Properties], key: str, instead: Mapping[str, str]) -> str:
    counted = Counter(str(each[key]) for each in things)
    return ", ".join(f"{count} {instead.get(word, word)}" for word, count in counted.items())


def spans(found: Sequence[Properties]) -> None:
    """A line a span, and what is wrong below it."""
    rows = []
    for each in found:
        states = Counter(state for _, state, _ in each["Channels"])
        counters = ", ".join(f"{name} {value}" for name, value in each["Counters"].items() if value)
        rows.append(
            (
                each["Name"],
                each["Line"].upper(),
                f"{each['SwitchType']} {each['Side']}",
                each["Alarm"],
                "up" if each["DataLink"] else "down",
                since(each["Since"]),
                each["Bounces"],
                ", ".join(f"{count} {state}" for state, count in states.items()),
                counters or "-",
            )
        )
    table(("Name", "Line", "Type", "Alarm", "Link", "For", ">Bounces", "Channels", "Errors"), rows, "There is no span.")
    for each in found:
        for finding in each["Findings"]:
            click.echo(f"{each['Name']}: {finding}")


def channels(span: Properties) -> None:
    """Every channel of one span."""
    rows = [(timeslot, state, ", ".join(why) or "-") for timeslot, state, why in span["Channels"]]
    table((">Channel", "State", "Blocked by"), rows)


def peers(found: Sequence[Properties], what: str) -> None:
    """The columns of Asterisk's ``sip show peers``, and more."""
    rows = []
    for each in found:
        user = each.get("Username")
        kept = {"Yes": "D", "No": ""}[yes(each["Dynamic"])]
        more: tuple[object, ...]
        if "Technology" in each:
            registration = each["Registration"] or "-"
            if each["RegistrationError"]:
                registration += f" ({each['RegistrationError']})"
            more = (each["Technology"], registration)
        else:
            contacts = [place for _, place, *_ in each["Contacts"]]
            more = (each["Location"], ", ".join(contacts) or ("-" if each["Dynamic"] else "fixed"))
        trip = f" ({milliseconds(each['RoundTrip'])})" if each["RoundTrip"] >= 0 else ""
        rows.append(
            (
                f"{each['Name']}/{user}" if user else each["Name"],
                each["Host"],
                kept,
                yes(each["Forcerport"]),
                "A" if each["Acl"] else "",
                each["Port"] or "-",
                f"{each['Status']}{trip}",
                *more,
                each["Transport"],
                each["MediaEncryption"],
                each["Calls"],
            )
        )
    last = ("Technology", "Registration") if what == "trunks" else ("Location", "Registered at")
    table(
        (
            "Name/username",
            "Host",
            "Dyn",
            "Forcerport",
            "ACL",
            ">Port",
            "Status",
            *last,
            "Transport",
            "Encryption",
            ">Calls",
        ),
        rows,
        f"There are no {what}.",
    )
    if found:
        click.echo(summary(found, what))


def summary(found: Sequence[Properties], what: str) -> str:
    """The last line of ``sip show peers``. Who is not asked is online, as far as anybody knows."""
    monitored = [each for each in found if each["Status"] != "Unmonitored"]
    online = sum(each["Status"] in ("OK", "LAGGED") for each in monitored)
    unmonitored = [each for each in found if each["Status"] == "Unmonitored"]
    there = sum(each.get("Registered", True) for each in unmonitored)
    return (
        f"{len(found)} {what} [Monitored: {online} online, {len(monitored) - online} offline "
        f"Unmonitored: {there} online, {len(unmonitored) - there} offline]"
    )


def security(hop: Sequence[Any]) -> str:
    """What protects one side of a call."""
    _, technology, _, _, _, signalling, media = hop
    if technology == "pri":
        return "line"
    words = (["TLS"] if signalling else []) + ([] if media == "no" else [str(media)])
    return "+".join(words) or "clear"


def calls(found: Sequence[Properties]) -> None:
    """A line a call."""
    rows = []
    for each in found:
        hops = each["Hops"]
        rows.append(
            (
                each["Id"],
                each["State"] + (" EMERGENCY" if each["Emergency"] else "") + (" ONE-WAY" if each["OneWay"] else ""),
                f"{each['Caller'] or 'unknown'} at {each['Source']}",
                each["Called"],
                each["Destination"] or "-",
                since(each["Answered"]) if each["Answered"] else since(each["Started"]),
                " | ".join(security(hop) for hop in hops),
                " | ".join(hop[4] or "-" for hop in hops),
            )
        )
    table(("Id", "State", "From", "Called", "To", "For", "Security", "Codec"), rows, "There are no calls.")


def call(found: Properties, quality: Sequence[Sequence[Any]]) -> None:
    """One call, and its voice."""
    for name in ("Id", "State", "Source", "Caller", "CallerName", "Called", "Destination", "Connected"):
        click.echo(f"{snake(name).replace('_', ' '):<12} {found[name]}")
    for name in ("Started", "Alerted", "Answered"):
        click.echo(f"{name.lower():<12} {moment(found[name])}")
    table(
        ("Side", "Technology", "Peer", "Far end", "Codec", "Security"),
        [(hop[0], hop[1], hop[2], hop[3], hop[4], security(hop)) for hop in found["Hops"]],
    )
    table(
        ("Side", ">Sent", ">Received", ">Lost", ">Lost there", ">Jitter", ">Round trip", ">Delay", ">MOS", "From"),
        [
            (
                row[0],
                row[1],
                row[2],
                row[3],
                row[4],
                *(milliseconds(each) for each in row[5:8]),
                f"{row[8]:.1f}",
                row[9],
            )
            for row in quality
        ],
        "Nothing is known of its voice.",
    )
    for note in found["Notes"]:
        click.echo(f"note: {note}")


def network(found: Properties) -> None:
    """Where we are."""
    rows = [
        ("interface", found["Interface"] or "-"),
        ("addresses", ", ".join(found["Addresses"]) or "-"),
        *((f"outside, {family}", f"{address}, by {by}") for family, address, by in found["External"]),
        ("networks", ", ".join(found["Networks"]) or "-"),
        ("externip", f"{found['Externip']} (as configured)"),
        ("localnet", f"{', '.join(found['Localnet'])} (as configured)"),
        ("listens at", ", ".join(found["Listeners"])),
    ]
    shown = Table(box=None, pad_edge=False, show_header=False)
    for name, value in rows:
        shown.add_row(Text(name, style="bold"), cell(value))
    console().print(shown)


def plan(entries: Sequence[Sequence[Any]], service: str) -> None:
    """What would happen to which part, and who would drop."""
    rows = []
    for kind, name, action, differences, dropped, why in entries:
        changed = [
            f"{key} (changed)" if not old and not new else f"{key}: {old or '-'} → {new or '-'}"
            for key, old, new in differences
        ]
        rows.append((f"{kind} {name}".strip(), action, "\n".join(changed) or "-", len(dropped) or "-", why or "-"))
    table(("Part", "Action", "What changes", ">Calls dropped", "Why"), rows, "Nothing changes.")
    if service:
        click.echo(f"The gateway has to be restarted: {service}")


def problems(found: Sequence[Sequence[Any]]) -> bool:
    """Every problem as ``gateway --check`` prints it; True if one is an error."""
    for file, line, severity, key, text in found:
        where = f"{file}:{line}: " + ("warning: " if severity == "warning" else "")
        click.echo(f"{where}{key}: {text}" if key else f"{where}{text}")
    return any(severity == "error" for _, _, severity, _, _ in found)


def history(found: Sequence[Sequence[Any]], active: int) -> None:
    """The versions, the youngest first."""
    rows = []
    for number, wall, author, comment, origin, _parent, restores, fault in found:
        what = f"{origin} of {restores}" if restores else origin
        rows.append((f"{number}{' *' if number == active else ''}", moment(wall), author, what, comment, fault or "-"))
    table((">Version", "When", "Who", "How", "Comment", "Fault"), rows, "No versions are kept.")
