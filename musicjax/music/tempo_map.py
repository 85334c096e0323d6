"""Changes of tempo and meter in order, and tempo changes -> seconds: the clock of MIDI files and of scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def seconds_at(times: np.ndarray, changes: Sequence[tuple[float, float]]) -> np.ndarray:
    """Times [N] in ticks or quarter notes as seconds since time 0, float64 [N].

    Args:
        times: none below 0.
        changes: (time, seconds per tick or quarter note from then on), the first at time 0, the rest in any order; of
            several at one time the last holds.
    """
    ordered = sorted(changes, key=lambda change: change[0])
    start, pace = np.array(ordered, np.float64).T
    start_seconds = np.concatenate([[0.0], np.cumsum(np.diff(start) * pace[:-1])])
    segment = np.searchsorted(start, times, side="right") - 1
    return start_seconds[segment] + (times - start[segment]) * pace[segment]


def in_order(changes: Sequence[tuple[float, ...]], default: np.ndarray) -> np.ndarray:
    """Changes (beat, values...) by beat, float64 [T, C]; of several at one beat the last holds.

    Args:
        default: the first row, float64 [C], if no change is at beat 0 or before.
    """
    held: dict[float, tuple[float, ...]] = {}
    for beat, *values in sorted(changes, key=lambda change: change[0]):
        held[beat] = (beat, *values)
    before = [] if held and min(held) <= 0 else [default]
    return np.array([*before, *held.values()], np.float64)


def moved(changes: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Changes [T, C] at the beats that they have once notes have moved from beats `before` to `after`, both [N].

    Time between two notes is stretched or shrunk evenly; time before the first note and after the last stays as long.
    """
    beat = changes[:, 0]
    place = np.interp(beat, before, after) + np.maximum(beat - before[-1], 0) + np.minimum(beat - before[0], 0)
    return np.concatenate([place[:, None], changes[:, 1:]], axis=1)
