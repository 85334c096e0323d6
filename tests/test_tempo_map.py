"""Tempo changes -> seconds."""

from __future__ import annotations

import numpy as np

from musicjax.music.tempo_map import seconds_at


def test_each_tempo_holds_until_the_next_in_whatever_order_they_are_given():
    changes = [(0, 0.5), (8, 2.0), (4, 1.0)]
    np.testing.assert_array_equal(seconds_at(np.array([0, 3, 4, 6, 8, 9.5]), changes), [0, 1.5, 2, 4, 6, 9])


def test_of_several_changes_at_one_time_the_last_holds():
    np.testing.assert_array_equal(seconds_at(np.array([2, 4]), [(0, 9.0), (0, 1.0), (2, 5.0), (2, 0.5)]), [2, 3])


def test_no_notes_have_no_seconds():
    assert seconds_at(np.zeros(0), [(0, 1.0)]).shape == (0,)
