"""Dropout whose rate may be an array. It treats part of a batch as it would within the whole batch."""

from __future__ import annotations

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.random import threefry2x32_p

# Numbers that a key gives before the upper half of its counter is needed.
COUNTED = 2**32
# A CPU draws this many numbers at a time, so that they stay in its caches.
AT_ONCE = 2**15


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
    if size * shares > COUNTED:
        drawn = jax.random.bernoulli(key, keep, (shape[0] * shares, *shape[1:]))
        return lax.dynamic_slice_in_dim(drawn, place * shape[0], shape[0])
    words, first = jax.random.key_data(key), jnp.asarray(place, jnp.uint32) * jnp.uint32(size)

    def some(first: jax.Array, count: int) -> jax.Array:
        """bool [count], from number `first` of the key on."""
        # This matches jax.random.bernoulli: number i is the key's hash of i, and 23 of its bits give a number in 0..1.
        number = first + lax.iota(jnp.uint32, count)
        upper, lower = threefry2x32_p.bind(*words, jnp.zeros_like(number), number)
        one = lax.bitcast_convert_type(jnp.float32(1), jnp.uint32)
        return lax.bitcast_convert_type(((upper ^ lower) >> jnp.uint32(9)) | one, jnp.float32) - 1 < keep

    def in_parts(first: jax.Array) -> jax.Array:
        firsts = first + AT_ONCE * jnp.arange(-(-size // AT_ONCE), dtype=jnp.uint32)
        return lax.map(functools.partial(some, count=AT_ONCE), firsts).reshape(-1)[:size]

    at_once = functools.partial(some, count=size)
    mask = at_once(first) if size <= AT_ONCE else lax.platform_dependent(first, cpu=in_parts, default=at_once)
    return mask.reshape(shape)
