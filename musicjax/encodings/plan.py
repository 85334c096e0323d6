"""What an output of a model is to be, before it is drawn: its key, its length, its instruments."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from musicjax.errors import UsageError

MOST_SECONDS = 86_400.0


class Length(NamedTuple):
    """The length of a piece: at most one of the four is above 0; none: as the encoding chooses. Beats are quarter
    notes.

    exact: whether it is cut off there, even in the middle of a bar.
    """

    num_notes: int = 0
    seconds: float = 0.0
    bars: float = 0.0
    beats: float = 0.0
    exact: bool = False

    @property
    def measured(self) -> tuple[bool, ...]:
        """Which of the four is given."""
        return tuple(number > 0 for number in self[:4])

    def in_seconds(self, bpm: float, beats_per_bar: float = 4.0) -> float:
        """The length in seconds, 0 if it is in notes; raises UsageError if bars or beats last too long."""
        beats = self.bars * beats_per_bar or self.beats
        seconds = beats * 60 / bpm if beats else self.seconds
        if seconds > MOST_SECONDS:
            given = f"bars={self.bars:g}" if self.bars else f"beats={self.beats:g}"
            raise UsageError(
                f"{given} at bpm={bpm:g} last {seconds:,.0f} seconds: expected at most {MOST_SECONDS:,.0f}"
            )
        return seconds


class Plan(NamedTuple):
    """The plan of one output; an encoding without form leaves all fields at their defaults.

    Attributes:
        tonic: the pitch class 0..11 that the tonic of its rows, C, stands for.
        mode, meter: the bins that its rows are in.
        bars: how many it has; 0: as many as `notes` need.
        notes: how many it has, or a few more or less, so that it ends with a bar; 0 with bars: any number.
        ends: whether it is over then; else it goes on, and is cut off.
        must_end: whether it ends with its last bar even where the model would go on.
        opening: the number of the training piece that it resembles, among those that the encoding remembers; -1: none.
        instruments: which instruments it has, their numbers; empty: all.
    """

    tonic: int = 0
    mode: int = 0
    meter: int = 0
    bars: int = 0
    notes: int = 0
    ends: bool = False
    must_end: bool = False
    opening: int = -1
    instruments: tuple[int, ...] = ()

    def instruments_of(self, count: int) -> np.ndarray:
        """Which of `count` instruments it has, bool [count]."""
        return np.isin(np.arange(count), self.instruments) | (not self.instruments)


UNPLANNED = Plan()
