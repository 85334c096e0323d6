"""Folder -> the files of music in it, and the archives that may hold some."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from musicjax.errors import RunError
from musicjax.music import file_kinds
from musicjax.music.file_kinds import SUFFIXES, suffix_of


class Found(NamedTuple):
    """What a source holds.

    Attributes:
        paths: files of music and archives, each once, sorted.
        foreign: .xml files that are something else than music, sorted.
        runs: folders of musicjax's own runs, which are left out, sorted.
    """

    paths: list[Path]
    foreign: list[Path]
    runs: tuple[Path, ...] = ()


def is_foreign(name: str, head: bytes) -> bool:
    """Whether a file is named .xml and begins like no score, packed or not."""
    return name.lower().endswith(".xml") and file_kinds.of(head) not in (file_kinds.SCORE, file_kinds.ZIP)


def foreign_words(count: int) -> str:
    """What is said of so many foreign files, by the name of the first one, so that they take one line."""
    return "is no MusicXML" + (f"; this line stands for all {count:,} such .xml files" if count > 1 else "")


def find(source: Path) -> Found:
    """The files of music and the archives below a folder (or the one file named).

    Follows links wherever they lead. Lists a file or folder once, however many links lead to it. A run
    of musicjax below the folder is left out, so that no model learns from its own music. A folder, or a link to a file,
    that cannot be opened is listed too, so that whoever reads it reports it.

    Raises:
        RunError: there is none.
    """
    if source.is_file():
        return Found([source], [])
    found: list[Path] = []
    foreign: list[Path] = []
    runs: list[Path] = []
    seen: set[tuple[int, int]] = set()

    def is_new(status: os.stat_result) -> bool:
        known = (status.st_dev, status.st_ino) in seen
        seen.add((status.st_dev, status.st_ino))
        return not known

    def list_unreadable(error: OSError) -> None:
        found.append(Path(error.filename))

    for folder, subfolders, names in os.walk(source, onerror=list_unreadable, followlinks=True):
        # Links may lead in a loop, so no folder is entered twice.
        if not is_new(os.stat(folder)):
            subfolders.clear()
            continue
        runs += [Path(folder, name) for name in subfolders if _is_run(Path(folder, name))]
        subfolders[:] = sorted(name for name in subfolders if Path(folder, name) not in runs)
        for name in sorted(names):
            if not suffix_of(name):
                continue
            path = Path(folder, name)
            try:
                status = path.stat()
                # To open a pipe would wait for a writer for ever.
                if stat.S_ISREG(status.st_mode) and is_new(status):
                    (foreign if _is_foreign(path) else found).append(path)
            except OSError:  # a link to nowhere
                found.append(path)
    if not found:
        others = f" (but {len(foreign)} .xml files that are not MusicXML)" if foreign else ""
        raise RunError(
            f"data source {source}: no {' '.join(SUFFIXES)} file in it or below{others}; name a folder that has some"
        )
    return Found(sorted(found), sorted(foreign), tuple(sorted(runs)))


def _is_run(folder: Path) -> bool:
    """Whether a folder holds what every run writes first."""
    return all((folder / name).is_file() for name in ("config.json", "metrics.jsonl"))


def _is_foreign(path: Path) -> bool:
    if path.suffix.lower() != ".xml":
        return False
    with path.open("rb") as stream:
        return is_foreign(path.name, stream.read(file_kinds.HEAD_BYTES))
