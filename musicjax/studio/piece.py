"""Notes as the page gets them, and the records that pieces are kept in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

from musicjax.corpus import worker
from musicjax.corpus.read import Reading
from musicjax.music import bar_position, keys, splice
from musicjax.music.notes import Notes

MOST_NOTES = 20_000  # that a page shows of one piece
DIGITS = 4  # of times in seconds


def of(name: str, notes: Notes) -> dict[str, Any]:
    """{"name", "notes": [[onset, duration, pitch, velocity, program]...], "seconds", "bars": [seconds of each bar
    line], "meter", "key", "bpm", "left_out": notes beyond MOST_NOTES}; times in seconds."""
    shown = notes[:MOST_NOTES]
    table = notes.keys if len(notes.keys) else keys.of(notes) if len(notes) else notes.keys
    return {
        "name": name,
        "notes": rows(shown),
        "seconds": round(notes.seconds, DIGITS) if len(notes) else 0.0,
        "bars": bars(notes),
        "meter": bar_position.text_of(*notes.meters[0, 1:]),
        "key": keys.text_of(*table[0, 1:]) if len(table) else "",
        "bpm": round(float(notes.bpm), 2),
        "left_out": len(notes) - len(shown),
    }


def rows(notes: Notes) -> list[list[float]]:
    """[onset, duration, pitch, velocity, program] of each note, times in seconds."""
    times = np.round(np.stack([notes.onset, notes.duration], axis=1), DIGITS).tolist()
    numbers = np.stack([notes.pitch, notes.velocity, notes.program], axis=1).tolist()
    return [[*time, *number] for time, number in zip(times, numbers, strict=True)]


def bars(notes: Notes) -> list[float]:
    """The bar lines in seconds; none of a piece without notes."""
    if not len(notes):
        return []
    return np.round(splice.seconds_at(splice.bar_lines(notes), notes.tempos), DIGITS).tolist()


def write(stream: IO[bytes], pieces: Iterable[Notes]) -> list[int]:
    """Writes pieces one after another, exactly as they are; returns the byte at which each begins."""
    places = []
    for notes in pieces:
        places.append(stream.tell())
        worker.send(stream, Reading("kept", "kept", ""), [notes])
    return places


def read(path: Path, place: int) -> Notes:
    """The piece that begins at a byte of such a file; raises OSError or EOFError if it cannot be read."""
    with path.open("rb") as stream:
        stream.seek(place)
        received = worker.receive(stream)
    if received is None or len(received[1]) != 1:
        raise EOFError("no piece begins there")
    return received[1][0]


def of_rows(given: list[list[float]], bpm: float) -> Notes:
    """The inverse of `rows`, at one tempo; raises UsageError if they are not notes."""
    from musicjax.music import notes as notes_lib

    onset, duration, pitch, velocity, program = ([row[column] for row in given] for column in range(5))
    order = np.argsort(np.asarray(onset, float), kind="stable")
    made = notes_lib.from_seconds(pitch, velocity, onset, duration, bpm)
    made = dataclasses.replace(made, program=np.asarray(program)[order].astype(np.int16))
    notes_lib.check(made, "notes")
    return made
