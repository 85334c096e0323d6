"""The files of a list -> a table of what became of each, and a file of the notes of all pieces.

A file that ends its reading process twice, or takes too long, is the only one lost.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from musicjax import files
from musicjax.corpus import worker
from musicjax.corpus.read import Options, read_file, skipped
from musicjax.errors import RunError
from musicjax.music import file_kinds, identity, midi, music_file
from musicjax.music.notes import Notes
from musicjax.shards import hash_task, shards, tasks, unpack_task
from musicjax.shards.runners import Died, TaskProcess
from musicjax.shards.tasks import Entry, Task

# Bytes of the hash of a fingerprint, see `music.identity`.
PRINT_BYTES = 8
# A longer file is read by parts, if at all.
MOST_BYTES = midi.MOST_BYTES


class Piece(NamedTuple):
    """Where the notes of a piece lie and how many bytes they take; how many they are; a hash of their fingerprint."""

    start: int
    size: int
    notes: int
    print: int


class Row(NamedTuple):
    """What became of a file; see `corpus.Outcome`."""

    path: str
    status: str
    code: str
    detail: str
    seconds: float
    sha256: str
    pieces: Sequence[Piece]

    @property
    def names(self) -> list[str]:
        """The names of its pieces."""
        if len(self.pieces) == 1:
            return [self.path]
        return [f"{self.path}#{number}" for number in range(1, len(self.pieces) + 1)]


def request(folder: Path, task: Task, options: Options, seconds: float) -> dict[str, Any]:
    """The task of reading a list."""
    return {
        "folder": str(folder),
        "list": str(tasks.list_of(folder, task)),
        "digest": task.digest,
        "options": options,
        "seconds": seconds,
    }


def table_of(folder: Path, task: Task) -> Path:
    """Where the table of a task is; it is there once the task is done."""
    return folder / f"read-{task.digest}.jsonl"


def notes_of(folder: Path, task: Task) -> Path:
    """Where the notes of a task are."""
    return folder / f"read-{task.digest}.notes"


def is_done(folder: Path, task: Task) -> bool:
    """Whether a task is done, and its files have the lengths that they had then."""
    try:
        with table_of(folder, task).open("rb") as stream:
            stream.seek(-min(64, stream.seek(0, io.SEEK_END)), io.SEEK_END)
            last = json.loads(stream.read().splitlines()[-1])
        return last["end"] == notes_of(folder, task).stat().st_size
    except (OSError, ValueError, IndexError, KeyError, TypeError):
        return False


def rows(folder: Path, task: Task) -> Iterator[Row]:
    """The table of a task that is done, in the order of its list."""
    with table_of(folder, task).open("rb") as stream:
        for line in stream:
            for path, status, code, detail, seconds, sha256, pieces in json.loads(line)["rows"] if line.strip() else ():
                yield Row(path, status, code, detail, seconds, sha256, [Piece(*piece) for piece in pieces])


def sent(stream: IO[bytes], start: int, size: int) -> bytes:
    """The notes of a piece as a file of notes stores them."""
    stream.seek(start)
    return stream.read(size)


def notes(stream: IO[bytes], content: bytes) -> Notes:
    """Notes as `sent` gives them; raises RunError if they are not what was written."""
    try:
        found = worker.receive(io.BytesIO(content))
        assert found is not None
        return found[1][0]
    except (EOFError, ValueError, AssertionError) as error:
        raise RunError(
            f"{stream.name} is damaged: {error}; expected what was written there; remove it and start again, which "
            "reads its files again"
        ) from error


def run(process: TaskProcess, task: dict[str, Any]) -> None:
    """Reads a list and writes its two files. If the process ends, another one goes on.

    The process writes a line of the table as soon as a file is done, so that it is known in which file it ended. That
    file is read once more, since something else may have ended the process, such as a system that runs out of memory.
    """
    folder, done = Path(task["folder"]), Task(task["digest"], 0)
    with files.whole(table_of(folder, done)) as table, files.whole(notes_of(folder, done)) as notes_path:
        notes_path.touch()
        lines: list[bytes] = []
        suspected = -1  # the place of the file in which a process ended
        while True:
            table.write_bytes(b"".join(lines))
            rest = {"table": str(table), "notes": str(notes_path), "first": len(lines), "end": _end(lines)}
            try:
                end = process.do("read_task", {**task, **rest}, task["seconds"], lambda: table.stat().st_size)
                break
            except Died as error:
                lines = [line for line in table.read_bytes().splitlines(keepends=True) if line.endswith(b"}\n")]
                left = tasks.read_list(task["list"])[len(lines) :]
                if not left:  # it ended after the last file
                    end = _end(lines)
                    break
                if not error.is_late and suspected != len(lines):
                    suspected = len(lines)
                    continue
                lost = left[0]
                reading = unpack_task.lost(error, task["seconds"])
                sha256 = lost.sha256 or hash_task.sha256(process, lost.path, task["seconds"])
                lines.append(_line([_told(lost, sha256, reading[:3])], _end(lines)))
        with table.open("ab") as stream:
            stream.write(_line([], end))


def _end(lines: Sequence[bytes]) -> int:
    """Where the notes that belong to lines of a table end."""
    return json.loads(lines[-1])["end"] if lines else 0


def _line(found: Sequence[Row], end: int) -> bytes:
    """A line of a table: what became of a file, and where its notes end."""
    return json.dumps({"rows": found, "end": end}).encode() + b"\n"


def _told(entry: Entry, sha256: str, known: tuple[str, str, str]) -> Row:
    """The row of a file without notes; known: (status, code, detail)."""
    return Row(entry.name, *known, 0.0, sha256, [])


class _NotesFile:
    """The file of notes of a task; end: where it ends."""

    def __init__(self, stream: io.FileIO, end: int):
        self._stream, self.end = stream, end
        stream.truncate(end)
        stream.seek(end)

    def add(self, pieces: Sequence[Notes]) -> list[Piece]:
        """Writes the notes of the pieces of a file."""
        found, parts = [], []
        for piece in pieces:
            parts.append(worker.packed(shards.KEPT, [piece]))
            digest = hashlib.blake2b(identity.fingerprint(piece.pitch), digest_size=PRINT_BYTES).digest()
            found.append(Piece(self.end, len(parts[-1]), len(piece), int.from_bytes(digest, "little")))
            self.end += len(parts[-1])
        left = memoryview(b"".join(parts))
        while left:  # a write may take a part
            left = left[self._stream.write(left) :]
        return found


def work(task: dict[str, Any]) -> int:
    """Reads the files of a list from the first one that is asked for; returns where the notes end."""
    options = Options(*task["options"])
    with (
        worker.limits(task["seconds"]) as alarm,
        open(task["table"], "ab", buffering=0) as table,
        open(task["notes"], "r+b", buffering=0) as stream,
    ):
        notes_file, on_progress = _NotesFile(stream, task["end"]), unpack_task.still_at_work(alarm, table)
        for entry in tasks.read_list(task["list"])[task["first"] :]:
            alarm.begin()
            found = _read(entry, options, notes_file, task["folder"], on_progress)
            table.write(_line(found, notes_file.end))
    return notes_file.end


def _read(
    entry: Entry, options: Options, notes_file: _NotesFile, folder: str, on_progress: Callable[[], object]
) -> list[Row]:
    """The row of a file, or those of an archive that is not named as one; the notes go to the file of notes."""
    if entry.known is not None:
        return [_told(entry, entry.sha256, entry.known)]
    try:
        content, sha256 = _content(entry)
    except OSError as error:
        return [_told(entry, "", skipped("unreadable", error.strerror or str(error))[:3])]
    reading, pieces = read_file(entry.path, options, content=content)
    if reading.code == "archive" and music_file.kind_of(entry.path) in file_kinds.READ_ARCHIVES:
        with tempfile.TemporaryDirectory(dir=folder) as unpacked:
            inside = unpack_task.entries(entry._replace(sha256=sha256), unpacked, on_progress)
            return [row for own in inside or () for row in _read(own, options, notes_file, folder, on_progress)]
    return [Row(entry.name, *reading[:3], sum(piece.seconds for piece in pieces), sha256, notes_file.add(pieces))]


def _content(entry: Entry) -> tuple[bytes | None, str]:
    """(the bytes of a file, None if they are more than are read at once; their sha256); raises OSError."""
    with open(entry.path, "rb", buffering=0) as stream:
        if os.fstat(stream.fileno()).st_size > MOST_BYTES:
            return None, entry.sha256 or files.sha256(entry.path)
        content = stream.readall()
    return content, entry.sha256 or hashlib.sha256(content).hexdigest()
