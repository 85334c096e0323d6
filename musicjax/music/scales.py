"""Keys and scales -> the pitches that belong to them."""

from __future__ import annotations

from musicjax.errors import UsageError

PITCHES = 128
# Semitones above the root.
SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "harmonic_minor": (0, 2, 3, 5, 7, 8, 11),
    "melodic_minor": (0, 2, 3, 5, 7, 9, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "locrian": (0, 1, 3, 5, 6, 8, 10),
    "pentatonic": (0, 2, 4, 7, 9),
    "minor_pentatonic": (0, 3, 5, 7, 10),
    "blues": (0, 3, 5, 6, 7, 10),
    "whole_tone": (0, 2, 4, 6, 8, 10),
    "chromatic": tuple(range(12)),
}
LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
ACCIDENTALS = {"": 0, "#": 1, "b": -1}


def root(key: str) -> int:
    """Pitch class 0..11 of a key such as C, F# or Bb; raises UsageError for another word."""
    letter, accidental = key[:1].upper(), key[1:]
    if letter not in LETTERS or accidental not in ACCIDENTALS:
        raise UsageError(f"key={key!r}: expected a letter A to G, followed by # or b if needed, such as F# or Bb")
    return (LETTERS[letter] + ACCIDENTALS[accidental]) % 12


def pitches(key: str, scale: str, low: int = 0, high: int = PITCHES - 1) -> tuple[int, ...]:
    """MIDI numbers low..high of a scale, rising; without a scale those of major, without either all.

    Raises:
        UsageError: no such key or scale, or a scale without a key.
    """
    if scale and scale not in SCALES:
        raise UsageError(f"scale={scale!r}: expected one of {', '.join(SCALES)}")
    if scale not in ("", "chromatic") and not key:
        raise UsageError(f"scale={scale} without a key: expected its root, such as --key=C")
    steps = SCALES[scale or ("major" if key else "chromatic")]
    lowest = root(key) if key else 0
    return tuple(pitch for pitch in range(low, high + 1) if (pitch - lowest) % 12 in steps)
