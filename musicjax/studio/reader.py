"""The reading process: a source is read by limited processes, as training reads it, and what became of it is written.

    python -m musicjax.studio.reader SOURCE FOLDER

FOLDER/pieces.bin and FOLDER/report.json are written, the report last. Progress goes to standard error.
"""

from __future__ import annotations

import collections
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from musicjax import console, files
from musicjax.config import DataConfig
from musicjax.corpus import corpus as corpus_lib
from musicjax.corpus import load
from musicjax.corpus.corpus import Corpus, Outcome
from musicjax.errors import RunError, UsageError
from musicjax.music import bar_position, instruments, keys
from musicjax.music.notes import Notes
from musicjax.studio import piece, upload

PIECES, REPORT = "pieces.bin", "report.json"
MOST_FILES = MOST_PIECES = 2000  # that a report lists


def main(source: str, folder: Path) -> int:
    """Reads a source into a folder; the exit status is 0, or 1 with the reason on the last line of standard error."""
    names = upload.names(folder)
    try:
        if names and not any(kept_as for kept_as, _ in names):  # there is nothing to read, which a report tells, too
            corpus, outcomes = corpus_lib.of_files([])
        else:
            corpus, outcomes = load.read(DataConfig(source=source))
        with files.whole(folder / PIECES) as partial, partial.open("wb") as stream:
            places = piece.write(stream, (corpus.piece(index) for index in range(min(len(corpus), MOST_PIECES))))
        files.write(folder / REPORT, json.dumps(report(corpus, outcomes, places, names)))
    except (UsageError, RunError) as error:
        console.complain(str(error))
        return 1
    except OSError as error:
        console.complain(f"{folder} cannot be written: {error.strerror}; check space and permissions")
        return 1
    return 0


def report(
    corpus: Corpus, outcomes: Sequence[Outcome], places: list[int], names: list[tuple[str, str]]
) -> dict[str, Any]:
    """What the page tells of a source, as JSON values; places: bytes at which its pieces begin in pieces.bin."""

    called = {kept_as: name for kept_as, name in names if kept_as}
    refused = [name for kept_as, name in names if not kept_as]
    listed = [
        # What is odd comes before what is simply kept.
        *({"name": name, "verdict": "skipped", "reason": upload.NO_MUSIC} for name in refused),
        *(
            {"name": upload.shown_path(called, outcome.path), "verdict": outcome.status, "reason": outcome.detail}
            for outcome in sorted(outcomes, key=lambda outcome: outcome.status == "kept")
        ),
    ]
    pieces = corpus.pieces
    counted = corpus_lib.counts(outcomes)
    return {
        "kept": counted["kept"],
        "recovered": counted["recovered"],
        "skipped": counted["skipped"] + len(refused),
        "files": listed[:MOST_FILES],
        "files_left_out": max(len(listed) - MOST_FILES, 0),
        "keys": _counted({keys.text_of(*row[1:]) for row in keys.of(notes)} for notes in pieces),
        "meters": _counted(_meters(notes) for notes in pieces),
        "instruments": _counted({instruments.name_of(one) for one in set(notes.program.tolist())} for notes in pieces),
        "lengths_seconds": [round(notes.seconds, 1) for notes in pieces][:MOST_PIECES],
        "pieces": [
            {
                "number": number,
                "name": upload.shown_path(called, name),
                "seconds": round(notes.seconds, 1),
                "bars": max(len(piece.bars(notes)) - 1, 0),
            }
            for number, (name, notes) in enumerate(zip(corpus.names, pieces[: len(places)], strict=False))
        ],
        "pieces_left_out": len(pieces) - len(places),
        "places": places,
    }


def _meters(notes: Notes) -> set[str]:
    which = np.unique(bar_position.segments(notes.onset_beats, notes.meters))
    return {bar_position.text_of(*notes.meters[index, 1:]) for index in which}


def _counted(found: Any) -> dict[str, int]:
    """How many pieces have each name, the commonest first."""
    counter = collections.Counter(name for names in found for name in names)
    return dict(sorted(counter.items(), key=lambda item: (-item[1], item[0])))


if __name__ == "__main__":
    console.quiet_libraries()
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
