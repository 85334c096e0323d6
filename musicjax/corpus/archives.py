"""Archives that come from elsewhere, zip and tar, opened member by member; those of data sets, unpacked into a folder.

Nothing is written under a name that an archive gives, except by `unpack`, which refuses names that lead out of its
folder. The only importer of tarfile.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from musicjax import zip_archive
from musicjax.music import file_kinds
from musicjax.zip_archive import Member

MOST_BYTES = 64 * 2**30  # unpacked; ten times the largest data set
MOST_MEMBERS = 10_000_000
BLOCK_BYTES = 2**20
TAR_READ_BYTES = 2**14  # as much may be lost before the place where a compressed archive is damaged
MOST_BAD_BLOCKS = 100_000  # of a tar archive, in a row, among which the next header is looked for
# Modules that a Python may lack.
DECOMPRESSORS = {file_kinds.GZIP: "gzip", file_kinds.BZIP2: "bz2", file_kinds.XZ: "lzma"}


class ArchiveError(Exception):
    """The archive is damaged or would write where it must not; the text says what was found."""


class LimitError(Exception):
    """What is unpacked exceeds a limit; `code` is short and stable, the text says which limit."""

    def __init__(self, code: str, text: str):
        super().__init__(text)
        self.code = code


class Allowance:
    """Counts unpacked bytes, calls `on_progress` each time, and raises `beyond` once there are more than `room`."""

    def __init__(self, room: int, beyond: LimitError, on_progress: Callable[[], object]):
        self._room, self._beyond, self._on_progress = room, beyond, on_progress

    def take(self, count: int) -> None:
        """Counts this many more bytes."""
        self._on_progress()
        self._room -= count
        if self._room < 0:
            raise self._beyond


class _Counted:
    """A stream whose bytes are counted, with as much of a file's interface as archive readers need."""

    def __init__(self, stream: Any, allowance: Allowance | None):
        self._stream, self._allowance = stream, allowance
        # At most one step of decompression: of more at once, all would be lost if the last one fails.
        self._read = getattr(stream, "read1", stream.read)

    def read(self, size: int) -> bytes:
        block = self._read(size)
        if self._allowance:
            self._allowance.take(len(block))
        return block

    def close(self) -> None:
        self._stream.close()


def members(stream: IO[bytes], kind: str, allowance: Allowance | None = None) -> Generator[Member, None, None]:
    """The members of an archive in their order, each to be opened and read before the next one is asked for.

    Args:
        stream: at the beginning of the archive; seekable.
        kind: one of `file_kinds.READ_ARCHIVES`.
        allowance: counts what is unpacked.

    Raises:
        ArchiveError: the archive is damaged; the members before the damage have been given, and of a tar archive
            those behind it, too. `blocks` raises it where a member is damaged.
        LimitError: as the allowance.
    """
    if kind == file_kinds.ZIP:
        for name, what, open_member in _of_zip(stream):
            yield name, what, partial(_counted, open_member, allowance)
    elif kind == file_kinds.TAR:
        yield from _of_tar(_Counted(stream, allowance))
    else:
        with contextlib.closing(_read(lambda: _module(kind).open(stream))) as unpacked:
            yield from _of_tar(_Counted(unpacked, allowance))


def blocks(open_member: Callable[[], Any]) -> Iterator[bytes]:
    """What a member holds; raises ArchiveError where it is damaged."""
    with contextlib.closing(_read(open_member)) as source:
        while block := _read(partial(source.read, BLOCK_BYTES)):
            yield block


def _module(kind: str) -> Any:
    try:
        return importlib.import_module(DECOMPRESSORS[kind])
    except ImportError as error:
        raise ArchiveError(f"cannot be unpacked, since this Python lacks a module: {error}") from error


def _counted(open_member: Callable[[], IO[bytes]], allowance: Allowance | None) -> Any:
    return _Counted(open_member(), allowance)


def _read(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (ArchiveError, LimitError, MemoryError):
        raise
    except Exception as error:  # zipfile, tarfile, gzip and zlib raise a dozen kinds
        raise ArchiveError(f"is damaged: {type(error).__name__}: {error}") from error


def _of_zip(stream: IO[bytes]) -> Generator[Member, None, None]:
    try:
        found = zip_archive.members(stream)
    except zip_archive.ZipError as error:
        yield from zip_archive.cut_members(stream)
        raise ArchiveError(f"is damaged, perhaps cut off: {error}") from error
    yield from found


def _of_tar(stream: Any) -> Generator[Member, None, None]:
    """The members of a tar archive, read once from beginning to end; a damaged header costs its own member only."""
    import tarfile

    damage, ends, bad = "", False, 0

    class Info(tarfile.TarInfo):
        """A header of the archive; tarfile itself reports neither damaged headers nor a missing end."""

        @classmethod
        def fromtarfile(cls, archive: tarfile.TarFile) -> Info:
            nonlocal damage, ends, bad
            try:
                return super().fromtarfile(archive)
            except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
                ends = True
                raise
            except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
                damage = damage or ("" if ends else "it has no end marker; perhaps it is cut off")
                raise
            except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
                damage, bad = damage or str(error), bad + 1
                if bad > MOST_BAD_BLOCKS:
                    raise ArchiveError(f"is damaged, or holds no tar archive: {damage}") from error
                raise

    start = partial(tarfile.open, fileobj=stream, mode="r|", bufsize=TAR_READ_BYTES, tarinfo=Info, ignore_zeros=True)
    count = 0
    with _read(start) as opened:
        while (info := _read(opened.next)) is not None:
            count, bad = count + 1, 0
            kind = "file" if info.isreg() else "folder" if info.isdir() else "link"
            yield info.name, kind, partial(opened.extractfile, info)
            opened.members.clear()  # or else it would keep a record of each
    if damage:
        raise ArchiveError(f"is damaged{'' if count else ', or holds no tar archive'}: {damage}")


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
    kind = file_kinds.ZIP if archive.suffix == ".zip" else file_kinds.GZIP
    with archive.open("rb") as stream, contextlib.closing(members(stream, kind)) as found:
        for number, (name, what, open_member) in enumerate(found):
            _require_inside(name)
            if number >= MOST_MEMBERS:
                raise ArchiveError(f"holds more than {MOST_MEMBERS:,} files")
            match = pattern.fullmatch(name)
            if not match or what == "folder":
                continue
            if what != "file":
                raise ArchiveError(f"holds a {what} where a file is expected: {name!r}")
            path = folder / match[1]
            if path.exists():
                raise ArchiveError(f"names a file twice: {name[:80]!r}")
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as target:
                for block in blocks(open_member):
                    room -= len(block)
                    if room < 0:
                        raise ArchiveError(f"unpacks to more than {MOST_BYTES / 2**30:.0f} GiB")
                    target.write(block)
            count += 1
    return count


def _require_inside(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or re.match("[A-Za-z]:", name):
        raise ArchiveError(f"names a file outside of itself: {name[:80]!r}")
