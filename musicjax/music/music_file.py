"""A file of music -> its pieces. Its content says whether it is MIDI or a score; its name, where that tells nothing."""

from __future__ import annotations

import contextlib
import os

from musicjax import arguments, console
from musicjax.errors import RunError
from musicjax.music import file_kinds, midi
from musicjax.music.file_kinds import ARCHIVE_SUFFIXES, SCORE_SUFFIXES
from musicjax.music.midi_chunks import Mended
from musicjax.music.notes import NoNotesError, Notes


def read(path: str | os.PathLike, *, percussion: bool = True, sustain: str = "key", tracks: str = "merge") -> Notes:
    """The notes of a MIDI file or a score (MusicXML, plain or packed), all tracks or parts merged.

    A damaged file gives the notes that can be read, and a line says what was mended.

    Args:
        path: the file; its content says what it is, whatever its name.
        percussion: whether to keep the notes of drums.
        sustain, tracks: of a MIDI file, as in `midi.read`.

    Raises:
        UsageError: it is no path, or `percussion`, `sustain` or `tracks` has no such value.
        RunError: the file cannot be opened, or gives no notes or several pieces.
    """
    midi.require_options(percussion, sustain, tracks)
    piece, mended = read_one(
        arguments.path_of("path", path, "a MIDI file or a score"),
        percussion=percussion,
        sustain=sustain,
        tracks_apart=tracks == "apart",
    )
    if mended:
        console.say("read", f"recovered {path}: {mended}")
    return piece


def read_one(
    path: str | os.PathLike, *, percussion: bool = True, sustain: str = "key", tracks_apart: bool = False
) -> tuple[Notes, str]:
    """The one piece of a file, and everything that was mended to read it, in words.

    Raises:
        RunError: the file cannot be opened, or gives no notes or several pieces.
    """
    try:
        pieces, mended = read_pieces(
            path, kind_of(path), percussion=percussion, sustain=sustain, tracks_apart=tracks_apart
        )
        return midi.one_piece(pieces), "; ".join(mended.values())
    except Exception as error:  # a bad file costs one line, whatever it makes the reader raise
        reason = reason_of(error)[1]
        raise RunError(f"{path} cannot be used: {reason}; expected a MIDI file with notes, or a score") from error


def read_pieces(
    path: str | os.PathLike,
    kind: str,
    *,
    percussion: bool = True,
    sustain: str = "key",
    tracks_apart: bool = False,
    content: bytes | None = None,
) -> tuple[list[Notes], Mended]:
    """The pieces of a file of this kind, see `kind_of`, and {code: words} of what was mended to read them.

    Args:
        content: its bytes, if they are at hand.
        tracks_apart: whether tracks of a MIDI file that play one program get programs of their own.

    Raises:
        NoNotesError: the file gives no notes, with the reason.
        OSError: it cannot be opened.
    """
    if kind in file_kinds.ARCHIVES:
        raise NoNotesError("archive", f"is a {kind}, not a piece of music; unpack it, and name what is in it")
    if kind != file_kinds.SCORE:
        return midi.read_pieces(
            path, percussion=percussion, sustain=sustain, tracks_apart=tracks_apart, content=content
        )
    from musicjax.music import musicxml  # its imports take time, and most corpora have no scores

    score, mended = musicxml.read(path, percussion=percussion)
    return [score], mended


def kind_of(path: str | os.PathLike, content: bytes | None = None) -> str:
    """What a file is, as in `file_kinds`; MIDI if nothing tells. content: its bytes, if they are at hand."""
    suffix = file_kinds.suffix_of(os.fspath(path))
    head = b"" if content is None else content[: file_kinds.HEAD_BYTES]
    if content is None:
        with contextlib.suppress(OSError), open(path, "rb") as stream:  # whoever reads it says why it cannot be opened
            head = stream.read(file_kinds.HEAD_BYTES)
    kind = file_kinds.of(head)
    if kind == file_kinds.ZIP:
        from musicjax.music import musicxml_file  # as above

        is_score = suffix in SCORE_SUFFIXES or musicxml_file.holds_score(path)
        return file_kinds.SCORE if is_score else kind
    if kind or not head:
        return kind
    return file_kinds.SCORE if suffix in SCORE_SUFFIXES else ARCHIVE_SUFFIXES.get(suffix, file_kinds.MIDI)


def reason_of(error: Exception) -> tuple[str, str]:
    """(a short and stable code, words) for why a file gives no notes, whatever reading it raised."""
    if isinstance(error, NoNotesError):
        return error.code, str(error)
    if isinstance(error, OSError):
        return "unreadable", error.strerror or str(error)
    return "reader_error", f"{type(error).__name__}: {error}"
