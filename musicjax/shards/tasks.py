"""A source -> lists of its files in order, some hundred each: the tasks of writing shards.

What was done for a list stays good as long as its files are the same; a file that comes or goes changes the list that
it is in, and no other. The lists are files, so that nobody holds the names of a million files for long.
"""

from __future__ import annotations

import array
import glob
import hashlib
import json
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from musicjax import files
from musicjax.corpus import find
from musicjax.corpus.names import Names
from musicjax.corpus.read import Reading, skipped
from musicjax.errors import RunError
from musicjax.music.file_kinds import ARCHIVE_SUFFIXES, suffix_of

# About how many files a list has: at least half as many and at most twice.
LIST_FILES = 512


class Entry(NamedTuple):
    """A file to be read, or one whose outcome is known beforehand.

    Attributes:
        name: its path relative to the source.
        path: where it is; empty if there is nothing to read.
        sha256: of its bytes; empty if whoever reads it has to find out.
        known: (status, code, detail) of its reading if there is nothing to read.
        version: changes with its content, as far as can be told without reading it.
        size: bytes.
    """

    name: str
    path: str
    sha256: str = ""
    known: tuple[str, str, str] | None = None
    version: str = ""
    size: int = 0


class Listing(NamedTuple):
    """What a source holds, F files in order.

    Attributes:
        root: the folder that they are in.
        names: of each, relative to the root.
        sizes, times: bytes, and when each was changed, ns: int64 [F].
        foreign: how many .xml files are no music; only the first of them is among the names.
        first_foreign: its index; -1 if there is none.
        runs: folders of musicjax's own runs, which are left out.
    """

    root: str
    names: Names
    sizes: np.ndarray
    times: np.ndarray
    foreign: int
    first_foreign: int
    runs: Sequence[str]


class Task(NamedTuple):
    """A list of files: a digest of what they are, and how many they are."""

    digest: str
    files: int


def listing(folder: Path, paths: Sequence[Path] | None, output: Path) -> Listing:
    """What a folder holds, or a single file.

    Args:
        paths: the files of the folder that count; None: all that are music.
        output: a folder that is left out.

    Raises:
        RunError: there is none.
    """
    root = str(folder if folder.is_dir() else folder.parent)
    own = os.stat(output) if output.exists() else None
    runs: list[str] = []
    if paths is not None or not folder.is_dir():
        found: Iterable[tuple[str, os.stat_result | None]] = ((str(path), _status(path)) for path in paths or [folder])
    else:
        found = find.walk(folder, runs, [] if own is None else [(own.st_dev, own.st_ino)])
    return _listing(root, found, runs, str(folder))


def of_pattern(pattern: str, output: Path) -> Listing:
    """What a pattern such as music/**/*.mid names; folders that it names count with all that they hold.

    Raises:
        RunError: there is none.
    """
    root = pattern
    while glob.has_magic(root):
        root = os.path.dirname(root)
    if next(glob.iglob(pattern, recursive=True), None) is None:
        raise RunError(
            f"data source {pattern}: no file matches the pattern; expected one or more; write another, in quotes, such "
            "as 'music/**/*.mid'"
        )
    own = os.stat(output) if output.exists() else None
    entered = [] if own is None else [(own.st_dev, own.st_ino)]
    runs: list[str] = []

    def found() -> Iterator[tuple[str, os.stat_result | None]]:
        for path in glob.iglob(pattern, recursive=True):
            if os.path.isdir(path) and not pattern.endswith("**"):
                yield from find.walk(Path(path), runs, entered)
            elif suffix_of(path):
                status = _status(Path(path))
                if status is None or stat.S_ISREG(status.st_mode):  # to open a pipe would wait for a writer for ever
                    yield path, status

    return _listing(root, found(), runs, pattern)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _listing(
    root: str, found: Iterable[tuple[str, os.stat_result | None]], runs: Sequence[str], source: str
) -> Listing:
    """The listing of files that were found, each once, the first of several names."""
    inside = os.path.join(root, "")
    # A null byte sorts as the end of a folder's name does.
    keys: list[str] = []
    facts = array.array("q")
    odd: list[int] = []
    for path, status in found:
        if status is None:
            facts.extend((-1, len(keys), -1, 0))
        else:
            facts.extend((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
            if _is_foreign(path):
                odd.append(len(keys))
        keys.append(path.removeprefix(inside).replace(os.sep, "\0"))
    table = np.frombuffer(facts, np.int64).reshape(-1, 4)
    once = _first_of_each(table[:, 0], table[:, 1])
    foreign = sorted((index for index in odd if once[index]), key=keys.__getitem__)
    once[foreign[1:]] = False
    if not once.sum() - len(foreign[:1]):
        raise find.nothing(source, len(foreign))
    order = sorted(np.flatnonzero(once).tolist(), key=keys.__getitem__)
    first = order.index(foreign[0]) if foreign else -1
    names = Names()
    for index in order:
        names.append(keys[index].replace("\0", "/"))
        keys[index] = ""  # a million of them take room
    return Listing(os.path.abspath(root), names, table[order, 2], table[order, 3], len(foreign), first, sorted(runs))


def _first_of_each(device: np.ndarray, inode: np.ndarray) -> np.ndarray:
    """Which of F files are not the same as an earlier one, bool [F]; device, inode: int64 [F]."""
    order = np.lexsort((inode, device))  # which keeps the order of files that are the same
    differs = np.ones(len(order), bool)
    differs[1:] = np.diff(inode[order]) != 0
    differs[1:] |= np.diff(device[order]) != 0
    found = np.zeros(len(order), bool)
    found[order[differs]] = True
    return found


def _is_foreign(path: str) -> bool:
    try:
        return find.is_foreign_file(path)
    except OSError:
        return False


def archives(listing: Listing) -> list[Entry]:
    """The archives of a listing, by their names."""
    return [entry for entry in _own(listing) if entry.path and suffix_of(entry.name) in ARCHIVE_SUFFIXES]


def entries(listing: Listing, members: Callable[[Entry], Iterable[Entry] | None]) -> Iterator[Entry]:
    """All files of a listing, with those in its archives.

    Args:
        members: what stands for an archive; None: it is none.
    """
    for entry in _own(listing):
        inside = members(entry) if entry.path and suffix_of(entry.name) in ARCHIVE_SUFFIXES else None
        yield from [entry] if inside is None else inside


def _own(listing: Listing) -> Iterator[Entry]:
    for index, (name, size, time) in enumerate(
        zip(listing.names, listing.sizes.tolist(), listing.times.tolist(), strict=True)
    ):
        version = f"{size}-{time}"
        if index == listing.first_foreign:
            reading = skipped("not_musicxml", find.foreign_words(listing.foreign))
            yield Entry(name, "", known=_known(reading), version=version, size=size)
        else:
            yield Entry(name, os.path.join(listing.root, name), version=version, size=size)


def _known(reading: Reading) -> tuple[str, str, str]:
    return reading.status, reading.code, reading.detail


def write_lists(entries: Iterable[Entry], folder: Path) -> tuple[list[Task], str]:
    """Writes the lists, those that are not there yet; returns the tasks and the sha256 of all names and sizes.

    A list ends where the hash of a name says so. So the lists behind a file that comes or goes stay as they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tasks: list[Task] = []
    waiting: list[Entry] = []
    everything = hashlib.sha256()

    def write() -> None:
        text = json.dumps([[*entry[:4]] for entry in waiting])
        versions = json.dumps([entry.version for entry in waiting])
        task = Task(hashlib.sha256(f"{text}{versions}".encode()).hexdigest()[:16], len(waiting))
        tasks.append(task)
        path = list_of(folder, task)
        if not path.exists():
            with files.whole(path) as partial:
                partial.write_text(text)
        waiting.clear()

    for entry in entries:
        everything.update(_line(entry))
        if len(waiting) == 2 * LIST_FILES or (len(waiting) >= LIST_FILES // 2 and _ends_before(entry.name)):
            write()
        waiting.append(entry)
    if waiting:
        write()
    return tasks, everything.hexdigest()


def digest(listing: Listing) -> str:
    """The sha256 of all names and sizes, as `write_lists` gives it, of a listing without archives."""
    found = hashlib.sha256()
    for entry in _own(listing):
        found.update(_line(entry))
    return found.hexdigest()


def _line(entry: Entry) -> bytes:
    return f"{json.dumps(entry.name)} {entry.size} {entry.sha256}\n".encode()


def _ends_before(name: str) -> bool:
    return zlib.crc32(name.encode("utf-8", "surrogateescape")) % max(LIST_FILES // 2, 1) == 0


def list_of(folder: Path, task: Task) -> Path:
    """Where the list of a task is."""
    return folder / f"list-{task.digest}.json"


def read_list(path: str | Path) -> list[Entry]:
    """The entries of a list, without what only its digest needs."""
    return [entry_of(saved) for saved in json.loads(Path(path).read_text())]


def entry_of(saved: Sequence[Any]) -> Entry:
    """An entry from JSON: its first four fields."""
    name, path, sha256, known = saved
    return Entry(name, path, sha256, known and (known[0], known[1], known[2]))
