"""Form while note events are drawn: how many bars are left, where a piece ends, and loops that must not go on.

Shape legend: K outputs, or G of a group; C columns of `note_bins`; D distances at which loops are looked for.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from musicjax.music import form as form_lib
from musicjax.music.note_bins import BARS_LEFT, EDGE, INSTRUMENT, INTERVAL, PHRASE, PITCH, Bins

# What makes two notes alike where loops are looked for.
ALIKE = (INTERVAL, INSTRUMENT, PITCH)


class Wanted(NamedTuple):
    """What each of K outputs is to be.

    stop_loops: bool [K], whether loops, notes in a row that repeat those some places before them, grow no longer than
    in the training pieces. bars, notes: int32 [K], the model is told that the output has `bars` bars, or as many as
    `notes` notes take; neither: it is told nothing. ends: bool [K], whether the output may end in the last of these
    bars, and must_end, whether it does even where the model would go on.
    """

    stop_loops: jax.Array
    bars: jax.Array
    notes: jax.Array
    ends: jax.Array
    must_end: jax.Array


class Tables(NamedTuple):
    """From the training pieces. is_drums: bool [16], of each instrument; loops: int32 [D], see `Bins.loops`;
    notes_per_bar: float32."""

    is_drums: jax.Array
    loops: jax.Array
    notes_per_bar: jax.Array


class Past(NamedTuple):
    """heard: int32 [G, D, 3], interval, instrument and pitch of the last notes, the latest first; runs: int32 [G, D],
    how many notes in a row equal the one that many places before; bars_left, drawn: int32 [G], bars after the present
    one, and notes drawn."""

    heard: jax.Array
    runs: jax.Array
    bars_left: jax.Array
    drawn: jax.Array


def tables_of(bins: Bins) -> Tables:
    """The tables of some bins."""
    tables = np.array(bins.is_drums), np.array(bins.loops, np.int32), np.float32(bins.notes_per_bar)
    return Tables(*map(jax.device_put, tables))


def start(wanted: Wanted, tables: Tables) -> Past:
    """Before the first row."""
    outputs, loops = len(wanted.bars), len(tables.loops)
    of_notes = jnp.maximum(jnp.rint(wanted.notes / tables.notes_per_bar).astype(jnp.int32) - 1, 0)
    left = jnp.where(wanted.bars > 0, wanted.bars - 1, of_notes)
    heard, runs = jnp.full((outputs, loops, len(ALIKE)), -1, jnp.int32), jnp.zeros((outputs, loops), jnp.int32)
    return Past(heard, runs, jnp.where(_is_planned(wanted), left, -1), jnp.zeros(outputs, jnp.int32))


def _is_planned(wanted: Wanted) -> jax.Array:
    return (wanted.bars > 0) | (wanted.notes > 0)


def put(rows: jax.Array, column: int, values: jax.Array) -> jax.Array:
    """Rows float32 [G, C] with values [G] in one column, or [G, N] in N columns from that one on.

    It compiles faster than `rows.at[:, column].set`, which is a scatter. The rows must have these columns, or it
    overwrites others.
    """
    return lax.dynamic_update_slice_in_dim(rows, values.reshape(len(rows), -1).astype(rows.dtype), column, axis=1)


class Form(NamedTuple):
    """The three together, of a group of outputs."""

    wanted: Wanted
    tables: Tables
    past: Past

    def within(self, bars: jax.Array) -> jax.Array:
        """bool [G, intervals]: those that lead no further than the last bar, and the edge in the last bar alone.

        Once it has a note, an output may run on past the last bar, unless it must end: it thus shows that it has not
        come to an end.

        Args:
            bars: int32 [G, intervals], how many bar lines each passes.
        """
        is_edge = jnp.arange(bars.shape[1]) == EDGE
        has_come = (self.past.bars_left == 0) & self.wanted.ends & (self.past.drawn > 0)
        inside = (bars <= self.past.bars_left[:, None]) | ~self.wanted.ends[:, None]
        goes_on = (has_come & ~self.wanted.must_end)[:, None]
        return jnp.where(is_edge, has_come[:, None], inside | goes_on)

    def ended(self, logits: jax.Array, bars: jax.Array) -> jax.Array:
        """Logits [G, intervals]. Where an output must end, its edge gets, on top of its own probability, that of all
        intervals beyond the last bar.

        The edge alone may be too unlikely for the filters; then the last notes would sound again and again.

        Args:
            bars: as in `within`.
        """
        must_end = self.wanted.must_end & self.wanted.ends & (self.past.drawn > 0)
        beyond = (bars > 0) & ((self.past.bars_left == 0) & must_end)[:, None]
        is_edge = jnp.arange(bars.shape[1]) == EDGE
        whole = jax.nn.logsumexp(jnp.where(beyond | is_edge, logits, -jnp.inf), axis=-1, keepdims=True)
        return jnp.where(is_edge & must_end[:, None], whole, logits)

    def after_bars(self, bars: jax.Array) -> Form:
        """The form after `bars`, int32 [G], bar lines. The first bar is that of the first note, even after a primer.

        If the length is in notes, the bars left are estimated: the notes left over the mean notes a bar in training.
        """
        wanted, past = self.wanted, self.past
        of_notes = jnp.rint((wanted.notes - past.drawn) / self.tables.notes_per_bar).astype(jnp.int32)
        of_notes = jnp.where(bars > 0, of_notes, past.bars_left)
        of_bars = past.bars_left - jnp.where(past.drawn > 0, bars, 0)
        left = jnp.maximum(jnp.where(wanted.bars > 0, of_bars, of_notes), 0)
        return self._replace(past=past._replace(bars_left=jnp.where(_is_planned(wanted), left, -1)))

    def told(self, rows: jax.Array, last: jax.Array, bars: jax.Array) -> jax.Array:
        """Rows [G, C] with the columns of the form, `bars` bars after rows `last`."""
        phrase = form_lib.phrase_of(last[:, PHRASE].astype(jnp.int32) + bars)
        left = form_lib.left_bin(self.past.bars_left, jnp)
        return put(put(rows, BARS_LEFT, left), PHRASE, phrase)

    def is_drums(self, rows: jax.Array) -> jax.Array:
        """Which of rows [G, C] are drums, bool [G]."""
        return self.tables.is_drums[rows[:, INSTRUMENT].astype(jnp.int32)]

    def no_loop(self, rows: jax.Array, pitches: int) -> jax.Array:
        """bool [G, pitches]: those that do not prolong a loop beyond the longest of the training pieces.

        A piece may always repeat once what it has just said: only a repeat longer than what it repeats is a loop.
        """
        past, places = self.past, jnp.arange(1, self.past.runs.shape[1] + 1)
        same = (past.heard[:, :, :2] == rows[:, None, np.array(ALIKE[:2])].astype(jnp.int32)).all(axis=-1)
        stops = same & (past.runs >= jnp.maximum(self.tables.loops, places)) & self.wanted.stop_loops[:, None]
        return self._all_but(stops, pitches)

    def not_struck(self, rows: jax.Array, passed: jax.Array, pitches: int) -> jax.Array:
        """bool [G, pitches]: those that the instrument of rows [G, C] has not already struck at this moment.

        Otherwise a model of files with doubled notes would strike them as often as it may repeat a note.

        Args:
            passed: int32 [G], steps since the last note.
        """
        interval, instrument, _ = jnp.split(self.past.heard, 3, axis=-1)
        # The latest note is at this moment if no time has passed; an earlier one, if none passed after it either.
        came_at_once = interval[:, :-1, 0] == rows[:, INTERVAL, None].astype(jnp.int32)
        at_once = jnp.cumprod(jnp.concatenate([jnp.ones_like(came_at_once[:, :1]), came_at_once], axis=1), axis=1) > 0
        is_own = instrument[:, :, 0] == rows[:, INSTRUMENT, None].astype(jnp.int32)
        return self._all_but(at_once & is_own & (passed == 0)[:, None], pitches)

    def _all_but(self, chosen: jax.Array, pitches: int) -> jax.Array:
        """bool [G, pitches]: all but the pitches of the chosen ones, bool [G, D], of the notes heard."""
        followed = jnp.where(chosen, self.past.heard[:, :, 2], pitches)
        outputs = jnp.arange(len(followed))[:, None]
        return ~jnp.zeros((len(followed), pitches + 1), bool).at[outputs, followed].set(True)[:, :-1]

    def not_of_edges(self, rows: jax.Array, pitches: int) -> jax.Array:
        """bool [G, pitches]: every pitch for an edge; for a note every pitch but 0, which is the pitch of edges.

        The model learns edges as rows, so now and then it expects that pitch for a note. No instrument plays it.
        """
        return (jnp.arange(pitches) > 0) | (rows[:, INTERVAL] == EDGE)[:, None]

    def after(self, rows: jax.Array) -> Past:
        """The past once rows [G, C] have been drawn."""
        past, now = self.past, rows[:, np.array(ALIKE)].astype(jnp.int32)
        runs = jnp.where((past.heard == now[:, None]).all(axis=-1), past.runs + 1, 0)
        heard = jnp.concatenate([now[:, None], past.heard[:, :-1]], axis=1)
        return past._replace(heard=heard, runs=runs, drawn=past.drawn + 1)
