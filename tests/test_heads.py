"""What the outputs mean: loss, the agreement that Keras calls accuracy, and the next row."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicjax.model import heads

OUTPUTS = np.float32([[0.2, 0.9, 0.1], [0.7, 0.6, 0.0], [0.5, 0.5, 0.1], [-3.0, -2.0, -1.0], [0.0, 0.0, 0.0]])
TARGETS = np.float32([[0.5, 0.6, 0.0], [0.5, 0.6, 0.0], [0.9, 0.1, 0.2], [0.1, 0.2, 0.3], [0.4, 0.1, 0.2]])


def test_loss_is_the_mean_of_squares_over_the_columns_of_each_sequence():
    np.testing.assert_allclose(
        heads.regression_loss(OUTPUTS, TARGETS), ((OUTPUTS - TARGETS) ** 2).mean(axis=1), rtol=1e-6
    )
    assert heads.regression_loss(np.float32([[1, 2, 4]]), np.float32([[0, 0, 0]])) == 7


def test_agreement_of_examples():
    # Largest columns: velocity both; pitch and velocity; a tie, where the first counts; interval both; a tie.
    assert heads.argmax_agreement(OUTPUTS, TARGETS).tolist() == [1, 0, 1, 1, 1]


def test_agreement_is_what_keras_calls_accuracy(keras):
    rng = np.random.default_rng(0)
    outputs, targets = (
        np.concatenate([part, rng.uniform(size=(50, 3)).astype(np.float32)]) for part in (OUTPUTS, TARGETS)
    )
    model = keras.Sequential([keras.Input((3,)), keras.layers.Identity()])
    model.compile(loss="mse", metrics=["accuracy"])
    loss, accuracy = model.evaluate(outputs, targets, batch_size=55, verbose=0)
    assert 0.2 < accuracy < 0.8
    assert float(heads.argmax_agreement(outputs, targets).mean()) == pytest.approx(accuracy, rel=1e-6)
    assert float(heads.regression_loss(outputs, targets).mean()) == pytest.approx(loss, rel=1e-6)


def test_a_sample_is_the_output_plus_scaled_gaussian_noise():
    keys = jax.random.split(jax.random.key(0), 10_000)
    outputs, deviation = jnp.asarray([1.0, -2.0, 0.5]), jnp.asarray([0.1, 2.0, 0.0])
    noise = jax.vmap(lambda key: heads.regression_noise(key, 3))(keys)
    draw = jax.jit(heads.regression_sample)
    rows = np.asarray(draw(noise, outputs, deviation, 0.5))
    # Five standard errors: 0.05 of a mean's deviation, 3.6 % of a deviation itself.
    np.testing.assert_allclose(rows.mean(axis=0), outputs, atol=0.05)
    np.testing.assert_allclose(rows.std(axis=0), [0.05, 1.0, 0.0], rtol=0.036)
    assert abs(np.corrcoef(rows[:, 0], rows[:, 1])[0, 1]) < 0.05
    np.testing.assert_array_equal(draw(noise, outputs, deviation, 0.0), np.tile(outputs, (len(keys), 1)))
