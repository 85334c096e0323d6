"""MIDI file <-> Notes. The only file that imports mido."""

from __future__ import annotations

import io
import os
import tempfile
from collections import defaultdict, deque
from collections.abc import Sequence
from pathlib import Path

import mido
import numpy as np

from musicjax.music.notes import Notes

# Part of every cache key: raise it whenever the same bytes would give other notes.
READER_VERSION = 2
PERCUSSION_CHANNEL = 9
MELODIC_CHANNELS = tuple(channel for channel in range(16) if channel != PERCUSSION_CHANNEL)
MOST_TICKS = 2**40  # far above any music, far below what numbers hold
DEFAULT_TEMPO_US = 500_000  # microseconds per beat until a file says otherwise (MIDI 1.0)


def _keep_unknown_meta_events() -> None:
    """Gives mido a specification for each meta type that it has none for.

    Without one it forgets the event's delta time too, and every later note of the track comes too early.
    """
    from mido.midifiles import meta

    for type_byte in set(range(128)) - set(meta._META_SPECS):
        specification = type(
            f"MetaSpec_unknown_{type_byte:02x}",
            (meta.MetaSpec,),
            {
                "type_byte": type_byte,
                "attributes": ["data"],
                "defaults": [()],
                "decode": lambda self, message, data: setattr(message, "data", tuple(data)),
                "encode": lambda self, message: list(message.data),
                "check": lambda self, name, value: None,
            },
        )
        meta.add_meta_spec(specification)


_keep_unknown_meta_events()


class MidiError(Exception):
    """A file that gives no notes; `code` is short and stable, the text says what was found."""

    def __init__(self, code: str, text: str):
        super().__init__(text)
        self.code = code


def read(path: str | os.PathLike, *, percussion: bool = True) -> Notes:
    """The notes of one MIDI file, all tracks merged.

    Notes that start on the same tick keep the order of the file (track by track), as in
    mido's merged stream. A note_on of velocity 0 ends a note, as a note_off does; a note that is
    struck again while it sounds ends first in, first out; one that never ends stops with its track.

    Args:
        path: the file.
        percussion: whether to keep the notes of channel 10, whose numbers are drums, not pitches.

    Raises:
        MidiError: the file gives no notes, with the reason.
        OSError: it cannot be opened.
    """
    file = _parse(path)
    if file.ticks_per_beat <= 0:
        raise MidiError("time_division", f"time division {file.ticks_per_beat}: only ticks per beat are read")
    if file.type == 2:
        raise MidiError("type_2", "type 2: its tracks are separate pieces and cannot be merged")
    started, tempos = [], []
    for track in file.tracks:
        track_notes, track_tempos = _track_notes(track)
        started += track_notes
        tempos += track_tempos
    if not started:
        raise MidiError("no_notes", "holds no notes")
    started.sort(key=lambda note: note[0])  # stable: ties stay in file order
    if max(end for _, end, *_ in started) > MOST_TICKS:
        raise MidiError("times", f"lasts longer than {MOST_TICKS:,} ticks")
    table = np.array(started, np.int64)
    if not percussion:
        table = table[table[:, 4] != PERCUSSION_CHANNEL]
        if not len(table):
            raise MidiError("only_percussion", "holds notes on the percussion channel only")
    onset, end, pitch, velocity, _ = table.T
    seconds = _seconds_of(tempos, file.ticks_per_beat)
    onset_seconds = seconds(onset)
    return Notes(
        pitch.astype(np.int16),
        velocity.astype(np.int16),
        onset_seconds,
        seconds(end) - onset_seconds,
        onset / file.ticks_per_beat,
        (end - onset) / file.ticks_per_beat,
    )


def _parse(path: str | os.PathLike) -> mido.MidiFile:
    """What mido makes of a file; raises OSError if it cannot be opened, MidiError for what it holds."""
    data = Path(path).read_bytes()
    try:
        return mido.MidiFile(file=io.BytesIO(data))
    except EOFError as error:
        code, text = ("truncated", "ends in the middle") if data else ("empty", "is empty")
        raise MidiError(code, text) from error
    except mido.KeySignatureError as error:
        raise MidiError("key_signature", str(error)) from error
    except Exception as error:  # mido raises eight kinds, one of them straight from Exception
        code = "unreadable" if data[:4] == b"MThd" else "not_midi"
        raise MidiError(code, str(error) or type(error).__name__) from error


def _track_notes(track: mido.MidiTrack) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """One track as [onset, end, pitch, velocity, channel] (ticks; by note_on) and (tick, tempo) changes."""
    notes: list[list[int]] = []
    tempos: list[tuple[int, int]] = []
    sounding: dict[tuple[int, int], deque[list[int]]] = defaultdict(deque)
    tick = 0
    for message in track:
        tick += message.time
        if message.type == "note_on" and message.velocity > 0:
            note = [tick, -1, message.note, message.velocity, message.channel]
            notes.append(note)
            sounding[message.channel, message.note].append(note)
        elif message.type in ("note_on", "note_off"):
            waiting = sounding[message.channel, message.note]
            if waiting:
                waiting.popleft()[1] = tick
        elif message.type == "set_tempo" and message.tempo > 0:
            tempos.append((tick, message.tempo))
    for note in notes:
        if note[1] < 0:
            note[1] = tick
    return notes, tempos


def _seconds_of(tempos: list[tuple[int, int]], ticks_per_beat: int):
    """A function from ticks [N] to seconds [N] under the tempo changes (tick, microseconds per beat)."""
    changes = sorted([(0, DEFAULT_TEMPO_US), *tempos], key=lambda change: change[0])
    change_tick = np.array([tick for tick, _ in changes], np.int64)
    seconds_per_tick = np.array([tempo for _, tempo in changes], np.float64) / 1e6 / ticks_per_beat
    change_seconds = np.concatenate([[0.0], np.cumsum(np.diff(change_tick) * seconds_per_tick[:-1])])

    def seconds(tick: np.ndarray) -> np.ndarray:
        segment = np.searchsorted(change_tick, tick, side="right") - 1
        return change_seconds[segment] + (tick - change_tick[segment]) * seconds_per_tick[segment]

    return seconds


def write(
    parts: Notes | Sequence[Notes],
    path: str | os.PathLike,
    *,
    bpm: float = 120.0,
    ticks_per_beat: int = 480,
    programs: Sequence[int] = (),
    names: Sequence[str] = (),
) -> int:
    """Writes Notes as a MIDI file of type 1, one track a part, and returns how many notes it left out.

    Every note_on gets its own note_off at least one tick later. Two notes of one pitch that sound
    together go to two channels, so that a reader pairs them again without guessing; what is beyond
    the channels at hand (15 for one part, 15 // parts each for several) is left out and counted.
    The file appears under its name only when it is complete.

    Args:
        parts: one Notes, or one for each track; times are taken from the seconds.
        path: the file to write.
        bpm: tempo that the file states, beats per minute; it changes the bar lines, not the seconds.
        ticks_per_beat: resolution, 1..32767.
        programs: General MIDI program 0..127 of each part (0, piano, where not given).
        names: track name of each part.

    Raises:
        ValueError: bpm, resolution or a program that MIDI has no number for.
        OSError: the file cannot be written.
    """
    if not 4 <= bpm <= 60e6 or not 1 <= ticks_per_beat <= 32767 or not all(0 <= program <= 127 for program in programs):
        raise ValueError(
            f"bpm={bpm}, ticks_per_beat={ticks_per_beat}, programs={tuple(programs)}: "
            "expected 4..60,000,000, 1..32767 and 0..127"
        )
    parts = [parts] if isinstance(parts, Notes) else list(parts)
    tempo_us = mido.bpm2tempo(bpm)
    ticks_per_second = ticks_per_beat * 1e6 / tempo_us
    file = mido.MidiFile(type=1, ticks_per_beat=ticks_per_beat, charset="utf-8")
    left_out = 0
    channels_each = len(MELODIC_CHANNELS) // max(len(parts), 1)
    for index, notes in enumerate(parts):
        channels = MELODIC_CHANNELS[index * channels_each : (index + 1) * channels_each]
        placed = _place(notes, ticks_per_second, channels)
        left_out += len(notes) - len(placed)
        track = mido.MidiTrack()
        if index == 0:
            track.append(mido.MetaMessage("set_tempo", tempo=tempo_us, time=0))
        if index < len(names):
            track.append(mido.MetaMessage("track_name", name=names[index], time=0))
        program = programs[index] if index < len(programs) else 0
        for channel in sorted({channel for *_, channel in placed}):
            track.append(mido.Message("program_change", program=program, channel=channel, time=0))
        track.extend(_messages(placed))
        file.tracks.append(track)
    _save(file, Path(path))
    return left_out


def _place(notes: Notes, ticks_per_second: float, channels: Sequence[int]) -> list[tuple[int, int, int, int, int]]:
    """Notes as (onset, end, pitch, velocity, channel) in ticks, no pitch twice at once on a channel."""
    onset = np.rint(notes.onset * ticks_per_second).astype(np.int64)
    end = np.maximum(np.rint((notes.onset + notes.duration) * ticks_per_second).astype(np.int64), onset + 1)
    free_from: dict[tuple[int, int], int] = defaultdict(int)
    placed = []
    for start, stop, pitch, velocity in zip(
        onset.tolist(), end.tolist(), notes.pitch.tolist(), notes.velocity.tolist(), strict=True
    ):
        channel = next((c for c in channels if free_from[c, pitch] <= start), None)
        if channel is not None:
            free_from[channel, pitch] = stop
            placed.append((start, stop, pitch, velocity, channel))
    return placed


def _messages(placed: list[tuple[int, int, int, int, int]]) -> list[mido.Message]:
    """note_on and note_off messages with delta times; on one tick, endings come before beginnings."""
    events = [(start, 1, "note_on", pitch, velocity, channel) for start, _, pitch, velocity, channel in placed]
    events += [(stop, 0, "note_off", pitch, 64, channel) for _, stop, pitch, _, channel in placed]
    events.sort(key=lambda event: event[:2])
    messages, now = [], 0
    for tick, _, kind, pitch, velocity, channel in events:
        messages.append(mido.Message(kind, note=pitch, velocity=velocity, channel=channel, time=tick - now))
        now = tick
    return messages


def _save(file: mido.MidiFile, path: Path) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".mid.partial")
    try:
        with os.fdopen(handle, "wb") as stream:
            file.save(file=stream)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
