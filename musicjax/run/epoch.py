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
from musicjax.config import Config
from musicjax.errors import RunError
from musicjax.run import checkpoint as checkpoint_lib
from musicjax.run import device, metrics, screen
from musicjax.run.checkpoint import Arrays
from musicjax.run.data import Data
from musicjax.run.facts import Facts, Standing
from musicjax.training import mesh, step
from musicjax.training import optimizer as optimizer_lib
from musicjax.training import trials as trials_lib
from musicjax.training.step import StepMetrics, TrainState, Validation
from musicjax.training.trials import Trials
from musicjax.training.windows import Windows


class Programs(NamedTuple):
    """Compiled: train(state, epoch from 0) -> (state, StepMetrics), which takes over the state's buffers;
    validate(params) -> Validation."""

    train: Callable[[TrainState, jax.Array], tuple[TrainState, StepMetrics]]
    validate: Callable[[dict], Validation]


class UnderWay(NamedTuple):
    """An epoch that the devices are at work on: the state after it, and its numbers."""

    state: TrainState
    sums: StepMetrics
    scores: Validation


class Epoch(NamedTuple):
    """What has been read of an epoch: for each trial its metrics, named; residual deviations, float64 [K, C]."""

    train: list[dict[str, float]]
    valid: list[dict[str, float]]
    deviation: np.ndarray
    windows_per_second: float
    finished: float


def trials_of(config: Config) -> Trials:
    """The trials of a config, as arrays."""
    seeds, rates, dropouts = zip(*config_lib.trials(config), strict=True)
    return trials_lib.make(list(seeds), list(rates), list(dropouts))


def compiled(config: Config, data: Data, state: TrainState, devices: Mesh) -> Programs:
    """The programs of a run, with its data on every device; says how long compiling took."""
    settings, window = config.train, config.data.window
    net, started = checkpoint_lib.network_of(config), time.perf_counter()
    rows, train, validation = mesh.replicate((data.rows, data.train, data.validation), devices)
    training, validating = Windows(rows, train), Windows(rows, validation)
    if settings.trials == 1:
        keys = mesh.replicate(step.keys(config.seed), devices)
        optimizer = optimizer_lib.rmsprop(settings.learning_rate, settings.epsilon_in_root)
        epoch = step.make_epoch(net, optimizer, settings.batch_size, window, devices)
        validate = step.make_validation(net, settings.batch_size, window, devices)
    else:
        keys = mesh.replicate(trials_of(config), devices)
        rmsprop = functools.partial(optimizer_lib.rmsprop, epsilon_in_root=settings.epsilon_in_root)
        alone = trials_lib.make_epoch(net, rmsprop, settings.batch_size, window, 1, devices)
        bytes_of_states = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        group = device.trials_at_once(
            config, bytes_of_states, lambda: trials_lib.bytes_of_one(alone, state, training, keys)
        )
        group = mesh.of_the_first(group)
        screen.say("trials", f"{settings.trials}, {group} at a time")
        epoch = trials_lib.make_epoch(net, rmsprop, settings.batch_size, window, group, devices)
        validate = trials_lib.make_validation(net, settings.batch_size, window, group, devices)
    train_program = epoch.lower(state, training, keys, jnp.int32(0)).compile()
    validate_program = validate.lower(state.params, validating).compile()
    screen.say("compile", f"{time.perf_counter() - started:.1f} s")
    return Programs(
        lambda state, number: train_program(state, training, keys, number),
        lambda params: validate_program(params, validating),
    )


def start(programs: Programs, state: TrainState, number: int, devices: Mesh, after: UnderWay | None) -> UnderWay:
    """Sends epoch `number`, from 0, to the devices and returns at once; the state may be used further.

    On a CPU, which would run both at once, it begins when the epoch `after` has ended, validation included.
    """
    turn = mesh.replicate(jnp.int32(number), devices)
    if after is not None and jax.default_backend() == "cpu":
        turn, _ = lax.optimization_barrier((turn, after.scores.loss))
    state, sums = programs.train(jax.tree.map(jnp.copy, state), turn)
    return UnderWay(state, sums, programs.validate(state.params))


def read(under_way: UnderWay, config: Config, data: Data, since: float) -> Epoch:
    """Waits for an epoch; `since`: when the devices were free for it, on the clock time.perf_counter."""
    sums = _wait(under_way.sums)
    seconds = time.perf_counter() - since
    scores = _wait(under_way.scores)
    finished = time.perf_counter()
    sums, scores = jax.tree.map(np.asarray, (sums, scores))
    if config.train.trials == 1:
        sums, scores = jax.tree.map(lambda leaf: leaf[None], (sums, scores))
    train, valid = [], []
    for trial, (seed, learning_rate, dropout) in enumerate(config_lib.trials(config)):
        named = {"trial": trial, "seed": seed, "dropout": dropout} if config.train.trials > 1 else {}
        sums_of_one, scores_of_one = trials_lib.select((sums, scores), trial)
        train.append({**named, **metrics.of_training(sums_of_one, seconds, learning_rate, config.train.trials)})
        valid.append({**named, **metrics.of_validation(scores_of_one, data.scaling)})
    with np.errstate(invalid="ignore"):  # of a trial that diverged
        variance = np.asarray(scores.residual_square, np.float64) - np.asarray(scores.residual, np.float64) ** 2
    return Epoch(train, valid, np.sqrt(variance.clip(0)), train[0]["windows_per_second"], finished)


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
        screen.say("trial", f"{trial} (learning rate {rate:g}) ends, the others go on: {said}")
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
