"""Events -> the instrument of each note: the program in force on its channel where it begins."""

from __future__ import annotations

import numpy as np

from musicjax.music.midi_events import Events
from musicjax.music.notes import DRUMS

PROGRAM_CHANGE = 0xC  # high half of the status
PERCUSSION_CHANNEL = 9
CHANNELS = 16
FAMILY = 8  # programs of General MIDI in a family


def of_notes(events: Events, begins: np.ndarray, merged: bool = True) -> np.ndarray:
    """The program of the notes that begin at events `begins`, int64 [N]: 0..127, or DRUMS on the percussion channel.

    The last program change before the note decides; without one the program is 0. In the note's own track the order of
    the events tells what comes before. A change in another track comes before all events of its tick. Of two changes
    at one tick, that of the note's own track holds. Banks are ignored.

    Args:
        merged: whether program changes of a channel act on the notes of all tracks, as where the tracks play together.
    """
    changes = np.flatnonzero(events.status >> 4 == PROGRAM_CHANGE)
    channel = (events.status[begins] & 0xF).astype(np.int64)
    found = _constant(events, begins, changes, merged)
    if found is None:
        last = _last_in_own_track(events, begins, changes)
        if merged:
            other = _last_in_others(events, begins, changes)
            tick = np.append(events.tick, -1)  # none, -1, lies before every other
            last = np.where(tick[last] >= tick[other], last, other)
        found = np.where(last < 0, 0, events.first[last].astype(np.int64))
    return np.where(channel == PERCUSSION_CHANNEL, DRUMS, found)


def apart(program: np.ndarray, track: np.ndarray) -> np.ndarray:
    """Programs int64 [N] such that no two tracks share one, as long as its family has others that the file leaves free.

    The first track of a program keeps it. Drums are one.
    """
    found, taken = program.copy(), set(program.tolist())
    first: set[int] = set()
    for one, own in np.unique(np.stack([track, program]), axis=1).T.tolist():
        family = range(own // FAMILY * FAMILY, own // FAMILY * FAMILY + FAMILY)
        free = next((other for other in family if other not in taken), None)
        if own in first and own != DRUMS and free is not None:
            taken.add(free)
            found[(track == one) & (program == own)] = free
        first.add(own)
    return found


def _constant(events: Events, begins: np.ndarray, changes: np.ndarray, merged: bool) -> np.ndarray | None:
    """The program of each note if every channel keeps one program, as in most files; else None."""
    programs = events.first[changes].astype(np.int64)
    if not programs.any():
        return np.zeros(len(begins), np.int64)
    channel, of_change = events.status[begins] & 0xF, events.status[changes] & 0xF
    of_channel, first = np.zeros(CHANNELS, np.int64), np.full(CHANNELS, len(events.tick))
    of_channel[of_change] = programs
    np.minimum.at(first, of_change, changes)
    # A change that precedes a note both in the file and in time holds for it, whichever track it is in.
    ticks = np.append(events.tick, np.iinfo(np.int64).max)[first]
    is_told = (first[channel] < begins) & (ticks[channel] <= events.tick[begins]) | (of_channel[channel] == 0)
    is_one = merged and (of_channel[of_change] == programs).all() and is_told.all()
    return of_channel[channel] if is_one else None


def _last_in_own_track(events: Events, begins: np.ndarray, changes: np.ndarray) -> np.ndarray:
    """Of each note the last of the events `changes` before it on its track and channel, int64 [N]; or -1."""
    total = len(events.tick)

    def place(at: np.ndarray) -> np.ndarray:
        return (events.track[at] * CHANNELS + (events.status[at] & 0xF)) * total + at

    places = place(changes)
    order = np.argsort(places)
    before = np.searchsorted(places[order], place(begins)) - 1
    last = changes[order[before]]
    return np.where((before >= 0) & (place(last) // total == place(begins) // total), last, -1)


def _last_in_others(events: Events, begins: np.ndarray, changes: np.ndarray) -> np.ndarray:
    """Of each note the last of the events `changes` up to its tick on its channel, and in another track; or -1."""
    ticks = np.unique(events.tick[changes])
    channel_of_change = (events.status[changes] & 0xF).astype(np.int64)
    order = np.lexsort((events.tick[changes], channel_of_change))  # stable: those of one tick stay track by track
    ordered, channel_of_change = changes[order], channel_of_change[order]

    def place(at: np.ndarray) -> np.ndarray:
        rank = np.searchsorted(ticks, events.tick[at], side="right")
        return (events.status[at] & 0xF).astype(np.int64) * (len(ticks) + 1) + rank

    before = np.searchsorted(place(ordered), place(begins), side="right") - 1
    # Where that change is in the note's own track, go back past the run of changes of this track.
    track = events.track[ordered]
    is_first = np.append(True, (track[1:] != track[:-1]) | (channel_of_change[1:] != channel_of_change[:-1]))
    first = np.maximum.accumulate(np.where(is_first, np.arange(len(ordered)), 0))
    own = (before >= 0) & (track[before] == events.track[begins])
    before = np.where(own, first[before] - 1, before)
    same_channel = channel_of_change[before] == (events.status[begins] & 0xF)
    return np.where((before >= 0) & same_channel, ordered[before], -1)
