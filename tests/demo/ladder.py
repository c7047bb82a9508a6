"""A call as people draw it: the exchange left, the gateway in the middle, SIP right, time downwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

WIDTH = 34


def _arrow(text: str, detail: str, rightward: bool) -> str:
    label = f" {text} ({detail}) " if detail else f" {text} "
    label = label[: WIDTH - 3]
    line = label.center(WIDTH - 1, "─")
    return f"{line}▶" if rightward else f"◀{line}"


def ladder(lines: Iterable[Mapping[str, object]]) -> list[str]:
    """Render trace lines (as ``gateway --trace`` writes them) of one call; times are milliseconds from the first."""
    lines = list(lines)
    if not lines:
        return ["(nothing was traced)"]
    start = min(_at(line) for line in lines)
    out = [f"{'ms':>9}  {'exchange':<{WIDTH // 2}}{'Q.931':<{WIDTH - WIDTH // 2}}  gateway  {'SIP':^{WIDTH - 6}} phone"]
    for line in sorted(lines, key=_at):
        inward = line["dir"] == "in"
        text, detail = str(line["message"]), str(line["detail"])
        stamp = f"{(_at(line) - start) / 1000:9.1f}"
        if line["protocol"] == "q931":
            out.append(f"{stamp}  {_arrow(text, detail, inward)}    │")
        else:
            out.append(f"{stamp}  {'':<{WIDTH}}    │    {_arrow(text, detail, not inward)}")
    return out


def _at(line: Mapping[str, object]) -> int:
    at = line["at"]
    assert isinstance(at, int)
    return at
