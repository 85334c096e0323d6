"""What the built-in synthesiser sounds like."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax.music import instruments
from musicjax.music.notes import COLUMNS, DRUMS, Notes, from_seconds
from musicjax.report import built_in_synth as synth
from musicjax.report import timbres

NOTHING = from_seconds([], [], [], [])


def _tone(pitch: int, velocity: int = 100, onset: float = 0.0, duration: float = 1.0) -> Notes:
    return from_seconds([pitch], [velocity], [onset], [duration])


def _loudness(sound: np.ndarray, start: float, stop: float) -> float:
    """Root of the mean square between two times in seconds."""
    part = sound[round(start * synth.RATE) : round(stop * synth.RATE)].astype(np.float64)
    return float(np.sqrt(np.mean(part**2)))


@pytest.mark.parametrize(("pitch", "hertz"), [(69, 440.0), (57, 220.0), (60, 261.6256), (21, 27.5), (108, 4186.009)])
def test_the_strongest_frequency_of_a_key_is_its_pitch(pitch, hertz):
    sound = synth.render(_tone(pitch, duration=4.0))
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 2**19))
    strongest = np.argmax(spectrum) * synth.RATE / 2**19
    assert strongest == pytest.approx(hertz, abs=0.2)


def test_the_sum_of_partials_is_what_its_formula_says():
    # The same partials, each computed by itself over all samples.
    pitch, length = 50, 5000
    n, expected = np.arange(length), np.zeros(length)
    for k in range(1, synth.PARTIALS + 1):
        hertz = 440 * 2 ** ((pitch - 69) / 12) * k * np.sqrt((1 + 3e-4 * k**2) / (1 + 3e-4))
        ring = 1.2 * 2 ** ((69 - pitch) / 24) / (1 + 0.35 * (k - 1))
        expected += k**-1.4 * np.exp(-n / synth.RATE / ring) * np.sin(2 * np.pi * hertz * n / synth.RATE)
    after_attack = int(synth.ATTACK_SECONDS * synth.RATE)
    found = synth._tone(pitch, length, synth.RATE)
    np.testing.assert_allclose(found[after_attack:], expected[after_attack:], atol=2e-5)


def test_a_harder_stroke_is_louder_and_a_held_key_dies_away():
    velocities = [10, 40, 80, 127]
    sound = synth.render(from_seconds([69] * 4, velocities, [0.0, 2.0, 4.0, 6.0], [1.0] * 4))
    loudness = [_loudness(sound, start, start + 0.5) for start in (0, 2, 4, 6)]
    assert all(soft * 1.5 < hard for soft, hard in itertools.pairwise(loudness))
    held = synth.render(_tone(60, duration=6.0))
    quarters = [_loudness(held, start, start + 1.0) for start in (0, 1, 2, 4)]
    assert all(later < 0.8 * earlier for earlier, later in itertools.pairwise(quarters))


def test_where_no_note_sounds_there_is_silence():
    notes = from_seconds([60, 72], [100, 100], [1.0, 3.0], [0.5, 0.5])
    sound = synth.render(notes)
    release = synth.RELEASE_SECONDS
    for start, stop in ((0.0, 0.999), (1.501 + release, 2.999)):
        assert not sound[round(start * synth.RATE) : round(stop * synth.RATE)].any()
    assert _loudness(sound, 1.0, 1.5) > 0.01
    assert _loudness(sound, 3.0, 3.5) > 0.01
    assert abs(sound[-1]) < 1e-6
    # No clicks: it begins near 0, and the release makes no step that is larger than those of the tone.
    assert np.abs(sound[synth.RATE : synth.RATE + 4]).max() < 0.05
    steps = np.abs(np.diff(sound))
    held, released = (steps[round(start * synth.RATE) :][: round(release * synth.RATE)] for start in (1.4, 1.5))
    assert released.max() <= held.max()


def test_a_piece_lasts_until_its_last_release_and_nothing_runs_over_its_end():
    late = from_seconds([60, 62], [90, 90], [0.0, 2.0], [9.0, 0.25])
    assert len(synth.render(late)) == np.ceil((9.0 + synth.RELEASE_SECONDS) * synth.RATE)
    assert len(synth.render(late, rate=8000)) == np.ceil((9.0 + synth.RELEASE_SECONDS) * 8000)


def test_no_notes_are_silence_but_a_note_of_no_duration_sounds():
    nothing = synth.render(NOTHING)
    assert nothing.dtype == np.float32
    assert len(nothing) == np.ceil(synth.RELEASE_SECONDS * synth.RATE)
    assert not nothing.any()
    assert _loudness(synth.render(_tone(60, duration=0.0)), 0.0, synth.RELEASE_SECONDS) > 0.01


def test_a_key_struck_again_begins_anew_and_the_louder_of_two_at_once_sounds():
    once = synth.render(_tone(60, velocity=100))
    twice = synth.render(from_seconds([60, 60, 60], [30, 100, 50], [0.0] * 3, [2.0, 1.0, 0.5]))
    np.testing.assert_array_equal(once, twice[: len(once)])
    again = synth.render(from_seconds([60, 60], [100, 100], [0.0, 1.0], [3.0, 1.0]))
    assert _loudness(again, 1.2, 1.3) == pytest.approx(_loudness(again, 0.2, 0.3), rel=0.02)


note = st.tuples(st.integers(0, 127), st.integers(1, 127), st.floats(0, 3), st.floats(0, 2))


@settings(max_examples=8, deadline=None)
@given(st.lists(note, min_size=1, max_size=15))
def test_equal_notes_give_equal_bytes_below_full_scale(rows):
    notes = from_seconds(*zip(*rows, strict=True))
    sound = synth.render(notes, rate=8000)
    assert sound.dtype == np.float32
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() <= synth.PEAK + 1e-6
    assert sound.tobytes() == synth.render(notes, rate=8000).tobytes()


def test_fifteen_loud_keys_at_once_all_sound_and_stay_below_full_scale():
    pitches = 40 + 3 * np.arange(15)
    sound = synth.render(from_seconds(pitches, [127] * 15, [0.0] * 15, [2.0] * 15))
    assert np.abs(sound).max() == pytest.approx(synth.PEAK, abs=1e-6)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 2**18))
    for hertz in 440.0 * 2.0 ** ((pitches - 69) / 12):
        at = round(hertz * 2**18 / synth.RATE)
        assert spectrum[at - 3 : at + 4].max() > 10 * np.median(spectrum[at - 60 : at + 60])


def test_a_piece_of_hours_is_cut():
    hours = from_seconds([60, 60], [90, 90], [0.0, 40_000.0], [1.0, 1.0])
    assert len(synth.render(hours, rate=100)) == np.ceil((synth.MOST_SECONDS + synth.RELEASE_SECONDS) * 100)


# Instruments.


def _played(program: int, pitch: int = 60, seconds: float = 1.0, count: int = 1) -> Notes:
    notes = from_seconds([pitch] * count, [100] * count, np.arange(count) * seconds, [seconds] * count)
    return dataclasses.replace(notes, program=np.full(count, program, np.int16))


def test_each_family_of_instruments_has_a_sound_and_many_differ():
    sounds = [synth.render(_played(program, seconds=0.3), rate=8000) for program in range(0, 128, 8)]
    assert all(np.isfinite(sound).all() and np.abs(sound).max() > 0.8 for sound in sounds)
    assert len({sound.tobytes() for sound in sounds}) >= 10
    assert set(timbres._OF_FAMILY) == set(instruments.FAMILIES)


def test_a_piano_sounds_as_it_did_whichever_of_its_programs_is_asked_for():
    np.testing.assert_array_equal(synth.render(_played(0), 8000), synth.render(_tone(60), 8000))
    np.testing.assert_array_equal(synth.render(_played(4), 8000), synth.render(_tone(60), 8000))


@pytest.mark.parametrize(
    ("program", "dies_away"), [(0, True), (24, True), (33, True), (16, False), (48, False), (73, False)]
)
def test_what_is_struck_dies_away_and_what_is_blown_or_bowed_lasts(program, dies_away):
    sound = synth.render(_played(program, seconds=14.0))
    early, late = _loudness(sound, 0.5, 1.0), _loudness(sound, 13.0, 13.9)
    assert late < 0.01 * early if dies_away else late == pytest.approx(early, rel=0.05)


@pytest.mark.parametrize("program", [16, 33, 40, 56, 65, 73, 80])
def test_every_melodic_instrument_plays_the_pitch(program):
    sound = synth.render(_played(program, 69, 2.0))
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 2**19))
    assert np.argmax(spectrum) * synth.RATE / 2**19 == pytest.approx(440.0, abs=0.5)


def test_instruments_sound_together_and_none_stops_the_others_key():
    organ, piano = _played(16, seconds=2.0), _tone(60, onset=1.0)
    columns = {name: np.append(getattr(organ, name), getattr(piano, name)) for name in COLUMNS}
    sound = synth.render(Notes(**columns))
    alone = synth.render(organ)
    assert _loudness(sound, 1.0, 2.0) > 1.2 * _loudness(sound, 0.5, 0.9), "the piano joins the organ"
    assert len(sound) == len(alone) and _loudness(sound, 0.2, 0.9) > 0.01


def _share_above(sound: np.ndarray, hertz: float) -> float:
    power = np.abs(np.fft.rfft(sound)) ** 2
    return float(power[round(hertz * len(sound) / synth.RATE) :].sum() / power.sum())


def test_drums_are_low_and_noisy_as_they_are_and_do_not_wait_for_their_end():
    kick, snare, hat, cymbal = (synth.render(_played(DRUMS, pitch, 2.0)) for pitch in (36, 38, 42, 49))
    assert _share_above(kick, 400) < 0.1 < 0.3 < _share_above(snare, 400) < _share_above(hat, 400)
    assert _share_above(hat, 6000) > 0.8
    assert not hat[round(0.5 * synth.RATE) :].any() and _loudness(cymbal, 0.5, 0.7) > 0.01
    short = synth.render(dataclasses.replace(_played(DRUMS, 36, 0.4), duration=np.array([0.01])))
    assert len(short) < len(kick), "a piece ends with its last note"
    assert np.abs(short[-40:]).max() < 0.02, "and its drums fade before that"
    np.testing.assert_array_equal(kick, synth.render(_played(DRUMS, 36, 2.0)))


@pytest.mark.parametrize("pitch", [0, 35, 47, 81, 127])
def test_every_drum_has_a_sound(pitch):
    assert np.abs(synth.render(_played(DRUMS, pitch, 0.5), 8000)).max() == pytest.approx(synth.PEAK, abs=1e-6)
