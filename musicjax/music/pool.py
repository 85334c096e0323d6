"""A pool of reading processes: paths in, outcomes out, each file within a time limit."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from musicjax.errors import RunError
from musicjax.music import reader
from musicjax.music.notes import Notes

# Starting a process costs about as much as reading this many files.
FILES_A_PROCESS = 8
# Outcomes of which another try may make something else, so that they are not remembered.
PASSING = ("time_limit", "reader_died")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_files(
    paths: list[Path], workers: int, seconds_per_file: float, percussion: bool
) -> Iterator[tuple[Path, reader.Reading, Notes | None]]:
    """Yields (path, outcome, notes or None) of each file as it is done, in no fixed order.

    Args:
        workers: processes; 0: one for each core.
        seconds_per_file: a file that takes longer is given up, with its process.
        percussion: see `midi.read`.

    Raises:
        RunError: a reading process cannot be started.
    """
    workers = min(workers or cores(), -(-len(paths) // FILES_A_PROCESS))
    waiting: queue.SimpleQueue[Path | None] = queue.SimpleQueue()
    results: queue.SimpleQueue = queue.SimpleQueue()
    for path in [*paths, *[None] * workers]:
        waiting.put(path)

    def work() -> None:
        process = _ReadingProcess(seconds_per_file, percussion)
        try:
            while (path := waiting.get()) is not None:
                results.put((path, *process.read(path)))
        except BaseException as error:
            results.put(error)
        finally:
            process.end()

    for _ in range(workers):
        threading.Thread(target=work, daemon=True).start()
    for _ in paths:
        result = results.get()
        if isinstance(result, BaseException):
            raise RunError(f"the reading process could not be run: {result}") from result
        yield result


class _ReadingProcess:
    """A `reader` process that is ended, and replaced, when a file takes too long or kills it."""

    def __init__(self, seconds_per_file: float, percussion: bool):
        self._seconds_per_file = seconds_per_file
        self._percussion = percussion
        self._process: subprocess.Popen | None = None

    def read(self, path: Path) -> tuple[reader.Reading, Notes | None]:
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None  # both are pipes
        timed_out = threading.Event()

        def give_up() -> None:
            timed_out.set()
            process.kill()

        timer = threading.Timer(self._seconds_per_file, give_up)
        timer.start()
        try:
            request = {"path": str(path), "percussion": self._percussion, "seconds": self._seconds_per_file}
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            return reader.receive(process.stdout)
        except (EOFError, OSError):
            self.end()
            if timed_out.is_set():
                return reader.Reading("time_limit", f"not read within {self._seconds_per_file:g} s"), None
            return reader.Reading("reader_died", "the reading process died on it"), None
        finally:
            timer.cancel()
            timer.join()
            if timed_out.is_set():  # also where the reply came just before
                self.end()

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> subprocess.Popen:
        root = str(Path(__file__).parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "musicjax.music.reader"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # Ctrl-C is for the parent alone, which then closes the pipe
        )
        return self._process
