"""Keys: as people write them, and found in music.

A key is a tonic, a pitch class 0..11 (C = 0), and a mode, an index into MODES. `of` finds the keys of a piece. Each bar
is evidence for each of the 48 keys by its pitch classes, compared with the key's profile as C. Krumhansl proposed
("Cognitive Foundations of Musical Pitch", 1990), and by the bass it begins with. Relative keys have the same pitch
classes, so the first and the last bass note are evidence for themselves as tonics. Dynamic programming then divides the
piece into stretches of one key, each as long as it takes to be sure.

Shape legend: N notes, B bars in which notes begin, K stretches. Rows of 48 keys go by tonic, then by mode.
"""

from __future__ import annotations

import functools
import re
import unicodedata

import numpy as np

from musicjax.errors import UsageError
from musicjax.music import bar_position
from musicjax.music.change_tables import MODES
from musicjax.music.notes import DRUMS, NEGLIGIBLE_BEATS, Notes

WORDS = {
    **dict.fromkeys(("", "maj", "major", "ionian", "dur", "majeur", "maggiore", "mayor"), 0),
    **dict.fromkeys(("m", "min", "minor", "aeolian", "moll", "mineur", "minore", "menor"), 1),
    **dict.fromkeys(("dor", "dorian"), 2),
    **dict.fromkeys(("mix", "mixo", "mixolydian"), 3),
}
LETTERS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11, "h": 11}
KEY = re.compile(r"([A-H])(?:(#|♯|[ -]?sharp)|(b|♭|[ -]?flat))?[ :_-]*([a-z]*)", re.IGNORECASE)
# H can only be B natural. Beside dur and moll, B is the note below it; do, re, mi are the notes of French, Italian and
# Spanish.
GERMAN = re.compile(r"(B(?!is|e?s)|[AC-H])(?:(is)|(e?s))?[ :_-]*(dur|moll)", re.IGNORECASE)
GERMAN_LETTERS = LETTERS | {"b": 10}
SYLLABLES = {"do": 0, "ut": 0, "re": 2, "mi": 4, "fa": 5, "sol": 7, "la": 9, "si": 11}
SYLLABLE = re.compile(
    rf"({'|'.join(SYLLABLES)})(?:(#|♯|[ -]?diesis|[ -]?diese|[ -]?sostenido)|(b|♭|[ -]?bemolle|[ -]?bemol))?"
    r"[ :_-]*([a-z]*)",
    re.IGNORECASE,
)
# The tonics of each mode, spelled with the fewest sharps or flats in the signature.
SPELLINGS = (
    ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"),
    ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B"),
    ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B"),
    ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"),
)
# Semitones from the tonic of each mode up to that of the major key with the same signature.
RELATIVE_MAJOR = (0, 3, -2, 5)

# Shares of the 12 pitch classes above the tonic in 490 pieces in major and in minor: Albrecht and Shanahan, "The Use
# of Large Corpora to Train a New Type of Key-Finding Algorithm", Music Perception 31, 2013.
MAJOR = (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081)
MINOR = (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052)
# Dorian is minor with a raised sixth and no leading note; mixolydian is major with a lowered seventh.
DORIAN = (*MINOR[:8], MINOR[9], MINOR[8], MINOR[10] + MINOR[11] - MAJOR[10], MAJOR[10])
MIXOLYDIAN = (*MAJOR[:10], MAJOR[11], MAJOR[10])
# How much a bass note at the start of a bar speaks for a key, by its place above the tonic: the roots of the chords
# that characterise a mode. These numbers and those below were tuned on the built-in clips and on songs of POP909.
BASS = (
    (1.0, 0, 0.2, 0, 0.1, 0.5, 0, 0.5, 0, 0.3, 0, 0),
    (1.0, 0, 0, 0.3, 0, 0.4, 0, 0.4, 0.4, 0, 0.4, 0),
    (1.0, 0, 0.1, 0.2, 0, 0.6, 0, 0.2, 0, 0, 0.5, 0),
    (1.0, 0, 0.1, 0, 0, 0.5, 0, 0.3, 0, 0.1, 0.6, 0),
)
# Natural logs of odds: of a bass note for each beat of its bar, of the first and the last bass note, and against the
# modes that are rare.
BASS_WEIGHT, FIRST_WEIGHT, LAST_WEIGHT = 0.375, 2.0, 12.0
RARE = (0.0, 0.0, -2.5, -2.0)
# A note's weight is its length in beats, within these bounds. The notes of a bar together weigh less than this a beat.
SHORTEST_NOTE, LONGEST_NOTE = 0.05, 1.0
MOST_PER_BEAT = 0.6
# A change of key must raise the log of the odds by this much; a key must last this many beats (8 bars of 4/4).
CHANGE, SHORTEST_STRETCH = 16.0, 32.0


def text_of(tonic: float, mode: float) -> str:
    """A key as it is printed, such as "F# minor"; numbers as in the rows of `of`."""
    return f"{SPELLINGS[int(mode)][int(tonic)]} {MODES[int(mode)]}"


def key_of(text: str) -> tuple[int, int]:
    """The key that a text such as "D", "Dm", "F#:dorian", "d-moll" or "ré mineur" names, (tonic, mode); major if no
    mode is.

    Raises:
        UsageError: it names none, or one in another mode.
    """
    # Without accents, which not everybody types.
    bare = "".join(c for c in unicodedata.normalize("NFKD", text.strip()) if not unicodedata.combining(c))
    in_no_mode = None
    for pattern, tonics in ((GERMAN, GERMAN_LETTERS), (SYLLABLE, SYLLABLES), (KEY, LETTERS)):
        found = pattern.fullmatch(bare)
        if found and found[4].lower() in WORDS:
            mode = 0 if found[4] == "M" else WORDS[found[4].lower()]
            return (tonics[found[1].lower()] + bool(found[2]) - bool(found[3])) % 12, mode
        in_no_mode = found or in_no_mode
    if not in_no_mode:
        raise UsageError(
            f"key={text!r}: expected a letter A to G, or H for B natural, followed by # or b if needed, and by its "
            "mode if that is not major, such as F#, Bb minor or Dm"
        )
    letter, sharp, flat, word = in_no_mode.groups()
    raise UsageError(
        f"key={text!r}: no mode {word!r}; expected {', '.join(MODES)}; or --scale=NAME with --key={letter}"
        f"{'#' * bool(sharp)}{'b' * bool(flat)} for the pitches of another scale"
    )


def of(notes: Notes) -> np.ndarray:
    """The keys of a piece: float64 [K, 3], the beat from which a key holds, its tonic and its mode; by beat.

    The first beat is 0, the others are bar lines. Music moved by some semitones has the same table with its tonics
    moved. Drums do not count; without other notes the table is empty, [0, 3].
    """
    pitched = notes.program != DRUMS
    if not pitched.any():
        return np.zeros((0, 3))
    onset, duration = notes.onset_beats[pitched], notes.duration_beats[pitched]
    pitch = notes.pitch[pitched].astype(np.int64)
    bar, beat_in_bar, lines, beats = _bars(onset, notes.meters)
    # Pitches relative to one note, so that ties and rounding are the same at whatever pitch the music is.
    said = _evidence(pitch - pitch[0], onset, duration, bar, beat_in_bar, beats)
    total = np.concatenate([np.zeros((1, said.shape[1])), np.cumsum(said, axis=0)])
    starts, keys = _stretches(total, _changes(total, lines))
    tonic, mode = np.divmod(keys, len(MODES))
    return np.stack([np.where(starts, lines[starts], 0.0), (tonic + pitch[0]) % 12, mode], axis=1)


def _bars(onset: np.ndarray, meters: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The bar of each note and its beat there, [N] each; the bar lines, [B + 1]; the beats of each bar, [B]."""
    which = bar_position.segments(onset, meters)
    length = bar_position.beats_per_bar(meters)[which]
    start = meters[which, 0] + np.floor((onset - meters[which, 0]) / length + NEGLIGIBLE_BEATS) * length
    lines, first, bar = np.unique(start, return_index=True, return_inverse=True)
    beats = length[first]
    return bar, onset - start, np.append(lines, lines[-1] + beats[-1]), beats


def _evidence(
    pitch: np.ndarray,
    onset: np.ndarray,
    duration: np.ndarray,
    bar: np.ndarray,
    beat_in_bar: np.ndarray,
    beats: np.ndarray,
) -> np.ndarray:
    """What each bar says: the log of the odds of each key, up to a constant, float64 [B, 48]; beats: of its bar."""
    weight = np.clip(duration, SHORTEST_NOTE, LONGEST_NOTE)
    counted = np.bincount(bar * 12 + pitch % 12, weight, len(beats) * 12).reshape(-1, 12)
    most = MOST_PER_BEAT * beats
    counted *= (most / (most + counted.sum(axis=1)))[:, None]
    said = counted @ np.log(_profiles(MAJOR, MINOR, DORIAN, MIXOLYDIAN)).T
    lowest = np.full(len(beats), np.iinfo(np.int64).max)
    opens = beat_in_bar < 1 - NEGLIGIBLE_BEATS
    np.minimum.at(lowest, bar[opens], pitch[opens])
    heard = lowest < np.iinfo(np.int64).max
    said[heard] += BASS_WEIGHT * beats[heard, None] * _profiles(*BASS).T[lowest[heard] % 12]
    end = onset + duration
    first, last = pitch[onset <= onset[0] + NEGLIGIBLE_BEATS].min(), pitch[end >= end.max() - 1].min()
    for place, note, odds in ((0, first, FIRST_WEIGHT), (-1, last, LAST_WEIGHT)):
        said[place].reshape(12, -1)[note % 12] += odds
    # Modes that are rare have to overcome this once in a piece, not once in each bar.
    said[0] += np.tile(RARE, 12)
    return said


@functools.cache
def _profiles(*shares: tuple[float, ...]) -> np.ndarray:
    """The profile of each key over the 12 pitch classes, from the profiles of the modes, float64 [48, 12]."""
    return np.stack([np.roll(row, tonic) for tonic in range(12) for row in shares])


def _changes(total: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """The bars at which the likeliest stretches begin, int64 [K]; total: float64 [B + 1, 48], evidence before a bar."""
    bars = len(total) - 1
    # A stretch that ends before bar b begins at one of the first allowed[b] bars: before b, even where times are too
    # coarse to tell bars apart.
    allowed = np.searchsorted(lines, lines - SHORTEST_STRETCH + NEGLIGIBLE_BEATS, side="right")
    allowed = np.minimum(allowed, np.arange(bars + 1))
    best = np.full(bars + 1, -np.inf)
    best[0] = CHANGE  # the first stretch is no change
    ahead = np.full((1, total.shape[1]), -np.inf)
    known, bar = 0, int(np.searchsorted(allowed, 1))
    while bar < bars:
        # These bars, about eight, do not depend on each other.
        until = min(int(np.searchsorted(allowed, bar, side="right")), bars)
        reached = int(allowed[until - 1])
        gained = best[known:reached, None] - total[known:reached]
        ahead = np.maximum.accumulate(np.concatenate([ahead[-1:], gained]), axis=0)
        best[bar:until] = (ahead[allowed[bar:until] - known] + total[bar:until]).max(axis=1) - CHANGE
        known, bar = reached, until
    starts = [bars]
    while starts[-1]:
        before = max(int(allowed[starts[-1]]), 1)  # a short piece is one stretch
        gains = (best[:before, None] + (total[starts[-1]] - total[:before])).max(axis=1)
        starts.append(int(gains.argmax()))
    return np.array(starts[:0:-1])


def _stretches(total: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The starts, and the key of each stretch as an index, after neighbours with the same signature are made one."""
    while True:
        keys = np.diff(total[np.append(starts, len(total) - 1)], axis=0).argmax(axis=1)
        tonic, mode = np.divmod(keys, len(MODES))
        signature = (tonic + np.array(RELATIVE_MAJOR)[mode]) % 12
        differs = np.append(True, signature[1:] != signature[:-1])
        if differs.all():
            return starts, keys
        starts = starts[differs]
