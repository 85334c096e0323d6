"""Reliability tests 17 to 20: runs that are killed, stopped, starved, and whose folder is taken away."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from musicjax.store import checkpoint as checkpoint_lib
from tests.reliability.ground import ONE_PIECE, Case, Ground, call, finish, start, tree, wrong
from tests.reliability.reference import VICTIM, Reference, left_alone, untimed, wait_for
from tests.reliability.victim import digest


def killed(ground: Ground) -> Iterator[Case]:
    """kill -9 at random points, inside saves too; each resume starts and ends byte-equal"""
    epochs = ground.size(400, 12)  # more than a fast machine trains between all the kills of a chain
    several = ("train.trials=3", "train.trial_group=3", "train.learning_rates=0.001,0.003")
    early = ("train.patience=200", "train.learning_rate=1e-12")
    kinds = {"alone": (), "several trials": several, "early stop": early}
    # (kind, how many kills, most epochs between two of them)
    chains = [("alone", 11, 5)] * 4 + [("several trials", 10, 5), ("early stop", 6, 3)]
    if ground.quick:
        kinds, chains = {"alone": ()}, [("alone", 2, 3)]
    with ThreadPoolExecutor(ground.size(2, 1)) as pool:
        made = {
            kind: pool.submit(left_alone, ground, f"train.epochs={epochs}", *fields) for kind, fields in kinds.items()
        }
        references = {kind: future.result() for kind, future in made.items()}
        plans = []
        for number, (kind, kills, most) in enumerate(chains):
            accidents = [_accident(ground, turn, most) for turn in range(kills)]
            plans.append((ground, references[kind], ground.folder / f"chain{number}", kind, accidents))
        for cases in pool.map(lambda plan: _chain(*plan), plans):
            yield from cases
    if not ground.quick:
        yield from _controls(ground, references["alone"])


def _accident(ground: Ground, turn: int, most: int) -> tuple[str, str, str]:
    """Where to kill; turn: how many kills there were before."""
    number = str(ground.random.randint(1, most))
    if turn % 3 == 0:
        return "in_save", number, str(ground.random.randint(1, 60))
    if turn % 3 == 1:
        return "in_time", number, f"{ground.random.uniform(0, 0.08):.4f}"
    return "in_start", number, f"{ground.random.uniform(0, 3):.4f}"


def _chain(
    ground: Ground, reference: Reference, workdir: Path, kind: str, accidents: list[tuple[str, str, str]]
) -> list[Case]:
    """One run, killed again and again, then left to end."""
    cases: list[Case] = []
    flags = ground.tiny(workdir, *reference.fields)
    for accident in accidents:
        done = finish(start(*accident, *flags, module=VICTIM))
        fault = "" if done.status == -signal.SIGKILL else f"not killed, status {done.status}: {done.err[-300:]}"
        cases.append((f"{kind}: {' '.join(accident)}", fault or reference.wrong_checkpoint(workdir)))
    done = finish(start(*flags))
    cases.append((f"{kind}: the end", wrong(done, 0) or reference.wrong_end(workdir)))
    return cases


def _controls(ground: Ground, reference: Reference) -> Iterator[Case]:
    """Restores that forget something must end elsewhere, or the test would see nothing."""
    for forgetting in ("forget_optimizer", "forget_place"):
        workdir = ground.folder / forgetting
        finish(start("in_time", "4", "0.0", *ground.tiny(workdir, *reference.fields), module=VICTIM))
        done = finish(start(forgetting, "0", "0", *ground.tiny(workdir, *reference.fields), module=VICTIM))
        fault = wrong(done, 0)
        if not fault and not reference.wrong_checkpoint(workdir):
            fault = "the control was not noticed"
        yield f"control: {forgetting}", fault


def signalled(ground: Ground) -> Iterator[Case]:
    """SIGINT and SIGTERM at random moments, once and twice"""
    reference = left_alone(ground, f"train.epochs={ground.size(40, 12)}")
    for number in range(ground.size(16, 1)):
        twice = number % 4 == 3
        name = signal.SIGTERM if number % 2 else signal.SIGINT
        workdir = ground.folder / str(number)
        process = start(*ground.tiny(workdir, "train.epochs=100000"))
        wait_for(lambda: _handles(process.pid, signal.SIGTERM))  # noqa: B023
        time.sleep(ground.random.uniform(0, 4))
        sent = time.monotonic()
        process.send_signal(name)
        if twice:
            time.sleep(ground.random.uniform(0, 0.05))
            process.send_signal(name)
        done, seconds = finish(process, 30), time.monotonic() - sent
        fault = "a traceback" if "Traceback" in done.err else ""
        if done.status != 128 + name:
            fault = f"status {done.status}: {done.err[-300:]}"
        if not twice and not done.err.splitlines()[-1].startswith(f"musicjax: stopped by {name.name}"):
            fault = f"its last line is {done.err.splitlines()[-1]!r}"
        if seconds > 5:
            fault = f"it took {seconds:.1f} s"
        if not fault and checkpoint_lib.exists(workdir):
            restored = checkpoint_lib.restore(workdir)
            known = reference.digests.get(restored.metadata.epoch)
            fault = "" if known in (None, digest(restored)) else "another checkpoint than that of the run left alone"
        yield f"{name.name}{' twice' if twice else ''}", fault


def _handles(pid: int, number: signal.Signals) -> bool:
    """Whether a process has its own handler for a signal by now."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def disk_full(ground: Ground) -> Iterator[Case]:
    """Disk full and read-only"""
    reference = left_alone(ground, "train.epochs=12")
    disk = ground.place("disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, check=False
    ).returncode
    if mounted:
        print("disk full: no file system can be mounted here, files are limited to a size instead", flush=True)
    try:
        for number in range(ground.size(8, 1)):
            yield _starved(ground, reference, disk / str(number), bool(mounted))
            shutil.rmtree(disk / str(number), ignore_errors=True)
        if not mounted:
            workdir = shutil.copytree(reference.workdir, disk / "w")
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            before = tree(disk)
            done = call(*ground.tiny(workdir, "train.epochs=14"))
            changed = "" if tree(disk) == before else "it was written"
            yield "read-only: train", wrong(done, 1, "Read-only file system") or changed
            done = call("generate", f"--workdir={workdir}", f"--output_dir={ground.folder / 'out'}", *ONE_PIECE)
            yield "read-only: generate elsewhere", wrong(done, 0)
            done = call("generate", f"--workdir={workdir}", *ONE_PIECE)
            yield "read-only: generate there", wrong(done, 1, "Read-only file system")
    finally:
        if not mounted:
            subprocess.run(["umount", "-l", disk], check=False)


def _starved(ground: Ground, reference: Reference, workdir: Path, limited: bool) -> Case:
    """A run whose disk is full after some bytes; then there is room again."""
    flags = ground.tiny(workdir, *reference.fields)
    if limited:
        size = ground.random.randint(500, 6000)
        what = f"files limited to {size} bytes"
        process = start(str(size), *flags, module="tests.reliability.limited")
    else:
        room = 4096 * ground.random.randint(8, 50)  # the whole run needs about 60 pages
        what = f"room for {room // 1024} KiB"
        balloon = workdir.parent / "balloon"
        with balloon.open("wb") as stream:
            free = os.statvfs(workdir.parent)
            stream.write(b"\0" * (free.f_bavail * free.f_frsize - room))
        process = start(*flags)
    done = finish(process)
    fault = wrong(done, 1, "File too large" if limited else "No space left on device")
    fault = fault or reference.wrong_checkpoint(workdir)
    with contextlib.suppress(FileNotFoundError):
        untimed(workdir)
    if not limited:
        balloon.unlink()
    if not fault:
        done = finish(start(*flags))
        fault = wrong(done, 0) or reference.wrong_end(workdir)
    return what, fault


def taken_away(ground: Ground) -> Iterator[Case]:
    """The workdir is removed, renamed or replaced while training"""
    reference = left_alone(ground, f"train.epochs={ground.size(60, 12)}")

    def replaced(place: Path) -> None:
        place.rename(ground.folder / f"{place.name} moved")
        place.write_text("in the way")

    ways: dict[str, Callable[[Path], object]] = {
        "removed": lambda place: _removed(place),
        "renamed": lambda place: place.rename(ground.folder / f"{place.name} moved"),
        "replaced by a file": replaced,
        "its checkpoints removed": lambda place: _removed(place / "checkpoints"),
    }
    for number in range(ground.size(8, 1)):
        way = list(ways)[number % len(ways)]
        workdir = ground.folder / f"run{number}"
        flags = ground.tiny(workdir, *reference.fields, "train.epochs=100000")
        process = start(*flags)
        wait_for(lambda: checkpoint_lib.exists(workdir))  # noqa: B023
        time.sleep(ground.random.uniform(0, 0.4))
        ways[way](workdir)
        done = finish(process, 60)
        fault = wrong(done, 1, "could not be saved", "start again")
        moved = ground.folder / f"{workdir.name} moved"
        if not fault and moved.exists():
            epoch = checkpoint_lib.read_metadata(moved).epoch
            fault = reference.wrong_checkpoint(moved) if epoch in reference.digests else ""
            if not fault and number < 4 and epoch < max(reference.digests):
                done = finish(start(*ground.tiny(moved, *reference.fields)))
                fault = wrong(done, 0) or reference.wrong_end(moved)
        elif not fault and checkpoint_lib.exists(workdir):
            fault = "a checkpoint was made in a new folder"
        yield way, fault


def _removed(place: Path) -> None:
    """Like rm -rf, against somebody who goes on writing."""
    while place.exists():
        shutil.rmtree(place, ignore_errors=True)
