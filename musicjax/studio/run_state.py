"""Trainings: separate processes, which outlive the studio; what they write tells what they are doing.

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
from pathlib import Path
from typing import Any

from musicjax.errors import RunError, UsageError
from musicjax.store import lock
from musicjax.studio import processes, training_progress
from musicjax.studio.curve import MOST_EPOCHS, Curve
from musicjax.studio.training_progress import Passed, Told

# What lies in the folder of a run, whatever state it is in.
MARKS = ("metrics.jsonl", "config.json", "trials.jsonl", "checkpoints", lock.NAME)
STALE_S = 60.0  # a training prints a line whenever it records an epoch
LOG_BYTES, LOG_LINES = 2**14, 40
MOST_RUNS = 500
STOPPED = re.compile(r"musicjax: stopped by SIG\w+")
COMPLAINT = "musicjax: "


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
        log: what it prints goes to this path with .err and .out, and replaces what an earlier start printed. What that
            said of the time after the last epoch is kept, since a run that goes on does not find it out again.

    Raises:
        RunError: no process can be started, or the log cannot be written.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        lines = log_lines(log.with_suffix(".err")) if has_model(workdir) else []
        kept = [line for line in lines if training_progress.after_s(line) is not None][-1:]
        with log.with_suffix(".err").open("wb") as errors, log.with_suffix(".out").open("wb") as results:
            errors.write("".join(f"{line}\n" for line in kept).encode())
            errors.flush()
            return subprocess.Popen(
                processes.command("musicjax.main", "train", f"--workdir={workdir}", *arguments),
                stdin=subprocess.DEVNULL,
                stdout=results,
                stderr=errors,
                env=processes.environment(),
                start_new_session=True,
            )
    except OSError as error:
        raise RunError(f"The training cannot be started: {error.strerror}; check space and memory.") from error


def interrupt(workdir: Path, process: subprocess.Popen | None) -> None:
    """Asks a training to end; its finished epochs stay. Raises UsageError if none runs here."""
    pid = lock.holder(workdir)
    if pid is None and process is not None and process.poll() is None:
        pid = process.pid  # it has only just begun
    if pid is None:
        raise UsageError("This run is not training on this machine.")
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def log_lines(path: Path) -> list[str]:
    """The whole lines of a log; of a long one those at its beginning and at its end."""
    try:
        with path.open("rb") as stream:
            first, size = stream.read(LOG_BYTES), stream.seek(0, os.SEEK_END)
            stream.seek(max(size - LOG_BYTES, len(first)))
            last = stream.read()
    except OSError:
        return []
    if len(first) + len(last) < size:
        first, last = first.rpartition(b"\n")[0] + b"\n", last.partition(b"\n")[2]
    return [line.rstrip() for line in (first + last).decode("utf-8", "replace").splitlines() if line.strip()]


def last_lines(path: Path) -> list[str]:
    """The last lines of a log, as the page shows them."""
    return log_lines(path)[-LOG_LINES:]


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
        process: that the studio started it with, if the studio itself has not been started again since.
    """
    epochs, epoch = _epochs(workdir), curve.epoch
    is_live = lock.holder(workdir) is not None or (process is not None and process.poll() is None)
    has_log = os.path.isfile(log.with_suffix(".err")) and not _is_stale(log, workdir)
    lines = log_lines(log.with_suffix(".err")) if has_log else []
    told = training_progress.told(lines) if has_log else _told_by_files(workdir, epoch)
    if told.stage == training_progress.LEARNS and epochs and epoch >= epochs:
        told = told._replace(stage=training_progress.WRITES)
    status, message = _status(workdir, is_live, epoch, epochs, record, lines, log, told.stage)
    ended = 0 if status == "finished" else None
    return {
        "id": run_id,
        "name": record.get("name") or workdir.name,
        "data": record.get("data", ""),
        "status": status,
        "stage": told.stage if is_live else "",
        "epoch": epoch,
        "epochs": epochs,
        "minutes": record.get("minutes", 0),
        "seconds_left": _seconds_left(told, curve, epochs, workdir, log, record) if is_live else ended,
        "windows_per_second": curve.windows_per_second,
        "message": message,
        "was_stopped": status == "finished" and bool(message),
        "has_model": has_model(workdir),
    }


def _told_by_files(workdir: Path, epoch: int) -> Told:
    """What the files tell of a training that printed its lines elsewhere, such as on a terminal."""
    if epoch:
        return Told(training_progress.LEARNS)
    has_config = os.path.isfile(workdir / "config.json")
    return Told(training_progress.GETS_READY if has_config else training_progress.STARTS)


def _seconds_left(
    told: Told, curve: Curve, epochs: int, workdir: Path, log: Path, record: dict[str, Any]
) -> int | None:
    """About how long a training goes on; None: nobody knows."""
    files = (log.with_suffix(".out"), log.with_suffix(".err"), workdir / "metrics.jsonl")
    passed = Passed(*(_seconds_since(path) for path in files))  # nothing is written into .out until the end
    epochs_s = (epochs - curve.epoch) * statistics.median(curve.seconds) if curve.seconds and epochs else None
    return training_progress.seconds_left(told, epochs_s, passed, bool(record.get("began")))


def _seconds_since(path: Path) -> float:
    """Seconds since a file was written last; 0: it is not there, or the clock was set back."""
    try:
        return max(time.time() - path.stat().st_mtime, 0.0)
    except OSError:
        return 0.0


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
    workdir: Path,
    is_live: bool,
    epoch: int,
    epochs: int,
    record: dict[str, Any],
    lines: list[str],
    log: Path,
    at: str,
) -> tuple[str, str]:
    """(status, what is said of it); at: the stage of a training that is live."""
    last = lines[-1] if lines else ""
    if is_live:
        if epoch:
            return "training", last if epochs and epoch >= epochs else ""
        if at == training_progress.STARTS:
            return "starting", ""
        return ("reading" if at == training_progress.READS else "training"), last
    if _is_complete(workdir, log if lines else None) or (epochs and epoch >= epochs and not _complained(last)):
        return "finished", ""
    if record.get("stopped"):
        return "finished", f"Stopped after epoch {epoch}; it can go on." if epoch else "Stopped before its first epoch."
    if STOPPED.match(last):
        return "paused", ""
    if _complained(last):
        return "failed", last.removeprefix(COMPLAINT)
    if record and not epoch and not has_model(workdir):
        return "failed", f"It ended without a message{f', after: {last}' if last else ''}. Start it again."
    said = "It was ended from outside; it can go on after the last saved epoch." if record else ""
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
