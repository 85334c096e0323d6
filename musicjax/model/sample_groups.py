"""How many outputs the sampler computes at once.

The sampler computes outputs in groups of equal size and fills up the last. On a CPU, groups run side by side. An output
must be the same, bit for bit, however many are asked for. So a group either always has one size, or has one of several
sizes that a check found to give the same bits.

Shape legend: G outputs in a group, T notes a window, C columns, H units.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from musicjax import cores
from musicjax.model import heads, network
from musicjax.model.network import Network, States

# The largest group of staggered states on a CPU. Larger ones are no faster (LOG.md).
MOST_STAGGERED = 16
# The one size on a CPU for the other ways to see the past, and the one size on an accelerator.
OTHERS, ON_ACCELERATOR = 8, 64

Computed = TypeVar("Computed")


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
    """Whether a step gives each output of a group the bits that it has alone. Weights, rows and states are random."""
    rng = np.random.default_rng(0)

    def random(like: Any) -> Any:
        return jax.tree.map(lambda one: (0.1 * rng.standard_normal(one.shape)).astype(one.dtype), like)

    params = random(jax.eval_shape(lambda: network.init(net, jax.random.key(0), window)))
    states = random(jax.eval_shape(lambda params: net.start(net.prepare(params), window * group), params))
    rows = rng.random((group, net.columns), np.float32)
    together = jax.device_get(_step(net, params, rows, states))
    for output in range(group):
        own = jax.tree.map(lambda array, output=output: array[output::group], states)
        alone = jax.device_get(_step(net, params, rows[output : output + 1], own))
        if not all(np.array_equal(one[output::group], other) for one, other in zip(together, alone, strict=True)):
            return False
    return True


@functools.partial(jax.jit, static_argnums=0)
def _step(net: Network, params: dict, rows: jax.Array, states: States) -> list[jax.Array]:
    """h and c of each layer [T G, H] after rows [G, C], and the outputs [G, O] of the first G states."""
    group = len(rows)
    seen = jnp.tile(net.inputs(params, rows), (states[0].c.shape[0] // group, 1))
    after = net.advance(net.prepare(params), seen, states)
    of_layers = [array.astype(jnp.float32) for layer in after for array in layer]
    return [*of_layers, read(net, params, after[-1].h[:group])]


def side_by_side(start: Callable[[int], Computed], groups: int) -> list[Computed]:
    """Calls `start` with the number of each group, from 0, and returns the results in this order.

    On a CPU, JAX runs the programs that one thread starts one after the other, and a single group does not keep all
    cores busy. So there is a thread for each core. What else runs does not change the bits of a group.
    """
    threads = min(cores.usable(), groups) if jax.default_backend() == "cpu" else 1
    if threads == 1:
        return [start(group) for group in range(groups)]
    starting = threading.Lock()

    def compute(group: int) -> Computed:
        with starting:  # otherwise every thread would compile the same programs
            started = start(group)
        return jax.block_until_ready(started)

    pool = ThreadPoolExecutor(threads)
    try:
        return list(pool.map(compute, range(groups)))
    finally:
        pool.shutdown(cancel_futures=True)


def read(net: Network, params: dict, last: jax.Array) -> jax.Array:
    """`Network.read` of [G, ...]; a group of one gets the same bits as larger groups.

    XLA multiplies a single row as a vector and adds in another order. So a single row is given twice, as two rows.
    """
    if len(last) > 1:
        return net.read(params, last)
    return net.read(params, lax.optimization_barrier(jnp.concatenate([last, last])))[:1]
