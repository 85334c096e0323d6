"""The bins of some pieces: which grid, intervals, durations, velocities and meters their notes need.

Shape legend: N notes.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from musicjax.music import bar_position, instruments, likeness, note_rows
from musicjax.music.note_bins import (
    ABSENT,
    DURATION,
    EDGE,
    GRID_TOLERANCE_BEATS,
    INSTRUMENT,
    INTERVAL,
    METER,
    PITCH,
    SIZES,
    TICKS_A_BEAT,
    VELOCITY,
    Bins,
    Opening,
)
from musicjax.music.note_rows import ordered
from musicjax.music.notes import DRUMS, Notes

# Steps a beat: the coarsest grid that fits nearly all onsets and gives nearly all notes whole bars, or else the finest.
GRIDS = (1, 2, 3, 4, 6, 8, 12)
ON_GRID = 0.995
# Bins for velocities if there are too many for a bin each; and for rare intervals, besides those of the common ones.
VELOCITY_BINS, RARE_BINS = 16, 8
# Bins for durations if there are too many for a bin each: how many to a doubling, and the share of notes they reach.
BINS_AN_OCTAVE, LONG_ENOUGH = 6, 0.999
# Slowest and fastest tempo that music is written in, in quarter notes a minute.
TEMPOS = (10.0, 1000.0)
# A longer time comes from damage, and would need a table of its length.
LONGEST_BEATS = 64
# How many openings are kept; how far back a loop is looked for, and in how many notes.
OPENINGS, LAGS, LOOP_NOTES = 64, 256, 200_000


def learn(pieces: Sequence[Notes], keep_instruments: bool = True) -> Bins:
    """The bins of some pieces, at least one of which has a note.

    Args:
        keep_instruments: False: all instruments but drums count as one.
    """
    pieces = [piece for piece in pieces if len(piece)]
    onsets = np.concatenate([piece.onset_beats for piece in pieces])
    meters = _meters(pieces)
    grid = next(
        (steps for steps in GRIDS if min(_share_on(onsets, steps), _share_whole(meters, steps)) >= ON_GRID), GRIDS[-1]
    )
    intervals = [np.diff(ordered(piece, grid)[1]) for piece in pieces]
    interval = _common(np.minimum(np.concatenate(intervals), LONGEST_BEATS * grid), EDGE, always=(0,))
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
    bins = Bins(
        grid,
        tuple(interval.tolist()),
        tuple((duration / TICKS_A_BEAT).tolist()),
        tuple(velocity.tolist()),
        round(float(np.median([piece.bpm for piece in pieces]).clip(*TEMPOS)), 3),
        tuple(list(meters)[: SIZES[METER]]),
        programs=_programs(pieces, keep_instruments),
    )
    return _with_form(bins, pieces)


def _programs(pieces: Sequence[Notes], keep: bool) -> tuple[int, ...]:
    """The program of each instrument of the pieces."""
    programs = np.concatenate([piece.program for piece in pieces])
    found = instruments.groups(programs, SIZES[INSTRUMENT]).programs
    melodic = [program for program in found if program != DRUMS]
    return found if keep else (*melodic[:1], *[DRUMS] * (len(melodic) < len(found)))


def _with_form(bins: Bins, pieces: Sequence[Notes]) -> Bins:
    """The bins with what is learned of beginnings, lengths and loops, and of what a listener notices."""
    chosen = [pieces[k] for k in np.unique(np.linspace(0, len(pieces) - 1, OPENINGS).astype(int))]
    openings, notes, bars, loops = [], 0, 0, np.zeros(LAGS, np.int64)
    for piece in chosen:
        rows = note_rows.encode(piece, bins, match=False)[0][1:-1]
        (tonic, mode), count = note_rows.key_at(piece, 0.0), note_rows.bars(piece, bins)
        openings.append(Opening(tonic, mode, int(rows[0, METER]), count))
        notes, bars = notes + len(rows), bars + count
        if notes < LOOP_NOTES:
            loops = np.maximum(loops, _loops(rows))
    notes_per_bar = round(notes / bars, 3)
    measured = [likeness.of_piece(piece).values() for piece in chosen]
    return dataclasses.replace(
        bins,
        openings=tuple(openings),
        notes_per_bar=notes_per_bar,
        loops=tuple(loops.tolist()),
        likenesses=tuple(tuple(ABSENT if np.isnan(one) else round(one, 4) for one in values) for values in measured),
    )


def _loops(rows: np.ndarray) -> np.ndarray:
    """For 1, 2, ... LAGS places, the most notes in a row that equal the note that many places before: int64 [LAGS]."""
    codes = (rows[:, INTERVAL].astype(np.int64) * SIZES[PITCH] + rows[:, PITCH]) * SIZES[INSTRUMENT]
    codes += rows[:, INSTRUMENT]
    longest = np.zeros(LAGS, np.int64)
    for lag in range(1, min(LAGS, len(codes) - 1) + 1):
        differs = np.flatnonzero(codes[lag:] != codes[:-lag])
        longest[lag - 1] = np.diff(differs, prepend=-1, append=len(codes) - lag).max() - 1
    return longest


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
