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
    too_much = rest_beats * (1 - kept)
    removed = np.minimum(np.ceil(too_much / bar), np.floor(rest_beats / bar)) * bar
    removed = np.where(removed < too_much, too_much, removed)  # of a bar that itself lasts too long
    share = 1 - np.divide(removed, rest_beats, out=np.zeros_like(removed), where=rest_beats > 0)
    onset_beats = np.cumsum(rest_beats - removed)
    before, after = np.append(0.0, notes.onset_beats), np.append(0.0, onset_beats)
    tempos = tempo_map.moved(notes.tempos, before, after)
    meters = _bar_lines(notes.meters, before, after, np.append(0.0, removed))
    keys = tempo_map.moved(notes.keys, before, after)
    onset = np.cumsum(rest * share)
    return dataclasses.replace(notes, onset=onset, onset_beats=onset_beats, tempos=tempos, meters=meters, keys=keys)


def _bar_lines(meters: np.ndarray, before: np.ndarray, after: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Meters [M, 3] once notes have moved from beats `before` to `after`, [N]; removed: beats, of the rest before each.

    Of the meters that begin in a rest that was shortened the last one stays, as many beats from a bar line as it was
    from the note that ends the rest.
    """
    moved = tempo_map.moved(meters, before, after)
    note = np.minimum(np.searchsorted(before, meters[:, 0]), len(before) - 1)  # that ends the rest
    inside = (removed[note] > 0) & (meters[:, 0] <= before[note])
    to_note = np.mod(before[note] - meters[:, 0], bar_position.beats_per_bar(meters))
    moved[:, 0] = np.where(inside, after[note] - to_note, moved[:, 0])
    is_last = np.append(~(inside[:-1] & inside[1:] & (note[:-1] == note[1:])), True)
    return moved[is_last]
