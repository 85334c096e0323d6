"""No more notes at once than were asked for: those that still sound are cut where one more begins."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from musicjax import console
from musicjax.music.notes import Notes

# Times of notes that meet differ by rounding.
NEGLIGIBLE_SECONDS = 1e-6


def limited(notes: Notes, most: int) -> tuple[Notes, int]:
    """Notes of which at most so many sound at once, 0: any number; and how many were cut to that end.

    Where one too many begins, the note that would have ended first ends there; if it has only just begun it is left
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


def limited_each(pieces: Sequence[Notes], most: Sequence[int]) -> list[Notes]:
    """Each piece with at most its number of notes at once; says how many notes were cut."""
    limits = [limited(piece, limit) for piece, limit in zip(pieces, most, strict=True)]
    cut = sum(count for _, count in limits)
    if cut:
        console.say("cut", f"{cut:,} notes, where one more than --polyphony allows begins: no interval was long enough")
    return [piece for piece, _ in limits]
