"""The echo of rows: found in whole pieces, found again note by note, and never looking ahead."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax import config as config_lib
from musicjax.model import network, running_match, sample
from musicjax.model.heads import Bernoulli
from musicjax.model.network import MusicLSTM
from musicjax.music import longest_match, note_bins, piano_roll
from musicjax.store import checkpoint
from musicjax.training import sequences

LENGTHS = jnp.asarray(longest_match.LENGTHS, jnp.int32)


def _rows(codes, seed: int = 0) -> np.ndarray:
    """Rows uint8 [N, C] whose (interval, pitch) are the codes, the rest at random."""
    rng, codes = np.random.default_rng(seed), np.asarray(codes)
    rows = np.zeros((len(codes), len(note_bins.COLUMNS)), np.uint8)
    rows[:, 0], rows[:, 2] = codes % 3, 60 + codes // 3
    rows[:, 3], rows[:, 4] = rng.integers(0, 29, len(codes)), rng.integers(0, 16, len(codes))
    return rows


def _match_by_hand(rows: np.ndarray, now: int) -> list[int]:
    """Of one row, by comparing everything with everything."""
    same = [tuple(row) for row in rows[:, [0, 2]]]
    best, at = 0, -1
    for end in range(now):
        run = 0
        while end - run >= 0 and same[end - run] == same[now - run]:
            run += 1
        if run >= best and run:
            best, at = run, end
    if not best:
        return [0] * 5
    length = sum(best >= least for least in longest_match.LENGTHS)
    return [*(int(value) for value in rows[at + 1, [0, 2, 3, 4]]), length]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(codes=st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_matches_are_those_found_by_comparing_everything(codes):
    rows = _rows(codes)
    assert note_bins.matches(rows).tolist() == [_match_by_hand(rows, now) for now in range(len(rows))]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(codes=st.lists(st.integers(0, 4), min_size=2, max_size=40), cut=st.integers(1, 39))
def test_a_match_knows_only_what_came_before(codes, cut):
    rows = _rows(codes)
    whole, part = note_bins.matches(rows), note_bins.matches(rows[:cut])
    np.testing.assert_array_equal(whole[:cut], part)


def test_a_section_that_comes_again_is_matched_note_for_note():
    section = np.random.default_rng(1).integers(0, 60, 50)
    rows = _rows(np.concatenate([section, [61, 62, 63], section]))
    rows[53:] = rows[:50]
    found = note_bins.matches(rows)
    # After two of its notes the match is the note that follows.
    np.testing.assert_array_equal(found[55:-1, :4], rows[56:][:, [0, 2, 3, 4]])
    assert found[-1, 4] == sum(least <= 50 for least in longest_match.LENGTHS)


def _heard(rows: np.ndarray, longest=None) -> np.ndarray:
    """The echoes that the sampling scan finds, [N, 5]."""

    def hear(heard, row):
        told, heard = running_match.hear_bins(row[None], heard, LENGTHS, longest)
        return heard, told[0]

    rows = jnp.asarray(rows, jnp.float32).at[:, running_match.FIRST :].set(0)
    return np.asarray(jax.jit(lambda rows: jax.lax.scan(hear, running_match.of_bins(1), rows)[1])(rows))


@pytest.mark.parametrize("seed", range(3))
def test_note_by_note_the_echo_is_the_same_as_in_whole_pieces(seed):
    rows = _rows(np.random.default_rng(seed).integers(0, 5, 300), seed)
    found = _heard(rows)
    np.testing.assert_array_equal(found[:, running_match.FIRST :], note_bins.matches(rows))
    np.testing.assert_array_equal(found[:, : running_match.FIRST], rows[:, : running_match.FIRST])


def test_both_remember_as_much(monkeypatch):
    assert running_match.REMEMBERED == longest_match.REACH
    assert note_bins.COLUMNS[running_match.FIRST :] == note_bins.MATCH
    assert [note_bins.COLUMNS[column] for column in running_match.BINS] == list(note_bins.PREDICTED)
    monkeypatch.setattr(longest_match, "REACH", 20)
    monkeypatch.setattr(running_match, "REMEMBERED", 20)
    rows = _rows(np.random.default_rng(9).integers(0, 3, 200))
    rows[0] = _rows([59])[0]
    rows[100] = rows[0]
    found = note_bins.matches(rows)
    assert found[100].tolist() == [0] * 5, "what was longer ago is forgotten"
    np.testing.assert_array_equal(_heard(rows)[:, running_match.FIRST :], found)


def test_of_longer_runs_nothing_is_told():
    rows = _rows([1, 2, 3, 4, 5, 1, 2, 3, 4, 5])
    all_of_it, some = _heard(rows), _heard(rows, jnp.int32([2]))
    assert (all_of_it[5:9, -1] > 0).all()
    np.testing.assert_array_equal(some[:7], all_of_it[:7])
    assert (some[7:, running_match.FIRST :] == 0).all()


# Of frames.


def _frames(count: int, seed: int = 0, keys: int = 88) -> np.ndarray:
    """uint8 [count, keys] of five different frames."""
    rng = np.random.default_rng(seed)
    return (rng.random((5, keys)) < 0.05).astype(np.uint8)[rng.integers(0, 5, count)]


def _frames_by_hand(frames: np.ndarray) -> np.ndarray:
    rows = []
    for now in range(len(frames)):
        differs = [
            [k > end or (frames[end - k] != frames[now - k]).any() for k in range(end + 2)] for end in range(now)
        ]
        runs = [row.index(True) for row in differs]
        run = max(runs, default=0)
        followed = frames[max(end for end in range(now) if runs[end] == run) + 1] if run else np.zeros_like(frames[0])
        rows.append(np.concatenate([frames[now], followed, [run >= least for least in longest_match.LENGTHS]]))
    return np.array(rows)


@pytest.mark.parametrize("seed", range(3))
def test_matches_of_frames_are_those_found_by_comparing_everything_in_their_own_piece(seed):
    frames = _frames(70, seed)
    rows = piano_roll.with_matches(frames, np.array([0, 40, 40, 70]))
    np.testing.assert_array_equal(rows[:40], _frames_by_hand(frames[:40]))
    np.testing.assert_array_equal(rows[40:], _frames_by_hand(frames[40:]))


@pytest.mark.parametrize("keys", [88, 176])
def test_frame_by_frame_the_echo_is_the_same_as_in_whole_pieces(keys):
    frames = _frames(200, 4, keys)

    def hear(heard, frame):
        told, heard = running_match.hear_frames(frame[None], heard, longest_match.LENGTHS)
        return heard, told[0]

    found = jax.lax.scan(hear, running_match.of_frames(1, keys), jnp.asarray(frames, jnp.float32))[1]
    np.testing.assert_array_equal(found, piano_roll.with_matches(frames, np.array([0, 200])))
    assert found.shape[1] == 2 * keys + len(longest_match.LENGTHS)


def test_the_columns_of_frames_with_an_echo_are_as_many_as_the_config_says():
    config = config_lib.load("frames_nade_echo")
    net = checkpoint.network_of(config)
    assert net.columns == config_lib.columns(config) == 2 * 88 + len(longest_match.LENGTHS) and net.predicted == 88
    config.data.onsets = True
    assert checkpoint.network_of(config).predicted == 176
    config.data.echo = 0.0
    assert checkpoint.network_of(config).predicted == config_lib.columns(config) == 176


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_training_windows_of_frames_move_with_their_echo_and_so_many_keep_it(share):
    frames = _frames(64)
    frames[:, [0, 1, 2, 85, 86, 87]] = 0
    rows = piano_roll.with_matches(frames, np.array([0, 64]))
    found = sequences.windows(rows, np.array([0, 64]), np.array([True]), 16, 3, echo=share)
    assert sequences.kinds(found) == 3
    draws = np.stack([np.full(400, 0.5), np.repeat([0.0, 0.999], 200), (np.arange(400) + 0.5) / 400], axis=1)
    inputs, targets, _ = sequences.gather(found, jnp.full(400, 2), 16, jnp.asarray(draws, jnp.float32))
    kept = np.asarray(inputs)[:, :, 88:].any(axis=(1, 2))
    assert kept.mean() == share
    for window, keys in ((inputs[0], -3), (inputs[399], 3)):
        own = np.roll(rows[32:48, :88], keys, axis=1)
        np.testing.assert_array_equal(window[:, :88], own)
    if share == 1.0:
        np.testing.assert_array_equal(inputs[0][:, 88:176], np.roll(rows[32:48, 88:176], -3, axis=1))
        np.testing.assert_array_equal(inputs[0][:, 176:], rows[32:48, 176:])
    assert targets.shape == inputs.shape


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_sampled_frames_are_told_the_echo_of_the_piece_that_they_become(temperature):
    net = MusicLSTM(8, 185, head=Bernoulli(), every=True, echo=longest_match.LENGTHS)
    params = network.init(net, jax.random.key(1), 20)
    params["dense"]["bias"] = jnp.where(jnp.arange(88) < 3, 0.0, -50.0)  # few frames are possible, so they come again
    pieces = [piano_roll.with_matches(_frames(20, seed), np.array([0, 20])) for seed in range(3)]
    past, keys = sample.Past(jnp.asarray(np.stack(pieces), jnp.float32)), sample.output_keys(5, 3)
    limits = sample.Limits(jnp.zeros(185), jnp.ones(185), jnp.ones(185))

    def more(past, rows, first=0, decode="carry"):
        return sample.sample(net, params, past, keys, limits, temperature, rows, first, decode)

    whole = more(past, 40)
    rows = np.concatenate([past.windows, whole.rows], axis=1)
    assert rows[:, 20:, 88:].any(), "nothing came twice"
    for piece in rows:
        np.testing.assert_array_equal(piece, piano_roll.with_matches(piece[:, :88].astype(np.uint8), np.array([0, 60])))
    # Silence before a piece begins is none of it.
    padded = sample.Past(jnp.pad(past.windows[:, :9], ((0, 0), (11, 0), (0, 0))))
    for piece in np.concatenate([padded.windows, more(padded, 30).rows], axis=1)[:, 11:]:
        np.testing.assert_array_equal(piece, piano_roll.with_matches(piece[:, :88].astype(np.uint8), np.array([0, 39])))
    first = more(past, 15)
    np.testing.assert_array_equal(np.concatenate([first.rows, more(first.past, 25, 15).rows], axis=1), whole.rows)
