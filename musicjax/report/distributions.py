"""Histograms of weights -> the quantiles and ridges that are drawn.

Shape legend: B buckets, S steps with a histogram, Q quantiles, G grid cells.
"""

from __future__ import annotations

import dataclasses

import numpy as np

# Shares of a normal distribution below -1.5, -1, ... +1.5 deviations, between the least and the greatest value: the
# lines of TensorBoard's Distributions.
SHARES = np.array([0, 0.0668, 0.1587, 0.3085, 0.5, 0.6915, 0.8413, 0.9332, 1])


@dataclasses.dataclass(frozen=True, eq=False)
class Histogram:
    """How many values lie where.

    Attributes:
        edges: float64 [B + 1], never decreasing; the first is the least value, the last the greatest.
        counts: float64 [B], values in each bucket, spread evenly over it.
    """

    edges: np.ndarray
    counts: np.ndarray


def quantiles(histogram: Histogram, shares: np.ndarray = SHARES) -> np.ndarray:
    """The values below which these shares [Q] of all values lie, float64 [Q]."""
    filled = histogram.counts > 0
    # Without its empty buckets the sum rises from edge to edge; a gap is crossed at the share where it stands.
    left, right, counts = histogram.edges[:-1][filled], histogram.edges[1:][filled], histogram.counts[filled]
    above = np.cumsum(counts) / counts.sum()
    bucket = np.minimum(np.searchsorted(above, shares), len(counts) - 1)
    within = (shares - (above - counts / counts.sum())[bucket]) / (counts / counts.sum())[bucket]
    return left[bucket] + np.clip(within, 0, 1) * (right - left)[bucket]


def ridges(histograms: list[Histogram], cells: int) -> tuple[np.ndarray, np.ndarray]:
    """(edges [G + 1] of a common grid, values in each of its cells [S, G]).

    The rarest 0.2 % of the values may lie beyond the grid. Where all values are equal, the grid is one wide.
    """
    ends = np.array([quantiles(histogram, np.array([0.001, 0.999])) for histogram in histograms])
    low, high = ends[:, 0].min(), ends[:, 1].max()
    if high - low <= max(1e-12 * max(abs(low), abs(high)), 1e-300):
        low, high = low - 0.5, high + 0.5
    grid = np.linspace(low, high, cells + 1)
    return grid, np.stack([_resampled(histogram, grid) for histogram in histograms])


def _resampled(histogram: Histogram, grid: np.ndarray) -> np.ndarray:
    """How many values lie in each cell of a grid [G + 1], float64 [G]; a bucket of almost no width lies in one cell."""
    counted, almost_none = np.zeros(len(grid) - 1), 1e-9 * (grid[1] - grid[0])
    for left, right, count in zip(histogram.edges[:-1], histogram.edges[1:], histogram.counts, strict=True):
        if right - left > almost_none:
            counted += count * np.diff(np.clip((grid - left) / (right - left), 0, 1))
        elif right >= grid[0] and left <= grid[-1]:
            counted[np.clip(np.searchsorted(grid, left, side="right") - 1, 0, len(counted) - 1)] += count
    return counted


def spread(steps: list[int], most: int) -> list[int]:
    """At most `most` elements of a list, evenly spread, the first and the last among them."""
    return [steps[k] for k in sorted({round(k) for k in np.linspace(0, len(steps) - 1, min(most, len(steps)))})]
