"""Windows and batches: a batch is a pure function of (rows, key, step), gathered on the device.

Shape legend: N rows, Q parts of them, W windows, B windows a batch, T notes a window, C columns, S steps an epoch.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from musicjax.model import network
from musicjax.model.network import Network
from musicjax.training import mesh

# How many validation windows the histogram of outputs covers.
WINDOWS_SHOWN = 200


class Batch(NamedTuple):
    """B windows: inputs float32 [B, T, C], the targets they predict, and the targets' weight (0: not counted)."""

    inputs: jax.Array
    targets: jax.Array
    weight: jax.Array


class TrainingSet(Protocol):
    """What an epoch needs of the windows it learns from: `Windows`, or `sequences.Sequences`."""

    @property
    def starts(self) -> jax.Array: ...
    @property
    def rows(self) -> jax.Array: ...
    @property
    def random_numbers(self) -> int: ...
    def targets(self, window: int) -> int: ...
    def gather(self, index: jax.Array, window: int, random: jax.Array) -> Batch: ...
    def only(self, index: np.ndarray) -> TrainingSet: ...


class ScoringSet(Protocol):
    """What validation needs of the music it scores: `Windows`, or `sequences.Streams`."""

    @property
    def rows(self) -> jax.Array: ...
    def first_inputs(self, window: int) -> jax.Array: ...
    def validate(
        self, net: Network, batch_size: int, window: int, params: dict, axis_name: str | None = None
    ) -> Validation: ...


class Validation(NamedTuple):
    """Means over all targets: loss, accuracy, and for each column [C] the residual, target - output.

    residual: its mean; residual_square: the mean of its square; residual_size: of its absolute value; nats: negative
    log-likelihood, 0 where the head has none; nats_by_column: [A], of each column that a categorical head predicts.
    """

    loss: jax.Array
    accuracy: jax.Array
    residual: jax.Array
    residual_square: jax.Array
    residual_size: jax.Array
    nats: jax.Array
    nats_by_column: jax.Array | None = None


class Windows(NamedTuple):
    """rows: float32 [N, C], all pieces end to end; starts: int32 [W], first row of each window.

    Window w is rows[starts[w] : starts[w] + T] and its target rows[starts[w] + T].
    """

    rows: jax.Array
    starts: jax.Array

    @property
    def random_numbers(self) -> int:
        """How many random numbers `gather` takes for each window."""
        return 0

    def targets(self, window: int) -> int:
        """How many targets a window of T rows has."""
        return 1

    def gather(self, index: jax.Array, window: int, random: jax.Array | None = None) -> Batch:
        """The windows with these indices, [B]: inputs [B, T, C], targets [B, C], weight [B]."""
        rows = self.rows[self.starts[index][:, None] + jnp.arange(window + 1)]
        return Batch(rows[:, :-1], rows[:, -1], jnp.ones(index.shape))

    def only(self, index: np.ndarray) -> Windows:
        """The windows with these indices alone."""
        return self._replace(starts=self.starts[index])

    def first_inputs(self, window: int) -> jax.Array:
        """Inputs of the first windows, at most WINDOWS_SHOWN: [B, T, C]."""
        return self.gather(jnp.arange(min(WINDOWS_SHOWN, self.starts.shape[0])), window).inputs

    def validate(
        self, net: Network, batch_size: int, window: int, params: dict, axis_name: str | None = None
    ) -> Validation:
        """Means over all windows, without dropout."""
        count = self.starts.shape[0]
        place, shares = mesh.share(axis_name)
        size = filled_batch(count, batch_size, shares)
        part = size // shares
        places = jnp.arange(steps_per_epoch(count, size) * size).reshape(-1, size)

        def body(_, places):
            places = lax.dynamic_slice_in_dim(places, place * part, part)
            inputs, targets, _ = self.gather(places % count, window)
            outputs = network.apply(net, params, inputs)
            residual = targets - outputs
            weight = (places < count).astype(jnp.float32)
            loss = net.head.loss({}, outputs, targets)
            accuracy = net.head.accuracy({}, outputs, targets)
            of_windows = Validation(loss, accuracy, residual, residual**2, jnp.abs(residual), jnp.zeros_like(loss))
            return None, jax.tree.map(
                lambda value: jnp.tensordot(weight, value, axes=1, precision=lax.Precision.HIGHEST), of_windows
            )

        sums = lax.scan(body, None, places)[1]
        if axis_name is not None:
            sums = lax.psum(sums, axis_name)
        return jax.tree.map(lambda value: jnp.sum(value, axis=0) / count, sums)


def starts_inside(offsets: np.ndarray, chosen: np.ndarray, window: int) -> np.ndarray:
    """Starts of the windows that lie inside one of the chosen parts, bool [Q], with the row after: int32 [W].

    Args:
        offsets: int64 [Q + 1], where the rows of each part begin.
    """
    parts = zip(offsets[:-1][chosen].tolist(), offsets[1:][chosen].tolist(), strict=True)
    inside = [np.arange(first, end - window) for first, end in parts if end - first > window]
    return np.concatenate([np.zeros(0, int), *inside]).astype(np.int32)


def starts_of_list(rows: int, validation_fraction: float, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts of (training, validation) windows over all rows as one list; the last share validates.

    As Keras' validation_split does it: the first int(W * (1 - fraction)) windows train.
    """
    starts = np.arange(max(rows - window, 0), dtype=np.int32)
    cut = int(len(starts) * (1.0 - validation_fraction))
    return starts[:cut], starts[cut:]


def steps_per_epoch(windows: int, batch_size: int) -> int:
    """Batches in an epoch; the last may be smaller."""
    return -(-windows // batch_size)


def filled_batch(windows: int, batch_size: int, shares: int = 1) -> int:
    """B: the batch size, or, if there are fewer windows, just enough for them in `shares` equal parts."""
    return min(batch_size, -(-windows // shares) * shares)


def order(
    key: jax.Array, epoch: jax.Array | int, windows: int, batch_size: int, shares: int = 1
) -> tuple[jax.Array, jax.Array]:
    """The epoch's windows, shuffled, as (index int32 [S, B], weight float32 [S, B]).

    B is as in `filled_batch`. The places left over in the last batch repeat the epoch's first windows with
    weight 0.
    """
    batch_size = filled_batch(windows, batch_size, shares)
    shuffled = jax.random.permutation(jax.random.fold_in(key, epoch), windows)
    steps = steps_per_epoch(windows, batch_size)
    place = jnp.arange(steps * batch_size).reshape(steps, batch_size)
    return shuffled[place % windows], (place < windows).astype(jnp.float32)


def batch(windows: Windows, key: jax.Array, step: int, batch_size: int, window: int) -> Batch:
    """Inputs [B, T, C], targets [B, C] and weight [B] of a training step, counted from 0."""
    count = windows.starts.shape[0]
    epoch, within = divmod(step, steps_per_epoch(count, batch_size))
    index, weight = order(key, epoch, count, batch_size)
    inputs, targets, _ = windows.gather(index[within], window)
    return Batch(inputs, targets, weight[within])
