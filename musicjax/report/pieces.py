"""Pieces as the pages show them: what was generated, what is known of it, and the real pieces beside it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from musicjax.music import midi
from musicjax.music.notes import Notes
from musicjax.report import svg
from musicjax.report.records import part

# What a browser shows without becoming slow: pieces, and notes of each.
MOST_SAMPLES, MOST_NOTES = 60, 4000
MOST_LETTERS = 80  # of the name of a real piece
SOUNDS = (".wav", ".flac", ".ogg")


@dataclass(frozen=True)
class Sample:
    """A generated piece, or a real one beside it.

    Attributes:
        files: paths as seen from the page, offered for download.
        metrics: metrics of this piece, by name.
        copy: what it shares with other music, a sentence; may be empty.
        shared_with: with which music that is.
        about: what it is, in a line below its name; may be empty.
        setting: of a piece of a sweep, every sampling parameter by name.
        real_piece: the one beside it, if there is one.
        new: where the model wrote in a given piece: (begin, end) each, seconds, rising.
    """

    name: str
    notes: Notes
    files: tuple[str, ...] = ()
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    copy: str = ""
    shared_with: str = "the training data"
    about: str = ""
    setting: dict[str, Any] = dataclasses.field(default_factory=dict)
    real_piece: Sample | None = None
    new: tuple[tuple[float, float], ...] = ()


def real_piece_path(folder: Path, name: str) -> Path:
    """The path of the real piece beside the sample of this name in `folder`: it has the sample's number."""
    return folder / "real" / f"real-{name.rsplit('-', 1)[-1]}.mid"


def read(
    folder: Path,
    names: list[str] | None,
    metrics: dict[str, Any],
    left_out: list[str],
    place: str,
    shared_by_real_pieces: str = "",
) -> list[Sample]:
    """The pieces of a folder, in the order of the names; None: all. Adds what cannot be read to `left_out`.

    Args:
        metrics: of each piece, as `sample_metrics.of` gives them, and the real piece beside it.
        place: what the page's links begin with, empty or ending with /.
        shared_by_real_pieces: what their copies are to be judged by, part of a sentence; may be empty.
    """
    by_name = {path.stem: path for path in sorted(folder.glob("*.mid"))}
    paths = [by_name[name] for name in (by_name if names is None else names) if name in by_name]
    if len(paths) > MOST_SAMPLES:
        left_out.append(f"{len(paths) - MOST_SAMPLES} of {len(paths)} samples: the page shows {MOST_SAMPLES}")
    samples = []
    for path in paths[:MOST_SAMPLES]:
        try:
            notes = midi.read(path)
        except (midi.MidiError, OSError) as error:
            left_out.append(f"sample {path.name}: {error}")
            continue
        own = dict(part(metrics, path.stem))
        copy, told = own.pop("copy", None), ""
        if isinstance(copy, dict) and copy.get("length"):
            told = f"{copy['length']} notes in a row, as in {copy.get('piece')}"
            told += f"; {shared_by_real_pieces}" if shared_by_real_pieces else ""
        real = _real_piece(real_piece_path(folder, path.stem), own.pop("real_piece", None), left_out, place)
        samples.append(Sample(path.stem, notes, _files(path, place), own, told, real_piece=real))
    return samples


def _real_piece(path: Path, told: object, left_out: list[str], place: str) -> Sample | None:
    """The real piece in a file, with what metrics.json says of it; None without such a record or a readable file."""
    if not isinstance(told, dict):
        return None
    try:
        notes = midi.read(path)
    except (midi.MidiError, OSError) as error:
        left_out.append(f"real piece {path.name}: {error}")
        return None
    name, learned = str(told.get("piece")), "did not learn from" if told.get("held_out") else "learned from"
    what = f"a real piece that the model {learned}"
    if told.get("beginning_trains"):
        what = "the end of a real piece whose beginning the model learned from"
    if len(name) > MOST_LETTERS:
        name = "…" + name[1 - MOST_LETTERS :]  # its end tells more than its folders
    about = f"{'' if told.get('whole') else 'The beginning of '}{name}, {what}"
    return Sample(path.stem, notes, _files(path, f"{place}{path.parent.name}/"), about=about)


def _files(path: Path, place: str) -> tuple[str, ...]:
    """The files of a piece as seen from the page: MIDI, then sound."""
    beside = [path, *(path.with_suffix(suffix) for suffix in SOUNDS)]
    return tuple(f"{place}{file.name}" for file in beside if file.is_file())


def players(cards: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The cards in the order in which the page has them: each, and then that of the real piece beside it."""
    for one in cards:
        yield from [one, one["real_piece"]] if one["real_piece"] else [one]


def card(sample: Sample) -> dict[str, Any]:
    """A sample as the templates need it: with the notes that are shown, and the card of the piece beside it."""
    shown = sample.notes[:MOST_NOTES]
    # "./" first: whatever a file is called, its link leads to a place beside the page.
    links = [("./" + quote(os.fsencode(file)), file.rsplit("/", 1)[-1]) for file in sample.files]
    new = [(begin, min(end, shown.seconds)) for begin, end in sample.new if begin < shown.seconds]
    roll = svg.piano_roll(shown, new) if len(shown) else None
    times = ", ".join(f"{_clock(begin)} to {_clock(end)}" for begin, end in new)
    real = card(sample.real_piece) if sample.real_piece else None
    return {"sample": sample, "shown": shown, "roll": roll, "links": links, "real_piece": real, "new": times}


def _clock(seconds: float) -> str:
    """Minutes and seconds, to a tenth: 83.04 -> "1:23.0"."""
    tenths = (round(1000 * seconds) + 50) // 100  # from the milliseconds that the player has, which rounds the same way
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"


def milliseconds(notes: Notes) -> dict[str, list[int]]:
    """The notes in the form that the player takes, with times in milliseconds."""
    onset, end = (np.rint(1000 * one).astype(np.int64) for one in (notes.onset, notes.onset + notes.duration))
    fields = {"onset": onset, "duration": end - onset, "pitch": notes.pitch, "velocity": notes.velocity}
    if notes.program.any():  # otherwise all are played by a piano
        fields["program"] = notes.program
    return {name: field.tolist() for name, field in fields.items()}
