"""An archive -> the files of music in it, as entries of a list, unpacked beside the lists.

Their names are those of `corpus.ingest`: the archive's own, a slash, and the name in the archive.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from musicjax import files
from musicjax.corpus import archived_music, worker
from musicjax.corpus.read import Member, Reading, memory_limit, skipped
from musicjax.errors import RunError
from musicjax.music import file_kinds, music_file
from musicjax.shards import hash_task, tasks
from musicjax.shards.runners import Died, TaskProcess
from musicjax.shards.tasks import Entry

UNPACKED = "unpacked"
# What the first line of a result says.
ARCHIVE = "archive"
BLOCK_BYTES = 2**20


def request(archive: Entry, folder: Path, seconds: float) -> dict[str, Any]:
    """The task of unpacking an archive into a folder."""
    digest = hashlib.sha256(json.dumps([archive.name, archive.path, archive.version]).encode()).hexdigest()
    return {
        "name": archive.name,
        "path": archive.path,
        "seconds": seconds,
        "folder": str(folder / UNPACKED),
        "result": str(folder / f"archive-{digest[:16]}.json"),
    }


def result(task: dict[str, Any]) -> Iterator[Entry] | None:
    """What a task found that is done, one by one; None if the file is no archive."""
    with open(task["result"], "rb") as stream:
        if json.loads(stream.readline()) != ARCHIVE:
            return None
    return _saved(task["result"])


def _saved(path: str) -> Iterator[Entry]:
    with open(path, "rb") as stream:
        stream.readline()
        yield from (tasks.entry_of(json.loads(line)) for line in stream)


def run(process: TaskProcess, task: dict[str, Any]) -> None:
    """Unpacks an archive and writes what is in it; one that twice ends the process gives nothing."""
    pulse = Path(f"{task['result']}.pulse")
    pulse.touch()
    try:
        process.do_again("unpack_task", {**task, "pulse": str(pulse)}, task["seconds"], lambda: pulse.stat().st_size)
    except Died as error:
        archive = Entry(task["name"], task["path"], hash_task.sha256(process, task["path"], task["seconds"]))
        _write(task, _told(archive, lost(error, task["seconds"])))
    pulse.unlink()


def lost(error: Died, seconds: float) -> Reading:
    """The reading of a file that ended the process that read it."""
    if error.is_late:
        return skipped("time_limit", f"not read within {seconds:g} s")
    return skipped("reader_died", "the reading process died on it")


def work(task: dict[str, Any]) -> None:
    """Unpacks an archive and writes what is in it."""
    archive = Entry(task["name"], task["path"])
    with worker.limits(task["seconds"]) as alarm, open(task["pulse"], "ab", buffering=0) as pulse:
        alarm.begin()
        on_progress = still_at_work(alarm, pulse)
        try:
            archive = archive._replace(sha256=_sha256(archive.path, on_progress))
        except OSError as error:
            found: Iterable[Entry] | None = _told(archive, skipped("unreadable", error.strerror or str(error)))
        else:
            found = entries(archive, task["folder"], on_progress)
    _write(task, found)


def _sha256(path: str, on_progress: Callable[[], object]) -> str:
    """The sha256 of a file that may be long."""
    found = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            found.update(block)
            on_progress()
    return found.hexdigest()


def _write(task: dict[str, Any], found: Iterable[Entry] | None) -> None:
    """Writes a result: a line that says whether the file is an archive, and one for each entry."""
    with files.whole(Path(task["result"])) as partial, partial.open("w") as stream:
        stream.write(json.dumps(None if found is None else ARCHIVE) + "\n")
        stream.writelines(json.dumps(entry[:4]) + "\n" for entry in found or ())


def still_at_work(alarm: worker.Alarm, pulse: io.FileIO) -> Callable[[], None]:
    """What unpacking an archive calls: a few times a second, it restarts the time here, and where the length of the
    file `pulse` is watched."""
    last = time.monotonic()

    def tell() -> None:
        nonlocal last
        if time.monotonic() - last > worker.STILL_READING_SECONDS:
            last = time.monotonic()
            alarm.begin()
            pulse.write(b"\n")

    return tell


def entries(archive: Entry, folder: str, on_progress: Callable[[], object]) -> Iterable[Entry] | None:
    """The files of music in an archive, unpacked into a folder; the archive itself only if something is odd.

    Returns:
        None if it is no archive.

    Raises:
        RunError: there is no room to unpack it.
    """
    kind = music_file.kind_of(archive.path)
    if kind not in file_kinds.READ_ARCHIVES:
        return None
    try:
        reading = archived_music.unpack(archive.path, kind, folder, on_progress)
    except MemoryError:
        reading = memory_limit()
    except Exception as error:  # one bad file must not end the work, whatever it makes the reader raise
        reading = skipped(*music_file.reason_of(error))
    if reading.code == "cannot_unpack":
        raise RunError(f"{archive.name} {reading.detail}; expected room for it; make some and start again to go on")
    own = [] if reading.status == "kept" and reading.members else _told(archive, reading)
    return itertools.chain(own, (_of_member(archive, member, folder) for member in reading.members))


def _of_member(archive: Entry, member: Member, folder: str) -> Entry:
    """A file of music in an archive."""
    name = f"{archive.name}/{member.name}"
    if member.status:
        return Entry(name, "", member.sha256, (member.status, member.code, member.detail))
    return Entry(name, os.path.join(folder, member.file), member.sha256)


def _told(entry: Entry, reading: Reading) -> list[Entry]:
    """An entry whose outcome is known."""
    return [entry._replace(path="", known=(reading.status, reading.code, reading.detail))]
