"""One file -> its notes, or the reason why there are none, or the files of music in it if it is an archive.

The content of a file decides what it is, not its name. Where a damaged file is mended: `music.midi`, `music.musicxml`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from musicjax.corpus.find import ARCHIVE_SUFFIXES, SCORE_SUFFIXES, suffix_of
from musicjax.music import file_kinds, midi
from musicjax.music.notes import NoNotesError, Notes

if TYPE_CHECKING:  # a reading process does without
    from musicjax.config import DataConfig

# What one file may take, NumPy's own share included; `worker` keeps to it. The most events that a file may have take a
# quarter of it.
MEMORY_BYTES = 2 * 2**30


class Options(NamedTuple):
    """How a file is read.

    Attributes:
        percussion: whether to keep the notes of MIDI's percussion channel.
        sustain: whether a note lasts until its "key" is released, or as long as the "pedal" holds it.
        tracks_apart: whether tracks of a MIDI file that play one program are instruments of their own.
        unpacked: a folder for the files of an archive; empty: an archive is not unpacked.
    """

    percussion: bool = True
    sustain: str = "key"
    tracks_apart: bool = False
    unpacked: str = ""


class Member(NamedTuple):
    """A file of music in an archive.

    Attributes:
        name: its path in the archive, and in archives inside that.
        sha256: of its bytes; empty if it cannot be unpacked.
        status, code, detail: as of a Reading, if it cannot be unpacked; else empty.
    """

    name: str
    sha256: str = ""
    status: str = ""
    code: str = ""
    detail: str = ""

    @property
    def file(self) -> str:
        """The name under which it is unpacked. The archive does not choose it."""
        return f"{self.sha256}{suffix_of(self.name)}"


class Reading(NamedTuple):
    """What became of one file.

    Attributes:
        status: "kept", "recovered" or "skipped".
        code: short and stable; "kept" where nothing was wrong.
        detail: the reason, or everything that was mended, in words.
        members: of an archive, the files of music in it.
    """

    status: str
    code: str
    detail: str
    members: tuple[Member, ...] = ()


def options_of(data: DataConfig) -> Options:
    """How the files of a source are read."""
    return Options(data.percussion, data.sustain, data.tracks == "apart")


def skipped(code: str, detail: str) -> Reading:
    """The reading of a file that gave nothing."""
    return Reading("skipped", code, detail)


def read_file(
    path: str, options: Options, on_progress: Callable[[], object] = lambda: None
) -> tuple[Reading, list[Notes]]:
    """The reading and the pieces of one file. No content of a file makes it raise.

    Args:
        on_progress: called again and again while an archive is unpacked.
    """
    try:
        kind = _kind(path)
        if options.unpacked and kind in file_kinds.READ_ARCHIVES:
            from musicjax.corpus import archived_music  # most corpora have no archives

            return archived_music.unpack(path, kind, options.unpacked, on_progress), []
        pieces, mended = _read_pieces(path, kind, options)
    except NoNotesError as error:
        return skipped(error.code, str(error)), []
    except OSError as error:
        return skipped("unreadable", error.strerror or str(error)), []
    except MemoryError:
        return skipped("memory_limit", f"takes more than {MEMORY_BYTES / 2**30:g} GiB of memory to read"), []
    except Exception as error:  # one bad file must not end a run, whatever it makes the reader raise
        return skipped("reader_error", f"{type(error).__name__}: {error}"), []
    if mended:
        return Reading("recovered", next(iter(mended)), "; ".join(mended.values())), pieces
    return Reading("kept", "kept", ""), pieces


def _kind(path: str) -> str:
    """What a file is, as in `file_kinds`: by its content, and by its name where that tells nothing."""
    head, suffix = b"", suffix_of(path)
    with contextlib.suppress(OSError), open(path, "rb") as stream:  # whoever reads it says why it cannot be opened
        head = stream.read(file_kinds.HEAD_BYTES)
    kind = file_kinds.of(head)
    if kind == file_kinds.ZIP:
        from musicjax.music import musicxml_file  # its imports take time, and most corpora have no scores

        is_score = suffix in SCORE_SUFFIXES or musicxml_file.holds_score(path)
        return file_kinds.SCORE if is_score else kind
    if kind or not head:
        return kind
    return file_kinds.SCORE if suffix in SCORE_SUFFIXES else ARCHIVE_SUFFIXES.get(suffix, file_kinds.MIDI)


def _read_pieces(path: str, kind: str, options: Options) -> tuple[list[Notes], dict[str, str]]:
    if kind in file_kinds.ARCHIVES:
        raise NoNotesError("archive", f"is a {kind}, not a piece of music; unpack it, and name what is in it")
    if kind != file_kinds.SCORE:
        return midi.read_pieces(
            path, percussion=options.percussion, sustain=options.sustain, tracks_apart=options.tracks_apart
        )
    from musicjax.music import musicxml

    score, mended = musicxml.read(path, percussion=options.percussion)
    return [score], mended
