"""Heads above the time axis of `biaxial`: the keys of a frame in order, the lowest first, each given those below it.

  NoteLSTM  the note axis of BALSTM: an LSTM along the keys
  TiedNade  the NADE of TP-LSTM-NADE, whose hidden units see the keys below in a window

Both are from Johnson, "Generating Polyphonic Music Using Tied Parallel Networks" (EvoMUSART 2017).

Shape legend: K keys, P columns of a key that are predicted: it sounds, or it sounds and it begins; H units of the time
axis, N units of the head, M frames; [...] any leading dimensions. Outputs [..., K H] are those of the time axis; frames
[..., P K] form P groups of K keys.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from musicjax.model import heads, lstm
from musicjax.model.biaxial import OCTAVE, REACH
from musicjax.model.dropout import kept
from musicjax.model.heads import Head, Params, Score
from musicjax.model.network import States


@dataclasses.dataclass(frozen=True)
class _KeyByKey(Head):
    """A head that gives each column a logit, given the time axis and the keys below.

    A key that does not sound cannot begin: the second column of a key counts only where the first is 1. So the
    likelihoods of all frames in which no silent key begins add up to one.

    Attributes:
        keys: K.
        inputs: H.
        units: N.
    """

    keys: int
    inputs: int
    units: int

    def logits(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """[..., P K]: of each column, given the targets of the keys below."""
        raise NotImplementedError

    def outputs(self, columns: int) -> int:
        return self.keys * self.inputs

    def loss(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Negative log-likelihood, nats."""
        return self.score(params, outputs, targets).loss

    def log_prob(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return -self.score(params, outputs, targets).nats

    def accuracy(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Share of the columns whose probability is on the right side of one half, given the true keys below."""
        return self.score(params, outputs, targets).accuracy

    def score(self, params: Params, outputs: jax.Array, targets: jax.Array) -> Score:
        return self._scored(self.logits(params, outputs, targets), targets)

    def training(
        self, params: Params, outputs: jax.Array, targets: jax.Array, key: jax.Array, rate: Any, share: Any
    ) -> tuple[jax.Array, jax.Array]:
        return self.score(params, outputs, targets)[:2]

    def noise(self, key: jax.Array, columns: int) -> jax.Array:
        return heads.logistic(key, columns)

    def _scored(self, logits: jax.Array, targets: jax.Array) -> Score:
        """The score of logits and targets [..., P K]."""
        begins = targets.shape[-1] - self.keys
        counts = jnp.pad(targets[..., :begins], [(0, 0)] * (targets.ndim - 1) + [(self.keys, 0)], constant_values=1.0)
        nats = jnp.sum(counts * jax.nn.softplus(jnp.where(targets > 0.5, -logits, logits)), axis=-1)
        right = ((logits > 0) & (counts > 0.5)) == (targets > 0.5)
        return Score(nats, jnp.mean(right, axis=-1), nats)


@dataclasses.dataclass(frozen=True)
class NoteLSTM(_KeyByKey):
    """The note axis of BALSTM: LSTM layers from the lowest key up and a logit for each of a key's P columns.

    A key sees what the time axis gives for it, [H], and the P columns of the key below, as they are in training and as
    they were drawn in sampling.

    Attributes:
        units: N, of each layer.
        dropout: share of the last layer's outputs dropped in training.
        layer_dropout: share of the outputs of each layer below it dropped in training.
        layers, precision: as those of `Network`.
        remat_keys: as `remat_rows` of `lstm.unroll`, along the keys.
    """

    name: ClassVar[str] = "note lstm"
    dropout: float = 0.0
    layer_dropout: float = 0.0
    layers: int = 2
    precision: str = "float32"
    remat_keys: int = 0

    @property
    def _names(self) -> list[str]:
        return [f"lstm_{layer}" for layer in range(self.layers)]

    def init(self, key: jax.Array, columns: int) -> Params:
        """{"lstm_0", "lstm_1", ...: lstm.Params, "kernel": [N, P], "bias": [P]}."""
        parts = columns // self.keys
        of_dense, *of_layers = jax.random.split(key, self.layers + 1)
        seen = [self.inputs + parts, *[self.units] * (self.layers - 1)]
        layers = {
            name: lstm.init(one, inputs, self.units)
            for name, one, inputs in zip(self._names, of_layers, seen, strict=True)
        }
        kernel = jax.nn.initializers.glorot_uniform()(of_dense, (self.units, parts))
        return {**layers, "kernel": kernel, "bias": jnp.zeros(parts)}

    def logits(self, params: Params, outputs: jax.Array, targets: jax.Array, drop: Any = None) -> jax.Array:
        """[..., P K]: of each column, given the targets of the keys below.

        Args:
            drop: what dropout leaves of the outputs [M, K, N] of layer k, from 0, M the product of leading dimensions;
                None: all of them.
        """
        by_key = jnp.moveaxis(targets.reshape(-1, targets.shape[-1] // self.keys, self.keys), 1, 2)  # [M, K, P]
        under = jnp.pad(by_key, ((0, 0), (1, 0), (0, 0)))[:, :-1]
        below = jnp.concatenate([outputs.reshape(-1, self.keys, self.inputs), under], axis=-1)
        state = lstm.zero_state(len(below), self.units)
        for layer, name in enumerate(self._names):
            below, _ = lstm.unroll(lstm.Params(*params[name]), below, state, self.precision, self.remat_keys)
            below = below if drop is None else drop(layer, below)
        return jnp.moveaxis(self._read(params, below), 2, 1).reshape(targets.shape)

    def _read(self, params: Params, last: jax.Array) -> jax.Array:
        """The logits [..., P] of outputs [..., N]."""
        return _product(last.astype(jnp.float32), params["kernel"]) + params["bias"]

    def training(
        self, params: Params, outputs: jax.Array, targets: jax.Array, key: jax.Array, rate: Any, share: Any
    ) -> tuple[jax.Array, jax.Array]:
        """As `Head.training`: here too, part of a batch keeps what it would keep within the whole batch."""

        rates = [*[self.layer_dropout] * (self.layers - 1), self.dropout if rate is None else rate]

        def drop(layer: int, last: jax.Array) -> jax.Array:
            if isinstance(rates[layer], float) and not rates[layer]:
                return last
            keep = 1.0 - rates[layer]
            return jnp.where(kept(jax.random.fold_in(key, layer), keep, last.shape, share), last / keep, 0)

        return self._scored(self.logits(params, outputs, targets, drop), targets)[:2]

    def sample(
        self, params: Params, outputs: jax.Array, noise: jax.Array, deviation: jax.Array, temperature: jax.Array
    ) -> jax.Array:
        """Key by key from the lowest; at temperature 0 each takes its likelier value, given those below."""
        weights = tuple(lstm.prepare(lstm.Params(*params[name]), self.precision) for name in self._names)
        by_key = jnp.moveaxis(noise.reshape(-1, noise.shape[-1] // self.keys, self.keys), 2, 0)  # [K, M, P]
        states = lstm.start(weights, by_key.shape[1])

        def key(carry: tuple[States, jax.Array], now: tuple[jax.Array, jax.Array]):
            (states, under), (given, noise_now) = carry, now
            states = lstm.advance_all(weights, jnp.concatenate([given, under], axis=-1), states)
            drawn = (self._read(params, states[-1].h) + temperature * noise_now > 0).astype(jnp.float32)
            drawn = drawn.at[:, 1:].multiply(drawn[:, :1])
            return (states, drawn), drawn

        given = outputs.reshape(-1, self.keys, self.inputs).swapaxes(0, 1)
        drawn = lax.scan(key, (states, jnp.zeros(by_key.shape[1:])), (given, by_key))[1]
        return jnp.moveaxis(drawn, 0, 2).reshape(noise.shape)


@dataclasses.dataclass(frozen=True)
class TiedNade(_KeyByKey):
    """The NADE of TP-LSTM-NADE, with weights tied over the keys: P is 1.

    The time axis gives key k the bias of its logit and of its N hidden units, through one dense layer for all keys. The
    hidden units see the keys below k relative to k: each of the REACH nearest, and how many of each pitch class there
    are among all of them. We had only the paper's abstract and table, not its full text; these inputs and the one layer
    of hidden units are ours, modelled on its time axis.
    """

    name: ClassVar[str] = "tied nade"

    def init(self, key: jax.Array, columns: int) -> Params:
        """{"kernel": [H, 1 + N], "bias": [1 + N], "in": [REACH + OCTAVE, N], "out": [N, 1]}."""
        glorot = jax.nn.initializers.glorot_uniform()
        shapes = {"kernel": (self.inputs, 1 + self.units), "in": (REACH + OCTAVE, self.units), "out": (self.units, 1)}
        keys = jax.random.split(key, len(shapes))
        made = {name: glorot(one, shape) for one, (name, shape) in zip(keys, shapes.items(), strict=True)}
        return {**made, "bias": jnp.zeros(1 + self.units)}

    def logits(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """[..., K]: the logit of each key, given the targets below it. All keys at once."""
        below = _product(targets, _below(self.keys).reshape(self.keys, -1))
        return self._of(params, self._given(params, outputs), below.reshape(*targets.shape, -1))

    def _given(self, params: Params, outputs: jax.Array) -> jax.Array:
        """What the time axis gives each key: [..., K, 1 + N]."""
        last = outputs.reshape(*outputs.shape[:-1], self.keys, self.inputs)
        return _product(last, params["kernel"]) + params["bias"]

    def _of(self, params: Params, given: jax.Array, below: jax.Array) -> jax.Array:
        """Logits [...] from what the time axis gives, [..., 1 + N], and the keys below, [..., REACH + OCTAVE]."""
        hidden = jax.nn.sigmoid(given[..., 1:] + _product(below, params["in"]))
        return given[..., 0] + _product(hidden, params["out"])[..., 0]

    def sample(
        self, params: Params, outputs: jax.Array, noise: jax.Array, deviation: jax.Array, temperature: jax.Array
    ) -> jax.Array:
        """Key by key from the lowest; at temperature 0 each takes its likelier value, given those below."""

        def key(frame: jax.Array, now: tuple[jax.Array, ...]):
            number, of_below, given, noise_now = now
            logit = self._of(params, given, _product(frame, of_below))
            drawn = (logit + temperature * noise_now > 0).astype(jnp.float32)
            return lax.dynamic_update_index_in_dim(frame, drawn, number, -1), None

        given = jnp.moveaxis(self._given(params, outputs), -2, 0)
        by_key = (
            jnp.arange(self.keys),
            jnp.asarray(_below(self.keys).swapaxes(0, 1)),
            given,
            jnp.moveaxis(noise, -1, 0),
        )
        return lax.scan(key, jnp.zeros(noise.shape), by_key)[0]


def _below(keys: int) -> np.ndarray:
    """What TiedNade sees of a frame, as a product: float32 [K, K, REACH + OCTAVE], of key i as it is seen by key k."""
    made = np.zeros((keys, keys, REACH + OCTAVE), np.float32)
    for key in range(keys):
        for under in range(key):
            made[under, key, REACH + (key - under) % OCTAVE] = 1
            if key - under <= REACH:
                made[under, key, key - under - 1] = 1
    return made


def _product(a: jax.Array, b: Any) -> jax.Array:
    """a [..., M] times b [M, N], in float32 on every platform."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
