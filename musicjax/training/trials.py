"""Several models trained in one run: K trials, each with its own seed, learning rate and dropout.

The first axis of every array is K. Trials are computed in groups, one group after the other, the trials of a group
side by side (vmap). The arithmetic of a trial is that of a run by itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh
from jax.stages import Wrapped

from musicjax.model.network import Network
from musicjax.training import mesh
from musicjax.training import step as step_lib
from musicjax.training.step import Keys, StepMetrics, TrainState
from musicjax.training.windows import ScoringSet, TrainingSet, Validation


class Trials(NamedTuple):
    """What differs between trials: keys [K], learning_rate and dropout float32 [K]."""

    keys: Keys
    learning_rate: jax.Array
    dropout: jax.Array


def of(each: list[tuple[int, float, float]]) -> Trials:
    """Trials from the seed, learning rate and dropout of each."""
    seeds, learning_rates, dropouts = zip(*each, strict=True)
    return make(list(seeds), list(learning_rates), list(dropouts))


def make(seeds: list[int], learning_rates: list[float], dropouts: list[float]) -> Trials:
    """Trial k has the k-th of each list."""
    keys = _keys(jnp.asarray(seeds, jnp.uint32))
    return Trials(keys, jnp.asarray(learning_rates, jnp.float32), jnp.asarray(dropouts, jnp.float32))


_keys = jax.jit(jax.vmap(step_lib.keys))


def init(net: Network, optimizer: optax.GradientTransformation, trials: Trials, window: int) -> TrainState:
    """The states before the first step, [K]; the optimizer's rate does not matter."""
    return lax.map(lambda key: step_lib.init(net, optimizer, key, window), trials.keys.init)


def begin(optimizer: optax.GradientTransformation, params: dict, count: int) -> TrainState:
    """The states of `count` trials, [K], before the first step, all with these parameters."""
    return jax.tree.map(lambda leaf: jnp.stack([leaf] * count), step_lib.begin(optimizer, params))


def make_epoch(
    net: Network,
    optimizer_of: Callable[[jax.Array], optax.GradientTransformation],
    batch_size: int,
    window: int,
    group: int,
    devices: Mesh | None = None,
    accumulate: int = 1,
) -> Wrapped:
    """epoch(states [K], windows, trials, number) -> (states, StepMetrics [K, S]), compiled once; states are donated.

    The states are updated in place, `group` trials at a time; optimizer_of takes a learning rate.
    """

    def epoch(
        states: TrainState, windows: TrainingSet, trials: Trials, number: jax.Array, axis_name: str | None = None
    ):
        def one(state_and_trial: tuple[TrainState, Trials]) -> tuple[TrainState, StepMetrics]:
            state, trial = state_and_trial
            optimizer = optimizer_of(trial.learning_rate)
            given = state, windows, trial.keys, number, axis_name, trial.dropout, accumulate
            return step_lib.epoch(net, optimizer, batch_size, window, *given)

        def some(states: TrainState, first: jax.Array | int, size: int) -> tuple[TrainState, StepMetrics]:
            part = jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, first, size), (states, trials))
            after, sums = _each(one, part, size)
            put = functools.partial(lax.dynamic_update_slice_in_dim, start_index=first, axis=0)
            return jax.tree.map(put, states, after), sums

        count = trials.learning_rate.shape[0]
        whole = count // group * group
        states, sums = lax.scan(lambda states, first: some(states, first, group), states, jnp.arange(0, whole, group))
        sums = jax.tree.map(lambda leaf: leaf.reshape(whole, -1), sums)
        if whole < count:  # a smaller group is left
            states, last = some(states, whole, count - whole)
            sums = jax.tree.map(lambda *parts: jnp.concatenate(parts), sums, last)
        return states, sums

    return mesh.spread(epoch, devices, donate=0)


def make_validation(net: Network, batch_size: int, window: int, group: int, devices: Mesh | None = None) -> Wrapped:
    """validate(params [K], scored) -> Validation [K], compiled once."""

    def validate(params: dict, scored: ScoringSet, axis_name: str | None = None) -> Validation:
        one = functools.partial(step_lib.validation, net, batch_size, window, scored=scored, axis_name=axis_name)
        return lax.map(lambda params: one(params=params), params, batch_size=None if group == 1 else group)

    return mesh.spread(validate, devices)


def bytes_of_one(epoch: Wrapped, states: TrainState, windows: TrainingSet, trials: Trials) -> int | None:
    """Working memory of an epoch of one trial, in bytes, as the compiler plans it; None if it does not say."""
    first = jax.tree.map(lambda leaf: leaf[:1], (states, trials))
    planned = epoch.lower(first[0], windows, first[1], jnp.int32(0)).compile().memory_analysis()
    return None if planned is None else planned.temp_size_in_bytes


def select(tree, trial: int):
    """One trial's arrays, without the axis K."""
    return jax.tree.map(lambda leaf: leaf[trial], tree)


def mean_and_deviation(values: list[float]) -> tuple[float, float]:
    """Mean and sample standard deviation over trials; the deviation of one trial is 0."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _each(one, arguments, size: int):
    """one(argument) for each of `size` arguments, side by side.

    A single one is not mapped: vmap would make its products batched, and those take no fast path on CPU.
    """
    if size > 1:
        return jax.vmap(one)(arguments)
    return jax.tree.map(lambda leaf: leaf[None], one(jax.tree.map(lambda leaf: leaf[0], arguments)))
