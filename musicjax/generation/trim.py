"""Music cut to what was asked for: to a length in seconds, and to a number of simultaneous notes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from musicjax import console
from musicjax.music.notes import Notes

# Times that should be equal differ by rounding; a note that begins this close to the end would be empty.
NEGLIGIBLE_SECONDS = 1e-6


def each(pieces: Sequence[Notes], polyphony: Sequence[int], seconds: Sequence[float]) -> list[Notes]:
    """Each piece with at most its `polyphony` of notes at once (0: any), and none after its `seconds` (0: no limit).

    Says how many notes were cut to make room.
    """
    limits = [limited(piece, limit) for piece, limit in zip(pieces, polyphony, strict=True)]
    cut = sum(count for _, count in limits)
    if cut:
        console.say(
            "cut", f"{console.counted(cut, 'note')}, where another begins and --polyphony leaves no room for both"
        )
    return [shortened(piece, most) if most else piece for (piece, _), most in zip(limits, seconds, strict=True)]


def limited(notes: Notes, most: int) -> tuple[Notes, int]:
    """(notes of which at most `most` sound at once, 0: any number; how many were cut to make room).

    Where one too many begins, the note that would have ended first ends there; one that has only just begun is left
    out.
    """
    if not most:
        return notes, 0
    onset, end = notes.onset.tolist(), (notes.onset + notes.duration).tolist()
    ended_by = np.full(len(notes), -1)
    sounding: list[int] = []
    for new, now in enumerate(onset):
        sounding = [note for note in sounding if end[note] > now + NEGLIGIBLE_SECONDS]
        while len(sounding) >= most:
            first = min(sounding, key=lambda note: end[note])
            sounding.remove(first)
            ended_by[first] = new
        sounding.append(new)
    cut = ended_by >= 0
    duration = np.where(cut, notes.onset[ended_by] - notes.onset, notes.duration)
    beats = np.where(cut, notes.onset_beats[ended_by] - notes.onset_beats, notes.duration_beats)
    shorter = dataclasses.replace(notes, duration=duration, duration_beats=beats)
    return shorter[~cut | (duration > NEGLIGIBLE_SECONDS)], int(cut.sum())


def shortened(notes: Notes, seconds: float) -> Notes:
    """The notes that begin before this time, none of them sounding after it."""
    inside = notes[notes.onset < seconds - NEGLIGIBLE_SECONDS]
    duration = np.minimum(inside.duration, seconds - inside.onset)
    share = duration / np.maximum(inside.duration, NEGLIGIBLE_SECONDS)
    return dataclasses.replace(inside, duration=duration, duration_beats=inside.duration_beats * np.minimum(share, 1.0))
