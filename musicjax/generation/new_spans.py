"""Where a piece has new music, in seconds, after a given piece was continued, filled or varied."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from musicjax.generation import vary
from musicjax.generation.rework import Rework
from musicjax.music import splice
from musicjax.music.notes import Notes

Spans = tuple[tuple[float, float], ...]


def of(rework: Rework, seed: int, given: Notes, pieces: Sequence[Notes]) -> list[Spans]:
    """For each piece that a rework of the given one with this seed made: (begin, end) of what is new, rising."""
    if rework.kind == "keep":
        return [_after(given, piece) for piece in pieces]
    lines = splice.bar_lines(given)
    bars = np.arange(len(lines) - 1)
    if rework.kind == "infill":
        is_new = (bars >= rework.from_bar - 1) & (bars < rework.to_bar)
        return [_of_bars(given, lines, is_new)] * len(pieces)
    first = splice.alike(given, lines)
    return [_of_bars(given, lines, vary.is_new(seed, number, first, rework.amount)) for number in range(len(pieces))]


def _after(given: Notes, piece: Notes) -> Spans:
    """What comes after a kept piece: `primer.continued` puts all new notes after its notes."""
    if len(piece) == len(given):
        return ()
    return ((float(piece.onset[len(given)]), piece.seconds),)


def _of_bars(given: Notes, lines: np.ndarray, is_new: np.ndarray) -> Spans:
    """(begin, end) in seconds of each run of new bars: bool [B], with bar lines in beats, [B + 1]."""
    seconds = splice.seconds_at(np.maximum(lines, 0.0), given.tempos).tolist()
    runs = [(new, list(run)) for new, run in itertools.groupby(range(len(is_new)), key=lambda bar: bool(is_new[bar]))]
    return tuple((seconds[run[0]], seconds[run[-1] + 1]) for new, run in runs if new)
