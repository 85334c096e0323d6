"""One epoch of a run: started on the devices, read back as metrics, and what follows from its numbers.

A run is one model or several trials; the trials are then the first axis of the arrays.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh

from musicjax import config as config_lib
from musicjax import console
from musicjax.config import Config
from musicjax.encodings.encoding import Dataset, Encoding
from musicjax.errors import RunError
from musicjax.model import network
from musicjax.model.network import Network
from musicjax.run import device
from musicjax.store.checkpoint import Arrays
from musicjax.store.metadata import Metadata, Progress
from musicjax.training import histograms as histograms_lib
from musicjax.training import mesh, step
from musicjax.training import optimizer as optimizer_lib
from musicjax.training import windows as windows_lib
from musicjax.training.histograms import Buckets
from musicjax.training.step import StepMetrics, TrainState
from musicjax.training.windows import ScoringSet, TrainingSet, Validation


class Programs(NamedTuple):
    """windows(epoch from 0) -> what it trains on, on every device. Compiled: train(state, windows, epoch) -> (state,
    StepMetrics), which reuses the state's buffers; validate(params) -> Validation; show(params) -> outputs for the
    first validation music, which is the same after every epoch; None if the config wants no histograms."""

    windows: Callable[[int], TrainingSet]
    train: Callable[[TrainState, TrainingSet, jax.Array], tuple[TrainState, StepMetrics]]
    validate: Callable[[dict], Validation]
    show: Callable[[dict], jax.Array | None]


class UnderWay(NamedTuple):
    """An epoch that the devices are working on: the state after it, and its numbers."""

    state: TrainState
    sums: StepMetrics
    scores: Validation
    outputs: jax.Array | None


class Epoch(NamedTuple):
    """What has been read of an epoch. train, valid: for each trial its metrics by name; deviation: float64 [K, C], of
    the validation residual; finished: when, by time.perf_counter; sums: of its steps, [K, S]; outputs: of trial
    0, see `Programs`."""

    train: list[dict[str, float]]
    valid: list[dict[str, float]]
    deviation: np.ndarray
    windows_per_second: float
    finished: float
    sums: StepMetrics
    outputs: np.ndarray | None


def compiled(config: Config, dataset: Dataset, state: TrainState, devices: Mesh, number: int = 0) -> Programs:
    """The programs of a run, with its data on every device; says how long compiling took.

    Args:
        number: the epoch to begin with, from 0.
    """
    settings, window = config.train, config.data.window
    net, started = dataset.encoding.network(), time.perf_counter()
    scored = dataset.validation.rows
    of_epoch = windows_of(dataset, devices)
    training = of_epoch(number)
    if scored.rows is dataset.training.rows:  # one copy of the rows for both
        rest = mesh.replicate(scored[1:], devices)  # type: ignore[index]
        validating = type(scored)(training.rows, *rest)  # type: ignore[call-arg]
    else:
        validating = mesh.replicate(scored, devices)
    steps = windows_lib.steps_per_epoch(len(dataset.training.starts), settings.batch_size)
    optimizer_of = functools.partial(optimizer_lib.of, settings, steps_per_epoch=steps)
    if settings.trials == 1:
        keys = mesh.replicate(step.keys(config.seed), devices)
        optimizer = optimizer_of(settings.learning_rate)
        divided = is_divided(config, devices)
        epoch = step.make_epoch(net, optimizer, settings.batch_size, window, devices, settings.accumulate, divided)
        validate = step.make_validation(net, settings.batch_size, window, devices)
    else:
        from musicjax.training import trials as trials_lib  # not needed for one model

        keys = mesh.replicate(trials_lib.of(config_lib.trials(config)), devices)
        make = functools.partial(trials_lib.make_epoch, net, optimizer_of, settings.batch_size, window)
        alone = make(1, devices, settings.accumulate)
        bytes_of_states = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        group = device.trials_at_once(
            settings, bytes_of_states, lambda: trials_lib.bytes_of_one(alone, state, training, keys)
        )
        group = mesh.of_the_first(group)
        console.say("trials", f"{settings.trials}, {group} at a time")
        epoch = make(group, devices, settings.accumulate)
        validate = trials_lib.make_validation(net, settings.batch_size, window, group, devices)
    with console.clock("compile"):
        train_program = epoch.lower(state, training, keys, jnp.int32(0)).compile()
        validate_program = validate.lower(state.params, validating).compile()
        show_program = None
        if settings.histograms:
            show = functools.partial(_outputs, net, window, settings.trials)
            show_program = mesh.spread(show, devices).lower(state.params, validating).compile()
    console.say("compile", f"{time.perf_counter() - started:.1f} s")
    return Programs(
        of_epoch,
        lambda state, windows, number: train_program(state, windows, keys, number),
        lambda params: validate_program(params, validating),
        lambda params: show_program(params, validating) if show_program else None,
    )


def is_divided(config: Config, devices: Mesh) -> bool:
    """Whether the state of a run is divided over the devices, see `sharded_parameters`."""
    return config.train.shard_parameters and devices.size > 1


def windows_of(dataset: Dataset, devices: Mesh) -> Callable[[int], TrainingSet]:
    """The windows of each epoch, on every device: the same ones, or a block each where memory does not hold all."""
    block = dataset.block
    if block is None:
        training = mesh.replicate(dataset.training, devices)
        return lambda number: training
    # The first block is asked for twice, to compile the programs and to run them.
    return functools.lru_cache(maxsize=1)(lambda number: block(number, devices))


def _outputs(
    net: Network, window: int, trials: int, params: dict, scored: ScoringSet, axis_name: str | None = None
) -> jax.Array:
    """The outputs for the first validation music; with several trials, those of trial 0."""
    params = params if trials == 1 else jax.tree.map(lambda leaf: leaf[0], params)
    return network.apply(net, params, scored.first_inputs(window))


def histograms(config: Config, params: dict, outputs: np.ndarray | None) -> dict[str, Buckets]:
    """The histograms of an epoch by tag, from the parameters after it and its outputs; none if there are no outputs.

    With several trials they show trial 0, so that they follow one model as it changes.
    """
    if outputs is None:
        return {}
    params = params if config.train.trials == 1 else jax.tree.map(lambda leaf: np.asarray(leaf)[0], params)
    return histograms_lib.histograms(params, outputs)


def start(
    programs: Programs, state: TrainState, number: int, devices: Mesh, after: UnderWay | None, reuse: bool = False
) -> UnderWay:
    """Sends epoch `number`, from 0, to the devices and returns immediately; `state` stays valid, unless `reuse`.

    A CPU would run two epochs at the same time, so there this one begins only when the epoch `after` has ended,
    validation and outputs included.
    """
    turn = mesh.replicate(jnp.int32(number), devices)
    if after is not None and jax.default_backend() == "cpu":
        turn, _ = lax.optimization_barrier((turn, (after.scores.loss, after.outputs)))
    state, sums = programs.train(state if reuse else _copied(state), programs.windows(number), turn)
    return UnderWay(state, sums, programs.validate(state.params), programs.show(state.params))


@jax.jit
def _copied(state: TrainState) -> TrainState:
    """Copies of all arrays, made by one program; copied one by one, each shape would need its own."""
    return jax.tree.map(jnp.copy, state)


def read(under_way: UnderWay, dataset: Dataset, number: int, since: float) -> Epoch:
    """Waits for epoch `number`, from 0; `since`: when the devices were free for it, by time.perf_counter."""
    config = dataset.encoding.config
    trials, half_life = config_lib.trials(config), config.train.half_life
    sums = wait(under_way.sums)
    seconds = time.perf_counter() - since
    scores, outputs = wait((under_way.scores, under_way.outputs))
    finished = time.perf_counter()
    sums, scores, outputs = jax.tree.map(np.asarray, (sums, scores, outputs))
    if len(trials) == 1:
        sums, scores = jax.tree.map(lambda leaf: leaf[None], (sums, scores))
    train, valid = [], []
    for trial, (seed, learning_rate, dropout) in enumerate(trials):
        named = {"trial": trial, "seed": seed, "dropout": dropout} if len(trials) > 1 else {}
        sums_of_one, scores_of_one = jax.tree.map(lambda leaf: leaf[trial], (sums, scores))  # noqa: B023
        means = _means(sums_of_one)
        windows = len(trials) * means.pop("weight") / dataset.training.targets(config.data.window)
        rate = learning_rate * 0.5 ** (number / half_life) if half_life else learning_rate
        timed = {"seconds": round(seconds, 4), "windows_per_second": round(float(windows / seconds), 2)}
        train.append({**named, **means, "learning_rate": rate, **timed})
        valid.append({**named, **scores_as_metrics(dataset.encoding, scores_of_one, dataset.validation.majority)})
    with np.errstate(invalid="ignore"):  # of a trial that diverged
        variance = np.asarray(scores.residual_square, np.float64) - np.asarray(scores.residual, np.float64) ** 2
    deviation = np.sqrt(variance.clip(0))
    return Epoch(train, valid, deviation, train[0]["windows_per_second"], finished, sums, outputs)


def _means(sums: StepMetrics) -> dict[str, float]:
    """Mean loss and accuracy over an epoch, and the weight of its targets, from sums by step, [S]."""
    loss, accuracy, weight = (np.asarray(values, np.float64).sum() for values in sums)
    return {"loss": float(loss / weight), "accuracy": float(accuracy / weight), "weight": float(weight)}


def scores_as_metrics(encoding: Encoding, scores: Validation, majority: float) -> dict[str, float]:
    """Mean loss, accuracy, that of the best constant answer, and the encoding's own metrics."""
    own = encoding.metrics(scores)
    return {
        "loss": float(scores.loss),
        "accuracy": float(scores.accuracy),
        "majority_accuracy": majority,
        **own,
    }


def line(train: list[dict[str, float]], valid: list[dict[str, float]], seconds_left: float) -> str:
    """An epoch in one line: its losses (of several trials means and deviations), speed and time left."""
    return (
        f"loss {_mean_loss(train)}  validation {_mean_loss(valid)}  "
        f"{train[0]['windows_per_second']:,.0f} windows/s  {console.duration(seconds_left)} left"
    )


def _mean_loss(lines: list[dict[str, float]]) -> str:
    losses = [line["loss"] for line in lines]
    deviation = f" ± {np.std(losses, ddof=1):.5f}" if len(losses) > 1 else ""
    return f"{np.mean(losses):.5f}{deviation}"


def by_batch(epoch: Epoch, trials: list[int]) -> dict[str, np.ndarray]:
    """Loss and accuracy of each step, [S], averaged over these trials."""
    loss, accuracy, weight = (np.asarray(values, np.float64)[trials] for values in epoch.sums)
    return {"loss": (loss / weight).mean(axis=0), "accuracy": (accuracy / weight).mean(axis=0)}


def advance(
    arrays: Arrays, metadata: Metadata, state: TrainState, epoch: Epoch, workdir: Path
) -> tuple[Arrays, Metadata]:
    """What the next checkpoint holds after an epoch that ended in `state`.

    Raises:
        RunError: no trial is left whose losses are finite.
    """
    number, patience = metadata.epoch + 1, metadata.config.train.patience
    progress_of_each = list(metadata.trials)
    for trial, progress in enumerate(metadata.trials):
        losses = epoch.train[trial]["loss"], epoch.valid[trial]["loss"]
        if ended(progress, metadata.epoch, patience):
            continue
        if not all(map(math.isfinite, losses)):
            progress_of_each[trial] = dataclasses.replace(progress, diverged=number)
            _say_diverged(number, trial, losses, epoch, metadata, workdir)
        elif losses[1] < progress.best_loss:
            progress_of_each[trial] = Progress(number, losses[1])
    if all(progress.diverged for progress in progress_of_each):
        raise RunError(
            f"no trial is left at epoch {number}; {_kept(number, workdir)}; start over in another --workdir with lower "
            "learning rates"
        )
    best = min(range(len(progress_of_each)), key=lambda trial: progress_of_each[trial].best_loss)
    metadata = dataclasses.replace(metadata, epoch=number, trials=tuple(progress_of_each), best_trial=best)
    # If the best trial has diverged since, its last finite deviation stays.
    deviation = arrays.deviation
    if np.isfinite(epoch.deviation[best]).all():
        # Converted by NumPy: a program would wait for the epoch that is under way, and the checkpoint with it.
        deviation = jax.device_put(np.asarray(epoch.deviation[best], np.float32))
    best_params, best_deviation = arrays.best_params, arrays.best_deviation
    if progress_of_each[best].best_loss < metadata.best_loss:
        metadata = dataclasses.replace(metadata, best_epoch=number, best_loss=progress_of_each[best].best_loss)
        best_params = (
            state.params if len(progress_of_each) == 1 else jax.tree.map(lambda leaf: leaf[best], state.params)
        )
        best_deviation = deviation
    return Arrays(state, best_params, deviation, best_deviation, arrays.primers), metadata


def counted(epoch: Epoch, metadata: Metadata) -> list[int]:
    """The trials that have not ended before this epoch and have finite losses in it."""
    return [
        trial
        for trial, progress in enumerate(metadata.trials)
        if not ended(progress, metadata.epoch, metadata.config.train.patience)
        and math.isfinite(epoch.train[trial]["loss"] + epoch.valid[trial]["loss"])
    ]


def ended(progress: Progress, epoch: int, patience: int) -> bool:
    """Whether a trial no longer counts after `epoch` epochs: it diverged, or its patience ran out."""
    return bool(progress.diverged) or (patience > 0 and epoch - progress.best_epoch >= patience)


def may_end(metadata: Metadata, ahead: int) -> bool:
    """Whether all trials may have ended once `ahead` more epochs are read."""
    return all(ended(progress, metadata.epoch + ahead, metadata.config.train.patience) for progress in metadata.trials)


def _say_diverged(
    number: int, trial: int, losses: tuple[float, float], epoch: Epoch, metadata: Metadata, workdir: Path
) -> None:
    """Raises RunError if the run is this trial alone; otherwise says that the others go on."""
    said = f"epoch {number}: loss {losses[0]}, validation loss {losses[1]}, expected finite numbers"
    if len(metadata.trials) > 1:
        rate = epoch.train[trial]["learning_rate"]
        console.say("trial", f"{trial} (learning rate {rate:g}) ends, the others go on: {said}")
        return
    raise RunError(
        f"{said}; {_kept(number, workdir)}; start over in another --workdir with a lower --config.train.learning_rate"
    )


def _kept(number: int, workdir: Path) -> str:
    return f"the checkpoint of epoch {number - 1} is kept in {workdir}" if number > 1 else "there is no checkpoint yet"


def wait(result):
    """Waits until the devices have computed the result, and lets Python handle signals meanwhile."""
    leaf = jax.tree.leaves(result)[0]
    pause_seconds = 0.0005
    while not leaf.is_ready():
        time.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 1.5, 0.002)
    return jax.block_until_ready(result)
