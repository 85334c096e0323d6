"""Checkpoints of a run: everything needed to continue it or to use its model. The only importer of orbax.

One checkpoint holds the latest state and the best parameters together, so that they never belong to different
moments. It is written under another name and gets its own, the number of its epoch, once all of it and its checksums
are on the disk. The two newest are kept: if the newest is damaged, the one before it is used, and the console says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from musicjax import console, files, renamed
from musicjax.encodings import encoding
from musicjax.errors import RunError, SaveError, UsageError
from musicjax.store import checksums, lock
from musicjax.store import metadata as metadata_lib
from musicjax.store.metadata import Metadata
from musicjax.training import optimizer as optimizer_lib
from musicjax.training import step as step_lib
from musicjax.training.step import TrainState
from musicjax.version import __version__

KEPT = 2
# How many windows of the training data are saved with the model, to generate from without a primer.
PRIMERS = 128
T = TypeVar("T")


class Arrays(NamedTuple):
    """state: the latest; of several trials, stacked along the first axis; best_params: those of the lowest validation
    loss of all trials; deviation, best_deviation: float32 [C], of the validation residual, under the latest parameters
    of the best trial and under best_params; primers: float32 [PRIMERS, T, C]."""

    state: TrainState
    best_params: dict
    deviation: jax.Array
    best_deviation: jax.Array
    primers: jax.Array


class Checkpoint(NamedTuple):
    """Arrays and Metadata of one moment."""

    arrays: Arrays
    metadata: Metadata


def folder(workdir: Path) -> Path:
    """Where the checkpoints of a workdir are."""
    return workdir.resolve() / "checkpoints"


def exists(workdir: Path) -> bool:
    """Whether the workdir holds a checkpoint, whole or damaged."""
    return bool(_newest_first(folder(workdir)))


class Store:
    """Writes the checkpoints of one run; close it when done."""

    def __init__(self, workdir: Path):
        self._folder = folder(workdir)
        self._folder.mkdir(parents=True, exist_ok=True)
        # Kept open, so that no other folder gets its inode number.
        self._handle = None if os.name == "nt" else os.open(self._folder, os.O_RDONLY)
        self._orbax = _orbax()

    def save(self, checkpoint: Checkpoint) -> None:
        """Saves a checkpoint; raises SaveError if it cannot, and then leaves what was there before."""
        epoch = checkpoint.metadata.epoch
        partial = self._folder / f"{epoch}{files.PARTIAL}"
        # This process's own copies: of arrays that several processes share, each could save only a part.
        arrays = jax.tree.map(np.asarray, checkpoint.arrays)
        metadata = ocp.args.JsonSave(metadata_lib.to_saved(checkpoint.metadata))
        items = ocp.args.Composite(state=ocp.args.StandardSave(arrays), metadata=metadata)
        try:
            self._require_folder()
            self._orbax.save(partial, args=items, force=True)
            checksums.write(partial)
            self._require_folder()
            finished = self._folder / str(epoch)
            # This epoch may have a checkpoint already: a damaged one, or one from before the sampling was chosen.
            replaced = _set_aside(finished) if finished.exists() else None
            partial.rename(finished)
            files.sync(self._folder)
            if replaced is not None:
                files.remove(replaced)
        except Exception as error:  # orbax and tensorstore raise many kinds
            for leftover in self._folder.glob(f"{epoch}{files.PARTIAL}*"):
                files.remove(leftover)
            raise SaveError(
                f"checkpoint of epoch {epoch} could not be saved in {self._folder}: {_reason(error)}; check space and "
                "permissions there and start again: the run goes on after the last epoch that was saved"
            ) from error
        for old in [path for path in _newest_first(self._folder) if int(path.name) < epoch][KEPT - 1 :]:
            aside = None
            # Windows has no lock, but renames nothing that is read.
            with lock.removing(old) as nobody_reads_it, contextlib.suppress(PermissionError):
                aside = _set_aside(old) if nobody_reads_it else None
            if aside is not None:  # else it is removed after a later epoch
                files.remove(aside)

    def close(self) -> None:
        """Releases what orbax holds; nothing can be saved afterwards."""
        self._orbax.close()
        if self._handle is not None:
            os.close(self._handle)

    def _require_folder(self) -> None:
        """Raises OSError if the folder was moved or removed: orbax would make a new one under the old name."""
        if self._handle is not None and not os.path.samestat(os.stat(self._folder), os.fstat(self._handle)):
            raise OSError("it is not the folder that was there at the start")


def read_metadata(workdir: Path) -> Metadata:
    """The metadata of the latest whole checkpoint, without its arrays.

    Raises:
        RunError: there is none.
    """
    with _orbax() as orbax:
        return _of_newest_whole(workdir, lambda place: _metadata_of(orbax, place))


def restore(workdir: Path, otherwise: str = "") -> Checkpoint:
    """The latest checkpoint that is whole; says which newer ones are damaged.

    Args:
        otherwise: what to do where none is whole, if not to start anew.

    Raises:
        RunError: there is none, or its shapes are not those of its config.
        UsageError: see `Encoding.network`.
    """
    with _orbax() as orbax:

        def checkpoint_of(place: Path) -> Checkpoint:
            metadata = _metadata_of(orbax, place)
            items = ocp.args.Composite(state=ocp.args.StandardRestore(_shapes(metadata)))
            return Checkpoint(orbax.restore(place, args=items).state, metadata)

        return _of_newest_whole(workdir, checkpoint_of, otherwise)


def _of_newest_whole(workdir: Path, read: Callable[[Path], T], otherwise: str = "") -> T:
    """What `read` makes of the newest checkpoint that is whole; otherwise: see `restore`.

    Raises:
        RunError: there is none, or a later version of musicjax saved it so that this one cannot read it.
    """
    while True:
        places, damaged = _newest_first(folder(workdir)), []
        if not places:
            what = "holds no checkpoint" if workdir.is_dir() else "is a file" if workdir.exists() else "does not exist"
            raise RunError(
                f"workdir {workdir} {what}; expected the folder of a run, with a checkpoint under {folder(workdir)}; "
                "train first, or name another --workdir"
            )
        for place in places:
            what = "is damaged"
            try:
                with lock.reading(place):
                    checksums.verify(place)
                    what = "cannot be restored"
                    found = read(place)
            except UsageError:
                raise
            except lock.Gone:
                break
            except Exception as error:  # orbax and tensorstore raise many kinds
                if not place.is_dir():  # a run beside us has saved newer ones and removed this: look again
                    break
                if what != "is damaged" and (writer := _newer_writer(place)):
                    raise RunError(
                        f"checkpoint {place} was written by musicjax {writer}, and this is {__version__}, which cannot "
                        f"read it; install musicjax {writer} or later"
                    ) from error
                damaged.append(f"checkpoint {place} {what}: {_reason(error)}")
                continue
            for line in damaged:
                console.say_once("warning", f"{line}; epoch {place.name}, saved before it, is used instead")
            return found
        else:
            raise RunError(
                f"{'; '.join(damaged)}; expected a whole checkpoint of this run's model that this version can read; "
                f"put back a copy of one, or {otherwise or f'remove {folder(workdir)} to start over'}"
            )


def _newer_writer(place: Path) -> str:
    """The version of musicjax that saved a checkpoint, if that is a later one; else empty."""
    try:
        writer = str(json.loads((place / "metadata" / "metadata").read_text())["versions"]["musicjax"])
        saved, own = ([int(number) for number in re.findall(r"\d+", version)] for version in (writer, __version__))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return writer if saved > own else ""


def _newest_first(place: Path) -> list[Path]:
    """The checkpoints' folders, which are named by their epochs."""
    try:
        found = [path for path in place.iterdir() if path.name.isdecimal() and path.name.isascii() and path.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def _metadata_of(orbax: ocp.Checkpointer, place: Path) -> Metadata:
    """The metadata of a checkpoint; raises ValueError if their epoch is not the one in its name."""
    names = ("metadata", *(old for old, new in renamed.CHECKPOINT.items() if new == "metadata"))
    item = next((name for name in names if (place / name).is_dir()), "metadata")
    saved = orbax.restore(place, args=ocp.args.Composite(**{item: ocp.args.JsonRestore()}))[item]
    metadata = metadata_lib.from_saved(saved)
    if metadata.epoch != int(place.name):
        raise ValueError(f"it is of epoch {metadata.epoch}")
    return metadata


def _shapes(metadata: Metadata) -> Arrays:
    """Shapes and types of the arrays of a run, placed on a device of this machine, wherever it was trained."""
    config = metadata.config
    net = encoding.of(config, metadata.learned).network()

    def template() -> Arrays:
        optimizer = optimizer_lib.of(config.train, config.train.learning_rate)
        state = step_lib.init(net, optimizer, jax.random.key(0), config.data.window)
        trials = config.train.trials
        states = state if trials == 1 else jax.tree.map(lambda leaf: jnp.stack([leaf] * trials), state)
        deviation = jnp.zeros(net.columns)
        primers = jnp.zeros((PRIMERS, config.data.window, net.columns))
        return Arrays(states, state.params, deviation, deviation, primers)

    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), jax.eval_shape(template)
    )


def _orbax() -> ocp.Checkpointer:
    """Each process reads for itself and only the first writes, so none waits here for the others."""
    me, alone = jax.process_index(), ocp.options.MultiprocessingOptions()
    if jax.process_count() > 1:
        alone = ocp.options.MultiprocessingOptions(
            primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
        )
    options = ocp.CompositeOptions(multiprocessing_options=alone)
    handler = ocp.CompositeCheckpointHandler(composite_options=options)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def _set_aside(place: Path) -> Path:
    """Renames a checkpoint, so that nobody finds it any more; returns its new path."""
    return place.rename(place.with_name(f"{place.name}.deleting"))


def _reason(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f" ({error.filename})" if error.filename else "")
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if re.match(r"[A-Z_]+: ", lines[0]):  # tensorstore wraps the reason in paths and settings
        return lines[0].split(" [")[0].rsplit(": ", 1)[-1]
    return lines[0][:300]
