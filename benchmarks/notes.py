"""Nats per note of the network and of n-grams over the same bins, on pieces that neither has seen.

    python -m benchmarks.notes --data=DIR_OR_builtin [--config=events] [--runs=runs/notes] [--epochs=0] [--units=0]
                               [--seed=0] [--save]

A folder with train/, valid/ and test/ keeps its split. In any other, the pieces are sorted by name: the first 6/7 are
for training, the next 1/14 for validation and the last 1/14 for testing, which gives 600, 50 and 50 of POP909's songs
001 to 700. Bins are learned from the training pieces. Every note of a test piece, and the piece's end, is predicted
from the notes before it; nats are summed over interval, instrument, pitch, duration and velocity and averaged over
notes and ends, which test_notes counts together; lower is better. The network is trained, or restored if --runs has it.
The validation pieces choose its epoch, and the contexts and smoothing of the n-grams (benchmarks/ngrams.py). --epochs
and --units make a quick try.

Prints a table, the validation nats of the network by epoch and, as its last line, one JSON object
{model: {"nats_per_note", "interval", "pitch", "duration", "velocity"}, ..., "below_best_ngram": share}.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import contestants, ngrams
from musicjax import config as config_lib
from musicjax import config_files
from musicjax.config import Config, DataConfig
from musicjax.corpus import load as data_lib
from musicjax.corpus import split as split_lib
from musicjax.corpus.find import find
from musicjax.errors import RunError, UsageError
from musicjax.music import builtin_clips, note_bins, note_rows
from musicjax.music.note_bins import Bins
from musicjax.run import device, evaluate, train
from musicjax.store import checkpoint

SPLITS = ("train", "valid", "test")
# The shares of the pieces, sorted by name, at which validation and test begin.
SHARES = (6 / 7, 13 / 14)
COLUMNS = tuple(note_bins.COLUMNS[column] for column in note_bins.PREDICTED)
ORDERS = range(1, 7)


def main() -> None:
    asked = contestants.arguments(__doc__, data="", config="events", runs="runs/notes", epochs=0, units=0, seed=0)
    if not asked.data:
        raise SystemExit("--data is missing: expected a folder of MIDI files, or builtin")
    trial = {path: n for path, n in {"train.epochs": asked.epochs, "model.units": asked.units}.items() if n}
    if asked.save and trial:
        raise SystemExit("--save keeps a full result: expected neither --epochs nor --units")
    runs = Path(asked.runs, asked.config, *map(str, trial.values()))  # a quick try has a folder of its own
    try:
        folder = split_folder(asked.data, runs / "data")
        config = config_of(asked.config, folder, asked.seed, trial)
        network = of_network(config, runs / "run")
        bins = network.pop("bins")
        found = {**of_ngrams(folder, bins, config.data), "lstm": network["nats"]}
    except (UsageError, RunError) as error:
        raise SystemExit(f"notes: {error}") from error
    result = {**found, **below(found)}
    curve = network.pop("curve")
    print(table(found))
    print("validation nats a note by epoch:", *(f"{nats:.3f}" for nats in curve))
    print(", ".join(f"{name} {value}" for name, value in network.items() if name != "nats"))
    if asked.save:
        keep({"config": asked.config, "rows": found, **below(found), **network, "curve": curve, "bins": bins.used})
    print(json.dumps(result))


def split_folder(data: str, folder: Path) -> Path:
    """The folder with train/, valid/ and test/: the data's own, or one made from its files."""
    source = Path(data).expanduser()
    if data == "builtin":
        source = folder.parent / "builtin"
        source.mkdir(parents=True, exist_ok=True)
        builtin_clips.write_corpus(source)
    names = [path.relative_to(source).as_posix() for path in find(source).paths]
    if split_lib.folders(names) is not None and any(name.startswith("test/") for name in names):
        return source
    shutil.rmtree(folder, ignore_errors=True)
    for place, name in enumerate(sorted(names)):
        split = SPLITS[sum(place >= round(share * len(names)) for share in SHARES)]
        target = folder / split / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, target)
    return folder


def config_of(name: str, folder: Path, seed: int, trial: dict[str, Any]) -> Config:
    """The config for a folder, with the fields of a quick try."""
    config = config_files.load(name)
    config.seed, config.data.source, config.sample.num_outputs = seed, str(folder), 2
    for path, value in trial.items():
        config_lib.set_field(config, path, value)
    return config_lib.validate(config)


def of_network(config: Config, workdir: Path) -> dict[str, Any]:
    """Nats of the test pieces under a network, which is trained or restored, and its learning curve."""
    device.keep_programs(config.data)
    train.train(config, workdir)
    metadata = checkpoint.read_metadata(workdir)
    scores: dict[str, Any] = {**evaluate.evaluate(workdir, str(Path(config.data.source) / "test"))}
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    minutes = sum(line["seconds"] for line in lines if line["split"] == "train") / 60
    nats = {"nats_per_note": scores["nats_per_note"]} | {name: scores[f"{name}_nats"] for name in COLUMNS}
    return {
        "bins": note_bins.from_saved(metadata.learned["bins"]),
        "nats": {name: round(value, 4) for name, value in nats.items()},
        "minutes_of_training_steps": round(minutes, 1),
        "best_epoch": metadata.best_epoch,
        "epochs": metadata.epoch,
        "test_notes": scores["notes"] + scores["ends"],  # what nats are averaged over
        "curve": [round(line["loss"], 4) for line in lines if line["split"] == "valid"],
    }


def of_ngrams(folder: Path, bins: Bins, data: DataConfig) -> dict[str, dict[str, float]]:
    """Nats of the test pieces under n-grams: the best of each order on validation, and the strongest that
    benchmarks/ngrams.py knows, which chooses its contexts."""
    splits = {name: rows_of(folder / name, bins, data) for name in SPLITS}
    sizes = tuple(bins.used[column] for column in bins.predicted)
    best = ngrams.best(splits["train"], splits["valid"], sizes)
    found = {"uniform": named(np.log(sizes))}
    for order in ORDERS:
        choices = [one for one in best.table if one[0] == order and one[1] != "chosen"]
        choice = min(choices, key=lambda one: best.table[one].sum())
        model = ngrams.fit(splits["train"][0], splits["train"][1], sizes, *choice)
        found[f"{order}-gram"] = named(ngrams.nats(model, *splits["test"]))
        print(f"{order}-gram: {choice[1]}, {choice[2]}", file=sys.stderr, flush=True)
    found["chosen contexts"] = named(ngrams.nats(best.model, *splits["test"]))
    print(f"chosen contexts: {best.choices}", file=sys.stderr, flush=True)
    return found


def rows_of(folder: Path, bins: Bins, data: DataConfig) -> ngrams.Split:
    """The predicted columns of the pieces in a folder, int [N, A], edges left out, and their offsets."""
    corpus, _ = data_lib.read(dataclasses.replace(data, source=str(folder)))
    pieces = [note_rows.encode(corpus.piece(p), bins, match=False)[0][1:-1] for p in range(len(corpus))]
    return np.concatenate(pieces)[:, bins.predicted].astype(np.int64), corpus.offsets


def named(nats: np.ndarray) -> dict[str, float]:
    """The nats by column and their sum, from nats [A]."""
    by_column = {name: round(float(value), 4) for name, value in zip(COLUMNS, nats, strict=True)}
    return {"nats_per_note": round(float(nats.sum()), 4), **by_column}


def below(found: dict[str, dict[str, float]]) -> dict[str, Any]:
    """How far the network is below the best n-gram of orders 1 to 6 and below the chosen contexts, as shares."""
    nats = {name: one["nats_per_note"] for name, one in found.items()}
    best = min((f"{order}-gram" for order in ORDERS), key=lambda name: nats[name])
    return {
        "best_ngram": best,
        "below_best_ngram": round(1 - nats["lstm"] / nats[best], 4),
        "below_chosen_contexts": round(1 - nats["lstm"] / nats["chosen contexts"], 4),
    }


def table(found: dict[str, dict[str, float]]) -> str:
    """The rows as text."""
    lines = [f"{'':<18}" + "".join(f"{name:>15}" for name in ("nats_per_note", *COLUMNS))]
    lines += [f"{name:<18}" + "".join(f"{value:>15.3f}" for value in one.values()) for name, one in found.items()]
    return "\n".join(lines)


def keep(result: dict[str, Any]) -> None:
    """Keeps the result beside those of the other benchmarks, under the config's name."""
    kept = {"benchmark": "notes", "measured": time.strftime("%Y-%m-%d"), **result, "machine": contestants.machine()}
    contestants.keep(f"notes-{result['config']}", kept)


if __name__ == "__main__":
    main()
