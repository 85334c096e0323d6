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
    """train_step, compiled: (state, inputs, targets, weight, rate of dropout) -> (state, metrics)."""
    return jax.jit(
        lambda state, inputs, targets, weight, rate: step_lib.train_step(
            net_of(0.9), OPTIMIZER, state, inputs, targets, weight, step_lib.keys(SEED).dropout, dropout=rate
        )
    )


@pytest.fixture(scope="module")
def epoch():
    """An epoch with dropout, compiled once for all tests that give it 11 windows: batches of 4, 4 and 3."""
    return step_lib.make_epoch(net_of(0.5), OPTIMIZER, BATCH, WINDOW)


@pytest.fixture(scope="module")
def epoch_with_rate():
    """The same, but the rate of dropout is an argument: (state, windows, rate) -> (state, metrics) of epoch 0."""
    return jax.jit(
        lambda state, windows, rate: step_lib.epoch(
            net_of(0.9), OPTIMIZER, BATCH, WINDOW, state, windows, step_lib.keys(SEED), jnp.int32(0), dropout=rate
        )
    )


def test_golden_train_step(epoch):
    state, metrics = epoch(start_of(net_of(0.5)), windows_of(11), step_lib.keys(SEED), jnp.int32(0))
    losses = (metrics.loss / metrics.weight).tolist()
    assert len(losses) == 3 and int(state.step) == 3
    assert losses == pytest.approx(GOLDEN_LOSSES, rel=2e-6), GOLDEN_MEANS
    assert float(optax.tree.norm(state.params)) == pytest.approx(GOLDEN_NORM, rel=2e-6), GOLDEN_MEANS


def test_what_fills_the_last_batch_does_not_count(epoch_with_rate, step):
    windows, keys, none = windows_of(11), step_lib.keys(SEED), jnp.float32(0)
    state, metrics = epoch_with_rate(start_of(net_of()), windows, none)
    places = windows_lib.order(keys.order, 0, 11, BATCH)[0]
    by_hand, of_steps = start_of(net_of()), []
    for index in (places[0], places[1], places[2, :3]):
        full = by_hand  # before the last batch
        by_hand, of_step = step(by_hand, *windows.gather(index, WINDOW), none)
        of_steps.append(of_step)
    assert metrics.weight.tolist() == [4, 4, 3]
    assert_same(metrics, jax.tree.map(lambda *parts: jnp.stack(parts), *of_steps))
    assert_same(state, by_hand)
    # With weight 1 the window that fills the batch would have been seen.
    counted, _ = step(full, *windows.gather(places[2], WINDOW), none)
    assert np.abs(counted.params["dense"]["kernel"] - by_hand.params["dense"]["kernel"]).max() > 1e-5


def test_an_epoch_is_its_steps_one_after_the_other(epoch, step):
    net, keys, windows = net_of(0.5), step_lib.keys(SEED), windows_of(11)
    state, losses = start_of(net), []
    for number in range(2):
        state, metrics = epoch(state, windows, keys, jnp.int32(number))
        losses += metrics.loss.tolist()
    stepped, stepped_losses = start_of(net), []
    for number in range(6):
        batch = windows_lib.batch(windows, keys.order, number, BATCH, WINDOW)
        stepped, metrics = step(stepped, *batch, jnp.float32(0.5))
        stepped_losses.append(float(metrics.loss))
    np.testing.assert_allclose(losses, stepped_losses, rtol=1e-5)
    assert int(state.step) == int(stepped.step) == 6
    assert_same(state, stepped, rtol=1e-5, atol=1e-6)


def test_a_rate_of_dropout_that_is_an_array_gives_the_numbers_of_the_networks_own(epoch, epoch_with_rate):
    windows, start = windows_of(11), start_of(net_of(0.5))
    given = epoch_with_rate(start, windows, jnp.float32(0.5))
    other, _ = epoch_with_rate(start, windows, jnp.float32(0.25))
    own = epoch(start, windows, step_lib.keys(SEED), jnp.int32(0))
    assert_same(given, own)
    assert np.abs(other.params["dense"]["kernel"] - own[0].params["dense"]["kernel"]).max() > 1e-4


@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_gives_the_numbers_of_the_whole(epoch, parts):
    """The last batch is not full: its parts count differently."""
    windows, keys = windows_of(11), step_lib.keys(SEED)
    in_parts = step_lib.make_epoch(net_of(0.5), OPTIMIZER, BATCH, WINDOW, accumulate=parts)
    ours, whole = (each(start_of(net_of(0.5)), windows, keys, jnp.int32(0)) for each in (in_parts, epoch))
    assert_same(ours, whole, rtol=1e-6, atol=1e-6)


def test_a_batch_in_parts_takes_the_memory_of_a_part():
    net = MusicLSTM(8, COLUMNS, 0.5, layers=2, layer_dropout=0.5, every_position=True)
    inputs = jnp.zeros((64, 40, COLUMNS))

    def planned(parts):
        def one(state):
            batch = inputs, inputs, jnp.ones((64, 40))
            return step_lib.train_step(net, OPTIMIZER, state, *batch, jax.random.key(0), accumulate=parts)

        program = jax.jit(one).lower(step_lib.init(net, OPTIMIZER, jax.random.key(0), 40))
        return program.compile().memory_analysis().temp_size_in_bytes

    assert planned(8) < 0.2 * planned(1)


def test_each_step_drops_other_outputs(step):
    start = start_of(net_of())
    batch = windows_of(4).gather(jnp.arange(4), WINDOW)
    losses = {float(step(start._replace(step=jnp.int32(n)), *batch, jnp.float32(0.5))[1].loss) for n in range(4)}
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


@pytest.mark.parametrize("count", [1, 11])
def test_validation_gives_the_means_over_all_windows_and_compiles_once(count):
    net, windows = net_of(0.9), windows_of(count)
    validate = step_lib.make_validation(net, BATCH, WINDOW)
    inputs, targets, _ = windows.gather(jnp.arange(count), WINDOW)
    for seed in (5, 6):
        params = network.init(net, jax.random.key(seed), WINDOW)
        got = validate(params, windows)
        outputs = np.asarray(network.apply(net, params, inputs), np.float64)
        residual = np.asarray(targets, np.float64) - outputs
        expected = windows_lib.Validation(
            (residual**2).mean(),
            (outputs.argmax(axis=1) == np.asarray(targets).argmax(axis=1)).mean(),
            residual.mean(axis=0),
            (residual**2).mean(axis=0),
            np.abs(residual).mean(axis=0),
            0.0,
        )
        assert_same(got, expected, rtol=1e-5, atol=1e-6)
    assert validate._cache_size() == 1


def test_the_metrics_of_a_step_are_sums_over_its_windows(step):
    windows = windows_of(4)
    inputs, targets, _ = windows.gather(jnp.arange(4), WINDOW)
    state = start_of(net_of())
    outputs = np.asarray(network.apply(net_of(), state.params, inputs))
    weight = jnp.asarray([1.0, 0.0, 1.0, 1.0])
    _, metrics = step(state, inputs, targets, weight, jnp.float32(0))
    losses = ((outputs - targets) ** 2).mean(axis=1)
    accuracy = outputs.argmax(axis=1) == np.asarray(targets).argmax(axis=1)
    assert float(metrics.loss) == pytest.approx(float(losses[jnp.asarray([0, 2, 3])].sum()), rel=1e-5)
    assert (float(metrics.accuracy), float(metrics.weight)) == (accuracy[[0, 2, 3]].sum(), 3)


ON_FOUR_DEVICES = """
import functools
import jax, jax.numpy as jnp, numpy as np
from musicjax.model.network import MusicLSTM
from musicjax.training import optimizer as optimizer_lib, step as step_lib

assert jax.device_count() == 4
net, optimizer, key = MusicLSTM(16, 3, 0.9), optimizer_lib.rmsprop(1e-3), jax.random.key(0)
start = jax.jit(lambda: step_lib.init(net, optimizer, key, 8))()
rows = jax.random.uniform(jax.random.key(1), (3, 12, 9, 3))
weight = jnp.ones((3, 12)).at[2, 7:].set(0)  # the last batch is not full: the devices' shares differ


def step(axis_name, state, inputs, targets, weight, rate):
    return step_lib.train_step(net, optimizer, state, inputs, targets, weight, key, axis_name, rate)


alone_step = jax.jit(functools.partial(step, None))
shared_step = jax.pmap(functools.partial(step, "devices"), axis_name="devices", in_axes=(0, 0, 0, 0, None))
for rate in (0.0, 0.5):
    alone, shared = start, jax.tree.map(lambda leaf: jnp.stack([leaf] * 4), start)
    for number in range(3):
        batch = (rows[number, :, :-1], rows[number, :, -1], weight[number])
        alone, metrics = alone_step(alone, *batch, rate)
        shared, shared_metrics = shared_step(shared, *(part.reshape(4, 3, *part.shape[1:]) for part in batch), rate)
        for one, four in zip(metrics, shared_metrics, strict=True):
            np.testing.assert_allclose(np.asarray(four), np.full(4, one), rtol=1e-6)
    for before, one, four in zip(*(jax.tree.leaves(tree) for tree in (start, alone, shared)), strict=True):
        one, four = np.asarray(one), np.asarray(four)
        assert (four == four[:1]).all(), "the devices differ from each other"
        np.testing.assert_allclose(four[0], one, rtol=1e-6, atol=1e-6)
        assert np.abs(one - np.asarray(before)).max() > 1e-5
print("agree")
"""


@pytest.mark.long
def test_four_devices_under_pmap_step_as_one_with_and_without_dropout():
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    command = [sys.executable, "-W", "error", "-c", ON_FOUR_DEVICES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
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
    net, keys = MusicLSTM(64, COLUMNS, dropout=0.0), step_lib.keys(SEED)
    # RMSprop's steps do not shrink by themselves: the last ones go slower.
    rates = jnp.repeat(jnp.float32([5e-3, 1e-3, 1e-4]), jnp.asarray([400, 100, 100]))

    @jax.jit
    def train(state):
        def epoch(state, now):
            optimizer = optimizer_lib.rmsprop(now[1])
            return step_lib.epoch(net, optimizer, len(bar), WINDOW, state, windows, keys, now[0])

        return jax.lax.scan(epoch, state, (jnp.arange(600), rates))

    state, metrics = train(step_lib.init(net, OPTIMIZER, keys.init, WINDOW))
    return net, state.params, rows, float(metrics.loss[-1, -1] / metrics.weight[-1, -1])


@pytest.mark.long
def test_it_learns_a_repeated_bar(learned):
    *_, rows, loss = learned
    assert loss < 1e-4 * float(rows.var(axis=0).mean())


@pytest.mark.long
def test_it_plays_the_repeated_bar_back(learned):
    net, params, rows, _ = learned
    limits, draw = (
        sample.Limits(rows.min(axis=0), rows.max(axis=0)),
        sample.HeadDraw(jnp.zeros(COLUMNS), jnp.float32(0)),
    )
    primers = jnp.stack([rows[:WINDOW], rows[3 : WINDOW + 3]])
    played = np.asarray(
        sample.sample(net, params, sample.Past(primers), sample.output_keys(SEED, range(2)), limits, draw, 24).rows
    )
    for output, first in zip(played, (0, 3), strict=True):
        assert np.rint(60 + 12 * output[:, 0]).tolist() == np.roll(np.tile(PITCHES, 3), -first).tolist()
        assert np.rint(60 + 40 * output[:, 1]).tolist() == np.roll(np.tile(VELOCITIES, 3), -first).tolist()
        np.testing.assert_allclose((output[:, 2] + 1) / 4, np.roll(np.tile(SECONDS, 3), -first), atol=0.005)
