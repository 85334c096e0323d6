"""How note events are drawn inside the scan: temperatures, filters and masks, for each output its own.

Shape legend: K outputs, or G of a group; C columns of `note_bins`, A of them predicted; V bins of all columns together;
M pitches remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from musicjax.encodings import event_form
from musicjax.encodings.plan import UNPLANNED, Plan
from musicjax.encodings.sampling_params import LONGEST_RUN, SamplingParams
from musicjax.model import heads, running_match
from musicjax.model.categorical import Categorical
from musicjax.model.network import MusicLSTM
from musicjax.music import bar_position, longest_match, note_bins, note_rows
from musicjax.music.note_bins import (
    BAR_POSITION,
    DURATION,
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

# How many pitches of an output are remembered, so that no run repeats.
REMEMBERED = 1024
# How many sounding notes are remembered; of more than these, the one that ends first is forgotten.
SOUNDING = 128
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
    """What the masks need of the rows drawn so far. left: int32 [G, SOUNDING], for how many more steps notes sound, and
    classes, their pitch classes, 12 for drums; pitches: int32 [G, M], the last ones, -1 before the first; form: of models that have it."""

    left: jax.Array
    classes: jax.Array
    pitches: jax.Array
    form: event_form.Past | None = None


def nothing_yet(outputs: int, form: event_form.Past | None = None) -> Memory:
    """Before the first row."""
    left, pitches = jnp.zeros((outputs, SOUNDING), jnp.int32), jnp.full((outputs, REMEMBERED), -1, jnp.int32)
    return Memory(left, left, pitches, form)


def draw(
    head: Categorical,
    params: heads.Params,
    outputs: jax.Array,
    noise: jax.Array,
    last: jax.Array,
    controls: Controls,
    clock: Clock,
    memory: Memory,
) -> tuple[jax.Array, Memory]:
    """(next rows float32 [G, C], the memory after them), following rows `last` [G, C]: outputs [G, O], noise [G, V]."""
    begins = [sum(head.sizes[:column]) for column in range(len(head.sizes) + 1)]

    def column_of(
        column: int, rows: jax.Array, mask: jax.Array | None = None, free: jax.Array | None = None
    ) -> jax.Array:
        own = slice(begins[column], begins[column + 1])
        allowed = controls.allowed[:, own]
        if free is not None:  # outputs [G] that may draw any bin here
            allowed |= free[:, None]
        if mask is not None:  # if the masks together leave nothing, what is allowed at all
            both = allowed & mask
            allowed = jnp.where(both.any(axis=-1, keepdims=True), both, allowed)
        temperature = controls.temperature[:, head.predicted.index(column)]
        logits = head.logits(params, outputs, rows, column)
        drawn = _drawn(logits, noise[:, own], allowed, temperature, controls)
        return rows.at[:, column].set(drawn.astype(jnp.float32))

    meter = last[:, METER : METER + 1]  # an output keeps its meter; models of 0.1.0 have no such column
    rows = jnp.zeros_like(last).at[:, METER : METER + 1].set(meter)
    bar = clock.steps_per_bar[meter[:, 0].astype(jnp.int32) if meter.shape[1] else 0]
    since = last[:, BAR_POSITION].astype(jnp.int32)
    form = None
    if controls.form is not None and clock.form is not None and memory.form is not None:
        form = event_form.Form(controls.form, clock.form, memory.form)
    room = _has_room(memory, controls, clock)
    if form is not None:
        rows = rows.at[:, TONIC : MODE + 1].set(last[:, TONIC : MODE + 1])
        room &= form.within((since[:, None] + clock.steps) // bar[:, None])
    rows = column_of(INTERVAL, rows, room)
    passed = clock.steps[rows[:, INTERVAL].astype(jnp.int32)]
    position = bar_position.of(since + passed, bar)
    rows = rows.at[:, BAR_POSITION].set(position.astype(jnp.float32))
    can_sound, is_drums = _not_again(memory, controls, head.sizes[PITCH]), None
    if form is not None:
        form = form.after_bars((since + passed) // bar)
        rows = with_harmony(form.told(rows, last, (since + passed) // bar), memory, passed)
        rows = column_of(INSTRUMENT, rows)
        can_sound, is_drums = can_sound & form.no_loop(rows, head.sizes[PITCH]), form.is_drums(rows)
    rows = column_of(PITCH, rows, can_sound, is_drums)
    for column in head.predicted[head.predicted.index(PITCH) + 1 :]:
        rows = column_of(column, rows)
    memory = _after(memory, rows, clock, passed, is_drums)
    return rows, memory._replace(form=None if form is None else form.after(rows))


def with_harmony(rows: jax.Array, memory: Memory, passed: jax.Array) -> jax.Array:
    """Rows [G, C] that say which pitch classes still sound, and how long, `passed` steps after the last, int32 [G]."""
    left = jnp.maximum(memory.left - passed[:, None], 0)
    sounds = (left[:, :, None] > 0) & (memory.classes[:, :, None] == jnp.arange(12))
    held = jnp.searchsorted(jnp.asarray(note_bins.HELD_STEPS), left.max(axis=1), side="right")
    rows = rows.at[:, np.array(note_bins.SOUNDING)].set(sounds.any(axis=1).astype(jnp.float32))
    return rows.at[:, note_bins.HELD].set(held.astype(jnp.float32))


def _after(
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


def _has_room(memory: Memory, controls: Controls, clock: Clock) -> jax.Array:
    """bool [G, intervals]: those after which there is room for a note; if none is long enough, the longest."""
    sounding = jnp.sum(memory.left[:, None, :] > clock.steps[None, :, None], axis=-1)
    limit = jnp.where(controls.polyphony > 0, controls.polyphony, SOUNDING + 1)
    room = sounding < limit[:, None]
    return room | (~room.any(axis=-1, keepdims=True) & (clock.steps == clock.steps.max()))


def _not_again(memory: Memory, controls: Controls, pitches: int) -> jax.Array:
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
    return lax.cond(jnp.any(controls.no_repeat > 0), lambda: allowed(memory, controls.no_repeat), lambda: nothing)


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
    falling = -jnp.sort(-probabilities, axis=-1)
    before = jnp.cumsum(falling, axis=-1) - falling
    # Nothing comes before the likeliest, so at least one is kept. Without top-p all are kept.
    kept = jnp.sum((before < controls.top_p[:, None]) | (controls.top_p >= 1)[:, None], axis=-1)
    kept = jnp.where(controls.top_k > 0, jnp.minimum(kept, controls.top_k), kept)
    least = jnp.take_along_axis(falling, jnp.maximum(kept - 1, 0)[:, None], axis=-1)
    least = jnp.maximum(least, controls.min_p[:, None] * falling[:, :1])
    return jnp.where(probabilities >= least, logits, -jnp.inf)


def _heard(windows: jax.Array, memory: Memory, clock: Clock, tables: event_form.Tables) -> Memory:
    """The memory with what still sounds after windows [G, T, C]."""

    def hear(memory: Memory, rows: jax.Array) -> tuple[Memory, None]:
        is_edge = rows[:, INTERVAL] == EDGE
        passed = jnp.where(is_edge, 0, clock.steps[rows[:, INTERVAL].astype(jnp.int32)])
        after = _after(memory, rows, clock, passed, tables.is_drums[rows[:, INSTRUMENT].astype(jnp.int32)])
        left = jnp.where(is_edge[:, None], memory.left, after.left)
        return memory._replace(left=left, classes=after.classes), None

    return lax.scan(hear, memory, windows.swapaxes(0, 1))[0]


class EventDraw(NamedTuple):
    """Draws note events under controls; see `model.sample.Draw`."""

    controls: Controls
    clock: Clock

    def start(self, net: MusicLSTM, windows: jax.Array) -> tuple[Memory, running_match.Past | None]:
        """The rows of windows [G, T, C] still sound in models with form, and are remembered if they see the match."""
        wanted, tables = self.controls.form, self.clock.form
        form = None if wanted is None or tables is None else event_form.start(wanted, tables)
        memory = nothing_yet(len(windows), form)
        if tables is not None:
            memory = _heard(windows, memory, self.clock, tables)
        lengths = self.clock.match_lengths
        if lengths is None:
            return memory, None
        past = running_match.start(len(windows), len(_predicted(net)), jnp.int32)
        rows, predicted = windows.swapaxes(0, 1), _predicted(net)

        def see(past: running_match.Past, rows: jax.Array) -> tuple[running_match.Past, None]:
            return with_match(rows, past, lengths, predicted)[1], None

        return memory, lax.scan(see, past, rows)[0]

    def __call__(self, net, own, outputs, noise, last, memory):
        """As `model.sample.Draw`."""
        drawn, past = memory
        lengths = self.clock.match_lengths
        rows, drawn = draw(net.head, own, outputs, noise, last, self.controls, self.clock, drawn)
        if past is not None and lengths is not None:
            rows, past = with_match(rows, past, lengths, _predicted(net), self.controls.longest_match)
        return rows, (drawn, past)


def _predicted(net: MusicLSTM) -> tuple[int, ...]:
    head = net.head
    assert isinstance(head, Categorical)
    return head.predicted


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
    return rows.at[:, MATCH_LENGTH].set(length.astype(jnp.float32)), past


def of_params(
    bins: Bins, params: Sequence[SamplingParams], match: bool = True, plans: Sequence[Plan] | None = None
) -> EventDraw:
    """How K outputs are drawn, each by its own parameters and plan; match: whether the model sees the longest match."""
    plans = [UNPLANNED] * len(params) if plans is None else plans
    allowed = np.tile(note_bins.valid(bins), (len(params), 1))
    first_pitch = sum(bins.sizes[:PITCH])  # models of 0.1.0 have fewer bar positions before it
    allowed[:, first_pitch : first_pitch + PITCHES] &= allowed_pitches(params, plans)
    if bins.has_form:
        first = sum(bins.sizes[:INSTRUMENT])
        for row, plan in zip(allowed, plans, strict=True):
            row[first : first + len(bins.programs)] &= plan.instruments_of(len(bins.programs))

    def each(name: str, kind: type, owners: Sequence[Any] = params) -> jax.Array:
        return jnp.asarray(np.array([getattr(one, name) for one in owners], kind))

    temperatures = [one.temperatures for one in params]
    if bins.has_form:  # the instrument has the temperature of its pitch
        temperatures = [(interval, pitch, pitch, *rest) for interval, pitch, *rest in temperatures]
    controls = Controls(
        jnp.asarray(np.array(temperatures, np.float32)),
        each("top_k", np.int32),
        each("top_p", np.float32),
        each("min_p", np.float32),
        jnp.asarray(allowed),
        each("polyphony", np.int32),
        each("no_repeat", np.int32),
        each("longest_match", np.int32),
    )
    steps, sounds = (jnp.asarray(table, jnp.int32) for table in note_bins.steps_of(bins))
    lengths = jnp.asarray(longest_match.LENGTHS, jnp.int32) if match else None
    clock = Clock(steps, sounds, jnp.asarray(bins.steps_per_bar, jnp.int32), lengths)
    if bins.has_form:
        numbers = each("bars", np.int32, plans), each("notes", np.int32, plans), each("ends", bool, plans)
        controls = controls._replace(form=event_form.Wanted(each("stop_loops", bool), *numbers))
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
        # A match lies in the same piece, so it moves along, at most to the end of the range.
        matched = window[:, MATCH_LENGTH] > 0
        window[matched, MATCH_PITCH] = (window[matched, MATCH_PITCH] + shift).clip(0, PITCHES - 1)
    return moved
