"""Sampling beside a loop that predicts, adds noise and clamps one note after another."""

from __future__ import annotations

import dataclasses
import functools
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicjax import cores
from musicjax.model import network, sample, sample_groups
from musicjax.model.categorical import Categorical
from musicjax.model.network import MusicLSTM
from musicjax.model.sample import DECODES, HeadDraw, Limits, Past

# Mostly three outputs of twelve notes: each other number is another program to compile.
WINDOW, COLUMNS, NOTES, OUTPUTS = 6, 3, 12, 3
NET = MusicLSTM(16, COLUMNS)
LIMITS = Limits(jnp.asarray([-0.3, -0.2, 0.0], jnp.float32), jnp.asarray([0.4, 0.3, 0.5], jnp.float32))
WIDE = Limits(jnp.full(COLUMNS, -100.0), jnp.full(COLUMNS, 100.0))
DEVIATION = jnp.asarray([0.2, 0.1, 0.4], jnp.float32)


@pytest.fixture(scope="module")
def params():
    return network.init(NET, jax.random.key(0), WINDOW)


def primers_of(count: int) -> jax.Array:
    """Primer k is the same whatever the count."""
    return jax.random.uniform(jax.random.key(1), (24, WINDOW, COLUMNS), minval=-0.3, maxval=0.5)[:count]


def draw(temperature: float = 1.0) -> HeadDraw:
    return HeadDraw(DEVIATION, jnp.float32(temperature))


def sampled(params, count=OUTPUTS, *, notes=NOTES, limits=LIMITS, temperature=1.0, net=NET, decode="staggered"):
    keys = sample.output_keys(7, range(count))
    return sample.sample(net, params, Past(primers_of(count)), keys, limits, draw(temperature), notes, decode=decode)


@functools.cache
def predictions(net):
    """A function of (params, rows [K, N, C]) -> what follows each row, given those before it, [K, N, C]."""
    return jax.jit(functools.partial(network.apply, dataclasses.replace(net, every_position=True)))


def note_by_note(net, params, limits, temperature, whole_past=False, seed=7):
    """(rows [K, L, C], how many values were clamped [K], how near a value came to a limit), all in a plain loop.

    Every note is predicted from the WINDOW rows before it or, with whole_past, from all there are.
    """
    low, high, deviation = (np.asarray(part) for part in (*limits, DEVIATION))
    rows = np.zeros((OUTPUTS, WINDOW + NOTES, COLUMNS), np.float32)
    rows[:, :WINDOW] = primers_of(OUTPUTS)
    clamped, margin = np.zeros(OUTPUTS, int), np.inf
    for note in range(NOTES):
        first = 0 if whole_past else note
        seen = np.zeros_like(rows)  # rows after the last one are seen by nothing that is read
        seen[:, : WINDOW + note - first] = rows[:, first : WINDOW + note]
        means = np.asarray(predictions(net)(params, seen))[:, WINDOW + note - first - 1]
        for k, mean in enumerate(means):
            noise_key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), k), sample.NOISE)
            key = jax.random.fold_in(noise_key, note)
            row = mean + np.float32(temperature) * deviation * np.asarray(jax.random.normal(key, mean.shape))
            margin = min(margin, np.abs(row - low).min(), np.abs(row - high).min())
            clamped[k] += ((row < low) | (row > high)).sum()
            rows[k, WINDOW + note] = np.clip(row, low, high)
    return rows[:, WINDOW:], clamped, margin


@pytest.mark.parametrize("decode", DECODES)
@pytest.mark.parametrize(
    "layers, temperature",
    [pytest.param(1, 0.0, marks=pytest.mark.long), pytest.param(1, 0.7, marks=pytest.mark.long), (2, 0.7)],
)
def test_sampling_equals_sampling_note_by_note(layers, temperature, decode):
    net = MusicLSTM(16, COLUMNS, layers=layers)
    params = network.init(net, jax.random.key(2), WINDOW)
    rows, clamped, margin = note_by_note(net, params, LIMITS, temperature, decode == "carry")
    got = sampled(params, temperature=temperature, net=net, decode=decode)
    assert got.rows.shape == (OUTPUTS, NOTES, COLUMNS)
    np.testing.assert_allclose(got.rows, rows, rtol=1e-5, atol=1e-5)
    assert margin > 1e-5, "a value this near to a limit may be clamped here and not there"
    assert got.clamped.sum(axis=1).tolist() == clamped.tolist()
    if temperature:
        assert clamped.all()


@pytest.mark.parametrize("decode", DECODES)
def test_in_bfloat16_sampling_stays_near_sampling_note_by_note(params, decode):
    net = MusicLSTM(16, COLUMNS, precision="bfloat16")
    rows, _, _ = note_by_note(net, params, WIDE, 0.7, decode == "carry")
    got = sampled(params, limits=WIDE, temperature=0.7, net=net, decode=decode)
    # Equal sums in another order may round to another bfloat16; by a hundredth of what is predicted at most.
    np.testing.assert_allclose(got.rows, rows, atol=1e-2 * np.abs(rows).max())


def test_carrying_the_state_differs_from_seeing_a_window(params):
    carried, exact = (
        np.asarray(sampled(params, temperature=0.0, decode=decode).rows) for decode in ("carry", "window")
    )
    assert np.abs(carried[:, 0] - exact[:, 0]).max() < 1e-6, "the first note has the primer as its window in both"
    assert np.abs(carried[:, 1:] - exact[:, 1:]).max() > 1e-4


def test_the_windows_to_go_on_from_end_with_the_rows(params):
    short, long = sampled(params, notes=WINDOW - 2), sampled(params)
    np.testing.assert_allclose(long.past.windows, long.rows[:, -WINDOW:], atol=1e-6)
    np.testing.assert_allclose(short.past.windows[:, 2:], short.rows, atol=1e-6)
    np.testing.assert_array_equal(short.past.windows[:, :2], primers_of(OUTPUTS)[:, -2:])


def test_the_rows_returned_are_to_the_bit_those_that_were_fed_back(params):
    got = sampled(params)
    np.testing.assert_array_equal(got.past.windows, got.rows[:, -WINDOW:])


def assert_the_same_to_the_bit_for_any_count(decode, precision, most, counts):
    # Sizes at which a product of several outputs' rows is not to the bit that of one output's.
    net = MusicLSTM(128, COLUMNS, precision=precision)
    params = network.init(net, jax.random.key(0), WINDOW)
    expected = sampled(params, most, net=net, decode=decode)
    for count in counts:
        fewer = sampled(params, count, net=net, decode=decode)
        assert fewer.rows.shape == (count, NOTES, COLUMNS) and fewer.clamped.shape == (count, NOTES)
        np.testing.assert_array_equal(fewer.rows, expected.rows[:count])
        np.testing.assert_array_equal(fewer.clamped, expected.clamped[:count])


@pytest.mark.parametrize(
    ("decode", "precision"),
    [pytest.param("staggered", "bfloat16", marks=pytest.mark.long), ("staggered", "float32")],
)
def test_an_output_is_the_same_to_the_bit_however_many_are_asked_for(decode, precision):
    assert_the_same_to_the_bit_for_any_count(decode, precision, 9, (1, 4))


def test_the_loop_over_notes_is_compiled_once_for_any_number_of_groups(params):
    before = sample._sample_group._cache_size()
    for count in (8, 9, 24):
        sampled(params, count, notes=5, decode="carry")
    assert sample._sample_group._cache_size() == before + 1


@pytest.mark.long
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("decode", DECODES)
def test_an_output_is_the_same_to_the_bit_for_every_way_to_sample_and_many_counts(decode, precision):
    assert_the_same_to_the_bit_for_any_count(decode, precision, 20, (1, 4, 8, 9))


@pytest.mark.long
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_of_the_papers_network_groups_of_several_sizes_give_the_bits_of_one_output_alone(precision, monkeypatch):
    """The claim is that of the check, so the check is not asked."""
    monkeypatch.setattr(sample_groups, "gives_same_bits", lambda net, window, group: True)
    net, window, notes = MusicLSTM(512, COLUMNS, precision=precision), 50, 6
    params = network.init(net, jax.random.key(0), window)
    primers = jax.random.uniform(jax.random.key(1), (19, window, COLUMNS))

    def rows_of(count: int) -> np.ndarray:
        keys = sample.output_keys(7, range(count))
        return np.asarray(sample.sample(net, params, Past(primers[:count]), keys, LIMITS, draw(), notes).rows)

    expected = rows_of(19)
    for count in (1, 2, 3, 16, 17):
        np.testing.assert_array_equal(rows_of(count), expected[:count])


def test_groups_are_as_even_as_they_can_be_and_of_one_where_others_would_change_bits(monkeypatch):
    monkeypatch.setattr(sample_groups, "gives_same_bits", lambda net, window, group: True)
    found = {outputs: sample_groups.size(NET, "staggered", WINDOW, outputs) for outputs in (1, 2, 16, 17, 32, 33, 64)}
    assert found == {1: 1, 2: 2, 16: 16, 17: 9, 32: 16, 33: 11, 64: 16}
    assert {sample_groups.size(NET, "carry", WINDOW, outputs) for outputs in (1, 64)} == {8}
    monkeypatch.setattr(sample_groups, "gives_same_bits", lambda net, window, group: False)
    assert sample_groups.size(NET, "staggered", WINDOW, 64) == 1


def test_groups_that_run_side_by_side_have_the_bits_that_they_have_one_after_the_other(params, monkeypatch):
    found = []
    for number in (1, 3):
        monkeypatch.setattr(cores, "usable", lambda number=number: number)
        found.append(sampled(params, 3 * sample_groups.OTHERS, decode="carry").rows)
    np.testing.assert_array_equal(*found)


def test_on_a_cpu_there_are_as_many_groups_at_once_as_cores(monkeypatch):
    """Each of the four groups waits for another that is computed at the same time."""
    monkeypatch.setattr(cores, "usable", lambda: 2)
    two = threading.Barrier(2)
    monkeypatch.setattr(jax, "block_until_ready", lambda started: (two.wait(timeout=60), started)[1])
    assert sample_groups.side_by_side(lambda group: 10 * group, 4) == [0, 10, 20, 30]


def test_after_a_group_has_failed_no_other_is_started(monkeypatch):
    monkeypatch.setattr(cores, "usable", lambda: 2)
    started = []

    def start(group):
        started.append(group)
        if group < 2:
            raise RuntimeError("out of memory")
        time.sleep(0.2)
        return group

    with pytest.raises(RuntimeError, match="out of memory"):
        sample_groups.side_by_side(start, 50)
    assert len(started) < 50


def test_sums_in_another_order_are_found(monkeypatch):
    """A stand-in sums the products of a group of three in reverse."""
    as_it_is, net = sample_groups.read, MusicLSTM(16, COLUMNS)

    def read(net, params, last):
        dense = params["dense"]
        backwards = {"kernel": dense["kernel"][::-1], "bias": dense["bias"]}
        return (
            as_it_is(net, params | {"dense": backwards}, last[:, ::-1])
            if len(last) == 3
            else as_it_is(net, params, last)
        )

    monkeypatch.setattr(sample_groups, "read", read)
    monkeypatch.setattr(sample_groups, "_step", sample_groups._step.__wrapped__)
    gives_same_bits = sample_groups.gives_same_bits.__wrapped__
    assert gives_same_bits(net, 64, 2) and not gives_same_bits(net, 64, 3)
    monkeypatch.setattr(sample_groups, "read", as_it_is)
    advance = MusicLSTM.advance

    def backwards(self, weights, seen, states):
        """Multiplies the rows of a group of three, of 64 states each, in another order."""
        if len(seen) != 3 * 64:
            return advance(self, weights, seen, states)
        order = np.r_[1 : len(states[0].h[0]), 0]
        turned = [one._replace(product_kernel=one.product_kernel[order]) for one in weights]
        return advance(self, turned, seen, [state._replace(h=state.h[:, order]) for state in states])

    monkeypatch.setattr(MusicLSTM, "advance", backwards)
    assert gives_same_bits(net, 64, 2) and not gives_same_bits(net, 64, 3)


def test_outputs_of_one_primer_differ_and_a_seed_gives_them_again(params):
    primers = jnp.repeat(primers_of(1), OUTPUTS, axis=0)

    def rows_of(seed, temperature=1.0):
        keys = sample.output_keys(seed, range(OUTPUTS))
        return np.asarray(sample.sample(NET, params, Past(primers), keys, LIMITS, draw(temperature), NOTES).rows)

    first = rows_of(3)
    np.testing.assert_array_equal(first, rows_of(3))
    assert len(np.unique(first.reshape(OUTPUTS, -1), axis=0)) == OUTPUTS
    assert (first != rows_of(4)).any(axis=(1, 2)).all()
    # Without noise one primer has one continuation, whatever the key.
    calm = rows_of(3, temperature=0.0)
    np.testing.assert_array_equal(calm, np.repeat(calm[:1], OUTPUTS, axis=0))
    np.testing.assert_array_equal(calm, rows_of(4, temperature=0.0))


def test_keys_do_not_depend_on_their_count():
    few, many = (jax.random.key_data(sample.output_keys(5, range(count))) for count in (3, 20))
    np.testing.assert_array_equal(few, many[:3])
    assert len(np.unique(many, axis=0)) == 20


# Nine outputs are two groups where a group has several.
@pytest.mark.parametrize(("decode", "outputs"), [("staggered", OUTPUTS), ("window", OUTPUTS), ("carry", 9)])
def test_going_on_from_the_returned_past_equals_one_longer_call(params, decode, outputs):
    whole = sampled(params, outputs, decode=decode)
    keys, past, first_note, parts, clamped = sample.output_keys(7, range(outputs)), Past(primers_of(outputs)), 0, [], []
    for notes in (4, 4, 4):
        part = sample.sample(NET, params, past, keys, LIMITS, draw(), notes, first_note, decode)
        parts.append(part.rows)
        clamped.append(part.clamped)
        past, first_note = part.past, first_note + notes
    # Loops of another length are another program, whose last bits may differ.
    np.testing.assert_allclose(jnp.concatenate(parts, axis=1), whole.rows, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(past.windows, whole.past.windows, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(jnp.concatenate(clamped, axis=1), whole.clamped)


def test_staggered_states_begun_anew_from_the_windows_give_the_same_to_the_bit(params):
    whole, keys = sampled(params), sample.output_keys(7, range(OUTPUTS))
    first = sample.sample(NET, params, Past(primers_of(OUTPUTS)), keys, LIMITS, draw(), 4)
    second = sample.sample(NET, params, Past(first.past.windows), keys, LIMITS, draw(), NOTES, 4)
    np.testing.assert_array_equal(second.rows[:, : NOTES - 4], whole.rows[:, 4:])


@pytest.mark.parametrize("head", [None, Categorical((3, 5), (), 4)])
def test_noise_is_the_same_however_much_of_it_is_drawn_at_once(monkeypatch, head):
    net = NET if head is None else MusicLSTM(16, 2, head=head, sizes=head.sizes, embedding=4)
    keys = sample.output_keys(7, range(OUTPUTS))
    whole = sample._noise(net, keys, np.int32(3), NOTES)
    assert whole.shape == (NOTES, OUTPUTS, COLUMNS if head is None else 8)
    for notes_at_once in (0.5, 2, 5):
        monkeypatch.setattr(sample, "NOISE_AT_ONCE", int(notes_at_once * whole[0].size))
        np.testing.assert_array_equal(sample._noise(net, keys, np.int32(3), NOTES), whole)
    assert sample._noise(net, keys, np.int32(3), 0).shape == (0, *whole.shape[1:])


def test_another_first_note_draws_other_noise(params):
    keys, past = sample.output_keys(7, range(OUTPUTS)), Past(primers_of(OUTPUTS))
    first, later = (sample.sample(NET, params, past, keys, WIDE, draw(), NOTES, at).rows[:, 0] for at in (0, 1))
    assert (first != later).all()


def test_rows_lie_within_the_limits(params):
    rows = np.asarray(sampled(params, temperature=3.0).rows)
    assert (rows >= LIMITS.low).all() and (rows <= LIMITS.high).all()
    assert (rows == LIMITS.low).any() and (rows == LIMITS.high).any()
    assert not sampled(params, limits=WIDE).clamped.any()


def test_clamped_counts_values_not_rows(params):
    nothing_fits = Limits(jnp.full(COLUMNS, 5.0), jnp.full(COLUMNS, 6.0))
    got = sampled(params, limits=nothing_fits)
    assert got.clamped.tolist() == [[COLUMNS] * NOTES] * OUTPUTS
    assert (got.rows == 5).all()


def test_temperature_scales_the_noise_of_each_column(params):
    means = np.asarray(network.apply(NET, params, primers_of(1)))[0]
    primers = jnp.repeat(primers_of(1), 2000, axis=0)
    keys = sample.output_keys(0, range(2000))
    noise = {
        temperature: np.asarray(sample.sample(NET, params, Past(primers), keys, WIDE, draw(temperature), 1).rows)[:, 0]
        - means
        for temperature in (0.0, 0.5, 1.0)
    }
    np.testing.assert_allclose(noise[0.0], 0, atol=1e-6)
    np.testing.assert_allclose(noise[1.0], 2 * noise[0.5], atol=1e-5)
    # 2,000 draws: five standard errors are 8 % of a deviation, and 0.11 deviations of a mean.
    np.testing.assert_allclose(noise[1.0].std(axis=0), DEVIATION, rtol=0.08)
    np.testing.assert_allclose(noise[1.0].mean(axis=0) / DEVIATION, 0, atol=0.11)
    between = np.corrcoef(noise[1.0].T) - np.eye(COLUMNS)
    assert np.abs(between).max() < 0.11
