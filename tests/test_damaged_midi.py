"""Reading MIDI: good files as mido reads them, odd ones with known answers, damaged ones as far as they go."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax.config import DataConfig
from musicjax.corpus import load
from musicjax.corpus.read import Options, read_file
from musicjax.music import long_rests, midi, midi_chunks, midi_events
from musicjax.music.midi import MidiError
from musicjax.music.notes import Notes
from tests import known_midi
from tests.midi_dumps import chunk, from_hex, midi_file


@pytest.fixture
def read(tmp_path, monkeypatch) -> Callable[..., tuple[list[Notes], midi_chunks.Mended]]:
    """read(content): the pieces of a file, and what was mended; rests are shortened even after `_unlimited`."""
    monkeypatch.setattr(long_rests, "MOST_SECONDS", 600.0)

    def read(content: bytes, **options) -> tuple[list[Notes], midi_chunks.Mended]:
        path = tmp_path / "damaged.mid"
        path.write_bytes(content)
        return midi.read_pieces(path, **options)

    return read


def _same(one: Notes, other: Notes) -> bool:
    return np.array_equal(one.to_array(), other.to_array())


# Good files: note for note what mido reads.


def _reference(path: Path) -> list[tuple[int, int, int, int]]:
    """(onset, end, pitch, velocity) in ticks, in order of onset, paired by hand from mido's messages."""
    found = []
    for track in mido.MidiFile(path).tracks:
        tick, sounding, own = 0, {}, []
        for message in track:
            tick += message.time
            if message.type not in ("note_on", "note_off"):
                continue
            waiting = sounding.setdefault((message.channel, message.note), [])
            if message.type == "note_on" and message.velocity:
                own.append([tick, None, message.note, message.velocity])
                waiting.append(own[-1])
            elif waiting:
                waiting.pop(0)[1] = tick
        found += [(start, tick if end is None else end, *rest) for start, end, *rest in own]
    return sorted(found, key=lambda note: note[0])


def _assert_equals_mido(path: Path) -> None:
    expected = _reference(path)
    if not expected:
        with pytest.raises(MidiError, match="no notes"):
            midi.read(path)
        return
    (notes,), mended = midi.read_pieces(path)
    assert set(mended) <= {"contradicting_meters"}, "songs of POP909 state two at one place"
    onset, end, pitch, velocity = np.array(expected).T
    ticks_per_beat = mido.MidiFile(path).ticks_per_beat
    np.testing.assert_array_equal(notes.pitch, pitch)
    np.testing.assert_array_equal(notes.velocity, velocity)
    np.testing.assert_array_equal(notes.onset_beats, onset / ticks_per_beat)
    np.testing.assert_array_equal(notes.duration_beats, (end - onset) / ticks_per_beat)
    seconds = _seconds(path)
    clock = np.array([[seconds[start], seconds[stop]] for start, stop, *_ in expected])
    # Files of hours: the sum of mido's steps is good to 1e-9 of that.
    np.testing.assert_allclose(notes.onset, clock[:, 0], rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(notes.onset + notes.duration, clock[:, 1], rtol=1e-12, atol=1e-9)


def _seconds(path: Path) -> dict[int, float]:
    """{tick: seconds} of every event, by mido's own clock."""
    file, tick, now, found = mido.MidiFile(path), 0, 0.0, {}
    for in_ticks, in_seconds in zip(mido.merge_tracks(file.tracks), file, strict=True):
        tick, now = tick + in_ticks.time, now + in_seconds.time
        found[tick] = now
    return found


def _message(kind: str, **fields) -> st.SearchStrategy:
    return st.builds(mido.Message, st.just(kind), channel=st.integers(0, 2), time=TIMES, **fields)


BYTE, TIMES = st.integers(0, 127), st.sampled_from([0, 0, 0, 1, 96, 127, 128, 5000, 16_383, 16_384, 2_097_152])
PITCH = st.integers(60, 62)
MESSAGES = st.one_of(
    _message("note_on", note=PITCH, velocity=BYTE),
    _message("note_on", note=PITCH, velocity=st.just(0)),
    _message("note_off", note=PITCH, velocity=BYTE),
    _message("control_change", control=BYTE, value=BYTE),
    _message("program_change", program=BYTE),
    _message("aftertouch", value=BYTE),
    _message("pitchwheel", pitch=st.integers(-8192, 8191)),
    _message("polytouch", note=BYTE, value=BYTE),
    st.builds(mido.MetaMessage, st.just("set_tempo"), tempo=st.integers(1, 2**24 - 1), time=TIMES),
    st.builds(mido.MetaMessage, st.just("lyrics"), text=st.text("abc ", max_size=200), time=TIMES),
    st.builds(mido.UnknownMetaMessage, st.just(0x60), data=st.lists(BYTE, max_size=3), time=TIMES),
    st.builds(mido.MetaMessage, st.just("key_signature"), key=st.sampled_from(["C", "F#m"]), time=TIMES),
)
TRACKS = st.lists(st.lists(MESSAGES, max_size=60), min_size=1, max_size=3)


def _write(path: Path, tracks: list[list[mido.Message]], ticks_per_beat: int = 96) -> bytes:
    file = mido.MidiFile(type=int(len(tracks) > 1), ticks_per_beat=ticks_per_beat)
    file.tracks += [mido.MidiTrack(track) for track in tracks]
    file.save(path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def _unlimited():
    """Generated files hold hours of silence, and mido loses the time of unknown meta events that it is not told of."""
    meta = mido.midifiles.meta
    unknown = set(range(128)) - set(meta._META_SPECS)
    for type_byte in unknown:
        specification = type(f"MetaSpec_unknown_{type_byte}", (meta.MetaSpec,), {"type_byte": type_byte})
        specification.attributes, specification.defaults = ["data"], [()]
        specification.decode = lambda self, message, data: setattr(message, "data", tuple(data))
        specification.encode = lambda self, message: list(message.data)
        specification.check = lambda self, name, value: None
        meta.add_meta_spec(specification)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_rests, "MOST_SECONDS", float("inf"))
        yield
    for type_byte in unknown:
        del meta._META_SPECS[type_byte]
        meta._META_SPEC_BY_TYPE.pop(f"unknown_{type_byte}")


@settings(max_examples=80, deadline=None, derandomize=True)
@given(tracks=TRACKS, ticks_per_beat=st.sampled_from([1, 24, 96, 480, 32_767]))
def test_generated_files_are_read_as_mido_reads_them(tmp_path_factory, _unlimited, tracks, ticks_per_beat):
    path = tmp_path_factory.getbasetemp() / "generated_good.mid"
    _write(path, tracks, ticks_per_beat)
    _assert_equals_mido(path)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    tracks=TRACKS,
    harm=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4),
    block=st.sampled_from([1, 7, 64]),
)
def test_many_events_at_once_are_read_as_one_at_a_time(tmp_path_factory, _unlimited, tracks, harm, block):
    content = bytearray(_write(tmp_path_factory.getbasetemp() / "generated_any.mid", tracks))
    for place, byte in harm:
        content[14 + place % (len(content) - 14)] = byte
    data = bytes(content)

    def outcome() -> object:
        mended: midi_chunks.Mended = {}
        found = midi_events.read(data, midi_chunks.find(data, mended).tracks, mended)
        return [column.tolist() for column in found[:5]], found.tempos, mended

    at_once = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(midi_events, "BLOCK_BYTES", block)
        assert outcome() == at_once
        patch.setattr(midi_events._PlainEvents, "follow", lambda self, first, stop: np.array([first]))
        assert outcome() == at_once


@pytest.mark.parametrize("every", [12, pytest.param(1, marks=pytest.mark.long)])
def test_real_files_are_read_as_mido_reads_them(shared_data, every):
    clips, songs = sorted(shared_data.glob("pop_music_midi/*.mid*")), sorted(shared_data.glob("pop909/*.mid"))
    assert (len(clips), len(songs)) == (126, 700)
    for path in [*clips[::every], *songs[:: 20 * every]] if every > 1 else [*clips, *songs]:
        _assert_equals_mido(path)


def test_the_real_pop_clips_give_21_870_notes(shared_data):
    assert sum(len(midi.read(path)) for path in shared_data.glob("pop_music_midi/*.mid*")) == 21_870


# Odd files with known answers.

ODD = known_midi.TRACKS | known_midi.CONTAINERS | known_midi.TIMES


@pytest.mark.parametrize("odd", ODD)
def test_what_is_odd_costs_no_note_and_has_a_code(read, odd):
    known = ODD[odd]
    (notes,), mended = read(known.content)
    assert notes.pitch.tolist() == known.pitch
    assert notes.onset.tolist() == pytest.approx(known.onset, abs=1e-11)
    assert notes.duration.tolist() == pytest.approx(known.duration, abs=1e-12)
    assert next(iter(mended), "") == known.code
    assert all(mended.values())


def test_beats_of_film_frames_are_those_of_the_default_tempo(read):
    (notes,), _ = read(known_midi.TIMES["24 film frames of 40 ticks"].content)
    assert notes.onset_beats.tolist() == pytest.approx([160 / 960])


def test_a_shortened_rest_is_shortened_by_whole_bars(read):
    (notes,), _ = read(known_midi.TIMES["a rest of hours is shortened"].content)
    assert notes.onset_beats.tolist() == pytest.approx([0.0, 1199.65625, 1201.65625])


def test_times_beyond_all_music_are_refused_and_those_below_are_read(read):
    """So no piece of a file has times in which beats are lost."""
    longest = "ff ff ff 7f  ff 01 00  "  # the longest delta time, and a text without letters
    count = midi.MOST_TICKS // midi.MOST_DELTA_TICKS
    (notes,), _ = read(midi_file(f"{longest * (count - 1)} {known_midi.NOTES}"))
    assert len(notes) == len(read(midi_file(known_midi.NOTES))[0][0])
    with pytest.raises(MidiError, match=f"lasts longer than {midi.MOST_TICKS:,} ticks"):
        read(midi_file(f"{longest * (count + 1)} {known_midi.NOTES}"))


def test_pieces_of_type_2_have_their_own_tempo(read):
    slow = f"00 ff 51 03 0f 42 40  {known_midi.NOTES}"
    (one, other), mended = read(midi_file(slow, known_midi.NOTES, kind=2))
    assert (one.onset.tolist(), other.onset.tolist()) == ([0.0, 1.0], [0.0, 0.5])
    assert mended == {}


# Real files with each fault in turn.


def _first_track(content: bytes) -> int:
    return content.index(b"MTrk")


def _into_track(content: bytes, inserted: bytes) -> bytes:
    """Events put at the beginning of the first track, whose length then says so."""
    at = _first_track(content)
    length = int.from_bytes(content[at + 4 : at + 8], "big") + len(inserted)
    return content[: at + 4] + length.to_bytes(4, "big") + inserted + content[at + 8 :]


def _random_bytes(content: bytes, rng: random.Random, count: int) -> bytes:
    harmed = bytearray(content)
    for _ in range(count):
        harmed[rng.randrange(len(harmed))] = rng.randrange(256)
    return bytes(harmed)


def _track_length(content: bytes, length: int) -> bytes:
    at = _first_track(content)
    return content[: at + 4] + length.to_bytes(4, "big") + content[at + 8 :]


def _set_header(content: bytes, first: int, value: bytes) -> bytes:
    return content[:first] + value + content[first + len(value) :]


FAULTS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut": lambda content, rng: content[: rng.randrange(len(content) // 4, len(content))],
    "last byte missing": lambda content, rng: content[:-1],
    "one byte changed": lambda content, rng: _random_bytes(content, rng, 1),
    "ten bytes changed": lambda content, rng: _random_bytes(content, rng, 10),
    "one byte missing": lambda content, rng: content[: (at := rng.randrange(30, len(content)))] + content[at + 1 :],
    "one byte more": lambda content, rng: content[: (at := rng.randrange(30, len(content)))] + b"\x99" + content[at:],
    "a block of zeros": lambda content, rng: _set_header(content, len(content) // 2, bytes(64)),
    "alien chunk": lambda content, rng: content[:14] + chunk(b"Junk", bytes(30)) + content[14:],
    "bytes in front": lambda content, rng: bytes(200) + content,
    "bytes behind": lambda content, rng: content + b"\r\n" * 50,
    "track count": lambda content, rng: _set_header(
        content, 10, struct.pack(">H", rng.choice([0, 999, 0x8000, 0xFFFF]))
    ),
    "header length": lambda content, rng: _set_header(content, 4, struct.pack(">I", rng.choice([0, 7, 0xFFFFFFFF]))),
    "track too long": lambda content, rng: _track_length(content, 0xFFFFFFFF),
    "track too short": lambda content, rng: _track_length(content, 4),
    "name of a track": lambda content, rng: _set_header(content, _first_track(content) + rng.randrange(4), b"\xcd"),
    "key signature": lambda content, rng: _into_track(content, from_hex("00 ff 59 02 40 07")),
    "short meta": lambda content, rng: _into_track(content, from_hex("00 ff 58 01 04  00 ff 51 01 07")),
    "unknown meta": lambda content, rng: _into_track(content, from_hex("00 ff 60 02 01 02")),
    "tempo 0": lambda content, rng: _into_track(content, from_hex("00 ff 51 03 00 00 00")),
    "undefined status": lambda content, rng: _into_track(content, from_hex("00 f4  00 f9  00 fd")),
    "bad data byte": lambda content, rng: _into_track(content, from_hex("00 b0 07 ff")),
    "film frames": lambda content, rng: _set_header(content, 12, b"\xe7\x28"),
}
# What these do to a file takes no note away and moves none.
HARMLESS = (
    "alien chunk",
    "bytes in front",
    "bytes behind",
    "track count",
    "header length",
    "track too long",
    "track too short",
    "name of a track",
    "key signature",
    "short meta",
    "unknown meta",
    "tempo 0",
    "undefined status",
    "bad data byte",
    "last byte missing",
)


@pytest.fixture(scope="module")
def real(shared_data) -> list[Path]:
    """10 real files."""
    return [*sorted(shared_data.glob("pop_music_midi/*.mid*"))[::18], *sorted(shared_data.glob("pop909/*.mid"))[:3]]


@pytest.mark.parametrize("fault", FAULTS)
def test_damaged_real_files_yield_their_notes(real, read, fault):
    rng = random.Random(fault)
    yielded = same = 0
    for path in real:
        whole = midi.read(path)
        try:
            (notes,), mended = read(FAULTS[fault](path.read_bytes(), rng))
        except MidiError as error:
            assert error.code != "reader_error"
            continue
        yielded += len(notes) > 0
        same += _same(notes, whole)
        assert mended or fault in (
            "unknown meta",
            "film frames",
            "one byte changed",
            "one byte more",
            "ten bytes changed",
            "a block of zeros",
        )
    assert yielded >= 0.9 * len(real), f"{fault}: {yielded} of {len(real)} damaged files gave notes"
    assert same == len(real) or fault not in HARMLESS, f"{fault}: {same} of {len(real)} files kept all notes"


# What stops a reader.


def test_a_file_that_would_take_more_memory_is_skipped(tmp_path):
    pytest.importorskip("resource")
    script = (
        "import sys, numpy as np\nfrom musicjax.corpus import worker as reader\nfrom musicjax.music import midi\n"
        "midi.read_pieces = lambda *_, **__: np.ones(3 * 2**30, np.uint8)\nreader.main()\n"
    )
    request = b'{"path": "x.mid", "options": [true, "key"], "seconds": 20}\n'
    root = str(Path(midi.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "OPENBLAS_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", script], input=request, capture_output=True, timeout=60, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    assert b"memory_limit" in ran.stdout


def test_an_error_in_the_reader_skips_one_file(tmp_path, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("oh")

    (tmp_path / "a.mid").write_bytes(known_midi.GOOD)
    monkeypatch.setattr(midi_chunks, "find", fail)
    outcome, notes = read_file(str(tmp_path / "a.mid"), Options())
    assert (outcome.status, outcome.code, notes) == ("skipped", "reader_error", [])


def test_a_recovered_file_says_all_that_was_mended(tmp_path):
    (tmp_path / "a.mid").write_bytes(b"\0\0" + known_midi.GOOD[:-1])
    read, (outcome,) = load.read(DataConfig(source=str(tmp_path), cache=str(tmp_path / "cache"), workers=1))
    assert (outcome.status, outcome.code, outcome.notes, len(read)) == ("recovered", "extra_bytes", 3, 1)
    assert "before the header" in outcome.detail and "lacks 1 of its" in outcome.detail
    again, (cached,) = load.read(DataConfig(source=str(tmp_path), cache=str(tmp_path / "cache"), workers=1))
    assert cached == outcome
    assert _same(again.notes, read.notes)
