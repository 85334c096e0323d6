"""What was read from files, kept on disk under the hash of their content: a second start reads no MIDI at all."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import tempfile
from pathlib import Path

from musicjax import arguments, console, files
from musicjax.config import DataConfig
from musicjax.corpus import worker
from musicjax.corpus.read import Options, Reading
from musicjax.errors import RunError
from musicjax.music import READER_VERSION
from musicjax.music.file_kinds import ARCHIVE_SUFFIXES, SCORE_SUFFIXES, suffix_of
from musicjax.music.notes import Notes

# The version of an entry's bytes: raise it whenever `worker.send` writes others. READER_VERSION then stays as it is,
# since it is part of the fingerprints of runs' data, and their notes are the same.
FORMAT_VERSION = 2
TRIED_BYTES = 4096
# Codes of readings that another try may change, so that they are not kept.
PASSING = ("time_limit", "memory_limit", "reader_died", "unreadable", "cannot_unpack")


def cache_folder(data: DataConfig) -> Path | None:
    """The cache that the config names, made if need be; None if it is off, or none is named and the user's cannot be.

    Raises:
        RunError: one that the config names cannot be written.
    """
    if data.cache == "off":
        return None
    if data.cache:
        return _made(data.cache)
    try:
        return _made(os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "musicjax"))
    except RunError as error:  # as for users without a home folder
        console.say_once("cache", f"none, so nothing is kept for the next start: {error}")
        return None


def _made(base: str) -> Path:
    folder = Path(arguments.expanded(base))
    try:
        if folder.parts[0].startswith("~"):
            raise FileNotFoundError(errno.ENOENT, f"no home folder {folder.parts[0]} on this machine")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise cannot_write(folder, error) from error
    return folder


def has_room(cache: Path) -> bool:
    """Whether the cache takes content; a full disk may take new files, but nothing in them."""
    try:
        with tempfile.TemporaryFile(dir=cache) as stream:
            stream.write(bytes(TRIED_BYTES))
    except OSError:
        return False
    return True


def entry(cache: Path, path: Path, sha256: str, options: Options) -> Path:
    """Where the reading of a file of this content is kept. How a file is read may depend on its suffix, too."""
    suffix, kind = suffix_of(path.name), f"{'all' if options.percussion else 'pitched'}-{options.sustain}"
    kind += "-apart" * options.tracks_apart
    name = f"{sha256}-{suffix[1:]}" if suffix in (*SCORE_SUFFIXES, *ARCHIVE_SUFFIXES) else sha256
    return cache / f"notes-v{READER_VERSION}-f{FORMAT_VERSION}-{kind}" / name[:2] / name


def load(kept: Path) -> tuple[Reading, list[Notes]] | None:
    """The reading that an entry holds; None if there is none, or a damaged one, so that the file is read again."""
    with contextlib.suppress(OSError, ValueError, TypeError, EOFError):
        # From memory: a damaged head may ask for any number of bytes, for which a file would make room.
        return worker.receive(io.BytesIO(kept.read_bytes()))
    return None


def store(kept: Path, reading: Reading, pieces: list[Notes]) -> None:
    """Keeps a reading, unless another try may change it; raises OSError if it cannot be written."""
    if reading.code in PASSING:
        return
    kept.parent.mkdir(parents=True, exist_ok=True)
    with files.whole(kept) as partial, partial.open("wb") as stream:
        worker.send(stream, reading, pieces)


def say_full(cache: Path, error: OSError) -> None:
    """Says once that the cache can no longer be written: its disk is full, or it has become read-only."""
    console.say_once("cache", f"nothing more is kept for the next start: {cannot_write(cache, error)}")


def cannot_write(cache: Path, error: OSError) -> RunError:
    """The error of a cache that cannot be written."""
    return RunError(
        f"cache folder {cache} cannot be written: {error.strerror}; "
        "name another with --config.data.cache=DIR, or --config.data.cache=off"
    )
