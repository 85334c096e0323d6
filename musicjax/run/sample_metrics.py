"""What generated music is like: its metrics beside those of real pieces, and what it shares with the training data."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from musicjax import console, files
from musicjax.corpus.split import Music
from musicjax.errors import RunError
from musicjax.music import copies, metrics
from musicjax.music.notes import Notes

T = TypeVar("T")
# The most real pieces that are measured, and the most that are searched for copies.
MOST_REAL, MOST_COPIED = 200, 50


def of(pieces: list[Notes], names: list[str], music: Music) -> dict[str, Any]:
    """Metrics and copies of K generated pieces with notes, as JSON values.

    Most metrics depend on the length, so all pieces are compared by their first notes, equally many of each: the median
    length of the generated pieces or of the real ones, whichever is less.

    Returns:
        {"samples": {name: {metric: value, ..., "copy": {"length", "piece", "at", "own"}}}, "real": {metric: mean},
        "generated": {metric: mean}, "overlap_area": {metric: share}, "kl_nats": {metric: nats},
        "mean_overlap_area": share, "compared_notes": notes, "compared_with": which}; "samples" alone if there are
        fewer than two real pieces, or nothing was generated.
    """
    samples: dict[str, Any] = {}
    for name, piece in zip(names, pieces, strict=True):
        if len(piece):
            samples[name] = {**metrics.of_piece(piece), "copy": dataclasses.asdict(copies.longest(piece, music.known))}
    others = [piece for piece in spread(music.held_out or music.training, MOST_REAL) if len(piece)]
    ours = [piece for piece in pieces if len(piece)]
    if len(others) < 2 or not ours:
        return {"samples": samples}
    length = min(int(np.median([len(piece) for piece in side])) for side in (ours, others))
    generated, real = ([metrics.of_piece(piece[:length]) for piece in side] for side in (ours, others))
    overlaps = metrics.compare(generated, real)
    return {
        "samples": samples,
        "generated": means(generated),
        "real": means(real),
        "overlap_area": {name: overlap.overlap_area for name, overlap in overlaps.items()},
        "kl_nats": {name: overlap.kl_nats for name, overlap in overlaps.items()},
        "mean_overlap_area": metrics.mean_overlap_area(overlaps),
        "compared_notes": length,
        "compared_with": music.compared_with,
    }


def of_data(pieces: list[Notes]) -> dict[str, float]:
    """The mean of each metric over at most MOST_REAL of the pieces; empty if none has notes."""
    with console.each("metrics", spread([piece for piece in pieces if len(piece)], MOST_REAL), "pieces") as some:
        return means([metrics.of_piece(piece) for piece in some])


def copied(pieces: list[Notes], names: tuple[str, ...], music: Music, most: int = MOST_COPIED) -> dict[str, Any]:
    """What up to `most` pieces with notes share with the training data, as JSON values.

    Returns:
        {"pieces": how many were searched, "median_notes": of the lengths of their longest common runs, "longest":
        {"name", "length", "piece", "at", "own"} of the piece that shares most}; empty if no piece has notes.
    """
    named = spread([(name, piece) for name, piece in zip(names, pieces, strict=True) if len(piece)], most)
    if not named:
        return {}
    known = music.known  # before the bar, or its first piece would seem to take long
    with console.each("copies", named, "pieces") as pairs:
        found = [(name, copies.longest(piece, known)) for name, piece in pairs]
    name, longest = max(found, key=lambda one: one[1].length)
    median = float(np.median([copy.length for _, copy in found]))
    return {
        "pieces": len(found),
        "median_notes": median,
        "longest": {"name": name, **dataclasses.asdict(longest)},
    }


def means(measured: list[dict[str, float]]) -> dict[str, float]:
    """Each metric's mean."""
    return {name: float(np.mean([one[name] for one in measured])) for name in measured[0]} if measured else {}


def write(found: dict[str, Any], path: Path) -> None:
    """Writes what `of` returned; raises RunError if the file cannot be written."""
    try:
        files.write(path, json.dumps(found, indent=1) + "\n")
    except OSError as error:
        raise RunError(
            f"{path} cannot be written: {error.strerror}; check its folder, permissions and space"
        ) from error


def say(found: dict[str, Any]) -> None:
    """Prints the overlap with real pieces, and the longest copy."""
    if "mean_overlap_area" in found:
        area, count, which = (found[name] for name in ("mean_overlap_area", "compared_notes", "compared_with"))
        console.say(
            "metrics",
            f"mean overlap with {which}: {area:.2f} of 1, over the first {console.counted(count, 'note')} of each",
        )
    samples = found["samples"]
    if samples:
        name = max(samples, key=lambda one: samples[one]["copy"]["length"])
        say_copy({"name": name, **samples[name]["copy"]}, found.get("held_out_copies", {}))


def say_copy(longest: dict[str, Any], held_out: dict[str, Any]) -> None:
    """Prints the longest copy beside what held-out pieces share, as `copied` gives both; held_out may be empty."""
    length, real = longest["length"], ""
    whose = f"; they match {longest['piece']} from note {longest['at'] + 1}" if length else ""
    if held_out:
        of_all = (held_out["pieces"], held_out["longest"]["length"], held_out["median_notes"])
        real = f"; {copies.of_real_pieces(*of_all)}"
    run = f"{console.counted(length, 'note')}, in {longest['name']}"
    console.say("copies", f"longest run shared with the training data: {run}{whose}{real}")


def spread(pieces: list[T], most: int) -> list[T]:
    """At most `most` of the pieces, evenly spaced."""
    return pieces if len(pieces) <= most else [pieces[k] for k in np.linspace(0, len(pieces) - 1, most).astype(int)]
