"""The reading process: it gets the path of a file a line, and answers with what became of that file.

`pool` starts it, and can give up on a file by ending it. Run as a program it imports NumPy and nothing slower.
"""

from __future__ import annotations

import contextlib
import json
import math
import signal
import struct
import sys
import zlib
from typing import IO

import numpy as np

from musicjax.corpus.read import MEMORY_BYTES, Reading, read_file
from musicjax.music.notes import FIELDS, Notes

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_HEAD = struct.Struct("<III")  # bytes of JSON, notes, crc32 of both parts
# How each field of the notes is sent, one array behind the other: pitch and velocity fit in a byte.
_SENT = tuple(np.dtype("u1" if name in ("pitch", "velocity") else "<f8") for name in FIELDS)
_NOTE_BYTES = sum(kind.itemsize for kind in _SENT)


def send(stream: IO[bytes], reading: Reading, notes: Notes | None) -> None:
    """Writes a reading: a head, JSON, and the fields of the notes. The cache keeps the same bytes."""
    text = json.dumps(reading).encode()
    body = b""
    if notes is not None:
        fields = (getattr(notes, name) for name in FIELDS)
        body = b"".join(field.astype(kind).tobytes() for field, kind in zip(fields, _SENT, strict=True))
    stream.write(_HEAD.pack(len(text), 0 if notes is None else len(notes), zlib.crc32(body, zlib.crc32(text))))
    stream.write(text)
    stream.write(body)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[Reading, Notes | None]:
    """The inverse of `send`.

    Raises:
        EOFError: the bytes end too early, because the sender is gone, or are not those that were sent.
    """
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EOFError("the head is cut off")
    text_bytes, count, checksum = _HEAD.unpack(head)
    text = stream.read(text_bytes)
    body = stream.read(_NOTE_BYTES * count)
    if len(body) < _NOTE_BYTES * count or zlib.crc32(body, zlib.crc32(text)) != checksum:
        raise EOFError("the bytes are not those that were sent")
    status, code, detail, lengths = json.loads(text)
    reading = Reading(status, code, detail, tuple(lengths))
    if not count:
        return reading, None
    fields, at = [], 0
    for kind in _SENT:
        fields.append(np.frombuffer(body, kind, count, at))
        at += kind.itemsize * count
    pitch, velocity, *times = fields
    return reading, Notes(pitch.astype(np.int16), velocity.astype(np.int16), *times)


def _limit_memory() -> None:
    """Makes a file that asks for more raise MemoryError, if the system has such a limit."""
    if resource is None:
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _set_alarm(seconds: int) -> None:
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


def main() -> None:
    """Answers each request line, {"path", "percussion", "seconds"} as JSON, until standard input ends."""
    _limit_memory()
    replies, sys.stdout = sys.stdout.buffer, sys.stderr  # nothing that a library prints may mix with the replies
    for line in sys.stdin.buffer:
        request = json.loads(line)
        # The parent ends this process when the time is up; if the parent is gone, the alarm does.
        _set_alarm(math.ceil(request["seconds"]) + 1)
        reading = read_file(request["path"], request["percussion"])
        _set_alarm(0)
        send(replies, *reading)


if __name__ == "__main__":
    main()
