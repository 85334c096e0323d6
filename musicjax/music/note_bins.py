"""Notes <-> rows of bins: interval, bar position, pitch, duration, velocity, match, meter, each a small whole number.

Onsets go to a grid that is learned from the data, as are the bins of the other columns: where the data have few
enough different values each gets a bin of its own, and nothing is lost. The bar position says where in its bar an onset
lies. It follows from the intervals, so nothing predicts it, but it tells the model where it is in time. The match is
the note that followed the longest run of earlier notes that is like the last ones, and the length of that run (see
`longest_match`). Much of music is said twice, and a state of some hundred numbers cannot remember the notes. The meter
is that of the bar. A piece is read from the bar line before its first note, so that a silent lead-in takes no bins.

Shape legend: N notes, C = 11 columns (10 without the meter, as models of 0.1.0 have them).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from musicjax.music import bar_position, longest_match
from musicjax.music.notes import Notes, from_beats, one_meter

# The columns of a row. This is their home: who needs one takes its index from here.
INTERVAL, BAR_POSITION, PITCH, DURATION, VELOCITY = range(5)
MATCH_INTERVAL, MATCH_PITCH, MATCH_DURATION, MATCH_VELOCITY, MATCH_LENGTH = range(5, 10)
METER = 10
NOTE = ("interval", "bar_position", "pitch", "duration", "velocity")
MATCH = ("match_interval", "match_pitch", "match_duration", "match_velocity", "match_length")
COLUMNS = (*NOTE, *MATCH, "meter")
# Names of the columns that are predicted; their indices; and the indices of those that follow from others.
PREDICTED = ("interval", "pitch", "duration", "velocity")
PREDICTED_COLUMNS = (INTERVAL, PITCH, DURATION, VELOCITY)
GIVEN = (BAR_POSITION, MATCH_INTERVAL, MATCH_PITCH, MATCH_DURATION, MATCH_VELOCITY, MATCH_LENGTH, METER)
# The most bins of each column. Every model has them all, so that its shape does not depend on the data.
SIZES = (48, 96, 128, 48, 32, 48, 128, 48, 32, 10, 8)
# Those of models of 0.1.0, whose bars all have four beats.
SIZES_0_1 = (48, 48, 128, 48, 32, 48, 128, 48, 32, 10)
FOUR_FOUR = (4, 4)
# An onset is on the grid if it is this close to a step of it.
GRID_TOLERANCE_BEATS = 2e-3
# Durations are rounded to this share of a beat before they are counted, so that rounding errors make no new ones.
TICKS_A_BEAT = 480


@dataclasses.dataclass(frozen=True)
class Bins:
    """What each bin stands for.

    Attributes:
        steps_per_beat: steps of the grid in a quarter note.
        interval: steps from one onset to the next, rising; the first is 0.
        duration: beats, rising.
        velocity: MIDI numbers, rising.
        bpm: the pieces' median tempo, quarter notes a minute.
        meters: (numerator, denominator), the commonest first.
        sizes: the most bins of each column, which the network's shape follows from.
    """

    steps_per_beat: int
    interval: tuple[int, ...]
    duration: tuple[float, ...]
    velocity: tuple[int, ...]
    bpm: float
    meters: tuple[tuple[int, int], ...] = (FOUR_FOUR,)
    sizes: tuple[int, ...] = SIZES

    @property
    def has_meter(self) -> bool:
        """Whether rows have a column for it; otherwise all bars have four beats."""
        return len(self.sizes) > METER

    @property
    def steps_per_bar(self) -> tuple[int, ...]:
        """How many bar positions each meter has. A bar with more than there is room for counts as several."""
        return tuple(
            bar_position.steps_per_bar(*meter, self.steps_per_beat, SIZES[BAR_POSITION]) for meter in self.meters
        )

    @property
    def used(self) -> tuple[int, ...]:
        """How many bins of each column stand for something."""
        interval, pitch, duration, velocity = len(self.interval), SIZES[PITCH], len(self.duration), len(self.velocity)
        note = interval, max(self.steps_per_bar), pitch, duration, velocity
        match = interval, pitch, duration, velocity, SIZES[MATCH_LENGTH]
        return *note, *match, *([len(self.meters)] if self.has_meter else [])


def encode(notes: Notes, bins: Bins, match: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Notes as rows, uint8 [N, C], in order of step and pitch; and bool [N], where some bin is only the nearest.

    If an interval has no bin of its own, those after it make up for the difference, so that later notes keep their bar
    positions; notes of one step stay together. A silence longer than the longest bin becomes that bin, and the notes
    after it keep their rhythm and bar positions, see `silences`.

    Args:
        match: False: the columns of the match are 0, as if no run came twice.
    """
    order, step = ordered(notes, bins.steps_per_beat)
    begins, meter, exact = _bars(notes.meters if bins.has_meter else one_meter(), step, bins)
    interval, placed, has_bin = _intervals(step, bins)
    ticks = np.rint(notes.duration_beats[order] * TICKS_A_BEAT)
    ticks_of_bins = np.rint(np.asarray(bins.duration) * TICKS_A_BEAT)
    duration = _nearest(ticks, ticks_of_bins)
    velocity = _nearest(notes.velocity[order], np.asarray(bins.velocity))
    position = bar_position.of(placed - begins, np.asarray(bins.steps_per_bar)[meter])
    interval[:1] = _nearest(position[:1], np.asarray(bins.interval))
    rows = np.zeros((len(order), len(bins.sizes)), np.uint8)
    if bins.has_meter:
        rows[:, METER] = meter
    rows[:, : len(NOTE)] = np.stack([interval, position, notes.pitch[order], duration, velocity], axis=1)
    if match:
        rows[:, len(NOTE) : METER] = matches(rows)
    exact &= has_bin
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


def silences(notes: Notes, bins: Bins) -> tuple[int, bool]:
    """(how many silences between notes `encode` shortens, whether it leaves out whole bars before the first note)."""
    _, step = ordered(notes, bins.steps_per_beat)
    if not len(step):
        return 0, False
    (begins,), (meter,), _ = _bars(notes.meters if bins.has_meter else one_meter(), step[:1], bins)
    length = bins.steps_per_bar[meter]
    before = int(step[0]) - bar_position.of(int(step[0] - begins), length)
    return int((np.diff(step) > bins.interval[-1]).sum()), before >= length


def decode(rows: np.ndarray, bins: Bins, bpm: float | None = None) -> Notes:
    """Rows, whole numbers [N, C], as Notes at a tempo (None: that of the bins). The inverse of `encode` on its bins.

    Beat 0 is the bar line before the first row. The meter is that of the first row.
    """
    rows = np.asarray(rows).astype(np.int64)
    steps = np.asarray(bins.interval)[rows[:, INTERVAL]]
    steps[:1] = rows[:1, BAR_POSITION]
    onset = np.cumsum(steps) / bins.steps_per_beat
    duration, velocity = np.asarray(bins.duration)[rows[:, DURATION]], np.asarray(bins.velocity)[rows[:, VELOCITY]]
    notes = from_beats(rows[:, PITCH], velocity, onset, duration, bpm or bins.bpm)
    return dataclasses.replace(notes, meters=one_meter(*meter_of(rows, bins)))


def meter_of(rows: np.ndarray, bins: Bins) -> tuple[int, int]:
    """The meter of the first of rows [N, C]; the commonest one if there is none."""
    return bins.meters[int(rows[0, METER]) if bins.has_meter and len(rows) else 0]


def from_saved(saved: Mapping[str, Any]) -> Bins:
    """Bins from JSON values, as dataclasses.asdict gives them.

    Raises:
        ValueError: they are not bins.
    """
    times = (tuple(map(int, saved["interval"])), tuple(map(float, saved["duration"])))
    numbers = (tuple(map(int, saved["velocity"])), float(saved["bpm"]))
    meters = tuple((int(numerator), int(denominator)) for numerator, denominator in saved.get("meters", (FOUR_FOUR,)))
    sizes = tuple(map(int, saved.get("sizes", SIZES_0_1)))
    if sizes not in (SIZES, SIZES_0_1) or not meters or not all(bar_position.is_meter(*meter) for meter in meters):
        raise ValueError("its columns or meters are unknown")
    bins = Bins(int(saved["steps_per_beat"]), *times, *numbers, meters, sizes)
    rising = all(all(a < b for a, b in itertools.pairwise(one)) for one in (*times, bins.velocity))
    fit = all(0 < used <= size for used, size in zip(bins.used, sizes, strict=True))
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
    return np.concatenate([np.arange(size) < used for size, used in zip(bins.sizes, bins.used, strict=True)])


def _bars(meters: np.ndarray, step: np.ndarray, bins: Bins) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For notes at rising steps [N]: the step where their meter begins, its bin, and whether that is exactly it."""
    kinds, kind_of = np.unique(meters[:, 1:], axis=0, return_inverse=True)
    lengths = bar_position.beats_per_bar(np.array([(0, *meter) for meter in bins.meters]))
    found, exact = [], []
    for numerator, denominator in kinds.astype(int).tolist():
        is_known = (numerator, denominator) in bins.meters
        length = bar_position.beats_per_bar(np.array([(0, numerator, denominator)]))
        nearest = int(np.abs(lengths - length).argmin())
        found.append(bins.meters.index((numerator, denominator)) if is_known else nearest)
        exact.append(is_known)
    begins = np.rint(meters[:, 0] * bins.steps_per_beat).astype(np.int64)
    which = bar_position.segments(step, begins[:, None])
    kind = kind_of.reshape(-1)[which]
    return begins[which], np.array(found)[kind], np.array(exact)[kind]


def ordered(notes: Notes, steps_per_beat: int) -> tuple[np.ndarray, np.ndarray]:
    """(order of the notes by step and pitch; their steps in that order), int64 [N] each."""
    step = np.floor(notes.onset_beats * steps_per_beat + 0.5 + 1e-6).astype(np.int64)
    order = np.lexsort((notes.pitch, step))
    return order, step[order]


def _nearest(values: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Index of the nearest of the rising bins, the lower one of two equally near: int64 [N]."""
    middles = (bins[1:] + bins[:-1]) / 2
    return np.searchsorted(middles, values, side="left")


def _intervals(step: np.ndarray, bins: Bins) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For rising steps [N]: the bin of each interval, the step that each note gets, whether it is exact or a silence.

    The first note keeps its step. A note after a silence gets its own step again.
    """
    interval = np.asarray(bins.interval)
    longest = int(interval[-1])
    true = np.diff(step, prepend=step[:1])
    found = _nearest(true, interval)
    exact = (interval[found] == true) | (true > longest)
    if exact.all():
        return found, step, exact
    table = _nearest(np.arange(longest + 1), interval).tolist()
    chosen, placed = [0], [int(step[0])]
    for now, passed in zip(step[1:].tolist(), true[1:].tolist(), strict=True):
        at = placed[-1]
        which = 0 if not passed else table[min(max(now - at, 0), longest)]
        chosen.append(which)
        placed.append(max(now, at + longest) if passed > longest else at + bins.interval[which])
    found = np.array(chosen, np.int64)
    exact = (interval[found] == true) | (true > longest)
    return found, np.array(placed, np.int64), exact
