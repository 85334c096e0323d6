"""Rests that last too long to be music -> rests of the longest length that is allowed."""

from __future__ import annotations

import dataclasses

import numpy as np

from musicjax.music import bar_position, tempo_map
from musicjax.music.notes import Notes

MOST_SECONDS = 600.0  # longer silence comes from a damaged time, and would squeeze every other interval


def shortened(notes: Notes, mended: dict[str, str]) -> Notes:
    """The notes with no rest longer than MOST_SECONDS, each still at its place in the bar; adds to `mended` if one was.

    Args:
        notes: N notes, at least one.
        mended: {code: words} of what was mended in their file.
    """
    rest, rest_beats = np.diff(notes.onset, prepend=0.0), np.diff(notes.onset_beats, prepend=0.0)
    longest = float(rest.max())
    if longest <= MOST_SECONDS:
        return notes
    mended.setdefault("too_long_rest", f"a rest of {longest:,.0f} s shortened by bars to {MOST_SECONDS:,.0f} s")
    kept = np.minimum(MOST_SECONDS / np.maximum(rest, MOST_SECONDS), 1.0)
    bar = bar_position.beats_per_bar(notes.meters)[bar_position.segments(notes.onset_beats, notes.meters)]
    removed = np.minimum(np.ceil(rest_beats * (1 - kept) / bar) * bar, rest_beats)
    share = 1 - np.divide(removed, rest_beats, out=np.zeros_like(removed), where=rest_beats > 0)
    onset_beats = np.cumsum(rest_beats - removed)
    tempos, meters = (
        tempo_map.moved(changes, np.append(0.0, notes.onset_beats), np.append(0.0, onset_beats))
        for changes in (notes.tempos, notes.meters)
    )
    onset = np.cumsum(rest * share)
    return dataclasses.replace(notes, onset=onset, onset_beats=onset_beats, tempos=tempos, meters=meters)
