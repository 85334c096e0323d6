"""Where in the bar a note begins: meters (time signatures), the bars that they make, and positions in them.

Meters are float64 [M, 3], see `Notes.meters`: the beat of a bar line, numerator, denominator. A beat is a quarter note.
`of` counts positions in NumPy and JAX arrays alike: in the rows of a piece, the training windows and the sampling loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from musicjax.errors import UsageError

# A beat within this share of a bar before a bar line counts as on it.
NEGLIGIBLE_BARS = 1e-6
MOST_NUMERATOR, MOST_DENOMINATOR = 128, 64


def of(steps: Any, steps_per_bar: Any) -> Any:
    """The position of each onset, 0 to steps_per_bar - 1, from steps of the beat grid since a bar began."""
    return steps % steps_per_bar


def beats_per_bar(meters: np.ndarray) -> np.ndarray:
    """Quarter notes in a bar of each meter, float64 [M]."""
    return meters[:, 1] * 4 / meters[:, 2]


def segments(beats: np.ndarray, meters: np.ndarray) -> np.ndarray:
    """Which meter holds at each of N beats, int64 [N]; before the first one begins, the first."""
    return np.maximum(np.searchsorted(meters[:, 0], beats, side="right") - 1, 0)


def lines(meters: np.ndarray, last: float) -> np.ndarray:
    """The beats of bar lines, from that of the bar that contains beat 0 to the first after a beat `last`, [B + 1]."""
    meters = meters[segments(np.zeros(1), meters)[0] :]
    lengths = beats_per_bar(meters)
    first = meters[0, 0] + np.floor(-meters[0, 0] / lengths[0] + NEGLIGIBLE_BARS) * lengths[0]
    starts, found = np.append(first, meters[1:, 0]), []
    for start, end, length in zip(starts, np.append(starts[1:], np.inf), lengths, strict=True):
        if start > last + NEGLIGIBLE_BARS:
            break
        count = np.floor((last - start) / length + NEGLIGIBLE_BARS) + 1
        until_next = max(np.ceil((end - start) / length - NEGLIGIBLE_BARS), 1)
        found.append(start + np.arange(min(count, until_next)) * length)
    end = starts[len(found)] if len(found) < len(starts) else np.inf
    return np.append(np.concatenate(found), min(found[-1][-1] + lengths[len(found) - 1], end))


def steps_per_bar(numerator: int, denominator: int, steps_per_beat: int, most: int) -> int:
    """Steps of the beat grid in a bar, at least 1.

    A bar of more than `most` steps counts as the fewest bars of equal length that are short enough.
    """
    steps = max(round(numerator * 4 * steps_per_beat / denominator), 1)
    return next(steps // parts for parts in range(1, steps + 1) if not steps % parts and steps // parts <= most)


def is_meter(numerator: float, denominator: float) -> bool:
    """Whether these are the numbers of a time signature: the denominator is a power of two."""
    return numerator in range(1, MOST_NUMERATOR + 1) and denominator in (1, 2, 4, 8, 16, 32, MOST_DENOMINATOR)


def text_of(numerator: float, denominator: float) -> str:
    """A meter as people write it, such as "3/4"."""
    return f"{int(numerator)}/{int(denominator)}"


def meter_of(text: str) -> tuple[int, int]:
    """The meter that a text such as "3/4" names, (numerator, denominator).

    Raises:
        UsageError: it names none.
    """
    numbers = [int(number) if number.isdecimal() and len(number) < 4 else 0 for number in text.split("/")]
    if len(numbers) != 2 or not is_meter(*numbers):
        raise UsageError(f"meter={text}: expected a time signature such as 3/4 or 6/8")
    return numbers[0], numbers[1]
