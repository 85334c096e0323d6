"""Which pieces are one piece: the same notes in whatever key, at whatever tempo, however a file rounds their times.

A hash of times would not do: when a performance is saved again with other ticks, some note crosses the border of any
grid, and the hash changes. So a fingerprint without times finds the candidates, whose times are then compared within a
tolerance. Velocities do not count.

Shape legend: N notes, P pieces, M pieces with one fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from musicjax.music.notes import Notes

# How far a file may move a note, in its own quarter notes or seconds. At 24 ticks a beat, the coarsest grid in use, it
# moves a note by up to 1/48 of a beat, and by as much the note from which times are counted; the other file does the
# same at its own resolution.
TOLERANCE_BEATS, TOLERANCE_SECONDS = 1 / 32, 1 / 64


def first_alike(pieces: Sequence[Notes]) -> np.ndarray:
    """Of each of P pieces the index of the first one that is the same, or its own: int64 [P].

    Pieces are the same if their times in quarter notes are the same up to one factor, or their times in seconds, since
    some software keeps only those. A piece without notes is like no other.
    """
    candidates: dict[bytes, list[int]] = {}
    for index, piece in enumerate(pieces):
        if len(piece):
            candidates.setdefault(fingerprint(piece.pitch), []).append(index)
    first = np.arange(len(pieces))
    for found in candidates.values():
        if len(found) > 1:
            first[found] = np.array(found)[first_of(pieces[index] for index in found)]
    return first


def fingerprint(pitch: np.ndarray) -> bytes:
    """How often each pitch comes, from the lowest up: the same for all copies of a piece; pitch: int [N], N >= 1."""
    return np.bincount(pitch - pitch.min()).astype("<u4").tobytes()


def first_of(pieces: Iterable[Notes]) -> np.ndarray:
    """`first_alike` of M pieces with one fingerprint, int64 [M]; takes them in turn, and keeps those that differ."""
    in_beats, in_seconds, kept, first = _Times(TOLERANCE_BEATS), _Times(TOLERANCE_SECONDS), [], []
    for index, piece in enumerate(pieces):
        beats = _times(piece.pitch, piece.onset_beats, piece.duration_beats)
        seconds = _times(piece.pitch, piece.onset, piece.duration)
        alike = np.flatnonzero(in_beats.alike(*beats) | in_seconds.alike(*seconds))
        if not len(alike):
            in_beats.keep(*beats)
            in_seconds.keep(*seconds)
            kept.append(index)
        first.append(kept[alike[0]] if len(alike) else index)
    return np.array(first, np.int64)


def _times(pitch: np.ndarray, onset: np.ndarray, duration: np.ndarray) -> tuple[np.ndarray, float]:
    """(when the notes of each pitch begin, and then when they end, as shares of a span, float64 [2 N]; the span).

    The span lasts from the first onset to the last, or, where all notes begin together, as long as the longest note.
    Beginnings and endings are sorted separately, so that the order of notes that begin together does not matter.

    Args:
        pitch, onset, duration: of one piece, [N], onsets rising.
    """
    start, end = onset - onset[0], onset - onset[0] + duration
    span = float(start[-1]) or float(end.max()) or 1.0
    return np.concatenate([side[np.lexsort((side, pitch))] for side in (start, end)]) / span, span


class _Times:
    """The times of pieces that differ, as `_times` gives them; tolerance: in the unit of their spans."""

    def __init__(self, tolerance: float):
        self._tolerance, self._count = tolerance, 0
        self._times, self._spans = np.empty((0, 0)), np.empty(0)

    def alike(self, times: np.ndarray, span: float) -> np.ndarray:
        """Which of the pieces have these times, bool [count]."""
        if not self._count:
            return np.zeros(0, bool)
        allowed = self._tolerance / self._spans[: self._count] + self._tolerance / span
        return np.abs(self._times[: self._count] - times).max(axis=1) <= allowed

    def keep(self, times: np.ndarray, span: float) -> None:
        """Adds a piece. The room doubles each time that it runs out."""
        if self._count == len(self._spans):
            more = max(self._count, 1)
            self._times = np.concatenate([self._times.reshape(-1, len(times)), np.empty((more, len(times)))])
            self._spans = np.concatenate([self._spans, np.empty(more)])
        self._times[self._count], self._spans[self._count] = times, span
        self._count += 1
