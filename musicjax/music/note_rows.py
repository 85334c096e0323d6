"""Notes <-> rows of bins, see `note_bins`: each row a note, and each number in it small and whole.

A piece is read from the bar line before its first note, so that a silent lead-in takes no bins. An edge, a row of its
own, comes before the first note and after the last, so that beginnings and endings are learned as notes are.

Shape legend: N notes, R rows, N + 2 with edges or N without, C columns of `note_bins`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from musicjax.music import bar_position, form, instruments, keys, longest_match
from musicjax.music.note_bins import (
    BAR_POSITION,
    BARS_LEFT,
    DURATION,
    EDGE,
    GRID_TOLERANCE_BEATS,
    HELD,
    HELD_STEPS,
    INSTRUMENT,
    INTERVAL,
    MATCH_LENGTH,
    METER,
    MODE,
    NOTE,
    PHRASE,
    PITCH,
    SIZES,
    SOUNDING,
    TICKS_A_BEAT,
    VELOCITY,
    Bins,
    nearest,
    steps_of,
)
from musicjax.music.notes import Notes, from_beats, one_meter

OCTAVE = 12
# Pitches that training may move a piece to: the keys of a piano.
LOWEST_PITCH, HIGHEST_PITCH = 21, 108


def encode(notes: Notes, bins: Bins, match: bool = True, to_come: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Notes as rows, uint8 [R, C], in order of step, instrument and pitch; bool [R], where a bin is only the nearest.

    If an interval has no bin of its own, those after it make up for the difference, so that later notes keep their bar
    positions; notes of one step stay together. A silence longer than the longest bin becomes that bin, and the notes
    after it keep their rhythm and bar positions, see `silences`.

    Args:
        match: False: the columns of the match are 0, as if no run came twice.
        to_come: how many bars follow the last one.
    """
    order, step = in_rows(notes, bins)
    begins, meter, exact = _bars(notes.meters if bins.has_meter else one_meter(), step, bins)
    interval, placed, has_bin = intervals(step, bins)
    ticks = np.rint(notes.duration_beats[order] * TICKS_A_BEAT)
    ticks_of_bins = np.rint(np.asarray(bins.duration) * TICKS_A_BEAT)
    duration = nearest(ticks, ticks_of_bins)
    velocity = nearest(notes.velocity[order], np.asarray(bins.velocity))
    per_bar = np.asarray(bins.steps_per_bar)[meter]
    position = bar_position.of(placed - begins, per_bar)
    interval[:1] = nearest(position[:1], np.asarray(bins.interval))
    rows = np.zeros((len(order), len(bins.sizes)), np.uint8)
    pitch = notes.pitch[order]
    if bins.has_form:
        instrument = instruments.index_of(bins.programs)[notes.program[order]]
        tonic, rows[:, MODE] = _keys(notes, notes.onset_beats[order])
        is_drums = bins.is_drums[instrument]
        pitch = _moved(pitch, -offset_of(tonic), is_drums)
        exact = exact & (_moved(pitch, offset_of(tonic), is_drums) == notes.pitch[order])
        bar = form.bars_of(placed, begins, per_bar)
        rows[:, INSTRUMENT], rows[:, PHRASE] = instrument, form.phrase_of(bar)
        rows[:, BARS_LEFT] = form.left_bin(bar.max(initial=0) - bar + to_come)
    if bins.has_meter:
        rows[:, METER] = meter
    rows[:, : len(NOTE)] = np.stack([interval, position, pitch, duration, velocity], axis=1)
    if bins.has_form:
        set_harmony(rows, placed, bins)
    if match:
        set_matches(rows, bins)
    exact &= has_bin
    exact &= np.abs(notes.onset_beats[order] - step / bins.steps_per_beat) <= GRID_TOLERANCE_BEATS
    exact &= (ticks_of_bins[duration] == ticks) & (np.asarray(bins.velocity)[velocity] == notes.velocity[order])
    if not bins.has_form or not len(rows):
        return rows, ~exact
    return np.concatenate([edge(rows[0]), rows, edge(rows[-1])]), np.concatenate([[False], ~exact, [False]])


def set_harmony(rows: np.ndarray, step: np.ndarray, bins: Bins) -> None:
    """Sets what still sounds as each of rows uint8 [N, C] begins, which lie at rising steps [N]."""
    count = len(step)
    end = step + steps_of(bins)[1][rows[:, DURATION]]
    pitched = np.flatnonzero(~bins.is_drums[rows[:, INSTRUMENT]])
    pitch_class = rows[pitched, PITCH] % OCTAVE
    begins, ends = pitched + 1, np.maximum(np.searchsorted(step, end[pitched], side="left"), pitched + 1)
    changes = np.zeros((count + 1, len(SOUNDING)), np.int64)
    np.add.at(changes, (begins, pitch_class), 1)
    np.add.at(changes, (ends, pitch_class), -1)
    rows[:, SOUNDING] = np.cumsum(changes[:-1], axis=0) > 0
    latest = np.maximum.accumulate(np.concatenate([[0], end]))[:-1] if count else end
    rows[:, HELD] = np.searchsorted(HELD_STEPS, latest - step, side="right")


def room(rows: np.ndarray) -> tuple[int, int]:
    """Semitones by which a piece, uint8 [R, C], can be moved down and up without leaving the piano."""
    pitch = rows[:, PITCH].astype(int)
    if rows.shape[1] > INSTRUMENT:
        pitch = pitch[rows[:, INTERVAL] != EDGE]
    return max(int(pitch.min()) - LOWEST_PITCH, 0), max(HIGHEST_PITCH - int(pitch.max()), 0)


def bars(notes: Notes, bins: Bins) -> int:
    """How many bars a piece with notes has, from that of its first note to that of its last."""
    _, step = ordered(notes, bins.steps_per_beat)
    begins, meter, _ = _bars(notes.meters, step, bins)
    placed = intervals(step, bins)[1]
    return int(form.bars_of(placed, begins, np.asarray(bins.steps_per_bar)[meter])[-1]) + 1


class Places(NamedTuple):
    """What a piece has at each of N steps, int64 [N]: bar position, bins of meter and mode, tonic 0..11, and the bar,
    counted from that of the first."""

    position: np.ndarray
    meter: np.ndarray
    mode: np.ndarray
    tonic: np.ndarray
    bar: np.ndarray


def places(notes: Notes, bins: Bins, step: np.ndarray) -> Places:
    """What a piece has at rising steps [N]."""
    begins, meter, _ = _bars(notes.meters, step, bins)
    per_bar = np.asarray(bins.steps_per_bar)[meter]
    tonic, mode = _keys(notes, step / bins.steps_per_beat)
    return Places(bar_position.of(step - begins, per_bar), meter, mode, tonic, form.bars_of(step, begins, per_bar))


def key_at(notes: Notes, beat: float) -> tuple[int, int]:
    """The tonic 0..11 and the bin of the mode that hold at a beat; zeros if the key is not known."""
    tonic, mode = _keys(notes, np.array([beat]))
    return int(tonic[0]), int(mode[0])


def meter_at(notes: Notes, beat: float, bins: Bins) -> int:
    """The bin of the meter that holds at a beat."""
    return int(_bars(notes.meters, np.array([round(beat * bins.steps_per_beat)]), bins)[1][0])


def edge(row: np.ndarray) -> np.ndarray:
    """The edge before or after a row [C]: uint8 [1, C], with the meter, the key and the bars left of that row."""
    kept = np.zeros_like(row)
    told = [METER, MODE, BARS_LEFT]
    kept[told] = row[told]
    kept[INTERVAL] = EDGE
    return kept[None].astype(np.uint8)


def is_edge(rows: np.ndarray, bins: Bins) -> np.ndarray:
    """Which of rows [..., C] are edges, bool [...]."""
    return (rows[..., INTERVAL] == EDGE) & bins.has_form


def offset_of(tonic: int | np.ndarray) -> np.ndarray:
    """Semitones from music written in C to music on a tonic 0..11, int64: the way up or down, whichever is nearer."""
    tonic = np.asarray(tonic, np.int64)
    return np.where(tonic > OCTAVE // 2, tonic - OCTAVE, tonic)


def _moved(pitch: np.ndarray, semitones: np.ndarray, stays: np.ndarray) -> np.ndarray:
    """Pitches [N] moved, except those that stay; what would leave 0..127 moves by an octave less."""
    moved = pitch + np.where(stays, 0, semitones)
    return np.where(moved < 0, moved + OCTAVE, np.where(moved >= SIZES[PITCH], moved - OCTAVE, moved))


def _keys(notes: Notes, beats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At each of N beats the tonic, 0..11, and the bin of the mode, 0 if the key is not known; int64 [N] each."""
    table = notes.keys if len(notes.keys) else keys.of(notes)
    if not len(table):
        nothing = np.zeros(len(beats), np.int64)
        return nothing, nothing
    which = bar_position.segments(beats + GRID_TOLERANCE_BEATS, table)
    return table[which, 1].astype(np.int64), table[which, 2].astype(np.int64) + 1


def set_matches(rows: np.ndarray, bins: Bins) -> None:
    """Sets the columns of the match of rows uint8 [N, C].

    Notes are alike if interval, instrument and pitch are. The match is the note that followed, and the bin of the run's
    length by `longest_match.LENGTHS`; zeros if there is no run.
    """
    codes = rows[:, INTERVAL].astype(np.int32) * SIZES[PITCH] + rows[:, PITCH]
    if bins.has_form:
        codes = codes * SIZES[INSTRUMENT] + rows[:, INSTRUMENT]
    followed, run = longest_match.of(codes)
    length = np.searchsorted(longest_match.LENGTHS, run, side="right")
    found = run > 0
    rows[:, bins.matched] = np.where(found[:, None], rows[followed][:, bins.predicted], np.uint8(0))
    rows[:, MATCH_LENGTH] = np.where(found, length, 0)


def silences(notes: Notes, bins: Bins) -> tuple[int, bool]:
    """(how many silences between notes `encode` shortens, whether it leaves out whole bars before the first note)."""
    _, step = ordered(notes, bins.steps_per_beat)
    if not len(step):
        return 0, False
    (begins,), (meter,), _ = _bars(notes.meters if bins.has_meter else one_meter(), step[:1], bins)
    length = bins.steps_per_bar[meter]
    before = int(step[0]) - bar_position.of(int(step[0] - begins), length)
    return int((np.diff(step) > bins.interval[-1]).sum()), before >= length


def decode(rows: np.ndarray, bins: Bins, bpm: float | None = None, tonic: int | np.ndarray = 0) -> Notes:
    """Rows, whole numbers [R, C], as Notes at a tempo (None: that of the bins). The inverse of `encode` on its bins.

    Beat 0 is the bar line before the first note. The meter and the mode are those of the first row. Rows after a last
    edge do not count, and no note sounds beyond the bar line at which that edge ends the piece.

    Args:
        tonic: 0..11, of all notes or of each row, [R].
    """
    rows = np.asarray(rows).astype(np.int64)
    meter, mode = meter_of(rows, bins), int(rows[0, MODE]) if bins.has_form and len(rows) else 0
    offset, ended = np.broadcast_to(offset_of(np.asarray(tonic)), len(rows)), False
    if bins.has_form:
        rows, offset, ended = _inside(rows, offset, bins)
    steps = np.asarray(bins.interval)[rows[:, INTERVAL]]
    steps[:1] = rows[:1, BAR_POSITION]
    onset = np.cumsum(steps) / bins.steps_per_beat
    duration, velocity = np.asarray(bins.duration)[rows[:, DURATION]], np.asarray(bins.velocity)[rows[:, VELOCITY]]
    pitch = rows[:, PITCH]
    if bins.has_form:
        pitch = _moved(pitch, offset, bins.is_drums[rows[:, INSTRUMENT]])
    if ended and len(rows):
        beats = float(bar_position.beats_per_bar(np.array([[0, *meter]]))[0])
        duration = np.minimum(duration, (np.floor(onset[-1] / beats + GRID_TOLERANCE_BEATS) + 1) * beats - onset)
    notes = from_beats(pitch, velocity, onset, duration, bpm or bins.bpm)
    if bins.has_form:
        program = np.asarray(bins.programs, np.int16)[rows[:, INSTRUMENT]]
        key = np.array([[0.0, np.ravel(tonic)[0], mode - 1]]) if mode else notes.keys
        notes = dataclasses.replace(notes, program=program, keys=key)
    return dataclasses.replace(notes, meters=one_meter(*meter))


def _inside(rows: np.ndarray, offset: np.ndarray, bins: Bins) -> tuple[np.ndarray, np.ndarray, bool]:
    """(rows and their offsets without edges and what follows a last one, whether there is a last one)."""
    edges = np.flatnonzero(is_edge(rows, bins))
    first = int(len(edges) > 0 and edges[0] == 0)
    ended = len(edges) > first
    inside = slice(first, int(edges[first]) if ended else len(rows))
    return rows[inside], offset[inside], ended


def meter_of(rows: np.ndarray, bins: Bins) -> tuple[int, int]:
    """The meter of the first of rows [N, C]; the commonest one if there is none."""
    return bins.meters[int(rows[0, METER]) if bins.has_meter and len(rows) else 0]


def _bars(meters: np.ndarray, step: np.ndarray, bins: Bins) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For notes at rising steps [N]: the step where their meter begins, its bin, and whether that is exactly it."""
    kinds = [(numerator, denominator) for _, numerator, denominator in meters.astype(int).tolist()]
    bin_of = {kind: _meter_bin(kind, bins.meters) for kind in set(kinds)}
    begins = np.rint(meters[:, 0] * bins.steps_per_beat).astype(np.int64)
    which = bar_position.segments(step, begins[:, None])
    found = np.array([bin_of[kind] for kind in kinds], np.int64)
    exact = np.array([kind in bins.meters for kind in kinds])
    return begins[which], found[which], exact[which]


def _meter_bin(meter: tuple[int, int], meters: Sequence[tuple[int, int]]) -> int:
    """The index of a meter among `meters`; if it is not there, of the one whose bar is nearest in length."""
    if meter in meters:
        return meters.index(meter)
    length, *lengths = bar_position.beats_per_bar(np.array([(0, *one) for one in (meter, *meters)]))
    return int(np.abs(np.array(lengths) - length).argmin())


def ordered(notes: Notes, steps_per_beat: int, instrument: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(order of the notes by step, instrument [N] if given, and pitch; their steps in that order), int64 [N] each."""
    step = np.floor(notes.onset_beats * steps_per_beat + 0.5 + 1e-6).astype(np.int64)
    order = np.lexsort((notes.pitch, step) if instrument is None else (notes.pitch, instrument, step))
    return order, step[order]


def in_rows(notes: Notes, bins: Bins) -> tuple[np.ndarray, np.ndarray]:
    """(which note is in each row of `encode`, edges aside; their steps in that order), int64 [N] each."""
    instrument = instruments.index_of(bins.programs)[notes.program] if bins.has_form else None
    return ordered(notes, bins.steps_per_beat, instrument)


def intervals(step: np.ndarray, bins: Bins) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For rising steps [N]: the bin of each interval, the step that each note gets, whether it is exact or a silence.

    The first note keeps its step. A note after a silence gets its own step again.
    """
    interval = np.asarray(bins.interval)
    longest = int(interval[-1])
    true = np.diff(step, prepend=step[:1])
    found = nearest(true, interval)
    exact = (interval[found] == true) | (true > longest)
    if exact.all():
        return found, step, exact
    table = nearest(np.arange(longest + 1), interval).tolist()
    chosen, placed = [0], [int(step[0])]
    for now, passed in zip(step[1:].tolist(), true[1:].tolist(), strict=True):
        at = placed[-1]
        which = 0 if not passed else table[min(max(now - at, 0), longest)]
        chosen.append(which)
        placed.append(max(now, at + longest) if passed > longest else at + bins.interval[which])
    found = np.array(chosen, np.int64)
    exact = (interval[found] == true) | (true > longest)
    return found, np.array(placed, np.int64), exact
