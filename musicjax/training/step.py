"""The training step, a whole epoch of them as one compiled scan, and validation.

Shape legend as in `windows` and `sequences`. One seed gives every random number: see `Keys`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh
from jax.stages import Wrapped

from musicjax.model import lstm, network
from musicjax.model.categorical import Categorical
from musicjax.model.network import MusicLSTM
from musicjax.training import mesh
from musicjax.training import sequences as sequences_lib
from musicjax.training import windows as windows_lib
from musicjax.training.sequences import Lanes, Sequences
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
    augment: jax.Array


class StepMetrics(NamedTuple):
    """Sums over the targets of a step: loss, the head's agreement, and their weight; float32 each."""

    loss: jax.Array
    agreement: jax.Array
    weight: jax.Array


class Validation(NamedTuple):
    """Means over all targets given: loss and agreement, and per column [C] of the residual target - output.

    residual: its mean; residual_square: mean of its square; residual_size: mean of its absolute value; nats: negative
    log-likelihood. Of notes the last is 0, of frames and bins the residuals are. by_column: nats of each column that a
    categorical head predicts, [A].
    """

    loss: jax.Array
    agreement: jax.Array
    residual: jax.Array
    residual_square: jax.Array
    residual_size: jax.Array
    nats: jax.Array
    by_column: jax.Array | None = None


class Scores(NamedTuple):
    """Of each row but a piece's first, given its piece so far: loss, agreement and nats, float32 [S, L] each; nats of
    each column that a categorical head predicts, [S, L, A]."""

    loss: jax.Array
    agreement: jax.Array
    nats: jax.Array
    by_column: jax.Array | None


def keys(seed: int | jax.Array) -> Keys:
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
    dropout: jax.Array | None = None,
) -> tuple[TrainState, StepMetrics]:
    """One update on inputs [B, T, C], targets [B, C], weight [B] (0: not counted).

    Where the network has outputs at every position, targets are [B, T, C] and weight [B, T].

    Args:
        axis_name: under pmap or shard_map, the axis over which a batch is divided into parts of B. Losses,
            weights and gradients are summed over it before the update, and each device drops what would have
            been dropped of its part on one device, so that all stay equal to that one.
        dropout: rate, instead of the network's own.
    """
    dropout_key = jax.random.fold_in(dropout_key, state.step)
    share = _share(axis_name)

    targets = targets[..., : net.predicted]

    def total_loss(params: dict):
        outputs = network.apply(net, params, inputs, dropout_key, dropout, share)
        own = network.head_params(params)
        loss = jnp.sum(net.head.loss(own, outputs, targets) * weight)
        agreement = jnp.sum(net.head.agreement(own, outputs, targets) * weight)
        return loss, StepMetrics(loss, agreement, jnp.sum(weight))

    gradients, metrics = jax.grad(total_loss, has_aux=True)(state.params)
    if axis_name is not None:
        gradients, metrics = lax.psum((gradients, metrics), axis_name)
    gradients = jax.tree.map(lambda gradient: gradient / metrics.weight, gradients)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    return TrainState(optax.apply_updates(state.params, updates), opt_state, state.step + 1), metrics


def epoch(
    net: MusicLSTM,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    window: int,
    state: TrainState,
    windows: Windows | Sequences,
    keys: Keys,
    number: jax.Array,
    axis_name: str | None = None,
    dropout: jax.Array | None = None,
) -> tuple[TrainState, StepMetrics]:
    """All steps of epoch `number`, counted from 0: the state after them and the StepMetrics of each, [S].

    axis_name and dropout are as in `train_step`; every device has all windows and takes its part of each batch.
    """
    place, shares = _share(axis_name)
    count = windows.starts.shape[0]
    index, weight = windows_lib.order(keys.order, number, count, batch_size, shares)
    part = index.shape[1] // shares
    kinds = sequences_lib.kinds(windows) if isinstance(windows, Sequences) else 0
    draws = sequences_lib.draws(keys.augment, number, count, kinds)

    def body(state, now):
        index, weight = (lax.dynamic_slice_in_dim(array, place * part, part) for array in now)
        if isinstance(windows, Sequences):
            inputs, targets, inside = sequences_lib.gather(windows, index, window, draws[index])
            weight = weight[:, None] * inside
        else:
            inputs, targets = windows_lib.gather(windows, index, window)
        return train_step(net, optimizer, state, inputs, targets, weight, keys.dropout, axis_name, dropout)

    return lax.scan(body, state, (index, weight))


def validation(
    net: MusicLSTM, batch_size: int, window: int, params: dict, windows: Windows | Lanes, axis_name: str | None = None
) -> Validation:
    """Means over all windows, or all rows of whole pieces, without dropout."""
    if isinstance(windows, Lanes):
        return _validation_of_pieces(net, params, windows, axis_name)
    count = windows.starts.shape[0]
    place, shares = _share(axis_name)
    size = windows_lib.filled_batch(count, batch_size, shares)
    part = size // shares
    places = jnp.arange(windows_lib.steps_per_epoch(count, size) * size).reshape(-1, size)

    def body(_, places):
        places = lax.dynamic_slice_in_dim(places, place * part, part)
        inputs, targets = windows_lib.gather(windows, places % count, window)
        outputs = network.apply(net, params, inputs)
        residual = targets - outputs
        weight = (places < count).astype(jnp.float32)
        loss = net.head.loss({}, outputs, targets)
        agreement = net.head.agreement({}, outputs, targets)
        of_windows = Validation(loss, agreement, residual, residual**2, jnp.abs(residual), jnp.zeros_like(loss))
        return None, jax.tree.map(
            lambda value: jnp.tensordot(weight, value, axes=1, precision=lax.Precision.HIGHEST), of_windows
        )

    sums = lax.scan(body, None, places)[1]
    if axis_name is not None:
        sums = lax.psum(sums, axis_name)
    return jax.tree.map(lambda value: jnp.sum(value, axis=0) / count, sums)


def scores(net: MusicLSTM, params: dict, lanes: Lanes) -> Scores:
    """Of the row after each that a lane sees."""
    weights, own = network.prepare(net, params), network.head_params(params)

    def see(states: tuple[lstm.State, ...], now: tuple[jax.Array, jax.Array]):
        index, fresh = now
        states = jax.tree.map(lambda array: jnp.where(fresh[:, None], jnp.zeros_like(array), array), states)
        states = network.advance(weights, network.inputs(net, params, lanes.rows[index].astype(jnp.float32)), states)
        # As float32: XLA's CPU backend would convert a whole stack of bfloat16 at every step.
        return states, states[-1].h.astype(jnp.float32)

    def score(states: tuple[lstm.State, ...], now: tuple[jax.Array, jax.Array]):
        states, last = lax.scan(see, states, now)
        outputs, following = network.read(params, last), lanes.rows[now[0] + 1].astype(jnp.float32)
        targets = following[..., : net.predicted]
        agreement = net.head.agreement(own, outputs, targets)
        if isinstance(net.head, Categorical):
            by_column = -net.head.log_probs(own, outputs, targets)
            nats = jnp.sum(by_column, axis=-1)
            return states, Scores(nats, agreement, nats, by_column)
        loss, log_prob = net.head.loss(own, outputs, targets), net.head.log_prob(own, outputs, targets)
        return states, Scores(loss, agreement, -log_prob, None)

    # In chunks, so that the outputs of a few steps are held at a time, not of all.
    seen, fresh = (array.reshape(-1, sequences_lib.CHUNK, array.shape[1]) for array in (lanes.seen, lanes.fresh))
    found = lax.scan(score, network.start(weights, lanes.seen.shape[1]), (seen, fresh))[1]
    return jax.tree.map(lambda array: array.reshape(*lanes.seen.shape, *array.shape[3:]), found)


def _validation_of_pieces(net: MusicLSTM, params: dict, lanes: Lanes, axis_name: str | None) -> Validation:
    place, shares = _share(axis_name)
    if lanes.seen.shape[1] % shares:  # then every device does all
        axis_name, place, shares = None, 0, 1
    lanes = sequences_lib.part(lanes, place, shares)

    def total(array: jax.Array) -> jax.Array:
        weight = lanes.weight.reshape(*lanes.weight.shape, *(1,) * (array.ndim - 2))
        return jnp.sum(array * weight, axis=(0, 1))

    sums, weight = jax.tree.map(total, scores(net, params, lanes)), jnp.sum(lanes.weight)
    if axis_name is not None:
        sums, weight = lax.psum((sums, weight), axis_name)
    mean = jax.tree.map(lambda value: value / weight, sums)
    none = jnp.zeros(net.columns)
    return Validation(mean.loss, mean.agreement, none, none, none, mean.nats, mean.by_column)


def make_epoch(
    net: MusicLSTM,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    window: int,
    devices: Mesh | None = None,
) -> Wrapped:
    """`epoch` as epoch(state, windows, keys, number), compiled once.

    The state passed in is donated: its buffers are reused and must not be read again.
    """
    return mesh.spread(functools.partial(epoch, net, optimizer, batch_size, window), devices, donate=0)


def make_validation(net: MusicLSTM, batch_size: int, window: int, devices: Mesh | None = None) -> Wrapped:
    """`validation` as validate(params, windows), compiled once."""
    return mesh.spread(functools.partial(validation, net, batch_size, window), devices)


def _share(axis_name: str | None) -> tuple[jax.Array | int, int]:
    """(k, n): this device has the k-th of n parts."""
    return (0, 1) if axis_name is None else (lax.axis_index(axis_name), lax.axis_size(axis_name))
