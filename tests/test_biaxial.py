"""Models along two axes: what a key sees, in which order it is drawn, and that both make one likelihood."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicjax import config_files
from musicjax.encodings import encoding as encoding_lib
from musicjax.encodings.frame_augment import FrameAugment
from musicjax.encodings.frame_draw import MatchedDraw, PlacedDraw
from musicjax.model import biaxial, lstm, network, sample
from musicjax.model.biaxial import OCTAVE, REACH, TiedLSTM
from musicjax.model.note_axis import NoteLSTM, TiedNade
from musicjax.model.sample import HeadDraw, Limits, Past
from musicjax.music import piano_roll
from musicjax.training import optimizer as optimizer_lib
from musicjax.training import sequences
from musicjax.training import step as step_lib
from tests import whole_windows

KEYS, UNITS, HEAD_UNITS, WINDOW = 4, 6, 5, 5
# Every frame of four keys, [16, 4]; and every one of two keys that sound, or sound and begin, [9, 4].
FRAMES = np.float32(list(itertools.product([0, 1], repeat=KEYS)))
BEGINNING = FRAMES[(FRAMES[:, 2:] <= FRAMES[:, :2]).all(axis=1)]
HEADS = {
    "note lstm": (NoteLSTM(KEYS, UNITS, HEAD_UNITS), FRAMES),
    "note lstm that begins": (NoteLSTM(2, UNITS, HEAD_UNITS), BEGINNING),
    "tied nade": (TiedNade(KEYS, UNITS, HEAD_UNITS), FRAMES),
}


@pytest.fixture(params=HEADS)
def given(request):
    """(head, parameters, outputs [O] of the time axis, every frame there may be)."""
    head, frames = HEADS[request.param]
    outputs = 2 * jax.random.normal(jax.random.key(0), (head.outputs(KEYS),))
    return head, jax.tree.map(lambda leaf: 2 * leaf, head.init(jax.random.key(1), KEYS)), outputs, frames


def of_each(head, params, outputs, frames):
    """The logits of every frame, [F, P K]."""
    return np.asarray(head.logits(params, jnp.tile(outputs, (len(frames), 1)), jnp.asarray(frames)))


def test_the_likelihoods_of_all_frames_add_up_to_one(given):
    head, params, outputs, frames = given
    log_prob = head.log_prob(params, jnp.tile(outputs, (len(frames), 1)), frames)
    probabilities = np.exp(np.asarray(log_prob, np.float64))
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert probabilities.min() > 0 and probabilities.max() < 0.9


def test_a_drawn_key_has_the_logit_by_which_it_is_scored(given):
    """Noise that is just on the right side of every logit draws that very frame, whatever was drawn below."""
    head, params, outputs, frames = given
    tiled = jnp.tile(outputs, (len(frames), 1))
    noise = -of_each(head, params, outputs, frames) + (2 * frames - 1) * 1e-3
    drawn = head.sample(params, tiled, jnp.asarray(noise), jnp.zeros(KEYS), jnp.float32(1))
    np.testing.assert_array_equal(drawn, frames)


def test_frames_are_drawn_as_often_as_their_likelihood_says(given):
    head, params, outputs, frames = given
    count, weights = 20_000, 2 ** np.arange(KEYS)
    noise = jax.vmap(lambda key: head.noise(key, KEYS))(jax.random.split(jax.random.key(7), count))
    drawn = head.sample(params, jnp.tile(outputs, (count, 1)), noise, jnp.zeros(KEYS), jnp.float32(1))
    probabilities = np.exp(np.asarray(head.log_prob(params, jnp.tile(outputs, (len(frames), 1)), frames)))
    seen = np.bincount(np.asarray(drawn, int) @ weights, minlength=16)[np.asarray(frames, int) @ weights] / count
    assert seen.sum() == pytest.approx(1)
    np.testing.assert_array_less(np.abs(seen - probabilities), 5 * np.sqrt(probabilities / count) + 1e-4)


def test_at_temperature_0_every_key_is_the_likelier_one_whatever_the_noise(given):
    head, params, outputs, _ = given
    noise = jax.random.normal(jax.random.key(3), (20, KEYS))
    tiled = jnp.tile(outputs, (20, 1))
    drawn = np.asarray(head.sample(params, tiled, noise, jnp.zeros(KEYS), jnp.float32(0)))
    assert (drawn == drawn[0]).all()
    assert float(head.accuracy(params, outputs, drawn[0])) == 1


def test_a_score_is_loss_accuracy_and_nats_together(given):
    head, params, outputs, frames = given
    given_all = (params, jnp.tile(outputs, (len(frames), 1)), frames)
    loss, accuracy, nats, by_column = head.score(*given_all)
    probability = sigmoid(of_each(head, params, outputs, frames).astype(np.float64))
    counts = np.ones_like(frames)
    counts[:, head.keys :] = frames[:, : KEYS - head.keys]  # of a key that sounds alone
    likely = np.where(frames > 0, probability, 1 - probability)
    np.testing.assert_allclose(nats, -(counts * np.log(likely)).sum(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(accuracy, np.where(counts > 0, likely > 0.5, frames == 0).mean(axis=1))
    assert by_column is None and (loss == nats).all()
    for got, expected in zip(head.training(*given_all, jax.random.key(0), None, (0, 1)), (loss, accuracy), strict=True):
        np.testing.assert_array_equal(got, expected)  # of heads that drop nothing


# The whole network.


def net_of(head: str = "note lstm", keys: int = KEYS, parts: int = 1, matches: int = 0, position: int = 2) -> TiedLSTM:
    own = {"note lstm": NoteLSTM, "tied nade": TiedNade}[head](keys, UNITS, HEAD_UNITS)
    columns = parts * keys * (2 if matches else 1) + matches + position
    lengths = tuple(range(1, matches + 1))
    return TiedLSTM(
        UNITS, columns, 0.5, head=own, layers=2, match_lengths=lengths, position_columns=position, keys=keys
    )


NETS = {
    "note lstm": net_of(),
    "tied nade": net_of("tied nade"),
    "note lstm with the longest match": net_of(matches=3),
    "note lstm that begins": net_of(keys=2, parts=2),
}


# Even a network that differs only in what its rows show takes as long to compile as any other.
LONG = ("note lstm with the longest match", "note lstm that begins")


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in NETS])
def net(request) -> TiedLSTM:
    return NETS[request.param]


def params_of(net: TiedLSTM, scale: float = 1.5) -> dict:
    made = jax.jit(network.init, static_argnums=(0, 2))(net, jax.random.key(0), WINDOW)
    return jax.tree.map(lambda leaf: scale * leaf, made)


def rows_of(net: TiedLSTM, *shape: int, seed: int = 0) -> jax.Array:
    rows = np.random.default_rng(seed).random((*shape, net.columns)) < 0.4
    return jnp.asarray(rows, jnp.float32)


def test_a_key_follows_from_the_past_and_the_keys_below_it_alone(net):
    """By gradients: of each logit, with respect to every number of every row."""
    params, rows = params_of(net), rows_of(net, WINDOW + 1)

    def logits(rows):
        outputs = network.apply(net, params, rows[None, :-1])
        return net.head.logits(params["head"], outputs, rows[None, 1:, : net.predicted])[0]

    gradients = np.asarray(jax.jit(jax.jacrev(logits))(rows))  # [T, P K, T + 1, C]
    keys = net.keys
    for row, column in np.ndindex(WINDOW, net.predicted):
        seen = gradients[row, column] != 0
        assert seen[: row + 1, : net.predicted].any() and not seen[row + 2 :].any()
        same_row = np.flatnonzero(seen[row + 1])
        assert (same_row < net.predicted).all() and (same_row % keys < column % keys).all()
        if column % keys:
            assert column % keys - 1 in same_row % keys
    assert (gradients[WINDOW - 1, 0, 0] != 0).any()  # the first row is still seen after the last


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.long)])
def test_row_by_row_the_network_gives_what_it_gives_for_windows(net, precision):
    net = net.clone(precision=precision)
    params, windows = params_of(net), rows_of(net, 3, WINDOW)
    expected = network.apply(net, params, windows)
    weights = net.prepare(params)
    states = net.start(weights, 3)
    for place in range(WINDOW):
        states = net.advance(weights, net.inputs(params, windows[:, place]), states)
        got = net.read(params, states[-1].h)
        np.testing.assert_allclose(got, expected[:, place], atol=1e-6 if precision == "float32" else 2e-2)
    np.testing.assert_allclose(net.hidden(params, windows), expected, atol=1e-6)
    assert expected.shape == (3, WINDOW, net.head.outputs(net.predicted))


def oracle(params: dict, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(h, c) after one step of one layer, float64."""
    kernel, recurrent, bias = (np.asarray(part, np.float64) for part in params)
    i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("head", ["note lstm", pytest.param("tied nade", marks=pytest.mark.long)])
def test_two_rows_are_those_of_the_equations_in_float64(head):
    """Every key by itself, its inputs written out, and the keys one after the other."""
    keys = 15  # further than an octave
    net = net_of(head, keys)
    params, rows = params_of(net), rows_of(net, 3)
    frames = np.asarray(rows, np.float64)[:, :keys]
    got = net.head.logits(params["head"], network.apply(net, params, rows[None, :2]), rows[None, 1:, :keys])[0]
    zero = np.zeros(UNITS)
    states = [[(zero, zero)] * 2 for _ in range(keys)]
    own = params["head"]
    for row in range(2):
        given = []
        for key in range(keys):
            near = [frames[row, key + far] if 0 <= key + far < keys else 0 for far in range(-12, 13)]
            classes = [sum(frames[row, one] for one in range(keys) if (one - key) % 12 == far) for far in range(12)]
            below = np.array([*near, *classes, key / keys, *np.asarray(rows[row, keys:])])
            for layer, name in enumerate(("lstm", "lstm_1")):
                states[key][layer] = oracle(params[name], below, *states[key][layer])
                below = states[key][layer][0]
            given.append(below)
        frame, along = frames[row + 1], [(np.zeros(HEAD_UNITS),) * 2] * 2
        for key in range(keys):
            if head == "note lstm":
                below = np.array([*given[key], frame[key - 1] if key else 0])
                for layer in range(2):
                    along[layer] = oracle(own[f"lstm_{layer}"], below, *along[layer])
                    below = along[layer][0]
                logit = below @ np.asarray(own["kernel"], np.float64)[:, 0] + own["bias"][0]
            else:
                bias, *hidden = given[key] @ np.asarray(own["kernel"], np.float64) + np.asarray(own["bias"])
                near = [frame[key - far] if key >= far else 0 for far in range(1, REACH + 1)]
                classes = [sum(frame[one] for one in range(key) if (key - one) % 12 == far) for far in range(OCTAVE)]
                into = np.array([*near, *classes]) @ np.asarray(own["in"], np.float64)
                logit = bias + sigmoid(np.array(hidden) + into) @ np.asarray(own["out"], np.float64)[:, 0]
            assert float(got[row, key]) == pytest.approx(float(logit), abs=2e-5)


@pytest.mark.parametrize("semitones", [1, 7, 12])
def test_transposed_music_is_seen_by_the_transposed_keys_except_for_their_numbers(semitones):
    keys, number = 40, 2 * (2 * REACH + 1) + OCTAVE
    frame = np.zeros((2, keys), np.float32)
    frame[:, 5:20] = np.random.default_rng(0).random((2, 15)) < 0.4
    columns = np.concatenate([frame.ravel(), [1, 0, 1]]).astype(np.float32)
    moved = np.concatenate([np.roll(frame, semitones, axis=1).ravel(), [1, 0, 1]]).astype(np.float32)
    seen, of_moved = (np.asarray(biaxial.of_keys(jnp.asarray(one), 2 * keys, keys)) for one in (columns, moved))
    assert seen.shape == (keys, number + 1 + 3)
    rest = np.arange(seen.shape[1]) != number
    np.testing.assert_array_equal(of_moved[semitones:, rest], seen[:-semitones, rest])
    np.testing.assert_allclose(of_moved[:, number], np.arange(keys) / keys)


@pytest.mark.parametrize("matches", [0, 1])
def test_no_rows_are_no_rows_for_every_key(matches):
    """A window of one row is sampled from with none before it."""
    keys, columns = 30, 2 * 2 * 30 + 3
    seen = biaxial.of_keys(jnp.zeros((5, 1, columns)), 2 * keys, keys, matches)
    assert biaxial.of_keys(jnp.zeros((5, 0, columns)), 2 * keys, keys, matches).shape == (5, 0, *seen.shape[2:])


def test_all_keys_share_their_weights():
    """What a network has to learn does not grow with the keys; these are the numbers of BALSTM."""
    own = NoteLSTM(88, 200, 100)
    net = TiedLSTM(200, 92, head=own, layers=2, position_columns=4)
    count = network.count(jax.eval_shape(lambda: network.init(net, jax.random.key(0), 3)))
    seen, time, note = 25 + 12 + 1 + 4, 200, 100
    layers = [(seen, time), (time, time), (time + 1, note), (note, note)]
    assert count == sum(4 * units * (below + units + 1) for below, units in layers) + note + 1
    smaller = net.clone(columns=34, keys=30, head=NoteLSTM(30, 200, 100))
    assert network.count(jax.eval_shape(lambda: network.init(smaller, jax.random.key(0), 3))) == count


def test_sampling_that_is_resumed_is_sampling_at_once(net):
    params, past = params_of(net), Past(rows_of(net, 3, WINDOW))
    keys, draw = sample.output_keys(5, range(3)), HeadDraw(jnp.zeros(net.columns), jnp.float32(1))
    draw = PlacedDraw(MatchedDraw(draw) if net.match_lengths else draw, jnp.int32(4))
    limits = Limits(jnp.zeros(net.columns), jnp.ones(net.columns))
    at_once = sample.sample(net, params, past, keys, limits, draw, 8, decode="carry")
    first = sample.sample(net, params, past, keys, limits, draw, 3, decode="carry")
    rest = sample.sample(net, params, first.past, keys, limits, draw, 5, 3, decode="carry")
    np.testing.assert_array_equal(np.concatenate([first.rows, rest.rows], axis=1), at_once.rows)
    assert 0.05 < np.asarray(at_once.rows)[..., : net.predicted].mean() < 0.95
    staggered, window = (
        sample.sample(net, params, past, keys, limits, draw, 8, decode=decode).rows
        for decode in ("staggered", "window")
    )
    np.testing.assert_array_equal(staggered, window)


@pytest.mark.parametrize("head", ["note lstm", pytest.param("tied nade", marks=pytest.mark.long)])
def test_pieces_side_by_side_score_as_each_alone(head):
    net = NETS[head]
    lengths = [9, 2, 14, 5]
    offsets = np.cumsum([0, *lengths])
    rows = np.asarray(rows_of(net, offsets[-1]), np.uint8)
    params = params_of(net)
    streams = jax.tree.map(jnp.asarray, sequences.streams(rows, offsets, np.ones(4, bool)))
    score = jax.jit(sequences.score, static_argnums=0)(net, params, streams)
    assert float(jnp.sum(streams.weight)) == sum(lengths) - len(lengths)
    longest, total = max(lengths), 0.0
    log_probs = jax.jit(whole_windows.log_probs, static_argnums=0)
    for first, end in itertools.pairwise(offsets.tolist()):
        piece = np.pad(rows[first:end], ((0, longest - (end - first)), (0, 0)))  # behind, where nothing sees it
        total -= float(log_probs(net, params, jnp.asarray(piece[None], jnp.float32))[0, : end - first - 1].sum())
    assert float(jnp.sum(score.nats * streams.weight)) == pytest.approx(total, rel=1e-5)


def test_sampled_frames_are_placed_in_bars_as_those_of_data_are():
    net = TiedLSTM(UNITS, 91, head=TiedNade(88, UNITS, HEAD_UNITS), position_columns=3)
    params = params_of(net)
    frames = (np.random.default_rng(0).random((3, 11, 88)) < 0.1).astype(np.uint8)
    pieces = [piano_roll.with_positions(one, np.array([0, 11]), 6) for one in frames]
    draw = PlacedDraw(HeadDraw(jnp.zeros(91), jnp.float32(1)), jnp.int32(6))
    limits = Limits(jnp.zeros(91), jnp.ones(91))
    past, keys = Past(jnp.asarray(np.stack(pieces), jnp.float32)), sample.output_keys(5, range(3))
    rows = sample.sample(net, params, past, keys, limits, draw, 20, decode="carry").rows
    for piece in np.concatenate([past.windows, rows], axis=1):
        np.testing.assert_array_equal(piece, piano_roll.with_positions(piece[:, :88], np.array([0, 31]), 6))


@pytest.mark.parametrize("frames", [20, 40, 200])
def test_bars_go_on_from_the_silence_before_a_piece_to_what_follows_a_primer(frames):
    """Windows of 64 rows, of which pieces of 20 and 40 frames leave some, or all, to silence."""
    config = config_files.load("balstm")
    config.data.per_beat = 4
    own = encoding_lib.of(config)
    roll = np.zeros((frames, 88), np.uint8)
    roll[:, 40] = 1
    given = own.primer_of(piano_roll.notes_of(roll, per_beat=4))
    assert len(given) == max(64, min(frames, 64)) and places_of(given)[-1] == (frames - 1) % 16
    assert given[:, 40].sum() == min(frames, 64)
    rows = piano_roll.with_positions(roll, np.array([0, frames]), 16)
    room, augment = (lambda rows: (0, 0)), FrameAugment(np.float32(0))
    learned = sequences.windows(rows, np.array([0, frames]), np.ones(1, bool), 64, 0, room, augment)
    primers = own.primers(learned, np.arange(len(learned.starts)))
    assert primers.shape == (len(learned.starts), 64, 92) and primers.dtype == np.float32
    for primer in primers:
        assert places_of(primer)[-1] == 15
        assert (primer[:, 40] == 1).sum() <= frames // 2
    for rows in (given, *primers):
        assert (np.diff(places_of(rows)) % 16 == 1).all()
        assert (rows[:, 40] == np.maximum.accumulate(rows[:, 40])).all() and not np.delete(rows[:, :88], 40, 1).any()


def places_of(rows: np.ndarray) -> np.ndarray:
    """The place in its bar of 16 frames of each row [T, C]."""
    return rows[:, -4:].astype(int) @ [1, 2, 4, 8]


# Training.


DROPS = net_of().clone(layer_dropout=0.25, head=NoteLSTM(KEYS, UNITS, HEAD_UNITS, dropout=0.5, layer_dropout=0.25))


def test_a_batch_in_parts_gives_the_numbers_of_the_whole_where_network_and_head_drop():
    pieces = np.array([0, 9, 20, 31, 40])
    rows = np.asarray(rows_of(DROPS, 40), np.uint8)
    room, augment = (lambda rows: (0, 0)), FrameAugment(np.float32(0), position_columns=2, keys=KEYS)
    windows = sequences.windows(rows, pieces, np.ones(4, bool), WINDOW, 0, room, augment)
    windows = jax.tree.map(jnp.asarray, windows)
    optimizer, keys = optimizer_lib.adam(1e-3), step_lib.keys(3)
    found = []
    for accumulate in (1, 2):
        epoch = step_lib.make_epoch(DROPS, optimizer, 4, WINDOW, accumulate=accumulate)
        found.append(epoch(step_lib.begin(optimizer, params_of(DROPS)), windows, keys, jnp.int32(0)))
    for got, expected in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_the_loss_of_a_step_is_what_the_head_says_in_training():
    rows, key = rows_of(DROPS, 4, WINDOW + 1), jax.random.key(5)
    inputs, targets, weight = rows[:, :-1], rows[:, 1:], jnp.ones((4, WINDOW))
    optimizer = optimizer_lib.adam(1e-3)
    state = step_lib.begin(optimizer, params_of(DROPS))._replace(step=jnp.int32(7))
    train_step = jax.jit(step_lib.train_step, static_argnums=(0, 1))
    _, metrics = train_step(DROPS, optimizer, state, inputs, targets, weight, key)
    of_step = jax.random.fold_in(key, 7)
    outputs = network.apply(DROPS, state.params, inputs, of_step)
    of_head = state.params["head"], outputs, targets[..., : DROPS.predicted]
    losses, _ = DROPS.head.training(*of_head, jax.random.fold_in(of_step, step_lib.HEAD), None, (0, 1))
    assert float(metrics.loss) == pytest.approx(float(losses.sum()), rel=1e-5)
    assert abs(float(losses.sum() - DROPS.head.loss(*of_head).sum())) > 0.05


@pytest.mark.long
def test_a_share_of_a_batch_is_dropped_in_the_note_axis_as_in_the_whole_batch():
    head = NoteLSTM(KEYS, UNITS, HEAD_UNITS, dropout=0.5, layer_dropout=0.25)
    params = head.init(jax.random.key(0), KEYS)
    outputs = jax.random.normal(jax.random.key(1), (6, 3, head.outputs(KEYS)))
    targets = jnp.asarray(np.random.default_rng(0).random((6, 3, KEYS)) < 0.5, jnp.float32)
    whole, _ = head.training(params, outputs, targets, jax.random.key(2), None, (0, 1))
    of_part = jax.jit(lambda k, *part: head.training(params, *part, jax.random.key(2), None, (k, 3))[0])
    parts = [of_part(k, outputs[2 * k : 2 * k + 2], targets[2 * k : 2 * k + 2]) for k in range(3)]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-5)
    unsaid, _ = head.training(params, outputs[2:4], targets[2:4], jax.random.key(2), None, (0, 1))
    assert np.abs(unsaid - whole[2:4]).max() > 1e-3
    other, _ = head.training(params, outputs, targets, jax.random.key(3), None, (0, 1))
    assert np.abs(other - whole).max() > 1e-3
    every, _ = head.training(params, outputs, targets, jax.random.key(2), jnp.float32(0), (0, 1))
    without = NoteLSTM(KEYS, UNITS, HEAD_UNITS, dropout=0.0, layer_dropout=0.25)
    np.testing.assert_allclose(
        every, without.training(params, outputs, targets, jax.random.key(2), None, (0, 1))[0], rtol=1e-5
    )


@pytest.mark.parametrize("head", ["note lstm", pytest.param("tied nade", marks=pytest.mark.long)])
def test_saving_less_changes_no_gradient(head):
    net = NETS[head]
    params, rows = params_of(net), rows_of(net, 2, WINDOW + 1)

    def gradient(net):
        def loss(params):
            outputs = network.apply(net, params, rows[:, :-1])
            return jnp.sum(net.head.loss(params["head"], outputs, rows[:, 1:, : net.predicted]))

        return jax.jit(jax.grad(loss))(params)

    less = net.clone(remat_rows=2)
    if isinstance(net.head, NoteLSTM):
        less = less.clone(head=NoteLSTM(KEYS, UNITS, HEAD_UNITS, remat_keys=2))
    for got, expected in zip(jax.tree.leaves(gradient(less)), jax.tree.leaves(gradient(net)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_a_layer_along_the_keys_is_the_engine_of_the_time_axis():
    """Its first key sees a state of zeros: nothing comes from below the lowest key."""
    head, _ = HEADS["note lstm"]
    params = head.init(jax.random.key(0), KEYS)
    outputs = jax.random.normal(jax.random.key(1), (head.outputs(KEYS),))
    first = jnp.concatenate([outputs[:UNITS], jnp.zeros(1)])[None]
    state = lstm.zero_state(1, HEAD_UNITS)
    for name in ("lstm_0", "lstm_1"):
        first = lstm.step(lstm.Params(*params[name]), first, state).h
    logit = (first @ params["kernel"] + params["bias"])[0, 0]
    for frame in FRAMES:
        assert float(head.logits(params, outputs, jnp.asarray(frame))[0]) == pytest.approx(float(logit), abs=1e-6)
