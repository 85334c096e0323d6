"""The tables of all files that were read -> what each piece is used for. Arrays of a million pieces, and no notes.

Shape legend: P pieces.
"""

from __future__ import annotations

import array
import collections
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from musicjax.config import DataConfig
from musicjax.corpus import corpus as corpus_lib
from musicjax.corpus import duplicates, split
from musicjax.corpus.names import Names
from musicjax.corpus.split import NOTHING, TRAINING, VALIDATION
from musicjax.shards.read_task import Row

# Bins are learned from this many pieces and notes at most.
MOST_LEARNED_PIECES, MOST_LEARNED_NOTES = 3_000, 2_000_000
HASH_BYTES = 32


class Pieces(NamedTuple):
    """All pieces that were read, in the order of the files.

    Attributes:
        names: P, as `corpus.Corpus` has them.
        task: int32 [P], the list that each comes from, rising.
        number: int32 [P], which of the pieces of its file it is.
        start, size: int64 [P], where its notes lie in the file of notes of its task, and how many bytes they take.
        notes: int64 [P], how many they are.
        prints: uint64 [P], a hash of its fingerprint.
        file: int32 [P], the index of the sha256 of its file.
        hashes: HASH_BYTES bytes each, of all files with pieces, each once and rising.
    """

    names: Names
    task: np.ndarray
    number: np.ndarray
    start: np.ndarray
    size: np.ndarray
    notes: np.ndarray
    prints: np.ndarray
    file: np.ndarray
    hashes: np.ndarray

    def places(self, chosen: np.ndarray) -> list[tuple[int, int, int]]:
        """Where the notes of some pieces lie: task, where they begin in its file of notes, and bytes."""
        return [*zip(*(column[chosen].tolist() for column in (self.task, self.start, self.size)), strict=True)]

    def by_task(self, tasks: int) -> Iterator[slice]:
        """The pieces of each of `tasks` tasks."""
        ends = np.searchsorted(self.task, np.arange(tasks), side="right").tolist()
        for begin, end in zip([0, *ends[:-1]], ends, strict=True):
            yield slice(begin, end)


class Counts(NamedTuple):
    """What became of the files: how many have each (status, code), and how many notes and seconds they gave."""

    reasons: collections.Counter[tuple[str, str]]
    notes: int
    seconds: float

    @property
    def files(self) -> int:
        """How many there are."""
        return self.reasons.total()

    def of(self, status: str) -> int:
        """How many files have this status."""
        return sum(count for (found, _), count in self.reasons.items() if found == status)


def gather(tables: Iterable[Iterable[Row]]) -> tuple[Pieces, Counts]:
    """The pieces of all tables, and what became of the files."""
    names, hashes = Names(), bytearray()
    columns = [array.array(kind) for kind in "iiqqqQ"]
    reasons: collections.Counter[tuple[str, str]] = collections.Counter()
    notes, seconds = 0, 0.0
    for index, table in enumerate(tables):
        for row in table:
            reasons[row.status, row.code] += 1
            seconds += row.seconds
            for place, (name, piece) in enumerate(zip(row.names, row.pieces, strict=True)):
                notes += piece.notes
                names.append(name)
                hashes += bytes.fromhex(row.sha256)
                for column, value in zip(columns, (index, place, *piece), strict=True):
                    column.append(value)
    task, number, start, size, count, prints = (
        np.frombuffer(column, column.typecode) if column else np.zeros(0, column.typecode) for column in columns
    )
    once, file = np.unique(np.frombuffer(hashes, f"S{HASH_BYTES}"), return_inverse=True)
    found = Pieces(names, task, number, start, size, count, prints, file.astype(np.int32), once)
    return found, Counts(reasons, notes, seconds)


def candidates(pieces: Pieces) -> tuple[np.ndarray, list[np.ndarray]]:
    """(of each piece the first one of a file with the same bytes, int64 [P]; groups of pieces that may be the same).

    A group has two or more of those first ones, in their order: pieces with one fingerprint.
    """
    order = np.lexsort((pieces.number, pieces.file))
    begins = _begins(pieces.file[order], pieces.number[order])
    copied = np.empty(len(order), np.int64)
    copied[order] = order[begins][np.cumsum(begins) - 1]  # the sort is stable, so the first one comes first
    firsts = np.flatnonzero(copied == np.arange(len(copied)))
    order = firsts[np.lexsort((pieces.notes[firsts], pieces.prints[firsts]))]
    groups = np.split(order, np.flatnonzero(_begins(pieces.prints[order], pieces.notes[order]))[1:])
    return copied, sorted((group for group in groups if len(group) > 1), key=lambda group: int(group[0]))


def _begins(*columns: np.ndarray) -> np.ndarray:
    """Which rows of sorted columns [N] differ from the one before, bool [N]; the first one does."""
    differs = np.ones(len(columns[0]), bool)
    differs[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return differs


def alike(copied: np.ndarray, groups: Sequence[np.ndarray], found: Iterable[Sequence[int]]) -> np.ndarray:
    """`corpus.Corpus.alike`: of each piece the first one that is the same, or its own, int64 [P].

    Args:
        copied, groups: as `candidates` gives them.
        found: for each piece of each group the place in the group of the first one that is the same.
    """
    first = np.arange(len(copied))
    for group, places in zip(groups, found, strict=True):
        first[group] = group[places]
    return first[copied]


class Use(NamedTuple):
    """What each piece is used for.

    Attributes:
        piece_use: int8 [P], as in `split`.
        copies: how many pieces are the same as an earlier one; dropped: how many are left out for that.
        tests: how many lie in test/.
        by_folders: whether folders decided.
    """

    piece_use: np.ndarray
    copies: int
    dropped: int
    tests: int
    by_folders: bool


def use(pieces: Pieces, alike: np.ndarray, data: DataConfig) -> Use | None:
    """What each piece is used for, by the rules of `duplicates.settled` and `split.held_out`.

    Returns:
        None if fewer than two different pieces are long enough.

    Raises:
        RunError: folders are a split, but not a whole one.
    """
    found = np.full(len(alike), NOTHING, np.int8)
    if not len(alike):
        return None
    own = corpus_lib.folders(pieces.names)
    kept = duplicates.one_of_each(alike, own) if data.duplicates == "drop" else np.ones(len(alike), bool)
    dropped, in_tests = int((~kept).sum()), kept & (own == 2) if own is not None else np.zeros(len(alike), bool)
    kept &= ~in_tests
    if own is not None:
        validates = own[kept] == 1
    else:
        validates = _held_out(pieces, alike, kept, data)
        if validates is None:
            return None
    found[kept] = np.where(validates, VALIDATION, TRAINING)
    copies = int((alike != np.arange(len(alike))).sum())
    return Use(found, copies, dropped, int(in_tests.sum()), own is not None)


def _held_out(pieces: Pieces, alike: np.ndarray, kept: np.ndarray, data: DataConfig) -> np.ndarray | None:
    """Which of the pieces that are kept, bool [P], validate, where no folders decide."""
    place = np.cumsum(kept) - 1
    first = place[alike[kept]] if data.duplicates != "drop" else np.arange(int(kept.sum()))
    units, found = duplicates.together(pieces.file[kept], first, data)

    def name_of(unit: int) -> str:
        return pieces.hashes[found[unit] :][:1].tobytes().hex()

    return split.chosen(units, name_of, pieces.notes[kept] > 1, data)


def learned_from(pieces: Pieces, uses: np.ndarray, seed: int) -> np.ndarray:
    """Which pieces bins are learned from, int64, rising: all that train, or some, chosen by a hash of their names."""
    trains = np.flatnonzero((uses == TRAINING) & (pieces.notes > 0))
    if len(trains) <= MOST_LEARNED_PIECES and pieces.notes[trains].sum() <= MOST_LEARNED_NOTES:
        return trains
    names = (f"bins:{seed}:{pieces.names[piece]}".encode("utf-8", "surrogateescape") for piece in trains.tolist())
    digests = np.fromiter((hashlib.sha256(name).digest() for name in names), f"S{HASH_BYTES}", len(trains))
    order = trains[np.argsort(digests, kind="stable")][:MOST_LEARNED_PIECES]
    count = int(np.searchsorted(np.cumsum(pieces.notes[order]), MOST_LEARNED_NOTES, side="right"))
    return np.sort(order[: max(count, 1)])
