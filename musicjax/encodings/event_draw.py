"""How note events are drawn inside the scan: each output has its own temperatures, filters and masks.

Shape legend: K outputs, or G of a group; C columns of `note_bins`, A of them predicted; V bins of all columns together;
M pitches remembered.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from musicjax.encodings import event_form, event_memory
from musicjax.encodings.event_memory import Clock, Memory
from musicjax.encodings.plan import UNPLANNED, Plan
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.model import heads, running_match
from musicjax.model.categorical import Categorical
from musicjax.model.network import Network
from musicjax.music import bar_position, longest_match, note_bins, note_rows
from musicjax.music.note_bins import (
    BAR_POSITION,
    EDGE,
    INSTRUMENT,
    INTERVAL,
    MATCH_LENGTH,
    MATCH_PITCH,
    METER,
    MODE,
    PITCH,
    TONIC,
    Bins,
)

PITCHES = note_bins.SIZES[PITCH]


class Controls(NamedTuple):
    """For each of K outputs.

    temperature: float32 [K, A], divides the logits of each predicted column; 0: the likeliest bin.
    top_k: int32 [K], only the k likeliest bins; 0: all. top_p: float32 [K], only the likeliest that together have
    this probability; 1: all. min_p: float32 [K], only those with at least this share of the likeliest one's
    probability; 0: all. allowed: bool [K, V], bins that may be drawn at all; at least one of each column.
    polyphony: int32 [K], most notes that sound at once; 0: any number. no_repeat: int32 [K], length of the runs of
    pitches, 2 to LONGEST_RUN, that never repeat among the last M; 0: runs may repeat. longest_match: int32 [K], the
    model does not see what followed a longer match; None: it always sees it. form: of models that have it.

    Filters apply to the distribution that temperature and masks leave. If the masks together leave nothing, `allowed`
    alone counts: polyphony, no_repeat and stop_loops are wishes.
    """

    temperature: jax.Array
    top_k: jax.Array
    top_p: jax.Array
    min_p: jax.Array
    allowed: jax.Array
    polyphony: jax.Array
    no_repeat: jax.Array
    longest_match: jax.Array | None = None
    form: event_form.Wanted | None = None


def draw(
    head: Categorical,
    params: heads.Params,
    outputs: jax.Array,
    noise: jax.Array,
    last: jax.Array,
    controls: Controls,
    clock: Clock,
    memory: Memory,
    placed: Callable[[jax.Array], jax.Array] | None = None,
) -> tuple[jax.Array, Memory]:
    """(next rows float32 [G, C], the memory after them), following rows `last` [G, C]: outputs [G, O], noise [G, V].

    Args:
        placed: adds to rows with their interval the columns that follow from where they are, if that is known better
            than by counting on from `last`.
    """
    begins = [sum(head.sizes[:column]) for column in range(len(head.sizes) + 1)]

    def column_of(
        column: int,
        rows: jax.Array,
        mask: jax.Array | None = None,
        free: jax.Array | None = None,
        changed: Callable[[jax.Array], jax.Array] = lambda logits: logits,
    ) -> jax.Array:
        own = slice(begins[column], begins[column + 1])
        allowed = controls.allowed[:, own]
        if free is not None:  # outputs [G] that may draw any bin here
            allowed |= free[:, None]
        if mask is not None:  # if the masks together leave nothing, what is allowed at all
            both = allowed & mask
            allowed = jnp.where(both.any(axis=-1, keepdims=True), both, allowed)
        temperature = controls.temperature[:, head.predicted.index(column)]
        logits = changed(head.logits(params, outputs, rows, column))
        drawn = _drawn(logits, noise[:, own], allowed, temperature, controls)
        return event_form.put(rows, column, drawn)

    meter = last[:, METER : METER + 1]  # an output keeps its meter; models of 0.1.0 have no such column
    rows = event_form.put(jnp.zeros_like(last), METER, meter)
    bar = clock.steps_per_bar[meter[:, 0].astype(jnp.int32) if meter.shape[1] else 0]
    since = last[:, BAR_POSITION].astype(jnp.int32)
    form = None
    if controls.form is not None and clock.form is not None and memory.form is not None:
        form = event_form.Form(controls.form, clock.form, memory.form)
    room = event_memory.has_room(memory, controls.polyphony, clock)
    if form is None:
        rows = column_of(INTERVAL, rows, room)
    else:
        rows = event_form.put(rows, TONIC, last[:, TONIC : MODE + 1])
        bars = (since[:, None] + clock.steps) // bar[:, None]
        ended = functools.partial(form.ended, bars=bars)
        within = form.within(bars)
        room = within & (room | (jnp.arange(len(clock.steps)) == EDGE))  # a piece may end while notes sound
        rows = column_of(INTERVAL, rows, jnp.where(room.any(axis=-1, keepdims=True), room, within), changed=ended)
    passed = clock.steps[rows[:, INTERVAL].astype(jnp.int32)]
    position = bar_position.of(since + passed, bar)
    rows = event_form.put(rows, BAR_POSITION, position)
    can_sound, is_drums = event_memory.not_again(memory, controls.no_repeat, head.sizes[PITCH]), None
    if form is not None:
        form = form.after_bars((since + passed) // bar)
        rows = form.told(rows, last, (since + passed) // bar) if placed is None else placed(rows)
        rows = event_memory.with_harmony(rows, memory, passed)
        rows = column_of(INSTRUMENT, rows)
        can_sound &= form.no_loop(rows, head.sizes[PITCH]) & form.not_of_edges(rows, head.sizes[PITCH])
        can_sound &= form.not_struck(rows, passed, head.sizes[PITCH])
        is_drums = form.is_drums(rows)
    rows = column_of(PITCH, rows, can_sound, is_drums)
    for column in head.predicted[head.predicted.index(PITCH) + 1 :]:
        rows = column_of(column, rows)
    memory = event_memory.after(memory, rows, clock, passed, is_drums)
    return rows, memory._replace(form=None if form is None else form.after(rows))


def _drawn(
    logits: jax.Array, noise: jax.Array, allowed: jax.Array, temperature: jax.Array, controls: Controls
) -> jax.Array:
    """int32 [G]: a bin each, from logits and Gumbel noise [G, bins]. Masks come first, so that filters leave a bin."""
    sharp = jnp.where(temperature > 0, temperature, 1.0)[:, None]
    logits = jnp.where(allowed, logits, -jnp.inf) / sharp
    filtered = (controls.top_k > 0) | (controls.top_p < 1) | (controls.min_p > 0)
    logits = lax.cond(jnp.any(filtered), lambda: _filtered(logits, controls), lambda: logits)
    return jnp.argmax(logits + jnp.where(temperature > 0, 1.0, 0.0)[:, None] * noise, axis=-1)


def _filtered(logits: jax.Array, controls: Controls) -> jax.Array:
    """Logits, -inf where top-k (Fan et al. 2018), top-p (Holtzman et al. 2020) or min-p (Nguyen et al. 2024) cut."""
    probabilities = jax.nn.softmax(logits, axis=-1)
    least = controls.min_p[:, None] * jnp.max(probabilities, axis=-1, keepdims=True)
    # Sorting the bins takes longer than all matrix products of a note, and min-p needs none.
    of_the_top = jnp.any((controls.top_k > 0) | (controls.top_p < 1))
    least = lax.cond(of_the_top, lambda: jnp.maximum(least, _least_kept(probabilities, controls)), lambda: least)
    return jnp.where(probabilities >= least, logits, -jnp.inf)


def _least_kept(probabilities: jax.Array, controls: Controls) -> jax.Array:
    """The probability [G, 1] of the last bin that top-k and top-p keep, of probabilities [G, bins]."""
    falling = -jnp.sort(-probabilities, axis=-1)
    before = jnp.cumsum(falling, axis=-1) - falling
    # Nothing comes before the likeliest, so at least one is kept. Without top-p all are kept.
    kept = jnp.sum((before < controls.top_p[:, None]) | (controls.top_p >= 1)[:, None], axis=-1)
    kept = jnp.where(controls.top_k > 0, jnp.minimum(kept, controls.top_k), kept)
    return jnp.take_along_axis(falling, jnp.maximum(kept - 1, 0)[:, None], axis=-1)


class EventDraw(NamedTuple):
    """Draws note events under controls; see `model.sample.Draw`."""

    controls: Controls
    clock: Clock

    def start(self, net: Network, windows: jax.Array) -> tuple[Memory, running_match.Past | None]:
        """Remembers windows [G, T, C]: what still sounds, if the model has form, and all rows, if it sees the match."""
        wanted, tables = self.controls.form, self.clock.form
        form = None if wanted is None or tables is None else event_form.start(wanted, tables)
        memory = event_memory.nothing_yet(len(windows), form)
        if tables is not None:
            memory = event_memory.heard(windows, memory, self.clock, tables)
        lengths = self.clock.match_lengths
        if lengths is None:
            return memory, None
        past = running_match.start(len(windows), len(_predicted(net)), jnp.int32)
        rows, predicted = windows.swapaxes(0, 1), _predicted(net)

        def see(past: running_match.Past, rows: jax.Array) -> tuple[running_match.Past, None]:
            return event_memory.with_match(rows, past, lengths, predicted)[1], None

        return memory, lax.scan(see, past, rows)[0]

    def __call__(self, net, own, outputs, noise, last, memory):
        """As `model.sample.Draw`."""
        drawn, past = memory
        lengths = self.clock.match_lengths
        rows, drawn = draw(net.head, own, outputs, noise, last, self.controls, self.clock, drawn)
        if past is not None and lengths is not None:
            rows, past = event_memory.with_match(rows, past, lengths, _predicted(net), self.controls.longest_match)
        return rows, (drawn, past)


def _predicted(net: Network) -> tuple[int, ...]:
    head = net.head
    assert isinstance(head, Categorical)
    return head.predicted


def of_params(
    bins: Bins, params: Sequence[SamplingParams], match: bool = True, plans: Sequence[Plan] | None = None
) -> EventDraw:
    """How to draw K outputs, each by its own parameters and plan.

    NumPy makes the arrays, since JAX would compile a program for each shape.

    Args:
        match: whether the model sees the longest match.
    """
    plans = [UNPLANNED] * len(params) if plans is None else plans
    allowed = np.tile(note_bins.valid(bins), (len(params), 1))
    first_pitch = sum(bins.sizes[:PITCH])  # models of 0.1.0 have fewer bar positions before it
    allowed[:, first_pitch : first_pitch + PITCHES] &= allowed_pitches(params, plans)
    if bins.has_form:
        first = sum(bins.sizes[:INSTRUMENT])
        for row, plan in zip(allowed, plans, strict=True):
            row[first : first + len(bins.programs)] &= plan.instruments_of(len(bins.programs))

    def each(name: str, kind: type, owners: Sequence[Any] = params) -> jax.Array:
        return jax.device_put(np.array([getattr(one, name) for one in owners], kind))

    temperatures = [one.temperatures for one in params]
    if bins.has_form:  # the instrument has the temperature of its pitch
        temperatures = [(interval, pitch, pitch, *rest) for interval, pitch, *rest in temperatures]
    controls = Controls(
        jax.device_put(np.array(temperatures, np.float32)),
        each("top_k", np.int32),
        each("top_p", np.float32),
        each("min_p", np.float32),
        jax.device_put(allowed),
        each("polyphony", np.int32),
        each("no_repeat", np.int32),
        each("longest_match", np.int32),
    )
    tables = (*note_bins.steps_of(bins), bins.steps_per_bar, longest_match.LENGTHS)
    steps, sounds, per_bar, lengths = (jax.device_put(np.array(table, np.int32)) for table in tables)
    clock = Clock(steps, sounds, per_bar, lengths if match else None)
    if bins.has_form:
        numbers = (each(name, np.int32, plans) for name in ("bars", "notes"))
        endings = (each(name, bool, plans) for name in ("ends", "must_end"))
        controls = controls._replace(form=event_form.Wanted(each("stop_loops", bool), *numbers, *endings))
        clock = clock._replace(form=event_form.tables_of(bins))
    return EventDraw(controls, clock)


def allowed_pitches(params: Sequence[SamplingParams], plans: Sequence[Plan]) -> np.ndarray:
    """Which pitches each output may draw, as its rows write them, bool [K, pitches]."""
    allowed = np.zeros((len(params), PITCHES), bool)
    for row, one, plan in zip(allowed, params, plans, strict=True):
        pitches = np.array(one.pitches) - int(note_rows.offset_of(plan.tonic))
        row[pitches[(pitches >= 0) & (pitches < PITCHES)]] = True
    return allowed


def transposed(windows: np.ndarray, params: Sequence[SamplingParams]) -> np.ndarray:
    """Windows float32 [K, T, C], each moved by the fewest semitones that bring the most notes to allowed pitches.

    So each output continues music that is already in its own key.
    """
    moved = np.array(windows)
    for window, allowed in zip(moved, allowed_pitches(params, [UNPLANNED] * len(params)), strict=True):
        pitch = window[:, PITCH].astype(int)
        shifts = sorted(range(-int(pitch.min()), PITCHES - int(pitch.max())), key=lambda shift: (abs(shift), shift))
        shift = max(shifts, key=lambda shift: int(allowed[pitch + shift].sum()))
        window[:, PITCH] += shift
        # A match is in the same piece, so it moves too, at most to the end of the range.
        matched = window[:, MATCH_LENGTH] > 0
        window[matched, MATCH_PITCH] = (window[matched, MATCH_PITCH] + shift).clip(0, PITCHES - 1)
    return moved
