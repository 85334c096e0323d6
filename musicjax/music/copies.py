"""The copy meter: the longest run of notes that a piece has in common with known pieces, in whatever key.

Notes are on the grid of sixteenths, by onset, then pitch. A move leads from each note to the next: the differences of
pitch and of onset as one number. Two runs are the same if their moves are. A suffix array sorts the known moves once,
and bisection finds any run in it. It compares the runs themselves, not hashes of them.

Shape legend: N notes, P pieces, M moves of all pieces, one mark at the end of each piece included.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np

from musicjax.music.metrics import on_grid
from musicjax.music.notes import Notes

# How a move is stored: big-endian, so that runs of moves sort as their bytes do.
MOVE = np.dtype(">u4")
PITCH_DIFFERENCES = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """Known pieces, ready to be searched.

    Attributes:
        names: P names.
        starts: int64 [P], index of the first move of each piece.
        alphabet: int64 [A], the different moves, sorted; move a is stored as P + a.
        moves: M moves of 4 bytes; piece p ends with its own mark, p, beyond which no sorting needs to look.
        order: int64 [M], byte at which each suffix of `moves` begins, in the order of the suffixes.
    """

    names: tuple[str, ...]
    starts: np.ndarray
    alphabet: np.ndarray
    moves: bytes
    order: np.ndarray


@dataclasses.dataclass(frozen=True)
class Copy:
    """The longest common run; of several, the earliest in the piece measured, then in the known ones.

    Attributes:
        length: in notes; 0 where no two notes in a row are known, else at least 2.
        piece: name of the known piece; empty where the length is 0.
        at: index of the run's first note in the known piece, its notes by onset step, then pitch.
        own: the same in the piece measured.
    """

    length: int
    piece: str
    at: int
    own: int


def index(pieces: Sequence[Notes], names: tuple[str, ...]) -> Known:
    """P pieces and their names, ready to be searched.

    Raises:
        ValueError: there are not as many names as pieces.
    """
    if len(pieces) != len(names):
        raise ValueError(f"{len(names)} names for {len(pieces)} pieces; expected one for each")
    found = [_moves(piece) for piece in pieces]
    alphabet, codes = np.unique(np.concatenate([np.zeros(0, np.int64), *found]), return_inverse=True)
    ends = np.cumsum([len(moves) + 1 for moves in found], dtype=np.int64)
    stored = np.empty(int(ends[-1]) if len(ends) else 0, np.int64)
    is_mark = np.zeros(len(stored), bool)
    is_mark[ends - 1] = True
    stored[is_mark] = np.arange(len(pieces))
    stored[~is_mark] = len(pieces) + codes
    starts = np.append(0, ends[:-1])[: len(pieces)]
    order = _suffix_order(stored) * MOVE.itemsize
    return Known(names, starts, alphabet, stored.astype(MOVE).tobytes(), order)


def longest(notes: Notes, known: Known) -> Copy:
    """The longest run of notes that a piece has in common with one of the known pieces."""
    moves = _moves(notes)
    # An unknown move gets the number after all known ones.
    code = np.searchsorted(known.alphabet, moves)
    code[~np.isin(moves, known.alphabet)] = len(known.alphabet)
    sought = (len(known.names) + code).astype(MOVE).tobytes()
    width, best, own = MOVE.itemsize, 0, 0  # best: length in bytes; own: where it begins
    for begin in range(0, len(sought), width):
        # Only a run that is longer than the best so far is of interest.
        while begin + best < len(sought) and _is_known(known, sought[begin : begin + best + width]):
            best, own = best + width, begin
    if best == 0:
        return Copy(0, "", 0, 0)
    first = int(_where(known, sought[own : own + best]).min()) // width
    piece = int(np.searchsorted(known.starts, first, side="right")) - 1
    return Copy(best // width + 1, known.names[piece], first - int(known.starts[piece]), own // width)


def of_real_pieces(pieces: float, longest: float, median: float) -> str:
    """What held-out music shares with the training data, to judge other copies by: part of a sentence.

    Args:
        pieces: how many there are; longest, median: of the lengths of their longest common runs, in notes.
    """
    if pieces == 1:
        return f"a real piece held out of training shares {longest:,.0f}"
    return f"real music held out of training shares up to {longest:,.0f}, typically about {median:,.0f}"


def _moves(notes: Notes) -> np.ndarray:
    """From each of N notes to the next: difference of onset and of pitch as one number; int64 [N - 1]."""
    pitch, onset, _ = on_grid(notes)
    return np.diff(onset) * PITCH_DIFFERENCES + np.diff(pitch) + PITCH_DIFFERENCES // 2


def _suffix_order(symbols: np.ndarray) -> np.ndarray:
    """Where suffixes begin, in their order; int64 [M]. By doubling the part that is sorted (Manber and Myers 1993)."""
    rank = np.unique(symbols, return_inverse=True)[1].astype(np.int64)
    sorted_part = 1
    while rank.max(initial=-1) < len(rank) - 1:
        after = np.zeros(len(rank), np.int64)  # the end comes before any symbol
        after[:-sorted_part] = rank[sorted_part:] + 1
        rank = np.unique(rank * (len(rank) + 1) + after, return_inverse=True)[1].astype(np.int64)
        sorted_part *= 2
    order = np.empty(len(rank), np.int64)
    order[rank] = np.arange(len(rank))
    return order


def _is_known(known: Known, run: bytes) -> bool:
    """Whether a run is anywhere in the known moves."""
    place = bisect_left(known.order.data, run, key=lambda begin: known.moves[begin : begin + len(run)])
    return place < len(known.order) and known.moves.startswith(run, int(known.order[place]))


def _where(known: Known, run: bytes) -> np.ndarray:
    """The bytes of the known moves at which a run begins; int64 [occurrences]."""

    def beginning(begin: int) -> bytes:
        return known.moves[begin : begin + len(run)]

    order = known.order.data
    return known.order[bisect_left(order, run, key=beginning) : bisect_right(order, run, key=beginning)]
