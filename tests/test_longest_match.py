"""The longest match: found in whole pieces, found again row by row, and never looking ahead."""

from __future__ import annotations

import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax import config_files
from musicjax.encodings import encoding, event_memory, frame_draw
from musicjax.encodings.frame_draw import MatchedDraw
from musicjax.model import network, running_match, sample
from musicjax.model.heads import Bernoulli
from musicjax.model.network import MusicLSTM
from musicjax.model.sample import HeadDraw
from musicjax.music import longest_match, note_bins, note_rows, piano_roll
from musicjax.music.note_bins import DURATION, INSTRUMENT, INTERVAL, MATCH_LENGTH, MATCHED, PITCH, PREDICTED, VELOCITY

BINS = note_bins.Bins(4, (0,), (1.0,), (80,), 120.0)
MATCHES = [*MATCHED, MATCH_LENGTH]
LENGTHS = jnp.asarray(longest_match.LENGTHS, jnp.int32)


def _rows(codes, seed: int = 0) -> np.ndarray:
    """Rows uint8 [N, C] whose (interval, instrument, pitch) are the codes, the rest at random."""
    rng, codes = np.random.default_rng(seed), np.asarray(codes)
    rows = np.zeros((len(codes), len(note_bins.COLUMNS)), np.uint8)
    rows[:, INTERVAL], rows[:, INSTRUMENT], rows[:, PITCH] = codes % 3, codes % 2, 60 + codes // 3
    rows[:, DURATION], rows[:, VELOCITY] = rng.integers(0, 29, len(codes)), rng.integers(0, 16, len(codes))
    return rows


def _matches(rows: np.ndarray) -> np.ndarray:
    """The match of each row and the bin of its length, [N, 6]."""
    found = rows.copy()
    found[:, MATCHES] = 99
    note_rows.set_matches(found, BINS)
    return found[:, MATCHES]


def _match_by_hand(rows: np.ndarray, now: int) -> list[int]:
    """Of one row, by comparing everything with everything."""
    same = [tuple(row) for row in rows[:, PREDICTED[:3]]]
    best, at = 0, -1
    for end in range(now):
        run = 0
        while end - run >= 0 and same[end - run] == same[now - run]:
            run += 1
        if run >= best and run:
            best, at = run, end
    if not best:
        return [0] * len(MATCHES)
    length = sum(best >= least for least in longest_match.LENGTHS)
    return [*(int(value) for value in rows[at + 1, list(PREDICTED)]), length]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(codes=st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_matches_are_those_found_by_comparing_everything(codes):
    rows = _rows(codes)
    assert _matches(rows).tolist() == [_match_by_hand(rows, now) for now in range(len(rows))]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(codes=st.lists(st.integers(0, 4), min_size=2, max_size=40), cut=st.integers(1, 39))
def test_a_match_knows_only_what_came_before(codes, cut):
    rows = _rows(codes)
    whole, part = _matches(rows), _matches(rows[:cut])
    np.testing.assert_array_equal(whole[:cut], part)


def _row_by_row_of(codes, reach: int) -> tuple[list[int], list[int]]:
    """What `longest_match.of` gives, by the run that each pair of rows ends."""
    followed, longest, before = [], [], {}
    for now in range(len(codes)):
        earlier = [end for end in range(max(now - reach, 0), now) if codes[end] == codes[now]]
        runs = {end: before.get(end - 1, 0) + 1 for end in earlier}
        best = max(runs, key=lambda end: (runs[end], end), default=-1)
        followed.append(best + 1)
        longest.append(runs.get(best, 0))
        before = runs
    return followed, longest


# Pieces of rows at random, of a run that comes again and again, and of one row that does.
PIECES = st.one_of(
    st.lists(st.integers(0, 3), max_size=80),
    st.tuples(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(1, 80)).map(
        lambda given: (given[0] * given[1])[: given[1]]
    ),
    st.lists(st.tuples(st.integers(-9, 2**40), st.integers(1, 9)), max_size=12).map(
        lambda given: [code for code, times in given for _ in range(times)]
    ),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(codes=PIECES, reach=st.integers(1, 90), pairs=st.sampled_from([0, 1, 8, 10**6]), compared=st.integers(0, 12))
def test_each_way_to_the_matches_finds_the_same(codes, reach, pairs, compared):
    """Pairs of rows, runs of one length after another, row by row: a piece goes the way that its repetitions allow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(longest_match, "REACH", reach)
        patch.setattr(longest_match, "PAIRS_A_ROW", pairs)
        patch.setattr(longest_match, "LONGEST_COMPARED", compared)
        found = longest_match.of(np.array(codes, np.int64))
    assert [column.tolist() for column in found] == list(_row_by_row_of(codes, reach))
    assert {column.dtype for column in found} == {np.dtype(np.int64)}


@pytest.mark.parametrize("distance", [longest_match.REACH - 1, longest_match.REACH, longest_match.REACH + 1])
def test_a_row_as_far_back_as_the_reach_is_matched_and_none_further(distance):
    codes = np.arange(distance + 2)
    codes[-2:] = codes[:2]
    followed, longest = longest_match.of(codes)
    assert not longest[:-2].any() and not followed[:-2].any()
    reached = distance <= longest_match.REACH
    assert (followed[-2:].tolist(), longest[-2:].tolist()) == (([1, 2], [1, 2]) if reached else ([0, 0], [0, 0]))


@pytest.mark.parametrize("period", [1, 3, 500])
def test_a_piece_that_goes_on_repeating_itself_is_matched_a_period_before(period):
    followed, longest = longest_match.of(np.arange(5000) % period)
    np.testing.assert_array_equal(followed[period:], np.arange(1, 5001 - period))
    np.testing.assert_array_equal(longest, np.maximum(np.arange(5000) - period + 1, 0))


def test_the_matches_of_a_very_long_piece_take_little_memory():
    codes = np.random.default_rng(0).integers(0, 300, 400_000)
    tracemalloc.start()
    try:
        longest_match.of(codes)
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    finally:
        tracemalloc.stop()


def test_a_section_that_comes_again_is_matched_note_for_note():
    section = np.random.default_rng(1).integers(0, 60, 50)
    rows = _rows(np.concatenate([section, [61, 62, 63], section]))
    rows[53:] = rows[:50]
    found = _matches(rows)
    # After two of its notes the match is the note that follows.
    np.testing.assert_array_equal(found[55:-1, :-1], rows[56:][:, PREDICTED])
    assert found[-1, -1] == sum(least <= 50 for least in longest_match.LENGTHS)


def _row_by_row(rows: np.ndarray, longest=None) -> np.ndarray:
    """The rows [N, C] with the matches that the sampling scan finds."""
    rows = jnp.asarray(rows, jnp.float32).at[:, np.array(MATCHES)].set(0)
    return np.asarray(_scanned(rows, running_match.start(1, len(PREDICTED), jnp.int32), longest))


@jax.jit
def _scanned(rows, past, longest):
    def advance(past, row):
        matched, past = event_memory.with_match(row[None], past, LENGTHS, PREDICTED, longest)
        return past, matched[0]

    return jax.lax.scan(advance, past, rows)[1]


@pytest.mark.parametrize("seed", range(3))
def test_row_by_row_the_matches_are_those_of_the_whole_piece(seed):
    rows = _rows(np.random.default_rng(seed).integers(0, 5, 300), seed)
    found = _row_by_row(rows)
    np.testing.assert_array_equal(found[:, MATCHES], _matches(rows))
    np.testing.assert_array_equal(np.delete(found, MATCHES, 1), np.delete(rows, MATCHES, 1))


def test_both_reach_equally_far_back(monkeypatch):
    assert running_match.REACH == longest_match.REACH
    monkeypatch.setattr(longest_match, "REACH", 20)
    monkeypatch.setattr(running_match, "REACH", 20)
    rows = _rows(np.random.default_rng(9).integers(0, 3, 300))
    rows[0] = _rows([59])[0]
    rows[100] = rows[0]
    found = _matches(rows)
    assert not found[100].any(), "a row further back than that is forgotten"
    np.testing.assert_array_equal(_row_by_row(rows)[:, MATCHES], found)


def test_a_longer_match_than_asked_for_is_not_shown():
    rows = _rows([1, 2, 3, 4, 5, 1, 2, 3, 4, 5])
    every, short = _row_by_row(rows), _row_by_row(rows, jnp.int32([2]))
    assert (every[5:9, MATCH_LENGTH] > 0).all()
    np.testing.assert_array_equal(short[:7], every[:7])
    assert not short[7:, MATCHES].any()


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
def test_frame_by_frame_the_matches_are_those_of_the_whole_piece(keys):
    rows = _frames(200, 4, keys)

    def advance(past, frame):
        matched, past = frame_draw.with_match(frame[None], past, longest_match.LENGTHS)
        return past, matched[0]

    past = running_match.start(1, keys, jnp.int8)
    found = jax.lax.scan(advance, past, jnp.asarray(rows, jnp.float32))[1]
    np.testing.assert_array_equal(found, piano_roll.with_matches(rows, np.array([0, 200])))
    assert found.shape[1] == 2 * keys + len(longest_match.LENGTHS)


def test_a_network_of_frames_has_the_columns_that_its_config_asks_for():
    config = config_files.load("frames_nade_match")
    net = encoding.of(config).network()
    assert net.columns == 2 * 88 + len(longest_match.LENGTHS) and net.predicted == 88
    config.data.onsets = True
    assert encoding.of(config).network().predicted == 176
    config.data.match_share = 0.0
    net = encoding.of(config).network()
    assert net.predicted == net.columns == 176


@pytest.mark.long
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_sampled_frames_show_the_match_of_the_piece_that_they_become(temperature):
    net = MusicLSTM(8, 185, head=Bernoulli(), every_position=True, match_lengths=longest_match.LENGTHS)
    params = network.init(net, jax.random.key(1), 20)
    params["dense"]["bias"] = jnp.where(jnp.arange(88) < 3, 0.0, -50.0)  # few frames are possible, so they come again
    pieces = [piano_roll.with_matches(_frames(20, seed), np.array([0, 20])) for seed in range(3)]
    past, keys = sample.Past(jnp.asarray(np.stack(pieces), jnp.float32)), sample.output_keys(5, range(3))
    limits = sample.Limits(jnp.zeros(185), jnp.ones(185))
    draw = MatchedDraw(HeadDraw(jnp.ones(185), jnp.float32(temperature)))

    def more(past, rows, first=0):
        return sample.sample(net, params, past, keys, limits, draw, rows, first, "carry")

    whole = more(past, 40)
    rows = np.concatenate([past.windows, whole.rows], axis=1)
    assert rows[:, 20:, 88:].any(), "nothing came twice"
    for piece in rows:
        np.testing.assert_array_equal(piece, piano_roll.with_matches(piece[:, :88].astype(np.uint8), np.array([0, 60])))
    # Silence before a piece begins is no part of it.
    padded = sample.Past(jnp.pad(past.windows[:, :9], ((0, 0), (11, 0), (0, 0))))
    for piece in np.concatenate([padded.windows, more(padded, 40).rows], axis=1)[:, 11:]:
        np.testing.assert_array_equal(piece, piano_roll.with_matches(piece[:, :88].astype(np.uint8), np.array([0, 49])))
    first = more(past, 20)
    np.testing.assert_array_equal(np.concatenate([first.rows, more(first.past, 20, 20).rows], axis=1), whole.rows)
