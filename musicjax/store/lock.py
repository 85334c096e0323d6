"""Locks between processes: only one trains in a workdir, and no checkpoint is removed while it is read.

They are the operating system's (flock), which releases them when a process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from musicjax import console
from musicjax.errors import RunError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = "lock"
# How long to wait for the holder of a lock to write who it is.
PATIENCE_S = 1.0


class Taken(RunError):
    """Another process has the lock."""


class Gone(Exception):
    """The folder to be read is no longer there."""


@contextlib.contextmanager
def held(workdir: Path) -> Iterator[None]:
    """Makes the workdir and keeps it for this process alone; at the end removes it if nothing was written into it.

    Raises:
        Taken: another process, which the message names, trains there.
        RunError: the workdir cannot be written.
    """
    path = workdir / NAME
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        handle = _taken(path)
    except BlockingIOError as error:
        raise Taken(
            f"workdir {workdir} is in use: {_holder(path)} trains in it; wait until it ends, or use another --workdir"
        ) from error
    except OSError as error:
        raise RunError(f"workdir {workdir} cannot be written: {error.strerror}; name another --workdir=DIR") from error
    try:
        yield
    finally:
        if fcntl is None:  # such a system removes no open file
            os.close(handle)
        # Removed while the lock is held, so that it is never another process's file.
        with contextlib.suppress(OSError):
            path.unlink()
        if fcntl is not None:
            os.close(handle)
        with contextlib.suppress(OSError):
            workdir.rmdir()


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Keeps the folder from being removed: `removing` yields False meanwhile.

    Raises:
        Gone: it was removed, or another folder has its name by now.
    """
    if fcntl is None:
        yield
        return
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError as error:
        raise Gone(str(folder)) from error
    try:
        # Some network file systems have no locks; a reader there looks again if files go missing.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)
        if not _is_still(handle, folder):
            raise Gone(str(folder))
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def removing(folder: Path) -> Iterator[bool]:
    """Yields whether nobody is reading the folder; if so, new readers wait meanwhile."""
    if fcntl is None:
        yield True
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        except OSError:  # a file system without locks
            yield True
        else:
            yield True
    finally:
        os.close(handle)


@contextlib.contextmanager
def kept(
    path: Path, said: str, taken: str, advice: str = "use that one, or another --workdir", flag: str = "workdir"
) -> Iterator[None]:
    """Keeps a lock file of another kind for this process alone.

    Args:
        said: who keeps it, as the file is to say; empty: this process.
        taken: what is wrong if another process has it.
        advice: what to do then.
        flag: what names the folder of the file.

    Raises:
        Taken: another process has it.
        RunError: the file cannot be written.
    """
    try:
        handle = _taken(path, said)
    except BlockingIOError as error:
        raise Taken(f"{taken}: {_holder(path)}; {advice}") from error
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}; name another --{flag}=DIR") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(handle)


def holder(workdir: Path) -> int | None:
    """The number of the process on this machine that trains in a workdir; None if none does.

    The lock is tried only if its process exists, so that a process about to take it finds it free.
    """
    path = workdir / NAME
    try:
        pid, host = re.fullmatch(r"process (\d+) on (.*)\n", path.read_text(errors="replace")).groups()  # type: ignore[union-attr]
        if host != socket.gethostname():
            return None
        os.kill(int(pid), 0)
        return int(pid) if is_held(path) else None
    except (OSError, AttributeError, ValueError, OverflowError):
        return None


def is_held(path: Path) -> bool:
    """Whether another process holds the lock of this file; assumes so where a system has no locks."""
    if fcntl is None:
        return True
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return True
    finally:
        os.close(handle)
    return False


def _taken(path: Path, said: str = "") -> int:
    """An open file that holds the lock; raises BlockingIOError if another process has it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            _lock(handle, path)
            if _is_still(handle, path):
                os.truncate(handle, 0)
                own = said or f"process {os.getpid()} on {socket.gethostname()}"
                os.write(handle, f"{own}\n".encode())
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its last holder has just removed it


def _lock(handle: int, path: Path) -> None:
    if fcntl is None:
        console.say("lock", f"{path} cannot be locked on this system; make sure that nothing else trains there")
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        console.say("lock", f"{path} cannot be locked: {error.strerror}; make sure that nothing else trains there")


def _is_still(handle: int, path: Path) -> bool:
    """Whether the path still names the file that was opened."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    """Who holds the lock, as its file says; a process that has just taken it writes that a moment later."""
    until = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(OSError):
            if said := console.printable(path.read_text(errors="replace")[:200].strip()):
                return said
        if time.monotonic() > until:
            return "another process"
        time.sleep(PATIENCE_S / 50)
