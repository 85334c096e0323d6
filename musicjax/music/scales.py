"""Keys and scales -> the pitches that belong to them."""

from __future__ import annotations

from musicjax.errors import UsageError
from musicjax.music import keys

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


def root(key: str) -> int:
    """Pitch class 0..11 of a key such as C, F# or Bb minor; raises UsageError for another text."""
    return keys.key_of(key)[0]


def pitches(key: str, scale: str, low: int = 0, high: int = PITCHES - 1) -> tuple[int, ...]:
    """MIDI numbers low..high of a scale on a key's tonic, rising; without a scale those of the key, without either all.

    Args:
        key: as `keys.key_of` reads it; only its tonic counts beside a scale.

    Raises:
        UsageError: no such key or scale, or a scale without a key.
    """
    if scale and scale not in SCALES:
        raise UsageError(f"scale={scale!r}: expected one of {', '.join(SCALES)}")
    if scale not in ("", "chromatic") and not key:
        raise UsageError(f"scale={scale} without a key: expected its root, such as --key=C")
    tonic, mode = keys.key_of(key) if key else (0, 0)
    steps = SCALES[scale or (keys.MODES[mode] if key else "chromatic")]
    return tuple(pitch for pitch in range(low, high + 1) if (pitch - tonic) % 12 in steps)
