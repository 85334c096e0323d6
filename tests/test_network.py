"""The whole network beside the same one in Keras, and its dropout."""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicjax import config as config_lib
from musicjax.config import Config, DataConfig
from musicjax.encodings import encoding as encoding_lib
from musicjax.model import heads, lstm, network
from musicjax.model.lstm import Params
from musicjax.model.network import MusicLSTM

UNITS, COLUMNS, WINDOW, BATCH = 24, 3, 9, 6


@pytest.fixture(scope="module")
def windows():
    return jnp.asarray(np.random.default_rng(0).uniform(size=(BATCH, WINDOW, COLUMNS)), jnp.float32)


@pytest.fixture(scope="module")
def passing():
    """A network whose dense layer passes on what dropout leaves of 64 LSTM outputs, its parameters, and windows."""
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


@pytest.mark.parametrize(
    ("layers", "precision", "relative"),
    [pytest.param(1, "float32", 1e-5, marks=pytest.mark.long), (2, "float32", 1e-5), (2, "bfloat16", 1e-2)],
)
def test_outputs_loss_and_gradients_are_those_of_keras(keras, windows, layers, precision, relative):
    net = MusicLSTM(UNITS, COLUMNS, layers=layers, precision=precision)
    params = network.init(net, jax.random.key(0), WINDOW)
    params["dense"]["bias"] = jnp.asarray([0.1, -0.2, 0.3])  # it starts at 0, and would not show
    targets = 1 - windows[:, 0]
    names = ["lstm", "lstm_1", "lstm_2"][:layers]
    assert set(params) == {*names, "dense"}
    model = keras.Sequential(
        [
            keras.Input((WINDOW, COLUMNS)),
            *(keras.layers.LSTM(UNITS, return_sequences=True) for _ in names[:-1]),
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
            weights = [weight for name in names for weight in params[name]]
            weights += [params["dense"]["kernel"], params["dense"]["bias"]]
            outputs, _ = model.stateless_call(weights, rest, windows, training=False)
            return keras.losses.MeanSquaredError()(targets, outputs), outputs

        return jax.value_and_grad(loss, has_aux=True)(params)

    @jax.jit
    def ours(params):
        def loss(params):
            outputs = network.apply(net, params, windows)
            return jnp.mean(heads.Regression().loss({}, outputs, targets)), outputs

        return jax.value_and_grad(loss, has_aux=True)(params)

    with jax.default_matmul_precision("highest"):
        (expected_loss, expected), expected_gradients = in_keras(params)
    (loss, outputs), gradients = ours(params)
    np.testing.assert_allclose(outputs, expected, rtol=relative, atol=relative / 10)
    assert loss == pytest.approx(float(expected_loss), rel=relative)
    assert all(isinstance(gradients[name], Params) for name in names)
    for got, wanted in zip(jax.tree.leaves(gradients), jax.tree.leaves(expected_gradients), strict=True):
        assert np.linalg.norm(got - wanted) <= relative * np.linalg.norm(wanted)


@pytest.mark.parametrize(("layers", "precision", "tolerance"), [(1, "bfloat16", 5e-3), (3, "float32", 1e-6)])
def test_row_by_row_the_network_predicts_what_it_predicts_from_windows(windows, layers, precision, tolerance):
    net = MusicLSTM(UNITS, COLUMNS, layers=layers, precision=precision)
    everywhere = dataclasses.replace(net, every_position=True)
    params = jax.jit(network.init, static_argnums=(0, 2))(net, jax.random.key(0), WINDOW)
    params["dense"]["bias"] = jnp.asarray([0.1, -0.2, 0.3])
    weights = net.prepare(params)
    states = net.start(weights, BATCH)
    assert len(weights) == len(states) == layers
    expected = network.apply(everywhere, params, windows)
    advance = jax.jit(net.advance)
    for place in range(WINDOW):
        states = advance(weights, windows[:, place], states)
        got = net.read(params, states[-1].h)
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, expected[:, place], atol=tolerance)
    np.testing.assert_allclose(got, network.apply(net, params, windows), atol=tolerance)
    np.testing.assert_array_equal(network.predict_next(everywhere, params, windows), expected[:, -1])


def test_each_layer_counts(windows):
    """Zeroing any layer's weights changes the output: none is passed by."""
    net = MusicLSTM(UNITS, COLUMNS, layers=3)
    params = network.init(net, jax.random.key(0), WINDOW)
    whole = network.apply(net, params, windows)
    assert (
        network.count(params)
        == sum(4 * UNITS * (below + UNITS + 1) for below in (COLUMNS, UNITS, UNITS)) + 25 * COLUMNS
    )
    for name in ("lstm", "lstm_1", "lstm_2"):
        without = {**params, name: jax.tree.map(jnp.zeros_like, params[name])}
        assert np.abs(network.apply(net, without, windows) - whole).max() > 1e-2


def test_dropout_zeroes_its_share_and_scales_the_rest(passing):
    net, params, windows = passing
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


def test_without_a_key_nothing_is_dropped(passing):
    net, params, windows = passing
    without = network.apply(MusicLSTM(64, 64, dropout=0.0), params, windows)
    np.testing.assert_array_equal(network.apply(net, params, windows), without)


def test_one_key_gives_one_mask_and_another_key_another(passing):
    net, params, windows = passing
    first, again, other = (network.apply(net, params, windows, jax.random.key(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert ((first == 0) != (other == 0)).mean() == pytest.approx(2 * 0.75 * 0.25, abs=0.1)


def test_dropout_is_that_of_flax_under_its_name(passing):
    """What a key drops is written into every run's numbers: it stays what it was."""
    net, params, windows = passing

    class Flax(nn.Module):
        @nn.compact
        def __call__(self, array):
            return nn.Dropout(0.75, deterministic=False)(array)

    whole = network.apply(net, params, windows)
    expected = Flax().apply({}, whole, rngs={"dropout": jax.random.key(3)})
    np.testing.assert_allclose(network.apply(net, params, windows, jax.random.key(3)), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.75])
def test_a_rate_given_as_an_array_drops_to_the_bit_what_the_networks_own_rate_drops(passing, rate):
    _, params, windows = passing
    own = jax.jit(lambda key: network.apply(MusicLSTM(64, 64, dropout=rate), params, windows, key))(jax.random.key(3))
    other = MusicLSTM(64, 64, dropout=0.3)
    given = jax.jit(lambda key, rate: network.apply(other, params, windows, key, rate))
    got = given(jax.random.key(3), jnp.float32(rate))
    np.testing.assert_array_equal(got == 0, own == 0)
    np.testing.assert_allclose(got, own, rtol=2e-6)
    assert 0.5 * (1 - rate) < np.mean(got != 0) <= 1


@pytest.mark.parametrize("shares", [2, 3])
def test_a_share_of_a_batch_is_dropped_as_in_the_whole_batch(passing, shares):
    net, params, windows = passing
    whole = np.asarray(network.apply(net, params, windows, jax.random.key(3)))
    part = BATCH // shares
    parts = [
        network.apply(net, params, windows[k * part : (k + 1) * part], jax.random.key(3), share=(k, shares))
        for k in range(shares)
    ]
    got = np.concatenate(parts)
    np.testing.assert_array_equal(got == 0, whole == 0)
    np.testing.assert_allclose(got, whole, rtol=1e-5, atol=1e-6)
    # Without saying so, every part would be dropped as the first.
    unsaid = network.apply(net, params, windows[part : 2 * part], jax.random.key(3))
    assert ((unsaid == 0) != (whole[part : 2 * part] == 0)).any()


def between(net, params, windows, key):
    """What dropout leaves of the first layer's outputs, and those outputs, [B, T, H] each."""
    _, seen = net.apply(
        {"params": params}, windows, train=True, rngs={"dropout": key}, capture_intermediates=True, mutable=True
    )
    whole, _ = lstm.unroll(params["lstm"], windows, lstm.zero_state(len(windows), net.units))
    return np.asarray(seen["intermediates"]["Dropout_1"]["__call__"][0]), np.asarray(whole)


@pytest.fixture(scope="module")
def layered():
    """Three layers with dropout between them alone, and their parameters."""
    net = MusicLSTM(UNITS, COLUMNS, dropout=0.0, layers=3, layer_dropout=0.25)
    return net, network.init(net, jax.random.key(0), WINDOW)


def test_dropout_between_layers_zeroes_its_share_of_every_row_and_scales_the_rest(layered, windows):
    got, whole = between(*layered, windows, jax.random.key(3))
    np.testing.assert_allclose(got, np.where(got == 0, 0, whole / 0.75), rtol=1e-6)
    # 1,296 draws: four standard deviations are 0.05. No row is dropped as the one before it.
    assert np.mean(got == 0) == pytest.approx(0.25, abs=0.05)
    assert ((got[:, 1:] == 0) != (got[:, :-1] == 0)).any(axis=(0, 2)).all()


def test_each_layer_below_the_last_has_its_own_dropout(layered, windows):
    net, params = layered
    without = dataclasses.replace(net, layer_dropout=0.0)
    assert _dropouts(net, params, windows) == {"Dropout_0", "Dropout_1", "Dropout_2"}
    assert _dropouts(without, params, windows) == {"Dropout_0"}
    np.testing.assert_array_equal(network.apply(net, params, windows), network.apply(without, params, windows))


def _dropouts(net, params, windows):
    """The names of those that take part in training."""
    rngs = {"dropout": jax.random.key(3)}
    _, seen = net.apply({"params": params}, windows, train=True, rngs=rngs, capture_intermediates=True, mutable=True)
    return {name for name in seen["intermediates"] if name.startswith("Dropout")}


@pytest.mark.parametrize("encoding", config_lib.ENCODINGS)
def test_every_encoding_gives_its_network_what_the_config_says(encoding):
    config = Config(data=DataConfig(encoding=encoding))
    values = {"units": 7, "layers": 3, "dropout": 0.1, "layer_dropout": 0.2, "precision": "float32", "remat_rows": 5}
    config_lib.set_fields(config, {f"model.{name}": value for name, value in values.items()})
    net = encoding_lib.of(config).network()
    assert {name: getattr(net, name) for name in values} == values


@pytest.mark.parametrize("rate", [None, jnp.float32(0.5)])
def test_a_share_of_a_batch_is_dropped_between_layers_as_in_the_whole_batch(layered, windows, rate):
    net, params = layered
    whole = network.apply(net, params, windows, jax.random.key(3), rate)
    parts = [network.apply(net, params, windows[k : k + 2], jax.random.key(3), rate, (k // 2, 3)) for k in (0, 2, 4)]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-5, atol=1e-6)
    unsaid = network.apply(net, params, windows[2:4], jax.random.key(3), rate)
    assert np.abs(unsaid - whole[2:4]).max() > 1e-3


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
