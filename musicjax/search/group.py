"""Trials of one shape, which one compiled program trains side by side on this machine.

Each learns what it would learn in a run of its own, see `training.trials`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Wrapped

from musicjax import console
from musicjax.config import Config
from musicjax.encodings import encoding as encoding_lib
from musicjax.encodings.encoding import Dataset
from musicjax.run import device
from musicjax.run import epoch as epoch_lib
from musicjax.search.results import Record, State
from musicjax.training import mesh
from musicjax.training import optimizer as optimizer_lib
from musicjax.training import trials as trials_lib
from musicjax.training import windows as windows_lib
from musicjax.training.step import StepMetrics, TrainState
from musicjax.training.trials import Trials
from musicjax.training.windows import ScoringSet, TrainingSet, Validation

# The most trials side by side, however many fit in memory: what is under way is lost if the process is killed.
MOST_TOGETHER = 32


class Loaded(NamedTuple):
    """A data set on the devices, which all shapes share; windows(epoch from 0) -> what is trained on."""

    dataset: Dataset
    windows: Callable[[int], TrainingSet]
    scored: ScoringSet


def load(config: Config) -> Loaded:
    """The data of a config; raises RunError if there are none that can be used."""
    dataset, devices = encoding_lib.of(config).dataset(), mesh.make(config.train.devices)
    return Loaded(dataset, epoch_lib.windows_of(dataset, devices), mesh.replicate(dataset.validation.rows, devices))


class Programs(NamedTuple):
    """Compiled for as many trials, the first axis of all arrays: train(state, windows, trials, epoch from 0) -> (state,
    sums), which reuses the state's buffers; validate(params) -> Validation."""

    train: Callable
    validate: Callable[[dict], Validation]


class Group:
    """The programs and the data of one shape.

    Args:
        config: of any trial of the shape.
        loaded: the data for its fields of config.data.
        minimise: the validation metric that decides which epoch is best.
        count: how many trials of this shape there are to train.
    """

    def __init__(self, config: Config, loaded: Loaded, minimise: str, count: int):
        self._config, self._minimise, self._windows, self._scored = config, minimise, loaded.windows, loaded.scored
        self._dataset = self._with_config(loaded.dataset, config)
        settings, window = config.train, config.data.window
        self._net = self._dataset.encoding.network()
        self._devices = mesh.make(settings.devices)
        mesh.require_divisible(settings.batch_size, self._devices, settings.accumulate)
        steps = windows_lib.steps_per_epoch(len(self._dataset.training.starts), settings.batch_size)
        self._optimizer_of = functools.partial(optimizer_lib.of, settings, steps_per_epoch=steps)
        self._init = jax.jit(
            lambda trials: trials_lib.init(self._net, self._optimizer_of(settings.learning_rate), trials, window)
        )
        self._programs: dict[int, Programs] = {}
        self.most = min(MOST_TOGETHER, self._side_by_side(count))

    def data_of(self, config: Config) -> Dataset:
        """The data with the config of a trial of this shape."""
        return self._with_config(self._dataset, config)

    @functools.cached_property
    def shapes(self) -> State:
        """The shapes and types of the state of one trial."""
        one = jax.eval_shape(self._init, trials_lib.of([(0, 1.0, 0.0)]))
        state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), one)
        deviation: Any = jax.ShapeDtypeStruct((self._net.columns,), np.float32)
        return State(state, state.params, deviation, deviation)

    def train(
        self, configs: Sequence[Config], begins: Sequence[tuple[Record, State | None]], until: int, on_epoch: Callable
    ) -> list[tuple[Record, State]]:
        """Trains trials that have come equally far up to an epoch; returns what has become of each.

        Args:
            configs: of each trial, at most `most`.
            begins: what each goes on from; the state of a new trial is None.
            on_epoch: called after each epoch.
        """
        records = [dataclasses.replace(one, train=[*one.train], valid=[*one.valid]) for one, _ in begins]
        size = min(self.most, 1 << (len(configs) - 1).bit_length())  # few sizes, so that there are few programs
        places = [k if k < len(configs) else 0 for k in range(size)]
        trials = mesh.replicate(trials_lib.of([_drawn(configs[k]) for k in places]), self._devices)
        state, best, deviation, best_deviation = self._stacked([begins[k][1] for k in places], trials)
        programs = self._compiled(size, state, trials)
        for number in range(records[0].epochs, until):
            began = time.perf_counter()
            turn = mesh.replicate(jnp.int32(number), self._devices)
            state, sums = programs.train(state, self._windows(number), trials, turn)
            scores = programs.validate(state.params)
            epoch_lib.wait(sums)
            seconds = time.perf_counter() - began
            scores = jax.tree.map(np.asarray, epoch_lib.wait(scores))
            deviation = _deviation(scores)
            lines = self._lines(sums, seconds)
            is_better = np.zeros(size, bool)
            for k, record in enumerate(records):
                rate = {"learning_rate": _rate(configs[k], number)}
                is_better[k] = self._add(record, number, {**lines[k], **rate}, trials_lib.select(scores, k))
            best, best_deviation = _kept(is_better, (state.params, deviation), (best, best_deviation))
            on_epoch()
            if all(record.diverged for record in records):
                break
        after = jax.tree.map(np.asarray, State(state, best, deviation, best_deviation))
        return [(record, trials_lib.select(after, k)) for k, record in enumerate(records)]

    def _lines(self, sums: StepMetrics, seconds: float) -> list[dict[str, float]]:
        """The training metrics of each trial in an epoch; sums: of its steps, [K, S]."""
        loss, accuracy, weight = (np.asarray(values, np.float64).sum(axis=1) for values in sums)
        windows = weight.sum() / self._dataset.training.targets(self._config.data.window)
        timed = {"seconds": round(seconds, 4), "windows_per_second": round(float(windows / seconds), 2)}
        return [
            {"loss": float(loss[k] / weight[k]), "accuracy": float(accuracy[k] / weight[k]), **timed}
            for k in range(len(weight))
        ]

    def _add(self, record: Record, number: int, train: dict[str, float], scores: Validation) -> bool:
        """Adds epoch `number`, from 0, to what is known of a trial; returns whether it is the best so far."""
        if record.diverged:
            return False
        valid = epoch_lib.scores_as_metrics(self._dataset.encoding, scores, self._dataset.validation.majority)
        if not math.isfinite(train["loss"] + valid["loss"] + valid[self._minimise]):
            record.diverged = number + 1
            return False
        record.train.append(train)
        record.valid.append(valid)
        return record.best_epoch(self._minimise, record.epochs) == number + 1

    def _with_config(self, dataset: Dataset, config: Config) -> Dataset:
        return dataclasses.replace(dataset, encoding=encoding_lib.of(config, dataset.encoding.learned))

    def _side_by_side(self, count: int) -> int:
        """How many trials are trained at once; count: how many there are."""
        one = trials_lib.of([(0, 1.0, 0.0)])
        settings = dataclasses.replace(self._config.train, trials=count)
        shapes = jax.eval_shape(self._init, one)
        size = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))

        def bytes_of_one() -> int | None:
            return trials_lib.bytes_of_one(self._epoch_of(1), self._init(one), self._windows(0), one)

        return device.trials_at_once(settings, size * count, bytes_of_one)

    def _stacked(self, states: list[State | None], trials: Trials) -> State:
        """The states as one, on the devices; None: random weights before the first step."""
        if states[0] is None:
            state = mesh.replicate(self._init(trials), self._devices)
            deviation = np.zeros((len(states), self._net.columns), np.float32)
            return State(state, _copied(state.params), deviation, deviation)
        whole = jax.tree.map(lambda *leaves: np.stack(leaves), *states)
        state, best = mesh.replicate((whole.state, whole.best_params), self._devices)
        return whole._replace(state=state, best_params=best)

    def _epoch_of(self, size: int) -> Wrapped:
        """An epoch of as many trials side by side, not compiled yet."""
        settings, window = self._config.train, self._config.data.window
        given = (self._net, self._optimizer_of, settings.batch_size, window, size, self._devices)
        return trials_lib.make_epoch(*given, settings.accumulate)

    def _compiled(self, size: int, state: TrainState, trials: Trials) -> Programs:
        """The programs for as many trials side by side."""
        if size not in self._programs:
            zero = mesh.replicate(jnp.int32(0), self._devices)
            with console.clock("compile"):
                train = self._epoch_of(size).lower(state, self._windows(0), trials, zero).compile()
                settings = (self._config.train.batch_size, self._config.data.window, size, self._devices)
                validation = trials_lib.make_validation(self._net, *settings)
                validate = validation.lower(state.params, self._scored).compile()
            self._programs[size] = Programs(train, lambda params: validate(params, self._scored))
        return self._programs[size]


def _drawn(config: Config) -> tuple[int, float, float]:
    return config.seed, config.train.learning_rate, config.model.dropout


def _rate(config: Config, number: int) -> float:
    """The step size of epoch `number`, from 0."""
    settings = config.train
    return settings.learning_rate * (0.5 ** (number / settings.half_life) if settings.half_life else 1.0)


def _deviation(scores: Validation) -> np.ndarray:
    """The deviation of the validation residual of each trial, float32 [K, C]."""
    with np.errstate(invalid="ignore", over="ignore"):  # of a trial that diverged
        variance = np.asarray(scores.residual_square, np.float64) - np.asarray(scores.residual, np.float64) ** 2
    return np.sqrt(variance.clip(0)).astype(np.float32)


def _kept(is_better: np.ndarray, new: tuple[dict, np.ndarray], old: tuple[dict, np.ndarray]) -> tuple[dict, np.ndarray]:
    """(parameters, deviation) of each trial: the new ones where it is better now, bool [K]."""
    if not is_better.any():
        return old
    return _chosen(is_better, new[0], old[0]), np.where(is_better[:, None], new[1], old[1])


@jax.jit
def _chosen(is_new: jax.Array, new: dict, old: dict) -> dict:
    return jax.tree.map(lambda a, b: jnp.where(is_new.reshape(-1, *(1,) * (a.ndim - 1)), a, b), new, old)


@jax.jit
def _copied(params: dict) -> dict:
    """Copies, since training reuses the buffers of the state."""
    return jax.tree.map(jnp.copy, params)
