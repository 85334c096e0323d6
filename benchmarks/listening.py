"""Pages to listen to. One plays pieces from some folders beside what musicjax used to generate from each folder and
what it generates now. The other plays test pieces of a frame data set beside what the networks of `likelihood`
generate.

    python -m benchmarks.listening --runs=DIR,DIR,... [--shown=3] [--out=docs/listening.html]
    python -m benchmarks.listening --likelihood=RUNS --data=DIR [--set=jsb] [--out=docs/chorales.html]

For the first command, fill each DIR with benchmarks.own_folder. The page shows its unseen/, before/ and run/generated/.
To fill DIR/before, run this in a checkout of commit 90cad80 (musicjax 0.1.0):

    python -m musicjax.main --config.data.source=DIR/music --workdir=DIR/old
    python -m musicjax.main generate --workdir=DIR/old --num_outputs=16 --output_dir=DIR/before

The second command shows the test pieces of --set in the DIR of the four .mat files, and the samples that each network
in RUNS wrote when its training ended.

The page takes the first --shown files of each, whatever they sound like.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import contestants, tables
from benchmarks.likelihood_networks import NETWORKS, workdir_of
from musicjax import config_files
from musicjax.corpus import frame_sets
from musicjax.music import midi, piano_roll
from musicjax.report import page, pieces
from musicjax.report.pieces import Sample

SIDES = {"real, unseen": "unseen", "before": "before", "after": "run/generated"}
# {heading: {side: its pieces}}
Sides = dict[str, dict[str, list[Sample]]]


def main() -> None:
    asked = contestants.arguments(__doc__, runs="", likelihood="", data="", set="jsb", shown=3, out="")
    runs = [Path(name) for name in asked.runs.split(",") if name]
    if bool(runs) == bool(asked.likelihood):
        raise SystemExit("expected either --runs (folders filled by benchmarks.own_folder) or --likelihood")
    if runs:
        text, place = before_and_after(runs, asked.shown), "docs/listening.html"
    else:
        text, place = of_networks(Path(asked.likelihood), asked.set, asked.data, asked.shown), "docs/chorales.html"
    Path(asked.out or place).write_text(text, encoding="utf-8")
    print(asked.out or place)


def before_and_after(runs: list[Path], shown: int) -> str:
    """The page of folders that benchmarks.own_folder has filled."""
    shown_of = {run.name: {name: samples_of(run / place, name, shown) for name, place in SIDES.items()} for run in runs}
    number = len(list((runs[0] / "music").glob("*.mid")))
    return html("before_and_after", shown_of, pieces=number, shown=shown)


def of_networks(runs: Path, name: str, folder: str, shown: int) -> str:
    """The page of test pieces and of networks trained on the same frame data set in `folder`."""
    data = frame_sets.read(f"polyphonic:{name}:{folder}")
    sides: dict[str, list[Sample]] = {}
    per_beat: set[int] = set()
    for row in NETWORKS:
        workdir = workdir_of(runs, row, name, 0)
        if (workdir / "samples").is_dir():
            config = config_files.load(str(workdir / "config.json"))
            per_beat.add(config.data.own.per_beat)
            sides[tables.LIKELIHOODS[row]] = samples_of(workdir / "samples", row, shown)
    if not sides:
        raise SystemExit(f"{runs} contains no network trained on {name}: expected the --runs of benchmarks.likelihood")
    if len(per_beat) > 1:
        raise SystemExit(f"the networks of {name} have {sorted(per_beat)} frames a quarter note: expected one tempo")
    test = [piano_roll.notes_of(piece, *per_beat) for piece in data.pieces("test")[:shown]]
    real = {"test pieces": [Sample(f"{number}, test piece", notes) for number, notes in enumerate(test)]}
    return html("networks", {tables.SETS[name]: real | sides}, shown=shown)


def samples_of(folder: Path, side: str, shown: int) -> list[Sample]:
    """The first `shown` MIDI files of a folder."""
    paths = sorted(folder.glob("*.mid"))[:shown]
    if not paths:
        raise SystemExit(f"{folder} contains no MIDI file: benchmarks/listening.py says how to fill it")
    return [Sample(f"{path.stem}, {side}", midi.read(path)) for path in paths]


def html(what: str, samples: Sides, **told: Any) -> str:
    """A page of samples. `what` chooses its text, and `told` holds the numbers in it."""
    cards = {
        heading: {side: [pieces.card(one) for one in found] for side, found in sides.items()}
        for heading, sides in samples.items()
    }
    players = [card for sides in cards.values() for found in sides.values() for card in found]
    template = page.environment().from_string(Path(__file__).with_name("listening.html.j2").read_text(encoding="utf-8"))
    return template.render(
        what=what,
        folders=cards,
        **told,
        style=page.text("page.css"),
        script=page.text("sound.js") + page.text("page.js"),
        numbers={"charts": [], "samples": [pieces.milliseconds(card["shown"]) for card in players]},
    )


if __name__ == "__main__":
    main()
