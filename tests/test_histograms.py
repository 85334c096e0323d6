"""Histograms: every value is counted once, between edges that hold all values."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from musicjax.model import network
from musicjax.model.network import MusicLSTM
from musicjax.training import histograms
from musicjax.training.histograms import BUCKETS, Buckets


def counted(values) -> Buckets:
    return histograms.buckets(np.asarray(values, np.float32))


def assert_every_value_is_in_its_bucket(got: Buckets, values: np.ndarray) -> None:
    """The buckets are those that NumPy counts between the same edges, which reach from the lowest to the highest."""
    assert (np.diff(got.edges) >= 0).all()
    assert got.edges[0] <= values.min() == got.low
    assert got.edges[-1] >= values.max() == got.high
    assert got.counts.sum() == values.size
    np.testing.assert_array_equal(got.counts, np.histogram(values, got.edges)[0])


FLOATS = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(values=arrays_of.arrays(np.float32, (8, 8), elements=FLOATS | st.sampled_from([0.0, 0.25, 0.5, 1.0])))
def test_counts_are_those_of_numpy_between_the_same_edges(values):
    got = counted(values)
    assert_every_value_is_in_its_bucket(got, values)
    assert got.counts.shape == (BUCKETS,)
    np.testing.assert_allclose(got.edges, np.linspace(got.edges[0], got.edges[-1], BUCKETS + 1), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(got.sum, values.sum(dtype=np.float64), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(got.sum_of_squares, (values.astype(np.float64) ** 2).sum(), rtol=1e-9)


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5])
def test_equal_values_lie_in_a_bucket_amid_one_unit(value):
    got = counted(np.full((3, 5), value))
    counts, edges = np.histogram(np.full(15, value), BUCKETS)
    np.testing.assert_array_equal(got.counts, counts)
    np.testing.assert_allclose(got.edges, edges, atol=1e-6)
    assert (got.low, got.high) == (value, value)


@pytest.mark.parametrize(
    "values",
    [
        [1e10, 1e10],
        [1e30, 1e30],
        [-3e38],
        [1.0, np.nextafter(np.float32(1), np.float32(2))],
        [-1e10, -np.nextafter(np.float32(1e10), np.float32(0))],
        [-3e38, 0.0, 3e38],
        [7.0],
    ],
)
def test_no_finite_values_are_lost_however_near_or_far_they_are(values):
    values = np.asarray(values, np.float32)
    got = counted(values)
    assert np.isfinite(got.edges).all()
    assert_every_value_is_in_its_bucket(got, values)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_seen_by_the_sum_of_squares(value):
    assert np.isfinite(counted(np.arange(9.0)).sum_of_squares)
    assert not np.isfinite(counted([1.0, value, 2.0]).sum_of_squares)
    assert not np.isfinite(counted([value]).sum_of_squares)


def test_every_parameter_has_its_histogram_and_all_outputs_one():
    net = MusicLSTM(8, 3, layers=2)
    params = network.init(net, jax.random.key(0), 5)
    outputs = network.apply(net, params, jnp.ones((7, 5, 3)))
    found = histograms.histograms(params, outputs)
    sizes = {tag: int(buckets.counts.sum()) for tag, buckets in found.items()}
    kernels = {"lstm/kernel": 3 * 32, "lstm/recurrent_kernel": 8 * 32, "lstm/bias": 32}
    kernels |= {"lstm_1/kernel": 8 * 32, "lstm_1/recurrent_kernel": 8 * 32, "lstm_1/bias": 32}
    assert sizes == {**kernels, "dense/kernel": 8 * 3, "dense/bias": 3, "outputs": 21}
    assert sum(sizes.values()) == network.count(params) + outputs.size
    np.testing.assert_array_equal(found["lstm/bias"].counts, counted(params["lstm"].bias).counts)
    np.testing.assert_array_equal(found["dense/kernel"].counts, counted(params["dense"]["kernel"]).counts)
