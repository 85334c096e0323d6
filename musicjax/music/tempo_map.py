"""Tempo changes -> seconds: the clock of MIDI files and of scores."""

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
