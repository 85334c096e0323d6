"""Networks as Flax modules: what all of them do, and MusicLSTM: LSTM layers -> dropout -> head. The rest of the program
sees plain pytrees, and never asks which network it has.

Shape legend: B windows, T rows a window, C columns, H units, O outputs that the head reads.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from musicjax.model import heads, lstm
from musicjax.model.dropout import Dropout

Weights = tuple[lstm.Gates, ...]
States = tuple[lstm.State, ...]


class Network(nn.Module):
    """What every network is told, and what it does besides `__call__`, which gives outputs for windows.

    To sample or score pieces row by row, prepare the layers' weights once, then pass rows in one at a time.

    Attributes:
        units: H, LSTM units of each layer.
        columns: C, numbers in a row, in and out.
        dropout: share of the H outputs of the last layer dropped in training.
        precision: of the LSTM's large products, one of `lstm.PRECISIONS`.
        layers: LSTM layers, one above the other; the paper has one.
        head: what the outputs mean, see `heads`.
        every_position: whether every position of a window has outputs, for the row after it, or only the last.
        match_lengths: where rows show the longest match, the lengths that their columns after it stand for; a row is
            then the row itself, the row that followed the match, and a column for each length.
        position_columns: how many columns, the last of a row, tell the place of the row in its bar.
        layer_dropout: share of the H outputs of each layer below the last dropped in training.
        remat_rows: as in `lstm.unroll`.
    """

    units: int
    columns: int
    dropout: float = 0.75
    precision: str = "float32"
    layers: int = 1
    head: heads.Head = heads.Regression()
    every_position: bool = False
    match_lengths: tuple[int, ...] = ()
    position_columns: int = 0
    layer_dropout: float = 0.0
    remat_rows: int = 0

    @property
    def predicted(self) -> int:
        """How many columns are predicted; they come first, and the others are given."""
        rest = self.columns - self.position_columns
        return (rest - len(self.match_lengths)) // 2 if self.match_lengths else rest

    @property
    def layer_names(self) -> list[str]:
        """The parameter names of the layers, the lowest layer first."""
        return ["lstm", *(f"lstm_{layer}" for layer in range(1, self.layers))]

    @property
    def summary(self) -> str:
        """What is between a row and its head, in the console's words."""
        raise NotImplementedError

    @nn.nowrap
    def prepare(self, params: dict) -> Weights:
        """The weights of each layer as `advance` takes them."""
        return tuple(lstm.prepare(lstm.Params(*params[name]), self.precision) for name in self.layer_names)

    @nn.nowrap
    def start(self, weights: Weights, batch: int) -> States:
        """The state of each layer before the first row; the first axis of all arrays is B."""
        raise NotImplementedError

    @nn.nowrap
    def inputs(self, params: dict, rows: jax.Array) -> jax.Array:
        """What the first layer sees of rows float32 [..., C]."""
        raise NotImplementedError

    @nn.nowrap
    def advance(self, weights: Weights, seen: jax.Array, states: States) -> States:
        """The states after one more row each; `seen` is what `inputs` makes of rows [B, C]."""
        raise NotImplementedError

    @nn.nowrap
    def read(self, params: dict, last: jax.Array) -> jax.Array:
        """What the head reads, float32 [..., O], from the last layer's outputs, which `advance` has as states[-1].h."""
        raise NotImplementedError

    @nn.nowrap
    def hidden(self, params: dict, windows: jax.Array) -> jax.Array:
        """The last layer's outputs [B, T, ...] after each row of windows [B, T, C]; the state begins at zero."""
        raise NotImplementedError


class MusicLSTM(Network):
    """By default the paper's network: LSTM(units), last output -> dropout -> Dense(columns) -> linear.

    Attributes:
        sizes: where the columns are bins, how many each has; the LSTM then sees the sum of their embeddings.
        embedding: E, numbers in an embedding.
    """

    sizes: tuple[int, ...] = ()
    embedding: int = 0

    @nn.compact
    def __call__(
        self, windows: jax.Array, *, train: bool = False, rate: Any = None, share: tuple[Any, int] = (0, 1)
    ) -> jax.Array:
        """windows float32 [B, T, C] -> outputs float32 [B, O], or at every position [B, T, O].

        With `train`, it needs an rng named `dropout`.
        """
        weights: list[lstm.Params] = []
        below = windows
        if self.sizes:
            below = _embed(self, self.param("embedding", _init_embedding, sum(self.sizes), self.embedding), windows)
        for name in self.layer_names:
            inputs = self.units if weights else below.shape[-1]
            weights.append(lstm.Params(*self.param(name, lstm.init, inputs, self.units)))
        state = lstm.zero_state(windows.shape[0], self.units)
        for layer, params in enumerate(weights[:-1], 1):
            below, _ = lstm.unroll(params, below, state, self.precision, self.remat_rows)
            if train and self.layer_dropout:
                below = Dropout(name=f"Dropout_{layer}")(below, self.layer_dropout, share)
        if self.every_position:
            last, _ = lstm.unroll(weights[-1], below, state, self.precision, self.remat_rows)
        else:
            last = lstm.last_output(weights[-1], below, self.precision, self.remat_rows)
        if train:
            last = Dropout(name="Dropout_0")(last, self.dropout if rate is None else rate, share)
        if self.head.outputs(self.predicted) != self.predicted:
            self.param("head", self.head.init, self.predicted)
        rounds = self.sizes and self.precision != "float32"
        dense = nn.Dense(
            self.head.outputs(self.predicted),
            kernel_init=nn.initializers.glorot_uniform(),
            precision=lax.Precision.HIGHEST,
            dot_general=functools.partial(_dense_product, self.precision) if rounds else None,
            name="dense",
        )
        return dense(last)

    @property
    def summary(self) -> str:
        """As `Network.summary`."""
        between = f" (dropout {self.layer_dropout:g} between)" if self.layer_dropout else ""
        layers = f"LSTM {self.units}" + f" x {self.layers}" * (self.layers > 1)
        return f"{layers}{between} -> dropout {self.dropout:g} -> Dense {self.head.outputs(self.predicted)}"

    @nn.nowrap
    def start(self, weights: Weights, batch: int) -> States:
        """As `Network.start`: [B, H] each."""
        return lstm.start(weights, batch)

    @nn.nowrap
    def inputs(self, params: dict, rows: jax.Array) -> jax.Array:
        """As `Network.inputs`: the rows themselves, or the embeddings of bins [..., E]."""
        return _embed(self, params["embedding"], rows) if self.sizes else rows

    @nn.nowrap
    def advance(self, weights: Weights, seen: jax.Array, states: States) -> States:
        """As `Network.advance`."""
        return lstm.advance_all(weights, seen, states)

    @nn.nowrap
    def read(self, params: dict, last: jax.Array) -> jax.Array:
        """As `Network.read`: what the dense layer makes of [..., H], from unrounded operands."""
        dense = params["dense"]
        return jnp.dot(last.astype(jnp.float32), dense["kernel"], precision=lax.Precision.HIGHEST) + dense["bias"]

    @nn.nowrap
    def hidden(self, params: dict, windows: jax.Array) -> jax.Array:
        """As `Network.hidden`: [B, T, H]."""
        below = self.inputs(params, windows)
        for name in self.layer_names:
            state = lstm.zero_state(len(windows), self.units)
            below, _ = lstm.unroll(lstm.Params(*params[name]), below, state, self.precision)
        return below


def _dense_product(of_network: str, a: jax.Array, b: jax.Array, dimensions: Any, **_: Any) -> jax.Array:
    """The dense layer's product in the precision of the network."""
    from musicjax.model import categorical  # not needed for rows of numbers

    return categorical.product(a, b, of_network)


def _init_embedding(key: jax.Array, bins: int, units: int) -> jax.Array:
    return 0.1 * jax.random.normal(key, (bins, units))


def _embed(network: MusicLSTM, embedding: jax.Array, rows: jax.Array) -> jax.Array:
    """Rows of bins [..., C] -> float32 [..., E]."""
    from musicjax.model import categorical  # not needed for rows of numbers

    return categorical.summed(embedding, rows, network.sizes, range(len(network.sizes)), network.precision)


def init(network: Network, key: jax.Array, window: int) -> dict:
    """Initial parameters: {"lstm": lstm.Params, "dense": {"kernel" [H, O], "bias" [O]}}.

    A second layer is "lstm_1"; "head" and "embedding" are there if the network has such parameters.
    """
    return network.init(key, jnp.zeros((1, window, network.columns)))["params"]


def apply(
    network: Network,
    params: dict,
    windows: jax.Array,
    dropout_key: jax.Array | None = None,
    rate: jax.Array | float | None = None,
    share: tuple[Any, int] = (0, 1),
) -> jax.Array:
    """windows float32 [B, T, C] -> outputs float32 [B, O], or at every position [B, T, O]; a key turns dropout on.

    Args:
        rate: of the last layer's dropout, instead of the network's own.
        share: (k, n): windows are the k-th of n equal parts of a batch.
    """
    rngs = None if dropout_key is None else {"dropout": dropout_key}
    outputs = network.apply(
        {"params": params}, windows, train=dropout_key is not None, rate=rate, share=share, rngs=rngs
    )
    assert isinstance(outputs, jax.Array)  # apply returns a pair only if collections are mutable
    return outputs


def predict_next(network: Network, params: dict, windows: jax.Array) -> jax.Array:
    """Outputs for the row after each window: windows float32 [B, T, C] -> float32 [B, O]."""
    outputs = apply(network, params, windows)
    return outputs[:, -1] if network.every_position else outputs


def head_params(params: dict) -> heads.Params:
    """The head's own parameters; empty for those that have none."""
    return params.get("head", {})


def count(params: dict) -> int:
    """How many numbers the parameters hold."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
