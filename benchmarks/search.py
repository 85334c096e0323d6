"""A search of 200 trials by successive halving, beside 60 and 200 full trials.

    python -m benchmarks.search [--trials=200] [--full=60] [--epochs=54] [--repeats=3] [--workdir=DIR] [--save]

Repeat k searches the learning rate, dropout and units of the paper's model on twelve composed clips, with seed k. The
search and the full trials take turns, each a command timed from its start to its last file; an untimed command compiles
the programs beforehand. As many full trials as the search has, also untimed, show what it could have found. Prints a
table and, as its last line, one JSON object. With --workdir, the searches are kept there, and complete ones are not
repeated.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import contestants
from musicjax.music import builtin_clips

FIELDS = {
    "train.learning_rate": {"low": 1e-5, "high": 1e-2, "scale": "log"},
    "model.dropout": {"low": 0.0, "high": 0.8},
    "model.units": [8, 16, 32],
}
CONFIG = {"data.window": 8, "train.batch_size": 512, "sample.num_outputs": 0, "sample.audio": "none"}
HALVING = 3
TIMED = ("search", "full")


def searched(folder: Path, name: str, **asked: Any) -> tuple[float, dict[str, Any]]:
    """(seconds of the command, its summary), as kept if it was done before; name: of its folder."""
    workdir, done = folder / name, folder / f"{name}.done.json"
    if done.is_file():
        return tuple(json.loads(done.read_text()))
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"fields": FIELDS, **asked}))
    fields = [f"--config.{field}={value}" for field, value in CONFIG.items()]
    words = ["--config=small", f"--data={folder / 'clips'}", f"--search={path}", f"--workdir={workdir}", *fields]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    began = time.perf_counter()
    command = [sys.executable, "-m", "musicjax", *words]
    printed = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    found = round(time.perf_counter() - began, 2), json.loads(printed.splitlines()[-1])
    done.write_text(json.dumps(found))
    return found


def measure(folder: Path, asked: Any) -> dict[str, Any]:
    """Seconds of the search and of the full trials, and the lowest losses of each."""
    if not (folder / "clips").is_dir():
        (folder / "clips").mkdir()
        builtin_clips.write_corpus(folder / "clips", seed=3, clips=12)
    common = {"epochs": asked.epochs, "minimise": "loss"}
    searched(folder, "compile", **common | {"trials": 8, "epochs": 1, "halving": 0})
    several = {
        "search": {"trials": asked.trials, "halving": HALVING},
        "full": {"trials": asked.full, "halving": 0},
        "all_full": {"trials": asked.trials, "halving": 0},
    }
    seconds: dict[str, list[float]] = {name: [] for name in several}
    losses: dict[str, list[float]] = {name: [] for name in several}
    rungs: dict[str, list] = {}
    for repeat in range(asked.repeats):
        for name, own in several.items():
            took, summary = searched(folder, f"{name}-{repeat}", **common, **own, seed=repeat)
            seconds[name].append(took)
            losses[name].append(summary["minimised"]["loss"])
            rungs[name] = summary["rungs"]
            told = f"loss {losses[name][-1]:.6f} in {took:.1f} s"
            print(f"{repeat + 1} of {asked.repeats}  {name:<9}{told}", file=sys.stderr, flush=True)
    timed = {name: contestants.quartiles(seconds[name]) for name in TIMED}
    return {"rungs": rungs["search"], "seconds": timed, "losses": losses}


def main() -> None:
    asked = contestants.arguments(__doc__, trials=200, full=60, epochs=54, repeats=3, workdir="")
    contestants.limit_threads()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(asked.workdir or folder).absolute()
        place.mkdir(parents=True, exist_ok=True)
        found = measure(place, asked)
    losses = found["losses"]
    over = {
        name: [round(ours / best - 1, 5) for ours, best in zip(losses[name], losses["all_full"], strict=True)]
        for name in TIMED
    }
    print(f"{'':<20}{'seconds':>9}{'quartiles':>16}  lowest loss above that of {asked.trials} full trials")
    for name, label in zip(TIMED, (f"{asked.trials} trials, halved", f"{asked.full} full trials"), strict=True):
        one, above = found["seconds"][name], ", ".join(f"{share:.1%}" for share in over[name])
        print(f"{label:<20}{one['median']:>9.1f}{one['low']:>9.1f}..{one['high']:<5.1f}  {above}")
    settings = {name: value for name, value in vars(asked).items() if name not in ("save", "workdir")}
    seconds = found["seconds"]
    ratio = contestants.ratio(seconds["search"]["median"], seconds["full"]["median"])
    result = {**found, "seconds_vs_full": ratio, "loss_above_all_full": over, "settings": settings}
    contestants.finish("search", result, asked.save)


if __name__ == "__main__":
    main()
