"""The bytes of a track -> where its events begin, and the events of all tracks as arrays.

An event is a delta time in one to four bytes and a message. A message that has the status byte of the one before may
leave it out (running status). Nearly all events are plain: a delta and a message with two data bytes. The bytes
of such an event say where it ends. So its end is worked out for all positions of a block together, whether an event
begins there or not, and the real events are those that can be reached from the first one. All other events, and
damaged ones, are read one at a time.

Legend: E events, B bytes of a block.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from musicjax.music.bar_position import is_meter
from musicjax.music.midi_chunks import Mended, MidiError

BLOCK_BYTES = 16_384
DOUBLINGS = 5  # 32 events are skipped at once
PADDING = 16  # zeros behind the bytes of a file, so that looking ahead needs no check
MOST_EVENTS = 2_000_000  # of one file
MOST_DELTA_BYTES = 4  # MIDI 1.0
SHORTEST_META = {0x20: 1, 0x21: 1, 0x51: 3, 0x54: 5, 0x58: 4, 0x59: 2}  # bytes that each type needs
SYSTEM_DATA_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1}


class Events(NamedTuple):
    """All events of some tracks, track by track.

    Attributes:
        tick: int64 [E], since the start of the track.
        track: int64 [E].
        status: uint8 [E], 0x80..0xEF of a channel message, running status filled in; anything else has no notes.
        first, second: uint8 [E], the data bytes of a channel message, 0..127.
        tempos: (index of the event, microseconds per beat).
        meters: (index of the event, numerator, denominator).
    """

    tick: np.ndarray
    track: np.ndarray
    status: np.ndarray
    first: np.ndarray
    second: np.ndarray
    tempos: list[tuple[int, int]]
    meters: list[tuple[int, int, int]]


def read(data: bytes, tracks: list[tuple[int, int]], mended: Mended) -> Events:
    """The events of tracks that lie in data[start:stop]; adds to `mended` what it had to mend.

    Raises:
        MidiError: more events than a file may have.
    """
    padded = np.frombuffer(data + bytes(PADDING), np.uint8)
    found: list[np.ndarray] = []
    counts: list[int] = []
    tempos: list[tuple[int, int]] = []
    meters: list[tuple[int, int, int]] = []
    plain_events = _PlainEvents(padded)
    total = 0
    for start, stop in tracks:
        track = _Track(data, start, stop, mended, MOST_EVENTS - total)
        track.read(plain_events)
        tempos += [(total + index, tempo) for index, tempo in track.tempos]
        meters += [(total + index, numerator, denominator) for index, numerator, denominator in track.meters]
        total += track.count
        found += track.found
        counts.append(track.count)
    at = np.concatenate(found) if found else np.zeros(0, np.int64)
    return _decode(padded, at, np.array(counts, np.int64))._replace(tempos=tempos, meters=meters)


def _decode(data: np.ndarray, at: np.ndarray, counts: np.ndarray) -> Events:
    """Events from where they begin, [E], without tempos and meters."""
    byte = data[at]
    delta = (byte & 0x7F).astype(np.int64)
    more = byte >= 0x80
    at = at + 1
    for _ in range(MOST_DELTA_BYTES - 1):
        if not more.any():
            break
        byte = data[at]
        delta = np.where(more, delta << 7 | byte & 0x7F, delta)
        at += more
        more &= byte >= 0x80
    status = data[at]
    is_given = status >= 0x80
    at += is_given
    first_of_track = np.repeat(np.cumsum(counts) - counts, counts)
    given_at = np.where(is_given & (status < 0xF0), np.arange(len(at)), first_of_track)
    tick = np.cumsum(delta)
    before = np.concatenate([np.zeros(1, np.int64), tick])[first_of_track]
    return Events(
        tick - before,
        np.repeat(np.arange(len(counts)), counts),
        np.where(status < 0xF0, status[np.maximum.accumulate(given_at)], status),
        data[at] & 0x7F,
        data[at + 1] & 0x7F,
        [],
        [],
    )


class _PlainEvents:
    """Where plain events lead, worked out for a block at a time: powers[k][b] is 2^k events after position b of it."""

    def __init__(self, data: np.ndarray):
        self._data = data
        self._start = self._size = 0
        self._powers: list[np.ndarray] = []

    def follow(self, first: int, stop: int) -> np.ndarray:
        """Where plain events begin, one after the other from `first`; the last position may begin another kind."""
        if not self._start <= first < self._start + self._size:
            self._work_out(first)
        far = self._powers[-1]
        landmarks, at = [], first - self._start
        last = min(stop - self._start, self._size)
        while at < last:
            landmarks.append(at)
            at = far.item(at)
        path = np.empty((len(landmarks), 2**DOUBLINGS), np.int64)
        path[:, 0] = landmarks
        for power, leads_to in reversed(list(enumerate(self._powers[:-1]))):  # between each two the one in their middle
            path[:, 2**power :: 2 ** (power + 1)] = leads_to[path[:, :: 2 ** (power + 1)]]
        flat = path.ravel()
        return flat[: flat.searchsorted(last)] + self._start

    def _work_out(self, start: int) -> None:
        """For each position from start: where a plain event that began there would end, and 2, 4 ... events on."""
        self._start, self._size = start, min(BLOCK_BYTES, len(self._data) - PADDING - start)
        size = self._size
        window = self._data[start : start + size + PADDING]
        high = window >= 0x80
        second = high[:size] & high[1 : size + 1]
        third = second & high[2 : size + 2]
        at = np.arange(1, size + 1)
        at += high[:size]
        at += second
        at += third
        status = window[at]
        at += status >= 0x80
        plain = (status < 0xC0) | (status & 0xF0 == 0xE0)
        plain &= (window[at] | window[at + 1]) < 0x80
        plain &= ~(third & high[3 : size + 3])
        at += 2
        plain &= at < size
        # The position after the last leads to itself, and so does all that is not plain.
        leads_to = np.full(size + 1, size)
        np.copyto(leads_to[:size], at, where=plain)
        self._powers = [leads_to]
        for _ in range(DOUBLINGS):
            leads_to = leads_to.take(leads_to, mode="wrap")  # no mode is quicker, and none is needed
            self._powers.append(leads_to)


class _Track:
    """Reads one track: `found` are arrays of positions, `count` their number, `tempos` and `meters` as in `Events`."""

    def __init__(self, data: bytes, start: int, stop: int, mended: Mended, most: int):
        self.data, self.at, self.stop = data, start, stop
        self.mended, self.most = mended, most
        self.found: list[np.ndarray] = []
        self.tempos: list[tuple[int, int]] = []
        self.meters: list[tuple[int, int, int]] = []
        self.count = 0
        self._single: list[int] = []
        self._data_bytes = 0  # of the running status; 0: there is none yet
        self._ended = False

    def read(self, plain_events: _PlainEvents) -> None:
        while self.at < self.stop and not self._ended:
            if self._data_bytes == 2:
                plain = plain_events.follow(self.at, self.stop)
                self.at = int(plain[-1])
                self._keep_single()
                self._keep(plain[:-1])
            if self.count + len(self._single) > self.most:
                raise MidiError("too_many_events", f"has more than {MOST_EVENTS:,} events")
            if not self._read_one():
                break
        if not self._ended:
            self.mended.setdefault("missed_end_of_track", "a track has no end")
        elif self.at < self.stop:
            self.mended.setdefault("extra_bytes", f"{self.stop - self.at:,} bytes after the end of a track left out")
        self._keep_single()

    def _keep(self, positions: np.ndarray) -> None:
        if len(positions):
            self.found.append(positions)
            self.count += len(positions)

    def _keep_single(self) -> None:
        if self._single:
            self._keep(np.array(self._single))
            self._single = []

    def _read_one(self) -> bool:
        """Reads the event at `at`, whatever it is; False if it goes on behind the end of the track."""
        start = self.at
        at = self._skip_number(start)
        if not at or at >= self.stop:
            self.mended.setdefault("not_enough_bytes", "a track ends inside an event")
            return False
        status = self.data[at]
        if status >= 0xF0:
            end = self._read_system(at, status)
        elif status >= 0x80:
            self._data_bytes = 1 if 0xC0 <= status < 0xE0 else 2
            end = self._read_data(at + 1)
        elif self._data_bytes:
            end = self._read_data(at)
        else:
            self.mended.setdefault("unexpected_running_status", "a track has a message before its first status byte")
            end = at + 1
        if not 0 < end <= self.stop:
            self.mended.setdefault("not_enough_bytes", "a track ends inside an event")
            return False
        self._single.append(start)
        self.at = end
        return True

    def _skip_number(self, at: int) -> int:
        """The position after a number of variable length; 0 if it has too many bytes or the track ends."""
        for after in range(at + 1, min(at + MOST_DELTA_BYTES, self.stop) + 1):
            if self.data[after - 1] < 0x80:
                return after
        if at + MOST_DELTA_BYTES < self.stop:
            self.mended.setdefault("invalid_variable_length_quantity", "a number has more than 4 bytes: its track ends")
        return 0

    def _read_data(self, at: int) -> int:
        end = at + self._data_bytes
        if any(byte >= 0x80 for byte in self.data[at:end]):
            self.mended.setdefault("invalid_channel_event_parameter_value", "a data byte above 127: its low bits taken")
        return end

    def _read_system(self, at: int, status: int) -> int:
        """The position after a meta, sysex or system message whose status is at `at`; 0 if there is none."""
        if status in (0xF0, 0xF7, 0xFF):
            size_at = at + 2 if status == 0xFF else at + 1
            body = self._skip_number(size_at)
            size = 0
            for byte in self.data[size_at:body]:
                size = size << 7 | byte & 0x7F
            if not body or body + size > self.stop:
                return 0
            if status == 0xFF:
                self._read_meta(self.data[at + 1], self.data[body : body + size])
            return body + size
        self.mended.setdefault("unknown_channel_event", f"status {status:#x}, which files do not have, left out")
        end = at + 1
        while end <= at + SYSTEM_DATA_BYTES.get(status, 0) and end < self.stop and self.data[end] < 0x80:
            end += 1
        return end

    def _read_meta(self, kind: int, body: bytes) -> None:
        is_key = kind == 0x59 and len(body) >= 2
        is_bad = (
            len(body) < SHORTEST_META.get(kind, 0)
            or (kind == 0x2F and len(body) > 0)
            or (kind == 0x00 and len(body) == 1)
            or (is_key and (not (body[0] <= 7 or body[0] >= 249) or body[1] > 1))
        )
        if kind == 0x51 and not is_bad:
            tempo = int.from_bytes(body[:3], "big")
            if tempo:
                self.tempos.append((self.count + len(self._single), tempo))
            is_bad = not tempo
        if kind == 0x58 and not is_bad:
            is_bad = not is_meter(body[0], 2 ** body[1])
            if not is_bad:
                self.meters.append((self.count + len(self._single), body[0], 2 ** body[1]))
        if is_bad:
            self.mended.setdefault(
                "invalid_meta_event_parameter_value", f"meta event {kind:#04x} {body[:8].hex(' ')} left out"
            )
        self._ended = kind == 0x2F and not body
