"""Checkpoints of a run: everything needed to go on with it or to use its model. The only importer of orbax.

One checkpoint holds the latest state and the best parameters together, written aside and renamed, so
that they never belong to different moments. The two newest are kept.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import platform
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

import musicjax
from musicjax import config as config_lib
from musicjax.config import Config
from musicjax.errors import RunError, UsageError
from musicjax.model.network import MusicLSTM
from musicjax.music.note_matrix import Scaling
from musicjax.training import optimizer as optimizer_lib
from musicjax.training import step as step_lib
from musicjax.training.step import TrainState

KEPT = 2
# In each checkpoint: {file: sha256}, written last. orbax itself notices a flipped bit in few of its files.
MANIFEST = "sha256.json"
# Windows of the training data that travel with the model, for generating without a primer of one's own.
PRIMERS = 128


class Arrays(NamedTuple):
    """state: the latest, of several trials with the number of trials in front; best_params: those of the lowest
    validation loss of all; deviation: float32 [C], of the best trial's latest; primers: float32 [PRIMERS, T, C]."""

    state: TrainState
    best_params: dict
    deviation: jax.Array
    best_deviation: jax.Array
    primers: jax.Array


@dataclasses.dataclass(frozen=True)
class Standing:
    """How far a trial has come: its lowest validation loss, and the epoch at which a loss was not finite, or 0."""

    best_epoch: int = 0
    best_loss: float = math.inf
    diverged: int = 0


@dataclasses.dataclass(frozen=True)
class Facts:
    """What goes beside the arrays, as JSON.

    Attributes:
        epoch: epochs finished.
        best_epoch, best_loss: of the lowest validation loss of all trials.
        config, scaling: of the run.
        fingerprint: of the data.
        versions: of the program and what it computes with.
        best_trial: whose loss the best is.
        trials: of each trial; a run by itself is one.
    """

    epoch: int
    best_epoch: int
    best_loss: float
    config: Config
    scaling: Scaling
    fingerprint: str
    versions: dict[str, str]
    best_trial: int = 0
    trials: tuple[Standing, ...] = (Standing(),)


class Checkpoint(NamedTuple):
    """Arrays and Facts of one moment."""

    arrays: Arrays
    facts: Facts


def versions() -> dict[str, str]:
    """Versions of the program and of what its numbers depend on."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "mido")
    found = {"musicjax": musicjax.__version__, "python": platform.python_version()}
    return found | {package: importlib.metadata.version(package) for package in packages}


def network_of(config: Config) -> MusicLSTM:
    """The network that a config describes.

    Raises:
        UsageError: JAX computes in float64 here, so that the numbers would not be those of any other run.
    """
    if jax.config.read("jax_enable_x64"):
        raise UsageError("JAX_ENABLE_X64 is set, and the model is float32 throughout; unset it")
    model, columns = config.model, 4 if config.data.duration else 3
    return MusicLSTM(model.units, columns, model.dropout, model.precision, model.layers)


def folder(workdir: Path) -> Path:
    """Where the checkpoints of a workdir lie."""
    return workdir.resolve() / "checkpoints"


def exists(workdir: Path) -> bool:
    """Whether the workdir holds a finished checkpoint."""
    return folder(workdir).is_dir() and _latest(folder(workdir)) is not None


def verify(step_folder: Path) -> None:
    """Compares the files of a checkpoint with the sha256 that were saved beside them.

    Where the run was killed between a checkpoint and its list, there is none, and nothing is compared.

    Raises:
        ValueError: a file is missing or not the one that was saved.
    """
    listing = step_folder / MANIFEST
    if not listing.is_file():
        return
    for name, sha256 in json.loads(listing.read_text()).items():
        path = step_folder / name
        if not path.is_file():
            raise ValueError(f"{name} is missing")
        if _sha256(path) != sha256:
            raise ValueError(f"{name} is not the file that was saved")


class Store:
    """Writes the checkpoints of one run; close it when done."""

    def __init__(self, workdir: Path):
        self._folder = folder(workdir)
        self._folder.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=KEPT, enable_async_checkpointing=False, create=False, multiprocessing_options=_alone()
        )
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def save(self, checkpoint: Checkpoint) -> None:
        """Raises RunError if it cannot be written; what was there before stays."""
        facts = dataclasses.asdict(checkpoint.facts)
        # This process' copies: of what several processes share, each could only save a part.
        arrays = jax.tree.map(np.asarray, checkpoint.arrays)
        items = ocp.args.Composite(state=ocp.args.StandardSave(arrays), facts=ocp.args.JsonSave(facts))
        try:
            self._manager.save(checkpoint.facts.epoch, args=items, force=True)
            self._write_manifest(self._folder / str(checkpoint.facts.epoch))
        except (OSError, ValueError) as error:
            raise RunError(f"checkpoint of epoch {checkpoint.facts.epoch} could not be saved: {error}") from error

    @staticmethod
    def _write_manifest(step_folder: Path) -> None:
        files = sorted(path for path in step_folder.rglob("*") if path.is_file())
        hashes = {path.relative_to(step_folder).as_posix(): _sha256(path) for path in files}
        partial = step_folder / f"{MANIFEST}.partial"
        partial.write_text(json.dumps(hashes, indent=2) + "\n")
        partial.replace(step_folder / MANIFEST)

    def close(self) -> None:
        """Releases what orbax holds; nothing is saved after it."""
        self._manager.close()


def read_facts(workdir: Path) -> Facts:
    """The facts of the latest checkpoint, without its arrays.

    Raises:
        RunError: there is none, or it cannot be read.
    """
    place = folder(workdir)
    epoch = _latest(place) if place.is_dir() else None
    if epoch is None:
        raise RunError(
            f"workdir {workdir} holds no checkpoint; expected one under {place}; train first, or name another --workdir"
        )
    try:
        verify(place / str(epoch))
    except ValueError as error:
        raise RunError(
            f"checkpoint {place / str(epoch)} is damaged: {error}; remove that folder to use the one before it"
        ) from error
    try:
        with _reader(place) as manager:
            saved = manager.restore(epoch, args=ocp.args.Composite(facts=ocp.args.JsonRestore())).facts
        scaling = Scaling(**{name: tuple(values) for name, values in saved["scaling"].items()})
        standings = saved.get("trials") or [{"best_epoch": saved["best_epoch"], "best_loss": saved["best_loss"]}]
        typed = {
            "config": config_lib.from_dict(saved["config"]),
            "scaling": scaling,
            "trials": tuple(Standing(**standing) for standing in standings),
        }
        return Facts(**{**saved, **typed})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        raise _damaged(place, epoch, error) from error


def restore(workdir: Path) -> Checkpoint:
    """The latest checkpoint.

    Raises:
        RunError: there is none, it cannot be read, or its shapes are not those of its config.
    """
    facts = read_facts(workdir)
    config = facts.config
    net = network_of(config)

    def template() -> Arrays:
        state = step_lib.init(
            net, optimizer_lib.rmsprop(config.train.learning_rate), jax.random.key(0), config.data.window
        )
        trials = config.train.trials
        states = state if trials == 1 else jax.tree.map(lambda leaf: jnp.stack([leaf] * trials), state)
        deviation = jnp.zeros(net.columns)
        primers = jnp.zeros((PRIMERS, config.data.window, net.columns))
        return Arrays(states, state.params, deviation, deviation, primers)

    place = folder(workdir)
    try:
        with _reader(place) as manager:
            # Where it was trained does not matter: it is restored onto the device that is here.
            here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
            shapes = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), jax.eval_shape(template)
            )
            items = ocp.args.Composite(state=ocp.args.StandardRestore(shapes))
            return Checkpoint(manager.restore(facts.epoch, args=items).state, facts)
    except Exception as error:  # orbax and tensorstore raise many kinds for damaged files
        raise _damaged(place, facts.epoch, error) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _reader(place: Path) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(
        enable_async_checkpointing=False, create=False, multiprocessing_options=_alone()
    )
    return ocp.CheckpointManager(place, options=options)


def _alone() -> ocp.options.MultiprocessingOptions:
    """Each process reads for itself and the first alone writes; none waits for the others in here."""
    me = jax.process_index()
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    return ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
    )


def _latest(place: Path) -> int | None:
    with _reader(place) as manager:
        return manager.latest_step()


def _damaged(place: Path, epoch: int, error: Exception) -> RunError:
    reason = str(error).strip().splitlines()
    return RunError(
        f"checkpoint {place / str(epoch)} cannot be restored: {type(error).__name__}: {reason[0] if reason else ''}; "
        "expected a complete checkpoint of this run's model, written by this version"
    )
