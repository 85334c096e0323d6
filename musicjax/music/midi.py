"""MIDI file <-> Notes. The only importer of mido, which writes; on good files `read` equals what mido reads."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from musicjax import arguments
from musicjax.errors import UsageError
from musicjax.music import midi_chunks, midi_events, midi_notes
from musicjax.music import notes as notes_lib
from musicjax.music.midi_chunks import Mended, MidiError
from musicjax.music.notes import Notes
from musicjax.music.tempo_map import seconds_at

if TYPE_CHECKING:
    import mido

PERCUSSION_CHANNEL = 9
MELODIC_CHANNELS = tuple(channel for channel in range(16) if channel != PERCUSSION_CHANNEL)
MOST_BYTES = 32 * 2**20  # of one file
MOST_TICKS = 2**40  # far above any music, far below what numbers hold
MOST_DELTA_TICKS = 2**28 - 1  # what the four bytes of a delta time hold
MOST_REST_SECONDS = 600.0  # longer silence comes from a damaged delta time, and would squeeze every other interval
DEFAULT_TEMPO_US = 500_000  # microseconds per beat until a file says otherwise (MIDI 1.0)


def read(path: str | os.PathLike, *, percussion: bool = True) -> Notes:
    """The notes of one MIDI file, all tracks merged.

    Notes that start on the same tick keep the order of the file (track by track), as in
    mido's merged stream. A note_on of velocity 0 ends a note, as a note_off does; a note that is
    struck again while it sounds ends first in, first out; one that never ends stops with its track.
    A damaged file gives the notes that can be read.

    Args:
        path: the file.
        percussion: whether to keep the notes of channel 10, whose numbers are drums, not pitches.

    Raises:
        UsageError: it is no path, or `percussion` is neither true nor false.
        MidiError: the file gives no notes, or several pieces, with the reason.
        OSError: it cannot be opened.
    """
    arguments.require("percussion", percussion, bool | np.bool_, "True or False")
    pieces, _ = read_pieces(path, percussion=percussion)
    if len(pieces) > 1:
        raise MidiError("several_pieces", f"type 2: its tracks are {len(pieces)} separate pieces")
    return pieces[0]


def read_pieces(path: str | os.PathLike, *, percussion: bool = True) -> tuple[list[Notes], Mended]:
    """The pieces of one MIDI file, one unless it is of type 2, and {code: words} of what it mended to read them.

    Raises:
        MidiError: the file gives no notes, with the reason.
        OSError: it cannot be opened.
    """
    mended: Mended = {}
    with open(arguments.path_of("path", path, "a MIDI file"), "rb") as stream:
        data = stream.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise MidiError("too_many_bytes", f"has more than {MOST_BYTES:,} bytes")
    layout = midi_chunks.find(data, mended)
    found = midi_events.read(data, layout.tracks, mended)
    table = midi_notes.pair(found)
    if not len(table.onset):
        code, why = next(iter(mended.items()), ("no_notes", ""))
        raise MidiError(code, f"holds no notes{why and ': '}{why}")
    if table.end.max() > MOST_TICKS:
        raise MidiError("too_many_ticks", f"lasts longer than {MOST_TICKS:,} ticks")
    if not percussion:
        table = table.select(table.channel != PERCUSSION_CHANNEL)
        if not len(table.onset):
            raise MidiError("only_percussion", "holds notes on the percussion channel only")
    tempo_track = found.track[[index for index, _ in found.tempos]]
    tempos = [(int(found.tick[index]), tempo) for index, tempo in found.tempos]
    if layout.kind != 2:
        return [_notes(table, tempos, layout, mended)], mended
    pieces = []
    for track in np.unique(table.track):
        own = [tempo for tempo, of_track in zip(tempos, tempo_track, strict=True) if of_track == track]
        pieces.append(_notes(table.select(table.track == track), own, layout, mended))
    return pieces, mended


def _notes(table: midi_notes.Table, tempos: list[tuple[int, int]], layout: midi_chunks.Layout, mended: Mended) -> Notes:
    """Notes from ticks, the tempo changes (tick, microseconds per beat) and the time division."""
    table = table.select(np.argsort(table.onset, kind="stable"))  # ties stay in file order
    ticks_per_beat: float = layout.ticks_per_beat
    if ticks_per_beat:
        changes = [(tick, us / 1e6 / ticks_per_beat) for tick, us in [(0, DEFAULT_TEMPO_US), *tempos]]
        onset, end = seconds_at(table.onset, changes), seconds_at(table.end, changes)
    else:  # such a file has no beats, and no tempo changes it
        onset, end = table.onset / layout.ticks_per_second, table.end / layout.ticks_per_second
        ticks_per_beat = layout.ticks_per_second * DEFAULT_TEMPO_US / 1e6
    onset_beats = table.onset / ticks_per_beat
    duration, duration_beats = end - onset, (table.end - table.onset) / ticks_per_beat
    rest = np.diff(onset, prepend=0.0)
    if rest.max() > MOST_REST_SECONDS:
        mended.setdefault("too_long_rest", f"a rest of {rest.max():,.0f} s shortened to {MOST_REST_SECONDS:,.0f} s")
        share = np.minimum(MOST_REST_SECONDS / np.maximum(rest, MOST_REST_SECONDS), 1.0)
        onset, onset_beats = np.cumsum(rest * share), np.cumsum(np.diff(onset_beats, prepend=0.0) * share)
    return Notes(
        table.pitch.astype(np.int16), table.velocity.astype(np.int16), onset, duration, onset_beats, duration_beats
    )


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
    together go to two channels, so that a reader can pair them without guessing. It leaves out and counts the notes
    that find no channel (there are 15 for one part, 15 // parts each for several).
    The file appears under its name only when it is complete.

    Args:
        parts: one Notes, or one for each track; times are taken from the seconds.
        path: the file to write.
        bpm: tempo that the file states, beats per minute; it changes the bar lines, not the seconds.
        ticks_per_beat: resolution, 1..32767.
        programs: General MIDI program 0..127 of each part (0, piano, where not given).
        names: track name of each part.

    Raises:
        UsageError: other parts than Notes, or notes, a time, bpm, resolution or program that MIDI has no number for.
        OSError: the file cannot be written.
    """
    expected = "Notes, or a list of them, one for each track"
    arguments.require("parts", parts, Notes | Sequence, expected)
    called = "Notes" if isinstance(parts, Notes) else "parts[{}]"
    parts = [parts] if isinstance(parts, Notes) else list(parts)
    for index, notes in enumerate(parts):
        arguments.require("parts", notes, Notes, expected)
        notes_lib.check(notes, called.format(index))
    path = arguments.path_of("path", path, "the MIDI file to write")
    arguments.require_number("bpm", bpm, float, 4, 60_000_000)
    arguments.require_number("ticks_per_beat", ticks_per_beat, int, 1, 32767)
    programs = arguments.list_of("programs", programs, Integral, "a number for each part")
    for program in programs:
        arguments.require_number("program", program, int, 0, 127)
    names = arguments.list_of("names", names, str, "a text for each part")
    if max(len(programs), len(names)) > len(parts):
        raise UsageError(f"{len(programs)} programs, {len(names)} names: expected at most {len(parts)}, one a part")
    import mido  # both only here, so that a reading process starts in a blink

    from musicjax import files

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
    with files.whole(path) as partial, partial.open("wb") as stream:
        file.save(file=stream)
    return left_out


def _place(notes: Notes, ticks_per_second: float, channels: Sequence[int]) -> list[tuple[int, int, int, int, int]]:
    """Notes as (onset, end, pitch, velocity, channel) in ticks, no pitch twice at once on a channel."""
    if notes.seconds * ticks_per_second > MOST_TICKS:
        raise UsageError(
            f"notes that last {notes.seconds:g} s: expected at most {MOST_TICKS / ticks_per_second:,.0f} s"
        )
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
    import mido

    timed = [(start, 1, "note_on", pitch, velocity, channel) for start, _, pitch, velocity, channel in placed]
    timed += [(stop, 0, "note_off", pitch, 64, channel) for _, stop, pitch, _, channel in placed]
    timed.sort(key=lambda event: event[:2])
    messages, now = [], 0
    for tick, _, kind, pitch, velocity, channel in timed:
        if tick - now > MOST_DELTA_TICKS:
            raise UsageError(
                f"a rest of {tick - now:,} ticks: expected at most {MOST_DELTA_TICKS:,}, which MIDI can say"
            )
        messages.append(mido.Message(kind, note=pitch, velocity=velocity, channel=channel, time=tick - now))
        now = tick
    return messages
