"""Compares the music that README's two commands make from a folder with unseen pieces of the same kind.

    python -m benchmarks.own_folder --data=SOURCE --runs=DIR [--pieces=60] [--unseen=60] [--minutes=10] [--outputs=16]
                                    [--seed=0] [--save]

--data is a folder of one kind of music, or a data set such as bach. It draws --pieces pieces at random for the folder
DIR/music, and --unseen others, which nothing trains on, for DIR/unseen. Then it runs the two commands, without any
other flag, and measures what they write:

    musicjax --data=DIR/music --workdir=DIR/run --minutes=10
    musicjax generate --workdir=DIR/run --num_outputs=16

scale, in chord, repeats and overlap are those of musicjax.music.likeness and musicjax.music.metrics. An ending counts
if the highest of the notes that begin last belongs to the tonic triad and all notes end at a bar line, within a 24th of
a quarter note. A copy is the longest run of notes shared with a training piece. The unseen pieces are taken whole.

Prints a table, whether each claim is met and, as its last line, one JSON object.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import contestants
from musicjax.config import DataConfig
from musicjax.corpus import load as data_lib
from musicjax.errors import RunError, UsageError
from musicjax.music import copies, likeness, metrics, midi
from musicjax.music.notes import Notes

# The largest differences between our means and those of unseen pieces; then the least overlap and share of endings.
CLAIMS = {"scale": 0.02, "in_chord": 0.04, "repeats": 0.15}
OVERLAP, ENDINGS = 0.78, 14 / 16
# The fields that are chosen for the data, by part of the config.
CHOSEN = (
    ("model", "units"),
    ("model", "dropout"),
    ("data", "transpose"),
    ("train", "epochs"),
    ("sample", "temperature"),
    ("sample", "min_p"),
)


def main() -> None:
    asked = contestants.arguments(
        __doc__, data="", runs="runs/own_folder", pieces=60, unseen=60, minutes=10.0, outputs=16, seed=0
    )
    if not asked.data:
        raise SystemExit("--data is missing: expected a folder of one kind of music, or a data set such as bach")
    runs = Path(asked.runs)
    if runs.exists() and any(runs.iterdir()):
        raise SystemExit(f"--runs={runs}: expected a new or empty folder, so that nothing is trained already")
    try:
        training, unseen = drawn(asked.data, asked.pieces, asked.unseen, asked.seed)
    except (UsageError, RunError) as error:
        raise SystemExit(f"own_folder: {error}") from error
    write(training, runs / "music")
    write(unseen, runs / "unseen")
    started = time.perf_counter()
    run(f"--data={runs / 'music'}", f"--workdir={runs / 'run'}", f"--minutes={asked.minutes:g}")
    trained = time.perf_counter()
    printed = run("generate", f"--workdir={runs / 'run'}", f"--num_outputs={asked.outputs}")
    outputs = [midi.read(path) for path in printed.split("\n") if path]
    found = compared(outputs, unseen, training)
    print()
    print(table(found))
    seconds = {"training": round(trained - started), "generating": round(time.perf_counter() - trained)}
    config = json.loads((runs / "run" / "config.json").read_text())
    chosen = {name: config[part][name] for part, name in CHOSEN}
    asked_for = {"data": Path(asked.data).name, "pieces": len(training), "unseen": len(unseen)}
    result = {**asked_for, "outputs": len(outputs), "minutes": asked.minutes, "seconds": seconds, "chosen": chosen}
    contestants.finish(f"own_folder_{asked_for['data']}", {**result, **found}, asked.save)


def drawn(source: str, pieces: int, unseen: int, seed: int) -> tuple[list[Notes], list[Notes]]:
    """(training pieces, unseen pieces), drawn at random; pieces with the same notes count once."""
    corpus, _ = data_lib.load(DataConfig(source=source, duplicates="drop"))
    if len(corpus) < pieces + 2:
        raise UsageError(f"{source} has {len(corpus)} pieces; expected at least {pieces + 2}")
    order = np.random.default_rng(seed).permutation(len(corpus)).tolist()
    return [corpus.piece(k) for k in order[:pieces]], [corpus.piece(k) for k in order[pieces : pieces + unseen]]


def write(pieces: list[Notes], folder: Path) -> None:
    """Writes pieces as 000.mid, 001.mid and so on."""
    folder.mkdir(parents=True)
    for number, piece in enumerate(pieces):
        midi.write(piece, folder / f"{number:03}.mid")


def run(*arguments: str) -> str:
    """Runs musicjax as a command and returns its standard output; its standard error stays visible."""
    command = [sys.executable, "-m", "musicjax.main", *arguments]
    print("$ musicjax", *arguments, flush=True)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def compared(outputs: list[Notes], unseen: list[Notes], training: list[Notes]) -> dict[str, Any]:
    """The measures of both sides, "ours" and "real", the mean "overlap" area, and in "claims" whether each is met."""
    known = copies.index(training, tuple(f"{number:03}" for number in range(len(training))))
    found: dict[str, Any] = {}
    for name, pieces in {"ours": outputs, "real": unseen}.items():
        longest = max(copies.longest(piece, known).length for piece in pieces)
        both = [likeness.ends_on_tonic(piece) * likeness.ends_at_bar_line(piece) == 1 for piece in pieces]
        means = likeness.means(pieces)
        at_line = means.pop("at_bar_line")
        values = {**means, "ends_at_bar_line": at_line, "ends_well": float(np.mean(both))}
        found[name] = {key: round(value, 3) for key, value in values.items()} | {"longest_copy": longest}
    areas = metrics.compare(*([metrics.of_piece(piece) for piece in pieces] for pieces in (outputs, unseen)))
    found["overlap"] = round(metrics.mean_overlap_area(areas), 3)
    ours, real = found["ours"], found["real"]
    claims = {
        f"{name} within {most:g}": bool(abs(ours[name] - real[name]) <= most or np.isnan(real[name]))
        for name, most in CLAIMS.items()
    }
    claims[f"overlap at least {OVERLAP}"] = found["overlap"] >= OVERLAP
    claims["14 of 16 end on the tonic triad at a bar line"] = ours["ends_well"] >= ENDINGS
    claims["no longer copy than an unseen piece's"] = ours["longest_copy"] <= real["longest_copy"]
    return found | {"claims": claims}


def table(found: dict[str, Any]) -> str:
    """The measures of both sides, then the claims."""
    names = list(found["ours"])
    lines = [f"{'':<10}" + "".join(f"{name:>18}" for name in names)]
    lines += [f"{side:<10}" + "".join(f"{found[side][name]:>18}" for name in names) for side in ("ours", "real")]
    lines.append(f"mean overlap area {found['overlap']}")
    return "\n".join([*lines, *(f"{'yes' if met else 'NO '} {claim}" for claim, met in found["claims"].items())])


if __name__ == "__main__":
    main()
