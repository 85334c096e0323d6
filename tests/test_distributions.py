"""Histograms of weights give exactly the quantiles and ridges that are drawn."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from musicjax.report import distributions
from musicjax.report.distributions import Histogram


def test_quantiles_of_even_buckets_are_exact():
    shares = np.array([0, 0.125, 0.25, 0.5, 0.75, 1])
    even = Histogram(np.array([0.0, 1, 2, 4]), np.array([1.0, 1, 2]))
    assert distributions.quantiles(even, shares).tolist() == [0, 0.5, 1, 2, 3, 4]
    gap = Histogram(np.array([0.0, 0, 1, 3, 4, 4]), np.array([0.0, 2, 0, 2, 0]))
    assert distributions.quantiles(gap, np.array([0, 0.25, 0.5, 0.75, 1])).tolist() == [0, 0.5, 1, 3.5, 4]
    point = Histogram(np.array([2.0, 2, 2]), np.array([0.0, 7]))
    assert distributions.quantiles(point, shares).tolist() == [2] * 6


buckets = strategies.lists(strategies.tuples(strategies.floats(0, 5), strategies.integers(0, 9)), min_size=1).filter(
    lambda rows: sum(count for _, count in rows) > 0
)


@hypothesis.given(buckets, strategies.floats(-10, 10))
@hypothesis.settings(max_examples=50, deadline=None, derandomize=True)
def test_quantiles_invert_the_share_below_and_ridges_keep_the_values(rows, first):
    widths, counts = np.array(rows, np.float64).T
    found = Histogram(first + np.concatenate([[0], np.cumsum(widths)]), counts)
    lines = distributions.quantiles(found)
    assert (np.diff(lines) >= -1e-9).all()
    below = np.array([_share_below(found, value) for value in lines])
    at_most = np.array([_share_below(found, value, inclusive=True) for value in lines])
    assert (below <= distributions.SHARES + 1e-6).all() and (at_most >= distributions.SHARES - 1e-6).all()
    edges, cells = distributions.ridges([found, found], 50)
    assert edges.shape == (51,) and cells.shape == (2, 50)
    assert (cells >= 0).all() and (np.diff(edges) > 0).all()
    assert 0.9979 * counts.sum() <= cells[0].sum() <= counts.sum() + 1e-6


def _share_below(found: Histogram, value: float, inclusive: bool = False) -> float:
    """Share of the values below (or up to) a value, with a margin for rounding."""
    value += 1e-7 if inclusive else -1e-7
    total = 0.0
    for left, right, count in zip(found.edges[:-1], found.edges[1:], found.counts, strict=True):
        total += count * (np.clip((value - left) / (right - left), 0, 1) if right - left > 1e-9 else value >= left)
    return total / found.counts.sum()


def test_ridges_share_a_grid_on_which_every_value_lies_where_it_was():
    low = Histogram(np.array([0.0, 1, 2]), np.array([1000.0, 3000]))
    high = Histogram(np.array([2.0, 4]), np.array([4000.0]))
    edges, cells = distributions.ridges([low, high], 8)
    assert edges[0] == pytest.approx(0.004) and edges[-1] == pytest.approx(3.998)
    left, right, width = edges[:-1], edges[1:], edges[1] - edges[0]
    for row, begin, end, per_unit in ((0, 0, 1, 1000), (0, 1, 2, 3000), (0, 2, 4, 0), (1, 0, 2, 0), (1, 2, 4, 2000)):
        inside = (left >= begin) & (right <= end)
        assert inside.any()
        np.testing.assert_allclose(cells[row][inside], per_unit * width)


def test_a_ridge_of_equal_values_is_one_cell():
    point = Histogram(np.array([2.0, 2]), np.array([7.0]))
    edges, cells = distributions.ridges([point], 5)
    assert (edges[0], edges[-1]) == (1.5, 2.5)
    assert cells.tolist() == [[0, 0, 7, 0, 0]]


@pytest.mark.parametrize("count, most", [(1, 24), (5, 24), (24, 24), (25, 24), (200, 24)])
def test_the_steps_that_are_shown_are_spread_from_the_first_to_the_last(count, most):
    steps = list(range(10, 10 * count + 1, 10))
    shown = distributions.spread(steps, most)
    assert (shown[0], shown[-1], len(shown)) == (steps[0], steps[-1], min(count, most))
    assert shown == sorted(set(shown)) and set(shown) <= set(steps)
