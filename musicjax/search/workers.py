"""Which processes work on a search: each keeps a file that it locks and touches, and whose name says where it runs.

The lock of a process on this machine goes with the process, however it ends. One on another machine counts as gone when
its file has not been touched for a while, by the clock of whoever looks, so that clocks need not agree.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from musicjax.store import lock

FOLDER = "workers"
# How often a file is touched, and how long it may stay untouched.
BEAT_S, SILENT_S = 5.0, 60.0


class Workers:
    """The processes of one search, as this one sees them."""

    def __init__(self, workdir: Path):
        self._folder = workdir / FOLDER
        self.own = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(2).hex()}"
        self._seen: dict[str, tuple[float | None, float]] = {}  # the time of a file, and since when it is seen

    @contextlib.contextmanager
    def present(self) -> Iterator[None]:
        """This process is one of them meanwhile; raises OSError or RunError if its file cannot be written."""
        self._folder.mkdir(exist_ok=True)
        self._remove_gone()
        path, ended = self._folder / self.own, threading.Event()

        def beat() -> None:
            while not ended.wait(BEAT_S):
                with contextlib.suppress(OSError):
                    os.utime(path)

        with lock.kept(path, self.own, f"{path} is another process's"):
            thread = threading.Thread(target=beat, daemon=True)
            thread.start()
            try:
                yield
            finally:
                ended.set()
                thread.join()

    def is_alive(self, name: str) -> bool:
        """Whether a process still works."""
        path = self._folder / name
        if name == self.own:
            return True
        touched = _touched(path)
        if name.rsplit("-", 2)[0] == socket.gethostname() and (touched is None or not _is_held(path)):
            return False
        before, since = self._seen.get(name, (None, 0.0))
        if name not in self._seen or before != touched:
            since = time.monotonic()
            self._seen[name] = touched, since
        return time.monotonic() - since < SILENT_S

    def others(self) -> int:
        """How many other processes work here."""
        with contextlib.suppress(FileNotFoundError):
            return sum(self.is_alive(path.name) for path in self._folder.iterdir() if path.name != self.own)
        return 0

    def _remove_gone(self) -> None:
        """Removes the files of processes that were killed here."""
        for path in self._folder.iterdir():
            if not self.is_alive(path.name):
                path.unlink(missing_ok=True)


def _is_held(path: Path) -> bool:
    """Whether a process on this machine still has its file, which it may remove meanwhile."""
    try:
        return lock.is_held(path)
    except FileNotFoundError:
        return False


def _touched(path: Path) -> float | None:
    """When a file was touched; None if it is not there. It is opened, since network file systems then look again."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return None
