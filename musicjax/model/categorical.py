"""The head for rows of bins: a distribution for each column of the next row, given the past and the columns before it.

Shape legend: C columns of a row, A of them predicted, V bins of all columns together, N hidden units, O = A N outputs;
[...] any leading dimensions. Rows hold whole numbers, as float32 inside the network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from musicjax.model.heads import Head, Score

Params = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Categorical(Head):
    """One hidden layer and one softmax for each predicted column.

    The dense layer gives N numbers for each; added to them is a vector for the bin of each column before it in the
    row. So the row's joint likelihood is exact, however its columns depend on each other.

    Attributes:
        sizes: bins of each of the C columns.
        given: columns that follow from the others and are never predicted.
        units: N.
        precision: of the products, float32 or bfloat16, as in `lstm`.
        order: the order in which the columns of a row come to be, those that are never seen apart; empty: their own.
    """

    name: ClassVar[str] = "categorical"
    sizes: tuple[int, ...]
    given: tuple[int, ...]
    units: int
    precision: str = "float32"
    order: tuple[int, ...] = ()

    @property
    def predicted(self) -> tuple[int, ...]:
        """The A predicted columns, in order."""
        return tuple(column for column in self._order if column not in self.given)

    @property
    def _order(self) -> tuple[int, ...]:
        return self.order or tuple(range(len(self.sizes)))

    def before(self, column: int) -> tuple[int, ...]:
        """The columns that a column is drawn given."""
        return self._order[: self._order.index(column)]

    def _sizes(self, columns: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self.sizes[column] for column in columns)

    def outputs(self, columns: int) -> int:
        return len(self.predicted) * self.units

    def init(self, key: jax.Array, columns: int) -> Params:
        """For each predicted column c: into_c [bins of the columns before it, N], out_c [N, its bins], bias_c."""
        params: Params = {}
        for column in self.predicted:
            into, out = jax.random.split(jax.random.fold_in(key, column))
            before = sum(self._sizes(self.before(column)))
            if before:
                params[f"into_{column}"] = 0.1 * jax.random.normal(into, (before, self.units))
            params[f"out_{column}"] = jax.nn.initializers.glorot_uniform()(out, (self.units, self.sizes[column]))
            params[f"bias_{column}"] = jnp.zeros(self.sizes[column])
        return params

    def logits(self, params: Params, outputs: jax.Array, rows: jax.Array, column: int) -> jax.Array:
        """[..., bins] of one column, given those before it in rows [..., C]."""
        hidden = jnp.split(outputs, len(self.predicted), axis=-1)[self.predicted.index(column)]
        columns = self.before(column)
        if columns:
            before = one_hots(rows, self.sizes, columns)
            hidden = hidden + self._product(before, params[f"into_{column}"])
        return self._product(jax.nn.relu(hidden), params[f"out_{column}"]) + params[f"bias_{column}"]

    def log_probs(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Log-likelihood of each predicted column, nats, [..., A]."""
        found = []
        for column in self.predicted:
            logits = self.logits(params, outputs, targets, column)
            true = jax.nn.one_hot(targets[..., column].astype(jnp.int32), self.sizes[column])
            found.append(jnp.sum(true * logits, axis=-1) - jax.nn.logsumexp(logits, axis=-1))
        return jnp.stack(found, axis=-1)

    def log_prob(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return jnp.sum(self.log_probs(params, outputs, targets), axis=-1)

    def loss(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Negative log-likelihood, nats."""
        return -self.log_prob(params, outputs, targets)

    def accuracy(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Share of the predicted columns whose likeliest bin, given the true bins before it, is the true one."""
        right = [
            jnp.argmax(self.logits(params, outputs, targets, column), axis=-1) == targets[..., column]
            for column in self.predicted
        ]
        return jnp.mean(jnp.stack(right, axis=-1), axis=-1)

    def score(self, params: Params, outputs: jax.Array, targets: jax.Array) -> Score:
        by_column = -self.log_probs(params, outputs, targets)
        nats = jnp.sum(by_column, axis=-1)
        return Score(nats, self.accuracy(params, outputs, targets), nats, by_column)

    def noise(self, key: jax.Array, columns: int) -> jax.Array:
        """Gumbel noise, float32 [V]: logit + noise is largest at bin b with the softmax probability of b."""
        return jax.random.gumbel(key, (sum(self.sizes),))

    def sample(
        self, params: Params, outputs: jax.Array, noise: jax.Array, deviation: jax.Array, temperature: jax.Array
    ) -> jax.Array:
        """Rows [..., C] of bins, drawn one column after the other; the given columns stay 0."""
        rows = jnp.zeros((*outputs.shape[:-1], len(self.sizes)))
        for column in self.predicted:
            begins = sum(self.sizes[:column])
            logits = self.logits(params, outputs, rows, column)
            drawn = jnp.argmax(logits + temperature * noise[..., begins : begins + self.sizes[column]], axis=-1)
            rows = rows.at[..., column].set(drawn.astype(jnp.float32))
        return rows

    def _product(self, a: jax.Array, b: jax.Array) -> jax.Array:
        return product(a, b, self.precision)


def product(a: jax.Array, b: jax.Array, precision: str) -> jax.Array:
    """a [..., K] times b [K, N], summed in float32; in bfloat16 precision both operands are rounded first."""
    if precision == "bfloat16":
        return jnp.dot(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), preferred_element_type=jnp.float32)
    return jnp.dot(a, b, precision=lax.Precision.HIGHEST)


def one_hots(rows: jax.Array, sizes: tuple[int, ...], columns: Sequence[int] | None = None) -> jax.Array:
    """The given columns of rows [..., C], by default all, one-hot and concatenated: float32 [..., V]."""
    whole = rows.astype(jnp.int32)
    columns = range(len(sizes)) if columns is None else columns
    return jnp.concatenate([jax.nn.one_hot(whole[..., c], sizes[c]) for c in columns], axis=-1)
