"""What the outputs mean: loss, likelihood, accuracy and the next row."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicjax.model import heads
from musicjax.model.categorical import Categorical

OUTPUTS = np.float32([[0.2, 0.9, 0.1], [0.7, 0.6, 0.0], [0.5, 0.5, 0.1], [-3.0, -2.0, -1.0], [0.0, 0.0, 0.0]])
TARGETS = np.float32([[0.5, 0.6, 0.0], [0.5, 0.6, 0.0], [0.9, 0.1, 0.2], [0.1, 0.2, 0.3], [0.4, 0.1, 0.2]])
REGRESSION = heads.Regression()
# Every frame of four keys, [16, 4].
FRAMES = np.float32(list(itertools.product([0, 1], repeat=4)))
FRAME_HEADS = (heads.FrameRegression(heads.NEVER), heads.Bernoulli(), heads.Nade(5))


def test_loss_is_the_mean_of_squares_over_the_columns_of_each_sequence():
    np.testing.assert_allclose(
        REGRESSION.loss({}, OUTPUTS, TARGETS), ((OUTPUTS - TARGETS) ** 2).mean(axis=1), rtol=1e-6
    )
    assert REGRESSION.loss({}, np.float32([[1, 2, 4]]), np.float32([[0, 0, 0]])) == 7


def test_accuracy_compares_the_largest_columns():
    # Largest columns: velocity both; pitch and velocity; a tie, where the first counts; interval both; a tie.
    assert REGRESSION.accuracy({}, OUTPUTS, TARGETS).tolist() == [1, 0, 1, 1, 1]


def test_accuracy_is_that_of_keras(keras):
    rng = np.random.default_rng(0)
    outputs, targets = (
        np.concatenate([part, rng.uniform(size=(50, 3)).astype(np.float32)]) for part in (OUTPUTS, TARGETS)
    )
    model = keras.Sequential([keras.Input((3,)), keras.layers.Identity()])
    model.compile(loss="mse", metrics=["accuracy"])
    loss, accuracy = model.evaluate(outputs, targets, batch_size=55, verbose=0)
    assert 0.2 < accuracy < 0.8
    assert float(REGRESSION.accuracy({}, outputs, targets).mean()) == pytest.approx(accuracy, rel=1e-6)
    assert float(REGRESSION.loss({}, outputs, targets).mean()) == pytest.approx(loss, rel=1e-6)


def test_a_sample_is_the_output_plus_scaled_gaussian_noise():
    keys = jax.random.split(jax.random.key(0), 10_000)
    outputs, deviation = jnp.asarray([1.0, -2.0, 0.5]), jnp.asarray([0.1, 2.0, 0.0])
    noise = jax.vmap(lambda key: REGRESSION.noise(key, 3))(keys)
    draw = jax.jit(lambda *given: REGRESSION.sample({}, *given))
    rows = np.asarray(draw(outputs, noise, deviation, 0.5))
    # Five standard errors: 0.05 of a mean's deviation, 3.6 % of a deviation itself.
    np.testing.assert_allclose(rows.mean(axis=0), outputs, atol=0.05)
    np.testing.assert_allclose(rows.std(axis=0), [0.05, 1.0, 0.0], rtol=0.036)
    assert abs(np.corrcoef(rows[:, 0], rows[:, 1])[0, 1]) < 0.05
    np.testing.assert_array_equal(draw(outputs, noise, deviation, 0.0), np.tile(outputs, (len(keys), 1)))


def _given(head: heads.Head, seed: int = 0) -> tuple[heads.Params, jax.Array]:
    """Some parameters of the head, and outputs [O] for frames of four keys."""
    outputs = jax.random.normal(jax.random.key(seed), (head.outputs(4),))
    params = jax.tree.map(lambda leaf: 3 * leaf, head.init(jax.random.key(seed + 1), 4))
    return params, 0.5 + 0.3 * outputs if isinstance(head, heads.FrameRegression) else outputs


def _probabilities(head: heads.Head) -> np.ndarray:
    """Of each of the 16 frames, float64."""
    params, outputs = _given(head)
    log_prob = head.log_prob(params, jnp.tile(outputs, (16, 1)), FRAMES)
    return np.exp(np.asarray(log_prob, np.float64))


@pytest.mark.parametrize("head", FRAME_HEADS)
def test_the_likelihoods_of_all_frames_add_up_to_one(head):
    assert _probabilities(head).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("head", FRAME_HEADS)
def test_frames_are_drawn_as_often_as_their_likelihood_says(head):
    params, outputs = _given(head)
    count, probabilities = 40_000, _probabilities(head)
    noise = jax.vmap(lambda key: head.noise(key, 4))(jax.random.split(jax.random.key(7), count))
    drawn = head.sample(params, jnp.tile(outputs, (count, 1)), noise, jnp.zeros(4), jnp.float32(1))
    seen = np.bincount(np.asarray(drawn, int) @ [8, 4, 2, 1], minlength=16) / count
    np.testing.assert_array_less(np.abs(seen - probabilities), 5 * np.sqrt(probabilities / count) + 1e-4)


@pytest.mark.parametrize("head", FRAME_HEADS)
def test_at_temperature_0_every_key_is_the_likelier_one_whatever_the_noise(head):
    params, outputs = _given(head)
    noise = jax.vmap(lambda key: head.noise(key, 4))(jax.random.split(jax.random.key(7), 50))
    drawn = np.asarray(head.sample(params, jnp.tile(outputs, (50, 1)), noise, jnp.zeros(4), jnp.float32(0)))
    assert (drawn == drawn[0]).all()
    assert float(head.accuracy(params, outputs, drawn[0])) == 1
    hot = np.asarray(head.sample(params, jnp.tile(outputs, (50, 1)), noise, jnp.zeros(4), jnp.float32(100)))
    assert 0.3 < hot.mean() < 0.7


def test_nade_is_the_chain_of_its_keys_in_float64():
    head = heads.Nade(5)
    params, outputs = _given(head)
    into, out, given = (np.asarray(array, np.float64) for array in (params["in"], params["out"], outputs))

    def sigmoid(value):
        return 1 / (1 + np.exp(-value))

    expected = np.zeros(16)
    for number, frame in enumerate(FRAMES):
        for key in range(4):
            hidden = sigmoid(given[4:] + into[:key].T @ frame[:key])
            on = sigmoid(given[key] + hidden @ out[key])
            expected[number] += np.log(on if frame[key] else 1 - on)
    np.testing.assert_allclose(head.log_prob(params, jnp.tile(outputs, (16, 1)), FRAMES), expected, rtol=1e-5)


NADE = heads.Nade(6)


@jax.jit
def _fast_and_slow(params, outputs, frames):
    """(logits, gradients) by `Nade.logits`, and key by key."""

    def fast(params, outputs):
        return NADE.logits(params, outputs, frames)

    def key_by_key(params, outputs):
        return outputs[:, :40] + heads._by_key(params, outputs[:, 40:], frames)

    def gradients(way):
        return jax.grad(lambda *given: jnp.sum(jnp.sin(way(*given))), argnums=(0, 1))(params, outputs)

    return [(way(params, outputs), gradients(way)) for way in (fast, key_by_key)]


@pytest.mark.parametrize("most", [0, 7, 8, 15, 16, 40])
def test_every_way_through_nade_gives_the_same_logits_and_gradients(most):
    rng = np.random.default_rng(most)
    frames = np.zeros((9, 40), np.float32)
    for number, row in enumerate(frames):
        row[rng.choice(40, min(most, number) if number else most, replace=False)] = 1
    outputs = jnp.asarray(rng.normal(size=(9, 46)), jnp.float32)
    (logits, gradients), (expected, expected_gradients) = _fast_and_slow(
        NADE.init(jax.random.key(0), 40), outputs, frames
    )
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, atol=2e-5), gradients, expected_gradients)


@pytest.mark.parametrize("head", FRAME_HEADS)
def test_a_score_is_loss_accuracy_and_nats_together(head):
    params, outputs = _given(head)
    given = (params, jnp.tile(outputs, (16, 1)), FRAMES)
    loss, accuracy, nats, by_column = head.score(*given)
    np.testing.assert_array_equal(loss, head.loss(*given))
    np.testing.assert_array_equal(accuracy, head.accuracy(*given))
    np.testing.assert_array_equal(nats, -head.log_prob(*given))
    assert by_column is None


def test_nade_under_vmap_equals_one_by_one():
    head = heads.Nade(5)
    several = [_given(head, seed) for seed in (0, 3)]
    params, outputs = jax.tree.map(lambda *leaves: jnp.stack(leaves), *several)
    found = jax.vmap(head.log_prob, in_axes=(0, 0, None))(params, outputs, FRAMES[11])
    expected = [head.log_prob(*given, FRAMES[11]) for given in several]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_nade_without_a_bond_between_keys_is_bernoulli():
    head = heads.Nade(5)
    params, outputs = _given(head)
    params = {"in": jnp.zeros_like(params["in"]), "out": params["out"]}
    logits = outputs[:4] + params["out"] @ jax.nn.sigmoid(outputs[4:])
    np.testing.assert_allclose(
        head.log_prob(params, jnp.tile(outputs, (16, 1)), FRAMES),
        heads.Bernoulli().log_prob({}, jnp.tile(logits, (16, 1)), FRAMES),
        rtol=1e-5,
    )


def test_the_likelihood_of_bernoulli_stays_finite_for_the_surest_outputs():
    sure = jnp.asarray([200.0, -200.0])
    assert float(heads.Bernoulli().log_prob({}, sure, jnp.asarray([1.0, 0.0]))) == 0
    assert float(heads.Bernoulli().log_prob({}, sure, jnp.asarray([0.0, 1.0]))) == -400


def test_a_regression_is_clipped_to_probabilities():
    head = heads.FrameRegression(clip=0.01)
    nats = -head.log_prob({}, jnp.asarray([-3.0, 0.25, 7.0]), jnp.asarray([0.0, 1.0, 0.0]))
    assert float(nats) == pytest.approx(-np.log(0.99) - np.log(0.25) - np.log(0.01), rel=1e-5)


def test_a_head_of_frames_is_made_by_its_name():
    assert heads.of_frames("regression", 7) == heads.FrameRegression()
    assert heads.of_frames("bernoulli", 7) == heads.Bernoulli()
    assert heads.of_frames("nade", 7) == heads.Nade(7)
    assert heads.of_frames("nade", 7).outputs(88) == 95


def test_a_head_is_named_unless_its_outputs_are_the_next_row():
    made = (heads.Regression(), heads.FrameRegression(), heads.Bernoulli(), heads.Nade(3), Categorical((2,), (), 3))
    assert [head.name for head in made] == ["", "", "bernoulli", "nade", "categorical"]
