"""The head for rows of bins: a distribution for each column of the next row, given the past and the columns before it.

Shape legend: C columns of a row, A of them predicted, V bins of all columns together, N hidden units, O = A N outputs;
[...] any leading dimensions. Rows hold whole numbers, as float32 inside the network.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from musicjax.model import lstm
from musicjax.model.heads import Head, Score

Params = dict[str, jax.Array]
# Arrays of up to this many numbers count as few rows in `_is_hot`; measured on a CPU.
FEW = 2048


@dataclasses.dataclass(frozen=True)
class Categorical(Head):
    """One hidden layer and one softmax for each predicted column.

    The dense layer gives N numbers for each column, to which a vector is added for the bin of each column before it in
    the row. So the row's joint likelihood is exact, however its columns depend on each other.

    Attributes:
        sizes: bins of each of the C columns.
        given: columns that follow from the others and are never predicted.
        units: N.
        precision: of the products, as in `lstm`.
        order: the order in which a row's columns are settled, without those never seen; empty: their own order.
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
        """The columns on which the draw of a column depends."""
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
        return self._logits(params, hidden, rows, column)

    def _logits(self, params: Params, hidden: jax.Array, rows: jax.Array, column: int) -> jax.Array:
        """[..., bins] of one column, given its own numbers [..., N] of the dense layer."""
        columns = self.before(column)
        if columns:
            hidden = hidden + summed(params[f"into_{column}"], rows, self.sizes, columns, self.precision)
        return self._product(jax.nn.relu(hidden), params[f"out_{column}"]) + params[f"bias_{column}"]

    def _true_and_all(
        self, params: Params, outputs: jax.Array, targets: jax.Array
    ) -> list[tuple[jax.Array, jax.Array]]:
        """For each predicted column the logit of the true bin, [...], and all logits, [..., bins]."""
        found = []
        # Split once: the gradient of each split is as large as all outputs.
        for column, hidden in zip(self.predicted, jnp.split(outputs, len(self.predicted), axis=-1), strict=True):
            logits = self._logits(params, hidden, targets, column)
            true = jax.nn.one_hot(targets[..., column].astype(jnp.int32), self.sizes[column])
            found.append((jnp.sum(true * logits, axis=-1), logits))
        return found

    def log_probs(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Log-likelihood of each predicted column, nats, [..., A]."""
        return _log_probs(self._true_and_all(params, outputs, targets))

    def log_prob(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return jnp.sum(self.log_probs(params, outputs, targets), axis=-1)

    def loss(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Negative log-likelihood, nats."""
        return -self.log_prob(params, outputs, targets)

    def accuracy(self, params: Params, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Share of the predicted columns in which no bin is likelier than the true one."""
        return _share_right(self._true_and_all(params, outputs, targets))

    def score(self, params: Params, outputs: jax.Array, targets: jax.Array) -> Score:
        found = self._true_and_all(params, outputs, targets)
        by_column = -_log_probs(found)
        nats = jnp.sum(by_column, axis=-1)
        return Score(nats, _share_right(found), nats, by_column)

    def training(
        self, params: Params, outputs: jax.Array, targets: jax.Array, key: jax.Array, rate: Any, share: Any
    ) -> tuple[jax.Array, jax.Array]:
        """As `Head.training`; the logits are traced once for both."""
        score = self.score(params, outputs, targets)
        return score.loss, score.accuracy

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


def _log_probs(found: list[tuple[jax.Array, jax.Array]]) -> jax.Array:
    return jnp.stack([true - jax.nn.logsumexp(logits, axis=-1) for true, logits in found], axis=-1)


def _share_right(found: list[tuple[jax.Array, jax.Array]]) -> jax.Array:
    return jnp.mean(jnp.stack([true >= logits.max(axis=-1) for true, logits in found], axis=-1), axis=-1)


def product(a: jax.Array, b: jax.Array, precision: str) -> jax.Array:
    """a [..., K] times b [K, N], summed in float32; in bfloat16 or tf32 precision both operands are rounded first.

    So are those of the gradient's products, as in the LSTM.
    """
    if precision == "float32":
        return jnp.dot(a, b, precision=lax.Precision.HIGHEST)
    return _rounded_product(precision, a, b)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _rounded_product(precision: str, a: jax.Array, b: jax.Array) -> jax.Array:
    return _dot(a, b) if precision == "bfloat16" else lstm.tf32_product(a, b)


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.dot(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), preferred_element_type=jnp.float32)


def _rounded_product_forward(precision: str, a: jax.Array, b: jax.Array) -> tuple[jax.Array, Any]:
    kind = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    return _rounded_product(precision, a, b), (a.astype(kind), b.astype(kind))


def _rounded_product_backward(precision: str, saved: Any, d_product: jax.Array) -> tuple[jax.Array, jax.Array]:
    a, b = saved
    # XLA's CPU backend folds the transpose of a matrix into the product, and then multiplies in float32. It does not
    # fold this one, because the last axis moves before the others are joined.
    transposed = jnp.moveaxis(a, -1, 0).reshape(a.shape[-1], -1)
    d_rows = d_product.reshape(-1, d_product.shape[-1])
    return _rounded_product(precision, d_product, b.T), _rounded_product(precision, transposed, d_rows)


_rounded_product.defvjp(_rounded_product_forward, _rounded_product_backward)


def summed(
    table: jax.Array, rows: jax.Array, sizes: tuple[int, ...], columns: Sequence[int], precision: str
) -> jax.Array:
    """The sum of a table's rows for the bins in the given columns of rows [..., C]: float32 [..., N].

    It is a product with one-hot rows. In a whole epoch, lookups and the scatter of their gradient took 2.5 times as
    long.

    Args:
        table: float32 [V, N], the bins of each of the columns, one column after the other.
    """
    bins = jnp.stack([rows[..., column] for column in columns], axis=-1).astype(jnp.int32)
    sizes = tuple(sizes[column] for column in columns)
    if precision == "bfloat16":
        return _rounded_sum(sizes, table, bins)
    return product(one_hots(bins, sizes), table, precision)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _rounded_sum(sizes: tuple[int, ...], table: jax.Array, bins: jax.Array) -> jax.Array:
    return _dot(_narrow_one_hots(bins, sizes, -1), table)


def _rounded_sum_forward(sizes: tuple[int, ...], table: jax.Array, bins: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _rounded_sum(sizes, table, bins), bins


def _rounded_sum_backward(sizes: tuple[int, ...], bins: jax.Array, d_sum: jax.Array) -> tuple[jax.Array, None]:
    # Built in this order from the start: XLA's CPU backend multiplies a transpose in float32.
    transposed = _narrow_one_hots(bins.reshape(-1, len(sizes)), sizes, 0)
    return _dot(transposed, d_sum.reshape(-1, d_sum.shape[-1])), None


_rounded_sum.defvjp(_rounded_sum_forward, _rounded_sum_backward)


def _narrow_one_hots(bins: jax.Array, sizes: tuple[int, ...], axis: int) -> jax.Array:
    """`one_hots` in bfloat16, with the bins along this axis, the first or the last.

    Made as whole numbers, because XLA's CPU backend makes bfloat16 as float32.
    """
    hot = _is_hot(bins, sizes, axis)
    one = lax.bitcast_convert_type(jnp.bfloat16(1), jnp.uint16)
    return lax.bitcast_convert_type(jnp.where(hot, one, jnp.uint16(0)), jnp.bfloat16)


def one_hots(rows: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
    """The columns of rows [..., C], one-hot and concatenated: float32 [..., V]."""
    return _is_hot(rows, sizes, -1).astype(jnp.float32)


def _is_hot(rows: jax.Array, sizes: tuple[int, ...], axis: int) -> jax.Array:
    """bool [..., V]: True at the bin that each column of rows [..., C] holds, False at the others.

    With axis 0 it is [V, M], for rows [M, C].

    For few rows, as in sampling, it compares column by column. For many, each comparison would be compiled separately,
    so a product spreads the columns over their bins and one comparison is left.
    """
    if axis == -1 and rows.size <= FEW:
        return jnp.concatenate([rows[..., c, None] == np.arange(size) for c, size in enumerate(sizes)], axis=-1)
    bins = np.concatenate([np.arange(size) for size in sizes])
    column = np.repeat(np.arange(len(sizes)), sizes)
    spread = (np.arange(len(sizes))[:, None] == column).astype(np.float32)
    rows = rows.astype(jnp.float32)
    if axis == 0:
        return jnp.einsum("cv,mc->vm", spread, rows, precision="highest") == bins[:, None]
    return jnp.dot(rows, spread, precision="highest") == bins
