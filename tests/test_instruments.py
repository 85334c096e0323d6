"""The names of instruments, the words that are understood, and the groups that a folder of music makes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from musicjax.errors import UsageError
from musicjax.music import instruments
from musicjax.music.instruments import FAMILIES, NAMES, family_of, groups, name_of, named, program_of
from musicjax.music.notes import DRUMS


def test_the_table_is_that_of_general_midi():
    assert len(NAMES) == len(set(NAMES)) == 128
    assert len(FAMILIES) == 16
    known = {
        0: "acoustic grand piano",
        6: "harpsichord",
        13: "xylophone",
        19: "church organ",
        33: "electric bass (finger)",
    }
    known |= {40: "violin", 47: "timpani", 52: "choir aahs", 56: "trumpet", 71: "clarinet", 73: "flute", 79: "ocarina"}
    known |= {81: "lead 2 (sawtooth)", 95: "pad 8 (sweep)", 103: "fx 8 (sci-fi)", 104: "sitar", 127: "gunshot"}
    assert {program: name_of(program) for program in known} == known
    assert name_of(DRUMS) == family_of(DRUMS) == "drums"
    assert [family_of(program) for program in (7, 8, 43, 127)] == [
        "piano",
        "chromatic percussion",
        "strings",
        "sound effects",
    ]


@pytest.mark.parametrize("program", [-1, 129])
def test_a_number_that_is_no_program_has_no_name(program):
    with pytest.raises(ValueError, match=str(program)):
        name_of(program)


@pytest.mark.parametrize("program", range(129))
def test_every_name_is_understood_however_it_is_written(program):
    name = name_of(program)
    assert program_of(name) == program_of(name.upper()) == program_of(f"  {name.replace(' ', '_')} ") == program
    assert program == DRUMS or named(name.title()) == program == program_of(str(program))


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("piano", 0), ("guitar", 24), ("Bass", 32), ("violin", 40), ("strings", 48), ("FLUTE", 73), ("sax", 65),
        ("trumpet", 56), ("organ", 16), ("choir", 52), ("synth", 80), ("synth pad", 88), ("Drum-Kit", DRUMS),
        ("percussion", DRUMS), ("ethnic", 104), ("chromatic percussion", 8), ("nylon", 24), ("grand electric", 2),
        ("honky tonk piano", 3), ("007", 7), ("+5", 5), ("0" * 5000, 0),
    ],
)  # fmt: skip
def test_words_that_people_use_are_understood(text, program):
    assert program_of(text) == program


@pytest.mark.parametrize("word", instruments._WORDS)
def test_no_common_word_hides_a_name(word):
    assert named(word) in (None, instruments._WORDS[word])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("vioin", r"program='vioin': did you mean violin"),
        (
            "acoustic",
            r"several instruments: did you mean acoustic grand piano, .* or .*\? expected a General MIDI number",
        ),
        ("128", r"program=128: expected a General MIDI number, 0\.\.127"),
        ("-1", r"program=-1: expected a General MIDI number, 0\.\.127"),
        ("7" * 5000, r"program=7{60}: expected a General MIDI number, 0\.\.127"),
        ("x" * 5000, r"program='x{59}\.\.\.x{19}': expected a General MIDI number, 0\.\.127"),
        ("1.5", r"program='1\.5'.*expected a General MIDI number, 0\.\.127, or an instrument such as piano"),
        ("", r"program='': expected"),
        ("qqqqqq", r"program='qqqqqq': expected"),
    ],
)
def test_what_names_no_instrument_or_several_is_refused_with_those_near_it(text, words):
    with pytest.raises(UsageError, match=words):
        program_of(text)


# Groups.


def _notes(counts: dict[int, int]) -> np.ndarray:
    return np.repeat(list(counts), list(counts.values())).astype(np.int16)


def test_few_instruments_each_have_a_group_the_commonest_first():
    found = groups(_notes({40: 2, DRUMS: 5, 0: 9, 3: 2}))
    assert found.programs == (0, DRUMS, 3, 40)
    assert found.merged == ()
    assert [found.group_of(program) for program in (0, DRUMS, 3, 40)] == [0, 1, 2, 3]
    assert found.group_of(1) == 0, "a piano that the music lacks is the commonest piano"
    assert found.group_of(42) == 3, "strings"
    assert found.group_of(56) == 0, "of a family that the music lacks, the commonest"


def test_of_many_instruments_the_commonest_keep_their_group_and_others_share_one_a_family():
    found = groups(_notes({0: 9, 40: 8, 1: 6, 2: 4, 41: 3, 73: 2, DRUMS: 1}), most=6)
    assert found.programs == (1, 0, 40, 41, 73, DRUMS)  # 1 and 2 together are 10 notes
    assert found.merged == ((2, 1),)


def test_where_families_leave_no_room_the_nearest_group_takes_the_rest():
    found = groups(_notes({0: 9, 40: 8, 41: 3, 73: 2, 56: 1, DRUMS: 1}), most=3)
    assert found.programs == (0, 40, DRUMS)
    assert found.merged == ((41, 40), (56, 0), (73, 0))


def test_melodies_do_not_become_drums_even_if_drums_are_commonest():
    found = groups(_notes({DRUMS: 90, 73: 1}))
    assert found.programs == (DRUMS, 73)
    assert found.group_of(0) == 1
    assert groups(_notes({DRUMS: 3})).index.tolist() == [0] * 129


def test_music_without_notes_has_one_group_a_piano():
    assert groups(np.zeros(0, np.int16)).programs == (0,)


def test_the_groups_of_a_model_are_found_once_and_nobody_can_change_them():
    chosen = (24, instruments.DRUMS, 0)
    index = instruments.index_of(chosen)
    assert instruments.index_of((24, instruments.DRUMS, 0)) is index
    with pytest.raises(ValueError, match="read-only"):
        index[0] = 1


def test_one_group_is_too_few():
    with pytest.raises(UsageError, match=r"most=1.*expected at least 2"):
        groups(np.zeros(3, np.int16), most=1)


@settings(max_examples=200, deadline=None, derandomize=True)
@example(counts={0: 1, 1: 1, 2: 3}, most=2)  # 1 joins 2, the commonest of its family, not 0
@example(counts={0: 10, 40: 9, 41: 5, 120: 1}, most=2)  # 120 joins 40, which 41 makes the commonest
@given(counts=st.dictionaries(st.integers(0, 128), st.integers(1, 30), max_size=60), most=st.integers(2, 20))
def test_groups_of_any_music(counts, most):
    found = groups(_notes(counts), most)
    assert 1 <= len(found.programs) <= most and len(set(found.programs)) == len(found.programs)
    assert set(found.programs) <= set(counts or {0: 1})
    assert found.index.shape == (129,) and found.index.dtype == np.int16
    assert set(found.index[list(counts)].tolist() or [0]) == set(range(len(found.programs)))
    assert ((found.index >= 0) & (found.index < len(found.programs))).all()
    assert [found.group_of(program) for program in found.programs] == list(range(len(found.programs)))
    if DRUMS in counts:
        assert found.programs[found.group_of(DRUMS)] == DRUMS
        if len(counts) > 1:
            assert np.count_nonzero(found.index == found.group_of(DRUMS)) == 1
    assert len(counts) > most or (set(found.programs) == set(counts or {0: 1}) and not found.merged)
    assert {program for program, _ in found.merged} == set(counts) - set(found.programs)
    assert all(found.programs[found.group_of(program)] == other for program, other in found.merged)
    sizes = np.bincount(found.index[_notes(counts)], minlength=len(found.programs))
    assert (np.diff(sizes) <= 0).all(), "the commonest come first"
    again = groups(np.array(found.programs)[found.index[_notes(counts)]], most)
    assert again.programs == found.programs and not again.merged
