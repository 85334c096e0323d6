"""Where windows start, how an epoch orders them, and what a batch is."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax.model import heads, network
from musicjax.model.network import MusicLSTM
from musicjax.training import step as step_lib
from musicjax.training import windows as windows_lib
from musicjax.training.windows import Windows


@pytest.mark.parametrize(
    "rows, train, validation",
    [
        (21_870, 17_456, 4_364),  # the paper's 126 files: 21,820 windows
        (18_279, 14_583, 3_646),  # as printed in the authors' notebook
        (55, 4, 1),
        (51, 0, 1),
    ],
)
def test_the_last_fifth_of_one_list_validates(rows, train, validation):
    first, last = windows_lib.starts_of_list(rows, 0.2, 50)
    assert (len(first), len(last)) == (train, validation)
    np.testing.assert_array_equal(np.concatenate([first, last]), np.arange(rows - 50))
    assert first.dtype == last.dtype == np.int32


@pytest.mark.parametrize("rows", [0, 49, 50])
def test_a_list_too_short_for_a_window_and_its_target_has_none(rows):
    assert [len(starts) for starts in windows_lib.starts_of_list(rows, 0.2, 50)] == [0, 0]


@settings(deadline=None, derandomize=True)
@given(
    pieces=st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=12),
    window=st.integers(1, 8),
)
def test_windows_of_pieces_never_cross_and_miss_none(pieces, window):
    lengths = [length for length, _ in pieces]
    held_out = np.asarray([out for _, out in pieces], bool)
    offsets = np.cumsum([0, *lengths])
    piece_of_row = np.repeat(np.arange(len(pieces)), lengths)
    found = [windows_lib.starts_inside(offsets, held_out == side, window) for side in (False, True)]
    for side, starts in zip((False, True), found, strict=True):
        assert starts.dtype == np.int32
        for start in starts.tolist():
            rows = piece_of_row[start : start + window + 1]
            assert len(rows) == window + 1
            assert set(held_out[rows].tolist()) == {side}
            assert len(set(rows.tolist())) == 1
    expected = sum(max(length - window, 0) for length in lengths)
    assert len(set(np.concatenate(found).tolist())) == len(np.concatenate(found)) == expected


@pytest.mark.parametrize("windows, batch_size, steps", [(10, 4, 3), (12, 4, 3), (3, 8, 1), (1, 1, 1), (200, 7, 29)])
def test_an_epoch_counts_every_window_once(windows, batch_size, steps):
    index, weight = windows_lib.order(jax.random.key(0), 0, windows, batch_size)
    assert index.shape == weight.shape == (steps, min(batch_size, windows))
    assert steps == windows_lib.steps_per_epoch(windows, batch_size)
    assert sorted(index[weight == 1].tolist()) == list(range(windows))
    assert weight.sum() == windows and set(weight.ravel().tolist()) <= {0.0, 1.0}
    # What fills the last batch is left out of it, and lies nowhere else.
    assert weight.ravel()[:windows].all()
    np.testing.assert_array_equal(index.ravel()[windows:], np.resize(index.ravel()[:windows], index.size - windows))


def test_the_order_is_one_function_of_key_and_epoch():
    def order(seed, epoch):
        return tuple(windows_lib.order(jax.random.key(seed), epoch, 100, 8)[0].ravel()[:100].tolist())

    assert order(0, 3) == order(0, 3) == order(0, jnp.int32(3))
    orders = {order(seed, epoch) for seed in (0, 1) for epoch in range(4)}
    assert len(orders) == 8
    assert tuple(range(100)) not in orders


def test_gather_gives_the_rows_of_a_window_and_the_row_after_it():
    rows = jax.random.uniform(jax.random.key(0), (40, 3))
    starts = jnp.asarray([0, 7, 34, 12], jnp.int32)  # the last window ends with the last row
    inputs, targets, weight = Windows(rows, starts).gather(jnp.asarray([2, 0, 3, 0]), 5)
    for place, start in enumerate([34, 0, 12, 0]):
        np.testing.assert_array_equal(inputs[place], rows[start : start + 5])
        np.testing.assert_array_equal(targets[place], rows[start + 5])
    assert weight.tolist() == [1, 1, 1, 1]


def test_a_batch_is_one_function_of_key_and_step():
    rows = jax.random.uniform(jax.random.key(0), (30, 3))
    windows = Windows(rows, jnp.arange(3, 24, 2, dtype=jnp.int32))
    later, sooner = (windows_lib.batch(windows, jax.random.key(1), step, 4, 5) for step in (7, 2))
    for got, again in zip(later, windows_lib.batch(windows, jax.random.key(1), 7, 4, 5), strict=True):
        np.testing.assert_array_equal(got, again)
    assert (later[0] != sooner[0]).any()
    # Step 7 of 3 steps an epoch is the second of the third epoch.
    index, weight = windows_lib.order(jax.random.key(1), 2, 11, 4)
    inputs, targets, _ = windows.gather(index[1], 5)
    for got, expected in zip(later, (inputs, targets, weight[1]), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_an_epoch_consumes_its_batches():
    """With a learning rate of 0 the loss of a step names the batch that it was computed from."""
    net, optimizer, keys = MusicLSTM(4, 3, dropout=0.0), optax.sgd(0.0), step_lib.keys(0)
    rows = jax.random.uniform(jax.random.key(0), (40, 3))
    windows = Windows(rows, jnp.arange(0, 30, 3, dtype=jnp.int32))
    state = step_lib.init(net, optimizer, keys.init, 5)
    params = jax.tree.map(jnp.copy, state.params)
    epoch = step_lib.make_epoch(net, optimizer, 4, 5)

    @jax.jit
    def loss_of(inputs, targets, weight):
        return jnp.sum(heads.Regression().loss({}, network.apply(net, params, inputs), targets) * weight)

    consumed = []
    for number in range(3):
        state, metrics = epoch(state, windows, keys, jnp.int32(number))
        consumed += metrics.loss.tolist()
    batches = [windows_lib.batch(windows, keys.order, step, 4, 5) for step in range(9)]
    expected = [float(loss_of(*batch)) for batch in batches]
    assert min(np.diff(sorted(expected))) > 1e-4 * max(expected), "two batches of one loss would not be told apart"
    np.testing.assert_allclose(consumed, expected, rtol=1e-5)
