"""Sharding a large folder: files/s of each stage beside the reader's own rate, peak memory, runs that are killed.

    python -m benchmarks.large --data=DIR [--part=ingest] [--config=events] [--processes=2] [--repeats=3] [--kills=0]
                               [--save]

The reader's own rate is that of --processes processes that share the files of DIR and do nothing with the notes. It is
measured in turns with `musicjax data --output`. All times include starting the processes. Peak memory is that of each
process, as Linux reports it, polled while it runs. Then a run is killed --kills times at random moments, its child
processes left to themselves, and its shards are compared byte for byte. Prints a table and, as its last line, one JSON
object. `python -m benchmarks.stand_in` makes a folder of any size.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import contestants
from benchmarks.contestants import ratio
from musicjax import config_files
from musicjax.corpus import pool
from musicjax.encodings import shard_rows
from musicjax.shards import runners, shard_job, tasks, write_shards

PARTS = ("ingest",)
LOOK_SECONDS = 0.05
STAGES = ("reading", "comparing", "learning", "encoding")


# A process that reads some of the files of a list, and does nothing with the notes.
READ_ALONE = """
import sys
from musicjax.corpus.read import Options, read_file
for path in open(sys.argv[1]).read().splitlines()[int(sys.argv[2]) :: int(sys.argv[3])]:
    read_file(path, Options())
"""


class _Timed(shard_job.Job):
    """A job that notes when its stages begin and end."""

    def run(self, label: str, function: Any, requests: Sequence[Any], sizes: Sequence[int], unit: str) -> None:
        began = time.perf_counter()
        super().run(label, function, requests, sizes, unit)
        print(json.dumps({label: time.perf_counter() - began}), flush=True)


def write(data: str, output: str, config_name: str, processes: int) -> None:
    """A process that writes shards and prints the seconds of each stage."""
    config = config_files.load(config_name)
    config.data.source, config.data.duplicates, config.data.workers = data, "drop", processes
    with runners.started("local", processes) as runner:
        write_shards.write(_Timed(config.data, shard_rows.of(config), Path(output), runner))


def _start(code: str, *argv: object) -> subprocess.Popen:
    """Starts some code as a process, with the settings of a reading process."""
    command = [sys.executable, "-c", code, *map(str, argv)]
    environment = {**os.environ, **pool.VARIABLES}
    # In its own session, like a reading process, because Linux may divide processor time by session.
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        start_new_session=True,
    )


def _start_write(*argv: object) -> subprocess.Popen:
    return _start(f"from benchmarks import large; large.write{argv!r}")


@contextlib.contextmanager
def _watched(process: subprocess.Popen) -> Iterator[dict[str, float]]:
    """Yields the peak memory, MB of 2^20 bytes, of a process ("parent") and of the largest of those it starts
    ("child")."""
    peaks = {"parent": 0.0, "child": 0.0}
    done = threading.Event()

    def look() -> None:
        while not done.wait(LOOK_SECONDS):
            for pid, name in [(process.pid, "parent"), *((child, "child") for child in _children(process.pid))]:
                with contextlib.suppress(OSError, ValueError, IndexError):
                    status = Path(f"/proc/{pid}/status").read_text()
                    peaks[name] = max(peaks[name], int(status.split("VmHWM:")[1].split()[0]) / 2**10)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        done.set()
        thread.join()


def _children(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        for path in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (path / "children").read_text().split()]
    return found + [one for child in found for one in _children(child)]


def own_rate(listed: Path, processes: int) -> dict[str, float]:
    """Seconds in which this many processes read the files of a list, and the peak memory of the largest."""
    began = time.perf_counter()
    started = [_start(READ_ALONE, listed, first, processes) for first in range(processes)]
    with contextlib.ExitStack() as stack:
        peaks = [stack.enter_context(_watched(process)) for process in started]
        for process in started:
            process.communicate()
        seconds = time.perf_counter() - began
    if any(process.returncode for process in started):
        raise RuntimeError("a process that reads alone failed")
    return {"seconds": seconds, "peak_mb": max(peak["parent"] for peak in peaks)}


def ingest(data: str, output: Path, config: str, processes: int) -> dict[str, Any]:
    """Seconds of writing shards, in all and by stage, and peak memory of its processes."""
    began = time.perf_counter()
    process = _start_write(data, str(output), config, processes)
    with _watched(process) as peaks:
        told, _ = process.communicate()
        seconds = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"writing shards of {data} ended with status {process.returncode}")
    stages: dict[str, float] = {}
    for line in told.splitlines():
        stages |= json.loads(line)
    return {"seconds": seconds, "stages": stages, "peak_mb": peaks}


def digest_of(folder: Path) -> str:
    """sha256 over the names and the bytes of all files of a folder."""
    found = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        found.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def killed(data: str, output: Path, config: str, processes: int, kills: int, seconds: float) -> list[float]:
    """When runs were killed, in seconds; the last run may end. seconds: how long an undisturbed run takes."""
    moments: list[float] = []
    for _ in range(kills):
        moments.append(round(random.Random(f"{data} {len(moments)}").uniform(0.5, 0.8 * seconds), 2))
        process = _start_write(data, str(output), config, processes)
        try:
            process.wait(moments[-1])
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
    ingest(data, output, config, processes)
    return moments


def main() -> None:
    asked = contestants.arguments(__doc__, data="", part="ingest", config="events", processes=2, repeats=3, kills=0)
    if asked.part not in PARTS:
        raise SystemExit(f"--part={asked.part}: expected {' or '.join(PARTS)}")
    if not Path(asked.data).is_dir():
        raise SystemExit(f"--data={asked.data}: expected a folder of MIDI files")
    with tempfile.TemporaryDirectory(dir=".") as folder:
        result = _ingest_part(asked, Path(folder).absolute())
    contestants.finish("ingest_large", result, asked.save)


def _ingest_part(asked: Any, folder: Path) -> dict[str, Any]:
    """The figures of making shards; prints them as a table."""
    data = str(Path(asked.data).absolute())
    listing = tasks.listing(Path(data), None, folder)
    listed = folder / "files"
    listed.write_text("\n".join(os.path.join(listing.root, name) for name in listing.names))
    count, size = len(listing.names), int(listing.sizes.sum())
    own: list[dict[str, float]] = []
    made: list[dict[str, Any]] = []
    for repeat in range(asked.repeats):
        own.append(own_rate(listed, asked.processes))
        made.append(ingest(data, folder / f"shards{repeat}", asked.config, asked.processes))
        print(f"{repeat + 1} of {asked.repeats}  own {own[-1]}, shards {made[-1]}", file=sys.stderr, flush=True)
    moments: list[float] = []
    if asked.kills:
        moments = killed(data, folder / "killed", asked.config, asked.processes, asked.kills, made[-1]["seconds"])
    digests = {digest_of(path) for path in folder.iterdir() if path.is_dir()}
    seconds = {"own": float(np.median([one["seconds"] for one in own]))}
    seconds |= {stage: float(np.median([one["stages"].get(stage, 0.0) for one in made])) for stage in STAGES}
    seconds["whole"] = float(np.median([one["seconds"] for one in made]))
    rates = {name: round(count / value, 1) if value else None for name, value in seconds.items()}
    print(f"{'stage':<12}{'seconds':>10}{'files/s':>10}{'x own':>8}")
    for name, value in seconds.items():
        print(f"{name:<12}{value:>10.2f}{rates[name] or 0:>10.0f}{ratio(rates[name], rates['own']) or 0:>8.2f}")
    peaks = {name: round(max(one["peak_mb"][name] for one in made), 1) for name in ("parent", "child")}
    print(f"peak memory, MB: parent {peaks['parent']}, largest child {peaks['child']}")
    print(f"killed at {moments} s: {'the same bytes' if len(digests) == 1 else 'OTHER BYTES'}")
    written = folder / "shards0"
    return {
        "read_vs_own": ratio(rates["reading"], rates["own"]),
        "whole_vs_own": ratio(rates["whole"], rates["own"]),
        "files": count,
        "source_bytes": size,
        "shard_bytes": sum(path.stat().st_size for path in written.iterdir()),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "files_per_second": rates,
        "peak_mb": peaks,
        "killed_at_seconds": moments,
        "same_bytes": len(digests) == 1,
        "runs": {"own": own, "shards": made},
        "settings": {"processes": asked.processes, "repeats": asked.repeats, "config": asked.config},
    }


if __name__ == "__main__":
    main()
