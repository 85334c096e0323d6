"""Primer -> one compiled loop -> rows, for many outputs at once.

Shape legend: K outputs, G outputs a group, T notes a window, L notes to sample, C columns, H units.

Three ways to see the past, `DECODES`:
  window     every note is predicted from exactly the T rows before it, as in training; the window is computed anew.
  staggered  the same prediction from T states, each of which began at another of the last T rows: a new row advances
             all of them in one product, the one that has now seen T rows predicts, and begins anew.
  carry      one state that has seen everything since the primer's first row, for models trained on whole sequences.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from musicjax.model import controls as controls_lib
from musicjax.model import lstm, network, running_match
from musicjax.model.controls import Clock, Controls, Memory
from musicjax.model.network import MusicLSTM
from musicjax.model.running_match import Heard

Weights = tuple[lstm.Gates, ...]
States = tuple[lstm.State, ...]

DECODES = ("staggered", "window", "carry")
# Folded into an output's key before its uses, so that they share no number with training, whose keys are
# folded from the seed in the same way but by epoch and step.
NOISE, PRIMER = 2**32 - 1, 2**32 - 2


class Limits(NamedTuple):
    """What is fed back is clamped to low..high, float32 [C] each; deviation [C] scales the noise."""

    low: jax.Array
    high: jax.Array
    deviation: jax.Array


class Steering(NamedTuple):
    """How rows of bins are drawn: see `controls`."""

    controls: Controls
    clock: Clock


class Past(NamedTuple):
    """What to go on from: windows [K, T, C], the last rows; states of each group, of a shape by decode, or None; and
    what is remembered of rows that are steered or told their echo."""

    windows: jax.Array
    states: Any = None


class Sampled(NamedTuple):
    """rows: float32 [K, L, C]; clamped: int32 [K], values that had to be; past: to go on from."""

    rows: jax.Array
    clamped: jax.Array
    past: Past


def group_size(decode: str) -> int:
    """G. Outputs are computed in groups of a fixed size, one group after the other, the last one filled up, so that
    an output's arithmetic, and with it every bit of its notes, is the same however many are asked for.

    On CPU the T states of one output are as fast as those of many (benchmarks/results/*/sample.json).
    """
    if jax.default_backend() != "cpu":
        return 64
    return 1 if decode == "staggered" else 8


def output_keys(seed: int, count: int) -> jax.Array:
    """Key k is fold_in(key(seed), k): output k is the same whatever the count, [count]."""
    root = jax.random.key(seed, impl="threefry2x32")  # whatever JAX's default in this environment
    return jax.vmap(functools.partial(jax.random.fold_in, root))(jnp.arange(count))


def choose(keys: jax.Array, count: int) -> jax.Array:
    """int32 [K]: which of `count` primers each output takes."""
    return jax.vmap(lambda key: jax.random.randint(jax.random.fold_in(key, PRIMER), (), 0, count))(keys)


def sample(
    net: MusicLSTM,
    params: dict,
    past: Past,
    keys: jax.Array,
    limits: Limits,
    temperature: float,
    num_notes: int,
    first_note: int = 0,
    decode: str = "staggered",
    steering: Steering | None = None,
) -> Sampled:
    """Continues K pasts by L = num_notes rows each.

    A row is predicted, noise is added, the row is clamped and fed back. Note n draws from
    fold_in(fold_in(key k, NOISE), n).

    Args:
        past: Past(primers [K, T, C]); or that of an earlier call with as many outputs, to go on.
        keys: K keys, see `output_keys`.
        temperature: 0: the network's prediction itself, the paper's way.
        first_note: number of the first note, where an earlier call is continued.
        decode: one of DECODES.
        steering: of rows of bins, with Controls of K outputs; it takes the place of the temperature.
    """
    outputs, group = past.windows.shape[0], group_size(decode)
    # The last group is filled up with copies of the last output, which are dropped again.
    place = jnp.minimum(jnp.arange(-(-outputs // group) * group), outputs - 1).reshape(-1, group)
    if steering is not None:
        steering = steering._replace(controls=jax.tree.map(lambda one: one[place], steering.controls))
    rows, clamped, (windows, states) = _sample_groups(
        net,
        decode,
        num_notes,
        params,
        Past(past.windows[place], past.states),
        keys[place],
        steering,
        limits,
        jnp.float32(temperature),
        jnp.int32(first_note),
    )
    rows, clamped, windows = (array.reshape(-1, *array.shape[2:])[:outputs] for array in (rows, clamped, windows))
    return Sampled(rows, clamped, Past(windows, states))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _sample_groups(net, decode, num_notes, params, past, keys, steering, limits, temperature, first_note) -> Sampled:
    """As `sample`, for windows [groups, G, T, C], keys [groups, G] and controls [groups, G, ...]."""
    weights, own = network.prepare(net, params), network.head_params(params)

    def one_group(past_and_keys):
        past, keys, controls = past_and_keys
        group, window, columns = past.windows.shape
        clock = None if steering is None else steering.clock
        noise = _noise(net, keys, first_note, num_notes)
        # Rows are written here and read from here: what is returned is to the bit what was fed back.
        history = jnp.concatenate([past.windows, jnp.zeros((group, num_notes, columns))], axis=1)
        if past.states is None:
            states = _warm(decode, net, params, weights, past.windows, first_note)
            memory, heard = _remembered(net, past.windows, clock)
        else:
            states, memory, heard = past.states

        def note(carry, now):
            (history, clamped, states, memory, heard), (number, noise_now) = carry, now
            if decode == "window":
                outputs = network.apply(net, params, lax.dynamic_slice_in_dim(history, number, window, axis=1))
                outputs = outputs[:, -1] if net.every else outputs
            else:
                row = lax.dynamic_index_in_dim(history, number + window - 1, axis=1, keepdims=False)
                seen = network.inputs(net, params, row)
                states, last = _see(decode, weights, seen, first_note + number + window - 1, states)
                outputs = network.read(params, last)
            if clock is None:
                rows = net.head.sample(own, outputs, noise_now, limits.deviation, temperature)
                if net.echo:
                    rows, heard = running_match.hear_frames(rows, heard, net.echo)
            else:
                before = lax.dynamic_index_in_dim(history, number + window - 1, axis=1, keepdims=False)
                rows, memory = controls_lib.draw(net.head, own, outputs, noise_now, before, controls, clock, memory)
                if clock.lengths is not None:
                    rows, heard = running_match.hear_bins(rows, heard, clock.lengths, controls.echo)
            within = jnp.clip(rows, limits.low, limits.high)
            clamped = clamped + jnp.sum(within != rows, axis=-1, dtype=jnp.int32)
            history = lax.dynamic_update_slice_in_dim(history, within[:, None], number + window, axis=1)
            return (history, clamped, states, memory, heard), None

        carry = (history, jnp.zeros(group, jnp.int32), states, memory, heard)
        (history, clamped, states, memory, heard), _ = lax.scan(note, carry, (jnp.arange(num_notes), noise))
        return Sampled(history[:, window:], clamped, Past(history[:, num_notes:], (states, memory, heard)))

    return lax.map(one_group, (past, keys, None if steering is None else steering.controls))


def _remembered(net: MusicLSTM, windows: jax.Array, clock: Clock | None) -> tuple[Memory | None, Heard | None]:
    """What is remembered after all rows of the windows [G, T, C]: nothing sounds; what they were, where it is told."""
    group, rows, hear = len(windows), windows.swapaxes(0, 1), None
    if net.echo:
        heard = running_match.of_frames(group, net.predicted)
        hear = functools.partial(running_match.hear_frames, lengths=net.echo)
        rows = rows[..., : net.predicted]
        # The silence that fills a window up before a piece begins is none of it: -1 is like no frame.
        rows = jnp.where(jnp.cumsum(rows.any(axis=-1), axis=0)[..., None] > 0, rows, -1)
    elif clock is not None and clock.lengths is not None:
        heard, hear = running_match.of_bins(group), functools.partial(running_match.hear_bins, lengths=clock.lengths)
    memory = None if clock is None else controls_lib.start(group)
    if hear is None:
        return memory, None
    return memory, lax.scan(lambda heard, rows: (hear(rows, heard)[1], None), heard, rows)[0]


def _noise(net: MusicLSTM, keys: jax.Array, first_note: jax.Array, num_notes: int) -> jax.Array:
    """float32 [L, G, predicted columns], all at once: drawn note by note, small operations take longer."""
    numbers = first_note + jnp.arange(num_notes)

    def draw(number: jax.Array, key: jax.Array) -> jax.Array:
        note_key = jax.random.fold_in(jax.random.fold_in(key, NOISE), number)
        return net.head.noise(note_key, net.predicted)

    return jax.vmap(lambda number: jax.vmap(functools.partial(draw, number))(keys))(numbers)


def _warm(
    decode: str, net: MusicLSTM, params: dict, weights: Weights, windows: jax.Array, first_note: jax.Array
) -> States:
    """The states after all rows of the windows [G, T, C] but the last."""
    group, window, _ = windows.shape
    if decode == "window":
        return ()
    rows, numbers = network.inputs(net, params, windows[:, :-1]).swapaxes(0, 1), first_note + jnp.arange(window - 1)
    states = network.start(weights, group if decode == "carry" else window * group)
    return lax.scan(lambda states, now: (_see(decode, weights, *now, states)[0], None), states, (rows, numbers))[0]


def _see(decode: str, weights: Weights, row: jax.Array, number: jax.Array, states: States) -> tuple[States, jax.Array]:
    """The states after row [G, C], or what `network.inputs` makes of it, and the output to predict from, [G, H]. The
    row is the `number`-th since the primer's first.

    Staggered states are [T G, H], slot by slot; the slot of a row is its number modulo T. The one that has seen
    T rows is the next to begin anew.
    """
    if decode == "carry":
        states = network.advance(weights, row, states)
        return states, states[-1].h
    group = row.shape[0]
    window = states[0].c.shape[0] // group

    def renewed(array: jax.Array) -> jax.Array:
        nothing = jnp.zeros((group, array.shape[1]), array.dtype)
        return lax.dynamic_update_slice_in_dim(array, nothing, number % window * group, axis=0)

    rows = row if group == 1 else jnp.tile(row, (window, 1))
    states = network.advance(weights, rows, jax.tree.map(renewed, states))
    return states, lax.dynamic_slice_in_dim(states[-1].h, (number + 1) % window * group, group)
