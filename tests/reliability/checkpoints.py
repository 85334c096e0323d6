"""Reliability tests 21 to 24: runs that are poisoned, damaged, changed and disturbed."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

from musicjax import config as config_lib
from musicjax.errors import RunError
from musicjax.music import midi
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store import checksums, lock
from musicjax.store import metadata as metadata_lib
from tests.reliability.ground import ONE_PIECE, Case, Ground, Result, call, finish, start, tree, wrong
from tests.reliability.reference import Reference, left_alone, wait_for
from tests.reliability.victim import digest


def not_a_number(ground: Ground) -> Iterator[Case]:
    """A loss that is not a number never becomes the latest checkpoint"""
    reference = left_alone(ground, "train.epochs=12")
    for number in range(ground.size(8, 1)):
        epoch = ground.random.randint(1, 12)
        workdir = ground.folder / str(number)
        done = finish(
            start(
                "poison", str(epoch), "0", *ground.tiny(workdir, *reference.fields), module="tests.reliability.victim"
            )
        )
        fault = wrong(done, 1, f"epoch {epoch}", "expected finite numbers", "learning_rate")
        if not fault and epoch == 1:
            fault = "a checkpoint was saved" if checkpoint_lib.exists(workdir) else ""
        elif not fault:
            fault = reference.wrong_checkpoint(workdir)
            if checkpoint_lib.read_metadata(workdir).epoch != epoch - 1:
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
    reference = left_alone(ground, "train.epochs=4")
    newest = reference.workdir / "checkpoints" / "4"
    files = sorted(path.relative_to(newest) for path in newest.rglob("*") if path.is_file())
    ways = [(name, damage) for name in files for damage in DAMAGES]
    for name, damage in ground.random.sample(ways, min(ground.size(1000, 8), len(ways))):
        workdir = shutil.copytree(reference.workdir, ground.folder / "copy")
        damage(workdir / "checkpoints" / "4" / name)
        told = call("generate", f"--workdir={workdir}", *ONE_PIECE)
        # Checksums that were written upon may name another file than their own.
        named = "checkpoints/4 is damaged" if name.name == checksums.NAME else f"checkpoints/4 is damaged: {name} "
        fault = wrong(told, 0, "warning", named, "epoch 3, saved before it, is used instead")
        if not fault and digest(checkpoint_lib.restore(workdir)) != reference.digests[3]:
            fault = "what was restored is not that of epoch 3"
        yield f"{name}: {damage.__name__}", fault
        shutil.rmtree(workdir)
    for name in files[:: ground.size(1, 8)]:
        workdir = shutil.copytree(reference.workdir, ground.folder / "copy")
        _emptied(workdir / "checkpoints" / "4" / name)
        (workdir / "checkpoints" / "3" / checksums.NAME).unlink()
        before = tree(workdir)
        told = call(*ground.tiny(workdir, "train.epochs=6"))
        fault = wrong(told, 1, "checkpoints/4 is damaged", "checkpoints/3 is damaged", "put back a copy")
        yield f"{name}, and none before it", fault or ("" if tree(workdir) == before else "the workdir was changed")
        shutil.rmtree(workdir)
    workdir = shutil.copytree(reference.workdir, ground.folder / "copy")
    _emptied(workdir / "checkpoints" / "4" / "metadata" / "metadata")
    yield "trained on from the one before", wrong(call(*ground.tiny(workdir, *reference.fields)), 0, "4 is damaged")
    yield "ends byte-equal", reference.wrong_end(workdir)


# A value that differs from the one in `Ground.tiny`, for each field whose value plus one is not allowed.
OTHERS = {
    "name": "other",
    "data.cache": "off",
    "train.learning_rates": "0.01,0.02",
    "train.dropouts": "0.3,0.4",
    "train.epsilon_in_root": "false",
    "data.duration": "false",
    "data.percussion": "false",
    "train.devices": "1",
    "data.validation_fraction": "0.3",
    "model.dropout": "0.3",
    "model.layer_dropout": "0.3",
    "train.momentum": "0.9",
    "train.learning_rate": "0.01",
    "train.epochs": "4",
    "sample.temperature": "0.5",
    "data.seconds_per_file": "20",
    "data.split": "windows",
    "model.precision": "bfloat16",
    "data.encoding": "frames",
    "train.optimizer": "adam",
    "train.half_life": "5.0",
    "train.clip_norm": "5.0",
    "train.histograms": "true",
    "sample.audio": "wav",
    "sample.page": "false",
    "sample.soundfont": "",
}
# What some of them only go with.
COMPANIONS = {
    "train.half_life": ("train.optimizer=adam",),
    "train.clip_norm": ("train.optimizer=adam",),
    "model.layer_dropout": ("model.layers=2",),
}


def changed(ground: Ground) -> Iterator[Case]:
    """Changed config, data or version on resume"""
    reference = left_alone(ground, "train.epochs=3")
    saved = checkpoint_lib.read_metadata(reference.workdir).config
    moved = shutil.copytree(ground.clips, ground.folder / "moved")
    knobs = list(config_lib.fields(saved))
    for path, field, value in knobs[:: ground.size(1, 9)]:
        new = OTHERS.get(path, str(moved) if path == "data.source" else None)
        if new is None and field.metadata["choices"]:
            new = next(choice for choice in field.metadata["choices"] if choice != value)
        new = new if new is not None else str(value + 1)
        workdir = shutil.copytree(reference.workdir, ground.folder / "copy")
        before = tree(workdir)
        several = ("train.trials=2",) if "," in new else ()
        told = call(*ground.tiny(workdir, f"{path}={new}", *several, *COMPANIONS.get(path, ())))
        if field.metadata["may_change"]:
            yield f"{path}: harmless", wrong(told, 0)
        else:
            fault = wrong(told, 2, f"config.{path} is {value!r} in the run, ", "another --workdir")
            here = told.told.split(f"config.{path} is {value!r} in the run, ")[-1].split(" here")[0]
            if not fault and new.split(",")[0].strip("0") not in here.lower():
                fault = f"the new value {new} is not named: {told.told}"
            yield f"{path}: another run", fault or ("" if tree(workdir) == before else "the workdir was changed")
        shutil.rmtree(workdir)
    yield from _changed_data(ground, reference, moved)
    for name in ("musicjax", "jax", "python")[: ground.size(3, 1)]:
        workdir = shutil.copytree(reference.workdir, ground.folder / "copy")
        restored = checkpoint_lib.restore(workdir)
        versions = {**restored.metadata.versions, name: "0.0.1"}
        metadata = dataclasses.replace(restored.metadata, versions=versions)
        store = checkpoint_lib.Store(workdir)
        store.save(restored._replace(metadata=metadata))
        store.close()
        told = call(*ground.tiny(workdir, "train.epochs=4"))
        yield f"version of {name}", wrong(told, 0, f"{name} 0.0.1 then, {versions_now()[name]} now")
        shutil.rmtree(workdir)


def versions_now() -> dict[str, str]:
    """What the checkpoints of today say."""
    return metadata_lib.versions()


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
        if not fault and checkpoint_lib.read_metadata(workdir).epoch != 3:
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
    wait_for(lambda: checkpoint_lib.exists(workdir))
    for _ in range(ground.size(3, 1)):
        told = call(*flags)
        yield "a second training", wrong(told, 1, f"workdir {workdir} is in use: process {process.pid} on", "wait")
    yield from _reading(ground, workdir)
    yield "the first is still at it", "" if process.poll() is None else "it ended"
    process.kill()
    finish(process)
    yield "its lock file stays after kill -9", "" if (workdir / lock.NAME).is_file() else "it did not"
    again = call(*ground.tiny(workdir, f"train.epochs={checkpoint_lib.read_metadata(workdir).epoch + 1}"))
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
            epoch = checkpoint_lib.restore(workdir).metadata.epoch
        except RunError as error:
            yield "restore while training", str(error)
            continue
        yield "restore while training", "" if epoch >= last else f"epoch {epoch} after {last}"
        last = epoch
    for seed in range(ground.size(15, 2)):
        told = call("generate", f"--workdir={workdir}", f"--seed={seed}", *ONE_PIECE)
        yield "generate while training", wrong(told, 0) or _warned(told)
    for _ in range(ground.size(5, 1)):
        told = call("evaluate", f"--workdir={workdir}", "--checkpoint=latest")
        yield "evaluate while training", wrong(told, 0) or _warned(told)


def _warned(told: Result) -> str:
    return next((line for line in told.err.splitlines() if line.startswith("warning")), "")
