"""Files of music -> a folder of shards, stage after stage. No process holds all notes, however many files there are.

Each stage writes files that depend on its inputs alone, under names that contain a digest of these. So if one start is
ended, however it was, the next goes on from there, and the shards have the same bytes as if nothing had happened.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from musicjax import console, files
from musicjax.config import DataConfig
from musicjax.corpus import load
from musicjax.corpus.find import WORK
from musicjax.corpus.read import options_of
from musicjax.errors import RunError
from musicjax.music import note_bins
from musicjax.shards import (
    compare_task,
    encode_task,
    learn_task,
    read_task,
    runners,
    settle,
    shard_report,
    shards,
    sources,
    tasks,
    unpack_task,
)
from musicjax.shards.encode_task import Shard
from musicjax.shards.settle import Counts, Pieces, Use
from musicjax.shards.shard_job import Job, versions
from musicjax.shards.shards import Manifest
from musicjax.shards.tasks import Entry, Task

# About how many pieces are compared by one task.
COMPARED_PIECES = 4_096


class Read(NamedTuple):
    """All files, read: their lists; the sha256 of their names and sizes; the pieces; what became of the files."""

    lists: list[Task]
    listing: str
    pieces: Pieces
    counts: Counts


def write(job: Job) -> Manifest:
    """Writes a folder of shards, or goes on with one that is not finished; says what it does.

    Raises:
        UsageError: array_record or pyarrow is not installed, here or where a task is done.
        RunError: there is nothing to read; or no room; or what was begun there is another job; or pieces are too few.
    """
    with job.begun():
        found = _read(job)
        alike = _compared(job, found)
        use = settle.use(found.pieces, alike, job.data)
        if use is None:
            raise RunError(
                f"data source {job.data.source}: fewer than two different pieces have more than 1 note; expected at "
                "least two, so that one can be held out; add files, and the same command goes on"
            )
        _say_use(use, job.data)
        learned = _learned(job, found, use)
        return _finish(job, found, alike, use, learned, _encoded(job, found, use, learned))


@contextlib.contextmanager
def listed(job: Job) -> Iterator[tuple[list[Task], str]]:
    """Lists the source and unpacks its archives; yields the lists, and the sha256 of all names and sizes.

    What the source names stays where it is as long as the block lasts.
    """
    with sources.located(job.data, job.output) as find:
        listing = find()
        load.say_left_out([Path(run) for run in listing.runs])
        found = tasks.write_lists(tasks.entries(listing, _unpacked(job, listing)), job.work)
        del listing  # all names, which nobody needs any more
        yield found


def read(job: Job, lists: Sequence[Task]) -> None:
    """Reads the files of the lists, but for those that are read already."""
    left = [task for task in lists if not read_task.is_done(job.work, task)]
    options, seconds = options_of(job.data), job.data.seconds_per_file
    requests = [read_task.request(job.work, task, options, seconds) for task in left]
    job.run("reading", read_task.run, requests, [task.files for task in left], "files")


def _read(job: Job) -> Read:
    """Reads all files; says what became of them, and requires that some gave notes."""
    with listed(job) as (found, everything):
        read(job, found)
    pieces, counts = settle.gather(read_task.rows(job.work, task) for task in found)
    _say_counts(job.data.source, counts)
    if not len(pieces.names):
        first = next(read_task.rows(job.work, found[0]))
        raise RunError(
            f"data source {job.data.source}: none of its {console.counted(counts.reasons.total(), 'file')} gave notes "
            f"({first.path}: {first.detail}); expected MIDI or MusicXML files with notes; add some, and the same "
            "command goes on, or name another folder and another --output"
        )
    return Read(found, everything, pieces, counts)


def _unpacked(job: Job, listing: tasks.Listing) -> Callable[[Entry], Iterable[Entry] | None]:
    """Unpacks the archives of a listing; returns what stands for each."""
    requests = {
        entry.name: unpack_task.request(entry, job.work, job.data.seconds_per_file) for entry in tasks.archives(listing)
    }
    left = [request for request in requests.values() if not os.path.exists(request["result"])]
    job.run("unpacking", unpack_task.run, left, [1] * len(left), "archives")
    return lambda entry: unpack_task.result(requests[entry.name])


def _say_counts(source: str, counts: Counts) -> None:
    console.say(
        "data",
        f"{source}: kept {counts.of('kept'):,} of {console.counted(counts.files, 'file')}, recovered "
        f"{counts.of('recovered'):,}, skipped {counts.of('skipped'):,}; {console.counted(counts.notes, 'note')}",
    )


def _compared(job: Job, found: Read) -> np.ndarray:
    """Of each piece the first one that is the same, or its own, int64 [P]."""
    pieces = found.pieces
    copied, groups = settle.candidates(pieces)
    notes = [str(read_task.notes_of(job.work, task)) for task in found.lists]
    batches: list[list[np.ndarray]] = [[]]
    for group in groups:
        if sum(map(len, batches[-1])) > COMPARED_PIECES:
            batches.append([])
        batches[-1].append(group)
    requests, sizes = [], []
    for batch in batches if groups else []:
        places = [pieces.places(group) for group in batch]
        digest = _digest([places, [task.digest for task in found.lists]])
        path = job.work / f"groups-{digest}.json"
        if not path.exists():
            with files.whole(path) as partial:
                partial.write_text(json.dumps(places))
        requests.append(compare_task.request(notes, path, job.work / f"same-{digest}.json"))
        sizes.append(sum(map(len, batch)))
    left = [index for index, request in enumerate(requests) if not os.path.exists(request["result"])]
    function = functools.partial(runners.do, module="compare_task")
    job.run("comparing", function, [requests[index] for index in left], [sizes[index] for index in left], "pieces")
    same = (places for request in requests for places in json.loads(Path(request["result"]).read_text()))
    return settle.alike(copied, groups, same)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _say_use(use: Use, data: DataConfig) -> None:
    """Says what is left out, and how the others are split."""
    copies = {"drop": "left out", "together": "on one side of the split", "keep": "split as different pieces"}
    if use.copies:
        repeats = "piece that repeats another's notes is" if use.copies == 1 else "pieces that repeat others' notes are"
        console.say(
            "split",
            f"{use.copies:,} {repeats} {copies[data.duplicates]}, as duplicates={data.duplicates} "
            f"{'says' if data.duplicates == 'drop' else 'asks'}",
        )
    if use.tests:
        console.say("split", f"leaves out test/, {console.counted(use.tests, 'piece')}")
    trained, held_out = (int((use.piece_use == side).sum()) for side in (shards.TRAINING, shards.VALIDATION))
    by = ", as their folders say" if use.by_folders else ""
    console.say("split", f"{console.counted(trained, 'piece')} to train and {held_out:,} to validate{by}")


def _learned(job: Job, found: Read, use: Use) -> Path:
    """The file of what was learned from the pieces that train."""
    chosen = settle.learned_from(found.pieces, use.piece_use, job.data.split_seed)
    places = found.pieces.places(chosen)
    keep = job.rows.keep_instruments
    path = job.work / f"learned-{_digest([places, [task.digest for task in found.lists], keep])}.json"
    trained = int((use.piece_use == shards.TRAINING).sum())
    if len(chosen) < trained:
        console.say("bins", f"learned from {len(chosen):,} of {trained:,} pieces, chosen by a hash of their names")
    notes = [str(read_task.notes_of(job.work, task)) for task in found.lists]
    requests = [] if path.exists() else [learn_task.request(notes, places, keep, path)]
    job.run("learning", functools.partial(runners.do, module="learn_task"), requests, [1] * len(requests), "sample")
    return path


def _encoded(job: Job, found: Read, use: Use, learned: Path) -> list[Shard]:
    """Writes the shards, those that are not there yet."""
    requests, sizes = [], []
    constants = learned.read_text()
    for number, (task, own) in enumerate(zip(found.lists, found.pieces.by_task(len(found.lists)), strict=True)):
        uses = use.piece_use[own].tolist()
        result = job.work / f"shard-{_digest([number, task.digest, uses, constants])}"
        requests.append(encode_task.request(job.work, task, job.output, number, uses, learned, result))
        sizes.append(len(uses))
    return encode(job, requests, sizes)


def encode(job: Job, requests: Sequence[dict[str, Any]], sizes: Sequence[int]) -> list[Shard]:
    """Writes the shards of some requests, but for those that are there; sizes: how many pieces each has."""
    left = [index for index, request in enumerate(requests) if not _is_written(request)]
    function = functools.partial(runners.do, module="encode_task")
    job.run("encoding", function, [requests[index] for index in left], [sizes[index] for index in left], "pieces")
    found = [encode_task.result(request["result"]) for request in requests]
    return [shard for shard in found if shard is not None]


def _is_written(request: Mapping[str, Any]) -> bool:
    """Whether the files of a shard are there, with the lengths that they had when they were written."""
    found, output = encode_task.result(request["result"]), Path(request["output"])
    with contextlib.suppress(OSError):
        return found is not None and all((output / name).stat().st_size == size for name, size in found.sizes.items())
    return False


def _finish(job: Job, found: Read, alike: np.ndarray, use: Use, learned: Path, written: Sequence[Shard]) -> Manifest:
    """Writes index, report and, last of all, the manifest; removes what is no longer needed."""
    shards.save_index(job.output / shards.INDEX, shards.joined([shard.part for shard in written]))
    tables = (read_task.rows(job.work, task) for task in found.lists)
    shard_report.write(job.output / shards.REPORT, tables, found.pieces, alike, use.piece_use)
    digests = {name: digest for shard in written for name, digest in shard.digests.items()}
    sizes = {name: size for shard in written for name, size in shard.sizes.items()}
    for name in (shards.INDEX, shards.REPORT):
        digests[name], sizes[name] = files.sha256(job.output / name), (job.output / name).stat().st_size
    constants = json.loads(learned.read_text())
    counts = {status: found.counts.of(status) for status in ("kept", "recovered", "skipped")}
    counts |= {"notes": found.counts.notes, "duplicates": use.dropped, "tests": use.tests}
    content = {name: digest for name, digest in digests.items() if shards.is_record_file(name)}
    identity = json.dumps([job.settings, constants, content], sort_keys=True)
    manifest = Manifest(
        settings=job.settings,
        learned=constants,
        counts=counts,
        columns=len(note_bins.from_saved(constants["bins"]).sizes),
        digests=digests,
        sizes=sizes,
        fingerprint=hashlib.sha256(identity.encode()).hexdigest(),
        source=job.data.source,
        listing=found.listing,
        versions=versions(),
    )
    shards.write_manifest(job.output, manifest)
    clean(job.output, sizes)
    return manifest


def clean(output: Path, names: Container[str]) -> None:
    """Removes from a folder of shards what is not of it: what an earlier start left half written, and the work."""
    for path in output.iterdir():
        if files.PARTIAL_NAME.fullmatch(path.name) or (shards.is_record_file(path.name) and path.name not in names):
            files.remove(path)
    files.remove(output / WORK)
