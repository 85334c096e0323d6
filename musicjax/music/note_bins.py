"""Notes <-> rows of bins: (interval, bar position, pitch, duration, velocity, match...), each a small whole number.

Onsets go to a grid that is learned from the data, as are the bins of the other columns: where the data have few
enough different values each gets a bin of its own, and nothing is lost. The bar position says where in the bar of four
beats an onset lies. It follows from the intervals, so nothing predicts it, but it tells the model where it is in time.
The match is the note that followed the longest run of earlier notes that is like the last ones, and the length of that
run (see `longest_match`). Much of music is said twice, and a state of some hundred numbers cannot remember the notes.

Shape legend: N notes, C = 10 columns.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from musicjax.music import bar_position, longest_match
from musicjax.music.bar_position import BEATS_A_BAR
from musicjax.music.notes import Notes, from_beats

# The columns of a row. This is their home: who needs one takes its index from here.
INTERVAL, BAR_POSITION, PITCH, DURATION, VELOCITY = range(5)
MATCH_INTERVAL, MATCH_PITCH, MATCH_DURATION, MATCH_VELOCITY, MATCH_LENGTH = range(5, 10)
NOTE = ("interval", "bar_position", "pitch", "duration", "velocity")
MATCH = ("match_interval", "match_pitch", "match_duration", "match_velocity", "match_length")
COLUMNS = (*NOTE, *MATCH)
# Names of the columns that are predicted; their indices; and the indices of those that follow from others.
PREDICTED = ("interval", "pitch", "duration", "velocity")
PREDICTED_COLUMNS = (INTERVAL, PITCH, DURATION, VELOCITY)
GIVEN = (BAR_POSITION, MATCH_INTERVAL, MATCH_PITCH, MATCH_DURATION, MATCH_VELOCITY, MATCH_LENGTH)
# The most bins of each column. Every model has them all, so that its shape does not depend on the data.
SIZES = (48, 48, 128, 48, 32, 48, 128, 48, 32, 10)
# Steps a beat: the coarsest grid that has nearly all onsets counts, or else the finest.
GRIDS = (1, 2, 3, 4, 6, 8, 12)
ON_GRID, GRID_TOLERANCE_BEATS = 0.995, 2e-3
# Durations are rounded to this share of a beat before they are counted, so that rounding errors make no new ones.
TICKS_A_BEAT = 480
# Bins for velocities that are too many for a bin each; and for rare intervals, beside those of the common ones.
VELOCITY_BINS, RARE_BINS = 16, 8
# Bins for durations that are too many for a bin each: how many to a doubling, and the share of notes that they reach.
BINS_AN_OCTAVE, LONG_ENOUGH = 6, 0.999
# Slowest and fastest tempo that music is written in, in quarter notes a minute.
TEMPOS = (10.0, 1000.0)
# A longer time comes from damage, and would need a table of its length.
LONGEST_BEATS = 64


@dataclasses.dataclass(frozen=True)
class Bins:
    """What each bin stands for.

    Attributes:
        steps_per_beat: steps of the grid in a quarter note.
        interval: steps from one onset to the next, rising; the first is 0.
        duration: beats, rising.
        velocity: MIDI numbers, rising.
        bpm: the pieces' median tempo, quarter notes a minute.
    """

    steps_per_beat: int
    interval: tuple[int, ...]
    duration: tuple[float, ...]
    velocity: tuple[int, ...]
    bpm: float

    @property
    def steps_per_bar(self) -> int:
        """How many bar positions there are."""
        return BEATS_A_BAR * self.steps_per_beat

    @property
    def used(self) -> tuple[int, ...]:
        """How many bins of each column stand for something."""
        interval, pitch, duration, velocity = len(self.interval), SIZES[PITCH], len(self.duration), len(self.velocity)
        note, match = (interval, self.steps_per_bar, pitch, duration, velocity), (interval, pitch, duration, velocity)
        return *note, *match, SIZES[MATCH_LENGTH]


def learn(pieces: Sequence[Notes]) -> Bins:
    """The bins of some pieces, at least one of which has a note."""
    pieces = [piece for piece in pieces if len(piece)]
    onsets = np.concatenate([piece.onset_beats for piece in pieces])
    grid = next((steps for steps in GRIDS if _share_on(onsets, steps) >= ON_GRID), GRIDS[-1])
    intervals = [np.diff(_ordered(piece, grid)[1], prepend=0) for piece in pieces]
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
    tempos = [60 * piece.onset_beats[-1] / piece.onset[-1] for piece in pieces if piece.onset[-1] > 0]
    return Bins(
        grid,
        tuple(interval.tolist()),
        tuple((duration / TICKS_A_BEAT).tolist()),
        tuple(velocity.tolist()),
        round(float(np.median(tempos).clip(*TEMPOS)), 3) if tempos else 120.0,
    )


def encode(notes: Notes, bins: Bins, match: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Notes as rows, uint8 [N, C], in order of step and pitch; and bool [N], where some bin is only the nearest.

    If an interval has no bin of its own, those after it make up for the difference, so that later notes keep their bar
    positions; notes of one step stay together.

    Args:
        match: False: the columns of the match are 0, as if no run came twice.
    """
    order, step = _ordered(notes, bins.steps_per_beat)
    interval, exact = _intervals(step, bins)
    ticks = np.rint(notes.duration_beats[order] * TICKS_A_BEAT)
    ticks_of_bins = np.rint(np.asarray(bins.duration) * TICKS_A_BEAT)
    duration = _nearest(ticks, ticks_of_bins)
    velocity = _nearest(notes.velocity[order], np.asarray(bins.velocity))
    position = bar_position.of(np.cumsum(np.asarray(bins.interval)[interval]), bins.steps_per_bar)
    rows = np.zeros((len(order), len(COLUMNS)), np.uint8)
    rows[:, : len(NOTE)] = np.stack([interval, position, notes.pitch[order], duration, velocity], axis=1)
    if match:
        rows[:, len(NOTE) :] = matches(rows)
    exact &= np.abs(notes.onset_beats[order] - step / bins.steps_per_beat) <= GRID_TOLERANCE_BEATS
    exact &= (ticks_of_bins[duration] == ticks) & (np.asarray(bins.velocity)[velocity] == notes.velocity[order])
    return rows, ~exact


def matches(rows: np.ndarray) -> np.ndarray:
    """The columns MATCH of rows uint8 [N, C]: uint8 [N, 5].

    Two rows are alike if their intervals and pitches are. The match is the row that followed, and the bin of the run's
    length by `longest_match.LENGTHS`; zeros if there is no run.
    """
    followed, run = longest_match.of(rows[:, INTERVAL].astype(np.int32) * SIZES[PITCH] + rows[:, PITCH])
    length = np.searchsorted(longest_match.LENGTHS, run, side="right")
    found = np.concatenate([rows[followed][:, PREDICTED_COLUMNS], length[:, None].astype(np.uint8)], axis=1)
    return np.where(run[:, None] > 0, found, np.uint8(0))


def decode(rows: np.ndarray, bins: Bins, bpm: float | None = None) -> Notes:
    """Rows, whole numbers [N, C], as Notes at a tempo (None: that of the bins). The inverse of `encode` on its bins."""
    rows = np.asarray(rows).astype(np.int64)
    onset = np.cumsum(np.asarray(bins.interval)[rows[:, INTERVAL]]) / bins.steps_per_beat
    duration, velocity = np.asarray(bins.duration)[rows[:, DURATION]], np.asarray(bins.velocity)[rows[:, VELOCITY]]
    return from_beats(rows[:, PITCH], velocity, onset, duration, bpm or bins.bpm)


def from_saved(saved: Mapping[str, Any]) -> Bins:
    """Bins from JSON values, as dataclasses.asdict gives them.

    Raises:
        ValueError: they are not bins.
    """
    times = (tuple(map(int, saved["interval"])), tuple(map(float, saved["duration"])))
    bins = Bins(int(saved["steps_per_beat"]), *times, tuple(map(int, saved["velocity"])), float(saved["bpm"]))
    rising = all(all(a < b for a, b in itertools.pairwise(one)) for one in (*times, bins.velocity))
    fit = all(0 < used <= size for used, size in zip(bins.used, SIZES, strict=True))
    positive = times[0][:1] == (0,) and min(times[1], default=0) > 0 and min(bins.velocity, default=0) > 0
    if not (rising and fit and positive and max(bins.velocity) < 128 and 0 < bins.bpm < 10_000):
        raise ValueError("its bins do not rise, or are too many for their column")
    return bins


def scaled(bins: Bins, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """The bins of intervals and durations once time runs slower by this factor: int [48] and [48], one for each bin."""
    interval = _nearest(np.rint(np.asarray(bins.interval) * factor), np.asarray(bins.interval))
    # A chord stays a chord, and notes that are none do not become one.
    interval[1:] = np.maximum(interval[1:], min(1, len(interval) - 1))
    duration = _nearest(np.asarray(bins.duration) * factor, np.asarray(bins.duration))
    return _padded(interval, INTERVAL), _padded(duration, DURATION)


def steps_of(bins: Bins) -> tuple[np.ndarray, np.ndarray]:
    """Steps of each bin of intervals, and steps for which a note of each bin of durations sounds: int [48] and [48]."""
    duration = np.maximum(np.ceil(np.asarray(bins.duration) * bins.steps_per_beat - 1e-6), 1).astype(np.int64)
    return _padded(np.asarray(bins.interval), INTERVAL), _padded(duration, DURATION)


def _padded(of_bins: np.ndarray, column: int) -> np.ndarray:
    """A number for each bin in use, then 0 for each of the rest of the column's."""
    return np.pad(of_bins, (0, SIZES[column] - len(of_bins)))


def valid(bins: Bins) -> np.ndarray:
    """Which bins stand for something, the columns end to end: bool [sum(SIZES)]."""
    return np.concatenate([np.arange(size) < used for size, used in zip(SIZES, bins.used, strict=True)])


def _share_on(onsets: np.ndarray, steps: int) -> float:
    return float((np.abs(onsets - np.rint(onsets * steps) / steps) <= GRID_TOLERANCE_BEATS).mean())


def _ordered(notes: Notes, steps_per_beat: int) -> tuple[np.ndarray, np.ndarray]:
    """(order of the notes by step and pitch; their steps in that order), int64 [N] each."""
    step = np.floor(notes.onset_beats * steps_per_beat + 0.5 + 1e-6).astype(np.int64)
    order = np.lexsort((notes.pitch, step))
    return order, step[order]


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


def _nearest(values: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Index of the nearest of the rising bins, the lower one of two equally near: int64 [N]."""
    middles = (bins[1:] + bins[:-1]) / 2
    return np.searchsorted(middles, values, side="left")


def _intervals(step: np.ndarray, bins: Bins) -> tuple[np.ndarray, np.ndarray]:
    """(bins of the intervals between rising steps [N], whether each is exact)."""
    interval = np.asarray(bins.interval)
    true = np.diff(step, prepend=0)
    found = _nearest(true, interval)
    exact = interval[found] == true
    if exact.all():
        return found, exact
    longest = int(interval[-1])
    table = _nearest(np.arange(longest + 1), interval).tolist()
    chosen: list[int] = []
    at, last = 0, 0
    for now in step.tolist():
        which = 0 if now == last and chosen else table[min(max(now - at, 0), longest)]
        at, last = at + bins.interval[which], now
        chosen.append(which)
    found = np.array(chosen, np.int64)
    return found, interval[found] == true
