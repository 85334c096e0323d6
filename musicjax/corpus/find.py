"""Folder -> the files of music in it, and the archives that may hold some."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from musicjax.errors import RunError
from musicjax.music import file_kinds
from musicjax.music.file_kinds import SUFFIXES, suffix_of

# What a folder of shards has once it is whole. While it is being written: what is not finished, and how that began.
SHARDS, WORK, BEGAN = "shards.json", ".work", "began.json"
FIRST_ROWS = "rows-00000.array_record"  # the first file of shards
# What is said of shards without their manifest.
LACKING = (
    f"shards whose {SHARDS} is missing, and cannot be mended; write new ones into another folder, with musicjax data "
    "--output=DIR"
)


class Found(NamedTuple):
    """What a source holds.

    Attributes:
        paths: files of music and archives, each once, sorted.
        foreign: .xml files that are something other than music, sorted.
        runs: folders of musicjax's own runs, which are left out, sorted.
    """

    paths: list[Path]
    foreign: list[Path]
    runs: tuple[Path, ...] = ()


def is_foreign(name: str, head: bytes) -> bool:
    """Whether a file is named .xml and begins like no score, packed or not."""
    return name.lower().endswith(".xml") and file_kinds.of(head) not in (file_kinds.SCORE, file_kinds.ZIP)


def foreign_words(count: int) -> str:
    """What is said of this many foreign files, by the name of the first one, so that they take one line."""
    return "is not MusicXML" + (f"; this line stands for all {count:,} such .xml files" if count > 1 else "")


def find(source: Path) -> Found:
    """The files of music and the archives below a folder (or the one file named), as `walk` finds them.

    Raises:
        RunError: there is none.
    """
    if source.is_file():
        return Found([source], [])
    found: list[Path] = []
    foreign: list[Path] = []
    runs: list[str] = []
    seen: set[tuple[int, int]] = set()
    for path, status in walk(source, runs):
        if status is not None and (status.st_dev, status.st_ino) in seen:
            continue
        try:
            (foreign if status is not None and is_foreign_file(path) else found).append(Path(path))
        except OSError:
            found.append(Path(path))
        if status is not None:
            seen.add((status.st_dev, status.st_ino))
    if not found:
        raise nothing(str(source), len(foreign))
    return Found(sorted(found), sorted(foreign), tuple(sorted(map(Path, runs))))


def nothing(source: str, foreign: int) -> RunError:
    """The error of a source that holds no music, but this many foreign files."""
    others = f" (but {foreign} .xml files that are not MusicXML)" if foreign else ""
    return RunError(
        f"data source {source}: no {' '.join(SUFFIXES)} file in it or below{others}; name a folder that has some"
    )


def walk(
    source: Path, runs: list[str], entered: Iterable[tuple[int, int]] = ()
) -> Iterator[tuple[str, os.stat_result | None]]:
    """Yields the path and the status of each file below a folder whose name is one of music or of an archive.

    Follows links wherever they lead, so a file may come more than once, but a folder does not. A run of musicjax below
    the folder is left out, so that no model learns from its own music. A folder, or a link to a file, that cannot be
    opened comes without a status, so that whoever reads it reports it.

    Args:
        runs: gets the folders of musicjax's own runs.
        entered: device and inode of folders that are left out.
    """
    known = set(entered)
    unreadable: list[str] = []
    for folder, subfolders, names in os.walk(source, onerror=lambda e: unreadable.append(e.filename), followlinks=True):
        status = os.stat(folder)
        # Links may lead in a loop, so no folder is entered twice.
        if (status.st_dev, status.st_ino) in known:
            subfolders.clear()
            continue
        known.add((status.st_dev, status.st_ino))
        own = [name for name in subfolders if _is_run(Path(folder, name))]
        runs += [os.path.join(folder, name) for name in own]
        subfolders[:] = sorted(name for name in subfolders if name not in own and not _is_unfinished(folder, name))
        for name in sorted(names):
            if not suffix_of(name):
                continue
            path = os.path.join(folder, name)
            try:
                file_status = os.stat(path)
            except OSError:  # a link to nowhere
                yield path, None
                continue
            # To open a pipe would wait for a writer for ever.
            if stat.S_ISREG(file_status.st_mode):
                yield path, file_status
    for path in unreadable:
        yield path, None


def holds_shards(folder: str | Path) -> bool:
    """Whether a source is a folder of shards, sound or damaged, see `shards.shards`."""
    return os.path.isfile(os.path.join(folder, SHARDS))


def lacks_manifest(folder: str | Path) -> bool:
    """Whether a folder holds finished shards, but for the file that says what they are."""
    others = os.path.isfile(os.path.join(folder, SHARDS)) or os.path.isfile(os.path.join(folder, WORK, BEGAN))
    return not others and os.path.isfile(os.path.join(folder, FIRST_ROWS))


def _is_run(folder: Path) -> bool:
    """Whether a folder holds what every run writes first."""
    return all((folder / name).is_file() for name in ("config.json", "metrics.jsonl"))


def _is_unfinished(folder: str, name: str) -> bool:
    """Whether a folder is what a writer of shards works in, which holds unpacked files."""
    return name == WORK and os.path.isfile(os.path.join(folder, name, BEGAN))


def is_foreign_file(path: str) -> bool:
    """Whether a file is foreign, see `is_foreign`; raises OSError if it cannot be read."""
    if not path.lower().endswith(".xml"):
        return False
    with open(path, "rb") as stream:
        return is_foreign(path, stream.read(file_kinds.HEAD_BYTES))
