"""Tasks on the machines of a Ray cluster, or on this one. The only importer of Ray."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from textwrap import shorten
from typing import Any, TypeVar

from musicjax.errors import RunError, UsageError
from musicjax.version import __version__

Task = TypeVar("Task")
Result = TypeVar("Result")
PACKAGE = "musicjax[large,ray]"
RETRIES, CONNECT_SECONDS = 3, 10.0


def results(function: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[tuple[int, Result]]:
    """Yields (index of a task, what the function makes of it) as tasks are done, in no fixed order.

    RAY_ADDRESS names the cluster; without it, one is started on this machine and ended after the last result. A task
    whose process or machine is lost runs again, RETRIES times at most; one that raises does not.

    Args:
        function: pure, with a name by which each machine can import it.
        tasks: as each costs some milliseconds, one should take a second or more.
        workers: tasks at once, each on a core of its own; 0: one for each core of the cluster.

    Raises:
        UsageError: Ray is not installed.
        RunError: its cluster cannot be used or lost a task, or a machine has another musicjax.
    """
    try:
        import ray
    except ImportError:
        raise UsageError(
            f"--runner=ray needs the package ray: expected it to be installed; pip install '{PACKAGE}'"
        ) from None
    with _cluster(ray, workers):
        call = ray.remote(_call_anywhere(ray)).options(num_cpus=1, max_retries=RETRIES)
        most = workers or max(int(ray.cluster_resources().get("CPU", 1)), 1)
        held, waiting = [ray.put(function)], iter(enumerate(tasks))  # in a list, Ray leaves it packed
        running: dict[Any, int] = {}
        while True:
            while len(running) < most and (following := next(waiting, None)):
                running[call.remote(held, __version__, following[1])] = following[0]
            if not running:
                return
            (done, *_), _ = ray.wait(list(running))
            index = running.pop(done)
            try:
                machine, version, result = ray.get(done)
            except ray.exceptions.RayError as error:
                if isinstance(error, ray.exceptions.RayTaskError):
                    raise error.cause or error from error
                lost = f"task {index} was lost {RETRIES + 1} times with its process; perhaps it had too little memory:"
                raise RunError(f"{lost} {shorten(str(error), 300)}") from error
            if version != __version__:
                found = f"{machine} has {f'musicjax {version}' if version else 'no musicjax'}: expected {__version__}"
                raise RunError(f"{found}; run pip install '{PACKAGE}=={__version__}' there")
            yield index, result


def _call_anywhere(ray: Any) -> Callable[[list[Any], str, Any], tuple[str, str, Any]]:
    """A call that also runs where there is no musicjax, since Ray sends the code of a function inside another."""

    def call(held: list[Any], expected: str, task: Any) -> tuple[str, str, Any]:
        """(machine, its version of musicjax, the result if that is the expected version)."""
        try:
            from musicjax.version import __version__ as version
        except ImportError:
            version = ""
        return socket.gethostname(), version, ray.get(held[0])(task) if version == expected else None

    return call


@contextlib.contextmanager
def _cluster(ray: Any, workers: int) -> Iterator[None]:
    """Joins the cluster or starts one, and leaves or ends it."""
    address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that is started here tells its makers nothing
    local = {"address": "local", "num_cpus": workers or None, "include_dashboard": False}
    try:
        handler = signal.getsignal(signal.SIGTERM)
        if host and port.isdecimal():  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        ray.init(**({"address": address} if address else local), log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        where = f"RAY_ADDRESS={address}: " if address else ""
        raise RunError(f"{where}no Ray cluster can be used: {shorten(str(error), 300)}") from error
    try:
        with contextlib.suppress(ValueError):  # no main thread, and Ray has not set its own there
            signal.signal(signal.SIGTERM, handler)
        yield
    finally:
        ray.shutdown()
