"""Training speed by hidden units, batch and window, each varied around the paper's shape, in both precisions.

    python -m benchmarks.scaling [--units=128,...] [--batches=32,...] [--windows=25,...] [--repeats=5] [--save]

Gives for each point windows/s, model GFLOP/s (forward and backward, nothing counted twice), their share of the speed of
matrix products alone, and the peak memory of the process. At each point, training and products alone take turns in both
precisions. Prints a table and, as its last line, one JSON object.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import contestants
from benchmarks.contestants import ratio
from benchmarks.train import gflop, write_problem

PAPER = (512, 200, 50)
PRECISIONS = ("float32", "bfloat16")
# The work of one pass: half a second on two fast cores. A pass is at least one batch.
GFLOP_A_PASS = 250.0


def points(units: list[int], batches: list[int], windows: list[int]) -> list[tuple[int, int, int]]:
    """(units, batch, window), one of them varied and the others the paper's."""
    _, batch, window = PAPER
    varied = [(h, batch, window) for h in units] + [(PAPER[0], b, window) for b in batches]
    return list(dict.fromkeys([*varied, *((PAPER[0], batch, t) for t in windows)]))


def measure(point: tuple[int, int, int], repeats: int) -> dict[str, Any]:
    """One row: the point and, for each precision, its speed, its share of products alone and its memory."""
    units, batch, window = point
    work = gflop(units, window)
    windows = batch * max(1, round(GFLOP_A_PASS / work / batch))
    names = [f"{family}-{precision}" for precision in PRECISIONS for family in ("musicjax", "roof")]
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder, "problem.npz")
        write_problem(problem, units, batch, window, windows)
        answers, _ = contestants.measure("benchmarks.peers", names, dict.fromkeys(names, "train"), repeats, problem)
    row: dict[str, Any] = {"units": units, "batch": batch, "window": window}
    for precision in PRECISIONS:
        roof = float(np.median([one["gflops"] for one in answers[f"roof-{precision}"]]))
        ours = answers[f"musicjax-{precision}"]
        rate = contestants.rates({precision: ours}, {precision: windows})[precision]
        reached = rate["median"] * work
        row[precision] = {
            "windows_per_second": rate,
            "gflops": round(reached, 1),
            "roof_gflops": round(roof, 1),
            "gemm_share": ratio(reached, roof),
            "peak_mb": ours[-1]["peak_mb"],
        }
    return row


def main() -> None:
    asked = contestants.arguments(
        __doc__,
        units="128,256,512,1024,2048",
        batches="32,64,128,200,512,1024,2048,4096",
        windows="25,50,100,200,400",
        repeats=5,
    )
    lists = [[int(value) for value in text.split(",")] for text in (asked.units, asked.batches, asked.windows)]
    print(
        f"{'units':>6}{'batch':>7}{'window':>8}{'precision':>11}{'windows/s':>11}{'GFLOP/s':>9}{'of roof':>9}{'MB':>7}"
    )
    rows = []
    for point in points(*lists):
        row = measure(point, asked.repeats)
        rows.append(row)
        for precision in PRECISIONS:
            one = row[precision]
            speed = one["windows_per_second"]["median"]
            print(
                f"{point[0]:>6}{point[1]:>7}{point[2]:>8}{precision:>11}{speed:>11,.0f}{one['gflops']:>9.0f}"
                f"{one['gemm_share']:>9.2f}{one['peak_mb']:>7.0f}",
                flush=True,
            )
    shares = {precision: max(row[precision]["gemm_share"] for row in rows) for precision in PRECISIONS}
    contestants.finish("scaling", {"gemm_share": shares, "rows": rows, "repeats": asked.repeats}, asked.save)


if __name__ == "__main__":
    main()
