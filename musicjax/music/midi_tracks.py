"""Parts -> the tracks of a MIDI file: which instrument plays each, on which channels, and its notes in ticks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from musicjax.errors import UsageError
from musicjax.music import instruments
from musicjax.music.midi_programs import PERCUSSION_CHANNEL
from musicjax.music.notes import DRUMS, Notes

MOST_TICKS = 2**40  # far above any music, far below what numbers hold
MICROSECONDS_A_MINUTE = 60_000_000
MOST_TEMPO_US = 2**24 - 1  # microseconds a beat that a file can state

_Row = tuple[int, int, int, int]  # onset, end, pitch, velocity; times in ticks
Placed = tuple[int, int, int, int, int]  # onset, end, pitch, velocity, channel; times in ticks


class Track(NamedTuple):
    """What one instrument plays.

    Attributes:
        program: General MIDI program, or DRUMS.
        name: of the track; None if it has none.
        channels: those that it may use, its own first.
    """

    notes: Notes
    program: int
    name: str | None
    channels: tuple[int, ...]


def of_parts(
    parts: Sequence[Notes], programs: Sequence[int], names: Sequence[str], melodic: Sequence[int]
) -> list[Track]:
    """The tracks of some parts: one a part, or one for each instrument of a part that has several.

    Each track has equally many melodic channels of its own, and the first tracks have one more each if some are left
    over. Where its own do not suffice, it may use those of others. Drums have the percussion channel.

    Args:
        programs: of each part, for all its notes but drums; where not given, the notes' own.
        names: of each part; the track of one instrument of several is also called after the instrument.
        melodic: the channels that are not the drums'.
    """
    tracks = []
    for index, notes in enumerate(parts):
        own = notes.program
        if index < len(programs):
            own = np.where(own == DRUMS, DRUMS, programs[index])
        found = np.unique(own).tolist() or [programs[index] if index < len(programs) else 0]
        for program in found:
            name = names[index] if index < len(names) else None
            if len(found) > 1:
                instrument = instruments.name_of(program)
                name = instrument if name is None else f"{name}: {instrument}"
            tracks.append(Track(notes[own == program], program, name, (PERCUSSION_CHANNEL,)))
    return _with_channels(tracks, tuple(melodic))


def _with_channels(tracks: list[Track], melodic: tuple[int, ...]) -> list[Track]:
    count = sum(track.program != DRUMS for track in tracks)
    each = len(melodic) // max(count, 1)
    given, number = [], 0
    for track in tracks:
        if track.program != DRUMS:
            spare, first = each * count + number, number * max(each, 1) % len(melodic)
            own = melodic[number * each : (number + 1) * each] + melodic[spare : spare + 1]
            others = [channel for channel in melodic[first:] + melodic[:first] if channel not in own]
            track = track._replace(channels=(*own, *others))
            number += 1
        given.append(track)
    return given


def place(tracks: Sequence[Track], clock: Clock) -> list[list[Placed]]:
    """The notes of each track in ticks, each a tick long at least, no pitch twice at once on a channel.

    A note that finds no channel is left out. A drum that is struck while it sounds ends first; of two simultaneous
    strokes the louder stays. Both rules hold across tracks, since players merge all tracks of a file.
    """
    rows = [(number, row) for number, track in enumerate(tracks) for row in _rows(track.notes, clock)]
    rows.sort(key=lambda at: (at[1][0], at[0]))
    channels = [track.channels for track in tracks]
    melodic = [at for at in rows if tracks[at[0]].program != DRUMS]
    drums = [at for at in rows if tracks[at[0]].program == DRUMS]
    placed: list[list[Placed]] = [[] for _ in tracks]
    for number, note in _melodic(melodic, channels) + _drums(drums):
        placed[number].append(note)
    return placed


def shared(placed: Sequence[list[Placed]]) -> set[int]:
    """The channels that several tracks use; placed: the notes of each track."""
    users = Counter(channel for notes in placed for channel in {channel for *_, channel in notes})
    return {channel for channel, count in users.items() if count > 1}


def _rows(notes: Notes, clock: Clock) -> list[_Row]:
    onset = clock.ticks(notes.onset)
    end = np.maximum(clock.ticks(notes.onset + notes.duration), onset + 1)
    columns = (onset, end, notes.pitch, notes.velocity)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _melodic(rows: list[tuple[int, _Row]], channels: Sequence[tuple[int, ...]]) -> list[tuple[int, Placed]]:
    """Notes, each with the number of its track, on the first free channel of the track; rows: by onset."""
    # Of each channel and pitch, where its last note ends and the track of that note. A later track of the file ends a
    # note after an earlier one begins one on the same tick, so that the ending would meet the wrong note.
    free_from: dict[tuple[int, int], tuple[int, int]] = defaultdict(lambda: (0, 0))
    placed = []
    for number, (start, stop, pitch, velocity) in rows:
        channel = next((c for c in channels[number] if free_from[c, pitch] <= (start, number)), None)
        if channel is not None:
            free_from[channel, pitch] = (stop, number)
            placed.append((number, (start, stop, pitch, velocity, channel)))
    return placed


def _drums(rows: list[tuple[int, _Row]]) -> list[tuple[int, Placed]]:
    """Strokes, each with the number of its track, on the percussion channel; rows: by onset."""
    placed: list[tuple[int, Placed]] = []
    last: dict[int, int] = {}  # of each drum, where its last stroke is
    for number, (start, stop, pitch, velocity) in rows:
        if pitch in last:
            owner, (begun, ends, _, loudness, channel) = placed[last[pitch]]
            if begun == start:
                louder = (start, max(stop, ends), pitch, max(velocity, loudness), channel)
                placed[last[pitch]] = (owner, louder)
                continue
            ends = min(ends, start - (owner > number))  # see _melodic
            placed[last[pitch]] = (owner, (begun, max(ends, begun + 1), pitch, loudness, channel))
        last[pitch] = len(placed)
        placed.append((number, (start, stop, pitch, velocity, PERCUSSION_CHANNEL)))
    return placed


class Clock(NamedTuple):
    """Tempo changes: the tick and the second from which each holds, microseconds a beat, and ticks a second."""

    tick: list[int]
    second: np.ndarray
    tempo_us: list[int]
    ticks_per_second: np.ndarray

    def ticks(self, seconds: np.ndarray) -> np.ndarray:
        """The nearest ticks to times in seconds, int64 [N]; raises UsageError if one is too late for MIDI."""
        longest = self.second[-1] + (MOST_TICKS - self.tick[-1]) / self.ticks_per_second[-1]
        if seconds.max(initial=0) > longest:
            raise UsageError(f"notes that last {seconds.max():g} s: expected at most {longest:,.0f} s")
        which = np.maximum(np.searchsorted(self.second, seconds, side="right") - 1, 0)
        passed = (seconds - self.second[which]) * self.ticks_per_second[which]
        return np.rint(np.asarray(self.tick)[which] + passed).astype(np.int64)


def clock_of(tempos: np.ndarray, ticks_per_beat: int) -> Clock:
    """The clock of tempos [T, 2], see `Notes.tempos`, which begins at tick 0."""
    tick = np.rint(np.maximum(tempos[:, 0], 0) * ticks_per_beat).astype(int)
    last = np.append(tick[1:] != tick[:-1], True)  # of several at one tick
    tempo_us = np.rint(MICROSECONDS_A_MINUTE / tempos[last, 1]).clip(1, MOST_TEMPO_US).astype(int)
    tick = tick[last]
    tick[0] = 0
    ticks_per_second = ticks_per_beat * 1e6 / tempo_us
    second = np.cumsum([0.0, *(np.diff(tick) / ticks_per_second[:-1])])
    return Clock(tick.tolist(), second, tempo_us.tolist(), ticks_per_second)
