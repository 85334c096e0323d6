"""Sampling from a note-event model beside the same model in PyTorch and Flax, in turns: pieces of 500 notes.

    python -m benchmarks.sample_events [--samplers=musicjax-float32,torch_cell-bfloat16,...] [--config=events]
                                       [--pieces=1,8,64] [--notes=500] [--repeats=5] [--save]

For each number of pieces, it requests all of them at once. The sizes come from the config and from the bins that it
learns from its data; the weights are random. Pieces continue a single row. Each sampler's likeliest bins for the first
notes are compared with the first sampler's. A sampler's first pass, which compiles, does not count. Prints a table and,
as its last line, one JSON object, which --save keeps.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import contestants
from benchmarks.contestants import best, ratio
from benchmarks.event_samplers import SAMPLERS
from benchmarks.events import write_problem

# The least share of equal bins: rounding may change which of two nearly equal bins is the likeliest.
LEAST_SAME = {"float32": 0.99, "bfloat16": 0.8}
# The first notes of at least this many pieces are compared.
LEAST_CHECKED = 16


def same_bins(said: dict[str, dict[str, Any]]) -> dict[str, float]:
    """The share of likeliest bins that are the first sampler's; raises SystemExit if a sampler computes others."""
    likeliest = {name: np.array(one.pop("likeliest")) for name, one in said.items() if "likeliest" in one}
    first = next(iter(likeliest))
    shares = {name: round(float(np.mean(bins == likeliest[first])), 4) for name, bins in likeliest.items()}
    for name, share in shares.items():
        least = LEAST_SAME["bfloat16" if "bfloat16" in name + first else "float32"]
        if share < least:
            raise SystemExit(f"{name}: {share:.1%} of its bins are those of {first}: not the same problem")
    return shares


def main() -> None:
    asked = contestants.arguments(
        __doc__, samplers=",".join(SAMPLERS), config="events", pieces="1,8,64", notes=500, repeats=5
    )
    names, numbers = asked.samplers.split(","), [int(number) for number in asked.pieces.split(",")]
    if unknown := [name for name in names if name not in SAMPLERS]:
        raise SystemExit(f"--samplers={unknown[0]}: expected some of {', '.join(SAMPLERS)}")
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder, "problem.npz")
        sizes = write_problem(problem, asked.config, max(*numbers, LEAST_CHECKED))
        for pieces in numbers:
            requests = dict.fromkeys(names, f"{pieces} {asked.notes}")
            answers, said = contestants.measure("benchmarks.event_samplers", names, requests, asked.repeats, problem)
            shares = same_bins(said)
            found = contestants.rates(answers, dict.fromkeys(answers, pieces * asked.notes))
            print(f"{f'sampler, pieces: {pieces}':<24}{'notes/s':>10}{'quartiles':>18}{'same bins':>12}")
            for name, rate in found.items():
                quartiles = f"{rate['low']:.0f}..{rate['high']:.0f}"
                print(f"{name:<24}{rate['median']:>10.0f}{quartiles:>18}{shares[name]:>12.1%}")
            ours = best(found, "musicjax")
            others = [fastest for family in ("torch", "flax") if (fastest := best(found, family))]
            result[f"vs_best_peer_{pieces}"] = ratio(ours, max(others, default=None))
            result[f"pieces_{pieces}"] = {
                "vs_best_torch": ratio(ours, best(found, "torch")),
                "vs_best_flax": ratio(ours, best(found, "flax")),
                "notes_per_second": found,
                "same_bins": shares,
                "samplers": said,
            }
    settings = {name: getattr(asked, name) for name in ("config", "pieces", "notes", "repeats")}
    contestants.finish(f"sample-{asked.config}", {**result, "settings": {**settings, **sizes}}, asked.save)


if __name__ == "__main__":
    main()
