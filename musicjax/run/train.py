"""The one visible loop: read data, restore or start, then epoch, validate, record, save; at last samples."""

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

from musicjax import config as config_lib
from musicjax import console
from musicjax.config import Config
from musicjax.encodings import dataset
from musicjax.errors import RunError, UsageError
from musicjax.generation import sound
from musicjax.generation.generate import Model
from musicjax.model import network
from musicjax.run import device, epoch_metrics, partial_files, processes, samples, signals
from musicjax.run import epoch as epoch_lib
from musicjax.run import workdir as workdir_lib
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store import lock
from musicjax.store import metadata as facts_lib
from musicjax.store import tensorboard_graph as graph_lib
from musicjax.store.checkpoint import Arrays, Checkpoint
from musicjax.store.metadata import Facts, Standing
from musicjax.store.recorder import Recorder
from musicjax.training import mesh
from musicjax.training import step as step_lib
from musicjax.training import trials as trials_lib
from musicjax.version import __version__


def train(config: Config, workdir: str | Path) -> dict[str, Any]:
    """Trains in a workdir, going on from its checkpoint if there is one, and writes samples into it.

    Returns:
        {"workdir", "epochs", "best_epoch", "best_validation_loss", "windows_per_second", "samples", ...}; nothing in
        the second and further processes of one training.

    Raises:
        UsageError: the config is not valid, or the workdir holds a run of another config.
        RunError: no usable data, a loss that is not finite, files that cannot be read or written, or another training
            in the workdir.
    """
    workdir = Path(workdir)
    devices = mesh.make(config_lib.validate(config).train.devices)
    mesh.require_divisible(config.train.batch_size, devices)
    with contextlib.ExitStack() as held:
        return _train(config, workdir, devices, held)


def _train(config: Config, workdir: Path, devices: Mesh, held: contextlib.ExitStack) -> dict[str, Any]:
    # 1. Restore or start.
    try:
        data, arrays, facts = _ready(config, workdir, devices, held)
    except (UsageError, RunError, OSError):
        mesh.gather(processes.FAILED)  # the others wait for this process
        raise
    config, net = facts.config, checkpoint_lib.network_of(facts.config)
    processes.require(arrays, facts)
    if jax.process_index() == 0:
        workdir_lib.write_settings(workdir, config, data.outcomes)
    parameters = network.count(arrays.best_params)
    own = "" if config.model.head == "regression" else f" -> {config.model.head}"
    layers = f"LSTM {config.model.units}" + f" x {net.layers}" * (net.layers > 1)
    console.say(
        "model",
        f"{layers} -> dropout {config.model.dropout:g} -> Dense {net.head.outputs(net.predicted)}{own}: {parameters:,} "
        "parameters",
    )

    # 2. Epochs.
    recorder = None
    if jax.process_index() == 0:
        step = int(np.asarray(arrays.state.step).max())
        recorder = held.enter_context(contextlib.closing(Recorder(workdir, facts.epoch, step)))
        if facts.epoch == 0:
            recorder.graph(graph_lib.of_network(net, arrays.best_params, config.train.batch_size, config.data.window))
    arrays, facts, speed = _epochs(config, workdir, data, arrays, facts, devices, recorder)
    if recorder is None:
        return {}

    summary = of_trials(config, facts)

    # 3. Music.
    step = int(np.asarray(arrays.state.step).max())
    written = samples.write(_model(arrays, facts, devices), data.music, workdir, recorder, step)
    return {
        "workdir": str(workdir),
        "epochs": facts.epoch,
        "best_epoch": facts.best_epoch,
        "best_validation_loss": facts.best_loss,
        "parameters": parameters,
        **data.counts,
        "windows_per_second": speed,
        **written,
        **summary,
    }


def _model(arrays: Arrays, facts: Facts, devices: Mesh) -> Model:
    """The best parameters so far, ready to make music."""
    params, deviation = mesh.local((arrays.best_params, arrays.best_deviation), devices)
    return Model(checkpoint_lib.network_of(facts.config), params, deviation, arrays.primers, facts)


def _ready(
    config: Config, workdir: Path, devices: Mesh, held: contextlib.ExitStack
) -> tuple[dataset.Data, Arrays, Facts]:
    """The data, and what training goes on from; says what it finds. The workdir is ours as long as `held` is open."""
    workdir_lib.require_folder(workdir)
    if config.sample.audio != "none":
        sound.require_soundfont(config.sample.soundfont)
    if jax.process_index():
        console.mute()
    else:
        held.enter_context(lock.held(workdir))
        partial_files.remove(workdir)
    saved = workdir_lib.saved_config(workdir)
    config = device.with_precision(config, saved)
    if saved is not None:
        workdir_lib.require_same_config(saved, config, workdir)
    console.say("musicjax", f"{__version__}  config {config.name}  workdir {workdir}")
    device.say(config, devices)
    data = dataset.prepare(config)
    return data, *(_started(config, data) if saved is None else _restored(config, workdir, data))


def _started(config: Config, data: dataset.Data) -> Checkpoint:
    """What a run has before its first step."""
    net, keys, window = checkpoint_lib.network_of(config), step_lib.keys(config.seed), config.data.window
    optimizer = checkpoint_lib.optimizer_of(config, config.train.learning_rate)
    if config.train.trials == 1:
        # As one program: operation by operation it takes three times as long, and the cache of programs does not help.
        state = jax.jit(step_lib.init, static_argnums=(0, 1, 3))(net, optimizer, keys.init, window)
        best = state.params
    else:
        state = jax.jit(trials_lib.init, static_argnums=(0, 1, 3))(net, optimizer, epoch_lib.trials_of(config), window)
        best = trials_lib.select(state.params, 0)
    chosen = jax.random.choice(keys.primers, len(data.training.starts), (checkpoint_lib.PRIMERS,))
    primers = jnp.asarray(data.primers(np.asarray(chosen), window))
    unknown = jnp.zeros(net.columns)
    standings = (Standing(),) * config.train.trials
    facts = Facts(
        0, 0, math.inf, config, data.scaling, data.fingerprint, facts_lib.versions(), trials=standings, bins=data.bins
    )
    return Checkpoint(Arrays(state, best, unknown, unknown, primers), facts)


def _restored(config: Config, workdir: Path, data: dataset.Data) -> Checkpoint:
    """What the workdir's latest checkpoint holds, under the present config and versions."""
    arrays, facts = checkpoint_lib.restore(workdir)
    dataset.require_same(data.fingerprint, config.data.source, facts.fingerprint, facts.config.data.source, workdir)
    best = f"best validation loss {facts.best_loss:.5f}"
    console.say("resume", f"{facts.epoch} epochs are done, {best}")
    if data.bins != facts.bins:
        raise RunError(
            f"workdir {workdir} was trained with other bins than are learned from its data now; go on with the version "
            "of musicjax that it was trained with, or use another --workdir"
        )
    versions = facts_lib.versions()
    for name, version in versions.items():
        if facts.versions.get(name) != version:
            before = facts.versions.get(name, "unknown")
            console.say("resume", f"{name} {before} then, {version} now: the last bits of numbers may differ")
    return Checkpoint(arrays, dataclasses.replace(facts, config=config, versions=versions))


def _epochs(
    config: Config,
    workdir: Path,
    data: dataset.Data,
    arrays: Arrays,
    facts: Facts,
    devices: Mesh,
    recorder: Recorder | None,
) -> tuple[Arrays, Facts, float]:
    """Trains until the config's last epoch or early stop; returns the last checkpoint and windows/s (median).

    An epoch is started before the numbers of the one before it are read, so that the devices do not wait for
    recording and saving; unless the training may end with those numbers.
    """
    settings = config.train
    if facts.epoch >= settings.epochs:
        console.say("train", f"all {settings.epochs} epochs are done; a higher --config.train.epochs goes on")
        return arrays, facts, 0.0
    state, started, under_way = mesh.replicate(arrays.state, devices), facts.epoch, None
    programs = epoch_lib.compiled(config, data, state, devices)
    # Programs on several simulated devices are not run in the background.
    may_lead, speeds = 0 if devices.size > 1 and jax.default_backend() == "cpu" else 1, []
    with contextlib.ExitStack() as closing, console.bar("train", settings.epochs, facts.epoch) as update:
        store = None
        if recorder is not None:
            store = closing.enter_context(contextlib.closing(checkpoint_lib.Store(workdir)))
        free = time.perf_counter()  # since when the devices have been free for the epoch that is read next
        while True:
            next_one, ahead = None, started - facts.epoch
            looked_at = ahead > 0 and _looked_at(
                config, facts.epoch + ahead
            )  # its samples are made before the next epoch
            if (
                started < settings.epochs
                and ahead <= may_lead
                and not looked_at
                and not epoch_lib.may_end(facts, ahead)
            ):
                next_one = epoch_lib.start(programs, state, started, devices, after=under_way)
                started, state = started + 1, next_one.state
            if under_way is not None:
                epoch = epoch_lib.read(under_way, config, data, facts.epoch, free)
                counted = epoch_lib.counted(epoch, facts)
                train, valid = ([side[trial] for trial in counted] for side in (epoch.train, epoch.valid))
                arrays, facts = epoch_lib.advance(arrays, facts, under_way.state, epoch, workdir)
                if recorder is not None and store is not None:
                    step = int(np.asarray(arrays.state.step).max())
                    with signals.held():
                        if counted:
                            recorder.batches(step, epoch_lib.by_batch(epoch, counted))
                            recorder.histograms(step, epoch.histograms)
                            recorder.write("train", facts.epoch, step, train)
                            recorder.write("valid", facts.epoch, step, valid)
                            recorder.sync()
                        store.save(Checkpoint(arrays, facts))
                speeds.append(epoch.windows_per_second)
                seconds_left = (settings.epochs - facts.epoch) * (epoch.finished - free)
                if counted:
                    update(facts.epoch, epoch_metrics.line(train, valid, seconds_left))
                free = epoch.finished
                if epoch_lib.may_end(facts, 0):
                    break
                if recorder is not None and _looked_at(config, facts.epoch):
                    step = int(np.asarray(arrays.state.step).max())
                    samples.preview(_model(arrays, facts, devices), data.music, recorder, step)
                    free = time.perf_counter()
            elif next_one is None:
                break
            under_way = next_one
    if facts.epoch < settings.epochs:
        console.say("train", f"stopped early: no lower validation loss since epoch {facts.best_epoch}")
    whose = f", of trial {facts.best_trial}" if settings.trials > 1 else ""
    console.say("train", f"best validation loss {facts.best_loss:.5f} at epoch {facts.best_epoch}{whose}")
    return arrays, facts, float(np.median(speeds)) if speeds else 0.0


def _looked_at(config: Config, epoch: int) -> bool:
    """Whether samples are recorded after this epoch, counted from 1, while training goes on."""
    return config.sample.every > 0 and epoch % config.sample.every == 0 and epoch < config.train.epochs


def of_trials(config: Config, facts: Facts) -> dict[str, Any]:
    """What the summary says of several trials, over the lowest validation loss of each; nothing of one."""
    if config.train.trials == 1:
        return {}
    by_setting: dict[tuple[float, float], list[Standing]] = {}
    for (_, rate, dropout), standing in zip(config_lib.trials(config), facts.trials, strict=True):
        by_setting.setdefault((rate, dropout), []).append(standing)
    settings = []
    for (rate, dropout), standings in by_setting.items():
        losses = [standing.best_loss for standing in standings if not standing.diverged]
        mean, deviation = trials_lib.mean_and_deviation(losses) if losses else (None, None)
        named = {"learning_rate": rate, "dropout": dropout, "mean": mean, "deviation": deviation}
        settings.append({**named, "trials": len(standings), "diverged": len(standings) - len(losses)})
    losses = [standing.best_loss for standing in facts.trials if not standing.diverged]
    mean, deviation = trials_lib.mean_and_deviation(losses)
    console.say("trials", f"best validation loss of each: mean {mean:.5f}, deviation {deviation:.5f}")
    return {
        "trials": config.train.trials,
        "diverged": sum(bool(standing.diverged) for standing in facts.trials),
        "best_trial": facts.best_trial,
        "best_seed": config.seed + facts.best_trial,
        "validation_loss_mean": mean,
        "validation_loss_deviation": deviation,
        "settings": settings,
    }
