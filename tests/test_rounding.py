"""What a model does not know and takes the nearest of is counted and told: onsets, durations, instruments, silences."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import tiny_events
from hypothesis import given, settings
from hypothesis import strategies as st

import musicjax
from musicjax.music import learned_bins, note_rows, rounding
from musicjax.music.notes import DRUMS, Notes, from_beats, one_meter

BINS = learned_bins.learn(tiny_events.pieces())  # sixteenths, 4/4, piano


def said(notes: Notes) -> list[str]:
    return rounding.of_rows(notes, *note_rows.encode(notes, BINS), BINS)


def piece(**changes) -> Notes:
    return dataclasses.replace(tiny_events.pieces()[0], **changes)


def test_nothing_is_said_of_a_piece_that_the_bins_hold():
    assert all(said(one) == [] for one in tiny_events.pieces())


@settings(max_examples=30, deadline=None, derandomize=True)
@given(shift=st.floats(0.003, 0.12))
def test_onsets_are_told_with_how_far_they_move(shift):
    (line,) = said(piece(onset_beats=piece().onset_beats + shift))
    said_by = re.search(r"^the model rounds 80 of 80 notes .*: onset of 80 by (\S+) quarter notes on average", line)
    assert said_by is not None and abs(float(said_by[1]) - shift) <= 0.000501
    assert ("changes the rhythm" in line) == (shift > 1 / 32)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"duration_beats": np.full(80, 1.1)}, "duration of 80"),
        ({"velocity": np.append(tiny_events.pieces()[0].velocity[:-2], [61, 127]).astype(np.int16)}, "velocity of 2"),
        ({"meters": one_meter(7, 8)}, "meter of 80"),
    ],
)
def test_each_kind_of_change_is_counted(changes, words):
    (line,) = said(piece(**changes))
    assert line.endswith(f"notes to the nearest that it knows: {words}")


def test_several_pieces_are_told_in_the_words_of_one():
    odd = piece(duration_beats=np.full(80, 1.1)), piece(velocity=np.full(80, 61, np.int16)), piece()
    found = [rounding.changes(one, *note_rows.encode(one, BINS), BINS) for one in odd]
    words = "of 240 notes to the nearest that it knows: duration of 80; velocity of 80"
    assert rounding.told(found, BINS) == [f"the model rounds 160 {words}"] and rounding.told(found[2:], BINS) == []


def test_silences_are_told():
    late = piece().onset_beats + np.where(np.arange(80) < 40, 0, 400.0)
    assert said(piece(onset_beats=late)) == ["shortens 1 silence to 1 quarter note, the longest interval"]


def test_instruments_that_the_model_lacks_are_counted_and_named():
    program = np.array([0] * 5 + [40] * 3 + [DRUMS] * 2, np.int16)
    line = rounding.of_instruments(program, BINS, is_merged=False)
    assert line == (
        "the model lacks the instruments of 5 notes and treats 3 of violin as acoustic grand piano, "
        "2 of drums as acoustic grand piano"
    )
    merged = rounding.of_instruments(program, BINS, is_merged=True)
    assert merged == "the model lacks the instruments of 2 notes and treats 2 of drums as acoustic grand piano"
    assert rounding.of_instruments(program[:5], BINS, is_merged=False) == ""
    many = rounding.of_instruments(np.arange(7, dtype=np.int16), BINS, is_merged=False)
    assert re.search(r"of 6 notes .* and 2 instruments more$", many)


def test_a_model_that_scores_a_piece_tells_it_all(capsys):
    model = tiny_events.model()
    odd = dataclasses.replace(piece(onset_beats=piece().onset_beats + 0.1), program=np.full(80, 40, np.int16))
    model.log_prob(odd)
    first, second = capsys.readouterr().err.splitlines()
    assert re.match(
        r"piece +the model rounds 80 of 80 notes to the nearest that it knows: onset of 80 by 0\.100 ", first
    )
    assert re.match(r"piece +the model lacks the instruments of 80 notes and treats 80 of violin as acoustic", second)


def test_notes_that_begin_between_frames_are_told(trained_frames, capsys):
    notes = from_beats([60, 62, 64], [80] * 3, [0, 1.1, 2], [1] * 3)
    musicjax.load(trained_frames).hidden_states(notes)
    assert re.search(r"nearest frame: onset of 1 by 0\.100 quarter notes", capsys.readouterr().err)
