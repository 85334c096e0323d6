"""Where in the bar a note begins. All music is taken to be in four quarter notes a bar.

NumPy and JAX arrays alike: the rows of a piece, the training windows and the sampling loop count in the same way.
"""

from __future__ import annotations

from typing import Any

# Quarter notes in a bar.
BEATS_A_BAR = 4


def of(steps: Any, steps_per_bar: Any) -> Any:
    """The position of each onset, 0 to steps_per_bar - 1, from steps of the beat grid since a bar began."""
    return steps % steps_per_bar
