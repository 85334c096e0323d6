"""Reading and writing MIDI: hand-made bytes with known answers, an independent reading, and round trips.

`midi_dumps` says how a hex dump becomes a file.
"""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict, deque
from pathlib import Path

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midi_dumps import midi_file

from musicjax.music import midi
from musicjax.music.midi import MidiError
from musicjax.music.notes import Notes, from_seconds

TICK_SECONDS = 1 / 960  # of `midi.write` with its defaults: 480 ticks a beat, two beats a second


@pytest.fixture
def read(tmp_path):
    """read(dump, ...): the notes of a file with these tracks."""

    def read(*tracks: str, percussion: bool = True, **layout) -> Notes:
        path = tmp_path / "dump.mid"
        path.write_bytes(midi_file(*tracks, **layout))
        return midi.read(path, percussion=percussion)

    return read


# What the bytes mean.


def test_a_note_on_of_velocity_0_ends_a_note(read):
    notes = read("""
        00 90 3c 40   # middle C begins, velocity 64
        60 90 3c 00   # one beat later: velocity 0
    """)
    assert notes.pitch.tolist() == [60]
    assert notes.velocity.tolist() == [64]
    assert (notes.onset.tolist(), notes.duration.tolist()) == ([0.0], [0.5])
    assert (notes.onset_beats.tolist(), notes.duration_beats.tolist()) == ([0.0], [1.0])


def test_the_velocity_of_a_note_off_is_not_the_velocity_of_the_note(read):
    notes = read("""
        00 90 3c 40
        30 80 3c 7f   # half a beat later: note_off, release velocity 127
    """)
    assert notes.velocity.tolist() == [64]
    assert notes.duration.tolist() == [0.25]


def test_running_status_repeats_the_last_status(read):
    notes = read("""
        00 90 3c 40
        60    3c 00   # status left out: note_on, velocity 0
        00    3e 50
        30    3e 00
    """)
    assert notes.pitch.tolist() == [60, 62]
    assert notes.velocity.tolist() == [64, 80]
    assert notes.onset.tolist() == [0.0, 0.5]
    assert notes.duration.tolist() == [0.5, 0.25]


def test_the_channel_of_an_ending_must_be_that_of_the_note(read):
    notes = read("""
        00 90 3c 40
        00 91 3c 40
        30 81 3c 00   # ends the second
        30 80 3c 00   # ends the first
    """)
    assert notes.duration_beats.tolist() == [1.0, 0.5]


def test_an_ending_without_a_note_is_ignored(read):
    notes = read("""
        00 80 3c 40
        60 90 3c 40
        60 80 3c 40
    """)
    assert notes.onset_beats.tolist() == [1.0]
    assert notes.duration_beats.tolist() == [1.0]


def test_tempo_changes_hold_for_every_track_whichever_track_they_are_on(read):
    notes = read(
        """
        30 90 3c 40         # tick  48, half a beat
        60 90 3c 00         # tick 144
        30 90 3e 40         # tick 192
        60 90 3e 00         # tick 288
        00 90 40 40         # tick 288
        18 90 40 00         # tick 312
        """,
        """
        60 ff 51 03 03 d0 90   # tick  96: 250,000 microseconds a beat
        60 ff 51 03 0f 42 40   # tick 192: 1,000,000 microseconds a beat
        """,
    )
    # Tick 96 is at 0.5 s (the default tempo), tick 192 at 0.5 + 0.25 = 0.75 s, tick 288 at 1.75 s.
    assert notes.onset.tolist() == pytest.approx([0.25, 0.75, 1.75], abs=1e-12)
    assert notes.duration.tolist() == pytest.approx([0.25 + 0.125, 1.0, 0.25], abs=1e-12)
    assert notes.onset_beats.tolist() == [0.5, 2.0, 3.0]
    assert notes.duration_beats.tolist() == [1.0, 1.0, 0.25]


def test_of_two_tempo_changes_on_one_tick_the_later_in_the_file_holds(read):
    notes = read(
        """
        00 ff 51 03 03 d0 90   # 250,000
        00 ff 51 03 0f 42 40   # 1,000,000
        60 90 3c 40
        60 90 3c 00
        """
    )
    assert notes.onset.tolist() == [1.0]
    assert notes.duration.tolist() == [1.0]


def test_a_tempo_of_0_is_ignored(read):
    notes = read(
        """
        00 ff 51 03 00 00 00
        60 90 3c 40
        60 90 3c 00
        """
    )
    assert notes.onset.tolist() == [0.5]


def test_an_unknown_meta_event_keeps_its_place_in_time(read):
    notes = read(
        """
        60 ff 60 01 00   # one beat later: a meta event of a kind that nobody defined
        60 90 3c 40      # two beats
        60 90 3c 00
        """
    )
    assert notes.onset_beats.tolist() == [2.0]


def test_notes_of_one_pitch_that_overlap_end_first_in_first_out(read):
    notes = read("""
        00 90 3c 40   # tick   0
        30 90 3c 50   # tick  48: struck again
        30 90 3c 00   # tick  96 ends the first
        60 90 3c 00   # tick 192 ends the second
    """)
    assert notes.velocity.tolist() == [64, 80]
    assert notes.duration_beats.tolist() == [1.0, 1.5]


def test_a_note_that_never_ends_stops_with_its_own_track(read):
    notes = read(
        """
        00 90 3c 40
        60 90 3e 40
        60 90 3e 00   # tick 192, the last event of the track
        """,
        """
        87 40 90 40 40   # tick 960
        60    40 00
        """,
    )
    assert notes.pitch.tolist() == [60, 62, 64]
    assert notes.duration_beats.tolist() == [2.0, 1.0, 1.0]


def test_a_note_that_never_ends_lasts_until_the_end_of_track_event(read):
    notes = read("00 90 3c 40", end="81 40 ff 2f 00")  # end of track two beats later
    assert notes.duration_beats.tolist() == [2.0]


def test_notes_that_start_together_keep_the_order_of_the_file(read):
    notes = read(
        """
        00 90 48 40
        00 90 3c 40
        60 90 48 00
        00 90 3c 00
        00 90 43 40   # tick 96
        60 90 43 00
        """,
        """
        00 91 40 40
        30 91 54 40   # tick 48, before the last note of the first track
        30 91 24 40   # tick 96, after it
        60 91 40 00
        00 91 54 00
        00 91 24 00
        """,
    )
    assert notes.pitch.tolist() == [72, 60, 64, 84, 67, 36]


def test_the_percussion_channel_is_kept_or_left_out_as_asked(read):
    dump = """
        00 99 24 40   # channel 10: bass drum
        00 90 3c 40
        60 99 24 00
        00 90 3c 00
    """
    assert read(dump).pitch.tolist() == [36, 60]
    assert read(dump, percussion=False).pitch.tolist() == [60]


def test_a_file_of_type_0_is_read_as_its_one_track(read):
    assert read("00 90 3c 40  60 90 3c 00", kind=0).pitch.tolist() == [60]


NOTE = "00 90 3c 40  60 90 3c 00"


@pytest.mark.parametrize(
    ("content", "percussion", "code"),
    [
        (b"", True, "empty"),
        (b"RIFF not a MIDI file at all, only words in a row", True, "no_header_chunk"),
        (midi_file(NOTE)[:10], True, "not_enough_bytes"),
        (midi_file(NOTE, NOTE, kind=2), True, "several_pieces"),
        (midi_file("00 ff 51 03 03 d0 90"), True, "no_notes"),
        (midi_file("00 90 3c 00  00 80 3c 40"), True, "no_notes"),
        (midi_file(), True, "no_notes"),
        (midi_file("00 99 24 40  60 99 24 00"), False, "only_percussion"),
        (midi_file(NOTE, division="ff 28"), True, "invalid_time_division"),  # SMPTE with 1 frame a second
        (midi_file(NOTE, division="00 00"), True, "invalid_time_division"),
        (midi_file("ff ff ff ff ff 7f 90 3c 40"), True, "invalid_variable_length_quantity"),
    ],
    ids=[
        "empty",
        "text",
        "cut",
        "type 2",
        "tempo only",
        "endings only",
        "no track",
        "drums",
        "SMPTE",
        "division 0",
        "endless",
    ],
)
def test_a_file_that_gives_no_notes_says_why(tmp_path, content, percussion, code):
    path = tmp_path / "bad.mid"
    path.write_bytes(content)
    with pytest.raises(MidiError) as raised:
        midi.read(path, percussion=percussion)
    assert raised.value.code == code
    assert str(raised.value)


def test_a_file_that_is_absent_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        midi.read(tmp_path / "absent.mid")


# The same as an independent reading.

PITCHES = st.integers(58, 62)  # few, so that they often overlap
DELTAS = st.sampled_from([0, 0, 1, 30, 96, 480, 1000])


@st.composite
def _midi_files(draw) -> mido.MidiFile:
    """Files with 1..4 tracks on channels of their own, tempo changes anywhere, and endings of both kinds."""
    tracks = draw(st.integers(1, 4))
    file = mido.MidiFile(type=1 if tracks > 1 else draw(st.sampled_from([0, 1])))
    file.ticks_per_beat = draw(st.sampled_from([1, 24, 96, 480, 32767]))
    for number in range(tracks):
        channels = st.sampled_from([4 * number, 4 * number + 1])
        struck = st.builds(
            mido.Message, st.just("note_on"), note=PITCHES, velocity=st.integers(0, 127), channel=channels, time=DELTAS
        )
        released = st.builds(mido.Message, st.just("note_off"), note=PITCHES, channel=channels, time=DELTAS)
        tempo = st.builds(mido.MetaMessage, st.just("set_tempo"), tempo=st.integers(1, 2**24 - 1), time=DELTAS)
        file.tracks.append(mido.MidiTrack(draw(st.lists(st.one_of(struck, struck, released, tempo), max_size=25))))
    return file


def _independent_reading(path: Path) -> list[list[float]]:
    """[pitch, velocity, onset in seconds, end in seconds or -1] of each note, from mido's own clock."""
    found: list[list[float]] = []
    sounding = defaultdict(deque)
    now = 0.0
    for message in mido.MidiFile(path):
        now += message.time
        if message.type == "note_on" and message.velocity:
            found.append([message.note, message.velocity, now, -1.0])
            sounding[message.channel, message.note].append(found[-1])
        elif message.type in ("note_on", "note_off") and sounding[message.channel, message.note]:
            sounding[message.channel, message.note].popleft()[3] = now
    return found


@pytest.fixture(scope="module")
def long_rests():
    """Rests of any length: generated files hold hours of silence."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(midi, "MOST_REST_SECONDS", float("inf"))
        yield


@settings(max_examples=150, deadline=None, derandomize=True)
@given(file=_midi_files())
def test_read_agrees_with_an_independent_reading(tmp_path_factory, long_rests, file):
    path = tmp_path_factory.getbasetemp() / "generated.mid"
    file.save(path)
    expected = _independent_reading(path)
    if not expected:
        with pytest.raises(MidiError, match="no notes"):
            midi.read(path)
        return
    notes = midi.read(path)
    pitch, velocity, onset, end = np.array(expected).T
    np.testing.assert_array_equal(notes.pitch, pitch)
    np.testing.assert_array_equal(notes.velocity, velocity)
    # An hour and more of music at the slowest tempos: the sum of the clock's steps is good to 1e-9 of that.
    np.testing.assert_allclose(notes.onset, onset, rtol=1e-12, atol=1e-9)
    ended = end >= 0
    np.testing.assert_allclose((notes.onset + notes.duration)[ended], end[ended], rtol=1e-12, atol=1e-9)
    assert (notes.duration >= 0).all()


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
def test_parts_get_tracks_and_channels_of_their_own_and_none_is_the_drums(tmp_path_factory, parts):
    path = tmp_path_factory.getbasetemp() / "parts.mid"
    left_out = midi.write(parts, path)
    file = mido.MidiFile(path)
    assert file.type == 1
    assert len(file.tracks) == len(parts)
    _assert_pairs_match(file)
    struck = [[message for message in track if message.type == "note_on"] for track in file.tracks]
    assert sum(map(len, struck)) == sum(map(len, parts)) - left_out
    channels = [{message.channel for message in messages} for messages in struck]
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


# Real files.


def _struck(path: Path) -> int:
    """note_on events of a velocity above 0."""
    file = mido.MidiFile(path)
    return sum(message.type == "note_on" and message.velocity > 0 for track in file.tracks for message in track)


def test_the_real_pop_clips_give_21_870_notes(shared_data):
    paths = sorted((shared_data / "pop_music_midi").glob("*.mid*"))
    assert len(paths) == 126
    assert sum(len(midi.read(path)) for path in paths) == 21_870


def test_every_note_on_of_real_piano_arrangements_is_a_note(shared_data):
    for path in sorted((shared_data / "pop909").glob("*.mid"))[:4]:
        notes = midi.read(path)
        assert len(notes) == _struck(path) > 500
        assert (np.diff(notes.onset) >= 0).all()
        assert notes.duration.min() > 0
