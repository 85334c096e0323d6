"""Dropout whose rate may be an array. It treats part of a batch as it would within the whole batch."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.random import threefry2x32_p

# Numbers that a key gives before the upper half of its counter is needed.
COUNTED = 2**32


class Dropout(nn.Module):
    """Flax's dropout, bit for bit if it has the name that Flax would give it. But the rate may be an array, and
    a part of a batch keeps what the whole batch would have kept of it."""

    @nn.compact
    def __call__(self, outputs: jax.Array, rate: Any, share: tuple[Any, int]) -> jax.Array:
        """outputs float32 [B, ...], the k-th of n equal parts of a batch; share: (k, n)."""
        keep = 1.0 - rate
        drawn = kept(self.make_rng("dropout"), keep, outputs.shape, share)
        return jnp.where(drawn, outputs / keep, 0)


def kept(key: jax.Array, keep: Any, shape: tuple[int, ...], share: tuple[Any, int] = (0, 1)) -> jax.Array:
    """bool `shape`, True with probability `keep`: the k-th of n equal parts of what the key gives for all of them.

    Only the part is drawn: the mask of a whole batch would take the memory that splitting it is to save.
    """
    place, shares = share
    size = math.prod(shape)
    if shares == 1:
        return jax.random.bernoulli(key, keep, shape)
    if size * shares > COUNTED:
        drawn = jax.random.bernoulli(key, keep, (shape[0] * shares, *shape[1:]))
        return lax.dynamic_slice_in_dim(drawn, place * shape[0], shape[0])
    # As jax.random.bernoulli draws: number i of a key is its hash of i, and 23 bits of that are a number in 0..1.
    number = jnp.asarray(place, jnp.uint32) * jnp.uint32(size)
    for axis in range(len(shape)):
        number += lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(math.prod(shape[axis + 1 :]))
    first, second = threefry2x32_p.bind(*jax.random.key_data(key), jnp.zeros_like(number), number)
    one = lax.bitcast_convert_type(jnp.float32(1), jnp.uint32)
    uniform = lax.bitcast_convert_type(((first ^ second) >> jnp.uint32(9)) | one, jnp.float32) - 1
    return uniform < keep
