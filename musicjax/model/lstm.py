"""The LSTM layer: initial values, one step, the unrolled window and its gradient.

Gate order along 4H is Keras': input, forget, candidate, output; one bias.

    z = x Wx + h Wh + b
    c' = sigmoid(z_f) c + sigmoid(z_i) tanh(z_g),  h' = sigmoid(z_o) tanh(c')

The arithmetic is arranged for XLA on CPU: once the products are fast, it takes most of the time. LOG.md has the
measurements behind each choice; the comments here give the reasons.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

# With up to this many inputs, x Wx is cheaper as multiply-adds that fuse with the gates than as a product. More
# inputs, such as the outputs of the layer below, are joined to h and share its product.
FUSED_INPUTS = 8
# In XLA's CPU backend, a bfloat16 product of exactly 64 rows runs at half speed if it sums more than 1,024 terms.
SLOW_ROWS, MOST_SUMMED = 64, 1024
# Precisions of the large products, the most exact first. Only NVIDIA GPUs have tf32; elsewhere it is float32.
PRECISIONS = ("float32", "tf32", "bfloat16")


class Params(NamedTuple):
    """kernel: float32 [I, 4H]; recurrent_kernel: float32 [H, 4H]; bias: float32 [4H]."""

    kernel: jax.Array
    recurrent_kernel: jax.Array
    bias: jax.Array


class State(NamedTuple):
    """h: float32 [B, H], the output; c: float32 [B, H], the cell."""

    h: jax.Array
    c: jax.Array


class Gates(NamedTuple):
    """Weights prepared once for all steps, so that every gate is scale * tanh(z) + shift, one fused loop.

    sigmoid(z) = 0.5 tanh(0.5 z) + 0.5: the factor inside the tanh is folded into the weights.
    product_kernel: in the operands' type, [H, 4H], or [H + I, 4H] where the inputs are many; kernel: float32
    [I, 4H], None where it is part of product_kernel; bias, scale, shift: float32 [4H].
    """

    kernel: jax.Array | None
    product_kernel: jax.Array
    bias: jax.Array
    scale: jax.Array
    shift: jax.Array


class _Saved(NamedTuple):
    """What the backward scan needs of each step, stacked along T.

    left: the left operand of the step's product, so h before the step and, where the inputs are many, x; [T, H, B] or
    [T, H + I, B], transposed as the product for the weight gradient wants it; c_before: float32 [T, B, H]; i, f, g, o:
    [T, B, H] after their activation, kept separate, because the backward loops run at a third of their speed on slices
    of [T, B, 4H]. In bfloat16 precision all but c_before are the bits of bfloat16 as uint16: XLA's CPU backend would
    convert a stack of bfloat16 to float32 and back at each step.
    """

    left: jax.Array
    c_before: jax.Array
    i: jax.Array
    f: jax.Array
    g: jax.Array
    o: jax.Array


def init(key: jax.Array, inputs: int, units: int) -> Params:
    """Keras' initial values: Glorot uniform kernel, orthogonal recurrent kernel, bias 0, but 1 for the forget gate."""
    kernel_key, recurrent_key = jax.random.split(key)
    kernel = jax.nn.initializers.glorot_uniform()(kernel_key, (inputs, 4 * units))
    recurrent_kernel = jax.nn.initializers.orthogonal()(recurrent_key, (units, 4 * units))
    bias = jnp.zeros(4 * units).at[units : 2 * units].set(1.0)
    return Params(kernel, recurrent_kernel, bias)


def zero_state(batch: int, units: int) -> State:
    """The state before the first step."""
    return State(jnp.zeros((batch, units)), jnp.zeros((batch, units)))


def start(weights: tuple[Gates, ...], *batch: int) -> tuple[State, ...]:
    """The state of each layer before the first step, [*batch, H]; h in the type of product_kernel, as in `advance`."""
    zeros = [jnp.zeros((*batch, layer.bias.shape[0] // 4)) for layer in weights]
    return tuple(
        State(zero.astype(layer.product_kernel.dtype), zero) for layer, zero in zip(weights, zeros, strict=True)
    )


def prepare(params: Params, precision: str = "float32") -> Gates:
    """The weights as `advance` takes them; prepare them once, outside the loop."""
    units = params.recurrent_kernel.shape[0]
    scale = jnp.full(4 * units, 0.5).at[2 * units : 3 * units].set(1.0)
    shift = jnp.full(4 * units, 0.5).at[2 * units : 3 * units].set(0.0)
    # Halving is exact in both types, so folding the factor in changes no bit of z.
    wide = params.kernel.shape[0] > FUSED_INPUTS
    kernel = None if wide else params.kernel * scale
    product_kernel = _operand(_product_kernel(params) * scale, precision)
    return Gates(kernel, product_kernel, params.bias * scale, scale, shift)


def advance(weights: Gates, x: jax.Array, state: State) -> State:
    """One step for x [B, I], or [1, I] shared by all; h enters and leaves in the type of product_kernel.

    Weights of tf32 are float32, and here so are their products.
    """
    precision = "bfloat16" if weights.product_kernel.dtype == jnp.bfloat16 else "float32"
    h, c, _ = _step(weights, x, _left(weights, x, state.h), state.c, precision)
    return State(h, c)


def advance_all(weights: tuple[Gates, ...], x: jax.Array, states: tuple[State, ...]) -> tuple[State, ...]:
    """One step of stacked layers for x [B, I]: the state of each layer."""
    below, after = x, []
    for layer, state in zip(weights, states, strict=True):
        after.append(advance(layer, below, state))
        below = after[-1].h
    return tuple(after)


def step(params: Params, x: jax.Array, state: State, precision: str = "float32") -> State:
    """One step for x [B, I]."""
    h, c = advance(prepare(params, precision), x, State(_operand(state.h, precision), state.c))
    return State(h.astype(jnp.float32), c)


def unroll(
    params: Params, x: jax.Array, state: State, precision: str = "float32", remat_rows: int = 0
) -> tuple[jax.Array, State]:
    """All steps of x [B, T, I], starting from `state`.

    The gradient is written by hand: the backward scan computes only what the recurrence needs, and one
    product after it gives the gradients of all weights. It is the first derivative in reverse mode; forward
    mode and second derivatives raise TypeError.

    Args:
        precision: one of PRECISIONS. With bfloat16 the operands of the large products, and with them the outputs,
            are rounded, and sums are in float32; gates, cell and parameters stay float32. With tf32 an NVIDIA GPU
            rounds the operands only inside the products, to 10 bits after the point.
        remat_rows: for the gradient, only the state before every remat_rows-th step is saved, and the steps between
            are computed again; 0: the gates of every step are saved. Without a gradient it changes nothing.

    Returns:
        outputs float32 [B, T, H] and the last state.
    """
    outputs, last = _unroll(params, x, state, precision, True, remat_rows)
    return outputs.swapaxes(0, 1), last


def last_output(params: Params, x: jax.Array, precision: str = "float32", remat_rows: int = 0) -> jax.Array:
    """float32 [B, H]: the output after the last step of x [B, T, I], from a zero state."""
    state = zero_state(x.shape[0], params.recurrent_kernel.shape[0])
    return _unroll(params, x, state, precision, False, remat_rows)[1].h


def _operand(array: jax.Array, precision: str) -> jax.Array:
    return array.astype(jnp.bfloat16) if precision == "bfloat16" else array


def _product(a: jax.Array, b: jax.Array, precision: str) -> jax.Array:
    """a [M, K] times b [K, N], summed in float32. On CPU only plain row-major operands take the fast path."""
    if precision == "bfloat16":
        if a.shape[0] == SLOW_ROWS and a.shape[1] > MOST_SUMMED:
            return lax.platform_dependent(a, b, cpu=_in_parts, default=_bfloat16_product)
        return _bfloat16_product(a, b)
    return tf32_product(a, b) if precision == "tf32" else _exact_product(a, b)


def _bfloat16_product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.dot(a, b, preferred_element_type=jnp.float32)


def _in_parts(a: jax.Array, b: jax.Array) -> jax.Array:
    """Like `_bfloat16_product`, but adds up products that each sum at most MOST_SUMMED terms."""
    firsts = range(0, a.shape[1], MOST_SUMMED)
    parts = [_bfloat16_product(a[:, i : i + MOST_SUMMED], b[i : i + MOST_SUMMED]) for i in firsts]
    return functools.reduce(jnp.add, parts)


def tf32_product(a: jax.Array, b: jax.Array) -> jax.Array:
    """a [..., K] times b [K, N], float32: on an NVIDIA GPU with operands rounded to tf32, elsewhere as they are."""

    def rounded(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.dot(a, b, precision=lax.DotAlgorithmPreset.TF32_TF32_F32, preferred_element_type=jnp.float32)

    return lax.platform_dependent(a, b, cuda=rounded, default=_exact_product)


def _exact_product(a: jax.Array, b: jax.Array) -> jax.Array:
    # HIGHEST: float32 means float32, even where the platform's default is less exact (TF32, bfloat16 passes).
    return jnp.dot(a, b, precision=lax.Precision.HIGHEST, preferred_element_type=jnp.float32)


def _pack(array: jax.Array) -> jax.Array:
    """The bits of a bfloat16 array; a float32 array as it is."""
    return lax.bitcast_convert_type(array, jnp.uint16) if array.dtype == jnp.bfloat16 else array


def _unpack(array: jax.Array) -> jax.Array:
    """The inverse of `_pack`."""
    return lax.bitcast_convert_type(array, jnp.bfloat16) if array.dtype == jnp.uint16 else array


def _widen(array: jax.Array) -> jax.Array:
    """The packed numbers as float32, by shifting their bits."""
    if array.dtype != jnp.uint16:
        return array
    return lax.bitcast_convert_type(array.astype(jnp.uint32) << 16, jnp.float32)


def _product_kernel(params: Params) -> jax.Array:
    """The weights of h, with those of x below them where the inputs are many: [H, 4H] or [H + I, 4H]."""
    if params.kernel.shape[0] > FUSED_INPUTS:
        return jnp.concatenate([params.recurrent_kernel, params.kernel])
    return params.recurrent_kernel


def _left(weights: Gates, x: jax.Array, h: jax.Array) -> jax.Array:
    """The left operand of a step's product: [B, H], or [B, H + I] if there are many inputs."""
    if weights.kernel is not None:
        return h
    return jnp.concatenate([h, jnp.broadcast_to(x, (h.shape[0], x.shape[1])).astype(h.dtype)], axis=1)


def _step(
    weights: Gates, x: jax.Array, left: jax.Array, c: jax.Array, precision: str
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(h, c, activated gates [B, 4H]) after one step. `left` is what `_left` returns; h gets its type."""
    z = _product(left, weights.product_kernel, precision)
    if weights.kernel is None:
        z += weights.bias
    else:
        inputs = [x[:, i : i + 1] * row for i, row in enumerate(weights.kernel)]
        z += functools.reduce(jnp.add, inputs) + weights.bias
    # The barrier makes the gates one array. Without it, each use would compute its tanh again.
    gates = lax.optimization_barrier(weights.scale * jnp.tanh(z) + weights.shift)
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    c = f * c + i * g
    return (o * jnp.tanh(c)).astype(left.dtype), c, gates


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _unroll(
    params: Params, x: jax.Array, state: State, precision: str, every: bool, remat_rows: int
) -> tuple[Any, State]:
    """(outputs [T, B, H], None unless `every`; the last state) for x [B, T, I]."""
    (h, c), outputs = _run(prepare(params, precision), x.swapaxes(0, 1), _start(state, precision), precision, every)
    return outputs, State(h.astype(jnp.float32), c)


def _start(state: State, precision: str) -> tuple[jax.Array, jax.Array]:
    return _operand(state.h, precision), state.c


def _run(weights: Gates, x: jax.Array, start: tuple[jax.Array, jax.Array], precision: str, every: bool):
    """((h, c) after all steps of x [T, B, I]; outputs [T, B, H], None unless `every`)."""

    def body(carry, x_t):
        h, c, _ = _step(weights, x_t, _left(weights, x_t, carry[0]), carry[1], precision)
        return (h, c), h.astype(jnp.float32) if every else None

    return lax.scan(body, start, x)


def _run_saving(weights: Gates, x: jax.Array, start: tuple[jax.Array, jax.Array], precision: str, every: bool):
    """As `_run`, with what the gradient needs: ((h, c), (_Saved, outputs))."""

    def body(carry, x_t):
        h_before, c_before = carry
        left = _left(weights, x_t, h_before)
        h, c, gates = _step(weights, x_t, left, c_before, precision)
        # Behind a barrier, so that the rounding is not fused into the stacking, which runs on a single thread.
        parts = [_pack(lax.optimization_barrier(gate.astype(h.dtype))) for gate in jnp.split(gates, 4, axis=-1)]
        saved = _Saved(_pack(lax.optimization_barrier(left.T)), c_before, *parts)
        return (h, c), (saved, h.astype(jnp.float32) if every else None)

    return lax.scan(body, start, x)


def _run_saving_starts(
    weights: Gates, x: jax.Array, start: tuple[jax.Array, jax.Array], precision: str, every: bool, rows: int
):
    """As `_run_saving`, but of each chunk it saves only the (h, c) before it: (those of all but the last, the last)."""
    chunks, last_chunk = _chunks(x, rows)

    def body(carry, x_chunk):
        after, outputs = _run(weights, x_chunk, carry, precision, every)
        return after, ((_pack(lax.optimization_barrier(carry[0])), carry[1]), outputs)

    before_last, (starts, outputs) = lax.scan(body, start, chunks)
    last, outputs_of_last = _run(weights, last_chunk, before_last, precision, every)
    starts = starts, (_pack(before_last[0]), before_last[1])
    return last, (starts, _joined(outputs, outputs_of_last) if every else None)


def _chunks(array: jax.Array, rows: int) -> tuple[jax.Array, jax.Array]:
    """[T, ...] as (chunks [N, rows, ...], a last one [1..rows, ...])."""
    count = (array.shape[0] - 1) // rows
    return array[: count * rows].reshape(count, rows, *array.shape[1:]), array[count * rows :]


def _joined(chunks: jax.Array, last_chunk: jax.Array) -> jax.Array:
    """The inverse of `_chunks`."""
    return jnp.concatenate([chunks.reshape(-1, *last_chunk.shape[1:]), last_chunk])


def _unroll_forward(params: Params, x: jax.Array, state: State, precision: str, every: bool, remat_rows: int):
    weights, steps, start = prepare(params, precision), x.swapaxes(0, 1), _start(state, precision)
    if remat_rows:
        (h, c), (saved, outputs) = _run_saving_starts(weights, steps, start, precision, every, remat_rows)
    else:
        (h, c), (saved, outputs) = _run_saving(weights, steps, start, precision, every)
    return (outputs, State(h.astype(jnp.float32), c)), (params, x, saved)


@jax.custom_jvp
def _once(tree):
    """The tree itself; differentiating it raises TypeError, as the bits that `_pack` makes have no derivative."""
    return tree


@_once.defjvp
def _not_twice(primals, tangents):
    raise TypeError("the LSTM has first derivatives only: its gradient is written by hand and not differentiable")


def _unroll_backward(precision: str, every: bool, remat_rows: int, residuals, cotangents):
    (params, x, saved), (d_outputs, d_last) = _once((residuals, cotangents))
    # As an array of its own: a transpose inside the product would lose the fast path.
    transposed = lax.optimization_barrier(_operand(_product_kernel(params), precision).T)
    back = functools.partial(_run_back, params, transposed, precision, every)
    steps = x.swapaxes(0, 1)
    if remat_rows:
        weights = prepare(params, precision)
        d_weights, d_x, d_state = _run_chunks_back(
            back, weights, steps, saved, d_outputs, State(*d_last), precision, remat_rows
        )
    else:
        d_weights, d_x, d_state = back(steps, saved, d_outputs, State(*d_last))
    units, inputs = params.recurrent_kernel.shape[0], x.shape[-1]
    d_params = Params(d_weights[units : units + inputs], d_weights[:units], d_weights[-1])
    return d_params, d_x.swapaxes(0, 1), d_state


def _run_back(
    params: Params, transposed: jax.Array, precision: str, every: bool, x: jax.Array, saved: _Saved, d_outputs, d_last
):
    """(gradients of the weights of h, x and 1, [H + I + 1, 4H]; of x, [T, B, I]; of the state before)."""
    units, inputs = params.recurrent_kernel.shape[0], x.shape[-1]

    def body(carry: State, now):
        saved_t, d_output = now
        dh = carry.h + d_output if every else carry.h
        _, c_before, *gates = saved_t
        i, f, g, o = (_widen(gate) for gate in gates)
        tanh_c = lax.optimization_barrier(jnp.tanh(f * c_before + i * g))
        dc = lax.optimization_barrier(carry.c + dh * o * (1 - tanh_c * tanh_c))
        dz = [dc * g * i * (1 - i), dc * c_before * f * (1 - f), dc * i * (1 - g * g), dh * tanh_c * o * (1 - o)]
        packed = jnp.concatenate([_pack(lax.optimization_barrier(_operand(d, precision))) for d in dz], axis=-1)
        packed = lax.optimization_barrier(packed)
        d_left = _product(_unpack(packed), transposed, precision)
        return State(d_left[:, :units], dc * f), (packed, d_left[:, units:])

    d_state, (dz, d_x) = lax.scan(body, d_last, (saved, d_outputs), reverse=True)
    # h, x and a row of ones, stacked: one product gives the gradients of all three weights.
    ones = jnp.ones((x.shape[0], 1, x.shape[1]))
    more = [x.swapaxes(1, 2), ones] if inputs <= FUSED_INPUTS else [ones]
    rows = [saved.left, *(_pack(_operand(one, precision)) for one in more)]
    left = jnp.concatenate(rows, axis=1).swapaxes(0, 1)
    left = lax.optimization_barrier(left.reshape(left.shape[0], -1))
    d_weights = _product(_unpack(left), _unpack(dz.reshape(-1, dz.shape[-1])), precision)
    if inputs <= FUSED_INPUTS:
        d_x = jnp.dot(_widen(dz), params.kernel.T, precision=lax.Precision.HIGHEST)
    return d_weights, d_x, d_state


def _run_chunks_back(back, weights: Gates, x: jax.Array, starts, d_outputs, d_last: State, precision: str, rows: int):
    """As `_run_back`, from what `_run_saving_starts` saved: chunk by chunk, the last first, each computed again."""

    def chunk_back(d_after: State, now):
        x_chunk, (h, c), d_chunk = now
        _, (saved, _) = _run_saving(weights, x_chunk, (_unpack(h), c), precision, every=False)
        return back(x_chunk, saved, d_chunk, d_after)

    def body(carry, now):
        d_after, so_far = carry
        d_weights, d_x, d_before = chunk_back(d_after, now)
        return (d_before, so_far + d_weights), d_x

    d_chunks, d_last_chunk = (None, None) if d_outputs is None else _chunks(d_outputs, rows)
    (chunks, last_chunk), (starts, last_start) = _chunks(x, rows), starts
    d_weights, d_x_of_last, d_before = chunk_back(d_last, (last_chunk, last_start, d_last_chunk))
    (d_state, d_weights), d_x = lax.scan(body, (d_before, d_weights), (chunks, starts, d_chunks), reverse=True)
    return d_weights, _joined(d_x, d_x_of_last), d_state


_unroll.defvjp(_unroll_forward, _unroll_backward)
