"""The head of rows of bins: an exact likelihood, drawn as it says, and rows of bins in training."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicjax.model import categorical, network
from musicjax.model.categorical import Categorical
from musicjax.model.network import MusicLSTM
from musicjax.training import sequences, step

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


def test_agreement_counts_the_likeliest_bins():
    params = _params()
    agreement = np.asarray(HEAD.agreement(params, jnp.tile(OUTPUTS, (len(ROWS), 1)), ROWS))
    by_hand = []
    for row in ROWS:
        others = [np.array([[a, row[1], row[2]] for a in range(2)]), np.array([[row[0], row[1], b] for b in range(3)])]
        likeliest = [_log_probs_by_hand(params, OUTPUTS, other)[:, k].argmax() for k, other in enumerate(others)]
        by_hand.append(np.mean([likeliest[0] == row[0], likeliest[1] == row[2]]))
    np.testing.assert_allclose(agreement, by_hand)


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


# In training: rows (interval, place, pitch, duration, velocity, echo of four of them, its length).

TABLES = sequences.Tables(
    np.int32([[0, 1, 1], [0, 1, 2], [0, 2, 2]]),
    np.int32([[0, 0], [0, 1], [1, 1]]),
    np.int32([0, 1, 3]),
    np.int32(8),
    np.int32(4),
    np.int32(1),
    np.float32(0.75),
)
OFFSETS = np.array([0, 30, 31, 60])


def _rows() -> np.ndarray:
    rng = np.random.default_rng(0)
    interval = rng.integers(0, 3, 60)
    interval[[0, 30, 31]] = 0
    place = np.concatenate([np.cumsum(TABLES.steps[interval[a:b]]) % 8 for a, b in itertools.pairwise(OFFSETS)])
    rest = [rng.integers(40, 80, 60), rng.integers(0, 2, 60), rng.integers(0, 4, 60)]
    length = rng.integers(0, 3, 60)
    echoes = [rng.integers(0, 3, 60), rng.integers(40, 80, 60), rng.integers(0, 2, 60), rng.integers(0, 4, 60)]
    columns = [interval, place, *rest, *(column * (length > 0) for column in echoes), length]
    return np.stack(columns, axis=1).astype(np.uint8)


def _gathered(draws) -> tuple[np.ndarray, np.ndarray, np.ndarray, sequences.Sequences]:
    made = sequences.windows(_rows(), OFFSETS, np.ones(3, bool), 10, 6, (2, 21, 108), TABLES)
    placed = jax.tree.map(jnp.asarray, made)
    count = len(made.starts)
    inputs, targets, weight = sequences.gather(placed, jnp.arange(count), 10, jnp.tile(jnp.float32(draws), (count, 1)))
    return np.asarray(inputs), np.asarray(targets), np.asarray(weight), made


def test_in_the_middle_of_all_draws_nothing_is_changed():
    inputs, targets, weight, made = _gathered([0.5, 0.5, 0.5, 0.5, 0.5])
    assert int(weight.sum()) == 30 + 30 and len(made.starts) == 6
    for start, one, two, counted in zip(made.starts, inputs, targets, weight, strict=True):
        first = max(min(start, made.end[list(made.starts).index(start)] - 11), 0)
        inside = int(counted.sum())
        np.testing.assert_array_equal(one[:inside], _rows()[first : first + inside])
        np.testing.assert_array_equal(two[:inside], _rows()[first + 1 : first + 1 + inside])


@pytest.mark.parametrize(("tempo", "which"), [(0.0, 0), (0.99, 2)])
def test_tempo_looks_up_times_and_the_place_follows(tempo, which):
    plain, _, _, _ = _gathered([0.5, 0.5, 0.5, 0.5, 0.5])
    changed, _, weight, _ = _gathered([0.5, 0.5, tempo, 0.5, 0.5])
    inside = weight > 0
    np.testing.assert_array_equal(changed[..., 0][inside], TABLES.interval[which][plain[..., 0].astype(int)][inside])
    np.testing.assert_array_equal(changed[..., 3][inside], TABLES.duration[which][plain[..., 3].astype(int)][inside])
    heard = inside & (plain[..., 9] > 0)
    np.testing.assert_array_equal(changed[..., 5][heard], TABLES.interval[which][plain[..., 5].astype(int)][heard])
    np.testing.assert_array_equal(changed[..., 7][heard], TABLES.duration[which][plain[..., 7].astype(int)][heard])
    steps = np.array(TABLES.steps)[changed[:, 1:, 0].astype(int)]
    expected = (changed[:, :1, 1] + np.cumsum(steps, axis=1)) % 8
    np.testing.assert_array_equal(changed[:, 1:, 1][inside[:, 1:]], expected[inside[:, 1:]])


def test_transposition_and_loudness_move_whole_windows_within_their_bounds():
    plain, _, weight, _ = _gathered([0.5, 0.5, 0.5, 0.5, 0.5])
    inside = weight > 0
    seen = set()
    for draw in np.linspace(0, 0.999, 30):
        changed, _, _, _ = _gathered([0.5, draw, 0.5, draw, 0.5])
        keys = (changed[..., 2] - plain[..., 2])[inside]
        assert len(np.unique(keys)) == 1
        seen.add(int(keys[0]))
        louder = np.floor(draw * 3) - 1
        np.testing.assert_array_equal(changed[..., 4][inside], np.clip(plain[..., 4] + louder, 0, 3)[inside])
        heard = inside & (plain[..., 9] > 0)
        np.testing.assert_array_equal((changed[..., 6] - plain[..., 6])[heard], keys[0])
        np.testing.assert_array_equal(changed[..., 8][heard], np.clip(plain[..., 8] + louder, 0, 3)[heard])
        assert (changed[..., 5:][inside & ~heard] == 0).all(), "where nothing was before, nothing is told"
    assert seen == set(range(-6, 7))


@pytest.mark.parametrize(("draw", "kept"), [(0.74, True), (0.76, False)])
def test_so_many_windows_are_told_their_echoes(draw, kept):
    plain, _, _, _ = _gathered([0.5, 0.5, 0.5, 0.5, 0.5])
    changed, _, _, _ = _gathered([0.5, 0.5, 0.5, 0.5, draw])
    np.testing.assert_array_equal(changed[..., :5], plain[..., :5])
    np.testing.assert_array_equal(changed[..., 5:], plain[..., 5:] * kept)


def test_whole_pieces_are_scored_as_windows_from_their_first_row_are():
    sizes = (3, 8, 128, 2, 4, 3, 128, 2, 4, 3)
    head = Categorical(sizes, (1, 5, 6, 7, 8, 9), 6)
    net = MusicLSTM(8, 10, 0.0, head=head, every=True, sizes=sizes, embedding=4)
    params = network.init(net, jax.random.key(0), 10)
    lanes = sequences.lanes(_rows(), OFFSETS, np.ones(3, bool))
    scores = step.scores(net, params, jax.tree.map(jnp.asarray, lanes))
    assert scores.by_column.shape == (*lanes.seen.shape, 4)
    total = float((np.asarray(scores.nats) * lanes.weight).sum())
    np.testing.assert_allclose(np.asarray(scores.by_column).sum(axis=-1), scores.nats, rtol=1e-5)
    expected = 0.0
    for first, end in ((0, 30), (31, 60)):
        rows = jnp.asarray(_rows()[first:end], jnp.float32)[None]
        outputs = network.apply(net, params, rows[:, :-1])
        expected += float(head.loss(network.head_params(params), outputs, rows[:, 1:]).sum())
    assert total == pytest.approx(expected, rel=1e-5)
    found = step.validation(net, 4, 10, params, jax.tree.map(jnp.asarray, lanes))
    assert float(found.nats) == pytest.approx(expected / 57, rel=1e-5)
    assert float(np.sum(found.by_column)) == pytest.approx(expected / 57, rel=1e-5)
