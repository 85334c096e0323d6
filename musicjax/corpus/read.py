"""One file -> its notes, or the reason why there are none. Where a damaged file is mended: `music.midi`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from musicjax.corpus.find import SCORE_SUFFIXES
from musicjax.music import midi
from musicjax.music.notes import FIELDS, NoNotesError, Notes

# What one file may take, NumPy's own share included; `worker` keeps to it. The most events that a file may have take a
# quarter of it.
MEMORY_BYTES = 2 * 2**30


class Reading(NamedTuple):
    """What became of one file.

    Attributes:
        status: "kept", "recovered" or "skipped".
        code: short and stable; "kept" where nothing was wrong.
        detail: the reason, or everything that was mended, in words.
        lengths: the number of notes of each piece in it.
    """

    status: str
    code: str
    detail: str
    lengths: tuple[int, ...] = ()


def skipped(code: str, detail: str) -> Reading:
    """The reading of a file that gave nothing."""
    return Reading("skipped", code, detail)


def read_file(path: str, percussion: bool) -> tuple[Reading, Notes | None]:
    """The reading and the notes of one file, its pieces end to end. Nothing that a file holds makes it raise.

    Args:
        path: the file.
        percussion: whether to keep the notes of MIDI's percussion channel.
    """
    try:
        pieces, mended = _read_pieces(path, percussion)
    except NoNotesError as error:
        return skipped(error.code, str(error)), None
    except OSError as error:
        return skipped("unreadable", str(error)), None
    except MemoryError:
        return skipped("memory_limit", f"takes more than {MEMORY_BYTES / 2**30:g} GiB of memory to read"), None
    except Exception as error:  # one bad file must not end a run, whatever it makes the reader raise
        return skipped("reader_error", f"{type(error).__name__}: {error}"), None
    lengths = tuple(map(len, pieces))
    fields = ([getattr(piece, name) for piece in pieces] for name in FIELDS)
    notes = pieces[0] if len(pieces) == 1 else Notes(*map(np.concatenate, fields))
    if mended:
        return Reading("recovered", next(iter(mended)), "; ".join(mended.values()), lengths), notes
    return Reading("kept", "kept", "", lengths), notes


def _read_pieces(path: str, percussion: bool) -> tuple[list[Notes], dict[str, str]]:
    if not path.lower().endswith(SCORE_SUFFIXES):
        return midi.read_pieces(path, percussion=percussion)
    from musicjax.music import musicxml  # its imports take time, and most corpora have no scores

    score, mended = musicxml.read(path)
    return [score], mended
