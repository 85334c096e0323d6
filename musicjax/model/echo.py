"""The echo of rows of bins, note by note: what followed the longest run that is like the last notes.

The counterpart, inside the sampling scan, of `echoes` in musicjax.music.note_bins, and equal to it.

Shape legend: G outputs; C columns (interval, place, pitch, duration, velocity, echo of four of them, its length);
M rows remembered.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

INTERVAL, PITCH, DURATION, VELOCITY = 0, 2, 3, 4
# Where the echo's columns begin; rows remembered before the last one.
FIRST, REMEMBERED = 5, 2048


class Heard(NamedTuple):
    """rows: int32 [G, M, 4], the last ones' interval, pitch, duration and velocity, -1 before the first; runs: int32
    [G, M], the length of the run that each ends and the last one ends too."""

    rows: jax.Array
    runs: jax.Array


def start(outputs: int) -> Heard:
    """Before the first row."""
    rows = jnp.full((outputs, REMEMBERED + 1, 4), -1, jnp.int32)
    return Heard(rows, jnp.zeros((outputs, REMEMBERED + 1), jnp.int32))


def hear(rows: jax.Array, heard: Heard, lengths: jax.Array, longest: jax.Array | None) -> tuple[jax.Array, Heard]:
    """The rows float32 [G, C] with their echo's columns, and what is then remembered.

    Args:
        lengths: int32, where the bins of lengths begin, after 0: none.
        longest: int32 [G]: of runs longer than this, nothing is told, so that no output echoes itself for ever; None:
            any are.
    """
    whole = rows.astype(jnp.int32)
    now = jnp.stack([whole[:, column] for column in (INTERVAL, PITCH, DURATION, VELOCITY)], axis=-1)
    past = jnp.concatenate([heard.rows[:, 1:], now[:, None]], axis=1)
    same = (past[..., 0] == now[:, None, 0]) & (past[..., 1] == now[:, None, 1])
    runs = jnp.where(same, heard.runs + 1, 0).at[:, -1].set(0)
    # The latest of the longest.
    at = runs.shape[1] - 1 - jnp.argmax(runs[:, ::-1], axis=1)
    run = jnp.take_along_axis(runs, at[:, None], axis=1)[:, 0]
    told = run > 0 if longest is None else (run > 0) & (run <= longest)
    followed = jnp.take_along_axis(past, jnp.minimum(at + 1, past.shape[1] - 1)[:, None, None], axis=1)[:, 0]
    length = jnp.searchsorted(lengths, run, side="right")
    echo = jnp.where(told[:, None], jnp.concatenate([followed, length[:, None].astype(jnp.int32)], axis=1), 0)
    return rows.at[:, FIRST:].set(echo.astype(jnp.float32)), Heard(past, runs)
