"""Primer -> one compiled loop -> rows, for many outputs at once.

Shape legend: K outputs, T notes a window, L notes to sample, C columns.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from musicjax.model import heads, network
from musicjax.model.network import MusicLSTM

# Outputs are computed in groups of this size, the last one filled up, so that an output's arithmetic, and
# with it every bit of its notes, is the same however many are asked for.
GROUP = 8
# Folded into an output's key before its uses, so that they share no number with training, whose keys are
# folded from the seed in the same way but by epoch and step.
NOISE, PRIMER = 2**32 - 1, 2**32 - 2


class Limits(NamedTuple):
    """What is fed back is clamped to low..high, float32 [C] each; deviation [C] scales the noise."""

    low: jax.Array
    high: jax.Array
    deviation: jax.Array


class Sampled(NamedTuple):
    """rows: float32 [K, L, C]; clamped: int32 [K], values that had to be; windows: [K, T, C], to go on from."""

    rows: jax.Array
    clamped: jax.Array
    windows: jax.Array


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
    primers: jax.Array,
    keys: jax.Array,
    limits: Limits,
    temperature: float,
    num_notes: int,
    first_note: int = 0,
) -> Sampled:
    """Continues K primers by L = num_notes rows each.

    Every note is predicted from exactly the T rows before it, as in training (the window is computed
    anew), noise is added, the row is clamped and fed back. Note n draws from fold_in(fold_in(key k, NOISE), n).

    Args:
        primers: float32 [K, T, C].
        keys: K keys, see `output_keys`.
        temperature: 0: the network's prediction itself, the paper's way.
        first_note: number of the first note, where an earlier call is continued from its windows.
    """
    outputs = primers.shape[0]
    # The last group is filled up with copies of the last output, which are dropped again.
    place = jnp.minimum(jnp.arange(-(-outputs // GROUP) * GROUP), outputs - 1).reshape(-1, GROUP)
    sampled = _sample_groups(
        net, num_notes, params, primers[place], keys[place], limits, jnp.float32(temperature), jnp.int32(first_note)
    )
    return Sampled(*(array.reshape(-1, *array.shape[2:])[:outputs] for array in sampled))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _sample_groups(net, num_notes, params, primers, keys, limits, temperature, first_note) -> Sampled:
    def group(primers_and_keys):
        primers, keys = primers_and_keys
        noise_keys = jax.vmap(lambda key: jax.random.fold_in(key, NOISE))(keys)
        window, columns = primers.shape[1:]
        # Rows are written here and read from here: what is returned is to the bit what was fed back.
        history = jnp.concatenate([primers, jnp.zeros((GROUP, num_notes, columns))], axis=1)

        def note(carry, number):
            history, clamped = carry
            means = network.apply(net, params, lax.dynamic_slice_in_dim(history, number, window, axis=1))
            note_keys = jax.vmap(jax.random.fold_in, (0, None))(noise_keys, first_note + number)
            rows = jax.vmap(heads.regression_sample, (0, 0, None, None))(
                note_keys, means, limits.deviation, temperature
            )
            within = jnp.clip(rows, limits.low, limits.high)
            clamped = clamped + jnp.sum(within != rows, axis=-1, dtype=jnp.int32)
            return (lax.dynamic_update_slice_in_dim(history, within[:, None], number + window, axis=1), clamped), None

        (history, clamped), _ = lax.scan(note, (history, jnp.zeros(GROUP, jnp.int32)), jnp.arange(num_notes))
        return Sampled(history[:, window:], clamped, history[:, num_notes:])

    return lax.map(group, (primers, keys))
