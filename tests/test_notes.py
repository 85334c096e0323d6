"""Notes: order, units, and the flat form in which they travel between processes."""

from __future__ import annotations

import numpy as np
import pytest

from musicjax.music.notes import FIELDS, Notes, from_beats, from_seconds


def test_notes_are_sorted_by_onset_and_ties_keep_their_order():
    notes = from_seconds([60, 62, 64, 65], [1, 2, 3, 4], [1.0, 0.5, 1.0, 0.5], [0.1, 0.2, 0.3, 0.4])
    assert notes.pitch.tolist() == [62, 65, 60, 64]
    assert notes.velocity.tolist() == [2, 4, 1, 3]
    assert notes.duration.tolist() == [0.2, 0.4, 0.1, 0.3]


def test_beats_and_seconds_follow_the_tempo():
    seconds = from_seconds([60], [90], [1.5], [0.5], bpm=90)
    assert (seconds.onset_beats.tolist(), seconds.duration_beats.tolist()) == ([2.25], [0.75])
    beats = from_beats([60], [90], [2.25], [0.75], bpm=90)
    np.testing.assert_allclose(beats.to_array(), seconds.to_array(), rtol=1e-15)


def test_the_length_is_the_end_of_the_note_that_ends_last():
    assert from_seconds([60, 62], [90, 90], [0.0, 1.0], [5.0, 0.5]).seconds == 5.0
    assert from_seconds([], [], [], []).seconds == 0.0


def test_the_flat_array_gives_the_same_notes_back():
    notes = from_seconds([0, 127], [1, 127], [0.1, 0.2], [0.3, 0.4])
    again = Notes.from_array(notes.to_array())
    assert again.to_array().shape == (6, 2)
    for field in FIELDS:
        one, other = getattr(notes, field), getattr(again, field)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("which", [slice(1, None), np.array([False, True, True]), np.array([1, 2])])
def test_a_selection_takes_every_field_along(which):
    notes = from_seconds([60, 62, 64], [1, 2, 3], [0.0, 1.0, 2.0], [0.1, 0.2, 0.3])
    chosen = notes[which]
    assert len(chosen) == 2
    np.testing.assert_array_equal(chosen.to_array(), notes.to_array()[:, 1:])
