"""The LSTM layer: initial values, one step, the unrolled window and its gradient.

Gate order along 4H is Keras': input, forget, candidate, output; one bias.

    z = x Wx + h Wh + b
    c' = sigmoid(z_f) c + sigmoid(z_i) tanh(z_g),  h' = sigmoid(z_o) tanh(c')
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

# Up to this many inputs, x Wx is cheaper as multiply-adds that fuse with the gates than as a product.
FUSED_INPUTS = 8


class Params(NamedTuple):
    """kernel: float32 [I, 4H]; recurrent_kernel: float32 [H, 4H]; bias: float32 [4H]."""

    kernel: jax.Array
    recurrent_kernel: jax.Array
    bias: jax.Array


class State(NamedTuple):
    """h: float32 [B, H], the output; c: float32 [B, H], the cell."""

    h: jax.Array
    c: jax.Array


def init(key: jax.Array, inputs: int, units: int) -> Params:
    """Keras' initial values: Glorot uniform kernel, orthogonal recurrent kernel, bias 0 but 1 for forget."""
    kernel_key, recurrent_key = jax.random.split(key)
    kernel = jax.nn.initializers.glorot_uniform()(kernel_key, (inputs, 4 * units))
    recurrent_kernel = jax.nn.initializers.orthogonal()(recurrent_key, (units, 4 * units))
    bias = jnp.zeros(4 * units).at[units : 2 * units].set(1.0)
    return Params(kernel, recurrent_kernel, bias)


def zero_state(batch: int, units: int) -> State:
    """The state before the first step."""
    return State(jnp.zeros((batch, units)), jnp.zeros((batch, units)))


def step(params: Params, x: jax.Array, state: State, precision: str = "float32") -> State:
    """One step for x [B, I]."""
    return _step(params, _operand(params.recurrent_kernel, precision), x, state, precision)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def unroll(params: Params, x: jax.Array, state: State, precision: str = "float32") -> tuple[jax.Array, State]:
    """All steps for x [B, T, I], started from `state`.

    The gradient is written out: the backward scan computes only what the recurrence needs, and the
    gradients of all weights are one product after it. Reverse mode only, once.

    Args:
        precision: float32, or bfloat16: the operands of the large products are rounded to bfloat16 and
            summed in float32; gates, cell and parameters stay float32.

    Returns:
        outputs float32 [B, T, H] and the last state.
    """
    outputs, last, _ = _forward(params, x, state, precision)
    return outputs.swapaxes(0, 1), last


def last_output(params: Params, x: jax.Array, precision: str = "float32") -> jax.Array:
    """float32 [B, H]: the output after the last step of x [B, T, I], from a zero state."""
    batch, units = x.shape[0], params.recurrent_kernel.shape[0]
    return unroll(params, x, zero_state(batch, units), precision)[1].h


def _operand(array: jax.Array, precision: str) -> jax.Array:
    return array.astype(jnp.bfloat16) if precision == "bfloat16" else array


def _product(a: jax.Array, b: jax.Array, precision: str) -> jax.Array:
    # HIGHEST: float32 means float32, also where the platform's default for it is less (TF32, bfloat16 passes).
    exact = lax.Precision.HIGHEST if precision == "float32" else None
    return jnp.dot(_operand(a, precision), _operand(b, precision), precision=exact, preferred_element_type=jnp.float32)


def _input_product(kernel: jax.Array, x: jax.Array) -> jax.Array:
    """x [B, I] times kernel [I, 4H], in float32."""
    inputs = kernel.shape[0]
    if inputs > FUSED_INPUTS:
        return jnp.dot(x, kernel, precision=lax.Precision.HIGHEST)
    return functools.reduce(jnp.add, [x[:, i : i + 1] * kernel[i] for i in range(inputs)])


def _sigmoid(z: jax.Array) -> jax.Array:
    return 0.5 * jnp.tanh(0.5 * z) + 0.5  # a little faster than 1 / (1 + exp(-z)) on CPU


def _step(params: Params, recurrent_kernel, x, state: State, precision: str):
    """The next state and (i, f, g, o), each [B, H]; recurrent_kernel comes in its operand type."""
    z = _product(state.h, recurrent_kernel, precision) + (_input_product(params.kernel, x) + params.bias)
    z_i, z_f, z_g, z_o = jnp.split(z, 4, axis=-1)
    i, f, g, o = _sigmoid(z_i), _sigmoid(z_f), jnp.tanh(z_g), _sigmoid(z_o)
    c = f * state.c + i * g
    return State(o * jnp.tanh(c), c), (i, f, g, o)


def _forward(params: Params, x, state: State, precision: str):
    """outputs [T, B, H], last state, and per step (gates, c before, c after)."""
    recurrent_kernel = _operand(params.recurrent_kernel, precision)

    def body(state: State, x_t):
        after, gates = _step(params, recurrent_kernel, x_t, state, precision)
        return after, (after.h, after.c, gates)

    last, (outputs, cells, gates) = lax.scan(body, state, x.swapaxes(0, 1))
    return outputs, last, (cells, gates)


def _unroll_forward(params: Params, x, state: State, precision: str):
    outputs, last, (cells, gates) = _forward(params, x, state, precision)
    return (outputs.swapaxes(0, 1), last), (params, x, state, outputs, cells, gates)


def _unroll_backward(precision: str, saved, cotangents):
    params, x, state, outputs, cells, gates = saved
    d_outputs, d_last = cotangents
    transposed = _operand(params.recurrent_kernel, precision).T
    cells_before = jnp.concatenate([state.c[None], cells[:-1]])

    def body(carry, now):
        dh, dc = carry
        d_output, c_before, c, (i, f, g, o) = now
        dh = dh + d_output
        tanh_c = jnp.tanh(c)
        dc = dc + dh * o * (1 - tanh_c**2)
        dz = jnp.concatenate(
            [dc * g * i * (1 - i), dc * c_before * f * (1 - f), dc * i * (1 - g**2), dh * tanh_c * o * (1 - o)], axis=-1
        )
        return State(_product(dz, transposed, precision), dc * f), dz

    d_state, dz = lax.scan(body, State(*d_last), (d_outputs.swapaxes(0, 1), cells_before, cells, gates), reverse=True)
    steps, batch, _ = outputs.shape
    outputs_before = jnp.concatenate([state.h[None], outputs[:-1]])
    # h, x and a column of ones beside each other: one product gives the gradients of all three weights.
    x_steps = x.swapaxes(0, 1)
    ones = jnp.ones((steps, batch, 1), x.dtype)
    left = jnp.concatenate([outputs_before, x_steps, ones], axis=-1).reshape(steps * batch, -1)
    d_weights = _product(left.T, dz.reshape(steps * batch, -1), precision)
    units, inputs = outputs.shape[-1], x.shape[-1]
    d_params = Params(d_weights[units : units + inputs], d_weights[:units], d_weights[-1])
    d_x = jnp.dot(dz, params.kernel.T, precision=lax.Precision.HIGHEST).swapaxes(0, 1)
    return d_params, d_x, d_state


unroll.defvjp(_unroll_forward, _unroll_backward)
