"""A pool of reading processes: paths in, readings out, each file within a limit of time."""

from __future__ import annotations

import json
import math
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from musicjax import console, cores
from musicjax.corpus import worker
from musicjax.corpus.read import Options, Reading, skipped
from musicjax.errors import RunError
from musicjax.music.notes import Notes

# Starting a process costs about as much as reading this many files.
FILES_A_PROCESS = 8
# Room for the notes of a file, so that a process goes on while they wait (where the system can do that).
PIPE_BYTES = 2**20
VARIABLES = {
    # A worker multiplies no matrices, and each thread that would be ready for it reserves memory that counts.
    "OPENBLAS_NUM_THREADS": "1",
    # Linux' C library would give back the memory of each file, and get it again, page by page, for the next one.
    "MALLOC_TRIM_THRESHOLD_": str(2**26),
    "MALLOC_MMAP_THRESHOLD_": str(2**24),
}
# On Windows: Ctrl-C reaches the parent alone, and no process opens a window.
WINDOWS_FLAGS = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | getattr(subprocess, "CREATE_NO_WINDOW", 0)
# How often the pool looks for files that take too long.
WATCH_SECONDS = 0.05


def read_files(
    paths: Iterable[Path], workers: int, seconds_per_file: float, options: Options
) -> Iterator[tuple[Path, Reading, list[Notes]]]:
    """Yields (path, reading, pieces) of each file as it is done, in no fixed order.

    Args:
        paths: taken one by one, while those taken before are being read.
        workers: processes at most; 0: one for each core.
        seconds_per_file: the pool gives up on a file that takes longer, and ends its process; of an archive, on one
            whose reader has unpacked nothing for so long.
        options: how each file is read.

    Raises:
        RunError: a reading process cannot be started.
    """
    workers = workers or cores.usable()
    waiting: queue.SimpleQueue[Path | None] = queue.SimpleQueue()
    results: queue.SimpleQueue = queue.SimpleQueue()
    processes: list[_ReadingProcess] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(WATCH_SECONDS):
            for process in processes:
                process.kill_if_late()

    def work(process: _ReadingProcess) -> None:
        try:
            path = waiting.get()
            while path is not None:
                following = waiting.get()
                results.put((path, *process.read(path, following)))
                path = following
        except BaseException as error:
            results.put(error)
        finally:
            process.end()

    threading.Thread(target=watch, daemon=True).start()
    try:
        count = 0
        for path in paths:
            waiting.put(path)
            if not count and worker.resource is None:
                console.say_once(
                    "reading", "this system cannot limit a process's memory: a damaged file may take all of it"
                )
            if count % FILES_A_PROCESS == 0 and len(processes) < workers:
                processes.append(_ReadingProcess(seconds_per_file, options))
                threading.Thread(target=work, args=(processes[-1],), daemon=True).start()
            count += 1
        for _ in processes:
            waiting.put(None)
        for _ in range(count):
            result = results.get()
            if isinstance(result, BaseException):
                raise cannot_start(result) from result
            yield result
    finally:
        done.set()


class _ReadingProcess:
    """A `worker` process; one that a file kills, or that takes too long for a file, is replaced by another."""

    def __init__(self, seconds_per_file: float, options: Options):
        self._seconds_per_file = seconds_per_file
        self._options = options
        self._process: subprocess.Popen | None = None
        self._late_at = math.inf  # seconds of the monotonic clock
        self._timed_out = False
        self._lock = threading.Lock()  # so that no process is killed once its answer is there
        self._asked: Path | None = None  # the last file that it asked the process for

    def read(self, path: Path, following: Path | None) -> tuple[Reading, list[Notes]]:
        """The reading of a file. Already asks for the next one, so that the process never waits."""
        self._timed_out = False
        try:
            if self._asked != path:  # the first one, or the process that had it waiting is gone
                self._ask(path)
            if following is not None:
                self._ask(following)
            process = self._process
            assert process is not None and process.stdout is not None
            answer = None
            while answer is None:  # it is still unpacking an archive
                self._late_at = time.monotonic() + self._seconds_per_file
                answer = worker.receive(process.stdout)
            return answer
        except (EOFError, BrokenPipeError):
            self.end()
            if self._timed_out:
                return skipped("time_limit", f"not read within {self._seconds_per_file:g} s"), []
            return skipped("reader_died", "the reading process died on it"), []
        finally:
            with self._lock:
                self._late_at = math.inf
            if self._timed_out:  # also where the reply came just before
                self.end()

    def _ask(self, path: Path) -> None:
        process = self._process or self._start()
        assert process.stdin is not None
        request = {"path": str(path), "options": self._options, "seconds": self._seconds_per_file}
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except OSError as error:  # Windows calls it an invalid argument
            raise BrokenPipeError from error
        self._asked = path

    def kill_if_late(self) -> None:
        """Ends a process that is late, from another thread; `read` then finds it gone."""
        with self._lock:
            process = self._process
            if process is not None and time.monotonic() > self._late_at:
                self._timed_out = True
                process.kill()

    def end(self) -> None:
        """Kills the process, if there is one; the next file starts another."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = self._asked = None

    def _start(self) -> subprocess.Popen:
        self._process = start("musicjax.corpus.worker")
        return self._process


def cannot_start(error: BaseException) -> RunError:
    """The error of a process that cannot be started."""
    return RunError(
        f"a reading process could not be started: {error}; expected room for one more; "
        "close other programs, or use fewer with --config.data.workers=1"
    )


def start(module: str) -> subprocess.Popen:
    """Starts a module as a process that reads standard input and answers on standard output."""
    root = str(Path(__file__).parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pipesize=PIPE_BYTES,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **VARIABLES},
        creationflags=WINDOWS_FLAGS,
        start_new_session=True,  # so that Ctrl-C reaches the parent alone, which then closes the pipe
    )
