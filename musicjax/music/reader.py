"""One reading process: a path a line on standard input, the outcome of that file on standard output.

A process of its own, started by `pool`, so that a file can be given up on by ending the process.
Run as a program it imports no more than NumPy and mido.
"""

from __future__ import annotations

import hashlib
import json
import math
import signal
import struct
import sys
import zlib
from typing import IO, NamedTuple

import numpy as np

from musicjax.music import midi
from musicjax.music.notes import FIELDS, Notes

_HEAD = struct.Struct("<III")  # bytes of JSON, notes, crc32 of both parts


class Reading(NamedTuple):
    """code: short and stable, "kept" where the file gave notes; detail: the reason in words."""

    code: str
    detail: str


KEPT = Reading("kept", "")


def read_file(path: str, percussion: bool) -> tuple[Reading, Notes | None]:
    """The outcome and, if kept, the notes of one file; never raises for what the file holds."""
    try:
        notes = midi.read(path, percussion=percussion)
    except midi.MidiError as error:
        return Reading(error.code, str(error)), None
    except OSError as error:
        return Reading("unreadable", str(error)), None
    except Exception as error:  # a bad file must not end a run, whatever it makes the reader raise
        return Reading("reader_error", f"{type(error).__name__}: {error}"), None
    return KEPT, notes


def send(stream: IO[bytes], reading: Reading, notes: Notes | None) -> None:
    """Writes one outcome as a head, JSON, and float64 [6, N]; the cache keeps the same bytes."""
    text = json.dumps(reading).encode()
    body = b"" if notes is None else notes.to_array().tobytes()
    stream.write(_HEAD.pack(len(text), 0 if notes is None else len(notes), zlib.crc32(body, zlib.crc32(text))))
    stream.write(text)
    stream.write(body)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[Reading, Notes | None]:
    """The inverse of `send`.

    Raises:
        EOFError: the bytes end too early (the sender is gone) or are not those that were sent.
    """
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EOFError("the head is cut off")
    text_bytes, count, checksum = _HEAD.unpack(head)
    text = stream.read(text_bytes)
    body = stream.read(8 * len(FIELDS) * count)
    if len(body) < 8 * len(FIELDS) * count or zlib.crc32(body, zlib.crc32(text)) != checksum:
        raise EOFError("the bytes are not those that were sent")
    return Reading(*json.loads(text)), Notes.from_array(
        np.frombuffer(body).reshape(len(FIELDS), count)
    ) if count else None


def content_hash(path: str) -> str:
    """sha256 of a file's bytes, hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def main() -> None:
    """Answers each request line, {"path", "percussion", "seconds"} as JSON, until standard input ends."""
    replies, sys.stdout = sys.stdout.buffer, sys.stderr  # nothing a library prints may mix with the replies
    for line in sys.stdin.buffer:
        request = json.loads(line)
        # The parent ends this process when the time is up; if the parent is gone, the alarm does.
        if hasattr(signal, "alarm"):
            signal.alarm(math.ceil(request["seconds"]) + 1)
        reading = read_file(request["path"], request["percussion"])
        if hasattr(signal, "alarm"):
            signal.alarm(0)
        send(replies, *reading)


if __name__ == "__main__":
    main()
