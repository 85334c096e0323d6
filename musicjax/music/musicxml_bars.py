"""Where the bars of a score begin and which meters it states -> `Notes.meters`."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from musicjax.music.musicxml_values import Meter
from musicjax.music.notes import one_meter


class Bar(NamedTuple):
    """One measure of all parts.

    Attributes:
        start: its first beat.
        meters: (number of the part, meter) as its parts state them, in their order.
    """

    start: Fraction
    meters: Sequence[tuple[int, Meter]]


def meters(bars: Sequence[Bar], end: Fraction) -> tuple[np.ndarray, list[int]]:
    """(`Notes.meters` of a score, the indices of the bars where one part contradicts another).

    The first part that states a meter decides. A bar that is shorter or longer than its meter says makes a new bar
    line where it ends. If that is the first bar of several, an upbeat, the first bar line is where it ends.

    Args:
        bars: in their order.
        end: the beat on which the last one ends.
    """
    held: dict[int, Meter] = {}
    rows: list[tuple[Fraction, int, int]] = []
    contradicting = []
    ends = [*(bar.start for bar in bars), end][1:]
    for index, (bar, bar_end) in enumerate(zip(bars, ends, strict=True)):
        held |= dict(reversed(bar.meters))  # of several in one part, the first
        if not held:
            continue
        meter = held[min(held)]
        if any(other != meter for _, other in bar.meters):
            contradicting.append(index)
        if index == 0 and len(bars) > 1 and bar_end - bar.start < _beats(meter):
            continue
        if rows and rows[-1][0] == bar.start:
            rows.pop()
        if not rows or rows[-1][1:] != meter or (bar.start - rows[-1][0]) % _beats(meter):
            rows.append((bar.start, *meter))
    return np.array(rows, np.float64) if rows else one_meter(), contradicting


def _beats(meter: Meter) -> Fraction:
    """Quarter notes in a bar."""
    return Fraction(4 * meter[0], meter[1])
