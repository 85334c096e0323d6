"""The bytes of a MIDI file -> its header and where its tracks lie, whatever is wrong around them.

A MIDI file is a row of chunks, each a name of four letters, a length and a body: first MThd, then MTrk for each track.
"""

from __future__ import annotations

from typing import NamedTuple

from musicjax.music import file_kinds
from musicjax.music.notes import NoNotesError

HEADER, TRACK = b"MThd", b"MTrk"
HEAD_BYTES = 8  # name and length of a chunk
HEADER_BYTES = 14  # the whole header chunk of MIDI 1.0
SEARCHED_BYTES = file_kinds.MIDI_SEARCHED_BYTES
MOST_CHUNKS = 65_535  # as many as the header can count
END_OF_TRACK = b"\xff\x2f\x00"
FRAMES_PER_SECOND = {24: 24.0, 25: 25.0, 29: 30_000 / 1001, 30: 30.0}

# What was mended in a file: {code: words}. Codes are those of DryWetMIDI's reading policies, if one fits.
Mended = dict[str, str]


class MidiError(NoNotesError):
    """A file that is not MIDI, or that gives no notes."""


class Layout(NamedTuple):
    """A file's header and tracks.

    Attributes:
        kind: 0 and 1: the tracks sound together; 2: each is a piece.
        ticks_per_beat: of files that count in beats, else 0.
        ticks_per_second: of files that count in film frames (SMPTE), else 0.
        tracks: (first byte, byte after the last) of each track's events.
    """

    kind: int
    ticks_per_beat: int
    ticks_per_second: float
    tracks: list[tuple[int, int]]


def find(data: bytes, mended: Mended) -> Layout:
    """The header and tracks of a file; adds to `mended` what it had to mend.

    Raises:
        MidiError: no header, no time division that means anything, more chunks than a file can have, or an archive.
    """
    if not data:
        raise MidiError("empty", "is empty")
    at = data.find(HEADER, 0, SEARCHED_BYTES + len(HEADER))
    if at < 0:
        raise MidiError("no_header_chunk", f"is not a MIDI file: no MThd in its first {SEARCHED_BYTES:,} bytes")
    if len(data) < at + HEADER_BYTES:
        raise MidiError("not_enough_bytes", "ends inside its header")
    stop = len(data)
    if data[:4] == b"RIFF" and data[8:12] == b"RMID":
        if data[at - 8 : at - 4] == b"data":
            stop = min(stop, at + int.from_bytes(data[at - 4 : at], "little"))
    elif at:
        found = file_kinds.of(data[: file_kinds.HEAD_BYTES])
        if found in file_kinds.ARCHIVES:  # whose first file begins so early
            raise MidiError("archive", f"is a {found}, not a MIDI file")
        mended["extra_bytes"] = f"{at} bytes before the header left out"
    length, kind, declared, division = (
        int.from_bytes(data[at + first : at + last], "big") for first, last in ((4, 8), (8, 10), (10, 12), (12, 14))
    )
    ticks_per_beat, ticks_per_second = _ticks(division)
    start = at + HEADER_BYTES
    if length != 6:
        if length > 6 and _begins_chunk(data, at + HEAD_BYTES + length, stop):
            start = at + HEAD_BYTES + length
        else:
            mended["invalid_chunk_size"] = f"the header says that it has {length:,} bytes"
    if kind > 2:
        mended["unknown_file_format"] = f"type {kind} read as type 1"
    tracks = _tracks(data, start, stop, mended)
    if len(tracks) != declared:
        mended["unexpected_track_chunks_count"] = f"{len(tracks)} tracks found where the header says {declared}"
    return Layout(kind, ticks_per_beat, ticks_per_second, tracks)


def _ticks(division: int) -> tuple[int, float]:
    """(ticks per beat, 0) or (0, ticks per second)."""
    if 0 < division < 0x8000:
        return division, 0.0
    frames = FRAMES_PER_SECOND.get(256 - (division >> 8))
    if frames is None or not division & 0xFF:
        raise MidiError("invalid_time_division", f"time division {division:#06x} says neither beats nor seconds")
    return 0, frames * (division & 0xFF)


def _tracks(data: bytes, at: int, stop: int, mended: Mended) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for _ in range(MOST_CHUNKS + 1):
        name, body = data[at : at + 4], at + HEAD_BYTES
        if body > stop or name == HEADER:  # nothing more, or another file put behind this one
            if at < stop and TRACK.startswith(name):
                mended.setdefault("not_enough_bytes", "ends inside the head of a track")
            elif at < stop and name == HEADER:
                code = "another_file" if "extra_bytes" in mended else "extra_bytes"
                mended.setdefault(code, f"another MIDI file after this one, {stop - at:,} bytes, left out")
            elif at < stop:
                mended.setdefault("extra_bytes", f"{stop - at:,} bytes after the last track left out")
            return found
        is_track = name == TRACK or _is_almost_track(name)
        if not is_track and not name.isalnum():
            end = _following(data, at, stop)
            mended.setdefault("extra_bytes", f"{end - at:,} bytes outside any chunk left out")
        else:
            end = _end_of_chunk(data, body, stop, mended)
            if name != TRACK:
                what = "read as a track" if is_track else "left out"
                mended.setdefault("unknown_chunk_id", f"unknown chunk {name.decode('latin-1')!r} {what}")
            if is_track:
                found.append((body, end))
        at = end
    raise MidiError("too_many_chunks", f"has more than {MOST_CHUNKS:,} chunks")


def _end_of_chunk(data: bytes, body: int, stop: int, mended: Mended) -> int:
    """Where its length says, if something ends or begins there; else where the next track begins."""
    length = int.from_bytes(data[body - 4 : body], "big")
    end = body + length
    if _begins_chunk(data, end, stop) or (end <= stop and data[body:end].endswith(END_OF_TRACK)):
        return end
    following = _following(data, body - HEAD_BYTES + 1, stop)
    if end > stop and following == stop:
        mended.setdefault("not_enough_bytes", f"the last chunk lacks {end - stop:,} of its {length:,} bytes")
        return stop
    mended.setdefault("invalid_chunk_size", f"a chunk says that it has {length:,} bytes")
    return following


def _following(data: bytes, at: int, stop: int) -> int:
    """Where the next track begins, or another file that lies behind this one; `stop` if neither does."""
    track = data.find(TRACK, at, stop)
    end = stop if track < 0 else track
    header = data.find(HEADER, at, end)
    return end if header < 0 else header


def _begins_chunk(data: bytes, at: int, stop: int) -> bool:
    """Whether the file ends here, or a track begins, or another chunk that fits in."""
    name = data[at : at + 4]
    if at >= stop or name in (TRACK, HEADER):
        return at <= stop
    return name.isalnum() and at + HEAD_BYTES + int.from_bytes(data[at + 4 : at + HEAD_BYTES], "big") <= stop


def _is_almost_track(name: bytes) -> bool:
    """One byte of four is damaged."""
    return sum(one != other for one, other in zip(name, TRACK, strict=True)) == 1
