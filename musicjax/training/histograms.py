"""Histograms of parameters and outputs, counted on the device, so that only the buckets leave it.

Shape legend: M buckets.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

BUCKETS = 30


class Buckets(NamedTuple):
    """A histogram. Bucket k counts the values from edges[k] up to but not including edges[k + 1]; the last includes it.

    counts: int32 [M]; edges: float32 [M + 1], never falling; low, high, sum, sum_of_squares: float32, of the values
    themselves. If not all values are finite, sum_of_squares is not finite and the counts mean nothing.
    """

    counts: jax.Array
    edges: jax.Array
    low: jax.Array
    high: jax.Array
    sum: jax.Array
    sum_of_squares: jax.Array


def histograms(params: dict, outputs: jax.Array) -> dict[str, Buckets]:
    """A histogram of each array of the parameters, by its tag (see `tags`), and of all outputs, as `outputs`."""
    leaves = dict(zip(tags(params), jax.tree.leaves(params), strict=True))
    return {tag: buckets(values) for tag, values in {**leaves, "outputs": outputs}.items()}


def tags(params: dict) -> list[str]:
    """The path of each array in the tree, such as `lstm/recurrent_kernel`."""
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(params)]


def buckets(values: jax.Array) -> Buckets:
    """The histogram of an array of any shape, in equal buckets from its lowest value to its highest.

    If all values are equal, the buckets reach from half a unit below to half a unit above, as in NumPy.
    """
    values = values.astype(jnp.float32).ravel()
    low, high = values.min(), values.max()
    half = jnp.where(low == high, jnp.float32(0.5), jnp.float32(0.0))
    place = jnp.linspace(0.0, 1.0, BUCKETS + 1)
    # A weighted sum: the ends' difference may overflow. cummax: rounding may put an edge below the one before.
    edges = lax.cummax((low - half) * (1 - place) + (high + half) * place)
    # Edge by edge: one pass for all of them together takes ten times as long on CPU.
    reached = lax.map(lambda edge: jnp.sum(values >= edge, dtype=jnp.int32), edges[1:-1])
    reached = jnp.concatenate([jnp.full(1, values.size, jnp.int32), reached, jnp.zeros(1, jnp.int32)])
    return Buckets(reached[:-1] - reached[1:], edges, low, high, values.sum(), (values**2).sum())
