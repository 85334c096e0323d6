"""A melody written as pitches -> Notes: "[60, -2, 62, -1]", an entry a sixteenth, in the form of Magenta's melodies."""

from __future__ import annotations

import itertools
import os
import re

from musicjax.errors import UsageError
from musicjax.music.keys import LETTERS
from musicjax.music.notes import Notes, from_beats

STEPS_PER_BEAT = 4
NO_EVENT, NOTE_OFF = -2, -1
MOST_ENTRIES = 100_000
NAME = re.compile(r"([A-G])(#|♯)?(b|♭)?(-1|\d)?", re.IGNORECASE)
NAMES_SHOWN = 4
EXPECTED = "expected a melody such as [60,-2,67]: pitches 0..127, -2 where nothing happens, -1 where a note ends"


def is_melody(text: str) -> bool:
    """Whether a primer is a melody rather than the name of a file."""
    return text.lstrip().startswith("[")


def require_no_names(text: str) -> None:
    """Raises UsageError if a primer names notes and no file: they have no lengths. It says what to type instead."""
    words = re.split(r"[\s,;]+", text.strip(" []"))
    named = [NAME.fullmatch(word) for word in words]
    pitches = [_pitch(*name.groups()) for name in named if name]
    if len(pitches) < len(words) or not all(0 <= pitch <= 127 for pitch in pitches) or os.path.exists(text):
        return
    quarters = ",".join(f"{pitch},-2,-2,-2" for pitch in pitches[:NAMES_SHOWN])
    more = ",..." if len(pitches) > NAMES_SHOWN else ""
    raise UsageError(
        f"primer {text[:60]!r} names notes without their lengths; expected pitches by sixteenths, for quarter notes "
        f"--primer=[{quarters}{more}]"
    )


def _pitch(letter: str, sharp: str | None, flat: str | None, octave: str | None) -> int:
    """The MIDI number of a name such as F#3; C4 is 60, and so is C."""
    return 12 * (int(octave or 4) + 1) + LETTERS[letter.lower()] + bool(sharp) - bool(flat)


def entries(text: str) -> tuple[int, ...]:
    """The numbers of a melody.

    Raises:
        UsageError: they are not whole numbers in brackets, or none of them begins a note.
    """
    require_no_names(text)
    shown = text if len(text) <= 60 else f"{text[:60]}..."
    inside = text.strip()
    if not re.fullmatch(r"\[\s*-?\d{1,3}(\s*,\s*-?\d{1,3})*\s*,?\s*\]", inside):
        empty = re.fullmatch(r"\[\s*\]", inside)
        raise UsageError(
            f"primer {shown!r} {'holds no notes' if empty else 'is not a list of whole numbers'}; {EXPECTED}"
        )
    found = tuple(map(int, re.findall(r"-?\d+", inside)))
    outside = next((entry for entry in found if not NO_EVENT <= entry <= 127), None)
    if outside is not None:
        raise UsageError(f"primer {shown!r} holds {outside}; {EXPECTED}")
    if max(found) < 0:
        raise UsageError(f"primer {shown!r} holds no notes; {EXPECTED}")
    if len(found) > MOST_ENTRIES:
        raise UsageError(f"primer of {len(found):,} entries: expected {MOST_ENTRIES:,} at most")
    return found


def notes_of(melody: tuple[int, ...], velocity: int = 80, bpm: float = 120.0) -> Notes:
    """The notes of entries: each sounds until the next one begins, an entry ends it, or there are no more entries."""
    steps = [step for step, entry in enumerate(melody) if entry != NO_EVENT] + [len(melody)]
    begun = [(step, end) for step, end in itertools.pairwise(steps) if melody[step] != NOTE_OFF]
    onset = [step / STEPS_PER_BEAT for step, _ in begun]
    duration = [(end - step) / STEPS_PER_BEAT for step, end in begun]
    return from_beats([melody[step] for step, _ in begun], [velocity] * len(begun), onset, duration, bpm)
