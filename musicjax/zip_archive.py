"""Zip archive -> its members one by one, even if the end of the archive is missing. The only importer of zipfile.

A zip archive ends with a list of its members. Where that list is cut off, the head before each member still tells what
it is.
"""

from __future__ import annotations

import io
import stat
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import IO

# The name as it stands in the archive; "file", "folder", "link" or "encrypted"; how to open it.
Member = tuple[str, str, Callable[[], IO[bytes]]]

HEAD = b"PK\x03\x04"
_HEAD = struct.Struct("<4s5H3I2H")  # HEAD, version, flags, method, time, date, crc32, packed, unpacked, name, extra
ENCRYPTED, SIZES_FOLLOW, UTF8 = 0x1, 0x8, 0x800  # bits of the flags
STORED, DEFLATED = 0, 8  # methods
SIZES_BYTES = 24  # the most that the sizes after a member take
BLOCK_BYTES = 2**14
MOST_CUT_BYTES = 64 * 2**20  # unpacked, of one member of an archive without its list, since memory holds it


class ZipError(Exception):
    """The archive or a member of it is damaged; the text says what was found."""


def members(stream: IO[bytes]) -> list[Member]:
    """The members that the list at the end of an archive names.

    Reading an opened member raises whatever zipfile and zlib raise where it is damaged.

    Raises:
        ZipError: there is no such list, or it is damaged.
    """
    import zipfile

    def kind(info: zipfile.ZipInfo) -> str:
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            return "link"
        return "folder" if info.is_dir() else "encrypted" if info.flag_bits & ENCRYPTED else "file"

    try:
        opened = zipfile.ZipFile(stream)
        return [(info.orig_filename, kind(info), partial(opened.open, info)) for info in opened.infolist()]
    except MemoryError:
        raise
    except Exception as error:  # zipfile and struct raise a dozen kinds
        raise ZipError(f"{type(error).__name__}: {error}") from error


def cut_members(stream: IO[bytes]) -> Iterator[Member]:
    """The members of an archive that has lost its list, read from the beginning.

    The last one may be cut off or damaged: reading it gives what there is, and then raises ZipError.
    """
    at = 0
    while True:
        stream.seek(at)
        head = stream.read(_HEAD.size)
        if len(head) < _HEAD.size or not head.startswith(HEAD):
            return
        _, _, flags, method, _, _, crc32, packed, _, name_bytes, extra_bytes = _HEAD.unpack(head)
        name = stream.read(name_bytes).decode("utf-8" if flags & UTF8 else "cp437", "replace")
        start = at + _HEAD.size + name_bytes + extra_bytes
        if flags & SIZES_FOLLOW:
            if method != DEFLATED:  # only a deflated member says itself where it ends
                return
            packed = _deflated_bytes(stream, start)
            stream.seek(start + packed)
            at = start + packed + max(stream.read(SIZES_BYTES + len(HEAD)).find(HEAD), 0)
        else:
            at = start + packed
        kind = "folder" if name.endswith("/") else "encrypted" if flags & ENCRYPTED else "file"
        checked = None if flags & SIZES_FOLLOW else crc32
        yield name, kind, partial(_Unpacked, stream, (start, packed), method, checked)


def _deflated_bytes(stream: IO[bytes], start: int) -> int:
    """How many bytes the deflated data that begin here take; to the end of the archive if they are cut off."""
    stream.seek(start)
    decoder, count = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while not decoder.eof and (block := stream.read(BLOCK_BYTES)):
        count += len(block)
        try:
            decoder.decompress(block)
        except zlib.error:
            break
    return count - len(decoder.unused_data)


class _Unpacked(io.BytesIO):
    """The content of a member; the last read raises ZipError if some of it is missing."""

    def __init__(self, stream: IO[bytes], place: tuple[int, int], method: int, crc32: int | None):
        start, packed = place
        stream.seek(start)
        data = stream.read(packed)
        content, problem = (data, "") if method == STORED else _inflated(data, method)
        if len(data) < packed:
            problem = "is cut off"
        elif not problem and crc32 is not None and zlib.crc32(content) != crc32:
            problem = "has another checksum than it should have"
        self._problem = problem
        super().__init__(content)

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(size)
        if not block and self._problem:
            raise ZipError(self._problem)
        return block

    read1 = read


def _inflated(data: bytes, method: int) -> tuple[bytes, str]:
    """(what can be unpacked, what is wrong with the rest)."""
    if method != DEFLATED:
        return b"", f"is packed by method {method}"
    decoder, parts, count = zlib.decompressobj(-zlib.MAX_WBITS), [], 0
    for at in range(0, len(data), BLOCK_BYTES):
        try:
            parts.append(decoder.decompress(data[at : at + BLOCK_BYTES]))
        except zlib.error as error:
            return b"".join(parts), str(error)
        count += len(parts[-1])
        if count > MOST_CUT_BYTES:
            return b"", f"unpacks to more than {MOST_CUT_BYTES:,} bytes"
    return b"".join(parts), "" if decoder.eof else "is cut off"


def packed(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A zip archive of files, (name in it, content) each."""
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return stream.getvalue()
