"""MIDI files with known answers, right and odd ones: what their bytes mean, and what must be mended to read them.

The tests of the reader take each file alone; the reliability tests read all of them through the program.
`midi_dumps` says how a hex dump becomes a file: 96 (hex 60) ticks a beat, which at the default tempo is half a second.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from tests.midi_dumps import chunk, from_hex, midi_file


class Known(NamedTuple):
    """A file and its notes: pitches, onsets and durations in seconds, velocities if they matter.

    code: that of what is mended first; empty if nothing is.
    """

    content: bytes
    pitch: list[int]
    onset: list[float]
    duration: list[float]
    code: str = ""
    velocity: list[int] | None = None


MEANINGS = {
    "a note_on of velocity 0 ends a note": Known(
        midi_file("""
            00 90 3c 40   # middle C begins, velocity 64
            60 90 3c 00   # one beat later: velocity 0
        """),
        [60], [0], [0.5], velocity=[64],
    ),
    "the velocity of a note_off is not that of the note": Known(
        midi_file("""
            00 90 3c 40
            30 80 3c 7f   # half a beat later: note_off, release velocity 127
        """),
        [60], [0], [0.25], velocity=[64],
    ),
    "running status repeats the last status": Known(
        midi_file("""
            00 90 3c 40
            60    3c 00   # status left out: note_on, velocity 0
            00    3e 50
            30    3e 00
        """),
        [60, 62], [0, 0.5], [0.5, 0.25], velocity=[64, 80],
    ),
    "an ending belongs to a note of its own channel": Known(
        midi_file("""
            00 90 3c 40
            00 91 3c 40
            30 81 3c 00   # ends the second
            30 80 3c 00   # ends the first
        """),
        [60, 60], [0, 0], [0.5, 0.25],
    ),
    "an ending without a note ends nothing": Known(
        midi_file("00 80 3c 40  60 90 3c 40  60 80 3c 40"), [60], [0.5], [0.5],
    ),
    "notes of one pitch that overlap end first in, first out": Known(
        midi_file("""
            00 90 3c 40   # tick   0
            30 90 3c 50   # tick  48: struck again
            30 90 3c 00   # tick  96 ends the first
            60 90 3c 00   # tick 192 ends the second
        """),
        [60, 60], [0, 0.25], [0.5, 0.75], velocity=[64, 80],
    ),
    "a note that never ends stops with its own track": Known(
        midi_file(
            """
            00 90 3c 40
            60 90 3e 40
            60 90 3e 00   # tick 192, the last event of the track
            """,
            """
            87 40 90 40 40   # tick 960
            60    40 00
            """,
        ),
        [60, 62, 64], [0, 0.5, 5], [1, 0.5, 0.5],
    ),
    "a note that never ends lasts until the end of track event": Known(
        midi_file("00 90 3c 40", end="81 40 ff 2f 00"), [60], [0], [1],
    ),
    "notes that start together keep the order of the file": Known(
        midi_file(
            """
            00 90 48 40
            00 90 3c 40
            60 90 48 00
            00 90 3c 00
            00 90 43 40   # tick 96
            60 90 43 00
            """,
            """
            00 91 40 40
            30 91 54 40   # tick 48, before the last note of the first track
            30 91 24 40   # tick 96, after it
            60 91 40 00
            00 91 54 00
            00 91 24 00
            """,
        ),
        [72, 60, 64, 84, 67, 36], [0, 0, 0, 0.25, 0.5, 0.5], [0.5, 0.5, 1, 0.75, 0.5, 0.5],
    ),
    "tempo changes hold for every track, whichever track they are on": Known(
        midi_file(
            """
            30 90 3c 40         # tick  48, half a beat
            60 90 3c 00         # tick 144
            30 90 3e 40         # tick 192
            60 90 3e 00         # tick 288
            00 90 40 40         # tick 288
            18 90 40 00         # tick 312
            """,
            """
            60 ff 51 03 03 d0 90   # tick  96, at 0.5 s: 250,000 microseconds a beat
            60 ff 51 03 0f 42 40   # tick 192, at 0.75 s: 1,000,000 microseconds a beat
            """,
        ),
        [60, 62, 64], [0.25, 0.75, 1.75], [0.375, 1, 0.25],
    ),
    "of two tempo changes on one tick the later in the file holds": Known(
        midi_file("00 ff 51 03 03 d0 90  00 ff 51 03 0f 42 40  60 90 3c 40  60 90 3c 00"), [60], [1], [1],
    ),
    "an unknown meta event keeps its time": Known(
        midi_file("60 ff 60 01 00  60 90 3c 40  60 90 3c 00"), [60], [1], [0.5],
    ),
    "a file of type 0 is its one track": Known(midi_file("00 90 3c 40  60 90 3c 00", kind=0), [60], [0], [0.5]),
}  # fmt: skip


NOTES = "00 90 3c 40  60 3c 00  00 3e 50  60 3e 00"  # middle C for a beat, then D for a beat
_BAD_META = "invalid_meta_event_parameter_value"


def _odd(dump: str, code: str = "", **layout: str) -> Known:
    """A track that holds NOTES and something odd, which takes no time."""
    return Known(midi_file(dump, **layout), [60, 62], [0, 0.5], [0.5, 0.5], code)  # type: ignore[arg-type]


def _late(event: str, code: str = "") -> Known:
    """A note a beat after something odd, which itself comes after a beat."""
    return Known(midi_file(f"60 {event}  60 90 3c 40  60 3c 00"), [60], [1], [0.5], code)


TRACKS = {
    "running status survives a meta event": _odd("00 90 3c 40  60 3c 00  00 ff 01 01 61  00 3e 50  60 3e 00"),
    "running status survives a sysex": _odd("00 90 3c 40  60 3c 00  00 f0 02 7e f7  00 3e 50  60 3e 00"),
    "running status survives an undefined status": _odd(
        "00 90 3c 40  60 3c 00  00 f4  00 3e 50  60 3e 00", "unknown_channel_event"
    ),
    "a system message with data": _odd(f"00 f2 01 02  00 f3 05  {NOTES}", "unknown_channel_event"),
    "a data byte before any status": _odd(f"00 45  {NOTES}", "unexpected_running_status"),
    "a data byte above 127": _odd(
        """00 90 bc 40     # bc with its top bit off is 3c
           60    3c 00  00 3e 50  60 3e 00""",
        "invalid_channel_event_parameter_value",
    ),
    "a bad key signature": _odd(f"00 ff 59 02 40 00  {NOTES}", _BAD_META),
    "a tempo of two bytes": _odd(f"00 ff 51 02 01 02  {NOTES}", _BAD_META),
    "a tempo of 0": _odd(f"00 ff 51 03 00 00 00  {NOTES}", _BAD_META),
    "an end of track with a body": _odd(f"00 ff 2f 01 00  {NOTES}", _BAD_META),
    "notes after the end of the track": _odd(f"{NOTES}  00 ff 2f 00  00 90 40 40  60 40 00", "extra_bytes"),
    "no end of the track": _odd(NOTES, "missed_end_of_track", end=""),
    "an escape with any bytes": _odd(f"00 f7 03 90 ff 80  {NOTES}"),
    "an unknown meta event": _odd(f"00 ff 7e 01 00  {NOTES}"),
    "an unknown meta event without a body keeps its time": _late("ff 7e 00"),
    "a bad key signature keeps its time": _late("ff 59 02 40 00", _BAD_META),
    "a tempo of 0 keeps its time": _late("ff 51 03 00 00 00", _BAD_META),
    "a tempo of one byte keeps its time": _late("ff 51 01 01", _BAD_META),
    "an undefined status keeps its time": _late("f4", "unknown_channel_event"),
    "an empty sysex keeps its time": _late("f0 00"),
    "a number of more than four bytes ends its track": Known(
        midi_file(f"{NOTES}  80 80 80 80 60 90 40 40", "00 91 40 40  60 40 00"),
        [60, 64, 62],
        [0, 0, 0.5],
        [0.5, 0.5, 0.5],
        "invalid_variable_length_quantity",
    ),
}


GOOD = midi_file(NOTES, "30 91 40 40  60 40 00")
HEADER, FIRST, SECOND = GOOD[:14], GOOD[14 : GOOD.index(b"MTrk", 15)], GOOD[GOOD.index(b"MTrk", 15) :]
RIFF = b"RIFF" + struct.pack("<I", len(GOOD) + 12) + b"RMIDdata" + struct.pack("<I", len(GOOD)) + GOOD


def header(kind: int = 1, tracks: int = 2, division: int = 0x60, length: int = 6) -> bytes:
    """A header chunk that says these numbers."""
    return b"MThd" + struct.pack(">IHHH", length, kind, tracks, division)


def _lengthen(track: bytes, by: int) -> bytes:
    return track[:4] + struct.pack(">I", max(int.from_bytes(track[4:8], "big") + by, 0)) + track[8:]


def _around(content: bytes, code: str = "") -> Known:
    """The notes of GOOD."""
    return Known(content, [60, 64, 62], [0, 0.25, 0.5], [0.5, 0.5, 0.5], code)


CONTAINERS = {
    "nothing odd": _around(GOOD),
    "RIFF": _around(RIFF),
    "RIFF with more after it": _around(RIFF + b"LISTxxxx"),
    "bytes in front": _around(bytes(128) + GOOD, "extra_bytes"),
    "1,024 bytes in front": _around(bytes(1024) + GOOD, "extra_bytes"),
    "zeros at the end": _around(GOOD + bytes(100), "extra_bytes"),
    "one byte at the end": _around(GOOD + b"x", "extra_bytes"),
    "another file at the end": _around(GOOD + GOOD, "extra_bytes"),
    "zeros and another file at the end": _around(GOOD + bytes(100) + GOOD, "extra_bytes"),
    "words and another file at the end": _around(GOOD + b"words " + GOOD, "invalid_chunk_size"),
    "alien chunk first": _around(HEADER + chunk(b"XFIH", b"abc") + FIRST + SECOND, "unknown_chunk_id"),
    "alien chunk between": _around(HEADER + FIRST + chunk(b"Junk", bytes(9)) + SECOND, "unknown_chunk_id"),
    "alien chunk last": _around(GOOD + chunk(b"Junk", bytes(9)), "unknown_chunk_id"),
    "alien chunk counted": _around(header(tracks=3) + chunk(b"Junk", b"abc") + FIRST + SECOND, "unknown_chunk_id"),
    "damaged name of a track": _around(HEADER + FIRST + b"MTr\xeb" + SECOND[4:], "unknown_chunk_id"),
    "stray byte between": _around(HEADER + FIRST + b"\0" + SECOND, "extra_bytes"),
    "stray letter between": _around(HEADER + FIRST + b"x" + SECOND, "invalid_chunk_size"),
    "a track more without events": _around(header(tracks=3) + FIRST + SECOND + chunk(b"MTrk", from_hex("00 ff 2f 00"))),
    "longer header": _around(header(length=8) + b"\0\0" + FIRST + SECOND),
    "header of 4 GiB": _around(header(length=0xFFFFFFFF) + FIRST + SECOND, "invalid_chunk_size"),
    "header of no bytes": _around(header(length=0) + FIRST + SECOND, "invalid_chunk_size"),
    "type 3": _around(header(kind=3) + FIRST + SECOND, "unknown_file_format"),
    "type 0xffff": _around(header(kind=0xFFFF) + FIRST + SECOND, "unknown_file_format"),
    "first track says too little": _around(HEADER + _lengthen(FIRST, -5) + SECOND, "invalid_chunk_size"),
    "first track says 0": _around(HEADER + _lengthen(FIRST, -99) + SECOND, "invalid_chunk_size"),
    "first track says too much": _around(HEADER + _lengthen(FIRST, 5) + SECOND, "invalid_chunk_size"),
    "first track says 4 GiB": _around(HEADER + FIRST[:4] + b"\xff" * 4 + FIRST[8:] + SECOND, "invalid_chunk_size"),
    "last track says too little": _around(HEADER + FIRST + _lengthen(SECOND, -5), "invalid_chunk_size"),
    "last track says too much": _around(HEADER + FIRST + _lengthen(SECOND, 5), "not_enough_bytes"),
    "last byte missing": _around(GOOD[:-1], "not_enough_bytes"),
} | {
    f"track count {count:#x}": _around(header(tracks=count) + FIRST + SECOND, "unexpected_track_chunks_count")
    for count in (0, 1, 3, 0x7FFF, 0x8000, 0xFFFF)
}


def _film(division: str, ticks_per_second: float) -> Known:
    """A note of 40 ticks after 80 of them, in film frames (SMPTE), which no tempo changes."""
    dump = "00 ff 51 03 01 00 00  50 90 3c 40  28 3c 00"
    return Known(midi_file(dump, division=division), [60], [80 / ticks_per_second], [40 / ticks_per_second])


TIMES = {
    "24 film frames of 40 ticks": _film("e8 28", 24 * 40),
    "25 film frames of 40 ticks": _film("e7 28", 25 * 40),
    "29.97 film frames of 100 ticks": _film("e3 64", 30_000 / 1001 * 100),
    "30 film frames of 80 ticks": _film("e2 50", 30 * 80),
    "1 tick a beat": Known(midi_file("00 90 3c 40  01 3c 00", division="00 01"), [60], [0], [0.5]),
    "32,767 ticks a beat": Known(midi_file("00 90 3c 40  81 ff 7f 3c 00", division="7f ff"), [60], [0], [0.5]),
    "a rest of hours is shortened": Known(
        midi_file("00 90 3c 40  60 3c 00  87 ff ff 7f 3e 40  60 3e 00  60 40 40  60 40 00"),
        [60, 62, 64],
        [0, 599.828125, 600.828125],  # still 3.65625 beats into its bar
        [0.5, 0.5, 0.5],
        "too_long_rest",
    ),
}

_NOTE = "00 90 3c 40  60 90 3c 00"
# Files that give no notes, each with its code.
NOTHING = {
    "no bytes": (b"", "empty"),
    "one byte": (b"M", "no_header_chunk"),
    "a name alone": (b"MThd", "not_enough_bytes"),
    "words": (b"RIFF not a MIDI file at all, only words in a row", "no_header_chunk"),
    "words that begin well": (b"MThd is what a MIDI file starts with.", "invalid_chunk_size"),
    "a web page": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "no_header_chunk"),
    "a zip archive": (b"PK\x03\x04" + bytes(100), "no_header_chunk"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "no_header_chunk"),
    "zeros": (bytes(1000), "no_header_chunk"),
    "a header cut short": (midi_file(_NOTE)[:10], "not_enough_bytes"),
    "a header beyond the first kilobyte": (bytes(1025) + GOOD, "no_header_chunk"),
    "a header alone": (HEADER, "unexpected_track_chunks_count"),
    "no header": (FIRST + SECOND, "no_header_chunk"),
    "no track": (midi_file(), "no_notes"),
    "a track without events": (midi_file(""), "no_notes"),
    "a tempo alone": (midi_file("00 ff 51 03 03 d0 90"), "no_notes"),
    "endings alone": (midi_file("00 90 3c 00  00 80 3c 40"), "no_notes"),
    "0 ticks a beat": (midi_file(_NOTE, division="00 00"), "invalid_time_division"),
    "one film frame a second": (midi_file(_NOTE, division="ff 28"), "invalid_time_division"),
    "film frames of 0 ticks": (midi_file(_NOTE, division="ff 00"), "invalid_time_division"),
    "128 film frames": (midi_file(_NOTE, division="80 00"), "invalid_time_division"),
    "a number without end": (midi_file("ff ff ff ff ff 7f 90 3c 40"), "invalid_variable_length_quantity"),
}
