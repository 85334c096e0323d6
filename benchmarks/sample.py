"""Sampling beside every installed peer, in turns: notes/s with exact windows of 50 notes.

    python -m benchmarks.sample [--samplers=musicjax-float32-staggered,torch-float32-loop,...] [--repeats=5]
                                [--units=512] [--window=50] [--notes=300] [--most=64] [--save]

Measures one output, then --most together. Before the timing, it compares each sampler's tenth row after the same two
primers, without noise. A slow peer is timed over fewer notes. Our time includes warming up the staggered states. Prints
tables and, as its last line, one JSON object with `vs_best_keras` and `vs_best_peer` for one output, and
`many_vs_best_keras` and `many_vs_best_peer` for many.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import contestants
from benchmarks.contestants import best, ratio
from benchmarks.samplers import SAMPLERS

COLUMNS = 3
PEERS = ("keras", "torch", "flax")


def write_problem(path: Path, units: int, window: int, most: int) -> None:
    """Writes initial weights and primers."""
    import jax

    from musicjax.model import network

    net = network.MusicLSTM(units, COLUMNS)
    params = jax.tree.map(np.asarray, network.init(net, jax.random.key(0), window))
    dense = {"dense_kernel": params["dense"]["kernel"], "dense_bias": params["dense"]["bias"] + np.float32(0.5)}
    primers = np.random.default_rng(0).random((max(most, 2), window, COLUMNS), np.float32)
    np.savez(path, primers=primers, **params["lstm"]._asdict(), **dense)


def notes_for(name: str, outputs: int, notes: int) -> int:
    """How many notes to time, about a second's worth: slow peers get fewer."""
    if name.startswith("musicjax"):
        return notes
    return max(10, notes // 10) if outputs == 1 else max(5, notes // 30)


def main() -> None:
    asked = contestants.arguments(
        __doc__, samplers=",".join(SAMPLERS), repeats=5, units=512, window=50, notes=300, most=64
    )
    names = asked.samplers.split(",")
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder, "problem.npz")
        write_problem(problem, asked.units, asked.window, asked.most)
        for outputs, prefix in ((1, ""), (asked.most, "many_")):
            lengths = {name: notes_for(name, outputs, asked.notes) for name in names}
            requests = {name: f"{outputs} {length}" for name, length in lengths.items()}
            answers, said = contestants.measure("benchmarks.samplers", names, requests, asked.repeats, problem)
            found = contestants.rates(answers, {name: outputs * lengths[name] for name in answers})
            reference = np.array(next(said[name]["check"] for name in answers))
            print(f"{'sampler, outputs: ' + str(outputs):<32}{'notes/s':>10}{'quartiles':>20}{'furthest row':>14}")
            for name, rate in found.items():
                furthest = float(np.abs(np.array(said[name]["check"]) - reference).max())
                quartiles = f"{rate['low']:.0f}..{rate['high']:.0f}"
                print(f"{name:<32}{rate['median']:>10.0f}{quartiles:>20}{furthest:>14.6f}")
            ours = best(found, "musicjax")
            others = [best(found, family) for family in PEERS]
            result |= {
                f"{prefix}vs_best_keras": ratio(ours, best(found, "keras")),
                f"{prefix}vs_keras_tensorflow_predict": ratio(ours, best(found, "keras-tensorflow-predict")),
                f"{prefix}vs_best_torch": ratio(ours, best(found, "torch")),
                f"{prefix}vs_flax": ratio(ours, best(found, "flax")),
                f"{prefix}vs_best_peer": ratio(ours, max((rate for rate in others if rate), default=None)),
                f"{prefix}notes_per_second": found,
                f"{prefix}samplers": said,
            }
    result["settings"] = {name: value for name, value in vars(asked).items() if name not in ("samplers", "save")}
    contestants.finish("sample", result, asked.save)


if __name__ == "__main__":
    main()
