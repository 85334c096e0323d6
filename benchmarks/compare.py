"""Two results of one benchmark side by side, such as those of two machines.

    python -m benchmarks.compare ONE.json OTHER.json

A result is the last line that a benchmark prints, or the file that it writes with --save. Prints how the machines and
the versions differ, with a warning if musicjax itself does. Then it prints the median and quartiles of each figure in
both results, and the second median relative to the first. A ~ marks a difference that is smaller than the interquartile
range.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

UNKNOWN, UNCERTAIN = "unknown", "~"


class Figure(NamedTuple):
    """A median with its quartiles, which older results and ratios lack."""

    median: float
    low: float | None = None
    high: float | None = None

    @property
    def spread(self) -> float:
        """How far apart the quartiles are; 0 if they are not known."""
        return 0.0 if self.low is None or self.high is None else self.high - self.low

    def __str__(self) -> str:
        quartiles = "" if self.low is None else f" ({self.low:,.2f} to {self.high:,.2f})"
        return f"{self.median:,.2f}{quartiles}"


def result(path: str) -> dict[str, Any]:
    """The result in a file."""
    if Path(path).suffix == ".jsonl":
        raise argparse.ArgumentTypeError(
            f"{path}: contains the lines of a run, not a benchmark result; docs/python.md, Two runs, compares the "
            "metrics.jsonl of two runs"
        )
    try:
        found = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise argparse.ArgumentTypeError(f"{path}: {reason}; expected a benchmark result") from error
    if not isinstance(found, dict) or not {"benchmark", "machine"} <= found.keys():
        raise argparse.ArgumentTypeError(f"{path}: expected a JSON object with the fields benchmark and machine")
    return found


def facts(result: dict[str, Any]) -> dict[str, str]:
    """The machine, musicjax itself, and the version of each library that a contestant used."""
    found = {name: str(value) for name, value in result["machine"].items()}
    found |= {f"musicjax {name}": value for name, value in result.get("musicjax", {}).items()}
    for contestants in ("peers", "samplers", "many_samplers"):
        for said in result.get(contestants, {}).values():
            found |= said.get("versions", {})
    return found


def figures(result: dict[str, Any]) -> dict[str, Figure]:
    """The figures of each contestant, then the ratios between contestants, which have no quartiles."""
    found = {}
    for unit, contestants in result.items():
        if unit.endswith("_per_second"):
            for name, one in contestants.items():
                of_one = Figure(one["median"], one["low"], one["high"]) if isinstance(one, dict) else Figure(one)
                found[f"{name}, {unit.replace('_', ' ')}"] = of_one
    return found | {name: Figure(value) for name, value in result.items() if isinstance(value, float)}


def side_by_side(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The lines to print.

    Raises:
        SystemExit: they are results of different benchmarks or settings.
    """
    for field in ("benchmark", "settings"):
        if one.get(field) != other.get(field):
            raise SystemExit(f"{field}: {one.get(field)} and {other.get(field)}; expected the same in both results")
    of_one, of_other = facts(one), facts(other)
    differing = [name for name in {**of_one, **of_other} if of_one.get(name) != of_other.get(name)]
    lines = [f"{name}: {of_one.get(name, UNKNOWN)} | {of_other.get(name, UNKNOWN)}" for name in differing]
    if any(name.startswith("musicjax ") for name in differing):
        lines.append("warning: not the same musicjax, or not known to be; this may explain the differences")
    mine, theirs = figures(one), figures(other)
    rows = [(one["benchmark"], "one", "other", "other / one")]
    rows += [
        (name, str(mine[name]), str(theirs[name]), _relative(mine[name], theirs[name]))
        for name in mine
        if name in theirs
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines += [
        f"{name:<{widths[0]}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        for name, *cells in rows
    ]
    if any(row[3].endswith(UNCERTAIN) for row in rows):
        lines.append(f"{UNCERTAIN}: one result's quartiles are further apart than the two medians")
    return [*lines, *(f"in only one of them: {name}" for name in sorted(mine.keys() ^ theirs.keys()))]


def _relative(mine: Figure, theirs: Figure) -> str:
    """The other median relative to the first, marked where it says little."""
    if not mine.median:
        return ""
    is_uncertain = max(mine.spread, theirs.spread) > abs(theirs.median - mine.median)
    return f"{theirs.median / mine.median:.2f}" + f" {UNCERTAIN}" * is_uncertain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("one", type=result)
    parser.add_argument("other", type=result)
    asked = parser.parse_args()
    print(*side_by_side(asked.one, asked.other), sep="\n")


if __name__ == "__main__":
    main()
