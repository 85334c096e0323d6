"""Files that count only when they are whole: written aside, brought onto the disk, then given their name."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

PARTIAL = ".partial"


@contextlib.contextmanager
def whole(path: Path, durable: bool = False) -> Iterator[Path]:
    """Gives a file its name only once it is whole: yields a path beside it to write to, and renames it at the end.

    If anything is raised, what was written is removed and what was there before stays.
    """
    partial = path.with_name(f".{os.urandom(4).hex()}-{path.name}{PARTIAL}")
    try:
        yield partial
        if durable:
            sync(partial)
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # what went wrong before is what counts
            remove(partial)
        raise


def write(path: Path, text: str) -> None:
    """`write_bytes` of a text."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Gives a file this content, whole or not at all.

    Raises:
        OSError: it cannot be written; what was there before stays.
    """
    partial = path.with_name(path.name + PARTIAL)
    partial.unlink(missing_ok=True)  # a link left there would be written through
    try:
        partial.write_bytes(content)
        sync(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Returns when a file, or the list of names in a folder, is on the disk; raises OSError if it cannot be."""
    if os.name == "nt" and path.is_dir():  # Windows has no such thing for folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """`sync` of a folder and of everything below it."""
    for path in [*folder.rglob("*"), folder]:
        sync(path)


def remove(path: Path) -> None:
    """Removes a file, a link or a folder with all that is in it, as far as that can be done."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
