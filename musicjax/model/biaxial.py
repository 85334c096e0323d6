"""The time axis of biaxial models, whose axes are time and the keys of a frame: one LSTM for every key, with weights
tied over the keys. A head in `note_axis` turns its outputs into a frame, key by key.

After Johnson, "Generating Polyphonic Music Using Tied Parallel Networks" (EvoMUSART 2017), and his earlier program,
danieldjohnson/biaxial-rnn-music-composition (2015). What a key sees of a frame is relative to the key, so the network
knows an interval at any pitch; only a key's own number tells it where it is.

Shape legend: B windows, T rows a window, C columns of a row, K keys, P columns of a key that are predicted: it sounds,
or it sounds and it begins; H units, I numbers that a key sees; [...] any leading dimensions. The columns of a row form
P groups of K keys.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from musicjax.model import lstm
from musicjax.model.dropout import Dropout
from musicjax.model.network import Network, States, Weights

# How many keys above and below itself a key sees one by one, and after how many keys a pitch class recurs.
REACH = OCTAVE = 12


class TiedLSTM(Network):
    """The time axis: LSTM layers over batch x keys. The head reads their outputs for all keys, [..., K H].

    A key sees, of the row before the one that it predicts: the keys within REACH of it, how many keys of each pitch
    class sound, its own number, and the columns of the row that belong to no key. Where rows show the longest match, it
    sees the row that followed the match in the same way as the row itself.

    Attributes:
        keys: K; `predicted` is P K.
    """

    every_position: bool = True
    keys: int = 88

    @property
    def summary(self) -> str:
        """As `Network.summary`."""
        layers = f"LSTM {self.units}" + f" x {self.layers}" * (self.layers > 1)
        between = f" (dropout {self.layer_dropout:g} between)" if self.layer_dropout else ""
        return f"{layers} for each of {self.keys} keys, tied{between} -> dropout {self.dropout:g}"

    @nn.compact
    def __call__(
        self, windows: jax.Array, *, train: bool = False, rate: Any = None, share: tuple[Any, int] = (0, 1)
    ) -> jax.Array:
        """windows float32 [B, T, C] -> outputs float32 [B, T, K H], for the row after each.

        With `train`, it needs an rng named `dropout`.
        """
        batch, steps, _ = windows.shape
        below = _by_key(self.inputs({}, windows))
        state = lstm.zero_state(batch * self.keys, self.units)
        for layer, name in enumerate(self.layer_names, 1):
            params = lstm.Params(*self.param(name, lstm.init, below.shape[-1], self.units))
            below, _ = lstm.unroll(params, below, state, self.precision, self.remat_rows)
            if train and layer == self.layers:
                below = Dropout(name="Dropout_0")(below, self.dropout if rate is None else rate, share)
            elif train and self.layer_dropout:
                below = Dropout(name=f"Dropout_{layer}")(below, self.layer_dropout, share)
        self.param("head", self.head.init, self.predicted)
        return below.reshape(batch, self.keys, steps, self.units).swapaxes(1, 2).reshape(batch, steps, -1)

    @nn.nowrap
    def start(self, weights: Weights, batch: int) -> States:
        """As `Network.start`: [B, K, H] each."""
        return lstm.start(weights, batch, self.keys)

    @nn.nowrap
    def inputs(self, params: dict, rows: jax.Array) -> jax.Array:
        """As `Network.inputs`: what each key sees, float32 [..., K, I]."""
        return of_keys(rows, self.predicted, self.keys, len(self.match_lengths))

    @nn.nowrap
    def advance(self, weights: Weights, seen: jax.Array, states: States) -> States:
        """As `Network.advance`: one product for the keys of all rows; a single row is shared by all states."""
        seen = jnp.broadcast_to(seen, (*states[0].c.shape[:-1], seen.shape[-1]))
        apart = jax.tree.map(lambda array: array.reshape(-1, array.shape[-1]), (seen, states))
        after = lstm.advance_all(weights, *apart)
        return jax.tree.map(lambda array: array.reshape(*seen.shape[:-1], array.shape[-1]), after)

    @nn.nowrap
    def read(self, params: dict, last: jax.Array) -> jax.Array:
        """As `Network.read`: the outputs themselves, of all keys side by side, [..., K H]."""
        return last.astype(jnp.float32).reshape(*last.shape[:-2], -1)

    @nn.nowrap
    def hidden(self, params: dict, windows: jax.Array) -> jax.Array:
        """As `Network.hidden`: [B, T, K H]."""
        return self.apply({"params": params}, windows)  # type: ignore[return-value]


def of_keys(rows: jax.Array, predicted: int, keys: int, matches: int = 0) -> jax.Array:
    """What each key sees of rows [..., C]: float32 [..., K, I].

    Args:
        predicted: columns of the row itself, P K. With a match, those of the row that followed it come next.
        matches: how many columns tell the length of the match; they and all after them are the same for every key.
    """
    shown = rows[..., : 2 * predicted if matches else predicted]
    # No size is -1, which an array without rows would leave open.
    groups = shown.reshape(*shown.shape[:-1], shown.shape[-1] // keys, keys)
    near = jnp.pad(groups, [(0, 0)] * (groups.ndim - 1) + [(REACH, REACH)])[..., _places(keys)]  # [..., groups, K, 25]
    near = jnp.moveaxis(near, -3, -2).reshape(*rows.shape[:-1], keys, near.shape[-3] * near.shape[-1])
    sounding = jnp.pad(groups[..., 0, :], [(0, 0)] * (groups.ndim - 2) + [(0, -keys % OCTAVE)])
    classes = jnp.sum(sounding.reshape(*rows.shape[:-1], sounding.shape[-1] // OCTAVE, OCTAVE), axis=-2)
    relative = classes[..., (np.arange(keys)[:, None] + np.arange(OCTAVE)) % OCTAVE]
    number = jnp.broadcast_to(jnp.arange(keys, dtype=jnp.float32)[:, None] / keys, (*rows.shape[:-1], keys, 1))
    common = rows[..., None, shown.shape[-1] :]
    common = jnp.broadcast_to(common, (*rows.shape[:-1], keys, common.shape[-1]))
    return jnp.concatenate([near, relative, number, common], axis=-1)


def _places(keys: int) -> np.ndarray:
    """For each key, the columns within reach in a frame padded by REACH on both sides: int [K, 2 REACH + 1]."""
    return np.arange(keys)[:, None] + np.arange(2 * REACH + 1)


def _by_key(seen: jax.Array) -> jax.Array:
    """[B, T, K, I] as [B K, T, I]: every key of every window is a sequence of its own."""
    batch, steps, keys, inputs = seen.shape
    return seen.swapaxes(1, 2).reshape(batch * keys, steps, inputs)
