"""Events -> notes in ticks: which ending belongs to which beginning, and how long the pedal holds a note."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from musicjax.music import midi_programs
from musicjax.music.midi_events import Events

NOTE_OFF, NOTE_ON, CONTROL = 0x8, 0x9, 0xB  # high half of the status
# Numbers of controllers (MIDI 1.0). All that end notes, except SOUND_OFF, release keys; the pedal may hold the notes.
PEDAL, SOUND_OFF, CONTROLLERS_OFF = 64, 120, 121
NOTES_OFF = (SOUND_OFF, 123, 124, 125, 126, 127)
PEDAL_DOWN = 64  # a pedal is down from this value on, so half-pedal values above 63 count
CHANNELS, PITCHES = 16, 128
NEVER = np.iinfo(np.int64).max  # later than any tick


class Table(NamedTuple):
    """N notes in the order in which they begin in the file, track by track; all int64 [N].

    Attributes:
        onset, end: ticks since the start of the track.
        pitch, velocity, channel, track: as the file has them, counted from 0.
        program: see `midi_programs`.
    """

    onset: np.ndarray
    end: np.ndarray
    pitch: np.ndarray
    velocity: np.ndarray
    channel: np.ndarray
    track: np.ndarray
    program: np.ndarray

    def select(self, which: np.ndarray) -> Table:
        """The notes that a mask [N] or index array selects."""
        return Table(*(column[which] for column in self))


def pair(events: Events, merged: bool = True, pedal: bool = False) -> Table:
    """The notes of some tracks.

    A note_on of velocity 0 is an ending. An ending belongs to the earliest note of its track, channel and pitch that
    still sounds, and is ignored if none does. A controller that turns all notes of a channel off ends those that began
    before it. A note that is never ended stops with the last event of its track.

    Args:
        merged: whether controllers and programs of a channel act on the notes of all tracks, as where the tracks play
            together.
        pedal: whether a note sounds until the sustain pedal (controller 64) is released, the same key is struck again
            or a controller turns the sound off, rather than until its key is released.
    """
    kind = events.status >> 4
    at = np.flatnonzero((kind == NOTE_ON) | (kind == NOTE_OFF))
    controls = np.flatnonzero((kind == CONTROL) & (events.first >= (PEDAL if pedal else SOUND_OFF)))
    status, pitch = events.status[at], events.first[at]
    begins = (status >= NOTE_ON << 4) & (events.second[at] > 0)
    track = events.track[at]
    channel = (status & 0xF).astype(np.int64)
    key = (track * CHANNELS + channel) * PITCHES + pitch
    offs = controls[np.isin(events.first[controls], NOTES_OFF)]
    cut = _next_off(events, at, offs, merged)
    if cut is not None:  # notes of one key pair within what lies between two such controllers
        key = np.unique(np.stack([key, cut]), axis=1, return_inverse=True)[1].reshape(-1)
    start = np.flatnonzero(begins)
    ending = _endings(key, begins)[start]
    started = at[start]
    last = _last_ticks(events)[track[start]]
    if cut is not None:
        last = np.where(cut[start] < NEVER, cut[start], last)
    end = np.where(ending < 0, last, events.tick[at[ending]])
    table = Table(
        events.tick[started],
        end,
        pitch[start].astype(np.int64),
        events.second[started].astype(np.int64),
        channel[start],
        track[start],
        midi_programs.of_notes(events, started, merged),
    )
    return _held(table, events, controls, merged) if pedal else table


def _next_off(events: Events, at: np.ndarray, offs: np.ndarray, merged: bool) -> np.ndarray | None:
    """For each of the events `at` [N] the tick of the next controller `offs` on its channel; None if there is none.

    Within a track the order of the events decides. Such a controller in another track comes before events of its tick.
    """
    if not len(offs):
        return None
    found = np.full(len(at), NEVER)
    group, group_of_off = (_groups(events, which, merged) for which in (at, offs))
    for one in np.unique(group_of_off).tolist():
        mine, of_off = np.flatnonzero(group == one), offs[group_of_off == one]
        ticks = np.sort(events.tick[of_off])
        count = np.searchsorted(ticks, events.tick[at[mine]], side="right")  # of controllers before each event
        for track in np.unique(events.track[of_off]).tolist():
            own = of_off[events.track[of_off] == track]
            inside = events.track[at[mine]] == track
            events_of_track = at[mine][inside]
            by_tick = np.searchsorted(events.tick[own], events.tick[events_of_track], side="right")
            count[inside] += np.searchsorted(own, events_of_track) - by_tick
        found[mine] = np.append(ticks, NEVER)[count]
    return found


def _groups(events: Events, which: np.ndarray, merged: bool) -> np.ndarray:
    """The channel of each of the events `which` [N], told apart by track unless merged; int64 [N]."""
    channel = (events.status[which] & 0xF).astype(np.int64)
    return channel if merged else events.track[which] * CHANNELS + channel


def _held(table: Table, events: Events, controls: np.ndarray, merged: bool) -> Table:
    """The notes with ends that the sustain pedal puts off; controls: indices of the events that are controllers."""
    number, tick = events.first[controls], events.tick[controls]
    group = _groups(events, controls, merged)
    own = table.channel if merged else table.track * CHANNELS + table.channel
    end, last, last_of_track = table.end.copy(), np.max(events.tick), _last_ticks(events)
    for one in np.unique(group[number == PEDAL]).tolist():
        chosen = (group == one) & ((number == PEDAL) | (number == CONTROLLERS_OFF))
        order = np.argsort(tick[chosen], kind="stable")
        down = ((number == PEDAL) & (events.second[controls] >= PEDAL_DOWN))[chosen][order]
        at = tick[chosen][order]
        ups, offs = at[~down], np.sort(tick[(group == one) & (number == SOUND_OFF)])
        notes = np.flatnonzero(own == one)
        released = end[notes]
        before = np.searchsorted(at, released, side="right") - 1
        is_down = np.append(down, False)[before]  # before the first one the pedal is up
        limits = [
            _following(ups, released),
            _following(offs, released),
            np.maximum(_struck_again(table.onset[notes], table.pitch[notes]), released),
            last if merged else last_of_track[table.track[notes]],
        ]
        end[notes] = np.where(is_down, functools.reduce(np.minimum, limits), released)
    return table._replace(end=end)


def _following(ticks: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The first of the rising ticks that lies after each of N, int64 [N]; NEVER if none does."""
    return np.append(ticks, NEVER)[np.searchsorted(ticks, after, side="right")]


def _struck_again(onset: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """The onset of the next note of the same pitch after each of N notes, int64 [N]; NEVER if there is none."""
    order = np.lexsort((onset, pitch))
    following = np.full(len(onset), NEVER)
    same = pitch[order][1:] == pitch[order][:-1]
    following[order[:-1][same]] = onset[order][1:][same]
    return following


def _last_ticks(events: Events) -> np.ndarray:
    """Tick of the last event of each track; int64 [T]."""
    last = np.zeros(int(events.track[-1]) + 1 if len(events.track) else 0, np.int64)
    last[events.track] = events.tick  # of several the last one stays
    return last


def _endings(key: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """For each of N beginnings and endings the index of the one that ends it, -1 if none does or it is no beginning.

    key: int64 [N], equal for those that may belong together; begins: bool [N].

    Within a key, beginnings count up and endings down, but not below zero: an ending that would ends nothing.
    What is left pairs in order: the k-th ending with the k-th beginning.
    """
    order = np.argsort(key.astype(np.uint16) if key.max(initial=0) < 2**16 else key, kind="stable")  # 16 bits sort fast
    key, begins = key[order], begins[order]
    ending = np.full(len(key), -1)
    new_key = np.append(True, key[1:] != key[:-1])[: len(key)]
    first = np.maximum.accumulate(np.where(new_key, np.arange(len(key)), 0))  # of the same key
    level = np.cumsum(np.where(begins, 1, -1))
    # Each key starts further down than any before it can reach, so that one running minimum serves all.
    level -= np.append(0, level)[first] + 2 * len(key) * np.cumsum(new_key)
    ground = -2 * len(key) * np.cumsum(new_key)
    lowest = np.minimum.accumulate(np.minimum(level, ground))
    before = np.minimum(np.append(0, lowest[:-1])[: len(key)], ground)
    ends_one = ~begins & (lowest == before)
    begun, ended = np.cumsum(begins), np.cumsum(ends_one)
    place = ended - 1 - np.append(0, ended)[first] + np.append(0, begun)[first]  # among all beginnings, in key order
    ending[order[np.flatnonzero(begins)[place[ends_one]]]] = order[ends_one]
    return ending
