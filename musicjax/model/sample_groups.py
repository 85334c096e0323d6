"""How many outputs the sampler computes at once.

The sampler computes outputs in groups of one size, one group after the other, and fills up the last. An output must be
the same, bit for bit, however many are asked for. So a group either always has one size, or has one of several sizes
that a check found to give the same bits.

Shape legend: G outputs in a group, T notes a window, C columns, H units, O numbers that the head reads.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from musicjax.model import heads, network, past_states
from musicjax.model.network import Network

# The largest group of staggered states on a CPU. Larger ones are no faster (LOG.md).
MOST_STAGGERED = 16
# The one size on a CPU for the other ways to see the past, and the one size on an accelerator.
OTHERS, ON_ACCELERATOR = 8, 64


def size(net: Network, decode: str, window: int, outputs: int) -> int:
    """G for this many outputs, whose windows have T rows.

    On a CPU, a single output is fastest in a group of its own, because its T staggered states already make the products
    large. Several outputs are faster in groups of nearly equal size. XLA may add up a product of few rows in another
    order, so a size is used only if each output keeps the bits that it has alone. The check covers the LSTM and what is
    read from it, so a head that multiplies more has groups of one.
    """
    if jax.default_backend() != "cpu":
        return ON_ACCELERATOR
    if decode != "staggered":
        return OTHERS
    group = -(-outputs // -(-outputs // MOST_STAGGERED)) if isinstance(net.head, heads.Regression) else 1
    return group if group == 1 or gives_same_bits(net, window, group) else 1


@functools.cache
def gives_same_bits(net: Network, window: int, group: int) -> bool:
    """Whether each output of a group has the bits that it has alone, after random primers and with random weights."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: network.init(net, jax.random.key(0), window))
    params = jax.tree.map(lambda one: (0.1 * rng.standard_normal(one.shape)).astype(one.dtype), shapes)
    windows = rng.random((group, window, net.columns), np.float32)
    together = _after(net, params, windows)
    for output in range(group):
        alone = _after(net, params, windows[output : output + 1])
        if not all(np.array_equal(one[output::group], other) for one, other in zip(together, alone, strict=True)):
            return False
    return True


def _after(net: Network, params: dict, windows: Any) -> list[np.ndarray]:
    """h and c of each layer after all rows of windows [G, T, C] but the last, [(T - 1) G, H], and outputs [G, O]."""
    group = len(windows)
    states = past_states.begin(net, "staggered", params, windows, np.int32(0))
    outputs = _read(net, params, states[-1].h[:group])
    started = [array.astype(jnp.float32)[:-group] for layer in states for array in layer]  # one state has seen no row
    return jax.device_get([*started, outputs])


def read(net: Network, params: dict, last: jax.Array) -> jax.Array:
    """`Network.read` of [G, ...]; a group of one gets the same bits as larger groups.

    XLA multiplies a single row as a vector and adds in another order. So a single row is given twice, as two rows.
    """
    if len(last) > 1:
        return net.read(params, last)
    return net.read(params, lax.optimization_barrier(jnp.concatenate([last, last])))[:1]


_read = jax.jit(read, static_argnums=0)
