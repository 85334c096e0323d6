"""What a piano roll shows of notes, whoever draws it."""

from __future__ import annotations

import numpy as np

from musicjax.music.notes import Notes

VELOCITY_STEP = 16  # velocities that share a colour
LEAST_ROWS = 24  # two octaves
# For the instruments of a piece that has several; after the last colour they start over. page.css has the same.
COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),
    *("#882255", "#999933", "#44aa99", "#aa4499", "#7a7a7a", "#6b4fbb"),
)


def pitch_range(notes: Notes) -> tuple[int, int]:
    """The lowest and highest pitch to show: those of the notes, at least one, and a margin; two octaves or more."""
    lowest, highest = int(notes.pitch.min()) - 1, int(notes.pitch.max()) + 1
    missing = max(0, LEAST_ROWS - (highest - lowest + 1))
    return lowest - missing // 2, highest + (missing + 1) // 2


def octaves(lowest: int, highest: int) -> dict[int, str]:
    """{pitch: name} of every C in a range."""
    return {pitch: f"C{pitch // 12 - 1}" for pitch in range(lowest, highest + 1) if pitch % 12 == 0}


def instruments_of(notes: Notes) -> list[int]:
    """The programs that a piano roll tells apart by colour, rising; empty if all notes have the same program."""
    programs = np.unique(notes.program).tolist()
    return programs if len(programs) > 1 else []


def loudest(
    notes: Notes, lowest: int, highest: int, seconds: float, columns: int, values: np.ndarray | None = None
) -> np.ndarray:
    """The value of the loudest note by pitch and column of time, float32 [pitches, columns]; nan where none sounds.

    Args:
        values: a number for each note, [N]; None: its velocity.
    """
    values = notes.velocity if values is None else values
    image = np.full((highest - lowest + 1, columns), np.nan, np.float32)
    start = np.clip((notes.onset / seconds * columns).astype(int), 0, columns - 1)
    end = np.rint((notes.onset + notes.duration) / seconds * columns).astype(int)
    # Where there is room, a gap of a column parts a note from the next one on its pitch.
    end = np.where(end - start > 3, end - 1, np.maximum(end, start + 1))
    for k in np.argsort(notes.velocity, kind="stable"):
        image[notes.pitch[k] - lowest, start[k] : end[k]] = values[k]
    return image
