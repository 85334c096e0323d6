"""A folder of shards: the pieces of any number of files, ready to train from without reading them all.

A shard comes from some hundred files: NOTES, a record a piece, and ROWS, in records of whole pieces end to end. An
index says where each piece is, so that no shard has to be read to find out; a manifest says what all of it is. Records
are those of array_record, which finds any of them directly.

Shape legend: P pieces, R records of rows, Q parts, each a piece or a part of a long one; N rows of a record, C columns.
"""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import re
import shlex
import sys
import threading
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from musicjax import files
from musicjax.corpus import find, worker
from musicjax.corpus.read import Reading
from musicjax.errors import RunError, UsageError
from musicjax.music.notes import Notes

# The version of the bytes of a folder of shards: raise it whenever they change.
FORMAT_VERSION = 1
MANIFEST, INDEX, REPORT = find.SHARDS, "index.npz", "report.parquet"
# Its first file of rows is `find.FIRST_ROWS`.
ROWS, NOTES = "rows-{:05d}.array_record", "notes-{:05d}.array_record"
# The most rows of a record. A longer piece is cut; each part begins with the last row of the one before, so that every
# row but the first of the piece is still a target.
RECORD_ROWS = 16_384
# What a piece is used for; as `split.TRAINING` and `split.VALIDATION`.
TRAINING, VALIDATION = 0, 1
# The fields of the config that split pieces.
SPLIT = ("data.validation_fraction", "data.split_seed")
KEPT = Reading("kept", "kept", "")  # what is said of the notes of each
# No read-ahead: records are not read in order, and every open file would keep a buffer.
READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
# Files of records that are open at once.
MOST_OPEN = 64
# What systems say where a disk is full.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
EXTRA = "pip install 'musicjax[large]'"


class Index(NamedTuple):
    """Where everything lies.

    part_record: int32 [Q], rising, the record of rows that each part lies in; part_rows: int32 [Q], its rows; down, up:
    uint8 [Q], semitones by which it can be moved without losing a note; record_shard: int32 [R]; record_use: int8 [R];
    record_crc: uint32 [R], of its bytes; piece_shard: int32 [P], rising; piece_use: int8 [P]; piece_crc: uint32 [P].
    """

    part_record: np.ndarray
    part_rows: np.ndarray
    down: np.ndarray
    up: np.ndarray
    record_shard: np.ndarray
    record_use: np.ndarray
    record_crc: np.ndarray
    piece_shard: np.ndarray
    piece_use: np.ndarray
    piece_crc: np.ndarray


KINDS = tuple(map(np.dtype, ("i4", "i4", "u1", "u1", "i4", "i1", "u4", "i4", "i1", "u4")))


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a folder of shards is.

    Attributes:
        settings: the fields of the config that shaped it, by path, as JSON values.
        learned: the constants of the encoding, as JSON values.
        counts: files "kept", "recovered" and "skipped", "notes", and "duplicates", pieces that were left out.
        columns: C.
        digests: sha256 of each file of the folder but the manifest, by name.
        sizes: of these files, in bytes.
        fingerprint: sha256 of all that training depends on.
        versions: of the format, the reader and the program that wrote it.
        source: the folder, data set or archive that they were written from.
        listing: sha256 of the names and the sizes of its files.
    """

    settings: Mapping[str, Any]
    learned: Mapping[str, Any]
    counts: Mapping[str, int]
    columns: int
    digests: Mapping[str, str]
    sizes: Mapping[str, int]
    fingerprint: str
    versions: Mapping[str, Any]
    source: str = ""
    listing: str = ""


def is_record_file(name: str) -> bool:
    """Whether a file of a folder of shards holds records."""
    return re.fullmatch(r"(rows|notes)-\d{5,}\.array_record", name) is not None


def number_of(name: str) -> int:
    """The number of the shard that a file of records belongs to."""
    return int(name.partition("-")[2].partition(".")[0])


def library() -> Any:
    """The module that reads and writes records; raises UsageError if it is not installed."""
    try:
        from array_record.python import array_record_module
    except ImportError as error:
        advice = "it does not exist for Windows; work on Linux or macOS" if sys.platform == "win32" else EXTRA
        raise UsageError(f"shards need the package array_record, which is not installed: {advice}") from error
    return array_record_module


def joined(indices: Sequence[Index]) -> Index:
    """The index of all shards together, from that of each, in their order."""
    before = np.cumsum([0, *(len(index.record_shard) for index in indices)])[:-1]
    moved = [
        index._replace(part_record=index.part_record + first) for index, first in zip(indices, before, strict=True)
    ]
    arrays = (np.concatenate(columns) for columns in zip(*moved, strict=True))
    return Index(*(array.astype(kind) for array, kind in zip(arrays, KINDS, strict=True)))


def save_index(path: Path, index: Index) -> None:
    """Writes an index, whole or not at all; equal indices give equal bytes."""
    stream = io.BytesIO()
    np.savez(stream, **index._asdict())
    files.write_bytes(path, stream.getvalue())


def load_index(path: Path) -> Index:
    """The index that a file holds; raises OSError or ValueError if it holds none."""
    content = io.BytesIO(path.read_bytes())
    try:
        with np.load(content, allow_pickle=False) as found:
            return Index(**{name: found[name] for name in Index._fields})
    except Exception as error:  # bytes that changed make the reading of an archive raise many things
        raise ValueError(str(error)) from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes what a folder of shards is, whole or not at all."""
    files.write(folder / MANIFEST, json.dumps(dataclasses.asdict(manifest), indent=1))


def read_manifest(folder: Path) -> Manifest:
    """What a folder of shards is; raises RunError if that cannot be read, or it is of another version."""
    try:
        saved = json.loads((folder / MANIFEST).read_text())
        found = saved["versions"]["format"]
        if found != FORMAT_VERSION:
            raise RunError(
                f"shards {folder}: their format is {found!r}, expected {FORMAT_VERSION}; write them again into "
                "another folder with musicjax data --output, or use the musicjax that wrote them, "
                f"{saved['versions'].get('musicjax')}"
            )
        manifest = Manifest(**saved)
        _require_sound(manifest)
        return manifest
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(
            f"shards {folder}: {MANIFEST} cannot be read: {error}; expected what musicjax data --output wrote; write "
            "them again into another folder"
        ) from error


def _require_sound(manifest: Manifest) -> None:
    """Raises ValueError or TypeError if a field cannot be what was written."""
    kinds = {"digests": str, "sizes": int, "counts": int, "settings": object, "versions": object, "learned": object}
    for name, kind in kinds.items():
        value = getattr(manifest, name)
        if not isinstance(value, dict) or not all(isinstance(one, kind) for one in value.values()):
            raise TypeError(f"{name} is {str(value)[:40]}")
    for name, kind in {"source": str, "listing": str, "fingerprint": str, "columns": int}.items():
        if not isinstance(getattr(manifest, name), kind):
            raise TypeError(f"{name} is {getattr(manifest, name)!r}")
    if manifest.digests.keys() != manifest.sizes.keys() or min([manifest.columns - 1, *manifest.counts.values()]) < 0:
        raise ValueError("its digests, sizes, columns and counts do not go together")


def damaged(folder: Path, manifest: Manifest, what: str) -> RunError:
    """The error of a folder of shards that is not whole, with the command that mends it."""
    command = shlex.join(["musicjax", "data", f"--data={manifest.source}", f"--output={folder}"])
    return RunError(f"shards {folder}: {what}; run {command}, which rewrites what is missing or damaged")


def require_setting(folder: Path, manifest: Manifest, path: str, value: Any) -> None:
    """Raises UsageError if a field of the config, by its path, had another value when shards were written."""
    there = manifest.settings.get(path, value)
    if there != value:
        raise UsageError(
            f"config.{path} is {there!r} in the shards {folder}, {value!r} here: expected the same; set "
            f"--config.{path}={there}, or write other shards"
        )


def require_settings(folder: Path, manifest: Manifest, own: Mapping[str, Any], split_counts: bool = True) -> None:
    """Raises UsageError if a field of a config had another value when shards were written.

    Args:
        own: the fields of the config, by path.
        split_counts: whether the config has to split pieces as they do.
    """
    for path in manifest.settings:
        is_default = path == "data.duplicates" and own[path] == "together"  # which nobody has to have asked for
        if not is_default and (split_counts or path not in (*SPLIT, "data.duplicates")):
            require_setting(folder, manifest, path, own.get(path))


class Shards:
    """An open folder of shards.

    Attributes:
        folder: where it is.
        manifest, index: of it.
    """

    def __init__(self, folder: str | Path):
        """Raises RunError: it is of another version, or a file of it is missing or has another length."""
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        try:
            for name, size in self.manifest.sizes.items():
                found = (self.folder / name).stat().st_size
                if found != size:
                    raise damaged(self.folder, self.manifest, f"{name} has {found:,} bytes, expected {size:,}")
            self.index = load_index(self.folder / INDEX)
        except FileNotFoundError as error:
            raise damaged(self.folder, self.manifest, f"{Path(error.filename).name} is missing") from error
        except (OSError, ValueError, KeyError) as error:
            raise damaged(self.folder, self.manifest, f"{INDEX} cannot be read: {error}") from error
        self._readers: dict[str, Any] = {}
        self._lock = threading.Lock()  # blocks are read ahead by other threads

    def rows(self, record: int) -> np.ndarray:
        """The rows of a record, uint8 [N, C].

        Raises:
            RunError: its bytes are not those that were written.
        """
        index, first = self.index, int(np.searchsorted(self.index.record_shard, self.index.record_shard[record]))
        name = ROWS.format(index.record_shard[record])
        content = self._read(name, record - first, int(index.record_crc[record]))
        return np.frombuffer(content, np.uint8).reshape(-1, self.manifest.columns)

    def piece(self, number: int) -> tuple[str, Notes]:
        """The name and the notes of a piece; raises RunError as `rows`."""
        index, first = self.index, int(np.searchsorted(self.index.piece_shard, self.index.piece_shard[number]))
        name = NOTES.format(index.piece_shard[number])
        title, _, content = self._read(name, number - first, int(index.piece_crc[number])).partition(b"\0")
        found = worker.receive(io.BytesIO(content))
        assert found is not None
        return title.decode("utf-8", "surrogateescape"), found[1][0]

    def _read(self, name: str, place: int, crc: int) -> bytes:
        """The bytes of a record of a file."""
        try:
            with self._lock:
                (content,) = self._reader(name).read([place])
        except (RuntimeError, ValueError, IndexError, OSError) as error:
            # Of a damaged file, array_record says hashes; of others, first of all what the system says.
            reason = str(error).splitlines()[0].partition(";")[0]
            said = "is damaged" if "Corrupted" in reason else f"cannot be read: {reason}"
            raise damaged(self.folder, self.manifest, f"record {place} of {name} {said}") from error
        if zlib.crc32(content) != crc:
            raise damaged(self.folder, self.manifest, f"record {place} of {name} is not what was written")
        return content

    def _reader(self, name: str) -> Any:
        """The reader of a file of records; of the open ones, the least recently used is closed first."""
        reader = self._readers.pop(name, None) or library().ArrayRecordReader(str(self.folder / name), READER_OPTIONS)
        self._readers[name] = reader
        if len(self._readers) > MOST_OPEN:
            self._readers.pop(next(iter(self._readers))).close()
        return reader
