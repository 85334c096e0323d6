"""Trainings: processes of their own, which outlive the studio, and what they are doing by what they write.

A run is a folder below the studio's. Whoever started it, its state is read from its files alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musicjax.errors import RunError, UsageError
from musicjax.store import lock
from musicjax.studio import processes

# What lies in the folder of a run, whatever state it is in.
MARKS = ("metrics.jsonl", "config.json", "trials.jsonl", "checkpoints", lock.NAME)
LAST_EPOCHS = 5  # whose time tells how long the rest takes
ROUNDED_S = 15
STALE_S = 60.0  # a training prints a line whenever it records an epoch
LOG_BYTES, LOG_LINES = 2**14, 40
MOST_RUNS = 500
MOST_EPOCHS, MOST = 10**9, 1e30  # a larger number, or none, comes from a damaged file
STOPPED = re.compile(r"musicjax: stopped by SIG\w+")
COMPLAINT = "musicjax: "
# Labels of the console lines between reading the data and the first epoch.
AFTER_READING = ("trial", "auto", "events", "model", "compile", "train")


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


def folders(root: Path) -> dict[str, Path]:
    """The folders of runs below the studio's, by their ids."""
    found = {}
    try:
        names = sorted(name for name in os.listdir(root) if not name.startswith(".") and os.path.isdir(root / name))
    except OSError:
        return {}
    for name in names[:MOST_RUNS]:
        # These two say False of what cannot be looked at, where Path.exists raises.
        if any(os.path.exists(root / name / mark) for mark in MARKS):
            found[id_of(name)] = root / name
    return found


def id_of(name: str) -> str:
    """The id of a run: the name of its folder, or where that is no plain word, a hash of it."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        return name
    return f"run-{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}"


def new_name(root: Path, wanted: str) -> str:
    """A name for a new folder that begins like the one that is wanted, and that nothing has yet."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", wanted).strip("_-")[:40] or "run"
    names = (plain if number == 1 else f"{plain}-{number}" for number in range(1, 10_000))
    return next(name for name in names if not os.path.lexists(root / name))


def start(workdir: Path, arguments: list[str], log: Path) -> subprocess.Popen:
    """Starts or continues a training, which goes on whatever becomes of the studio.

    Args:
        arguments: of `musicjax train`, beside the workdir.
        log: what it prints goes to this path with .err and .out, in place of what an earlier start printed.

    Raises:
        RunError: no process can be started, or the log cannot be written.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.with_suffix(".err").open("wb") as errors, log.with_suffix(".out").open("wb") as results:
            return subprocess.Popen(
                processes.command("musicjax.main", "train", f"--workdir={workdir}", *arguments),
                stdin=subprocess.DEVNULL,
                stdout=results,
                stderr=errors,
                env=processes.environment(),
                start_new_session=True,
            )
    except OSError as error:
        raise RunError(f"The training cannot be started: {error.strerror}; see to space and memory.") from error


def interrupt(workdir: Path, process: subprocess.Popen | None) -> None:
    """Asks a training to end; its finished epochs stay. Raises UsageError if none runs here."""
    pid = lock.holder(workdir)
    if pid is None and process is not None and process.poll() is None:
        pid = process.pid  # it has only just begun
    if pid is None:
        raise UsageError("This run is not training on this machine.")
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def last_lines(path: Path) -> list[str]:
    """The end of a log, whole lines."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(size - LOG_BYTES, 0))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return lines[int(size > LOG_BYTES) :][-LOG_LINES:]


def state(
    run_id: str,
    workdir: Path,
    curve: Curve,
    record: dict[str, Any],
    log: Path,
    process: subprocess.Popen | None,
) -> dict[str, Any]:
    """A run as the page gets it, but for its samples.

    Args:
        record: what the studio knows of a run that it started; else empty.
        log: as `start` takes it.
        process: that the studio started it with, if it has not been started anew since.
    """
    epochs, epoch = _epochs(workdir), curve.epoch
    lines = [] if _is_stale(log, workdir) else last_lines(log.with_suffix(".err"))
    is_live = lock.holder(workdir) is not None or (process is not None and process.poll() is None)
    status, message = _status(workdir, is_live, epoch, epochs, record, lines, log)
    return {
        "id": run_id,
        "name": record.get("name") or workdir.name,
        "data": record.get("data", ""),
        "status": status,
        "epoch": epoch,
        "epochs": epochs,
        "minutes": record.get("minutes", 0),
        "seconds_left": _seconds_left(curve, epochs, record) if is_live else 0 if status == "finished" else None,
        "windows_per_second": curve.windows_per_second,
        "message": message,
        "has_model": has_model(workdir),
    }


def _seconds_left(curve: Curve, epochs: int, record: dict[str, Any]) -> int | None:
    """About how long a training goes on: by its last epochs, or before the first by the minutes it was given."""
    if curve.seconds and epochs:
        return round((epochs - curve.epoch) * statistics.median(curve.seconds))
    if not record:
        return None
    since = max(time.time() - record["began"], 0)  # a clock that was set back would add to what is left
    left = max(60 * record["minutes"] - since, 0)
    return ROUNDED_S * round(left / ROUNDED_S)  # so that what a page sees does not change all the time


def has_model(workdir: Path) -> bool:
    """Whether the run has saved a checkpoint."""
    try:
        return any(name.isdecimal() for name in os.listdir(workdir / "checkpoints"))
    except OSError:
        return False


def _epochs(workdir: Path) -> int:
    """How many epochs the run is to have; 0: that is not decided."""
    try:
        epochs = int(json.loads((workdir / "config.json").read_text(encoding="utf-8"))["train"]["epochs"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return 0
    return epochs if 0 <= epochs <= MOST_EPOCHS else 0


def _status(
    workdir: Path, is_live: bool, epoch: int, epochs: int, record: dict[str, Any], lines: list[str], log: Path
) -> tuple[str, str]:
    """(status, what is said of it)."""
    last = lines[-1] if lines else ""
    if is_live:
        if epoch:
            return "training", last if epochs and epoch >= epochs else ""
        labels = {line.split(" ", 1)[0] for line in lines}
        if labels & set(AFTER_READING) or os.path.isfile(workdir / "config.json"):
            return "training", last
        return ("reading" if labels else "starting"), last
    if _is_complete(workdir, log if lines else None) or (epochs and epoch >= epochs and not _complained(last)):
        return "finished", ""
    if record.get("stopped"):
        return "finished", f"Stopped after epoch {epoch}; it can go on." if epoch else "Stopped before its first epoch."
    if STOPPED.match(last):
        return "paused", ""
    if _complained(last):
        return "failed", last.removeprefix(COMPLAINT)
    if record and not epoch and not has_model(workdir):
        return "failed", f"It ended without a word{f', after: {last}' if last else ''}. Start it again."
    said = "It was ended from outside; it goes on after the last epoch that was saved." if record else ""
    return "paused", said


def _complained(line: str) -> bool:
    return line.startswith(COMPLAINT) and not STOPPED.match(line)


def _is_stale(log: Path, workdir: Path) -> bool:
    """Whether the run has gone on since its log was written: somebody continued it on the command line."""
    try:
        return (workdir / "metrics.jsonl").stat().st_mtime > log.with_suffix(".err").stat().st_mtime + STALE_S
    except OSError:
        return False


def _is_complete(workdir: Path, log: Path | None) -> bool:
    """Whether training came to its end, which writes its result into the log, or else the page of the run."""
    if log is not None:
        with contextlib.suppress(OSError, ValueError, IndexError, TypeError, RecursionError):
            return "best_epoch" in json.loads(log.with_suffix(".out").read_bytes().splitlines()[-1])
        return False
    with contextlib.suppress(OSError):
        return (workdir / "report.html").stat().st_mtime >= (workdir / "metrics.jsonl").stat().st_mtime
    return False
