"""Which pieces are one piece: the same notes in whatever key, at whatever tempo, however a file rounds their times.

A hash of times would not do. Saved again with other ticks, some note of a performance crosses the border of any grid,
and its hash is another one. So a fingerprint without times finds the candidates, and a tolerance compares their times.
Velocities do not count.

Shape legend: N notes, P pieces, M pieces with one fingerprint.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from musicjax.music.notes import Notes

# How far a file may move a note, in its own quarter notes or seconds. At 24 ticks a beat, the coarsest grid in use, it
# moves a note by up to 1/48 of a beat, and as much the note from which its time is counted; the other file does the
# same at its own resolution.
TOLERANCE_BEATS, TOLERANCE_SECONDS = 1 / 32, 1 / 64


def first_alike(pieces: Sequence[Notes]) -> np.ndarray:
    """Of each of P pieces the index of the first one that is the same, or its own: int64 [P].

    Pieces are the same if their times in quarter notes are, but for one factor; or their times in seconds, since some
    software keeps only those. A piece without notes is like no other.
    """
    candidates: dict[bytes, list[int]] = {}
    for index, piece in enumerate(pieces):
        if len(piece):
            candidates.setdefault(fingerprint(piece.pitch), []).append(index)
    first = np.arange(len(pieces))
    for found in candidates.values():
        if len(found) > 1:
            first[found] = np.array(found)[_compare([pieces[index] for index in found])]
    return first


def fingerprint(pitch: np.ndarray) -> bytes:
    """How often each pitch comes, from the lowest up: the same for all copies of a piece; pitch: int [N], N >= 1."""
    return np.bincount(pitch - pitch.min()).astype("<u4").tobytes()


def _compare(pieces: Sequence[Notes]) -> np.ndarray:
    """`first_alike` of M pieces with one fingerprint, int64 [M]."""
    in_beats = _times([(piece.pitch, piece.onset_beats, piece.duration_beats) for piece in pieces])
    in_seconds = _times([(piece.pitch, piece.onset, piece.duration) for piece in pieces])
    first = np.full(len(pieces), -1)
    for index in range(len(pieces)):
        if first[index] < 0:
            alike = _alike(*in_beats, index, TOLERANCE_BEATS) | _alike(*in_seconds, index, TOLERANCE_SECONDS)
            first[alike & (first < 0)] = index
    return first


def _times(pieces: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """(when the notes of each pitch begin, and then when they end, as shares of a span, float64 [M, 2 N]; spans [M]).

    The span lasts from the first onset to the last, or, where all notes begin together, as long as the longest note.
    Beginnings and endings are sorted separately, so that the order of notes that begin together does not matter.

    Args:
        pieces: pitch, onset and duration of each, [N], onsets rising.
    """
    times, spans = [], []
    for pitch, onset, duration in pieces:
        start, end = onset - onset[0], onset - onset[0] + duration
        span = float(start[-1]) or float(end.max()) or 1.0
        times.append(np.concatenate([side[np.lexsort((side, pitch))] for side in (start, end)]) / span)
        spans.append(span)
    return np.stack(times), np.array(spans)


def _alike(times: np.ndarray, spans: np.ndarray, index: int, tolerance: float) -> np.ndarray:
    """Which pieces have the times of the one at this index, bool [M]; times, spans: as `_times` gives them.

    Args:
        tolerance: in the unit of the spans.
    """
    allowed = tolerance / spans + tolerance / spans[index]
    return np.abs(times - times[index]).max(axis=1) <= allowed
