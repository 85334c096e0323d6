"""What an output of a model is to be, before it is drawn: its key, its length, its instruments."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Plan(NamedTuple):
    """Of one output; an encoding without form leaves all at their defaults.

    Attributes:
        tonic: the pitch class 0..11 that the tonic of its rows, C, stands for.
        mode, meter: the bins that its rows are in.
        bars: how many it has; 0: as many as `notes` need.
        notes: how many it has, or a few more or less, so that it ends with a bar; 0 with bars: any number.
        instruments: which instruments it has, their numbers; empty: all.
    """

    tonic: int = 0
    mode: int = 0
    meter: int = 0
    bars: int = 0
    notes: int = 0
    instruments: tuple[int, ...] = ()

    def instruments_of(self, count: int) -> np.ndarray:
        """Which of so many instruments it has, bool [count]."""
        return np.isin(np.arange(count), self.instruments) | (not self.instruments)
