"""How much music resembles other music, in what a listener notices: its scale, its chords, its repeats, its end.

The melody is the top line: of the notes that begin together the highest, unless a higher one still sounds. Notes begin
together if they fall on the same of 24 steps of a quarter note. Drums have no pitch and count nowhere.

Shape legend: N notes, M melody notes, G runs of melody notes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from musicjax.music import copies, keys, metrics, scales, splice
from musicjax.music.copies import Known
from musicjax.music.notes import DRUMS, Notes

STEPS_PER_BEAT = 24
PITCHES = 128
GRAM_NOTES = 6
MEASURES = ("scale", "in_chord", "repeats", "ending", "at_bar_line")
# CHORD_CLASSES pitch classes below a melody note are a chord.
CHORD_CLASSES = 2
# Third and fifth above the tonic, in semitones, by the modes of `keys.MODES`.
THIRDS, FIFTH = (4, 3, 3, 4), 7
# The number of minor among `keys.MODES`, and its raised seventh, which belongs to the key as well.
MINOR, LEADING_NOTE = 1, 11
# The difference of two means at which music is no longer alike at all.
TOLERANCE = {"scale": 0.1, "in_chord": 0.3, "repeats": 0.4, "ending": 0.5}
# The least spread assumed among real pieces; and the squared difference if a piece lacks a measure of a real one.
LEAST_SPREAD, MISSING = 0.02, 9.0
# Of the training pieces, one in ONE_IN sets the standard; it is searched for copies of at most MOST_OTHERS others.
ONE_IN, MOST_OTHERS = 5, 200
# A shorter run that a piece shares with others is no copy.
SHORTEST_COPY_NOTES = 8


def melody(notes: Notes) -> tuple[np.ndarray, np.ndarray]:
    """(pitches of the melody, int64 [M], by onset; which pitch classes sound below each as it begins, bool [M, 12])."""
    pitched = notes.program != DRUMS
    pitch = notes.pitch[pitched].astype(np.int64)
    begin, end = (
        np.round(beats[pitched] * STEPS_PER_BEAT).astype(np.int64)
        for beats in (notes.onset_beats, notes.onset_beats + notes.duration_beats)
    )
    until = np.zeros(PITCHES, np.int64)  # the step at which the last note of each pitch ends
    top: list[int] = []
    below: list[np.ndarray] = []
    steps, first = np.unique(begin, return_index=True)
    last = np.append(first[1:], len(begin))[: len(first)]
    for step, start, stop in zip(steps.tolist(), first.tolist(), last.tolist(), strict=True):
        np.maximum.at(until, pitch[start:stop], np.maximum(end[start:stop], step + 1))
        sounding = np.flatnonzero(until > step)
        if sounding[-1] == pitch[start:stop].max():
            top.append(int(sounding[-1]))
            below.append(np.bincount(sounding[:-1] % 12, minlength=12) > 0)
    return np.array(top, np.int64), np.array(below, bool).reshape(-1, 12)


class Key(NamedTuple):
    """A key that was asked for. tonic: pitch class; mode: a number of `keys.MODES`; steps: of its scale, above the
    tonic."""

    tonic: int
    mode: int
    steps: tuple[int, ...]


def key_of(text: str, scale: str = "") -> Key | None:
    """The key of a text such as "Dm", in its own scale or one of `scales.SCALES`; None without a text."""
    if not text:
        return None
    tonic, mode = keys.key_of(text)
    own = scales.SCALES[keys.MODES[mode]] + ((LEADING_NOTE,) if mode == MINOR else ())
    return Key(tonic, mode, scales.SCALES[scale] if scale else own)


def scale_share(notes: Notes, key: Key | None = None) -> float:
    """The share of the notes in the scale of a key, 0..1; nan without pitched notes.

    Without a key, the scale is the major or minor one that has most of the notes.
    """
    pitch = notes.pitch[notes.program != DRUMS]
    if not len(pitch):
        return np.nan
    return (
        metrics.scale_consistency(pitch) if key is None else float(np.isin((pitch - key.tonic) % 12, key.steps).mean())
    )


def in_chord_share(pitch: np.ndarray, below: np.ndarray) -> float:
    """The share of melody notes above a chord that belong to it, 0..1, from what `melody` gives; nan without chords."""
    chords = below.sum(axis=1) >= CHORD_CLASSES
    return float(below[chords, pitch[chords] % 12].mean()) if chords.any() else np.nan


def repeats_share(pitch: np.ndarray) -> float:
    """The share of runs of GRAM_NOTES melody pitches, int [M], that come more than once, 0..1; nan without runs."""
    if len(pitch) < GRAM_NOTES:
        return np.nan
    grams = np.lib.stride_tricks.sliding_window_view(pitch, GRAM_NOTES)
    counts = np.unique(grams, axis=0, return_counts=True)[1]
    return float(counts[counts > 1].sum() / len(grams))


def ends_on_tonic(notes: Notes, key: Key | None = None) -> float:
    """1 if the highest of the notes that begin last belongs to the tonic triad, else 0; nan where there is no key.

    Args:
        key: the key asked for; without one, the key found counts.
    """
    found = keys.of(notes)
    if not len(found):
        return np.nan
    tonic, mode = found[-1, 1:].astype(int).tolist() if key is None else key[:2]
    pitched = notes.program != DRUMS
    onset = np.round(notes.onset_beats[pitched] * STEPS_PER_BEAT)
    highest = int(notes.pitch[pitched][onset == onset.max()].max())
    return float((highest - tonic) % 12 in (0, THIRDS[mode], FIFTH))


def piled_share(notes: Notes) -> float:
    """The share of the notes with the onset, pitch and instrument of an earlier one, 0..1; real music has few."""
    rows = np.stack([np.round(notes.onset_beats * STEPS_PER_BEAT), notes.pitch, notes.program])
    return 1 - np.unique(rows, axis=1).shape[1] / max(len(notes), 1) if len(notes) else 0.0


def ends_at_bar_line(notes: Notes) -> float:
    """1 if the last sound ends at a bar line, within a step, else 0; nan without notes."""
    if not len(notes):
        return np.nan
    end = float((notes.onset_beats + notes.duration_beats).max())
    return float(np.abs(splice.bar_lines(notes) - end).min() <= 1 / STEPS_PER_BEAT)


def of_piece(notes: Notes, key: Key | None = None) -> dict[str, float]:
    """The MEASURES of a piece, 0..1 each; nan where it has nothing to measure.

    Args:
        key: the key asked for; without one, scale and ending are those of the key found.
    """
    pitch, below = melody(notes)
    return {
        "scale": scale_share(notes, key),
        "in_chord": in_chord_share(pitch, below),
        "repeats": repeats_share(pitch),
        "ending": ends_on_tonic(notes, key),
        "at_bar_line": ends_at_bar_line(notes),
    }


def nearest(pieces: Sequence[Notes], like: np.ndarray, spread: Sequence[float], key: Key | None = None) -> int:
    """Which piece is most like one that has such MEASURES, by the squares of their differences.

    Args:
        like: the measures [M]; a nan is not compared.
        spread: by how much each measure differs among real pieces.
        key: the key asked for, if any. All notes should be in its scale, whatever the real piece does.
    """
    found = np.array([list(of_piece(piece, key).values()) for piece in pieces])
    piled = np.array([piled_share(piece) for piece in pieces])
    asked = np.array([key is not None and name == "scale" for name in MEASURES])
    like, unit = np.where(asked, 1.0, like), np.maximum(np.where(asked, 0.0, spread), LEAST_SPREAD)
    off = ((found - like) / unit) ** 2
    off = np.where(np.isnan(like), 0.0, np.where(np.isnan(found), MISSING, off))
    return int((off.sum(axis=1) + (piled / LEAST_SPREAD) ** 2).argmin())


def means(pieces: Sequence[Notes]) -> dict[str, float]:
    """The mean of each measure over the pieces that have it; nan where none has."""
    found = [of_piece(piece) for piece in pieces]
    several = {name: [one[name] for one in found if not np.isnan(one[name])] for name in MEASURES}
    return {name: float(np.mean(values)) if values else np.nan for name, values in several.items()}


@dataclasses.dataclass(frozen=True, eq=False)
class Standard:
    """Real pieces that others are compared with.

    Attributes:
        metrics: of each piece, see `metrics.of_piece`.
        means: see `means`.
        known: the pieces that may not be copied.
        longest_copy: the most notes in a row that a real piece shares with other real ones.
        notes: pieces are compared by their first `notes` notes, since most measures depend on the length.
        is_whole: whether pieces are compared from beginning to end instead, and `notes` is their median length.
    """

    metrics: list[Mapping[str, float]]
    means: Mapping[str, float]
    known: Known
    longest_copy: int
    notes: int
    is_whole: bool = False


def standard(real: Sequence[Notes], known: Known, most_notes: int) -> Standard:
    """The standard that some real pieces set; they are compared by their median length, `most_notes` at most."""
    notes = min(int(np.median([len(piece) for piece in real])), most_notes)
    cut = [piece[:notes] for piece in real]
    longest = max(copies.longest(piece, known).length for piece in cut)
    return Standard([metrics.of_piece(piece) for piece in cut], means(cut), known, longest, notes)


def standard_of_training(pieces: Sequence[Notes], known: Known, whole_notes: int, cut_notes: int) -> Standard:
    """The standard that training pieces set, where those held out must not be looked at.

    One in ONE_IN of them sets it, and all of them, up to MOST_OTHERS, set the means. What that part shares with the
    others is no copy.

    Args:
        known: all training pieces.
        whole_notes: pieces are compared whole unless most of them have more notes.
        cut_notes: the most notes that are compared where they are not whole.
    """
    real = list(pieces[::ONE_IN])
    others = [piece for place, piece in enumerate(pieces) if place % ONE_IN][:MOST_OTHERS]
    among = copies.index(others, ("",) * len(others))
    notes = int(np.median([len(piece) for piece in real]))
    is_whole = notes <= whole_notes
    measured = [*real, *others]
    if not is_whole:
        notes = min(notes, cut_notes)
        real, measured = ([piece[:notes] for piece in several] for several in (real, measured))
    shared = [(copies.longest(piece, among).length, len(piece)) for piece in real]
    longest = max((length for length, whole in shared if length < whole), default=0)  # a duplicate tells nothing
    return Standard([metrics.of_piece(piece) for piece in real], means(measured), known, longest, notes, is_whole)


def score(pieces: Sequence[Notes], by: Standard) -> dict[str, float]:
    """How alike some pieces are to real ones, 0..1 each, and their plain mean, "score"; 1 is best.

    - overlap: the mean overlap area of their metrics, see `metrics.compare`.
    - scale, in_chord, repeats and, if pieces are whole, ending: 1 - |difference of the means| / TOLERANCE; 0 where
      only the real pieces have the measure, and left out where they lack it.
    - own: 1 unless pieces copy. A run as long as the longest that a real piece shares with the known ones is no copy;
      twice that is one altogether.

    All are 0 if no piece has notes.
    """
    cut = [piece if by.is_whole else piece[: by.notes] for piece in pieces if len(piece)]
    compared = [name for name in TOLERANCE if by.is_whole or name != "ending"]
    measures = [name for name in compared if not np.isnan(by.means[name])]
    if not cut:
        return dict.fromkeys(["overlap", *measures, "own", "score"], 0.0)
    ours = means(cut)
    overlaps = metrics.compare([metrics.of_piece(piece) for piece in cut], by.metrics)
    parts = {"overlap": metrics.mean_overlap_area(overlaps)}
    for name in measures:
        off = abs(ours[name] - by.means[name]) / TOLERANCE[name]
        parts[name] = 0.0 if np.isnan(off) else float(max(1 - off, 0.0))
    allowed = max(by.longest_copy, SHORTEST_COPY_NOTES)
    shared = np.array([copies.longest(piece, by.known).length for piece in cut])
    parts["own"] = float(1 - np.clip((shared - allowed) / allowed, 0, 1).mean())
    return parts | {"score": float(np.mean(list(parts.values())))}
