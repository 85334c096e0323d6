"""The Note Matrix: rows computed by hand, and decoding as the inverse of encoding."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax.music import note_matrix
from musicjax.music.note_matrix import Scaling
from musicjax.music.notes import Notes, from_seconds

TICK_SECONDS = 1 / 960  # 480 ticks a beat at 120 beats a minute


def _scaling(longest_interval: float, longest_duration: float | None = None) -> Scaling:
    columns = 3 if longest_duration is None else 4
    span = (88.0, 127.0, longest_interval, longest_duration or 0.0)[:columns]
    return Scaling((24.0, 0.0, 0.0, 0.0)[:columns], span, (0.0,) * columns, (1.0,) * columns)


def test_a_row_is_pitch_velocity_interval_each_scaled_as_in_the_paper():
    notes = from_seconds([60, 112, 24], [127, 64, 1], [0.5, 0.75, 2.75], [1.0, 2.0, 0.25])
    scaling = note_matrix.fit(note_matrix.values(notes, 4))
    assert scaling.columns == ("pitch", "velocity", "interval", "duration")
    assert scaling.shift == (24.0, 0.0, 0.0, 0.0)
    assert scaling.span == (88.0, 127.0, 2.0, 2.0)  # the longest interval, the longest duration
    expected = [
        [36 / 88, 1.0, 0.25, 0.5],
        [1.0, 64 / 127, 0.125, 1.0],
        [0.0, 1 / 127, 1.0, 0.125],
    ]
    rows = note_matrix.encode(notes, scaling)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, np.array(expected, np.float32))
    np.testing.assert_array_equal(note_matrix.encode(notes, _scaling(2.0)), rows[:, :3])


def test_the_first_interval_counts_from_the_start_of_the_piece():
    notes = from_seconds([60, 60], [90, 90], [1.5, 1.75], [0.1, 0.1])
    assert note_matrix.values(notes, 3)[:, 2].tolist() == [1.5, 0.25]


def test_a_pitch_below_24_gives_a_negative_value_and_comes_back():
    notes = from_seconds([0, 127], [1, 127], [0.0, 1.0], [0.5, 0.5])
    scaling = note_matrix.fit(note_matrix.values(notes, 3))
    assert note_matrix.encode(notes, scaling)[0, 0] == np.float32(-24 / 88)
    assert note_matrix.decode(note_matrix.encode(notes, scaling), scaling).pitch.tolist() == [0, 127]


def test_the_constants_come_from_the_rows_given_and_from_no_others():
    notes = from_seconds([60, 72, 100], [10, 20, 120], [0.0, 1.0, 10.0], [0.5, 0.5, 30.0])
    unscaled = note_matrix.values(notes, 4)
    scaling = note_matrix.fit(unscaled[:2])
    assert scaling.span == (88.0, 127.0, 1.0, 0.5)
    assert scaling.low == pytest.approx((36 / 88, 10 / 127, 0.0, 1.0))
    assert scaling.high == pytest.approx((48 / 88, 20 / 127, 1.0, 1.0))
    assert note_matrix.encode(notes, scaling)[2, 2:].tolist() == [9.0, 60.0]  # longer than any that was given


def test_the_range_is_that_of_the_rows_as_the_network_sees_them():
    rng = np.random.default_rng(0)
    notes = from_seconds(rng.integers(0, 128, 100), rng.integers(1, 128, 100), rng.random(100) * 60, rng.random(100))
    scaling = note_matrix.fit(note_matrix.values(notes, 4))
    rows = note_matrix.encode(notes, scaling)
    np.testing.assert_array_equal(np.array(scaling.low, np.float32), rows.min(axis=0))
    np.testing.assert_array_equal(np.array(scaling.high, np.float32), rows.max(axis=0))


def test_a_corpus_in_which_everything_sounds_at_once_still_has_finite_rows():
    notes = from_seconds([60, 64, 67], [90, 90, 90], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0])
    scaling = note_matrix.fit(note_matrix.values(notes, 4))
    rows = note_matrix.encode(notes, scaling)
    assert scaling.span[2:] == (1.0, 1.0)
    assert rows[:, 2:].tolist() == [[0.0, 0.0]] * 3
    assert note_matrix.decode(rows, scaling).onset.tolist() == [0.0] * 3


def _random_notes(seed: int, size: int, longest_gap: int) -> Notes:
    """Notes on the tick grid, a third of them in chords, with rests up to `longest_gap` ticks."""
    rng = np.random.default_rng(seed)
    gaps = rng.integers(0, longest_gap + 1, size) * rng.integers(0, 3, size).clip(0, 1)
    onset = np.cumsum(gaps) * TICK_SECONDS
    duration = rng.integers(0, longest_gap + 1, size) * TICK_SECONDS
    return from_seconds(rng.integers(0, 128, size), rng.integers(1, 128, size), onset, duration)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 4000),
    longest_gap=st.sampled_from([1, 37, 240, 960]),
    columns=st.sampled_from([3, 4]),
)
def test_decoding_is_the_inverse_of_encoding_on_the_ticks_of_a_midi_file(seed, size, longest_gap, columns):
    notes = _random_notes(seed, size, longest_gap)
    scaling = note_matrix.fit(note_matrix.values(notes, columns))
    decoded = note_matrix.decode(note_matrix.encode(notes, scaling), scaling)
    np.testing.assert_array_equal(decoded.pitch, notes.pitch)
    np.testing.assert_array_equal(decoded.velocity, notes.velocity)
    np.testing.assert_allclose(decoded.onset, notes.onset, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(np.rint(decoded.onset / TICK_SECONDS), np.rint(notes.onset / TICK_SECONDS))
    if columns == 4:
        np.testing.assert_array_equal(np.rint(decoded.duration / TICK_SECONDS), np.rint(notes.duration / TICK_SECONDS))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    rows=st.lists(
        st.tuples(*[st.floats(-10, 10, width=32)] * 4),
        min_size=1,
        max_size=30,
    )
)
def test_whatever_the_rows_hold_the_notes_are_within_midi_and_in_order(rows):
    notes = note_matrix.decode(np.array(rows, np.float32), _scaling(2.0, 3.0))
    assert notes.pitch.min() >= 0 and notes.pitch.max() <= 127
    assert notes.velocity.min() >= 1 and notes.velocity.max() <= 127
    assert notes.onset[0] >= 0 and (np.diff(notes.onset) >= 0).all()
    assert (notes.duration >= 0).all()
    assert len(notes) == len(rows)


def test_values_out_of_range_go_to_the_nearest_number_that_midi_has():
    rows = [[-1.0, -1.0, -1.0], [2.0, 2.0, 0.5], [36.4 / 88, 64.6 / 127, 0.0], [0.5, 0.0, 0.0]]
    notes = note_matrix.decode(np.array(rows), _scaling(2.0))
    assert notes.pitch.tolist() == [0, 127, 60, 68]
    assert notes.velocity.tolist() == [1, 127, 65, 1]
    assert notes.onset.tolist() == [0.0, 1.0, 1.0, 1.0]


def test_without_a_duration_column_a_note_lasts_until_the_next_later_onset():
    onset = np.array([0.0, 0.0, 0.5, 0.52, 1.0, 1.0, 4.0, 4.0])
    rows = np.zeros((8, 3))
    rows[:, 2] = np.diff(onset, prepend=0.0)
    notes = note_matrix.decode(rows, _scaling(1.0))
    # 0.02 s is below the shortest, 3 s above the longest, and nothing follows the last two.
    np.testing.assert_allclose(notes.duration, [0.5, 0.5, 0.05, 0.48, 2.0, 2.0, 2.0, 2.0], atol=1e-12)


def test_the_ending_rule_names_its_bounds():
    durations = note_matrix.durations_until_next_onset(np.array([0.0, 1e-9, 100.0]))
    assert durations.tolist() == [note_matrix.SHORTEST_SECONDS, note_matrix.LONGEST_SECONDS, 2.0]
    assert math.isclose(note_matrix.SHORTEST_SECONDS, 0.05)
