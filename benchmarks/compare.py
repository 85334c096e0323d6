"""Two results of one benchmark side by side, such as those of two machines.

    python -m benchmarks.compare ONE.json OTHER.json

A result is the last line that a benchmark prints, or the file that it writes with --save. Prints what differs between
the machines and the versions, then the figures of both, and the other one's relative to the first one's.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def result(path: str) -> dict[str, Any]:
    """The result in a file."""
    if Path(path).suffix == ".jsonl":
        raise argparse.ArgumentTypeError(
            f"{path}: holds the lines of a run, not the result of a benchmark; docs/python.md, Two runs, compares the "
            "metrics.jsonl of two runs"
        )
    try:
        found = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise argparse.ArgumentTypeError(f"{path}: {reason}; expected a result of a benchmark") from error
    if not isinstance(found, dict) or not {"benchmark", "machine"} <= found.keys():
        raise argparse.ArgumentTypeError(f"{path}: expected a JSON object with the fields benchmark and machine")
    return found


def facts(result: dict[str, Any]) -> dict[str, str]:
    """The machine, and the version of each library that a contestant used."""
    found = {name: str(value) for name, value in result["machine"].items()}
    for contestants in ("peers", "samplers", "many_samplers"):
        for said in result.get(contestants, {}).values():
            found |= said.get("versions", {})
    return found


def figures(result: dict[str, Any]) -> dict[str, float]:
    """The median of each contestant, then the ratios between contestants."""
    found = {}
    for unit, contestants in result.items():
        if unit.endswith("_per_second"):
            for name, one in contestants.items():
                found[f"{name}, {unit.replace('_', ' ')}"] = one["median"] if isinstance(one, dict) else one
    return found | {name: value for name, value in result.items() if isinstance(value, float)}


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
    lines = [f"{name}: {of_one.get(name, 'unknown')} | {of_other.get(name, 'unknown')}" for name in differing]
    mine, theirs = figures(one), figures(other)
    width = max(map(len, [*mine, one["benchmark"]]))
    lines.append(f"{one['benchmark']:<{width}}{'one':>12}{'other':>12}{'other / one':>13}")
    for name in (name for name in mine if name in theirs):
        relative = f"{theirs[name] / mine[name]:.2f}" if mine[name] else ""
        lines.append(f"{name:<{width}}{mine[name]:>12,.2f}{theirs[name]:>12,.2f}{relative:>13}")
    return [*lines, *(f"in one of them alone: {name}" for name in sorted(mine.keys() ^ theirs.keys()))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("one", type=result)
    parser.add_argument("other", type=result)
    asked = parser.parse_args()
    print(*side_by_side(asked.one, asked.other), sep="\n")


if __name__ == "__main__":
    main()
