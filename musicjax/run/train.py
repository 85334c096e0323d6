"""The one visible loop: read data, restore or start, then epoch, validate, record, save; samples at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
from jax.sharding import Mesh

from musicjax import arguments, console, jax_environment
from musicjax import config as config_lib
from musicjax.config import Config
from musicjax.encodings import encoding as encoding_lib
from musicjax.encodings.encoding import Dataset, Encoding
from musicjax.errors import RunError, TogetherError, UsageError
from musicjax.model import network
from musicjax.run import device, samples, signals, start, summary, warm_start
from musicjax.run import epoch as epoch_lib
from musicjax.run import workdir as workdir_lib
from musicjax.run.finished_epoch import FinishedEpoch, OnEpoch, ends_training
from musicjax.run.summary import Summary
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store import lock, tensorboard_graph
from musicjax.store import metadata as metadata_lib
from musicjax.store import model as model_lib
from musicjax.store import recorder as recorder_lib
from musicjax.store.checkpoint import Arrays, Checkpoint
from musicjax.store.metadata import Metadata
from musicjax.store.recorder import Recorder
from musicjax.training import mesh, sharded_parameters
from musicjax.version import __version__


def train(
    config: Config, workdir: str | Path, init_from: str | Path | None = None, on_epoch: OnEpoch | None = None
) -> Summary:
    """Trains in a workdir, continues from its checkpoint if there is one, and writes samples into it.

    Args:
        init_from: the workdir of a trained model, or "builtin" for the one that comes with musicjax. A new run begins
            with its best weights and its bins or scaling; all else is as the config says. None: random weights.
        on_epoch: called after each epoch that this call trains, once its checkpoint is saved; the next epoch waits for
            it. If it returns True, training ends as after the last epoch. Its exceptions propagate. Of several
            processes, each calls it, and all must return the same.

    Returns:
        {"workdir", "epochs", "best_epoch", "best_validation_loss", "windows_per_second", "samples", ...}; empty in
        every process but the first.

    Raises:
        UsageError: the config is not valid, the workdir holds a run of another config or with other weights to begin
            with, the weights of `init_from` do not fit the config, JAX has settings or is asked for devices that
            musicjax cannot work with, or `on_epoch` cannot be called or returns no truth value.
        RunError: no usable data, no whole checkpoint in `init_from`, a loss that is not finite, files that cannot be
            read or written, or another training in the workdir.
    """
    arguments.require("config", config, Config, "a Config, such as musicjax.load_config('demo')")
    workdir = arguments.path_of("workdir", workdir, "the folder of a run")
    if on_epoch is not None and not callable(on_epoch):
        raise arguments.wrong("on_epoch", on_epoch, "a function of a FinishedEpoch, or None")
    jax_environment.require(jax_environment.TRAINING_KIB)
    config_lib.validate(config)
    with contextlib.ExitStack() as held:
        return _train(config, workdir, warm_start.source_of(init_from, workdir), on_epoch, held)


def _train(
    config: Config, workdir: Path, source: str | None, on_epoch: OnEpoch | None, held: contextlib.ExitStack
) -> Summary:
    # 1. Restore or start.
    with _together():
        config, devices, saved = _prepared(config, workdir, source, held)
        began = None if source is None or saved is not None else warm_start.load(source, config)
        dataset = encoding_lib.of(config, start.constants(saved, began)).dataset()
        arrays, metadata = start.started(dataset, began) if saved is None else start.restored(dataset, workdir)
    _require_agreement(arrays, metadata)
    encoding = dataset.encoding
    is_divided = epoch_lib.is_divided(encoding.config, devices)
    if is_divided:  # from here on no device holds them whole
        arrays = arrays._replace(**sharded_parameters.whole({"state": arrays.state, "best_params": arrays.best_params}))
    if jax.process_index() == 0:
        workdir_lib.write_settings(workdir, metadata, dataset.outcomes)
        if metadata.origin is not None and not checkpoint_lib.exists(workdir):
            _save(Checkpoint(arrays, metadata), workdir)  # to go on, the run needs only its own workdir
    parameters = _say_model(encoding, arrays.best_params, devices.size if is_divided else 1)

    # 2. Epochs.
    recorder = None
    if jax.process_index() == 0:
        step = int(np.asarray(arrays.state.step).max())
        recorder = held.enter_context(contextlib.closing(Recorder(workdir, metadata.epoch, step)))
        if metadata.epoch == 0:
            batch_size, window = encoding.config.train.batch_size, encoding.config.data.window
            recorder.graph(tensorboard_graph.of_network(encoding.network(), arrays.best_params, batch_size, window))
    arrays, metadata, speed = _epochs(dataset, workdir, arrays, metadata, devices, recorder, on_epoch)
    if recorder is None:
        return {}

    # 3. Music.
    of_trials, music = summary.of_trials(metadata), dataset.validation.music
    if getattr(metadata.config.sample.own, "fit", False) and music is not None:
        from musicjax.run import sampling_choice  # not needed if the sampling is settled

        fitted = sampling_choice.of(model_lib.of(arrays, metadata), music)
        metadata = dataclasses.replace(metadata, config=fitted)
        _save(Checkpoint(arrays, metadata), workdir)
        workdir_lib.write_settings(workdir, metadata, dataset.outcomes)
    step = int(np.asarray(arrays.state.step).max())
    written = samples.write(model_lib.of(arrays, metadata), music, workdir, recorder, step)
    validated = encoding.count(dataset.validation.rows)
    told: dict[str, Any] = {
        "workdir": str(workdir),
        "epochs": metadata.epoch,
        "best_epoch": metadata.best_epoch,
        "best_validation_loss": metadata.best_loss,
        "parameters": parameters,
        "train_windows": len(dataset.training.starts),
        **{f"validation_{name}": count for name, count in validated.items()},
        "windows_per_second": speed,
        **({} if metadata.origin is None else {"init_from": metadata.origin.path}),
        **written,
        **of_trials,
    }
    return cast(Summary, told)


def _save(checkpoint: Checkpoint, workdir: Path) -> None:
    """Saves what a run has before its first epoch or after its last; raises SaveError if it cannot."""
    with contextlib.closing(checkpoint_lib.Store(workdir)) as store, signals.held():
        store.save(checkpoint)


@contextlib.contextmanager
def _together():
    """A process that cannot begin tells the others, which wait for it."""
    try:
        yield
    except TogetherError:
        raise
    except (UsageError, RunError, OSError):
        mesh.gather(mesh.FAILED)
        raise


def _require_agreement(arrays: Arrays, metadata: Metadata) -> None:
    """Raises RunError unless all processes of this run start from the same state."""
    if jax.process_count() > 1:
        from musicjax.run import processes  # not needed in a single process

        processes.require(arrays, metadata)


def _say_model(encoding: Encoding, params: dict, divided: int) -> int:
    """Prints the layers in one line, and over how many devices they are divided; returns the number of parameters."""
    net = encoding.network()
    parameters = network.count(params)
    own = f" -> {net.head.name}" if net.head.name else ""
    where = f", divided over {divided} devices" * (divided > 1)
    console.say("model", f"{net.summary}{own}: {parameters:,} parameters{where}")
    return parameters


def _prepared(
    config: Config, workdir: Path, source: str | None, held: contextlib.ExitStack
) -> tuple[Config, Mesh, Metadata | None]:
    """(config with its precision decided, devices, metadata of the run that goes on); says what it finds.

    The workdir is locked as long as `held` is open.

    Args:
        source: of the weights that a new run begins with, as `warm_start.source_of` gives it.
    """
    workdir_lib.require_folder(workdir)
    if config.sample.audio != "none" and config.sample.soundfont:
        from musicjax.generation import sound_files  # needed only for a named sound font

        sound_files.require_soundfont(config.sample.soundfont)
    devices = mesh.make(config.train.devices)
    mesh.require_divisible(config.train.batch_size, devices, config.train.accumulate)
    device.require_precision(config)
    if jax.process_index():
        console.mute()
    else:
        held.enter_context(lock.held(workdir))
        workdir_lib.remove_partial_files(workdir)
    saved = workdir_lib.saved_metadata(workdir)
    if saved is not None:
        config = metadata_lib.as_it_began(config, saved)
    config, why = device.with_precision(config, None if saved is None else saved.config)
    if saved is not None:
        workdir_lib.require_same_config(saved.config, config, workdir)
        warm_start.require_same(saved.origin, source, workdir)
    console.say("musicjax", f"{__version__}  config {config.name}  workdir {workdir}")
    device.say(config.model.precision, why, devices)
    return config, devices, saved


def _epochs(
    dataset: Dataset,
    workdir: Path,
    arrays: Arrays,
    metadata: Metadata,
    devices: Mesh,
    recorder: Recorder | None,
    on_epoch: OnEpoch | None,
) -> tuple[Arrays, Metadata, float | None]:
    """Trains until the last epoch, or until it stops early; returns the last checkpoint and the median of windows/s.

    An epoch starts before the numbers of the one before it are read, so that the devices do not wait for recording
    and saving, unless those numbers or `on_epoch` may end the training.
    """
    config = dataset.encoding.config
    settings = config.train
    if metadata.epoch >= settings.epochs:
        console.say("train", f"all {metadata.epoch} epochs are done; to train longer, raise --config.train.epochs")
        return arrays, metadata, None
    is_divided = epoch_lib.is_divided(config, devices)
    state = (sharded_parameters.place if is_divided else mesh.replicate)(arrays.state, devices)
    started, under_way = metadata.epoch, None
    programs = epoch_lib.compiled(config, dataset, state, devices, metadata.epoch)
    # Programs on several simulated devices do not run in the background, and a divided state is fetched by one.
    waits_for_each = devices.size > 1 and (is_divided or jax.default_backend() == "cpu")
    may_lead, speeds, ends = 0 if waits_for_each else 1, list[float](), False
    with contextlib.ExitStack() as closing, console.bar("train", settings.epochs, metadata.epoch) as update:
        store = None
        if recorder is not None:
            store = closing.enter_context(contextlib.closing(checkpoint_lib.Store(workdir)))
        free = time.perf_counter()  # when the devices became free for the epoch that is read next
        while True:
            next_one, ahead = None, started - metadata.epoch
            # What follows an epoch, its samples or on_epoch, comes before the next epoch.
            waits = ahead > 0 and (on_epoch is not None or _looked_at(config, metadata.epoch + ahead))
            if started < settings.epochs and ahead <= may_lead and not waits and not epoch_lib.may_end(metadata, ahead):
                next_one = epoch_lib.start(programs, state, started, devices, under_way, reuse=is_divided)
                started, state = started + 1, next_one.state
            if under_way is not None:
                epoch = epoch_lib.read(under_way, dataset, metadata.epoch, free)
                counted = epoch_lib.counted(epoch, metadata)
                train, valid = ([side[trial] for trial in counted] for side in (epoch.train, epoch.valid))
                after = sharded_parameters.whole(under_way.state) if is_divided else under_way.state
                arrays, metadata = epoch_lib.advance(arrays, metadata, after, epoch, workdir)
                if recorder is not None and store is not None:
                    step = int(np.asarray(arrays.state.step).max())
                    with signals.held():
                        if counted:
                            recorder.batches(step, epoch_lib.by_batch(epoch, counted))
                            recorder.histograms(step, epoch_lib.histograms(config, after.params, epoch.outputs))
                            recorder.write("train", metadata.epoch, step, train)
                            recorder.write("valid", metadata.epoch, step, valid)
                            recorder.sync()
                        store.save(Checkpoint(arrays, metadata))
                speeds.append(epoch.windows_per_second)
                seconds_left = (settings.epochs - metadata.epoch) * (epoch.finished - free)
                if counted:
                    update(metadata.epoch, epoch_lib.line(train, valid, seconds_left))
                free = epoch.finished
                if counted and on_epoch is not None:
                    model_of_epoch = functools.partial(model_lib.of, arrays, metadata, "latest")
                    means = recorder_lib.means(train), recorder_lib.means(valid)
                    finished = FinishedEpoch(metadata.epoch, *means, epoch.windows_per_second, model_of_epoch)
                    ends, free = ends_training(on_epoch, finished), time.perf_counter()
                if ends or epoch_lib.may_end(metadata, 0):
                    break
                if recorder is not None and _looked_at(config, metadata.epoch):
                    step = int(np.asarray(arrays.state.step).max())
                    samples.preview(model_lib.of(arrays, metadata), dataset.validation.music, recorder, step)
                    free = time.perf_counter()
            elif next_one is None:
                break
            under_way = next_one
    if metadata.epoch < settings.epochs:
        why = "as on_epoch asked" if ends else f"no lower validation loss since epoch {metadata.best_epoch}"
        console.say("train", f"stopped early: {why}")
    whose = f", of trial {metadata.best_trial}" if settings.trials > 1 else ""
    console.say("train", f"best validation loss {metadata.best_loss:.5f} at epoch {metadata.best_epoch}{whose}")
    return arrays, metadata, round(float(np.median(speeds)), 2) if speeds else None


def _looked_at(config: Config, epoch: int) -> bool:
    """Whether samples are recorded after this epoch, counted from 1, while training goes on."""
    return config.sample.every > 0 and epoch % config.sample.every == 0 and epoch < config.train.epochs
