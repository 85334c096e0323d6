"""Notes <-> Note Matrix: rows (pitch, velocity, interval[, duration]), each scaled to 0..1.

The paper's representation (section IV.B) with the constants of its authors' code: (pitch - 24) / 88,
velocity / 127, interval / longest interval. The interval of a note is the time in seconds since the
onset before it, of the first note since the start of the piece.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from musicjax.music.notes import DEFAULT_BPM, Notes, from_seconds

COLUMNS = ("pitch", "velocity", "interval", "duration")
PITCH_LOW, PITCH_SPAN = 24.0, 88.0
VELOCITY_SPAN = 127.0
# Without a duration column a note lasts until the next later onset, within these bounds (seconds).
SHORTEST_SECONDS, LONGEST_SECONDS = 0.05, 2.0


@dataclasses.dataclass(frozen=True)
class Scaling:
    """What turns units into rows and back, and the range that the training rows span.

    Attributes:
        shift, span: C values each; row = (value - shift) / span, value in MIDI numbers or seconds.
        low, high: C values each, smallest and largest row value in the training data.
    """

    shift: tuple[float, ...]
    span: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the C columns."""
        return COLUMNS[: len(self.span)]


def values(notes: Notes, columns: int) -> np.ndarray:
    """Unscaled rows, float64 [N, C]: pitch, velocity, interval in seconds[, duration in seconds]."""
    interval = np.diff(notes.onset, prepend=0.0)
    return np.stack([notes.pitch, notes.velocity, interval, notes.duration][:columns], axis=1).astype(np.float64)


def fit(unscaled: np.ndarray) -> Scaling:
    """Scaling constants from unscaled training rows, float64 [N, C]."""
    columns = unscaled.shape[1]
    # A corpus in which everything sounds at once has no longest interval; 1 s keeps its rows at 0.
    longest = [float(seconds) if seconds > 0 else 1.0 for seconds in unscaled[:, 2:].max(axis=0)]
    shift = (PITCH_LOW, 0.0, 0.0, 0.0)[:columns]
    span = (PITCH_SPAN, VELOCITY_SPAN, *longest)
    rows = ((unscaled - shift) / span).astype(np.float32)
    return Scaling(shift, span, tuple(rows.min(axis=0).tolist()), tuple(rows.max(axis=0).tolist()))


def encode(notes: Notes, scaling: Scaling) -> np.ndarray:
    """Notes as rows, float32 [N, C]."""
    return ((values(notes, len(scaling.span)) - scaling.shift) / scaling.span).astype(np.float32)


def decode(rows: np.ndarray, scaling: Scaling, bpm: float = DEFAULT_BPM) -> Notes:
    """Rows, float [N, C], as Notes: pitch and velocity to the nearest number that MIDI has.

    The inverse of `encode`: pitch and velocity exactly, times to 0.1 ms, so exactly on any coarser
    grid such as a MIDI file's ticks. Where the rows have no duration column, a note lasts until the next
    later onset, at least 0.05 s and at most 2 s; the notes that start last take the 2 s.
    """
    unscaled = np.asarray(rows, np.float64) * scaling.span + scaling.shift
    pitch = np.clip(np.rint(unscaled[:, 0]), 0, 127)
    velocity = np.clip(np.rint(unscaled[:, 1]), 1, 127)
    onset = np.cumsum(np.maximum(unscaled[:, 2], 0.0))
    has_duration = unscaled.shape[1] == len(COLUMNS)
    duration = np.maximum(unscaled[:, 3], 0.0) if has_duration else durations_until_next_onset(onset)
    return from_seconds(pitch, velocity, onset, duration, bpm)


def durations_until_next_onset(onset: np.ndarray) -> np.ndarray:
    """float64 [N] seconds from each of the sorted onsets [N] to the next later one, within the bounds."""
    following = np.searchsorted(onset, onset, side="right")
    gap = np.append(onset, np.inf)[following] - onset
    return np.clip(gap, SHORTEST_SECONDS, LONGEST_SECONDS)
