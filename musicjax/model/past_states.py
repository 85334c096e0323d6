"""The LSTM's states after the rows so far, and how one more row changes them.

Shape legend: G outputs in a group, T notes a window, C columns.

Three ways to see the past, `DECODES`:
  window     every note is predicted from exactly the T rows before it, as in training; the window is recomputed.
  staggered  the same prediction from T states, each started at a different one of the last T rows: a new row advances
             all of them in one product; the state that has then seen T rows predicts, and starts over.
  carry      one state that has seen everything since the primer's first row, for models that learned from a target
             at every position.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from musicjax.model.network import Network, States, Weights

DECODES = ("staggered", "window", "carry")
# In how many parts the staggered states of a primer begin, at most. More would save little: LOG.md.
MOST_PARTS = 3


@functools.partial(jax.jit, static_argnums=(0, 1))
def begin(net: Network, decode: str, params: dict, windows: jax.Array, first_note: jax.Array) -> States:
    """The states after all rows of windows [G, T, C] except the last. The next row has the number first_note + T - 1.

    This is a program of its own, so that the first call and later ones share the compiled loop over notes.
    """
    group, window, _ = windows.shape
    if decode == "window":
        return ()
    weights, rows = net.prepare(params), net.inputs(params, windows[:, :-1]).swapaxes(0, 1)

    def after(states: States, first: int, end: int) -> States:
        advance = functools.partial(see, decode, net, weights)
        numbers = jnp.arange(first, end)
        return lax.scan(lambda states, now: (advance(*now, states)[0], None), states, (rows[first:end], numbers))[0]

    if decode == "carry":
        return after(net.start(weights, group), 0, window - 1)
    states, first = net.start(weights, 0), 0
    for end, slots in _parts(group, window):
        joining = net.start(weights, slots * group - len(states[0].c))
        states = after(jax.tree.map(lambda *both: jnp.concatenate(both), states, joining), first, end)
        first = end
    return jax.tree.map(lambda slots: jnp.roll(slots, first_note % window * group, axis=0), states)


def _parts(group: int, window: int) -> list[tuple[int, int]]:
    """(end, slots): up to which row a part of a primer's T - 1 rows goes, and how many slots it advances.

    A slot costs as much before its first row as after it, so the slots join in parts. Each part has at least T states,
    as many as a single output has: XLA may add up smaller products in another order.
    """
    parts = min(MOST_PARTS, group)
    ends = [-(-(window - 1) * part // parts) for part in range(1, parts + 1)]
    return [(end, max(end, -(-window // group))) for end in ends[:-1]] + [(window - 1, window)]


def see(
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
