"""Histograms of parameters and outputs, for TensorBoard.

NumPy counts them: the parameters come to the host after each epoch anyway, to be saved, and XLA takes longer to compile
histograms than validation.

Shape legend: M buckets.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

BUCKETS = 30


class Buckets(NamedTuple):
    """A histogram. Bucket k counts the values from edges[k] up to but not including edges[k + 1]; the last includes it.

    counts: int64 [M]; edges: float64 [M + 1], never falling; low, high, sum, sum_of_squares: of the values themselves.
    If not all values and their squares are finite, sum_of_squares is not finite and there are no counts and edges.
    """

    counts: np.ndarray
    edges: np.ndarray
    low: float
    high: float
    sum: float
    sum_of_squares: float


def histograms(params: dict, outputs: jax.Array | np.ndarray) -> dict[str, Buckets]:
    """A histogram of each array of the parameters, by its tag (see `tags`), and of all outputs, as `outputs`."""
    leaves = dict(zip(tags(params), jax.tree.leaves(params), strict=True))
    return {tag: buckets(np.asarray(values)) for tag, values in {**leaves, "outputs": outputs}.items()}


def tags(params: dict) -> list[str]:
    """The path of each array in the tree, such as `lstm/recurrent_kernel`."""
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(params)]


def buckets(values: np.ndarray) -> Buckets:
    """The histogram of an array of any shape, in equal buckets from its lowest value to its highest.

    If all values are equal, the buckets reach from half a unit below to half a unit above, or farther if the values are
    so large that half a unit is lost in rounding.
    """
    values = np.asarray(values, np.float64).ravel()  # in float32, close values would have too many buckets
    with np.errstate(invalid="ignore"):  # of infinities
        low, high, total, squares = values.min(), values.max(), values.sum(), np.dot(values, values)
    if not np.isfinite(squares):
        return Buckets(np.zeros(0, np.int64), np.zeros(0), float(low), float(high), float(total), float(squares))
    half = max(0.5, BUCKETS * np.spacing(abs(low))) if low == high else 0.0
    counts, edges = np.histogram(values, BUCKETS, (low - half, high + half))
    return Buckets(counts, edges, float(low), float(high), float(total), float(squares))
