"""MusicLSTM: LSTM -> dropout -> head, as a Flax module. The rest of the program sees plain pytrees."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from musicjax.model import lstm


class MusicLSTM(nn.Module):
    """The paper's network: LSTM(units), last output -> dropout -> Dense(columns) -> linear.

    Attributes:
        units: H, LSTM units.
        columns: C, numbers in a row, in and out.
        dropout: share of the H outputs dropped in training.
        precision: of the LSTM's large products, float32 or bfloat16.
    """

    units: int
    columns: int
    dropout: float = 0.75
    precision: str = "float32"

    @nn.compact
    def __call__(self, windows: jax.Array, *, train: bool = False) -> jax.Array:
        """windows float32 [B, T, C] -> the next rows, float32 [B, C]. With train, takes an rng `dropout`."""
        params = self.param("lstm", lstm.init, self.columns, self.units)
        last = lstm.last_output(lstm.Params(*params), windows, self.precision)
        last = nn.Dropout(self.dropout, deterministic=not train)(last)
        dense = nn.Dense(
            self.columns,
            kernel_init=nn.initializers.glorot_uniform(),
            precision=jax.lax.Precision.HIGHEST,
            name="dense",
        )
        return dense(last)


def init(network: MusicLSTM, key: jax.Array, window: int) -> dict:
    """Initial parameters: {"lstm": lstm.Params, "dense": {"kernel" [H, C], "bias" [C]}}."""
    return network.init(key, jnp.zeros((1, window, network.columns)))["params"]


def apply(network: MusicLSTM, params: dict, windows: jax.Array, dropout_key: jax.Array | None = None) -> jax.Array:
    """windows float32 [B, T, C] -> the next rows, float32 [B, C]; a key turns dropout on."""
    rngs = None if dropout_key is None else {"dropout": dropout_key}
    outputs = network.apply({"params": params}, windows, train=dropout_key is not None, rngs=rngs)
    assert isinstance(outputs, jax.Array)  # apply gives a pair only where collections are mutable
    return outputs


def count(params: dict) -> int:
    """How many numbers the parameters are."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
