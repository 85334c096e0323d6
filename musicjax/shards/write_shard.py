"""Pieces -> the two files of a shard, and where everything lies in them.

Shape legend: as in `shards`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from musicjax import files
from musicjax.corpus import worker
from musicjax.errors import RunError
from musicjax.music.notes import Notes
from musicjax.shards import shards
from musicjax.shards.shards import KEPT, KINDS, NO_ROOM, NOTES, ROWS, TRAINING, VALIDATION, Index

# What array_record does with the bytes of a record: each can be read by itself.
WRITER_OPTIONS = "group_size:1,zstd:3"


class Piece(NamedTuple):
    """A piece that a shard gets: its name; its notes; rows uint8 [N, C]; how far it can be moved; its use; its notes
    once more, as `worker.packed` gives them, if they are at hand."""

    name: str
    notes: Notes
    rows: np.ndarray
    down: int
    up: int
    use: int
    sent: bytes = b""


def write(folder: Path, number: int, pieces: Iterable[Piece], columns: int) -> Index:
    """Writes the two files of a shard, both whole or not at all; returns its index, whose shards are all `number`.

    The pieces are taken in turn, and each is written as soon as its record is full.

    Raises:
        OSError: they cannot be written.
        UsageError: array_record is not installed.
    """
    uses, notes = [], []
    with _file(folder / ROWS.format(number)) as add_rows, _file(folder / NOTES.format(number)) as add_notes:
        rows = _Rows(add_rows)
        for piece in pieces:
            assert piece.rows.shape[1] == columns
            rows.take(piece)
            notes.append(add_notes(_packed(piece)))
            uses.append(piece.use)
        rows.end(TRAINING)
        rows.end(VALIDATION)
    columns_of = [*zip(*rows.parts, strict=True)] or [()] * 4
    values = (*columns_of, [number] * len(rows.crcs), rows.uses, rows.crcs, [number] * len(notes), uses, notes)
    return Index(*(np.array(value, kind) for value, kind in zip(values, KINDS, strict=True)))


class _Rows:
    """The records of the rows of a shard; pieces of one use fill a record in their order.

    Attributes:
        parts: record, rows, down and up of each part.
        uses, crcs: of each record.
    """

    def __init__(self, add: Callable[[bytes], int]):
        self._add = add
        self._waiting: dict[int, list[tuple[np.ndarray, int, int]]] = {TRAINING: [], VALIDATION: []}
        self.parts: list[tuple[int, int, int, int]] = []
        self.uses: list[int] = []
        self.crcs: list[int] = []

    def take(self, piece: Piece) -> None:
        """Adds the rows of a piece."""
        waiting = self._waiting[piece.use]
        for first in range(0, max(len(piece.rows) - 1, 1), shards.RECORD_ROWS - 1):
            part = piece.rows[first : first + shards.RECORD_ROWS]
            if sum(len(rows) for rows, _, _ in waiting) + len(part) > shards.RECORD_ROWS:
                self.end(piece.use)
            waiting.append((part, min(piece.down, 255), min(piece.up, 255)))

    def end(self, use: int) -> None:
        """Writes the record that pieces of this use fill, if there is one."""
        waiting = self._waiting[use]
        if waiting:
            self.parts += [(len(self.crcs), len(rows), down, up) for rows, down, up in waiting]
            self.crcs.append(self._add(np.concatenate([rows for rows, _, _ in waiting]).tobytes()))
            self.uses.append(use)
            waiting.clear()


def _packed(piece: Piece) -> bytes:
    """The name and the notes of a piece as bytes."""
    return piece.name.encode("utf-8", "surrogateescape") + b"\0" + (piece.sent or worker.packed(KEPT, [piece.notes]))


@contextlib.contextmanager
def _file(path: Path) -> Iterator[Callable[[bytes], int]]:
    """A file of records, written whole or not at all; yields what adds a record and returns its crc32."""
    with files.whole(path, durable=True) as partial:
        writer = shards.library().ArrayRecordWriter(str(partial), WRITER_OPTIONS)

        def add(record: bytes) -> int:
            writer.write(record)
            return zlib.crc32(record)

        try:
            yield add
            writer.close()
        except RunError:  # of the pieces, and a RuntimeError too
            raise
        except RuntimeError as error:  # array_record's own, for a file that cannot be written
            codes = (code for code in NO_ROOM if os.strerror(code) in str(error))
            raise OSError(next(codes, errno.EIO), str(error).splitlines()[0]) from error
