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


FIELDS = ("pitch", "velocity", "onset", "duration", "onset_beats", "duration_beats")
DEFAULT_BPM = 120.0  # quarter notes a minute, until a file says otherwise (MIDI 1.0)


def one_tempo(bpm: float = DEFAULT_BPM) -> np.ndarray:
    """`Notes.tempos` of music at one tempo, quarter notes a minute."""
    return np.array([[0.0, bpm]])


def one_meter(numerator: int = 4, denominator: int = 4) -> np.ndarray:
    """`Notes.meters` of music in one meter, whose first bar begins on beat 0."""
    return np.array([[0.0, numerator, denominator]])


@dataclasses.dataclass(frozen=True, eq=False)
class Notes:
    """N notes in order of onset; notes that start together keep the order of their source.

    Attributes:
        pitch: int16 [N], MIDI number 0..127 (60 = middle C).
        velocity: int16 [N], 1..127.
        onset: float64 [N], seconds since beat 0 of the piece, never decreasing.
        duration: float64 [N], seconds.
        onset_beats: float64 [N], quarter notes since beat 0.
        duration_beats: float64 [N], quarter notes.
        tempos: float64 [T, 2], the beat from which a tempo holds, and the tempo in quarter notes a minute; by beat.
        meters: float64 [M, 3], the beat of a bar line from which a meter holds, its numerator and denominator; by
            beat. Bars before the first one are as long as those after it.
    """

    pitch: np.ndarray
    velocity: np.ndarray
    onset: np.ndarray
    duration: np.ndarray
    onset_beats: np.ndarray
    duration_beats: np.ndarray
    tempos: np.ndarray = dataclasses.field(default_factory=one_tempo)
    meters: np.ndarray = dataclasses.field(default_factory=one_meter)

    def __len__(self) -> int:
        return len(self.pitch)

    @property
    def seconds(self) -> float:
        """Time at which the last note ends, in seconds."""
        return float((self.onset + self.duration).max()) if len(self) else 0.0

    @property
    def bpm(self) -> float:
        """The tempo that at least half of the music is as fast as, quarter notes a minute.

        Only the time between the first and the last onset counts, so that a silent count-in does not.
        """
        if not len(self):
            return DEFAULT_BPM
        first, last = float(self.onset_beats[0]), float(self.onset_beats[-1])
        begins = np.clip(self.tempos[:, 0], first, last)
        beats = np.diff(np.append(begins, last))
        if not beats.sum():
            place = int(np.searchsorted(self.tempos[:, 0], first, side="right"))
            return float(self.tempos[max(place - 1, 0), 1])
        order = np.argsort(self.tempos[:, 1], kind="stable")
        share = np.cumsum(beats[order])
        return float(self.tempos[order[np.searchsorted(share, share[-1] / 2)], 1])

    def after_beat(self, beat: float, before: Notes) -> Notes:
        """These notes, which count from a beat of the music before them, counted from the last bar line before that.

        They get the meter that holds there. Nothing else is kept of `before`.
        """
        which = max(int(np.searchsorted(before.meters[:, 0], beat, side="right")) - 1, 0)
        start, numerator, denominator = before.meters[which].tolist()
        beats = (beat - start) % (numerator * 4 / denominator)
        return dataclasses.replace(
            self,
            onset=self.onset + beats * 60 / self.tempos[0, 1],
            onset_beats=self.onset_beats + beats,
            meters=one_meter(int(numerator), int(denominator)),
        )

    def to_array(self) -> np.ndarray:
        """The arrays of notes as one float64 [6, N], in the order of FIELDS, without tempos and meters."""
        return np.stack([np.asarray(getattr(self, name), np.float64) for name in FIELDS])

    @staticmethod
    def from_array(fields: np.ndarray) -> Notes:
        """The inverse of `to_array`; fields: float64 [6, N]."""
        pitch, velocity, *times = np.asarray(fields, np.float64)
        return Notes(pitch.astype(np.int16), velocity.astype(np.int16), *times)

    def __getitem__(self, which: slice | np.ndarray) -> Notes:
        """The notes that a slice, mask [N] or index array selects, at their old places in time."""
        return dataclasses.replace(self, **{name: getattr(self, name)[which] for name in FIELDS})


def from_seconds(pitch, velocity, onset, duration, bpm: float = DEFAULT_BPM) -> Notes:
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
        one_tempo(bpm),
    )


def from_beats(pitch, velocity, onset_beats, duration_beats, bpm: float = DEFAULT_BPM) -> Notes:
    """Notes from arrays [N] with times in quarter notes, at one tempo; sorted by onset, stably."""
    seconds_per_beat = 60.0 / bpm
    return from_seconds(
        pitch,
        velocity,
        np.asarray(onset_beats, np.float64) * seconds_per_beat,
        np.asarray(duration_beats, np.float64) * seconds_per_beat,
        bpm,
    )
