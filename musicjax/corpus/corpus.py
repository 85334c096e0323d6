"""Folder of MIDI and MusicXML files -> Corpus, and one outcome for each file found.

Files are read by a pool of processes with a time limit each, and kept in a cache under the hash of
their content, so that a second start reads no MIDI at all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from musicjax.config import DataConfig
from musicjax.corpus import cache as cache_lib
from musicjax.corpus import datasets, pool, worker
from musicjax.corpus.cache import cache_folder
from musicjax.errors import RunError
from musicjax.music import midi, musicxml
from musicjax.music.notes import FIELDS, Notes

SUFFIXES = (".mid", ".midi", ".kar", ".rmi", *musicxml.SUFFIXES)
OnProgress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        path: relative to the source.
        status: "kept", "recovered" or "skipped".
        code: short stable reason; "kept" where nothing was wrong.
        detail: the reason, or all that was mended, in words.
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
        names: P paths, relative to the source, sorted; #1, #2 ... behind those of a file of several pieces.
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
        own = folders(self.names)
        split = [] if own is None else ["".join(map(str, own))]
        text = "\n".join([str(midi.READER_VERSION), str(len(self.notes)), *self.hashes, *split])
        return hashlib.sha256(text.encode()).hexdigest()


def read(data: DataConfig, on_progress: OnProgress = lambda done, total: None) -> tuple[Corpus, list[Outcome]]:
    """Reads the source that the config names.

    Args:
        data: source, cache, workers, seconds_per_file and percussion are used.
        on_progress: called with (files done, files found).

    Returns:
        The corpus of all files that gave notes (perhaps none), and an Outcome for each file found, by path.

    Raises:
        RunError: no such source, no file of music in it, a data set that is not here, or no way to write the cache.
    """
    cache = cache_folder(data)
    if datasets.is_name(data.source):
        place, paths = datasets.find(data.source, cache)
        return _read_source(place, cache, data, on_progress, paths)
    if data.source != "builtin":
        return _read_source(Path(data.source).expanduser(), cache, data, on_progress)
    if cache is not None:
        return _read_source(_builtin_folder(cache), cache, data, on_progress)
    from musicjax.music import composer  # only where it is needed, so that a cached start is quick

    with tempfile.TemporaryDirectory() as folder:
        composer.write_corpus(Path(folder))
        return _read_source(Path(folder), None, data, on_progress)


def find_files(source: Path) -> list[Path]:
    """The files of music below a folder (or the one file named), each once, sorted by path.

    Raises:
        RunError: nothing is there.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise RunError(
            f"data source {source}: no such folder; expected builtin, a data set ({', '.join(datasets.NAMES)}) or a "
            f"folder with {' '.join(SUFFIXES)} files"
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


def held_out(corpus: Corpus, data: DataConfig, long_enough: np.ndarray | None = None) -> np.ndarray:
    """Which pieces validate, bool [P]: a share of those long enough for a window, chosen by content.

    Files of equal content fall on the same side. Where the source has folders for it (see `folders`), they decide.

    Args:
        long_enough: bool [P], which pieces may be chosen; None: those of more notes than a window. Given for
            frames, those of more than one.

    Raises:
        RunError: fewer than two different pieces are long enough.
    """
    own = folders(corpus.names)
    if own is not None:
        return own == 1
    needed, advice = "one frame", "add files"
    if long_enough is None:
        long_enough, needed = np.diff(corpus.offsets) > data.window, f"{data.window} notes"
        advice = "add files, lower --config.data.window, or use --config.data.split=windows"
    hashes = sorted(
        {name for name, enough in zip(corpus.hashes, long_enough, strict=True) if enough},
        key=lambda name: hashlib.sha256(f"{data.split_seed}:{name}".encode()).digest(),
    )
    if len(hashes) < 2:
        raise RunError(
            f"data source {data.source}: pieces that differ and have more than {needed}: {len(hashes)}, "
            f"and holding out whole pieces needs two; {advice}"
        )
    count = min(max(1, round(data.validation_fraction * len(hashes))), len(hashes) - 1)
    chosen = set(hashes[:count])
    return np.array([name in chosen for name in corpus.hashes]) & long_enough


def folders(names: Sequence[str]) -> np.ndarray | None:
    """The split that P paths have of themselves, int8 [P]: 0 below train/, 1 below valid/ or validation/, 2 test/.

    None if none of them lies in a folder valid/ or test/.

    Raises:
        RunError: some do, and others lie elsewhere, or there is none in train/ or valid/.
    """
    kinds = {"train": 0, "valid": 1, "validation": 1, "test": 2}
    found = [kinds.get(name.split("/")[0].lower(), -1) if "/" in name else -1 for name in names]
    if not {1, 2} & set(found):
        return None
    advice = "expected all pieces in train/, valid/ and test/, some in each of the first two; rename the folders if not"
    if -1 in found:
        raise RunError(f"{names[found.index(-1)]} lies beside folders that are a split: {advice}")
    for kind, folder in enumerate(("train", "valid")):
        if kind not in found:
            raise RunError(f"no piece in {folder}/, but folders that are a split: {advice}")
    return np.array(found, np.int8)


def without_tests(corpus: Corpus) -> Corpus:
    """The corpus without the pieces of its test folder, which neither train nor validate."""
    own = folders(corpus.names)
    if own is None or not (own == 2).any():
        return corpus
    kept, lengths = own != 2, np.diff(corpus.offsets)
    offsets = np.cumsum([0, *lengths[kept].tolist()], dtype=np.int64)
    names, hashes = (tuple(np.array(of, object)[kept].tolist()) for of in (corpus.names, corpus.hashes))
    return Corpus(corpus.notes[np.repeat(kept, lengths)], offsets, names, hashes)


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
                raise cache_lib.cannot_write(cache, error) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return folder


def _read_source(
    source: Path, cache: Path | None, data: DataConfig, on_progress: OnProgress, paths: list[Path] | None = None
) -> tuple[Corpus, list[Outcome]]:
    paths = find_files(source) if paths is None else paths
    root = source if source.is_dir() else source.parent
    hashes: dict[Path, str] = {}
    known: dict[Path, tuple[worker.Reading, Notes | None]] = {}
    waiting = _look_up(paths, cache, data.percussion, hashes, known)
    on_progress(0, len(paths))
    for path, outcome, notes in pool.read_files(waiting, data.workers, data.seconds_per_file, data.percussion):
        known[path] = (outcome, notes)
        if cache is not None:
            cache_lib.store(cache, _key(path, hashes), data.percussion, outcome, notes)
        on_progress(len(known), len(paths))
    outcomes, pieces = [], []
    for path in paths:
        outcome, notes = known[path]
        name = path.relative_to(root).as_posix()
        own = [] if notes is None else _split(notes, outcome.lengths)
        count, seconds = sum(map(len, own)), sum(piece.seconds for piece in own)
        told = (outcome.status, outcome.code, outcome.detail)
        outcomes.append(Outcome(name, *told, count, seconds, hashes.get(path, "")))
        names = [name] if len(own) == 1 else [f"{name}#{number + 1}" for number in range(len(own))]
        pieces += [(named, hashes.get(path, ""), piece) for named, piece in zip(names, own, strict=True)]
    return _join(pieces), outcomes


def _split(notes: Notes, lengths: Sequence[int]) -> list[Notes]:
    """The pieces of a file, which lie one behind the other."""
    ends = np.cumsum(lengths).tolist()
    return [notes[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _join(pieces: list[tuple[str, str, Notes]]) -> Corpus:
    if not pieces:
        return Corpus(Notes.from_array(np.zeros((len(FIELDS), 0))), np.zeros(1, np.int64), (), ())
    names, hashes, notes = zip(*pieces, strict=True)
    flat = Notes(*(np.concatenate([getattr(piece, field) for piece in notes]) for field in FIELDS))
    offsets = np.cumsum([0, *map(len, notes)], dtype=np.int64)
    return Corpus(flat, offsets, names, hashes)


def _key(path: Path, hashes: dict[Path, str]) -> str:
    """What a file is cached under; empty if it could not be read. How bytes are read depends on the file's name too."""
    content = hashes.get(path, "")
    suffix = path.suffix.lower()
    return f"{content}-{suffix[1:]}" if content and suffix in musicxml.SUFFIXES else content


def _look_up(
    paths: list[Path],
    cache: Path | None,
    percussion: bool,
    hashes: dict[Path, str],
    known: dict[Path, tuple[worker.Reading, Notes | None]],
) -> Iterator[Path]:
    """Yields each path that is not in the cache; fills in `hashes`, and `known` with what is."""
    for path in paths:
        try:
            hashes[path] = worker.content_hash(str(path))
        except OSError as error:
            known[path] = (worker.skipped("unreadable", error.strerror or str(error)), None)
            continue
        found = None if cache is None else cache_lib.load(cache, _key(path, hashes), percussion)
        if found is None:
            yield path
        else:
            known[path] = found
