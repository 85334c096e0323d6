"""A gap in a piece, as an encoding writes it: what the model reads before it, how it is led through, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from musicjax.model.particles import Guide
from musicjax.music.notes import Notes


@dataclasses.dataclass(frozen=True, eq=False)
class Gap:
    """A piece with a stretch of it taken out.

    Attributes:
        kept: the piece without the stretch.
        candidates: K, how many the guide leads.
        before: how many rows come before the gap.
        reads: the guides through the rows before the gap, from a row of this number on.
        guide: through the gap, and over the rows after it that weigh a candidate.
        notes: turns rows drawn in the gap, [L, C], into notes at their places in the piece.
    """

    kept: Notes
    candidates: int
    before: int
    reads: Callable[[int], Iterator[Guide]]
    guide: Guide
    notes: Callable[[np.ndarray], Notes]
