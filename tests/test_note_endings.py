"""What ends a note of a MIDI file: its key, a controller that turns notes off, and the sustain pedal."""

from __future__ import annotations

from pathlib import Path

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax.config import DataConfig
from musicjax.corpus import load
from musicjax.errors import UsageError
from musicjax.music import midi
from musicjax.music.notes import Notes

BEAT = 96  # ticks
PEDAL, SOUND_OFF, CONTROLLERS_OFF, NOTES_OFF = 64, 120, 121, 123


def on(tick: int, pitch: int, channel: int = 0) -> tuple[int, mido.Message]:
    return tick, mido.Message("note_on", note=pitch, velocity=90, channel=channel)


def off(tick: int, pitch: int, channel: int = 0) -> tuple[int, mido.Message]:
    return tick, mido.Message("note_off", note=pitch, channel=channel)


def control(tick: int, number: int, value: int = 0, channel: int = 0) -> tuple[int, mido.Message]:
    return tick, mido.Message("control_change", control=number, value=value, channel=channel)


def write(path: Path, *tracks: list[tuple[int, mido.Message]], kind: int = 1) -> Path:
    file = mido.MidiFile(type=kind, ticks_per_beat=BEAT)
    for track in tracks:
        now, messages = 0, []
        for tick, message in track:
            messages.append(message.copy(time=tick - now))
            now = tick
        file.tracks.append(mido.MidiTrack(messages))
    file.save(path)
    return path


def beats(notes: Notes) -> list[tuple[int, float, float]]:
    return list(zip(notes.pitch.tolist(), notes.onset_beats.tolist(), notes.duration_beats.tolist(), strict=True))


@pytest.mark.parametrize("number", [SOUND_OFF, NOTES_OFF, 124, 127])
def test_a_controller_ends_all_notes_of_its_channel_that_began_before_it(tmp_path, number):
    track = [on(0, 60), on(0, 64), on(0, 67, channel=1), control(BEAT, number), on(BEAT, 60), off(2 * BEAT, 64)]
    track += [off(3 * BEAT, 60), off(4 * BEAT, 67, channel=1)]
    read = midi.read(write(tmp_path / "a.mid", track))
    assert beats(read) == [(60, 0, 1), (64, 0, 1), (67, 0, 4), (60, 1, 2)]


def test_a_note_that_a_controller_ends_takes_no_ending_of_a_later_one(tmp_path):
    """Two notes of one pitch, the first of which is ended by a controller: the ending belongs to the second."""
    track = [on(0, 60), control(BEAT, NOTES_OFF), on(2 * BEAT, 60), off(3 * BEAT, 60), off(5 * BEAT, 60)]
    assert beats(midi.read(write(tmp_path / "a.mid", track))) == [(60, 0, 1), (60, 2, 1)]


def test_a_controller_acts_on_all_tracks_unless_they_are_separate_pieces(tmp_path):
    conductor = [control(BEAT, NOTES_OFF), on(BEAT, 40), off(2 * BEAT, 40)]
    voice = [on(0, 60), on(BEAT, 62), off(2 * BEAT, 62), off(3 * BEAT, 60)]
    assert beats(midi.read(write(tmp_path / "a.mid", conductor, voice)))[0] == (60, 0, 1)
    pieces, _ = midi.read_pieces(write(tmp_path / "b.mid", conductor, voice, kind=2))
    assert beats(pieces[1]) == [(60, 0, 3), (62, 1, 1)]


def test_the_pedal_holds_notes_until_it_is_released(tmp_path):
    """Values from 64 on are down, as pedals that tell half-way values mean it."""
    track = [control(0, PEDAL, 64), on(0, 60), off(10, 60), on(BEAT, 62), off(BEAT + 10, 62)]
    track += [control(3 * BEAT, PEDAL, 63), on(4 * BEAT, 64), off(5 * BEAT, 64)]
    path = write(tmp_path / "a.mid", track)
    assert beats(midi.read(path, sustain="pedal")) == [(60, 0, 3), (62, 1, 2), (64, 4, 1)]
    assert beats(midi.read(path))[0] == (60, 0, 10 / BEAT)


def test_a_key_struck_again_sound_off_and_the_end_of_the_file_end_what_the_pedal_holds(tmp_path):
    again = [control(0, PEDAL, 127), on(0, 60), off(10, 60), on(BEAT, 60), off(BEAT + 10, 60), off(4 * BEAT, 0)]
    assert beats(midi.read(write(tmp_path / "a.mid", again), sustain="pedal")) == [(60, 0, 1), (60, 1, 3)]
    cut = [control(0, PEDAL, 127), on(0, 60), off(10, 60), control(2 * BEAT, SOUND_OFF), off(4 * BEAT, 0)]
    assert beats(midi.read(write(tmp_path / "b.mid", cut), sustain="pedal")) == [(60, 0, 2)]
    reset = [control(0, PEDAL, 127), on(0, 60), off(10, 60), control(BEAT, CONTROLLERS_OFF), off(4 * BEAT, 0)]
    assert beats(midi.read(write(tmp_path / "c.mid", reset), sustain="pedal")) == [(60, 0, 1)]


def test_a_pedal_never_released_holds_a_note_to_the_end_of_its_piece(tmp_path):
    short = [control(0, PEDAL, 127), on(0, 60), off(10, 60), off(2 * BEAT, 0)]
    pieces, _ = midi.read_pieces(
        write(tmp_path / "a.mid", short, [on(0, 60), off(9 * BEAT, 60)], kind=2), sustain="pedal"
    )
    assert beats(pieces[0]) == [(60, 0, 2)]


def test_the_pedal_is_of_one_channel_in_all_tracks(tmp_path):
    pedal = [control(0, PEDAL, 127), control(4 * BEAT, PEDAL, 0)]
    hands = [on(0, 60), off(10, 60), on(0 + 20, 40, channel=1), off(30, 40, channel=1)]
    read = midi.read(write(tmp_path / "a.mid", pedal, hands), sustain="pedal")
    assert beats(read) == [(60, 0, 4), (40, 20 / BEAT, 10 / BEAT)]


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 3),  # ticks since the event before
        st.sampled_from(["on", "off", "pedal", "notes off", "sound off"]),
        st.integers(60, 61),
        st.integers(0, 1),
        st.integers(0, 127),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(events=EVENTS, pedal=st.booleans())
def test_notes_end_as_on_an_instrument_that_plays_event_by_event(tmp_path_factory, events, pedal):
    numbers = {"pedal": PEDAL, "notes off": NOTES_OFF, "sound off": SOUND_OFF}
    now, track = 0, []
    for delta, kind, pitch, channel, value in events:
        now += delta
        made = {"on": on, "off": off}.get(kind)
        track.append(made(now, pitch, channel) if made else control(now, numbers[kind], value, channel))
    track.append((now + 5, mido.MetaMessage("end_of_track")))
    if not any(message.type == "note_on" for _, message in track):
        return
    path = write(tmp_path_factory.getbasetemp() / "instrument.mid", track)
    read = midi.read(path, sustain="pedal" if pedal else "key")
    found = sorted(zip(_ticks(read.onset_beats), read.pitch.tolist(), _ticks(read.duration_beats), strict=True))
    assert found == sorted((note[0], note[1], note[2] - note[0]) for note in _played(track, pedal))


def _ticks(values: np.ndarray) -> list[int]:
    return np.rint(values * BEAT).astype(int).tolist()


def _played(track: list[tuple[int, mido.Message]], pedal: bool) -> list[list[int]]:
    """[onset, pitch, end, channel] of each note; keys first, then what the pedal makes of their releases."""
    last = track[-1][0]
    notes: list[list[int]] = []
    held: list[list[int]] = []
    for tick, message in track:
        if message.type == "note_on":
            held.append([tick, message.note, last, message.channel])
            notes.append(held[-1])
        elif message.type == "note_off":
            own = [note for note in held if (note[1], note[3]) == (message.note, message.channel)]
            for note in own[:1]:
                note[2] = tick
                held = [one for one in held if one is not note]
        elif message.type == "control_change" and message.control in (NOTES_OFF, SOUND_OFF):
            for note in [note for note in held if note[3] == message.channel]:
                note[2] = tick
                held = [one for one in held if one is not note]
    if not pedal:
        return notes
    released = [note[2] for note in notes]
    for number, note in enumerate(notes):
        controls = [(tick, m) for tick, m in track if m.type == "control_change" and m.channel == note[3]]
        pedals = [(tick, m.value >= 64) for tick, m in controls if m.control == PEDAL]
        state = [down for tick, down in pedals if tick <= released[number]]
        if not state or not state[-1]:
            continue
        limits = [tick for tick, down in pedals if not down] + [t for t, m in controls if m.control == SOUND_OFF]
        later = [tick for tick in limits if tick > released[number]]
        order = sorted((other[0], k) for k, other in enumerate(notes) if (other[1], other[3]) == (note[1], note[3]))
        struck = [tick for tick, k in order if (tick, k) > (note[0], number)][:1]
        note[2] = min([*later, *(max(tick, released[number]) for tick in struck), last])
    return notes


def test_there_are_two_ways_to_sustain(tmp_path):
    with pytest.raises(UsageError, match="sustain='knee': expected key or pedal"):
        midi.read(write(tmp_path / "a.mid", [on(0, 60), off(9, 60)]), sustain="knee")


def test_the_config_chooses_and_the_cache_keeps_both(tmp_path):
    (tmp_path / "music").mkdir()
    write(tmp_path / "music" / "a.mid", [control(0, PEDAL, 127), on(0, 60), off(BEAT, 60), off(4 * BEAT, 0)])
    for _ in range(2):
        for sustain, lasts in (("key", 1.0), ("pedal", 4.0)):
            data = DataConfig(source=str(tmp_path / "music"), cache=str(tmp_path / "cache"), workers=1, sustain=sustain)
            assert load.read(data)[0].notes.duration_beats.tolist() == [lasts]
