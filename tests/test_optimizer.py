"""RMSprop beside Keras' own and beside its formula."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from musicjax.config import TrainConfig
from musicjax.model import heads, network
from musicjax.model.network import MusicLSTM
from musicjax.training import optimizer as optimizer_lib
from musicjax.training import step as step_lib

RATE, STEPS = 1e-3, 5


@pytest.fixture(scope="module")
def gradients():
    """float32 [STEPS, 200], from far below the root of epsilon to far above it, and a few zeros."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(STEPS, 200)) * np.logspace(-8, 2, 200)
    values[:, ::20] = 0.0
    return values.astype(np.float32)


def steps_of_ours(gradients, rate=RATE, **where):
    """Parameters after each step from 0, [STEPS, 200]."""
    optimizer = optimizer_lib.rmsprop(rate, **where)
    params = jnp.zeros(gradients.shape[1])
    state, after = optimizer.init(params), []
    for gradient in gradients:
        updates, state = optimizer.update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, updates)
        after.append(params)
    return np.asarray(after)


def steps_of_the_formula(gradients, rate=RATE, epsilon_under_the_root=True):
    weight = mean_square = np.zeros(gradients.shape[1])
    after = []
    for gradient in gradients.astype(np.float64):
        mean_square = 0.9 * mean_square + 0.1 * gradient**2
        root = np.sqrt(mean_square + 1e-7) if epsilon_under_the_root else np.sqrt(mean_square) + 1e-7
        weight = weight - rate * gradient / root
        after.append(weight)
    return np.asarray(after)


def largest_difference(got, expected) -> float:
    """Of any step of a parameter, as a share of how far that parameter came."""
    return float((np.abs(got - expected).max(axis=0) / np.maximum(np.abs(expected).max(axis=0), 1e-30)).max())


def test_steps_are_those_of_keras(keras, gradients):
    optimizer = keras.optimizers.RMSprop(learning_rate=RATE)
    assert (optimizer.rho, optimizer.epsilon, optimizer.momentum) == (0.9, 1e-7, 0.0)
    variable = keras.Variable(np.zeros(gradients.shape[1], np.float32))
    optimizer.build([variable])
    params, state, after = [variable.value], [part.value for part in optimizer.variables], []
    for gradient in gradients:
        params, state = optimizer.stateless_apply(state, [jnp.asarray(gradient)], params)
        after.append(params[0])
    assert largest_difference(steps_of_ours(gradients), np.asarray(after)) < 2e-6


def test_steps_are_those_of_the_formula(gradients):
    assert largest_difference(steps_of_ours(gradients), steps_of_the_formula(gradients)) < 2e-6


def test_these_gradients_tell_where_epsilon_stands(gradients):
    other = steps_of_the_formula(gradients, epsilon_under_the_root=False)
    assert largest_difference(steps_of_ours(gradients), other) > 0.5


def test_epsilon_outside_the_root_is_the_formula_of_keras_2(gradients):
    expected = steps_of_the_formula(gradients, epsilon_under_the_root=False)
    assert largest_difference(steps_of_ours(gradients, epsilon_in_root=False), expected) < 2e-6


def test_the_learning_rate_scales_a_step(gradients):
    assert largest_difference(steps_of_ours(gradients, 1e-4), steps_of_the_formula(gradients, 1e-4)) < 2e-6


def test_momentum_is_that_of_nesterov(gradients):
    weight = velocity = mean_square = np.zeros(gradients.shape[1])
    after = []
    for gradient in gradients.astype(np.float64):
        mean_square = 0.9 * mean_square + 0.1 * gradient**2
        scaled = gradient / np.sqrt(mean_square + 1e-7)
        velocity = 0.9 * velocity + scaled
        weight = weight - RATE * (scaled + 0.9 * velocity)
        after.append(weight)
    assert largest_difference(steps_of_ours(gradients, momentum=0.9), np.asarray(after)) < 2e-6


def test_adadelta_is_that_of_its_paper(gradients):
    optimizer = optimizer_lib.of(TrainConfig(optimizer="adadelta"), 1.0)
    params = jnp.zeros(gradients.shape[1])
    state = optimizer.init(params)
    weight = of_gradients = of_steps = np.zeros(gradients.shape[1])
    for gradient in gradients:
        updates, state = optimizer.update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, updates)
        of_gradients = 0.95 * of_gradients + 0.05 * gradient.astype(np.float64) ** 2
        step = np.sqrt(of_steps + 1e-6) / np.sqrt(of_gradients + 1e-6) * gradient
        of_steps = 0.95 * of_steps + 0.05 * step**2
        weight = weight - step
        np.testing.assert_allclose(params, weight, rtol=1e-5, atol=1e-9)


def test_training_the_network_moves_it_as_keras_does(keras):
    units, columns, window, batch = 12, 3, 6, 8
    net = MusicLSTM(units, columns, dropout=0.0)
    optimizer = optimizer_lib.rmsprop(RATE)
    start = step_lib.init(net, optimizer, jax.random.key(0), window)
    rows = jax.random.uniform(jax.random.key(1), (STEPS, batch, window + 1, columns))
    inputs, targets = rows[:, :, :-1], rows[:, :, -1]

    model = keras.Sequential([keras.Input((window, columns)), keras.layers.LSTM(units), keras.layers.Dense(columns)])
    keras_optimizer = keras.optimizers.RMSprop(learning_rate=RATE)
    keras_optimizer.build(model.trainable_variables)
    rest = [variable.value for variable in model.non_trainable_variables]

    @jax.jit
    def keras_step(weights, optimizer_state, inputs, targets):
        def loss(weights):
            return jnp.mean(heads.Regression().loss({}, model.stateless_call(weights, rest, inputs)[0], targets))

        return keras_optimizer.stateless_apply(optimizer_state, jax.grad(loss)(weights), weights)

    @jax.jit
    def our_step(state, inputs, targets):
        return step_lib.train_step(net, optimizer, state, inputs, targets, jnp.ones(batch), jax.random.key(2))[0]

    def flat(params):
        return [*params["lstm"], params["dense"]["kernel"], params["dense"]["bias"]]

    state, weights = start, flat(start.params)
    optimizer_state = [part.value for part in keras_optimizer.variables]
    with jax.default_matmul_precision("highest"):
        for step in range(STEPS):
            state = our_step(state, inputs[step], targets[step])
            weights, optimizer_state = keras_step(weights, optimizer_state, inputs[step], targets[step])
            for before, ours, theirs in zip(flat(start.params), flat(state.params), weights, strict=True):
                moved = np.asarray(theirs - before)
                assert np.abs(moved).max() > 0.5 * RATE
                # The rounding of a weight near 1 is 6e-8, and the gradients' own grows from step to step.
                np.testing.assert_allclose(ours - before, moved, rtol=1e-4, atol=2e-3 * RATE)
    assert network.count(state.params) == sum(weight.size for weight in weights)
