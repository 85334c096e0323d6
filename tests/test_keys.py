"""Keys as people write them, and the keys found in music whose key is known."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax.cli import data
from musicjax.errors import UsageError
from musicjax.main import main
from musicjax.music import builtin_clips, keys, midi, scales
from musicjax.music.notes import COLUMNS, Notes, from_beats

MAJOR, MINOR, DORIAN, MIXOLYDIAN = range(4)
CLIPS = 120


def tune(pitches, beats=1.0) -> Notes:
    """Notes one after the other; beats: of each, or of all."""
    beats = np.broadcast_to(beats, len(pitches)).astype(float)
    return from_beats(pitches, np.full(len(pitches), 80), np.cumsum(beats) - beats, beats)


def together(*parts: Notes) -> Notes:
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS]
    order = np.argsort(columns[COLUMNS.index("onset_beats")], kind="stable")
    return dataclasses.replace(parts[0], **{name: column[order] for name, column in zip(COLUMNS, columns, strict=True)})


def later(notes: Notes, beats: float, semitones: int = 0) -> Notes:
    return dataclasses.replace(
        notes,
        pitch=notes.pitch + np.int16(semitones),
        onset_beats=notes.onset_beats + beats,
        onset=notes.onset + beats * 60 / notes.tempos[0, 1],
    )


def chords(*roots_and_thirds: tuple[int, int], beats: float = 4.0) -> Notes:
    """Triads in root position (root, third above it), one after the other, each with its root in the bass."""
    pitches = [pitch for root, third in roots_and_thirds for pitch in (root - 12, root, root + third, root + 7)]
    onsets = np.repeat(np.arange(len(roots_and_thirds)) * beats, 4)
    return from_beats(pitches, np.full(len(pitches), 80), onsets, np.full(len(pitches), beats))


def composed(number: int) -> tuple[Notes, str]:
    clip = builtin_clips.compose(5, number)
    return together(*clip.parts), clip.key


def found(notes: Notes) -> list[str]:
    return [keys.text_of(tonic, mode) for _, tonic, mode in keys.of(notes)]


# Keys as text.


@pytest.mark.parametrize(
    ("text", "tonic", "mode"),
    [
        ("D", 2, MAJOR),
        ("d", 2, MAJOR),
        ("Dm", 2, MINOR),
        ("DM", 2, MAJOR),
        ("D minor", 2, MINOR),
        ("d minor", 2, MINOR),
        (" D  Minor ", 2, MINOR),
        ("Dmaj", 2, MAJOR),
        ("D major", 2, MAJOR),
        ("F#:dorian", 6, DORIAN),
        ("Bb mixolydian", 10, MIXOLYDIAN),
        ("C#m", 1, MINOR),
        ("c#min", 1, MINOR),
        ("F♯ minor", 6, MINOR),
        ("E♭", 3, MAJOR),
        ("b", 11, MAJOR),
        ("bb", 10, MAJOR),
        ("bm", 11, MINOR),
        ("bbm", 10, MINOR),
        ("Cb", 11, MAJOR),
        ("B#", 0, MAJOR),
        ("E-flat major", 3, MAJOR),
        ("F sharp minor", 6, MINOR),
        ("d-moll", 2, MINOR),
        ("d moll", 2, MINOR),
        ("Es-Dur", 3, MAJOR),
        ("As dur", 8, MAJOR),
        ("cis-Moll", 1, MINOR),
        ("Ges-Dur", 6, MAJOR),
        ("B-Dur", 10, MAJOR),
        ("b-moll", 10, MINOR),
        ("h-moll", 11, MINOR),
        ("F# moll", 6, MINOR),
        ("H", 11, MAJOR),
        ("h", 11, MAJOR),
        ("Hm", 11, MINOR),
        ("h minor", 11, MINOR),
        ("H:dorian", 11, DORIAN),
        ("re mineur", 2, MINOR),
        ("ré mineur", 2, MINOR),
        ("Si bémol majeur", 10, MAJOR),
        ("fa dièse mineur", 6, MINOR),
        ("sol", 7, MAJOR),
        ("la minore", 9, MINOR),
        ("do# menor", 1, MINOR),
        ("mi bemolle maggiore", 3, MAJOR),
        ("C ionian", 0, MAJOR),
        ("A aeolian", 9, MINOR),
    ],
)
def test_keys_are_read_as_people_write_them(text, tonic, mode):
    assert keys.key_of(text) == (tonic, mode)


@pytest.mark.parametrize(
    "text", ["", "I", "C##", "#", "1", "major", "D5", "D minor!", "D minor major", "ド", "so", "dom7"]
)
def test_what_is_no_key_is_refused(text):
    with pytest.raises(UsageError, match=r"^key=.*expected a letter A to G.*such as F#, Bb minor or Dm"):
        keys.key_of(text)


@pytest.mark.parametrize(
    "word", sorted({*scales.SCALES, "foo"} - set(keys.MODES) - {name for name in scales.SCALES if "_" in name})
)
def test_other_modes_are_refused_with_the_way_to_their_pitches(word):
    with pytest.raises(
        UsageError, match=f"no mode '{word}'; expected major, minor, dorian, mixolydian; or --scale=NAME with --key=Eb"
    ):
        keys.key_of(f"Eb {word}")


@pytest.mark.parametrize("mode", range(4))
def test_a_key_is_printed_so_that_it_can_be_read(mode):
    for tonic in range(12):
        assert keys.key_of(keys.text_of(tonic, mode)) == (tonic, mode)


def test_keys_have_the_names_of_their_signatures():
    assert [keys.text_of(tonic, MAJOR) for tonic in (6, 10, 3, 1)] == ["F# major", "Bb major", "Eb major", "Db major"]
    assert [keys.text_of(tonic, MINOR) for tonic in (1, 10, 3)] == ["C# minor", "Bb minor", "Eb minor"]
    for mode, name in enumerate(keys.MODES):  # with at most six sharps or flats
        for tonic, letter in enumerate(keys.SPELLINGS[mode]):
            fifths = "FCGDAEB".index(letter[0]) - 1 + 7 * letter.count("#") - 7 * letter.count("b")
            assert abs(fifths - {"major": 0, "minor": 3, "dorian": 2, "mixolydian": 1}[name]) <= 6, (tonic, name)


# Keys of music.


def test_known_tunes_have_their_keys():
    scale = tune([60, 62, 64, 65, 67, 69, 71, 72, 72, 71, 69, 67, 65, 64, 62, 60], 0.5)
    cadence = later(chords((60, 4), (65, 4), (67, 4), (60, 4)), 8)
    assert found(together(scale, cadence)) == ["C major"]
    assert found(tune([69, 71, 72, 74, 76, 77, 76, 74, 72, 71, 69, 68, 71, 68, 69, 69])) == ["A minor"]
    # Dorian: a tune on D with B natural over i and IV, as much folk music has them; mixolydian: I, VII and IV.
    fair = [62, 62, 69, 69, 69, 64, 65, 64, 62, 69, 72, 74, 72, 69, 71, 67, 69, 74, 74, 74, 72, 69, 69, 67, 65, 64, 60]
    fair += [62, 69, 67, 65, 64, 62, 60, 62]
    assert found(together(tune(fair), chords(*[(50, 3), (55, 4)] * 4, (50, 3)))) == ["D dorian"]
    assert found(chords(*[(55, 4), (53, 4), (48, 4), (55, 4)] * 2)) == ["G mixolydian"]
    assert found(tune([60])) == ["C major"]


def test_relative_keys_are_told_apart_by_the_bass():
    turn = (60, 4), (69, 3), (65, 4), (67, 4)
    assert found(chords(*turn, *turn, (60, 4))) == ["C major"]
    assert found(chords(*turn[1:], turn[0], *turn[1:], turn[0], (69, 3))) == ["A minor"]


def test_composed_clips_have_the_keys_in_which_they_were_composed():
    right = [found(notes) == [key] for notes, key in map(composed, range(CLIPS))]
    assert np.mean(right) > 0.85, np.mean(right)


@given(
    st.lists(st.tuples(st.integers(30, 90), st.sampled_from([0.25, 0.5, 1, 3])), min_size=1, max_size=60),
    st.integers(-30, 37),
    st.sampled_from([(4, 4), (3, 4), (6, 8)]),
)
@settings(max_examples=60, deadline=None)
def test_music_moved_by_semitones_has_its_keys_moved(notes, semitones, meter):
    one = dataclasses.replace(tune(*zip(*notes, strict=True)), meters=np.array([[0.0, *meter]]))
    table, moved = keys.of(one), keys.of(later(one, 0, semitones))
    np.testing.assert_array_equal(moved[:, [0, 2]], table[:, [0, 2]])
    np.testing.assert_array_equal(moved[:, 1], (table[:, 1] + semitones) % 12)


@pytest.mark.parametrize("number", range(0, 20, 2))
def test_songs_that_change_key_change_it_in_every_key_alike(number):
    notes, _ = composed(number)
    bars = int(notes.onset_beats[-1] // 4) + 1
    song = together(*(later(notes, 4 * bars * turn, 3 * (turn > 3)) for turn in range(8)))
    table = keys.of(song)
    for semitones in (1, 5, -4):
        expected = table + np.array([0, semitones, 0])
        expected[:, 1] %= 12
        np.testing.assert_array_equal(keys.of(later(song, 0, semitones)), expected)


@pytest.mark.parametrize("semitones", [1, 2, -3])
@pytest.mark.parametrize("number", [0, 4, 6, 9, 16, 20])
def test_a_change_of_key_is_found_within_two_bars_and_none_where_there_is_none(number, semitones):
    notes, _ = composed(number)
    bars = int(notes.onset_beats[-1] // 4) + 1
    turns = -(-32 // bars)
    song = together(*(later(notes, 4 * bars * turn) for turn in range(turns)))
    place = 4.0 * bars * turns
    (once,) = keys.of(song)
    (first, second) = keys.of(together(song, later(song, place, semitones)))
    assert first.tolist() == once.tolist() and once[0] == 0
    assert second[1:].tolist() == [(once[1] + semitones) % 12, once[2]]
    assert abs(second[0] - place) <= 8 and second[0] % 4 == 0


def test_seven_bars_in_a_far_key_are_no_change_and_eight_are():
    home, far = [(60, 4), (65, 4), (67, 4), (60, 4)] * 4, [(66, 4), (71, 4), (73, 4), (66, 4)] * 2
    assert found(chords(*home, *far[1:], *home)) == ["C major"]
    table = keys.of(chords(*home, *far, *home))
    assert table.tolist() == [[0, 0, MAJOR], [64, 6, MAJOR], [96, 0, MAJOR]]


def test_a_turn_to_the_relative_key_is_no_change():
    major = chords(*[(60, 4), (65, 4), (67, 4), (60, 4)] * 6)
    minor = chords(*[(57, 3), (62, 3), (64, 3), (57, 3)] * 6)
    assert len(keys.of(together(major, later(minor, 96)))) == 1


def best_starts(total: np.ndarray, lines: np.ndarray) -> list[int]:
    """The bars at which the likeliest stretches begin, tried stretch by stretch."""
    gain, starts = {0: keys.CHANGE}, {0: [0]}
    last = len(lines) - 1
    for end in range(1, last + 1):
        ahead = lines - keys.NEGLIGIBLE_BEATS
        long_enough = [bar for bar in range(end) if ahead[bar] <= lines[end] - keys.SHORTEST_STRETCH and bar in gain]
        if not long_enough and end < last:
            continue
        by_start = {bar: gain[bar] + (total[end] - total[bar]).max() - keys.CHANGE for bar in long_enough or [0]}
        best = max(by_start, key=lambda bar: (by_start[bar], -bar))
        gain[end], starts[end] = by_start[best], [*starts[best], end]
    return starts[last][:-1]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    beats=st.lists(st.sampled_from([0.5, 2.0, 3.0, 4.0, 4.0, 4.0, 40.0]), min_size=1, max_size=60),
    seed=st.integers(0, 99),
    sure=st.sampled_from([1.0, 5.0, 30.0]),
    unit=st.sampled_from([1.0, 1.0, 1e100]),
)
def test_the_stretches_are_the_likeliest_of_all(beats, seed, sure, unit):
    """Also where times are too coarse for bars to differ by beats: no file has such times, a program may."""
    said = np.random.default_rng(seed).normal(0, sure, (len(beats), 48))
    total = np.concatenate([np.zeros((1, 48)), np.cumsum(said, axis=0)])
    lines = np.concatenate([[0.0], np.cumsum(beats)]) * unit
    assert keys._changes(total, lines).tolist() == best_starts(total, lines)


def test_a_change_stands_on_a_bar_line_of_its_meter():
    waltz = chords(*[(60, 4), (65, 4), (67, 4), (60, 4)] * 5, beats=3.0)
    song = dataclasses.replace(together(waltz, later(waltz, 60, 2)), meters=np.array([[0.0, 3, 4]]))
    assert keys.of(song).tolist() == [[0, 0, MAJOR], [60, 2, MAJOR]]


# What does not count, and what cannot be told.


def with_programs(notes: Notes, program) -> Notes:
    return dataclasses.replace(notes, program=np.asarray(program, np.int16))


def test_drums_do_not_count():
    notes, key = composed(2)
    drums = tune([42, 37, 42, 37] * 100, 0.25)
    both = together(notes, drums)
    is_drum = np.isin(both.pitch, (42, 37)) & (both.duration_beats == 0.25)
    np.testing.assert_array_equal(keys.of(with_programs(both, 128 * is_drum)), keys.of(both[~is_drum]))
    assert found(both[~is_drum]) == [key]
    assert keys.of(with_programs(drums, np.full(400, 128))).shape == (0, 3)


def test_a_piece_without_notes_has_no_key():
    table = keys.of(tune([]))
    assert table.shape == (0, 3) and table.dtype == np.float64


@pytest.mark.parametrize("beat", [0.0, 1e5, 1e15, 1e300])
def test_odd_times_give_a_key(beat):
    notes = from_beats([60, 64, 67, 72], [80] * 4, [0, 0, beat, beat], [0, 1, 0, beat])
    assert keys.of(notes)[0].tolist() == [0, 0, MAJOR]


def test_bars_before_the_first_meter_count_as_its_own():
    notes = dataclasses.replace(chords(*[(60, 4), (67, 4)] * 3, (60, 4)), meters=np.array([[3.0, 4, 4]]))
    assert keys.of(notes).tolist() == [[0, 0, MAJOR]]


# What the data command says.


def test_the_data_command_counts_keys_and_changes(tmp_path: Path, capsys) -> None:
    turn = chords((60, 4), (65, 4), (67, 4), (60, 4))
    for name, moves in {"a": [0] * 8, "b": [2] * 8, "c": [2] * 3, "d": [0] * 4 + [2] * 4}.items():
        piece = together(*(later(turn, 16 * place, move) for place, move in enumerate(moves)))
        midi.write([piece], tmp_path / f"{name}.mid", bpm=120)
    command = ["data", f"--data={tmp_path}", "--config.data.cache=off", "--config.data.workers=1"]
    assert main(command) == 0
    assert capsys.readouterr().out.endswith("; keys: 3 D major, 2 C major; 1 changes key\n")
    assert main([*command, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert list(summary["keys"].items()) == [("D major", 3), ("C major", 2)] and summary["key_changes"] == 1


def test_the_data_command_names_the_commonest_keys() -> None:
    counted = {"C major": 9, "A minor": 5, "D minor": 3, "G major": 2, "E minor": 2, "F major": 1, "B minor": 1}
    expected = "; keys: 9 C major, 5 A minor, 3 D minor, 2 G major, 2 E minor, 2 more; 4 change key"
    assert data._key_text(counted, 4) == expected and data._key_text({}, 0) == ""
