"""The four frame data sets with every piece moved to the tonic C, as in Johnson 2017.

Major stays major and minor stays minor. A piece stays in its key if every move to C would lose notes. The key is found
from the whole piece, including its future, so likelihoods of these frames are not comparable with those of the original
files.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import numpy as np
from scipy.io import savemat

from musicjax import files
from musicjax.corpus import frame_sets
from musicjax.corpus.frame_sets import Polyphonic
from musicjax.music import keys, piano_roll

# The version of the rule for moving pieces: raise it whenever a piece would be moved differently.
VERSION = 1


def write(name: str, source: str | Path, folder: Path) -> None:
    """Copies a data set's file from the folder `source`, with its pieces moved.

    It does nothing if a record beside the copy shows that it is undamaged and was made from the same pieces.
    A line on standard error counts the pieces that cannot be moved.

    Raises:
        UsageError, RunError: as `frame_sets.read`.
        OSError: the copy cannot be written.
    """
    data = frame_sets.read(f"polyphonic:{name}:{source}")
    path = folder / frame_sets.NAMES[name]
    record = path.with_suffix(".json")
    with contextlib.suppress(OSError, ValueError):
        if record.read_text() == _record(data, path):
            return
    folder.mkdir(parents=True, exist_ok=True)
    with files.whole(path) as partial, partial.open("wb") as file:
        savemat(file, {variable: cells(data, split) for variable, split in variables()})
    files.write(record, _record(data, path))
    pieces = [piece for _, split in variables() for piece in data.pieces(split)]
    staying = sum(semitones(piece) is None for piece in pieces)
    print(f"{name}: {staying} of {len(pieces)} pieces cannot move to C and stay in their key", file=sys.stderr)


def _record(data: Polyphonic, copy: Path) -> str:
    """Which pieces a copy was made from, and its sha256; raises OSError if there is no copy."""
    return json.dumps({"version": VERSION, "source": data.fingerprint, "copy": files.sha256(copy)})


def variables() -> list[tuple[str, str]]:
    """(name of the variable, name of the split) of each cell array of a file."""
    return list(zip(frame_sets.VARIABLES, frame_sets.SPLITS, strict=True))


def cells(data: Polyphonic, split: str) -> np.ndarray:
    """The moved pieces of a split as a cell array, [1, pieces]."""
    pieces = data.pieces(split)
    made = np.empty((1, len(pieces)), object)
    made[0, :] = [moved(piece) for piece in pieces]
    return made


def moved(piece: np.ndarray) -> np.ndarray:
    """Moves a piece, uint8 [frames, 88], to C by the fewest semitones that lose no note; else it stays as it is."""
    return np.roll(piece, semitones(piece) or 0, axis=1)


def semitones(piece: np.ndarray) -> int | None:
    """Semitones that move a piece, uint8 [frames, 88], to C; None if every such move loses a note."""
    used = np.flatnonzero(piece.any(axis=0))
    if not len(used):
        return 0
    near = sorted(range(-11, 12), key=abs)
    fitting = [far for far in near if used[0] + far >= 0 and used[-1] + far < piece.shape[1]]
    wanted = -tonic(piece) % 12
    return next((far for far in fitting if far % 12 == wanted), None)


def tonic(piece: np.ndarray) -> int:
    """The tonic, 0..11, of the key that lasts longest; a frame counts as a quarter note."""
    notes = piano_roll.notes_of(piece, per_beat=1)
    found = keys.of(notes)
    lasts = np.diff(found[:, 0], append=max(len(piece), found[-1, 0]))
    return int(found[np.argmax(lasts), 1])
