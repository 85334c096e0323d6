"""Frames on a beat grid: examples by hand, and notes and frames as each other's inverses."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax.music import piano_roll
from musicjax.music.notes import Notes, from_beats
from musicjax.music.piano_roll import KEYS, LOWEST_PITCH

GRIDS = st.sampled_from([1, 2, 3, 4, 24])
TEMPOS = st.sampled_from([120.0, 97.3, 33.0, 300.0])


def _notes(*notes: tuple[int, float, float]) -> Notes:
    pitch, onset, duration = zip(*notes, strict=True)
    return from_beats(pitch, [80] * len(notes), onset, duration)


def _told(notes: Notes) -> list[tuple[int, float, float]]:
    return list(zip(notes.pitch.tolist(), notes.onset_beats.tolist(), notes.duration_beats.tolist(), strict=True))


def _marks(frames: np.ndarray) -> list[tuple[int, int]]:
    return [(int(frame), int(column)) for frame, column in np.argwhere(frames)]


def _random(seed: int, length: int, density: float, columns: int = KEYS) -> np.ndarray:
    return (np.random.default_rng(seed).random((length, columns)) < density).astype(np.uint8)


def _trimmed(frames: np.ndarray) -> np.ndarray:
    """Without the silence at the end."""
    sounding = np.flatnonzero(frames.any(axis=1))
    return frames[: sounding[-1] + 1 if len(sounding) else 0]


def _canonical(seed: int, length: int, density: float) -> np.ndarray:
    """Frames [F, 176] in which an onset sounds and whatever starts to sound has an onset."""
    sounds = _random(seed, length, density)
    rises = sounds & (1 - np.concatenate([np.zeros((1, KEYS), np.uint8), sounds[:-1]]))
    return _trimmed(np.concatenate([sounds, rises | (sounds & _random(seed + 1, length, 0.3))], axis=1))


RANDOM = {
    "seed": st.integers(0, 2**31),
    "length": st.integers(1, 60),
    "density": st.sampled_from([0.01, 0.2, 0.6, 1.0]),
}


def test_a_note_sounds_from_its_onset_until_it_ends():
    notes = _notes((21, 0.0, 1.0), (108, 0.5, 0.25), (60, 1.0, 0.5))
    frames, left_out = piano_roll.frames(notes, per_beat=4)
    assert frames.dtype == np.uint8 and frames.shape == (6, 88) and left_out == 0
    assert _marks(frames) == [(0, 0), (1, 0), (2, 0), (2, 87), (3, 0), (4, 39), (5, 39)]
    with_onsets, _ = piano_roll.frames(notes, per_beat=4, onsets=True)
    assert with_onsets.dtype == np.uint8 and with_onsets.shape == (6, 176)
    np.testing.assert_array_equal(with_onsets[:, :88], frames)
    assert _marks(with_onsets[:, 88:]) == [(0, 0), (2, 87), (4, 39)]


def test_times_off_the_grid_go_to_the_nearest_frame_and_no_note_vanishes():
    notes = _notes((60, 0.24, 0.0), (61, 0.26, 0.5), (62, 0.25, 0.5), (63, 0.0, 0.74), (64, 1.0, 0.01))
    frames, _ = piano_roll.frames(notes, per_beat=2)
    assert _marks(frames) == [(0, 39), (0, 42), (1, 40), (1, 41), (2, 43)]


def test_a_middle_goes_up_though_the_tempo_leaves_it_a_little_below():
    # At 38 a minute .375 beats come back from seconds as .37499999999999994.
    frames = [piano_roll.frames(from_beats([60], [80], [0.375], [1.0], bpm), 4)[0] for bpm in (120.0, 38.0)]
    assert from_beats([60], [80], [0.375], [1.0], 38.0).onset_beats[0] < 0.375
    np.testing.assert_array_equal(*frames)
    assert _marks(frames[0]) == [(frame, 39) for frame in (2, 3, 4, 5)]


def test_notes_off_the_keys_are_counted_and_leave_nothing():
    notes = _notes((20, 0.0, 9.0), (21, 0.0, 1.0), (108, 0.0, 1.0), (109, 0.0, 1.0), (0, 1.0, 1.0), (127, 2.0, 1.0))
    for onsets in (False, True):
        frames, left_out = piano_roll.frames(notes, 1, onsets)
        assert left_out == 4
        assert _marks(frames[:, :88]) == [(0, 0), (0, 87)]
        assert len(frames) == 1  # no silence for the ends of notes that are not there


def test_no_notes_are_no_frames_and_the_other_way_round():
    nothing = _notes((60, 0.0, 1.0))[:0]
    for onsets, width in ((False, 88), (True, 176)):
        frames, left_out = piano_roll.frames(nothing, 4, onsets)
        assert frames.shape == (0, width) and frames.dtype == np.uint8 and left_out == 0
        assert len(piano_roll.notes_of(frames, 4)) == 0
        assert len(piano_roll.notes_of(np.zeros((7, width), np.uint8), 4)) == 0


def test_only_onsets_keep_repeated_notes_apart():
    notes = _notes((60, 0.0, 1.0), (60, 1.0, 0.5), (60, 1.5, 0.5))
    assert _told(piano_roll.notes_of(piano_roll.frames(notes, 2)[0], 2)) == [(60, 0.0, 2.0)]
    assert _told(piano_roll.notes_of(piano_roll.frames(notes, 2, onsets=True)[0], 2)) == _told(notes)


def test_overlapping_notes_of_a_key_sound_as_one_until_the_last_of_them_ends():
    notes = _notes((60, 0.0, 4.0), (60, 1.0, 1.0))
    frames, _ = piano_roll.frames(notes, 1)
    assert _marks(frames) == [(0, 39), (1, 39), (2, 39), (3, 39)]
    again = piano_roll.notes_of(piano_roll.frames(notes, 1, onsets=True)[0], 1)
    assert _told(again) == [(60, 0.0, 1.0), (60, 1.0, 3.0)]


def test_an_onset_that_does_not_sound_is_a_note_of_one_frame():
    frames = np.zeros((6, 176), np.uint8)
    frames[[1, 2], 88] = 1  # twice in a row, and neither sounds
    frames[2:5, 1] = 1  # sounds and never begins
    frames[4, 88 + 1] = 1
    assert _told(piano_roll.notes_of(frames, 1)) == [(21, 1.0, 1.0), (21, 2.0, 1.0), (22, 2.0, 2.0), (22, 4.0, 1.0)]


def test_notes_come_sorted_by_onset_then_pitch_with_the_tempo_and_velocity_asked_for():
    frames = np.zeros((4, 88), np.int64)
    frames[0, [50, 7]] = frames[1:, 3] = frames[3, 2] = 1
    notes = piano_roll.notes_of(frames, per_beat=2, bpm=60.0, velocity=33)
    assert _told(notes) == [(28, 0.0, 0.5), (71, 0.0, 0.5), (24, 0.5, 1.5), (23, 1.5, 0.5)]
    assert notes.onset.tolist() == [0.0, 0.0, 0.5, 1.5] and notes.duration.tolist() == [0.5, 0.5, 1.5, 0.5]
    assert notes.velocity.tolist() == [33] * 4
    assert (notes.pitch.dtype, notes.velocity.dtype) == (np.int16, np.int16)
    for kind in (bool, np.uint8, np.float32):
        assert _told(piano_roll.notes_of(frames.astype(kind), 2)) == _told(notes)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(**RANDOM, per_beat=GRIDS, bpm=TEMPOS, silence=st.integers(0, 3))
def test_any_frames_come_back_but_for_the_silence_after_them(seed, length, density, per_beat, bpm, silence):
    frames = _trimmed(_random(seed, length, density))
    longer = np.concatenate([frames, np.zeros((silence, KEYS), np.uint8)])
    notes = piano_roll.notes_of(longer, per_beat, bpm)
    again, left_out = piano_roll.frames(notes, per_beat)
    np.testing.assert_array_equal(again, frames)
    assert again.dtype == np.uint8 and left_out == 0
    assert len(notes) == piano_roll.held_notes(frames)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(**RANDOM, per_beat=GRIDS, bpm=TEMPOS)
def test_canonical_frames_with_onsets_come_back(seed, length, density, per_beat, bpm):
    frames = _canonical(seed, length, density)
    notes = piano_roll.notes_of(frames, per_beat, bpm)
    np.testing.assert_array_equal(piano_roll.frames(notes, per_beat, onsets=True)[0], frames)
    assert len(notes) == frames[:, KEYS:].sum()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(**RANDOM)
def test_frames_of_any_kind_with_onsets_become_canonical_and_stay_so(seed, length, density):
    frames = _random(seed, length, density, 2 * KEYS)
    once, _ = piano_roll.frames(piano_roll.notes_of(frames, 4), 4, onsets=True)
    np.testing.assert_array_equal(once[:, :KEYS], _trimmed(frames[:, :KEYS] | frames[:, KEYS:]))
    assert (once[:, KEYS:] >= frames[: len(once), KEYS:]).all()
    assert (once[:, :KEYS] >= once[:, KEYS:]).all()
    np.testing.assert_array_equal(piano_roll.frames(piano_roll.notes_of(once, 4), 4, onsets=True)[0], once)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data(), per_beat=GRIDS)
def test_notes_on_the_grid_that_do_not_overlap_come_back_exactly(data, per_beat):
    told = []
    for pitch in data.draw(st.sets(st.integers(LOWEST_PITCH, LOWEST_PITCH + KEYS - 1), min_size=1, max_size=6)):
        end = 0
        for rest, length in data.draw(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), max_size=8)):
            told.append((pitch, (end + rest) / per_beat, length / per_beat))
            end += rest + length
    told.sort(key=lambda note: (note[1], note[0]))
    notes = _notes(*told) if told else _notes((60, 0.0, 1.0))[:0]
    frames, left_out = piano_roll.frames(notes, per_beat, onsets=True)
    assert left_out == 0
    assert _told(piano_roll.notes_of(frames, per_beat)) == told


TIMES = st.tuples(st.integers(0, 127), st.integers(0, 40 * 480), st.integers(0, 5 * 480))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(ticks=st.lists(TIMES, min_size=1, max_size=30), per_beat=GRIDS, shift=st.integers(1, 9), onsets=st.booleans())
def test_a_shift_by_whole_frames_shifts_the_frames(ticks, per_beat, shift, onsets):
    def frames(by: int) -> tuple[np.ndarray, int]:
        notes = _notes(*((pitch, start / 480 + by / per_beat, length / 480) for pitch, start, length in ticks))
        return piano_roll.frames(notes, per_beat, onsets)

    here, left_out = frames(0)
    there, left_out_there = frames(shift)
    assert left_out == left_out_there == sum(not LOWEST_PITCH <= pitch < LOWEST_PITCH + KEYS for pitch, *_ in ticks)
    if len(here):
        assert not there[:shift].any()
    np.testing.assert_array_equal(there[shift:], here)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(ticks=st.lists(TIMES, min_size=1, max_size=12), per_beat=GRIDS)
def test_frames_are_those_of_the_notes_one_by_one(ticks, per_beat):
    expected = np.zeros((3000, 2 * KEYS), np.uint8)
    for pitch, start, length in ticks:
        first = (2 * start * per_beat + 480) // 960  # to the nearest in whole numbers, the middle upwards
        end = max(first + 1, (2 * (start + length) * per_beat + 480) // 960)
        if LOWEST_PITCH <= pitch < LOWEST_PITCH + KEYS:
            expected[first:end, pitch - LOWEST_PITCH] = 1
            expected[first, KEYS + pitch - LOWEST_PITCH] = 1
    notes = _notes(*((pitch, start / 480, length / 480) for pitch, start, length in ticks))
    np.testing.assert_array_equal(piano_roll.frames(notes, per_beat, onsets=True)[0], _trimmed(expected))


def test_runs_are_counted_by_key():
    frames = np.zeros((5, 88), np.uint8)
    frames[[0, 1, 3], 4] = frames[4, 9] = 1
    assert piano_roll.held_notes(frames) == 3
    assert piano_roll.held_notes(frames[:0]) == 0


@pytest.mark.parametrize("per_beat", [0, -1, 1.5])
def test_an_impossible_grid_is_refused(per_beat):
    with pytest.raises(ValueError, match="expected a whole number of at least 1"):
        piano_roll.frames(_notes((60, 0.0, 1.0)), per_beat)
    with pytest.raises(ValueError, match="expected a whole number of at least 1"):
        piano_roll.notes_of(np.zeros((2, 88)), per_beat)


@pytest.mark.parametrize("shape", [(3, 87), (88, 3), (88,), (2, 3, 88), (3, 128)])
def test_frames_of_another_width_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected \[frames, 88\] or \[frames, 176\]"):
        piano_roll.notes_of(np.zeros(shape), 4)


def test_hundreds_of_pieces_take_a_moment():
    pieces = [_random(seed, 400, 0.05) for seed in range(20)]
    notes = [piano_roll.notes_of(piece, 4) for piece in pieces]
    started = time.process_time()
    for piece in pieces:
        piano_roll.notes_of(piece, 4)
    for piece in notes:
        piano_roll.frames(piece, 4, onsets=True)
    # Of the size of a song each; 700 of them are to take a few seconds, on a slow and busy machine too.
    assert time.process_time() - started < 5 * len(pieces) / 700 * 5


@pytest.mark.parametrize(("frames_a_bar", "columns"), [(1, 0), (2, 1), (4, 2), (6, 3), (16, 4), (384, 9)])
def test_a_frame_tells_its_place_in_a_bar_that_begins_with_its_piece(frames_a_bar, columns):
    offsets = np.array([0, 7, 7, 30])
    frames = np.zeros((30, 5), np.uint8)
    found = piano_roll.with_positions(frames, offsets, frames_a_bar)
    assert found.dtype == np.uint8 and found.shape == (30, 5 + columns) and not found[:, :5].any()
    assert piano_roll.position_columns(frames_a_bar) == columns
    place = found[:, 5:] @ 2 ** np.arange(columns)
    assert place.tolist() == [k % frames_a_bar for length in (7, 23) for k in range(length)]


@pytest.mark.parametrize(("keys", "lowest"), [(88, 21), (86, 23), (85, 24), (78, 24), (24, 24)])
@pytest.mark.parametrize("onsets", [False, True])
def test_fewer_keys_are_columns_of_all_and_become_the_same_notes(keys, lowest, onsets):
    notes = _notes(*((pitch, float(pitch - 18), 1.0) for pitch in range(18, 112)))
    every, _ = piano_roll.frames(notes, 1, onsets)
    found, left_out = piano_roll.frames(notes, 1, onsets, keys)
    assert piano_roll.lowest_pitch(keys) == lowest and left_out == len(notes) - keys
    first = lowest - 21
    groups = every[: len(found)].reshape(len(found), -1, 88)[..., first : first + keys]
    np.testing.assert_array_equal(found, groups.reshape(len(found), -1))
    again = piano_roll.notes_of(found, 1, keys=keys)
    assert again.pitch.tolist() == list(range(lowest, lowest + keys))
