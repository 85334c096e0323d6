"""Nats per frame of eight models on four data sets under one protocol: the paper's Table I as one experiment.

    python -m benchmarks.likelihood --data=DIR [--rows=uniform,marginal,markov,mse,bernoulli,nade,...] [--sets=jsb,...]
                                    [--runs=runs/likelihood] [--seed=0] [--save]
                                    [--epochs=1 --units=8]

DIR holds JSB_Chorales.mat, Nottingham.mat, MuseData.mat and Piano_midi.mat (Boulanger-Lewandowski et al. 2012), with
their splits and grids. Frames 2..T of each test piece are predicted from those before them in the piece; nats are
summed over the 88 keys and averaged over all predicted frames; lower is better. Networks (configs frames_*.py) are
trained, or restored if --runs has them, and chosen by their loss on the validation split alone. Only training frames
are transposed. In brackets, the 95 % interval of 1,000 bootstrap draws over test pieces. --epochs and --units make a
quick try instead of SETTINGS.

Prints a table and, as its last line, one JSON object {row: {set: nats}}.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import alternate, baselines
from musicjax import config as config_lib
from musicjax import config_files
from musicjax.config import Config
from musicjax.corpus import frame_sets
from musicjax.corpus.frame_sets import Polyphonic
from musicjax.errors import RunError, UsageError
from musicjax.model import heads, network
from musicjax.music import piano_roll
from musicjax.run import device, train
from musicjax.store import model as model_lib
from musicjax.training import sequences

SETS = tuple(frame_sets.NAMES)
NETWORKS = {
    "mse": "frames_mse",
    "bernoulli": "frames_bernoulli",
    "nade": "frames_nade",
    "bernoulli_match": "frames_bernoulli_match",
    "nade_match": "frames_nade_match",
}
ROWS = ("uniform", "marginal", "markov", *NETWORKS)
# What differs between the data sets, which have 14,000 to 245,000 training frames. Chosen on validation.
SETTINGS: dict[str, dict[str, Any]] = {
    "jsb": {"train.epochs": 300, "train.half_life": 80.0},
    "nottingham": {"data.transpose": 0, "train.epochs": 60, "train.half_life": 15.0, "train.patience": 10},
    "musedata": {
        "data.transpose": 0,
        "model.units": 512,
        "train.batch_size": 32,
        "train.learning_rate": 1e-2,
        "train.epochs": 50,
        "train.half_life": 10.0,
        "train.patience": 10,
    },
    "piano_midi": {"data.window": 128, "train.epochs": 60, "train.half_life": 15.0},
}
# For one row and data set alone: the largest gains from transposed pieces, except NADE without the longest match.
LONGER = {"data.transpose": 6, "train.epochs": 60, "train.half_life": 15.0}
MORE: dict[tuple[str, str], dict[str, Any]] = {
    (row, "musedata"): LONGER for row in ("bernoulli", "mse", "bernoulli_match", "nade_match")
}
# What others printed for the test splits and grids of the same four files, and what we know of their protocols.
PUBLISHED: dict[str, tuple[dict[str, float | None], str]] = {
    "LSTM, independent keys (Chung et al. 2014)": (
        dict(zip(SETS, (8.67, 3.20, 6.23, 9.03), strict=True)),
        "transposition and first frame: not known here",
    ),
    "LSTM, independent keys (Bai et al. 2018)": (
        dict(zip(SETS, (8.45, 3.29, None, None), strict=True)),
        "not transposed; first frame not predicted",
    ),
    "TCN, independent keys (Bai et al. 2018)": (
        dict(zip(SETS, (8.10, 3.07, None, None), strict=True)),
        "not transposed; first frame not predicted",
    ),
    "RNN-NADE (Boulanger-Lewandowski et al. 2012)": (
        dict(zip(SETS, (5.56, 2.31, 5.60, 7.05), strict=True)),
        "transposition and first frame: not known here; from memory, not checked",
    ),
}
# The outputs of the paper's loss, taken as probabilities, are clipped to one of these; validation chooses it.
CLIPS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


def main() -> None:
    asked = alternate.arguments(
        __doc__, data="", rows=",".join(ROWS), sets=",".join(SETS), runs="runs/likelihood", seed=0, epochs=0, units=0
    )
    trial = {"train.epochs": asked.epochs, "model.units": asked.units}
    rows, sets = asked.rows.split(","), asked.sets.split(",")
    for named, known in ((rows, ROWS), (sets, SETS)):
        if set(named) - set(known):
            raise SystemExit(f"{','.join(named)}: expected some of {','.join(known)}")
    if not asked.data:
        raise SystemExit("--data is missing: expected the folder of the four .mat files")
    trial = {path: number for path, number in trial.items() if number}
    if asked.save and (trial or set(rows) != set(ROWS) or set(sets) != set(SETS)):
        raise SystemExit("--save keeps the whole table: expected all rows and sets, and neither --epochs nor --units")
    try:
        runs = Path(asked.runs, *map(str, trial.values()))  # a quick try has a folder of its own
        found = measured(rows, sets, asked.data, runs, asked.seed, trial)
    except (UsageError, RunError) as error:
        raise SystemExit(f"likelihood: {error}") from error
    print(table(found, sets))
    if asked.save:
        more = {"-".join(row_and_set): fields for row_and_set, fields in MORE.items()}
        keep({"rows": found, "settings": {"seed": asked.seed, "by_set": SETTINGS, "more": more}})
    print(json.dumps({row: {name: one["nats"] for name, one in of.items()} for row, of in found.items()}))


def measured(
    rows: list[str], sets: list[str], folder: str, runs: Path, seed: int, trial: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """{row: {data set: its cell}}."""
    found: dict[str, dict[str, Any]] = {row: {} for row in rows}
    for name in sets:
        data = frame_sets.read(f"polyphonic:{name}:{folder}")
        for row in rows:
            if row in NETWORKS:
                one = of_network(row, data, config_of(row, name, folder, seed, trial), runs / f"{row}-{name}")
            else:
                one = of_baseline(row, data)
            found[row][name] = one
            print(f"{row:<16}{name:<12}{one}", file=sys.stderr, flush=True)
    return found


def of_baseline(row: str, data: Polyphonic) -> dict[str, Any]:
    """Nats per frame of the test split under a model that only counts."""
    learned, test = data.pieces("train"), data.pieces("test")
    costs = baselines.uniform(test) if row == "uniform" else getattr(baselines, row)(learned, test)
    return scored(*costs)


def of_network(row: str, data: Polyphonic, config: Config, workdir: Path) -> dict[str, Any]:
    """Nats per frame of the test split under a network, which is trained or restored."""
    device.keep_programs(config.data)
    train.train(config, workdir)
    model = model_lib.load(workdir)
    net, more = model.network, dict[str, Any]()
    if row == "mse":  # the clip with the lowest nats on validation
        clipped = {clip: net.clone(head=heads.FrameRegression(clip)) for clip in CLIPS}
        of_clip = {
            clip: baselines.per_frame(*costs_of(one, model.params, data, "valid")) for clip, one in clipped.items()
        }
        best_clip = min(CLIPS, key=of_clip.__getitem__)
        net, more = clipped[best_clip], {"clip": best_clip}
    of_valid = baselines.per_frame(*costs_of(net, model.params, data, "valid"))
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    seconds = sum(line["seconds"] for line in lines if line["split"] == "train")
    return scored(*costs_of(net, model.params, data, "test")) | {
        "valid_nats": round(of_valid, 4),
        "parameters": network.count(model.params),
        "epochs": model.metadata.epoch,
        "best_epoch": model.metadata.best_epoch,
        "minutes": round(seconds / 60, 1),
        **more,
    }


def config_of(row: str, name: str, folder: str, seed: int, trial: dict[str, Any]) -> Config:
    """The config of a row for one data set, with the fields of a quick try."""
    config = config_files.load(NETWORKS[row])
    config.seed, config.data.source, config.sample.num_outputs = seed, f"polyphonic:{name}:{folder}", 2
    for path, value in {**SETTINGS[name], **MORE.get((row, name), {}), **trial}.items():
        config_lib.set_field(config, path, value)
    return config_lib.validate(config)


def costs_of(net: network.Network, params: dict, data: Polyphonic, split: str) -> baselines.Costs:
    """Nats [P] and predicted frames [P] of the pieces of a split."""
    rows = piano_roll.with_matches(data.frames, data.offsets) if net.match_lengths else data.frames
    streams = sequences.streams(rows, data.offsets, data.split == frame_sets.SPLITS.index(split))
    placed = jax.tree.map(jnp.asarray, streams)
    nats = np.asarray(jax.jit(sequences.score, static_argnums=0)(net, params, placed).nats, np.float64)
    counted = np.asarray(streams.weight) > 0
    piece = np.searchsorted(data.offsets, np.asarray(streams.seen)[counted], side="right") - 1
    sums, frames = np.bincount(piece, nats[counted], len(data)), np.bincount(piece, minlength=len(data))
    return sums[frames > 0], frames[frames > 0]


def scored(nats: np.ndarray, frames: np.ndarray) -> dict[str, Any]:
    """A cell of the table, from nats [P] and frames [P] of the test pieces."""
    low, high = baselines.bootstrap(nats, frames, seed=0)
    cell = {"nats": baselines.per_frame(nats, frames), "low": low, "high": high}
    return {name: round(value, 4) for name, value in cell.items()} | {"pieces": len(nats), "frames": int(frames.sum())}


def table(found: dict[str, dict[str, Any]], sets: list[str]) -> str:
    """The rows as text: nats, interval, parameters, minutes of training steps; then what others published."""
    lines = [f"{'':<16}" + "".join(f"{name:>24}" for name in sets)]
    for row, of in found.items():
        cells = [f"{of[name]['nats']:.2f} ({of[name]['low']:.2f}..{of[name]['high']:.2f})" for name in sets]
        lines.append(f"{row:<16}" + "".join(f"{cell:>24}" for cell in cells))
        if row in NETWORKS:
            sizes = [f"{of[name]['parameters']:,}, {of[name]['minutes']} min" for name in sets]
            lines.append(f"{'':<16}" + "".join(f"{size:>24}" for size in sizes))
    for what, (nats, how) in PUBLISHED.items():
        cells = ["" if nats[name] is None else f"{nats[name]:.2f}" for name in sets]
        lines.append(f"{what}: {how}\n{'':<16}" + "".join(f"{cell:>24}" for cell in cells))
    return "\n".join(lines)


def keep(result: dict[str, Any]) -> None:
    """Keeps the result beside those of the other benchmarks."""
    kept = {"benchmark": "likelihood", "measured": time.strftime("%Y-%m-%d"), **result, "machine": alternate.machine()}
    alternate.keep("likelihood", kept)


if __name__ == "__main__":
    main()
