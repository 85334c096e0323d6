"""The bins of some pieces: which grid, intervals, durations, velocities and meters their notes need.

Shape legend: N notes.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence

import numpy as np

from musicjax.music import bar_position
from musicjax.music.note_bins import (
    DURATION,
    GRID_TOLERANCE_BEATS,
    INTERVAL,
    METER,
    SIZES,
    TICKS_A_BEAT,
    VELOCITY,
    Bins,
    ordered,
)
from musicjax.music.notes import Notes

# Steps a beat: the coarsest grid that has nearly all onsets, and whole bars for nearly all notes, or else the finest.
GRIDS = (1, 2, 3, 4, 6, 8, 12)
ON_GRID = 0.995
# Bins for velocities that are too many for a bin each; and for rare intervals, beside those of the common ones.
VELOCITY_BINS, RARE_BINS = 16, 8
# Bins for durations that are too many for a bin each: how many to a doubling, and the share of notes that they reach.
BINS_AN_OCTAVE, LONG_ENOUGH = 6, 0.999
# Slowest and fastest tempo that music is written in, in quarter notes a minute.
TEMPOS = (10.0, 1000.0)
# A longer time comes from damage, and would need a table of its length.
LONGEST_BEATS = 64


def learn(pieces: Sequence[Notes]) -> Bins:
    """The bins of some pieces, at least one of which has a note."""
    pieces = [piece for piece in pieces if len(piece)]
    onsets = np.concatenate([piece.onset_beats for piece in pieces])
    meters = _meters(pieces)
    grid = next(
        (steps for steps in GRIDS if min(_share_on(onsets, steps), _share_whole(meters, steps)) >= ON_GRID), GRIDS[-1]
    )
    intervals = [np.diff(ordered(piece, grid)[1]) for piece in pieces]
    interval = _common(np.minimum(np.concatenate(intervals), LONGEST_BEATS * grid), SIZES[INTERVAL], always=(0,))
    beats = np.concatenate([piece.duration_beats for piece in pieces]).clip(0, LONGEST_BEATS)
    ticks = np.maximum(np.rint(beats * TICKS_A_BEAT).astype(np.int64), 1)
    if len(np.unique(ticks)) > SIZES[DURATION]:
        ticks = _spread(np.maximum(np.rint(beats * grid), 1)) * (TICKS_A_BEAT // grid)
    duration = np.unique(ticks)
    velocities = np.concatenate([piece.velocity for piece in pieces])
    velocity = np.unique(velocities)
    if len(velocity) > SIZES[VELOCITY]:
        middle = (np.arange(VELOCITY_BINS) + 0.5) / VELOCITY_BINS
        velocity = np.unique(np.quantile(velocities, middle, method="nearest"))
    return Bins(
        grid,
        tuple(interval.tolist()),
        tuple((duration / TICKS_A_BEAT).tolist()),
        tuple(velocity.tolist()),
        round(float(np.median([piece.bpm for piece in pieces]).clip(*TEMPOS)), 3),
        tuple(list(meters)[: SIZES[METER]]),
    )


def _share_on(onsets: np.ndarray, steps: int) -> float:
    return float((np.abs(onsets - np.rint(onsets * steps) / steps) <= GRID_TOLERANCE_BEATS).mean())


def _meters(pieces: Sequence[Notes]) -> dict[tuple[int, int], int]:
    """How many notes each meter has, the commonest first."""
    counts: collections.Counter[tuple[int, int]] = collections.Counter()
    for piece in pieces:
        which = bar_position.segments(piece.onset_beats, piece.meters)
        for meter, count in zip(piece.meters[:, 1:], np.bincount(which, minlength=len(piece.meters)), strict=True):
            if count:
                counts[int(meter[0]), int(meter[1])] += int(count)
    return {meter: counts[meter] for meter in sorted(counts, key=lambda meter: (-counts[meter], meter))}


def _share_whole(meters: Mapping[tuple[int, int], int], steps: int) -> float:
    """The share of notes whose bars are whole steps of a grid."""
    whole = sum(count for (numerator, denominator), count in meters.items() if numerator * 4 * steps % denominator == 0)
    return whole / sum(meters.values())


def _common(values: np.ndarray, most: int, always: tuple[int, ...] = ()) -> np.ndarray:
    """The different values if they are few enough; otherwise the commonest, and some of the rest, evenly by count."""
    distinct, counts = np.unique(np.append(values, always), return_counts=True)
    if len(distinct) <= most:
        return distinct
    counts[np.isin(distinct, always)] = len(values) + 1
    by_count = distinct[np.lexsort((distinct, -counts))]
    common = by_count[: most - RARE_BINS]
    rest = values[~np.isin(values, common)]
    rare = np.quantile(rest, (np.arange(RARE_BINS) + 0.5) / RARE_BINS, method="nearest")
    return np.unique(np.concatenate([common, rare]))


def _spread(steps: np.ndarray) -> np.ndarray:
    """Whole steps, one by one while few, then about BINS_AN_OCTAVE to a doubling, as the ear compares durations."""
    octaves = np.log2(np.quantile(steps, LONG_ENOUGH))
    return np.unique(np.rint(2.0 ** (np.arange(int(octaves * BINS_AN_OCTAVE) + 2) / BINS_AN_OCTAVE)).astype(np.int64))
