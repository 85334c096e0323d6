"""What note events remember while they are drawn: what still sounds, what came before, and the longest match.

Shape legend: G outputs of a group; C columns of `note_bins`; M pitches remembered.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from musicjax.encodings import event_form
from musicjax.encodings.sampling_params import LONGEST_RUN
from musicjax.model import running_match
from musicjax.music import note_bins
from musicjax.music.note_bins import DURATION, EDGE, HELD, HELD_STEPS, INSTRUMENT, INTERVAL, MATCH_LENGTH, PITCH

# How many pitches of an output are remembered, so that no run repeats.
REMEMBERED = 1024
# How many sounding notes are remembered; of more than these, the one that ends first is forgotten.
SOUNDING = 128


class Clock(NamedTuple):
    """What bins stand for. steps: int32, steps of the grid of each bin of intervals; sounds: int32, of each bin of
    durations; steps_per_bar: int32, of each meter; match_lengths: int32, where the bins of a match's length begin, None
    if the model sees no match; form: of models that have it."""

    steps: jax.Array
    sounds: jax.Array
    steps_per_bar: jax.Array
    match_lengths: jax.Array | None = None
    form: event_form.Tables | None = None


class Memory(NamedTuple):
    """What the rows drawn so far leave behind.

    left: int32 [G, SOUNDING], for how many more steps notes sound, and classes, their pitch classes, 12 of drums;
    pitches: int32 [G, M], the last ones, -1 before the first; form: of models that have it.
    """

    left: jax.Array
    classes: jax.Array
    pitches: jax.Array
    form: event_form.Past | None = None


def nothing_yet(outputs: int, form: event_form.Past | None = None) -> Memory:
    """Before the first row."""
    left, pitches = jnp.zeros((outputs, SOUNDING), jnp.int32), jnp.full((outputs, REMEMBERED), -1, jnp.int32)
    return Memory(left, left, pitches, form)


def with_harmony(rows: jax.Array, memory: Memory, passed: jax.Array) -> jax.Array:
    """Rows [G, C] that say which pitch classes still sound, and how long, `passed` steps after the last, int32 [G]."""
    left = jnp.maximum(memory.left - passed[:, None], 0)
    sounds = (left[:, :, None] > 0) & (memory.classes[:, :, None] == jnp.arange(12))
    held = jnp.searchsorted(jnp.asarray(HELD_STEPS), left.max(axis=1), side="right")
    return event_form.put(event_form.put(rows, note_bins.SOUNDING[0], sounds.any(axis=1)), HELD, held)


def after(
    memory: Memory, rows: jax.Array, clock: Clock, passed: jax.Array, is_drums: jax.Array | None = None
) -> Memory:
    """The memory once rows [G, C] have been drawn, `passed` steps after those before them, int32 [G].

    Args:
        is_drums: bool [G], which of them are drums.
    """
    pitch = rows[:, PITCH].astype(jnp.int32)
    left = jnp.maximum(memory.left - passed[:, None], 0)
    sounds = clock.sounds[rows[:, DURATION].astype(jnp.int32)]
    place = jnp.arange(len(pitch)), jnp.argmin(left, axis=-1)
    classes = memory.classes.at[place].set(pitch % 12 if is_drums is None else jnp.where(is_drums, 12, pitch % 12))
    return Memory(left.at[place].set(sounds), classes, jnp.concatenate([memory.pitches[:, 1:], pitch[:, None]], axis=1))


def has_room(memory: Memory, polyphony: jax.Array, clock: Clock) -> jax.Array:
    """bool [G, intervals]: those after which there is room for a note; if none is long enough, the longest."""
    sounding = jnp.sum(memory.left[:, None, :] > clock.steps[None, :, None], axis=-1)
    limit = jnp.where(polyphony > 0, polyphony, SOUNDING + 1)
    room = sounding < limit[:, None]
    return room | (~room.any(axis=-1, keepdims=True) & (clock.steps == clock.steps.max()))


def not_again(memory: Memory, no_repeat: jax.Array, pitches: int) -> jax.Array:
    """bool [G, pitches]: those that do not complete a run of pitches that came before."""

    def allowed(memory: Memory, runs: jax.Array) -> jax.Array:
        past = memory.pitches

        def longer(back: jax.Array, same: jax.Array) -> jax.Array:
            """Whether the `back` pitches that end at each note equal the last `back` of all."""
            now = jnp.roll(past, back - 1, axis=1) == jnp.take(past, past.shape[1] - back, axis=1)[:, None]
            now &= jnp.arange(past.shape[1]) >= back - 1
            return same & (now | (back >= runs)[:, None])

        same = lax.fori_loop(1, LONGEST_RUN, longer, (past >= 0))
        # The pitch after each note is what followed the run that ends there.
        followed = jnp.where(same[:, :-1] & (runs > 0)[:, None], past[:, 1:], pitches)
        return (
            ~jnp.zeros((past.shape[0], pitches + 1), bool)
            .at[jnp.arange(len(past))[:, None], followed]
            .set(True)[:, :-1]
        )

    nothing = jnp.ones((memory.pitches.shape[0], pitches), bool)
    return lax.cond(jnp.any(no_repeat > 0), lambda: allowed(memory, no_repeat), lambda: nothing)


def heard(windows: jax.Array, memory: Memory, clock: Clock, tables: event_form.Tables) -> Memory:
    """The memory with what still sounds after windows [G, T, C]."""

    def hear(memory: Memory, rows: jax.Array) -> tuple[Memory, None]:
        is_edge = rows[:, INTERVAL] == EDGE
        passed = jnp.where(is_edge, 0, clock.steps[rows[:, INTERVAL].astype(jnp.int32)])
        heard = after(memory, rows, clock, passed, tables.is_drums[rows[:, INSTRUMENT].astype(jnp.int32)])
        left = jnp.where(is_edge[:, None], memory.left, heard.left)
        return memory._replace(left=left, classes=heard.classes), None

    return lax.scan(hear, memory, windows.swapaxes(0, 1))[0]


def with_match(
    rows: jax.Array,
    past: running_match.Past,
    lengths: jax.Array,
    predicted: tuple[int, ...],
    longest: jax.Array | None = None,
) -> tuple[jax.Array, running_match.Past]:
    """(rows float32 [G, C] with the columns of their longest match, the past after them).

    Args:
        lengths: int32, where the bins of a match's length begin; bin 0: no match.
        predicted: the predicted columns, in their order.
        longest: int32 [G], the longest match that is shown, so that no output repeats itself for ever; None: any.
    """
    now = rows[:, np.array(predicted)].astype(jnp.int32)
    match, past = running_match.advance(now, past, len(predicted) - 2)  # alike: all but duration and velocity
    shown = match.length > 0 if longest is None else (match.length > 0) & (match.length <= longest)
    length = jnp.searchsorted(lengths, match.length, side="right").astype(jnp.int32)
    followed, length = jnp.where(shown[:, None], match.followed, 0), jnp.where(shown, length, 0)
    repeats = [note_bins.MATCHED[note_bins.PREDICTED.index(column)] for column in predicted]
    rows = rows.at[:, np.array(repeats)].set(followed.astype(jnp.float32))
    return event_form.put(rows, MATCH_LENGTH, length), past
