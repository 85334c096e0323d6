"""The longest match of each row of a piece: where the last rows came before, and what followed them there.

Data compression calls this a match model. Shape legend: N rows of one piece.
"""

from __future__ import annotations

import numpy as np

# Rows before a row among which its match is looked for; and where the bins of the length of a run begin, after 0: none.
REACH = 2048
LENGTHS = (1, 2, 3, 4, 6, 9, 16, 32, 64)


def of(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the row that followed, the length of the run), int64 [N] each; two rows are alike if their codes [N] are equal.

    Of the REACH rows before a row, those count that end a run equal to the run which the row ends. The one with the
    longest run wins, of several the latest; what followed is the row after it. No run: row 0, of length 0.
    """
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
