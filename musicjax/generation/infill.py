"""New bars in a given piece: many candidates for a gap, weighed by how well the rows after it fit, and one of them.

Shape legend: K candidates, L rows, C columns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from musicjax import console, jax_environment
from musicjax.encodings.gap import Gap
from musicjax.encodings.plan import Length
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.errors import UsageError
from musicjax.generation import primer, rework, trim
from musicjax.generation import request as request_lib
from musicjax.model import particles, sample
from musicjax.model.particles import Way
from musicjax.music import keys as keys_lib
from musicjax.music import notes as notes_lib
from musicjax.music import splice
from musicjax.music.notes import Notes
from musicjax.store import model as model_lib
from musicjax.store.model import Model

# Candidates for a gap (see benchmarks/infill.py), and rows that they advance at a time.
CANDIDATES, CHUNK_ROWS = 128, 32

OnStep = Callable[[], object]


class Seen(NamedTuple):
    """How far a piece has been read: one candidate, and the number of rows before it."""

    way: Way
    rows: int


def infill(
    model: Model | str | Path,
    piece: Notes | str | Path,
    from_bar: int,
    to_bar: int,
    *,
    num_outputs: int = 8,
    seed: int = 0,
    temperature: float | None = None,
    sampling: SamplingParams | Sequence[SamplingParams] | None = None,
    numbers: Sequence[int] | None = None,
) -> list[Notes]:
    """num_outputs copies of a piece with new bars; copy k depends on the seed and k, not on how many are asked for.

    All that begins outside these bars stays as it is, and so do the tempos, the meters and the key. New notes begin
    inside the bars, on the model's grid, and none sounds beyond them. A note whose pitch already sounds is left out.

    Args:
        model: from `store.model.load`, or a workdir, whose best parameters are used; of note events with form.
        piece: notes, a MIDI file or score, or a melody in text.
        from_bar, to_bar: the first and the last bar to rewrite, counted from 1 by the meters of the piece; an upbeat is
            bar 1.
        temperature, sampling, numbers: as `generate.generate` takes them, but the piece has its own key and meter.

    Raises:
        UsageError: a value is of another type or out of range, or the model has no form.
        RunError: the model or the piece cannot be read.
    """
    request_lib.check(num_outputs, Length(), seed, numbers=numbers)
    rework.checked_bars(from_bar, to_bar)
    params = request_lib.sampling_of(sampling, temperature, num_outputs)
    model, notes = opened(model, piece, params, "infill")
    params = request_lib.as_config(params, model.config.sample, sampling, temperature)
    return new_bars(model, params, seed, notes, from_bar, to_bar, numbers)


def opened(
    model: Model | str | Path, piece: Notes | str | Path, params: Sequence[SamplingParams], name: str
) -> tuple[Model, Notes]:
    """The model and the piece, loaded; raises UsageError or RunError if they cannot be, or do not go together."""
    request_lib.require_own_key(params, name)
    if isinstance(piece, Notes):
        notes_lib.check(piece, name)
    jax_environment.require()
    model = model if isinstance(model, Model) else model_lib.load(model)
    request_lib.require_form(model.encoding, [name])
    return model, piece if isinstance(piece, Notes) else primer.read(piece, model, name)


def new_bars(
    model: Model,
    params: Sequence[SamplingParams],
    seed: int,
    piece: Notes,
    from_bar: int,
    to_bar: int,
    numbers: Sequence[int] | None = None,
    on_step: OnStep = lambda: None,
) -> list[Notes]:
    """`infill` with arguments that are checked already, but for the bars.

    Args:
        on_step: called again and again; an exception that it raises ends everything.

    Raises:
        UsageError: the piece has no notes or no such bars, or the model never saw the instruments asked for.
    """
    lines = require_bars(piece, from_bar, to_bar)
    numbers = range(len(params)) if numbers is None else numbers
    begin, end = lines[from_bar - 1], lines[to_bar]
    read: dict[SamplingParams, tuple[Gap, Seen]] = {}
    found: list[Notes] = []
    with console.bar("sampling", len(params), unit="pieces") as update:
        for one, number in zip(params, numbers, strict=True):
            if one not in read:
                gap = model.encoding.gap(with_keys(piece), begin, end, one, CANDIDATES)
                read[one] = gap, reach(model, gap, on_step=on_step)
            new = drawn(model, *read[one], key_of(seed, number), on_step)
            found.append(dataclasses.replace(joined(read[one][0], new, one), keys=piece.keys))
            update(len(found))
    return found


def require_bars(piece: Notes, from_bar: int, to_bar: int) -> np.ndarray:
    """The bar lines of a piece, beats, [B + 1]; raises UsageError unless it has notes, and these bars."""
    rework.checked_bars(from_bar, to_bar)
    lines = lines_of(piece)
    if to_bar >= len(lines):
        raise UsageError(
            f"from_bar={from_bar}, to_bar={to_bar}: expected bars of the piece, which has {len(lines) - 1}"
        )
    return lines


def lines_of(piece: Notes) -> np.ndarray:
    """The bar lines of a piece, beats, [B + 1]; raises UsageError if it has no notes."""
    if not len(piece):
        raise UsageError("piece without notes: expected at least one; name another")
    return splice.bar_lines(piece)


def with_keys(piece: Notes) -> Notes:
    """The piece with its keys found, so that new bars do not change them."""
    return piece if len(piece.keys) else dataclasses.replace(piece, keys=keys_lib.of(piece))


def key_of(seed: int, number: int, gap: int = 0) -> jax.Array:
    """The key of a gap of output `number`."""
    key = jax.random.fold_in(sample.output_keys(seed, [number])[0], particles.CANDIDATES)
    return jax.random.fold_in(key, gap)


def reach(model: Model, gap: Gap, seen: Seen | None = None, on_step: OnStep = lambda: None) -> Seen:
    """The piece read up to the gap; seen: how far it was read before."""
    way, rows = seen or (None, 0)
    for guide in gap.reads(rows):
        way = way or particles.start(model.network, model.params, guide)
        way = particles.follow(model.network, CHUNK_ROWS, model.params, way, guide)
        on_step()
    assert way is not None
    return Seen(way, gap.before)


class Candidates(NamedTuple):
    """K ways to fill a gap. rows: [L, K, C], the drawn ones first; drawn: int32 [K], how many those are; weight:
    float32 [K], the natural logarithm of how likely what follows is after each."""

    rows: np.ndarray
    drawn: np.ndarray
    weight: np.ndarray


def candidates_of(model: Model, gap: Gap, seen: Seen, key: jax.Array, on_step: OnStep = lambda: None) -> Candidates:
    """Ways to fill a gap; candidate k depends on the key and k, not on how many there are."""
    way = particles.spread(seen.way, gap.candidates)
    rows: list[np.ndarray] = []
    while not np.asarray(gap.guide.is_done(way.memory)).all():
        first = np.int32(len(rows) * CHUNK_ROWS)
        way, more = particles.advance(model.network, CHUNK_ROWS, model.params, way, key, first, gap.guide)
        rows.append(np.asarray(more))
        on_step()
    return Candidates(np.concatenate(rows), np.asarray(way.memory.new), np.asarray(way.memory.weight))


def chosen(gap: Gap, found: Candidates, key: jax.Array, best: bool = False) -> Notes:
    """The notes of the best candidate, or of one drawn in proportion to the likelihood of what follows."""
    one = particles.chosen(key, found.weight, best)
    return gap.notes(found.rows[: int(found.drawn[one]), one])


def drawn(model: Model, gap: Gap, seen: Seen, key: jax.Array, on_step: OnStep = lambda: None) -> Notes:
    """New notes for a gap: one of K candidates, which fits what follows."""
    return chosen(gap, candidates_of(model, gap, seen, key, on_step), key)


def joined(gap: Gap, new: Notes, params: SamplingParams) -> Notes:
    """The piece with new notes in the gap, no more of them sounding together than asked for."""
    return splice.together(gap.kept, trim.each([new], [params.polyphony], [0.0])[0])
