"""The longest match as rows come one by one, inside a scan: the counterpart of musicjax.music.longest_match.

Shape legend: G outputs; K columns remembered of a row; M rows remembered.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

# How many rows before the last one are remembered.
REACH = 2048


class Past(NamedTuple):
    """rows: [G, M, K], the last M rows, -1 before the first; runs: int32 [G, M], for each row the length of the longest
    run that ends there and equals the run that ends at the last row."""

    rows: jax.Array
    runs: jax.Array


class Match(NamedTuple):
    """followed: [G, K], the row after the longest match, of several the latest; length: int32 [G], 0: no match."""

    followed: jax.Array
    length: jax.Array


def start(outputs: int, columns: int, kind: jnp.dtype) -> Past:
    """Before the first row."""
    rows = jnp.full((outputs, REACH + 1, columns), -1, kind)
    return Past(rows, jnp.zeros((outputs, REACH + 1), jnp.int32))


def advance(now: jax.Array, past: Past, same: int) -> tuple[Match, Past]:
    """The longest match after rows `now` [G, K]; two rows are alike if their first `same` columns are equal."""
    rows = jnp.concatenate([past.rows[:, 1:], now[:, None]], axis=1)
    is_same = jnp.all(rows[..., :same] == now[:, None, :same], axis=-1)
    runs = jnp.where(is_same, past.runs + 1, 0).at[:, -1].set(0)
    at = runs.shape[1] - 1 - jnp.argmax(runs[:, ::-1], axis=1)
    length = jnp.take_along_axis(runs, at[:, None], axis=1)[:, 0]
    followed = jnp.take_along_axis(rows, jnp.minimum(at + 1, rows.shape[1] - 1)[:, None, None], axis=1)[:, 0]
    return Match(followed, length), Past(rows, runs)
