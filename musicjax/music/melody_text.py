"""A melody written as pitches -> Notes: "[60, -2, 62, -1]", an entry a sixteenth, in the form of Magenta's melodies."""

from __future__ import annotations

import itertools
import re

from musicjax.errors import UsageError
from musicjax.music.notes import Notes, from_beats

STEPS_PER_BEAT = 4
NO_EVENT, NOTE_OFF = -2, -1
MOST_ENTRIES = 100_000
EXPECTED = "expected such as [60,-2,67]: pitches 0..127, -2 where nothing happens, -1 where a note ends"


def is_melody(text: str) -> bool:
    """Whether a primer is a melody rather than the name of a file."""
    return text.lstrip().startswith("[")


def entries(text: str) -> tuple[int, ...]:
    """The numbers of a melody.

    Raises:
        UsageError: they are not whole numbers in brackets, or none of them begins a note.
    """
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
