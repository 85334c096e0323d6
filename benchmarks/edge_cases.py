"""The right answers for jazz-soft/test-midi-files, each a scale with one oddity; and who reads them right."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from pathlib import Path

SCALE = [60, 62, 64, 65, 67, 69, 71, 72]
# Answers by pattern; the first match counts. An answer lists the pitches of each piece in order of onset; [] means no
# pieces; None means whatever mido reads, which no reader disputes.
ANSWERS: dict[str, list[list[int]] | None] = {
    "test-empty*": [],
    "test-not-a-midi-file.mid": [],
    "test-2-tracks-type-2.mid": [SCALE, [pitch + 1 for pitch in SCALE]],
    "test-c-major-scale.mid": [SCALE],
    "test-corrupt-file-*": [SCALE],
    "test-illegal-message-*": [SCALE],
    "test-non-midi-track.mid": [SCALE],
    "test-running-status-*": [SCALE],
    "test-smpte-offset.mid": [SCALE],
    "test-vlq-*": [SCALE],
    "*": None,
}
# A reader of one file: the (onset, pitch) pairs of each piece.
Read = Callable[[Path], list[list[tuple[float, int]]]]


def answer(name: str) -> list[list[int]] | None:
    """The pieces that a file should give; None if mido's reading is the answer."""
    return next(pieces for pattern, pieces in ANSWERS.items() if fnmatch.fnmatch(name, pattern))


def wrong(folder: Path, read: Read, reference: Read) -> dict[str, str]:
    """{file: what was read instead}. A refused file counts as one without notes.

    Notes that begin together are compared in order of pitch. A reader may refuse a file of several pieces.
    """
    found = {}
    for path in sorted(folder.glob("*.mid")):
        wanted = answer(path.name)
        if wanted is None:
            wanted = _pieces(path, reference)[0]
        given, error = _pieces(path, read)
        if given != wanted and not (error and len(wanted) > 1):
            found[path.name] = error or f"{sum(map(len, given))} notes in {len(given)} pieces"
    return found


def _pieces(path: Path, read: Read) -> tuple[list[list[int]], str]:
    try:
        pieces = read(path)
    except Exception as error:  # each library has its own
        return [], f"{type(error).__name__}: {error}"
    return [[pitch for _, pitch in sorted(piece)] for piece in pieces if piece], ""
