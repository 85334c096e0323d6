"""docs/listening.html: pieces of some folders, and what musicjax made of each before and makes of it now, to listen to.

    python -m benchmarks.listening --runs=DIR,DIR,... [--shown=3] [--out=docs/listening.html]

Each DIR is a folder that benchmarks.own_folder has filled: its unseen/ and run/generated/ are shown, and DIR/before.
To fill DIR/before, run this in a checkout of commit 90cad80 (musicjax 0.1.0):

    python -m musicjax.main --config.data.source=DIR/music --workdir=DIR/old
    python -m musicjax.main generate --workdir=DIR/old --num_outputs=16 --output_dir=DIR/before

The first --shown files of each are taken, whatever they sound like.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import alternate
from musicjax.music import midi
from musicjax.report import page, pieces
from musicjax.report.pieces import Sample

SIDES = {"real, unseen": "unseen", "before": "before", "after": "run/generated"}


def main() -> None:
    asked = alternate.arguments(__doc__, runs="", shown=3, out="docs/listening.html")
    runs = [Path(name) for name in asked.runs.split(",") if name]
    if not runs:
        raise SystemExit("--runs is missing: expected folders that benchmarks.own_folder has filled")
    Path(asked.out).write_text(html(runs, asked.shown), encoding="utf-8")
    print(asked.out)


def html(runs: list[Path], shown: int) -> str:
    """The page, with the first `shown` pieces of each side of each folder."""
    folders: list[dict[str, Any]] = []
    players: list[dict[str, Any]] = []
    for run in runs:
        sides = []
        for name, place in SIDES.items():
            found = [Sample(f"{path.stem}, {name}", midi.read(path)) for path in sorted((run / place).glob("*.mid"))]
            if not found:
                raise SystemExit(f"{run / place} holds no MIDI file: expected what benchmarks/listening.py says")
            cards = [pieces.card(sample) for sample in found[:shown]]
            players += cards
            sides.append({"name": name, "cards": cards})
        folders.append({"name": run.name, "sides": sides})
    template = page.environment().from_string(Path(__file__).with_name("listening.html.j2").read_text(encoding="utf-8"))
    return template.render(
        folders=folders,
        pieces=len(list((runs[0] / "music").glob("*.mid"))),
        shown=shown,
        style=page.text("page.css"),
        script=page.text("sound.js") + page.text("page.js"),
        numbers={"charts": [], "samples": [pieces.milliseconds(card["shown"]) for card in players]},
    )


if __name__ == "__main__":
    main()
