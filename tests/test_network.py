"""The whole network beside the same one in Keras, and its dropout."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicjax.model import heads, network
from musicjax.model.lstm import Params
from musicjax.model.network import MusicLSTM

UNITS, COLUMNS, WINDOW, BATCH = 24, 3, 9, 6


@pytest.fixture(scope="module")
def windows():
    return jnp.asarray(np.random.default_rng(0).uniform(size=(BATCH, WINDOW, COLUMNS)), jnp.float32)


@pytest.fixture(scope="module")
def echo():
    """A network whose head hands on what dropout leaves of the LSTM's 64 outputs, its parameters, and windows."""
    net = MusicLSTM(64, 64)
    params = network.init(net, jax.random.key(1), WINDOW)
    windows = jax.random.uniform(jax.random.key(0), (BATCH, WINDOW, 64))
    return net, {**params, "dense": {"kernel": jnp.eye(64), "bias": jnp.zeros(64)}}, windows


def test_the_papers_network_has_1058307_parameters():
    net = MusicLSTM(512, 3)
    shapes = jax.eval_shape(lambda: network.init(net, jax.random.key(0), 50))
    assert network.count(shapes) == 1_058_307


def test_the_papers_network_drops_three_quarters_and_computes_in_float32():
    net = MusicLSTM(512, 3)
    assert (net.dropout, net.precision) == (0.75, "float32")


def test_outputs_loss_and_gradients_are_those_of_keras(keras, windows):
    net = MusicLSTM(UNITS, COLUMNS)
    params = network.init(net, jax.random.key(0), WINDOW)
    params["dense"]["bias"] = jnp.asarray([0.1, -0.2, 0.3])  # it starts at 0, and would not show
    targets = 1 - windows[:, 0]
    model = keras.Sequential(
        [
            keras.Input((WINDOW, COLUMNS)),
            keras.layers.LSTM(UNITS),
            keras.layers.Dropout(0.75),
            keras.layers.Dense(COLUMNS),
            keras.layers.Activation("linear"),
        ]
    )
    rest = [variable.value for variable in model.non_trainable_variables]

    @jax.jit
    def in_keras(params):
        def loss(params):
            weights = [*params["lstm"], params["dense"]["kernel"], params["dense"]["bias"]]
            outputs, _ = model.stateless_call(weights, rest, windows, training=False)
            return keras.losses.MeanSquaredError()(targets, outputs), outputs

        return jax.value_and_grad(loss, has_aux=True)(params)

    @jax.jit
    def ours(params):
        def loss(params):
            outputs = network.apply(net, params, windows)
            return jnp.mean(heads.regression_loss(outputs, targets)), outputs

        return jax.value_and_grad(loss, has_aux=True)(params)

    with jax.default_matmul_precision("highest"):
        (expected_loss, expected), expected_gradients = in_keras(params)
    (loss, outputs), gradients = ours(params)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
    assert loss == pytest.approx(float(expected_loss), rel=1e-5)
    assert isinstance(gradients["lstm"], Params)
    for got, wanted in zip(jax.tree.leaves(gradients), jax.tree.leaves(expected_gradients), strict=True):
        assert np.linalg.norm(got - wanted) <= 1e-5 * np.linalg.norm(wanted)


def test_dropout_zeroes_its_share_and_scales_the_rest(echo):
    net, params, windows = echo
    whole = network.apply(net, params, windows)
    assert whole.all()
    keys = jax.random.split(jax.random.key(2), 100)
    dropped = jax.jit(jax.vmap(lambda key: network.apply(net, params, windows, key)))(keys)
    np.testing.assert_allclose(dropped, np.where(dropped == 0, 0, 4 * whole), rtol=1e-5, atol=1e-6)
    # 38,400 draws: five standard deviations are 0.011.
    assert np.mean(dropped == 0) == pytest.approx(0.75, abs=0.011)
    # Each output of each sequence is drawn by itself: over the keys none stays and none is always dropped.
    share = np.mean(dropped == 0, axis=0)
    assert share.shape == (BATCH, 64) and share.min() > 0.5 and share.max() < 0.95


def test_without_a_key_nothing_is_dropped(echo):
    net, params, windows = echo
    without = network.apply(MusicLSTM(64, 64, dropout=0.0), params, windows)
    np.testing.assert_array_equal(network.apply(net, params, windows), without)


def test_one_key_gives_one_mask_and_another_key_another(echo):
    net, params, windows = echo
    first, again, other = (network.apply(net, params, windows, jax.random.key(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert ((first == 0) != (other == 0)).mean() == pytest.approx(2 * 0.75 * 0.25, abs=0.1)


def test_initial_values_are_one_function_of_the_key():
    net = MusicLSTM(UNITS, COLUMNS)
    first, again, other = (network.init(net, jax.random.key(seed), WINDOW) for seed in (0, 0, 1))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), first, again))
    assert (first["dense"]["kernel"] != other["dense"]["kernel"]).all()
    assert (first["lstm"].kernel != other["lstm"].kernel).all()
    bound = np.sqrt(6 / (UNITS + COLUMNS))
    assert 0.8 * bound < np.abs(first["dense"]["kernel"]).max() <= bound
    assert not first["dense"]["bias"].any()


def test_initial_values_do_not_depend_on_the_window():
    net = MusicLSTM(UNITS, COLUMNS)
    short, long = (network.init(net, jax.random.key(0), window) for window in (2, 9))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), short, long))


def test_bfloat16_changes_only_the_lstm_and_only_a_little(windows):
    params = network.init(MusicLSTM(UNITS, COLUMNS), jax.random.key(0), WINDOW)
    exact, rounded = (
        network.apply(MusicLSTM(UNITS, COLUMNS, precision=precision), params, windows)
        for precision in ("float32", "bfloat16")
    )
    assert rounded.dtype == jnp.float32
    assert 0 < np.linalg.norm(exact - rounded) < 1e-2 * np.linalg.norm(exact)
