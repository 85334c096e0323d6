"""Checkpoints: whole or absent, the newest whole one is found, and what fails leaves the one before it."""

from __future__ import annotations

import copy
import dataclasses
import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from musicjax import console, files, version
from musicjax.errors import RunError
from musicjax.run import workdir as workdir_lib
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store import checksums, lock
from musicjax.store.checkpoint import Checkpoint, Store


@pytest.fixture
def workdir(trained_notes: Path, tmp_path: Path) -> Path:
    """A copy of the tiny run of three epochs."""
    return shutil.copytree(trained_notes, tmp_path / "w")


def same(one: Checkpoint, other: Checkpoint) -> bool:
    leaves = zip(jax.tree.leaves(one.arrays), jax.tree.leaves(other.arrays), strict=True)
    return one.metadata == other.metadata and all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in leaves)


def of_epoch(checkpoint: Checkpoint, epoch: int) -> Checkpoint:
    """The same arrays under another number, so that they can be saved again."""
    return Checkpoint(checkpoint.arrays, dataclasses.replace(checkpoint.metadata, epoch=epoch))


def names(workdir: Path) -> list[str]:
    return sorted(path.name for path in (workdir / "checkpoints").iterdir())


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def calls_of(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, before: Callable[[int], None]) -> None:
    """Calls before(k) at the k-th call of a function, counted from 1."""
    original, count = getattr(owner, name), 0

    def called(*arguments: object) -> object:
        nonlocal count
        count += 1
        before(count)
        return original(*arguments)

    monkeypatch.setattr(owner, name, called)


# What counts.


def test_the_two_newest_are_kept(trained_notes):
    assert names(trained_notes) == ["2", "3"]


def test_where_the_newest_is_damaged_the_one_before_it_is_used_and_that_is_said(workdir, capsys, monkeypatch):
    monkeypatch.setattr(console, "_said", set())
    before = checkpoint_lib.restore(workdir)
    flip(workdir / "checkpoints" / "3" / "metadata" / "metadata")
    restored = checkpoint_lib.restore(workdir)
    assert (before.metadata.epoch, restored.metadata.epoch) == (3, 2)
    assert checkpoint_lib.read_metadata(workdir).epoch == 2
    (told,) = capsys.readouterr().err.splitlines()  # once, though it was noticed twice
    assert told.startswith("warning")
    assert "checkpoints/3 is damaged: metadata/metadata is not the file that was saved; epoch 2" in told
    shutil.rmtree(workdir / "checkpoints" / "3")
    assert same(restored, checkpoint_lib.restore(workdir))


def test_where_none_is_whole_all_are_named_and_none_is_used(workdir):
    flip(workdir / "checkpoints" / "2" / "metadata" / "metadata")
    (workdir / "checkpoints" / "3" / "state" / "_METADATA").unlink()
    assert checkpoint_lib.exists(workdir), "or the run would start from zero"
    for read in (checkpoint_lib.restore, checkpoint_lib.read_metadata):
        with pytest.raises(RunError) as told:
            read(workdir)
        for words in ("checkpoints/3 is damaged: state/_METADATA is missing", "checkpoints/2 is damaged", "start over"):
            assert words in str(told.value)


def test_a_checkpoint_without_its_manifest_does_not_count(workdir):
    (workdir / "checkpoints" / "3" / checksums.NAME).unlink()
    assert checkpoint_lib.restore(workdir).metadata.epoch == 2


def test_what_a_cut_off_save_leaves_is_never_read_and_is_removed_at_the_next_start(workdir, capsys):
    place = workdir / "checkpoints"
    shutil.copytree(place / "3", place / "4.partial")
    shutil.copytree(place / "3", place / "5.partial.orbax-checkpoint-tmp-7")
    shutil.copytree(place / "3", place / "1.deleting")
    for name in (
        ".0123abcd-config.json.partial",
        ".4567ef01-metrics.jsonl.partial",
        "samples/.89abcdef-a.mid.partial",
        "samples/real/.89abcdef-a.mid.partial",
        "film.partial",
    ):
        (workdir / name).write_text("half")
    assert checkpoint_lib.restore(workdir).metadata.epoch == 3
    assert workdir_lib.remove_partial_files(workdir) == 7
    assert "7 partial files" in capsys.readouterr().err
    assert names(workdir) == ["2", "3"]
    assert (workdir / "film.partial").exists(), "not ours"
    assert workdir_lib.remove_partial_files(workdir) == 0
    assert capsys.readouterr().err == ""


def test_the_best_parameters_outlive_all_later_epochs(workdir):
    checkpoint = checkpoint_lib.restore(workdir)
    worse = jax.tree.map(lambda leaf: leaf + 1, checkpoint.arrays.state)
    store = Store(workdir)
    for epoch in range(4, 9):
        store.save(of_epoch(Checkpoint(checkpoint.arrays._replace(state=worse), checkpoint.metadata), epoch))
    store.close()
    assert names(workdir) == ["7", "8"]
    kept = checkpoint_lib.restore(workdir)
    assert kept.metadata.best_epoch == checkpoint.metadata.best_epoch
    assert jax.tree.all(jax.tree.map(np.array_equal, kept.arrays.best_params, checkpoint.arrays.best_params))
    assert not jax.tree.all(jax.tree.map(np.array_equal, kept.arrays.state, checkpoint.arrays.state))


@pytest.mark.parametrize("name", ["../3/metadata/metadata", "/etc/hostname", ".."])
def test_a_manifest_that_names_files_elsewhere_is_refused(workdir, name):
    path = workdir / "checkpoints" / "3" / checksums.NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), name: "0" * 64}))
    with pytest.raises(ValueError, match="lies elsewhere"):
        checksums.verify(path.parent)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "{", "[" * 100_000])
def test_a_manifest_that_is_none_is_refused(workdir, text):
    path = workdir / "checkpoints" / "3" / checksums.NAME
    path.write_text(text)
    with pytest.raises(ValueError, match=checksums.NAME):
        checksums.verify(path.parent)


# Saving.


def test_a_checkpoint_gets_its_name_when_all_of_it_is_on_the_disk(workdir, monkeypatch):
    """Every file and folder of it, manifest included, is synced before the renaming, and the folder above after."""
    events: list[tuple[str, str]] = []
    fsync, rename = os.fsync, Path.rename

    def logged_fsync(handle: int) -> None:
        events.append(("sync", os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    def logged_rename(path: Path, target: Path) -> Path:
        events.append(("rename", str(target)))
        return rename(path, target)

    checkpoint, store = checkpoint_lib.restore(workdir), Store(workdir)
    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(Path, "rename", logged_rename)
    store.save(of_epoch(checkpoint, 4))
    store.close()
    place = checkpoint_lib.folder(workdir)
    named = events.index(("rename", str(place / "4")))
    before = {path for kind, path in events[:named] if kind == "sync"}
    assert before >= {str(place / "4.partial" / path.relative_to(place / "4")) for path in (place / "4").rglob("*")}
    assert str(place / "4.partial") in before
    assert ("sync", str(place)) in events[named:]


@pytest.mark.parametrize("at", ["manifest", "rename", *range(1, 12, 5)])
def test_a_save_that_fails_leaves_what_was_there(workdir, monkeypatch, at):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before, store = checkpoint_lib.restore(workdir), Store(workdir)
    with monkeypatch.context() as patch:
        if at == "manifest":
            patch.setattr(checksums, "write", full)
        elif at == "rename":
            patch.setattr(Path, "rename", full)
        else:
            calls_of(patch, files, "sync", lambda count: full() if count == at else None)
        with pytest.raises(RunError, match=r"epoch 4 could not be saved.*No space left on device.*start again"):
            store.save(of_epoch(before, 4))
    assert names(workdir) == ["2", "3"]
    assert same(checkpoint_lib.restore(workdir), before)
    store.save(of_epoch(before, 4))
    store.close()
    assert names(workdir) == ["3", "4"]


def test_a_workdir_that_is_taken_away_is_told_and_not_made_anew(workdir):
    checkpoint, store = checkpoint_lib.restore(workdir), Store(workdir)
    shutil.rmtree(workdir)
    with pytest.raises(RunError, match="could not be saved"):
        store.save(of_epoch(checkpoint, 4))
    assert not workdir.exists()
    (workdir / "checkpoints").mkdir(parents=True)
    with pytest.raises(RunError, match="not the folder that was there at the start"):
        store.save(of_epoch(checkpoint, 4))
    store.close()


def test_an_epoch_trained_again_takes_the_place_of_its_damaged_checkpoint(workdir):
    flip(workdir / "checkpoints" / "3" / "metadata" / "metadata")
    checkpoint, store = checkpoint_lib.restore(workdir), Store(workdir)
    store.save(of_epoch(checkpoint, 3))
    store.close()
    assert names(workdir) == ["2", "3"]
    assert checkpoint_lib.restore(workdir).metadata.epoch == 3


def test_a_checkpoint_saved_anew_is_there_before_the_older_one_is_removed(workdir, monkeypatch):
    checkpoint, store, place = checkpoint_lib.restore(workdir), Store(workdir), checkpoint_lib.folder(workdir) / "3"
    removed = []

    def remove(path: Path) -> None:
        removed.append(path.name)
        checksums.verify(place)
        shutil.rmtree(path)

    monkeypatch.setattr(files, "remove", remove)
    config = copy.deepcopy(checkpoint.metadata.config)
    config.sample.num_notes = 17
    store.save(checkpoint._replace(metadata=dataclasses.replace(checkpoint.metadata, config=config)))
    store.close()
    assert removed and sorted(path.name for path in place.parent.iterdir()) == ["2", "3"]
    assert checkpoint_lib.restore(workdir).metadata.config.sample.num_notes == 17


# Reading while a training saves.


def test_a_checkpoint_is_not_removed_while_it_is_read(workdir):
    checkpoint, store = checkpoint_lib.restore(workdir), Store(workdir)
    with lock.reading(checkpoint_lib.folder(workdir) / "2"):
        store.save(of_epoch(checkpoint, 4))
        assert names(workdir) == ["2", "3", "4"]
        checksums.verify(checkpoint_lib.folder(workdir) / "2")
    store.save(of_epoch(checkpoint, 5))
    store.close()
    assert names(workdir) == ["4", "5"]


def test_a_checkpoint_that_cannot_be_renamed_because_it_is_read_is_kept_until_later(workdir, monkeypatch):
    """Like Windows, which lacks this lock and does not rename a folder that holds an open file."""
    checkpoint, store = checkpoint_lib.restore(workdir), Store(workdir)

    def is_read(place: Path) -> Path:
        raise PermissionError(13, "Access is denied", str(place))

    with monkeypatch.context() as patch:
        patch.setattr(lock, "fcntl", None)
        patch.setattr(checkpoint_lib, "_set_aside", is_read)
        store.save(of_epoch(checkpoint, 4))
    assert names(workdir) == ["2", "3", "4"]
    store.save(of_epoch(checkpoint, 5))
    store.close()
    assert names(workdir) == ["4", "5"]


def test_where_a_checkpoint_has_just_been_removed_the_newer_one_is_read(workdir, monkeypatch, capsys):
    checkpoint, store = checkpoint_lib.restore(workdir), Store(workdir)

    def trained_on(count: int) -> None:
        if count == 1:
            for epoch in (4, 5):
                store.save(of_epoch(checkpoint, epoch))

    calls_of(monkeypatch, lock, "reading", trained_on)
    assert checkpoint_lib.restore(workdir).metadata.epoch == 5
    store.close()
    assert capsys.readouterr().err == ""


def test_a_checkpoint_removed_in_the_middle_of_reading_is_not_called_damaged(workdir, monkeypatch, capsys):
    """As on file systems that have no locks."""
    checkpoint, store = checkpoint_lib.restore(workdir), Store(workdir)
    monkeypatch.setattr(lock, "fcntl", None)
    calls_of(
        monkeypatch,
        checksums,
        "verify",
        lambda count: [store.save(of_epoch(checkpoint, epoch)) for epoch in (4, 5)] if count == 1 else None,
    )
    assert checkpoint_lib.restore(workdir).metadata.epoch == 5
    store.close()
    assert capsys.readouterr().err == ""


# Damage.


def _zeros(path: Path) -> None:
    """As after a power failure."""
    path.write_bytes(b"\0" * path.stat().st_size)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "one bit": flip,
    "zeros": _zeros,
    "a folder": _folder,
    "absent": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_of_a_checkpoint_is_named(workdir, damage, tmp_path):
    place = workdir / "checkpoints" / "3"
    files_in_it = sorted(path.relative_to(place) for path in place.rglob("*") if path.is_file())
    assert len(files_in_it) > 5 and any(path.parts[0] == "state" for path in files_in_it)
    for name in files_in_it:
        copy = shutil.copytree(place, tmp_path / "copy")
        checksums.verify(copy)
        DAMAGES[damage](copy / name)
        # Checksums that were written upon may name another file than their own.
        named = "." if name.name == checksums.NAME else f"^{re.escape(str(name))} "
        with pytest.raises(ValueError, match=named):
            checksums.verify(copy)
        shutil.rmtree(copy)


# Metadata that somebody has changed.


def _change(place: Path, change: dict) -> None:
    metadata = place / "metadata" / "metadata"
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), **change}))
    checksums.write(place)


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 4},
        {"epoch": -1},
        {"epoch": "3"},
        {"epoch": 3.0},
        {"best_epoch": None},
        {"best_loss": "low"},
        {"best_loss": float("nan")},
        {"best_trial": 7},
        {"best_trial": -1},
        {"trials": [{}, {}]},
        {"trials": [{"best_epoch": 1, "more": 2}]},
        {"trials": "many"},
        {"learned": {}},
        {"learned": None},
        {"learned": {"bins": {}}},
        {"learned": {"scaling": {"shift": [0], "span": [1], "low": [0], "high": [1]}}},
        {"learned": {"scaling": {"shift": [0] * 4, "span": [0] * 4, "low": [0] * 4, "high": [1] * 4}}},
        {"learned": {"scaling": {"shift": [0] * 4, "span": [1] * 4, "low": [0] * 4, "high": [float("inf")] * 4}}},
        {"learned": {"scaling": {"shift": "abcd", "span": [1] * 4, "low": [0] * 4, "high": [1] * 4}}},
        {"versions": "old"},
        {"fingerprint": 5},
        {"config": {"train": 5}},
        {"config": {"model": {"units": 10**9}}},
        {"more": 1},
    ],
)
def test_metadata_that_are_not_those_of_a_run_are_refused(workdir, change):
    _change(workdir / "checkpoints" / "3", change)
    shutil.rmtree(workdir / "checkpoints" / "2")
    with pytest.raises(RunError, match="checkpoints/3 cannot be restored: it"):
        checkpoint_lib.read_metadata(workdir)


@pytest.mark.parametrize(
    "change",
    [
        {"more": 1},
        {"config": {"model": {"swing": 1}}},
        {"learned": {"scaling": {"shift": [0] * 9, "span": [1] * 9, "low": [0] * 9, "high": [1] * 9}}},
    ],
)
def test_a_checkpoint_of_a_later_version_that_cannot_be_read_names_it(workdir, change):
    _change(workdir / "checkpoints" / "3", change | {"versions": {"musicjax": "0.10.1"}})
    with pytest.raises(RunError) as raised:
        checkpoint_lib.restore(workdir)
    place, own = workdir / "checkpoints" / "3", version.__version__
    assert str(raised.value) == (
        f"checkpoint {place} was written by musicjax 0.10.1, and this is {own}, which cannot read it; "
        "install musicjax 0.10.1 or later"
    )


def test_a_checkpoint_of_a_later_version_that_can_be_read_is(workdir):
    _change(workdir / "checkpoints" / "3", {"versions": {"musicjax": "0.10.1"}})
    assert checkpoint_lib.restore(workdir).metadata.epoch == 3
