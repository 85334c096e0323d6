"""Gaps in a piece of note events: what is drawn in them, and how well the rows after them fit.

A row in the gap is drawn like any other, except that its bar, key and meter are those of the piece. The first row that
would be beyond the gap is replaced by the first row that follows the gap in the piece. A candidate's weight is the
logarithm of the likelihood of the rows that follow, given that the gap ends there: a candidate drawn in proportion to
that likelihood is one that the network would write if it knew what follows. The rows that follow have the match that
they have after the candidate. What still sounds as they begin is from the piece alone: new notes end with the gap.

Shape legend: K candidates; C columns of `note_bins`; M given rows; S steps of the beat grid in the gap.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from musicjax.encodings import event_draw, event_form, event_memory
from musicjax.encodings.event_draw import Controls
from musicjax.encodings.event_memory import Clock
from musicjax.model import heads, running_match
from musicjax.model.categorical import Categorical
from musicjax.model.network import Network
from musicjax.music.note_bins import BAR_POSITION, BARS_LEFT, EDGE, INTERVAL, METER, MODE, PHRASE

# The columns of a row that follow from its step.
PLACED = (BAR_POSITION, METER, MODE, BARS_LEFT, PHRASE)
# The weight of a candidate that never reaches the end of the gap.
HOPELESS = -1e9


class Memory(NamedTuple):
    """As `model.particles.Memory`. drawn: what the masks need; past: what the longest match needs, None if the model
    sees none; step: int32 [K], where the last row lies; given: int32 [K], how many given rows came since the beginning
    of the piece."""

    drawn: event_memory.Memory
    past: running_match.Past | None
    step: jax.Array
    given: jax.Array
    new: jax.Array
    weight: jax.Array


class Guide(NamedTuple):
    """See `model.particles.Guide`.

    given: float32 [M, C], rows of the piece; steps: int32 [M], where they lie; first: int32, the number of the first of
    them; size: int32, how many they are. room: int32, how many rows may be drawn before them. begin, end: int32, steps
    of the gap. places: int32 [S, 5], the columns of PLACED at each of its steps; left: int32 [S], how many bars follow;
    left_before: int32, how many follow the row before it. controls: of K candidates.
    """

    given: jax.Array
    steps: jax.Array
    first: jax.Array
    size: jax.Array
    room: jax.Array
    begin: jax.Array
    end: jax.Array
    places: jax.Array
    left: jax.Array
    left_before: jax.Array
    controls: Controls
    clock: Clock

    def start(self, net: Network) -> tuple[jax.Array, Memory]:
        """As `model.particles.Guide`: the first given row is an edge."""
        wanted, tables, head = self.controls.form, self.clock.form, net.head
        assert wanted is not None and tables is not None and isinstance(head, Categorical)
        one = jax.tree.map(lambda leaf: leaf[:1], wanted)
        drawn = event_memory.nothing_yet(1, event_form.start(one, tables))
        past = None
        if self.clock.match_lengths is not None:
            past = running_match.start(1, len(head.predicted), jnp.int32)
        nothing = jnp.zeros(1, jnp.int32)
        return self.given[:1], Memory(drawn, past, self.steps[:1], nothing + 1, nothing, jnp.zeros(1))

    def is_done(self, memory: Memory) -> jax.Array:
        """As `model.particles.Guide`."""
        return memory.given >= self.first + self.size

    def __call__(
        self, net: Network, own: heads.Params, outputs: jax.Array, noise: jax.Array, last: jax.Array, memory: Memory
    ) -> tuple[jax.Array, Memory]:
        """As `model.particles.Guide`."""
        head, steps = net.head, self.clock.steps
        assert isinstance(head, Categorical)
        drawn = self._told(memory)

        def placed(rows: jax.Array) -> jax.Array:
            at = self._inside(memory.step + steps[rows[:, INTERVAL].astype(jnp.int32)])
            return rows.at[:, jnp.array(PLACED)].set(self.places[at].astype(jnp.float32))

        controls = self._from_begin(memory.step)
        rows, _ = event_draw.draw(head, own, outputs, noise, last, controls, self.clock, drawn, placed)
        interval = rows[:, INTERVAL].astype(jnp.int32)
        beyond = self._beyond(memory.step)
        is_open, is_full = memory.given == self.first, memory.new >= self.room
        closes = ~is_open | jnp.take_along_axis(beyond, interval[:, None], axis=1)[:, 0] | is_full
        given = self._given(memory)
        rows = jnp.where(closes[:, None], given, rows)
        # After a silence longer than the longest interval, the first row is where the gap begins.
        passed = jnp.maximum(steps[interval], self.begin - memory.step)
        passed = jnp.where(closes, self.steps[self._place(memory)] - memory.step, passed)
        weight = jnp.sum(head.log_probs(own, outputs, rows), axis=-1)
        logits = jax.nn.log_softmax(head.logits(own, outputs, rows, INTERVAL))
        ends = jax.nn.logsumexp(jnp.where(beyond, logits, -jnp.inf), axis=-1)
        weight += jnp.where(is_open, jnp.where(is_full, HOPELESS, 0.0) - ends, 0.0)
        memory = memory._replace(drawn=drawn, weight=memory.weight + jnp.where(closes, weight, 0.0))
        return self._after(head, rows, passed, closes, memory)

    def follow(self, net: Network, memory: Memory) -> tuple[jax.Array, Memory]:
        """As `model.particles.Guide`."""
        assert isinstance(net.head, Categorical)
        passed = self.steps[self._place(memory)] - memory.step
        return self._after(net.head, self._given(memory), passed, jnp.ones_like(memory.given, bool), memory)

    def _after(
        self, head: Categorical, rows: jax.Array, passed: jax.Array, is_given: jax.Array, memory: Memory
    ) -> tuple[jax.Array, Memory]:
        """(rows [K, C], `passed` steps after the last, with their longest match; the memory after them)."""
        wanted, tables, drawn, past = self.controls.form, self.clock.form, memory.drawn, memory.past
        assert wanted is not None and tables is not None and drawn.form is not None
        form = event_form.Form(wanted, tables, drawn.form)
        drawn = event_memory.after(drawn, rows, self.clock, passed, form.is_drums(rows))
        drawn = drawn._replace(form=form.after(rows))
        if past is not None and self.clock.match_lengths is not None:
            lengths, longest = self.clock.match_lengths, self.controls.longest_match
            rows, past = event_memory.with_match(rows, past, lengths, head.predicted, longest)
        given, new = (memory.given + is_given).astype(jnp.int32), (memory.new + ~is_given).astype(jnp.int32)
        return rows, Memory(drawn, past, memory.step + passed, given, new, memory.weight)

    def _inside(self, step: jax.Array) -> jax.Array:
        """The place of steps in the tables of the gap; steps outside get the nearest."""
        return jnp.clip(step - self.begin, 0, self.left.shape[0] - 1)

    def _told(self, memory: Memory) -> event_memory.Memory:
        """What the masks need, with the number of bars that really are left."""
        form = memory.drawn.form
        assert form is not None
        left = jnp.where(memory.step < self.begin, self.left_before, self.left[self._inside(memory.step)])
        return memory.drawn._replace(form=form._replace(bars_left=left))

    def _from_begin(self, step: jax.Array) -> Controls:
        """The controls without intervals that lead to a place before the gap, where all of the piece is kept."""
        steps = self.clock.steps
        reaches = step[:, None] + steps >= self.begin
        reaches = jnp.where(reaches.any(axis=1, keepdims=True), reaches, steps == steps.max())
        reaches |= jnp.arange(len(steps)) == EDGE
        allowed = self.controls.allowed
        return self.controls._replace(allowed=allowed.at[:, : len(steps)].set(allowed[:, : len(steps)] & reaches))

    def _beyond(self, step: jax.Array) -> jax.Array:
        """Which intervals lead out of the gap, or end the piece: bool [K, intervals]."""
        steps = self.clock.steps
        return (step[:, None] + steps >= self.end) | (jnp.arange(len(steps)) == EDGE)

    def _place(self, memory: Memory) -> jax.Array:
        """Which of the given rows comes next, int32 [K]."""
        return jnp.clip(memory.given - self.first, 0, self.size - 1)

    def _given(self, memory: Memory) -> jax.Array:
        """The next given row of each candidate; the first after the gap counts from the candidate's last row."""
        place = self._place(memory)
        rows, passed = self.given[place], self.steps[place] - memory.step
        nearest = jnp.argmin(jnp.abs(self.clock.steps - passed[:, None]), axis=1).astype(jnp.float32)
        moved = (memory.given == self.first) & (self.room > 0) & (rows[:, INTERVAL] != EDGE)
        return event_form.put(rows, INTERVAL, jnp.where(moved, nearest, rows[:, INTERVAL]))
