"""Heads: what the network's outputs mean. Each turns the dense layer's outputs into loss, likelihood and samples.

regression  the output is the next row itself, the loss is the mean squared error (the paper's)
bernoulli   one logit a key; the keys of a frame are independent given the past (Boulanger-Lewandowski et al. 2012)
nade        keys in order, each given the past and the keys below it: an exact joint likelihood (Larochelle and
            Murray 2011; with a recurrent network Boulanger-Lewandowski et al. 2012)

Shape legend: C columns of a row, O outputs, V bins, N hidden units of the head; [...] any leading dimensions.
`params` are the head's own parameters; regression and bernoulli have none. Frames are 0 or 1, float32.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

Params = dict[str, Any]
# The lowest probability with which FrameRegression draws a key.
NEVER = 1e-6
# If no frame has more keys on than one of these, NADE takes the fast path that was compiled for that number.
FEW_KEYS = (7, 15)


class Score(NamedTuple):
    """For each target, [...]: loss, accuracy and nats (negative log-likelihood). nats_by_column: [..., A], of each
    predicted column, if the head predicts columns one by one."""

    loss: jax.Array
    accuracy: jax.Array
    nats: jax.Array
    nats_by_column: jax.Array | None = None


class Head(Protocol):
    """What every head can do."""

    # The console prints it after the dense layer; empty where the outputs of that layer are the next row.
    name: ClassVar[str]

    def outputs(self, columns: int) -> int:
        """O for rows of C columns."""
        ...

    def init(self, key: jax.Array, columns: int) -> Params:
        """Initial values of the head's own parameters."""
        ...

    def loss(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """What training minimises: outputs [..., O], targets [..., C] -> [...]."""
        ...

    def log_prob(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Log-likelihood of 0/1 targets [..., C], nats, [...]."""
        ...

    def accuracy(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """The share of a row that is right, 0..1, [...]."""
        ...

    def score(self, params: Params, outputs: jax.Array, targets: jax.Array) -> Score:
        """Loss, accuracy and nats together."""
        log_prob = self.log_prob(params, outputs, targets)
        return Score(self.loss(params, outputs, targets), self.accuracy(params, outputs, targets), -log_prob)

    def training(
        self, params: Params, outputs: jax.Array, targets: jax.Array, key: jax.Array, rate: Any, share: Any
    ) -> tuple[jax.Array, jax.Array]:
        """(loss, accuracy) of windows as they are in training, with the dropout that a head may have of its own.

        Args:
            key: decides what is dropped.
            rate: of its last layer's dropout, instead of its own; None: its own.
            share: (k, n): windows are the k-th of n equal parts of a batch.
        """
        return self.loss(params, outputs, targets), self.accuracy(params, outputs, targets)

    def noise(self, key: jax.Array, columns: int) -> jax.Array:
        """All the randomness of `sample`, float32 [C], or [V] for bins; drawn separately, for many rows at a time."""
        ...

    def sample(
        self, params: Params, outputs: jax.Array, noise: jax.Array, deviation: jax.Array, temperature: jax.Array
    ) -> jax.Array:
        """Next rows [..., C] from outputs [..., O], `noise` and a temperature >= 0; 0: the likeliest."""
        ...


@dataclasses.dataclass(frozen=True)
class Regression(Head):
    """Linear outputs, mean squared error.

    Attributes:
        clip: the likelihood of frames takes outputs as probabilities, clipped to clip..1 - clip.
    """

    name: ClassVar[str] = ""
    clip: float = 0.01

    def outputs(self, columns: int) -> int:
        return columns

    def init(self, key: jax.Array, columns: int) -> Params:
        return {}

    def loss(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Squared error, mean over columns."""
        return jnp.mean((outputs - targets) ** 2, axis=-1)

    def log_prob(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        on = jnp.clip(outputs, self.clip, 1 - self.clip)
        return jnp.sum(jnp.log(jnp.where(targets > 0.5, on, 1 - on)), axis=-1)

    def accuracy(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """What Keras calls accuracy for this head: is the largest column of both the same?

        It compares pitch, velocity and interval with each other, not with the truth; always naming the
        velocity scores 77 % on the paper's data.
        """
        return (jnp.argmax(outputs, axis=-1) == jnp.argmax(targets, axis=-1)).astype(jnp.float32)

    def noise(self, key: jax.Array, columns: int) -> jax.Array:
        return jax.random.normal(key, (columns,))

    def sample(
        self, params: Params, outputs: jax.Array, noise: jax.Array, deviation: jax.Array, temperature: jax.Array
    ) -> jax.Array:
        """The outputs plus Gaussian noise of temperature x deviation [C]."""
        return outputs + temperature * deviation * noise


@dataclasses.dataclass(frozen=True)
class FrameRegression(Regression):
    """The same loss on 0/1 frames; accuracy, likelihood and samples take the outputs as probabilities."""

    def accuracy(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Share of the keys whose probability is on the right side of one half."""
        return jnp.mean((outputs > 0.5) == (targets > 0.5), axis=-1)

    def noise(self, key: jax.Array, columns: int) -> jax.Array:
        return logistic(key, columns)

    def sample(
        self, params: Params, outputs: jax.Array, noise: jax.Array, deviation: jax.Array, temperature: jax.Array
    ) -> jax.Array:
        on = jnp.clip(outputs, NEVER, 1 - NEVER)  # not self.clip, or every silent key would sound now and then
        return _drawn(jnp.log(on) - jnp.log1p(-on), noise, temperature)


@dataclasses.dataclass(frozen=True)
class Bernoulli(Head):
    """Independent keys; outputs are their logits."""

    name: ClassVar[str] = "bernoulli"

    def outputs(self, columns: int) -> int:
        return columns

    def init(self, key: jax.Array, columns: int) -> Params:
        return {}

    def loss(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Negative log-likelihood, nats."""
        return -self.log_prob(params, outputs, targets)

    def log_prob(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return -jnp.sum(jax.nn.softplus(jnp.where(targets > 0.5, -outputs, outputs)), axis=-1)

    def accuracy(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Share of the keys whose probability is on the right side of one half."""
        return jnp.mean((outputs > 0) == (targets > 0.5), axis=-1)

    def noise(self, key: jax.Array, columns: int) -> jax.Array:
        return logistic(key, columns)

    def sample(
        self, params: Params, outputs: jax.Array, noise: jax.Array, deviation: jax.Array, temperature: jax.Array
    ) -> jax.Array:
        return _drawn(outputs, noise, temperature)


@dataclasses.dataclass(frozen=True)
class Nade(Head):
    """Keys from the lowest up, each given those below it.

    The dense layer gives, for each frame, the biases of the keys [C] and of N hidden units. Key k is on with
    probability sigmoid(bias_k + sigmoid(a_k) . out_k), where a_k = hidden bias + the sum of in_j over the keys j < k
    that are on.

    Attributes:
        units: N.
    """

    name: ClassVar[str] = "nade"
    units: int

    def outputs(self, columns: int) -> int:
        return columns + self.units

    def init(self, key: jax.Array, columns: int) -> Params:
        """{"in": [C, N], "out": [C, N]}."""
        keys, glorot = jax.random.split(key), jax.nn.initializers.glorot_uniform()
        return {name: glorot(one, (columns, self.units)) for name, one in zip(("in", "out"), keys, strict=True)}

    def loss(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Negative log-likelihood, nats."""
        return -self.log_prob(params, outputs, targets)

    def log_prob(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return Bernoulli().log_prob({}, self.logits(params, outputs, targets), targets)

    def accuracy(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Share of the keys whose probability is on the right side of one half, given the true ones below."""
        return Bernoulli().accuracy({}, self.logits(params, outputs, targets), targets)

    def logits(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """[..., C]: the logit of each key, given the targets below it.

        The hidden units change only above a key that is on, so a frame with few such keys has few hidden states, and
        two products give all logits at once.
        """
        columns = targets.shape[-1]
        biases, hidden = outputs[..., :columns], outputs[..., columns:]
        most = jnp.max(jnp.sum(targets, axis=-1))
        ways = [functools.partial(_by_state, fewest) for fewest in FEW_KEYS]
        which = sum((most > fewest).astype(jnp.int32) for fewest in FEW_KEYS)
        return biases + lax.switch(which, [*ways, _by_key], params, hidden, targets)

    def noise(self, key: jax.Array, columns: int) -> jax.Array:
        return logistic(key, columns)

    def sample(
        self, params: Params, outputs: jax.Array, noise: jax.Array, deviation: jax.Array, temperature: jax.Array
    ) -> jax.Array:
        """Key by key from the lowest; at temperature 0 each takes its likelier value, given those below."""
        columns = noise.shape[-1]

        def key(a: jax.Array, now: tuple[jax.Array, ...]):
            into, out, bias, noise_now = now
            drawn = _drawn(bias + jnp.sum(jax.nn.sigmoid(a) * out, axis=-1), noise_now, temperature)
            return a + drawn[..., None] * into, drawn

        biases, noise = (jnp.moveaxis(array, -1, 0) for array in (outputs[..., :columns], noise))
        by_key = (params["in"], params["out"], biases, noise)
        return jnp.moveaxis(lax.scan(key, outputs[..., columns:], by_key)[1], 0, -1)


def _by_state(most: int, params: Params, hidden: jax.Array, targets: jax.Array) -> jax.Array:
    """The logits [..., C] without their biases, of frames with at most `most` keys on."""
    below = jnp.cumsum(targets, axis=-1) - targets  # [..., C], how many keys below each are on
    state = jnp.arange(most + 1, dtype=jnp.float32)[:, None]
    seen = targets[..., None, :] * (below[..., None, :] < state)  # [..., most + 1, C], keys that each state has seen
    a = hidden[..., None, :] + jnp.matmul(seen, params["in"], precision=lax.Precision.HIGHEST)
    of_states = jnp.matmul(jax.nn.sigmoid(a), params["out"].T, precision=lax.Precision.HIGHEST)
    return jnp.sum(jnp.where(below[..., None, :] == state, of_states, 0.0), axis=-2)


def _by_key(params: Params, hidden: jax.Array, targets: jax.Array) -> jax.Array:
    """The same for any frames, one key after the other."""

    def key(a: jax.Array, now: tuple[jax.Array, jax.Array, jax.Array]):
        into, out, target = now
        return a + target[..., None] * into, jnp.sum(jax.nn.sigmoid(a) * out, axis=-1)

    by_key = (params["in"], params["out"], jnp.moveaxis(targets, -1, 0))
    return jnp.moveaxis(lax.scan(key, hidden, by_key)[1], 0, -1)


def of_frames(name: str, units: int) -> Head:
    """A head for frames: regression, bernoulli, or nade with hidden units."""
    heads: dict[str, Head] = {"regression": FrameRegression(), "bernoulli": Bernoulli(), "nade": Nade(units)}
    return heads[name]


def logistic(key: jax.Array, columns: int) -> jax.Array:
    """Logistic noise [C]: logit + noise > 0 with probability sigmoid(logit)."""
    return jax.random.logistic(key, (columns,))


def _drawn(logits: jax.Array, noise: jax.Array, temperature: jax.Array) -> jax.Array:
    """1 with probability sigmoid(logit / temperature), else 0; float32."""
    return (logits + temperature * noise > 0).astype(jnp.float32)
