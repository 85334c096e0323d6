"""Which instrument plays each note: read from files, written to them, and kept on the way."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax.corpus import corpus as corpus_lib
from musicjax.corpus import worker
from musicjax.corpus.read import Options, Reading, read_file
from musicjax.errors import UsageError
from musicjax.music import midi
from musicjax.music.notes import DRUMS, Notes, check, from_beats
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
    "keys", [[[0, 12, 0]], [[0, 1.5, 0]], [[0, 0, 4]], [[4, 0, 0], [4, 2, 0]], [[np.nan, 0, 0]], [[0, 0]], []]
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
