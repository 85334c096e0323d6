"""One epoch of a run: started on the devices, read back as metrics, and what follows from its numbers.

A run is one model, or several trials side by side; then the arrays have the trials in front.
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
from musicjax.encodings.dataset import Data
from musicjax.errors import RunError
from musicjax.model import network
from musicjax.model.network import MusicLSTM
from musicjax.run import device, epoch_metrics
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store.checkpoint import Arrays
from musicjax.store.metadata import Facts, Standing
from musicjax.training import histograms as histograms_lib
from musicjax.training import mesh, step
from musicjax.training import trials as trials_lib
from musicjax.training import windows as windows_lib
from musicjax.training.histograms import Buckets
from musicjax.training.sequences import Lanes
from musicjax.training.step import StepMetrics, TrainState, Validation
from musicjax.training.trials import Trials
from musicjax.training.windows import Windows

# Validation windows whose outputs have a histogram.
WINDOWS_SHOWN = 200


class Programs(NamedTuple):
    """Compiled: train(state, epoch from 0) -> (state, StepMetrics), which takes over the state's buffers;
    validate(params) -> Validation; show(params) -> histograms by tag, none if the config wants none."""

    train: Callable[[TrainState, jax.Array], tuple[TrainState, StepMetrics]]
    validate: Callable[[dict], Validation]
    show: Callable[[dict], dict[str, Buckets]]


class UnderWay(NamedTuple):
    """An epoch that the devices are at work on: the state after it, and its numbers."""

    state: TrainState
    sums: StepMetrics
    scores: Validation
    histograms: dict[str, Buckets]


class Epoch(NamedTuple):
    """What has been read of an epoch: for each trial its metrics, named; residual deviations, float64 [K, C]; the sums
    of its steps, [K, S]; the histograms of trial 0 by tag."""

    train: list[dict[str, float]]
    valid: list[dict[str, float]]
    deviation: np.ndarray
    windows_per_second: float
    finished: float
    sums: StepMetrics
    histograms: dict[str, Buckets]


def trials_of(config: Config) -> Trials:
    """The trials of a config, as arrays."""
    seeds, rates, dropouts = zip(*config_lib.trials(config), strict=True)
    return trials_lib.make(list(seeds), list(rates), list(dropouts))


def compiled(config: Config, data: Data, state: TrainState, devices: Mesh) -> Programs:
    """The programs of a run, with its data on every device; says how long compiling took."""
    settings, window = config.train, config.data.window
    net, started = checkpoint_lib.network_of(config), time.perf_counter()
    training, *rest = mesh.replicate((data.training, *data.validating[1:]), devices)
    validating = type(data.validating)(training.rows, *rest)  # one copy of the rows for both
    steps = windows_lib.steps_per_epoch(len(data.training.starts), settings.batch_size)
    optimizer_of = functools.partial(checkpoint_lib.optimizer_of, config, steps_per_epoch=steps)
    if settings.trials == 1:
        keys = mesh.replicate(step.keys(config.seed), devices)
        optimizer = optimizer_of(settings.learning_rate)
        epoch = step.make_epoch(net, optimizer, settings.batch_size, window, devices)
        validate = step.make_validation(net, settings.batch_size, window, devices)
    else:
        keys = mesh.replicate(trials_of(config), devices)
        alone = trials_lib.make_epoch(net, optimizer_of, settings.batch_size, window, 1, devices)
        bytes_of_states = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        group = device.trials_at_once(
            config, bytes_of_states, lambda: trials_lib.bytes_of_one(alone, state, training, keys)
        )
        group = mesh.of_the_first(group)
        console.say("trials", f"{settings.trials}, {group} at a time")
        epoch = trials_lib.make_epoch(net, optimizer_of, settings.batch_size, window, group, devices)
        validate = trials_lib.make_validation(net, settings.batch_size, window, group, devices)
    train_program = epoch.lower(state, training, keys, jnp.int32(0)).compile()
    validate_program = validate.lower(state.params, validating).compile()
    show_program = None
    if settings.histograms:
        show = functools.partial(_histograms, net, window, settings.trials)
        show_program = mesh.spread(show, devices).lower(state.params, validating).compile()
    console.say("compile", f"{time.perf_counter() - started:.1f} s")
    return Programs(
        lambda state, number: train_program(state, training, keys, number),
        lambda params: validate_program(params, validating),
        lambda params: show_program(params, validating) if show_program else {},
    )


def _histograms(
    net: MusicLSTM, window: int, trials: int, params: dict, validating: Windows | Lanes, axis_name: str | None = None
) -> dict[str, Buckets]:
    """Of the parameters, and of the outputs for the first validation windows, the same after every epoch.

    Of several trials, trial 0: one after the other the histograms show how one model changes.
    """
    params = params if trials == 1 else trials_lib.select(params, 0)
    if isinstance(validating, Lanes):  # the first rows of each lane
        inputs = validating.rows[validating.seen[:window].T].astype(jnp.float32)
    else:
        count = min(WINDOWS_SHOWN, validating.starts.shape[0])
        inputs, _ = windows_lib.gather(validating, jnp.arange(count), window)
    return histograms_lib.histograms(params, network.apply(net, params, inputs))


def start(programs: Programs, state: TrainState, number: int, devices: Mesh, after: UnderWay | None) -> UnderWay:
    """Sends epoch `number`, from 0, to the devices and returns at once; the state may be used further.

    On a CPU, which would run both at once, it begins when the epoch `after` has ended, validation and histograms
    included.
    """
    turn = mesh.replicate(jnp.int32(number), devices)
    if after is not None and jax.default_backend() == "cpu":
        turn, _ = lax.optimization_barrier((turn, (after.scores.loss, after.histograms)))
    state, sums = programs.train(jax.tree.map(jnp.copy, state), turn)
    return UnderWay(state, sums, programs.validate(state.params), programs.show(state.params))


def read(under_way: UnderWay, config: Config, data: Data, number: int, since: float) -> Epoch:
    """Waits for epoch `number`, from 0; `since`: when the devices were free for it, on the clock time.perf_counter."""
    encoding = config.data.encoding
    window = 0 if encoding == "notes" else config.data.window
    sums = _wait(under_way.sums)
    seconds = time.perf_counter() - since
    scores, histograms = _wait((under_way.scores, under_way.histograms))
    finished = time.perf_counter()
    sums, scores, histograms = jax.tree.map(np.asarray, (sums, scores, histograms))
    if config.train.trials == 1:
        sums, scores = jax.tree.map(lambda leaf: leaf[None], (sums, scores))
    train, valid = [], []
    for trial, (seed, learning_rate, dropout) in enumerate(config_lib.trials(config)):
        named = {"trial": trial, "seed": seed, "dropout": dropout} if config.train.trials > 1 else {}
        sums_of_one, scores_of_one = trials_lib.select((sums, scores), trial)
        rate = learning_rate * 0.5 ** (number / config.train.half_life) if config.train.half_life else learning_rate
        train.append(
            {**named, **epoch_metrics.of_training(sums_of_one, seconds, rate, config.train.trials, window, encoding)}
        )
        valid.append({**named, **epoch_metrics.of_validation(scores_of_one, data.scaling, data.majority, encoding)})
    with np.errstate(invalid="ignore"):  # of a trial that diverged
        variance = np.asarray(scores.residual_square, np.float64) - np.asarray(scores.residual, np.float64) ** 2
    deviation = np.sqrt(variance.clip(0))
    return Epoch(train, valid, deviation, train[0]["windows_per_second"], finished, sums, histograms)


def by_batch(epoch: Epoch, trials: list[int]) -> dict[str, np.ndarray]:
    """Loss and accuracy of each step, [S], means over these trials."""
    loss, agreement, weight = (np.asarray(values, np.float64)[trials] for values in epoch.sums)
    return {"loss": (loss / weight).mean(axis=0), "accuracy": (agreement / weight).mean(axis=0)}


def advance(arrays: Arrays, facts: Facts, state: TrainState, epoch: Epoch, workdir: Path) -> tuple[Arrays, Facts]:
    """What the next checkpoint holds after an epoch that ended in `state`.

    Raises:
        RunError: no trial has a loss that is finite.
    """
    number, patience = facts.epoch + 1, facts.config.train.patience
    standings = list(facts.trials)
    for trial, standing in enumerate(facts.trials):
        losses = epoch.train[trial]["loss"], epoch.valid[trial]["loss"]
        if ended(standing, facts.epoch, patience):
            continue
        if not all(map(math.isfinite, losses)):
            standings[trial] = dataclasses.replace(standing, diverged=number)
            _say_diverged(number, trial, losses, epoch, facts, workdir)
        elif losses[1] < standing.best_loss:
            standings[trial] = Standing(number, losses[1])
    if all(standing.diverged for standing in standings):
        raise RunError(
            f"no trial is left at epoch {number}; {_kept(number, workdir)}; start anew in another --workdir with lower "
            "learning rates"
        )
    best = min(range(len(standings)), key=lambda trial: standings[trial].best_loss)
    facts = dataclasses.replace(facts, epoch=number, trials=tuple(standings), best_trial=best)
    # Of a trial that has diverged since, the last that can be used.
    deviation = arrays.deviation
    if np.isfinite(epoch.deviation[best]).all():
        deviation = jnp.asarray(epoch.deviation[best], jnp.float32)
    best_params, best_deviation = arrays.best_params, arrays.best_deviation
    if standings[best].best_loss < facts.best_loss:
        facts = dataclasses.replace(facts, best_epoch=number, best_loss=standings[best].best_loss)
        best_params = state.params if len(standings) == 1 else trials_lib.select(state.params, best)
        best_deviation = deviation
    return Arrays(state, best_params, deviation, best_deviation, arrays.primers), facts


def counted(epoch: Epoch, facts: Facts) -> list[int]:
    """The trials that have not ended before this epoch and have finite losses in it."""
    return [
        trial
        for trial, standing in enumerate(facts.trials)
        if not ended(standing, facts.epoch, facts.config.train.patience)
        and math.isfinite(epoch.train[trial]["loss"] + epoch.valid[trial]["loss"])
    ]


def ended(standing: Standing, epoch: int, patience: int) -> bool:
    """Whether a trial no longer counts after so many epochs: it diverged, or ran out of patience."""
    return bool(standing.diverged) or (patience > 0 and epoch - standing.best_epoch >= patience)


def may_end(facts: Facts, ahead: int) -> bool:
    """Whether all trials may have ended once `ahead` more epochs are read."""
    return all(ended(standing, facts.epoch + ahead, facts.config.train.patience) for standing in facts.trials)


def _say_diverged(
    number: int, trial: int, losses: tuple[float, float], epoch: Epoch, facts: Facts, workdir: Path
) -> None:
    """Raises RunError if the run is this trial alone; else says that the others go on."""
    said = f"epoch {number}: loss {losses[0]}, validation loss {losses[1]}, expected finite numbers"
    if len(facts.trials) > 1:
        rate = epoch.train[trial]["learning_rate"]
        console.say("trial", f"{trial} (learning rate {rate:g}) ends, the others go on: {said}")
        return
    raise RunError(
        f"{said}; {_kept(number, workdir)}; start anew in another --workdir with a lower --config.train.learning_rate"
    )


def _kept(number: int, workdir: Path) -> str:
    return f"the checkpoint of epoch {number - 1} is kept in {workdir}" if number > 1 else "there is no checkpoint yet"


def _wait(result):
    """The result once the devices have computed it; stays open to signals meanwhile."""
    leaf = jax.tree.leaves(result)[0]
    pause_seconds = 0.0005
    while not leaf.is_ready():
        time.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 1.5, 0.002)
    return jax.block_until_ready(result)
