"""metrics.jsonl and TensorBoard. The only importer of the TensorBoard writer."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar


class Recorder:
    """Appends the metrics of each epoch to the workdir; close it when done.

    What was recorded after `epoch` (by a run that was cut off before its checkpoint) is taken back.
    """

    def __init__(self, workdir: Path, epoch: int, step: int):
        path = workdir / "metrics.jsonl"
        kept = []
        if epoch and path.is_file():
            for line in path.read_text(errors="replace").splitlines():
                try:
                    if json.loads(line)["epoch"] <= epoch:
                        kept.append(line + "\n")
                except (ValueError, KeyError):  # a line that was cut off; its epoch is trained again
                    continue
        partial = path.with_suffix(".partial")
        partial.write_text("".join(kept))
        partial.replace(path)
        self._file = path.open("a")
        (workdir / "tensorboard").mkdir(exist_ok=True)
        # tensorboardX's SummaryWriter leaves events to a thread, which a killed run takes with it.
        self._board = EventsWriter(str(workdir / "tensorboard" / "events"), f".{os.getpid()}")
        self._board.write_event(
            Event(wall_time=time.time(), step=step + 1, session_log=SessionLog(status=SessionLog.START))
        )

    def write(self, split: str, epoch: int, step: int, metrics: dict[str, float]) -> None:
        """One line {"split", "epoch" from 1, "step", ...} and one TensorBoard scalar for each metric."""
        self._file.write(json.dumps({"split": split, "epoch": epoch, "step": step, **metrics}) + "\n")
        self._file.flush()
        for name, value in metrics.items():
            self._board.write_event(Event(wall_time=time.time(), step=step, summary=scalar(f"{split}/{name}", value)))
        self._board.flush()

    def close(self) -> None:
        self._file.close()
        self._board.close()
