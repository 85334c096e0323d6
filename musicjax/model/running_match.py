"""The echo of rows, one by one: what followed the longest run that is like the last rows.

The counterpart of musicjax.music.longest_match inside the sampling scan; the two find the same.

Shape legend: G outputs; C columns of a row: of bins (interval, place, pitch, duration, velocity, echo of four of them,
its length), of frames the keys, those that followed, how long the run is; K columns remembered; M rows remembered.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

# Of bins, the columns that are remembered, of which the first two tell whether rows are the same; and where the
# echo's columns begin.
BINS, SAME, FIRST = (0, 2, 3, 4), 2, 5
# Rows remembered before the last one.
REMEMBERED = 2048


class Heard(NamedTuple):
    """rows: [G, M, K], what the last ones were, -1 before the first; runs: int32 [G, M], the length of the run that
    each ends and the last one ends too."""

    rows: jax.Array
    runs: jax.Array


def of_bins(outputs: int) -> Heard:
    """Before the first row of bins."""
    return _start(outputs, len(BINS), jnp.int32)


def of_frames(outputs: int, keys: int) -> Heard:
    """Before the first frame of so many keys."""
    return _start(outputs, keys, jnp.int8)


def _start(outputs: int, columns: int, kind: jnp.dtype) -> Heard:
    rows = jnp.full((outputs, REMEMBERED + 1, columns), -1, kind)
    return Heard(rows, jnp.zeros((outputs, REMEMBERED + 1), jnp.int32))


def hear_bins(
    rows: jax.Array, heard: Heard, lengths: jax.Array, longest: jax.Array | None = None
) -> tuple[jax.Array, Heard]:
    """The rows float32 [G, C] with their echo's columns, and what is then remembered.

    Args:
        lengths: int32, where the bins of lengths begin, after 0: none.
        longest: int32 [G]: of runs longer than this, nothing is told, so that no output echoes itself for ever; None:
            any are.
    """
    now = jnp.stack([rows[:, column].astype(jnp.int32) for column in BINS], axis=-1)
    followed, run, heard = _hear(now, heard, SAME)
    told = run > 0 if longest is None else (run > 0) & (run <= longest)
    length = jnp.searchsorted(lengths, run, side="right").astype(jnp.int32)
    echo = jnp.where(told[:, None], jnp.concatenate([followed, length[:, None]], axis=1), 0)
    return rows.at[:, FIRST:].set(echo.astype(jnp.float32)), heard


def hear_frames(frames: jax.Array, heard: Heard, lengths: tuple[int, ...]) -> tuple[jax.Array, Heard]:
    """Frames float32 [G, keys] followed by their echo's columns, [G, C], and what is then remembered.

    Args:
        lengths: of runs, each with a column that is one where the run reaches it.
    """
    followed, run, heard = _hear(frames.astype(jnp.int8), heard, frames.shape[1])
    reached = (run[:, None] >= jnp.asarray(lengths)).astype(jnp.float32)
    return jnp.concatenate([frames, followed.astype(jnp.float32) * reached[:, :1], reached], axis=1), heard


def _hear(now: jax.Array, heard: Heard, same: int) -> tuple[jax.Array, jax.Array, Heard]:
    """Of rows [G, K], the same where their first columns, so many, are: (what followed [G, K], the run's length, int32
    [G], what is then remembered)."""
    past = jnp.concatenate([heard.rows[:, 1:], now[:, None]], axis=1)
    is_same = jnp.all(past[..., :same] == now[:, None, :same], axis=-1)
    runs = jnp.where(is_same, heard.runs + 1, 0).at[:, -1].set(0)
    # The latest of the longest.
    at = runs.shape[1] - 1 - jnp.argmax(runs[:, ::-1], axis=1)
    run = jnp.take_along_axis(runs, at[:, None], axis=1)[:, 0]
    followed = jnp.take_along_axis(past, jnp.minimum(at + 1, past.shape[1] - 1)[:, None, None], axis=1)[:, 0]
    return followed, run, Heard(past, runs)
