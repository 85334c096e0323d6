"""What kernel, emulator and benchmark are compared with: examples, the equations as they stand, float64."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from musicjax.model.lstm import Params, State


def example(
    batch: int, steps: int, inputs: int, units: int, seed: int = 0, scale: float = 0.6
) -> tuple[Params, jax.Array, State, tuple[jax.Array, State]]:
    """Parameters, x [B, T, I], a state, and cotangents of the outputs and the last state; no number in them is 0."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    params = Params(
        scale / np.sqrt(max(inputs / 3, 1)).astype(np.float32) * normal(inputs, 4 * units),
        normal(units, 4 * units) / np.sqrt(units).astype(np.float32),
        scale * normal(4 * units),
    )
    x, state = normal(batch, steps, inputs), State(0.5 * normal(batch, units), normal(batch, units))
    return params, x, state, (normal(batch, steps, units), State(normal(batch, units), normal(batch, units)))


def unroll(params: Params, x: jax.Array, state: State) -> tuple[jax.Array, State]:
    """The LSTM in the type of its arguments, one line for each equation."""
    units = params.recurrent_kernel.shape[0]

    def body(carry, x_t):
        h, c = carry
        z = x_t @ params.kernel + h @ params.recurrent_kernel + params.bias
        i, f, g, o = (z[:, k * units : (k + 1) * units] for k in range(4))
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    (h, c), outputs = lax.scan(body, tuple(state), x.swapaxes(0, 1))
    return outputs.swapaxes(0, 1), State(h, c)


def last_output(params: Params, x: jax.Array) -> jax.Array:
    zero = jnp.zeros((x.shape[0], params.recurrent_kernel.shape[0]), x.dtype)
    return unroll(params, x, State(zero, zero))[1].h


@functools.partial(jax.jit, static_argnums=0)
def values_and_gradients(function: Any, arguments: tuple, cotangents: Any) -> tuple[Any, Any]:
    values, pull = jax.vjp(function, *arguments)
    return values, pull(cotangents)


def in_float64(function: Any, arguments: tuple, cotangents: Any) -> tuple[Any, Any]:
    """The same values and gradients in float64."""
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), (arguments, cotangents))
        return values_and_gradients(function, *wide)


def named(tree: Any) -> dict[str, np.ndarray]:
    """The leaves in float64 by their paths."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): np.asarray(leaf, np.float64) for path, leaf in leaves}


def hopper() -> str:
    """Empty where JAX's first device is a GPU of compute capability 9.0; otherwise what is there instead."""
    device = jax.devices()[0]
    capability = str(getattr(device, "compute_capability", "none"))
    return "" if capability == "9.0" else f"{device.device_kind}, compute capability {capability}"
