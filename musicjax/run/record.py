"""metrics.jsonl and TensorBoard. The only importer of the TensorBoard writer."""

from __future__ import annotations

import json
from pathlib import Path

from tensorboardX import SummaryWriter


class Recorder:
    """Appends the metrics of each epoch to the workdir; close it when done.

    What was recorded after `epoch` (by a run that was cut off before its checkpoint) is taken back.
    """

    def __init__(self, workdir: Path, epoch: int, step: int):
        path = workdir / "metrics.jsonl"
        kept = []
        if epoch and path.is_file():
            for line in path.read_text().splitlines():
                try:
                    if json.loads(line)["epoch"] <= epoch:
                        kept.append(line + "\n")
                except (ValueError, KeyError):  # a line that was cut off; its epoch is trained again
                    continue
        partial = path.with_suffix(".partial")
        partial.write_text("".join(kept))
        partial.replace(path)
        self._file = path.open("a")
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1 if epoch else None)

    def write(self, split: str, epoch: int, step: int, metrics: dict[str, float]) -> None:
        """One line {"split", "epoch" from 1, "step", ...} and one TensorBoard scalar for each metric."""
        self._file.write(json.dumps({"split": split, "epoch": epoch, "step": step, **metrics}) + "\n")
        self._file.flush()
        for name, value in metrics.items():
            self._board.add_scalar(f"{split}/{name}", value, step)
        self._board.flush()

    def close(self) -> None:
        self._file.close()
        self._board.close()
