"""The head of rows of bins: its likelihood is exact, and it draws rows as often as that says."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicjax.model import categorical
from musicjax.model.categorical import Categorical

# Three columns of bins, of which the second follows from the first and is never predicted.
SIZES, GIVEN = (2, 2, 3), (1,)
HEAD = Categorical(SIZES, GIVEN, 5)
ROWS = np.float32([(a, a, b) for a, b in itertools.product(range(2), range(3))])


def _params(seed: int = 0):
    params = HEAD.init(jax.random.key(seed), 3)
    return jax.tree.map(lambda leaf: leaf + jax.random.normal(jax.random.key(seed + 9), leaf.shape), params)


OUTPUTS = jax.random.normal(jax.random.key(3), (HEAD.outputs(3),))


def _log_probs_by_hand(params, outputs, rows) -> np.ndarray:
    """The same in float64 and loops, [M, A]."""
    params = {name: np.asarray(value, np.float64) for name, value in params.items()}
    hidden = np.asarray(outputs, np.float64).reshape(2, 5)
    found = np.zeros((len(rows), 2))
    for m, row in enumerate(np.asarray(rows, int)):
        for place, column in enumerate((0, 2)):
            a, begin = hidden[place].copy(), 0
            for before in range(column):
                a += params[f"into_{column}"][begin + row[before]]
                begin += SIZES[before]
            logits = np.maximum(a, 0) @ params[f"out_{column}"] + params[f"bias_{column}"]
            found[m, place] = logits[row[column]] - np.log(np.exp(logits).sum())
    return found


def test_likelihoods_are_those_of_float64_by_hand():
    params = _params()
    found = HEAD.log_probs(params, jnp.tile(OUTPUTS, (len(ROWS), 1)), ROWS)
    np.testing.assert_allclose(found, _log_probs_by_hand(params, OUTPUTS, ROWS), rtol=1e-5)
    loss = HEAD.loss(params, jnp.tile(OUTPUTS, (len(ROWS), 1)), ROWS)
    np.testing.assert_allclose(loss, -np.sum(found, axis=1), rtol=1e-6)


def test_the_likelihoods_of_all_rows_add_up_to_one():
    log_prob = HEAD.log_prob(_params(), jnp.tile(OUTPUTS, (len(ROWS), 1)), ROWS)
    assert np.exp(np.asarray(log_prob, np.float64)).sum() == pytest.approx(1, abs=1e-6)


def test_rows_are_drawn_as_often_as_their_likelihood_says():
    params, count = _params(), 20_000
    noise = jax.vmap(lambda key: HEAD.noise(key, 3))(jax.random.split(jax.random.key(0), count))
    drawn = np.asarray(HEAD.sample(params, jnp.tile(OUTPUTS, (count, 1)), noise, jnp.zeros(3), jnp.float32(1.0)))
    # Column 1 stays 0 in `sample`; the likelihood of the third column is then that given 0.
    cells = np.float32([(a, 0, b) for a, b in itertools.product(range(2), range(3))])
    expected = np.exp(np.asarray(HEAD.log_prob(params, jnp.tile(OUTPUTS, (6, 1)), cells), np.float64))
    share = np.bincount((drawn[:, 0] * 3 + drawn[:, 2]).astype(int), minlength=6) / count
    assert (np.abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / count) + 1e-9).all()


def test_accuracy_counts_the_likeliest_bins():
    params = _params()
    accuracy = np.asarray(HEAD.accuracy(params, jnp.tile(OUTPUTS, (len(ROWS), 1)), ROWS))
    by_hand = []
    for row in ROWS:
        others = [np.array([[a, row[1], row[2]] for a in range(2)]), np.array([[row[0], row[1], b] for b in range(3)])]
        likeliest = [_log_probs_by_hand(params, OUTPUTS, other)[:, k].argmax() for k, other in enumerate(others)]
        by_hand.append(np.mean([likeliest[0] == row[0], likeliest[1] == row[2]]))
    np.testing.assert_allclose(accuracy, by_hand)


def test_a_score_has_the_nats_of_each_column():
    given = (_params(), jnp.tile(OUTPUTS, (len(ROWS), 1)), ROWS)
    score = HEAD.score(*given)
    np.testing.assert_array_equal(score.nats_by_column, -HEAD.log_probs(*given))
    np.testing.assert_array_equal(score.accuracy, HEAD.accuracy(*given))
    np.testing.assert_allclose(score.loss, score.nats_by_column.sum(axis=1), rtol=1e-6)


def test_bfloat16_is_near_float32():
    rough = Categorical(SIZES, GIVEN, 5, "bfloat16")
    params, outputs = _params(), jnp.tile(OUTPUTS, (len(ROWS), 1))
    exact = np.asarray(HEAD.log_probs(params, outputs, ROWS))
    near = np.asarray(rough.log_probs(params, outputs, ROWS))
    np.testing.assert_allclose(near, exact, atol=0.1)
    assert (near != exact).any()


def test_one_hots_are_end_to_end():
    hot = np.asarray(categorical.one_hots(jnp.asarray([[1.0, 0.0, 2.0]]), SIZES))
    assert hot.tolist() == [[0, 1, 1, 0, 0, 0, 1]]


def test_many_rows_are_made_one_hot_as_few_are():
    sizes = (2, 128, 3)
    rows = np.random.default_rng(0).integers(0, sizes, (categorical.FEW, len(sizes)))
    expected = np.concatenate([np.eye(size)[rows[:, c]] for c, size in enumerate(sizes)], axis=-1)
    np.testing.assert_array_equal(categorical.one_hots(jnp.asarray(rows), sizes), expected)
    np.testing.assert_array_equal(categorical.one_hots(jnp.asarray(rows[:9]), sizes), expected[:9])
    for axis, made in ((-1, expected), (0, expected.T)):
        narrow = categorical._narrow_one_hots(jnp.asarray(rows), sizes, axis)
        assert narrow.dtype == jnp.bfloat16
        np.testing.assert_array_equal(narrow.astype(jnp.float32), made)


def in_bfloat16(array: np.ndarray) -> np.ndarray:
    return np.asarray(jnp.asarray(array, jnp.bfloat16).astype(jnp.float32), np.float64)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-6), ("bfloat16", 1e-2)])
def test_a_sum_of_table_rows_and_its_gradient_are_those_of_lookups(precision, tolerance):
    rng = np.random.default_rng(0)
    sizes, columns = (3, 5, 2, 7), (3, 0, 1)
    rows = rng.integers(0, sizes, (4, 6, 4)).astype(np.float32)
    table, d_sum = rng.standard_normal((15, 8)), rng.standard_normal((4, 6, 8))
    firsts = (0, 7, 10)

    def total(table):
        found = categorical.summed(table, jnp.asarray(rows), sizes, columns, precision)
        return jnp.sum(found * d_sum), found

    gradient, found = jax.jit(jax.grad(total, has_aux=True))(jnp.asarray(table, jnp.float32))
    places = np.stack([first + rows[..., c].astype(int) for first, c in zip(firsts, columns, strict=True)], axis=-1)
    expected = np.zeros_like(table)
    np.add.at(expected, places, d_sum[:, :, None])
    assert np.abs(found - table[places].sum(axis=-2)).max() <= tolerance * np.abs(found).max()
    assert np.abs(gradient - expected).max() <= tolerance * np.abs(expected).max()
    if precision == "bfloat16":  # its gradient is that of rounded numbers
        rounded = np.zeros_like(table)
        np.add.at(rounded, places, in_bfloat16(d_sum)[:, :, None])
        assert np.abs(gradient - rounded).max() <= 1e-5 * np.abs(rounded).max() < np.abs(gradient - expected).max()


def test_products_of_tf32_and_of_its_gradients_are_tf32_on_a_gpu_and_float32_elsewhere():
    a, b = jax.random.normal(jax.random.key(1), (4, 3, 5)), jax.random.normal(jax.random.key(2), (5, 6))

    def loss(a, b, precision):
        return jnp.sum(categorical.product(a, b, precision) ** 2)

    gradients = jax.jit(jax.grad(loss, argnums=(0, 1)), static_argnums=2)
    text = gradients.trace(a, b, "tf32").lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("stablehlo.dot_general") == text.count("lhs_precision_type = tf32") == 3
    for found, expected in zip(gradients(a, b, "tf32"), gradients(a, b, "float32"), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-6), ("bfloat16", 1e-2)])
def test_a_product_and_its_gradients_are_those_in_float64(precision, tolerance):
    rng = np.random.default_rng(1)
    a, b, d_product = rng.standard_normal((3, 5, 16)), rng.standard_normal((16, 6)), rng.standard_normal((3, 5, 6))

    def total(a, b):
        found = categorical.product(a, b, precision)
        return jnp.sum(found * d_product), found

    of_both = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))
    gradients, found = of_both(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    expected = (d_product @ b.T, np.einsum("stk,stn->kn", a, d_product))
    for ours, exact in zip((found, *gradients), (a @ b, *expected), strict=True):
        assert ours.dtype == jnp.float32 and np.abs(ours - exact).max() <= tolerance * np.abs(exact).max()
    if precision == "bfloat16":  # its gradients are products of rounded operands
        a, b, d_product = map(in_bfloat16, (a, b, d_product))
        for ours, rounded in zip(gradients, (d_product @ b.T, np.einsum("stk,stn->kn", a, d_product)), strict=True):
            assert np.abs(ours - rounded).max() <= 1e-5 * np.abs(rounded).max()
