"""Notes: order, units, and the flat form in which they travel between processes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from musicjax.errors import UsageError
from musicjax.music.notes import FIELDS, Notes, check, from_beats, from_seconds


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


# What comes from a user.

COLUMNS: dict[str, Any] = {
    "pitch": [60, 62, 64],
    "velocity": [1, 80, 127],
    "onset": [0.0, 0.5, 1.0],
    "duration": [0.5, 0.0, 0.5],
    "onset_beats": [0, 1, 2],
    "duration_beats": [1, 0, 1],
}
NOT_NOTES: list[tuple[str, Any, str]] = [
    ("pitch", [60, 128, 64], r"\.pitch\[1\]=128: expected 0\.\.127"),
    ("pitch", [60, 62, -1], r"\.pitch\[2\]=-1: expected 0\.\.127"),
    ("pitch", [60.0, 60.5, 64.0], r"\.pitch\[1\]=60\.5: expected a whole number in 0\.\.127"),
    ("pitch", ["C", "D", "E"], r"\.pitch=\['C', 'D', 'E'\]: expected one number for each note, 0\.\.127"),
    ("pitch", [[60], [62, 63], [64]], r"\.pitch=.*: expected one number for each note"),
    ("pitch", [[60], [62], [64]], r"\.pitch=.*: expected one number for each note"),
    ("pitch", 60, r"\.pitch=60: expected one number for each note"),
    ("pitch", None, r"\.pitch=None: expected one number for each note"),
    ("pitch", np.array(60), r"\.pitch=array\(60\): expected one number for each note"),
    ("pitch", [True, False, True], r"\.pitch=.*: expected one number for each note"),
    ("velocity", [80, 80, 0], r"\.velocity\[2\]=0: expected 1\.\.127"),
    ("velocity", [200, 80, 80], r"\.velocity\[0\]=200: expected 1\.\.127"),
    ("velocity", [80, 80], r"\.velocity has length 2, .*\.pitch 3: expected one entry for each note"),
    ("onset", [0.0, np.nan, 1.0], r"\.onset\[1\]=nan: expected 0 or more, and finite"),
    ("onset", [-0.5, 0.5, 1.0], r"\.onset\[0\]=-0\.5: expected 0 or more"),
    ("onset", [0.0, 1.0, 0.5], r"\.onset\[2\]=0\.5 comes after 1\.0: expected onsets that never decrease"),
    ("duration", [1.0, -0.5, 1.0], r"\.duration\[1\]=-0\.5: expected 0 or more"),
    ("onset_beats", [0.0, 1.0, np.inf], r"\.onset_beats\[2\]=inf: expected 0 or more, and finite"),
    ("onset_beats", [1.0, 0.0, 2.0], r"\.onset_beats\[1\]=0\.0 comes after 1\.0"),
    ("duration_beats", np.array([np.nan, 1, 1], np.float32), r"\.duration_beats\[0\]=nan: expected 0 or more"),
]


@pytest.mark.parametrize(("column", "values", "words"), NOT_NOTES)
def test_columns_that_are_no_notes_are_named_with_their_first_wrong_entry(column, values, words):
    with pytest.raises(UsageError, match=f"^Notes{words}"):
        Notes(**{**COLUMNS, column: values})


@pytest.mark.parametrize("kind", [list, tuple, np.asarray, lambda values: np.asarray(values, np.float32)])
def test_lists_and_arrays_of_other_types_become_columns(kind):
    notes = Notes(**{name: kind(values) for name, values in COLUMNS.items()})
    assert [getattr(notes, name).dtype for name in FIELDS] == [np.int16] * 2 + [np.float64] * 4
    assert {name: getattr(notes, name).tolist() for name in FIELDS} == COLUMNS
    assert notes.seconds == 1.5 and len(notes[1:]) == 2


def test_columns_of_the_right_types_are_taken_as_they_are_and_checked_where_a_user_hands_them_over():
    """As pieces that lie end to end do, whose onsets begin anew."""
    ready = Notes(**COLUMNS)
    onset = np.array([0.0, 1.0, 0.5])
    notes = Notes(ready.pitch, ready.velocity, onset, ready.duration, onset, ready.duration)
    assert notes.onset is onset
    with pytest.raises(UsageError, match=r"^primer\.onset\[2\]=0\.5 comes after 1\.0"):
        check(notes, "primer")
    check(ready)


@pytest.mark.parametrize(
    ("make", "given", "words"),
    [
        (from_seconds, {"velocity": [80, 80, 0]}, r"^velocity\[2\]=0: expected 1\.\.127"),
        (from_seconds, {"onset": [1.0, np.nan, 0.0]}, r"^onset\[1\]=nan"),
        (from_seconds, {"duration": [1.0]}, r"^duration has length 1, pitch 3"),
        (from_seconds, {"bpm": 0}, r"^bpm=0: expected 4\.\."),
        (from_beats, {"onset_beats": [0.0, -1.0, 0.0]}, r"^onset_beats\[1\]=-1\.0"),
        (from_beats, {"bpm": "fast"}, r"^bpm='fast': expected a number"),
    ],
)
def test_notes_at_one_tempo_are_checked_before_they_are_sorted(make, given, words):
    names = ("onset", "duration") if make is from_seconds else ("onset_beats", "duration_beats")
    good = {"pitch": [60, 62, 64], "velocity": [80, 80, 80], names[0]: [2, 1, 0], names[1]: [1, 1, 1]}
    assert make(**good).pitch.tolist() == [64, 62, 60]
    with pytest.raises(UsageError, match=words):
        make(**{**good, **given})


@pytest.mark.parametrize("fields", [np.ones((5, 2)), np.zeros(6), np.full((6, 2), 0.5), "abc"])
def test_a_flat_array_that_holds_no_notes_is_refused(fields):
    with pytest.raises(UsageError, match=r"expected"):
        Notes.from_array(fields)


# Tables of changes.

TABLES: dict[str, Any] = {
    "tempos": [(0, 90), (1.5, 120)],
    "meters": [(0, 3, 4), [3, 4, 4]],
    "keys": ((0, 2, 0), (3, 9, 1)),
}


@pytest.mark.parametrize("kind", [list, tuple, np.asarray, lambda rows: np.asarray(rows, np.float32)])
def test_tables_of_changes_may_be_sequences_of_rows(kind):
    notes = Notes(**COLUMNS, **{name: kind(rows) for name, rows in TABLES.items()})
    for name, rows in TABLES.items():
        assert getattr(notes, name).dtype == np.float64
        np.testing.assert_array_equal(getattr(notes, name), [list(row) for row in rows])
    check(notes)
    assert Notes(**COLUMNS, keys=[]).keys.shape == (0, 3)


def test_a_table_of_the_right_type_is_taken_as_it_is():
    tempos = np.array([[0.0, 90.0]])
    assert Notes(**COLUMNS, tempos=tempos).tempos is tempos


@pytest.mark.parametrize(
    ("table", "rows", "words"),
    [
        ("tempos", [], r"=\[\]: expected rows of a beat and quarter notes a minute, above 0"),
        ("tempos", 90, r"=90: expected rows of a beat"),
        ("tempos", [(0, 90), (1, 0)], r"\[1\]=\[1, 0\]: expected rows .* the beats rising"),
        ("tempos", [(0, 90), (0, 80)], r"\[1\]=\[0, 80\]: expected"),
        ("tempos", [(0, 90, 1)], r"=\[\(0, 90, 1\)\]: expected rows"),
        ("tempos", [(0, float("nan"))], r"=.*nan.*: expected rows"),
        ("meters", [(0, 3, 5)], r"\[0\]=\[0, 3, 5\]: expected rows of a beat, a numerator and a denominator"),
        ("meters", [(0, 3, 4), (3, 4)], r"=.*: expected rows of a beat, a numerator"),
        ("meters", "3/4", r"='3/4': expected rows"),
        ("keys", [(0, 12, 0)], r"\[0\]=\[0, 12, 0\]: expected rows of a beat, a tonic 0\.\.11 and a mode 0\.\.3"),
        ("keys", [("C", 0, 0)], r"=.*: expected rows of a beat, a tonic"),
    ],
)
def test_a_table_that_is_none_is_named_with_its_first_wrong_row(table, rows, words):
    with pytest.raises(UsageError, match=rf"^Notes\.{table}{words}"):
        Notes(**COLUMNS, **{table: rows})
