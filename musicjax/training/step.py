"""The training step, a whole epoch of them as one compiled scan, and validation.

Shape legend as in `windows`. One seed gives every random number: see `Keys`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.stages import Wrapped

from musicjax.model import heads, network
from musicjax.model.network import MusicLSTM
from musicjax.training import windows as windows_lib
from musicjax.training.windows import Windows


class TrainState(NamedTuple):
    """Everything training changes; step: int32, updates made so far."""

    params: dict
    opt_state: optax.OptState
    step: jax.Array


class Keys(NamedTuple):
    """One key for each purpose, folded from the seed; the step or epoch is folded in where it is used."""

    init: jax.Array
    order: jax.Array
    dropout: jax.Array
    primers: jax.Array


class StepMetrics(NamedTuple):
    """Sums over the windows of a step: loss, argmax agreement, and their weight; float32 each."""

    loss: jax.Array
    agreement: jax.Array
    weight: jax.Array


class Validation(NamedTuple):
    """Means over all windows given: loss and agreement, and per column [C] of the residual target - output.

    residual: its mean; residual_square: mean of its square; residual_size: mean of its absolute value.
    """

    loss: jax.Array
    agreement: jax.Array
    residual: jax.Array
    residual_square: jax.Array
    residual_size: jax.Array


def keys(seed: int) -> Keys:
    """The keys of a run."""
    root = jax.random.key(seed, impl="threefry2x32")  # whatever JAX's default in this environment
    return Keys(*(jax.random.fold_in(root, purpose) for purpose in range(len(Keys._fields))))


def init(net: MusicLSTM, optimizer: optax.GradientTransformation, key: jax.Array, window: int) -> TrainState:
    """The state before the first step."""
    params = network.init(net, key, window)
    return TrainState(params, optimizer.init(params), jnp.int32(0))


def train_step(
    net: MusicLSTM,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    inputs: jax.Array,
    targets: jax.Array,
    weight: jax.Array,
    dropout_key: jax.Array,
    axis_name: str | None = None,
) -> tuple[TrainState, StepMetrics]:
    """One update on inputs [B, T, C], targets [B, C], weight [B] (0: not counted).

    With an axis name (under pmap or shard_map) B is one device's share: losses, weights and
    gradients are summed over the axis before the update, so that all devices stay equal; each drops
    outputs of its own.
    """
    dropout_key = jax.random.fold_in(dropout_key, state.step)
    if axis_name is not None:
        dropout_key = jax.random.fold_in(dropout_key, lax.axis_index(axis_name))

    def total_loss(params: dict):
        outputs = network.apply(net, params, inputs, dropout_key)
        loss = jnp.sum(heads.regression_loss(outputs, targets) * weight)
        agreement = jnp.sum(heads.argmax_agreement(outputs, targets) * weight)
        return loss, StepMetrics(loss, agreement, jnp.sum(weight))

    gradients, metrics = jax.grad(total_loss, has_aux=True)(state.params)
    if axis_name is not None:
        gradients, metrics = lax.psum((gradients, metrics), axis_name)
    gradients = jax.tree.map(lambda gradient: gradient / metrics.weight, gradients)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    return TrainState(optax.apply_updates(state.params, updates), opt_state, state.step + 1), metrics


def make_epoch(net: MusicLSTM, optimizer: optax.GradientTransformation, batch_size: int, window: int) -> Wrapped:
    """epoch(state, windows, keys, epoch number from 0) -> (state, StepMetrics of [S] each), compiled once.

    The state passed in is donated: its buffers are reused and must not be read again.
    """

    def epoch(state: TrainState, windows: Windows, keys: Keys, number: jax.Array):
        index, weight = windows_lib.order(keys.order, number, windows.starts.shape[0], batch_size)

        def body(state, now):
            inputs, targets = windows_lib.gather(windows, now[0], window)
            return train_step(net, optimizer, state, inputs, targets, now[1], keys.dropout)

        return lax.scan(body, state, (index, weight))

    return jax.jit(epoch, donate_argnums=0)


def make_validation(net: MusicLSTM, batch_size: int, window: int) -> Wrapped:
    """validate(params, windows) -> Validation over all windows, without dropout; compiled once."""

    @jax.jit
    def validate(params: dict, windows: Windows) -> Validation:
        count = windows.starts.shape[0]
        size = min(batch_size, count)
        place = jnp.arange(windows_lib.steps_per_epoch(count, size) * size).reshape(-1, size)

        def body(_, places):
            inputs, targets = windows_lib.gather(windows, places % count, window)
            outputs = network.apply(net, params, inputs)
            residual = targets - outputs
            weight = (places < count).astype(jnp.float32)
            loss = heads.regression_loss(outputs, targets)
            agreement = heads.argmax_agreement(outputs, targets)
            of_windows = Validation(loss, agreement, residual, residual**2, jnp.abs(residual))
            return None, jax.tree.map(
                lambda value: jnp.tensordot(weight, value, axes=1, precision=lax.Precision.HIGHEST), of_windows
            )

        sums = lax.scan(body, None, place)[1]
        return jax.tree.map(lambda value: jnp.sum(value, axis=0) / count, sums)

    return validate
