"""The longest match of each row of a piece: where the last rows came before, and what followed them there.

Data compression calls this a match model. Shape legend: N rows of one piece, G of them that end a run in question, P
pairs of rows that end equal runs.
"""

from __future__ import annotations

import numpy as np

# Rows before a row among which its match is looked for; and where the bins of the length of a run begin, after 0: none.
REACH = 2048
LENGTHS = (1, 2, 3, 4, 6, 9, 16, 32, 64)
# Runs of 1, 2, ... rows are compared until at most this many pairs a row are equal, and at most MOST_PAIRS, which take
# 60 MB. A piece with more pairs even of runs of LONGEST_COMPARED rows, such as one repeated note, goes row by row.
PAIRS_A_ROW, MOST_PAIRS, LONGEST_COMPARED = 8, 2**20, 12


def of(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the row that followed, the length of the run), int64 [N] each; two rows are alike if their codes [N] are equal.

    The match is the one of the REACH rows before a row that ends the longest run equal to the run that the row itself
    ends, or the latest of several. What followed is the row after the match. No run: row 0, of length 0.
    """
    count = len(codes)
    followed, longest = np.zeros((2, count), np.int64)
    code = np.unique(codes, return_inverse=True)[1].reshape(-1)
    row, run = np.arange(count), code  # rows that end a run of `length` rows, and which run that is
    for length in range(1, LONGEST_COMPARED + 1):
        key = np.sort(run * count + row)  # equal runs together, in the order of the piece
        run, row = np.divmod(key, count)
        first = np.searchsorted(key, run * count + np.maximum(row - REACH, 0))
        equal = np.arange(len(key)) - first  # earlier rows within reach that end the same run
        if equal.sum() <= min(PAIRS_A_ROW * count, MOST_PAIRS):
            _set_longest(followed, longest, row, first, equal, length)
            return followed, longest
        matched = np.flatnonzero(equal)
        followed[row[matched]], longest[row[matched]] = row[matched - 1] + 1, length
        # Only these rows and those that they match can be part of longer runs.
        goes_on = equal > 0
        goes_on[matched - 1] = True
        ended = np.full(count + 1, -1)  # the run that ends right before each row
        ended[row[goes_on] + 1] = run[goes_on]
        row = np.flatnonzero(ended[:-1] >= 0)
        run = np.unique(ended[row] * count + code[row], return_inverse=True)[1].reshape(-1)
    return _row_by_row(code)


def _set_longest(
    followed: np.ndarray, longest: np.ndarray, row: np.ndarray, first: np.ndarray, equal: np.ndarray, length: int
) -> None:
    """Sets what `of` gives of the rows whose runs have at least `length` rows.

    Args:
        row: the rows [G] that end runs of this length, equal runs together.
        first: of each, the index in `row` of the earliest one that it matches, [G].
        equal: how many it matches from there on, [G].
    """
    count, pairs = len(longest), int(equal.sum())
    index = np.arange(pairs) - np.repeat(np.cumsum(equal) - equal - first, equal)
    later = np.repeat(row, equal)
    # In this order a pair comes right after the one that its runs continue: both rows one later, as far apart.
    key = np.sort((later - row[index]) * count + later)
    index = np.arange(pairs)
    begins = np.maximum.accumulate(np.where(np.diff(key, prepend=-2) == 1, 0, index))
    apart, later = np.divmod(key, count)
    best = np.zeros(count, np.int64)
    np.maximum.at(best, later, (index - begins + length) * (REACH + 1) + REACH - apart)
    found = np.flatnonzero(best)
    run, nearness = np.divmod(best[found], REACH + 1)
    followed[found], longest[found] = found - REACH + nearness + 1, run


def _row_by_row(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `of` gives, in time N * REACH whatever the piece."""
    followed, longest = np.zeros((2, len(codes)), np.int64)
    lengths = np.zeros(len(codes) + 1, np.int32)  # of the run that each earlier row ends, one index later
    for now in range(1, len(codes)):
        first = max(now - REACH, 0)
        before = lengths[first:now]
        lengths[first + 1 : now + 1] = np.where(codes[first:now] == codes[now], before + 1, 0)
        own = lengths[first + 1 : now + 1]
        latest = now - 1 - int(own[::-1].argmax())
        if lengths[latest + 1]:
            followed[now], longest[now] = latest + 1, lengths[latest + 1]
    return followed, longest
