"""What was read from files, kept on disk under the hash of their content: a second start reads no MIDI at all."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path

from musicjax.config import DataConfig
from musicjax.corpus import pool, worker
from musicjax.errors import RunError
from musicjax.music import midi
from musicjax.music.notes import Notes


def cache_folder(data: DataConfig) -> Path | None:
    """Where the notes of files are kept, made if need be; None if the config says off."""
    if data.cache == "off":
        return None
    base = data.cache or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "musicjax")
    folder = Path(base).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise cannot_write(folder, error) from error
    return folder


def _entry(cache: Path, content: str, percussion: bool) -> Path:
    kind = "all" if percussion else "pitched"
    return cache / f"notes-v{midi.READER_VERSION}-{kind}" / content[:2] / content


def load(cache: Path, content: str, percussion: bool) -> tuple[worker.Reading, Notes | None] | None:
    """What the cache holds for a file; None if nothing, or something damaged: the file is read again."""
    with contextlib.suppress(OSError, ValueError, TypeError, EOFError):
        return worker.receive(io.BytesIO(_entry(cache, content, percussion).read_bytes()))
    return None


def store(cache: Path, content: str, percussion: bool, outcome: worker.Reading, notes: Notes | None) -> None:
    """Keeps what was read from a file of this hash; raises RunError if it cannot be written."""
    if not content or outcome.code in pool.PASSING:
        return  # another try may go better
    entry = _entry(cache, content, percussion)
    partial = entry.with_name(f"{content}.{os.getpid()}")
    try:
        try:
            stream = partial.open("wb")
        except FileNotFoundError:
            entry.parent.mkdir(parents=True, exist_ok=True)
            stream = partial.open("wb")
        with stream:
            worker.send(stream, outcome, notes)
        partial.replace(entry)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise cannot_write(cache, error) from error


def cannot_write(cache: Path, error: OSError) -> RunError:
    """What to tell the user."""
    return RunError(
        f"cache folder {cache} cannot be written: {error.strerror}; "
        "name another with --config.data.cache=DIR, or --config.data.cache=off"
    )
