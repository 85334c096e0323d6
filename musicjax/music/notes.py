"""Notes: what every other file of this package reads or writes.

Shape legend of musicjax.music: N notes, P pieces, C columns.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from musicjax import arguments
from musicjax.errors import UsageError
from musicjax.music import bar_position, change_tables

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from musicjax.report.notebook import Shown

# Of each column: its type, the lowest number in it, the first that is too high, and its range in words.
_MIDI: np.dtype = np.dtype(np.int16)
_TIME: np.dtype = np.dtype(np.float64)
_TIMES = (_TIME, 0, np.inf, "0 or more, and finite")
_RULES: dict[str, tuple[np.dtype, int, float, str]] = {
    "pitch": (_MIDI, 0, 128, "0..127"),
    "velocity": (_MIDI, 1, 128, "1..127"),
    "onset": _TIMES,
    "duration": _TIMES,
    "onset_beats": _TIMES,
    "duration_beats": _TIMES,
    "program": (_MIDI, 0, 129, "0..128"),
}
_TYPES = tuple(kind for kind, *_ in _RULES.values())
# Tempos that a MIDI file can state, in quarter notes a minute.
SLOWEST_BPM, FASTEST_BPM = 4, 60_000_000


class NoNotesError(Exception):
    """A file that gives no notes; `code` is short and stable, the text says what was found."""

    def __init__(self, code: str, text: str):
        super().__init__(text)
        self.code = code


FIELDS = ("pitch", "velocity", "onset", "duration", "onset_beats", "duration_beats")
COLUMNS = (*FIELDS, "program")  # all that have an entry for each note
DRUMS = 128  # the program of notes on MIDI's percussion channel, whose pitches are drums
NEGLIGIBLE_BEATS = 1e-6
MIDI_SUFFIXES = (".mid", ".midi")  # of the files that `Notes.write` writes
DEFAULT_BPM = 120.0  # quarter notes a minute, until a file says otherwise (MIDI 1.0)


def one_tempo(bpm: float = DEFAULT_BPM) -> np.ndarray:
    """`Notes.tempos` of music at one tempo, quarter notes a minute."""
    return np.array([[0.0, bpm]])


def one_meter(numerator: int = 4, denominator: int = 4) -> np.ndarray:
    """`Notes.meters` of music in one meter, whose first bar begins on beat 0."""
    return np.array([[0.0, numerator, denominator]])


def no_keys() -> np.ndarray:
    """`Notes.keys` of music whose keys are not known."""
    return np.zeros((0, 3))


@dataclasses.dataclass(frozen=True, eq=False, init=False)
class Notes:
    """N notes in order of onset; notes that start together keep the order of their source.

    Arrays of the types below are taken as they are, so that internal code pays nothing. Lists, and arrays of other
    types, are converted and checked; functions that get notes from a user call `check`.

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
        program: int16 [N], the instrument of each note: General MIDI program 0..127, or DRUMS. If not given, 0, piano.
        keys: float64 [S, 3], the beat from which a key holds, its tonic as a pitch class 0..11, and the index of its
            mode in `change_tables.MODES`; by beat. Empty where the keys are not known.

    Raises:
        UsageError: what had to be converted is not what `check` expects.
    """

    pitch: np.ndarray
    velocity: np.ndarray
    onset: np.ndarray
    duration: np.ndarray
    onset_beats: np.ndarray
    duration_beats: np.ndarray
    tempos: np.ndarray
    meters: np.ndarray
    program: np.ndarray
    keys: np.ndarray

    def __init__(
        self,
        pitch: ArrayLike,
        velocity: ArrayLike,
        onset: ArrayLike,
        duration: ArrayLike,
        onset_beats: ArrayLike,
        duration_beats: ArrayLike,
        tempos: ArrayLike | None = None,
        meters: ArrayLike | None = None,
        program: ArrayLike | None = None,
        keys: ArrayLike | None = None,
    ):
        if program is None:
            program = np.zeros(_length(pitch), np.int16)
        columns = (pitch, velocity, onset, duration, onset_beats, duration_beats, program)
        given: dict[str, Any] = dict(zip(COLUMNS, columns, strict=True))
        is_ready = all(type(own) is np.ndarray and own.dtype == kind for own, kind in zip(columns, _TYPES, strict=True))
        for name, column in (given if is_ready else _columns(given, "Notes.")).items():
            object.__setattr__(self, name, column)
        if not is_ready:
            _require_order(self, "Notes")
        tables = {
            "tempos": one_tempo() if tempos is None else tempos,
            "meters": one_meter() if meters is None else meters,
            "keys": no_keys() if keys is None else keys,
        }
        for name, table in tables.items():
            is_ready = type(table) is np.ndarray and table.dtype == _TIME
            object.__setattr__(self, name, table if is_ready else change_tables.checked(name, table, "Notes"))

    def __len__(self) -> int:
        return len(self.pitch)

    @property
    def seconds(self) -> float:
        """Time at which the last note ends, in seconds."""
        return float((self.onset + self.duration).max()) if len(self) else 0.0

    @property
    def bpm(self) -> float:
        """The median tempo over the beats from the first onset to the last, quarter notes a minute.

        So a silent count-in does not count.
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
        """These notes as a continuation of `before` from this beat on; beats count from its last bar line up to there.

        They take over the meter that `before` has there and, unless they have keys of their own, its key.
        """
        beat += NEGLIGIBLE_BEATS  # a beat just below a bar line is one
        which = bar_position.segments(np.array([beat]), before.meters)
        ((start, numerator, denominator),) = before.meters[which].tolist()
        beats = max((beat - start) % float(bar_position.beats_per_bar(before.meters[which])[0]) - NEGLIGIBLE_BEATS, 0.0)
        return dataclasses.replace(
            self,
            onset=self.onset + beats * 60 / self.tempos[0, 1],
            onset_beats=self.onset_beats + beats,
            meters=one_meter(int(numerator), int(denominator)),
            keys=self.keys + np.array([beats, 0, 0]) if len(self.keys) else before.key_at(beat),
        )

    def key_at(self, beat: float) -> np.ndarray:
        """The key that holds at a beat, as the one row of a table that begins at beat 0, [1, 3]; [0, 3] if unknown."""
        which = max(int(np.searchsorted(self.keys[:, 0], beat, side="right")) - 1, 0)
        return self.keys[which : which + 1] * np.array([0, 1, 1])

    def to_array(self) -> np.ndarray:
        """The arrays of notes as one float64 [6, N], in the order of FIELDS, without instruments and tables."""
        return np.stack([np.asarray(getattr(self, name), np.float64) for name in FIELDS])

    @staticmethod
    def from_array(fields: np.ndarray) -> Notes:
        """The inverse of `to_array`; fields: float64 [6, N]. Raises UsageError if they are not notes."""
        if np.shape(fields)[:1] != (len(FIELDS),):
            raise UsageError(f"fields of shape {list(np.shape(fields))}: expected [{len(FIELDS)}, notes]")
        return Notes(*fields)

    def write(
        self,
        path: str | os.PathLike,
        *,
        bpm: float | None = None,
        ticks_per_beat: int = 480,
        program: int | None = None,
        state_meter: bool = True,
        end_beat: float = 0.0,
    ) -> int:
        """Writes the notes as a MIDI file, as `musicjax.write_midi` does, and returns how many it left out.

        Args:
            path: the file to write, .mid or .midi.
            program: General MIDI program 0..127 for all notes but drums; None: their own.
            bpm, ticks_per_beat, state_meter, end_beat: as in `write_midi`.

        Raises:
            UsageError: the name ends otherwise, or notes or an argument are not what MIDI has numbers for.
            OSError: the file cannot be written.
        """
        from musicjax.music import midi  # which imports this file

        suffixes = " or ".join(MIDI_SUFFIXES)
        path = arguments.path_of("path", path, f"the MIDI file to write, {suffixes}")
        if path.suffix.lower() not in MIDI_SUFFIXES:
            raise UsageError(f"path={str(path)!r}: expected a name that ends in {suffixes}")
        return midi.write(
            self,
            path,
            bpm=bpm,
            ticks_per_beat=ticks_per_beat,
            programs=() if program is None else [program],
            state_meter=state_meter,
            end_beat=end_beat,
        )

    def play(self) -> Shown:
        """The piece as a notebook shows it: its piano roll, and a player. Raises UsageError if these are no notes."""
        from musicjax.report.notebook import show  # the one import that runs up, see tests/test_architecture.py

        return show(self)

    def _repr_html_(self) -> str:
        return self.play()._repr_html_()

    def __getitem__(self, which: slice | np.ndarray) -> Notes:
        """The notes that a slice, mask [N] or index array selects, at their old places in time."""
        return dataclasses.replace(self, **{name: getattr(self, name)[which] for name in COLUMNS})


def check(notes: Notes, name: str = "Notes") -> None:
    """Raises UsageError unless these are notes that music can hold; for notes that come from a user.

    That is: columns of one length; pitches in 0..127, velocities in 1..127, programs in 0..128; times that are finite
    and not below 0; onsets that never decrease; tempos, meters and keys that there are, by beat.

    Args:
        name: what the message calls the notes.
    """
    _columns({field: getattr(notes, field) for field in COLUMNS}, f"{name}.")
    _require_order(notes, name)
    for table in change_tables.NAMES:
        change_tables.checked(table, getattr(notes, table), name)


def from_seconds(pitch, velocity, onset, duration, bpm: float = DEFAULT_BPM) -> Notes:
    """Notes from arrays [N] with times in seconds, at one tempo; sorted by onset, stably.

    Raises:
        UsageError: a column or the tempo is not what `check` expects.
    """
    arguments.require_number("bpm", bpm, float, SLOWEST_BPM, FASTEST_BPM)
    columns = _columns({"pitch": pitch, "velocity": velocity, "onset": onset, "duration": duration})
    order = np.argsort(columns["onset"], kind="stable")
    pitch, velocity, onset, duration = (column[order] for column in columns.values())
    beats_per_second = bpm / 60.0
    beats = onset * beats_per_second, duration * beats_per_second
    return Notes(pitch, velocity, onset, duration, *beats, one_tempo(bpm))


def from_beats(pitch, velocity, onset_beats, duration_beats, bpm: float = DEFAULT_BPM) -> Notes:
    """Notes from arrays [N] with times in quarter notes, at one tempo; sorted by onset, stably.

    Raises:
        UsageError: a column or the tempo is not what `check` expects.
    """
    arguments.require_number("bpm", bpm, float, SLOWEST_BPM, FASTEST_BPM)
    columns = _columns(
        {"pitch": pitch, "velocity": velocity, "onset_beats": onset_beats, "duration_beats": duration_beats}
    )
    seconds_per_beat = 60.0 / bpm
    onset, duration = columns["onset_beats"] * seconds_per_beat, columns["duration_beats"] * seconds_per_beat
    return from_seconds(columns["pitch"], columns["velocity"], onset, duration, bpm)


def _columns(given: Mapping[str, Any], owner: str = "") -> dict[str, np.ndarray]:
    """The columns in their types; raises UsageError, which names the column and the entry, if one cannot be had."""
    columns = {name: _column(name, values, owner) for name, values in given.items()}
    first, *others = columns
    for name in others:
        if len(columns[name]) != len(columns[first]):
            raise UsageError(
                f"{owner}{name} has length {len(columns[name])}, {owner}{first} {len(columns[first])}: expected one "
                "entry for each note"
            )
    return columns


def _column(name: str, values: Any, owner: str) -> np.ndarray:
    kind, low, too_high, meant = _RULES[name]
    expected = f"one number for each note, {meant}"
    try:
        column = np.asarray(values)
    except (ValueError, TypeError) as error:  # such as lists of several lengths
        raise arguments.wrong(f"{owner}{name}", values, expected) from error
    if column.ndim != 1 or (column.dtype.kind not in "iuf" and len(column)):
        raise arguments.wrong(f"{owner}{name}", values, expected)
    fits = (column >= low) & (column < too_high)  # nan is neither
    if kind == _MIDI and column.dtype.kind == "f":
        fits &= column == np.rint(column)
        meant = f"a whole number in {meant}"
    if not fits.all():
        index = int(np.argmin(fits))
        raise UsageError(f"{owner}{name}[{index}]={column[index]}: expected {meant}")
    return column.astype(kind, copy=False)


def _length(column: Any) -> int:
    """The entries of a column; 0 of what is none, which is refused later."""
    try:
        return len(column)
    except TypeError:
        return 0


def _require_order(notes: Notes, name: str) -> None:
    """Raises UsageError if an onset lies before the one before it."""
    for field in ("onset", "onset_beats"):
        onset = getattr(notes, field)
        earlier = np.flatnonzero(onset[1:] < onset[:-1])
        if len(earlier):
            index = int(earlier[0]) + 1
            raise UsageError(
                f"{name}.{field}[{index}]={onset[index]} comes after {onset[index - 1]}: expected onsets that never "
                "decrease; sort the notes"
            )
