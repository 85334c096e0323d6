"""The speed of matrix products alone, an upper bound for any training of the paper's network."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

# (M, K, N): one step of a batch of 200, its weight gradient over 50 steps, and a large square.
SHAPES = ((200, 512, 2048), (516, 10_000, 2048), (2048, 2048, 2048))
# Multiply-adds in one timing on a CPU; a hundred times as many on an accelerator.
WORK = 3e10


def products(precision: str) -> Callable[[], float]:
    """Compiles products of float32 or bfloat16 operands; returns a function that times them: best GFLOP/s of SHAPES."""
    kind = jnp.dtype(precision)
    exact = lax.Precision.HIGHEST if precision == "float32" else None  # as in the engine
    work = WORK if jax.default_backend() == "cpu" else 100 * WORK

    @functools.partial(jax.jit, static_argnums=2)
    def multiply(a: jax.Array, b: jax.Array, times: int) -> jax.Array:
        def body(total: jax.Array, _: None) -> tuple[jax.Array, None]:
            z = jnp.dot(a + total.astype(kind), b, precision=exact, preferred_element_type=jnp.float32)
            return z[0, 0] * 0, None

        return lax.scan(body, jnp.float32(0), None, length=times)[0]

    shaped = []
    for m, k, n in SHAPES:
        times = max(1, int(work / (m * k * n)))
        a, b = jnp.ones((m, k), kind), jnp.ones((k, n), kind)
        multiply(a, b, times).block_until_ready()
        shaped.append((a, b, times, 2 * m * k * n * times))

    def measure() -> float:
        speeds = []
        for a, b, times, flop in shaped:
            started = time.perf_counter()
            multiply(a, b, times).block_until_ready()
            speeds.append(flop / (time.perf_counter() - started) / 1e9)
        return max(speeds)

    return measure
