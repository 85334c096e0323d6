"""Files that were found -> what each of them gave: from the cache where it knows them, else read by the pool.

An archive is read in two steps: a reading process unpacks its files of music, and they are read as others are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from musicjax import console, files
from musicjax.config import DataConfig
from musicjax.corpus import cache as cache_lib
from musicjax.corpus import pool
from musicjax.corpus.corpus import ReadFile
from musicjax.corpus.find import Found, foreign_words
from musicjax.corpus.read import Options, Reading, options_of, skipped
from musicjax.music.notes import Notes

UNPACKED = "unpacked"  # in the name of the folder that archives are unpacked into, which goes when they are read
OLD_SECONDS = 86_400.0  # such a folder that has not changed for so long was left by a start that was killed


def read(root: Path, found: Found, cache: Path | None, data: DataConfig, update: console.Update) -> Iterator[ReadFile]:
    """Each file as it was read, now or at an earlier start, in the order of the paths; those of archives among them.

    Args:
        root: the folder that all paths are in.
        cache: the folder of readings; None: there is none.
        data: workers, seconds_per_file, percussion, sustain and tracks are used.
        update: called with how many files are done, of how many.

    Raises:
        RunError: a reading process cannot be started.
    """
    total = len(found.paths)
    with _folder(cache) as folder:
        readings = _Readings(cache, options_of(data)._replace(unpacked=str(folder)))

        def ask(paths: Iterable[Path]) -> None:
            unknown = readings.unknown(paths)
            for result in pool.read_files(unknown, data.workers, data.seconds_per_file, readings.options):
                readings.add(*result)
                update(min(len(readings.done), total), total=total)  # a cached archive brings its files along

        ask(found.paths)
        members = readings.members()
        if members:
            total = len({*found.paths, *members})
            ask(members)
    for path in sorted([*found.paths, *found.foreign[:1]]):
        name = path.relative_to(root).as_posix()
        if path in found.foreign[:1]:
            yield ReadFile(name, "", skipped("not_musicxml", foreign_words(len(found.foreign))), [])
        else:
            yield from readings.of(path, name)


@contextlib.contextmanager
def _folder(cache: Path | None) -> Iterator[Path]:
    """The name of a folder for unpacking archives. If the folder gets made, it is removed at the end."""
    base = cache if cache is not None and cache_lib.has_room(cache) else Path(tempfile.gettempdir())
    for left in [] if cache is None else cache.glob(f".*-{UNPACKED}{files.PARTIAL}"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > OLD_SECONDS:
                files.remove(left)
    folder = base / f".{os.urandom(4).hex()}-{UNPACKED}{files.PARTIAL}"
    try:
        yield folder
    finally:
        if folder.is_dir():
            files.remove(folder)


@dataclasses.dataclass
class _Readings:
    """The readings so far. The reading of an archive names its files, which are unpacked under their hashes.

    Attributes:
        cache: the folder of readings; None: there is none.
        options: how files are read.
        is_full: whether the cache has stopped taking readings.
        hashes: the sha256 of each file.
        done: what became of each file.
    """

    cache: Path | None
    options: Options
    is_full: bool = False
    hashes: dict[Path, str] = dataclasses.field(default_factory=dict)
    done: dict[Path, tuple[Reading, list[Notes]]] = dataclasses.field(default_factory=dict)

    def unknown(self, paths: Iterable[Path]) -> Iterator[Path]:
        """The paths that are neither done nor known to the cache; those that it knows are done then."""
        for path in paths:
            if path in self.done:
                continue
            try:
                self.hashes[path] = self.hashes.get(path) or files.sha256(path)
            except OSError as error:
                self.done[path] = (skipped("unreadable", error.strerror or str(error)), [])
                continue
            if not self._is_known(path):
                yield path

    def _is_known(self, path: Path) -> bool:
        """Takes a file from the cache if it is there, with all files in it if it is an archive."""
        found = None if self.cache is None else cache_lib.load(self._entry(self.cache, path))
        if found is None or not all(own in self.done or self._is_known(own) for own in self._unpacked(found[0])):
            return False
        self.done[path] = found
        return True

    def add(self, path: Path, reading: Reading, pieces: list[Notes]) -> None:
        """Takes what the pool has read, and keeps it in the cache as long as the cache takes it."""
        self.done[path] = (reading, pieces)
        if self.cache is None or self.is_full:
            return
        try:
            cache_lib.store(self._entry(self.cache, path), reading, pieces)
        except OSError as error:
            self.is_full = True
            cache_lib.say_full(self.cache, error)

    def _entry(self, cache: Path, path: Path) -> Path:
        return cache_lib.entry(cache, path, self.hashes[path], self.options)

    def members(self) -> list[Path]:
        """The files of music in all archives so far, each content once."""
        found = [own for reading, _ in self.done.values() for own in self._unpacked(reading)]
        return list(dict.fromkeys(found))

    def _unpacked(self, reading: Reading) -> list[Path]:
        """Where the files of music in an archive are, or would be were it unpacked; takes over their hashes."""
        found = [member for member in reading.members if not member.status]
        paths = [Path(self.options.unpacked, member.file) for member in found]
        self.hashes |= {path: member.sha256 for path, member in zip(paths, found, strict=True)}
        return paths

    def of(self, path: Path, name: str) -> Iterator[ReadFile]:
        """A file under its name; of an archive the files in it, and the archive itself only if something is odd."""
        reading, pieces = self.done[path]
        if reading.status != "kept" or not reading.members:
            yield ReadFile(name, self.hashes.get(path, ""), reading, pieces)
        for member in reading.members:
            if member.status:
                outcome: tuple[Reading, list[Notes]] = Reading(member.status, member.code, member.detail), []
            else:
                outcome = self.done[Path(self.options.unpacked, member.file)]
            yield ReadFile(f"{name}/{member.name}", member.sha256, *outcome)
