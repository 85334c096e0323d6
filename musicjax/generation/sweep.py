"""Every combination of some sampling parameters: pieces, a table that ranks them, and their piano rolls."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from musicjax import console, files
from musicjax.errors import RunError
from musicjax.generation import generate as generate_lib
from musicjax.generation.request import Request
from musicjax.music import metrics
from musicjax.music.notes import Notes
from musicjax.store.model import Model

MOST_ROLLS = 60
# No metric counts for more than this, so that one which hardly varies in the data does not drown the others.
FARTHEST = 5.0
SCORE = (
    "a piece's distance from the mean of windows of the training data, in standard deviations (5 at most), averaged "
    "over the metrics; lower is closer. Pieces and windows are cut to the same number of notes."
)


class Swept(NamedTuple):
    """What a sweep wrote.

    pieces, paths: the best first, and their MIDI files; others: the table and the contact sheet; score: what it means;
    told: what the page says of each piece by its file's name, as fields of `pieces.Sample`.
    """

    pieces: list[Notes]
    paths: list[Path]
    others: list[Path]
    score: str
    told: dict[str, dict[str, Any]]


def sweep(model: Model, request: Request, primer: Notes | None, folder: Path) -> Swept:
    """Writes pieces of every setting, a table and a contact sheet.

    A setting is one combination. Piece j of each has the seed's j-th key, so that pieces differ by their settings
    alone. The table, sweep-seed<seed>.json or that of a take, explains the score and ranks the settings and the pieces.

    Raises:
        RunError: a file cannot be written.
    """
    each = range(request.num_outputs)
    sampling = [one for one in request.sampling for _ in each]
    numbers = [number for _ in request.sampling for number in each]
    pieces = generate_lib.new_pieces(
        model, sampling, request.length, request.seed, primer, request.bpm, request.decode, numbers
    )
    whole_bars = model.encoding.has_form and not request.length.exact
    paths = generate_lib.write(pieces, folder, request.seed, request.program, whole_bars=whole_bars)
    scores, found, notes = score(pieces, model)
    order = np.argsort(scores, kind="stable").tolist()
    lines: list[dict[str, Any]] = [
        {
            "rank": rank,
            "file": paths[k].name,
            "score": round(float(scores[k]), 4),
            "setting": sampling[k].text(request.given),
            "number": numbers[k],
            "metrics": {name: round(value, 4) for name, value in found[k].items()},
        }
        for rank, k in enumerate(order, 1)
    ]
    settings = {one.text(request.given): one for one in request.sampling}
    ranked = [{**by_text, **one.used} for by_text, one in _ranked_settings(lines, settings)]
    _say(ranked)
    take = paths[0].stem.rpartition("-")[0]
    table, sheet = folder / f"sweep-{take}.json", folder / f"sweep-{take}.png"
    content = {"score": SCORE, "notes_compared": notes, "seed": request.seed, "settings": ranked, "pieces": lines}
    from musicjax.report import pictures  # here, so that sampling does not wait for the import

    shown = [(_title(line), _metrics_text(line), pieces[k]) for line, k in zip(lines, order, strict=True)][:MOST_ROLLS]
    text = (json.dumps(content, indent=1) + "\n").encode()
    if table.exists() and table.read_bytes() != text:
        console.say("replaced", f"the table and the sheet of an earlier sweep: {table.name}, {sheet.name}")
    _write(table, text)
    _write(
        sheet,
        pictures.contact_sheet_png(
            f"{console.counted(len(lines), 'piece')} of {console.counted(len(ranked), 'setting')}, the best first",
            shown,
        ),
    )
    if len(lines) > MOST_ROLLS:
        console.say(
            "left out",
            f"{console.counted(len(lines) - MOST_ROLLS, 'piece')} of {sheet.name}; {table.name} has them all",
        )
    told = {
        paths[k].stem: {"about": _about(line), "setting": sampling[k].used, "metrics": line["metrics"]}
        for line, k in zip(lines, order, strict=True)
    }
    return Swept([pieces[k] for k in order], [paths[k] for k in order], [table, sheet], SCORE, told)


def score(pieces: Sequence[Notes], model: Model) -> tuple[np.ndarray, list[dict[str, float]], int]:
    """(the score of each piece, as in SCORE; its metrics; from how many first notes).

    A piece without notes has the worst score.
    """
    rows = np.asarray(model.primers)
    notes = min(rows.shape[1], int(np.median([len(piece) for piece in pieces])))
    real = _measured([model.encoding.decode(window) for window in rows], notes)
    found = _measured(pieces, notes)
    distances = distances_of(found, real)
    return np.where([len(piece) > 0 for piece in pieces], distances.mean(axis=1), FARTHEST), found, notes


def _measured(pieces: Sequence[Notes], count: int) -> list[dict[str, float]]:
    """The metrics of the first `count` notes of each piece."""
    return [metrics.of_piece(_beginning(piece, count)) for piece in pieces]


def distances_of(found: Sequence[Mapping[str, float]], real: Sequence[Mapping[str, float]]) -> np.ndarray:
    """How many standard deviations, FARTHEST at most, from the mean of the real pieces: float64 [pieces, metrics].

    Where a metric is the same in all real pieces: 0 for pieces that share it, FARTHEST for others.
    """
    values, known = (np.array([list(piece.values()) for piece in several]) for several in (found, real))
    off, deviation = np.abs(values - known.mean(axis=0)), known.std(axis=0)
    varies = deviation > metrics.ALIKE
    size = np.divide(off, deviation, out=np.where(off > metrics.ALIKE, FARTHEST, 0.0), where=varies[None])
    return np.minimum(size, FARTHEST)


def _beginning(notes: Notes, count: int) -> Notes:
    """The first `count` notes, moved so that they begin at time 0."""
    first = notes[:count]
    if not len(first):
        return first
    return dataclasses.replace(
        first, onset=first.onset - first.onset[0], onset_beats=first.onset_beats - first.onset_beats[0]
    )


def _ranked_settings(lines: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[tuple[dict, Any]]:
    """(mean score and text of a setting, the setting), the best first; settings: by their texts."""
    ordered = sorted(lines, key=lambda line: line["setting"])
    means = {
        text: float(np.mean([line["score"] for line in several]))
        for text, several in itertools.groupby(ordered, key=lambda line: line["setting"])
    }
    by_mean = sorted(means, key=lambda text: means[text])
    return [({"mean_score": round(means[text], 4), "setting": text}, settings[text]) for text in by_mean]


def _say(ranked: Sequence[Mapping[str, Any]]) -> None:
    console.say("score", SCORE)
    rows = [(f"{line['mean_score']:.3f}", line["setting"]) for line in ranked]
    console.table(rows, ("score", "setting"))


def _title(line: Mapping[str, Any]) -> str:
    return f"{line['rank']}. score {line['score']:.3f}  {line['file']}\n{line['setting']}"


def _about(line: Mapping[str, Any]) -> str:
    return f"{line['rank']}. score {line['score']}: {line['setting']}"


def _metrics_text(line: Mapping[str, Any]) -> str:
    return "   ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in line["metrics"].items())


def _write(path: Path, content: bytes) -> None:
    try:
        files.write_bytes(path, content)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}; name another folder") from error
