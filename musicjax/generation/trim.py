"""Music of a length in seconds: notes are sampled until it is reached, and end there.

Shape legend: K outputs, L rows sampled, C columns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from musicjax import console
from musicjax.model.sample import Past, Sampled
from musicjax.music.notes import Notes
from musicjax.store.metadata import Facts

# Notes sampled at a time, and the most that any output gets.
CHUNK_NOTES = 100
MOST_NOTES_PER_SECOND = 50
# A note that begins within this of the end would be none.
NEGLIGIBLE_SECONDS = 1e-6


def rows_for_seconds(
    more: Callable[..., Sampled], past: Past, facts: Facts, seconds: float, bpm: float
) -> tuple[np.ndarray, int]:
    """Rows [K, L, C], L enough for every output to pass `seconds` or to reach the most notes; and values clamped."""
    most = CHUNK_NOTES + int(MOST_NOTES_PER_SECOND * seconds)
    chunks: list[np.ndarray] = []
    clamped, reached = 0, np.zeros(len(past.windows))
    while reached.min() < seconds and len(chunks) * CHUNK_NOTES < most:
        first = len(chunks) * CHUNK_NOTES
        rows, moved, past = more(past, num_notes=CHUNK_NOTES, first_note=first)
        chunks.append(np.asarray(rows))
        clamped += int(moved.sum())
        reached += interval_seconds(chunks[-1], facts, bpm).sum(axis=1)
    short = int((reached < seconds).sum())
    if short:
        console.say(
            "length", f"{short} outputs end before {seconds:g} s, at the limit of {len(chunks) * CHUNK_NOTES:,} notes"
        )
    return np.concatenate(chunks, axis=1), clamped


def interval_seconds(rows: np.ndarray, facts: Facts, bpm: float) -> np.ndarray:
    """Seconds from the onset before each row [K, L, C] to its own, float64 [K, L]; of events at this tempo."""
    if facts.bins is not None:
        return np.asarray(facts.bins.interval)[rows[:, :, 0].astype(int)] / facts.bins.steps_per_beat * 60 / bpm
    return (rows[:, :, 2].astype(np.float64) * facts.scaling.span[2] + facts.scaling.shift[2]).clip(0)


def cut(notes: Notes, seconds: float) -> Notes:
    """The notes that begin before this time, none sounding on after it."""
    inside = notes[notes.onset < seconds - NEGLIGIBLE_SECONDS]
    duration = np.minimum(inside.duration, seconds - inside.onset)
    share = duration / np.maximum(inside.duration, NEGLIGIBLE_SECONDS)
    return dataclasses.replace(inside, duration=duration, duration_beats=inside.duration_beats * np.minimum(share, 1.0))
