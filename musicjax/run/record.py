"""metrics.jsonl and TensorBoard. The only importer of the TensorBoard writer."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from musicjax.errors import RunError
from musicjax.run import disk
from musicjax.run import metrics as metrics_lib

# Fields of a line that tell which trial it is of.
NAMES_OF_TRIALS = ("trial", "seed", "dropout")


class Recorder:
    """Appends the metrics of each epoch to the workdir; close it when done.

    What was recorded after `epoch` (by a run that was cut off before its checkpoint) is taken back.

    Raises:
        RunError: here and in `write`, if that cannot be done; metrics.jsonl then holds whole lines all the same.
    """

    def __init__(self, workdir: Path, epoch: int, step: int):
        self._workdir = workdir
        path = workdir / "metrics.jsonl"
        with self._told():
            lines = path.read_text(errors="replace").splitlines() if epoch and path.is_file() else []
            disk.write(path, "".join(line + "\n" for line in lines if _is_of(line, epoch)))
            # Without a buffer, so that nothing is left over from a write that failed.
            self._file = path.open("ab", buffering=0)
            self._size = path.stat().st_size
            (workdir / "tensorboard").mkdir(exist_ok=True)
            # tensorboardX's SummaryWriter leaves events to a thread, which a killed run takes with it.
            self._board = EventsWriter(str(workdir / "tensorboard" / "events"), f".{os.getpid()}")
            self._board.write_event(
                Event(wall_time=time.time(), step=step + 1, session_log=SessionLog(status=SessionLog.START))
            )

    def write(self, split: str, epoch: int, step: int, lines: list[dict[str, float]]) -> None:
        """For each trial a line {"split", "epoch" from 1, "step", ...}; for each metric's mean a TensorBoard scalar."""
        records = [json.dumps({"split": split, "epoch": epoch, "step": step, **metrics}) + "\n" for metrics in lines]
        with self._told():
            self._append("".join(records).encode())
            for name, value in metrics_lib.means(lines).items():
                if name not in NAMES_OF_TRIALS:
                    event = Event(wall_time=time.time(), step=step, summary=scalar(f"{split}/{name}", value))
                    self._board.write_event(event)
            self._board.flush()

    def sync(self) -> None:
        """Returns when the lines are on the disk: a checkpoint must not be there without them."""
        with self._told():
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Nothing is recorded after it."""
        self._file.close()
        with contextlib.suppress(OSError):  # every write has been flushed; what failed then was told then
            self._board.close()

    def _append(self, data: bytes) -> None:
        try:
            written = self._file.write(data)
            if written != len(data):  # the disk is full in the middle of a line
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)
            raise
        self._size += len(data)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(
                f"metrics cannot be recorded in {self._workdir}: {error.strerror or error}; see to space and rights "
                "there and start again: the run goes on after the last epoch that was saved"
            ) from error


def _is_of(line: str, epoch: int) -> bool:
    """Whether a line is of a finished epoch. One that was cut off is not; its epoch is trained again."""
    try:
        return json.loads(line)["epoch"] <= epoch
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
