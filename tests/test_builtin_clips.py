"""The built-in corpus: what its clips promise, and how near they come to a folder of real pop clips."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from musicjax.music import midi
from musicjax.music.builtin_clips import PITCH_NAMES, SCALES, Clip, compose, write_corpus
from musicjax.music.notes import Notes

SEED, CLIPS = 0, 126
STRONG = {(4, 4): 8, (3, 4): 12, (6, 8): 6}  # sixteenths from one strong beat to the next


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [compose(SEED, number) for number in range(CLIPS)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Notes]:
    """The written corpus as the reader gives it, by the stem of the file's name."""
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, SEED, CLIPS)
    return {path.stem: midi.read(path) for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def real(shared_data: Path) -> list[Notes]:
    return [midi.read(path) for path in sorted((shared_data / "pop_music_midi").glob("*.mid*"))]


def _same(left: Clip, right: Clip) -> bool:
    return (left.name, left.bpm, left.key) == (right.name, right.bpm, right.key) and all(
        np.array_equal(one.to_array(), other.to_array()) for one, other in zip(left.parts, right.parts, strict=True)
    )


def _sixteenths(part: Notes) -> tuple[np.ndarray, np.ndarray]:
    """Onsets and ends in sixteenths, int64 [N] each."""
    onset, duration = part.onset_beats * 4, part.duration_beats * 4
    np.testing.assert_allclose(onset, np.rint(onset), atol=1e-9)
    np.testing.assert_allclose(duration, np.rint(duration), atol=1e-9)
    return np.rint(onset).astype(int), np.rint(onset + duration).astype(int)


def _scale_share(pitches: np.ndarray) -> float:
    """Share of the pitches inside the scale (harmonic minor too) of any tonic that holds most of them."""
    classes = pitches % 12
    return max(
        np.isin(classes, [(tonic + step) % 12 for step in scale]).mean()
        for scale in [*SCALES.values(), (0, 2, 3, 5, 7, 8, 11)]
        for tonic in range(12)
    )


def _in_key(clip: Clip) -> float:
    """Share of all notes of a clip inside the scale that its key names; minor may raise its seventh."""
    tonic, mode = clip.key.split()
    steps = [*SCALES[mode], 11] if mode == "minor" else SCALES[mode]
    scale = [(PITCH_NAMES.index(tonic) + step) % 12 for step in steps]
    return float(np.isin(np.concatenate([part.pitch for part in clip.parts]) % 12, scale).mean())


def _sounding(part: Notes, sixteenth: int) -> np.ndarray:
    onset, end = _sixteenths(part)
    return part.pitch[(onset <= sixteenth) & (sixteenth < end)]


def _shares(values: np.ndarray) -> dict[float, float]:
    return {value: count / len(values) for value, count in Counter(values.tolist()).items()}


def _intervals(pieces: list[Notes]) -> dict[float, float]:
    """Shares of the seconds between successive notes, to 1/64 s."""
    return _shares(np.concatenate([np.rint(np.diff(piece.onset) * 64) / 64 for piece in pieces]))


def _total_variation(left: dict[float, float], right: dict[float, float]) -> float:
    return sum(abs(left.get(key, 0) - right.get(key, 0)) for key in left.keys() | right.keys()) / 2


def _all(pieces: list[Notes], field: str) -> np.ndarray:
    return np.concatenate([getattr(piece, field) for piece in pieces])


def test_the_same_seed_composes_the_same_and_another_seed_other_music():
    for number in (0, 1, 77):
        assert _same(compose(3, number), compose(3, number))
        assert not np.array_equal(compose(3, number).parts[0].to_array(), compose(4, number).parts[0].to_array())


def test_clips_of_one_seed_all_differ(clips):
    melodies = {clip.parts[0].to_array().tobytes() for clip in clips}
    assert len(melodies) == CLIPS
    assert len({clip.name for clip in clips}) == CLIPS


def test_a_clip_does_not_depend_on_how_many_are_written(tmp_path, corpus):
    write_corpus(tmp_path, SEED, 5)
    few = sorted(tmp_path.iterdir())
    assert [path.name for path in few] == [
        "song-000-chorus.mid",
        "song-000-verse.mid",
        "song-001-chorus.mid",
        "song-001-verse.mid",
        "song-002-verse.mid",
    ]
    for path in few:
        np.testing.assert_array_equal(midi.read(path).to_array(), corpus[path.stem].to_array())


def test_writing_the_same_seed_twice_gives_the_same_bytes(tmp_path):
    folders = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        folder.mkdir()
        write_corpus(folder, 9, 4)
    contents = [[path.read_bytes() for path in sorted(folder.iterdir())] for folder in folders]
    assert len(contents[0]) == 4 and contents[0] == contents[1]


@pytest.mark.parametrize("seed", [SEED, 1, 2])
def test_every_part_is_on_the_sixteenth_grid_in_range_and_overlaps_no_pitch_with_itself(seed):
    for clip in (compose(seed, number) for number in range(0, CLIPS, 1 if seed == SEED else 5)):
        assert len(clip.parts) == 3
        for part in clip.parts:
            onset, end = _sixteenths(part)
            assert len(part) and onset.min() >= 0
            assert (end > onset).all(), clip.name
            assert part.pitch.min() >= 41 and part.pitch.max() <= 91, clip.name
            for pitch in np.unique(part.pitch):
                same = part.pitch == pitch
                assert (onset[same][1:] >= end[same][:-1]).all(), (clip.name, pitch)


def test_files_have_type_1_three_tracks_and_a_note_off_for_each_note_on(tmp_path):
    mido = pytest.importorskip("mido")
    write_corpus(tmp_path, SEED, 4)
    for path in tmp_path.iterdir():
        file = mido.MidiFile(path)
        assert (file.type, len(file.tracks)) == (1, 3)
        assert file.ticks_per_beat <= 480
        for track in file.tracks:
            kinds = Counter(message.type for message in track)
            assert kinds["note_on"] == kinds["note_off"] > 0


def test_what_the_reader_gives_is_what_was_composed(clips, corpus):
    assert sorted(corpus) == sorted(clip.name for clip in clips)
    for clip in clips:
        read = corpus[clip.name].to_array()
        composed = np.concatenate([part.to_array() for part in clip.parts], axis=1)
        composed = composed[:, np.argsort(composed[4], kind="stable")]
        np.testing.assert_allclose(read, composed, atol=1e-9, err_msg=clip.name)


def test_clips_have_several_meters_and_instruments_and_their_files_say_so(clips, corpus):
    meters, programs = Counter(clip.meter for clip in clips), Counter(clip.programs for clip in clips)
    assert set(meters) == set(STRONG) and meters[4, 4] > CLIPS / 2 and min(meters.values()) >= 8
    assert len(programs) >= 5
    for clip in clips:
        read = corpus[clip.name]
        assert read.meters.tolist() == [[0, *clip.meter]], clip.name
        assert set(read.program.tolist()) == set(clip.programs), clip.name


def test_a_clip_ends_with_its_last_bar(clips):
    for clip in clips:
        bar_length = 16 * clip.meter[0] // clip.meter[1]
        ends = [int(_sixteenths(part)[1].max()) for part in clip.parts]
        assert max(ends) % bar_length == 0, clip.name
        assert max(ends) - ends[0] < bar_length, "the melody reaches the last bar"


def test_melodies_stay_in_one_scale(clips):
    shares = [_scale_share(clip.parts[0].pitch) for clip in clips]
    others = [share for share, clip in zip(shares, clips, strict=True) if not clip.key.endswith("minor")]
    assert min(others) >= 0.9 and min(shares) >= 0.85, "a clip in minor may have both sevenths"
    assert np.mean(shares) >= 0.98


def test_strong_beats_of_the_melody_are_chord_tones_and_never_a_semitone_from_the_chord(clips):
    on_chord = checked = clashes = 0
    for clip in clips:
        melody, chords, _ = clip.parts
        for pitch, onset in zip(melody.pitch.tolist(), _sixteenths(melody)[0].tolist(), strict=True):
            held = _sounding(chords, onset) % 12
            if onset % STRONG[clip.meter] or not len(held):
                continue
            checked += 1
            on_chord += pitch % 12 in held
            clashes += bool(np.isin((pitch - held) % 12, (1, 11)).any() and pitch % 12 not in held)
    assert checked > 1000
    assert on_chord / checked >= 0.9
    assert clashes / checked <= 0.01


def test_the_melody_raises_the_seventh_degree_exactly_where_the_chords_do(clips):
    raised_notes = 0
    for clip in clips:
        name, mode = clip.key.split()
        if mode != "minor":
            continue
        natural, raised = ((PITCH_NAMES.index(name) + step) % 12 for step in (10, 11))
        melody, chords, _ = clip.parts
        for pitch, onset in zip(melody.pitch % 12, _sixteenths(melody)[0].tolist(), strict=True):
            held = _sounding(chords, onset) % 12
            assert pitch != raised or raised in held or not len(held), clip.name
            assert pitch != natural or raised not in held, clip.name
            raised_notes += bool(pitch == raised)
    assert raised_notes > 20


def test_melodies_move_mostly_by_step_and_within_a_tenth_and_a_half(clips):
    leaps = np.concatenate([np.abs(np.diff(clip.parts[0].pitch)) for clip in clips])
    assert 0.35 <= np.isin(leaps, (1, 2)).mean() <= 0.6
    assert (leaps > 9).mean() <= 0.02
    assert max(np.ptp(clip.parts[0].pitch) for clip in clips) <= 18


def test_the_last_melody_note_belongs_to_the_tonic_triad_and_is_mostly_the_tonic(clips):
    degrees = [(int(clip.parts[0].pitch[-1]) - PITCH_NAMES.index(clip.key.split()[0])) % 12 for clip in clips]
    assert set(degrees) <= {0, 3, 4, 7}
    assert degrees.count(0) / CLIPS >= 0.6


def test_a_verse_and_its_chorus_share_key_and_tempo_but_not_the_melody(clips):
    for verse, chorus in zip(clips[::2], clips[1::2], strict=True):
        assert verse.name == chorus.name.replace("chorus", "verse")
        assert (verse.key, verse.bpm) == (chorus.key, chorus.bpm)
        assert min(_in_key(verse), _in_key(chorus)) == 1.0
    assert len({clip.key for clip in clips}) >= 5
    assert len({clip.bpm for clip in clips}) >= 2


def test_bars_of_a_clip_come_back(clips):
    """At least one bar rhythm of the melody returns in nearly every clip: motifs, not a random walk."""
    returning = 0
    for clip in clips:
        onset, bar_length = _sixteenths(clip.parts[0])[0], 16 * clip.meter[0] // clip.meter[1]
        which, place = np.divmod(onset, bar_length)
        bars = [tuple(place[which == bar]) for bar in range(int(which.max()) + 1)]
        returning += max(Counter(bars).values()) >= 2
    assert returning / CLIPS >= 0.95


def test_statistics_of_the_corpus(corpus):
    """The figures that the default seed is known for, with room for small changes of weight."""
    pieces = list(corpus.values())
    assert sum(map(len, pieces)) == pytest.approx(20_400, rel=0.05)
    intervals = _intervals(pieces)
    assert intervals[0.0] == pytest.approx(0.63, abs=0.03)
    assert intervals[0.25] == pytest.approx(0.24, abs=0.03)
    assert intervals[0.5] == pytest.approx(0.055, abs=0.02)
    velocities = _shares(_all(pieces, "velocity"))
    assert set(velocities) == {31, 59, 81, 102}
    for velocity, share in {31: 0.22, 59: 0.16, 81: 0.34, 102: 0.28}.items():
        assert velocities[velocity] == pytest.approx(share, abs=0.05)
    pitches = _all(pieces, "pitch")
    assert pitches.min() == 41
    assert 86 <= pitches.max() <= 91


def test_statistics_are_close_to_real_pop_clips(corpus, real):
    pieces = list(corpus.values())
    count, real_count = sum(map(len, pieces)), sum(map(len, real))
    assert count == pytest.approx(real_count, rel=0.1)
    assert count / len(pieces) == pytest.approx(real_count / len(real), rel=0.1)
    intervals, real_intervals = _intervals(pieces), _intervals(real)
    assert intervals[0.0] == pytest.approx(real_intervals[0.0], abs=0.04)
    assert intervals[0.25] == pytest.approx(real_intervals[0.25], abs=0.03)
    assert _total_variation(intervals, real_intervals) < 0.06
    velocities, real_velocities = (_shares(_all(group, "velocity")) for group in (pieces, real))
    assert _total_variation(velocities, real_velocities) < 0.09
    pitches, real_pitches = (_all(group, "pitch") for group in (pieces, real))
    assert _total_variation(_shares(pitches), _shares(real_pitches)) < 0.18
    assert pitches.min() == real_pitches.min()
    assert abs(int(pitches.max()) - int(real_pitches.max())) <= 5
    seconds, real_seconds = (np.mean([piece.seconds for piece in group]) for group in (pieces, real))
    assert seconds == pytest.approx(real_seconds, rel=0.15)
