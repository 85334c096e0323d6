"""Keys and scales beside a keyboard written out."""

from __future__ import annotations

import pytest

from musicjax.errors import UsageError
from musicjax.music import scales

NAMES = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"]
# An octave from the root up, as books of scales print them.
PRINTED = {
    ("C", "major"): "C D E F G A B",
    ("A", "minor"): "A B C D E F G",
    ("A", "harmonic_minor"): "A B C D E F G#",
    ("A", "melodic_minor"): "A B C D E F# G#",
    ("D", "dorian"): "D E F G A B C",
    ("E", "phrygian"): "E F G A B C D",
    ("F", "lydian"): "F G A B C D E",
    ("G", "mixolydian"): "G A B C D E F",
    ("B", "locrian"): "B C D E F G A",
    ("C", "pentatonic"): "C D E G A",
    ("A", "minor_pentatonic"): "A C D E G",
    ("C", "blues"): "C D# F F# G A#",
    ("C", "whole_tone"): "C D E F# G# A#",
    ("C", "chromatic"): " ".join(NAMES),
    ("Bb", "major"): "A# C D D# F G A",
    ("F#", "minor"): "F# G# A B C# D E",
}


@pytest.mark.parametrize(("key", "scale"), PRINTED)
def test_a_scale_has_the_notes_that_books_print(key: str, scale: str) -> None:
    pitches = scales.pitches(key, scale)
    assert {NAMES[pitch % 12] for pitch in pitches} == set(PRINTED[key, scale].split())
    assert list(pitches) == sorted(pitches) and {pitch // 12 for pitch in pitches} == set(range(11))
    inside = scales.pitches(key, scale, 50, 70)
    assert inside == tuple(pitch for pitch in pitches if 50 <= pitch <= 70)


def test_every_scale_is_printed_above() -> None:
    assert {scale for _, scale in PRINTED} == set(scales.SCALES)


def test_keys_of_one_sound_are_one_and_small_letters_are_letters() -> None:
    assert scales.root("C#") == scales.root("Db") == scales.root("c#") == 1
    assert scales.root("Cb") == scales.root("B") == 11 and scales.root("E#") == scales.root("F") == 5
    assert scales.root("b") == 11 and scales.root("bb") == 10


def test_a_key_alone_is_major_and_nothing_is_everything() -> None:
    assert scales.pitches("D", "") == scales.pitches("D", "major")
    assert scales.pitches("", "") == scales.pitches("", "chromatic") == tuple(range(128))
    assert scales.pitches("C", "major", 61, 61) == ()


@pytest.mark.parametrize("mode", ["major", "minor", "dorian", "mixolydian"])
def test_a_key_with_a_mode_is_its_scale_unless_another_scale_is_named(mode: str) -> None:
    assert scales.pitches(f"Bb {mode}", "") == scales.pitches("Bb", mode)
    assert scales.pitches(f"Bb {mode}", "blues", 40, 80) == scales.pitches("Bb", "blues", 40, 80)
    assert scales.pitches("Dm", "") == scales.pitches("D", "minor")


def test_a_mode_without_keys_is_refused_and_a_scale_of_its_name_is_not() -> None:
    with pytest.raises(UsageError, match=r"no mode 'phrygian'.*--scale=NAME with --key=E "):
        scales.pitches("E phrygian", "")
    assert scales.pitches("E", "phrygian") == scales.pitches("C", "major")


@pytest.mark.parametrize("key", ["I", "C##", "#", "1", "major"])
def test_other_keys_are_refused(key: str) -> None:
    with pytest.raises(UsageError, match=r"key=.*expected a letter A to G"):
        scales.pitches(key, "major")


def test_other_scales_and_scales_without_a_key_are_refused() -> None:
    with pytest.raises(UsageError, match=r"scale='majr'.*major, minor"):
        scales.pitches("C", "majr")
    with pytest.raises(UsageError, match="scale=minor without a key"):
        scales.pitches("", "minor")
