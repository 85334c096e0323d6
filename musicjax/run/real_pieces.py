"""Real pieces, no longer than a run's samples, to compare with them by ear."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from musicjax import console
from musicjax.corpus.split import Music
from musicjax.generation import generate, trim
from musicjax.generation.trim import NEGLIGIBLE_SECONDS
from musicjax.music import identity, splice
from musicjax.music.notes import NEGLIGIBLE_BEATS, Notes
from musicjax.run import sample_metrics


class RealPiece(NamedTuple):
    """A real piece, or its beginning, in a MIDI file; told: what metrics.json says of it."""

    notes: Notes
    path: Path
    told: dict[str, Any]


def write(pieces: list[Notes], names: list[str], music: Music, folder: Path) -> dict[str, RealPiece]:
    """Writes a real piece for each sample that has notes; returns them by the names of the samples.

    They are evenly spaced among the held-out pieces, or among the training pieces if none is held out, and differ as
    long as there are enough different ones.

    Args:
        folder: where the samples are; the real pieces go into a folder in it.

    Raises:
        RunError: the folder or a file cannot be written.
    """
    from musicjax.report.pieces import real_piece_path  # here, so that training does not wait for the import

    samples = [(name, sample) for name, sample in zip(names, pieces, strict=True) if len(sample)]
    chosen = _chosen(music, len(samples))
    found: dict[str, RealPiece] = {}
    left_out = 0
    for number, (name, sample) in enumerate(samples if chosen else []):
        own, piece = chosen[number % len(chosen)]
        notes, path = beginning(piece, sample.seconds), real_piece_path(folder, name)
        if len(notes):
            told = {
                "piece": own,
                "whole": len(notes) == len(piece) and float(notes.duration.sum()) >= float(piece.duration.sum()),
                "held_out": bool(music.held_out),
                "beginning_trains": music.is_end(own),
            }
            found[name] = RealPiece(notes, path, told)
            generate.prepare_folder(path.parent)
            left_out += generate.write_file(notes, path, splice.ticks_per_beat(notes))
    if found:
        which = "held-out" if music.held_out else "training"
        console.say("samples", f"{console.counted(len(found), which + ' piece')} for comparison, in {path.parent}")
    if left_out:
        console.say("left out", f"{left_out} of their notes: more of one pitch at once than a file can hold")
    return found


def _chosen(music: Music, most: int) -> list[tuple[str, Notes]]:
    """At most this many real pieces with notes, no two the same: (name, notes) each."""
    real, names = (music.held_out, music.held_out_names) if music.held_out else (music.training, music.names)
    different = np.unique(identity.first_alike(real)).tolist()
    return sample_metrics.spread([(names[k], real[k]) for k in different if len(real[k])], most)


def beginning(piece: Notes, seconds: float) -> Notes:
    """The bars of a piece, from that of its first note, that end within this many seconds.

    If not even the first one does, it is cut off there.
    """
    if not len(piece):
        return piece
    lines = splice.bar_lines(piece)
    bar = np.searchsorted(lines, piece.onset_beats[0] + NEGLIGIBLE_BEATS, side="right") - 1
    piece = splice.from_beat(piece, max(float(lines[bar]), 0.0))
    if piece.seconds <= seconds:
        return piece
    ends = splice.seconds_at(splice.bar_lines(piece)[1:], piece.tempos)
    within = ends[ends <= seconds + NEGLIGIBLE_SECONDS]
    return trim.shortened(piece, float(within[-1]) if len(within) else seconds)
