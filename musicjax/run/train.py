"""The one visible loop: read data, restore or start, then epoch, validate, record, save; samples at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from musicjax import arguments, console, jax_environment
from musicjax import config as config_lib
from musicjax.config import Config
from musicjax.encodings import encoding as encoding_lib
from musicjax.encodings.encoding import Dataset, Encoding
from musicjax.errors import RunError, UsageError
from musicjax.model import network
from musicjax.run import device, samples, signals
from musicjax.run import epoch as epoch_lib
from musicjax.run import workdir as workdir_lib
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store import lock, tensorboard_graph
from musicjax.store import metadata as metadata_lib
from musicjax.store import model as model_lib
from musicjax.store.checkpoint import Arrays, Checkpoint
from musicjax.store.metadata import Metadata, Progress
from musicjax.store.model import Model
from musicjax.store.recorder import Recorder
from musicjax.training import mesh
from musicjax.training import optimizer as optimizer_lib
from musicjax.training import step as step_lib
from musicjax.version import __version__


def train(config: Config, workdir: str | Path) -> dict[str, Any]:
    """Trains in a workdir, continues from its checkpoint if there is one, and writes samples into it.

    Returns:
        {"workdir", "epochs", "best_epoch", "best_validation_loss", "windows_per_second", "samples", ...}; empty in
        every process but the first.

    Raises:
        UsageError: the config is not valid, the workdir holds a run of another config, or JAX has settings or is asked
            for devices that musicjax cannot work with.
        RunError: no usable data, a loss that is not finite, files that cannot be read or written, or another training
            in the workdir.
    """
    arguments.require("config", config, Config, "a Config, such as musicjax.load_config('demo')")
    workdir = arguments.path_of("workdir", workdir, "the folder of a run")
    jax_environment.require()
    devices = mesh.make(config_lib.validate(config).train.devices)
    mesh.require_divisible(config.train.batch_size, devices)
    with contextlib.ExitStack() as held:
        return _train(config, workdir, devices, held)


def _train(config: Config, workdir: Path, devices: Mesh, held: contextlib.ExitStack) -> dict[str, Any]:
    # 1. Restore or start.
    with _together():
        dataset, arrays, metadata = _ready(config, workdir, devices, held)
    _require_agreement(arrays, metadata)
    encoding = dataset.encoding
    if jax.process_index() == 0:
        workdir_lib.write_settings(workdir, encoding.config, dataset.outcomes)
    parameters = _say_model(encoding, arrays.best_params)

    # 2. Epochs.
    recorder = None
    if jax.process_index() == 0:
        step = int(np.asarray(arrays.state.step).max())
        recorder = held.enter_context(contextlib.closing(Recorder(workdir, metadata.epoch, step)))
        if metadata.epoch == 0:
            batch_size, window = encoding.config.train.batch_size, encoding.config.data.window
            recorder.graph(tensorboard_graph.of_network(encoding.network(), arrays.best_params, batch_size, window))
    arrays, metadata, speed = _epochs(dataset, workdir, arrays, metadata, devices, recorder)
    if recorder is None:
        return {}

    # 3. Music.
    of_trials = _of_trials(metadata)
    step = int(np.asarray(arrays.state.step).max())
    written = samples.write(_model(arrays, metadata, devices), dataset.validation.music, workdir, recorder, step)
    validated = encoding.count(dataset.validation.rows)
    return {
        "workdir": str(workdir),
        "epochs": metadata.epoch,
        "best_epoch": metadata.best_epoch,
        "best_validation_loss": metadata.best_loss,
        "parameters": parameters,
        "train_windows": len(dataset.training.starts),
        **{f"validation_{name}": count for name, count in validated.items()},
        "windows_per_second": speed,
        **written,
        **of_trials,
    }


@contextlib.contextmanager
def _together():
    """A process that cannot begin tells the others, which wait for it."""
    try:
        yield
    except (UsageError, RunError, OSError):
        mesh.gather(mesh.FAILED)
        raise


def _require_agreement(arrays: Arrays, metadata: Metadata) -> None:
    """Raises RunError unless all processes of this run start from the same state."""
    if jax.process_count() > 1:
        from musicjax.run import processes  # a process by itself does without

        processes.require(arrays, metadata)


def _say_model(encoding: Encoding, params: dict) -> int:
    """Prints the layers in one line; returns how many parameters there are."""
    net, model = encoding.network(), encoding.config.model
    parameters = network.count(params)
    layers = f"LSTM {model.units}" + f" x {net.layers}" * (net.layers > 1)
    own = f" -> {net.head.name}" if net.head.name else ""
    console.say(
        "model",
        f"{layers} -> dropout {model.dropout:g} -> Dense {net.head.outputs(net.predicted)}{own}: {parameters:,} "
        "parameters",
    )
    return parameters


def _model(arrays: Arrays, metadata: Metadata, devices: Mesh) -> Model:
    """The model with the best parameters so far."""
    params, deviation = mesh.local((arrays.best_params, arrays.best_deviation), devices)
    return model_lib.of(arrays._replace(best_params=params, best_deviation=deviation), metadata)


def _ready(
    config: Config, workdir: Path, devices: Mesh, held: contextlib.ExitStack
) -> tuple[Dataset, Arrays, Metadata]:
    """The data, and what training starts from; says what it finds. The workdir is locked as long as `held` is open."""
    workdir_lib.require_folder(workdir)
    if config.sample.audio != "none" and config.sample.soundfont:
        from musicjax.generation import sound  # a run without a sound font of its own does without

        sound.require_soundfont(config.sample.soundfont)
    if jax.process_index():
        console.mute()
    else:
        held.enter_context(lock.held(workdir))
        workdir_lib.remove_partial_files(workdir)
    saved = workdir_lib.saved_config(workdir)
    config = device.with_precision(config, saved)
    if saved is not None:
        workdir_lib.require_same_config(saved, config, workdir)
    console.say("musicjax", f"{__version__}  config {config.name}  workdir {workdir}")
    device.say(config.model.precision, devices)
    dataset = encoding_lib.of(config).dataset()
    return dataset, *(_started(dataset) if saved is None else _restored(dataset, workdir))


def _started(dataset: Dataset) -> Checkpoint:
    """What a run has before its first step."""
    config, net = dataset.encoding.config, dataset.encoding.network()
    keys, window = step_lib.keys(config.seed), config.data.window
    optimizer = optimizer_lib.of(config.train, config.train.learning_rate)
    if config.train.trials == 1:
        # As one program: operation by operation it takes three times as long, and caching does not help.
        state = jax.jit(step_lib.init, static_argnums=(0, 1, 3))(net, optimizer, keys.init, window)
        best = state.params
    else:
        from musicjax.training import trials  # one model does without

        state = jax.jit(trials.init, static_argnums=(0, 1, 3))(
            net, optimizer, trials.of(config_lib.trials(config)), window
        )
        best = jax.tree.map(lambda leaf: leaf[0], state.params)
    chosen = jax.random.choice(keys.primers, len(dataset.training.starts), (checkpoint_lib.PRIMERS,))
    primers = jnp.asarray(dataset.encoding.primers(dataset.training, np.asarray(chosen)))
    unknown = jnp.zeros(net.columns)
    learned, versions = dataset.encoding.learned, metadata_lib.versions()
    trials_of = (Progress(),) * config.train.trials
    metadata = Metadata(0, 0, math.inf, config, learned, dataset.fingerprint, versions, trials=trials_of)
    return Checkpoint(Arrays(state, best, unknown, unknown, primers), metadata)


def _restored(dataset: Dataset, workdir: Path) -> Checkpoint:
    """What the workdir's latest checkpoint holds, under the present config and versions."""
    arrays, metadata = checkpoint_lib.restore(workdir)
    config, saved = dataset.encoding.config, metadata.config
    source = config.data.source
    encoding_lib.require_same(dataset.fingerprint, source, metadata.fingerprint, saved.data.source, workdir)
    best = f"best validation loss {metadata.best_loss:.5f}"
    console.say("resume", f"{metadata.epoch} epochs are done, {best}")
    if dataset.encoding.learned != metadata.learned:
        names = " and ".join(metadata.learned)
        raise RunError(
            f"workdir {workdir} was trained with other {names} than its data give now; go on with the version "
            "of musicjax that it was trained with, or use another --workdir"
        )
    versions = metadata_lib.versions()
    for name, version in versions.items():
        if metadata.versions.get(name) != version:
            before = metadata.versions.get(name, "unknown")
            console.say("resume", f"{name} {before} then, {version} now: the last bits of numbers may differ")
    return Checkpoint(arrays, dataclasses.replace(metadata, config=config, versions=versions))


def _epochs(
    dataset: Dataset, workdir: Path, arrays: Arrays, metadata: Metadata, devices: Mesh, recorder: Recorder | None
) -> tuple[Arrays, Metadata, float]:
    """Trains until the last epoch, or until it stops early; returns the last checkpoint and the median of windows/s.

    An epoch starts before the numbers of the one before it are read, so that the devices do not wait for recording
    and saving, unless those numbers may end the training.
    """
    config = dataset.encoding.config
    settings = config.train
    if metadata.epoch >= settings.epochs:
        console.say("train", f"all {settings.epochs} epochs are done; to train longer, raise --config.train.epochs")
        return arrays, metadata, 0.0
    state, started, under_way = mesh.replicate(arrays.state, devices), metadata.epoch, None
    programs = epoch_lib.compiled(config, dataset, state, devices)
    # Programs on several simulated devices do not run in the background.
    may_lead, speeds = 0 if devices.size > 1 and jax.default_backend() == "cpu" else 1, []
    with contextlib.ExitStack() as closing, console.bar("train", settings.epochs, metadata.epoch) as update:
        store = None
        if recorder is not None:
            store = closing.enter_context(contextlib.closing(checkpoint_lib.Store(workdir)))
        free = time.perf_counter()  # when the devices became free for the epoch that is read next
        while True:
            next_one, ahead = None, started - metadata.epoch
            # The samples after an epoch are drawn before the next epoch.
            looked_at = ahead > 0 and _looked_at(config, metadata.epoch + ahead)
            if (
                started < settings.epochs
                and ahead <= may_lead
                and not looked_at
                and not epoch_lib.may_end(metadata, ahead)
            ):
                next_one = epoch_lib.start(programs, state, started, devices, after=under_way)
                started, state = started + 1, next_one.state
            if under_way is not None:
                epoch = epoch_lib.read(under_way, dataset, metadata.epoch, free)
                counted = epoch_lib.counted(epoch, metadata)
                train, valid = ([side[trial] for trial in counted] for side in (epoch.train, epoch.valid))
                arrays, metadata = epoch_lib.advance(arrays, metadata, under_way.state, epoch, workdir)
                if recorder is not None and store is not None:
                    step = int(np.asarray(arrays.state.step).max())
                    with signals.held():
                        if counted:
                            recorder.batches(step, epoch_lib.by_batch(epoch, counted))
                            recorder.histograms(step, epoch.histograms)
                            recorder.write("train", metadata.epoch, step, train)
                            recorder.write("valid", metadata.epoch, step, valid)
                            recorder.sync()
                        store.save(Checkpoint(arrays, metadata))
                speeds.append(epoch.windows_per_second)
                seconds_left = (settings.epochs - metadata.epoch) * (epoch.finished - free)
                if counted:
                    update(metadata.epoch, epoch_lib.line(train, valid, seconds_left))
                free = epoch.finished
                if epoch_lib.may_end(metadata, 0):
                    break
                if recorder is not None and _looked_at(config, metadata.epoch):
                    step = int(np.asarray(arrays.state.step).max())
                    samples.preview(_model(arrays, metadata, devices), dataset.validation.music, recorder, step)
                    free = time.perf_counter()
            elif next_one is None:
                break
            under_way = next_one
    if metadata.epoch < settings.epochs:
        console.say("train", f"stopped early: no lower validation loss since epoch {metadata.best_epoch}")
    whose = f", of trial {metadata.best_trial}" if settings.trials > 1 else ""
    console.say("train", f"best validation loss {metadata.best_loss:.5f} at epoch {metadata.best_epoch}{whose}")
    return arrays, metadata, float(np.median(speeds)) if speeds else 0.0


def _looked_at(config: Config, epoch: int) -> bool:
    """Whether samples are recorded after this epoch, counted from 1, while training goes on."""
    return config.sample.every > 0 and epoch % config.sample.every == 0 and epoch < config.train.epochs


def _of_trials(metadata: Metadata) -> dict[str, Any]:
    """What the summary says of several trials, by the lowest validation loss of each; empty for a single model."""
    if len(metadata.trials) == 1:
        return {}
    from musicjax.training import trials  # one model does without

    config = metadata.config
    by_pair: dict[tuple[float, float], list[Progress]] = {}
    for (_, rate, dropout), progress in zip(config_lib.trials(config), metadata.trials, strict=True):
        by_pair.setdefault((rate, dropout), []).append(progress)
    settings = []
    for (rate, dropout), several in by_pair.items():
        losses = [progress.best_loss for progress in several if not progress.diverged]
        mean, deviation = trials.mean_and_deviation(losses) if losses else (None, None)
        named = {"learning_rate": rate, "dropout": dropout, "mean": mean, "deviation": deviation}
        settings.append({**named, "trials": len(several), "diverged": len(several) - len(losses)})
    losses = [progress.best_loss for progress in metadata.trials if not progress.diverged]
    mean, deviation = trials.mean_and_deviation(losses)
    console.say("trials", f"best validation loss of each: mean {mean:.5f}, deviation {deviation:.5f}")
    return {
        "trials": len(metadata.trials),
        "diverged": sum(bool(progress.diverged) for progress in metadata.trials),
        "best_trial": metadata.best_trial,
        "best_seed": config.seed + metadata.best_trial,
        "validation_loss_mean": mean,
        "validation_loss_deviation": deviation,
        "settings": settings,
    }
