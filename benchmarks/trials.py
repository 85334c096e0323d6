"""Several models trained as trials of one program, beside the same number of runs one after the other.

    python -m benchmarks.trials [--units=64,512] [--groups=1,2,4,8] [--trials=8] [--repeats=5] [--save]

Trains --trials models, in groups of each size in --groups. Peers can only train one model after the other, so their
windows/s are those of one run. Loss and gradient on the same weights are compared first. Prints a table for each size
and, as its last line, one JSON object: the best group relative to our own single runs and to the fastest peer.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks import contestants
from benchmarks.contestants import best, ratio
from benchmarks.train import write_problem

PRECISIONS = ("float32", "bfloat16")
PEERS = ("keras-jax", "torch-float32", "torch-bfloat16", "flax-float32")


def measure(units: int, groups: list[int], asked: Any) -> dict[str, Any]:
    """One size: speeds by name, and ratios."""
    alone = [f"musicjax-{precision}" for precision in PRECISIONS]
    grouped = [f"{name}*{group}" for name in alone for group in groups]
    names = [*grouped, *alone, *PEERS]
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder, "problem.npz")
        write_problem(problem, units, asked.batch, asked.window, asked.windows, trials=asked.trials)
        answers, said = contestants.measure(
            "benchmarks.peers", names, dict.fromkeys(names, "train"), asked.repeats, problem
        )
    amounts = {name: asked.windows * (asked.trials if "*" in name else 1) for name in answers}
    found = contestants.rates(answers, amounts)
    print(f"{f'{units} units, {asked.trials} trials':<28}{'windows/s':>10}{'quartiles':>18}{'loss':>12}{'MB':>7}")
    for name, rate in found.items():
        quartiles = f"{rate['low']:,.0f}..{rate['high']:,.0f}"
        peak = answers[name][-1]["peak_mb"]
        print(f"{name:<28}{rate['median']:>10,.0f}{quartiles:>18}{said[name]['check'][0]:>12.6f}{peak:>7.0f}")
    by_group = {name: rate for name, rate in found.items() if "*" in name}
    runs = {name: rate for name, rate in found.items() if name in alone}
    peers = [best(found, family) for family in ("keras", "torch", "flax")]
    fastest = max(by_group, key=lambda name: by_group[name]["median"])
    return {
        "vs_runs": ratio(best(by_group, ""), best(runs, "")),
        "vs_best_peer": ratio(best(by_group, ""), max((peer for peer in peers if peer), default=None)),
        "best_group": fastest,
        "windows_per_second": found,
        "peers": said,
    }


def main() -> None:
    asked = contestants.arguments(
        __doc__, units="64,512", groups="1,2,4,8", trials=8, batch=200, window=50, windows=400, repeats=5
    )
    groups = [int(group) for group in asked.groups.split(",")]
    result = {f"units_{units}": measure(int(units), groups, asked) for units in asked.units.split(",")}
    settings = {name: value for name, value in vars(asked).items() if name != "save"}
    contestants.finish("trials", {**result, "settings": settings}, asked.save)


if __name__ == "__main__":
    main()
