"""The training step, an epoch of steps as one compiled scan, and validation.

Shape legend as in `windows` and `sequences`. One seed gives every random number: see `Keys`.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jax.stages import Wrapped

from musicjax.model import network
from musicjax.model.network import Network
from musicjax.training import mesh, sharded_parameters
from musicjax.training import windows as windows_lib
from musicjax.training.windows import ScoringSet, TrainingSet, Validation

# Folded into a step's dropout key, for what the head drops; for layers, Flax folds in their names.
HEAD = 2**32 - 6


class TrainState(NamedTuple):
    """Everything that training changes; step: int32, updates made so far."""

    params: dict
    opt_state: optax.OptState
    step: jax.Array


class Keys(NamedTuple):
    """One key for each purpose, folded from the seed; the step or epoch is folded in where it is used."""

    init: jax.Array
    order: jax.Array
    dropout: jax.Array
    primers: jax.Array
    augment: jax.Array


class StepMetrics(NamedTuple):
    """Sums over the targets of a step: loss, the head's accuracy, and their weight; float32 each."""

    loss: jax.Array
    accuracy: jax.Array
    weight: jax.Array


def keys(seed: int | jax.Array) -> Keys:
    """The keys of a run."""
    root = jax.random.key(seed, impl="threefry2x32")  # whatever JAX's default is here
    return Keys(*(jax.random.fold_in(root, purpose) for purpose in range(len(Keys._fields))))


def init(net: Network, optimizer: optax.GradientTransformation, key: jax.Array, window: int) -> TrainState:
    """The state before the first step."""
    return begin(optimizer, network.init(net, key, window))


def begin(optimizer: optax.GradientTransformation, params: dict) -> TrainState:
    """The state of these parameters before the first step."""
    return TrainState(params, optimizer.init(params), jnp.int32(0))


def train_step(
    net: Network,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    inputs: jax.Array,
    targets: jax.Array,
    weight: jax.Array,
    dropout_key: jax.Array,
    axis_name: str | None = None,
    dropout: jax.Array | None = None,
    accumulate: int = 1,
    divided: Mesh | None = None,
) -> tuple[TrainState, StepMetrics]:
    """One update on inputs [B, T, C], targets [B, C], weight [B] (0: not counted).

    Where the network has outputs at every position, targets are [B, T, C] and weight [B, T].

    Args:
        axis_name: under pmap or shard_map, the axis over which a batch is divided into parts of B. Losses,
            weights and gradients are summed over it before the update, and dropout drops from each part what it
            would drop on a single device, so that the devices together compute what a single one would.
        dropout: rate, instead of the network's own.
        accumulate: compute the batch in this many equal parts, one after the other, and sum their gradients.
        divided: devices over which the state is divided, see `sharded_parameters`; B is then the whole batch.
    """
    batch = inputs, targets[..., : net.predicted], weight
    dropout_key = jax.random.fold_in(dropout_key, state.step)
    if divided is None:
        gradients, metrics = _sums(net, state.params, batch, dropout_key, dropout, accumulate, axis_name)
    else:
        specs, of_batch = sharded_parameters.specs(state.params, divided), PartitionSpec(mesh.AXIS)
        sums = jax.shard_map(
            lambda params, batch, key: _sums(net, params, batch, key, None, accumulate, mesh.AXIS, specs),
            mesh=divided,
            in_specs=(specs, of_batch, PartitionSpec()),
            out_specs=(specs, PartitionSpec()),
            check_vma=False,  # the metrics are equal everywhere, because they are summed
        )
        gradients, metrics = sums(state.params, batch, dropout_key)
    gradients = jax.tree.map(lambda gradient: gradient / metrics.weight, gradients)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    after = TrainState(optax.apply_updates(state.params, updates), opt_state, state.step + 1)
    return after if divided is None else sharded_parameters.keep(after, divided), metrics


def _sums(
    net: Network,
    params: dict,
    batch: tuple[jax.Array, ...],
    dropout_key: jax.Array,
    dropout: jax.Array | None,
    accumulate: int,
    axis_name: str | None,
    specs: Any = None,
) -> tuple[dict, StepMetrics]:
    """(gradients, StepMetrics) of a batch (inputs, targets, weight), summed over its windows and all devices.

    The arguments are as in `train_step`; specs: how parameters and gradients are divided over the devices, if they are.
    """
    place, shares = mesh.share(axis_name)
    params = params if specs is None else sharded_parameters.gather(params, specs)

    def of_part(number: jax.Array | int, inputs: jax.Array, targets: jax.Array, weight: jax.Array):
        share = (place * accumulate + number, shares * accumulate)

        def total_loss(params: dict):
            outputs = network.apply(net, params, inputs, dropout_key, dropout, share)
            own, head_key = network.head_params(params), jax.random.fold_in(dropout_key, HEAD)
            losses, accuracies = net.head.training(own, outputs, targets, head_key, dropout, share)
            loss, accuracy = jnp.sum(losses * weight), jnp.sum(accuracies * weight)
            return loss, StepMetrics(loss, accuracy, jnp.sum(weight))

        gradients, metrics = jax.grad(total_loss, has_aux=True)(params)
        return gradients if specs is None else sharded_parameters.sum_parts(gradients, specs), metrics

    def add(so_far, now):
        return jax.tree.map(jnp.add, so_far, of_part(now[0], *now[1])), None

    if accumulate == 1:
        gradients, metrics = of_part(0, *batch)
    else:
        parts = [array.reshape(accumulate, -1, *array.shape[1:]) for array in batch]
        shapes = jax.eval_shape(of_part, 0, *(array[0] for array in parts))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        (gradients, metrics), _ = lax.scan(add, zeros, (jnp.arange(accumulate), parts))
    if specs is not None:
        return gradients, lax.psum(metrics, axis_name)
    return (gradients, metrics) if axis_name is None else lax.psum((gradients, metrics), axis_name)


def epoch(
    net: Network,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    window: int,
    state: TrainState,
    windows: TrainingSet,
    keys: Keys,
    number: jax.Array,
    axis_name: str | None = None,
    dropout: jax.Array | None = None,
    accumulate: int = 1,
    divided: Mesh | None = None,
) -> tuple[TrainState, StepMetrics]:
    """All steps of epoch `number`, counted from 0: the state after them and the StepMetrics of each, [S].

    The last four arguments are as in `train_step`; every device has all windows and takes its part of each batch.
    """
    place, shares = mesh.share(axis_name)
    count = windows.starts.shape[0]
    parts = shares * accumulate * (1 if divided is None else divided.size)
    index, weight = windows_lib.order(keys.order, number, count, batch_size, parts)
    part = index.shape[1] // shares
    random = jax.random.uniform(jax.random.fold_in(keys.augment, number), (count, windows.random_numbers))

    def body(state, now):
        index, counted = (lax.dynamic_slice_in_dim(array, place * part, part) for array in now)
        inputs, targets, weight = windows.gather(index, window, random[index])
        weight = weight * counted.reshape(-1, *(1,) * (weight.ndim - 1))
        batch = inputs, targets, weight
        return train_step(net, optimizer, state, *batch, keys.dropout, axis_name, dropout, accumulate, divided)

    return lax.scan(body, state, (index, weight))


def validation(
    net: Network, batch_size: int, window: int, params: dict, scored: ScoringSet, axis_name: str | None = None
) -> Validation:
    """Means over all windows, or all rows of whole pieces, without dropout."""
    return scored.validate(net, batch_size, window, params, axis_name)


def make_epoch(
    net: Network,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    window: int,
    devices: Mesh | None = None,
    accumulate: int = 1,
    divided: bool = False,
) -> Wrapped:
    """`epoch` as epoch(state, windows, keys, number), compiled once.

    The state passed in is donated: its buffers are reused and must not be read again.

    Args:
        divided: whether the state is divided over the devices, as `sharded_parameters.place` does it.
    """
    one = functools.partial(epoch, net, optimizer, batch_size, window, accumulate=accumulate)
    if divided:
        return jax.jit(functools.partial(one, divided=devices), donate_argnums=0)
    return mesh.spread(one, devices, donate=0)


def make_validation(net: Network, batch_size: int, window: int, devices: Mesh | None = None) -> Wrapped:
    """`validation` as validate(params, windows), compiled once."""
    return mesh.spread(functools.partial(validation, net, batch_size, window), devices)
