"""The LSTM engine for other Flax programs: `LSTM` in place of `flax.linen.RNN`. It needs none of the music code.

Shape legend: B batch dimensions, any number of them, T steps, I inputs, H features.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from musicjax.model import lstm

# The engine's gates in its order, as Flax names them.
GATES = ("i", "f", "g", "o")
# Fields of nn.RNN that only its own scan obeys.
OF_SCAN = ("unroll", "variable_axes", "variable_broadcast", "variable_carry", "split_rngs")


class LSTM(nn.RNN):
    """`nn.RNN(nn.OptimizedLSTMCell(H))` with the gradient of `lstm.unroll`: the same arguments, parameters, initial
    values, carries and shapes.

    In float32, results and gradients equal Flax's to rounding. Unlike `nn.RNN` it has first derivatives in reverse
    mode only, and it takes no `seq_lengths`.

    Attributes:
        cell: an `nn.OptimizedLSTMCell` or `nn.LSTMCell` of float32 with the usual gates.
        precision: bfloat16 rounds the operands of the large products, and so does tf32 on an NVIDIA GPU; all else stays
            float32.
    """

    precision: str = "float32"

    def __call__(
        self,
        inputs: jax.Array,
        *,
        initial_carry: Any = None,
        init_key: jax.Array | None = None,
        seq_lengths: Any = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
    ) -> Any:
        """Outputs [*B, T, H] of inputs [*B, T, I], or with `time_major` [T, *B, H] of [T, *B, I].

        With `return_carry` it is (the last carry (c, h), [*B, H] each; the outputs).

        Raises:
            ValueError: a cell or an argument that it does not take.
        """
        _require(self, seq_lengths)
        if jnp.ndim(inputs) < 2:
            raise ValueError(f"inputs of shape {jnp.shape(inputs)}: expected [*batch, steps, columns]")
        time_major = self.time_major if time_major is None else time_major
        reverse = self.reverse if reverse is None else reverse
        keep_order = self.keep_order if keep_order is None else keep_order
        return_carry = self.return_carry if return_carry is None else return_carry
        x = jnp.asarray(inputs, jnp.float32)
        x = jnp.moveaxis(x, 0, -2) if time_major else x
        x = jnp.flip(x, -2) if reverse else x
        batch, rows = x.shape[:-2], math.prod(x.shape[:-2])
        carry = initial_carry
        if carry is None:
            key = jax.random.key(0) if init_key is None else init_key
            carry = self.cell.initialize_carry(key, (*batch, x.shape[-1]))
        state = _state(carry, batch, self.cell.features)
        # The cell makes its parameters, or checks those there are. Nothing uses its result, so XLA leaves the step out.
        self.cell((jnp.zeros((1, self.cell.features)),) * 2, jnp.zeros((1, x.shape[-1])))
        params = _params(nn.meta.unbox(self.cell.variables["params"]))
        outputs, last = lstm.unroll(params, x.reshape(rows, *x.shape[-2:]), state, self.precision)
        outputs = outputs.reshape(*batch, *outputs.shape[1:])
        outputs = jnp.flip(outputs, -2) if reverse and keep_order else outputs
        outputs = jnp.moveaxis(outputs, -2, 0) if time_major else outputs
        if not return_carry:
            return outputs
        return tuple(part.reshape(*batch, part.shape[-1]) for part in (last.c, last.h)), outputs


def _params(cell: Any) -> lstm.Params:
    """The engine's parameters from those of a Flax cell, {"ii": {"kernel"}, "hi": {"kernel", "bias"}, ...}."""
    kernel, recurrent = (
        jnp.concatenate([cell[f"{side}{gate}"]["kernel"] for gate in GATES], axis=-1) for side in ("i", "h")
    )
    bias = jnp.concatenate([cell[f"h{gate}"]["bias"] for gate in GATES])
    return lstm.Params(*(part.astype(jnp.float32) for part in (kernel, recurrent, bias)))


def _state(carry: Any, batch: tuple[int, ...], units: int) -> lstm.State:
    """The engine's state, [rows, H] each, from Flax's carry (c, h); raises ValueError for other shapes."""
    shapes = [jnp.shape(part) for part in carry] if isinstance(carry, tuple | list) else carry
    if shapes != [(*batch, units)] * 2:
        raise ValueError(f"initial_carry of shapes {shapes}: expected (c, h), both of shape {(*batch, units)}")
    c, h = (jnp.asarray(part, jnp.float32).reshape(math.prod(batch), units) for part in carry)
    return lstm.State(h, c)


def _require(layer: LSTM, seq_lengths: Any) -> None:
    """Raises ValueError for what the engine cannot compute."""
    cell, fields = layer.cell, nn.RNN.__dataclass_fields__
    if layer.precision not in lstm.PRECISIONS:
        raise ValueError(f"precision={layer.precision!r}: expected one of {', '.join(lstm.PRECISIONS)}")
    for name in OF_SCAN:
        if getattr(layer, name) != fields[name].default:
            raise ValueError(f"{name}: expected the default of nn.RNN; take nn.RNN itself for another")
    if seq_lengths is not None:
        raise ValueError("seq_lengths: expected none; take nn.RNN for sequences of several lengths")
    if type(cell) not in (nn.OptimizedLSTMCell, nn.LSTMCell):
        raise ValueError(f"cell {type(cell).__name__}: expected nn.OptimizedLSTMCell or nn.LSTMCell")
    if cell.gate_fn is not nn.sigmoid or cell.activation_fn is not nn.tanh:
        raise ValueError("cell with other gates: expected gate_fn=nn.sigmoid and activation_fn=nn.tanh")
    for name, kind in {"dtype": cell.dtype, "param_dtype": cell.param_dtype}.items():
        if kind is not None and jnp.dtype(kind) != jnp.float32:
            raise ValueError(f"cell with {name}={jnp.dtype(kind)}: expected float32; see precision='bfloat16'")
