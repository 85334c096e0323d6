"""Windows of a folder of shards, block by block: what training from more data than memory holds needs of them.

A block is some records of rows, drawn without replacement until all have been drawn. Block k follows from the seed and
k alone, so a run can resume anywhere. If all rows fit into memory, they are one block.

Shape legend: N rows, C columns, W windows, K records of a block, Q parts of all records, U parts of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from musicjax.errors import RunError, UsageError
from musicjax.shards.shards import EXTRA, RECORD_ROWS, TRAINING, Shards

# More epochs than a run has. Without a limit, blocks of one record would outnumber what a length can express.
MOST_PASSES = 2**31


class Block(NamedTuple):
    """rows: uint8 [N, C]; starts: int32 [W], first row of each window; first, end: int32 [W], where its part begins and
    ends; down, up: int32 [W], semitones by which it can be moved."""

    rows: np.ndarray
    starts: np.ndarray
    first: np.ndarray
    end: np.ndarray
    down: np.ndarray
    up: np.ndarray


class Blocks:
    """The training windows of some shards.

    Attributes:
        is_resident: whether one block holds them all; every epoch is a pass over it then.
        windows: W, of each block.
        total: windows in all.
        rows: rows in all.
    """

    def __init__(
        self,
        shards: Shards,
        window: int,
        seed: int,
        resident_bytes: int,
        block_rows: int,
        share: tuple[int, int] = (0, 1),
        change: Callable[[np.ndarray], np.ndarray] = lambda rows: rows,
    ):
        """Blocks of windows of T = `window` rows and the row before them.

        Args:
            resident_bytes: if the rows take more, they are not all in memory at the same time.
            block_rows: about how many rows a block then has; at least one record.
            share: (k, n): this is the k-th of n processes, and reads only its part of each block.
            change: applied to the rows of each record.

        Raises:
            RunError: no piece that trains has more than one row.
        """
        index = shards.index
        self._shards, self._window, self._seed, self._share, self._change = shards, window, seed, share, change
        self._records = np.flatnonzero(index.record_use == TRAINING)
        self._parts = np.searchsorted(index.part_record, np.arange(len(index.record_use) + 1))
        before = np.cumsum(index.part_rows, dtype=np.int64) - index.part_rows
        self._offset = (before - before[self._parts[index.part_record]]).astype(np.int32)  # of a part in its record
        self._counts = -(-(index.part_rows.astype(np.int64) - 1) // window)  # windows of a part
        trains = index.record_use[index.part_record] == TRAINING
        self.rows, self.total = int(index.part_rows[trains].sum()), int(self._counts[trains].sum())
        if not self.total:
            raise RunError(
                f"shards {shards.folder}: no training piece has more than one note; write new ones from more files"
            )
        self.is_resident = self.rows * shards.manifest.columns <= resident_bytes
        everything = len(self._records)
        self._size = (
            everything if self.is_resident else min(max(round(block_rows / self.rows * everything), 1), everything)
        )
        self.windows = self.total if self.is_resident else max(round(self.total * self._size / everything), 1)
        self._ahead: Iterator[Block] | None = None
        self._next = 0

    def whole(self, number: int) -> Block:
        """Block `number`, from 0, all of it whatever the share."""
        if self.is_resident:
            return self._block(np.arange(len(self._records)), None, (0, 1), tight=True)
        ids, random = self._order()[number]
        return self._block(ids, random, (0, 1))

    def part(self, number: int) -> Block:
        """Block `number` with this process' part of its rows; those of all processes, end to end, are its rows.

        The blocks after it are read ahead, one at a time.
        """
        if self._ahead is None or number != self._next:
            grain, order = _grain(), self._order()[number:]
            read = order.map(lambda drawn: self._block(drawn[0], drawn[1], self._share))
            self._ahead = iter(read.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)))
        self._next = number + 1
        return next(self._ahead)

    def _order(self) -> Any:
        """For each block the places of its records, int64 [K], and random numbers of its own."""
        order = _grain().MapDataset.range(len(self._records)).seed(self._seed).shuffle().repeat(MOST_PASSES)
        return order.batch(self._size).random_map(lambda ids, random: (np.asarray(ids), random.integers(2**63)))

    def _block(self, ids: np.ndarray, random: int | None, share: tuple[int, int], tight: bool = False) -> Block:
        """The block of the records at these places, [K].

        Args:
            random: decides which windows are left out, or come twice, so that there are W; None: all of them.
            tight: whether the rows of a record directly follow those of the record before it.
        """
        records, index = self._records[ids], self._shards.index
        place, shares = share
        each = -(-len(records) // shares)
        own = range(place * each, min((place + 1) * each, len(records)))
        lengths = (
            np.add.reduceat(index.part_rows, self._parts[:-1])[records] if tight else np.full(len(records), RECORD_ROWS)
        )
        begins = np.cumsum([0, *lengths])
        rows = np.zeros((int(begins[-1]) if tight else each * RECORD_ROWS, self._shards.manifest.columns), np.uint8)
        for number in own:
            found = self._change(self._shards.rows(int(records[number])))
            first = int(begins[number] - begins[own.start])
            rows[first : first + len(found)] = found
        windows = self._windows(records, begins[:-1])
        if random is not None:
            windows = windows[:, self._chosen(windows.shape[1], random)]
        return Block(rows, *windows)

    def _windows(self, records: np.ndarray, begins: np.ndarray) -> np.ndarray:
        """starts, first, end, down and up of all windows of some records, which begin at these rows: int32 [5, W]."""
        index, bounds = self._shards.index, (self._parts[records], self._parts[records + 1])
        parts = np.concatenate([np.arange(first, end) for first, end in zip(*bounds, strict=True)])
        first = np.repeat(begins, bounds[1] - bounds[0]) + self._offset[parts]
        counts = self._counts[parts]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        of_parts = np.stack([first, first, first + index.part_rows[parts], index.down[parts], index.up[parts]])
        windows = np.repeat(of_parts, counts, axis=1)
        windows[0] += within * self._window
        return windows.astype(np.int32)

    def _chosen(self, found: int, random: int) -> np.ndarray:
        """Which of the windows found make W: some are left out, or some come once more."""
        shuffled = np.random.default_rng(random).permutation(found)
        return np.sort(np.resize(shuffled, self.windows))


def _grain() -> Any:
    try:
        import grain
    except ImportError as error:
        raise UsageError(
            f"training from shards needs the package grain: expected it to be installed; {EXTRA}"
        ) from error
    return grain
