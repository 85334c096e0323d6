"""metrics.jsonl and TensorBoard. The only importer of the TensorBoard writer."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from musicjax.run import metrics as metrics_lib

# Fields of a line that tell which trial it is of.
NAMES_OF_TRIALS = ("trial", "seed", "dropout")


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

    def write(self, split: str, epoch: int, step: int, lines: list[dict[str, float]]) -> None:
        """For each trial a line {"split", "epoch" from 1, "step", ...}; for each metric's mean a TensorBoard scalar."""
        for metrics in lines:
            self._file.write(json.dumps({"split": split, "epoch": epoch, "step": step, **metrics}) + "\n")
        self._file.flush()
        for name, value in metrics_lib.means(lines).items():
            if name not in NAMES_OF_TRIALS:
                event = Event(wall_time=time.time(), step=step, summary=scalar(f"{split}/{name}", value))
                self._board.write_event(event)
        self._board.flush()

    def close(self) -> None:
        self._file.close()
        self._board.close()
