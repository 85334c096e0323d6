"""Candidates for a gap in a piece: many continuations, each drawn and then led over the given rows, which weigh it.

Shape legend: K candidates, L rows, C columns.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from musicjax.model import heads, network
from musicjax.model.network import Network

# Folded into an output's key, as `sample.NOISE` is, before each use.
CANDIDATES, CHOICE, COINS = 2**32 - 3, 2**32 - 4, 2**32 - 5


class Memory(Protocol):
    """What a guide remembers of each candidate. A pytree; new: int32 [K], how many rows were drawn; weight: float32
    [K], the natural logarithm of how well it fits the rows after the gap."""

    @property
    def new(self) -> jax.Array: ...

    @property
    def weight(self) -> jax.Array: ...


class Guide(Protocol):
    """Which rows come next: drawn ones or given ones. A pytree."""

    def start(self, net: Network) -> tuple[jax.Array, Memory]:
        """(the first row of the piece, float32 [1, C]; the memory after it)."""
        ...

    def __call__(
        self, net: Network, own: heads.Params, outputs: jax.Array, noise: jax.Array, last: jax.Array, memory: Any
    ) -> tuple[jax.Array, Memory]:
        """(next rows [K, C], the memory after them), following rows `last` [K, C]; own: the head's parameters."""
        ...

    def follow(self, net: Network, memory: Any) -> tuple[jax.Array, Memory]:
        """(the next given rows [K, C], the memory after them)."""
        ...

    def is_done(self, memory: Any) -> jax.Array:
        """Which candidates have seen all given rows, bool [K]."""
        ...


class Way(NamedTuple):
    """How far each candidate is. last: float32 [K, C], its last row; states: of the LSTM before that row; memory: of
    the guide after it."""

    last: jax.Array
    states: tuple[Any, ...]
    memory: Any


@functools.partial(jax.jit, static_argnums=0)
def start(net: Network, params: dict, guide: Guide) -> Way:
    """The beginning of a piece, one candidate."""
    last, memory = guide.start(net)
    return Way(last, net.start(net.prepare(params), 1), memory)


@functools.partial(jax.jit, static_argnums=1)
def spread(way: Way, candidates: int) -> Way:
    """As many candidates as asked for, all at the place of the first."""
    return jax.tree.map(lambda leaf: jnp.repeat(leaf[:1], candidates, axis=0), way)


@functools.partial(jax.jit, static_argnums=(0, 1))
def advance(
    net: Network, count: int, params: dict, way: Way, key: jax.Array, first: jax.Array, guide: Guide
) -> tuple[Way, jax.Array]:
    """(where the candidates are after at most L = count more rows, those rows [L, K, C]).

    A candidate that is done stays where it is. Row n of candidate k draws with fold_in(fold_in(key, k), n).

    Args:
        first: int32, the number of the first row.
    """
    weights, own = net.prepare(params), network.head_params(params)
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.arange(way.last.shape[0]))

    def noise_of(number: jax.Array) -> jax.Array:
        return jax.vmap(lambda one: net.head.noise(jax.random.fold_in(one, number), net.predicted))(keys)

    def row(way: Way, noise: jax.Array) -> tuple[Way, jax.Array]:
        states = net.advance(weights, net.inputs(params, way.last), way.states)
        outputs = net.read(params, states[-1].h)
        rows, memory = guide(net, own, outputs, noise, way.last, way.memory)
        return _unless_done(guide, way, Way(rows, states, memory)), rows

    # All noise at once: small operations, row by row, take longer.
    return lax.scan(row, way, jax.vmap(noise_of)(first + jnp.arange(count)))


@functools.partial(jax.jit, static_argnums=(0, 1))
def follow(net: Network, count: int, params: dict, way: Way, guide: Guide) -> Way:
    """Where the candidates are after the next given rows, `count` at most. It draws nothing, so it compiles faster."""
    weights = net.prepare(params)

    def row(way: Way, _: None) -> tuple[Way, None]:
        states = net.advance(weights, net.inputs(params, way.last), way.states)
        rows, memory = guide.follow(net, way.memory)
        return _unless_done(guide, way, Way(rows, states, memory)), None

    return lax.scan(row, way, None, count)[0]


def _unless_done(guide: Guide, way: Way, after: Way) -> Way:
    """The way after one more row; a candidate that is done stays where it is."""
    done = guide.is_done(way.memory)

    def either(old: jax.Array, new: jax.Array) -> jax.Array:
        return jnp.where(done.reshape(-1, *(1,) * (new.ndim - 1)), old, new)

    return jax.tree.map(either, way, after)


def chosen(key: jax.Array, weights: np.ndarray, best: bool) -> int:
    """One of K candidates: the best, or one drawn with a probability proportional to exp(weights), float32 [K]."""
    noise = 0.0 if best else np.asarray(jax.random.gumbel(jax.random.fold_in(key, CHOICE), weights.shape))
    return int(np.argmax(weights + noise))


def coins(key: jax.Array, count: int) -> np.ndarray:
    """Random numbers of 0 to below 1, float32 [count]."""
    return np.asarray(jax.random.uniform(jax.random.fold_in(key, COINS), (count,)))
