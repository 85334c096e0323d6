"""How training windows change: frames and note events are moved, stretched, played louder and shown their match."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicjax.config import EventsData
from musicjax.encodings import event_augment, frame_augment
from musicjax.encodings.event_augment import EventAugment
from musicjax.encodings.frame_augment import FrameAugment
from musicjax.music import learned_bins, note_rows, piano_roll
from musicjax.music.note_bins import COLUMNS, EDGE, INSTRUMENT, MATCH_INSTRUMENT, TONIC
from musicjax.music.notes import from_beats
from musicjax.training import sequences
from musicjax.training.sequences import Sequences

WINDOW, OFFSETS = 10, np.array([0, 30, 31, 60])
MIDDLE = 0.5  # the random number that leaves a window as it is
gather = jax.jit(Sequences.gather, static_argnums=2)


def gathered(made: Sequences, random: list[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All windows, each with the same random numbers."""
    count = len(made.starts)
    inputs, targets, weight = gather(made, jnp.arange(count), WINDOW, jnp.tile(jnp.float32(random), (count, 1)))
    return np.asarray(inputs), np.asarray(targets), np.asarray(weight)


# Frames.


def _frames(keys: range = range(10, 76)) -> np.ndarray:
    """uint8 [60, 88]: each piece uses the lowest and the highest of these keys."""
    rows = np.zeros((60, 88), np.uint8)
    rows[:, keys.start : keys.stop] = np.random.default_rng(0).random((60, len(keys))) < 0.2
    rows[OFFSETS[:-1], keys.start] = rows[OFFSETS[:-1], keys.stop - 1] = 1
    return rows


def of_frames(rows: np.ndarray, transpose: int = 6) -> Sequences:
    augment = FrameAugment(np.float32(0), None)
    made = sequences.windows(rows, OFFSETS, np.ones(3, bool), WINDOW, transpose, frame_augment.room, augment)
    return jax.tree.map(jnp.asarray, made)


def test_frames_move_by_up_to_six_semitones_and_lose_no_note():
    rows = _frames()
    made, plain = of_frames(rows), gathered(of_frames(rows, 0), [MIDDLE, MIDDLE])[0]
    assert made.random_numbers == 2
    seen = set()
    for number in np.linspace(0, 0.9999, 40):
        inputs, _, _ = gathered(made, [MIDDLE, number])
        assert inputs.sum() == plain.sum()
        semitones = int(np.flatnonzero(inputs[0].any(axis=0))[0] - np.flatnonzero(plain[0].any(axis=0))[0])
        np.testing.assert_array_equal(inputs[0], np.roll(plain[0], semitones, axis=1))
        seen.add(semitones)
    assert seen == set(range(-6, 7))
    assert set(np.asarray(made.down)) == {6} and set(np.asarray(made.up)) == {6}


def test_frames_near_the_end_of_the_keyboard_move_less_far():
    assert set(np.asarray(of_frames(_frames(range(20, 86))).up)) == {2}


def test_onset_columns_move_with_the_sounding_ones():
    sounding, onsets = _frames(), np.roll(_frames(), 1, axis=0)
    both = of_frames(np.concatenate([sounding, onsets], axis=1))
    for number in (0.0, 0.3, 0.99):
        inputs, _, _ = gathered(both, [MIDDLE, number])
        alone, _, _ = gathered(of_frames(sounding), [MIDDLE, number])
        semitones = int(np.flatnonzero(alone[0].any(axis=0))[0]) - int(np.flatnonzero(sounding[:10].any(axis=0))[0])
        np.testing.assert_array_equal(inputs[..., :88], alone)
        np.testing.assert_array_equal(inputs[0, :, 88:], np.roll(onsets[:10], semitones, axis=1))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_match_of_a_frame_moves_with_it_and_this_share_of_windows_keep_it(share):
    rng = np.random.default_rng(0)
    rows = (rng.random((5, 88)) < 0.05).astype(np.uint8)[rng.integers(0, 5, 64)]
    rows[:, [0, 1, 2, 85, 86, 87]] = 0
    rows = piano_roll.with_matches(rows, np.array([0, 64]))
    augment = FrameAugment(np.float32(share), 88)
    made = sequences.windows(rows, np.array([0, 64]), np.array([True]), 16, 3, frame_augment.room, augment)
    assert made.random_numbers == 3
    random = np.stack([np.full(400, MIDDLE), np.repeat([0.0, 0.999], 200), (np.arange(400) + 0.5) / 400], axis=1)
    inputs, targets, _ = gather(made, jnp.full(400, 2), 16, jnp.asarray(random, jnp.float32))
    kept = np.asarray(inputs)[:, :, 88:].any(axis=(1, 2))
    assert kept.mean() == share
    for window, semitones in ((inputs[0], -3), (inputs[399], 3)):
        np.testing.assert_array_equal(window[:, :88], np.roll(rows[32:48, :88], semitones, axis=1))
    if share == 1.0:
        np.testing.assert_array_equal(inputs[0][:, 88:176], np.roll(rows[32:48, 88:176], -3, axis=1))
        np.testing.assert_array_equal(inputs[0][:, 176:], rows[32:48, 176:])
    assert targets.shape == inputs.shape


@pytest.mark.parametrize(("down", "up"), [(5, 4), (12, 12)])
def test_fewer_keys_move_by_as_much_as_they_leave_room_for(down, up):
    rows = np.zeros((20, 2 * 30), np.uint8)
    rows[:, [5, 25, 30 + 5, 30 + 25]] = 1
    assert frame_augment.room(rows, 30) == (5, 4)
    augment = FrameAugment(np.float32(0), None, 0, 30)
    keys = functools.partial(frame_augment.room, keys=30)
    made = sequences.windows(rows, np.array([0, 20]), np.array([True]), 19, down, keys, augment)
    random = jnp.asarray([[MIDDLE, share] for share in (0.0, 0.999)], jnp.float32)
    inputs, _, _ = gather(made, jnp.zeros(2, int), 19, random)
    for window, semitones in zip(np.asarray(inputs), (-5, min(up, 4)), strict=True):
        assert np.flatnonzero(window[0]).tolist() == [start + k + semitones for start in (0, 30) for k in (5, 25)]


def test_no_window_hides_the_place_in_the_bar():
    offsets = np.array([0, 65])
    rows = (np.random.default_rng(0).random((65, 88)) < 0.05).astype(np.uint8)
    rows = piano_roll.with_positions(piano_roll.with_matches(rows, offsets), offsets, 8)
    augment = FrameAugment(np.float32(0), 88, 3)
    made = sequences.windows(rows, offsets, np.array([True]), 16, 0, frame_augment.room, augment)
    inputs, _, _ = gather(made, jnp.arange(4), 16, jnp.full((4, 3), 0.5))
    assert not np.asarray(inputs)[..., 88:-3].any()
    np.testing.assert_array_equal(inputs[..., -3:].reshape(-1, 3), rows[:-1, -3:])


# Note events, of three tempos, two durations and four velocities.

AUGMENT = EventAugment(
    interval=np.int32([[0, 1, 1], [0, 1, 2], [0, 2, 2]]),
    duration=np.int32([[0, 0], [0, 1], [1, 1]]),
    steps=np.int32([0, 1, 3]),
    steps_per_bar=np.int32([8, 6]),
    velocities=np.int32(4),
    velocity_shift=np.int32(1),
    match_share=np.float32(0.75),
    is_drums=np.arange(16) == 1,
)
UNCHANGED = [MIDDLE] * 5
INTERVAL, POSITION, PITCH, DURATION, VELOCITY = range(5)
MATCH_INTERVAL, MATCH_PITCH, MATCH_DURATION, MATCH_VELOCITY, MATCH_LENGTH = range(5, 10)
METER = 10


@functools.cache
def event_rows() -> np.ndarray:
    """uint8 [60, 11]; the last piece changes its meter at row 40, and is silent for longer than any bin at row 45."""
    rng = np.random.default_rng(0)
    interval = rng.integers(0, 3, 60)
    interval[OFFSETS[:-1]] = 0
    position = [np.cumsum(AUGMENT.steps[interval[a:b]]) % 8 for a, b in itertools.pairwise(OFFSETS)]
    position[-1][9:] = np.cumsum(AUGMENT.steps[interval[40:]]) % 6
    position[-1][14:] = (np.cumsum(AUGMENT.steps[interval[45:]]) + 1) % 6
    meter = np.arange(60) >= 40
    rest = [rng.integers(40, 80, 60), rng.integers(0, 2, 60), rng.integers(0, 4, 60)]
    length = rng.integers(0, 3, 60)
    match = [rng.integers(0, 3, 60), rng.integers(40, 80, 60), rng.integers(0, 2, 60), rng.integers(0, 4, 60)]
    columns = [interval, np.concatenate(position), *rest, *(column * (length > 0) for column in match), length, meter]
    return np.stack(columns, axis=1).astype(np.uint8)


@functools.cache
def of_events() -> Sequences:
    made = sequences.windows(event_rows(), OFFSETS, np.ones(3, bool), WINDOW, 6, note_rows.room, AUGMENT)
    return jax.tree.map(jnp.asarray, made)


def test_the_middle_of_all_random_numbers_changes_nothing():
    made = of_events()
    inputs, targets, weight = gathered(made, UNCHANGED)
    assert made.random_numbers == 5
    assert int(weight.sum()) == 30 + 30 and len(made.starts) == 6
    for start, end, one, two, counted in zip(made.starts, made.end, inputs, targets, weight, strict=True):
        first, inside = max(min(int(start), int(end) - 11), 0), int(counted.sum())
        np.testing.assert_array_equal(one[:inside], event_rows()[first : first + inside])
        np.testing.assert_array_equal(two[:inside], event_rows()[first + 1 : first + 1 + inside])


@pytest.mark.parametrize(("random", "which"), [(0.0, 0), (0.99, 2)])
def test_another_tempo_looks_times_up_and_the_bar_position_follows(random, which):
    plain, _, _ = gathered(of_events(), UNCHANGED)
    changed, _, weight = gathered(of_events(), [MIDDLE, MIDDLE, random, MIDDLE, MIDDLE])
    inside = weight > 0
    matched = inside & (plain[..., MATCH_LENGTH] > 0)
    for column, table, counted in (
        (INTERVAL, AUGMENT.interval, inside),
        (DURATION, AUGMENT.duration, inside),
        (MATCH_INTERVAL, AUGMENT.interval, matched),
        (MATCH_DURATION, AUGMENT.duration, matched),
    ):
        expected = table[which][plain[..., column].astype(int)]
        np.testing.assert_array_equal(changed[..., column][counted], expected[counted])
    places = 0
    for row, true, counted in zip(changed, plain, inside, strict=True):
        for now in np.flatnonzero(counted)[1:]:
            bar = 6 if true[now, METER] else 8
            led_to = (true[now - 1, POSITION] + AUGMENT.steps[int(true[now, INTERVAL])]) % bar
            steps = AUGMENT.steps[int(row[now, INTERVAL])]
            follows = led_to == true[now, POSITION] and true[now, METER] == true[now - 1, METER]
            assert row[now, POSITION] == ((row[now - 1, POSITION] + steps) % bar if follows else true[now, POSITION])
            places += not follows
    assert places > 0, "no change of meter and no silence was seen"


def test_pitch_and_velocity_move_by_the_same_in_a_whole_window_within_their_bounds():
    plain, _, weight = gathered(of_events(), UNCHANGED)
    inside = weight > 0
    matched = inside & (plain[..., MATCH_LENGTH] > 0)
    seen = set()
    for random in np.linspace(0, 0.999, 30):
        changed, _, _ = gathered(of_events(), [MIDDLE, random, MIDDLE, random, MIDDLE])
        semitones = np.unique((changed[..., PITCH] - plain[..., PITCH])[inside])
        assert len(semitones) == 1
        seen.add(int(semitones[0]))
        louder = np.floor(random * 3) - 1
        np.testing.assert_array_equal((changed[..., MATCH_PITCH] - plain[..., MATCH_PITCH])[matched], semitones[0])
        for column, counted in ((VELOCITY, inside), (MATCH_VELOCITY, matched)):
            expected = np.clip(plain[..., column] + louder, 0, 3)
            np.testing.assert_array_equal(changed[..., column][counted], expected[counted])
        assert (changed[..., MATCH_INTERVAL:METER][inside & ~matched] == 0).all(), "no match, no columns of one"
    assert seen == set(range(-6, 7))


@pytest.mark.parametrize(("random", "kept"), [(0.74, True), (0.76, False)])
def test_three_quarters_of_the_windows_keep_their_match(random, kept):
    plain, _, _ = gathered(of_events(), UNCHANGED)
    changed, _, _ = gathered(of_events(), [*UNCHANGED[:4], random])
    np.testing.assert_array_equal(changed[..., :MATCH_INTERVAL], plain[..., :MATCH_INTERVAL])
    np.testing.assert_array_equal(changed[..., MATCH_INTERVAL:METER], plain[..., MATCH_INTERVAL:METER] * kept)
    np.testing.assert_array_equal(changed[..., METER], plain[..., METER])


def test_keys_move_along_and_drums_and_edges_stay():
    rows = np.zeros((60, len(COLUMNS)), np.uint8)
    rows[:, :11] = event_rows()
    rows[:, INSTRUMENT], rows[:, MATCH_INSTRUMENT] = np.arange(60) % 2, np.arange(60) % 2
    rows[OFFSETS[:-1]] = 0
    rows[OFFSETS[:-1], INTERVAL] = EDGE
    scaled = [np.pad(table, ((0, 0), (0, 48 - table.shape[1]))) for table in (AUGMENT.interval, AUGMENT.duration)]
    scaled[0][:, EDGE] = EDGE
    steps = np.pad(AUGMENT.steps, (0, 45))
    augment = AUGMENT._replace(interval=scaled[0], duration=scaled[1], steps=steps)
    made = sequences.windows(rows, OFFSETS, np.ones(3, bool), WINDOW, 6, note_rows.room, augment)
    made = jax.tree.map(jnp.asarray, made)
    plain, changed = (gathered(made, [MIDDLE, up, MIDDLE, up, MIDDLE])[0] for up in (MIDDLE, 0.999))
    edges, drums = plain[..., INTERVAL] == EDGE, plain[..., INSTRUMENT] == 1
    assert edges.any() and (plain[..., TONIC] == 0).all() and (changed[..., TONIC] == 6).all()
    moved = changed[..., PITCH] - plain[..., PITCH]
    assert (moved[~edges & ~drums] == 6).all() and (moved[edges | drums] == 0).all()
    shown = ~edges & (plain[..., MATCH_LENGTH] > 0)
    matched = changed[..., MATCH_PITCH] - plain[..., MATCH_PITCH]
    assert (matched[shown & (plain[..., MATCH_INSTRUMENT] == 0)] == 6).all()
    assert (matched[shown & (plain[..., MATCH_INSTRUMENT] == 1)] == 0).all()
    others = [column for column in range(len(COLUMNS)) if column not in (TONIC, POSITION)]
    np.testing.assert_array_equal(changed[edges][:, others], plain[edges][:, others])


def test_the_fields_of_a_config_become_its_tables():
    onset = np.arange(32) / 4
    bins = learned_bins.learn([from_beats(np.full(32, 60), np.full(32, 80), onset, np.resize([0.25, 0.5, 1.0], 32))])
    still = event_augment.of(bins, EventsData(match_share=0.25))
    assert len(still.interval) == len(still.duration) == 1 and int(still.velocity_shift) == 0
    assert float(still.match_share) == 0.25 and still.steps_per_bar.tolist() == [16]
    used = len(bins.duration)
    assert still.duration[0, :used].tolist() == list(range(used))
    moved = event_augment.of(bins, EventsData(tempo_stretch_percent=40, velocity_shift_bins=2))
    assert len(moved.interval) == 2 * event_augment.TEMPOS + 1 and int(moved.velocity_shift) == 2
    middle = moved.duration[event_augment.TEMPOS]
    assert middle.tolist() == still.duration[0].tolist(), "the middle tempo is the piece's own"
