"""Who does the tasks of writing shards: processes of this machine, or those of a Ray cluster.

A task is a dict of JSON values, and so is its result. What is large lies in files, which all machines share.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from musicjax import cores
from musicjax.corpus import pool
from musicjax.errors import RunError
from musicjax.shards import task_process
from musicjax.shards.task_process import STARTED

RUNNERS = ("local", "ray")
# How long a process may take to start. One alone needs far less, but one for each core starts at the same time.
START_SECONDS = 120.0
# What a task is done with: a process, and the task.
Function = Callable[["TaskProcess", dict[str, Any]], Any]


class Died(Exception):
    """A process ended before its task did.

    Attributes:
        is_late: whether it was ended because it took too long.
        status: its exit status, or minus the signal that ended it; None: it ran out of memory.
    """

    def __init__(self, is_late: bool, status: int | None):
        super().__init__("the process took too long" if is_late else "the process died")
        self.is_late, self.status = is_late, status


class Stopped(Exception):
    """Nobody waits for the task any more."""


class TaskProcess:
    """A `task_process` that starts when it is needed, and again after it has died.

    Args:
        start_seconds: a process that has not started by then is ended.
    """

    def __init__(self, start_seconds: float = START_SECONDS) -> None:
        self._start_seconds = start_seconds
        self._process: subprocess.Popen | None = None
        self._is_late = self._is_stopped = False
        self._lock = threading.Lock()  # so that no process is killed once its answer is there
        self._seconds, self._pulse = math.inf, _nothing
        self._heard, self._heard_at = 0, 0.0  # the last pulse; seconds of the monotonic clock

    def do(
        self, module: str, task: dict[str, Any], seconds: float = math.inf, pulse: Callable[[], int] | None = None
    ) -> Any:
        """The result of `work` of a module of tasks.

        Args:
            seconds: the process is ended if its pulse stays the same for so long.
            pulse: a number that changes as the task goes on.

        Raises:
            Died: the process ended, or was ended.
            Stopped: by `stop`.
            OSError, UsageError, RunError: the task raised it.
        """
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        with self._lock:
            self._is_late, self._seconds, self._pulse = False, seconds, pulse or _nothing
            self._heard_at = time.monotonic()
        try:
            process.stdin.write(json.dumps({"module": module, "task": task}).encode() + b"\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            if not answer.endswith(b"\n"):
                raise EOFError
        except (EOFError, OSError) as error:
            self.end()
            if self._is_stopped:
                raise Stopped from error
            raise Died(self._is_late, process.returncode) from error
        finally:
            with self._lock:
                self._seconds, self._pulse = math.inf, _nothing
        if self._is_late:  # the answer came just before
            self.end()
        found = json.loads(answer)
        try:
            return task_process.result(found)
        except MemoryError as error:
            self.end()  # what it holds by now is not given back
            raise Died(False, None) from error

    def do_again(
        self, module: str, task: dict[str, Any], seconds: float = math.inf, pulse: Callable[[], int] | None = None
    ) -> Any:
        """`do`, and once more if the process ended before its time was up: something else may have ended it."""
        try:
            return self.do(module, task, seconds, pulse)
        except Died as error:
            if error.is_late:
                raise
        return self.do(module, task, seconds, pulse)

    def end(self) -> None:
        """Ends the process, if there is one."""
        with self._lock:  # so that `stop` finds no process half gone
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def stop(self) -> None:
        """Ends the process for good, from another thread than the one that uses it."""
        with self._lock:
            self._is_stopped = True
            if self._process is not None:
                self._process.kill()

    def _start(self) -> subprocess.Popen:
        with self._lock:  # so that `stop` finds every process
            if self._is_stopped:
                raise Stopped
            try:
                process = self._process = pool.start("musicjax.shards.task_process")
            except OSError as error:
                raise pool.cannot_start(error) from error
            self._is_late, self._seconds, self._heard_at = False, self._start_seconds, time.monotonic()
        threading.Thread(target=self._watch, args=(process,), daemon=True).start()
        assert process.stdout is not None
        said = process.stdout.read(len(STARTED))
        with self._lock:
            self._seconds = math.inf
        if said == STARTED and not self._is_late:
            return process
        self.end()
        if self._is_stopped:
            raise Stopped
        if self._is_late:
            raise RunError(
                f"a process of musicjax did not start within {self._start_seconds:g} s; something stops it, or the "
                "system is too busy; start again with fewer at once, --config.data.workers=1"
            )
        raise RunError(
            "a process of musicjax ended as it started, perhaps for lack of memory; its own message is above"
        )

    def _watch(self, process: subprocess.Popen) -> None:
        """Ends a process that takes too long; returns once it has ended."""
        while process.poll() is None:
            time.sleep(pool.WATCH_SECONDS)
            with self._lock:
                if self._is_over() and process is self._process:
                    self._is_late = True
                    process.kill()

    def _is_over(self) -> bool:
        """Whether the pulse has been the same for too long."""
        if self._seconds == math.inf:
            return False
        pulse, now = self._pulse(), time.monotonic()
        if pulse != self._heard:
            self._heard, self._heard_at = pulse, now
        return now - self._heard_at > self._seconds


def _nothing() -> int:
    return 0


def do(process: TaskProcess, task: dict[str, Any], module: str) -> Any:
    """A task of a module whose process is not expected to die.

    Raises:
        RunError: it did.
        OSError, UsageError, RunError: the task raised it.
    """
    try:
        return process.do(module, task)
    except Died as error:
        raise RunError(task_process.how_it_ended(error.status, module.replace("_", " "))) from error


class Runner(Protocol):
    """Who does tasks."""

    def results(self, function: Function, tasks: Sequence[dict[str, Any]]) -> Iterator[tuple[int, Any]]:
        """Yields (index of a task, its result) as they are done, in no fixed order.

        Args:
            function: a function of a module, which a cluster finds by its name, or a partial of one.

        Raises:
            RunError: a process cannot be started.
            Whatever a task raises.
        """
        ...


@contextlib.contextmanager
def started(name: str, workers: int) -> Iterator[Runner]:
    """One of RUNNERS, which may keep processes until the block ends.

    Args:
        workers: tasks at once, at most; 0: one for each core.
    """
    if name == "ray":
        yield _Ray(workers)
        return
    local = _Local([TaskProcess() for _ in range(workers or cores.usable())])
    try:
        yield local
    finally:
        for process in local.processes:
            process.end()


@dataclasses.dataclass
class _Ray:
    """The processes of a Ray cluster, each with another one beside it that files may end."""

    workers: int

    def results(self, function: Function, tasks: Sequence[dict[str, Any]]) -> Iterator[tuple[int, Any]]:
        from musicjax.shards import ray_runner  # few have a cluster, and its library takes seconds to import

        return ray_runner.results(functools.partial(alone, function), tasks, self.workers)


@functools.cache
def _own_process() -> TaskProcess:
    return TaskProcess()


def alone(function: Function, task: dict[str, Any]) -> Any:
    """A task done with one process beside this one, which stays for the next task."""
    return function(_own_process(), task)


@dataclasses.dataclass
class _Local:
    """Processes of this machine. While tasks are done, each has a thread here that waits for it."""

    processes: list[TaskProcess]

    def results(self, function: Function, tasks: Sequence[dict[str, Any]]) -> Iterator[tuple[int, Any]]:
        waiting: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        done: queue.SimpleQueue = queue.SimpleQueue()
        processes = self.processes[: len(tasks)]
        for index in [*range(len(tasks)), *[None] * len(processes)]:
            waiting.put(index)
        is_over = threading.Event()

        def work(process: TaskProcess) -> None:
            try:
                while (index := waiting.get()) is not None and not is_over.is_set():
                    done.put((index, function(process, tasks[index])))
            except BaseException as error:
                done.put(error)

        threads = [threading.Thread(target=work, args=(process,), daemon=True) for process in processes]
        for thread in threads:
            thread.start()
        is_done = False
        try:
            for _ in tasks:
                found = done.get()
                if isinstance(found, BaseException):
                    raise found
                yield found
            is_done = True
        finally:
            is_over.set()
            for process in processes:
                if not is_done:
                    process.stop()
            for thread in threads:
                thread.join()
