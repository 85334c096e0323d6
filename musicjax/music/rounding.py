"""What a piece becomes where a model knows only something near it: counted, in words.

Shape legend: N notes, R rows, N + 2 with edges or N without, C columns of `note_bins`.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from musicjax import console
from musicjax.music import bar_position, instruments, note_rows
from musicjax.music.note_bins import DURATION, GRID_TOLERANCE_BEATS, METER, TICKS_A_BEAT, VELOCITY, Bins
from musicjax.music.notes import DRUMS, Notes

# Onsets that have nothing to do with a grid lie a quarter of a step off it on average; half of that is far.
FAR_STEPS = 1 / 8
# How many instruments a line names.
NAMED = 4


class Changes(NamedTuple):
    """How the N notes of a piece differ in its rows; they are in the order of the rows.

    Attributes:
        by_beats: float64 [N], quarter notes by which the onset moves, 0 or more.
        others: what else can change, by name: bool [N].
        is_changed: bool [N], whether anything changes.
    """

    by_beats: np.ndarray
    others: dict[str, np.ndarray]
    is_changed: np.ndarray


def of_rows(notes: Notes, rows: np.ndarray, is_nearest: np.ndarray, bins: Bins) -> list[str]:
    """What `note_rows.encode` changed of a piece, a line for each kind of change; instruments apart.

    Args:
        rows, is_nearest: [R, C] and bool [R], as `note_rows.encode` gives them.
    """
    lines = told([changes(notes, rows, is_nearest, bins)], bins)
    silences, _ = note_rows.silences(notes, bins)
    if silences:
        lines.append(shortened(silences, bins))
    return lines


def shortened(silences: int, bins: Bins) -> str:
    """How many silences are longer than the longest interval of the bins, and so become as long as that."""
    longest = bins.interval[-1] / bins.steps_per_beat
    beats = "1 quarter note" if longest == 1 else f"{longest:g} quarter notes"
    return f"shortens {console.counted(silences, 'silence')} to {beats}, the longest interval"


def changes(notes: Notes, rows: np.ndarray, is_nearest: np.ndarray, bins: Bins) -> Changes:
    """What `note_rows.encode` changed of the notes of a piece; its arguments are those of `of_rows`."""
    edges = slice(1, -1) if bins.has_form and len(rows) else slice(None)
    rows, is_nearest = rows[edges], is_nearest[edges]
    order, step = note_rows.in_rows(notes, bins)
    placed = note_rows.intervals(step, bins)[1] / bins.steps_per_beat
    by_beats = np.abs(placed - notes.onset_beats[order])
    duration = np.rint(np.asarray(bins.duration)[rows[:, DURATION]] * TICKS_A_BEAT)
    others = {
        "duration": duration != np.rint(notes.duration_beats[order] * TICKS_A_BEAT),
        "velocity": np.asarray(bins.velocity)[rows[:, VELOCITY]] != notes.velocity[order],
        "meter": _has_other_meter(notes, rows, step, bins),
    }
    return Changes(by_beats, others, is_nearest | (by_beats > GRID_TOLERANCE_BEATS))


def told(found: Sequence[Changes], bins: Bins) -> list[str]:
    """What changes of the notes of one piece or more, as a line; none if nothing does."""
    is_changed = np.concatenate([one.is_changed for one in found])
    count = int(is_changed.sum())
    if not count:
        return []
    by_beats = np.concatenate([one.by_beats for one in found])
    counts = {name: sum(int(one.others[name].sum()) for one in found) for name in found[0].others}
    parts = [moved(by_beats, bins.steps_per_beat)] if (by_beats > GRID_TOLERANCE_BEATS).any() else []
    parts += [f"{name} of {number:,}" for name, number in counts.items() if number]
    what = "; ".join(parts) or "pitch"  # an octave away, where the key would lead beyond MIDI's pitches
    of_all = console.counted(len(is_changed), "note")
    return [f"the model rounds {count:,} of {of_all} to the nearest that it knows: {what}"]


def moved(by_beats: np.ndarray, steps_per_beat: int) -> str:
    """How far onsets move to a grid; by_beats: float64 [N], for each note, 0 or more, not all of them negligible."""
    which = by_beats[by_beats > GRID_TOLERANCE_BEATS]
    told = f"onset of {len(which):,} by {which.mean():.3f} quarter notes on average, {which.max():.3f} at most"
    is_far = by_beats.mean() * steps_per_beat > FAR_STEPS
    return f"{told}, which changes the rhythm" if is_far else told


def of_instruments(program: np.ndarray, bins: Bins, is_merged: bool) -> str:
    """Which instruments stand for others, and for how many notes; empty if none does.

    Args:
        program: int16 [N], of each note.
        is_merged: whether all instruments but drums are meant to be one.
    """
    if not bins.has_form:
        return ""
    index = instruments.index_of(bins.programs)
    counts: collections.Counter[tuple[int, int]] = collections.Counter()
    for own, count in zip(*np.unique(program, return_counts=True), strict=True):
        taken = bins.programs[index[own]]
        if taken != own and not (is_merged and DRUMS not in (own, taken)):
            counts[int(own), taken] += int(count)
    if not counts:
        return ""
    names = [
        f"{count:,} of {instruments.name_of(own)} as {instruments.name_of(taken)}"
        for (own, taken), count in counts.most_common(NAMED)
    ]
    more = f" and {console.counted(len(counts) - NAMED, 'instrument')} more" * (len(counts) > NAMED)
    lacked = console.counted(counts.total(), "note")
    return f"the model lacks the instruments of {lacked} and treats {', '.join(names)}{more}"


def _has_other_meter(notes: Notes, rows: np.ndarray, step: np.ndarray, bins: Bins) -> np.ndarray:
    """Which notes, at rising steps [N], are in another meter than their rows say, bool [N]."""
    if not bins.has_meter:
        return np.zeros(len(step), bool)
    begins = np.rint(notes.meters[:, :1] * bins.steps_per_beat)
    own = notes.meters[bar_position.segments(step, begins), 1:]
    return (np.asarray(bins.meters)[rows[:, METER].astype(int)] != own).any(axis=1)
