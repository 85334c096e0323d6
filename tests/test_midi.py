"""Reading and writing MIDI: bytes with known answers, and round trips."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax.music import midi
from musicjax.music.midi import MidiError
from musicjax.music.notes import Notes, from_beats, from_seconds
from tests import known_midi
from tests.midi_dumps import midi_file

TICK_SECONDS = 1 / 960  # of `midi.write` with its defaults: 480 ticks a beat, two beats a second


# What the bytes mean.


@pytest.fixture
def read(tmp_path):
    """read(content, ...): the notes of a file of these bytes."""

    def read(content: bytes, **options) -> Notes:
        path = tmp_path / "dump.mid"
        path.write_bytes(content)
        return midi.read(path, **options)

    return read


@pytest.mark.parametrize("meaning", known_midi.MEANINGS)
def test_bytes_mean_what_midi_says(read, meaning):
    known = known_midi.MEANINGS[meaning]
    notes = read(known.content)
    assert notes.pitch.tolist() == known.pitch
    assert notes.onset.tolist() == pytest.approx(known.onset, abs=1e-12)
    assert notes.duration.tolist() == pytest.approx(known.duration, abs=1e-12)
    assert known.velocity is None or notes.velocity.tolist() == known.velocity


def test_the_percussion_channel_is_kept_or_left_out_as_asked(read):
    drum_and_note = midi_file("00 99 24 40  00 90 3c 40  60 99 24 00  00 90 3c 00")
    assert read(drum_and_note).pitch.tolist() == [36, 60]
    assert read(drum_and_note, percussion=False).pitch.tolist() == [60]


@pytest.mark.parametrize("nothing", known_midi.NOTHING)
def test_a_file_that_gives_no_notes_says_why(read, nothing):
    content, code = known_midi.NOTHING[nothing]
    with pytest.raises(MidiError) as raised:
        read(content)
    assert raised.value.code == code
    assert str(raised.value)


def test_a_file_of_drums_alone_gives_no_notes_without_them(read):
    with pytest.raises(MidiError) as raised:
        read(midi_file("00 99 24 40  60 99 24 00"), percussion=False)
    assert raised.value.code == "only_percussion"


def test_a_file_of_several_pieces_is_not_one_piece(read):
    with pytest.raises(MidiError) as raised:
        read(midi_file(known_midi.NOTES, known_midi.NOTES, kind=2))
    assert raised.value.code == "several_pieces"


def test_a_file_that_is_absent_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        midi.read(tmp_path / "absent.mid")


# Writing.


@st.composite
def _grid_notes(draw, size: int = 60) -> Notes:
    """Notes on the ticks of a written file: few pitches, many unisons and overlaps, some without duration."""
    drawn = draw(
        st.lists(
            st.tuples(st.integers(60, 62), st.integers(1, 127), st.integers(0, 12), st.integers(0, 40)), max_size=size
        )
    )
    pitch, velocity, onset, duration = np.array(drawn, int).reshape(-1, 4).T
    return from_seconds(pitch, velocity, onset * 30 * TICK_SECONDS, duration * 10 * TICK_SECONDS)


def _ticks(seconds: np.ndarray) -> np.ndarray:
    return np.rint(seconds / TICK_SECONDS).astype(int)


def _assert_pairs_match(file: mido.MidiFile) -> None:
    """Every note_on has its own note_off, later, and no pitch sounds twice at once on a channel."""
    for track in file.tracks:
        sounding: dict[tuple[int, int], int] = {}
        now = 0
        for message in track:
            now += message.time
            if message.type == "note_on":
                assert message.velocity > 0
                assert (message.channel, message.note) not in sounding
                sounding[message.channel, message.note] = now
            elif message.type == "note_off":
                assert sounding.pop((message.channel, message.note)) < now
        assert not sounding


def _most_at_once(notes: Notes) -> int:
    """The most notes of one pitch that sound on one tick, as written (one tick at least)."""
    start, stop = _ticks(notes.onset), np.maximum(_ticks(notes.onset + notes.duration), _ticks(notes.onset) + 1)
    sounding = Counter(
        (pitch, tick)
        for pitch, first, last in zip(notes.pitch.tolist(), start.tolist(), stop.tolist(), strict=True)
        for tick in range(first, last)
    )
    return max(sounding.values(), default=0)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(notes=_grid_notes())
def test_what_is_written_is_read_again(tmp_path_factory, notes):
    path = tmp_path_factory.getbasetemp() / "round_trip.mid"
    left_out = midi.write(notes, path)
    file = mido.MidiFile(path)
    _assert_pairs_match(file)
    struck = sum(message.type == "note_on" for track in file.tracks for message in track)
    assert struck == len(notes) - left_out
    most = _most_at_once(notes)
    assert (left_out == 0) == (most <= 15)
    if left_out or not len(notes):
        return
    read = midi.read(path)
    np.testing.assert_array_equal(read.pitch, notes.pitch)
    np.testing.assert_array_equal(read.velocity, notes.velocity)
    np.testing.assert_array_equal(_ticks(read.onset), _ticks(notes.onset))
    np.testing.assert_array_equal(_ticks(read.duration), np.maximum(_ticks(notes.duration), 1))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(parts=st.lists(_grid_notes(size=12), min_size=2, max_size=4))
def test_parts_get_tracks_and_where_they_can_channels_of_their_own_and_none_is_the_drums(tmp_path_factory, parts):
    path = tmp_path_factory.getbasetemp() / "parts.mid"
    left_out = midi.write(parts, path)
    file = mido.MidiFile(path)
    assert file.type == 1
    assert len(file.tracks) == len(parts)
    _assert_pairs_match(file)
    struck = [[message for message in track if message.type == "note_on"] for track in file.tracks]
    assert sum(map(len, struck)) == sum(map(len, parts)) - left_out
    channels = [{message.channel for message in messages} for messages in struck]
    if max(map(_most_at_once, parts)) <= 15 // len(parts):
        assert left_out == 0
        assert sum(map(len, channels)) == len(set().union(*channels))
    assert midi.PERCUSSION_CHANNEL not in set().union(*channels)


@pytest.mark.parametrize("bpm", [30.0, 100.0, 123.4])
def test_the_tempo_changes_the_bar_lines_and_not_the_seconds(tmp_path, bpm):
    notes = from_seconds([60, 64], [90, 80], [0.5, 1.75], [1.0, 0.25])
    midi.write(notes, tmp_path / "tempo.mid", bpm=bpm)
    read = midi.read(tmp_path / "tempo.mid")
    tick = 60 / bpm / 480
    np.testing.assert_allclose(read.onset, notes.onset, atol=tick)
    np.testing.assert_allclose(read.duration, notes.duration, atol=tick)
    np.testing.assert_allclose(read.onset_beats, notes.onset * bpm / 60, atol=1e-2)


def test_programs_and_names_are_written_for_each_part(tmp_path):
    part = from_seconds([60], [90], [0.0], [1.0])
    midi.write([part, part], tmp_path / "named.mid", programs=(5, 32), names=("tune", "bass"))
    tracks = mido.MidiFile(tmp_path / "named.mid").tracks
    assert [track.name for track in tracks] == ["tune", "bass"]
    assert [[m.program for m in track if m.type == "program_change"] for track in tracks] == [[5], [32]]


def test_more_than_fifteen_unisons_are_left_out_and_counted(tmp_path):
    unisons = from_seconds([60] * 20, range(1, 21), [0.0] * 20, [1.0] * 20)
    assert midi.write(unisons, tmp_path / "unisons.mid") == 5
    read = midi.read(tmp_path / "unisons.mid")
    assert sorted(read.velocity.tolist()) == list(range(1, 16))
    assert set(read.duration.tolist()) == {1.0}


def test_a_note_right_after_another_of_its_pitch_needs_no_second_channel(tmp_path):
    midi.write(from_seconds([60] * 30, [90] * 30, np.arange(30) / 2, [0.5] * 30), tmp_path / "repeated.mid")
    channels = {m.channel for m in mido.MidiFile(tmp_path / "repeated.mid").tracks[0] if m.type == "note_on"}
    assert channels == {0}


def _library(name: str):
    """The library, imported with the warnings of its own dependencies left alone; skips where it is absent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is not installed; it only checks written files")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> list[tuple[Path, Notes]]:
    """Five written files of random notes on many pitches, with unisons."""
    files = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        size = 200
        onset = np.sort(rng.integers(0, 4000, size)) * TICK_SECONDS
        duration = rng.integers(0, 900, size) * TICK_SECONDS
        notes = from_seconds(rng.integers(40, 50, size), rng.integers(1, 128, size), onset, duration)
        path = Path(tmp_path_factory.mktemp("written"), "random.mid")
        assert midi.write(notes, path) == 0
        files.append((path, notes))
    return files


def test_written_files_hold_the_same_notes_for_symusic(written):
    symusic = _library("symusic")
    for path, notes in written:
        score = symusic.Score(str(path))
        found = sorted((n.start, n.pitch, n.velocity, n.duration) for track in score.tracks for n in track.notes)
        lengths = np.maximum(_ticks(notes.duration), 1)
        wanted = zip(_ticks(notes.onset), notes.pitch, notes.velocity, lengths, strict=True)
        assert found == sorted(tuple(int(value) for value in row) for row in wanted)


def test_written_files_hold_as_many_notes_for_pretty_midi(written):
    pretty_midi = _library("pretty_midi")
    for path, notes in written:
        instruments = pretty_midi.PrettyMIDI(str(path)).instruments
        assert sum(len(instrument.notes) for instrument in instruments) == len(notes)


def test_a_failure_midway_leaves_neither_a_file_nor_a_part_of_one(tmp_path, monkeypatch):
    def fail(self, filename=None, file=None):
        file.write(b"MThd and no more")
        file.flush()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mido.MidiFile, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        midi.write(from_seconds([60], [90], [0.0], [1.0]), tmp_path / "new.mid")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_midway_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    path = tmp_path / "old.mid"
    midi.write(from_seconds([60], [90], [0.0], [1.0]), path)
    before = path.read_bytes()

    def interrupt(self, filename=None, file=None):
        file.write(b"MThd")
        raise KeyboardInterrupt

    monkeypatch.setattr(mido.MidiFile, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        midi.write(from_seconds([72], [90], [0.0], [1.0]), path)
    assert [p.name for p in tmp_path.iterdir()] == ["old.mid"]
    assert path.read_bytes() == before


def test_a_written_file_can_be_read_by_others(tmp_path):
    midi.write(from_seconds([60], [90], [0.0], [1.0]), tmp_path / "mode.mid")
    assert (tmp_path / "mode.mid").stat().st_mode & 0o777 == 0o644


def test_a_folder_that_is_absent_is_an_oserror(tmp_path):
    with pytest.raises(OSError):
        midi.write(from_seconds([60], [90], [0.0], [1.0]), tmp_path / "absent" / "a.mid")


def test_a_file_lasts_until_the_beat_asked_for_or_its_last_note(tmp_path):
    notes = from_beats([60, 64], [80, 80], [0.0, 5.0], [1.0, 1.0])
    for end_beat, beats in ((0.0, 6.0), (8.0, 8.0), (3.0, 6.0)):
        midi.write(notes, tmp_path / "a.mid", end_beat=end_beat)
        file = mido.MidiFile(tmp_path / "a.mid")
        assert max(sum(message.time for message in track) for track in file.tracks) == beats * file.ticks_per_beat
        assert [track[-1].type for track in file.tracks] == ["end_of_track"] * len(file.tracks)
        assert len(midi.read(tmp_path / "a.mid")) == 2
