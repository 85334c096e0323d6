"""Trials 17 to 24: runs that are killed, stopped, starved, poisoned, damaged, changed and disturbed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from musicjax import config as config_lib
from musicjax.errors import RunError
from musicjax.music import midi
from musicjax.run import checkpoint as checkpoint_lib
from musicjax.run import facts as facts_lib
from musicjax.run import lock, manifest
from tests.trials.ground import Case, Ground, Result, call, finish, start, tree, wrong
from tests.trials.victim import digest

VICTIM = "tests.trials.victim"


class Reference:
    """A run that was left alone: its workdir and the digest of each epoch's checkpoint."""

    def __init__(self, ground: Ground, name: str, *fields: str):
        self.workdir = ground.folder / name
        self.fields = fields
        self.done = finish(start("digests", "0", "0", *ground.tiny(self.workdir, *fields), module=VICTIM))
        words = [line.split() for line in self.done.err.splitlines() if line.startswith("digest ")]
        self.digests = {int(epoch): value for _, epoch, value in words}
        assert self.done.status == 0 and self.digests, self.done.err

    def wrong_checkpoint(self, workdir: Path) -> str:
        """What is wrong with the latest checkpoint of a run that was cut off; that there is none is not."""
        if not checkpoint_lib.exists(workdir):
            return ""
        newest = max(int(path.name) for path in checkpoint_lib.folder(workdir).iterdir() if path.name.isdecimal())
        try:
            restored = checkpoint_lib.restore(workdir)
        except RunError as error:
            return str(error)
        if restored.facts.epoch != newest:
            return f"the checkpoint of epoch {newest} is not whole"
        return "" if digest(restored) == self.digests[newest] else f"epoch {newest} is another than that left alone"

    def wrong_end(self, workdir: Path) -> str:
        """What is wrong with a run that was cut off and has gone on to its end."""
        fault = self.wrong_checkpoint(workdir)
        if fault:
            return fault
        if checkpoint_lib.read_facts(workdir).epoch != max(self.digests):
            return "it ended at another epoch"
        if untimed(workdir) != untimed(self.workdir):
            return "metrics.jsonl differs"
        if tree(workdir / "samples") != tree(self.workdir / "samples"):
            return "the samples differ"
        left = [path.name for path in workdir.rglob("*") if "partial" in path.name or "tmp" in path.name]
        return f"left behind: {left}" if left else ""


def untimed(workdir: Path) -> list[dict]:
    """The lines of metrics.jsonl without what differs from run to run; every line must be whole."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "windows_per_second")} for line in lines]


def killed(ground: Ground) -> Iterator[Case]:
    """kill -9 at random points, inside saves too; each resume starts and ends byte-equal"""
    epochs = ground.size(60, 12)
    several = ("train.trials=3", "train.trial_group=3", "train.learning_rates=0.001,0.003")
    early = ("train.patience=24", "train.learning_rate=1e-12")
    kinds = {"alone": (), "several trials": several, "early stop": early}
    # (kind, how many kills, most epochs between two of them)
    chains = [("alone", 11, 5)] * 4 + [("several trials", 10, 5), ("early stop", 6, 3)]
    if ground.quick:
        kinds, chains = {"alone": ()}, [("alone", 3, 3)]
    with ThreadPoolExecutor(ground.size(2, 1)) as pool:
        made = {
            kind: pool.submit(Reference, ground, kind, f"train.epochs={epochs}", *fields)
            for kind, fields in kinds.items()
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
    """Restores that forget something must end elsewhere, or the trial would see nothing."""
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
    reference = Reference(ground, "reference", "train.epochs=40")
    for number in range(ground.size(24, 3)):
        twice = number % 4 == 3
        name = signal.SIGTERM if number % 2 else signal.SIGINT
        workdir = ground.folder / str(number)
        process = start(*ground.tiny(workdir, "train.epochs=100000"))
        _wait_for(lambda: _handles(process.pid, signal.SIGTERM))  # noqa: B023
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
            known = reference.digests.get(restored.facts.epoch)
            fault = "" if known in (None, digest(restored)) else "another checkpoint than that of the run left alone"
        yield f"{name.name}{' twice' if twice else ''}", fault


def _handles(pid: int, number: signal.Signals) -> bool:
    """Whether a process has its own handler for a signal by now."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def _wait_for(happened: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.005)


def disk_full(ground: Ground) -> Iterator[Case]:
    """Disk full and read-only"""
    reference = Reference(ground, "reference", "train.epochs=12")
    disk = ground.place("disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, check=False
    ).returncode
    if mounted:
        print("disk full: no file system can be mounted here, files are limited to a size instead", flush=True)
    try:
        for number in range(ground.size(12, 2)):
            yield _starved(ground, reference, disk / str(number), bool(mounted))
            shutil.rmtree(disk / str(number), ignore_errors=True)
        if not mounted:
            workdir = shutil.copytree(reference.workdir, disk / "w")
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            before = tree(disk)
            done = finish(start(*ground.tiny(workdir, "train.epochs=14")))
            changed = "" if tree(disk) == before else "it was written"
            yield "read-only: train", wrong(done, 1, "Read-only file system") or changed
            done = finish(start("generate", f"--workdir={workdir}", f"--output_dir={ground.folder / 'out'}"))
            yield "read-only: generate elsewhere", wrong(done, 0)
            done = finish(start("generate", f"--workdir={workdir}"))
            yield "read-only: generate there", wrong(done, 1, "Read-only file system")
    finally:
        if not mounted:
            subprocess.run(["umount", disk], check=False)


def _starved(ground: Ground, reference: Reference, workdir: Path, limited: bool) -> Case:
    """A run whose disk is full after some bytes; then there is room again."""
    flags = ground.tiny(workdir, *reference.fields)
    if limited:
        size = ground.random.randint(500, 6000)
        what = f"files limited to {size} bytes"
        process = start(str(size), *flags, module="tests.trials.limited")
    else:
        room = 4096 * ground.random.randint(20, 160)
        what = f"room for {room // 1024} KiB"
        balloon = workdir.parent / "balloon"
        with balloon.open("wb") as stream:
            free = os.statvfs(workdir.parent)
            stream.write(b"\0" * (free.f_bavail * free.f_frsize - room))
        process = start(*flags)
    done = finish(process)
    fault = wrong(done, 1, "File too large" if limited else "No space left on device", "start again")
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
    reference = Reference(ground, "reference", "train.epochs=60")

    def replaced(place: Path) -> None:
        place.rename(ground.folder / f"{place.name} moved")
        place.write_text("in the way")

    ways: dict[str, Callable[[Path], object]] = {
        "removed": lambda place: _removed(place),
        "renamed": lambda place: place.rename(ground.folder / f"{place.name} moved"),
        "replaced by a file": replaced,
        "its checkpoints removed": lambda place: _removed(place / "checkpoints"),
    }
    for number in range(ground.size(12, 2)):
        way = list(ways)[number % len(ways)]
        workdir = ground.folder / f"run{number}"
        flags = ground.tiny(workdir, *reference.fields, "train.epochs=100000")
        process = start(*flags)
        _wait_for(lambda: checkpoint_lib.exists(workdir))  # noqa: B023
        time.sleep(ground.random.uniform(0, 0.4))
        ways[way](workdir)
        done = finish(process, 60)
        fault = wrong(done, 1, "could not be saved", "start again")
        moved = ground.folder / f"{workdir.name} moved"
        if not fault and moved.exists():
            epoch = checkpoint_lib.read_facts(moved).epoch
            fault = reference.wrong_checkpoint(moved) if epoch in reference.digests else ""
            if not fault and number < 4 and epoch < 60:
                done = finish(start(*ground.tiny(moved, *reference.fields)))
                fault = wrong(done, 0) or reference.wrong_end(moved)
        elif not fault and workdir.is_dir() and [path.name for path in workdir.glob("checkpoints/*")]:
            fault = "a checkpoint was made in a new folder"
        yield way, fault


def _removed(place: Path) -> None:
    """Like rm -rf, against somebody who goes on writing."""
    while place.exists():
        shutil.rmtree(place, ignore_errors=True)


def not_a_number(ground: Ground) -> Iterator[Case]:
    """A loss that is not a number never becomes the latest checkpoint"""
    reference = Reference(ground, "reference", "train.epochs=12")
    for number in range(ground.size(8, 1)):
        epoch = ground.random.randint(1, 12)
        workdir = ground.folder / str(number)
        done = finish(
            start("poison", str(epoch), "0", *ground.tiny(workdir, *reference.fields), module="tests.trials.victim")
        )
        fault = wrong(done, 1, f"epoch {epoch}", "expected finite numbers", "learning_rate")
        if not fault and epoch == 1:
            fault = "a checkpoint was saved" if checkpoint_lib.exists(workdir) else ""
        elif not fault:
            fault = reference.wrong_checkpoint(workdir)
            if checkpoint_lib.read_facts(workdir).epoch != epoch - 1:
                fault = "the last good epoch is not there"
        yield f"from epoch {epoch}", fault


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def _first_bit(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def _last_bit(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 0x80]))


def _zeros(path: Path) -> None:
    """As after a power failure."""
    path.write_bytes(b"\0" * path.stat().st_size)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = (_emptied, _cut, _longer, _first_bit, _last_bit, _zeros, _folder, Path.unlink)


def damaged(ground: Ground) -> Iterator[Case]:
    """A damaged checkpoint: every file in turn, in every way; alone and with the one before it"""
    reference = Reference(ground, "reference", "train.epochs=4")
    newest = reference.workdir / "checkpoints" / "4"
    files = sorted(path.relative_to(newest) for path in newest.rglob("*") if path.is_file())
    ways = [(name, damage) for name in files for damage in DAMAGES]
    for name, damage in ground.random.sample(ways, min(ground.size(1000, 12), len(ways))):
        workdir = shutil.copytree(reference.workdir, ground.folder / "copy")
        damage(workdir / "checkpoints" / "4" / name)
        told = call("generate", f"--workdir={workdir}", "--num_outputs=1", "--num_notes=1")
        # A manifest that was written upon may name another file than itself.
        named = "checkpoints/4 is damaged" if name.name == manifest.NAME else f"checkpoints/4 is damaged: {name} "
        fault = wrong(told, 0, "warning", named, "epoch 3, saved before it, is used instead")
        if not fault and digest(checkpoint_lib.restore(workdir)) != reference.digests[3]:
            fault = "what was restored is not that of epoch 3"
        yield f"{name}: {damage.__name__}", fault
        shutil.rmtree(workdir)
    for name in files[:: ground.size(1, 8)]:
        workdir = shutil.copytree(reference.workdir, ground.folder / "copy")
        _emptied(workdir / "checkpoints" / "4" / name)
        (workdir / "checkpoints" / "3" / manifest.NAME).unlink()
        before = tree(workdir)
        told = call(*ground.tiny(workdir, "train.epochs=6"))
        fault = wrong(told, 1, "checkpoints/4 is damaged", "checkpoints/3 is damaged", "put back a copy")
        yield f"{name}, and none before it", fault or ("" if tree(workdir) == before else "the workdir was changed")
        shutil.rmtree(workdir)
    workdir = shutil.copytree(reference.workdir, ground.folder / "copy")
    _emptied(workdir / "checkpoints" / "4" / "facts" / "metadata")
    yield "trained on from the one before", wrong(call(*ground.tiny(workdir, *reference.fields)), 0, "4 is damaged")
    yield "ends byte-equal", reference.wrong_end(workdir)


# For each knob another value than in `Ground.tiny`, where the next number or the next choice is none.
OTHERS = {
    "name": "other",
    "data.cache": "off",
    "train.learning_rates": "0.01",
    "train.dropouts": "0.3",
    "data.duration": "false",
    "data.percussion": "false",
    "train.devices": "1",
    "data.validation_fraction": "0.3",
    "model.dropout": "0.3",
    "train.learning_rate": "0.01",
    "train.epochs": "4",
    "sample.temperature": "0.5",
    "data.seconds_per_file": "20",
    "data.split": "windows",
    "model.precision": "bfloat16",
}


def changed(ground: Ground) -> Iterator[Case]:
    """Changed config, data or version on resume"""
    reference = Reference(ground, "reference", "train.epochs=3")
    saved = checkpoint_lib.read_facts(reference.workdir).config
    moved = shutil.copytree(ground.clips, ground.folder / "moved")
    knobs = list(config_lib.fields(saved))
    for path, field, value in knobs[:: ground.size(1, 6)]:
        new = OTHERS.get(path, str(moved) if path == "data.source" else None)
        new = new if new is not None else str(value + 1)
        workdir = shutil.copytree(reference.workdir, ground.folder / "copy")
        before = tree(workdir)
        told = call(*ground.tiny(workdir, f"{path}={new}"))
        if field.metadata["may_change"]:
            yield f"{path}: harmless", wrong(told, 0)
        else:
            fault = wrong(told, 2, f"config.{path} is {value!r} there, ", "another --workdir")
            here = told.told.split(f"config.{path} is {value!r} there, ")[-1].split(" here")[0]
            if not fault and new.strip("0") not in here.lower():
                fault = f"the new value {new} is not named: {told.told}"
            yield f"{path}: another run", fault or ("" if tree(workdir) == before else "the workdir was changed")
        shutil.rmtree(workdir)
    yield from _changed_data(ground, reference, moved)
    for name in ("jax", "musicjax", "python"):
        workdir = shutil.copytree(reference.workdir, ground.folder / "copy")
        restored = checkpoint_lib.restore(workdir)
        versions = {**restored.facts.versions, name: "0.0.1"}
        facts = facts_lib.Facts(**{**vars(restored.facts), "versions": versions})
        store = checkpoint_lib.Store(workdir)
        store.save(restored._replace(facts=facts))
        store.close()
        told = call(*ground.tiny(workdir, "train.epochs=4"))
        yield f"version of {name}", wrong(told, 0, f"{name} 0.0.1 then, {versions_now()[name]} now")
        shutil.rmtree(workdir)


def versions_now() -> dict[str, str]:
    """What the checkpoints of today say."""
    return facts_lib.versions()


def _changed_data(ground: Ground, reference: Reference, moved: Path) -> Iterator[Case]:
    first, second, *_ = sorted(moved.iterdir())
    kept = first.read_bytes()

    def added() -> None:
        midi.write(midi.read(second)[1:], moved / "zzz.mid")

    def other_bytes() -> None:
        midi.write(midi.read(first)[:-1], first)

    for what, change in (("removed", first.unlink), ("added", added), ("changed", other_bytes)):
        workdir = shutil.copytree(reference.workdir, ground.folder / "copy")
        change()
        told = call(*ground.tiny(workdir, "train.epochs=5", source=moved))
        fault = wrong(told, 1, "was trained on other data", "another --workdir")
        if not fault and checkpoint_lib.read_facts(workdir).epoch != 3:
            fault = "it was trained on"
        yield f"a file {what}", fault
        first.write_bytes(kept)
        (moved / "zzz.mid").unlink(missing_ok=True)
        shutil.rmtree(workdir)


def two_processes(ground: Ground) -> Iterator[Case]:
    """A second training is refused; reading goes on while one trains"""
    workdir = ground.folder / "w"
    flags = ground.tiny(workdir, "train.epochs=100000")
    process = start(*flags)
    _wait_for(lambda: checkpoint_lib.exists(workdir))
    for _ in range(ground.size(3, 1)):
        told = call(*flags)
        yield "a second training", wrong(told, 1, f"workdir {workdir} is in use: process {process.pid} on", "wait")
    yield from _reading(ground, workdir)
    yield "the first is still at it", "" if process.poll() is None else "it ended"
    process.kill()
    finish(process)
    yield "its lock file stays after kill -9", "" if (workdir / lock.NAME).is_file() else "it did not"
    again = call(*ground.tiny(workdir, f"train.epochs={checkpoint_lib.read_facts(workdir).epoch + 1}"))
    yield "and blocks nobody", wrong(again, 0)
    for number in range(ground.size(4, 1)):
        place = ground.folder / f"both{number}"
        both = [start(*ground.tiny(place, "train.epochs=100")) for _ in range(2)]
        ends = sorted((finish(one) for one in both), key=lambda result: result.status)
        yield "two start at once", wrong(ends[0], 0) or wrong(ends[1], 1, "is in use: process")


def _reading(ground: Ground, workdir: Path) -> Iterator[Case]:
    """Every read finds a whole checkpoint, each no older than the last, and says nothing of damage."""
    last = 0
    for _ in range(ground.size(150, 10)):
        try:
            epoch = checkpoint_lib.restore(workdir).facts.epoch
        except RunError as error:
            yield "restore while training", str(error)
            continue
        yield "restore while training", "" if epoch >= last else f"epoch {epoch} after {last}"
        last = epoch
    for seed in range(ground.size(15, 2)):
        told = call("generate", f"--workdir={workdir}", f"--seed={seed}", "--num_outputs=1", "--num_notes=4")
        yield "generate while training", wrong(told, 0) or _warned(told)
    for _ in range(ground.size(5, 1)):
        told = call("evaluate", f"--workdir={workdir}", "--checkpoint=latest")
        yield "evaluate while training", wrong(told, 0) or _warned(told)


def _warned(told: Result) -> str:
    return next((line for line in told.err.splitlines() if line.startswith("warning")), "")
