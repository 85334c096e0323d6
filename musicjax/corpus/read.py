"""One file -> its notes, or the reason why there are none, or the files of music in it if it is an archive.

The content of a file decides what it is, not its name. `music.midi` and `music.musicxml` read it, with the files that
they use, and mend what is damaged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from musicjax.music import file_kinds, music_file
from musicjax.music.file_kinds import suffix_of
from musicjax.music.notes import Notes

if TYPE_CHECKING:  # not needed in a reading process
    from musicjax.config import DataConfig

# The memory that one file may take, NumPy's own share included; `worker` enforces it. The most events that a file may
# have take a quarter of it.
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


def memory_limit() -> Reading:
    """The reading of a file that takes too much."""
    return skipped("memory_limit", f"takes more than {MEMORY_BYTES / 2**30:g} GiB of memory to read")


def read_file(
    path: str, options: Options, on_progress: Callable[[], object] = lambda: None, content: bytes | None = None
) -> tuple[Reading, list[Notes]]:
    """The reading and the pieces of one file. No content of a file makes it raise.

    Args:
        on_progress: called again and again while an archive is unpacked.
        content: its bytes, if they are at hand.
    """
    try:
        kind = music_file.kind_of(path, content)
        if options.unpacked and kind in file_kinds.READ_ARCHIVES:
            from musicjax.corpus import archived_music  # most corpora have no archives

            return archived_music.unpack(path, kind, options.unpacked, on_progress), []
        pieces, mended = music_file.read_pieces(
            path,
            kind,
            percussion=options.percussion,
            sustain=options.sustain,
            tracks_apart=options.tracks_apart,
            content=content,
        )
    except MemoryError:
        return memory_limit(), []
    except Exception as error:  # one bad file must not end a run, whatever it makes the reader raise
        return skipped(*music_file.reason_of(error)), []
    if mended:
        return Reading("recovered", next(iter(mended)), "; ".join(mended.values())), pieces
    return Reading("kept", "kept", ""), pieces
