"""The learning curve of a training, read from its metrics.jsonl."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LAST_EPOCHS = 5  # whose time tells how long the rest takes
MOST_EPOCHS, MOST = 10**9, 1e30  # a larger number, or none, comes from a damaged file


@dataclass
class Curve:
    """What metrics.jsonl told so far; `refreshed` reads on from there."""

    read_bytes: int = 0
    identity: tuple[int, int] = (0, 0)
    points: dict[int, dict[str, Any]] = field(default_factory=dict)  # by epoch
    seconds: list[float] = field(default_factory=list)
    windows_per_second: float = 0.0

    @property
    def epoch(self) -> int:
        """The last epoch that was validated."""
        return max((epoch for epoch, point in self.points.items() if point["valid"] is not None), default=0)

    def shown(self) -> list[dict[str, Any]]:
        """The points in order."""
        return [self.points[epoch] for epoch in sorted(self.points)]


def refreshed(curve: Curve, path: Path) -> Curve:
    """The curve with what was written since; a new one if the file is another one or has become shorter."""
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            identity = (status.st_dev, status.st_ino)
            if identity != curve.identity or status.st_size < curve.read_bytes:
                curve = Curve(identity=identity)
            if status.st_size == curve.read_bytes:
                return curve
            stream.seek(curve.read_bytes)
            whole, newline, _ = stream.read().rpartition(b"\n")
    except OSError:
        return Curve()
    curve.read_bytes += len(whole) + len(newline)
    for line in whole.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError, RecursionError):
            _take(curve, json.loads(line))
    return curve


def _take(curve: Curve, line: dict[str, Any]) -> None:
    epoch, split, loss = int(line["epoch"]), line["split"], float(line["loss"])
    if not 0 <= epoch <= MOST_EPOCHS:
        return
    point = curve.points.setdefault(epoch, {"epoch": epoch, "train": None, "valid": None})
    if split in ("train", "valid") and abs(loss) < MOST:
        point[split] = round(loss, 5)
    if split == "train":
        seconds, windows_per_second = float(line["seconds"]), float(line["windows_per_second"])
        if abs(seconds) < MOST and abs(windows_per_second) < MOST:
            curve.seconds = [*curve.seconds, seconds][-LAST_EPOCHS:]
            curve.windows_per_second = windows_per_second
