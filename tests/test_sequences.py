"""Windows of pieces whose every row is a target, and whole pieces scored side by side."""

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
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax.encodings import frame_augment
from musicjax.encodings.frame_augment import FrameAugment
from musicjax.model import heads, network
from musicjax.model.categorical import Categorical
from musicjax.model.network import MusicLSTM
from musicjax.training import optimizer as optimizer_lib
from musicjax.training import sequences, step
from musicjax.training import trials as trials_lib
from musicjax.training.sequences import Sequences

LENGTHS = [30, 2, 1, 0, 11, 75, 10]
OFFSETS = np.cumsum([0, *LENGTHS])
ALL = np.ones(len(LENGTHS), bool)
WINDOW = 10


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Rows uint8 [N, 88] of seven pieces: no two are alike, keys 10 to 75 are used."""
    rng = np.random.default_rng(0)
    made = np.zeros((sum(LENGTHS), 88), np.uint8)
    made[:, 10:76] = rng.random((len(made), 66)) < 0.2
    starts = [start for start, length in zip(OFFSETS, LENGTHS, strict=False) if length]
    made[starts, 10] = made[starts, 75] = 1
    return made


def windows_of(rows: np.ndarray, transpose: int = 0, chosen: np.ndarray = ALL) -> Sequences:
    augment = FrameAugment(np.float32(0), None)
    made = sequences.windows(rows, OFFSETS, chosen, WINDOW, transpose, frame_augment.room, augment)
    return jax.tree.map(jnp.asarray, made)


def gathered(made: Sequences, random: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = len(made.starts)
    random = np.tile(np.float32(random), (count, 1)) if np.ndim(random) == 1 else random
    inputs, targets, weight = made.gather(jnp.arange(count), WINDOW, random)
    return np.asarray(inputs), np.asarray(targets), np.asarray(weight)


def test_windows_tile_their_pieces_and_padding_has_no_weight(rows):
    made = windows_of(rows)
    count = sum(-(-(length - 1) // WINDOW) for length in LENGTHS if length)
    assert len(made.starts) == count and made.targets(WINDOW) == WINDOW
    assert (made.starts >= made.first).all() and (made.starts + 1 < made.end).all()
    inputs, targets, weight = gathered(made, [0.5, 0.5])
    assert inputs.shape == targets.shape == (count, WINDOW, 88)
    for start, end, one, two, counted in zip(made.starts, made.end, inputs, targets, weight, strict=True):
        own = OFFSETS[np.searchsorted(OFFSETS, end) - 1]
        first = max(min(start, end - WINDOW - 1), own)
        inside = int(counted.sum())
        assert inside == min(WINDOW, end - first - 1) and (counted[:inside] == 1).all()
        np.testing.assert_array_equal(one[:inside], rows[first : first + inside])
        np.testing.assert_array_equal(two[:inside], rows[first + 1 : first + inside + 1])
        assert not two[inside:].any()


@pytest.mark.parametrize("seed", range(3))
def test_a_window_stays_inside_its_piece_wherever_it_is_moved(rows, seed):
    made = windows_of(rows)
    random = np.float32(np.random.default_rng(seed).random((len(made.starts), 2)))
    inputs, targets, weight = gathered(made, random)
    places = {row.tobytes(): number for number, row in enumerate(rows)}
    assert len(places) == len(rows)
    for first, end, one, two, counted in zip(made.first, made.end, inputs, targets, weight, strict=True):
        for before, after in zip(one[counted > 0], two[counted > 0], strict=True):
            place = places[before.astype(np.uint8).tobytes()]
            assert first <= place and places[after.astype(np.uint8).tobytes()] == place + 1 < end


def test_only_the_chosen_pieces_give_windows(rows):
    made = windows_of(rows, chosen=np.array([False, True, True, True, False, True, False]))
    assert {(int(first), int(end)) for first, end in zip(made.first, made.end, strict=True)} == {(30, 32), (44, 119)}


# Each piece that predicts something as a row of one batch, padded behind, where nothing can see it.
SCORED = [(first, end) for first, end in itertools.pairwise(OFFSETS.tolist()) if end - first > 1]


def padded(rows: np.ndarray) -> jax.Array:
    longest = max(end - first for first, end in SCORED)
    return jnp.asarray(
        [np.pad(rows[first:end], ((0, longest - (end - first)), (0, 0))) for first, end in SCORED], jnp.float32
    )


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 300), st.booleans()), max_size=150))
def test_streams_hold_each_chosen_piece_once_and_are_few(pieces):
    """As many steps as in the most streams, and no fewer streams would do; pieces of one row have nothing to score."""
    lengths, chosen = np.array([length for length, _ in pieces], int), np.array([which for _, which in pieces], bool)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(int)
    made = sequences.streams(np.zeros((offsets[-1], 1), np.uint8), offsets, chosen)
    steps, count = made.seen.shape
    assert count % sequences.STREAMS_STEP == 0 and count <= sequences.MOST_STREAMS
    found = []
    for stream in range(count):
        length = int(made.weight[:, stream].sum())
        assert made.weight[:length, stream].all()
        begins = [*np.flatnonzero(made.reset[:, stream]), length]
        found += [made.seen[begin:end, stream].tolist() for begin, end in itertools.pairwise(begins)]
    whole = [list(range(offsets[n], offsets[n + 1] - 1)) for n in range(len(pieces)) if chosen[n] and lengths[n] > 1]
    assert sorted(found) == whole
    own = dict(enumerate(map(len, whole)))
    assert steps == sequences._packed(own, sequences.MOST_STREAMS)[0]
    assert count == sequences.STREAMS_STEP or sequences._packed(own, count - sequences.STREAMS_STEP)[0] > steps


BINS = (3, 5, 4)
SCORED_NETS = [
    MusicLSTM(12, 88, head=heads.FrameRegression(), every_position=True),
    MusicLSTM(12, 88, head=heads.Nade(7), every_position=True, layers=2),
    MusicLSTM(8, 3, 0.0, head=Categorical(BINS, (1,), 6), every_position=True, sizes=BINS, embedding=4),
]


@pytest.mark.parametrize("net", SCORED_NETS, ids=lambda net: type(net.head).__name__)
def test_each_row_scores_as_in_its_piece_alone(rows, net):
    if net.sizes:
        rows = np.random.default_rng(1).integers(0, BINS, (len(rows), 3)).astype(np.uint8)
    streams = jax.tree.map(jnp.asarray, sequences.streams(rows, OFFSETS, ALL))
    params = jax.jit(network.init, static_argnums=(0, 2))(net, jax.random.key(0), WINDOW)

    @jax.jit
    def scored(params, streams):
        return sequences.score(net, params, streams), step.validation(net, 8, WINDOW, params, streams)

    @jax.jit
    def alone(params, pieces):
        outputs, own = network.apply(net, params, pieces[:, :-1]), network.head_params(params)
        return net.head.loss(own, outputs, pieces[:, 1:]), net.head.log_prob(own, outputs, pieces[:, 1:])

    score, means = scored(params, streams)
    losses, log_probs = alone(params, padded(rows))
    expected = {
        first + n: (float(losses[place, n]), -float(log_probs[place, n]))
        for place, (first, end) in enumerate(SCORED)
        for n in range(end - first - 1)
    }
    counted = np.asarray(streams.weight) > 0
    seen = np.asarray(streams.seen)[counted]
    assert sorted(seen) == sorted(expected)
    found = zip(np.asarray(score.loss)[counted], np.asarray(score.nats)[counted], strict=True)
    for place, loss_and_nats in zip(seen, found, strict=True):
        assert loss_and_nats == pytest.approx(expected[place], rel=1e-4, abs=1e-6)
    assert float(means.loss) == pytest.approx(np.mean([loss for loss, _ in expected.values()]), rel=1e-5)
    assert float(means.nats) == pytest.approx(np.mean([nats for _, nats in expected.values()]), rel=1e-5)
    assert 0 < float(means.accuracy) <= 1 and (np.asarray(score.accuracy)[counted] <= 1).all()
    if net.sizes:
        assert score.nats_by_column.shape == (*streams.seen.shape, 2)
        np.testing.assert_allclose(np.asarray(score.nats_by_column).sum(axis=-1), score.nats, rtol=1e-5)
        assert float(np.sum(means.nats_by_column)) == pytest.approx(float(means.nats), rel=1e-5)


def test_an_epoch_learns_and_its_loss_is_that_of_its_counted_rows(rows):
    made, keys = windows_of(rows, transpose=3), step.keys(3)
    net, count = MusicLSTM(16, 88, dropout=0.0, head=heads.Bernoulli(), every_position=True), len(made.starts)
    steps = -(-count // 4)
    assert count % 4, "the last batch is not full"
    # The first epoch moves nothing, so that all its losses are those of the initial parameters.
    learn = optax.adam(lambda step: jnp.where(step < steps, 0.0, 1e-2))
    state = jax.jit(step.init, static_argnums=(0, 1, 3))(net, learn, keys.init, WINDOW)
    random = jax.random.uniform(jax.random.fold_in(keys.augment, 0), (count, made.random_numbers))

    @jax.jit
    def by_hand(params):
        inputs, targets, weight = made.gather(jnp.arange(count), WINDOW, random)
        loss = net.head.loss(network.head_params(params), network.apply(net, params, inputs), targets)
        return jnp.sum(loss * weight), jnp.sum(weight)

    loss, weight = by_hand(state.params)
    epoch, losses = step.make_epoch(net, learn, 4, WINDOW), []
    for number in range(12):
        state, sums = epoch(state, made, keys, jnp.int32(number))
        losses.append(float(sums.loss.sum() / sums.weight.sum()))
        if number == 0:
            assert float(sums.weight.sum()) == float(weight)
            assert float(sums.loss.sum()) == pytest.approx(float(loss), rel=1e-4)
    assert losses[-1] < 0.85 * losses[0]


ON_SEVERAL_DEVICES = """
import jax, jax.numpy as jnp, numpy as np
from musicjax.encodings import frame_augment
from musicjax.model import heads
from musicjax.model.network import MusicLSTM
from musicjax.training import mesh, optimizer, sequences, step

rows = (np.random.default_rng(0).random((90, 88)) < 0.1).astype(np.uint8)
offsets, everyone = np.array([0, 30, 41, 90]), np.ones(3, bool)
net = MusicLSTM(8, 88, dropout=0.4, head=heads.Bernoulli(), every_position=True)
adam, keys = optimizer.adam(1e-2, 3.0, 1.0), step.keys(1)
augment = frame_augment.FrameAugment(np.float32(0), None)
learned = sequences.windows(rows, offsets, everyone, 10, 4, frame_augment.room, augment)
scored = sequences.streams(rows, offsets, everyone)
start = jax.tree.map(np.asarray, jax.jit(lambda: step.init(net, adam, keys.init, 10))())


def same(one, many):
    jax.tree.map(lambda one, many: np.testing.assert_allclose(many, one, rtol=2e-4, atol=2e-5), one, many)


learns, scores = {}, {}
for count in (1, 2, 3):
    devices = mesh.make(count)
    state, data, number = mesh.replicate((start, (learned, scored, keys), jnp.int32(0)), devices)
    scores[count] = jax.tree.map(np.asarray, step.make_validation(net, 6, 10, devices)(state.params, data[1]))
    if count < 3:
        state, sums = step.make_epoch(net, adam, 6, 10, devices)(state, data[0], data[2], number)
        learns[count] = jax.tree.map(np.asarray, (state.params, sums))
same(learns[1], learns[2])
same(scores[1], scores[2])
same(scores[1], scores[3])
print("agree")
"""


@pytest.mark.long
def test_two_devices_learn_and_score_as_one_and_three_that_cannot_divide_the_streams_score_as_one():
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=3",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    command = [sys.executable, "-W", "error", "-c", ON_SEVERAL_DEVICES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "agree", done.stderr


@pytest.mark.long
def test_trials_on_frames_equal_the_runs_that_they_would_be_alone(rows):
    net = MusicLSTM(8, 88, dropout=0.3, head=heads.Bernoulli(), every_position=True)
    made = windows_of(rows, transpose=3)
    streams = jax.tree.map(jnp.asarray, sequences.streams(rows, OFFSETS, ALL))
    seeds, rates = [3, 4], [1e-2, 3e-3]
    trials = trials_lib.make(seeds, rates, [0.3, 0.3])
    init = jax.jit(trials_lib.init, static_argnums=(0, 1, 3))
    states = init(net, optimizer_lib.adam(0.0, 5.0), trials, WINDOW)
    epoch = trials_lib.make_epoch(net, lambda rate: optimizer_lib.adam(rate, 5.0), 4, WINDOW, 2)
    starts = [trials_lib.select(states, trial) for trial in range(2)]
    states, sums = epoch(states, made, trials, jnp.int32(0))
    scores = trials_lib.make_validation(net, 4, WINDOW, 2)(states.params, streams)

    @jax.jit
    def alone(state, keys, rate):
        adam = optimizer_lib.adam(rate, 5.0)
        state, sums = step.epoch(net, adam, 4, WINDOW, state, made, keys, jnp.int32(0))
        return sums.loss, step.validation(net, 4, WINDOW, state.params, streams).nats

    for trial, (start, seed, rate) in enumerate(zip(starts, seeds, rates, strict=True)):
        losses, nats = alone(start, step.keys(seed), jnp.float32(rate))
        np.testing.assert_allclose(sums.loss[trial], losses, rtol=1e-4)
        assert float(scores.nats[trial]) == pytest.approx(float(nats), rel=1e-4)
