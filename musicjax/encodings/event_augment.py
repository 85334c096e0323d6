"""How training windows of note events change: other keys, tempos and velocities, with or without their match.

Shape legend: B windows, T rows a window, C columns, F tempos.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from musicjax.config import EventsData
from musicjax.music import bar_position, note_bins
from musicjax.music.note_bins import (
    BAR_POSITION,
    DURATION,
    EDGE,
    INSTRUMENT,
    INTERVAL,
    MATCH_DURATION,
    MATCH_INSTRUMENT,
    MATCH_INTERVAL,
    MATCH_LENGTH,
    MATCH_PITCH,
    MATCH_VELOCITY,
    METER,
    PITCH,
    SOUNDING,
    TONIC,
    VELOCITY,
    Bins,
)
from musicjax.training import sequences

# How many slower and how many faster tempos than its own a training window may get.
TEMPOS = 3


class EventAugment(NamedTuple):
    """How rows of bins change in training, looked up in tables; see `sequences.Augment`.

    interval, duration: int32 [F, bins], the bin that each becomes at each of F tempos; steps: int32 [bins], of each
    interval; steps_per_bar: int32 [meters]; velocities: int32, how many bins of velocity; velocity_shift: int32, most
    bins by which a window is played louder or softer; match_share: float32, share of windows that keep their match;
    is_drums: bool [16], the instruments that no key moves.
    """

    interval: jax.Array
    duration: jax.Array
    steps: jax.Array
    steps_per_bar: jax.Array
    velocities: jax.Array
    velocity_shift: jax.Array
    match_share: jax.Array
    is_drums: jax.Array

    @property
    def random_numbers(self) -> int:
        """One each for semitones, tempo, velocity and match."""
        return 4

    def __call__(self, rows: jax.Array, down: jax.Array, up: jax.Array, random: jax.Array) -> jax.Array:
        """As `Augment`."""
        rows, semitones = rows.astype(jnp.int32), sequences.semitones(down, up, random[:, 0])
        tempo, loud, match = (random[:, [kind]] for kind in range(1, 4))
        which = jnp.floor(tempo * self.interval.shape[0]).astype(jnp.int32)
        shift = jnp.floor(loud * (2 * self.velocity_shift + 1)).astype(jnp.int32) - self.velocity_shift

        has_form = rows.shape[-1] > INSTRUMENT

        def moved(pitch: jax.Array, instrument: int) -> jax.Array:
            stays = self.is_drums[rows[..., instrument]] if has_form else False
            return jnp.where(stays, pitch, pitch + semitones[:, None])

        def louder(velocity: jax.Array) -> jax.Array:
            return jnp.clip(velocity + shift, 0, self.velocities - 1)

        new = {
            INTERVAL: self.interval[which, rows[..., INTERVAL]],
            PITCH: moved(rows[..., PITCH], INSTRUMENT),
            DURATION: self.duration[which, rows[..., DURATION]],
            VELOCITY: louder(rows[..., VELOCITY]),
        }
        if has_form:  # an edge has no pitch to move; the columns that tell the key do move
            is_edge = rows[..., INTERVAL] == EDGE
            new = {column: jnp.where(is_edge, rows[..., column], values) for column, values in new.items()}
            new[TONIC] = (rows[..., TONIC] + semitones[:, None]) % 12
            before = (jnp.arange(12) - semitones[:, None]) % 12
            sounding = jnp.take_along_axis(rows[..., np.array(SOUNDING)], before[:, None, :], axis=-1)
            new |= {column: sounding[..., number] for number, column in enumerate(SOUNDING)}
        has_meter = rows.shape[-1] > METER
        meter = rows[..., METER] if has_meter else jnp.zeros_like(rows[..., INTERVAL])
        steps = self.steps[rows[..., INTERVAL]], self.steps[new[INTERVAL]]
        new[BAR_POSITION] = positions_after(rows[..., BAR_POSITION], *steps, self.steps_per_bar[meter])
        shown = (rows[..., MATCH_LENGTH] > 0) & (match < self.match_share)
        of_match = {
            MATCH_INTERVAL: self.interval[which, rows[..., MATCH_INTERVAL]],
            MATCH_PITCH: moved(rows[..., MATCH_PITCH], MATCH_INSTRUMENT),
            MATCH_DURATION: self.duration[which, rows[..., MATCH_DURATION]],
            MATCH_VELOCITY: louder(rows[..., MATCH_VELOCITY]),
            MATCH_LENGTH: rows[..., MATCH_LENGTH],
        } | ({MATCH_INSTRUMENT: rows[..., MATCH_INSTRUMENT]} if has_form else {})
        new |= {column: jnp.where(shown, values, 0) for column, values in of_match.items()}
        columns = [new.get(column, rows[..., column]) for column in range(rows.shape[-1])]
        return jnp.stack(columns, axis=-1).astype(jnp.float32)


def positions_after(position: jax.Array, before: jax.Array, after: jax.Array, steps_per_bar: jax.Array) -> jax.Array:
    """Bar positions int32 [B, T] of rows whose intervals have changed from steps `before` to steps `after`, [B, T].

    A row keeps its position if its bars differ in length from those before it, or if it was not where the row before
    it led, as after a long silence.

    Args:
        position: int32 [B, T], before the change.
        steps_per_bar: int32 [B, T], of the bar of each row.
    """
    led_to = bar_position.of(position[:, :-1] + before[:, 1:], steps_per_bar[:, 1:])
    stays = (position[:, 1:] != led_to) | (steps_per_bar[:, 1:] != steps_per_bar[:, :-1])
    stays = jnp.pad(stays, ((0, 0), (1, 0)), constant_values=True)
    since = lax.cummax(jnp.where(stays, jnp.arange(position.shape[1]), 0), axis=1)
    passed = jnp.cumsum(after, axis=1)
    passed -= jnp.take_along_axis(passed, since, axis=1)
    return bar_position.of(jnp.take_along_axis(position, since, axis=1) + passed, steps_per_bar)


def of(bins: Bins, own: EventsData) -> EventAugment:
    """How the training windows of a config change."""
    ways = 2 * TEMPOS + 1 if own.tempo_stretch_percent else 1
    share = own.tempo_stretch_percent / 100
    tempos = [note_bins.scaled(bins, factor) for factor in np.linspace(1 - share, 1 + share, ways)]
    interval, duration = (np.stack(tables).astype(np.int32) for tables in zip(*tempos, strict=True))
    numbers = (note_bins.steps_of(bins)[0], bins.steps_per_bar, len(bins.velocity), own.velocity_shift_bins)
    whole = (np.asarray(number, np.int32) for number in numbers)
    arrays: Any = (interval, duration, *whole, np.float32(own.match_share), bins.is_drums)
    return EventAugment(*arrays)
