"""MIDI file <-> Notes. The only importer of mido, which writes; on good files `read` equals what mido reads."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from musicjax import arguments
from musicjax.errors import UsageError
from musicjax.music import (
    bar_position,
    long_rests,
    midi_chunks,
    midi_events,
    midi_notes,
    midi_programs,
    midi_tracks,
    tempo_map,
)
from musicjax.music import notes as notes_lib
from musicjax.music.change_tables import MODES
from musicjax.music.keys import RELATIVE_MAJOR, SPELLINGS
from musicjax.music.midi_chunks import Mended, MidiError
from musicjax.music.midi_programs import PERCUSSION_CHANNEL
from musicjax.music.midi_tracks import MICROSECONDS_A_MINUTE, MOST_TICKS, Placed
from musicjax.music.notes import (
    DEFAULT_BPM,
    DRUMS,
    FASTEST_BPM,
    SLOWEST_BPM,
    Notes,
    from_beats,
    one_meter,
    one_tempo,
)

if TYPE_CHECKING:
    import mido

MELODIC_CHANNELS = tuple(channel for channel in range(16) if channel != PERCUSSION_CHANNEL)
MOST_BYTES = 32 * 2**20  # of one file
MOST_DELTA_TICKS = 2**28 - 1  # what the four bytes of a delta time hold
SUSTAINS = ("key", "pedal")  # what ends a note
TRACKS = ("merge", "apart")  # whether tracks of one program are one instrument


def read(path: str | os.PathLike, *, percussion: bool = True, sustain: str = "key", tracks: str = "merge") -> Notes:
    """The notes of one MIDI file, all tracks merged.

    Notes that start on the same tick keep the order of the file (track by track), as in
    mido's merged stream. A note_on of velocity 0 ends a note, as a note_off does. If a note is struck
    again while it sounds, the first to begin ends first. A note that never ends stops with its track.
    A controller that turns all notes of a channel off ends them. A damaged file gives the notes that can be read.

    Args:
        path: the file.
        percussion: whether to keep the notes of channel 10, whose numbers are drums, not pitches.
        sustain: what ends a note: "key", the release of its key; "pedal", that of the sustain pedal if it comes later.
        tracks: "apart": tracks of one program get programs of their own, as for a model with `data.tracks=apart`.

    Raises:
        UsageError: it is no path, or `percussion`, `sustain` or `tracks` has no such value.
        MidiError: the file gives no notes, or several pieces, with the reason.
        OSError: it cannot be opened.
    """
    require_options(percussion, sustain, tracks)
    path = arguments.path_of("path", path, "a MIDI file")
    pieces, _ = read_pieces(path, percussion=percussion, sustain=sustain, tracks_apart=tracks == "apart")
    return one_piece(pieces)


def require_options(percussion: bool, sustain: str, tracks: str) -> None:
    """Raises UsageError unless `read` takes these values."""
    arguments.require("percussion", percussion, bool | np.bool_, "True or False")
    if sustain not in SUSTAINS:
        raise arguments.wrong("sustain", sustain, " or ".join(SUSTAINS))
    if tracks not in TRACKS:
        raise arguments.wrong("tracks", tracks, " or ".join(TRACKS))


def one_piece(pieces: Sequence[Notes]) -> Notes:
    """The only piece of a file; raises MidiError if there are several."""
    if len(pieces) > 1:
        raise MidiError("several_pieces", f"type 2: its tracks are {len(pieces)} separate pieces")
    return pieces[0]


def read_pieces(
    path: str | os.PathLike,
    *,
    percussion: bool = True,
    sustain: str = "key",
    tracks_apart: bool = False,
    content: bytes | None = None,
) -> tuple[list[Notes], Mended]:
    """The pieces of one MIDI file, one unless it is of type 2, and {code: words} of what it mended to read them.

    Args:
        content: its bytes, if they are at hand.
        tracks_apart: whether tracks that play one program get programs of their own, see `midi_programs.apart`.

    Raises:
        MidiError: the file gives no notes, with the reason.
        OSError: it cannot be opened.
    """
    mended: Mended = {}
    if content is None:
        with open(path, "rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise MidiError("too_many_bytes", f"has more than {MOST_BYTES:,} bytes")
    layout = midi_chunks.find(content, mended)
    found = midi_events.read(content, layout.tracks, mended)
    table = midi_notes.pair(found, merged=layout.kind != 2, pedal=sustain == "pedal")
    if tracks_apart and layout.kind != 2:  # whose tracks are pieces
        table = table._replace(program=midi_programs.apart(table.program, table.track))
    if not len(table.onset):
        code, why = next(iter(mended.items()), ("no_notes", ""))
        raise MidiError(code, f"holds no notes{why and ': '}{why}")
    if table.end.max() > MOST_TICKS:
        raise MidiError("too_many_ticks", f"lasts longer than {MOST_TICKS:,} ticks")
    if not percussion:
        table = table.select(table.channel != PERCUSSION_CHANNEL)
        if not len(table.onset):
            raise MidiError("only_percussion", "holds notes on the percussion channel only")
    changes = _Changes(
        [(int(found.tick[at]), tempo) for at, tempo in found.tempos],
        [(int(found.tick[at]), numerator, denominator) for at, numerator, denominator in found.meters],
    )
    if layout.kind != 2:
        return [_notes(table, changes, layout, mended)], mended
    of_tempos, of_meters = (found.track[[at for at, *_ in several]] for several in (found.tempos, found.meters))
    pieces = []
    for track in np.unique(table.track):
        own = _Changes(
            list(itertools.compress(changes.tempos, of_tempos == track)),
            list(itertools.compress(changes.meters, of_meters == track)),
        )
        pieces.append(_notes(table.select(table.track == track), own, layout, mended))
    return pieces, mended


class _Changes(NamedTuple):
    """tempos: (tick, microseconds a beat); meters: (tick, numerator, denominator)."""

    tempos: list[tuple[int, int]]
    meters: list[tuple[int, int, int]]


def _notes(table: midi_notes.Table, changes: _Changes, layout: midi_chunks.Layout, mended: Mended) -> Notes:
    """Notes from ticks, what changes on the way, and the time division."""
    table = table.select(np.argsort(table.onset, kind="stable"))  # ties stay in file order
    ticks_per_beat: float = layout.ticks_per_beat
    tempos, meters = one_tempo(), one_meter()
    if ticks_per_beat:
        paces = [(0.0, 60 / DEFAULT_BPM / ticks_per_beat)]
        paces += [(tick, us / 1e6 / ticks_per_beat) for tick, us in changes.tempos]
        onset, end = tempo_map.seconds_at(table.onset, paces), tempo_map.seconds_at(table.end, paces)
        by_beat = [(tick / ticks_per_beat, MICROSECONDS_A_MINUTE / us) for tick, us in changes.tempos]
        tempos = tempo_map.in_order(by_beat, tempos[0])
        _say_contradictions(changes.meters, mended)
        meters = tempo_map.in_order([(tick / ticks_per_beat, *meter) for tick, *meter in changes.meters], meters[0])
    else:  # such a file has no beats, and no tempo changes it
        onset, end = table.onset / layout.ticks_per_second, table.end / layout.ticks_per_second
        ticks_per_beat = layout.ticks_per_second * 60 / DEFAULT_BPM
    onset_beats = table.onset / ticks_per_beat
    duration, duration_beats = end - onset, (table.end - table.onset) / ticks_per_beat
    pitch, velocity = table.pitch.astype(np.int16), table.velocity.astype(np.int16)
    program = table.program.astype(np.int16)
    notes = Notes(pitch, velocity, onset, duration, onset_beats, duration_beats, tempos, meters, program)
    return long_rests.shortened(notes, mended)


def _say_contradictions(meters: Sequence[tuple[int, int, int]], mended: Mended) -> None:
    """Adds to `mended` if two different meters (tick, numerator, denominator) begin at one place."""
    held: dict[int, list[int]] = {}
    for tick, *meter in meters:
        if held.setdefault(tick, meter) != meter:
            numbers = " and ".join(bar_position.text_of(*one) for one in (held[tick], meter))
            mended.setdefault("contradicting_meters", f"time signatures {numbers} at one place: the last one applies")
        held[tick] = meter


def write(
    parts: Notes | Sequence[Notes],
    path: str | os.PathLike,
    *,
    bpm: float | None = None,
    ticks_per_beat: int = 480,
    programs: Sequence[int] = (),
    names: Sequence[str] = (),
    state_meter: bool = True,
    end_beat: float = 0.0,
) -> int:
    """Writes Notes as a MIDI file of type 1, one track a part, and returns how many notes it left out.

    A part of several instruments gets a track for each, named after it. Drums go to channel 10. Every note_on gets its
    own note_off at least one tick later. Two notes of one pitch that sound together go to two channels, so that a
    reader can pair them without guessing. A drum that is struck while it sounds ends first instead.

    Instruments have equally many channels each. An instrument whose channels are taken uses those of others, with a
    program change before each note of such a channel. Notes of one pitch that find none of the 15 channels free are
    left out and counted, and so are all but the loudest of simultaneous strokes of one drum.

    The file appears under its name only when it is complete.

    Args:
        parts: one Notes, or one for each track; times are taken from the seconds.
        path: the file to write.
        bpm: the one tempo that the file states, quarter notes a minute; it changes the bar lines, not the seconds.
            None: the tempos of the first part.
        ticks_per_beat: resolution, 1..32767.
        programs: General MIDI program 0..127 of each part, for all its notes but drums; where not given, their own.
        names: track name of each part.
        state_meter: whether to write the time signatures of the first part; its keys, if known, are always written.
        end_beat: the file lasts until this beat at least.

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
    if bpm is not None:
        arguments.require_number("bpm", bpm, float, SLOWEST_BPM, FASTEST_BPM)
    arguments.require_number("ticks_per_beat", ticks_per_beat, int, 1, 32767)
    programs = arguments.list_of("programs", programs, Integral, "a number for each part")
    for program in programs:
        arguments.require_number("program", program, int, 0, 127)
    names = arguments.list_of("names", names, str, "a text for each part")
    if max(len(programs), len(names)) > len(parts):
        raise UsageError(f"{len(programs)} programs, {len(names)} names: expected at most {len(parts)}, one a part")
    import mido  # both only here, so that a reading process starts in a blink

    from musicjax import files

    stated = _heard(parts[0] if parts else from_beats([], [], [], []))
    clock = midi_tracks.clock_of(stated.tempos if bpm is None else one_tempo(bpm), ticks_per_beat)
    tempos = zip(clock.tick, clock.tempo_us, strict=True)
    changes = [(tick, mido.MetaMessage("set_tempo", tempo=tempo_us)) for tick, tempo_us in tempos]
    if state_meter:
        changes += _time_signatures(stated.meters, ticks_per_beat)
    changes += _key_signatures(stated.keys, ticks_per_beat)
    if end_beat > 0:  # mido moves it to the end of the track
        changes.append((round(end_beat * ticks_per_beat), mido.MetaMessage("end_of_track")))
    file = mido.MidiFile(type=1, ticks_per_beat=ticks_per_beat, charset="utf-8")
    tracks = midi_tracks.of_parts(parts, programs, names, MELODIC_CHANNELS)
    placed = midi_tracks.place(tracks, clock)
    shared = midi_tracks.shared(placed) - {PERCUSSION_CHANNEL}
    for index, (track, own) in enumerate(zip(tracks, placed, strict=True)):
        file.tracks.append(mido.MidiTrack(_track(track, own, changes if index == 0 else [], shared)))
    with files.whole(path) as partial, partial.open("wb") as stream:
        file.save(file=stream)
    return sum(map(len, parts)) - sum(map(len, placed))


def _heard(notes: Notes) -> Notes:
    """The notes without the tempos, meters and keys that begin after the last of them."""
    last = notes.onset_beats.max(initial=0.0) + notes.duration_beats.max(initial=0.0)
    tempos, meters, keys = (
        changes[(changes[:, 0] <= last) | (np.arange(len(changes)) == 0)]
        for changes in (notes.tempos, notes.meters, notes.keys)
    )
    return dataclasses.replace(notes, tempos=tempos, meters=meters, keys=keys)


def _time_signatures(meters: np.ndarray, ticks_per_beat: int) -> list[tuple[int, mido.MetaMessage]]:
    """(tick, message) of meters [M, 3], see `Notes.meters`; the first is stated at tick 0."""
    import mido

    found: dict[int, mido.MetaMessage] = {}
    for row, (beat, numerator, denominator) in enumerate(meters.tolist()):
        meter = {"numerator": int(numerator), "denominator": int(denominator)}
        begins = beat if beat >= 0 else beat % (4 * numerator / denominator)  # its first bar line that can be stated
        for tick in [0] * (row == 0) + [round(begins * ticks_per_beat)]:
            found[tick] = mido.MetaMessage("time_signature", **meter)
    return list(found.items())


def _key_signatures(keys: np.ndarray, ticks_per_beat: int) -> list[tuple[int, mido.MetaMessage]]:
    """(tick, message) of keys [S, 3], see `Notes.keys`; the first is stated at tick 0."""
    import mido

    found = {}
    for row, (beat, tonic, mode) in enumerate(keys.tolist()):
        tick = 0 if row == 0 else max(round(beat * ticks_per_beat), 0)
        found[tick] = mido.MetaMessage("key_signature", key=_signature(int(tonic), int(mode)))
    return list(found.items())


def _signature(tonic: int, mode: int) -> str:
    """What MIDI calls a key. It knows major and minor; another mode gets the major key of the same sharps and flats."""
    if MODES[mode] == "minor":
        return f"{SPELLINGS[mode][tonic]}m"
    return SPELLINGS[MODES.index("major")][(tonic + RELATIVE_MAJOR[mode]) % 12]


def _track(
    track: midi_tracks.Track, placed: list[Placed], changes: list[tuple[int, mido.MetaMessage]], shared: set[int]
) -> list[mido.Message | mido.MetaMessage]:
    """The messages of a track, those of `changes`, (tick, message), among them.

    shared: channels on which other tracks change the program, too.
    """
    import mido

    program = 0 if track.program == DRUMS else track.program  # on the drums' channel 0 is the standard kit
    head = [message for tick, message in changes if tick == 0]
    if track.name is not None:
        head.append(mido.MetaMessage("track_name", name=track.name.encode(errors="replace").decode(), time=0))
    for channel in sorted({channel for *_, channel in placed}):
        head.append(mido.Message("program_change", program=program, channel=channel, time=0))
    onsets = dict.fromkeys((start, channel) for start, *_, channel in placed if channel in shared)
    again = [(tick, mido.Message("program_change", program=program, channel=channel)) for tick, channel in onsets]
    return head + _messages(placed, [change for change in changes if change[0] > 0] + again)


def _messages(
    placed: list[Placed], changes: list[tuple[int, mido.Message | mido.MetaMessage]]
) -> list[mido.Message | mido.MetaMessage]:
    """Notes and changes (tick, message) with delta times; on one tick endings come first, then changes, then notes."""
    import mido

    timed: list[tuple[int, int, mido.Message | mido.MetaMessage]] = [(tick, 1, message) for tick, message in changes]
    for start, stop, pitch, velocity, channel in placed:
        timed.append((start, 2, mido.Message("note_on", note=pitch, velocity=velocity, channel=channel)))
        timed.append((stop, 0, mido.Message("note_off", note=pitch, velocity=64, channel=channel)))
    timed.sort(key=lambda event: event[:2])
    ticks = [tick for tick, _, _ in timed]
    for (tick, _, message), before in zip(timed, [0, *ticks], strict=False):
        if tick - before > MOST_DELTA_TICKS:
            raise UsageError(
                f"a rest of {tick - before:,} ticks: expected at most {MOST_DELTA_TICKS:,}, the limit of MIDI"
            )
        message.time = tick - before
    return [message for _, _, message in timed]
