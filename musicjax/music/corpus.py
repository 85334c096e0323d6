"""Folder of MIDI files -> Corpus, and one outcome for each file found.

Files are read by a pool of processes with a time limit each, and kept in a cache under the hash of
their content, so that a second start reads no MIDI at all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from musicjax.config import DataConfig
from musicjax.errors import RunError
from musicjax.music import midi, pool, reader
from musicjax.music.notes import FIELDS, Notes

SUFFIXES = (".mid", ".midi", ".kar")
OnProgress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        path: relative to the source.
        status: "kept", "recovered" or "skipped".
        code: short stable reason; "kept" where nothing was wrong.
        detail: the reason in words.
        notes: how many notes it gave.
        seconds: length of its music.
        sha256: of its bytes; empty where they could not be read.
    """

    path: str
    status: str
    code: str
    detail: str
    notes: int
    seconds: float
    sha256: str


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """P pieces as flat arrays; piece p is notes[offsets[p]:offsets[p + 1]], its onsets start anew.

    Attributes:
        notes: Notes of all pieces, N.
        offsets: int64 [P + 1].
        names: P paths, relative to the source, sorted.
        hashes: P sha256 of the files.
    """

    notes: Notes
    offsets: np.ndarray
    names: tuple[str, ...]
    hashes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def piece(self, index: int) -> Notes:
        """The notes of one piece."""
        return self.notes[self.offsets[index] : self.offsets[index + 1]]

    @property
    def fingerprint(self) -> str:
        """sha256 over the content of all pieces in order and the reader's version."""
        text = "\n".join([str(midi.READER_VERSION), str(len(self.notes)), *self.hashes])
        return hashlib.sha256(text.encode()).hexdigest()


def read(data: DataConfig, on_progress: OnProgress = lambda done, total: None) -> tuple[Corpus, list[Outcome]]:
    """Reads the source that the config names.

    Args:
        data: source, cache, workers, seconds_per_file and percussion are used.
        on_progress: called with (files done, files found).

    Returns:
        The corpus of all files that gave notes (perhaps none), and an Outcome for each file found, by path.

    Raises:
        RunError: no such source, no MIDI file in it, or no way to write the cache.
    """
    cache = cache_folder(data)
    if data.source != "builtin":
        return _read_source(Path(data.source).expanduser(), cache, data, on_progress)
    if cache is not None:
        return _read_source(_builtin_folder(cache), cache, data, on_progress)
    from musicjax.music import composer  # only where it is needed, so that a cached start is quick

    with tempfile.TemporaryDirectory() as folder:
        composer.write_corpus(Path(folder))
        return _read_source(Path(folder), None, data, on_progress)


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
        raise _cache_error(folder, error) from error
    return folder


def find_files(source: Path) -> list[Path]:
    """The MIDI files below a folder (or the one file named), each once, sorted by path.

    Raises:
        RunError: nothing is there.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise RunError(
            f"data source {source}: no such folder; expected builtin or a folder with {' '.join(SUFFIXES)} files"
        )
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()

    def is_new(status: os.stat_result) -> bool:
        known = (status.st_dev, status.st_ino) in seen
        seen.add((status.st_dev, status.st_ino))
        return not known

    def unreadable(error: OSError) -> None:  # listed, so that it is reported
        found.append(Path(error.filename))

    for folder, subfolders, names in os.walk(source, onerror=unreadable, followlinks=True):
        # Links are followed, but no folder is entered twice.
        if not is_new(os.stat(folder)):
            subfolders.clear()
            continue
        subfolders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix.lower() not in SUFFIXES:
                continue
            try:
                status = path.stat()
            except OSError:  # a link to nowhere; listed, so that it is reported as unreadable
                found.append(path)
                continue
            if stat.S_ISREG(status.st_mode) and is_new(status):
                found.append(path)
    if not found:
        raise RunError(
            f"data source {source}: no {' '.join(SUFFIXES)} file in it or below; name a folder that has some"
        )
    return sorted(found)


def held_out(corpus: Corpus, data: DataConfig) -> np.ndarray:
    """Which pieces validate, bool [P]: a share of those long enough for a window, chosen by content.

    Files of equal content fall on the same side.

    Raises:
        RunError: fewer than two different pieces are long enough.
    """
    long_enough = np.diff(corpus.offsets) > data.window
    hashes = sorted(
        {name for name, enough in zip(corpus.hashes, long_enough, strict=True) if enough},
        key=lambda name: hashlib.sha256(f"{data.split_seed}:{name}".encode()).digest(),
    )
    if len(hashes) < 2:
        raise RunError(
            f"data source {data.source}: pieces that differ and have more than {data.window} notes: {len(hashes)}, "
            "and holding out whole pieces needs two; add files, lower --config.data.window, "
            "or use --config.data.split=windows"
        )
    count = min(max(1, round(data.validation_fraction * len(hashes))), len(hashes) - 1)
    chosen = set(hashes[:count])
    return np.array([name in chosen for name in corpus.hashes]) & long_enough


def write_report(outcomes: Sequence[Outcome], path: Path) -> None:
    """One JSON object a line, in the order of the files."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text("".join(json.dumps(dataclasses.asdict(outcome)) + "\n" for outcome in outcomes))
    partial.replace(path)


def counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """{"kept", "recovered", "skipped", "notes"}; the first three add up to the files found."""
    statuses = [outcome.status for outcome in outcomes]
    return {status: statuses.count(status) for status in ("kept", "recovered", "skipped")} | {
        "notes": sum(outcome.notes for outcome in outcomes)
    }


def _builtin_folder(cache: Path) -> Path:
    from musicjax.music import composer

    folder = cache / f"builtin-v{composer.COMPOSER_VERSION}"
    if not folder.is_dir():
        # Composed aside and renamed, so that a start that is cut off leaves no half corpus.
        aside = Path(tempfile.mkdtemp(dir=cache))
        try:
            composer.write_corpus(aside)
            aside.rename(folder)
        except OSError as error:
            if not folder.is_dir():  # else another start was first
                raise _cache_error(cache, error) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return folder


def _read_source(
    source: Path, cache: Path | None, data: DataConfig, on_progress: OnProgress
) -> tuple[Corpus, list[Outcome]]:
    paths = find_files(source)
    root = source if source.is_dir() else source.parent
    hashes, read_already = _look_up(paths, cache, data.percussion)
    waiting = [path for path in paths if path not in read_already]
    done = len(paths) - len(waiting)
    on_progress(done, len(paths))
    fresh = {}
    for path, outcome, notes in pool.read_files(waiting, data.workers, data.seconds_per_file, data.percussion):
        fresh[path] = (outcome, notes)
        if cache is not None:
            _store(cache, hashes.get(path, ""), data.percussion, outcome, notes)
        done += 1
        on_progress(done, len(paths))
    outcomes, pieces = [], []
    for path in paths:
        outcome, notes = read_already.get(path) or fresh[path]
        name = path.relative_to(root).as_posix()
        status = "skipped" if notes is None else "kept"
        count, seconds = (0, 0.0) if notes is None else (len(notes), notes.seconds)
        outcomes.append(Outcome(name, status, outcome.code, outcome.detail, count, seconds, hashes.get(path, "")))
        if notes is not None:
            pieces.append((name, hashes.get(path, ""), notes))
    return _join(pieces), outcomes


def _join(pieces: list[tuple[str, str, Notes]]) -> Corpus:
    if not pieces:
        return Corpus(Notes.from_array(np.zeros((len(FIELDS), 0))), np.zeros(1, np.int64), (), ())
    names, hashes, notes = zip(*pieces, strict=True)
    flat = Notes(*(np.concatenate([getattr(piece, field) for piece in notes]) for field in FIELDS))
    offsets = np.cumsum([0, *map(len, notes)], dtype=np.int64)
    return Corpus(flat, offsets, names, hashes)


def _cache_entry(cache: Path, content: str, percussion: bool) -> Path:
    kind = "all" if percussion else "pitched"
    return cache / f"notes-v{midi.READER_VERSION}-{kind}" / content[:2] / content


def _look_up(
    paths: list[Path], cache: Path | None, percussion: bool
) -> tuple[dict[Path, str], dict[Path, tuple[reader.Reading, Notes | None]]]:
    """({path: sha256}, {path: (outcome, notes)} of those in the cache)."""
    hashes: dict[Path, str] = {}
    found: dict[Path, tuple[reader.Reading, Notes | None]] = {}
    for path in paths:
        try:
            hashes[path] = reader.content_hash(str(path))
        except OSError as error:
            found[path] = (reader.Reading("unreadable", error.strerror or str(error)), None)
            continue
        known = None if cache is None else _load(_cache_entry(cache, hashes[path], percussion))
        if known is not None:
            found[path] = known
    return hashes, found


def _load(entry: Path) -> tuple[reader.Reading, Notes | None] | None:
    """What the cache holds for a file; None if nothing, or something damaged: the file is read again."""
    with contextlib.suppress(OSError, ValueError, TypeError, EOFError):
        return reader.receive(io.BytesIO(entry.read_bytes()))
    return None


def _store(cache: Path, content: str, percussion: bool, outcome: reader.Reading, notes: Notes | None) -> None:
    if not content or outcome.code in pool.PASSING:
        return  # another try may go better
    entry = _cache_entry(cache, content, percussion)
    partial = None
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=entry.parent)
        with os.fdopen(handle, "wb") as stream:
            reader.send(stream, outcome, notes)
        os.replace(partial, entry)
    except OSError as error:
        if partial is not None:
            Path(partial).unlink(missing_ok=True)
        raise _cache_error(cache, error) from error


def _cache_error(cache: Path, error: OSError) -> RunError:
    return RunError(
        f"cache folder {cache} cannot be written: {error.strerror}; "
        "name another with --config.data.cache=DIR, or --config.data.cache=off"
    )
