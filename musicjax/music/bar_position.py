"""Where in the bar a note begins: meters (time signatures), the bars that they make, and positions in them.

Meters are float64 [M, 3], see `Notes.meters`: the beat of a bar line, numerator, denominator. A beat is a quarter note.
NumPy and JAX arrays alike count positions with `of`: the rows of a piece, the training windows and the sampling loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np

BEATS_A_BAR = 4


def of(steps: Any, steps_per_bar: Any) -> Any:
    """The position of each onset, 0 to steps_per_bar - 1, from steps of the beat grid since a bar began."""
    return steps % steps_per_bar


def beats_per_bar(meters: np.ndarray) -> np.ndarray:
    """Quarter notes in a bar of each meter, float64 [M]."""
    return meters[:, 1] * 4 / meters[:, 2]


def segments(beats: np.ndarray, meters: np.ndarray) -> np.ndarray:
    """Which meter holds at each of N beats, int64 [N]; before the first one begins, the first."""
    return np.maximum(np.searchsorted(meters[:, 0], beats, side="right") - 1, 0)
