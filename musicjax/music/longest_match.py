"""The echo of each row of a piece: where the last rows have been before, what followed there.

Shape legend: N rows of one piece.
"""

from __future__ import annotations

import numpy as np

# Rows before a row in which its echo is looked for; and where the bins of the length of a run begin, after 0: none.
HEARD = 2048
LENGTHS = (1, 2, 3, 4, 6, 9, 16, 32, 64)


def of(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(which row followed, how long the run is), int64 [N] each, of rows that are the same where codes [N] are.

    Of all earlier rows, at most HEARD, that end a run equal to the run that the row ends, the one with the longest run
    is taken, the latest of several; what followed is the row after it. No run: row 0, of length 0.
    """
    followed, longest = np.zeros((2, len(codes)), np.int64)
    lengths = np.zeros(len(codes) + 1, np.int32)  # of the run that each earlier row ends, one place later
    for now in range(1, len(codes)):
        first = max(now - HEARD, 0)
        before = lengths[first:now]
        lengths[first + 1 : now + 1] = np.where(codes[first:now] == codes[now], before + 1, 0)
        own = lengths[first + 1 : now + 1]
        latest = now - 1 - int(own[::-1].argmax())
        if lengths[latest + 1]:
            followed[now], longest[now] = latest + 1, lengths[latest + 1]
    return followed, longest
