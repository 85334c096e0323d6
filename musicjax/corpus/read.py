"""One file -> its notes, or the reason why there are none. Where a damaged file is mended: `music.midi`."""

from __future__ import annotations

from typing import NamedTuple

from musicjax.corpus.find import SCORE_SUFFIXES
from musicjax.music import midi
from musicjax.music.notes import NoNotesError, Notes

# What one file may take, NumPy's own share included; `worker` keeps to it. The most events that a file may have take a
# quarter of it.
MEMORY_BYTES = 2 * 2**30


class Options(NamedTuple):
    """How a file is read.

    Attributes:
        percussion: whether to keep the notes of MIDI's percussion channel.
        sustain: whether a note lasts until its "key" is released, or as long as the "pedal" holds it.
    """

    percussion: bool = True
    sustain: str = "key"


class Reading(NamedTuple):
    """What became of one file.

    Attributes:
        status: "kept", "recovered" or "skipped".
        code: short and stable; "kept" where nothing was wrong.
        detail: the reason, or everything that was mended, in words.
    """

    status: str
    code: str
    detail: str


def skipped(code: str, detail: str) -> Reading:
    """The reading of a file that gave nothing."""
    return Reading("skipped", code, detail)


def read_file(path: str, options: Options) -> tuple[Reading, list[Notes]]:
    """The reading and the pieces of one file. Nothing that a file holds makes it raise."""
    try:
        pieces, mended = _read_pieces(path, options)
    except NoNotesError as error:
        return skipped(error.code, str(error)), []
    except OSError as error:
        return skipped("unreadable", str(error)), []
    except MemoryError:
        return skipped("memory_limit", f"takes more than {MEMORY_BYTES / 2**30:g} GiB of memory to read"), []
    except Exception as error:  # one bad file must not end a run, whatever it makes the reader raise
        return skipped("reader_error", f"{type(error).__name__}: {error}"), []
    if mended:
        return Reading("recovered", next(iter(mended)), "; ".join(mended.values())), pieces
    return Reading("kept", "kept", ""), pieces


def _read_pieces(path: str, options: Options) -> tuple[list[Notes], dict[str, str]]:
    if not path.lower().endswith(SCORE_SUFFIXES):
        return midi.read_pieces(path, **options._asdict())
    from musicjax.music import musicxml  # its imports take time, and most corpora have no scores

    score, mended = musicxml.read(path)
    return [score], mended
