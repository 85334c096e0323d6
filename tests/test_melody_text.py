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
    with pytest.raises(UsageError, match=r"primer .*expected such as") as refused:
        melody_text.entries(text)
    assert told in str(refused.value)


def test_a_melody_is_not_mistaken_for_a_file() -> None:
    assert melody_text.is_melody("[60]") and melody_text.is_melody(" [") and not melody_text.is_melody("song.mid")
