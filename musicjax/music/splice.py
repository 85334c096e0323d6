"""Pieces taken apart at bar lines and put together again. What is kept of a piece stays as it is, to the last bit.

Shape legend: N notes, B bars, T tempos.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from musicjax.music import bar_position, tempo_map
from musicjax.music.notes import COLUMNS, NEGLIGIBLE_BEATS, Notes

# Times in bars that are alike differ by less than this share of a quarter note.
ALIKE_BEATS = 1 / 96
# Ticks a quarter note that files have, the one of musicjax first; and how far from a tick a time on it may be.
RESOLUTIONS, NEGLIGIBLE_TICKS = (480, 960, 384, 192, 1024, 768, 220, 256, 240, 120, 96, 100, 1920, 10080), 1e-3


def bar_lines(piece: Notes) -> np.ndarray:
    """The beats at which bars begin, and at which the last one ends, float64 [B + 1].

    The first bar is the one that contains beat 0, so an upbeat is a bar of its own; the last is the one in which the
    last note begins. A meter that begins within a bar ends it.
    """
    last = float(piece.onset_beats[-1]) if len(piece) else 0.0
    return bar_position.lines(piece.meters, last)


def begin_in(piece: Notes, begin: float, end: float) -> np.ndarray:
    """Which notes begin from one beat up to another, bool [N]."""
    onset = piece.onset_beats + NEGLIGIBLE_BEATS  # a beat just below a bar line is one
    return (onset >= begin) & (onset < end)


def ticks_per_beat(piece: Notes) -> int:
    """The resolution at which a file holds the times of a piece without rounding; that of musicjax if none does."""
    times = np.concatenate([piece.onset_beats, piece.onset_beats + piece.duration_beats])

    def holds(ticks: int) -> bool:
        return bool((np.abs(times * ticks - np.rint(times * ticks)) < NEGLIGIBLE_TICKS).all())

    return next(filter(holds, RESOLUTIONS), RESOLUTIONS[0])


def seconds_at(beats: np.ndarray, tempos: np.ndarray) -> np.ndarray:
    """Beats [N], none below 0, as seconds since beat 0 under `Notes.tempos`, float64 [N]."""
    paces = [(max(beat, 0.0), 60 / bpm) for beat, bpm in tempos.tolist()]
    paces[0] = (0.0, paces[0][1])
    return tempo_map.seconds_at(beats, paces)


def from_beat(piece: Notes, beat: float) -> Notes:
    """The piece with this beat, before which no note begins, as its beat 0; tempos, meters and keys from there on."""

    def onwards(changes: np.ndarray) -> np.ndarray:
        held = max(int((changes[:, 0] <= beat + NEGLIGIBLE_BEATS).sum()) - 1, 0)
        return np.concatenate([changes[held:, :1] - beat, changes[held:, 1:]], axis=1)

    return dataclasses.replace(
        piece,
        onset=np.maximum(piece.onset - seconds_at(np.array([beat]), piece.tempos), 0.0),
        onset_beats=np.maximum(piece.onset_beats - beat, 0.0),
        tempos=onwards(piece.tempos),
        meters=onwards(piece.meters),
        keys=onwards(piece.keys),
    )


def together(piece: Notes, new: Notes) -> Notes:
    """A piece with more notes, whose beats count and whose seconds do not; all else is as in the piece.

    A new note comes after those that begin with it, and is left out if the piece sounds its pitch on its instrument
    then: no file could tell which of the two ends first.
    """
    seconds = seconds_at(new.onset_beats, piece.tempos)
    duration = seconds_at(new.onset_beats + new.duration_beats, piece.tempos) - seconds
    place = np.searchsorted(piece.onset_beats, new.onset_beats, side="right")
    # Where a file's seconds do not follow from its tempos, they still never decrease.
    seconds = np.clip(seconds, np.append(0.0, piece.onset)[place], np.append(piece.onset, np.inf)[place])
    new = dataclasses.replace(new, onset=np.maximum.accumulate(seconds), duration=duration)
    sounds = _sounds(piece, new)
    new, place = new[~sounds], place[~sounds]
    columns = {name: np.insert(getattr(piece, name), place, getattr(new, name)) for name in COLUMNS}
    return dataclasses.replace(piece, **columns)


def _sounds(piece: Notes, new: Notes) -> np.ndarray:
    """Whether the piece sounds the pitch of each new note when it begins, bool [N]."""
    end = piece.onset_beats + piece.duration_beats
    found = np.zeros(len(new), bool)
    for number, (pitch, program, beat) in enumerate(zip(new.pitch, new.program, new.onset_beats, strict=True)):
        at_once = (piece.onset_beats <= beat + NEGLIGIBLE_BEATS) & (end > beat + NEGLIGIBLE_BEATS)
        found[number] = bool((at_once & (piece.pitch == pitch) & (piece.program == program)).any())
    return found


def alike(piece: Notes, lines: np.ndarray) -> np.ndarray:
    """For each bar the number of the first that has the same notes, int64 [B]; velocities do not count.

    Bars in which no note begins are like no other.
    """
    columns = np.stack([piece.pitch, piece.program, np.rint(piece.duration_beats / ALIKE_BEATS)])
    first: dict[tuple[bytes | int, ...], int] = {}
    found = []
    for bar in range(len(lines) - 1):
        inside = begin_in(piece, lines[bar], lines[bar + 1])
        step = np.rint((piece.onset_beats[inside] - lines[bar]) / ALIKE_BEATS)
        rows = np.vstack([step, columns[:, inside]]).astype(np.int64)
        length = round((lines[bar + 1] - lines[bar]) / ALIKE_BEATS)
        said = (length, rows[:, np.lexsort(rows)].tobytes()) if inside.any() else (bar,)
        found.append(first.setdefault(said, bar))
    return np.array(found, np.int64)


def copied(piece: Notes, lines: np.ndarray, sources: Sequence[tuple[int, int]]) -> Notes:
    """The piece with some bars replaced by copies of others; sources: (bar, the bar it becomes a copy of), in order."""
    runs: list[list[tuple[int, int]]] = []
    for bar, source in sources:
        if runs and runs[-1][-1] == (bar - 1, source - 1):
            runs[-1].append((bar, source))
        else:
            runs.append([(bar, source)])
    for run in runs:
        (bar, source), (last, last_source) = run[0], run[-1]
        new = piece[begin_in(piece, lines[source], lines[last_source + 1])]
        onset = np.maximum(new.onset_beats - lines[source], 0.0) + lines[bar]
        duration = np.minimum(new.duration_beats, lines[last + 1] - onset)
        new = dataclasses.replace(new, onset_beats=onset, duration_beats=duration)
        piece = together(piece[~begin_in(piece, lines[bar], lines[last + 1])], new)
    return piece
