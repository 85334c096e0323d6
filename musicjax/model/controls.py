"""What steers the sampling of rows of bins: temperatures, filters and masks, for each output its own, inside the scan.

Shape legend: K outputs, or G of a group; C columns (interval, place, pitch, duration, velocity), A = 4 of them
predicted; V all bins of all columns; M pitches remembered.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from musicjax.model.categorical import Categorical, Params

INTERVAL, PLACE, PITCH, DURATION, VELOCITY = range(5)
# Pitches of an output that are remembered, in which no run shall come twice; and the longest such run.
REMEMBERED, LONGEST_RUN = 1024, 32
# Notes that sound which are remembered; of more than these the one that ends first is forgotten.
SOUNDING = 128


class Controls(NamedTuple):
    """For each of K outputs.

    temperature: float32 [K, A], divides the logits of each predicted column; 0: the likeliest bin.
    top_k: int32 [K], only so many likeliest bins; 0: all. top_p: float32 [K], only the likeliest that together have
    this probability; 1: all. min_p: float32 [K], only those with this share of the likeliest one's probability; 0: all.
    allowed: bool [K, V], bins that may be drawn at all; some of each column.
    polyphony: int32 [K], most notes that sound at once; 0: any number. no_repeat: int32 [K], no run of so many pitches
    comes twice among the last M, of 2 to LONGEST_RUN; 0: runs may. echo: int32 [K], of longer runs the model is not
    told what followed them before; None: of all it is.

    A filter is of the distribution that temperature and masks leave. Where masks leave nothing, `allowed` stands alone:
    the other two are wishes.
    """

    temperature: jax.Array
    top_k: jax.Array
    top_p: jax.Array
    min_p: jax.Array
    allowed: jax.Array
    polyphony: jax.Array
    no_repeat: jax.Array
    echo: jax.Array | None = None


class Clock(NamedTuple):
    """steps: int32 [bins of intervals]; sounds: int32 [bins of durations], steps; places: int32, steps of a bar;
    lengths: int32, where the bins of an echo's length begin, None where the model knows no echo."""

    steps: jax.Array
    sounds: jax.Array
    places: jax.Array
    lengths: jax.Array | None = None


class Memory(NamedTuple):
    """What masks need of the rows drawn so far: left: int32 [G, SOUNDING], steps that notes still sound; pitches: int32
    [G, M], the last ones, -1 before the first."""

    left: jax.Array
    pitches: jax.Array


def start(outputs: int) -> Memory:
    """Before the first row."""
    return Memory(jnp.zeros((outputs, SOUNDING), jnp.int32), jnp.full((outputs, REMEMBERED), -1, jnp.int32))


def draw(
    head: Categorical,
    params: Params,
    outputs: jax.Array,
    noise: jax.Array,
    last: jax.Array,
    controls: Controls,
    clock: Clock,
    memory: Memory,
) -> tuple[jax.Array, Memory]:
    """Next rows float32 [G, C], after rows last [G, C]: outputs [G, O], noise [G, V] from the head."""
    begins = [sum(head.sizes[:column]) for column in range(len(head.sizes) + 1)]

    def column_of(column: int, rows: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        own = slice(begins[column], begins[column + 1])
        allowed = controls.allowed[:, own]
        if mask is not None:  # where the masks leave nothing together, what is allowed at all
            both = allowed & mask
            allowed = jnp.where(both.any(axis=-1, keepdims=True), both, allowed)
        temperature = controls.temperature[:, head.predicted.index(column)]
        logits = head.logits(params, outputs, rows, column)
        drawn = _drawn(logits, noise[:, own], allowed, temperature, controls)
        return rows.at[:, column].set(drawn.astype(jnp.float32))

    rows = column_of(INTERVAL, jnp.zeros_like(last), _has_room(memory, controls, clock))
    passed = clock.steps[rows[:, INTERVAL].astype(jnp.int32)]
    rows = rows.at[:, PLACE].set(((last[:, PLACE].astype(jnp.int32) + passed) % clock.places).astype(jnp.float32))
    rows = column_of(PITCH, rows, _not_again(memory, controls, head.sizes[PITCH]))
    for column in (DURATION, VELOCITY):
        rows = column_of(column, rows)
    pitch = rows[:, PITCH].astype(jnp.int32)
    left = jnp.maximum(memory.left - passed[:, None], 0)
    sounds = clock.sounds[rows[:, DURATION].astype(jnp.int32)]
    left = left.at[jnp.arange(len(pitch)), jnp.argmin(left, axis=-1)].set(sounds)
    return rows, Memory(left, jnp.concatenate([memory.pitches[:, 1:], pitch[:, None]], axis=1))


def _has_room(memory: Memory, controls: Controls, clock: Clock) -> jax.Array:
    """bool [G, intervals]: after which fewer notes sound than may. Where none is long enough, the longest."""
    sounding = jnp.sum(memory.left[:, None, :] > clock.steps[None, :, None], axis=-1)
    limit = jnp.where(controls.polyphony > 0, controls.polyphony, SOUNDING + 1)
    room = sounding < limit[:, None]
    return room | (~room.any(axis=-1, keepdims=True) & (clock.steps == clock.steps.max()))


def _not_again(memory: Memory, controls: Controls, pitches: int) -> jax.Array:
    """bool [G, pitches]: those that do not end a run of pitches which has been before."""

    def allowed(memory: Memory, runs: jax.Array) -> jax.Array:
        past = memory.pitches

        def longer(back: jax.Array, same: jax.Array) -> jax.Array:
            """Whether, up to each place, the last `back` pitches are the last ones of all."""
            now = jnp.roll(past, back - 1, axis=1) == jnp.take(past, past.shape[1] - back, axis=1)[:, None]
            now &= jnp.arange(past.shape[1]) >= back - 1
            return same & (now | (back >= runs)[:, None])

        same = lax.fori_loop(1, LONGEST_RUN, longer, (past >= 0))
        # A run that ended at some place was followed by the pitch at the next.
        followed = jnp.where(same[:, :-1] & (runs > 0)[:, None], past[:, 1:], pitches)
        return (
            ~jnp.zeros((past.shape[0], pitches + 1), bool)
            .at[jnp.arange(len(past))[:, None], followed]
            .set(True)[:, :-1]
        )

    nothing = jnp.ones((memory.pitches.shape[0], pitches), bool)
    return lax.cond(jnp.any(controls.no_repeat > 0), lambda: allowed(memory, controls.no_repeat), lambda: nothing)


def _drawn(
    logits: jax.Array, noise: jax.Array, allowed: jax.Array, temperature: jax.Array, controls: Controls
) -> jax.Array:
    """int32 [G]: a bin each, from logits and Gumbel noise [G, bins]. Masks come first, so that filters leave one."""
    sharp = jnp.where(temperature > 0, temperature, 1.0)[:, None]
    logits = jnp.where(allowed, logits, -jnp.inf) / sharp
    filtered = (controls.top_k > 0) | (controls.top_p < 1) | (controls.min_p > 0)
    logits = lax.cond(jnp.any(filtered), lambda: _filtered(logits, controls), lambda: logits)
    return jnp.argmax(logits + jnp.where(temperature > 0, 1.0, 0.0)[:, None] * noise, axis=-1)


def _filtered(logits: jax.Array, controls: Controls) -> jax.Array:
    """-inf for what top-k (Fan et al. 2018), top-p (Holtzman et al. 2020) or min-p (Nguyen et al. 2024) leave out."""
    probabilities = jax.nn.softmax(logits, axis=-1)
    falling = -jnp.sort(-probabilities, axis=-1)
    before = jnp.cumsum(falling, axis=-1) - falling
    # The likeliest has nothing before it, so that one at least is kept. Without top-p the sum's rounding keeps all.
    kept = jnp.sum((before < controls.top_p[:, None]) | (controls.top_p >= 1)[:, None], axis=-1)
    kept = jnp.where(controls.top_k > 0, jnp.minimum(kept, controls.top_k), kept)
    least = jnp.take_along_axis(falling, jnp.maximum(kept - 1, 0)[:, None], axis=-1)
    least = jnp.maximum(least, controls.min_p[:, None] * falling[:, :1])
    return jnp.where(probabilities >= least, logits, -jnp.inf)
