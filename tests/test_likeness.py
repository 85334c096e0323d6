"""What a listener notices in music, against values by hand, and which of two sets of pieces is more like real ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from musicjax.music import copies, keys, likeness, scales
from musicjax.music.notes import DRUMS, Notes, from_beats


def _notes(*rows: tuple[float, int, float]) -> Notes:
    """Notes from (onset, pitch, duration), times in quarter notes."""
    onset, pitch, duration = np.array(sorted(rows), float).reshape(-1, 3).T
    return from_beats(pitch.astype(int), np.full(len(rows), 80), onset, duration)


def _tune(seed: int, pitches: tuple[int, ...] = (60, 62, 64, 65, 67, 69, 71)) -> Notes:
    """A phrase of eight notes over C major chords, four times; then C."""
    phrase = np.random.default_rng(seed).choice(pitches, 8)
    melody = [(float(beat), int(phrase[beat % 8]), 1.0) for beat in range(32)] + [(32.0, 72, 4.0)]
    chords = [(float(bar * 4), pitch, 4.0) for bar in range(9) for pitch in (36, 40, 43)]
    return _notes(*melody, *chords)


def test_the_melody_is_the_top_line_and_what_sounds_below_it_is_its_chord():
    # A C major triad under D and E; then a long high A, under which the F is no melody.
    notes = _notes((0, 48, 4), (0, 52, 4), (0, 55, 4), (0, 62, 1), (1, 64, 1), (2, 69, 2), (3, 65, 1))
    pitch, below = likeness.melody(notes)
    assert pitch.tolist() == [62, 64, 69]
    assert [np.flatnonzero(row).tolist() for row in below] == [[0, 4, 7]] * 3
    assert likeness.in_chord_share(pitch, below) == 1 / 3  # E alone belongs to C major


def test_a_note_that_ends_as_another_begins_does_not_sound_with_it():
    pitch, below = likeness.melody(_notes((0, 72, 1), (1, 60, 1), (1, 48, 1)))
    assert pitch.tolist() == [72, 60]
    assert [np.flatnonzero(row).tolist() for row in below] == [[], [0]]


def test_repeats_are_runs_of_six_that_come_again():
    phrase = [60, 62, 64, 65, 67, 69]
    assert likeness.repeats_share(np.array(phrase * 2)) == 2 / 7
    assert likeness.repeats_share(np.array([60] * 12)) == 1
    assert likeness.repeats_share(np.arange(40)) == 0
    assert np.isnan(likeness.repeats_share(np.arange(5)))


@pytest.mark.parametrize(("last", "expected"), [(72, 1), (67, 1), (64, 1), (62, 0), (65, 0)])
def test_an_end_is_on_the_tonic_triad_or_not(last, expected):
    tune = _tune(1)
    tune.pitch[tune.pitch == 72] = last
    assert likeness.ends_on_tonic(tune) == expected


def test_the_scale_is_the_best_of_all_keys():
    assert (
        likeness.scale_share(_notes(*((beat, 61 + step, 1) for beat, step in enumerate((0, 2, 4, 5, 7, 9, 11))))) == 1
    )
    assert likeness.scale_share(_notes(*((beat, 60 + beat, 1) for beat in range(12)))) == 7 / 12


def test_music_without_pitches_has_nothing_to_measure_and_still_a_score():
    drums = [dataclasses.replace(tune, program=np.full(len(tune), DRUMS, np.int16)) for tune in map(_tune, range(4))]
    found = likeness.means(drums)
    assert found.pop("at_bar_line") == 1 and np.isnan(list(found.values())).all()
    standard = likeness.standard(drums[:2], copies.index(drums[2:], ("a", "b")), 50)
    found = likeness.score(drums[2:], standard)
    assert set(found) == {"overlap", "own", "score"}
    assert 0 <= found["score"] <= 1


def test_nothing_scores_nothing():
    real = [_tune(seed) for seed in range(4)]
    standard = likeness.standard(real[:2], copies.index(real[2:], ("a", "b")), 50)
    assert set(likeness.score([_notes()], standard).values()) == {0.0}


def test_pieces_of_the_same_kind_score_higher_than_noise_and_than_copies():
    real, known, alike = ([_tune(seed) for seed in range(first, first + 8)] for first in (0, 100, 200))
    standard = likeness.standard(real, copies.index(known, tuple("abcdefgh")), 60)
    noise = [_tune(seed, tuple(range(48, 84))) for seed in range(8)]
    scores = {
        name: likeness.score(of, standard) for name, of in {"alike": alike, "noise": noise, "copy": known}.items()
    }
    assert scores["alike"]["score"] > scores["noise"]["score"]
    assert scores["alike"]["score"] > scores["copy"]["score"]
    assert scores["copy"]["own"] < 0.5 < scores["alike"]["own"]
    assert scores["noise"]["scale"] < scores["alike"]["scale"]


def test_training_pieces_are_a_whole_standard_that_asks_for_endings():
    known = [_tune(seed) for seed in range(20)]
    known[0] = known[0][:20]
    known[6] = known[5]  # a duplicate
    standard = likeness.standard_of_training(known, copies.index(known, ("",) * 20), 100, 100)
    assert (standard.is_whole, standard.notes) == (True, len(known[5]))
    others = copies.index([piece for place, piece in enumerate(known) if place % likeness.ONE_IN], ("",) * 16)
    shared = [copies.longest(piece, others).length for piece in known[:: likeness.ONE_IN]]
    assert standard.longest_copy == max(shared[:1] + shared[2:]) < shared[1] == len(known[5])
    known = [_tune(seed) for seed in range(20)]
    standard = likeness.standard_of_training(known, copies.index(known, ("",) * 20), 100, 100)
    assert standard.means["ending"] == 1.0
    ended = [_tune(seed) for seed in range(100, 108)]
    stopped = [piece[:-4] for piece in ended]  # without the last chord
    assert likeness.score(ended, standard)["ending"] == 1.0 > likeness.score(stopped, standard)["ending"]
    assert likeness.score(known, standard)["own"] < 0.5


def test_the_nearest_piece_differs_least_in_what_the_real_one_has():
    tune, noise = _tune(1), _tune(2, (60, 61, 63, 66, 68, 70))
    like = np.array(list(likeness.of_piece(_tune(3)).values()))
    assert likeness.nearest([noise, tune], like, [0.1] * 5) == 1
    assert likeness.nearest([tune, noise], like, [0.1] * 5) == 0
    # Where real pieces are all alike, the spread is not 0.
    assert likeness.nearest([noise, tune], like, [0.0] * 5) == 1
    # A measure that the real piece lacks is not compared. One that a try lacks counts against it.
    assert likeness.nearest([noise, tune], np.full(5, np.nan), [0.1] * 5) == 0
    melody = _notes(*[(float(beat), 60 + beat % 5, 1.0) for beat in range(32)])
    in_chord = np.array([np.nan, like[1], np.nan, np.nan, np.nan])
    assert likeness.nearest([melody, tune], in_chord, [0.1] * 5) == 1


def test_the_scale_of_a_key_has_the_leading_note_in_minor_alone():
    for key, outside in (("A", 0), ("Am", 0), ("A:dorian", 1), ("A:mixolydian", 1)):
        steps = scales.SCALES[keys.MODES[keys.key_of(key)[1]]]
        notes = _notes(*((beat, 69 + step, 1) for beat, step in enumerate((*steps, 11, 11 if outside else 12))))
        share = (len(steps) + (0 if outside else 2)) / (len(steps) + 2)
        assert likeness.scale_share(notes, likeness.key_of(key)) == share, key


def test_where_a_key_is_asked_for_the_nearest_piece_is_in_it_whatever_the_real_one_is():
    in_c, in_d = _tune(1), dataclasses.replace(_tune(1), pitch=_tune(1).pitch + 2)
    real = np.array(list(likeness.of_piece(_tune(3, (60, 61, 63, 66, 68, 70))).values()))
    asked = [("", ""), ("C", ""), ("D", ""), ("Em", ""), ("Bm", ""), ("A", "minor"), ("B", "minor")]
    found = [likeness.nearest([in_c, in_d], real, [0.1] * 5, likeness.key_of(*one)) for one in asked]
    assert found == [0, 0, 1, 0, 1, 0, 1]


def test_an_ending_is_on_the_triad_of_the_key_asked_for():
    tune = _tune(1)  # on C
    assert [likeness.ends_on_tonic(tune, likeness.key_of(key)) for key in ("", "C", "Am", "Em", "F")] == [1, 1, 1, 0, 1]
    on_e = dataclasses.replace(tune, pitch=np.where(tune.pitch == 72, 76, tune.pitch))
    assert likeness.nearest([tune, on_e], np.full(5, 1.0), [0.1] * 5, likeness.key_of("Em")) == 1


def test_a_pile_of_one_pitch_is_never_nearest():
    tune = _tune(1)
    piled = _notes(*[(beat, pitch, 1.0) for beat, pitch in zip(tune.onset_beats, tune.pitch, strict=True)] * 3)
    like = np.array(list(likeness.of_piece(piled).values()))
    assert likeness.piled_share(tune) == 0 and likeness.piled_share(piled) == pytest.approx(2 / 3)
    assert likeness.nearest([piled, _tune(2)], like, [0.1] * 5) == 1


def test_long_training_pieces_are_compared_by_their_first_notes():
    known = [_tune(seed) for seed in range(10)]
    for cut, notes in ((25, 25), (1000, len(known[0]))):
        standard = likeness.standard_of_training(known, copies.index(known, ("",) * 10), 20, cut)
        assert (standard.is_whole, standard.notes) == (False, notes)
        assert "ending" not in likeness.score(known, standard)
