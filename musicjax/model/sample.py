"""Primer -> one compiled loop -> rows, for many outputs at once.

Outputs are computed in groups of G, see `sample_groups`.

Shape legend: K outputs, G outputs in a group, T notes a window, L notes to sample, C columns, H units.

Three ways to see the past, `DECODES`:
  window     every note is predicted from exactly the T rows before it, as in training; the window is recomputed.
  staggered  the same prediction from T states, each started at a different one of the last T rows: a new row advances
             all of them in one product; the state that has then seen T rows predicts, and starts over.
  carry      one state that has seen everything since the primer's first row, for models that learned from a target
             at every position.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from musicjax.model import heads, network, sample_groups
from musicjax.model.network import Network, States, Weights

DECODES = ("staggered", "window", "carry")
# Folded into an output's key before each use, so that sampling shares no random numbers with training, whose keys
# come from the seed in the same way but fold in an epoch or a step.
NOISE, PRIMER = 2**32 - 1, 2**32 - 2
# A CPU draws about this many noise values at once, so that they fit in its caches.
NOISE_AT_ONCE = 2**15


class Limits(NamedTuple):
    """Sampled rows are clamped to low..high, float32 [C] each, and then fed back."""

    low: jax.Array
    high: jax.Array


class Draw(Protocol):
    """How the next rows are drawn from the network's outputs. A pytree; `controls` have K as their first axis."""

    @property
    def controls(self) -> Any: ...

    def start(self, net: Network, windows: jax.Array) -> Any:
        """The memory after all rows of windows [G, T, C]."""
        ...

    def __call__(
        self, net: Network, own: heads.Params, outputs: jax.Array, noise: jax.Array, last: jax.Array, memory: Any
    ) -> tuple[jax.Array, Any]:
        """(next rows [G, C], the memory after them), following rows `last` [G, C]; own: the head's parameters."""
        ...


class HeadDraw(NamedTuple):
    """The head's own sample. deviation: float32 [C], scales the noise of regression; temperature: float32."""

    deviation: jax.Array
    temperature: jax.Array
    controls: tuple = ()

    def start(self, net: Network, windows: jax.Array) -> None:
        """There is no memory."""

    def __call__(
        self, net: Network, own: heads.Params, outputs: jax.Array, noise: jax.Array, last: jax.Array, memory: None
    ) -> tuple[jax.Array, None]:
        """As `Draw`."""
        return net.head.sample(own, outputs, noise, self.deviation, self.temperature), None


class Past(NamedTuple):
    """What sampling continues from.

    windows: [K, T, C], the last rows; states: for each group, the LSTM's states, whose shape depends on decode, and the
    memory of `Draw`; None before the first call.
    """

    windows: jax.Array
    states: Any = None


class Sampled(NamedTuple):
    """rows: float32 [K, L, C]; clamped: int32 [K, L], how many values of each were clamped; past: to continue from."""

    rows: jax.Array
    clamped: jax.Array
    past: Past


# The steps that run once per call are jitted too: otherwise JAX compiles each of their operations separately.


def output_keys(seed: int, numbers: Sequence[int]) -> jax.Array:
    """Keys [K] for the outputs with these numbers; that of output k is fold_in(key(seed), k), whatever the others."""
    root = jax.random.key(seed, impl="threefry2x32")  # whatever JAX's default is here
    return _folded(root, np.array(numbers, np.uint32))


@jax.jit
def _folded(root: jax.Array, numbers: jax.Array) -> jax.Array:
    return jax.vmap(functools.partial(jax.random.fold_in, root))(numbers)


@jax.jit
def choose(keys: jax.Array, counts: jax.Array) -> jax.Array:
    """int32 [K]: which primer each output takes; counts: int32 [K], out of how many."""
    return jax.vmap(lambda key, count: jax.random.randint(jax.random.fold_in(key, PRIMER), (), 0, count))(keys, counts)


def sample(
    net: Network,
    params: dict,
    past: Past,
    keys: jax.Array,
    limits: Limits,
    draw: Draw,
    num_notes: int,
    first_note: int = 0,
    decode: str = "staggered",
) -> Sampled:
    """Continues K pasts by L = num_notes rows each.

    A row is drawn, clamped and fed back. Note n of output k draws with fold_in(fold_in(keys[k], NOISE), n).

    Args:
        past: Past(primers [K, T, C]), or what an earlier call with as many outputs returned, to continue it.
        keys: K keys, see `output_keys`.
        first_note: number of the first note, if an earlier call is continued.
        decode: one of DECODES.
    """
    outputs, window, _ = past.windows.shape
    group = sample_groups.size(net, decode, window, outputs)
    # Copies of the last output fill up the last group; they are dropped at the end.
    of_groups = np.minimum(np.arange(-(-outputs // group) * group), outputs - 1).reshape(-1, group)
    first = np.int32(first_note)

    def start(number: int) -> Sampled:
        windows, its_keys, controls = _picked(of_groups[number], (past.windows, keys, draw.controls))
        its_draw = draw._replace(controls=controls)  # type: ignore[attr-defined]
        if past.states is None:
            states = _begin_group(net, decode, params, windows, its_draw, first)
        else:
            states = past.states[number]
        its_past = Past(windows, states)
        return _sample_group(net, decode, num_notes, params, its_past, its_keys, its_draw, limits, first)

    sampled = sample_groups.side_by_side(start, len(of_groups))
    rows, clamped, windows = _together(outputs, [(one.rows, one.clamped, one.past.windows) for one in sampled])
    return Sampled(rows, clamped, Past(windows, [one.past.states for one in sampled]))


@jax.jit
def _picked(members: jax.Array, of_outputs: Any) -> Any:
    """Picks a group, [G, ...], from arrays [K, ...]; members: int [G], the numbers of its outputs."""
    return jax.tree.map(lambda array: array[members], of_outputs)


@functools.partial(jax.jit, static_argnums=0)
def _together(outputs: int, of_groups: Any) -> Any:
    """Arrays [G, ...] of each group, put together as [K, ...]."""
    return jax.tree.map(lambda *arrays: jnp.concatenate(arrays)[:outputs], *of_groups)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _begin_group(net, decode, params, windows, draw, first_note) -> Any:
    """A group's entry of `Past.states` after windows [G, T, C].

    This is a program of its own, so that the first call and later ones share the compiled loop over notes.
    """
    states = _warm(decode, net, params, net.prepare(params), windows, first_note)
    return states, draw.start(net, windows)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _sample_group(net, decode, num_notes, params, past, keys, draw, limits, first_note) -> Sampled:
    """As `sample`, for one group: windows [G, T, C], keys [G]. However many groups there are, this is compiled once."""
    weights, own = net.prepare(params), network.head_params(params)
    group, window, columns = past.windows.shape
    noise = _noise(net, keys, first_note, num_notes)
    # Rows are written here and read from here, so what is returned is bit for bit what was fed back.
    history = jnp.concatenate([past.windows, jnp.zeros((group, num_notes, columns))], axis=1)
    states, memory = past.states

    def note(carry, now):
        (history, states, memory), (number, noise_now) = carry, now
        last = lax.dynamic_index_in_dim(history, number + window - 1, axis=1, keepdims=False)
        if decode == "window":
            seen = lax.dynamic_slice_in_dim(history, number, window, axis=1)
            outputs = network.predict_next(net, params, seen)
        else:
            seen = net.inputs(params, last)
            states, read = _see(decode, net, weights, seen, first_note + number + window - 1, states)
            outputs = sample_groups.read(net, params, read)
        rows, memory = draw(net, own, outputs, noise_now, last, memory)
        within = jnp.clip(rows, limits.low, limits.high)
        clamped = jnp.sum(within != rows, axis=-1, dtype=jnp.int32)
        history = lax.dynamic_update_slice_in_dim(history, within[:, None], number + window, axis=1)
        return (history, states, memory), clamped

    carry = (history, states, memory)
    (history, states, memory), clamped = lax.scan(note, carry, (jnp.arange(num_notes), noise))
    return Sampled(history[:, window:], clamped.T, Past(history[:, num_notes:], (states, memory)))


def _noise(net: Network, keys: jax.Array, first_note: jax.Array, num_notes: int) -> jax.Array:
    """The head's noise, float32 [L, G, ...], before the loop: small operations, note by note, take longer."""

    def draw(number: jax.Array, key: jax.Array) -> jax.Array:
        note_key = jax.random.fold_in(jax.random.fold_in(key, NOISE), number)
        return net.head.noise(note_key, net.predicted)

    of_notes = jax.vmap(lambda number: jax.vmap(functools.partial(draw, number))(keys))
    shape = jax.eval_shape(of_notes, jnp.zeros(1, jnp.int32)).shape
    at_once = max(NOISE_AT_ONCE // math.prod(shape), 1)
    if jax.default_backend() != "cpu" or num_notes <= at_once:
        return of_notes(first_note + jnp.arange(num_notes))
    numbers = first_note + jnp.arange(-(-num_notes // at_once) * at_once)
    return lax.map(of_notes, numbers.reshape(-1, at_once)).reshape(-1, *shape[1:])[:num_notes]


def _warm(
    decode: str, net: Network, params: dict, weights: Weights, windows: jax.Array, first_note: jax.Array
) -> States:
    """The states after all rows of windows [G, T, C] except the last."""
    group, window, _ = windows.shape
    if decode == "window":
        return ()
    rows, numbers = net.inputs(params, windows[:, :-1]).swapaxes(0, 1), first_note + jnp.arange(window - 1)
    states = net.start(weights, group if decode == "carry" else window * group)
    return lax.scan(lambda states, now: (_see(decode, net, weights, *now, states)[0], None), states, (rows, numbers))[0]


def _see(
    decode: str, net: Network, weights: Weights, row: jax.Array, number: jax.Array, states: States
) -> tuple[States, jax.Array]:
    """(the states after `row`, what `Network.inputs` makes of [G, C]; the last outputs, to predict from, [G, ...]).

    `number` counts the rows since the primer's first. Staggered states are [T G, ...], slot by slot. The state in slot
    `number` modulo T starts over with this row; the state in the next slot has then seen T rows, and predicts.
    """
    if decode == "carry":
        states = net.advance(weights, row, states)
        return states, states[-1].h
    group = row.shape[0]
    window = states[0].c.shape[0] // group

    def renewed(array: jax.Array) -> jax.Array:
        nothing = jnp.zeros((group, *array.shape[1:]), array.dtype)
        return lax.dynamic_update_slice_in_dim(array, nothing, number % window * group, axis=0)

    rows = row if group == 1 else jnp.tile(row, (window, *(1,) * (row.ndim - 1)))
    states = net.advance(weights, rows, jax.tree.map(renewed, states))
    return states, lax.dynamic_slice_in_dim(states[-1].h, (number + 1) % window * group, group)
