"""What the bins of note events stand for: the columns of a row, and the values that were learned for each.

Onsets go to a grid that is learned from the data, as are the bins of the other columns. If the data have few enough
different values, each gets a bin of its own, and nothing is lost. `note_rows` writes notes in these bins.

The bar position says where in its bar an onset is, the meter what kind of bar that is. The match is the note that
followed the longest earlier run of notes like the last ones, and the length of that run (see `longest_match`): much of
music is repeated, and a state of some hundred numbers cannot remember the notes. Pitches are written as if the tonic
were C (see `keys`); the mode says which kind of key it is, and the tonic is C except in training windows that were
moved. The form says how many bars are left and which of eight bars it is (see `form`). The instrument is one of those
found in the training pieces. All columns but interval, instrument, pitch, duration and velocity follow from the past or
are told, so nothing predicts them.

Shape legend: C = 30 columns; 11 in models without key, form and instruments, and 10 in those of 0.1.0, without meters.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from musicjax.music import bar_position, form, keys
from musicjax.music.notes import DRUMS

# The columns of a row. They are defined only here: whoever needs a column takes its index from here.
INTERVAL, BAR_POSITION, PITCH, DURATION, VELOCITY = range(5)
MATCH_INTERVAL, MATCH_PITCH, MATCH_DURATION, MATCH_VELOCITY, MATCH_LENGTH = range(5, 10)
METER, INSTRUMENT, MATCH_INSTRUMENT, TONIC, MODE, BARS_LEFT, PHRASE = range(10, 17)
SOUNDING = tuple(range(17, 29))  # of each pitch class, C first, whether an earlier note still sounds
HELD = 29
NOTE = ("interval", "bar_position", "pitch", "duration", "velocity")
MATCH = ("match_interval", "match_pitch", "match_duration", "match_velocity", "match_length")
FORM = ("instrument", "match_instrument", "tonic", "mode", "bars_left", "phrase")
HARMONY = (*(f"sounding_{pitch_class}" for pitch_class in range(12)), "held")
COLUMNS = (*NOTE, *MATCH, "meter", *FORM, *HARMONY)
# The order in which a row's columns are settled, the match aside: each is drawn, or follows, given those before it.
TOLD = (BAR_POSITION, METER, TONIC, MODE, BARS_LEFT, PHRASE, *SOUNDING, HELD)
ORDER = (INTERVAL, *TOLD, INSTRUMENT, PITCH, DURATION, VELOCITY)
# The match columns, and the columns that they repeat from the note that followed, in the same order.
MATCHED = (MATCH_INTERVAL, MATCH_INSTRUMENT, MATCH_PITCH, MATCH_DURATION, MATCH_VELOCITY)
# Columns that are predicted, in the order above; the first three are what makes two notes alike.
PREDICTED = (INTERVAL, INSTRUMENT, PITCH, DURATION, VELOCITY)
# Where the bins of HELD begin, in steps of the grid: how long the last of the earlier notes goes on; bin 0: none does.
HELD_STEPS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64)
# The most bins of each column. Every model has them all, so that its shape does not depend on the data.
SIZES = (
    *(48, 96, 128, 48, 32),
    *(48, 128, 48, 32, 10),
    *(8, 16, 16, 12, 1 + len(keys.MODES), 1 + len(form.LEFT), form.PHRASE_BARS),
    *(2,) * len(SOUNDING),
    1 + len(HELD_STEPS),
)
# Those of models without key, form and instruments, and of models of 0.1.0, whose bars all have four beats.
SIZES_0_2 = SIZES[: METER + 1]
SIZES_0_1 = (48, 48, 128, 48, 32, 48, 128, 48, 32, 10)
LAYOUTS = (SIZES, SIZES_0_2, SIZES_0_1)
# The interval of an edge: a row before the first note of a piece, and one after the last.
EDGE = SIZES[INTERVAL] - 1
FOUR_FOUR = (4, 4)
# An onset is on the grid if it is this close to a step of it.
GRID_TOLERANCE_BEATS = 2e-3
# Durations are rounded to this share of a beat before they are counted, so that rounding errors make no new ones.
TICKS_A_BEAT = 480

# Stands for a measure that a piece lacks.
ABSENT = -1.0
# How many measures `likeness.MEASURES` names.
MEASURED = 5


class Opening(NamedTuple):
    """What is known of a training piece as it begins: its tonic 0..11, bin of the mode, bin of the meter, and bars."""

    tonic: int
    mode: int
    meter: int
    bars: int


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
        programs: of each instrument, General MIDI or DRUMS, the commonest first.
        openings: of some training pieces, evenly chosen.
        likenesses: the measures of each of these pieces, see `likeness.MEASURES`; ABSENT: it has none. Empty where an
            older version trained.
        notes_per_bar: the mean of the training pieces.
        loops: for 1, 2, ... places, the most notes in a row that equal the note that many places before.
    """

    steps_per_beat: int
    interval: tuple[int, ...]
    duration: tuple[float, ...]
    velocity: tuple[int, ...]
    bpm: float
    meters: tuple[tuple[int, int], ...] = (FOUR_FOUR,)
    sizes: tuple[int, ...] = SIZES
    programs: tuple[int, ...] = (0,)
    openings: tuple[Opening, ...] = (Opening(0, 0, 0, 16),)
    notes_per_bar: float = 8.0
    loops: tuple[int, ...] = ()
    likenesses: tuple[tuple[float, ...], ...] = ()

    @property
    def has_meter(self) -> bool:
        """Whether rows have a column for it; otherwise all bars have four beats."""
        return len(self.sizes) > METER

    @property
    def has_form(self) -> bool:
        """Whether rows have key, form and instruments, and pieces have edges."""
        return len(self.sizes) > INSTRUMENT

    @property
    def predicted(self) -> tuple[int, ...]:
        """The columns that are predicted, in the order in which they are."""
        return tuple(column for column in PREDICTED if column < len(self.sizes))

    @property
    def order(self) -> tuple[int, ...]:
        """The order in which a row's columns are settled, the match aside."""
        return tuple(column for column in ORDER if column < len(self.sizes))

    @property
    def matched(self) -> tuple[int, ...]:
        """The columns of the match that repeat those predicted, in the same order."""
        return tuple(column for column in MATCHED if column < len(self.sizes))

    @property
    def alike(self) -> int:
        """How many of the predicted columns are equal in notes that are alike: all but duration and velocity."""
        return len(self.predicted) - 2

    @functools.cached_property
    def steps_per_bar(self) -> tuple[int, ...]:
        """How many bar positions each meter has. A bar with more than there is room for counts as several."""
        return tuple(
            bar_position.steps_per_bar(*meter, self.steps_per_beat, SIZES[BAR_POSITION]) for meter in self.meters
        )

    @functools.cached_property
    def is_drums(self) -> np.ndarray:
        """Which instruments are drums, whose pitches no key moves: bool [16]."""
        found = _padded(np.asarray(self.programs) == DRUMS, INSTRUMENT)
        found.setflags(write=False)  # since every caller gets the same array
        return found

    @property
    def used(self) -> tuple[int, ...]:
        """How many bins of each column stand for something; of intervals, without the edge."""
        interval, pitch, duration, velocity = len(self.interval), SIZES[PITCH], len(self.duration), len(self.velocity)
        note = interval, max(self.steps_per_bar), pitch, duration, velocity
        match = interval, pitch, duration, velocity, SIZES[MATCH_LENGTH]
        instruments = len(self.programs)
        whole = (*note, *match, len(self.meters), instruments, instruments, *SIZES[TONIC:])
        return whole[: len(self.sizes)]


def from_saved(saved: Mapping[str, Any]) -> Bins:
    """Bins from JSON values, as dataclasses.asdict gives them.

    Raises:
        ValueError: they are not bins.
    """
    times = (tuple(map(int, saved["interval"])), tuple(map(float, saved["duration"])))
    numbers = (tuple(map(int, saved["velocity"])), float(saved["bpm"]))
    meters = tuple((int(numerator), int(denominator)) for numerator, denominator in saved.get("meters", (FOUR_FOUR,)))
    sizes = tuple(map(int, saved.get("sizes", SIZES_0_1)))
    if sizes not in LAYOUTS or not meters or not all(bar_position.is_meter(*meter) for meter in meters):
        raise ValueError("its columns or meters are unknown")
    bins = Bins(int(saved["steps_per_beat"]), *times, *numbers, meters, sizes)
    if bins.has_form:
        bins = dataclasses.replace(bins, **_of_form(saved))
    rising = all(all(a < b for a, b in itertools.pairwise(one)) for one in (*times, bins.velocity))
    fit = all(0 < used <= size for used, size in zip(bins.used, sizes, strict=True))
    fit &= len(bins.interval) <= EDGE or not bins.has_form
    positive = times[0][:1] == (0,) and min(times[1], default=0) > 0 and min(bins.velocity, default=0) > 0
    if not (rising and fit and positive and max(bins.velocity) < 128 and 0 < bins.bpm < 10_000):
        raise ValueError("its bins do not rise, or are too many for their column")
    return bins


def _of_form(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of key, form and instruments; raises ValueError if they are not."""
    programs, loops = (tuple(map(int, saved[name])) for name in ("programs", "loops"))
    openings = tuple(Opening(*map(int, opening)) for opening in saved["openings"])
    notes_per_bar = float(saved["notes_per_bar"])
    limits = (12, SIZES[MODE], len(saved["meters"]), 2**31)
    known = all(0 <= number < limit for opening in openings for number, limit in zip(opening, limits, strict=True))
    if not (known and openings and all(0 <= program <= DRUMS for program in programs) and 0 < notes_per_bar < 1e6):
        raise ValueError("its openings or instruments are unknown")
    likenesses = tuple(tuple(map(float, one)) for one in saved.get("likenesses", ()))
    if likenesses and len(likenesses) != len(openings):
        raise ValueError(f"it has {len(likenesses)} likenesses for {len(openings)} openings")
    if not all(len(one) == MEASURED and all(ABSENT <= value <= 1 for value in one) for one in likenesses):
        raise ValueError("its likenesses are no measures")
    form = {"programs": programs, "openings": openings, "notes_per_bar": notes_per_bar}
    return form | {"loops": loops, "likenesses": likenesses}


def scaled(bins: Bins, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """The bins of intervals and durations once time runs slower by this factor: int [48] and [48], one for each bin."""
    interval = nearest(np.rint(np.asarray(bins.interval) * factor), np.asarray(bins.interval))
    # A chord stays a chord, and other notes do not become one.
    interval[1:] = np.maximum(interval[1:], min(1, len(interval) - 1))
    duration = nearest(np.asarray(bins.duration) * factor, np.asarray(bins.duration))
    interval, duration = _padded(interval, INTERVAL), _padded(duration, DURATION)
    if bins.has_form:
        interval[EDGE] = EDGE
    return interval, duration


def steps_of(bins: Bins) -> tuple[np.ndarray, np.ndarray]:
    """Steps of each bin of intervals, and steps for which a note of each bin of durations sounds: int [48] and [48]."""
    duration = np.maximum(np.ceil(np.asarray(bins.duration) * bins.steps_per_beat - 1e-6), 1).astype(np.int64)
    return _padded(np.asarray(bins.interval), INTERVAL), _padded(duration, DURATION)


def _padded(of_bins: np.ndarray, column: int) -> np.ndarray:
    """A number for each bin in use, then 0 for each of the rest of the column's."""
    padded = np.zeros(SIZES[column], of_bins.dtype)
    padded[: len(of_bins)] = of_bins
    return padded


def valid(bins: Bins) -> np.ndarray:
    """Which bins stand for something, the columns end to end: bool [sum(SIZES)]."""
    found = np.concatenate([np.arange(size) < used for size, used in zip(bins.sizes, bins.used, strict=True)])
    found[EDGE] |= bins.has_form
    return found


def nearest(values: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Index of the nearest of the rising bins, the lower one of two equally near: int64 [N]."""
    middles = (bins[1:] + bins[:-1]) / 2
    return np.searchsorted(middles, values, side="left")
