"""Parts -> the tracks of a MIDI file: which instrument plays each, on which channels, and its notes in ticks."""

from __future__ import annotations

from collections import defaultdict
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
        channels: those that it may use, one at least.
        shared: whether a track of another instrument uses them too.
    """

    notes: Notes
    program: int
    name: str | None
    channels: tuple[int, ...]
    shared: bool = False


def of_parts(
    parts: Sequence[Notes], programs: Sequence[int], names: Sequence[str], melodic: Sequence[int]
) -> list[Track]:
    """The tracks of some parts: one a part, or one for each instrument of a part that has several.

    Every track has as many channels as every other, what is left goes to the first ones. If there are more tracks than
    channels, they share them. Drums have the percussion channel.

    Args:
        programs: of each part, for all its notes but drums; the notes' own where not given.
        names: of each part. A track of one instrument of several is called after it, too.
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
    return _with_channels(tracks, melodic)


def _with_channels(tracks: list[Track], melodic: Sequence[int]) -> list[Track]:
    count = sum(track.program != DRUMS for track in tracks)
    each = len(melodic) // max(count, 1)
    given, number = [], 0
    for track in tracks:
        if track.program != DRUMS:
            spare = each * count + number
            own = (*melodic[number * each : (number + 1) * each], *melodic[spare : spare + 1])
            track = track._replace(
                channels=own if each else (melodic[number % len(melodic)],), shared=count > len(melodic)
            )
            number += 1
        given.append(track)
    return given


def place(tracks: Sequence[Track], clock: Clock) -> list[list[Placed]]:
    """The notes of each track in ticks, each a tick long at least, no pitch twice at once on a channel.

    A note that finds no channel is left out. A drum that is struck while it sounds ends first; of two strokes at once
    the louder is left.
    """
    rows: list[list[_Row]] = []
    for track in tracks:
        onset = clock.ticks(track.notes.onset)
        end = np.maximum(clock.ticks(track.notes.onset + track.notes.duration), onset + 1)
        columns = (onset, end, track.notes.pitch, track.notes.velocity)
        rows.append(list(zip(*(column.tolist() for column in columns), strict=True)))
    melodic = [number for number, track in enumerate(tracks) if track.program != DRUMS]
    placed = _melodic([rows[number] for number in melodic], [tracks[number].channels for number in melodic])
    found = dict(zip(melodic, placed, strict=True))
    return [found[number] if number in found else _drums(rows[number]) for number in range(len(tracks))]


def _melodic(tracks: list[list[_Row]], channels: list[tuple[int, ...]]) -> list[list[Placed]]:
    """The notes of each track on the first of its channels that is free."""
    free_from: dict[tuple[int, int], int] = defaultdict(int)
    placed: list[list[Placed]] = [[] for _ in tracks]
    # In the order of their onsets, since tracks may share a channel.
    together = sorted(
        ((row[0], number, row) for number, rows in enumerate(tracks) for row in rows), key=lambda at: at[:2]
    )
    for start, number, (_, stop, pitch, velocity) in together:
        channel = next((c for c in channels[number] if free_from[c, pitch] <= start), None)
        if channel is not None:
            free_from[channel, pitch] = stop
            placed[number].append((start, stop, pitch, velocity, channel))
    return placed


def _drums(rows: list[_Row]) -> list[Placed]:
    placed: list[Placed] = []
    last: dict[int, int] = {}  # of each drum, where its last stroke is
    for start, stop, pitch, velocity in rows:
        before = placed[last[pitch]] if pitch in last else None
        if before is not None and before[0] == start:
            louder = max(velocity, before[3])
            placed[last[pitch]] = (start, max(stop, before[1]), pitch, louder, PERCUSSION_CHANNEL)
            continue
        if before is not None:
            placed[last[pitch]] = (before[0], min(before[1], start), *before[2:])
        last[pitch] = len(placed)
        placed.append((start, stop, pitch, velocity, PERCUSSION_CHANNEL))
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
