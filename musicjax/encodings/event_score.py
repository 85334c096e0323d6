"""A piece of note events with a gap: its rows, what holds at each step of the gap, and rows drawn in it as notes.

Shape legend: R rows of the piece without the gap, an edge first and an edge last; L rows drawn; C columns of
`note_bins`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np

from musicjax.encodings.event_draw import Controls
from musicjax.encodings.event_gaps import Guide
from musicjax.encodings.event_memory import Clock
from musicjax.encodings.gap import Gap
from musicjax.encodings.plan import Plan
from musicjax.music import form, instruments, keys, note_bins, note_rows, splice
from musicjax.music.note_bins import BARS_LEFT, INSTRUMENT, INTERVAL, METER, MODE, PHRASE, Bins
from musicjax.music.note_rows import Places
from musicjax.music.notes import Notes, from_beats

# Rows that a guide holds; those after a gap that weigh a candidate; the most that are drawn in a bar.
GIVEN, WEIGHING, MOST_IN_BAR = 32, 16, 200
# Steps of the tables of a gap come in powers of two from here on, so that few programs are compiled.
FEWEST_STEPS = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Score:
    """A piece with a gap.

    Attributes:
        piece, kept: the piece, with its keys, and what is outside the gap.
        rows: uint8 [R, C], without matches; step: int64 [R], where they lie.
        before: how many of them come before the gap.
        begin, end: beats of the gap; steps: where it begins and ends on the grid.
        inside: what holds at each step of the gap; left: int64, how many bars follow each; left_before: how many follow
            the row before it.
    """

    bins: Bins
    piece: Notes
    kept: Notes
    rows: np.ndarray
    step: np.ndarray
    before: int
    begin: float
    end: float
    steps: tuple[int, int]
    inside: Places
    left: np.ndarray
    left_before: int

    def plan(self, asked: tuple[int, ...]) -> Plan:
        """What the music in the gap is to be; asked: its instruments, or those of the piece if there are none.

        At the end of the piece, the music may go on and so show that it has not ended; its weight says so, see `Guide`.
        """
        own = tuple(np.unique(self._instruments()).tolist())
        is_last = self.before == len(self.rows) - 1
        tonic, mode, meter = (int(table[0]) for table in (self.inside.tonic, self.inside.mode, self.inside.meter))
        return Plan(tonic, mode, meter, bars=1, ends=is_last, instruments=asked or own)

    def gap(self, controls: Controls, clock: Clock) -> Gap:
        """The gap for as many candidates as there are controls."""
        one = jax.tree.map(lambda leaf: jax.device_put(np.asarray(leaf)[:1]), controls)

        def reads(first: int) -> Iterator[Guide]:
            for start in range(first, self.before, GIVEN):
                yield self._guide(start, min(start + GIVEN, self.before), 0, one, clock)

        bars = int(self.inside.bar[-1] - self.inside.bar[0]) + 1
        last = min(self.before + WEIGHING, len(self.rows))
        through = self._guide(self.before, last, MOST_IN_BAR * bars, controls, clock)
        return Gap(self.kept, len(controls.top_k), self.before, reads, through, self.notes)

    def _guide(self, first: int, last: int, room: int, controls: Controls, clock: Clock) -> Guide:
        """The guide over rows `first` up to `last`, after at most `room` drawn rows."""
        given = np.zeros((GIVEN, self.rows.shape[1]), np.float32)
        step = np.zeros(GIVEN, np.int32)
        given[: last - first], step[: last - first] = self.rows[first:last], self.step[first:last]
        held = self.inside
        bars_left = form.left_bin(self.left)
        places = np.stack([held.position, held.meter, held.mode, bars_left, form.phrase_of(held.bar)], axis=1)
        more = max(FEWEST_STEPS, 1 << (len(places) - 1).bit_length()) - len(places)
        places, left = np.pad(places, ((0, more), (0, 0)), mode="edge"), np.pad(self.left, (0, more), mode="edge")

        def moved(number: int | np.ndarray) -> jax.Array:
            return jax.device_put(np.array(number, np.int32))

        return Guide(
            jax.device_put(given),
            moved(step),
            moved(first),
            moved(last - first),
            moved(room),
            moved(self.steps[0]),
            moved(self.steps[1]),
            moved(places),
            moved(left),
            moved(self.left_before),
            controls,
            clock,
        )

    def notes(self, rows: np.ndarray) -> Notes:
        """Rows [L, C] that were drawn in the gap, as notes at their beats, none sounding beyond it."""
        if not len(rows):
            return from_beats([], [], [], [])
        bins, rows = self.bins, np.asarray(rows).astype(np.int64)
        step = self.step[self.before - 1] + np.cumsum(note_bins.steps_of(bins)[0][rows[:, INTERVAL]])
        step += max(self.steps[0] - int(step[0]), 0)  # after a silence, see `Guide`
        tonic = self.inside.tonic[np.clip(step - self.steps[0], 0, len(self.left) - 1)]
        drawn = note_rows.decode(rows, bins, tonic=tonic)
        onset = np.maximum(step / bins.steps_per_beat, self.begin)
        notes = from_beats(drawn.pitch, drawn.velocity, onset, np.minimum(drawn.duration_beats, self.end - onset))
        own, program = self._instruments(), np.asarray(bins.programs)
        for number in np.unique(own):  # of an instrument's programs, the one that plays most in the piece
            program[number] = np.bincount(self.piece.program[own == number]).argmax()
        return dataclasses.replace(notes, program=program[rows[:, INSTRUMENT]].astype(np.int16))

    def _instruments(self) -> np.ndarray:
        """The instrument of each note of the piece, int16."""
        return instruments.index_of(self.bins.programs)[self.piece.program]


def of(piece: Notes, begin: float, end: float, bins: Bins) -> Score:
    """A piece of at least one note, with a gap between two bar lines, given as beats.

    A note is in the gap if it begins there both as played and on the grid of the bins; so a note played a little early,
    before the bar line at either end, stays.
    """
    piece = dataclasses.replace(piece, keys=piece.keys if len(piece.keys) else keys.of(piece))
    first = round(begin * bins.steps_per_beat)
    steps = first, max(round(end * bins.steps_per_beat), first + 1)
    order, step = note_rows.ordered(piece, bins.steps_per_beat)
    is_inside = np.zeros(len(piece), bool)
    is_inside[order] = (step >= steps[0]) & (step < steps[1])
    kept = piece[~(is_inside & splice.begin_in(piece, begin, end))]
    rows, own = _rows(kept, steps[1], bins)
    # The piece counts its bars from the first one that has, or may get, a note.
    start = min(int(step[0]), steps[0])
    start -= int(note_rows.places(piece, bins, np.array([start])).position[0])
    held = note_rows.places(piece, bins, np.arange(start, max(int(step[-1]) + 1, steps[1])))
    left = np.maximum(held.bar[step[-1] - start] - held.bar, 0)
    rows[:, BARS_LEFT], rows[:, PHRASE] = form.left_bin(left[own - start]), form.phrase_of(held.bar[own - start])
    edges = np.zeros((2, len(bins.sizes)), np.uint8)
    for edge, place in zip(edges, (0, step[-1] - start), strict=True):
        edge[[METER, MODE, BARS_LEFT]] = held.meter[place], held.mode[place], form.left_bin(left[place])
    whole = np.concatenate([note_rows.edge(edges[0]), rows, note_rows.edge(edges[1])])
    before = 1 + int((own < steps[1]).sum())
    at = np.concatenate([np.minimum(own[:1], steps[0]) if before > 1 else steps[:1], own, steps[1:]])
    inside = Places(*(column[steps[0] - start : steps[1] - start] for column in held))
    left_before = int(left[max(at[before - 1] - start, 0)])
    in_gap = left[steps[0] - start : steps[1] - start]
    return Score(bins, piece, kept, whole, at, before, begin, end, steps, inside, in_gap, left_before)


def _rows(kept: Notes, end: int, bins: Bins) -> tuple[np.ndarray, np.ndarray]:
    """The rows of what is kept, uint8 [N, C], and their steps, of a gap that ends at this step.

    The rows after the gap are written without those before it: as an interval, the gap might have no bin.
    """
    order, step = note_rows.ordered(kept, bins.steps_per_beat)
    rows = note_rows.encode(kept, bins, match=False)[0][1:-1]
    is_after = step >= end
    rows[is_after] = note_rows.encode(kept[np.sort(order[is_after])], bins, match=False)[0][1:-1]
    whole = rows.copy()
    note_rows.set_harmony(whole, step, bins)
    rows[is_after] = whole[is_after]
    return rows, step
