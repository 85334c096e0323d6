"""A folder of shards that is finished: checks whether it is whole, and rewrites what is damaged."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from concurrent import futures
from pathlib import Path

from musicjax import console, cores, files
from musicjax.errors import RunError
from musicjax.shards import encode_task, shard_report, shards, sources, tasks, write_shards
from musicjax.shards.shard_job import MENDED, Job, require_same, versions
from musicjax.shards.shards import Manifest


def damaged(folder: Path, manifest: Manifest) -> list[str]:
    """The names of the files of a folder that are missing, or are not what was written."""
    names = [*manifest.digests]
    total = sum(manifest.sizes.values()) >> 20

    def is_whole(name: str) -> bool:
        with contextlib.suppress(OSError):
            path = folder / name
            return path.stat().st_size == manifest.sizes[name] and files.sha256(path) == manifest.digests[name]
        return False

    found, done = [], 0
    with (
        console.bar("checking", total, unit="MiB", rate=True) as update,
        futures.ThreadPoolExecutor(cores.usable()) as threads,
    ):
        for name, whole in zip(names, threads.map(is_whole, names), strict=True):
            found += [] if whole else [name]
            done += manifest.sizes[name]
            update(done >> 20)
    return found


def require_whole(folder: Path) -> Manifest:
    """What a folder of shards is; raises RunError if a file of it is missing or damaged."""
    manifest = shards.read_manifest(folder)
    found = damaged(folder, manifest)
    if found:
        raise shards.damaged(folder, manifest, _told(found))
    return manifest


def _told(found: Sequence[str]) -> str:
    others = f" and {console.counted(len(found) - 1, 'more file')} are" if len(found) > 1 else " is"
    return f"{found[0]}{others} missing or damaged"


def mend(job: Job) -> Manifest:
    """Checks a folder of shards and rewrites what is missing or damaged; says what it does.

    Raises:
        RunError: the folder holds another job's shards, or the source has other files by now.
    """
    there = shards.read_manifest(job.output)
    asked = {name: value for name, value in versions().items() if name != "musicjax"}
    require_same(
        job.output,
        {"settings": there.settings, "source": there.source, "versions": there.versions},
        {"settings": job.settings, "source": _source(job, there), "versions": asked},
    )
    found = damaged(job.output, there)
    if not found:
        console.say("shards", f"{job.output}: all of its {console.counted(len(there.digests), 'file')} are intact")
        write_shards.clean(job.output, there.sizes)
        _say_changed(job, there)
        return there
    console.say("shards", f"{job.output}: {_told(found)}; rewriting")
    if not all(map(shards.is_record_file, found)):  # what each piece is used for has to be found out again
        _require_listing(job, there)
        return _anew(job, there, found)
    with job.begun():
        return _rewritten(job, there, found)


def _source(job: Job, there: Manifest) -> str:
    """The source of a job: as the shards name it, if it holds files of the same names and sizes."""
    if sources.is_same(there.source, job.data.source):
        return there.source
    listing = sources.listed(job.data, job.output)
    return there.source if listing is not None and tasks.digest(listing) == there.listing else job.data.source


def _anew(job: Job, there: Manifest, found: Sequence[str]) -> Manifest:
    """Writes everything again elsewhere, and replaces what is damaged from there; what is sound stays."""
    again = dataclasses.replace(job, output=job.work / MENDED)
    made = write_shards.write(again)
    if made.fingerprint != there.fingerprint:
        raise _changed(job)
    _replace(again.output, job.output, found)
    # Another version of a library may write other bytes for the same report.
    digests = {**there.digests, **{name: made.digests[name] for name in found}}
    sizes = {**there.sizes, **{name: made.sizes[name] for name in found}}
    mended = dataclasses.replace(there, digests=digests, sizes=sizes)
    if mended != there:
        shards.write_manifest(job.output, mended)
    write_shards.clean(job.output, mended.sizes)
    return mended


def _replace(mended: Path, output: Path, names: Sequence[str]) -> None:
    """Moves files that are known to be right to their places, whatever is there."""
    for name in names:
        if (output / name).is_dir():
            files.remove(output / name)
        (mended / name).replace(output / name)


def _say_changed(job: Job, there: Manifest) -> None:
    """Says so if the source has other files by now, as far as their names and sizes tell it without opening any."""
    listing = sources.listed(job.data, job.output)
    if listing is not None and tasks.digest(listing) != there.listing:
        console.say(
            "shards",
            f"{job.data.source} has changed since these shards were written: its files have other names or sizes; to "
            "train on what it holds now, write shards into another --output",
        )


def _require_listing(job: Job, there: Manifest) -> None:
    """Raises RunError if the source has other files by now, by their names and sizes."""
    with job.begun(), write_shards.listed(job) as (_, listing):
        if listing != there.listing:
            raise _changed(job)


def _changed(job: Job) -> RunError:
    return RunError(
        f"shards {job.output}: a file is missing or damaged, and {job.data.source} no longer holds what they were "
        "written from; expected the same files; put them back, or write new shards into another --output"
    )


def _rewritten(job: Job, there: Manifest, found: Sequence[str]) -> Manifest:
    """Reads again the lists whose shards are damaged, and writes these shards."""
    numbers = sorted({shards.number_of(name) for name in found})
    with write_shards.listed(job) as (lists, listing):
        if listing != there.listing:
            raise _changed(job)
        write_shards.read(job, [lists[number] for number in numbers])
    learned = job.work / "learned.json"
    files.write(learned, json.dumps(there.learned))
    mended = job.work / MENDED
    mended.mkdir(exist_ok=True)
    requests, sizes = [], []
    for number in numbers:
        uses = shard_report.uses(job.output / shards.REPORT, number)
        result = job.work / f"shard-{number}"
        requests.append(encode_task.request(job.work, lists[number], mended, number, uses, learned, result))
        sizes.append(len(uses))
    written = write_shards.encode(job, requests, sizes)
    for shard in written:
        if any(there.digests[name] != digest for name, digest in shard.digests.items()):
            raise _changed(job)
    _replace(mended, job.output, [name for shard in written for name in shard.digests])
    write_shards.clean(job.output, there.sizes)
    return there
