"""Copies of a piece are known whatever their key, tempo and ticks, and other pieces are not taken for copies."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from musicjax.music import identity, midi
from musicjax.music.notes import Notes, from_beats, from_seconds

MAJOR, MINOR = np.cumsum([60, 2, 2, 1, 2, 2, 2, 1]), np.cumsum([60, 2, 1, 2, 2, 1, 2, 2])
EVEN = np.arange(8.0)


def performed(seed: int = 0, size: int = 200) -> Notes:
    """Notes that lie on no grid, some of them in unison and some at the same time."""
    rng = np.random.default_rng(seed)
    onset = np.sort(rng.uniform(0, 100, size))
    onset[1::5] = onset[::5]
    pitch = rng.integers(40, 80, size)
    pitch[1::10] = pitch[::10]
    return from_beats(pitch, rng.integers(1, 128, size), onset, rng.uniform(0.3, 2, size), 90)


def scale(pitch=MAJOR, onset=EVEN, duration=0.9) -> Notes:
    return from_beats(pitch, np.full(len(pitch), 80), onset, np.full(len(pitch), duration))


def transposed(notes: Notes, semitones: int) -> Notes:
    return from_seconds(notes.pitch + semitones, notes.velocity, notes.onset, notes.duration)


def are_one(one: Notes, other: Notes) -> bool:
    found = identity.first_alike([one, other]).tolist()
    assert found in ([0, 0], [0, 1]) and identity.first_alike([other, one]).tolist() == found
    return found == [0, 0]


@pytest.mark.parametrize("ticks_per_beat", [24, 96, 220, 480, 960])
@pytest.mark.parametrize("bpm", [60.0, 120.0, 187.0])
def test_a_piece_saved_again_in_another_key_and_tempo_is_the_same(tmp_path: Path, ticks_per_beat: int, bpm: float):
    notes = performed()
    slower = transposed(from_seconds(notes.pitch, notes.velocity, notes.onset * 1.3, notes.duration * 1.3), 7)
    assert midi.write(slower, tmp_path / "copy.mid", ticks_per_beat=ticks_per_beat, bpm=bpm) == 0
    copy = midi.read(tmp_path / "copy.mid")
    assert not np.array_equal(copy.onset, notes.onset)
    assert are_one(notes, copy)


def test_tempo_changes_make_no_other_piece_nor_does_saving_without_them():
    notes = performed()
    rubato = notes.onset_beats * 0.6 + np.sin(notes.onset_beats / 10)
    played = Notes(notes.pitch, notes.velocity, rubato, notes.duration, notes.onset_beats, notes.duration_beats)
    assert are_one(notes, played), "the same beats"
    assert are_one(played, from_seconds(played.pitch, played.velocity, rubato * 2, notes.duration * 2)), "and seconds"
    assert not are_one(notes, from_seconds(played.pitch, played.velocity, rubato, notes.duration)), "neither"


def test_a_rest_before_the_first_note_makes_no_other_piece():
    notes = performed()
    assert are_one(notes, from_beats(notes.pitch, notes.velocity, notes.onset_beats + 3, notes.duration_beats))


def test_velocity_and_the_order_of_notes_that_begin_together_do_not_count():
    notes = performed()
    order = np.lexsort((-notes.duration, -notes.pitch, notes.onset))
    louder = Notes(notes.pitch, np.full(len(notes), 127), *notes.to_array()[2:])
    assert not np.array_equal(notes[order].duration, notes.duration)
    assert are_one(notes, louder[order])


OTHERS = {
    "scale": scale(),
    "minor": scale(MINOR),
    "downwards": scale(MAJOR[::-1]),
    "swung": scale(onset=EVEN + np.arange(8) % 2 / 3),
    "dotted": scale(onset=EVEN + np.arange(8) % 2 / 2),
    "with a rest": scale(onset=EVEN + (EVEN > 3)),
    "staccato": scale(duration=0.4),
    "one note less": scale(MAJOR[:7], EVEN[:7]),
    "one note more": scale(np.append(MAJOR, 74), np.arange(9.0)),
    "another last note": scale(np.append(MAJOR[:7], 73)),
    "a chord": scale(onset=np.zeros(8)),
}


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(OTHERS, 2)))
def test_short_pieces_that_differ_in_one_thing_are_told_apart(one: str, other: str):
    assert not are_one(OTHERS[one], OTHERS[other])


@pytest.mark.parametrize("name", OTHERS)
def test_a_short_piece_is_the_same_in_any_key_at_any_tempo(name: str):
    notes = OTHERS[name]
    assert are_one(notes, from_beats(notes.pitch - 5, notes.velocity, notes.onset_beats / 2, notes.duration_beats / 2))


def test_each_piece_names_the_first_that_it_is_the_same_as():
    one, other = performed(1), performed(2)
    pieces = [scale(), one, other, transposed(other, 1), transposed(one, -2), transposed(one, 3), scale(MINOR)]
    assert identity.first_alike(pieces).tolist() == [0, 1, 2, 2, 1, 1, 6]
    nothing = scale(MAJOR[:0], EVEN[:0])
    assert identity.first_alike([nothing, nothing]).tolist() == [0, 1]
    assert identity.first_alike([]).tolist() == []


def test_the_clips_of_the_built_in_corpus_are_all_different(clips: Path):
    found = identity.first_alike([midi.read(path) for path in sorted(clips.iterdir())])
    assert found.tolist() == list(range(12))
