"""One reading process: a path a line on standard input, the outcome of that file on standard output.

A process of its own, started by `pool`, so that a file can be given up on by ending the process.
Run as a program it imports no more than NumPy.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import signal
import struct
import sys
import zlib
from typing import IO, NamedTuple

import numpy as np

from musicjax.music import midi, musicxml
from musicjax.music.notes import FIELDS, Notes

_HEAD = struct.Struct("<III")  # bytes of JSON, notes, crc32 of both parts
# How each field of the notes is sent, one array behind the other: pitch and velocity fit in a byte.
_SENT = tuple(np.dtype("u1" if name in ("pitch", "velocity") else "<f8") for name in FIELDS)
_NOTE_BYTES = sum(kind.itemsize for kind in _SENT)


# What one file may take, with NumPy's own share; a file of the most events takes a quarter of it.
MEMORY_BYTES = 2 * 2**30


class Reading(NamedTuple):
    """What became of one file.

    Attributes:
        status: "kept", "recovered" or "skipped".
        code: short and stable; "kept" where nothing was wrong.
        detail: the reason, or all that was mended, in words.
        lengths: notes of each of its pieces.
    """

    status: str
    code: str
    detail: str
    lengths: tuple[int, ...] = ()


def skipped(code: str, detail: str) -> Reading:
    """The outcome of a file that gave nothing."""
    return Reading("skipped", code, detail)


def read_file(path: str, percussion: bool) -> tuple[Reading, Notes | None]:
    """The outcome and the notes of one file, its pieces one behind the other; never raises for what the file holds."""
    try:
        if path.lower().endswith(musicxml.SUFFIXES):
            score, mended = musicxml.read(path)
            pieces = [score]
        else:
            pieces, mended = midi.read_pieces(path, percussion=percussion)
    except (midi.MidiError, musicxml.MusicXmlError) as error:
        return skipped(error.code, str(error)), None
    except OSError as error:
        return skipped("unreadable", str(error)), None
    except MemoryError:
        return skipped("memory_limit", f"takes more than {MEMORY_BYTES / 2**30:g} GiB of memory to read"), None
    except Exception as error:  # a bad file must not end a run, whatever it makes the reader raise
        return skipped("reader_error", f"{type(error).__name__}: {error}"), None
    lengths = tuple(map(len, pieces))
    notes = pieces[0] if len(pieces) == 1 else Notes(*map(np.concatenate, zip(*map(_fields, pieces), strict=True)))
    if mended:
        return Reading("recovered", next(iter(mended)), "; ".join(mended.values()), lengths), notes
    return Reading("kept", "kept", "", lengths), notes


def _fields(notes: Notes) -> list[np.ndarray]:
    return [getattr(notes, name) for name in FIELDS]


def send(stream: IO[bytes], reading: Reading, notes: Notes | None) -> None:
    """Writes one outcome as a head, JSON, and the fields of the notes; the cache keeps the same bytes."""
    text = json.dumps(reading).encode()
    body = b""
    if notes is not None:
        body = b"".join(array.astype(kind).tobytes() for array, kind in zip(_fields(notes), _SENT, strict=True))
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
    body = stream.read(_NOTE_BYTES * count)
    if len(body) < _NOTE_BYTES * count or zlib.crc32(body, zlib.crc32(text)) != checksum:
        raise EOFError("the bytes are not those that were sent")
    status, code, detail, lengths = json.loads(text)
    reading = Reading(status, code, detail, tuple(lengths))
    if not count:
        return reading, None
    arrays, at = [], 0
    for kind in _SENT:
        arrays.append(np.frombuffer(body, kind, count, at))
        at += kind.itemsize * count
    pitch, velocity, *times = arrays
    return reading, Notes(pitch.astype(np.int16), velocity.astype(np.int16), *times)


def content_hash(path: str) -> str:
    """sha256 of a file's bytes, hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _limit_memory() -> None:
    """Where the system has such a limit: a file that asks for more is skipped, and the machine stays well."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main() -> None:
    """Answers each request line, {"path", "percussion", "seconds"} as JSON, until standard input ends."""
    _limit_memory()
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
