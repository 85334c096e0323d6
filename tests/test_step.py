"""The training step, the epoch and validation: their numbers, what they count, and that they learn."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from musicjax.model import network, sample
from musicjax.model.network import MusicLSTM
from musicjax.training import optimizer as optimizer_lib
from musicjax.training import step as step_lib
from musicjax.training import windows as windows_lib
from musicjax.training.windows import Windows

UNITS, COLUMNS, WINDOW, BATCH, SEED = 16, 3, 8, 4, 0
OPTIMIZER = optimizer_lib.rmsprop(1e-3)

GOLDEN_LOSSES = (0.3716904, 0.4518334, 0.4372254)
GOLDEN_NORM = 6.475453
GOLDEN_MEANS = (
    "The golden train step changed: the same seed, rows and settings now give other numbers. Either initial values, "
    "the order of windows, dropout, the LSTM, the loss or the optimizer changed, and checkpoints of older versions "
    "will not go on as they did; or JAX or Flax draw other random numbers. If that is meant, say so in the "
    "CHANGELOG and put the new numbers here."
)


def rows_of_a_formula(count: int) -> jax.Array:
    """float32 [count, 3] in 0..1, without a random number."""
    place = np.arange(count)[:, None]
    return jnp.asarray(0.5 + 0.5 * np.sin(place * [0.7, 1.1, 1.9] + [0.0, 1.0, 2.0]), jnp.float32)


def windows_of(count: int) -> Windows:
    """`count` windows, every other row."""
    return Windows(rows_of_a_formula(2 * count + WINDOW), jnp.arange(0, 2 * count, 2, dtype=jnp.int32))


def net_of(dropout: float = 0.0) -> MusicLSTM:
    return MusicLSTM(UNITS, COLUMNS, dropout)


def start_of(net: MusicLSTM, optimizer: optax.GradientTransformation = OPTIMIZER) -> step_lib.TrainState:
    return step_lib.init(net, optimizer, step_lib.keys(SEED).init, WINDOW)


def assert_same(got, expected, rtol=1e-6, atol=1e-7):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for ours, wanted in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=rtol, atol=atol)


@pytest.fixture(scope="module")
def step():
    """train_step without dropout, compiled: (state, inputs, targets, weight) -> (state, metrics)."""
    return jax.jit(
        lambda state, inputs, targets, weight: step_lib.train_step(
            net_of(), OPTIMIZER, state, inputs, targets, weight, step_lib.keys(SEED).dropout
        )
    )


@pytest.fixture(scope="module")
def epoch():
    """An epoch with dropout, compiled once for all tests that give it 11 windows: batches of 4, 4 and 3."""
    return step_lib.make_epoch(net_of(0.5), OPTIMIZER, BATCH, WINDOW)


def test_golden_train_step(epoch):
    state, metrics = epoch(start_of(net_of(0.5)), windows_of(11), step_lib.keys(SEED), jnp.int32(0))
    losses = (metrics.loss / metrics.weight).tolist()
    assert len(losses) == 3 and int(state.step) == 3
    assert losses == pytest.approx(GOLDEN_LOSSES, rel=2e-6), GOLDEN_MEANS
    assert float(optax.tree.norm(state.params)) == pytest.approx(GOLDEN_NORM, rel=2e-6), GOLDEN_MEANS


def test_what_fills_the_last_batch_does_not_count(step):
    windows, keys = windows_of(5), step_lib.keys(SEED)
    epoch = step_lib.make_epoch(net_of(), OPTIMIZER, BATCH, WINDOW)
    state, metrics = epoch(start_of(net_of()), windows, keys, jnp.int32(0))
    index, _ = windows_lib.order(keys.order, 0, 5, BATCH)
    places = index.ravel()
    by_hand, full = step(start_of(net_of()), *windows_lib.gather(windows, places[:4], WINDOW), jnp.ones(4))
    by_hand, single = step(by_hand, *windows_lib.gather(windows, places[4:5], WINDOW), jnp.ones(1))
    assert metrics.weight.tolist() == [4, 1]
    assert_same(metrics, jax.tree.map(lambda *parts: jnp.stack(parts), full, single))
    assert_same(state, by_hand)
    # The same places with weight 1 would have been seen.
    counted, _ = step(
        step(start_of(net_of()), *windows_lib.gather(windows, places[:4], WINDOW), jnp.ones(4))[0],
        *windows_lib.gather(windows, places[4:], WINDOW),
        jnp.ones(4),
    )
    assert np.abs(counted.params["dense"]["kernel"] - by_hand.params["dense"]["kernel"]).max() > 1e-5


def test_an_epoch_is_its_steps_one_after_the_other(epoch):
    net, keys, windows = net_of(0.5), step_lib.keys(SEED), windows_of(11)

    @jax.jit
    def one_step(state, inputs, targets, weight):
        return step_lib.train_step(net, OPTIMIZER, state, inputs, targets, weight, keys.dropout)

    state, losses = start_of(net), []
    for number in range(2):
        state, metrics = epoch(state, windows, keys, jnp.int32(number))
        losses += metrics.loss.tolist()
    stepped, stepped_losses = start_of(net), []
    for number in range(6):
        batch = windows_lib.batch(windows, keys.order, number, BATCH, WINDOW)
        stepped, metrics = one_step(stepped, *batch)
        stepped_losses.append(float(metrics.loss))
    np.testing.assert_allclose(losses, stepped_losses, rtol=1e-5)
    assert int(state.step) == int(stepped.step) == 6
    assert_same(state, stepped, rtol=1e-5, atol=1e-6)


def test_a_rate_of_dropout_that_is_an_array_gives_the_numbers_of_the_networks_own(epoch):
    keys, windows = step_lib.keys(SEED), windows_of(11)
    own, own_metrics = epoch(start_of(net_of(0.5)), windows, keys, jnp.int32(0))

    @jax.jit
    def with_rate(state, rate):
        return step_lib.epoch(net_of(0.9), OPTIMIZER, BATCH, WINDOW, state, windows, keys, jnp.int32(0), dropout=rate)

    given, given_metrics = with_rate(start_of(net_of(0.5)), jnp.float32(0.5))
    assert_same((given, given_metrics), (own, own_metrics))
    other, _ = with_rate(start_of(net_of(0.5)), jnp.float32(0.25))
    assert np.abs(other.params["dense"]["kernel"] - own.params["dense"]["kernel"]).max() > 1e-4


def test_each_step_drops_other_outputs():
    net = net_of(0.5)
    frozen = optax.sgd(0.0)
    windows = Windows(rows_of_a_formula(WINDOW + 1), jnp.zeros(1, jnp.int32))  # one window, again and again
    batch = windows_lib.gather(windows, jnp.zeros(1, jnp.int32), WINDOW)
    state, losses = start_of(net, frozen), set()

    @jax.jit
    def frozen_step(state):
        return step_lib.train_step(net, frozen, state, *batch, jnp.ones(1), step_lib.keys(SEED).dropout)

    for _ in range(4):
        state, metrics = frozen_step(state)
        losses.add(float(metrics.loss))
    assert len(losses) == 4


def test_the_keys_of_a_run_all_differ():
    drawn = {tuple(jax.random.key_data(key).tolist()) for seed in (0, 1) for key in step_lib.keys(seed)}
    assert len(drawn) == 10


def test_the_state_is_donated_and_the_epoch_compiled_once(epoch):
    keys, windows = step_lib.keys(SEED), windows_of(11)
    first = state = start_of(net_of(0.5))
    for number in range(4):
        state, _ = epoch(state, windows, keys, jnp.int32(number))
    assert epoch._cache_size() == 1
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(first))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((state, windows, keys)))


def test_validation_is_compiled_once():
    net = net_of()
    validate = step_lib.make_validation(net, BATCH, WINDOW)
    for seed in range(3):
        validate(network.init(net, jax.random.key(seed), WINDOW), windows_of(7))
    assert validate._cache_size() == 1


@pytest.mark.parametrize("count", [1, 4, 11])
def test_validation_gives_the_means_over_all_windows(count):
    net, windows = net_of(0.9), windows_of(count)
    params = network.init(net, jax.random.key(5), WINDOW)
    got = step_lib.make_validation(net, BATCH, WINDOW)(params, windows)
    inputs, targets = windows_lib.gather(windows, jnp.arange(count), WINDOW)
    outputs, targets = np.asarray(network.apply(net, params, inputs), np.float64), np.asarray(targets, np.float64)
    residual = targets - outputs
    expected = step_lib.Validation(
        (residual**2).mean(),
        (outputs.argmax(axis=1) == targets.argmax(axis=1)).mean(),
        residual.mean(axis=0),
        (residual**2).mean(axis=0),
        np.abs(residual).mean(axis=0),
        0.0,
    )
    assert_same(got, expected, rtol=1e-5, atol=1e-6)


def test_the_metrics_of_a_step_are_sums_over_its_windows(step):
    windows = windows_of(4)
    inputs, targets = windows_lib.gather(windows, jnp.arange(4), WINDOW)
    state = start_of(net_of())
    outputs = np.asarray(network.apply(net_of(), state.params, inputs))
    weight = jnp.asarray([1.0, 0.0, 1.0, 1.0])
    _, metrics = step(state, inputs, targets, weight)
    losses = ((outputs - targets) ** 2).mean(axis=1)
    agreement = outputs.argmax(axis=1) == np.asarray(targets).argmax(axis=1)
    assert float(metrics.loss) == pytest.approx(float(losses[jnp.asarray([0, 2, 3])].sum()), rel=1e-5)
    assert (float(metrics.agreement), float(metrics.weight)) == (agreement[[0, 2, 3]].sum(), 3)


ON_FOUR_DEVICES = """
import functools
import jax, jax.numpy as jnp, numpy as np
from musicjax.model.network import MusicLSTM
from musicjax.training import optimizer as optimizer_lib, step as step_lib

assert jax.device_count() == 4
net, optimizer, key = MusicLSTM(16, 3, DROPOUT), optimizer_lib.rmsprop(1e-3), jax.random.key(0)
state = step_lib.init(net, optimizer, key, 8)
rows = jax.random.uniform(jax.random.key(1), (3, 12, 9, 3))
weight = jnp.ones((3, 12)).at[2, 7:].set(0)  # the last batch is not full: the devices' shares differ
train_step = functools.partial(step_lib.train_step, net, optimizer)
alone_step = jax.jit(lambda state, inputs, targets, weight: train_step(state, inputs, targets, weight, key))
shared_step = jax.pmap(
    lambda state, inputs, targets, weight: train_step(state, inputs, targets, weight, key, "devices"),
    axis_name="devices",
    in_axes=(0, 0, 0, 0),
)
alone, shared = state, jax.tree.map(lambda leaf: jnp.stack([leaf] * 4), state)
for step in range(3):
    batch = (rows[step, :, :-1], rows[step, :, -1], weight[step])
    alone, metrics = alone_step(alone, *batch)
    shared, shared_metrics = shared_step(shared, *(part.reshape(4, 3, *part.shape[1:]) for part in batch))
    for one, four in zip(metrics, shared_metrics, strict=True):
        np.testing.assert_allclose(np.asarray(four), np.full(4, one), rtol=1e-6)
for before, one, four in zip(*(jax.tree.leaves(tree) for tree in (state, alone, shared)), strict=True):
    one, four = np.asarray(one), np.asarray(four)
    assert (four == four[:1]).all(), "the devices differ from each other"
    np.testing.assert_allclose(four[0], one, rtol=1e-6, atol=1e-6)
    assert np.abs(one - np.asarray(before)).max() > 1e-5
print("agree")
"""


@pytest.mark.parametrize("dropout", ["0.0", "0.5"])
def test_four_devices_under_pmap_step_as_one(dropout):
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    code = ON_FOUR_DEVICES.replace("DROPOUT", dropout)
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "agree", done.stderr


PITCHES = np.asarray([60, 64, 67, 72, 71, 67, 65, 62])
VELOCITIES = np.asarray([100, 60, 80, 60, 90, 60, 80, 60])
SECONDS = np.asarray([0.5, 0.25, 0.25, 0.5, 0.5, 0.25, 0.25, 0.5])


@pytest.fixture(scope="module")
def learned():
    """A small network trained on one bar of eight notes, over and over: (net, params, rows, loss of the last step)."""
    # Each column spread over 0..1, so that a few hundred steps are enough.
    bar = np.stack([(PITCHES - 60) / 12, (VELOCITIES - 60) / 40, 4 * SECONDS - 1], axis=1)
    rows = jnp.asarray(np.tile(bar, (6, 1)), jnp.float32)
    windows = Windows(rows, jnp.arange(len(bar), dtype=jnp.int32))
    net = MusicLSTM(64, COLUMNS, dropout=0.0)
    keys = step_lib.keys(SEED)
    state, number = step_lib.init(net, OPTIMIZER, keys.init, WINDOW), 0
    # RMSprop's steps do not shrink by themselves: the last ones go slower.
    for rate, epochs in ((5e-3, 400), (1e-3, 100), (1e-4, 100)):
        epoch = step_lib.make_epoch(net, optimizer_lib.rmsprop(rate), len(bar), WINDOW)
        for _ in range(epochs):
            state, metrics = epoch(state, windows, keys, jnp.int32(number))
            number += 1
    return net, state.params, rows, float(metrics.loss[-1] / metrics.weight[-1])


def test_it_learns_a_repeated_bar(learned):
    *_, rows, loss = learned
    assert loss < 1e-4 * float(rows.var(axis=0).mean())


def test_it_plays_the_repeated_bar_back(learned):
    net, params, rows, _ = learned
    limits = sample.Limits(rows.min(axis=0), rows.max(axis=0), jnp.zeros(COLUMNS))
    primers = jnp.stack([rows[:WINDOW], rows[3 : WINDOW + 3]])
    played = np.asarray(
        sample.sample(net, params, sample.Past(primers), sample.output_keys(SEED, 2), limits, 0.0, 24).rows
    )
    for output, first in zip(played, (0, 3), strict=True):
        assert np.rint(60 + 12 * output[:, 0]).tolist() == np.roll(np.tile(PITCHES, 3), -first).tolist()
        assert np.rint(60 + 40 * output[:, 1]).tolist() == np.roll(np.tile(VELOCITIES, 3), -first).tolist()
        np.testing.assert_allclose((output[:, 2] + 1) / 4, np.roll(np.tile(SECONDS, 3), -first), atol=0.005)
