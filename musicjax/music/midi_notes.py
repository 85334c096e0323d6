"""Events -> notes in ticks: which ending belongs to which beginning."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from musicjax.music.midi_events import Events

NOTE_OFF, NOTE_ON = 0x8, 0x9  # high half of the status
CHANNELS, PITCHES = 16, 128


class Table(NamedTuple):
    """N notes in the order in which they begin in the file, track by track; all int64 [N].

    Attributes:
        onset, end: ticks since the start of the track.
        pitch, velocity, channel, track: as the file has them, counted from 0.
    """

    onset: np.ndarray
    end: np.ndarray
    pitch: np.ndarray
    velocity: np.ndarray
    channel: np.ndarray
    track: np.ndarray

    def select(self, which: np.ndarray) -> Table:
        """The notes that a mask [N] or index array selects."""
        return Table(*(column[which] for column in self))


def pair(events: Events) -> Table:
    """The notes of some tracks.

    A note_on of velocity 0 is an ending. An ending belongs to the earliest note of its track, channel and pitch that
    still sounds, and is ignored if none does. A note that is never ended stops with the last event of its track.
    """
    kind = events.status >> 4
    at = np.flatnonzero((kind == NOTE_ON) | (kind == NOTE_OFF))
    status, pitch = events.status[at], events.first[at]
    begins = (status >= NOTE_ON << 4) & (events.second[at] > 0)
    track = events.track[at]
    key = (track * CHANNELS + (status & 0xF)) * PITCHES + pitch
    start = np.flatnonzero(begins)
    ending = _endings(key, begins)[start]
    started = at[start]
    end = np.where(ending < 0, _last_ticks(events)[track[start]], events.tick[at[ending]])
    channel = (status[start] & 0xF).astype(np.int64)
    velocity = events.second[started].astype(np.int64)
    return Table(events.tick[started], end, pitch[start].astype(np.int64), velocity, channel, track[start])


def _last_ticks(events: Events) -> np.ndarray:
    """Tick of the last event of each track; int64 [T]."""
    last = np.zeros(int(events.track[-1]) + 1 if len(events.track) else 0, np.int64)
    last[events.track] = events.tick  # of several the last one stays
    return last


def _endings(key: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """For each of N beginnings and endings the index of the one that ends it, -1 if none does or it is no beginning.

    key: int64 [N], equal for those that may belong together; begins: bool [N].

    Within a key, beginnings count up and endings down, but not below zero: an ending that would is one of nothing.
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
