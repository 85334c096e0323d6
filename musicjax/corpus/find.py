"""Folder -> the files of music in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from musicjax.errors import RunError

SCORE_SUFFIXES = (".mxl", ".musicxml")
SUFFIXES = (".mid", ".midi", ".kar", ".rmi", *SCORE_SUFFIXES)


def find_files(source: Path) -> list[Path]:
    """The files of music below a folder (or the one file named), each once, sorted by path.

    A folder, or a link to a file, that cannot be opened is listed too, so that whoever reads it reports it.

    Raises:
        RunError: there is none.
    """
    if source.is_file():
        return [source]
    found: list[Path] = []
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
        subfolders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix.lower() not in SUFFIXES:
                continue
            try:
                status = path.stat()
            except OSError:  # a link to nowhere
                found.append(path)
                continue
            # To open a pipe would wait for a writer for ever.
            if stat.S_ISREG(status.st_mode) and is_new(status):
                found.append(path)
    if not found:
        raise RunError(
            f"data source {source}: no {' '.join(SUFFIXES)} file in it or below; name a folder that has some"
        )
    return sorted(found)
