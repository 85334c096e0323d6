"""What a reliability test stands on: its own folder, fixed random numbers, and the program, here or as a process."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from musicjax import console, main
from tests import tiny_runs

REPOSITORY = Path(__file__).parents[2]
# Flags of `generate` for the least music that there is.
ONE_PIECE = ("--num_outputs=1", "--num_notes=4", "--audio=none")
# (what was tried, what went wrong or nothing)
Case = tuple[str, str]


class Skipped(Exception):
    """A test that cannot run here, and why."""


class Result(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str
    seconds: float

    @property
    def told(self) -> str:
        """The line that says why it failed; empty if there is not exactly one."""
        lines = [line for line in self.err.splitlines() if line.startswith("musicjax: ")]
        return lines[0] if len(lines) == 1 else ""


@dataclasses.dataclass
class Ground:
    """folder: empty, the test's own; random: its numbers; quick: few cases; clips: 12 composed MIDI files."""

    folder: Path
    random: random.Random
    quick: bool
    clips: Path

    def size(self, whole: int, quick: int) -> int:
        """How many cases to try."""
        return quick if self.quick else whole

    def place(self, name: str) -> Path:
        """An empty folder of this name."""
        place = self.folder / name
        place.mkdir(parents=True)
        return place

    def tiny(self, workdir: Path, *more: str, source: Path | None = None) -> list[str]:
        """The flags of the tiny run of notes; what comes in `more` wins."""
        changes: dict[str, Any] = dict(word.split("=", 1) for word in more)
        return tiny_runs.flags(workdir, source or self.clips, **changes)


def call(*argv: str) -> Result:
    """Runs a command in this process."""
    out, err, started = io.StringIO(), io.StringIO(), time.monotonic()
    console._said.clear()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main.main(list(argv))
        except BaseException as error:
            status = -1
            print(f"Traceback: {type(error).__name__}: {error}", file=err)
    return Result(status, out.getvalue(), err.getvalue(), time.monotonic() - started)


def environment() -> dict[str, str]:
    """Of processes: the program of this repository."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def start(*argv: str, module: str = "musicjax.main") -> subprocess.Popen[str]:
    """Starts a command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment(),
        cwd=REPOSITORY,
    )


def finish(process: subprocess.Popen[str], seconds: float = 300) -> Result:
    """Waits for a command; one that takes longer is ended and has the status -999."""
    started, late = time.monotonic(), threading.Event()

    def give_up() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, give_up)
    timer.start()
    out, err = process.communicate()
    timer.cancel()
    return Result(-999 if late.is_set() else process.returncode, out, err, time.monotonic() - started)


def wrong(result: Result, statuses: int | tuple[int, ...], *words: str) -> str:
    """What is wrong with how a command ended: another status, no single line that says why, or not with these words."""
    expected = (statuses,) if isinstance(statuses, int) else statuses
    last = (result.err.strip().splitlines() or [""])[-1][:300]
    before, traceback, after = (result.out + result.err).partition("Traceback")
    if traceback:
        return f"a traceback: {' / '.join((before[-150:] + traceback + after[:600]).splitlines())}"
    if result.status not in expected:
        return f"status {result.status}, expected {' or '.join(map(str, expected))}: {last}"
    if not all(c.isprintable() or c == "\n" for c in result.out + result.err):
        return "control characters on the terminal"
    if result.status and not result.told:
        return f"no single line that says why: {last}"
    text = result.told if result.status else result.err + result.out
    missing = [word for word in words if word not in text]
    return f"{missing[0]!r} is not in: {text[-300:]}" if missing else ""


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder and what the files hold."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
