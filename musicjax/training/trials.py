"""Many models trained at once: K trials, each with its own seed, learning rate and dropout, as one program.

Every array of a trial has K in front. Trials are computed in groups, one group after the other, those of a group
side by side (vmap); the arithmetic of a trial is that of a run by itself.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jax.stages import Wrapped

from musicjax.model.network import MusicLSTM
from musicjax.training import mesh
from musicjax.training import step as step_lib
from musicjax.training.optimizer import rmsprop
from musicjax.training.step import Keys, StepMetrics, TrainState, Validation
from musicjax.training.windows import Windows


class Trials(NamedTuple):
    """What differs between trials: keys [K], learning_rate and dropout float32 [K]."""

    keys: Keys
    learning_rate: jax.Array
    dropout: jax.Array


def make(seeds: list[int], learning_rates: list[float], dropouts: list[float]) -> Trials:
    """Trial k has the k-th of each list."""
    keys = jax.jit(jax.vmap(step_lib.keys))(jnp.asarray(seeds, jnp.uint32))
    return Trials(keys, jnp.asarray(learning_rates, jnp.float32), jnp.asarray(dropouts, jnp.float32))


def init(net: MusicLSTM, trials: Trials, window: int) -> TrainState:
    """The states before the first step, [K]."""
    return lax.map(lambda key: step_lib.init(net, rmsprop(0.0), key, window), trials.keys.init)


def make_epoch(net: MusicLSTM, batch_size: int, window: int, group: int, devices: Mesh | None = None) -> Wrapped:
    """epoch(states [K], windows, trials, number) -> (states, StepMetrics [K, S]), compiled once; states are donated."""

    def epoch(states: TrainState, windows: Windows, trials: Trials, number: jax.Array, axis_name: str | None = None):
        def one(state_and_trial: tuple[TrainState, Trials]) -> tuple[TrainState, StepMetrics]:
            state, trial = state_and_trial
            optimizer = rmsprop(trial.learning_rate)
            return step_lib.epoch(
                net, optimizer, batch_size, window, state, windows, trial.keys, number, axis_name, trial.dropout
            )

        return _in_groups(one, (states, trials), group)

    return mesh.spread(epoch, devices, donate=0)


def make_validation(net: MusicLSTM, batch_size: int, window: int, group: int, devices: Mesh | None = None) -> Wrapped:
    """validate(params [K], windows) -> Validation [K], compiled once."""

    def validate(params: dict, windows: Windows, axis_name: str | None = None) -> Validation:
        one = functools.partial(step_lib.validation, net, batch_size, window, windows=windows, axis_name=axis_name)
        return _in_groups(lambda params: one(params=params), params, group)

    return mesh.spread(validate, devices)


def bytes_of_one(epoch: Wrapped, states: TrainState, windows: Windows, trials: Trials) -> int:
    """Working memory that an epoch of one trial takes, as the compiler plans it."""
    first = jax.tree.map(lambda leaf: leaf[:1], (states, trials))
    planned = epoch.lower(first[0], windows, first[1], jnp.int32(0)).compile().memory_analysis()
    return 0 if planned is None else planned.temp_size_in_bytes


def select(tree, trial: int):
    """One trial's arrays, without the K in front."""
    return jax.tree.map(lambda leaf: leaf[trial], tree)


def spread_of(values: list[float]) -> tuple[float, float]:
    """Mean and standard deviation over trials (of a sample; 0 for one)."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _in_groups(one, arguments, group: int):
    """one(argument) for each of the K arguments, `group` at a time."""
    return lax.map(one, arguments) if group == 1 else lax.map(one, arguments, batch_size=group)
