"""The files of a list -> a table of what became of each, and a file of the notes of all pieces.

A file that ends the process that reads it, or takes too long, costs itself alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from musicjax import files
from musicjax.corpus import shards, tasks, unpack_task, worker
from musicjax.corpus.read import Options, Reading, read_file, skipped
from musicjax.corpus.runners import Died, TaskProcess
from musicjax.corpus.tasks import Entry, Task
from musicjax.errors import RunError
from musicjax.music import file_kinds, identity, music_file
from musicjax.music.notes import Notes

# Bytes of the hash of a fingerprint, see `music.identity`.
PRINT_BYTES = 8


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
        """Of its pieces."""
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
            for *told, pieces in json.loads(line).get("rows", ()):
                yield Row(*told, [Piece(*piece) for piece in pieces])


def sent(stream: IO[bytes], start: int, size: int) -> bytes:
    """The notes of a piece as they lie in a file of notes."""
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
            "reads its files anew"
        ) from error


def run(process: TaskProcess, task: dict[str, Any]) -> None:
    """Reads a list with a process, and with another one after each file that ends it; writes its two files."""
    folder, done = Path(task["folder"]), Task(task["digest"], 0)
    lines: list[bytes] = []
    with files.whole(notes_of(folder, done)) as partial:
        partial.touch()
        while True:
            begun = {**task, "notes": str(partial), "first": len(lines), "end": _end(lines)}
            try:
                process.do("read_task", begun, task["seconds"], lambda line: lines.append(line) if line else None)
                break
            except Died as error:
                entries = tasks.read_list(task["list"])
                if len(lines) == len(entries):
                    break
                lost = entries[len(lines)]
                reading = unpack_task.lost(error, task["seconds"])
                lines.append(_line([_told(lost, lost.sha256 or _sha256(lost.path)[0], reading)], _end(lines)))
    with files.whole(table_of(folder, done)) as partial:
        partial.write_bytes(b"".join(line + b"\n" for line in [*lines, json.dumps({"end": _end(lines)}).encode()]))


def _end(lines: Sequence[bytes]) -> int:
    """Where the notes that belong to lines of a table end."""
    return json.loads(lines[-1])["end"] if lines else 0


def _line(found: Sequence[Row], end: int) -> bytes:
    return json.dumps({"rows": found, "end": end}).encode()


def _told(entry: Entry, sha256: str, reading: Sequence[Any]) -> Row:
    """The row of a file without notes; reading: (status, code, detail, ...)."""
    return Row(entry.name, *reading[:3], 0.0, sha256, [])


def _sha256(path: str) -> tuple[str, Reading | None]:
    """(the sha256 of a file, None), or (empty, why it cannot be read)."""
    try:
        return files.sha256(path), None
    except OSError as error:
        return "", skipped("unreadable", error.strerror or str(error))


def work(task: dict[str, Any], say: Callable[[bytes], object]) -> None:
    """Reads the files of a list from the first one that is asked for, and says the line of each."""
    worker.limit_memory()
    options, seconds = Options(*task["options"]), math.ceil(task["seconds"]) + 1
    with open(task["notes"], "r+b", buffering=0) as stream:
        stream.truncate(task["end"])
        stream.seek(task["end"])
        for entry in tasks.read_list(task["list"])[task["first"] :]:
            # The parent ends this process when the time is up; if the parent is gone, the alarm does.
            worker.set_alarm(seconds)
            found = _read(entry, options, stream, task["folder"], unpack_task.still_at_work(seconds, say))
            worker.set_alarm(0)
            say(_line(found, stream.tell()))
    worker.limit_memory(-1)


def _read(
    entry: Entry, options: Options, stream: io.FileIO, folder: str, on_progress: Callable[[], object]
) -> list[Row]:
    """The row of a file, or those of an archive that is not named as one; the notes go to the stream."""
    if entry.known is not None:
        return [_told(entry, entry.sha256, entry.known)]
    sha256, unreadable = (entry.sha256, None) if entry.sha256 else _sha256(entry.path)
    if unreadable is not None:
        return [_told(entry, "", unreadable)]
    reading, pieces = read_file(entry.path, options)
    if reading.code == "archive" and music_file.kind_of(entry.path) in file_kinds.READ_ARCHIVES:
        with tempfile.TemporaryDirectory(dir=folder) as unpacked:
            return _archive(entry, sha256, options._replace(unpacked=unpacked), stream, on_progress)
    kept = [_store(stream, piece) for piece in pieces]
    return [Row(entry.name, *reading[:3], sum(piece.seconds for piece in pieces), sha256, kept)]


def _archive(
    entry: Entry, sha256: str, options: Options, stream: io.FileIO, on_progress: Callable[[], object]
) -> list[Row]:
    """The rows of an archive that is named otherwise."""
    folder = options.unpacked
    found = unpack_task.entries(entry._replace(sha256=sha256), folder, on_progress)
    assert found is not None
    plain = options._replace(unpacked="")
    return [row for own in found for row in _read(own, plain, stream, folder, on_progress)]


def _store(stream: io.FileIO, piece: Notes) -> Piece:
    """Writes the notes of a piece."""
    start, content = stream.tell(), memoryview(worker.packed(shards.KEPT, [piece]))
    size = len(content)
    while content:  # a write may take a part
        content = content[stream.write(content) :]
    digest = hashlib.blake2b(identity.fingerprint(piece.pitch), digest_size=PRINT_BYTES).digest()
    return Piece(start, size, len(piece), int.from_bytes(digest, "little"))
