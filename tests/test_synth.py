"""What the built-in synthesiser sounds like."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax.music.notes import Notes, from_seconds
from musicjax.report import synth

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
