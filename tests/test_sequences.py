"""Windows of pieces whose every row is a target, and whole pieces side by side."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from musicjax.model import heads, network
from musicjax.model.network import MusicLSTM
from musicjax.training import optimizer as optimizer_lib
from musicjax.training import sequences, step
from musicjax.training import trials as trials_lib

LENGTHS = [30, 2, 1, 0, 11, 75, 10]
WINDOW = 10


@pytest.fixture(scope="module")
def pieces() -> tuple[np.ndarray, np.ndarray]:
    """Rows uint8 [N, 88] of seven pieces, and offsets: no two rows alike, keys 10 to 75 used."""
    rng = np.random.default_rng(0)
    rows = np.zeros((sum(LENGTHS), 88), np.uint8)
    rows[:, 10:76] = rng.random((len(rows), 66)) < 0.2
    starts = [start for start, length in zip(np.cumsum([0, *LENGTHS]), LENGTHS, strict=False) if length]
    rows[starts, 10] = rows[starts, 75] = 1
    return rows, np.cumsum([0, *LENGTHS])


def _gathered(rows, offsets, draws, transpose=0, chosen=None):
    chosen = np.ones(len(LENGTHS), bool) if chosen is None else chosen
    made = sequences.windows(rows, offsets, chosen, WINDOW, transpose)
    count = len(made.starts)
    draws = np.tile(np.float32(draws), (count, 1)) if np.ndim(draws) == 1 else draws
    made = jax.tree.map(jnp.asarray, made)
    inputs, targets, weight = sequences.gather(made, jnp.arange(count), WINDOW, draws)
    return made, np.asarray(inputs), np.asarray(targets), np.asarray(weight)


def test_windows_tile_their_pieces_and_padding_has_no_weight(pieces):
    rows, offsets = pieces
    made = sequences.windows(rows, offsets, np.ones(len(LENGTHS), bool), WINDOW, 0)
    lasts = sum(-(-(length - 1) // WINDOW) for length in LENGTHS if length)
    assert len(made.starts) == lasts
    assert (made.starts >= made.first).all() and (made.starts + 1 < made.end).all()
    _, inputs, targets, weight = _gathered(rows, offsets, [0.5, 0.5])
    assert inputs.shape == targets.shape == (lasts, WINDOW, 88)
    for start, end, one, two, counted in zip(made.starts, made.end, inputs, targets, weight, strict=True):
        own = offsets[np.searchsorted(offsets, end) - 1]
        first = max(min(start, end - WINDOW - 1), own)
        inside = int(counted.sum())
        assert inside == min(WINDOW, end - first - 1) and (counted[:inside] == 1).all()
        np.testing.assert_array_equal(one[:inside], rows[first : first + inside])
        np.testing.assert_array_equal(two[:inside], rows[first + 1 : first + inside + 1])
        assert not two[inside:].any()


@pytest.mark.parametrize("seed", range(5))
def test_wherever_a_window_lies_it_stays_inside_its_piece(pieces, seed):
    rows, offsets = pieces
    count = sum(-(-(length - 1) // WINDOW) for length in LENGTHS if length)
    draws = np.float32(np.random.default_rng(seed).random((count, 2)))
    made, inputs, targets, weight = _gathered(rows, offsets, draws)
    whole = {row.tobytes(): number for number, row in enumerate(rows)}
    assert len(whole) == len(rows)
    for first, end, one, two, counted in zip(made.first, made.end, inputs, targets, weight, strict=True):
        for before, after in zip(one[counted > 0], two[counted > 0], strict=True):
            place = whole[before.astype(np.uint8).tobytes()]
            assert first <= place and whole[after.astype(np.uint8).tobytes()] == place + 1 < end


def test_only_the_chosen_pieces_are_seen(pieces):
    rows, offsets = pieces
    made, *_ = _gathered(rows, offsets, [0.5, 0.5], chosen=np.array([False, True, True, True, False, True, False]))
    assert {(int(first), int(end)) for first, end in zip(made.first, made.end, strict=True)} == {(30, 32), (44, 119)}


def test_moving_by_keys_loses_no_note_and_reaches_both_ends(pieces):
    rows, offsets = pieces
    _, plain, *_ = _gathered(rows, offsets, [0.5, 0.5])
    seen = set()
    for draw in np.linspace(0, 0.9999, 40):
        made, inputs, _, _ = _gathered(rows, offsets, [0.5, draw], transpose=6)
        assert inputs.sum() == plain.sum()
        keys = int(np.flatnonzero(inputs[0].any(axis=0))[0] - np.flatnonzero(plain[0].any(axis=0))[0])
        np.testing.assert_array_equal(inputs[0], np.roll(plain[0], keys, axis=1))
        seen.add(keys)
    assert seen == set(range(-6, 7))
    assert set(np.asarray(made.down)) == {6} and set(np.asarray(made.up)) == {6}
    high = sequences.windows(np.roll(rows, 10, axis=1), offsets, np.ones(len(LENGTHS), bool), WINDOW, 6)
    assert set(high.up) == {2}


def test_columns_of_onsets_move_with_those_of_sounding(pieces):
    rows, offsets = pieces
    both = np.concatenate([rows, np.roll(rows, 1, axis=0)], axis=1)
    for draw in (0.0, 0.3, 0.99):
        _, inputs, _, _ = _gathered(both, offsets, [0.5, draw], transpose=6)
        _, alone, _, _ = _gathered(rows, offsets, [0.5, draw], transpose=6)
        _, other, _, _ = _gathered(np.roll(rows, 1, axis=0), offsets, [0.5, draw], transpose=6)
        np.testing.assert_array_equal(inputs[..., :88], alone)
        assert (inputs[..., 88:].sum(axis=-1) == other.sum(axis=-1)).mean() > 0.9


@pytest.mark.parametrize("head", [heads.FrameRegression(), heads.Bernoulli(), heads.Nade(7)])
def test_scores_are_those_of_each_piece_by_itself(pieces, head):
    rows, offsets = pieces
    net = MusicLSTM(12, 88, head=head, every=True, layers=2)
    params = network.init(net, jax.random.key(0), WINDOW)
    lanes = sequences.lanes(rows, offsets, np.ones(len(LENGTHS), bool))
    scores = step.scores(net, params, jax.tree.map(jnp.asarray, lanes))
    loss, agreement, nats = (np.asarray(array) for array in scores[:3])
    expected = {}
    for first, end in itertools.pairwise(offsets.tolist()):
        if end - first > 1:
            piece = jnp.asarray(rows[first:end], jnp.float32)
            outputs = network.apply(net, params, piece[None, :-1])[0]
            own = network.head_params(params)
            found = (net.head.loss(own, outputs, piece[1:]), net.head.log_prob(own, outputs, piece[1:]))
            expected |= {first + n: (float(a), -float(b)) for n, (a, b) in enumerate(zip(*found, strict=True))}
    counted = lanes.weight > 0
    assert sorted(np.asarray(lanes.seen)[counted]) == sorted(expected)
    for place, one, two in zip(lanes.seen[counted], loss[counted], nats[counted], strict=True):
        assert (one, two) == pytest.approx(expected[place], rel=1e-4)
    total = step.make_validation(net, 8, WINDOW)(params, jax.tree.map(jnp.asarray, lanes))
    assert float(total.loss) == pytest.approx(np.mean([loss for loss, _ in expected.values()]), rel=1e-5)
    assert float(total.nats) == pytest.approx(np.mean([nats for _, nats in expected.values()]), rel=1e-5)
    assert 0 < float(total.agreement) <= 1 and (agreement[counted] <= 1).all()


@pytest.mark.parametrize("head", [heads.FrameRegression(), heads.Bernoulli(), heads.Nade(7)])
def test_an_epoch_learns_and_its_loss_is_that_of_its_counted_rows(pieces, head):
    rows, offsets = pieces
    net, optimizer = MusicLSTM(16, 88, dropout=0.0, head=head, every=True), optax.sgd(0.0)
    made = jax.tree.map(jnp.asarray, sequences.windows(rows, offsets, np.ones(len(LENGTHS), bool), WINDOW, 3))
    keys = step.keys(3)
    state = step.init(net, optimizer, keys.init, WINDOW)
    _, sums = step.make_epoch(net, optimizer, 4, WINDOW)(jax.tree.map(jnp.copy, state), made, keys, jnp.int32(2))
    count = len(made.starts)
    inputs, targets, weight = sequences.gather(made, jnp.arange(count), WINDOW, sequences.draws(keys.augment, 2, count))
    loss = net.head.loss(network.head_params(state.params), network.apply(net, state.params, inputs), targets) * weight
    assert float(sums.weight.sum()) == float(weight.sum())
    assert float(sums.loss.sum()) == pytest.approx(float(loss.sum()), rel=1e-4)
    learn = optax.adam(1e-2)
    epoch, state = step.make_epoch(net, learn, 4, WINDOW), step.init(net, learn, keys.init, WINDOW)
    losses = []
    for number in range(12):
        state, sums = epoch(state, made, keys, jnp.int32(number))
        losses.append(float(sums.loss.sum() / sums.weight.sum()))
    assert losses[-1] < 0.85 * losses[0]


ON_SOME_DEVICES = """
import sys
import jax, jax.numpy as jnp, numpy as np
from musicjax.model import heads, network
from musicjax.model.network import MusicLSTM
from musicjax.training import mesh, optimizer, sequences, step

rows = (np.random.default_rng(0).random((90, 88)) < 0.1).astype(np.uint8)
offsets, everyone = np.array([0, 30, 41, 90]), np.ones(3, bool)
net = MusicLSTM(8, 88, dropout=0.4, head=heads.Nade(5), every=True)
adam, keys = optimizer.adam(1e-2, 3.0, 1.0), step.keys(1)
learned, scored = sequences.windows(rows, offsets, everyone, 10, 4), sequences.lanes(rows, offsets, everyone)
ends = {}
for count in (1, int(sys.argv[1])):
    devices = mesh.make(count)
    state = mesh.replicate(step.init(net, adam, keys.init, 10), devices)
    data = mesh.replicate((learned, scored, keys), devices)
    epoch, validate = step.make_epoch(net, adam, 6, 10, devices), step.make_validation(net, 6, 10, devices)
    state, sums = epoch(state, data[0], data[2], mesh.replicate(jnp.int32(0), devices))
    ends[count] = jax.tree.map(np.asarray, (state.params, sums, validate(state.params, data[1])))
jax.tree.map(lambda one, many: np.testing.assert_allclose(many, one, rtol=2e-4, atol=2e-5), *ends.values())
print("agree")
"""


@pytest.mark.parametrize("count", ["2", "3"])  # of which 3 cannot divide the lanes
def test_several_devices_learn_and_score_as_one(count):
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    command = [sys.executable, "-W", "error", "-c", ON_SOME_DEVICES, count]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "agree", done.stderr


def test_trials_of_frames_are_the_runs_they_would_be_alone(pieces):
    rows, offsets = pieces
    net = MusicLSTM(8, 88, dropout=0.3, head=heads.Nade(5), every=True)
    everyone = np.ones(len(LENGTHS), bool)
    made = jax.tree.map(jnp.asarray, sequences.windows(rows, offsets, everyone, WINDOW, 3))
    lanes = jax.tree.map(jnp.asarray, sequences.lanes(rows, offsets, everyone))
    seeds, rates = [3, 4], [1e-2, 3e-3]
    trials = trials_lib.make(seeds, rates, [0.3, 0.3])
    states = trials_lib.init(net, optimizer_lib.adam(0.0, 5.0), trials, WINDOW)
    epoch = trials_lib.make_epoch(net, lambda rate: optimizer_lib.adam(rate, 5.0), 4, WINDOW, 2)
    states, sums = epoch(states, made, trials, jnp.int32(0))
    scores = trials_lib.make_validation(net, 4, WINDOW, 2)(states.params, lanes)
    for trial, (seed, rate) in enumerate(zip(seeds, rates, strict=True)):
        adam, keys = optimizer_lib.adam(rate, 5.0), step.keys(seed)
        state = step.init(net, adam, keys.init, WINDOW)
        state, alone = step.make_epoch(net, adam, 4, WINDOW)(state, made, keys, jnp.int32(0))
        np.testing.assert_allclose(sums.loss[trial], alone.loss, rtol=1e-4)
        assert float(scores.nats[trial]) == pytest.approx(
            float(step.make_validation(net, 4, WINDOW)(state.params, lanes).nats), rel=1e-4
        )
