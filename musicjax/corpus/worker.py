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
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

import numpy as np

from musicjax.corpus.read import MEMORY_BYTES, Member, Options, Reading, read_file
from musicjax.music.notes import COLUMNS, Notes

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_HEAD = struct.Struct("<III")  # bytes of JSON, bytes of arrays, crc32 of both parts
_STILL_READING = bytes(_HEAD.size)
# How each column of the notes is sent, one array behind the other. MIDI's numbers and DRUMS fit in a byte.
_SENT = {name: np.dtype("u1" if name in ("pitch", "velocity", "program") else "<f8") for name in COLUMNS}
# The tables that are sent after them, and their numbers of columns.
_CHANGES = {"tempos": 2, "meters": 3, "keys": 3}
_CHANGE = np.dtype("<f8")
STILL_READING_SECONDS = 0.25  # the least time between two such messages


def send(stream: IO[bytes], reading: Reading, pieces: Sequence[Notes]) -> None:
    """Writes a reading. The cache keeps the same bytes."""
    stream.write(packed(reading, pieces))
    stream.flush()


def packed(reading: Reading, pieces: Sequence[Notes]) -> bytes:
    """A reading as bytes: a head, JSON, and the arrays of each piece."""
    sizes = [[len(piece), *(len(getattr(piece, name)) for name in _CHANGES)] for piece in pieces]
    text = json.dumps([reading, sizes]).encode()
    kinds = _SENT | dict.fromkeys(_CHANGES, _CHANGE)
    arrays: list[Any] = [  # buffers, which mypy does not take arrays for
        np.ascontiguousarray(getattr(piece, name), kind) for piece in pieces for name, kind in kinds.items()
    ]
    checksum = zlib.crc32(text)
    for array in arrays:
        checksum = zlib.crc32(array, checksum)
    head = _HEAD.pack(len(text), sum(array.nbytes for array in arrays), checksum)
    return b"".join([head, text, *arrays])


def receive(stream: IO[bytes]) -> tuple[Reading, list[Notes]] | None:
    """The inverse of `send`; None if the sender says that it is still reading.

    Raises:
        EOFError: the bytes end too early, because the sender is gone, or are not those that were sent.
    """
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EOFError("the head is cut off")
    if head == _STILL_READING:
        return None
    text_bytes, body_bytes, checksum = _HEAD.unpack(head)
    text, body = stream.read(text_bytes), stream.read(body_bytes)
    if len(body) < body_bytes or zlib.crc32(body, zlib.crc32(text)) != checksum:
        raise EOFError("the bytes are not those that were sent")
    reading, sizes = json.loads(text)
    pieces, at = [], 0
    for size in sizes:
        piece, at = _piece(body, at, *size)
        pieces.append(piece)
    status, code, detail, members = reading
    return Reading(status, code, detail, tuple(Member(*member) for member in members)), pieces


def _piece(body: bytes, at: int, notes: int, *changes: int) -> tuple[Notes, int]:
    """(the piece whose arrays begin at byte `at`, where they end); changes: rows of each of _CHANGES."""
    found: dict[str, np.ndarray] = {}
    for name, kind in _SENT.items():
        column = np.frombuffer(body, kind, notes, at)
        found[name] = column.astype(np.int16) if kind.itemsize == 1 else column
        at += kind.itemsize * notes
    for (name, columns), rows in zip(_CHANGES.items(), changes, strict=True):
        found[name] = np.frombuffer(body, _CHANGE, rows * columns, at).reshape(-1, columns)
        at += _CHANGE.itemsize * rows * columns
    return Notes(**found), at


def limit_memory(most: int = MEMORY_BYTES) -> None:
    """Makes a file that takes more memory raise MemoryError, if the system can limit it; -1: lifts the limit."""
    if resource is None:
        return
    with contextlib.suppress(OSError, ValueError):
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (hard if most < 0 else most, hard))


def set_alarm(seconds: int) -> None:
    """Ends this process after this many seconds, where the system can; 0: cancels that."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


@contextlib.contextmanager
def limits(seconds: float) -> Iterator[Alarm]:
    """Limits the memory and the time of this process until the block ends; yields what restarts the time."""
    limit_memory()
    alarm = Alarm(seconds)
    try:
        yield alarm
    finally:
        alarm.end()
        limit_memory(-1)


class Alarm:
    """Ends this process a while after its parent should have. Set anew at most once a second, because it takes time."""

    def __init__(self, seconds: float):
        self._seconds, self._set_at = math.ceil(seconds) + 2, -math.inf

    def begin(self) -> None:
        """Starts the time, or restarts it."""
        if time.monotonic() - self._set_at > 1.0:
            self._set_at = time.monotonic()
            set_alarm(self._seconds)

    def end(self) -> None:
        """Cancels the alarm."""
        self._set_at = -math.inf
        set_alarm(0)


def _say_still_reading(replies: IO[bytes], seconds: int) -> Callable[[], None]:
    """What unpacking an archive calls: a few times a second, it restarts the archive's time."""
    last = time.monotonic()

    def say() -> None:
        nonlocal last
        if time.monotonic() - last > STILL_READING_SECONDS:
            last = time.monotonic()
            set_alarm(seconds)
            replies.write(_STILL_READING)
            replies.flush()

    return say


def main() -> None:
    """Answers each request line, {"path", "options", "seconds"} as JSON, until standard input ends."""
    limit_memory()
    replies, sys.stdout = sys.stdout.buffer, sys.stderr  # nothing that a library prints may mix with the replies
    for line in sys.stdin.buffer:
        request = json.loads(line)
        # The parent ends this process when the time is up; if the parent is gone, the alarm does.
        seconds = math.ceil(request["seconds"]) + 1
        set_alarm(seconds)
        reading = read_file(request["path"], Options(*request["options"]), _say_still_reading(replies, seconds))
        set_alarm(0)
        send(replies, *reading)


if __name__ == "__main__":
    main()
