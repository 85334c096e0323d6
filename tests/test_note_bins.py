"""Notes <-> rows of bins: what stays exact, what goes to the nearest bin, and the bar position of each row."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax.music import learned_bins, note_bins, note_rows
from musicjax.music.notes import Notes, from_beats


def _piece(pitch, velocity, onset, duration, bpm=120.0) -> Notes:
    return from_beats(pitch, velocity, np.asarray(onset, float), np.asarray(duration, float), bpm)


@st.composite
def _on_a_grid(draw) -> Notes:
    """Up to 40 notes on a sixteenth grid, some together, with few durations and velocities; no pitch twice at once."""
    count = draw(st.integers(1, 40))
    step = np.cumsum(draw(st.lists(st.sampled_from([0, 0, 1, 2, 4, 7]), min_size=count, max_size=count)))
    pitch = np.array(draw(st.lists(st.integers(6, 122), min_size=count, max_size=count)))
    duration = np.array(draw(st.lists(st.sampled_from([0.25, 0.5, 1.75]), min_size=count, max_size=count)))
    velocity = np.array(draw(st.lists(st.sampled_from([1, 64, 127]), min_size=count, max_size=count)))
    order = np.lexsort((pitch, step))
    return _piece(pitch[order], velocity[order], step / 4, duration, bpm=draw(st.sampled_from([60.0, 90.0, 120.0])))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(notes=_on_a_grid(), tonic=st.integers(0, 11), mode=st.integers(0, 3))
def test_what_is_on_a_grid_comes_back_as_it_was_in_its_key(notes, tonic, mode):
    notes = dataclasses.replace(notes, keys=np.array([[0.0, tonic, mode]]))
    bins = learned_bins.learn([notes])
    rows, nearest = note_rows.encode(notes, bins)
    back = note_rows.decode(rows, bins, bpm=60.0, tonic=tonic)
    assert not nearest.any() and back.keys.tolist() == notes.keys.tolist()
    last_bar_line = (notes.onset_beats[-1] // 4 + 1) * 4  # where a whole piece is over
    notes = dataclasses.replace(
        notes, duration_beats=np.minimum(notes.duration_beats, last_bar_line - notes.onset_beats)
    )
    for name in ("pitch", "velocity", "onset_beats", "duration_beats"):
        np.testing.assert_allclose(getattr(back, name), getattr(notes, name), atol=1e-6)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(notes=_on_a_grid(), shift=st.floats(0.0, 0.02))
def test_the_bar_position_follows_from_the_intervals_and_all_bins_are_within_their_sizes(notes, shift):
    notes = dataclasses.replace(notes, onset_beats=notes.onset_beats - notes.onset_beats[0])
    moved = dataclasses.replace(notes, onset_beats=notes.onset_beats * (1 + shift))
    bins = learned_bins.learn([notes])
    rows = note_rows.encode(moved, bins)[0][1:-1]
    assert (rows < np.array(bins.used)).all() and (np.array(bins.used) <= note_bins.SIZES).all()
    steps = np.cumsum(np.array(bins.interval)[rows[:, 0]])
    shortened, _ = note_rows.silences(moved, bins)
    if not shortened:
        np.testing.assert_array_equal(rows[:, note_bins.BAR_POSITION], steps % bins.steps_per_bar[0])


def test_the_grid_is_the_coarsest_that_has_the_onsets():
    for steps in learned_bins.GRIDS:
        onset = np.arange(300) / steps
        piece = _piece(np.full(300, 60), np.full(300, 80), onset, np.ones(300))
        assert learned_bins.learn([piece]).steps_per_beat == steps


def test_too_many_values_go_to_the_nearest_bins_and_chords_stay_together():
    rng = np.random.default_rng(0)
    onset = np.repeat(np.cumsum(rng.exponential(0.7, 3000) + 0.1), 2)
    pitch = np.tile([60, 64], 3000)
    notes = _piece(pitch, rng.integers(1, 128, 6000), onset, rng.exponential(1.0, 6000) + 0.01)
    bins = learned_bins.learn([notes])
    rows, nearest = (both[1:-1] for both in note_rows.encode(notes, bins))
    assert nearest.mean() > 0.5
    assert len(bins.velocity) == learned_bins.VELOCITY_BINS and len(bins.interval) <= note_bins.SIZES[0]
    assert (rows[1::2, 0] == 0).all(), "the second note of each chord begins with the first"
    # The intervals that follow make up for one without a bin, so that notes keep their places in their bars.
    off = (rows[:, note_bins.BAR_POSITION] / bins.steps_per_beat - onset) % 4
    assert np.median(np.minimum(off, 4 - off)) <= 0.5 / bins.steps_per_beat + 1e-9
    ratio = np.array(bins.duration)[rows[:, 3]] / notes.duration_beats
    long = (notes.duration_beats > 0.5) & (notes.duration_beats < bins.duration[-1])
    assert ratio[long].min() > 0.85 and ratio[long].max() < 1.15


def test_scaled_bins_keep_chords_and_are_the_same_at_the_same_tempo():
    onset = np.concatenate([np.arange(0, 40) / 4, [11, 13]])
    bins = learned_bins.learn([_piece(np.full(42, 60), np.full(42, 80), onset, np.tile([0.25, 0.5, 1.0], 14))])
    interval, duration = note_bins.scaled(bins, 1.0)
    used = bins.used
    np.testing.assert_array_equal(interval[: used[0]], np.arange(used[0]))
    np.testing.assert_array_equal(duration[: used[3]], np.arange(used[3]))
    interval, duration = note_bins.scaled(bins, 2.0)
    assert interval[0] == 0 and (interval[1 : used[0]] > 0).all()
    assert bins.duration[duration[0]] == 0.5 and bins.duration[duration[1]] == 1.0
    slow = note_bins.scaled(bins, 0.1)[0]
    assert (slow[1 : used[0]] == 1).all(), "what is no chord does not become one"


def test_bins_come_back_from_json_and_damaged_ones_do_not():
    bins = learned_bins.learn([_piece([60, 62, 64], [80, 90, 100], [0, 0.5, 1.5], [0.5, 1, 2])])
    saved = json.loads(json.dumps(dataclasses.asdict(bins)))
    assert note_bins.from_saved(saved) == bins
    for name, value in (
        ("interval", [1, 2]),
        ("interval", [0, 0]),
        ("duration", []),
        ("velocity", [90, 80]),
        ("velocity", list(range(1, 60))),
        ("bpm", 0.0),
        ("meters", []),
        ("meters", [[3, 5]]),
        ("meters", [[4, 4]] * 9),
        ("sizes", [48] * 11),
    ):
        with pytest.raises((ValueError, IndexError)):
            note_bins.from_saved(saved | {name: value})


def test_steps_and_valid_bins():
    bins = learned_bins.learn([_piece([60, 62, 64], [80, 90, 100], [0, 0.5, 1.5], [0.1, 0.5, 2])])
    steps, sounds = note_bins.steps_of(bins)
    assert bins.steps_per_beat == 2
    assert steps[:3].tolist() == [0, 1, 2] and sounds[:3].tolist() == [1, 1, 4]
    assert note_bins.valid(bins).sum() == sum(bins.used) + 1, "the edge"
