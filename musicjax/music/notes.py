"""Notes: what every other file of this package reads or writes.

Shape legend of musicjax.music: N notes, P pieces, C columns.
"""

from __future__ import annotations

import dataclasses

import numpy as np


class NoNotesError(Exception):
    """A file that gives no notes; `code` is short and stable, the text says what was found."""

    def __init__(self, code: str, text: str):
        super().__init__(text)
        self.code = code


@dataclasses.dataclass(frozen=True, eq=False)
class Notes:
    """N notes in order of onset; notes that start together keep the order of their source.

    Attributes:
        pitch: int16 [N], MIDI number 0..127 (60 = middle C).
        velocity: int16 [N], 1..127.
        onset: float64 [N], seconds since the start of the piece, never decreasing.
        duration: float64 [N], seconds.
        onset_beats: float64 [N], quarter notes since the start.
        duration_beats: float64 [N], quarter notes.
    """

    pitch: np.ndarray
    velocity: np.ndarray
    onset: np.ndarray
    duration: np.ndarray
    onset_beats: np.ndarray
    duration_beats: np.ndarray

    def __len__(self) -> int:
        return len(self.pitch)

    @property
    def seconds(self) -> float:
        """Time at which the last note ends, in seconds."""
        return float((self.onset + self.duration).max()) if len(self) else 0.0

    def to_array(self) -> np.ndarray:
        """All fields as one float64 [6, N], in the order of the attributes."""
        return np.stack([np.asarray(getattr(self, name), np.float64) for name in FIELDS])

    @staticmethod
    def from_array(fields: np.ndarray) -> Notes:
        """The inverse of `to_array`; fields: float64 [6, N]."""
        pitch, velocity, *times = np.asarray(fields, np.float64)
        return Notes(pitch.astype(np.int16), velocity.astype(np.int16), *times)

    def __getitem__(self, which: slice | np.ndarray) -> Notes:
        """The notes that a slice, mask [N] or index array selects."""
        return Notes(*(getattr(self, name)[which] for name in FIELDS))


FIELDS = tuple(field.name for field in dataclasses.fields(Notes))


def from_seconds(pitch, velocity, onset, duration, bpm: float = 120.0) -> Notes:
    """Notes from arrays [N] with times in seconds, at one tempo; sorted by onset, stably."""
    onset = np.asarray(onset, np.float64)
    order = np.argsort(onset, kind="stable")
    onset, duration = onset[order], np.asarray(duration, np.float64)[order]
    beats_per_second = bpm / 60.0
    return Notes(
        np.asarray(pitch, np.int16)[order],
        np.asarray(velocity, np.int16)[order],
        onset,
        duration,
        onset * beats_per_second,
        duration * beats_per_second,
    )


def from_beats(pitch, velocity, onset_beats, duration_beats, bpm: float = 120.0) -> Notes:
    """Notes from arrays [N] with times in quarter notes, at one tempo; sorted by onset, stably."""
    seconds_per_beat = 60.0 / bpm
    return from_seconds(
        pitch,
        velocity,
        np.asarray(onset_beats, np.float64) * seconds_per_beat,
        np.asarray(duration_beats, np.float64) * seconds_per_beat,
        bpm,
    )
