"""Damaged and odd MIDI: what can be read is read and it is said what was mended; good files read as mido reads them."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midi_dumps import chunk, from_hex, midi_file

from benchmarks import edge_cases
from benchmarks.readers import read_mido, read_musicjax
from musicjax.config import DataConfig
from musicjax.corpus import corpus, load
from musicjax.corpus.read import read_file
from musicjax.music import midi, midi_chunks, midi_events
from musicjax.music.midi import MidiError
from musicjax.music.notes import Notes

SCALE = edge_cases.SCALE
NOTES = "00 90 3c 40  60 3c 00  00 3e 50  60 3e 00"  # middle C for a beat, then D for a beat


@pytest.fixture
def read(tmp_path) -> Callable[..., tuple[list[Notes], midi_chunks.Mended]]:
    """read(content): the pieces of a file, and what was mended."""

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
    assert mended == {}
    onset, end, pitch, velocity = np.array(expected).T
    ticks_per_beat = mido.MidiFile(path).ticks_per_beat
    np.testing.assert_array_equal(notes.pitch, pitch)
    np.testing.assert_array_equal(notes.velocity, velocity)
    np.testing.assert_array_equal(notes.onset_beats, onset / ticks_per_beat)
    np.testing.assert_array_equal(notes.duration_beats, (end - onset) / ticks_per_beat)
    clock = [now for now, message in _clock(path) if message.type == "note_on" and message.velocity]
    np.testing.assert_allclose(notes.onset, sorted(clock), rtol=1e-12, atol=1e-9)


def _clock(path: Path):
    now = 0.0
    for message in mido.MidiFile(path):
        now += message.time
        yield now, message


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


def _write(path: Path, tracks: list[list[mido.Message]]) -> bytes:
    file = mido.MidiFile(type=1, ticks_per_beat=96)
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
        patch.setattr(midi, "MOST_REST_SECONDS", float("inf"))
        yield
    for type_byte in unknown:
        del meta._META_SPECS[type_byte]
        meta._META_SPEC_BY_TYPE.pop(f"unknown_{type_byte}")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(tracks=TRACKS)
def test_generated_files_are_read_as_mido_reads_them(tmp_path_factory, _unlimited, tracks):
    path = tmp_path_factory.getbasetemp() / "generated_good.mid"
    _write(path, tracks)
    _assert_equals_mido(path)


@settings(max_examples=150, deadline=None, derandomize=True)
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


def test_real_files_are_read_as_mido_reads_them(shared_data):
    paths = [*sorted(shared_data.glob("pop_music_midi/*.mid*")), *sorted(shared_data.glob("pop909/*.mid"))[:20]]
    assert len(paths) == 146
    for path in paths:
        _assert_equals_mido(path)


@pytest.mark.long
def test_all_real_files_are_read_as_mido_reads_them(shared_data):
    paths = sorted(shared_data.glob("pop909/*.mid"))
    assert len(paths) == 700
    for path in paths:
        _assert_equals_mido(path)


# Odd files with known answers.


def test_every_edge_case_has_its_known_answer(shared_data):
    folder = shared_data / "edge_cases"
    assert len(list(folder.glob("*.mid"))) == 72
    assert edge_cases.wrong(folder, read_musicjax, read_mido) == {}


def test_edge_cases_are_kept_recovered_or_skipped_with_their_reason(shared_data):
    _, outcomes = load.read(DataConfig(source=str(shared_data / "edge_cases"), cache="off", workers=1))
    by_name = {outcome.path.removeprefix("test-").removesuffix(".mid"): outcome for outcome in outcomes}
    assert Counter(outcome.status for outcome in outcomes) == {"kept": 41, "recovered": 17, "skipped": 14}
    assert by_name["empty-file"].code == "empty"
    assert by_name["not-a-midi-file"].code == "no_header_chunk"
    assert by_name["empty"].code == "no_notes"
    assert by_name["corrupt-file-missing-byte"].code == "not_enough_bytes"
    assert by_name["corrupt-file-extra-byte"].code == "extra_bytes"
    assert by_name["non-midi-track"].code == "unknown_chunk_id"
    assert by_name["illegal-message-f4"].code == "unknown_channel_event"
    assert by_name["2-tracks-type-2"].notes == 16


# Bytes of a track.


def _events(dump: str, **layout) -> bytes:
    return midi_file(dump, **layout)


CASES = {
    "running status survives a meta event": ("00 90 3c 40  60 3c 00  00 ff 01 01 61  00 3e 50  60 3e 00", None),
    "running status survives a sysex": ("00 90 3c 40  60 3c 00  00 f0 02 7e f7  00 3e 50  60 3e 00", None),
    "running status survives an undefined status": (
        "00 90 3c 40  60 3c 00  00 f4  00 3e 50  60 3e 00",
        "unknown_channel_event",
    ),
    "a system message with data": (
        "00 f2 01 02  00 f3 05  00 90 3c 40  60 3c 00  00 3e 50  60 3e 00",
        "unknown_channel_event",
    ),
    "a data byte before any status": (
        """00 45           # no status yet: left out, one byte
           00 90 3c 40  60 3c 00  00 3e 50  60 3e 00""",
        "unexpected_running_status",
    ),
    "a data byte above 127": (
        """00 90 bc 40     # bc with its top bit off is 3c
           60    3c 00  00 3e 50  60 3e 00""",
        "invalid_channel_event_parameter_value",
    ),
    "a bad key signature": (f"00 ff 59 02 40 00  {NOTES}", "invalid_meta_event_parameter_value"),
    "a tempo of two bytes": (f"00 ff 51 02 01 02  {NOTES}", "invalid_meta_event_parameter_value"),
    "a tempo of 0": (f"00 ff 51 03 00 00 00  {NOTES}", "invalid_meta_event_parameter_value"),
    "an end of track with a body": (f"00 ff 2f 01 00  {NOTES}", "invalid_meta_event_parameter_value"),
    "notes behind the end of the track": (f"{NOTES}  00 ff 2f 00  00 90 40 40  60 40 00", "extra_bytes"),
    "an escape with any bytes": (f"00 f7 03 90 ff 80  {NOTES}", None),
    "an unknown meta event": (f"00 ff 7e 01 00  {NOTES}", None),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_odd_in_a_track_costs_no_note(read, case):
    dump, code = CASES[case]
    (notes,), mended = read(_events(dump))
    assert notes.pitch.tolist() == [60, 62]
    assert notes.onset_beats.tolist() == [0.0, 1.0]
    assert notes.duration_beats.tolist() == [1.0, 1.0]
    assert list(mended) == ([] if code is None else [code])
    assert all(mended.values())


@pytest.mark.parametrize(
    "meta", ["ff 60 01 00", "ff 7e 00", "ff 59 02 40 00", "ff 51 03 00 00 00", "ff 51 01 01", "f4", "f0 00"]
)
def test_the_delta_of_what_is_left_out_is_kept(read, meta):
    (notes,), _ = read(_events(f"60 {meta}  60 90 3c 40  60 3c 00"))
    assert notes.onset_beats.tolist() == [2.0]


def test_a_number_of_more_than_four_bytes_ends_its_track(read):
    (notes,), mended = read(midi_file(f"{NOTES}  80 80 80 80 60 90 40 40", "00 91 40 40  60 40 00"))
    assert notes.pitch.tolist() == [60, 64, 62]
    assert "invalid_variable_length_quantity" in mended


def test_a_track_without_an_end_is_read(read):
    (notes,), mended = read(_events(NOTES, end=""))
    assert notes.pitch.tolist() == [60, 62]
    assert list(mended) == ["missed_end_of_track"]


# Around the tracks.

GOOD = midi_file(NOTES, "30 91 40 40  60 40 00")
HEADER, FIRST, SECOND = GOOD[:14], GOOD[14 : GOOD.index(b"MTrk", 15)], GOOD[GOOD.index(b"MTrk", 15) :]


def _header(kind: int = 1, tracks: int = 2, division: int = 0x60, length: int = 6) -> bytes:
    return b"MThd" + struct.pack(">IHHH", length, kind, tracks, division)


def _lengthen(track: bytes, by: int) -> bytes:
    return track[:4] + struct.pack(">I", max(int.from_bytes(track[4:8], "big") + by, 0)) + track[8:]


RIFF = b"RIFF" + struct.pack("<I", len(GOOD) + 12) + b"RMIDdata" + struct.pack("<I", len(GOOD)) + GOOD
CONTAINERS = {
    "RIFF": (RIFF, None),
    "RIFF with more behind": (RIFF + b"LISTxxxx", None),
    "bytes in front": (bytes(128) + GOOD, "extra_bytes"),
    "1,024 bytes in front": (bytes(1024) + GOOD, "extra_bytes"),
    "zeros behind": (GOOD + bytes(100), "extra_bytes"),
    "one byte behind": (GOOD + b"x", "extra_bytes"),
    "another file behind": (GOOD + GOOD, "extra_bytes"),
    "alien chunk first": (HEADER + chunk(b"XFIH", b"abc") + FIRST + SECOND, "unknown_chunk_id"),
    "alien chunk between": (HEADER + FIRST + chunk(b"Junk", bytes(9)) + SECOND, "unknown_chunk_id"),
    "alien chunk last": (GOOD + chunk(b"Junk", bytes(9)), "unknown_chunk_id"),
    "damaged name of a track": (HEADER + FIRST + b"MTr\xeb" + SECOND[4:], "unknown_chunk_id"),
    "stray byte between": (HEADER + FIRST + b"\0" + SECOND, "extra_bytes"),
    "longer header": (_header(length=8) + b"\0\0" + FIRST + SECOND, None),
    "header of 4 GiB": (_header(length=0xFFFFFFFF) + FIRST + SECOND, "invalid_chunk_size"),
    "header of no bytes": (_header(length=0) + FIRST + SECOND, "invalid_chunk_size"),
    "track count 0": (_header(tracks=0) + FIRST + SECOND, "unexpected_track_chunks_count"),
    "track count 1": (_header(tracks=1) + FIRST + SECOND, "unexpected_track_chunks_count"),
    "track count 3": (_header(tracks=3) + FIRST + SECOND, "unexpected_track_chunks_count"),
    "track count 0x8000": (_header(tracks=0x8000) + FIRST + SECOND, "unexpected_track_chunks_count"),
    "type 9": (_header(kind=9) + FIRST + SECOND, "unknown_file_format"),
    "first track says too little": (HEADER + _lengthen(FIRST, -5) + SECOND, "invalid_chunk_size"),
    "first track says 0": (HEADER + _lengthen(FIRST, -99) + SECOND, "invalid_chunk_size"),
    "first track says too much": (HEADER + _lengthen(FIRST, 5) + SECOND, "invalid_chunk_size"),
    "first track says 4 GiB": (HEADER + FIRST[:4] + b"\xff" * 4 + FIRST[8:] + SECOND, "invalid_chunk_size"),
    "last track says too little": (HEADER + FIRST + _lengthen(SECOND, -5), "invalid_chunk_size"),
    "last track says too much": (HEADER + FIRST + _lengthen(SECOND, 5), "not_enough_bytes"),
    "last byte missing": (GOOD[:-1], "not_enough_bytes"),
}


@pytest.mark.parametrize("case", CONTAINERS)
def test_what_is_odd_around_the_tracks_costs_no_note(read, case):
    content, code = CONTAINERS[case]
    (good,), mended = read(GOOD)
    assert mended == {}
    (notes,), mended = read(content)
    assert _same(notes, good)
    assert next(iter(mended), None) == code
    assert all(mended.values())


def test_a_header_beyond_the_first_kilobyte_is_none(read):
    with pytest.raises(MidiError) as raised:
        read(bytes(1025) + GOOD)
    assert raised.value.code == "no_header_chunk"


# Time.


def test_film_frames_are_seconds(read):
    (notes,), mended = read(
        midi_file("00 ff 51 03 01 00 00  50 90 3c 40  28 3c 00", division="e8 28")
    )  # 24 * 40 ticks/s
    assert notes.onset.tolist() == pytest.approx([80 / 960])
    assert notes.duration.tolist() == pytest.approx([40 / 960])
    assert notes.onset_beats.tolist() == pytest.approx([160 / 960])
    assert mended == {}
    (notes,), _ = read(midi_file("64 90 3c 40  64 3c 00", division="e3 64"))  # 29.97 frames of 100 ticks
    assert notes.onset.tolist() == pytest.approx([1001 / 30_000])


def test_a_rest_of_hours_is_shortened_and_said(read, monkeypatch):
    monkeypatch.setattr(midi, "MOST_REST_SECONDS", 600.0)
    (notes,), mended = read(_events("00 90 3c 40  60 3c 00  87 ff ff 7f 3e 40  60 3e 00  60 40 40  60 40 00"))
    assert notes.onset.tolist() == [0.0, midi.MOST_REST_SECONDS, midi.MOST_REST_SECONDS + 1.0]
    assert notes.onset_beats[1:].tolist() == pytest.approx([1200.0, 1202.0])
    assert notes.duration.tolist() == pytest.approx([0.5] * 3)
    assert list(mended) == ["too_long_rest"]


def test_pieces_of_type_2_have_their_own_tempo(read):
    slow = f"00 ff 51 03 0f 42 40  {NOTES}"
    (one, other), mended = read(midi_file(slow, NOTES, kind=2))
    assert (one.onset.tolist(), other.onset.tolist()) == ([0.0, 1.0], [0.0, 0.5])
    assert mended == {}


# Truncation.


def test_what_comes_before_the_end_of_a_cut_file_is_read(shared_data, read):
    path = sorted(shared_data.glob("pop909/*.mid"))[0]
    content = path.read_bytes()
    whole = sorted(_reference(path))
    started = Counter((onset, pitch, velocity) for onset, _, pitch, velocity in whole)
    cuts = sorted(random.Random(0).sample(range(len(content)), 150))
    counts = []
    for cut in cuts:
        try:
            (notes,), mended = read(content[:cut])
        except MidiError as error:
            assert error.code in ("empty", "no_header_chunk", "not_enough_bytes", "unexpected_track_chunks_count"), cut
            counts.append(0)
            continue
        assert mended, cut
        ticks = np.rint(notes.onset_beats * 480).astype(int).tolist()
        found = Counter(zip(ticks, notes.pitch.tolist(), notes.velocity.tolist(), strict=True))
        assert found <= started, cut
        counts.append(len(notes))
    assert counts == sorted(counts)
    assert counts[0] == 0 < counts[-1] <= len(whole)
    # Bytes are spread evenly over the notes: nearly as many notes as bytes are left.
    for cut, count in zip(cuts, counts, strict=True):
        assert count >= len(whole) * (cut / len(content) - 0.1)


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
    """30 real files."""
    return [*sorted(shared_data.glob("pop_music_midi/*.mid*"))[::6], *sorted(shared_data.glob("pop909/*.mid"))[:9]]


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


def _mutate(content: bytes, rng: random.Random) -> bytes:
    """One to twenty bytes changed, put in or taken out."""
    harmed = bytearray(content)
    for _ in range(rng.randint(1, 20)):
        at = rng.randrange(len(harmed))
        how = rng.randrange(4)
        if how == 0:
            harmed[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            harmed[at] = rng.randrange(256)
        elif how == 2:
            del harmed[at]
        else:
            harmed.insert(at, rng.choice([0x00, 0x7F, 0x80, 0xFF, rng.randrange(256)]))
    return bytes(harmed)


def _mutants_survive(real: list[Path], folder: Path, count: int) -> None:
    rng = random.Random(6)
    for number in range(count):
        (folder / f"{number:04d}.mid").write_bytes(_mutate(rng.choice(real).read_bytes(), rng))
    begun = time.monotonic()
    read, outcomes = load.read(DataConfig(source=str(folder), cache="off", workers=1))
    assert time.monotonic() - begun < count * 0.1
    counts = corpus.counts(outcomes)
    assert counts["kept"] + counts["recovered"] + counts["skipped"] == len(outcomes) == count
    assert counts["notes"] == len(read.notes)
    assert np.isfinite(read.notes.to_array()).all()
    assert (read.notes.duration >= 0).all()
    assert not {outcome.code for outcome in outcomes} & {"reader_error", "reader_died", "time_limit", "memory_limit"}
    assert counts["skipped"] <= 0.1 * count, Counter(outcome.code for outcome in outcomes)
    for outcome in outcomes:
        assert (outcome.code == "kept") == (outcome.status == "kept") == (not outcome.detail)
        if outcome.status == "kept":
            _kept_as_mido_has_it(folder / outcome.path)


def _kept_as_mido_has_it(path: Path) -> None:
    try:
        expected = _reference(path)
    except Exception:  # mido gives up on it, for one of many reasons
        return
    (notes,), _ = midi.read_pieces(path)
    assert notes.pitch.tolist() == [note[2] for note in expected]


def test_200_mutants_survive(real, tmp_path, _unlimited):
    _mutants_survive(real, tmp_path, 200)


@pytest.mark.long
def test_1000_mutants_survive(real, tmp_path, _unlimited):
    _mutants_survive(real, tmp_path, 1000)


# Files that ask for too much.

BOMBS = {
    "2 MB of continued numbers": (GOOD + chunk(b"MTrk", b"\x80" * 2_000_000), "recovered"),
    "a number without end before the notes": (HEADER + chunk(b"MTrk", b"\xff" * 2_000_000), "skipped"),
    "a meta event of 256 MB": (HEADER + chunk(b"MTrk", from_hex(f"{NOTES} 00 ff 01 ff ff ff 7f 61")), "recovered"),
    "a header of 4 GiB": (_header(length=0xFFFFFFFF) + FIRST, "recovered"),
    "60,000 tracks": (_header(tracks=60_000) + chunk(b"MTrk", from_hex("00 ff 2f 00")) * 60_000, "skipped"),
    "100,000 chunks": (HEADER + chunk(b"MTrk", b"") * 100_000, "skipped"),
    "3 million events": (
        HEADER + chunk(b"MTrk", from_hex("00 90 3c 40") + from_hex("01 3c 40") * 3_000_000),
        "skipped",
    ),
    "3 million meta events": (HEADER + chunk(b"MTrk", from_hex("00 ff 01 00") * 3_000_000), "skipped"),
    "a million notes of one pitch": (
        HEADER + chunk(b"MTrk", from_hex("00 90 3c 40") + from_hex("01 3c 40") * 1_000_000),
        "recovered",
    ),
    "40 MB": (GOOD + bytes(40_000_000), "skipped"),
    "30 MB behind the notes": (GOOD + bytes(30_000_000), "recovered"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_no_file_takes_ten_seconds_or_two_gigabytes(tmp_path, bomb):
    content, status = BOMBS[bomb]
    (tmp_path / "bomb.mid").write_bytes(content)
    begun = time.monotonic()
    _, (outcome,) = load.read(DataConfig(source=str(tmp_path), cache="off", workers=1))
    assert time.monotonic() - begun < 10
    assert outcome.status == status, outcome
    assert outcome.code not in ("time_limit", "memory_limit", "reader_died", "reader_error", "kept")
    assert outcome.detail


def test_a_file_that_would_take_more_memory_is_skipped(tmp_path):
    pytest.importorskip("resource")
    script = (
        "import sys, numpy as np\nfrom musicjax.corpus import worker as reader\nfrom musicjax.music import midi\n"
        "midi.read_pieces = lambda *_, **__: np.ones(3 * 2**30, np.uint8)\nreader.main()\n"
    )
    request = b'{"path": "x.mid", "percussion": true, "seconds": 20}\n'
    root = str(Path(midi.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "OPENBLAS_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", script], input=request, capture_output=True, timeout=60, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    assert b"memory_limit" in ran.stdout


def test_what_the_reader_raises_by_mistake_skips_one_file(tmp_path, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("oh")

    (tmp_path / "a.mid").write_bytes(GOOD)
    monkeypatch.setattr(midi_chunks, "find", fail)
    outcome, notes = read_file(str(tmp_path / "a.mid"), True)
    assert (outcome.status, outcome.code, notes) == ("skipped", "reader_error", None)


def test_a_recovered_file_says_all_that_was_mended(tmp_path):
    (tmp_path / "a.mid").write_bytes(b"\0\0" + HEADER + FIRST + SECOND[:-1])
    read, (outcome,) = load.read(DataConfig(source=str(tmp_path), cache=str(tmp_path / "cache"), workers=1))
    assert (outcome.status, outcome.code, outcome.notes, len(read)) == ("recovered", "extra_bytes", 3, 1)
    assert "before the header" in outcome.detail and "lacks 1 of its" in outcome.detail
    again, (cached,) = load.read(DataConfig(source=str(tmp_path), cache=str(tmp_path / "cache"), workers=1))
    assert cached == outcome
    assert _same(again.notes, read.notes)
