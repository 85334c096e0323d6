"""The form of a piece in bars: how many are left, and which of a group of eight a note is in.

NumPy and JAX arrays alike go through `left_bin` and `phrase_of`: the rows of a piece and the sampling loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# Where the bins of the bars left begin, in coarser steps the further away the end is; bin 0: not told.
LEFT = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
# Bars in the largest unit whose place is told.
PHRASE_BARS = 8


def left_bin(bars_left: Any, xp: Any = np) -> Any:
    """The bin of a number of bars after the present one, 0 or more; bin 0, not told, for -1. xp: numpy or jax.numpy."""
    return xp.searchsorted(xp.asarray(LEFT), bars_left, side="right")


def phrase_of(bar: Any) -> Any:
    """Which bar of its eight a bar is, counted from 0."""
    return bar % PHRASE_BARS


def bars_of(steps: np.ndarray, begins: np.ndarray, steps_per_bar: np.ndarray) -> np.ndarray:
    """The bar in which each of N notes begins, counted from that of the first one, int64 [N].

    Args:
        steps: of the beat grid, rising.
        begins: the step at which the meter of each note begins.
        steps_per_bar: of that meter.
    """
    since = (steps - begins) // steps_per_bar
    if not len(steps):
        return since
    # Where the meter changes, the bars of the one before go on up to the step where the next begins.
    changes = np.flatnonzero(begins[1:] != begins[:-1]) + 1
    full = np.zeros(len(steps), np.int64)
    for change in changes.tolist():
        old_begin, length = begins[change - 1], steps_per_bar[change - 1]
        full[change:] += -(-(begins[change] - old_begin) // length)
    bars = since + full
    return bars - bars[0]
