"""Which instrument plays each note: read from files, written to them, and kept on the way."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax.cli import flags
from musicjax.config import DataConfig
from musicjax.corpus import cache, load, split, worker
from musicjax.corpus import corpus as corpus_lib
from musicjax.corpus.read import Options, Reading, read_file
from musicjax.errors import UsageError
from musicjax.generation import generate, request
from musicjax.music import instruments, long_rests, midi, midi_programs, musicxml
from musicjax.music.notes import COLUMNS, DRUMS, Notes, check, from_beats, from_seconds
from tests.midi_dumps import midi_file

NOTE_ON, NOTE_OFF = "90 3c 40", "90 3c 00"


def notes_of(programs: list[int], **more) -> Notes:
    """A note a beat, with these programs."""
    count = len(programs)
    notes = from_beats([60] * count, [90] * count, np.arange(count), [1.0] * count)
    return Notes(*notes.to_array(), program=np.array(programs, np.int16), **more)


# What notes know of their instruments and keys.


def test_notes_are_played_by_a_piano_unless_they_say_otherwise():
    assert from_beats([60, 62], [90, 90], [0, 1], [1, 1]).program.tolist() == [0, 0]
    assert from_beats([], [], [], []).program.dtype == np.int16
    assert len(from_beats([60], [90], [0], [1]).keys) == 0


def test_a_selection_takes_the_programs_along():
    assert notes_of([1, 2, DRUMS])[1:].program.tolist() == [2, DRUMS]
    assert notes_of([1, 2, DRUMS])[np.array([True, False, True])].program.tolist() == [1, DRUMS]


@pytest.mark.parametrize(
    ("program", "words"),
    [([0, 129], r"program\[1\]=129: expected 0\.\.128"), ([0, -1], r"program\[1\]=-1"), ([0], "has length 1")],
)
def test_programs_that_are_none_are_named(program, words):
    notes = from_beats([60, 62], [90, 90], [0, 1], [1, 1])
    object.__setattr__(notes, "program", np.array(program, np.int16))
    with pytest.raises(UsageError, match=words):
        check(notes)


@pytest.mark.parametrize(
    "keys", [[[0, 12, 0]], [[0, 1.5, 0]], [[0, 0, 4]], [[4, 0, 0], [4, 2, 0]], [[np.nan, 0, 0]], [[0, 0]]]
)
def test_keys_that_are_none_are_named(keys):
    with pytest.raises(UsageError, match=r"keys.*expected .*rows of a beat, a tonic 0\.\.11 and a mode 0\.\.3"):
        check(notes_of([0], keys=np.array(keys, float)))
    check(notes_of([0], keys=np.array([[0, 0, 0], [1, 11, 3]], float)))


def test_what_continues_another_piece_has_its_key_or_takes_its_own_along():
    before = notes_of([0] * 8, keys=np.array([[0.0, 0, 0], [5, 9, 1]]))
    after = notes_of([0] * 4)
    assert after.after_beat(6, before).keys.tolist() == [[0, 9, 1]]
    assert after.after_beat(5, before).keys.tolist() == [[0, 9, 1]], "a key begins with its beat"
    assert after.after_beat(3, before).keys.tolist() == [[0, 0, 0]]
    own = notes_of([0] * 4, keys=np.array([[0.0, 2, 2], [1, 7, 0]]))
    assert own.after_beat(6, before).keys.tolist() == pytest.approx(np.array([[2, 2, 2], [3, 7, 0]]), abs=1e-5)
    assert own.after_beat(6, own).program.tolist() == [0] * 4


def test_a_piece_keeps_its_programs_and_keys_from_process_to_process_and_in_a_corpus():
    pieces = [notes_of([3, DRUMS], keys=np.array([[0.0, 9, 1]])), notes_of([127])]
    stream = io.BytesIO()
    worker.send(stream, Reading("kept", "kept", ""), pieces)
    stream.seek(0)
    received = worker.receive(stream)
    assert received is not None
    read = [corpus_lib.ReadFile(str(at), str(at), received[0], [piece]) for at, piece in enumerate(received[1])]
    corpus, _ = corpus_lib.of_files(read)
    for found in (corpus, corpus.only(np.array([True, True]))):
        assert [piece.program.tolist() for piece in found.pieces] == [[3, DRUMS], [127]]
        assert [piece.keys.tolist() for piece in found.pieces] == [[[0, 9, 1]], []]
        assert found.notes.program.dtype == np.int16
        assert found.piece(1).keys.shape == (0, 3)


def test_keys_move_with_the_beats_of_a_piece():
    notes = from_seconds([60, 62, 64], [90] * 3, [0.0, 1.0, 2001.0], [1.0] * 3)  # a rest of 4,000 beats
    keys = np.array([[0.0, 0, 0], [2.0, 7, 0], [4002.0, 9, 1]])
    shorter = long_rests.shortened(dataclasses.replace(notes, keys=keys), {})
    assert shorter.onset_beats[2] < 1300
    assert shorter.keys.tolist() == [[0, 0, 0], [2, 7, 0], [shorter.onset_beats[2], 9, 1]]
    end = split._from_its_measure(notes_of([0] * 8, keys=keys[:2])[5:])
    assert end.onset_beats.tolist() == [1, 2, 3]
    assert end.keys.tolist() == [[-2, 7, 0]]
    assert end.key_at(1).tolist() == [[0, 7, 0]]


def test_the_cache_keeps_programs_apart_from_what_was_kept_without_them(tmp_path):
    kept = cache.entry(tmp_path, Path("a.mid"), "ab" * 32, Options())
    assert kept.relative_to(tmp_path).parts[0] == "notes-v4-f2-all-key"
    cache.store(kept, Reading("kept", "kept", ""), [notes_of([5, DRUMS])])
    loaded = cache.load(kept)
    assert loaded is not None and loaded[1][0].program.tolist() == [5, DRUMS]


# Reading.

KNOWN = {
    "none is piano": ([f"00 {NOTE_ON}  60 {NOTE_OFF}"], [0]),
    "before the note": ([f"00 c0 07  00 {NOTE_ON}  60 {NOTE_OFF}"], [7]),
    "the last one before it": ([f"00 c0 07  00 c0 09  00 {NOTE_ON}  60 {NOTE_OFF}"], [9]),
    "after it, on its tick": ([f"00 {NOTE_ON}  00 c0 07  60 {NOTE_OFF}  00 {NOTE_ON}  60 {NOTE_OFF}"], [0, 7]),
    "while it sounds": ([f"00 c0 07  00 {NOTE_ON}  30 c0 09  30 {NOTE_OFF}"], [7]),
    "of another channel": ([f"00 c1 07  00 {NOTE_ON}  60 {NOTE_OFF}"], [0]),
    "banks do not count": ([f"00 b0 00 08  00 c0 07  00 b0 20 01  00 {NOTE_ON}  60 {NOTE_OFF}"], [7]),
    "of another track": (["00 c0 07", f"00 {NOTE_ON}  60 {NOTE_OFF}"], [7]),
    "of a later track, on its tick": ([f"60 {NOTE_ON}  60 {NOTE_OFF}", "60 c0 07"], [7]),
    "of a later track, after it": ([f"60 {NOTE_ON}  60 {NOTE_OFF}", "61 c0 07"], [0]),
    "its own track has the say": ([f"00 c0 07  00 {NOTE_ON}  60 {NOTE_OFF}", "00 c0 08"], [7]),
    "unless another is later": ([f"00 c0 07  60 {NOTE_ON}  60 {NOTE_OFF}", "30 c0 08"], [8]),
    "drums": ([f"00 c9 07  00 99 24 40  60 99 24 00  00 {NOTE_ON}  60 {NOTE_OFF}"], [DRUMS, 0]),
}


@pytest.mark.parametrize("meaning", KNOWN)
def test_the_program_of_a_note_is_the_one_in_force_where_it_begins(tmp_path, meaning):
    tracks, programs = KNOWN[meaning]
    (tmp_path / "a.mid").write_bytes(midi_file(*tracks))
    assert midi.read(tmp_path / "a.mid").program.tolist() == programs


def test_pieces_of_one_file_do_not_hear_each_others_programs(tmp_path):
    tracks = f"00 c0 07  00 {NOTE_ON}  60 {NOTE_OFF}", f"00 {NOTE_ON}  60 {NOTE_OFF}"
    (tmp_path / "a.mid").write_bytes(midi_file(*tracks, kind=2))
    pieces, _ = midi.read_pieces(tmp_path / "a.mid")
    assert [piece.program.tolist() for piece in pieces] == [[7], [0]]


EVENT = st.tuples(st.integers(0, 2), st.sampled_from("pn"), st.sampled_from([0, 1, 9]), st.integers(0, 127))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(tracks=st.lists(st.lists(EVENT, max_size=8), min_size=1, max_size=4))
def test_any_order_of_program_changes_and_notes_is_read_as_said(tmp_path_factory, tracks):
    """The rule, note by note: the own track's last one before it, or a later one of another track up to its tick."""
    changes, notes, dumps = [], [], []
    for number, events in enumerate(tracks):
        tick, dump = 0, ""
        for place, (delta, kind, channel, value) in enumerate(events):
            tick += delta
            if kind == "p":
                changes.append((tick, number, place, channel, value))
                dump += f" {delta:02x} c{channel:x} {value:02x}"
            else:
                notes.append((tick, number, place, channel))
                dump += f" {delta:02x} 9{channel:x} 3c 40"
        dumps.append(dump + " 05 b0 07 00")
    wanted = []
    for tick, number, place, channel in sorted(notes, key=lambda note: note[0]):
        heard = [
            (when, track == number, track, index, value)
            for when, track, index, of_channel, value in changes
            if of_channel == channel and (index < place if track == number else when <= tick)
        ]
        wanted.append(DRUMS if channel == 9 else max(heard)[-1] if heard else 0)
    path = tmp_path_factory.getbasetemp() / "programs.mid"
    path.write_bytes(midi_file(*dumps))
    if notes:
        assert midi.read(path).program.tolist() == wanted


def test_a_file_read_by_the_corpus_has_its_programs(tmp_path: Path):
    (tmp_path / "a.mid").write_bytes(midi_file(f"00 c0 07  00 {NOTE_ON}  60 {NOTE_OFF}"))
    reading, (notes,) = read_file(str(tmp_path / "a.mid"), Options())
    assert reading.status == "kept" and notes.program.tolist() == [7]


SCORE = """<score-partwise>
<part-list><score-part id="P1"><part-name>{name}</part-name>{instruments}</score-part></part-list>
<part id="P1"><measure>
<note>{of_note}<pitch><step>C</step><octave>4</octave></pitch><duration>1</duration></note>
</measure></part>
</score-partwise>"""
TWO = "<score-instrument id='A'><instrument-name>{}</instrument-name></score-instrument><score-instrument id='B'/>"
PLAYED = "<midi-instrument id='{}'><midi-channel>{}</midi-channel><midi-program>{}</midi-program></midi-instrument>"


@pytest.mark.parametrize(
    ("name", "said", "of_note", "program"),
    [
        ("", "", "", 0),
        ("Violin", "", "", 40),
        ("English Horn", "", "", 69),
        ("My violin", "", "", 0),
        ("Violin", "<midi-instrument id='A'><midi-program>74</midi-program></midi-instrument>", "", 73),
        ("Violin", "<midi-instrument id='A'><midi-program>0</midi-program></midi-instrument>", "", 40),
        ("Violin", "<midi-instrument id='A'><midi-program>129</midi-program></midi-instrument>", "", 40),
        ("Violin", "<midi-instrument id='A'><midi-program>x</midi-program></midi-instrument>", "", 40),
        ("Violin", "<midi-instrument id='A'><midi-program>1</midi-program></midi-instrument>", "", 0),
        ("Violin", TWO.format("Flute"), "", 73),
        ("Violin", TWO.format("Flute"), "<instrument id='B'/>", 40),
        ("Violin", TWO.format("Flute") + PLAYED.format("B", 2, 57), "<instrument id='B'/>", 56),
        ("Violin", TWO.format("Flute") + PLAYED.format("B", 2, 57), "<instrument id='C'/>", 73),
        ("Drumset", PLAYED.format("A", 10, 1), "", DRUMS),
    ],
)
def test_scores_say_who_plays(tmp_path, name, said, of_note, program):
    (tmp_path / "a.musicxml").write_text(SCORE.format(name=name, instruments=said, of_note=of_note))
    notes, mended = musicxml.read(tmp_path / "a.musicxml")
    assert notes.program.tolist() == [program] and notes.program.dtype == np.int16
    assert not mended


KIT = """<score-partwise>
<part-list><score-part id="P1"><part-name>Drumset</part-name>
<score-instrument id="kick"/><score-instrument id="snare"/><score-instrument id="bell"/>
<midi-instrument id="kick"><midi-channel>10</midi-channel><midi-unpitched>37</midi-unpitched></midi-instrument>
<midi-instrument id="snare"><midi-channel>10</midi-channel><midi-unpitched>39</midi-unpitched></midi-instrument>
<midi-instrument id="bell"><midi-channel>10</midi-channel><midi-unpitched>129</midi-unpitched></midi-instrument>
</score-part><score-part id="P2"><part-name>Flute</part-name></score-part></part-list>
<part id="P1"><measure><attributes><divisions>1</divisions></attributes>{strokes}</measure></part>
<part id="P2"><measure><attributes><divisions>1</divisions></attributes>{melody}</measure></part>
</score-partwise>"""
STROKES = "".join(
    f"<note><unpitched/><duration>1</duration>{named}</note>"
    for named in ("", "<instrument id='snare'/>", "<instrument id='bell'/>", "<instrument id='kick'/>")
)
MELODY = "<note><pitch><step>C</step><octave>4</octave></pitch><duration>4</duration></note>"


def test_drums_of_a_score_are_read_where_it_states_their_numbers(tmp_path):
    (tmp_path / "a.musicxml").write_text(KIT.format(strokes=STROKES, melody=MELODY))
    notes, mended = musicxml.read(tmp_path / "a.musicxml")
    rows = list(zip(notes.onset_beats.tolist(), notes.pitch.tolist(), notes.program.tolist(), strict=True))
    assert rows == [(0, 36, DRUMS), (0, 60, 73), (1, 38, DRUMS), (3, 36, DRUMS)]
    assert not mended


def test_drums_of_a_score_are_left_out_as_those_of_midi_are(tmp_path):
    (tmp_path / "a.musicxml").write_text(KIT.format(strokes=STROKES, melody=MELODY))
    _, (notes,) = read_file(str(tmp_path / "a.musicxml"), Options(percussion=False))
    assert notes.program.tolist() == [73]
    (tmp_path / "b.musicxml").write_text(KIT.format(strokes=MELODY, melody=""))
    _, (notes,) = read_file(str(tmp_path / "b.musicxml"), Options())
    assert notes.program.tolist() == [DRUMS], "drums may be written with pitches"
    reading, pieces = read_file(str(tmp_path / "b.musicxml"), Options(percussion=False))
    assert (reading.code, pieces) == ("only_percussion", [])


# Writing.

TICK_SECONDS = 1 / 960


@st.composite
def band(draw, programs=(0, 5, 40, DRUMS), size: int = 30) -> Notes:
    """Notes of several instruments on the ticks of a written file, none of which finds its pitch taken."""
    row = st.tuples(st.integers(0, 20), st.integers(60, 62), st.integers(1, 127), st.sampled_from(programs))
    rows = draw(st.lists(row, max_size=size, unique_by=lambda row: (row[0], row[1], row[3])))
    onset, pitch, velocity, program = np.array(sorted(rows), int).reshape(-1, 4).T
    length = np.array(draw(st.lists(st.integers(1, 30), min_size=len(rows), max_size=len(rows))), int)
    times = onset * 30 * TICK_SECONDS, np.minimum(length, 30) * TICK_SECONDS
    return Notes(*from_seconds(pitch, velocity, *times).to_array(), program=program.astype(np.int16))


def rows_of(notes: Notes) -> list[tuple[int, ...]]:
    """What each note is, in ticks, whatever their order."""
    onset, duration = (np.rint(time / TICK_SECONDS).astype(int) for time in (notes.onset, notes.duration))
    columns = (onset, duration, notes.pitch, notes.velocity, notes.program)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(notes=st.one_of(band(), band(programs=range(20)), band(programs=(DRUMS,))))
def test_several_instruments_are_written_and_read_again(tmp_path_factory, notes):
    path = tmp_path_factory.getbasetemp() / "band.mid"
    left_out = midi.write(notes, path)
    file = mido.MidiFile(path)
    assert file.type == 1
    programs = np.unique(notes.program).tolist()
    assert len(file.tracks) == max(len(programs), 1)
    if len(programs) > 1:
        assert [track.name for track in file.tracks] == [instruments.name_of(program) for program in programs]
    if not len(notes):
        return
    for track, program in zip(file.tracks, programs, strict=True):
        struck = {message.channel for message in track if message.type == "note_on"}
        assert struck == {9} if program == DRUMS else struck and 9 not in struck
    read = midi.read(path)
    assert len(read) == len(notes) - left_out
    assert set(rows_of(read)) <= set(rows_of(notes))
    assert len(programs) > 15 or left_out == 0


@pytest.mark.parametrize("count", [16, 40, 128])
def test_more_instruments_than_channels_are_all_heard(tmp_path, count):
    notes = notes_of(list(range(count)))
    together = from_beats(np.arange(count), [90] * count, [0] * count, [1] * count)
    for one in (notes, Notes(*together.to_array(), program=notes.program)):
        assert midi.write(one, tmp_path / "many.mid") == 0
        assert rows_of(midi.read(tmp_path / "many.mid")) == rows_of(one)


def test_instruments_that_share_a_channel_take_turns_on_it(tmp_path):
    turns = notes_of([*range(16)] * 3)
    assert midi.write(turns, tmp_path / "turns.mid") == 0
    assert rows_of(midi.read(tmp_path / "turns.mid")) == rows_of(turns)
    at_once = Notes(*from_beats([60] * 16, [90] * 16, [1] * 16, [1] * 16).to_array(), program=turns.program[:16])
    assert midi.write(at_once, tmp_path / "at_once.mid") == 1, "of 16 on 15 channels, one finds none free"


def struck_while_they_sound(path: Path) -> int:
    """How often a player, which merges all tracks, gets a note_on for a key that still sounds."""
    sounding, found = set(), 0
    for message in mido.merge_tracks(mido.MidiFile(path).tracks):
        if message.type in ("note_on", "note_off"):
            key = (message.channel, message.note)
            found += message.type == "note_on" and key in sounding
            (sounding.add if message.type == "note_on" else sounding.discard)(key)
    return found


@pytest.mark.parametrize("programs", [5, 20, 40])
def test_players_that_merge_the_tracks_find_each_key_released_before_it_is_struck_again(tmp_path, programs):
    rng, count = np.random.default_rng(programs), 600
    onset = np.sort(rng.integers(0, 80, count)) / 2
    notes = from_beats(rng.integers(55, 65, count), [80] * count, onset, rng.integers(1, 3, count) / 2)
    notes = dataclasses.replace(notes, program=rng.integers(0, programs, count).astype(np.int16))
    assert midi.write(notes, tmp_path / "many.mid") == 0
    assert struck_while_they_sound(tmp_path / "many.mid") == 0
    assert rows_of(midi.read(tmp_path / "many.mid")) == rows_of(notes)
    drums = dataclasses.replace(notes, program=np.full(count, DRUMS, np.int16))
    midi.write([drums[::2], drums[1::2]], tmp_path / "drums.mid")
    assert struck_while_they_sound(tmp_path / "drums.mid") == 0


def test_drums_of_two_parts_are_one_kit(tmp_path):
    first, second = (
        dataclasses.replace(from_beats([36], [velocity], [0], [length]), program=np.array([DRUMS], np.int16))
        for velocity, length in ((50, 1), (90, 2))
    )
    assert midi.write([first, second], tmp_path / "kit.mid") == 1
    assert rows_of(midi.read(tmp_path / "kit.mid")) == [(0, 960, 36, 90, DRUMS)]


def test_an_instrument_whose_channel_is_taken_borrows_one(tmp_path):
    """Two violins play in unison among fifteen instruments."""
    count = 16
    notes = from_beats([60] * 2 + list(range(61, 75)), [90] * count, [0] * count, [1] * count)
    notes = dataclasses.replace(notes, program=np.array([40, 40, *range(14)], np.int16))
    later = from_beats([50] * 15, [90] * 15, [2] * 15, [1] * 15)
    later = dataclasses.replace(later, program=np.array([40, *range(14)], np.int16))
    both = Notes(**{name: np.append(getattr(notes, name), getattr(later, name)) for name in COLUMNS})
    assert midi.write(both, tmp_path / "unison.mid") == 0
    assert rows_of(midi.read(tmp_path / "unison.mid")) == rows_of(both)
    tracks = mido.MidiFile(tmp_path / "unison.mid").tracks
    changes = [sum(message.type == "program_change" for message in track) for track in tracks]
    assert sorted(changes)[:13] == [1] * 13, "the channels of the others are theirs alone"


def test_channels_are_shared_fairly(tmp_path):
    """Of 15 channels, four instruments get three each, and the first three one more."""
    notes = from_beats([60] * 16, [90] * 16, [0] * 16, [1] * 16)
    notes = Notes(*notes.to_array(), program=np.repeat([1, 2, 3, 4], 4).astype(np.int16))
    assert midi.write(notes, tmp_path / "fair.mid") == 1
    assert np.bincount(midi.read(tmp_path / "fair.mid").program).tolist() == [0, 4, 4, 4, 3]


def test_a_drum_struck_while_it_sounds_ends_and_struck_twice_at_once_is_the_louder(tmp_path):
    drums = from_beats([36, 36, 36, 38], [50, 90, 70, 60], [0, 0, 1, 1], [4, 1, 1, 1])
    drums = Notes(*drums.to_array(), program=np.full(4, DRUMS, np.int16))
    assert midi.write(drums, tmp_path / "drums.mid") == 1
    read = midi.read(tmp_path / "drums.mid")
    assert rows_of(read) == [(0, 480, 36, 90, DRUMS), (480, 480, 36, 70, DRUMS), (480, 480, 38, 60, DRUMS)]
    assert {
        message.channel for message in mido.MidiFile(tmp_path / "drums.mid").tracks[0] if message.type == "note_on"
    } == {9}


def test_programs_that_are_given_replace_the_notes_own_but_leave_the_drums(tmp_path):
    notes = notes_of([1, DRUMS, 2])
    midi.write(notes, tmp_path / "a.mid", programs=(73,), names=("tune",))
    assert midi.read(tmp_path / "a.mid").program.tolist() == [73, DRUMS, 73]
    assert [track.name for track in mido.MidiFile(tmp_path / "a.mid").tracks] == ["tune: flute", "tune: drums"]


def test_one_instrument_is_one_track_without_a_name(tmp_path):
    midi.write(notes_of([73, 73]), tmp_path / "a.mid")
    (track,) = mido.MidiFile(tmp_path / "a.mid").tracks
    assert not track.name
    assert [message.program for message in track if message.type == "program_change"] == [73]


def test_generated_pieces_are_played_by_what_is_asked_for_or_by_their_own(tmp_path):
    pieces = [notes_of([5, DRUMS, 40])]
    wanted = {None: [5, DRUMS, 40], 0: [0, DRUMS, 0], 73: [73, DRUMS, 73], DRUMS: [DRUMS] * 3}
    for program, found in wanted.items():
        (path,) = generate.write(pieces, tmp_path, 0, program)
        assert midi.read(path).program.tolist() == found
        assert generate.played_by(program, pieces[0]).program.tolist() == found


@pytest.mark.parametrize(("text", "program"), [(None, None), ("", None), ("0", 0), ("flute", 73), ("drums", DRUMS)])
def test_the_flag_takes_names(text, program):
    options = flags.parse(["generate", *([] if text is None else [f"--program={text}"])]).options
    assert request.of(options).program == program


def test_keys_are_written_where_they_hold(tmp_path):
    keys = np.array([[1.0, 9, 1], [4, 2, 2], [5, 7, 3], [6, 3, 0], [7, 0, 2], [90, 0, 0]])
    midi.write(notes_of([0, 40] * 4, keys=keys), tmp_path / "a.mid")
    first, second = mido.MidiFile(tmp_path / "a.mid").tracks
    assert "key_signature" not in {message.type for message in second}
    now, found = 0, []
    for message in first:
        now += message.time
        if message.type == "key_signature":
            found.append((now / 480, message.key))
    # Dorian D has no sharps and flats, like C; nor has mixolydian G; dorian C has two flats, like B flat.
    assert found == [(0, "Am"), (4, "C"), (5, "C"), (6, "Eb"), (7, "Bb")]


@pytest.mark.parametrize("mode", range(4))
@pytest.mark.parametrize("tonic", range(12))
def test_every_key_has_a_signature_with_its_pitches(tmp_path, tonic, mode):
    steps = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 5, 7, 9, 10), (0, 2, 4, 5, 7, 9, 10))[mode]
    midi.write(notes_of([0], keys=np.array([[0.0, tonic, mode]])), tmp_path / "a.mid")
    (name,) = [
        message.key for message in mido.MidiFile(tmp_path / "a.mid").tracks[0] if message.type == "key_signature"
    ]
    letter = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}[name[0]]
    stated = letter + name.count("#") - name.count("b")
    own = (0, 2, 3, 5, 7, 8, 10) if name.endswith("m") else (0, 2, 4, 5, 7, 9, 11)
    assert {(stated + step) % 12 for step in own} == {(tonic + step) % 12 for step in steps}


def test_unknown_keys_are_not_written(tmp_path):
    midi.write(notes_of([0]), tmp_path / "a.mid")
    assert not [message for message in mido.MidiFile(tmp_path / "a.mid").tracks[0] if message.type == "key_signature"]


# Tracks apart.


def test_tracks_of_one_program_are_apart_as_far_as_the_family_has_programs():
    program = np.array([0, 0, 0, 40, 40, 1, DRUMS, DRUMS])
    track = np.array([1, 2, 3, 4, 4, 5, 6, 7])
    assert midi_programs.apart(program, track).tolist() == [0, 2, 3, 40, 40, 1, DRUMS, DRUMS]
    many = np.zeros(10, np.int64)
    assert midi_programs.apart(many, np.arange(10)).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 0]
    assert midi_programs.apart(many[:0], many[:0]).tolist() == []


def test_a_corpus_has_tracks_apart_if_it_is_asked_for_and_keeps_both_readings(tmp_path):
    folder = tmp_path / "music"
    folder.mkdir()
    parts = [from_beats([pitch], [80], [0], [1]) for pitch in (72, 60, 48)]
    midi.write(parts, folder / "a.mid", programs=[0, 0, 32])
    for tracks, expected in (("merge", [0, 0, 32]), ("apart", [0, 1, 32]), ("merge", [0, 0, 32])):
        data = DataConfig(source=str(folder), cache=str(tmp_path / "cache"), tracks=tracks)
        corpus, _ = load.load(data)
        notes = corpus.piece(0)
        assert notes.program[np.argsort(-notes.pitch)].tolist() == expected
