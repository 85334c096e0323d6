"""The copy meter finds what was planted, in any key and nowhere across pieces, and agrees with comparing all runs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax.music import copies
from musicjax.music.copies import Copy
from musicjax.music.metrics import on_grid
from musicjax.music.notes import Notes, from_beats


def _piece(seed: int, notes: int, pitches: int = 60, intervals: int = 9) -> Notes:
    """Random notes; with few pitches and intervals runs recur by chance, with many they do not."""
    rng = np.random.default_rng(seed)
    onset = np.cumsum(rng.integers(0, intervals, notes))
    return from_beats(rng.integers(30, 30 + pitches, notes), np.full(notes, 80), onset / 4, np.full(notes, 0.25))


def _join(*parts: Notes) -> Notes:
    """Pieces one after the other, each a beat after the one before it."""
    pitch = np.concatenate([part.pitch for part in parts])
    begins = np.cumsum([0, *(part.onset_beats[-1] - part.onset_beats[0] + 1 for part in parts[:-1])])
    onset = [part.onset_beats - part.onset_beats[0] + begin for part, begin in zip(parts, begins, strict=True)]
    return from_beats(pitch, np.full(len(pitch), 80), np.concatenate(onset), np.full(len(pitch), 0.25))


def _transposed(notes: Notes, semitones: int) -> Notes:
    return dataclasses.replace(notes, pitch=notes.pitch + np.int16(semitones))


def _on_grid_order(notes: Notes) -> Notes:
    pitch, onset, end = on_grid(notes)
    return from_beats(pitch, np.full(len(pitch), 80), onset / 4, (end - onset) / 4)


@pytest.mark.parametrize("semitones", [-7, 0, 5, 12])
@pytest.mark.parametrize("planted", [2, 9, 64])
def test_a_planted_excerpt_is_found_in_any_key(semitones, planted):
    known = [_on_grid_order(_piece(seed, 200, intervals=40)) for seed in range(5)]
    excerpt = _transposed(known[3][70 : 70 + planted], semitones)
    fresh = [_piece(seed, 30, pitches=3, intervals=2) for seed in (11, 12)]  # chromatic, and in no known rhythm
    fresh = [dataclasses.replace(part, onset_beats=1000 * np.arange(30.0)) for part in fresh]
    found = copies.longest(_join(fresh[0], excerpt, fresh[1]), copies.index(known, tuple("abcde")))
    assert found == Copy(planted, "d", 70, 30)


def test_a_piece_is_a_copy_of_itself_and_of_the_first_piece_that_has_it():
    piece, other = _piece(1, 50), _piece(2, 80)
    known = copies.index([other, _join(other, piece), piece, piece], ("other", "both", "same", "again"))
    assert copies.longest(piece, known) == Copy(50, "both", 80, 0)


def test_runs_never_go_across_pieces():
    whole = _piece(3, 40, intervals=40)
    whole = _on_grid_order(whole)
    known = copies.index([whole[:15], whole[15:]], ("start", "end"))
    assert copies.longest(whole, known) == Copy(25, "end", 0, 15)
    # Nor from a piece into its own or another's end: the same piece twice is not one of double length.
    half = whole[:15]
    twice = copies.index([half, half], ("one", "two"))
    assert copies.longest(_join(half, half), twice) == Copy(15, "one", 0, 0)


def test_times_between_grid_steps_and_the_order_within_a_chord_do_not_hide_a_copy():
    piece = _piece(5, 60)
    rng = np.random.default_rng(0)
    shaken = piece.onset_beats + rng.uniform(0, 0.1, 60)
    played = from_beats(piece.pitch, np.full(60, 99), shaken, np.full(60, 0.5))
    assert copies.longest(played, copies.index([piece], ("piece",))) == Copy(60, "piece", 0, 0)


def test_a_rhythm_or_a_melody_alone_is_no_copy():
    piece = _piece(6, 60)
    slower = dataclasses.replace(piece, onset_beats=2 * piece.onset_beats + 0.25 * np.arange(60))
    upside_down = dataclasses.replace(piece, pitch=np.int16(127) - piece.pitch)
    known = copies.index([piece], ("piece",))
    assert copies.longest(slower, known).length <= 3
    assert copies.longest(upside_down, known).length <= 3


@pytest.mark.parametrize("known", [[], [_piece(0, 0)], [_piece(0, 1), _piece(0, 0)], [_piece(0, 40)]])
@pytest.mark.parametrize("notes", [0, 1])
def test_without_two_notes_there_is_no_copy(known, notes):
    names = tuple(map(str, range(len(known))))
    assert copies.longest(_piece(1, notes), copies.index(known, names)) == Copy(0, "", 0, 0)
    assert copies.longest(_piece(1, 30), copies.index([_piece(2, 1), *known[:0]], ("x",))) == Copy(0, "", 0, 0)


def test_each_piece_has_a_name():
    with pytest.raises(ValueError, match="1 names for 2 pieces; expected one for each"):
        copies.index([_piece(0, 3), _piece(1, 3)], ("one",))


def _by_force(notes: Notes, known: list[Notes], names: tuple[str, ...]) -> Copy:
    """Every run against every run: the longest; of these the first in the piece, then in the known pieces."""
    pitch, onset, _ = on_grid(notes)
    best = Copy(0, "", 0, 0)
    for own in range(len(pitch)):
        for piece, name in zip(known, names, strict=True):
            other_pitch, other_onset, _ = on_grid(piece)
            for at in range(len(other_pitch)):
                length = 1
                while (
                    own + length < len(pitch)
                    and at + length < len(other_pitch)
                    and pitch[own + length] - pitch[own] == other_pitch[at + length] - other_pitch[at]
                    and onset[own + length] - onset[own] == other_onset[at + length] - other_onset[at]
                ):
                    length += 1
                if length > max(best.length, 1):
                    best = Copy(length, name, at, own)
    return best


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(0, 25),
    st.lists(st.integers(0, 25), max_size=4),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_copies_are_those_found_by_comparing_all_runs(seed, notes, lengths, pitches, intervals):
    known = [_piece(seed + 1 + place, length, pitches, intervals) for place, length in enumerate(lengths)]
    names = tuple(f"piece {place}" for place in range(len(known)))
    piece = _piece(seed, notes, pitches, intervals)
    assert copies.longest(piece, copies.index(known, names)) == _by_force(piece, known, names)


def test_suffixes_are_sorted_as_python_sorts_them():
    rng = np.random.default_rng(4)
    for length in (0, 1, 2, 50):
        symbols = rng.integers(0, 2, length)
        suffixes = [symbols[begin:].tolist() for begin in range(length)]
        assert copies._suffix_order(symbols).tolist() == sorted(range(length), key=suffixes.__getitem__)
