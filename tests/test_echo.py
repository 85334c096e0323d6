"""The echo of rows: found in whole pieces, found again note by note, and never looking ahead."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax.model import echo
from musicjax.music import note_bins

LENGTHS = jnp.asarray(note_bins.LENGTHS, jnp.int32)


def _rows(codes, seed: int = 0) -> np.ndarray:
    """Rows uint8 [N, C] whose (interval, pitch) are the codes, the rest at random."""
    rng, codes = np.random.default_rng(seed), np.asarray(codes)
    rows = np.zeros((len(codes), len(note_bins.COLUMNS)), np.uint8)
    rows[:, 0], rows[:, 2] = codes % 3, 60 + codes // 3
    rows[:, 3], rows[:, 4] = rng.integers(0, 29, len(codes)), rng.integers(0, 16, len(codes))
    return rows


def _echo_by_hand(rows: np.ndarray, now: int) -> list[int]:
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
    length = sum(best >= least for least in note_bins.LENGTHS)
    return [*(int(value) for value in rows[at + 1, [0, 2, 3, 4]]), length]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(codes=st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_echoes_are_those_found_by_comparing_everything(codes):
    rows = _rows(codes)
    assert note_bins.echoes(rows).tolist() == [_echo_by_hand(rows, now) for now in range(len(rows))]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(codes=st.lists(st.integers(0, 4), min_size=2, max_size=40), cut=st.integers(1, 39))
def test_an_echo_knows_only_what_was_before(codes, cut):
    rows = _rows(codes)
    whole, part = note_bins.echoes(rows), note_bins.echoes(rows[:cut])
    np.testing.assert_array_equal(whole[:cut], part)


def test_a_section_that_comes_again_is_echoed_note_for_note():
    section = np.random.default_rng(1).integers(0, 60, 50)
    rows = _rows(np.concatenate([section, [61, 62, 63], section]))
    rows[53:] = rows[:50]
    found = note_bins.echoes(rows)
    # After two of its notes the echo is the note that follows.
    np.testing.assert_array_equal(found[55:-1, :4], rows[56:][:, [0, 2, 3, 4]])
    assert found[-1, 4] == sum(least <= 50 for least in note_bins.LENGTHS)


def _heard(rows: np.ndarray, longest=None) -> np.ndarray:
    """The echoes that the sampling scan finds, [N, 5]."""

    def hear(heard, row):
        told, heard = echo.hear(row[None], heard, LENGTHS, longest)
        return heard, told[0]

    rows = jnp.asarray(rows, jnp.float32).at[:, echo.FIRST :].set(0)
    return np.asarray(jax.jit(lambda rows: jax.lax.scan(hear, echo.start(1), rows)[1])(rows))


@pytest.mark.parametrize("seed", range(3))
def test_note_by_note_the_echo_is_the_same_as_in_whole_pieces(seed):
    rows = _rows(np.random.default_rng(seed).integers(0, 5, 300), seed)
    found = _heard(rows)
    np.testing.assert_array_equal(found[:, echo.FIRST :], note_bins.echoes(rows))
    np.testing.assert_array_equal(found[:, : echo.FIRST], rows[:, : echo.FIRST])


def test_both_remember_as_much(monkeypatch):
    assert echo.REMEMBERED == note_bins.HEARD
    assert note_bins.COLUMNS[echo.FIRST :] == note_bins.ECHO
    assert [note_bins.COLUMNS[c] for c in (echo.INTERVAL, echo.PITCH, echo.DURATION, echo.VELOCITY)] == list(
        note_bins.PREDICTED
    )
    monkeypatch.setattr(note_bins, "HEARD", 20)
    monkeypatch.setattr(echo, "REMEMBERED", 20)
    rows = _rows(np.random.default_rng(9).integers(0, 3, 200))
    rows[0] = _rows([59])[0]
    rows[100] = rows[0]
    found = note_bins.echoes(rows)
    assert found[100].tolist() == [0] * 5, "what was longer ago is forgotten"
    np.testing.assert_array_equal(_heard(rows)[:, echo.FIRST :], found)


def test_of_longer_runs_nothing_is_told():
    rows = _rows([1, 2, 3, 4, 5, 1, 2, 3, 4, 5])
    all_of_it, some = _heard(rows), _heard(rows, jnp.int32([2]))
    assert (all_of_it[5:9, -1] > 0).all()
    np.testing.assert_array_equal(some[:7], all_of_it[:7])
    assert (some[7:, echo.FIRST :] == 0).all()
