"""Unpacks archives that come from elsewhere: the files that are wanted, into one folder and nowhere else."""

from __future__ import annotations

import contextlib
import re
import stat
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

MOST_BYTES = 64 * 2**30  # unpacked; ten times the largest data set
MOST_MEMBERS = 10_000_000
BLOCK_BYTES = 2**20

Member = tuple[str, str, Callable[[], Any]]


class ArchiveError(Exception):
    """The archive is damaged or would write where it must not; the text says what was found."""


def unpack(archive: Path, folder: Path, wanted: str) -> int:
    """Unpacks the files that are wanted, and returns how many there are.

    Args:
        archive: .zip or .tar.gz.
        folder: exists; files are written below it.
        wanted: pattern of whole paths in the archive, whose first group is the path below `folder`.

    Raises:
        ArchiveError: it is damaged, names a path outside of itself, or has a link where a file is wanted.
        OSError: a file cannot be written.
    """
    pattern, count, room = re.compile(wanted, re.DOTALL), 0, MOST_BYTES
    members = _of_zip if archive.suffix == ".zip" else _of_tar
    with contextlib.closing(members(archive)) as found:
        for number, (name, kind, open_member) in enumerate(found):
            _require_inside(name)
            if number >= MOST_MEMBERS:
                raise ArchiveError(f"holds more than {MOST_MEMBERS:,} files")
            match = pattern.fullmatch(name)
            if not match or kind == "folder":
                continue
            if kind != "file":
                raise ArchiveError(f"holds a {kind} where a file is expected: {name!r}")
            path = folder / match[1]
            if path.exists():
                raise ArchiveError(f"names a file twice: {name[:80]!r}")
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as target:
                room -= _copy(open_member, target, room)
            count += 1
    return count


def _require_inside(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or re.match("[A-Za-z]:", name):
        raise ArchiveError(f"names a file outside of itself: {name[:80]!r}")


def _copy(open_member: Callable[[], Any], target: Any, room: int) -> int:
    """The bytes copied. Whatever reading raises means damage; what writing raises passes through."""
    copied = 0
    with _read(open_member) as source:
        while block := _read(partial(source.read, BLOCK_BYTES)):
            copied += len(block)
            if copied > room:
                raise ArchiveError(f"unpacks to more than {MOST_BYTES / 2**30:.0f} GiB")
            target.write(block)
    return copied


def _read(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:  # zipfile, tarfile, gzip and zlib raise a dozen kinds
        raise ArchiveError(f"is damaged: {type(error).__name__}: {error}") from error


def _of_zip(archive: Path) -> Generator[Member, None, None]:
    """(path, "file", "folder" or what else it is, how to open it) of each member."""
    import zipfile

    opened = _read(partial(zipfile.ZipFile, archive))
    with opened:
        for info in opened.infolist():
            mode = info.external_attr >> 16
            special = stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR)
            kind = "link" if special else "folder" if info.is_dir() else "file"
            yield info.orig_filename, kind, partial(opened.open, info)


def _of_tar(archive: Path) -> Generator[Member, None, None]:
    """The same of a tar archive, read once from beginning to end."""
    import tarfile

    opened = _read(partial(tarfile.open, archive, "r:gz"))
    with opened:
        while (info := _read(opened.next)) is not None:
            kind = "file" if info.isreg() else "folder" if info.isdir() else "link"
            yield info.name, kind, partial(opened.extractfile, info)
            opened.members.clear()  # or else it would keep a record of each
