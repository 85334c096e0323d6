"""Windows and batches: a batch is a pure function of (rows, key, step), gathered on the device.

Shape legend: N rows, W windows, B windows a batch, T notes a window, C columns, S steps an epoch.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Windows(NamedTuple):
    """rows: float32 [N, C], all pieces end to end; starts: int32 [W], first row of each window.

    Window w is rows[starts[w] : starts[w] + T] and its target rows[starts[w] + T].
    """

    rows: jax.Array
    starts: jax.Array


def starts_by_piece(offsets: np.ndarray, held_out: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts of (training, validation) windows, each inside one piece: offsets [P + 1], held_out bool [P]."""
    pieces = list(zip(offsets[:-1].tolist(), offsets[1:].tolist(), held_out.tolist(), strict=True))

    def starts(side: bool) -> np.ndarray:
        inside = [np.arange(first, end - window) for first, end, out in pieces if out is side and end - first > window]
        return np.concatenate([np.zeros(0, int), *inside]).astype(np.int32)

    return starts(False), starts(True)


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
    """B: the batch size, or where windows are fewer, just enough for them in `shares` equal parts."""
    return min(batch_size, -(-windows // shares) * shares)


def order(
    key: jax.Array, epoch: jax.Array | int, windows: int, batch_size: int, shares: int = 1
) -> tuple[jax.Array, jax.Array]:
    """The epoch's windows, shuffled, as (index int32 [S, B], weight float32 [S, B]).

    B is the batch size, or all windows where they are fewer. The places that are left over in the last
    batch repeat the first windows with weight 0.
    """
    batch_size = filled_batch(windows, batch_size, shares)
    shuffled = jax.random.permutation(jax.random.fold_in(key, epoch), windows)
    steps = steps_per_epoch(windows, batch_size)
    place = jnp.arange(steps * batch_size).reshape(steps, batch_size)
    return shuffled[place % windows], (place < windows).astype(jnp.float32)


def gather(windows: Windows, index: jax.Array, window: int) -> tuple[jax.Array, jax.Array]:
    """(inputs [B, T, C], targets [B, C]) of the windows with these indices, [B]."""
    rows = windows.rows[windows.starts[index][:, None] + jnp.arange(window + 1)]
    return rows[:, :-1], rows[:, -1]


def batch(
    windows: Windows, key: jax.Array, step: int, batch_size: int, window: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(inputs [B, T, C], targets [B, C], weight [B]) of a training step counted from 0."""
    count = windows.starts.shape[0]
    epoch, within = divmod(step, steps_per_epoch(count, batch_size))
    index, weight = order(key, epoch, count, batch_size)
    return *gather(windows, index[within], window), weight[within]
