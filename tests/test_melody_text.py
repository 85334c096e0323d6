"""Melodies written as pitches beside a loop over their steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicjax.errors import UsageError
from musicjax.music import melody_text


def notes(text: str) -> list[tuple[int, float, float]]:
    """(pitch, onset, duration) in quarter notes."""
    made = melody_text.notes_of(melody_text.entries(text))
    return list(zip(made.pitch.tolist(), made.onset_beats.tolist(), made.duration_beats.tolist(), strict=True))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[60]", [(60, 0, 0.25)]),
        ("[60,-2,67]", [(60, 0, 0.5), (67, 0.5, 0.25)]),
        ("[60, -2, -2, -1, -2, 62, -2]", [(60, 0, 0.75), (62, 1.25, 0.5)]),
        ("[-2,-2,60,60]", [(60, 0.5, 0.25), (60, 0.75, 0.25)]),
        (" [-1,-1,0,127,] ", [(0, 0.5, 0.25), (127, 0.75, 0.25)]),
    ],
)
def test_a_note_holds_until_something_happens(text: str, expected: list) -> None:
    assert notes(text) == expected


@given(st.lists(st.integers(-2, 127), min_size=1, max_size=60).filter(lambda entries: max(entries) >= 0))
def test_the_melody_sounds_at_every_step_as_its_entries_say(entries: list[int]) -> None:
    sounding, expected = None, []
    for entry in entries:
        sounding = sounding if entry == -2 else None if entry == -1 else entry
        expected.append(sounding)
    steps: list = [None] * len(entries)
    made = notes(str(entries))
    for pitch, onset, duration in made:
        for step in range(round(4 * onset), round(4 * (onset + duration))):
            assert steps[step] is None
            steps[step] = pitch
    assert steps == expected and len(made) == sum(entry >= 0 for entry in entries)


def test_velocity_and_tempo_are_as_asked() -> None:
    made = melody_text.notes_of((60, -2), velocity=33, bpm=60.0)
    assert made.velocity.tolist() == [33] and made.duration.tolist() == [0.5]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "holds no notes"),
        ("[-2,-1]", "holds no notes"),
        ("[60,128]", "holds 128"),
        ("[60,-3]", "holds -3"),
        ("[60,C4]", "not a list of whole numbers"),
        ("[60 62]", "not a list of whole numbers"),
        ("[60,62", "not a list of whole numbers"),
        ("[60.5]", "not a list of whole numbers"),
        ("[60,,62]", "not a list of whole numbers"),
    ],
)
def test_anything_but_a_melody_is_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=r"primer .*expected a melody such as") as refused:
        melody_text.entries(text)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("C,E,G", "[60,-2,-2,-2,64,-2,-2,-2,67,-2,-2,-2]"),
        ("C4 E4 G4", "[60,-2,-2,-2,64,-2,-2,-2,67,-2,-2,-2]"),
        ("[C4, F#3]", "[60,-2,-2,-2,54,-2,-2,-2]"),
        ("bb2;B-1", "[46,-2,-2,-2,11,-2,-2,-2]"),
        ("c d e f g", "[60,-2,-2,-2,62,-2,-2,-2,64,-2,-2,-2,65,-2,-2,-2,...]"),
    ],
)
def test_names_of_notes_are_answered_with_the_melody_to_type(text: str, typed: str) -> None:
    with pytest.raises(UsageError, match="names notes without their lengths") as refused:
        melody_text.require_no_names(text)
    assert str(refused.value).endswith(f"--primer={typed}")
    if "..." not in typed:
        melody_text.entries(typed)


@pytest.mark.parametrize("text", ["", "song.mid", "C,E,H", "G9 C10", "bee", "[60,-2,67]"])
def test_other_texts_name_no_notes(text: str) -> None:
    melody_text.require_no_names(text)


def test_a_file_may_be_called_like_a_note(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "C").write_bytes(b"")
    melody_text.require_no_names("C")


def test_a_melody_is_not_mistaken_for_a_file() -> None:
    assert melody_text.is_melody("[60]") and melody_text.is_melody(" [") and not melody_text.is_melody("song.mid")
