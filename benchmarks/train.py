"""Training speed beside every installed peer, in turns.

    python -m benchmarks.train [--peers=musicjax-float32,keras-jax,...] [--repeats=5] [--units=512] [--batch=200]
                               [--window=50] [--windows=2000] [--save] [--name=train]

Rows have the paper's shape, three columns, with random values in 0..1; the arithmetic does not depend on them. Before
the timing, the loss and gradient norm of every peer are compared on the same weights. Each peer's first pass, which
compiles, does not count. FLOP are those of the model, forward and backward, nothing counted twice. Their share is
relative to matrix products alone in the same precision, measured in the same run. Prints a table and, as its last line,
one JSON object, which --save keeps under --name.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks import contestants
from benchmarks.contestants import best, ratio
from benchmarks.peers import PEERS

COLUMNS = 3


def write_problem(path: Path, units: int, batch: int, window: int, windows: int, trials: int = 1) -> None:
    """Writes the rows, windows and initial weights that all peers load."""
    import jax

    from musicjax.model import network

    rows = np.random.default_rng(0).random((windows + window, COLUMNS), np.float32)
    net = network.MusicLSTM(units, COLUMNS)
    params = jax.tree.map(np.asarray, network.init(net, jax.random.key(0), window))
    index = np.arange(windows)[:, None] + np.arange(window)
    weights = {"dense_kernel": params["dense"]["kernel"], "dense_bias": params["dense"]["bias"]}
    problem = {"rows": rows, "x": rows[index], "y": rows[window:], "batch": batch, "window": window, "trials": trials}
    np.savez(path, **problem, **params["lstm"]._asdict(), **weights)


def gflop(units: int, window: int) -> float:
    """GFLOP of the model to train on one window: forward, and twice that backward."""
    return 3 * 2 * window * (units + COLUMNS) * 4 * units / 1e9


def ratios(found: dict[str, dict[str, float]]) -> dict[str, float | None]:
    """Our best row relative to the best of each family, and float32 relative to PyTorch's and Keras' float32."""
    ours, ours_float32 = best(found, "musicjax"), best(found, "musicjax-float32")
    whole_epochs = {name: rate for name, rate in found.items() if name.endswith("_epoch")}  # compiled, as ours are
    return {
        "vs_best_keras": ratio(ours, best(found, "keras")),
        "vs_keras_jax": ratio(ours, best(found, "keras-jax")),
        "vs_best_torch": ratio(ours, best(found, "torch")),
        "vs_flax": ratio(ours, best(found, "flax")),
        "vs_flax_epoch": ratio(ours, best(whole_epochs, "flax")),
        "dropin_vs_flax": ratio(best(found, "dropin"), best(found, "flax")),
        "dropin_vs_ours": ratio(best(found, "dropin"), ours),
        "float32_vs_torch_float32": ratio(ours_float32, best(found, "torch-float32")),
        "float32_vs_keras_jax": ratio(ours_float32, best(found, "keras-jax")),
    }


def main() -> None:
    asked = contestants.arguments(
        __doc__, peers=",".join(PEERS), repeats=5, units=512, batch=200, window=50, windows=2000, name="train"
    )
    names = asked.peers.split(",")
    if unknown := [name for name in names if name not in PEERS]:
        raise SystemExit(f"--peers={unknown[0]}: expected some of {', '.join(PEERS)}")
    if asked.batch > asked.windows:
        raise SystemExit(f"--batch={asked.batch}: expected at most --windows={asked.windows}, one epoch")
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder, "problem.npz")
        write_problem(problem, asked.units, asked.batch, asked.window, asked.windows)
        answers, said = contestants.measure(
            "benchmarks.peers", names, dict.fromkeys(names, "train"), asked.repeats, problem
        )
    roofs = {
        name: float(np.median([one["gflops"] for one in answers.pop(name)]))
        for name in list(answers)
        if name.startswith("roof")
    }
    found = contestants.rates(answers, dict.fromkeys(answers, asked.windows))
    work, shares = gflop(asked.units, asked.window), {}
    print(f"{'peer':<20}{'windows/s':>10}{'quartiles':>16}{'GFLOP/s':>9}{'of roof':>9}{'loss':>12}{'gradient':>12}")
    for name, rate in found.items():
        roof = roofs.get(f"roof-{'bfloat16' if 'bfloat16' in name else 'float32'}")
        shares[name] = ratio(rate["median"] * work, roof)
        quartiles = f"{rate['low']:.0f}..{rate['high']:.0f}"
        print(
            f"{name:<20}{rate['median']:>10.0f}{quartiles:>16}{rate['median'] * work:>9.0f}{shares[name] or 0:>9.2f}"
            f"{said[name]['check'][0]:>12.6f}{said[name]['check'][1]:>12.6f}"
        )
    fastest = max(
        (name for name in found if name.startswith("musicjax")), key=lambda name: found[name]["median"], default=""
    )
    result = {
        **ratios(found),
        "gemm_share": shares.get(fastest),
        "windows_per_second": found,
        "gemm_shares": shares,
        "roof_gflops": roofs,
        "peers": said,
        "settings": {name: value for name, value in vars(asked).items() if name not in ("peers", "save", "name")},
    }
    contestants.finish(asked.name, result, asked.save)


if __name__ == "__main__":
    main()
