"""A file that ended the process that read it -> its sha256, by another process, because its bytes may never come."""

from __future__ import annotations

import contextlib
import os

from musicjax import files
from musicjax.shards.runners import Died, TaskProcess

# A file whose bytes come more slowly is given up.
LEAST_BYTES_A_SECOND = 2**24


def sha256(process: TaskProcess, path: str, seconds: float) -> str:
    """The sha256 of a file; empty if it cannot be read within these seconds and those that its size takes."""
    with contextlib.suppress(OSError, Died):
        return process.do_again("hash_task", {"path": path}, seconds + os.path.getsize(path) / LEAST_BYTES_A_SECOND)
    return ""


def work(task: dict[str, str]) -> str:
    """The sha256 of the task's file."""
    return files.sha256(task["path"])
